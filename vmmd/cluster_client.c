// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the client says to a node, and the guest's console, which is the client's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <x86intrin.h>

#include "vmmd/cluster_priv.h"

#define CONSOLE_MS	10	/* output is collected for so long */

/* ---- console ------------------------------------------------------------- */

void vm_console_out(void *ctx, const void *buf, size_t len)
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

void vm_send_console(struct vm *vm)
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

void vm_give_input(struct vm *vm)
{
	size_t n;

	if (!vm->input_len || !vm->machine)
		return;
	n = machine_console_in(vm->machine, vm->input, vm->input_len);
	memmove(vm->input, vm->input + n, vm->input_len - n);
	vm->input_len -= n;
}

static void on_lost(void *ctx, unsigned int node, const char *why)
{
	struct vm *vm = ctx;

	vm_end_with(vm, MACHINE_ERROR, ENDED_LOST, (int)node, "%s", why);
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
			vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "not enough memory for the kernel");
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
	/* RDMA wants it before there is a thread; for kernel TLS, which only root can have loaded, it is too early. */
	if (conf_may_rdma(conf) && sandbox_become(vm->user, err, sizeof(err)))
		goto unavailable;
	vm->channel = channel_create(&cp, err, sizeof(err));
	if (!vm->channel)
		goto unavailable;
	vm->have_worker = !pthread_create(&vm->worker, NULL, vm_worker, vm);
	if (!vm->have_worker) {
		snprintf(err, sizeof(err), "no thread can be made");
		goto unavailable;
	}
	vm_tell_super(vm, "starting");
	return 0;

unavailable:
	vm_end_with(vm, MACHINE_ERROR, ENDED_UNAVAILABLE, (int)vm->node, "%s", err);
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

int vm_client_frame(void *arg, const struct frame *f)
{
	struct vm *vm = arg;
	uint8_t done[4];
	bool ending = vm_is_ending(vm);

	switch (f->type) {
	case F_CONF:
		if (on_conf(vm, f))
			return -1;
		put_u32(done, F_CONF);
		if (!vm_is_ending(vm))
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
		if ((vm->channels & vm->links) != vm_others(vm) && !ending)
			return -1;
		return start_step(vm, F_PREPARE);
	case F_RUN:
		if (!vm->machine && !ending)
			return -1;
		return start_step(vm, F_RUN);
	case F_STOP:
		vm_end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, -1, "stopped by cvmm-run");
		return 0;
	case F_BYE:
		vm->bye = true;
		return 0;
	case F_CONSOLE_IN:
		if (vm->node || !vm->machine || f->len > INPUT_MAX - vm->input_len)
			return 0;	/* a UART loses what comes too fast, or before it is there */
		memcpy(vm->input + vm->input_len, f->data, f->len);
		vm->input_len += f->len;
		vm_give_input(vm);
		return 0;
	case F_ALIVE:
		return 0;
	}
	return -1;
}
