// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmmd: the supervisor of a host.  It listens for clients and for other hosts,
 * starts one process for each node of a guest that runs here, hands it its
 * connections, and tells cvmm what there is.  It never reads more of a
 * connection than the hello, and one process's end touches no other.  Who has
 * not shown the cluster key is door.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/ctlproto.h"
#include "vmmd/door.h"
#include "vmmd/key.h"
#include "vmmd/ktls.h"
#include "vmmd/proto.h"
#include "vmmd/stats.h"
#include "vmmd/version.h"

#define MAX_VMS		256
#define MAX_CTL		32
#define KILL_MS		15000	/* from SIGTERM until processes that are left are killed */

struct vm_entry {
	pid_t pid;		/* 0: free */
	int super_fd;		/* -1: the process has closed its end */
	int client_fd;		/* kept open so that the client sees the process's end, not before */
	struct hello hello;
	struct tls_half last;	/* to tell the client what the process can not tell any more */
	unsigned int state;	/* of states[] */
	bool had_stats;		/* it has asked for the module's counters */
	time_t since;
	uint32_t nr_nodes, vcpus;
	uint64_t memory;
};

struct ctl_conn {
	int fd;			/* -1: free */
	bool events;
	uint32_t asking;	/* a request for statistics it waits for, 0: none */
	const struct vm_entry *asked;
	uint64_t deadline_ms;
	size_t len;
	char buf[CTL_LINE_MAX];
};

/* What a guest's process goes through, in order. */
static const char *const states[] = { "new", "starting", "ready", "ended" };
#define NR_STATES	(sizeof(states) / sizeof(states[0]))

static struct vm_entry vms[MAX_VMS];
static struct ctl_conn ctls[MAX_CTL];
static int tcp_fd = -1, ctl_fd = -1, sig_fd = -1;
static bool stopping;
static uint64_t stopping_ms;
static uint32_t next_asker;
static const char *ctl_path = CTL_SOCKET, *pid_path, *key_path = KEY_FILE;
static struct cluster_key cluster_key;
static struct sandbox_user user;

/* ---- cvmm's requests ------------------------------------------------------ */

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

static void event(const struct vm_entry *v, const char *what, const char *text)
{
	unsigned int i;

	log_line("guest %s, node %u: %s%s%s", v->hello.name, v->hello.to, what, *text ? ": " : "", text);
	for (i = 0; i < MAX_CTL; i++)
		if (ctls[i].fd >= 0 && ctls[i].events)
			ctl_say(&ctls[i], "event=%s\tname=%s\tnode=%u\ttext=%s", what, v->hello.name,
				v->hello.to, text);
}

static void ctl_vm(struct ctl_conn *c, const struct vm_entry *v)
{
	ctl_say(c, "name=%s\tnode=%u\tnodes=%u\tvcpus=%u\tmemory=%" PRIu64 "\tstate=%s\tpid=%d\tboot=%u\tid=%016"
		PRIx64 "\tsince=%lld", v->hello.name, v->hello.to, v->nr_nodes, v->vcpus, v->memory, states[v->state],
		(int)v->pid, v->hello.epoch, v->hello.vm_id, (long long)v->since);
}

static struct vm_entry *vm_by_name(const char *name)
{
	unsigned int i;

	for (i = 0; i < MAX_VMS; i++)
		if (vms[i].pid && !strcmp(vms[i].hello.name, name))
			return &vms[i];
	return NULL;
}

/* A process that cannot be told any more is not asked. */
static void vm_stop(struct vm_entry *v, const char *why)
{
	struct super_msg m = { .type = SUPER_STOP };

	snprintf(m.text, sizeof(m.text), "%s", why);
	if (net_send_fd(v->super_fd, &m, SUPER_LEN(&m), -1))
		kill(v->pid, SIGKILL);
}

static void ctl_request(struct ctl_conn *c, char *line)
{
	struct super_msg m = { .type = SUPER_ASK_STATS };
	char *arg = strchr(line, ' ');
	struct vm_entry *v = NULL;
	unsigned int i;

	if (arg) {
		*arg++ = '\0';
		v = vm_by_name(arg);
		if (!v) {
			ctl_say(c, "error=no guest named \"%.64s\" runs on this host", arg);
			return;
		}
	}
	if (!strcmp(line, "list") && !arg) {
		for (i = 0; i < MAX_VMS; i++)
			if (vms[i].pid)
				ctl_vm(c, &vms[i]);
		ctl_say(c, "ok");
	} else if (!strcmp(line, "status") && v) {
		ctl_vm(c, v);
		ctl_say(c, "ok");
	} else if (!strcmp(line, "stop") && v) {
		vm_stop(v, "stopped by cvmm stop");
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

static void ctl_stats(const struct vm_entry *v, const struct super_msg *m)
{
	struct stats s = { 0 };
	unsigned int i, k;

	for (i = 0; i < MAX_CTL; i++)
		if (ctls[i].fd >= 0 && ctls[i].asking && ctls[i].asking == m->asker && ctls[i].asked == v)
			break;
	if (i == MAX_CTL)
		return;
	ctls[i].asking = 0;
	if (stats_decode(m->data, m->len, &s)) {
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

	fd = accept4(ctl_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
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

/* ---- guests --------------------------------------------------------------- */

/* In the new process: keep the standard descriptors and two more. */
static _Noreturn void child(int client_fd, struct tls_keys keys, int super_fd, const struct hello *h)
{
	char name[16];
	int a, b;

	/* What is not this guest's. */
	door_forget();
	explicit_bzero(&keys.last, sizeof(keys.last));
	explicit_bzero(vms, sizeof(vms));

	/* 3 and 4 are taken by descriptors that this process has no use for. */
	a = fcntl(client_fd, F_DUPFD_CLOEXEC, 3);
	b = fcntl(super_fd, F_DUPFD_CLOEXEC, 3);
	if (a < 0 || b < 0 || dup2(a, 3) < 0 || dup2(b, 4) < 0)
		_exit(70);
	close_range(5, ~0U, 0);
	snprintf(name, sizeof(name), "vm-%.12s", h->name);
	prctl(PR_SET_NAME, name);
	_exit(cluster_node(3, &keys, 4, h, &cluster_key, &user));
}

/* Tell a client what its node's process could not tell any more. */
static void tell_client(int fd, struct tls_half *last, uint32_t node, const char *text)
{
	struct ended e = { .end = MACHINE_ERROR, .status = ENDED_INTERNAL, .node = node };
	uint8_t buf[FRAME_HEADER + ENDED_SIZE], record[FRAME_HEADER + ENDED_SIZE + TLS_OVERHEAD];

	snprintf(e.text, sizeof(e.text), "%s", text);
	frame_header(buf, F_ENDED, 0, ENDED_SIZE);
	ended_encode(buf + FRAME_HEADER, &e);
	if (tls_seal_once(last, TLS_LAST_WORDS, record, buf, sizeof(buf)) ||
	    send(fd, record, sizeof(record), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void reap(void)
{
	struct vm_entry *v;
	char text[128];
	unsigned int i;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < MAX_VMS && vms[i].pid != pid; i++)
			;
		if (i == MAX_VMS)
			continue;
		v = &vms[i];
		text[0] = '\0';
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
			snprintf(text, sizeof(text), "its process was killed because it made a system call that its "
				 "sandbox forbids");
		else if (WIFSIGNALED(status))
			snprintf(text, sizeof(text), "its process was killed by signal %d (%s)",
				 WTERMSIG(status), strsignal(WTERMSIG(status)));
		else if (WEXITSTATUS(status))
			snprintf(text, sizeof(text), "its process failed with status %d", WEXITSTATUS(status));
		if (text[0])
			tell_client(v->client_fd, &v->last, v->hello.to, text);
		event(v, text[0] ? "died" : "gone", text);
		close(v->client_fd);
		if (v->super_fd >= 0)
			close(v->super_fd);
		explicit_bzero(v, sizeof(*v));
	}
}

static void start_vm(int fd, struct tls_keys *keys, const struct hello *h)
{
	char text[224];
	struct vm_entry *v;
	unsigned int i;
	int pair[2];

	reap();
	v = vm_by_name(h->name);
	if (v) {
		snprintf(text, sizeof(text), "a guest named \"%s\" runs on this host already (%s); "
			 "stop it with cvmm stop, or give this one another name",
			 h->name, v->hello.vm_id == h->vm_id ? "another node of this one" : states[v->state]);
		door_answer(fd, keys, ANSWER_NAME_IN_USE, text);
		close(fd);
		return;
	}
	for (i = 0; i < MAX_VMS && vms[i].pid; i++)
		;
	if (stopping || i == MAX_VMS ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		door_answer(fd, keys, ANSWER_REFUSED, stopping ? "vmmd is stopping" : "too many guests on this host");
		close(fd);
		return;
	}
	v = &vms[i];
	door_answer(fd, keys, ANSWER_OK, "");
	v->pid = fork();
	if (v->pid == 0)
		child(fd, *keys, pair[1], h);
	close(pair[1]);
	if (v->pid < 0) {
		v->pid = 0;
		tell_client(fd, &keys->last, h->to, "no new process can be made");
		close(pair[0]);
		close(fd);
		return;
	}
	v->super_fd = pair[0];
	v->client_fd = fd;
	v->hello = *h;
	v->last = keys->last;
	v->since = time(NULL);
	event(v, states[v->state], "");
}

static void pass_peer(int fd, struct tls_keys *keys, const struct hello *h)
{
	static struct super_msg m;
	char text[128];
	unsigned int i;

	for (i = 0; i < MAX_VMS; i++)
		if (vms[i].pid && vms[i].hello.vm_id == h->vm_id && vms[i].hello.epoch == h->epoch &&
		    vms[i].hello.to == h->to)
			break;
	if (i == MAX_VMS || strcmp(vms[i].hello.name, h->name)) {
		door_answer(fd, keys, ANSWER_NO_SUCH_VM, "no such guest, or not this boot of it, runs on this host");
		snprintf(text, sizeof(text), "it wants guest %.63s, boot %u, node %u, which does not run here",
			 h->name, h->epoch, h->to);
		door_refused(fd, text);
	} else {
		m.type = SUPER_PEER;
		m.hello = *h;
		m.keys = *keys;
		if (net_send_fd(vms[i].super_fd, &m, SUPER_LEN(&m), fd))
			door_answer(fd, keys, ANSWER_REFUSED, "the guest's process does not take it");
		explicit_bzero(&m.keys, sizeof(m.keys));
	}
	close(fd);
}

/*
 * From a guest's process, which the guest may have taken over: nothing of it is
 * believed, and nothing is done twice for it.
 */
static void vm_message(struct vm_entry *v)
{
	static struct super_msg m;
	struct stats s = { 0 };
	unsigned int state;
	long n;
	int fd;

	n = net_recv_fd(v->super_fd, &m, sizeof(m), &fd);
	if (fd >= 0)
		close(fd);
	if (!n) {
		/* Its end, or soon; waitpid() will tell. */
		close(v->super_fd);
		v->super_fd = -1;
	}
	if (n < (long)offsetof(struct super_msg, data))
		return;
	if (m.type == SUPER_STATS && m.len <= (size_t)n - offsetof(struct super_msg, data)) {
		ctl_stats(v, &m);
	} else if (m.type == SUPER_ASK_STATS && !v->had_stats) {
		v->had_stats = true;
		memset(&m, 0, offsetof(struct super_msg, data));
		m.type = SUPER_STATS;
		stats_add_module(&s, v->hello.name);
		m.len = stats_encode(&s, m.data, sizeof(m.data));
		stats_free(&s);
		net_send_fd(v->super_fd, &m, SUPER_LEN(&m), -1);
	} else if (m.type == SUPER_STATE) {
		for (state = v->state + 1; state < NR_STATES && strncmp(m.text, states[state], sizeof(m.text)); state++)
			;
		if (state == NR_STATES)
			return;
		v->state = state;
		v->nr_nodes = m.nr_nodes;
		v->vcpus = m.vcpus;
		v->memory = m.memory;
		event(v, states[state], "");
	}
}

/* ---- new connections ------------------------------------------------------ */

static void come_in(int fd, struct tls_keys *keys, const struct hello *h)
{
	if (h->role == HELLO_CLIENT)
		start_vm(fd, keys, h);
	else
		pass_peer(fd, keys, h);
}

/* ---- start and stop ------------------------------------------------------- */

static void begin_stop(void)
{
	unsigned int i;

	if (stopping)
		return;
	stopping = true;
	stopping_ms = now_ms();
	log_line("stopping");
	for (i = 0; i < MAX_VMS; i++)
		if (vms[i].pid)
			vm_stop(&vms[i], "stopped: vmmd was told to end");
}

static void on_signal(void)
{
	struct signalfd_siginfo si;

	while (read(sig_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap();
		else
			begin_stop();
	}
}

/* What has waited too long.  Returns when to look again, in ms, or -1. */
static int expire(void)
{
	uint64_t now = now_ms(), next = door_expire(now);
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
	if (stopping) {
		if (now - stopping_ms >= KILL_MS) {
			for (i = 0; i < MAX_VMS; i++)
				if (vms[i].pid)
					kill(vms[i].pid, SIGKILL);
			stopping_ms = now;
		}
		if (stopping_ms + KILL_MS < next)
			next = stopping_ms + KILL_MS;
	}
	return next == UINT64_MAX ? -1 : (int)(next - now);
}

static bool any_vm(void)
{
	unsigned int i;

	for (i = 0; i < MAX_VMS; i++)
		if (vms[i].pid)
			return true;
	return false;
}

static void loop(void)
{
	static struct pollfd p[3 + DOOR_MAX + MAX_CTL + MAX_VMS];
	unsigned int i, n;
	int wait;

	while (!stopping || any_vm()) {
		wait = expire();
		p[0] = (struct pollfd){ .fd = sig_fd, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = stopping ? -1 : tcp_fd, .events = POLLIN };
		p[2] = (struct pollfd){ .fd = ctl_fd, .events = POLLIN };
		n = 3 + DOOR_MAX;
		door_poll(p + 3);
		for (i = 0; i < MAX_CTL; i++)
			p[n++] = (struct pollfd){ .fd = ctls[i].fd, .events = POLLIN };
		for (i = 0; i < MAX_VMS; i++)
			p[n++] = (struct pollfd){ .fd = vms[i].pid ? vms[i].super_fd : -1, .events = POLLIN };
		if (poll(p, n, wait) < 0)
			continue;
		/* Each slot is served for what it was when polled; new ones are made after. */
		n = 3 + DOOR_MAX;
		door_serve(p + 3);
		for (i = 0; i < MAX_CTL; i++, n++)
			if (p[n].revents && ctls[i].fd == p[n].fd)
				ctl_readable(&ctls[i]);
		for (i = 0; i < MAX_VMS; i++, n++) {
			if (!vms[i].pid || p[n].fd < 0 || vms[i].super_fd != p[n].fd)
				continue;
			if (p[n].revents & POLLIN)
				vm_message(&vms[i]);
			else if (p[n].revents)
				reap();
		}
		if (p[0].revents)
			on_signal();
		if (p[1].revents)
			door_accept(tcp_fd);
		if (p[2].revents)
			ctl_accept();
	}
}

/* The socket that cvmm talks to.  One that a dead vmmd has left is replaced. */
static int open_ctl(char *err, size_t errlen)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char dir[sizeof(sa.sun_path)], *slash;
	mode_t mask;
	int fd, ret;

	if (strlen(ctl_path) >= sizeof(sa.sun_path)) {
		snprintf(err, errlen, "%s: the path is too long", ctl_path);
		return -1;
	}
	strcpy(sa.sun_path, ctl_path);
	strcpy(dir, ctl_path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		mkdir(dir, 0755);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto report;
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		snprintf(err, errlen, "%s: another vmmd runs on this host", ctl_path);
		goto close_fd;
	}
	close(fd);
	unlink(ctl_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto report;
	mask = umask(0117);
	ret = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(mask);
	if (!ret && !listen(fd, 16))
		return fd;
report:
	snprintf(err, errlen, "%s: %s", ctl_path, strerror(errno));
close_fd:
	if (fd >= 0)
		close(fd);
	return -1;
}

static int write_pidfile(void)
{
	FILE *f = fopen(pid_path, "we");

	if (!f)
		return -1;
	fprintf(f, "%d\n", (int)getpid());
	return fclose(f);
}

static void usage(FILE *f)
{
	fprintf(f, "Usage: vmmd [OPTION]...\n"
		"Run guests' nodes on this host, in the foreground.\n"
		"\n"
		"  -b, --bind=ADDRESS   listen on ADDRESS only (default: all)\n"
		"  -p, --port=PORT      TCP port (default %d)\n"
		"  -k, --key=FILE       the cluster key (default %s)\n"
		"  -s, --socket=PATH    socket for cvmm (default %s)\n"
		"  -u, --user=NAME      whom guests' processes run as (default " SANDBOX_USER " or " SANDBOX_OTHER ")\n"
		"  -P, --pidfile=PATH   write the process id to PATH\n"
		"  -V, --version        print the version\n"
		"  -h, --help           print this\n"
		"\n"
		"All hosts of a cluster have the same key; cvmm keygen makes one.\n"
		"See vmmd(8).\n", CONF_DEFAULT_PORT, KEY_FILE, CTL_SOCKET);
}

static void init(void)
{
	sigset_t set;
	unsigned int i;

	for (i = 0; i < MAX_CTL; i++)
		ctls[i].fd = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bind", required_argument, NULL, 'b' },
		{ "port", required_argument, NULL, 'p' },
		{ "key", required_argument, NULL, 'k' },
		{ "socket", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "pidfile", required_argument, NULL, 'P' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	unsigned long port = CONF_DEFAULT_PORT;
	const char *bind_to = NULL, *user_name = NULL;
	char err[256], *end;
	int opt, status = 1;

	while ((opt = getopt_long(argc, argv, "b:p:k:s:u:P:Vh", options, NULL)) != -1) {
		switch (opt) {
		case 'b':
			bind_to = optarg;
			break;
		case 'p':
			port = strtoul(optarg, &end, 10);
			if (*end || !*optarg || !port || port > 65535) {
				fprintf(stderr, "vmmd: --port=%s: 1 to 65535 is allowed\n", optarg);
				return 64;
			}
			break;
		case 'k':
			key_path = optarg;
			break;
		case 's':
			ctl_path = optarg;
			break;
		case 'u':
			user_name = optarg;
			break;
		case 'P':
			pid_path = optarg;
			break;
		case 'V':
			puts("vmmd " VMMD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("Try 'vmmd --help'.\n", stderr);
			return 64;
		}
	}
	if (argc != optind) {
		fputs("vmmd: no arguments are expected\nTry 'vmmd --help'.\n", stderr);
		return 64;
	}
	if (key_load(key_path, &cluster_key, err, sizeof(err)) ||
	    (!geteuid() && sandbox_find_user(user_name, &user, err, sizeof(err)))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return 1;
	}
	init();
	ctl_fd = open_ctl(err, sizeof(err));
	if (sig_fd < 0 || ctl_fd < 0) {
		fprintf(stderr, "vmmd: %s\n", ctl_fd < 0 ? err : "signalfd failed");
		return 1;
	}
	tcp_fd = net_listen(bind_to, (uint16_t)port, err, sizeof(err));
	if (tcp_fd < 0) {
		fprintf(stderr, "vmmd: %s\n", err);
		goto remove_ctl;
	}
	if (pid_path && write_pidfile()) {
		fprintf(stderr, "vmmd: %s: %s\n", pid_path, strerror(errno));
		goto remove_ctl;
	}
	door_open(&cluster_key, come_in);
	if (ktls_check(err, sizeof(err)))
		log_line("%s", err);
	log_line("vmmd " VMMD_VERSION " listens on port %lu", port);
	loop();
	status = 0;
	if (pid_path)
		unlink(pid_path);
remove_ctl:
	unlink(ctl_path);
	return status;
}
