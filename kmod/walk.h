/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Software walk of a guest's own page tables: guest-linear to guest-physical,
 * with the faults, access rights and accessed/dirty updates of the processor
 * (APM vol. 2 chapter 5).  Pure: guest memory is reached through callbacks.
 */
#ifndef CVMM_WALK_H
#define CVMM_WALK_H

#include "pure.h"

/* Page-table entry bits, all paging modes. */
#define PTE_P			BIT_ULL(0)
#define PTE_W			BIT_ULL(1)
#define PTE_U			BIT_ULL(2)
#define PTE_A			BIT_ULL(5)
#define PTE_D			BIT_ULL(6)
#define PTE_PS			BIT_ULL(7)
#define PTE_G			BIT_ULL(8)
#define PTE_NX			BIT_ULL(63)
#define PTE_PKEY_SHIFT		59
#define PTE_ADDR_MASK		GENMASK_ULL(51, 12)

/* Error code of a page fault, APM vol. 2 section 8.4.2. */
#define PFEC_P			(1U << 0)	/* the translation is there, the right is not */
#define PFEC_W			(1U << 1)
#define PFEC_U			(1U << 2)
#define PFEC_RSVD			(1U << 3)
#define PFEC_I			(1U << 4)
#define PFEC_PK			(1U << 5)

/* How memory is accessed: the walker's and the emulator's access argument. */
#define WALK_READ		0U
#define WALK_WRITE		(1U << 0)
#define WALK_FETCH		(1U << 1)
#define WALK_IMPLICIT		(1U << 2)	/* supervisor whatever the CPL: descriptor tables, TSS */
#define WALK_NO_AD		(1U << 3)	/* look only: set no accessed/dirty bits */

#define WALK_MAX_LEVELS		5

/**
 * struct walk_cpu - the state of a vCPU that takes part in translation
 * @cr0, @cr3, @cr4, @efer, @rflags: architectural registers of the guest
 *		(@efer with LMA; @rflags for AC under SMAP)
 * @pkru:	the guest's PKRU, read only when @cr4 has PKE
 * @cpl:	0..3
 * @maxphyaddr:	the guest's physical-address width, 32..52: address bits from
 *		there up to bit 51 are reserved in entries
 * @gbpages:	1 GiB pages exist (CPUID 8000_0001 EDX bit 26); else PS in a
 *		PDPE is reserved
 */
struct walk_cpu {
	u64 cr0, cr3, cr4, efer, rflags;
	u32 pkru;
	u8 cpl;
	u8 maxphyaddr;
	bool gbpages;
};

/**
 * struct walk_ops - guest-physical memory as the walker reaches it
 * @read:	read @size (4 or 8) bytes at the naturally aligned @gpa as one
 *		access into *@val.  May sleep.  0 or -errno; -ENOENT when there
 *		is no memory: the entry then reads as all ones, as on a bus.
 * @cmpxchg:	atomically replace *@old by @new.  May sleep.  0 exchanged; 1
 *		it differed and *@old is what was found; -errno.
 */
struct walk_ops {
	int (*read)(void *arg, u64 gpa, unsigned int size, u64 *val);
	int (*cmpxchg)(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new);
};

/**
 * struct walk_result - where a linear address leads
 * @gpa:	guest-physical address of the byte
 * @shift:	log2 of the page size: 12, 21, 22 or 30; 12 without paging
 * @levels:	levels of the paging mode: 0 (no paging), 2, 3, 4 or 5
 * @leaf:	level of the leaf entry, 1 = page table; on a fault the level
 *		whose entry decided it
 * @writable, @user, @exec: combined rights along the walk as the entries say
 *		(not reduced by CR0.WP, SMEP, SMAP or keys)
 * @pkey:	protection key of the leaf (long mode)
 * @error:	PFEC_* when the walk faulted
 * @entry:	entry[n - 1] is the entry met at level n, valid from @levels
 *		down to @leaf: its guest-physical address and its value after
 *		any accessed/dirty update
 */
struct walk_result {
	u64 gpa;
	u8 shift, levels, leaf;
	bool writable, user, exec;
	u8 pkey;
	u32 error;
	struct {
		u64 gpa, val;
	} entry[WALK_MAX_LEVELS];
};

#define WALK_OK			0
#define WALK_FAULT		1

/**
 * walk() - translate a guest-linear address
 * @cpu:	translation state
 * @ops:	guest memory; sleeps when these do
 * @arg:	for @ops
 * @linear:	the address; bits 63:32 are ignored outside long mode.  Canonical
 *		form is the caller's check (it is #GP or #SS, not #PF).
 * @access:	WALK_* flags
 * @res:	out
 *
 * Accessed bits (and for a write the leaf's dirty bit) are set atomically
 * unless WALK_NO_AD, and only when the access is allowed, upper levels first.
 * An entry that changes under the walk restarts it (a bounded number of times,
 * then -EAGAIN: the caller lets the guest try again).
 *
 * Returns WALK_OK, WALK_FAULT with res->error, or -errno of a callback.
 */
int walk(const struct walk_cpu *cpu, const struct walk_ops *ops, void *arg,
	 u64 linear, unsigned int access, struct walk_result *res);

/**
 * walk_reserved() - reserved bits of an entry in 4- or 5-level paging
 * @cpu:	translation state (EFER.NXE, maxphyaddr, gbpages)
 * @level:	1..5
 * @val:	the entry, with P set
 *
 * Returns the reserved bits that are set in @val: 0 when it is well formed.
 */
u64 walk_reserved(const struct walk_cpu *cpu, unsigned int level, u64 val);

/**
 * walk_permitted() - the rights check of a walk that found a translation
 * @cpu:	translation state
 * @res:	the combined rights and key (writable, user, exec, pkey)
 * @access:	WALK_* flags
 *
 * Returns 0 or the error code of the fault, with PFEC_P.
 */
u32 walk_permitted(const struct walk_cpu *cpu, const struct walk_result *res,
		   unsigned int access);

/* Is @linear canonical for this paging mode (48 bits, 57 with CR4.LA57)? */
static inline bool walk_canonical(const struct walk_cpu *cpu, u64 linear)
{
	unsigned int spare = cpu->cr4 & BIT_ULL(12) ? 7 : 16;

	return (u64)((s64)(linear << spare) >> spare) == linear;
}

#endif /* CVMM_WALK_H */
