// SPDX-License-Identifier: GPL-2.0-only
/*
 * User mappings of a space.
 *
 * Pages are ordinary struct pages of the space's own address_space, installed
 * by the fault handler under the page lock of the memory manager (PG_locked)
 * the way file systems do it, so that a revocation, which takes that lock before
 * it removes mappings, can not pass an installation.  Entries are read-only at
 * first; page_mkwrite lets them become writable when the page is Exclusive.
 */
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "space_priv.h"

/* The page lock of the space is held; hand the frame to the memory manager. */
static vm_fault_t fault_finish(struct cvmm_space *space, struct vm_fault *vmf,
			       struct cvmm_acquire *a)
{
	struct page *page = a->grant.frame;
	u64 now = ktime_get_ns();

	lock_page(page);
	get_page(page);
	/*
	 * The access itself comes next; then others may have the page.  Since
	 * when it has been tried is lost when the fault is retried: 0, for ever.
	 */
	dsm_hold(&space->dsm, a->gfn, 0, now + cvmm_min_run_ns(space, a->gfn), now);
	cvmm_page_unlock(space, a->gfn);
	if (a->waited)
		cvmm_frame_pool_trim(space);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

static u64 *writer_hint(struct cvmm_space *space, u64 gfn)
{
	return &space->writers[gfn & ((1U << CVMM_WRITERS_BITS) - 1)];
}

/*
 * Never wait for a peer with mmap_lock held when there is a way around it:
 * other threads' mmap() and munmap() would wait with us.
 */
static vm_fault_t space_vm_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct cvmm_space *space = file->private_data;
	const unsigned int flags = vmf->flags;
	struct cvmm_acquire a = {
		.gfn = vmf->pgoff,
		.flags = CVMM_ACQ_NOWAIT,
		.since_ns = ktime_get_ns(),
	};
	u64 *hint = writer_hint(space, a.gfn);
	bool unlocked = false, hinted;
	int ret;

	cvmm_count(&space->stats, CVMM_SC_FAULT_MAPPING);
	/*
	 * An instruction that reads, then writes the page (a CPU may do a locked
	 * one in two steps) comes back from page_mkwrite as a read.  Served as
	 * one it would run in circles until the write access has come.
	 */
	hinted = READ_ONCE(*hint) == a.gfn + 1;
	if ((flags & FAULT_FLAG_WRITE) || hinted)
		a.flags |= CVMM_ACQ_WRITE;
	ret = cvmm_space_acquire(space, &a);
	if (!ret) {
		if (hinted)
			WRITE_ONCE(*hint, 0);
		return fault_finish(space, vmf, &a);
	}
	if (ret != -EAGAIN)
		return VM_FAULT_SIGBUS;
	if (flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;	/* mmap_lock stays held */

	a.flags &= ~CVMM_ACQ_NOWAIT;
	/* A repeated kernel-mode fault would spin on a signal it never handles. */
	if (!(flags & FAULT_FLAG_INTERRUPTIBLE) ||
	    (!(flags & FAULT_FLAG_USER) && (flags & FAULT_FLAG_TRIED)))
		a.flags |= CVMM_ACQ_KILLABLE;
	if (flags & FAULT_FLAG_ALLOW_RETRY) {
		/* Later there is no way to report this. */
		if (cvmm_frame_pool_fill(space, atomic_read(&space->waiters) + 1))
			return VM_FAULT_SIGBUS;
		get_file(file);
		release_fault_lock(vmf);
		unlocked = true;
		/* A fault in the kernel may hold any lock; so may a socket's user. */
		if (flags & FAULT_FLAG_USER)
			a.flags |= CVMM_ACQ_POLL;
	}
	ret = cvmm_space_acquire(space, &a);
	if (!unlocked)
		return ret ? VM_FAULT_SIGBUS : fault_finish(space, vmf, &a);

	/* Errors show again, with mmap_lock held, when the fault is retried. */
	if (!ret) {
		cvmm_page_unlock(space, a.gfn);
		cvmm_frame_pool_trim(space);
	}
	fput(file);
	return VM_FAULT_RETRY;
}

/*
 * A write through a read-only entry.  Waiting is not possible here (the caller
 * shows no flags): ask for the page, drop the entry, and let the access come
 * back through space_vm_fault().
 */
static vm_fault_t space_vm_mkwrite(struct vm_fault *vmf)
{
	struct cvmm_space *space = vmf->vma->vm_file->private_data;
	struct page *page = vmf->page;
	struct cvmm_acquire a = {
		.gfn = vmf->pgoff,
		.flags = CVMM_ACQ_NOWAIT | CVMM_ACQ_WRITE,
		.since_ns = ktime_get_ns(),
	};
	bool same;
	int ret;

	cvmm_count(&space->stats, CVMM_SC_MKWRITE);
	ret = cvmm_space_acquire(space, &a);
	if (!ret) {
		same = a.grant.frame == page;
		if (same)
			lock_page(page);
		cvmm_page_unlock(space, a.gfn);
		return same ? VM_FAULT_LOCKED : VM_FAULT_NOPAGE;
	}
	if (ret != -EAGAIN)
		return VM_FAULT_SIGBUS;
	WRITE_ONCE(*writer_hint(space, a.gfn), a.gfn + 1);
	unmap_mapping_range(&space->mapping->as, (loff_t)a.gfn << PAGE_SHIFT, PAGE_SIZE, 1);
	return VM_FAULT_NOPAGE;
}

static const struct vm_operations_struct space_vm_ops = {
	.fault = space_vm_fault,
	.page_mkwrite = space_vm_mkwrite,
};

int cvmm_space_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
	vma->vm_ops = &space_vm_ops;
	return 0;
}

struct cvmm_space *cvmm_space_get_by_addr(unsigned long uaddr, u64 size, u64 *gpa)
{
	struct cvmm_space *space = ERR_PTR(-ENOENT);
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	if (!mm)
		return space;
	mmap_read_lock(mm);
	vma = vma_lookup(mm, uaddr);
	if (vma && vma->vm_file && vma->vm_file->f_op == &cvmm_space_fops &&
	    size && size <= vma->vm_end - uaddr) {
		space = vma->vm_file->private_data;
		*gpa = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (uaddr - vma->vm_start);
		cvmm_space_get(space);
	}
	mmap_read_unlock(mm);
	return space;
}
