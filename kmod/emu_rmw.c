// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read-modify-write instructions of the emulator.  Locked ones are atomic against
 * other CPUs in memory; on a device they are a read and a write.
 */
#include "emulate.h"
#include "emu_priv.h"

/* Tries of a locked operation against others on the same memory. */
#define LOCK_TRIES	64

/*
 * Store @val over @old.  A locked operation on memory is a compare-and-exchange:
 * EMU_OP_DIFFERS asks the caller to compute again.  One that crosses a page, or
 * goes to a device, is a plain write.
 */
static int replace(struct emu *e, const struct emu_place *p, unsigned int size, bool locked,
		   const void *old, void *val)
{
	u64 found[2];
	int ret;

	if (locked && p->nr == 1) {
		memcpy(found, old, size);
		ret = (e->ops->cmpxchg)(e, p->piece[0].gpa, size, found, val);
		if (ret != EMU_OP_MMIO)
			return ret;
	}
	return emu_place_access(e, p, val, true);
}

/* What a read-modify-write computes from the old value. */
struct rmw {
	u64 src;		/* second operand */
	unsigned int count;	/* of a shift */
	u64 flags, mask;
	u64 result;
};

static void compute(struct emu *e, u64 old, struct rmw *w)
{
	const struct insn *in = &e->insn;
	u64 bit, carry = e->next.rflags & FLAG_CF;
	unsigned int size = in->osize;

	switch (in->op) {
	case INSN_XCHG:
		w->result = w->src;
		w->mask = 0;
		break;
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		bit = BIT_ULL(w->src & (8 * size - 1));
		w->mask = FLAG_CF;
		w->flags = old & bit ? FLAG_CF : 0;
		if (in->op == INSN_BTS)
			w->result = old | bit;
		else if (in->op == INSN_BTR)
			w->result = old & ~bit;
		else
			w->result = old ^ bit;
		break;
	case INSN_CMPXCHG:
		emu_alu(INSN_CMP, size, emu_get_reg(e, EMU_RAX, size), old, 0, &w->flags, &w->mask);
		w->result = w->flags & FLAG_ZF ? w->src : old;
		break;
	case INSN_ROL ... INSN_SAR:
		w->result = emu_shift(in->op, size, old, w->count, carry, &w->flags, &w->mask);
		break;
	case INSN_SHLD:
	case INSN_SHRD:
		w->result = emu_double_shift(in->op == INSN_SHLD, size, old, w->src, w->count,
					     &w->flags, &w->mask);
		break;
	default:
		w->result = emu_alu(in->op, size, old, w->src, carry, &w->flags, &w->mask);
		break;
	}
}

int emu_rmw(struct emu *e, s64 bit_offset, u64 src, unsigned int count)
{
	const struct insn *in = &e->insn;
	bool locked = in->lock || in->op == INSN_XCHG;
	struct rmw w = { .src = src, .count = count };
	struct emu_operand o;
	struct emu_place p;
	unsigned int tries;
	u8 pos = e->pos;
	u64 old = 0;
	int ret;

	ret = emu_rm_operand(e, in->osize, WALK_WRITE, bit_offset, &o);
	/* The right to write comes first: a fault is a write fault. */
	if (!ret && o.mem)
		ret = emu_find_place(e, o.linear, o.size, WALK_WRITE, &p);
	if (ret)
		return ret;
	for (tries = 0; o.mem; tries++) {
		if (tries == LOCK_TRIES)
			return -EAGAIN;
		e->pos = pos;
		old = 0;
		ret = emu_place_access(e, &p, &old, false);
		if (ret)
			return ret;
		compute(e, old, &w);
		ret = replace(e, &p, o.size, locked, &old, &w.result);
		if (!ret)
			break;
		if (ret != EMU_OP_DIFFERS)
			return ret;
		e->nr_log = pos;	/* read it again */
	}
	if (!o.mem) {
		old = emu_get_reg(e, o.reg, o.size);
		compute(e, old, &w);
	}
	/* The old value's register first: when it is the destination too (XADD r, r), the sum wins. */
	if (in->op == INSN_XADD || in->op == INSN_XCHG)
		emu_set_reg(e, in->reg, in->osize, old);
	/* A comparison that fails writes memory back, but no register. */
	if (!o.mem && (in->op != INSN_CMPXCHG || (w.flags & FLAG_ZF)))
		emu_set_reg(e, o.reg, o.size, w.result);
	if (in->op == INSN_CMPXCHG && !(w.flags & FLAG_ZF))
		emu_set_reg(e, EMU_RAX, in->osize, old);
	emu_put_flags(e, w.mask, w.flags);
	return 0;
}

int emu_cmpxchg_wide(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int half = in->osize / 2, tries;
	u64 old[2], val[2], want[2], swap[2];
	struct emu_operand o;
	struct emu_place p;
	u8 pos = e->pos;
	bool same;
	int ret;

	ret = emu_rm_operand(e, in->osize, WALK_WRITE, 0, &o);
	if (!ret)
		ret = emu_find_place(e, o.linear, o.size, WALK_WRITE, &p);
	if (ret)
		return ret;
	/* In memory's layout: 64-bit halves, or both in the first. */
	want[0] = emu_get_reg(e, EMU_RAX, half);
	want[1] = emu_get_reg(e, EMU_RDX, half);
	swap[0] = emu_get_reg(e, EMU_RBX, half);
	swap[1] = emu_get_reg(e, EMU_RCX, half);
	if (half == 4) {
		want[0] |= want[1] << 32;
		swap[0] |= swap[1] << 32;
	}
	for (tries = 0; tries < LOCK_TRIES; tries++) {
		e->pos = pos;
		ret = emu_place_access(e, &p, old, false);
		if (ret)
			return ret;
		same = !memcmp(old, want, in->osize);
		memcpy(val, same ? swap : old, in->osize);
		ret = replace(e, &p, in->osize, in->lock, old, val);
		if (ret == EMU_OP_DIFFERS) {
			e->nr_log = pos;
			continue;
		}
		if (ret)
			return ret;
		emu_put_flags(e, FLAG_ZF, same ? FLAG_ZF : 0);
		if (!same) {
			emu_set_reg(e, EMU_RAX, half, old[0]);
			emu_set_reg(e, EMU_RDX, half, half == 8 ? old[1] : old[0] >> 32);
		}
		return 0;
	}
	return -EAGAIN;
}
