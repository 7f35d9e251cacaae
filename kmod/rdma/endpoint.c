// SPDX-License-Identifier: GPL-2.0-only
/*
 * Endpoints: connections made, with their tokens, and the descriptor that user
 * space has of them.
 *
 * The connection manager calls ep_cm_event() for each connection, one call at a
 * time for each; ep->lock serialises those of an endpoint.  Everything of the
 * device goes in cvmm_rdma_teardown(), which the last reference, the end of
 * the link and the removal of the device call.
 */
#include <crypto/algapi.h>
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/nsproxy.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <rdma/ib_cm.h>

#include "rdma.h"

/* For each of address and route of the peer */
#define RESOLVE_MS		2000
/*
 * 4.096 us * 2^16, 0.27 s, until a message that is not acknowledged is sent again;
 * with the retries below 1.9 s until the peer is taken for dead (a device may take
 * up to four times its timeout).  For soft-RoCE 7 retries are endless.
 */
#define ACK_TIMEOUT		16
#define RETRIES			6
/* Credits keep the peer from having no buffer: each retry is a fault of somebody. */
#define RNR_RETRIES		6

/* -------------------------------------------------------------- state */

/* ep->lock held */
static void ep_fail(struct rdma_ep *ep, int error, const char *reason)
{
	if (ep->state == CVMM_RDMA_FAILED)
		return;
	ep->state = CVMM_RDMA_FAILED;
	ep->error = error;
	ep->reason = reason;
	wake_up_poll(&ep->wait, EPOLLERR | EPOLLHUP);
	if (ep->link)
		cvmm_link_down(ep->link, error, reason);
}

void cvmm_rdma_fail(struct rdma_ep *ep, int error, const char *reason)
{
	mutex_lock(&ep->lock);
	ep_fail(ep, error, reason);
	mutex_unlock(&ep->lock);
}

/* ep->lock held */
static void lane_is_up(struct rdma_lane *lane)
{
	struct rdma_ep *ep = lane->ep;

	lane->up = true;
	if (++ep->nr_up < ep->nr_lanes || ep->state != CVMM_RDMA_WAITING)
		return;
	ep->state = CVMM_RDMA_CONNECTED;
	wake_up_poll(&ep->wait, EPOLLIN | EPOLLOUT);
}

/* -------------------------------------------------------- connections */

static void conn_param_init(struct rdma_conn_param *param, struct rdma_handshake *hs,
			    const struct rdma_lane *lane)
{
	rdma_handshake_encode(hs, lane->nr, lane->ep->nr_lanes, lane->ep->token);
	memset(param, 0, sizeof(*param));
	param->private_data = hs;
	param->private_data_len = sizeof(*hs);
	param->flow_control = 1;
	param->retry_count = RETRIES;
	param->rnr_retry_count = RNR_RETRIES;
}

/* The lane's queues, before it connects or accepts.  ep->lock held. */
static int lane_prepare(struct rdma_lane *lane)
{
	int ret = cvmm_rdma_lane_create(lane);

	if (!ret)
		ret = rdma_set_ack_timeout(lane->id, ACK_TIMEOUT);
	return ret;
}

static int lane_connect(struct rdma_lane *lane)
{
	struct rdma_conn_param param;
	struct rdma_handshake hs;
	int ret;

	ret = lane_prepare(lane);
	if (ret)
		return ret;
	conn_param_init(&param, &hs, lane);
	ret = rdma_connect_locked(lane->id, &param);
	memzero_explicit(&hs, sizeof(hs));
	return ret;
}

/*
 * Somebody connects to our listener: @id is new and belongs to who returns 0.
 * ep->lock held.
 */
static int ep_request(struct rdma_ep *ep, struct rdma_cm_id *id,
		      const struct rdma_conn_param *from)
{
	struct rdma_conn_param param;
	struct rdma_handshake hs;
	struct rdma_lane *lane;
	int ret;

	ret = rdma_handshake_decode(&hs, from->private_data, from->private_data_len,
				    ep->peer_token);
	if (ret == -EACCES) {
		pr_info_ratelimited("cvmm: refused an RDMA connection of %pISc: it has not the token\n",
				    &id->route.addr.dst_addr);
		goto reject;
	}
	if (ret)
		goto reject;
	ret = -EPROTO;
	if (ep->state != CVMM_RDMA_WAITING || (ep->nr_lanes && hs.nr_lanes != ep->nr_lanes))
		goto reject;
	ep->nr_lanes = hs.nr_lanes;
	lane = &ep->lane[array_index_nospec(hs.lane, CVMM_RDMA_MAX_QPS)];
	if (lane->id)	/* each token is good for each lane once */
		goto reject;
	lane->id = id;
	id->context = lane;
	ret = lane_prepare(lane);
	if (!ret) {
		conn_param_init(&param, &hs, lane);
		ret = rdma_accept(id, &param);
	}
	memzero_explicit(&hs, sizeof(hs));
	if (ret) {
		/* It stays ours, and goes with the endpoint. */
		rdma_reject(id, NULL, 0, IB_CM_REJ_CONSUMER_DEFINED);
		ep_fail(ep, -ret, "RDMA: this host's device can not accept");
	}
	return 0;

reject:
	memzero_explicit(&hs, sizeof(hs));
	rdma_reject(id, NULL, 0, IB_CM_REJ_CONSUMER_DEFINED);
	return ret;
}

static void lane_established(struct rdma_lane *lane, const struct rdma_conn_param *from)
{
	struct rdma_ep *ep = lane->ep;
	struct rdma_handshake hs;

	/* Who listens has seen the token in the request. */
	if (!ep->listens) {
		if (rdma_handshake_decode(&hs, from->private_data, from->private_data_len,
					  ep->peer_token) ||
		    hs.lane != lane->nr || hs.nr_lanes != ep->nr_lanes) {
			ep_fail(ep, EACCES, "RDMA: the peer has not the token");
			return;
		}
		memzero_explicit(&hs, sizeof(hs));
	}
	lane_is_up(lane);
}

static void lane_event(struct rdma_lane *lane, struct rdma_cm_event *ev)
{
	struct rdma_ep *ep = lane->ep;
	int ret;

	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		ret = rdma_resolve_route(lane->id, RESOLVE_MS);
		if (ret)
			ep_fail(ep, -ret, "RDMA: no route to the peer");
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		ret = lane_connect(lane);
		if (ret)
			ep_fail(ep, -ret, "RDMA: this host's device can not connect");
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		lane_established(lane, &ev->param.conn);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
		ep_fail(ep, ENODEV, "RDMA: no device of this host reaches the peer's address");
		break;
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		ep_fail(ep, EHOSTUNREACH, "RDMA: the peer can not be reached");
		break;
	case RDMA_CM_EVENT_REJECTED:
		ep_fail(ep, ECONNREFUSED, "RDMA: the peer refuses the connection");
		break;
	case RDMA_CM_EVENT_CONNECT_ERROR:
		ep_fail(ep, EIO, "RDMA: the connection failed");
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		ep_fail(ep, ENOTCONN, "has closed the link");
		break;
	default:
		break;
	}
}

static int ep_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_lane *lane = id->context;
	struct rdma_ep *ep = lane->ep;
	int ret = 0;

	mutex_lock(&ep->lock);
	if (ev->event == RDMA_CM_EVENT_DEVICE_REMOVAL) {
		/* The caller waits until this connection has been destroyed. */
		ep_fail(ep, ENODEV, "this host's RDMA device has been removed");
		if (!ep->closing)
			queue_work(cvmm_rdma_wq, &ep->remove_work);
	} else if (ev->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		ret = ep->closing ? -ECONNABORTED : ep_request(ep, id, &ev->param.conn);
	} else if (!ep->closing) {
		lane_event(lane, ev);
	}
	mutex_unlock(&ep->lock);
	return ret;
}

/* ------------------------------------------------------------- making */

static int addr_get(const struct cvmm_rdma_endpoint *arg, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *sin = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = arg->family;
	switch (arg->family) {
	case AF_INET:
		memcpy(&sin->sin_addr, arg->addr, sizeof(sin->sin_addr));
		sin->sin_port = htons(arg->port);
		return arg->scope_id || !sin->sin_addr.s_addr ? -EINVAL : 0;
	case AF_INET6:
		memcpy(&sin6->sin6_addr, arg->addr, sizeof(sin6->sin6_addr));
		sin6->sin6_port = htons(arg->port);
		sin6->sin6_scope_id = arg->scope_id;
		return ipv6_addr_any(&sin6->sin6_addr) ? -EINVAL : 0;
	default:
		return -EAFNOSUPPORT;
	}
}

static u16 addr_port(const struct sockaddr_storage *ss)
{
	/* At the same place for both families. */
	return ntohs(((const struct sockaddr_in *)ss)->sin_port);
}

static struct rdma_cm_id *ep_create_id(struct rdma_lane *lane)
{
	return rdma_create_id(current->nsproxy->net_ns, ep_cm_event, lane, RDMA_PS_TCP, IB_QPT_RC);
}

static int ep_listen(struct rdma_ep *ep, struct sockaddr_storage *ss, u16 *port)
{
	struct rdma_cm_id *id = ep_create_id(&ep->lane[0]);
	int ret;

	if (IS_ERR(id))
		return PTR_ERR(id);
	ep->listens = true;
	ep->listener = id;
	ret = rdma_bind_addr(id, (struct sockaddr *)ss);
	if (ret)
		return ret;
	if (!id->device)
		return -ENODEV;
	ret = rdma_listen(id, CVMM_RDMA_MAX_QPS);
	if (ret)
		return ret;
	*port = addr_port(&id->route.addr.src_addr);
	return 0;
}

static int ep_connect(struct rdma_ep *ep, struct sockaddr_storage *ss)
{
	struct rdma_cm_id *id;
	unsigned int i;
	int ret;

	for (i = 0; i < ep->nr_lanes; i++) {
		id = ep_create_id(&ep->lane[i]);
		if (IS_ERR(id))
			return PTR_ERR(id);
		ep->lane[i].id = id;
	}
	for (i = 0; i < ep->nr_lanes; i++) {
		ret = rdma_resolve_addr(ep->lane[i].id, NULL, (struct sockaddr *)ss, RESOLVE_MS);
		if (ret)
			return ret;
	}
	return 0;
}

static void ep_remove_work(struct work_struct *work)
{
	cvmm_rdma_teardown(container_of(work, struct rdma_ep, remove_work));
}

static void ep_alive_work(struct work_struct *work)
{
	struct rdma_ep *ep = container_of(work, struct rdma_ep, alive_work.work);
	unsigned int i;

	for (i = 0; i < ep->nr_lanes; i++)
		cvmm_rdma_lane_tick(&ep->lane[i]);
	queue_delayed_work(cvmm_rdma_wq, &ep->alive_work, HZ);
}

static struct rdma_ep *ep_alloc(const struct cvmm_rdma_endpoint *arg)
{
	struct rdma_ep *ep = kzalloc(sizeof(*ep), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	if (!ep)
		return NULL;
	kref_init(&ep->ref);
	mutex_init(&ep->lock);
	mutex_init(&ep->teardown_lock);
	init_waitqueue_head(&ep->wait);
	INIT_DELAYED_WORK(&ep->alive_work, ep_alive_work);
	INIT_WORK(&ep->remove_work, ep_remove_work);
	memcpy(ep->token, arg->token, sizeof(ep->token));
	memcpy(ep->peer_token, arg->peer_token, sizeof(ep->peer_token));
	ep->nr_lanes = arg->nr_qps;
	for (i = 0; i < ARRAY_SIZE(ep->lane); i++)
		cvmm_rdma_lane_init(&ep->lane[i], ep, i);
	return ep;
}

/* ---------------------------------------------------------------- end */

void cvmm_rdma_teardown(struct rdma_ep *ep)
{
	unsigned int i;

	mutex_lock(&ep->teardown_lock);
	if (ep->gone)
		goto unlock;
	mutex_lock(&ep->lock);
	ep->closing = true;
	mutex_unlock(&ep->lock);
	/* No callback makes anything any more; what follows waits for those that run. */
	if (ep->listener)
		rdma_destroy_id(ep->listener);
	ep->listener = NULL;
	cancel_delayed_work_sync(&ep->alive_work);
	for (i = 0; i < ARRAY_SIZE(ep->lane); i++) {
		struct rdma_lane *lane = &ep->lane[i];

		if (!lane->id)
			continue;
		cvmm_rdma_lane_kill(lane);
		rdma_disconnect(lane->id);
		cvmm_rdma_lane_destroy(lane);
		rdma_destroy_id(lane->id);
		lane->id = NULL;
	}
	ep->gone = true;
unlock:
	mutex_unlock(&ep->teardown_lock);
}

static void ep_free(struct kref *ref)
{
	struct rdma_ep *ep = container_of(ref, struct rdma_ep, ref);
	unsigned int i;

	cvmm_rdma_teardown(ep);
	/* With the connections gone nobody queues it. */
	cancel_work_sync(&ep->remove_work);
	for (i = 0; i < ARRAY_SIZE(ep->lane); i++)
		mutex_destroy(&ep->lane[i].rx_lock);
	mutex_destroy(&ep->teardown_lock);
	mutex_destroy(&ep->lock);
	kfree_sensitive(ep);
}

void cvmm_rdma_put(struct rdma_ep *ep)
{
	kref_put(&ep->ref, ep_free);
}

/* --------------------------------------------------------- descriptor */

static int ep_release(struct inode *inode, struct file *file)
{
	cvmm_rdma_put(file->private_data);
	return 0;
}

static __poll_t ep_poll(struct file *file, poll_table *wait)
{
	struct rdma_ep *ep = file->private_data;

	poll_wait(file, &ep->wait, wait);
	switch (READ_ONCE(ep->state)) {
	case CVMM_RDMA_WAITING:
		return 0;
	case CVMM_RDMA_CONNECTED:
		return EPOLLIN | EPOLLOUT;
	default:
		return EPOLLERR | EPOLLHUP;
	}
}

static long ep_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cvmm_rdma_status status = { };
	struct rdma_ep *ep = file->private_data;

	if (cmd != CVMM_RDMA_STATUS)
		return -ENOTTY;
	mutex_lock(&ep->lock);
	status.state = ep->state;
	status.error = ep->error;
	if (ep->reason)
		strscpy(status.reason, ep->reason, sizeof(status.reason));
	mutex_unlock(&ep->lock);
	return copy_to_user((void __user *)arg, &status, sizeof(status)) ? -EFAULT : 0;
}

static const struct file_operations ep_fops = {
	.owner = THIS_MODULE,
	.release = ep_release,
	.poll = ep_poll,
	.unlocked_ioctl = ep_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

struct rdma_ep *cvmm_rdma_take(int fd, struct cvmm_link *link)
{
	struct file *file = fget(fd);
	struct rdma_ep *ep;
	int ret = 0;

	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op != &ep_fops) {
		fput(file);
		return ERR_PTR(-EINVAL);
	}
	ep = file->private_data;
	mutex_lock(&ep->lock);
	if (ep->taken) {
		ret = -EBUSY;
	} else if (ep->state != CVMM_RDMA_CONNECTED) {
		ret = -ENOTCONN;
	} else {
		ep->taken = true;
		ep->link = link;
		kref_get(&ep->ref);
	}
	mutex_unlock(&ep->lock);
	fput(file);
	return ret ? ERR_PTR(ret) : ep;
}

static int arg_check(const struct cvmm_rdma_endpoint *arg)
{
	const bool listens = arg->flags & CVMM_RDMA_LISTEN;

	if (arg->flags & ~CVMM_RDMA_LISTEN)
		return -EINVAL;
	if (listens ? arg->nr_qps || arg->port :
		      !arg->nr_qps || arg->nr_qps > CVMM_RDMA_MAX_QPS || !arg->port)
		return -EINVAL;
	/* Nobody forgets to draw them, and neither end can be shown its own. */
	if (!memchr_inv(arg->token, 0, sizeof(arg->token)) ||
	    !memchr_inv(arg->peer_token, 0, sizeof(arg->peer_token)) ||
	    !crypto_memneq(arg->token, arg->peer_token, sizeof(arg->token)))
		return -EINVAL;
	return 0;
}

long cvmm_rdma_endpoint(void __user *uarg)
{
	struct cvmm_rdma_endpoint arg;
	struct sockaddr_storage ss;
	struct rdma_ep *ep = NULL;
	struct file *file;
	int fd, ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	ret = arg_check(&arg);
	if (!ret)
		ret = addr_get(&arg, &ss);
	if (ret)
		goto out;
	ret = -ENOMEM;
	ep = ep_alloc(&arg);
	if (!ep)
		goto out;
	if (arg.flags & CVMM_RDMA_LISTEN)
		ret = ep_listen(ep, &ss, &arg.port);
	else
		ret = ep_connect(ep, &ss);
	if (ret)
		goto put_ep;
	if (put_user(arg.port, &((struct cvmm_rdma_endpoint __user *)uarg)->port)) {
		ret = -EFAULT;
		goto put_ep;
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto put_ep;
	}
	file = anon_inode_getfile("[cvmm-rdma]", &ep_fops, ep, O_RDWR | O_CLOEXEC);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		ret = PTR_ERR(file);
		goto put_ep;
	}
	fd_install(fd, file);
	memzero_explicit(&arg, sizeof(arg));
	return fd;

put_ep:
	cvmm_rdma_put(ep);
out:
	memzero_explicit(&arg, sizeof(arg));
	return ret;
}
