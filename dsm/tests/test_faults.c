// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every kind of fault, alone: states before and after, how many messages, how
 * many of them carry a page, how long the critical path is.  In all tests gfn 0
 * is homed at host 0.
 */
#include "net.h"

static struct net net;

/* Take the fault and check its cost. */
static void fault(u32 h, bool write, u32 messages, u32 pages, enum dsm_event kind)
{
	u64 before = net.h[h].events[kind];

	net_mark(&net);
	net_get(&net, h, 0, write);
	assert_int_equal(net.sent, messages);
	assert_int_equal(net.pages_sent, pages);
	assert_int_equal(net.h[h].events[kind], before + 1);
	assert_int_equal(net.h[h].done[kind], before + 1);
}

static void first_touch_at_home(void **state)
{
	(void)state;
	fault(0, false, 0, 0, DSM_EV_FAULT_ZERO_0);
	assert_int_equal(net_state(&net, 0, 0), DSM_EXCLUSIVE);
	assert_int_equal(*net_word(&net, 0, 0), 0);
	assert_int_equal(net.h[0].events[DSM_EV_READ_EXCLUSIVE], 1);
	/* and the write that follows is no fault */
	net_mark(&net);
	assert_int_equal(net_access(&net, 0, 0, true), DSM_GRANTED);
	assert_int_equal(net.sent, 0);
}

static void first_touch_elsewhere(void **state)
{
	(void)state;
	/* REQ_S, DATA "zero"; home has answered alone and needs no DONE */
	fault(1, false, 2, 0, DSM_EV_FAULT_ZERO_2);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
	assert_int_equal(net_info(&net, 0, 0).owner, 1);
}

static void first_touch_by_write(void **state)
{
	(void)state;
	fault(1, true, 2, 0, DSM_EV_FAULT_ZERO_2);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[1].events[DSM_EV_READ_EXCLUSIVE], 0);
}

static void read_from_home(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	*net_word(&net, 0, 0) = 42;
	fault(1, false, 2, 1, DSM_EV_FAULT_READ_2);	/* REQ_S, DATA */
	assert_int_equal(net_state(&net, 0, 0), DSM_OWNED);
	assert_int_equal(net_state(&net, 1, 0), DSM_SHARED);
	assert_int_equal(net.h[0].prot, DSM_PROT_READ);
	assert_int_equal(*net_word(&net, 1, 0), 42);
	/* a second reader costs the owner no protect() */
	net.h[0].protects = 0;
	fault(2, false, 2, 1, DSM_EV_FAULT_READ_2);
	assert_int_equal(net.h[0].protects, 0);
	assert_int_equal(net_info(&net, 0, 0).sharers, 6);
}

static void read_from_third(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	*net_word(&net, 1, 0) = 43;
	fault(2, false, 4, 1, DSM_EV_FAULT_READ_3);	/* REQ_S, FWD_S, DATA, DONE */
	assert_int_equal(net_state(&net, 1, 0), DSM_OWNED);
	assert_int_equal(*net_word(&net, 2, 0), 43);
}

static void read_by_home(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	*net_word(&net, 1, 0) = 44;
	fault(0, false, 2, 1, DSM_EV_FAULT_READ_2);	/* FWD_S, DATA */
	assert_int_equal(net_state(&net, 0, 0), DSM_SHARED);
	assert_int_equal(*net_word(&net, 0, 0), 44);
	/* now home has a copy and supplies it itself: two messages on the path, not three */
	fault(2, false, 2, 1, DSM_EV_FAULT_READ_2);
	assert_int_equal(*net_word(&net, 2, 0), 44);
}

static void write_from_home(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	*net_word(&net, 0, 0) = 45;
	fault(1, true, 2, 1, DSM_EV_FAULT_WRITE_2);	/* REQ_X, DATA */
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net.h[0].prot, DSM_PROT_NONE);
	assert_int_equal(*net_word(&net, 1, 0), 45);
}

/* Home owns, 1 and 2 share, 3 writes: REQ_X, 2 INV, DATA, 2 INV_ACK, DONE. */
static void write_from_home_with_sharers(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	net_get(&net, 1, 0, false);
	net_get(&net, 2, 0, false);
	fault(3, true, 7, 1, DSM_EV_FAULT_WRITE_3);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
}

static void write_from_third(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	*net_word(&net, 1, 0) = 46;
	fault(2, true, 4, 1, DSM_EV_FAULT_WRITE_3);	/* REQ_X, FWD_X, DATA, DONE */
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	assert_int_equal(*net_word(&net, 2, 0), 46);
}

static void write_by_home(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	fault(0, true, 2, 1, DSM_EV_FAULT_WRITE_2);	/* FWD_X, DATA */
	assert_int_equal(net_state(&net, 0, 0), DSM_EXCLUSIVE);
}

/* Owner 1, sharers 2 and 3; host 4 has nothing and writes. */
static void write_with_sharers(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	/* REQ_X, FWD_X, 2 INV, DATA, 2 INV_ACK, DONE */
	fault(4, true, 8, 1, DSM_EV_FAULT_WRITE_3);
	assert_int_equal(net_state(&net, 2, 0), DSM_INVALID);
	assert_int_equal(net_state(&net, 4, 0), DSM_EXCLUSIVE);
}

/* The invalidations are all on their way before any of them is answered. */
static void invalidations_in_parallel(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	assert_int_equal(net_access(&net, 4, 0, true), DSM_WAIT);
	net_deliver(&net, 4, 0, DSM_MSG_REQ_X);
	assert_true(net_in_flight(&net, 0, 1, DSM_MSG_FWD_X));
	assert_true(net_in_flight(&net, 0, 2, DSM_MSG_INV));
	assert_true(net_in_flight(&net, 0, 3, DSM_MSG_INV));
	net_settle(&net);
}

/* Home owns, host 1 shares and upgrades: REQ_X, DATA "same". */
static void upgrade_from_home(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	*net_word(&net, 0, 0) = 47;
	net_get(&net, 1, 0, false);
	fault(1, true, 2, 0, DSM_EV_FAULT_UPGRADE_2);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(*net_word(&net, 1, 0), 47);
}

/* Owner 1, sharers 2 and 3; 2 upgrades: REQ_X, FWD_X, INV, DATA "same", INV_ACK, DONE. */
static void upgrade_by_sharer(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	fault(2, true, 6, 0, DSM_EV_FAULT_UPGRADE_3);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
	assert_int_equal(net_state(&net, 2, 0), DSM_EXCLUSIVE);
}

/* Owner 1 upgrades over sharers 2 and 3: REQ_X, DATA "same", 2 INV, 2 INV_ACK, DONE. */
static void upgrade_by_owner(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	fault(1, true, 7, 0, DSM_EV_FAULT_UPGRADE_3);
	assert_int_equal(net_state(&net, 1, 0), DSM_EXCLUSIVE);
	assert_int_equal(net_state(&net, 3, 0), DSM_INVALID);
}

/* Owner 1 upgrades, only home shares: home gives up its copy and answers in one message. */
static void upgrade_over_home(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 0, 0, false);
	fault(1, true, 2, 0, DSM_EV_FAULT_UPGRADE_2);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
}

/* Home owns and upgrades over two sharers: 2 INV, 2 INV_ACK. */
static void upgrade_by_home_owner(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	net_get(&net, 1, 0, false);
	net_get(&net, 2, 0, false);
	fault(0, true, 4, 0, DSM_EV_FAULT_UPGRADE_2);
	assert_int_equal(net_state(&net, 0, 0), DSM_EXCLUSIVE);
}

/* Home shares, 1 owns, home upgrades: FWD_X "same", DATA "same". */
static void upgrade_by_home_sharer(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 0, 0, false);
	fault(0, true, 2, 0, DSM_EV_FAULT_UPGRADE_2);
	assert_int_equal(net_state(&net, 1, 0), DSM_INVALID);
}

/* 1 owns, home and 2 share, 3 writes: home's own copy goes without an INV message. */
static void write_over_home_sharer(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 0, 0, false);
	net_get(&net, 2, 0, false);
	/* REQ_X, FWD_X, INV, DATA, 2 INV_ACK, DONE */
	fault(3, true, 7, 1, DSM_EV_FAULT_WRITE_3);
	assert_int_equal(net_state(&net, 0, 0), DSM_INVALID);
}

static void migratory_is_counted(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	net_get(&net, 2, 0, false);
	net_get(&net, 2, 0, true);
	assert_int_equal(net.h[0].events[DSM_EV_HOME_MIGRATORY], 1);
	/* two readers before the write: it stays where it is */
	net_get(&net, 1, 3, true);
	net_get(&net, 2, 3, false);
	net_get(&net, 3, 3, false);
	net_get(&net, 3, 3, true);
	assert_int_equal(net.h[3].events[DSM_EV_HOME_MIGRATORY], 0);
}

/* The version wraps in the entry (8 bits) and in the directory (16 bits). */
/* From the request to the last answer, whoever joins or looks in between. */
static void time_of_a_request(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	net.now += 1000000;
	assert_int_equal(net_access(&net, 1, 0, false), DSM_WAIT);
	net.now += 300;
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net.now += 45;
	net_deliver(&net, 1, 0, DSM_MSG_REQ_S);
	net.now += 6000;
	net_deliver(&net, 0, 1, DSM_MSG_DATA);
	assert_int_equal(net.h[1].done[DSM_EV_FAULT_READ_2], 1);
	assert_int_equal(net.h[1].done_ns, 6345);
	net_settle(&net);
	fault(1, true, 2, 0, DSM_EV_FAULT_UPGRADE_2);
}

static void version_wraps(void **state)
{
	u32 i;

	(void)state;
	for (i = 0; i < 70000; i++) {
		net_get(&net, i & 1, 0, true);
		if (i % 251 == 0)
			net_get(&net, 2, 0, false);
	}
	assert_int_equal(net_info(&net, 0, 0).home_version, 70000 & 0xffff);
}

static void metadata_budget(void **state)
{
	(void)state;
	assert_true(sizeof(struct dsm_page) <= 16);
	assert_true(sizeof(struct dsm_page) + sizeof(struct dsm_home) <= 32);
}

static void not_covered(void **state)
{
	(void)state;
	assert_int_equal(net_access(&net, 0, NET_GFNS, false), -ENOENT);
	assert_int_equal(net_access(&net, 0, ~0ULL, true), -ENOENT);
	assert_false(dsm_covers(&net.h[0].dsm, NET_GFNS));
	assert_int_equal(dsm_home_of(&net.h[0].dsm, NET_GFNS), DSM_NO_HOST);
	assert_int_equal(dsm_home_of(&net.h[0].dsm, 3), 3);
}

static void bad_config(void **state)
{
	struct dsm_config good = net.h[1].dsm.cfg, c;
	struct dsm_range ranges[2] = { net.h[1].ranges[0], net.h[1].ranges[1] };
	struct dsm d;

	(void)state;
	good.ranges = ranges;
	good.nr_ranges = 2;
	good.hold_limit_ns = 0;
	assert_int_equal(dsm_init(&d, &good), 0);
#define REFUSED(change) do {						\
		c = good;						\
		ranges[0] = net.h[1].ranges[0];				\
		ranges[1] = net.h[1].ranges[1];				\
		change;							\
		assert_int_equal(dsm_init(&d, &c), -EINVAL);		\
	} while (0)
	REFUSED(c.nr_hosts = 0);
	REFUSED(c.nr_hosts = DSM_MAX_HOSTS + 1);
	REFUSED(c.host = c.nr_hosts);
	REFUSED(c.nr_ranges = 0);
	REFUSED(c.ops = NULL);
	REFUSED(c.hold_max_ns = 600000000);
	REFUSED(ranges[0].nr_gfns = 0);
	REFUSED(ranges[0].nr_gfns = 2);			/* overlaps */
	REFUSED(ranges[1].nr_gfns = ~0ULL);		/* wraps */
	REFUSED(ranges[1].host = NET_HOSTS);
	REFUSED(ranges[1].homes = NULL);		/* is homed here */
	REFUSED(ranges[0].homes = &net.h[1].home);	/* is not */
	REFUSED(ranges[0].pages = NULL);
	/* A single host may have no pages at all. */
	good.nr_ranges = good.host = 0;
	good.nr_hosts = 1;
	assert_int_equal(dsm_init(&d, &good), 0);
	assert_false(dsm_covers(&d, 0));
	assert_int_equal(dsm_home_of(&d, 0), DSM_NO_HOST);
	dsm_teardown(&d);
}

#define T(name) cmocka_unit_test_prestate_setup_teardown(name, net_start_test, net_finish_test, &net)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(first_touch_at_home), T(first_touch_elsewhere), T(first_touch_by_write),
		T(read_from_home), T(read_from_third), T(read_by_home),
		T(write_from_home), T(write_from_home_with_sharers), T(write_from_third), T(write_by_home),
		T(write_with_sharers), T(invalidations_in_parallel),
		T(upgrade_from_home), T(upgrade_by_sharer), T(upgrade_by_owner),
		T(upgrade_over_home), T(upgrade_by_home_owner), T(upgrade_by_home_sharer),
		T(write_over_home_sharer), T(migratory_is_counted), T(time_of_a_request),
		T(version_wraps),
		T(metadata_budget), T(not_covered), T(bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
