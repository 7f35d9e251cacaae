/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested page tables of one VM: guest-physical to host-physical.
 *
 * Tables have the host's own format (AMD nested paging).  A leaf maps 4 KiB, or in
 * a slot on user memory 2 MiB or 1 GiB.  Level 1 is that of the 4 KiB leaves.
 *
 * Who may write: in a space's slots, a leaf entry only under the page lock of its
 * gfn (space.h), so at most one writer at a time; in slots on user memory see
 * user_mem.c; a link to a lower table, or what has one's place, by compare-and-
 * exchange, by anybody.
 *
 * Tables of level 2 and above are freed with the VM.  One of level 1 may give way
 * to a large leaf (cvmm_mmu_unlink_table()): whoever follows a link to one is
 * within an RCU read section, and what is written to one that has just been taken
 * out is lost.  For an installer that is a fault more; one that takes rights away
 * must know that no large leaf can take the table's place meanwhile.  The size of
 * all tables is bounded by the guest-physical range that the memory slots cover:
 * 1/512 of it and a few pages.
 */
#ifndef CVMM_MMU_H
#define CVMM_MMU_H

#include <linux/atomic.h>
#include <linux/types.h>

#include "space.h"

struct list_head;
struct page;
struct cvmm_vm;

/* Levels that can have leaves: 4 KiB, 2 MiB, 1 GiB; and the frames of an entry. */
#define CVMM_LEVEL_4K		1
#define CVMM_LEVEL_2M		2
#define CVMM_LEVEL_1G		3
#define CVMM_LEVEL_FRAMES(level)	(1ULL << (9 * ((level) - 1)))

struct cvmm_mmu {
	u64 *root;
	u64 root_pa;
	unsigned int levels;	/* 4, or 5 when the host itself runs with five */
	atomic_long_t tables;	/* pages in use, the root included */
	atomic_t zaps;		/* ranges being zapped whose flush is not complete */
};

int cvmm_mmu_init(struct cvmm_mmu *mmu);
void cvmm_mmu_destroy(struct cvmm_mmu *mmu);

/**
 * cvmm_mmu_map() - install a 4 KiB mapping
 *
 * Under the page lock of @gfn.  Replaces what was there; a removed right still
 * needs cvmm_vm_kick_and_flush() by the caller.  Sleeps for memory only.
 * 0 or -ENOMEM, -ERANGE when @gfn is beyond what the tables can say.
 */
int cvmm_mmu_map(struct cvmm_mmu *mmu, u64 gfn, struct page *page, bool writable);

/**
 * cvmm_mmu_protect() - reduce the mapping of @gfn
 *
 * Under the page lock of @gfn.  Returns whether a CPU may still hold a
 * translation with more rights, that is whether a kick and flush is needed.
 */
bool cvmm_mmu_protect(struct cvmm_mmu *mmu, u64 gfn, enum cvmm_prot prot);

/**
 * cvmm_mmu_try_map() - install a mapping where there is a table for it
 * @page:	the page of @gfn, within the aligned block of @level
 * @level:	CVMM_LEVEL_*: map the whole block, which is as contiguous and as
 *		aligned in host memory
 *
 * As cvmm_mmu_map(), but does not sleep.  -EAGAIN when cvmm_mmu_grow() has to be
 * called first (or somebody was faster), -EEXIST when there is a lower table in
 * place of a large leaf.
 */
int cvmm_mmu_try_map(struct cvmm_mmu *mmu, u64 gfn, struct page *page, unsigned int level,
		     bool writable);

/**
 * cvmm_mmu_grow() - have the tables down to @level for @gfn
 *
 * Splits a larger leaf there into leaves with the same rights.  Sleeps for memory.
 * 0, 1 when there was such a leaf, -ENOMEM, -ERANGE.
 */
int cvmm_mmu_grow(struct cvmm_mmu *mmu, u64 gfn, unsigned int level);

/**
 * cvmm_mmu_unlink_table() - take out the level-1 table that holds @gfn's entry
 *
 * Adds it to @list.  CPUs may walk it until the caller has flushed their
 * translations, mmu->zaps raised meanwhile; then cvmm_mmu_free_tables() frees what
 * is on the list.  Returns whether there was one.
 */
bool cvmm_mmu_unlink_table(struct cvmm_mmu *mmu, u64 gfn, struct list_head *list);
void cvmm_mmu_free_tables(struct cvmm_mmu *mmu, struct list_head *list);

/* Do the leaves in @gfn's level-1 table look like parts of one large page?  A guess. */
bool cvmm_mmu_mergeable(struct cvmm_mmu *mmu, u64 gfn);

/* Number of leaves by level, nr[0] for level 1 to nr[2]; as of some moment each.  Sleeps. */
void cvmm_mmu_count(struct cvmm_mmu *mmu, u64 nr[3]);

/*
 * Remove all mappings of a range, large ones also when they lie in it only in part;
 * no page locks: the slots' SRCU, or the user memory's sequence count, keeps
 * installers out.  Where others may remove or
 * reduce mappings meanwhile, the caller holds mmu->zaps raised until its flush is
 * complete: cvmm_mmu_protect() then asks for one of its own.  Returns whether there
 * was any mapping.  @may_sleep: reschedule in long ranges.
 */
bool cvmm_mmu_zap_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr, bool may_sleep);

/* Make the mappings of a range read-only, likewise; for user memory only. */
bool cvmm_mmu_write_protect_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr);

/**
 * cvmm_mmu_hidden_base() - first guest-physical address beyond the guest's reach
 *
 * Slots end below it: it is half of what the host can address.  From here on, the
 * host-local pages of the guest page-table cache may be mapped with cvmm_mmu_map();
 * the caller serialises its own gfns there in place of the page lock.  A guest whose
 * tables are cached has one physical-address bit less than the host; where its tables
 * are in place, its kernel can reach its copies here all the same, which hold nothing
 * but its own guest-physical addresses.  Everything else here is MMIO.
 */
u64 cvmm_mmu_hidden_base(void);

#endif /* CVMM_MMU_H */
