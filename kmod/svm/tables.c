// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest page-table cache (ptcache.h) in the engine: when it is used, what
 * is intercepted for it, and where its pages are.
 *
 * Used for a guest whose memory several hosts share, while it is in long mode
 * with paging on.  Copies of vCPU number n lie in the guest-physical range from
 * cvmm_mmu_hidden_base() + n * PTCACHE_PAGES pages on, mapped in the nested
 * tables once and for the life of the VM.
 */
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "ptcache.h"
#include "svm.h"

static bool page_table_cache;
module_param(page_table_cache, bool, 0644);
MODULE_PARM_DESC(page_table_cache, "use the guest page-table cache for guests on a single host too (for tests)");

static bool tables_in_place = true;
module_param(tables_in_place, bool, 0644);
MODULE_PARM_DESC(tables_in_place, "let the processor walk tables that no other host uses (default: yes)");

/*
 * A table that the processor could walk no more so soon after this host had got it
 * for itself is used by other hosts, too: its address space is copied, the first
 * time for one second, if that was not long enough for twice the time, up to 32.
 */
#define SHARED_WITHIN	(HZ / 10)
#define SHARED_FOR	HZ
#define SHARED_SHIFT	5

/* Tables and address spaces that are remembered; by low bits of their frame. */
#define NR_WALKED	64
#define NR_SHARED	16

/* Bits whose change makes all translations void. */
#define MODE_CR0	(X86_CR0_PG | X86_CR0_WP)
#define MODE_CR4	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP | \
			 X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_LA57)
#define MODE_EFER	((u64)(EFER_LMA | EFER_NX))

/* A table in place that this host had to get; times are in jiffies, 0: none. */
struct walked_table {
	u64 gfn;
	unsigned long when;
};

/* An address space, by the frame of its root, that is copied until then. */
struct shared_space {
	u64 root;
	unsigned long until;
	unsigned int shift;
};

/*
 * struct svm_tables - a vCPU's page-table cache
 * @vcpu:	whose
 * @cr0, @cr4, @efer: the modes the copies were made for
 * @counted:	what the VM's counters have of @cache.count
 * @page:	host pages behind the copies
 * @walked, @shared: what is remembered, see SHARED_WITHIN
 */
struct svm_tables {
	struct cvmm_vcpu *vcpu;
	u64 cr0, cr4, efer;
	struct ptcache_counters counted;
	struct page *page[PTCACHE_PAGES];
	struct walked_table walked[NR_WALKED];
	struct shared_space shared[NR_SHARED];
	struct ptcache cache;
};

static const char *counter_name(unsigned int idx)
{
	static const char * const names[] = {
		"fills", "installed", "injected", "ad_updates", "spurious",
		"cr3_loads", "invlpgs", "flushes", "exhausted", "dropped",
		"in_place", "invlpgs_in_place", "copied",
	};

	static_assert(ARRAY_SIZE(names) == sizeof(struct ptcache_counters) / sizeof(u64));
	return names[idx];
}

int svm_tables_vm_create(struct svm_vm *svm)
{
	return cvmm_counters_init(&svm->tables_stats, "ptcache", counter_name,
				  sizeof(struct ptcache_counters) / sizeof(u64));
}

void svm_tables_vm_destroy(struct svm_vm *svm)
{
	cvmm_counters_destroy(&svm->tables_stats);
}

/* Bring the VM's counters up to date. */
static void count(struct svm_tables *t)
{
	struct svm_vm *svm = t->vcpu->vm->hw;
	const u64 *now = (const u64 *)&t->cache.count;
	u64 *seen = (u64 *)&t->counted;
	unsigned int i;

	for (i = 0; i < sizeof(t->counted) / sizeof(u64); i++) {
		if (now[i] == seen[i])
			continue;
		cvmm_count_add(&svm->tables_stats, i, now[i] - seen[i]);
		seen[i] = now[i];
	}
}

static u64 first_gfn(const struct cvmm_vcpu *vcpu)
{
	return (cvmm_mmu_hidden_base() >> PAGE_SHIFT) + (u64)vcpu->id * PTCACHE_PAGES;
}

/* Callbacks of the cache. */

static int tables_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	struct svm_tables *t = arg;

	return cvmm_walk_ops.read(t->vcpu, gpa, size, val);
}

static int tables_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	struct svm_tables *t = arg;

	/* In parentheses: the kernel has a macro of that name. */
	return (cvmm_walk_ops.cmpxchg)(t->vcpu, gpa, size, old, new);
}

static int tables_read_table(void *arg, u64 gpa, u64 *entries)
{
	struct svm_tables *t = arg;

	return cvmm_guest_read(t->vcpu->vm, gpa, entries, PAGE_SIZE);
}

static u64 *tables_alloc(void *arg, unsigned int index)
{
	struct svm_tables *t = arg;
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);

	if (!page)
		return NULL;
	if (cvmm_mmu_map(&t->vcpu->vm->mmu, first_gfn(t->vcpu) + index, page, true)) {
		__free_page(page);
		return NULL;
	}
	t->page[index] = page;
	return page_address(page);
}

static void tables_flush(void *arg)
{
	struct svm_tables *t = arg;

	svm_flush_tlb(t->vcpu);
}

static void tables_flush_page(void *arg, u64 linear)
{
	struct svm_tables *t = arg;

	svm_flush_page(t->vcpu, linear);
}

static const struct ptcache_ops tables_ops = {
	.guest = { tables_read, tables_cmpxchg },
	.read_table = tables_read_table,
	.alloc = tables_alloc,
	.flush = tables_flush,
	.flush_page = tables_flush_page,
};

static int create(struct cvmm_vcpu *vcpu)
{
	struct svm_vm *vm = vcpu->vm->hw;
	struct svm_tables *t;
	int err;

	t = kvzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return -ENOMEM;
	t->vcpu = vcpu;
	err = ptcache_init(&t->cache, &tables_ops, t, cvmm_mmu_hidden_base() +
			   (u64)vcpu->id * PTCACHE_PAGES * PAGE_SIZE,
			   READ_ONCE(tables_in_place));
	if (err) {
		kvfree(t);
		return err;
	}
	/* The first vCPU's: a group belongs to a space, which is known only now. */
	mutex_lock(&vcpu->vm->lock);
	if (vcpu->vm->space && !vm->tables_stats_shown) {
		cvmm_space_add_counters(vcpu->vm->space, &vm->tables_stats);
		vm->tables_stats_shown = true;
	}
	mutex_unlock(&vcpu->vm->lock);
	to_svm(vcpu)->tables = t;
	return 0;
}

/* No vCPU of the VM runs any more, and the space is still there. */
void svm_tables_destroy(struct cvmm_vcpu *vcpu)
{
	struct svm_tables *t = to_svm(vcpu)->tables;
	struct svm_vm *vm = vcpu->vm->hw;
	unsigned int i;

	if (!t)
		return;
	if (vm->tables_stats_shown) {
		cvmm_space_del_counters(vcpu->vm->space, &vm->tables_stats);
		vm->tables_stats_shown = false;
	}
	cvmm_mmu_zap_range(&vcpu->vm->mmu, first_gfn(vcpu), PTCACHE_PAGES, true);
	for (i = 0; i < PTCACHE_PAGES && t->page[i]; i++)
		__free_page(t->page[i]);
	kvfree(t);
	to_svm(vcpu)->tables = NULL;
}

static bool wanted(struct cvmm_vcpu *vcpu)
{
	return (vcpu->vm->clustered || READ_ONCE(page_table_cache)) &&
	       vcpu->efer & EFER_LMA && vcpu->cr0 & X86_CR0_PG && !(vcpu->cr4 & X86_CR4_LA57);
}

static void intercept(struct cvmm_vcpu *vcpu, bool on)
{
	static const u8 bits[] = {
		INTERCEPT_CR3_READ, INTERCEPT_CR3_WRITE, INTERCEPT_INVLPG,
		INTERCEPT_EXCEPTION_OFFSET + X86_TRAP_PF,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bits); i++)
		svm_intercept(to_svm(vcpu), bits[i], on);
}

/*
 * svm_tables_prepare() - before each entry: follow the guest's paging mode
 *
 * Preemptible; sleeps for memory when the cache is first used.  0 or -ENOMEM:
 * the guest cannot be entered.
 */
int svm_tables_prepare(struct cvmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_tables *t = svm->tables;
	bool want = wanted(vcpu);
	int err;

	if (!want && !svm->tables_active)
		return 0;
	if (want && svm->tables_active && !((t->cr0 ^ vcpu->cr0) & MODE_CR0) &&
	    !((t->cr4 ^ vcpu->cr4) & MODE_CR4) && !((t->efer ^ vcpu->efer) & MODE_EFER))
		return 0;
	if (want && !t) {
		err = create(vcpu);
		if (err)
			return err;
		t = svm->tables;
	}
	t->cr0 = vcpu->cr0;
	t->cr4 = vcpu->cr4;
	t->efer = vcpu->efer;
	ptcache_flush(&t->cache);	/* flushes the hardware's TLB, too */
	count(t);
	if (want != svm->tables_active) {
		svm->tables_active = want;
		intercept(vcpu, want);
		svm_put(svm, save.cr3, want ? ptcache_root(&t->cache) : vcpu->cr3);
	}
	return 0;
}

/* vcpu->cr3 was set by user space: the copies are of other tables. */
void svm_tables_reset(struct cvmm_vcpu *vcpu)
{
	struct svm_tables *t = to_svm(vcpu)->tables;

	ptcache_flush(&t->cache);
	count(t);
}

static u8 maxphyaddr(struct cvmm_vcpu *vcpu)
{
	return min_t(u8, cvmm_guest_maxphyaddr(vcpu), cvmm_host_maxphyaddr() - 1);
}

static void fill_walk_cpu(struct cvmm_vcpu *vcpu, struct walk_cpu *cpu)
{
	cvmm_fill_walk_cpu(vcpu, cpu);
	cpu->maxphyaddr = maxphyaddr(vcpu);
}

/* May the processor walk the tables of the address space at @cr3 in place? */
static bool want_in_place(struct svm_tables *t, u64 cr3)
{
	u64 root = cr3 >> PAGE_SHIFT;
	struct shared_space *s = &t->shared[root % NR_SHARED];

	return READ_ONCE(tables_in_place) &&
	       (s->root != root || !s->until || time_after_eq(jiffies, s->until));
}

/* Another host uses tables of the current address space, too. */
static void copy_shared(struct svm_tables *t)
{
	u64 root = t->vcpu->cr3 >> PAGE_SHIFT;
	struct shared_space *s = &t->shared[root % NR_SHARED];

	if (s->root != root || time_after(jiffies, s->until + (SHARED_FOR << s->shift)))
		s->shift = 0;
	else if (s->shift < SHARED_SHIFT)
		s->shift++;
	s->root = root;
	s->until = (jiffies + (SHARED_FOR << s->shift)) ?: 1;
	ptcache_copy(&t->cache);
	count(t);
}

/* The processor could not walk the guest's own table @gfn; now it can. */
void svm_tables_walked(struct cvmm_vcpu *vcpu, u64 gfn)
{
	struct svm_tables *t = to_svm(vcpu)->tables;
	struct walked_table *w = &t->walked[gfn % NR_WALKED];

	if (w->gfn == gfn && w->when && time_before(jiffies, w->when + SHARED_WITHIN)) {
		w->when = 0;
		copy_shared(t);
		return;
	}
	w->gfn = gfn;
	w->when = jiffies ?: 1;
}

/* MOV to CR3.  0, or -EINVAL for #GP.  May sleep. */
int svm_tables_cr3(struct cvmm_vcpu *vcpu, u64 cr3)
{
	struct svm_tables *t = to_svm(vcpu)->tables;
	struct walk_cpu cpu;

	if (cr3 >> maxphyaddr(vcpu))
		return -EINVAL;
	vcpu->cr3 = cr3;
	fill_walk_cpu(vcpu, &cpu);
	ptcache_cr3(&t->cache, &cpu, want_in_place(t, cr3));
	count(t);
	return 0;
}

void svm_tables_invlpg(struct cvmm_vcpu *vcpu, u64 linear)
{
	struct svm_tables *t = to_svm(vcpu)->tables;

	ptcache_invlpg(&t->cache, linear);
	count(t);
}

/* hw_ops->fetch_gpa() */
bool svm_tables_lookup(struct cvmm_vcpu *vcpu, u64 linear, u64 *gpa)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	return svm->tables_active && ptcache_lookup(&svm->tables->cache, linear, gpa);
}

/*
 * The guest's own fault interrupts what was being delivered: exceptions combine
 * in cvmm_queue_exception(), others wait until they are allowed again.
 */
static void put_back_events(struct cvmm_vcpu *vcpu)
{
	vcpu->irq_injected = false;
	if (vcpu->nmi_injected) {
		vcpu->nmi_injected = false;
		vcpu->nmi_masked = false;
		vcpu->nmi_pending = true;
	}
}

/* An intercepted page fault; returns as hw_ops->handle_exit(). */
int svm_tables_fault(struct cvmm_vcpu *vcpu, u64 linear, u32 error)
{
	struct svm_tables *t = to_svm(vcpu)->tables;
	struct walk_cpu cpu;
	u32 inject;
	int r;

	fill_walk_cpu(vcpu, &cpu);
	r = ptcache_fault(&t->cache, &cpu, linear, error, &inject);
	count(t);
	if (r == PTCACHE_INJECT) {
		put_back_events(vcpu);
		vcpu->cr2 = linear;
		cvmm_queue_exception(vcpu, X86_TRAP_PF, true, inject);
		return 1;
	}
	return r && r != -EAGAIN ? r : 1;
}
