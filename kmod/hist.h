/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which bucket of a histogram a time falls into.  Pure; the buckets are described
 * in <linux/cvmm_netlink.h>, because programs compute with them.
 */
#ifndef CVMM_HIST_H
#define CVMM_HIST_H

#include <linux/cvmm_netlink.h>

#include "pure.h"

/* Any context; < CVMM_NL_HIST_BUCKETS for every @ns. */
static inline unsigned int cvmm_hist_bucket(u64 ns)
{
	const u64 units = ns >> CVMM_NL_HIST_SHIFT;
	unsigned int shift, bucket;

	if (units < 1U << CVMM_NL_HIST_SUB_BITS)
		return units;
	/* so that 1 << SUB_BITS <= units >> shift < 2 << SUB_BITS */
	shift = 63 - __builtin_clzll(units) - CVMM_NL_HIST_SUB_BITS;
	bucket = (shift << CVMM_NL_HIST_SUB_BITS) + (unsigned int)(units >> shift);
	return bucket < CVMM_NL_HIST_BUCKETS ? bucket : CVMM_NL_HIST_BUCKETS - 1;
}

#endif /* CVMM_HIST_H */
