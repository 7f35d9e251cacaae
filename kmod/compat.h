/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between the kernel versions that the module builds for (6.1 and
 * 6.12).  No other file may test LINUX_VERSION_CODE.
 */
#ifndef CVMM_COMPAT_H
#define CVMM_COMPAT_H

#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/smp.h>
#include <linux/version.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <net/genetlink.h>

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

/* Names that later headers have. */
#ifndef KVM_MSR_EXIT_REASON_VALID_MASK
#define KVM_MSR_EXIT_REASON_VALID_MASK (KVM_MSR_EXIT_REASON_INVAL | \
					KVM_MSR_EXIT_REASON_UNKNOWN | \
					KVM_MSR_EXIT_REASON_FILTER)
#endif

/* Second byte of struct kvm_run; later headers rename it for the kernel. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define cvmm_immediate_exit(run)	READ_ONCE((run)->immediate_exit)
#else
#define cvmm_immediate_exit(run)	READ_ONCE((run)->immediate_exit__unsafe)
#endif

/* The traced inline of later kernels needs a tracepoint that is not exported. */
static inline void cvmm_send_reschedule(int cpu)
{
	(smp_ops.smp_send_reschedule)(cpu);	/* the name alone is a macro */
}

/* A CPU in guest mode holds no references that RCU must wait for. */
static __always_inline void cvmm_rcu_note_guest(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	rcu_virt_note_context_switch(raw_smp_processor_id());
#else
	rcu_virt_note_context_switch();
#endif
}

/*
 * SRSO where only guests may still attack the kernel: a setting of this CPU for as long as
 * there are guests.  Any context.
 */
static inline void cvmm_reduce_speculation(bool on)
{
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	if (!cpu_feature_enabled(X86_FEATURE_SRSO_BP_SPEC_REDUCE))
		return;
	if (on)
		msr_set_bit(MSR_ZEN4_BP_CFG, MSR_ZEN4_BP_CFG_BP_SPEC_REDUCE_BIT);
	else
		msr_clear_bit(MSR_ZEN4_BP_CFG, MSR_ZEN4_BP_CFG_BP_SPEC_REDUCE_BIT);
#endif
}

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

/* Attributes of the request that a generic netlink dump answers. */
static inline struct nlattr **cvmm_dump_attrs(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	return genl_dumpit_info(cb)->attrs;
#else
	return genl_info_dump(cb)->attrs;
#endif
}

#endif /* CVMM_COMPAT_H */
