// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Percentiles, against the sorted times themselves; and the module and the
 * programs agree on the buckets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kmod/hist.h"
#include "vmmd/hist.h"

static struct hist h;

static void add(uint64_t ns)
{
	h.bucket[cvmm_hist_bucket(ns)]++;
	h.sum_ns += ns;
}

static int start(void **state)
{
	(void)state;
	memset(&h, 0, sizeof(h));
	return 0;
}

static void module_agrees(void **state)
{
	(void)state;
	for (unsigned int b = 0; b < CVMM_NL_HIST_BUCKETS; b++) {
		assert_int_equal(cvmm_hist_bucket(hist_begin(b)), b);
		assert_int_equal(cvmm_hist_bucket(hist_begin(b + 1) - 1), b);
	}
}

static void nothing(void **state)
{
	(void)state;
	assert_int_equal(hist_count(&h), 0);
	assert_int_equal(hist_percentile(&h, 50, 100), 0);
	assert_int_equal(hist_max(&h), 0);
}

static void one(void **state)
{
	(void)state;
	add(1000000);
	for (unsigned int p = 1; p <= 1000; p++) {
		assert_true(hist_percentile(&h, p, 1000) >= 1000000 * 7 / 8);
		assert_true(hist_percentile(&h, p, 1000) <= 1000000 * 9 / 8);
	}
	assert_true(hist_max(&h) > 1000000);
}

/* Ranks: of 1000 times, 990 are short, 9 longer, 1 longest. */
static void tails(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 1000; i++)
		add(i < 990 ? 10000 : i < 999 ? 1000000 : 100000000);
	assert_in_range(hist_percentile(&h, 50, 100), 9000, 11500);
	assert_in_range(hist_percentile(&h, 99, 100), 9000, 11500);
	assert_in_range(hist_percentile(&h, 991, 1000), 900000, 1150000);
	assert_in_range(hist_percentile(&h, 999, 1000), 900000, 1150000);
	assert_in_range(hist_percentile(&h, 1000, 1000), 90000000, 115000000);
	assert_in_range(hist_max(&h), 100000001, 115000000);
}

static int cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void at_random(void **state)
{
	static const unsigned int parts[] = { 1, 100, 500, 900, 990, 999, 1000 };
	static uint64_t t[10000];
	const size_t n = sizeof(t) / sizeof(t[0]);
	uint64_t seed = 7;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		t[i] = 3000 + (seed >> 33) % (1ULL << (12 + (seed >> 28) % 16));
		add(t[i]);
	}
	qsort(t, n, sizeof(t[0]), cmp);
	assert_int_equal(hist_count(&h), n);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t want = t[(n * parts[i] + 999) / 1000 - 1];
		uint64_t got = hist_percentile(&h, parts[i], 1000);

		assert_true(got > want ? (got - want) * 7 <= want : (want - got) * 8 <= want);
	}
}

/* Counts near the end of 64 bits, and times beyond the last bucket. */
static void huge(void **state)
{
	(void)state;
	add(~0ULL);
	assert_int_equal(hist_percentile(&h, 1, 2) >= hist_begin(CVMM_NL_HIST_BUCKETS - 1), 1);
	h.bucket[0] = ~0ULL - 1;
	assert_true(hist_percentile(&h, 999, 1000) < 256);
	assert_true(hist_percentile(&h, 1000, 1000) >= hist_begin(CVMM_NL_HIST_BUCKETS - 1));
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(module_agrees), T(nothing), T(one), T(tails), T(at_random), T(huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
