// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * RDMA endpoints: making them, and tests of links over them.  The device is
 * soft-RoCE on the host's network interface (selftests/space/rdma.sh).
 */
#include "space_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES	64UL

const char *rdma_address(unsigned int host)
{
	static char text[32];

	snprintf(text, sizeof(text), "10.78.0.%u", host + 1);
	return text;
}

static const char *own_address(void)
{
	const char *env = getenv("CVMM_HOST");

	return rdma_address(env ? atoi(env) : 0);
}

void endpoint_init(struct cvmm_rdma_endpoint *e, const char *addr)
{
	memset(e, 0, sizeof(*e));
	e->flags = CVMM_RDMA_LISTEN;
	e->family = AF_INET;
	inet_pton(AF_INET, addr, e->addr);
	if (getrandom(e->token, sizeof(e->token), 0) != sizeof(e->token) ||
	    getrandom(e->peer_token, sizeof(e->peer_token), 0) != sizeof(e->peer_token))
		die("getrandom");
}

void endpoint_mirror(struct cvmm_rdma_endpoint *peer, const struct cvmm_rdma_endpoint *e,
		     unsigned int nr_qps)
{
	*peer = *e;
	peer->flags = 0;
	peer->nr_qps = nr_qps;
	memcpy(peer->token, e->peer_token, sizeof(peer->token));
	memcpy(peer->peer_token, e->token, sizeof(peer->peer_token));
}

int endpoint_open(struct cvmm_rdma_endpoint *e)
{
	int dev = cvmm_open();
	int fd = ioctl(dev, CVMM_RDMA_ENDPOINT, e);
	int err = errno;

	close(dev);
	errno = err;
	return fd;
}

struct cvmm_rdma_status endpoint_status(int fd)
{
	struct cvmm_rdma_status status;

	if (ioctl(fd, CVMM_RDMA_STATUS, &status))
		die("CVMM_RDMA_STATUS");
	return status;
}

bool endpoint_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 10000) == 1 && p.revents == POLLIN &&
	       endpoint_status(fd).state == CVMM_RDMA_CONNECTED;
}

void endpoint_pair(int fds[2], unsigned int nr_qps)
{
	struct cvmm_rdma_endpoint a, b;

	endpoint_init(&a, own_address());
	fds[0] = endpoint_open(&a);
	if (fds[0] < 0)
		die("CVMM_RDMA_ENDPOINT, to listen");
	endpoint_mirror(&b, &a, nr_qps);
	fds[1] = endpoint_open(&b);
	if (fds[1] < 0)
		die("CVMM_RDMA_ENDPOINT, to connect");
	for (int i = 0; i < 2; i++)
		if (!endpoint_wait(fds[i])) {
			note("%s end: %s", i ? "connecting" : "listening",
			     endpoint_status(fds[i]).reason);
			die("RDMA connection");
		}
}

/* ---------------------------------------------------------- endpoints */

static bool refused(struct cvmm_rdma_endpoint *e, int err)
{
	int fd = endpoint_open(e);

	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == err;
}

static void test_arguments(void)
{
	struct cvmm_rdma_endpoint good, e;
	bool all = true;

	endpoint_init(&good, own_address());
	e = good; e.flags = 2; all &= refused(&e, EINVAL);
	e = good; e.nr_qps = 1; all &= refused(&e, EINVAL);
	e = good; e.port = 1; all &= refused(&e, EINVAL);
	e = good; e.family = AF_UNIX; all &= refused(&e, EAFNOSUPPORT);
	e = good; e.scope_id = 1; all &= refused(&e, EINVAL);
	e = good; memset(e.addr, 0, sizeof(e.addr)); all &= refused(&e, EINVAL);
	e = good; memset(e.token, 0, sizeof(e.token)); all &= refused(&e, EINVAL);
	e = good; memset(e.peer_token, 0, sizeof(e.token)); all &= refused(&e, EINVAL);
	e = good; memcpy(e.peer_token, e.token, sizeof(e.token)); all &= refused(&e, EINVAL);
	endpoint_mirror(&e, &good, 0); e.port = 1; all &= refused(&e, EINVAL);
	endpoint_mirror(&e, &good, CVMM_RDMA_MAX_QPS + 1); e.port = 1; all &= refused(&e, EINVAL);
	endpoint_mirror(&e, &good, 1); all &= refused(&e, EINVAL);
	ok(all, "arguments that make no sense are refused");

	e = good;
	inet_pton(AF_INET, "127.0.0.1", e.addr);
	ok(refused(&e, ENODEV), "an address without an RDMA device is refused");
}

/* Does the connecting end fail with @err, and the listening one still wait? */
static bool turned_away(int listener, struct cvmm_rdma_endpoint *e, uint32_t err)
{
	int fd = endpoint_open(e);
	struct cvmm_rdma_status st;
	bool good;

	if (fd < 0)
		die("CVMM_RDMA_ENDPOINT");
	good = !endpoint_wait(fd);
	st = endpoint_status(fd);
	good &= st.state == CVMM_RDMA_FAILED && st.error == err && st.reason[0];
	close(fd);
	return good && endpoint_status(listener).state == CVMM_RDMA_WAITING;
}

static void test_tokens(void)
{
	struct cvmm_rdma_endpoint a, b, wrong;
	int listener, fd, space;
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;

	endpoint_init(&a, own_address());
	listener = endpoint_open(&a);
	if (listener < 0)
		die("CVMM_RDMA_ENDPOINT");
	endpoint_mirror(&b, &a, 2);
	wrong = b;
	wrong.token[31] ^= 1;
	ok(turned_away(listener, &wrong, ECONNREFUSED), "who has not the token is refused, who has is awaited");
	wrong = b;
	wrong.port ^= 1;
	ok(turned_away(listener, &wrong, ECONNREFUSED), "where nobody listens: refused");

	config_init(&cfg, ranges, "tokens", 0, 2, PAGES, 1);
	space = space_create(&cfg);
	if (space < 0)
		die("space");
	ok(space_add_link_over(space, 1, CVMM_TRANSPORT_RDMA, listener) == -1 && errno == ENOTCONN,
	   "an endpoint that waits is no link");
	ok(space_add_link_over(space, 1, CVMM_TRANSPORT_RDMA, space) == -1 && errno == EINVAL &&
	   space_add_link_over(space, 1, CVMM_TRANSPORT_STREAM, listener) == -1 && errno == ENOTSOCK &&
	   space_add_link_over(space, 1, CVMM_TRANSPORT_RDMA, -1) == -1 && errno == EBADF &&
	   space_add_link_over(space, 1, 77, listener) == -1 && errno == EINVAL,
	   "what is no endpoint is no RDMA link, an endpoint no socket");

	fd = endpoint_open(&b);
	if (fd < 0)
		die("CVMM_RDMA_ENDPOINT");
	ok(endpoint_wait(fd) && endpoint_wait(listener), "who has the token is let in");
	wrong = b;
	{
		int again = endpoint_open(&wrong);

		ok(again >= 0 && !endpoint_wait(again) &&
		   endpoint_status(again).error == ECONNREFUSED &&
		   endpoint_status(listener).state == CVMM_RDMA_CONNECTED,
		   "the same token a second time: refused");
		close(again);
	}
	ok(!space_add_link_over(space, 1, CVMM_TRANSPORT_RDMA, listener), "connected it is a link");
	ok(space_add_link_over(space, 1, CVMM_TRANSPORT_RDMA, listener) == -1 &&
	   (errno == EBUSY || errno == EEXIST), "... once");
	close(fd);
	ok(space_wait_failed(space, 5000) && space_status(space).host == 1,
	   "the peer gives its end up: the space fails: \"%s\"", space_status(space).reason);
	close(space);
	close(listener);

	/* The listening end's token is checked too. */
	endpoint_init(&a, own_address());
	listener = endpoint_open(&a);
	endpoint_mirror(&b, &a, 1);
	b.peer_token[0] ^= 1;
	fd = endpoint_open(&b);
	ok(listener >= 0 && fd >= 0 && !endpoint_wait(fd) && endpoint_status(fd).error == EACCES,
	   "a listener that has not its token is refused by who connects");
	close(fd);
	close(listener);
}

/* More than all credits in one direction, without any page the other way. */
static void test_flood(void)
{
	struct cluster c;
	bool good = true;

	cluster_create(&c, "flood", 2, 512, JOIN_RDMA);
	for (unsigned int round = 0; round < 3; round++)
		for (size_t page = 0; page < 512; page++) {
			*(_Atomic uint64_t *)at(&c, round & 1, 0, page, 8) += page + 1;
			*(_Atomic uint64_t *)at(&c, ~round & 1, 1, page, 16) += page + 1;
		}
	for (size_t page = 0; page < 512; page++)
		good &= *(uint64_t *)at(&c, 1, 0, page, 8) == 3 * (page + 1) &&
			*(uint64_t *)at(&c, 0, 1, page, 16) == 3 * (page + 1);
	ok(good, "1024 pages back and forth three times");
	cluster_destroy(&c);
}

void test_rdma(void)
{
	test_arguments();
	test_tokens();
	test_flood();
	pair_run(2, JOIN_RDMA, "rdma");
	pair_run(4, JOIN_RDMA, "rdma");
	stress_run(2, 2, 1000, JOIN_RDMA);
	ok(spaces_dump() == 0, "no space is left");
}

/* ------------------------------------------------------------ removal */

static sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

/* The device goes away under a link in use: it must not wait for us. */
void test_rdma_remove(void)
{
	struct cvmm_rdma_endpoint waiting;
	struct cluster c;
	uint64_t begin;
	int fd;

	cluster_create(&c, "remove", 2, PAGES, JOIN_RDMA);
	*(uint64_t *)at(&c, 0, 1, 1, 0) = 1;
	endpoint_init(&waiting, own_address());
	fd = endpoint_open(&waiting);
	if (fd < 0)
		die("CVMM_RDMA_ENDPOINT");
	begin = now_ns();
	ok(!system("rdma link delete rxe0"), "the device can be removed while a link uses it");
	ok(now_ns() - begin < 5000000000ULL, "... at once (%llu ms)",
	   (unsigned long long)(now_ns() - begin) / 1000000);
	ok(space_wait_failed(c.node[0].fd, 2000) && space_wait_failed(c.node[1].fd, 2000),
	   "the space has failed: \"%s\"", space_status(c.node[0].fd).reason);
	signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus_jmp, 1)) {
		*(uint64_t *)at(&c, 1, 0, 5, 0) = 1;
		ok(false, "a page of the other host: SIGBUS");
	} else {
		ok(true, "a page of the other host: SIGBUS");
	}
	ok(!endpoint_wait(fd) && endpoint_status(fd).error == ENODEV,
	   "an endpoint that waits has failed: \"%s\"", endpoint_status(fd).reason);
	close(fd);
	cluster_destroy(&c);
	ok(spaces_dump() == 0, "no space is left");
}
