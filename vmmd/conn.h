/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connected stream socket that carries the frames of proto.h in the records of
 * tls.h, and the calls that make such sockets.
 *
 * Any thread may send: it writes to the socket itself, without waiting, and
 * leaves in a queue what the socket does not take; the one thread that polls
 * the connection sends the queue on.  That thread alone receives.
 */
#ifndef VMMD_CONN_H
#define VMMD_CONN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/proto.h"
#include "vmmd/tls.h"

#define CONN_ALIVE_MS	1000	/* a frame goes out at least this often */
#define CONN_DEAD_MS	4000	/* nothing came for so long: the peer is gone */
#define CONN_QUEUE_MAX	(8U << 20) /* bytes that may wait for a peer that does not read */

struct conn {
	int fd;			/* -1: closed */
	pthread_mutex_t lock;	/* of what follows */
	uint8_t *tx;		/* queue: tx_pos..tx_len of tx_size */
	size_t tx_pos, tx_len, tx_size;
	bool broken;		/* a send has failed; nothing is sent any more */
	struct tls_half tx_half;
	struct tls_cipher *tx_cipher;
	uint8_t *plain, *record; /* of the record that is being made */
	int epfd;		/* arm EPOLLOUT here when the queue fills; -1: the poller asks conn_pending() */
	uint64_t ep_data;
	_Atomic uint64_t sent_ms; /* when something was last sent */
	uint64_t tx_frames, tx_bytes;
	/* The polling thread's own; others may read the atomic ones */
	uint8_t *rx;		/* frames */
	size_t rx_len;
	uint8_t *raw;		/* records */
	size_t raw_len;
	struct tls_half rx_half, last_half;
	struct tls_cipher *rx_cipher;
	bool takes_last;	/* last words may come */
	bool had_last;
	_Atomic uint64_t rx_frames, rx_bytes;
	uint64_t heard_ms;	/* when something last came in */
};

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t now_ms(void);

/*
 * Take @fd over, at the point in its stream that @keys tell; it becomes
 * non-blocking.  0 or -1 (no memory; @fd is left alone).
 */
int conn_init(struct conn *c, int fd, const struct tls_keys *keys);
/* The peer's supervisor may have the last word. */
void conn_take_last(struct conn *c);
/* Close and free.  No other thread may use @c any more. */
void conn_close(struct conn *c);

/* Watch @c in @epfd with @data as epoll's datum; @epfd has one waiter, the polling thread.  0 or -1. */
int conn_watch(struct conn *c, int epfd, uint64_t data);

/*
 * Send a frame.  Never waits for the peer.  0, or -1 when the connection is
 * broken or more than CONN_QUEUE_MAX bytes wait; the frame is then lost and
 * all later ones are too.
 */
int conn_send(struct conn *c, uint16_t type, uint32_t tag, const void *data, size_t len);

/* Bytes that wait to be sent. */
size_t conn_pending(struct conn *c);

/* The socket takes more: send what waits.  0 or -1 as conn_send(). */
int conn_flush(struct conn *c);

/*
 * Receive what is there, without waiting, and hand each whole frame to @handle.
 * Returns 0, or -1 with the reason in @why: the peer closed the connection, it
 * failed, a frame was malformed, or @handle returned non-zero.
 */
int conn_receive(struct conn *c, int (*handle)(void *arg, const struct frame *f), void *arg,
		 char *why, size_t whylen);

/*
 * Connect to @host, waiting at most @timeout_ms.  The socket blocks, sends
 * small messages at once and notices a dead peer within CONN_DEAD_MS.
 * Returns a descriptor, or -1 with @err ("HOST port N: reason").
 */
int net_connect(const char *host, uint16_t port, int timeout_ms, char *err, size_t errlen);

/* Listen on @addr (NULL: all addresses).  Returns a non-blocking descriptor, or -1 with @err. */
int net_listen(const char *addr, uint16_t port, char *err, size_t errlen);

/* Options for a socket that accept() gave. */
void net_tune(int fd);

/* Wait for poll's @events until @deadline_ms.  0, or -1 with errno. */
int net_wait(int fd, short events, uint64_t deadline_ms);

/* Send or receive exactly @len bytes before @deadline_ms (now_ms()).  0, or -1 with errno (EPIPE: closed). */
int net_send_all(int fd, const void *buf, size_t len, uint64_t deadline_ms);
int net_recv_all(int fd, void *buf, size_t len, uint64_t deadline_ms);

/*
 * Say hello on a new connection, after the handshake, and wait for the answer.  0, or -1 with @err and
 * the refusal's status in *@status (ANSWER_OK when there was none).  On success @err is what the host
 * says of itself, for HELLO_CHECK.
 */
int net_hello(int fd, struct tls_keys *keys, const struct hello *h, uint64_t deadline_ms, uint32_t *status,
	      char *err, size_t errlen);

/* One message over a SOCK_SEQPACKET socket with at most one descriptor (-1: none). */
int net_send_fd(int sock, const void *buf, size_t len, int fd);
/* Returns the message's length, 0 when the peer is gone, -1 on error; *@fd is the caller's. */
long net_recv_fd(int sock, void *buf, size_t len, int *fd);

#endif /* VMMD_CONN_H */
