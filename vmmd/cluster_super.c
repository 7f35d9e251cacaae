// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What vmmd and a node's process say to each other: new connections of other
 * nodes, wishes to stop, states and counters.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/cluster_priv.h"

#define STATS_MS	2000	/* for vmmd to answer */

void vm_tell_super(struct vm *vm, const char *state)
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

/* One of the connections of @node's link; with the last of them they are the worker's.  vm->lock held. */
static void add_caller(struct vm *vm, unsigned int node, int fd, const struct tls_keys *keys)
{
	struct link_conns *conns = &vm->caller[node];

	conns->fd[conns->nr] = fd;
	conns->keys[conns->nr++] = *keys;
	if (conns->nr == conf_connections(&vm->start.conf))
		vm->callers |= 1ULL << node;
}

static void on_peer(struct vm *vm, const struct hello *h, struct tls_keys *keys, int fd)
{
	uint64_t bit = 1ULL << h->from, *have;
	uint8_t answer[ANSWER_SIZE], record[ANSWER_SIZE + TLS_OVERHEAD];
	bool wanted;

	pthread_mutex_lock(&vm->lock);
	have = h->role == HELLO_CHANNEL ? &vm->channels : &vm->links;
	wanted = vm->channel && !vm->ending && h->from > vm->node &&
		 h->from < vm->start.conf.nr_nodes && !(*have & bit) &&
		 !(h->role == HELLO_LINK && vm->callers & bit);
	pthread_mutex_unlock(&vm->lock);
	answer_encode(answer, wanted ? ANSWER_OK : ANSWER_REFUSED,
		      wanted ? "" : "this node expects no such connection now");
	if (tls_seal_once(&keys->tx, TLS_DATA, record, answer, sizeof(answer)) ||
	    net_send_all(fd, record, sizeof(record), now_ms() + 1000) || !wanted)
		goto close_fd;
	if (h->role == HELLO_CHANNEL) {
		if (channel_add(vm->channel, h->from, fd, keys))
			goto close_fd;
		pthread_mutex_lock(&vm->lock);
		*have |= bit;
	} else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK)) {
		goto close_fd;
	} else {
		/* What follows waits for the other node: the worker's. */
		pthread_mutex_lock(&vm->lock);
		add_caller(vm, h->from, fd, keys);
	}
	fd = -1;
	pthread_cond_broadcast(&vm->wake);
	pthread_mutex_unlock(&vm->lock);
close_fd:
	if (fd >= 0)
		close(fd);
}

void vm_collect(struct vm *vm, struct stats *s)
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

void vm_super_message(struct vm *vm)
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
		vm_end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm->node, "vmmd on %s has ended",
			 vm_host_of(vm, vm->node));
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
		vm_end_with(vm, MACHINE_STOPPED, ENDED_NORMALLY, (int)vm->node, "%s", m.text);
		break;
	case SUPER_ASK_STATS:
		asker = m.asker;
		vm_collect(vm, &s);
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

const struct stats *vm_module_stats(struct vm *vm)
{
	struct super_msg m = { .type = SUPER_ASK_STATS };
	uint64_t deadline = now_ms() + STATS_MS;

	if (net_send_fd(vm->super_fd, &m, SUPER_LEN(&m), -1))
		return &vm->module_stats;
	while (!vm->have_module_stats && !net_wait(vm->super_fd, POLLIN, deadline)) {
		if (recv(vm->super_fd, &m.type, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
			break;	/* vmmd has ended; the main loop takes note */
		vm_super_message(vm);
	}
	return &vm->module_stats;
}
