// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Buckets of histograms: each begins where <linux/cvmm_netlink.h> says, none is
 * left out, and all times have one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kmod/hist.h"

/* As the header describes it, in units. */
static u64 begin(unsigned int b)
{
	const unsigned int n = 1 << CVMM_NL_HIST_SUB_BITS;

	return b < n ? b : (u64)(n + b % n) << (b / n - 1);
}

static void begins(void **state)
{
	(void)state;
	for (unsigned int b = 0; b < CVMM_NL_HIST_BUCKETS; b++) {
		u64 ns = begin(b) << CVMM_NL_HIST_SHIFT;

		assert_int_equal(cvmm_hist_bucket(ns), b);
		if (b)
			assert_int_equal(cvmm_hist_bucket(ns - 1), b - 1);
	}
}

static void ends(void **state)
{
	(void)state;
	assert_int_equal(cvmm_hist_bucket(0), 0);
	assert_int_equal(cvmm_hist_bucket(begin(CVMM_NL_HIST_BUCKETS) << CVMM_NL_HIST_SHIFT),
			 CVMM_NL_HIST_BUCKETS - 1);
	for (unsigned int bit = 0; bit < 64; bit++)
		assert_true(cvmm_hist_bucket(1ULL << bit) < CVMM_NL_HIST_BUCKETS);
	assert_int_equal(cvmm_hist_bucket(~0ULL), CVMM_NL_HIST_BUCKETS - 1);
	/* "the last begins at 64 s" */
	assert_true(begin(CVMM_NL_HIST_BUCKETS - 1) << CVMM_NL_HIST_SHIFT > 60000000000ULL);
	assert_true(begin(CVMM_NL_HIST_BUCKETS - 1) << CVMM_NL_HIST_SHIFT < 65000000000ULL);
}

/* A bucket is at most an eighth of its times wide. */
static void widths(void **state)
{
	(void)state;
	for (unsigned int b = 1 << CVMM_NL_HIST_SUB_BITS; b < CVMM_NL_HIST_BUCKETS; b++)
		assert_true((begin(b + 1) - begin(b)) * 8 <= begin(b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins), cmocka_unit_test(ends), cmocka_unit_test(widths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
