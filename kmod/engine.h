/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine: VMs and vCPUs behind the KVM ABI, independent of the vendor.
 *
 * Locks, outermost first:
 *
 *   lock               protects                              taken for
 *   vcpu->mutex        all of a vCPU's state                 any vCPU ioctl, for its whole time
 *   vm->lock           memslots, list of vCPUs, MSR filter,  VM ioctls that change them,
 *                      the VM's TSC                          setting a vCPU's TSC
 *   vm->srcu (read)    memslots and MSR filter in use        KVM_RUN, while handling an exit
 *   page lock (space)  leaf entries of the nested tables     install and protect(), see mmu.c
 *   user_mem lock      the same, of user memory              install (shared), invalidation
 *   engine_lock        who uses the hardware                 first VM in, last VM out
 *
 * vcpu->mutex is never taken with vm->lock held.  Nothing here is taken inside
 * the page lock.
 */
#ifndef CVMM_ENGINE_H
#define CVMM_ENGINE_H

#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/refcount.h>
#include <linux/signal_types.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <asm/fpu/types.h>

#include "emulate.h"
#include "mmu.h"
#include "space.h"
#include "stats.h"

#define CVMM_MAX_VCPUS		256	/* vCPUs of one VM on one host */
#define CVMM_MAX_MEMSLOTS	64
#define CVMM_MAX_CPUID_ENTRIES	256
#define CVMM_MCE_BANKS		32

/* Pages of a vCPU's mapping: struct kvm_run, then the buffer of port I/O. */
#define CVMM_RUN_PAGES		2
#define CVMM_PIO_PAGE		1

enum {	/* order of the instruction encoding */
	CVMM_RAX, CVMM_RCX, CVMM_RDX, CVMM_RBX, CVMM_RSP, CVMM_RBP, CVMM_RSI, CVMM_RDI,
	CVMM_R8, CVMM_R9, CVMM_R10, CVMM_R11, CVMM_R12, CVMM_R13, CVMM_R14, CVMM_R15,
	CVMM_NR_REGS
};

enum cvmm_seg {	/* order of the instruction encoding, then the system segments */
	CVMM_SEG_ES, CVMM_SEG_CS, CVMM_SEG_SS, CVMM_SEG_DS, CVMM_SEG_FS, CVMM_SEG_GS,
	CVMM_SEG_TR, CVMM_SEG_LDTR
};

struct cvmm_vm;
struct cvmm_vcpu;
struct kvm_vcpu;
struct mm_struct;
struct task_struct;

struct cvmm_apic;
struct cvmm_user_mem;

struct cvmm_memslot {
	u32 id;
	u32 flags;			/* KVM_MEM_*; only with user memory */
	u64 base_gfn;
	u64 nr_gfns;
	u64 userspace_addr;
	struct cvmm_user_mem *user;	/* NULL: in the VM's space */
	unsigned long *dirty;		/* a bit for each frame written, while it is logged */
};

/* Immutable once published; replaced as a whole. */
struct cvmm_memslots {
	struct rcu_head rcu;
	u32 nr;
	struct cvmm_memslot slot[CVMM_MAX_MEMSLOTS];
};

struct cvmm_msr_filter;

/* Counters of a VM, group "engine"; names in vm.c. */
enum cvmm_engine_event {
	CVMM_EE_EXITS,		/* all of them; the next ones are among them */
	CVMM_EE_INTR,		/* host interrupts and NMIs */
	CVMM_EE_WINDOW,		/* interrupt windows */
	CVMM_EE_NPF,		/* nested page faults on memory */
	CVMM_EE_NPF_WALK,	/* of these: on walks of the guest's own tables */
	CVMM_EE_MMIO,
	CVMM_EE_PIO,
	CVMM_EE_MSR,
	CVMM_EE_CPUID,
	CVMM_EE_HLT,
	CVMM_EE_PAUSE,		/* the guest spins: see spin.c */
	CVMM_EE_CR,
	CVMM_EE_EXCEPTION,
	CVMM_EE_OTHER,
	CVMM_EE_IRQ_INJECTED,
	CVMM_EE_TLB_FLUSH,	/* flushes that a change of the nested tables needed */
	CVMM_EE_KICK,		/* IPIs to vCPUs in guest mode */
	CVMM_EE_LARGE_MAP,	/* nested page faults answered with a large mapping */
	CVMM_EE_LARGE_SPLIT,	/* large mappings split into smaller ones */
	CVMM_EE_LARGE_MERGE,	/* tables of small mappings removed for a large one */
	CVMM_EE_USER,		/* returns of KVM_RUN */
	CVMM_EE_APIC_ACCESS,	/* served in the page shared with user space (apic.c) */
	CVMM_EE_APIC_IPI,	/* interrupts from vCPU to vCPU there, by target */
	CVMM_EE_APIC_TIMER,	/* expiries there */
	CVMM_EE_HALT,		/* sleeps of halted vCPUs in the kernel */
	CVMM_EE_YIELD,		/* times a spinning vCPU gave its CPU to another one of the VM */
	CVMM_EE_NR
};

#define CVMM_EE_VCPU_NR	CVMM_EE_TLB_FLUSH	/* those before are counted for each vCPU, too */

struct cvmm_vm {
	refcount_t users;		/* the VM's file and each vCPU's file */
	struct mutex lock;
	struct srcu_struct srcu;
	struct cvmm_memslots __rcu *slots;
	struct cvmm_msr_filter __rcu *msr_filter;
	u32 user_msr_mask;		/* KVM_MSR_EXIT_REASON_* to report */

	struct mm_struct *mm;		/* its creator's: nobody else may use the VM */
	pid_t pid;			/* the creator, for names alone */

	/*
	 * Set by CVMM_VM_JOIN_SPACE or by the first memory slot in a space, constant after
	 * that.  vCPUs rely on it only where they found such a slot, or with acquire.
	 */
	struct cvmm_space *space;
	struct cvmm_space_client client;
	bool clustered;			/* the space has several hosts */
	bool failed;			/* the space has failed: KVM_RUN returns -EIO */
	u8 maxphyaddr;			/* the guest's, see cpuid.c */

	struct cvmm_mmu mmu;
	u32 max_vcpu_id;		/* ids of vCPUs are below, if set by user space */
	u32 nr_vcpus;			/* entries of vcpus, published with release */
	u32 last_boosted;		/* index of the vCPU that was yielded to last; a hint */
	struct cvmm_vcpu *vcpus[CVMM_MAX_VCPUS];
	u32 tsc_khz;
	u64 tsc_offset;			/* the VM's TSC less the host's; under lock */
	struct cvmm_counters stats;
	void *hw;			/* of the engine's vendor part */
};

/*
 * Where a vCPU is, as a remote CPU that wants it out of guest mode sees it.
 * Entry: mode = IN_GUEST, full barrier, test requests.  Kick: set a request,
 * full barrier, test mode.  So either the vCPU sees the request before it
 * enters, or the kicker sees IN_GUEST and sends an IPI.
 */
enum cvmm_vcpu_mode {
	CVMM_OUTSIDE_GUEST,
	CVMM_IN_GUEST,
};

#define CVMM_REQ_TLB_FLUSH	0	/* forget all translations before the next entry */
#define CVMM_REQ_KICK		1	/* only leave guest mode */
#define CVMM_REQ_EVENT		2	/* look at the APIC page: see apic.c */

/* A pending or partly delivered event. */
struct cvmm_exception {
	bool pending;			/* to be delivered at the next entry */
	bool has_error;
	u8 vector;
	u32 error;
};

struct cvmm_vcpu {
	struct mutex mutex;
	struct cvmm_vm *vm;
	u32 id;				/* as given by user space, the APIC id */
	struct kvm_run *run;		/* shared with user space: never trusted */
	u8 *pio_data;

	/* Seen by other CPUs. */
	enum cvmm_vcpu_mode mode;
	int cpu;			/* where it was loaded last, -1 nowhere yet */
	bool loaded;			/* own thread, preemption off */
	unsigned long requests;
	struct task_struct *task;	/* in KVM_RUN, else NULL; read under RCU, see spin.c */
	bool preempted;			/* its thread waits for a CPU ... */
	bool preempted_in_kernel;	/* ... in the middle of the guest's kernel */
	bool spinning;			/* in cvmm_vcpu_spins() */
	bool passed_over;		/* for that reason, the last time */

	/* Registers.  cr3, cr2, rip, rsp, rax, rflags: exchanged with the hardware at each entry. */
	u64 regs[CVMM_NR_REGS];
	u64 rip;
	u64 rflags;
	u64 cr0, cr2, cr3, cr4, efer;
	u8 cr8;
	u64 xcr0;
	u64 apic_base;
	u64 db[4], dr6, dr7;

	/* KVM_SET_GUEST_DEBUG */
	u32 guest_debug;		/* KVM_GUESTDBG_*, 0: off */
	u64 debug_db[4], debug_dr7;	/* user space's, in place of the guest's */
	bool step_done;			/* software has done a single step: tell user space */

	u64 tsc_offset;			/* the guest's TSC less the host's */
	u64 tsc_adjust;			/* IA32_TSC_ADJUST: what the guest has added to it */
	u64 tsc_aux;
	u64 misc_enable;
	u64 mtrr_def_type, mtrr_fix[11], mtrr_var[16];
	u64 mcg_cap, mcg_status, mcg_ctl, mce_banks[CVMM_MCE_BANKS][4];
	struct fpu_guest fpu;

	/* Events. */
	struct cvmm_exception exception;
	bool irq_pending;		/* KVM_INTERRUPT's vector waits or is being delivered */
	bool irq_injected;		/* its delivery was cut short: it needs no window */
	u8 irq_vector;
	bool nmi_pending;		/* atomic use: KVM_NMI only under the mutex */
	bool nmi_injected;		/* being delivered */
	bool nmi_masked;		/* until IRET */
	bool triple_fault;		/* KVM_EXIT_SHUTDOWN is due */
	struct cvmm_apic *apic;		/* NULL: all of the APIC is user space's */
	bool halted;			/* only with @apic */

	/* What is left to do of the last exit when KVM_RUN is called again. */
	int (*complete)(struct cvmm_vcpu *vcpu);
	u64 complete_rip;		/* nothing is left when user space moved RIP since */
	u8 pio_size;
	u8 insn_len;
	struct emu emu;

	struct cvmm_space_holds holds;

	u64 counts[CVMM_EE_VCPU_NR];	/* written by its thread only */

	bool sigset_active;
	sigset_t sigset;
	u32 nr_cpuid;
	struct kvm_cpuid_entry2 *cpuid;
	u8 cpuid_phys_bits;		/* of leaf 8000_0008 */
	bool cpuid_gbpages;		/* of leaf 8000_0001 */
	bool cpuid_tsc_adjust;		/* of leaf 7 */
	bool has_run;			/* CPUID stays as it is */
	struct preempt_notifier preempt_notifier;
	struct kvm_vcpu *xfer;		/* see xfer.c */
	void *hw;			/* of the engine's vendor part */
};

/* main.c */
int cvmm_hw_get(void);
void cvmm_hw_put(void);
extern const struct cvmm_hw_ops *cvmm_hw;
extern u64 cvmm_host_xss;
int cvmm_check_extension(long ext);

/* vm.c */
int cvmm_vm_create(unsigned long type);
void cvmm_vm_get(struct cvmm_vm *vm);
void cvmm_vm_put(struct cvmm_vm *vm);
int cvmm_kick_init(void);
void cvmm_kick_exit(void);
void cvmm_vm_kick_all(struct cvmm_vm *vm);
void cvmm_vm_kick_and_flush(struct cvmm_vm *vm);

/* vm_stats.c */
int cvmm_vm_get_stats_fd(struct cvmm_vm *vm);
int cvmm_vcpu_get_stats_fd(struct cvmm_vcpu *vcpu);

/* vcpu.c */
int cvmm_vcpu_create(struct cvmm_vm *vm, unsigned long id);
void cvmm_vcpu_free(struct cvmm_vcpu *vcpu);
void cvmm_vcpu_load(struct cvmm_vcpu *vcpu);
void cvmm_vcpu_put(struct cvmm_vcpu *vcpu);
int cvmm_vcpu_run(struct cvmm_vcpu *vcpu);
bool cvmm_ready_for_irq(struct cvmm_vcpu *vcpu);

/* spin.c */
void cvmm_vcpu_spins(struct cvmm_vcpu *vcpu);

/* apic.c: the local APIC page shared with user space */
int cvmm_apic_create(struct cvmm_vcpu *vcpu, const void __user *argp);
void cvmm_apic_announce(struct cvmm_vm *vm);
bool cvmm_apic_interrupt(struct cvmm_vm *vm, const struct cvmm_irq *irq);
void cvmm_apic_destroy(struct cvmm_vcpu *vcpu);
struct page *cvmm_apic_page(struct cvmm_vcpu *vcpu);
void cvmm_apic_notify(struct cvmm_vcpu *vcpu);
bool cvmm_apic_mmio(struct cvmm_vcpu *vcpu, u64 gpa, unsigned int len, bool write, void *data);
bool cvmm_apic_msr(struct cvmm_vcpu *vcpu, u32 index, bool write, u64 *val);
bool cvmm_apic_set_cr8(struct cvmm_vcpu *vcpu, u8 cr8);
void cvmm_apic_begin(struct cvmm_vcpu *vcpu);
int cvmm_apic_prepare(struct cvmm_vcpu *vcpu, bool *window);

/* vcpu_state.c: the ioctls that read and write a vCPU's state */
long cvmm_vcpu_state_ioctl(struct cvmm_vcpu *vcpu, unsigned int cmd, void __user *argp);
void cvmm_vcpu_reset(struct cvmm_vcpu *vcpu);
int cvmm_set_efer(struct cvmm_vcpu *vcpu, u64 efer);
int cvmm_set_cr0(struct cvmm_vcpu *vcpu, u64 cr0);
int cvmm_set_cr4(struct cvmm_vcpu *vcpu, u64 cr4);
int cvmm_set_xcr0(struct cvmm_vcpu *vcpu, u64 xcr0);
#define CVMM_GUESTDBG_VALID	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | \
				 KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP | \
				 KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | \
				 KVM_GUESTDBG_BLOCKIRQ)

/* exits.c: what vendors' exits have in common; each returns as hw_ops->handle_exit() */
int cvmm_exit_cpuid(struct cvmm_vcpu *vcpu, unsigned int insn_len);
int cvmm_exit_msr(struct cvmm_vcpu *vcpu, bool write, unsigned int insn_len);
int cvmm_exit_io(struct cvmm_vcpu *vcpu, u16 port, unsigned int size, bool in,
		 unsigned int insn_len);
int cvmm_port_to_user(struct cvmm_vcpu *vcpu, u16 port, unsigned int size, bool in);
int cvmm_exit_hlt(struct cvmm_vcpu *vcpu, unsigned int insn_len);
int cvmm_exit_shutdown(struct cvmm_vcpu *vcpu);
int cvmm_exit_debug(struct cvmm_vcpu *vcpu, u8 vector, u64 dr6);
int cvmm_exit_nested_fault(struct cvmm_vcpu *vcpu, u64 gpa, bool write, bool delivering);
int cvmm_exit_internal_error(struct cvmm_vcpu *vcpu, u32 suberror, u64 data);
int cvmm_exit_xsetbv(struct cvmm_vcpu *vcpu, unsigned int insn_len);
int cvmm_emulate_at_rip(struct cvmm_vcpu *vcpu, bool delivering);
void cvmm_skip(struct cvmm_vcpu *vcpu, unsigned int insn_len);
void cvmm_queue_exception(struct cvmm_vcpu *vcpu, u8 vector, bool has_error, u32 error);
void cvmm_inject_gp(struct cvmm_vcpu *vcpu);
void cvmm_inject_ud(struct cvmm_vcpu *vcpu);
int cvmm_decode_at_rip(struct cvmm_vcpu *vcpu);
int cvmm_read_operand(struct cvmm_vcpu *vcpu, void *buf, unsigned int len);
extern const struct walk_ops cvmm_walk_ops;	/* arg: the vCPU; under vm->srcu */
void cvmm_fill_walk_cpu(struct cvmm_vcpu *vcpu, struct walk_cpu *cpu);

/* task_vcpu.c */
enum cvmm_event { CVMM_NO_EVENT, CVMM_EVENT_EXCEPTION, CVMM_EVENT_IRQ, CVMM_EVENT_NMI };
struct task_switch;
int cvmm_task_switch(struct cvmm_vcpu *vcpu, struct task_switch *t, enum cvmm_event event);

/* memslot.c */
int cvmm_join_space(struct cvmm_vm *vm, int fd);
int cvmm_set_memory(struct cvmm_vm *vm, const struct kvm_userspace_memory_region *r);
const struct cvmm_memslot *cvmm_find_slot(struct cvmm_vm *vm, u64 gfn);
int cvmm_get_dirty_log(struct cvmm_vm *vm, const struct kvm_dirty_log *log);
void cvmm_free_memory(struct cvmm_vm *vm);
void cvmm_zap_and_flush(struct cvmm_vm *vm, u64 gfn, u64 nr, bool may_sleep);
void cvmm_merge_and_flush(struct cvmm_vm *vm, u64 gfn);

/* user_mem.c */
struct cvmm_user_mem *cvmm_user_mem_create(struct cvmm_vm *vm, u64 base_gfn, u64 nr_gfns,
					   unsigned long start);
void cvmm_user_mem_destroy(struct cvmm_user_mem *mem);
int cvmm_user_fault(struct cvmm_vm *vm, const struct cvmm_memslot *slot, u64 gfn, bool write);
int cvmm_guest_read(struct cvmm_vm *vm, u64 gpa, void *buf, unsigned int len);
int cvmm_guest_write(struct cvmm_vm *vm, u64 gpa, const void *buf, unsigned int len);
int cvmm_guest_cmpxchg(struct cvmm_vm *vm, u64 gpa, unsigned int size, u64 *old, u64 new);

/* cpuid.c */
int cvmm_get_supported_cpuid(struct kvm_cpuid2 __user *arg);
int cvmm_vcpu_set_cpuid(struct cvmm_vcpu *vcpu, struct kvm_cpuid2 __user *arg);
int cvmm_vcpu_get_cpuid(struct cvmm_vcpu *vcpu, struct kvm_cpuid2 __user *arg);
void cvmm_cpuid(struct cvmm_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx);
u64 cvmm_supported_xcr0(void);
u8 cvmm_host_maxphyaddr(void);
u8 cvmm_guest_maxphyaddr(struct cvmm_vcpu *vcpu);

/* msr.c; 0, 1 = not valid (#GP), 2 = unknown, -errno */
#define CVMM_MSR_INVALID	1
#define CVMM_MSR_UNKNOWN	2
int cvmm_msr_read(struct cvmm_vcpu *vcpu, u32 index, u64 *val, bool host);
int cvmm_msr_write(struct cvmm_vcpu *vcpu, u32 index, u64 val, bool host);
void cvmm_set_tsc_offset(struct cvmm_vcpu *vcpu, u64 offset);
bool cvmm_apic_base_valid(struct cvmm_vcpu *vcpu, u64 val);
int cvmm_get_msr_index_list(struct kvm_msr_list __user *arg);
int cvmm_get_msr_feature_list(struct kvm_msr_list __user *arg);
int cvmm_msr_io(struct cvmm_vcpu *vcpu, struct kvm_msrs __user *arg, bool write);
int cvmm_set_msr_filter(struct cvmm_vm *vm, const struct kvm_msr_filter *f);
bool cvmm_msr_allowed(struct cvmm_vm *vm, u32 index, bool write);
void cvmm_free_msr_filter(struct cvmm_msr_filter *f);

/* mce.c */
#define CVMM_MCE_CAP	(BIT_ULL(8) | BIT_ULL(24))	/* of MCG_CAP: MCG_CTL_P, MCG_SER_P */
int cvmm_mce_msr_read(struct cvmm_vcpu *vcpu, u32 index, u64 *val, bool host);
int cvmm_mce_msr_write(struct cvmm_vcpu *vcpu, u32 index, u64 val, bool host);
int cvmm_mce_setup(struct cvmm_vcpu *vcpu, u64 cap);
int cvmm_mce_inject(struct cvmm_vcpu *vcpu, const struct kvm_x86_mce *mce);

/* xfer.c */
struct kvm_vcpu *cvmm_xfer_alloc(struct kvm_run *run);
void cvmm_xfer_free(struct kvm_vcpu *xfer);
int cvmm_xfer_to_guest_work(struct kvm_vcpu *xfer);

static inline bool cvmm_long_mode(const struct cvmm_vcpu *vcpu)
{
	return vcpu->efer & (1ULL << 10);	/* EFER.LMA */
}

/* The debug registers that count in guest mode: the guest's, or user space's. */
static inline const u64 *cvmm_effective_db(const struct cvmm_vcpu *vcpu)
{
	return vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_db : vcpu->db;
}

static inline u64 cvmm_effective_dr7(const struct cvmm_vcpu *vcpu)
{
	return vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr7 : vcpu->dr7;
}

/* An event of the vCPU's own thread, < CVMM_EE_VCPU_NR. */
static inline void cvmm_vcpu_count(struct cvmm_vcpu *vcpu, enum cvmm_engine_event event)
{
	cvmm_count(&vcpu->vm->stats, event);
	WRITE_ONCE(vcpu->counts[event], vcpu->counts[event] + 1);
}

static inline void cvmm_request(struct cvmm_vcpu *vcpu, int req)
{
	set_bit(req, &vcpu->requests);
}

#endif /* CVMM_ENGINE_H */
