// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that a vCPU will miss next are asked for while it waits for the one that it has
 * missed now: see dsm/ahead.h, and dsm/PROTOCOL.rst, "Pages asked for ahead".
 */
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "../dsm/ahead.h"
#include "space_priv.h"

/* Misses as far apart as this many pages travel, one after the other, are not related. */
#define WINDOW_TRAVELS	16
#define WINDOW_LEAST_NS	(100 * NSEC_PER_USEC)

static unsigned int ahead = DSM_AHEAD_RUNS;
module_param(ahead, uint, 0644);
MODULE_PARM_DESC(ahead, "ask together with a missed page for: 1 the next ones, where a vCPU misses one after the other (default); 2 those that it has missed after this one before; 3 both");

static u64 window_ns(const struct cvmm_space *space, u64 gfn)
{
	u64 travel = dsm_travel_ns(&space->dsm, dsm_home_of(&space->dsm, gfn));

	return max_t(u64, WINDOW_TRAVELS * travel, WINDOW_LEAST_NS);
}

void cvmm_space_miss(struct cvmm_space *space, struct cvmm_space_holds *h, u64 gfn, bool write,
		     bool spared)
{
	struct dsm_ahead_page page[DSM_AHEAD_MOST];
	unsigned int nr, i;
	const unsigned int what = READ_ONCE(ahead) & (DSM_AHEAD_RUNS | DSM_AHEAD_TRAINS);
	u64 now;
	int ret;

	if (!what || dsm_failed(&space->dsm))
		return;
	if (!h->ahead)
		h->ahead = kvzalloc(sizeof(*h->ahead), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!h->ahead)
		return;
	nr = dsm_ahead_miss(h->ahead, what, gfn, write, spared, ktime_get_ns(),
			    window_ns(space, gfn), page);
	for (i = 0; i < nr; i++) {
		/* What comes finds its frame in the pool, like those that somebody waits for. */
		if (cvmm_frame_pool_spare(space)) {
			dsm_ahead_not(&page[i]);
			continue;
		}
		cvmm_page_lock(space, page[i].gfn);
		now = ktime_get_ns();
		ret = dsm_ahead(&space->dsm, page[i].gfn, page[i].write, now);
		cvmm_page_unlock(space, page[i].gfn);
		if (!ret)
			dsm_ahead_not(&page[i]);
		if (ret < 0) {
			cvmm_space_fail(space, ~0U, EPROTO, "page %llx: inconsistent state",
					page[i].gfn);
			return;
		}
	}
}

void cvmm_space_holds_free(struct cvmm_space_holds *h)
{
	kvfree(h->ahead);
	h->ahead = NULL;
}
