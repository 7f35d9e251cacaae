// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A link's way to the module: the TCP connections that its two nodes have, with
 * kernel TLS if pages are to be encrypted, or an RDMA connection that the two
 * modules make and for which this one carries port and tokens.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/cluster_priv.h"
#include "vmmd/ktls.h"

#define TURN_MS		20000	/* the other node may have others to connect to first */
#define WORD_MS		5000	/* for a word that has begun to come, or to go */
#define RDMA_MS		10000	/* for an RDMA connection */
#define LOOK_MS		250	/* how often we look whether the guest is to end meanwhile */

static int fail(struct vm *vm, unsigned int about, enum ended_status status, const char *why)
{
	vm_end_with(vm, MACHINE_ERROR, status, (int)about, "%s", why);
	return -1;
}

void vm_close_conns(struct link_conns *conns)
{
	unsigned int i;

	for (i = 0; i < conns->nr; i++)
		close(conns->fd[i]);
	conns->nr = 0;
	explicit_bzero(conns->keys, sizeof(conns->keys));
}

static int add_tcp(struct vm *vm, unsigned int node, const struct link_conns *conns)
{
	char err[256];
	unsigned int i;

	for (i = 0; i < conns->nr; i++)
		if (vm->start.conf.encryption && ktls_start(conns->fd[i], &conns->keys[i], err, sizeof(err)))
			return fail(vm, vm->node, ENDED_UNAVAILABLE, err);
	if (space_add_link(vm->space_fd, node, conns->fd, conns->nr, err, sizeof(err)))
		return fail(vm, vm->node, ENDED_INTERNAL, err);
	return 0;
}

static int add_rdma(struct vm *vm, unsigned int node, int ep)
{
	char err[256];

	if (space_add_rdma_link(vm->space_fd, node, ep, err, sizeof(err)))
		return fail(vm, vm->node, ENDED_INTERNAL, err);
	return 0;
}

/* Something to read at @fd, or the guest ends, or @ms are over. */
static void wait_for(struct vm *vm, int fd, uint64_t ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t deadline = now_ms() + ms;

	while (!vm_is_ending(vm) && now_ms() < deadline && poll(&p, 1, LOOK_MS) <= 0)
		;
}

static int wait_rdma(struct vm *vm, int ep, char *err, size_t errlen)
{
	wait_for(vm, ep, RDMA_MS);
	return space_rdma_wait(ep, 0, err, errlen);
}

static int send_word(int fd, struct tls_keys *keys, const struct link_word *w)
{
	uint8_t buf[LINK_WORD_SIZE], record[LINK_WORD_SIZE + TLS_OVERHEAD];
	int ret;

	link_word_encode(buf, w);
	ret = tls_seal_once(&keys->tx, TLS_DATA, record, buf, sizeof(buf)) ||
	      net_send_all(fd, record, sizeof(record), now_ms() + WORD_MS) ? -1 : 0;
	explicit_bzero(buf, sizeof(buf));
	return ret;
}

static int recv_word(struct vm *vm, int fd, struct tls_keys *keys, struct link_word *w)
{
	uint8_t buf[LINK_WORD_SIZE], record[LINK_WORD_SIZE + TLS_OVERHEAD];
	int ret;

	wait_for(vm, fd, TURN_MS);
	ret = net_recv_all(fd, record, sizeof(record), now_ms() + WORD_MS) ||
	      tls_open_once(&keys->rx, buf, sizeof(buf), record) || link_word_decode(buf, w) ? -1 : 0;
	explicit_bzero(buf, sizeof(buf));
	return ret;
}

/* What we say when there is no RDMA: TCP if the configuration leaves that open. */
static void say_no(const struct vm *vm, struct link_word *w, const char *why)
{
	memset(w, 0, sizeof(*w));
	w->kind = vm->start.conf.transport == CONF_RDMA ? LINK_FAILED : LINK_TCP;
	snprintf(w->text, sizeof(w->text), "%.*s", (int)sizeof(w->text) - 1, why);
}

int vm_take_link(struct vm *vm, unsigned int node, struct link_conns *conns)
{
	struct tls_keys *keys = &conns->keys[0];
	const int fd = conns->fd[0];
	struct link_word offer = { .kind = LINK_RDMA }, answer;
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char err[256];
	int ep = -1, ret = -1;

	if (!conf_may_rdma(&vm->start.conf))
		return add_tcp(vm, node, conns);

	/* At the address that the other one has come to. */
	if (getrandom(offer.offered, LINK_TOKEN, 0) != LINK_TOKEN ||
	    getrandom(offer.wanted, LINK_TOKEN, 0) != LINK_TOKEN)
		snprintf(err, sizeof(err), "no random numbers");
	else if (getsockname(fd, (struct sockaddr *)&addr, &len))
		snprintf(err, sizeof(err), "the connection has no address");
	else
		ep = space_rdma_listen(&vm->engine, &addr, &offer.port, offer.offered, offer.wanted,
				       err, sizeof(err));
	if (ep < 0)
		say_no(vm, &offer, err);
	if (send_word(fd, keys, &offer) || recv_word(vm, fd, keys, &answer)) {
		fail(vm, node, ENDED_UNAVAILABLE, "it does not connect its link");
		goto close_ep;
	}
	if (offer.kind == LINK_FAILED)
		fail(vm, vm->node, ENDED_UNAVAILABLE, offer.text);
	else if (answer.kind == LINK_FAILED)
		fail(vm, node, ENDED_UNAVAILABLE, answer.text);
	else if (answer.kind == LINK_TCP)
		ret = add_tcp(vm, node, conns);
	else if (ep < 0)
		fail(vm, node, ENDED_INTERNAL, "it has an RDMA connection that was not offered");
	else if (wait_rdma(vm, ep, err, sizeof(err)))
		fail(vm, vm->node, ENDED_UNAVAILABLE, err);
	else
		ret = add_rdma(vm, node, ep);
close_ep:
	if (ep >= 0)
		close(ep);
	explicit_bzero(&offer, sizeof(offer));
	return ret;
}

/* Connect to what is offered.  The endpoint, or -1 with @err. */
static int connect_rdma(struct vm *vm, int fd, const struct link_word *offer, char *err, size_t errlen)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int ep;

	if (getpeername(fd, (struct sockaddr *)&addr, &len)) {
		snprintf(err, errlen, "the connection has no address");
		return -1;
	}
	ep = space_rdma_connect(&vm->engine, &addr, offer->port, offer->wanted, offer->offered, err, errlen);
	if (ep >= 0 && wait_rdma(vm, ep, err, errlen)) {
		close(ep);
		ep = -1;
	}
	return ep;
}

int vm_call_link(struct vm *vm, unsigned int node, struct link_conns *conns)
{
	struct tls_keys *keys = &conns->keys[0];
	const int fd = conns->fd[0];
	struct link_word offer, answer = { .kind = LINK_TCP };
	int ep = -1, ret = -1;
	char err[256];

	if (!conf_may_rdma(&vm->start.conf))
		return add_tcp(vm, node, conns);

	if (recv_word(vm, fd, keys, &offer))
		return fail(vm, node, ENDED_UNAVAILABLE, "it offers no link");
	if (offer.kind == LINK_RDMA) {
		answer.kind = LINK_RDMA;
		ep = connect_rdma(vm, fd, &offer, err, sizeof(err));
		if (ep < 0)
			say_no(vm, &answer, err);
	}
	explicit_bzero(offer.offered, sizeof(offer.offered));
	explicit_bzero(offer.wanted, sizeof(offer.wanted));
	if (send_word(fd, keys, &answer))
		fail(vm, node, ENDED_UNAVAILABLE, "its link's connection was closed");
	else if (offer.kind == LINK_FAILED)
		fail(vm, node, ENDED_UNAVAILABLE, offer.text);
	else if (answer.kind == LINK_FAILED)
		fail(vm, vm->node, ENDED_UNAVAILABLE, answer.text);
	else if (answer.kind == LINK_TCP)
		ret = add_tcp(vm, node, conns);
	else
		ret = add_rdma(vm, node, ep);
	if (ep >= 0)
		close(ep);
	return ret;
}
