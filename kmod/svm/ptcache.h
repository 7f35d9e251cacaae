/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest page-table cache: host-local copies of a guest's page tables, one
 * set per vCPU, that the processor walks in place of the guest's own.
 *
 * Under nested paging AMD processors make walks of guest tables as writes (APM
 * vol. 2, 15.25.5).  Tables that several hosts use would travel between them at
 * each TLB miss.  So the VMCB's CR3 leads to copies in guest-physical memory
 * that the guest cannot name; originals are only read, and stay Shared.
 *
 * The copies are a large software TLB.  What x86 allows a TLB it allows them:
 * to hold any translation whose entries have their accessed bits set, until the
 * guest flushes it, and to forget any at any time.  Rules that keep this true:
 *
 * - A leaf is copied only with A set; one with D clear is copied read-only, so
 *   that the first write comes here and sets D.  With CR0.WP clear a supervisor
 *   write would pass, so D is then set at once: the one deviation from hardware.
 * - An upper entry is copied with its own rights.  When the guest's differs from
 *   what was copied, everything below is forgotten first: each leaf is always
 *   under the upper entries it was read with.
 * - INVLPG forgets one address, a CR3 load all leaves that are not global,
 *   changes of paging modes everything; each also flushes the hardware's TLB.
 *
 * Filling copies a whole table at once: one exit for up to 512 translations.
 * Forgetting at a CR3 load visits only tables filled since the one before.
 *
 * Only what is shared need be copied.  In the lower half of addresses, where
 * operating systems have their processes, entries of the root's copy may lead to
 * the guest's own tables ("in place"): the processor walks these as in any other
 * guest, the nested tables let it only while this host has them for itself, and
 * what it caches of them is the guest's to flush.  The root's entries are a copy
 * still: all are read anew at a CR3 load, that of one address by INVLPG.  The
 * caller says when, see ptcache_cr3(); it learns of tables that others use, too,
 * from nested faults on walks.
 *
 * Pure: memory and hardware through callbacks.  One vCPU's thread owns a cache;
 * no locks.  4-level paging only.
 */
#ifndef CVMM_PTCACHE_H
#define CVMM_PTCACHE_H

#include "../pure.h"
#include "../walk.h"

/* Tables per vCPU, at most; beyond that all is forgotten. */
#define PTCACHE_PAGES	512
#define PTCACHE_ENTRIES	512

/**
 * struct ptcache_ops - surroundings
 * @guest:	guest memory, for walks; may sleep
 * @read_table:	the 512 entries of the guest's table at @gpa (page aligned),
 *		each read in one access.  May sleep.  0, -ENOENT when there is
 *		no memory, -errno.
 * @alloc:	the host page behind copy number @index (< PTCACHE_PAGES),
 *		called once for each; stays until the owner of the cache frees
 *		it.  The processor reaches it at base + @index * 4096, writable.
 *		NULL when out of memory.
 * @flush:	flush the hardware's translations of this vCPU before it enters
 *		the guest again
 * @flush_page:	the one of @linear alone; what is cached of upper levels may stay
 */
struct ptcache_ops {
	struct walk_ops guest;
	int (*read_table)(void *arg, u64 gpa, u64 *entries);
	u64 *(*alloc)(void *arg, unsigned int index);
	void (*flush)(void *arg);
	void (*flush_page)(void *arg, u64 linear);
};

/* Monotonic counters. */
struct ptcache_counters {
	u64 fills;		/* faults answered by copying a table */
	u64 installed;		/* leaf entries copied by them */
	u64 injected;		/* faults that are the guest's own */
	u64 ad_updates;		/* accessed/dirty bits set in the guest's tables */
	u64 spurious;		/* faults on a translation that was there */
	u64 cr3_loads;		/* non-global leaves forgotten */
	u64 invlpgs;		/* one address forgotten */
	u64 flushes;		/* everything forgotten */
	u64 exhausted;		/* of these, because the pool was empty */
	u64 dropped;		/* tables given back to the pool */
	u64 in_place;		/* entries of the root that led to the guest's own tables */
	u64 invlpgs_in_place;	/* of invlpgs, those of an address in place */
	u64 copied;		/* address spaces that were in place and are copied now */
};

/* Private: one table of copies. */
struct ptcache_page {
	u64 *table;		/* NULL until it was needed once */
	u64 source;		/* guest-physical address of the original */
	u64 link;		/* the guest's entry that led there, without A and D */
	u16 parent, index;	/* where it is linked: table, entry */
	u16 used;		/* entries in use */
	u16 next;		/* free list, or list of tables with non-global leaves */
	u8 level;		/* 0: free */
	bool global;		/* has global leaves */
	bool listed;		/* is on the list of tables with non-global leaves */
};

struct ptcache {
	const struct ptcache_ops *ops;
	void *arg;
	u64 base;
	struct ptcache_counters count;

	/* private */
	u64 last_linear;	/* the last spurious fault */
	u32 last_error;
	bool pge;		/* CR4.PGE when leaves were copied */
	bool in_place;		/* the lower half's tables need no copies */
	u16 nr_pages;		/* allocated so far */
	u16 free, nonglobal;	/* list heads */
	struct ptcache_page pages[PTCACHE_PAGES];
	u64 buf[PTCACHE_ENTRIES];
};

#define PTCACHE_RESUME	0	/* enter the guest again */
#define PTCACHE_INJECT	1	/* the fault is the guest's */

/**
 * ptcache_init() - an empty cache
 * @pc:		zeroed memory, the caller's
 * @base:	guest-physical address of copy 0, page aligned
 * @in_place:	as for ptcache_cr3(), for the CR3 that is loaded now
 *
 * Allocates the root.  0 or -ENOMEM.
 */
int ptcache_init(struct ptcache *pc, const struct ptcache_ops *ops, void *arg, u64 base,
		 bool in_place);

/* What the VMCB's CR3 must hold: constant for the life of the cache. */
static inline u64 ptcache_root(const struct ptcache *pc)
{
	return pc->base;
}

/**
 * ptcache_fault() - an intercepted page fault
 * @cpu:	the guest's own translation state; @cpu->cr3 is the guest's CR3
 * @linear:	faulting address
 * @error:	the hardware's error code
 * @inject:	out: error code for PTCACHE_INJECT
 *
 * May sleep.  PTCACHE_*, or -errno of a callback: enter the guest again later,
 * it will fault again.
 */
int ptcache_fault(struct ptcache *pc, const struct walk_cpu *cpu, u64 linear, u32 error,
		  u32 *inject);

/**
 * ptcache_cr3() - the guest loads CR3, any value: forget what is not global
 * @cpu:	its translation state; @cpu->cr3 is the new value
 * @in_place:	let the processor walk the guest's own tables in the lower half,
 *		until the next call
 *
 * May sleep.  What cannot be read comes by a fault.
 */
void ptcache_cr3(struct ptcache *pc, const struct walk_cpu *cpu, bool in_place);

/* Copy what has been in place so far, until the next CR3 load. */
void ptcache_copy(struct ptcache *pc);

/* INVLPG of @linear: forget its translation, global or not.  May sleep. */
void ptcache_invlpg(struct ptcache *pc, u64 linear);

/* A paging mode or an attribute of all translations changed: forget everything. */
void ptcache_flush(struct ptcache *pc);

/**
 * ptcache_lookup() - what the copies say of @linear
 * @gpa:	out: guest-physical address of the byte
 *
 * For code that the processor has just fetched: the translation it used, much
 * cheaper than a walk.  No rights are checked.  False when there is none.
 */
bool ptcache_lookup(const struct ptcache *pc, u64 linear, u64 *gpa);

#endif /* CVMM_PTCACHE_H */
