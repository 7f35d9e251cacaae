// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clocks: the PM timer against the TSC on every CPU, TSCs of different CPUs
 * against each other, the RTC's seconds and its update flag against the TSC.
 */
#include "bare.h"

static uint8_t cmos(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static uint32_t mask;

/* TSC kHz by the PM timer over about 100 ms. */
static uint64_t rate(void)
{
	uint32_t t0, t1;
	uint64_t a, b;

	t0 = pm_timer_read();
	a = rdtsc();
	do {
		t1 = pm_timer_read();
		b = rdtsc();
	} while (((t1 - t0) & mask) < 357954);
	return (b - a) * 3579545 / ((t1 - t0) & mask) / 1000;
}

static void rate_on(void *arg)
{
	*(volatile uint64_t *)arg = rate();
}

static void pm_timer(void)
{
	unsigned int back = 0;
	uint32_t last;

	mask = platform.pm_timer_32bit ? 0xffffffff : 0xffffff;
	last = pm_timer_read();
	for (unsigned int i = 0; i < 2000; i++) {
		uint32_t now = pm_timer_read();

		back += ((now - last) & mask) > mask / 2;
		last = now;
	}
	ok(!back, "PM timer: back %u times of 2000", back);
	for (unsigned int i = 0; i < n_cpus; i++) {
		volatile uint64_t khz = 0;
		uint64_t diff;

		if (i)
			run_on(i, rate_on, (void *)&khz);
		else
			khz = rate();
		diff = khz > platform.tsc_khz ? khz - platform.tsc_khz : platform.tsc_khz - khz;
		ok(khz && diff * 20 < platform.tsc_khz, "CPU %u: the TSC runs at %lu kHz, at first %lu", i, khz,
		   platform.tsc_khz);
	}
}

static volatile uint64_t token, shared_tsc, worst;
#define ROUNDS 500

/* The token goes round; nobody may read a TSC before the last holder's. */
static void pass_on(void *arg)
{
	uint64_t me = (uint64_t)arg;

	for (uint64_t r = 0; r < ROUNDS; r++) {
		uint64_t now;

		while (__atomic_load_n(&token, __ATOMIC_ACQUIRE) != r * n_cpus + me)
			pause();
		now = rdtsc();
		if (now < shared_tsc && shared_tsc - now > worst)
			worst = shared_tsc - now;
		shared_tsc = rdtsc();
		__atomic_store_n(&token, r * n_cpus + me + 1, __ATOMIC_RELEASE);
	}
}

static void tsc(void)
{
	uint64_t start = rdtsc();

	for (uint64_t i = 1; i < n_cpus; i++)
		start_on(i, pass_on, (void *)i);
	pass_on(NULL);
	for (unsigned int i = 1; i < n_cpus; i++)
		wait_for(is_idle(i), 10000000);
	ok(!worst, "TSC round %u CPUs %u times: back by %lu, %lu us a round", n_cpus, ROUNDS, worst,
	   us_since(start) / ROUNDS);
}

static unsigned int number(uint8_t v, bool bcd)
{
	return bcd ? (v >> 4) * 10 + (v & 15) : v;
}

static void rtc(void)
{
	bool bcd = !(cmos(0xb) & 4), in_update = false;
	unsigned int sec, min, hour, day, mon;
	uint64_t start, us;

	cmos(0xc);
	sec = number(cmos(0), bcd);
	min = number(cmos(2), bcd);
	hour = number(cmos(4) & 0x7f, bcd);
	day = number(cmos(7), bcd);
	mon = number(cmos(8), bcd);
	ok(sec < 60 && min < 60 && hour < 24 && day >= 1 && day <= 31 && mon >= 1 && mon <= 12,
	   "RTC: month %u day %u, %02u:%02u:%02u", mon, day, hour, min, sec);
	ok(cmos(0xd) & 0x80, "RTC: time is valid");

	/* From the start of one second to the start of the next but one. */
	sec = number(cmos(0), bcd);
	wait_for(number(cmos(0), bcd) != sec, 3000000);
	start = rdtsc();
	sec = number(cmos(0), bcd);
	wait_for((number(cmos(0), bcd) + 60 - sec) % 60 >= 2, 5000000);
	us = us_since(start);
	ok(us > 1800000 && us < 2300000, "RTC: two seconds took %lu us", us);

	cmos(0xc);
	start = rdtsc();
	ok(wait_for(({ in_update |= cmos(0xa) >> 7; cmos(0xc) & 0x10; }), 3000000), "RTC: an update ended after %lu us%s",
	   us_since(start), in_update ? ", in progress seen" : "");
	ok(!(cmos(0xc) & 0x10), "RTC: reading register C clears it");
}

void test(void)
{
	if (platform.pm_timer)
		pm_timer();
	else
		ok(false, "no PM timer in the FADT");
	tsc();
	rtc();
}
