/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Twins: the latest content of pages that went over a link, kept at both ends, so that
 * the next time only what has changed since need go.
 *
 * Each end has one set for each way.  A page has one place in a set, by its number;
 * sender and receiver put every page there in the order of the link, so the sender
 * knows what the receiver has; also if the sender's set is the smaller one: what was the
 * latest of all pages that share its place there was it at the receiver, too.
 */
#ifndef CVMM_LINK_TWIN_H
#define CVMM_LINK_TWIN_H

#include <linux/types.h>

#include "delta.h"

#define CVMM_TWINS_MAX_ORDER	12	/* 16 MB, for all links of a space and one way */

/**
 * struct cvmm_twins - one end of one way
 * @mask:	number of places less one
 * @gfn:	by place: page number + 1, or 0
 * @page:	by place: content
 * @delta:	for the delta that is being made or received
 */
struct cvmm_twins {
	u32 mask;
	u64 *gfn;
	u8 *page;
	u8 delta[CVMM_DELTA_MAX];
};

/* 2^@order places, at most CVMM_TWINS_MAX_ORDER.  May sleep.  NULL: no memory. */
struct cvmm_twins *cvmm_twins_alloc(unsigned int order);
void cvmm_twins_free(struct cvmm_twins *t);

/* @page goes, or has come, as a whole. */
void cvmm_twins_note(struct cvmm_twins *t, u64 gfn, const void *page);
/*
 * @page is to go, and is noted.  The length of the delta in @t->delta that is to go
 * instead, or -1: the page itself.
 */
int cvmm_twins_pack(struct cvmm_twins *t, u64 gfn, const void *page);
/*
 * @len bytes have come into @t->delta: make @page.  0, or -EPROTO: the peer has no
 * reason to send these.
 */
int cvmm_twins_unpack(struct cvmm_twins *t, u64 gfn, u32 len, void *page);

#endif /* CVMM_LINK_TWIN_H */
