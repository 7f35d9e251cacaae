// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Peers that leave, lie or stay silent; processes that die while they wait.
 *
 * The "peer" is mostly this test itself at the other end of a socket.
 */
#include "space_test.h"
#include "fake_peer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES	64UL
#define MS	1000000ULL

static struct fake_peer fp;

/* A child that reads the first page at home on host 1. */
static pid_t reader_start(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		volatile uint8_t *m = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE,
					   MAP_SHARED, fp.space, 0);

		close(fp.sock);
		if (m == MAP_FAILED)
			_exit(100);
		_exit(m[PAGES * PAGE]);
	}
	return pid;
}

/* Its wait status, or -1 when it is still there after @timeout_ms. */
static int child_end(pid_t pid, unsigned int timeout_ms)
{
	int status;

	for (unsigned int i = 0; i < timeout_ms; i += 10) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
						     WEXITSTATUS(status);
		usleep(10000);
	}
	return -1;
}

/* The reader's request is here, so it waits. */
static bool reader_waits(void)
{
	struct dsm_msg msg;

	return fake_recv(&fp, &msg, NULL) && msg.type == DSM_MSG_REQ_S && msg.gfn == PAGES;
}

static void failed_with(const char *what, unsigned int host, const char *text)
{
	struct cvmm_space_status status;
	bool in_time = space_wait_failed(fp.space, 5000);

	status = space_status(fp.space);
	ok(in_time && status.state == CVMM_SPACE_FAILED && status.host == host &&
	   strstr(status.reason, text), "%s: \"%s\"", what, status.reason);
}

/* --------------------------------------------------- the link's start */

static void test_hello(void)
{
	static const struct {
		const char *what, *text;
	} bad[] = {
		{ "hello of another space", "another space" },
		{ "hello of another epoch", "epoch" },
		{ "hello of another host", "another host" },
		{ "hello with other memory ranges", "ranges" },
		{ "no hello", "not a hello" },
		{ "hello of another wire format", "speaks wire format 1" },
		{ "hello with another number of connections", "number of connections" },
	};
	uint8_t raw[DSM_WIRE_SIZE];
	struct dsm_msg hello;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_create(&fp, "hello", PAGES, JOIN_UNIX);
		ok(fake_recv(&fp, &hello, NULL) && hello.type == FAKE_HELLO &&
		   hello.gfn == fp.id && hello.requester == 0, "it says hello first");
		hello.requester = 1;
		hello.gfn += i == 0;
		hello.epoch += i == 1;
		hello.requester += i == 2;
		hello.version += i == 3;
		hello.acks += i == 6;
		if (i == 4) {
			hello.type = DSM_MSG_REQ_S;
			hello.acks = 0;
		}
		dsm_wire_encode(&hello, raw);
		if (i == 5)
			raw[2] = 1;
		ok(send(fp.sock, raw, sizeof(raw), MSG_NOSIGNAL) == sizeof(raw), "peer answers");
		failed_with(bad[i].what, 1, bad[i].text);
		fake_destroy(&fp);
	}
}

/* What has changed in a page: of a page that never came, longer than can be, garbage. */
static void test_delta(void)
{
	static const struct {
		const char *what;
		uint32_t len;
		unsigned int pages;	/* sent before */
	} bad[] = {
		{ "a delta without its page", 0, 0 },
		{ "a delta longer than half a page", PAGE / 2 + 8, 1 },
		{ "a delta that is none", 4, 1 },
	};
	uint8_t raw[2 * DSM_WIRE_SIZE + PAGE] = { 0 }, page[PAGE] = { 0 };
	struct dsm_msg data = { .type = DSM_MSG_DATA, .requester = 0, .length = PAGE, .gfn = PAGES };
	struct dsm_msg delta = { .type = FAKE_DELTA, .gfn = PAGES };
	pid_t pid;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dsm_msg msg;

		fake_create(&fp, "delta", PAGES, JOIN_UNIX);
		pid = reader_start();
		ok(fake_hello(&fp) && fake_recv(&fp, &msg, NULL) && msg.type == DSM_MSG_REQ_S,
		   "a request comes");
		data.epoch = delta.epoch = msg.epoch;
		delta.version = bad[i].len;
		if (bad[i].pages)
			fake_send(&fp, &data, page);
		dsm_wire_encode(&delta, raw);
		dsm_wire_encode(&data, raw + DSM_WIRE_SIZE + bad[i].len);
		send(fp.sock, raw, DSM_WIRE_SIZE + bad[i].len + DSM_WIRE_SIZE, MSG_NOSIGNAL);
		failed_with(bad[i].what, 1, "link broken");
		child_end(pid, 5000);
		fake_destroy(&fp);
	}
}

static int late_link(void *arg)
{
	uint8_t page[PAGE] = { 42 };
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	struct dsm_msg msg;
	int fds[2];
	pid_t pid;

	(void)arg;
	config_init(&cfg, ranges, "late", 0, 2, PAGES, 5);
	fp.space = space_create(&cfg);
	fp.sock = -1;
	pid = reader_start();
	if (child_end(pid, 200) != -1)
		return 1;
	socket_pair(fds, JOIN_TCP);
	if (space_add_link(fp.space, 1, fds[0]))
		return 2;
	fp.sock = fds[1];
	if (!fake_hello(&fp) || !reader_waits())
		return 3;
	msg = (struct dsm_msg){ .type = DSM_MSG_DATA, .requester = 0, .epoch = 1,
				.gfn = PAGES, .version = 1, .length = PAGE };
	fake_send(&fp, &msg, page);
	return child_end(pid, 3000) == 42 ? 0 : 4;
}

/* ------------------------------------------------------- the link's end */

static void test_drop(void)
{
	struct dsm_msg msg;
	pid_t pid;

	fake_create(&fp, "drop", PAGES, JOIN_TCP);
	fake_hello(&fp);
	pid = reader_start();
	ok(reader_waits(), "a reader waits for the peer");
	shutdown(fp.sock, SHUT_RDWR);
	failed_with("peer closes the link while somebody waits", 1, "host 1: ");
	ok(child_end(pid, 2000) == 128 + SIGBUS, "... who gets SIGBUS");
	fake_destroy(&fp);

	fake_create(&fp, "drop", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	pid = reader_start();
	ok(reader_waits(), "a reader waits for the peer");
	msg = (struct dsm_msg){ .type = DSM_MSG_DATA, .epoch = 1, .gfn = PAGES,
				.version = 1, .length = PAGE };
	fake_send_part(&fp, &msg, DSM_WIRE_SIZE + 1000);
	shutdown(fp.sock, SHUT_RDWR);
	failed_with("link ends within a page", 1, "in the middle");
	ok(child_end(pid, 2000) == 128 + SIGBUS, "... the reader gets SIGBUS, not half a page");
	fake_destroy(&fp);

	fake_create(&fp, "drop", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	pid = reader_start();
	ok(reader_waits(), "a reader waits for the peer");
	ioctl(fp.space, CVMM_SPACE_FAIL);
	failed_with("the owner ends the space", 0, "owner");
	ok(child_end(pid, 2000) == 128 + SIGBUS, "... waiting readers get SIGBUS");
	ok(!fake_recv(&fp, &msg, NULL), "... and the peer sees its link end");
	ok(space_add_link(fp.space, 1, fp.sock) < 0 && errno == EIO, "... for good");
	fake_destroy(&fp);
}

/* Connections of a link, of which the peer, who is us, has one that speaks early, or ends one. */
static void test_conns(void)
{
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	struct dsm_msg hello, early;
	int fds[3][2], socks[3], local[2];
	uint8_t raw[DSM_WIRE_SIZE];
	struct cvmm_space_conns none = { .host = 1, .transport = CVMM_TRANSPORT_STREAM };
	pid_t pid;

	config_init(&cfg, ranges, "conns", 0, 2, PAGES, 5);
	fp.space = space_create(&cfg);
	for (int i = 0; i < 3; i++) {
		socket_pair(fds[i], JOIN_TCP);
		socks[i] = fds[i][0];
	}
	ok(ioctl(fp.space, CVMM_SPACE_ADD_CONNS, &none) < 0 && errno == EINVAL, "no connection at all");
	ok(space_add_conns(fp.space, 1, socks, CVMM_MAX_CONNS + 1) < 0 && errno == EINVAL, "too many");
	none.transport = CVMM_TRANSPORT_RDMA;
	none.nr_fds = 1;
	ok(ioctl(fp.space, CVMM_SPACE_ADD_CONNS, &none) < 0 && errno == EINVAL, "RDMA has lanes itself");
	socks[2] = -1;
	ok(space_add_conns(fp.space, 1, socks, 3) < 0 && errno == EBADF, "one that is none");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, local))
		die("socketpair");
	socks[2] = local[0];
	ok(space_add_conns(fp.space, 1, socks, 3) < 0 && errno == EAFNOSUPPORT, "AF_UNIX sockets are alone");
	close(local[0]);
	close(local[1]);
	socks[2] = fds[2][0];
	ok(!space_add_conns(fp.space, 1, socks, 3), "three connections");

	/* Lane 1 speaks before lane 0 says hello: it is heard after that. */
	fp.sock = fds[1][1];
	early = (struct dsm_msg){ .type = DSM_MSG_REQ_S, .requester = 1, .epoch = 1, .gfn = 1 };
	fake_send(&fp, &early, NULL);
	usleep(100000);
	ok(space_status(fp.space).state == CVMM_SPACE_LIVE &&
	   recv(fds[1][1], raw, sizeof(raw), MSG_DONTWAIT) < 0, "what comes before the hello has to wait");
	fp.sock = fds[0][1];
	ok(fake_recv(&fp, &hello, NULL) && hello.type == FAKE_HELLO && hello.acks == 3,
	   "the hello tells how many there are, on the first");
	hello.requester = 1;
	hello.age = 0;
	fake_send(&fp, &hello, NULL);
	fp.sock = fds[1][1];
	ok(fake_recv(&fp, &early, NULL) && early.type == DSM_MSG_DATA && early.gfn == 1,
	   "... and is answered on its own connection then");
	pid = reader_start();
	fp.sock = fds[PAGES % 3][1];
	ok(reader_waits(), "a request comes on its page's connection");
	shutdown(fds[2][1], SHUT_RDWR);
	failed_with("the end of one connection", 1, "host 1: ");
	ok(child_end(pid, 2000) == 128 + SIGBUS, "... ends the link");
	for (int i = 0; i < 3; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	close(fp.space);
}

/* --------------------------------------------------- signals in a wait */

static volatile sig_atomic_t handled;

static void on_alarm(int sig)
{
	(void)sig;
	handled = 1;
}

static int wait_with_handler(void *arg)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	volatile uint8_t *m = mmap(NULL, 2 * PAGES * PAGE, PROT_READ, MAP_SHARED, fp.space, 0);
	pid_t pid;

	(void)arg;
	sigaction(SIGALRM, &sa, NULL);
	pid = fork();
	if (!pid) {
		/* The answer comes only after the handler must have run. */
		struct dsm_msg msg;
		uint8_t page[PAGE] = { 7 };

		reader_waits();
		kill(getppid(), SIGALRM);
		usleep(500000);
		msg = (struct dsm_msg){ .type = DSM_MSG_DATA, .epoch = 1, .gfn = PAGES,
					.version = 1, .length = PAGE };
		page[1] = 1;
		fake_send(&fp, &msg, page);
		_exit(0);
	}
	uint64_t begin = now_ns();
	uint8_t v = m[PAGES * PAGE];
	uint64_t waited = now_ns() - begin;

	/* It has the space open: while it lives, so does the space. */
	waitpid(pid, NULL, 0);
	return v == 7 && handled && waited > 300 * MS ? 0 : 1;
}

static _Atomic int mapped;

static void *map_other(void *arg)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	munmap(p, PAGE);
	mapped = 1;
	return NULL;
}

static void *read_remote(void *arg)
{
	volatile uint8_t *m = arg;

	return (void *)(uintptr_t)m[PAGES * PAGE];
}

static int wait_and_map(void *arg)
{
	uint8_t *m = mmap(NULL, 2 * PAGES * PAGE, PROT_READ, MAP_SHARED, fp.space, 0);
	pthread_t reader, mapper;

	(void)arg;
	pthread_create(&reader, NULL, read_remote, m);
	if (!reader_waits())
		return 1;
	pthread_create(&mapper, NULL, map_other, NULL);
	for (int i = 0; i < 100 && !mapped; i++)
		usleep(10000);
	return mapped ? 0 : 2;
}

static void test_signals(void)
{
	uint64_t begin;
	pid_t pid;

	fake_create(&fp, "signals", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	pid = reader_start();
	ok(reader_waits(), "a reader waits for the peer");
	kill(pid, SIGKILL);
	begin = now_ns();
	ok(child_end(pid, 3000) == 128 + SIGKILL && now_ns() - begin < 1000 * MS,
	   "SIGKILL ends a wait at once");
	ok(space_status(fp.space).state == CVMM_SPACE_LIVE, "... and the space goes on");
	fake_destroy(&fp);

	fake_create(&fp, "signals", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	ok(in_child(wait_with_handler, NULL) == 0, "a signal handler runs during a wait");
	fake_destroy(&fp);

	fake_create(&fp, "signals", PAGES, JOIN_UNIX);
	fake_hello(&fp);
	ok(in_child(wait_and_map, NULL) == 0, "other threads can mmap during a wait");
	fake_destroy(&fp);
}

/* ------------------------------------------------- pins and revocation */

struct pinner {
	struct cluster *c;
	_Atomic int stop;
	_Atomic uint64_t wrote;
};

/*
 * Writes through short pins of two pages; what it wrote last must be there when
 * the other host, which keeps taking the pages away, looks at the end.
 */
static void *pin_and_write(void *arg)
{
	struct pinner *p = arg;
	uint64_t buf[2 * PAGE / 8] = { 0 };
	struct iovec local = { buf, PAGE + 16 };
	struct iovec remote = { at(p->c, 0, 0, 5, PAGE / 2), PAGE + 16 };

	while (!p->stop) {
		p->wrote++;
		for (size_t i = 0; i < (PAGE + 16) / 8; i++)
			buf[i] = p->wrote;
		if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) != PAGE + 16)
			die("process_vm_writev");
	}
	return NULL;
}

static void test_pins(void)
{
	struct pinner p;
	struct cluster c;
	pthread_t thread;
	uint64_t v, last = 0;
	unsigned int rounds, bad = 0;

	memset(&p, 0, sizeof(p));
	cluster_create(&c, "pins", 2, PAGES, JOIN_UNIX);
	p.c = &c;
	pthread_create(&thread, NULL, pin_and_write, &p);
	for (rounds = 0; rounds < 400 || p.wrote < 400; rounds++) {
		/* our own word beside the pinned range, and one of theirs */
		*(volatile uint64_t *)at(&c, 1, 0, 5, 0) = rounds;
		v = *(volatile uint64_t *)at(&c, 1, 0, 5, PAGE / 2);
		bad += v < last;
		last = v;
		*(volatile uint64_t *)at(&c, 1, 0, 6, PAGE - 8) = rounds;
		bad += *(volatile uint64_t *)at(&c, 1, 0, 5, 0) != rounds;
	}
	p.stop = 1;
	pthread_join(thread, NULL);
	for (size_t off = 0; off < PAGE + 16; off += 8)
		bad += *(volatile uint64_t *)((uint8_t *)at(&c, 1, 0, 5, PAGE / 2) + off) != p.wrote;
	ok(!bad, "%llu writes through pins against %u revocations: none lost (%llu found a pin)",
	   (unsigned long long)p.wrote, rounds,
	   (unsigned long long)cluster_counter(&c, "space.revoke_pinned"));
	cluster_destroy(&c);
}

/* ------------------------------------- a link's socket, used by its giver */

/* Sends, on the socket of a link, a page that must come over that link. */
static void send_missing_page(void)
{
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	uint8_t *mem;
	int fds[2], space;

	config_init(&cfg, ranges, "misused", 0, 2, PAGES, 6);
	space = space_create(&cfg);
	socket_pair(fds, JOIN_TCP);
	mem = mmap(NULL, 2 * PAGES * PAGE, PROT_READ, MAP_SHARED, space, 0);
	if (space < 0 || mem == MAP_FAILED || space_add_link(space, 1, fds[0]))
		_exit(100);
	send(fds[0], mem + PAGES * PAGE, PAGE, 0);
	_exit(101);
}

static void test_misuse(void)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		send_missing_page();
	status = child_end(pid, 1000);
	kill(pid, SIGKILL);
	ok(status == -1 && child_end(pid, 20000) == 128 + SIGKILL,
	   "who waits for a page with its link's socket locked can be killed");
}

/* ------------------------------------------------------ wrong sockets */

static void test_sockets(void)
{
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	int fds[2], space, s;

	config_init(&cfg, ranges, "sockets", 0, 2, PAGES, 5);
	space = space_create(&cfg);
	s = socket(AF_INET, SOCK_STREAM, 0);
	ok(space_add_link(space, 1, s) < 0 && errno == ENOTCONN, "socket not connected");
	close(s);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	ok(space_add_link(space, 1, s) < 0 && errno == EPROTOTYPE, "datagram socket");
	close(s);
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds);
	ok(space_add_link(space, 1, fds[0]) < 0 && errno == EPROTOTYPE, "packet socket");
	close(fds[0]);
	close(fds[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	ok(!space_add_link(space, 1, fds[0]), "stream socket");
	ok(space_add_link(space, 1, fds[1]) < 0 && errno == EEXIST, "a second link to the host");
	close(space);
	close(fds[0]);
	close(fds[1]);
}

/* The space's own descriptor, behind something that its receiver does not go beyond. */
static void test_own_descriptor(void)
{
	static const char garbage[DSM_WIRE_SIZE] = "garbage";
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)garbage, .iov_len = 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	int fds[2], space;
	bool gone = false;

	config_init(&cfg, ranges, "itself", 0, 2, PAGES, 6);
	space = space_create(&cfg);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &space, sizeof(int));
	if (send(fds[1], garbage, sizeof(garbage), 0) != sizeof(garbage) || sendmsg(fds[1], &mh, 0) != 1)
		die("sendmsg");
	ok(!space_add_link(space, 1, fds[0]) && space_wait_failed(space, 5000),
	   "a space whose own descriptor waits in its link's socket fails");
	close(space);
	close(fds[0]);
	close(fds[1]);
	for (unsigned int i = 0; i < 50 && !gone; i++) {
		gone = !spaces_dump();
		usleep(100000);
	}
	ok(gone, "and goes when it is closed");
}

void test_failure(void)
{
	test_sockets();
	test_own_descriptor();
	test_hello();
	test_delta();
	ok(in_child(late_link, NULL) == 0, "an access waits until the link is added");
	test_drop();
	test_conns();
	test_signals();
	test_pins();
	test_misuse();
	ok(spaces_dump() == 0, "no space is left");
}
