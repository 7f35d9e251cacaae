/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS between the programs of a cluster.
 *
 * The handshake is TLS 1.3 (RFC 8446) with the cluster key as external
 * pre-shared key and an ephemeral (EC)DH exchange, by GnuTLS.  What follows are
 * records of the same TLS version and form, AES-128-GCM, but under keys taken
 * from the session's exporter (RFC 8446 section 7.5).  So the state of a
 * connection is a few plain numbers, struct tls_keys, which can follow the
 * socket to another process or into the kernel (ktls.h); nothing but data
 * records is ever sent or taken: no tickets, no key updates, no alerts.
 *
 * One record has another outer type: the last words of a supervisor about a
 * process that has died, under a key of its own, since nobody knows any more
 * where the process was in its stream.
 */
#ifndef VMMD_TLS_H
#define VMMD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/key.h"

#define TLS_KEY		16
#define TLS_IV		12
#define TLS_HEADER	5			/* type u8, 0x0303, length u16, big-endian */
#define TLS_DATA_MAX	16384			/* of one record */
#define TLS_OVERHEAD	(TLS_HEADER + 1 + 16)	/* of a record: header, inner type, tag */
#define TLS_RECORD_MAX	(TLS_DATA_MAX + TLS_OVERHEAD)

enum tls_type {
	TLS_LAST_WORDS = 21,
	TLS_DATA = 23,
};

/* One direction of a connection. */
struct tls_half {
	uint8_t key[TLS_KEY];
	uint8_t iv[TLS_IV];
	uint64_t seq;		/* of the next record */
};

struct tls_keys {
	struct tls_half tx, rx;
	struct tls_half last;	/* server to client: the last words */
};

/* ---- the handshake ------------------------------------------------------- */

struct tls_handshake;

/* Begin on a connected socket, which stays the caller's, as @key does.  NULL: out of memory. */
struct tls_handshake *tls_begin(int fd, const struct cluster_key *key, bool server);

/*
 * As far as it goes without waiting: 0 with @keys when done, POLLIN or POLLOUT
 * (poll.h) when the socket must be waited for, -1 with the reason in @err.  Not
 * a byte after the handshake's end is taken from the socket.
 */
int tls_step(struct tls_handshake *h, struct tls_keys *keys, char *err, size_t errlen);

void tls_end(struct tls_handshake *h);

/* The client's side, waiting until @deadline_ms (now_ms()).  0, or -1 with @err. */
int tls_connect(int fd, const struct cluster_key *key, uint64_t deadline_ms, struct tls_keys *keys,
		char *err, size_t errlen);

/* ---- records ------------------------------------------------------------- */

/* A cipher made ready for the keys of one direction; NULL: out of memory. */
struct tls_cipher;
struct tls_cipher *tls_cipher(const struct tls_half *half);
void tls_cipher_free(struct tls_cipher *c);

/*
 * Make a record of @len bytes (1..TLS_DATA_MAX) at @out, which has room for
 * @len + TLS_OVERHEAD.  @in has room for one byte more, which is overwritten.
 * Returns the record's length, or -1 (never use the connection again).
 */
long tls_seal(struct tls_cipher *c, struct tls_half *half, enum tls_type type, uint8_t *out, uint8_t *in,
	      size_t len);

/*
 * How long the record is that begins at @buf: 0 when @len bytes do not tell
 * yet, -1 when it is none of ours.
 */
long tls_record_len(const uint8_t *buf, size_t len);

/*
 * Check and decrypt the record at @buf, all of which is there, to @out, which
 * has room for its length less TLS_HEADER.  Returns the number of bytes of
 * data, or -1: it is not the next one of this peer.
 */
long tls_open(struct tls_cipher *c, struct tls_half *half, uint8_t *out, const uint8_t *buf, size_t len);

/* One record, with a cipher made for it: sealed to @out (@len + TLS_OVERHEAD), or opened if of just @len bytes. */
int tls_seal_once(struct tls_half *half, enum tls_type type, uint8_t *out, const void *in, size_t len);
int tls_open_once(struct tls_half *half, void *out, size_t len, const uint8_t *buf);

#endif /* VMMD_TLS_H */
