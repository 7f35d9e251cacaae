// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The channel between the hosts of a guest: see channel.h.
 *
 * Locks: conn.lock (inside conn.c) is innermost.  rpc_lock covers the list of
 * device accesses that wait for an answer.  rx_lock covers the machine pointer
 * and what is kept for it; the receiving thread holds it while the machine
 * takes a message, so that channel_set_machine(NULL) returns only when the
 * machine is not in use.
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

#include "vmmd/channel.h"
#include "vmmd/conn.h"
#include "vmmd/proto.h"
#include "vmmd/tsc.h"

#define TICK_MS		250
#define FIRST_PINGS	64
#define EARLY_MAX	1024	/* messages kept for a machine that is not there yet */
#define RATE_MS		100	/* how long the TSC's rate is measured */
#define RATE_PPM	1000	/* hosts whose rates differ by more are refused */

/* epoll data that is not a node */
#define EV_WAKE		1000
#define EV_TICK		1001
#define EV_PING		1002

struct peer {
	struct channel *ch;
	unsigned int node;
	struct conn conn;
	_Atomic bool up;	/* conn is initialized; never cleared before the end */
	_Atomic bool dead;
};

/* A device access on its way; lives on the asking thread's stack. */
struct rpc {
	struct rpc *next;
	uint32_t tag;
	unsigned int node;
	uint8_t size;
	uint64_t data;
	enum { RPC_WAITS, RPC_DONE, RPC_LOST } state;
	pthread_cond_t cond;
};

struct early {
	unsigned int node;
	uint16_t type;
	uint8_t len;
	uint8_t data[32];
};

struct channel {
	struct channel_params p;
	pthread_t thread;
	int epfd, wake_fd, tick_fd, ping_fd;
	_Atomic bool stop, ending, lost;

	pthread_mutex_t rpc_lock;
	struct rpc *rpcs;
	uint32_t next_tag;

	pthread_mutex_t rx_lock;
	struct machine *machine;
	struct early *early;
	unsigned int nr_early;

	/* The clock: the receiving thread's, but for what sync_lock covers. */
	struct tsc_est est;
	uint32_t khz;			/* of this host's TSC */
	_Atomic unsigned int pings_left; /* of the first exchange */
	pthread_mutex_t sync_lock;
	pthread_cond_t synced;
	enum { SYNC_NONE, SYNC_RUNNING, SYNC_DONE, SYNC_FAILED } sync;
	_Atomic uint32_t peer_khz;
	int64_t offset;			/* the machine's, as we have told it */
	_Atomic uint64_t bound;		/* cycles the offset may be wrong by, at the last exchange */
	_Atomic uint64_t corrections;
	_Atomic uint64_t resets, samples, best_rtt;	/* of est */

	_Atomic uint64_t apic_out, apic_in, io_out, io_in, eoi_out, eoi_in;
	_Atomic uint64_t io_wait_ns;

	struct peer peer[CONF_MAX_NODES];
};

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

static int peer_send(struct peer *p, uint16_t type, uint32_t tag, const void *data, size_t len)
{
	if (!p->up || p->dead)
		return -1;
	/* The receiving thread finds out what is wrong; a full queue only we know. */
	if (conn_send(&p->conn, type, tag, data, len)) {
		if (conn_pending(&p->conn) > CONN_QUEUE_MAX / 2)
			peer_lost(p, "it does not take our messages");
		return -1;
	}
	return 0;
}

/* ---- from the machine ---------------------------------------------------- */

static void send_apic_msg(void *ctx, uint64_t nodes, const struct apic_msg *msg)
{
	struct channel *ch = ctx;
	uint8_t buf[APIC_MSG_SIZE];
	unsigned int n;

	apic_msg_encode(buf, msg);
	for (; nodes; nodes &= nodes - 1) {
		n = (unsigned int)__builtin_ctzll(nodes);
		if (n >= ch->p.nr_nodes || n == ch->p.node)
			continue;
		peer_send(&ch->peer[n], F_APIC_MSG, 0, buf, sizeof(buf));
		ch->apic_out++;
	}
}

static void send_apic_info(void *ctx, const struct apic_info *info)
{
	struct channel *ch = ctx;
	uint8_t buf[APIC_INFO_SIZE];
	unsigned int n;

	apic_info_encode(buf, info);
	for (n = 0; n < ch->p.nr_nodes; n++)
		if (n != ch->p.node)
			peer_send(&ch->peer[n], F_APIC_INFO, 0, buf, sizeof(buf));
}

static void send_eoi(void *ctx, uint8_t vector)
{
	struct channel *ch = ctx;

	peer_send(&ch->peer[0], F_EOI, 0, &vector, 1);
	ch->eoi_out++;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int send_io(void *ctx, unsigned int node, struct io_req *req)
{
	struct channel *ch = ctx;
	struct rpc r = { .node = node, .size = req->size }, **pr;
	uint64_t start_ns = now_ns();
	uint8_t buf[IO_SIZE];
	int ret;

	if (node >= ch->p.nr_nodes || node == ch->p.node)
		return -1;
	io_encode(buf, req);
	pthread_cond_init(&r.cond, NULL);
	pthread_mutex_lock(&ch->rpc_lock);
	r.tag = ++ch->next_tag;
	r.next = ch->rpcs;
	ch->rpcs = &r;
	pthread_mutex_unlock(&ch->rpc_lock);

	ret = peer_send(&ch->peer[node], F_IO, r.tag, buf, sizeof(buf));
	pthread_mutex_lock(&ch->rpc_lock);
	while (!ret && r.state == RPC_WAITS)
		pthread_cond_wait(&r.cond, &ch->rpc_lock);
	for (pr = &ch->rpcs; *pr != &r; pr = &(*pr)->next)
		;
	*pr = r.next;
	pthread_mutex_unlock(&ch->rpc_lock);
	pthread_cond_destroy(&r.cond);

	ch->io_out++;
	ch->io_wait_ns += now_ns() - start_ns;
	if (r.state != RPC_DONE)
		return -1;
	if (!req->write)
		req->data = r.data;
	return 0;
}

const struct machine_peer_ops channel_peer_ops = {
	.apic_msg = send_apic_msg,
	.apic_info = send_apic_info,
	.eoi = send_eoi,
	.io = send_io,
};

/* ---- the clock ----------------------------------------------------------- */

/* This host's TSC against the kernel's clock, in kHz: the tightest of some readings at both ends. */
static uint64_t read_both(uint64_t *ns)
{
	uint64_t before, after, t, best = UINT64_MAX, tsc = 0;
	struct timespec ts;
	int i;

	for (i = 0; i < 32; i++) {
		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		after = __rdtsc();
		t = after - before;
		if (t < best) {
			best = t;
			tsc = before + t / 2;
			*ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
		}
	}
	return tsc;
}

static uint32_t measure_khz(void)
{
	struct timespec pause = { .tv_nsec = RATE_MS * 1000000L };
	uint64_t t0, t1, n0, n1;

	t0 = read_both(&n0);
	nanosleep(&pause, NULL);
	t1 = read_both(&n1);
	return (uint32_t)((double)(t1 - t0) * 1e6 / (double)(n1 - n0));
}

static void send_ping(struct channel *ch)
{
	uint8_t buf[8];

	put_u64(buf, __rdtsc());
	peer_send(&ch->peer[0], F_PING, 0, buf, sizeof(buf));
}

/* Node 0 answers in terms of the guest's TSC. */
static int on_ping(struct peer *p, const struct frame *f, uint64_t got)
{
	struct channel *ch = p->ch;
	uint8_t buf[28];

	if (f->len != 8 || ch->p.node)
		return -1;
	memcpy(buf, f->data, 8);
	put_u64(buf + 8, got + (uint64_t)ch->p.tsc_offset);
	put_u32(buf + 24, ch->khz);
	put_u64(buf + 16, __rdtsc() + (uint64_t)ch->p.tsc_offset);
	return peer_send(p, F_PONG, 0, buf, sizeof(buf)) ? -1 : 0;
}

/*
 * The next exchange when the bounds have grown by a quarter of what the network
 * gives; not more than twenty a second.
 */
static void arm_ping(struct channel *ch)
{
	uint64_t quarter = ch->est.best_rtt / 8, ms;
	struct itimerspec its = { 0 };

	ms = quarter * 1000000 / (2 * TSC_DRIFT_PPM) / (ch->khz ? ch->khz : 1);
	if (ms < 50)
		ms = 50;
	if (ms > 1000)
		ms = 1000;
	its.it_value.tv_sec = (time_t)(ms / 1000);
	its.it_value.tv_nsec = (long)(ms % 1000) * 1000000;
	timerfd_settime(ch->ping_fd, 0, &its, NULL);
}

/* Move the guest's TSC here once the estimate says that it is off by more than its own blur. */
static void correct(struct channel *ch, int64_t offset, uint64_t bound)
{
	int64_t delta = offset - ch->offset;

	ch->bound = bound;
	ch->resets = ch->est.resets;
	ch->samples = ch->est.samples;
	ch->best_rtt = ch->est.best_rtt;
	if ((uint64_t)llabs(delta) <= bound / 2)
		return;
	pthread_mutex_lock(&ch->rx_lock);
	if (ch->machine) {
		machine_adjust_tsc(ch->machine, delta);
		ch->offset = offset;
		ch->corrections++;
	}
	pthread_mutex_unlock(&ch->rx_lock);
}

static int on_pong(struct peer *p, const struct frame *f, uint64_t got)
{
	struct channel *ch = p->ch;
	struct tsc_sample s = { .got = got };
	uint64_t bound;
	int64_t offset;

	if (f->len != 28 || p->node || !ch->p.node)
		return -1;
	s.sent = get_u64(f->data);
	s.peer_got = get_u64(f->data + 8);
	s.peer_sent = get_u64(f->data + 16);
	ch->peer_khz = get_u32(f->data + 24);
	/* Stamps that run backwards are of no use, from whatever cause. */
	tsc_est_add(&ch->est, &s);
	if (ch->pings_left && --ch->pings_left) {
		send_ping(ch);
		return 0;
	}
	if (tsc_est_get(&ch->est, got, &offset, &bound)) {
		pthread_mutex_lock(&ch->sync_lock);
		if (ch->sync == SYNC_RUNNING) {
			ch->offset = offset;
			ch->bound = bound;
			ch->sync = SYNC_DONE;
			pthread_cond_broadcast(&ch->synced);
		}
		pthread_mutex_unlock(&ch->sync_lock);
		correct(ch, offset, bound);
	}
	arm_ping(ch);
	return 0;
}

int channel_sync_tsc(struct channel *ch, int64_t *offset, char *err, size_t errlen)
{
	struct timespec ts;
	uint64_t diff;
	int ret;

	pthread_mutex_lock(&ch->sync_lock);
	ch->sync = SYNC_RUNNING;
	ch->pings_left = FIRST_PINGS;
	pthread_mutex_unlock(&ch->sync_lock);
	send_ping(ch);

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 10;
	pthread_mutex_lock(&ch->sync_lock);
	while (ch->sync == SYNC_RUNNING)
		if (pthread_cond_timedwait(&ch->synced, &ch->sync_lock, &ts) == ETIMEDOUT)
			ch->sync = SYNC_FAILED;
	ret = ch->sync == SYNC_DONE ? 0 : -1;
	*offset = ch->offset;
	pthread_mutex_unlock(&ch->sync_lock);
	if (ret) {
		snprintf(err, errlen, "node 0 does not answer clock messages");
		return -1;
	}
	diff = ch->khz > ch->peer_khz ? ch->khz - ch->peer_khz : ch->peer_khz - ch->khz;
	if (diff * 1000000 > (uint64_t)ch->khz * RATE_PPM) {
		snprintf(err, errlen, "the time stamp counter runs at %u.%03u MHz here and at %u.%03u MHz on node 0; "
			 "the hosts of a guest need the same rate",
			 ch->khz / 1000, ch->khz % 1000, ch->peer_khz / 1000, ch->peer_khz % 1000);
		return -1;
	}
	return 0;
}

/* ---- from the peers ------------------------------------------------------ */

static int on_io(struct peer *p, uint32_t tag, struct io_req *req)
{
	uint8_t buf[IO_SIZE];

	machine_rx_io(p->ch->machine, req);
	io_encode(buf, req);
	p->ch->io_in++;
	peer_send(p, F_IO_DONE, tag, buf, sizeof(buf));
	return 0;
}

/* For the machine, which is there; under rx_lock. */
static int to_machine(struct peer *p, uint16_t type, uint32_t tag, const uint8_t *data, uint32_t len)
{
	struct channel *ch = p->ch;
	struct apic_info info;
	struct apic_msg msg;
	struct io_req req;

	switch (type) {
	case F_APIC_MSG:
		if (apic_msg_decode(data, len, &msg))
			return -1;
		ch->apic_in++;
		machine_rx_apic_msg(ch->machine, &msg);
		return 0;
	case F_APIC_INFO:
		if (apic_info_decode(data, len, &info))
			return -1;
		machine_rx_apic_info(ch->machine, &info);
		return 0;
	case F_EOI:
		if (len != 1 || ch->p.node)
			return -1;
		ch->eoi_in++;
		machine_rx_eoi(ch->machine, data[0]);
		return 0;
	case F_IO:
		if (io_decode(data, len, &req))
			return -1;
		return on_io(p, tag, &req);
	}
	return -1;
}

/* Keep a message for the machine that is being made. */
static int keep(struct peer *p, const struct frame *f)
{
	struct channel *ch = p->ch;
	struct early *e;

	/* Before the guest runs nobody has a device to ask for. */
	if (f->type == F_IO || f->len > sizeof(e->data) || ch->nr_early == EARLY_MAX || !ch->early)
		return -1;
	e = &ch->early[ch->nr_early++];
	e->node = p->node;
	e->type = f->type;
	e->len = (uint8_t)f->len;
	memcpy(e->data, f->data, f->len);
	return 0;
}

void channel_set_machine(struct channel *ch, struct machine *m)
{
	unsigned int i;

	pthread_mutex_lock(&ch->rx_lock);
	ch->machine = m;
	for (i = 0; m && i < ch->nr_early; i++)
		to_machine(&ch->peer[ch->early[i].node], ch->early[i].type, 0,
			   ch->early[i].data, ch->early[i].len);
	ch->nr_early = 0;
	pthread_mutex_unlock(&ch->rx_lock);
}

static int on_io_done(struct peer *p, const struct frame *f)
{
	struct channel *ch = p->ch;
	struct io_req req;
	struct rpc *r;
	int ret = -1;

	if (io_decode(f->data, f->len, &req))
		return -1;
	pthread_mutex_lock(&ch->rpc_lock);
	for (r = ch->rpcs; r; r = r->next) {
		if (r->tag != f->tag || r->node != p->node || r->state != RPC_WAITS)
			continue;
		r->data = r->size < 8 ? req.data & ((1ULL << r->size * 8) - 1) : req.data;
		r->state = RPC_DONE;
		pthread_cond_signal(&r->cond);
		ret = 0;
		break;
	}
	pthread_mutex_unlock(&ch->rpc_lock);
	return ret;
}

static int on_frame(void *arg, const struct frame *f)
{
	uint64_t got = __rdtsc();
	struct peer *p = arg;
	struct channel *ch = p->ch;
	int ret;

	switch (f->type) {
	case F_APIC_MSG:
	case F_APIC_INFO:
	case F_EOI:
	case F_IO:
		pthread_mutex_lock(&ch->rx_lock);
		if (ch->machine)
			ret = to_machine(p, f->type, f->tag, f->data, f->len);
		else
			ret = ch->ending ? 0 : keep(p, f);
		pthread_mutex_unlock(&ch->rx_lock);
		return ret;
	case F_IO_DONE:
		return on_io_done(p, f);
	case F_PING:
		return on_ping(p, f, got);
	case F_PONG:
		return on_pong(p, f, got);
	case F_ALIVE:
		return 0;
	}
	return -1;
}

/* ---- the receiving thread ------------------------------------------------ */

static void on_peer_event(struct peer *p, uint32_t events)
{
	char why[128];

	if (p->dead) {
		epoll_ctl(p->ch->epfd, EPOLL_CTL_DEL, p->conn.fd, NULL);
		return;
	}
	if (events & EPOLLOUT)
		conn_flush(&p->conn);
	if (events & ~(uint32_t)EPOLLOUT && conn_receive(&p->conn, on_frame, p, why, sizeof(why))) {
		epoll_ctl(p->ch->epfd, EPOLL_CTL_DEL, p->conn.fd, NULL);
		peer_lost(p, why);
	}
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
			peer_send(p, F_ALIVE, 0, NULL, 0);
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
	uint64_t ticked_ms = now_ms(), now, n;
	int i, nr;

	while (!ch->stop) {
		bool tick = false;

		nr = epoll_wait(ch->epfd, ev, CONF_MAX_NODES, -1);
		for (i = 0; i < nr; i++) {
			switch (ev[i].data.u64) {
			case EV_WAKE:
				break;
			case EV_TICK:
				tick = read(ch->tick_fd, &n, sizeof(n)) == sizeof(n);
				break;
			case EV_PING:
				if (read(ch->ping_fd, &n, sizeof(n)) == sizeof(n))
					send_ping(ch);
				break;
			default:
				on_peer_event(&ch->peer[ev[i].data.u64], ev[i].events);
			}
		}
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
	ch->khz = measure_khz();
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

void channel_expect_end(struct channel *ch)
{
	ch->ending = true;
}

void channel_add_stats(struct channel *ch, struct stats *s)
{
	uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
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
	}
	stats_add(s, "channel.tx_msgs", tx_frames);
	stats_add(s, "channel.tx_bytes", tx_bytes);
	stats_add(s, "channel.rx_msgs", rx_frames);
	stats_add(s, "channel.rx_bytes", rx_bytes);
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
	for (n = 0; n < CONF_MAX_NODES; n++)
		conn_close(&ch->peer[n].conn);
	close(ch->epfd);
	close(ch->wake_fd);
	close(ch->tick_fd);
	close(ch->ping_fd);
	free(ch->early);
	free(ch);
}
