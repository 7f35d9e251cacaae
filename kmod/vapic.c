// SPDX-License-Identifier: GPL-2.0-or-later
/* The local APIC, what is frequent: see vapic.h. */
#include "vapic.h"

/* A periodic timer shorter than this would only starve its host. */
#define MIN_PERIOD_NS	50000

#define VECTOR_MIN	16	/* lower ones are illegal */

/* The 256-bit registers are eight 32-bit words, 16 bytes apart. */
static u32 word_of(u32 base, u8 v)
{
	return base + v / 32 * 16;
}

static bool vec_test(const struct vapic *a, u32 base, u8 v)
{
	return vapic_get(a, word_of(base, v)) >> (v % 32) & 1;
}

static void vec_set(struct vapic *a, u32 base, u8 v)
{
	vapic_put(a, word_of(base, v), vapic_get(a, word_of(base, v)) | 1U << (v % 32));
}

static void vec_clear(struct vapic *a, u32 base, u8 v)
{
	vapic_put(a, word_of(base, v), vapic_get(a, word_of(base, v)) & ~(1U << (v % 32)));
}

static int vec_highest(const struct vapic *a, u32 base)
{
	int i;

	for (i = 7; i >= 0; i--) {
		u32 w = vapic_get(a, base + i * 16);

		if (w)
			return i * 32 + 31 - __builtin_clz(w);
	}
	return -1;
}

bool vapic_claims(const struct vapic *a, u64 gpa)
{
	return (a->base & (VAPIC_BASE_ENABLE | VAPIC_BASE_EXTD)) == VAPIC_BASE_ENABLE &&
	       (gpa & ~0xfffULL) == (a->base & 0xffffffffff000ULL);
}

bool vapic_match_logical(bool x2apic, bool flat, u32 ldr, u32 dest, bool from_x2apic)
{
	if (x2apic) {
		if (from_x2apic && dest == 0xffffffff)
			return true;
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	/* An xAPIC sees eight bits of the destination; all set is a broadcast in both models. */
	dest &= 0xff;
	ldr >>= 24;
	if (dest == 0xff)
		return true;
	if (flat)
		return dest & ldr;
	return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

/* ---- interrupts ---------------------------------------------------------- */

void vapic_post(struct vapic *a, u8 vector, bool level)
{
	struct cvmm_apic_page *p = a->page;
	u32 bit = 1U << (vector % 32);

	if (level)
		pure_or32(&p->posted_level[vector / 32], bit);
	else
		pure_and32(&p->posted_level[vector / 32], ~bit);
	pure_or32(&p->posted[vector / 32], bit);
	pure_xchg32(&p->posted_any, 1);
}

bool vapic_posted(struct vapic *a)
{
	return READ_ONCE(a->page->posted_any);
}

static void take_posted(struct vapic *a)
{
	struct cvmm_apic_page *p = a->page;
	u32 i, vectors, level, off;

	if (!READ_ONCE(p->posted_any) || !pure_xchg32(&p->posted_any, 0))
		return;
	for (i = 0; i < 8; i++) {
		if (!READ_ONCE(p->posted[i]))
			continue;
		vectors = pure_xchg32(&p->posted[i], 0);
		level = READ_ONCE(p->posted_level[i]);
		off = i * 16;
		vapic_put(a, VAPIC_IRR + off, vapic_get(a, VAPIC_IRR + off) | vectors);
		vapic_put(a, VAPIC_TMR + off,
			  (vapic_get(a, VAPIC_TMR + off) & ~vectors) | (level & vectors));
	}
}

static u8 ppr(const struct vapic *a)
{
	int isr = vec_highest(a, VAPIC_ISR);
	u8 tpr = vapic_get(a, VAPIC_TPR);

	if (isr < 0 || tpr >> 4 >= isr >> 4)
		return tpr;
	return isr & 0xf0;
}

int vapic_next(struct vapic *a)
{
	int v;

	take_posted(a);
	v = vec_highest(a, VAPIC_IRR);
	if (v < 0 || !(a->base & VAPIC_BASE_ENABLE) || v >> 4 <= ppr(a) >> 4)
		return -1;
	return v;
}

void vapic_accept(struct vapic *a, u8 vector)
{
	vec_clear(a, VAPIC_IRR, vector);
	vec_set(a, VAPIC_ISR, vector);
}

int vapic_in_service(const struct vapic *a, bool *level)
{
	int v = vec_highest(a, VAPIC_ISR);

	*level = v >= 0 && vec_test(a, VAPIC_TMR, v);
	return v;
}

void vapic_end(struct vapic *a, u8 vector)
{
	vec_clear(a, VAPIC_ISR, vector);
}

void vapic_raise(struct vapic *a, u32 lvt_off)
{
	u32 lvt = vapic_get(a, lvt_off);

	if (lvt & VAPIC_LVT_MASKED)
		return;
	if ((lvt & 0xff) >= VECTOR_MIN)
		vapic_post(a, lvt & 0xff, false);
	else if (lvt_off != VAPIC_LVT_ERROR)
		WRITE_ONCE(a->page->errors, READ_ONCE(a->page->errors) | VAPIC_ESR_RECV_ILLEGAL);
}

/* The usual write to the ICR. */
static bool send(struct vapic *a, u32 icr, u32 dest)
{
	u8 vector = VAPIC_ICR_VECTOR(icr);

	if (VAPIC_ICR_DELIVERY(icr) != VAPIC_FIXED || vector < VECTOR_MIN)
		return false;
	if (VAPIC_ICR_SHORTHAND(icr) != VAPIC_TO_SELF)
		return a->ops->send(a->ctx, icr, dest);
	if (vapic_get(a, VAPIC_SVR) & VAPIC_SVR_ENABLED)
		vapic_post(a, vector, false);
	return true;
}

static bool write_icr(struct vapic *a, u32 icr, u32 dest)
{
	if (!send(a, icr, dest))
		return false;
	vapic_put(a, VAPIC_ICR, icr & VAPIC_ICR_WRITABLE);
	if (vapic_x2apic(a))
		vapic_put(a, VAPIC_ICR2, dest);
	return true;
}

static bool write_eoi(struct vapic *a)
{
	bool level;
	int v = vapic_in_service(a, &level);

	if (level)
		return false;	/* the IOAPIC wants to know */
	if (v >= 0)		/* else after a spurious interrupt, or a stray write */
		vapic_end(a, v);
	return true;
}

/* ---- timer --------------------------------------------------------------- */

static unsigned int timer_divisor(const struct vapic *a)
{
	u32 v = vapic_get(a, VAPIC_TDCR);

	v = ((v & 3) | (v >> 1 & 4)) + 1;
	return 1U << (v & 7);
}

/* @ns < 2^48 */
static u64 ns_to_tsc(const struct vapic *a, u64 ns)
{
	return ns / 1000000 * a->tsc_khz + ns % 1000000 * a->tsc_khz / 1000000;
}

static u64 tsc_to_ns(const struct vapic *a, u64 tsc)
{
	u64 ms = min_t(u64, tsc / a->tsc_khz, 1ULL << 40);

	return ms * 1000000 + tsc % a->tsc_khz * 1000000 / a->tsc_khz;
}

/* Start counting down from @count. */
static void timer_start(struct vapic *a, u32 count)
{
	unsigned int divisor = timer_divisor(a);

	if (!count) {
		WRITE_ONCE(a->page->deadline, VAPIC_NEVER);
		return;
	}
	WRITE_ONCE(a->page->period, ns_to_tsc(a, (u64)vapic_get(a, VAPIC_TMICT) * divisor));
	WRITE_ONCE(a->page->deadline,
		   a->ops->now(a->ctx) + ns_to_tsc(a, (u64)count * divisor));
}

static u32 timer_count(struct vapic *a)
{
	u64 deadline = READ_ONCE(a->page->deadline), now, left;

	if (vapic_timer_mode(a) == VAPIC_TIMER_DEADLINE || deadline == VAPIC_NEVER)
		return 0;
	now = a->ops->now(a->ctx);
	if (deadline <= now)
		return 0;
	left = tsc_to_ns(a, deadline - now) / timer_divisor(a);
	return min_t(u64, left, vapic_get(a, VAPIC_TMICT));
}

static void write_deadline(struct vapic *a, u64 val)
{
	if (vapic_timer_mode(a) != VAPIC_TIMER_DEADLINE)
		return;
	WRITE_ONCE(a->page->deadline_msr, val);
	WRITE_ONCE(a->page->deadline, val ? val : VAPIC_NEVER);
}

void vapic_timer_run(struct vapic *a, u64 now)
{
	u64 deadline = READ_ONCE(a->page->deadline), period = READ_ONCE(a->page->period), min;

	if (now < deadline)
		return;
	if (vapic_timer_mode(a) == VAPIC_TIMER_PERIODIC && period) {
		min = ns_to_tsc(a, MIN_PERIOD_NS);
		if (period < min)
			period = min;
		deadline += period;
		if (deadline <= now)		/* late by whole periods: they are lost */
			deadline = now + period;
		WRITE_ONCE(a->page->deadline, deadline);
	} else {
		WRITE_ONCE(a->page->deadline, VAPIC_NEVER);
		WRITE_ONCE(a->page->deadline_msr, 0);
	}
	vapic_raise(a, VAPIC_LVT_TIMER);
}

/* ---- registers ----------------------------------------------------------- */

/* Reads that both modes have. */
static bool read_common(struct vapic *a, u32 off, u32 *val)
{
	switch (off) {
	case VAPIC_PPR:
		*val = ppr(a);
		return true;
	case VAPIC_TMCCT:
		*val = timer_count(a);
		return true;
	case VAPIC_IRR ... VAPIC_IRR + 0x70:
	case VAPIC_TMR ... VAPIC_TMR + 0x70:
		take_posted(a);
		fallthrough;
	case VAPIC_ID: case VAPIC_VERSION: case VAPIC_TPR: case VAPIC_LDR: case VAPIC_SVR:
	case VAPIC_ESR: case VAPIC_ISR ... VAPIC_ISR + 0x70:
	case VAPIC_ICR: case VAPIC_TMICT: case VAPIC_TDCR:
	case VAPIC_LVT_TIMER: case VAPIC_LVT_THERMAL: case VAPIC_LVT_PMC:
	case VAPIC_LVT_LINT0: case VAPIC_LVT_LINT1: case VAPIC_LVT_ERROR:
		*val = vapic_get(a, off);
		return true;
	}
	return false;
}

/* Writes that both modes have, of values that are valid in both. */
static bool write_common(struct vapic *a, u32 off, u32 val)
{
	u32 count;

	switch (off) {
	case VAPIC_TPR:
		vapic_put(a, VAPIC_TPR, val & 0xff);
		return true;
	case VAPIC_EOI:
		return write_eoi(a);
	case VAPIC_TMICT:
		if (vapic_timer_mode(a) == VAPIC_TIMER_DEADLINE)
			return true;
		vapic_put(a, VAPIC_TMICT, val);
		timer_start(a, val);
		return true;
	case VAPIC_TDCR:
		count = timer_count(a);
		vapic_put(a, VAPIC_TDCR, val & 0xb);
		if (count)
			timer_start(a, count);
		return true;
	}
	return false;
}

bool vapic_read(struct vapic *a, u32 off, u32 *val)
{
	if (off & 0xf)
		return false;
	if (off == VAPIC_DFR || off == VAPIC_ICR2) {
		*val = vapic_get(a, off);
		return true;
	}
	return read_common(a, off, val);
}

bool vapic_write(struct vapic *a, u32 off, u32 val)
{
	switch (off) {
	case VAPIC_ICR2:
		vapic_put(a, VAPIC_ICR2, val & 0xff000000);
		return true;
	case VAPIC_ICR:
		return write_icr(a, val, vapic_get(a, VAPIC_ICR2) >> 24);
	}
	return write_common(a, off, val);
}

bool vapic_rdmsr(struct vapic *a, u32 msr, u64 *val)
{
	u32 off = (msr - VAPIC_MSR_FIRST) << 4, low;

	if (msr == VAPIC_MSR_DEADLINE) {
		*val = READ_ONCE(a->page->deadline_msr);
		return true;
	}
	if (msr < VAPIC_MSR_FIRST || msr > VAPIC_MSR_LAST || !vapic_x2apic(a))
		return false;
	if (!read_common(a, off, &low))
		return false;
	*val = low;
	if (off == VAPIC_ICR)
		*val |= (u64)vapic_get(a, VAPIC_ICR2) << 32;
	return true;
}

bool vapic_wrmsr(struct vapic *a, u32 msr, u64 val)
{
	u32 off = (msr - VAPIC_MSR_FIRST) << 4;

	if (msr == VAPIC_MSR_DEADLINE) {
		write_deadline(a, val);
		return true;
	}
	if (msr < VAPIC_MSR_FIRST || msr > VAPIC_MSR_LAST || !vapic_x2apic(a))
		return false;
	switch (off) {
	case VAPIC_ICR:
		return write_icr(a, val, val >> 32);
	case VAPIC_SELF_IPI:
		return val <= 0xff && send(a, val | VAPIC_TO_SELF << 18, 0);
	case VAPIC_EOI:
		if (val)
			return false;
		break;
	case VAPIC_TPR:
		if (val > 0xff)
			return false;
		break;
	}
	return !(val >> 32) && write_common(a, off, val);
}
