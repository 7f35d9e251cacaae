/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hardware task switches (APM vol. 2, chapter 12), which SVM has software do: a
 * pure function over a processor's registers and its memory.
 */
#ifndef CVMM_TASK_SWITCH_H
#define CVMM_TASK_SWITCH_H

#include "pure.h"

/* Order of enum cvmm_seg. */
enum {
	TASK_ES, TASK_CS, TASK_SS, TASK_DS, TASK_FS, TASK_GS, TASK_TR, TASK_LDTR, TASK_NR_SEGS
};

/*
 * A segment register.  attr as in the VMCB: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9,
 * DB 10, G 11; without P it is unusable.  The limit is in bytes.
 */
struct task_seg {
	u32 base, limit;
	u16 sel, attr;
};

enum task_reason {
	TASK_JMP,	/* far JMP to a TSS or through a task gate */
	TASK_CALL,	/* far CALL */
	TASK_IRET,	/* IRET with EFLAGS.NT */
	TASK_EVENT,	/* interrupt or exception through a task gate */
};

/**
 * struct task_switch - a processor before and after a task switch
 *
 * In and out, the state of the task; in out only when task_switch() returns 0:
 * @regs:	general registers in the order of instruction encoding
 * @eip:	what the outgoing task goes on at: for JMP, CALL, IRET, INT n, INT3 and
 *		INTO behind the instruction
 * @eflags, @cr0, @cr3, @dr6, @dr7:
 * @seg:	by TASK_*
 *
 * In:
 * @gdt_base, @gdt_limit:
 * @reason:
 * @sel:	selector of the incoming TSS
 * @rf:		EFLAGS.RF as the outgoing task's TSS is to have it
 * @external:	the event is not the program's own: EXT in error codes
 * @has_error, @error: pushed on the incoming task's stack
 *
 * Out:
 * @switched:	to the incoming task; else a fault is due in the outgoing one
 * @fault:	an exception is due, in the state that is now there: the outgoing
 *		task's, or the incoming one's with part of its segments unusable
 */
struct task_switch {
	u32 regs[8];
	u32 eip, eflags;
	u64 cr0, cr3, dr6, dr7;
	struct task_seg seg[TASK_NR_SEGS];

	u32 gdt_base;
	u16 gdt_limit;
	enum task_reason reason;
	u16 sel;
	bool rf, external, has_error;
	u32 error;

	bool switched;
	struct {
		bool pending, has_error;
		u8 vector;
		u32 error;
	} fault;
};

/* How ops->access() accesses. */
#define TASK_READ	0U
#define TASK_WRITE	1U
#define TASK_PROBE	2U	/* with TASK_WRITE: only whether it would do */
#define TASK_USER	4U	/* with the rights of CPL 3, else of the supervisor */

/**
 * struct task_ops - the memory of the processor
 * @access:	@len bytes (at most 104) at the linear address @linear, by the tables
 *		that @cr3 names.  0; 1 when that is a page fault, with t->fault
 *		filled in (the caller keeps its CR2); -errno.
 *
 * May sleep.
 */
struct task_ops {
	int (*access)(void *arg, struct task_switch *t, u64 cr3, u32 linear, void *buf,
		      unsigned int len, unsigned int how);
};

/**
 * task_switch() - switch to another task
 * @t:		see there
 * @ops, @arg:	memory
 *
 * 0: @t is the state to go on in, perhaps with a fault to deliver.  -errno from
 * @ops: nothing has changed but memory, and that only so that the same may be tried
 * again.  A debug trap (TSS.T) is a fault with vector 1 and DR6.BT.
 */
int task_switch(struct task_switch *t, const struct task_ops *ops, void *arg);

#endif /* CVMM_TASK_SWITCH_H */
