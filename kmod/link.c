// SPDX-License-Identifier: GPL-2.0-only
/*
 * What all transports share: message queue, hello exchange, limits, counters.
 *
 * Sending.  Messages are appended to the queue of their lane and pushed by the sender
 * itself if nobody else is pushing and the transport takes them without waiting;
 * else by the one who is, or by a work item, which may wait.  So a sender that
 * holds a page lock never waits for a peer.
 */
#include <linux/kmod.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/slab.h>

#include "link.h"
#include "space_priv.h"

static struct kmem_cache *msg_cache;

/* By CVMM_TRANSPORT_*; protected by transports_lock. */
static const struct cvmm_link_ops *transports[CVMM_TRANSPORT_MAX + 1];
static DEFINE_MUTEX(transports_lock);

static struct cvmm_msg *msg_alloc(const struct dsm_msg *hdr, struct page *page, bool frame)
{
	struct cvmm_msg *msg = kmem_cache_alloc(msg_cache, GFP_KERNEL);

	if (!msg)
		return NULL;
	dsm_wire_encode(hdr, msg->hdr);
	msg->len = page ? hdr->length : 0;
	msg->lane = hdr->type < DSM_MSG_LINK ? (u32)hdr->gfn : CVMM_LANE_LINK;
	msg->sent = 0;
	msg->packed = NULL;
	msg->packed_len = 0;
	msg->ready = false;
	msg->page = page;
	msg->frame = frame;
	return msg;
}

static void payload_free(struct cvmm_link *link, struct page *page, bool frame)
{
	if (!page)
		return;
	if (frame)
		cvmm_frame_free(link->space, page);
	else
		cvmm_frame_return(page);
}

void cvmm_msg_free(struct cvmm_link *link, struct cvmm_msg *msg)
{
	payload_free(link, msg->page, msg->frame);
	kfree(msg->packed);
	kmem_cache_free(msg_cache, msg);
}
EXPORT_SYMBOL_GPL(cvmm_msg_free);

/* --------------------------------------------------------- transports */

int cvmm_transport_register(const struct cvmm_link_ops *ops)
{
	int ret = 0;

	if (!ops->transport || ops->transport > CVMM_TRANSPORT_MAX)
		return -EINVAL;
	mutex_lock(&transports_lock);
	if (transports[ops->transport])
		ret = -EEXIST;
	else
		transports[ops->transport] = ops;
	mutex_unlock(&transports_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(cvmm_transport_register);

void cvmm_transport_unregister(const struct cvmm_link_ops *ops)
{
	mutex_lock(&transports_lock);
	transports[ops->transport] = NULL;
	mutex_unlock(&transports_lock);
}
EXPORT_SYMBOL_GPL(cvmm_transport_unregister);

u64 cvmm_transport_features(void)
{
	u64 features = 0;
	unsigned int i;

	mutex_lock(&transports_lock);
	for (i = 0; i < ARRAY_SIZE(transports); i++)
		if (transports[i])
			features |= transports[i]->feature;
	mutex_unlock(&transports_lock);
	return features;
}

static const struct cvmm_link_ops *transport_try_get(u32 transport)
{
	const struct cvmm_link_ops *ops;

	mutex_lock(&transports_lock);
	ops = transports[transport];
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	mutex_unlock(&transports_lock);
	return ops;
}

/* With its module loaded and held, or NULL.  @transport may be anything. */
static const struct cvmm_link_ops *transport_get(u32 transport)
{
	const struct cvmm_link_ops *ops;

	if (!transport || transport > CVMM_TRANSPORT_MAX)
		return NULL;
	transport = array_index_nospec(transport, CVMM_TRANSPORT_MAX + 1);
	ops = transport_try_get(transport);
	if (ops)
		return ops;
	request_module("cvmm-transport-%u", transport);
	return transport_try_get(transport);
}

static void transport_put(const struct cvmm_link_ops *ops)
{
	module_put(ops->owner);
}

long cvmm_transport_endpoint(u32 transport, void __user *uarg)
{
	const struct cvmm_link_ops *ops = transport_get(transport);
	long ret;

	if (!ops)
		return -EOPNOTSUPP;
	ret = ops->endpoint ? ops->endpoint(uarg) : -EOPNOTSUPP;
	transport_put(ops);
	return ret;
}

/* ------------------------------------------------------------ sending */

static struct cvmm_msg *queue_pop(struct cvmm_txq *q)
{
	struct cvmm_link *link = q->link;
	struct cvmm_msg *msg;
	bool calm = false;

	spin_lock(&link->lock);
	msg = list_first_entry_or_null(&q->queue, struct cvmm_msg, node);
	if (msg) {
		list_del(&msg->node);
		calm = --link->queued == CVMM_LINK_CALM;
	}
	spin_unlock(&link->lock);
	if (calm && wq_has_sleeper(&link->settled))
		wake_up_all(&link->settled);
	return msg;
}

/* Back to the head; false when the link has gone down meanwhile. */
static bool queue_unpop(struct cvmm_txq *q, struct cvmm_msg *msg)
{
	struct cvmm_link *link = q->link;
	bool alive;

	spin_lock(&link->lock);
	alive = link->state != CVMM_LINK_DOWN;
	if (alive) {
		list_add(&msg->node, &q->queue);
		link->queued++;
	}
	spin_unlock(&link->lock);
	return alive;
}

static bool queue_pending(struct cvmm_txq *q)
{
	struct cvmm_link *link = q->link;
	bool pending;

	spin_lock(&link->lock);
	pending = !list_empty(&q->queue) && link->state != CVMM_LINK_NONE;
	spin_unlock(&link->lock);
	return pending;
}

/* q->mutex held.  Returns 0 when the queue was seen empty, or -errno. */
static int queue_drain(struct cvmm_txq *q, unsigned int flags)
{
	struct cvmm_link *link = q->link;
	struct cvmm_msg *msg;
	u32 size;
	int ret;

	while ((msg = queue_pop(q))) {
		if (link->ops->prepare && !msg->ready)
			link->ops->prepare(link, msg);
		msg->ready = true;
		size = msg->packed ? msg->packed_len : DSM_WIRE_SIZE + msg->len;
		ret = link->ops->xmit(link, msg, flags);
		if (ret == -EAGAIN && queue_unpop(q, msg))
			return -EAGAIN;
		if (ret) {
			cvmm_msg_free(link, msg);
			return ret;
		}
		atomic64_inc(&link->tx_msgs);
		atomic64_add(size, &link->tx_bytes);
	}
	return 0;
}

static void queue_push(struct cvmm_txq *q)
{
	int ret;

	/* Who fails to get the mutex leaves the work to the holder, who looks again. */
	while (queue_pending(q)) {
		if (!mutex_trylock(&q->mutex))
			return;
		ret = queue_drain(q, CVMM_XMIT_NOWAIT);
		mutex_unlock(&q->mutex);
		if (ret == -EAGAIN) {
			queue_work(q->link->space->wq, &q->work);
			return;
		}
		if (ret) {
			cvmm_link_down(q->link, -ret, "can not send");
			return;
		}
	}
}

static void queue_work_fn(struct work_struct *work)
{
	struct cvmm_txq *q = container_of(work, struct cvmm_txq, work);
	int ret;

	while (queue_pending(q)) {
		mutex_lock(&q->mutex);
		ret = queue_drain(q, 0);
		mutex_unlock(&q->mutex);
		if (ret) {
			cvmm_link_down(q->link, -ret, ret == -ETIMEDOUT ?
				       "does not take messages" : "can not send");
			return;
		}
	}
}

void cvmm_link_send(struct cvmm_link *link, const struct dsm_msg *hdr, struct page *page,
		    bool frame)
{
	struct cvmm_msg *msg = msg_alloc(hdr, page, frame);
	enum cvmm_link_state state;
	struct cvmm_txq *q;
	bool full;

	if (!msg) {
		payload_free(link, page, frame);
		cvmm_space_fail(link->space, link->host, ENOMEM, "out of memory for a message");
		return;
	}
	spin_lock(&link->lock);
	state = link->state;
	full = link->queued >= CVMM_LINK_MAX_QUEUED;
	q = &link->txq[state == CVMM_LINK_NONE ? 0 : msg->lane % link->nr_lanes];
	if (state != CVMM_LINK_DOWN && !full) {
		list_add_tail(&msg->node, &q->queue);
		link->queued++;
		link->queued_max = max(link->queued_max, link->queued);
		msg = NULL;
	}
	spin_unlock(&link->lock);

	if (msg)
		cvmm_msg_free(link, msg);
	if (full)
		cvmm_space_fail(link->space, link->host, ENOBUFS,
				"host %u: %u messages are waiting to be sent", link->host,
				CVMM_LINK_MAX_QUEUED);
	else if (state == CVMM_LINK_HELLO || state == CVMM_LINK_UP)
		queue_push(q);
}

void cvmm_link_settle(struct cvmm_link *link)
{
	if (READ_ONCE(link->queued) <= CVMM_LINK_BUSY)
		return;
	queue_work(link->space->wq, &link->txq[CVMM_LANE_LINK].work);
	/* For as long as the peer likes, if it takes a few bytes now and then. */
	wait_event_interruptible(link->settled, READ_ONCE(link->queued) <= CVMM_LINK_CALM);
}

/* ---------------------------------------------------------- receiving */

const char *cvmm_msg_counter_name(unsigned int type)
{
	return dsm_msg_name(type);
}

static int link_hello(struct cvmm_link *link, const struct dsm_msg *msg)
{
	struct cvmm_space *space = link->space;
	const char *what = NULL;

	if (msg->type != CVMM_MSG_HELLO || msg->length)
		what = "first message is not a hello";
	else if (msg->gfn != space->id)
		what = "speaks for another space";
	else if (msg->epoch != space->epoch)
		what = "has another membership epoch";
	else if (msg->requester != link->host)
		what = "is another host than the link was given for";
	else if (msg->version != space->config_hash)
		what = "has other memory ranges or another number of hosts";
	else if (msg->acks != link->nr_lanes)
		what = "has another number of connections";
	if (what) {
		cvmm_space_fail(space, link->host, EPROTO, "host %u: %s", link->host, what);
		return -EPROTO;
	}

	link->peer_twins = msg->age;
	spin_lock(&link->lock);
	/* Pairs with cvmm_link_poll(). */
	if (link->state == CVMM_LINK_HELLO)
		smp_store_release(&link->state, CVMM_LINK_UP);
	spin_unlock(&link->lock);
	cvmm_netlink_event(space, CVMM_NL_EVENT_LINK_UP, link->host, 0, NULL);
	return 0;
}

int cvmm_link_rx_header(struct cvmm_link *link, const u8 *hdr, struct dsm_msg *msg)
{
	int ret = dsm_wire_decode(hdr, DSM_WIRE_SIZE, msg);

	if (ret) {
		u8 wire = dsm_wire_version(hdr, DSM_WIRE_SIZE);

		if (wire && wire != DSM_WIRE_VERSION)
			cvmm_space_fail(link->space, link->host, EPROTO,
					"host %u: its module speaks wire format %u, this one %u",
					link->host, wire, DSM_WIRE_VERSION);
		else
			cvmm_space_fail(link->space, link->host, EPROTO,
					"host %u: malformed message header", link->host);
		return ret;
	}
	atomic64_inc(&link->rx_msgs);
	atomic64_add(DSM_WIRE_SIZE + msg->length, &link->rx_bytes);
	return 0;
}
EXPORT_SYMBOL_GPL(cvmm_link_rx_header);

int cvmm_link_rx(struct cvmm_link *link, const struct dsm_msg *msg, struct page *page)
{
	struct cvmm_space *space = link->space;
	int ret;

	if (READ_ONCE(link->state) == CVMM_LINK_HELLO) {
		ret = link_hello(link, msg);
		if (page)
			cvmm_frame_free(space, page);
		return ret;
	}
	if (msg->type > DSM_MSG_LINK) {
		ret = cvmm_space_receive_irq(space, link->host, msg);
		if (page)
			cvmm_frame_free(space, page);
		if (ret)
			cvmm_space_fail(space, link->host, -ret,
					"host %u: message about interrupts (%u) refused, error %d",
					link->host, msg->type, -ret);
		return ret;
	}
	if (msg->type < DSM_MSG_NR)
		cvmm_count(&space->rx_stats, msg->type);
	ret = cvmm_space_receive(space, link->host, msg, page);
	if (ret)
		cvmm_space_fail(space, link->host, -ret,
				"host %u: message %s (%u) for page %llx refused, error %d",
				link->host, dsm_msg_name(msg->type), msg->type, msg->gfn, -ret);
	return ret;
}
EXPORT_SYMBOL_GPL(cvmm_link_rx);

unsigned int cvmm_link_poll(struct cvmm_link *link, u64 gfn)
{
	/* Once it is up it has its transport, as long as the space has users. */
	if (smp_load_acquire(&link->state) != CVMM_LINK_UP || !link->ops->poll)
		return 0;
	return link->ops->poll(link, (u32)gfn);
}

/* The peer said nothing: it, or the network to it, is gone. */
static bool host_silent(int error)
{
	switch (error) {
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
		return true;
	default:
		return false;
	}
}

void cvmm_link_down(struct cvmm_link *link, int error, const char *what)
{
	if (cvmm_space_fail(link->space, link->host, error, "host %u: %s", link->host, what) &&
	    host_silent(error))
		cvmm_netlink_event(link->space, CVMM_NL_EVENT_HOST_LOST, link->host, error, what);
}
EXPORT_SYMBOL_GPL(cvmm_link_down);

/* ----------------------------------------------------------- lifetime */

struct cvmm_link *cvmm_link_create(struct cvmm_space *space, u32 host)
{
	struct cvmm_link *link = kzalloc(sizeof(*link), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	if (!link)
		return NULL;
	link->space = space;
	link->host = host;
	link->nr_lanes = 1;
	mutex_init(&link->attach_lock);
	spin_lock_init(&link->lock);
	init_waitqueue_head(&link->settled);
	for (i = 0; i < ARRAY_SIZE(link->txq); i++) {
		struct cvmm_txq *q = &link->txq[i];

		q->link = link;
		INIT_LIST_HEAD(&q->queue);
		mutex_init(&q->mutex);
		INIT_WORK(&q->work, queue_work_fn);
	}
	return link;
}

/* What has waited for the transport goes to its lanes.  link->lock held. */
static void spread_queue(struct cvmm_link *link)
{
	struct cvmm_msg *msg, *next;

	list_for_each_entry_safe(msg, next, &link->txq[0].queue, node)
		if (msg->lane % link->nr_lanes)
			list_move_tail(&msg->node, &link->txq[msg->lane % link->nr_lanes].queue);
}

/* The hello goes before everything that has been queued so far. */
static int link_say_hello(struct cvmm_link *link)
{
	struct cvmm_space *space = link->space;
	struct dsm_msg hello = {
		.type = CVMM_MSG_HELLO,
		.requester = space->host,
		.epoch = space->epoch,
		.version = space->config_hash,
		.gfn = space->id,
		.age = link->twins,
		.acks = link->nr_lanes,
	};
	struct cvmm_msg *msg = msg_alloc(&hello, NULL, false);
	bool alive;

	if (!msg)
		return -ENOMEM;
	spin_lock(&link->lock);
	alive = link->state == CVMM_LINK_NONE;
	if (alive) {
		spread_queue(link);
		list_add(&msg->node, &link->txq[CVMM_LANE_LINK].queue);
		link->queued++;
		link->state = CVMM_LINK_HELLO;
	}
	spin_unlock(&link->lock);
	if (!alive)
		cvmm_msg_free(link, msg);
	return alive ? 0 : -EIO;
}

int cvmm_link_attach(struct cvmm_link *link, u32 transport, const s32 *fds, unsigned int nr)
{
	const struct cvmm_link_ops *ops;
	unsigned int i;
	int ret;

	if (!transport || transport > CVMM_TRANSPORT_MAX)
		return -EINVAL;
	ops = transport_get(transport);
	if (!ops)
		return -EOPNOTSUPP;

	mutex_lock(&link->attach_lock);
	if (link->state == CVMM_LINK_DOWN) {
		ret = -EIO;
		goto unlock;
	}
	if (link->ops) {
		ret = -EEXIST;
		goto unlock;
	}
	ret = ops->attach(link, fds, nr);
	if (ret)
		goto unlock;
	link->ops = ops;
	WRITE_ONCE(link->transport, ops->transport);
	ret = link_say_hello(link);
	if (ret)
		goto release;
	ret = ops->start(link);
	if (ret)
		goto failed;
	mutex_unlock(&link->attach_lock);
	for (i = 0; i < link->nr_lanes; i++)
		queue_push(&link->txq[i]);
	return 0;

failed:
	/* Somebody may be sending already: the transport goes with the space. */
	mutex_unlock(&link->attach_lock);
	cvmm_link_down(link, -ret, "can not start the link");
	return ret;
release:
	ops->shutdown(link);
	ops->stop(link);
	ops->release(link);
	link->ops = NULL;
	WRITE_ONCE(link->transport, 0);
unlock:
	mutex_unlock(&link->attach_lock);
	transport_put(ops);
	return ret;
}

void cvmm_link_shutdown(struct cvmm_link *link)
{
	struct cvmm_msg *msg, *next;
	enum cvmm_link_state was;
	unsigned int i;
	LIST_HEAD(drop);

	mutex_lock(&link->attach_lock);
	spin_lock(&link->lock);
	was = link->state;
	link->state = CVMM_LINK_DOWN;
	for (i = 0; i < ARRAY_SIZE(link->txq); i++)
		list_splice_tail_init(&link->txq[i].queue, &drop);
	link->queued = 0;
	spin_unlock(&link->lock);

	if (link->ops)
		link->ops->shutdown(link);
	mutex_unlock(&link->attach_lock);
	wake_up_all(&link->settled);

	list_for_each_entry_safe(msg, next, &drop, node)
		cvmm_msg_free(link, msg);
	if (was == CVMM_LINK_UP)
		cvmm_netlink_event(link->space, CVMM_NL_EVENT_LINK_DOWN, link->host, 0, NULL);
}

void cvmm_link_stop(struct cvmm_link *link)
{
	if (link->ops)
		link->ops->stop(link);
}

void cvmm_link_free(struct cvmm_link *link)
{
	unsigned int i;

	if (link->ops) {
		link->ops->release(link);
		transport_put(link->ops);
	}
	for (i = 0; i < ARRAY_SIZE(link->txq); i++)
		mutex_destroy(&link->txq[i].mutex);
	mutex_destroy(&link->attach_lock);
	kfree(link);
}

int cvmm_links_init(void)
{
	int ret;

	msg_cache = KMEM_CACHE(cvmm_msg, 0);
	if (!msg_cache)
		return -ENOMEM;
	ret = cvmm_transport_register(&cvmm_link_tcp_ops);
	if (ret)
		kmem_cache_destroy(msg_cache);
	return ret;
}

void cvmm_links_exit(void)
{
	cvmm_transport_unregister(&cvmm_link_tcp_ops);
	kmem_cache_destroy(msg_cache);
}
