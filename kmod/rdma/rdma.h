/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of cvmm_rdma.ko: endpoints (endpoint.c), which become the transport of a
 * link (main.c), and their lanes, one queue pair each (lane.c).  The protocol
 * between two ends is described in kmod/RDMA.rst.
 */
#ifndef CVMM_RDMA_H
#define CVMM_RDMA_H

#include <linux/cvmm.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "../link.h"
#include "../space_priv.h"
#include "wire.h"

/* Receive buffers of a lane that have a page, and so the peer's credits. */
#define RDMA_DEPTH		64
/* ... and one without, for the peer's first grant. */
#define RDMA_RX_SLOTS		(RDMA_DEPTH + 1)
#define RDMA_RX_FIRST		RDMA_DEPTH
/*
 * Sends on their way or not known to be done.  More than credits: a credit may
 * come back before the completion has been looked at.
 */
#define RDMA_TX_SLOTS		(2 * RDMA_DEPTH)
/* Kept for grants: each gives back at least half of the credits, bar one a second. */
#define RDMA_TX_RESERVED	8
/* Every so many sends one reports its completion, and that of those before. */
#define RDMA_SIGNAL_EVERY	8
static_assert(RDMA_TX_SLOTS % RDMA_SIGNAL_EVERY == 0);

struct rdma_rx {
	struct page *page;	/* NULL in RDMA_RX_FIRST */
	u64 dma;
};

struct rdma_tx {
	struct cvmm_msg *msg;	/* with a page, mapped at dma; or NULL */
	u64 dma;
};

/**
 * struct rdma_lane - one queue pair
 * @ep:		its endpoint
 * @nr:		number in it
 * @id:		connection, NULL before there is one; under ep->lock until connected
 * @up:		connected, and the peer has shown its token; ep->lock
 * @pd, @rcq, @scq: the device's; the queue pair is @id's
 * @inlines:	headers go into the send queue itself
 * @wires:	headers: of the receive slots, then of the send slots
 * @wires_dma:	their address for the device
 * @rx, @tx:	RDMA_RX_SLOTS, RDMA_TX_SLOTS
 * @rx_work:	takes completions of both queues
 * @rx_lock:	held while messages are taken, one after the other; before page locks
 * @closed:	no more are; @rx_lock
 * @lock:	protects what follows
 * @dead:	nothing is posted any more
 * @granted:	the peer has given credits: it can receive
 * @flushed:	the queue pair is in error, for a reason that is to be told yet
 * @tx_status:	first error among the sends' completions
 * @credits:	messages that the peer has room for
 * @to_grant:	buffers posted that the peer does not know of
 * @head, @tail: sends posted and sends known to be done; slots modulo their number
 * @sent:	jiffies of the last send
 * @room:	who waits for credits or slots
 */
struct rdma_lane {
	struct rdma_ep *ep;
	unsigned int nr;
	struct rdma_cm_id *id;
	bool up;
	struct ib_pd *pd;
	struct ib_cq *rcq;
	struct ib_cq *scq;
	bool inlines;
	struct rdma_wire *wires;
	u64 wires_dma;
	struct rdma_rx *rx;
	struct rdma_tx *tx;
	struct work_struct rx_work;
	struct mutex rx_lock;
	bool closed;

	spinlock_t lock;
	bool dead;
	bool granted;
	bool flushed;
	enum ib_wc_status tx_status;
	u32 credits;
	u32 to_grant;
	u32 head;
	u32 tail;
	unsigned long sent;
	wait_queue_head_t room;
};

/**
 * struct rdma_ep - one end of a connection
 * @ref:	descriptor and link
 * @lock:	protects what follows; the connection manager's callbacks take it
 * @state:	CVMM_RDMA_WAITING, ...
 * @error, @reason: of a failure, error positive
 * @listens:	the peer connects to us
 * @taken:	has become a link's
 * @closing:	callbacks do nothing any more
 * @link:	whose transport it is, or NULL; stays until release()
 * @token, @peer_token: what is shown, what has to be
 * @listener:	waits for the peer, or NULL
 * @nr_lanes:	0: the peer has not told yet
 * @nr_up:	connected ones
 * @wait:	poll
 * @teardown_lock: held while all that is the device's goes
 * @gone:	it has; @teardown_lock
 * @started:	the link receives
 * @hello:	the link's first message has been taken: all lanes may be heard
 * @alive_work:	signs of life on idle lanes
 * @remove_work: the device goes away
 */
struct rdma_ep {
	struct kref ref;
	struct mutex lock;
	u32 state;
	int error;
	const char *reason;
	bool listens;
	bool taken;
	bool closing;
	struct cvmm_link *link;
	u8 token[CVMM_RDMA_TOKEN_LEN];
	u8 peer_token[CVMM_RDMA_TOKEN_LEN];
	struct rdma_cm_id *listener;
	unsigned int nr_lanes;
	unsigned int nr_up;
	wait_queue_head_t wait;

	struct mutex teardown_lock;
	bool gone;
	bool started;
	bool hello;
	struct delayed_work alive_work;
	struct work_struct remove_work;
	struct rdma_lane lane[CVMM_RDMA_MAX_QPS];
};

extern struct workqueue_struct *cvmm_rdma_wq;

/* ---- endpoint.c */

/* CVMM_RDMA_ENDPOINT: a new descriptor or -errno.  May sleep. */
long cvmm_rdma_endpoint(void __user *uarg);
/*
 * The connected endpoint behind a descriptor becomes @link's.  With a reference, or
 * ERR_PTR: -EBADF, -EINVAL (not an endpoint), -ENOTCONN, -EBUSY (has a link).
 */
struct rdma_ep *cvmm_rdma_take(int fd, struct cvmm_link *link);
void cvmm_rdma_put(struct rdma_ep *ep);
/*
 * Give back all that is the device's: connections, queues, messages and pages
 * in them.  Idempotent; when it returns nothing of this endpoint runs any more.
 */
void cvmm_rdma_teardown(struct rdma_ep *ep);
/* The first reason counts.  @reason is a literal.  May sleep. */
void cvmm_rdma_fail(struct rdma_ep *ep, int error, const char *reason);

/* ---- lane.c */

void cvmm_rdma_lane_init(struct rdma_lane *lane, struct rdma_ep *ep, unsigned int nr);
/*
 * Make queues and the queue pair of @lane->id, which has a device, with one
 * receive buffer posted.  May sleep.  0 or -errno; cvmm_rdma_lane_destroy() in
 * either case.
 */
int cvmm_rdma_lane_create(struct rdma_lane *lane);
/* The connection stays; nobody sends.  May sleep. */
void cvmm_rdma_lane_destroy(struct rdma_lane *lane);
/* Post all receive buffers and grant them; the endpoint has its link.  May sleep. */
int cvmm_rdma_lane_start(struct rdma_lane *lane);
/* Nothing is sent any more; who waits returns. */
void cvmm_rdma_lane_kill(struct rdma_lane *lane);
/* Every second: a sign of life if the lane is idle, completions, what went wrong. */
void cvmm_rdma_lane_tick(struct rdma_lane *lane);
/* poll() of the transport on its lane */
unsigned int cvmm_rdma_lane_poll(struct rdma_lane *lane);
/* xmit() of the transport on its lane */
int cvmm_rdma_lane_xmit(struct rdma_lane *lane, struct cvmm_msg *msg, unsigned int flags);

#endif /* CVMM_RDMA_H */
