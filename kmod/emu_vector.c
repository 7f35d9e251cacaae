// SPDX-License-Identifier: GPL-2.0-only
/*
 * SSE and AVX moves between a vector register and memory: those that compilers
 * and copy loops use.  APM vol. 4; conditions of exceptions: its appendix A.
 */
#include "emulate.h"
#include "emu_priv.h"

/* May the guest use the register file?  0 or EMU_FAULT. */
static int check_enabled(struct emu *e)
{
	if (e->insn.vex) {
		if (!(e->cr0 & CR0_PE) || (*e->rflags & FLAG_VM) || !(e->cr4 & CR4_OSXSAVE) ||
		    (e->xcr0 & XCR0_SSE_AVX) != XCR0_SSE_AVX)
			return emu_raise(e, VEC_UD);
	} else if ((e->cr0 & CR0_EM) || !(e->cr4 & CR4_OSFXSR)) {
		return emu_raise(e, VEC_UD);
	}
	return e->cr0 & CR0_TS ? emu_raise(e, VEC_NM) : 0;
}

int emu_vector_move(struct emu *e)
{
	const struct insn *in = &e->insn;
	unsigned int half = in->vflags & VMOV_HIGH ? 8 : 0;
	bool is_load = in->vflags & VMOV_LOAD;
	unsigned int access = is_load ? WALK_READ : WALK_WRITE;
	u8 val[32] = {}, other[32];
	struct emu_operand o;
	struct emu_place p;
	int ret;

	ret = check_enabled(e);
	if (!ret)
		ret = emu_rm_operand(e, in->osize, access, 0, &o);
	if (!ret)
		ret = emu_find_place(e, o.linear, in->osize, access, &p);
	if (ret)
		return ret;
	if (!is_load) {
		e->ops->get_vec(e, in->reg, val);
		return emu_place_access(e, &p, val + half, true);
	}
	ret = emu_place_access(e, &p, val + half, false);
	if (ret)
		return ret;
	if (in->vflags & VMOV_MERGE) {
		e->ops->get_vec(e, in->vex ? in->vvvv : in->reg, other);
		memcpy(val + 8 - half, other + 8 - half, 8);
	}
	memcpy(e->next.vec, val, sizeof(val));
	e->next.vec_reg = in->reg;
	e->next.vec_wide = in->vex;
	e->next.vec_set = true;
	return 0;
}
