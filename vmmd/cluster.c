// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One node of a guest, in a process of its own: see cluster.h.
 *
 * The main thread attends to the client, to vmmd, to the space and to the
 * clock.  A worker does what takes time, one step after another as the client
 * asks: CONNECT, PREPARE, RUN.  The client asks for a step when all nodes have
 * done the one before, which makes each step a barrier.  The channel has its
 * own thread.
 *
 * Whatever ends the node's part is kept by end_with(); the first reason counts.
 * The node then tells the client and waits for its BYE, so that no node goes
 * away while another one's vCPUs still run.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "vmmd/channel.h"
#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/ktls.h"
#include "vmmd/machine.h"
#include "vmmd/sandbox.h"
#include "vmmd/space.h"
#include "vmmd/stats.h"

#define TICK_MS		500
#define CONNECT_MS	5000	/* for one connection to a peer */
#define SETUP_MS	20000	/* for all of them */
#define CLIENT_DEAD_MS	15000
#define BYE_MS		10000	/* from our end to the client's BYE */
#define STOP_MS		10000	/* for the machine to end */
#define STATS_MS	2000	/* for vmmd to answer */
#define CONSOLE_MS	10	/* output is collected for so long */
#define CONSOLE_MAX	(4U << 20)
#define INPUT_MAX	(64U << 10)

enum event {
	EV_CLIENT,
	EV_SUPER,
	EV_TICK,
	EV_CONSOLE,
	EV_WORKER,
	EV_SPACE,
	EV_SIGNAL,
};

struct vm {
	struct hello hello;
	struct cluster_key *key;
	const struct sandbox_user *user;
	struct start_request start;
	unsigned int node;
	char who[CONF_NAME_LEN + 16];	/* for log lines */

	/* Main thread */
	int epfd, super_fd, tick_fd, console_fd, worker_fd, signal_fd;
	struct conn client;
	bool client_gone;
	bool configured;
	uint8_t *kernel, *initrd;
	uint64_t kernel_got, initrd_got;
	uint8_t input[INPUT_MAX];	/* for the UART */
	size_t input_len;
	bool bye, ended_sent;
	bool have_module_stats;
	struct stats module_stats;
	uint64_t ended_ms;

	struct host_engine engine;
	int space_fd;
	int64_t tsc_offset;		/* node 0: the guest's TSC starts near zero here */
	struct channel *channel;
	struct machine *machine;	/* set by the worker, under lock */

	pthread_t worker;
	bool have_worker;
	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t wake;		/* for the worker: a step, a peer, the end */
	uint16_t step;			/* the worker's: F_CONNECT, F_PREPARE, F_RUN; 0: idle */
	uint16_t done;			/* the step it has done and not yet told; 0: none */
	uint64_t channels, links;	/* nodes connected */
	bool ending;
	struct ended end;		/* valid once ending */

	pthread_mutex_t out_lock;	/* of the console's output */
	uint8_t *out;
	size_t out_len;
	uint64_t out_lost;
};

void log_line(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* One write, so that the lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

static void poke(struct vm *vm)
{
	uint64_t one = 1;

	while (write(vm->worker_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* ---- the end ------------------------------------------------------------- */

/* Any thread: this node's part ends because of this, unless it ends already. */
static void end_with(struct vm *vm, enum machine_end end, enum ended_status status, int about,
		     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void end_with(struct vm *vm, enum machine_end end, enum ended_status status, int about,
		     const char *fmt, ...)
{
	va_list ap;
	bool first;

	pthread_mutex_lock(&vm->lock);
	first = !vm->ending;
	if (first) {
		vm->ending = true;
		vm->end.end = end;
		vm->end.status = status;
		vm->end.node = about >= 0 ? (uint32_t)about : NODE_CLIENT;
		va_start(ap, fmt);
		vsnprintf(vm->end.text, sizeof(vm->end.text), fmt, ap);
		va_end(ap);
		if (vm->machine)
			machine_stop(vm->machine);
		pthread_cond_broadcast(&vm->wake);
	}
	pthread_mutex_unlock(&vm->lock);
	if (!first)
		return;
	/* Threads that wait for a page of the lost host cannot be stopped otherwise. */
	if (status == ENDED_LOST && vm->space_fd >= 0)
		space_fail(vm->space_fd);
	poke(vm);
}

static bool is_ending(struct vm *vm)
{
	bool ending;

	pthread_mutex_lock(&vm->lock);
	ending = vm->ending;
	pthread_mutex_unlock(&vm->lock);
	return ending;
}

static void tell_super(struct vm *vm, const char *state)
{
	struct super_msg m = { .type = SUPER_STATE };

	snprintf(m.text, sizeof(m.text), "%s", state);
	if (vm->configured) {
		m.nr_nodes = vm->start.conf.nr_nodes;
		m.vcpus = vm->start.conf.node[vm->node].vcpus;
		m.memory = vm->start.conf.node[vm->node].memory;
	}
	net_send_fd(vm->super_fd, &m, SUPER_LEN(&m), -1);
}

static const char *host_of(const struct vm *vm, unsigned int node)
{
	const char *host = node < vm->start.conf.nr_nodes ? vm->start.conf.node[node].host : NULL;

	return host ? host : "?";
}

static void on_lost(void *ctx, unsigned int node, const char *why)
{
	struct vm *vm = ctx;

	end_with(vm, MACHINE_ERROR, ENDED_LOST, (int)node, "%s", why);
}

/* ---- console ------------------------------------------------------------- */

/* Called by device threads: collect, and let the main thread send it in a moment. */
static void console_out(void *ctx, const void *buf, size_t len)
{
	struct itimerspec its = { .it_value.tv_nsec = CONSOLE_MS * 1000000L };
	struct vm *vm = ctx;
	size_t n;

	pthread_mutex_lock(&vm->out_lock);
	n = CONSOLE_MAX - vm->out_len < len ? CONSOLE_MAX - vm->out_len : len;
	if (n && !vm->out_len)
		timerfd_settime(vm->console_fd, 0, &its, NULL);
	memcpy(vm->out + vm->out_len, buf, n);
	vm->out_len += n;
	vm->out_lost += len - n;
	pthread_mutex_unlock(&vm->out_lock);
}

static void send_console(struct vm *vm)
{
	struct itimerspec its = { .it_value.tv_nsec = 20 * CONSOLE_MS * 1000000L };
	size_t pos = 0, n;
	char note[64];
	int len;

	pthread_mutex_lock(&vm->out_lock);
	/* A client that does not read: keep what there is room for. */
	while (pos < vm->out_len && conn_pending(&vm->client) < CONSOLE_MAX) {
		n = vm->out_len - pos < FRAME_MAX ? vm->out_len - pos : FRAME_MAX;
		if (conn_send(&vm->client, F_CONSOLE_OUT, 0, vm->out + pos, n))
			break;
		pos += n;
	}
	memmove(vm->out, vm->out + pos, vm->out_len - pos);
	vm->out_len -= pos;
	if (vm->out_len) {
		timerfd_settime(vm->console_fd, 0, &its, NULL);
	} else if (vm->out_lost) {
		len = snprintf(note, sizeof(note), "\r\n[vmmd: %llu bytes of output lost]\r\n",
			       (unsigned long long)vm->out_lost);
		conn_send(&vm->client, F_CONSOLE_OUT, 0, note, (size_t)len);
		vm->out_lost = 0;
	}
	pthread_mutex_unlock(&vm->out_lock);
}

static void give_input(struct vm *vm)
{
	size_t n;

	if (!vm->input_len || !vm->machine)
		return;
	n = machine_console_in(vm->machine, vm->input, vm->input_len);
	memmove(vm->input, vm->input + n, vm->input_len - n);
	vm->input_len -= n;
}

/* ---- the worker's steps --------------------------------------------------- */

/* A connection to @node that both ends have agreed on: to the module.  0 or -1; @fd stays the caller's. */
static int add_link(struct vm *vm, unsigned int node, int fd, const struct tls_keys *keys)
{
	char err[256];

	if (vm->start.conf.encryption && ktls_start(fd, keys, err, sizeof(err))) {
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
		return -1;
	}
	if (space_add_link(vm->space_fd, node, fd, err, sizeof(err))) {
		end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node, "%s", err);
		return -1;
	}
	return 0;
}

static int connect_peer(struct vm *vm, unsigned int node, enum hello_role role)
{
	const struct conf_node *n = &vm->start.conf.node[node];
	struct hello h = vm->hello;
	char err[256], why[320];
	struct tls_keys keys;
	uint32_t status;
	int fd, ret = -1;

	h.role = role;
	h.from = vm->node;
	h.to = node;
	fd = net_connect(n->host, n->port, CONNECT_MS, err, sizeof(err));
	if (fd < 0) {
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)node, "%s", err);
		return -1;
	}
	if (tls_connect(fd, vm->key, now_ms() + CONNECT_MS, &keys, err, sizeof(err)) ||
	    net_hello(fd, &keys, &h, now_ms() + CONNECT_MS, &status, err, sizeof(err))) {
		snprintf(why, sizeof(why), "vmmd there refuses node %u: %s", vm->node, err);
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)node, "%.255s", why);
		goto close_fd;
	}
	if (role == HELLO_CHANNEL) {
		if (channel_add(vm->channel, node, fd, &keys)) {
			end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node, "out of memory");
			goto close_fd;
		}
		fd = -1;
	} else if (add_link(vm, node, fd, &keys)) {
		goto close_fd;
	}
	pthread_mutex_lock(&vm->lock);
	*(role == HELLO_CHANNEL ? &vm->channels : &vm->links) |= 1ULL << node;
	pthread_mutex_unlock(&vm->lock);
	ret = 0;
close_fd:
	explicit_bzero(&keys, sizeof(keys));
	if (fd >= 0)
		close(fd);
	return ret;
}

/* All but ourselves. */
static uint64_t others(const struct vm *vm)
{
	unsigned int n = vm->start.conf.nr_nodes;
	uint64_t all = n == 64 ? ~0ULL : (1ULL << n) - 1;

	return all & ~(1ULL << vm->node);
}

static int do_connect(struct vm *vm)
{
	uint64_t missing, all = others(vm);
	struct timespec deadline;
	unsigned int n;

	for (n = 0; n < vm->node; n++)
		if (connect_peer(vm, n, HELLO_CHANNEL) || connect_peer(vm, n, HELLO_LINK))
			return -1;
	/* The guest, which does not run yet, shall find nothing here to join the cluster with. */
	explicit_bzero(vm->key, sizeof(*vm->key));
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += SETUP_MS / 1000;
	pthread_mutex_lock(&vm->lock);
	while (!vm->ending && (vm->channels & vm->links) != all)
		if (pthread_cond_timedwait(&vm->wake, &vm->lock, &deadline) == ETIMEDOUT)
			break;
	missing = all & ~(vm->channels & vm->links);
	pthread_mutex_unlock(&vm->lock);
	if (missing) {
		n = (unsigned int)__builtin_ctzll(missing);
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)n, "it does not connect to node %u (%s)",
			 vm->node, host_of(vm, vm->node));
		return -1;
	}
	return 0;
}

/* A space that fails while the worker writes to guest memory. */
static __thread sigjmp_buf *load_jump;

static void on_sigbus(int sig)
{
	if (load_jump)
		siglongjmp(*load_jump, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int load_guest(struct vm *vm, struct machine *m)
{
	sigjmp_buf jump;
	char err[256];
	int ret;

	if (sigsetjmp(jump, 1)) {
		load_jump = NULL;
		end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node,
			 "guest memory went away while the kernel was loaded");
		return -1;
	}
	load_jump = &jump;
	ret = machine_load(m, vm->kernel, vm->start.kernel_len, vm->initrd, vm->start.initrd_len,
			   err, sizeof(err));
	load_jump = NULL;
	if (ret)
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
	free(vm->kernel);
	free(vm->initrd);
	vm->kernel = vm->initrd = NULL;
	return ret;
}

static int do_prepare(struct vm *vm)
{
	bool single = vm->start.conf.nr_nodes == 1;
	struct machine_params p = {
		.conf = &vm->start.conf,
		.node = vm->node,
		.engine_fd = vm->engine.fd,
		.space_fd = vm->space_fd,
		.peers = single ? NULL : &channel_peer_ops,
		.peers_ctx = vm->channel,
		.console_out = vm->node ? NULL : console_out,
		.console_ctx = vm,
	};
	struct machine *m;
	char err[256];

	if (vm->node) {
		if (channel_sync_tsc(vm->channel, &p.tsc_offset, err, sizeof(err))) {
			end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
			return -1;
		}
	} else {
		p.tsc_offset = vm->tsc_offset;
	}
	m = machine_create(&p, err, sizeof(err));
	if (!m) {
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
		return -1;
	}
	pthread_mutex_lock(&vm->lock);
	vm->machine = m;
	if (vm->ending)
		machine_stop(m);
	pthread_mutex_unlock(&vm->lock);
	channel_set_machine(vm->channel, m);
	return vm->node ? 0 : load_guest(vm, m);
}

static void do_run(struct vm *vm)
{
	char err[256] = "";

	switch (machine_run(vm->machine, err, sizeof(err))) {
	case MACHINE_POWEROFF:
		end_with(vm, MACHINE_POWEROFF, ENDED_NORMALLY, (int)vm->node, "the guest has powered off");
		break;
	case MACHINE_RESET:
		end_with(vm, MACHINE_RESET, ENDED_NORMALLY, (int)vm->node, "the guest has reset");
		break;
	case MACHINE_STOPPED:
		end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped");
		break;
	default:
		end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node, "%s", *err ? err : "the engine failed");
		break;
	}
}

static void *worker(void *arg)
{
	struct vm *vm = arg;
	uint16_t step;
	int ret;

	pthread_mutex_lock(&vm->lock);
	for (;;) {
		while (!vm->step && !vm->ending)
			pthread_cond_wait(&vm->wake, &vm->lock);
		step = vm->step;
		if (!step)
			break;
		pthread_mutex_unlock(&vm->lock);
		ret = 0;
		if (step == F_CONNECT)
			ret = do_connect(vm);
		else if (step == F_PREPARE)
			ret = do_prepare(vm);
		else
			do_run(vm);
		pthread_mutex_lock(&vm->lock);
		vm->step = 0;
		if (!ret && !vm->ending)
			vm->done = step;
		poke(vm);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

/* ---- from the client ------------------------------------------------------ */

static int on_conf(struct vm *vm, const struct frame *f)
{
	char err[256];
	struct channel_params cp = {
		.node = vm->node,
		.lost = on_lost,
		.ctx = vm,
	};
	struct epoll_event ev = { .events = EPOLLERR | EPOLLHUP, .data.u64 = EV_SPACE };
	struct vm_conf *conf = &vm->start.conf;

	if (vm->configured)
		return -1;
	vm->configured = true;
	if (start_decode(f->data, f->len, &vm->start, err, sizeof(err)))
		goto unavailable;
	if (vm->node >= conf->nr_nodes || strcmp(conf->name, vm->hello.name))
		return -1;
	if (!vm->node) {
		vm->kernel = malloc(vm->start.kernel_len);
		vm->initrd = malloc(vm->start.initrd_len + 1);
		if (!vm->kernel || !vm->initrd) {
			end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "not enough memory for the kernel");
			return 0;
		}
	}
	if (host_engine_open(&vm->engine, conf, err, sizeof(err)) ||
	    space_check_memory(conf, vm->node, err, sizeof(err)))
		goto unavailable;
	if (vm->engine.spaces) {
		vm->space_fd = space_create(&vm->engine, conf, vm->node, vm->hello.vm_id,
					    vm->hello.epoch, err, sizeof(err));
		if (vm->space_fd < 0)
			goto unavailable;
		epoll_ctl(vm->epfd, EPOLL_CTL_ADD, vm->space_fd, &ev);
	}
	vm->tsc_offset = -(int64_t)__rdtsc();
	cp.tsc_offset = vm->tsc_offset;
	cp.nr_nodes = conf->nr_nodes;
	vm->channel = channel_create(&cp, err, sizeof(err));
	if (!vm->channel)
		goto unavailable;
	tell_super(vm, "starting");
	return 0;

unavailable:
	end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
	return 0;
}

static int on_bytes(uint8_t *to, uint64_t *got, uint64_t len, const struct frame *f)
{
	if (!to || f->len > len - *got)
		return -1;
	memcpy(to + *got, f->data, f->len);
	*got += f->len;
	return 0;
}

/* Hand a step to the worker, which must be idle; each step once and in order. */
static int start_step(struct vm *vm, uint16_t step)
{
	int ret = -1;

	pthread_mutex_lock(&vm->lock);
	if (vm->ending) {
		ret = 0;
	} else if (!vm->step && !vm->done && vm->channel) {
		vm->step = step;
		pthread_cond_broadcast(&vm->wake);
		ret = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int on_client_frame(void *arg, const struct frame *f)
{
	struct vm *vm = arg;
	uint8_t done[4];
	bool ending = is_ending(vm);

	switch (f->type) {
	case F_CONF:
		if (on_conf(vm, f))
			return -1;
		put_u32(done, F_CONF);
		if (!is_ending(vm))
			conn_send(&vm->client, F_DONE, 0, done, sizeof(done));
		return 0;
	case F_KERNEL:
		return ending ? 0 : on_bytes(vm->kernel, &vm->kernel_got, vm->start.kernel_len, f);
	case F_INITRD:
		return ending ? 0 : on_bytes(vm->initrd, &vm->initrd_got, vm->start.initrd_len, f);
	case F_CONNECT:
		return start_step(vm, F_CONNECT);
	case F_PREPARE:
		if (!vm->node && (vm->kernel_got != vm->start.kernel_len ||
				  vm->initrd_got != vm->start.initrd_len) && !ending)
			return -1;
		if ((vm->channels & vm->links) != others(vm) && !ending)
			return -1;
		return start_step(vm, F_PREPARE);
	case F_RUN:
		if (!vm->machine && !ending)
			return -1;
		return start_step(vm, F_RUN);
	case F_STOP:
		end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped by cvmm-run");
		return 0;
	case F_BYE:
		vm->bye = true;
		return 0;
	case F_CONSOLE_IN:
		if (vm->node || !vm->machine || f->len > INPUT_MAX - vm->input_len)
			return 0;	/* a UART loses what comes too fast, or before it is there */
		memcpy(vm->input + vm->input_len, f->data, f->len);
		vm->input_len += f->len;
		give_input(vm);
		return 0;
	case F_ALIVE:
		return 0;
	}
	return -1;
}

/* ---- from vmmd ------------------------------------------------------------ */

static void on_peer(struct vm *vm, const struct hello *h, struct tls_keys *keys, int fd)
{
	uint64_t bit = 1ULL << h->from, *have;
	uint8_t answer[ANSWER_SIZE], record[ANSWER_SIZE + TLS_OVERHEAD];
	bool wanted;

	pthread_mutex_lock(&vm->lock);
	have = h->role == HELLO_CHANNEL ? &vm->channels : &vm->links;
	wanted = vm->channel && !vm->ending && h->from > vm->node &&
		 h->from < vm->start.conf.nr_nodes && !(*have & bit);
	pthread_mutex_unlock(&vm->lock);
	answer_encode(answer, wanted ? ANSWER_OK : ANSWER_REFUSED,
		      wanted ? "" : "this node expects no such connection now");
	if (tls_seal_once(&keys->tx, TLS_DATA, record, answer, sizeof(answer)) ||
	    net_send_all(fd, record, sizeof(record), now_ms() + 1000) || !wanted)
		goto close_fd;
	if (h->role == HELLO_CHANNEL) {
		if (channel_add(vm->channel, h->from, fd, keys))
			goto close_fd;
		fd = -1;
	} else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) ||
		   add_link(vm, h->from, fd, keys)) {
		goto close_fd;
	}
	pthread_mutex_lock(&vm->lock);
	*have |= bit;
	pthread_cond_broadcast(&vm->wake);
	pthread_mutex_unlock(&vm->lock);
close_fd:
	if (fd >= 0)
		close(fd);
}

static void collect(struct vm *vm, struct stats *s)
{
	struct machine_stats ms;

	if (vm->machine) {
		memset(&ms, 0, sizeof(ms));
		machine_get_stats(vm->machine, &ms);
		stats_add_machine(s, &ms);
	}
	if (vm->channel)
		channel_add_stats(vm->channel, s);
}

static void on_super(struct vm *vm)
{
	static struct super_msg m;
	struct stats s = { 0 };
	uint32_t asker;
	long n;
	int fd;

	n = net_recv_fd(vm->super_fd, &m, sizeof(m), &fd);
	if (n < 0)
		return;
	if (!n) {
		epoll_ctl(vm->epfd, EPOLL_CTL_DEL, vm->super_fd, NULL);
		end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm->node, "vmmd on %s has ended",
			 host_of(vm, vm->node));
		return;
	}
	if (n < (long)offsetof(struct super_msg, data))
		return;
	switch (m.type) {
	case SUPER_PEER:
		if (fd >= 0) {
			on_peer(vm, &m.hello, &m.keys, fd);
			explicit_bzero(&m.keys, sizeof(m.keys));
			fd = -1;
		}
		break;
	case SUPER_STOP:
		end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm->node, "%s", m.text);
		break;
	case SUPER_ASK_STATS:
		asker = m.asker;
		collect(vm, &s);
		memset(&m, 0, offsetof(struct super_msg, data));
		m.type = SUPER_STATS;
		m.asker = asker;
		m.len = stats_encode(&s, m.data, sizeof(m.data));
		stats_free(&s);
		net_send_fd(vm->super_fd, &m, SUPER_LEN(&m), -1);
		break;
	case SUPER_STATS:
		vm->have_module_stats = true;
		if (m.len <= (size_t)n - offsetof(struct super_msg, data))
			stats_decode(m.data, m.len, &vm->module_stats);
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

/* The module's counters of this guest, which vmmd may ask for; none when it does not answer soon. */
static const struct stats *module_stats(struct vm *vm)
{
	struct super_msg m = { .type = SUPER_ASK_STATS };
	uint64_t deadline = now_ms() + STATS_MS;

	if (net_send_fd(vm->super_fd, &m, SUPER_LEN(&m), -1))
		return &vm->module_stats;
	while (!vm->have_module_stats && !net_wait(vm->super_fd, POLLIN, deadline)) {
		if (recv(vm->super_fd, &m.type, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
			break;	/* vmmd has ended; the main loop takes note */
		on_super(vm);
	}
	return &vm->module_stats;
}

/* ---- the main thread ------------------------------------------------------ */

static void on_client(struct vm *vm, uint32_t events)
{
	char why[128];

	if (events & EPOLLOUT)
		conn_flush(&vm->client);
	if (!(events & ~(uint32_t)EPOLLOUT) || vm->client_gone)
		return;
	if (!conn_receive(&vm->client, on_client_frame, vm, why, sizeof(why)))
		return;
	epoll_ctl(vm->epfd, EPOLL_CTL_DEL, vm->client.fd, NULL);
	vm->client_gone = true;
	if (!vm->bye)
		end_with(vm, MACHINE_STOPPED, ENDED_LOST, -1, "cvmm-run is gone: %s", why);
}

static void on_tick(struct vm *vm)
{
	uint64_t now = now_ms();

	if (!vm->client_gone && now - vm->client.sent_ms >= CONN_ALIVE_MS)
		conn_send(&vm->client, F_ALIVE, 0, NULL, 0);
	if (!vm->client_gone && now - vm->client.heard_ms > CLIENT_DEAD_MS) {
		vm->client_gone = true;
		end_with(vm, MACHINE_STOPPED, ENDED_LOST, -1, "cvmm-run is gone: no sign of life for %d s",
			 CLIENT_DEAD_MS / 1000);
	}
	give_input(vm);
}

static void on_space(struct vm *vm)
{
	char why[128];
	int node;

	epoll_ctl(vm->epfd, EPOLL_CTL_DEL, vm->space_fd, NULL);
	if (!space_failed(vm->space_fd, &node, why, sizeof(why)))
		return;
	end_with(vm, MACHINE_ERROR, node >= 0 && node != (int)vm->node ? ENDED_LOST : ENDED_INTERNAL,
		 node, "memory: %s", why);
}

/* The worker has done a step. */
static void on_worker(struct vm *vm)
{
	uint8_t buf[4];
	char err[128];
	uint16_t done;
	uint64_t n;

	if (read(vm->worker_fd, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&vm->lock);
	done = vm->done;
	vm->done = 0;
	pthread_mutex_unlock(&vm->lock);
	if (!done)
		return;
	if (done == F_CONNECT && sandbox_enter(vm->user, err, sizeof(err))) {
		end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
		return;
	}
	put_u32(buf, done);
	conn_send(&vm->client, F_DONE, 0, buf, sizeof(buf));
	if (done == F_PREPARE)
		tell_super(vm, "ready");
}

/* Once nothing of the guest runs here any more: tell the client how it went. */
static void send_end(struct vm *vm)
{
	uint8_t buf[ENDED_SIZE], *list;
	struct stats s = { 0 };
	bool idle;

	pthread_mutex_lock(&vm->lock);
	idle = !vm->step;
	pthread_mutex_unlock(&vm->lock);
	if (!idle)
		return;
	vm->ended_sent = true;
	vm->ended_ms = now_ms();
	if (vm->end.status == ENDED_LOST && vm->end.node != NODE_CLIENT)
		log_line("%s: lost node %u (%s): %s", vm->who, vm->end.node, host_of(vm, vm->end.node),
			 vm->end.text);
	else
		log_line("%s: %s", vm->who, vm->end.text);
	tell_super(vm, "ended");
	if (vm->client_gone)
		return;
	send_console(vm);
	list = malloc(FRAME_MAX);
	if (list) {
		collect(vm, &s);
		if (vm->space_fd >= 0)
			stats_add_all(&s, module_stats(vm));
		conn_send(&vm->client, F_STATS, 0, list, stats_encode(&s, list, FRAME_MAX));
		stats_free(&s);
		free(list);
	}
	ended_encode(buf, &vm->end);
	conn_send(&vm->client, F_ENDED, 0, buf, sizeof(buf));
}

static bool finished(struct vm *vm)
{
	bool ending = is_ending(vm);
	uint64_t now = now_ms();

	if (vm->bye && !ending)
		end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped");
	if (!ending)
		return false;
	if (!vm->ended_ms)
		vm->ended_ms = now;
	if (!vm->ended_sent)
		send_end(vm);
	if (!vm->ended_sent) {
		if (now - vm->ended_ms < STOP_MS)
			return false;
		log_line("%s: the machine does not stop; leaving it to the kernel", vm->who);
		_exit(70);
	}
	return vm->bye || vm->client_gone || now - vm->ended_ms > BYE_MS;
}

static int watch(struct vm *vm, int fd, enum event data)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = data };

	return epoll_ctl(vm->epfd, EPOLL_CTL_ADD, fd, &ev);
}

static int set_up(struct vm *vm, int client_fd, const struct tls_keys *keys)
{
	struct itimerspec tick = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	struct sigaction bus = { .sa_handler = on_sigbus };
	sigset_t set;

	/* vmmd ends us by SUPER_STOP; a signal to us alone is taken as a wish to end too. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigaction(SIGBUS, &bus, NULL);
	signal(SIGPIPE, SIG_IGN);

	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->out_lock, NULL);
	pthread_cond_init(&vm->wake, NULL);
	vm->out = malloc(CONSOLE_MAX);
	vm->epfd = epoll_create1(EPOLL_CLOEXEC);
	vm->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	vm->console_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	vm->worker_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (!vm->out || vm->epfd < 0 || vm->tick_fd < 0 || vm->console_fd < 0 || vm->worker_fd < 0 ||
	    vm->signal_fd < 0 || watch(vm, vm->super_fd, EV_SUPER) || watch(vm, vm->tick_fd, EV_TICK) ||
	    watch(vm, vm->console_fd, EV_CONSOLE) || watch(vm, vm->worker_fd, EV_WORKER) ||
	    watch(vm, vm->signal_fd, EV_SIGNAL) || timerfd_settime(vm->tick_fd, 0, &tick, NULL) ||
	    conn_init(&vm->client, client_fd, keys) || conn_watch(&vm->client, vm->epfd, EV_CLIENT) ||
	    pthread_create(&vm->worker, NULL, worker, vm))
		return -1;
	return 0;
}

static void tear_down(struct vm *vm)
{
	/* The worker has no step and ends at once. */
	pthread_join(vm->worker, NULL);
	if (vm->channel)
		channel_expect_end(vm->channel);
	if (vm->machine) {
		channel_set_machine(vm->channel, NULL);
		machine_destroy(vm->machine);
	}
	channel_destroy(vm->channel);
	if (vm->space_fd >= 0)
		close(vm->space_fd);
	host_engine_close(&vm->engine);
	conn_close(&vm->client);
	conf_free(&vm->start.conf);
	stats_free(&vm->module_stats);
	free(vm->kernel);
	free(vm->initrd);
	free(vm->out);
	close(vm->epfd);
	close(vm->tick_fd);
	close(vm->console_fd);
	close(vm->worker_fd);
	close(vm->signal_fd);
	close(vm->super_fd);
}

int cluster_node(int client_fd, struct tls_keys *keys, int super_fd, const struct hello *hello,
		 struct cluster_key *key, const struct sandbox_user *user)
{
	static struct vm vm;
	struct epoll_event ev[8];
	uint64_t n;
	int i, nr;

	vm.hello = *hello;
	vm.key = key;
	vm.user = user;
	vm.node = hello->to;
	vm.super_fd = super_fd;
	vm.space_fd = vm.engine.fd = -1;
	snprintf(vm.who, sizeof(vm.who), "guest %s, node %u", hello->name, hello->to);
	i = sandbox_begin() || set_up(&vm, client_fd, keys);
	explicit_bzero(keys, sizeof(*keys));
	if (i) {
		log_line("%s: out of memory, threads or descriptors", vm.who);
		return 70;
	}
	while (!finished(&vm)) {
		nr = epoll_wait(vm.epfd, ev, 8, -1);
		for (i = 0; i < nr; i++) {
			switch ((enum event)ev[i].data.u64) {
			case EV_CLIENT:
				on_client(&vm, ev[i].events);
				break;
			case EV_SUPER:
				on_super(&vm);
				break;
			case EV_TICK:
				if (read(vm.tick_fd, &n, sizeof(n)) == sizeof(n))
					on_tick(&vm);
				break;
			case EV_CONSOLE:
				if (read(vm.console_fd, &n, sizeof(n)) == sizeof(n))
					send_console(&vm);
				break;
			case EV_WORKER:
				on_worker(&vm);
				break;
			case EV_SPACE:
				on_space(&vm);
				break;
			case EV_SIGNAL:
				end_with(&vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm.node,
					 "its process was told to end");
				epoll_ctl(vm.epfd, EPOLL_CTL_DEL, vm.signal_fd, NULL);
				break;
			}
		}
	}
	tear_down(&vm);
	return 0;
}
