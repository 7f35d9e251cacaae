// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * usage: channel-test ADDRESS
 *
 * Two nodes' channels with RDMA at ADDRESS of this host, each node a process in vmmd's
 * sandbox, around a machine that counts what comes: who may connect, order under load,
 * device accesses beside those over TLS, and the ends of a connection.  TAP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <rdma/rdma_user_ioctl_cmds.h>

#include "vmmd/channel.h"
#include "vmmd/conn.h"
#include "vmmd/rconn.h"
#include "vmmd/sandbox.h"

#define MESSAGES	5000U	/* each way */
#define IO_EACH		100U	/* of them, one device access */
#define TRIPS		300U	/* over each transport, in turns of TURN */
#define TURN		50U
#define OVER_TLS	0
#define OVER_RDMA	1

enum scenario {
	TALK,
	KILL,			/* node 1 is killed */
	FORBIDDEN_VCPU,		/* node 1's vCPU commands the device */
	FORBIDDEN,		/* node 1 uses another descriptor like the device's */
};

/* Of all processes of a scenario. */
static struct {
	enum scenario what;
	uint16_t port, tcp_port;
	uint8_t offered[LINK_TOKEN], wanted[LINK_TOKEN];
	struct tls_half half[2][2];		/* of a connection: of who sends */
	atomic_uint at[8];			/* how many nodes have come to a point */
	uint64_t ns[2][TRIPS];
	atomic_uint in_order[2], out_of_order;
	uint64_t rdma_msgs[2], tls_msgs[2];
	_Atomic uint64_t ended_ms, lost_ms[2];
	char why[2][128];
	char text[256];
} *sh;

struct machine {
	unsigned int node, over;
};

static struct sockaddr_storage addr;
static int points;
static bool bad;

static void ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++points, what);
	fflush(stdout);
	bad |= !good;
}

/* On standard error: dprintf() seeks, which the sandbox forbids. */
static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(STDERR_FILENO, line, (size_t)n) != n)
		_exit(4);
}

static void die(const char *what)
{
	say("%d: %s: %s\n", (int)getpid(), what, strerror(errno));
	_exit(3);
}

/* Both nodes, and @others. */
static void meet(unsigned int point, unsigned int others)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	for (atomic_fetch_add(&sh->at[point], 1); sh->at[point] < 2 + others;)
		nanosleep(&ms, NULL);
}

/* ---- the machine ------------------------------------------------------------------ */

void machine_rx_apic_msg(struct machine *m, const struct apic_msg *msg)
{
	struct timespec pause = { .tv_nsec = 300000000 };

	if (msg->dest != sh->in_order[m->node]++)
		sh->out_of_order++;
	/* For so long the other one has more to say than there are buffers. */
	if (!m->node && msg->dest == MESSAGES / 4)
		nanosleep(&pause, NULL);
}

/* Behind as many messages as it says. */
void machine_rx_io(struct machine *m, struct io_req *req)
{
	if (req->space == IO_MMIO && req->addr != sh->in_order[m->node])
		sh->out_of_order++;
	req->data = req->addr + 1;
}

void machine_rx_apic_info(struct machine *m, const struct apic_info *info)
{
	(void)m;
	(void)info;
}

void machine_rx_eoi(struct machine *m, uint8_t vector)
{
	(void)m;
	(void)vector;
}

void machine_adjust_tsc(struct machine *m, int64_t delta)
{
	(void)m;
	(void)delta;
}

/* ---- a node ----------------------------------------------------------------------- */

struct node {
	unsigned int nr;
	struct channel *ch[2];
	struct machine machine[2];
	struct rconn *rdma;
};

static void on_lost(void *ctx, unsigned int peer, const char *why)
{
	struct machine *m = ctx;

	(void)peer;
	if (m->over != OVER_RDMA)
		return;
	snprintf(sh->why[m->node], sizeof(sh->why[0]), "%s", why);
	sh->lost_ms[m->node] = now_ms();
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void access_device(struct node *n, unsigned int over, enum io_space space, uint64_t at)
{
	struct io_req req = { .space = space, .size = 4, .addr = at };

	if (channel_peer_ops.io(n->ch[over], !n->nr, &req) || req.data != at + 1)
		die("a device access failed");
}

static void talk(struct node *n)
{
	struct apic_msg msg = { .vector = 1 };
	uint64_t start;
	unsigned int i;

	/* One node asks, the other is idle but for the answers. */
	for (i = 0; n->nr && i < 2 * TRIPS; i++) {
		start = now_ns();
		access_device(n, i / TURN % 2, IO_PIO, 0x3f8);
		sh->ns[i / TURN % 2][i / (2 * TURN) * TURN + i % TURN] = now_ns() - start;
	}
	meet(3, 0);
	for (i = 0; i < MESSAGES; i++) {
		msg.dest = i;
		channel_peer_ops.apic_msg(n->ch[OVER_RDMA], 1ULL << !n->nr, &msg);
		if (i % IO_EACH == IO_EACH - 1)
			access_device(n, OVER_RDMA, IO_MMIO, i + 1);
	}
}

static void *vcpu(void *arg)
{
	struct node *n = arg;

	if (sandbox_vcpu())
		die("the vCPU's list");
	access_device(n, OVER_RDMA, IO_PIO, 0x3f8);
	meet(2, sh->what == KILL);
	if (sh->what == TALK)
		talk(n);
	else if (sh->what == FORBIDDEN_VCPU && n->nr)
		ioctl(rconn_device_fd(n->rdma), RDMA_VERBS_IOCTL, NULL);
	return NULL;
}

static struct rconn *make_rdma(unsigned int nr)
{
	struct rconn *c;
	char err[256];
	int ret;

	if (!nr) {
		c = rconn_listen(&addr, &sh->port, sh->offered, sh->wanted, err, sizeof(err));
		meet(0, 0);
	} else {
		meet(0, 0);
		c = rconn_connect(&addr, sh->port, sh->wanted, sh->offered, err, sizeof(err));
	}
	while (c && !(ret = rconn_step(c, err, sizeof(err))))
		net_wait(rconn_setup_fd(c), POLLIN, now_ms() + 10000);
	if (!c || ret < 0) {
		say("node %u: %s\n", nr, err);
		_exit(3);
	}
	return c;
}

static struct channel *make_channel(struct node *n, unsigned int over, int listener)
{
	struct channel_params p = { .node = n->nr, .nr_nodes = 2, .lost = on_lost, .ctx = &n->machine[over] };
	struct tls_keys keys = { .tx = sh->half[over][n->nr], .rx = sh->half[over][!n->nr] };
	char err[256] = "", text[64];
	struct channel *ch;
	int fd;

	n->machine[over] = (struct machine){ .node = n->nr, .over = over };
	inet_ntop(AF_INET, &((struct sockaddr_in *)&addr)->sin_addr, text, sizeof(text));
	fd = n->nr ? net_connect(text, sh->tcp_port, 5000, err, sizeof(err)) : accept(listener, NULL, NULL);
	if (fd < 0)
		die(err);
	net_tune(fd);
	ch = channel_create(&p, err, sizeof(err));
	if (!ch || channel_add(ch, !n->nr, fd, &keys))
		die("the channel");
	channel_set_machine(ch, &n->machine[over]);
	return ch;
}

static void count(struct node *n)
{
	struct stats s = { 0 };
	unsigned int i;

	channel_add_stats(n->ch[OVER_RDMA], &s);
	for (i = 0; i < s.nr; i++) {
		if (!strcmp(s.entry[i].name, "channel.rdma_tx_msgs"))
			sh->rdma_msgs[n->nr] = s.entry[i].value;
		if (!strcmp(s.entry[i].name, "channel.tx_msgs"))
			sh->tls_msgs[n->nr] = s.entry[i].value;
	}
	stats_free(&s);
}

static void node_main(unsigned int nr, int listener)
{
	static struct node n;
	struct timespec ms = { .tv_nsec = 1000000 };
	struct sandbox_user user;
	char err[256];
	pthread_t thread;
	unsigned int i;

	alarm(30);
	n.nr = nr;
	if (sandbox_find_user("nobody", &user, err, sizeof(err)) || sandbox_begin() ||
	    sandbox_become(&user, err, sizeof(err)))
		die(err);
	for (i = 0; i < 2; i++)
		n.ch[i] = make_channel(&n, i, listener);
	n.rdma = make_rdma(nr);
	if (sandbox_allow_verbs(rconn_device_fd(n.rdma)) || channel_use_rdma(n.ch[OVER_RDMA], !nr, n.rdma))
		die("channel_use_rdma");
	meet(1, 0);
	if (sandbox_enter(err, sizeof(err)) || pthread_create(&thread, NULL, vcpu, &n))
		die(err);
	pthread_join(thread, NULL);
	if (sh->what == TALK) {
		while (sh->in_order[nr] < MESSAGES)
			nanosleep(&ms, NULL);
		count(&n);
		channel_expect_end(n.ch[OVER_TLS]);
		channel_expect_end(n.ch[OVER_RDMA]);
		meet(4, 0);
		for (i = 0; i < 2; i++)
			channel_destroy(n.ch[i]);
		_exit(0);
	}
	if (sh->what == FORBIDDEN && nr)
		ioctl(rconn_fd(n.rdma), RDMA_VERBS_IOCTL, NULL);
	while (!sh->lost_ms[nr])
		nanosleep(&ms, NULL);
	_exit(0);
}

/* ---- all of it -------------------------------------------------------------------- */

/* Returns how long it took node 0 to notice, in ms. */
static int run(enum scenario what, int status[2])
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	pid_t pid[2];
	int listener, i;
	char err[256];

	memset(sh, 0, sizeof(*sh));
	sh->what = what;
	listener = net_listen(NULL, 0, err, sizeof(err));
	if (listener < 0 || fcntl(listener, F_SETFL, 0) || getsockname(listener, (struct sockaddr *)&sin, &len) ||
	    getrandom(sh->half, sizeof(sh->half), 0) != sizeof(sh->half) ||
	    getrandom(sh->offered, sizeof(sh->offered), 0) < 0 || getrandom(sh->wanted, sizeof(sh->wanted), 0) < 0)
		die("set-up");
	for (i = 0; i < 4; i++)
		sh->half[i / 2][i % 2].seq = 0;
	sh->tcp_port = ntohs(sin.sin_port);
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			node_main((unsigned int)i, listener);
	}
	close(listener);
	if (what == KILL) {
		meet(2, 1);
		sh->ended_ms = now_ms();
		kill(pid[1], SIGKILL);
	}
	waitpid(pid[0], &status[0], 0);
	waitpid(pid[1], &status[1], 0);
	return (int)(sh->lost_ms[0] - sh->ended_ms);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile(unsigned int over, unsigned int percent)
{
	qsort(sh->ns[over], TRIPS, sizeof(sh->ns[0][0]), by_size);
	return (double)sh->ns[over][TRIPS * percent / 100] / 1000;
}

static void test_talk(void)
{
	double tls, rdma;
	int status[2];

	run(TALK, status);
	ok(!status[0] && !status[1], "two nodes talk over RDMA, in the sandbox, and end");
	ok(sh->in_order[0] == MESSAGES && sh->in_order[1] == MESSAGES && !sh->out_of_order,
	   "messages and device accesses come in order, more of them than there are buffers");
	ok(sh->rdma_msgs[0] > MESSAGES && sh->rdma_msgs[1] > MESSAGES && sh->tls_msgs[0] < 200 && sh->tls_msgs[1] < 200,
	   "they went over RDMA, signs of life over TLS");
	tls = percentile(OVER_TLS, 50);
	rdma = percentile(OVER_RDMA, 50);
	printf("# device access, us: over TLS p50 %.1f p99 %.1f, over RDMA p50 %.1f p99 %.1f; RDMA/TLS %.2f at p50\n",
	       tls, percentile(OVER_TLS, 99), rdma, percentile(OVER_RDMA, 99), rdma / tls);
	printf("# messages over RDMA %llu and %llu, over TLS %llu and %llu\n", (unsigned long long)sh->rdma_msgs[0],
	       (unsigned long long)sh->rdma_msgs[1], (unsigned long long)sh->tls_msgs[0],
	       (unsigned long long)sh->tls_msgs[1]);
}

static void test_ends(void)
{
	int status[2], ms;

	ms = run(KILL, status);
	printf("# lost after %d ms: %s\n", ms, sh->why[0]);
	ok(!status[0] && ms >= 0 && ms < 5000 && !strcmp(sh->why[0], "the connection was closed"),
	   "a peer that is killed is lost at once");
	run(FORBIDDEN_VCPU, status);
	ok(WIFSIGNALED(status[1]) && WTERMSIG(status[1]) == SIGSYS, "a vCPU's thread that commands the device is killed");
	run(FORBIDDEN, status);
	ok(WIFSIGNALED(status[1]) && WTERMSIG(status[1]) == SIGSYS, "... and who does so on another descriptor");
}

/* Connect with @token to who shows @peer_token.  What rconn_step() says at last. */
static int try_connect(uint16_t port, const uint8_t *token, const uint8_t *peer_token, struct rconn *listener)
{
	struct rconn *c;
	char err[256];
	int ret, there;

	c = rconn_connect(&addr, port, token, peer_token, sh->text, sizeof(sh->text));
	while (c && !(ret = rconn_step(c, sh->text, sizeof(sh->text)))) {
		there = rconn_step(listener, err, sizeof(err));
		if (there < 0)
			printf("# listener: %s\n", err);
		net_wait(rconn_setup_fd(c), POLLIN, now_ms() + 20);
	}
	if (c && ret > 0)
		while (!rconn_step(listener, err, sizeof(err)))
			net_wait(rconn_setup_fd(listener), POLLIN, now_ms() + 1000);
	rconn_close(c);
	return c ? ret : -1;
}

static void test_tokens(void)
{
	uint8_t a[LINK_TOKEN], b[LINK_TOKEN], wrong[LINK_TOKEN];
	struct rconn *listener;
	uint16_t port;

	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	memset(wrong, 3, sizeof(wrong));
	listener = rconn_listen(&addr, &port, a, b, sh->text, sizeof(sh->text));
	if (!listener) {
		ok(false, sh->text);
		return;
	}
	ok(try_connect(port, wrong, a, listener) < 0 && strstr(sh->text, "REJECTED"), "who has not the token is refused");
	ok(try_connect(port, b, a, listener) > 0, "... and who has it connects after that");
	ok(try_connect(port, b, a, listener) < 0, "... once");
	rconn_close(listener);
	listener = rconn_listen(&addr, &port, a, b, sh->text, sizeof(sh->text));
	ok(listener && try_connect(port, b, wrong, listener) < 0 && strstr(sh->text, "is not the peer"),
	   "a listener without the token is refused, too");
	rconn_close(listener);
}

/* As a user who may lock no memory; and where no device is. */
static void test_refusals(void)
{
	struct rlimit none = { 0, 0 };
	struct sockaddr_storage elsewhere = { 0 };
	struct sockaddr_in *sin = (struct sockaddr_in *)&elsewhere;
	uint8_t token[LINK_TOKEN] = { 0 };
	uint16_t port;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(setrlimit(RLIMIT_MEMLOCK, &none) || setuid(65534) ||
		      rconn_listen(&addr, &port, token, token, sh->text, sizeof(sh->text)));
	waitpid(pid, &status, 0);
	printf("# %s\n", sh->text);
	ok(!status && strstr(sh->text, "the limit is 0 KiB"), "a limit of locked memory is named");
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ok(!rconn_listen(&elsewhere, &port, token, token, sh->text, sizeof(sh->text)), "an address without a device");
	printf("# %s\n", sh->text);
}

int main(int argc, char **argv)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)&addr;

	sin->sin_family = AF_INET;
	if (argc != 2 || inet_pton(AF_INET, argv[1], &sin->sin_addr) != 1) {
		fprintf(stderr, "usage: channel-test ADDRESS\n");
		return 2;
	}
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	/* First what forks: the verbs libraries can not be used across that. */
	test_talk();
	test_ends();
	test_refusals();
	test_tokens();
	printf("1..%d\n", points);
	return bad;
}
