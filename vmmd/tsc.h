/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far apart two hosts' time stamp counters are.
 *
 * A guest has one TSC; its hosts have one each, which differ in offset and, a
 * little, in rate.  An exchange of two messages gives two bounds on the offset:
 * neither message can arrive before it was sent.  The estimator keeps the
 * tightest upper and the tightest lower bound seen, which need not come from the
 * same exchange, and lets both loosen with age at the largest drift that two
 * counters of the same nominal rate can have.  So asymmetric or noisy delays
 * never make it wrong, only less sharp (K. Marzullo, S. Owicki, "Maintaining the
 * Time in a Distributed System", 1983).
 *
 * Pure: no clock, no I/O.  One user at a time; the caller locks.
 */
#ifndef VMMD_TSC_H
#define VMMD_TSC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Crystals are within +-50 ppm, two of them within 100; the rest is for a
 * kernel's calibration of a nominal rate.
 */
#define TSC_DRIFT_PPM	200

/* One exchange.  Local stamps are cycles of this host, remote of the peer. */
struct tsc_sample {
	uint64_t sent;		/* local: request left */
	uint64_t peer_got;	/* remote: request arrived */
	uint64_t peer_sent;	/* remote: answer left */
	uint64_t got;		/* local: answer arrived */
};

struct tsc_est {
	uint32_t drift_ppm;
	bool valid;
	int64_t lo, hi;		/* bounds of (remote - local) */
	uint64_t lo_at, hi_at;	/* local cycles when they were found */
	uint64_t best_rtt;	/* cycles on the wire of the quickest exchange */
	uint64_t samples;
	uint64_t resets;	/* bounds that contradicted each other: a counter jumped */
};

/* Start anew; @drift_ppm: 1..100000, how fast the two may diverge. */
void tsc_est_init(struct tsc_est *e, uint32_t drift_ppm);

/* Take in one exchange.  0, or -EINVAL if its stamps run backwards. */
int tsc_est_add(struct tsc_est *e, const struct tsc_sample *s);

/*
 * The estimate at local time @now: remote TSC = local TSC + *@offset, wrong by
 * at most *@bound cycles.  False before the first sample.
 */
bool tsc_est_get(const struct tsc_est *e, uint64_t now, int64_t *offset, uint64_t *bound);

/* Are two rates (kHz) close enough for one guest?  See TSC_DRIFT_PPM. */
bool tsc_khz_match(uint32_t a, uint32_t b);

#endif /* VMMD_TSC_H */
