// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of decoded encodings: tables by opcode, and by ModRM.reg for groups, from
 * APM vol. 3 appendix A.  Everything that is not in them is INSN_OTHER.
 */
#include "insn.h"
#include "insn_priv.h"

#define UD	0xff	/* undefined */

/* In the place of a name: look on in groups[] by ModRM.reg. */
enum {
	GROUP_FIRST = 0xc0,
	GROUP_80 = GROUP_FIRST, GROUP_8C, GROUP_8E, GROUP_8F, GROUP_SHIFT, GROUP_C6, GROUP_F6,
	GROUP_FE, GROUP_FF, GROUP_0F00, GROUP_0F01, GROUP_0FBA, GROUP_0FC7,
};

static const u8 groups[][8] = {
	[GROUP_80 - GROUP_FIRST] = { INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB,
				     INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP },
	[GROUP_8C - GROUP_FIRST] = { INSN_MOV, INSN_MOV, INSN_MOV, INSN_MOV, INSN_MOV, INSN_MOV,
				     UD, UD },
	[GROUP_8E - GROUP_FIRST] = { INSN_OTHER, UD, INSN_OTHER, INSN_OTHER, INSN_OTHER, INSN_OTHER,
				     UD, UD },
	[GROUP_8F - GROUP_FIRST] = { INSN_POP, UD, UD, UD, UD, UD, UD, UD },
	[GROUP_SHIFT - GROUP_FIRST] = { INSN_ROL, INSN_ROR, INSN_RCL, INSN_RCR,
					INSN_SHL, INSN_SHR, INSN_SHL, INSN_SAR },
	[GROUP_C6 - GROUP_FIRST] = { INSN_MOV, UD, UD, UD, UD, UD, UD, UD },
	[GROUP_F6 - GROUP_FIRST] = { INSN_TEST, INSN_TEST, INSN_NOT, INSN_NEG,
				     INSN_MUL_WIDE, INSN_IMUL_WIDE, INSN_DIV, INSN_IDIV },
	[GROUP_FE - GROUP_FIRST] = { INSN_INC, INSN_DEC, UD, UD, UD, UD, UD, UD },
	[GROUP_FF - GROUP_FIRST] = { INSN_INC, INSN_DEC, INSN_OTHER, INSN_OTHER, INSN_OTHER,
				     INSN_OTHER, INSN_PUSH, UD },
	[GROUP_0F00 - GROUP_FIRST] = { INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR },
	[GROUP_0F01 - GROUP_FIRST] = { INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT,
				       INSN_SMSW, INSN_OTHER, INSN_LMSW, INSN_INVLPG },
	[GROUP_0FBA - GROUP_FIRST] = { UD, UD, UD, UD, INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC },
	[GROUP_0FC7 - GROUP_FIRST] = { INSN_OTHER, INSN_CMPXCHG8B },
};

static const u8 one_byte[256] = {
	[0x00 ... 0x05] = INSN_ADD, [0x08 ... 0x0d] = INSN_OR,
	[0x10 ... 0x15] = INSN_ADC, [0x18 ... 0x1d] = INSN_SBB,
	[0x20 ... 0x25] = INSN_AND, [0x28 ... 0x2d] = INSN_SUB,
	[0x30 ... 0x35] = INSN_XOR, [0x38 ... 0x3d] = INSN_CMP,
	[0x40 ... 0x47] = INSN_INC, [0x48 ... 0x4f] = INSN_DEC,
	[0x50 ... 0x57] = INSN_PUSH, [0x58 ... 0x5f] = INSN_POP,
	[0x63] = INSN_MOVSX, [0x68] = INSN_PUSH, [0x69] = INSN_IMUL,
	[0x6a] = INSN_PUSH, [0x6b] = INSN_IMUL,
	[0x6c ... 0x6d] = INSN_INS, [0x6e ... 0x6f] = INSN_OUTS,
	[0x80 ... 0x83] = GROUP_80, [0x84 ... 0x85] = INSN_TEST, [0x86 ... 0x87] = INSN_XCHG,
	[0x88 ... 0x8b] = INSN_MOV, [0x8c] = GROUP_8C, [0x8e] = GROUP_8E, [0x8f] = GROUP_8F,
	[0x90 ... 0x97] = INSN_XCHG, [0x9c] = INSN_PUSHF, [0x9d] = INSN_POPF,
	[0xa0 ... 0xa3] = INSN_MOV, [0xa4 ... 0xa5] = INSN_MOVS, [0xa6 ... 0xa7] = INSN_CMPS,
	[0xa8 ... 0xa9] = INSN_TEST, [0xaa ... 0xab] = INSN_STOS, [0xac ... 0xad] = INSN_LODS,
	[0xae ... 0xaf] = INSN_SCAS, [0xb0 ... 0xbf] = INSN_MOV,
	[0xc0 ... 0xc1] = GROUP_SHIFT, [0xc6 ... 0xc7] = GROUP_C6,
	[0xcc] = INSN_INT3, [0xcd] = INSN_INT, [0xcf] = INSN_IRET,
	[0xd0 ... 0xd3] = GROUP_SHIFT,
	[0xe4 ... 0xe5] = INSN_IN, [0xe6 ... 0xe7] = INSN_OUT,
	[0xec ... 0xed] = INSN_IN, [0xee ... 0xef] = INSN_OUT,
	[0xf1] = INSN_ICEBP, [0xf4] = INSN_HLT, [0xf6 ... 0xf7] = GROUP_F6,
	[0xfe] = GROUP_FE, [0xff] = GROUP_FF,
};

static const u8 two_byte[256] = {
	[0x00] = GROUP_0F00, [0x01] = GROUP_0F01, [0x06] = INSN_CLTS, [0x08] = INSN_INVD,
	[0x09] = INSN_WBINVD,	/* with F3 WBNOINVD, where it exists */
	[0x20] = INSN_MOV_FROM_CR, [0x21] = INSN_MOV_FROM_DR,
	[0x22] = INSN_MOV_TO_CR, [0x23] = INSN_MOV_TO_DR,
	[0x30] = INSN_WRMSR, [0x31] = INSN_RDTSC, [0x32] = INSN_RDMSR, [0x33] = INSN_RDPMC,
	[0x40 ... 0x4f] = INSN_CMOV, [0x90 ... 0x9f] = INSN_SETCC,
	[0xa2] = INSN_CPUID, [0xa3] = INSN_BT, [0xa4 ... 0xa5] = INSN_SHLD,
	[0xaa] = INSN_RSM, [0xab] = INSN_BTS, [0xac ... 0xad] = INSN_SHRD, [0xaf] = INSN_IMUL,
	[0xb0 ... 0xb1] = INSN_CMPXCHG, [0xb3] = INSN_BTR, [0xb6 ... 0xb7] = INSN_MOVZX,
	[0xb8] = INSN_POPCNT, [0xba] = GROUP_0FBA, [0xbb] = INSN_BTC,
	[0xbc] = INSN_BSF, [0xbd] = INSN_BSR, [0xbe ... 0xbf] = INSN_MOVSX,
	[0xc0 ... 0xc1] = INSN_XADD, [0xc3] = INSN_MOVNTI, [0xc7] = GROUP_0FC7,
};

/* 0F 01 with a register: by the whole ModRM byte. */
static int classify_0f01(const struct insn *in)
{
	bool plain = !in->opsize66 && !in->rep && !in->repne;

	switch (in->modrm) {
	case 0xc1: return plain ? INSN_VMCALL : INSN_OTHER;
	case 0xc8: return plain ? INSN_MONITOR : INSN_OTHER;
	case 0xc9: return plain ? INSN_MWAIT : INSN_OTHER;
	case 0xd0: return plain ? INSN_XGETBV : INSN_OTHER;
	case 0xd1: return plain ? INSN_XSETBV : INSN_OTHER;
	case 0xd8: return INSN_VMRUN;
	case 0xd9: return INSN_VMMCALL;
	case 0xda: return INSN_VMLOAD;
	case 0xdb: return INSN_VMSAVE;
	case 0xdc: return INSN_STGI;
	case 0xdd: return INSN_CLGI;
	case 0xde: return INSN_SKINIT;
	case 0xdf: return INSN_INVLPGA;
	case 0xf9: return INSN_RDTSCP;
	case 0xfd: return INSN_RDPRU;
	}
	return INSN_OTHER;
}

static int classify_one(const struct insn *in, int op)
{
	switch (in->opcode) {
	case 0x63:
		return in->mode == 64 ? op : INSN_OTHER;	/* else ARPL */
	case 0x90:
		return in->rep ? INSN_PAUSE : op;
	case 0xc6: case 0xc7:
		return in->modrm == 0xf8 ? INSN_OTHER : op;	/* XABORT, XBEGIN */
	}
	return op;
}

static int classify_two(const struct insn *in, int op)
{
	unsigned int reg = (in->modrm >> 3) & 7;

	switch (in->opcode) {
	case 0x01:
		return in->is_mem || reg == 4 || reg == 6 ? op : classify_0f01(in);
	case 0xb8:
		return in->rep ? op : INSN_OTHER;
	case 0xbc: case 0xbd:
		return in->rep ? INSN_OTHER : op;		/* TZCNT, LZCNT */
	case 0xc3:
		if (in->opsize66 || in->rep || in->repne)
			return INSN_OTHER;
		return in->is_mem ? op : UD;
	case 0xc7:
		return op == INSN_CMPXCHG8B && !in->is_mem ? UD : op;
	}
	return op;
}

int insn_classify(const struct insn *in)
{
	int op = INSN_OTHER;

	if (in->map == 0)
		op = one_byte[in->opcode];
	else if (in->map == 1)
		op = two_byte[in->opcode];
	if (op >= GROUP_FIRST)
		op = groups[op - GROUP_FIRST][(in->modrm >> 3) & 7];
	if (in->map == 0) {
		op = classify_one(in, op);
	} else if (in->map == 1) {
		op = classify_two(in, op);
	} else if (in->map == 2 && !in->repne && !in->rep) {
		if (in->opcode == 0xf0 || in->opcode == 0xf1)
			op = in->is_mem ? INSN_MOVBE : UD;
		else if (in->opcode == 0x82 && in->opsize66)
			op = in->is_mem ? INSN_INVPCID : UD;
	}
	return op == UD ? -1 : op;
}

/* Bits of vector_moves[].pps: mandatory prefixes. */
#define NP	BIT_ULL(0)
#define P66	BIT_ULL(1)
#define PF3	BIT_ULL(2)
#define PF2	BIT_ULL(3)
/* Besides VMOV_*: VEX.L must be 0. */
#define L0	0x80

/* @size: bytes in memory, 0 for a whole vector. */
static const struct {
	u8 map, opcode, pps, size, flags;
} vector_moves[] = {
	{ 1, 0x10, NP | P66, 0, VMOV_LOAD },				/* MOVUPS, MOVUPD */
	{ 1, 0x11, NP | P66, 0, 0 },
	{ 1, 0x10, PF3, 4, VMOV_LOAD },					/* MOVSS */
	{ 1, 0x11, PF3, 4, 0 },
	{ 1, 0x10, PF2, 8, VMOV_LOAD },					/* MOVSD */
	{ 1, 0x11, PF2, 8, 0 },
	{ 1, 0x12, NP | P66, 8, VMOV_LOAD | VMOV_MERGE | L0 },		/* MOVLPS, MOVLPD */
	{ 1, 0x13, NP | P66, 8, L0 },
	{ 1, 0x16, NP | P66, 8, VMOV_LOAD | VMOV_MERGE | VMOV_HIGH | L0 }, /* MOVHPS, MOVHPD */
	{ 1, 0x17, NP | P66, 8, VMOV_HIGH | L0 },
	{ 1, 0x28, NP | P66, 0, VMOV_LOAD | VMOV_ALIGNED },		/* MOVAPS, MOVAPD */
	{ 1, 0x29, NP | P66, 0, VMOV_ALIGNED },
	{ 1, 0x2b, NP | P66, 0, VMOV_ALIGNED },				/* MOVNTPS, MOVNTPD */
	{ 1, 0x6e, P66, 4, VMOV_LOAD | VMOV_GPR | L0 },			/* MOVD, MOVQ */
	{ 1, 0x7e, P66, 4, VMOV_GPR | L0 },
	{ 1, 0x7e, PF3, 8, VMOV_LOAD | L0 },				/* MOVQ */
	{ 1, 0xd6, P66, 8, L0 },
	{ 1, 0x6f, P66, 0, VMOV_LOAD | VMOV_ALIGNED },			/* MOVDQA */
	{ 1, 0x7f, P66, 0, VMOV_ALIGNED },
	{ 1, 0x6f, PF3, 0, VMOV_LOAD },					/* MOVDQU */
	{ 1, 0x7f, PF3, 0, 0 },
	{ 1, 0xe7, P66, 0, VMOV_ALIGNED },				/* MOVNTDQ */
	{ 1, 0xf0, PF2, 0, VMOV_LOAD },					/* LDDQU */
	{ 2, 0x2a, P66, 0, VMOV_LOAD | VMOV_ALIGNED },			/* MOVNTDQA */
};

int insn_classify_vector(struct insn *in, unsigned int pp, unsigned int vlen)
{
	unsigned int i, size;
	u8 flags;

	if (!in->is_mem)
		return INSN_OK;
	for (i = 0; i < ARRAY_SIZE(vector_moves); i++) {
		if (vector_moves[i].map != in->map || vector_moves[i].opcode != in->opcode ||
		    !(vector_moves[i].pps & BIT_ULL(pp)))
			continue;
		flags = vector_moves[i].flags;
		size = vector_moves[i].size;
		if (in->vex && ((in->vvvv && !(flags & VMOV_MERGE)) || ((flags & L0) && vlen != 16)))
			return INSN_INVALID;
		if (in->mode != 64)
			in->vvvv &= 7;
		if ((flags & VMOV_GPR) && (in->rex & 8))
			size = 8;
		in->op = INSN_VMOV;
		in->osize = size ? size : vlen;
		in->vflags = flags & ~L0;
		return INSN_OK;
	}
	return INSN_OK;
}
