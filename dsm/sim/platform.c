// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulator's platform for the coherence core: simulated time, links,
 * frames with reference counts, page tables, pins, timers, failing allocation.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "internal.h"

/* ---------------------------------------------------------------- basics */

static u64 rng_next(u64 *state)
{
	u64 z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

u64 sim_rand(struct sim *s, u64 below)
{
	return below ? rng_next(&s->rng) % below : 0;
}

bool sim_chance(struct sim *s, u32 permille)
{
	return permille && sim_rand(s, 1000) < permille;
}

void sim_violation(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->violated)
		return;
	s->violated = true;
	va_start(ap, fmt);
	vsnprintf(s->res->why, sizeof(s->res->why), fmt, ap);
	va_end(ap);
}

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "dsm-sim: out of memory\n");
		exit(2);
	}
	return p;
}

/* A caller reads the clock before it gets the page lock: a little late at times. */
u64 sim_clock(struct sim *s)
{
	u64 late = sim_chance(s, 100) ? sim_rand(s, 200000) : 0;

	return s->now > late ? s->now - late : s->now;
}

/* ---------------------------------------------------------------- frames */

static bool alloc_fails(struct sim *s)
{
	s->res->allocs++;
	return s->res->allocs == s->p.fail_nth || sim_chance(s, s->p.fail_permille);
}

static struct sim_frame *frame_alloc(struct sim *s)
{
	struct sim_frame *f = must(calloc(1, sizeof(*f)));

	f->refs = 1;
	s->live_frames++;
	return f;
}

void sim_map_set(struct sim_map *m, struct sim_frame *frame, bool writable)
{
	if (m->frame)
		m->frame->maps--;
	if (frame)
		frame->maps++;
	m->frame = frame;
	m->writable = frame && writable;
}

/* Freed frames stay around, poisoned, for a while: late users are seen. */
static void frame_put(struct sim *s, struct sim_frame *f)
{
	if (f->freed || !f->refs) {
		sim_violation(s, "a frame is put once too often");
		return;
	}
	if (--f->refs)
		return;
	if (f->maps)
		sim_violation(s, "a frame is freed while it is mapped");
	f->freed = true;
	memset(f->words, 0xdb, sizeof(f->words));
	s->live_frames--;
	*s->quarantine_tail = f;
	s->quarantine_tail = &f->next;
	if (++s->nr_quarantine > 256) {
		f = s->quarantine;
		s->quarantine = f->next;
		s->nr_quarantine--;
		free(f);
	}
}

/* ------------------------------------------------------------------- ops */

/* Time on the way: by pair of hosts, with a long tail. */
static u64 delay(struct sim *s, u32 from, u32 to)
{
	u64 t = s->p.delay_min_ns + sim_rand(s, s->p.delay_max_ns - s->p.delay_min_ns + 1);
	u64 pair = (from < to ? from * 64 + to : to * 64 + from) ^ s->p.seed << 12;

	if (s->p.far_pct && rng_next(&pair) % 100 < s->p.far_pct)
		t *= 10;
	if (sim_chance(s, s->p.tail_permille))
		t *= 1 + sim_rand(s, 20);
	return t;
}

static void op_send(void *ctx, u32 to, const struct dsm_msg *msg, void *frame, u32 flags)
{
	struct sim_host *host = ctx;
	struct sim *s = host->sim;
	u64 link = (u64)host->id * s->p.hosts + to;
	u64 *busy = &s->link_busy[s->p.per_gfn_order ? link * s->p.gfns + msg->gfn : link];
	u64 when = s->now + delay(s, host->id, to);
	u64 bits = 8 * (DSM_WIRE_SIZE + msg->length);
	struct sim_frame *f = frame;
	struct sim_event *ev;

	if (to == host->id || to >= s->p.hosts || !msg->length != !frame)
		sim_violation(s, "host %u: send() to %u with a wrong argument", host->id, to);
	if (s->p.gbps) {
		if (host->sends_until < s->now)
			host->sends_until = s->now;
		host->sends_until += bits / s->p.gbps;
		when += host->sends_until - s->now;
	}
	if (frame)
		when += s->p.page_ns;
	if (when <= *busy)
		when = *busy + 1;
	*busy = when;
	s->res->messages++;
	if (s->p.trace)
		printf("%12llu  h%u -> h%u  %-7s gfn %llu req %u acks %u flags %x v%u%s\n", s->now,
		       host->id, to, dsm_msg_name(msg->type), msg->gfn, msg->requester,
		       msg->acks, msg->flags, msg->version, frame ? " +page" : "");

	ev = sim_event_new(s, when);
	ev->kind = EV_MSG;
	ev->host = to;
	ev->from = host->id;
	ev->gfn = msg->gfn;
	dsm_wire_encode(msg, ev->wire);
	if (f) {
		if (!(flags & DSM_SEND_GIVE))
			f->refs++;
		ev->frame = f;
		memcpy(ev->snapshot, f->words, sizeof(f->words));
	}
}

static int op_protect(void *ctx, u64 gfn, void *frame, enum dsm_prot prot)
{
	struct sim_host *host = ctx;
	struct sim *s = host->sim;
	struct sim_map *m = &host->maps[gfn];

	if (m->frame && m->frame != frame)
		sim_violation(s, "host %u: protect() of gfn %llu with another frame", host->id, gfn);
	sim_map_set(m, prot == DSM_PROT_NONE ? NULL : m->frame, false);
	return m->pinned_until > s->now ? -EAGAIN : 0;
}

static void *op_alloc_zero(void *ctx, u64 gfn)
{
	struct sim_host *host = ctx;

	(void)gfn;
	return alloc_fails(host->sim) ? NULL : frame_alloc(host->sim);
}

static void op_put_frame(void *ctx, u64 gfn, void *frame)
{
	struct sim_host *host = ctx;

	(void)gfn;
	frame_put(host->sim, frame);
}

static void *op_alloc_rec(void *ctx, size_t size)
{
	struct sim_host *host = ctx;
	void *rec;

	if (size > dsm_rec_size(&host->dsm))
		sim_violation(host->sim, "alloc_rec() of %zu bytes", size);
	if (alloc_fails(host->sim))
		return NULL;
	host->sim->live_recs++;
	rec = must(malloc(size));
	memset(rec, 0xa5, size);
	return rec;
}

static void op_free_rec(void *ctx, struct dsm_rec *rec)
{
	struct sim_host *host = ctx;

	host->sim->live_recs--;
	free(rec);
}

static void op_wake(void *ctx, u64 gfn)
{
	struct sim_host *host = ctx;

	sim_vcpu_wake(host->sim, host->id, gfn);
}

static void op_set_timer(void *ctx, u64 gfn, struct dsm_rec *rec, u64 when_ns)
{
	struct sim_host *host = ctx;
	struct sim *s = host->sim;
	struct sim_event *ev;
	/* Timers are never early and rarely exact. */
	u64 when = (when_ns > s->now ? when_ns : s->now) + sim_rand(s, 50000);

	(void)rec;
	host->timer[gfn] = when;
	ev = sim_event_new(s, when);
	ev->kind = EV_TIMER;
	ev->due = when;
	ev->host = host->id;
	ev->gfn = gfn;
}

static void op_count(void *ctx, enum dsm_event event)
{
	struct sim_host *host = ctx;

	host->sim->res->events[event]++;
}

static void op_trace(void *ctx, u64 gfn, enum dsm_step step, u32 a, u32 b)
{
	static const char *const names[] = {
		"state", "request", "grant", "defer", "txn", "txn done", "bad",
	};
	struct sim_host *host = ctx;

	if (host->sim->p.trace)
		printf("%12llu  h%u  gfn %llu %s %u %u\n", host->sim->now, host->id, gfn,
		       names[step], a, b);
}

static const struct dsm_ops sim_ops = {
	.send		= op_send,
	.protect	= op_protect,
	.alloc_zero	= op_alloc_zero,
	.put_frame	= op_put_frame,
	.alloc_rec	= op_alloc_rec,
	.free_rec	= op_free_rec,
	.wake		= op_wake,
	.set_timer	= op_set_timer,
	.count		= op_count,
	.trace		= op_trace,
};

/* ------------------------------------------------------------ the network */

/* An error that ends the space: expected after an injected fault, else a bug. */
void sim_space_error(struct sim *s, u32 host, int err, const char *where)
{
	u32 h;

	if (err == -EPROTO || err == -ESTALE || err == -EINVAL)
		sim_violation(s, "host %u: %s says %d", host, where, err);
	else if (err == -ENOMEM && !s->p.fail_permille && !s->p.fail_nth)
		sim_violation(s, "host %u: %s has no memory", host, where);
	else if (err == -EIO && !s->dropped && !s->failed)
		sim_violation(s, "host %u: %s fails without a cause", host, where);
	s->failed = true;
	for (h = 0; h < s->p.hosts; h++)
		dsm_fail(&s->hosts[h].dsm);
}

void sim_deliver(struct sim *s, struct sim_event *ev)
{
	struct sim_frame *copy = NULL;
	struct dsm_msg msg;
	int err;

	if (dsm_wire_decode(ev->wire, sizeof(ev->wire), &msg)) {
		sim_violation(s, "a sent message does not decode");
		if (ev->frame)
			frame_put(s, ev->frame);
		return;
	}
	if (ev->frame) {
		if (ev->frame->freed)
			sim_violation(s, "payload of gfn %llu was freed on its way", msg.gfn);
		if (memcmp(ev->snapshot, ev->frame->words, sizeof(ev->snapshot)))
			sim_violation(s, "payload of gfn %llu changed on its way", msg.gfn);
		if (alloc_fails(s)) {
			frame_put(s, ev->frame);
			sim_space_error(s, ev->host, -ENOMEM, "receiving");
			return;
		}
		copy = frame_alloc(s);
		memcpy(copy->words, ev->snapshot, sizeof(copy->words));
		frame_put(s, ev->frame);
	}
	err = dsm_receive(&s->hosts[ev->host].dsm, ev->from, &msg, copy, sim_clock(s));
	if (err)
		sim_space_error(s, ev->host, err, dsm_msg_name(msg.type));
}

/* ------------------------------------------------------------ start and end */

bool sim_setup(struct sim *s)
{
	u32 h, i, nr_ranges = s->p.gfns < s->p.hosts ? s->p.gfns : s->p.hosts;

	s->quarantine_tail = &s->quarantine;
	s->hosts = must(calloc(s->p.hosts, sizeof(*s->hosts)));
	s->dsms = must(calloc(s->p.hosts, sizeof(*s->dsms)));
	s->views = must(calloc(s->p.gfns, sizeof(*s->views)));
	s->truth = must(calloc((size_t)s->p.gfns * SIM_WORDS, sizeof(*s->truth)));
	s->link_busy = must(calloc((size_t)s->p.hosts * s->p.hosts * s->p.gfns,
				   sizeof(*s->link_busy)));

	for (h = 0; h < s->p.hosts; h++) {
		struct sim_host *host = &s->hosts[h];
		struct dsm_config cfg = {
			.ops = &sim_ops,
			.ctx = host,
			.nr_ranges = nr_ranges,
			.host = h,
			.nr_hosts = s->p.hosts,
			.epoch = 7,
			.hold_max_ns = s->p.hold_max_ns,
			.hold_yield_ns = s->p.hold_yield_ns,
			.no_migratory = s->p.no_migratory,
		};
		u64 first = 0;

		host->sim = s;
		host->id = h;
		host->ranges = must(calloc(nr_ranges, sizeof(*host->ranges)));
		host->maps = must(calloc(s->p.gfns, sizeof(*host->maps)));
		host->timer = must(calloc(s->p.gfns, sizeof(*host->timer)));
		for (i = 0; i < nr_ranges; i++) {
			struct dsm_range *range = &host->ranges[i];

			range->first_gfn = first;
			range->nr_gfns = (u64)s->p.gfns * (i + 1) / nr_ranges - first;
			range->host = (u32)((i + s->p.seed) % s->p.hosts);
			range->pages = must(calloc(range->nr_gfns, sizeof(*range->pages)));
			if (range->host == h)
				range->homes = must(calloc(range->nr_gfns, sizeof(*range->homes)));
			first += range->nr_gfns;
		}
		cfg.ranges = host->ranges;
		if (dsm_init(&host->dsm, &cfg)) {
			sim_violation(s, "dsm_init() refuses");
			return false;
		}
		s->dsms[h] = &host->dsm;
	}
	for (i = 0; i < s->p.gfns; i++)
		s->views[i].home = dsm_home_of(s->dsms[0], i);
	return true;
}

/* Tear all down; what is left over then has leaked. */
void sim_finish(struct sim *s)
{
	struct sim_event ev;
	u32 h, i;

	while (sim_event_pop(s, &ev))
		if (ev.kind == EV_MSG && ev.frame)
			frame_put(s, ev.frame);
	for (h = 0; h < s->p.hosts && s->dsms[h]; h++) {
		struct sim_host *host = &s->hosts[h];

		for (i = 0; i < s->p.gfns; i++)
			sim_map_set(&host->maps[i], NULL, false);
		dsm_teardown(&host->dsm);
	}
	if (s->live_frames)
		sim_violation(s, "%llu frames leaked", s->live_frames);
	if (s->live_recs)
		sim_violation(s, "%llu records leaked", s->live_recs);

	while (s->quarantine) {
		struct sim_frame *f = s->quarantine;

		s->quarantine = f->next;
		free(f);
	}
	for (h = 0; h < s->p.hosts; h++) {
		struct sim_host *host = &s->hosts[h];

		for (i = 0; host->ranges && i < host->dsm.cfg.nr_ranges; i++) {
			free(host->ranges[i].pages);
			free(host->ranges[i].homes);
		}
		free(host->ranges);
		free(host->maps);
		free(host->timer);
	}
	free(s->hosts);
	free(s->dsms);
	free(s->views);
	free(s->truth);
	free(s->link_busy);
	free(s->vcpus);
	free(s->queue.heap);
	free(s->queue.events);
}
