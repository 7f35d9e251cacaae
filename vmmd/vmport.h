/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hypervisor call port of the interface that CPUID offers (see cpuid.c):
 * an IN from port 0x5658 with a magic number in EAX and a command in ECX.
 */
#ifndef VMMD_VMPORT_H
#define VMMD_VMPORT_H

#include <stdbool.h>
#include <stdint.h>

#define VMPORT	0x5658

/* The low halves of RAX, RBX, RCX and RDX. */
struct vmport_regs {
	uint32_t eax, ebx, ecx, edx;
};

/*
 * Answer a call in place.  False, and nothing changed, when it is none: then
 * the port reads as any empty one.
 */
bool vmport_call(struct vmport_regs *regs, uint32_t tsc_khz);

#endif /* VMMD_VMPORT_H */
