// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtual machine: its file, its ioctls, its lifetime, and how to get all of
 * its vCPUs out of guest mode.
 */
#include <linux/anon_inodes.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "compat.h"
#include "engine.h"
#include "hw_ops.h"
#include <linux/cvmm.h>

static const char *event_name(unsigned int idx)
{
	static const char * const names[CVMM_EE_NR] = {
		[CVMM_EE_EXITS] = "exits",
		[CVMM_EE_INTR] = "exit_intr",
		[CVMM_EE_WINDOW] = "exit_window",
		[CVMM_EE_NPF] = "exit_npf",
		[CVMM_EE_NPF_WALK] = "exit_npf_walk",
		[CVMM_EE_MMIO] = "exit_mmio",
		[CVMM_EE_PIO] = "exit_pio",
		[CVMM_EE_MSR] = "exit_msr",
		[CVMM_EE_CPUID] = "exit_cpuid",
		[CVMM_EE_HLT] = "exit_hlt",
		[CVMM_EE_PAUSE] = "exit_pause",
		[CVMM_EE_CR] = "exit_cr",
		[CVMM_EE_EXCEPTION] = "exit_exception",
		[CVMM_EE_OTHER] = "exit_other",
		[CVMM_EE_IRQ_INJECTED] = "irq_injected",
		[CVMM_EE_TLB_FLUSH] = "tlb_flush",
		[CVMM_EE_KICK] = "kick",
		[CVMM_EE_LARGE_MAP] = "large_map",
		[CVMM_EE_LARGE_SPLIT] = "large_split",
		[CVMM_EE_LARGE_MERGE] = "large_merge",
		[CVMM_EE_USER] = "exit_user",
		[CVMM_EE_APIC_ACCESS] = "apic_access",
		[CVMM_EE_APIC_IPI] = "apic_ipi",
		[CVMM_EE_APIC_TIMER] = "apic_timer",
		[CVMM_EE_HALT] = "halt",
		[CVMM_EE_YIELD] = "directed_yield",
	};

	return names[idx];
}

void cvmm_vm_get(struct cvmm_vm *vm)
{
	refcount_inc(&vm->users);
}

static void vm_destroy(struct cvmm_vm *vm)
{
	if (vm->space) {
		cvmm_space_del_counters(vm->space, &vm->stats);
		cvmm_space_put(vm->space);
	}
	cvmm_hw->vm_destroy(vm);
	cvmm_mmu_destroy(&vm->mmu);
	cvmm_counters_destroy(&vm->stats);
	cvmm_free_msr_filter(rcu_dereference_protected(vm->msr_filter, 1));
	cleanup_srcu_struct(&vm->srcu);
	mutex_destroy(&vm->lock);
	mmdrop(vm->mm);
	kvfree(vm);
	cvmm_hw_put();
}

/* The last user of the VM frees it: its file and the files of its vCPUs are users. */
void cvmm_vm_put(struct cvmm_vm *vm)
{
	u32 i;

	if (!refcount_dec_and_test(&vm->users))
		return;
	/* First: revocations and invalidations look at the vCPUs. */
	if (vm->space)
		cvmm_space_detach(vm->space, &vm->client);
	cvmm_free_memory(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		cvmm_vcpu_free(vm->vcpus[i]);
	vm_destroy(vm);
}

/* CPUs to kick; used with preemption off. */
static DEFINE_PER_CPU(cpumask_var_t, kick_mask);

/* At module load. */
int cvmm_kick_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!zalloc_cpumask_var_node(per_cpu_ptr(&kick_mask, cpu), GFP_KERNEL,
					     cpu_to_node(cpu))) {
			cvmm_kick_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

void cvmm_kick_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		free_cpumask_var(*per_cpu_ptr(&kick_mask, cpu));
		memset(per_cpu_ptr(&kick_mask, cpu), 0, sizeof(cpumask_var_t));
	}
}

static void ack_kick(void *unused)
{
	/* The interrupt itself took the CPU out of guest mode. */
}

/*
 * Send an IPI to every CPU that is in guest mode for @vm.  With @wait, return
 * only after each has taken it, so that none runs on what it entered with.
 */
static void kick_cpus(struct cvmm_vm *vm, bool wait)
{
	u32 i, nr = smp_load_acquire(&vm->nr_vcpus);
	int me = get_cpu();
	struct cpumask *mask = this_cpu_cpumask_var_ptr(kick_mask);

	/* Without @wait this may be in an interrupt of a CPU that uses its mask. */
	if (wait)
		cpumask_clear(mask);
	for (i = 0; i < nr; i++) {
		struct cvmm_vcpu *vcpu = vm->vcpus[i];
		int cpu;

		if (READ_ONCE(vcpu->mode) != CVMM_IN_GUEST)
			continue;
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu == me || cpu < 0)
			continue;
		cvmm_count(&vm->stats, CVMM_EE_KICK);
		if (wait)
			cpumask_set_cpu(cpu, mask);
		else
			cvmm_send_reschedule(cpu);
	}
	if (wait && !cpumask_empty(mask))
		smp_call_function_many(mask, ack_kick, NULL, true);
	put_cpu();
}

/*
 * cvmm_vm_kick_and_flush() - make every vCPU forget its translations
 *
 * The nested tables were reduced before.  On return no CPU uses, or will use,
 * a translation from before the call.  IRQs on; does not sleep.
 */
void cvmm_vm_kick_and_flush(struct cvmm_vm *vm)
{
	u32 i, nr = smp_load_acquire(&vm->nr_vcpus);

	cvmm_count(&vm->stats, CVMM_EE_TLB_FLUSH);
	for (i = 0; i < nr; i++)
		cvmm_request(vm->vcpus[i], CVMM_REQ_TLB_FLUSH);
	/* Pairs with the barrier between setting mode and testing requests at entry. */
	smp_mb();
	kick_cpus(vm, true);
}

/* Make every vCPU leave guest mode, or its sleep, soon.  Any context but NMI. */
void cvmm_vm_kick_all(struct cvmm_vm *vm)
{
	u32 i, nr = smp_load_acquire(&vm->nr_vcpus);

	smp_mb();
	kick_cpus(vm, false);
	for (i = 0; i < nr; i++)
		cvmm_apic_notify(vm->vcpus[i]);
}

/* KVM_CAP_MAX_VCPU_ID: once; the same again does no harm. */
static int limit_vcpu_ids(struct cvmm_vm *vm, u64 max)
{
	int ret = 0;

	if (max > CVMM_MAX_VCPU_ID)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!vm->max_vcpu_id)
		vm->max_vcpu_id = max;
	else if (vm->max_vcpu_id != max)
		ret = -EINVAL;
	mutex_unlock(&vm->lock);
	return ret;
}

static int vm_enable_cap(struct cvmm_vm *vm, const struct kvm_enable_cap *cap)
{
	unsigned int i;

	if (cap->flags)
		return -EINVAL;
	for (i = 1; i < ARRAY_SIZE(cap->args); i++)
		if (cap->args[i])
			return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (cap->args[0] & ~(u64)KVM_MSR_EXIT_REASON_VALID_MASK)
			return -EINVAL;
		WRITE_ONCE(vm->user_msr_mask, cap->args[0]);
		return 0;
	case KVM_CAP_MAX_VCPU_ID:
		return limit_vcpu_ids(vm, cap->args[0]);
	default:
		return -EINVAL;
	}
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cvmm_vm *vm = file->private_data;
	void __user *argp = (void __user *)arg;

	if (vm->mm != current->mm)
		return -EIO;
	switch (cmd) {
	case KVM_CREATE_VCPU:
		return cvmm_vcpu_create(vm, arg);
	case KVM_SET_USER_MEMORY_REGION: {
		struct kvm_userspace_memory_region r;

		if (copy_from_user(&r, argp, sizeof(r)))
			return -EFAULT;
		return cvmm_set_memory(vm, &r);
	}
	case KVM_GET_DIRTY_LOG: {
		struct kvm_dirty_log log;

		if (copy_from_user(&log, argp, sizeof(log)))
			return -EFAULT;
		return cvmm_get_dirty_log(vm, &log);
	}
	case CVMM_VM_JOIN_SPACE:
		return arg > INT_MAX ? -EBADF : cvmm_join_space(vm, arg);
	case KVM_GET_STATS_FD:
		return cvmm_vm_get_stats_fd(vm);
	case KVM_CHECK_EXTENSION:
		return cvmm_check_extension(arg);
	case KVM_ENABLE_CAP: {
		struct kvm_enable_cap cap;

		if (copy_from_user(&cap, argp, sizeof(cap)))
			return -EFAULT;
		return vm_enable_cap(vm, &cap);
	}
	case KVM_X86_SET_MSR_FILTER: {
		struct kvm_msr_filter f;

		if (copy_from_user(&f, argp, sizeof(f)))
			return -EFAULT;
		return cvmm_set_msr_filter(vm, &f);
	}
	case KVM_SET_GSI_ROUTING:
		/* Nowhere to route to. */
		return -EINVAL;
	case KVM_SET_TSS_ADDR:
	case KVM_SET_IDENTITY_MAP_ADDR:
		/* Only VMX without unrestricted guest needs these pages. */
		return 0;
	default:
		return -ENOTTY;
	}
}

static int vm_release(struct inode *inode, struct file *file)
{
	cvmm_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/*
 * cvmm_vm_create() - KVM_CREATE_VM
 * @type: 0, the only type there is
 *
 * Returns a new descriptor, -EBUSY when another hypervisor owns the hardware,
 * -EOPNOTSUPP without a usable engine, or another -errno.
 */
int cvmm_vm_create(unsigned long type)
{
	struct cvmm_memslots *slots;
	struct cvmm_vm *vm;
	int err;

	if (type)
		return -EINVAL;
	err = cvmm_hw_get();
	if (err)
		return err;
	vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm) {
		err = -ENOMEM;
		goto put_hw;
	}
	refcount_set(&vm->users, 1);
	mutex_init(&vm->lock);
	mmgrab(current->mm);
	vm->mm = current->mm;
	vm->pid = current->pid;
	vm->tsc_khz = tsc_khz;
	vm->tsc_offset = -rdtsc();
	/* What the processor judges reserved bits by, beyond what can be mapped perhaps. */
	vm->maxphyaddr = boot_cpu_data.x86_phys_bits;
	err = init_srcu_struct(&vm->srcu);
	if (err)
		goto free_vm;
	slots = kzalloc(sizeof(*slots), GFP_KERNEL_ACCOUNT);
	if (!slots) {
		err = -ENOMEM;
		goto cleanup_srcu;
	}
	RCU_INIT_POINTER(vm->slots, slots);
	err = cvmm_counters_init(&vm->stats, "engine", event_name, CVMM_EE_NR);
	if (err)
		goto free_slots;
	err = cvmm_mmu_init(&vm->mmu);
	if (err)
		goto destroy_counters;
	err = cvmm_hw->vm_create(vm);
	if (err)
		goto destroy_mmu;
	err = anon_inode_getfd("cvmm-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (err < 0)
		goto destroy_hw;
	return err;

destroy_hw:
	cvmm_hw->vm_destroy(vm);
destroy_mmu:
	cvmm_mmu_destroy(&vm->mmu);
destroy_counters:
	cvmm_counters_destroy(&vm->stats);
free_slots:
	kfree(slots);
cleanup_srcu:
	cleanup_srcu_struct(&vm->srcu);
free_vm:
	mutex_destroy(&vm->lock);
	mmdrop(vm->mm);
	kvfree(vm);
put_hw:
	cvmm_hw_put();
	return err;
}
