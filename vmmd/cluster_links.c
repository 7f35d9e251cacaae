// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A link's way to the module: the TCP connections that its two nodes have, with
 * kernel TLS if pages are to be encrypted, or an RDMA connection that the two
 * modules make and for which this one carries port and tokens.  With the latter the
 * channel of the two nodes gets an RDMA connection of its own in the same way.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/cluster_priv.h"
#include "vmmd/ktls.h"
#include "vmmd/rconn.h"

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

/* It could have been RDMA. */
static int use_tcp(struct vm *vm, unsigned int node, const struct link_conns *conns, const char *why)
{
	log_line("%s: link and channel to node %u go over TCP: %s", vm->who, node, why);
	return add_tcp(vm, node, conns);
}

/* Something to read at @fd, or the guest ends, or @ms are over. */
static void wait_for(struct vm *vm, int fd, uint64_t ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t deadline = now_ms() + ms;

	while (!vm_is_ending(vm) && now_ms() < deadline && poll(&p, 1, LOOK_MS) <= 0)
		;
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

/* ---- RDMA, for both link and channel ---------------------------------------------- */

/* What is being made; neither is there without the other. */
struct rdma_pair {
	int ep;			/* the module's endpoint, or -1 */
	struct rconn *channel;
};

static void drop_pair(struct rdma_pair *p)
{
	if (p->ep >= 0)
		close(p->ep);
	rconn_close(p->channel);
	p->ep = -1;
	p->channel = NULL;
}

/*
 * The channel's connection goes on until it is there, or @fd (-1: none) has something
 * to read, or the guest ends, or @ms are over.  1: it is there; 0: not yet; -1 with @err.
 */
static int drive_channel(struct vm *vm, struct rconn *c, int fd, uint64_t ms, char *err, size_t errlen)
{
	struct pollfd p[2] = { { .fd = rconn_setup_fd(c), .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	uint64_t deadline = now_ms() + ms;
	int ret;

	while (!(ret = rconn_step(c, err, errlen)) && !vm_is_ending(vm) && now_ms() < deadline)
		if (poll(p, 2, LOOK_MS) > 0 && p[1].revents)
			break;
	return ret;
}

static int wait_channel(struct vm *vm, struct rconn *c, char *err, size_t errlen)
{
	int ret = drive_channel(vm, c, -1, RDMA_MS, err, errlen);

	if (!ret)
		snprintf(err, errlen, "RDMA: the peer does not answer");
	return ret > 0 ? 0 : -1;
}

static int wait_link(struct vm *vm, int ep, char *err, size_t errlen)
{
	wait_for(vm, ep, RDMA_MS);
	return space_rdma_wait(ep, 0, err, errlen);
}

/* Both are connected: to the module, to the channel. */
static int add_pair(struct vm *vm, unsigned int node, struct rdma_pair *p)
{
	char err[256];

	if (space_add_rdma_link(vm->space_fd, node, p->ep, err, sizeof(err)))
		return fail(vm, vm->node, ENDED_INTERNAL, err);
	if (sandbox_allow_verbs(rconn_device_fd(p->channel)) || channel_use_rdma(vm->channel, node, p->channel))
		return fail(vm, vm->node, ENDED_INTERNAL, "the channel does not take its RDMA connection");
	p->channel = NULL;
	return 0;
}

static void wipe_offer(struct link_offer *o)
{
	explicit_bzero(o->offered, sizeof(o->offered));
	explicit_bzero(o->wanted, sizeof(o->wanted));
}

static void wipe_tokens(struct link_word *w)
{
	wipe_offer(&w->link);
	wipe_offer(&w->channel);
}

static int make_tokens(struct link_offer *o)
{
	return getrandom(o->offered, LINK_TOKEN, 0) != LINK_TOKEN ||
	       getrandom(o->wanted, LINK_TOKEN, 0) != LINK_TOKEN ? -1 : 0;
}

/* Wait for the peer at the address that it has come to.  0, or -1 with @err. */
static int listen_pair(struct vm *vm, struct rdma_pair *p, int fd, struct link_word *offer, char *err, size_t errlen)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (make_tokens(&offer->link) || make_tokens(&offer->channel)) {
		snprintf(err, errlen, "no random numbers");
		return -1;
	}
	if (getsockname(fd, (struct sockaddr *)&addr, &len)) {
		snprintf(err, errlen, "the connection has no address");
		return -1;
	}
	p->ep = space_rdma_listen(&vm->engine, &addr, &offer->link.port, offer->link.offered, offer->link.wanted,
				  err, errlen);
	if (p->ep < 0)
		return -1;
	p->channel = rconn_listen(&addr, &offer->channel.port, offer->channel.offered, offer->channel.wanted,
				  err, errlen);
	return p->channel ? 0 : -1;
}

int vm_take_link(struct vm *vm, unsigned int node, struct link_conns *conns)
{
	struct tls_keys *keys = &conns->keys[0];
	const int fd = conns->fd[0];
	struct link_word offer = { .kind = LINK_RDMA }, answer;
	struct rdma_pair p = { .ep = -1 };
	bool sent, failed = false;
	char err[256];
	int ret = -1;

	if (!conf_may_rdma(&vm->start.conf))
		return add_tcp(vm, node, conns);

	if (listen_pair(vm, &p, fd, &offer, err, sizeof(err))) {
		drop_pair(&p);
		say_no(vm, &offer, err);
	}
	sent = !send_word(fd, keys, &offer);
	wipe_tokens(&offer);
	/* The peer's answer comes when it has connected, or given up. */
	if (sent && p.channel)
		failed = drive_channel(vm, p.channel, fd, TURN_MS, err, sizeof(err)) < 0;
	if (!sent || recv_word(vm, fd, keys, &answer)) {
		fail(vm, node, ENDED_UNAVAILABLE, "it does not connect its link");
		goto drop;
	}
	wipe_tokens(&answer);
	if (offer.kind == LINK_FAILED)
		fail(vm, vm->node, ENDED_UNAVAILABLE, offer.text);
	else if (answer.kind == LINK_FAILED)
		fail(vm, node, ENDED_UNAVAILABLE, answer.text);
	else if (answer.kind == LINK_TCP)
		ret = use_tcp(vm, node, conns, *offer.text ? offer.text : answer.text);
	else if (!p.channel)
		fail(vm, node, ENDED_INTERNAL, "it has an RDMA connection that was not offered");
	else if (failed || wait_channel(vm, p.channel, err, sizeof(err)) || wait_link(vm, p.ep, err, sizeof(err)))
		fail(vm, vm->node, ENDED_UNAVAILABLE, err);
	else
		ret = add_pair(vm, node, &p);
drop:
	drop_pair(&p);
	return ret;
}

/* Connect to what is offered.  0, or -1 with @err. */
static int connect_pair(struct vm *vm, struct rdma_pair *p, int fd, const struct link_word *offer,
			char *err, size_t errlen)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getpeername(fd, (struct sockaddr *)&addr, &len)) {
		snprintf(err, errlen, "the connection has no address");
		return -1;
	}
	p->ep = space_rdma_connect(&vm->engine, &addr, offer->link.port, offer->link.wanted, offer->link.offered,
				   err, errlen);
	if (p->ep < 0)
		return -1;
	p->channel = rconn_connect(&addr, offer->channel.port, offer->channel.wanted, offer->channel.offered,
				   err, errlen);
	return p->channel && !wait_channel(vm, p->channel, err, errlen) && !wait_link(vm, p->ep, err, errlen) ? 0 : -1;
}

int vm_call_link(struct vm *vm, unsigned int node, struct link_conns *conns)
{
	struct tls_keys *keys = &conns->keys[0];
	const int fd = conns->fd[0];
	struct link_word offer, answer = { .kind = LINK_TCP };
	struct rdma_pair p = { .ep = -1 };
	char err[256];
	int ret = -1;

	if (!conf_may_rdma(&vm->start.conf))
		return add_tcp(vm, node, conns);

	if (recv_word(vm, fd, keys, &offer))
		return fail(vm, node, ENDED_UNAVAILABLE, "it offers no link");
	if (offer.kind == LINK_RDMA) {
		answer.kind = LINK_RDMA;
		if (connect_pair(vm, &p, fd, &offer, err, sizeof(err))) {
			drop_pair(&p);
			say_no(vm, &answer, err);
		}
	}
	wipe_tokens(&offer);
	if (send_word(fd, keys, &answer))
		fail(vm, node, ENDED_UNAVAILABLE, "its link's connection was closed");
	else if (offer.kind == LINK_FAILED)
		fail(vm, node, ENDED_UNAVAILABLE, offer.text);
	else if (answer.kind == LINK_FAILED)
		fail(vm, vm->node, ENDED_UNAVAILABLE, answer.text);
	else if (answer.kind == LINK_TCP)
		ret = use_tcp(vm, node, conns, *answer.text ? answer.text : offer.text);
	else
		ret = add_pair(vm, node, &p);
	drop_pair(&p);
	return ret;
}
