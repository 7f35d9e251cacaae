// SPDX-License-Identifier: GPL-2.0-only
/*
 * x86 instruction decoder: length and operands; see insn.h.  Opcode maps from
 * APM vol. 3 appendix A.  Tables give the shape of every legacy encoding;
 * insn_class.c names the few hundred that are emulated or intercepted.
 */
#include "insn.h"
#include "insn_priv.h"

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

/*
 * VEX, EVEX and XOP.  @first is C4, C5, 62 or 8F.  Only lengths, but for the VEX
 * encodings that insn_classify_vector() names.
 */
static int decode_vector(struct insn *in, struct cursor *c, u8 first, u8 seg_override)
{
	u8 b, map = 1, last = 0;
	bool imm;

	if (in->lock || in->rep || in->repne || in->opsize66 || in->rex)
		return INSN_INVALID;
	b = next_byte(c);
	if (first == 0x62) {
		map = b & 7;
		in->rex = (~b >> 5) & 7;
		next_byte(c);
		next_byte(c);
	} else if (first == 0xc5) {
		in->rex = (~b >> 5) & 4;
		last = b & 0x7f;
	} else {
		map = b & 31;
		in->rex = (~b >> 5) & 7;
		last = next_byte(c);
		in->rex |= last >> 4 & 8;	/* W */
	}
	in->vvvv = (~last >> 3) & 15;
	if (in->mode != 64)
		in->rex = 0;
	in->opcode = next_byte(c);
	in->map = 4;
	if (c->err)
		return c->err;
	if (first == 0x8f ? (map < 8 || map > 10) : (map < 1 || (map > 3 && first != 0x62) || map > 6))
		return INSN_INVALID;
	if (first == 0xc4 || first == 0xc5) {
		in->vex = true;
		in->map = map;
	}
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
	if (seg_override != 0xff)
		in->seg = seg_override;
	if (c->err)
		return c->err;
	in->len = c->pos;
	return in->vex ? insn_classify_vector(in, last & 3, last & 4 ? 32 : 16) : INSN_OK;
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
			return c.err ? c.err : decode_vector(in, &c, b, seg_override);
	} else if (b == 0x8f && (peek_byte(&c) & 0x1f) >= 8) {
		return c.err ? c.err : decode_vector(in, &c, b, seg_override);
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

	op = insn_classify(in);
	if (op < 0)
		return INSN_INVALID;
	in->op = op;
	if (op == INSN_OTHER && in->map)
		insn_classify_vector(in, in->rep ? 2 : in->repne ? 3 : in->opsize66, 16);
	if (in->lock && !lockable(in))
		return INSN_INVALID;
	return fix_operands(in, seg_override);
}
