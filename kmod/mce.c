// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine-check registers of a vCPU: storage, with the rules of which values
 * may be written (APM vol. 2, 9.3), and machine checks that user space injects.
 * There is no bank until user space asks for some.
 */
#include <linux/bits.h>
#include <linux/nospec.h>
#include <asm/mce.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "engine.h"

enum { CTL, STATUS, ADDR, MISC, NR_REGS };	/* of a bank */

static unsigned int nr_banks(const struct cvmm_vcpu *vcpu)
{
	return vcpu->mcg_cap & MCG_BANKCNT_MASK;
}

/* The register of a bank that the guest has, or NULL. */
static u64 *bank_reg(struct cvmm_vcpu *vcpu, u32 index)
{
	u32 n = index - MSR_IA32_MC0_CTL, nr = nr_banks(vcpu) * NR_REGS;

	if (index < MSR_IA32_MC0_CTL || n >= nr)
		return NULL;
	n = array_index_nospec(n, nr);
	return &vcpu->mce_banks[n / NR_REGS][n % NR_REGS];
}

/* As cvmm_msr_read(), of the machine-check registers. */
int cvmm_mce_msr_read(struct cvmm_vcpu *vcpu, u32 index, u64 *val, bool host)
{
	const u64 *reg;

	switch (index) {
	case MSR_IA32_MCG_CAP:
		*val = vcpu->mcg_cap;
		return 0;
	case MSR_IA32_MCG_STATUS:
		*val = vcpu->mcg_status;
		return 0;
	case MSR_IA32_MCG_CTL:
		if (!(vcpu->mcg_cap & MCG_CTL_P) && !host)
			return CVMM_MSR_INVALID;
		*val = vcpu->mcg_ctl;
		return 0;
	}
	reg = bank_reg(vcpu, index);
	if (!reg)
		return CVMM_MSR_UNKNOWN;
	*val = *reg;
	return 0;
}

/* As cvmm_msr_write(), of the machine-check registers. */
int cvmm_mce_msr_write(struct cvmm_vcpu *vcpu, u32 index, u64 val, bool host)
{
	u64 *reg;

	switch (index) {
	case MSR_IA32_MCG_STATUS:
		vcpu->mcg_status = val;
		return 0;
	case MSR_IA32_MCG_CTL:
		if (!(vcpu->mcg_cap & MCG_CTL_P) && (val || !host))
			return CVMM_MSR_INVALID;
		if (val && ~val)
			return CVMM_MSR_INVALID;
		vcpu->mcg_ctl = val;
		return 0;
	}
	reg = bank_reg(vcpu, index);
	if (!reg)
		return CVMM_MSR_UNKNOWN;
	switch ((index - MSR_IA32_MC0_CTL) % NR_REGS) {
	case CTL:
		/* All or nothing; but systems clear bit 10 (K8's GART) and bit 0 and expect to live. */
		if (val && ~(val | BIT(10) | BIT(0)))
			return CVMM_MSR_INVALID;
		break;
	case STATUS:
		/* A guest may only clear it: HWCR.McStatusWrEn is never set. */
		if (val && !host)
			return CVMM_MSR_INVALID;
		break;
	}
	*reg = val;
	return 0;
}

/*
 * cvmm_mce_setup() - KVM_X86_SETUP_MCE
 * @cap:	what MCG_CAP is to say: 1 to CVMM_MCE_BANKS banks, and of CVMM_MCE_CAP
 *
 * Under vcpu->mutex.  -EINVAL when that is not supported.
 */
int cvmm_mce_setup(struct cvmm_vcpu *vcpu, u64 cap)
{
	unsigned int i, nr = cap & MCG_BANKCNT_MASK;

	if (!nr || nr > CVMM_MCE_BANKS)
		return -EINVAL;
	/* The number of extended registers is only told. */
	if (cap & ~(CVMM_MCE_CAP | MCG_BANKCNT_MASK | MCG_EXT_CNT_MASK))
		return -EINVAL;
	vcpu->mcg_cap = cap;
	if (cap & MCG_CTL_P)
		vcpu->mcg_ctl = ~0ULL;
	for (i = 0; i < nr; i++)
		vcpu->mce_banks[i][CTL] = ~0ULL;
	return 0;
}

/* An error that was not corrected and that nobody has to do anything about. */
static bool no_action(const struct kvm_x86_mce *mce)
{
	return !mce->mcg_status && mce->status & MCI_STATUS_UC &&
	       !(mce->status & (MCI_STATUS_PCC | MCI_STATUS_S | MCI_STATUS_AR));
}

static void record(u64 *bank, const struct kvm_x86_mce *mce, u64 overflow)
{
	bank[STATUS] = mce->status | overflow;
	bank[ADDR] = mce->addr;
	bank[MISC] = mce->misc;
}

/*
 * cvmm_mce_inject() - KVM_X86_SET_MCE: an error is found in a bank
 *
 * An uncorrected error that is enabled and needs action raises #MC, or shuts the
 * guest down when it handles another one or does not expect any; a corrected one
 * never hides an uncorrected one.  Under vcpu->mutex.  -EINVAL for a bank that is
 * not there or no valid status.
 */
int cvmm_mce_inject(struct cvmm_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	u64 overflow, *bank;

	if (mce->bank >= nr_banks(vcpu) || !(mce->status & MCI_STATUS_VAL))
		return -EINVAL;
	bank = vcpu->mce_banks[array_index_nospec(mce->bank, nr_banks(vcpu))];
	if (no_action(mce)) {
		record(bank, mce, 0);
		vcpu->mcg_status = 0;
		return 0;
	}
	overflow = bank[STATUS] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0;
	if (!(mce->status & MCI_STATUS_UC)) {
		if (overflow && bank[STATUS] & MCI_STATUS_UC)
			bank[STATUS] |= MCI_STATUS_OVER;
		else
			record(bank, mce, overflow);
		return 0;
	}
	if ((vcpu->mcg_cap & MCG_CTL_P && ~vcpu->mcg_ctl) || ~bank[CTL])
		return 0;
	if (vcpu->mcg_status & MCG_STATUS_MCIP || !(vcpu->cr4 & X86_CR4_MCE)) {
		vcpu->triple_fault = true;
		return 0;
	}
	record(bank, mce, overflow);
	vcpu->mcg_status = mce->mcg_status;
	cvmm_queue_exception(vcpu, X86_TRAP_MC, false, 0);
	return 0;
}
