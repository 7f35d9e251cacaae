// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The netlink family: events, links, histograms of times, through the programs' own
 * client (vmmd/genl.c); and requests that are wrong, unprivileged or noise.
 */
#include "fake_peer.h"
#include "space_test.h"
#include "vmmd/genl.h"

#include <errno.h>
#include <linux/cvmm_netlink.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES		64UL
#define NOISE		20000

/* ------------------------------------------------------------- events */

static struct genl *listener;
static struct genl_event seen[64];
static unsigned int nr_seen;

static struct genl *client(void)
{
	char err[256];
	struct genl *g = genl_open(err, sizeof(err));

	if (!g)
		die(err);
	return g;
}

static int event_cb(void *arg, const struct genl_event *e)
{
	(void)arg;
	if (nr_seen < sizeof(seen) / sizeof(seen[0]))
		seen[nr_seen++] = *e;
	return 0;
}

/* How many events so far; @name NULL: whatever the name; @peer -1: whatever the peer. */
static unsigned int count_events(uint32_t event, const char *name, int peer)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < nr_seen; i++)
		n += seen[i].event == event && (!name || !strcmp(seen[i].name, name)) &&
		     (peer < 0 || seen[i].peer == (uint32_t)peer);
	return n;
}

/* Until there are @want of those, for at most @timeout_ms. */
static bool wait_events(uint32_t event, const char *name, int peer, unsigned int want,
			unsigned int timeout_ms)
{
	struct pollfd p = { .fd = genl_fd(listener), .events = POLLIN };
	uint64_t end = now_ns() + timeout_ms * 1000000ULL;

	while (count_events(event, name, peer) < want) {
		uint64_t now = now_ns();

		if (now >= end || poll(&p, 1, (int)((end - now) / 1000000) + 1) < 0)
			return false;
		if (p.revents)
			genl_events(listener, event_cb, NULL);
	}
	return true;
}

static const struct genl_event *last_event(uint32_t event)
{
	static const struct genl_event none;

	for (unsigned int i = nr_seen; i; i--)
		if (seen[i - 1].event == event)
			return &seen[i - 1];
	return &none;
}

static void test_events(void)
{
	struct cluster c;

	nr_seen = 0;
	cluster_create(&c, "events", 2, PAGES, JOIN_UNIX);
	ok(wait_events(CVMM_NL_EVENT_SPACE_NEW, "events-0", -1, 1, 2000) &&
	   wait_events(CVMM_NL_EVENT_SPACE_NEW, "events-1", -1, 1, 2000),
	   "each new space is reported");
	ok(wait_events(CVMM_NL_EVENT_LINK_UP, "events-0", 1, 1, 2000) &&
	   wait_events(CVMM_NL_EVENT_LINK_UP, "events-1", 0, 1, 2000),
	   "each end of a link is reported");
	cluster_destroy(&c);
	ok(wait_events(CVMM_NL_EVENT_SPACE_GONE, NULL, -1, 2, 2000) &&
	   wait_events(CVMM_NL_EVENT_LINK_DOWN, NULL, -1, 2, 2000), "... and their ends");
	ok(!count_events(CVMM_NL_EVENT_HOST_LOST, NULL, -1), "nobody is lost by that");
}

/* A peer that asks and never reads: the kernel gives it 4 s. */
static void test_lost(void)
{
	struct dsm_msg msg = { .type = DSM_MSG_REQ_S, .requester = 1, .epoch = 1 };
	const size_t pages = 4096;
	const struct genl_event *e;
	uint8_t raw[DSM_WIRE_SIZE];
	struct fake_peer fp;

	nr_seen = 0;
	fake_create(&fp, "silent", pages, JOIN_UNIX);
	fake_hello(&fp);
	for (msg.gfn = 0; msg.gfn < pages; msg.gfn++) {
		dsm_wire_encode(&msg, raw);
		if (send(fp.sock, raw, sizeof(raw), MSG_NOSIGNAL) != sizeof(raw))
			break;
	}
	ok(wait_events(CVMM_NL_EVENT_HOST_LOST, "silent", 1, 1, 15000),
	   "a host that takes no messages is lost");
	e = last_event(CVMM_NL_EVENT_HOST_LOST);
	ok(e->error == ETIMEDOUT && e->reason[0], "... with a reason: %s", e->reason);
	ok(wait_events(CVMM_NL_EVENT_SPACE_FAILED, "silent", 1, 1, 2000),
	   "... and the space has failed: %s", last_event(CVMM_NL_EVENT_SPACE_FAILED)->reason);
	fake_destroy(&fp);

	nr_seen = 0;
	fake_create(&fp, "leaves", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	ok(wait_events(CVMM_NL_EVENT_LINK_UP, "leaves", 1, 1, 2000), "a peer says hello");
	shutdown(fp.sock, SHUT_RDWR);
	ok(wait_events(CVMM_NL_EVENT_LINK_DOWN, "leaves", 1, 1, 2000) &&
	   wait_events(CVMM_NL_EVENT_SPACE_FAILED, "leaves", 1, 1, 2000) &&
	   !count_events(CVMM_NL_EVENT_HOST_LOST, NULL, -1),
	   "a peer that leaves is not lost: %s", last_event(CVMM_NL_EVENT_SPACE_FAILED)->reason);
	fake_destroy(&fp);
}

/* -------------------------------------------------------------- times */

struct times {
	unsigned int nr;
	struct hist h[32];
};

static int hist_cb(void *arg, const struct hist *h)
{
	struct times *t = arg;

	if (t->nr < sizeof(t->h) / sizeof(t->h[0]))
		t->h[t->nr++] = *h;
	return 0;
}

static const struct hist *find_hist(const struct times *t, const char *name)
{
	for (unsigned int i = 0; i < t->nr; i++)
		if (!strcmp(t->h[i].name, name))
			return &t->h[i];
	errno = ENOENT;
	die(name);
}

/* Each histogram of a transition has counted what its counter has. */
static bool times_match(const struct times *t, const struct counters *c)
{
	bool good = true;
	char name[64];

	for (unsigned int i = 0; i < t->nr; i++) {
		uint64_t n = hist_count(&t->h[i]);

		if (!strncmp(t->h[i].name, "wait_", 5))
			continue;
		snprintf(name, sizeof(name), "dsm.fault_%s", t->h[i].name);
		if (n != counter(c, name)) {
			note("%s: %llu, but %llu times", name,
			     (unsigned long long)counter(c, name), (unsigned long long)n);
			good = false;
		}
	}
	return good;
}

static void *touch_slowly(void *arg)
{
	return (void *)(uintptr_t)*(volatile uint64_t *)arg;
}

/* A fault whose answer takes @ms is in the right place. */
static void test_slow_answer(struct genl *g, unsigned int ms)
{
	static struct times t;
	static uint8_t page[PAGE];
	struct dsm_msg msg;
	struct fake_peer fp;
	const struct hist *h;
	pthread_t thread;
	void *mem;
	uint64_t ns;

	fake_create(&fp, "slow", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	mem = mmap(NULL, 2 * PAGES * PAGE, PROT_READ, MAP_SHARED, fp.space, 0);
	if (mem == MAP_FAILED ||
	    pthread_create(&thread, NULL, touch_slowly, (uint8_t *)mem + PAGES * PAGE))
		die("touch");
	if (!fake_recv(&fp, &msg, NULL) || msg.type != DSM_MSG_REQ_S)
		die("no request");
	usleep(ms * 1000);
	msg = (struct dsm_msg){ .type = DSM_MSG_DATA, .requester = 0, .epoch = 1, .gfn = PAGES,
				.version = 1, .length = PAGE };
	fake_send(&fp, &msg, page);
	pthread_join(thread, NULL);

	t.nr = 0;
	genl_latency(g, "slow", hist_cb, &t);
	h = find_hist(&t, "read_2");
	ns = hist_percentile(h, 1, 1);
	ok(hist_count(h) == 1 && ns > ms * 900000ULL && ns < ms * 5000000ULL &&
	   h->sum_ns > ms * 1000000ULL, "an answer that takes %u ms is counted as %llu us", ms,
	   (unsigned long long)ns / 1000);
	h = find_hist(&t, "wait_read");
	ok(hist_count(h) >= 1 && h->sum_ns > ms * 1000000ULL / 2, "... and the wait for it as %llu us",
	   (unsigned long long)hist_percentile(h, 1, 1) / 1000);
	munmap(mem, 2 * PAGES * PAGE);
	fake_destroy(&fp);
}

static void test_times(void)
{
	struct genl *g = client();
	static struct counters counters;
	static struct times t;
	uint64_t waits = 0;
	struct cluster c;
	bool good = true;

	cluster_create(&c, "times", 3, PAGES, JOIN_UNIX);
	for (size_t p = 0; p < PAGES; p++) {
		*(volatile uint64_t *)at(&c, 0, 0, p, 0) = 1;	/* zero, at home */
		*(volatile uint64_t *)at(&c, 1, 1, p, 0) = 1;
		(void)*(volatile uint64_t *)at(&c, 1, 0, p, 0);	/* read */
		*(volatile uint64_t *)at(&c, 1, 0, p, 0) = 2;	/* upgrade */
		*(volatile uint64_t *)at(&c, 2, 0, p, 0) = 3;	/* write, three messages */
		*(volatile uint64_t *)at(&c, 1, 2, p, 0) = 4;	/* zero, from home */
	}
	for (unsigned int i = 0; i < c.nr; i++) {
		t.nr = 0;
		good &= !genl_latency(g, c.node[i].name, hist_cb, &t);
		stats_read(c.node[i].name, &counters);
		good &= t.nr == 13 && times_match(&t, &counters);
		waits = hist_count(find_hist(&t, "wait_read")) +
			hist_count(find_hist(&t, "wait_write"));
		good &= waits == counter(&counters, "space.wait");
		if (i == 1)
			good &= hist_count(find_hist(&t, "read_2")) == PAGES &&
				hist_count(find_hist(&t, "upgrade_2")) >= PAGES / 2 &&
				hist_count(find_hist(&t, "zero_2")) == PAGES &&
				hist_count(find_hist(&t, "zero_0")) == PAGES;
		if (i == 2)
			good &= hist_count(find_hist(&t, "write_3")) == PAGES;
	}
	ok(good, "each transition is in its histogram");
	cluster_destroy(&c);
	test_slow_answer(g, 30);
	genl_close(g);
}

/* -------------------------------------------------------------- links */

static int space_cb(void *arg, const struct genl_space *s)
{
	memcpy(arg, s, sizeof(*s));
	return 1;
}

static void test_links(void)
{
	static struct genl_space s[2];
	struct genl *g = client();
	struct cluster c;

	cluster_create(&c, "links", 2, PAGES, JOIN_TCP);
	for (size_t p = 0; p < PAGES; p++)
		*(volatile uint64_t *)at(&c, 1, 0, p, 0) = *(volatile uint64_t *)at(&c, 0, 0, p, 8);
	/* Counted after sending: give a sender time for that. */
	usleep(100000);
	for (unsigned int i = 0; i < 2; i++)
		if (genl_spaces(g, c.node[i].name, space_cb, &s[i]) != 1)
			die("no such space");
	ok(s[0].nr_links == 1 && s[0].link[0].peer == 1 && s[0].link[0].state == CVMM_NL_LINK_UP &&
	   s[0].link[0].transport == CVMM_TRANSPORT_STREAM, "a link has peer, state and transport");
	ok(s[0].link[0].tx_msgs == s[1].link[0].rx_msgs && s[0].link[0].tx_bytes == s[1].link[0].rx_bytes &&
	   s[1].link[0].tx_msgs == s[0].link[0].rx_msgs && s[1].link[0].tx_bytes == s[0].link[0].rx_bytes &&
	   s[0].link[0].tx_bytes >= PAGES * PAGE,
	   "what one end has sent the other has received: %llu and %llu bytes",
	   (unsigned long long)s[0].link[0].tx_bytes, (unsigned long long)s[1].link[0].tx_bytes);
	ok(!s[0].link[0].tx_queued && s[0].link[0].tx_queued_max, "the queue is empty and was not: %u",
	   s[0].link[0].tx_queued_max);
	cluster_destroy(&c);
	genl_close(g);
}

/* --------------------------------------------------------------- heat */

struct heat {
	unsigned int nr;
	struct genl_heat h[10000];
};

static int heat_cb(void *arg, const struct genl_heat *h)
{
	struct heat *t = arg;

	if (t->nr < sizeof(t->h) / sizeof(t->h[0]))
		t->h[t->nr++] = *h;
	return 0;
}

static uint64_t heat_of(const struct heat *t, uint64_t gfn, uint32_t peer, unsigned int kind)
{
	for (unsigned int i = 0; i < t->nr; i++)
		if (t->h[i].gfn == gfn && t->h[i].peer == peer)
			return t->h[i].kind[kind];
	return 0;
}

/* What is out at @a is in at @b. */
static bool heat_agrees(const struct heat *t, unsigned int a, unsigned int b)
{
	bool good = true;

	for (unsigned int i = 0; i < t[a].nr; i++) {
		const struct genl_heat *h = &t[a].h[i];
		uint64_t sum = 0;

		for (unsigned int k = 0; k < CVMM_NL_HEAT_NR; k++)
			sum += h->kind[k];
		good &= sum == h->count;
		for (unsigned int k = 0; h->peer == b && k < CVMM_NL_HEAT_COPY_OUT; k++)
			good &= h->kind[k] == heat_of(&t[b], h->gfn, a, k + CVMM_NL_HEAT_COPY_OUT) &&
				h->kind[k + CVMM_NL_HEAT_COPY_OUT] == heat_of(&t[b], h->gfn, a, k);
	}
	return good;
}

#define SWAPS	20

static void test_heat(void)
{
	const uint64_t hot = 5, quiet = 6, right = 7;
	static struct heat t[3];
	struct genl *g = client();
	struct cluster c;

	cluster_create(&c, "heat", 3, PAGES, JOIN_UNIX);
	*(volatile uint64_t *)at(&c, 0, 0, quiet, 0) = 1;
	for (unsigned int i = 0; i < SWAPS; i++) {
		*(volatile uint64_t *)at(&c, 1, 0, hot, 0) = i;
		*(volatile uint64_t *)at(&c, 2, 0, hot, 8) = i;
	}
	*(volatile uint64_t *)at(&c, 0, 0, right, 0) = 1;
	(void)*(volatile uint64_t *)at(&c, 1, 0, right, 0);
	(void)*(volatile uint64_t *)at(&c, 2, 0, right, 0);
	*(volatile uint64_t *)at(&c, 1, 0, right, 0) = 2;
	usleep(100000);
	for (unsigned int i = 0; i < 3; i++) {
		t[i].nr = 0;
		if (genl_heat(g, c.node[i].name, heat_cb, &t[i]))
			die("GET_HEAT");
	}
	ok(heat_of(&t[1], hot, 2, CVMM_NL_HEAT_MOVE_IN) == SWAPS - 1 &&
	   heat_of(&t[1], hot, 2, CVMM_NL_HEAT_MOVE_OUT) == SWAPS,
	   "a page that two hosts write in turn is hot: %llu in, %llu out",
	   (unsigned long long)heat_of(&t[1], hot, 2, CVMM_NL_HEAT_MOVE_IN),
	   (unsigned long long)heat_of(&t[1], hot, 2, CVMM_NL_HEAT_MOVE_OUT));
	ok(heat_of(&t[1], right, 0, CVMM_NL_HEAT_COPY_IN) == 1 &&
	   heat_of(&t[1], right, 0, CVMM_NL_HEAT_RIGHT_IN) == 1 &&
	   heat_of(&t[1], right, 2, CVMM_NL_HEAT_RIGHT_IN) == 1 &&
	   heat_of(&t[0], right, 2, CVMM_NL_HEAT_COPY_OUT) == 1,
	   "copies, and a write that takes them back");
	ok(heat_agrees(t, 0, 1) && heat_agrees(t, 1, 2) && heat_agrees(t, 2, 0),
	   "what went out of one host came in at another");
	ok(t[0].nr == 2 && t[1].nr == 3 && t[2].nr == 3, "nothing else did: %u, %u, %u", t[0].nr,
	   t[1].nr, t[2].nr);
	ok(genl_heat(g, "nobody", heat_cb, &t[0]) == -ENOENT, "nobody's pages");
	cluster_destroy(&c);

	/* More pages than the table has room for. */
	cluster_create(&c, "warm", 2, 16384, JOIN_UNIX);
	for (size_t p = 0; p < 16384; p++)
		*(volatile uint64_t *)at(&c, 0, 0, p, 0) = p;
	for (size_t p = 0; p < 16384; p++)
		(void)*(volatile uint64_t *)at(&c, 1, 0, p, 0);
	for (unsigned int i = 0; i < SWAPS; i++)
		for (unsigned int n = 0; n < 2; n++)
			*(volatile uint64_t *)at(&c, n, 0, hot, 0) = i;
	t[0].nr = 0;
	genl_heat(g, c.node[0].name, heat_cb, &t[0]);
	ok(t[0].nr == 1024 * 8, "of 16384 pages %u are remembered", t[0].nr);
	ok(heat_of(&t[0], hot, 1, CVMM_NL_HEAT_MOVE_OUT) >= SWAPS - 1, "among them the hot one");
	cluster_destroy(&c);
	genl_close(g);
}

/* ----------------------------------------------------- wrong requests */

struct raw {
	int fd, family, group;
	uint32_t seq;
};

struct request {
	struct nlmsghdr nlh;
	struct genlmsghdr genl;
	uint8_t attrs[4096];
};

static void raw_open(struct raw *r)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock || genl_connect(sock))
		die("netlink");
	r->family = genl_ctrl_resolve(sock, CVMM_NL_FAMILY);
	r->group = genl_ctrl_resolve_grp(sock, CVMM_NL_FAMILY, CVMM_NL_GROUP_EVENTS);
	nl_socket_free(sock);
	r->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (r->family < 0 || r->group < 0 || r->fd < 0 ||
	    bind(r->fd, (struct sockaddr *)&sa, sizeof(sa)))
		die("netlink family");
	r->seq = 0;
}

static void start(struct request *q, struct raw *r, int cmd, int flags)
{
	memset(q, 0, sizeof(*q));
	q->nlh.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	q->nlh.nlmsg_type = r->family;
	q->nlh.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	q->nlh.nlmsg_seq = ++r->seq;
	q->genl.cmd = cmd;
	q->genl.version = CVMM_NL_VERSION;
}

static void attr(struct request *q, uint16_t type, const void *data, size_t len)
{
	struct nlattr *a = (void *)((uint8_t *)q + NLMSG_ALIGN(q->nlh.nlmsg_len));

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + len;
	memcpy(a + 1, data, len);
	q->nlh.nlmsg_len = NLMSG_ALIGN(q->nlh.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

/*
 * Send it and read all answers: the verdict (0 or -errno), or -ENOMSG when there was
 * none.
 */
static int ask(struct raw *r, const struct request *q)
{
	static uint8_t buf[65536] __attribute__((aligned(8)));
	int verdict = -ENOMSG;
	ssize_t n;

	if (send(r->fd, q, q->nlh.nlmsg_len, 0) < 0)
		return -errno;
	while ((n = recv(r->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		struct nlmsghdr *h = (void *)buf;

		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				verdict = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			else if (h->nlmsg_type == NLMSG_DONE)
				verdict = *(int *)NLMSG_DATA(h);
		}
	}
	return verdict;
}

static const int commands[] = { CVMM_NL_CMD_GET_SPACE, CVMM_NL_CMD_GET_STATS, CVMM_NL_CMD_GET_LATENCY };

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* All commands answer @want to this one attribute (@type -1: to none). */
static void all_answer(struct raw *r, int want, const char *what, int type, const void *data, size_t len)
{
	struct request q;
	bool good = true;

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		int verdict;

		start(&q, r, commands[i], 0);
		if (type >= 0)
			attr(&q, type, data, len);
		verdict = ask(r, &q);
		if (verdict != want)
			note("command %d: %d instead of %d", commands[i], verdict, want);
		good &= verdict == want;
	}
	ok(good, "%s: %s", what, want ? strerrordesc_np(-want) : "answered");
}

static void test_wrong(struct raw *r, const struct cluster *c)
{
	char longer[200] = "wrong-0", raw_name[CVMM_NAME_LEN];
	const uint64_t other = c->id + 1;
	struct request q;
	int verdict;

	all_answer(r, 0, "a guest's name", CVMM_NL_A_NAME, "wrong-0", 8);
	all_answer(r, 0, "a guest's id", CVMM_NL_A_SPACE_ID, &c->id, 8);
	all_answer(r, -EINVAL, "neither name nor id", -1, NULL, 0);
	all_answer(r, -ENOENT, "nobody's name", CVMM_NL_A_NAME, "nobody", 7);
	all_answer(r, -ENOENT, "nobody's id", CVMM_NL_A_SPACE_ID, &other, 8);
	all_answer(r, -ENOENT, "an empty name", CVMM_NL_A_NAME, "", 1);
	memset(raw_name, 'x', sizeof(raw_name));
	all_answer(r, -EINVAL, "a name without end", CVMM_NL_A_NAME, raw_name, 8);
	all_answer(r, -EINVAL, "a name of nothing", CVMM_NL_A_NAME, "", 0);
	memset(longer, 'x', sizeof(longer) - 1);
	all_answer(r, -EINVAL, "a name too long", CVMM_NL_A_NAME, longer, sizeof(longer));
	all_answer(r, -EINVAL, "an id of four bytes", CVMM_NL_A_SPACE_ID, &other, 4);
	all_answer(r, -EINVAL, "an attribute of answers", CVMM_NL_A_HOST_ID, &other, 4);
	all_answer(r, -EINVAL, "an attribute nobody knows", CVMM_NL_A_MAX + 1, &other, 8);

	start(&q, r, CVMM_NL_CMD_GET_SPACE, 0);
	attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
	attr(&q, CVMM_NL_A_SPACE_ID, &other, 8);
	ok(ask(r, &q) == -ENOENT, "a name and somebody else's id");
	start(&q, r, CVMM_NL_CMD_EVENT, 0);
	verdict = ask(r, &q);
	start(&q, r, 200, 0);
	ok(verdict == -EOPNOTSUPP && ask(r, &q) == -EOPNOTSUPP, "no such command");
	start(&q, r, CVMM_NL_CMD_GET_STATS, NLM_F_DUMP);
	ok(ask(r, &q) == -EOPNOTSUPP, "counters are not dumped");
	start(&q, r, CVMM_NL_CMD_GET_HEAT, 0);
	attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
	ok(ask(r, &q) == -EOPNOTSUPP, "pages are only dumped");
	start(&q, r, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
	ok(ask(r, &q) == -EINVAL, "... of one guest");
	start(&q, r, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
	attr(&q, CVMM_NL_A_NAME, "nobody", 7);
	ok(ask(r, &q) == -ENOENT, "... that exists");
	start(&q, r, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
	attr(&q, CVMM_NL_A_PID, &other, 4);
	ok(ask(r, &q) == -EINVAL, "... and is asked for properly");
	start(&q, r, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
	attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
	ok(ask(r, &q) == 0, "of which one has none");
	start(&q, r, CVMM_NL_CMD_GET_SPACE, 0);
	q.nlh.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN - 1);
	ok(ask(r, &q) == -EINVAL, "a header cut short");
}

/* Messages of plausible form: none may do harm, whatever is answered. */
static void test_noise(struct raw *r)
{
	unsigned int answered = 0, refused = 0;
	uint64_t seed = test_seed;
	struct request q;

	for (unsigned int i = 0; i < NOISE; i++) {
		uint64_t x = rnd(&seed);

		start(&q, r, x % 12, x & 0x100 ? NLM_F_DUMP : 0);
		for (unsigned int n = (x >> 12) & 3; n; n--) {
			uint8_t data[512];
			uint64_t y = rnd(&seed);
			size_t len = y % (y & 0x100 ? 17 : sizeof(data));

			for (size_t j = 0; j < len; j += 8)
				memcpy(data + j, &(uint64_t){ rnd(&seed) }, len - j < 8 ? len - j : 8);
			if (y >> 16 & 1)
				attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
			else
				attr(&q, y >> 20 & 1 ? CVMM_NL_A_NAME + (y >> 24 & 1) :
				     y >> 32, data, len);
		}
		/* Lengths that lie. */
		if ((x >> 20 & 7) == 0 && q.nlh.nlmsg_len > NLMSG_LENGTH(GENL_HDRLEN))
			((struct nlattr *)q.attrs)->nla_len = x >> 32;
		if ((x >> 24 & 7) == 0)
			q.nlh.nlmsg_len -= (x >> 28) % 8;
		if (ask(r, &q) == 0)
			answered++;
		else
			refused++;
	}
	ok(answered > NOISE / 100 && refused > NOISE / 2, "%u requests at random: %u answered, %u refused",
	   NOISE, answered, refused);
}

/* In a child: nothing is told to who has no rights here. */
static int unprivileged(void *arg)
{
	struct raw r;
	struct request q;

	(void)arg;
	raw_open(&r);
	if (setgid(65534) || setuid(65534))
		return 1;
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		start(&q, &r, commands[i], 0);
		attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
		if (ask(&r, &q) != -EPERM)
			return 10 + i;
	}
	start(&q, &r, CVMM_NL_CMD_GET_SPACE, NLM_F_DUMP);
	if (ask(&r, &q) != -EPERM)
		return 2;
	start(&q, &r, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
	attr(&q, CVMM_NL_A_NAME, "wrong-0", 8);
	if (ask(&r, &q) != -EPERM)
		return 4;
	if (!setsockopt(r.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &r.group, sizeof(r.group)) ||
	    errno != EPERM)
		return 3;
	return 0;
}

static void test_requests(void)
{
	struct cluster c;
	struct raw r;
	int status;

	raw_open(&r);
	cluster_create(&c, "wrong", 1, PAGES, JOIN_UNIX);
	test_wrong(&r, &c);
	status = in_child(unprivileged, NULL);
	ok(status == 0, "without CAP_NET_ADMIN: no answer and no events (%d)", status);
	test_noise(&r);
	all_answer(&r, 0, "afterwards all is as before", CVMM_NL_A_NAME, "wrong-0", 8);
	cluster_destroy(&c);
	close(r.fd);
}

void test_netlink(void)
{
	listener = client();
	ok(!genl_subscribe(listener), "the event group can be joined");
	test_events();
	test_lost();
	genl_close(listener);
	test_times();
	test_links();
	test_heat();
	test_requests();
	ok(spaces_dump() == 0, "no space is left");
}
