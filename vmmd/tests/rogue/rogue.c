// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who should not get in, for selftests/vmmd/strangers.sh:
 *
 *   rogue PORT plain [hello]       bytes, or a well-formed hello, without TLS
 *   rogue PORT garbage             random bytes in TLS records
 *   rogue PORT cut KEY             a session that ends before its hello does
 *   rogue PORT change KEY          a handshake in which one byte is changed
 *   rogue PORT replay KEY          the recorded session of a client named stranger7, sent again
 *   rogue PORT hold N SECONDS      N connections that say nothing
 *   rogue PORT open KEY            print "in" when the key opens the door, else why not
 *   rogue PORT last KEY            a client that sends what only a supervisor may
 *   rogue PORT frames KEY          with the key, but sends garbage after its hello
 *   rogue PORT epoch KEY           with the key, but as a peer of a guest that is not there
 *
 * Each is repeated as often as makes sense.  Exit status 0 when vmmd did what it
 * should: closed the connection (or, for "open", let it in).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/conn.h"
#include "vmmd/tls.h"

static uint16_t port;
static struct cluster_key key;

static _Noreturn void die(const char *what, const char *why)
{
	printf("rogue: %s: %s\n", what, why);
	exit(1);
}

static int dial(void)
{
	char err[256];
	int fd = net_connect("127.0.0.1", port, 5000, err, sizeof(err));

	if (fd < 0)
		die("connect", err);
	return fd;
}

/* Until vmmd has closed the connection; -1 when it has not after so long.  Returns the bytes it sent. */
static long drain(int fd, int seconds)
{
	uint64_t deadline = now_ms() + (uint64_t)seconds * 1000;
	uint8_t buf[4096];
	long total = 0;
	ssize_t n;

	for (;;) {
		if (net_wait(fd, POLLIN, deadline))
			return -1;
		n = recv(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			return total;
		total += n;
	}
}

static void refused(int fd, int seconds, const char *what)
{
	if (drain(fd, seconds) < 0)
		die(what, "the connection is not closed");
	close(fd);
}

static void some(uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = getrandom(buf, len > 256 ? 256 : len, 0);

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
}

static struct hello a_hello(enum hello_role role, unsigned int n)
{
	struct hello h = { .role = role, .vm_id = n + 1, .epoch = 1, .from = NODE_CLIENT, .to = 0 };

	if (role != HELLO_CLIENT)
		h.from = 1;
	snprintf(h.name, sizeof(h.name), "stranger%u", n);
	return h;
}

static void plain(bool hello)
{
	uint8_t buf[HELLO_SIZE];
	struct hello h;
	size_t len;
	int fd, i;

	for (i = 0; i < 100; i++) {
		fd = dial();
		h = a_hello(HELLO_CLIENT, (unsigned int)i);
		hello_encode(buf, &h);
		len = sizeof(buf);
		if (!hello) {
			len = i % 2 ? sizeof(buf) : (size_t)i + 1;
			some(buf, len);
		}
		send(fd, buf, len, MSG_NOSIGNAL);
		/* Less than a record's header may wait for its time limit: hang up ourselves. */
		shutdown(fd, SHUT_WR);
		refused(fd, 10, "plain");
	}
}

static void garbage(void)
{
	uint8_t buf[2048];
	size_t len;
	int fd, i;

	for (i = 0; i < 200; i++) {
		fd = dial();
		some(buf, sizeof(buf));
		len = 1 + (buf[100] | (size_t)buf[101] << 8) % (sizeof(buf) - 5);
		buf[0] = i % 4 ? 22 : buf[0];
		buf[1] = 3;
		buf[2] = (uint8_t)(i % 3 ? 1 : 3);
		buf[3] = (uint8_t)(len >> 8);
		buf[4] = (uint8_t)len;
		buf[5] = i % 8 ? 1 : buf[5];
		send(fd, buf, len + 5, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		refused(fd, 10, "garbage");
	}
}

/* ---- between a good client and vmmd --------------------------------------- */

struct relay {
	long limit;		/* of the client's bytes; -1: all */
	long flip;		/* the client's byte to change; -1: none */
	enum hello_role role;
	uint8_t log[65536];	/* what the client sent */
	size_t len;
};

/* A client in a child process; its bytes pass through us.  Returns true when it says that it got in. */
static bool relay(struct relay *r)
{
	uint8_t buf[4096], verdict = 0;
	struct tls_keys keys;
	struct hello h;
	char err[256];
	uint32_t status;
	int pair[2], told[2], out, i;
	struct pollfd p[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(told))
		die("socketpair", strerror(errno));
	out = dial();
	if (!fork()) {
		close(pair[0]);
		close(out);
		h = a_hello(r->role, 7);
		verdict = !tls_connect(pair[1], &key, now_ms() + 3000, &keys, err, sizeof(err)) &&
			  (!net_hello(pair[1], &keys, &h, now_ms() + 3000, &status, err, sizeof(err)) ||
			   status != ANSWER_OK);
		if (write(told[1], &verdict, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(pair[1]);
	close(told[1]);
	p[0] = (struct pollfd){ .fd = pair[0], .events = POLLIN };
	p[1] = (struct pollfd){ .fd = out, .events = POLLIN };
	for (;;) {
		if (poll(p, 2, 8000) <= 0)
			break;
		i = p[0].revents ? 0 : 1;
		n = recv(p[i].fd, buf, sizeof(buf), 0);
		if (n <= 0)
			break;
		if (i == 0) {
			if (r->flip >= (long)r->len && r->flip < (long)r->len + n)
				buf[r->flip - (long)r->len] ^= 0x10;
			if (r->limit >= 0 && (long)r->len + n > r->limit)
				n = r->limit - (long)r->len;
			if (r->len + (size_t)n <= sizeof(r->log))
				memcpy(r->log + r->len, buf, (size_t)n);
			r->len += (size_t)n;
		}
		if (n && send(p[1 - i].fd, buf, (size_t)n, MSG_NOSIGNAL) < 0)
			break;
		if (r->limit >= 0 && (long)r->len == r->limit)
			break;
	}
	close(pair[0]);
	close(out);
	n = read(told[0], &verdict, 1);
	close(told[0]);
	return n == 1 && verdict;
}

/* A session of its own, see struct relay. */
static bool session(struct relay *r, enum hello_role role, long limit, long flip)
{
	memset(r, 0, sizeof(*r));
	r->role = role;
	r->limit = limit;
	r->flip = flip;
	return relay(r);
}

/* All of a session, which gets in; how many bytes the client sends. */
static long whole(const char *what, struct relay *r, enum hello_role role)
{
	if (!session(r, role, -1, -1))
		die(what, "the whole session fails");
	return (long)r->len;
}

static void cut(void)
{
	static struct relay r;
	long at, len = whole("cut", &r, HELLO_LINK);

	for (at = 0; at < len; at += at < 12 || at > len - 12 ? 1 : 17)
		if (session(&r, HELLO_LINK, at, -1))
			die("cut", "it got in");
}

static void change(void)
{
	static struct relay r;
	long at, len = whole("change", &r, HELLO_LINK);

	/* The record version of the first record is free by RFC 8446 section 5.1: begin behind it. */
	for (at = 3; at < len; at += 7) {
		if (!session(&r, HELLO_LINK, -1, at))
			continue;
		printf("rogue: byte %ld of %ld changed: got in\n", at, len);
		/* A ChangeCipherSpec is dropped without a look, RFC 8446 section 5; it says nothing. */
		if (r.log[at] == 0x11 || r.log[at - 1] == 0x14 || r.log[at - 2] == 0x14)
			continue;
		die("change", "it got in");
	}
}

static void replay(void)
{
	static struct relay r;
	int fd;

	whole("replay", &r, HELLO_CLIENT);
	fd = dial();
	send(fd, r.log, r.len, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	refused(fd, 10, "replay");
}

/* ---- others --------------------------------------------------------------- */

static void hold(int n, int seconds)
{
	int *fd = calloc((size_t)n, sizeof(*fd)), i;

	for (i = 0; i < n; i++)
		fd[i] = dial();
	printf("holding\n");
	fflush(stdout);
	for (i = 0; i < n; i++)
		refused(fd[i], seconds, "hold");
	free(fd);
}

static int enter(struct tls_keys *keys, enum hello_role role, unsigned int n)
{
	struct hello h = a_hello(role, n);
	char err[256];
	uint32_t status;
	int fd = dial();

	if (tls_connect(fd, &key, now_ms() + 5000, keys, err, sizeof(err)))
		die("handshake", err);
	if (net_hello(fd, keys, &h, now_ms() + 5000, &status, err, sizeof(err)))
		die("hello", err);
	return fd;
}

static void frames(bool last)
{
	uint8_t in[256], out[512];
	struct tls_keys keys;
	int fd;
	unsigned int n;

	for (n = 0; n < 20; n++) {
		fd = enter(&keys, HELLO_CLIENT, n);
		some(in, sizeof(in));
		if (n % 3)
			frame_header(in, (uint16_t)(1 + n % 20), 0, 40 + n);
		/* Under the right key, under the supervisor's, or no record at all. */
		if (n % 4 == 3)
			memcpy(out, in, sizeof(in));
		else if (tls_seal_once(last ? &keys.last : &keys.tx, last ? TLS_LAST_WORDS : TLS_DATA, out, in, 116))
			die("frames", "cannot seal");
		send(fd, out, 116 + TLS_OVERHEAD, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		refused(fd, 20, "frames");
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "", *arg = argc > 3 ? argv[3] : "";
	struct tls_keys keys;
	char err[256];

	port = argc > 1 ? (uint16_t)atoi(argv[1]) : 0;
	if (*arg == '/' && key_load(arg, &key, err, sizeof(err)))
		die("key", err);
	if (!strcmp(what, "plain")) {
		plain(!strcmp(arg, "hello"));
	} else if (!strcmp(what, "garbage")) {
		garbage();
	} else if (!strcmp(what, "cut")) {
		cut();
	} else if (!strcmp(what, "change")) {
		change();
	} else if (!strcmp(what, "replay")) {
		replay();
	} else if (!strcmp(what, "hold") && argc > 4) {
		hold(atoi(arg), atoi(argv[4]));
	} else if (!strcmp(what, "open")) {
		close(enter(&keys, HELLO_CLIENT, 0));
		printf("in\n");
	} else if (!strcmp(what, "frames") || !strcmp(what, "last")) {
		frames(*what == 'l');
	} else if (!strcmp(what, "epoch")) {
		close(enter(&keys, HELLO_CHANNEL, 0));
		die("epoch", "it got in");
	} else {
		fprintf(stderr, "rogue: what?\n");
		return 64;
	}
	return 0;
}
