/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two ends of a channel's RDMA connection (rconn.h) exchange, and which of
 * them may send: pure, and fuzzed in tests/test_rconn.c.
 *
 * Each end has RCONN_DEPTH receive buffers posted before it connects, so each
 * begins with as many credits.  A message takes one; what comes back with every
 * message, or in a grant, are the buffers that the receiver has posted again.
 * Messages leave the last credit to grants (kmod/RDMA.rst, "Credits", says why
 * this can not come to a standstill).
 */
#ifndef VMMD_RCONN_WIRE_H
#define VMMD_RCONN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/proto.h"

#define RCONN_DEPTH	128	/* receive buffers of each end */

/* ---- what is shown when connecting: the private data of request and acceptance ---- */

/* magic u32, version u16, depth u16, token */
#define RCONN_GREETING	(8 + LINK_TOKEN)

void rconn_greeting_encode(uint8_t buf[RCONN_GREETING], const uint8_t token[LINK_TOKEN]);

/*
 * @buf: @len bytes as they came, perhaps with others behind them, or NULL.  0, or -1:
 * not our protocol, or not @token, which is compared in constant time.
 */
int rconn_greeting_check(const uint8_t *buf, size_t len, const uint8_t token[LINK_TOKEN]);

/* ---- messages ---- */

/* credits u16, kind u8, 0[5]; behind it, in a message, exactly one frame of proto.h */
#define RCONN_HEADER	8
#define RCONN_DATA_MAX	40	/* of that frame's payload */
#define RCONN_MSG_MAX	(RCONN_HEADER + FRAME_HEADER + RCONN_DATA_MAX)

enum rconn_kind {
	RCONN_GRANT = 1,	/* credits alone */
	RCONN_MSG,
};

/* Without credits, which rconn_put_credits() fills in when it goes.  Returns the length. */
size_t rconn_grant_encode(uint8_t buf[RCONN_MSG_MAX]);
/* @len: at most RCONN_DATA_MAX. */
size_t rconn_msg_encode(uint8_t buf[RCONN_MSG_MAX], uint16_t type, uint32_t tag, const void *data, size_t len);
void rconn_put_credits(uint8_t buf[RCONN_MSG_MAX], unsigned int credits);

/*
 * @len bytes that came as one message: RCONN_GRANT, or RCONN_MSG with @f pointing
 * into @buf; *@credits are those it gives.  -1: malformed.
 */
int rconn_decode(const uint8_t *buf, size_t len, unsigned int *credits, struct frame *f);

/* ---- credits ---- */

struct rconn_credits {
	unsigned int have;	/* what we may send */
	unsigned int due;	/* buffers posted again of which the peer does not know */
};

/* Whether a message may go, and whether a grant has to. */
static inline bool rconn_may_send(const struct rconn_credits *c)
{
	return c->have > 1;
}

static inline bool rconn_must_grant(const struct rconn_credits *c)
{
	return c->have && c->due >= RCONN_DEPTH / 2;
}

/* One goes out now.  Returns the credits that it gives. */
unsigned int rconn_take_credit(struct rconn_credits *c);

/* One has come in with @n.  0, or -1: there are not so many. */
int rconn_add_credits(struct rconn_credits *c, unsigned int n);

#endif /* VMMD_RCONN_WIRE_H */
