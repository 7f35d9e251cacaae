// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls that read and write a vCPU's state, and the rules that control
 * registers must keep.
 */
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/apicdef.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xstate.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "engine.h"
#include "hw_ops.h"
#include "walk.h"

#define CR0_VALID	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
#define EFER_VALID	(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX)
#define RFLAGS_VALID	0x3f7fd5UL

/* What a guest may set in CR4 here; PCID, protection keys and LA57 are not offered. */
static u64 cr4_valid(void)
{
	u64 valid = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE |
		    X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR |
		    X86_CR4_OSXMMEXCPT;

	if (boot_cpu_has(X86_FEATURE_XSAVE))
		valid |= X86_CR4_OSXSAVE;
	if (boot_cpu_has(X86_FEATURE_FSGSBASE))
		valid |= X86_CR4_FSGSBASE;
	if (boot_cpu_has(X86_FEATURE_SMEP))
		valid |= X86_CR4_SMEP;
	if (boot_cpu_has(X86_FEATURE_SMAP))
		valid |= X86_CR4_SMAP;
	if (boot_cpu_has(X86_FEATURE_UMIP))
		valid |= X86_CR4_UMIP;
	return valid;
}

/*
 * MOV to CR0, CR4, WRMSR EFER, XSETBV: 0, or -EINVAL when the processor would
 * raise #GP.  The vCPU is loaded.
 */
int cvmm_set_cr0(struct cvmm_vcpu *vcpu, u64 cr0)
{
	u64 old = vcpu->cr0;
	struct kvm_segment cs;

	if (cr0 & ~(u64)CR0_VALID)
		return -EINVAL;
	cr0 |= X86_CR0_ET;
	if (((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD)) ||
	    ((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE)))
		return -EINVAL;
	if ((cr0 ^ old) & X86_CR0_PG && vcpu->efer & EFER_LME) {
		if (cr0 & X86_CR0_PG) {
			cvmm_hw->get_segment(vcpu, CVMM_SEG_CS, &cs);
			if (!(vcpu->cr4 & X86_CR4_PAE) || cs.l)
				return -EINVAL;
			vcpu->efer |= EFER_LMA;
		} else {
			cvmm_hw->get_segment(vcpu, CVMM_SEG_CS, &cs);
			if (cs.l)
				return -EINVAL;
			vcpu->efer &= ~EFER_LMA;
		}
	}
	vcpu->cr0 = cr0;
	cvmm_hw->sync_control(vcpu);
	if ((cr0 ^ old) & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		cvmm_hw->flush_tlb(vcpu);
	return 0;
}

int cvmm_set_cr4(struct cvmm_vcpu *vcpu, u64 cr4)
{
	u64 old = vcpu->cr4;

	if (cr4 & ~cr4_valid())
		return -EINVAL;
	if (vcpu->efer & EFER_LMA && !(cr4 & X86_CR4_PAE))
		return -EINVAL;
	vcpu->cr4 = cr4;
	cvmm_hw->sync_control(vcpu);
	if ((cr4 ^ old) & (X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_SMEP |
			   X86_CR4_SMAP))
		cvmm_hw->flush_tlb(vcpu);
	return 0;
}

int cvmm_set_efer(struct cvmm_vcpu *vcpu, u64 efer)
{
	u64 old = vcpu->efer;

	if (efer & ~(u64)EFER_VALID)
		return -EINVAL;
	if (vcpu->cr0 & X86_CR0_PG && (efer ^ old) & EFER_LME)
		return -EINVAL;
	/* LMA is the processor's to change. */
	vcpu->efer = (efer & ~(u64)EFER_LMA) | (old & EFER_LMA);
	cvmm_hw->sync_control(vcpu);
	if ((efer ^ old) & EFER_NX)
		cvmm_hw->flush_tlb(vcpu);
	return 0;
}

int cvmm_set_xcr0(struct cvmm_vcpu *vcpu, u64 xcr0)
{
	if (xcr0 & ~cvmm_supported_xcr0() || !(xcr0 & XFEATURE_MASK_FP))
		return -EINVAL;
	if (xcr0 & XFEATURE_MASK_YMM && !(xcr0 & XFEATURE_MASK_SSE))
		return -EINVAL;
	if (xcr0 & XFEATURE_MASK_AVX512 &&
	    ((xcr0 & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512 ||
	     !(xcr0 & XFEATURE_MASK_YMM)))
		return -EINVAL;
	vcpu->xcr0 = xcr0;
	return 0;
}

/* Power-on state, APM vol. 2, table 14-1.  Loaded or not yet run. */
void cvmm_vcpu_reset(struct cvmm_vcpu *vcpu)
{
	struct kvm_segment data = {
		.limit = 0xffff, .type = 3, .present = 1, .s = 1,
	};
	struct kvm_segment code = {
		.selector = 0xf000, .base = 0xffff0000, .limit = 0xffff,
		.type = 11, .present = 1, .s = 1,
	};
	struct kvm_segment ldtr = { .limit = 0xffff, .type = 2, .present = 1 };
	struct kvm_segment tr = { .limit = 0xffff, .type = 11, .present = 1 };
	struct kvm_dtable table = { .limit = 0xffff };

	memset(vcpu->regs, 0, sizeof(vcpu->regs));
	vcpu->regs[CVMM_RDX] = 0x600;
	vcpu->rip = 0xfff0;
	vcpu->rflags = X86_EFLAGS_FIXED;
	vcpu->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	vcpu->dr6 = DR6_RESERVED;
	vcpu->dr7 = 0x400;
	vcpu->xcr0 = XFEATURE_MASK_FP;
	vcpu->cpuid_phys_bits = 36;
	vcpu->apic_base = APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE;
	if (!vcpu->id)
		vcpu->apic_base |= MSR_IA32_APICBASE_BSP;
	vcpu->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING;
	cvmm_hw->set_segment(vcpu, CVMM_SEG_ES, &data);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_CS, &code);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_SS, &data);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_DS, &data);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_FS, &data);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_GS, &data);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_LDTR, &ldtr);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_TR, &tr);
	cvmm_hw->set_table(vcpu, false, &table);
	cvmm_hw->set_table(vcpu, true, &table);
	cvmm_hw->sync_control(vcpu);
}

static void get_regs(struct cvmm_vcpu *vcpu, struct kvm_regs *r)
{
	const u64 *g = vcpu->regs;

	*r = (struct kvm_regs) {
		.rax = g[CVMM_RAX], .rbx = g[CVMM_RBX], .rcx = g[CVMM_RCX], .rdx = g[CVMM_RDX],
		.rsi = g[CVMM_RSI], .rdi = g[CVMM_RDI], .rsp = g[CVMM_RSP], .rbp = g[CVMM_RBP],
		.r8 = g[CVMM_R8], .r9 = g[CVMM_R9], .r10 = g[CVMM_R10], .r11 = g[CVMM_R11],
		.r12 = g[CVMM_R12], .r13 = g[CVMM_R13], .r14 = g[CVMM_R14], .r15 = g[CVMM_R15],
		.rip = vcpu->rip, .rflags = vcpu->rflags,
	};
}

static void set_regs(struct cvmm_vcpu *vcpu, const struct kvm_regs *r)
{
	u64 *g = vcpu->regs;

	g[CVMM_RAX] = r->rax;
	g[CVMM_RBX] = r->rbx;
	g[CVMM_RCX] = r->rcx;
	g[CVMM_RDX] = r->rdx;
	g[CVMM_RSI] = r->rsi;
	g[CVMM_RDI] = r->rdi;
	g[CVMM_RSP] = r->rsp;
	g[CVMM_RBP] = r->rbp;
	g[CVMM_R8] = r->r8;
	g[CVMM_R9] = r->r9;
	g[CVMM_R10] = r->r10;
	g[CVMM_R11] = r->r11;
	g[CVMM_R12] = r->r12;
	g[CVMM_R13] = r->r13;
	g[CVMM_R14] = r->r14;
	g[CVMM_R15] = r->r15;
	if (vcpu->rip != r->rip)
		vcpu->step_done = false;
	vcpu->rip = r->rip;
	vcpu->rflags = (r->rflags & RFLAGS_VALID) | X86_EFLAGS_FIXED;
	/* As on KVM: whoever sets registers does away with a pending exception. */
	vcpu->exception.pending = false;
	vcpu->triple_fault = false;
}

static void get_sregs(struct cvmm_vcpu *vcpu, struct kvm_sregs *s)
{
	memset(s, 0, sizeof(*s));
	cvmm_hw->get_segment(vcpu, CVMM_SEG_CS, &s->cs);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_DS, &s->ds);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_ES, &s->es);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_FS, &s->fs);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_GS, &s->gs);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_SS, &s->ss);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_TR, &s->tr);
	cvmm_hw->get_segment(vcpu, CVMM_SEG_LDTR, &s->ldt);
	cvmm_hw->get_table(vcpu, false, &s->gdt);
	cvmm_hw->get_table(vcpu, true, &s->idt);
	s->cr0 = vcpu->cr0;
	s->cr2 = vcpu->cr2;
	s->cr3 = vcpu->cr3;
	s->cr4 = vcpu->cr4;
	s->cr8 = vcpu->cr8;
	s->efer = vcpu->efer;
	s->apic_base = vcpu->apic_base;
	if (vcpu->irq_pending)
		__set_bit(vcpu->irq_vector, (unsigned long *)s->interrupt_bitmap);
}

static int set_sregs(struct cvmm_vcpu *vcpu, const struct kvm_sregs *s)
{
	unsigned long vector;

	if (s->cr0 & ~(u64)CR0_VALID || s->cr4 & ~cr4_valid() || s->efer & ~(u64)EFER_VALID ||
	    s->cr8 > 15 || !cvmm_apic_base_valid(vcpu, s->apic_base))
		return -EINVAL;
	if (((s->cr0 & X86_CR0_NW) && !(s->cr0 & X86_CR0_CD)) ||
	    ((s->cr0 & X86_CR0_PG) && !(s->cr0 & X86_CR0_PE)))
		return -EINVAL;
	if (s->efer & EFER_LME && s->cr0 & X86_CR0_PG) {
		/* 64-bit paging, all of it. */
		if (!(s->cr4 & X86_CR4_PAE) || !(s->efer & EFER_LMA) ||
		    s->cr3 >> cvmm_guest_maxphyaddr(vcpu))
			return -EINVAL;
	} else if (s->efer & EFER_LMA || s->cs.l) {
		return -EINVAL;
	}

	vcpu->cr0 = s->cr0 | X86_CR0_ET;
	vcpu->cr2 = s->cr2;
	vcpu->cr3 = s->cr3;
	vcpu->cr4 = s->cr4;
	vcpu->cr8 = s->cr8;
	vcpu->run->cr8 = s->cr8;
	vcpu->efer = s->efer;
	vcpu->apic_base = s->apic_base;
	cvmm_hw->set_table(vcpu, false, &s->gdt);
	cvmm_hw->set_table(vcpu, true, &s->idt);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_CS, &s->cs);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_DS, &s->ds);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_ES, &s->es);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_FS, &s->fs);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_GS, &s->gs);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_SS, &s->ss);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_TR, &s->tr);
	cvmm_hw->set_segment(vcpu, CVMM_SEG_LDTR, &s->ldt);
	cvmm_hw->sync_control(vcpu);
	cvmm_hw->set_cr3(vcpu);
	cvmm_hw->flush_tlb(vcpu);

	vector = find_first_bit((const unsigned long *)s->interrupt_bitmap, 256);
	vcpu->irq_pending = vector < 256;
	vcpu->irq_injected = false;
	vcpu->irq_vector = vector;
	return 0;
}

/*
 * KVM_GET_SREGS2 and KVM_SET_SREGS2.  PDPTRs are never kept apart from memory: with
 * nested paging an AMD processor reads them there (APM vol. 2, 15.25.10).
 */
static void get_sregs2(struct cvmm_vcpu *vcpu, struct kvm_sregs2 *s2)
{
	struct kvm_sregs s;

	get_sregs(vcpu, &s);
	memset(s2, 0, sizeof(*s2));
	memcpy(s2, &s, offsetof(struct kvm_sregs2, flags));
}

static int set_sregs2(struct cvmm_vcpu *vcpu, const struct kvm_sregs2 *s2)
{
	bool pae = s2->cr0 & X86_CR0_PG && s2->cr4 & X86_CR4_PAE && !(s2->efer & EFER_LMA);
	bool injected = vcpu->irq_injected;
	struct kvm_sregs s = {};
	int r;

	static_assert(offsetof(struct kvm_sregs2, flags) ==
		      offsetof(struct kvm_sregs, interrupt_bitmap));
	if (s2->flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID || (s2->flags && !pae))
		return -EINVAL;
	memcpy(&s, s2, offsetof(struct kvm_sregs2, flags));
	/* This form has no interrupts: the one that waits stays. */
	if (vcpu->irq_pending)
		__set_bit(vcpu->irq_vector, (unsigned long *)s.interrupt_bitmap);
	r = set_sregs(vcpu, &s);
	if (!r)
		vcpu->irq_injected = injected;
	return r;
}

/* KVM_SET_GUEST_DEBUG: -EBUSY when an exception waits where one is to be injected. */
static int set_guest_debug(struct cvmm_vcpu *vcpu, const struct kvm_guest_debug *d)
{
	u32 inject = d->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP);

	if (d->control & ~(u32)CVMM_GUESTDBG_VALID)
		return -EINVAL;
	if (d->control & KVM_GUESTDBG_USE_HW_BP &&
	    (d->arch.debugreg[7] >> 32 || d->arch.debugreg[7] & BIT(13)))
		return -EINVAL;
	if (inject) {
		if (vcpu->exception.pending)
			return -EBUSY;
		cvmm_queue_exception(vcpu, inject & KVM_GUESTDBG_INJECT_DB ? X86_TRAP_DB :
									     X86_TRAP_BP, false, 0);
	}
	vcpu->guest_debug = d->control & KVM_GUESTDBG_ENABLE ? d->control & ~inject : 0;
	if (!(vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		vcpu->step_done = false;
	memcpy(vcpu->debug_db, d->arch.debugreg, sizeof(vcpu->debug_db));
	vcpu->debug_dr7 = d->arch.debugreg[7] | 0x400;
	cvmm_hw->sync_control(vcpu);
	return 0;
}

/* KVM_TRANSLATE: by the tables as they are; leaves no trace in them. */
static int translate(struct cvmm_vcpu *vcpu, struct kvm_translation *t)
{
	struct walk_result res;
	struct walk_cpu cpu;
	int idx, r;

	cvmm_fill_walk_cpu(vcpu, &cpu);
	cpu.cpl = 0;
	cpu.cr4 &= ~(X86_CR4_SMEP | X86_CR4_SMAP);
	idx = srcu_read_lock(&vcpu->vm->srcu);
	r = walk(&cpu, &cvmm_walk_ops, vcpu, t->linear_address, WALK_READ | WALK_NO_AD, &res);
	srcu_read_unlock(&vcpu->vm->srcu, idx);
	if (r < 0)
		return r;
	t->valid = r == WALK_OK;
	t->physical_address = t->valid ? res.gpa : ~0ULL;
	t->writeable = 1;
	t->usermode = 0;
	return 0;
}

static void get_events(struct cvmm_vcpu *vcpu, struct kvm_vcpu_events *e)
{
	memset(e, 0, sizeof(*e));
	e->exception.injected = vcpu->exception.pending;
	e->exception.nr = vcpu->exception.vector;
	e->exception.has_error_code = vcpu->exception.has_error;
	e->exception.error_code = vcpu->exception.error;
	e->interrupt.injected = vcpu->irq_pending;
	e->interrupt.nr = vcpu->irq_vector;
	e->interrupt.shadow = cvmm_hw->irq_shadow(vcpu) ?
		KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
	e->nmi.injected = vcpu->nmi_injected;
	e->nmi.pending = vcpu->nmi_pending;
	e->nmi.masked = vcpu->nmi_masked;
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
}

static int set_events(struct cvmm_vcpu *vcpu, const struct kvm_vcpu_events *e)
{
	if (e->flags & ~(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			 KVM_VCPUEVENT_VALID_SIPI_VECTOR))
		return -EINVAL;
	if (e->exception.injected && (e->exception.nr > 31 || e->exception.nr == 2))
		return -EINVAL;
	vcpu->exception = (struct cvmm_exception) {
		.pending = e->exception.injected,
		.vector = e->exception.nr,
		.has_error = e->exception.has_error_code,
		.error = e->exception.error_code,
	};
	vcpu->irq_pending = e->interrupt.injected;
	vcpu->irq_injected = e->interrupt.injected;
	vcpu->irq_vector = e->interrupt.nr;
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		cvmm_hw->set_irq_shadow(vcpu, e->interrupt.shadow);
	vcpu->nmi_injected = e->nmi.injected;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		vcpu->nmi_pending = e->nmi.pending;
	vcpu->nmi_masked = e->nmi.masked;
	vcpu->triple_fault = false;
	return 0;
}

static void get_debugregs(struct cvmm_vcpu *vcpu, struct kvm_debugregs *d)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->db, vcpu->db, sizeof(d->db));
	d->dr6 = vcpu->dr6;
	d->dr7 = vcpu->dr7;
}

static int set_debugregs(struct cvmm_vcpu *vcpu, const struct kvm_debugregs *d)
{
	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(vcpu->db, d->db, sizeof(d->db));
	vcpu->dr6 = d->dr6;
	vcpu->dr7 = d->dr7;
	cvmm_hw->sync_control(vcpu);
	return 0;
}

/* struct kvm_fpu and FXSAVE differ only in their ends. */
static void get_fpu(struct cvmm_vcpu *vcpu, struct kvm_fpu *f)
{
	const struct fxregs_state *fx = &vcpu->fpu.fpstate->regs.fxsave;

	memset(f, 0, sizeof(*f));
	memcpy(f->fpr, fx->st_space, sizeof(f->fpr));
	f->fcw = fx->cwd;
	f->fsw = fx->swd;
	f->ftwx = fx->twd;
	f->last_opcode = fx->fop;
	f->last_ip = fx->rip;
	f->last_dp = fx->rdp;
	memcpy(f->xmm, fx->xmm_space, sizeof(f->xmm));
	f->mxcsr = fx->mxcsr;
}

static int set_fpu(struct cvmm_vcpu *vcpu, const struct kvm_fpu *f)
{
	struct fpstate *fps = vcpu->fpu.fpstate;
	struct fxregs_state *fx = &fps->regs.fxsave;

	if (f->mxcsr & ~0xffffU)	/* would fault when the host loads it */
		return -EINVAL;
	memcpy(fx->st_space, f->fpr, sizeof(f->fpr));
	fx->cwd = f->fcw;
	fx->swd = f->fsw;
	fx->twd = f->ftwx;
	fx->fop = f->last_opcode;
	fx->rip = f->last_ip;
	fx->rdp = f->last_dp;
	memcpy(fx->xmm_space, f->xmm, sizeof(f->xmm));
	fx->mxcsr = f->mxcsr;
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		fps->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

static long get_xsave(struct cvmm_vcpu *vcpu, void __user *argp)
{
	struct kvm_xsave *x = kzalloc(sizeof(*x), GFP_KERNEL);
	long r = 0;

	if (!x)
		return -ENOMEM;
	fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, x->region, sizeof(x->region),
				       cvmm_supported_xcr0(), 0);
	if (copy_to_user(argp, x->region, sizeof(x->region)))
		r = -EFAULT;
	kfree(x);
	return r;
}

static long set_xsave(struct cvmm_vcpu *vcpu, void __user *argp)
{
	u32 pkru = 0;
	void *x;
	long r;

	x = memdup_user(argp, sizeof_field(struct kvm_xsave, region));
	if (IS_ERR(x))
		return PTR_ERR(x);
	r = fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, x, cvmm_supported_xcr0(), &pkru);
	kfree(x);
	return r;
}

static int set_xcrs(struct cvmm_vcpu *vcpu, const struct kvm_xcrs *x)
{
	u32 i;

	if (x->nr_xcrs > KVM_MAX_XCRS || x->flags)
		return -EINVAL;
	for (i = 0; i < x->nr_xcrs; i++)
		if (x->xcrs[i].xcr == 0)
			return cvmm_set_xcr0(vcpu, x->xcrs[i].value);
	return 0;
}

static long set_sigmask(struct cvmm_vcpu *vcpu, struct kvm_signal_mask __user *argp)
{
	struct kvm_signal_mask m;
	sigset_t set;

	if (!argp) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (copy_from_user(&m, argp, sizeof(m)))
		return -EFAULT;
	if (m.len != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, argp->sigset, sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset = set;
	vcpu->sigset_active = true;
	return 0;
}

/* The one attribute: group KVM_VCPU_TSC_CTRL, attribute KVM_VCPU_TSC_OFFSET, a u64. */
static long device_attr(struct cvmm_vcpu *vcpu, unsigned int cmd, void __user *argp)
{
	struct kvm_device_attr a;
	u64 __user *addr;
	u64 offset;

	if (copy_from_user(&a, argp, sizeof(a)))
		return -EFAULT;
	if (a.group != KVM_VCPU_TSC_CTRL || a.attr != KVM_VCPU_TSC_OFFSET || a.flags)
		return -ENXIO;
	addr = u64_to_user_ptr(a.addr);
	switch (cmd) {
	case KVM_HAS_DEVICE_ATTR:
		return 0;
	case KVM_GET_DEVICE_ATTR:
		return put_user(vcpu->tsc_offset, addr);
	default:
		if (get_user(offset, addr))
			return -EFAULT;
		cvmm_set_tsc_offset(vcpu, offset);
		return 0;
	}
}

static int queue_irq(struct cvmm_vcpu *vcpu, const struct kvm_interrupt *irq)
{
	if (irq->irq > 255)
		return -EINVAL;
	if (vcpu->irq_pending)
		return -EEXIST;
	vcpu->irq_pending = true;
	vcpu->irq_injected = false;
	vcpu->irq_vector = irq->irq;
	return 0;
}

/* All that a state ioctl exchanges with user space. */
union vcpu_arg {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_mp_state mp;
	struct kvm_interrupt irq;
	struct kvm_sregs2 sregs2;
	struct kvm_guest_debug debug;
	struct kvm_translation translation;
	struct kvm_x86_mce mce;
	u64 mce_cap;
};

static long fixed_size_ioctl(struct cvmm_vcpu *vcpu, unsigned int cmd, union vcpu_arg *a)
{
	switch (cmd) {
	case KVM_GET_REGS:
		get_regs(vcpu, &a->regs);
		return 0;
	case KVM_SET_REGS:
		set_regs(vcpu, &a->regs);
		return 0;
	case KVM_GET_SREGS:
		get_sregs(vcpu, &a->sregs);
		return 0;
	case KVM_SET_SREGS:
		return set_sregs(vcpu, &a->sregs);
	case KVM_GET_VCPU_EVENTS:
		get_events(vcpu, &a->events);
		return 0;
	case KVM_SET_VCPU_EVENTS:
		return set_events(vcpu, &a->events);
	case KVM_GET_DEBUGREGS:
		get_debugregs(vcpu, &a->debugregs);
		return 0;
	case KVM_SET_DEBUGREGS:
		return set_debugregs(vcpu, &a->debugregs);
	case KVM_GET_FPU:
		get_fpu(vcpu, &a->fpu);
		return 0;
	case KVM_SET_FPU:
		return set_fpu(vcpu, &a->fpu);
	case KVM_GET_XCRS:
		memset(&a->xcrs, 0, sizeof(a->xcrs));
		a->xcrs.nr_xcrs = 1;
		a->xcrs.xcrs[0].value = vcpu->xcr0;
		return 0;
	case KVM_SET_XCRS:
		return set_xcrs(vcpu, &a->xcrs);
	case KVM_GET_MP_STATE:
		/* Without an APIC in the kernel there is no other state. */
		a->mp.mp_state = vcpu->halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
		return 0;
	case KVM_SET_MP_STATE:
		if (a->mp.mp_state != KVM_MP_STATE_RUNNABLE &&
		    (a->mp.mp_state != KVM_MP_STATE_HALTED || !vcpu->apic))
			return -EINVAL;
		vcpu->halted = a->mp.mp_state == KVM_MP_STATE_HALTED;
		return 0;
	case KVM_INTERRUPT:
		return queue_irq(vcpu, &a->irq);
	case KVM_GET_SREGS2:
		get_sregs2(vcpu, &a->sregs2);
		return 0;
	case KVM_SET_SREGS2:
		return set_sregs2(vcpu, &a->sregs2);
	case KVM_SET_GUEST_DEBUG:
		return set_guest_debug(vcpu, &a->debug);
	case KVM_TRANSLATE:
		return translate(vcpu, &a->translation);
	case KVM_X86_SETUP_MCE:
		return cvmm_mce_setup(vcpu, a->mce_cap);
	case KVM_X86_SET_MCE:
		return cvmm_mce_inject(vcpu, &a->mce);
	}
	return -EINVAL;
}

/*
 * cvmm_vcpu_state_ioctl() - any vCPU ioctl but KVM_RUN
 *
 * Under vcpu->mutex; the vCPU is not loaded.
 */
long cvmm_vcpu_state_ioctl(struct cvmm_vcpu *vcpu, unsigned int cmd, void __user *argp)
{
	union vcpu_arg *a;
	unsigned int size = _IOC_SIZE(cmd);
	long r;

	switch (cmd) {
	case KVM_SET_CPUID2:
		return cvmm_vcpu_set_cpuid(vcpu, argp);
	case KVM_GET_CPUID2:
		return cvmm_vcpu_get_cpuid(vcpu, argp);
	case KVM_GET_MSRS:
		return cvmm_msr_io(vcpu, argp, false);
	case KVM_SET_MSRS:
		return cvmm_msr_io(vcpu, argp, true);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		return get_xsave(vcpu, argp);
	case KVM_SET_XSAVE:
		return set_xsave(vcpu, argp);
	case KVM_GET_STATS_FD:
		return cvmm_vcpu_get_stats_fd(vcpu);
	case KVM_SET_SIGNAL_MASK:
		return set_sigmask(vcpu, argp);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return device_attr(vcpu, cmd, argp);
	case KVM_GET_TSC_KHZ:
		return vcpu->vm->tsc_khz;
	case KVM_SET_TSC_KHZ:
		/* No scaling yet. */
		return (unsigned long)argp == vcpu->vm->tsc_khz ? 0 : -EINVAL;
	case KVM_NMI:
		vcpu->nmi_pending = true;
		return 0;
	case KVM_GET_REGS:
	case KVM_SET_REGS:
	case KVM_GET_SREGS:
	case KVM_SET_SREGS:
	case KVM_GET_VCPU_EVENTS:
	case KVM_SET_VCPU_EVENTS:
	case KVM_GET_DEBUGREGS:
	case KVM_SET_DEBUGREGS:
	case KVM_GET_FPU:
	case KVM_SET_FPU:
	case KVM_GET_XCRS:
	case KVM_SET_XCRS:
	case KVM_GET_MP_STATE:
	case KVM_SET_MP_STATE:
	case KVM_INTERRUPT:
	case KVM_GET_SREGS2:
	case KVM_SET_SREGS2:
	case KVM_SET_GUEST_DEBUG:
	case KVM_TRANSLATE:
	case KVM_X86_SETUP_MCE:
	case KVM_X86_SET_MCE:
		break;
	default:
		return -EINVAL;
	}

	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return -ENOMEM;
	r = -EFAULT;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(a, argp, size))
		goto free;
	r = fixed_size_ioctl(vcpu, cmd, a);
	if (!r && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(argp, a, size))
		r = -EFAULT;
free:
	kfree(a);
	return r;
}
