/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of a vCPU: what is frequent, in xAPIC and x2APIC mode (Intel SDM
 * vol. 3, chapter "Advanced Programmable Interrupt Controller"; AMD APM vol. 2,
 * chapter 16).
 *
 * Pure: the state is a struct cvmm_apic_page, the rest comes through callbacks.  vmmd
 * does what is rare on the same page (vmmd/lapic.c).  Nothing here needs user space:
 * the module serves the page that it shares with vmmd (apic.c).
 *
 * Whatever the page holds, and if it changes at any moment, these functions end, stay
 * within it and return values in their range.
 *
 * vapic_post() and vapic_posted() are for any thread and context; all else belongs to
 * the thread that runs the vCPU.  Nothing sleeps unless a callback does.
 */
#ifndef CVMM_VAPIC_H
#define CVMM_VAPIC_H

#include "pure.h"
#include <linux/cvmm.h>

enum {	/* offsets of registers */
	VAPIC_ID = 0x20, VAPIC_VERSION = 0x30, VAPIC_TPR = 0x80, VAPIC_APR = 0x90,
	VAPIC_PPR = 0xa0, VAPIC_EOI = 0xb0, VAPIC_RRD = 0xc0, VAPIC_LDR = 0xd0,
	VAPIC_DFR = 0xe0, VAPIC_SVR = 0xf0, VAPIC_ISR = 0x100, VAPIC_TMR = 0x180,
	VAPIC_IRR = 0x200, VAPIC_ESR = 0x280, VAPIC_ICR = 0x300, VAPIC_ICR2 = 0x310,
	VAPIC_LVT_TIMER = 0x320, VAPIC_LVT_THERMAL = 0x330, VAPIC_LVT_PMC = 0x340,
	VAPIC_LVT_LINT0 = 0x350, VAPIC_LVT_LINT1 = 0x360, VAPIC_LVT_ERROR = 0x370,
	VAPIC_TMICT = 0x380, VAPIC_TMCCT = 0x390, VAPIC_TDCR = 0x3e0, VAPIC_SELF_IPI = 0x3f0,
};

/* Of IA32_APIC_BASE */
#define VAPIC_BASE_EXTD		(1U << 10)
#define VAPIC_BASE_ENABLE	(1U << 11)

#define VAPIC_SVR_ENABLED	(1U << 8)
#define VAPIC_DFR_FLAT(dfr)	((dfr) >> 28 == 0xf)
#define VAPIC_LVT_MASKED	(1U << 16)
#define VAPIC_LVT_TIMER_MODE	(3U << 17)
#define VAPIC_TIMER_PERIODIC	(1U << 17)
#define VAPIC_TIMER_DEADLINE	(2U << 17)

#define VAPIC_ESR_RECV_ILLEGAL	(1U << 6)

/* Of the ICR, low half */
#define VAPIC_ICR_VECTOR(icr)		((icr) & 0xff)
#define VAPIC_ICR_DELIVERY(icr)		((icr) >> 8 & 7)
#define VAPIC_ICR_LOGICAL		(1U << 11)
#define VAPIC_ICR_SHORTHAND(icr)	((icr) >> 18 & 3)
enum { VAPIC_TO_DEST, VAPIC_TO_SELF, VAPIC_TO_ALL, VAPIC_TO_OTHERS };	/* shorthands */
#define VAPIC_FIXED			0
/* What can be written there; the delivery status reads as idle. */
#define VAPIC_ICR_WRITABLE		0xccfffU

#define VAPIC_MSR_FIRST		0x800
#define VAPIC_MSR_LAST		0x8ff
#define VAPIC_MSR_DEADLINE	0x6e0

#define VAPIC_NEVER		(~0ULL)

/**
 * struct vapic_ops - surroundings
 * @now:	the guest's TSC
 * @send:	deliver a fixed interrupt as the ICR says: @icr is its low half, with
 *		a vector of at least 16 and not the shorthand "self"; @dest as the
 *		APIC's mode has it (8 or 32 bits).  False: not possible here, nothing
 *		was done; the write to the ICR is then not served.
 */
struct vapic_ops {
	u64 (*now)(void *ctx);
	bool (*send)(void *ctx, u32 icr, u32 dest);
};

/**
 * struct vapic - an APIC
 * @page:	its state, page aligned; not to be trusted
 * @ops, @ctx:	callbacks; @ctx is the caller's
 * @base:	IA32_APIC_BASE
 * @tsc_khz:	rate of the guest's TSC, > 0
 */
struct vapic {
	struct cvmm_apic_page *page;
	const struct vapic_ops *ops;
	void *ctx;
	u64 base;
	u32 tsc_khz;
};

static inline u32 vapic_get(const struct vapic *a, u32 off)
{
	return READ_ONCE(a->page->reg[off / 4]);
}

static inline void vapic_put(struct vapic *a, u32 off, u32 val)
{
	WRITE_ONCE(a->page->reg[off / 4], val);
}

static inline bool vapic_x2apic(const struct vapic *a)
{
	return READ_ONCE(a->base) & VAPIC_BASE_EXTD;
}

/* Does it take fixed interrupts? */
static inline bool vapic_enabled(const struct vapic *a)
{
	return READ_ONCE(a->base) & VAPIC_BASE_ENABLE &&
	       vapic_get(a, VAPIC_SVR) & VAPIC_SVR_ENABLED;
}

/*
 * Is the logical destination @dest for an APIC with the logical id @ldr?  @x2apic: the
 * receiver's mode, @from_x2apic: the sender's; @flat: model of an xAPIC's logical ids,
 * flat or cluster.
 */
bool vapic_match_logical(bool x2apic, bool flat, u32 ldr, u32 dest, bool from_x2apic);

/* Does @gpa lie in the register page, as mapped now? */
bool vapic_claims(const struct vapic *a, u64 gpa);

/*
 * Register accesses: true when served.  False, with nothing changed, for all that is
 * rare or an error.  MMIO is of 32 bits at @off (< 4096), in xAPIC mode.
 */
bool vapic_read(struct vapic *a, u32 off, u32 *val);
bool vapic_write(struct vapic *a, u32 off, u32 val);
/* x2APIC registers, when in that mode, and IA32_TSC_DEADLINE. */
bool vapic_rdmsr(struct vapic *a, u32 msr, u64 *val);
bool vapic_wrmsr(struct vapic *a, u32 msr, u64 val);

/* Post a vector (16..255).  The caller then gets the vCPU's attention. */
void vapic_post(struct vapic *a, u8 vector, bool level);
/* Has anything been posted since vapic_next() last looked? */
bool vapic_posted(struct vapic *a);

/* The vector to inject now, above the processor priority, or -1. */
int vapic_next(struct vapic *a);
/* It has been injected: requested -> in service. */
void vapic_accept(struct vapic *a, u8 vector);
/* The vector that an EOI would end, or -1; *@level: it was level-triggered. */
int vapic_in_service(const struct vapic *a, bool *level);
void vapic_end(struct vapic *a, u8 vector);

/* Raise what a local vector table entry says, unless it is masked. */
void vapic_raise(struct vapic *a, u32 lvt_off);

static inline u32 vapic_timer_mode(const struct vapic *a)
{
	return vapic_get(a, VAPIC_LVT_TIMER) & VAPIC_LVT_TIMER_MODE;
}

/* Post the timer's interrupt if @now (guest TSC) has reached the deadline; set the next. */
void vapic_timer_run(struct vapic *a, u64 now);

#endif /* CVMM_VAPIC_H */
