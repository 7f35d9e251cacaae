// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: /dev/cvmm, its system ioctls, and who may use the virtualization
 * hardware when.
 *
 * The hardware is switched on, on all CPUs, while at least one VM exists, and
 * off otherwise, so that another hypervisor's module may be loaded beside ours
 * as long as it is idle.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/preempt.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/reboot.h>

#include "compat.h"
#include "engine.h"
#include "hw_ops.h"
#include "space.h"
#include <linux/cvmm.h>

#define CVMM_VERSION	"0.1"

const struct cvmm_hw_ops *cvmm_hw;	/* NULL: spaces only */
u64 cvmm_host_xss;			/* IA32_XSS of this host, on all CPUs */

static DEFINE_MUTEX(engine_lock);
static unsigned int engine_users;	/* VMs; under engine_lock */
static bool engine_shutdown;		/* the system goes down: no VM any more */
static enum cpuhp_state hp_state;

static void enable_cpu(void *failures)
{
	if (cvmm_hw->cpu_enable())
		atomic_inc(failures);
}

static void disable_cpu(void *unused)
{
	cvmm_hw->cpu_disable();
}

static void test_busy(void *busy)
{
	if (cvmm_hw->busy())
		atomic_inc(busy);
}

/* Crash and emergency restart, each CPU, possibly in NMI context. */
static void emergency_disable(void)
{
	cvmm_hw->cpu_disable();
}

/*
 * cvmm_hw_get() - one more VM uses the hardware
 *
 * -EBUSY when another hypervisor has it on any CPU; nothing was touched then.
 */
int cvmm_hw_get(void)
{
	atomic_t count = ATOMIC_INIT(0);
	int err = 0;

	if (!cvmm_hw)
		return -EOPNOTSUPP;
	/* Hotplug first: its callbacks take engine_lock. */
	cpus_read_lock();
	mutex_lock(&engine_lock);
	if (engine_shutdown) {
		err = -ESHUTDOWN;
		goto unlock;
	}
	if (engine_users)
		goto count_user;
	on_each_cpu(test_busy, &count, 1);
	if (atomic_read(&count)) {
		pr_info_ratelimited("another hypervisor uses %s on this host\n", cvmm_hw->name);
		err = -EBUSY;
		goto unlock;
	}
	on_each_cpu(enable_cpu, &count, 1);
	if (atomic_read(&count)) {
		on_each_cpu(disable_cpu, NULL, 1);
		pr_err("%s could not be enabled on %d CPUs\n", cvmm_hw->name, atomic_read(&count));
		err = -EBUSY;
		goto unlock;
	}
	/* Whoever owns the hardware registers; the check above keeps others out. */
	cpu_emergency_register_virt_callback(emergency_disable);
count_user:
	engine_users++;
unlock:
	mutex_unlock(&engine_lock);
	cpus_read_unlock();
	return err;
}

void cvmm_hw_put(void)
{
	cpus_read_lock();
	mutex_lock(&engine_lock);
	if (!--engine_users) {
		cpu_emergency_unregister_virt_callback(emergency_disable);
		on_each_cpu(disable_cpu, NULL, 1);
	}
	mutex_unlock(&engine_lock);
	cpus_read_unlock();
}

static int cpu_comes(unsigned int cpu)
{
	atomic_t failures = ATOMIC_INIT(0);

	mutex_lock(&engine_lock);
	if (engine_users && !engine_shutdown) {
		unsigned long flags;

		local_irq_save(flags);
		enable_cpu(&failures);
		local_irq_restore(flags);
	}
	mutex_unlock(&engine_lock);
	return atomic_read(&failures) ? -EBUSY : 0;
}

static int cpu_goes(unsigned int cpu)
{
	mutex_lock(&engine_lock);
	if (engine_users)
		disable_cpu(NULL);
	mutex_unlock(&engine_lock);
	return 0;
}

/* Restart, power-off, kexec: vCPUs that still try to enter fail from now on. */
static int system_goes_down(struct notifier_block *nb, unsigned long action, void *unused)
{
	mutex_lock(&engine_lock);
	engine_shutdown = true;
	if (engine_users)
		on_each_cpu(disable_cpu, NULL, 1);
	mutex_unlock(&engine_lock);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = { .notifier_call = system_goes_down };

/* A guest that spans hosts cannot sleep with one of them; so none may. */
static int system_sleeps(struct notifier_block *nb, unsigned long action, void *unused)
{
	int err = 0;

	if (action != PM_SUSPEND_PREPARE && action != PM_HIBERNATION_PREPARE)
		return NOTIFY_DONE;
	mutex_lock(&engine_lock);
	if (engine_users) {
		pr_info("not suspending: %u virtual machines exist\n", engine_users);
		err = -EBUSY;
	}
	mutex_unlock(&engine_lock);
	return notifier_from_errno(err);
}

static struct notifier_block pm_nb = { .notifier_call = system_sleeps };

/*
 * cvmm_check_extension() - KVM_CHECK_EXTENSION, on the device and on a VM
 *
 * Only what works is told.
 */
int cvmm_check_extension(long ext)
{
	switch (ext) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_GET_TSC_KHZ:
	case KVM_CAP_ENABLE_CAP:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_X86_MSR_FILTER:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_INTR_SHADOW:
	case KVM_CAP_SREGS2:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_SET_GUEST_DEBUG:
	case KVM_CAP_X86_ROBUST_SINGLESTEP:
	case KVM_CAP_BINARY_STATS_FD:
		return 1;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return CVMM_GUESTDBG_VALID;
	case KVM_CAP_IRQ_ROUTING:
		/*
		 * QEMU insists on it, and never uses it without an interrupt controller
		 * in the kernel: there is a table for none, as on KVM without one.
		 */
		return 1;
	case KVM_CAP_MCE:
		return CVMM_MCE_BANKS;
	case KVM_CAP_XSAVE2:
		/* Nothing that is offered needs more (no AMX). */
		return sizeof(struct kvm_xsave);
	case KVM_CAP_X86_USER_SPACE_MSR:
		return KVM_MSR_EXIT_REASON_VALID_MASK;
	case KVM_CAP_NR_VCPUS:
		return min_t(unsigned int, num_online_cpus(), CVMM_MAX_VCPUS);
	case KVM_CAP_MAX_VCPUS:
		return CVMM_MAX_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return CVMM_MAX_VCPU_ID;
	case KVM_CAP_NR_MEMSLOTS:
		return CVMM_MAX_MEMSLOTS;
	default:
		return 0;
	}
}

static long get_info(void __user *argp)
{
	struct cvmm_info info = {
		.abi = CVMM_ABI_VERSION,
		.engine = cvmm_hw ? cvmm_hw->engine : CVMM_ENGINE_NONE,
		.features = cvmm_transport_features() |
			    (cvmm_hw ? CVMM_FEATURE_APIC_PAGE : 0),
		.version = CVMM_VERSION,
	};

	return copy_to_user(argp, &info, sizeof(info)) ? -EFAULT : 0;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return cvmm_vm_create(arg);
	case KVM_CHECK_EXTENSION:
		return cvmm_check_extension(arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : CVMM_RUN_PAGES * PAGE_SIZE;
	case KVM_GET_MSR_INDEX_LIST:
		return cvmm_get_msr_index_list(argp);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return cvmm_get_msr_feature_list(argp);
	case KVM_GET_MSRS:
		return cvmm_msr_io(NULL, argp, false);
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return put_user((u64)CVMM_MCE_CAP, (u64 __user *)argp);
	case KVM_GET_SUPPORTED_CPUID:
		return cvmm_get_supported_cpuid(argp);
	case CVMM_GET_INFO:
		return get_info(argp);
	case CVMM_CREATE_SPACE:
		return cvmm_space_create(argp);
	case CVMM_RDMA_ENDPOINT:
		return cvmm_transport_endpoint(CVMM_TRANSPORT_RDMA, argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice cvmm_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cvmm",
	.fops = &dev_fops,
	.mode = 0660,
};

static int __init engine_init(void)
{
	int err;

	if (cvmm_svm_ops.probe()) {
		pr_info("no usable SVM: spaces only\n");
		return 0;
	}
	err = cvmm_kick_init();
	if (err)
		return err;
	err = cvmm_svm_ops.cpu_alloc();
	if (err)
		goto exit_kick;
	cvmm_hw = &cvmm_svm_ops;
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsrl(MSR_IA32_XSS, cvmm_host_xss);
	/*
	 * For as long as the module is loaded: each change of the key patches
	 * the running kernel on all CPUs.
	 */
	preempt_notifier_inc();
	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "virt/cvmm:online", cpu_comes, cpu_goes);
	if (err < 0)
		goto dec_notifier;
	hp_state = err;
	err = register_reboot_notifier(&reboot_nb);
	if (err)
		goto remove_state;
	err = register_pm_notifier(&pm_nb);
	if (err)
		goto unregister_reboot;
	return 0;

unregister_reboot:
	unregister_reboot_notifier(&reboot_nb);
remove_state:
	cpuhp_remove_state(hp_state);
dec_notifier:
	preempt_notifier_dec();
	cvmm_hw->cpu_free();
	cvmm_hw = NULL;
exit_kick:
	cvmm_kick_exit();
	return err;
}

static void engine_exit(void)
{
	if (!cvmm_hw)
		return;
	unregister_pm_notifier(&pm_nb);
	unregister_reboot_notifier(&reboot_nb);
	cpuhp_remove_state(hp_state);
	preempt_notifier_dec();
	cvmm_hw->cpu_free();
	cvmm_hw = NULL;
	cvmm_kick_exit();
	/* Nested tables that were given up may still wait to be freed. */
	rcu_barrier();
}

static int __init cvmm_init(void)
{
	int err;

	err = engine_init();
	if (err)
		return err;
	err = cvmm_space_init();
	if (err)
		goto exit_engine;
	err = misc_register(&cvmm_dev);
	if (err)
		goto exit_space;
	return 0;

exit_space:
	cvmm_space_exit();
exit_engine:
	engine_exit();
	return err;
}

static void __exit cvmm_exit(void)
{
	misc_deregister(&cvmm_dev);
	cvmm_space_exit();
	engine_exit();
}

module_init(cvmm_init);
module_exit(cvmm_exit);
MODULE_DESCRIPTION("Clustered virtual machine monitor");
MODULE_LICENSE("GPL");
MODULE_VERSION(CVMM_VERSION);
