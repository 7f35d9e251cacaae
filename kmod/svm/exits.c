// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why the guest left, and what to do.  Exit codes: APM vol. 2, appendix C.
 */
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "../task_switch.h"
#include "svm.h"

#define IOIO_SIZE_SHIFT	SVM_IOIO_SIZE_SHIFT

/*
 * Length of the intercepted instruction: from the hardware where it saves the
 * next RIP, else by decoding.  @op, @other: what it must be; anything else means
 * that another CPU changed the code since.  > 0 the length, 0 enter the guest again,
 * < 0 -errno.
 */
static int insn_len_of(struct cvmm_vcpu *vcpu, u16 op, u16 other)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	const struct insn *insn = &vcpu->emu.insn;
	int r;

	if (svm_features & SVM_FEAT_NRIPS && c->next_rip - vcpu->rip - 1 < INSN_MAX_LEN)
		return c->next_rip - vcpu->rip;
	r = cvmm_decode_at_rip(vcpu);
	if (r)
		return r < 0 ? r : 0;
	return insn->op == op || insn->op == other ? insn->len : 0;
}

static int insn_len(struct cvmm_vcpu *vcpu, u16 op)
{
	return insn_len_of(vcpu, op, op);
}

/* What insn_len() said when it is not a length. */
static int no_len(int len)
{
	return len < 0 ? len : 1;
}

static int handle_cpuid(struct cvmm_vcpu *vcpu)
{
	int len = insn_len(vcpu, INSN_CPUID);

	return len > 0 ? cvmm_exit_cpuid(vcpu, len) : no_len(len);
}

static int handle_hlt(struct cvmm_vcpu *vcpu)
{
	int len = insn_len(vcpu, INSN_HLT);

	return len > 0 ? cvmm_exit_hlt(vcpu, len) : no_len(len);
}

static int handle_pause(struct cvmm_vcpu *vcpu)
{
	int len = insn_len(vcpu, INSN_PAUSE);

	if (len <= 0)
		return no_len(len);
	cvmm_vcpu_spins(vcpu);
	cvmm_skip(vcpu, len);
	return 1;
}

static int handle_msr(struct cvmm_vcpu *vcpu)
{
	bool write = to_svm(vcpu)->vmcb->control.exit_info_1;
	int len = insn_len(vcpu, write ? INSN_WRMSR : INSN_RDMSR);

	return len > 0 ? cvmm_exit_msr(vcpu, write, len) : no_len(len);
}

static int handle_xsetbv(struct cvmm_vcpu *vcpu)
{
	int len = insn_len(vcpu, INSN_XSETBV);

	return len > 0 ? cvmm_exit_xsetbv(vcpu, len) : no_len(len);
}

/*
 * WBINVD and INVD: nothing here depends on a guest's caches.  QEMU's emulation (7.2)
 * reports the latter as the former.
 */
static int handle_wbinvd(struct cvmm_vcpu *vcpu)
{
	int len = insn_len_of(vcpu, INSN_WBINVD, INSN_INVD);

	if (len <= 0)
		return no_len(len);
	cvmm_skip(vcpu, len);
	return 1;
}

static int handle_ioio(struct cvmm_vcpu *vcpu)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	u64 info = c->exit_info_1;

	if (info & SVM_IOIO_STR_MASK)
		return cvmm_emulate_at_rip(vcpu, c->exit_int_info & SVM_EXITINTINFO_VALID);
	return cvmm_exit_io(vcpu, info >> 16,
			    (info & SVM_IOIO_SIZE_MASK) >> SVM_IOIO_SIZE_SHIFT,
			    info & SVM_IOIO_TYPE_MASK, c->exit_info_2 - vcpu->rip);
}

static int handle_npf(struct cvmm_vcpu *vcpu)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	bool walk = c->exit_info_1 & SVM_NPF_WALK;
	u64 gpa = c->exit_info_2;
	int r;

	if (walk)
		cvmm_vcpu_count(vcpu, CVMM_EE_NPF_WALK);
	r = cvmm_exit_nested_fault(vcpu, gpa, c->exit_info_1 & SVM_NPF_WRITE,
				   c->exit_int_info & SVM_EXITINTINFO_VALID);
	if (walk && r > 0 && to_svm(vcpu)->tables_active)
		svm_tables_walked(vcpu, gpa >> PAGE_SHIFT);
	return r;
}

/* MOV to and from CRn, CLTS, LMSW. */
static int handle_cr(struct cvmm_vcpu *vcpu)
{
	const struct insn *insn = &vcpu->emu.insn;
	u64 val, *reg;
	int r;

	r = cvmm_decode_at_rip(vcpu);
	if (r)
		return r < 0 ? r : 1;
	reg = &vcpu->regs[insn->rm];
	switch (insn->op) {
	case INSN_MOV_FROM_CR:
		if (insn->reg == 0)
			val = vcpu->cr0;
		else if (insn->reg == 3)
			val = vcpu->cr3;
		else if (insn->reg == 4)
			val = vcpu->cr4;
		else if (insn->reg == 8)
			val = vcpu->cr8;
		else
			return 1;
		*reg = insn->mode == 64 ? val : (u32)val;
		break;
	case INSN_MOV_TO_CR:
		val = insn->mode == 64 ? *reg : (u32)*reg;
		switch (insn->reg) {
		case 0:
			r = cvmm_set_cr0(vcpu, val);
			break;
		case 3:
			if (!to_svm(vcpu)->tables_active)
				return 1;
			r = svm_tables_cr3(vcpu, val);
			break;
		case 4:
			r = cvmm_set_cr4(vcpu, val);
			break;
		case 8:
			if (val > 15) {
				r = -EINVAL;
				break;
			}
			r = 0;
			if (!cvmm_apic_set_cr8(vcpu, val)) {
				cvmm_skip(vcpu, insn->len);
				vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
				return 0;
			}
			break;
		default:
			return 1;
		}
		break;
	case INSN_CLTS:
		r = cvmm_set_cr0(vcpu, vcpu->cr0 & ~(u64)X86_CR0_TS);
		break;
	case INSN_LMSW: {
		u16 msw = *reg;

		if (insn->is_mem) {
			r = cvmm_read_operand(vcpu, &msw, sizeof(msw));
			if (r)
				return r < 0 ? r : 1;
		}
		/* Sets PE but never clears it; MP, EM and TS as given. */
		r = cvmm_set_cr0(vcpu, (vcpu->cr0 & ~0xeULL) | (msw & 0xf));
		break;
	}
	default:
		return 1;
	}
	if (r) {
		cvmm_inject_gp(vcpu);
		return 1;
	}
	cvmm_skip(vcpu, insn->len);
	return 1;
}

/* Only intercepted while copies of the guest's tables are used. */
static int handle_invlpg(struct cvmm_vcpu *vcpu)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	u64 linear;
	int len, r;

	if (svm_features & SVM_FEAT_DECODEASSISTS && svm_features & SVM_FEAT_NRIPS) {
		linear = c->exit_info_1;
		len = c->next_rip - vcpu->rip;
	} else {
		r = cvmm_decode_at_rip(vcpu);
		if (r)
			return r < 0 ? r : 1;
		if (vcpu->emu.insn.op != INSN_INVLPG)
			return 1;
		linear = emulate_linear(&vcpu->emu);
		len = vcpu->emu.insn.len;
	}
	if (to_svm(vcpu)->tables_active)
		svm_tables_invlpg(vcpu, linear);
	cvmm_skip(vcpu, len);
	return 1;
}

static int handle_dr(struct cvmm_vcpu *vcpu)
{
	const struct insn *insn = &vcpu->emu.insn;
	unsigned int dr;
	u64 val, *reg;
	int r;

	r = cvmm_decode_at_rip(vcpu);
	if (r)
		return r < 0 ? r : 1;
	if (insn->op != INSN_MOV_FROM_DR && insn->op != INSN_MOV_TO_DR)
		return 1;
	if (vcpu->dr7 & BIT(13)) {	/* GD */
		vcpu->dr7 &= ~(u64)BIT(13);
		vcpu->dr6 |= BIT(13);	/* BD */
		cvmm_hw->sync_control(vcpu);
		cvmm_queue_exception(vcpu, X86_TRAP_DB, false, 0);
		return 1;
	}
	dr = insn->reg;
	if (dr == 4 || dr == 5) {
		if (vcpu->cr4 & X86_CR4_DE)
			goto undefined;
		dr += 2;
	}
	if (dr > 7)
		goto undefined;
	reg = &vcpu->regs[insn->rm];
	if (insn->op == INSN_MOV_FROM_DR) {
		val = dr < 4 ? vcpu->db[dr] : dr == 6 ? vcpu->dr6 : vcpu->dr7;
		*reg = insn->mode == 64 ? val : (u32)val;
	} else {
		val = insn->mode == 64 ? *reg : (u32)*reg;
		if (dr < 4) {
			vcpu->db[dr] = val;
		} else {
			if (val >> 32) {
				cvmm_inject_gp(vcpu);
				return 1;
			}
			if (dr == 6)
				vcpu->dr6 = (val & 0xe00f) | 0xffff0ff0;
			else
				vcpu->dr7 = (val & 0xffff2bff) | 0x400;
			cvmm_hw->sync_control(vcpu);
		}
	}
	cvmm_skip(vcpu, insn->len);
	return 1;

undefined:
	cvmm_inject_ud(vcpu);
	return 1;
}

/*
 * #DB and #AC are intercepted to bound them, #BP (at the INT3) for user space's
 * breakpoints: what no debugger of user space waits for is the guest's.
 */
static int handle_exception(struct cvmm_vcpu *vcpu, u8 vector)
{
	u64 dr6 = to_svm(vcpu)->vmcb->save.dr6;

	if (vector == X86_TRAP_BP)
		return cvmm_exit_debug(vcpu, vector, vcpu->dr6);
	if (vector == X86_TRAP_DB && vcpu->guest_debug) {
		if (vcpu->guest_debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP))
			return cvmm_exit_debug(vcpu, vector, dr6);
		/* As the processor does it: what was found is added. */
		vcpu->dr6 = (vcpu->dr6 & ~0xfULL) | (dr6 & 0xe00f);
		cvmm_hw->sync_control(vcpu);
	}
	cvmm_queue_exception(vcpu, vector, vector == X86_TRAP_AC, 0);
	return 1;
}

/*
 * The IRET has not run yet: NMIs open when the guest is past it, which any
 * later exit tells.  An NMI that waits is delivered there; the host's own timer
 * bounds how long that is.
 */
static int handle_iret(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->awaiting_iret = true;
	svm->iret_rip = vcpu->rip;
	return 1;
}

/* EXITINFO2 of a task switch, 15.14.1: the error code and these. */
#define TASK_SWITCH_IRET	BIT_ULL(36)
#define TASK_SWITCH_JMP		BIT_ULL(38)
#define TASK_SWITCH_HAS_ERROR	BIT_ULL(44)
#define TASK_SWITCH_RF		BIT_ULL(48)

/* RIP is at the instruction, or where the event struck; the task gate is in order. */
static int handle_task_switch(struct cvmm_vcpu *vcpu)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	u32 type = c->exit_int_info & SVM_EXITINTINFO_TYPE_MASK;
	u8 vector = c->exit_int_info & SVM_EXITINTINFO_VEC_MASK;
	enum cvmm_event event = CVMM_NO_EVENT;
	struct task_switch t = {
		.sel = c->exit_info_1,
		.eip = vcpu->rip,
		.reason = TASK_CALL,
		.rf = c->exit_info_2 & TASK_SWITCH_RF,
	};
	int r;

	if (c->exit_info_2 & TASK_SWITCH_IRET) {
		t.reason = TASK_IRET;
	} else if (c->exit_info_2 & TASK_SWITCH_JMP) {
		t.reason = TASK_JMP;
	} else if (c->exit_int_info & SVM_EXITINTINFO_VALID) {
		t.reason = TASK_EVENT;
		if (type == SVM_EXITINTINFO_TYPE_INTR)
			event = CVMM_EVENT_IRQ;
		else if (type == SVM_EXITINTINFO_TYPE_NMI)
			event = CVMM_EVENT_NMI;
		else if (type == SVM_EXITINTINFO_TYPE_EXEPT && vector != X86_TRAP_BP &&
			 vector != X86_TRAP_OF)
			event = CVMM_EVENT_EXCEPTION;
	}
	t.external = event == CVMM_EVENT_IRQ || event == CVMM_EVENT_NMI;
	if (event == CVMM_EVENT_EXCEPTION) {
		t.has_error = c->exit_info_2 & TASK_SWITCH_HAS_ERROR;
		t.error = c->exit_info_2;
	}
	if (event == CVMM_NO_EVENT) {	/* an instruction: it is over */
		r = cvmm_decode_at_rip(vcpu);
		if (r)
			return r < 0 ? r : 1;
		t.eip += vcpu->emu.insn.len;
	}
	r = cvmm_task_switch(vcpu, &t, event);
	if (t.reason == TASK_IRET && t.switched && to_svm(vcpu)->awaiting_iret) {
		to_svm(vcpu)->awaiting_iret = false;
		vcpu->nmi_masked = false;
	}
	return r;
}

static void count_exit(struct cvmm_vcpu *vcpu, u32 code)
{
	enum cvmm_engine_event event;

	cvmm_vcpu_count(vcpu, CVMM_EE_EXITS);
	switch (code) {
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
		event = CVMM_EE_INTR;
		break;
	case SVM_EXIT_VINTR:
		event = CVMM_EE_WINDOW;
		break;
	case SVM_EXIT_NPF:
		return;	/* memory or MMIO: cvmm_exit_nested_fault() knows */
	case SVM_EXIT_IOIO:
		event = CVMM_EE_PIO;
		break;
	case SVM_EXIT_MSR:
		event = CVMM_EE_MSR;
		break;
	case SVM_EXIT_CPUID:
		event = CVMM_EE_CPUID;
		break;
	case SVM_EXIT_HLT:
		event = CVMM_EE_HLT;
		break;
	case SVM_EXIT_PAUSE:
		event = CVMM_EE_PAUSE;
		break;
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_CR0 + 15:
		event = CVMM_EE_CR;
		break;
	case SVM_EXIT_EXCP_BASE ... SVM_EXIT_EXCP_BASE + 31:
		event = CVMM_EE_EXCEPTION;
		break;
	default:
		event = CVMM_EE_OTHER;
	}
	cvmm_vcpu_count(vcpu, event);
}

int svm_handle_exit(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	u32 code = c->exit_code;

	/* Not entered for want of memory: the next run tries again. */
	if (svm->no_tables)
		return svm->no_tables;
	if (svm->entry_failed || code == (u32)SVM_EXIT_ERR) {
		vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
		vcpu->run->fail_entry.hardware_entry_failure_reason =
			svm->entry_failed ? 0 : c->exit_code;
		vcpu->run->fail_entry.cpu = vcpu->cpu;
		return 0;
	}
	if (svm->awaiting_iret && vcpu->rip != svm->iret_rip) {
		svm->awaiting_iret = false;
		vcpu->nmi_masked = false;
	}

	count_exit(vcpu, code);
	switch (code) {
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
	case SVM_EXIT_VINTR:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		return 1;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_DB:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_BP:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_AC:
		return handle_exception(vcpu, code - SVM_EXIT_EXCP_BASE);
	case SVM_EXIT_EXCP_BASE + X86_TRAP_PF:
		return svm_tables_fault(vcpu, c->exit_info_2, c->exit_info_1);
	case SVM_EXIT_INVLPG:
		return handle_invlpg(vcpu);
	case SVM_EXIT_NPF:
		return handle_npf(vcpu);
	case SVM_EXIT_IOIO:
		return handle_ioio(vcpu);
	case SVM_EXIT_MSR:
		return handle_msr(vcpu);
	case SVM_EXIT_CPUID:
		return handle_cpuid(vcpu);
	case SVM_EXIT_HLT:
		return handle_hlt(vcpu);
	case SVM_EXIT_PAUSE:
		return handle_pause(vcpu);
	case SVM_EXIT_XSETBV:
		return handle_xsetbv(vcpu);
	case SVM_EXIT_WBINVD:
	case SVM_EXIT_INVD:
		return handle_wbinvd(vcpu);
	case SVM_EXIT_IRET:
		return handle_iret(vcpu);
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_READ_CR0 + 15:
	case SVM_EXIT_WRITE_CR0 ... SVM_EXIT_WRITE_CR0 + 15:
		return handle_cr(vcpu);
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR7:
	case SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR7:
		return handle_dr(vcpu);
	case SVM_EXIT_SHUTDOWN:
		return cvmm_exit_shutdown(vcpu);
	case SVM_EXIT_RDPMC:
		cvmm_inject_gp(vcpu);
		return 1;
	case SVM_EXIT_INVLPGA:
	case SVM_EXIT_VMRUN:
	case SVM_EXIT_VMMCALL:
	case SVM_EXIT_VMLOAD:
	case SVM_EXIT_VMSAVE:
	case SVM_EXIT_STGI:
	case SVM_EXIT_CLGI:
	case SVM_EXIT_SKINIT:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
	case SVM_EXIT_RDPRU:
	case SVM_EXIT_RSM:
		cvmm_inject_ud(vcpu);
		return 1;
	case SVM_EXIT_TASK_SWITCH:
		return handle_task_switch(vcpu);
	default:
		return cvmm_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
						code);
	}
}
