// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The serial port: what a driver's probe looks for, interrupts, FIFOs, full
 * and empty queues.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../uart16550.h"

struct fixture {
	struct uart *u;
	bool irq;
	unsigned int rises, outputs;
};

static void irq(void *ctx, bool level)
{
	struct fixture *f = ctx;

	assert_true(level != f->irq);
	f->irq = level;
	f->rises += level;
}

static void output(void *ctx)
{
	((struct fixture *)ctx)->outputs++;
}

static const struct uart_ops ops = { .irq = irq, .output = output };

static uint8_t rd(struct fixture *f, unsigned int reg)
{
	return uart_bus_ops.read(f->u, reg, 1);
}

static void wr(struct fixture *f, unsigned int reg, uint8_t val)
{
	uart_bus_ops.write(f->u, reg, 1, val);
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.u = uart_create(&ops, &f);
	assert_non_null(f.u);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	uart_destroy(((struct fixture *)*state)->u);
	return 0;
}

static void test_probe(void **state)
{
	struct fixture *f = *state;

	/* Scratch register, divisor latch behind DLAB, 16550A FIFO bits. */
	wr(f, 7, 0x5a);
	assert_int_equal(rd(f, 7), 0x5a);
	wr(f, 3, 0x83);
	wr(f, 0, 12);
	wr(f, 1, 3);
	assert_int_equal(rd(f, 0), 12);
	assert_int_equal(rd(f, 1), 3);
	wr(f, 3, 3);
	assert_int_equal(rd(f, 1), 0);
	assert_int_equal(rd(f, 2), 0x01);
	wr(f, 2, 1);
	assert_int_equal(rd(f, 2), 0xc1);
	wr(f, 2, 0);
	assert_int_equal(rd(f, 2), 0x01);
	assert_int_equal(rd(f, 5), 0x60);
	/* Loopback: outputs appear as inputs, characters come back. */
	wr(f, 4, 0x1a);
	assert_int_equal(rd(f, 6) & 0xf0, 0x90);
	wr(f, 0, 'x');
	assert_int_equal(rd(f, 5) & 1, 1);
	assert_int_equal(rd(f, 0), 'x');
	assert_int_equal(f->outputs, 0);
	wr(f, 4, 0x0b);
	assert_int_equal(rd(f, 6) & 0xf0, 0xb0);
	assert_int_equal(rd(f, 6) & 0x0f, 0);
}

static void test_transmit_interrupt(void **state)
{
	struct fixture *f = *state;
	char buf[64];
	int i;

	wr(f, 2, 1);
	wr(f, 1, 2);
	assert_true(f->irq);
	assert_int_equal(rd(f, 2), 0xc2);
	assert_false(f->irq);		/* reading IIR acknowledged it */
	assert_int_equal(rd(f, 2), 0xc1);
	for (i = 0; i < 16; i++)
		wr(f, 0, 'a' + i);
	assert_true(f->irq);
	assert_int_equal(f->rises, 2);
	assert_int_equal(f->outputs, 1);
	wr(f, 1, 0);
	assert_false(f->irq);
	wr(f, 1, 2);			/* enabling it again raises it again */
	assert_int_equal(f->rises, 3);
	assert_int_equal(uart_output(f->u, buf, sizeof(buf)), 16);
	assert_memory_equal(buf, "abcdefghijklmnop", 16);
	assert_int_equal(uart_output(f->u, buf, sizeof(buf)), 0);
}

static void test_receive(void **state)
{
	struct fixture *f = *state;

	wr(f, 2, 0x81);			/* FIFO, trigger at 8 */
	wr(f, 1, 1);
	assert_int_equal(uart_input(f->u, "abc", 3), 3);
	assert_true(f->irq);
	assert_int_equal(rd(f, 2), 0xcc);	/* below the trigger: time-out */
	assert_int_equal(uart_input(f->u, "defgh", 5), 5);
	assert_int_equal(rd(f, 2), 0xc4);
	assert_int_equal(rd(f, 0), 'a');
	assert_int_equal(rd(f, 2), 0xcc);
	for (int i = 1; i < 8; i++)
		assert_int_equal(rd(f, 0), 'a' + i);
	assert_false(f->irq);
	assert_int_equal(rd(f, 5) & 1, 0);
	/* Receive comes before transmit. */
	wr(f, 1, 3);
	uart_input(f->u, "z", 1);
	assert_int_equal(rd(f, 2), 0xcc);
	assert_int_equal(rd(f, 0), 'z');
	assert_int_equal(rd(f, 2), 0xc2);
}

static void test_queues_fill(void **state)
{
	struct fixture *f = *state;
	size_t size = 1 << 20, n;
	char *big = calloc(1, size);
	unsigned int sent = 0;

	n = uart_input(f->u, big, size);
	assert_true(n > 1000 && n < size);
	assert_int_equal(uart_input(f->u, big, 1), 0);
	wr(f, 2, 1);		/* enabling the FIFO clears it, not the queue behind */
	assert_int_equal(uart_input(f->u, big, 100), 16);

	wr(f, 1, 2);
	while (rd(f, 5) & 0x20) {
		wr(f, 0, 'x');
		sent++;
		assert_true(sent < size);
	}
	rd(f, 2);
	assert_false(f->irq);
	for (n = 0; n < 100; n++)
		wr(f, 0, 'y');		/* a guest that does not look loses characters */
	assert_false(f->irq);
	n = uart_output(f->u, big, size);
	assert_true(n >= sent && n < sent + 100);
	assert_true(f->irq);
	assert_int_equal(rd(f, 5), 0x61);
	free(big);
}

static void test_wide_accesses(void **state)
{
	struct fixture *f = *state;
	unsigned int off, size;

	for (size = 1; size <= 8; size *= 2) {
		for (off = 0; off + size <= 8; off++) {
			uart_bus_ops.write(f->u, off, size, ~0ULL);
			uart_bus_ops.read(f->u, off, size);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transmit_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queues_fill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide_accesses, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
