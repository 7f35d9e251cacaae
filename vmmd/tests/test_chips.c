// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The small chips: real-time clock, power management, hypervisor call port;
 * and the bus they sit on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../lapic.h"
#include "../pm.h"
#include "../rtc.h"
#include "../vmport.h"

#define S	1000000000LL

/* ---- real-time clock ------------------------------------------------------ */

static int64_t wall;

static int64_t wall_now(void *ctx)
{
	(void)ctx;
	return wall;
}

static uint8_t cmos(struct rtc *r, uint8_t index)
{
	rtc_bus_ops.write(r, 0, 1, index);
	return rtc_bus_ops.read(r, 1, 1);
}

static void set_cmos(struct rtc *r, uint8_t index, uint8_t val)
{
	rtc_bus_ops.write(r, 0, 1, index);
	rtc_bus_ops.write(r, 1, 1, val);
}

static void test_rtc_time(void **state)
{
	struct rtc *r = rtc_create(wall_now, NULL);

	(void)state;
	assert_non_null(r);
	wall = 1795267566 * S;		/* Saturday 2026-11-21 13:26:06 */
	assert_int_equal(cmos(r, 0), 0x06);
	assert_int_equal(cmos(r, 2), 0x26);
	assert_int_equal(cmos(r, 4), 0x13);
	assert_int_equal(cmos(r, 6), 0x07);
	assert_int_equal(cmos(r, 7), 0x21);
	assert_int_equal(cmos(r, 8), 0x11);
	assert_int_equal(cmos(r, 9), 0x26);
	assert_int_equal(cmos(r, RTC_CENTURY), 0x20);
	assert_int_equal(cmos(r, 13), 0x80);
	/* Binary and 12-hour modes. */
	set_cmos(r, 11, 0x04);
	assert_int_equal(cmos(r, 2), 26);
	assert_int_equal(cmos(r, 4), 0x81);
	/* The interrupt enables do not stick. */
	set_cmos(r, 11, 0x72);
	assert_int_equal(cmos(r, 11), 0x02);
	/* The update-ended flag can be polled, and goes by being read. */
	cmos(r, 12);
	assert_int_equal(cmos(r, 12), 0);
	wall += S;
	assert_int_equal(cmos(r, 12), 0x10);
	assert_int_equal(cmos(r, 12), 0);
	rtc_destroy(r);
}

static void test_rtc_update_in_progress(void **state)
{
	struct rtc *r = rtc_create(wall_now, NULL);

	(void)state;
	wall = 1000 * S + 500000000;
	assert_int_equal(cmos(r, 10), 0x26);
	wall = 1001 * S - 1000000;
	assert_int_equal(cmos(r, 10), 0xa6);
	wall = 1001 * S;
	assert_int_equal(cmos(r, 10), 0x26);
	rtc_destroy(r);
}

static void test_rtc_set(void **state)
{
	struct rtc *r = rtc_create(wall_now, NULL);

	(void)state;
	wall = 1795267566 * S;
	set_cmos(r, 11, 0x82);		/* stop */
	set_cmos(r, 0, 0x59);
	set_cmos(r, 2, 0x59);
	set_cmos(r, 4, 0x23);
	set_cmos(r, 7, 0x31);
	set_cmos(r, 8, 0x12);
	set_cmos(r, 9, 0x99);
	set_cmos(r, RTC_CENTURY, 0x19);
	wall += 5 * S;
	assert_int_equal(cmos(r, 0), 0x59);
	set_cmos(r, 11, 0x02);		/* go */
	wall += 1 * S;
	assert_int_equal(cmos(r, 0), 0x00);
	assert_int_equal(cmos(r, 9), 0x00);
	assert_int_equal(cmos(r, RTC_CENTURY), 0x20);
	assert_int_equal(cmos(r, 8), 0x01);
	/* Memory behind the clock. */
	set_cmos(r, 0x70, 0xa5);
	assert_int_equal(cmos(r, 0x70), 0xa5);
	rtc_destroy(r);
}

static void test_rtc_any_value(void **state)
{
	struct rtc *r = rtc_create(wall_now, NULL);
	unsigned int i, v;

	(void)state;
	for (v = 0; v < 256; v++) {
		for (i = 0; i < 256; i++) {
			set_cmos(r, i, v);
			cmos(r, i);
		}
	}
	rtc_destroy(r);
}

/* ---- power management ----------------------------------------------------- */

static uint64_t mono;
static enum machine_end ended;

static uint64_t mono_now(void *ctx)
{
	(void)ctx;
	return mono;
}

static void end(void *ctx, enum machine_end why)
{
	(void)ctx;
	ended = why;
}

static const struct pm_ops pm_ops = { .now = mono_now, .end = end };

static void test_pm(void **state)
{
	struct pm *pm = pm_create(&pm_ops, NULL);

	(void)state;
	assert_non_null(pm);
	mono = 1000000000;
	assert_int_equal(pm_bus_ops.read(pm, PM_TMR_OFF, 4), 3579545);
	mono = 3600 * 1000000000ULL;
	assert_int_equal(pm_bus_ops.read(pm, PM_TMR_OFF, 4), 3600ULL * 3579545 & 0xffffffff);
	assert_int_equal(pm_bus_ops.read(pm, PM_CNT_OFF, 2), 1);
	pm_bus_ops.write(pm, PM_EVT_OFF + 2, 2, 0xffff);
	assert_int_equal(pm_bus_ops.read(pm, PM_EVT_OFF, 4), 0x07210000);
	ended = MACHINE_RUNNING;
	pm_bus_ops.write(pm, PM_CNT_OFF, 2, 1 << 10 | 1);
	pm_bus_ops.write(pm, PM_CNT_OFF, 2, 1 << 10 | 1 << 13);
	assert_int_equal(ended, MACHINE_RUNNING);	/* S1 is none of ours */
	pm_bus_ops.write(pm, PM_CNT_OFF, 2, PM_S5_TYPE << 10);
	assert_int_equal(ended, MACHINE_RUNNING);
	pm_bus_ops.write(pm, PM_CNT_OFF, 2, PM_S5_TYPE << 10 | 1 << 13);
	assert_int_equal(ended, MACHINE_POWEROFF);
	pm_destroy(pm);
}

static void test_reset(void **state)
{
	struct pm *pm = pm_create(&pm_ops, NULL);

	(void)state;
	ended = MACHINE_RUNNING;
	pm_reset_bus_ops.write(pm, 0, 1, 0x02);
	assert_int_equal(ended, MACHINE_RUNNING);
	assert_int_equal(pm_reset_bus_ops.read(pm, 0, 1), 0x02);
	pm_reset_bus_ops.write(pm, 0, 1, RESET_VALUE);
	assert_int_equal(ended, MACHINE_RESET);
	ended = MACHINE_RUNNING;
	assert_int_equal(pm_kbc_bus_ops.read(pm, 0, 1), 0);
	pm_kbc_bus_ops.write(pm, 0, 1, 0xd1);
	assert_int_equal(ended, MACHINE_RUNNING);
	pm_kbc_bus_ops.write(pm, 0, 1, 0xfe);
	assert_int_equal(ended, MACHINE_RESET);
	pm_destroy(pm);
}

/* ---- hypervisor call port ------------------------------------------------- */

static void test_vmport(void **state)
{
	struct vmport_regs r = { 0x564d5868, ~0U, 45, VMPORT };

	(void)state;
	assert_true(vmport_call(&r, 5000000));
	assert_int_equal(((uint64_t)r.ebx << 32) + r.eax, 5000000000ULL);
	assert_int_equal(r.ecx, LAPIC_BUS_HZ);
	r = (struct vmport_regs){ 0x564d5868, 0, 68, VMPORT };
	assert_true(vmport_call(&r, 1));
	assert_int_equal(r.eax, 8);
	r = (struct vmport_regs){ 0x564d5868, 0, 99, VMPORT };
	assert_false(vmport_call(&r, 1));
	r = (struct vmport_regs){ 1, 0, 45, VMPORT };
	assert_false(vmport_call(&r, 1));
}

/* ---- bus ------------------------------------------------------------------ */

static uint8_t mem[16];

static uint64_t mem_read(void *dev, uint64_t off, unsigned int size)
{
	uint64_t v = 0;

	(void)dev;
	assert_true(off + size <= sizeof(mem));
	memcpy(&v, mem + off, size);
	return v;
}

static void mem_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	(void)dev;
	assert_true(off + size <= sizeof(mem));
	memcpy(mem + off, &val, size);
}

static void test_bus(void **state)
{
	static const struct bus_ops ops = { .read = mem_read, .write = mem_write };
	struct io_req req = { .space = IO_PIO, .addr = 0x100, .size = 4, .write = true, .data = 0x11223344 };
	struct bus b = { 0 };
	unsigned int i;

	(void)state;
	assert_int_equal(bus_add(&b, IO_PIO, 0x100, 6, &ops, NULL), 0);
	assert_int_equal(bus_add(&b, IO_PIO, 0x105, 1, &ops, NULL), -1);
	assert_int_equal(bus_add(&b, IO_PIO, 0xf0, 0x11, &ops, NULL), -1);
	assert_int_equal(bus_add(&b, IO_PIO, 0, 0, &ops, NULL), -1);
	assert_int_equal(bus_add(&b, IO_PIO, ~0ULL, 2, &ops, NULL), -1);
	assert_int_equal(bus_add(&b, IO_MMIO, 0x100, 6, NULL, NULL), 0);
	assert_true(bus_access(&b, &req));
	req.write = false;
	req.addr = 0x102;
	req.size = 2;
	assert_true(bus_access(&b, &req));
	assert_int_equal(req.data, 0x1122);
	/* Beyond the end: the rest is nobody's. */
	req.addr = 0x103;
	req.size = 4;
	assert_true(bus_access(&b, &req));
	assert_int_equal(req.data, 0xff000011);
	req.addr = 0x106;
	assert_false(bus_access(&b, &req));
	assert_int_equal(req.data, 0xffffffff);
	/* A remote range is claimed, but not here. */
	req.space = IO_MMIO;
	req.addr = 0x100;
	assert_false(bus_access(&b, &req));
	assert_non_null(bus_find(&b, IO_MMIO, 0x105));
	assert_null(bus_find(&b, IO_MMIO, 0x106));
	for (i = b.nr; i < BUS_MAX_RANGES; i++)
		assert_int_equal(bus_add(&b, IO_PIO, 0x1000 * i, 1, &ops, NULL), 0);
	assert_int_equal(bus_add(&b, IO_PIO, 0xf000, 1, &ops, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rtc_time),
		cmocka_unit_test(test_rtc_update_in_progress),
		cmocka_unit_test(test_rtc_set),
		cmocka_unit_test(test_rtc_any_value),
		cmocka_unit_test(test_pm),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_vmport),
		cmocka_unit_test(test_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
