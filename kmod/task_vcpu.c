// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU's task switches: its registers and memory for task_switch(), and what
 * becomes of the event that led to one.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <asm/trapnr.h>

#include "engine.h"
#include "hw_ops.h"
#include "task_switch.h"
#include "walk.h"

static_assert((int)TASK_TR == (int)CVMM_SEG_TR && (int)TASK_LDTR == (int)CVMM_SEG_LDTR);

/* Within a page. */
static int access_page(struct cvmm_vcpu *vcpu, u64 gpa, void *buf, unsigned int len,
		       unsigned int how)
{
	const struct cvmm_memslot *slot;

	if (!(how & TASK_WRITE))
		return cvmm_guest_read(vcpu->vm, gpa, buf, len);
	if (!(how & TASK_PROBE))
		return cvmm_guest_write(vcpu->vm, gpa, buf, len);
	slot = cvmm_find_slot(vcpu->vm, gpa >> PAGE_SHIFT);
	return !slot || slot->flags & KVM_MEM_READONLY ? -ENOENT : 0;
}

static int access_linear(void *arg, struct task_switch *t, u64 cr3, u32 linear, void *buf,
			 unsigned int len, unsigned int how)
{
	unsigned int part, access = how & TASK_WRITE ? WALK_WRITE : WALK_READ;
	struct cvmm_vcpu *vcpu = arg;
	struct walk_result res;
	struct walk_cpu cpu;
	int r;

	cvmm_fill_walk_cpu(vcpu, &cpu);
	cpu.cr3 = cr3;
	cpu.cpl = how & TASK_USER ? 3 : 0;
	if (!(how & TASK_USER))
		access |= WALK_IMPLICIT;
	for (; len; len -= part, linear += part) {
		part = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(linear));
		r = walk(&cpu, &cvmm_walk_ops, vcpu, linear, access, &res);
		if (r < 0)
			return r;
		if (r == WALK_FAULT) {
			vcpu->cr2 = linear;
			t->fault.pending = true;
			t->fault.vector = X86_TRAP_PF;
			t->fault.has_error = true;
			t->fault.error = res.error;
			return 1;
		}
		r = access_page(vcpu, res.gpa, buf, part, how);
		if (r)
			return r;
		if (buf)
			buf += part;
	}
	return 0;
}

static const struct task_ops task_ops = { .access = access_linear };

static void fill(struct cvmm_vcpu *vcpu, struct task_switch *t)
{
	struct kvm_segment s;
	struct kvm_dtable gdt;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t->regs); i++)
		t->regs[i] = vcpu->regs[i];
	t->eflags = vcpu->rflags;
	t->cr0 = vcpu->cr0;
	t->cr3 = vcpu->cr3;
	t->dr6 = vcpu->dr6;
	t->dr7 = vcpu->dr7;
	for (i = 0; i < TASK_NR_SEGS; i++) {
		cvmm_hw->get_segment(vcpu, i, &s);
		t->seg[i].base = s.base;
		t->seg[i].limit = s.limit;
		t->seg[i].sel = s.selector;
		t->seg[i].attr = s.type | s.s << 4 | s.dpl << 5 | (s.present && !s.unusable) << 7 |
				 s.avl << 8 | s.l << 9 | s.db << 10 | s.g << 11;
	}
	cvmm_hw->get_table(vcpu, false, &gdt);
	t->gdt_base = gdt.base;
	t->gdt_limit = gdt.limit;
}

static void take(struct cvmm_vcpu *vcpu, const struct task_switch *t)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t->regs); i++)
		vcpu->regs[i] = t->regs[i];
	vcpu->rip = t->eip;
	vcpu->rflags = t->eflags;
	vcpu->cr0 = t->cr0;
	vcpu->cr3 = t->cr3;
	vcpu->dr6 = t->dr6;
	vcpu->dr7 = t->dr7;
	for (i = 0; i < TASK_NR_SEGS; i++) {
		const struct task_seg *from = &t->seg[i];
		struct kvm_segment s = {
			.base = from->base,
			.limit = from->limit,
			.selector = from->sel,
			.type = from->attr & 0xf,
			.s = from->attr >> 4 & 1,
			.dpl = from->attr >> 5 & 3,
			.present = from->attr >> 7 & 1,
			.avl = from->attr >> 8 & 1,
			.l = from->attr >> 9 & 1,
			.db = from->attr >> 10 & 1,
			.g = from->attr >> 11 & 1,
			.unusable = !(from->attr >> 7 & 1),
		};

		cvmm_hw->set_segment(vcpu, i, &s);
	}
	cvmm_hw->sync_control(vcpu);
	cvmm_hw->set_cr3(vcpu);
	cvmm_hw->flush_tlb(vcpu);
	cvmm_hw->set_irq_shadow(vcpu, false);
	if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)
		vcpu->step_done = true;
}

/*
 * cvmm_task_switch() - emulate a hardware task switch
 * @t: what is to happen is filled in, with the EIP to save; the state is not
 * @event: it was being delivered: an exception, interrupt or NMI that would be
 *	delivered again at the next entry; CVMM_NO_EVENT
 *
 * Returns as hw_ops->handle_exit().  May sleep.
 */
int cvmm_task_switch(struct cvmm_vcpu *vcpu, struct task_switch *t, enum cvmm_event event)
{
	int r;

	fill(vcpu, t);
	r = task_switch(t, &task_ops, vcpu);
	if (r == -EAGAIN)
		return 1;
	if (r == -ENOENT)	/* tables or a TSS that are not in memory */
		return cvmm_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION, 0);
	if (r)
		return r;
	if (event == CVMM_EVENT_IRQ) {
		vcpu->irq_pending = false;
		vcpu->irq_injected = false;
	} else if (event == CVMM_EVENT_NMI) {
		vcpu->nmi_injected = false;
	} else if (event == CVMM_EVENT_EXCEPTION && t->switched) {
		vcpu->exception.pending = false;
	}
	if (t->switched)
		take(vcpu, t);
	/* Together with an exception that could not be delivered this may be a double fault. */
	if (t->fault.pending)
		cvmm_queue_exception(vcpu, t->fault.vector, t->fault.has_error, t->fault.error);
	return 1;
}
