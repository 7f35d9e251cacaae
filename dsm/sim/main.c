// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dsm-sim: run the simulator on one seed or many, inject faults, or prove that
 * the oracle finds the deliberate bugs.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "../core.h"
#include "sim.h"

#ifdef DSM_TEST_BUGS
static const char *const bug_names[DSM_BUG_NR] = {
	"none",
#define X(name) #name,
	DSM_BUGS(X)
#undef X
};
#endif

static void usage(FILE *f)
{
	fprintf(f,
"Usage: dsm-sim [options]\n"
"  --seed N           first seed (default 1)\n"
"  --runs N           how many seeds (default 1)\n"
"  --seconds N        run for N seconds instead\n"
"  --progress N       say every N seconds how far it is; go on after a violation\n"
"  --trace            print every step\n"
"  --stats            print counters of each run\n"
"  --coverage         each transition and race must have been met\n"
"  --inject           also inject faults (allocation, link drop), by seed\n"
"  --sweep-alloc      fail allocation 1, 2, ... of the seed's run, once each\n"
"  --bug NAME         switch a deliberate bug on\n"
"  --prove-oracle     each deliberate bug must be found\n"
"Overrides of what the seed chooses:\n"
"  --hosts --gfns --vcpus --copiers --pages --ops --write-pct --same-set\n"
"  --delay-min --delay-max --per-gfn-order --pin --quit --hold-max --hold-min --hold-yield\n"
"  --wake --slow --enter --think --pairs --page-ns --gbps --handle\n"
"  --fail-permille --fail-nth --drop-at    (times in ns, chances in permille)\n"
"  --migrate-pct --rmw-hosts --stream --ahead --guess --no-migratory --far --tail --stall --stall-max\n"
"  --fair N           no wait may be longer than N fair shares\n");
}

enum {
	O_SEED = 256, O_RUNS, O_SECONDS, O_PROGRESS, O_TRACE, O_STATS, O_INJECT, O_SWEEP, O_BUG, O_PROVE, O_COVER, O_HELP,
	O_HOSTS, O_GFNS, O_VCPUS, O_COPIERS, O_PAGES, O_OPS, O_WRITE, O_SAME, O_DMIN, O_DMAX,
	O_ORDER, O_PIN, O_QUIT, O_HMAX, O_HMIN, O_HYIELD, O_PAIRS, O_PAGE_NS, O_GBPS, O_HANDLE, O_WAKE, O_SLOW, O_ENTER, O_THINK, O_FAILP, O_FAILN, O_DROP, O_MIGRATE,
	O_RMW, O_STREAM, O_AHEAD, O_GUESS, O_NO_MIG, O_FAR, O_TAIL, O_STALL, O_STALL_MAX, O_FAIR, O_NR
};

static const struct option options[] = {
	{ "seed", 1, NULL, O_SEED }, { "runs", 1, NULL, O_RUNS },
	{ "seconds", 1, NULL, O_SECONDS }, { "progress", 1, NULL, O_PROGRESS }, { "trace", 0, NULL, O_TRACE },
	{ "stats", 0, NULL, O_STATS }, { "inject", 0, NULL, O_INJECT },
	{ "sweep-alloc", 0, NULL, O_SWEEP }, { "bug", 1, NULL, O_BUG },
	{ "prove-oracle", 0, NULL, O_PROVE }, { "coverage", 0, NULL, O_COVER }, { "help", 0, NULL, O_HELP },
	{ "hosts", 1, NULL, O_HOSTS }, { "gfns", 1, NULL, O_GFNS },
	{ "vcpus", 1, NULL, O_VCPUS }, { "copiers", 1, NULL, O_COPIERS },
	{ "pages", 1, NULL, O_PAGES }, { "ops", 1, NULL, O_OPS },
	{ "write-pct", 1, NULL, O_WRITE }, { "same-set", 1, NULL, O_SAME },
	{ "delay-min", 1, NULL, O_DMIN }, { "delay-max", 1, NULL, O_DMAX },
	{ "per-gfn-order", 1, NULL, O_ORDER }, { "pin", 1, NULL, O_PIN },
	{ "quit", 1, NULL, O_QUIT }, { "hold-max", 1, NULL, O_HMAX },
	{ "hold-min", 1, NULL, O_HMIN },
	{ "hold-yield", 1, NULL, O_HYIELD }, { "pairs", 1, NULL, O_PAIRS },
	{ "page-ns", 1, NULL, O_PAGE_NS }, { "gbps", 1, NULL, O_GBPS },
	{ "handle", 1, NULL, O_HANDLE }, { "wake", 1, NULL, O_WAKE },
	{ "slow", 1, NULL, O_SLOW }, { "enter", 1, NULL, O_ENTER }, { "think", 1, NULL, O_THINK }, { "fail-permille", 1, NULL, O_FAILP },
	{ "fail-nth", 1, NULL, O_FAILN }, { "drop-at", 1, NULL, O_DROP },
	{ "far", 1, NULL, O_FAR }, { "tail", 1, NULL, O_TAIL },
	{ "stall", 1, NULL, O_STALL }, { "stall-max", 1, NULL, O_STALL_MAX },
	{ "fair", 1, NULL, O_FAIR },
	{ "migrate-pct", 1, NULL, O_MIGRATE }, { "rmw-hosts", 1, NULL, O_RMW }, { "stream", 1, NULL, O_STREAM }, { "ahead", 1, NULL, O_AHEAD }, { "guess", 1, NULL, O_GUESS },
	{ "no-migratory", 1, NULL, O_NO_MIG },
	{ NULL, 0, NULL, 0 }
};

/* Values given on the command line, by option; they override the seed's choice. */
static u64 given[O_NR];
static bool is_given[O_NR];
static bool trace, stats, inject;

static void override(struct sim_params *p)
{
#define SET(opt, field) do {						\
		if (is_given[opt])					\
			p->field = (__typeof__(p->field))given[opt];	\
	} while (0)
	SET(O_HOSTS, hosts);
	SET(O_GFNS, gfns);
	SET(O_VCPUS, vcpus);
	SET(O_COPIERS, copiers);
	SET(O_PAGES, pages);
	SET(O_OPS, ops);
	SET(O_WRITE, write_pct);
	SET(O_SAME, same_set);
	SET(O_DMIN, delay_min_ns);
	SET(O_DMAX, delay_max_ns);
	SET(O_ORDER, per_gfn_order);
	SET(O_PIN, pin_permille);
	SET(O_QUIT, quit_permille);
	SET(O_HMAX, hold_max_ns);
	SET(O_HMIN, hold_min_ns);
	SET(O_HYIELD, hold_yield_ns);
	SET(O_PAIRS, pairs);
	SET(O_PAGE_NS, page_ns);
	SET(O_GBPS, gbps);
	SET(O_HANDLE, handle_ns);
	SET(O_WAKE, wake_ns);
	SET(O_SLOW, slow_permille);
	SET(O_ENTER, enter_ns);
	SET(O_THINK, think_ns);
	SET(O_FAILP, fail_permille);
	SET(O_FAILN, fail_nth);
	SET(O_DROP, drop_at_ns);
	SET(O_MIGRATE, migrate_pct);
	SET(O_RMW, rmw_hosts);
	SET(O_STREAM, stream);
	SET(O_AHEAD, ahead);
	SET(O_GUESS, guess);
	SET(O_NO_MIG, no_migratory);
	SET(O_FAR, far_pct);
	SET(O_TAIL, tail_permille);
	SET(O_STALL, stall_permille);
	SET(O_STALL_MAX, stall_max_ns);
	SET(O_FAIR, fair);
#undef SET
	p->trace = trace;
}

static bool params_ok(const struct sim_params *p)
{
	return p->hosts >= 1 && p->hosts <= DSM_MAX_HOSTS && p->gfns >= 1 && p->vcpus + p->copiers >= 1 &&
	       p->pages >= 1 && p->pages <= SIM_MAX_PAGES && p->ops >= 1 &&
	       p->delay_max_ns >= p->delay_min_ns && p->hold_max_ns <= 1000000000ULL;
}

/* Faults beyond what the seed itself chooses: one run in three each. */
static void add_faults(struct sim_params *p)
{
	switch (p->seed % 3) {
	case 0:
		p->fail_permille = 1 + (u32)(p->seed / 3 % 20);
		break;
	case 1:
		p->drop_at_ns = 1 + p->seed * 7919 % 50000000;
		break;
	}
}

static void print_stats(const struct sim_params *p, const struct sim_result *r)
{
	unsigned int i;

	printf("seed %llu: hosts %u gfns %u vcpus %u pages %u: %llu ops, of which %llu waited, %llu messages, %llu us; wait max %llu us (bound %llu, fair share %llu: %.2f), mean %llu us, tries max %llu%s\n",
	       p->seed, p->hosts, p->gfns, p->vcpus, p->pages, r->ops_done, r->ops_waited,
	       r->messages, r->end_ns / 1000, r->max_wait_ns / 1000, r->wait_bound_ns / 1000,
	       r->fair_ns / 1000, r->fair_ns ? (double)r->max_wait_ns / (double)r->fair_ns : 0,
	       r->ops_done ? r->sum_wait_ns / r->ops_done / 1000 : 0, r->max_chain,
	       r->ended_early ? ", ended early" : "");
	for (i = 0; i < DSM_EV_NR; i++)
		if (r->events[i])
			printf("  %-20s %llu\n", dsm_event_name(i), r->events[i]);
}

static bool run_one(const struct sim_params *p, struct sim_result *res)
{
	bool ok = sim_run(p, res);

	if (stats)
		print_stats(p, res);
	if (!ok) {
		printf("FAIL: %s\nreproduce: ", res->why);
		sim_print_repro(stdout, p);
	}
	return ok;
}

/* Fail the Nth allocation, N = 1, 2, ..., until a run makes fewer than N. */
static bool sweep_alloc(u64 seed)
{
	struct sim_params p;
	struct sim_result res;
	u64 n;

	for (n = 1; ; n++) {
		sim_params_random(&p, seed);
		override(&p);
		p.fail_nth = n;
		if (!run_one(&p, &res))
			return false;
		if (res.allocs < n)
			break;
	}
	printf("sweep of seed %llu: %llu allocations failed in turn\n", seed, n - 1);
	return true;
}

#ifdef DSM_TEST_BUGS
static bool prove_oracle(void)
{
	unsigned int bug;
	bool all = true;

	for (bug = DSM_BUG_NONE + 1; bug < DSM_BUG_NR; bug++) {
		struct sim_params p;
		struct sim_result res;
		u64 seed;

		dsm_test_bug = bug;
		for (seed = 1; seed <= 300; seed++) {
			sim_params_random(&p, seed);
			if (bug == DSM_BUG_NO_HOLD || bug == DSM_BUG_NO_AGE) {
				/* Liveness: hosts that need the same pages, slowly. */
				p.hosts = 4;
				p.vcpus = 1;
				p.copiers = 0;
				p.gfns = 4;
				p.pages = 4;
				p.same_set = 1;
				p.write_pct = 100;
				p.ops = 100;
				p.pin_permille = 0;
				p.quit_permille = 0;
				p.delay_max_ns = 1000000;
				p.hold_max_ns = 20000000;
			}
			if (bug == DSM_BUG_REVOKE_MAPS) {
				/* Also liveness: I/O that never lets the page rest. */
				p.hosts = 2;
				p.vcpus = 2;
				p.copiers = 0;
				p.gfns = 1;
				p.ops = 30000;
				p.pin_permille = 300;
				p.quit_permille = 0;
			}
			if (!sim_run(&p, &res))
				break;
		}
		if (seed <= 300) {
			printf("bug %-16s found by seed %llu: %s\n", bug_names[bug], seed, res.why);
		} else {
			printf("FAIL: bug %s is not found\n", bug_names[bug]);
			all = false;
		}
	}
	dsm_test_bug = DSM_BUG_NONE;
	return all;
}

static bool set_bug(const char *name)
{
	unsigned int i;

	for (i = 0; i < DSM_BUG_NR; i++) {
		if (!strcmp(name, bug_names[i])) {
			dsm_test_bug = i;
			return true;
		}
	}
	return false;
}
#endif

/* Print what the runs came by; false when something was never met. */
static bool covered(void)
{
	bool all = true;
#ifdef DSM_TEST_MARKS
	static const char *const names[DSM_MARK_NR] = {
#define X(name) #name,
		DSM_MARKS(X)
#undef X
	};
	unsigned int i;

	for (i = 0; i < DSM_MARK_NR; i++) {
		printf("%-20s %llu%s\n", names[i], dsm_marks[i],
		       dsm_marks[i] ? "" : "  FAIL: never met");
		all = all && dsm_marks[i];
	}
#endif
	return all;
}

/* ------------------------------------------------------------ many seeds */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct totals {
	u64 first, runs, instructions, messages, steps, max_wait_ns, early, violations;
	double start;
};

static void print_totals(const struct totals *t)
{
	double secs = seconds_now() - t->start;

	printf("%llu runs%s (seeds %llu..%llu): %llu instructions, %llu messages, %llu steps (%.1f million/s), longest wait %llu us, %llu ended early by injected faults, %llu violations\n",
	       t->runs, t->violations ? "" : " clean", t->first, t->first + t->runs - 1,
	       t->instructions, t->messages, t->steps,
	       secs > 0 ? (double)t->steps / secs / 1e6 : 0, t->max_wait_ns / 1000, t->early,
	       t->violations);
	fflush(stdout);
}

/*
 * @runs seeds from @seed on, or as many as @seconds allow.  Without @progress the first
 * violation is the last run.  SIGINT and SIGTERM end it after the seed that runs; the
 * last line then tells where to go on.  Returns the exit status.
 */
static int run_many(u64 seed, u64 runs, u64 seconds, u64 progress)
{
	struct totals t = { .first = seed, .start = seconds_now() };
	double told = t.start;
	struct sim_params p;
	struct sim_result res;

	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	while (!interrupted && (seconds ? seconds_now() < t.start + (double)seconds : t.runs < runs)) {
		sim_params_random(&p, seed + t.runs);
		if (inject)
			add_faults(&p);
		override(&p);
		if (!params_ok(&p)) {
			fprintf(stderr, "dsm-sim: parameters out of range\n");
			return 2;
		}
		t.violations += !run_one(&p, &res);
		t.runs++;
		t.instructions += res.ops_done;
		t.messages += res.messages;
		t.steps += res.steps;
		t.early += res.ended_early;
		if (res.max_wait_ns > t.max_wait_ns)
			t.max_wait_ns = res.max_wait_ns;
		if (t.violations && !progress)
			break;
		if (progress && seconds_now() - told >= (double)progress) {
			print_totals(&t);
			told = seconds_now();
		}
	}
	if (interrupted)
		printf("interrupted: go on with --seed %llu\n", seed + t.runs);
	print_totals(&t);
	return t.violations ? 1 : 0;
}

int main(int argc, char **argv)
{
	u64 seed = 1, runs = 1, seconds = 0, progress = 0;
	bool sweep = false, prove = false, cover = false;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case O_SEED:
			seed = strtoull(optarg, NULL, 0);
			break;
		case O_RUNS:
			runs = strtoull(optarg, NULL, 0);
			break;
		case O_SECONDS:
			seconds = strtoull(optarg, NULL, 0);
			break;
		case O_PROGRESS:
			progress = strtoull(optarg, NULL, 0);
			break;
		case O_TRACE:
			trace = true;
			break;
		case O_STATS:
			stats = true;
			break;
		case O_INJECT:
			inject = true;
			break;
		case O_SWEEP:
			sweep = true;
			break;
		case O_COVER:
			cover = true;
			break;
		case O_PROVE:
			prove = true;
			break;
		case O_BUG:
#ifdef DSM_TEST_BUGS
			if (set_bug(optarg))
				break;
#endif
			fprintf(stderr, "dsm-sim: no bug %s in this build\n", optarg);
			return 2;
		case O_HELP:
			usage(stdout);
			return 0;
		default:
			if (opt < O_HOSTS) {
				usage(stderr);
				return 2;
			}
			given[opt] = strtoull(optarg, NULL, 0);
			is_given[opt] = true;
		}
	}

	if (prove) {
#ifdef DSM_TEST_BUGS
		return prove_oracle() ? 0 : 1;
#else
		fprintf(stderr, "dsm-sim: built without deliberate bugs\n");
		return 2;
#endif
	}
#ifndef DSM_TEST_MARKS
	if (cover) {
		fprintf(stderr, "dsm-sim: built without coverage marks\n");
		return 2;
	}
#endif
	if (sweep)
		return sweep_alloc(seed) ? 0 : 1;

	status = run_many(seed, runs, seconds, progress);
	return status ? status : cover && !covered();
}
