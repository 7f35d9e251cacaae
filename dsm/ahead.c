// SPDX-License-Identifier: GPL-2.0-only
/* Which pages will be missed next: see ahead.h. */
#include "ahead.h"

#define TRUST_FIRST	3	/* of one that has followed once */
#define TRUST_ENOUGH	4
#define TRUST_MOST	7
#define WORTH_ENOUGH	2
#define WORTH_MOST	3

static u64 pack(u64 gfn, bool write)
{
	return (gfn << 1 | write) & ((1ULL << 54) - 1);
}

static struct dsm_ahead_row *set_of(struct dsm_ahead_table *t, u64 page)
{
	return t->row[(page * 0x9e3779b97f4a7c15ULL) >> 58];
}

_Static_assert(DSM_AHEAD_SETS == 1 << (64 - 58), "the hash's bits");

static struct dsm_ahead_row *find_row(struct dsm_ahead_table *t, u64 page)
{
	struct dsm_ahead_row *row = set_of(t, page);
	u32 i;

	for (i = 0; i < DSM_AHEAD_WAYS; i++)
		if (row[i].used && row[i].page == page)
			return &row[i];
	return NULL;
}

/* In place of the one that has not occurred for longest. */
static struct dsm_ahead_row *new_row(struct dsm_ahead_table *t, u64 page)
{
	struct dsm_ahead_row *row = set_of(t, page), *oldest = row;
	u32 i;

	for (i = 1; i < DSM_AHEAD_WAYS; i++)
		if (row[i].used < oldest->used)
			oldest = &row[i];
	memset(oldest, 0, sizeof(*oldest));
	oldest->page = page;
	return oldest;
}

/* Did it help?  Not if it is missed all the same, taken again too soon. */
static void was_asked(struct dsm_ahead_next *next, bool used)
{
	next->asked = 0;
	if (used && next->worth < WORTH_MOST)
		next->worth++;
	else if (!used && next->worth)
		next->worth--;
}

/* @page has followed the miss that @row is of. */
static void follows(struct dsm_ahead_row *row, u64 page, bool spared)
{
	struct dsm_ahead_next *next, *least = row->next;
	u32 i;

	for (i = 0; i < DSM_AHEAD_NEXT; i++) {
		next = &row->next[i];
		if (next->page != page) {
			if (next->trust < least->trust)
				least = next;
			continue;
		}
		if (next->due && next->asked)
			was_asked(next, spared);
		if (next->due && next->trust < TRUST_MOST)
			next->trust++;
		next->due = 0;
		return;
	}
	if (least->trust)
		return;
	*least = (struct dsm_ahead_next){
		.page = page,
		.trust = TRUST_FIRST,
		.worth = WORTH_ENOUGH,
	};
}

/* The miss that @row is of recurs: what follows? */
static unsigned int predict(struct dsm_ahead_row *row, u64 self, struct dsm_ahead_page *out)
{
	unsigned int nr = 0, k;
	u32 i;

	for (i = 0; i < DSM_AHEAD_NEXT; i++) {
		struct dsm_ahead_next *next = &row->next[i];
		u64 gfn = next->page >> 1;

		if (next->due && next->asked)
			was_asked(next, false);
		if (next->due && next->trust)
			next->trust--;
		next->due = 1;
		if (next->trust < TRUST_ENOUGH || gfn == self)
			continue;
		if (next->worth < WORTH_ENOUGH && ++next->skipped)
			continue;
		for (k = 0; k < nr && out[k].gfn != gfn; k++)
			;
		if (k == DSM_AHEAD_TRAIN)
			continue;
		next->asked = 1;
		if (k == nr)
			out[nr++] = (struct dsm_ahead_page){ .gfn = gfn };
		/* To be read and to be written: once is enough. */
		out[k].write |= next->page & 1;
		out[k].next[next->page & 1] = next;
	}
	return nr;
}

static bool missed(const struct dsm_ahead_table *t, u64 gfn, u64 now_ns, u64 window_ns)
{
	u64 i;

	for (i = 0; i < DSM_AHEAD_RECENT && i < t->nr; i++)
		if (t->recent[i].page >> 1 == gfn && now_ns - t->recent[i].when_ns <= window_ns)
			return true;
	return false;
}

static unsigned int run_on(const struct dsm_ahead_table *t, u64 gfn, bool write, u64 now_ns,
			   u64 window_ns, struct dsm_ahead_page *out)
{
	u32 i;

	for (i = 1; i < DSM_AHEAD_SEEN; i++)
		if (gfn < i || !missed(t, gfn - i, now_ns, window_ns))
			return 0;
	for (i = 0; i < DSM_AHEAD_RUN; i++)
		out[i] = (struct dsm_ahead_page){ .gfn = gfn + i + 1, .write = write };
	return DSM_AHEAD_RUN;
}

unsigned int dsm_ahead_miss(struct dsm_ahead_table *t, unsigned int what, u64 gfn, bool write,
			    bool spared, u64 now_ns, u64 window_ns, struct dsm_ahead_page *out)
{
	u64 page = pack(gfn, write), i;
	struct dsm_ahead_row *row;
	unsigned int nr = 0;

	/* Given up and tried again: the same miss. */
	i = (t->nr + DSM_AHEAD_RECENT - 1) % DSM_AHEAD_RECENT;
	if (t->nr && t->recent[i].page == page && now_ns - t->recent[i].when_ns <= window_ns)
		return 0;

	if (what & DSM_AHEAD_RUNS)
		nr = run_on(t, gfn, write, now_ns, window_ns, out);
	if (what & DSM_AHEAD_TRAINS) {
		for (i = 0; i < DSM_AHEAD_RECENT && i < t->nr; i++) {
			u64 before = t->recent[i].page;

			if (before >> 1 == gfn || now_ns - t->recent[i].when_ns > window_ns)
				continue;
			row = find_row(t, before);
			if (row)
				follows(row, page, spared);
		}
	}
	i = t->nr++ % DSM_AHEAD_RECENT;
	t->recent[i].page = page;
	t->recent[i].when_ns = now_ns;
	if (!(what & DSM_AHEAD_TRAINS))
		return nr;

	row = find_row(t, page);
	if (!row)
		row = new_row(t, page);
	row->used = t->nr;
	return nr + predict(row, gfn, out + nr);
}

void dsm_ahead_not(struct dsm_ahead_page *page)
{
	u32 i;

	for (i = 0; i < 2; i++)
		if (page->next[i])
			page->next[i]->asked = 0;
}
