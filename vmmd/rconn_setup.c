// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How a channel's RDMA connection is made, and what it takes: see rconn.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmmd/rconn_priv.h"

#define RESOLVE_MS	2000	/* for each of address and route of the peer */
/*
 * As the module's connections (kmod/rdma/endpoint.c): 4.096 us * 2^16, 0.27 s, until a
 * message that is not acknowledged is sent again, 1.9 s until the peer is dead.
 */
#define ACK_TIMEOUT	16
#define RETRIES		6
#define RNR_RETRIES	6
#define BACKLOG		4
#define MEM_SIZE	((RCONN_DEPTH + RCONN_SENDS) * RCONN_MSG_MAX)

/* ---- what a connection takes ------------------------------------------------------ */

/* What IPv6 sockets call ::ffff:10.0.0.1. */
static void plain_addr(struct sockaddr_storage *to, const struct sockaddr_storage *from, uint16_t port)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)from;
	struct sockaddr_in *sin = (struct sockaddr_in *)to;

	*to = *from;
	if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
		memset(to, 0, sizeof(*to));
		sin->sin_family = AF_INET;
		memcpy(&sin->sin_addr, sin6->sin6_addr.s6_addr + 12, 4);
	}
	/* At the same place in both. */
	sin->sin_port = htons(port);
}

static struct rconn *new_rconn(struct sockaddr_storage *to, const struct sockaddr_storage *addr, uint16_t port,
			       const uint8_t *token, const uint8_t *peer_token, struct rdma_cm_id **id,
			       char *err, size_t errlen)
{
	struct rconn *c;

	if (addr->ss_family != AF_INET && addr->ss_family != AF_INET6) {
		snprintf(err, errlen, "RDMA connects IP addresses only");
		return NULL;
	}
	plain_addr(to, addr, port);
	c = calloc(1, sizeof(*c));
	if (!c) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	memcpy(c->token, token, LINK_TOKEN);
	memcpy(c->peer_token, peer_token, LINK_TOKEN);
	c->mem = MAP_FAILED;
	c->events = rdma_create_event_channel();
	if (!c->events) {
		snprintf(err, errlen, "programs can not use RDMA on this host: %s (load ib_uverbs and rdma_ucm; "
			 "/dev/infiniband/rdma_cm has to be there)", strerror(errno));
		goto close;
	}
	if (fcntl(c->events->fd, F_SETFL, O_NONBLOCK) || rdma_create_id(c->events, id, NULL, RDMA_PS_TCP)) {
		snprintf(err, errlen, "no RDMA connection can be made: %s", strerror(errno));
		goto close;
	}
	return c;
close:
	rconn_close(c);
	return NULL;
}

/* A device is known: memory for messages, at a device's disposal. */
static int make_memory(struct rconn *c, struct ibv_context *verbs, char *err, size_t errlen)
{
	struct rlimit limit = { 0 };

	if (!verbs) {
		snprintf(err, errlen, "no RDMA device that programs can use has this address (is its library, of "
			 "ibverbs-providers, installed?)");
		return -1;
	}
	c->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->mem == MAP_FAILED) {
		snprintf(err, errlen, "out of memory");
		return -1;
	}
	c->pd = ibv_alloc_pd(verbs);
	c->mr = c->pd ? ibv_reg_mr(c->pd, c->mem, MEM_SIZE, IBV_ACCESS_LOCAL_WRITE) : NULL;
	if (c->mr)
		return 0;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (errno == ENOMEM || errno == EPERM)
		snprintf(err, errlen, "memory can not be locked for RDMA: %s; the limit is %llu KiB (ulimit -l, or "
			 "LimitMEMLOCK= in vmmd's unit)", strerror(errno), (unsigned long long)limit.rlim_cur >> 10);
	else
		snprintf(err, errlen, "memory can not be registered with the RDMA device: %s", strerror(errno));
	return -1;
}

/* Queues for @c->id, with all receive buffers posted. */
static int make_queues(struct rconn *c, char *err, size_t errlen)
{
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = RCONN_SENDS,
			.max_recv_wr = RCONN_DEPTH,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = RCONN_MSG_MAX,
		},
		.qp_type = IBV_QPT_RC,
	};
	uint8_t timeout = ACK_TIMEOUT;
	unsigned int i;

	c->comp = ibv_create_comp_channel(c->id->verbs);
	if (!c->comp || fcntl(c->comp->fd, F_SETFL, O_NONBLOCK))
		goto report;
	/* Room for all that can be under way, so that it never overflows. */
	c->cq = ibv_create_cq(c->id->verbs, RCONN_DEPTH + RCONN_SENDS, NULL, c->comp, 0);
	if (!c->cq || ibv_req_notify_cq(c->cq, 0))
		goto report;
	attr.send_cq = attr.recv_cq = c->cq;
	c->inlines = true;
	if (rdma_create_qp(c->id, c->pd, &attr)) {
		c->inlines = false;
		attr.cap.max_inline_data = 0;
		if (rdma_create_qp(c->id, c->pd, &attr))
			goto report;
	}
	for (i = 0; i < RCONN_DEPTH; i++)
		if (rconn_post_recv(c, i))
			goto report;
	c->credits.have = RCONN_DEPTH;
	/* A wish: connections that the transport itself watches have none. */
	rdma_set_option(c->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout));
	return 0;
report:
	snprintf(err, errlen, "no RDMA queues can be made: %s", strerror(errno));
	return -1;
}

void rconn_close(struct rconn *c)
{
	if (!c)
		return;
	/* No message goes or comes from here. */
	if (c->id && c->id->qp)
		rdma_destroy_qp(c->id);
	if (c->cq)
		ibv_destroy_cq(c->cq);
	if (c->comp)
		ibv_destroy_comp_channel(c->comp);
	if (c->mr)
		ibv_dereg_mr(c->mr);
	if (c->pd)
		ibv_dealloc_pd(c->pd);
	if (c->mem != MAP_FAILED)
		munmap(c->mem, MEM_SIZE);
	if (c->id)
		rdma_destroy_id(c->id);
	if (c->listener)
		rdma_destroy_id(c->listener);
	if (c->events)
		rdma_destroy_event_channel(c->events);
	free(c->queue);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

/* ---- connecting ------------------------------------------------------------------- */

static void conn_param(struct rdma_conn_param *param, uint8_t greeting[RCONN_GREETING], const struct rconn *c)
{
	rconn_greeting_encode(greeting, c->token);
	memset(param, 0, sizeof(*param));
	param->private_data = greeting;
	param->private_data_len = RCONN_GREETING;
	param->flow_control = 1;
	param->retry_count = RETRIES;
	param->rnr_retry_count = RNR_RETRIES;
}

struct rconn *rconn_listen(const struct sockaddr_storage *addr, uint16_t *port, const uint8_t token[LINK_TOKEN],
			   const uint8_t peer_token[LINK_TOKEN], char *err, size_t errlen)
{
	struct sockaddr_storage sa;
	struct rdma_cm_id *id;
	struct rconn *c;

	c = new_rconn(&sa, addr, 0, token, peer_token, &id, err, errlen);
	if (!c)
		return NULL;
	c->listener = id;
	if (rdma_bind_addr(id, (struct sockaddr *)&sa)) {
		snprintf(err, errlen, "programs can not use RDMA at this address: %s", strerror(errno));
		goto close;
	}
	if (make_memory(c, id->verbs, err, errlen))
		goto close;
	if (rdma_listen(id, BACKLOG)) {
		snprintf(err, errlen, "the RDMA device takes no connections: %s", strerror(errno));
		goto close;
	}
	*port = ntohs(rdma_get_src_port(id));
	return c;
close:
	rconn_close(c);
	return NULL;
}

struct rconn *rconn_connect(const struct sockaddr_storage *addr, uint16_t port, const uint8_t token[LINK_TOKEN],
			    const uint8_t peer_token[LINK_TOKEN], char *err, size_t errlen)
{
	struct sockaddr_storage sa;
	struct rdma_cm_id *id;
	struct rconn *c;

	c = new_rconn(&sa, addr, port, token, peer_token, &id, err, errlen);
	if (!c)
		return NULL;
	c->id = id;
	if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&sa, RESOLVE_MS)) {
		snprintf(err, errlen, "no RDMA device reaches the peer: %s", strerror(errno));
		rconn_close(c);
		return NULL;
	}
	return c;
}

int rconn_setup_fd(const struct rconn *c)
{
	return c->events->fd;
}

/* Somebody wants to connect as @id, and shows @greeting.  0, or -1: it was the peer, and it went wrong. */
static int on_request(struct rconn *c, struct rdma_cm_id *id, const uint8_t *greeting, size_t len,
		      char *err, size_t errlen)
{
	uint8_t ours[RCONN_GREETING];
	struct rdma_conn_param param;

	if (c->id || id->verbs != c->pd->context || rconn_greeting_check(greeting, len, c->peer_token)) {
		rdma_reject(id, NULL, 0);
		rdma_destroy_id(id);
		return 0;
	}
	c->id = id;
	if (make_queues(c, err, errlen))
		return -1;
	conn_param(&param, ours, c);
	if (!rdma_accept(id, &param))
		return 0;
	snprintf(err, errlen, "the peer's RDMA connection can not be taken: %s", strerror(errno));
	return -1;
}

static int on_route(struct rconn *c, char *err, size_t errlen)
{
	uint8_t ours[RCONN_GREETING];
	struct rdma_conn_param param;

	if (make_memory(c, c->id->verbs, err, errlen) || make_queues(c, err, errlen))
		return -1;
	conn_param(&param, ours, c);
	if (!rdma_connect(c->id, &param))
		return 0;
	snprintf(err, errlen, "no RDMA connection can be made: %s", strerror(errno));
	return -1;
}

static int on_established(struct rconn *c, const uint8_t *greeting, size_t len, char *err, size_t errlen)
{
	/* The listener has seen the peer's token in the request. */
	if (!c->listener && rconn_greeting_check(greeting, len, c->peer_token)) {
		snprintf(err, errlen, "who answers at its RDMA port is not the peer");
		return -1;
	}
	if (c->listener)
		rdma_destroy_id(c->listener);
	c->listener = NULL;
	c->connected = true;
	explicit_bzero(c->token, sizeof(c->token));
	explicit_bzero(c->peer_token, sizeof(c->peer_token));
	return 1;
}

int rconn_step(struct rconn *c, char *err, size_t errlen)
{
	enum rdma_cm_event_type what;
	uint8_t data[RCONN_GREETING];
	struct rdma_cm_event *ev;
	struct rdma_cm_id *id;
	size_t len = 0;
	int status;

	if (c->connected)
		return 1;
	if (rdma_get_cm_event(c->events, &ev)) {
		if (errno == EAGAIN || errno == EINTR)
			return 0;
		snprintf(err, errlen, "the RDMA connection manager has failed: %s", strerror(errno));
		return -1;
	}
	what = ev->event;
	status = ev->status;
	id = ev->id;
	if ((what == RDMA_CM_EVENT_CONNECT_REQUEST || what == RDMA_CM_EVENT_ESTABLISHED) && ev->param.conn.private_data) {
		len = ev->param.conn.private_data_len < sizeof(data) ? ev->param.conn.private_data_len : sizeof(data);
		memcpy(data, ev->param.conn.private_data, len);
	}
	rdma_ack_cm_event(ev);

	if (what == RDMA_CM_EVENT_CONNECT_REQUEST)
		return on_request(c, id, data, len, err, errlen);
	if (id != c->id)
		return 0;
	switch (what) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		if (!rdma_resolve_route(id, RESOLVE_MS))
			return 0;
		status = -errno;
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		return on_route(c, err, errlen);
	case RDMA_CM_EVENT_ESTABLISHED:
		return on_established(c, data, len, err, errlen);
	default:
		break;
	}
	snprintf(err, errlen, "the RDMA connection was not made: %s%s%s", rdma_event_str(what),
		 status < 0 ? ": " : "", status < 0 ? strerror(-status) : "");
	return -1;
}
