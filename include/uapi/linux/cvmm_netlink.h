/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * cvmm's generic netlink family: what spaces exist, how their links are, what
 * they have counted, and an event group for what happens to them.
 *
 * Everything is per network namespace: a socket sees the spaces created in its
 * own.  All commands, and joining the group, need CAP_NET_ADMIN over that namespace.
 *
 *   CVMM_NL_CMD_GET_SPACE  dump       one message per space: identity, state, links
 *                          do         the same for one space, by NAME or SPACE_ID
 *   CVMM_NL_CMD_GET_STATS  do         one space's counters, by NAME or SPACE_ID
 *   CVMM_NL_CMD_GET_LATENCY do        one space's histograms of times, likewise
 *   CVMM_NL_CMD_GET_HEAT   dump       the pages of one space that travel most, likewise
 *   group "events"         multicast  CVMM_NL_CMD_EVENT messages
 *
 * A request carries NAME, SPACE_ID or both.  ENOENT: no such space here.  EINVAL: it
 * carries neither, or another attribute, or one of another form.
 */
#ifndef _UAPI_LINUX_CVMM_NETLINK_H
#define _UAPI_LINUX_CVMM_NETLINK_H

#define CVMM_NL_FAMILY		"cvmm"
#define CVMM_NL_VERSION		1
#define CVMM_NL_GROUP_EVENTS	"events"

/* Commands; a reply carries the number of its request. */
enum {
	CVMM_NL_CMD_UNSPEC,
	CVMM_NL_CMD_GET_SPACE,
	CVMM_NL_CMD_GET_STATS,
	CVMM_NL_CMD_EVENT,
	CVMM_NL_CMD_GET_LATENCY,
	CVMM_NL_CMD_GET_HEAT,
};

/* Top-level attributes */
enum {
	CVMM_NL_A_UNSPEC,
	CVMM_NL_A_PAD,
	CVMM_NL_A_NAME,		/* string: the guest's name */
	CVMM_NL_A_SPACE_ID,	/* u64 */
	CVMM_NL_A_HOST_ID,	/* u32: this host in the space */
	CVMM_NL_A_NR_HOSTS,	/* u32 */
	CVMM_NL_A_EPOCH,	/* u32 */
	CVMM_NL_A_STATE,	/* u32: CVMM_SPACE_LIVE or CVMM_SPACE_FAILED */
	CVMM_NL_A_ERROR,	/* u32: positive errno of a failure, 0 if none */
	CVMM_NL_A_PEER,		/* u32: the other host an event or failure is about */
	CVMM_NL_A_REASON,	/* string: one line for the user */
	CVMM_NL_A_PID,		/* u32: process that created the space */
	CVMM_NL_A_PAGES,	/* u64: frames the space covers, on all hosts */
	CVMM_NL_A_HOME_PAGES,	/* u64: of these, at home here */
	CVMM_NL_A_FRAMES,	/* u64: page frames allocated here now */
	CVMM_NL_A_META_BYTES,	/* u64: memory for per-page metadata here */
	CVMM_NL_A_LINKS,	/* nested: CVMM_NL_A_LINK, once per link */
	CVMM_NL_A_LINK,		/* nested: CVMM_NL_LINK_A_* */
	CVMM_NL_A_COUNTERS,	/* nested: CVMM_NL_A_COUNTER, once per counter */
	CVMM_NL_A_COUNTER,	/* nested: CVMM_NL_COUNTER_A_* */
	CVMM_NL_A_EVENT,	/* u32: CVMM_NL_EVENT_* */
	CVMM_NL_A_HISTS,	/* nested: CVMM_NL_A_HIST, once per histogram */
	CVMM_NL_A_HIST,		/* nested: CVMM_NL_HIST_A_* */
	CVMM_NL_A_HEAT,		/* nested: CVMM_NL_HEAT_A_*; any number in a message */
	__CVMM_NL_A_END,
#define CVMM_NL_A_MAX		(__CVMM_NL_A_END - 1)
};

/* Inside CVMM_NL_A_LINK */
enum {
	CVMM_NL_LINK_A_UNSPEC,
	CVMM_NL_LINK_A_PAD,
	CVMM_NL_LINK_A_PEER,		/* u32: host at the other end */
	CVMM_NL_LINK_A_TRANSPORT,	/* u32: CVMM_TRANSPORT_* */
	CVMM_NL_LINK_A_STATE,		/* u32: CVMM_NL_LINK_* */
	CVMM_NL_LINK_A_TX_MSGS,		/* u64 */
	CVMM_NL_LINK_A_TX_BYTES,	/* u64 */
	CVMM_NL_LINK_A_RX_MSGS,		/* u64 */
	CVMM_NL_LINK_A_RX_BYTES,	/* u64 */
	CVMM_NL_LINK_A_TX_QUEUED,	/* u32: messages waiting to be sent now */
	CVMM_NL_LINK_A_TX_QUEUED_MAX,	/* u32: ... at most, so far, one being sent included */
	CVMM_NL_LINK_A_COPIED,		/* u64: bytes of pages copied to send or receive them */
	__CVMM_NL_LINK_A_END,
#define CVMM_NL_LINK_A_MAX	(__CVMM_NL_LINK_A_END - 1)
};

/* CVMM_NL_LINK_A_STATE */
#define CVMM_NL_LINK_HELLO	0	/* waiting for the peer's first message */
#define CVMM_NL_LINK_UP		1
#define CVMM_NL_LINK_DOWN	2

/* Inside CVMM_NL_A_COUNTER.  Names are stable: "group.name", lower case. */
enum {
	CVMM_NL_COUNTER_A_UNSPEC,
	CVMM_NL_COUNTER_A_PAD,
	CVMM_NL_COUNTER_A_NAME,		/* string */
	CVMM_NL_COUNTER_A_VALUE,	/* u64 */
	__CVMM_NL_COUNTER_A_END,
#define CVMM_NL_COUNTER_A_MAX	(__CVMM_NL_COUNTER_A_END - 1)
};

/*
 * Inside CVMM_NL_A_HIST: how often something took how long.
 *
 * Names are stable.  "read_2", "upgrade_3", ...: from a host's request for a page to
 * its completion, by transition and by the number of messages on the critical path,
 * as the counters "dsm.fault_read_2", ...  "wait_read", "wait_write": accesses that
 * found the page missing, from then until they went on or were given up.
 *
 * Buckets are log-linear: times are counted in units of 2^SHIFT ns, one bucket for
 * each of the first 2^SUB_BITS units and then 2^SUB_BITS buckets for each power of
 * two.  So with n = 1 << SUB_BITS, bucket b begins at unit b if b < n, else at unit
 * (n + b % n) << (b / n - 1).  The last one has everything above it as well.
 */
enum {
	CVMM_NL_HIST_A_UNSPEC,
	CVMM_NL_HIST_A_PAD,
	CVMM_NL_HIST_A_NAME,		/* string */
	CVMM_NL_HIST_A_SUM_NS,		/* u64: of all times */
	CVMM_NL_HIST_A_FIRST,		/* u32: number of the first bucket that is not empty */
	CVMM_NL_HIST_A_BUCKETS,		/* binary: u64 counts from FIRST on; absent: all empty */
	__CVMM_NL_HIST_A_END,
#define CVMM_NL_HIST_A_MAX	(__CVMM_NL_HIST_A_END - 1)
};

#define CVMM_NL_HIST_SHIFT	8	/* units of 256 ns */
#define CVMM_NL_HIST_SUB_BITS	3
#define CVMM_NL_HIST_BUCKETS	208	/* the last begins at 64 s */

/*
 * Inside CVMM_NL_A_HEAT: how often a page went between this host and one other.  The
 * table is of bounded size: pages that travel little are forgotten.  COUNT is at most
 * too high, by what it took over from another page that was forgotten; the sum
 * of KINDS is at most too low.
 */
enum {
	CVMM_NL_HEAT_A_UNSPEC,
	CVMM_NL_HEAT_A_PAD,
	CVMM_NL_HEAT_A_GFN,		/* u64: guest frame number */
	CVMM_NL_HEAT_A_PEER,		/* u32: the other host */
	CVMM_NL_HEAT_A_COUNT,		/* u64 */
	CVMM_NL_HEAT_A_KINDS,		/* binary: CVMM_NL_HEAT_NR times u64, by CVMM_NL_HEAT_* */
	__CVMM_NL_HEAT_A_END,
#define CVMM_NL_HEAT_A_MAX	(__CVMM_NL_HEAT_A_END - 1)
};

/*
 * How a page went.  What is out at one host is in at the other.  A page's first touch
 * is not counted.
 */
#define CVMM_NL_HEAT_COPY_IN	0	/* a copy to read came from the peer */
#define CVMM_NL_HEAT_MOVE_IN	1	/* the page came, and the peer has it no longer */
#define CVMM_NL_HEAT_RIGHT_IN	2	/* the peer gave way to a write, without sending the page */
#define CVMM_NL_HEAT_COPY_OUT	3	/* the same, from this host to the peer */
#define CVMM_NL_HEAT_MOVE_OUT	4
#define CVMM_NL_HEAT_RIGHT_OUT	5
#define CVMM_NL_HEAT_NR		6

/*
 * CVMM_NL_A_EVENT.  Every event carries NAME, SPACE_ID and HOST_ID; those
 * about a link or a host PEER; those about an end ERROR and REASON.
 *
 * HOST_LOST: PEER does not answer any more, which fails the space; SPACE_FAILED tells
 * the same reason, before or after it.  A peer that ends its side of a link, as all
 * do at the end of a guest, is not lost.
 */
#define CVMM_NL_EVENT_SPACE_NEW		1
#define CVMM_NL_EVENT_SPACE_GONE	2
#define CVMM_NL_EVENT_SPACE_FAILED	3
#define CVMM_NL_EVENT_LINK_UP		4
#define CVMM_NL_EVENT_LINK_DOWN		5
#define CVMM_NL_EVENT_HOST_LOST		6

#endif /* _UAPI_LINUX_CVMM_NETLINK_H */
