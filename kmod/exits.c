// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the exits of all vendors have in common: CPUID, MSRs, port I/O, HLT,
 * nested page faults, and exceptions to be queued.
 *
 * Exit functions run with the vCPU loaded, preemptible, under vm->srcu, and
 * return as hw_ops->handle_exit(): 1 go on, 0 to user space, < 0 error.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "engine.h"
#include "hw_ops.h"
#include "trace_engine.h"
#include "walk.h"

/* Past an intercepted instruction. */
void cvmm_skip(struct cvmm_vcpu *vcpu, unsigned int insn_len)
{
	u64 rip = vcpu->rip + insn_len;
	struct kvm_segment cs;

	if (!cvmm_long_mode(vcpu)) {
		rip = (u32)rip;
	} else if (rip >> 32) {
		cvmm_hw->get_segment(vcpu, CVMM_SEG_CS, &cs);
		if (!cs.l)
			rip = (u32)rip;
	}
	vcpu->rip = rip;
	cvmm_hw->set_irq_shadow(vcpu, false);
	if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP) {
		vcpu->step_done = true;
	} else if (vcpu->rflags & X86_EFLAGS_TF) {
		vcpu->dr6 |= 1UL << 14;		/* DR6.BS */
		cvmm_hw->sync_control(vcpu);
		cvmm_queue_exception(vcpu, X86_TRAP_DB, false, 0);
	}
}

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum exception_class class_of(u8 vector)
{
	switch (vector) {
	case X86_TRAP_PF:
		return PAGE_FAULT;
	case X86_TRAP_DE:
	case X86_TRAP_TS:
	case X86_TRAP_NP:
	case X86_TRAP_SS:
	case X86_TRAP_GP:
		return CONTRIBUTORY;
	default:
		return BENIGN;
	}
}

/*
 * cvmm_queue_exception() - an exception for the next entry
 *
 * Combines with one that is being delivered as the processor does (APM vol. 2,
 * 8.2.9): a double fault, or a triple fault that makes the next KVM_RUN end
 * with KVM_EXIT_SHUTDOWN.
 */
void cvmm_queue_exception(struct cvmm_vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	struct cvmm_exception *e = &vcpu->exception;

	if (e->pending) {
		enum exception_class first = class_of(e->vector), second = class_of(vector);

		if (e->vector == X86_TRAP_DF) {
			vcpu->triple_fault = true;
			return;
		}
		if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
		    (first == PAGE_FAULT && second != BENIGN)) {
			vector = X86_TRAP_DF;
			has_error = true;
			error = 0;
		}
	}
	/* Real mode pushes no error codes. */
	*e = (struct cvmm_exception) {
		.pending = true,
		.vector = vector,
		.has_error = has_error && vcpu->cr0 & X86_CR0_PE,
		.error = error,
	};
}

void cvmm_inject_gp(struct cvmm_vcpu *vcpu)
{
	cvmm_queue_exception(vcpu, X86_TRAP_GP, true, 0);
}

void cvmm_inject_ud(struct cvmm_vcpu *vcpu)
{
	cvmm_queue_exception(vcpu, X86_TRAP_UD, false, 0);
}

int cvmm_exit_internal_error(struct cvmm_vcpu *vcpu, u32 suberror, u64 data)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = suberror;
	run->internal.ndata = 2;
	run->internal.data[0] = data;
	run->internal.data[1] = vcpu->rip;
	return 0;
}

int cvmm_exit_shutdown(struct cvmm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

/* What user space's debugger waits for: @vector is #DB or #BP. */
int cvmm_exit_debug(struct cvmm_vcpu *vcpu, u8 vector, u64 dr6)
{
	struct kvm_debug_exit_arch *debug = &vcpu->run->debug.arch;
	struct kvm_segment cs;

	cvmm_hw->get_segment(vcpu, CVMM_SEG_CS, &cs);
	vcpu->run->exit_reason = KVM_EXIT_DEBUG;
	*debug = (struct kvm_debug_exit_arch) {
		.exception = vector,
		.pc = cs.base + vcpu->rip,
		.dr6 = dr6,
		.dr7 = cvmm_effective_dr7(vcpu),
	};
	return 0;
}

int cvmm_exit_hlt(struct cvmm_vcpu *vcpu, unsigned int insn_len)
{
	cvmm_skip(vcpu, insn_len);
	if (vcpu->apic) {
		vcpu->halted = true;
		return 1;
	}
	vcpu->run->exit_reason = KVM_EXIT_HLT;
	return 0;
}

int cvmm_exit_cpuid(struct cvmm_vcpu *vcpu, unsigned int insn_len)
{
	u32 eax = vcpu->regs[CVMM_RAX], ebx = 0, ecx = vcpu->regs[CVMM_RCX], edx = 0;

	cvmm_cpuid(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs[CVMM_RAX] = eax;
	vcpu->regs[CVMM_RBX] = ebx;
	vcpu->regs[CVMM_RCX] = ecx;
	vcpu->regs[CVMM_RDX] = edx;
	cvmm_skip(vcpu, insn_len);
	return 1;
}

static int complete_rdmsr(struct cvmm_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->run->msr.error)) {
		cvmm_inject_gp(vcpu);
		return 1;
	}
	vcpu->regs[CVMM_RAX] = (u32)vcpu->run->msr.data;
	vcpu->regs[CVMM_RDX] = vcpu->run->msr.data >> 32;
	cvmm_skip(vcpu, vcpu->insn_len);
	return 1;
}

static int complete_wrmsr(struct cvmm_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->run->msr.error))
		cvmm_inject_gp(vcpu);
	else
		cvmm_skip(vcpu, vcpu->insn_len);
	return 1;
}

/* RDMSR or WRMSR that the hardware did not pass through. */
int cvmm_exit_msr(struct cvmm_vcpu *vcpu, bool write, unsigned int insn_len)
{
	u32 index = vcpu->regs[CVMM_RCX];
	u64 val = (u32)vcpu->regs[CVMM_RAX] | vcpu->regs[CVMM_RDX] << 32;
	struct kvm_run *run = vcpu->run;
	u32 reason;
	int r;

	if (cvmm_apic_msr(vcpu, index, write, &val))
		goto done;
	if (!cvmm_msr_allowed(vcpu->vm, index, write)) {
		reason = KVM_MSR_EXIT_REASON_FILTER;
		goto to_user;
	}
	r = write ? cvmm_msr_write(vcpu, index, val, false) :
		    cvmm_msr_read(vcpu, index, &val, false);
	if (r < 0)
		return r;
	if (r) {
		reason = r == CVMM_MSR_UNKNOWN ? KVM_MSR_EXIT_REASON_UNKNOWN :
						 KVM_MSR_EXIT_REASON_INVAL;
		goto to_user;
	}
done:
	if (!write) {
		vcpu->regs[CVMM_RAX] = (u32)val;
		vcpu->regs[CVMM_RDX] = val >> 32;
	}
	cvmm_skip(vcpu, insn_len);
	return 1;

to_user:
	if (!(READ_ONCE(vcpu->vm->user_msr_mask) & reason)) {
		cvmm_inject_gp(vcpu);
		return 1;
	}
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = index;
	run->msr.data = write ? val : 0;
	vcpu->insn_len = insn_len;
	vcpu->complete = write ? complete_wrmsr : complete_rdmsr;
	return 0;
}

static int complete_in(struct cvmm_vcpu *vcpu)
{
	u64 *rax = &vcpu->regs[CVMM_RAX];

	/* The size is ours, not the run page's: user space may write there. */
	switch (vcpu->pio_size) {
	case 1:
		*rax = (*rax & ~0xffULL) | *(u8 *)vcpu->pio_data;
		break;
	case 2:
		*rax = (*rax & ~0xffffULL) | *(u16 *)vcpu->pio_data;
		break;
	default:
		*rax = *(u32 *)vcpu->pio_data;
	}
	cvmm_skip(vcpu, vcpu->insn_len);
	return 1;
}

/* KVM_EXIT_IO; the data are or will be in vcpu->pio_data. */
int cvmm_port_to_user(struct cvmm_vcpu *vcpu, u16 port, unsigned int size, bool in)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = size;
	run->io.port = port;
	run->io.count = 1;
	run->io.data_offset = CVMM_PIO_PAGE * PAGE_SIZE;
	return 0;
}

/* IN and OUT; @size 1, 2 or 4.  INS and OUTS go to cvmm_emulate_at_rip(). */
int cvmm_exit_io(struct cvmm_vcpu *vcpu, u16 port, unsigned int size, bool in,
		 unsigned int insn_len)
{
	if (in) {
		vcpu->pio_size = size;
		vcpu->insn_len = insn_len;
		vcpu->complete = complete_in;
	} else {
		memcpy(vcpu->pio_data, &vcpu->regs[CVMM_RAX], size);
		/* Nothing is left to do when user space has seen it. */
		cvmm_skip(vcpu, insn_len);
	}
	return cvmm_port_to_user(vcpu, port, size, in);
}

int cvmm_exit_xsetbv(struct cvmm_vcpu *vcpu, unsigned int insn_len)
{
	u64 val = (u32)vcpu->regs[CVMM_RAX] | vcpu->regs[CVMM_RDX] << 32;

	if (cvmm_hw->cpl(vcpu) || (u32)vcpu->regs[CVMM_RCX] || cvmm_set_xcr0(vcpu, val)) {
		cvmm_inject_gp(vcpu);
		return 1;
	}
	cvmm_skip(vcpu, insn_len);
	return 1;
}

static int map_page(void *arg, u64 gfn, struct page *page, bool writable)
{
	struct cvmm_vm *vm = arg;

	return cvmm_mmu_map(&vm->mmu, gfn, page, writable);
}

/*
 * cvmm_exit_nested_fault() - a guest-physical address has no sufficient mapping
 * @delivering: the fault struck while an event was being delivered
 */
int cvmm_exit_nested_fault(struct cvmm_vcpu *vcpu, u64 gpa, bool write, bool delivering)
{
	struct cvmm_vm *vm = vcpu->vm;
	const struct cvmm_memslot *slot;
	u64 gfn = gpa >> PAGE_SHIFT;
	int r;

	slot = cvmm_find_slot(vm, gfn);
	if (!slot || (write && slot->flags & KVM_MEM_READONLY)) {
		cvmm_vcpu_count(vcpu, CVMM_EE_MMIO);
		return cvmm_emulate_at_rip(vcpu, delivering);
	}
	cvmm_vcpu_count(vcpu, CVMM_EE_NPF);
	if (slot->user) {
		r = cvmm_user_fault(vm, slot, gfn, write);
		trace_cvmm_vcpu_fault(vcpu->id, vcpu->rip, gpa, write, r);
		return r ? r : 1;
	}
	cvmm_space_holds_begin(vm->space, &vcpu->holds, vcpu->rip);
	r = cvmm_space_fault(vm->space, gfn, write ? CVMM_FAULT_WRITE : 0, &vcpu->holds,
			     map_page, vm);
	trace_cvmm_vcpu_fault(vcpu->id, vcpu->rip, gpa, write, r);
	if (r == -ENOENT)	/* the slot is larger than the space's ranges */
		return cvmm_emulate_at_rip(vcpu, delivering);
	return r ? r : 1;
}

/* Guest memory for the walker. */

static int walk_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	struct cvmm_vcpu *vcpu = arg;
	u32 val32;
	int r;

	if (size == 8)
		return cvmm_guest_read(vcpu->vm, gpa, val, 8);
	r = cvmm_guest_read(vcpu->vm, gpa, &val32, 4);
	if (!r)
		*val = val32;
	return r;
}

static int walk_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	struct cvmm_vcpu *vcpu = arg;
	int r = cvmm_guest_cmpxchg(vcpu->vm, gpa, size, old, new);

	/* Tables in read-only memory, where they were read just now: A and D are lost. */
	return r == -ENOENT ? 0 : r;
}

const struct walk_ops cvmm_walk_ops = {
	.read = walk_read,
	.cmpxchg = walk_cmpxchg,
};

/* The state that takes part in translation, for walk() with cvmm_walk_ops. */
void cvmm_fill_walk_cpu(struct cvmm_vcpu *vcpu, struct walk_cpu *cpu)
{
	*cpu = (struct walk_cpu) {
		.cr0 = vcpu->cr0,
		.cr3 = vcpu->cr3,
		.cr4 = vcpu->cr4,
		.efer = vcpu->efer,
		.rflags = vcpu->rflags,
		.cpl = cvmm_hw->cpl(vcpu),
		.maxphyaddr = cvmm_guest_maxphyaddr(vcpu),
		.gbpages = vcpu->cpuid_gbpages,
	};
}
