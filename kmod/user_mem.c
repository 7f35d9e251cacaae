// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slots on ordinary user memory: guest pages are whatever the process has
 * mapped there at the moment.
 *
 * A nested fault looks the page up as the process itself would, installs it and
 * lets go of it: no page is pinned.  An interval notifier tells when the
 * process's page tables change; the nested mappings then go before the page
 * does.  Against an invalidation that overtakes a fault, the notifier's sequence
 * count is tested under a lock that faults share and invalidations take alone.
 *
 * Nested entries of these slots are written by faults (under the shared lock),
 * by invalidations and by the dirty log (cmpxchg, see mmu.h).
 *
 * Large mappings: what one entry of the process maps, of the same alignment in
 * guest and process and wholly in the slot, one nested entry maps.  An invalidation
 * of a part takes all of it; what is left comes back by faults, as the process then
 * has it.  While writes are logged faults map 4 KiB: the log takes write access from
 * the large ones, and the first write splits them (cvmm_mmu_grow()).  Where a fault,
 * or the log's end, finds a table of 4 KiB leaves in the way of a large one, the
 * table is removed and flushed first (cvmm_merge_and_flush()).
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "engine.h"
#include "mmu.h"

static bool large_pages = true;
module_param(large_pages, bool, 0644);
MODULE_PARM_DESC(large_pages, "map huge pages of the VMM process as such (default on)");

struct cvmm_user_mem {
	struct mmu_interval_notifier notifier;
	rwlock_t lock;
	struct cvmm_vm *vm;
	u64 base_gfn;
	u64 nr_gfns;
	unsigned long start;
};

/* The process's mappings change; context may not sleep. */
static bool invalidate(struct mmu_interval_notifier *notifier,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct cvmm_user_mem *mem = container_of(notifier, struct cvmm_user_mem, notifier);
	unsigned long end = mem->start + (mem->nr_gfns << PAGE_SHIFT);
	unsigned long from = max(range->start, mem->start) & PAGE_MASK;
	unsigned long to = PAGE_ALIGN(min(range->end, end));

	/*
	 * Faults that have passed their test of the count are done when this lock
	 * is ours; later ones see the new count and wait for the invalidation's end.
	 */
	write_lock(&mem->lock);
	mmu_interval_set_seq(notifier, seq);
	write_unlock(&mem->lock);
	if (from < to)
		cvmm_zap_and_flush(mem->vm, mem->base_gfn + ((from - mem->start) >> PAGE_SHIFT),
				   (to - from) >> PAGE_SHIFT, mmu_notifier_range_blockable(range));
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {
	.invalidate = invalidate,
};

/*
 * cvmm_user_mem_create() - follow the current process's mappings of a range
 * @start:	page-aligned; the range is within the user's half
 *
 * Takes mmap_lock; sleeps.  Returns ERR_PTR(-errno) on an error.
 */
struct cvmm_user_mem *cvmm_user_mem_create(struct cvmm_vm *vm, u64 base_gfn, u64 nr_gfns,
					   unsigned long start)
{
	struct cvmm_user_mem *mem = kzalloc(sizeof(*mem), GFP_KERNEL_ACCOUNT);
	int err;

	if (!mem)
		return ERR_PTR(-ENOMEM);
	rwlock_init(&mem->lock);
	mem->vm = vm;
	mem->base_gfn = base_gfn;
	mem->nr_gfns = nr_gfns;
	mem->start = start;
	err = mmu_interval_notifier_insert(&mem->notifier, current->mm, start,
					   nr_gfns << PAGE_SHIFT, &notifier_ops);
	if (err) {
		kfree(mem);
		return ERR_PTR(err);
	}
	return mem;
}

/* When no fault can use it any more, and its nested mappings are gone.  Sleeps. */
void cvmm_user_mem_destroy(struct cvmm_user_mem *mem)
{
	if (!mem)
		return;
	mmu_interval_notifier_remove(&mem->notifier);
	kfree(mem);
}

static unsigned long address_of(const struct cvmm_memslot *slot, u64 gpa)
{
	return slot->userspace_addr + (gpa - (slot->base_gfn << PAGE_SHIFT));
}

static void log_write(const struct cvmm_memslot *slot, u64 gfn)
{
	if (slot->dirty)
		set_bit(gfn - slot->base_gfn, slot->dirty);
}

/* The largest level that the slot's shape allows around @gfn. */
static unsigned int slot_level(const struct cvmm_memslot *slot, u64 gfn)
{
	u64 differ = slot->base_gfn ^ (slot->userspace_addr >> PAGE_SHIFT);
	unsigned int level = CVMM_LEVEL_4K;

	if (slot->dirty || !READ_ONCE(large_pages))
		return level;
	while (level < CVMM_LEVEL_1G) {
		u64 mask = CVMM_LEVEL_FRAMES(level + 1) - 1;
		u64 first = gfn & ~mask;

		if (differ & mask || first < slot->base_gfn ||
		    first + mask >= slot->base_gfn + slot->nr_gfns)
			break;
		level++;
	}
	return level;
}

static bool maps(u64 entry, struct page *page, unsigned int level, u64 rights)
{
	u64 mask = CVMM_LEVEL_FRAMES(level) - 1;

	return (entry & rights) == rights &&
	       ((entry & PTE_PFN_MASK) >> PAGE_SHIFT & ~mask) == (page_to_pfn(page) & ~mask);
}

/*
 * At which level does the current process map @page at @addr, in one entry with
 * these rights?  Under mem->lock, with the count tested: whoever is to change the
 * entry has to come by the lock first.
 */
static unsigned int process_level(unsigned long addr, struct page *page, bool write)
{
	u64 rights = _PAGE_PRESENT | _PAGE_USER | _PAGE_PSE | (write ? _PAGE_RW : 0);
	unsigned int level = CVMM_LEVEL_4K;
	unsigned long flags;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	/* As get_user_pages_fast() does: tables are not freed while interrupts are off. */
	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(current->mm, addr));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, addr));
	if (!p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, addr));
	if (!pud_present(pud))
		goto out;
	if (pud_val(pud) & _PAGE_PSE) {
		if (maps(pud_val(pud), page, CVMM_LEVEL_1G, rights))
			level = CVMM_LEVEL_1G;
		goto out;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, addr));
	if (maps(pmd_val(pmd), page, CVMM_LEVEL_2M, rights))
		level = CVMM_LEVEL_2M;
out:
	local_irq_restore(flags);
	return level;
}

/*
 * One attempt to map what the process has at @addr now.  @write: in, needed; out,
 * whether it is mapped so.  @max: the largest level; @level: out, tried.  0;
 * -EBUSY when the process's mappings changed meanwhile; as cvmm_mmu_try_map();
 * -errno of the process's own access.
 */
static int try_fault(struct cvmm_vm *vm, const struct cvmm_memslot *slot, u64 gfn, bool *write,
		     unsigned int max, unsigned int *level)
{
	unsigned long addr = address_of(slot, gfn << PAGE_SHIFT);
	bool try_write = !*write && !slot->dirty && !(slot->flags & KVM_MEM_READONLY);
	struct cvmm_user_mem *mem = slot->user;
	struct page *page, *writable;
	bool may_write = *write;
	unsigned long seq;
	int r;

	seq = mmu_interval_read_begin(&mem->notifier);
	r = get_user_pages_fast(addr, 1, may_write ? FOLL_WRITE : 0, &page);
	/* No mmap_lock for who is being killed; cvmm_mmu_try_map() means something else by it. */
	if (r == -EAGAIN)
		return -EBUSY;
	if (r != 1)
		return r < 0 ? r : -EFAULT;
	/* Saves a fault, where a write needs no more than this entry. */
	if (try_write && get_user_page_fast_only(addr, FOLL_WRITE, &writable)) {
		put_page(page);
		page = writable;
		may_write = true;
	}
	read_lock(&mem->lock);
	if (mmu_interval_read_retry(&mem->notifier, seq)) {
		r = -EBUSY;
	} else {
		/* The guest's stores do not pass by the process's entry, which says it later. */
		if (may_write)
			SetPageDirty(page);
		*level = max > CVMM_LEVEL_4K ? min(max, process_level(addr, page, may_write)) :
					       CVMM_LEVEL_4K;
		r = cvmm_mmu_try_map(&vm->mmu, gfn, page, *level, may_write);
	}
	read_unlock(&mem->lock);
	if (!r) {
		*write = may_write;
		mark_page_accessed(page);
	}
	put_page(page);
	return r;
}

/*
 * cvmm_user_fault() - map the page behind a guest frame
 * @slot:	the slot that holds @gfn, on user memory
 *
 * By a thread of the VM's process, under vm->srcu; sleeps.  0; -EFAULT when the
 * process may not access its memory there (or it is no memory: device mappings
 * are not followed); -EINTR, -ENOMEM.
 */
int cvmm_user_fault(struct cvmm_vm *vm, const struct cvmm_memslot *slot, u64 gfn, bool write)
{
	unsigned int max = slot_level(slot, gfn), level = CVMM_LEVEL_4K;

	for (;;) {
		int r = try_fault(vm, slot, gfn, &write, max, &level);

		switch (r) {
		case 0:
			if (level > CVMM_LEVEL_4K)
				cvmm_count(&vm->stats, CVMM_EE_LARGE_MAP);
			/* After the mapping: a log that is read in between reports it next time. */
			if (write)
				log_write(slot, gfn);
			return 0;
		case -EAGAIN:
			r = cvmm_mmu_grow(&vm->mmu, gfn, level);
			if (r < 0)
				return r;
			if (r)
				cvmm_count(&vm->stats, CVMM_EE_LARGE_SPLIT);
			break;
		case -EEXIST:
			if (level == CVMM_LEVEL_2M)
				cvmm_merge_and_flush(vm, gfn);
			else
				max = level - 1;
			break;
		case -EBUSY:
			break;
		default:
			return r;
		}
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

/* The slot that holds all of [gpa, gpa + len), on user memory or not; or NULL. */
static const struct cvmm_memslot *slot_of(struct cvmm_vm *vm, u64 gpa, unsigned int len)
{
	const struct cvmm_memslot *slot = cvmm_find_slot(vm, gpa >> PAGE_SHIFT);

	if (slot && ((gpa + len - 1) >> PAGE_SHIFT) - slot->base_gfn >= slot->nr_gfns)
		return NULL;
	return slot;
}

/*
 * cvmm_guest_read(), cvmm_guest_write(), cvmm_guest_cmpxchg() - guest memory as
 * the engine itself accesses it
 *
 * In a space or in the process, whose thread calls them; under vm->srcu; sleep.
 * Aligned words of 4 and 8 bytes are one access.  -ENOENT when there is no
 * memory (for a write: or it is read-only), -EFAULT when the process may not
 * access it, or as cvmm_space_read() and so on.
 */
int cvmm_guest_read(struct cvmm_vm *vm, u64 gpa, void *buf, unsigned int len)
{
	const struct cvmm_memslot *slot = slot_of(vm, gpa, len);
	void __user *addr;

	if (!slot)
		return -ENOENT;
	if (!slot->user)
		return cvmm_space_read(vm->space, gpa, buf, len);
	addr = (void __user *)address_of(slot, gpa);
	if (len == 8 && IS_ALIGNED(gpa | (unsigned long)buf, 8))
		return get_user(*(u64 *)buf, (u64 __user *)addr);
	if (len == 4 && IS_ALIGNED(gpa | (unsigned long)buf, 4))
		return get_user(*(u32 *)buf, (u32 __user *)addr);
	return copy_from_user(buf, addr, len) ? -EFAULT : 0;
}

static void log_writes(const struct cvmm_memslot *slot, u64 gpa, unsigned int len)
{
	log_write(slot, gpa >> PAGE_SHIFT);
	log_write(slot, (gpa + len - 1) >> PAGE_SHIFT);
}

/* @len: at most a page */
int cvmm_guest_write(struct cvmm_vm *vm, u64 gpa, const void *buf, unsigned int len)
{
	const struct cvmm_memslot *slot = slot_of(vm, gpa, len);
	void __user *addr;
	int r;

	if (!slot || slot->flags & KVM_MEM_READONLY)
		return -ENOENT;
	if (!slot->user)
		return cvmm_space_write(vm->space, gpa, buf, len);
	addr = (void __user *)address_of(slot, gpa);
	if (len == 8 && IS_ALIGNED(gpa | (unsigned long)buf, 8))
		r = put_user(*(const u64 *)buf, (u64 __user *)addr);
	else if (len == 4 && IS_ALIGNED(gpa | (unsigned long)buf, 4))
		r = put_user(*(const u32 *)buf, (u32 __user *)addr);
	else
		r = copy_to_user(addr, buf, len) ? -EFAULT : 0;
	/* Of a copy that failed a part may be there. */
	log_writes(slot, gpa, len);
	return r;
}

static int user_cmpxchg(void __user *addr, unsigned int size, u64 *old, u64 new)
{
	u32 old32 = *old;
	int r;

	if (!user_access_begin(addr, size))
		return -EFAULT;
	if (size == 8)
		r = !unsafe_try_cmpxchg_user((u64 __user *)addr, old, new, fault);
	else
		r = !unsafe_try_cmpxchg_user((u32 __user *)addr, &old32, (u32)new, fault);
	user_access_end();
	if (size == 4)
		*old = old32;
	return r;
fault:
	user_access_end();
	return -EFAULT;
}

/* @gpa is aligned to @size, 4 or 8.  1 when *@old differed and was updated. */
int cvmm_guest_cmpxchg(struct cvmm_vm *vm, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	const struct cvmm_memslot *slot = slot_of(vm, gpa, size);
	int r;

	if (!slot || slot->flags & KVM_MEM_READONLY)
		return -ENOENT;
	if (!slot->user)
		return cvmm_space_cmpxchg(vm->space, gpa, size, old, new);
	if ((size != 4 && size != 8) || !IS_ALIGNED(gpa, size))
		return -EINVAL;
	r = user_cmpxchg((void __user *)address_of(slot, gpa), size, old, new);
	if (!r)
		log_writes(slot, gpa, size);
	return r;
}
