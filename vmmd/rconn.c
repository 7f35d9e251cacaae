// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sending and receiving on a channel's RDMA connection: see rconn.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmd/conn.h"
#include "vmmd/rconn_priv.h"

#define BATCH	128	/* messages before others have their turn */
#define POLLED	16

/*
 * Over every work request and what is counted with it, of all connections: verbs
 * libraries have spinlocks, for a queue and for the doorbells that queues share.
 * The receiving thread, which has real-time priority, would spin for ever on one that
 * belongs to a vCPU's thread it has taken the CPU from.  Here it sleeps.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int rconn_fd(const struct rconn *c)
{
	return c->comp->fd;
}

int rconn_device_fd(const struct rconn *c)
{
	return c->id->verbs->cmd_fd;
}

int rconn_post_recv(struct rconn *c, unsigned int nr)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)c->mem + nr * RCONN_MSG_MAX,
		.length = RCONN_MSG_MAX,
		.lkey = c->mr->lkey,
	};
	struct ibv_recv_wr wr = { .wr_id = nr, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_recv(c->id->qp, &wr, &bad) ? -1 : 0;
}

/* ---- sending: under the lock ------------------------------------------------------ */

static size_t msg_len(const uint8_t *msg)
{
	return msg[2] == RCONN_GRANT ? RCONN_HEADER : RCONN_HEADER + FRAME_HEADER + get_u32(msg + RCONN_HEADER);
}

static bool has_room(const struct rconn *c)
{
	return c->sent - c->done < RCONN_SENDS;
}

static int post_send(struct rconn *c, const uint8_t *msg)
{
	uint8_t *buf = c->mem + (RCONN_DEPTH + c->sent % RCONN_SENDS) * RCONN_MSG_MAX;
	struct ibv_sge sge = {
		.addr = (uintptr_t)buf,
		.length = (uint32_t)msg_len(msg),
		.lkey = c->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = RCONN_DEPTH + (uint64_t)c->sent,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
		.send_flags = c->inlines ? IBV_SEND_INLINE : 0,
	}, *bad;

	memcpy(buf, msg, sge.length);
	rconn_put_credits(buf, rconn_take_credit(&c->credits));
	if (++c->sent % RCONN_SIGNAL == 0)
		wr.send_flags |= IBV_SEND_SIGNALED;
	c->sent_ms = now_ms();
	if (ibv_post_send(c->id->qp, &wr, &bad))
		c->broken = true;
	return c->broken ? -1 : 0;
}

static int enqueue(struct rconn *c, const uint8_t *msg)
{
	size_t size = c->queue_size ? c->queue_size : 64 * RCONN_MSG_MAX;
	/* It is full when what waits fills it, which the channel looks at. */
	bool largest = c->queue_len == c->queue_size && 2 * size > CONN_QUEUE_MAX;
	uint8_t *more;

	if (c->queue_pos > c->queue_len / 2 || largest) {
		c->queue_len -= c->queue_pos;
		memmove(c->queue, c->queue + c->queue_pos, c->queue_len);
		c->queue_pos = 0;
	}
	if (c->queue_len == c->queue_size) {
		while (size <= c->queue_len)
			size *= 2;
		more = size > CONN_QUEUE_MAX ? NULL : realloc(c->queue, size);
		if (!more)
			return -1;
		c->queue = more;
		c->queue_size = size;
	}
	memcpy(c->queue + c->queue_len, msg, RCONN_MSG_MAX);
	c->queue_len += RCONN_MSG_MAX;
	return 0;
}

/* What waits and may go, and the grant that is due. */
static int flush(struct rconn *c)
{
	uint8_t grant[RCONN_MSG_MAX];

	while (c->queue_pos < c->queue_len && rconn_may_send(&c->credits) && has_room(c)) {
		if (post_send(c, c->queue + c->queue_pos))
			return -1;
		c->queue_pos += RCONN_MSG_MAX;
	}
	if (!rconn_must_grant(&c->credits) || !has_room(c))
		return 0;
	rconn_grant_encode(grant);
	return post_send(c, grant);
}

int rconn_send(struct rconn *c, uint16_t type, uint32_t tag, const void *data, size_t len)
{
	uint8_t msg[RCONN_MSG_MAX] = { 0 };
	int ret = -1;

	if (len > RCONN_DATA_MAX)
		return -1;
	rconn_msg_encode(msg, type, tag, data, len);
	pthread_mutex_lock(&lock);
	if (c->broken)
		goto unlock;
	if (c->queue_pos == c->queue_len && rconn_may_send(&c->credits) && has_room(c))
		ret = post_send(c, msg);
	else
		ret = enqueue(c, msg);
	if (ret)
		c->broken = true;
	c->tx_frames++;
	c->tx_bytes += FRAME_HEADER + len;
unlock:
	pthread_mutex_unlock(&lock);
	return ret;
}

size_t rconn_pending(struct rconn *c)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = c->queue_len - c->queue_pos;
	pthread_mutex_unlock(&lock);
	return n;
}

uint64_t rconn_sent_ms(const struct rconn *c)
{
	return c->sent_ms;
}

/* ---- receiving -------------------------------------------------------------------- */

static int take_message(struct rconn *c, const struct ibv_wc *wc, int (*handle)(void *arg, const struct frame *f),
			void *arg)
{
	unsigned int credits, nr = (unsigned int)wc->wr_id;
	struct frame f;
	int ret, kind;

	kind = rconn_decode(c->mem + nr * RCONN_MSG_MAX, wc->byte_len, &credits, &f);
	if (kind < 0)
		return -1;
	pthread_mutex_lock(&lock);
	ret = rconn_add_credits(&c->credits, credits);
	pthread_mutex_unlock(&lock);
	if (ret)
		return -1;
	if (kind == RCONN_MSG) {
		c->rx_frames++;
		c->rx_bytes += FRAME_HEADER + f.len;
		if (handle(arg, &f))
			return -1;
	}
	pthread_mutex_lock(&lock);
	ret = rconn_post_recv(c, nr);
	c->credits.due++;
	pthread_mutex_unlock(&lock);
	return ret;
}

int rconn_receive(struct rconn *c, int (*handle)(void *arg, const struct frame *f), void *arg,
		  char *why, size_t whylen)
{
	struct ibv_wc wc[POLLED];
	int i, n, seen = 0, ret;
	struct ibv_cq *cq;
	void *context;

	/* Ask for the next event first: nothing that came before is missed then. */
	if (!ibv_get_cq_event(c->comp, &cq, &context)) {
		ibv_ack_cq_events(c->cq, 1);
		ret = ibv_req_notify_cq(c->cq, 0);
	} else {
		ret = errno != EAGAIN && errno != EINTR;
	}
	if (ret) {
		snprintf(why, whylen, "its RDMA connection failed: the device is gone");
		return -1;
	}
	do {
		n = ibv_poll_cq(c->cq, POLLED, wc);
		for (i = 0; i < n; i++) {
			if (wc[i].status != IBV_WC_SUCCESS) {
				snprintf(why, whylen, "its RDMA connection failed: %s", ibv_wc_status_str(wc[i].status));
				return -1;
			}
			if (wc[i].wr_id >= RCONN_DEPTH) {
				pthread_mutex_lock(&lock);
				c->done = (uint32_t)(wc[i].wr_id - RCONN_DEPTH) + 1;
				pthread_mutex_unlock(&lock);
			} else if (take_message(c, &wc[i], handle, arg)) {
				snprintf(why, whylen, "a malformed message came");
				return -1;
			}
		}
		seen += n;
		/* While messages come: what they let go, and the grants that let them come. */
		pthread_mutex_lock(&lock);
		ret = n < 0 || c->broken || flush(c) ? -1 : 0;
		pthread_mutex_unlock(&lock);
	} while (!ret && n && seen < BATCH);
	if (ret)
		snprintf(why, whylen, "its RDMA connection failed");
	return ret ? ret : n > 0;
}

void rconn_get_stats(struct rconn *c, struct rconn_stats *s)
{
	pthread_mutex_lock(&lock);
	s->tx_frames = c->tx_frames;
	s->tx_bytes = c->tx_bytes;
	pthread_mutex_unlock(&lock);
	s->rx_frames = c->rx_frames;
	s->rx_bytes = c->rx_bytes;
}
