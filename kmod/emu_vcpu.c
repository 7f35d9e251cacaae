// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator's view of a vCPU: its registers, vector registers and memory, and
 * what becomes of the emulator's results.  Return values as in exits.c.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sched/signal.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xstate.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "engine.h"
#include "hw_ops.h"
#include "walk.h"

static int emu_translate(struct emu *e, u64 linear, unsigned int access, u64 *gpa)
{
	struct cvmm_vcpu *vcpu = e->arg;
	struct walk_result res;
	struct walk_cpu cpu;
	int r;

	if (access & WALK_FETCH && cvmm_hw->fetch_gpa && cvmm_hw->fetch_gpa(vcpu, linear, gpa))
		return 0;
	cvmm_fill_walk_cpu(vcpu, &cpu);
	r = walk(&cpu, &cvmm_walk_ops, vcpu, linear, access, &res);
	if (r == WALK_FAULT)
		return emulate_fault(e, res.error, linear);
	*gpa = res.gpa;
	return r;
}

static int emu_read(struct emu *e, u64 gpa, void *buf, unsigned int len)
{
	struct cvmm_vcpu *vcpu = e->arg;
	int r = cvmm_guest_read(vcpu->vm, gpa, buf, len);

	return r == -ENOENT ? EMU_OP_MMIO : r;
}

static int emu_write(struct emu *e, u64 gpa, const void *buf, unsigned int len)
{
	struct cvmm_vcpu *vcpu = e->arg;
	int r = cvmm_guest_write(vcpu->vm, gpa, buf, len);

	return r == -ENOENT ? EMU_OP_MMIO : r;
}

/*
 * The space exchanges aligned words of 4 and 8 bytes: a smaller or misaligned
 * operand is exchanged within one.  One that fits in none is left to the guest,
 * which can reach memory by itself.
 */
static int emu_cmpxchg(struct emu *e, u64 gpa, unsigned int len, void *old, const void *new)
{
	struct cvmm_vcpu *vcpu = e->arg;
	const struct cvmm_memslot *slot;
	unsigned int shift = gpa & 7;
	u64 word, found, want;
	int r;

	slot = cvmm_find_slot(vcpu->vm, gpa >> PAGE_SHIFT);
	if (!slot || slot->flags & KVM_MEM_READONLY)
		return EMU_OP_MMIO;
	if (shift + len > 8)
		return -EAGAIN;
	r = cvmm_guest_read(vcpu->vm, gpa - shift, &found, 8);
	while (!r) {
		word = found;
		want = found;
		memcpy((u8 *)&word + shift, old, len);
		memcpy((u8 *)&want + shift, new, len);
		if (word != found) {
			memcpy(old, (u8 *)&found + shift, len);
			return EMU_OP_DIFFERS;
		}
		r = cvmm_guest_cmpxchg(vcpu->vm, gpa - shift, 8, &found, want);
		if (!r)
			return 0;
		if (r != 1)
			break;
		/* Perhaps only the word's other bytes have changed. */
		if (signal_pending(current))
			return -EINTR;
		r = 0;
	}
	return r == -ENOENT ? EMU_OP_MMIO : r;
}

/* The guest's vector registers are in the processor during KVM_RUN, or will be when asked for. */
static void vec_begin(void)
{
	fpregs_lock();
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
}

/* One instruction with each vector register and *@p as its operands. */
#define VEC_CASE(n, before, after)						\
	case n:									\
		asm volatile(before #n after : : "r" (p) : "memory");		\
		break
#define VEC_SWITCH(reg, before, after) do {					\
	switch (reg) {								\
	VEC_CASE(0, before, after); VEC_CASE(1, before, after);			\
	VEC_CASE(2, before, after); VEC_CASE(3, before, after);			\
	VEC_CASE(4, before, after); VEC_CASE(5, before, after);			\
	VEC_CASE(6, before, after); VEC_CASE(7, before, after);			\
	VEC_CASE(8, before, after); VEC_CASE(9, before, after);			\
	VEC_CASE(10, before, after); VEC_CASE(11, before, after);		\
	VEC_CASE(12, before, after); VEC_CASE(13, before, after);		\
	VEC_CASE(14, before, after); VEC_CASE(15, before, after);		\
	}									\
} while (0)

static void emu_get_vec(struct emu *e, unsigned int reg, u8 *p)
{
	vec_begin();
	if (boot_cpu_has(X86_FEATURE_AVX)) {
		VEC_SWITCH(reg, "vmovdqu %%ymm", ", (%0)");
	} else {
		memset(p, 0, 32);
		VEC_SWITCH(reg, "movdqu %%xmm", ", (%0)");
	}
	fpregs_unlock();
}

static void emu_set_vec(struct emu *e, unsigned int reg, const u8 *p, bool wide)
{
	vec_begin();
	if (wide)	/* VEX: the guest has AVX, so this processor does */
		VEC_SWITCH(reg, "vmovdqu (%0), %%ymm", "");
	else
		VEC_SWITCH(reg, "movdqu (%0), %%xmm", "");
	fpregs_unlock();
}

static const struct emu_ops emu_ops = {
	.translate = emu_translate,
	.read = emu_read,
	.write = emu_write,
	.cmpxchg = emu_cmpxchg,
	.get_vec = emu_get_vec,
	.set_vec = emu_set_vec,
};

static void fill_emu(struct cvmm_vcpu *vcpu)
{
	static const enum cvmm_seg map[6] = {
		[EMU_ES] = CVMM_SEG_ES, [EMU_CS] = CVMM_SEG_CS, [EMU_SS] = CVMM_SEG_SS,
		[EMU_DS] = CVMM_SEG_DS, [EMU_FS] = CVMM_SEG_FS, [EMU_GS] = CVMM_SEG_GS,
	};
	struct emu *e = &vcpu->emu;
	struct kvm_segment s;
	unsigned int i;

	e->ops = &emu_ops;
	e->arg = vcpu;
	e->regs = vcpu->regs;
	e->rip = &vcpu->rip;
	e->rflags = &vcpu->rflags;
	for (i = 0; i < 6; i++) {
		cvmm_hw->get_segment(vcpu, map[i], &s);
		e->seg[i].base = s.base;
		e->seg[i].limit = s.limit;
		e->seg[i].sel = s.selector;
		e->seg[i].attr = s.unusable ? 0 :
			s.type | s.s << 4 | s.dpl << 5 | s.present << 7 |
			s.avl << 8 | s.l << 9 | s.db << 10 | s.g << 11;
	}
	e->cr0 = vcpu->cr0;
	e->cr4 = vcpu->cr4;
	e->efer = vcpu->efer;
	e->xcr0 = vcpu->xcr0;
	e->cpl = cvmm_hw->cpl(vcpu);
}

static void inject_emu_fault(struct cvmm_vcpu *vcpu)
{
	struct emu *e = &vcpu->emu;

	if (e->fault.vector == X86_TRAP_PF)
		vcpu->cr2 = e->fault.cr2;
	cvmm_queue_exception(vcpu, e->fault.vector, e->fault.has_error, e->fault.error);
}

/* The instruction is none that is emulated: user space gets its bytes. */
static int exit_unhandled(struct cvmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct emu *e = &vcpu->emu;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.ndata = 1 + DIV_ROUND_UP(sizeof(run->emulation_failure.insn_size) +
							sizeof(run->emulation_failure.insn_bytes), 8);
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = e->nr_bytes;
	memset(run->emulation_failure.insn_bytes, 0, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, e->bytes, e->nr_bytes);
	return 0;
}

static int continue_emulation(struct cvmm_vcpu *vcpu);

static int complete_emulated_io(struct cvmm_vcpu *vcpu)
{
	struct emu *e = &vcpu->emu;

	if (e->io.port)
		emulate_io_done(e, e->io.write ? NULL : vcpu->pio_data);
	else
		emulate_io_done(e, e->io.write ? NULL : vcpu->run->mmio.data);
	return continue_emulation(vcpu);
}

static int continue_emulation(struct cvmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct emu *e = &vcpu->emu;
	int r;

	fill_emu(vcpu);
	r = emulate_run(e);
	/* Bounded: a repeated instruction has a budget, any other makes a few accesses. */
	while (r == EMU_MMIO && cvmm_apic_mmio(vcpu, e->io.addr, e->io.len, e->io.write, e->io.data)) {
		emulate_io_done(e, NULL);
		r = emulate_run(e);
	}
	switch (r) {
	case EMU_DONE:
		cvmm_hw->set_irq_shadow(vcpu, false);
		if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP) {
			vcpu->step_done = true;
		} else if (e->trap) {
			vcpu->dr6 |= 1UL << 14;		/* DR6.BS */
			cvmm_hw->sync_control(vcpu);
			cvmm_queue_exception(vcpu, X86_TRAP_DB, false, 0);
		}
		return 1;
	case EMU_MMIO:
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = e->io.addr;
		run->mmio.len = e->io.len;
		run->mmio.is_write = e->io.write;
		memcpy(run->mmio.data, e->io.data, sizeof(run->mmio.data));
		vcpu->complete = complete_emulated_io;
		return 0;
	case EMU_PIO:
		if (e->io.write)
			memcpy(vcpu->pio_data, e->io.data, e->io.len);
		vcpu->complete = complete_emulated_io;
		return cvmm_port_to_user(vcpu, e->io.addr, e->io.len, !e->io.write);
	case EMU_FAULT:
		inject_emu_fault(vcpu);
		return 1;
	case EMU_UNHANDLED:
		return exit_unhandled(vcpu);
	}
	/* I/O that was performed must not be performed again: come back here. */
	if (emulate_in_progress(e))
		vcpu->complete = continue_emulation;
	if (r == -EAGAIN)
		return vcpu->complete ? -EINTR : 1;
	return r;
}

/*
 * cvmm_emulate_at_rip() - the guest's next instruction needs software
 *
 * It accesses memory-mapped I/O, or is INS or OUTS.
 */
int cvmm_emulate_at_rip(struct cvmm_vcpu *vcpu, bool delivering)
{
	if (delivering)		/* an event's frame or table is not in memory */
		return cvmm_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV, 0);
	fill_emu(vcpu);
	emulate_begin(&vcpu->emu);
	return continue_emulation(vcpu);
}

/*
 * cvmm_decode_at_rip() - decode the intercepted instruction into vcpu->emu.insn
 *
 * 0, 1 when the guest must be entered instead (a fault was queued, or another
 * CPU has just changed the code), -errno.
 */
int cvmm_decode_at_rip(struct cvmm_vcpu *vcpu)
{
	int r;

	fill_emu(vcpu);
	emulate_begin(&vcpu->emu);
	r = emulate_decode(&vcpu->emu);
	if (r == EMU_FAULT) {
		inject_emu_fault(vcpu);
		return 1;
	}
	return r == -EAGAIN ? 1 : r;
}

/*
 * cvmm_read_operand() - read the memory operand of the decoded instruction
 * @len: at most 8; the operand must not cross a page
 *
 * After cvmm_decode_at_rip().  Results likewise.
 */
int cvmm_read_operand(struct cvmm_vcpu *vcpu, void *buf, unsigned int len)
{
	struct emu *e = &vcpu->emu;
	u64 linear = emulate_linear(e), gpa;
	int r;

	r = emu_translate(e, linear, WALK_READ, &gpa);
	if (r == EMU_OP_FAULT) {
		inject_emu_fault(vcpu);
		return 1;
	}
	if (!r)
		r = emu_read(e, gpa, buf, len);
	if (r == -EAGAIN)
		return 1;
	return r == EMU_OP_MMIO ? -EIO : r;
}
