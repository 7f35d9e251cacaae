// SPDX-License-Identifier: GPL-2.0-only
/*
 * The instruction decoder against Zydis: every opcode of every legacy map, with
 * every ModRM byte, under many prefixes and in all three modes, and random
 * bytes.  Lengths agree on everything Zydis accepts; class and operands agree on
 * everything the decoder names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "kmod/emulate.h"

static u64 seed = 88172645463325252ULL;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

#define MAX_NAMES	48

static const struct {
	u16 op;
	ZydisMnemonic mnemonic[MAX_NAMES];
} names[] = {
#define N(op, ...) { INSN_##op, { __VA_ARGS__ } }
#define Z(m) ZYDIS_MNEMONIC_##m
	N(ADD, Z(ADD)), N(OR, Z(OR)), N(ADC, Z(ADC)), N(SBB, Z(SBB)), N(AND, Z(AND)),
	N(SUB, Z(SUB)), N(XOR, Z(XOR)), N(CMP, Z(CMP)), N(TEST, Z(TEST)), N(NOT, Z(NOT)),
	N(NEG, Z(NEG)), N(INC, Z(INC)), N(DEC, Z(DEC)), N(MOV, Z(MOV)), N(MOVZX, Z(MOVZX)),
	N(MOVSX, Z(MOVSX), Z(MOVSXD)), N(MOVBE, Z(MOVBE)), N(MOVNTI, Z(MOVNTI)),
	N(XCHG, Z(XCHG), Z(NOP)), N(XADD, Z(XADD)), N(CMPXCHG, Z(CMPXCHG)),
	N(CMPXCHG8B, Z(CMPXCHG8B), Z(CMPXCHG16B)), N(BT, Z(BT)), N(BTS, Z(BTS)), N(BTR, Z(BTR)),
	N(BTC, Z(BTC)), N(ROL, Z(ROL)), N(ROR, Z(ROR)), N(RCL, Z(RCL)), N(RCR, Z(RCR)),
	N(SHL, Z(SHL)), N(SHR, Z(SHR)), N(SAR, Z(SAR)), N(SHLD, Z(SHLD)), N(SHRD, Z(SHRD)),
	N(IMUL, Z(IMUL)), N(MUL_WIDE, Z(MUL)), N(IMUL_WIDE, Z(IMUL)), N(DIV, Z(DIV)),
	N(IDIV, Z(IDIV)), N(BSF, Z(BSF)), N(BSR, Z(BSR)), N(POPCNT, Z(POPCNT)),
	N(CMOV, Z(CMOVO), Z(CMOVNO), Z(CMOVB), Z(CMOVNB), Z(CMOVZ), Z(CMOVNZ), Z(CMOVBE), Z(CMOVNBE),
	  Z(CMOVS), Z(CMOVNS), Z(CMOVP), Z(CMOVNP), Z(CMOVL), Z(CMOVNL), Z(CMOVLE), Z(CMOVNLE)),
	N(SETCC, Z(SETO), Z(SETNO), Z(SETB), Z(SETNB), Z(SETZ), Z(SETNZ), Z(SETBE), Z(SETNBE),
	  Z(SETS), Z(SETNS), Z(SETP), Z(SETNP), Z(SETL), Z(SETNL), Z(SETLE), Z(SETNLE)),
	N(VMOV, Z(MOVUPS), Z(MOVUPD), Z(MOVSS), Z(MOVSD), Z(MOVLPS), Z(MOVLPD), Z(MOVHPS), Z(MOVHPD),
	  Z(MOVAPS), Z(MOVAPD), Z(MOVNTPS), Z(MOVNTPD), Z(MOVD), Z(MOVQ), Z(MOVDQA), Z(MOVDQU),
	  Z(MOVNTDQ), Z(LDDQU), Z(MOVNTDQA), Z(VMOVUPS), Z(VMOVUPD), Z(VMOVSS), Z(VMOVSD),
	  Z(VMOVLPS), Z(VMOVLPD), Z(VMOVHPS), Z(VMOVHPD), Z(VMOVAPS), Z(VMOVAPD), Z(VMOVNTPS),
	  Z(VMOVNTPD), Z(VMOVD), Z(VMOVQ), Z(VMOVDQA), Z(VMOVDQU), Z(VMOVNTDQ), Z(VLDDQU),
	  Z(VMOVNTDQA)),
	N(PUSH, Z(PUSH)), N(POP, Z(POP)),
	N(MOVS, Z(MOVSB), Z(MOVSW), Z(MOVSD), Z(MOVSQ)),
	N(CMPS, Z(CMPSB), Z(CMPSW), Z(CMPSD), Z(CMPSQ)),
	N(STOS, Z(STOSB), Z(STOSW), Z(STOSD), Z(STOSQ)),
	N(LODS, Z(LODSB), Z(LODSW), Z(LODSD), Z(LODSQ)),
	N(SCAS, Z(SCASB), Z(SCASW), Z(SCASD), Z(SCASQ)),
	N(INS, Z(INSB), Z(INSW), Z(INSD)), N(OUTS, Z(OUTSB), Z(OUTSW), Z(OUTSD)),
	N(CPUID, Z(CPUID)), N(RDMSR, Z(RDMSR)), N(WRMSR, Z(WRMSR)), N(HLT, Z(HLT)),
	N(IN, Z(IN)), N(OUT, Z(OUT)), N(INVLPG, Z(INVLPG)), N(INVLPGA, Z(INVLPGA)),
	N(INVD, Z(INVD)), N(WBINVD, Z(WBINVD)), N(CLTS, Z(CLTS)),
	N(MOV_FROM_CR, Z(MOV)), N(MOV_TO_CR, Z(MOV)), N(MOV_FROM_DR, Z(MOV)), N(MOV_TO_DR, Z(MOV)),
	N(LMSW, Z(LMSW)), N(SMSW, Z(SMSW)), N(XSETBV, Z(XSETBV)), N(XGETBV, Z(XGETBV)),
	N(RDTSC, Z(RDTSC)), N(RDTSCP, Z(RDTSCP)), N(RDPMC, Z(RDPMC)), N(PAUSE, Z(PAUSE)),
	N(MONITOR, Z(MONITOR)), N(MWAIT, Z(MWAIT)), N(VMMCALL, Z(VMMCALL)), N(VMCALL, Z(VMCALL)),
	N(VMRUN, Z(VMRUN)), N(VMLOAD, Z(VMLOAD)), N(VMSAVE, Z(VMSAVE)), N(STGI, Z(STGI)),
	N(CLGI, Z(CLGI)), N(SKINIT, Z(SKINIT)), N(RDPRU, Z(RDPRU)), N(INVPCID, Z(INVPCID)),
	N(INT3, Z(INT3)), N(INT, Z(INT)), N(ICEBP, Z(INT1)), N(IRET, Z(IRET), Z(IRETD), Z(IRETQ)),
	N(RSM, Z(RSM)), N(SLDT, Z(SLDT)), N(STR, Z(STR)), N(LLDT, Z(LLDT)), N(LTR, Z(LTR)),
	N(SGDT, Z(SGDT)), N(SIDT, Z(SIDT)), N(LGDT, Z(LGDT)), N(LIDT, Z(LIDT)),
	N(PUSHF, Z(PUSHF), Z(PUSHFD), Z(PUSHFQ)), N(POPF, Z(POPF), Z(POPFD), Z(POPFQ)),
};

struct oracle {
	unsigned int mode;
	ZydisDecoder decoder;
};

static struct oracle oracles[3];
static unsigned long compared, named, failures;

static void init_oracles(void)
{
	static const ZydisMachineMode modes[3] = {
		ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
		ZYDIS_MACHINE_MODE_LONG_64,
	};
	static const ZydisStackWidth widths[3] = {
		ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64,
	};
	unsigned int i;

	for (i = 0; i < 3; i++) {
		oracles[i].mode = 16U << i;
		ZydisDecoderInit(&oracles[i].decoder, modes[i], widths[i]);
		ZydisDecoderEnableMode(&oracles[i].decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, true);
		ZydisDecoderEnableMode(&oracles[i].decoder, ZYDIS_DECODER_MODE_KNC, false);
		ZydisDecoderEnableMode(&oracles[i].decoder, ZYDIS_DECODER_MODE_MPX, false);
		ZydisDecoderEnableMode(&oracles[i].decoder, ZYDIS_DECODER_MODE_CET, false);
		ZydisDecoderEnableMode(&oracles[i].decoder, ZYDIS_DECODER_MODE_CLDEMOTE, false);
	}
}

static void complain(const struct oracle *o, const u8 *bytes, const char *what,
		     const struct insn *in, const ZydisDecodedInstruction *z)
{
	static unsigned int last;
	unsigned int i, key = in->map << 16 | in->opcode << 8 | (u8)what[0];

	/* One line for each opcode is enough to see them all. */
	failures++;
	if (key == last || failures > 5000)
		return;
	last = key;
	fprintf(stderr, "mode %u:", o->mode);
	for (i = 0; i < INSN_MAX_LEN; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, ": %s; ours: len %u op %u; Zydis: len %u %s\n", what, in->len, in->op,
		z ? z->length : 0, z ? ZydisMnemonicGetString(z->mnemonic) : "invalid");
}

static bool is_gpr(ZydisRegister reg)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	return c == ZYDIS_REGCLASS_GPR8 || c == ZYDIS_REGCLASS_GPR16 ||
	       c == ZYDIS_REGCLASS_GPR32 || c == ZYDIS_REGCLASS_GPR64;
}

static unsigned int reg_number(ZydisRegister reg, const struct insn *in)
{
	ZyanI8 id;

	if (reg == ZYDIS_REGISTER_NONE)
		return EMU_NO_REG;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return EMU_RIP;
	id = ZydisRegisterGetId(reg);
	if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8) {
		/* al cl dl bl, ah ch dh bh, spl bpl sil dil, r8b... */
		if (id >= 4 && id < 8)
			return in->rex ? 99 : id;
		if (id >= 8)
			return id - 4;
	}
	return id;
}

static unsigned int seg_number(ZydisRegister reg)
{
	return ZydisRegisterGetId(reg);
}

static bool is_string(unsigned int op)
{
	return op >= INSN_MOVS && op <= INSN_OUTS;
}

/* Operands of a named instruction. */
static const char *check_operands(const struct insn *in, const ZydisDecodedInstruction *z,
				  const ZydisDecodedOperand *ops)
{
	bool saw_mem = false;
	unsigned int i;

	for (i = 0; i < (is_string(in->op) ? z->operand_count : z->operand_count_visible); i++) {
		const ZydisDecodedOperand *op = &ops[i];

		switch (op->type) {
		case ZYDIS_OPERAND_TYPE_MEMORY:
			saw_mem = true;
			if (is_string(in->op)) {
				if (op->mem.base != ZYDIS_REGISTER_NONE &&
				    reg_number(op->mem.base, in) == EMU_RSI &&
				    seg_number(op->mem.segment) != in->seg)
					return "segment of a string operand";
				if (op->size != in->osize * 8U)
					return "size of a string operand";
				break;
			}
			if (reg_number(op->mem.base, in) != in->base)
				return "base";
			if (reg_number(op->mem.index, in) != in->index)
				return "index";
			if (in->index != EMU_NO_REG && op->mem.scale != 1U << in->scale)
				return "scale";
			if (op->mem.disp.value != in->disp &&
			    !(in->map == 0 && (in->opcode & 0xfc) == 0xa0 &&
			      ((op->mem.disp.value ^ in->disp) &
			       (in->asize == 8 ? ~0ULL : BIT_ULL(8 * in->asize) - 1)) == 0))
				return "displacement";
			if (seg_number(op->mem.segment) != in->seg)
				return "segment";
			if (in->op <= INSN_VMOV) {
				unsigned int size = in->src_size ? in->src_size : in->osize;

				if (op->size != size * 8)
					return "size of memory operand";
				if (in->op == INSN_VMOV && !(in->vflags & VMOV_LOAD) != (i == 0))
					return "direction of a vector move";
			}
			break;
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (in->op <= INSN_POP && is_gpr(op->reg.value) &&
			    op->encoding != ZYDIS_OPERAND_ENCODING_NONE) {
				unsigned int n = reg_number(op->reg.value, in);

				if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ? n != in->rm : n != in->reg)
					return "register";
				if (!in->src_size && op->size != in->osize * 8U)
					return "size of register operand";
			}
			if (in->op == INSN_VMOV &&
			    (unsigned int)ZydisRegisterGetId(op->reg.value) !=
			    (op->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD ? in->vvvv : in->reg))
				return "vector register";
			if (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_CONTROL ||
			    ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_DEBUG) {
				if ((in->op < INSN_MOV_FROM_CR || in->op > INSN_MOV_TO_DR) &&
				    in->op != INSN_LMSW && in->op != INSN_SMSW)
					return "control register in another instruction";
				if (in->op <= INSN_MOV_TO_DR && in->op >= INSN_MOV_FROM_CR &&
				    (unsigned int)ZydisRegisterGetId(op->reg.value) != in->reg)
					return "control register";
				if (in->op == INSN_MOV_FROM_CR || in->op == INSN_MOV_FROM_DR ? i != 1 : i != 0)
					return "direction";
			}
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			if (in->op <= INSN_POP && in->imm_len) {
				u64 mask = in->op >= INSN_ROL && in->op <= INSN_SHRD ? 0xff : in->osize == 8 ? ~0ULL : BIT_ULL(8 * in->osize) - 1;

				if (((u64)op->imm.value.s ^ (u64)in->imm) & mask & (in->op >= INSN_BT && in->op <= INSN_BTC ? 0xff : ~0ULL))
					return "immediate";
			}
			break;
		default:
			break;
		}
	}
	if (saw_mem != in->is_mem)
		return "whether memory is an operand";
	return NULL;
}

/* Instructions that the decoder says exist and Zydis does not, or the reverse, for a reason. */
static bool known_difference(const struct insn *in, bool zydis_ok)
{
	/*
	 * No base, 32-bit displacement: REX.B does not matter.  Zydis names R13D
	 * with 32-bit addresses (not with 64-bit ones).
	 */
	if (zydis_ok && in->mode == 64 && in->asize == 4 && in->is_mem && in->has_modrm &&
	    (in->modrm & 0xc7) == 4 && in->base == EMU_NO_REG && (in->rex & 1))
		return true;
	/* Zydis knows LOCK MOV CR0 nowhere; AMD does. */
	if (!zydis_ok && in->lock && (in->op == INSN_MOV_FROM_CR || in->op == INSN_MOV_TO_CR))
		return true;
	return false;
}

static bool has_vector_and_memory(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
	bool vector = false, memory = false;
	unsigned int i;

	for (i = 0; i < z->operand_count_visible; i++) {
		ZydisRegisterClass c = ZydisRegisterGetClass(ops[i].reg.value);

		if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			memory = true;
		else if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			vector |= c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM;
	}
	return vector && memory;
}

static void compare(const struct oracle *o, const u8 *bytes)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct insn in, shorter;
	const char *what;
	unsigned int i, j;
	bool ok, match = false, claimed = false;
	int ret;

	ok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&o->decoder, bytes, INSN_MAX_LEN, &z, ops));
	ret = insn_decode(&in, o->mode, bytes, INSN_MAX_LEN);
	compared++;
	if (known_difference(&in, ok))
		return;
	if (!ok) {
		if (ret == INSN_OK && in.op != INSN_OTHER)
			return complain(o, bytes, "named an invalid instruction", &in, NULL);
		return;
	}
	/* Of VIA and of Xeon Phi, whatever the decoder's modes say. */
	if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && z.mnemonic == Z(POPCNT))
		return;
	if (z.meta.isa_ext == ZYDIS_ISA_EXT_PADLOCK || z.mnemonic == Z(JKNZD) || z.mnemonic == Z(JKZD))
		return;
	if (ret != INSN_OK)
		return complain(o, bytes, "refused", &in, &z);
	if (in.len != z.length)
		return complain(o, bytes, "length", &in, &z);

	/* One byte less is too short, and says so. */
	if (insn_decode(&shorter, o->mode, bytes, in.len - 1) != INSN_SHORT)
		return complain(o, bytes, "truncated", &shorter, &z);

	if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) {
		if (in.op != INSN_OTHER)
			return complain(o, bytes, "named an EVEX or XOP instruction", &in, &z);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		for (j = 0; j < MAX_NAMES && names[i].mnemonic[j]; j++) {
			if (names[i].mnemonic[j] != z.mnemonic)
				continue;
			if (names[i].op == in.op)
				match = true;
			/* Vector moves: only those of memory and not of MMX registers. */
			if (names[i].op != INSN_VMOV || has_vector_and_memory(&z, ops))
				claimed = true;
		}
	}
	if (in.op == INSN_OTHER) {
		/* Forms that are left out: segment registers, SSE CMPSD and moves of registers, NOPs. */
		if (claimed && z.mnemonic != Z(NOP) &&
		    !(z.meta.isa_ext == ZYDIS_ISA_EXT_SSE2 && !has_vector_and_memory(&z, ops)) &&
		    !(z.meta.isa_ext == ZYDIS_ISA_EXT_SSE2 && z.mnemonic == Z(CMPSD)) &&
		    !(in.map == 0 && in.opcode == 0x8e) &&
		    !((z.mnemonic == Z(PUSH) || z.mnemonic == Z(POP)) &&
		      ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		      ZydisRegisterGetClass(ops[0].reg.value) == ZYDIS_REGCLASS_SEGMENT))
			return complain(o, bytes, "not named", &in, &z);
		return;
	}
	if (!match)
		return complain(o, bytes, "wrong name", &in, &z);
	named++;
	if (in.op == INSN_XCHG && z.mnemonic == Z(NOP))
		return;
	what = check_operands(&in, &z, ops);
	if (what)
		return complain(o, bytes, what, &in, &z);
}

static const u8 prefixes[][4] = {
	{ 0 }, { 1, 0x66 }, { 1, 0x67 }, { 1, 0xf2 }, { 1, 0xf3 }, { 1, 0xf0 },
	{ 1, 0x2e }, { 1, 0x36 }, { 1, 0x64 }, { 1, 0x65 }, { 2, 0x66, 0x67 }, { 2, 0xf3, 0x66 },
	{ 1, 0x48 }, { 1, 0x41 }, { 1, 0x44 }, { 1, 0x42 }, { 1, 0x4f }, { 1, 0x40 },
	{ 2, 0x66, 0x48 }, { 2, 0x48, 0x66 }, { 2, 0x67, 0x4d }, { 2, 0xf3, 0x48 }, { 2, 0xf2, 0xf3 },
	{ 3, 0x65, 0x66, 0x47 }, { 2, 0xf0, 0x48 }, { 3, 0xf0, 0x66, 0x3e },
};

static const u8 maps[][3] = { { 0 }, { 1, 0x0f }, { 2, 0x0f, 0x38 }, { 2, 0x0f, 0x3a } };

static void test_exhaustive(void **state)
{
	unsigned int m, p, o, op, modrm, i, n;
	u8 bytes[INSN_MAX_LEN];

	(void)state;
	for (m = 0; m < ARRAY_SIZE(maps); m++) {
		for (p = 0; p < ARRAY_SIZE(prefixes); p++) {
			for (op = 0; op < 256; op++) {
				for (modrm = 0; modrm < 256; modrm++) {
					n = 0;
					for (i = 0; i < prefixes[p][0]; i++)
						bytes[n++] = prefixes[p][1 + i];
					for (i = 0; i < maps[m][0]; i++)
						bytes[n++] = maps[m][1 + i];
					bytes[n++] = op;
					bytes[n++] = modrm;
					while (n < INSN_MAX_LEN)
						bytes[n++] = rnd() >> 24;
					for (o = 0; o < 3; o++)
						compare(&oracles[o], bytes);
				}
			}
		}
	}
	assert_int_equal(failures, 0);
}

/* Every opcode of VEX maps 1 to 3 with every prefix, length, W and vvvv used or not. */
static void test_vex(void **state)
{
	unsigned int form, op, modrm, o, n;
	u8 bytes[INSN_MAX_LEN];

	(void)state;
	for (form = 0; form < 4 * 3 * 16; form++) {
		for (op = 0; op < 256; op++) {
			for (modrm = 0; modrm < 256; modrm += 1 + form % 3) {
				u8 last = form / 4 % 8 | (rnd() & 1 ? 0x78 : rnd() & 0x78);

				n = 0;
				if (form & 64)
					bytes[n++] = 0x65;
				if (form % 4 == 0) {
					bytes[n++] = 0xc5;
					bytes[n++] = last | (rnd() & 0x80);
				} else {
					bytes[n++] = 0xc4;
					bytes[n++] = form % 4 | (rnd() & 0xe0);
					bytes[n++] = last | (rnd() & 0x80);
				}
				bytes[n++] = op;
				bytes[n++] = modrm;
				while (n < INSN_MAX_LEN)
					bytes[n++] = rnd() >> 24;
				for (o = 0; o < 3; o++)
					compare(&oracles[o], bytes);
			}
		}
	}
	assert_int_equal(failures, 0);
}

static void test_random(void **state)
{
	u8 bytes[INSN_MAX_LEN];
	unsigned int i, o, n;

	(void)state;
	for (i = 0; i < 400000; i++) {
		for (n = 0; n < INSN_MAX_LEN; n++)
			bytes[n] = rnd() >> 24;
		for (o = 0; o < 3; o++)
			compare(&oracles[o], bytes);
	}
	assert_int_equal(failures, 0);
	printf("%lu encodings compared, %lu of them named\n", compared, named);
}

/* Every truncation and many corruptions: no read beyond what was given (sanitizers watch). */
static void test_truncated(void **state)
{
	unsigned int i, n, len;
	struct insn in;

	(void)state;
	for (i = 0; i < 200000; i++) {
		u8 *bytes;

		len = rnd() % (INSN_MAX_LEN + 1);
		bytes = malloc(len ? len : 1);
		for (n = 0; n < len; n++)
			bytes[n] = rnd() & 3 ? rnd() >> 24 : prefixes[rnd() % ARRAY_SIZE(prefixes)][1];
		if (insn_decode(&in, 16U << (rnd() % 3), bytes, len) == INSN_OK)
			assert_in_range(in.len, 1, len);
		free(bytes);
	}
}

static void test_too_long(void **state)
{
	u8 bytes[INSN_MAX_LEN + 1];
	struct insn in;

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	bytes[14] = 0x90;
	assert_int_equal(insn_decode(&in, 64, bytes, 15), INSN_OK);
	assert_int_equal(in.len, 15);
	bytes[14] = 0x66;
	assert_int_equal(insn_decode(&in, 64, bytes, 15), INSN_TOO_LONG);
	assert_int_equal(insn_decode(&in, 64, bytes, 14), INSN_SHORT);
	bytes[14] = 0x89;	/* the ModRM byte would be the 16th */
	assert_int_equal(insn_decode(&in, 64, bytes, 15), INSN_TOO_LONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exhaustive),
		cmocka_unit_test(test_vex),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_too_long),
	};

	init_oracles();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
