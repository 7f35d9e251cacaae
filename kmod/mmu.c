// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested page tables: build, change, free.  See mmu.h for who may do what.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
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

static bool is_link(u64 entry, unsigned int level)
{
	return level > 1 && (entry & (_PAGE_PRESENT | _PAGE_PSE)) == _PAGE_PRESENT;
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
			if (is_link(table[i], level))
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
 * The entry that says what @gfn is mapped to, not below level @low: one without a
 * table below, or the one of level @low.  *@level: where it is.  Under
 * rcu_read_lock() when @low is 1; other tables never go away.
 */
static u64 *find_entry(struct cvmm_mmu *mmu, u64 gfn, unsigned int low, unsigned int *level)
{
	u64 *table = mmu->root;
	unsigned int at;

	for (at = mmu->levels; ; at--) {
		u64 *entry = &table[INDEX(gfn, at)];
		u64 e = READ_ONCE(*entry);

		if (at == low || !is_link(e, at)) {
			*level = at;
			return entry;
		}
		table = entry_table(e);
	}
}

/* Let @table say what the large leaf of @level says. */
static void fill_split(u64 *table, u64 leaf, unsigned int level)
{
	u64 size = CVMM_LEVEL_FRAMES(level - 1) << PAGE_SHIFT;
	unsigned int i;

	if (level == CVMM_LEVEL_2M)
		leaf &= ~(u64)_PAGE_PSE;
	for (i = 0; i < ENTRIES; i++)
		table[i] = leaf + i * size;
}

int cvmm_mmu_grow(struct cvmm_mmu *mmu, u64 gfn, unsigned int level)
{
	int split = 0;

	if (gfn >> (9 * mmu->levels))
		return -ERANGE;
	for (;;) {
		unsigned int at;
		u64 *table, *entry = find_entry(mmu, gfn, level + 1, &at);
		u64 old = READ_ONCE(*entry);

		if (is_link(old, at)) {
			if (at == level + 1)
				return split;
			continue;
		}
		table = alloc_table(mmu);
		if (!table)
			return -ENOMEM;
		if (old)
			fill_split(table, old, at);
		/* Full ordering: what the table holds is visible before its link. */
		if (cmpxchg64(entry, old, __sme_pa(table) | LINK_BITS) != old)
			free_table(mmu, table);
		else if (old)
			split = 1;
	}
}

int cvmm_mmu_try_map(struct cvmm_mmu *mmu, u64 gfn, struct page *page, unsigned int level,
		     bool writable)
{
	u64 pa = page_to_phys(page) & ~((CVMM_LEVEL_FRAMES(level) << PAGE_SHIFT) - 1);
	u64 new = __sme_set(pa) | LEAF_BITS | (writable ? _PAGE_RW : 0) |
		  (level > 1 ? _PAGE_PSE : 0);
	unsigned int at;
	u64 old, *entry;
	int r = 0;

	if (gfn >> (9 * mmu->levels))
		return -ERANGE;
	rcu_read_lock();
	entry = find_entry(mmu, gfn, level, &at);
	old = READ_ONCE(*entry);
	if (at != level)
		r = -EAGAIN;
	else if (level == 1)
		WRITE_ONCE(*entry, new);
	else if (is_link(old, level))
		r = -EEXIST;
	else if (cmpxchg64(entry, old, new) != old)
		r = -EAGAIN;
	rcu_read_unlock();
	return r;
}

int cvmm_mmu_map(struct cvmm_mmu *mmu, u64 gfn, struct page *page, bool writable)
{
	for (;;) {
		int r = cvmm_mmu_try_map(mmu, gfn, page, 1, writable);

		if (r != -EAGAIN)
			return r;
		r = cvmm_mmu_grow(mmu, gfn, 1);
		if (r < 0)
			return r;
	}
}

/*
 * Keep only @keep of an entry; whether that changed it.  -EAGAIN when a table has
 * taken its place.  Others may reduce it at the same time: never undo that.
 */
static int reduce(u64 *entry, unsigned int level, u64 keep)
{
	for (;;) {
		u64 old = READ_ONCE(*entry);

		if (is_link(old, level))
			return -EAGAIN;
		if (!(old & ~keep))
			return 0;
		if (cmpxchg64(entry, old, old & keep) == old)
			return 1;
	}
}

bool cvmm_mmu_protect(struct cvmm_mmu *mmu, u64 gfn, enum cvmm_prot prot)
{
	u64 keep = prot == CVMM_PROT_READ ? ~(u64)_PAGE_RW : 0;
	unsigned int level;
	int r;

	if (gfn >> (9 * mmu->levels))
		return false;
	do {
		rcu_read_lock();
		r = reduce(find_entry(mmu, gfn, 1, &level), level, keep);
		rcu_read_unlock();
	} while (r < 0);
	/* What a zap has cleared may still be in a TLB. */
	smp_mb();
	return r || atomic_read(&mmu->zaps);
}

/* Keep only @keep of each entry of a range; whether that changed any. */
static bool reduce_range(struct cvmm_mmu *mmu, u64 gfn, u64 nr, u64 keep, bool may_sleep)
{
	bool changed = false;
	u64 end = gfn + nr;

	while (gfn < end) {
		unsigned int level;
		u64 *entry;
		int r;

		rcu_read_lock();
		entry = find_entry(mmu, gfn, 1, &level);
		do {
			r = reduce(entry++, level, keep);
			if (r < 0)
				break;
			if (r)
				changed = true;
			gfn = (gfn | (CVMM_LEVEL_FRAMES(level) - 1)) + 1;
		} while (level == 1 && gfn < end && INDEX(gfn, 1));
		rcu_read_unlock();
		if (may_sleep)
			cond_resched();
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

bool cvmm_mmu_unlink_table(struct cvmm_mmu *mmu, u64 gfn, struct list_head *list)
{
	unsigned int level;
	u64 *entry = find_entry(mmu, gfn, CVMM_LEVEL_2M, &level);
	u64 old = READ_ONCE(*entry);

	if (level != CVMM_LEVEL_2M || !is_link(old, level) || cmpxchg64(entry, old, 0) != old)
		return false;
	list_add(&virt_to_page(entry_table(old))->lru, list);
	return true;
}

static void free_table_rcu(struct rcu_head *head)
{
	__free_page(container_of(head, struct page, rcu_head));
}

/* The module waits for these (rcu_barrier()) before it goes. */
void cvmm_mmu_free_tables(struct cvmm_mmu *mmu, struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru) {
		list_del(&page->lru);
		atomic_long_dec(&mmu->tables);
		call_rcu(&page->rcu_head, free_table_rcu);
	}
}

bool cvmm_mmu_mergeable(struct cvmm_mmu *mmu, u64 gfn)
{
	unsigned int level, i;
	bool large = false;
	u64 *table;

	rcu_read_lock();
	/* Which sets level, so that the index comes after it. */
	table = find_entry(mmu, gfn, 1, &level);
	table -= INDEX(gfn, level);
	for (i = 0; level == 1 && i < ENTRIES; i++) {
		u64 pfn, e = READ_ONCE(table[i]);

		if (!(e & _PAGE_PRESENT))
			continue;
		/* Nobody holds the page: it may become something else just now. */
		pfn = (__sme_clr(e) & PA_MASK) >> PAGE_SHIFT;
		large = (pfn & (ENTRIES - 1)) == i &&
			compound_order(compound_head(pfn_to_page(pfn))) >= 9;
		break;
	}
	rcu_read_unlock();
	return large;
}

static void count_level(u64 *table, unsigned int level, u64 *nr)
{
	unsigned int i, j;

	for (i = 0; i < ENTRIES; i++) {
		u64 *lower, e;

		rcu_read_lock();
		e = READ_ONCE(table[i]);
		lower = is_link(e, level) ? entry_table(e) : NULL;
		if (!lower && e & _PAGE_PRESENT)
			nr[level - 1]++;
		if (lower && level == CVMM_LEVEL_2M)
			for (j = 0; j < ENTRIES; j++)
				nr[0] += READ_ONCE(lower[j]) & _PAGE_PRESENT;
		rcu_read_unlock();
		if (lower && level > CVMM_LEVEL_2M)
			count_level(lower, level - 1, nr);
		cond_resched();
	}
}

void cvmm_mmu_count(struct cvmm_mmu *mmu, u64 nr[3])
{
	memset(nr, 0, 3 * sizeof(*nr));
	count_level(mmu->root, mmu->levels, nr);
}

u64 cvmm_mmu_hidden_base(void)
{
	return 1ULL << (cvmm_host_maxphyaddr() - 1);
}
