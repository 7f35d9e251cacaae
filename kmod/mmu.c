// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested page tables: build, change, free.  See mmu.h for who may do what.
 *
 * All mappings are 4 KiB leaves for now.  Large pages belong here: a leaf one
 * level up for a run of pages that are all Exclusive, split by protect().
 */
#include <linux/gfp.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/pgtable.h>
#include <asm/io.h>

#include "engine.h"
#include "mmu.h"

#define ENTRIES		512
#define INDEX(gfn, level)	(((gfn) >> (9 * ((level) - 1))) & (ENTRIES - 1))

/*
 * Nested walks count as user accesses (APM vol. 2, 15.25.5), so all levels have
 * the user bit.  Accessed and dirty are preset: the hardware then never writes
 * to the tables, and software need not mind racing with it.
 */
#define LINK_BITS	(_PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED)
#define LEAF_BITS	(_PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY)
#define PA_MASK		GENMASK_ULL(51, 12)

static u64 *alloc_table(struct cvmm_mmu *mmu)
{
	u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (table)
		atomic_long_inc(&mmu->tables);
	return table;
}

static void free_table(struct cvmm_mmu *mmu, u64 *table)
{
	free_page((unsigned long)table);
	atomic_long_dec(&mmu->tables);
}

static u64 *entry_table(u64 entry)
{
	return __va(__sme_clr(entry) & PA_MASK);
}

int cvmm_mmu_init(struct cvmm_mmu *mmu)
{
	/* Nested tables have as many levels as the host's own (APM vol. 2, 15.25.3). */
	mmu->levels = pgtable_l5_enabled() ? 5 : 4;
	atomic_long_set(&mmu->tables, 0);
	atomic_set(&mmu->zaps, 0);
	mmu->root = alloc_table(mmu);
	if (!mmu->root)
		return -ENOMEM;
	mmu->root_pa = __sme_pa(mmu->root);
	return 0;
}

static void free_level(struct cvmm_mmu *mmu, u64 *table, unsigned int level)
{
	unsigned int i;

	if (level > 1) {
		for (i = 0; i < ENTRIES; i++)
			if (table[i] & _PAGE_PRESENT)
				free_level(mmu, entry_table(table[i]), level - 1);
		cond_resched();
	}
	free_table(mmu, table);
}

/* When no vCPU exists any more and the space has been detached. */
void cvmm_mmu_destroy(struct cvmm_mmu *mmu)
{
	if (!mmu->root)
		return;
	free_level(mmu, mmu->root, mmu->levels);
	mmu->root = NULL;
	WARN_ON_ONCE(atomic_long_read(&mmu->tables));
}

/*
 * The leaf entry of @gfn, or NULL when there is no table and @grow is false: then
 * *@next is the first frame beyond the reach of the missing table.
 */
static u64 *find_leaf(struct cvmm_mmu *mmu, u64 gfn, bool grow, u64 *next)
{
	unsigned int level;
	u64 *table = mmu->root;

	for (level = mmu->levels; level > 1; level--) {
		u64 *entry = &table[INDEX(gfn, level)];
		u64 e = READ_ONCE(*entry);

		if (!(e & _PAGE_PRESENT)) {
			u64 *lower;

			if (!grow) {
				*next = (gfn | ((1ULL << (9 * (level - 1))) - 1)) + 1;
				return NULL;
			}
			lower = alloc_table(mmu);
			if (!lower)
				return NULL;
			/* Full ordering: the zeroed table is visible before its link. */
			e = cmpxchg64(entry, 0, __sme_pa(lower) | LINK_BITS);
			if (!e) {
				table = lower;
				continue;
			}
			free_table(mmu, lower);
		}
		table = entry_table(e);
	}
	return &table[INDEX(gfn, 1)];
}

static u64 *leaf_entry(struct cvmm_mmu *mmu, u64 gfn, bool grow)
{
	u64 next;

	return find_leaf(mmu, gfn, grow, &next);
}

int cvmm_mmu_grow(struct cvmm_mmu *mmu, u64 gfn)
{
	if (gfn >> (9 * mmu->levels))
		return -ERANGE;
	return leaf_entry(mmu, gfn, true) ? 0 : -ENOMEM;
}

int cvmm_mmu_map(struct cvmm_mmu *mmu, u64 gfn, struct page *page, bool writable)
{
	u64 *entry;

	if (gfn >> (9 * mmu->levels))
		return -ERANGE;
	entry = leaf_entry(mmu, gfn, true);
	if (!entry)
		return -ENOMEM;
	WRITE_ONCE(*entry, __sme_set(page_to_phys(page)) | LEAF_BITS | (writable ? _PAGE_RW : 0));
	return 0;
}

bool cvmm_mmu_protect(struct cvmm_mmu *mmu, u64 gfn, enum cvmm_prot prot)
{
	u64 old, new, *entry;

	if (gfn >> (9 * mmu->levels))
		return false;
	entry = leaf_entry(mmu, gfn, false);
	if (!entry)
		return false;
	/* A zap of the range may clear the entry at the same time: never undo that. */
	do {
		old = READ_ONCE(*entry);
		new = prot == CVMM_PROT_READ ? old & ~(u64)_PAGE_RW : 0;
	} while (cmpxchg64(entry, old, new) != old);
	/* Full barrier above.  What a zap has cleared may still be in a TLB. */
	return old != new || atomic_read(&mmu->zaps);
}

/* Keep only @keep of each entry of a range; whether that changed any. */
static bool reduce_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr, u64 keep, bool may_sleep)
{
	bool changed = false;
	u64 end = gfn + nr;

	while (gfn < end) {
		u64 old, next, *entry = find_leaf(mmu, gfn, false, &next);

		if (may_sleep && (!entry || !(gfn & (ENTRIES - 1))))
			cond_resched();
		if (!entry) {
			gfn = next;
			continue;
		}
		/* Others may reduce the entry at the same time: never undo that. */
		do {
			old = READ_ONCE(*entry);
		} while (old & ~keep && cmpxchg64(entry, old, old & keep) != old);
		if (old & ~keep)
			changed = true;
		gfn++;
	}
	return changed;
}

bool cvmm_mmu_zap_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr, bool may_sleep)
{
	return reduce_range(mmu, gfn, nr, 0, may_sleep);
}

bool cvmm_mmu_write_protect_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr)
{
	return reduce_range(mmu, gfn, nr, ~(u64)_PAGE_RW, true);
}

u64 cvmm_mmu_hidden_base(void)
{
	return 1ULL << (cvmm_host_maxphyaddr() - 1);
}
