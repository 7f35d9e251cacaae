// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The APIC bus: who gets a message, in each destination mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../apicbus.h"

static struct apicbus bus;

static void set(uint32_t id, uint32_t ldr, uint32_t dfr, bool enabled, bool x2apic)
{
	struct apic_info i = { .id = id, .ldr = ldr, .dfr = dfr, .enabled = enabled, .x2apic = x2apic };

	apicbus_update(&bus, &i);
}

/* The targets as a bit mask of the first 64. */
static uint64_t targets(struct apic_msg msg)
{
	struct apic_set s;
	unsigned int n = apicbus_targets(&bus, &msg, &s);

	assert_int_equal(n, __builtin_popcountll(s.word[0]) + __builtin_popcountll(s.word[1]) +
			 __builtin_popcountll(s.word[2]) + __builtin_popcountll(s.word[3]));
	return s.word[0];
}

static int setup(void **state)
{
	(void)state;
	apicbus_init(&bus, 4);
	return 0;
}

static void test_physical(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		set(i, 0, ~0U, i != 3, false);
	assert_int_equal(targets((struct apic_msg){ .dest = 2 }), 4);
	assert_int_equal(targets((struct apic_msg){ .dest = 9 }), 0);
	/* Disabled ones take INIT and NMI, but no vectors. */
	assert_int_equal(targets((struct apic_msg){ .dest = 3 }), 0);
	assert_int_equal(targets((struct apic_msg){ .dest = 3, .delivery = 5 }), 8);
	assert_int_equal(targets((struct apic_msg){ .dest = 0xff }), 7);
	assert_int_equal(targets((struct apic_msg){ .dest = 0xff, .x2apic = true }), 0);
	assert_int_equal(targets((struct apic_msg){ .dest = ~0U, .x2apic = true }), 7);
}

static void test_shorthand(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		set(i, 0, ~0U, true, false);
	assert_int_equal(targets((struct apic_msg){ .shorthand = 2, .source = 1 }), 15);
	assert_int_equal(targets((struct apic_msg){ .shorthand = 3, .source = 1 }), 13);
	assert_int_equal(targets((struct apic_msg){ .shorthand = 3, .source = 1, .delivery = 5 }), 13);
}

static void test_flat(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		set(i, 1U << (24 + i), ~0U, true, false);
	assert_int_equal(targets((struct apic_msg){ .dest = 5, .logical = true }), 5);
	assert_int_equal(targets((struct apic_msg){ .dest = 0xff, .logical = true }), 15);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x30, .logical = true }), 0);
}

static void test_cluster(void **state)
{
	(void)state;
	set(0, 0x11000000, 0x0fffffff, true, false);
	set(1, 0x12000000, 0x0fffffff, true, false);
	set(2, 0x21000000, 0x0fffffff, true, false);
	set(3, 0x22000000, 0x0fffffff, true, false);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x13, .logical = true }), 3);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x22, .logical = true }), 8);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x32, .logical = true }), 0);
	assert_int_equal(targets((struct apic_msg){ .dest = 0xff, .logical = true }), 15);
}

static void test_x2apic_logical(void **state)
{
	(void)state;
	apicbus_init(&bus, 20);
	set(3, 0 << 16 | 1 << 3, ~0U, true, true);
	set(17, 1 << 16 | 1 << 1, ~0U, true, true);
	assert_int_equal(targets((struct apic_msg){ .dest = 0xa, .logical = true, .x2apic = true }), 8);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x10002, .logical = true, .x2apic = true }),
			 1 << 17);
	assert_int_equal(targets((struct apic_msg){ .dest = 0x20002, .logical = true, .x2apic = true }), 0);
	assert_int_equal(targets((struct apic_msg){ .dest = ~0U, .logical = true, .x2apic = true }),
			 1 << 17 | 8);
}

static void test_lowest_priority(void **state)
{
	uint64_t seen = 0, one;
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		set(i, 1U << (24 + i), ~0U, i != 2, false);
	for (i = 0; i < 8; i++) {
		one = targets((struct apic_msg){ .dest = 0xf, .logical = true, .delivery = 1 });
		assert_int_equal(__builtin_popcountll(one), 1);
		seen |= one;
	}
	assert_int_equal(seen, 0xb);
	assert_int_equal(targets((struct apic_msg){ .dest = 4, .logical = true, .delivery = 1 }), 0);
}

static void test_update(void **state)
{
	struct apic_info i = { .id = 1, .ldr = 1U << 24, .dfr = ~0U, .enabled = true };

	(void)state;
	assert_true(apicbus_update(&bus, &i));
	assert_false(apicbus_update(&bus, &i));
	i.id = 4;
	assert_false(apicbus_update(&bus, &i));
	i.id = ~0U;
	assert_false(apicbus_update(&bus, &i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_physical, setup),
		cmocka_unit_test_setup(test_shorthand, setup),
		cmocka_unit_test_setup(test_flat, setup),
		cmocka_unit_test_setup(test_cluster, setup),
		cmocka_unit_test_setup(test_x2apic_logical, setup),
		cmocka_unit_test_setup(test_lowest_priority, setup),
		cmocka_unit_test_setup(test_update, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
