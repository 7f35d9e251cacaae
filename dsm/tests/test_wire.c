// SPDX-License-Identifier: GPL-2.0-or-later
/* The wire format: golden bytes, round trips, and everything that must be refused. */
#include "net.h"

static const struct dsm_msg sample = {
	.type = DSM_MSG_DATA,
	.flags = DSM_F_EXCL,
	.requester = 5,
	.acks = 3,
	.epoch = 0x01020304,
	.length = DSM_PAGE_SIZE,
	.gfn = 0x1122334455667788,
	.version = 0xa1b2c3d4,
	.delay = 0x1234,
};

static void golden_bytes(void **state)
{
	static const u8 want[DSM_WIRE_SIZE] = {
		0x43, 0x56, 6, 6, 8, 0, 5, 3,
		4, 3, 2, 1, 0, 0x10, 0, 0,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		0xd4, 0xc3, 0xb2, 0xa1, 0, 0, 0x34, 0x12,
	};
	u8 buf[DSM_WIRE_SIZE];
	struct dsm_msg back;

	(void)state;
	dsm_wire_encode(&sample, buf);
	assert_memory_equal(buf, want, sizeof(buf));
	assert_int_equal(dsm_wire_decode(buf, sizeof(buf), &back), 0);
	assert_int_equal(back.gfn, sample.gfn);
	assert_int_equal(back.version, sample.version);
	assert_int_equal(back.epoch, sample.epoch);
	assert_int_equal(back.length, DSM_PAGE_SIZE);
	assert_int_equal(back.delay, sample.delay);
	/* what a link tells of a peer that it can't understand */
	buf[2] = 1;
	assert_int_equal(dsm_wire_version(buf, sizeof(buf)), 1);
	assert_int_equal(dsm_wire_version(buf, sizeof(buf) - 1), 0);
	buf[1] = 0;
	assert_int_equal(dsm_wire_version(buf, sizeof(buf)), 0);
}

static void truncated(void **state)
{
	u8 buf[DSM_WIRE_SIZE];
	struct dsm_msg back;
	size_t len;

	(void)state;
	dsm_wire_encode(&sample, buf);
	for (len = 0; len < DSM_WIRE_SIZE; len++) {
		u8 *exact = malloc(len + 1);

		assert_non_null(exact);
		memcpy(exact, buf, len);
		assert_int_equal(dsm_wire_decode(exact, len, &back), -EPROTO);
		free(exact);
	}
}

/* Change one byte of a good header; each of these must be refused. */
static void bad_fields(void **state)
{
	static const struct { u8 offset, value; const char *what; } bad[] = {
		{ 0, 0, "magic" }, { 1, 0, "magic" }, { 2, 0, "wire version" },
		{ 2, 5, "wire version" }, { 2, 7, "wire version" }, { 3, 0, "type" }, { 3, 0x7f, "type" },
		{ 3, 10, "type" }, { 4, 0x10, "flags" }, { 5, 1, "flags" },
		{ 4, DSM_F_HAVE, "flag of another type" },
		{ 4, DSM_F_SAME, "same without Exclusive" },
		{ 4, DSM_F_EXCL | DSM_F_SAME, "same with a page" },
		{ 4, DSM_F_EXCL | DSM_F_ZERO, "zero with a page" },
		{ 4, 0, "acknowledgements of a read" },
		{ 4, DSM_F_EXCL | DSM_F_CLEAN, "acknowledgements of an unshared page" },
		{ 4, DSM_F_EXCL | DSM_F_PLAIN, "flag of another type" },
		{ 6, 64, "requester" }, { 7, 64, "acks" },
		{ 12, 1, "length" }, { 13, 0, "length" }, { 13, 0x20, "length" },
		{ 15, 0x80, "length" }, { 28, 1, "age of an answer" },
	};
	u8 buf[DSM_WIRE_SIZE];
	struct dsm_msg back;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		dsm_wire_encode(&sample, buf);
		buf[bad[i].offset] = bad[i].value;
		if (!dsm_wire_decode(buf, sizeof(buf), &back))
			fail_msg("accepted: %s", bad[i].what);
	}
}

/* Which flags which type may carry. */
static void flags_by_type(void **state)
{
	static const struct { u8 type; u16 good; } types[] = {
		{ DSM_MSG_REQ_S, DSM_F_PLAIN }, { DSM_MSG_REQ_X, DSM_F_HAVE },
		{ DSM_MSG_FWD_S, DSM_F_EXCL }, { DSM_MSG_FWD_X, DSM_F_SAME },
		{ DSM_MSG_DONE, DSM_F_EXCL | DSM_F_CLEAN }, { DSM_MSG_INV, 0 },
		{ DSM_MSG_INV_ACK, 0 }, { DSM_MSG_HURRY, 0 },
	};
	size_t i;
	u16 f;

	(void)state;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		for (f = 0; f < 128; f++) {
			struct dsm_msg msg = { .type = types[i].type, .flags = f }, back;
			u8 buf[DSM_WIRE_SIZE];

			dsm_wire_encode(&msg, buf);
			if (!dsm_wire_decode(buf, sizeof(buf), &back) != !(f & ~types[i].good))
				fail_msg("%s with flags %x", dsm_msg_name(msg.type), f);
		}
	}
}

/* ... and which type may carry an age, and a delay. */
static void times_by_type(void **state)
{
	static const struct { u8 type; bool age, delay; } types[] = {
		{ DSM_MSG_REQ_S, true, false }, { DSM_MSG_REQ_X, true, false },
		{ DSM_MSG_FWD_S, true, true }, { DSM_MSG_FWD_X, true, true },
		{ DSM_MSG_INV, true, true }, { DSM_MSG_HURRY, true, false },
		{ DSM_MSG_INV_ACK, false, true }, { DSM_MSG_DONE, false, false },
		{ DSM_MSG_LINK, true, false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct dsm_msg age = { .type = types[i].type, .age = 1 }, back;
		struct dsm_msg delay = { .type = types[i].type, .delay = 0xffff };
		u8 buf[DSM_WIRE_SIZE];

		dsm_wire_encode(&age, buf);
		assert_int_equal(!dsm_wire_decode(buf, sizeof(buf), &back), types[i].age);
		dsm_wire_encode(&delay, buf);
		assert_int_equal(!dsm_wire_decode(buf, sizeof(buf), &back), types[i].delay);
	}
}

static void link_messages(void **state)
{
	struct dsm_msg msg = { .type = DSM_MSG_LINK + 3, .flags = 0x7777, .acks = 200 }, back;
	u8 buf[DSM_WIRE_SIZE];

	(void)state;
	dsm_wire_encode(&msg, buf);
	assert_int_equal(dsm_wire_decode(buf, sizeof(buf), &back), 0);
	assert_int_equal(back.flags, 0x7777);
	msg.length = 17;
	dsm_wire_encode(&msg, buf);
	assert_int_equal(dsm_wire_decode(buf, sizeof(buf), &back), -EPROTO);
}

/* Ages: exact at first, then coarser, never out of order, and saturating. */
static void ages(void **state)
{
	u32 age, last = 0;

	(void)state;
	for (age = 0; age < DSM_AGE_TICKS + 1000; age++) {
		u32 back = dsm_age_unpack(dsm_age_pack(age));

		assert_true(back >= last && back <= age && age - back < (age < 16384 ? 1 : 64 + 1000));
		last = back;
	}
	assert_int_equal(dsm_age_pack(~0U), 32767);
	assert_int_equal(dsm_age_unpack(32767), DSM_AGE_TICKS);
	assert_int_equal(dsm_age_unpack(32768), DSM_AGE_TICKS);
	assert_int_equal(dsm_age_unpack(65535), DSM_AGE_TICKS);
}

static void names(void **state)
{
	u8 t;

	(void)state;
	for (t = 1; t < DSM_MSG_NR; t++)
		assert_string_not_equal(dsm_msg_name(t), "?");
	assert_string_equal(dsm_msg_name(0), "?");
	assert_string_equal(dsm_msg_name(0xff), "?");
	assert_string_equal(dsm_event_name(DSM_EV_FAULT_READ_2), "fault_read_2");
	assert_string_equal(dsm_event_name(DSM_EV_NR), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(truncated),
		cmocka_unit_test(bad_fields),
		cmocka_unit_test(flags_by_type),
		cmocka_unit_test(times_by_type), cmocka_unit_test(link_messages),
		cmocka_unit_test(ages),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
