// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Round trips without any of our code between the programs: a header there, a
 * header or a header and a page back, over a TCP socket or with verbs on a
 * reliable connection.  What a page's fault is to be compared with.  Whoever
 * waits sleeps until the message comes, as the module's receivers do.
 */
#include "raw.h"

#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER	40	/* as over RDMA (kmod/RDMA.rst), near the 32 over TCP */

enum { SMALL, WITH_PAGE, STOP };

struct raw {
	int sock;
	bool rdma;
	struct ibv_context *dev;
	struct ibv_pd *pd;
	struct ibv_comp_channel *events;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	uint8_t *buf;		/* two pages: headers, and what is sent or received */
	unsigned int sent;	/* completions of sends to come */
	unsigned int received;	/* messages that have come and are not taken */
};

/* What the ends of a reliable connection have to know of each other. */
struct end {
	uint32_t qpn;
	union ibv_gid gid;
};

/* ----------------------------------------------------------------- verbs */

static void post_receive(struct raw *r)
{
	struct ibv_sge sge[2] = {
		{ .addr = (uintptr_t)r->buf + 64, .length = HEADER, .lkey = r->mr->lkey },
		{ .addr = (uintptr_t)r->buf + PAGE, .length = PAGE, .lkey = r->mr->lkey },
	};
	struct ibv_recv_wr wr = { .sg_list = sge, .num_sge = 2 }, *bad;

	if (ibv_post_recv(r->qp, &wr, &bad))
		die("ibv_post_recv");
}

static unsigned int find_gid(struct raw *r, union ibv_gid *gid)
{
	uint8_t want[16] = { [10] = 0xff, [11] = 0xff };

	inet_pton(AF_INET, rdma_address(this_host()), want + 12);
	for (unsigned int i = 0; !ibv_query_gid(r->dev, 1, (int)i, gid); i++)
		if (!memcmp(gid->raw, want, 16))
			return i;
	die("this host's address is no GID");
}

static void to_ready(struct raw *r, unsigned int gid, const struct end *peer, enum ibv_mtu mtu)
{
	struct ibv_qp_attr init = { .qp_state = IBV_QPS_INIT, .port_num = 1 };
	struct ibv_qp_attr rtr = {
		.qp_state = IBV_QPS_RTR, .path_mtu = mtu, .dest_qp_num = peer->qpn, .max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1,
			     .grh = { .dgid = peer->gid, .sgid_index = (uint8_t)gid, .hop_limit = 64 } },
	};
	struct ibv_qp_attr rts = {
		.qp_state = IBV_QPS_RTS, .timeout = 16, .retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 1,
	};

	if (ibv_modify_qp(r->qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		die("INIT");
	post_receive(r);
	if (ibv_modify_qp(r->qp, &rtr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		die("RTR");
	if (ibv_modify_qp(r->qp, &rts, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			  IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		die("RTS");
}

static void verbs_open(struct raw *r)
{
	struct ibv_qp_init_attr qa = { .qp_type = IBV_QPT_RC, .sq_sig_all = 1,
				       .cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 2,
						.max_recv_sge = 2, .max_inline_data = HEADER } };
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_port_attr port;
	struct end mine = { 0 }, peer;
	unsigned int gid;
	uint8_t byte = 0;

	if (!list || !list[0])
		die("no RDMA device for programs");
	r->dev = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	r->buf = aligned_alloc(PAGE, 2 * PAGE);
	if (!r->dev || !r->buf)
		die("ibv_open_device");
	memset(r->buf, 0, 2 * PAGE);
	r->pd = ibv_alloc_pd(r->dev);
	r->events = ibv_create_comp_channel(r->dev);
	r->cq = r->events ? ibv_create_cq(r->dev, 8, NULL, r->events, 0) : NULL;
	r->mr = r->pd ? ibv_reg_mr(r->pd, r->buf, 2 * PAGE, IBV_ACCESS_LOCAL_WRITE) : NULL;
	qa.send_cq = qa.recv_cq = r->cq;
	r->qp = r->cq && r->mr ? ibv_create_qp(r->pd, &qa) : NULL;
	if (!r->qp || ibv_query_port(r->dev, 1, &port) || ibv_req_notify_cq(r->cq, 0))
		die("a queue pair");
	gid = find_gid(r, &mine.gid);
	mine.qpn = r->qp->qp_num;
	if (write(r->sock, &mine, sizeof(mine)) != sizeof(mine) ||
	    recv(r->sock, &peer, sizeof(peer), MSG_WAITALL) != sizeof(peer))
		die("the other end");
	to_ready(r, gid, &peer, port.active_mtu);
	/* Both are ready. */
	if (write(r->sock, &byte, 1) != 1 || recv(r->sock, &byte, 1, MSG_WAITALL) != 1)
		die("the other end");
}

static void verbs_close(struct raw *r)
{
	ibv_destroy_qp(r->qp);
	ibv_dereg_mr(r->mr);
	ibv_destroy_cq(r->cq);
	ibv_destroy_comp_channel(r->events);
	ibv_dealloc_pd(r->pd);
	ibv_close_device(r->dev);
	free(r->buf);
}

static void take_completions(struct raw *r)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(r->cq, 1, &wc) > 0) {
		if (wc.status != IBV_WC_SUCCESS)
			die(ibv_wc_status_str(wc.status));
		if (wc.opcode & IBV_WC_RECV)
			r->received++;
		else
			r->sent--;
	}
}

static uint8_t verbs_receive(struct raw *r)
{
	struct ibv_cq *cq;
	uint8_t what;
	void *ctx;

	take_completions(r);
	while (!r->received) {
		if (ibv_get_cq_event(r->events, &cq, &ctx))
			die("ibv_get_cq_event");
		ibv_ack_cq_events(cq, 1);
		if (ibv_req_notify_cq(cq, 0))
			die("ibv_req_notify_cq");
		take_completions(r);
	}
	r->received--;
	what = r->buf[64];
	post_receive(r);
	return what;
}

static void verbs_send(struct raw *r, uint8_t what, bool page)
{
	struct ibv_sge sge[2] = {
		{ .addr = (uintptr_t)r->buf, .length = HEADER, .lkey = r->mr->lkey },
		{ .addr = (uintptr_t)r->buf + PAGE, .length = PAGE, .lkey = r->mr->lkey },
	};
	struct ibv_send_wr wr = { .sg_list = sge, .num_sge = page ? 2 : 1, .opcode = IBV_WR_SEND,
				  .send_flags = page ? 0 : IBV_SEND_INLINE }, *bad;

	r->buf[0] = what;
	r->sent++;
	if (ibv_post_send(r->qp, &wr, &bad))
		die("ibv_post_send");
}

/* ------------------------------------------------------------------- TCP */

static uint8_t tcp_receive(struct raw *r, bool page)
{
	ssize_t len = HEADER + (page ? (ssize_t)PAGE : 0);

	if (recv(r->sock, r->buf, (size_t)len, MSG_WAITALL) != len)
		die("recv");
	return r->buf[0];
}

static void tcp_send(struct raw *r, uint8_t what, bool page)
{
	ssize_t len = HEADER + (page ? (ssize_t)PAGE : 0);

	r->buf[0] = what;
	if (send(r->sock, r->buf, (size_t)len, 0) != len)
		die("send");
}

/* --------------------------------------------------------------- for all */

struct raw *raw_open(int sock, bool rdma)
{
	struct raw *r = calloc(1, sizeof(*r));
	int one = 1;

	if (!r)
		die("calloc");
	r->sock = sock;
	r->rdma = rdma;
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (rdma) {
		verbs_open(r);
	} else {
		r->buf = calloc(1, HEADER + PAGE);
		if (!r->buf)
			die("calloc");
	}
	return r;
}

void raw_close(struct raw *r)
{
	if (r->rdma)
		verbs_close(r);
	else
		free(r->buf);
	free(r);
}

static void one_send(struct raw *r, uint8_t what, bool page)
{
	if (r->rdma)
		verbs_send(r, what, page);
	else
		tcp_send(r, what, page);
}

void raw_serve(struct raw *r)
{
	uint8_t what;

	while ((what = r->rdma ? verbs_receive(r) : tcp_receive(r, false)) != STOP)
		one_send(r, what, what == WITH_PAGE);
}

void raw_measure(struct raw *r, bool page, unsigned int n, uint64_t *ns)
{
	const uint8_t what = page ? WITH_PAGE : SMALL;
	uint64_t begin;

	for (unsigned int i = 0; i < n; i++) {
		begin = now_ns();
		one_send(r, what, false);
		if ((r->rdma ? verbs_receive(r) : tcp_receive(r, page)) != what)
			die("another answer");
		ns[i] = now_ns() - begin;
	}
}

void raw_stop(struct raw *r)
{
	one_send(r, STOP, false);
}
