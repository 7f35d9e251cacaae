// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What runs on the simulated hosts.  A vCPU executes instructions that need one
 * or several pages mapped at once; it faults page by page, as hardware does, and
 * uses the core's hold calls as kmod/space.c does.  A copier touches one page
 * under the page lock.  Each write stores a value never used before; each read
 * must find the value last written anywhere.
 */
#include <stdlib.h>

#include "internal.h"

#define SLOW_WAKE_NS	2000000ULL	/* a thread that has to wait for a core */

u64 sim_wait_bound(const struct sim *s)
{
	const struct sim_params *p = &s->p;
	u64 delay = p->delay_max_ns * (p->far_pct ? 10 : 1) * (p->tail_permille ? 20 : 1) +
		    p->page_ns + p->hosts * (p->handle_ns + (p->gbps ? 40000 / p->gbps : 0));
	u64 longest = 8 * 3 * delay < 500000000ULL ? 8 * 3 * delay : 500000000ULL;
	u64 hold = p->hold_max_ns ? p->hold_max_ns : longest > 20000000ULL ? longest : 20000000ULL;
	u64 page = hold + 8 * delay + 2 * SLOW_WAKE_NS + (p->pin_permille ? 10000000ULL : 0) +
		   (p->stall_permille ? 8 * p->stall_max_ns : 0);

	/* Everybody else's instruction first, each page of it after a full hold; twice. */
	return 2 * (u64)p->hosts * (p->vcpus + p->copiers) * (p->pages + 1) * page;
}

void sim_vcpu_schedule(struct sim *s, struct sim_vcpu *v, u64 delay)
{
	struct sim_event *ev = sim_event_new(s, s->now + delay);

	ev->kind = EV_VCPU;
	ev->host = v->host;
	ev->vcpu = (u32)(v - s->vcpus);
	v->wakeup = ev->seq;
}

static u64 wake_delay(struct sim *s)
{
	return sim_chance(s, s->p.slow_permille) ? sim_rand(s, SLOW_WAKE_NS) :
						   s->p.wake_ns / 25 + sim_rand(s, s->p.wake_ns);
}

void sim_vcpu_init(struct sim *s)
{
	u32 per_host = s->p.vcpus + s->p.copiers, i;

	s->nr_vcpus = s->p.hosts * per_host;
	s->vcpus = calloc(s->nr_vcpus, sizeof(*s->vcpus));
	if (!s->vcpus)
		exit(2);
	for (i = 0; i < s->nr_vcpus; i++) {
		struct sim_vcpu *v = &s->vcpus[i];

		v->host = i / per_host;
		v->copier = i % per_host >= s->p.vcpus;
		v->ops_left = s->p.ops;
		sim_vcpu_schedule(s, v, sim_rand(s, 100000));
	}
}

void sim_vcpu_wake(struct sim *s, u32 host, u64 gfn)
{
	u32 per_host = s->p.vcpus + s->p.copiers, i;

	for (i = host * per_host; i < (host + 1) * per_host; i++) {
		struct sim_vcpu *v = &s->vcpus[i];

		if (v->state != VCPU_WAIT || v->gfn != gfn)
			continue;
		v->state = VCPU_FAULT;
		sim_vcpu_schedule(s, v, wake_delay(s));
	}
}

/* One of the pages that this host's pair shares. */
static u64 paired(struct sim *s, const struct sim_vcpu *v)
{
	u64 pairs = (s->p.hosts + 1) / 2;

	return (v->host / 2 + sim_rand(s, s->p.gfns / pairs) * pairs) % s->p.gfns;
}

/* The next page of a stream: after those homed here, from the next host's on. */
static void stream_on(struct sim *s, struct sim_vcpu *v)
{
	const struct dsm_config *cfg = &s->hosts[v->host].dsm.cfg;
	const struct dsm_range *own = cfg->ranges;

	while (own->host != v->host && own < &cfg->ranges[cfg->nr_ranges - 1])
		own++;
	v->nr = 1;
	v->need[0].gfn = (own->first_gfn + v->done) % s->p.gfns;
	v->need[0].write = v->done < own->nr_gfns;
}

/* Requests without a waiting thread, for the pages of the stream behind v->gfn. */
static void ask_ahead(struct sim *s, struct sim_vcpu *v)
{
	struct dsm *d = &s->hosts[v->host].dsm;
	u32 i;
	int ret;

	for (i = 1; i <= s->p.ahead; i++) {
		u64 gfn = (v->gfn + i) % s->p.gfns;

		if (dsm_home_of(d, gfn) == v->host)
			continue;
		ret = dsm_ahead(d, gfn, false, s->now);
		if (ret < 0) {
			sim_space_error(s, v->host, ret, "prefetch");
			return;
		}
	}
}

/* Ask for any page ahead, to read or to write. */
static void guess(struct sim *s, struct sim_vcpu *v)
{
	int ret;

	if (!sim_chance(s, s->p.guess))
		return;
	v->guess = sim_rand(s, s->p.gfns);
	ret = dsm_ahead(&s->hosts[v->host].dsm, v->guess, sim_chance(s, 500), sim_clock(s));
	if (ret < 0)
		sim_space_error(s, v->host, ret, "ahead");
}

static void new_instruction(struct sim *s, struct sim_vcpu *v)
{
	u32 i, k, most = v->copier ? 1 : s->p.pages;

	v->started_ns = s->now;
	v->since_ns = 0;
	v->nr_holds = 0;
	v->tries = 0;
	v->waited = false;
	v->state = VCPU_ENTER;
	if (s->p.stream) {
		stream_on(s, v);
		return;
	}
	/* What has been read is written next: pages that migrate. */
	if (v->again) {
		v->again = false;
		for (i = 0; i < v->nr; i++)
			v->need[i].write = true;
		return;
	}
	v->again = sim_chance(s, 10 * s->p.migrate_pct) &&
		   (!s->p.rmw_hosts || v->host < s->p.rmw_hosts);
	v->plain = v->copier && sim_chance(s, 500);

	if (most > s->p.gfns)
		most = s->p.gfns;
	v->nr = s->p.same_set ? most : 1 + (u32)sim_rand(s, most);
	for (i = 0; i < v->nr; i++) {
		bool again;

		do {
			v->need[i].gfn = s->p.same_set ? sim_rand(s, most) :
					 s->p.pairs ? paired(s, v) : sim_rand(s, s->p.gfns);
			again = false;
			for (k = 0; k < i; k++)
				again |= v->need[k].gfn == v->need[i].gfn;
		} while (again);
		v->need[i].write = s->p.pairs ? v->host % 2 == 0 :
				   !v->again && sim_rand(s, 100) < s->p.write_pct;
	}
}

/* One load or store of one word, seen by the oracle. */
static void touch(struct sim *s, struct sim_vcpu *v, u64 gfn, struct sim_frame *f, bool write)
{
	u32 w = (u32)sim_rand(s, SIM_WORDS);
	u64 *truth = &s->truth[gfn * SIM_WORDS + w];

	if (f->freed)
		sim_violation(s, "host %u: gfn %llu used after free", v->host, gfn);
	else if (f->words[w] != *truth)
		sim_violation(s, "host %u: gfn %llu word %u reads %llu, last written is %llu",
			      v->host, gfn, w, f->words[w], *truth);
	if (write) {
		*truth = ++s->next_value;
		f->words[w] = *truth;
	}
}

static void finished(struct sim *s, struct sim_vcpu *v)
{
	u64 wait = s->now - v->started_ns;

	s->res->ops_done++;
	s->res->ops_waited += v->waited;
	s->res->sum_wait_ns += wait;
	if (wait > s->res->max_wait_ns)
		s->res->max_wait_ns = wait;
	if (v->tries > s->res->max_chain)
		s->res->max_chain = v->tries;
	if (wait > sim_wait_bound(s))
		sim_violation(s, "host %u: no progress, an instruction took %llu us", v->host,
			      wait / 1000);
	if (s->p.trace)
		printf("%12llu  h%u  vcpu %u done, waited %llu us, %llu tries\n", s->now, v->host,
		       (u32)(v - s->vcpus), wait / 1000, v->tries);
	v->state = VCPU_THINK;
	v->done++;
	if (--v->ops_left)
		sim_vcpu_schedule(s, v, sim_chance(s, 200) ? sim_rand(s, s->p.think_ns) : 500);
	else
		v->state = VCPU_DONE;
}

static void quit(struct sim *s, struct sim_vcpu *v)
{
	(void)s;
	v->state = VCPU_DONE;
}

static u32 hist_slot(u64 ns)
{
	u32 exp = 0;

	for (; ns >= 2 * SIM_HIST_SUB; ns >>= 1)
		exp++;
	ns += (u64)exp * SIM_HIST_SUB;
	return ns < SIM_HIST ? (u32)ns : SIM_HIST - 1;
}

u64 sim_fault_latency(const struct sim_result *res, u32 permille)
{
	u64 seen = 0;
	u32 i, exp;

	for (i = 0; i < SIM_HIST && res->faults; i++) {
		seen += res->fault_hist[i];
		if (seen * 1000 >= res->faults * permille)
			break;
	}
	if (!res->faults || i < 2 * SIM_HIST_SUB)
		return res->faults ? i : 0;
	exp = i / SIM_HIST_SUB - 1;
	return (u64)(i - exp * SIM_HIST_SUB) << exp;
}

static void note_fault(struct sim *s, struct sim_vcpu *v)
{
	if (!v->fault_ns)
		return;
	s->res->faults++;
	s->res->fault_hist[hist_slot(s->now - v->fault_ns)]++;
	v->fault_ns = 0;
}

/* Ask for v->gfn; true when the vCPU may go on at once. */
static bool fault(struct sim *s, struct sim_vcpu *v)
{
	struct sim_host *host = &s->hosts[v->host];
	struct sim_map *m = &host->maps[v->gfn];
	struct dsm_grant grant;
	u64 now = sim_clock(s);
	u32 i;
	int ret;

	/* One thread never sees time go back. */
	if (v->since_ns < now)
		v->since_ns = v->since_ns ? v->since_ns : now;
	else
		now = v->since_ns;
	for (i = 0; i < v->nr_holds; i++)
		dsm_hold(&host->dsm, v->holds[i], v->since_ns, now + dsm_hold_max_ns(&host->dsm, v->holds[i]),
			 now);

	v->tries++;
	if (s->p.trace)
		printf("%12llu  h%u  vcpu %u wants gfn %llu%s, since %llu us\n", s->now, v->host,
		       (u32)(v - s->vcpus), v->gfn, v->write ? " to write" : "",
		       (s->now - v->since_ns) / 1000);
	ret = dsm_access(&host->dsm, v->gfn, v->write ? DSM_WRITE : v->plain ? DSM_READ_PLAIN :
			 DSM_READ, v->since_ns, now, &grant);
	switch (ret) {
	case DSM_GRANTED:
		note_fault(s, v);
		guess(s, v);
		if (!v->write)
			ask_ahead(s, v);
		break;
	case DSM_WAIT:
		if (!v->write)
			ask_ahead(s, v);
		guess(s, v);
		v->state = VCPU_WAIT;
		v->waited = true;
		if (!v->fault_ns)
			v->fault_ns = s->now;
		if (sim_chance(s, s->p.quit_permille)) {
			v->state = VCPU_THINK;
			sim_vcpu_schedule(s, v, sim_rand(s, 1000000));
		}
		return false;
	case -ENOMEM:
		if (!s->p.fail_permille && !s->p.fail_nth)
			sim_violation(s, "host %u: access has no memory", v->host);
		if (dsm_failed(&host->dsm)) {
			sim_space_error(s, v->host, ret, "access");
			quit(s, v);
		} else {
			v->state = VCPU_FAULT;
			sim_vcpu_schedule(s, v, 1000000);
		}
		return false;
	default:
		sim_space_error(s, v->host, ret, "access");
		quit(s, v);
		return false;
	}

	if (v->write && !grant.writable)
		sim_violation(s, "host %u: write granted, not writable", v->host);
	if (v->copier) {
		touch(s, v, v->gfn, grant.frame, v->write);
		dsm_hold(&host->dsm, v->gfn, v->since_ns, now, now);
		finished(s, v);
		return false;
	}

	if (m->frame && m->frame != grant.frame)
		sim_violation(s, "host %u: gfn %llu is mapped to another frame", v->host, v->gfn);
	sim_map_set(m, grant.frame, grant.writable);
	for (i = 0; i < v->nr_holds && v->holds[i] != v->gfn; i++)
		;
	if (i == v->nr_holds && i < SIM_MAX_HOLDS)
		v->holds[v->nr_holds++] = v->gfn;
	v->state = VCPU_ENTER;
	sim_vcpu_schedule(s, v, s->p.enter_ns / 20 + sim_rand(s, s->p.enter_ns));
	return false;
}

static u64 min_run(const struct sim *s, const struct sim_host *host, u64 gfn)
{
	return s->p.hold_min_ns ? s->p.hold_min_ns : dsm_min_run_ns(&host->dsm, gfn);
}

/* Guest mode: either the whole instruction, or the first page it misses. */
static void enter(struct sim *s, struct sim_vcpu *v)
{
	struct sim_host *host = &s->hosts[v->host];
	u32 i;

	for (i = 0; i < v->nr_holds; i++)
		dsm_hold(&host->dsm, v->holds[i], v->since_ns, s->now + min_run(s, host, v->holds[i]),
			 s->now);

	for (i = 0; i < v->nr; i++) {
		struct sim_map *m = &host->maps[v->need[i].gfn];

		if (!v->copier && m->frame && (m->writable || !v->need[i].write))
			continue;
		v->gfn = v->need[i].gfn;
		v->write = v->need[i].write;
		v->state = VCPU_FAULT;
		fault(s, v);
		return;
	}
	for (i = 0; i < v->nr; i++) {
		struct sim_map *m = &host->maps[v->need[i].gfn];

		touch(s, v, v->need[i].gfn, m->frame, v->need[i].write);
		/* Some of them are I/O, which pins what is mapped for a while. */
		if (sim_chance(s, s->p.pin_permille))
			m->pinned_until = s->now + 1 + sim_rand(s, 3000000);
	}
	finished(s, v);
}

void sim_vcpu_step(struct sim *s, u32 index)
{
	struct sim_vcpu *v = &s->vcpus[index];

	if (v->state == VCPU_THINK)
		new_instruction(s, v);
	if (v->state == VCPU_ENTER)
		enter(s, v);
	else if (v->state == VCPU_FAULT)
		fault(s, v);
}
