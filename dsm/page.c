// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host's side of the protocol: local accesses and the requests they cause,
 * revocations asked by a home and how long a hold may put them off, answers and
 * acknowledgements until a request is complete.
 */
#include "core.h"

#define GRANT_MASK	((1U << 24) - 1)
/* now_ns may be a little older than the grant: time read before the lock.  1 s. */
#define CLOCK_SLACK	65536U
#define HOLD_EXP_SHIFT	10
#define HOLD_MANTISSA	((1U << HOLD_EXP_SHIFT) - 1)
/* dsm_page.age of what came ahead, until it is used. */
#define AGE_AHEAD	0x7fffU
#define AGE_MOST	(AGE_AHEAD - 1)
/* It is held for so many travel times: another page or two come first. */
#define AHEAD_TRAVELS	2
/* Hold ticks in a tick of ages. */
#define AGE_SHIFT	(DSM_TICK_SHIFT - DSM_HOLD_SHIFT)

static u32 ticks_up(u64 ns)
{
	return (u32)((ns + DSM_HOLD_NS - 1) >> DSM_HOLD_SHIFT);
}

/* dsm_page.hold; rounded up. */
static u32 hold_pack(u32 ticks)
{
	u32 exp = 0;

	if (ticks > DSM_HOLD_TICKS)
		ticks = DSM_HOLD_TICKS;
	for (; ticks > HOLD_MANTISSA; ticks = (ticks + 1) / 2)
		exp++;
	return exp << HOLD_EXP_SHIFT | ticks;
}

static u32 hold_unpack(u32 hold)
{
	return (hold & HOLD_MANTISSA) << (hold >> HOLD_EXP_SHIFT);
}

static void set_state(struct dsm *d, struct dsm_ref *r, enum dsm_state state)
{
	dsm_trace(d, r, DSM_STEP_STATE, r->page->state, state);
	r->page->state = state;
}

static void wake(struct dsm *d, struct dsm_ref *r)
{
	struct dsm_rec *rec = dsm_rec(r->page);

	if (!rec || !rec->sleepers)
		return;
	rec->sleepers = false;
	if (!dsm_bug(LOST_WAKE))
		d->cfg.ops->wake(d->cfg.ctx, r->gfn);
}

/* ------------------------------------------------------------------ hold */

/* Hold ticks since the grant. */
static u32 hold_run(const struct dsm_page *p, u64 now_ns)
{
	u32 run = ((u32)(now_ns >> DSM_HOLD_SHIFT) - (u32)p->grant) & GRANT_MASK;

	return run > GRANT_MASK - CLOCK_SLACK ? 0 : run;
}

/* End of the page's hold; @now_ns or earlier when it is not held. */
static u64 hold_end(const struct dsm_page *p, u64 now_ns)
{
	u32 run = hold_run(p, now_ns), hold = hold_unpack(p->hold);

	if (run >= hold)
		return now_ns;
	return ((now_ns >> DSM_HOLD_SHIFT) + hold - run) << DSM_HOLD_SHIFT;
}

/* Has it come by dsm_ahead(), in vain so far? */
static bool unused(const struct dsm_page *p)
{
	return p->age == AGE_AHEAD;
}

static void hold_start(struct dsm *d, struct dsm_ref *r, u32 since, u64 now_ns)
{
	struct dsm_page *p = r->page;
	u16 age;

	/* now_ns may be from before the wait began: else age and hold would not fit. */
	if ((s32)(dsm_tick(now_ns) - since) < 0)
		now_ns = (u64)since << DSM_TICK_SHIFT;
	p->grant = (now_ns >> DSM_HOLD_SHIFT) & GRANT_MASK;
	age = dsm_age_pack(dsm_age(since, now_ns));
	p->age = (age < AGE_MOST ? age : AGE_MOST) & 0x7fff;
	p->hold = dsm_bug(NO_HOLD) ? 0 : hold_pack(ticks_up(dsm_hold_max(d, r->home)) + 1) & 0x1fff;
}

/* Of a page that nobody has waited for.  It gives way to who does, if that is the older. */
static void hold_start_ahead(struct dsm *d, struct dsm_ref *r, u64 now_ns)
{
	struct dsm_page *p = r->page;
	u64 hold = AHEAD_TRAVELS * dsm_min_run_ns(d, r->gfn), most = dsm_hold_max(d, r->home);

	hold_start(d, r, dsm_tick(now_ns), now_ns);
	p->age = AGE_AHEAD;
	if (p->hold)
		p->hold = hold_pack(ticks_up(hold < most ? hold : most)) & 0x1fff;
}

/* How long the instruction that the page is held for has been trying by now. */
static u32 hold_age(const struct dsm_page *p, u64 now_ns)
{
	u32 age = unused(p) ? 0 : dsm_age_unpack(p->age);

	age += hold_run(p, now_ns) >> AGE_SHIFT;
	return age > DSM_AGE_TICKS ? DSM_AGE_TICKS : age;
}

/* Does an instruction of @host, this old, go before the one the page is held for? */
static bool goes_first(const struct dsm *d, const struct dsm_page *p, u32 age, u32 host,
		       u64 now_ns)
{
	return !dsm_bug(NO_AGE) && dsm_outranks(age, host, hold_age(p, now_ns), dsm_self(d));
}

/*
 * When the deferred message is to be performed.  The timer that is set already
 * serves for a later time too: dsm_timer() finds that and sets it anew.
 */
static void set_due(struct dsm *d, struct dsm_ref *r, struct dsm_rec *rec, u64 due_ns)
{
	rec->due_ns = due_ns;
	if (rec->timer_ns && rec->timer_ns <= due_ns)
		return;
	rec->timer_ns = due_ns;
	if (!dsm_bug(DEFER_DROP))
		d->cfg.ops->set_timer(d->cfg.ctx, r->gfn, rec, due_ns);
}

/* When an instruction of this age is in the next class. */
static u64 next_class_ns(u32 age, u64 now_ns)
{
	u32 ticks = dsm_age_next_class(age);

	return ticks ? now_ns + ((u64)ticks << DSM_TICK_SHIFT) : ~0ULL;
}

/*
 * Set when the deferred message is to be performed: at the end of the hold, or soon if
 * who asks, or who waits behind him, goes first.  Either may come to do so by waiting:
 * then it is looked at again.
 */
static void put_off(struct dsm *d, struct dsm_ref *r, struct dsm_rec *rec, u64 now_ns)
{
	u32 asks = dsm_age(rec->asks_since, now_ns), waits = dsm_age(rec->waits_since, now_ns);
	u64 due = hold_end(r->page, now_ns), look = rec->yield_ns, next;

	if (look == ~0ULL && (goes_first(d, r->page, asks, rec->deferred.requester, now_ns) ||
			      goes_first(d, r->page, waits, rec->waits, now_ns))) {
		dsm_count(d, DSM_EV_HOLD_YIELD);
		look = rec->yield_ns = now_ns + dsm_hold_yield(d, r->home);
	}
	if (look == ~0ULL) {
		look = next_class_ns(asks, now_ns);
		next = next_class_ns(waits, now_ns);
		if (next < look)
			look = next;
	}
	set_due(d, r, rec, look < due ? look : due);
}

void dsm_hold(struct dsm *d, u64 gfn, u64 since_ns, u64 until_ns, u64 now_ns)
{
	u32 limit = ticks_up(d->cfg.hold_limit_ns);
	struct dsm_page *p;
	struct dsm_rec *rec;
	struct dsm_ref r;
	u64 hold;
	u32 held;

	if (!dsm_lookup(d, gfn, &r))
		return;
	p = r.page;
	if (p->state == DSM_INVALID || !p->hold || unused(p))
		return;

	/* Another of this host's instructions, an older one, still needs it. */
	if (until_ns < hold_end(p, now_ns) &&
	    dsm_age(dsm_tick(since_ns), now_ns) < hold_age(p, now_ns))
		return;
	if (until_ns <= now_ns) {
		p->hold = 0;
	} else {
		hold = hold_run(p, now_ns) + 1 +
		       ((until_ns - now_ns + DSM_HOLD_NS - 1) >> DSM_HOLD_SHIFT);
		held = hold_unpack(p->hold);
		if (limit < held)
			limit = held;
		p->hold = hold_pack(hold < limit ? (u32)hold : limit) & 0x1fff;
	}

	rec = dsm_rec(p);
	if (!rec || !rec->deferred.type || rec->revoking)
		return;
	put_off(d, &r, rec, now_ns);
}

/* ---------------------------------------------------------- revocation */

/*
 * Asked to supply a reader of a migratory page: does the page go to him as a
 * whole?  Not if this host got it that way itself and did not write it.  The
 * answer does not change while protect() is being retried: no write is granted.
 */
static bool hands_over(const struct dsm_page *p, const struct dsm_msg *msg)
{
	return msg->type == DSM_MSG_FWD_S && (msg->flags & DSM_F_EXCL) && p->written;
}

static enum dsm_prot revoke_level(const struct dsm_page *p, const struct dsm_msg *msg)
{
	if (msg->type != DSM_MSG_FWD_S || (hands_over(p, msg) && !dsm_bug(KEEP_COPY)))
		return DSM_PROT_NONE;
	return DSM_PROT_READ;
}

static bool revoke_needs_protect(const struct dsm_page *p, const struct dsm_msg *msg)
{
	/* A reader's copy of a page that is read-only here changes nothing here. */
	return msg->type != DSM_MSG_FWD_S || p->state == DSM_EXCLUSIVE;
}

static int revoke_busy(struct dsm *d, struct dsm_ref *r, const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_rec *rec = dsm_get_rec(d, r);

	if (!rec)
		return -ENOMEM;
	dsm_count(d, DSM_EV_PROTECT_BUSY);
	dsm_mark_if(hands_over(r->page, msg), OFFER_BUSY);
	dsm_mark_if(r->page->state == DSM_EXCLUSIVE && !r->page->written, CLEAN_BUSY);
	rec->revoking = true;
	if (!rec->deferred.type) {
		rec->deferred = *msg;
		rec->came = dsm_delay_clock(now_ns);
	}
	set_due(d, r, rec, now_ns + (d->cfg.retry_ns << rec->tries));
	dsm_trace(d, r, DSM_STEP_DEFER, msg->type, msg->requester);
	if (rec->tries < 6)
		rec->tries++;
	return 0;
}

static void mark_revoke(const struct dsm_page *p, const struct dsm_rec *rec,
			const struct dsm_msg *msg)
{
	bool upgrading = rec && rec->req == DSM_MSG_REQ_X;
	bool same = msg->flags & DSM_F_SAME;

	switch (msg->type) {
	case DSM_MSG_FWD_S:
		dsm_mark_if(p->state == DSM_SHARED, FWD_S_SHARED);
		dsm_mark_if(p->state == DSM_OWNED, FWD_S_OWNED);
		dsm_mark_if(p->state == DSM_EXCLUSIVE, FWD_S_EXCLUSIVE);
		dsm_mark_if(upgrading, FWD_S_MEETS_UPGRADE);
		break;
	case DSM_MSG_FWD_X:
		dsm_mark_if(p->state == DSM_OWNED && !same, FWD_X_OWNED);
		dsm_mark_if(p->state == DSM_EXCLUSIVE, FWD_X_EXCLUSIVE);
		dsm_mark_if(p->state == DSM_SHARED, SAME_SHARED);
		dsm_mark_if(p->state == DSM_OWNED && same, SAME_OWNED);
		dsm_mark_if(upgrading, FWD_X_MEETS_UPGRADE);
		break;
	case DSM_MSG_INV:
		dsm_mark_if(p->state == DSM_SHARED, INV_SHARED);
		dsm_mark_if(upgrading, INV_MEETS_UPGRADE);
		break;
	}
}

static void mark_unused(const struct dsm_page *p, const struct dsm_msg *msg)
{
	if (!unused(p))
		return;
	dsm_mark_if(msg->type == DSM_MSG_INV, AHEAD_READ_LOST);
	dsm_mark_if(msg->type == DSM_MSG_FWD_X, AHEAD_WRITE_LOST);
	dsm_mark_if(msg->type == DSM_MSG_FWD_S && p->state == DSM_EXCLUSIVE, AHEAD_WRITE_SHARED);
	dsm_mark_if(msg->type == DSM_MSG_FWD_S && (msg->flags & DSM_F_EXCL), AHEAD_OFFER);
}

/* Give up rights as a home's message asks, now.  May find the page busy and defer. */
static int revoke(struct dsm *d, struct dsm_ref *r, const struct dsm_msg *asked, u64 now_ns)
{
	/* *asked may lie in the record, which goes away below */
	const struct dsm_msg msg = *asked;
	struct dsm_msg reply = {
		.type = msg.type == DSM_MSG_INV ? DSM_MSG_INV_ACK : DSM_MSG_DATA,
		.requester = msg.requester,
		.version = msg.version,
		.delay = msg.delay,
	};
	struct dsm_page *p = r->page;
	bool whole = msg.type != DSM_MSG_FWD_S || hands_over(p, &msg);
	/* Of what came ahead nobody has read either: it tells nothing of how it migrates. */
	bool clean = p->state == DSM_EXCLUSIVE && !p->written && !unused(p);
	void *frame = dsm_frame(p);
	struct dsm_rec *rec;
	u32 flags = 0;
	int err;

	if (revoke_needs_protect(p, &msg) &&
	    !(dsm_bug(ACK_EARLY) && msg.type == DSM_MSG_INV) &&
	    !(dsm_bug(DOWNGRADE_EARLY) && msg.type == DSM_MSG_FWD_S)) {
		err = d->cfg.ops->protect(d->cfg.ctx, r->gfn, frame, revoke_level(p, &msg));
		if (err == -EAGAIN)
			return revoke_busy(d, r, &msg, now_ns);
		if (err)
			return -EPROTO;
	}

	rec = dsm_rec(p);
	if (rec) {
		if (rec->deferred.type)
			reply.delay = dsm_delay_add(msg.delay, rec->came, now_ns);
		rec->deferred.type = 0;
		rec->timer_ns = 0;
		rec->revoking = false;
		rec->tries = 0;
	}

	if (clean) {
		reply.flags = DSM_F_CLEAN;
		dsm_count(d, DSM_EV_MIGRATORY_CLEAN);
		dsm_mark_if(msg.type == DSM_MSG_FWD_X, CLEAN_FWD_X);
		dsm_mark_if(msg.type == DSM_MSG_FWD_S && !(msg.flags & DSM_F_EXCL), CLEAN_PLAIN_READ);
		dsm_mark_if(msg.type == DSM_MSG_FWD_S && (msg.flags & DSM_F_EXCL), OFFER_KEPT);
	}
	mark_revoke(p, rec, &msg);
	mark_unused(p, &msg);
	if (whole && unused(p))
		dsm_count(d, p->state == DSM_EXCLUSIVE ? DSM_EV_AHEAD_WASTED_WRITE :
							 DSM_EV_AHEAD_WASTED_READ);
	switch (msg.type) {
	case DSM_MSG_FWD_S:
		if (whole) {
			dsm_mark(OFFER_TAKEN);
			reply.flags = DSM_F_EXCL;
			reply.version = (u16)(msg.version + 1);
			flags = DSM_SEND_GIVE;
			dsm_count(d, DSM_EV_REVOKE_OWNER);
		} else if (p->state == DSM_EXCLUSIVE) {
			dsm_count(d, DSM_EV_DOWNGRADE);
			set_state(d, r, DSM_OWNED);
			if (unused(p)) {
				dsm_count(d, DSM_EV_AHEAD_WASTED_WRITE);
				p->age = 0;
			}
		}
		break;
	case DSM_MSG_FWD_X:
		reply.flags |= DSM_F_EXCL;
		reply.acks = msg.acks;
		if (msg.flags & DSM_F_SAME)
			reply.flags |= DSM_F_SAME;
		else
			flags = DSM_SEND_GIVE;
		dsm_count(d, DSM_EV_REVOKE_OWNER);
		break;
	case DSM_MSG_INV:
		dsm_count(d, DSM_EV_REVOKE_SHARER);
		break;
	}

	p->written = 0;
	if (whole) {
		set_state(d, r, DSM_INVALID);
		dsm_set_frame(p, NULL);
		p->hold = 0;
		p->age = 0;
		if (!flags) {
			if (!dsm_bug(FRAME_LEAK))
				d->cfg.ops->put_frame(d->cfg.ctx, r->gfn, frame);
			frame = NULL;
		}
	}

	/* Without a request of our own, who sleeps here waits for this revocation to end. */
	if (rec && !rec->req)
		wake(d, r);
	dsm_put_rec(d, r);
	return dsm_post(d, r, msg.requester, &reply, frame, flags, now_ns);
}

/*
 * FWD or INV from the home.  The home runs one transaction on a page at a time,
 * so at most one of these is here at a time, and none between the answer to our
 * own request and our DONE.
 */
int dsm_page_revoke(struct dsm *d, struct dsm_ref *r, u32 from,
		    const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_page *p = r->page;
	struct dsm_rec *rec = dsm_rec(p);
	bool is_home = from == dsm_self(d);

	if (rec && (rec->deferred.type || rec->answered || rec->acks_from))
		return -EPROTO;

	/* A home that has a Shared copy itself supplies it, or grants for an owner's upgrade. */
	switch (msg->type) {
	case DSM_MSG_FWD_S:
		if (p->state == DSM_INVALID || (p->state == DSM_SHARED && !is_home) ||
		    (p->state != DSM_EXCLUSIVE && (msg->flags & DSM_F_EXCL)) ||
		    p->version != (u8)msg->version)
			return -EPROTO;
		break;
	case DSM_MSG_FWD_X:
		if (p->state == DSM_INVALID ||
		    (p->state == DSM_SHARED && !(is_home && (msg->flags & DSM_F_SAME))) ||
		    (p->state == DSM_EXCLUSIVE && ((msg->flags & DSM_F_SAME) || msg->acks)) ||
		    p->version != (u8)(msg->version - 1))
			return -EPROTO;
		break;
	default:
		/* An owner is never told so: it supplies, or it is the requester. */
		if (p->state != DSM_SHARED ||
		    p->version != (u8)(msg->version - 1))
			return -EPROTO;
		break;
	}

	if (!revoke_needs_protect(p, msg))
		return revoke(d, r, msg, now_ns);
	/* A local instruction that can't go on without the home is not served by a hold. */
	if (rec && rec->req)
		return revoke(d, r, msg, now_ns);

	if (hold_end(p, now_ns) <= now_ns)
		return revoke(d, r, msg, now_ns);

	/* No memory to put it off: a hold is a courtesy, not a promise. */
	rec = dsm_get_rec(d, r);
	if (!rec)
		return revoke(d, r, msg, now_ns);
	rec->deferred = *msg;
	rec->came = dsm_delay_clock(now_ns);
	rec->asks_since = dsm_tick(now_ns) - dsm_age_unpack(msg->age);
	rec->waits_since = rec->asks_since;
	rec->waits = msg->requester;
	rec->yield_ns = ~0ULL;
	put_off(d, r, rec, now_ns);
	if (rec->yield_ns == ~0ULL)
		dsm_count(d, DSM_EV_HOLD_DEFER);
	dsm_mark_if(msg->type == DSM_MSG_FWD_S && (msg->flags & DSM_F_EXCL), OFFER_DEFERRED);
	dsm_trace(d, r, DSM_STEP_DEFER, msg->type, msg->requester);
	return 0;
}

/*
 * An older instruction waits at home behind the transaction whose message is
 * deferred here: yield as if it had asked itself.  Too late is no error.
 */
void dsm_page_hurry(struct dsm *d, struct dsm_ref *r, const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_rec *rec = dsm_rec(r->page);
	u32 age = dsm_age_unpack(msg->age), since = dsm_tick(now_ns) - age;

	dsm_mark_if(!rec || !rec->deferred.type, HURRY_LATE);
	if (!rec || !rec->deferred.type || rec->revoking || rec->yield_ns != ~0ULL)
		return;
	/* Who does not go first yet: the oldest will be the first to. */
	if (!goes_first(d, r->page, age, msg->requester, now_ns) &&
	    (s32)(since - rec->waits_since) >= 0)
		return;
	rec->waits = msg->requester;
	rec->waits_since = since;
	put_off(d, r, rec, now_ns);
}

int dsm_timer(struct dsm *d, u64 gfn, u64 now_ns)
{
	struct dsm_rec *rec;
	struct dsm_ref r;
	int err;

	if (dsm_failed(d) || !dsm_lookup(d, gfn, &r))
		return 0;
	rec = dsm_rec(r.page);
	if (!rec || !rec->deferred.type)
		return 0;
	/* One that was replaced: the other is still to come. */
	if (now_ns < rec->timer_ns)
		return 0;
	rec->timer_ns = 0;
	if (now_ns < rec->due_ns) {
		set_due(d, &r, rec, rec->due_ns);
		return 0;
	}
	if (!rec->revoking && now_ns < rec->yield_ns && hold_end(r.page, now_ns) > now_ns) {
		put_off(d, &r, rec, now_ns);
		dsm_mark_if(rec->yield_ns != ~0ULL, LATE_PRECEDENCE);
		return 0;
	}
	err = revoke(d, &r, &rec->deferred, now_ns);
	dsm_mark_if(!err && r.dir && r.dir->txn_ended, ANSWERED_LATE);
	if (!err)
		err = dsm_dir_settle(d, &r, now_ns);
	if (err)
		dsm_fail(d);
	return err;
}

/* -------------------------------------------------------------- requests */

/* Count a completed request by what it got and the messages on its critical path. */
static void count_fault(struct dsm *d, const struct dsm_ref *r, const struct dsm_rec *rec,
			u64 now_ns)
{
	bool local = r->home == dsm_self(d);
	unsigned int path, ev;

	/* An acknowledgement or page from a third host adds the home's message to it. */
	if (rec->data_from != r->home || (rec->acks_from & ~dsm_bit(r->home)))
		path = local ? 1 : 2;
	else
		path = local ? 0 : 1;

	if (rec->data_flags & DSM_F_ZERO)
		ev = DSM_EV_FAULT_ZERO_0;
	else if (rec->data_flags & DSM_F_SAME)
		ev = DSM_EV_FAULT_UPGRADE_0;
	else if (rec->req == DSM_MSG_REQ_X)
		ev = DSM_EV_FAULT_WRITE_0;
	else
		ev = DSM_EV_FAULT_READ_0;
	dsm_count(d, ev + path);
	if (d->cfg.ops->done)
		d->cfg.ops->done(d->cfg.ctx, r->gfn, ev + path,
				 now_ns > rec->asked_ns ? now_ns - rec->asked_ns : 0);

	if (rec->req == DSM_MSG_REQ_S && (rec->data_flags & DSM_F_EXCL))
		dsm_count(d, rec->data_flags & DSM_F_ZERO ? DSM_EV_READ_EXCLUSIVE :
							    DSM_EV_READ_MIGRATORY);
	if (rec->have && !(rec->data_flags & DSM_F_SAME))
		dsm_count(d, DSM_EV_UPGRADE_LOST);
}

/*
 * How long does a page travel?  From request to completion, less what @last, the message
 * that completed it, says of its waits; where a page came over a link.
 */
static void measure(struct dsm *d, const struct dsm_ref *r, const struct dsm_rec *rec,
		    const struct dsm_msg *last, u64 now_ns)
{
	u32 delay = dsm_delay_unpack(last->delay);
	u64 since = rec->asked_ns + ((u64)delay << DSM_DELAY_SHIFT);

	if ((rec->data_flags & (DSM_F_SAME | DSM_F_ZERO)) || delay == DSM_DELAY_MOST)
		return;
	dsm_note_travel(d, r->home, now_ns > since ? now_ns - since : 0);
}

/* Finish our request if the answer and, with @last, all acknowledgements are here. */
static int complete(struct dsm *d, struct dsm_ref *r, const struct dsm_msg *last, u64 now_ns)
{
	struct dsm_page *p = r->page;
	struct dsm_rec *rec = dsm_rec(p);
	struct dsm_msg done = {
		.type = DSM_MSG_DONE,
		.requester = (u8)dsm_self(d),
		.version = rec->version,
		.flags = rec->data_flags & (DSM_F_EXCL | DSM_F_CLEAN),
	};
	int err;

	if (!rec->answered)
		return 0;
	if (dsm_weight64(rec->acks_from) < rec->acks_needed) {
		if (dsm_bug(NO_WAIT_ACKS)) {
			if (rec->data)
				dsm_set_frame(p, rec->data);
			rec->data = NULL;
			p->version = (u8)rec->version;
			p->state = DSM_EXCLUSIVE;
			wake(d, r);
		}
		if (dsm_bug(EARLY_DONE)) {
			err = dsm_post(d, r, r->home, &done, NULL, 0, now_ns);
			if (err)
				return err;
		}
		return 0;
	}
	if (dsm_weight64(rec->acks_from) > rec->acks_needed)
		return -EPROTO;

	if (!rec->ahead)
		count_fault(d, r, rec, now_ns);
	measure(d, r, rec, last, now_ns);
	if (rec->data) {
		dsm_set_frame(p, rec->data);
		rec->data = NULL;
	}
	p->version = (u8)rec->version;
	set_state(d, r, rec->data_flags & DSM_F_EXCL ? DSM_EXCLUSIVE : DSM_SHARED);
	/* Handed over on a read: it shows whether the read is followed by a write. */
	p->written = !rec->ahead && (rec->req == DSM_MSG_REQ_X || (rec->data_flags & DSM_F_ZERO));
	if (!rec->ahead) {
		hold_start(d, r, rec->since, now_ns);
	} else {
		hold_start_ahead(d, r, now_ns);
		dsm_mark(AHEAD_CAME);
		dsm_mark_if(rec->have && !(rec->data_flags & DSM_F_SAME), AHEAD_COPY_LOST);
	}

	if (dsm_bug(EARLY_DONE) && rec->acks_needed)
		done.type = 0;
	/* The home that has answered alone knows (see dsm_dir_answered()). */
	if (r->home != dsm_self(d) && rec->data_from == r->home && !rec->acks_needed)
		done.type = 0;
	rec->req = 0;
	rec->answered = false;
	rec->acks_from = 0;
	wake(d, r);
	dsm_put_rec(d, r);
	if (!done.type)
		return 0;
	/* Last: at home this starts the next transaction. */
	return dsm_post(d, r, r->home, &done, NULL, 0, now_ns);
}

/* The answer to our request.  Takes *@frame over when it returns with it NULL. */
int dsm_page_data(struct dsm *d, struct dsm_ref *r, u32 from,
		  const struct dsm_msg *msg, void **frame, u64 now_ns)
{
	struct dsm_page *p = r->page;
	struct dsm_rec *rec = dsm_rec(p);

	if (!rec || !rec->req || rec->answered || rec->deferred.type)
		return -EPROTO;
	if (rec->version_known && rec->version != msg->version)
		return -EPROTO;
	if (msg->acks >= d->cfg.nr_hosts)
		return -EPROTO;

	if (rec->req == DSM_MSG_REQ_X && !(msg->flags & DSM_F_EXCL))
		return -EPROTO;
	if (rec->req == DSM_MSG_REQ_S && msg->acks)
		return -EPROTO;

	if (msg->flags & DSM_F_SAME) {
		if (p->state == DSM_INVALID || (u8)msg->version != (u8)(p->version + 1))
			return -EPROTO;
	} else if (p->state != DSM_INVALID) {
		return -EPROTO;
	}

	if (msg->flags & DSM_F_ZERO) {
		if (from != r->home || msg->version != 1)
			return -EPROTO;
		if (!rec->data)
			rec->data = d->cfg.ops->alloc_zero(d->cfg.ctx, r->gfn);
		if (!rec->data)
			return -ENOMEM;
	} else if (!(msg->flags & DSM_F_SAME)) {
		if (!*frame || rec->data)
			return -EPROTO;
		rec->data = *frame;
		*frame = NULL;
	}

	dsm_trace(d, r, DSM_STEP_GRANT, msg->flags, from);
	dsm_mark_if(!(msg->flags & DSM_F_EXCL), DATA_SHARED);
	dsm_mark_if(rec->req == DSM_MSG_REQ_X && !(msg->flags & (DSM_F_SAME | DSM_F_ZERO)),
		    DATA_EXCLUSIVE);
	dsm_mark_if(msg->flags & DSM_F_SAME, DATA_SAME);
	dsm_mark_if(rec->req == DSM_MSG_REQ_S && (msg->flags & DSM_F_ZERO), DATA_ZERO_READ);
	dsm_mark_if(rec->req == DSM_MSG_REQ_X && (msg->flags & DSM_F_ZERO), DATA_ZERO_WRITE);
	dsm_mark_if(rec->req == DSM_MSG_REQ_S && (msg->flags & (DSM_F_EXCL | DSM_F_ZERO)) ==
		    DSM_F_EXCL, DATA_MIGRATORY);
	dsm_mark_if(rec->acks_from, ACK_BEFORE_DATA);
	dsm_mark_if(dsm_weight64(rec->acks_from) < msg->acks, DATA_BEFORE_ACKS);
	rec->answered = true;
	rec->data_from = (u8)from;
	rec->data_flags = msg->flags;
	rec->acks_needed = msg->acks;
	rec->version = msg->version;
	rec->version_known = true;
	return complete(d, r, msg, now_ns);
}

/* A sharer's copy is gone.  May come before the answer that tells how many will. */
int dsm_page_ack(struct dsm *d, struct dsm_ref *r, u32 from,
		 const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_rec *rec = dsm_rec(r->page);

	if (!rec || rec->req != DSM_MSG_REQ_X || rec->deferred.type ||
	    (rec->acks_from & dsm_bit(from)))
		return -EPROTO;
	if (rec->version_known && rec->version != msg->version)
		return -EPROTO;
	rec->version = msg->version;
	rec->version_known = true;
	rec->acks_from |= dsm_bit(from);
	return complete(d, r, msg, now_ns);
}

/* Ask the home; @ahead: nobody waits.  -ENOMEM: nothing has happened. */
static int request(struct dsm *d, struct dsm_ref *r, enum dsm_want want, bool ahead, u32 since,
		   u64 now_ns)
{
	bool write = want == DSM_WRITE;
	struct dsm_page *p = r->page;
	bool fresh = !p->has_rec;
	struct dsm_rec *rec = dsm_get_rec(d, r);
	struct dsm_msg msg = {
		.type = write ? DSM_MSG_REQ_X : DSM_MSG_REQ_S,
		.requester = (u8)dsm_self(d),
		.age = dsm_age_pack(dsm_age(since, now_ns)),
	};

	if (!rec)
		return -ENOMEM;
	/* Our own home would answer "zero" at once: find the memory first. */
	if (r->dir && !r->dir->owner && !r->dir->txn) {
		rec->data = d->cfg.ops->alloc_zero(d->cfg.ctx, r->gfn);
		if (!rec->data) {
			if (fresh)
				dsm_put_rec(d, r);
			return -ENOMEM;
		}
	}
	dsm_mark_if(write && p->state == DSM_SHARED, LOCAL_WRITE_SHARED);
	dsm_mark_if(write && p->state == DSM_OWNED, LOCAL_WRITE_OWNED);
	if (write && p->state != DSM_INVALID) {
		msg.flags = DSM_F_HAVE;
		msg.version = p->version;
	}
	if (want == DSM_READ_PLAIN)
		msg.flags = DSM_F_PLAIN;

	rec->req = msg.type;
	rec->since = since;
	rec->asked_ns = now_ns;
	rec->have = msg.flags & DSM_F_HAVE;
	rec->ahead = ahead;
	rec->answered = false;
	rec->version_known = false;
	rec->acks_from = 0;
	dsm_trace(d, r, DSM_STEP_REQUEST, msg.type, r->home);
	return dsm_post(d, r, r->home, &msg, NULL, 0, now_ns);
}

/* Does the page's state allow the access, given what is being revoked? */
static bool satisfied(const struct dsm_page *p, bool write, bool *writable)
{
	const struct dsm_rec *rec = dsm_rec(p);
	bool revoking = rec && rec->revoking && !dsm_bug(REVOKE_MAPS);

	if (revoking && revoke_level(p, &rec->deferred) == DSM_PROT_NONE)
		return false;
	*writable = p->state == DSM_EXCLUSIVE && !revoking && (write || p->written);
	return write ? *writable : p->state != DSM_INVALID;
}

/*
 * An access joins the host's request.  If it is older by a class than those for
 * whom that was made, the home must know, or the request would wait as they do.
 */
static int join(struct dsm *d, struct dsm_ref *r, u32 since, u64 now_ns)
{
	struct dsm_rec *rec = dsm_rec(r->page);
	u32 before = dsm_age(rec->since, now_ns), age = dsm_age(since, now_ns);
	struct dsm_msg msg = {
		.type = DSM_MSG_HURRY,
		.requester = (u8)dsm_self(d),
		.age = dsm_age_pack(age),
	};

	if (rec->ahead) {
		/* From now on it is this instruction's. */
		rec->ahead = false;
		dsm_count(d, DSM_EV_AHEAD_LATE);
		dsm_mark(AHEAD_JOINED);
		dsm_mark_if(dsm_age_class(age) > dsm_age_class(before), AHEAD_OLDER);
	} else {
		dsm_count(d, DSM_EV_COALESCED);
		if ((s32)(since - rec->since) >= 0)
			return 0;
	}
	rec->since = since;
	if (dsm_age_class(age) <= dsm_age_class(before))
		return 0;
	dsm_mark(OLDER_JOINS);
	return dsm_post(d, r, r->home, &msg, NULL, 0, now_ns);
}

static int wait_for(struct dsm_rec *rec)
{
	rec->sleepers = true;
	return DSM_WAIT;
}

/*
 * An access that is granted: would it have had to wait, had the page not come ahead, or
 * as a whole on a read?
 */
static bool note_access(struct dsm *d, struct dsm_ref *r, bool write, u32 since, u64 now_ns)
{
	struct dsm_page *p = r->page;
	bool spared = unused(p);

	if (spared) {
		dsm_count(d, write ? DSM_EV_AHEAD_USED_WRITE : DSM_EV_AHEAD_USED_READ);
		dsm_mark_if(!write, AHEAD_READ_USED);
		dsm_mark_if(write, AHEAD_WRITE_USED);
		hold_start(d, r, since, now_ns);
	}
	if (!write || p->written || dsm_bug(WRITTEN_LOST))
		return spared;
	p->written = 1;
	if (!spared)
		dsm_count(d, DSM_EV_MIGRATORY_WRITTEN);
	dsm_mark(WRITE_LOCAL);
	dsm_mark_if(dsm_rec(p) && dsm_rec(p)->deferred.type, WRITE_IN_HOLD);
	return true;
}

int dsm_access(struct dsm *d, u64 gfn, enum dsm_want want, u64 since_ns, u64 now_ns,
	       struct dsm_grant *grant)
{
	bool write = want == DSM_WRITE;
	u32 since = dsm_tick(since_ns < now_ns ? since_ns : now_ns);
	struct dsm_rec *rec;
	struct dsm_ref r;
	int err;

	if (!dsm_lookup(d, gfn, &r))
		return -ENOENT;
	grant->spared = false;

	for (;;) {
		if (satisfied(r.page, write, &grant->writable)) {
			grant->frame = dsm_frame(r.page);
			rec = dsm_rec(r.page);
			dsm_mark_if(rec && rec->req == DSM_MSG_REQ_X && rec->answered,
				    READ_DURING_UPGRADE);
			grant->spared = note_access(d, &r, write, since, now_ns);
			return DSM_GRANTED;
		}
		if (dsm_failed(d))
			return -EIO;

		rec = dsm_rec(r.page);
		if (rec && rec->req) {
			grant->spared = rec->ahead;
			err = join(d, &r, since, now_ns);
			if (!err)
				return wait_for(rec);
			dsm_fail(d);
			return -EPROTO;
		}
		if (rec && rec->revoking) {
			dsm_mark_if(r.page->state == DSM_EXCLUSIVE && !r.page->written,
				    WRITE_BLOCKED);
			return wait_for(rec);
		}
		if (rec && rec->deferred.type) {
			/*
			 * Somebody waits for a page that we hold and now can't
			 * use without the home, which works for him: let go.
			 */
			dsm_count(d, DSM_EV_HOLD_VOID);
			dsm_mark(UPGRADE_VOIDS_HOLD);
			err = revoke(d, &r, &rec->deferred, now_ns);
			if (!err)
				err = dsm_dir_settle(d, &r, now_ns);
		} else {
			err = request(d, &r, want, false, since, now_ns);
			if (err == -ENOMEM && !(dsm_rec(r.page) && dsm_rec(r.page)->req))
				return err;
		}
		if (err) {
			dsm_fail(d);
			return -EPROTO;
		}
		/* At home both may have been answered on the spot: look again. */
		rec = dsm_rec(r.page);
		if (rec && rec->req)
			return wait_for(rec);
	}
}

int dsm_ahead(struct dsm *d, u64 gfn, bool write, u64 now_ns)
{
	struct dsm_page *p;
	struct dsm_ref r;
	int err;

	if (dsm_failed(d) || !dsm_lookup(d, gfn, &r))
		return 0;
	p = r.page;
	if (p->has_rec || (r.dir && (r.dir->txn || !r.dir->owner)))
		return 0;
	if (write ? p->state == DSM_EXCLUSIVE : p->state != DSM_INVALID)
		return 0;
	/* With a request under way a copy is not held any more, see dsm_page_revoke(). */
	if (p->state != DSM_INVALID && hold_end(p, now_ns) > now_ns) {
		dsm_mark(AHEAD_HELD);
		return 0;
	}
	err = request(d, &r, write ? DSM_WRITE : DSM_READ_PLAIN, true, dsm_tick(now_ns), now_ns);
	if (err == -ENOMEM && !(dsm_rec(p) && dsm_rec(p)->req))
		return 0;
	if (err) {
		dsm_fail(d);
		return -EPROTO;
	}
	dsm_count(d, write ? DSM_EV_AHEAD_WRITE : DSM_EV_AHEAD_READ);
	return 1;
}
