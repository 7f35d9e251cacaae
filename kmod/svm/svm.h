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
#include "vmcb_clean.h"

static_assert(offsetof(struct vmcb, save) == 0x400);
static_assert(offsetof(struct vmcb_control_area, next_rip) == 0xc8);
static_assert(offsetof(struct vmcb_save_area, rip) == 0x178);
static_assert(offsetof(struct vmcb_save_area, g_pat) == 0x268);

/* MSR permission map: 2 bits per MSR, three ranges of 8192. */
#define SVM_MSRPM_ORDER	1
#define SVM_IOPM_ORDER	2	/* 12 KiB are used */

/* CPUID 0x8000000a EDX */
#define SVM_FEAT_NPT		BIT(0)
#define SVM_FEAT_NRIPS		BIT(3)
#define SVM_FEAT_VMCBCLEAN	BIT(5)
#define SVM_FEAT_FLUSHBYASID	BIT(6)
#define SVM_FEAT_DECODEASSISTS	BIT(7)
#define SVM_FEAT_PAUSEFILTER	BIT(10)
#define SVM_FEAT_PAUSETHRESH	BIT(12)

/* Error code of a nested page fault, APM vol. 2, 15.25.6. */
#define SVM_NPF_WRITE		BIT_ULL(1)
#define SVM_NPF_FINAL		BIT_ULL(32)	/* on the final address */
#define SVM_NPF_WALK		BIT_ULL(33)	/* on a walk of the guest's own tables */

enum svm_injected { SVM_NOTHING, SVM_EXCEPTION, SVM_IRQ, SVM_NMI };

struct svm_vcpu {
	const struct vmcb *vmcb;	/* only svm_put() writes to it */
	u32 clean;			/* VMCB clean bits: what is as after the last #VMEXIT */
	void *seen;			/* VMCB_CLEAN_SIZE bytes as of then, to check; or NULL */
	u64 vmcb_pa;
	u64 asid_generation;		/* of the CPU it was loaded on, 0: needs a new ASID */
	enum svm_injected injecting;	/* what event_inj holds */
	bool entry_failed;		/* SVM was off on this CPU */
	bool irq_window;		/* VINTR is intercepted */
	bool awaiting_iret;		/* an IRET that ends an NMI was met at iret_rip */
	u64 iret_rip;
	int no_tables;			/* -ENOMEM: none for them, the guest is not entered */
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
extern bool svm_check_clean;
extern u64 svm_iopm_pa;
extern ushort svm_pause_count, svm_pause_thresh;
extern bool svm_pause_intercept;

static inline struct svm_vcpu *to_svm(struct cvmm_vcpu *vcpu)
{
	return vcpu->hw;
}

static __always_inline void svm_put_bytes(struct svm_vcpu *svm, const void *field, const void *val,
					  size_t len)
{
	enum vmcb_clean group = vmcb_clean_group((const u8 *)field - (const u8 *)svm->vmcb);

	if (!memcmp(field, val, len))
		return;
	memcpy((void *)field, val, len);
	if (group != VMCB_CLEAN_NONE)
		svm->clean &= ~BIT(group);
}

/*
 * svm_put() - write a field of the VMCB
 *
 * The only way: so whatever changes between two entries loses its clean bit.
 */
#define svm_put(svm, field, val) do {						\
	typeof((svm)->vmcb->field) val__ = (val);				\
										\
	svm_put_bytes(svm, &(svm)->vmcb->field, &val__, sizeof(val__));		\
} while (0)

static inline void svm_intercept(struct svm_vcpu *svm, unsigned int bit, bool on)
{
	u32 word = svm->vmcb->control.intercepts[bit / 32];

	word = on ? word | BIT(bit % 32) : word & ~BIT(bit % 32);
	svm_put(svm, control.intercepts[bit / 32], word);
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
void svm_flush_page(struct cvmm_vcpu *vcpu, u64 linear);

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
void svm_tables_walked(struct cvmm_vcpu *vcpu, u64 gfn);
void svm_tables_invlpg(struct cvmm_vcpu *vcpu, u64 linear);
bool svm_tables_lookup(struct cvmm_vcpu *vcpu, u64 linear, u64 *gpa);
int svm_tables_fault(struct cvmm_vcpu *vcpu, u64 linear, u32 error);

/* vmenter.S */
void cvmm_svm_run(u64 vmcb_pa, u64 *regs, u64 host_pa);

#endif /* CVMM_SVM_H */
