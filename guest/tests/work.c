// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Workloads to measure one machine made of several against one of one host: each
 * call does one of them, on all CPUs at once, the same amount on each.
 *
 *   what=NAME    which (see workloads[] below)
 *   n=COUNT      how much on each CPU
 *   sync=1       say "mark begin" and "mark end" around the measured part and wait
 *                for a line on the console after each: whoever measures reads
 *                counters meanwhile
 *
 * Prints "# work=NAME cpus=C ops=N us=T"; the time is the guest's.  A workload
 * fails only when what it computed is wrong.
 */
#include "harness.h"

#include <sys/wait.h>

struct workload {
	const char *name;
	uint64_t n;				/* default of n= */
	const char *unit;			/* what is counted as one */
	uint64_t (*run)(uint64_t n);		/* units done, on all CPUs; 0: it went wrong */
	bool (*prepare)(uint64_t n);		/* before the clock starts; false: not here */
};

static void mark(const char *what)
{
	char c;
	int fd;

	h_note("mark %s", what);
	fd = open("/dev/console", O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		h_bail("/dev/console: %s", strerror(errno));
	do {
		if (read(fd, &c, 1) != 1)
			h_bail("no answer on the console");
	} while (c != '\n' && c != '\r');
	close(fd);
}

/* One process on each CPU; how many of them ended with status 0. */
static int on_each_cpu(bool (*fn)(unsigned int i, uint64_t n), uint64_t n)
{
	int good = 0, status;

	for (int i = 0; i < h_ncpus; i++) {
		pid_t pid = fork();

		if (pid < 0)
			h_bail("fork: %s", strerror(errno));
		if (!pid) {
			h_pin(h_cpu(i));
			_exit(fn(i, n) ? 0 : 1);
		}
	}
	for (int i = 0; i < h_ncpus; i++)
		good += wait(&status) > 0 && !status;
	return good;
}

/* --- processes -------------------------------------------------------- */

static bool fork_one(unsigned int i, uint64_t n)
{
	(void)i;
	for (; n; n--) {
		int status;
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return false;
	}
	return true;
}

static uint64_t run_fork(uint64_t n)
{
	return on_each_cpu(fork_one, n) == h_ncpus ? n * h_ncpus : 0;
}

/* A program of the benchmark's own archive (selftests/bench/build.mk). */
static bool run_program(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool has_hackbench(uint64_t n)
{
	(void)n;
	return !access("/bench/hackbench", X_OK);
}

/* Ten senders and ten receivers, each sender to each receiver, wherever they run. */
static uint64_t run_hackbench(uint64_t n)
{
	char loops[24];
	char *argv[] = { "/bench/hackbench", "-g", "1", "-f", "10", "-l", loops, NULL };

	snprintf(loops, sizeof(loops), "%llu", (unsigned long long)n * h_ncpus);
	return run_program(argv) ? n * h_ncpus * 10 * 10 : 0;
}

/* Sources of the coherence protocol, their includes already in them. */
static const char *const sources[] = { "check", "core", "dir", "page", "wire" };

#define N_SOURCES (sizeof(sources) / sizeof(sources[0]))

static bool has_compiler(uint64_t n)
{
	(void)n;
	return !access("/bench/tcc", X_OK);
}

static bool compile_some(unsigned int i, uint64_t n)
{
	for (uint64_t k = 0; k < n; k++) {
		char in[64], out[64];
		char *argv[] = { "/bench/tcc", "-c", in, "-o", out, NULL };
		bool good;

		snprintf(in, sizeof(in), "/bench/%s.i", sources[(i + k) % N_SOURCES]);
		snprintf(out, sizeof(out), "/tmp/%u-%llu.o", i, (unsigned long long)k);
		good = run_program(argv);
		unlink(out);
		if (!good)
			return false;
	}
	return true;
}

static uint64_t run_compile(uint64_t n)
{
	return on_each_cpu(compile_some, n) == h_ncpus ? n * h_ncpus : 0;
}

/* --- memory of one's own ---------------------------------------------- */

enum { OWN_KIB = 256 };		/* on each CPU, of its own node */

static void **own[H_MAX_CPUS];
static _Atomic uint64_t wrong;

/* One cycle through all lines of each CPU's memory, in random order. */
static bool prepare_chase(uint64_t n)
{
	const uint32_t lines = OWN_KIB * 1024 / H_LINE;
	uint32_t order[OWN_KIB * 1024 / H_LINE];

	(void)n;
	for (int c = 0; c < h_ncpus; c++) {
		struct h_rng rng = h_rng(c);

		own[c] = h_alloc_on(OWN_KIB * 1024, h_nnodes > 1 ? h_node(h_cpu(c)) : -1);
		for (uint32_t i = 0; i < lines; i++) {
			uint32_t j = h_rand(&rng) % (i + 1);

			order[i] = order[j];
			order[j] = i;
		}
		for (uint32_t i = 0; i < lines; i++)
			own[c][order[i] * 8ul] = &own[c][order[(i + 1) % lines] * 8ul];
	}
	return true;
}

static void chase(unsigned int i, void *arg)
{
	uint64_t n = *(uint64_t *)arg;

	for (; n; n--) {
		void **p = own[i];
		uint32_t steps = 0;

		do {
			p = *p;
			steps++;
		} while (p != own[i]);
		if (steps != OWN_KIB * 1024 / H_LINE)
			wrong++;
	}
}

static uint64_t run_chase(uint64_t n)
{
	h_run(h_ncpus, chase, &n);
	return wrong ? 0 : n * h_ncpus * (OWN_KIB * 1024 / H_LINE);
}

static bool prepare_stream(uint64_t n)
{
	(void)n;
	for (int c = 0; c < h_ncpus; c++)
		own[c] = h_alloc_on(OWN_KIB * 1024, h_nnodes > 1 ? h_node(h_cpu(c)) : -1);
	return true;
}

/* a = b + 3 c over three thirds of the memory, as in McCalpin's STREAM. */
static void triad(unsigned int i, void *arg)
{
	uint64_t n = *(uint64_t *)arg, len = OWN_KIB * 1024 / 3 / sizeof(double);
	double *a = (double *)own[i], *b = a + len, *c = b + len;

	for (uint64_t k = 0; k < len; k++) {
		b[k] = k;
		c[k] = 2;
	}
	for (; n; n--)
		for (uint64_t k = 0; k < len; k++)
			((volatile double *)a)[k] = b[k] + 3 * c[k];
	for (uint64_t k = 0; k < len; k++)
		if (a[k] != k + 6.0)
			wrong++;
}

static uint64_t run_stream(uint64_t n)
{
	h_run(h_ncpus, triad, &n);
	return wrong ? 0 : n * h_ncpus * OWN_KIB / 1024;
}

/* --- memory of all ----------------------------------------------------- */

enum { BUCKETS = 64, LOCKS = 4, RING = 16, MESSAGE = 512 };

/* A bucket of the table: version odd while it changes; the value twice. */
struct bucket {
	_Alignas(H_PAGE) _Atomic uint64_t version;
	_Atomic uint64_t value[2];
};

struct lock {
	_Alignas(H_PAGE) pthread_mutex_t mutex;
	_Alignas(H_PAGE) uint64_t count;
};

struct ring {
	_Alignas(H_PAGE) _Atomic uint64_t head;
	_Alignas(H_PAGE) _Atomic uint64_t tail;
	_Alignas(H_PAGE) struct {
		uint64_t word[MESSAGE / 8];
	} slot[RING];
};

static struct bucket *table;
static struct lock *locks;
static struct ring *rings;

static bool prepare_server(uint64_t n)
{
	(void)n;
	table = h_alloc(BUCKETS * sizeof(*table));
	return true;
}

/* Looks up at random; one request in a hundred changes what it finds. */
static void serve(unsigned int i, void *arg)
{
	struct h_rng rng = h_rng(i);
	uint64_t n = *(uint64_t *)arg;

	for (; n; n--) {
		uint64_t r = h_rand(&rng), v, a, b;
		struct bucket *t = &table[r % BUCKETS];
		unsigned int spin = 0;

		do {
			while ((v = atomic_load(&t->version)) & 1)
				h_relax(spin++);
			if (r >> 32 & 127)
				break;
		} while (!atomic_compare_exchange_weak(&t->version, &v, v + 1));
		a = atomic_load(&t->value[0]);
		b = atomic_load(&t->value[1]);
		if (r >> 32 & 127) {
			if (a != b && atomic_load(&t->version) == v)
				wrong++;
			continue;
		}
		atomic_store(&t->value[0], a + 1);
		atomic_store(&t->value[1], a + 1);
		atomic_store(&t->version, v + 2);
	}
}

static uint64_t run_server(uint64_t n)
{
	h_run(h_ncpus, serve, &n);
	return wrong ? 0 : n * h_ncpus;
}

static bool prepare_locks(uint64_t n)
{
	(void)n;
	locks = h_alloc(LOCKS * sizeof(*locks));
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i].mutex, NULL);
	return true;
}

static void lock_heavy(unsigned int i, void *arg)
{
	struct h_rng rng = h_rng(i);
	uint64_t n = *(uint64_t *)arg;

	for (; n; n--) {
		struct lock *l = &locks[h_rand(&rng) % LOCKS];

		pthread_mutex_lock(&l->mutex);
		l->count++;
		pthread_mutex_unlock(&l->mutex);
	}
}

static uint64_t run_locks(uint64_t n)
{
	uint64_t sum = 0;

	h_run(h_ncpus, lock_heavy, &n);
	for (int i = 0; i < LOCKS; i++)
		sum += locks[i].count;
	return sum == n * h_ncpus ? sum : 0;
}

static bool prepare_pipe(uint64_t n)
{
	(void)n;
	rings = h_alloc(h_ncpus * sizeof(*rings));
	return true;
}

/* CPU i sends to its neighbour, of another node where there is one, and takes from the other. */
static void pass_on(unsigned int i, void *arg)
{
	struct ring *out = &rings[i], *in = &rings[(i + 1) % h_ncpus];
	uint64_t n = *(uint64_t *)arg, sent = 0, taken = 0;
	unsigned int spin = 0;

	while (sent < n || taken < n) {
		uint64_t before = sent + taken;

		if (sent < n && sent - atomic_load(&out->tail) < RING) {
			for (unsigned int w = 0; w < MESSAGE / 8; w++)
				out->slot[sent % RING].word[w] = sent + w;
			atomic_store(&out->head, ++sent);
		}
		if (taken < n && atomic_load(&in->head) > taken) {
			for (unsigned int w = 0; w < MESSAGE / 8; w++)
				if (in->slot[taken % RING].word[w] != taken + w)
					wrong++;
			atomic_store(&in->tail, ++taken);
		}
		if (sent + taken == before)
			h_relax(spin++);
		else
			spin = 0;
	}
}

static uint64_t run_pipe(uint64_t n)
{
	h_run(h_ncpus, pass_on, &n);
	return wrong ? 0 : n * h_ncpus;
}

static const struct workload workloads[] = {
	{ "fork",	50,	"forks",	run_fork,	NULL },
	{ "hackbench",	10,	"messages",	run_hackbench,	has_hackbench },
	{ "compile",	5,	"files",	run_compile,	has_compiler },
	{ "chase",	300,	"steps",	run_chase,	prepare_chase },
	{ "stream",	200,	"MiB",		run_stream,	prepare_stream },
	{ "server",	500000,	"requests",	run_server,	prepare_server },
	{ "locks",	2000,	"turns",	run_locks,	prepare_locks },
	{ "pipe",	500,	"messages",	run_pipe,	prepare_pipe },
};

int main(int argc, char **argv)
{
	const struct workload *w = workloads, *end = workloads + sizeof(workloads) / sizeof(*w);
	uint64_t n, ops, start, us;
	const char *what;
	bool sync;

	h_init(argc, argv);
	what = h_arg_str("what", NULL);
	while (what && w < end && strcmp(w->name, what))
		w++;
	if (!what || w == end)
		h_bail("what=%s: no such workload", what ?: "");
	n = h_arg("n", w->n);
	sync = h_arg("sync", 0);
	h_args_end();

	if (w->prepare && !w->prepare(n)) {
		h_skip(w->name, "its program is not in this archive");
		return h_done();
	}
	if (sync)
		mark("begin");
	start = h_now_ns();
	ops = w->run(n);
	us = (h_now_ns() - start) / 1000;
	if (sync)
		mark("end");
	h_note("work=%s cpus=%d ops=%llu us=%llu", w->name, h_ncpus, (unsigned long long)ops,
	       (unsigned long long)us);
	h_ok(ops, "%s: %llu %s", w->name, (unsigned long long)ops, w->unit);
	return h_done();
}
