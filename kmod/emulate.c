// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instruction emulator: executes what insn.c decoded; see emulate.h.  Semantics
 * and flags follow APM vol. 3, segmentation and exceptions vol. 2.
 */
#include "emulate.h"

#define FLAG_CF		BIT_ULL(0)
#define FLAG_PF		BIT_ULL(2)
#define FLAG_AF		BIT_ULL(4)
#define FLAG_ZF		BIT_ULL(6)
#define FLAG_SF		BIT_ULL(7)
#define FLAG_TF		BIT_ULL(8)
#define FLAG_DF		BIT_ULL(10)
#define FLAG_OF		BIT_ULL(11)
#define FLAG_RF		BIT_ULL(16)
#define FLAG_VM		BIT_ULL(17)
#define FLAG_AC		BIT_ULL(18)
#define FLAGS_ARITH	(FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE		BIT_ULL(0)
#define CR0_AM		BIT_ULL(18)
#define CR4_LA57	BIT_ULL(12)
#define EFER_LMA	BIT_ULL(10)

#define SEG_CODE	BIT_ULL(3)
#define SEG_DOWN	BIT_ULL(2)	/* of a data segment: expand-down */
#define SEG_RW		BIT_ULL(1)	/* data: writable, code: readable */
#define SEG_P		BIT_ULL(7)
#define SEG_L		BIT_ULL(9)
#define SEG_DB		BIT_ULL(10)

#define VEC_UD		6
#define VEC_SS		12
#define VEC_GP		13
#define VEC_AC		17

#define PAGE		4096U

/* Iterations of a repeated instruction per emulate_run(): other events get their turn. */
#define REP_BUDGET	128

/* Tries of a locked operation against others on the same memory. */
#define LOCK_TRIES	64

static int raise(struct emu *e, u8 vector)
{
	e->fault.vector = vector;
	e->fault.has_error = vector != VEC_UD && (e->cr0 & CR0_PE);
	e->fault.error = 0;
	e->fault.cr2 = 0;
	return EMU_FAULT;
}

static unsigned int code_mode(const struct emu *e)
{
	if ((e->efer & EFER_LMA) && (e->seg[EMU_CS].attr & SEG_L))
		return 64;
	return e->seg[EMU_CS].attr & SEG_DB ? 32 : 16;
}

/* Protected mode with descriptors that restrict: not real mode, not virtual-8086. */
static bool has_descriptors(const struct emu *e)
{
	return (e->cr0 & CR0_PE) && !(*e->rflags & FLAG_VM);
}

static bool canonical(const struct emu *e, u64 linear)
{
	unsigned int spare = e->cr4 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(linear << spare) >> spare) == linear;
}

static u64 size_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : BIT_ULL(8 * size) - 1;
}

static u64 sign_bit(unsigned int size)
{
	return BIT_ULL(8 * size - 1);
}

static s64 sign_extend(u64 v, unsigned int size)
{
	unsigned int spare = 64 - 8 * size;

	return (s64)(v << spare) >> spare;
}

/*
 * General registers of the instruction being executed: e->next, so that nothing
 * is visible before it is complete.
 */
static bool high_byte(const struct emu *e, unsigned int reg, unsigned int size)
{
	return size == 1 && !e->insn.rex && reg >= 4 && reg < 8;
}

static u64 get_reg(const struct emu *e, unsigned int reg, unsigned int size)
{
	if (high_byte(e, reg, size))
		return (e->next.regs[reg & 3] >> 8) & 0xff;
	return e->next.regs[reg & 15] & size_mask(size);
}

static void set_reg(struct emu *e, unsigned int reg, unsigned int size, u64 val)
{
	u64 *r = &e->next.regs[reg & 15];

	if (high_byte(e, reg, size)) {
		r = &e->next.regs[reg & 3];
		*r = (*r & ~0xff00ULL) | ((val & 0xff) << 8);
	} else if (size == 4) {
		*r = val & 0xffffffffULL;
	} else {
		*r = (*r & ~size_mask(size)) | (val & size_mask(size));
	}
}

/* Segment-relative offset of the memory operand. */
static u64 effective_address(const struct insn *in, const u64 *regs, u64 next_rip)
{
	u64 ea = (u64)in->disp;

	if (in->base == EMU_RIP)
		ea += next_rip;
	else if (in->base != EMU_NO_REG)
		ea += regs[in->base];
	if (in->index != EMU_NO_REG)
		ea += regs[in->index] << in->scale;
	return ea & size_mask(in->asize);
}

static u64 seg_base(const struct emu *e, unsigned int seg)
{
	if (code_mode(e) == 64 && seg != EMU_FS && seg != EMU_GS)
		return 0;
	return e->seg[seg].base;
}

u64 emulate_linear(const struct emu *e)
{
	u64 ea = effective_address(&e->insn, e->regs, *e->rip + e->insn.len);
	u64 linear = seg_base(e, e->insn.seg) + ea;

	return code_mode(e) == 64 ? linear : linear & 0xffffffffULL;
}

/* Segment checks of APM vol. 2 section 4.12 and the canonical check.  0 or EMU_FAULT. */
static int linearize(struct emu *e, unsigned int seg, u64 ea, unsigned int size,
		     unsigned int access, u64 *linear)
{
	u8 vector = seg == EMU_SS ? VEC_SS : VEC_GP;
	const struct emu_seg *s = &e->seg[seg];
	u64 last = ea + size - 1, top;

	*linear = seg_base(e, seg) + ea;
	if (code_mode(e) == 64) {
		if (!canonical(e, *linear) || !canonical(e, *linear + size - 1))
			return raise(e, vector);
	} else {
		bool down = false;

		if (has_descriptors(e)) {
			if (!(s->attr & SEG_P))
				return raise(e, vector);
			if (s->attr & SEG_CODE) {
				if ((access & WALK_WRITE) || !(s->attr & SEG_RW))
					return raise(e, vector);
			} else {
				if ((access & WALK_WRITE) && !(s->attr & SEG_RW))
					return raise(e, vector);
				down = s->attr & SEG_DOWN;
			}
		}
		top = s->attr & SEG_DB ? 0xffffffffULL : 0xffffULL;
		if (down ? (ea <= s->limit || last > top) : last > s->limit)
			return raise(e, vector);
		*linear &= 0xffffffffULL;
	}
	if (e->cpl == 3 && (e->cr0 & CR0_AM) && (*e->rflags & FLAG_AC) &&
	    (*linear & (size - 1)))
		return raise(e, VEC_AC);
	return 0;
}

/* Was this access made before, in an earlier run of the same instruction?  Then that is its answer. */
static bool replay(struct emu *e, u64 addr, unsigned int len, bool write, bool port, u8 *data)
{
	const struct emu_io *io;

	if (e->pos >= e->nr_log)
		return false;
	io = &e->log[e->pos];
	if (io->addr != addr || io->len != len || io->write != write || io->port != port)
		return false;
	if (!write)
		memcpy(data, io->data, len);
	e->pos++;
	return true;
}

/* One access to a device: answered from the log, or EMU_MMIO/EMU_PIO to have it made. */
static int device_access(struct emu *e, u64 addr, unsigned int len, bool write, bool port, u8 *data)
{
	if (replay(e, addr, len, write, port, data))
		return 0;
	/* Answers to something else (registers were changed since) are worth nothing. */
	e->nr_log = e->pos;
	if (e->nr_log >= EMU_LOG_MAX)
		return EMU_UNHANDLED;
	memset(&e->io, 0, sizeof(e->io));
	e->io.addr = addr;
	e->io.len = len;
	e->io.write = write;
	e->io.port = port;
	if (write)
		memcpy(e->io.data, data, len);
	return port ? EMU_PIO : EMU_MMIO;
}

static int mmio(struct emu *e, u64 gpa, u8 *data, unsigned int len, bool write)
{
	unsigned int n;
	int ret;

	while (len) {
		for (n = 8; n > len; n >>= 1)
			;
		ret = device_access(e, gpa, n, write, false, data);
		if (ret)
			return ret;
		gpa += n;
		data += n;
		len -= n;
	}
	return 0;
}

/* An operand in memory, translated: one piece, or two where it crosses a page. */
struct place {
	unsigned int nr;
	struct {
		u64 gpa;
		unsigned int len;
	} piece[2];
};

static int callback_error(int ret)
{
	return ret == EMU_OP_FAULT ? EMU_FAULT : ret;
}

static int find_place(struct emu *e, u64 linear, unsigned int size, unsigned int access,
		      struct place *p)
{
	unsigned int first = min_t(unsigned int, size, PAGE - (linear & (PAGE - 1)));
	u64 second = linear + first;
	int ret;

	p->nr = first < size ? 2 : 1;
	p->piece[0].len = first;
	p->piece[1].len = size - first;
	ret = e->ops->translate(e, linear, access, &p->piece[0].gpa);
	if (!ret && p->nr == 2) {
		if (code_mode(e) != 64)
			second &= 0xffffffffULL;
		ret = e->ops->translate(e, second, access, &p->piece[1].gpa);
	}
	return callback_error(ret);
}

/*
 * Read memory.  The instruction may change what it read before a device's part
 * of it is done (operands that overlap, or that are half memory and half
 * device): so what was read is remembered as a device's answer is.
 */
static int read_memory(struct emu *e, u64 gpa, u8 *data, unsigned int len)
{
	struct emu_io *io;
	int ret;

	if (replay(e, gpa, len, false, false, data))
		return 0;
	ret = e->ops->read(e, gpa, data, len);
	if (ret)
		return ret;
	e->nr_log = e->pos;
	if (e->nr_log >= EMU_LOG_MAX || len > sizeof(io->data))
		return EMU_UNHANDLED;
	io = &e->log[e->nr_log++];
	memset(io, 0, sizeof(*io));
	io->addr = gpa;
	io->len = len;
	memcpy(io->data, data, len);
	e->pos = e->nr_log;
	return 0;
}

static int place_access(struct emu *e, const struct place *p, void *buf, bool write)
{
	u8 *data = buf;
	unsigned int i;
	int ret;

	for (i = 0; i < p->nr; i++) {
		u64 gpa = p->piece[i].gpa;
		unsigned int len = p->piece[i].len;

		ret = write ? e->ops->write(e, gpa, data, len) : read_memory(e, gpa, data, len);
		if (ret == EMU_OP_MMIO)
			ret = mmio(e, gpa, data, len, write);
		if (ret)
			return ret;
		if (write)
			e->effects = true;
		data += len;
	}
	return 0;
}

static int load(struct emu *e, u64 linear, unsigned int size, u64 *val)
{
	struct place p;
	int ret;

	*val = 0;
	ret = find_place(e, linear, size, WALK_READ, &p);
	return ret ? ret : place_access(e, &p, val, false);
}

static int store(struct emu *e, u64 linear, unsigned int size, u64 val)
{
	struct place p;
	int ret;

	ret = find_place(e, linear, size, WALK_WRITE, &p);
	return ret ? ret : place_access(e, &p, &val, true);
}

/* An operand by ModRM.rm: register, or memory at @linear. */
struct operand {
	bool mem;
	u8 reg, size;
	u64 linear;
};

static int rm_operand(struct emu *e, unsigned int size, unsigned int access, s64 offset,
		      struct operand *o)
{
	const struct insn *in = &e->insn;
	u64 ea;

	o->mem = in->is_mem;
	o->size = size;
	o->reg = in->rm;
	if (!o->mem)
		return 0;
	ea = effective_address(in, e->next.regs, e->start_rip + in->len);
	ea = (ea + (u64)offset) & size_mask(in->asize);
	return linearize(e, in->seg, ea, size, access, &o->linear);
}

static int get_operand(struct emu *e, const struct operand *o, u64 *val)
{
	if (o->mem)
		return load(e, o->linear, o->size, val);
	*val = get_reg(e, o->reg, o->size);
	return 0;
}

static int put_operand(struct emu *e, const struct operand *o, u64 val)
{
	if (o->mem)
		return store(e, o->linear, o->size, val);
	set_reg(e, o->reg, o->size, val);
	return 0;
}

static void put_flags(struct emu *e, u64 mask, u64 flags)
{
	e->next.rflags = (e->next.rflags & ~mask) | (flags & mask);
}

static u64 flags_of(u64 res, unsigned int size)
{
	unsigned int parity = res & 0xff;
	u64 flags = 0;

	parity ^= parity >> 4;
	parity ^= parity >> 2;
	parity ^= parity >> 1;
	if (!(parity & 1))
		flags |= FLAG_PF;
	if (!(res & size_mask(size)))
		flags |= FLAG_ZF;
	if (res & sign_bit(size))
		flags |= FLAG_SF;
	return flags;
}

static u64 do_add(u64 a, u64 b, u64 carry, unsigned int size, u64 *flags)
{
	u64 res = (a + b + carry) & size_mask(size);
	u64 carries = (a & b) | ((a | b) & ~res);	/* out of each bit */

	*flags = flags_of(res, size);
	if (carries & sign_bit(size))
		*flags |= FLAG_CF;
	if (carries & 8)
		*flags |= FLAG_AF;
	if ((a ^ res) & (b ^ res) & sign_bit(size))
		*flags |= FLAG_OF;
	return res;
}

static u64 do_sub(u64 a, u64 b, u64 borrow, unsigned int size, u64 *flags)
{
	u64 res = (a - b - borrow) & size_mask(size);
	u64 borrows = (~a & b) | ((~a | b) & res);

	*flags = flags_of(res, size);
	if (borrows & sign_bit(size))
		*flags |= FLAG_CF;
	if (borrows & 8)
		*flags |= FLAG_AF;
	if ((a ^ b) & (a ^ res) & sign_bit(size))
		*flags |= FLAG_OF;
	return res;
}

/* Two-operand arithmetic; *mask tells which flags the result defines. */
static u64 alu(struct emu *e, unsigned int op, unsigned int size, u64 a, u64 b,
	       u64 *flags, u64 *mask)
{
	u64 carry = e->next.rflags & FLAG_CF ? 1 : 0;
	u64 res;

	*mask = FLAGS_ARITH;
	switch (op) {
	case INSN_ADD:
	case INSN_XADD:
		return do_add(a, b, 0, size, flags);
	case INSN_ADC:
		return do_add(a, b, carry, size, flags);
	case INSN_SBB:
		return do_sub(a, b, carry, size, flags);
	case INSN_SUB:
	case INSN_CMP:
	case INSN_CMPS:
	case INSN_SCAS:
	case INSN_CMPXCHG:
		return do_sub(a, b, 0, size, flags);
	case INSN_NEG:
		return do_sub(0, a, 0, size, flags);
	case INSN_INC:
		*mask &= ~FLAG_CF;
		return do_add(a, 1, 0, size, flags);
	case INSN_DEC:
		*mask &= ~FLAG_CF;
		return do_sub(a, 1, 0, size, flags);
	case INSN_NOT:
		*mask = 0;
		return ~a & size_mask(size);
	case INSN_OR:
		res = a | b;
		break;
	case INSN_XOR:
		res = a ^ b;
		break;
	default:	/* AND, TEST */
		res = a & b;
		break;
	}
	*flags = flags_of(res, size);
	return res;
}

/*
 * Store @val over @old.  A locked operation on memory is a compare-and-exchange:
 * EMU_OP_DIFFERS asks the caller to compute again.  One that crosses a page, or
 * goes to a device, is a plain write.
 */
static int replace(struct emu *e, const struct operand *o, bool locked, u64 old, u64 val)
{
	struct place p;
	int ret;

	if (!o->mem)
		return put_operand(e, o, val);
	ret = find_place(e, o->linear, o->size, WALK_WRITE, &p);
	if (ret)
		return ret;
	if (locked && p.nr == 1) {
		ret = (e->ops->cmpxchg)(e, p.piece[0].gpa, o->size, &old, val);
		if (ret != EMU_OP_MMIO)
			return ret;
		return mmio(e, p.piece[0].gpa, (u8 *)&val, o->size, true);
	}
	return place_access(e, &p, &val, true);
}

/* What a read-modify-write computes from the old value. */
struct rmw {
	u64 src;		/* second operand */
	u64 flags, mask;
	u64 result;
};

static void compute(struct emu *e, u64 old, struct rmw *w)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	u64 bit;

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
		alu(e, INSN_CMP, size, get_reg(e, EMU_RAX, size), old, &w->flags, &w->mask);
		w->result = w->flags & FLAG_ZF ? w->src : old;
		break;
	case INSN_CMPXCHG8B:
		bit = get_reg(e, EMU_RAX, 4) | get_reg(e, EMU_RDX, 4) << 32;
		w->mask = FLAG_ZF;
		w->flags = old == bit ? FLAG_ZF : 0;
		w->result = old;
		if (old == bit)
			w->result = get_reg(e, EMU_RBX, 4) | get_reg(e, EMU_RCX, 4) << 32;
		break;
	default:
		w->result = alu(e, in->op, size, old, w->src, &w->flags, &w->mask);
		break;
	}
}

/* After the destination is written: the registers that got the old value. */
static void finish_rmw(struct emu *e, u64 old, const struct rmw *w)
{
	const struct insn *in = &e->insn;

	switch (in->op) {
	case INSN_XCHG:
		break;
	case INSN_XADD:
		break;
	case INSN_CMPXCHG:
		if (!(w->flags & FLAG_ZF))
			set_reg(e, EMU_RAX, in->osize, old);
		break;
	case INSN_CMPXCHG8B:
		if (!(w->flags & FLAG_ZF)) {
			set_reg(e, EMU_RAX, 4, old);
			set_reg(e, EMU_RDX, 4, old >> 32);
		}
		break;
	}
	put_flags(e, w->mask, w->flags);
}

static int run_rmw(struct emu *e, s64 bit_offset, u64 src)
{
	const struct insn *in = &e->insn;
	bool locked = in->lock || in->op == INSN_XCHG;
	struct rmw w = { .src = src };
	struct operand o;
	struct place p;
	unsigned int tries;
	u8 pos = e->pos;
	u64 old;
	int ret;

	ret = rm_operand(e, in->osize, WALK_WRITE, bit_offset, &o);
	if (ret)
		return ret;
	for (tries = 0; tries < LOCK_TRIES; tries++) {
		e->pos = pos;
		old = 0;
		if (o.mem) {
			/* The right to write comes first: a fault is a write fault. */
			ret = find_place(e, o.linear, o.size, WALK_WRITE, &p);
			if (!ret)
				ret = place_access(e, &p, &old, false);
		} else {
			ret = get_operand(e, &o, &old);
		}
		if (ret)
			return ret;
		compute(e, old, &w);
		/*
		 * The old value's register first: when it is the destination
		 * too (XADD r, r), the sum wins.
		 */
		if (in->op == INSN_XADD || in->op == INSN_XCHG) {
			u64 saved = e->next.regs[in->reg & 15];
			u64 saved_high = e->next.regs[in->reg & 3];

			set_reg(e, in->reg, in->osize, old);
			ret = replace(e, &o, locked, old, w.result);
			if (ret == EMU_OP_DIFFERS) {
				e->next.regs[in->reg & 3] = saved_high;
				e->next.regs[in->reg & 15] = saved;
			}
		} else if (o.mem || in->op != INSN_CMPXCHG || (w.flags & FLAG_ZF)) {
			/* A comparison that fails writes memory back, but no register. */
			ret = replace(e, &o, locked, old, w.result);
		}
		if (ret == EMU_OP_DIFFERS) {
			e->nr_log = pos;	/* read it again */
			continue;
		}
		if (ret)
			return ret;
		finish_rmw(e, old, &w);
		return 0;
	}
	return -EAGAIN;
}

/* ADD ... CMP, TEST in their forms: rm,reg / reg,rm / acc,imm / rm,imm. */
static int run_alu(struct emu *e)
{
	const struct insn *in = &e->insn;
	bool only_flags = in->op == INSN_CMP || in->op == INSN_TEST;
	bool group = in->opcode >= 0x80;	/* 80-83, 84/85, a8/a9, f6/f7 */
	bool has_imm = in->imm_len != 0;
	bool acc = (!group && (in->opcode & 4)) || in->opcode == 0xa8 || in->opcode == 0xa9;
	bool to_reg = !group && (in->opcode & 2) && !acc;
	unsigned int size = in->osize;
	u64 a, b, res, flags = 0, mask;
	struct operand o;
	int ret;

	if (!acc && !to_reg && !only_flags)
		return run_rmw(e, 0, has_imm ? (u64)in->imm & size_mask(size) :
			       get_reg(e, in->reg, size));
	if (acc) {
		a = get_reg(e, EMU_RAX, size);
		b = (u64)in->imm & size_mask(size);
	} else {
		ret = rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = get_operand(e, &o, &a);
		if (ret)
			return ret;
		b = has_imm ? (u64)in->imm & size_mask(size) : get_reg(e, in->reg, size);
		if (to_reg) {
			u64 t = a;

			a = b;
			b = t;
		}
	}
	res = alu(e, in->op, size, a, b, &flags, &mask);
	put_flags(e, mask, flags);
	if (!only_flags)
		set_reg(e, acc ? EMU_RAX : in->reg, size, res);
	return 0;
}

static int run_mov(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct operand o;
	u64 val, linear;
	int ret;

	switch (in->map == 0 ? in->opcode : 0) {
	case 0xb0 ... 0xbf:
		set_reg(e, in->reg, size, (u64)in->imm);
		return 0;
	case 0xa0:
	case 0xa1:
		ret = linearize(e, in->seg, (u64)in->disp & size_mask(in->asize), size,
				WALK_READ, &linear);
		if (!ret)
			ret = load(e, linear, size, &val);
		if (!ret)
			set_reg(e, EMU_RAX, size, val);
		return ret;
	case 0xa2:
	case 0xa3:
		ret = linearize(e, in->seg, (u64)in->disp & size_mask(in->asize), size,
				WALK_WRITE, &linear);
		return ret ? ret : store(e, linear, size, get_reg(e, EMU_RAX, size));
	case 0x8a:
	case 0x8b:
		ret = rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = get_operand(e, &o, &val);
		if (!ret)
			set_reg(e, in->reg, size, val);
		return ret;
	case 0x8c:
		val = e->seg[in->reg & 7].sel;
		break;
	case 0xc6:
	case 0xc7:
		val = (u64)in->imm;
		break;
	default:	/* 88, 89, MOVNTI */
		val = get_reg(e, in->reg, size);
		break;
	}
	ret = rm_operand(e, size, WALK_WRITE, 0, &o);
	return ret ? ret : put_operand(e, &o, val);
}

/* MOVZX, MOVSX, MOVSXD. */
static int run_extend(struct emu *e)
{
	const struct insn *in = &e->insn;
	struct operand o;
	u64 val;
	int ret;

	ret = rm_operand(e, in->src_size, WALK_READ, 0, &o);
	if (!ret)
		ret = get_operand(e, &o, &val);
	if (ret)
		return ret;
	if (in->op == INSN_MOVSX)
		val = (u64)sign_extend(val, in->src_size);
	set_reg(e, in->reg, in->osize, val);
	return 0;
}

static u64 swap_bytes(u64 v, unsigned int size)
{
	return __builtin_bswap64(v) >> (64 - 8 * size);
}

static int run_movbe(struct emu *e)
{
	const struct insn *in = &e->insn;
	bool to_mem = in->opcode == 0xf1;
	struct operand o;
	u64 val;
	int ret;

	ret = rm_operand(e, in->osize, to_mem ? WALK_WRITE : WALK_READ, 0, &o);
	if (ret)
		return ret;
	if (to_mem)
		return put_operand(e, &o, swap_bytes(get_reg(e, in->reg, in->osize), in->osize));
	ret = get_operand(e, &o, &val);
	if (!ret)
		set_reg(e, in->reg, in->osize, swap_bytes(val, in->osize));
	return ret;
}

static int run_bit(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	s64 offset = 0;
	struct operand o;
	u64 bit, val;
	int ret;

	if (in->imm_len) {
		bit = (u64)in->imm;
	} else {
		/* A register may reach beyond the operand, in units of its size. */
		bit = get_reg(e, in->reg, size);
		if (in->is_mem)
			offset = (sign_extend(bit, size) >> 3) & -(s64)size;
	}
	if (in->op != INSN_BT)
		return run_rmw(e, offset, bit);
	ret = rm_operand(e, size, WALK_READ, offset, &o);
	if (!ret)
		ret = get_operand(e, &o, &val);
	if (!ret)
		put_flags(e, FLAG_CF, val & BIT_ULL(bit & (8 * size - 1)) ? FLAG_CF : 0);
	return ret;
}

static int run_xchg(struct emu *e)
{
	const struct insn *in = &e->insn;
	u64 a, b;

	if (in->opcode == 0x86 || in->opcode == 0x87)
		return run_rmw(e, 0, get_reg(e, in->reg, in->osize));
	/* NOP is not XCHG EAX, EAX: it does not clear the upper half. */
	if (in->reg == EMU_RAX)
		return 0;
	a = get_reg(e, EMU_RAX, in->osize);
	b = get_reg(e, in->reg, in->osize);
	set_reg(e, in->reg, in->osize, a);
	set_reg(e, EMU_RAX, in->osize, b);
	return 0;
}

static unsigned int stack_size(const struct emu *e)
{
	if (code_mode(e) == 64)
		return 8;
	return e->seg[EMU_SS].attr & SEG_DB ? 4 : 2;
}

/* The stack pointer keeps its upper bits when the stack is a 16-bit one. */
static void set_sp(struct emu *e, u64 sp)
{
	unsigned int size = stack_size(e);
	u64 *r = &e->next.regs[EMU_RSP];

	*r = (*r & ~size_mask(size)) | (sp & size_mask(size));
}

static int run_push(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct operand o;
	u64 val, sp, linear;
	int ret;

	if (in->opcode == 0xff) {
		ret = rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = get_operand(e, &o, &val);
		if (ret)
			return ret;
	} else if (in->opcode == 0x68 || in->opcode == 0x6a) {
		val = (u64)in->imm;
	} else {
		val = get_reg(e, in->reg, size);
	}
	sp = (e->next.regs[EMU_RSP] - size) & size_mask(stack_size(e));
	ret = linearize(e, EMU_SS, sp, size, WALK_WRITE, &linear);
	if (!ret)
		ret = store(e, linear, size, val);
	if (!ret)
		set_sp(e, sp);
	return ret;
}

static int run_pop(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct operand o;
	u64 val, sp, linear;
	int ret;

	sp = e->next.regs[EMU_RSP] & size_mask(stack_size(e));
	ret = linearize(e, EMU_SS, sp, size, WALK_READ, &linear);
	if (!ret)
		ret = load(e, linear, size, &val);
	if (ret)
		return ret;
	/* The destination's address is computed with the new stack pointer. */
	set_sp(e, sp + size);
	if (in->opcode != 0x8f) {
		set_reg(e, in->reg, size, val);
		return 0;
	}
	ret = rm_operand(e, size, WALK_WRITE, 0, &o);
	return ret ? ret : put_operand(e, &o, val);
}

/* Step rSI or rDI; the address size is that of the register written. */
static void step_index(struct emu *e, unsigned int reg)
{
	const struct insn *in = &e->insn;
	u64 step = e->next.rflags & FLAG_DF ? -(u64)in->osize : in->osize;
	u64 val = e->next.regs[reg] + step;

	if (in->asize == 4)
		e->next.regs[reg] = val & 0xffffffffULL;
	else
		e->next.regs[reg] = (e->next.regs[reg] & ~size_mask(in->asize)) |
				    (val & size_mask(in->asize));
}

static int string_address(struct emu *e, unsigned int reg, unsigned int access, u64 *linear)
{
	const struct insn *in = &e->insn;

	return linearize(e, reg == EMU_RDI ? EMU_ES : in->seg,
			 e->next.regs[reg] & size_mask(in->asize), in->osize, access, linear);
}

static int string_load(struct emu *e, unsigned int reg, u64 *val)
{
	u64 linear;
	int ret = string_address(e, reg, WALK_READ, &linear);

	return ret ? ret : load(e, linear, e->insn.osize, val);
}

/* One iteration. */
static int run_string(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	bool uses_si = in->op != INSN_STOS && in->op != INSN_SCAS && in->op != INSN_INS;
	bool uses_di = in->op != INSN_LODS && in->op != INSN_OUTS;
	u64 a = 0, b, linear, flags = 0, mask;
	struct place p;
	int ret = 0;

	switch (in->op) {
	case INSN_MOVS:
		ret = string_load(e, EMU_RSI, &a);
		break;
	case INSN_LODS:
		ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			set_reg(e, EMU_RAX, size, a);
		break;
	case INSN_STOS:
		a = get_reg(e, EMU_RAX, size);
		break;
	case INSN_SCAS:
	case INSN_CMPS:
		a = get_reg(e, EMU_RAX, size);
		if (in->op == INSN_CMPS)
			ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			ret = string_load(e, EMU_RDI, &b);
		if (ret)
			break;
		alu(e, INSN_CMP, size, a, b, &flags, &mask);
		put_flags(e, mask, flags);
		break;
	case INSN_OUTS:
		ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			ret = device_access(e, get_reg(e, EMU_RDX, 2), size, true, true, (u8 *)&a);
		break;
	case INSN_INS:
		/* A fault of the destination comes before the port is read. */
		ret = string_address(e, EMU_RDI, WALK_WRITE, &linear);
		if (!ret)
			ret = find_place(e, linear, size, WALK_WRITE, &p);
		if (!ret)
			ret = device_access(e, get_reg(e, EMU_RDX, 2), size, false, true, (u8 *)&a);
		if (!ret)
			ret = place_access(e, &p, &a, true);
		break;
	}
	if (ret)
		return ret;
	if (in->op == INSN_MOVS || in->op == INSN_STOS) {
		ret = string_address(e, EMU_RDI, WALK_WRITE, &linear);
		if (!ret)
			ret = store(e, linear, size, a);
		if (ret)
			return ret;
	}
	if (uses_si)
		step_index(e, EMU_RSI);
	if (uses_di)
		step_index(e, EMU_RDI);
	return 0;
}

static bool is_string(const struct insn *in)
{
	return in->op >= INSN_MOVS && in->op <= INSN_OUTS;
}

static int run_insn(struct emu *e)
{
	const struct insn *in = &e->insn;

	switch (in->op) {
	case INSN_ADD: case INSN_OR: case INSN_ADC: case INSN_SBB:
	case INSN_AND: case INSN_SUB: case INSN_XOR: case INSN_CMP: case INSN_TEST:
		return run_alu(e);
	case INSN_INC: case INSN_DEC:
		if (in->opcode < 0x50) {	/* 40-4f: the register is in the opcode */
			e->insn.rm = in->reg;
		}
		return run_rmw(e, 0, 1);
	case INSN_NOT: case INSN_NEG:
		return run_rmw(e, 0, 0);
	case INSN_XADD: case INSN_CMPXCHG:
		return run_rmw(e, 0, get_reg(e, in->reg, in->osize));
	case INSN_CMPXCHG8B:
		if (in->osize != 8)
			return EMU_UNHANDLED;
		return run_rmw(e, 0, 0);
	case INSN_MOV: case INSN_MOVNTI:
		return run_mov(e);
	case INSN_MOVZX: case INSN_MOVSX:
		return run_extend(e);
	case INSN_MOVBE:
		return run_movbe(e);
	case INSN_XCHG:
		return run_xchg(e);
	case INSN_BT: case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return run_bit(e);
	case INSN_PUSH:
		return run_push(e);
	case INSN_POP:
		return run_pop(e);
	}
	return is_string(in) ? run_string(e) : EMU_UNHANDLED;
}

static void forget(struct emu *e)
{
	e->nr_log = 0;
	e->pos = 0;
	e->effects = false;
}

static void begin_insn(struct emu *e)
{
	memcpy(e->next.regs, e->regs, sizeof(e->next.regs));
	e->next.rip = *e->rip;
	e->next.rflags = *e->rflags;
	e->pos = 0;
}

static void commit(struct emu *e)
{
	memcpy(e->regs, e->next.regs, sizeof(e->next.regs));
	*e->rip = e->next.rip;
	*e->rflags = e->next.rflags;
	forget(e);
}

static void retire(struct emu *e)
{
	e->next.rip += e->insn.len;
	if (e->insn.mode != 64)
		e->next.rip &= 0xffffffffULL;
	e->next.rflags &= ~FLAG_RF;
}

static u64 rep_count(const struct emu *e)
{
	return e->next.regs[EMU_RCX] & size_mask(e->insn.asize);
}

static void set_rep_count(struct emu *e, u64 count)
{
	u64 *r = &e->next.regs[EMU_RCX];

	if (e->insn.asize == 4)
		*r = count;
	else
		*r = (*r & ~size_mask(e->insn.asize)) | count;
}

/* A repeated string instruction: iterations until it ends, needs a device, or had its turn. */
static int run_repeated(struct emu *e)
{
	const struct insn *in = &e->insn;
	bool compares = in->op == INSN_CMPS || in->op == INSN_SCAS;
	u64 count;
	int ret;

	for (;;) {
		begin_insn(e);
		count = rep_count(e);
		if (count == 0) {
			retire(e);
			commit(e);
			return EMU_DONE;
		}
		ret = run_string(e);
		if (ret)
			return ret;
		set_rep_count(e, count - 1);
		if (count == 1 || (compares && !(e->next.rflags & FLAG_ZF) == in->rep)) {
			retire(e);
			commit(e);
			return EMU_DONE;
		}
		commit(e);
		if (e->trap || --e->budget == 0)
			return EMU_DONE;
	}
}

void emulate_begin(struct emu *e)
{
	e->decoded = false;
	e->trap = false;
	forget(e);
}

void emulate_io_done(struct emu *e, const void *data)
{
	if (e->nr_log >= EMU_LOG_MAX)
		return;
	if (!e->io.write && data)
		memcpy(e->io.data, data, min_t(unsigned int, e->io.len, sizeof(e->io.data)));
	e->log[e->nr_log++] = e->io;
	e->effects = true;
}

int emulate_decode(struct emu *e)
{
	unsigned int mode = code_mode(e), len = 0, want = INSN_MAX_LEN, n;
	u64 rip = *e->rip, linear, gpa;
	u8 bytes[INSN_MAX_LEN];
	int ret;

	e->decoded = false;
	if (mode != 64) {
		rip &= 0xffffffffULL;
		if (rip > e->seg[EMU_CS].limit)
			return raise(e, VEC_GP);
		want = min_t(u64, want, (u64)e->seg[EMU_CS].limit - rip + 1);
	}
	for (;;) {
		linear = seg_base(e, EMU_CS) + rip + len;
		if (mode != 64)
			linear &= 0xffffffffULL;
		else if (!canonical(e, linear))
			return raise(e, VEC_GP);
		n = min_t(unsigned int, want - len, PAGE - (linear & (PAGE - 1)));
		ret = e->ops->translate(e, linear, WALK_FETCH, &gpa);
		if (ret)
			return callback_error(ret);
		ret = e->ops->read(e, gpa, bytes + len, n);
		if (ret == EMU_OP_MMIO) {
			memset(&e->insn, 0, sizeof(e->insn));
			return EMU_UNHANDLED;	/* code in a device */
		}
		if (ret)
			return ret;
		len += n;
		switch (insn_decode(&e->insn, mode, bytes, len)) {
		case INSN_OK:
			e->decoded = true;
			e->start_rip = *e->rip;
			e->budget = REP_BUDGET;
			return EMU_DONE;
		case INSN_INVALID:
			return raise(e, VEC_UD);
		case INSN_TOO_LONG:
			return raise(e, VEC_GP);
		}
		if (len >= want)
			return raise(e, VEC_GP);	/* runs into the segment's limit */
	}
}

int emulate_run(struct emu *e)
{
	int ret;

	/* Registers may have been changed by user space since the access was asked for. */
	if (!e->effects || !e->decoded || e->start_rip != *e->rip) {
		forget(e);
		ret = emulate_decode(e);
		if (ret)
			return ret;
	}
	e->trap = *e->rflags & FLAG_TF;
	if (is_string(&e->insn) && (e->insn.rep || e->insn.repne)) {
		ret = run_repeated(e);
	} else {
		begin_insn(e);
		ret = run_insn(e);
		if (ret == EMU_DONE) {
			retire(e);
			commit(e);
		}
	}
	/* The instruction ends here: nothing to remember of it. */
	if (ret == EMU_FAULT || ret == EMU_UNHANDLED)
		forget(e);
	return ret;
}
