// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages asked for ahead: requests that nobody waits for, what becomes of what they bring,
 * and the predictor that says which to make.  gfn 0 is homed at host 0.
 */
#include "../ahead.h"
#include "net.h"

static struct net net;

static u64 events(u32 h, enum dsm_event ev)
{
	return net.h[h].events[ev];
}

static u64 faults(u32 h)
{
	u64 n = 0;
	u32 ev;

	for (ev = DSM_EV_FAULT_READ_0; ev <= DSM_EV_FAULT_ZERO_2; ev++)
		n += net.h[h].events[ev];
	return n;
}

static u64 used(u32 h)
{
	return events(h, DSM_EV_AHEAD_USED_READ) + events(h, DSM_EV_AHEAD_USED_WRITE);
}

static u64 wasted(u32 h)
{
	return events(h, DSM_EV_AHEAD_WASTED_READ) + events(h, DSM_EV_AHEAD_WASTED_WRITE);
}

static int ahead(u32 h, bool write)
{
	return dsm_ahead(&net.h[h].dsm, 0, write, net.now);
}

/* Access at @h, which is granted; was a wait spared? */
static bool use(u32 h, bool write)
{
	struct dsm_grant grant;

	assert_int_equal(dsm_access(&net.h[h].dsm, 0, write, net.now, net.now, &grant), DSM_GRANTED);
	return grant.spared;
}

static void a_copy_is_used(void **state)
{
	u64 before;

	(void)state;
	net_get(&net, 1, 0, true);
	*net_word(&net, 1, 0) = 5;
	before = faults(2);
	assert_int_equal(ahead(2, false), 1);
	assert_int_equal(ahead(2, false), 0);		/* it is under way */
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_SHARED);
	assert_int_equal(ahead(2, false), 0);		/* it is here */
	assert_int_equal(events(2, DSM_EV_AHEAD_READ), 1);
	assert_int_equal(used(2), 0);
	assert_true(use(2, false));
	assert_false(use(2, false));
	assert_int_equal(used(2), 1);
	assert_int_equal(faults(2), before);
	assert_int_equal(*net_word(&net, 2, 0), 5);
	/* It is held now, as if it had been waited for. */
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_INV);
	net_hold_ends(&net, 2, 0);
	net_settle(&net);
	assert_int_equal(wasted(2), 0);
}

static void a_copy_is_wasted(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(ahead(2, false), 1);
	net_settle(&net);
	net.now += 100 * DSM_TICK_NS;			/* its hold is over */
	net_get(&net, 1, 0, true);
	assert_int_equal(net_state(&net, 2, 0), DSM_INVALID);
	assert_int_equal(wasted(2), 1);
	assert_int_equal(events(2, DSM_EV_HOLD_DEFER), 0);
}

/* The hold of what is not used ends by itself, and soon if somebody older asks. */
static void unused_is_held_for_a_while(void **state)
{
	u64 came;

	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(ahead(2, false), 1);
	net_settle(&net);
	came = net.now;
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_INV);
	net_hold_ends(&net, 2, 0);
	assert_true(net.now > came && net.now <= came + 3 * DSM_MIN_RUN_FIRST_NS);
	net_settle(&net);
	assert_int_equal(wasted(2), 1);
}

static void write_access_is_used(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	assert_int_equal(ahead(2, true), 1);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	assert_false(net_info(&net, 2, 0).written);
	assert_int_equal(events(2, DSM_EV_FAULT_UPGRADE_2) + events(2, DSM_EV_FAULT_UPGRADE_3), 0);
	assert_true(use(2, true));
	assert_true(net_info(&net, 2, 0).written);
	assert_int_equal(used(2), 1);
	assert_int_equal(events(2, DSM_EV_MIGRATORY_WRITTEN), 0);
}

/* Read first: spared twice, once as a read, once as the write. */
static void write_access_is_read_first(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(ahead(2, true), 1);
	net_settle(&net);
	assert_true(use(2, false));
	assert_false(use(2, false));
	assert_true(use(2, true));
	assert_false(use(2, true));
	assert_int_equal(used(2), 1);
}

/* What nobody has used says nothing of migration, and does not go on as a whole. */
static void unused_is_not_clean(void **state)
{
	(void)state;
	net_get(&net, 2, 0, true);
	net_get(&net, 1, 0, false);
	net_get(&net, 1, 0, true);
	assert_true(net_info(&net, 0, 0).migratory);
	assert_int_equal(ahead(2, true), 1);
	net_settle(&net);
	net.now += 1000 * DSM_TICK_NS;
	assert_int_equal(net_access(&net, 3, 0, false), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_S);
	net_deliver(&net, 0, 2, DSM_MSG_FWD_S);
	assert_int_equal(net_state(&net, 2, 0), DSM_OWNED);
	net_settle(&net);
	assert_true(net_info(&net, 0, 0).migratory);
	assert_int_equal(events(2, DSM_EV_MIGRATORY_CLEAN), 0);
	assert_int_equal(net_state(&net, 3, 0), DSM_SHARED);
}

/* Who comes while it is under way waits: that is a fault. */
static void somebody_joins(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(ahead(2, false), 1);
	net.now += 10 * DSM_TICK_NS * 32;
	assert_int_equal(net_access_since(&net, 2, 0, false, net.now - 9 * DSM_TICK_NS * 32), DSM_WAIT);
	assert_int_equal(events(2, DSM_EV_AHEAD_LATE), 1);
	assert_int_equal(events(2, DSM_EV_COALESCED), 0);
	net_settle(&net);
	assert_int_equal(net.h[2].wakes, 1);
	assert_int_equal(events(2, DSM_EV_FAULT_READ_3), 1);
	assert_false(use(2, false));
	assert_int_equal(used(2), 0);
	/* ... and is held. */
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_INV);
	net_unhold(&net, 2, 0);
	net_hold_ends(&net, 2, 0);
}

/* An instruction older than the request: its home must know. */
static void somebody_older_joins(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net.now += 1000 * DSM_TICK_NS;
	assert_int_equal(ahead(2, false), 1);
	assert_int_equal(net_access_since(&net, 2, 0, false, net.now - 500 * DSM_TICK_NS), DSM_WAIT);
	assert_true(net_in_flight(&net, 2, 0, DSM_MSG_HURRY));
}

/* A held copy is for who waited for it: no request of our own may end that hold. */
static void not_of_what_is_held(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(ahead(2, true), 0);
	net_unhold(&net, 2, 0);
	assert_int_equal(ahead(2, true), 1);
}

static void not_where_something_goes_on(void **state)
{
	(void)state;
	assert_int_equal(ahead(0, false), 0);		/* never touched, and homed here */
	assert_int_equal(dsm_ahead(&net.h[0].dsm, NET_GFNS, false, net.now), 0);
	net_get(&net, 1, 0, true);
	assert_int_equal(ahead(1, true), 0);		/* Exclusive */
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_int_equal(ahead(0, false), 0);		/* the home's transaction runs */
	assert_int_equal(ahead(2, false), 0);
	net.skip_allocs = 0;
	net.fail_allocs = 1;
	assert_int_equal(ahead(3, false), 0);		/* no memory */
	assert_int_equal(net.fail_allocs, 0);
	dsm_fail(&net.h[4].dsm);
	assert_int_equal(ahead(4, false), 0);
	assert_int_equal(net.nr, 1);
}

/* A copy that is being upgraded ahead goes as any other does, and the page comes instead. */
static void an_upgrade_loses_its_copy(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	assert_int_equal(ahead(2, true), 1);
	net_settle(&net);
	net_hold_ends(&net, 3, 0);
	net_settle(&net);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
	assert_int_equal(events(2, DSM_EV_UPGRADE_LOST), 0);
	assert_int_equal(faults(2), 1);
}

/* ------------------------------------------------------------- predictor */

static struct dsm_ahead_table table;
static struct dsm_ahead_page out[DSM_AHEAD_MOST];
static u64 now;

static unsigned int miss(u64 gfn, bool write, bool spared)
{
	now += 10;
	return dsm_ahead_miss(&table, DSM_AHEAD_TRAINS, gfn, write, spared, now, 1000, out);
}

static void reset(void)
{
	memset(&table, 0, sizeof(table));
	now = 0;
}

static void a_train_is_learned(void **state)
{
	u32 round, nr = 0;

	(void)state;
	reset();
	for (round = 0; round < 3; round++) {
		now += 10000;
		nr = miss(100, false, false);
		if (round < 2) {
			assert_int_equal(nr, 0);
			miss(200, true, false);
			miss(300, false, false);
		}
	}
	assert_int_equal(nr, 2);
	assert_int_equal(out[0].gfn, 200);
	assert_true(out[0].write);
	assert_int_equal(out[1].gfn, 300);
	assert_false(out[1].write);
}

static void what_does_not_follow_is_forgotten(void **state)
{
	u32 round, asked = 0;

	(void)state;
	reset();
	for (round = 0; round < 4; round++) {
		now += 10000;
		miss(100, false, false);
		miss(200, false, round > 1);
	}
	for (round = 0; round < 10; round++) {
		now += 10000;
		asked += miss(100, false, false);
	}
	assert_true(asked > 0 && asked < 5);
	assert_int_equal(miss(100, false, false), 0);
}

/* What is used is asked for again; what is asked for and missed all the same is not always. */
static void what_is_used_is_trusted(void **state)
{
	u32 round, asked = 0;

	(void)state;
	reset();
	for (round = 0; round < 20; round++) {
		now += 10000;
		asked += miss(100, false, false);
		miss(200, false, round > 1);
	}
	assert_int_equal(asked, 18);
	/* From now on in vain: twice, then each eighth time.  Used again, it is worth it again. */
	for (asked = round = 0; round < 42; round++) {
		now += 10000;
		asked += miss(100, false, false);
		miss(200, false, false);
	}
	assert_int_equal(asked, 2 + 5);
	for (asked = round = 0; round < 24; round++) {
		u32 now_asked;

		now += 10000;
		now_asked = miss(100, false, false);
		miss(200, false, now_asked);
		asked += now_asked;
	}
	assert_true(asked > 8);
}

/* What was not asked for after all can not have been in vain. */
static void not_asked_is_not_in_vain(void **state)
{
	u32 round, asked = 0;

	(void)state;
	reset();
	for (round = 0; round < 20; round++) {
		now += 10000;
		if (miss(100, false, false)) {
			asked++;
			dsm_ahead_not(&out[0]);
		}
		miss(200, false, false);
	}
	assert_int_equal(asked, 18);
}

static void long_ago_is_not_before(void **state)
{
	u32 round;

	(void)state;
	reset();
	for (round = 0; round < 5; round++) {
		now += 10000;
		assert_int_equal(miss(100, false, false), 0);
		now += 1000;
		miss(200, false, false);
	}
}

/* A wait that a signal ended, and the next one for the same: one miss. */
static void a_retry_is_no_recurrence(void **state)
{
	u32 round, i;

	(void)state;
	reset();
	for (round = 0; round < 3; round++) {
		now += 10000;
		assert_int_equal(miss(100, false, false), round == 2);
		for (i = 0; i < 5; i++)
			assert_int_equal(miss(100, false, false), 0);
		miss(200, false, false);
	}
}

/* To be read and to be written, in either order: asked for once, to be written. */
static void once_for_both(void **state)
{
	u32 round;

	(void)state;
	reset();
	for (round = 0; round < 3; round++) {
		now += 10000;
		if (miss(100, false, false)) {
			assert_int_equal(round, 2);
			break;
		}
		miss(200, false, false);
		miss(200, true, false);
	}
	assert_int_equal(round, 2);
	assert_true(out[0].write);
	assert_int_equal(out[0].gfn, 200);
}

/* The third in a row, then each further one; in any order, read or written, not others. */
static void a_run_goes_on(void **state)
{
	static const u64 broken[] = { 10, 11, 13, 14, 12, 15, 17 };
	unsigned int nr, k;
	u64 gfn;
	size_t i;

	(void)state;
	reset();
	for (gfn = 100; gfn < 110; gfn++) {
		now += 100;
		nr = dsm_ahead_miss(&table, DSM_AHEAD_RUNS, gfn, gfn % 2, gfn > 103, now, 1000, out);
		assert_int_equal(nr, gfn < 102 ? 0 : DSM_AHEAD_RUN);
		for (k = 0; k < nr; k++) {
			assert_int_equal(out[k].gfn, gfn + 1 + k);
			assert_int_equal(out[k].write, gfn % 2);
			assert_null(out[k].next[0]);
			assert_null(out[k].next[1]);
		}
	}
	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		now += 100;
		nr = dsm_ahead_miss(&table, DSM_AHEAD_RUNS, broken[i], false, false, now, 1000, out);
		assert_int_equal(nr, broken[i] == 12 || broken[i] == 15 ? DSM_AHEAD_RUN : 0);
	}
	/* Too slow to be one. */
	for (gfn = 0; gfn < 10; gfn++) {
		now += 501;
		assert_int_equal(dsm_ahead_miss(&table, DSM_AHEAD_RUNS, gfn, false, false, now, 1000, out), 0);
	}
}

/* Any stream: never too many, never the page itself, never twice. */
static void bounded(void **state)
{
	u64 rng = 1, i;

	(void)state;
	reset();
	for (i = 0; i < 300000; i++) {
		unsigned int nr, a, b;
		u64 gfn;

		rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
		gfn = (rng >> 33) % 5000 < 4000 ? (rng >> 40) % 20 : (rng >> 40) % (1ULL << 24);
		nr = dsm_ahead_miss(&table, DSM_AHEAD_TRAINS, gfn, rng >> 62 & 1, rng >> 61 & 1, i * 100, 1000, out);
		assert_true(nr <= DSM_AHEAD_TRAIN);
		for (a = 0; a < nr; a++) {
			assert_int_not_equal(out[a].gfn, gfn);
			for (b = 0; b < a; b++)
				assert_int_not_equal(out[a].gfn, out[b].gfn);
		}
	}
}

#define T(f)	cmocka_unit_test_prestate_setup_teardown(f, net_start_test, net_finish_test, &net)
/* Left in the middle, or with a host that has failed. */
#define T_OPEN(f) cmocka_unit_test_prestate_setup_teardown(f, net_start_test, net_stop_test, &net)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_copy_is_used),
		T(a_copy_is_wasted),
		T(unused_is_held_for_a_while),
		T(write_access_is_used),
		T(write_access_is_read_first),
		T(unused_is_not_clean),
		T(somebody_joins),
		T(somebody_older_joins),
		T(not_of_what_is_held),
		T_OPEN(not_where_something_goes_on),
		T(an_upgrade_loses_its_copy),
		cmocka_unit_test(a_train_is_learned),
		cmocka_unit_test(what_does_not_follow_is_forgotten),
		cmocka_unit_test(what_is_used_is_trusted),
		cmocka_unit_test(not_asked_is_not_in_vain),
		cmocka_unit_test(long_ago_is_not_before),
		cmocka_unit_test(a_retry_is_no_recurrence),
		cmocka_unit_test(once_for_both),
		cmocka_unit_test(a_run_goes_on),
		cmocka_unit_test(bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
