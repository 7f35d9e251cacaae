/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guests of this host, as vmmd sees them: one process for each node of a guest
 * that runs here, its connections and its end.
 */
#ifndef VMMD_GUESTS_H
#define VMMD_GUESTS_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "vmmd/key.h"
#include "vmmd/proto.h"
#include "vmmd/sandbox.h"
#include "vmmd/tls.h"

#define GUESTS_MAX	256

struct guest {
	pid_t pid;		/* 0: free */
	int super_fd;		/* -1: the process has closed its end */
	int client_fd;		/* kept open so that the client sees the process's end, not before */
	struct hello hello;
	struct tls_half last;	/* to tell the client what the process can not tell any more */
	unsigned int state;	/* of guest_states[] */
	bool had_stats;		/* it has asked for the module's counters */
	time_t since;
	uint32_t nr_nodes, vcpus;
	uint64_t memory;
};

extern struct guest guests[GUESTS_MAX];

/* What a guest's process goes through, in order. */
extern const char *const guest_states[];

/* The key is given to each process until it has connected, @user is whom it becomes; both stay the caller's. */
void guests_init(struct cluster_key *key, const struct sandbox_user *user);

/* NULL: none of that name. */
struct guest *guest_by_name(const char *name);

/* Whom door.c lets in: a client, who starts a process, a process's peer, or who only asks.  Owns @fd. */
void guests_come_in(int fd, struct tls_keys *keys, const struct hello *h);

/* Ask a guest to end; a process that cannot be told any more is not asked. */
void guest_stop(struct guest *g, const char *why);

/* All of them; new ones are refused from now on. */
void guests_stop(const char *why);
void guests_kill(void);
bool guests_left(void);

/* Take note of the processes that have ended. */
void guests_reap(void);

/* What to poll: fills GUESTS_MAX entries.  Then, with what poll() found: */
void guests_poll(struct pollfd *p);
void guests_serve(const struct pollfd *p);

#endif /* VMMD_GUESTS_H */
