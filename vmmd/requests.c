// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What cvmm asks vmmd: see requests.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/ctlproto.h"
#include "vmmd/guests.h"
#include "vmmd/requests.h"
#include "vmmd/stats.h"

#define MAX_CTL		(REQUESTS_POLL - 1)

struct ctl_conn {
	int fd;			/* -1: free */
	bool events;
	uint32_t asking;	/* a request for statistics it waits for, 0: none */
	const struct guest *asked;
	uint64_t deadline_ms;
	size_t len;
	char buf[CTL_LINE_MAX];
};

static struct ctl_conn ctls[MAX_CTL];
static int listen_fd = -1;
static uint32_t next_asker;

static void ctl_close(struct ctl_conn *c)
{
	close(c->fd);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

/* A line for a cvmm; one that does not read is cut off. */
static void ctl_say(struct ctl_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void ctl_say(struct ctl_conn *c, const char *fmt, ...)
{
	char line[2048];
	va_list ap;
	int n;

	if (c->fd < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n > sizeof(line) - 2)
		return;
	line[n++] = '\n';
	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
		ctl_close(c);
}

static void ctl_vm(struct ctl_conn *c, const struct guest *v)
{
	ctl_say(c, "name=%s\tnode=%u\tnodes=%u\tvcpus=%u\tmemory=%" PRIu64 "\tstate=%s\tpid=%d\tboot=%u\tid=%016"
		PRIx64 "\tsince=%lld", v->hello.name, v->hello.to, v->nr_nodes, v->vcpus, v->memory, guest_states[v->state],
		(int)v->pid, v->hello.epoch, v->hello.vm_id, (long long)v->since);
}

static void ctl_request(struct ctl_conn *c, char *line)
{
	struct super_msg m = { .type = SUPER_ASK_STATS };
	char *arg = strchr(line, ' ');
	struct guest *v = NULL;
	unsigned int i;

	if (arg) {
		*arg++ = '\0';
		v = guest_by_name(arg);
		if (!v) {
			ctl_say(c, "error=no guest named \"%.64s\" runs on this host", arg);
			return;
		}
	}
	if (!strcmp(line, "list") && !arg) {
		for (i = 0; i < GUESTS_MAX; i++)
			if (guests[i].pid)
				ctl_vm(c, &guests[i]);
		ctl_say(c, "ok");
	} else if (!strcmp(line, "status") && v) {
		ctl_vm(c, v);
		ctl_say(c, "ok");
	} else if (!strcmp(line, "stop") && v) {
		guest_stop(v, "stopped by cvmm stop");
		ctl_say(c, "ok");
	} else if (!strcmp(line, "stats") && v) {
		c->asking = m.asker = ++next_asker;
		c->asked = v;
		c->deadline_ms = now_ms() + 2000;
		if (net_send_fd(v->super_fd, &m, SUPER_LEN(&m), -1)) {
			c->asking = 0;
			ctl_say(c, "error=the guest's process does not answer");
		}
	} else if (!strcmp(line, "events") && !arg) {
		c->events = true;
		ctl_say(c, "ok");
	} else {
		ctl_say(c, "error=unknown request");
	}
}

void requests_answer(const struct guest *v, uint32_t asker, const uint8_t *data, size_t len)
{
	struct stats s = { 0 };
	unsigned int i, k;

	for (i = 0; i < MAX_CTL; i++)
		if (ctls[i].fd >= 0 && ctls[i].asking && ctls[i].asking == asker && ctls[i].asked == v)
			break;
	if (i == MAX_CTL)
		return;
	ctls[i].asking = 0;
	if (stats_decode(data, len, &s)) {
		ctl_say(&ctls[i], "error=the guest's process answers nonsense");
	} else {
		for (k = 0; k < s.nr; k++)
			ctl_say(&ctls[i], "counter=%s\tvalue=%" PRIu64, s.entry[k].name, s.entry[k].value);
		ctl_say(&ctls[i], "ok");
	}
	stats_free(&s);
}

static void ctl_readable(struct ctl_conn *c)
{
	char *end;
	ssize_t n;

	n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ctl_close(c);
		return;
	}
	c->len += (size_t)n;
	c->buf[c->len] = '\0';
	while (c->fd >= 0 && (end = strchr(c->buf, '\n'))) {
		*end++ = '\0';
		ctl_request(c, c->buf);
		if (c->fd < 0)
			return;
		c->len -= (size_t)(end - c->buf);
		memmove(c->buf, end, c->len + 1);
	}
	if (c->len == sizeof(c->buf) - 1)
		ctl_close(c);
}

static void ctl_accept(void)
{
	unsigned int i;
	int fd;

	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	for (i = 0; i < MAX_CTL && ctls[i].fd >= 0; i++)
		;
	if (i == MAX_CTL) {
		close(fd);
		return;
	}
	ctls[i].fd = fd;
}

void requests_event(const struct guest *v, const char *what, const char *text)
{
	unsigned int i;

	for (i = 0; i < MAX_CTL; i++)
		if (ctls[i].fd >= 0 && ctls[i].events)
			ctl_say(&ctls[i], "event=%s\tname=%s\tnode=%u\ttext=%s", what, v->hello.name,
				v->hello.to, text);
}

/* ---- for main.c ----------------------------------------------------------- */

int requests_open(const char *path, char *err, size_t errlen)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char dir[sizeof(sa.sun_path)], *slash;
	unsigned int i;
	mode_t mask;
	int fd, ret;

	for (i = 0; i < MAX_CTL; i++)
		ctls[i].fd = -1;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		snprintf(err, errlen, "%s: the path is too long", path);
		return -1;
	}
	strcpy(sa.sun_path, path);
	strcpy(dir, path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		mkdir(dir, 0755);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto report;
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		snprintf(err, errlen, "%s: another vmmd runs on this host", path);
		goto close_fd;
	}
	close(fd);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto report;
	mask = umask(0117);
	ret = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(mask);
	if (!ret && !listen(fd, 16)) {
		listen_fd = fd;
		return 0;
	}
report:
	snprintf(err, errlen, "%s: %s", path, strerror(errno));
close_fd:
	if (fd >= 0)
		close(fd);
	return -1;
}

void requests_poll(struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < MAX_CTL; i++)
		p[i] = (struct pollfd){ .fd = ctls[i].fd, .events = POLLIN };
	p[i] = (struct pollfd){ .fd = listen_fd, .events = POLLIN };
}

void requests_serve(const struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < MAX_CTL; i++)
		if (p[i].revents && ctls[i].fd == p[i].fd)
			ctl_readable(&ctls[i]);
	if (p[i].revents)
		ctl_accept();
}

uint64_t requests_expire(uint64_t now)
{
	uint64_t next = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < MAX_CTL; i++) {
		if (ctls[i].fd < 0 || !ctls[i].asking)
			continue;
		if (ctls[i].deadline_ms <= now) {
			ctls[i].asking = 0;
			ctl_say(&ctls[i], "error=the guest's process does not answer");
		} else if (ctls[i].deadline_ms < next) {
			next = ctls[i].deadline_ms;
		}
	}
	return next;
}
