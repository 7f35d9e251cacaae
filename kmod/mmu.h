/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested page tables of one VM: guest-physical to host-physical.
 *
 * Tables have the host's own format (AMD nested paging) and only grow; they are
 * freed with the VM.  Their size is bounded by the guest-physical range that
 * the memory slots cover: 1/512 of it and a few pages.
 *
 * Who may write: in a space's slots, a leaf entry only under the page lock of its
 * gfn (space.h), so at most one writer at a time; in slots on user memory see
 * user_mem.c; a link to a lower table by compare-and-exchange, by anybody.
 * Readers need no lock, since tables never go away under them.
 */
#ifndef CVMM_MMU_H
#define CVMM_MMU_H

#include <linux/atomic.h>
#include <linux/types.h>

#include "space.h"

struct page;
struct cvmm_vm;

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
 * cvmm_mmu_grow() - have all tables for @gfn's entry
 *
 * cvmm_mmu_map() does not sleep after that.  0, -ENOMEM, -ERANGE.
 */
int cvmm_mmu_grow(struct cvmm_mmu *mmu, u64 gfn);

/*
 * Remove all mappings of a range; no page locks: the slots' SRCU, or the user
 * memory's sequence count, keeps installers out.  Where others may remove or
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
 * tables are cached has one physical-address bit less than the host and cannot get
 * here; any other may be told the host's width, and what it accesses here is MMIO.
 */
u64 cvmm_mmu_hidden_base(void);

#endif /* CVMM_MMU_H */
