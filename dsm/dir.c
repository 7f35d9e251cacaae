// SPDX-License-Identifier: GPL-2.0-only
/*
 * The home's side of the protocol: the directory entry of a page and the
 * transactions that change it, one at a time.
 */
#include "core.h"

static u32 owner_of(const struct dsm_home *dir)
{
	return dir->owner - 1U;
}

/* DATA without a page: the home itself answers for the directory. */
static int answer(struct dsm *d, struct dsm_ref *r, u32 requester, u16 flags, u32 version,
		  u32 acks, u64 now_ns)
{
	struct dsm_msg msg = {
		.type = DSM_MSG_DATA,
		.requester = (u8)requester,
		.flags = flags,
		.version = version,
		.acks = (u8)acks,
	};

	return dsm_post(d, r, requester, &msg, NULL, 0, now_ns);
}

static int start_read(struct dsm *d, struct dsm_ref *r, u32 requester,
		      const struct dsm_waiter *w, u16 age, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_msg msg = {
		.type = DSM_MSG_FWD_S,
		.requester = (u8)requester,
		.version = dir->version,
		.age = age,
	};
	u32 supplier = owner_of(dir);

	(void)w;
	if ((dir->sharers & dsm_bit(requester)) || supplier == requester)
		return -EPROTO;
	if (dir->sharers & dsm_bit(dsm_self(d)))
		supplier = dsm_self(d);
	return dsm_post(d, r, supplier, &msg, NULL, 0, now_ns);
}

static int start_write(struct dsm *d, struct dsm_ref *r, u32 requester,
		       const struct dsm_waiter *w, u16 age, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	u64 copies = dir->sharers | dsm_bit(owner_of(dir));
	u64 inv = copies & ~dsm_bit(requester);
	bool same = copies & dsm_bit(requester);
	u32 self = dsm_self(d), granter, h, acks;
	struct dsm_msg msg = {
		.requester = (u8)requester,
		.version = dir->version + 1,
		.age = age,
	};
	int err;

	if (same && (!(w->flags & DSM_F_HAVE) || (u16)w->version != (u16)dir->version))
		return -EPROTO;
	if (!inv)
		return -EPROTO;		/* it is Exclusive there */
	if (dsm_bug(STALE_SAME) && (w->flags & DSM_F_HAVE))
		same = true;
	if (dir->sharers == dsm_bit(requester) && dir->last_reader == requester + 1)
		dsm_count(d, DSM_EV_HOME_MIGRATORY);

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
	for (h = 0; h < d->cfg.nr_hosts; h++) {
		if (!(inv & dsm_bit(h)) || h == self)
			continue;
		err = dsm_post(d, r, h, &msg, NULL, 0, now_ns);
		if (err)
			return err;
	}
	if (granter == self && !(copies & ~dsm_bit(requester) & dsm_bit(self)))
		return answer(d, r, requester, DSM_F_EXCL | DSM_F_SAME, msg.version, acks, now_ns);

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

/* Start a transaction on an idle page. */
static int start(struct dsm *d, struct dsm_ref *r, u32 requester,
		 const struct dsm_waiter *w, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	s32 age = (s32)(dsm_tick(now_ns) - w->since);

	if (age < 0)
		age = 0;
	if (age > (s32)DSM_AGE_TICKS)
		age = DSM_AGE_TICKS;

	dsm_count(d, DSM_EV_HOME_TXN);
	dsm_trace(d, r, DSM_STEP_TXN, w->type, requester);
	dir->txn = w->type;
	dir->txn_host = (u8)requester;

	/* The first to touch a page gets it Exclusive, with no page on the wire. */
	if (!dir->owner)
		return answer(d, r, requester, DSM_F_EXCL | DSM_F_ZERO, 1, 0, now_ns);
	if (w->type == DSM_MSG_REQ_S)
		return start_read(d, r, requester, w, (u16)age, now_ns);
	return start_write(d, r, requester, w, (u16)age, now_ns);
}

int dsm_dir_request(struct dsm *d, struct dsm_ref *r, u32 from,
		    const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_waiter w = {
		.since = dsm_tick(now_ns) - msg->age,
		.version = msg->version,
		.flags = msg->flags,
		.type = msg->type,
	};
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);

	if (!dir->txn || (dsm_bug(NO_BLOCK) && dir->txn_host != from))
		return start(d, r, from, &w, now_ns);

	/* One request per host and page: its DONE would have come before the next. */
	if (dir->txn_host == from || (rec && (rec->waiting & dsm_bit(from))))
		return -EPROTO;
	rec = dsm_get_rec(d, r);
	if (!rec)
		return -ENOMEM;
	dsm_count(d, DSM_EV_HOME_QUEUED);
	if (dsm_bug(LOST_WAITER) && rec->waiting)
		return 0;
	rec->waiting |= dsm_bit(from);
	rec->wait[from] = w;
	return 0;
}

/*
 * The longest-trying of the waiting requests.  New ones start young, so nobody
 * starves; and the oldest instruction of all is always the next to be served.
 */
static u32 oldest_waiter(const struct dsm *d, const struct dsm_rec *rec, u64 now_ns)
{
	u32 h, best = DSM_NO_HOST;
	s32 best_age = 0;

	for (h = 0; h < d->cfg.nr_hosts; h++) {
		s32 age;

		if (!(rec->waiting & dsm_bit(h)))
			continue;
		age = (s32)(dsm_tick(now_ns) - rec->wait[h].since);
		if (best == DSM_NO_HOST || age > best_age) {
			best = h;
			best_age = age;
		}
	}
	return best;
}

int dsm_dir_done(struct dsm *d, struct dsm_ref *r, u32 from,
		 const struct dsm_msg *msg, u64 now_ns)
{
	struct dsm_home *dir = r->dir;
	struct dsm_rec *rec = dsm_rec(r->page);
	bool exclusive = dir->txn == DSM_MSG_REQ_X || !dir->owner;
	struct dsm_waiter w;
	u32 next;

	if (!dir->txn || dir->txn_host != from ||
	    msg->version != dir->version + (exclusive ? 1 : 0))
		return -EPROTO;
	/* An owner, or this host, that still has to give up rights: nobody can be done. */
	if (rec && rec->deferred.type)
		return -EPROTO;

	if (exclusive) {
		dir->owner = (u8)(from + 1);
		dir->sharers = 0;
		dir->version++;
		dir->last_reader = 0;
	} else {
		dir->sharers |= dsm_bit(from);
		dir->last_reader = (u8)(from + 1);
	}
	dsm_trace(d, r, DSM_STEP_TXN_DONE, dir->txn, from);
	dir->txn = 0;

	if (!rec || !rec->waiting)
		return 0;
	next = oldest_waiter(d, rec, now_ns);
	w = rec->wait[next];
	rec->waiting &= ~dsm_bit(next);
	dsm_put_rec(d, r);
	return start(d, r, next, &w, now_ns);
}
