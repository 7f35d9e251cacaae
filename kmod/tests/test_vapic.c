// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The module's part of the local APIC: what it serves and what it leaves alone, and
 * that no content of the page leads it astray.  What a guest sees of registers, modes
 * and errors is tested in vmmd/tests/test_lapic.c, on the same code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../vapic.h"

#define KHZ	2000000U

#define LVT_PERIODIC	(VAPIC_TIMER_PERIODIC | 0xec)
#define ICR_LOGICAL	VAPIC_ICR_LOGICAL

struct fixture {
	struct vapic a;
	struct cvmm_apic_page page;
	u64 tsc;
	bool takes;		/* what send() says */
	unsigned int nr_sent;
	u32 icr, dest;
};

static u64 now(void *ctx)
{
	return ((struct fixture *)ctx)->tsc;
}

static bool send(void *ctx, u32 icr, u32 dest)
{
	struct fixture *f = ctx;

	assert_true((icr & 0xff) >= 16);
	assert_int_equal(icr >> 8 & 7, 0);
	assert_int_not_equal(icr >> 18 & 3, VAPIC_TO_SELF);
	f->nr_sent++;
	f->icr = icr;
	f->dest = dest;
	return f->takes;
}

static const struct vapic_ops ops = { .now = now, .send = send };

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.tsc = 1000;
	f.takes = true;
	f.page.deadline = VAPIC_NEVER;
	f.a = (struct vapic){
		.page = &f.page, .ops = &ops, .ctx = &f, .tsc_khz = KHZ,
		.base = 0xfee00000 | VAPIC_BASE_ENABLE,
	};
	vapic_put(&f.a, VAPIC_SVR, 0x1ff);
	*state = &f;
	return 0;
}

/* A write that is not served changes nothing. */
static void refuses(struct fixture *f, u32 off, u32 val)
{
	struct cvmm_apic_page before = f->page;

	assert_false(vapic_write(&f->a, off, val));
	assert_memory_equal(&before, &f->page, sizeof(before));
}

static void refuses_msr(struct fixture *f, u32 msr, u64 val)
{
	struct cvmm_apic_page before = f->page;

	assert_false(vapic_wrmsr(&f->a, msr, val));
	assert_memory_equal(&before, &f->page, sizeof(before));
}

static void test_rare_writes(void **state)
{
	static const u32 served[] = {
		VAPIC_TPR, VAPIC_EOI, VAPIC_ICR, VAPIC_ICR2, VAPIC_TMICT, VAPIC_TDCR,
	};
	struct fixture *f = *state;
	unsigned int i;
	u32 off;

	for (off = 0; off < 4096; off++) {
		for (i = 0; i < ARRAY_SIZE(served); i++)
			if (off == served[i])
				break;
		if (i == ARRAY_SIZE(served))
			refuses(f, off, 0x40ee);
		else
			assert_true(vapic_write(&f->a, off, 0x40ee));
	}
	for (off = 0; off < 0x100; off++)	/* not in that mode */
		refuses_msr(f, VAPIC_MSR_FIRST + off, 0x40);
}

static void test_icr(void **state)
{
	struct fixture *f = *state;
	u32 icr;
	u64 val;

	assert_true(vapic_write(&f->a, VAPIC_ICR2, 7U << 24));
	assert_true(vapic_write(&f->a, VAPIC_ICR, 0x40fd));
	assert_int_equal(f->dest, 7);
	assert_int_equal(vapic_get(&f->a, VAPIC_ICR), 0x40fd);
	/* The receiver is elsewhere: left alone. */
	f->takes = false;
	refuses(f, VAPIC_ICR, 0x40ee);
	assert_int_equal(f->nr_sent, 2);
	/* All other delivery modes, and illegal vectors, are not even offered. */
	for (icr = 0x100; icr < 0x800; icr += 0x100)
		refuses(f, VAPIC_ICR, 0x4000 | icr | 0x40);
	refuses(f, VAPIC_ICR, 0x400f);
	refuses(f, VAPIC_ICR, 0x4400f);
	assert_int_equal(f->nr_sent, 2);
	/* Self, while it is enabled. */
	assert_true(vapic_write(&f->a, VAPIC_ICR, 0x44055));
	assert_int_equal(vapic_next(&f->a), 0x55);
	vapic_accept(&f->a, 0x55);
	vapic_put(&f->a, VAPIC_SVR, 0xff);
	assert_true(vapic_write(&f->a, VAPIC_ICR, 0x44066));
	assert_int_equal(vapic_next(&f->a), -1);

	f->a.base |= VAPIC_BASE_EXTD;
	f->takes = true;
	assert_true(vapic_wrmsr(&f->a, 0x830, 0x12345ULL << 32 | ICR_LOGICAL | 0x44));
	assert_int_equal(f->dest, 0x12345);
	assert_int_equal(f->icr, ICR_LOGICAL | 0x44);
	assert_true(vapic_rdmsr(&f->a, 0x830, &val));
	assert_int_equal(val, 0x12345ULL << 32 | ICR_LOGICAL | 0x44);
	f->takes = false;
	refuses_msr(f, 0x830, 0x1ULL << 32 | 0x44);
	refuses_msr(f, 0x83f, 0x5);
	refuses_msr(f, 0x83f, 0x155);
	refuses_msr(f, 0x808, 0x100);
	refuses_msr(f, 0x80b, 1);
	refuses_msr(f, 0x838, 1ULL << 32);
	assert_false(vapic_rdmsr(&f->a, 0x831, &val));
	assert_false(vapic_rdmsr(&f->a, 0x80e, &val));
	assert_false(vapic_rdmsr(&f->a, 0x8ff, &val));
}

static void test_eoi(void **state)
{
	struct fixture *f = *state;
	bool level;

	vapic_post(&f->a, 0x41, true);
	vapic_post(&f->a, 0x82, false);
	assert_true(vapic_posted(&f->a));
	assert_int_equal(vapic_next(&f->a), 0x82);
	assert_false(vapic_posted(&f->a));
	vapic_accept(&f->a, 0x82);
	assert_true(vapic_write(&f->a, VAPIC_EOI, 0));
	assert_int_equal(vapic_next(&f->a), 0x41);
	vapic_accept(&f->a, 0x41);
	/* The IOAPIC has to be told. */
	refuses(f, VAPIC_EOI, 0);
	assert_int_equal(vapic_in_service(&f->a, &level), 0x41);
	assert_true(level);
	vapic_end(&f->a, 0x41);
	assert_int_equal(vapic_in_service(&f->a, &level), -1);
	assert_false(level);
	assert_true(vapic_write(&f->a, VAPIC_EOI, 0));
}

static void test_periodic_is_bounded(void **state)
{
	struct fixture *f = *state;

	vapic_put(&f->a, VAPIC_LVT_TIMER, LVT_PERIODIC);
	f->page.deadline = 5;
	f->page.period = 1;
	vapic_timer_run(&f->a, 1000);
	assert_int_equal(vapic_next(&f->a), 0xec);
	assert_true(f->page.deadline >= 5 + 50ULL * KHZ / 1000);
}

/* xorshift64* */
static u64 rnd(void)
{
	static u64 x = 88172645463325252ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return x * 2685821657736338717ULL;
}

/* Whatever the page holds: results in range, and the sanitizers have nothing to say. */
static void test_hostile_page(void **state)
{
	struct fixture *f = *state;
	unsigned int round, i;
	bool level;
	u64 val64;
	u32 val;
	int v;

	for (round = 0; round < 20000; round++) {
		u64 *word = (u64 *)&f->page;
		u32 off = rnd() & 0xff0, msr = rnd() & 1 ? VAPIC_MSR_DEADLINE : 0x800 + (rnd() & 0xff);

		if (round % 16 == 0)
			for (i = 0; i < sizeof(f->page) / sizeof(*word); i++)
				word[i] = rnd() & 1 ? rnd() : rnd() & 2 ? 0 : ~0ULL;
		f->a.base = 0xfee00000 | (rnd() & (VAPIC_BASE_ENABLE | VAPIC_BASE_EXTD));
		f->a.tsc_khz = rnd() & 3 ? (rnd() & 0xffffffff) | 1 : 1;
		f->tsc = rnd() >> (rnd() & 63);
		f->takes = rnd() & 1;
		vapic_post(&f->a, 16 + rnd() % 240, rnd() & 1);
		v = vapic_next(&f->a);
		assert_true(v == -1 || (v >= 16 && v < 256));
		if (v >= 0)
			vapic_accept(&f->a, v);
		v = vapic_in_service(&f->a, &level);
		assert_true(v >= -1 && v < 256);
		vapic_timer_run(&f->a, f->tsc);
		vapic_write(&f->a, off, rnd());
		vapic_read(&f->a, off, &val);
		vapic_wrmsr(&f->a, msr, rnd() & 1 ? rnd() : rnd() & 0xff);
		vapic_rdmsr(&f->a, msr, &val64);
		assert_true(vapic_read(&f->a, VAPIC_TMCCT, &val));
		assert_true(val <= vapic_get(&f->a, VAPIC_TMICT));
		vapic_claims(&f->a, rnd());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rare_writes, setup),
		cmocka_unit_test_setup(test_icr, setup),
		cmocka_unit_test_setup(test_eoi, setup),
		cmocka_unit_test_setup(test_periodic_is_bounded, setup),
		cmocka_unit_test_setup(test_hostile_page, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
