// SPDX-License-Identifier: GPL-2.0-or-later
/* Per-CPU data, start of the other CPUs by INIT and STARTUP, and work for them. */
#include "bare.h"

struct cpu cpus[MAX_CPUS];
unsigned int n_cpus = 1;

extern const uint8_t ap_start[], ap_end[];
extern volatile uint32_t ap_next;
extern uint64_t gdt[];

void ap_main(unsigned int index);

/* GS, a TSS of its own (the descriptor is shared: it is only read by LTR). */
void cpu_init(struct cpu *c, unsigned int index)
{
	static volatile uint32_t lock;
	uint64_t base = (uint64_t)c->tss;
	uint32_t r[4];

	c->self = c;
	c->index = index;
	cpuid(1, 0, r);
	c->apic_id = r[1] >> 24;
	wrmsr(MSR_GS_BASE, (uint64_t)c);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 11);	/* NXE */
	WRITE_CR(0, (READ_CR(0) | 1 << 16 | 1 << 1) & ~(1ull << 2 | 1ull << 3));	/* WP, MP; not EM, TS */
	WRITE_CR(4, READ_CR(4) | 3 << 9);		/* SSE */

	/* 64-bit TSS: RSP0 at byte 4, IST1 at 36, I/O map base at 102. */
	*(uint64_t *)((uint8_t *)c->tss + 4) = (uint64_t)(c->ist_stack + 256);
	*(uint64_t *)((uint8_t *)c->tss + 36) = (uint64_t)(c->ist_stack + 512);
	*(uint16_t *)((uint8_t *)c->tss + 102) = 104;
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		pause();
	gdt[SEL_TSS / 8] = 0x67 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("ltr %w0" :: "r"(SEL_TSS));
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

void ap_main(unsigned int index)
{
	struct cpu *c = &cpus[index];

	cpu_init(c, index);
	idt_load();
	c->x2apic = rdmsr(MSR_APIC_BASE) >> 10 & 1;
	apic_init();
	__atomic_fetch_add(&c->started, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		void (*fn)(void *arg);

		sti();
		while (!(fn = __atomic_load_n(&c->fn, __ATOMIC_ACQUIRE)))
			pause();
		fn(c->arg);
		__atomic_store_n(&c->fn, NULL, __ATOMIC_RELEASE);
	}
}

void start_on(unsigned int index, void (*fn)(void *arg), void *arg)
{
	cpus[index].arg = arg;
	__atomic_store_n(&cpus[index].fn, fn, __ATOMIC_RELEASE);
}

bool is_idle(unsigned int index)
{
	return !__atomic_load_n(&cpus[index].fn, __ATOMIC_ACQUIRE);
}

bool run_on(unsigned int index, void (*fn)(void *arg), void *arg)
{
	start_on(index, fn, arg);
	return wait_for(is_idle(index), 10000000);
}

/* INIT, a pause, STARTUP twice (the second for CPUs that missed the first). */
static bool kick(uint32_t apic_id, unsigned int index)
{
	unsigned int before = cpus[index].started;

	ap_next = index;
	apic_icr(apic_id, ICR_INIT | ICR_ASSERT | ICR_LEVEL);
	delay_us(10000);
	apic_icr(apic_id, ICR_INIT | ICR_LEVEL);
	for (int i = 0; i < 2; i++) {
		apic_icr(apic_id, ICR_STARTUP | AP_BASE >> 12);
		if (wait_for(__atomic_load_n(&cpus[index].started, __ATOMIC_ACQUIRE) != before, i ? 10000000 : 200000))
			return true;
	}
	return false;
}

bool ap_restart(unsigned int index)
{
	cpus[index].fn = NULL;
	cpus[index].resume = 0;
	cpus[index].no_auto_eoi = false;
	return kick(cpus[index].apic_id, index);
}

void smp_init(void)
{
	memcpy((void *)AP_BASE, ap_start, ap_end - ap_start);
	for (unsigned int i = 0; i < platform.cpus; i++) {
		if (platform.apic_id[i] == cpus[0].apic_id)
			continue;
		if (!kick(platform.apic_id[i], n_cpus)) {
			note("the CPU with APIC id %u does not start", platform.apic_id[i]);
			continue;
		}
		n_cpus++;
	}
}
