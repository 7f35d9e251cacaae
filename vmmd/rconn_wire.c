// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages and credits of the channel's RDMA connections: see rconn_wire.h.
 */
#include <string.h>

#include "vmmd/rconn_wire.h"

#define MAGIC	0x48435643U	/* "CVCH" */
#define VERSION	1

void rconn_greeting_encode(uint8_t buf[RCONN_GREETING], const uint8_t token[LINK_TOKEN])
{
	put_u32(buf, MAGIC);
	put_u16(buf + 4, VERSION);
	put_u16(buf + 6, RCONN_DEPTH);
	memcpy(buf + 8, token, LINK_TOKEN);
}

int rconn_greeting_check(const uint8_t *buf, size_t len, const uint8_t token[LINK_TOKEN])
{
	uint8_t differs = 0;
	size_t i;

	if (!buf || len < RCONN_GREETING || get_u32(buf) != MAGIC || get_u16(buf + 4) != VERSION ||
	    get_u16(buf + 6) != RCONN_DEPTH)
		return -1;
	for (i = 0; i < LINK_TOKEN; i++)
		differs |= buf[8 + i] ^ token[i];
	return differs ? -1 : 0;
}

static void put_header(uint8_t *buf, enum rconn_kind kind)
{
	memset(buf, 0, RCONN_HEADER);
	buf[2] = kind;
}

size_t rconn_grant_encode(uint8_t buf[RCONN_MSG_MAX])
{
	put_header(buf, RCONN_GRANT);
	return RCONN_HEADER;
}

size_t rconn_msg_encode(uint8_t buf[RCONN_MSG_MAX], uint16_t type, uint32_t tag, const void *data, size_t len)
{
	put_header(buf, RCONN_MSG);
	frame_header(buf + RCONN_HEADER, type, tag, (uint32_t)len);
	if (len)
		memcpy(buf + RCONN_HEADER + FRAME_HEADER, data, len);
	return RCONN_HEADER + FRAME_HEADER + len;
}

void rconn_put_credits(uint8_t buf[RCONN_MSG_MAX], unsigned int credits)
{
	put_u16(buf, (uint16_t)credits);
}

int rconn_decode(const uint8_t *buf, size_t len, unsigned int *credits, struct frame *f)
{
	static const uint8_t zero[5];

	if (len < RCONN_HEADER || len > RCONN_MSG_MAX || memcmp(buf + 3, zero, sizeof(zero)))
		return -1;
	*credits = get_u16(buf);
	if (*credits > RCONN_DEPTH)
		return -1;
	if (buf[2] == RCONN_GRANT)
		return len == RCONN_HEADER ? RCONN_GRANT : -1;
	/* A whole frame, and nothing else. */
	if (buf[2] != RCONN_MSG || len < RCONN_HEADER + FRAME_HEADER ||
	    frame_decode(buf + RCONN_HEADER, len - RCONN_HEADER, f) != (long)(len - RCONN_HEADER))
		return -1;
	return RCONN_MSG;
}

unsigned int rconn_take_credit(struct rconn_credits *c)
{
	unsigned int due = c->due;

	c->have--;
	c->due = 0;
	return due;
}

int rconn_add_credits(struct rconn_credits *c, unsigned int n)
{
	if (n > RCONN_DEPTH - c->have)
		return -1;
	c->have += n;
	return 0;
}
