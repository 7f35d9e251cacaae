// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One time for all CPUs.  A token goes round all CPUs through one shared line;
 * who has it reads TSC and clocks, which must not be before those that the last
 * holder wrote with it.  Then: the TSC's rate as each CPU measures it, and that a
 * sleep takes as long by the TSC as by the clock.
 *
 *   n=ROUNDS     of the token (500)
 *   secs=        soft limit (60)
 *   broken=NS    self-test: CPUs of odd rank read NS too late a time; must be caught
 */
#include "harness.h"

struct token {
	_Alignas(H_PAGE) _Atomic uint64_t turn;
	uint64_t tsc, tscp, mono, raw;
	uint64_t ns_sum, ns_min, count;
	_Atomic bool stop;
};

struct back {
	_Alignas(H_LINE) uint64_t tsc, tscp, mono, raw;		/* largest backward steps */
};

static uint64_t n_rounds, wrong_ns;
static bool broken;
static struct back back[H_MAX_CPUS];

static uint64_t tscp(void)
{
	uint32_t lo, hi, aux;

	__asm__ volatile("rdtscp; lfence" : "=a"(lo), "=d"(hi), "=c"(aux) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

static bool have_tscp(void)
{
	char buf[8192];

	return h_read_file("/proc/cpuinfo", buf, sizeof(buf)) > 0 && strstr(buf, " rdtscp ");
}

static bool use_tscp;

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void step(uint64_t *worst, uint64_t last, uint64_t now)
{
	if (now < last && last - now > *worst)
		*worst = last - now;
}

static void pass_on(unsigned int i, void *arg)
{
	struct token *t = arg;
	uint64_t late = broken && i % 2 ? wrong_ns : 0;

	for (uint64_t r = 0;; r++) {
		uint64_t mine = r * h_ncpus + i, mono;

		for (unsigned int spin = 0; atomic_load_explicit(&t->turn, memory_order_acquire) != mine; spin++)
			h_relax(spin);
		step(&back[i].tsc, t->tsc, h_tsc());
		if (use_tscp)
			step(&back[i].tscp, t->tscp, tscp());
		mono = clock_ns(CLOCK_MONOTONIC) + late;
		step(&back[i].mono, t->mono, mono);
		step(&back[i].raw, t->raw, clock_ns(CLOCK_MONOTONIC_RAW));
		if (t->mono && mono > t->mono) {
			uint64_t d = mono - t->mono;

			t->ns_sum += d;
			t->count++;
			if (!t->ns_min || d < t->ns_min)
				t->ns_min = d;
		}
		if (i == 0 && (r >= n_rounds || !h_time_left()))
			atomic_store(&t->stop, true);
		t->raw = clock_ns(CLOCK_MONOTONIC_RAW);
		t->mono = clock_ns(CLOCK_MONOTONIC) + late;
		if (use_tscp)
			t->tscp = tscp();
		t->tsc = h_tsc();
		atomic_store_explicit(&t->turn, mine + 1, memory_order_release);
		/* Everybody sees stop in the same round: it is set by the round's first. */
		if (atomic_load(&t->stop))
			return;
	}
}

struct rate {
	double mhz, sleep_ms, sleep_tsc_ms;
	bool early;
};

static struct rate rates[H_MAX_CPUS];

/* TSC and clock at the same moment: of some tries the one with the least between two TSC reads. */
static void read_both(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t before = h_tsc(), t = clock_ns(CLOCK_MONOTONIC_RAW), took = h_tsc() - before;

		if (took < best) {
			best = took;
			*tsc = before + took / 2;
			*ns = t;
		}
	}
}

static void measure(unsigned int i, void *arg)
{
	uint64_t tsc, ns, end_tsc, end, t0, t1;
	struct timespec ts = { .tv_nsec = 50000000 };

	(void)arg;
	read_both(&tsc, &ns);
	while (clock_ns(CLOCK_MONOTONIC_RAW) - ns < 100000000)
		;
	read_both(&end_tsc, &end);
	rates[i].mhz = (end_tsc - tsc) * 1e3 / (end - ns);

	t0 = clock_ns(CLOCK_MONOTONIC);
	tsc = h_tsc();
	nanosleep(&ts, NULL);
	tsc = h_tsc() - tsc;
	t1 = clock_ns(CLOCK_MONOTONIC);
	rates[i].sleep_ms = (t1 - t0) / 1e6;
	rates[i].sleep_tsc_ms = tsc / (rates[i].mhz * 1e3);
	rates[i].early = t1 - t0 < 50000000;
}

int main(int argc, char **argv)
{
	struct back worst = { 0 };
	double lo = 1e9, hi = 0;
	char buf[128] = "?";
	struct token *t;

	h_init(argc, argv);
	n_rounds = h_arg("n", 500);
	wrong_ns = h_arg("broken", 0);
	broken = wrong_ns;
	h_args_end();
	use_tscp = have_tscp();
	h_read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", buf, sizeof(buf));
	buf[strcspn(buf, "\n")] = 0;
	t = h_alloc(sizeof(*t));
	h_run(h_ncpus, pass_on, t);
	for (int i = 0; i < h_ncpus; i++) {
		struct back *b = &back[i];

		if (b->tsc || b->tscp || b->mono || b->raw)
			h_note("cpu=%d back_tsc=%llu back_tscp=%llu back_mono_ns=%llu back_raw_ns=%llu", h_cpu(i),
			       (unsigned long long)b->tsc, (unsigned long long)b->tscp,
			       (unsigned long long)b->mono, (unsigned long long)b->raw);
#define MAX(f) do { if (b->f > worst.f) worst.f = b->f; } while (0)
		MAX(tsc);
		MAX(tscp);
		MAX(mono);
		MAX(raw);
	}
	h_note("clocksource=%s passes=%llu bounce_us_avg=%.1f bounce_us_min=%.2f", buf,
	       (unsigned long long)t->count, t->count ? t->ns_sum / 1e3 / t->count : 0.0, t->ns_min / 1e3);
	if (broken) {
		h_ok(worst.mono > 0, "a clock %llu ns off is caught: back by %llu ns",
		     (unsigned long long)wrong_ns, (unsigned long long)worst.mono);
		return h_done();
	}
	h_ok(t->count > 0 && !worst.tsc, "TSC: back by %llu", (unsigned long long)worst.tsc);
	if (use_tscp)
		h_ok(!worst.tscp, "TSC by rdtscp: back by %llu", (unsigned long long)worst.tscp);
	h_ok(!worst.mono, "CLOCK_MONOTONIC: back by %llu ns", (unsigned long long)worst.mono);
	h_ok(!worst.raw, "CLOCK_MONOTONIC_RAW: back by %llu ns", (unsigned long long)worst.raw);

	for (int i = 0; i < h_ncpus; i++) {
		/* One after the other: a busy neighbour would stretch the sleeps. */
		struct rate *r = &rates[i];

		h_pin(h_cpu(i));
		measure(i, NULL);
		h_note("cpu=%d tsc_mhz=%.2f sleep_ms=%.2f by_tsc_ms=%.2f", h_cpu(i), r->mhz, r->sleep_ms,
		       r->sleep_tsc_ms);
		lo = r->mhz < lo ? r->mhz : lo;
		hi = r->mhz > hi ? r->mhz : hi;
		h_ok(!r->early && r->sleep_tsc_ms > r->sleep_ms * 0.95 && r->sleep_tsc_ms < r->sleep_ms * 1.05 + 1,
		     "CPU %d: a sleep of 50 ms took %.2f ms, by the TSC %.2f ms", h_cpu(i), r->sleep_ms,
		     r->sleep_tsc_ms);
	}
	h_ok(hi < lo * 1.01, "the TSC's rate is the same on all CPUs: %.2f to %.2f MHz", lo, hi);
	return h_done();
}
