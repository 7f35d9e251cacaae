/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bytes that the two ends of an RDMA endpoint exchange (kmod/RDMA.rst): what they
 * show when they connect, and what a message on a lane begins with.  Pure: the peer
 * is not trusted, and the same code is fuzzed in user space (kmod/tests).
 */
#ifndef CVMM_RDMA_WIRE_H
#define CVMM_RDMA_WIRE_H

#include "../pure.h"
#include "../../dsm/dsm.h"
#include "../../include/uapi/linux/cvmm.h"

enum rdma_kind {
	RDMA_GRANT = 1,		/* credits alone */
	RDMA_MSG,		/* a message of the link, and its page */
};

/**
 * struct rdma_wire - what a message on a lane begins with
 * @credits:	receive buffers posted anew since the last message, little endian
 * @kind:	enum rdma_kind
 * @zero:	0
 * @msg:	the link's header; zeros in a grant
 */
struct rdma_wire {
	u8 credits[2];
	u8 kind;
	u8 zero[5];
	u8 msg[DSM_WIRE_SIZE];
};

#define RDMA_HANDSHAKE_MAGIC	"Cdma"
#define RDMA_HANDSHAKE_VERSION	1

/* Private data of a connection's request and of its acceptance; at most 56 bytes. */
struct rdma_handshake {
	u8 magic[4];
	u8 version;
	u8 lane;
	u8 nr_lanes;
	u8 zero;
	u8 token[CVMM_RDMA_TOKEN_LEN];
};

void rdma_handshake_encode(struct rdma_handshake *hs, unsigned int lane, unsigned int nr_lanes,
			   const u8 *token);

/**
 * rdma_handshake_decode() - what the peer shows
 * @hs:		filled in on success
 * @data:	as it came, or NULL; padded by the transport at its end, perhaps
 * @len:	its length
 * @token:	which has to be shown; compared in constant time
 *
 * Returns 0, -EACCES (not our protocol, or not the token), or -EPROTO (the token, but
 * no such lane: from 1 to CVMM_RDMA_MAX_QPS lanes, and one of them).
 */
int rdma_handshake_decode(struct rdma_handshake *hs, const void *data, size_t len,
			  const u8 *token);

/* @hdr: the link's header, or NULL for a grant. */
void rdma_wire_encode(struct rdma_wire *wire, u16 credits, const u8 *hdr);

/**
 * rdma_wire_decode() - what a message on a lane is
 * @wire:	as it came; not written to any more
 * @len:	bytes of the message in all
 * @first:	in the buffer for the first grant, which takes no page
 * @credits:	those it gives
 *
 * Returns RDMA_GRANT, RDMA_MSG (@len is still to be compared with what the link's header
 * says), or -EPROTO.
 */
int rdma_wire_decode(const struct rdma_wire *wire, u32 len, bool first, u32 *credits);

#endif /* CVMM_RDMA_WIRE_H */
