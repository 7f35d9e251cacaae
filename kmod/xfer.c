// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own "work before guest mode" (reschedule, task work, signals).
 *
 * The exported helper takes a struct kvm_vcpu and, on a signal, sets exit_reason
 * in its run page and counts in its statistics; nothing else of it is used.  So
 * each of our vCPUs carries an otherwise empty one.  This is the only file that
 * sees <linux/kvm_host.h>.
 */
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>
#include <linux/slab.h>

struct kvm_vcpu *cvmm_xfer_alloc(struct kvm_run *run);
void cvmm_xfer_free(struct kvm_vcpu *xfer);
int cvmm_xfer_to_guest_work(struct kvm_vcpu *xfer);

/* @run: of the vCPU; outlives the result. */
struct kvm_vcpu *cvmm_xfer_alloc(struct kvm_run *run)
{
	struct kvm_vcpu *xfer = kvzalloc(sizeof(*xfer), GFP_KERNEL_ACCOUNT);

	if (xfer)
		xfer->run = run;
	return xfer;
}

void cvmm_xfer_free(struct kvm_vcpu *xfer)
{
	kvfree(xfer);
}

/* Preemptible.  0, or -EINTR with exit_reason = KVM_EXIT_INTR. */
int cvmm_xfer_to_guest_work(struct kvm_vcpu *xfer)
{
	return xfer_to_guest_mode_handle_work(xfer);
}
