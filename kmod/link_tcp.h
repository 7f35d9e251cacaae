/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of stream links: link_tcp.c has their life and sends, link_tcp_rx.c receives.
 */
#ifndef CVMM_LINK_TCP_H
#define CVMM_LINK_TCP_H

#include <linux/cvmm.h>
#include <linux/mutex.h>

#include "link.h"
#include "link_twin.h"

struct file;
struct socket;
struct task_struct;

/* What a connection waits for. */
enum tcp_stage {
	TCP_HEADER,
	TCP_PAGE,	/* of the header before */
	TCP_DELTA,	/* likewise */
	TCP_DATA,	/* the DATA header behind a delta */
};

/**
 * struct tcp_conn - one connection: a lane of its link
 * @link:	the link
 * @nr:		which of its connections this is
 * @file:	the socket's file, held: @sock->file becomes NULL with TCP_ULP "smc"
 * @sock:	the socket
 * @rx:		the receiver's thread, NULL before start()
 * @went:	twins of what goes, or NULL; from the peer's hello on; the lane's sender's
 * @rx_lock:	held by who takes messages, the receiver or tcp_poll(); protects the rest;
 *		before page locks
 * @came:	twins of what comes, or NULL
 * @stage:	what comes next
 * @have:	bytes of it that have come
 * @hdr:	the header that comes
 * @msg:	the latest header
 * @page:	frame for its page, or NULL
 * @ended:	nothing is received any more
 */
struct tcp_conn {
	struct cvmm_link *link;
	unsigned int nr;
	struct file *file;
	struct socket *sock;
	struct task_struct *rx;
	struct cvmm_twins *went;

	struct mutex rx_lock;
	struct cvmm_twins *came;
	enum tcp_stage stage;
	u32 have;
	u8 hdr[DSM_WIRE_SIZE];
	struct dsm_msg msg;
	struct page *page;
	bool ended;
};

/**
 * struct link_tcp - priv of a link
 * @nr:		number of connections
 * @heard:	the first message of all, the hello, has come on the first of them
 */
struct link_tcp {
	unsigned int nr;
	bool heard;
	struct tcp_conn conn[];
};

/* Of the page @gfn in the twins of its connection: only each nr-th page comes there. */
static inline u64 cvmm_tcp_twin(const struct cvmm_link *link, u64 gfn)
{
	return gfn / link->nr_lanes;
}

/* The hello has come.  Make twins for what goes, as the two ends have agreed.  May sleep. */
void cvmm_tcp_begin_twins(struct cvmm_link *link);

/* The thread of a connection, its argument. */
int cvmm_tcp_rx_thread(void *arg);
/* poll() of the transport */
unsigned int cvmm_tcp_poll(struct cvmm_link *link, u32 lane);

#endif /* CVMM_LINK_TCP_H */
