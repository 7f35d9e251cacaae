// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory-order litmus tests across CPUs of different nodes.  x86 is TSO: each
 * test's outcome either can happen (it is counted) or must not (forbidden = 0).
 *
 * An instance of a test is a set of variables; a batch runs BATCH instances
 * one after the other, each thread at its own pace with random delays, between
 * two barriers, as the litmus7 tool does.  Two layouts:
 *
 *   apart   variable k of all instances on pages of its own, homed on node k
 *   same    the variables of an instance on neighbouring lines of one page
 *
 *   n=BATCHES               of each test and layout (100)
 *   secs=SECONDS            soft limit of all together, in equal parts (60)
 *   only=NAME               one test alone
 *   layout=apart|same       one layout alone
 *   broken=1                self-test: the fences of SB are left out, so the
 *                           forbidden outcome must be seen
 */
#include "harness.h"

#define BATCH 128
#define MAX_VARS 3
#define MAX_REGS 4
#define MAX_THREADS 4

typedef volatile uint64_t var_t;

static inline void st(var_t *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v) : "memory");
}

static inline uint64_t ld(var_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v;
}

static bool broken;

static inline void mfence(void)
{
	if (!broken)
		__asm__ volatile("mfence" ::: "memory");
}

/* A store by xchg: a locked instruction orders like mfence. */
static inline void xst(var_t *p, uint64_t v)
{
	if (broken)
		st(p, v);
	else
		__asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*p) :: "memory");
}

/* A locked instruction on a private line, as the kernel's smp_mb(). */
static inline void locked(void)
{
	if (!broken)
		__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
}

static inline uint64_t xadd(var_t *p)
{
	uint64_t v = 1;

	__asm__ volatile("lock; xaddq %0, %1" : "+r"(v), "+m"(*p) :: "memory", "cc");
	return v;
}

/* What one instance left: registers of all threads, then the variables' last values. */
struct outcome {
	uint64_t r[MAX_REGS];
	uint64_t v[MAX_VARS];
};

struct test {
	const char *name;
	unsigned int threads, vars, regs;
	bool final;		/* the last values belong to the outcome */
	bool allowed;		/* the outcome is allowed by TSO: count it */
	void (*run)(unsigned int t, var_t *x, var_t *y, var_t *z, uint64_t *r);
	bool (*is)(const struct outcome *o);
	const char *what;
};

#define RUN(id) static void run_##id(__h_unused unsigned int t, __h_unused var_t *x, \
	__h_unused var_t *y, __h_unused var_t *z, __h_unused uint64_t *r)
#define IS(id) static bool is_##id(const struct outcome *o)

RUN(mp) { if (t) { r[0] = ld(y); r[1] = ld(x); } else { st(x, 1); st(y, 1); } }
IS(mp) { return o->r[0] == 1 && o->r[1] == 0; }

RUN(sb) { if (t) { st(y, 1); r[1] = ld(x); } else { st(x, 1); r[0] = ld(y); } }
RUN(sb_mfence) { if (t) { st(y, 1); mfence(); r[1] = ld(x); } else { st(x, 1); mfence(); r[0] = ld(y); } }
RUN(sb_xchg) { if (t) { xst(y, 1); r[1] = ld(x); } else { xst(x, 1); r[0] = ld(y); } }
RUN(sb_lock) { if (t) { st(y, 1); locked(); r[1] = ld(x); } else { st(x, 1); locked(); r[0] = ld(y); } }
IS(sb) { return o->r[0] == 0 && o->r[1] == 0; }

RUN(lb) { if (t) { r[1] = ld(y); st(x, 1); } else { r[0] = ld(x); st(y, 1); } }
IS(lb) { return o->r[0] == 1 && o->r[1] == 1; }

RUN(w22) { if (t) { st(y, 1); st(x, 2); } else { st(x, 1); st(y, 2); } }
IS(w22) { return o->v[0] == 1 && o->v[1] == 1; }

RUN(r_mfence) { if (t) { st(y, 2); mfence(); r[0] = ld(x); } else { st(x, 1); st(y, 1); } }
IS(r_mfence) { return o->v[1] == 2 && o->r[0] == 0; }

RUN(s) { if (t) { r[0] = ld(y); st(x, 1); } else { st(x, 2); st(y, 1); } }
IS(s) { return o->r[0] == 1 && o->v[0] == 2; }

RUN(iriw)
{
	switch (t) {
	case 0: st(x, 1); break;
	case 1: st(y, 1); break;
	case 2: r[0] = ld(x); r[1] = ld(y); break;
	case 3: r[2] = ld(y); r[3] = ld(x); break;
	}
}
IS(iriw) { return o->r[0] == 1 && o->r[1] == 0 && o->r[2] == 1 && o->r[3] == 0; }

RUN(wrc)
{
	switch (t) {
	case 0: st(x, 1); break;
	case 1: r[0] = ld(x); st(y, 1); break;
	case 2: r[1] = ld(y); r[2] = ld(x); break;
	}
}
IS(wrc) { return o->r[0] == 1 && o->r[1] == 1 && o->r[2] == 0; }

RUN(rwc_mfence)
{
	switch (t) {
	case 0: st(x, 1); break;
	case 1: r[0] = ld(x); r[1] = ld(y); break;
	case 2: st(y, 1); mfence(); r[2] = ld(x); break;
	}
}
IS(rwc_mfence) { return o->r[0] == 1 && o->r[1] == 0 && o->r[2] == 0; }

RUN(isa2)
{
	switch (t) {
	case 0: st(x, 1); st(y, 1); break;
	case 1: r[0] = ld(y); st(z, 1); break;
	case 2: r[1] = ld(z); r[2] = ld(x); break;
	}
}
IS(isa2) { return o->r[0] == 1 && o->r[1] == 1 && o->r[2] == 0; }

RUN(corr) { if (t) { r[0] = ld(x); r[1] = ld(x); } else { st(x, 1); } }
IS(corr) { return o->r[0] == 1 && o->r[1] == 0; }

RUN(coww) { if (t) { r[0] = ld(x); r[1] = ld(x); } else { st(x, 1); st(x, 2); } }
IS(coww) { return o->v[0] != 2 || o->r[1] < o->r[0]; }

RUN(cowr) { if (t) { st(x, 2); } else { st(x, 1); r[0] = ld(x); } }
IS(cowr) { return o->r[0] == 0 || (o->r[0] == 2 && o->v[0] == 1); }

RUN(corw) { if (t) { r[0] = ld(x); st(x, 2); } else { st(x, 1); } }
IS(corw) { return o->r[0] == 2 || (o->r[0] == 1 && o->v[0] == 1); }

RUN(mp_lock) { if (t) { r[0] = ld(y); r[1] = ld(x); } else { st(x, 1); (void)xadd(y); } }

RUN(xadd) { r[t] = xadd(x); }
IS(xadd) { return o->v[0] != 2 || o->r[0] == o->r[1] || o->r[0] + o->r[1] != 1; }

static const struct test tests[] = {
	{ "MP", 2, 2, 2, false, false, run_mp, is_mp, "y=1 then x=0" },
	{ "MP+lock", 2, 2, 2, false, false, run_mp_lock, is_mp, "y=1 then x=0" },
	{ "SB", 2, 2, 2, false, true, run_sb, is_sb, "y=0 and x=0" },
	{ "SB+mfence", 2, 2, 2, false, false, run_sb_mfence, is_sb, "y=0 and x=0" },
	{ "SB+xchg", 2, 2, 2, false, false, run_sb_xchg, is_sb, "y=0 and x=0" },
	{ "SB+lock", 2, 2, 2, false, false, run_sb_lock, is_sb, "y=0 and x=0" },
	{ "LB", 2, 2, 2, false, false, run_lb, is_lb, "x=1 and y=1" },
	{ "2+2W", 2, 2, 0, true, false, run_w22, is_w22, "both first writes last" },
	{ "R+mfence", 2, 2, 1, true, false, run_r_mfence, is_r_mfence, "y=2 last, x=0" },
	{ "S", 2, 2, 1, true, false, run_s, is_s, "y=1, x=2 last" },
	{ "IRIW", 4, 2, 4, false, false, run_iriw, is_iriw, "readers disagree" },
	{ "WRC", 3, 2, 3, false, false, run_wrc, is_wrc, "x=1, y=1, x=0" },
	{ "RWC+mfence", 3, 2, 3, false, false, run_rwc_mfence, is_rwc_mfence, "x=1, y=0, x=0" },
	{ "ISA2", 3, 3, 3, false, false, run_isa2, is_isa2, "y=1, z=1, x=0" },
	{ "CoRR", 2, 1, 2, false, false, run_corr, is_corr, "new then old" },
	{ "CoWW", 2, 1, 2, true, false, run_coww, is_coww, "first write last, or new then old" },
	{ "CoWR", 2, 1, 1, true, false, run_cowr, is_cowr, "own write not seen" },
	{ "CoRW", 2, 1, 1, true, false, run_corw, is_corw, "own later write read" },
	{ "XADD", 2, 1, 2, true, false, run_xadd, is_xadd, "a count lost" },
};

enum layout { APART, SAME };

static struct {
	const struct test *test;
	uint64_t batches;
	var_t *var[MAX_VARS];		/* of instance 0 */
	size_t stride[MAX_VARS];	/* from one instance to the next, bytes */
	struct h_barrier *barrier;
	_Atomic int *stop;
	uint64_t (*regs[MAX_THREADS])[MAX_REGS];	/* a thread's registers, by instance */
	/* by thread 0 */
	uint64_t done, hits;
	struct { struct outcome o; uint64_t count; } hist[64];
	unsigned int n_hist;
} run;

static var_t *var(unsigned int v, unsigned int i)
{
	return (var_t *)((char *)run.var[v] + i * run.stride[v]);
}

static void count(const struct outcome *o)
{
	unsigned int i;

	for (i = 0; i < run.n_hist && memcmp(&run.hist[i].o, o, sizeof(*o)); i++)
		;
	if (i == sizeof(run.hist) / sizeof(run.hist[0]))
		return;
	if (i == run.n_hist) {
		run.hist[i].o = *o;
		run.hist[i].count = 0;
		run.n_hist++;
	}
	run.hist[i].count++;
}

/* Between batches, alone: evaluate what the batch left and clear it. */
static void collect(void)
{
	const struct test *t = run.test;

	for (unsigned int i = 0; i < BATCH; i++) {
		struct outcome o = { 0 };

		for (unsigned int k = 0; k < t->threads; k++) {
			for (unsigned int r = 0; r < t->regs; r++)
				o.r[r] += run.regs[k][i][r];
			memset(run.regs[k][i], 0, sizeof(run.regs[k][i]));
		}
		for (unsigned int v = 0; v < t->vars; v++) {
			if (t->final)
				o.v[v] = ld(var(v, i));
			st(var(v, i), 0);
		}
		run.hits += t->is(&o);
		count(&o);
	}
	run.done++;
	if (run.done == run.batches || !h_time_left())
		atomic_store(run.stop, 1);
}

static void work(unsigned int t, void *arg)
{
	/* From "as fast as the cache" to "a batch outlasts many page transfers". */
	static const unsigned int spreads[] = { 15, 1023, 16383, 262143 };
	struct h_rng rng = h_rng((run.test - tests) * MAX_THREADS + t), common = h_rng(1 << 20);

	(void)arg;
	do {
		unsigned int spread = spreads[h_rand(&common) & 3];

		h_barrier_wait(run.barrier);
		/* Where one CPU is at its start, the other may be a transfer behind. */
		for (uint64_t d = h_rand(&rng) & (spread / 4); d; d--)
			h_pause();
		for (unsigned int i = 0; i < BATCH; i++) {
			run.test->run(t, var(0, i), var(1, i), var(2, i), run.regs[t][i]);
			for (uint64_t d = h_rand(&rng) & h_rand(&rng) & spread; d; d--)
				__asm__ volatile("" ::: "memory");
		}
		h_barrier_wait(run.barrier);
		if (!t)
			collect();
		h_barrier_wait(run.barrier);
	} while (!atomic_load(run.stop));
}

/* "x0y1:COUNT" for each outcome seen; registers first, then last values; * marks the tested one. */
static void print_histogram(const char *name)
{
	char text[900] = "";
	int len = 0;

	for (unsigned int i = 0; i < run.n_hist && len < (int)sizeof(text) - 100; i++) {
		const struct outcome *o = &run.hist[i].o;

		text[len++] = ' ';
		for (unsigned int r = 0; r < run.test->regs; r++)
			len += sprintf(text + len, "%sr%u=%llu", r ? "," : "", r, (unsigned long long)o->r[r]);
		for (unsigned int v = 0; run.test->final && v < run.test->vars; v++)
			len += sprintf(text + len, "%s%c=%llu", v || run.test->regs ? "," : "", "xyz"[v],
				       (unsigned long long)o->v[v]);
		len += sprintf(text + len, ":%llu%s", (unsigned long long)run.hist[i].count,
			       run.test->is(o) ? "*" : "");
	}
	h_note("%s:%s", name, text);
}

static void one(const struct test *t, enum layout layout, uint64_t batches)
{
	static const char *const layout_name[] = { "apart", "same" };
	size_t size = (size_t)BATCH * H_LINE * (layout == SAME ? 4 : 1);
	char name[64];
	uint64_t total;

	snprintf(name, sizeof(name), "%s, %s", t->name, layout_name[layout]);
	if ((unsigned int)h_ncpus < t->threads) {
		char why[64];

		snprintf(why, sizeof(why), "needs %u CPUs, have %d", t->threads, h_ncpus);
		h_skip(name, why);
		return;
	}
	memset(&run, 0, sizeof(run));
	run.test = t;
	run.batches = batches;
	for (int v = 0; v < MAX_VARS; v++) {
		if (layout == APART) {
			run.var[v] = h_alloc_on(size, h_nodes[v % h_nnodes]);
			run.stride[v] = H_LINE;
		} else {
			run.var[v] = v ? run.var[0] + v * (H_LINE / 8) : h_alloc_on(size, h_nodes[h_nnodes - 1]);
			run.stride[v] = 4 * H_LINE;
		}
	}
	run.barrier = h_alloc(H_PAGE);
	run.stop = h_alloc(H_PAGE);
	for (unsigned int k = 0; k < t->threads; k++)
		run.regs[k] = h_alloc_on(sizeof(uint64_t[BATCH][MAX_REGS]), h_node(h_cpu(k)));
	h_barrier_init(run.barrier, t->threads);
	h_run(t->threads, work, NULL);

	total = run.done * BATCH;
	print_histogram(name);
	if (broken)
		h_ok(run.hits > 0, "%s without its fence: %llu of %llu (%s), must be seen", name,
		     (unsigned long long)run.hits, (unsigned long long)total, t->what);
	else if (t->allowed)
		h_ok(run.done > 0, "%s: allowed, seen %llu of %llu (%s)", name,
		     (unsigned long long)run.hits, (unsigned long long)total, t->what);
	else
		h_ok(run.done > 0 && !run.hits, "%s: forbidden=%llu of %llu (%s)", name,
		     (unsigned long long)run.hits, (unsigned long long)total, t->what);

	for (int v = 0; v < (layout == APART ? MAX_VARS : 1); v++)
		munmap((void *)run.var[v], size);
	for (unsigned int k = 0; k < t->threads; k++)
		munmap(run.regs[k], sizeof(uint64_t[BATCH][MAX_REGS]));
	munmap(run.barrier, H_PAGE);
	munmap((void *)run.stop, H_PAGE);
}

int main(int argc, char **argv)
{
	const char *only, *layout;
	unsigned int parts = 0;
	uint64_t batches;

	h_init(argc, argv);
	batches = h_arg("n", 100);
	only = h_arg_str("only", NULL);
	layout = h_arg_str("layout", NULL);
	broken = h_arg("broken", 0);
	h_args_end();

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
			const struct test *t = &tests[i];

			if ((only && strcmp(only, t->name)) || (broken && strncmp(t->name, "SB+", 3)))
				continue;
			for (enum layout l = APART; l <= SAME; l++) {
				if (layout && strcmp(layout, l == APART ? "apart" : "same"))
					continue;
				if (pass) {
					h_slice(parts);
					one(t, l, batches);
				} else {
					parts += (unsigned int)h_ncpus >= t->threads;
				}
			}
		}
		if (!pass && !parts)
			h_bail("no such test, or too few CPUs for it");
	}
	return h_done();
}
