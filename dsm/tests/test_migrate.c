// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that migrate: how the home finds them, how a read takes them as a whole,
 * how they stop being migratory, and what may cross that.  gfn 0 is homed at host
 * 0; "moves" means by a read that is followed by a write.
 */
#include "net.h"

static struct net net;

static u64 events(u32 h, enum dsm_event ev)
{
	return net.h[h].events[ev];
}

static bool migratory(void)
{
	return net_info(&net, 0, 0).migratory;
}

/* Host @h reads the page, then writes it. */
static void move_to(u32 h)
{
	net_get(&net, h, 0, false);
	net_get(&net, h, 0, true);
	++*net_word(&net, h, 0);
}

/* The page is migratory, written by host 1, nothing is held. */
static void make_migratory(void)
{
	net_get(&net, 2, 0, true);
	move_to(1);
	assert_true(migratory());
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_true(net_info(&net, 1, 0).written);
}

/* A read by @h that is answered with a whole page; it is not written yet. */
static void take(u32 h)
{
	net_get(&net, h, 0, false);
	assert_int_equal(net_state(&net, h, 0), DSM_EXCLUSIVE);
	assert_false(net_info(&net, h, 0).written);
}

static void fire(u32 h)
{
	assert_int_equal(dsm_timer(&net.h[h].dsm, 0, net.now), 0);
}

/* ------------------------------------------------------------- detection */

/* One exchange instead of two: REQ_S, FWD_S, DATA, DONE, and no upgrade. */
static void read_takes_the_page(void **state)
{
	u32 h;

	(void)state;
	make_migratory();
	assert_int_equal(events(0, DSM_EV_HOME_PROMOTE), 1);
	for (h = 2; h < 5; h++) {
		net_mark(&net);
		move_to(h);
		assert_int_equal(net.sent, 4);
		assert_int_equal(net.pages_sent, 1);
		assert_int_equal(net_state(&net, h - 1, 0), DSM_INVALID);
		assert_int_equal(events(h, DSM_EV_FAULT_READ_3), 1);
		assert_int_equal(events(h, DSM_EV_READ_MIGRATORY), 1);
		assert_int_equal(events(h, DSM_EV_MIGRATORY_WRITTEN), 1);
		assert_int_equal(events(h, DSM_EV_FAULT_UPGRADE_3), 0);
	}
	assert_int_equal(*net_word(&net, 4, 0), 4);
	assert_int_equal(net_info(&net, 0, 0).home_version, 5);
}

static void home_takes_and_gives(void **state)
{
	(void)state;
	make_migratory();
	net_mark(&net);
	move_to(0);			/* FWD_S, DATA */
	assert_int_equal(net.sent, 2);
	net_mark(&net);
	move_to(3);			/* REQ_S, DATA */
	assert_int_equal(net.sent, 2);
	assert_int_equal(events(3, DSM_EV_FAULT_READ_2), 1);
	assert_true(migratory());
}

/* The first write after such a read asks nobody, and says so to the platform. */
static void write_after_read_is_local(void **state)
{
	struct dsm_grant grant;

	(void)state;
	make_migratory();
	take(2);
	net_mark(&net);
	assert_int_equal(dsm_access(&net.h[2].dsm, 0, DSM_READ, net.now, net.now, &grant), 0);
	assert_false(grant.writable);
	assert_int_equal(dsm_access(&net.h[2].dsm, 0, DSM_WRITE, net.now, net.now, &grant), 0);
	assert_true(grant.writable);
	assert_int_equal(dsm_access(&net.h[2].dsm, 0, DSM_READ, net.now, net.now, &grant), 0);
	assert_true(grant.writable);
	assert_int_equal(net.sent, 0);
	assert_int_equal(events(2, DSM_EV_MIGRATORY_WRITTEN), 1);
}

/* Written by one, read by the other, for ever: never migratory. */
static void producer_and_consumer(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		net_get(&net, 1, 0, true);
		net_get(&net, 2, 0, false);
	}
	assert_false(migratory());
	assert_int_equal(events(2, DSM_EV_READ_MIGRATORY), 0);
}

/* Read by several before each write. */
static void read_mostly(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		net_get(&net, 2, 0, false);
		net_get(&net, 3, 0, false);
		net_get(&net, 1 + i % 3, 0, true);
	}
	assert_false(migratory());
}

/* Walks of page tables neither take a page nor make it migratory. */
static void walks_leave_copies(void **state)
{
	(void)state;
	make_migratory();
	assert_int_equal(net_walk(&net, 2, 0), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_walk(&net, 2, 0), DSM_GRANTED);
	assert_int_equal(net_state(&net, 2, 0), DSM_SHARED);
	assert_int_equal(net_state(&net, 1, 0), DSM_OWNED);
	net_unhold(&net, 2, 0);
	/* while there is a copy a read adds one */
	net_get(&net, 3, 0, false);
	assert_int_equal(net_state(&net, 3, 0), DSM_SHARED);
	net_unhold(&net, 3, 0);
	assert_int_equal(events(0, DSM_EV_HOME_MIGRATORY), 1);

	/* walked, then written (accessed and dirty bits): no evidence */
	net_get(&net, 1, 3, true);
	assert_int_equal(net_walk(&net, 2, 3), DSM_WAIT);
	net_settle(&net);
	net_unhold(&net, 2, 3);
	net_get(&net, 2, 3, true);
	assert_int_equal(events(3, DSM_EV_HOME_MIGRATORY), 0);
}

static void switched_off(void **state)
{
	(void)state;
	net.h[0].dsm.cfg.no_migratory = true;
	net_get(&net, 2, 0, true);
	move_to(1);
	move_to(2);
	assert_int_equal(events(0, DSM_EV_HOME_MIGRATORY), 2);
	assert_int_equal(events(0, DSM_EV_HOME_PROMOTE), 0);
	assert_int_equal(events(2, DSM_EV_READ_MIGRATORY), 0);
	assert_int_equal(events(2, DSM_EV_FAULT_UPGRADE_3), 1);
}

/* ------------------------------------------------------------ adaptation */

/* Not written: the next reader gets a copy, the owner keeps its own. */
static void unwritten_page_stays(void **state)
{
	(void)state;
	make_migratory();
	take(2);
	net_get(&net, 3, 0, false);
	assert_int_equal(net_state(&net, 2, 0), DSM_OWNED);
	assert_int_equal(net_state(&net, 3, 0), DSM_SHARED);
	assert_false(migratory());
	assert_int_equal(events(2, DSM_EV_MIGRATORY_CLEAN), 1);
	assert_int_equal(events(0, DSM_EV_HOME_DEMOTE), 1);
	assert_int_equal(net.h[2].prot, DSM_PROT_READ);
}

/* Not written, and taken by a writer: it says so, too. */
static void unwritten_page_is_written_elsewhere(void **state)
{
	(void)state;
	make_migratory();
	take(2);
	net_get(&net, 1, 0, true);
	assert_int_equal(net_state(&net, 2, 0), DSM_INVALID);
	assert_false(migratory());
	assert_int_equal(events(2, DSM_EV_MIGRATORY_CLEAN), 1);
}

static void unwritten_page_at_home(void **state)
{
	(void)state;
	make_migratory();
	take(0);
	net_get(&net, 3, 0, true);
	assert_false(migratory());
	assert_int_equal(events(0, DSM_EV_MIGRATORY_CLEAN), 1);
}

/* Each failure asks for more evidence, up to four; successes take that back. */
static void doubt(void **state)
{
	static const u32 needed[] = { 1, 1, 2, 4, 4 };
	u32 i, n, h = 2;

	(void)state;
	net_get(&net, 1, 0, true);
	for (i = 0; i < 5; i++) {
		for (n = 0; !migratory(); n++) {
			h = h == 2 ? 3 : 2;
			move_to(h);
		}
		assert_int_equal(n, needed[i]);
		take(4);
		net_get(&net, 1, 0, false);
		assert_false(migratory());
		net_get(&net, 0, 0, true);
	}
	while (!migratory())
		move_to(h = h == 2 ? 3 : 2);
	for (i = 0; i < 9; i++)
		move_to(h = h == 2 ? 3 : 2);
	take(4);
	net_get(&net, 1, 0, false);
	net_get(&net, 0, 0, true);
	move_to(2);
	assert_true(migratory());
}

/* What speaks against it in between starts the count anew. */
static void evidence_is_in_a_row(void **state)
{
	u32 i;

	(void)state;
	make_migratory();
	for (i = 0; i < 3; i++) {		/* doubt 3: four in a row */
		while (!migratory())
			move_to(2 + (net_state(&net, 2, 0) == DSM_EXCLUSIVE));
		take(4);
		net_get(&net, 1, 0, true);
	}
	for (i = 0; i < 10; i++) {
		move_to(2);
		move_to(3);
		net_get(&net, 1, 0, false);
		net_get(&net, 3, 0, true);	/* its reader does not write it */
	}
	assert_false(migratory());
}

/* ----------------------------------------------------------------- races */

/* The offer waits for the hold; what was written meanwhile decides. */
static void offer_meets_hold(bool write)
{
	make_migratory();
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_GRANTED);
	/* held, and Exclusive: a reader has to wait for the write that follows */
	assert_int_equal(net_access(&net, 3, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_FWD_S);
	assert_int_equal(events(2, DSM_EV_HOLD_DEFER), 1);
	if (write) {
		assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);
		*net_word(&net, 2, 0) = 77;
	}
	net_hold_ends(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), write ? DSM_INVALID : DSM_OWNED);
	assert_int_equal(net_state(&net, 3, 0), write ? DSM_EXCLUSIVE : DSM_SHARED);
	assert_int_equal(*net_word(&net, 3, 0), write ? 77 : 1);
	assert_int_equal(migratory(), write);
}

static void hold_then_written(void **state)
{
	(void)state;
	offer_meets_hold(true);
}

static void hold_then_clean(void **state)
{
	(void)state;
	offer_meets_hold(false);
}

static void hurry_for_an_offer(void **state)
{
	(void)state;
	make_migratory();
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access(&net, 3, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_FWD_S);
	assert_int_equal(net_access_since(&net, 4, 0, false, net.now - 300 * 1000000ULL), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_S);
	net_deliver(&net, 0, 2, DSM_MSG_HURRY);
	assert_int_equal(events(2, DSM_EV_HOLD_YIELD), 1);
	net.now = net.h[2].timer_ns;
	fire(2);
	net_settle(&net);
	assert_int_equal(net_state(&net, 3, 0), DSM_EXCLUSIVE);
	net_unhold(&net, 3, 0);
	net.now = net.h[3].timer_ns;
	fire(3);
}

/* A reader and a writer of one host: the write needs no request of its own. */
static void write_joins_the_read(void **state)
{
	(void)state;
	make_migratory();
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(events(2, DSM_EV_COALESCED), 1);
	net_mark(&net);
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);
	assert_int_equal(net.sent, 4 - 1);
}

/* An offer is running; the owner, who has lost the page by then, asks again. */
static void giver_asks_again(void **state)
{
	(void)state;
	make_migratory();
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_S);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_S);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_deliver(&net, 1, 0, DSM_MSG_REQ_X);	/* queued: home has no DONE yet */
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 1);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	/* it was not written at 2 before it went */
	assert_false(migratory());
}

/* A third host's write and a walk wait behind an offer. */
static void queue_behind_an_offer(void **state)
{
	(void)state;
	make_migratory();
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_S);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	assert_int_equal(net_walk(&net, 4, 0), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_S);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_S);
	net_deliver(&net, 1, 2, DSM_MSG_DATA);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);
	net_unhold(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 3, 0), DSM_EXCLUSIVE);
	net_unhold(&net, 3, 0);
	net.now = net.h[3].timer_ns;
	fire(3);
	net_settle(&net);
	assert_int_equal(net_state(&net, 4, 0), DSM_SHARED);
	assert_int_equal(net_state(&net, 3, 0), DSM_OWNED);
}

/* Handing over finds a pin: nothing is mapped, nothing granted until it has gone. */
static void pinned_while_handed_over(void **state)
{
	(void)state;
	make_migratory();
	net.h[1].busy = 1;
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_true(net_info(&net, 1, 0).revoking);
	assert_int_equal(net.h[1].prot, DSM_PROT_NONE);
	assert_int_equal(net_access(&net, 1, 0, false), DSM_WAIT);
	net.now = net.h[1].timer_ns;
	fire(1);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
}

/* The same for a page that is not written: reads go on, no write slips in. */
static void pinned_while_clean(void **state)
{
	(void)state;
	make_migratory();
	take(2);
	net.h[2].busy = 1;
	assert_int_equal(net_access(&net, 3, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_true(net_info(&net, 2, 0).revoking);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_GRANTED);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	assert_int_equal(events(2, DSM_EV_MIGRATORY_WRITTEN), 0);
	net.now = net.h[2].timer_ns;
	fire(2);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_OWNED);
	assert_int_equal(net_state(&net, 3, 0), DSM_SHARED);
	net_unhold(&net, 3, 0);
	net_get(&net, 2, 0, true);
}

/* The new version is one more, also where the counter wraps. */
static void version_wraps(void **state)
{
	u32 i;

	(void)state;
	make_migratory();
	for (i = 0; i < 70000; i++)
		move_to(2 + (i & 1));
	assert_int_equal(events(0, DSM_EV_HOME_DEMOTE), 0);
	assert_int_equal(events(2, DSM_EV_READ_MIGRATORY), 35000);
	assert_int_equal(net_info(&net, 0, 0).home_version, 70002 & 0xffff);
}

#define T(name) cmocka_unit_test_prestate_setup_teardown(name, net_start_test, net_finish_test, &net)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(read_takes_the_page), T(home_takes_and_gives), T(write_after_read_is_local),
		T(producer_and_consumer), T(read_mostly), T(walks_leave_copies), T(switched_off),
		T(unwritten_page_stays), T(unwritten_page_is_written_elsewhere),
		T(unwritten_page_at_home), T(doubt), T(evidence_is_in_a_row),
		T(hold_then_written), T(hold_then_clean), T(hurry_for_an_offer),
		T(write_joins_the_read), T(giver_asks_again), T(queue_behind_an_offer),
		T(pinned_while_handed_over), T(pinned_while_clean), T(version_wraps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
