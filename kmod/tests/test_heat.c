// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What kmod/heat.h promises of its counts, against exact ones, for streams of events
 * of several shapes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kmod/heat.h"

#define KEYS	64

static struct cvmm_heat_set set;
static u64 exact[KEYS], total;
static uint64_t seed;

static unsigned int rnd(unsigned int n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % n;
}

static int start(void **state)
{
	(void)state;
	memset(&set, 0, sizeof(set));
	memset(exact, 0, sizeof(exact));
	total = 0;
	seed = 5;
	return 0;
}

/* Key @k: a page and a peer. */
static void event(unsigned int k)
{
	cvmm_heat_add(&set, (u64)(k / 4) << 10 | 7, k % 4, rnd(CVMM_NL_HEAT_NR));
	exact[k]++;
	total++;
}

static void check(void)
{
	u64 sum = 0;

	for (unsigned int i = 0; i < CVMM_HEAT_WAYS; i++) {
		u64 kinds = 0, gfn = cvmm_heat_gfn(set.key[i]);
		unsigned int k;

		sum += set.count[i];
		if (!set.key[i])
			continue;
		assert_int_equal(gfn & 1023, 7);
		k = (gfn >> 10) * 4 + cvmm_heat_peer(set.key[i]);
		for (unsigned int n = 0; n < CVMM_NL_HEAT_NR; n++)
			kinds += set.kind[i][n];
		assert_true(k < KEYS && kinds && kinds <= exact[k] && exact[k] <= set.count[i]);
		for (unsigned int j = 0; j < i; j++)
			assert_true(set.key[j] != set.key[i]);
	}
	assert_true(sum == total);
	for (unsigned int k = 0; k < KEYS; k++) {
		bool found = false;

		for (unsigned int i = 0; i < CVMM_HEAT_WAYS; i++)
			found |= set.key[i] == ((u64)(k / 4) << 18 | 7 << 8 | (k % 4 + 1));
		assert_true(found || exact[k] * CVMM_HEAT_WAYS <= total);
	}
}

/* As many keys as there is room for: all exact. */
static void few(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 1000; n++)
		event(rnd(CVMM_HEAT_WAYS));
	check();
	for (unsigned int i = 0; i < CVMM_HEAT_WAYS; i++) {
		u64 kinds = 0;

		for (unsigned int n = 0; n < CVMM_NL_HEAT_NR; n++)
			kinds += set.kind[i][n];
		assert_true(kinds == set.count[i]);
	}
}

static void even(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 10000; n++) {
		event(rnd(KEYS));
		check();
	}
}

static void round_robin(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 10000; n++) {
		event(n % KEYS);
		check();
	}
}

/* A few hot ones, among many that come once in a while, and they change. */
static void skewed(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 20000; n++) {
		event(rnd(3) ? (n / 5000 * 11 + rnd(4)) % KEYS : rnd(KEYS));
		check();
	}
}

/* Host 63 and the last frame keep out of each other's bits. */
static void ends(void **state)
{
	(void)state;
	cvmm_heat_add(&set, (1ULL << 40) - 1, 63, CVMM_NL_HEAT_MOVE_IN);
	cvmm_heat_add(&set, 0, 0, CVMM_NL_HEAT_COPY_OUT);
	assert_true(cvmm_heat_gfn(set.key[0]) == (1ULL << 40) - 1);
	assert_int_equal(cvmm_heat_peer(set.key[0]), 63);
	assert_true(set.key[1] && !cvmm_heat_gfn(set.key[1]) && !cvmm_heat_peer(set.key[1]));
	assert_true(set.kind[0][CVMM_NL_HEAT_MOVE_IN] == 1 && set.kind[1][CVMM_NL_HEAT_COPY_OUT] == 1);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(few), T(even), T(round_robin), T(skewed), T(ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
