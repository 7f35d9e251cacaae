/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one vCPU, in xAPIC and x2APIC mode (Intel SDM vol. 3,
 * chapter "Advanced Programmable Interrupt Controller"; AMD APM vol. 2,
 * chapter 16).
 *
 * Its state is one page: the registers in their architectural places, and
 * behind them the set of vectors that others have posted and the owner has not
 * taken into the request register yet, as with posted interrupts.  Only
 * lapic_post() may be called from any thread; all else belongs to the thread
 * that runs the vCPU.
 *
 * Time is the guest's TSC; the timer counts at 1 GHz, derived from it.
 */
#ifndef VMMD_LAPIC_H
#define VMMD_LAPIC_H

#include <stdatomic.h>

#include "machine.h"

#define LAPIC_BUS_HZ		1000000000U
#define LAPIC_DEFAULT_BASE	0xfee00000U
#define LAPIC_NEVER		UINT64_MAX

#define APIC_BASE_BSP		(1U << 8)
#define APIC_BASE_EXTD		(1U << 10)
#define APIC_BASE_ENABLE	(1U << 11)

#define MSR_X2APIC_FIRST	0x800
#define MSR_X2APIC_LAST		0x8ff
#define MSR_TSC_DEADLINE	0x6e0

/* What the register page holds; offsets as in the manuals. */
struct lapic_page {
	_Alignas(4096) uint8_t regs[0x800];
	_Atomic uint32_t posted[8];		/* vectors, set by any thread */
	_Atomic uint32_t posted_level[8];	/* how the vector was triggered, valid where posted is */
	_Atomic uint32_t posted_any;		/* something may be set in posted */
	uint8_t rest[0x800 - 17 * 4];
};
_Static_assert(sizeof(struct lapic_page) == 4096, "one page");

/* Called by the owner's thread only. */
struct lapic_ops {
	uint64_t (*now)(void *ctx);				/* the guest's TSC */
	void (*send)(void *ctx, const struct apic_msg *msg);	/* an ICR write; never shorthand 1 */
	void (*eoi)(void *ctx, uint8_t vector);			/* a level-triggered vector ended */
	void (*info)(void *ctx, const struct apic_info *info);	/* routing information changed */
};

struct lapic {
	struct lapic_page page;
	uint32_t id;
	uint64_t base;			/* IA32_APIC_BASE */
	uint32_t tsc_khz;
	const struct lapic_ops *ops;
	void *ctx;
	/* timer, in guest TSC */
	uint64_t deadline;		/* next expiry, LAPIC_NEVER if stopped */
	uint64_t period;		/* of a periodic timer */
	uint64_t deadline_msr;		/* IA32_TSC_DEADLINE, 0 if disarmed */
	uint32_t esr_pending;		/* errors since the last write to ESR */
};

/* A new, reset APIC, or NULL without memory.  @ops and @ctx must outlive it. */
struct lapic *lapic_create(uint32_t id, bool bsp, uint32_t tsc_khz,
			   const struct lapic_ops *ops, void *ctx);
void lapic_destroy(struct lapic *l);

/* Power-up reset, or the one an INIT does: that keeps IA32_APIC_BASE. */
void lapic_reset(struct lapic *l, bool init);

/* The guest changed IA32_APIC_BASE.  The engine has checked the transition. */
void lapic_set_base(struct lapic *l, uint64_t base);

/* MMIO in xAPIC mode; @off is below 4096. */
uint32_t lapic_mmio_read(struct lapic *l, uint32_t off);
void lapic_mmio_write(struct lapic *l, uint32_t off, uint32_t val);
/* Does @gpa lie in the register page, as mapped now? */
bool lapic_claims(const struct lapic *l, uint64_t gpa);

/* x2APIC MSRs and IA32_TSC_DEADLINE.  0, or -1 for #GP. */
int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val);
int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val);

/* Post a vector (16..255), from any thread.  The caller then kicks the vCPU. */
void lapic_post(struct lapic *l, uint8_t vector, bool level);
/* Has anything been posted since lapic_next() last looked?  Any thread. */
static inline bool lapic_posted(struct lapic *l)
{
	return atomic_load(&l->page.posted_any);
}

/* The vector to inject now, above the processor priority, or -1. */
int lapic_next(struct lapic *l);
/* It has been injected: requested -> in service. */
void lapic_accept(struct lapic *l, uint8_t vector);

uint8_t lapic_tpr(const struct lapic *l);
void lapic_set_tpr(struct lapic *l, uint8_t tpr);

/* When the timer needs lapic_timer_run(), in guest TSC; LAPIC_NEVER: not at all. */
static inline uint64_t lapic_deadline(const struct lapic *l)
{
	return l->deadline;
}
/* Post the timer's interrupt if @now (guest TSC) has reached the deadline. */
void lapic_timer_run(struct lapic *l, uint64_t now);

#endif /* VMMD_LAPIC_H */
