/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The channel: what the processes of one guest on its hosts say to each other
 * besides memory.  Interrupt messages, device accesses, clock exchanges and
 * signs of life, over one connection for each pair of nodes; or all but the signs
 * of life over an RDMA connection besides, where the link of the pair is RDMA.
 *
 * What one node sends to another comes in the order in which it was sent, whichever
 * threads have sent it.  There is no order between what different nodes send, nor
 * between the channel and the link.
 *
 * vCPU threads send from their own context and never wait for a peer, except
 * for the answer to a device access.  One thread, of real-time priority where
 * that is allowed, receives from all peers and hands to the machine.
 */
#ifndef VMMD_CHANNEL_H
#define VMMD_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "vmmd/machine.h"
#include "vmmd/stats.h"
#include "vmmd/tls.h"

struct channel;
struct rconn;

struct channel_params {
	unsigned int node, nr_nodes;
	/* Node 0: the guest's TSC is this host's plus this.  The others learn theirs. */
	int64_t tsc_offset;
	/* A peer is gone; called once, by any thread, for the first that is. */
	void (*lost)(void *ctx, unsigned int node, const char *why);
	void *ctx;
};

/* The receiving thread runs when this returns.  NULL with @err on failure. */
struct channel *channel_create(const struct channel_params *p, char *err, size_t errlen);

/* @fd is connected to @node and both ends have said hello; @keys are its.  The channel owns it.  0 or -1. */
int channel_add(struct channel *ch, unsigned int node, int fd, const struct tls_keys *keys);

/*
 * Send to @node over @r from now on, which is connected.  Before either end has sent
 * anything but signs of life: nothing is on its way that what follows could overtake.
 * The channel owns it.  0 or -1.
 */
int channel_use_rdma(struct channel *ch, unsigned int node, struct rconn *r);

/*
 * Not on node 0, once it is connected: estimate the guest's TSC, of which node
 * 0's host is the reference.  Blocks for some tens of round trips.  From then on
 * the channel keeps estimating and corrects the machine.  0 with *@offset, or -1
 * with @err when the peer does not answer or the rates differ too much.
 */
int channel_sync_tsc(struct channel *ch, int64_t *offset, char *err, size_t errlen);

/* What arrives goes to @m from now on, what arrived before first.  NULL: is dropped. */
void channel_set_machine(struct channel *ch, struct machine *m);

/* For struct machine_params, with the channel as context. */
extern const struct machine_peer_ops channel_peer_ops;

/* From now on a peer that goes away is not lost but done. */
void channel_expect_end(struct channel *ch);

void channel_add_stats(struct channel *ch, struct stats *s);

/* Stop the thread, close all connections, free. */
void channel_destroy(struct channel *ch);

#endif /* VMMD_CHANNEL_H */
