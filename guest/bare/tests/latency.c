// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What it costs to share, without an operating system in the way: pages between
 * the first and the last CPU (which a clustered guest has on different hosts) by
 * kind of fault, interrupts to a CPU that runs, that halts, and to oneself, device
 * accesses.  "# key=value" lines; the points only check that contents arrived.
 */
#include "bare.h"

#define PAGES 64

static uint8_t region[4][PAGES][PAGE_SIZE] __attribute__((aligned(4096)));

static volatile struct {
	uint64_t turn __attribute__((aligned(4096)));
	uint64_t us __attribute__((aligned(4096)));
	uint64_t sum;
} s __attribute__((aligned(4096)));

#define BOUNCES 100

static void bounce(void *arg)
{
	uint64_t me = (uint64_t)arg;

	for (uint64_t k = 0; k < BOUNCES; k++) {
		while (__atomic_load_n(&s.turn, __ATOMIC_ACQUIRE) != 2 * k + me)
			pause();
		__atomic_store_n(&s.turn, 2 * k + me + 1, __ATOMIC_RELEASE);
	}
}

static volatile uint64_t *word(unsigned int r, unsigned int page)
{
	return (volatile uint64_t *)region[r][page];
}

/* By the last CPU: one access to each page of a region. */
static void read_all(void *arg)
{
	unsigned int r = (uint64_t)arg;
	uint64_t start = rdtsc(), sum = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		sum += *word(r, i);
	s.us = us_since(start);
	s.sum = sum;
}

static void write_all(void *arg)
{
	unsigned int r = (uint64_t)arg;
	uint64_t start = rdtsc();

	for (unsigned int i = 0; i < PAGES; i++)
		*word(r, i) = 1000 + i;
	s.us = us_since(start);
}

static void devices(void *arg)
{
	uint64_t start = rdtsc();

	(void)arg;
	for (unsigned int i = 0; i < 50; i++)
		inb(0x3fd);
	s.us = us_since(start);
}

static void apic_reads(void *arg)
{
	uint64_t start = rdtsc();

	(void)arg;
	for (unsigned int i = 0; i < 50; i++)
		apic_read(APIC_VERSION);
	s.us = us_since(start);
}

static void measure(const char *what, unsigned int count, void (*fn)(void *), void *arg)
{
	if (!run_on(n_cpus - 1, fn, arg))
		ok(false, "%s: the last CPU does not answer", what);
	note("%s_us=%lu.%02lu", what, s.us / count, s.us % count * 100 / count);
}

static void fill(unsigned int r)
{
	for (unsigned int i = 0; i < PAGES; i++)
		*word(r, i) = i + 1;
}

static uint64_t sum(unsigned int r)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		n += *word(r, i);
	return n;
}

static void ipis(void)
{
	struct cpu *last = &cpus[n_cpus - 1];
	uint64_t total = 0, worst = 0;
	unsigned int got = 0;

	for (unsigned int i = 0; i < 30; i++) {
		unsigned int before = last->hits[0x60];
		uint64_t start = rdtsc(), us;

		apic_icr(last->apic_id, ICR_ASSERT | 0x60);
		if (!wait_for(last->hits[0x60] != before, 2000000))
			break;
		/* One TSC for all: when it arrived there. */
		us = (last->last_hit_tsc - start) * 1000 / platform.tsc_khz;
		total += us;
		worst = us > worst ? us : worst;
		got++;
		delay_us(3000);
	}
	note("ipi_us=%lu ipi_max_us=%lu", got ? total / got : 0, worst);
	ok(got == 30, "%u of 30 interrupts arrived at the last CPU", got);
}

/* Until vector 0x61 has come @times times to this CPU, which sleeps meanwhile. */
static void sleep_until(unsigned int times)
{
	struct cpu *me = this_cpu();

	cli();
	while (me->hits[0x61] < times) {
		__asm__ volatile("sti; hlt; cli" ::: "memory");
		/* What else wakes it (nothing should) does not end the wait. */
	}
	sti();
}

#define NODS 50

static void nod_back(void *arg)
{
	unsigned int before = this_cpu()->hits[0x61];

	(void)arg;
	s.turn = 1;
	for (unsigned int i = 1; i <= NODS; i++) {
		sleep_until(before + i);
		apic_icr(cpus[0].apic_id, ICR_ASSERT | 0x61);
	}
}

/* Two CPUs that halt wake each other in turn. */
static void halted_ipis(void)
{
	unsigned int last = n_cpus - 1, before = cpus[0].hits[0x61];
	uint64_t start, us;

	s.turn = 0;
	start_on(last, nod_back, NULL);
	if (!wait_for(s.turn, 2000000)) {
		ok(false, "the last CPU does not answer");
		return;
	}
	start = rdtsc();
	for (unsigned int i = 1; i <= NODS; i++) {
		apic_icr(cpus[last].apic_id, ICR_ASSERT | 0x61);
		sleep_until(before + i);
	}
	us = us_since(start);
	cli();
	note("ipi_halted_us=%lu.%02lu", us / (2 * NODS), us % (2 * NODS) * 100 / (2 * NODS));
	ok(wait_for(is_idle(last), 1000000), "%u interrupts each way between halted CPUs", NODS);
}

static void self_ipis(void)
{
	struct cpu *me = this_cpu();
	unsigned int before = me->hits[0x62];
	uint64_t start = rdtsc(), us;

	sti();
	for (unsigned int i = 1; i <= NODS; i++) {
		apic_icr(me->apic_id, ICR_ASSERT | 0x62);
		if (!wait_for(me->hits[0x62] == before + i, 1000000))
			break;
	}
	us = us_since(start);
	cli();
	note("self_ipi_us=%lu.%02lu", us / NODS, us % NODS * 100 / NODS);
	ok(me->hits[0x62] == before + NODS, "%u of %u interrupts to itself", me->hits[0x62] - before, NODS);
}

void test(void)
{
	uint64_t start, n;

	if (n_cpus < 2) {
		skip("latencies", "needs 2 CPUs");
		return;
	}
	start = rdtsc();
	start_on(n_cpus - 1, bounce, (void *)1);
	bounce(NULL);
	wait_for(is_idle(n_cpus - 1), 1000000);
	note("bounce_one_way_us=%lu", us_since(start) / (2 * BOUNCES));
	ok(s.turn == 2 * BOUNCES, "a line went there and back %lu times", s.turn / 2);

	measure("first_touch", PAGES, write_all, (void *)0);
	fill(1);
	measure("read_of_written", PAGES, read_all, (void *)1);
	ok(s.sum == PAGES * (PAGES + 1) / 2, "read what the first CPU wrote: sum %lu", s.sum);
	measure("read_again", PAGES, read_all, (void *)1);
	measure("upgrade", PAGES, write_all, (void *)1);
	ok(sum(1) == 1000 * PAGES + PAGES * (PAGES - 1) / 2, "the first CPU reads what the last wrote: sum %lu", sum(1));
	fill(2);
	measure("write_of_written", PAGES, write_all, (void *)2);
	ok(sum(2) == 1000 * PAGES + PAGES * (PAGES - 1) / 2, "written over: sum %lu", sum(2));
	start = rdtsc();
	n = sum(0);
	note("read_back_by_home_us=%lu", us_since(start) / PAGES);
	ok(n == 1000 * PAGES + PAGES * (PAGES - 1) / 2, "first touched there: sum %lu", n);
	measure("port_read", 50, devices, NULL);
	measure("apic_read", 50, apic_reads, NULL);
	ipis();
	halted_ipis();
	self_ipis();
}
