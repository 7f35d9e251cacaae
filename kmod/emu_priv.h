/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the emulator: constants of the architecture and what its files share.
 *
 * Functions that return int return 0, EMU_* (EMU_MMIO and EMU_PIO: run again when
 * the access is made) or -errno of a callback, unless they say otherwise.  All
 * may sleep where a callback does.
 */
#ifndef CVMM_EMU_PRIV_H
#define CVMM_EMU_PRIV_H

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
#define CR0_EM		BIT_ULL(2)
#define CR0_TS		BIT_ULL(3)
#define CR0_AM		BIT_ULL(18)
#define CR4_OSFXSR	BIT_ULL(9)
#define CR4_LA57	BIT_ULL(12)
#define CR4_OSXSAVE	BIT_ULL(18)
#define XCR0_SSE_AVX	6ULL
#define EFER_LMA	BIT_ULL(10)

#define SEG_CODE	BIT_ULL(3)
#define SEG_DOWN	BIT_ULL(2)	/* of a data segment: expand-down */
#define SEG_RW		BIT_ULL(1)	/* data: writable, code: readable */
#define SEG_P		BIT_ULL(7)
#define SEG_L		BIT_ULL(9)
#define SEG_DB		BIT_ULL(10)

#define VEC_DE		0
#define VEC_UD		6
#define VEC_NM		7
#define VEC_SS		12
#define VEC_GP		13
#define VEC_AC		17

static inline u64 emu_size_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : BIT_ULL(8 * size) - 1;
}

static inline u64 emu_sign_bit(unsigned int size)
{
	return BIT_ULL(8 * size - 1);
}

static inline s64 emu_sign_extend(u64 v, unsigned int size)
{
	unsigned int spare = 64 - 8 * size;

	return (s64)(v << spare) >> spare;
}

static inline bool emu_is_string(const struct insn *in)
{
	return in->op >= INSN_MOVS && in->op <= INSN_OUTS;
}

/* emulate.c: an instruction's registers (e->next), made the guest's when it is complete. */
void emu_begin_insn(struct emu *e);
void emu_commit(struct emu *e);
/* RIP and RFLAGS.RF of e->next past the instruction. */
void emu_retire(struct emu *e);

/* emu_mem.c */

/* Fill in e->fault; returns EMU_FAULT.  Error codes are 0. */
int emu_raise(struct emu *e, u8 vector);
unsigned int emu_code_mode(const struct emu *e);	/* 16, 32 or 64 */
bool emu_canonical(const struct emu *e, u64 linear);
u64 emu_seg_base(const struct emu *e, unsigned int seg);
/* Segment-relative offset of the memory operand. */
u64 emu_effective_address(const struct insn *in, const u64 *regs, u64 next_rip);
/* Segment checks of APM vol. 2 section 4.12, the canonical and the alignment check. */
int emu_linearize(struct emu *e, unsigned int seg, u64 ea, unsigned int size,
		  unsigned int access, u64 *linear);
int emu_callback_error(int ret);

/* An operand in memory, translated: one piece, or two where it crosses a page. */
struct emu_place {
	unsigned int nr;
	struct {
		u64 gpa;
		unsigned int len;
	} piece[2];
};

int emu_find_place(struct emu *e, u64 linear, unsigned int size, unsigned int access,
		   struct emu_place *p);
int emu_place_access(struct emu *e, const struct emu_place *p, void *buf, bool write);
/* One access to a device: answered from the log, or EMU_MMIO/EMU_PIO to have it made. */
int emu_device_access(struct emu *e, u64 addr, unsigned int len, bool write, bool port, u8 *data);
int emu_load(struct emu *e, u64 linear, unsigned int size, u64 *val);
int emu_store(struct emu *e, u64 linear, unsigned int size, u64 val);

/* emu_insn.c: general registers of e->next, so that nothing is visible too early. */
u64 emu_get_reg(const struct emu *e, unsigned int reg, unsigned int size);
void emu_set_reg(struct emu *e, unsigned int reg, unsigned int size, u64 val);

static inline void emu_put_flags(struct emu *e, u64 mask, u64 flags)
{
	e->next.rflags = (e->next.rflags & ~mask) | (flags & mask);
}

/* An operand by ModRM.rm: register, or memory at @linear. */
struct emu_operand {
	bool mem;
	u8 reg, size;
	u64 linear;
};

/* @offset: added to the address (bit strings). */
int emu_rm_operand(struct emu *e, unsigned int size, unsigned int access, s64 offset,
		   struct emu_operand *o);
int emu_get_operand(struct emu *e, const struct emu_operand *o, u64 *val);
int emu_put_operand(struct emu *e, const struct emu_operand *o, u64 val);
/* Any instruction but a string one. */
int emu_execute(struct emu *e);

/* emu_rmw.c: destination by ModRM.rm computed from itself, @src and for shifts @count. */
int emu_rmw(struct emu *e, s64 bit_offset, u64 src, unsigned int count);
int emu_cmpxchg_wide(struct emu *e);		/* CMPXCHG8B, CMPXCHG16B */

/* emu_string.c: one iteration; or with its REP prefix. */
int emu_string(struct emu *e);
int emu_repeated(struct emu *e);

/* emu_vector.c: INSN_VMOV. */
int emu_vector_move(struct emu *e);

/*
 * emu_alu.c.  Values are zero-extended from @size bytes; *@mask tells which flags
 * the result defines, *@flags their values.
 */

/* Two-operand arithmetic, by INSN_*; one-operand forms use @a. */
u64 emu_alu(unsigned int op, unsigned int size, u64 a, u64 b, u64 carry, u64 *flags, u64 *mask);
u64 emu_flags_of(u64 res, unsigned int size);
u64 emu_shift(unsigned int op, unsigned int size, u64 a, unsigned int count, u64 carry,
	      u64 *flags, u64 *mask);
u64 emu_double_shift(bool left, unsigned int size, u64 a, u64 b, unsigned int count,
		     u64 *flags, u64 *mask);
/* Returns the lower half; *@flags: CF and OF. */
u64 emu_multiply(unsigned int size, bool is_signed, u64 a, u64 b, u64 *high, u64 *flags);
/* False: #DE. */
bool emu_divide(unsigned int size, bool is_signed, u64 high, u64 low, u64 d, u64 *quot, u64 *rem);
bool emu_condition(u64 rflags, unsigned int cc);

#endif /* CVMM_EMU_PRIV_H */
