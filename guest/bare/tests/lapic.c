// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC of one CPU, first as xAPIC, then as x2APIC: identification,
 * task priority and CR8, pending and in-service bits, order of delivery, the
 * timer's three modes, and interrupts around STI and HLT.
 */
#include "bare.h"

static const char *mode;
static unsigned int order[8], n_order;

static void on_ordered(struct frame *f)
{
	if (n_order < 8)
		order[n_order++] = f->vector;
	apic_eoi();
}

static unsigned int hits(unsigned int vector)
{
	return this_cpu()->hits[vector];
}

static void self_ipi(unsigned int vector)
{
	apic_icr(0, ICR_SELF | ICR_ASSERT | vector);
}

static void identity(void)
{
	uint32_t id = apic_read(APIC_ID), version = apic_read(APIC_VERSION);

	if (!this_cpu()->x2apic)
		id >>= 24;
	ok(id == this_cpu()->apic_id, "%s: id %u, by CPUID %u", mode, id, this_cpu()->apic_id);
	ok((version & 0xf0) == 0x10 && (version >> 16 & 0xff) >= 3, "%s: version %x", mode, version);
	ok(rdmsr(MSR_APIC_BASE) >> 11 & 1 && (rdmsr(MSR_APIC_BASE) >> 8 & 1), "%s: enabled, boot CPU: %lx", mode,
	   rdmsr(MSR_APIC_BASE));
}

static void priority(void)
{
	unsigned int before;
	uint64_t cr8;

	apic_write(APIC_TPR, 0x50);
	__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
	ok(cr8 == 5 && apic_read(APIC_PPR) == 0x50, "%s: TPR 50 is CR8 %lu, PPR %x", mode, cr8, apic_read(APIC_PPR));
	__asm__ volatile("mov %0, %%cr8" :: "r"(8ul));
	ok(apic_read(APIC_TPR) == 0x80, "%s: CR8 8 is TPR %x", mode, apic_read(APIC_TPR));

	before = hits(0x85);
	self_ipi(0x85);
	sti();
	delay_us(2000);
	ok(hits(0x85) == before && apic_bit(APIC_IRR, 0x85), "%s: vector 85 waits for TPR 80", mode);
	apic_write(APIC_TPR, 0x70);
	ok(wait_for(hits(0x85) == before + 1, 1000000) && !apic_bit(APIC_IRR, 0x85), "%s: and comes with TPR 70", mode);
	cli();
	apic_write(APIC_TPR, 0);

	for (unsigned int v = 0x40; v <= 0x60; v += 0x10)
		set_handler(v, on_ordered);
	n_order = 0;
	self_ipi(0x40);
	self_ipi(0x60);
	self_ipi(0x50);
	self_ipi(0x50);
	ok(apic_bit(APIC_IRR, 0x40) && apic_bit(APIC_IRR, 0x50) && apic_bit(APIC_IRR, 0x60), "%s: three are pending", mode);
	sti();
	wait_for(n_order == 3, 1000000);
	cli();
	ok(n_order == 3 && order[0] == 0x60 && order[1] == 0x50 && order[2] == 0x40,
	   "%s: highest first: %u came, %x %x %x", mode, n_order, order[0], order[1], order[2]);
	for (unsigned int v = 0x40; v <= 0x60; v += 0x10)
		set_handler(v, NULL);

	this_cpu()->no_auto_eoi = true;
	before = hits(0x51);
	self_ipi(0x61);
	sti();
	wait_for(apic_bit(APIC_ISR, 0x61), 1000000);
	self_ipi(0x51);
	delay_us(2000);
	ok(apic_bit(APIC_ISR, 0x61) && hits(0x51) == before && apic_bit(APIC_IRR, 0x51) && apic_read(APIC_PPR) == 0x60,
	   "%s: 61 in service holds 51 back, PPR %x", mode, apic_read(APIC_PPR));
	apic_eoi();
	ok(wait_for(hits(0x51) == before + 1, 1000000) && !apic_bit(APIC_ISR, 0x61) && apic_bit(APIC_ISR, 0x51),
	   "%s: EOI lets it in", mode);
	apic_eoi();
	cli();
	this_cpu()->no_auto_eoi = false;
	ok(!apic_bit(APIC_ISR, 0x51), "%s: nothing is in service any more", mode);
}

/* How far the timer counts down in 1000 us with divider @tdcr, measured over @us. */
static uint32_t count_down(uint32_t tdcr, uint64_t us)
{
	uint64_t start;
	uint32_t left;

	apic_write(APIC_LVTT, LVT_MASKED | 0x70);
	apic_write(APIC_TDCR, tdcr);
	apic_write(APIC_TMICT, 0xffffffff);
	start = rdtsc();
	delay_us(us);
	left = apic_read(APIC_TMCCT);
	us = us_since(start);
	apic_write(APIC_TMICT, 0);
	return (0xffffffff - left) * 1000ull / us;
}

static void timer(void)
{
	uint32_t by_1 = count_down(0xb, 50000), by_16 = count_down(0x3, 50000), per_ms = by_16;
	unsigned int before;
	uint64_t start, us;
	uint32_t r[4];

	ok(by_1 && by_16 && by_1 / by_16 >= 12 && by_1 / by_16 <= 20, "%s: timer divided by 1: %u, by 16: %u in a millisecond",
	   mode, by_1, by_16);
	before = hits(0x71);
	apic_write(APIC_LVTT, 0x71);
	start = rdtsc();
	apic_write(APIC_TMICT, per_ms * 20);
	sti();
	wait_for(hits(0x71) > before, 2000000);
	us = (this_cpu()->last_hit_tsc - start) * 1000 / platform.tsc_khz;
	delay_us(60000);
	ok(hits(0x71) == before + 1 && us > 17000, "%s: one-shot of 20 ms: %u interrupts after %lu us", mode,
	   hits(0x71) - before, us);
	ok(us < 200000 && !apic_read(APIC_TMCCT), "%s: not too late, count is %u", mode, apic_read(APIC_TMCCT));

	before = hits(0x72);
	apic_write(APIC_LVTT, LVT_PERIODIC | 0x72);
	start = rdtsc();
	apic_write(APIC_TMICT, per_ms * 10);
	wait_for(hits(0x72) >= before + 10, 5000000);
	us = us_since(start);
	apic_write(APIC_TMICT, 0);
	ok(hits(0x72) >= before + 10 && us > 85000 && us < 1000000, "%s: 10 periods of 10 ms took %lu us", mode, us);
	delay_us(1000);
	before = hits(0x72);
	delay_us(30000);
	ok(hits(0x72) == before, "%s: a count of 0 stops it", mode);

	before = hits(0x73);
	apic_write(APIC_LVTT, LVT_MASKED | 0x73);
	apic_write(APIC_TMICT, per_ms);
	delay_us(20000);
	ok(hits(0x73) == before, "%s: masked, it is silent", mode);

	/* Asleep until it comes. */
	apic_write(APIC_LVTT, 0x74);
	before = hits(0x74);
	cli();
	start = rdtsc();
	apic_write(APIC_TMICT, per_ms * 30);
	__asm__ volatile("sti; hlt" ::: "memory");
	us = us_since(start);
	ok(hits(0x74) == before + 1 && us > 25000, "%s: HLT slept %lu us until the timer of 30 ms", mode, us);

	cpuid(1, 0, r);
	if (!(r[2] & 1 << 24)) {
		cli();
		skip("TSC deadline", "not offered");
		return;
	}
	apic_write(APIC_LVTT, LVT_DEADLINE | 0x75);
	__asm__ volatile("mfence" ::: "memory");
	before = hits(0x75);
	start = rdtsc();
	wrmsr(MSR_TSC_DEADLINE, start + platform.tsc_khz * 20);
	wait_for(hits(0x75) > before, 2000000);
	us = (this_cpu()->last_hit_tsc - start) * 1000 / platform.tsc_khz;
	ok(hits(0x75) == before + 1 && us >= 20000 && us < 200000 && !rdmsr(MSR_TSC_DEADLINE),
	   "%s: TSC deadline of 20 ms: %u interrupts after %lu us, then %lx", mode, hits(0x75) - before, us,
	   rdmsr(MSR_TSC_DEADLINE));
	before = hits(0x75);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + platform.tsc_khz * 20);
	wrmsr(MSR_TSC_DEADLINE, 0);
	delay_us(50000);
	ok(hits(0x75) == before, "%s: a deadline of 0 disarms", mode);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1000);
	ok(wait_for(hits(0x75) == before + 1, 1000000), "%s: a deadline in the past fires at once", mode);
	cli();
	apic_write(APIC_LVTT, LVT_MASKED);
}

static void shadows(void)
{
	unsigned int before = hits(0x76);

	self_ipi(0x76);
	__asm__ volatile("sti; cli; nop; nop" ::: "memory");
	ok(hits(0x76) == before, "%s: nothing comes between STI and CLI", mode);
	__asm__ volatile("sti; nop; cli" ::: "memory");
	ok(hits(0x76) == before + 1, "%s: it comes after the instruction behind STI", mode);
	before = hits(0x76);
	self_ipi(0x76);
	__asm__ volatile("sti; hlt; cli" ::: "memory");
	ok(hits(0x76) == before + 1, "%s: HLT does not sleep with one pending", mode);
}

static void disabled(void)
{
	uint32_t lvt;

	apic_write(APIC_LINT0, 0x77);
	apic_write(APIC_SVR, VEC_SPURIOUS);
	lvt = apic_read(APIC_LINT0);
	if (is_tcg())
		skip("software disable masks the LVT", "not in QEMU's APIC");
	else
		ok(lvt & LVT_MASKED, "%s: software disable masks the LVT: %x", mode, lvt);
	apic_init();
}

static void all(void)
{
	identity();
	priority();
	timer();
	shadows();
	disabled();
}

void test(void)
{
	mode = "xAPIC";
	all();
	if (!apic_enter_x2apic()) {
		skip("x2APIC", "not offered");
		return;
	}
	mode = "x2APIC";
	apic_init();
	all();
	ok(TRY("wrmsr", "c"(0x802), "d"(0)).vector == 13, "x2APIC: the id is read-only");
	ok(TRY("rdmsr", "c"(0x80b), "d"(0)).vector == 13, "x2APIC: EOI is write-only");
	ok(TRY("movl $1, %%eax; wrmsr", "c"(0x80b), "d"(0)).vector == 13, "x2APIC: EOI takes only 0");
	ok(apic_read(APIC_LDR) == (this_cpu()->apic_id >> 4 << 16 | 1u << (this_cpu()->apic_id & 15)),
	   "x2APIC: logical id %x", apic_read(APIC_LDR));
	{
		unsigned int before = hits(0x78);

		sti();
		wrmsr(0x83f, 0x78);
		ok(wait_for(hits(0x78) == before + 1, 1000000), "x2APIC: self IPI register");
		cli();
	}
}
