// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page walker in the legacy modes (32-bit and PAE), against a model written
 * apart from it, over random tables; and single cases of all modes.  Long mode
 * at random: see test_ptcache.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "kmod/walk.h"

#define MEM	32768U

static u8 mem[MEM];
static unsigned int changes, entries_set;
static u64 seed = 0x243f6a8885a308d3ULL;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 8;
}

static int m_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	(void)arg;
	assert_int_equal(gpa & (size - 1), 0);
	if (gpa >= MEM)
		return -ENOENT;
	*val = 0;
	memcpy(val, mem + gpa, size);
	return 0;
}

static int m_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	u64 found = 0;

	(void)arg;
	memcpy(&found, mem + gpa, size);
	if (changes && rnd() % 4 == 0) {
		/* Somebody else sets an accessed bit. */
		changes--;
		found |= PTE_A;
		memcpy(mem + gpa, &found, size);
	}
	if (found != *old) {
		*old = found;
		return 1;
	}
	entries_set++;
	memcpy(mem + gpa, &new, size);
	return 0;
}

static const struct walk_ops ops = { m_read, m_cmpxchg };

static u64 entry(u64 gpa, unsigned int size)
{
	u64 v = 0;

	if (gpa >= MEM)
		return size == 8 ? ~0ULL : 0xffffffff;
	memcpy(&v, mem + gpa, size);
	return v;
}

struct expect {
	u64 gpa;
	u32 error;	/* P and RSVD bits, or rights: full code; 0: none */
	bool fault;
};

/* 32-bit paging, APM vol. 2 section 5.2. */
static void model_32(const struct walk_cpu *c, u32 lin, unsigned int access, struct expect *x)
{
	u64 pde = entry((c->cr3 & 0xfffff000) + 4 * (lin >> 22), 4), pte;
	bool w = pde & 2, u = pde & 4;

	x->fault = true;
	x->error = 0;
	if (!(pde & 1))
		return;
	if ((pde & 0x80) && (c->cr4 & 0x10)) {
		x->error = 9;
		if (pde & 0x200000)
			return;
		x->gpa = (pde & 0xffc00000) | ((pde >> 13 & 0xff) << 32) | (lin & 0x3fffff);
		if (x->gpa >> c->maxphyaddr)
			return;
	} else {
		pte = entry((pde & 0xfffff000) + 4 * (lin >> 12 & 1023), 4);
		if (!(pte & 1))
			return;
		w &= pte >> 1 & 1;
		u &= pte >> 2 & 1;
		x->gpa = (pte & 0xfffff000) | (lin & 4095);
	}
	x->error = 1;
	if (c->cpl == 3 && !u)
		return;
	if ((access & WALK_WRITE) && !w && (c->cpl == 3 || (c->cr0 & 0x10000)))
		return;
	x->fault = false;
	x->error = 0;
}

/* PAE paging, section 5.3.  Reserved: see figures 5-9 to 5-12. */
static void model_pae(const struct walk_cpu *c, u32 lin, unsigned int access, struct expect *x)
{
	bool nxe = c->efer & 0x800, w, u, nx;
	u64 high = ~((1ULL << c->maxphyaddr) - 1) & ~(1ULL << 63), pdpe, pde, pte;

	x->fault = true;
	x->error = 0;
	pdpe = entry((c->cr3 & 0xffffffe0) + 8 * (lin >> 30), 8);
	if (!(pdpe & 1))
		return;
	x->error = 9;
	if ((pdpe & (high | 0x1c6)) || pdpe >> 63)
		return;
	pde = entry((pdpe & ~0xfffULL) + 8 * (lin >> 21 & 511), 8);
	x->error = 0;
	if (!(pde & 1))
		return;
	x->error = 9;
	if ((pde & high) || (pde >> 63 && !nxe))
		return;
	w = pde & 2;
	u = pde & 4;
	nx = pde >> 63;
	if (pde & 0x80) {
		if (pde & 0x1fe000)
			return;
		x->gpa = (pde & 0xfffffffe00000ULL) | (lin & 0x1fffff);
	} else {
		pte = entry((pde & 0xffffffffff000ULL) + 8 * (lin >> 12 & 511), 8);
		x->error = 0;
		if (!(pte & 1))
			return;
		x->error = 9;
		if ((pte & high) || (pte >> 63 && !nxe))
			return;
		w &= pte >> 1 & 1;
		u &= pte >> 2 & 1;
		nx |= pte >> 63;
		x->gpa = (pte & 0xffffffffff000ULL) | (lin & 4095);
	}
	x->error = 1;
	if (c->cpl == 3 && !u)
		return;
	if ((access & WALK_WRITE) && !w && (c->cpl == 3 || (c->cr0 & 0x10000)))
		return;
	if ((access & WALK_FETCH) && nx)
		return;
	x->fault = false;
	x->error = 0;
}

static void test_legacy(void **state)
{
	unsigned int i, n, ok = 0, faulted = 0;

	(void)state;
	for (i = 0; i < 200000; i++) {
		bool pae = i & 1;
		struct walk_cpu c = {
			.cr0 = 0x80000001 | (rnd() & 0x10000), .cr4 = (pae ? 0x20 : 0) | (rnd() & 0x10),
			.efer = pae ? rnd() & 0x800 : 0, .cpl = rnd() & 1 ? 3 : 0, .maxphyaddr = 36 + rnd() % 8,
			.cr3 = (rnd() % 4) << 12 | (rnd() & 0x18),
		};
		unsigned int access = rnd() % 3, size = pae ? 8 : 4;
		u32 lin = (u32)(rnd() % 4) << 30 | (u32)(rnd() % 4) << 21 | (u32)(rnd() % 4) << 12 | (rnd() & 4095);
		struct walk_result res;
		struct expect x;
		int ret;

		if (i % 64 < 2) {
			for (n = 0; n < MEM; n += size) {
				/* No table is a PAE root too: its accessed bits would be reserved. */
				u64 e = ((pae ? 4 + rnd() % 4 : rnd() % 8) << 12) | (rnd() & 0x67) | 3 | (rnd() % 10 ? 4 : 0);

				if (n < 4096 * 4 && pae && rnd() % 8)
					e &= ~0x1c6ULL;	/* good PDPEs */
				if (rnd() % 20 == 0)
					e |= 0x80 | (rnd() % 3 ? 0 : rnd() << 14);
				if (rnd() % 16 == 0)
					e = rnd() << 32 | (rnd() | 0x4000);
				if (rnd() % 12 == 0 && pae)
					e |= 1ULL << 63;
				memcpy(mem + n, &e, size);
			}
		}
		if (pae)
			model_pae(&c, lin, access, &x);
		else
			model_32(&c, lin, access, &x);
		if (x.fault)
			x.error |= (access & WALK_WRITE ? 2 : 0) | (c.cpl == 3 ? 4 : 0) |
				   (access & WALK_FETCH && pae && (c.efer & 0x800) ? 16 : 0);
		changes = 2;
		ret = walk(&c, &ops, NULL, lin, access, &res);
		if (ret != (x.fault ? WALK_FAULT : WALK_OK) || (x.fault ? res.error != x.error : res.gpa != x.gpa))
			fail_msg("%s linear %x access %u: %d error %x gpa %llx, model %d %x %llx",
				 pae ? "PAE" : "32-bit", lin, access, ret, res.error, res.gpa, x.fault, x.error,
				 x.gpa);
		if (ret == WALK_OK) {
			u64 leaf = entry(res.entry[res.leaf - 1].gpa, size);

			ok++;
			assert_int_equal(leaf & PTE_A, PTE_A);
			if (access & WALK_WRITE)
				assert_int_equal(leaf & PTE_D, PTE_D);
			assert_int_equal(leaf, res.entry[res.leaf - 1].val);
		} else {
			faulted++;
		}
	}
	assert_true(ok > 10000 && faulted > 10000);
}

static void test_no_paging(void **state)
{
	struct walk_cpu c = { .cr0 = 1, .maxphyaddr = 40 };
	struct walk_result res;

	(void)state;
	assert_int_equal(walk(&c, &ops, NULL, 0x1fffff123ULL, WALK_WRITE, &res), WALK_OK);
	assert_int_equal(res.gpa, 0xfffff123ULL);
	assert_int_equal(res.levels, 0);
}

/* Five levels, and that WALK_NO_AD changes nothing. */
static void test_five_levels(void **state)
{
	struct walk_cpu c = { .cr0 = 0x80010001, .cr4 = 0x1020, .efer = 0xd00, .maxphyaddr = 48 };
	u64 lin = 1ULL << 48 | 2ULL << 39 | 3ULL << 30 | 4ULL << 21 | 5ULL << 12 | 6;
	struct walk_result res;
	unsigned int i;
	u64 e;

	(void)state;
	memset(mem, 0, sizeof(mem));
	for (i = 0; i < 5; i++) {
		e = (i == 4 ? 0x123456000ULL : (i + 1) << 12) | 3;
		memcpy(mem + i * 4096 + 8 * (i + 1), &e, 8);
	}
	entries_set = 0;
	changes = 0;
	assert_int_equal(walk(&c, &ops, NULL, lin, WALK_WRITE | WALK_NO_AD, &res), WALK_OK);
	assert_int_equal(res.gpa, 0x123456006ULL);
	assert_int_equal(res.levels, 5);
	assert_int_equal(entries_set, 0);
	assert_int_equal(walk(&c, &ops, NULL, lin, WALK_WRITE, &res), WALK_OK);
	assert_int_equal(entries_set, 5);
	assert_int_equal(entry(4 * 4096 + 8 * 5, 8), 0x123456000ULL | 0x63);
	assert_true(walk_canonical(&c, 0x00ffffffffffffffULL));
	assert_false(walk_canonical(&c, 0x0100000000000000ULL));
	c.cr4 = 0x20;
	assert_false(walk_canonical(&c, 0x0000800000000000ULL));
	assert_true(walk_canonical(&c, 0xffff800000000000ULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_no_paging),
		cmocka_unit_test(test_five_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
