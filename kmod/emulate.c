// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instruction emulator: what its caller uses, see emulate.h, and the frame around
 * the instructions of emu_insn.c, emu_rmw.c, emu_string.c and emu_vector.c.
 */
#include "emulate.h"
#include "emu_priv.h"

/* Iterations of a repeated instruction per emulate_run(): other events get their turn. */
#define REP_BUDGET	128

#define PAGE		4096U

static void forget(struct emu *e)
{
	e->nr_log = 0;
	e->pos = 0;
	e->effects = false;
}

void emu_begin_insn(struct emu *e)
{
	memcpy(e->next.regs, e->regs, sizeof(e->next.regs));
	e->next.rip = *e->rip;
	e->next.rflags = *e->rflags;
	e->next.vec_set = false;
	e->pos = 0;
}

void emu_commit(struct emu *e)
{
	memcpy(e->regs, e->next.regs, sizeof(e->next.regs));
	*e->rip = e->next.rip;
	*e->rflags = e->next.rflags;
	if (e->next.vec_set)
		e->ops->set_vec(e, e->next.vec_reg, e->next.vec, e->next.vec_wide);
	forget(e);
}

void emu_retire(struct emu *e)
{
	e->next.rip += e->insn.len;
	if (e->insn.mode != 64)
		e->next.rip &= 0xffffffffULL;
	e->next.rflags &= ~FLAG_RF;
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
	unsigned int mode = emu_code_mode(e), len = 0, want = INSN_MAX_LEN, n;
	u64 rip = *e->rip, linear, gpa;
	int ret;

	e->decoded = false;
	e->nr_bytes = 0;
	if (mode != 64) {
		rip &= 0xffffffffULL;
		if (rip > e->seg[EMU_CS].limit)
			return emu_raise(e, VEC_GP);
		want = min_t(u64, want, (u64)e->seg[EMU_CS].limit - rip + 1);
	}
	for (;;) {
		linear = emu_seg_base(e, EMU_CS) + rip + len;
		if (mode != 64)
			linear &= 0xffffffffULL;
		else if (!emu_canonical(e, linear))
			return emu_raise(e, VEC_GP);
		n = min_t(unsigned int, want - len, PAGE - (linear & (PAGE - 1)));
		ret = e->ops->translate(e, linear, WALK_FETCH, &gpa);
		if (ret)
			return emu_callback_error(ret);
		ret = e->ops->read(e, gpa, e->bytes + len, n);
		if (ret == EMU_OP_MMIO) {
			memset(&e->insn, 0, sizeof(e->insn));
			return EMU_UNHANDLED;	/* code in a device */
		}
		if (ret)
			return ret;
		len += n;
		e->nr_bytes = len;
		switch (insn_decode(&e->insn, mode, e->bytes, len)) {
		case INSN_OK:
			e->decoded = true;
			e->start_rip = *e->rip;
			e->budget = REP_BUDGET;
			return EMU_DONE;
		case INSN_INVALID:
			return emu_raise(e, VEC_UD);
		case INSN_TOO_LONG:
			return emu_raise(e, VEC_GP);
		}
		if (len >= want)
			return emu_raise(e, VEC_GP);	/* runs into the segment's limit */
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
	if (emu_is_string(&e->insn) && (e->insn.rep || e->insn.repne)) {
		ret = emu_repeated(e);
	} else {
		emu_begin_insn(e);
		ret = emu_is_string(&e->insn) ? emu_string(e) : emu_execute(e);
		if (ret == EMU_DONE) {
			emu_retire(e);
			emu_commit(e);
		}
	}
	/* The instruction ends here: nothing to remember of it. */
	if (ret == EMU_FAULT || ret == EMU_UNHANDLED)
		forget(e);
	return ret;
}
