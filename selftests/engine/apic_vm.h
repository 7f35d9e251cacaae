/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine whose vCPUs share their local APICs' pages with the module, for the tests
 * of that: real mode, each interrupt handler reports its vector at a port.  One at a
 * time, in global variables.
 */
#ifndef APIC_VM_H
#define APIC_VM_H

#include "kvm_vm.h"

#define MEM_SIZE	(1UL << 20)
#define HANDLERS	0x2000UL	/* 8 bytes for each vector */
#define REPORT_PORT	0x20		/* handlers write their vector there */
#define DONE_PORT	0x21

#define TPR	(0x80 / 4)
#define LDR	(0xd0 / 4)
#define SVR	(0xf0 / 4)
#define ISR	(0x100 / 4)
#define TMR	(0x180 / 4)
#define IRR	(0x200 / 4)
#define LVTT	(0x320 / 4)

#define BASE_EXTD	(1U << 10)
#define NEVER		(~0ULL)

extern int dev, vm, vcpu[2];
extern struct kvm_run *run[2];
extern struct cvmm_apic_page *page[2];
extern uint8_t *mem, *code;

/* @nr (1 or 2) vCPUs with ids from 0, without pages, and memory at @at, MEM_SIZE bytes. */
void make_machine(void *at, unsigned int nr);
/* Give each a page, for a guest of @total vCPUs. */
void make_pages(unsigned int total);
/* Its descriptors and mappings; not its memory. */
void free_machine(void);
/* CVMM_VCPU_SET_APIC, and the mapping of the page. */
int set_apic(int fd, uint32_t version, uint32_t flags, uint32_t total, uint32_t khz);
void *map_page(int fd, size_t size);

/* vCPU @i and its page, as a program like vmmd has them before it runs; @code at CODE. */
void reset(unsigned int i, bool x2apic);
/* Write code, there and on. */
void emit(const void *bytes, size_t len);
void emit_wrmsr(uint32_t msr, uint32_t high, uint32_t low);
/* To the ICR, in x2APIC mode. */
void emit_icr(uint32_t dest, uint32_t low);

void post(unsigned int i, uint8_t v, bool level);
/* Is @v set in IRR, ISR or TMR? */
bool bit(unsigned int i, unsigned int bank, uint8_t v);
/* Run vCPU 0 until it writes @byte (< 0: any) to @port. */
bool runs_to(uint16_t port, int byte);

#endif /* APIC_VM_H */
