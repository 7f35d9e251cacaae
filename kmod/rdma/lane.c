// SPDX-License-Identifier: GPL-2.0-only
/*
 * A lane: one reliable queue pair, with messages in order in both directions.
 *
 * Sending.  A header goes from the lane's ring (or, where the device can, within
 * the work request), a page straight from the guest's frame.  Completions are
 * looked at by who sends next, without interrupts; only who runs out of slots
 * has the send queue's interrupt armed.
 *
 * Receiving.  Each buffer is a header and a page frame of the space.  A page that
 * has come in passes to the space with its frame, and a fresh frame takes its
 * place; a message without a page leaves the frame for the next one.
 *
 * Credits.  A message takes one, a buffer posted again gives one back, with the
 * next message or, when half of them are due, with a grant of its own.  Messages
 * leave the last credit to grants, so grants can always be sent:
 * kmod/RDMA.rst, "Credits".
 */
#include <linux/slab.h>

#include "rdma.h"

#define RX_BATCH	16
/* For who waits for one message and takes what is before it */
#define POLL_BATCH	4
#define RX_BUDGET	128

/* ------------------------------------------------------------ sending */

static struct ib_device *lane_dev(const struct rdma_lane *lane)
{
	return lane->pd->device;
}

static u64 wire_dma(const struct rdma_lane *lane, unsigned int slot)
{
	return lane->wires_dma + slot * sizeof(struct rdma_wire);
}

/*
 * lane->lock held.  Messages whose pages have been sent go to @done, for
 * free_sent() without the lock.
 */
static void lane_reap(struct rdma_lane *lane, struct list_head *done)
{
	struct ib_wc wc[4];
	int i, n;

	while (!lane->dead && (n = ib_poll_cq(lane->scq, ARRAY_SIZE(wc), wc)) > 0) {
		for (i = 0; i < n; i++) {
			if (wc[i].status) {
				/* The queue pair is in error: teardown frees the rest. */
				if (!lane->tx_status && wc[i].status != IB_WC_WR_FLUSH_ERR)
					lane->tx_status = wc[i].status;
				continue;
			}
			/* In order: all up to this one are done. */
			while ((s32)((u32)wc[i].wr_id - lane->tail) >= 0) {
				struct rdma_tx *tx = &lane->tx[lane->tail++ % RDMA_TX_SLOTS];

				if (!tx->msg)
					continue;
				ib_dma_unmap_page(lane_dev(lane), tx->dma, PAGE_SIZE,
						  DMA_TO_DEVICE);
				list_add_tail(&tx->msg->node, done);
				tx->msg = NULL;
			}
		}
	}
}

static void free_sent(struct rdma_lane *lane, struct list_head *done)
{
	struct cvmm_msg *msg, *next;

	list_for_each_entry_safe(msg, next, done, node)
		cvmm_msg_free(lane->ep->link, msg);
}

static unsigned int slots_free(const struct rdma_lane *lane)
{
	return RDMA_TX_SLOTS - (lane->head - lane->tail);
}

/* lane->lock held.  May a message be sent? */
static bool lane_has_room(const struct rdma_lane *lane)
{
	return lane->granted && lane->credits > 1 && slots_free(lane) > RDMA_TX_RESERVED;
}

/*
 * lane->lock held; there are a credit and a slot.  @msg is NULL for a grant.
 * With a page @msg is the lane's when this returns 0.
 */
static int lane_post(struct rdma_lane *lane, struct cvmm_msg *msg)
{
	struct ib_device *dev = lane_dev(lane);
	const unsigned int slot = lane->head % RDMA_TX_SLOTS;
	struct rdma_wire *wire = &lane->wires[RDMA_RX_SLOTS + slot];
	struct rdma_tx *tx = &lane->tx[slot];
	struct ib_sge sge[2] = { };
	struct ib_send_wr wr = {
		.wr_id = lane->head,
		.sg_list = sge,
		.num_sge = 1,
		.opcode = IB_WR_SEND,
	};
	int ret;

	rdma_wire_encode(wire, lane->to_grant, msg ? msg->hdr : NULL);
	/* Of what is rare each reports, so that nothing is kept for long after the last. */
	if (!msg || slot % RDMA_SIGNAL_EVERY == RDMA_SIGNAL_EVERY - 1)
		wr.send_flags |= IB_SEND_SIGNALED;

	sge[0].length = sizeof(*wire);
	if (msg && msg->len) {
		tx->dma = ib_dma_map_page(dev, msg->page, 0, PAGE_SIZE, DMA_TO_DEVICE);
		if (ib_dma_mapping_error(dev, tx->dma))
			return -ENOMEM;
		sge[1].addr = tx->dma;
		sge[1].length = PAGE_SIZE;
		sge[1].lkey = lane->pd->local_dma_lkey;
		wr.num_sge = 2;
	}
	if (lane->inlines && wr.num_sge == 1) {
		sge[0].addr = (uintptr_t)wire;
		wr.send_flags |= IB_SEND_INLINE;
	} else {
		sge[0].addr = wire_dma(lane, RDMA_RX_SLOTS + slot);
		sge[0].lkey = lane->pd->local_dma_lkey;
		ib_dma_sync_single_for_device(dev, sge[0].addr, sizeof(*wire), DMA_TO_DEVICE);
	}
	ret = ib_post_send(lane->id->qp, &wr, NULL);
	if (ret) {
		if (wr.num_sge == 2)
			ib_dma_unmap_page(dev, tx->dma, PAGE_SIZE, DMA_TO_DEVICE);
		return ret == -EAGAIN ? -EIO : ret;	/* to the link it is no error */
	}
	tx->msg = wr.num_sge == 2 ? msg : NULL;
	lane->head++;
	lane->credits--;
	lane->to_grant = 0;
	lane->sent = jiffies;
	return 0;
}

static int lane_try_xmit(struct rdma_lane *lane, struct cvmm_msg *msg)
{
	const bool page = msg->len;
	LIST_HEAD(done);
	int ret;

	spin_lock(&lane->lock);
	if (slots_free(lane) < RDMA_TX_SLOTS - RDMA_SIGNAL_EVERY)
		lane_reap(lane, &done);
	if (lane->dead)
		ret = -ENOTCONN;
	else if (!lane_has_room(lane))
		ret = -EAGAIN;
	else
		ret = lane_post(lane, msg);
	spin_unlock(&lane->lock);
	free_sent(lane, &done);
	if (!ret && !page)
		cvmm_msg_free(lane->ep->link, msg);
	return ret;
}

/* Have rx_work called when a send completes, or because one has meanwhile. */
static void lane_arm_sends(struct rdma_lane *lane)
{
	spin_lock(&lane->lock);
	if (!lane->dead &&
	    ib_req_notify_cq(lane->scq, IB_CQ_NEXT_COMP | IB_CQ_REPORT_MISSED_EVENTS) > 0)
		queue_work(cvmm_rdma_wq, &lane->rx_work);
	spin_unlock(&lane->lock);
}

static bool lane_may_go_on(struct rdma_lane *lane)
{
	bool go;

	spin_lock(&lane->lock);
	go = lane->dead || lane_has_room(lane);
	spin_unlock(&lane->lock);
	return go;
}

static void lane_wake(struct rdma_lane *lane)
{
	if (wq_has_sleeper(&lane->room))
		wake_up(&lane->room);
}

/*
 * Wait until there is room.  For as long as it takes while the peer has no space yet:
 * to the watchdog, this is no task that hangs.
 */
static int lane_wait(struct rdma_lane *lane)
{
	bool granted;

	lane_arm_sends(lane);
	spin_lock(&lane->lock);
	granted = lane->granted;
	spin_unlock(&lane->lock);
	if (!granted)
		wait_event_idle(lane->room, lane_may_go_on(lane));
	else if (!wait_event_timeout(lane->room, lane_may_go_on(lane),
				     msecs_to_jiffies(CVMM_LINK_TIMEOUT_MS)))
		return -ETIMEDOUT;
	return 0;
}

int cvmm_rdma_lane_xmit(struct rdma_lane *lane, struct cvmm_msg *msg, unsigned int flags)
{
	int ret;

	for (;;) {
		ret = lane_try_xmit(lane, msg);
		if (ret != -EAGAIN || (flags & CVMM_XMIT_NOWAIT))
			return ret;
		ret = lane_wait(lane);
		if (ret)
			return ret;
	}
}

/* ---------------------------------------------------------- receiving */

static int lane_post_rx(struct rdma_lane *lane, unsigned int slot)
{
	struct rdma_rx *rx = &lane->rx[slot];
	struct ib_sge sge[2] = {
		{
			.addr = wire_dma(lane, slot),
			.length = sizeof(struct rdma_wire),
			.lkey = lane->pd->local_dma_lkey,
		}, {
			.addr = rx->dma,
			.length = PAGE_SIZE,
			.lkey = lane->pd->local_dma_lkey,
		}
	};
	struct ib_recv_wr wr = {
		.wr_id = slot,
		.sg_list = sge,
		.num_sge = rx->page ? 2 : 1,
	};

	ib_dma_sync_single_for_device(lane_dev(lane), sge[0].addr, sge[0].length, DMA_FROM_DEVICE);
	return ib_post_recv(lane->id->qp, &wr, NULL);
}

/* A frame for the slot, which has none.  May sleep. */
static int lane_fill_rx(struct rdma_lane *lane, unsigned int slot)
{
	struct cvmm_space *space = lane->ep->link->space;
	struct ib_device *dev = lane_dev(lane);
	struct page *page = cvmm_frame_for_rx(space);
	u64 dma;

	if (!page)
		return -ENOMEM;
	dma = ib_dma_map_page(dev, page, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(dev, dma)) {
		cvmm_frame_free(space, page);
		return -ENOMEM;
	}
	lane->rx[slot].page = page;
	lane->rx[slot].dma = dma;
	return 0;
}

/* What came in the slot has been taken: post it again, and owe the peer a credit. */
static int lane_repost_rx(struct rdma_lane *lane, unsigned int slot)
{
	int ret = lane_post_rx(lane, slot);

	if (ret) {
		cvmm_rdma_fail(lane->ep, -ret, "link broken: can not receive");
		return ret;
	}
	spin_lock(&lane->lock);
	lane->to_grant++;
	spin_unlock(&lane->lock);
	return 0;
}

static struct page *lane_take_rx(struct rdma_lane *lane, unsigned int slot)
{
	struct rdma_rx *rx = &lane->rx[slot];
	struct page *page = rx->page;

	ib_dma_unmap_page(lane_dev(lane), rx->dma, PAGE_SIZE, DMA_FROM_DEVICE);
	rx->page = NULL;
	return page;
}

/* Give credits back in a message of their own, if they are many. */
static void lane_grant(struct rdma_lane *lane, u32 threshold)
{
	bool arm = false;
	LIST_HEAD(done);
	int ret = 0;

	spin_lock(&lane->lock);
	if (!lane->dead && lane->to_grant >= threshold && lane->credits) {
		if (!slots_free(lane))
			lane_reap(lane, &done);
		arm = !slots_free(lane);
		if (!arm)
			ret = lane_post(lane, NULL);
	}
	spin_unlock(&lane->lock);
	free_sent(lane, &done);
	if (arm)
		lane_arm_sends(lane);
	if (ret)
		cvmm_rdma_fail(lane->ep, -ret, "can not send");
}

static int protocol_error(struct rdma_lane *lane, const char *what)
{
	cvmm_rdma_fail(lane->ep, EPROTO, what);
	return -EPROTO;
}

/* The queue pair has ended.  Why, is known to the sends, or to who has ended it. */
static int lane_flushed(struct rdma_lane *lane, enum ib_wc_status status)
{
	spin_lock(&lane->lock);
	lane->flushed = true;
	spin_unlock(&lane->lock);
	if (status == IB_WC_LOC_LEN_ERR)
		return protocol_error(lane, "sent more than a message");
	if (status != IB_WC_WR_FLUSH_ERR)
		cvmm_rdma_fail(lane->ep, EIO, "link broken: can not receive");
	return -EIO;
}

/* A message is in @slot, @len bytes in all.  0, or -errno: no more is taken. */
static int lane_message(struct rdma_lane *lane, unsigned int slot, u32 len)
{
	struct rdma_wire *wire = &lane->wires[slot];
	struct cvmm_link *link = lane->ep->link;
	struct page *page = NULL;
	struct dsm_msg msg;
	int ret;

	ret = cvmm_link_rx_header(link, wire->msg, &msg);
	if (ret)
		return ret;
	if (len != sizeof(*wire) + msg.length)
		return protocol_error(lane, "sent a message of a wrong length");
	if (msg.length) {
		page = lane_take_rx(lane, slot);
		ret = lane_fill_rx(lane, slot);
		if (ret) {
			cvmm_frame_free(link->space, page);
			cvmm_rdma_fail(lane->ep, -ret, "no memory for its page");
			return ret;
		}
	}
	ret = lane_repost_rx(lane, slot);
	if (ret) {
		if (page)
			cvmm_frame_free(link->space, page);
		return ret;
	}
	return cvmm_link_rx(link, &msg, page);
}

/* One completion of the receive queue.  0, or -errno: no more is taken. */
static int lane_rx(struct rdma_lane *lane, const struct ib_wc *wc)
{
	const unsigned int slot = wc->wr_id;
	struct rdma_wire *wire = &lane->wires[slot];
	bool overflow;
	u32 credits;
	int kind;

	if (wc->status)
		return lane_flushed(lane, wc->status);
	ib_dma_sync_single_for_cpu(lane_dev(lane), wire_dma(lane, slot), sizeof(*wire),
				   DMA_FROM_DEVICE);
	kind = rdma_wire_decode(wire, wc->byte_len, slot == RDMA_RX_FIRST, &credits);
	if (kind < 0)
		return protocol_error(lane, "sent a malformed message");

	spin_lock(&lane->lock);
	lane->credits += credits;
	overflow = lane->credits > U16_MAX;
	lane->granted = true;
	spin_unlock(&lane->lock);
	if (overflow)
		return protocol_error(lane, "gives more credits than it can");
	lane_wake(lane);

	if (kind == RDMA_MSG)
		return lane_message(lane, slot, wc->byte_len);
	/* That for the first grant has done its service. */
	if (slot == RDMA_RX_FIRST)
		return 0;
	return lane_repost_rx(lane, slot);
}

/* The link's first message comes on lane 0; nothing else is looked at before. */
static bool lane_must_wait(struct rdma_lane *lane)
{
	struct rdma_ep *ep = lane->ep;
	unsigned int i;

	if (READ_ONCE(ep->hello))
		return false;
	if (lane->nr)
		return true;
	if (READ_ONCE(ep->link->state) != CVMM_LINK_UP)
		return false;
	WRITE_ONCE(ep->hello, true);
	for (i = 1; i < ep->nr_lanes; i++)
		queue_work(cvmm_rdma_wq, &ep->lane[i].rx_work);
	return false;
}

static void lane_rx_work(struct work_struct *work)
{
	struct rdma_lane *lane = container_of(work, struct rdma_lane, rx_work);
	struct ib_wc wc[RX_BATCH];
	int i, n, done = 0;
	LIST_HEAD(sent);
	bool stop;

	/* Connected, but without a space yet: the first grant stays where it is. */
	if (!smp_load_acquire(&lane->ep->started))
		return;
	spin_lock(&lane->lock);
	lane_reap(lane, &sent);
	stop = lane->dead || lane->flushed;
	spin_unlock(&lane->lock);
	free_sent(lane, &sent);
	lane_wake(lane);
	if (stop || lane_must_wait(lane))
		return;
	lane_grant(lane, RDMA_DEPTH / 2);

	mutex_lock(&lane->rx_lock);
	for (;;) {
		n = ib_poll_cq(lane->rcq, ARRAY_SIZE(wc), wc);
		for (i = 0; i < n; i++) {
			if (lane_rx(lane, &wc[i]))
				goto unlock;
			lane_grant(lane, RDMA_DEPTH / 2);
			lane_must_wait(lane);
		}
		done += n;
		if (done >= RX_BUDGET) {
			queue_work(cvmm_rdma_wq, &lane->rx_work);
			break;
		}
		if (n == ARRAY_SIZE(wc))
			continue;
		if (ib_req_notify_cq(lane->rcq, IB_CQ_NEXT_COMP | IB_CQ_REPORT_MISSED_EVENTS) <= 0)
			break;
	}
unlock:
	mutex_unlock(&lane->rx_lock);
}

/*
 * The queue keeps its interrupt armed: what nobody polls for any more, or cannot because
 * somebody else holds the lock, is rx_work's, which finds the queue empty if it was not.
 */
unsigned int cvmm_rdma_lane_poll(struct rdma_lane *lane)
{
	struct ib_wc wc[POLL_BATCH];
	int i, n = 0;

	if (!mutex_trylock(&lane->rx_lock))
		return 0;
	if (!lane->closed && !READ_ONCE(lane->dead) && !READ_ONCE(lane->flushed))
		n = ib_poll_cq(lane->rcq, ARRAY_SIZE(wc), wc);
	for (i = 0; i < n; i++) {
		if (lane_rx(lane, &wc[i]))
			break;
		lane_grant(lane, RDMA_DEPTH / 2);
	}
	mutex_unlock(&lane->rx_lock);
	return i;
}

/* Either queue has a completion.  Interrupt context. */
static void lane_cq_event(struct ib_cq *cq, void *arg)
{
	struct rdma_lane *lane = arg;

	queue_work(cvmm_rdma_wq, &lane->rx_work);
}

void cvmm_rdma_lane_tick(struct rdma_lane *lane)
{
	enum ib_wc_status status;
	LIST_HEAD(done);
	bool flushed;
	int ret = 0;

	spin_lock(&lane->lock);
	lane_reap(lane, &done);
	/* Not with the last credit, which is for grants that have something to give. */
	if (!lane->dead && lane_has_room(lane) && time_after_eq(jiffies, lane->sent + HZ))
		ret = lane_post(lane, NULL);
	status = lane->tx_status;
	flushed = lane->flushed;
	spin_unlock(&lane->lock);
	free_sent(lane, &done);

	if (status == IB_WC_RETRY_EXC_ERR || status == IB_WC_RESP_TIMEOUT_ERR)
		cvmm_rdma_fail(lane->ep, ETIMEDOUT, "does not answer any more");
	else if (status == IB_WC_RNR_RETRY_EXC_ERR)
		cvmm_rdma_fail(lane->ep, ENOBUFS, "has no room for what it gave credits for");
	else if (status)
		cvmm_rdma_fail(lane->ep, EIO, "link broken: can not send");
	else if (flushed)
		cvmm_rdma_fail(lane->ep, EPIPE, "link broken");
	else if (ret)
		cvmm_rdma_fail(lane->ep, -ret, "can not send");
}

/* ----------------------------------------------------------- lifetime */

void cvmm_rdma_lane_init(struct rdma_lane *lane, struct rdma_ep *ep, unsigned int nr)
{
	lane->ep = ep;
	lane->nr = nr;
	INIT_WORK(&lane->rx_work, lane_rx_work);
	mutex_init(&lane->rx_lock);
	spin_lock_init(&lane->lock);
	init_waitqueue_head(&lane->room);
	/* The buffer that the peer has posted for our first grant. */
	lane->credits = 1;
}

static void lane_qp_event(struct ib_event *event, void *arg)
{
	struct rdma_lane *lane = arg;

	/* The peer's last word of the handshake was lost, but it sends. */
	if (event->event == IB_EVENT_COMM_EST)
		rdma_notify(lane->id, IB_EVENT_COMM_EST);
}

static int lane_create_qp(struct rdma_lane *lane)
{
	struct ib_qp_init_attr attr = {
		.event_handler = lane_qp_event,
		.qp_context = lane,
		.send_cq = lane->scq,
		.recv_cq = lane->rcq,
		.cap = {
			.max_send_wr = RDMA_TX_SLOTS,
			.max_recv_wr = RDMA_RX_SLOTS,
			.max_send_sge = 2,
			.max_recv_sge = 2,
			.max_inline_data = sizeof(struct rdma_wire),
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};
	const struct ib_qp_cap cap = attr.cap;
	int ret;

	ret = rdma_create_qp(lane->id, lane->pd, &attr);
	if (!ret) {
		lane->inlines = attr.cap.max_inline_data >= sizeof(struct rdma_wire);
		return 0;
	}
	/* Some devices refuse what they can not. */
	attr.cap = cap;
	attr.cap.max_inline_data = 0;
	return rdma_create_qp(lane->id, lane->pd, &attr);
}

static struct ib_cq *lane_create_cq(struct rdma_lane *lane, unsigned int entries)
{
	struct ib_device *dev = lane_dev(lane);
	struct ib_cq_init_attr attr = {
		.cqe = entries,
		.comp_vector = lane->nr % dev->num_comp_vectors,
	};

	return ib_create_cq(dev, lane_cq_event, NULL, lane, &attr);
}

static int lane_alloc(struct rdma_lane *lane)
{
	const unsigned int nr = RDMA_RX_SLOTS + RDMA_TX_SLOTS;
	struct ib_device *dev = lane_dev(lane);

	lane->rx = kcalloc(RDMA_RX_SLOTS, sizeof(*lane->rx), GFP_KERNEL);
	lane->tx = kcalloc(RDMA_TX_SLOTS, sizeof(*lane->tx), GFP_KERNEL);
	if (!lane->rx || !lane->tx)
		return -ENOMEM;
	lane->wires = kcalloc(nr, sizeof(*lane->wires), GFP_KERNEL);
	if (!lane->wires)
		return -ENOMEM;
	lane->wires_dma = ib_dma_map_single(dev, lane->wires, nr * sizeof(*lane->wires),
					    DMA_BIDIRECTIONAL);
	if (ib_dma_mapping_error(dev, lane->wires_dma)) {
		kfree(lane->wires);
		lane->wires = NULL;
		return -ENOMEM;
	}
	return 0;
}

int cvmm_rdma_lane_create(struct rdma_lane *lane)
{
	struct ib_device *dev = lane->id->device;
	const struct ib_device_attr *can = &dev->attrs;
	struct ib_pd *pd;
	struct ib_cq *cq;
	int ret;

	if (can->max_send_sge < 2 || can->max_recv_sge < 2 || can->max_qp_wr < RDMA_TX_SLOTS)
		return -EOPNOTSUPP;
	pd = ib_alloc_pd(dev, 0);
	if (IS_ERR(pd))
		return PTR_ERR(pd);
	lane->pd = pd;
	ret = lane_alloc(lane);
	if (ret)
		return ret;
	cq = lane_create_cq(lane, RDMA_RX_SLOTS);
	if (IS_ERR(cq))
		return PTR_ERR(cq);
	lane->rcq = cq;
	cq = lane_create_cq(lane, RDMA_TX_SLOTS);
	if (IS_ERR(cq))
		return PTR_ERR(cq);
	lane->scq = cq;
	ret = lane_create_qp(lane);
	if (ret)
		return ret;
	return lane_post_rx(lane, RDMA_RX_FIRST);
}

int cvmm_rdma_lane_start(struct rdma_lane *lane)
{
	unsigned int slot;
	int ret;

	for (slot = 0; slot < RDMA_DEPTH; slot++) {
		ret = lane_fill_rx(lane, slot);
		if (ret)
			return ret;
		ret = lane_post_rx(lane, slot);
		if (ret)
			return ret;
	}
	spin_lock(&lane->lock);
	lane->to_grant = RDMA_DEPTH;
	spin_unlock(&lane->lock);
	lane_grant(lane, 1);
	return 0;
}

void cvmm_rdma_lane_kill(struct rdma_lane *lane)
{
	spin_lock(&lane->lock);
	lane->dead = true;
	spin_unlock(&lane->lock);
	wake_up(&lane->room);
}

/* What the device had when it was stopped. */
static void lane_free_slots(struct rdma_lane *lane)
{
	struct ib_device *dev = lane_dev(lane);
	struct cvmm_link *link = lane->ep->link;
	unsigned int i;

	for (i = 0; i < RDMA_RX_SLOTS && lane->rx; i++)
		if (lane->rx[i].page)
			cvmm_frame_free(link->space, lane_take_rx(lane, i));
	for (i = 0; i < RDMA_TX_SLOTS && lane->tx; i++) {
		if (!lane->tx[i].msg)
			continue;
		ib_dma_unmap_page(dev, lane->tx[i].dma, PAGE_SIZE, DMA_TO_DEVICE);
		cvmm_msg_free(link, lane->tx[i].msg);
	}
}

void cvmm_rdma_lane_destroy(struct rdma_lane *lane)
{
	cvmm_rdma_lane_kill(lane);
	if (!lane->pd)
		return;
	/* First the queue pair: no DMA any more, no new completions. */
	if (lane->id->qp)
		rdma_destroy_qp(lane->id);
	cancel_work_sync(&lane->rx_work);
	mutex_lock(&lane->rx_lock);
	lane->closed = true;
	mutex_unlock(&lane->rx_lock);
	if (lane->scq)
		ib_destroy_cq(lane->scq);
	if (lane->rcq)
		ib_destroy_cq(lane->rcq);
	/* A last event may have queued it: it looks at no queue of a dead lane. */
	cancel_work_sync(&lane->rx_work);
	lane_free_slots(lane);
	if (lane->wires)
		ib_dma_unmap_single(lane_dev(lane), lane->wires_dma,
				    (RDMA_RX_SLOTS + RDMA_TX_SLOTS) * sizeof(*lane->wires),
				    DMA_BIDIRECTIONAL);
	kfree(lane->wires);
	kfree(lane->tx);
	kfree(lane->rx);
	ib_dealloc_pd(lane->pd);
	lane->scq = NULL;
	lane->rcq = NULL;
	lane->wires = NULL;
	lane->tx = NULL;
	lane->rx = NULL;
	lane->pd = NULL;
}
