// SPDX-License-Identifier: GPL-2.0-or-later
/* The platform of net.h. */
#include "net.h"

static struct net_frame *frame_new(struct net *net)
{
	struct net_frame *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->refs = 1;
	net->frames++;
	return f;
}

static void frame_put(struct net *net, struct net_frame *f)
{
	assert_int_not_equal(f->refs, 0);
	if (--f->refs)
		return;
	net->frames--;
	free(f);
}

static bool alloc_fails(struct net *net)
{
	if (net->skip_allocs) {
		net->skip_allocs--;
		return false;
	}
	if (!net->fail_allocs)
		return false;
	net->fail_allocs--;
	return true;
}

static void op_send(void *ctx, u32 to, const struct dsm_msg *msg, void *frame, u32 flags)
{
	struct net_host *h = ctx;
	struct net *net = h->net;
	struct net_frame *f = frame;
	u8 wire[DSM_WIRE_SIZE];
	struct dsm_msg back;

	assert_true(to < NET_HOSTS && to != h->id);
	assert_true(net->nr < NET_MAX_MSGS);
	dsm_wire_encode(msg, wire);
	assert_int_equal(dsm_wire_decode(wire, sizeof(wire), &back), 0);
	if (f && !(flags & DSM_SEND_GIVE))
		f->refs++;
	net->queue[net->nr++] = (struct net_msg){ h->id, to, *msg, f };
	net->sent++;
	net->pages_sent += !!f;
}

static int op_protect(void *ctx, u64 gfn, void *frame, enum dsm_prot prot)
{
	struct net_host *h = ctx;

	(void)gfn;
	assert_non_null(frame);
	h->protects++;
	h->prot = prot;
	if (!h->busy)
		return 0;
	h->busy--;
	return -EAGAIN;
}

static void *op_alloc_zero(void *ctx, u64 gfn)
{
	struct net_host *h = ctx;

	(void)gfn;
	return alloc_fails(h->net) ? NULL : frame_new(h->net);
}

static void op_put_frame(void *ctx, u64 gfn, void *frame)
{
	(void)gfn;
	frame_put(((struct net_host *)ctx)->net, frame);
}

static void *op_alloc_rec(void *ctx, size_t size)
{
	struct net_host *h = ctx;
	void *rec;

	if (alloc_fails(h->net))
		return NULL;
	rec = malloc(size);
	assert_non_null(rec);
	memset(rec, 0xa5, size);
	h->net->recs++;
	return rec;
}

static void op_free_rec(void *ctx, struct dsm_rec *rec)
{
	((struct net_host *)ctx)->net->recs--;
	free(rec);
}

static void op_wake(void *ctx, u64 gfn)
{
	(void)gfn;
	((struct net_host *)ctx)->wakes++;
}

static void op_set_timer(void *ctx, u64 gfn, struct dsm_rec *rec, u64 when_ns)
{
	(void)gfn;
	assert_non_null(rec);
	((struct net_host *)ctx)->timer_ns = when_ns;
}

static void op_count(void *ctx, enum dsm_event event)
{
	((struct net_host *)ctx)->events[event]++;
}

static void op_done(void *ctx, u64 gfn, enum dsm_event event, u64 wait_ns)
{
	struct net_host *h = ctx;

	assert_true(gfn < NET_GFNS);
	h->done[event]++;
	h->done_ns = wait_ns;
}

static const struct dsm_ops ops = {
	.send		= op_send,
	.protect	= op_protect,
	.alloc_zero	= op_alloc_zero,
	.put_frame	= op_put_frame,
	.alloc_rec	= op_alloc_rec,
	.free_rec	= op_free_rec,
	.wake		= op_wake,
	.set_timer	= op_set_timer,
	.count		= op_count,
	.done		= op_done,
};

void net_start(struct net *net)
{
	u32 i, g;

	memset(net, 0, sizeof(*net));
	net->now = 1ULL << 40;
	for (i = 0; i < NET_HOSTS; i++) {
		struct net_host *h = &net->h[i];
		struct dsm_config cfg = {
			.ops = &ops,
			.ctx = h,
			.ranges = h->ranges,
			.nr_ranges = NET_GFNS,
			.host = i,
			.nr_hosts = NET_HOSTS,
			.epoch = NET_EPOCH,
		};

		h->net = net;
		h->id = i;
		for (g = 0; g < NET_GFNS; g++)
			h->ranges[g] = (struct dsm_range){
				.first_gfn = g,
				.nr_gfns = 1,
				.host = g,
				.pages = &h->pages[g],
				.homes = g == i ? &h->home : NULL,
			};
		assert_int_equal(dsm_init(&h->dsm, &cfg), 0);
	}
}

void net_stop(struct net *net)
{
	u32 i;

	for (i = 0; i < net->nr; i++)
		if (net->queue[i].frame)
			frame_put(net, net->queue[i].frame);
	for (i = 0; i < NET_HOSTS; i++)
		dsm_teardown(&net->h[i].dsm);
	assert_int_equal(net->frames, 0);
	assert_int_equal(net->recs, 0);
}

static int access_for(struct net *net, u32 h, u64 gfn, enum dsm_want want, u64 since_ns)
{
	struct dsm_grant grant;
	int ret = dsm_access(&net->h[h].dsm, gfn, want, since_ns, net->now, &grant);

	if (ret == DSM_GRANTED) {
		assert_non_null(grant.frame);
		assert_true(want != DSM_WRITE || grant.writable);
		assert_true(!grant.writable || net_info(net, h, gfn).written);
	}
	return ret;
}

int net_access_since(struct net *net, u32 h, u64 gfn, bool write, u64 since_ns)
{
	return access_for(net, h, gfn, write ? DSM_WRITE : DSM_READ, since_ns);
}

int net_walk(struct net *net, u32 h, u64 gfn)
{
	return access_for(net, h, gfn, DSM_READ_PLAIN, net->now);
}

int net_access(struct net *net, u32 h, u64 gfn, bool write)
{
	return net_access_since(net, h, gfn, write, net->now);
}

int net_inject(struct net *net, u32 h, u32 from, const struct dsm_msg *msg, bool page)
{
	return dsm_receive(&net->h[h].dsm, from, msg, page ? frame_new(net) : NULL, net->now);
}

static int deliver_nth(struct net *net, u32 n)
{
	struct net_msg m = net->queue[n];
	struct net_frame *copy = NULL;

	memmove(&net->queue[n], &net->queue[n + 1], (net->nr - n - 1) * sizeof(m));
	net->nr--;
	if (m.frame) {
		copy = frame_new(net);
		copy->word = m.frame->word;
		frame_put(net, m.frame);
	}
	return dsm_receive(&net->h[m.to].dsm, m.from, &m.msg, copy, net->now);
}

static u32 find(const struct net *net, u32 from, u32 to, u8 type)
{
	u32 i;

	for (i = 0; i < net->nr; i++)
		if (net->queue[i].from == from && net->queue[i].to == to &&
		    net->queue[i].msg.type == type)
			return i;
	return net->nr;
}

bool net_in_flight(const struct net *net, u32 from, u32 to, u8 type)
{
	return find(net, from, to, type) < net->nr;
}

int net_try_deliver(struct net *net, u32 from, u32 to, u8 type)
{
	u32 i = find(net, from, to, type);

	if (i == net->nr)
		fail_msg("no %s from %u to %u in flight", dsm_msg_name(type), from, to);
	return deliver_nth(net, i);
}

void net_deliver(struct net *net, u32 from, u32 to, u8 type)
{
	assert_int_equal(net_try_deliver(net, from, to, type), 0);
}

void net_settle(struct net *net)
{
	while (net->nr)
		assert_int_equal(deliver_nth(net, 0), 0);
}

void net_mark(struct net *net)
{
	net->sent = 0;
	net->pages_sent = 0;
}

struct dsm_page_info net_info(struct net *net, u32 h, u64 gfn)
{
	struct dsm_page_info info;

	assert_int_equal(dsm_page_state(&net->h[h].dsm, gfn, &info), 0);
	return info;
}

enum dsm_state net_state(struct net *net, u32 h, u64 gfn)
{
	return net_info(net, h, gfn).state;
}

u64 *net_word(struct net *net, u32 h, u64 gfn)
{
	struct net_frame *f = net_info(net, h, gfn).frame;

	assert_non_null(f);
	return &f->word;
}

void net_unhold(struct net *net, u32 h, u64 gfn)
{
	dsm_hold(&net->h[h].dsm, gfn, 0, net->now, net->now);
}

void net_hold_ends(struct net *net, u32 h, u64 gfn)
{
	unsigned int n;

	for (n = 0; net_info(net, h, gfn).deferred; n++) {
		assert_true(n < 20);
		net->now = net->h[h].timer_ns;
		assert_int_equal(dsm_timer(&net->h[h].dsm, gfn, net->now), 0);
	}
}

void net_get(struct net *net, u32 h, u64 gfn, bool write)
{
	int ret = net_access(net, h, gfn, write);

	if (ret == DSM_WAIT) {
		net_settle(net);
		ret = net_access(net, h, gfn, write);
	}
	assert_int_equal(ret, DSM_GRANTED);
	net_unhold(net, h, gfn);
	net_check(net);
}

void net_check(struct net *net)
{
	struct dsm *hosts[NET_HOSTS];
	const char *what;
	u32 i;

	for (i = 0; i < NET_HOSTS; i++)
		hosts[i] = &net->h[i].dsm;
	for (i = 0; i < NET_GFNS; i++) {
		what = dsm_check_global(hosts, NET_HOSTS, i);
		if (what)
			fail_msg("gfn %u: %s", i, what);
	}
}

int net_start_test(void **state)
{
	net_start(*state);
	return 0;
}

int net_stop_test(void **state)
{
	net_stop(*state);
	return 0;
}

int net_finish_test(void **state)
{
	net_settle(*state);
	net_check(*state);
	net_stop(*state);
	return 0;
}
