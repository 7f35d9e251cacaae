// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The hypervisor call port: see vmport.h.  Commands not listed answer all-ones
 * in EAX, which callers take for "not supported".
 */
#include "lapic.h"
#include "vmport.h"

#define MAGIC			0x564d5868
#define CMD_GET_VERSION		10
#define CMD_GET_HZ		45
#define CMD_GET_VCPU_INFO	68
#define VCPU_LEGACY_X2APIC	(1U << 3)	/* x2APIC works without interrupt remapping */

bool vmport_call(struct vmport_regs *r, uint32_t tsc_khz)
{
	uint64_t hz = (uint64_t)tsc_khz * 1000;

	if (r->eax != MAGIC)
		return false;
	switch (r->ecx & 0xffff) {
	case CMD_GET_VERSION:
		r->eax = 6;
		r->ebx = MAGIC;
		return true;
	case CMD_GET_HZ:
		r->eax = (uint32_t)hz;
		r->ebx = hz >> 32;
		r->ecx = LAPIC_BUS_HZ;
		return true;
	case CMD_GET_VCPU_INFO:
		r->eax = VCPU_LEGACY_X2APIC;
		return true;
	}
	return false;
}
