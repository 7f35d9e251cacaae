// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest page-table cache and the page walker against a model of the
 * architecture.
 *
 * A guest edits its page tables at random, flushes as it likes, and accesses
 * memory.  The "hardware" here walks the cache's copies and has a TLB and a cache
 * of upper levels of its own, only emptied when the cache asks for it.  Checked for each access:
 *
 * - the translation that was used is one that the guest's tables gave, with
 *   accessed bits set at every level (and for a write the dirty bit), at some
 *   moment since the guest last flushed that address; the root's entry may be an
 *   older one than the others, from since that flush, as a processor may keep it;
 * - an injected fault is what the guest's tables give now, error code and all;
 * - an access that neither faults nor succeeds after a few exits is a failure.
 *
 * The model's walker is written apart from kmod/walk.c, which it checks too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "kmod/svm/ptcache.h"

#define FRAMES		40
#define HOST_BITS	40
#define GUEST_BITS	(HOST_BITS - 1)
#define HIDDEN		BIT_ULL(GUEST_BITS)

#define CR0		0x80000001ULL
#define WP		BIT_ULL(16)
#define CR4_PAE		BIT_ULL(5)
#define CR4_PGE		BIT_ULL(7)
#define CR4_SMEP	BIT_ULL(20)
#define CR4_SMAP	BIT_ULL(21)
#define CR4_PKE		BIT_ULL(22)
#define EFER_LMA	0x500ULL
#define EFER_NXE	BIT_ULL(11)
#define AC		BIT_ULL(18)

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 8;
}

static bool chance(unsigned int percent)
{
	return rnd() % 100 < percent;
}

/* A translation: where to, and what the entries allow together. */
struct tr {
	u64 gpa;		/* of the 4 KiB page */
	bool w, u, x, d, g, a;	/* a: accessed at every level */
	u8 pkey;
};

#define MAX_VALID	4096

/* What the model knows of one linear page. */
struct lin {
	u64 addr;
	unsigned int top;		/* which entry of the root: index into tops */
	unsigned int nr;
	struct tr valid[MAX_VALID];	/* since the last flush */
	bool cached;			/* the hardware's TLB */
	struct tr tlb;
	bool upper;			/* its cache of upper levels: the lowest table, and rights */
	u64 table;
	bool w, u, x;
};

static const unsigned int idx4[] = { 0, 1, 511 }, idx3[] = { 0, 1 }, idx2[] = { 0, 3 },
			  idx1[] = { 0, 1, 2, 7, 256 };
#define NR_LIN	(3 * 2 * 2 * 5)

#define NR_TOP	3
#define MAX_TOP	64

/* The root's entries since the last flush. */
struct top {
	u64 entry[MAX_TOP];
	unsigned int nr;
};

static struct lin lins[NR_LIN];
static struct top tops[NR_TOP];
static u64 ram[FRAMES][512];
static u64 *copies[PTCACHE_PAGES];
static unsigned int pool;	/* tables that alloc hands out */
static struct walk_cpu cpu;
static bool flush_wanted, page_flushed, interrupts;
static struct ptcache *pc;
static bool in_place;			/* the guest's own tables may be walked */
static unsigned long accesses, faults, stale, walked;

/* ------------------------------------------------ the model's own walker */

typedef int (*read_entry)(u64 gpa, u64 *val);

static int guest_entry(u64 gpa, u64 *val)
{
	if (gpa >= FRAMES * 4096)
		*val = ~0ULL;
	else
		*val = ram[gpa >> 12][(gpa >> 3) & 511];
	return 0;
}

static int copy_entry(u64 gpa, u64 *val)
{
	u64 page = (gpa - HIDDEN) >> 12;

	if (gpa < HIDDEN && in_place)
		return guest_entry(gpa, val);
	assert_true(gpa >= HIDDEN && page < PTCACHE_PAGES && copies[page]);
	*val = copies[page][(gpa >> 3) & 511];
	return 0;
}

static u64 lowest_table;	/* of the last walk that ended at level 1 */
static struct tr lowest_rights;

/*
 * 0 with *t, or the P and RSVD bits of the fault plus 0x100.  @top: use this in
 * place of the root's entry.
 */
static u32 walk_from(read_entry entry, u64 root, const u64 *top, unsigned int bits, u64 linear,
		     struct tr *t)
{
	unsigned int level, shift;
	u64 e, table = root & 0xffffffffff000ULL;

	*t = (struct tr){ .w = true, .u = true, .x = true, .a = true };
	for (level = 4; level >= 1; level--) {
		shift = 12 + 9 * (level - 1);
		if (level == 1) {
			lowest_table = table;
			lowest_rights = *t;
		}
		if (level == 4 && top)
			e = *top;
		else
			entry(table + 8 * ((linear >> shift) & 511), &e);
		if (!(e & 1))
			return 0x100;
		if ((e & 0xffffffffffffeULL) >> bits)
			return 0x109;
		if (e >> 63 && !(cpu.efer & EFER_NXE))
			return 0x109;
		if (level == 4 && (e & 0x180))
			return 0x109;
		t->w &= (e >> 1) & 1;
		t->u &= (e >> 2) & 1;
		t->x &= !(e >> 63);
		t->a &= (e >> 5) & 1;
		table = e & 0xffffffffff000ULL;
		if (level == 1 || (e & 0x80)) {
			if (level == 3 && (e & 0x3fffe000))
				return 0x109;
			if (level == 2 && (e & 0x1fe000))
				return 0x109;
			t->d = (e >> 6) & 1;
			t->g = (e >> 8) & 1;
			t->pkey = (e >> 59) & 15;
			t->gpa = (table & ~((1ULL << shift) - 1)) |
				 (linear & ((1ULL << shift) - 1) & ~4095ULL);
			return 0;
		}
	}
	return 0x100;
}

static u32 model_walk(read_entry entry, u64 root, unsigned int bits, u64 linear, struct tr *t)
{
	return walk_from(entry, root, NULL, bits, linear, t);
}

struct access {
	bool user, write, fetch, implicit;
};

static u32 base_error(const struct access *a)
{
	u32 e = (a->write ? 2 : 0) | (a->user ? 4 : 0);

	if (a->fetch && ((cpu.cr4 & CR4_SMEP) || (cpu.efer & EFER_NXE)))
		e |= 16;
	return e;
}

/* 0 or the error code. */
static u32 model_check(const struct tr *t, const struct access *a)
{
	bool deny = false, pk = false;

	if (a->user) {
		deny |= !t->u || (a->write && !t->w);
	} else {
		deny |= a->write && !t->w && (cpu.cr0 & WP);
		deny |= a->fetch && t->u && (cpu.cr4 & CR4_SMEP);
		deny |= !a->fetch && t->u && (cpu.cr4 & CR4_SMAP) && (a->implicit || !(cpu.rflags & AC));
	}
	deny |= a->fetch && !t->x;
	if (t->u && !a->fetch && (cpu.cr4 & CR4_PKE)) {
		u32 rights = cpu.pkru >> (2 * t->pkey) & 3;

		pk = (rights & 1) || ((rights & 2) && a->write && (a->user || (cpu.cr0 & WP)));
	}
	if (!deny && !pk)
		return 0;
	return base_error(a) | 1 | (pk ? 32 : 0);
}

static u32 model_access(read_entry entry, u64 root, unsigned int bits, u64 linear,
			const struct access *a, struct tr *t)
{
	u32 e = model_walk(entry, root, bits, linear, t);

	/* 0x100 only says "fault" where the error code is 0 */
	return e ? 0x100 | (e & 9) | base_error(a) : model_check(t, a) ? 0x100 | model_check(t, a) : 0;
}

/* --------------------------------------------------------- what is valid */

static bool same(const struct tr *a, const struct tr *b)
{
	return a->gpa == b->gpa && a->w == b->w && a->u == b->u && a->x == b->x && a->d == b->d &&
	       a->g == b->g && a->pkey == b->pkey;
}

static void record_top(const struct lin *l)
{
	struct top *top = &tops[l->top];
	unsigned int i;
	u64 e;

	guest_entry((cpu.cr3 & 0xffffffffff000ULL) + 8 * ((l->addr >> 39) & 511), &e);
	for (i = 0; i < top->nr; i++)
		if (top->entry[i] == e)
			return;
	assert_true(top->nr < MAX_TOP);
	top->entry[top->nr++] = e;
}

static void record(struct lin *l)
{
	struct top *top = &tops[l->top];
	unsigned int i, j;
	struct tr t;

	for (j = 0; j < top->nr; j++) {
		if (walk_from(guest_entry, cpu.cr3, &top->entry[j], GUEST_BITS, l->addr, &t) || !t.a)
			continue;
		for (i = 0; i < l->nr && !same(&l->valid[i], &t); i++)
			;
		if (i < l->nr)
			continue;
		assert_true(l->nr < MAX_VALID);
		l->valid[l->nr++] = t;
	}
}

static void record_tops(void)
{
	unsigned int i;

	for (i = 0; i < NR_TOP; i++)
		record_top(&lins[i * (NR_LIN / NR_TOP)]);
}

static void record_all(void)
{
	unsigned int i;

	record_tops();
	for (i = 0; i < NR_LIN; i++)
		record(&lins[i]);
}

static void model_flush(struct lin *l, bool keep_global)
{
	unsigned int i, n = 0;

	for (i = 0; i < l->nr; i++)
		if (keep_global && l->valid[i].g && (cpu.cr4 & CR4_PGE))
			l->valid[n++] = l->valid[i];
	l->nr = n;
	tops[l->top].nr = 0;
	record_top(l);
	record(l);
}

static void model_flush_all(bool keep_global)
{
	unsigned int i;

	for (i = 0; i < NR_LIN; i++)
		model_flush(&lins[i], keep_global);
}

/* ------------------------------------------------------ the cache's world */

static int w_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	assert_ptr_equal(arg, ram);
	assert_int_equal(size, 8);
	assert_int_equal(gpa & 7, 0);
	if (interrupts && chance(1))
		return -EINTR;
	if (gpa >= FRAMES * 4096)
		return -ENOENT;
	return guest_entry(gpa, val);
}

static int w_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	u64 *p = &ram[gpa >> 12][(gpa >> 3) & 511];

	(void)arg;
	assert_int_equal(size, 8);
	assert_true(gpa < FRAMES * 4096);
	if (interrupts && chance(1))
		return -EINTR;
	/* Only accessed and dirty are ever set, none cleared. */
	assert_int_equal((*old ^ new) & ~0x60ULL, 0);
	assert_int_equal(*old & ~new, 0);
	if (*p != *old) {
		*old = *p;
		return 1;
	}
	*p = new;
	record_all();
	return 0;
}

static int w_read_table(void *arg, u64 gpa, u64 *entries)
{
	(void)arg;
	assert_int_equal(gpa & 4095, 0);
	if (interrupts && chance(2))
		return -EINTR;
	if (gpa >= FRAMES * 4096)
		return -ENOENT;
	memcpy(entries, ram[gpa >> 12], 4096);
	return 0;
}

static u64 *w_alloc(void *arg, unsigned int index)
{
	(void)arg;
	if (index >= pool)
		return NULL;
	assert_null(copies[index]);
	copies[index] = malloc(4096);
	memset(copies[index], 0xee, 4096);
	return copies[index];
}

static void w_flush(void *arg)
{
	(void)arg;
	flush_wanted = true;
}

/* A processor that keeps as much as it may. */
static void w_flush_page(void *arg, u64 linear)
{
	unsigned int i;

	(void)arg;
	page_flushed = true;
	for (i = 0; i < NR_LIN; i++)
		if (lins[i].addr >> 12 == linear >> 12)
			lins[i].cached = false;
}

static const struct ptcache_ops ops = {
	{ w_read, w_cmpxchg }, w_read_table, w_alloc, w_flush, w_flush_page
};

static void enter_guest(void)
{
	unsigned int i;

	if (!flush_wanted)
		return;
	flush_wanted = false;
	for (i = 0; i < NR_LIN; i++) {
		lins[i].cached = false;
		lins[i].upper = false;
	}
}

/* As the hardware does when it walks, the copies and what is in place.  Into @t, too. */
static void set_accessed(u64 table, unsigned int level, u64 linear, bool write, struct tr *t)
{
	bool guests = false;
	u64 e;

	for (; level >= 1; level--) {
		unsigned int index = (linear >> (12 + 9 * (level - 1))) & 511;
		bool leaf;

		copy_entry(table + 8 * index, &e);
		leaf = level == 1 || e & 0x80;
		if (table >= HIDDEN) {
			copies[(table - HIDDEN) >> 12][index] |= 0x20;
		} else {
			ram[table >> 12][index] |= 0x20 | (leaf && write ? 0x40 : 0);
			guests = true;
		}
		if (leaf)
			break;
		table = e & 0xffffffffff000ULL;
	}
	if (!guests)
		return;
	walked++;
	t->a = true;
	t->d |= write;
	record_all();
}

/* The hardware's walk of the copies, at times from a cached upper level. */
static u32 hardware_access(struct lin *l, const struct access *a, struct tr *t)
{
	u64 e;

	if (l->upper && chance(50)) {
		copy_entry(l->table + 8 * ((l->addr >> 12) & 511), &e);
		*t = (struct tr){
			.gpa = e & 0xffffffffff000ULL, .w = l->w && (e & 2), .u = l->u && (e & 4),
			.x = l->x && !(e >> 63), .d = e & 0x40, .g = e & 0x100, .a = true, .pkey = (e >> 59) & 15,
		};
		if ((e & 1) && !model_check(t, a))
			return 0;
		l->upper = false;	/* a fault is decided by a whole walk */
	}
	lowest_table = 0;
	e = model_access(copy_entry, ptcache_root(pc), HOST_BITS, l->addr, a, t);
	if (!e)
		set_accessed(ptcache_root(pc), 4, l->addr, a->write, t);
	/* What it keeps of tables in place is as in any other guest. */
	if (!e && lowest_table >= HIDDEN && chance(70)) {
		l->upper = true;
		l->table = lowest_table;
		l->w = lowest_rights.w;
		l->u = lowest_rights.u;
		l->x = lowest_rights.x;
	}
	return e;
}

/* --------------------------------------------------------------- actions */

/* The translation used must have been the guest's, see the top. */
static void check_used(const struct lin *l, const struct tr *t, const struct access *a)
{
	unsigned int i;
	struct tr now;

	for (i = 0; i < l->nr; i++) {
		const struct tr *v = &l->valid[i];

		if (v->gpa == t->gpa && v->u == t->u && v->x == t->x && v->pkey == t->pkey &&
		    (!t->w || (v->w && (v->d || in_place))) && (!a->write || v->d)) {
			if (model_walk(guest_entry, cpu.cr3, GUEST_BITS, l->addr, &now) ||
			    now.gpa != t->gpa)
				stale++;
			return;
		}
	}
	fail_msg("linear %llx: used gpa %llx w%d u%d x%d d%d key %u, never the guest's (%u known)",
		 l->addr, t->gpa, t->w, t->u, t->x, t->d, t->pkey, l->nr);
}

static void do_access(struct lin *l)
{
	struct access a = { .user = chance(40), .write = chance(40) };
	u64 offset = rnd() % 4096;
	unsigned int tries;
	struct tr t;
	u32 error, inject, want;
	int ret;

	if (!a.write)
		a.fetch = chance(30);
	if (!a.user && !a.fetch)
		a.implicit = chance(10);
	cpu.cpl = a.user || (a.implicit && chance(50)) ? 3 : 0;
	/* An implicit access below CPL 3 looks like any other to software. */
	if (cpu.cpl != 3 && a.implicit && (cpu.cr4 & CR4_SMAP) && (cpu.rflags & AC))
		a.implicit = false;
	accesses++;
	for (tries = 0; tries < 200; tries++) {
		enter_guest();
		if (l->cached && chance(70)) {
			t = l->tlb;
			/* The processor itself sets D of what is in place, by another walk. */
			if (!model_check(&t, &a) && (t.d || !a.write || !in_place)) {
				check_used(l, &t, &a);
				return;
			}
			/* Some processors walk again, some forget and fault. */
			if (chance(50))
				l->cached = false;
		}
		error = hardware_access(l, &a, &t);
		if (l->cached && !error && chance(20) && model_check(&l->tlb, &a))
			error = 0x100 | model_check(&l->tlb, &a);	/* a spurious fault */
		if (!error) {
			check_used(l, &t, &a);
			if (chance(70)) {
				l->cached = true;
				l->tlb = t;
			}
			return;
		}
		ret = ptcache_fault(pc, &cpu, l->addr + offset, error & 0xff, &inject);
		if (ret == -EINTR || ret == PTCACHE_RESUME)
			continue;
		assert_int_equal(ret, PTCACHE_INJECT);
		want = model_access(guest_entry, cpu.cr3, GUEST_BITS, l->addr, &a, &t);
		if (want != (0x100 | inject))
			fail_msg("linear %llx: injected %x, the guest's tables say %x (hardware %x)", l->addr,
				 inject, want, error);
		faults++;
		return;
	}
	fail_msg("linear %llx: no progress", l->addr);
}

static u64 random_entry(bool top)
{
	u64 e = chance(96);

	e |= chance(88) ? 2 : 0;
	e |= chance(85) ? 4 : 0;
	e |= chance(75) ? 0x20 : 0;
	e |= chance(60) ? 0x40 : 0;
	e |= chance(30) ? 0x100 & (top ? 0 : ~0ULL) : 0;
	e |= chance(10) ? 0x18 : 0;
	e |= chance(15) ? 0xe00 : 0;
	e |= chance(8) ? BIT_ULL(63) : 0;
	e |= chance(10) ? (rnd() & 15) << 59 : 0;
	if (chance(12))
		e |= 0x80 | (rnd() % 3) << (chance(50) ? 21 : 30) | (chance(5) ? 0x4000 : 0);
	else
		e |= (rnd() % FRAMES) << 12;
	/* In place that is an address like any other, see ENGINE.rst. */
	if (!in_place && chance(2))
		e |= HIDDEN | (rnd() % 8) << 12;
	if (chance(1))
		e |= BIT_ULL(44);
	return e;
}

static void edit(void)
{
	static const unsigned int idx[] = { 0, 1, 2, 3, 7, 256, 511 };
	u64 *e = &ram[rnd() % FRAMES][idx[rnd() % 7]];
	u64 table = cpu.cr3, lin = lins[rnd() % NR_LIN].addr;
	unsigned int shift, depth = rnd() % 4;

	/* Often an entry that is in use: follow an address some levels down. */
	for (shift = 39; chance(90); shift -= 9) {
		table &= 0xffffffffff000ULL;
		if (table >= FRAMES * 4096)
			break;
		e = &ram[table >> 12][(lin >> shift) & 511];
		if (!depth-- || !(*e & 1))
			break;
		table = *e;
	}
	switch (rnd() % 8) {
	case 0: *e &= ~0x20ULL; break;			/* young no more */
	case 1: *e &= ~0x40ULL; break;			/* cleaned */
	case 2: *e ^= 2; break;
	case 3: *e ^= 4; break;
	case 4: *e ^= 1; break;
	default: *e = random_entry(chance(50)); break;
	}
	record_all();
}

static void change_mode(void)
{
	switch (rnd() % 6) {
	case 0: cpu.cr0 ^= WP; break;
	case 1: cpu.cr4 ^= CR4_PGE; break;
	case 2: cpu.cr4 ^= CR4_SMEP; break;
	case 3: cpu.cr4 ^= CR4_SMAP; break;
	case 4: cpu.cr4 ^= CR4_PKE; break;
	case 5: cpu.efer ^= EFER_NXE; break;
	}
	ptcache_flush(pc);
	model_flush_all(false);
}

static void start(u64 s, unsigned int tables)
{
	unsigned int a, b, c, d, n = 0, i;

	seed = s * 0x9e3779b97f4a7c15ULL + 1;
	for (i = 0; i < 20; i++)
		rnd();
	pool = tables;
	memset(ram, 0, sizeof(ram));
	for (a = 0; a < 3; a++)
		for (b = 0; b < 2; b++)
			for (c = 0; c < 2; c++)
				for (d = 0; d < 5; d++, n++) {
					lins[n].nr = 0;
					lins[n].top = a;
					lins[n].cached = false;
					lins[n].upper = false;
					lins[n].addr = (u64)idx4[a] << 39 | (u64)idx3[b] << 30 |
						       (u64)idx2[c] << 21 | (u64)idx1[d] << 12;
					if (a == 2)
						lins[n].addr |= 0xffffULL << 48;
				}
	cpu = (struct walk_cpu){ .cr0 = CR0 | WP, .cr3 = 0, .cr4 = CR4_PAE | CR4_PGE,
				 .efer = EFER_LMA | EFER_NXE, .maxphyaddr = GUEST_BITS, .gbpages = true };
	for (i = 0; i < FRAMES * 7; i++)
		ram[i / 7][(const unsigned int[]){ 0, 1, 2, 3, 7, 256, 511 }[i % 7]] = random_entry(i < 28);
	for (i = 0; i < NR_TOP; i++)
		tops[i].nr = 0;
	pc = calloc(1, sizeof(*pc));
	assert_int_equal(ptcache_init(pc, &ops, ram, HIDDEN, in_place), 0);
	record_all();
}

static void stop(void)
{
	unsigned int i;

	for (i = 0; i < PTCACHE_PAGES; i++) {
		free(copies[i]);
		copies[i] = NULL;
	}
	free(pc);
}

static void run(u64 s, unsigned int tables, unsigned int steps)
{
	unsigned int i, n;

	start(s, tables);
	for (i = 0; i < steps; i++) {
		n = rnd() % 100;
		if (n < 70) {
			do_access(&lins[rnd() % NR_LIN]);
		} else if (n < 85) {
			edit();
		} else if (n < 92) {
			struct lin *l = &lins[rnd() % NR_LIN];

			page_flushed = false;
			ptcache_invlpg(pc, l->addr + rnd() % 4096);
			model_flush(l, false);
			assert_true(flush_wanted || page_flushed);
		} else if (n < 97) {
			cpu.cr3 = (rnd() % 4) << 12 | (rnd() & 0x18);
			ptcache_cr3(pc, &cpu, in_place && chance(85));
			model_flush_all(true);
			assert_true(flush_wanted);
			if (in_place && chance(10))
				ptcache_copy(pc);
		} else if (n < 99) {
			cpu.rflags ^= AC;
			cpu.pkru = chance(50) ? 0 : rnd();
		} else {
			change_mode();
		}
	}
}

static void random_runs(void)
{
	struct ptcache_counters sum = { 0 };
	u64 s;

	interrupts = true;
	accesses = faults = stale = walked = 0;
	for (s = 1; s <= 60; s++) {
		run(s, s % 3 ? PTCACHE_PAGES : 5 + s % 7, 4000);
		sum.fills += pc->count.fills;
		sum.installed += pc->count.installed;
		sum.spurious += pc->count.spurious;
		sum.exhausted += pc->count.exhausted;
		sum.ad_updates += pc->count.ad_updates;
		sum.dropped += pc->count.dropped;
		sum.in_place += pc->count.in_place;
		sum.copied += pc->count.copied;
		stop();
	}
	printf("%lu accesses, %lu faults injected, %lu stale translations used; %llu fills, %llu leaves, "
	       "%llu a/d updates, %llu tables dropped, %llu spurious, %llu times exhausted\n", accesses, faults,
	       stale, sum.fills, sum.installed, sum.ad_updates, sum.dropped, sum.spurious, sum.exhausted);
	printf("in place: %lu walks, %llu links, %llu times copied\n", walked, sum.in_place, sum.copied);
	/* The run means something only if all of this happened. */
	assert_true(faults > 1000 && stale > 100 && sum.spurious && sum.exhausted && sum.ad_updates);
	if (in_place)
		assert_true(walked > 1000 && sum.copied > 100);
	else
		assert_true(!walked && !sum.in_place);
}

static void test_model(void **state)
{
	(void)state;
	random_runs();
}

static void test_model_in_place(void **state)
{
	(void)state;
	in_place = true;
	random_runs();
	in_place = false;
}

/* What a CR3 load links needs no fault; it follows the root's entry at a flush. */
static void test_in_place(void **state)
{
	struct access a = { .write = true };
	struct lin *l;
	u32 inject;
	u64 e;

	(void)state;
	interrupts = false;
	in_place = true;
	start(1, PTCACHE_PAGES);
	memset(ram, 0, sizeof(ram));
	ram[0][0] = 1 << 12 | 0x27;
	ram[0][1] = 4 << 12 | 0x07;	/* not accessed: by a fault */
	ram[0][511] = 1 << 12 | 0x27;	/* the upper half is copied */
	ram[1][0] = 2 << 12 | 0x27;
	ram[2][0] = 3 << 12 | 0x07;
	ram[3][0] = 9 << 12 | 0x07;
	ptcache_cr3(pc, &cpu, true);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 1 << 12 | 0x27);
	assert_int_equal(pc->count.in_place, 1);
	l = &lins[0];
	assert_int_equal(l->addr, 0);
	model_flush_all(false);
	do_access(l);
	assert_int_equal(pc->count.fills, 0);
	assert_int_equal(hardware_access(l, &a, &l->tlb), 0);
	assert_int_equal(ram[3][0], 9 << 12 | 0x67);
	assert_int_equal(ram[2][0] & 0x20, 0x20);
	/* A fault of the guest's own does not take the link away, nor does INVLPG. */
	assert_int_equal(ptcache_fault(pc, &cpu, 0x1000, 0, &inject), PTCACHE_INJECT);
	ptcache_invlpg(pc, 0x1000);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 1 << 12 | 0x27);
	/* Not even a change before it is flushed; then it is gone. */
	ram[0][0] = 4 << 12 | 0x27;
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 1 << 12 | 0x27);
	ptcache_invlpg(pc, 0x1000);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 0);
	/* The upper half by copies, which take host pages. */
	assert_int_equal(pc->nr_pages, 1);
	assert_int_equal(ptcache_fault(pc, &cpu, 0xffffff8000000000ULL, 0, &inject), PTCACHE_RESUME);
	assert_int_equal(pc->nr_pages, 4);
	copy_entry(ptcache_root(pc) + 511 * 8, &e);
	assert_true(e >= HIDDEN);
	/* Others use the tables: copied from now on. */
	ram[0][0] = 1 << 12 | 0x27;
	ptcache_cr3(pc, &cpu, true);
	ptcache_copy(pc);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 0);
	assert_int_equal(ptcache_fault(pc, &cpu, 0, 0, &inject), PTCACHE_RESUME);
	copy_entry(ptcache_root(pc), &e);
	assert_true(e >= HIDDEN);
	/* And the other way round: copies give way to the link. */
	ptcache_cr3(pc, &cpu, true);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 1 << 12 | 0x27);
	stop();
	in_place = false;
}

/* One fault copies a whole table; a CR3 load keeps what is global. */
static void test_whole_table(void **state)
{
	struct walk_cpu *c = &cpu;
	unsigned int i;
	u32 inject;
	u64 e;

	(void)state;
	interrupts = false;
	start(1, PTCACHE_PAGES);
	memset(ram, 0, sizeof(ram));
	ram[0][0] = 1 << 12 | 0x27;
	ram[1][0] = 2 << 12 | 0x27;
	ram[2][0] = 3 << 12 | 0x27;
	for (i = 0; i < 512; i++)
		ram[3][i] = 9 << 12 | 0x67 | (i & 1 ? 0x100 : 0);
	assert_int_equal(ptcache_fault(pc, c, 0x5000, 0, &inject), PTCACHE_RESUME);
	assert_int_equal(pc->count.installed, 512);
	for (i = 0; i < 512; i++) {
		struct tr t;

		assert_int_equal(model_walk(copy_entry, ptcache_root(pc), HOST_BITS, i << 12, &t), 0);
	}
	/* Same root, same tables: globals stay, the others go. */
	ptcache_cr3(pc, c, false);
	for (i = 0; i < 512; i++) {
		struct tr t;

		assert_int_equal(!model_walk(copy_entry, ptcache_root(pc), HOST_BITS, i << 12, &t), i & 1);
	}
	/* All tables come back when nothing is left in them. */
	for (i = 1; i < 512; i += 2)
		ptcache_invlpg(pc, i << 12);
	copy_entry(ptcache_root(pc), &e);
	assert_int_equal(e, 0);
	assert_int_equal(pc->count.dropped, 3);
	/* Refilling takes no more memory. */
	assert_int_equal(pc->nr_pages, 4);
	assert_int_equal(ptcache_fault(pc, c, 0x5000, 0, &inject), PTCACHE_RESUME);
	assert_int_equal(pc->nr_pages, 4);
	/* Not present any more, and not flushed: the stale copy may serve, a fault tells the truth. */
	ram[3][5] = 0;
	assert_int_equal(ptcache_fault(pc, c, 0x5000, 4, &inject), PTCACHE_INJECT);
	assert_int_equal(inject, 4);
	stop();
}

/* A guest in a legacy mode scribbles over the copies: nothing but the guest suffers. */
static void test_scribbled(void **state)
{
	unsigned int i, n;
	u64 s;

	(void)state;
	interrupts = false;
	for (s = 1; s < 30; s++) {
		u32 inject;

		start(s, PTCACHE_PAGES);
		for (i = 0; i < 3000; i++) {
			for (n = 0; n < 4; n++) {
				u64 *t = copies[rnd() % pc->nr_pages];

				t[rnd() % 512] = chance(50) ? rnd() << 8 | rnd() :
					(HIDDEN + ((rnd() % 600) << 12)) | 0x27;
			}
			switch (rnd() % 5) {
			case 0:
				ptcache_cr3(pc, &cpu, chance(50));
				break;
			case 1:
				ptcache_invlpg(pc, lins[rnd() % NR_LIN].addr);
				break;
			case 2:
				if (chance(2))
					ptcache_flush(pc);
				break;
			default:
				ptcache_fault(pc, &cpu, lins[rnd() % NR_LIN].addr, rnd() & 31, &inject);
			}
		}
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_in_place),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_whole_table),
		cmocka_unit_test(test_scribbled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
