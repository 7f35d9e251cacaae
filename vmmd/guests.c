// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guests' processes, from vmmd's side: see guests.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/door.h"
#include "vmmd/guests.h"
#include "vmmd/hostcheck.h"
#include "vmmd/requests.h"
#include "vmmd/stats.h"

struct guest guests[GUESTS_MAX];
const char *const guest_states[] = { "new", "starting", "ready", "ended" };
#define NR_STATES	(sizeof(guest_states) / sizeof(guest_states[0]))

static struct cluster_key *cluster_key;
static const struct sandbox_user *user;
static bool stopping;

static void event(const struct guest *v, const char *what, const char *text)
{
	log_line("guest %s, node %u: %s%s%s", v->hello.name, v->hello.to, what, *text ? ": " : "", text);
	requests_event(v, what, text);
}

struct guest *guest_by_name(const char *name)
{
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].pid && !strcmp(guests[i].hello.name, name))
			return &guests[i];
	return NULL;
}

void guest_stop(struct guest *v, const char *why)
{
	struct super_msg m = { .type = SUPER_STOP };

	snprintf(m.text, sizeof(m.text), "%s", why);
	if (net_send_fd(v->super_fd, &m, SUPER_LEN(&m), -1))
		kill(v->pid, SIGKILL);
}

/* In the new process: keep the standard descriptors and two more. */
static _Noreturn void child(int client_fd, struct tls_keys keys, int super_fd, const struct hello *h)
{
	char name[16];
	int a, b;

	/* What is not this guest's. */
	door_forget();
	explicit_bzero(&keys.last, sizeof(keys.last));
	explicit_bzero(guests, sizeof(guests));

	/* 3 and 4 are taken by descriptors that this process has no use for. */
	a = fcntl(client_fd, F_DUPFD_CLOEXEC, 3);
	b = fcntl(super_fd, F_DUPFD_CLOEXEC, 3);
	if (a < 0 || b < 0 || dup2(a, 3) < 0 || dup2(b, 4) < 0)
		_exit(70);
	close_range(5, ~0U, 0);
	snprintf(name, sizeof(name), "vm-%.12s", h->name);
	prctl(PR_SET_NAME, name);
	_exit(cluster_node(3, &keys, 4, h, cluster_key, user));
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

void guests_reap(void)
{
	struct guest *v;
	char text[128];
	unsigned int i;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < GUESTS_MAX && guests[i].pid != pid; i++)
			;
		if (i == GUESTS_MAX)
			continue;
		v = &guests[i];
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
	struct guest *v;
	unsigned int i;
	int pair[2];

	guests_reap();
	v = guest_by_name(h->name);
	if (v) {
		snprintf(text, sizeof(text), "a guest named \"%s\" runs on this host already (%s); "
			 "stop it with cvmm stop, or give this one another name",
			 h->name, v->hello.vm_id == h->vm_id ? "another node of this one" : guest_states[v->state]);
		door_answer(fd, keys, ANSWER_NAME_IN_USE, text);
		close(fd);
		return;
	}
	for (i = 0; i < GUESTS_MAX && guests[i].pid; i++)
		;
	if (stopping || i == GUESTS_MAX ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		door_answer(fd, keys, ANSWER_REFUSED, stopping ? "vmmd is stopping" : "too many guests on this host");
		close(fd);
		return;
	}
	v = &guests[i];
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
	event(v, guest_states[v->state], "");
}

static void pass_peer(int fd, struct tls_keys *keys, const struct hello *h)
{
	static struct super_msg m;
	char text[128];
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].pid && guests[i].hello.vm_id == h->vm_id && guests[i].hello.epoch == h->epoch &&
		    guests[i].hello.to == h->to)
			break;
	if (i == GUESTS_MAX || strcmp(guests[i].hello.name, h->name)) {
		door_answer(fd, keys, ANSWER_NO_SUCH_VM, "no such guest, or not this boot of it, runs on this host");
		snprintf(text, sizeof(text), "it wants guest %.63s, boot %u, node %u, which does not run here",
			 h->name, h->epoch, h->to);
		door_refused(fd, text);
	} else {
		m.type = SUPER_PEER;
		m.hello = *h;
		m.keys = *keys;
		if (net_send_fd(guests[i].super_fd, &m, SUPER_LEN(&m), fd))
			door_answer(fd, keys, ANSWER_REFUSED, "the guest's process does not take it");
		explicit_bzero(&m.keys, sizeof(m.keys));
	}
	close(fd);
}

/*
 * From a guest's process, which the guest may have taken over: nothing of it is
 * believed, and nothing is done twice for it.
 */
static void vm_message(struct guest *v)
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
		requests_answer(v, m.asker, m.data, m.len);
	} else if (m.type == SUPER_ASK_STATS && !v->had_stats) {
		v->had_stats = true;
		memset(&m, 0, offsetof(struct super_msg, data));
		m.type = SUPER_STATS;
		stats_add_module(&s, v->hello.name);
		m.len = stats_encode(&s, m.data, sizeof(m.data));
		stats_free(&s);
		net_send_fd(v->super_fd, &m, SUPER_LEN(&m), -1);
	} else if (m.type == SUPER_STATE) {
		for (state = v->state + 1; state < NR_STATES && strncmp(m.text, guest_states[state], sizeof(m.text)); state++)
			;
		if (state == NR_STATES)
			return;
		v->state = state;
		v->nr_nodes = m.nr_nodes;
		v->vcpus = m.vcpus;
		v->memory = m.memory;
		event(v, guest_states[state], "");
	}
}

/* cvmm check, here or on another host. */
static void tell_host(int fd, struct tls_keys *keys, unsigned int wants)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char text[ANSWER_TEXT];
	int ret = -1;

	if (wants & ~HOST_ALL)
		snprintf(text, sizeof(text), "what is to be checked is not known here");
	else if (getsockname(fd, (struct sockaddr *)&addr, &len))
		snprintf(text, sizeof(text), "the connection has no address");
	else
		ret = host_check(wants, &addr, user, text, sizeof(text));
	door_answer(fd, keys, ret ? ANSWER_REFUSED : ANSWER_OK, text);
	close(fd);
}

void guests_come_in(int fd, struct tls_keys *keys, const struct hello *h)
{
	if (h->role == HELLO_CLIENT)
		start_vm(fd, keys, h);
	else if (h->role == HELLO_CHECK)
		tell_host(fd, keys, h->to);
	else
		pass_peer(fd, keys, h);
}

/* ---- for main.c ----------------------------------------------------------- */

void guests_init(struct cluster_key *key, const struct sandbox_user *as)
{
	cluster_key = key;
	user = as;
}

void guests_stop(const char *why)
{
	unsigned int i;

	stopping = true;
	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].pid)
			guest_stop(&guests[i], why);
}

void guests_kill(void)
{
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].pid)
			kill(guests[i].pid, SIGKILL);
}

bool guests_left(void)
{
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].pid)
			return true;
	return false;
}

void guests_poll(struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++)
		p[i] = (struct pollfd){ .fd = guests[i].pid ? guests[i].super_fd : -1, .events = POLLIN };
}

void guests_serve(const struct pollfd *p)
{
	unsigned int i;

	for (i = 0; i < GUESTS_MAX; i++) {
		if (!guests[i].pid || p[i].fd < 0 || guests[i].super_fd != p[i].fd)
			continue;
		if (p[i].revents & POLLIN)
			vm_message(&guests[i]);
		else if (p[i].revents)
			guests_reap();
	}
}
