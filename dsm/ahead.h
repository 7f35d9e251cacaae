/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages will be missed next?  A pure predictor, for one stream of accesses (a vCPU).
 *
 * Faults come in trains: who misses the page of one lock or queue misses those of others
 * soon after, each time the same.  So for each miss the predictor keeps those that have
 * followed it before, with a counter of how often they did of late, and tells when it
 * recurs which others to ask for at once, ahead of their use (dsm_ahead()).  And who
 * misses one page after the other, in ascending order, will go on so: a run.
 *
 * Of fixed size.  The owner of the stream serialises calls; nothing here can fail.
 */
#ifndef DSM_AHEAD_H
#define DSM_AHEAD_H

#include "dsm_types.h"

#define DSM_AHEAD_SETS		64	/* of misses that are known, by hash */
#define DSM_AHEAD_WAYS		4
#define DSM_AHEAD_NEXT		8	/* misses that are known to follow one */
#define DSM_AHEAD_RECENT	8	/* misses back that one may be said to follow */
#define DSM_AHEAD_TRAIN		4	/* pages of trains to ask for at a time */
#define DSM_AHEAD_RUN		4	/* ... of a run */
#define DSM_AHEAD_MOST		(DSM_AHEAD_TRAIN + DSM_AHEAD_RUN)
#define DSM_AHEAD_SEEN		3	/* this many in a row are a run */

/* What to look for: dsm_ahead_miss() */
#define DSM_AHEAD_RUNS		(1U << 0)
#define DSM_AHEAD_TRAINS	(1U << 1)

/*
 * What has followed a miss.
 * @page:	gfn << 1 | write
 * @trust:	does it follow?  0 to 7, from 4 on yes.  0 may be replaced
 * @worth:	is it used, when asked for?  0 to 3, from 2 on yes
 * @skipped:	times that it was not asked for as not worth it: each eighth time it is
 * @due:	has not followed the miss's latest occurrence yet
 * @asked:	and was asked for then
 */
struct dsm_ahead_next {
	u64 page:54;
	u64 trust:3;
	u64 worth:2;
	u64 skipped:3;
	u64 due:1;
	u64 asked:1;
};

_Static_assert(sizeof(struct dsm_ahead_next) == 8, "a word");

/*
 * A page to ask for, and whether to write.
 * @next:	what says so: that it will be read, that it will be written
 */
struct dsm_ahead_page {
	u64 gfn;
	bool write;
	struct dsm_ahead_next *next[2];
};

struct dsm_ahead_row {
	u64 page;		/* of the miss; 0: a free row */
	u64 used;		/* dsm_ahead.nr at its latest occurrence */
	struct dsm_ahead_next next[DSM_AHEAD_NEXT];
};

/* Zero-filled is empty. */
struct dsm_ahead_table {
	u64 nr;			/* misses so far */
	struct {
		u64 page;
		u64 when_ns;
	} recent[DSM_AHEAD_RECENT];
	struct dsm_ahead_row row[DSM_AHEAD_SETS][DSM_AHEAD_WAYS];
};

/**
 * dsm_ahead_miss() - a page was missed, or would have been
 * @t:		the stream's table
 * @what:	DSM_AHEAD_*
 * @gfn, @write: what for
 * @spared:	it was there, or on its way, because it had been asked for ahead
 *		(dsm_grant.spared)
 * @now_ns:	current time, monotonic
 * @window_ns:	what came longer ago is not followed by this
 * @out:	DSM_AHEAD_MOST entries
 *
 * Returns the number of pages in @out to ask for now, those of a run first.  A page of a
 * run may be none of the space, or be there a second time.
 */
unsigned int dsm_ahead_miss(struct dsm_ahead_table *t, unsigned int what, u64 gfn, bool write,
			    bool spared, u64 now_ns, u64 window_ns, struct dsm_ahead_page *out);

/*
 * @page, from the latest dsm_ahead_miss() of its table, was not asked for: it is here, or
 * can not be.  So what becomes of it says nothing of whether to ask is worth it.
 */
void dsm_ahead_not(struct dsm_ahead_page *page);

#endif /* DSM_AHEAD_H */
