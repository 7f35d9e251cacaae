// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The I/O APIC: registers, edges, levels, remote IRR, polarity.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../ioapic.h"

struct fixture {
	struct ioapic *io;
	struct apic_msg last;
	unsigned int sent;
	bool refuse;
};

static bool send(void *ctx, const struct apic_msg *msg)
{
	struct fixture *f = ctx;

	if (f->refuse)
		return false;
	f->last = *msg;
	f->sent++;
	return true;
}

static void wr(struct fixture *f, unsigned int reg, uint32_t val)
{
	ioapic_bus_ops.write(f->io, 0, 4, reg);
	ioapic_bus_ops.write(f->io, 0x10, 4, val);
}

static uint32_t rd(struct fixture *f, unsigned int reg)
{
	ioapic_bus_ops.write(f->io, 0, 4, reg);
	return ioapic_bus_ops.read(f->io, 0x10, 4);
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.io = ioapic_create(2, send, &f);
	assert_non_null(f.io);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	ioapic_destroy(((struct fixture *)*state)->io);
	return 0;
}

static void test_registers(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	assert_int_equal(rd(f, 0), 2 << 24);
	assert_int_equal(rd(f, 1), 0x00170020);
	for (i = 0; i < 24; i++) {
		assert_int_equal(rd(f, 0x10 + 2 * i), 0x10000);
		assert_int_equal(rd(f, 0x11 + 2 * i), 0);
	}
	/* Delivery status and remote IRR are read-only, reserved bits stay clear. */
	wr(f, 0x10, 0xffffffff);
	wr(f, 0x11, 0xffffffff);
	assert_int_equal(rd(f, 0x10), 0x1afff);
	assert_int_equal(rd(f, 0x11), 0xff000000);
	for (i = 0; i < 256; i++) {
		wr(f, i, 0xffffffff);
		rd(f, i);
	}
	ioapic_set_irq(f->io, 24, true);
	ioapic_set_irq(f->io, ~0U, true);
	assert_int_equal(f->sent, 0);
}

static void test_edge(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x10 + 8, 0x10031);		/* pin 4, masked */
	wr(f, 0x11 + 8, 0x03000000);
	ioapic_set_irq(f->io, 4, true);
	assert_int_equal(f->sent, 0);
	wr(f, 0x10 + 8, 0x831);			/* logical, unmasked: the lost edge stays lost */
	assert_int_equal(f->sent, 0);
	ioapic_set_irq(f->io, 4, true);
	assert_int_equal(f->sent, 0);
	ioapic_set_irq(f->io, 4, false);
	ioapic_set_irq(f->io, 4, true);
	assert_int_equal(f->sent, 1);
	assert_int_equal(f->last.vector, 0x31);
	assert_int_equal(f->last.dest, 3);
	assert_true(f->last.logical);
	assert_false(f->last.level);
	assert_int_equal(f->last.source, ~0U);
	ioapic_eoi(f->io, 0x31);
	assert_int_equal(f->sent, 1);
}

static void test_level(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x10 + 18, 0x8041);		/* pin 9, level */
	ioapic_set_irq(f->io, 9, true);
	assert_int_equal(f->sent, 1);
	assert_true(f->last.level);
	assert_int_equal(rd(f, 0x10 + 18), 0xc041);
	/* No second message before the EOI; one after it while the line stays up. */
	ioapic_set_irq(f->io, 9, false);
	ioapic_set_irq(f->io, 9, true);
	assert_int_equal(f->sent, 1);
	ioapic_eoi(f->io, 0x42);
	assert_int_equal(f->sent, 1);
	ioapic_eoi(f->io, 0x41);
	assert_int_equal(f->sent, 2);
	ioapic_set_irq(f->io, 9, false);
	ioapic_eoi(f->io, 0x41);
	assert_int_equal(f->sent, 2);
	assert_int_equal(rd(f, 0x10 + 18), 0x8041);
	/* Masked levels are held, not lost. */
	wr(f, 0x10 + 18, 0x18041);
	ioapic_set_irq(f->io, 9, true);
	assert_int_equal(f->sent, 2);
	wr(f, 0x10 + 18, 0x8041);
	assert_int_equal(f->sent, 3);
	/* Directed EOI; and a switch to edge clears remote IRR. */
	ioapic_bus_ops.write(f->io, 0x40, 4, 0x41);
	assert_int_equal(f->sent, 4);
	wr(f, 0x10 + 18, 0x10041);
	assert_int_equal(rd(f, 0x10 + 18), 0x10041);
}

static void test_nobody_takes_it(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x10 + 18, 0x8041);
	f->refuse = true;
	ioapic_set_irq(f->io, 9, true);
	assert_int_equal(rd(f, 0x10 + 18), 0x8041);
	f->refuse = false;
	ioapic_set_irq(f->io, 9, true);
	assert_int_equal(f->sent, 1);
}

static void test_polarity(void **state)
{
	struct fixture *f = *state;

	/* Pins without a device never interrupt, whatever they are programmed to. */
	wr(f, 0x10 + 20, 0xa050);
	assert_int_equal(f->sent, 0);
	ioapic_set_irq(f->io, 10, true);
	assert_int_equal(f->sent, 0);
	ioapic_set_irq(f->io, 10, false);
	assert_int_equal(f->sent, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_takes_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polarity, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
