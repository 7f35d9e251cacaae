// SPDX-License-Identifier: GPL-2.0-only
/*
 * Encoding and checking what goes over an RDMA connection: see wire.h.
 */
#include "wire.h"

_Static_assert(sizeof(struct rdma_wire) == 40, "as RDMA.rst says");
_Static_assert(sizeof(struct rdma_handshake) == 40, "fits in private data");

static bool all_zero(const u8 *p, size_t n)
{
	u8 any = 0;

	while (n--)
		any |= *p++;
	return !any;
}

/* In the same time wherever they differ: volatile reads keep all of them. */
static bool differ(const u8 *a, const u8 *b, size_t n)
{
	u8 any = 0;

	while (n--)
		any |= READ_ONCE(a[n]) ^ READ_ONCE(b[n]);
	return any;
}

void rdma_handshake_encode(struct rdma_handshake *hs, unsigned int lane, unsigned int nr_lanes,
			   const u8 *token)
{
	memset(hs, 0, sizeof(*hs));
	memcpy(hs->magic, RDMA_HANDSHAKE_MAGIC, sizeof(hs->magic));
	hs->version = RDMA_HANDSHAKE_VERSION;
	hs->lane = lane;
	hs->nr_lanes = nr_lanes;
	memcpy(hs->token, token, sizeof(hs->token));
}

int rdma_handshake_decode(struct rdma_handshake *hs, const void *data, size_t len,
			  const u8 *token)
{
	if (!data || len < sizeof(*hs))
		return -EACCES;
	memcpy(hs, data, sizeof(*hs));
	if (memcmp(hs->magic, RDMA_HANDSHAKE_MAGIC, sizeof(hs->magic)) ||
	    hs->version != RDMA_HANDSHAKE_VERSION || hs->zero ||
	    differ(hs->token, token, sizeof(hs->token)))
		return -EACCES;
	if (!hs->nr_lanes || hs->nr_lanes > CVMM_RDMA_MAX_QPS || hs->lane >= hs->nr_lanes)
		return -EPROTO;
	return 0;
}

void rdma_wire_encode(struct rdma_wire *wire, u16 credits, const u8 *hdr)
{
	memset(wire, 0, sizeof(*wire));
	wire->credits[0] = credits & 0xff;
	wire->credits[1] = credits >> 8;
	wire->kind = hdr ? RDMA_MSG : RDMA_GRANT;
	if (hdr)
		memcpy(wire->msg, hdr, sizeof(wire->msg));
}

int rdma_wire_decode(const struct rdma_wire *wire, u32 len, bool first, u32 *credits)
{
	if (len < sizeof(*wire) || !all_zero(wire->zero, sizeof(wire->zero)))
		return -EPROTO;
	*credits = wire->credits[0] | wire->credits[1] << 8;
	if (wire->kind == RDMA_MSG && !first)
		return RDMA_MSG;
	if (wire->kind == RDMA_GRANT && len == sizeof(*wire) && all_zero(wire->msg, sizeof(wire->msg)))
		return RDMA_GRANT;
	return -EPROTO;
}
