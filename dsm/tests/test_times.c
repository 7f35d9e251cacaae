// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Travel times: what is measured, what is not, and the hold times that follow.
 *
 * Page n is homed at host n.
 */
#include <string.h>

#include "net.h"

#define US 1000ULL
#define MS 1000000ULL

static struct net net;

/* Host @h writes page @gfn, which another has: home's answer takes @there_ns, the page @back_ns. */
static void fetch(u32 h, u64 gfn, u64 there_ns, u64 back_ns)
{
	assert_int_equal(net_access(&net, h, gfn, true), DSM_WAIT);
	net.now += there_ns;
	while (net.nr && net.queue[0].to != h)
		net_deliver(&net, net.queue[0].from, net.queue[0].to, net.queue[0].msg.type);
	net.now += back_ns;
	net_settle(&net);
	assert_int_equal(net_access(&net, h, gfn, true), DSM_GRANTED);
	net_unhold(&net, h, gfn);
}

static u64 travel(u32 h, u32 home)
{
	return dsm_travel_ns(&net.h[h].dsm, home);
}

/* Within the units of the clock, from @want_us. */
static void assert_us(u64 ns, u64 want_us)
{
	assert_in_range(ns, want_us * US - want_us * US / 50 - 2048, want_us * US + want_us * US / 50 + 2048);
}

static void page_is_measured(void **state)
{
	(void)state;
	assert_int_equal(travel(1, 0), 0);
	assert_int_equal(dsm_min_run_ns(&net.h[1].dsm, 0), DSM_MIN_RUN_FIRST_NS);
	net_get(&net, 0, 0, true);
	fetch(1, 0, 100 * US, 200 * US);
	assert_us(travel(1, 0), 300);
	/* what is not known of a home is as for the others */
	assert_us(travel(1, 2), 300);
	assert_us(dsm_min_run_ns(&net.h[1].dsm, 0), 300);
	assert_int_equal(travel(0, 1), 0);
	/* beyond the hosts that there are */
	assert_us(travel(1, 77), 300);
}

/* The first touch and an upgrade bring no page: they are faster than one. */
static void headers_are_not(void **state)
{
	(void)state;
	fetch(1, 0, 10 * US, 10 * US);
	assert_int_equal(net.h[1].events[DSM_EV_FAULT_ZERO_2], 1);
	net_get(&net, 2, 0, false);
	net_unhold(&net, 1, 0);
	fetch(1, 0, 10 * US, 10 * US);
	assert_int_equal(net.h[1].events[DSM_EV_FAULT_UPGRADE_3], 1);
	assert_int_equal(travel(1, 0), 0);
	/* a page came for reading */
	assert_int_not_equal(travel(2, 0), 0);
}

/* Neither the turn at home nor a hold, nor a pin, of a third host. */
static void waits_are_not(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
	net_deliver(&net, 2, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	net.now += 100 * US;
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	assert_int_equal(net_info(&net, 0, 0).nr_waiting, 1);
	/* 7 ms for its turn */
	net.now += 7 * MS;
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, true), DSM_GRANTED);
	/* then 5 ms for the hold, and 3 for a pin */
	assert_int_equal(net_info(&net, 2, 0).deferred, DSM_MSG_FWD_X);
	net.now += 5 * MS;
	net.h[2].busy = 1;
	dsm_hold(&net.h[2].dsm, 0, 0, net.now, net.now);
	assert_int_equal(dsm_timer(&net.h[2].dsm, 0, net.now), 0);
	assert_true(net_info(&net, 2, 0).revoking);
	net.now += 3 * MS;
	assert_int_equal(dsm_timer(&net.h[2].dsm, 0, net.now), 0);
	net.now += 200 * US;
	net_settle(&net);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_GRANTED);
	assert_us(travel(3, 0), 300);
	net_unhold(&net, 3, 0);
}

/* ... nor those for a copy that has to go: the last acknowledgement counts. */
static void waits_for_copies_are_not(void **state)
{
	(void)state;
	net_get(&net, 1, 0, true);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_access(&net, 2, 0, false), DSM_GRANTED);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_WAIT);
	net.now += 150 * US;
	net_deliver(&net, 3, 0, DSM_MSG_REQ_X);
	net_deliver(&net, 0, 2, DSM_MSG_INV);
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 3, DSM_MSG_DATA);
	net.now += 6 * MS;
	dsm_hold(&net.h[2].dsm, 0, 0, net.now, net.now);
	assert_int_equal(dsm_timer(&net.h[2].dsm, 0, net.now), 0);
	net.now += 250 * US;
	net_settle(&net);
	assert_int_equal(net_state(&net, 3, 0), DSM_EXCLUSIVE);
	assert_us(travel(3, 0), 400);
	assert_int_equal(net_access(&net, 3, 0, true), DSM_GRANTED);
	net_unhold(&net, 3, 0);
}

static void average_follows(void **state)
{
	u64 one;
	u32 i;

	(void)state;
	net_get(&net, 0, 0, true);
	fetch(1, 0, 50 * US, 50 * US);
	/* one that is much slower counts for at most three parts in eight */
	net_get(&net, 0, 0, true);
	fetch(1, 0, 50 * US, 100 * MS);
	one = travel(1, 0);
	assert_us(one, 137);
	/* a network that has become slower is noticed all the same */
	for (i = 0; i < 40; i++) {
		net_get(&net, 0, 0, true);
		fetch(1, 0, MS, MS);
	}
	assert_in_range(travel(1, 0), 1900 * US, 2010 * US);
}

static void limits(void **state)
{
	const struct dsm *d = &net.h[1].dsm;
	u32 i;

	(void)state;
	net_get(&net, 0, 0, true);
	fetch(1, 0, 1 * US, 1 * US);
	assert_int_equal(dsm_min_run_ns(d, 0), DSM_MIN_RUN_LEAST_NS);
	assert_int_equal(dsm_hold_max_ns(d, 0), 20 * MS);
	for (i = 0; i < 60; i++) {
		net_get(&net, 0, 0, true);
		fetch(1, 0, 8 * MS, 7 * MS);
	}
	assert_in_range(dsm_min_run_ns(d, 0), 14 * MS, 15 * MS + 10 * US);
	assert_in_range(dsm_hold_max_ns(d, 0), 115 * MS, 121 * MS);
	for (i = 0; i < 60; i++) {
		net_get(&net, 0, 0, true);
		fetch(1, 0, 700 * MS, 700 * MS);
	}
	assert_int_equal(dsm_min_run_ns(d, 0), DSM_MIN_RUN_MOST_NS);
	assert_int_equal(dsm_hold_max_ns(d, 0), 500 * MS);
}

/* What is left of a hold for an older asker: a travel time. */
static void yields_for_a_travel(void **state)
{
	(void)state;
	net_get(&net, 0, 0, true);
	fetch(1, 0, 200 * US, 300 * US);
	net_get(&net, 0, 0, true);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net.now += 500 * US;
	net_settle(&net);
	assert_int_equal(net_access_since(&net, 2, 0, true, net.now - 100 * MS), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net.h[1].events[DSM_EV_HOLD_YIELD], 1);
	assert_us(net.h[1].timer_ns - net.now, 500);
	net.now = net.h[1].timer_ns;
	assert_int_equal(dsm_timer(&net.h[1].dsm, 0, net.now), 0);
	net_settle(&net);
}

/* Short holds are not rounded to more than two units; long ones by less than 1 %. */
static void holds_are_exact(void **state)
{
	static const u64 lengths[] = { 20 * US, 50 * US, 300 * US, 5 * MS, 40 * MS, 400 * MS };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		u64 since = net.now, until;

		net_get(&net, 0, 0, true);
		assert_int_equal(net_access_since(&net, 1, 0, true, since), DSM_WAIT);
		net_settle(&net);
		until = net.now + lengths[i];
		dsm_hold(&net.h[1].dsm, 0, since, until, net.now);
		assert_int_equal(net_access(&net, 2, 0, true), DSM_WAIT);
		net_settle(&net);
		while (net_info(&net, 1, 0).deferred) {
			assert_true(net.now < until + lengths[i] / 100 + 2 * DSM_HOLD_NS);
			net.now = net.h[1].timer_ns;
			assert_int_equal(dsm_timer(&net.h[1].dsm, 0, net.now), 0);
		}
		assert_in_range(net.now, until, until + lengths[i] / 100 + 2 * DSM_HOLD_NS);
		net_settle(&net);
		net_unhold(&net, 2, 0);
	}
}

static void delays_on_the_wire(void **state)
{
	u32 delay, last = 0;

	(void)state;
	for (delay = 0; delay < DSM_DELAY_MOST + 1000; delay++) {
		u32 back = dsm_delay_unpack(dsm_delay_pack(delay));

		if (delay < 1U << 15)
			assert_int_equal(back, delay);
		else if (delay < DSM_DELAY_MOST)
			assert_in_range(back, delay - 16, delay + 16);
		else
			assert_int_equal(back, DSM_DELAY_MOST);
		assert_true(back >= last);
		last = back;
	}
	assert_int_equal(dsm_delay_pack(~0U), 0xffff);
}

static void relax(void *ctx)
{
	(*(unsigned int *)ctx)++;
}

/* The end of a large space is long: others run meanwhile. */
static void end_relaxes(void **state)
{
	enum { PAGES = 100000 };
	static struct dsm_page pages[PAGES];
	static struct dsm_home homes[PAGES];
	struct dsm_range range = { .nr_gfns = PAGES, .pages = pages, .homes = homes };
	static const struct dsm_ops ops = { .relax = relax };
	unsigned int times = 0;
	struct dsm_config cfg = {
		.ops = &ops, .ctx = &times, .ranges = &range, .nr_ranges = 1, .nr_hosts = 1,
	};
	struct dsm d;

	(void)state;
	assert_int_equal(dsm_init(&d, &cfg), 0);
	dsm_teardown(&d);
	assert_in_range(times, PAGES / 4096, PAGES / 64);
}

#define T(name) cmocka_unit_test_prestate_setup_teardown(name, net_start_test, net_finish_test, &net)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(page_is_measured), T(headers_are_not), T(waits_are_not), T(waits_for_copies_are_not),
		T(average_follows), T(limits), T(yields_for_a_travel), T(holds_are_exact),
		T(delays_on_the_wire), T(end_relaxes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
