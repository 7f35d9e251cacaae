// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts between CPUs, first xAPIC, then x2APIC: physical and logical
 * destinations (flat and cluster), shorthands, broadcast, lowest priority, NMI,
 * INIT and STARTUP, waking a halted CPU, and a long exchange that loses none.
 */
#include "bare.h"

static const char *mode;

static unsigned int total(unsigned int vector)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < n_cpus; i++)
		n += cpus[i].hits[vector];
	return n;
}

/* Send with @icr; exactly the CPUs of @set (bit per index) get @vector, once. */
static void send(const char *what, uint32_t dest, uint32_t icr, unsigned int vector, uint64_t set)
{
	unsigned int before[MAX_CPUS], wrong = 0, want = 0, start = total(vector);

	for (unsigned int i = 0; i < n_cpus; i++) {
		before[i] = cpus[i].hits[vector];
		want += set >> i & 1;
	}
	apic_icr(dest, icr | ICR_ASSERT | vector);
	wait_for(total(vector) >= start + want, 3000000);
	delay_us(3000);
	for (unsigned int i = 0; i < n_cpus; i++)
		wrong += cpus[i].hits[vector] - before[i] != (set >> i & 1);
	ok(!wrong, "%s: %s: %u of %u CPUs as expected", mode, what, n_cpus - wrong, n_cpus);
}

static uint64_t everybody(void)
{
	return n_cpus == 64 ? ~0ull : (1ull << n_cpus) - 1;
}

static void set_logical(void *arg)
{
	uint64_t v = (uint64_t)arg;

	apic_write(APIC_DFR, v >> 32);
	apic_write(APIC_LDR, (uint32_t)v);
}

static void logical_everywhere(uint32_t dfr, uint32_t (*ldr)(unsigned int))
{
	for (unsigned int i = 1; i < n_cpus; i++)
		if (!run_on(i, set_logical, (void *)((uint64_t)dfr << 32 | ldr(i) << 24)))
			ok(false, "%s: CPU %u does not answer", mode, i);
	set_logical((void *)((uint64_t)dfr << 32 | ldr(0) << 24));
}

static uint32_t flat(unsigned int i)
{
	return i < 8 ? 1 << i : 0;
}

static uint32_t cluster(unsigned int i)
{
	return i < 60 ? i / 4 << 4 | 1 << i % 4 : 0;
}

/* Of all in the set, one gets it. */
static void lowest(const char *what, uint32_t dest, uint32_t icr)
{
	unsigned int got = 0, wrong = 0;

	for (unsigned int k = 0; k < 20; k++) {
		unsigned int before = total(0x57);

		apic_icr(dest, icr | ICR_LOWEST | ICR_ASSERT | 0x57);
		wait_for(total(0x57) > before, 1000000);
		delay_us(500);
		got += total(0x57) - before;
		wrong += total(0x57) - before != 1;
	}
	ok(!wrong, "%s: lowest priority, %s: %u interrupts of 20 messages", mode, what, got);
}

static volatile unsigned int halted;

static void halt(void *arg)
{
	struct cpu *c = this_cpu();
	unsigned int before = c->hits[0x58];

	(void)arg;
	cli();
	halted = 1;
	while (c->hits[0x58] == before)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	sti();
}

static void masked(void *arg)
{
	cli();
	__atomic_store_n((volatile unsigned int *)arg, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n((volatile unsigned int *)arg, __ATOMIC_SEQ_CST) != 2)
		pause();
	sti();
}

static volatile unsigned int ball, lost;
#define ROUNDS 200

static void on_ball(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&ball, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
	/* On to the next CPU, until it has been round often enough. */
	if (ball < ROUNDS)
		apic_icr(cpus[(this_cpu()->index + 1) % n_cpus].apic_id, ICR_ASSERT | 0x59);
}

static void physical(void)
{
	char what[] = "physical to CPU 0";

	for (unsigned int i = 0; i < n_cpus && i < 10; i++) {
		what[sizeof(what) - 2] = '0' + i;
		send(what, cpus[i].apic_id, ICR_FIXED, 0x50, 1ull << i);
	}
	send("to an APIC id that nobody has", 0x7e, ICR_FIXED, 0x51, 0);
	send("physical broadcast", this_cpu()->x2apic ? 0xffffffff : 0xff, ICR_FIXED, 0x52, everybody());
	send("all", 0, ICR_ALL, 0x53, everybody());
	send("all but self", 0, ICR_OTHERS, 0x54, everybody() & ~1ull);
	send("self", 0, ICR_SELF, 0x55, 1);
}

static void logical(void)
{
	uint32_t low, high;

	if (this_cpu()->x2apic) {
		/* The logical id follows from the id: 16 to a cluster. */
		low = 1u << (cpus[0].apic_id & 15);
		high = 1u << (cpus[n_cpus - 1].apic_id & 15);
		if (cpus[n_cpus - 1].apic_id >> 4 != cpus[0].apic_id >> 4)
			high = low;
		low |= cpus[0].apic_id >> 4 << 16;
		send("logical, one", low, ICR_LOGICAL, 0x56, 1);
		send("logical, first and last", low | high, ICR_LOGICAL, 0x56,
		     (high == (low & 0xffff) ? 0 : 1ull << (n_cpus - 1)) | 1);
		lowest("first and last", low | high, ICR_LOGICAL);
		return;
	}
	logical_everywhere(0xffffffff, flat);
	send("flat, last CPU", flat(n_cpus - 1), ICR_LOGICAL, 0x56, flat(n_cpus - 1) ? 1ull << (n_cpus - 1) : 0);
	send("flat, first and last", flat(0) | flat(n_cpus - 1), ICR_LOGICAL, 0x56,
	     1 | (flat(n_cpus - 1) ? 1ull << (n_cpus - 1) : 0));
	send("flat, all", 0xff, ICR_LOGICAL, 0x56, everybody() & 0xff);
	lowest("flat, all", 0xff, ICR_LOGICAL);
	lowest("flat, all but the first", 0xfe, ICR_LOGICAL);
	logical_everywhere(0x0fffffff, cluster);
	send("cluster, last CPU", cluster(n_cpus - 1), ICR_LOGICAL, 0x56, 1ull << (n_cpus - 1));
	send("cluster 0, all of it", 0x0f, ICR_LOGICAL, 0x56, everybody() & 0xf);
	send("a cluster that nobody is in", 0xef, ICR_LOGICAL, 0x56, 0);
	lowest("cluster 0", 0x0f, ICR_LOGICAL);
	logical_everywhere(0xffffffff, flat);
}

static void special(void)
{
	unsigned int flag = 0, before, started, last = n_cpus - 1;

	if (n_cpus < 2) {
		skip("NMI, halted CPUs, INIT", "needs 2 CPUs");
		return;
	}
	send("NMI to one, vector ignored", cpus[last].apic_id, ICR_NMI, 2, 1ull << last);
	send("NMI to all others", 0, ICR_NMI | ICR_OTHERS, 2, everybody() & ~1ull);

	start_on(last, masked, &flag);
	wait_for(__atomic_load_n(&flag, __ATOMIC_SEQ_CST) == 1, 1000000);
	before = cpus[last].hits[0x5a];
	apic_icr(cpus[last].apic_id, ICR_ASSERT | 0x5a);
	apic_icr(cpus[last].apic_id, ICR_NMI | ICR_ASSERT);
	wait_for(false, 5000);
	ok(cpus[last].hits[0x5a] == before, "%s: interrupts wait while IF is clear", mode);
	__atomic_store_n(&flag, 2, __ATOMIC_SEQ_CST);
	ok(wait_for(cpus[last].hits[0x5a] == before + 1, 1000000), "%s: and come when it is set", mode);
	wait_for(is_idle(last), 1000000);

	halted = 0;
	start_on(last, halt, NULL);
	wait_for(halted, 1000000);
	delay_us(10000);
	apic_icr(cpus[last].apic_id, ICR_ASSERT | 0x58);
	ok(wait_for(is_idle(last), 3000000), "%s: an interrupt wakes a halted CPU", mode);

	/* A running CPU takes no notice of STARTUP. */
	started = cpus[last].started;
	apic_icr(cpus[last].apic_id, ICR_STARTUP | AP_BASE >> 12);
	delay_us(20000);
	before = cpus[last].hits[0x5b];
	apic_icr(cpus[last].apic_id, ICR_ASSERT | 0x5b);
	ok(wait_for(cpus[last].hits[0x5b] == before + 1, 1000000) && cpus[last].started == started,
	   "%s: STARTUP does nothing to a running CPU", mode);

	/* After INIT it hears nothing but STARTUP. */
	apic_icr(cpus[last].apic_id, ICR_INIT | ICR_ASSERT | ICR_LEVEL);
	delay_us(20000);
	apic_icr(cpus[last].apic_id, ICR_INIT | ICR_LEVEL);
	before = cpus[last].hits[0x5c];
	apic_icr(cpus[last].apic_id, ICR_ASSERT | 0x5c);
	delay_us(20000);
	ok(cpus[last].hits[0x5c] == before, "%s: a CPU in INIT takes no interrupts", mode);
	for (unsigned int k = 0; k < 3; k++)
		ok(ap_restart(last) && cpus[last].started == started + 1 + k, "%s: INIT and STARTUP, time %u", mode, k + 1);
	ok(cpus[last].hits[0x5c] == before, "%s: what was sent in INIT is gone", mode);
	/* INIT resets the CPU's mode, too. */
	if (this_cpu()->x2apic && !cpus[last].x2apic)
		note("x2APIC: CPU %u is in xAPIC mode after INIT", last);
}

static void exchange(void)
{
	uint64_t start = rdtsc();

	ball = 0;
	set_handler(0x59, on_ball);
	apic_icr(cpus[1 % n_cpus].apic_id, ICR_ASSERT | 0x59);
	wait_for(ball >= ROUNDS, 30000000);
	ok(ball == ROUNDS, "%s: %u of %u interrupts round all CPUs, %lu us each", mode, ball, ROUNDS,
	   us_since(start) / ROUNDS);
	set_handler(0x59, NULL);
}

static void enter(void *arg)
{
	*(bool *)arg = apic_enter_x2apic();
	apic_init();
}

static void all(void)
{
	sti();
	physical();
	logical();
	exchange();
	special();
	cli();
}

void test(void)
{
	bool entered = true;

	mode = "xAPIC";
	all();
	for (unsigned int i = 1; i < n_cpus && entered; i++)
		if (!run_on(i, enter, &entered))
			ok(false, "CPU %u does not answer", i);
	if (entered)
		enter(&entered);
	if (!entered) {
		skip("x2APIC", "not offered");
		return;
	}
	mode = "x2APIC";
	all();
}
