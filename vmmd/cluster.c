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
 * Whatever ends the node's part is kept by vm_end_with(); the first reason counts.
 * The node then tells the client and waits for its BYE, so that no node goes
 * away while another one's vCPUs still run.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmmd/cluster_priv.h"

#define TICK_MS		500
#define CLIENT_DEAD_MS	15000
#define BYE_MS		10000	/* from our end to the client's BYE */
#define STOP_MS		10000	/* for the machine to end */

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

void vm_poke(struct vm *vm)
{
	uint64_t one = 1;

	while (write(vm->worker_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* ---- the end ------------------------------------------------------------- */

void vm_end_with(struct vm *vm, enum machine_end end, enum ended_status status, int about,
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
	vm_poke(vm);
}

bool vm_end_with_space(struct vm *vm)
{
	char why[128];
	int node;

	if (vm->space_fd < 0 || !space_failed(vm->space_fd, &node, why, sizeof(why)))
		return false;
	vm_end_with(vm, MACHINE_ERROR, node >= 0 && node != (int)vm->node ? ENDED_LOST : ENDED_INTERNAL,
		 node, "memory: %s", why);
	return true;
}

bool vm_is_ending(struct vm *vm)
{
	bool ending;

	pthread_mutex_lock(&vm->lock);
	ending = vm->ending;
	pthread_mutex_unlock(&vm->lock);
	return ending;
}

const char *vm_host_of(const struct vm *vm, unsigned int node)
{
	const char *host = node < vm->start.conf.nr_nodes ? vm->start.conf.node[node].host : NULL;

	return host ? host : "?";
}

/* ---- the main thread ------------------------------------------------------ */

static void on_client(struct vm *vm, uint32_t events)
{
	char why[128];

	if (events & EPOLLOUT)
		conn_flush(&vm->client);
	if (!(events & ~(uint32_t)EPOLLOUT) || vm->client_gone)
		return;
	if (!conn_receive(&vm->client, vm_client_frame, vm, why, sizeof(why)))
		return;
	epoll_ctl(vm->epfd, EPOLL_CTL_DEL, vm->client.fd, NULL);
	vm->client_gone = true;
	if (!vm->bye)
		vm_end_with(vm, MACHINE_STOPPED, ENDED_LOST, -1, "cvmm-run is gone: %s", why);
}

static void on_tick(struct vm *vm)
{
	uint64_t now = now_ms();

	if (!vm->client_gone && now - vm->client.sent_ms >= CONN_ALIVE_MS)
		conn_send(&vm->client, F_ALIVE, 0, NULL, 0);
	if (!vm->client_gone && now - vm->client.heard_ms > CLIENT_DEAD_MS) {
		vm->client_gone = true;
		vm_end_with(vm, MACHINE_STOPPED, ENDED_LOST, -1, "cvmm-run is gone: no sign of life for %d s",
			 CLIENT_DEAD_MS / 1000);
	}
	vm_give_input(vm);
}

static void on_space(struct vm *vm)
{
	epoll_ctl(vm->epfd, EPOLL_CTL_DEL, vm->space_fd, NULL);
	vm_end_with_space(vm);
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
	if (done == F_CONNECT &&
	    (sandbox_become(vm->user, err, sizeof(err)) || sandbox_enter(err, sizeof(err)))) {
		vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
		return;
	}
	put_u32(buf, done);
	conn_send(&vm->client, F_DONE, 0, buf, sizeof(buf));
	if (done == F_PREPARE)
		vm_tell_super(vm, "ready");
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
		log_line("%s: lost node %u (%s): %s", vm->who, vm->end.node, vm_host_of(vm, vm->end.node),
			 vm->end.text);
	else
		log_line("%s: %s", vm->who, vm->end.text);
	vm_tell_super(vm, "ended");
	if (vm->client_gone)
		return;
	vm_send_console(vm);
	list = malloc(FRAME_MAX);
	if (list) {
		vm_collect(vm, &s);
		if (vm->space_fd >= 0)
			stats_add_all(&s, vm_module_stats(vm));
		conn_send(&vm->client, F_STATS, 0, list, stats_encode(&s, list, FRAME_MAX));
		stats_free(&s);
		free(list);
	}
	ended_encode(buf, &vm->end);
	conn_send(&vm->client, F_ENDED, 0, buf, sizeof(buf));
}

static bool finished(struct vm *vm)
{
	bool ending = vm_is_ending(vm);
	uint64_t now = now_ms();

	if (vm->bye && !ending)
		vm_end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped");
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
	struct sigaction bus = { .sa_handler = vm_on_sigbus };
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
	    conn_init(&vm->client, client_fd, keys) || conn_watch(&vm->client, vm->epfd, EV_CLIENT))
		return -1;
	return 0;
}

static void tear_down(struct vm *vm)
{
	/* The worker has no step and ends at once. */
	if (vm->have_worker)
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
				vm_super_message(&vm);
				break;
			case EV_TICK:
				if (read(vm.tick_fd, &n, sizeof(n)) == sizeof(n))
					on_tick(&vm);
				break;
			case EV_CONSOLE:
				if (read(vm.console_fd, &n, sizeof(n)) == sizeof(n))
					vm_send_console(&vm);
				break;
			case EV_WORKER:
				on_worker(&vm);
				break;
			case EV_SPACE:
				on_space(&vm);
				break;
			case EV_SIGNAL:
				vm_end_with(&vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm.node,
					 "its process was told to end");
				epoll_ctl(vm.epfd, EPOLL_CTL_DEL, vm.signal_fd, NULL);
				break;
			}
		}
	}
	tear_down(&vm);
	return 0;
}
