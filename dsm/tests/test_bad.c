// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages that no honest peer sends, in every state they could meet: each is
 * refused, ends the space, and leaks nothing.  gfn 0 is homed at host 0.
 */
#include "net.h"

static struct net net;

enum scene {
	IDLE,		/* nobody has touched the page */
	E1,		/* Exclusive at 1 */
	O1_S23,		/* Owned at 1, Shared at 2 and 3 */
	REQ_S4,		/* O1_S23, and 4 has asked to read, not yet delivered */
	REQ_X4,		/* O1_S23, and 4 has asked to write, not yet delivered */
	TXN_S4,		/* REQ_S4 delivered at home, its messages are in flight */
	TXN_X4,		/* REQ_X4 delivered at home, its messages are in flight */
	ANSWERED_X4,	/* TXN_X4, and 4 has DATA but lacks both acknowledgements */
};

static void play(enum scene scene)
{
	net_start(&net);
	if (scene == IDLE)
		return;
	net_get(&net, 1, 0, true);
	if (scene == E1)
		return;
	net_get(&net, 2, 0, false);
	net_get(&net, 3, 0, false);
	if (scene == O1_S23)
		return;
	assert_int_equal(net_access(&net, 4, 0, scene != REQ_S4 && scene != TXN_S4), DSM_WAIT);
	if (scene == REQ_S4 || scene == REQ_X4)
		return;
	net_deliver(&net, 4, 0, scene == TXN_S4 ? DSM_MSG_REQ_S : DSM_MSG_REQ_X);
	if (scene == TXN_X4 || scene == TXN_S4)
		return;
	net_deliver(&net, 0, 1, DSM_MSG_FWD_X);
	net_deliver(&net, 1, 4, DSM_MSG_DATA);
}

#define M(...)	{ .epoch = NET_EPOCH, __VA_ARGS__ }
#define REQ_S	.type = DSM_MSG_REQ_S
#define REQ_X	.type = DSM_MSG_REQ_X
#define FWD_S	.type = DSM_MSG_FWD_S
#define FWD_X	.type = DSM_MSG_FWD_X
#define INV	.type = DSM_MSG_INV
#define DATA	.type = DSM_MSG_DATA
#define ACK	.type = DSM_MSG_INV_ACK
#define DONE	.type = DSM_MSG_DONE
#define HURRY	.type = DSM_MSG_HURRY
#define SAME	.flags = DSM_F_EXCL | DSM_F_SAME
#define ZERO	.flags = DSM_F_EXCL | DSM_F_ZERO
#define PAGE	.flags = DSM_F_EXCL, .length = DSM_PAGE_SIZE
#define RPAGE	.length = DSM_PAGE_SIZE

static const struct bad {
	const char *what;
	enum scene scene;
	u32 at, from;
	struct dsm_msg msg;
} bad[] = {
	/* shape and addresses */
	{ "type 0", E1, 1, 0, M(.type = 0, .requester = 2) },
	{ "link type", E1, 1, 0, M(.type = DSM_MSG_LINK) },
	{ "type 99", E1, 1, 0, M(.type = 99) },
	{ "requester not of this space", E1, 1, 0, M(FWD_X, .requester = 5, .version = 2) },
	{ "sender not of this space", E1, 1, 17, M(FWD_X, .requester = 2, .version = 2) },
	{ "sender is this host", E1, 1, 1, M(FWD_X, .requester = 2, .version = 2) },
	{ "page not covered", E1, 1, 0, M(FWD_X, .requester = 2, .version = 2, .gfn = 77) },
	{ "highest page", E1, 1, 0, M(FWD_X, .requester = 2, .version = 2, .gfn = ~0ULL) },
	{ "page with a request", E1, 0, 2, M(REQ_S, .requester = 2, .length = DSM_PAGE_SIZE) },
	{ "request to a host that is not home", E1, 1, 2, M(REQ_S, .requester = 2) },
	{ "request for another", E1, 0, 2, M(REQ_S, .requester = 3) },
	{ "done to a host that is not home", E1, 1, 2, M(DONE, .requester = 2) },
	{ "forward from a host that is not home", E1, 1, 3, M(FWD_X, .requester = 2, .version = 2) },
	{ "forward for this host", E1, 1, 0, M(FWD_X, .requester = 1, .version = 2) },
	{ "hurry from a host that is not home", E1, 1, 3, M(HURRY, .requester = 2) },
	{ "hurry for this host", E1, 1, 0, M(HURRY, .requester = 1) },
	{ "data for another", REQ_X4, 4, 1, M(DATA, PAGE, .requester = 3, .version = 2) },
	{ "acknowledgement for another", TXN_X4, 4, 2, M(ACK, .requester = 3, .version = 2) },
	{ "another epoch", E1, 1, 0, { FWD_X, .epoch = 8, .requester = 2, .version = 2 } },
	/* requests */
	{ "read by the owner", E1, 0, 1, M(REQ_S, .requester = 1) },
	{ "read by a sharer", O1_S23, 0, 2, M(REQ_S, .requester = 2) },
	{ "write by the Exclusive owner", E1, 0, 1,
	  M(REQ_X, .requester = 1, .flags = DSM_F_HAVE, .version = 1) },
	{ "upgrade of another version", O1_S23, 0, 2,
	  M(REQ_X, .requester = 2, .flags = DSM_F_HAVE, .version = 9) },
	{ "write by a sharer that says it has nothing", O1_S23, 0, 2, M(REQ_X, .requester = 2) },
	{ "second request of the running one's host", TXN_X4, 0, 4, M(REQ_X, .requester = 4) },
	/* done */
	{ "done of an idle page", E1, 0, 1, M(DONE, .requester = 1, .flags = DSM_F_EXCL, .version = 2) },
	{ "done by another host", TXN_X4, 0, 2, M(DONE, .requester = 2, .flags = DSM_F_EXCL, .version = 2) },
	{ "done of another version", TXN_X4, 0, 4,
	  M(DONE, .requester = 4, .flags = DSM_F_EXCL, .version = 3) },
	{ "done of a write that is not Exclusive", TXN_X4, 0, 4, M(DONE, .requester = 4, .version = 1) },
	{ "done of a read that is Exclusive, unasked", TXN_S4, 0, 4,
	  M(DONE, .requester = 4, .flags = DSM_F_EXCL, .version = 2) },
	/* forwards and invalidations */
	{ "page with copies handed over on a read", O1_S23, 1, 0,
	  M(FWD_S, .flags = DSM_F_EXCL, .requester = 4, .version = 1) },
	{ "acknowledgements of an Exclusive page", E1, 1, 0,
	  M(FWD_X, .requester = 4, .version = 2, .acks = 1) },
	{ "forward of an absent page", E1, 2, 0, M(FWD_S, .requester = 3, .version = 1) },
	{ "write forward of an absent page", E1, 2, 0, M(FWD_X, .requester = 3, .version = 2) },
	{ "invalidation of an absent page", E1, 2, 0, M(INV, .requester = 3, .version = 2) },
	{ "invalidation of an Owned page", O1_S23, 1, 0, M(INV, .requester = 3, .version = 2) },
	{ "invalidation of an Exclusive page", E1, 1, 0, M(INV, .requester = 3, .version = 2) },
	{ "forward to a sharer that is not home", O1_S23, 2, 0, M(FWD_S, .requester = 4, .version = 1) },
	{ "write forward to a sharer", O1_S23, 2, 0, M(FWD_X, .requester = 4, .version = 2) },
	{ "same-forward of an Exclusive page", E1, 1, 0,
	  M(FWD_X, .flags = DSM_F_SAME, .requester = 4, .version = 2) },
	{ "read forward of another version", E1, 1, 0, M(FWD_S, .requester = 4, .version = 2) },
	{ "write forward of another version", E1, 1, 0, M(FWD_X, .requester = 4, .version = 1) },
	{ "invalidation of another version", O1_S23, 2, 0, M(INV, .requester = 4, .version = 5) },
	{ "forward after the answer", ANSWERED_X4, 4, 0, M(FWD_X, .requester = 2, .version = 3) },
	/* answers */
	{ "data nobody asked for", E1, 2, 1, M(DATA, PAGE, .requester = 2, .version = 2) },
	{ "data at the owner", E1, 1, 0, M(DATA, SAME, .requester = 1, .version = 2) },
	{ "shared page for a write", REQ_X4, 4, 1, M(DATA, RPAGE, .requester = 4, .version = 1) },
	{ "acknowledgements for a read", REQ_S4, 4, 1,
	  M(DATA, PAGE, .requester = 4, .version = 2, .acks = 1) },
	{ "same for a read", REQ_S4, 4, 1, M(DATA, SAME, .requester = 4, .version = 2) },
	{ "same for an absent page", REQ_X4, 4, 0, M(DATA, SAME, .requester = 4, .version = 2) },
	{ "zero from a host that is not home", REQ_X4, 4, 1, M(DATA, ZERO, .requester = 4, .version = 1) },
	{ "zero of a touched page", REQ_X4, 4, 0, M(DATA, ZERO, .requester = 4, .version = 5) },
	{ "more acknowledgements than hosts", REQ_X4, 4, 1,
	  M(DATA, PAGE, .requester = 4, .version = 2, .acks = 5) },
	{ "second answer", ANSWERED_X4, 4, 1, M(DATA, PAGE, .requester = 4, .version = 2, .acks = 2) },
	{ "acknowledgement nobody waits for", E1, 2, 1, M(ACK, .requester = 2, .version = 2) },
	{ "acknowledgement of a read", REQ_S4, 4, 1, M(ACK, .requester = 4, .version = 2) },
	{ "acknowledgement of another version", ANSWERED_X4, 4, 2, M(ACK, .requester = 4, .version = 7) },
};

static void refused(void **state)
{
	size_t i;
	int ret;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct bad *b = &bad[i];

		play(b->scene);
		ret = net_inject(&net, b->at, b->from, &b->msg, b->msg.length);
		if (ret != (b->msg.epoch == NET_EPOCH ? -EPROTO : -ESTALE))
			fail_msg("%s: returns %d", b->what, ret);
		if (!dsm_failed(&net.h[b->at].dsm))
			fail_msg("%s: the space goes on", b->what);
		/* a failed space takes nothing more, and gives frames back */
		ret = net_inject(&net, b->at, b->from, &b->msg, b->msg.length);
		assert_int_equal(ret, -EIO);
		net_stop(&net);
	}
}

static void duplicate_ack(void **state)
{
	const struct dsm_msg ack = M(ACK, .requester = 4, .version = 2);

	(void)state;
	play(ANSWERED_X4);
	assert_int_equal(net_inject(&net, 4, 2, &ack, false), 0);
	assert_int_equal(net_inject(&net, 4, 2, &ack, false), -EPROTO);
	net_stop(&net);
}

/* More acknowledgements than the answer that follows wants. */
static void too_many_acks(void **state)
{
	const struct dsm_msg ack = M(ACK, .requester = 4, .version = 2);

	(void)state;
	play(REQ_X4);
	assert_int_equal(net_inject(&net, 4, 2, &ack, false), 0);
	assert_int_equal(net_inject(&net, 4, 3, &ack, false), 0);
	assert_int_equal(net_inject(&net, 4, 1, &(struct dsm_msg)M(DATA, PAGE, .requester = 4,
				    .version = 2, .acks = 1), true), -EPROTO);
	net_stop(&net);
}

static void second_queued_request(void **state)
{
	const struct dsm_msg req = M(REQ_X, .requester = 3, .flags = DSM_F_HAVE, .version = 1);

	(void)state;
	play(TXN_X4);
	assert_int_equal(net_inject(&net, 0, 3, &req, false), 0);
	assert_int_equal(net_inject(&net, 0, 3, &req, false), -EPROTO);
	net_stop(&net);
}

/* A second revocation while one is deferred. */
static void second_deferred(void **state)
{
	const struct dsm_msg fwd = M(FWD_X, .requester = 3, .version = 2);

	(void)state;
	net_start(&net);
	assert_int_equal(net_access(&net, 1, 0, true), DSM_WAIT);
	net_settle(&net);
	assert_int_equal(net_inject(&net, 1, 0, &fwd, false), 0);
	assert_int_equal(net_info(&net, 1, 0).deferred, DSM_MSG_FWD_X);
	assert_int_equal(net_inject(&net, 1, 0, &fwd, false), -EPROTO);
	net_stop(&net);
}

static void page_where_none_belongs(void **state)
{
	const struct dsm_msg inv = M(INV, .requester = 4, .version = 2);
	const struct dsm_msg data = M(DATA, PAGE, .requester = 4, .version = 2);

	(void)state;
	play(O1_S23);
	assert_int_equal(net_inject(&net, 2, 0, &inv, true), -EPROTO);
	net_stop(&net);
	play(REQ_X4);
	assert_int_equal(net_inject(&net, 4, 1, &data, false), -EPROTO);
	net_stop(&net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(duplicate_ack),
		cmocka_unit_test(too_many_acks),
		cmocka_unit_test(second_queued_request),
		cmocka_unit_test(second_deferred),
		cmocka_unit_test(page_where_none_belongs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
