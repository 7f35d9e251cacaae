// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections before anything is known of them: see door.h.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/door.h"

#define HELLO_MS	5000	/* for handshake and hello */
#define LOG_SAME_MS	60000	/* the same of the same address is logged once in so long */
#define LOG_MS		10000	/* LOG_BURST lines in so long, whatever they are */
#define LOG_BURST	10
#define LOG_SEEN	32

struct stranger {
	int fd;			/* -1: free */
	char name[64];		/* address, for the log */
	uint64_t deadline_ms;
	short events;		/* to wait for */
	struct tls_handshake *handshake;	/* NULL: done */
	struct tls_keys keys;
	size_t len;
	uint8_t buf[HELLO_SIZE + TLS_OVERHEAD];
};

/* What was logged lately. */
struct seen {
	char text[192];
	uint64_t ms;
};

static struct stranger strangers[DOOR_MAX];
static const struct cluster_key *cluster_key;
static void (*let_in)(int fd, struct tls_keys *keys, const struct hello *h);
static struct seen seen[LOG_SEEN];
static unsigned int next_seen, logged, unlogged;
static uint64_t logged_ms;

/* ---- the log -------------------------------------------------------------- */

/* Without a port; an IPv4 address as such also where the socket is IPv6's. */
static void name_of(const struct sockaddr_storage *sa, socklen_t len, char *buf, size_t size)
{
	if (getnameinfo((const struct sockaddr *)sa, len, buf, (socklen_t)size, NULL, 0, NI_NUMERICHOST))
		snprintf(buf, size, "?");
	if (!strncmp(buf, "::ffff:", 7) && strchr(buf, '.'))
		memmove(buf, buf + 7, strlen(buf + 7) + 1);
}

void door_refused(int fd, const char *why)
{
	char text[sizeof(seen[0].text)];
	const char *name = "?";
	uint64_t now = now_ms();
	unsigned int i;

	for (i = 0; i < DOOR_MAX; i++)
		if (strangers[i].fd == fd)
			name = strangers[i].name;
	snprintf(text, sizeof(text), "%.63s: %.120s", name, why);
	for (i = 0; i < LOG_SEEN; i++)
		if (seen[i].ms && now - seen[i].ms < LOG_SAME_MS && !strcmp(seen[i].text, text))
			return;
	if (now - logged_ms >= LOG_MS) {
		if (unlogged)
			log_line("%u more connections were refused", unlogged);
		logged = unlogged = 0;
		logged_ms = now;
	}
	if (logged == LOG_BURST) {
		unlogged++;
		return;
	}
	logged++;
	strcpy(seen[next_seen].text, text);
	seen[next_seen].ms = now;
	next_seen = (next_seen + 1) % LOG_SEEN;
	log_line("refused a connection from %s", text);
}

/* ---- strangers ------------------------------------------------------------ */

static void release(struct stranger *s)
{
	tls_end(s->handshake);
	explicit_bzero(s, sizeof(*s));
	s->fd = -1;
}

static void turn_away(struct stranger *s, const char *why)
{
	door_refused(s->fd, why);
	close(s->fd);
	release(s);
}

/*
 * A place for one more.  When there is none, the address that has most of them
 * loses its oldest, so that nobody can keep the others out from one address.
 */
static struct stranger *make_room(void)
{
	struct stranger *worst = NULL;
	unsigned int i, k, n, most = 0;

	for (i = 0; i < DOOR_MAX; i++)
		if (strangers[i].fd < 0)
			return &strangers[i];
	for (i = 0; i < DOOR_MAX; i++) {
		for (n = k = 0; k < DOOR_MAX; k++)
			n += !strcmp(strangers[i].name, strangers[k].name);
		if (n > most || (n == most && strangers[i].deadline_ms < worst->deadline_ms)) {
			most = n;
			worst = &strangers[i];
		}
	}
	turn_away(worst, "too many connections that do not say who they are");
	return worst;
}

void door_accept(int listen_fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct stranger *s;
	int fd;

	memset(&sa, 0, sizeof(sa));
	fd = accept4(listen_fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	s = make_room();
	net_tune(fd);
	s->handshake = tls_begin(fd, cluster_key, true);
	if (!s->handshake) {
		close(fd);
		return;
	}
	s->fd = fd;
	s->events = POLLIN;
	name_of(&sa, len, s->name, sizeof(s->name));
	s->deadline_ms = now_ms() + HELLO_MS;
}

static void take_hello(struct stranger *s)
{
	uint8_t buf[HELLO_SIZE];
	uint32_t version;
	struct hello h;
	char text[128];
	ssize_t n;
	int fd = s->fd;

	n = recv(fd, s->buf + s->len, sizeof(s->buf) - s->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		turn_away(s, "the connection ended before its hello");
		return;
	}
	s->len += (size_t)n;
	if (s->len < sizeof(s->buf))
		return;
	if (tls_open_once(&s->keys.rx, buf, sizeof(buf), s->buf)) {
		turn_away(s, "no hello came, or it was changed on the way");
		return;
	}
	switch (hello_decode(buf, &h, &version)) {
	case 0:
		let_in(fd, &s->keys, &h);
		release(s);
		return;
	case -2:
		snprintf(text, sizeof(text), "this vmmd speaks version %d of the protocol, not %u",
			 PROTO_VERSION, version);
		door_answer(fd, &s->keys, ANSWER_REFUSED, text);
		break;
	default:
		snprintf(text, sizeof(text), "a malformed hello");
	}
	turn_away(s, text);
}

static void serve(struct stranger *s)
{
	char err[128];
	int ret;

	if (s->handshake) {
		ret = tls_step(s->handshake, &s->keys, err, sizeof(err));
		if (ret > 0) {
			s->events = (short)ret;
			return;
		}
		if (ret < 0) {
			turn_away(s, err);
			return;
		}
		tls_end(s->handshake);
		s->handshake = NULL;
		s->events = POLLIN;
	}
	take_hello(s);
}

/* ---- for main.c ----------------------------------------------------------- */

void door_open(const struct cluster_key *key,
	       void (*in)(int fd, struct tls_keys *keys, const struct hello *h))
{
	unsigned int i;

	cluster_key = key;
	let_in = in;
	for (i = 0; i < DOOR_MAX; i++)
		strangers[i].fd = -1;
}

void door_poll(struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < DOOR_MAX; i++)
		p[i] = (struct pollfd){ .fd = strangers[i].fd, .events = strangers[i].events };
}

void door_serve(const struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < DOOR_MAX; i++)
		if (p[i].fd >= 0 && p[i].revents && strangers[i].fd == p[i].fd)
			serve(&strangers[i]);
}

uint64_t door_expire(uint64_t now)
{
	uint64_t next = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < DOOR_MAX; i++) {
		if (strangers[i].fd < 0)
			continue;
		if (strangers[i].deadline_ms <= now)
			turn_away(&strangers[i], strangers[i].handshake ? "no handshake in time" : "no hello in time");
		else if (strangers[i].deadline_ms < next)
			next = strangers[i].deadline_ms;
	}
	return next;
}

void door_forget(void)
{
	unsigned int i;

	for (i = 0; i < DOOR_MAX; i++)
		release(&strangers[i]);
}

int door_answer(int fd, struct tls_keys *keys, uint32_t status, const char *text)
{
	uint8_t buf[ANSWER_SIZE], record[ANSWER_SIZE + TLS_OVERHEAD];

	answer_encode(buf, status, text);
	if (tls_seal_once(&keys->tx, TLS_DATA, record, buf, sizeof(buf)))
		return -1;
	/* The first bytes of a connection always fit. */
	return send(fd, record, sizeof(record), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(record) ? 0 : -1;
}
