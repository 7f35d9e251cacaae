// SPDX-License-Identifier: GPL-2.0-only
/*
 * x86 instruction decoder: length, operands and class; see emulate.h.  Opcode
 * maps from APM vol. 3 appendix A.  Tables give the shape of every legacy
 * encoding; classify() names the few hundred that are emulated or intercepted.
 */
#include "emulate.h"

/* Shape of an encoding. */
#define M	0x01	/* has a ModRM byte */
#define I1	0x02	/* 8-bit immediate */
#define IZ	0x04	/* 16- or 32-bit immediate by operand size */
#define I2	0x08	/* 16-bit immediate */
#define X64	0x10	/* does not exist in 64-bit mode */
#define BY	0x20	/* byte operands */
#define SP	0x40	/* special: decided in code */
#define BAD	0x80	/* undefined */

static const u8 map_one[256] = {
	/* 00 */ M | BY, M, M | BY, M, I1 | BY, IZ, X64, X64, M | BY, M, M | BY, M, I1 | BY, IZ, X64, SP,
	/* 10 */ M | BY, M, M | BY, M, I1 | BY, IZ, X64, X64, M | BY, M, M | BY, M, I1 | BY, IZ, X64, X64,
	/* 20 */ M | BY, M, M | BY, M, I1 | BY, IZ, SP, X64, M | BY, M, M | BY, M, I1 | BY, IZ, SP, X64,
	/* 30 */ M | BY, M, M | BY, M, I1 | BY, IZ, SP, X64, M | BY, M, M | BY, M, I1 | BY, IZ, SP, X64,
	/* 40 */ X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64, X64,
	/* 50 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	/* 60 */ X64, X64, M | X64, M, SP, SP, SP, SP, IZ, M | IZ, I1, M | I1, BY, 0, BY, 0,
	/* 70 */ I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1, I1,
	/* 80 */ M | I1 | BY, M | IZ, M | I1 | BY | X64, M | I1, M | BY, M, M | BY, M,
		 M | BY, M, M | BY, M, M, M, M, M,
	/* 90 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, I2 | IZ | X64, 0, 0, 0, 0, 0,
	/* a0 */ SP | BY, SP, SP | BY, SP, BY, 0, BY, 0, I1 | BY, IZ, BY, 0, BY, 0, BY, 0,
	/* b0 */ I1 | BY, I1 | BY, I1 | BY, I1 | BY, I1 | BY, I1 | BY, I1 | BY, I1 | BY,
		 SP, SP, SP, SP, SP, SP, SP, SP,
	/* c0 */ M | I1 | BY, M | I1, I2, 0, M | X64, M | X64, M | I1 | BY, M | IZ,
		 I2 | I1, 0, I2, 0, 0, I1, X64, 0,
	/* d0 */ M | BY, M, M | BY, M, I1 | X64, I1 | X64, X64, 0, M, M, M, M, M, M, M, M,
	/* e0 */ I1, I1, I1, I1, I1 | BY, I1, I1 | BY, I1, IZ, IZ, I2 | IZ | X64, I1, BY, 0, BY, 0,
	/* f0 */ SP, 0, SP, SP, 0, 0, M | BY | SP, M | SP, 0, 0, 0, 0, 0, 0, M | BY, M,
};

static const u8 map_0f[256] = {
	/* 00 */ M, M, M, M, BAD, 0, 0, 0, 0, 0, BAD, 0, BAD, M, 0, M | I1,
	/* 10 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 20 */ M | SP, M | SP, M | SP, M | SP, BAD, BAD, BAD, BAD, M, M, M, M, M, M, M, M,
	/* 30 */ 0, 0, 0, 0, 0, 0, BAD, 0, SP, BAD, SP, BAD, BAD, BAD, BAD, BAD,
	/* 40 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 50 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 60 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 70 */ M | I1, M | I1, M | I1, M | I1, M, M, M, 0, M | SP, M, BAD, BAD, M, M, M, M,
	/* 80 */ IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ, IZ,
	/* 90 */ M | BY, M | BY, M | BY, M | BY, M | BY, M | BY, M | BY, M | BY,
		 M | BY, M | BY, M | BY, M | BY, M | BY, M | BY, M | BY, M | BY,
	/* a0 */ 0, 0, 0, M, M | I1, M, BAD, BAD, 0, 0, 0, M, M | I1, M, M, M,
	/* b0 */ M | BY, M, M, M, M, M, M, M, M, M, M | I1, M, M, M, M, M,
	/* c0 */ M | BY, M, M | I1, M, M | I1, M | I1, M | I1, M, 0, 0, 0, 0, 0, 0, 0, 0,
	/* d0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* e0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* f0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
};

/* Instruction bytes being consumed.  @err is sticky: INSN_SHORT or INSN_TOO_LONG. */
struct cursor {
	const u8 *bytes;
	unsigned int pos, len;
	int err;
};

static u8 next_byte(struct cursor *c)
{
	if (c->pos >= INSN_MAX_LEN)
		c->err = INSN_TOO_LONG;
	else if (c->pos >= c->len)
		c->err = c->err ? c->err : INSN_SHORT;
	else
		return c->bytes[c->pos++];
	return 0;
}

static u8 peek_byte(struct cursor *c)
{
	u8 b = next_byte(c);

	if (!c->err)
		c->pos--;
	return b;
}

/* A little-endian value of @size bytes (1, 2, 4, 8), sign-extended. */
static s64 next_value(struct cursor *c, unsigned int size)
{
	u64 v = 0;
	unsigned int i;

	for (i = 0; i < size && !c->err; i++)
		v |= (u64)next_byte(c) << (8 * i);
	if (size == 0 || size == 8)
		return (s64)v;
	return (s64)(v << (64 - 8 * size)) >> (64 - 8 * size);
}

static void decode_modrm16(struct insn *in, struct cursor *c)
{
	static const u8 bases[8] = { EMU_RBX, EMU_RBX, EMU_RBP, EMU_RBP,
				     EMU_RSI, EMU_RDI, EMU_RBP, EMU_RBX };
	static const u8 indices[4] = { EMU_RSI, EMU_RDI, EMU_RSI, EMU_RDI };
	unsigned int mod = in->modrm >> 6, rm = in->modrm & 7;

	if (mod == 0 && rm == 6) {
		in->disp = next_value(c, 2);
		return;
	}
	in->base = bases[rm];
	if (rm < 4)
		in->index = indices[rm];
	if (in->base == EMU_RBP)
		in->seg = EMU_SS;
	if (mod)
		in->disp = next_value(c, mod == 1 ? 1 : 2);
}

static void decode_modrm32(struct insn *in, struct cursor *c)
{
	unsigned int mod = in->modrm >> 6, rm = in->modrm & 7;
	bool no_base = false;
	u8 sib;

	if (rm == 4) {
		sib = next_byte(c);
		in->scale = sib >> 6;
		in->index = ((sib >> 3) & 7) | (in->rex & 2 ? 8 : 0);
		if (in->index == EMU_RSP)
			in->index = EMU_NO_REG;
		in->base = (sib & 7) | (in->rex & 1 ? 8 : 0);
		if ((sib & 7) == 5 && mod == 0) {
			in->base = EMU_NO_REG;
			no_base = true;
		}
	} else if (rm == 5 && mod == 0) {
		if (in->mode == 64)
			in->base = EMU_RIP;
		no_base = true;
	} else {
		in->base = rm | (in->rex & 1 ? 8 : 0);
	}
	if (in->base == EMU_RSP || in->base == EMU_RBP)
		in->seg = EMU_SS;
	if (mod == 1)
		in->disp = next_value(c, 1);
	else if (mod == 2 || no_base)
		in->disp = next_value(c, 4);
}

static void decode_modrm(struct insn *in, struct cursor *c)
{
	in->has_modrm = true;
	in->modrm = next_byte(c);
	in->reg = ((in->modrm >> 3) & 7) | (in->rex & 4 ? 8 : 0);
	if (in->modrm >> 6 == 3) {
		in->rm = (in->modrm & 7) | (in->rex & 1 ? 8 : 0);
		return;
	}
	in->is_mem = true;
	if (in->asize == 2)
		decode_modrm16(in, c);
	else
		decode_modrm32(in, c);
}

/* VEX, EVEX and XOP: only lengths.  @first is C4, C5, 62 or 8F. */
static int decode_vector(struct insn *in, struct cursor *c, u8 first)
{
	u8 b, map = 1;
	bool imm;

	if (in->lock || in->rep || in->repne || in->opsize66 || in->rex)
		return INSN_INVALID;
	b = next_byte(c);
	if (first == 0x62) {
		map = b & 7;
		in->rex = (~b >> 5) & 7;
		next_byte(c);
		next_byte(c);
	} else if (first != 0xc5) {
		map = b & 31;
		in->rex = (~b >> 5) & 7;
		next_byte(c);
	}
	if (in->mode != 64)
		in->rex = 0;
	in->opcode = next_byte(c);
	in->map = 4;
	if (c->err)
		return c->err;
	if (first == 0x8f ? (map < 8 || map > 10) : (map < 1 || (map > 3 && first != 0x62) || map > 6))
		return INSN_INVALID;
	/* VZEROUPPER and VZEROALL have no ModRM. */
	if (!(map == 1 && in->opcode == 0x77))
		decode_modrm(in, c);
	imm = map == 3 || map == 8 ||
	      (map == 1 && ((in->opcode >= 0x70 && in->opcode <= 0x73) || in->opcode == 0xc2 ||
			    (in->opcode >= 0xc4 && in->opcode <= 0xc6)));
	if (map == 10)
		in->imm_len = 4;
	else if (imm)
		in->imm_len = 1;
	in->imm = next_value(c, in->imm_len);
	in->op = INSN_OTHER;
	if (c->err)
		return c->err;
	in->len = c->pos;
	return INSN_OK;
}

static unsigned int decode_prefixes(struct insn *in, struct cursor *c, u8 *seg_override)
{
	u8 b;

	for (;;) {
		b = next_byte(c);
		if (c->err)
			return 0;
		switch (b) {
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			if (in->mode != 64)
				*seg_override = (b >> 3) & 3;
			break;
		case 0x64: case 0x65:
			*seg_override = b == 0x64 ? EMU_FS : EMU_GS;
			break;
		case 0x66:
			in->opsize66 = true;
			break;
		case 0x67:
			in->asize = in->mode == 32 ? 2 : 4;
			break;
		case 0xf0:
			in->lock = true;
			break;
		case 0xf2:
			in->repne = true;
			in->rep = false;
			break;
		case 0xf3:
			in->rep = true;
			in->repne = false;
			break;
		default:
			if (in->mode == 64 && (b & 0xf0) == 0x40) {
				in->rex = b;
				continue;
			}
			return b;
		}
		in->rex = 0;	/* only directly before the opcode */
	}
}

/* Group 0F 01: system instructions, by ModRM. */
static int classify_0f01(struct insn *in)
{
	static const u8 mem[8] = { INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT,
				   INSN_SMSW, INSN_OTHER, INSN_LMSW, INSN_INVLPG };
	unsigned int reg = (in->modrm >> 3) & 7;
	bool plain = !in->opsize66 && !in->rep && !in->repne;

	if (in->is_mem || reg == 4 || reg == 6)
		return mem[reg];
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

static int classify_0f(struct insn *in)
{
	unsigned int reg = (in->modrm >> 3) & 7;
	static const u8 group_ba[8] = { 0, 0, 0, 0, INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC };

	switch (in->opcode) {
	case 0x00:
		if (reg < 4) {
			static const u8 group6[4] = { INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR };

			return group6[reg];
		}
		break;
	case 0x01: return classify_0f01(in);
	case 0x06: return INSN_CLTS;
	case 0x08: return INSN_INVD;
	case 0x09: return INSN_WBINVD;	/* with F3 WBNOINVD, where it exists */
	case 0x20: return INSN_MOV_FROM_CR;
	case 0x21: return INSN_MOV_FROM_DR;
	case 0x22: return INSN_MOV_TO_CR;
	case 0x23: return INSN_MOV_TO_DR;
	case 0x30: return INSN_WRMSR;
	case 0x31: return INSN_RDTSC;
	case 0x32: return INSN_RDMSR;
	case 0x33: return INSN_RDPMC;
	case 0xa2: return INSN_CPUID;
	case 0xa3: return INSN_BT;
	case 0xaa: return INSN_RSM;
	case 0xab: return INSN_BTS;
	case 0xb0: case 0xb1: return INSN_CMPXCHG;
	case 0xb3: return INSN_BTR;
	case 0xb6: case 0xb7: return INSN_MOVZX;
	case 0xba:
		return reg < 4 ? -1 : group_ba[reg];
	case 0xbb: return INSN_BTC;
	case 0xbe: case 0xbf: return INSN_MOVSX;
	case 0xc0: case 0xc1: return INSN_XADD;
	case 0xc3:
		if (!in->opsize66 && !in->rep && !in->repne)
			return in->is_mem ? INSN_MOVNTI : -1;
		break;
	case 0xc7:
		if (reg == 1)
			return in->is_mem ? INSN_CMPXCHG8B : -1;
		break;
	}
	return INSN_OTHER;
}

static int classify_one(struct insn *in)
{
	static const u8 alu[8] = { INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB,
				   INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP };
	unsigned int reg = (in->modrm >> 3) & 7;
	u8 op = in->opcode;

	if (op < 0x40 && (op & 7) < 6)
		return alu[op >> 3];
	switch (op) {
	case 0x40 ... 0x47: return INSN_INC;
	case 0x48 ... 0x4f: return INSN_DEC;
	case 0x50 ... 0x57: case 0x68: case 0x6a: return INSN_PUSH;
	case 0x58 ... 0x5f: return INSN_POP;
	case 0x63: return in->mode == 64 ? INSN_MOVSX : INSN_OTHER;
	case 0x6c: case 0x6d: return INSN_INS;
	case 0x6e: case 0x6f: return INSN_OUTS;
	case 0x80 ... 0x83: return alu[reg];
	case 0x84: case 0x85: case 0xa8: case 0xa9: return INSN_TEST;
	case 0x86: case 0x87: return INSN_XCHG;
	case 0x88 ... 0x8b: case 0xa0 ... 0xa3: case 0xb0 ... 0xbf: return INSN_MOV;
	case 0x8c: return reg < 6 ? INSN_MOV : -1;
	case 0x8e: return reg < 6 && reg != 1 ? INSN_OTHER : -1;
	case 0x8f: return reg ? -1 : INSN_POP;
	case 0x90:
		if (in->rep)
			return INSN_PAUSE;
		fallthrough;
	case 0x91 ... 0x97: return INSN_XCHG;
	case 0x9c: return INSN_PUSHF;
	case 0x9d: return INSN_POPF;
	case 0xa4: case 0xa5: return INSN_MOVS;
	case 0xa6: case 0xa7: return INSN_CMPS;
	case 0xaa: case 0xab: return INSN_STOS;
	case 0xac: case 0xad: return INSN_LODS;
	case 0xae: case 0xaf: return INSN_SCAS;
	case 0xc6: case 0xc7:
		if (in->modrm == 0xf8)
			return INSN_OTHER;	/* XABORT, XBEGIN */
		return reg ? -1 : INSN_MOV;
	case 0xcc: return INSN_INT3;
	case 0xcd: return INSN_INT;
	case 0xcf: return INSN_IRET;
	case 0xe4: case 0xe5: case 0xec: case 0xed: return INSN_IN;
	case 0xe6: case 0xe7: case 0xee: case 0xef: return INSN_OUT;
	case 0xf1: return INSN_ICEBP;
	case 0xf4: return INSN_HLT;
	case 0xf6: case 0xf7:
		if (reg < 2)
			return INSN_TEST;
		return reg == 2 ? INSN_NOT : reg == 3 ? INSN_NEG : INSN_OTHER;
	case 0xfe:
		return reg == 0 ? INSN_INC : reg == 1 ? INSN_DEC : -1;
	case 0xff:
		if (reg == 7)
			return -1;
		return reg == 0 ? INSN_INC : reg == 1 ? INSN_DEC : reg == 6 ? INSN_PUSH : INSN_OTHER;
	}
	return INSN_OTHER;
}

/* The insn_op of a decoded encoding, or -1 for one that does not exist. */
static int classify(struct insn *in)
{
	switch (in->map) {
	case 0:
		return classify_one(in);
	case 1:
		return classify_0f(in);
	case 2:
		if ((in->opcode == 0xf0 || in->opcode == 0xf1) && !in->repne && !in->rep)
			return in->is_mem ? INSN_MOVBE : -1;
		if (in->opcode == 0x82 && in->opsize66 && !in->repne && !in->rep)
			return in->is_mem ? INSN_INVPCID : -1;
		return INSN_OTHER;
	}
	return INSN_OTHER;
}

static bool lockable(const struct insn *in)
{
	if (in->op == INSN_MOV_FROM_CR || in->op == INSN_MOV_TO_CR)
		return in->reg == 0;	/* AltMovCr8: LOCK MOV CR0 is CR8 */
	if (!in->is_mem)
		return false;
	switch (in->op) {
	case INSN_ADD: case INSN_OR: case INSN_ADC: case INSN_SBB:
	case INSN_AND: case INSN_SUB: case INSN_XOR:
		/* the destination must be the memory operand */
		return in->opcode >= 0x80 || !(in->opcode & 2);
	case INSN_NOT: case INSN_NEG: case INSN_INC: case INSN_DEC:
	case INSN_XCHG: case INSN_XADD: case INSN_CMPXCHG: case INSN_CMPXCHG8B:
	case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return true;
	}
	return false;
}

/* Operand sizes that the opcode rather than prefixes decide; string and moffs operands. */
static int fix_operands(struct insn *in, u8 seg_override)
{
	bool wide = in->mode == 64;

	switch (in->op) {
	case INSN_PUSH: case INSN_POP: case INSN_PUSHF: case INSN_POPF:
		if (wide)
			in->osize = in->opsize66 && !(in->rex & 8) ? 2 : 8;
		break;
	case INSN_MOV_FROM_CR: case INSN_MOV_TO_CR:
		in->osize = wide ? 8 : 4;
		if (in->lock)
			in->reg = 8;
		if (in->reg == 1 || (in->reg > 4 && in->reg != 8))
			return INSN_INVALID;
		break;
	case INSN_MOV_FROM_DR: case INSN_MOV_TO_DR:
		in->osize = wide ? 8 : 4;
		if (in->reg > 7)
			return INSN_INVALID;
		break;
	case INSN_MOVZX:
		in->src_size = in->opcode == 0xb6 ? 1 : 2;
		break;
	case INSN_MOVSX:
		in->src_size = in->map == 0 ? 4 : in->opcode == 0xbe ? 1 : 2;
		break;
	case INSN_MOVNTI:
		in->osize = in->rex & 8 ? 8 : 4;
		break;
	case INSN_CMPXCHG8B:
		in->osize = in->rex & 8 ? 16 : 8;
		break;
	case INSN_INS: case INSN_OUTS: case INSN_IN: case INSN_OUT:
		if (in->osize == 8)
			in->osize = 4;
		break;
	case INSN_MOV:
		/* A segment register: 16 bits in memory, zero-extended in a register. */
		if (in->map == 0 && in->opcode == 0x8c && in->is_mem)
			in->osize = 2;
		break;
	}
	switch (in->op) {
	case INSN_MOVS: case INSN_CMPS: case INSN_STOS: case INSN_LODS: case INSN_SCAS:
	case INSN_INS: case INSN_OUTS:
		in->is_mem = true;
		break;
	}
	if (seg_override != 0xff)
		in->seg = seg_override;
	return INSN_OK;
}

int insn_decode(struct insn *in, unsigned int mode, const u8 *bytes, unsigned int len)
{
	struct cursor c = { .bytes = bytes, .len = min_t(unsigned int, len, INSN_MAX_LEN) };
	u8 seg_override = 0xff, shape, b;
	int op;

	memset(in, 0, sizeof(*in));
	in->mode = mode;
	in->asize = mode / 8;
	in->seg = EMU_DS;
	in->base = EMU_NO_REG;
	in->index = EMU_NO_REG;

	b = decode_prefixes(in, &c, &seg_override);
	if (c.err)
		return c.err;

	/* VEX, EVEX and XOP share opcodes that need memory, or do not exist, otherwise. */
	if (b == 0xc4 || b == 0xc5 || b == 0x62) {
		if (mode == 64 || peek_byte(&c) >> 6 == 3)
			return c.err ? c.err : decode_vector(in, &c, b);
	} else if (b == 0x8f && (peek_byte(&c) & 0x1f) >= 8) {
		return c.err ? c.err : decode_vector(in, &c, b);
	}

	if (b == 0x0f) {
		b = next_byte(&c);
		if (b == 0x38 || b == 0x3a) {
			in->map = b == 0x38 ? 2 : 3;
			b = next_byte(&c);
			shape = in->map == 2 ? M : M | I1;
		} else {
			in->map = 1;
			shape = map_0f[b];
		}
	} else {
		shape = map_one[b];
	}
	in->opcode = b;
	if (c.err)
		return c.err;
	if ((shape & BAD) || ((shape & X64) && mode == 64))
		return INSN_INVALID;

	if (shape & BY)
		in->osize = 1;
	else if (in->rex & 8)
		in->osize = 8;
	else if (mode == 16)
		in->osize = in->opsize66 ? 4 : 2;
	else
		in->osize = in->opsize66 ? 2 : 4;

	in->reg = (b & 7) | (in->rex & 1 ? 8 : 0);	/* the +r forms */
	if (shape & M) {
		if (in->map == 1 && b >= 0x20 && b <= 0x23) {
			/* Control and debug registers: mod is ignored. */
			in->has_modrm = true;
			in->modrm = next_byte(&c);
			in->reg = ((in->modrm >> 3) & 7) | (in->rex & 4 ? 8 : 0);
			in->rm = (in->modrm & 7) | (in->rex & 1 ? 8 : 0);
		} else {
			decode_modrm(in, &c);
		}
	}

	if (shape & I2)
		in->imm_len += 2;
	if (shape & I1)
		in->imm_len += 1;
	if (shape & IZ)
		in->imm_len += in->osize == 2 ? 2 : 4;
	if ((shape & SP) && in->map == 0) {
		if (b >= 0xa0 && b <= 0xa3) {
			in->is_mem = true;
			in->disp = next_value(&c, in->asize);
		} else if (b >= 0xb8 && b <= 0xbf) {
			in->imm_len = in->osize;
		} else if ((b == 0xf6 || b == 0xf7) && ((in->modrm >> 3) & 7) < 2) {
			in->imm_len = b == 0xf6 ? 1 : in->osize == 2 ? 2 : 4;
		}
	} else if ((shape & SP) && in->map == 1 && b == 0x78 && (in->opsize66 || in->repne)) {
		in->imm_len = 2;	/* EXTRQ, INSERTQ: two bytes */
	}
	/* Far pointers, ENTER and EXTRQ have odd sizes: nobody needs their value. */
	if (in->imm_len <= 2 || in->imm_len == 4 || in->imm_len == 8) {
		in->imm = next_value(&c, in->imm_len);
	} else {
		next_value(&c, in->imm_len & ~3U);
		next_value(&c, in->imm_len & 3U);
	}
	if (c.err)
		return c.err;
	in->len = c.pos;

	op = classify(in);
	if (op < 0)
		return INSN_INVALID;
	in->op = op;
	if (in->lock && !lockable(in))
		return INSN_INVALID;
	return fix_operands(in, seg_override);
}
