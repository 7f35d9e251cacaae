// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC: priorities, edge and level, IPIs, timer modes, x2APIC rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../lapic.h"

#define KHZ	2000000		/* two TSC cycles per nanosecond */

enum {
	ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0,
	SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310,
	LVTT = 0x320, LINT0 = 0x350, LVTE = 0x370, TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0,
};

struct fixture {
	struct lapic *l;
	uint64_t tsc;
	struct apic_msg sent;
	unsigned int nr_sent, nr_eoi, nr_info;
	uint8_t eoi;
	struct apic_info info;
};

static uint64_t now(void *ctx)
{
	return ((struct fixture *)ctx)->tsc;
}

static void send(void *ctx, const struct apic_msg *msg)
{
	struct fixture *f = ctx;

	f->sent = *msg;
	f->nr_sent++;
}

static void eoi(void *ctx, uint8_t vector)
{
	struct fixture *f = ctx;

	f->eoi = vector;
	f->nr_eoi++;
}

static void info(void *ctx, const struct apic_info *i)
{
	struct fixture *f = ctx;

	f->info = *i;
	f->nr_info++;
}

static const struct lapic_ops ops = { .now = now, .send = send, .eoi = eoi, .info = info };

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.tsc = 1000;
	f.l = lapic_create(5, false, KHZ, NULL, &ops, &f);
	assert_non_null(f.l);
	lapic_mmio_write(f.l, SVR, 0x1ff);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lapic_destroy(f->l);
	return 0;
}

static void go_x2apic(struct fixture *f)
{
	lapic_set_base(f->l, lapic_base(f->l) | APIC_BASE_EXTD);
}

static void test_reset_state(void **state)
{
	struct fixture *f = *state;

	lapic_reset(f->l, false);
	assert_int_equal(lapic_mmio_read(f->l, ID), 5U << 24);
	assert_int_equal(lapic_mmio_read(f->l, VERSION), 0x50014);
	assert_int_equal(lapic_mmio_read(f->l, SVR), 0xff);
	assert_int_equal(lapic_mmio_read(f->l, DFR), 0xffffffff);
	assert_int_equal(lapic_mmio_read(f->l, LVTT), 0x10000);
	assert_false(f->info.enabled);
	assert_true(lapic_claims(f->l, 0xfee00000));
	assert_true(lapic_claims(f->l, 0xfee00ff0));
	assert_false(lapic_claims(f->l, 0xfee01000));
}

static void test_priority(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(lapic_next(f->l), -1);
	lapic_post(f->l, 0x31, false);
	lapic_post(f->l, 0x52, false);
	assert_true(lapic_posted(f->l));
	assert_int_equal(lapic_next(f->l), 0x52);
	assert_false(lapic_posted(f->l));
	lapic_accept(f->l, 0x52);
	assert_int_equal(lapic_mmio_read(f->l, PPR), 0x50);
	/* The same class waits, a higher one nests. */
	lapic_post(f->l, 0x5f, false);
	assert_int_equal(lapic_next(f->l), -1);
	lapic_post(f->l, 0x60, false);
	assert_int_equal(lapic_next(f->l), 0x60);
	lapic_accept(f->l, 0x60);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(lapic_next(f->l), -1);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(lapic_next(f->l), 0x5f);
	lapic_accept(f->l, 0x5f);
	lapic_mmio_write(f->l, EOI, 0);
	/* The task priority masks its own class and those below. */
	lapic_mmio_write(f->l, TPR, 0x30);
	assert_int_equal(lapic_next(f->l), -1);
	lapic_set_tpr(f->l, 0x20);
	assert_int_equal(lapic_next(f->l), 0x31);
	/* A stray EOI with nothing in service. */
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(f->nr_eoi, 0);
}

static void test_same_vector_again(void **state)
{
	struct fixture *f = *state;

	lapic_post(f->l, 0x40, false);
	assert_int_equal(lapic_next(f->l), 0x40);
	lapic_accept(f->l, 0x40);
	lapic_post(f->l, 0x40, false);
	lapic_post(f->l, 0x40, false);
	assert_int_equal(lapic_next(f->l), -1);
	assert_int_equal(lapic_mmio_read(f->l, IRR + 0x20), 1);
	assert_int_equal(lapic_mmio_read(f->l, ISR + 0x20), 1);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(lapic_next(f->l), 0x40);
	lapic_accept(f->l, 0x40);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(lapic_next(f->l), -1);
}

static void test_level_eoi(void **state)
{
	struct fixture *f = *state;

	lapic_post(f->l, 0x41, true);
	assert_int_equal(lapic_next(f->l), 0x41);
	lapic_accept(f->l, 0x41);
	assert_int_equal(lapic_mmio_read(f->l, TMR + 0x20), 2);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(f->nr_eoi, 1);
	assert_int_equal(f->eoi, 0x41);
	/* Edge on the same vector clears the trigger mode. */
	lapic_post(f->l, 0x41, false);
	assert_int_equal(lapic_next(f->l), 0x41);
	lapic_accept(f->l, 0x41);
	lapic_mmio_write(f->l, EOI, 0);
	assert_int_equal(f->nr_eoi, 1);
}

static void test_icr_xapic(void **state)
{
	struct fixture *f = *state;

	lapic_mmio_write(f->l, ICR2, 3U << 24);
	lapic_mmio_write(f->l, ICR, 0x40fd);
	assert_int_equal(f->nr_sent, 1);
	assert_int_equal(f->sent.dest, 3);
	assert_int_equal(f->sent.vector, 0xfd);
	assert_int_equal(f->sent.delivery, 0);
	assert_false(f->sent.logical);
	assert_false(f->sent.x2apic);
	assert_int_equal(f->sent.source, 5);
	assert_int_equal(lapic_mmio_read(f->l, ICR) & 0x1000, 0);
	/* INIT assert leaves, INIT level de-assert does not. */
	lapic_mmio_write(f->l, ICR, 0xc500);
	assert_int_equal(f->nr_sent, 2);
	assert_int_equal(f->sent.delivery, 5);
	lapic_mmio_write(f->l, ICR, 0x8500);
	assert_int_equal(f->nr_sent, 2);
	lapic_mmio_write(f->l, ICR, 0xc0000 | 0x40fe);
	assert_int_equal(f->sent.shorthand, 3);
	/* Self stays here. */
	lapic_mmio_write(f->l, ICR, 0x40000 | 0x4077);
	assert_int_equal(f->nr_sent, 3);
	assert_int_equal(lapic_next(f->l), 0x77);
	/* SMI and reserved modes go nowhere. */
	lapic_mmio_write(f->l, ICR, 0x4200);
	lapic_mmio_write(f->l, ICR, 0x4300);
	assert_int_equal(f->nr_sent, 3);
}

static void test_errors(void **state)
{
	struct fixture *f = *state;

	lapic_mmio_write(f->l, LVTE, 0xfe);
	lapic_mmio_write(f->l, ICR, 0x400f);
	assert_int_equal(f->nr_sent, 0);
	assert_int_equal(lapic_next(f->l), 0xfe);
	assert_int_equal(lapic_mmio_read(f->l, ESR), 0);
	lapic_mmio_write(f->l, ESR, 0);
	assert_int_equal(lapic_mmio_read(f->l, ESR), 1 << 5);
	lapic_mmio_read(f->l, 0x3f0);
	lapic_mmio_write(f->l, 0x40, 1);
	lapic_mmio_write(f->l, ESR, 0);
	assert_int_equal(lapic_mmio_read(f->l, ESR), 1 << 7);
	lapic_mmio_write(f->l, ESR, 0);
	assert_int_equal(lapic_mmio_read(f->l, ESR), 0);
	/* An error interrupt with an illegal vector must not recurse. */
	lapic_mmio_write(f->l, LVTE, 0x0f);
	lapic_mmio_write(f->l, ICR, 0x400f);
}

static void test_every_offset(void **state)
{
	struct fixture *f = *state;
	uint32_t off;

	for (off = 0; off < 4096; off++) {
		lapic_mmio_read(f->l, off);
		lapic_mmio_write(f->l, off, 0xffffffff);
	}
	assert_int_equal(lapic_mmio_read(f->l, ID), 5U << 24);
	assert_int_equal(lapic_mmio_read(f->l, VERSION), 0x50014);
}

static void test_software_disable(void **state)
{
	struct fixture *f = *state;

	lapic_mmio_write(f->l, LVTT, 0xec);
	assert_int_equal(lapic_mmio_read(f->l, LVTT), 0xec);
	lapic_mmio_write(f->l, SVR, 0xff);
	assert_false(f->info.enabled);
	assert_int_equal(lapic_mmio_read(f->l, LVTT), 0x100ec);
	lapic_mmio_write(f->l, LVTT, 0xec);
	assert_int_equal(lapic_mmio_read(f->l, LVTT), 0x100ec);
}

static void test_timer_oneshot(void **state)
{
	struct fixture *f = *state;

	lapic_mmio_write(f->l, LVTT, 0xec);
	lapic_mmio_write(f->l, TDCR, 0xb);		/* divide by 1 */
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
	lapic_mmio_write(f->l, TMICT, 500);
	assert_int_equal(lapic_deadline(f->l), 1000 + 1000);
	f->tsc = 1600;
	assert_int_equal(lapic_mmio_read(f->l, TMCCT), 200);
	lapic_timer_run(f->l, f->tsc);
	assert_int_equal(lapic_next(f->l), -1);
	f->tsc = 2000;
	lapic_timer_run(f->l, f->tsc);
	assert_int_equal(lapic_next(f->l), 0xec);
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
	assert_int_equal(lapic_mmio_read(f->l, TMCCT), 0);
	/* Changing the divisor keeps the count. */
	lapic_mmio_write(f->l, TMICT, 500);
	f->tsc = 2400;
	lapic_mmio_write(f->l, TDCR, 0x0);		/* divide by 2 */
	assert_int_equal(lapic_mmio_read(f->l, TMCCT), 300);
	assert_int_equal(lapic_deadline(f->l), 2400 + 300 * 2 * 2);
	/* Zero stops it. */
	lapic_mmio_write(f->l, TMICT, 0);
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
}

static void test_timer_periodic(void **state)
{
	struct fixture *f = *state;

	lapic_mmio_write(f->l, LVTT, 0x200ec);
	lapic_mmio_write(f->l, TDCR, 0xb);
	lapic_mmio_write(f->l, TMICT, 100000);
	assert_int_equal(lapic_deadline(f->l), 201000);
	f->tsc = 201010;
	lapic_timer_run(f->l, f->tsc);
	assert_int_equal(lapic_next(f->l), 0xec);
	assert_int_equal(lapic_deadline(f->l), 401000);
	/* Late by several periods: one interrupt, no storm. */
	f->tsc = 5000000;
	lapic_timer_run(f->l, f->tsc);
	assert_int_equal(lapic_deadline(f->l), 5200000);
	/* An absurd period is stretched. */
	lapic_mmio_write(f->l, TMICT, 1);
	f->tsc += 10;
	lapic_timer_run(f->l, f->tsc);
	assert_true(lapic_deadline(f->l) - f->tsc > 90000);
}

static void test_timer_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t val;

	/* Ignored outside deadline mode. */
	assert_int_equal(lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 5000), 0);
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
	lapic_mmio_write(f->l, LVTT, 0x400ec);
	lapic_mmio_write(f->l, TMICT, 77);
	assert_int_equal(lapic_mmio_read(f->l, TMICT), 0);
	assert_int_equal(lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 5000), 0);
	assert_int_equal(lapic_deadline(f->l), 5000);
	assert_int_equal(lapic_rdmsr(f->l, MSR_TSC_DEADLINE, &val), 0);
	assert_int_equal(val, 5000);
	lapic_timer_run(f->l, 4999);
	assert_int_equal(lapic_next(f->l), -1);
	lapic_timer_run(f->l, 5000);
	assert_int_equal(lapic_next(f->l), 0xec);
	assert_int_equal(lapic_rdmsr(f->l, MSR_TSC_DEADLINE, &val), 0);
	assert_int_equal(val, 0);
	/* Zero disarms; so does leaving the mode. */
	lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 9000);
	lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 0);
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
	lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 9000);
	lapic_mmio_write(f->l, LVTT, 0xec);
	assert_int_equal(lapic_deadline(f->l), LAPIC_NEVER);
	/* Masked: it expires silently. */
	lapic_mmio_write(f->l, LVTT, 0x500ec);
	lapic_accept(f->l, 0xec);
	lapic_mmio_write(f->l, EOI, 0);
	lapic_wrmsr(f->l, MSR_TSC_DEADLINE, 9000);
	lapic_timer_run(f->l, 9001);
	assert_int_equal(lapic_next(f->l), -1);
}

static void test_x2apic(void **state)
{
	struct fixture *f = *state;
	uint64_t val;

	assert_int_equal(lapic_rdmsr(f->l, 0x802, &val), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x80b, 0), -1);
	go_x2apic(f);
	assert_true(f->info.x2apic);
	assert_int_equal(f->info.ldr, 1 << 5);
	assert_false(lapic_claims(f->l, 0xfee00000));
	assert_int_equal(lapic_rdmsr(f->l, 0x802, &val), 0);
	assert_int_equal(val, 5);
	/* ICR: one 64-bit write. */
	assert_int_equal(lapic_wrmsr(f->l, 0x830, (uint64_t)0x12345 << 32 | 0x4fd), 0);
	assert_int_equal(f->sent.dest, 0x12345);
	assert_int_equal(f->sent.delivery, 4);
	assert_true(f->sent.x2apic);
	assert_int_equal(lapic_rdmsr(f->l, 0x830, &val), 0);
	assert_int_equal(val, (uint64_t)0x12345 << 32 | 0x4fd);
	/* SELF IPI is write-only. */
	assert_int_equal(lapic_wrmsr(f->l, 0x83f, 0x55), 0);
	assert_int_equal(lapic_next(f->l), 0x55);
	assert_int_equal(lapic_rdmsr(f->l, 0x83f, &val), -1);
	/* Reserved bits, read-only and missing registers fault. */
	assert_int_equal(lapic_wrmsr(f->l, 0x80b, 1), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x808, 0x100), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x802, 0), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x80d, 0), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x839, 0), -1);
	assert_int_equal(lapic_wrmsr(f->l, 0x80f, 1ULL << 32), -1);
	assert_int_equal(lapic_rdmsr(f->l, 0x80e, &val), -1);
	assert_int_equal(lapic_rdmsr(f->l, 0x831, &val), -1);
	assert_int_equal(lapic_rdmsr(f->l, 0x8ff, &val), -1);
	assert_int_equal(lapic_rdmsr(f->l, 0x10, &val), -1);
	/* EOI of the self IPI. */
	lapic_accept(f->l, 0x55);
	assert_int_equal(lapic_wrmsr(f->l, 0x80b, 0), 0);
	assert_int_equal(lapic_next(f->l), -1);
}

static void test_init_keeps_mode(void **state)
{
	struct fixture *f = *state;

	go_x2apic(f);
	lapic_post(f->l, 0x40, false);
	lapic_reset(f->l, true);
	assert_true(f->info.x2apic);
	assert_false(f->info.enabled);
	assert_int_equal(lapic_next(f->l), -1);
	/* Off: no state survives. */
	lapic_set_base(f->l, LAPIC_DEFAULT_BASE);
	assert_false(f->info.x2apic);
	assert_false(lapic_claims(f->l, 0xfee00000));
	lapic_set_base(f->l, LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE);
	assert_int_equal(lapic_mmio_read(f->l, ID), 5U << 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reset_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priority, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_vector_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_icr_xapic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_offset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_software_disable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_oneshot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x2apic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_keeps_mode, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
