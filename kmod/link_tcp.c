// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links over connected stream sockets: TCP between hosts, AF_UNIX for several
 * spaces on one host.  A TCP socket may have kernel TLS on it: a record that does
 * not open or is not data is then an error of recvmsg, and nothing is sent under a
 * page lock (tcp_send_nowait()).
 *
 * One thread per link receives: a header, then the payload straight into the
 * frame that will be mapped.  Payloads are copied into the socket when sent;
 * handing the page itself to the socket would leave references on the frame
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

#include "link.h"
#include "link_twin.h"
#include "space_priv.h"

/* Probes of a silent connection: after 1 s, then each second, three in all. */
#define KEEPALIVE_S		1
#define KEEPALIVE_PROBES	3

static unsigned int twin_pages = 1024;
module_param(twin_pages, uint, 0644);
MODULE_PARM_DESC(twin_pages, "pages kept for each direction of a link, to send only what changes in them (default 1024), at most 4096 for all links of a guest; 0: none (of links made from now on)");

/**
 * struct link_tcp - priv of a link
 * @sock:	the connection
 * @rx:		the receiver
 * @came:	twins of what comes, or NULL; the receiver's
 * @went:	twins of what goes, or NULL; from the peer's hello on
 */
struct link_tcp {
	struct socket *sock;
	struct task_struct *rx;
	struct cvmm_twins *came;
	struct cvmm_twins *went;
};

/* ---------------------------------------------------------- receiving */

/* Returns 0, -ENOTCONN at a clean end before the first byte, or -errno. */
static int tcp_receive(struct link_tcp *tcp, void *buf, size_t len)
{
	size_t done = 0;
	int ret;

	while (done < len) {
		struct msghdr mh = { };
		struct kvec iov = { .iov_base = buf + done, .iov_len = len - done };

		ret = kernel_recvmsg(tcp->sock, &mh, &iov, 1, iov.iov_len, MSG_WAITALL);
		if (ret == 0)
			return done ? -EPIPE : -ENOTCONN;
		if (ret < 0)
			return ret;
		done += ret;
	}
	return 0;
}

static void rx_error(struct cvmm_link *link, int err)
{
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

/* The peer has said hello: it may be able to take deltas. */
static void twins_begin(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	struct cvmm_twins *went;

	if (!link->twins || !link->peer_twins)
		return;
	/* Without: pages go as a whole. */
	went = cvmm_twins_alloc(min(link->twins, link->peer_twins));
	/* Pairs with tcp_prepare(). */
	smp_store_release(&tcp->went, went);
}

/* A page comes, as a whole or after the delta @msg, in place of which DATA then is. */
static int receive_page(struct cvmm_link *link, struct dsm_msg *msg, struct page *page)
{
	struct link_tcp *tcp = link->priv;
	u8 hdr[DSM_WIRE_SIZE];
	u64 gfn = msg->gfn;
	u32 len;
	int ret;

	if (msg->type != CVMM_MSG_DELTA) {
		ret = tcp_receive(tcp, page_address(page), msg->length);
		if (!ret && tcp->came && msg->type == DSM_MSG_DATA)
			cvmm_twins_note(tcp->came, gfn, page_address(page));
		return ret;
	}

	len = msg->version;
	if (!tcp->came || msg->length || len > CVMM_DELTA_MAX)
		return -EPROTO;
	ret = tcp_receive(tcp, tcp->came->delta, len);
	if (ret)
		return ret;
	ret = tcp_receive(tcp, hdr, sizeof(hdr));
	if (ret)
		return ret;
	ret = cvmm_link_rx_header(link, hdr, msg);
	if (ret)
		return ret;
	if (msg->type != DSM_MSG_DATA || msg->length != PAGE_SIZE || msg->gfn != gfn)
		return -EPROTO;
	/* Two headers, one message. */
	atomic64_dec(&link->rx_msgs);
	atomic64_add((s64)len - (s64)PAGE_SIZE, &link->rx_bytes);
	return cvmm_twins_unpack(tcp->came, gfn, len, page_address(page));
}

static int tcp_rx_thread(void *arg)
{
	struct cvmm_link *link = arg;
	struct link_tcp *tcp = link->priv;
	u8 hdr[DSM_WIRE_SIZE];
	struct dsm_msg msg;
	bool first = true;
	struct page *page;
	int ret;

	/* A message is somebody's page fault. */
	set_user_nice(current, MIN_NICE);

	while (!kthread_should_stop()) {
		ret = tcp_receive(tcp, hdr, sizeof(hdr));
		if (ret) {
			rx_error(link, ret);
			break;
		}
		if (cvmm_link_rx_header(link, hdr, &msg))
			break;
		page = NULL;
		if (msg.length || (msg.type == CVMM_MSG_DELTA && !first)) {
			page = cvmm_frame_for_rx(link->space);
			if (!page) {
				cvmm_link_down(link, ENOMEM, "no memory for its page");
				break;
			}
			ret = receive_page(link, &msg, page);
			if (ret) {
				cvmm_frame_free(link->space, page);
				rx_error(link, ret == -ENOTCONN ? -EPIPE : ret);
				break;
			}
			atomic64_add(msg.length, &link->copied);
		}
		if (cvmm_link_rx(link, &msg, page))
			break;
		if (first)
			twins_begin(link);
		first = false;
		cond_resched();
	}
	return 0;
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

/* What has changed in the page goes instead of it, where the peer knows the rest. */
static void tcp_prepare(struct cvmm_link *link, struct cvmm_msg *msg)
{
	struct link_tcp *tcp = link->priv;
	/* Pairs with twins_begin(). */
	struct cvmm_twins *went = smp_load_acquire(&tcp->went);
	struct dsm_msg data, delta = { .type = CVMM_MSG_DELTA };
	int len;

	if (!went || msg->len != PAGE_SIZE || dsm_wire_decode(msg->hdr, DSM_WIRE_SIZE, &data))
		return;
	len = cvmm_twins_pack(went, data.gfn, page_address(msg->page));
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
	struct link_tcp *tcp = link->priv;
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
			ret = tcp_send_nowait(tcp->sock, &mh, iov, n, total - msg->sent);
		else
			ret = kernel_sendmsg(tcp->sock, &mh, iov, n, total - msg->sent);
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

static int tcp_check(struct socket *sock)
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

static int tcp_attach(struct cvmm_link *link, const struct cvmm_space_link *arg)
{
	struct link_tcp *tcp;
	unsigned int twins;
	int ret;

	tcp = kzalloc(sizeof(*tcp), GFP_KERNEL_ACCOUNT);
	if (!tcp)
		return -ENOMEM;
	tcp->sock = sockfd_lookup(arg->fd, &ret);
	if (!tcp->sock)
		goto free;
	ret = tcp_check(tcp->sock);
	if (ret)
		goto put_sock;
	tcp_set_options(tcp->sock->sk);
	twins = min(READ_ONCE(twin_pages),
		    (1U << CVMM_TWINS_MAX_ORDER) / (link->space->nr_hosts - 1));
	if (twins > 1)
		tcp->came = cvmm_twins_alloc(ilog2(twins));
	link->twins = tcp->came ? ilog2(twins) : 0;
	link->priv = tcp;
	return 0;

put_sock:
	sockfd_put(tcp->sock);
free:
	kfree(tcp);
	return ret;
}

static int tcp_start(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;
	struct task_struct *rx;

	if (!cvmm_thread_get())
		return -EAGAIN;
	rx = kthread_create(tcp_rx_thread, link, "cvmm-rx/%u", link->host);
	if (IS_ERR(rx)) {
		cvmm_thread_put();
		return PTR_ERR(rx);
	}
	/* It may end before release() stops it. */
	get_task_struct(rx);
	tcp->rx = rx;
	wake_up_process(rx);
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

	kernel_sock_shutdown(tcp->sock, SHUT_RDWR);
	/* From here no more comes. */
	if (tcp->sock->sk->sk_family == AF_UNIX)
		tcp_drain(tcp->sock);
}

static void tcp_stop(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;

	if (!tcp->rx)
		return;
	kthread_stop(tcp->rx);
	put_task_struct(tcp->rx);
	tcp->rx = NULL;
	cvmm_thread_put();
}

static void tcp_release(struct cvmm_link *link)
{
	struct link_tcp *tcp = link->priv;

	sockfd_put(tcp->sock);
	cvmm_twins_free(tcp->came);
	cvmm_twins_free(tcp->went);
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
	.shutdown = tcp_shutdown,
	.stop = tcp_stop,
	.release = tcp_release,
};
