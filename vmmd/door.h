/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmmd's door: TCP connections from their accept to the end of their hello.
 * Until then a connection is a stranger's: there are few of them at a time, each
 * for a few seconds, and what is refused is logged with its reason, but not more
 * often than a log can bear.
 */
#ifndef VMMD_DOOR_H
#define VMMD_DOOR_H

#include <poll.h>
#include <stdint.h>

#include "vmmd/key.h"
#include "vmmd/proto.h"
#include "vmmd/tls.h"

#define DOOR_MAX	64

/*
 * @in takes connections that have shown the cluster key and said a good hello:
 * the descriptor is its to close, @keys to copy.
 */
void door_open(const struct cluster_key *key,
	       void (*in)(int fd, struct tls_keys *keys, const struct hello *h));

/* @listen_fd is readable. */
void door_accept(int listen_fd);

/* What to poll: fills DOOR_MAX entries.  Then, with what poll() found: */
void door_poll(struct pollfd *p);
void door_serve(const struct pollfd *p);

/* Close what has waited too long.  Returns when to call again (now_ms()), UINT64_MAX: never. */
uint64_t door_expire(uint64_t now);

/* In a new process: forget all strangers. */
void door_forget(void);

/* The one answer to a hello, in its record.  0 or -1. */
int door_answer(int fd, struct tls_keys *keys, uint32_t status, const char *text);

/* Log that a connection was refused, because of @why; within @in too. */
void door_refused(int fd, const char *why);

#endif /* VMMD_DOOR_H */
