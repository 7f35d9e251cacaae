// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deltas: what was encoded comes back, to the last word, and bytes that are no delta
 * are refused without a step outside the page.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "kmod/delta.h"

static u64 base[CVMM_DELTA_WORDS], page[CVMM_DELTA_WORDS], copy[CVMM_DELTA_WORDS];
static u64 rng = 1;

static u32 rnd(u32 below)
{
	rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (u32)(rng >> 33) % below;
}

static void fill(void)
{
	u32 i;

	for (i = 0; i < CVMM_DELTA_WORDS; i++)
		base[i] = ((u64)rnd(1U << 31) << 32) | rnd(1U << 31);
	memcpy(page, base, sizeof(page));
	memcpy(copy, base, sizeof(copy));
}

/* Exactly as much memory as there are bytes: the sanitizer sees a step too far. */
static int apply(const u8 *delta, u32 len)
{
	u8 *exact = malloc(len ? len : 1);
	int ret;

	assert_non_null(exact);
	memcpy(exact, delta, len);
	ret = cvmm_delta_apply(copy, exact, len);
	free(exact);
	return ret;
}

static void test_same(void **state)
{
	u8 out[1];

	(void)state;
	fill();
	assert_int_equal(cvmm_delta_encode(out, 0, base, page), 0);
	assert_int_equal(apply(out, 0), 0);
	assert_memory_equal(copy, page, sizeof(page));
}

static void test_edges(void **state)
{
	static const u32 words[] = { 0, 1, 255, 510, 511 };
	u8 out[CVMM_DELTA_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		fill();
		page[words[i]]++;
		assert_int_equal(cvmm_delta_encode(out, sizeof(out), base, page), 12);
		assert_int_equal(cvmm_delta_encode(out, 12, base, page), 12);
		assert_int_equal(cvmm_delta_encode(out, 11, base, page), -1);
		assert_int_equal(apply(out, 12), 0);
		assert_memory_equal(copy, page, sizeof(page));
	}
}

static void test_round_trip(void **state)
{
	u8 out[CVMM_DELTA_MAX];
	int len, round, fits = 0;
	u32 i, n;

	(void)state;
	for (round = 0; round < 20000; round++) {
		fill();
		n = rnd(round % 2 ? 8 : 300);
		for (i = 0; i < n; i++)
			page[rnd(CVMM_DELTA_WORDS)] ^= 1ULL << rnd(64);
		len = cvmm_delta_encode(out, sizeof(out), base, page);
		if (len < 0)
			continue;
		fits++;
		assert_int_equal(apply(out, (u32)len), 0);
		assert_memory_equal(copy, page, sizeof(page));
	}
	assert_true(fits > 10000 && fits < 20000);
}

static void test_all_changed(void **state)
{
	static u8 out[CVMM_DELTA_RUN + sizeof(page)];
	u32 i;

	(void)state;
	fill();
	for (i = 0; i < CVMM_DELTA_WORDS; i++)
		page[i] = ~page[i];
	assert_int_equal(cvmm_delta_encode(out, CVMM_DELTA_MAX, base, page), -1);
	assert_int_equal(cvmm_delta_encode(out, sizeof(out), base, page), sizeof(out));
	assert_int_equal(apply(out, sizeof(out)), 0);
	assert_memory_equal(copy, page, sizeof(page));
}

static void test_refused(void **state)
{
	static const struct {
		const char *what;
		u32 len;
		u8 bytes[28];
	} bad[] = {
		{ "cut off in a run's head", 3, { 0, 0, 1 } },
		{ "cut off in its words", 11, { 0, 0, 1, 0 } },
		{ "no words", 4, { 0, 0, 0, 0 } },
		{ "starts behind the page", 12, { 0, 2, 1, 0 } },
		{ "ends behind the page", 20, { 0xff, 1, 2, 0 } },
		{ "as many as wrap around", 4, { 1, 0, 0xff, 0xff } },
		{ "the same word twice", 24, { 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0 } },
		{ "backwards", 24, { 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0 } },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		fill();
		if (apply(bad[i].bytes, bad[i].len) != -EPROTO)
			fail_msg("accepted: %s", bad[i].what);
	}
}

static void test_any_bytes(void **state)
{
	u8 bytes[64];
	int round, taken = 0;
	u32 i, len;

	(void)state;
	fill();
	for (round = 0; round < 200000; round++) {
		len = rnd(sizeof(bytes) + 1);
		for (i = 0; i < len; i++)
			bytes[i] = (u8)rnd(rnd(2) ? 4 : 256);
		taken += !apply(bytes, len);
	}
	assert_true(taken > 0 && taken < 200000);
}

static bool stop_writing;

static void *writer(void *arg)
{
	u32 i;

	(void)arg;
	for (i = 0; !__atomic_load_n(&stop_writing, __ATOMIC_RELAXED); i = (i + 1) % 128)
		__atomic_add_fetch(&page[4 * i], 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Both ends' bases stay equal while somebody writes to the page that goes. */
static void test_changes_meanwhile(void **state)
{
	static u8 out[CVMM_DELTA_MAX];
	pthread_t thread;
	int len, round, deltas = 0;

	(void)state;
	fill();
	assert_int_equal(pthread_create(&thread, NULL, writer, NULL), 0);
	for (round = 0; round < 50000; round++) {
		len = cvmm_delta_renew(out, sizeof(out), base, page);
		if (len < 0)
			break;
		deltas += len > 0;
		if (apply(out, (u32)len) || memcmp(copy, base, sizeof(copy)))
			break;
	}
	__atomic_store_n(&stop_writing, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(round, 50000);
	assert_true(deltas > 0);
	/* At rest: one more, and they have what the page has. */
	assert_true(cvmm_delta_renew(out, sizeof(out), base, page) >= 0);
	assert_memory_equal(base, page, sizeof(page));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_all_changed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_changes_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
