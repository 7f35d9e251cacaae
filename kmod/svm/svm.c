// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM behind hw_ops: the VMCB of a vCPU, its registers, and events to deliver.
 * Section numbers are of the AMD64 Architecture Programmer's Manual, vol. 2.
 */
#include <linux/gfp.h>
#include <linux/mem_encrypt.h>
#include <linux/slab.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/tlbflush.h>

#include "svm.h"
#include <linux/cvmm.h>

/* 15.10: two bits per MSR in three ranges of 8192; -1 outside them. */
static int msrpm_bit(u32 index)
{
	if (index < 0x2000)
		return index * 2;
	if (index - 0xc0000000 < 0x2000)
		return (0x2000 + index - 0xc0000000) * 2;
	if (index - 0xc0010000 < 0x2000)
		return (0x4000 + index - 0xc0010000) * 2;
	return -1;
}

/* Registers that VMLOAD, VMSAVE or VMRUN switch: the guest may have them directly. */
static const u32 direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

/* Under vm->lock, or before the VM is used. */
static void svm_msr_filter_changed(struct cvmm_vm *vm)
{
	struct svm_vm *svm = vm->hw;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(direct_msrs); i++) {
		int bit = msrpm_bit(direct_msrs[i]);
		unsigned long *map = (unsigned long *)svm->msrpm;

		assign_bit(bit, map, !cvmm_msr_allowed(vm, direct_msrs[i], false));
		assign_bit(bit + 1, map, !cvmm_msr_allowed(vm, direct_msrs[i], true));
	}
}

static int svm_vm_create(struct cvmm_vm *vm)
{
	struct svm_vm *svm = kzalloc(sizeof(*svm), GFP_KERNEL_ACCOUNT);
	int err;

	if (!svm)
		return -ENOMEM;
	svm->msrpm = (u8 *)__get_free_pages(GFP_KERNEL_ACCOUNT, SVM_MSRPM_ORDER);
	if (!svm->msrpm) {
		kfree(svm);
		return -ENOMEM;
	}
	err = svm_tables_vm_create(svm);
	if (err) {
		free_pages((unsigned long)svm->msrpm, SVM_MSRPM_ORDER);
		kfree(svm);
		return err;
	}
	memset(svm->msrpm, 0xff, PAGE_SIZE << SVM_MSRPM_ORDER);
	svm->msrpm_pa = __sme_pa(svm->msrpm);
	vm->hw = svm;
	mutex_lock(&vm->lock);
	svm_msr_filter_changed(vm);
	mutex_unlock(&vm->lock);
	return 0;
}

static void svm_vm_destroy(struct cvmm_vm *vm)
{
	struct svm_vm *svm = vm->hw;

	svm_tables_vm_destroy(svm);
	free_pages((unsigned long)svm->msrpm, SVM_MSRPM_ORDER);
	kfree(svm);
}

static const u8 fixed_intercepts[] = {
	INTERCEPT_CR0_WRITE, INTERCEPT_CR4_WRITE, INTERCEPT_CR8_WRITE,
	INTERCEPT_INTR, INTERCEPT_NMI, INTERCEPT_SMI, INTERCEPT_INIT,
	INTERCEPT_RDPMC, INTERCEPT_CPUID, INTERCEPT_INVD, INTERCEPT_WBINVD, INTERCEPT_HLT,
	INTERCEPT_INVLPGA, INTERCEPT_IOIO_PROT, INTERCEPT_MSR_PROT, INTERCEPT_TASK_SWITCH,
	INTERCEPT_SHUTDOWN, INTERCEPT_VMRUN, INTERCEPT_VMMCALL, INTERCEPT_VMLOAD,
	INTERCEPT_VMSAVE, INTERCEPT_STGI, INTERCEPT_CLGI, INTERCEPT_SKINIT,
	INTERCEPT_MONITOR, INTERCEPT_MWAIT, INTERCEPT_XSETBV, INTERCEPT_RDPRU, INTERCEPT_RSM,
	/*
	 * #MC is the host's.  #DB and #AC can be made to recur for ever within one
	 * instruction, with no interrupt window between.
	 */
	INTERCEPT_EXCEPTION_OFFSET + X86_TRAP_MC,
	INTERCEPT_EXCEPTION_OFFSET + X86_TRAP_DB,
	INTERCEPT_EXCEPTION_OFFSET + X86_TRAP_AC,
};

/*
 * 15.14.4: exit from loops with PAUSE, which wait for another vCPU.  Without the
 * processor's filter each PAUSE would exit, which costs more than it gives.
 */
static void intercept_pause(struct svm_vcpu *svm)
{
	u16 count = READ_ONCE(svm_pause_count);
	bool each = READ_ONCE(svm_pause_intercept);

	if (!each) {
		if (!(svm_features & SVM_FEAT_PAUSEFILTER) || !count)
			return;
		svm_put(svm, control.pause_filter_count, count);
		if (svm_features & SVM_FEAT_PAUSETHRESH)
			svm_put(svm, control.pause_filter_thresh, READ_ONCE(svm_pause_thresh));
	}
	svm_intercept(svm, INTERCEPT_PAUSE, true);
}

static int svm_vcpu_create(struct cvmm_vcpu *vcpu)
{
	struct svm_vm *vm = vcpu->vm->hw;
	struct svm_vcpu *svm;
	unsigned int i;

	svm = kzalloc(sizeof(*svm), GFP_KERNEL_ACCOUNT);
	if (!svm)
		return -ENOMEM;
	svm->vmcb = (const struct vmcb *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!svm->vmcb)
		goto free_svm;
	if (svm_check_clean) {
		svm->seen = kmalloc(VMCB_CLEAN_SIZE, GFP_KERNEL_ACCOUNT);
		if (!svm->seen)
			goto free_vmcb;
	}
	svm->vmcb_pa = __sme_pa(svm->vmcb);
	for (i = 0; i < ARRAY_SIZE(fixed_intercepts); i++)
		svm_intercept(svm, fixed_intercepts[i], true);
	intercept_pause(svm);
	/* Debug registers are kept in software until the guest sets a breakpoint. */
	for (i = INTERCEPT_DR0_READ; i <= INTERCEPT_DR7_WRITE; i++)
		svm_intercept(svm, i, true);
	svm_put(svm, control.iopm_base_pa, svm_iopm_pa);
	svm_put(svm, control.msrpm_base_pa, vm->msrpm_pa);
	svm_put(svm, control.int_ctl, V_INTR_MASKING_MASK);
	svm_put(svm, control.nested_ctl, SVM_NESTED_CTL_NP_ENABLE);
	svm_put(svm, control.nested_cr3, vcpu->vm->mmu.root_pa);
	svm_put(svm, save.g_pat, 0x0007040600070406ULL);
	vcpu->hw = svm;
	return 0;

free_vmcb:
	free_page((unsigned long)svm->vmcb);
free_svm:
	kfree(svm);
	return -ENOMEM;
}

static void svm_vcpu_destroy(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm_tables_destroy(vcpu);
	svm_forget_vcpu(svm);
	kfree(svm->seen);
	free_page((unsigned long)svm->vmcb);
	kfree(svm);
}

static const struct vmcb_seg *seg_of(struct cvmm_vcpu *vcpu, enum cvmm_seg seg)
{
	const struct vmcb_save_area *save = &to_svm(vcpu)->vmcb->save;

	switch (seg) {
	case CVMM_SEG_ES: return &save->es;
	case CVMM_SEG_CS: return &save->cs;
	case CVMM_SEG_SS: return &save->ss;
	case CVMM_SEG_DS: return &save->ds;
	case CVMM_SEG_FS: return &save->fs;
	case CVMM_SEG_GS: return &save->gs;
	case CVMM_SEG_TR: return &save->tr;
	default: return &save->ldtr;
	}
}

static void svm_get_segment(struct cvmm_vcpu *vcpu, enum cvmm_seg seg, struct kvm_segment *s)
{
	const struct vmcb_seg *v = seg_of(vcpu, seg);

	*s = (struct kvm_segment) {
		.base = v->base,
		.limit = v->limit,
		.selector = v->selector,
		.type = v->attrib & SVM_SELECTOR_TYPE_MASK,
		.s = (v->attrib >> SVM_SELECTOR_S_SHIFT) & 1,
		.dpl = (v->attrib >> SVM_SELECTOR_DPL_SHIFT) & 3,
		.present = (v->attrib >> SVM_SELECTOR_P_SHIFT) & 1,
		.avl = (v->attrib >> SVM_SELECTOR_AVL_SHIFT) & 1,
		.l = (v->attrib >> SVM_SELECTOR_L_SHIFT) & 1,
		.db = (v->attrib >> SVM_SELECTOR_DB_SHIFT) & 1,
	};
	/* 15.5: processors need not keep G, the limit is in bytes. */
	s->g = s->limit > 0xfffff;
	s->unusable = !s->present;
	switch (seg) {
	case CVMM_SEG_TR:
		s->type |= 2;	/* busy; not always saved */
		break;
	case CVMM_SEG_SS:
		if (s->unusable)
			s->db = 0;
		s->dpl = to_svm(vcpu)->vmcb->save.cpl;
		break;
	case CVMM_SEG_CS:
	case CVMM_SEG_LDTR:
		break;
	default:
		if (!s->unusable)
			s->type |= 1;	/* accessed; not always saved */
		if (!s->s)
			s->unusable = 1;
	}
	if (s->unusable)
		s->db = seg == CVMM_SEG_SS ? 0 : s->db;
}

static void svm_set_segment(struct cvmm_vcpu *vcpu, enum cvmm_seg seg, const struct kvm_segment *s)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_seg v = {
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.attrib = (s->type & SVM_SELECTOR_TYPE_MASK) |
			  (s->s & 1) << SVM_SELECTOR_S_SHIFT |
			  (s->dpl & 3) << SVM_SELECTOR_DPL_SHIFT |
			  ((s->present & 1) && !s->unusable) << SVM_SELECTOR_P_SHIFT |
			  (s->avl & 1) << SVM_SELECTOR_AVL_SHIFT |
			  (s->l & 1) << SVM_SELECTOR_L_SHIFT |
			  (s->db & 1) << SVM_SELECTOR_DB_SHIFT |
			  (s->g & 1) << SVM_SELECTOR_G_SHIFT,
	};

	if (seg == CVMM_SEG_SS)
		svm_put(svm, save.cpl, s->dpl & 3);
	/*
	 * TR is always a present TSS, as LTR has it.  Not busy: the processor need
	 * not keep that.  QEMU (7.2) aborts, host and all, when a 32-bit guest
	 * changes its privilege level with anything else.
	 */
	if (seg == CVMM_SEG_TR) {
		v.attrib &= ~(SVM_SELECTOR_S_MASK | 7);
		v.attrib |= SVM_SELECTOR_P_MASK | 1;
	}
	svm_put_bytes(svm, seg_of(vcpu, seg), &v, sizeof(v));
}

static const struct vmcb_seg *table_of(struct cvmm_vcpu *vcpu, bool idt)
{
	const struct vmcb_save_area *save = &to_svm(vcpu)->vmcb->save;

	return idt ? &save->idtr : &save->gdtr;
}

static void svm_get_table(struct cvmm_vcpu *vcpu, bool idt, struct kvm_dtable *t)
{
	const struct vmcb_seg *v = table_of(vcpu, idt);

	t->base = v->base;
	t->limit = v->limit;
}

static void svm_set_table(struct cvmm_vcpu *vcpu, bool idt, const struct kvm_dtable *t)
{
	struct vmcb_seg v = { .base = t->base, .limit = t->limit };

	svm_put_bytes(to_svm(vcpu), table_of(vcpu, idt), &v, sizeof(v));
}

static void svm_set_cr3(struct cvmm_vcpu *vcpu)
{
	if (to_svm(vcpu)->tables_active)
		svm_tables_reset(vcpu);
	else
		svm_put(to_svm(vcpu), save.cr3, vcpu->cr3);
}

/* Loaded or not. */
static void svm_sync_control(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	u64 cr0 = vcpu->cr0 & ~(u64)(X86_CR0_CD | X86_CR0_NW);
	u64 efer = vcpu->efer | EFER_SVME;

	/*
	 * Caches stay on whatever the guest thinks: only then must it be told
	 * its own value when it reads CR0.
	 */
	svm_put(svm, save.cr0, cr0);
	svm_intercept(svm, INTERCEPT_CR0_READ, cr0 != vcpu->cr0);
	/* A machine check in a guest without CR4.MCE would shut the host down. */
	svm_put(svm, save.cr4, vcpu->cr4 | (cr4_read_shadow() & X86_CR4_MCE));
	/*
	 * LME means nothing before paging, and writes to CR0 and EFER are ours.
	 * With it set there and CR4.PAE clear, QEMU's #VMEXIT (7.2, 10.0) fails to
	 * restore the host's CR0: the host would run on without paging.
	 */
	if (!(vcpu->cr0 & X86_CR0_PG))
		efer &= ~(u64)EFER_LME;
	svm_put(svm, save.efer, efer);
	svm_put(svm, save.dr6, vcpu->dr6);
	svm_put(svm, save.dr7, cvmm_effective_dr7(vcpu));
	svm_intercept(svm, INTERCEPT_EXCEPTION_OFFSET + X86_TRAP_BP,
		      vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP);
	svm_put(svm, control.int_ctl, (svm->vmcb->control.int_ctl & ~V_TPR_MASK) |
				      (vcpu->cr8 & V_TPR_MASK));
}

static unsigned int svm_cpl(struct cvmm_vcpu *vcpu)
{
	return to_svm(vcpu)->vmcb->save.cpl;
}

static const u64 *msr_field(struct cvmm_vcpu *vcpu, u32 index)
{
	const struct vmcb_save_area *save = &to_svm(vcpu)->vmcb->save;

	switch (index) {
	case MSR_STAR: return &save->star;
	case MSR_LSTAR: return &save->lstar;
	case MSR_CSTAR: return &save->cstar;
	case MSR_SYSCALL_MASK: return &save->sfmask;
	case MSR_KERNEL_GS_BASE: return &save->kernel_gs_base;
	case MSR_FS_BASE: return &save->fs.base;
	case MSR_GS_BASE: return &save->gs.base;
	case MSR_IA32_SYSENTER_CS: return &save->sysenter_cs;
	case MSR_IA32_SYSENTER_ESP: return &save->sysenter_esp;
	case MSR_IA32_SYSENTER_EIP: return &save->sysenter_eip;
	case MSR_IA32_CR_PAT: return &save->g_pat;
	}
	return NULL;
}

static bool svm_msr_get(struct cvmm_vcpu *vcpu, u32 index, u64 *val)
{
	const u64 *field = msr_field(vcpu, index);

	if (field)
		*val = *field;
	return field;
}

static bool svm_msr_set(struct cvmm_vcpu *vcpu, u32 index, u64 val)
{
	const u64 *field = msr_field(vcpu, index);

	if (field)
		svm_put_bytes(to_svm(vcpu), field, &val, sizeof(val));
	return field;
}

static bool svm_irq_shadow(struct cvmm_vcpu *vcpu)
{
	return to_svm(vcpu)->vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK;
}

static void svm_set_irq_shadow(struct cvmm_vcpu *vcpu, bool on)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	u32 state = svm->vmcb->control.int_state & ~(u32)SVM_INTERRUPT_SHADOW_MASK;

	svm_put(svm, control.int_state, state | (on ? SVM_INTERRUPT_SHADOW_MASK : 0));
}

static bool svm_irq_allowed(struct cvmm_vcpu *vcpu)
{
	return vcpu->rflags & X86_EFLAGS_IF && !svm_irq_shadow(vcpu);
}

static bool svm_nmi_allowed(struct cvmm_vcpu *vcpu)
{
	return !vcpu->nmi_masked && !svm_irq_shadow(vcpu);
}

/*
 * Exit as soon as the guest can take an interrupt: a virtual interrupt that
 * outranks any TPR, intercepted (15.21.4).
 */
static void set_irq_window(struct cvmm_vcpu *vcpu, bool on)
{
	u32 ctl = V_INTR_MASKING_MASK | (vcpu->cr8 & V_TPR_MASK);
	struct svm_vcpu *svm = to_svm(vcpu);

	/*
	 * All of it, each time: QEMU's VMRUN (7.2) that refuses a guest's state
	 * writes 0 back, and without V_INTR_MASKING a guest with IF clear would
	 * keep the host's interrupts out.
	 */
	if (on)
		ctl |= V_IRQ_MASK | V_INTR_PRIO_MASK | V_IGN_TPR_MASK;
	svm_put(svm, control.int_ctl, ctl);
	svm_put(svm, control.int_vector, 0);
	svm_intercept(svm, INTERCEPT_VINTR, on);
}

/*
 * One event per entry: what was interrupted in its delivery or is a fault of
 * the last instruction, then NMI, then interrupt; a debugger may keep new ones of the
 * last two out.  Changes nothing that a second
 * call before the entry would see differently.
 */
static void svm_prepare(struct cvmm_vcpu *vcpu, bool want_window)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	bool blocked = vcpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ;
	u32 event = 0, error = 0;

	svm->no_tables = svm_tables_prepare(vcpu);
	svm->injecting = SVM_NOTHING;
	if (vcpu->exception.pending) {
		svm->injecting = SVM_EXCEPTION;
		event = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | vcpu->exception.vector;
		if (vcpu->exception.has_error) {
			event |= SVM_EVTINJ_VALID_ERR;
			error = vcpu->exception.error;
		}
	} else if (!vcpu->nmi_injected && vcpu->nmi_pending && !blocked &&
		   svm_nmi_allowed(vcpu)) {
		vcpu->nmi_pending = false;
		vcpu->nmi_injected = true;
		vcpu->nmi_masked = true;
	}
	if (!svm->injecting && vcpu->nmi_injected) {
		svm->injecting = SVM_NMI;
		event = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_NMI;
	}
	if (!svm->injecting && vcpu->irq_pending &&
	    (vcpu->irq_injected || (!blocked && svm_irq_allowed(vcpu)))) {
		svm->injecting = SVM_IRQ;
		event = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_INTR | vcpu->irq_vector;
	}
	svm_put(svm, control.event_inj, event);
	svm_put(svm, control.event_inj_err, error);
	/* NMIs stay masked until the handler's IRET. */
	svm_intercept(svm, INTERCEPT_IRET, vcpu->nmi_masked && !svm->awaiting_iret);
	set_irq_window(vcpu, want_window ||
		       (vcpu->irq_pending && !blocked && svm->injecting != SVM_IRQ));
}

const struct cvmm_hw_ops cvmm_svm_ops = {
	.name = "SVM",
	.engine = CVMM_ENGINE_SVM,
	.probe = svm_probe,
	.busy = svm_busy,
	.cpu_alloc = svm_cpu_alloc,
	.cpu_free = svm_cpu_free,
	.cpu_enable = svm_cpu_enable,
	.cpu_disable = svm_cpu_disable,
	.vm_create = svm_vm_create,
	.vm_destroy = svm_vm_destroy,
	.msr_filter_changed = svm_msr_filter_changed,
	.vcpu_create = svm_vcpu_create,
	.vcpu_destroy = svm_vcpu_destroy,
	.vcpu_load = svm_vcpu_load,
	.vcpu_put = svm_vcpu_put,
	.get_segment = svm_get_segment,
	.set_segment = svm_set_segment,
	.get_table = svm_get_table,
	.set_table = svm_set_table,
	.sync_control = svm_sync_control,
	.set_cr3 = svm_set_cr3,
	.set_tsc_aux = svm_set_tsc_aux,
	.cpl = svm_cpl,
	.msr_get = svm_msr_get,
	.msr_set = svm_msr_set,
	.irq_allowed = svm_irq_allowed,
	.irq_shadow = svm_irq_shadow,
	.set_irq_shadow = svm_set_irq_shadow,
	.prepare = svm_prepare,
	.flush_tlb = svm_flush_tlb,
	.fetch_gpa = svm_tables_lookup,
	.enter = svm_enter,
	.handle_exit = svm_handle_exit,
};
