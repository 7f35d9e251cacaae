// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instructions of the emulator that are no string, vector or read-modify-write
 * ones, and registers and ModRM operands.
 */
#include "emulate.h"
#include "emu_priv.h"

static bool high_byte(const struct emu *e, unsigned int reg, unsigned int size)
{
	return size == 1 && !e->insn.rex && reg >= 4 && reg < 8;
}

u64 emu_get_reg(const struct emu *e, unsigned int reg, unsigned int size)
{
	if (high_byte(e, reg, size))
		return (e->next.regs[reg & 3] >> 8) & 0xff;
	return e->next.regs[reg & 15] & emu_size_mask(size);
}

void emu_set_reg(struct emu *e, unsigned int reg, unsigned int size, u64 val)
{
	u64 *r = &e->next.regs[reg & 15];

	if (high_byte(e, reg, size)) {
		r = &e->next.regs[reg & 3];
		*r = (*r & ~0xff00ULL) | ((val & 0xff) << 8);
	} else if (size == 4) {
		*r = val & 0xffffffffULL;
	} else {
		*r = (*r & ~emu_size_mask(size)) | (val & emu_size_mask(size));
	}
}

int emu_rm_operand(struct emu *e, unsigned int size, unsigned int access, s64 offset,
		      struct emu_operand *o)
{
	const struct insn *in = &e->insn;
	u64 ea;

	o->mem = in->is_mem;
	o->size = size;
	o->reg = in->rm;
	if (!o->mem)
		return 0;
	ea = emu_effective_address(in, e->next.regs, e->start_rip + in->len);
	ea = (ea + (u64)offset) & emu_size_mask(in->asize);
	return emu_linearize(e, in->seg, ea, size, access, &o->linear);
}

int emu_get_operand(struct emu *e, const struct emu_operand *o, u64 *val)
{
	if (o->mem)
		return emu_load(e, o->linear, o->size, val);
	*val = emu_get_reg(e, o->reg, o->size);
	return 0;
}

int emu_put_operand(struct emu *e, const struct emu_operand *o, u64 val)
{
	if (o->mem)
		return emu_store(e, o->linear, o->size, val);
	emu_set_reg(e, o->reg, o->size, val);
	return 0;
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
	struct emu_operand o;
	int ret;

	if (!acc && !to_reg && !only_flags)
		return emu_rmw(e, 0, has_imm ? (u64)in->imm & emu_size_mask(size) :
			       emu_get_reg(e, in->reg, size), 0);
	if (acc) {
		a = emu_get_reg(e, EMU_RAX, size);
		b = (u64)in->imm & emu_size_mask(size);
	} else {
		ret = emu_rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = emu_get_operand(e, &o, &a);
		if (ret)
			return ret;
		b = has_imm ? (u64)in->imm & emu_size_mask(size) : emu_get_reg(e, in->reg, size);
		if (to_reg) {
			u64 t = a;

			a = b;
			b = t;
		}
	}
	res = emu_alu(in->op, size, a, b, e->next.rflags & FLAG_CF, &flags, &mask);
	emu_put_flags(e, mask, flags);
	if (!only_flags)
		emu_set_reg(e, acc ? EMU_RAX : in->reg, size, res);
	return 0;
}

static int run_mov(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct emu_operand o;
	u64 val, linear;
	int ret;

	switch (in->map == 0 ? in->opcode : 0) {
	case 0xb0 ... 0xbf:
		emu_set_reg(e, in->reg, size, (u64)in->imm);
		return 0;
	case 0xa0:
	case 0xa1:
		ret = emu_linearize(e, in->seg, (u64)in->disp & emu_size_mask(in->asize), size,
				WALK_READ, &linear);
		if (!ret)
			ret = emu_load(e, linear, size, &val);
		if (!ret)
			emu_set_reg(e, EMU_RAX, size, val);
		return ret;
	case 0xa2:
	case 0xa3:
		ret = emu_linearize(e, in->seg, (u64)in->disp & emu_size_mask(in->asize), size,
				WALK_WRITE, &linear);
		return ret ? ret : emu_store(e, linear, size, emu_get_reg(e, EMU_RAX, size));
	case 0x8a:
	case 0x8b:
		ret = emu_rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = emu_get_operand(e, &o, &val);
		if (!ret)
			emu_set_reg(e, in->reg, size, val);
		return ret;
	case 0x8c:
		val = e->seg[in->reg & 7].sel;
		break;
	case 0xc6:
	case 0xc7:
		val = (u64)in->imm;
		break;
	default:	/* 88, 89, MOVNTI */
		val = emu_get_reg(e, in->reg, size);
		break;
	}
	ret = emu_rm_operand(e, size, WALK_WRITE, 0, &o);
	return ret ? ret : emu_put_operand(e, &o, val);
}

/* MOVZX, MOVSX, MOVSXD. */
static int run_extend(struct emu *e)
{
	const struct insn *in = &e->insn;
	struct emu_operand o;
	u64 val;
	int ret;

	ret = emu_rm_operand(e, in->src_size, WALK_READ, 0, &o);
	if (!ret)
		ret = emu_get_operand(e, &o, &val);
	if (ret)
		return ret;
	if (in->op == INSN_MOVSX)
		val = (u64)emu_sign_extend(val, in->src_size);
	emu_set_reg(e, in->reg, in->osize, val);
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
	struct emu_operand o;
	u64 val;
	int ret;

	ret = emu_rm_operand(e, in->osize, to_mem ? WALK_WRITE : WALK_READ, 0, &o);
	if (ret)
		return ret;
	if (to_mem)
		return emu_put_operand(e, &o, swap_bytes(emu_get_reg(e, in->reg, in->osize), in->osize));
	ret = emu_get_operand(e, &o, &val);
	if (!ret)
		emu_set_reg(e, in->reg, in->osize, swap_bytes(val, in->osize));
	return ret;
}

static int run_bit(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	s64 offset = 0;
	struct emu_operand o;
	u64 bit, val;
	int ret;

	if (in->imm_len) {
		bit = (u64)in->imm;
	} else {
		/* A register may reach beyond the operand, in units of its size. */
		bit = emu_get_reg(e, in->reg, size);
		if (in->is_mem)
			offset = (emu_sign_extend(bit, size) >> 3) & -(s64)size;
	}
	if (in->op != INSN_BT)
		return emu_rmw(e, offset, bit, 0);
	ret = emu_rm_operand(e, size, WALK_READ, offset, &o);
	if (!ret)
		ret = emu_get_operand(e, &o, &val);
	if (!ret)
		emu_put_flags(e, FLAG_CF, val & BIT_ULL(bit & (8 * size - 1)) ? FLAG_CF : 0);
	return ret;
}

static int run_xchg(struct emu *e)
{
	const struct insn *in = &e->insn;
	u64 a, b;

	if (in->opcode == 0x86 || in->opcode == 0x87)
		return emu_rmw(e, 0, emu_get_reg(e, in->reg, in->osize), 0);
	/* NOP is not XCHG EAX, EAX: it does not clear the upper half. */
	if (in->reg == EMU_RAX)
		return 0;
	a = emu_get_reg(e, EMU_RAX, in->osize);
	b = emu_get_reg(e, in->reg, in->osize);
	emu_set_reg(e, in->reg, in->osize, a);
	emu_set_reg(e, EMU_RAX, in->osize, b);
	return 0;
}

static unsigned int stack_size(const struct emu *e)
{
	if (emu_code_mode(e) == 64)
		return 8;
	return e->seg[EMU_SS].attr & SEG_DB ? 4 : 2;
}

/* The stack pointer keeps its upper bits when the stack is a 16-bit one. */
static void set_sp(struct emu *e, u64 sp)
{
	unsigned int size = stack_size(e);
	u64 *r = &e->next.regs[EMU_RSP];

	*r = (*r & ~emu_size_mask(size)) | (sp & emu_size_mask(size));
}

static int run_push(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct emu_operand o;
	u64 val, sp, linear;
	int ret;

	if (in->opcode == 0xff) {
		ret = emu_rm_operand(e, size, WALK_READ, 0, &o);
		if (!ret)
			ret = emu_get_operand(e, &o, &val);
		if (ret)
			return ret;
	} else if (in->opcode == 0x68 || in->opcode == 0x6a) {
		val = (u64)in->imm;
	} else {
		val = emu_get_reg(e, in->reg, size);
	}
	sp = (e->next.regs[EMU_RSP] - size) & emu_size_mask(stack_size(e));
	ret = emu_linearize(e, EMU_SS, sp, size, WALK_WRITE, &linear);
	if (!ret)
		ret = emu_store(e, linear, size, val);
	if (!ret)
		set_sp(e, sp);
	return ret;
}

static int run_pop(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	struct emu_operand o;
	u64 val, sp, linear;
	int ret;

	sp = e->next.regs[EMU_RSP] & emu_size_mask(stack_size(e));
	ret = emu_linearize(e, EMU_SS, sp, size, WALK_READ, &linear);
	if (!ret)
		ret = emu_load(e, linear, size, &val);
	if (ret)
		return ret;
	/* The destination's address is computed with the new stack pointer. */
	set_sp(e, sp + size);
	if (in->opcode != 0x8f) {
		emu_set_reg(e, in->reg, size, val);
		return 0;
	}
	ret = emu_rm_operand(e, size, WALK_WRITE, 0, &o);
	return ret ? ret : emu_put_operand(e, &o, val);
}

static int run_inc_dec(struct emu *e)
{
	if (e->insn.opcode < 0x50)	/* 40-4f: the register is in the opcode */
		e->insn.rm = e->insn.reg;
	return emu_rmw(e, 0, 1, 0);
}

static int run_not_neg(struct emu *e)
{
	return emu_rmw(e, 0, 0, 0);
}

/* XADD, CMPXCHG */
static int run_exchange(struct emu *e)
{
	return emu_rmw(e, 0, emu_get_reg(e, e->insn.reg, e->insn.osize), 0);
}

static int run_shift(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int count = 1;

	if (in->imm_len)
		count = (u8)in->imm;
	else if (in->map == 1 || in->opcode >= 0xd2)
		count = emu_get_reg(e, EMU_RCX, 4) & 0xff;
	return emu_rmw(e, 0, in->map == 1 ? emu_get_reg(e, in->reg, in->osize) : 0, count);
}

/* The operand by ModRM.rm, to be read only. */
static int read_rm(struct emu *e, unsigned int size, u64 *val)
{
	struct emu_operand o;
	int ret = emu_rm_operand(e, size, WALK_READ, 0, &o);

	return ret ? ret : emu_get_operand(e, &o, val);
}

static int run_imul(struct emu *e)
{
	const struct insn *in = &e->insn;
	u64 a, b, high, flags;
	int ret = read_rm(e, in->osize, &a);

	if (ret)
		return ret;
	b = in->imm_len ? (u64)in->imm & emu_size_mask(in->osize) : emu_get_reg(e, in->reg, in->osize);
	emu_set_reg(e, in->reg, in->osize, emu_multiply(in->osize, true, a, b, &high, &flags));
	emu_put_flags(e, FLAG_CF | FLAG_OF, flags);
	return 0;
}

/* MUL, IMUL, DIV, IDIV on rDX:rAX, or on AX for bytes. */
static int run_wide(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	u64 src, low = emu_get_reg(e, EMU_RAX, size), high, flags;
	int ret = read_rm(e, size, &src);

	if (ret)
		return ret;
	if (in->op == INSN_MUL_WIDE || in->op == INSN_IMUL_WIDE) {
		low = emu_multiply(size, in->op == INSN_IMUL_WIDE, low, src, &high, &flags);
		emu_put_flags(e, FLAG_CF | FLAG_OF, flags);
	} else {
		high = size == 1 ? emu_get_reg(e, EMU_RAX, 2) >> 8 : emu_get_reg(e, EMU_RDX, size);
		if (!emu_divide(size, in->op == INSN_IDIV, high, low, src, &low, &high))
			return emu_raise(e, VEC_DE);
	}
	if (size == 1) {
		emu_set_reg(e, EMU_RAX, 2, low | high << 8);
	} else {
		emu_set_reg(e, EMU_RAX, size, low);
		emu_set_reg(e, EMU_RDX, size, high);
	}
	return 0;
}

/* Memory is read, and the upper half of the register cleared, whatever the condition. */
static int run_cmov(struct emu *e)
{
	const struct insn *in = &e->insn;
	u64 val;
	int ret = read_rm(e, in->osize, &val);

	if (ret)
		return ret;
	if (!emu_condition(e->next.rflags, in->opcode))
		val = emu_get_reg(e, in->reg, in->osize);
	emu_set_reg(e, in->reg, in->osize, val);
	return 0;
}

static int run_setcc(struct emu *e)
{
	struct emu_operand o;
	int ret = emu_rm_operand(e, 1, WALK_WRITE, 0, &o);

	return ret ? ret : emu_put_operand(e, &o, emu_condition(e->next.rflags, e->insn.opcode));
}

/* BSF, BSR, POPCNT */
static int run_scan(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int n = 0;
	u64 val, v;
	int ret = read_rm(e, in->osize, &val);

	if (ret)
		return ret;
	if (in->op == INSN_POPCNT) {
		for (v = val; v; v &= v - 1)
			n++;
		emu_put_flags(e, FLAGS_ARITH, val ? 0 : FLAG_ZF);
		emu_set_reg(e, in->reg, in->osize, n);
		return 0;
	}
	emu_put_flags(e, FLAG_ZF, val ? 0 : FLAG_ZF);
	if (!val)	/* AMD's processors leave the destination alone */
		return 0;
	for (v = val; in->op == INSN_BSF ? !(v & 1) : v > 1; v >>= 1)
		n++;
	emu_set_reg(e, in->reg, in->osize, n);
	return 0;
}

int emu_execute(struct emu *e)
{
	static int (*const run[])(struct emu *e) = {
		[INSN_ADD ... INSN_TEST] = run_alu,
		[INSN_NOT ... INSN_NEG] = run_not_neg,
		[INSN_INC ... INSN_DEC] = run_inc_dec,
		[INSN_MOV] = run_mov,
		[INSN_MOVZX ... INSN_MOVSX] = run_extend,
		[INSN_MOVBE] = run_movbe,
		[INSN_MOVNTI] = run_mov,
		[INSN_XCHG] = run_xchg,
		[INSN_XADD ... INSN_CMPXCHG] = run_exchange,
		[INSN_CMPXCHG8B] = emu_cmpxchg_wide,
		[INSN_BT ... INSN_BTC] = run_bit,
		[INSN_ROL ... INSN_SHRD] = run_shift,
		[INSN_IMUL] = run_imul,
		[INSN_MUL_WIDE ... INSN_IDIV] = run_wide,
		[INSN_CMOV] = run_cmov,
		[INSN_SETCC] = run_setcc,
		[INSN_BSF ... INSN_POPCNT] = run_scan,
		[INSN_PUSH] = run_push,
		[INSN_POP] = run_pop,
		[INSN_VMOV] = emu_vector_move,
	};
	unsigned int op = e->insn.op;

	return op < ARRAY_SIZE(run) && run[op] ? run[op](e) : EMU_UNHANDLED;
}
