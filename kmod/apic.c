// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC page that a vCPU shares with user space: accesses that need no exit,
 * interrupts from vCPU to vCPU, the timer, HLT.  The APIC itself is in vapic.c, which
 * trusts nothing in the page; what it leaves alone goes to user space.
 *
 * Attention.  Whoever has something for a vCPU makes it visible, then calls
 * cvmm_apic_notify(), which sets CVMM_REQ_EVENT.  The vCPU clears that before it
 * looks, and does not enter the guest or sleep while it is set.
 */
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swait.h>
#include <linux/uaccess.h>
#include <asm/msr.h>

#include "compat.h"
#include "engine.h"
#include "hw_ops.h"
#include "vapic.h"

struct cvmm_apic {
	struct vapic v;
	struct cvmm_vcpu *vcpu;
	u32 nr_vcpus;			/* of the guest, on all hosts */
	struct swait_queue_head wait;	/* the vCPU, halted */
	struct hrtimer timer;
	u64 armed;			/* host TSC it is set for, VAPIC_NEVER: it is not */
	bool fired;			/* since it was set; the timer writes, the vCPU clears */
};

static_assert(sizeof(struct cvmm_apic_page) == PAGE_SIZE);

/* By any CPU: the page is there for good once it is. */
static struct cvmm_apic *apic_of(struct cvmm_vcpu *vcpu)
{
	return smp_load_acquire(&vcpu->apic);
}

/* ---- attention ----------------------------------------------------------- */

/*
 * cvmm_apic_notify() - have a vCPU look at its page
 *
 * In guest mode it is interrupted, halted it wakes up.  Any context but NMI; nothing
 * without a page.
 */
void cvmm_apic_notify(struct cvmm_vcpu *vcpu)
{
	struct cvmm_apic *apic = apic_of(vcpu);
	int me, cpu;

	if (!apic)
		return;
	/* Not to be preempted between the bit and the rest: others rely on it. */
	me = get_cpu();
	/* Set already: the vCPU has not looked yet, and whoever set it sees to that. */
	if (test_and_set_bit(CVMM_REQ_EVENT, &vcpu->requests))
		goto put_cpu;
	/* That was a full barrier; see enum cvmm_vcpu_mode. */
	cpu = READ_ONCE(vcpu->cpu);
	if (READ_ONCE(vcpu->mode) == CVMM_IN_GUEST && cpu != me && cpu >= 0) {
		cvmm_count(&vcpu->vm->stats, CVMM_EE_KICK);
		cvmm_send_reschedule(cpu);
	}
	if (swait_active(&apic->wait))
		swake_up_one(&apic->wait);
put_cpu:
	put_cpu();
}

/* ---- interrupts to vCPUs ------------------------------------------------- */

static u64 apic_now(void *ctx)
{
	struct cvmm_apic *apic = ctx;

	return rdtsc() + apic->vcpu->tsc_offset;
}

/* Of this VM, by its APIC id.  User space numbers them in a row, as a rule. */
static struct cvmm_vcpu *find_vcpu(struct cvmm_vm *vm, u32 id)
{
	u32 i, nr = smp_load_acquire(&vm->nr_vcpus);

	if (!nr)
		return NULL;
	i = id - vm->vcpus[0]->id;
	if (i < nr) {
		i = array_index_nospec(i, nr);
		if (vm->vcpus[i]->id == id)
			return vm->vcpus[i];
	}
	for (i = 0; i < nr; i++)
		if (vm->vcpus[i]->id == id)
			return vm->vcpus[i];
	return NULL;
}

static bool takes_fixed(struct cvmm_vcpu *vcpu)
{
	struct cvmm_apic *apic = apic_of(vcpu);

	return apic && vapic_enabled(&apic->v);
}

static void deliver(struct cvmm_vcpu *vcpu, u8 vector)
{
	vapic_post(&apic_of(vcpu)->v, vector, false);
	cvmm_apic_notify(vcpu);
}

static bool is_target(const struct cvmm_irq *irq, struct cvmm_vcpu *to)
{
	const struct vapic *v = &apic_of(to)->v;

	if (irq->all)
		return true;
	return vapic_match_logical(vapic_x2apic(v), VAPIC_DFR_FLAT(vapic_get(v, VAPIC_DFR)),
				   vapic_get(v, VAPIC_LDR), irq->dest, irq->x2apic);
}

/* To all targets of an interrupt for several, but for @not.  How many there were. */
static u32 deliver_to_many(struct cvmm_vm *vm, const struct cvmm_irq *irq,
			   const struct cvmm_vcpu *not)
{
	u32 i, n = 0, nr = smp_load_acquire(&vm->nr_vcpus);

	for (i = 0; i < nr; i++) {
		struct cvmm_vcpu *to = vm->vcpus[i];

		if (to == not || !takes_fixed(to) || !is_target(irq, to))
			continue;
		deliver(to, irq->vector);
		n++;
	}
	return n;
}

/* Only when no vCPU of the guest is out of our reach. */
static bool send_to_many(struct cvmm_apic *apic, const struct cvmm_irq *irq,
			 const struct cvmm_vcpu *not)
{
	struct cvmm_vm *vm = apic->vcpu->vm;
	u32 i, nr = smp_load_acquire(&vm->nr_vcpus);
	struct cvmm_space *space;

	if (nr > apic->nr_vcpus)
		return false;
	for (i = 0; i < nr; i++)
		if (!apic_of(vm->vcpus[i]))
			return false;
	if (nr < apic->nr_vcpus) {
		space = smp_load_acquire(&vm->space);
		if (!space || !cvmm_space_spread_irq(space, apic->nr_vcpus - nr, irq))
			return false;
	}
	cvmm_count_add(&vm->stats, CVMM_EE_APIC_IPI, deliver_to_many(vm, irq, not));
	return true;
}

static bool apic_send(void *ctx, u32 icr, u32 dest)
{
	struct cvmm_apic *apic = ctx;
	struct cvmm_vm *vm = apic->vcpu->vm;
	struct cvmm_irq irq = {
		.dest = dest,
		.vector = VAPIC_ICR_VECTOR(icr),
		.x2apic = vapic_x2apic(&apic->v),
	};
	struct cvmm_space *space;
	struct cvmm_vcpu *target;

	if (VAPIC_ICR_SHORTHAND(icr) != VAPIC_TO_DEST ||
	    (!(icr & VAPIC_ICR_LOGICAL) && dest == (irq.x2apic ? 0xffffffff : 0xff))) {
		irq.all = true;
		irq.dest = 0;
		return send_to_many(apic, &irq, VAPIC_ICR_SHORTHAND(icr) == VAPIC_TO_OTHERS ?
				    apic->vcpu : NULL);
	}
	if (icr & VAPIC_ICR_LOGICAL) {
		irq.logical = true;
		return send_to_many(apic, &irq, NULL);
	}
	target = find_vcpu(vm, dest);
	if (!target) {
		space = smp_load_acquire(&vm->space);
		return space && cvmm_space_send_irq(space, dest, &irq);
	}
	if (!takes_fixed(target))
		return false;
	cvmm_count(&vm->stats, CVMM_EE_APIC_IPI);
	deliver(target, irq.vector);
	return true;
}

/*
 * cvmm_apic_interrupt() - another host has sent an interrupt
 *
 * Process context.  Whether a vCPU here takes it.
 */
bool cvmm_apic_interrupt(struct cvmm_vm *vm, const struct cvmm_irq *irq)
{
	struct cvmm_vcpu *target;

	if (irq->all || irq->logical)
		return deliver_to_many(vm, irq, NULL);
	target = find_vcpu(vm, irq->dest);
	if (!target || !takes_fixed(target))
		return false;
	deliver(target, irq->vector);
	return true;
}

/* The VM has joined a space: tell its other hosts which APICs are here.  Under vm->lock. */
void cvmm_apic_announce(struct cvmm_vm *vm)
{
	u32 i;

	if (!vm->clustered)
		return;
	for (i = 0; i < vm->nr_vcpus; i++)
		if (apic_of(vm->vcpus[i]))
			cvmm_space_announce_apic(vm->space, vm->vcpus[i]->id);
}

static const struct vapic_ops apic_ops = { .now = apic_now, .send = apic_send };

/* ---- accesses ------------------------------------------------------------ */

/* TPR and CR8 are one. */
static void set_cr8(struct cvmm_vcpu *vcpu, u8 cr8)
{
	if (vcpu->cr8 == cr8)
		return;
	vcpu->cr8 = cr8;
	cvmm_hw->sync_control(vcpu);
}

static bool served(struct cvmm_vcpu *vcpu, bool done)
{
	if (!done)
		return false;
	set_cr8(vcpu, (vapic_get(&vcpu->apic->v, VAPIC_TPR) >> 4) & 15);
	cvmm_count(&vcpu->vm->stats, CVMM_EE_APIC_ACCESS);
	return true;
}

/* Is the page as IA32_APIC_BASE is now? */
static bool page_fits(struct cvmm_vcpu *vcpu)
{
	return vcpu->apic && vcpu->apic->v.base == vcpu->apic_base;
}

/*
 * cvmm_apic_mmio() - an access of the guest to memory that is none
 * @data: read or written
 *
 * The vCPU is loaded.  False: not the APIC's, or user space's to do.
 */
bool cvmm_apic_mmio(struct cvmm_vcpu *vcpu, u64 gpa, unsigned int len, bool write, void *data)
{
	struct vapic *v;
	u32 val;
	bool done;

	if (!page_fits(vcpu) || len != sizeof(val) || !vapic_claims(&vcpu->apic->v, gpa))
		return false;
	v = &vcpu->apic->v;
	if (write) {
		memcpy(&val, data, sizeof(val));
		done = vapic_write(v, gpa & ~PAGE_MASK, val);
	} else {
		done = vapic_read(v, gpa & ~PAGE_MASK, &val);
		if (done)
			memcpy(data, &val, sizeof(val));
	}
	return served(vcpu, done);
}

/* RDMSR and WRMSR, likewise. */
bool cvmm_apic_msr(struct cvmm_vcpu *vcpu, u32 index, bool write, u64 *val)
{
	struct vapic *v;

	if (!page_fits(vcpu))
		return false;
	v = &vcpu->apic->v;
	return served(vcpu, write ? vapic_wrmsr(v, index, *val) : vapic_rdmsr(v, index, val));
}

/*
 * cvmm_apic_set_cr8() - MOV to CR8; the vCPU is loaded
 *
 * True when user space need not be told.
 */
bool cvmm_apic_set_cr8(struct cvmm_vcpu *vcpu, u8 cr8)
{
	bool lower = cr8 < vcpu->cr8;

	set_cr8(vcpu, cr8);
	if (!vcpu->apic)
		return !lower;	/* its APIC may have waited for this */
	vapic_put(&vcpu->apic->v, VAPIC_TPR, cr8 << 4);
	return true;
}

/* ---- the timer ----------------------------------------------------------- */

static enum hrtimer_restart timer_fires(struct hrtimer *timer)
{
	struct cvmm_apic *apic = container_of(timer, struct cvmm_apic, timer);

	WRITE_ONCE(apic->fired, true);
	cvmm_apic_notify(apic->vcpu);
	return HRTIMER_NORESTART;
}

/* Cycles of the host's TSC in ns, rounded up, at most some decades. */
static u64 cycles_to_ns(struct cvmm_vm *vm, u64 cycles)
{
	u64 ms = min(cycles / vm->tsc_khz, 1ULL << 40);

	return ms * NSEC_PER_MSEC + cycles % vm->tsc_khz * NSEC_PER_MSEC / vm->tsc_khz + 1;
}

/*
 * Expire what is due and set the host's timer for what is next.  That clock and the
 * TSC need not agree: a timer that fires early is set again.
 */
static void run_timer(struct cvmm_apic *apic)
{
	struct cvmm_vcpu *vcpu = apic->vcpu;
	u64 deadline = READ_ONCE(apic->v.page->deadline), now, host, left;

	if (READ_ONCE(apic->fired)) {
		WRITE_ONCE(apic->fired, false);
		apic->armed = VAPIC_NEVER;
	}
	if (deadline == VAPIC_NEVER && apic->armed == VAPIC_NEVER)
		return;
	now = apic_now(apic);
	if (now >= deadline) {
		cvmm_count(&vcpu->vm->stats, CVMM_EE_APIC_TIMER);
		vapic_timer_run(&apic->v, now);
		deadline = READ_ONCE(apic->v.page->deadline);
	}
	if (deadline == VAPIC_NEVER) {
		if (apic->armed != VAPIC_NEVER)
			hrtimer_try_to_cancel(&apic->timer);
		apic->armed = VAPIC_NEVER;
		return;
	}
	host = deadline - vcpu->tsc_offset;
	if (host == apic->armed)
		return;
	apic->armed = host;
	/* Still past: user space has just written it, and gets a millisecond. */
	left = deadline > now ? deadline - now : vcpu->vm->tsc_khz;
	hrtimer_start(&apic->timer, ns_to_ktime(cycles_to_ns(vcpu->vm, left)),
		      HRTIMER_MODE_REL_HARD);
}

/* ---- before the guest is entered ----------------------------------------- */

static bool wakes(struct cvmm_vcpu *vcpu, int vector)
{
	return (vector >= 0 && cvmm_hw->irq_allowed(vcpu)) || vcpu->irq_pending ||
	       vcpu->exception.pending || vcpu->nmi_injected ||
	       (vcpu->nmi_pending && !vcpu->nmi_masked);
}

/*
 * cvmm_apic_prepare() - timer, interrupts and HLT, before each entry
 * @window: set when an interrupt waits until the guest can take it
 *
 * By the vCPU's thread, loaded.  Sleeps while the vCPU is halted.  1: enter; 0: to user
 * space, run->exit_reason is set; -EAGAIN: it has slept, look at everything again.
 */
int cvmm_apic_prepare(struct cvmm_vcpu *vcpu, bool *window)
{
	struct cvmm_apic *apic = vcpu->apic;
	struct vapic *v = &apic->v;
	int vector;

	clear_bit(CVMM_REQ_EVENT, &vcpu->requests);
	smp_mb__after_atomic();
	if (v->base != vcpu->apic_base) {
		vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
		return 0;
	}
	run_timer(apic);
	vector = vapic_next(v);
	if (vcpu->halted) {
		if (!wakes(vcpu, vector)) {
			cvmm_count(&vcpu->vm->stats, CVMM_EE_HALT);
			swait_event_interruptible_exclusive(apic->wait,
				test_bit(CVMM_REQ_EVENT, &vcpu->requests) ||
				READ_ONCE(vcpu->vm->failed));
			return -EAGAIN;
		}
		vcpu->halted = false;
	}
	if (vector < 0)
		return 1;
	if (!cvmm_ready_for_irq(vcpu)) {
		*window = true;
		return 1;
	}
	vapic_accept(v, vector);
	vcpu->irq_pending = true;
	vcpu->irq_injected = false;
	vcpu->irq_vector = vector;
	if (vapic_next(v) >= 0)
		*window = true;
	return 1;
}

/* KVM_RUN begins: user space has seen IA32_APIC_BASE, and done its part for it. */
void cvmm_apic_begin(struct cvmm_vcpu *vcpu)
{
	WRITE_ONCE(vcpu->apic->v.base, vcpu->apic_base);
}

/* ---- life ---------------------------------------------------------------- */

/*
 * cvmm_apic_create() - CVMM_VCPU_SET_APIC
 *
 * Under vcpu->mutex.  -EINVAL, -EEXIST, -ENOMEM, -EFAULT; -EOPNOTSUPP when the rate
 * of this host's TSC is not known.
 */
int cvmm_apic_create(struct cvmm_vcpu *vcpu, const void __user *argp)
{
	struct cvmm_apic_config config;
	struct cvmm_apic *apic;

	if (copy_from_user(&config, argp, sizeof(config)))
		return -EFAULT;
	if (config.version != CVMM_APIC_VERSION || config.flags || !config.tsc_khz)
		return -EINVAL;
	if (!vcpu->vm->tsc_khz)
		return -EOPNOTSUPP;
	if (vcpu->apic)
		return -EEXIST;
	apic = kzalloc(sizeof(*apic), GFP_KERNEL_ACCOUNT);
	if (!apic)
		return -ENOMEM;
	apic->v.page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!apic->v.page) {
		kfree(apic);
		return -ENOMEM;
	}
	apic->v.page->deadline = VAPIC_NEVER;
	apic->v.ops = &apic_ops;
	apic->v.ctx = apic;
	apic->v.base = vcpu->apic_base;
	apic->v.tsc_khz = config.tsc_khz;
	apic->vcpu = vcpu;
	apic->nr_vcpus = config.nr_vcpus;
	apic->armed = VAPIC_NEVER;
	init_swait_queue_head(&apic->wait);
	hrtimer_init(&apic->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	apic->timer.function = timer_fires;
	/* The lock: one of us and a first slot in a space sees the other. */
	mutex_lock(&vcpu->vm->lock);
	/* Other vCPUs look for it. */
	smp_store_release(&vcpu->apic, apic);
	if (vcpu->vm->clustered)
		cvmm_space_announce_apic(vcpu->vm->space, vcpu->id);
	mutex_unlock(&vcpu->vm->lock);
	return 0;
}

/* When nobody can reach the vCPU any more. */
void cvmm_apic_destroy(struct cvmm_vcpu *vcpu)
{
	struct cvmm_apic *apic = vcpu->apic;

	if (!apic)
		return;
	hrtimer_cancel(&apic->timer);
	free_page((unsigned long)apic->v.page);
	kfree(apic);
}

/* The page for a mapping, or NULL. */
struct page *cvmm_apic_page(struct cvmm_vcpu *vcpu)
{
	struct cvmm_apic *apic = apic_of(vcpu);

	return apic ? virt_to_page(apic->v.page) : NULL;
}
