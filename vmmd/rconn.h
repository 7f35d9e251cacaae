/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel's RDMA connection: frames of proto.h, at most RCONN_DATA_MAX bytes each,
 * as messages of one reliable queue pair, in the order in which they are sent.
 *
 * Any thread may send, without waiting; what the peer has no buffer for stays in a
 * queue that the one receiving thread sends on.  The connection is made with librdmacm
 * before the process enters its sandbox, as the user who will send: software devices
 * send by write() on the device's descriptor, and the kernel takes what is written only
 * from the very credentials that have opened it.  That a connected peer has closed its
 * end nobody notices here: that is for the connection that the two have besides.
 */
#ifndef VMMD_RCONN_H
#define VMMD_RCONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "vmmd/rconn_wire.h"

struct rconn;

struct rconn_stats {
	uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes;
};

/* ---- rconn_setup.c: one thread makes it ----------------------------------------- */

/*
 * Wait for the peer at @addr, an address of this host and of an RDMA device, at *@port.
 * We show @token, the peer has to show @peer_token; who does not is refused and may not
 * disturb who does.  Memory is registered, but no queue is there before the peer is.
 * NULL with @err when programs can not use RDMA here.
 */
struct rconn *rconn_listen(const struct sockaddr_storage *addr, uint16_t *port, const uint8_t token[LINK_TOKEN],
			   const uint8_t peer_token[LINK_TOKEN], char *err, size_t errlen);

/* Begin to connect to a peer that waits at @addr, @port.  NULL with @err. */
struct rconn *rconn_connect(const struct sockaddr_storage *addr, uint16_t port, const uint8_t token[LINK_TOKEN],
			    const uint8_t peer_token[LINK_TOKEN], char *err, size_t errlen);

/* Until it is connected: readable when rconn_step() has something to do. */
int rconn_setup_fd(const struct rconn *c);

/* Go on, without waiting.  1: connected, both ends have shown their tokens; 0: not yet; -1 with @err. */
int rconn_step(struct rconn *c, char *err, size_t errlen);

/* The device's descriptor, for sandbox_allow_verbs(): events are asked for, and queues go, by ioctls on it. */
int rconn_device_fd(const struct rconn *c);

/* ---- rconn.c: connected --------------------------------------------------------- */

/* Readable when rconn_receive() has something to do. */
int rconn_fd(const struct rconn *c);

/*
 * Send a frame.  0, or -1 when the connection has failed or more than CONN_QUEUE_MAX
 * bytes wait; the frame is then lost and all later ones are too.
 */
int rconn_send(struct rconn *c, uint16_t type, uint32_t tag, const void *data, size_t len);

/* Bytes that wait for the peer. */
size_t rconn_pending(struct rconn *c);

/* now_ms() when something was last sent. */
uint64_t rconn_sent_ms(const struct rconn *c);

/*
 * Receive what is there, without waiting, hand each frame to @handle, and send what
 * waits.  1 when there may be more, so that others have their turn; 0; or -1 with the
 * reason in @why: the connection failed, a message was malformed, or @handle returned
 * non-zero.
 */
int rconn_receive(struct rconn *c, int (*handle)(void *arg, const struct frame *f), void *arg,
		  char *why, size_t whylen);

void rconn_get_stats(struct rconn *c, struct rconn_stats *s);

/* No other thread may use @c any more.  Also one that is not connected, or NULL. */
void rconn_close(struct rconn *c);

#endif /* VMMD_RCONN_H */
