// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: its file and mapping, loading it on a CPU, and the loop of KVM_RUN.
 */
#include <linux/anon_inodes.h>
#include <linux/context_tracking.h>
#include <linux/entry-kvm.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vtime.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/fpu/xstate.h>
#include <asm/msr.h>
#include <asm/trapnr.h>

#include "compat.h"
#include "engine.h"
#include "hw_ops.h"
#include <linux/cvmm.h>

/*
 * Loaded: the vCPU's thread is in an ioctl that needs the hardware, and this
 * CPU holds those parts of the guest's state that stay across exits.  The
 * preemption notifiers move it along with the thread.
 */
static void load_on(struct cvmm_vcpu *vcpu, int cpu)
{
	bool changed = vcpu->cpu != cpu;

	WRITE_ONCE(vcpu->cpu, cpu);
	vcpu->loaded = true;
	cvmm_hw->vcpu_load(vcpu, changed);
}

static void vcpu_sched_in(struct preempt_notifier *pn, int cpu)
{
	struct cvmm_vcpu *vcpu = container_of(pn, struct cvmm_vcpu, preempt_notifier);

	WRITE_ONCE(vcpu->preempted, false);
	load_on(vcpu, cpu);
}

static void unload(struct cvmm_vcpu *vcpu)
{
	cvmm_hw->vcpu_put(vcpu);
	vcpu->loaded = false;
}

static void vcpu_sched_out(struct preempt_notifier *pn, struct task_struct *next)
{
	struct cvmm_vcpu *vcpu = container_of(pn, struct cvmm_vcpu, preempt_notifier);

	if (task_is_running(current)) {
		WRITE_ONCE(vcpu->preempted_in_kernel, !cvmm_hw->cpl(vcpu));
		WRITE_ONCE(vcpu->preempted, true);
	}
	unload(vcpu);
}

static struct preempt_ops vcpu_preempt_ops = {
	.sched_in = vcpu_sched_in,
	.sched_out = vcpu_sched_out,
};

void cvmm_vcpu_load(struct cvmm_vcpu *vcpu)
{
	int cpu = get_cpu();

	preempt_notifier_register(&vcpu->preempt_notifier);
	load_on(vcpu, cpu);
	put_cpu();
}

void cvmm_vcpu_put(struct cvmm_vcpu *vcpu)
{
	preempt_disable();
	unload(vcpu);
	preempt_notifier_unregister(&vcpu->preempt_notifier);
	preempt_enable();
}

/* Could KVM_INTERRUPT's vector be delivered at the next entry? */
bool cvmm_ready_for_irq(struct cvmm_vcpu *vcpu)
{
	return !vcpu->irq_pending && !vcpu->exception.pending && !vcpu->nmi_injected &&
	       cvmm_hw->irq_allowed(vcpu);
}

/* What user space reads after each KVM_RUN. */
static void fill_run(struct cvmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->if_flag = !!(vcpu->rflags & X86_EFLAGS_IF);
	run->cr8 = vcpu->cr8;
	run->apic_base = vcpu->apic_base;
	run->flags = 0;
	run->ready_for_interrupt_injection = cvmm_ready_for_irq(vcpu);
}

/* Guest register values that VMRUN and VMEXIT do not switch; IRQs off. */
static void load_guest_extra(struct cvmm_vcpu *vcpu, u64 *host_xcr0)
{
	if (boot_cpu_has(X86_FEATURE_XSAVE)) {
		*host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
		if (vcpu->cr4 & X86_CR4_OSXSAVE && vcpu->xcr0 != *host_xcr0)
			xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
		/* SVM has no intercept for XSAVES, which guests are not told of. */
		if (vcpu->cr4 & X86_CR4_OSXSAVE && unlikely(cvmm_host_xss))
			wrmsrl(MSR_IA32_XSS, 0);
	}
	if (unlikely(cvmm_effective_dr7(vcpu) & (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK))) {
		const u64 *db = cvmm_effective_db(vcpu);

		set_debugreg(0UL, 7);
		set_debugreg(db[0], 0);
		set_debugreg(db[1], 1);
		set_debugreg(db[2], 2);
		set_debugreg(db[3], 3);
	}
}

static void load_host_extra(struct cvmm_vcpu *vcpu, u64 host_xcr0)
{
	/* VMEXIT leaves the host's breakpoints off. */
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
	if (boot_cpu_has(X86_FEATURE_XSAVE) && vcpu->cr4 & X86_CR4_OSXSAVE) {
		u64 xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);

		if (unlikely(cvmm_host_xss))
			wrmsrl(MSR_IA32_XSS, cvmm_host_xss);
		if (xcr0 != host_xcr0)
			xsetbv(XCR_XFEATURE_ENABLED_MASK, host_xcr0);
		/* QEMU's emulation (7.2, 10.0) lets XSETBV pass although it is intercepted. */
		if (unlikely(xcr0 != vcpu->xcr0) && xcr0 & XFEATURE_MASK_FP)
			vcpu->xcr0 = xcr0 & cvmm_supported_xcr0();
	}
}

/*
 * Enter the guest once.  Returns whether it ran; when not, the caller finds out
 * why (signal, reschedule, failed space, interrupt) and comes again.
 */
static bool enter_guest(struct cvmm_vcpu *vcpu)
{
	u64 host_xcr0 = 0;

	preempt_disable();
	local_irq_disable();
	/* Pairs with cvmm_vm_kick_and_flush(): see enum cvmm_vcpu_mode. */
	smp_store_mb(vcpu->mode, CVMM_IN_GUEST);
	if (READ_ONCE(vcpu->requests)) {
		if (test_and_clear_bit(CVMM_REQ_TLB_FLUSH, &vcpu->requests))
			cvmm_hw->flush_tlb(vcpu);
		clear_bit(CVMM_REQ_KICK, &vcpu->requests);
	}
	if (xfer_to_guest_mode_work_pending() || READ_ONCE(vcpu->vm->failed) ||
	    test_bit(CVMM_REQ_EVENT, &vcpu->requests)) {
		smp_store_release(&vcpu->mode, CVMM_OUTSIDE_GUEST);
		local_irq_enable();
		preempt_enable();
		return false;
	}
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	load_guest_extra(vcpu, &host_xcr0);

	vtime_account_guest_enter();
	cvmm_hw->enter(vcpu);

	load_host_extra(vcpu, host_xcr0);
	smp_store_release(&vcpu->mode, CVMM_OUTSIDE_GUEST);
	/* Take the interrupt that made us exit while the time still counts as the guest's. */
	local_irq_enable();
	asm volatile("nop" : : : "memory");	/* CLI right behind STI would let none in */
	local_irq_disable();
	vtime_account_guest_exit();
	local_irq_enable();
	preempt_enable();
	return true;
}

static int run_loop(struct cvmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct cvmm_vm *vm = vcpu->vm;
	int idx, r;

	for (;;) {
		bool window;

		if (READ_ONCE(vm->failed))
			return -EIO;
		if (signal_pending(current)) {
			run->exit_reason = KVM_EXIT_INTR;
			return -EINTR;
		}
		if (__xfer_to_guest_mode_work_pending()) {
			r = cvmm_xfer_to_guest_work(vcpu->xfer);
			if (r)
				return r;
		}
		if (unlikely(vcpu->triple_fault)) {
			vcpu->triple_fault = false;
			return cvmm_exit_shutdown(vcpu);
		}
		if (unlikely(vcpu->step_done)) {
			vcpu->step_done = false;
			return cvmm_exit_debug(vcpu, X86_TRAP_DB, DR6_RESERVED | DR_STEP);
		}
		window = READ_ONCE(run->request_interrupt_window);
		if (window && cvmm_ready_for_irq(vcpu)) {
			run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
			return 0;
		}
		if (vcpu->apic) {
			r = cvmm_apic_prepare(vcpu, &window);
			if (r == -EAGAIN)
				continue;
			if (r <= 0)
				return r;
		}
		if (vm->space)
			cvmm_space_entered(vm->space, &vcpu->holds);
		cvmm_hw->prepare(vcpu, window);
		if (!enter_guest(vcpu))
			continue;

		idx = srcu_read_lock(&vm->srcu);
		r = cvmm_hw->handle_exit(vcpu);
		srcu_read_unlock(&vm->srcu, idx);
		if (r <= 0) {
			if (r == -EINTR)
				run->exit_reason = KVM_EXIT_INTR;
			return r;
		}
	}
}

/*
 * cvmm_vcpu_run() - KVM_RUN
 *
 * Under vcpu->mutex.  0 with run->exit_reason set; -EINTR on a signal, with
 * KVM_EXIT_INTR there, or on immediate_exit; -EIO when the space has failed.
 */
int cvmm_vcpu_run(struct cvmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int idx, r = 1;
	u8 cr8;

	/*
	 * As sigtimedwait() does: a signal that is unblocked only in here ends the
	 * run but is not delivered, and real_blocked keeps its default action
	 * (killing us) from being taken when it is sent.
	 */
	if (vcpu->sigset_active)
		sigprocmask(SIG_SETMASK, &vcpu->sigset, &current->real_blocked);
	vcpu->has_run = true;
	cvmm_vcpu_load(vcpu);
	WRITE_ONCE(vcpu->task, current);
	fpu_swap_kvm_fpstate(&vcpu->fpu, true);

	run->flags = 0;
	cr8 = READ_ONCE(run->cr8);
	if (cr8 > 15) {
		r = -EINVAL;
		goto out;
	}
	if (cr8 != vcpu->cr8) {
		vcpu->cr8 = cr8;
		cvmm_hw->sync_control(vcpu);
	}
	if (vcpu->apic)
		cvmm_apic_begin(vcpu);
	if (vcpu->complete) {
		int (*complete)(struct cvmm_vcpu *vcpu) = vcpu->complete;

		vcpu->complete = NULL;
		if (vcpu->rip != vcpu->complete_rip)
			goto completed;
		idx = srcu_read_lock(&vcpu->vm->srcu);
		r = complete(vcpu);
		srcu_read_unlock(&vcpu->vm->srcu, idx);
		if (r == -EINTR)
			run->exit_reason = KVM_EXIT_INTR;
		if (r <= 0)
			goto out;
	}
completed:
	if (cvmm_immediate_exit(run)) {
		/* exit_reason stays, as on KVM, whose users complete an exit so before they look. */
		r = -EINTR;
		goto out;
	}
	run->exit_reason = KVM_EXIT_UNKNOWN;
	r = run_loop(vcpu);
out:
	cvmm_count(&vcpu->vm->stats, CVMM_EE_USER);
	vcpu->complete_rip = vcpu->rip;
	fill_run(vcpu);
	fpu_swap_kvm_fpstate(&vcpu->fpu, false);
	WRITE_ONCE(vcpu->task, NULL);
	cvmm_vcpu_put(vcpu);
	if (vcpu->sigset_active) {
		sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
		sigemptyset(&current->real_blocked);
	}
	return r;
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cvmm_vcpu *vcpu = file->private_data;
	long r;

	if (vcpu->vm->mm != current->mm)
		return -EIO;
	if (cmd == CVMM_VCPU_APIC_KICK) {
		/* While the vCPU runs: without the mutex. */
		if (arg || !cvmm_apic_page(vcpu))
			return -EINVAL;
		cvmm_apic_notify(vcpu);
		return 0;
	}
	if (_IOC_TYPE(cmd) != KVMIO && cmd != CVMM_VCPU_SET_APIC)
		return -EINVAL;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	if (cmd == KVM_RUN)
		r = arg ? -EINVAL : cvmm_vcpu_run(vcpu);
	else if (cmd == CVMM_VCPU_SET_APIC)
		r = cvmm_apic_create(vcpu, (void __user *)arg);
	else
		r = cvmm_vcpu_state_ioctl(vcpu, cmd, (void __user *)arg);
	mutex_unlock(&vcpu->mutex);
	return r;
}

static vm_fault_t vcpu_fault(struct vm_fault *vmf)
{
	struct cvmm_vcpu *vcpu = vmf->vma->vm_file->private_data;
	struct page *page = NULL;

	if (vmf->pgoff == 0)
		page = virt_to_page(vcpu->run);
	else if (vmf->pgoff == CVMM_PIO_PAGE)
		page = virt_to_page(vcpu->pio_data);
	else if (vmf->pgoff == CVMM_VCPU_APIC_OFFSET >> PAGE_SHIFT)
		page = cvmm_apic_page(vcpu);
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct vcpu_vm_ops = {
	.fault = vcpu_fault,
};

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct cvmm_vcpu *vcpu = file->private_data;

	if (vma->vm_pgoff == CVMM_VCPU_APIC_OFFSET >> PAGE_SHIFT) {
		if (vma_pages(vma) != 1 || !cvmm_apic_page(vcpu))
			return -EINVAL;
	} else if (vma->vm_pgoff >= CVMM_RUN_PAGES ||
		   vma_pages(vma) > CVMM_RUN_PAGES - vma->vm_pgoff) {
		return -EINVAL;
	}
	if ((vma->vm_flags & VM_EXEC) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &vcpu_vm_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct cvmm_vcpu *vcpu = file->private_data;

	cvmm_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

/* When nobody can reach the vCPU any more. */
void cvmm_vcpu_free(struct cvmm_vcpu *vcpu)
{
	cvmm_apic_destroy(vcpu);
	cvmm_hw->vcpu_destroy(vcpu);
	fpu_free_guest_fpstate(&vcpu->fpu);
	cvmm_xfer_free(vcpu->xfer);
	cvmm_space_holds_free(&vcpu->holds);
	kvfree(vcpu->cpuid);
	free_page((unsigned long)vcpu->pio_data);
	free_page((unsigned long)vcpu->run);
	mutex_destroy(&vcpu->mutex);
	kfree(vcpu);
}

/*
 * cvmm_vcpu_create() - KVM_CREATE_VCPU
 * @id: the vCPU's APIC id, < CVMM_MAX_VCPU_ID
 *
 * Returns a new descriptor; -EEXIST when the id is taken.
 */
int cvmm_vcpu_create(struct cvmm_vm *vm, unsigned long id)
{
	struct cvmm_vcpu *vcpu;
	struct file *file;
	int err, fd;
	u32 i;

	if (id >= CVMM_MAX_VCPU_ID)
		return -EINVAL;
	vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
	if (!vcpu)
		return -ENOMEM;
	mutex_init(&vcpu->mutex);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	preempt_notifier_init(&vcpu->preempt_notifier, &vcpu_preempt_ops);
	err = -ENOMEM;
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->run)
		goto free_vcpu;
	vcpu->pio_data = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->pio_data)
		goto free_run;
	vcpu->xfer = cvmm_xfer_alloc(vcpu->run);
	if (!vcpu->xfer)
		goto free_pio;
	if (!fpu_alloc_guest_fpstate(&vcpu->fpu))
		goto free_xfer;
	err = cvmm_hw->vcpu_create(vcpu);
	if (err)
		goto free_fpu;
	cvmm_vcpu_reset(vcpu);

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto destroy_hw;
	}
	mutex_lock(&vm->lock);
	err = vm->nr_vcpus == CVMM_MAX_VCPUS || (vm->max_vcpu_id && id >= vm->max_vcpu_id) ? -EINVAL : 0;
	for (i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i]->id == id)
			err = -EEXIST;
	if (err)
		goto unlock;
	/* Last of all that can fail: the file's release puts the VM. */
	file = anon_inode_getfile("cvmm-vcpu", &vcpu_fops, vcpu, O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto unlock;
	}
	vcpu->tsc_offset = vm->tsc_offset;
	cvmm_vm_get(vm);
	vm->vcpus[vm->nr_vcpus] = vcpu;
	/* Kickers read the count first. */
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
	mutex_unlock(&vm->lock);
	fd_install(fd, file);
	return fd;

unlock:
	mutex_unlock(&vm->lock);
	put_unused_fd(fd);
destroy_hw:
	cvmm_hw->vcpu_destroy(vcpu);
free_fpu:
	fpu_free_guest_fpstate(&vcpu->fpu);
free_xfer:
	cvmm_xfer_free(vcpu->xfer);
free_pio:
	free_page((unsigned long)vcpu->pio_data);
free_run:
	free_page((unsigned long)vcpu->run);
free_vcpu:
	mutex_destroy(&vcpu->mutex);
	kfree(vcpu);
	return err;
}
