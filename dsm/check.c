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

const char *dsm_check_global(struct dsm *const *hosts, unsigned int nr, u64 gfn)
{
	u32 home = dsm_home_of(hosts[0], gfn);
	unsigned int h, nr_excl = 0, nr_owned = 0, nr_shared = 0;
	struct dsm_page_info at_home, info;
	u64 readers = 0, pending = 0;
	int owner = -1, version = -1;

	if (home >= nr || dsm_page_state(hosts[home], gfn, &at_home))
		return "not covered";

	for (h = 0; h < nr; h++) {
		const char *what = dsm_check_page(hosts[h], gfn);

		if (what)
			return what;
		if (dsm_page_state(hosts[h], gfn, &info))
			return "not covered";
		if (info.pending)
			pending |= dsm_bit(h);
		switch (info.state) {
		case DSM_EXCLUSIVE:
			nr_excl++;
			owner = (int)h;
			break;
		case DSM_OWNED:
			nr_owned++;
			owner = (int)h;
			break;
		case DSM_SHARED:
			nr_shared++;
			readers |= dsm_bit(h);
			break;
		case DSM_INVALID:
			continue;
		}
		if (version >= 0 && version != info.version)
			return "two versions at a time";
		version = info.version;
	}

	if (nr_excl > 1)
		return "two hosts are Exclusive";
	if (nr_excl && (nr_owned || nr_shared))
		return "a copy exists beside an Exclusive one";
	if (nr_owned > 1)
		return "two hosts are Owned";

	/* An idle home knows exactly who has what, or will have when its answer has come. */
	if (at_home.txn)
		return NULL;
	if (at_home.owner == DSM_NO_HOST)
		return owner >= 0 || readers ? "home does not know of a copy" : NULL;
	if ((pending & dsm_bit(at_home.owner)) && !at_home.sharers && !nr_excl) {
		/* On its way.  At most the new owner has a copy, if it upgrades one. */
		if ((owner >= 0 && owner != at_home.owner) ||
		    (readers & ~dsm_bit(at_home.owner)))
			return "a copy exists beside a page that moves";
		return NULL;
	}
	if (owner != at_home.owner)
		return "home has the wrong owner";
	readers |= at_home.sharers & pending;
	if (readers != at_home.sharers)
		return "home has the wrong sharers";
	if (!readers != (nr_excl == 1))
		return "the owner is Exclusive exactly when nobody shares";
	if (version != (u8)at_home.home_version)
		return "home has the wrong version";
	return NULL;
}
