// SPDX-License-Identifier: GPL-2.0-only
/*
 * Invariants of the protocol, checked from outside: one host's view of a page,
 * and all hosts' views together.  For simulators, tests and debugging; nothing
 * in the core depends on it.
 */
#include "core.h"

int dsm_page_state(struct dsm *d, u64 gfn, struct dsm_page_info *info)
{
	const struct dsm_rec *rec;
	struct dsm_ref r;

	if (!dsm_lookup(d, gfn, &r))
		return -ENOENT;
	rec = dsm_rec(r.page);
	memset(info, 0, sizeof(*info));
	info->state = r.page->state;
	info->frame = dsm_frame(r.page);
	info->version = r.page->version;
	info->written = r.page->written;
	if (rec) {
		info->pending = rec->req;
		info->deferred = rec->deferred.type;
		info->revoking = rec->revoking;
	}
	info->owner = DSM_NO_HOST;
	if (r.dir) {
		info->is_home = true;
		info->txn = r.dir->txn;
		info->txn_host = r.dir->txn_host;
		info->nr_waiting = rec ? (u8)dsm_weight64(rec->waiting) : 0;
		info->owner = (u8)(r.dir->owner - 1);
		info->sharers = r.dir->sharers;
		info->home_version = r.dir->version;
		info->migratory = r.dir->migratory;
	}
	return 0;
}

const char *dsm_check_page(struct dsm *d, u64 gfn)
{
	const struct dsm_rec *rec;
	struct dsm_ref r;

	if (!dsm_lookup(d, gfn, &r))
		return "not covered";
	rec = dsm_rec(r.page);

	if ((r.page->state == DSM_INVALID) != !dsm_frame(r.page))
		return "a frame is present exactly when the page is not Invalid";
	if (r.page->written && r.page->state != DSM_EXCLUSIVE)
		return "written, and not Exclusive";
	if (r.page->has_rec && !rec->req && !rec->deferred.type && !rec->waiting)
		return "a record stayed without a use";
	if (rec) {
		if (rec->data && !rec->req)
			return "received data without a request";
		if (rec->revoking && !rec->deferred.type)
			return "revoking without a message";
		if (rec->deferred.type && r.page->state == DSM_INVALID)
			return "a revocation waits for a page that is not here";
		if (rec->acks_from && rec->req != DSM_MSG_REQ_X)
			return "acknowledgements without a write request";
	}
	if (r.dir) {
		if (!r.dir->owner && (r.dir->sharers || r.dir->version))
			return "an untouched page has sharers or a version";
		if (r.dir->owner && (r.dir->sharers & dsm_bit(r.dir->owner - 1U)))
			return "the owner is among the sharers";
		if (r.dir->txn_offer && (r.dir->txn != DSM_MSG_REQ_S || r.dir->sharers))
			return "a page with copies is to be handed over on a read";
		if (rec && rec->waiting && !r.dir->txn)
			return "requests wait for an idle page";
	}
	return NULL;
}

const char *dsm_view_update(struct dsm_view *v, struct dsm *d, u64 gfn)
{
	const char *what = dsm_check_page(d, gfn);
	u64 bit = dsm_bit(dsm_self(d)), copies;
	struct dsm_page_info info;

	if (what)
		return what;
	if (dsm_page_state(d, gfn, &info))
		return "not covered";
	v->excl &= ~bit;
	v->owned &= ~bit;
	v->shared &= ~bit;
	v->pending &= ~bit;
	if (info.pending)
		v->pending |= bit;
	copies = v->excl | v->owned | v->shared;
	switch (info.state) {
	case DSM_EXCLUSIVE:
		v->excl |= bit;
		break;
	case DSM_OWNED:
		v->owned |= bit;
		break;
	case DSM_SHARED:
		v->shared |= bit;
		break;
	case DSM_INVALID:
		return NULL;
	}
	if (copies && v->version != info.version)
		return "two versions at a time";
	v->version = info.version;
	return NULL;
}

const char *dsm_view_check(const struct dsm_view *v, struct dsm *home, u64 gfn)
{
	u64 owner = v->excl | v->owned, readers = v->shared, at;
	struct dsm_page_info dir;

	if (dsm_page_state(home, gfn, &dir) || !dir.is_home)
		return "not covered";
	if (v->excl & (v->excl - 1))
		return "two hosts are Exclusive";
	if (v->excl && (v->owned || v->shared))
		return "a copy exists beside an Exclusive one";
	if (v->owned & (v->owned - 1))
		return "two hosts are Owned";

	/* An idle home knows exactly who has what, or will have when its answer has come. */
	if (dir.txn)
		return NULL;
	if (dir.owner == DSM_NO_HOST)
		return owner || readers ? "home does not know of a copy" : NULL;
	at = dsm_bit(dir.owner);
	if ((v->pending & at) && !dir.sharers && !v->excl) {
		/* On its way.  At most the new owner has a copy, if it upgrades one. */
		if ((owner | readers) & ~at)
			return "a copy exists beside a page that moves";
		return NULL;
	}
	if (owner != at)
		return "home has the wrong owner";
	if ((readers | (dir.sharers & v->pending)) != dir.sharers)
		return "home has the wrong sharers";
	if (!dir.sharers != !!v->excl)
		return "the owner is Exclusive exactly when nobody shares";
	if (v->version != (u8)dir.home_version)
		return "home has the wrong version";
	return NULL;
}

const char *dsm_check_global(struct dsm *const *hosts, unsigned int nr, u64 gfn)
{
	u32 home = dsm_home_of(hosts[0], gfn);
	struct dsm_view view = { 0 };
	const char *what;
	unsigned int h;

	if (home >= nr)
		return "not covered";
	for (h = 0; h < nr; h++) {
		what = dsm_view_update(&view, hosts[h], gfn);
		if (what)
			return what;
	}
	return dsm_view_check(&view, hosts[home], gfn);
}
