// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hardware task switches over a small memory: what is saved, loaded and marked busy,
 * each fault with its error code and in whose task it strikes, and that an access
 * that fails on the way leaves everything so that the same can be tried again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "kmod/task_switch.h"

#define GDT	0x1000U
#define LDT	0x1400U
#define OLD	0x2000U		/* the outgoing TSS */
#define NEW	0x3000U
#define STACK	0x5000U
#define MEM	0x8000U
#define OTHER	MEM		/* where CR3 = OTHER finds what is at 0 */

enum {	/* selectors */
	S_CODE = 0x08, S_DATA = 0x10, S_CODE3 = 0x1b, S_DATA3 = 0x23, S_CONF = 0x28, S_OLD = 0x30,
	S_NEW = 0x38, S_LDT = 0x40, S_ABSENT = 0x48, S_XONLY = 0x50, S_ABSENT_CODE = 0x58,
	S_SMALL = 0x60, S_NOLDT = 0x68, S_RODATA = 0x70, S_LAST = 0x70, S_IN_LDT = 0x0c,
};

static u8 mem[2 * MEM];
static u32 absent_page;			/* a linear address in a page that faults; 0: none */
static int fail_at;			/* this access is -EINTR; -1: none */
static int nr_accesses;
static unsigned int wrote;

static int flat(void *arg, struct task_switch *t, u64 cr3, u32 linear, void *buf, unsigned int len,
		unsigned int how)
{
	(void)arg;
	assert_true(len && len <= 104 && linear + len <= MEM && (cr3 == 0 || cr3 == OTHER));
	if (nr_accesses++ == fail_at)
		return -EINTR;
	if (absent_page && linear >> 12 == absent_page >> 12) {
		t->fault.pending = true;
		t->fault.has_error = true;
		t->fault.vector = 14;
		t->fault.error = how & TASK_WRITE ? 2 : 0;
		return 1;
	}
	if (how & TASK_PROBE)
		return 0;
	if (how & TASK_WRITE) {
		memcpy(mem + cr3 + linear, buf, len);
		wrote++;
	} else {
		memcpy(buf, mem + cr3 + linear, len);
	}
	return 0;
}

static const struct task_ops ops = { .access = flat };

static void put(u32 at, u32 val, unsigned int len)
{
	memcpy(mem + at, &val, len);
	memcpy(mem + OTHER + at, &val, len);
}

static u32 get(u32 at, unsigned int len)
{
	u32 val = 0;

	memcpy(&val, mem + at, len);
	return val;
}

static void desc(u32 table, u16 sel, u32 base, u32 limit, u32 attr)
{
	u32 at = table + (sel & ~7U);

	put(at, (base & 0xffff) << 16 | (limit & 0xffff), 4);
	put(at + 4, (base & 0xff000000) | (base >> 16 & 0xff) | (limit & 0xf0000) |
		    (attr & 0xff) << 8 | (attr & 0xf00) << 12, 4);
}

static u8 type_of(u16 sel)
{
	return mem[GDT + (sel & ~7U) + 5];
}

static struct task_switch state(enum task_reason reason)
{
	struct task_switch t = {
		.regs = { 10, 11, 12, 13, 0x14000, 15, 16, 17 },
		.eip = 0x1234, .eflags = 0x4202,	/* NT, IF */
		.cr0 = 0x80000011, .dr6 = 0xffff0ff0, .dr7 = 0x7ff,
		.seg = {
			[TASK_ES] = { .sel = S_DATA, .limit = ~0U, .attr = 0xc93 },
			[TASK_CS] = { .sel = S_CODE, .limit = ~0U, .attr = 0xc9b },
			[TASK_SS] = { .sel = S_DATA, .limit = ~0U, .attr = 0xc93 },
			[TASK_DS] = { .sel = S_DATA, .limit = ~0U, .attr = 0xc93 },
			[TASK_TR] = { .sel = S_OLD, .base = OLD, .limit = 0x67, .attr = 0x8b },
		},
		.gdt_base = GDT, .gdt_limit = S_LAST + 7,
		.reason = reason, .sel = S_NEW,
	};
	return t;
}

/* Tables, and a TSS of either kind to go to, busy if one returns there. */
static void set_up(bool wide, bool busy)
{
	u32 seg = wide ? 0x48 : 0x22, step = wide ? 4 : 2;

	memset(mem, 0, sizeof(mem));
	absent_page = 0;
	fail_at = -1;
	desc(GDT, S_CODE, 0, 0xfffff, 0xc9a);
	desc(GDT, S_DATA, 0, 0xfffff, 0xc92);
	desc(GDT, S_CODE3, 0, 0xfffff, 0xcfa);
	desc(GDT, S_DATA3, 0, 0xfffff, 0xcf2);
	desc(GDT, S_CONF, 0, 0xfffff, 0xc9e);
	desc(GDT, S_OLD, OLD, 0x67, 0x8b);
	desc(GDT, S_NEW, NEW, wide ? 0x67 : 0x2b, (wide ? 0x89 : 0x81) | busy << 1);
	desc(GDT, S_LDT, LDT, 15, 0x82);
	desc(GDT, S_ABSENT, 0, 0xfffff, 0xc12);
	desc(GDT, S_XONLY, 0, 0xfffff, 0xc98);
	desc(GDT, S_ABSENT_CODE, 0, 0xfffff, 0xc1a);
	desc(GDT, S_SMALL, 0, 0xff, 0x49a);
	desc(GDT, S_NOLDT, LDT, 15, 0x02);
	desc(GDT, S_RODATA, 0, 0xfffff, 0xc90);
	desc(LDT, S_IN_LDT, 0x100, 0xfffff, 0xc92);
	put(NEW, 0x7777, 2);
	if (wide) {
		put(NEW + 0x20, 0x5678, 4);
		put(NEW + 0x24, 0x40046, 4);	/* AC, ZF, PF and the fixed one */
		for (u32 i = 0; i < 8; i++)
			put(NEW + 0x28 + 4 * i, 0xabc00 + i, 4);
		put(NEW + 0x28 + 16, STACK, 4);
		put(NEW + 0x60, S_LDT, 2);
		put(NEW + 0x58, S_IN_LDT, 2);	/* FS */
	} else {
		put(NEW + 0x0e, 0x5678, 2);
		put(NEW + 0x10, 0x0046, 2);
		for (u32 i = 0; i < 8; i++)
			put(NEW + 0x12 + 2 * i, 0xbc00 + i, 2);
		put(NEW + 0x12 + 8, STACK, 2);
		put(NEW + 0x2a, S_LDT, 2);
	}
	put(NEW + seg, S_DATA, 2);
	put(NEW + seg + step, S_CODE, 2);
	put(NEW + seg + 2 * step, S_DATA, 2);
	put(NEW + seg + 3 * step, 0, 2);
}

static void run(struct task_switch *t)
{
	nr_accesses = 0;
	assert_int_equal(task_switch(t, &ops, NULL), 0);
}

static void saved32(const struct task_switch *was, u32 eflags)
{
	assert_int_equal(get(OLD + 0x20, 4), was->eip);
	assert_int_equal(get(OLD + 0x24, 4), eflags);
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(get(OLD + 0x28 + 4 * i, 4), was->regs[i]);
	for (u32 i = 0; i < 6; i++)
		assert_int_equal(get(OLD + 0x48 + 4 * i, 2), was->seg[i].sel);
	assert_int_equal(get(OLD + 0x1c, 4), 0);	/* not CR3, not LDTR */
	assert_int_equal(get(OLD + 0x60, 4), 0);
}

static void test_reasons(void **arg)
{
	(void)arg;
	for (enum task_reason reason = TASK_JMP; reason <= TASK_EVENT; reason++) {
		bool nested = reason == TASK_CALL || reason == TASK_EVENT;

		for (int wide = 0; wide <= 1; wide++) {
			struct task_switch t = state(reason), was = t;

			set_up(wide, reason == TASK_IRET);
			t.rf = reason == TASK_EVENT;
			run(&t);
			assert_true(t.switched && !t.fault.pending);
			saved32(&was, reason == TASK_IRET ? 0x202 : reason == TASK_EVENT ? 0x14202 : 0x4202);
			assert_int_equal(t.eip, 0x5678);
			assert_int_equal(t.eflags, (wide ? 0x40046 : 0x46) | (nested ? 0x4000 : 0));
			for (u32 i = 0; i < 8; i++)
				assert_int_equal(t.regs[i], i == 4 ? STACK : (wide ? 0xabc00 : 0xbc00) + i);
			assert_int_equal(get(NEW, 2), nested ? S_OLD : 0x7777);
			assert_int_equal(type_of(S_OLD), nested ? 0x8b : 0x89);
			assert_int_equal(type_of(S_NEW), wide ? 0x8b : 0x83);
			assert_int_equal(t.seg[TASK_TR].sel, S_NEW);
			assert_int_equal(t.seg[TASK_TR].base, NEW);
			assert_int_equal(t.seg[TASK_TR].attr & 0xff, wide ? 0x8b : 0x83);
			assert_int_equal(t.seg[TASK_CS].attr, 0xc9b);
			assert_int_equal(t.seg[TASK_CS].limit, ~0U);
			assert_int_equal(t.seg[TASK_SS].attr, 0xc93);
			assert_int_equal(t.seg[TASK_DS].attr & 0x80, 0);
			assert_int_equal(t.seg[TASK_LDTR].base, LDT);
			assert_int_equal(t.seg[TASK_FS].base, wide ? 0x100 : 0);
			assert_int_equal(t.cr0, was.cr0 | 8);
			assert_int_equal(t.dr7, 0x6aa);
			assert_int_equal(t.cr3, 0);
		}
	}
}

static void test_from_16(void **arg)
{
	struct task_switch t = state(TASK_CALL);

	(void)arg;
	set_up(true, false);
	t.seg[TASK_TR].limit = 0x2b;
	t.seg[TASK_TR].attr = 0x83;
	run(&t);
	assert_true(t.switched);
	assert_int_equal(get(OLD + 0x0e, 2), 0x1234);
	assert_int_equal(get(OLD + 0x10, 2), 0x4202);
	assert_int_equal(get(OLD + 0x12, 2), 10);
	assert_int_equal(get(OLD + 0x24, 2), S_CODE);
	assert_int_equal(get(OLD + 0x2a, 2), 0);
	assert_int_equal(get(OLD + 0x2c, 4), 0);
}

static void test_error_code(void **arg)
{
	struct task_switch t = state(TASK_EVENT);

	(void)arg;
	set_up(true, false);
	t.has_error = true;
	t.error = 0x1230;
	run(&t);
	assert_int_equal(t.regs[4], STACK - 4);
	assert_int_equal(get(STACK - 4, 4), 0x1230);

	t = state(TASK_EVENT);
	set_up(false, false);
	t.has_error = true;
	t.error = 0x11230;
	run(&t);
	assert_int_equal(t.regs[4], STACK - 2);
	assert_int_equal(get(STACK - 2, 4), 0x1230);

	/* No room */
	t = state(TASK_EVENT);
	set_up(true, false);
	put(NEW + 0x38, 2, 4);
	t.has_error = true;
	run(&t);
	assert_true(t.switched && t.fault.pending && t.fault.vector == 12 && t.fault.error == 0);
	assert_int_equal(t.regs[4], 2);
}

static void test_v86(void **arg)
{
	struct task_switch t = state(TASK_IRET);

	(void)arg;
	set_up(true, true);
	put(NEW + 0x24, 0x23002, 4);
	put(NEW + 0x4c, 0x1234, 2);
	run(&t);
	assert_true(t.switched && !t.fault.pending && t.eflags == 0x23002);
	assert_int_equal(t.seg[TASK_CS].base, 0x12340);
	assert_int_equal(t.seg[TASK_CS].limit, 0xffff);
	assert_int_equal(t.seg[TASK_CS].attr, 0xf3);
	assert_int_equal(t.seg[TASK_SS].attr, 0xf3);
	put(NEW + 0x20, 0x10000, 4);
	set_up(true, true);
	put(NEW + 0x24, 0x23002, 4);
	put(NEW + 0x20, 0x10000, 4);
	t = state(TASK_IRET);
	run(&t);
	assert_true(t.switched && t.fault.pending && t.fault.vector == 13);
}

static void test_trap_and_cr3(void **arg)
{
	struct task_switch t = state(TASK_JMP);

	(void)arg;
	set_up(true, false);
	put(NEW + 0x64, 1, 2);
	put(NEW + 0x1c, OTHER, 4);
	/* Its own descriptor table, as the new tables show it. */
	mem[OTHER + GDT + S_DATA + 2] = 0x77;
	run(&t);
	assert_true(t.switched && t.fault.pending && t.fault.vector == 1 && !t.fault.has_error);
	assert_int_equal(t.dr6, 0xffff8ff0);
	assert_int_equal(t.cr3, OTHER);
	assert_int_equal(t.seg[TASK_SS].base, 0x77);
	/* Busy bits by the old tables. */
	assert_int_equal(type_of(S_NEW), 0x8b);
	assert_int_equal(mem[OTHER + GDT + S_NEW + 5], 0x89);

	/* Without paging CR3 stays. */
	t = state(TASK_JMP);
	t.cr0 &= ~0x80000000ULL;
	set_up(true, false);
	put(NEW + 0x1c, OTHER, 4);
	run(&t);
	assert_true(t.switched && t.cr3 == 0);
}

/* What is put where, in the new TSS or a descriptor, and what comes of it. */
struct bad {
	const char *what;
	enum task_reason reason;
	u32 at, val, len;
	u8 vector;
	u16 error;
	bool switched;
};

#define SEG(n)	(NEW + 0x48 + 4 * (n))
#define TYPE(s)	(GDT + ((s) & ~7U) + 5)

static const struct bad bad[] = {
	{ "incoming TSS busy", TASK_JMP, TYPE(S_NEW), 0x8b, 1, 13, S_NEW, false },
	{ "incoming TSS busy", TASK_EVENT, TYPE(S_NEW), 0x8b, 1, 13, S_NEW, false },
	{ "not busy", TASK_IRET, TYPE(S_NEW), 0x89, 1, 10, S_NEW, false },
	{ "absent", TASK_CALL, TYPE(S_NEW), 0x09, 1, 11, S_NEW, false },
	{ "too short", TASK_CALL, GDT + S_NEW, 0x66, 2, 10, S_NEW, false },
	{ "no TSS", TASK_CALL, TYPE(S_NEW), 0x82, 1, 13, S_NEW, false },
	{ "LDTR from the LDT", TASK_JMP, NEW + 0x60, S_LDT | 4, 2, 10, S_LDT | 4, true },
	{ "LDTR beyond", TASK_JMP, NEW + 0x60, S_LAST + 8, 2, 10, S_LAST + 8, true },
	{ "LDTR no LDT", TASK_JMP, NEW + 0x60, S_DATA, 2, 10, S_DATA, true },
	{ "LDTR absent", TASK_JMP, NEW + 0x60, S_NOLDT, 2, 10, S_NOLDT, true },
	{ "CS null", TASK_CALL, SEG(TASK_CS), 3, 2, 10, 0, true },
	{ "CS data", TASK_CALL, SEG(TASK_CS), S_DATA, 2, 10, S_DATA, true },
	{ "CS of another level", TASK_CALL, SEG(TASK_CS), S_CODE | 1, 2, 10, S_CODE, true },
	{ "CS absent", TASK_CALL, SEG(TASK_CS), S_ABSENT_CODE, 2, 11, S_ABSENT_CODE, true },
	{ "CS beyond", TASK_CALL, SEG(TASK_CS), 0x14, 2, 10, 0x14, true },
	{ "EIP beyond CS", TASK_CALL, SEG(TASK_CS), S_SMALL, 2, 13, 0, true },
	{ "SS null", TASK_CALL, SEG(TASK_SS), 0, 2, 10, 0, true },
	{ "SS code", TASK_CALL, SEG(TASK_SS), S_CODE, 2, 10, S_CODE, true },
	{ "SS read-only", TASK_CALL, SEG(TASK_SS), S_RODATA, 2, 10, S_RODATA, true },
	{ "SS of ring 3", TASK_CALL, SEG(TASK_SS), S_DATA3, 2, 10, S_DATA3 & ~3, true },
	{ "SS absent", TASK_CALL, SEG(TASK_SS), S_ABSENT, 2, 12, S_ABSENT, true },
	{ "DS execute-only", TASK_CALL, SEG(TASK_DS), S_XONLY, 2, 10, S_XONLY, true },
	{ "DS system", TASK_CALL, SEG(TASK_DS), S_OLD, 2, 10, S_OLD, true },
	{ "ES with RPL 3", TASK_CALL, SEG(TASK_ES), S_DATA | 3, 2, 10, S_DATA, true },
	{ "GS absent", TASK_EVENT, SEG(TASK_GS), S_ABSENT, 2, 11, S_ABSENT, true },
	{ "DS conforming", TASK_JMP, SEG(TASK_DS), S_CONF | 3, 2, 0, 0, true },
	{ "DS of ring 3", TASK_JMP, SEG(TASK_DS), S_DATA3, 2, 0, 0, true },
};

static void test_faults(void **arg)
{
	(void)arg;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct bad *b = &bad[i];

		for (int external = 0; external <= (b->reason == TASK_EVENT); external++) {
			struct task_switch t = state(b->reason), was = t;

			set_up(true, b->reason == TASK_IRET);
			put(b->at, b->val, b->len);
			t.external = external;
			wrote = 0;
			run(&t);
			if (t.fault.pending != !!b->vector || t.switched != b->switched ||
			    (b->vector && (t.fault.vector != b->vector || !t.fault.has_error ||
					   t.fault.error != (u32)(b->error | external))))
				fail_msg("%s: fault %d: %u, %x, switched %d", b->what, t.fault.pending,
					 t.fault.vector, t.fault.error, t.switched);
			if (!b->switched) {
				assert_int_equal(wrote, 0);
				assert_int_equal(t.eip, was.eip);
				assert_int_equal(t.cr0, was.cr0);
				assert_int_equal(t.seg[TASK_TR].sel, S_OLD);
			} else {
				/* The task is the new one all the same. */
				assert_int_equal(type_of(S_NEW), 0x8b);
				assert_int_equal(t.eip, 0x5678);
				assert_int_equal(t.seg[TASK_SS].attr >> 5 & 3, get(SEG(TASK_CS), 2) & 3);
			}
		}
	}
}

static void test_selectors(void **arg)
{
	static const u16 sels[] = { 0, 3, S_NEW | 4, S_LAST + 8, S_DATA };

	(void)arg;
	for (unsigned int i = 0; i < ARRAY_SIZE(sels); i++) {
		for (enum task_reason reason = TASK_JMP; reason <= TASK_EVENT; reason++) {
			struct task_switch t = state(reason);

			set_up(true, false);
			t.sel = sels[i];
			run(&t);
			assert_true(!t.switched && t.fault.pending);
			assert_int_equal(t.fault.vector, reason == TASK_IRET ? 10 : 13);
			assert_int_equal(t.fault.error, sels[i] & 0xfffc);
		}
	}
	/* The outgoing one too short to be saved */
	struct task_switch t = state(TASK_CALL);

	set_up(true, false);
	t.seg[TASK_TR].limit = 0x66;
	run(&t);
	assert_true(!t.switched && t.fault.vector == 10 && t.fault.error == S_OLD);
}

static void test_ring3(void **arg)
{
	struct task_switch t = state(TASK_IRET);

	(void)arg;
	set_up(true, true);
	put(SEG(TASK_CS), S_CODE3, 2);
	put(SEG(TASK_SS), S_DATA3, 2);
	put(SEG(TASK_ES), S_DATA3, 2);
	put(SEG(TASK_FS), S_CONF, 2);
	run(&t);
	assert_true(t.switched && !t.fault.pending);
	assert_int_equal(t.seg[TASK_SS].attr, 0xcf3);
	assert_int_equal(t.seg[TASK_FS].attr, 0xc9f);
}

static void test_page_faults(void **arg)
{
	static const struct { u32 page; bool switched; u32 error; } cases[] = {
		{ GDT, false, 0 }, { OLD, false, 2 }, { NEW, false, 2 },
	};

	(void)arg;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task_switch t = state(TASK_CALL);

		set_up(true, false);
		absent_page = cases[i].page;
		wrote = 0;
		run(&t);
		assert_true(t.fault.pending && t.fault.vector == 14 && !t.switched && !wrote);
		assert_int_equal(t.fault.error, cases[i].error);
	}
	/* The stack of the incoming task: its own fault */
	struct task_switch t = state(TASK_EVENT);

	set_up(true, false);
	absent_page = STACK - 4;
	t.has_error = true;
	run(&t);
	assert_true(t.fault.pending && t.fault.vector == 14 && t.switched && t.regs[4] == STACK);
}

/* -EINTR at each access in turn, then again without: as if nothing had been. */
static void test_again(void **arg)
{
	static u8 want_mem[sizeof(mem)];

	(void)arg;
	for (enum task_reason reason = TASK_JMP; reason <= TASK_EVENT; reason++) {
		struct task_switch want = state(reason);
		int total;

		set_up(true, reason == TASK_IRET);
		want.has_error = reason == TASK_EVENT;
		run(&want);
		total = nr_accesses;
		memcpy(want_mem, mem, sizeof(mem));
		assert_true(total > 8);
		for (int i = 0; i < total; i++) {
			struct task_switch t = state(reason), was;

			set_up(true, reason == TASK_IRET);
			t.has_error = reason == TASK_EVENT;
			was = t;
			fail_at = i;
			nr_accesses = 0;
			assert_int_equal(task_switch(&t, &ops, NULL), -EINTR);
			assert_memory_equal(&t, &was, sizeof(t));
			fail_at = -1;
			run(&t);
			assert_memory_equal(&t, &want, sizeof(t));
			assert_memory_equal(mem, want_mem, sizeof(mem));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_from_16),
		cmocka_unit_test(test_error_code),
		cmocka_unit_test(test_v86),
		cmocka_unit_test(test_trap_and_cr3),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_ring3),
		cmocka_unit_test(test_page_faults),
		cmocka_unit_test(test_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
