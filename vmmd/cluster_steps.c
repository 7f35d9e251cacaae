// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A node's worker: connects to the other nodes, prepares the machine and runs it.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/cluster_priv.h"

#define CONNECT_MS	5000	/* for one connection to a peer */
#define SETUP_MS	20000	/* for all of them */

/* A connection to @node, answered, or -1 after vm_end_with(). */
static int connect_one(struct vm *vm, unsigned int node, enum hello_role role, struct tls_keys *keys)
{
	const struct conf_node *n = &vm->start.conf.node[node];
	struct hello h = vm->hello;
	char err[256], why[320];
	uint32_t status;
	int fd;

	h.role = role;
	h.from = vm->node;
	h.to = node;
	fd = net_connect(n->host, n->port, CONNECT_MS, err, sizeof(err));
	if (fd < 0) {
		vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)node, "%s", err);
		return -1;
	}
	if (!tls_connect(fd, vm->key, now_ms() + CONNECT_MS, keys, err, sizeof(err)) &&
	    !net_hello(fd, keys, &h, now_ms() + CONNECT_MS, &status, err, sizeof(err)))
		return fd;
	snprintf(why, sizeof(why), "vmmd there refuses node %u: %s", vm->node, err);
	vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)node, "%.255s", why);
	close(fd);
	return -1;
}

static void note_peer(struct vm *vm, uint64_t *have, unsigned int node)
{
	pthread_mutex_lock(&vm->lock);
	*have |= 1ULL << node;
	pthread_mutex_unlock(&vm->lock);
}

static int connect_channel(struct vm *vm, unsigned int node)
{
	struct tls_keys keys;
	int fd, ret;

	fd = connect_one(vm, node, HELLO_CHANNEL, &keys);
	if (fd < 0)
		return -1;
	ret = channel_add(vm->channel, node, fd, &keys);
	explicit_bzero(&keys, sizeof(keys));
	if (ret) {
		close(fd);
		vm_end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node, "out of memory");
		return -1;
	}
	note_peer(vm, &vm->channels, node);
	return 0;
}

static int connect_link(struct vm *vm, unsigned int node)
{
	const unsigned int nr = conf_connections(&vm->start.conf);
	struct link_conns conns = { 0 };
	int fd, ret = -1;

	while (conns.nr < nr) {
		fd = connect_one(vm, node, HELLO_LINK, &conns.keys[conns.nr]);
		if (fd < 0)
			goto close;
		conns.fd[conns.nr++] = fd;
	}
	ret = vm_call_link(vm, node, &conns);
	if (!ret)
		note_peer(vm, &vm->links, node);
close:
	vm_close_conns(&conns);
	return ret;
}

uint64_t vm_others(const struct vm *vm)
{
	unsigned int n = vm->start.conf.nr_nodes;
	uint64_t all = n == 64 ? ~0ULL : (1ULL << n) - 1;

	return all & ~(1ULL << vm->node);
}

/* One of the nodes that have connected to us for a link.  vm->lock held, dropped meanwhile.  0 or -1. */
static int take_caller(struct vm *vm)
{
	unsigned int n = (unsigned int)__builtin_ctzll(vm->callers);
	int ret;

	/* With its bit set nobody else touches what is there. */
	pthread_mutex_unlock(&vm->lock);
	ret = vm_take_link(vm, n, &vm->caller[n]);
	vm_close_conns(&vm->caller[n]);
	pthread_mutex_lock(&vm->lock);
	vm->callers &= ~(1ULL << n);
	if (!ret)
		vm->links |= 1ULL << n;
	return ret;
}

static int do_connect(struct vm *vm)
{
	uint64_t missing, all = vm_others(vm);
	struct timespec deadline;
	unsigned int n;

	for (n = 0; n < vm->node; n++)
		if (connect_channel(vm, n) || connect_link(vm, n))
			return -1;
	/* The guest, which does not run yet, shall find nothing here to join the cluster with. */
	explicit_bzero(vm->key, sizeof(*vm->key));
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += SETUP_MS / 1000;
	pthread_mutex_lock(&vm->lock);
	while (!vm->ending && (vm->channels & vm->links) != all) {
		if (vm->callers) {
			if (take_caller(vm))
				break;
		} else if (pthread_cond_timedwait(&vm->wake, &vm->lock, &deadline) == ETIMEDOUT) {
			break;
		}
	}
	missing = all & ~(vm->channels & vm->links);
	pthread_mutex_unlock(&vm->lock);
	if (missing) {
		n = (unsigned int)__builtin_ctzll(missing);
		vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)n, "it does not connect to node %u (%s)",
			 vm->node, vm_host_of(vm, vm->node));
		return -1;
	}
	return 0;
}

/* A space that fails while the worker writes to guest memory. */
static __thread sigjmp_buf *load_jump;

void vm_on_sigbus(int sig)
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
		vm_end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node,
			 "guest memory went away while the kernel was loaded");
		return -1;
	}
	load_jump = &jump;
	ret = machine_load(m, vm->kernel, vm->start.kernel_len, vm->initrd, vm->start.initrd_len,
			   err, sizeof(err));
	load_jump = NULL;
	if (ret)
		vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
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
		.console_out = vm->node ? NULL : vm_console_out,
		.console_ctx = vm,
	};
	struct machine *m;
	char err[256];

	if (vm->node) {
		if (channel_sync_tsc(vm->channel, &p.tsc_offset, err, sizeof(err))) {
			vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
			return -1;
		}
	} else {
		p.tsc_offset = vm->tsc_offset;
	}
	m = machine_create(&p, err, sizeof(err));
	if (!m) {
		vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
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
		vm_end_with(vm, MACHINE_POWEROFF, ENDED_NORMALLY, (int)vm->node, "the guest has powered off");
		break;
	case MACHINE_RESET:
		vm_end_with(vm, MACHINE_RESET, ENDED_NORMALLY, (int)vm->node, "the guest has reset");
		break;
	case MACHINE_STOPPED:
		vm_end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped");
		break;
	default:
		/* vCPUs cannot run without it: they may notice first. */
		if (!vm_end_with_space(vm))
			vm_end_with(vm, MACHINE_ERROR, ENDED_INTERNAL, (int)vm->node, "%s", *err ? err : "the engine failed");
		break;
	}
}

void *vm_worker(void *arg)
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
		vm_poke(vm);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}
