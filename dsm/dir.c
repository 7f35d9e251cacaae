// SPDX-License-Identifier: GPL-2.0-only
/*
 * The home's side of the protocol: the directory entry of a page and the
 * transactions that change it, one at a time.
 */
#include "core.h"

/*
 * The age of the running transaction's instruction, or up to 64 ticks less: never more,
 * or who waits and really has precedence over it would wait without a word.
 */
static u32 txn_age(const struct dsm_home *dir, u64 now_ns)
{
	s16 age = (s16)((dsm_tick(now_ns) >> 5) - dir->txn_since);

	return age > 1 ? (u32)(age - 1) << 5 : 0;
}

static u32 owner_of(const struct dsm_home *dir)
{
	return dir->owner - 1U;
}

/* DATA without a page: the home itself answers for the directory. */
static int answer(struct dsm *d, struct dsm_ref *r, u32 requester, u16 flags, u32 version,
		  u32 acks, u16 delay, u64 now_ns)
{
	struct dsm_msg msg = {
		.type = DSM_MSG_DATA,
		.requester = (u8)requester,
		.flags = flags,
		.version = version,
		.acks = (u8)acks,
		.delay = delay,
	};

	return dsm_post(d, r, requester, &msg, NULL, 0, now_ns);
}

/* ------------------------------------------------------------- migration */

/*
 * A page is migratory when each host reads it and then writes it, so that it
 * moves as a whole: the write by the only reader is the evidence.  Then a read
 * takes it Exclusive.  Who gives such a page up unwritten says so (CLEAN), and the
 * next time it takes more evidence in a row.
 */
static void saw_migration(struct dsm *d, struct dsm_home *dir)
{
	static const u8 needed[] = { 1, 1, 2, 4 };

	dsm_count(d, DSM_EV_HOME_MIGRATORY);
	if (dir->migratory || d->cfg.no_migratory)
		return;
	dir->evidence++;
	if (dir->evidence < needed[dir->doubt])
		return;
	dir->migratory = 1;
	dir->evidence = 0;
	dsm_count(d, DSM_EV_HOME_PROMOTE);
}

/* A page with several readers, or written by another than its reader. */
static void saw_sharing(struct dsm_home *dir)
{
	if (!dir->migratory)
		dir->evidence = 0;
}

/* A page was handed over on a read by one who had written it: doubts fade. */
static void saw_success(struct dsm_home *dir)
{
	if (!dir->doubt || !dir->migratory)
		return;
	dir->evidence++;
	if (dir->evidence == 3) {
		dir->evidence = 0;
		dir->doubt--;
		dsm_mark(DOUBT_FADES);
	}
}

/* A page was handed over on a read and then not written. */
static void saw_failure(struct dsm *d, struct dsm_home *dir)
{
	if (!dir->migratory)
		return;
	dir->migratory = 0;
	dir->evidence = 0;
	dsm_mark_if(dir->doubt == 3, DOUBT_MOST);
	if (dir->doubt < 3)
		dir->doubt++;
	dsm_count(d, DSM_EV_HOME_DEMOTE);
}

/* ---------------------------------------------------------- transactions */

static int start_read(struct dsm *d, struct dsm_ref *r, u32 requester,
		      const struct dsm_waiter *w, u16 age, u16 delay, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_msg msg = {
		.type = DSM_MSG_FWD_S,
		.requester = (u8)requester,
		.version = dir->version,
		.age = age,
		.delay = delay,
	};
	u32 supplier = owner_of(dir);

	if ((dir->sharers & dsm_bit(requester)) || supplier == requester)
		return -EPROTO;
	if (dir->sharers & dsm_bit(dsm_self(d)))
		supplier = dsm_self(d);

	dir->last_reader = w->flags & DSM_F_PLAIN ? 0 : (requester + 1) & 0x7f;
	if (w->flags & DSM_F_PLAIN)
		dsm_count(d, DSM_EV_HOME_PLAIN_READ);
	/* The owner has the last word: unwritten, it gives a copy all the same. */
	if (dir->migratory && !(w->flags & DSM_F_PLAIN) &&
	    (!dir->sharers || dsm_bug(OFFER_SHARED))) {
		dir->txn_offer = 1;
		msg.flags = DSM_F_EXCL;
		dsm_mark(OFFER);
		dsm_mark_if(supplier == dsm_self(d), OFFER_AT_HOME);
	}
	dsm_mark_if(dir->migratory && (w->flags & DSM_F_PLAIN), NO_OFFER_PLAIN);
	dsm_mark_if(dir->migratory && dir->sharers, NO_OFFER_COPIES);
	return dsm_post(d, r, supplier, &msg, NULL, 0, now_ns);
}

static int start_write(struct dsm *d, struct dsm_ref *r, u32 requester,
		       const struct dsm_waiter *w, u16 age, u16 delay, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	u64 copies = dir->sharers | dsm_bit(owner_of(dir));
	u64 inv = copies & ~dsm_bit(requester), left;
	bool same = copies & dsm_bit(requester);
	u32 self = dsm_self(d), granter, acks;
	struct dsm_msg msg = {
		.requester = (u8)requester,
		.version = (u16)(dir->version + 1),
		.age = age,
		.delay = delay,
	};
	int err;

	if (same && (!(w->flags & DSM_F_HAVE) || w->version != (u8)dir->version))
		return -EPROTO;
	if (!inv)
		return -EPROTO;		/* it is Exclusive there */
	if (dsm_bug(STALE_SAME) && (w->flags & DSM_F_HAVE))
		same = true;
	if (dir->sharers == dsm_bit(requester) && dir->last_reader == requester + 1)
		saw_migration(d, dir);
	else if (dir->sharers)
		saw_sharing(dir);
	if (dir->sharers && owner_of(dir) == requester)
		dsm_count(d, DSM_EV_HOME_OWNER_UPGRADE);

	/*
	 * One host answers the requester, with the page if it needs it: the
	 * owner, or for the owner's own upgrade this host.  If this host has a
	 * copy it gives it up in the same step; all others get INV.
	 */
	granter = owner_of(dir) != requester ? owner_of(dir) : self;
	inv &= ~dsm_bit(granter);
	acks = dsm_weight64(inv);
	if (dsm_bug(LOST_INV) && (inv & ~dsm_bit(self))) {
		inv &= inv - 1;
		acks = dsm_weight64(inv);
	}

	/* Remote work first, in parallel; what happens here may sleep, or end it all. */
	msg.type = DSM_MSG_INV;
	for (left = inv & ~dsm_bit(self); left; left &= left - 1) {
		err = dsm_post(d, r, dsm_lowest64(left), &msg, NULL, 0, now_ns);
		if (err)
			return err;
	}
	if (granter == self && !(copies & ~dsm_bit(requester) & dsm_bit(self)))
		return answer(d, r, requester, DSM_F_EXCL | DSM_F_SAME, msg.version, acks,
			      delay, now_ns);

	msg.type = DSM_MSG_FWD_X;
	msg.acks = (u8)acks;
	msg.flags = same ? DSM_F_SAME : 0;
	err = dsm_post(d, r, granter, &msg, NULL, 0, now_ns);
	if (err || !(inv & dsm_bit(self)))
		return err;

	msg.type = DSM_MSG_INV;
	msg.acks = 0;
	msg.flags = 0;
	return dsm_post(d, r, self, &msg, NULL, 0, now_ns);
}

/*
 * The age that FWD and INV carry: the requester's, or an older one's that waits behind it
 * and would have gone first but for its host's number.  Who holds the requester up holds
 * that one up, and is not told when it gets into the next class.
 */
static u32 oldest_age(const struct dsm_ref *r, const struct dsm_waiter *w, u64 now_ns)
{
	const struct dsm_rec *rec = dsm_rec(r->page);
	u32 oldest = dsm_age(w->since, now_ns), age;
	u64 left;

	for (left = rec ? rec->waiting : 0; left; left &= left - 1) {
		age = dsm_age(rec->wait[dsm_lowest64(left)].since, now_ns);
		if (age > oldest)
			oldest = age;
	}
	dsm_mark_if(oldest > dsm_age(w->since, now_ns), OLDEST_LENDS);
	return oldest;
}

/* Start a transaction on an idle page. */
static int start(struct dsm *d, struct dsm_ref *r, u32 requester,
		 const struct dsm_waiter *w, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	u16 age = dsm_age_pack(oldest_age(r, w, now_ns));
	u16 delay = dsm_delay_add(0, w->came, now_ns);

	dsm_count(d, DSM_EV_HOME_TXN);
	dsm_trace(d, r, DSM_STEP_TXN, w->type, requester);
	dir->txn = w->type & 3;
	dir->txn_host = requester & 0x3f;
	dir->txn_offer = 0;
	dir->txn_ended = 0;
	dir->txn_since = (u16)(w->since >> 5);

	/* The first to touch a page gets it Exclusive, with no page on the wire. */
	if (!dir->owner)
		return answer(d, r, requester, DSM_F_EXCL | DSM_F_ZERO, 1, 0, delay, now_ns);
	if (w->type == DSM_MSG_REQ_S)
		return start_read(d, r, requester, w, age, delay, now_ns);
	return start_write(d, r, requester, w, age, delay, now_ns);
}

/* Which waiting request is next: see dsm_outranks(). */
static u32 first_waiter(const struct dsm_rec *rec, u64 now_ns)
{
	u32 h, age, first = DSM_NO_HOST, first_age = 0;
	u64 left;

	for (left = rec->waiting; left; left &= left - 1) {
		h = dsm_lowest64(left);
		age = dsm_age(rec->wait[h].since, now_ns);
		if (first == DSM_NO_HOST || dsm_outranks(age, h, first_age, first)) {
			first = h;
			first_age = age;
		}
	}
	return first;
}

/*
 * An instruction of @waiter, since @since, waits for the running transaction or behind
 * it: those who may hold that up must know.
 */
static int tell_holders(struct dsm *d, struct dsm_ref *r, u32 waiter, u32 since, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_msg msg = {
		.type = DSM_MSG_HURRY,
		.requester = (u8)waiter,
		.version = dir->version,
		.age = dsm_age_pack(dsm_age(since, now_ns)),
	};
	u64 to = 0;
	int err;

	/* An untouched page is held by nobody. */
	if (!dir->owner)
		return 0;
	if (dir->txn == DSM_MSG_REQ_X)
		to = dir->sharers;
	if (dir->txn == DSM_MSG_REQ_X || !(dir->sharers & dsm_bit(dsm_self(d))))
		to |= dsm_bit(owner_of(dir));
	/* These two have given up what they had, or it is theirs that is waited for. */
	to &= ~(dsm_bit(dir->txn_host) | dsm_bit(waiter));
	dsm_mark_if(to && dir->txn_offer, HURRY_BEHIND_OFFER);
	for (; to; to &= to - 1) {
		err = dsm_post(d, r, dsm_lowest64(to), &msg, NULL, 0, now_ns);
		if (err)
			return err;
	}
	return 0;
}

/* Has none of the requests here, the running one included, been tried for longer? */
static bool oldest(const struct dsm_home *dir, const struct dsm_rec *rec,
		   const struct dsm_waiter *w, u64 now_ns)
{
	u64 left;

	if (dsm_age(w->since, now_ns) <= txn_age(dir, now_ns))
		return false;
	for (left = rec->waiting; left; left &= left - 1)
		if ((s32)(rec->wait[dsm_lowest64(left)].since - w->since) < 0)
			return false;
	return true;
}

/*
 * A request is queued.  If it goes before all others here, the running one included,
 * holds give way to it: also to an instruction that waits behind another's.  If it does
 * not yet, but is the oldest, it will be the first to, and holders must know of it then.
 */
static int hurry(struct dsm *d, struct dsm_ref *r, u32 waiter, const struct dsm_waiter *w,
		 u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);

	if (!dsm_outranks(dsm_age(w->since, now_ns), waiter, txn_age(dir, now_ns),
			  dir->txn_host) || first_waiter(rec, now_ns) != waiter) {
		if (!oldest(dir, rec, w, now_ns))
			return 0;
		dsm_mark(OLDEST_TOLD);
	}
	return tell_holders(d, r, waiter, w->since, now_ns);
}

int dsm_dir_request(struct dsm *d, struct dsm_ref *r, u32 from,
		    const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_waiter w = {
		.since = dsm_tick(now_ns) - dsm_age_unpack(msg->age),
		.came = dsm_delay_clock(now_ns),
		.version = (u8)msg->version,
		.flags = msg->flags,
		.type = msg->type,
	};
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);
	int err;

	if (!dir->txn || (dsm_bug(NO_BLOCK) && dir->txn_host != from)) {
		err = start(d, r, from, &w, now_ns);
		return err ? err : dsm_dir_settle(d, r, now_ns);
	}

	/* One request per host and page: its DONE would have come before the next. */
	if (dir->txn_host == from || (rec && (rec->waiting & dsm_bit(from))))
		return -EPROTO;
	rec = dsm_get_rec(d, r);
	if (!rec)
		return -ENOMEM;
	dsm_count(d, DSM_EV_HOME_QUEUED);
	dsm_mark_if(dir->txn_offer, QUEUED_BEHIND_OFFER);
	if (dsm_bug(LOST_WAITER) && rec->waiting)
		return 0;
	rec->waiting |= dsm_bit(from);
	rec->wait[from] = w;
	return hurry(d, r, from, &w, now_ns);
}

int dsm_dir_hurry(struct dsm *d, struct dsm_ref *r, u32 from,
		  const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);
	u32 since = dsm_tick(now_ns) - dsm_age_unpack(msg->age);

	if (dir->txn && dir->txn_host == from) {
		u32 before = txn_age(dir, now_ns), age = dsm_age(since, now_ns);

		if (age > before)
			dir->txn_since = (u16)(since >> 5);
		/* Who holds it up has the age that came with the request. */
		if (dsm_age_class(age) <= dsm_age_class(before))
			return 0;
		dsm_mark(OLDER_RUNNING);
		return tell_holders(d, r, from, since, now_ns);
	}
	if (!rec || !(rec->waiting & dsm_bit(from))) {
		dsm_mark(OLDER_LATE);
		return 0;
	}
	if ((s32)(since - rec->wait[from].since) >= 0)
		return 0;
	dsm_mark(OLDER_QUEUED);
	rec->wait[from].since = since;
	return hurry(d, r, from, &rec->wait[from], now_ns);
}

/* ---------------------------------------------------------------- the end */

/* The running transaction is over: its requester has the page.  @flags as in DONE. */
static void finish(struct dsm *d, struct dsm_ref *r, u16 flags)
{
	struct dsm_home *dir = r->dir;
	u32 host = dir->txn_host;

	if (flags & DSM_F_CLEAN)
		saw_failure(d, dir);
	else if ((flags & DSM_F_EXCL) && dir->txn_offer)
		saw_success(dir);
	if (flags & DSM_F_EXCL) {
		dir->owner = (host + 1) & 0x7f;
		dir->sharers = 0;
		dir->version++;
		dir->last_reader = 0;
	} else {
		dir->sharers |= dsm_bit(host);
	}
	dsm_trace(d, r, DSM_STEP_TXN_DONE, dir->txn, host);
	dir->txn = 0;
	dir->txn_offer = 0;
	dir->txn_ended = 0;
}

static int start_next(struct dsm *d, struct dsm_ref *r, u64 now_ns)
{
	struct dsm_rec *rec = dsm_rec(r->page);
	struct dsm_waiter w;
	u32 next;

	if (!rec || !rec->waiting)
		return 0;
	next = first_waiter(rec, now_ns);
	w = rec->wait[next];
	rec->waiting &= ~dsm_bit(next);
	dsm_put_rec(d, r);
	return start(d, r, next, &w, now_ns);
}

/*
 * An answer that nobody has to complete with acknowledgements: whatever this host
 * sends to the requester from now on comes after it, on the same link.  So nobody
 * has to wait for DONE, and none is sent.
 */
void dsm_dir_answered(struct dsm_ref *r, const struct dsm_msg *msg)
{
	struct dsm_home *dir = r->dir;

	if (msg->acks && !dsm_bug(DONE_TOO_SOON))
		return;
	dir->txn_ended = 1;
	dir->txn_excl = !!(msg->flags & DSM_F_EXCL);
	dir->txn_clean = !!(msg->flags & DSM_F_CLEAN);
	dsm_mark(ANSWERED_ALONE);
}

/* A loop, not a recursion: as many as wait may be answered here one after the other. */
int dsm_dir_settle(struct dsm *d, struct dsm_ref *r, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	int err;

	while (dir && dir->txn && dir->txn_ended) {
		finish(d, r, (dir->txn_excl ? DSM_F_EXCL : 0) |
			     (dir->txn_clean ? DSM_F_CLEAN : 0));
		dsm_mark_if(dsm_rec(r->page) && dsm_rec(r->page)->waiting, NEXT_BEFORE_DATA);
		err = start_next(d, r, now_ns);
		if (err)
			return err;
	}
	return 0;
}

int dsm_dir_done(struct dsm *d, struct dsm_ref *r, u32 from,
		 const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);
	bool exclusive = msg->flags & DSM_F_EXCL;
	int err;

	if (!dir->txn || dir->txn_host != from ||
	    msg->version != (u16)(dir->version + (exclusive ? 1 : 0)))
		return -EPROTO;
	/* What was granted: it can only be open where the owner had the choice. */
	if (exclusive != (dir->txn == DSM_MSG_REQ_X || !dir->owner) &&
	    !(exclusive && dir->txn_offer))
		return -EPROTO;
	/* An owner, or this host, that still has to give up rights: nobody can be done. */
	if (rec && rec->deferred.type)
		return -EPROTO;

	finish(d, r, msg->flags);
	err = start_next(d, r, now_ns);
	return err ? err : dsm_dir_settle(d, r, now_ns);
}
