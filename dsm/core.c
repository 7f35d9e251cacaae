// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entry points of the coherence core that belong to neither side of the
 * protocol: set-up and end, the checks every message passes before page.c or
 * dir.c see it, local delivery, records.
 */
#include "core.h"

#ifdef DSM_TEST_BUGS
enum dsm_bug dsm_test_bug;
#endif

#ifdef DSM_TEST_MARKS
u64 dsm_marks[DSM_MARK_NR];
#endif

#define MSEC			1000000ULL
#define HOLD_MAX_DEFAULT_NS	(20 * MSEC)
#define HOLD_MAX_MOST_NS	(500 * MSEC)
#define HOLD_LIMIT_MOST_NS	(1000 * MSEC)
#define HOLD_LIMIT_TIMES	25
#define RETRY_DEFAULT_NS	(200000ULL)
#define RETRY_MOST_NS		(1000 * MSEC)

_Static_assert((HOLD_LIMIT_MOST_NS >> DSM_HOLD_SHIFT) + 2 <= DSM_HOLD_TICKS, "hold field");

/* How the hold times follow from the travel time; see PROTOCOL.rst, "Hold". */
#define HOLD_MAX_TRAVELS	8
#define HOLD_YIELD_LEAST_NS	(100000ULL)
#define HOLD_YIELD_FIRST_NS	(1000000ULL)
#define TRAVEL_MOST_NS		(1000 * MSEC)

#define RELAX_EVERY		1024	/* pages, in dsm_teardown() */

int dsm_init(struct dsm *d, const struct dsm_config *cfg)
{
	u64 end = 0;
	u32 i;

	if (!cfg->ops || !cfg->nr_hosts || cfg->nr_hosts > DSM_MAX_HOSTS ||
	    cfg->host >= cfg->nr_hosts || (!cfg->nr_ranges && cfg->nr_hosts > 1))
		return -EINVAL;
	if (cfg->hold_max_ns > HOLD_MAX_MOST_NS || cfg->hold_yield_ns > HOLD_MAX_MOST_NS ||
	    cfg->retry_ns > RETRY_MOST_NS)
		return -EINVAL;

	for (i = 0; i < cfg->nr_ranges; i++) {
		const struct dsm_range *range = &cfg->ranges[i];

		if (!range->nr_gfns || range->first_gfn < end ||
		    range->first_gfn + range->nr_gfns < range->first_gfn ||
		    range->host >= cfg->nr_hosts || !range->pages ||
		    (range->host == cfg->host) != !!range->homes)
			return -EINVAL;
		end = range->first_gfn + range->nr_gfns;
	}

	d->cfg = *cfg;
	d->failed = false;
	memset(d->travel_ns, 0, sizeof(d->travel_ns));
	if (!d->cfg.hold_limit_ns)
		d->cfg.hold_limit_ns = HOLD_LIMIT_TIMES * (d->cfg.hold_max_ns ? d->cfg.hold_max_ns :
							   HOLD_MAX_DEFAULT_NS);
	if (d->cfg.hold_limit_ns > HOLD_LIMIT_MOST_NS)
		d->cfg.hold_limit_ns = HOLD_LIMIT_MOST_NS;
	if (!d->cfg.retry_ns)
		d->cfg.retry_ns = RETRY_DEFAULT_NS;
	return 0;
}

size_t dsm_rec_size(const struct dsm *d)
{
	return sizeof(struct dsm_rec) + d->cfg.nr_hosts * sizeof(struct dsm_waiter);
}

/* ---------------------------------------------------------- travel times */

u64 dsm_travel_ns(const struct dsm *d, u32 host)
{
	u64 travel = host < d->cfg.nr_hosts ? READ_ONCE(d->travel_ns[host]) : 0;

	return travel ? travel : READ_ONCE(d->travel_ns[DSM_MAX_HOSTS]);
}

static void average(u32 *travel_ns, u64 ns)
{
	u64 avg = READ_ONCE(*travel_ns);

	/* One that met a busy CPU must not count for many. */
	if (avg && ns > 4 * avg)
		ns = 4 * avg;
	avg = avg ? avg - avg / 8 + ns / 8 : ns;
	WRITE_ONCE(*travel_ns, (u32)(avg ? avg : 1));
}

void dsm_note_travel(struct dsm *d, u32 home, u64 ns)
{
	if (ns > TRAVEL_MOST_NS)
		ns = TRAVEL_MOST_NS;
	average(&d->travel_ns[home], ns);
	average(&d->travel_ns[DSM_MAX_HOSTS], ns);
}

static u64 within(u64 ns, u64 least, u64 most)
{
	return ns < least ? least : ns > most ? most : ns;
}

u64 dsm_min_run_ns(const struct dsm *d, u64 gfn)
{
	u64 travel = dsm_travel_ns(d, dsm_home_of(d, gfn));

	if (!travel)
		return DSM_MIN_RUN_FIRST_NS;
	return within(travel, DSM_MIN_RUN_LEAST_NS, DSM_MIN_RUN_MOST_NS);
}

/* Long enough to collect another page or two. */
u64 dsm_hold_max(const struct dsm *d, u32 home)
{
	if (d->cfg.hold_max_ns)
		return d->cfg.hold_max_ns;
	return within(HOLD_MAX_TRAVELS * dsm_travel_ns(d, home), HOLD_MAX_DEFAULT_NS,
		      HOLD_MAX_MOST_NS);
}

/* For a page that is on its way to come. */
u64 dsm_hold_yield(const struct dsm *d, u32 home)
{
	u64 travel = dsm_travel_ns(d, home), most = dsm_hold_max(d, home) / 2;

	if (d->cfg.hold_yield_ns)
		return d->cfg.hold_yield_ns;
	if (!travel)
		return most < HOLD_YIELD_FIRST_NS ? most : HOLD_YIELD_FIRST_NS;
	return within(travel, HOLD_YIELD_LEAST_NS, most);
}

u64 dsm_hold_max_ns(const struct dsm *d, u64 gfn)
{
	return dsm_hold_max(d, dsm_home_of(d, gfn));
}

void dsm_fail(struct dsm *d)
{
	WRITE_ONCE(d->failed, true);
}

bool dsm_failed(const struct dsm *d)
{
	return READ_ONCE(d->failed);
}

static const struct dsm_range *find_range(const struct dsm *d, u64 gfn)
{
	u32 lo = 0, hi = d->cfg.nr_ranges;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		const struct dsm_range *range = &d->cfg.ranges[mid];

		if (gfn < range->first_gfn)
			hi = mid;
		else if (gfn - range->first_gfn >= range->nr_gfns)
			lo = mid + 1;
		else
			return range;
	}
	return NULL;
}

bool dsm_covers(const struct dsm *d, u64 gfn)
{
	return find_range(d, gfn);
}

u32 dsm_home_of(const struct dsm *d, u64 gfn)
{
	const struct dsm_range *range = find_range(d, gfn);

	return range ? range->host : DSM_NO_HOST;
}

bool dsm_lookup(const struct dsm *d, u64 gfn, struct dsm_ref *r)
{
	const struct dsm_range *range = find_range(d, gfn);
	u64 i;

	if (!range)
		return false;
	i = dsm_index(gfn - range->first_gfn, range->nr_gfns);
	r->gfn = gfn;
	r->page = &range->pages[i];
	r->dir = range->homes ? &range->homes[i] : NULL;
	r->home = range->host;
	return true;
}

/* The page's record, attached now if it has none.  NULL: no memory. */
struct dsm_rec *dsm_get_rec(struct dsm *d, struct dsm_ref *r)
{
	struct dsm_page *p = r->page;
	struct dsm_rec *rec = dsm_rec(p);
	size_t size = r->dir ? dsm_rec_size(d) : sizeof(*rec);

	if (rec)
		return rec;
	rec = d->cfg.ops->alloc_rec(d->cfg.ctx, size);
	if (!rec)
		return NULL;
	memset(rec, 0, size);
	rec->frame = p->word;
	p->word = rec;
	p->has_rec = 1;
	return rec;
}

/* Detach and free the page's record if nothing of it is in use. */
void dsm_put_rec(struct dsm *d, struct dsm_ref *r)
{
	struct dsm_page *p = r->page;
	struct dsm_rec *rec = dsm_rec(p);

	if (!rec || rec->req || rec->deferred.type || rec->waiting)
		return;
	p->word = rec->frame;
	p->has_rec = 0;
	d->cfg.ops->free_rec(d->cfg.ctx, rec);
}

/*
 * Every message, from a peer or from this host's own other side.  *@frame is
 * set to NULL by whoever keeps it.
 */
static int dispatch(struct dsm *d, struct dsm_ref *r, u32 from, const struct dsm_msg *msg,
		    void **frame, u64 now_ns)
{
	switch (msg->type) {
	case DSM_MSG_REQ_S:
	case DSM_MSG_REQ_X:
		if (!r->dir || msg->requester != from)
			return -EPROTO;
		return dsm_dir_request(d, r, from, msg, now_ns);
	case DSM_MSG_DONE:
		if (!r->dir || msg->requester != from)
			return -EPROTO;
		return dsm_dir_done(d, r, from, msg, now_ns);
	case DSM_MSG_FWD_S:
	case DSM_MSG_FWD_X:
	case DSM_MSG_INV:
		if (from != r->home || msg->requester == dsm_self(d))
			return -EPROTO;
		return dsm_page_revoke(d, r, from, msg, now_ns);
	case DSM_MSG_HURRY:
		if (r->dir && msg->requester == from)
			return dsm_dir_hurry(d, r, from, msg, now_ns);
		if (from != r->home || msg->requester == dsm_self(d))
			return -EPROTO;
		dsm_page_hurry(d, r, msg, now_ns);
		return 0;
	case DSM_MSG_DATA:
		if (msg->requester != dsm_self(d))
			return -EPROTO;
		return dsm_page_data(d, r, from, msg, frame, now_ns);
	case DSM_MSG_INV_ACK:
		if (msg->requester != dsm_self(d))
			return -EPROTO;
		return dsm_page_ack(d, r, from, msg, now_ns);
	}
	return -EPROTO;
}

int dsm_receive(struct dsm *d, u32 from, const struct dsm_msg *msg, void *frame, u64 now_ns)
{
	struct dsm_ref r = { .gfn = msg->gfn };
	int err = -EPROTO;

	if (dsm_failed(d)) {
		err = -EIO;
		goto out_put;
	}
	if (!dsm_msg_well_formed(msg) || !msg->length != !frame ||
	    msg->requester >= d->cfg.nr_hosts || from >= d->cfg.nr_hosts || from == dsm_self(d))
		goto out_fail;
	if (msg->epoch != d->cfg.epoch) {
		err = -ESTALE;
		goto out_fail;
	}
	if (!dsm_lookup(d, msg->gfn, &r))
		goto out_fail;

	err = dispatch(d, &r, from, msg, &frame, now_ns);
out_fail:
	if (err) {
		dsm_trace(d, &r, DSM_STEP_BAD, msg->type, from);
		dsm_fail(d);
	}
out_put:
	if (frame)
		d->cfg.ops->put_frame(d->cfg.ctx, msg->gfn, frame);
	return err;
}

int dsm_post(struct dsm *d, struct dsm_ref *r, u32 to, struct dsm_msg *msg,
	     void *frame, u32 flags, u64 now_ns)
{
	static const u8 events[DSM_MSG_NR] = {
		[DSM_MSG_REQ_S]		= DSM_EV_TX_REQ_S,
		[DSM_MSG_REQ_X]		= DSM_EV_TX_REQ_X,
		[DSM_MSG_FWD_S]		= DSM_EV_TX_FWD_S,
		[DSM_MSG_FWD_X]		= DSM_EV_TX_FWD_X,
		[DSM_MSG_INV]		= DSM_EV_TX_INV,
		[DSM_MSG_DATA]		= DSM_EV_TX_DATA,
		[DSM_MSG_INV_ACK]	= DSM_EV_TX_INV_ACK,
		[DSM_MSG_DONE]		= DSM_EV_TX_DONE,
		[DSM_MSG_HURRY]		= DSM_EV_TX_HURRY,
	};
	void *none = NULL;

	msg->gfn = r->gfn;
	msg->epoch = d->cfg.epoch;
	msg->length = frame ? DSM_PAGE_SIZE : 0;
	if (to == dsm_self(d))
		return dispatch(d, r, to, msg, &none, now_ns);

	dsm_count(d, events[msg->type]);
	if (frame)
		dsm_count(d, DSM_EV_TX_PAGE);
	if (msg->type == DSM_MSG_DATA && r->dir)
		dsm_dir_answered(r, msg);
	d->cfg.ops->send(d->cfg.ctx, to, msg, frame, flags);
	return 0;
}

void dsm_teardown(struct dsm *d)
{
	const struct dsm_ops *ops = d->cfg.ops;
	u32 i;
	u64 k;

	dsm_fail(d);
	for (i = 0; i < d->cfg.nr_ranges; i++) {
		const struct dsm_range *range = &d->cfg.ranges[i];

		for (k = 0; k < range->nr_gfns; k++) {
			struct dsm_page *p = &range->pages[k];
			struct dsm_rec *rec = dsm_rec(p);
			u64 gfn = range->first_gfn + k;

			if (ops->relax && !(k % RELAX_EVERY))
				ops->relax(d->cfg.ctx);
			if (rec) {
				p->word = rec->frame;
				p->has_rec = 0;
				if (rec->data)
					ops->put_frame(d->cfg.ctx, gfn, rec->data);
				ops->free_rec(d->cfg.ctx, rec);
			}
			if (p->word)
				ops->put_frame(d->cfg.ctx, gfn, p->word);
			memset(p, 0, sizeof(*p));
		}
	}
}

const char *dsm_event_name(unsigned int event)
{
	static const char *const names[DSM_EV_NR] = {
#define X(name, text) [DSM_EV_##name] = #text,
		DSM_EVENTS(X)
#undef X
	};

	return event < DSM_EV_NR ? names[event] : "?";
}
