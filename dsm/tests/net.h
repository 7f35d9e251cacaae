/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A few hosts of one space for unit tests: every message waits until the test
 * delivers it, so each order can be played by hand.  Frames are counted, and
 * carry one word of content.
 */
#ifndef DSM_TESTS_NET_H
#define DSM_TESTS_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../dsm.h"

#define NET_HOSTS	5
#define NET_GFNS	NET_HOSTS	/* gfn n is homed at host n */
#define NET_MAX_MSGS	256
#define NET_EPOCH	9

struct net_frame {
	u32 refs;
	u64 word;
};

struct net_msg {
	u32 from, to;
	struct dsm_msg msg;
	struct net_frame *frame;
};

struct net;

struct net_host {
	struct net *net;
	u32 id;
	struct dsm dsm;
	struct dsm_range ranges[NET_GFNS];
	struct dsm_page pages[NET_GFNS];
	struct dsm_home home;
	/* what the last callbacks were */
	u32 wakes;
	u64 timer_ns;		/* of the last set_timer(), 0 none */
	u32 protects;		/* calls */
	enum dsm_prot prot;	/* argument of the last */
	u32 busy;		/* protect() says -EAGAIN so many times */
	u64 events[DSM_EV_NR];
	u64 done[DSM_EV_NR];	/* calls of done() */
	u64 done_ns;		/* what the last said */
};

struct net {
	struct net_host h[NET_HOSTS];
	struct net_msg queue[NET_MAX_MSGS];
	u32 nr;			/* in flight */
	u32 sent;		/* since net_mark() */
	u32 pages_sent;		/* likewise, with a page as payload */
	u64 now;
	long frames, recs;
	u32 skip_allocs;	/* the next so many allocations succeed */
	u32 fail_allocs;	/* then so many fail */
};

void net_start(struct net *net);
/* Tear down; fails the test if anything leaked. */
void net_stop(struct net *net);
/*
 * The same as cmocka's set-up and tear-down, with the struct net as the test's
 * prestate.  net_finish_test() first settles it and checks the invariants.
 */
int net_start_test(void **state);
int net_stop_test(void **state);
int net_finish_test(void **state);

int net_access(struct net *net, u32 h, u64 gfn, bool write);
int net_access_since(struct net *net, u32 h, u64 gfn, bool write, u64 since_ns);
/* Read as a page-table walk does. */
int net_walk(struct net *net, u32 h, u64 gfn);

/* Deliver the oldest message of @type from @from to @to; fails the test if there is none. */
void net_deliver(struct net *net, u32 from, u32 to, u8 type);
/* The same, but returns dsm_receive()'s verdict. */
int net_try_deliver(struct net *net, u32 from, u32 to, u8 type);
/* Deliver all, oldest first, until nothing is in flight. */
void net_settle(struct net *net);
bool net_in_flight(const struct net *net, u32 from, u32 to, u8 type);
/* Start counting sent messages anew. */
void net_mark(struct net *net);

enum dsm_state net_state(struct net *net, u32 h, u64 gfn);
struct dsm_page_info net_info(struct net *net, u32 h, u64 gfn);
/* Content of the copy at @h. */
u64 *net_word(struct net *net, u32 h, u64 gfn);
/* Access, settle, and access again: the whole fault.  Then end the hold. */
void net_get(struct net *net, u32 h, u64 gfn, bool write);
void net_unhold(struct net *net, u32 h, u64 gfn);
/* The page's timers at @h as they come, until what is deferred there has been performed. */
void net_hold_ends(struct net *net, u32 h, u64 gfn);
/* Global invariants of every page. */
void net_check(struct net *net);

/* A message as host @from would send it, given to @h. */
int net_inject(struct net *net, u32 h, u32 from, const struct dsm_msg *msg, bool page);

#endif /* DSM_TESTS_NET_H */
