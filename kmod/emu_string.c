// SPDX-License-Identifier: GPL-2.0-only
/* String instructions of the emulator, one iteration at a time, and their repetition. */
#include "emulate.h"
#include "emu_priv.h"

/* Step rSI or rDI; the address size is that of the register written. */
static void step_index(struct emu *e, unsigned int reg)
{
	const struct insn *in = &e->insn;
	u64 step = e->next.rflags & FLAG_DF ? -(u64)in->osize : in->osize;
	u64 val = e->next.regs[reg] + step;

	if (in->asize == 4)
		e->next.regs[reg] = val & 0xffffffffULL;
	else
		e->next.regs[reg] = (e->next.regs[reg] & ~emu_size_mask(in->asize)) |
				    (val & emu_size_mask(in->asize));
}

static int string_address(struct emu *e, unsigned int reg, unsigned int access, u64 *linear)
{
	const struct insn *in = &e->insn;

	return emu_linearize(e, reg == EMU_RDI ? EMU_ES : in->seg,
			 e->next.regs[reg] & emu_size_mask(in->asize), in->osize, access, linear);
}

static int string_load(struct emu *e, unsigned int reg, u64 *val)
{
	u64 linear;
	int ret = string_address(e, reg, WALK_READ, &linear);

	return ret ? ret : emu_load(e, linear, e->insn.osize, val);
}

/* One iteration. */
int emu_string(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int size = in->osize;
	bool uses_si = in->op != INSN_STOS && in->op != INSN_SCAS && in->op != INSN_INS;
	bool uses_di = in->op != INSN_LODS && in->op != INSN_OUTS;
	u64 a = 0, b, linear, flags = 0, mask;
	struct emu_place p;
	int ret = 0;

	switch (in->op) {
	case INSN_MOVS:
		ret = string_load(e, EMU_RSI, &a);
		break;
	case INSN_LODS:
		ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			emu_set_reg(e, EMU_RAX, size, a);
		break;
	case INSN_STOS:
		a = emu_get_reg(e, EMU_RAX, size);
		break;
	case INSN_SCAS:
	case INSN_CMPS:
		a = emu_get_reg(e, EMU_RAX, size);
		if (in->op == INSN_CMPS)
			ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			ret = string_load(e, EMU_RDI, &b);
		if (ret)
			break;
		emu_alu(INSN_CMP, size, a, b, 0, &flags, &mask);
		emu_put_flags(e, mask, flags);
		break;
	case INSN_OUTS:
		ret = string_load(e, EMU_RSI, &a);
		if (!ret)
			ret = emu_device_access(e, emu_get_reg(e, EMU_RDX, 2), size, true, true, (u8 *)&a);
		break;
	case INSN_INS:
		/* A fault of the destination comes before the port is read. */
		ret = string_address(e, EMU_RDI, WALK_WRITE, &linear);
		if (!ret)
			ret = emu_find_place(e, linear, size, WALK_WRITE, &p);
		if (!ret)
			ret = emu_device_access(e, emu_get_reg(e, EMU_RDX, 2), size, false, true, (u8 *)&a);
		if (!ret)
			ret = emu_place_access(e, &p, &a, true);
		break;
	}
	if (ret)
		return ret;
	if (in->op == INSN_MOVS || in->op == INSN_STOS) {
		ret = string_address(e, EMU_RDI, WALK_WRITE, &linear);
		if (!ret)
			ret = emu_store(e, linear, size, a);
		if (ret)
			return ret;
	}
	if (uses_si)
		step_index(e, EMU_RSI);
	if (uses_di)
		step_index(e, EMU_RDI);
	return 0;
}

static u64 rep_count(const struct emu *e)
{
	return e->next.regs[EMU_RCX] & emu_size_mask(e->insn.asize);
}

static void set_rep_count(struct emu *e, u64 count)
{
	u64 *r = &e->next.regs[EMU_RCX];

	if (e->insn.asize == 4)
		*r = count;
	else
		*r = (*r & ~emu_size_mask(e->insn.asize)) | count;
}

/* A repeated string instruction: iterations until it ends, needs a device, or had its turn. */
int emu_repeated(struct emu *e)
{
	const struct insn *in = &e->insn;
	bool compares = in->op == INSN_CMPS || in->op == INSN_SCAS;
	u64 count;
	int ret;

	for (;;) {
		emu_begin_insn(e);
		count = rep_count(e);
		if (count == 0) {
			emu_retire(e);
			emu_commit(e);
			return EMU_DONE;
		}
		ret = emu_string(e);
		if (ret)
			return ret;
		set_rep_count(e, count - 1);
		if (count == 1 || (compares && !(e->next.rflags & FLAG_ZF) == in->rep)) {
			emu_retire(e);
			emu_commit(e);
			return EMU_DONE;
		}
		emu_commit(e);
		if (e->trap || --e->budget == 0)
			return EMU_DONE;
	}
}
