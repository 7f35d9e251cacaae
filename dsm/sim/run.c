// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One simulated run: the event loop, the checks after every step and at the
 * end, and the derivation of parameters from a seed.
 */
#include <stdlib.h>

#include "internal.h"

void sim_params_random(struct sim_params *p, u64 seed)
{
	struct sim s = { .rng = seed * 0x2545f4914f6cdd1dULL + 1 };
	u64 collect;

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->hosts = 2 + (u32)sim_rand(&s, 3);
	if (sim_chance(&s, 200))
		p->hosts = 2 + (u32)sim_rand(&s, 15);
	if (sim_chance(&s, 20))
		p->hosts = 64;
	p->gfns = 1 + (u32)sim_rand(&s, sim_chance(&s, 300) ? 40 : 8);
	p->vcpus = 1 + (u32)sim_rand(&s, p->hosts > 16 ? 1 : 3);
	p->copiers = sim_chance(&s, 300);
	p->pages = 1 + (u32)sim_rand(&s, 4);
	p->ops = p->hosts > 16 ? 20 : 60 + (u32)sim_rand(&s, 200);
	p->write_pct = (u32)sim_rand(&s, 101);
	p->same_set = sim_chance(&s, 100);
	p->delay_min_ns = 2000;
	p->delay_max_ns = 2000 + sim_rand(&s, sim_chance(&s, 300) ? 2000000 : 50000);
	p->per_gfn_order = sim_chance(&s, 500);
	p->pin_permille = sim_chance(&s, 300) ? (u32)sim_rand(&s, 200) : 0;
	p->quit_permille = sim_chance(&s, 300) ? (u32)sim_rand(&s, 50) : 0;
	p->hold_max_ns = sim_chance(&s, 200) ? 1 + sim_rand(&s, 100000000) : 0;
	p->hold_min_ns = 100000 + sim_rand(&s, 100000);
	p->migrate_pct = sim_chance(&s, 600) ? (u32)sim_rand(&s, 101) : 0;
	p->no_migratory = sim_chance(&s, 150);
	p->far_pct = sim_chance(&s, 200) ? (u32)sim_rand(&s, 60) : 0;
	p->tail_permille = sim_chance(&s, 200) ? (u32)sim_rand(&s, 100) : 0;
	p->stall_permille = sim_chance(&s, 200) ? 1 + (u32)sim_rand(&s, 3) : 0;
	p->stall_max_ns = p->stall_permille ? sim_rand(&s, 30000000) : 0;
	p->wake_ns = 50000;
	p->slow_permille = 30;
	p->enter_ns = 20000;
	p->think_ns = 1000000;
	/* A hold must outlast the collection of an instruction's pages. */
	collect = 10 * p->delay_max_ns * (p->far_pct ? 10 : 1) + 5000000;
	if (p->hold_max_ns && p->hold_max_ns < collect)
		p->hold_max_ns = collect;
	/* Half of the runs: holds by travel time. */
	if (sim_chance(&s, 500))
		p->hold_min_ns = 0;
	p->guess = sim_chance(&s, 400) ? 1 + (u32)sim_rand(&s, 1000) : 0;
}

void sim_print_repro(FILE *f, const struct sim_params *p)
{
	fprintf(f, "dsm-sim --seed %llu --hosts %u --gfns %u --vcpus %u --copiers %u --pages %u "
		"--ops %u --write-pct %u --same-set %u --delay-min %llu --delay-max %llu "
		"--per-gfn-order %u --pin %u --quit %u --hold-max %llu --hold-min %llu --hold-yield %llu "
		"--pairs %u --page-ns %llu --gbps %u --handle %llu --wake %llu --slow %u --enter %llu --think %llu "
		"--fail-permille %u --fail-nth %llu --drop-at %llu --migrate-pct %u "
		"--rmw-hosts %u --stream %u --ahead %u --guess %u --no-migratory %u --far %u --tail %u --stall %u --stall-max %llu --fair %u\n",
		p->seed, p->hosts, p->gfns, p->vcpus, p->copiers, p->pages, p->ops, p->write_pct,
		p->same_set, p->delay_min_ns, p->delay_max_ns, p->per_gfn_order, p->pin_permille,
		p->quit_permille, p->hold_max_ns, p->hold_min_ns, p->hold_yield_ns,
		p->pairs, p->page_ns, p->gbps, p->handle_ns, p->wake_ns, p->slow_permille, p->enter_ns, p->think_ns, p->fail_permille, p->fail_nth,
		p->drop_at_ns, p->migrate_pct, p->rmw_hosts, p->stream, p->ahead, p->guess, p->no_migratory,
		p->far_pct, p->tail_permille, p->stall_permille, p->stall_max_ns, p->fair);
}

/* Only @host has done something, with @gfn. */
static void check_page(struct sim *s, u32 host, u64 gfn)
{
	struct sim_view *v = &s->views[gfn];
	const struct sim_map *m = &s->hosts[host].maps[gfn];
	u64 bit = 1ULL << host;
	struct dsm_page_info info;
	const char *what = dsm_view_update(&v->states, s->dsms[host], gfn);

	if (!what)
		what = dsm_view_check(&v->states, s->dsms[v->home], gfn);
	if (what)
		sim_violation(s, "gfn %llu: %s", gfn, what);

	v->writers &= ~bit;
	v->readers &= ~bit;
	if (m->frame && m->writable)
		v->writers |= bit;
	else if (m->frame)
		v->readers |= bit;
	if ((v->writers & (v->writers - 1)) || (v->writers && v->readers))
		sim_violation(s, "gfn %llu: mapped by writers %llx and readers %llx", gfn,
			      v->writers, v->readers);
	/* What is mapped writable counts as written: its owner would call it clean else. */
	if (m->writable && (dsm_page_state(s->dsms[host], gfn, &info) || !info.written))
		sim_violation(s, "host %u: gfn %llu is mapped writable, but not written", host, gfn);
}

static void check_after(struct sim *s, const struct sim_event *ev)
{
	u32 i;

	/* A failed space stops in the middle of things. */
	if (s->failed)
		return;
	switch (ev->kind) {
	case EV_MSG:
	case EV_TIMER:
		check_page(s, ev->host, ev->gfn);
		break;
	case EV_VCPU:
		for (i = 0; i < s->vcpus[ev->vcpu].nr; i++)
			check_page(s, ev->host, s->vcpus[ev->vcpu].need[i].gfn);
		for (i = 1; i <= s->p.ahead; i++)
			check_page(s, ev->host, (s->vcpus[ev->vcpu].gfn + i) % s->p.gfns);
		if (s->p.guess)
			check_page(s, ev->host, s->vcpus[ev->vcpu].guess);
		break;
	case EV_DROP:
		break;
	}
}

/* All is quiet: everybody served, every directory idle and right, no page lost. */
static void check_end(struct sim *s)
{
	struct dsm_page_info info;
	const char *what;
	u32 i, w;
	u64 gfn;

	for (i = 0; i < s->nr_vcpus; i++)
		if (s->vcpus[i].state != VCPU_DONE)
			sim_violation(s, "host %u: a vCPU waits for gfn %llu for ever",
				      s->vcpus[i].host, s->vcpus[i].gfn);
	for (gfn = 0; gfn < s->p.gfns; gfn++) {
		u32 home = dsm_home_of(s->dsms[0], gfn);

		what = dsm_check_global(s->dsms, s->p.hosts, gfn);
		if (what)
			sim_violation(s, "gfn %llu: %s", gfn, what);
		if (dsm_page_state(s->dsms[home], gfn, &info))
			return;
		if (info.txn)
			sim_violation(s, "gfn %llu: a transaction never ended", gfn);
		if (info.owner == DSM_NO_HOST)
			continue;
		if (dsm_page_state(s->dsms[info.owner], gfn, &info) || !info.frame) {
			sim_violation(s, "gfn %llu: the page is lost", gfn);
			continue;
		}
		for (w = 0; w < SIM_WORDS; w++)
			if (((struct sim_frame *)info.frame)->words[w] !=
			    s->truth[gfn * SIM_WORDS + w])
				sim_violation(s, "gfn %llu: the owner has old content", gfn);
	}
	if (s->live_recs)
		sim_violation(s, "%llu records in a quiet space", s->live_recs);
}

static void step(struct sim *s, struct sim_event *ev)
{
	int err;

	switch (ev->kind) {
	case EV_MSG:
		sim_deliver(s, ev);
		break;
	case EV_TIMER:
		if (s->hosts[ev->host].timer[ev->gfn] != ev->due && sim_chance(s, 500))
			break;		/* replaced; half of them fire all the same */
		err = dsm_timer(&s->hosts[ev->host].dsm, ev->gfn, s->now);
		if (err)
			sim_space_error(s, ev->host, err, "timer");
		break;
	case EV_VCPU:
		if (s->vcpus[ev->vcpu].wakeup == ev->seq)
			sim_vcpu_step(s, ev->vcpu);
		break;
	case EV_DROP:
		s->dropped = true;
		sim_space_error(s, ev->host, -EIO, "link");
		break;
	}
}

/* In a failed space every access must end, with an error or from what is here. */
static void drain_failed(struct sim *s)
{
	struct dsm_grant grant;
	u32 i;

	for (i = 0; i < s->nr_vcpus; i++) {
		struct sim_vcpu *v = &s->vcpus[i];
		int ret;

		if (v->state != VCPU_WAIT && v->state != VCPU_FAULT)
			continue;
		ret = dsm_access(&s->hosts[v->host].dsm, v->gfn, v->write ? DSM_WRITE : DSM_READ,
				 s->now, s->now, &grant);
		if (ret != -EIO && ret != DSM_GRANTED)
			sim_violation(s, "host %u: access in a failed space says %d", v->host, ret);
	}
}

bool sim_run(const struct sim_params *p, struct sim_result *res)
{
	struct sim s = { .p = *p, .res = res, .rng = p->seed ^ 0x5eed5eed5eed5eedULL, .now = 1000000000 };
	struct sim_event ev;

	memset(res, 0, sizeof(*res));
	if (sim_setup(&s)) {
		u64 limit_ns = s.now + (u64)p->ops * (sim_wait_bound(&s) + 2000000);

		res->wait_bound_ns = sim_wait_bound(&s);
		sim_vcpu_init(&s);
		if (p->drop_at_ns) {
			struct sim_event *drop = sim_event_new(&s, s.now + p->drop_at_ns);

			drop->kind = EV_DROP;
			drop->host = 0;
		}
		while (!s.violated && !s.failed && sim_event_pop(&s, &ev)) {
			struct sim_host *host = &s.hosts[ev.host];

			s.now = ev.when;
			if (host->stalled_until > s.now) {
				sim_event_defer(&s, &ev, host->stalled_until);
				continue;
			}
			if (ev.kind == EV_MSG && p->handle_ns) {
				if (host->handles_until > s.now) {
					sim_event_defer(&s, &ev, host->handles_until);
					continue;
				}
				host->handles_until = s.now + p->handle_ns;
			}
			if (sim_chance(&s, p->stall_permille))
				host->stalled_until = s.now + sim_rand(&s, p->stall_max_ns);
			step(&s, &ev);
			check_after(&s, &ev);
			res->steps++;
			if (s.now > limit_ns)
				sim_violation(&s, "no progress: the run does not end");
		}
		if (res->ops_waited)
			res->fair_ns = (s.now - 1000000000) / res->ops_waited * s.nr_vcpus;
		if (p->fair && !s.failed && res->max_wait_ns > p->fair * res->fair_ns)
			sim_violation(&s, "not fair: a wait of %llu us, the fair share is %llu us",
				      res->max_wait_ns / 1000, res->fair_ns / 1000);
		if (s.failed && !s.violated)
			drain_failed(&s);
		else if (!s.violated)
			check_end(&s);
	}
	res->ended_early = s.failed;
	res->end_ns = s.now - 1000000000;
	sim_finish(&s);
	return !s.violated;
}
