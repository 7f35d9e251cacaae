/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Links: ordered, reliable messages between two hosts of a space, each a
 * DSM_WIRE_SIZE header and at most one page.
 *
 * link.c has what every transport needs: the queue, who sends when, the hello
 * exchange, limits and counters.  A transport (struct cvmm_link_ops) moves
 * messages and notices when the peer is gone.
 */
#ifndef CVMM_LINK_H
#define CVMM_LINK_H

#include <linux/atomic.h>
#include <linux/cvmm.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../dsm/dsm.h"

struct cvmm_link;
struct cvmm_space;
struct page;

/*
 * A peer that is silent for this long while it should answer (the kernel of a
 * live host always does) is dead.  Users are promised 5 s.
 */
#define CVMM_LINK_TIMEOUT_MS	4000

/*
 * The queue of a link that does not drain: no honest exchange gets near this
 * (one request per page and host, answers on top); 512 bytes or so each.
 */
#define CVMM_LINK_MAX_QUEUED	65536

/* Above the one, cvmm_link_settle() waits, until there are no more than the other. */
#define CVMM_LINK_BUSY		1024
#define CVMM_LINK_CALM		(CVMM_LINK_BUSY / 2)

/**
 * struct cvmm_msg - a message on its way out
 * @node:	in the link's queue
 * @hdr:	header in wire format
 * @len:	payload bytes, 0 or PAGE_SIZE
 * @lane:	messages of the same lane are received in the order they were sent
 * @sent:	for the transport: bytes of header and payload already passed on
 * @packed:	for the transport: all that is to go instead of header and payload, or NULL
 * @packed_len:	bytes of that
 * @ready:	the transport has seen it (&cvmm_link_ops.prepare)
 * @page:	payload or NULL, until the message is freed
 * @frame:	@page is a frame of the space, handed over; else lent
 */
struct cvmm_msg {
	struct list_head node;
	u8 hdr[DSM_WIRE_SIZE];
	u32 len;
	u32 lane;
	u32 sent;
	u8 *packed;
	u32 packed_len;
	struct page *page;
	bool frame;
	bool ready;
};

#define CVMM_XMIT_NOWAIT	(1U << 0)

#define CVMM_TRANSPORT_MAX	CVMM_TRANSPORT_RDMA

/*
 * The first message each way.  Fields: gfn is the space id, requester the sender's host
 * id, version a hash of the configuration, epoch the epoch, age &cvmm_link.twins, acks
 * the number of lanes.
 */
#define CVMM_MSG_HELLO		DSM_MSG_LINK
/*
 * Before a DATA with a page, whose payload then does not follow: what has changed in
 * page gfn since it went the last time, version bytes (delta.h).
 */
#define CVMM_MSG_DELTA		(DSM_MSG_LINK + 3)

#define CVMM_MAX_LANES		8
static_assert(CVMM_MAX_CONNS <= CVMM_MAX_LANES && CVMM_RDMA_MAX_QPS <= CVMM_MAX_LANES);

/* Lane of what is for the link itself; the hello is the first message of all. */
#define CVMM_LANE_LINK		0

/**
 * struct cvmm_link_ops - a transport; all required but for @endpoint and @poll
 * @name:	for messages to the user
 * @transport:	CVMM_TRANSPORT_*
 * @feature:	CVMM_FEATURE_* bit that says that it is there
 * @owner:	module, held while a link has the transport
 * @endpoint:	Make what attach() takes, for a transport that user space can
 *		make no connection of: the argument of the ioctl.  A new file
 *		descriptor or -errno.
 * @attach:	Take what the user handed in, @nr descriptors (1..CVMM_MAX_CONNS), and
 *		set link->priv and link->nr_lanes, ready for start().  May sleep.  0 or
 *		-errno.
 * @start:	Begin to receive: from now cvmm_link_rx_header(), cvmm_link_rx()
 *		and cvmm_link_down() may be called.  May sleep.  0 or -errno.
 * @prepare:	Optional.  @msg is the next of its lane to be sent; called once for each, in
 *		the order they are sent, never beside xmit() of the lane.  May set @msg->packed (kfree()d
 *		with it).  May sleep for memory.
 * @xmit:	Send @msg.  Calls are serialised per lane and in order.  Returns 0
 *		when the message is on its way or sent, and then frees it with
 *		cvmm_msg_free() at that point or later.  -EAGAIN only with
 *		CVMM_XMIT_NOWAIT: it would have had to wait for the peer (memory
 *		may be waited for), try the same message again without.
 *		Otherwise -errno, the link is dead; the caller frees @msg.
 * @poll:	Take some of the messages that have come in @lane, in place of the
 *		receiver, and do not wait for any, nor for him.  By those who wait for
 *		a message, while the link is up and the space used; may run beside
 *		shutdown() and stop().  Returns how many there were.
 * @shutdown:	Make xmit() and the receiver end soon, with an error.  May be
 *		called at any time after attach(), repeatedly; may sleep.
 * @stop:	Wait for the end of the receiver.  After shutdown(); may sleep.
 * @release:	Free everything.  After stop(), with no xmit() running.
 */
struct cvmm_link_ops {
	const char *name;
	u32 transport;
	u64 feature;
	struct module *owner;
	long (*endpoint)(void __user *uarg);
	int (*attach)(struct cvmm_link *link, const s32 *fds, unsigned int nr);
	int (*start)(struct cvmm_link *link);
	void (*prepare)(struct cvmm_link *link, struct cvmm_msg *msg);
	int (*xmit)(struct cvmm_link *link, struct cvmm_msg *msg, unsigned int flags);
	unsigned int (*poll)(struct cvmm_link *link, u32 lane);
	void (*shutdown)(struct cvmm_link *link);
	void (*stop)(struct cvmm_link *link);
	void (*release)(struct cvmm_link *link);
};

enum cvmm_link_state {
	CVMM_LINK_NONE,		/* nothing handed in yet; messages wait */
	CVMM_LINK_HELLO,	/* sending; the peer has not said hello yet */
	CVMM_LINK_UP,
	CVMM_LINK_DOWN,
};

/**
 * struct cvmm_txq - what is to be sent on one lane
 * @link:	its link
 * @queue:	messages; link->lock
 * @mutex:	held by whoever calls xmit()
 * @work:	sends what could not be sent without waiting
 */
struct cvmm_txq {
	struct cvmm_link *link;
	struct list_head queue;
	struct mutex mutex;
	struct work_struct work;
};

/**
 * struct cvmm_link - to one other host of a space
 * @space:	its space
 * @host:	the peer
 * @attach_lock: serialises attach and the end of it
 * @ops:	transport, NULL until attached
 * @transport:	its number, 0 until attached; for who holds no lock
 * @priv:	the transport's
 * @twins:	places for pages that this end has announced (link_twin.h), as an order; 0: none
 * @peer_twins:	... and the peer, in its hello
 * @nr_lanes:	1..CVMM_MAX_LANES; the transport's, by attach()
 * @lock:	protects @state, queues, @queued, @queued_max
 * @queued:	messages in all queues
 * @settled:	who waits in cvmm_link_settle()
 * @txq:	by lane; without a transport everything waits in the first
 */
struct cvmm_link {
	struct cvmm_space *space;
	u32 host;
	struct mutex attach_lock;
	const struct cvmm_link_ops *ops;
	u32 transport;
	void *priv;
	u16 twins;
	u16 peer_twins;

	unsigned int nr_lanes;

	spinlock_t lock;
	enum cvmm_link_state state;
	u32 queued;
	u32 queued_max;		/* so far */
	wait_queue_head_t settled;
	struct cvmm_txq txq[CVMM_MAX_LANES];

	atomic64_t tx_msgs;
	atomic64_t tx_bytes;
	atomic64_t rx_msgs;
	atomic64_t rx_bytes;
	atomic64_t copied;		/* bytes of pages that the transport copied */
};

/* Name of a message type for counters, by enum dsm_msg_type. */
const char *cvmm_msg_counter_name(unsigned int type);

/*
 * A transport comes, as long as its module is loaded, and goes.  -EEXIST when
 * there is one of that number.
 */
int cvmm_transport_register(const struct cvmm_link_ops *ops);
void cvmm_transport_unregister(const struct cvmm_link_ops *ops);

int cvmm_links_init(void);
void cvmm_links_exit(void);

struct cvmm_link *cvmm_link_create(struct cvmm_space *space, u32 host);
/*
 * CVMM_SPACE_ADD_LINK, CVMM_SPACE_ADD_CONNS.  May sleep.  0, -EINVAL, -EOPNOTSUPP (no such transport),
 * -EEXIST (has one), -EIO (failed), ...
 */
int cvmm_link_attach(struct cvmm_link *link, u32 transport, const s32 *fds, unsigned int nr);
/* No more messages either way, queued ones are dropped.  May sleep. */
void cvmm_link_shutdown(struct cvmm_link *link);
/*
 * The end.  A receiver of one link sends on all the others, so all links are
 * shut down before any is stopped (its receiver has ended; may sleep), and all
 * are stopped, and the space's work queue drained, before any is freed.
 */
void cvmm_link_stop(struct cvmm_link *link);
void cvmm_link_free(struct cvmm_link *link);

/**
 * cvmm_link_send() - queue a message and send it if that needs no waiting
 * @msg:	header; @msg->length tells whether @page is sent
 * @page:	payload or NULL
 * @frame:	@page is a frame of the space that this host gives away; else it
 *		is lent, and the link gives it back with cvmm_frame_return()
 *
 * Never waits for the network; may sleep for memory.  Errors end the space.
 */
void cvmm_link_send(struct cvmm_link *link, const struct dsm_msg *msg, struct page *page,
		    bool frame);

/*
 * For senders whom nobody waits for, after cvmm_link_send(): while very much is
 * queued, wait until most of it is sent, the link has ended, or a signal comes; a
 * peer that takes bytes, but few, makes that long.  Not under a page lock.
 */
void cvmm_link_settle(struct cvmm_link *link);

/*
 * Take messages about page @gfn that have come, if it is known how and nobody does so
 * already.  Process context; the caller uses the space and holds no lock that somebody
 * may want who holds a socket, so no mmap_lock and no page lock.  May sleep for memory
 * and for locks, as the receiver does, not for the network.  How many there were.
 */
unsigned int cvmm_link_poll(struct cvmm_link *link, u64 gfn);

/* ---- for transports */

void cvmm_msg_free(struct cvmm_link *link, struct cvmm_msg *msg);

/*
 * A header has been received: decode it.  On success @msg->length bytes of
 * payload follow, to be received into a page from cvmm_frame_for_rx().  Returns
 * 0 or -errno, with which the transport ends the link (cvmm_link_down()).
 */
int cvmm_link_rx_header(struct cvmm_link *link, const u8 *hdr, struct dsm_msg *msg);

/*
 * The message is complete; @page is the payload or NULL and passes to the
 * callee.  In process context, one at a time per lane, and nothing beside the
 * first message of the link.  0 or -errno as above; then the space has been told
 * why.
 */
int cvmm_link_rx(struct cvmm_link *link, const struct dsm_msg *msg, struct page *page);

/* The link has ended by itself; @error positive, @what one line.  Process context. */
void cvmm_link_down(struct cvmm_link *link, int error, const char *what);

extern const struct cvmm_link_ops cvmm_link_tcp_ops;

#endif /* CVMM_LINK_H */
