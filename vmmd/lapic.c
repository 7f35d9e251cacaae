// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC: see lapic.h.  Not modelled: LINT pins (nothing is wired to
 * them), thermal and performance interrupts, SMI, remote read, suppression of
 * EOI broadcasts (not advertised).
 */
#include <stdlib.h>
#include <string.h>

#include "lapic.h"

enum {
	REG_ID = 0x20, REG_VERSION = 0x30, REG_TPR = 0x80, REG_APR = 0x90, REG_PPR = 0xa0,
	REG_EOI = 0xb0, REG_RRD = 0xc0, REG_LDR = 0xd0, REG_DFR = 0xe0, REG_SVR = 0xf0,
	REG_ISR = 0x100, REG_TMR = 0x180, REG_IRR = 0x200, REG_ESR = 0x280,
	REG_ICR = 0x300, REG_ICR2 = 0x310,
	REG_LVT_TIMER = 0x320, REG_LVT_THERMAL = 0x330, REG_LVT_PMC = 0x340,
	REG_LVT_LINT0 = 0x350, REG_LVT_LINT1 = 0x360, REG_LVT_ERROR = 0x370,
	REG_TMICT = 0x380, REG_TMCCT = 0x390, REG_TDCR = 0x3e0, REG_SELF_IPI = 0x3f0,
};

#define VERSION		0x00050014U	/* integrated APIC, six LVT entries */
#define SVR_ENABLED	(1U << 8)
#define LVT_MASKED	(1U << 16)
#define LVT_TIMER_MODE	(3U << 17)
#define TIMER_ONESHOT	(0U << 17)
#define TIMER_PERIODIC	(1U << 17)
#define TIMER_DEADLINE	(2U << 17)

#define ESR_SEND_ILLEGAL	(1U << 5)
#define ESR_RECV_ILLEGAL	(1U << 6)
#define ESR_ILLEGAL_REG		(1U << 7)

enum { DM_FIXED = 0, DM_LOWEST = 1, DM_NMI = 4, DM_INIT = 5, DM_STARTUP = 6 };

/* A periodic timer shorter than this would only starve its host. */
#define MIN_PERIOD_NS	50000

static uint32_t *reg(struct lapic *l, uint32_t off)
{
	return (uint32_t *)(l->page.regs + off);
}

static uint32_t get(const struct lapic *l, uint32_t off)
{
	return *(const uint32_t *)(l->page.regs + off);
}

/* The 256-bit registers are eight 32-bit words, 16 bytes apart. */
static void vec_set(struct lapic *l, uint32_t base, uint8_t v)
{
	*reg(l, base + v / 32 * 16) |= 1U << (v % 32);
}

static void vec_clear(struct lapic *l, uint32_t base, uint8_t v)
{
	*reg(l, base + v / 32 * 16) &= ~(1U << (v % 32));
}

static bool vec_test(const struct lapic *l, uint32_t base, uint8_t v)
{
	return get(l, base + v / 32 * 16) >> (v % 32) & 1;
}

static int vec_highest(const struct lapic *l, uint32_t base)
{
	int i;

	for (i = 7; i >= 0; i--) {
		uint32_t w = get(l, base + i * 16);

		if (w)
			return i * 32 + 31 - __builtin_clz(w);
	}
	return -1;
}

static bool x2apic(const struct lapic *l)
{
	return l->base & APIC_BASE_EXTD;
}

static void tell_info(struct lapic *l)
{
	struct apic_info info = {
		.id = l->id,
		.ldr = get(l, REG_LDR),
		.dfr = get(l, REG_DFR),
		.enabled = (l->base & APIC_BASE_ENABLE) && (get(l, REG_SVR) & SVR_ENABLED),
		.x2apic = x2apic(l),
	};

	l->ops->info(l->ctx, &info);
}

static void set_id(struct lapic *l)
{
	if (x2apic(l)) {
		*reg(l, REG_ID) = l->id;
		*reg(l, REG_LDR) = (l->id >> 4) << 16 | 1U << (l->id & 0xf);
	} else {
		*reg(l, REG_ID) = l->id << 24;
	}
}

void lapic_reset(struct lapic *l, bool init)
{
	uint32_t off;
	int i;

	memset(l->page.regs, 0, sizeof(l->page.regs));
	for (i = 0; i < 8; i++)
		atomic_store(&l->page.posted[i], 0);
	atomic_store(&l->page.posted_any, 0);
	if (!init)
		l->base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (l->base & APIC_BASE_BSP);
	*reg(l, REG_VERSION) = VERSION;
	*reg(l, REG_DFR) = 0xffffffff;
	*reg(l, REG_SVR) = 0xff;
	for (off = REG_LVT_TIMER; off <= REG_LVT_ERROR; off += 0x10)
		*reg(l, off) = LVT_MASKED;
	set_id(l);
	l->deadline = LAPIC_NEVER;
	l->period = 0;
	l->deadline_msr = 0;
	l->esr_pending = 0;
	tell_info(l);
}

struct lapic *lapic_create(uint32_t id, bool bsp, uint32_t tsc_khz,
			   const struct lapic_ops *ops, void *ctx)
{
	struct lapic *l = aligned_alloc(4096, (sizeof(*l) + 4095) & ~4095UL);

	if (!l)
		return NULL;
	memset(l, 0, sizeof(*l));
	l->id = id;
	l->base = bsp ? APIC_BASE_BSP : 0;
	l->tsc_khz = tsc_khz;
	l->ops = ops;
	l->ctx = ctx;
	lapic_reset(l, false);
	return l;
}

void lapic_destroy(struct lapic *l)
{
	free(l);
}

void lapic_set_base(struct lapic *l, uint64_t base)
{
	uint64_t old = l->base;

	if (base == old)
		return;
	l->base = base;
	if ((old & APIC_BASE_ENABLE) && !(base & APIC_BASE_ENABLE)) {
		/* Turning it off and on again is a reset of its state (SDM, "Enabling or Disabling"). */
		lapic_reset(l, true);
		return;
	}
	if (!(old & APIC_BASE_EXTD) != !(base & APIC_BASE_EXTD)) {
		set_id(l);
		*reg(l, REG_ICR2) = 0;
	}
	tell_info(l);
}

bool lapic_claims(const struct lapic *l, uint64_t gpa)
{
	return (l->base & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) == APIC_BASE_ENABLE &&
	       (gpa & ~0xfffULL) == (l->base & 0xffffffffff000ULL);
}

/* ---- interrupts ---------------------------------------------------------- */

void lapic_post(struct lapic *l, uint8_t vector, bool level)
{
	uint32_t bit = 1U << (vector % 32);

	if (level)
		atomic_fetch_or(&l->page.posted_level[vector / 32], bit);
	else
		atomic_fetch_and(&l->page.posted_level[vector / 32], ~bit);
	atomic_fetch_or(&l->page.posted[vector / 32], bit);
	atomic_store(&l->page.posted_any, 1);
}

static void take_posted(struct lapic *l)
{
	int i;

	if (!atomic_load_explicit(&l->page.posted_any, memory_order_relaxed) ||
	    !atomic_exchange(&l->page.posted_any, 0))
		return;
	for (i = 0; i < 8; i++) {
		uint32_t new = atomic_load_explicit(&l->page.posted[i], memory_order_relaxed), level;

		if (!new)
			continue;
		new = atomic_exchange(&l->page.posted[i], 0);
		level = atomic_load(&l->page.posted_level[i]);
		*reg(l, REG_IRR + i * 16) |= new;
		*reg(l, REG_TMR + i * 16) = (get(l, REG_TMR + i * 16) & ~new) | (level & new);
	}
}

static uint8_t ppr(const struct lapic *l)
{
	int isr = vec_highest(l, REG_ISR);
	uint8_t tpr = get(l, REG_TPR);

	if (isr < 0 || tpr >> 4 >= isr >> 4)
		return tpr;
	return isr & 0xf0;
}

int lapic_next(struct lapic *l)
{
	int v;

	take_posted(l);
	v = vec_highest(l, REG_IRR);
	if (v < 0 || !(l->base & APIC_BASE_ENABLE) || v >> 4 <= ppr(l) >> 4)
		return -1;
	return v;
}

void lapic_accept(struct lapic *l, uint8_t vector)
{
	vec_clear(l, REG_IRR, vector);
	vec_set(l, REG_ISR, vector);
}

static void end_of_interrupt(struct lapic *l)
{
	int v = vec_highest(l, REG_ISR);

	if (v < 0)
		return;		/* after a spurious interrupt, or a stray write */
	vec_clear(l, REG_ISR, v);
	if (vec_test(l, REG_TMR, v))
		l->ops->eoi(l->ctx, v);
}

uint8_t lapic_tpr(const struct lapic *l)
{
	return get(l, REG_TPR);
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
	*reg(l, REG_TPR) = tpr;
}

static void lvt_post(struct lapic *l, uint32_t off)
{
	uint32_t lvt = get(l, off);

	if (lvt & LVT_MASKED)
		return;
	if ((lvt & 0xff) >= 16)
		lapic_post(l, lvt & 0xff, false);
	else if (off != REG_LVT_ERROR)
		l->esr_pending |= ESR_RECV_ILLEGAL;
}

static void error(struct lapic *l, uint32_t bit)
{
	l->esr_pending |= bit;
	lvt_post(l, REG_LVT_ERROR);
}

static void send(struct lapic *l, uint32_t icr, uint32_t dest)
{
	struct apic_msg msg = {
		.vector = icr & 0xff,
		.delivery = icr >> 8 & 7,
		.logical = icr >> 11 & 1,
		.assert = icr >> 14 & 1,
		.level = icr >> 15 & 1,
		.shorthand = icr >> 18 & 3,
		.dest = dest,
		.source = l->id,
		.x2apic = x2apic(l),
	};

	switch (msg.delivery) {
	case DM_FIXED:
	case DM_LOWEST:
		if (msg.vector < 16) {
			error(l, ESR_SEND_ILLEGAL);
			return;
		}
		/* The level and trigger bits are for INIT alone on integrated APICs. */
		msg.level = false;
		msg.assert = true;
		break;
	case DM_NMI:
	case DM_STARTUP:
		break;
	case DM_INIT:
		if (msg.level && !msg.assert)
			return;		/* INIT level de-assert: only for the P6's arbitration ids */
		break;
	default:
		return;
	}
	if (msg.shorthand != 1) {
		l->ops->send(l->ctx, &msg);
	} else if (msg.delivery == DM_FIXED) {
		if (get(l, REG_SVR) & SVR_ENABLED)
			lapic_post(l, msg.vector, false);
	}
}

/* ---- timer --------------------------------------------------------------- */

static uint32_t timer_mode(const struct lapic *l)
{
	return get(l, REG_LVT_TIMER) & LVT_TIMER_MODE;
}

static unsigned int timer_divisor(const struct lapic *l)
{
	uint32_t v = get(l, REG_TDCR);

	v = ((v & 3) | (v >> 1 & 4)) + 1;
	return 1U << (v & 7);
}

static uint64_t ns_to_tsc(const struct lapic *l, uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * l->tsc_khz / 1000000);
}

static uint64_t tsc_to_ns(const struct lapic *l, uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)tsc * 1000000 / l->tsc_khz);
}

/* Start counting down from @count. */
static void timer_start(struct lapic *l, uint32_t count)
{
	uint64_t ns = (uint64_t)get(l, REG_TMICT) * timer_divisor(l);

	if (!count) {
		l->deadline = LAPIC_NEVER;
		return;
	}
	if (timer_mode(l) == TIMER_PERIODIC && ns < MIN_PERIOD_NS)
		ns = MIN_PERIOD_NS;
	l->period = ns_to_tsc(l, ns);
	l->deadline = l->ops->now(l->ctx) + ns_to_tsc(l, (uint64_t)count * timer_divisor(l));
}

static uint32_t timer_count(struct lapic *l)
{
	uint64_t now, left;

	if (timer_mode(l) == TIMER_DEADLINE || l->deadline == LAPIC_NEVER)
		return 0;
	now = l->ops->now(l->ctx);
	if (l->deadline <= now)
		return 0;
	left = tsc_to_ns(l, l->deadline - now) / timer_divisor(l);
	return left < get(l, REG_TMICT) ? left : get(l, REG_TMICT);
}

static void write_lvt_timer(struct lapic *l, uint32_t val)
{
	uint32_t old = timer_mode(l);

	*reg(l, REG_LVT_TIMER) = val;
	if (old == timer_mode(l))
		return;
	/* To or from deadline mode disarms; one-shot and periodic share the counter. */
	if (old == TIMER_DEADLINE || timer_mode(l) == TIMER_DEADLINE) {
		l->deadline = LAPIC_NEVER;
		l->deadline_msr = 0;
		*reg(l, REG_TMICT) = 0;
	}
}

static void write_deadline(struct lapic *l, uint64_t val)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	l->deadline_msr = val;
	l->deadline = val ? val : LAPIC_NEVER;
}

void lapic_timer_run(struct lapic *l, uint64_t now)
{
	if (now < l->deadline)
		return;
	if (timer_mode(l) == TIMER_PERIODIC && l->period) {
		l->deadline += l->period;
		if (l->deadline <= now)		/* late by whole periods: they are lost */
			l->deadline = now + l->period;
	} else {
		l->deadline = LAPIC_NEVER;
		l->deadline_msr = 0;
	}
	lvt_post(l, REG_LVT_TIMER);
}

/* ---- registers ----------------------------------------------------------- */

static void write_svr(struct lapic *l, uint32_t val)
{
	uint32_t old = get(l, REG_SVR), off;

	*reg(l, REG_SVR) = val & 0x1ff;
	if (!((old ^ val) & SVR_ENABLED))
		return;
	if (!(val & SVR_ENABLED)) {
		for (off = REG_LVT_TIMER; off <= REG_LVT_ERROR; off += 0x10)
			*reg(l, off) |= LVT_MASKED;
	}
	tell_info(l);
}

static void write_lvt(struct lapic *l, uint32_t off, uint32_t val)
{
	static const struct { uint16_t off; uint32_t mask; } writable[] = {
		{ REG_LVT_TIMER, 0x700ff }, { REG_LVT_THERMAL, 0x107ff }, { REG_LVT_PMC, 0x107ff },
		{ REG_LVT_LINT0, 0x1a7ff }, { REG_LVT_LINT1, 0x1a7ff }, { REG_LVT_ERROR, 0x100ff },
	};
	unsigned int i = (off - REG_LVT_TIMER) / 0x10;

	val &= writable[i].mask;
	if (!(get(l, REG_SVR) & SVR_ENABLED))
		val |= LVT_MASKED;
	if (off == REG_LVT_TIMER)
		write_lvt_timer(l, val);
	else
		*reg(l, off) = val;
}

/* A register write that both modes have.  False if there is no such writable register. */
static bool write_common(struct lapic *l, uint32_t off, uint32_t val)
{
	uint32_t count;

	switch (off) {
	case REG_TPR:
		*reg(l, REG_TPR) = val & 0xff;
		return true;
	case REG_EOI:
		end_of_interrupt(l);
		return true;
	case REG_SVR:
		write_svr(l, val);
		return true;
	case REG_ESR:
		*reg(l, REG_ESR) = l->esr_pending;
		l->esr_pending = 0;
		return true;
	case REG_LVT_TIMER: case REG_LVT_THERMAL: case REG_LVT_PMC:
	case REG_LVT_LINT0: case REG_LVT_LINT1: case REG_LVT_ERROR:
		write_lvt(l, off, val);
		return true;
	case REG_TMICT:
		if (timer_mode(l) == TIMER_DEADLINE)
			return true;
		*reg(l, REG_TMICT) = val;
		timer_start(l, val);
		return true;
	case REG_TDCR:
		count = timer_count(l);
		*reg(l, REG_TDCR) = val & 0xb;
		if (count)
			timer_start(l, count);
		return true;
	}
	return false;
}

/* A register read that both modes have. */
static bool read_common(struct lapic *l, uint32_t off, uint32_t *val)
{
	switch (off) {
	case REG_PPR:
		*val = ppr(l);
		return true;
	case REG_TMCCT:
		*val = timer_count(l);
		return true;
	case REG_IRR ... REG_IRR + 0x70:
		take_posted(l);
		*val = get(l, off);
		return true;
	case REG_ID: case REG_VERSION: case REG_TPR: case REG_LDR: case REG_SVR: case REG_ESR:
	case REG_ISR ... REG_ISR + 0x70:
	case REG_TMR ... REG_TMR + 0x70:
	case REG_ICR: case REG_TMICT: case REG_TDCR:
	case REG_LVT_TIMER: case REG_LVT_THERMAL: case REG_LVT_PMC:
	case REG_LVT_LINT0: case REG_LVT_LINT1: case REG_LVT_ERROR:
		*val = get(l, off);
		return true;
	}
	return false;
}

uint32_t lapic_mmio_read(struct lapic *l, uint32_t off)
{
	uint32_t val = 0, aligned = off & ~0xfU;

	/* Registers are 32 bits on 16-byte boundaries; the bytes between read as zero. */
	if (off & 0xc)
		return 0;
	switch (aligned) {
	case REG_APR: case REG_RRD:
		return 0;
	case REG_DFR: case REG_ICR2:
		val = get(l, aligned);
		break;
	case REG_EOI:
		break;
	default:
		if (!read_common(l, aligned, &val))
			error(l, ESR_ILLEGAL_REG);
	}
	return val >> (off & 3) * 8;
}

void lapic_mmio_write(struct lapic *l, uint32_t off, uint32_t val)
{
	if (off & 0xf)
		return;
	switch (off) {
	case REG_ID: case REG_VERSION: case REG_APR: case REG_PPR: case REG_RRD: case REG_TMCCT:
		return;		/* read-only */
	case REG_LDR:
		*reg(l, REG_LDR) = val & 0xff000000;
		tell_info(l);
		return;
	case REG_DFR:
		*reg(l, REG_DFR) = val | 0x0fffffff;
		tell_info(l);
		return;
	case REG_ICR2:
		*reg(l, REG_ICR2) = val & 0xff000000;
		return;
	case REG_ICR:
		*reg(l, REG_ICR) = val & 0xccfff;	/* delivery status (bit 12) reads idle */
		send(l, val, get(l, REG_ICR2) >> 24);
		return;
	}
	if (!write_common(l, off, val))
		error(l, ESR_ILLEGAL_REG);
}

int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val)
{
	uint32_t off = (msr - MSR_X2APIC_FIRST) << 4, low;

	if (msr == MSR_TSC_DEADLINE) {
		*val = l->deadline_msr;
		return 0;
	}
	if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !x2apic(l))
		return -1;
	if (off >= 0x400 || !read_common(l, off, &low))
		return -1;
	*val = low;
	if (off == REG_ICR)
		*val |= (uint64_t)get(l, REG_ICR2) << 32;
	return 0;
}

int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val)
{
	uint32_t off = (msr - MSR_X2APIC_FIRST) << 4;

	if (msr == MSR_TSC_DEADLINE) {
		write_deadline(l, val);
		return 0;
	}
	if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !x2apic(l))
		return -1;
	switch (off) {
	case REG_ICR:
		*reg(l, REG_ICR) = val & 0xccfff;
		*reg(l, REG_ICR2) = val >> 32;
		send(l, val, val >> 32);
		return 0;
	case REG_SELF_IPI:
		if (val > 0xff)
			return -1;
		send(l, val | 1U << 18, 0);
		return 0;
	case REG_EOI: case REG_ESR:
		if (val)
			return -1;
		break;
	case REG_TPR:
		if (val > 0xff)
			return -1;
		break;
	case REG_TMCCT:
		return -1;
	}
	if (val >> 32 || off >= 0x400 || !write_common(l, off, val))
		return -1;
	return 0;
}
