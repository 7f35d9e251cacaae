// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM on the host's processors: detection, switching it on and off, address
 * space identifiers, and entering a guest.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/context_tracking.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mem_encrypt.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/io.h>
#include <asm/mce.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>

#include "../compat.h"
#include "../trace_engine.h"
#include "svm.h"

#define SVM_LEAF	0x8000000a

/*
 * To run without what a processor has: the flush of one ASID becomes a new ASID, the
 * length of an intercepted instruction and INVLPG's operand come from the decoder,
 * all of the VMCB is loaded at each entry.
 */
static uint use_features = ~0U;
module_param_named(svm_features, use_features, uint, 0444);
MODULE_PARM_DESC(svm_features, "SVM features to use if the processor has them, as in CPUID 8000000Ah EDX (default all)");

static bool vmcb_clean = true;
module_param(vmcb_clean, bool, 0644);
MODULE_PARM_DESC(vmcb_clean, "let processors keep what is unchanged in a VMCB (default on)");

/* Of vCPUs created from now on, as all that follows. */
ushort svm_pause_count = 3000;
module_param_named(pause_filter_count, svm_pause_count, ushort, 0644);
MODULE_PARM_DESC(pause_filter_count, "times that a guest may execute PAUSE in a loop before another vCPU gets its CPU, where the processor can count them; 0: any number (default 3000)");

ushort svm_pause_thresh = 128;
module_param_named(pause_filter_thresh, svm_pause_thresh, ushort, 0644);
MODULE_PARM_DESC(pause_filter_thresh, "cycles from one PAUSE to the next that make it a loop (default 128)");

bool svm_pause_intercept;
module_param_named(pause_intercept, svm_pause_intercept, bool, 0644);
MODULE_PARM_DESC(pause_intercept, "exit at each PAUSE (for tests)");

bool svm_check_clean;
module_param_named(check_vmcb_clean, svm_check_clean, bool, 0644);
MODULE_PARM_DESC(check_vmcb_clean, "warn of changes to a VMCB that its clean bits do not tell (for tests)");

/*
 * Per CPU.  An ASID is a vCPU's from the generation it was handed out in; when
 * all are used up a new generation begins with a flush of all of them.
 */
struct svm_cpu {
	bool enabled;
	struct page *hsave;		/* the processor's own: VM_HSAVE_PA */
	struct page *host;		/* VMSAVE of the host's state */
	u64 host_pa;
	u64 host_tsc_aux;
	u64 asid_generation;
	u32 next_asid;
	struct svm_vcpu *last;		/* whose branch history this CPU holds */
};

static DEFINE_PER_CPU(struct svm_cpu, svm_cpu);
static u32 nr_asids;
static struct page *iopm;
u32 svm_features;
u64 svm_iopm_pa;

int svm_probe(void)
{
	u64 vm_cr;

	if (boot_cpu_data.x86_vendor != X86_VENDOR_AMD &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_HYGON)
		return -ENODEV;
	if (!boot_cpu_has(X86_FEATURE_SVM) || boot_cpu_data.extended_cpuid_level < SVM_LEAF) {
		pr_info("this processor has no SVM\n");
		return -ENODEV;
	}
	if (rdmsrl_safe(MSR_VM_CR, &vm_cr) || vm_cr & SVM_VM_CR_SVM_DIS_MASK) {
		pr_info("SVM is disabled by the firmware (VM_CR.SVMDIS)\n");
		return -ENODEV;
	}
	svm_features = cpuid_edx(SVM_LEAF) & use_features;
	if (!(svm_features & SVM_FEAT_NPT)) {
		pr_info("no nested paging\n");
		return -ENODEV;
	}
	nr_asids = cpuid_ebx(SVM_LEAF);
	if (nr_asids < 2) {
		pr_info("this processor has no address space identifiers\n");
		return -ENODEV;
	}
	return 0;
}

bool svm_busy(void)
{
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	return efer & EFER_SVME && !this_cpu_read(svm_cpu.enabled);
}

void svm_cpu_free(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

		if (c->hsave)
			__free_page(c->hsave);
		if (c->host)
			__free_page(c->host);
		c->hsave = NULL;
		c->host = NULL;
	}
	if (iopm)
		__free_pages(iopm, SVM_IOPM_ORDER);
	iopm = NULL;
}

int svm_cpu_alloc(void)
{
	int cpu;

	iopm = alloc_pages(GFP_KERNEL, SVM_IOPM_ORDER);
	if (!iopm)
		return -ENOMEM;
	memset(page_address(iopm), 0xff, PAGE_SIZE << SVM_IOPM_ORDER);
	svm_iopm_pa = __sme_set(page_to_phys(iopm));
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

		c->hsave = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		c->host = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		if (!c->hsave || !c->host) {
			svm_cpu_free();
			return -ENOMEM;
		}
		c->host_pa = __sme_set(page_to_phys(c->host));
	}
	return 0;
}

int svm_cpu_enable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	wrmsrl(MSR_VM_HSAVE_PA, __sme_set(page_to_phys(c->hsave)));
	if (boot_cpu_has(X86_FEATURE_RDTSCP))
		rdmsrl(MSR_TSC_AUX, c->host_tsc_aux);
	/* What the TLB holds under any ASID is not ours: the first entry flushes. */
	c->asid_generation++;
	c->next_asid = nr_asids;
	c->last = NULL;
	cvmm_reduce_speculation(true);
	WRITE_ONCE(c->enabled, true);
	return 0;
}

void svm_cpu_disable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	if (!c->enabled)
		return;
	WRITE_ONCE(c->enabled, false);
	cvmm_reduce_speculation(false);
	/* In a crash this may be between CLGI and STGI. */
	asm volatile("stgi" : : : "memory");
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~(u64)EFER_SVME);
}

void svm_vcpu_load(struct cvmm_vcpu *vcpu, bool changed)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	struct svm_vcpu *svm = to_svm(vcpu);

	if (changed) {
		svm->asid_generation = 0;
		svm->clean = 0;
	}
	if (!c->enabled)
		return;
	if (c->last != svm) {
		c->last = svm;
		indirect_branch_prediction_barrier();
	}
	/* Nothing of this changes until the thread leaves this CPU or the kernel. */
	asm volatile("vmsave %0" : : "a" (c->host_pa) : "memory");
	if (boot_cpu_has(X86_FEATURE_RDTSCP) && vcpu->tsc_aux != c->host_tsc_aux)
		wrmsrl(MSR_TSC_AUX, vcpu->tsc_aux);
}

void svm_vcpu_put(struct cvmm_vcpu *vcpu)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	if (!c->enabled)
		return;
	if (boot_cpu_has(X86_FEATURE_RDTSCP) && vcpu->tsc_aux != c->host_tsc_aux)
		wrmsrl(MSR_TSC_AUX, c->host_tsc_aux);
}

void svm_set_tsc_aux(struct cvmm_vcpu *vcpu, u32 val)
{
	preempt_disable();
	vcpu->tsc_aux = val;
	if (vcpu->loaded && this_cpu_read(svm_cpu.enabled) &&
	    boot_cpu_has(X86_FEATURE_RDTSCP))
		wrmsrl(MSR_TSC_AUX, val);
	preempt_enable();
}

/* Before @svm is freed: another one may get its address. */
void svm_forget_vcpu(struct svm_vcpu *svm)
{
	int cpu;

	for_each_possible_cpu(cpu)
		cmpxchg(&per_cpu_ptr(&svm_cpu, cpu)->last, svm, NULL);
}

/*
 * All translations of this vCPU.  Without flush-by-ASID a new ASID does the
 * same: what is cached under the old one is never used again before the next
 * generation flushes it.  (QEMU 7.2's emulation flushes at each entry anyway.)
 */
void svm_flush_tlb(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm_features & SVM_FEAT_FLUSHBYASID)
		svm_put(svm, control.tlb_ctl, TLB_CONTROL_FLUSH_ASID);
	else
		svm->asid_generation = 0;
}

/*
 * The translation of @linear, now: this CPU's TLB may have it under the vCPU's ASID.
 * What others have is of ASIDs that are never used again.
 */
void svm_flush_page(struct cvmm_vcpu *vcpu, u64 linear)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *c;

	preempt_disable();
	c = this_cpu_ptr(&svm_cpu);
	if (!vcpu->loaded || !c->enabled)
		svm_flush_tlb(vcpu);
	else if (svm->asid_generation == c->asid_generation)
		asm volatile("invlpga %%rax, %%ecx" : :
			     "a" (linear), "c" (svm->vmcb->control.asid) : "memory");
	preempt_enable();
}

static void take_asid(struct svm_cpu *c, struct svm_vcpu *svm)
{
	if (c->next_asid >= nr_asids) {
		c->asid_generation++;
		c->next_asid = 1;	/* 0 is the host's */
		svm_put(svm, control.tlb_ctl, TLB_CONTROL_FLUSH_ALL_ASID);
	}
	svm->asid_generation = c->asid_generation;
	svm_put(svm, control.asid, c->next_asid++);
	/* SVM may have been off since: nothing is known of what the processor has. */
	svm->clean = 0;
}

static noinstr void run(struct cvmm_vcpu *vcpu, struct svm_vcpu *svm, u64 host_pa)
{
	if (!context_tracking_guest_enter())
		cvmm_rcu_note_guest();
	asm volatile("clgi" : : : "memory");
	cvmm_svm_run(svm->vmcb_pa, vcpu->regs, host_pa);
	/* NMIs and machine checks that waited are taken here, on the host's state. */
	asm volatile("stgi" : : : "memory");
	context_tracking_guest_exit();
}

/* What event_inj held is delivered or shows up in exit_int_info. */
static void finish_injection(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	u32 info = c->exit_int_info;
	u8 vector = info & SVM_EXITINTINFO_VEC_MASK;

	switch (svm->injecting) {
	case SVM_EXCEPTION:
		vcpu->exception.pending = false;
		break;
	case SVM_IRQ:
		vcpu->irq_pending = false;
		vcpu->irq_injected = false;
		cvmm_vcpu_count(vcpu, CVMM_EE_IRQ_INJECTED);
		break;
	case SVM_NMI:
		vcpu->nmi_injected = false;
		break;
	case SVM_NOTHING:
		break;
	}
	svm->injecting = SVM_NOTHING;
	svm_put(svm, control.event_inj, 0);

	if (!(info & SVM_EXITINTINFO_VALID))
		return;
	/* The exit struck while an event was being delivered: deliver it again. */
	switch (info & SVM_EXITINTINFO_TYPE_MASK) {
	case SVM_EXITINTINFO_TYPE_NMI:
		vcpu->nmi_injected = true;
		break;
	case SVM_EXITINTINFO_TYPE_INTR:
		vcpu->irq_pending = true;
		vcpu->irq_injected = true;
		vcpu->irq_vector = vector;
		break;
	case SVM_EXITINTINFO_TYPE_EXEPT:
		/* INT3 and INTO run again: RIP is still at the instruction. */
		if (vector == X86_TRAP_BP || vector == X86_TRAP_OF)
			break;
		vcpu->exception = (struct cvmm_exception) {
			.pending = true,
			.vector = vector,
			.has_error = info & SVM_EXITINTINFO_VALID_ERR,
			.error = c->exit_int_info_err,
		};
		break;
	case SVM_EXITINTINFO_TYPE_SOFT:
		break;	/* likewise INT n */
	}
}

static void put_clean(struct svm_vcpu *svm)
{
	bool use = svm_features & SVM_FEAT_VMCBCLEAN && READ_ONCE(vmcb_clean);

	if (unlikely(svm->seen)) {
		u32 stale = vmcb_clean_stale(svm->vmcb, svm->seen, svm->clean);

		WARN_ONCE(stale, "VMCB changed, but its clean bits %#x say it is not\n", stale);
		svm->clean &= ~stale;
	}
	svm_put(svm, control.clean, use ? svm->clean : 0);
}

/* IRQs off, loaded. */
void svm_enter(struct cvmm_vcpu *vcpu)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb *vmcb = svm->vmcb;
	const struct vmcb_save_area *save = &vmcb->save;
	u64 rflags = vcpu->rflags;

	svm->entry_failed = !c->enabled || svm->no_tables;
	if (svm->entry_failed)
		return;

	if (unlikely(vcpu->guest_debug)) {
		svm_put(svm, save.dr6, DR6_RESERVED);
		if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)
			rflags |= X86_EFLAGS_TF;
	}
	svm_put(svm, save.rax, vcpu->regs[CVMM_RAX]);
	svm_put(svm, save.rsp, vcpu->regs[CVMM_RSP]);
	svm_put(svm, save.rip, vcpu->rip);
	svm_put(svm, save.rflags, rflags);
	svm_put(svm, save.cr2, vcpu->cr2);
	svm_put(svm, control.tsc_offset, vcpu->tsc_offset);
	if (svm->asid_generation != c->asid_generation)
		take_asid(c, svm);
	put_clean(svm);

	trace_cvmm_vcpu_enter(vcpu->id, vcpu->rip, vmcb->control.event_inj);
	run(vcpu, svm, c->host_pa);

	/* VMSCAPE: the kernel does it before this CPU runs user space again. */
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	/* A state that VMRUN refuses leaves nothing certain. */
	svm->clean = vmcb->control.exit_code == (u32)SVM_EXIT_ERR ? 0 : VMCB_CLEAN_ALL;
	if (unlikely(svm->seen))
		memcpy(svm->seen, vmcb, VMCB_CLEAN_SIZE);
	svm_put(svm, control.tlb_ctl, TLB_CONTROL_DO_NOTHING);
	vcpu->regs[CVMM_RAX] = save->rax;
	vcpu->regs[CVMM_RSP] = save->rsp;
	vcpu->rip = save->rip;
	if (unlikely(vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		vcpu->rflags = (save->rflags & ~X86_EFLAGS_TF) | (vcpu->rflags & X86_EFLAGS_TF);
	else
		vcpu->rflags = save->rflags;
	vcpu->cr2 = save->cr2;
	if (!svm->tables_active)
		vcpu->cr3 = save->cr3;
	if (likely(!vcpu->guest_debug)) {
		vcpu->dr6 = save->dr6;
		vcpu->dr7 = save->dr7;
	}
	trace_cvmm_vcpu_exit(vcpu->id, vcpu->rip, vmcb->control.exit_code,
			     vmcb->control.exit_info_1, vmcb->control.exit_info_2,
			     vmcb->control.exit_int_info);
	finish_injection(vcpu);

#ifdef CONFIG_X86_MCE	/* else machine checks are off */
	if (unlikely(vmcb->control.exit_code == SVM_EXIT_EXCP_BASE + X86_TRAP_MC)) {
		/* The exit came before the host could take it: hand it over, as from user mode. */
		struct pt_regs regs = { .cs = 3, .flags = X86_EFLAGS_IF };

		do_machine_check(&regs);
	}
#endif
}
