// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Between the machine and the channel: interrupt messages and device accesses, out
 * and in.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmmd/channel_priv.h"

/* ---- from the machine ---------------------------------------------------- */

static void send_apic_msg(void *ctx, uint64_t nodes, const struct apic_msg *msg)
{
	struct channel *ch = ctx;
	uint8_t buf[APIC_MSG_SIZE];
	unsigned int n;

	apic_msg_encode(buf, msg);
	for (; nodes; nodes &= nodes - 1) {
		n = (unsigned int)__builtin_ctzll(nodes);
		if (n >= ch->p.nr_nodes || n == ch->p.node)
			continue;
		channel_peer_send(&ch->peer[n], F_APIC_MSG, 0, buf, sizeof(buf));
		ch->apic_out++;
	}
}

static void send_apic_info(void *ctx, const struct apic_info *info)
{
	struct channel *ch = ctx;
	uint8_t buf[APIC_INFO_SIZE];
	unsigned int n;

	apic_info_encode(buf, info);
	for (n = 0; n < ch->p.nr_nodes; n++)
		if (n != ch->p.node)
			channel_peer_send(&ch->peer[n], F_APIC_INFO, 0, buf, sizeof(buf));
}

static void send_eoi(void *ctx, uint8_t vector)
{
	struct channel *ch = ctx;

	channel_peer_send(&ch->peer[0], F_EOI, 0, &vector, 1);
	ch->eoi_out++;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int send_io(void *ctx, unsigned int node, struct io_req *req)
{
	struct channel *ch = ctx;
	struct rpc r = { .node = node, .size = req->size }, **pr;
	uint64_t start_ns = now_ns();
	uint8_t buf[IO_SIZE];
	int ret;

	if (node >= ch->p.nr_nodes || node == ch->p.node)
		return -1;
	io_encode(buf, req);
	pthread_cond_init(&r.cond, NULL);
	pthread_mutex_lock(&ch->rpc_lock);
	r.tag = ++ch->next_tag;
	r.next = ch->rpcs;
	ch->rpcs = &r;
	pthread_mutex_unlock(&ch->rpc_lock);

	ret = channel_peer_send(&ch->peer[node], F_IO, r.tag, buf, sizeof(buf));
	pthread_mutex_lock(&ch->rpc_lock);
	while (!ret && r.state == RPC_WAITS)
		pthread_cond_wait(&r.cond, &ch->rpc_lock);
	for (pr = &ch->rpcs; *pr != &r; pr = &(*pr)->next)
		;
	*pr = r.next;
	pthread_mutex_unlock(&ch->rpc_lock);
	pthread_cond_destroy(&r.cond);

	ch->io_out++;
	ch->io_wait_ns += now_ns() - start_ns;
	if (r.state != RPC_DONE)
		return -1;
	if (!req->write)
		req->data = r.data;
	return 0;
}

const struct machine_peer_ops channel_peer_ops = {
	.apic_msg = send_apic_msg,
	.apic_info = send_apic_info,
	.eoi = send_eoi,
	.io = send_io,
};

/* ---- to the machine ------------------------------------------------------ */

static int on_io(struct peer *p, uint32_t tag, struct io_req *req)
{
	uint8_t buf[IO_SIZE];

	machine_rx_io(p->ch->machine, req);
	io_encode(buf, req);
	p->ch->io_in++;
	channel_peer_send(p, F_IO_DONE, tag, buf, sizeof(buf));
	return 0;
}

/* For the machine, which is there; under rx_lock. */
static int to_machine(struct peer *p, uint16_t type, uint32_t tag, const uint8_t *data, uint32_t len)
{
	struct channel *ch = p->ch;
	struct apic_info info;
	struct apic_msg msg;
	struct io_req req;

	switch (type) {
	case F_APIC_MSG:
		if (apic_msg_decode(data, len, &msg))
			return -1;
		ch->apic_in++;
		machine_rx_apic_msg(ch->machine, &msg);
		return 0;
	case F_APIC_INFO:
		if (apic_info_decode(data, len, &info))
			return -1;
		machine_rx_apic_info(ch->machine, &info);
		return 0;
	case F_EOI:
		if (len != 1 || ch->p.node)
			return -1;
		ch->eoi_in++;
		machine_rx_eoi(ch->machine, data[0]);
		return 0;
	case F_IO:
		if (io_decode(data, len, &req))
			return -1;
		return on_io(p, tag, &req);
	}
	return -1;
}

/* Keep a message for the machine that is being made. */
static int keep(struct peer *p, const struct frame *f)
{
	struct channel *ch = p->ch;
	struct early *e;

	/* Before the guest runs nobody has a device to ask for. */
	if (f->type == F_IO || f->len > sizeof(e->data) || ch->nr_early == EARLY_MAX || !ch->early)
		return -1;
	e = &ch->early[ch->nr_early++];
	e->node = p->node;
	e->type = f->type;
	e->len = (uint8_t)f->len;
	memcpy(e->data, f->data, f->len);
	return 0;
}

int channel_to_machine(struct peer *p, const struct frame *f)
{
	struct channel *ch = p->ch;
	int ret;

	pthread_mutex_lock(&ch->rx_lock);
	if (ch->machine)
		ret = to_machine(p, f->type, f->tag, f->data, f->len);
	else
		ret = ch->ending ? 0 : keep(p, f);
	pthread_mutex_unlock(&ch->rx_lock);
	return ret;
}

void channel_set_machine(struct channel *ch, struct machine *m)
{
	unsigned int i;

	pthread_mutex_lock(&ch->rx_lock);
	ch->machine = m;
	for (i = 0; m && i < ch->nr_early; i++)
		to_machine(&ch->peer[ch->early[i].node], ch->early[i].type, 0,
			   ch->early[i].data, ch->early[i].len);
	ch->nr_early = 0;
	pthread_mutex_unlock(&ch->rx_lock);
}

int channel_on_io_done(struct peer *p, const struct frame *f)
{
	struct channel *ch = p->ch;
	struct io_req req;
	struct rpc *r;
	int ret = -1;

	if (io_decode(f->data, f->len, &req))
		return -1;
	pthread_mutex_lock(&ch->rpc_lock);
	for (r = ch->rpcs; r; r = r->next) {
		if (r->tag != f->tag || r->node != p->node || r->state != RPC_WAITS)
			continue;
		r->data = r->size < 8 ? req.data & ((1ULL << r->size * 8) - 1) : req.data;
		r->state = RPC_DONE;
		pthread_cond_signal(&r->cond);
		ret = 0;
		break;
	}
	pthread_mutex_unlock(&ch->rpc_lock);
	return ret;
}
