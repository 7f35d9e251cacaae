// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The TSC estimator against two simulated counters of known distance and drift
 * and a network with random, asymmetric delays: the true offset must always lie
 * inside the estimate's bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "vmmd/tsc.h"

#define GHZ	2000000000.0

/* xorshift64*: seeded, repeatable */
static uint64_t rnd(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1dULL;
}

struct pair {
	double offset;		/* remote - local at time 0, cycles */
	double ppm;		/* how much faster the remote counter runs */
};

static double truth(const struct pair *p, double t)
{
	return p->offset + t * p->ppm / 1e6;
}

static void exchange(struct tsc_est *e, const struct pair *p, double t, double out, double back)
{
	double back_at = t + out + 500;
	struct tsc_sample s = {
		.sent = (uint64_t)t,
		.peer_got = (uint64_t)(int64_t)(t + out + truth(p, t + out)),
		.peer_sent = (uint64_t)(int64_t)(back_at + truth(p, back_at)),
		.got = (uint64_t)(back_at + back),
	};

	assert_int_equal(tsc_est_add(e, &s), 0);
}

static uint64_t distance(int64_t a, double b)
{
	double d = (double)a - b;

	return (uint64_t)(d < 0 ? -d : d);
}

static void run(uint64_t seed, double ppm, double offset, uint64_t *worst_bound)
{
	struct pair p = { .offset = offset, .ppm = ppm };
	struct tsc_est e;
	double t = 5e9;
	int i;

	tsc_est_init(&e, TSC_DRIFT_PPM);
	*worst_bound = 0;
	for (i = 0; i < 2000; i++) {
		/* 10 us at best, sometimes 100 times that, never symmetric */
		double out = 20000 + rnd(&seed) % (rnd(&seed) % 4 ? 3000 : 2000000);
		double back = 20000 + rnd(&seed) % (rnd(&seed) % 4 ? 9000 : 1000000);
		uint64_t bound;
		int64_t off;

		exchange(&e, &p, t, out, back);
		t += 0.1 * GHZ;
		assert_true(tsc_est_get(&e, (uint64_t)t, &off, &bound));
		/* 4: truncation of the stamps above */
		assert_true(distance(off, truth(&p, t)) <= bound + 4);
		if (i > 20 && bound > *worst_bound)
			*worst_bound = bound;
	}
	assert_int_equal(e.resets, 0);
	assert_in_range(e.best_rtt, 40000, 53000);
}

static void test_true_offset_is_within_bound(void **state)
{
	static const double ppms[] = { 0, 1, -30, 100, -100, 199 };
	uint64_t worst;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(ppms) / sizeof(*ppms); i++)
		for (uint64_t seed = 1; seed <= 20; seed++)
			run(seed * 77, ppms[i], seed % 2 ? 1e12 : -3e9, &worst);
}

static void test_bound_is_sharp(void **state)
{
	uint64_t worst;

	(void)state;
	run(42, 0, 1e9, &worst);
	/* half the best round trip, the drift of a few periods between lucky exchanges, no more */
	assert_true(worst < 26500 + 20 * 0.1 * GHZ * TSC_DRIFT_PPM / 1e6);
}

/* One-way luck adds up: the best request and the best answer of different exchanges. */
static void test_bounds_of_different_exchanges_combine(void **state)
{
	struct pair p = { .offset = 123456789, .ppm = 0 };
	struct tsc_est e;
	uint64_t bound;
	int64_t off;

	(void)state;
	tsc_est_init(&e, 1);
	exchange(&e, &p, 1e6, 1000, 900000);
	exchange(&e, &p, 3e6, 900000, 1000);
	assert_true(tsc_est_get(&e, 5000000, &off, &bound));
	assert_true(bound < 1100);
	assert_true(distance(off, p.offset) <= bound + 2);
}

static void test_a_jump_starts_over(void **state)
{
	struct pair p = { .offset = 1000000, .ppm = 0 };
	struct tsc_est e;
	uint64_t bound;
	int64_t off;

	(void)state;
	tsc_est_init(&e, TSC_DRIFT_PPM);
	exchange(&e, &p, 1e6, 1000, 1000);
	p.offset = 9000000;
	exchange(&e, &p, 2e6, 1000, 1000);
	assert_int_equal(e.resets, 1);
	assert_true(tsc_est_get(&e, 2100000, &off, &bound));
	assert_true(distance(off, p.offset) <= bound + 2);
}

static void test_nonsense_is_refused(void **state)
{
	static const struct tsc_sample bad[] = {
		{ .sent = 100, .peer_got = 1, .peer_sent = 2, .got = 99 },
		{ .sent = 100, .peer_got = 5, .peer_sent = 4, .got = 200 },
		{ .sent = 100, .peer_got = 5, .peer_sent = 500, .got = 200 },
	};
	struct tsc_est e;
	uint64_t bound;
	int64_t off;
	size_t i;

	(void)state;
	tsc_est_init(&e, TSC_DRIFT_PPM);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(tsc_est_add(&e, &bad[i]), -EINVAL);
	assert_false(tsc_est_get(&e, 1000, &off, &bound));
}

static void test_rates(void **state)
{
	(void)state;
	assert_true(tsc_khz_match(2000000, 2000000));
	assert_true(tsc_khz_match(2000000, 2000400));
	assert_true(tsc_khz_match(2000400, 2000000));
	assert_false(tsc_khz_match(2000000, 2000401));
	assert_false(tsc_khz_match(2000000, 2100000));
	assert_false(tsc_khz_match(0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_true_offset_is_within_bound),
		cmocka_unit_test(test_bound_is_sharp),
		cmocka_unit_test(test_bounds_of_different_exchanges_combine),
		cmocka_unit_test(test_a_jump_starts_over),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
