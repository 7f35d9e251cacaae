/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * x86 instruction decoder: lengths of all encodings; class and operands of those
 * that the emulator executes or the processor intercepts.  A pure function over
 * bytes.  Encodings follow APM vol. 3, VEX vol. 4.
 */
#ifndef CVMM_INSN_H
#define CVMM_INSN_H

#include "pure.h"

#define INSN_MAX_LEN		15

/* Order of the instruction encoding; also the index into emu->regs. */
enum emu_reg {
	EMU_RAX, EMU_RCX, EMU_RDX, EMU_RBX, EMU_RSP, EMU_RBP, EMU_RSI, EMU_RDI,
	EMU_R8, EMU_R9, EMU_R10, EMU_R11, EMU_R12, EMU_R13, EMU_R14, EMU_R15,
	EMU_RIP,	/* only as the base of a memory operand */
	EMU_NO_REG,
};

enum emu_segno { EMU_ES, EMU_CS, EMU_SS, EMU_DS, EMU_FS, EMU_GS };

enum insn_op {
	INSN_OTHER,		/* well-formed length, not a form that is emulated */

	/* Emulated. */
	INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB, INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP,
	INSN_TEST, INSN_NOT, INSN_NEG, INSN_INC, INSN_DEC,
	INSN_MOV, INSN_MOVZX, INSN_MOVSX, INSN_MOVBE, INSN_MOVNTI,
	INSN_XCHG, INSN_XADD, INSN_CMPXCHG, INSN_CMPXCHG8B,
	INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC,
	INSN_ROL, INSN_ROR, INSN_RCL, INSN_RCR, INSN_SHL, INSN_SHR, INSN_SAR, INSN_SHLD, INSN_SHRD,
	INSN_IMUL,		/* two or three operands */
	INSN_MUL_WIDE, INSN_IMUL_WIDE, INSN_DIV, INSN_IDIV,	/* of rDX:rAX, or of AX */
	INSN_CMOV, INSN_SETCC, INSN_BSF, INSN_BSR, INSN_POPCNT,
	INSN_PUSH, INSN_POP,
	INSN_VMOV,		/* SSE or AVX move between a register and memory: vflags */
	INSN_MOVS, INSN_CMPS, INSN_STOS, INSN_LODS, INSN_SCAS,
	INSN_INS, INSN_OUTS,	/* one iteration per IN/OUT the caller performs: EMU_PIO */

	/* Decoded only: what an intercept reports. */
	INSN_CPUID, INSN_RDMSR, INSN_WRMSR, INSN_HLT, INSN_IN, INSN_OUT,
	INSN_INVLPG, INSN_INVLPGA, INSN_INVD, INSN_WBINVD, INSN_CLTS,
	INSN_MOV_FROM_CR, INSN_MOV_TO_CR, INSN_MOV_FROM_DR, INSN_MOV_TO_DR,
	INSN_LMSW, INSN_SMSW, INSN_XSETBV, INSN_XGETBV,
	INSN_RDTSC, INSN_RDTSCP, INSN_RDPMC, INSN_PAUSE, INSN_MONITOR, INSN_MWAIT,
	INSN_VMMCALL, INSN_VMCALL, INSN_VMRUN, INSN_VMLOAD, INSN_VMSAVE, INSN_STGI, INSN_CLGI,
	INSN_SKINIT, INSN_RDPRU, INSN_INVPCID, INSN_INT3, INSN_INT, INSN_ICEBP, INSN_IRET,
	INSN_RSM,
	INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR, INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT,
	INSN_PUSHF, INSN_POPF,
};

/**
 * struct insn - one decoded instruction
 * @op:		what it does
 * @len:	bytes, 1..15
 * @mode:	bits of the code segment it was decoded for: 16, 32, 64
 * @map:	opcode map: 0 one byte, 1 0f, 2 0f38, 3 0f3a (VEX: of the same
 *		opcodes), 4 EVEX, XOP and other maps of VEX
 * @opcode:	opcode byte within @map
 * @osize:	operand size in bytes: 1, 2, 4 or 8; CMPXCHG16B 16; INSN_VMOV
 *		the bytes in memory, 4 to 32
 * @asize:	address size in bytes: 2, 4 or 8
 * @rep, @repne, @lock, @opsize66: prefixes F3, F2, F0, 66 present
 * @rex:	REX prefix, 0 for none
 * @has_modrm, @modrm: ModRM byte
 * @is_mem:	ModRM (or the string/moffs form) names memory
 * @reg:	register number of ModRM.reg with REX.R, 0..15 (also: the
 *		register of the +r forms; CRn/DRn number)
 * @rm:		register number of ModRM.rm with REX.B when not memory
 * @seg:	segment of the memory operand, overrides applied
 * @base, @index: enum emu_reg, EMU_NO_REG for none
 * @scale:	0..3
 * @disp:	displacement, sign-extended
 * @imm:	immediate, sign-extended to 64 bits where the instruction does so
 * @imm_len:	bytes of immediate in the encoding
 * @src_size:	MOVZX/MOVSX: size of the source in bytes
 * @vex, @vvvv:	VEX-encoded, and its register operand that ModRM does not name
 * @vflags:	INSN_VMOV: VMOV_*
 */
struct insn {
	u16 op;
	u8 len, mode, map, opcode, osize, asize;
	bool rep, repne, lock, opsize66;
	u8 rex;
	bool has_modrm;
	u8 modrm;
	bool is_mem;
	u8 reg, rm, seg, base, index, scale;
	s64 disp, imm;
	u8 imm_len, src_size;
	bool vex;
	u8 vvvv, vflags;
};

#define VMOV_LOAD	0x01	/* memory to register, else register to memory */
#define VMOV_ALIGNED	0x02	/* #GP unless memory is aligned to its size */
#define VMOV_GPR	0x04	/* MOVD, MOVQ: 4 or 8 bytes by REX.W */
#define VMOV_HIGH	0x08	/* bits 127:64 of the register */
#define VMOV_MERGE	0x10	/* a load keeps the other half (VEX: takes it from vvvv) */

#define INSN_OK			0
#define INSN_SHORT		1	/* more bytes are needed */
#define INSN_INVALID		2	/* #UD */
#define INSN_TOO_LONG		3	/* over 15 bytes: #GP(0) */

/**
 * insn_decode() - decode one instruction
 * @insn:	out; whole only when INSN_OK
 * @mode:	16, 32 or 64
 * @bytes:	instruction bytes
 * @len:	how many there are, 0..15
 *
 * Returns INSN_*.  Encodings beyond what is emulated or intercepted decode as
 * INSN_OTHER with the right length for all legacy maps; VEX, EVEX and XOP
 * likewise.  Whether a privileged or mode-dependent instruction would fault
 * when executed is not checked, except for encodings that do not exist in
 * @mode and for LOCK on an instruction that forbids it.
 */
int insn_decode(struct insn *insn, unsigned int mode, const u8 *bytes, unsigned int len);

#endif /* CVMM_INSN_H */
