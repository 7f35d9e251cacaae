/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages travel most, in bounded memory: small sets of counters, each after
 * the "space-saving" algorithm (Metwally, Agrawal, El Abbadi: Efficient Computation of
 * Frequent and Top-k Elements in Data Streams, 2005).  Pure.
 *
 * A key is a page and a peer.  A set counts CVMM_HEAT_WAYS keys; a new one takes the
 * place of the least counted and inherits its count, so that it can not stay the least
 * for ever.  Therefore, with n events in a set: the counts add up to n, a key's true
 * number is at most its count and at least the sum of its kinds, and any key with
 * more than n / CVMM_HEAT_WAYS events is there.
 */
#ifndef CVMM_HEAT_H
#define CVMM_HEAT_H

#include <linux/cvmm_netlink.h>

#include "pure.h"

#define CVMM_HEAT_WAYS	8

/**
 * struct cvmm_heat_set - counters of some pages; all zero is empty
 * @key:	gfn << 8 | peer + 1; 0: unused
 * @count:	the key's events at most
 * @kind:	its events since it is here, by CVMM_NL_HEAT_*
 */
struct cvmm_heat_set {
	u64 key[CVMM_HEAT_WAYS];
	u64 count[CVMM_HEAT_WAYS];
	u64 kind[CVMM_HEAT_WAYS][CVMM_NL_HEAT_NR];
};

/*
 * Count an event: a look at one cache line of keys and two additions, or for a new key
 * a look at one more of counts.  The caller serialises calls for one set.  @gfn below
 * 2^56, @peer below 255, @kind below CVMM_NL_HEAT_NR.
 */
void cvmm_heat_add(struct cvmm_heat_set *set, u64 gfn, u32 peer, unsigned int kind);

static inline u64 cvmm_heat_gfn(u64 key)
{
	return key >> 8;
}

static inline u32 cvmm_heat_peer(u64 key)
{
	return (u32)(key & 0xff) - 1;
}

#endif /* CVMM_HEAT_H */
