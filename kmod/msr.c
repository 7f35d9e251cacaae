// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers that are kept or emulated in software, the list of
 * what KVM_GET_MSRS knows, and the filter of user space.
 */
#include <linux/bitmap.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/apicdef.h>
#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/msr.h>
#include <asm/mtrr.h>
#include <asm/tsc.h>

#include "compat.h"
#include "engine.h"
#include "hw_ops.h"

/* What user space needs to save and restore a vCPU. */
static const u32 msr_list[] = {
	MSR_IA32_TSC, MSR_IA32_TSC_ADJUST, MSR_EFER, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE, MSR_TSC_AUX,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	MSR_IA32_CR_PAT, MSR_IA32_APICBASE, MSR_IA32_MISC_ENABLE,
	MSR_IA32_MCG_STATUS, MSR_IA32_MCG_CTL, MSR_MTRRdefType,
	MSR_MTRRfix64K_00000, MSR_MTRRfix16K_80000, MSR_MTRRfix16K_A0000,
	MSR_MTRRfix4K_C0000, MSR_MTRRfix4K_C8000, MSR_MTRRfix4K_D0000, MSR_MTRRfix4K_D8000,
	MSR_MTRRfix4K_E0000, MSR_MTRRfix4K_E8000, MSR_MTRRfix4K_F0000, MSR_MTRRfix4K_F8000,
};

#define NR_MTRR_VAR	8	/* pairs */

/* Index into mtrr_fix, or -1. */
static int mtrr_fix_index(u32 index)
{
	switch (index) {
	case MSR_MTRRfix64K_00000:
		return 0;
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		return 1 + index - MSR_MTRRfix16K_80000;
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return 3 + index - MSR_MTRRfix4K_C0000;
	}
	return -1;
}

/*
 * cvmm_msr_read() - RDMSR, or KVM_GET_MSRS with @host
 *
 * 0, CVMM_MSR_INVALID, CVMM_MSR_UNKNOWN.
 */
int cvmm_msr_read(struct cvmm_vcpu *vcpu, u32 index, u64 *val, bool host)
{
	int i = mtrr_fix_index(index);

	if (i >= 0) {
		i = array_index_nospec(i, ARRAY_SIZE(vcpu->mtrr_fix));
		*val = vcpu->mtrr_fix[i];
		return 0;
	}
	if (cvmm_hw->msr_get(vcpu, index, val))
		return 0;
	switch (index) {
	case MSR_IA32_TSC:
		*val = rdtsc() + vcpu->tsc_offset;
		return 0;
	case MSR_IA32_TSC_ADJUST:
		if (!host && !vcpu->cpuid_tsc_adjust)
			return CVMM_MSR_UNKNOWN;
		*val = vcpu->tsc_adjust;
		return 0;
	case MSR_EFER:
		*val = vcpu->efer;
		return 0;
	case MSR_IA32_APICBASE:
		*val = vcpu->apic_base;
		return 0;
	case MSR_TSC_AUX:
		*val = vcpu->tsc_aux;
		return 0;
	case MSR_IA32_MISC_ENABLE:
		*val = vcpu->misc_enable;
		return 0;
	case MSR_MTRRcap:
		*val = NR_MTRR_VAR | 1 << 8 | 1 << 10;	/* fixed ranges, WC */
		return 0;
	case MSR_MTRRdefType:
		*val = vcpu->mtrr_def_type;
		return 0;
	case MTRRphysBase_MSR(0) ... MTRRphysMask_MSR(NR_MTRR_VAR - 1):
		i = array_index_nospec(index - MTRRphysBase_MSR(0), ARRAY_SIZE(vcpu->mtrr_var));
		*val = vcpu->mtrr_var[i];
		return 0;
	/* There, with nothing in them. */
	case MSR_IA32_P5_MC_ADDR:
	case MSR_IA32_P5_MC_TYPE:
	case MSR_IA32_DEBUGCTLMSR:
	case MSR_IA32_UCODE_REV:
	case MSR_AMD64_PATCH_LOADER:
	case MSR_AMD64_SYSCFG:
	case MSR_AMD64_OSVW_ID_LENGTH:
	case MSR_AMD64_OSVW_STATUS:
	case MSR_AMD64_LS_CFG:
	case MSR_AMD64_DC_CFG:
	case MSR_AMD64_BU_CFG2:
	case MSR_AMD64_TSC_RATIO:
	case MSR_F15H_EX_CFG:
	case MSR_FAM10H_MMIO_CONF_BASE:
	case MSR_AMD64_DE_CFG:
	case MSR_K7_HWCR:
	case MSR_AMD64_NB_CFG:
	case MSR_VM_HSAVE_PA:
		*val = 0;
		return 0;
	case MSR_K8_INT_PENDING_MSG:
		*val = 0;
		return 0;
	/* KVM's clock, never there; but QEMU (7.2) saves and restores it always. */
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		if (!host)
			break;
		*val = 0;
		return 0;
	}
	return cvmm_mce_msr_read(vcpu, index, val, host);
}

static bool valid_mtrr_type(u64 t)
{
	return t < 8 && (1 << t) & 0x73;	/* UC, WC, WT, WP, WB */
}

/* Reserved bits, and x2APIC mode of a disabled APIC (APM vol. 2, 16.9). */
bool cvmm_apic_base_valid(struct cvmm_vcpu *vcpu, u64 val)
{
	const u64 reserved = 0x2ff | ~(u64)0 << cvmm_guest_maxphyaddr(vcpu);

	return !(val & reserved) && (val & MSR_IA32_APICBASE_ENABLE || !(val & X2APIC_ENABLE));
}

/*
 * cvmm_set_tsc_offset() - user space sets a vCPU's TSC, and that of vCPUs to come
 *
 * IA32_TSC_ADJUST has no part in this.  Under vcpu->mutex; takes vm->lock.
 */
void cvmm_set_tsc_offset(struct cvmm_vcpu *vcpu, u64 offset)
{
	mutex_lock(&vcpu->vm->lock);
	vcpu->vm->tsc_offset = offset;
	vcpu->tsc_offset = offset;
	mutex_unlock(&vcpu->vm->lock);
}

/*
 * User space writes a vCPU's TSC, and cannot do so for several at one moment: 0, or
 * what the VM's TSC is within a second, means that one, as on KVM.
 */
static void host_sets_tsc(struct cvmm_vcpu *vcpu, u64 val)
{
	struct cvmm_vm *vm = vcpu->vm;
	u64 second = vm->tsc_khz * 1000ULL, now;

	mutex_lock(&vm->lock);
	now = rdtsc();
	if (val && val - (now + vm->tsc_offset) + second >= 2 * second)
		vm->tsc_offset = val - now;
	vcpu->tsc_offset = vm->tsc_offset;
	mutex_unlock(&vm->lock);
}

/* The guest moves its TSC, by either register: that shows in both (SDM vol. 3, "Time-Stamp Counter Adjustment"). */
static void guest_moves_tsc(struct cvmm_vcpu *vcpu, u64 by)
{
	vcpu->tsc_offset += by;
	vcpu->tsc_adjust += by;
}

/* WRMSR, or KVM_SET_MSRS with @host; results as cvmm_msr_read(). */
int cvmm_msr_write(struct cvmm_vcpu *vcpu, u32 index, u64 val, bool host)
{
	int i = mtrr_fix_index(index);
	u32 type;

	if (i >= 0) {
		for (type = 0; type < 8; type++)
			if (!valid_mtrr_type(val >> type * 8 & 0xff))
				return CVMM_MSR_INVALID;
		i = array_index_nospec(i, ARRAY_SIZE(vcpu->mtrr_fix));
		vcpu->mtrr_fix[i] = val;
		return 0;
	}
	switch (index) {
	case MSR_IA32_CR_PAT:
		for (type = 0; type < 8; type++) {
			u64 t = val >> type * 8 & 0xff;

			if (t > 7 || t == 2 || t == 3)
				return CVMM_MSR_INVALID;
		}
		break;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_LSTAR:
	case MSR_CSTAR:
		if ((u64)((s64)(val << 16) >> 16) != val)
			return CVMM_MSR_INVALID;
		break;
	}
	if (cvmm_hw->msr_set(vcpu, index, val))
		return 0;
	switch (index) {
	case MSR_IA32_TSC:
		if (host)
			host_sets_tsc(vcpu, val);
		else
			guest_moves_tsc(vcpu, val - rdtsc() - vcpu->tsc_offset);
		return 0;
	case MSR_IA32_TSC_ADJUST:
		if (host)	/* to restore it: the TSC was restored by itself */
			vcpu->tsc_adjust = val;
		else if (vcpu->cpuid_tsc_adjust)
			guest_moves_tsc(vcpu, val - vcpu->tsc_adjust);
		else
			return CVMM_MSR_UNKNOWN;
		return 0;
	case MSR_EFER:
		/* LMA follows CR0.PG, for user space too, as on KVM: sregs restore it. */
		return cvmm_set_efer(vcpu, val) ? CVMM_MSR_INVALID : 0;
	case MSR_IA32_APICBASE:
		if (!cvmm_apic_base_valid(vcpu, val))
			return CVMM_MSR_INVALID;
		/* The APIC is user space's: it sees moves and modes through kvm_run. */
		vcpu->apic_base = val;
		return 0;
	case MSR_TSC_AUX:
		if (val >> 32)
			return CVMM_MSR_INVALID;
		cvmm_hw->set_tsc_aux(vcpu, val);
		return 0;
	case MSR_IA32_MISC_ENABLE:
		vcpu->misc_enable = val;
		return 0;
	case MSR_MTRRdefType:
		if (val & ~0xcffULL || !valid_mtrr_type(val & 0xff))
			return CVMM_MSR_INVALID;
		vcpu->mtrr_def_type = val;
		return 0;
	case MTRRphysBase_MSR(0) ... MTRRphysMask_MSR(NR_MTRR_VAR - 1):
		i = array_index_nospec(index - MTRRphysBase_MSR(0), ARRAY_SIZE(vcpu->mtrr_var));
		vcpu->mtrr_var[i] = val;
		return 0;
	case MSR_IA32_DEBUGCTLMSR:
		return val ? CVMM_MSR_INVALID : 0;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		if (!host)
			break;
		return val ? CVMM_MSR_INVALID : 0;
	/* Written by kernels that find them in the family; nothing happens. */
	case MSR_IA32_UCODE_REV:
	case MSR_AMD64_PATCH_LOADER:
	case MSR_AMD64_SYSCFG:
	case MSR_AMD64_LS_CFG:
	case MSR_AMD64_DC_CFG:
	case MSR_AMD64_BU_CFG2:
	case MSR_F15H_EX_CFG:
	case MSR_AMD64_DE_CFG:
	case MSR_K7_HWCR:
	case MSR_AMD64_NB_CFG:
		return 0;
	}
	return cvmm_mce_msr_write(vcpu, index, val, host);
}

/*
 * What a vCPU reads there before anybody writes, the same on each: features of
 * the machine that are told in registers.
 */
static const u32 feature_list[] = { MSR_AMD64_DE_CFG, MSR_IA32_UCODE_REV };

static int put_msr_list(struct kvm_msr_list __user *arg, const u32 *list, u32 nr)
{
	u32 room;

	if (get_user(room, &arg->nmsrs) || put_user(nr, &arg->nmsrs))
		return -EFAULT;
	if (room < nr)
		return -E2BIG;
	return copy_to_user(arg->indices, list, nr * sizeof(*list)) ? -EFAULT : 0;
}

/* KVM_GET_MSR_INDEX_LIST: -E2BIG with the number needed when there is no room. */
int cvmm_get_msr_index_list(struct kvm_msr_list __user *arg)
{
	return put_msr_list(arg, msr_list, ARRAY_SIZE(msr_list));
}

/* KVM_GET_MSR_FEATURE_INDEX_LIST, likewise. */
int cvmm_get_msr_feature_list(struct kvm_msr_list __user *arg)
{
	return put_msr_list(arg, feature_list, ARRAY_SIZE(feature_list));
}

static int feature_msr_read(u32 index, u64 *val)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(feature_list); i++) {
		if (index == feature_list[i]) {
			*val = 0;	/* as cvmm_msr_read() */
			return 0;
		}
	}
	return CVMM_MSR_UNKNOWN;
}

/*
 * KVM_GET_MSRS and KVM_SET_MSRS: how many were done before the first that failed.
 * @vcpu NULL, to read only: KVM_GET_MSRS on the device, of the feature MSRs.
 */
int cvmm_msr_io(struct cvmm_vcpu *vcpu, struct kvm_msrs __user *arg, bool write)
{
	struct kvm_msr_entry e;
	u32 nr, i;
	u64 val;

	if (get_user(nr, &arg->nmsrs))
		return -EFAULT;
	if (nr > 256)
		return -E2BIG;
	for (i = 0; i < nr; i++) {
		if (copy_from_user(&e, &arg->entries[i], sizeof(e)))
			return -EFAULT;
		if (write) {
			if (cvmm_msr_write(vcpu, e.index, e.data, true))
				break;
			continue;
		}
		if (vcpu ? cvmm_msr_read(vcpu, e.index, &val, true) :
			   feature_msr_read(e.index, &val))
			break;
		e.data = val;
		if (copy_to_user(&arg->entries[i], &e, sizeof(e)))
			return -EFAULT;
	}
	return i;
}

/* Immutable once published. */
struct cvmm_msr_filter {
	bool default_allow;
	u32 nr;
	struct {
		u32 flags, base, nmsrs;
		unsigned long *bitmap;	/* bit set: allowed */
	} range[KVM_MSR_FILTER_MAX_RANGES];
};

void cvmm_free_msr_filter(struct cvmm_msr_filter *f)
{
	u32 i;

	if (!f)
		return;
	for (i = 0; i < f->nr; i++)
		kfree(f->range[i].bitmap);
	kfree(f);
}

/*
 * cvmm_set_msr_filter() - KVM_X86_SET_MSR_FILTER
 *
 * Registers that the hardware would let pass are intercepted when the filter
 * names them.
 */
int cvmm_set_msr_filter(struct cvmm_vm *vm, const struct kvm_msr_filter *uf)
{
	struct cvmm_msr_filter *f, *old;
	u32 i;
	int err;

	if (uf->flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->default_allow = !(uf->flags & KVM_MSR_FILTER_DEFAULT_DENY);
	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &uf->ranges[i];
		unsigned long *bitmap;

		if (!r->nmsrs)
			continue;
		err = -EINVAL;
		if (r->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE) || !r->flags)
			goto free;
		if (r->nmsrs > 0x600 * 8 || r->base + r->nmsrs < r->base)
			goto free;
		bitmap = bitmap_zalloc(r->nmsrs, GFP_KERNEL_ACCOUNT);
		err = -ENOMEM;
		if (!bitmap)
			goto free;
		f->range[f->nr].flags = r->flags;
		f->range[f->nr].base = r->base;
		f->range[f->nr].nmsrs = r->nmsrs;
		f->range[f->nr].bitmap = bitmap;
		f->nr++;
		err = -EFAULT;
		if (copy_from_user(bitmap, (const void __user *)r->bitmap, DIV_ROUND_UP(r->nmsrs, 8)))
			goto free;
	}
	if (!f->nr && !f->default_allow) {
		err = -EINVAL;
		goto free;
	}
	mutex_lock(&vm->lock);
	old = rcu_replace_pointer(vm->msr_filter, f, lockdep_is_held(&vm->lock));
	cvmm_hw->msr_filter_changed(vm);
	synchronize_srcu(&vm->srcu);
	mutex_unlock(&vm->lock);
	cvmm_free_msr_filter(old);
	return 0;
free:
	cvmm_free_msr_filter(f);
	return err;
}

/* Under vm->srcu or vm->lock.  APIC registers are never filtered, as on KVM. */
bool cvmm_msr_allowed(struct cvmm_vm *vm, u32 index, bool write)
{
	u32 flag = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
	const struct cvmm_msr_filter *f;
	u32 i;

	f = srcu_dereference_check(vm->msr_filter, &vm->srcu, lockdep_is_held(&vm->lock));
	if (!f || (index >= 0x800 && index <= 0x8ff))
		return true;
	for (i = 0; i < f->nr; i++) {
		u32 n = index - f->range[i].base;

		if (f->range[i].flags & flag && n < f->range[i].nmsrs)
			return test_bit(array_index_nospec(n, f->range[i].nmsrs), f->range[i].bitmap);
	}
	return f->default_allow;
}
