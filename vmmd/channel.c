// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The channel between the hosts of a guest: see channel.h.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "vmmd/channel_priv.h"

#define TICK_MS		250

/* epoll data that is not a node */
#define EV_WAKE		1000
#define EV_TICK		1001
#define EV_PING		1002
#define EV_RDMA		2000	/* and the node */

/* ---- losing a peer ------------------------------------------------------- */

static void peer_lost(struct peer *p, const char *why)
{
	struct channel *ch = p->ch;
	struct rpc *r;

	if (atomic_exchange(&p->dead, true))
		return;
	pthread_mutex_lock(&ch->rpc_lock);
	for (r = ch->rpcs; r; r = r->next) {
		if (r->node == p->node && r->state == RPC_WAITS) {
			r->state = RPC_LOST;
			pthread_cond_signal(&r->cond);
		}
	}
	pthread_mutex_unlock(&ch->rpc_lock);
	if (!p->node) {
		pthread_mutex_lock(&ch->sync_lock);
		if (ch->sync == SYNC_RUNNING)
			ch->sync = SYNC_FAILED;
		pthread_cond_broadcast(&ch->synced);
		pthread_mutex_unlock(&ch->sync_lock);
	}
	if (!ch->ending && !atomic_exchange(&ch->lost, true))
		ch->p.lost(ch->p.ctx, p->node, why);
}

int channel_peer_send(struct peer *p, uint16_t type, uint32_t tag, const void *data, size_t len)
{
	struct rconn *r = p->rdma;
	size_t waits;

	if (!p->up || p->dead)
		return -1;
	if (r ? !rconn_send(r, type, tag, data, len) : !conn_send(&p->conn, type, tag, data, len))
		return 0;
	/* The receiving thread finds out what is wrong; a full queue only we know. */
	waits = r ? rconn_pending(r) : conn_pending(&p->conn);
	if (waits > CONN_QUEUE_MAX / 2)
		peer_lost(p, "it does not take our messages");
	return -1;
}

/* ---- the receiving thread ------------------------------------------------ */

static int on_frame(void *arg, const struct frame *f)
{
	uint64_t got = __rdtsc();
	struct peer *p = arg;

	switch (f->type) {
	case F_APIC_MSG:
	case F_APIC_INFO:
	case F_EOI:
	case F_IO:
		return channel_to_machine(p, f);
	case F_IO_DONE:
		return channel_on_io_done(p, f);
	case F_PING:
		return channel_on_ping(p, f, got);
	case F_PONG:
		return channel_on_pong(p, f, got);
	case F_ALIVE:
		return 0;
	}
	return -1;
}

/* On the connection: with RDMA nothing but signs of life has a place there. */
static int on_conn_frame(void *arg, const struct frame *f)
{
	struct peer *p = arg;

	return p->rdma && f->type != F_ALIVE ? -1 : on_frame(p, f);
}

static void on_peer_event(struct peer *p, uint32_t events)
{
	char why[128];

	if (p->dead) {
		epoll_ctl(p->ch->epfd, EPOLL_CTL_DEL, p->conn.fd, NULL);
		return;
	}
	if (events & EPOLLOUT)
		conn_flush(&p->conn);
	if (events & ~(uint32_t)EPOLLOUT && conn_receive(&p->conn, on_conn_frame, p, why, sizeof(why))) {
		epoll_ctl(p->ch->epfd, EPOLL_CTL_DEL, p->conn.fd, NULL);
		peer_lost(p, why);
	}
}

/* Whether there may be more. */
static bool on_rdma_event(struct peer *p)
{
	char why[128];
	int ret = -1;

	if (!p->dead) {
		ret = rconn_receive(p->rdma, on_frame, p, why, sizeof(why));
		if (ret < 0)
			peer_lost(p, why);
	}
	if (ret < 0)
		epoll_ctl(p->ch->epfd, EPOLL_CTL_DEL, rconn_fd(p->rdma), NULL);
	return ret > 0;
}

static void on_tick(struct channel *ch, uint64_t now, bool late)
{
	struct peer *p;
	unsigned int n;
	char why[64];

	for (n = 0; n < ch->p.nr_nodes; n++) {
		p = &ch->peer[n];
		if (!p->up || p->dead)
			continue;
		if (now - p->conn.sent_ms >= CONN_ALIVE_MS)
			conn_send(&p->conn, F_ALIVE, 0, NULL, 0);
		/* A path that is broken shows when something is sent. */
		if (p->rdma && now - rconn_sent_ms(p->rdma) >= CONN_ALIVE_MS)
			channel_peer_send(p, F_ALIVE, 0, NULL, 0);
		/* When it was we who stood still, the others get another chance. */
		if (late)
			p->conn.heard_ms = now;
		if (now - p->conn.heard_ms < CONN_DEAD_MS)
			continue;
		snprintf(why, sizeof(why), "no sign of life for %d s", CONN_DEAD_MS / 1000);
		peer_lost(p, why);
	}
}

static void *receiver(void *arg)
{
	struct channel *ch = arg;
	struct epoll_event ev[CONF_MAX_NODES];
	uint64_t ticked_ms = now_ms(), more = 0, turn, now, n;
	int i, nr;

	while (!ch->stop) {
		bool tick = false;

		nr = epoll_wait(ch->epfd, ev, CONF_MAX_NODES, more ? 0 : -1);
		for (i = 0; i < nr; i++) {
			switch (ev[i].data.u64) {
			case EV_WAKE:
				break;
			case EV_TICK:
				tick = read(ch->tick_fd, &n, sizeof(n)) == sizeof(n);
				break;
			case EV_PING:
				if (read(ch->ping_fd, &n, sizeof(n)) == sizeof(n))
					channel_ping(ch);
				break;
			default:
				if (ev[i].data.u64 < EV_RDMA)
					on_peer_event(&ch->peer[ev[i].data.u64], ev[i].events);
				else
					more |= 1ULL << (ev[i].data.u64 - EV_RDMA);
			}
		}
		for (turn = more; turn; turn &= turn - 1)
			if (!on_rdma_event(&ch->peer[__builtin_ctzll(turn)]))
				more &= ~(turn & -turn);
		/* After what has come in. */
		if (tick) {
			now = now_ms();
			on_tick(ch, now, now - ticked_ms > 4 * TICK_MS);
			ticked_ms = now;
		}
	}
	return NULL;
}

static int watch(struct channel *ch, int fd, uint64_t data)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = data };

	return epoll_ctl(ch->epfd, EPOLL_CTL_ADD, fd, &ev);
}

struct channel *channel_create(const struct channel_params *p, char *err, size_t errlen)
{
	struct itimerspec tick = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	struct sched_param prio = { .sched_priority = 1 };
	struct channel *ch;
	unsigned int n;

	ch = calloc(1, sizeof(*ch));
	if (!ch)
		goto report;
	ch->p = *p;
	ch->early = calloc(EARLY_MAX, sizeof(*ch->early));
	pthread_mutex_init(&ch->rpc_lock, NULL);
	pthread_mutex_init(&ch->rx_lock, NULL);
	pthread_mutex_init(&ch->sync_lock, NULL);
	pthread_cond_init(&ch->synced, NULL);
	for (n = 0; n < CONF_MAX_NODES; n++) {
		ch->peer[n].ch = ch;
		ch->peer[n].node = n;
		ch->peer[n].conn.fd = -1;
	}
	tsc_est_init(&ch->est, TSC_DRIFT_PPM);
	ch->khz = channel_measure_khz();
	ch->offset = p->tsc_offset;
	ch->epfd = epoll_create1(EPOLL_CLOEXEC);
	ch->wake_fd = eventfd(0, EFD_CLOEXEC);
	ch->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	ch->ping_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!ch->early || ch->epfd < 0 || ch->wake_fd < 0 || ch->tick_fd < 0 || ch->ping_fd < 0 ||
	    watch(ch, ch->wake_fd, EV_WAKE) || watch(ch, ch->tick_fd, EV_TICK) ||
	    watch(ch, ch->ping_fd, EV_PING) || timerfd_settime(ch->tick_fd, 0, &tick, NULL) ||
	    pthread_create(&ch->thread, NULL, receiver, ch))
		goto free_channel;
	/* An interrupt for a vCPU should not wait for that vCPU's time slice; a wish, not a need. */
	pthread_setschedparam(ch->thread, SCHED_FIFO, &prio);
	pthread_setname_np(ch->thread, "channel");
	return ch;

free_channel:
	if (ch->epfd >= 0)
		close(ch->epfd);
	if (ch->wake_fd >= 0)
		close(ch->wake_fd);
	if (ch->tick_fd >= 0)
		close(ch->tick_fd);
	if (ch->ping_fd >= 0)
		close(ch->ping_fd);
	free(ch->early);
	free(ch);
report:
	snprintf(err, errlen, "the channel cannot be made: out of memory, threads or descriptors");
	return NULL;
}

int channel_add(struct channel *ch, unsigned int node, int fd, const struct tls_keys *keys)
{
	struct peer *p = &ch->peer[node];

	if (p->up || conn_init(&p->conn, fd, keys))
		return -1;
	p->up = true;
	return conn_watch(&p->conn, ch->epfd, node);
}

int channel_use_rdma(struct channel *ch, unsigned int node, struct rconn *r)
{
	struct peer *p = &ch->peer[node];

	if (p->rdma)
		return -1;
	p->rdma = r;
	if (watch(ch, rconn_fd(r), EV_RDMA + node)) {
		p->rdma = NULL;
		return -1;
	}
	return 0;
}

void channel_expect_end(struct channel *ch)
{
	ch->ending = true;
}

void channel_add_stats(struct channel *ch, struct stats *s)
{
	uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0, rdma_peers = 0;
	struct rconn_stats rdma = { 0 }, one;
	struct peer *p;
	unsigned int n;

	for (n = 0; n < ch->p.nr_nodes; n++) {
		p = &ch->peer[n];
		if (!p->up)
			continue;
		pthread_mutex_lock(&p->conn.lock);
		tx_frames += p->conn.tx_frames;
		tx_bytes += p->conn.tx_bytes;
		pthread_mutex_unlock(&p->conn.lock);
		rx_frames += p->conn.rx_frames;
		rx_bytes += p->conn.rx_bytes;
		if (!p->rdma)
			continue;
		rconn_get_stats(p->rdma, &one);
		rdma.tx_frames += one.tx_frames;
		rdma.tx_bytes += one.tx_bytes;
		rdma.rx_frames += one.rx_frames;
		rdma.rx_bytes += one.rx_bytes;
		rdma_peers++;
	}
	stats_add(s, "channel.tx_msgs", tx_frames);
	stats_add(s, "channel.tx_bytes", tx_bytes);
	stats_add(s, "channel.rx_msgs", rx_frames);
	stats_add(s, "channel.rx_bytes", rx_bytes);
	stats_add(s, "channel.rdma_peers", rdma_peers);
	stats_add(s, "channel.rdma_tx_msgs", rdma.tx_frames);
	stats_add(s, "channel.rdma_tx_bytes", rdma.tx_bytes);
	stats_add(s, "channel.rdma_rx_msgs", rdma.rx_frames);
	stats_add(s, "channel.rdma_rx_bytes", rdma.rx_bytes);
	stats_add(s, "channel.apic_out", ch->apic_out);
	stats_add(s, "channel.apic_in", ch->apic_in);
	stats_add(s, "channel.eoi_out", ch->eoi_out);
	stats_add(s, "channel.eoi_in", ch->eoi_in);
	stats_add(s, "channel.io_out", ch->io_out);
	stats_add(s, "channel.io_in", ch->io_in);
	stats_add(s, "channel.io_wait_ns", ch->io_wait_ns);
	stats_add(s, "tsc.khz", ch->khz);
	if (!ch->p.node)
		return;
	stats_add(s, "tsc.error_ns", ch->khz ? ch->bound * 1000000 / ch->khz : 0);
	stats_add(s, "tsc.best_rtt_ns", ch->khz ? ch->best_rtt * 1000000 / ch->khz : 0);
	stats_add(s, "tsc.samples", ch->samples);
	stats_add(s, "tsc.corrections", ch->corrections);
	stats_add(s, "tsc.resets", ch->resets);
}

void channel_destroy(struct channel *ch)
{
	uint64_t one = 1;
	unsigned int n;

	if (!ch)
		return;
	ch->ending = true;
	ch->stop = true;
	while (write(ch->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(ch->thread, NULL);
	for (n = 0; n < CONF_MAX_NODES; n++) {
		rconn_close(ch->peer[n].rdma);
		conn_close(&ch->peer[n].conn);
	}
	close(ch->epfd);
	close(ch->wake_fd);
	close(ch->tick_fd);
	close(ch->ping_fd);
	free(ch->early);
	free(ch);
}
