/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SVM: what the files of this folder share.  Nothing outside includes it.
 */
#ifndef CVMM_SVM_H
#define CVMM_SVM_H

#include <linux/build_bug.h>
#include <linux/types.h>
#include <asm/svm.h>
#include <asm/trapnr.h>

#include "../engine.h"
#include "../hw_ops.h"

static_assert(offsetof(struct vmcb, save) == 0x400);
static_assert(offsetof(struct vmcb_control_area, next_rip) == 0xc8);
static_assert(offsetof(struct vmcb_save_area, rip) == 0x178);

/* MSR permission map: 2 bits per MSR, three ranges of 8192. */
#define SVM_MSRPM_ORDER	1
#define SVM_IOPM_ORDER	2	/* 12 KiB are used */

/* CPUID 0x8000000a EDX */
#define SVM_FEAT_NPT		BIT(0)
#define SVM_FEAT_NRIPS		BIT(3)
#define SVM_FEAT_FLUSHBYASID	BIT(6)
#define SVM_FEAT_DECODEASSISTS	BIT(7)

/* Error code of a nested page fault, APM vol. 2, 15.25.6. */
#define SVM_NPF_WRITE		BIT_ULL(1)
#define SVM_NPF_FINAL		BIT_ULL(32)	/* on the final address */
#define SVM_NPF_WALK		BIT_ULL(33)	/* on a walk of the guest's own tables */

enum svm_injected { SVM_NOTHING, SVM_EXCEPTION, SVM_IRQ, SVM_NMI };

struct svm_vcpu {
	struct vmcb *vmcb;
	u64 vmcb_pa;
	u64 asid_generation;		/* of the CPU it was loaded on, 0: needs a new ASID */
	enum svm_injected injecting;	/* what event_inj holds */
	bool entry_failed;		/* SVM was off on this CPU */
	bool irq_window;		/* VINTR is intercepted */
	bool awaiting_iret;		/* an IRET that ends an NMI was met at iret_rip */
	u64 iret_rip;
	bool no_tables;			/* no memory for them: the guest is not entered */
	bool tables_active;		/* the processor walks copies of the guest's tables */
	struct svm_tables *tables;	/* see tables.c; NULL until they are first wanted */
};

struct svm_vm {
	u8 *msrpm;
	u64 msrpm_pa;
	struct cvmm_counters tables_stats;
	bool tables_stats_shown;	/* under vm->lock */
};

extern u32 svm_features;
extern u64 svm_iopm_pa;

static inline struct svm_vcpu *to_svm(struct cvmm_vcpu *vcpu)
{
	return vcpu->hw;
}

static inline void svm_set_intercept(struct vmcb_control_area *c, unsigned int bit)
{
	c->intercepts[bit / 32] |= BIT(bit % 32);
}

static inline void svm_clear_intercept(struct vmcb_control_area *c, unsigned int bit)
{
	c->intercepts[bit / 32] &= ~BIT(bit % 32);
}

/* host.c: the processors of this host */
int svm_probe(void);
bool svm_busy(void);
int svm_cpu_alloc(void);
void svm_cpu_free(void);
int svm_cpu_enable(void);
void svm_cpu_disable(void);
void svm_vcpu_load(struct cvmm_vcpu *vcpu, bool changed);
void svm_vcpu_put(struct cvmm_vcpu *vcpu);
void svm_set_tsc_aux(struct cvmm_vcpu *vcpu, u32 val);
void svm_forget_vcpu(struct svm_vcpu *svm);
void svm_enter(struct cvmm_vcpu *vcpu);
void svm_flush_tlb(struct cvmm_vcpu *vcpu);

/* exits.c */
int svm_handle_exit(struct cvmm_vcpu *vcpu);

/* tables.c: the guest page-table cache; the last few only while
 * tables_active */
int svm_tables_vm_create(struct svm_vm *svm);
void svm_tables_vm_destroy(struct svm_vm *svm);
void svm_tables_destroy(struct cvmm_vcpu *vcpu);
int svm_tables_prepare(struct cvmm_vcpu *vcpu);
void svm_tables_reset(struct cvmm_vcpu *vcpu);
int svm_tables_cr3(struct cvmm_vcpu *vcpu, u64 cr3);
void svm_tables_invlpg(struct cvmm_vcpu *vcpu, u64 linear);
bool svm_tables_lookup(struct cvmm_vcpu *vcpu, u64 linear, u64 *gpa);
int svm_tables_fault(struct cvmm_vcpu *vcpu, u64 linear, u32 error);

/* vmenter.S */
void cvmm_svm_run(u64 vmcb_pa, u64 *regs, u64 host_pa);

#endif /* CVMM_SVM_H */
