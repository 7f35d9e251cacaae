/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rconn.c and rconn_setup.c share. */
#ifndef VMMD_RCONN_PRIV_H
#define VMMD_RCONN_PRIV_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vmmd/rconn.h"

#define RCONN_SENDS	128	/* send queue; at least RCONN_DEPTH, so that only credits are waited for */
#define RCONN_SIGNAL	16	/* each so manieth send reports its completion, and with it those before */

struct rconn {
	/* Set-up */
	struct rdma_event_channel *events;
	struct rdma_cm_id *listener, *id;
	bool connected;
	uint8_t token[LINK_TOKEN], peer_token[LINK_TOKEN];

	struct ibv_pd *pd;
	struct ibv_mr *mr;		/* of mem */
	uint8_t *mem;			/* receive buffers, then send buffers, each RCONN_MSG_MAX */
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq;
	bool inlines;			/* the device takes a message with its work request */

	/* Under the lock in rconn.c */
	struct rconn_credits credits;
	uint32_t sent, done;		/* sends posted, sends known to be over */
	uint8_t *queue;			/* what waits: queue_pos..queue_len of queue_size, RCONN_MSG_MAX each */
	size_t queue_pos, queue_len, queue_size;
	bool broken;
	uint64_t tx_frames, tx_bytes;
	_Atomic uint64_t sent_ms;
	_Atomic uint64_t rx_frames, rx_bytes;	/* the receiving thread's */
};

/* A receive buffer for the peer; 0 or -1. */
int rconn_post_recv(struct rconn *c, unsigned int nr);

#endif /* VMMD_RCONN_PRIV_H */
