// SPDX-License-Identifier: GPL-2.0-or-later
/* Estimation of the distance between two hosts' time stamp counters: see tsc.h. */
#include "tsc.h"

#include <errno.h>
#include <string.h>

#define MILLION	1000000

void tsc_est_init(struct tsc_est *e, uint32_t drift_ppm)
{
	memset(e, 0, sizeof(*e));
	e->drift_ppm = drift_ppm;
}

/* How far a bound found at @then may have moved by @now, rounded up. */
static int64_t drift(const struct tsc_est *e, uint64_t then, uint64_t now)
{
	uint64_t age = now > then ? now - then : 0;

	return (int64_t)((unsigned __int128)age * e->drift_ppm / MILLION) + 1;
}

int tsc_est_add(struct tsc_est *e, const struct tsc_sample *s)
{
	int64_t lo, hi;
	uint64_t rtt;

	if (s->got < s->sent || s->peer_sent < s->peer_got ||
	    s->got - s->sent < s->peer_sent - s->peer_got)
		return -EINVAL;

	/* The request arrived after it was sent, the answer was sent before it arrived. */
	hi = (int64_t)(s->peer_got - s->sent);
	lo = (int64_t)(s->peer_sent - s->got);
	rtt = (s->got - s->sent) - (s->peer_sent - s->peer_got);
	if (!e->samples || rtt < e->best_rtt)
		e->best_rtt = rtt;
	e->samples++;

	if (e->valid && (hi < e->lo - drift(e, e->lo_at, s->got) ||
			 lo > e->hi + drift(e, e->hi_at, s->got))) {
		e->resets++;
		e->valid = false;
	}
	if (!e->valid || hi <= e->hi + drift(e, e->hi_at, s->sent)) {
		e->hi = hi;
		e->hi_at = s->sent;
	}
	if (!e->valid || lo >= e->lo - drift(e, e->lo_at, s->got)) {
		e->lo = lo;
		e->lo_at = s->got;
	}
	e->valid = true;
	return 0;
}

bool tsc_est_get(const struct tsc_est *e, uint64_t now, int64_t *offset, uint64_t *bound)
{
	int64_t lo, hi;

	if (!e->valid)
		return false;
	lo = e->lo - drift(e, e->lo_at, now);
	hi = e->hi + drift(e, e->hi_at, now);
	/* The difference is small even where the offset itself is near 2^63. */
	*bound = ((uint64_t)hi - (uint64_t)lo + 1) / 2;
	*offset = (int64_t)((uint64_t)lo + *bound);
	return true;
}

bool tsc_khz_match(uint32_t a, uint32_t b)
{
	uint64_t diff = a > b ? a - b : b - a;

	return a && b && diff * MILLION <= (uint64_t)a * TSC_DRIFT_PPM;
}
