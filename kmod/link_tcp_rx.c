// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stream links, receiving: a header, then the payload straight into the frame that will be
 * mapped.
 *
 * Each connection has a thread, which sleeps until its socket can be read; those who wait
 * for a page may be faster (cvmm_tcp_poll()).  So nobody waits within a message: what has
 * come of it stays in struct tcp_conn, for whoever goes on.
 */
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <net/busy_poll.h>
#include <net/sock.h>

#include "link_tcp.h"
#include "space_priv.h"

/* Messages until others may have the CPU, and at most for who waits for one. */
#define RX_BUDGET	64
#define POLL_BUDGET	4

/* Nothing is looked at before the hello, which comes on the first connection. */
static bool heard(const struct link_tcp *tcp)
{
	return smp_load_acquire(&tcp->heard);
}

/* Where what comes next goes; its length. */
static u32 conn_wants(struct tcp_conn *conn, void **buf)
{
	switch (conn->stage) {
	case TCP_PAGE:
		*buf = page_address(conn->page);
		return conn->msg.length;
	case TCP_DELTA:
		*buf = conn->came->delta;
		return conn->msg.version;
	default:
		*buf = conn->hdr;
		return sizeof(conn->hdr);
	}
}

/*
 * 0 when all of it is there, -EAGAIN when not yet, -ENOTCONN at a clean end between two
 * messages, or another -errno.
 */
static int conn_fill(struct tcp_conn *conn)
{
	void *buf;
	const u32 len = conn_wants(conn, &buf);
	int ret;

	while (conn->have < len) {
		struct msghdr mh = { };
		struct kvec iov = { .iov_base = buf + conn->have, .iov_len = len - conn->have };

		ret = kernel_recvmsg(conn->sock, &mh, &iov, 1, iov.iov_len, MSG_DONTWAIT);
		if (ret == 0)
			return conn->have || conn->stage != TCP_HEADER ? -EPIPE : -ENOTCONN;
		if (ret < 0)
			return ret;
		conn->have += ret;
	}
	return 0;
}

/* The message is complete. */
static int conn_deliver(struct tcp_conn *conn)
{
	struct cvmm_link *link = conn->link;
	struct link_tcp *tcp = link->priv;
	struct page *page = conn->page;
	unsigned int i;
	int ret;

	conn->page = NULL;
	conn->stage = TCP_HEADER;
	if (page)
		atomic64_add(conn->msg.length, &link->copied);
	ret = cvmm_link_rx(link, &conn->msg, page);
	if (ret || tcp->heard)
		return ret;
	cvmm_tcp_begin_twins(link);
	/* Pairs with heard(). */
	smp_store_release(&tcp->heard, true);
	for (i = 1; i < tcp->nr; i++)
		wake_up_process(tcp->conn[i].rx);
	return 0;
}

/* A header: what follows?  The first message of all has nothing behind it. */
static int conn_header(struct tcp_conn *conn)
{
	const struct link_tcp *tcp = conn->link->priv;
	struct dsm_msg *msg = &conn->msg;
	bool delta;
	int ret;

	ret = cvmm_link_rx_header(conn->link, conn->hdr, msg);
	if (ret)
		return ret;
	delta = msg->type == CVMM_MSG_DELTA && tcp->heard;
	if (!delta && !msg->length)
		return conn_deliver(conn);
	if (delta && (!conn->came || msg->length || msg->version > CVMM_DELTA_MAX))
		return -EPROTO;
	conn->page = cvmm_frame_for_rx(conn->link->space);
	if (!conn->page) {
		cvmm_link_down(conn->link, ENOMEM, "no memory for its page");
		return -ENOMEM;
	}
	conn->stage = delta ? TCP_DELTA : TCP_PAGE;
	return 0;
}

/* The header of the page that the delta before makes; in place of the page. */
static int conn_data(struct tcp_conn *conn)
{
	struct cvmm_link *link = conn->link;
	const u32 len = conn->msg.version;
	const u64 gfn = conn->msg.gfn;
	struct dsm_msg *msg = &conn->msg;
	int ret;

	ret = cvmm_link_rx_header(link, conn->hdr, msg);
	if (ret)
		return ret;
	if (msg->type != DSM_MSG_DATA || msg->length != PAGE_SIZE || msg->gfn != gfn)
		return -EPROTO;
	/* Two headers, one message. */
	atomic64_dec(&link->rx_msgs);
	atomic64_add((s64)len - (s64)PAGE_SIZE, &link->rx_bytes);
	ret = cvmm_twins_unpack(conn->came, cvmm_tcp_twin(link, gfn), len, page_address(conn->page));
	return ret ?: conn_deliver(conn);
}

/* What was to come next is there. */
static int conn_step(struct tcp_conn *conn)
{
	conn->have = 0;
	switch (conn->stage) {
	case TCP_HEADER:
		return conn_header(conn);
	case TCP_PAGE:
		if (conn->came && conn->msg.type == DSM_MSG_DATA)
			cvmm_twins_note(conn->came, cvmm_tcp_twin(conn->link, conn->msg.gfn),
					page_address(conn->page));
		return conn_deliver(conn);
	case TCP_DELTA:
		conn->stage = TCP_DATA;
		return 0;
	case TCP_DATA:
		return conn_data(conn);
	}
	return -EPROTO;
}

/* Of what has been told already nobody hears again. */
static void conn_error(struct tcp_conn *conn, int err)
{
	struct cvmm_link *link = conn->link;

	conn->ended = true;
	switch (err) {
	case -ENOTCONN:
		cvmm_link_down(link, ENOTCONN, "has closed the link");
		break;
	case -EPIPE:
		cvmm_link_down(link, EPIPE, "link ended in the middle of a message");
		break;
	case -ETIMEDOUT:
		cvmm_link_down(link, ETIMEDOUT, "does not answer any more");
		break;
	default:
		cvmm_link_down(link, -err, "link broken");
	}
}

/* conn->rx_lock held.  What has come, up to @budget messages; how many there were. */
static unsigned int conn_receive(struct tcp_conn *conn, unsigned int budget)
{
	unsigned int n = 0;
	int ret = 0;

	while (n < budget && !conn->ended) {
		ret = conn_fill(conn);
		if (ret == -EAGAIN)
			break;
		if (!ret)
			ret = conn_step(conn);
		if (ret)
			conn_error(conn, ret);
		else if (conn->stage == TCP_HEADER)
			n++;
	}
	return n;
}

static bool conn_readable(const struct tcp_conn *conn)
{
	struct socket *sock = conn->sock;

	return READ_ONCE(sock->ops)->poll(conn->file, sock, NULL) &
	       (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
}

static bool conn_may_go_on(const struct tcp_conn *conn)
{
	const struct link_tcp *tcp = conn->link->priv;

	if (kthread_should_stop())
		return true;
	if (conn->nr && !heard(tcp))
		return false;
	return conn_readable(conn);
}

int cvmm_tcp_rx_thread(void *arg)
{
	struct tcp_conn *conn = arg;
	bool ended = false;

	/* A message is somebody's page fault. */
	set_user_nice(current, MIN_NICE);

	while (!ended) {
		wait_event_interruptible(*sk_sleep(conn->sock->sk), conn_may_go_on(conn));
		if (kthread_should_stop())
			break;
		mutex_lock(&conn->rx_lock);
		conn_receive(conn, RX_BUDGET);
		ended = conn->ended;
		mutex_unlock(&conn->rx_lock);
		cond_resched();
	}
	return 0;
}

unsigned int cvmm_tcp_poll(struct cvmm_link *link, u32 lane)
{
	struct link_tcp *tcp = link->priv;
	struct tcp_conn *conn = &tcp->conn[lane % tcp->nr];
	unsigned int n;

	/*
	 * Only when nobody else has the socket: who sent on it from a page of the space could
	 * own it while he waits for that page, and we would wait for him, unkillable.
	 */
	if (!heard(tcp) || file_count(conn->file) > 1 || !mutex_trylock(&conn->rx_lock))
		return 0;
	/* The device's queue, too, if that is wanted (SO_BUSY_POLL, net.core.busy_read). */
	if (sk_can_busy_loop(conn->sock->sk))
		sk_busy_loop(conn->sock->sk, 1);
	n = conn_receive(conn, POLL_BUDGET);
	mutex_unlock(&conn->rx_lock);
	return n;
}
