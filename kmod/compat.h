/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between the kernel versions that the module builds for (6.1 and
 * 6.12).  No other file may test LINUX_VERSION_CODE.
 */
#ifndef CVMM_COMPAT_H
#define CVMM_COMPAT_H

#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* Page-table entries that map a small page. */
static inline int cvmm_page_mapcount(struct page *page)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	return page_mapcount(page);
#else
	return folio_mapcount(page_folio(page));
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
/* Drop what protects the mapping during a fault, before a long wait. */
static inline void release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#endif

#endif /* CVMM_COMPAT_H */
