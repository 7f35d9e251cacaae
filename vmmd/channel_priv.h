/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the channel share: channel.c has the peers and the receiving
 * thread, channel_machine.c what the machine says and hears, channel_clock.c the
 * guest's TSC.
 *
 * Locks: conn.lock (inside conn.c) is innermost.  rpc_lock covers the list of
 * device accesses that wait for an answer.  rx_lock covers the machine pointer
 * and what is kept for it; the receiving thread holds it while the machine
 * takes a message, so that channel_set_machine(NULL) returns only when the
 * machine is not in use.
 */
#ifndef VMMD_CHANNEL_PRIV_H
#define VMMD_CHANNEL_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/channel.h"
#include "vmmd/conn.h"
#include "vmmd/proto.h"
#include "vmmd/rconn.h"
#include "vmmd/tsc.h"

#define EARLY_MAX	1024	/* messages kept for a machine that is not there yet */

struct peer {
	struct channel *ch;
	unsigned int node;
	struct conn conn;
	_Atomic(struct rconn *) rdma; /* takes all but signs of life once it is there; never taken away before the end */
	_Atomic bool up;	/* conn is initialized; never cleared before the end */
	_Atomic bool dead;
};

/* A device access on its way; lives on the asking thread's stack. */
struct rpc {
	struct rpc *next;
	uint32_t tag;
	unsigned int node;
	uint8_t size;
	uint64_t data;
	enum { RPC_WAITS, RPC_DONE, RPC_LOST } state;
	pthread_cond_t cond;
};

struct early {
	unsigned int node;
	uint16_t type;
	uint8_t len;
	uint8_t data[32];
};

struct channel {
	struct channel_params p;
	pthread_t thread;
	int epfd, wake_fd, tick_fd, ping_fd;
	_Atomic bool stop, ending, lost;

	pthread_mutex_t rpc_lock;
	struct rpc *rpcs;
	uint32_t next_tag;

	pthread_mutex_t rx_lock;
	struct machine *machine;
	struct early *early;
	unsigned int nr_early;

	/* The clock: the receiving thread's, but for what sync_lock covers. */
	struct tsc_est est;
	uint32_t khz;			/* of this host's TSC */
	_Atomic unsigned int pings_left; /* of the first exchange */
	pthread_mutex_t sync_lock;
	pthread_cond_t synced;
	enum { SYNC_NONE, SYNC_RUNNING, SYNC_DONE, SYNC_FAILED } sync;
	_Atomic uint32_t peer_khz;
	int64_t offset;			/* the machine's, as we have told it */
	_Atomic uint64_t bound;		/* cycles the offset may be wrong by, at the last exchange */
	_Atomic uint64_t corrections;
	_Atomic uint64_t resets, samples, best_rtt;	/* of est */

	_Atomic uint64_t apic_out, apic_in, io_out, io_in, eoi_out, eoi_in;
	_Atomic uint64_t io_wait_ns;

	struct peer peer[CONF_MAX_NODES];
};

/* ---- channel.c ----------------------------------------------------------- */

/* Any thread, without waiting.  0, or -1 when @p is not there, any more or yet. */
int channel_peer_send(struct peer *p, uint16_t type, uint32_t tag, const void *data, size_t len);

/* ---- channel_machine.c: from the receiving thread; 0, or -1: malformed ---- */

/* A message for the machine, or for the one that is being made. */
int channel_to_machine(struct peer *p, const struct frame *f);
/* The answer to a device access. */
int channel_on_io_done(struct peer *p, const struct frame *f);

/* ---- channel_clock.c ----------------------------------------------------- */

/* This host's TSC against the kernel's clock, in kHz.  Takes a tenth of a second. */
uint32_t channel_measure_khz(void);

/* Ask node 0 for the guest's TSC. */
void channel_ping(struct channel *ch);

/* From the receiving thread: such a question, or the answer to ours, which came when our TSC was @got. */
int channel_on_ping(struct peer *p, const struct frame *f, uint64_t got);
int channel_on_pong(struct peer *p, const struct frame *f, uint64_t got);

#endif /* VMMD_CHANNEL_PRIV_H */
