// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Races, one by one, in the order that hurts: messages that cross, holds, busy
 * pages, failing allocation.  In all tests gfn 0 is homed at host 0.
 */
#include "net.h"

#define MS	1000000ULL

static struct net net;

static void fire(u32 h)
{
	assert_int_equal(dsm_timer(&net.h[h].dsm, 0, net.now), 0);
}

/* Take a page and keep its hold. */
static void get_held(u32 h, bool write)
{
	assert_int_equal(net_access(&net, h, 0, write), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access(&net, h, 0, write), DSM_GRANTED);
}

/* Owner 1, sharers 2 and 3, no holds. */
static void share(void)
{
	net_get(&net, 1, 0, true);
	*net_word(&net, 1, 0) = 100;
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
}

/* ------------------------------------------------------------- crossings */

static void ack_before_data(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 2, DSM_MSG_INV);
	net_deliver(&net, 0, 3, DSM_MSG_INV);
	net_deliver(&net, 2, 4, DSM_MSG_INV_ACK);
	net_deliver(&net, 3, 4, DSM_MSG_INV_ACK);
	assert_int_equal(net_state(&net, 4, 0), DSM_INVALID);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 4, DSM_MSG_DATA);
	assert_int_equal(net_state(&net, 4, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[4].wakes, 1);
	net_settle(&net);
	net_check(&net);
}

static void data_before_acks(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 4, DSM_MSG_DATA);
	/* TSO: neither a write nor a read of the new page before the old copies are gone */
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	assert_int_equal(net_access(&net, 4, 0, false), DSM_WAIT);
	net_deliver(&net, 0, 2, DSM_MSG_INV);
	net_deliver(&net, 2, 4, DSM_MSG_INV_ACK);
	assert_int_equal(net_state(&net, 4, 0), DSM_INVALID);
	assert_int_equal(net.h[4].wakes, 0);
	net_deliver(&net, 0, 3, DSM_MSG_INV);
	net_deliver(&net, 3, 4, DSM_MSG_INV_ACK);
	assert_int_equal(net_state(&net, 4, 0), DSM_EXCLUSIVE);
	assert_int_equal(*net_word(&net, 4, 0), 100);
	net_settle(&net);
	net_check(&net);
}

/* While an upgrade waits for acknowledgements the old copy can be read. */
static void upgrade_reads_meanwhile(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_GRANTED);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	net_check(&net);
}

/* Two sharers upgrade at once: the loser's copy goes, its upgrade gets the page. */
static void inv_at_sharer_with_upgrade(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);		/* queued */
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 1);
	net_deliver(&net, 0, 3, DSM_MSG_INV);
	assert_int_equal(net_state(&net, 3, 0), DSM_INVALID);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_deliver(&net, 3, 2, DSM_MSG_INV_ACK);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	*net_word(&net, 2, 0) = 101;
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 3, 0), DSM_EXCLUSIVE);
	assert_int_equal(*net_word(&net, 3, 0), 101);
	assert_int_equal(net.h[3].events[DSM_EV_UPGRADE_LOST], 1);
	net_check(&net);
}

/* The owner upgrades while another's write is ahead of it in the queue. */
static void fwd_at_owner_with_upgrade(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_deliver(&net, 1, 4, DSM_MSG_DATA);
	net_deliver(&net, 0, 2, DSM_MSG_INV);
	net_deliver(&net, 0, 3, DSM_MSG_INV);
	net_deliver(&net, 2, 4, DSM_MSG_INV_ACK);
	net_deliver(&net, 3, 4, DSM_MSG_INV_ACK);
	net_unhold(&net, 4, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[1].events[DSM_EV_UPGRADE_LOST], 1);
	net_check(&net);
}

/* The owner upgrades while a read is ahead of it: it stays owner, upgrade follows. */
static void fwd_s_at_owner_with_upgrade(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 4, 0, false), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_S);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_S);
	net_deliver(&net, 1, 4, DSM_MSG_DATA);
	net_unhold(&net, 4, 0);
	net_deliver(&net, 4, 0, DSM_MSG_DONE);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[1].events[DSM_EV_UPGRADE_LOST], 0);
	net_check(&net);
}

/* A host that lost its copy asks again before home has seen the DONE of who took it. */
static void request_before_others_done(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	assert_int_equal(net_access(&net, 1, 0, false), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_S);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_SHARED);
	assert_int_equal(net_state(&net, 2, 0), DSM_OWNED);
	net_check(&net);
}

/* Home's own request waits its turn like any other. */
static void home_queues_itself(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_access(&net, 0, 0, true), DSM_WAIT);
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 1);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 0, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[0].wakes, 1);
	net_check(&net);
}

/* Home is sharer and upgrades while a remote write is running: it is invalidated first. */
static void home_sharer_loses_upgrade(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 0, 0, false);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
	assert_int_equal(net_access(&net, 0, 0, true), DSM_WAIT);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_deliver(&net, 0, 2, DSM_MSG_INV_ACK);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 0, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

static void faults_coalesce(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_mark(&net);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(net.sent, 1);
	assert_int_equal(net.h[2].events[DSM_EV_COALESCED], 2);
	net_settle(&net);
	assert_int_equal(net.h[2].wakes, 1);
	/* the writer among them asks again, for what it still lacks */
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);
	net_check(&net);
}

/* Nobody is left waiting when the answer comes: the page arrives all the same. */
static void waiter_has_gone(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/* An older instruction joins a request: the home learns, wherever the request is. */
static void older_joins(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);				/* running, FWD_X deferred at 1 */
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_settle(&net);				/* both queued */
	net_mark(&net);
	assert_int_equal(net_access_since(&net, 4, 0, false, net.now - 1 * MS), DSM_WAIT);
	assert_int_equal(net.sent, 0);			/* the same class */
	assert_int_equal(net_access_since(&net, 4, 0, true, net.now - 300 * MS), DSM_WAIT);
	assert_int_equal(net.sent, 1);
	net_deliver(&net, 4, 0, DSM_MSG_HURRY);
	net_deliver(&net, 0, 1, DSM_MSG_HURRY);		/* behind it 1 yields */
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
	assert_int_equal(net_access_since(&net, 2, 0, true, net.now - 10 * MS), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_HURRY);		/* it is the running one */
	net.now = net.h[1].timer_ns;
	fire(1);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_deliver(&net, 2, 0, DSM_MSG_DONE);
	assert_int_equal(net_info(&net, 0, 0).txn_host, 4);	/* before 3 */
	net_unhold(&net, 2, 0);
	net_settle(&net);
	net_unhold(&net, 4, 0);
	net_settle(&net);
	if (net_info(&net, 4, 0).deferred) {
		net.now = net.h[4].timer_ns;
		fire(4);
	}
	net_settle(&net);
	net_check(&net);
	/* late: the request has been served */
	assert_int_equal(net_inject(&net, 0, 2, &(struct dsm_msg){ .type = DSM_MSG_HURRY,
			 .requester = 2, .epoch = NET_EPOCH, .age = 9 }, false), 0);
}

/* ... and whoever holds up the request that runs learns it from the home. */
static void older_joins_running(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);				/* FWD_X deferred at 1, which goes first */
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 0);
	net_mark(&net);
	assert_int_equal(net_access_since(&net, 2, 0, true, net.now - 300 * MS), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_HURRY);
	net_deliver(&net, 0, 1, DSM_MSG_HURRY);
	assert_int_equal(net.sent, 2);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
	/* told twice, it tells nobody twice */
	assert_int_equal(net_inject(&net, 0, 2, &(struct dsm_msg){ .type = DSM_MSG_HURRY,
			 .requester = 2, .epoch = NET_EPOCH, .age = 9 }, false), 0);
	assert_int_equal(net.sent, 2);
	net.now = net.h[1].timer_ns;
	fire(1);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/*
 * Home answers alone, so nobody says DONE: the next transaction starts while the
 * answer is on its way, and what it sends to the same host comes after it.
 */
static void next_before_data(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	*net_word(&net, 0, 0) = 5;
	assert_int_equal(net_access(&net, 1, 0, false), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_S);
	assert_int_equal(net_info(&net, 0, 0).txn, 0);
	assert_int_equal(net_info(&net, 0, 0).sharers, 2);
	net_check(&net);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_true(net_in_flight(&net, 0, 1, DSM_MSG_DATA));
	assert_true(net_in_flight(&net, 0, 1, DSM_MSG_INV));
	net_deliver(&net, 0, 2, DSM_MSG_DATA);
	assert_int_equal(net_state(&net, 2, 0), DSM_INVALID);	/* lacks an acknowledgement */
	net_deliver(&net, 0, 1, DSM_MSG_DATA);
	net_check(&net);
	net_deliver(&net, 0, 1, DSM_MSG_INV);
	/* its reader has the page now and is served first */
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_INV);
	assert_int_equal(net_access(&net, 1, 0, false), DSM_GRANTED);
	net_unhold(&net, 1, 0);
	net.now = net.h[1].timer_ns;
	fire(1);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	assert_int_equal(*net_word(&net, 2, 0), 5);
	net_check(&net);
}

/* The same for a page that moves, and for an upgrade. */
static void next_before_upgrade(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 0, 0, false);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);	/* only home shares */
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_info(&net, 0, 0).txn, 0);
	net_check(&net);
	assert_int_equal(net_access(&net, 3, 0, false), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_S);
	assert_true(net_in_flight(&net, 0, 1, DSM_MSG_FWD_S));
	net_deliver(&net, 0, 1, DSM_MSG_DATA);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	net_unhold(&net, 1, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 3, 0), DSM_SHARED);
	net_check(&net);
}

/* All who wait are answered by home in one go, without recursion, in order. */
static void queue_answered_at_once(void **state)
{
	u32 h;

	(void)state;
	net_get(&net, 1, 0, true);
	get_held(0, true);
	for (h = 1; h < NET_HOSTS; h++) {
		assert_int_equal(net_access(&net, h, 0, false), DSM_WAIT);
		net_deliver(&net, h, 0, DSM_MSG_REQ_S);
	}
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 3);
	net_mark(&net);
	net_hold_ends(&net, 0, 0);
	assert_int_equal(net.sent, 4);
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 0);
	assert_int_equal(net_info(&net, 0, 0).sharers, 0x1e);
	net_settle(&net);
	net_check(&net);
}

/* Who has tried for longest is served first; among about equals the lower host. */
static void queue_order(void **state)
{
	(void)state;
	net_get(&net, 4, 0, true);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 4, DSM_MSG_FWD_X);
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(net_access_since(&net, 3, 0, true, net.now - 300 * MS), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 3);
	net_deliver(&net, 4, 1, DSM_MSG_DATA);
	net_unhold(&net, 1, 0);
	net_deliver(&net, 1, 0, DSM_MSG_DONE);
	assert_int_equal(net_info(&net, 0, 0).txn_host, 3);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 3, DSM_MSG_DATA);
	net_unhold(&net, 3, 0);
	net_deliver(&net, 3, 0, DSM_MSG_DONE);
	assert_int_equal(net_info(&net, 0, 0).txn_host, 2);
	net_deliver(&net, 0, 3, DSM_MSG_FWD_X);
	net_deliver(&net, 3, 2, DSM_MSG_DATA);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 4, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/* ------------------------------------------------------------------ holds */

static void hold_defers_write(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_FWD_X);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_DEFER], 1);
	/* local accesses go on */
	assert_int_equal(net_access(&net, 1, 0, true), DSM_GRANTED);
	/* too early: nothing */
	net.now += 19 * MS;
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	/* it would end now; extended: the timer that comes sets itself again */
	assert_in_range(net.h[1].timer_ns, net.now + MS, net.now + 2 * MS);
	dsm_hold(&net.h[1].dsm, 0, net.now - 19 * MS, net.now + 5 * MS, net.now);
	net.now = net.h[1].timer_ns;
	net.h[1].timer_ns = 0;
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_not_equal(net.h[1].timer_ns, 0);
	net_hold_ends(&net, 1, 0);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

static void hold_for_write_defers_read(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_FWD_S);
	net_hold_ends(&net, 1, 0);
	assert_int_equal(net_state(&net, 1, 0), DSM_OWNED);
	net_settle(&net);
	net_check(&net);
}

/* A page taken to read does not need its write access: readers are served at once. */
static void hold_for_read_lets_readers(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	get_held(0, false);
	assert_int_equal(net_state(&net, 0, 0), DSM_SHARED);
	net_get(&net, 2, 0, false);	/* supplied by home, which loses nothing */
	assert_int_equal(net_state(&net, 2, 0), DSM_SHARED);
	assert_int_equal(net.h[0].events[DSM_EV_HOLD_DEFER], 0);
}

static void hold_defers_invalidation(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	get_held(1, false);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_INV);
	assert_int_equal(net_state(&net, 2, 0), DSM_INVALID);
	net_hold_ends(&net, 1, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/* The vCPU has entered the guest: what waits is served after the minimum time. */
static void hold_shortens(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	dsm_hold(&net.h[1].dsm, 0, net.now, net.now + MS / 5, net.now);
	assert_in_range(net.h[1].timer_ns, net.now + MS / 5, net.now + MS / 5 + 2 * DSM_TICK_NS);
	net.now = net.h[1].timer_ns;
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
}

/* The same instruction misses more: extended, but not beyond the limit. */
/* The answer is handled with a clock that was read before the wait began. */
static void hold_shortens_after_late_clock(void **state)
{
	u64 since = net.now;

	(void)state;
	assert_int_equal(net_access_since(&net, 1, 0, true, since), DSM_WAIT);
	net.now -= MS;
	net_settle(&net);
	net.now += MS;
	assert_int_equal(net_access_since(&net, 1, 0, true, since), DSM_GRANTED);
	dsm_hold(&net.h[1].dsm, 0, since, net.now + MS / 5, net.now);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_in_range(net.h[1].timer_ns, net.now + MS / 5, net.now + MS / 5 + 2 * DSM_TICK_NS);
	net.now = net.h[1].timer_ns;
	fire(1);
	net_settle(&net);
}

static void hold_extends_to_limit(void **state)
{
	u64 start = net.now, limit = 25 * 20 * MS;

	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	while (net.now < start + 2 * limit) {
		dsm_hold(&net.h[1].dsm, 0, start, net.now + 20 * MS, net.now);
		net.now += 10 * MS;
		fire(1);
		if (net_state(&net, 1, 0) == DSM_INVALID)
			break;
	}
	assert_in_range(net.now, start + limit - 20 * MS, start + limit + 20 * MS);
	net_settle(&net);
	net_check(&net);
}

/* Only the oldest local instruction may end the hold. */
static void hold_of_older_stays(void **state)
{
	u64 old = net.now - 50 * MS;

	(void)state;
	assert_int_equal(net_access_since(&net, 1, 0, true, net.now), DSM_WAIT);
	assert_int_equal(net_access_since(&net, 1, 0, true, old), DSM_WAIT);
	net_settle(&net);
	dsm_hold(&net.h[1].dsm, 0, net.now, net.now, net.now);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	dsm_hold(&net.h[1].dsm, 0, old, net.now, net.now);
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
}

/* An older asker does not wait for the whole hold. */
static void hold_yields(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access_since(&net, 2, 0, true, net.now - 100 * MS), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
	assert_int_equal(net.h[1].timer_ns, net.now + MS);
	/* an extension does not help against it */
	dsm_hold(&net.h[1].dsm, 0, net.now, net.now + 100 * MS, net.now);
	net.now += MS;
	fire(1);
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);

	/* host 2 is held now by an old instruction: host 1, young, waits to the end */
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[2].events[DSM_EV_HOLD_DEFER], 1);
	net_hold_ends(&net, 2, 0);
	net_settle(&net);
}

/*
 * The asker is of the lower host, but a little younger by class.  When it has waited long
 * enough to be of the holder's class it goes first, and need not ask again.
 */
static void asker_gets_older(void **state)
{
	u64 start = net.now;

	(void)state;
	assert_int_equal(net_access_since(&net, 2, 1, true, start - 7 * MS), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access_since(&net, 2, 1, true, start - 7 * MS), DSM_GRANTED);
	assert_int_equal(net_access_since(&net, 0, 1, true, start - 3 * MS), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[2].events[DSM_EV_HOLD_DEFER], 1);
	assert_int_equal(net.h[2].events[DSM_EV_HOLD_YIELD], 0);
	/* Class 1 begins at 4.2 ms; the holder is in class 1 until 8.4 ms. */
	assert_in_range(net.h[2].timer_ns, start + MS, start + 2 * MS);
	net.now = net.h[2].timer_ns;
	assert_int_equal(dsm_timer(&net.h[2].dsm, 1, net.now), 0);
	assert_int_equal(net.h[2].events[DSM_EV_HOLD_YIELD], 1);
	assert_int_equal(net.h[2].timer_ns, net.now + MS);
	net.now = net.h[2].timer_ns;
	assert_int_equal(dsm_timer(&net.h[2].dsm, 1, net.now), 0);
	assert_int_equal(net_state(&net, 2, 1), DSM_INVALID);
	net_settle(&net);
	assert_int_equal(net_state(&net, 0, 1), DSM_EXCLUSIVE);
}

/*
 * What waits at home behind a request nearly as old is told to the holder: the home keeps
 * ages in steps of 4 ms, and does not take the running request for older than it is.
 */
static void hurry_of_nearly_equals(void **state)
{
	u64 start;

	(void)state;
	/* Such that 1 ms later another step of 4.2 ms has begun. */
	net.now = (net.now | 0x3fffff) - MS / 2;
	start = net.now;
	assert_int_equal(net_access_since(&net, 3, 0, true, start), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access_since(&net, 3, 0, true, start), DSM_GRANTED);
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_settle(&net);
	net.now += MS;
	assert_int_equal(net_access_since(&net, 2, 0, true, start), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[3].events[DSM_EV_HOLD_YIELD], 1);
	net_hold_ends(&net, 3, 0);
	net_settle(&net);
}

/* Of two about equally old instructions the one of the lower host goes first. */
static void hold_between_equals(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_DEFER], 1);
	net_hold_ends(&net, 1, 0);
	net_settle(&net);
	net_unhold(&net, 2, 0);

	net_get(&net, 1, 0, true);
	net_get(&net, 3, 0, true);
	get_held(1, true);
	assert_int_equal(net_access(&net, 0, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
}

/* The old instruction is not the one that asks, it waits behind that one: HURRY. */
static void hurry_makes_it_yield(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_DEFER], 1);
	assert_int_equal(net_access_since(&net, 3, 0, true, net.now - 100 * MS), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_HURRY);
	assert_int_equal(net.h[1].timer_ns, net.now + MS);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
	/* a younger one behind it changes nothing */
	net_mark(&net);
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	assert_int_equal(net.sent, 1);
	net.now = net.h[1].timer_ns;
	fire(1);
	net_settle(&net);
	net_check(&net);
}

/* HURRY comes when the page has already been handed over: no error. */
static void hurry_too_late(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	assert_int_equal(net_access_since(&net, 3, 0, true, net.now - 100 * MS), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 1, DSM_MSG_HURRY);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
}

/* A held sharer wants to write while an invalidation waits for it: it lets go. */
static void upgrade_voids_hold(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	get_held(1, false);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_INV);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_VOID], 1);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_deliver(&net, 1, 2, DSM_MSG_INV_ACK);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/* The other order: its upgrade is on the way when the invalidation comes. */
static void pending_upgrade_is_not_held(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	get_held(1, false);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 0, 1, DSM_MSG_INV);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_DEFER], 0);
	net_deliver(&net, 0, 2, DSM_MSG_DATA);
	net_deliver(&net, 1, 2, DSM_MSG_INV_ACK);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	net_check(&net);
}

/* The clock was read before the lock: a grant in the "future" is still held. */
static void late_clock(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net.now -= MS;
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_FWD_X);
	net.now += 30 * MS;
	fire(1);
	net_settle(&net);
}

/* -------------------------------------------------------------- busy pages */

static void busy_then_free(void **state)
{
	u64 first;

	(void)state;
	net_get(&net, 1, 0, true);
	net.h[1].busy = 3;
	net.h[1].wakes = 0;
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_true(net_info(&net, 1, 0).revoking);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	/* no new mapping of any kind */
	assert_int_equal(net_access(&net, 1, 0, false), DSM_WAIT);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	first = net.h[1].timer_ns - net.now;
	net.now = net.h[1].timer_ns;
	fire(1);
	assert_int_equal(net.h[1].timer_ns - net.now, 2 * first);
	net.now = net.h[1].timer_ns;
	fire(1);
	assert_int_equal(net.h[1].wakes, 0);
	net.now = net.h[1].timer_ns;
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	assert_int_equal(net.h[1].wakes, 1);
	assert_int_equal(net.h[1].events[DSM_EV_PROTECT_BUSY], 3);
	net_settle(&net);
	net_check(&net);
}

static void busy_downgrade_lets_readers(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net.h[1].busy = 1;
	net.h[1].wakes = 0;
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_true(net_info(&net, 1, 0).revoking);
	assert_int_equal(net_access(&net, 1, 0, false), DSM_GRANTED);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_hold_ends(&net, 1, 0);
	assert_int_equal(net_state(&net, 1, 0), DSM_OWNED);
	net_settle(&net);
	/* the writer was woken, asks, and gets it */
	assert_int_equal(net.h[1].wakes, 1);
	net_unhold(&net, 2, 0);
	net_get(&net, 1, 0, true);
}

/* Busy, with its own upgrade queued at home. */
static void busy_with_upgrade_queued(void **state)
{
	(void)state;
	share();
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net.h[2].busy = 1;
	net_deliver(&net, 0, 2, DSM_MSG_INV);
	assert_true(net_info(&net, 2, 0).revoking);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	net.now = net.h[2].timer_ns;
	fire(2);
	net_deliver(&net, 2, 4, DSM_MSG_INV_ACK);
	net_unhold(&net, 4, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	net_check(&net);
}

/* ---------------------------------------------------- failing allocation */

static void access_unwinds(void **state)
{
	(void)state;
	net_mark(&net);
	net.fail_allocs = 1;			/* the record */
	assert_int_equal(net_access(&net, 0, 0, true), -ENOMEM);
	assert_false(dsm_failed(&net.h[0].dsm));
	assert_int_equal(net.recs, 0);
	net.fail_allocs = 1;
	assert_int_equal(net_access(&net, 1, 0, true), -ENOMEM);
	assert_int_equal(net.sent, 0);
	net_get(&net, 1, 0, true);
}

static void zero_frame_unwinds_at_home(void **state)
{
	(void)state;
	net.skip_allocs = 1;			/* the record is found */
	net.fail_allocs = 1;
	assert_int_equal(net_access(&net, 0, 0, true), -ENOMEM);
	assert_false(dsm_failed(&net.h[0].dsm));
	assert_int_equal(net.recs, 0);
	assert_int_equal(net.frames, 0);
	assert_int_equal(net_info(&net, 0, 0).txn, 0);
	net_get(&net, 0, 0, true);
}

static void zero_frame_fails_space(void **state)
{
	(void)state;
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);
	net.fail_allocs = 1;
	assert_int_equal(net_try_deliver(&net, 0, 1, DSM_MSG_DATA), -ENOMEM);
	assert_true(dsm_failed(&net.h[1].dsm));
	assert_int_equal(net_access(&net, 1, 0, true), -EIO);
}

/* Without memory to remember it, a request is not put off but done. */
static void hold_without_memory(void **state)
{
	(void)state;
	get_held(1, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net.fail_allocs = 1;
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
	net_check(&net);
}

static void queue_without_memory(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	net.fail_allocs = 1;
	assert_int_equal(net_try_deliver(&net, 3, 0, DSM_MSG_REQ_X), -ENOMEM);
	assert_true(dsm_failed(&net.h[0].dsm));
}

/* ----------------------------------------------------------------- the end */

static void failed_space(void **state)
{
	(void)state;
	share();
	get_held(4, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);			/* deferred at 4, waits at 2 */
	dsm_fail(&net.h[2].dsm);
	dsm_fail(&net.h[4].dsm);
	assert_int_equal(net_access(&net, 2, 0, false), -EIO);
	/* what is here stays usable */
	assert_int_equal(net_access(&net, 4, 0, true), DSM_GRANTED);
	net.now += 1000 * MS;
	assert_int_equal(dsm_timer(&net.h[4].dsm, 0, net.now), 0);
	assert_int_equal(net_state(&net, 4, 0), DSM_EXCLUSIVE);
}

#define T(name) cmocka_unit_test_prestate_setup_teardown(name, net_start_test, net_stop_test, &net)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ack_before_data), T(data_before_acks), T(upgrade_reads_meanwhile),
		T(inv_at_sharer_with_upgrade), T(fwd_at_owner_with_upgrade),
		T(fwd_s_at_owner_with_upgrade), T(request_before_others_done),
		T(home_queues_itself), T(home_sharer_loses_upgrade), T(faults_coalesce),
		T(waiter_has_gone), T(queue_order),
		T(next_before_data), T(next_before_upgrade), T(queue_answered_at_once), T(older_joins),
		T(older_joins_running),
		T(hold_defers_write), T(hold_for_write_defers_read), T(hold_for_read_lets_readers),
		T(hold_defers_invalidation), T(hold_shortens),
		T(hold_shortens_after_late_clock), T(hold_extends_to_limit),
		T(hold_of_older_stays), T(hold_yields), T(asker_gets_older), T(hurry_of_nearly_equals),
		T(hold_between_equals), T(hurry_makes_it_yield), T(hurry_too_late),
		T(upgrade_voids_hold), T(pending_upgrade_is_not_held), T(late_clock),
		T(busy_then_free), T(busy_downgrade_lets_readers), T(busy_with_upgrade_queued),
		T(access_unwinds), T(zero_frame_unwinds_at_home), T(zero_frame_fails_space),
		T(hold_without_memory), T(queue_without_memory), T(failed_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
