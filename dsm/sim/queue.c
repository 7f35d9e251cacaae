// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulator's queue of events: a binary heap of (time, number), small enough to
 * be moved about cheaply, beside the events themselves, which stay where they are.
 */
#include <stdlib.h>

#include "internal.h"

static bool before(const struct sim_key *a, const struct sim_key *b)
{
	return a->when != b->when ? a->when < b->when : a->seq < b->seq;
}

static void grow(struct sim_queue *q)
{
	size_t cap = q->cap ? 2 * q->cap : 256, i;

	q->heap = realloc(q->heap, cap * sizeof(*q->heap));
	q->events = realloc(q->events, cap * sizeof(*q->events));
	if (!q->heap || !q->events) {
		fprintf(stderr, "dsm-sim: out of memory\n");
		exit(2);
	}
	/* Behind the heap's end its keys name the free slots. */
	for (i = q->cap; i < cap; i++)
		q->heap[i].slot = (u32)i;
	q->cap = cap;
}

static struct sim_event *insert(struct sim_queue *q, u64 when, u64 seq)
{
	struct sim_key key;
	size_t i;

	if (q->nr == q->cap)
		grow(q);
	i = q->nr++;
	key = (struct sim_key){ .when = when, .seq = seq, .slot = q->heap[i].slot };
	while (i && before(&key, &q->heap[(i - 1) / 2])) {
		q->heap[i] = q->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	q->heap[i] = key;
	return &q->events[key.slot];
}

struct sim_event *sim_event_new(struct sim *s, u64 when)
{
	struct sim_event *ev;

	s->seq++;
	ev = insert(&s->queue, when, s->seq);
	ev->when = when;
	ev->seq = s->seq;
	ev->frame = NULL;
	return ev;
}

void sim_event_defer(struct sim *s, const struct sim_event *ev, u64 when)
{
	/* The number stays: it is the order within a link, and what names a wake-up. */
	struct sim_event *again = insert(&s->queue, when, ev->seq);

	*again = *ev;
	again->when = when;
}

bool sim_event_pop(struct sim *s, struct sim_event *ev)
{
	struct sim_queue *q = &s->queue;
	struct sim_key last;
	size_t i = 0, c;
	u32 slot;

	if (!q->nr)
		return false;
	slot = q->heap[0].slot;
	*ev = q->events[slot];
	last = q->heap[--q->nr];
	while ((c = 2 * i + 1) < q->nr) {
		if (c + 1 < q->nr && before(&q->heap[c + 1], &q->heap[c]))
			c++;
		if (!before(&q->heap[c], &last))
			break;
		q->heap[i] = q->heap[c];
		i = c;
	}
	q->heap[i] = last;
	q->heap[q->nr].slot = slot;
	return true;
}
