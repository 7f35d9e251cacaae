/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Histograms of times as the module counts them: <linux/cvmm_netlink.h> describes
 * their buckets.  Pure.
 */
#ifndef VMMD_HIST_H
#define VMMD_HIST_H

#include <linux/cvmm_netlink.h>
#include <stdint.h>

#define HIST_NAME_LEN	32

struct hist {
	char name[HIST_NAME_LEN];
	uint64_t sum_ns;			/* of all times */
	uint64_t bucket[CVMM_NL_HIST_BUCKETS];
};

/* First time of bucket @b, ns; of CVMM_NL_HIST_BUCKETS: end of the last one. */
uint64_t hist_begin(unsigned int b);
uint64_t hist_count(const struct hist *h);

/*
 * The time, in ns, that @part of @of (1 <= @part <= @of) of all did not exceed; 999 of
 * 1000 is p99.9.  Within a bucket times are taken to be spread evenly, so the error
 * is at most the bucket's width, an eighth.  0 when there are none.
 */
uint64_t hist_percentile(const struct hist *h, unsigned int part, unsigned int of);
/* No time was longer than this; 0 when there are none.  The last bucket has no end. */
uint64_t hist_max(const struct hist *h);

#endif /* VMMD_HIST_H */
