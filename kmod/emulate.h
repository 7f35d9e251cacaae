/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instruction emulator: for accesses to memory-mapped I/O, and for the length
 * and operands (insn.h) of intercepted instructions on processors without NRIP
 * save or decode assists.  Pure: registers through pointers, guest memory and
 * vector registers through callbacks.  Behaviour follows APM vol. 1-4.
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

#include "insn.h"
#include "pure.h"
#include "walk.h"

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
 * @read:	@len (1..32) bytes within one page.  0, EMU_OP_MMIO or -errno.
 *		A naturally aligned @len of 1, 2, 4 or 8 is one access.
 * @write:	likewise
 * @cmpxchg:	atomic, @len 1, 2, 4, 8 or 16 bytes, within one page but
 *		perhaps misaligned.  0 exchanged, EMU_OP_DIFFERS with *@old
 *		updated, EMU_OP_MMIO, or -errno; -EAGAIN leaves it to the guest.
 * @get_vec:	the low 32 bytes of vector register @reg (upper 16 are 0 or
 *		anything where the guest has no AVX)
 * @set_vec:	@wide false: its low 16 bytes, the rest stays; true: 32 bytes,
 *		and the rest becomes 0.  Neither is called with @wide or for VEX
 *		encodings unless @xcr0 has AVX.
 *
 * All may sleep.  Linear addresses are what segmentation made.
 */
struct emu_ops {
	int (*translate)(struct emu *e, u64 linear, unsigned int access, u64 *gpa);
	int (*read)(struct emu *e, u64 gpa, void *buf, unsigned int len);
	int (*write)(struct emu *e, u64 gpa, const void *buf, unsigned int len);
	int (*cmpxchg)(struct emu *e, u64 gpa, unsigned int len, void *old, const void *new);
	void (*get_vec)(struct emu *e, unsigned int reg, u8 *val);
	void (*set_vec)(struct emu *e, unsigned int reg, const u8 *val, bool wide);
};

/*
 * What an instruction read, and did with devices, so far, in pieces of at most 8
 * bytes: two operands of 8 bytes that cross pages make 8, one of 32 makes 7.
 */
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
 * @cr0, @cr4, @efer, @xcr0, @cpl: as the guest has them
 *
 * Results:
 * @insn:	the decoded instruction
 * @bytes, @nr_bytes: what was fetched: the instruction and what follows it
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
	u64 cr0, cr4, efer, xcr0;
	u8 cpl;

	struct insn insn;
	u8 bytes[INSN_MAX_LEN], nr_bytes;
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
		u8 vec[32], vec_reg;
		bool vec_set, vec_wide;
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
