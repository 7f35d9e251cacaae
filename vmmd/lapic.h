/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one vCPU, in xAPIC and x2APIC mode (Intel SDM vol. 3,
 * chapter "Advanced Programmable Interrupt Controller"; AMD APM vol. 2,
 * chapter 16).
 *
 * Its state is one page (struct cvmm_apic_page): the registers in their
 * architectural places, and behind them the set of vectors that others have posted
 * and the owner has not taken into the request register yet, as with posted
 * interrupts.  Only lapic_post() may be called from any thread; all else belongs to
 * the thread that runs the vCPU.
 *
 * What is frequent is in kmod/vapic.c, because the module does it, too, when it
 * shares the page; here is what is rare: resets, modes, errors, all other writes.
 *
 * Time is the guest's TSC; the timer counts at 1 GHz, derived from it.
 */
#ifndef VMMD_LAPIC_H
#define VMMD_LAPIC_H

#include "kmod/vapic.h"
#include "machine.h"

#define LAPIC_BUS_HZ		1000000000U
#define LAPIC_DEFAULT_BASE	0xfee00000U
#define LAPIC_NEVER		UINT64_MAX

#define APIC_BASE_BSP		(1U << 8)
#define APIC_BASE_EXTD		VAPIC_BASE_EXTD
#define APIC_BASE_ENABLE	VAPIC_BASE_ENABLE

#define MSR_X2APIC_FIRST	VAPIC_MSR_FIRST
#define MSR_X2APIC_LAST		VAPIC_MSR_LAST
#define MSR_TSC_DEADLINE	VAPIC_MSR_DEADLINE

/* Called by the owner's thread only. */
struct lapic_ops {
	uint64_t (*now)(void *ctx);				/* the guest's TSC */
	void (*send)(void *ctx, const struct apic_msg *msg);	/* an ICR write; never shorthand 1 */
	void (*eoi)(void *ctx, uint8_t vector);			/* a level-triggered vector ended */
	void (*info)(void *ctx, const struct apic_info *info);	/* routing information changed */
};

struct lapic {
	struct vapic apic;
	bool own_page;
	uint32_t id;
	const struct lapic_ops *ops;
	void *ctx;
};

/*
 * A new, reset APIC, or NULL without memory.  @page: the page to use, which outlives
 * it, or NULL: one of its own.  @ops and @ctx must outlive it.
 */
struct lapic *lapic_create(uint32_t id, bool bsp, uint32_t tsc_khz, struct cvmm_apic_page *page,
			   const struct lapic_ops *ops, void *ctx);
void lapic_destroy(struct lapic *l);

/* Power-up reset, or the one an INIT does: that keeps IA32_APIC_BASE. */
void lapic_reset(struct lapic *l, bool init);

static inline uint64_t lapic_base(const struct lapic *l)
{
	return l->apic.base;
}
/* The guest changed IA32_APIC_BASE.  The engine has checked the transition. */
void lapic_set_base(struct lapic *l, uint64_t base);

/* MMIO in xAPIC mode; @off is below 4096. */
uint32_t lapic_mmio_read(struct lapic *l, uint32_t off);
void lapic_mmio_write(struct lapic *l, uint32_t off, uint32_t val);
/* Does @gpa lie in the register page, as mapped now? */
static inline bool lapic_claims(const struct lapic *l, uint64_t gpa)
{
	return vapic_claims(&l->apic, gpa);
}

/* x2APIC MSRs and IA32_TSC_DEADLINE.  0, or -1 for #GP. */
int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val);
int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val);

/* Post a vector (16..255), from any thread.  The caller then kicks the vCPU. */
static inline void lapic_post(struct lapic *l, uint8_t vector, bool level)
{
	vapic_post(&l->apic, vector, level);
}

/* Has anything been posted since lapic_next() last looked?  Any thread. */
static inline bool lapic_posted(struct lapic *l)
{
	return vapic_posted(&l->apic);
}

/* The vector to inject now, above the processor priority, or -1. */
static inline int lapic_next(struct lapic *l)
{
	return vapic_next(&l->apic);
}

/* It has been injected: requested -> in service. */
static inline void lapic_accept(struct lapic *l, uint8_t vector)
{
	vapic_accept(&l->apic, vector);
}

static inline uint8_t lapic_tpr(const struct lapic *l)
{
	return vapic_get(&l->apic, VAPIC_TPR);
}

static inline void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
	vapic_put(&l->apic, VAPIC_TPR, tpr);
}

/* When the timer needs lapic_timer_run(), in guest TSC; LAPIC_NEVER: not at all. */
static inline uint64_t lapic_deadline(const struct lapic *l)
{
	return l->apic.page->deadline;
}

/* Post the timer's interrupt if @now (guest TSC) has reached the deadline. */
static inline void lapic_timer_run(struct lapic *l, uint64_t now)
{
	vapic_timer_run(&l->apic, now);
}

#endif /* VMMD_LAPIC_H */
