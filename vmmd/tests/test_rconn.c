// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages and credits of the channel's RDMA connections.  The credits are tried in a
 * model of two ends and the wires between them, which move in any order: nothing
 * overruns, nothing is lost, and it never stands still.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "vmmd/rconn_wire.h"
#include "vmmd/tests/fuzz.h"

static void test_greeting(void **state)
{
	uint8_t buf[RCONN_GREETING + 16] = { 0 }, token[LINK_TOKEN], other[LINK_TOKEN];
	unsigned int i;

	(void)state;
	memset(token, 0x5a, sizeof(token));
	memcpy(other, token, sizeof(token));
	other[LINK_TOKEN - 1] ^= 1;
	rconn_greeting_encode(buf, token);
	assert_int_equal(rconn_greeting_check(buf, RCONN_GREETING, token), 0);
	assert_int_equal(rconn_greeting_check(buf, sizeof(buf), token), 0);	/* padded */
	assert_int_equal(rconn_greeting_check(buf, RCONN_GREETING, other), -1);
	assert_int_equal(rconn_greeting_check(buf, RCONN_GREETING - 1, token), -1);
	assert_int_equal(rconn_greeting_check(NULL, 0, token), -1);
	for (i = 0; i < RCONN_GREETING * 8; i++) {
		buf[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(rconn_greeting_check(buf, RCONN_GREETING, token), -1);
		buf[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void test_messages(void **state)
{
	uint8_t buf[RCONN_MSG_MAX], data[RCONN_DATA_MAX];
	unsigned int credits;
	struct frame f;
	size_t len;

	(void)state;
	memset(data, 0x77, sizeof(data));
	len = rconn_msg_encode(buf, F_IO, 99, data, sizeof(data));
	assert_int_equal(len, RCONN_MSG_MAX);
	rconn_put_credits(buf, 17);
	assert_int_equal(rconn_decode(buf, len, &credits, &f), RCONN_MSG);
	assert_int_equal(credits, 17);
	assert_int_equal(f.type, F_IO);
	assert_int_equal(f.tag, 99);
	assert_int_equal(f.len, sizeof(data));
	assert_memory_equal(f.data, data, sizeof(data));
	assert_int_equal(rconn_decode(buf, len - 1, &credits, &f), -1);
	buf[2] = RCONN_GRANT;
	assert_int_equal(rconn_decode(buf, len, &credits, &f), -1);
	buf[2] = RCONN_MSG + 1;
	assert_int_equal(rconn_decode(buf, len, &credits, &f), -1);
	len = rconn_msg_encode(buf, F_ALIVE, 0, NULL, 0);
	assert_int_equal(rconn_decode(buf, len, &credits, &f), RCONN_MSG);
	assert_int_equal(rconn_decode(buf, len + 1, &credits, &f), -1);	/* more than a frame */
	assert_int_equal(rconn_decode(buf, RCONN_HEADER, &credits, &f), -1);	/* less */
	buf[7] = 1;
	assert_int_equal(rconn_decode(buf, len, &credits, &f), -1);

	len = rconn_grant_encode(buf);
	rconn_put_credits(buf, RCONN_DEPTH);
	assert_int_equal(rconn_decode(buf, len, &credits, &f), RCONN_GRANT);
	assert_int_equal(credits, RCONN_DEPTH);
	assert_int_equal(rconn_decode(buf, len + 1, &credits, &f), -1);
	assert_int_equal(rconn_decode(buf, len - 1, &credits, &f), -1);
	rconn_put_credits(buf, RCONN_DEPTH + 1);
	assert_int_equal(rconn_decode(buf, len, &credits, &f), -1);
}

/* ---- the model -------------------------------------------------------------------- */

struct end {
	struct rconn_credits c;
	unsigned int buffers;		/* posted here */
	unsigned int wire[4096], head, tail; /* credits of what is on its way to us, in order */
	unsigned int waits;		/* messages that may not go yet */
	uint64_t sent;
};

static void transmit(struct end *from, struct end *to)
{
	to->wire[to->tail++ % 4096] = rconn_take_credit(&from->c);
	/* The peer has a buffer for each that is on its way to it. */
	assert_true(to->tail - to->head <= to->buffers);
	from->sent++;
}

static void flush(struct end *e, struct end *peer)
{
	for (; e->waits && rconn_may_send(&e->c); e->waits--)
		transmit(e, peer);
	if (rconn_must_grant(&e->c))
		transmit(e, peer);
}

/* One message comes in, and is answered with a message in @answer of 100 cases. */
static void arrive(struct end *e, struct end *peer, unsigned int answer)
{
	unsigned int credits = e->wire[e->head++ % 4096];

	e->buffers--;
	assert_int_equal(rconn_add_credits(&e->c, credits), 0);
	e->waits += rnd() % 100 < answer;
	e->buffers++;
	e->c.due++;
	flush(e, peer);
}

static void test_credits(void **state)
{
	static const struct end fresh = { .c.have = RCONN_DEPTH, .buffers = RCONN_DEPTH };
	unsigned int round, i, k, steps, bias;
	struct end e[2];

	(void)state;
	rng = (uint64_t)time(NULL) | 1;
	print_message("seed %llu\n", (unsigned long long)rng);
	for (round = 0; round < rounds(300); round++) {
		e[0] = e[1] = fresh;
		bias = (unsigned int)(rnd() % 101);
		for (i = 0; i < 5000; i++) {
			k = rnd() % 100 < bias;
			if (rnd() & 1) {
				e[k].waits += (unsigned int)(rnd() % 40);
				flush(&e[k], &e[!k]);
			} else if (e[k].head != e[k].tail) {
				arrive(&e[k], &e[!k], 30);
			}
		}
		/* Nothing new: all that waits gets there. */
		for (steps = 0; e[0].head != e[0].tail || e[1].head != e[1].tail; steps++) {
			k = rnd() & 1;
			if (e[k].head == e[k].tail)
				k = !k;
			arrive(&e[k], &e[!k], 0);
			assert_true(steps < 10000000);
		}
		assert_int_equal(e[0].waits, 0);
		assert_int_equal(e[1].waits, 0);
		/* No credit is lost, none made up. */
		for (k = 0; k < 2; k++)
			assert_int_equal(e[k].c.have + e[!k].c.due, RCONN_DEPTH);
	}
	/* Credits that there are not. */
	e[0] = fresh;
	assert_int_equal(rconn_add_credits(&e[0].c, 1), -1);
	assert_int_equal(rconn_take_credit(&e[0].c), 0);
	assert_int_equal(rconn_add_credits(&e[0].c, 2), -1);
	assert_int_equal(rconn_add_credits(&e[0].c, 1), 0);
}

static void test_fuzz(void **state)
{
	uint8_t good[2][RCONN_MSG_MAX], data[RCONN_DATA_MAX] = { 0 }, token[LINK_TOKEN], *buf;
	unsigned int i, n, credits;
	size_t len[2], l;
	struct frame f;
	int kind;

	(void)state;
	rng = (uint64_t)time(NULL) | 1;
	print_message("seed %llu\n", (unsigned long long)rng);
	memset(token, 1, sizeof(token));
	len[0] = rconn_grant_encode(good[0]);
	len[1] = rconn_msg_encode(good[1], F_IO, 1, data, IO_SIZE);
	for (i = 0; i < rounds(200000); i++) {
		/* Of just this size, so that a byte too far is noticed. */
		l = rnd() & 1 ? len[i & 1] : rnd() % (RCONN_MSG_MAX + 4);
		buf = malloc(l + 1);
		assert_non_null(buf);
		for (n = 0; n < l; n++)
			buf[n] = n < len[i & 1] ? good[i & 1][n] : (uint8_t)rnd();
		for (n = (unsigned int)(rnd() % 4); l && n; n--)
			buf[rnd() % l] = (uint8_t)rnd();
		buf = realloc(buf, l ? l : 1);
		kind = rconn_decode(buf, l, &credits, &f);
		if (kind > 0)
			assert_true(credits <= RCONN_DEPTH);
		if (kind == RCONN_MSG)
			assert_true(f.len <= RCONN_DATA_MAX && f.data + f.len == buf + l);
		assert_int_equal(rconn_greeting_check(buf, l, token), -1);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_credits),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
