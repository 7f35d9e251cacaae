// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The channel's clock: node 0's host is the reference of the guest's TSC, the
 * others estimate it (tsc.h) and correct their machines.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <x86intrin.h>

#include "vmmd/channel_priv.h"

#define FIRST_PINGS	64
#define RATE_MS		100	/* how long the TSC's rate is measured */
#define RATE_PPM	1000	/* hosts whose rates differ by more are refused */

/* This host's TSC against the kernel's clock: the tightest of some readings. */
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

uint32_t channel_measure_khz(void)
{
	struct timespec pause = { .tv_nsec = RATE_MS * 1000000L };
	uint64_t t0, t1, n0, n1;

	t0 = read_both(&n0);
	nanosleep(&pause, NULL);
	t1 = read_both(&n1);
	return (uint32_t)((double)(t1 - t0) * 1e6 / (double)(n1 - n0));
}

void channel_ping(struct channel *ch)
{
	uint8_t buf[8];

	put_u64(buf, __rdtsc());
	channel_peer_send(&ch->peer[0], F_PING, 0, buf, sizeof(buf));
}

/* Node 0 answers in terms of the guest's TSC. */
int channel_on_ping(struct peer *p, const struct frame *f, uint64_t got)
{
	struct channel *ch = p->ch;
	uint8_t buf[28];

	if (f->len != 8 || ch->p.node)
		return -1;
	memcpy(buf, f->data, 8);
	put_u64(buf + 8, got + (uint64_t)ch->p.tsc_offset);
	put_u32(buf + 24, ch->khz);
	put_u64(buf + 16, __rdtsc() + (uint64_t)ch->p.tsc_offset);
	return channel_peer_send(p, F_PONG, 0, buf, sizeof(buf)) ? -1 : 0;
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

int channel_on_pong(struct peer *p, const struct frame *f, uint64_t got)
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
		channel_ping(ch);
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
	channel_ping(ch);

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
