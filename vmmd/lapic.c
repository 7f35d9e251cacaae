// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC, what is rare: see lapic.h.  Not modelled: LINT pins (nothing is
 * wired to them), thermal and performance interrupts, SMI, remote read, suppression
 * of EOI broadcasts (not advertised).
 */
#include <stdlib.h>
#include <string.h>

#include "lapic.h"

#define VERSION		0x00050014U	/* integrated APIC, six LVT entries */

#define ESR_SEND_ILLEGAL	(1U << 5)
#define ESR_ILLEGAL_REG		(1U << 7)

enum { DM_FIXED = 0, DM_LOWEST = 1, DM_NMI = 4, DM_INIT = 5, DM_STARTUP = 6 };

static uint32_t get(const struct lapic *l, uint32_t off)
{
	return vapic_get(&l->apic, off);
}

static void put(struct lapic *l, uint32_t off, uint32_t val)
{
	vapic_put(&l->apic, off, val);
}

static bool x2apic(const struct lapic *l)
{
	return vapic_x2apic(&l->apic);
}

static void tell_info(struct lapic *l)
{
	struct apic_info info = {
		.id = l->id,
		.ldr = get(l, VAPIC_LDR),
		.dfr = get(l, VAPIC_DFR),
		.enabled = vapic_enabled(&l->apic),
		.x2apic = x2apic(l),
	};

	l->ops->info(l->ctx, &info);
}

static void set_id(struct lapic *l)
{
	if (x2apic(l)) {
		put(l, VAPIC_ID, l->id);
		put(l, VAPIC_LDR, (l->id >> 4) << 16 | 1U << (l->id & 0xf));
	} else {
		put(l, VAPIC_ID, l->id << 24);
	}
}

/* Posted vectors last: others may post at any time. */
static void clear_page(struct cvmm_apic_page *p)
{
	unsigned int i;

	memset(p->reg, 0, sizeof(p->reg));
	for (i = 0; i < 8; i++)
		pure_xchg32(&p->posted[i], 0);
	pure_xchg32(&p->posted_any, 0);
	p->errors = 0;
	p->deadline = LAPIC_NEVER;
	p->period = 0;
	p->deadline_msr = 0;
}

void lapic_reset(struct lapic *l, bool init)
{
	uint32_t off;

	clear_page(l->apic.page);
	if (!init)
		l->apic.base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (l->apic.base & APIC_BASE_BSP);
	put(l, VAPIC_VERSION, VERSION);
	put(l, VAPIC_DFR, 0xffffffff);
	put(l, VAPIC_SVR, 0xff);
	for (off = VAPIC_LVT_TIMER; off <= VAPIC_LVT_ERROR; off += 0x10)
		put(l, off, VAPIC_LVT_MASKED);
	set_id(l);
	tell_info(l);
}

/* ---- the APIC's ops ------------------------------------------------------- */

static unsigned long long now(void *ctx)
{
	struct lapic *l = ctx;

	return l->ops->now(l->ctx);
}

/* Any ICR but "self". */
static void send_msg(struct lapic *l, uint32_t icr, uint32_t dest)
{
	struct apic_msg msg = {
		.vector = VAPIC_ICR_VECTOR(icr),
		.delivery = VAPIC_ICR_DELIVERY(icr),
		.logical = icr & VAPIC_ICR_LOGICAL,
		.assert = icr >> 14 & 1,
		.level = icr >> 15 & 1,
		.shorthand = VAPIC_ICR_SHORTHAND(icr),
		.dest = dest,
		.source = l->id,
		.x2apic = x2apic(l),
	};

	/* The level and trigger bits are for INIT alone on integrated APICs. */
	if (msg.delivery == DM_FIXED || msg.delivery == DM_LOWEST) {
		msg.level = false;
		msg.assert = true;
	}
	l->ops->send(l->ctx, &msg);
}

static bool send_fixed(void *ctx, uint32_t icr, uint32_t dest)
{
	send_msg(ctx, icr, dest);
	return true;
}

static const struct vapic_ops vapic_ops = { .now = now, .send = send_fixed };

/* ---- life ---------------------------------------------------------------- */

struct lapic *lapic_create(uint32_t id, bool bsp, uint32_t tsc_khz, struct cvmm_apic_page *page,
			   const struct lapic_ops *ops, void *ctx)
{
	struct lapic *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (!page) {
		page = aligned_alloc(sizeof(*page), sizeof(*page));
		if (!page) {
			free(l);
			return NULL;
		}
		memset(page, 0, sizeof(*page));
		l->own_page = true;
	}
	l->id = id;
	l->ops = ops;
	l->ctx = ctx;
	l->apic = (struct vapic){
		.page = page,
		.ops = &vapic_ops,
		.ctx = l,
		.base = bsp ? APIC_BASE_BSP : 0,
		.tsc_khz = tsc_khz,
	};
	lapic_reset(l, false);
	return l;
}

void lapic_destroy(struct lapic *l)
{
	if (l && l->own_page)
		free(l->apic.page);
	free(l);
}

void lapic_set_base(struct lapic *l, uint64_t base)
{
	uint64_t old = l->apic.base;

	if (base == old)
		return;
	l->apic.base = base;
	if ((old & APIC_BASE_ENABLE) && !(base & APIC_BASE_ENABLE)) {
		/* Turning it off and on again is a reset of its state (SDM, "Enabling or Disabling"). */
		lapic_reset(l, true);
		return;
	}
	if (!(old & APIC_BASE_EXTD) != !(base & APIC_BASE_EXTD)) {
		set_id(l);
		put(l, VAPIC_ICR2, 0);
	}
	tell_info(l);
}

/* ---- registers ----------------------------------------------------------- */

static void error(struct lapic *l, uint32_t bit)
{
	l->apic.page->errors |= bit;
	vapic_raise(&l->apic, VAPIC_LVT_ERROR);
}

/* An ICR write that vapic.c leaves to us. */
static void write_icr(struct lapic *l, uint32_t icr, uint32_t dest)
{
	put(l, VAPIC_ICR, icr & VAPIC_ICR_WRITABLE);
	if (x2apic(l))
		put(l, VAPIC_ICR2, dest);
	switch (VAPIC_ICR_DELIVERY(icr)) {
	case DM_FIXED:
	case DM_LOWEST:
		if (VAPIC_ICR_VECTOR(icr) < 16) {
			error(l, ESR_SEND_ILLEGAL);
			return;
		}
		break;
	case DM_NMI:
	case DM_STARTUP:
		break;
	case DM_INIT:
		if ((icr >> 15 & 1) && !(icr >> 14 & 1))
			return;		/* INIT level de-assert: only for the P6's arbitration ids */
		break;
	default:
		return;
	}
	if (VAPIC_ICR_SHORTHAND(icr) != VAPIC_TO_SELF)
		send_msg(l, icr, dest);
}

static void write_svr(struct lapic *l, uint32_t val)
{
	uint32_t old = get(l, VAPIC_SVR), off;

	put(l, VAPIC_SVR, val & 0x1ff);
	if (!((old ^ val) & VAPIC_SVR_ENABLED))
		return;
	if (!(val & VAPIC_SVR_ENABLED)) {
		for (off = VAPIC_LVT_TIMER; off <= VAPIC_LVT_ERROR; off += 0x10)
			put(l, off, get(l, off) | VAPIC_LVT_MASKED);
	}
	tell_info(l);
}

static void write_lvt_timer(struct lapic *l, uint32_t val)
{
	uint32_t old = vapic_timer_mode(&l->apic), new;

	put(l, VAPIC_LVT_TIMER, val);
	new = vapic_timer_mode(&l->apic);
	if (old == new)
		return;
	/* To or from deadline mode disarms; one-shot and periodic share the counter. */
	if (old == VAPIC_TIMER_DEADLINE || new == VAPIC_TIMER_DEADLINE) {
		l->apic.page->deadline = LAPIC_NEVER;
		l->apic.page->deadline_msr = 0;
		put(l, VAPIC_TMICT, 0);
	}
}

static void write_lvt(struct lapic *l, uint32_t off, uint32_t val)
{
	static const uint32_t writable[] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

	val &= writable[(off - VAPIC_LVT_TIMER) / 0x10];
	if (!(get(l, VAPIC_SVR) & VAPIC_SVR_ENABLED))
		val |= VAPIC_LVT_MASKED;
	if (off == VAPIC_LVT_TIMER)
		write_lvt_timer(l, val);
	else
		put(l, off, val);
}

static void end_level(struct lapic *l)
{
	bool level;
	int v = vapic_in_service(&l->apic, &level);

	if (v < 0)
		return;
	vapic_end(&l->apic, v);
	if (level)
		l->ops->eoi(l->ctx, v);
}

/* A register write that both modes have.  False if there is no such writable register. */
static bool write_common(struct lapic *l, uint32_t off, uint32_t val)
{
	switch (off) {
	case VAPIC_EOI:
		end_level(l);
		return true;
	case VAPIC_SVR:
		write_svr(l, val);
		return true;
	case VAPIC_ESR:
		put(l, VAPIC_ESR, l->apic.page->errors);
		l->apic.page->errors = 0;
		return true;
	case VAPIC_LVT_TIMER: case VAPIC_LVT_THERMAL: case VAPIC_LVT_PMC:
	case VAPIC_LVT_LINT0: case VAPIC_LVT_LINT1: case VAPIC_LVT_ERROR:
		write_lvt(l, off, val);
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
	case VAPIC_APR: case VAPIC_RRD: case VAPIC_EOI:
		return 0;
	}
	if (!vapic_read(&l->apic, aligned, &val))
		error(l, ESR_ILLEGAL_REG);
	return val >> (off & 3) * 8;
}

void lapic_mmio_write(struct lapic *l, uint32_t off, uint32_t val)
{
	if (off & 0xf || vapic_write(&l->apic, off, val))
		return;
	switch (off) {
	case VAPIC_ID: case VAPIC_VERSION: case VAPIC_APR: case VAPIC_PPR: case VAPIC_RRD:
	case VAPIC_TMCCT:
		return;		/* read-only */
	case VAPIC_LDR:
		put(l, VAPIC_LDR, val & 0xff000000);
		tell_info(l);
		return;
	case VAPIC_DFR:
		put(l, VAPIC_DFR, val | 0x0fffffff);
		tell_info(l);
		return;
	case VAPIC_ICR:
		write_icr(l, val, get(l, VAPIC_ICR2) >> 24);
		return;
	}
	if (!write_common(l, off, val))
		error(l, ESR_ILLEGAL_REG);
}

int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val)
{
	unsigned long long v;

	if (!vapic_rdmsr(&l->apic, msr, &v))
		return -1;
	*val = v;
	return 0;
}

int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val)
{
	uint32_t off = (msr - MSR_X2APIC_FIRST) << 4;

	if (vapic_wrmsr(&l->apic, msr, val))
		return 0;
	if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !x2apic(l))
		return -1;
	switch (off) {
	case VAPIC_ICR:
		write_icr(l, val, val >> 32);
		return 0;
	case VAPIC_SELF_IPI:
		if (val > 0xff)
			return -1;
		error(l, ESR_SEND_ILLEGAL);	/* a vector that cannot be sent */
		return 0;
	case VAPIC_EOI: case VAPIC_ESR:
		if (val)
			return -1;
		break;
	}
	return val >> 32 || !write_common(l, off, val) ? -1 : 0;
}
