// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hardware task switches; see task_switch.h.
 *
 * Whatever may have to wait for memory comes before the first change that could not
 * be made again: the outgoing task is saved, the incoming one read and its segments
 * looked up, then busy bits and the link are written, and the registers last.
 */
#include "task_switch.h"

#define VEC_DB		1
#define VEC_TS		10
#define VEC_NP		11
#define VEC_SS		12
#define VEC_GP		13

#define EFLAGS_FIXED	0x2U
#define EFLAGS_NT	(1U << 14)
#define EFLAGS_RF	(1U << 16)
#define EFLAGS_VM	(1U << 17)
#define EFLAGS_VALID	0x3f7fd5U
#define CR0_TS		(1ULL << 3)
#define CR0_PG		(1ULL << 31)
#define DR6_BT		(1ULL << 15)
#define DR7_LOCAL	0x155ULL	/* L0 to L3, LE */

/* Of a descriptor's attributes. */
#define ATTR_A		0x0001U		/* accessed */
#define ATTR_BUSY	0x0002U		/* of a TSS */
#define ATTR_W		0x0002U		/* data: writable, code: readable */
#define ATTR_C		0x0004U		/* code: conforming */
#define ATTR_CODE	0x0008U
#define ATTR_TSS32	0x0008U
#define ATTR_S		0x0010U
#define ATTR_P		0x0080U
#define ATTR_DPL(a)	((a) >> 5 & 3)
#define TYPE_LDT	2U

#define TSS16_SIZE	0x2c
#define TSS32_SIZE	0x68

/* Offsets in a TSS.  Registers, segments and so on follow one another. */
struct layout {
	u8 size, width, nr_segs, eip, eflags, regs, segs, seg_step, ldt;
};

static const struct layout layout16 = {
	.size = TSS16_SIZE, .width = 2, .nr_segs = 4,
	.eip = 0x0e, .eflags = 0x10, .regs = 0x12, .segs = 0x22, .seg_step = 2, .ldt = 0x2a,
};

static const struct layout layout32 = {
	.size = TSS32_SIZE, .width = 4, .nr_segs = 6,
	.eip = 0x20, .eflags = 0x24, .regs = 0x28, .segs = 0x48, .seg_step = 4, .ldt = 0x60,
};

#define TSS32_CR3	0x1c
#define TSS32_T		0x64

struct machine {
	struct task_switch *t;
	const struct task_ops *ops;
	void *arg;
};

static u32 get(const u8 *p, unsigned int width)
{
	u32 val = p[0] | p[1] << 8;

	return width == 4 ? val | p[2] << 16 | (u32)p[3] << 24 : val;
}

static void put(u8 *p, unsigned int width, u32 val)
{
	unsigned int i;

	for (i = 0; i < width; i++)
		p[i] = val >> (8 * i);
}

static int mem_access(const struct machine *m, u64 cr3, u32 linear, void *buf, unsigned int len,
		  unsigned int how)
{
	return (m->ops->access)(m->arg, m->t, cr3, linear, buf, len, how);
}

static int fault(struct task_switch *t, u8 vector, u16 sel)
{
	t->fault.pending = true;
	t->fault.vector = vector;
	t->fault.has_error = true;
	t->fault.error = (sel & 0xfffcU) | t->external;
	return 1;
}

/* Parse the 8 bytes of a descriptor. */
static void parse(struct task_seg *s, u16 sel, const u8 *d)
{
	u32 limit = d[0] | d[1] << 8 | (d[6] & 0xf) << 16;

	s->sel = sel;
	s->base = d[2] | d[3] << 8 | d[4] << 16 | (u32)d[7] << 24;
	s->attr = d[5] | (d[6] >> 4) << 8;
	s->limit = s->attr & 0x800 ? limit << 12 | 0xfff : limit;
}

/*
 * The descriptor that @sel names, its linear address in *@at.  0, 1 when it is beyond
 * its table (no fault is set) or is not to be read (one is), -errno.
 */
static int read_desc(const struct machine *m, u64 cr3, const struct task_seg *ldt, u16 sel,
		     struct task_seg *s, u32 *at)
{
	u32 base = m->t->gdt_base, limit = m->t->gdt_limit;
	u8 d[8];
	int r;

	if (sel & 4) {
		if (!(ldt->attr & ATTR_P))
			return 1;
		base = ldt->base;
		limit = ldt->limit;
	}
	if ((sel | 7U) > limit)
		return 1;
	*at = base + (sel & ~7U);
	r = mem_access(m, cr3, *at, d, sizeof(d), TASK_READ);
	if (!r)
		parse(s, sel, d);
	return r;
}

/* A byte of a descriptor in memory: its type. */
static int write_type(const struct machine *m, u64 cr3, u32 at, u16 attr, unsigned int how)
{
	u8 type = attr;

	return mem_access(m, cr3, at + 5, &type, 1, TASK_WRITE | how);
}

/* LDTR of the incoming task.  As read_desc(), but a fault is always set. */
static int load_ldt(const struct machine *m, u64 cr3, u16 sel, struct task_seg *s)
{
	struct task_switch *t = m->t;
	struct task_seg d;
	u32 at;
	int r;

	*s = (struct task_seg) { .sel = sel };
	if (!(sel & 0xfffc))
		return 0;
	if (sel & 4)
		return fault(t, VEC_TS, sel);
	r = read_desc(m, cr3, NULL, sel, &d, &at);
	if (r)
		return r < 0 || t->fault.pending ? r : fault(t, VEC_TS, sel);
	if ((d.attr & (ATTR_S | 0xf)) != TYPE_LDT || !(d.attr & ATTR_P))
		return fault(t, VEC_TS, sel);
	*s = d;
	return 0;
}

/* May segment register @nr have the descriptor @d at @cpl?  8.2.11, table 8-5. */
static bool seg_allowed(unsigned int nr, const struct task_seg *d, unsigned int cpl)
{
	unsigned int dpl = ATTR_DPL(d->attr), rpl = d->sel & 3;
	bool code = d->attr & ATTR_CODE;

	if (!(d->attr & ATTR_S))
		return false;
	switch (nr) {
	case TASK_CS:
		return code && (d->attr & ATTR_C ? dpl <= cpl : dpl == cpl);
	case TASK_SS:
		return !code && d->attr & ATTR_W && dpl == cpl && rpl == cpl;
	default:
		if (code && !(d->attr & ATTR_W))
			return false;
		return (code && d->attr & ATTR_C) || (dpl >= cpl && dpl >= rpl);
	}
}

static int load_seg(const struct machine *m, u64 cr3, const struct task_seg *ldt,
		    unsigned int nr, unsigned int cpl, struct task_seg *s)
{
	struct task_switch *t = m->t;
	struct task_seg d;
	u16 sel = s->sel;
	u32 at;
	int r;

	if (!(sel & 0xfffc))
		return nr == TASK_CS || nr == TASK_SS ? fault(t, VEC_TS, sel) : 0;
	r = read_desc(m, cr3, ldt, sel, &d, &at);
	if (r)
		return r < 0 || t->fault.pending ? r : fault(t, VEC_TS, sel);
	if (!seg_allowed(nr, &d, cpl))
		return fault(t, VEC_TS, sel);
	if (!(d.attr & ATTR_P))
		return fault(t, nr == TASK_SS ? VEC_SS : VEC_NP, sel);
	if (!(d.attr & ATTR_A)) {
		d.attr |= ATTR_A;
		r = write_type(m, cr3, at, d.attr, 0);
		if (r)
			return r;
	}
	*s = d;
	return 0;
}

/* All segments of the incoming task, as far as they go. */
static int load_segs(const struct machine *m, u64 cr3, u32 eflags, u16 ldt, struct task_seg *seg)
{
	/* The stack's and data segments' rights are judged by CS. */
	static const u8 order[] = { TASK_CS, TASK_SS, TASK_ES, TASK_DS, TASK_FS, TASK_GS };
	unsigned int i, cpl = eflags & EFLAGS_VM ? 3 : seg[TASK_CS].sel & 3;
	int r;

	for (i = 0; i <= TASK_GS; i++) {
		if (eflags & EFLAGS_VM) {
			seg[i].base = seg[i].sel << 4;
			seg[i].limit = 0xffff;
			seg[i].attr = ATTR_P | 3 << 5 | ATTR_S | ATTR_W | ATTR_A;
		} else {
			seg[i].base = 0;
			seg[i].limit = 0;
			seg[i].attr = cpl << 5;
		}
	}
	r = load_ldt(m, cr3, ldt, &seg[TASK_LDTR]);
	if (r || eflags & EFLAGS_VM)
		return r;
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		r = load_seg(m, cr3, &seg[TASK_LDTR], order[i], cpl, &seg[order[i]]);
		if (r)
			return r;
	}
	return 0;
}

/* Save the outgoing task: general and segment registers, EIP, EFLAGS. */
static int save(const struct machine *m, const struct layout *l, const struct task_seg *tss)
{
	const struct task_switch *t = m->t;
	u32 eflags = t->eflags & ~EFLAGS_RF, first = l->eip;
	u8 image[TSS32_SIZE] = {};
	unsigned int i;

	if (t->rf)
		eflags |= EFLAGS_RF;
	if (t->reason == TASK_IRET)
		eflags &= ~EFLAGS_NT;
	put(image + l->eip, l->width, t->eip);
	put(image + l->eflags, l->width, eflags);
	for (i = 0; i < 8; i++)
		put(image + l->regs + i * l->width, l->width, t->regs[i]);
	for (i = 0; i < l->nr_segs; i++)
		put(image + l->segs + i * l->seg_step, l->width, t->seg[i].sel);
	return mem_access(m, t->cr3, tss->base + first, image + first, l->ldt - first, TASK_WRITE);
}

/* The incoming TSS: its descriptor in *@s, where that is in *@at. */
static int find_tss(const struct machine *m, struct task_seg *s, u32 *at)
{
	bool want_busy = m->t->reason == TASK_IRET;
	struct task_switch *t = m->t;
	u8 wrong = want_busy ? VEC_TS : VEC_GP;
	int r;

	if (t->sel & 4 || !(t->sel & 0xfffc))
		return fault(t, wrong, t->sel);
	r = read_desc(m, t->cr3, NULL, t->sel, s, at);
	if (r)
		return r < 0 || t->fault.pending ? r : fault(t, wrong, t->sel);
	if ((s->attr & (ATTR_S | 0x5)) != 1 || !!(s->attr & ATTR_BUSY) != want_busy)
		return fault(t, wrong, t->sel);
	if (!(s->attr & ATTR_P))
		return fault(t, VEC_NP, t->sel);
	if (s->limit < (s->attr & ATTR_TSS32 ? TSS32_SIZE : TSS16_SIZE) - 1)
		return fault(t, VEC_TS, t->sel);
	return 0;
}

/* The error code of the exception that led here. */
static int push_error(const struct machine *m, const struct layout *l)
{
	struct task_switch *t = m->t;
	const struct task_seg *ss = &t->seg[TASK_SS];
	u32 mask = ss->attr & 0x400 ? ~0U : 0xffff;
	u32 esp = (t->regs[4] - l->width) & mask, last = esp + l->width - 1;
	u32 max = ss->attr & 0x400 ? ~0U : 0xffff;
	bool down = (ss->attr & (ATTR_CODE | ATTR_C)) == ATTR_C;
	u8 bytes[4];
	int r;

	if (last < esp || (down ? esp <= ss->limit || last > max : last > ss->limit))
		return fault(t, VEC_SS, 0);
	put(bytes, l->width, t->error);
	r = mem_access(m, t->cr3, ss->base + esp, bytes, l->width,
		   TASK_WRITE | (ATTR_DPL(ss->attr) == 3 ? TASK_USER : 0));
	if (!r)
		t->regs[4] = (t->regs[4] & ~mask) | esp;
	return r;
}

int task_switch(struct task_switch *t, const struct task_ops *ops, void *arg)
{
	struct machine m = { .t = t, .ops = ops, .arg = arg };
	const struct task_seg old = t->seg[TASK_TR];
	bool nested = t->reason == TASK_CALL || t->reason == TASK_EVENT;
	const struct layout *from, *to;
	u32 old_at = t->gdt_base + (old.sel & ~7U), new_at = 0;
	struct task_switch next;
	struct task_seg tss;
	u8 image[TSS32_SIZE], link[2], old_type = 0;
	unsigned int i;
	bool trap;
	int r;

	t->switched = false;
	t->fault.pending = false;
	from = old.attr & ATTR_TSS32 ? &layout32 : &layout16;
	r = find_tss(&m, &tss, &new_at);
	if (r)
		goto stay;
	to = tss.attr & ATTR_TSS32 ? &layout32 : &layout16;
	r = 1;
	if (old.limit < from->size - 1U || (!nested && (old.sel | 7U) > t->gdt_limit)) {
		fault(t, VEC_TS, old.sel);
		goto stay;
	}

	/* Whatever will be written can be. */
	r = mem_access(&m, t->cr3, old.base, NULL, from->size, TASK_WRITE | TASK_PROBE);
	if (!r && nested)
		r = mem_access(&m, t->cr3, tss.base, NULL, 2, TASK_WRITE | TASK_PROBE);
	if (!r && !nested)
		r = mem_access(&m, t->cr3, old_at + 5, &old_type, 1, TASK_READ);
	if (!r && !nested)
		r = write_type(&m, t->cr3, old_at, 0, TASK_PROBE);
	if (!r && t->reason != TASK_IRET)
		r = write_type(&m, t->cr3, new_at, 0, TASK_PROBE);
	if (!r)
		r = save(&m, from, &old);
	if (!r)
		r = mem_access(&m, t->cr3, tss.base, image, to->size, TASK_READ);
	if (r)
		goto stay;

	/* The incoming task; faults from here on are its own. */
	next = *t;
	m.t = &next;
	next.eip = get(image + to->eip, to->width);
	next.eflags = (get(image + to->eflags, to->width) & EFLAGS_VALID) | EFLAGS_FIXED;
	if (nested)
		next.eflags |= EFLAGS_NT;
	for (i = 0; i < 8; i++)
		next.regs[i] = get(image + to->regs + i * to->width, to->width);
	for (i = 0; i <= TASK_GS; i++)
		next.seg[i].sel = i < to->nr_segs ? get(image + to->segs + i * to->seg_step, 2) : 0;
	if (to == &layout32 && t->cr0 & CR0_PG)
		next.cr3 = get(image + TSS32_CR3, 4);
	next.cr0 |= CR0_TS;
	next.dr7 &= ~DR7_LOCAL;
	trap = to == &layout32 && image[TSS32_T] & 1;
	r = load_segs(&m, next.cr3, next.eflags, get(image + to->ldt, 2), next.seg);
	if (r < 0)
		return r;
	if (!r && next.eip > next.seg[TASK_CS].limit)
		fault(&next, VEC_GP, 0);
	if (!next.fault.pending && t->has_error) {
		r = push_error(&m, to);
		if (r < 0)
			return r;
	}
	if (trap && !next.fault.pending) {
		next.dr6 |= DR6_BT;
		next.fault.pending = true;
		next.fault.vector = VEC_DB;
		next.fault.has_error = false;
	}

	m.t = t;
	put(link, 2, old.sel);
	r = nested ? mem_access(&m, t->cr3, tss.base, link, 2, TASK_WRITE) :
		     write_type(&m, t->cr3, old_at, old_type & ~ATTR_BUSY, 0);
	if (!r && t->reason != TASK_IRET)
		r = write_type(&m, t->cr3, new_at, tss.attr | ATTR_BUSY, 0);
	if (r)
		goto stay;
	tss.attr |= ATTR_BUSY;
	next.seg[TASK_TR] = tss;
	next.switched = true;
	*t = next;
	return 0;

stay:
	return r < 0 ? r : 0;
}
