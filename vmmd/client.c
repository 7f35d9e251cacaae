// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm-run's side of a guest that runs through the vmmds of its hosts: it asks
 * all nodes for one step after the other (proto.h), carries the console, and
 * ends all nodes when one has ended or the user wants it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmmd/conn.h"
#include "vmmd/console.h"
#include "vmmd/proto.h"
#include "vmmd/run.h"

#define TICK_MS		500
#define CONNECT_MS	5000
#define STEP_MS		60000	/* for a step on all nodes */
#define STOP_MS		6000	/* for all nodes to end, from the first one's end */
#define BYE_MS		12000	/* for all processes to be gone, from the BYE */
#define FEED_MAX	(512U << 10) /* of kernel and initrd on the way */

struct node {
	struct session *s;
	unsigned int index;
	struct conn conn;
	bool open;		/* conn is in use */
	bool ended;
	uint16_t done;		/* the last step it has done */
};

struct session {
	struct run *run;
	struct node node[CONF_MAX_NODES];
	unsigned int nr;
	uint16_t step;		/* the step all nodes are at; 0: none yet */
	uint64_t step_ms;	/* when it was asked for */
	uint64_t fed;		/* bytes of kernel and initrd sent */
	/* The end */
	bool ending, bye;
	uint64_t ending_ms, bye_ms;
	bool have_end;
	unsigned int end_from;	/* node that told */
	struct ended end;
	int signal;		/* the user's wish */
	bool quit, reset;
	int late_signal;	/* the same, while the guest was ending: not to boot again */
	bool late_quit;
};

static const char *host_of(const struct session *s, unsigned int n)
{
	return s->run->conf.node[n].host;
}

static void begin_end(struct session *s)
{
	unsigned int i;

	if (s->ending)
		return;
	s->ending = true;
	s->ending_ms = now_ms();
	for (i = 0; i < s->nr; i++)
		if (s->node[i].open && !s->node[i].ended)
			conn_send(&s->node[i].conn, F_STOP, 0, NULL, 0);
}

/*
 * A node has told how it ended.  The first to do so tells why the guest did,
 * except that what a host says of itself is better than what others say of it.
 */
static void note_end(struct session *s, unsigned int from, const struct ended *e)
{
	bool better = s->have_end && s->end.node == from &&
		      e->end == MACHINE_ERROR && e->status != ENDED_LOST &&
		      (s->end.status == ENDED_LOST || (s->end_from != from && e->node == from));

	if (s->quit || s->signal || s->reset)
		return;
	if (s->have_end && !better)
		return;
	s->have_end = true;
	s->end = *e;
	s->end_from = from;
}

/* The connection to a node is gone before its time. */
static void node_gone(struct node *n, const char *why)
{
	struct ended e = { .end = MACHINE_ERROR, .status = ENDED_LOST, .node = n->index };

	conn_close(&n->conn);
	n->open = false;
	if (n->s->bye || n->ended)
		return;
	n->ended = true;
	/* Others may know more, or less: let this one count unless another has told already. */
	snprintf(e.text, sizeof(e.text), "%s", why);
	note_end(n->s, n->index, &e);
	begin_end(n->s);
}

static int on_frame(void *arg, const struct frame *f)
{
	struct node *n = arg;
	struct session *s = n->s;
	struct stats *st = &s->run->stats[n->index];
	struct ended e;

	switch (f->type) {
	case F_DONE:
		if (f->len != 4)
			return -1;
		n->done = (uint16_t)get_u32(f->data);
		return 0;
	case F_CONSOLE_OUT:
		console_put(f->data, f->len);
		return 0;
	case F_STATS:
		stats_free(st);
		return stats_decode(f->data, f->len, st);
	case F_ENDED:
		if (ended_decode(f->data, f->len, &e))
			return -1;
		if (n->ended)
			return 0;
		n->ended = true;
		note_end(s, n->index, &e);
		begin_end(s);
		return 0;
	case F_ALIVE:
		return 0;
	}
	return -1;
}

static void send_conf(struct session *s)
{
	struct start_request req = {
		.conf = s->run->conf,
		.kernel_len = s->run->kernel.len,
		.initrd_len = s->run->initrd.len,
	};
	static uint8_t buf[START_MAX];
	unsigned int i;
	long len;

	len = start_encode(buf, sizeof(buf), &req);
	for (i = 0; i < s->nr && len > 0; i++)
		conn_send(&s->node[i].conn, F_CONF, 0, buf, (size_t)len);
}

/* Keep node 0's connection filled with the kernel and the initrd. */
static void feed(struct session *s)
{
	const struct blob *b;
	uint64_t total = s->run->kernel.len + s->run->initrd.len, pos, n;
	struct node *zero = &s->node[0];
	uint16_t type;

	while (zero->open && s->fed < total && conn_pending(&zero->conn) < FEED_MAX) {
		type = s->fed < s->run->kernel.len ? F_KERNEL : F_INITRD;
		b = type == F_KERNEL ? &s->run->kernel : &s->run->initrd;
		pos = type == F_KERNEL ? s->fed : s->fed - s->run->kernel.len;
		n = b->len - pos < FRAME_MAX ? b->len - pos : FRAME_MAX;
		if (conn_send(&zero->conn, type, 0, b->data + pos, n))
			return;
		s->fed += n;
	}
}

/* When all nodes have done a step, ask for the next one. */
static void advance(struct session *s)
{
	static const char *const what[] = {
		[F_CONF] = "set up", [F_CONNECT] = "connected", [F_PREPARE] = "ready",
	};
	uint16_t next;
	unsigned int i;

	if (s->ending || s->step == F_RUN)
		return;
	if (s->step >= F_CONNECT)
		feed(s);
	for (i = 0; i < s->nr; i++)
		if (s->node[i].done != s->step)
			return;
	switch (s->step) {
	case F_CONF:
		next = F_CONNECT;
		break;
	case F_CONNECT:
		if (s->fed < s->run->kernel.len + s->run->initrd.len)
			return;
		next = F_PREPARE;
		break;
	default:
		next = F_RUN;
		break;
	}
	run_verbose(s->run, "all %u nodes are %s", s->nr, what[s->step]);
	s->step = next;
	s->step_ms = now_ms();
	for (i = 0; i < s->nr; i++)
		conn_send(&s->node[i].conn, next, 0, NULL, 0);
	if (next == F_CONNECT)
		feed(s);
}

static void on_tick(struct session *s)
{
	uint64_t now = now_ms();
	struct node *n;
	char why[96];
	unsigned int i;

	for (i = 0; i < s->nr; i++) {
		n = &s->node[i];
		if (!n->open)
			continue;
		if (now - n->conn.sent_ms >= CONN_ALIVE_MS)
			conn_send(&n->conn, F_ALIVE, 0, NULL, 0);
		if (now - n->conn.heard_ms >= CONN_DEAD_MS + TICK_MS) {
			snprintf(why, sizeof(why), "no sign of life for %d s", CONN_DEAD_MS / 1000);
			node_gone(n, why);
		} else if (!s->ending && s->step != F_RUN && n->done != s->step &&
			   now - s->step_ms > STEP_MS) {
			snprintf(why, sizeof(why), "it is not ready after %d s", STEP_MS / 1000);
			node_gone(n, why);
		}
	}
}

/* Returns true when everything is over. */
static bool over(struct session *s)
{
	uint64_t now = now_ms();
	unsigned int i;
	bool all_ended = true, all_gone = true;

	for (i = 0; i < s->nr; i++) {
		all_ended &= s->node[i].ended || !s->node[i].open;
		all_gone &= !s->node[i].open;
	}
	if (s->ending && !s->bye && (all_ended || now - s->ending_ms > STOP_MS)) {
		s->bye = true;
		s->bye_ms = now;
		for (i = 0; i < s->nr; i++)
			if (s->node[i].open)
				conn_send(&s->node[i].conn, F_BYE, 0, NULL, 0);
	}
	/* A connection ends when the process and all that it had are gone. */
	return s->bye && (all_gone || now - s->bye_ms > BYE_MS);
}

static void on_signal(struct session *s, int sigfd)
{
	struct signalfd_siginfo si;

	if (read(sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	/* An insistent second one does not wait for anything; timeout(1) sends two at once. */
	if ((s->signal || s->late_signal) && now_ms() - s->ending_ms > RUN_INSIST_MS)
		exit(128 + (int)si.ssi_signo);
	if (!s->ending)
		s->signal = (int)si.ssi_signo;
	else if (!s->late_signal)
		s->late_signal = (int)si.ssi_signo;
	begin_end(s);
}

static void on_input(struct session *s)
{
	uint8_t buf[1024];
	size_t len;

	switch (console_read(buf, sizeof(buf), &len)) {
	case CONSOLE_QUIT:
		s->quit |= !s->ending;
		s->late_quit |= s->ending;
		begin_end(s);
		return;
	case CONSOLE_RESET:
		s->reset |= !s->ending;
		begin_end(s);
		return;
	case CONSOLE_NOTHING:
		break;
	}
	if (len && s->node[0].open && s->step == F_RUN)
		conn_send(&s->node[0].conn, F_CONSOLE_IN, 0, buf, len);
}

static void attend(struct session *s, int sigfd, int tick_fd)
{
	struct pollfd p[CONF_MAX_NODES + 3];
	struct node *n;
	char why[128];
	uint64_t ticks;
	unsigned int i;

	while (!over(s)) {
		for (i = 0; i < s->nr; i++) {
			n = &s->node[i];
			p[i].fd = n->open ? n->conn.fd : -1;
			p[i].events = POLLIN | (n->open && conn_pending(&n->conn) ? POLLOUT : 0);
		}
		p[i++] = (struct pollfd){ .fd = sigfd, .events = POLLIN };
		p[i++] = (struct pollfd){ .fd = tick_fd, .events = POLLIN };
		/* Before the guest runs there is nobody to take input. */
		p[i++] = (struct pollfd){ .fd = s->step == F_RUN ? console_input_fd() : -1,
					  .events = POLLIN };
		if (poll(p, i, -1) < 0)
			continue;
		for (i = 0; i < s->nr; i++) {
			n = &s->node[i];
			if (!n->open || !p[i].revents)
				continue;
			if (p[i].revents & POLLOUT)
				conn_flush(&n->conn);
			if (p[i].revents & ~POLLOUT &&
			    conn_receive(&n->conn, on_frame, n, why, sizeof(why)))
				node_gone(n, why);
		}
		if (p[s->nr].revents)
			on_signal(s, sigfd);
		if (p[s->nr + 2].revents)
			on_input(s);
		if (p[s->nr + 1].revents && read(tick_fd, &ticks, sizeof(ticks)) == sizeof(ticks))
			on_tick(s);
		advance(s);
	}
}

/* Connect to every node's vmmd; it starts the node's process. */
static int connect_all(struct session *s)
{
	struct run *run = s->run;
	struct hello h = {
		.role = HELLO_CLIENT,
		.vm_id = run->vm_id,
		.epoch = run->boots,
		.from = NODE_CLIENT,
	};
	const struct conf_node *n;
	struct tls_keys keys;
	char err[256];
	uint32_t status;
	unsigned int i;
	int fd, ret;

	snprintf(h.name, sizeof(h.name), "%s", run->conf.name);
	for (i = 0; i < s->nr; i++) {
		n = &run->conf.node[i];
		fd = net_connect(n->host, n->port, CONNECT_MS, err, sizeof(err));
		if (fd < 0) {
			snprintf(run->end, sizeof(run->end), "node %u: %s", i, err);
			return -1;
		}
		h.to = i;
		ret = tls_connect(fd, &run->key, now_ms() + CONNECT_MS, &keys, err, sizeof(err));
		if (!ret)
			ret = net_hello(fd, &keys, &h, now_ms() + CONNECT_MS, &status, err, sizeof(err));
		if (!ret && conn_init(&s->node[i].conn, fd, &keys)) {
			snprintf(err, sizeof(err), "out of memory");
			ret = -1;
		}
		explicit_bzero(&keys, sizeof(keys));
		if (ret) {
			snprintf(run->end, sizeof(run->end), "node %u (%s port %u): %.160s", i, n->host,
				 n->port, err);
			close(fd);
			return -1;
		}
		conn_take_last(&s->node[i].conn);
		s->node[i].open = true;
		run_verbose(run, "node %u: connected to %s port %u", i, n->host, n->port);
	}
	return 0;
}

static enum run_status ended_by_user(struct run *run, int signal)
{
	if (!signal) {
		snprintf(run->end, sizeof(run->end), "ended by the user");
		return RUN_STOPPED;
	}
	snprintf(run->end, sizeof(run->end), "ended by a signal: %s", strsignal(signal));
	return 128 + signal;
}

static enum run_status verdict(struct session *s, bool *again)
{
	static const enum run_status by_status[] = {
		[ENDED_NORMALLY] = RUN_STOPPED,
		[ENDED_UNAVAILABLE] = RUN_UNAVAILABLE,
		[ENDED_LOST] = RUN_LOST,
		[ENDED_INTERNAL] = RUN_INTERNAL,
	};
	struct run *run = s->run;
	const struct ended *e = &s->end;
	char about[160] = "", seen[160] = "";

	if (s->signal || s->quit)
		return ended_by_user(run, s->signal);
	if (s->reset) {
		*again = true;
		return RUN_RESET;
	}
	if (e->status == ENDED_NORMALLY && e->end == MACHINE_POWEROFF) {
		snprintf(run->end, sizeof(run->end), "%s", e->text);
		return RUN_POWEROFF;
	}
	if (e->status == ENDED_NORMALLY && e->end == MACHINE_RESET) {
		snprintf(run->end, sizeof(run->end), "%s", e->text);
		*again = !run->no_reboot;
		return RUN_RESET;
	}
	if (e->node < s->nr)
		snprintf(about, sizeof(about), "%snode %u (%.128s): ", e->status == ENDED_LOST ? "lost " : "",
			 e->node, host_of(s, e->node));
	if (e->node < s->nr && e->node != s->end_from)
		snprintf(seen, sizeof(seen), " (seen by node %u, %.100s)", s->end_from, host_of(s, s->end_from));
	snprintf(run->end, sizeof(run->end), "%s%s%s", about, e->text, seen);
	return by_status[e->status];
}

static enum run_status boot_once(struct run *run, int sigfd, int tick_fd, bool *again)
{
	static struct session s;
	enum run_status status = RUN_UNAVAILABLE;
	unsigned int i;

	memset(&s, 0, sizeof(s));
	s.run = run;
	s.nr = run->conf.nr_nodes;
	for (i = 0; i < s.nr; i++) {
		s.node[i].s = &s;
		s.node[i].index = i;
	}
	if (!connect_all(&s)) {
		s.step = F_CONF;
		s.step_ms = now_ms();
		send_conf(&s);
		attend(&s, sigfd, tick_fd);
		status = verdict(&s, again);
		if (*again && (s.late_signal || s.late_quit)) {
			*again = false;
			status = ended_by_user(run, s.late_signal);
		}
	}
	for (i = 0; i < s.nr; i++)
		if (s.node[i].open)
			conn_close(&s.node[i].conn);
	return status;
}

enum run_status run_cluster(struct run *run, int sigfd)
{
	struct itimerspec tick = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	enum run_status status;
	bool again;
	int tick_fd;

	tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (tick_fd < 0 || timerfd_settime(tick_fd, 0, &tick, NULL)) {
		snprintf(run->end, sizeof(run->end), "timerfd: %s", strerror(errno));
		return RUN_INTERNAL;
	}
	do {
		again = false;
		run->boots++;
		if (run->boots > 1)
			run_verbose(run, "guest \"%s\" boots again", run->conf.name);
		status = boot_once(run, sigfd, tick_fd, &again);
	} while (again);
	close(tick_fd);
	return status;
}
