// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One host of a space, driven by arbitrary bytes: local accesses, messages from
 * peers that follow no protocol, timers, holds, failing allocation, busy pages.
 * Nothing may crash, leak, or leave a page inconsistent in itself; a refused
 * message ends the space and a new one starts.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../dsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOSTS	4
#define GFNS	8		/* two for each home */
#define EPOCH	3

struct frame {
	u32 refs;
};

struct host {
	struct dsm dsm;
	struct dsm_range ranges[HOSTS];
	struct dsm_page pages[GFNS];
	struct dsm_home homes[2];
	const u8 *data;
	size_t left;
	long frames, recs;
	u64 lock;		/* the gfn the running call is for */
};

static u8 take(struct host *h)
{
	if (!h->left)
		return 0;
	h->left--;
	return *h->data++;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static struct frame *frame_new(struct host *h)
{
	struct frame *f = malloc(sizeof(*f));

	check(f);
	f->refs = 1;
	h->frames++;
	return f;
}

static void op_put_frame(void *ctx, u64 gfn, void *frame)
{
	struct host *h = ctx;
	struct frame *f = frame;

	(void)gfn;
	check(f->refs == 1);
	f->refs = 0;
	h->frames--;
	free(f);
}

static void op_send(void *ctx, u32 to, const struct dsm_msg *msg, void *frame, u32 flags)
{
	struct host *h = ctx;
	u8 wire[DSM_WIRE_SIZE];
	struct dsm_msg back;

	check(to < HOSTS && to != h->dsm.cfg.host && msg->gfn == h->lock);
	check(!msg->length == !frame && msg->epoch == EPOCH);
	/* Whatever happens, this host sends only what decodes. */
	dsm_wire_encode(msg, wire);
	check(!dsm_wire_decode(wire, sizeof(wire), &back));
	if (frame && (flags & DSM_SEND_GIVE))
		op_put_frame(ctx, msg->gfn, frame);
}

static int op_protect(void *ctx, u64 gfn, void *frame, enum dsm_prot prot)
{
	struct host *h = ctx;

	(void)prot;
	check(gfn == h->lock && ((struct frame *)frame)->refs == 1);
	return (take(h) & 7) == 7 ? -EAGAIN : 0;
}

static void *op_alloc_zero(void *ctx, u64 gfn)
{
	struct host *h = ctx;

	check(gfn == h->lock);
	return take(h) == 0xff ? NULL : frame_new(h);
}

static void *op_alloc_rec(void *ctx, size_t size)
{
	struct host *h = ctx;
	void *rec;

	check(size <= dsm_rec_size(&h->dsm));
	if (take(h) == 0xff)
		return NULL;
	rec = malloc(size);
	check(rec);
	memset(rec, 0xa5, size);
	h->recs++;
	return rec;
}

static void op_free_rec(void *ctx, struct dsm_rec *rec)
{
	struct host *h = ctx;

	h->recs--;
	free(rec);
}

static void op_wake(void *ctx, u64 gfn)
{
	check(gfn == ((struct host *)ctx)->lock);
}

static void op_set_timer(void *ctx, u64 gfn, struct dsm_rec *rec, u64 when_ns)
{
	(void)when_ns;
	check(rec && gfn == ((struct host *)ctx)->lock);
}

static void op_count(void *ctx, enum dsm_event event)
{
	(void)ctx;
	check(event < DSM_EV_NR);
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
};

static void start(struct host *h, u32 self)
{
	struct dsm_config cfg = {
		.ops = &ops,
		.ctx = h,
		.ranges = h->ranges,
		.nr_ranges = HOSTS,
		.host = self,
		.nr_hosts = HOSTS,
		.epoch = EPOCH,
	};
	u32 i;

	memset(h->pages, 0, sizeof(h->pages));
	memset(h->homes, 0, sizeof(h->homes));
	for (i = 0; i < HOSTS; i++) {
		h->ranges[i] = (struct dsm_range){
			.first_gfn = 2 * i,
			.nr_gfns = 2,
			.host = i,
			.pages = &h->pages[2 * i],
			.homes = i == self ? h->homes : NULL,
		};
	}
	check(!dsm_init(&h->dsm, &cfg));
}

static void stop(struct host *h)
{
	dsm_teardown(&h->dsm);
	check(!h->frames && !h->recs);
}

/* A message out of bytes, mostly near to sense. */
static void message(struct host *h, u32 self, u64 now)
{
	u8 sel = take(h), who = take(h), ver = take(h), odd = take(h);
	static const u16 data_flags[] = {
		0, DSM_F_EXCL, DSM_F_EXCL | DSM_F_SAME, DSM_F_EXCL | DSM_F_ZERO,
		DSM_F_CLEAN, DSM_F_EXCL | DSM_F_CLEAN, DSM_F_EXCL, DSM_F_EXCL | DSM_F_SAME,
	};
	struct dsm_msg msg = {
		.type = 1 + (sel & 15) % 9,
		.requester = (who >> 2) & 3,
		.epoch = EPOCH,
		.version = ver & 3,
		.gfn = sel >> 5,
	};
	void *frame = NULL;

	switch (msg.type) {
	case DSM_MSG_DATA:
		msg.flags = data_flags[(ver >> 2 & 3) | (who >> 4 & 4)];
		msg.acks = msg.flags == DSM_F_EXCL || msg.flags == (DSM_F_EXCL | DSM_F_SAME) ?
			   (ver >> 4) & 3 : 0;
		if (!(msg.flags & (DSM_F_SAME | DSM_F_ZERO)))
			msg.length = DSM_PAGE_SIZE;
		msg.requester = (u8)self;
		break;
	case DSM_MSG_FWD_X:
		msg.flags = ver & 4 ? DSM_F_SAME : 0;
		msg.acks = (ver >> 4) & 3;
		break;
	case DSM_MSG_REQ_S:
		msg.flags = ver & 4 ? DSM_F_PLAIN : 0;
		break;
	case DSM_MSG_FWD_S:
		msg.flags = ver & 4 ? DSM_F_EXCL : 0;
		break;
	case DSM_MSG_DONE:
		msg.flags = (ver & 4 ? DSM_F_EXCL : 0) | (ver & 8 ? DSM_F_CLEAN : 0);
		break;
	case DSM_MSG_REQ_X:
		msg.flags = ver & 4 ? DSM_F_HAVE : 0;
		break;
	case DSM_MSG_INV_ACK:
		msg.requester = (u8)self;
		break;
	}
	if (msg.type < DSM_MSG_DATA || msg.type == DSM_MSG_HURRY)
		msg.age = ver;
	/* And now and then no sense at all. */
	switch (odd) {
	case 1:
		msg.gfn = GFNS + ver;
		break;
	case 2:
		msg.epoch++;
		break;
	case 3:
		msg.flags = ver;
		break;
	case 4:
		msg.requester = ver;
		break;
	case 5:
		msg.acks = ver;
		break;
	case 6:
		msg.type = ver;
		break;
	case 7:
		msg.length = ver;
		break;
	}
	if (odd == 8 ? !msg.length : !!msg.length)
		frame = frame_new(h);
	h->lock = msg.gfn;
	dsm_receive(&h->dsm, odd == 9 ? ver : who & 3, &msg, frame, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host h = { .data = data, .left = size };
	u32 self = take(&h) % HOSTS;
	struct dsm_grant grant;
	struct dsm_page_info info;
	u64 now = 1ULL << 40;
	int ret;

	start(&h, self);
	while (h.left) {
		u8 op = take(&h);

		now += (u64)take(&h) << 12;
		h.lock = op >> 5;
		switch (op & 7) {
		case 0:
		case 1:
			ret = dsm_access(&h.dsm, h.lock, op & 8 ? DSM_WRITE :
					 op & 16 ? DSM_READ_PLAIN : DSM_READ, now - (op & 16) * 100000, now,
					 &grant);
			check(ret != DSM_GRANTED || ((struct frame *)grant.frame)->refs == 1);
			check(ret != DSM_GRANTED || !(op & 8) || grant.writable);
			break;
		case 2:
			dsm_timer(&h.dsm, h.lock, now);
			break;
		case 3:
			dsm_hold(&h.dsm, h.lock, now - take(&h) * 100000ULL,
				 now + take(&h) * 100000ULL, now);
			break;
		default:
			message(&h, self, now);
			break;
		}
		if (dsm_failed(&h.dsm)) {
			stop(&h);
			start(&h, self);
			continue;
		}
		check(h.lock >= GFNS || !dsm_check_page(&h.dsm, h.lock));
		dsm_page_state(&h.dsm, h.lock, &info);
	}
	stop(&h);
	return 0;
}
