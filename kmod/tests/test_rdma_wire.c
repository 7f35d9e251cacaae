// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an RDMA peer shows and sends (kmod/rdma/wire.h, then the link's header as
 * dsm/ decodes it): good, slightly wrong, and a million times anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kmod/rdma/wire.h"

#define INPUTS	500000U		/* of each kind */
#define PAGE	4096U

static uint64_t seed = 88172645463325252ULL;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 33) % n;
}

static void token_init(u8 *token)
{
	for (unsigned int i = 0; i < CVMM_RDMA_TOKEN_LEN; i++)
		token[i] = (u8)(i * 7 + 1);
}

static void test_handshake(void **state)
{
	u8 token[CVMM_RDMA_TOKEN_LEN], padded[56] = { 0 };
	struct rdma_handshake hs, out;

	(void)state;
	token_init(token);
	rdma_handshake_encode(&hs, 2, 4, token);
	memcpy(padded, &hs, sizeof(hs));
	assert_int_equal(rdma_handshake_decode(&out, padded, sizeof(padded), token), 0);
	assert_int_equal(out.lane, 2);
	assert_int_equal(out.nr_lanes, 4);
	assert_int_equal(rdma_handshake_decode(&out, NULL, 56, token), -EACCES);
	assert_int_equal(rdma_handshake_decode(&out, padded, sizeof(hs) - 1, token), -EACCES);
	for (unsigned int bit = 0; bit < 8 * sizeof(hs); bit++) {
		const unsigned int byte = bit / 8;

		if (byte == offsetof(struct rdma_handshake, lane) ||
		    byte == offsetof(struct rdma_handshake, nr_lanes))
			continue;
		padded[byte] ^= (u8)(1 << bit % 8);
		assert_int_equal(rdma_handshake_decode(&out, padded, sizeof(padded), token), -EACCES);
		padded[byte] ^= (u8)(1 << bit % 8);
	}
	rdma_handshake_encode(&hs, 4, 4, token);
	assert_int_equal(rdma_handshake_decode(&out, &hs, sizeof(hs), token), -EPROTO);
	rdma_handshake_encode(&hs, 0, 0, token);
	assert_int_equal(rdma_handshake_decode(&out, &hs, sizeof(hs), token), -EPROTO);
	rdma_handshake_encode(&hs, 0, CVMM_RDMA_MAX_QPS + 1, token);
	assert_int_equal(rdma_handshake_decode(&out, &hs, sizeof(hs), token), -EPROTO);
}

static void test_wire(void **state)
{
	u8 hdr[DSM_WIRE_SIZE];
	struct rdma_wire w;
	u32 credits;

	(void)state;
	memset(hdr, 0x5a, sizeof(hdr));
	rdma_wire_encode(&w, 0x1234, hdr);
	assert_int_equal(((u8 *)&w)[0], 0x34);
	assert_int_equal(((u8 *)&w)[1], 0x12);
	assert_int_equal(rdma_wire_decode(&w, sizeof(w) + PAGE, false, &credits), RDMA_MSG);
	assert_int_equal(credits, 0x1234);
	assert_memory_equal(w.msg, hdr, sizeof(hdr));
	/* Not where there is no page to receive into. */
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), true, &credits), -EPROTO);
	assert_int_equal(rdma_wire_decode(&w, sizeof(w) - 1, false, &credits), -EPROTO);
	w.zero[4] = 1;
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), false, &credits), -EPROTO);

	rdma_wire_encode(&w, 64, NULL);
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), true, &credits), RDMA_GRANT);
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), false, &credits), RDMA_GRANT);
	assert_int_equal(credits, 64);
	assert_int_equal(rdma_wire_decode(&w, sizeof(w) + 1, false, &credits), -EPROTO);
	w.msg[31] = 1;
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), false, &credits), -EPROTO);
	w.msg[31] = 0;
	w.kind = 3;
	assert_int_equal(rdma_wire_decode(&w, sizeof(w), false, &credits), -EPROTO);
}

/* A few bytes of something good changed, or nothing good at all; in memory of just that size. */
static u8 *mutate(const void *good, size_t size, size_t *len)
{
	u8 *buf;

	*len = rnd(4) ? size : rnd((uint32_t)size + 17);
	buf = malloc(*len ? *len : 1);
	assert_non_null(buf);
	for (size_t i = 0; i < *len; i++)
		buf[i] = i < size ? ((const u8 *)good)[i] : 0;
	if (*len && !rnd(8))
		for (size_t i = 0; i < *len; i++)
			buf[i] = (u8)rnd(256);
	for (unsigned int n = rnd(4); *len && n; n--)
		buf[rnd((uint32_t)*len)] = (u8)rnd(256);
	return buf;
}

static void test_fuzz_handshake(void **state)
{
	u8 token[CVMM_RDMA_TOKEN_LEN], *buf;
	struct rdma_handshake good, out;
	unsigned int taken = 0;
	size_t len;

	(void)state;
	token_init(token);
	for (unsigned int i = 0; i < INPUTS; i++) {
		rdma_handshake_encode(&good, rnd(9), rnd(10), token);
		buf = mutate(&good, sizeof(good), &len);
		if (!rdma_handshake_decode(&out, buf, len, token)) {
			assert_true(len >= sizeof(out) && !memcmp(out.token, token, sizeof(token)));
			assert_true(out.nr_lanes <= CVMM_RDMA_MAX_QPS && out.lane < out.nr_lanes);
			taken++;
		}
		free(buf);
	}
	print_message("%u of %u taken\n", taken, INPUTS);
	assert_in_range(taken, INPUTS / 20, INPUTS / 2);
}

static void test_fuzz_messages(void **state)
{
	const struct dsm_msg example = { .type = DSM_MSG_DATA, .gfn = 5, .length = PAGE, .version = 1, .epoch = 1 };
	unsigned int messages = 0, grants = 0;
	u8 hdr[DSM_WIRE_SIZE], *buf;
	struct rdma_wire good;
	struct dsm_msg msg;
	u32 credits;
	size_t len;

	(void)state;
	dsm_wire_encode(&example, hdr);
	for (unsigned int i = 0; i < INPUTS; i++) {
		rdma_wire_encode(&good, (u16)rnd(1 << 16), rnd(3) ? hdr : NULL);
		buf = mutate(&good, sizeof(good), &len);
		/* As lane_rx() does it: nothing is looked at before the length is. */
		switch (rdma_wire_decode((const struct rdma_wire *)buf, (u32)len, !rnd(8), &credits)) {
		case RDMA_MSG:
			assert_true(len >= sizeof(good) && credits <= 0xffff);
			if (!dsm_wire_decode(((const struct rdma_wire *)buf)->msg, DSM_WIRE_SIZE, &msg)) {
				assert_true(!msg.length || msg.length == PAGE);
				messages++;
			}
			break;
		case RDMA_GRANT:
			assert_int_equal(len, sizeof(good));
			grants++;
			break;
		}
		free(buf);
	}
	print_message("%u messages and %u grants of %u taken\n", messages, grants, INPUTS);
	assert_in_range(messages, INPUTS / 20, INPUTS - 1);
	assert_in_range(grants, INPUTS / 20, INPUTS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_fuzz_handshake),
		cmocka_unit_test(test_fuzz_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
