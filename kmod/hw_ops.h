/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the generic engine asks of a vendor's part (svm/, later vmx/).
 *
 * Only those folders know a vendor's registers and structures.  Every op is
 * required unless it says optional.  Ops with a vCPU are called by the thread
 * that holds vcpu->mutex.  "Loaded" means between vcpu_load and vcpu_put on the
 * CPU that runs the op.
 */
#ifndef CVMM_HW_OPS_H
#define CVMM_HW_OPS_H

#include "engine.h"

/**
 * struct cvmm_hw_ops - a vendor's part
 * @name:	for messages
 * @engine:	CVMM_ENGINE_* for CVMM_GET_INFO
 * @probe:	is the hardware there and usable?  Changes nothing.  0 or -ENODEV
 *		after a log line with the reason.
 * @busy:	does another hypervisor use this CPU?  On that CPU, any context.
 * @cpu_alloc:	per-CPU memory for all possible CPUs, at module load; @cpu_free
 * @cpu_enable:	switch the hardware on, on this CPU, IRQs off.  0 or -errno.
 * @cpu_disable: the reverse; any context including NMI; idempotent.
 * @vm_create:	fill vm->hw; @vm_destroy
 * @msr_filter_changed: under vm->lock: which MSRs may the guest have directly?
 * @vcpu_create: fill vcpu->hw; @vcpu_destroy
 * @vcpu_load:	on this CPU from now; preemption off.  @changed: it was
 *		elsewhere before or another vCPU was here.
 * @vcpu_put:	leaves this CPU; preemption off
 * @get_segment/@set_segment/@get_table/@set_table: tables: [0] GDT, [1] IDT
 * @sync_control: cr0, cr4, efer, cr8 or debug registers of the
 *		vCPU were changed by software: make the hardware state follow
 * @set_cr3:	vcpu->cr3 was changed by software
 * @set_tsc_aux: set vcpu->tsc_aux, loaded or not
 * @cpl:	current privilege level
 * @msr_get/@msr_set: registers that live in the vendor's structures; true
 *		when @index is one of them
 * @irq_allowed: could an interrupt be taken right now?
 * @irq_shadow/@set_irq_shadow: interrupt shadow (bits as in
 *		KVM_GET_VCPU_EVENTS: 0 or 1)
 * @prepare:	put pending events and windows in place for the next entry;
 *		@want_window: user space waits for an interrupt window
 * @flush_tlb:	forget all translations at the next entry
 * @fetch_gpa:	optional.  Where the processor found code that it has just fetched
 *		from @linear, when that is known without a walk.
 * @enter:	IRQs off, loaded, FPU ready.  Runs the guest until it exits.
 * @handle_exit: loaded, preemptible.  1: go on, 0: back to user space with
 *		run->exit_reason set, < 0: KVM_RUN's error.
 */
struct cvmm_hw_ops {
	const char *name;
	u32 engine;
	int (*probe)(void);
	bool (*busy)(void);
	int (*cpu_alloc)(void);
	void (*cpu_free)(void);
	int (*cpu_enable)(void);
	void (*cpu_disable)(void);
	int (*vm_create)(struct cvmm_vm *vm);
	void (*vm_destroy)(struct cvmm_vm *vm);
	void (*msr_filter_changed)(struct cvmm_vm *vm);
	int (*vcpu_create)(struct cvmm_vcpu *vcpu);
	void (*vcpu_destroy)(struct cvmm_vcpu *vcpu);
	void (*vcpu_load)(struct cvmm_vcpu *vcpu, bool changed);
	void (*vcpu_put)(struct cvmm_vcpu *vcpu);
	void (*get_segment)(struct cvmm_vcpu *vcpu, enum cvmm_seg seg, struct kvm_segment *s);
	void (*set_segment)(struct cvmm_vcpu *vcpu, enum cvmm_seg seg, const struct kvm_segment *s);
	void (*get_table)(struct cvmm_vcpu *vcpu, bool idt, struct kvm_dtable *t);
	void (*set_table)(struct cvmm_vcpu *vcpu, bool idt, const struct kvm_dtable *t);
	void (*sync_control)(struct cvmm_vcpu *vcpu);
	void (*set_cr3)(struct cvmm_vcpu *vcpu);
	void (*set_tsc_aux)(struct cvmm_vcpu *vcpu, u32 val);
	unsigned int (*cpl)(struct cvmm_vcpu *vcpu);
	bool (*msr_get)(struct cvmm_vcpu *vcpu, u32 index, u64 *val);
	bool (*msr_set)(struct cvmm_vcpu *vcpu, u32 index, u64 val);
	bool (*irq_allowed)(struct cvmm_vcpu *vcpu);
	bool (*irq_shadow)(struct cvmm_vcpu *vcpu);
	void (*set_irq_shadow)(struct cvmm_vcpu *vcpu, bool on);
	void (*prepare)(struct cvmm_vcpu *vcpu, bool want_window);
	void (*flush_tlb)(struct cvmm_vcpu *vcpu);
	bool (*fetch_gpa)(struct cvmm_vcpu *vcpu, u64 linear, u64 *gpa);
	void (*enter)(struct cvmm_vcpu *vcpu);
	int (*handle_exit)(struct cvmm_vcpu *vcpu);
};

extern const struct cvmm_hw_ops cvmm_svm_ops;

#endif /* CVMM_HW_OPS_H */
