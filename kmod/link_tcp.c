// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links over connected stream sockets: TCP between hosts, AF_UNIX for several
 * spaces on one host.  A TCP socket may have kernel TLS on it: a record that does
 * not open or is not data is then an error of recvmsg, and nothing is sent under a
 * page lock (tcp_send_nowait()).
 *
 * A link has one connection or several, its lanes.  Payloads are copied into the socket
 * when sent; handing the page itself to the socket would leave references on the frame
 * (until the peer's TCP has acknowledged it) which a revocation can not tell
 * from somebody's pin.
 */
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tcp_states.h>

#include "link_tcp.h"
#include "space_priv.h"

/* Probes of a silent connection: after 1 s, then each second, three in all. */
#define KEEPALIVE_S		1
#define KEEPALIVE_PROBES	3

static unsigned int twin_pages = 1024;
module_param(twin_pages, uint, 0644);
MODULE_PARM_DESC(twin_pages, "pages kept for each direction of a link, to send only what changes in them (default 1024), at most 4096 for all links of a guest; 0: none (of links made from now on)");

/* The peer has said hello: it may be able to take deltas. */
void cvmm_tcp_begin_twins(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	unsigned int i;

	if (!link->twins || !link->peer_twins)
		return;
	for (i = 0; i < tcp->nr; i++) {
		/* Without: pages go as a whole. */
		struct cvmm_twins *went = cvmm_twins_alloc(min(link->twins, link->peer_twins));

		/* Pairs with tcp_prepare(). */
		smp_store_release(&tcp->conn[i].went, went);
	}
}

/* ------------------------------------------------------------ sending */

/*
 * Looks at the socket before a message goes to the work item: our receiver owns
 * it for the time of a copy.
 */
#define TRYLOCK_SPINS		200

/* Own a socket that nobody owns; release_sock() undoes it. */
static bool sock_trylock(struct sock *sk)
{
	unsigned int spins = num_online_cpus() > 1 ? TRYLOCK_SPINS : 0;
	bool owned;

	while (READ_ONCE(sk->sk_lock.owned) && spins--)
		cpu_relax();
	spin_lock_bh(&sk->sk_lock.slock);
	owned = sock_owned_by_user_nocheck(sk);
	if (!owned)
		sk->sk_lock.owned = 1;
	spin_unlock_bh(&sk->sk_lock.slock);
	if (!owned)
		mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
	return !owned;
}

/*
 * The caller may hold a page lock and its mmap_lock.  Who gave us the socket
 * may still send on it, and fault on a page of the space while he owns it: never
 * wait for the owner here.  AF_UNIX sends without owning the socket.  What a
 * protocol above TCP locks is not known.
 */
static int tcp_send_nowait(struct socket *sock, struct msghdr *mh, struct kvec *iov,
			   unsigned int n, size_t len)
{
	struct sock *sk = sock->sk;
	int ret;

	mh->msg_flags |= MSG_DONTWAIT;
	if (sk->sk_family == AF_UNIX)
		return kernel_sendmsg(sock, mh, iov, n, len);
	if (inet_csk_has_ulp(sk) || !sock_trylock(sk))
		return -EAGAIN;
	ret = kernel_sendmsg_locked(sk, mh, iov, n, len);
	release_sock(sk);
	return ret;
}

static struct tcp_conn *conn_of(struct cvmm_link *link, u32 lane)
{
	struct link_tcp *tcp = link->priv;

	return &tcp->conn[lane % tcp->nr];
}

/* What has changed in the page goes instead of it, where the peer knows the rest. */
static void tcp_prepare(struct cvmm_link *link, struct cvmm_msg *msg)
{
	/* Pairs with cvmm_tcp_begin_twins(). */
	struct cvmm_twins *went = smp_load_acquire(&conn_of(link, msg->lane)->went);
	struct dsm_msg data, delta = { .type = CVMM_MSG_DELTA };
	int len;

	if (!went || msg->len != PAGE_SIZE || dsm_wire_decode(msg->hdr, DSM_WIRE_SIZE, &data))
		return;
	len = cvmm_twins_pack(went, cvmm_tcp_twin(link, data.gfn), page_address(msg->page));
	if (len < 0)
		return;
	msg->packed = kmalloc(2 * DSM_WIRE_SIZE + len, GFP_KERNEL | __GFP_NOWARN);
	if (!msg->packed)
		return;
	delta.gfn = data.gfn;
	delta.epoch = data.epoch;
	delta.version = len;
	dsm_wire_encode(&delta, msg->packed);
	memcpy(msg->packed + DSM_WIRE_SIZE, went->delta, len);
	memcpy(msg->packed + DSM_WIRE_SIZE + len, msg->hdr, DSM_WIRE_SIZE);
	msg->packed_len = 2 * DSM_WIRE_SIZE + len;
	cvmm_count(&link->space->stats, CVMM_SC_DELTA_TX);
	cvmm_count_add(&link->space->stats, CVMM_SC_DELTA_TX_BYTES, len);
}

static int tcp_xmit(struct cvmm_link *link, struct cvmm_msg *msg, unsigned int flags)
{
	struct socket *sock = conn_of(link, msg->lane)->sock;
	const u32 total = msg->packed ? msg->packed_len : DSM_WIRE_SIZE + msg->len;
	int ret;

	while (msg->sent < total) {
		struct msghdr mh = { .msg_flags = MSG_NOSIGNAL };
		struct kvec iov[2];
		unsigned int n = 0;
		u32 off = msg->sent;

		if (msg->packed) {
			iov[n].iov_base = msg->packed + off;
			iov[n++].iov_len = total - off;
		} else if (off < DSM_WIRE_SIZE) {
			iov[n].iov_base = msg->hdr + off;
			iov[n++].iov_len = DSM_WIRE_SIZE - off;
			off = DSM_WIRE_SIZE;
		}
		if (msg->len && !msg->packed) {
			iov[n].iov_base = page_address(msg->page) + off - DSM_WIRE_SIZE;
			iov[n++].iov_len = total - off;
		}
		if (flags & CVMM_XMIT_NOWAIT)
			ret = tcp_send_nowait(sock, &mh, iov, n, total - msg->sent);
		else
			ret = kernel_sendmsg(sock, &mh, iov, n, total - msg->sent);
		if (ret == -EAGAIN && !(flags & CVMM_XMIT_NOWAIT))
			return -ETIMEDOUT;	/* sk_sndtimeo */
		if (ret < 0)
			return ret;
		msg->sent += ret;
	}
	atomic64_add(msg->len, &link->copied);
	cvmm_msg_free(link, msg);
	return 0;
}

/* ----------------------------------------------------------- lifetime */

/*
 * @alone: the link's only connection.  What comes on another than the first is not looked at
 * before the hello: what waits in AF_UNIX sockets can be descriptors, which would hold the
 * space and the first one's peer for as long, and that can be for ever.
 */
static int tcp_check(struct socket *sock, bool alone)
{
	struct sock *sk = sock->sk;

	if (sock->type != SOCK_STREAM)
		return -EPROTOTYPE;
	switch (sk->sk_family) {
	case AF_INET:
	case AF_INET6:
		if (sk->sk_protocol != IPPROTO_TCP)
			return -EPROTONOSUPPORT;
		break;
	case AF_UNIX:
		if (!alone)
			return -EAFNOSUPPORT;
		break;
	default:
		return -EAFNOSUPPORT;
	}
	/* Not sock->state: it lags behind after a connect() that did not wait. */
	if (READ_ONCE(sk->sk_state) != TCP_ESTABLISHED)
		return -ENOTCONN;
	return 0;
}

static void tcp_set_options(struct sock *sk)
{
	const long timeout = msecs_to_jiffies(CVMM_LINK_TIMEOUT_MS);

	lock_sock(sk);
	sk->sk_sndtimeo = timeout;
	sk->sk_rcvtimeo = MAX_SCHEDULE_TIMEOUT;
	release_sock(sk);
	if (sk->sk_family == AF_UNIX)
		return;
	tcp_sock_set_nodelay(sk);
	tcp_sock_set_user_timeout(sk, CVMM_LINK_TIMEOUT_MS);
	tcp_sock_set_keepidle(sk, KEEPALIVE_S);
	tcp_sock_set_keepintvl(sk, KEEPALIVE_S);
	tcp_sock_set_keepcnt(sk, KEEPALIVE_PROBES);
	sock_set_keepalive(sk);
}

/* Twins for what comes, as many for each connection, or none at all. */
static void alloc_twins(struct cvmm_link *link, struct link_tcp *tcp)
{
	unsigned int most = (1U << CVMM_TWINS_MAX_ORDER) / (link->space->nr_hosts - 1);
	unsigned int i, nr = min(READ_ONCE(twin_pages), most) / tcp->nr;

	link->twins = 0;
	if (nr < 2)
		return;
	for (i = 0; i < tcp->nr; i++) {
		tcp->conn[i].came = cvmm_twins_alloc(ilog2(nr));
		if (!tcp->conn[i].came)
			goto free;
	}
	link->twins = ilog2(nr);
	return;
free:
	while (i--) {
		cvmm_twins_free(tcp->conn[i].came);
		tcp->conn[i].came = NULL;
	}
}

static int conn_open(struct tcp_conn *conn, struct cvmm_link *link, unsigned int nr, int fd,
		     bool alone)
{
	int ret = -ENOTSOCK;

	conn->file = fget(fd);
	if (!conn->file)
		return -EBADF;
	conn->sock = sock_from_file(conn->file);
	if (conn->sock)
		ret = tcp_check(conn->sock, alone);
	if (ret) {
		fput(conn->file);
		return ret;
	}
	tcp_set_options(conn->sock->sk);
	conn->link = link;
	conn->nr = nr;
	mutex_init(&conn->rx_lock);
	return 0;
}

static void conn_close(struct tcp_conn *conn)
{
	fput(conn->file);
	if (conn->page)
		cvmm_frame_free(conn->link->space, conn->page);
	cvmm_twins_free(conn->came);
	cvmm_twins_free(conn->went);
	mutex_destroy(&conn->rx_lock);
}

static int tcp_attach(struct cvmm_link *link, const s32 *fds, unsigned int nr)
{
	struct link_tcp *tcp;
	unsigned int i;
	int ret;

	tcp = kzalloc(struct_size(tcp, conn, nr), GFP_KERNEL_ACCOUNT);
	if (!tcp)
		return -ENOMEM;
	tcp->nr = nr;
	for (i = 0; i < nr; i++) {
		ret = conn_open(&tcp->conn[i], link, i, fds[i], nr == 1);
		if (ret)
			goto close;
	}
	alloc_twins(link, tcp);
	link->priv = tcp;
	link->nr_lanes = nr;
	return 0;

close:
	while (i--)
		conn_close(&tcp->conn[i]);
	kfree(tcp);
	return ret;
}

/* All threads are there before any runs: the first wakes the others. */
static int tcp_start(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	struct task_struct *rx;
	unsigned int i;

	for (i = 0; i < tcp->nr; i++) {
		if (!cvmm_thread_get())
			return -EAGAIN;
		rx = kthread_create(cvmm_tcp_rx_thread, &tcp->conn[i], "cvmm-rx/%u", link->host);
		if (IS_ERR(rx)) {
			cvmm_thread_put();
			return PTR_ERR(rx);
		}
		/* It may end before release() stops it. */
		get_task_struct(rx);
		tcp->conn[i].rx = rx;
	}
	for (i = 0; i < tcp->nr; i++)
		wake_up_process(tcp->conn[i].rx);
	return 0;
}

/*
 * Read what nobody will: descriptors that come over AF_UNIX are held until then, and
 * one of our own space, which holds this socket, would keep both for ever.
 */
static void tcp_drain(struct socket *sock)
{
	u8 buf[256];
	int ret;

	do {
		struct msghdr mh = { };
		struct kvec iov = { .iov_base = buf, .iov_len = sizeof(buf) };

		ret = kernel_recvmsg(sock, &mh, &iov, 1, sizeof(buf), MSG_DONTWAIT);
		cond_resched();
	} while (ret > 0);
}

static void tcp_shutdown(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	unsigned int i;

	for (i = 0; i < tcp->nr; i++) {
		struct socket *sock = tcp->conn[i].sock;

		kernel_sock_shutdown(sock, SHUT_RDWR);
		/* From here no more comes. */
		if (sock->sk->sk_family == AF_UNIX)
			tcp_drain(sock);
	}
}

static void tcp_stop(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	unsigned int i;

	for (i = 0; i < tcp->nr; i++) {
		struct tcp_conn *conn = &tcp->conn[i];

		if (!conn->rx)
			continue;
		kthread_stop(conn->rx);
		put_task_struct(conn->rx);
		conn->rx = NULL;
		cvmm_thread_put();
	}
}

static void tcp_release(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	unsigned int i;

	for (i = 0; i < tcp->nr; i++)
		conn_close(&tcp->conn[i]);
	kfree(tcp);
	link->priv = NULL;
}

const struct cvmm_link_ops cvmm_link_tcp_ops = {
	.name = "stream",
	.transport = CVMM_TRANSPORT_STREAM,
	.feature = CVMM_FEATURE_LINK_STREAM,
	.owner = THIS_MODULE,
	.attach = tcp_attach,
	.start = tcp_start,
	.prepare = tcp_prepare,
	.xmit = tcp_xmit,
	.poll = cvmm_tcp_poll,
	.shutdown = tcp_shutdown,
	.stop = tcp_stop,
	.release = tcp_release,
};
