/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What has changed in a page, as bytes: a pure codec.
 *
 * A delta is a sequence of runs in ascending order, each the number of its first
 * 8-byte word, the number of words (both u16, little endian), and the words.  None is a
 * page that has not changed.
 */
#ifndef CVMM_DELTA_H
#define CVMM_DELTA_H

#include "pure.h"

#define CVMM_DELTA_WORDS	512	/* of a page */
#define CVMM_DELTA_MAX		2048	/* bytes; with more the page itself is as good */
#define CVMM_DELTA_RUN		4	/* bytes before a run's words */

/* Write into @out what makes @page of @base.  Its bytes, or -1: more than @max. */
int cvmm_delta_encode(u8 *out, u32 max, const u64 *base, const u64 *page);

/*
 * Apply @len bytes of anything to @page, which has the content of the base.  0, or
 * -EPROTO if they are no delta; @page may have been changed then.
 */
int cvmm_delta_apply(u64 *page, const u8 *delta, u32 len);

/*
 * As cvmm_delta_encode(), and unless that fails make of @base what the peer will make of
 * its own: also if somebody has changed @page meanwhile, so that the two stay equal.
 */
int cvmm_delta_renew(u8 *out, u32 max, u64 *base, const u64 *page);

#endif /* CVMM_DELTA_H */
