/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instruction decoder and emulator: for accesses to memory-mapped I/O, and for
 * the length and operands of intercepted instructions on processors without
 * NRIP save or decode assists.  Pure: registers through pointers, guest memory
 * through callbacks.  Encodings follow APM vol. 3, legacy behaviour vol. 1-2.
 *
 * An access to memory-mapped I/O is performed by somebody else (user space), so
 * an instruction is run until it needs one, and run again from its start when
 * the answer is there.  Nothing is written to registers before an instruction
 * (one iteration of a repeated one) is complete, and answers are remembered
 * until then, so running again is harmless.
 *
 *   emulate_begin(e, ...)
 *   while ((r = emulate_run(e)) == EMU_MMIO)
 *           perform e->io, emulate_io_done(e, data)
 */
#ifndef CVMM_EMULATE_H
#define CVMM_EMULATE_H

#include "pure.h"
#include "walk.h"

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
	INSN_PUSH, INSN_POP,
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
 * @map:	opcode map: 0 one byte, 1 0f, 2 0f38, 3 0f3a, 4 VEX/EVEX/XOP
 * @opcode:	opcode byte within @map
 * @osize:	operand size in bytes: 1, 2, 4 or 8
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
};

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

/**
 * struct emu_seg - a segment register, hidden part included
 * @attr:	as in the VMCB: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, DB 10,
 *		G 11; 0 for a null selector
 * @limit:	in bytes, granularity applied
 */
struct emu_seg {
	u64 base;
	u32 limit;
	u16 sel;
	u16 attr;
};

struct emu;

/* What callbacks return besides 0 and -errno; apart from EMU_*. */
#define EMU_OP_MMIO		0x101	/* no memory at that address */
#define EMU_OP_FAULT		0x102	/* emu->fault is filled in */
#define EMU_OP_DIFFERS		0x103	/* cmpxchg: another value was found */

/**
 * struct emu_ops - guest memory as the emulator reaches it
 * @translate:	linear to guest-physical for the page of @linear with WALK_*
 *		@access and the vCPU's privilege; sets accessed/dirty bits.
 *		@linear is canonical.  0, EMU_OP_FAULT (with emulate_fault()), or
 *		-errno.  See walk().
 * @read:	@len (1..16) bytes within one page.  0, EMU_OP_MMIO or -errno.
 *		A naturally aligned @len of 1, 2, 4 or 8 is one access.
 * @write:	likewise
 * @cmpxchg:	atomic, @len 1, 2, 4 or 8, within one page but perhaps
 *		misaligned.  0 exchanged, EMU_OP_DIFFERS with *@old updated,
 *		EMU_OP_MMIO, or -errno.
 *
 * All may sleep.  Linear addresses are what segmentation made.
 */
struct emu_ops {
	int (*translate)(struct emu *e, u64 linear, unsigned int access, u64 *gpa);
	int (*read)(struct emu *e, u64 gpa, void *buf, unsigned int len);
	int (*write)(struct emu *e, u64 gpa, const void *buf, unsigned int len);
	int (*cmpxchg)(struct emu *e, u64 gpa, unsigned int len, u64 *old, u64 new);
};

/* What an instruction read, and did with devices, so far: two operands of 8 bytes in any pieces. */
#define EMU_LOG_MAX		8

struct emu_io {
	u64 addr;		/* guest-physical address, or port */
	u8 len;			/* 1..8 (ports: 1, 2, 4) */
	bool write;
	bool port;
	u8 data[8];
};

/**
 * struct emu - an emulation, one per vCPU, owned by the vCPU's thread
 *
 * Filled in by the caller before each emulate_begin(), emulate_run() or
 * emulate_decode():
 * @ops, @arg:	callbacks; @arg is the caller's
 * @regs:	16 general registers in order of enum emu_reg, updated
 * @rip, @rflags: updated
 * @seg:	by enum emu_segno
 * @cr0, @cr4, @efer, @cpl: as the guest has them
 *
 * Results:
 * @insn:	the decoded instruction
 * @io:		EMU_MMIO, EMU_PIO: the access to perform
 * @fault:	EMU_FAULT: the exception to inject (RIP still at the instruction)
 * @trap:	EMU_DONE: RFLAGS.TF was set; a #DB with DR6.BS is due
 */
struct emu {
	const struct emu_ops *ops;
	void *arg;
	u64 *regs;
	u64 *rip;
	u64 *rflags;
	struct emu_seg seg[6];
	u64 cr0, cr4, efer;
	u8 cpl;

	struct insn insn;
	struct emu_io io;
	struct {
		u8 vector;
		bool has_error;
		u32 error;
		u64 cr2;	/* for vector 14 */
	} fault;
	bool trap;

	/* private */
	bool decoded;
	bool effects;		/* the instruction has changed memory or reached a device */
	u64 start_rip;
	u32 budget;		/* iterations of a repeated instruction left */
	u8 nr_log, pos;
	struct emu_io log[EMU_LOG_MAX];
	struct {
		u64 regs[16];
		u64 rip, rflags;
	} next;
};

/* What emulate_run() and emulate_decode() return, or -errno of a callback. */
#define EMU_DONE		0	/* registers, RIP and flags are updated */
#define EMU_MMIO		1	/* perform e->io, emulate_io_done(), run again */
#define EMU_PIO			2	/* likewise, e->io.addr is a port (INS, OUTS) */
#define EMU_FAULT		3	/* inject e->fault */
#define EMU_UNHANDLED		4	/* not a form that is emulated; e->insn tells which */

/**
 * emulate_begin() - forget any earlier instruction
 * @e:	callbacks and register pointers filled in
 */
void emulate_begin(struct emu *e);

/**
 * emulate_run() - emulate the instruction at RIP
 *
 * EMU_DONE may leave RIP at a repeated string instruction with the count
 * reduced (bounded work per call): entering the guest continues it.  The caller
 * ends the interrupt shadow and, with e->trap, delivers #DB.  After -errno
 * (-EINTR: a signal while waiting for a page) call again, or if
 * !emulate_in_progress() enter the guest instead.
 * May sleep when the callbacks do.
 */
int emulate_run(struct emu *e);

/* The access in e->io was performed; @data holds io.len bytes that were read, or NULL for a write. */
void emulate_io_done(struct emu *e, const void *data);

/*
 * Has the current instruction had effects that must not be repeated?  Then
 * emulate_run() must be called before the guest is entered.
 */
static inline bool emulate_in_progress(const struct emu *e)
{
	return e->effects;
}

/**
 * emulate_decode() - fetch and decode the instruction at RIP into e->insn
 *
 * For an intercepted instruction: the caller checks that e->insn.op is what it
 * expects (another CPU may have changed the code since; then enter the guest
 * again) and moves RIP by e->insn.len.  EMU_DONE, EMU_FAULT, or -errno.
 */
int emulate_decode(struct emu *e);

/**
 * emulate_linear() - linear address of the memory operand of e->insn
 *
 * For INVLPG and the like: after emulate_decode().  No limit or canonical check.
 */
u64 emulate_linear(const struct emu *e);

/* For ops->translate: fill in a page fault; returns EMU_OP_FAULT. */
static inline int emulate_fault(struct emu *e, u32 error, u64 cr2)
{
	e->fault.vector = 14;
	e->fault.has_error = true;
	e->fault.error = error;
	e->fault.cr2 = cr2;
	return EMU_OP_FAULT;
}

#endif /* CVMM_EMULATE_H */
