/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The module's generic netlink family, for programs: which spaces this host has,
 * how their links are, what they counted, what happens to them.  See
 * include/uapi/linux/cvmm_netlink.h.  Needs CAP_NET_ADMIN.
 */
#ifndef VMMD_GENL_H
#define VMMD_GENL_H

#include <stddef.h>
#include <stdint.h>

#include "vmmd/hist.h"

#define GENL_NAME_LEN	64
#define GENL_REASON_LEN	128
#define GENL_MAX_LINKS	64

struct genl_link {
	uint32_t peer;
	uint32_t transport;	/* CVMM_TRANSPORT_* */
	uint32_t state;		/* CVMM_NL_LINK_* */
	uint32_t tx_queued, tx_queued_max;
	uint64_t tx_msgs, tx_bytes;
	uint64_t rx_msgs, rx_bytes;
	uint64_t copied;	/* bytes of pages, to send or receive them */
};

struct genl_space {
	char name[GENL_NAME_LEN];
	uint64_t space_id;
	uint32_t host_id, nr_hosts, epoch;
	uint32_t state;		/* CVMM_SPACE_* */
	uint32_t error;		/* positive errno, 0 while live */
	uint32_t peer;		/* host a failure is about, ~0 if none */
	uint32_t pid;		/* process that created it */
	char reason[GENL_REASON_LEN];
	uint64_t pages, home_pages, frames, meta_bytes;
	unsigned int nr_links;
	struct genl_link link[GENL_MAX_LINKS];
};

struct genl_event {
	uint32_t event;		/* CVMM_NL_EVENT_* */
	char name[GENL_NAME_LEN];
	uint64_t space_id;
	uint32_t host_id, peer;	/* peer: ~0 if none */
	uint32_t error;
	char reason[GENL_REASON_LEN];
};

/* How often a page went between this host and one other. */
struct genl_heat {
	uint64_t gfn;
	uint32_t peer;
	uint64_t count;		/* at most */
	uint64_t kind[CVMM_NL_HEAT_NR];	/* at least */
};

struct genl;

/*
 * Connect.  NULL with a sentence for the user in @err, for instance that the
 * module is not loaded.  Not for several threads at a time.
 */
struct genl *genl_open(char *err, size_t errlen);
void genl_close(struct genl *g);

/*
 * Call @fn for each space of this network namespace, or only the one called
 * @name (NULL: all).  Stops early when @fn returns non-zero and returns that;
 * else 0, or -errno (-ENOENT: no such space).
 */
int genl_spaces(struct genl *g, const char *name,
		int (*fn)(void *arg, const struct genl_space *s), void *arg);

/* Call @fn for each counter of the space called @name, as genl_spaces(). */
int genl_counters(struct genl *g, const char *name,
		  int (*fn)(void *arg, const char *counter, uint64_t value), void *arg);

/* Call @fn for each histogram of times of the space called @name, as genl_spaces(). */
int genl_latency(struct genl *g, const char *name,
		 int (*fn)(void *arg, const struct hist *h), void *arg);

/*
 * Call @fn for each page and peer that the module counts for the space called @name, in
 * no order, as genl_spaces().
 */
int genl_heat(struct genl *g, const char *name,
	      int (*fn)(void *arg, const struct genl_heat *h), void *arg);

/*
 * Join the event group; then poll genl_fd() for input and call genl_events().  Use
 * a connection of its own: the functions above drop events.
 */
int genl_subscribe(struct genl *g);
int genl_fd(const struct genl *g);
/*
 * Read the events that have come, blocking for the first unless the fd is ready.
 * Returns 0, @fn's value, or -errno; -ENOBUFS: events were lost.
 */
int genl_events(struct genl *g, int (*fn)(void *arg, const struct genl_event *e), void *arg);

#endif /* VMMD_GENL_H */
