// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the network and the other host can do to a space in the middle of its
 * transactions: slow and lossy networks, links that are reset, hosts that die,
 * fall silent, or see only half of the others.  Over TCP and over RDMA.
 *
 * Runs on all hosts at the same time (selftests/space/faults.sh); each has points.
 */
#include "space_test.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_THREADS	96
#define LIMIT_MS	5000	/* as users are promised */

typedef _Atomic uint64_t word;

static uint64_t spaces_made;	/* the next one's id, the same on all hosts */

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char cmd[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, args);
	va_end(args);
	fflush(stdout);
	return system(cmd);
}

static void must(int status, const char *what)
{
	if (status)
		die(what);
}

static void barrier(const char *name, const char *when)
{
	must(run("hosts-barrier '%s: %s' >&2", name, when), "hosts-barrier");
}

static const char *over(enum join join)
{
	return join == JOIN_RDMA ? "RDMA" : "TCP";
}

/* ------------------------------------------------------------- traffic */

/* All hosts add to words of their own on all pages at the same time. */
struct adder {
	const struct site *site;
	unsigned int nr, stride, adds;	/* adds 0: until SIGBUS */
	_Atomic unsigned int done;
	pthread_t thread;
};

static _Thread_local sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

/* Returns non-null if SIGBUS has ended it. */
static void *add(void *arg)
{
	struct adder *a = arg;
	const struct site *s = a->site;
	/* The next host's pages first. */
	size_t page = (this_host() + 1) % s->nr * s->pages + a->nr;

	if (sigsetjmp(bus_jmp, 1))
		return a;
	while (!a->adds || a->done < a->adds) {
		atomic_fetch_add((word *)(s->mem + page % (s->nr * s->pages) * PAGE) + this_host(), 1);
		page += a->stride;
		a->done++;
	}
	return NULL;
}

static void adders_start(struct adder *a, unsigned int nr, const struct site *s, unsigned int adds)
{
	signal(SIGBUS, on_bus);
	for (unsigned int i = 0; i < nr; i++) {
		a[i] = (struct adder){ .site = s, .nr = i, .stride = nr | 1, .adds = adds };
		if (pthread_create(&a[i].thread, NULL, add, &a[i]))
			die("pthread_create");
	}
}

/* How many have had SIGBUS. */
static unsigned int adders_join(struct adder *a, unsigned int nr)
{
	unsigned int buses = 0;
	void *ret;

	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(a[i].thread, &ret);
		buses += !!ret;
	}
	return buses;
}

static uint64_t sum_of(const struct site *s, unsigned int host)
{
	uint64_t sum = 0;

	for (size_t page = 0; page < s->nr * s->pages; page++)
		sum += *((word *)(s->mem + page * PAGE) + host);
	return sum;
}

/* ------------------------------------------------ what must change nothing */

struct weather {
	const char *name;
	const char *netem;	/* on all hosts, tc-netem(8) */
	unsigned int threads, adds;
	bool narrow;		/* more messages than the links take */
};

static void survive(const struct weather *w, enum join join)
{
	struct site s = { .nr = 2, .pages = w->narrow ? 256 : 16, .join = join, .narrow = w->narrow };
	static struct adder a[MAX_THREADS];
	struct space_info info;
	bool good = true;
	uint64_t begin;

	site_open(&s, w->name, ++spaces_made);
	must(run("tc qdisc add dev eth0 root netem %s", w->netem), "tc");
	barrier(w->name, "set");
	begin = now_ns();
	adders_start(a, w->threads, &s, w->adds);
	good &= !adders_join(a, w->threads);
	note("%s: %llu ms", w->name, (unsigned long long)(now_ns() - begin) / 1000000);
	if (w->narrow) {
		good &= space_info(w->name, &info) && info.tx_queued_max >= 8;
		note("%u messages have waited at a time", info.tx_queued_max);
	}
	barrier(w->name, "added");
	for (unsigned int h = 0; good && h < s.nr; h++)
		good &= sum_of(&s, h) == w->threads * w->adds;
	ok(good && space_status(s.space).state == CVMM_SPACE_LIVE,
	   "%s: %s (%s): all additions are exact", over(join), w->name, w->netem);
	barrier(w->name, "summed up");
	must(run("tc qdisc delete dev eth0 root"), "tc");
	site_close(&s);
}

/* ---------------------------------------------------- what must end it */

struct fault {
	const char *name;
	unsigned int nr;	/* hosts */
	bool kills;		/* host 1's process is the victim */
	void (*inject)(pid_t victim, enum join join);
	void (*undo)(enum join join);	/* or NULL */
};

/* What the process that has the space tells, in shared memory. */
struct outcome {
	_Atomic bool running;
	_Atomic uint64_t end_ns;
	bool good;
	struct cvmm_space_status status;
};

static void have_space(const struct fault *f, enum join join, struct outcome *out)
{
	struct site s = { .nr = f->nr, .pages = 16, .join = join };
	struct adder a[4];

	site_open(&s, f->name, spaces_made);
	adders_start(a, 4, &s, 0);
	for (unsigned int i = 0; i < 4; i++)
		while (a[i].done < 3)
			usleep(1000);
	out->running = true;
	out->good = adders_join(a, 4) == 4 && space_wait_failed(s.space, 1000);
	out->status = space_status(s.space);
	out->end_ns = now_ns();
	site_close(&s);
	_exit(0);
}

static bool wait_until(_Atomic bool *flag, unsigned int ms)
{
	while (!*flag && ms--)
		usleep(1000);
	return *flag;
}

/* The process's end within LIMIT_MS; else it is killed. */
static bool ended(pid_t pid, int *status)
{
	for (unsigned int ms = 0; ms < 2 * LIMIT_MS; ms += 5) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		usleep(5000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, status, 0);
	return false;
}

static void fatal(const struct fault *f, enum join join)
{
	struct outcome *out = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t begin, ms;
	bool on_time;
	int status;
	pid_t pid;

	if (out == MAP_FAILED)
		die("mmap");
	spaces_made++;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		have_space(f, join, out);
	if (!wait_until(&out->running, 60000))
		die("the space does not work");
	barrier(f->name, "running");
	usleep(300000);
	f->inject(pid, join);
	barrier(f->name, "injected");
	begin = now_ns();
	on_time = ended(pid, &status);
	if (WIFSIGNALED(status)) {
		ok(on_time && f->kills && this_host() == 1, "%s: %s: the process is gone in %llu ms", over(join), f->name,
		   (unsigned long long)(now_ns() - begin) / 1000000);
	} else {
		/* Or even before both were told. */
		ms = out->end_ns > begin ? (out->end_ns - begin) / 1000000 : 0;
		ok(on_time && out->good && ms < LIMIT_MS && out->status.error &&
		   out->status.host != this_host() && out->status.host < f->nr && out->status.reason[0],
		   "%s: %s: all threads have SIGBUS after %llu ms: \"%s\"", over(join), f->name,
		   (unsigned long long)ms, out->status.reason);
	}
	for (unsigned int n = 0; spaces_dump() && n < 100; n++)
		usleep(10000);
	ok(spaces_dump() == 0, "... no space is left");
	barrier(f->name, "over");
	if (f->undo)
		f->undo(join);
	munmap(out, PAGE);
}

static void reset(pid_t victim, enum join join)
{
	(void)victim;
	if (this_host() != 1)
		return;
	if (join == JOIN_RDMA)
		must(run("rdma link delete rxe0"), "rdma");
	else
		must(run("ss -H -K state established dst 10.77.0.1 src 10.77.0.2 >/dev/null"), "ss");
}

static void reset_undo(enum join join)
{
	if (this_host() == 1 && join == JOIN_RDMA)
		must(run("rdma link add rxe0 type rxe netdev eth0"), "rdma");
}

static void killed(pid_t victim, enum join join)
{
	(void)join;
	if (this_host() == 1)
		kill(victim, SIGKILL);
}

/* Nothing that host 1 says arrives. */
static void dark(pid_t victim, enum join join)
{
	(void)victim;
	(void)join;
	if (this_host() == 1)
		must(run("tc qdisc add dev eth0 root netem loss 100%%"), "tc");
}

static void dark_undo(enum join join)
{
	(void)join;
	if (this_host() == 1)
		must(run("tc qdisc delete dev eth0 root"), "tc");
}

/* Hosts 0 and 1 do not hear 2 and 3 any more, nor these them. */
static void split(pid_t victim, enum join join)
{
	const unsigned int other = this_host() < 2 ? 3 : 1;

	(void)victim;
	(void)join;
	must(run("tc qdisc add dev eth0 clsact"), "tc");
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int net = 77; net < 79; net++)
			must(run("tc filter add dev eth0 ingress protocol ip u32 match ip src 10.%u.0.%u/32 action drop",
				 net, other + i), "tc");
}

static void split_undo(enum join join)
{
	(void)join;
	must(run("tc qdisc delete dev eth0 clsact"), "tc");
}

static void faults_run(enum join join)
{
	static const struct weather weather[] = {
		{ "slow", "delay 2ms", 4, 150, false },
		{ "crowded", "delay 50ms", MAX_THREADS, 4, true },
		{ "lossy", "delay 1ms loss 1%", 4, 100, false },
	};
	static const struct fault faults[] = {
		{ "reset", 2, false, reset, reset_undo },
		{ "killed", 2, true, killed, NULL },
		{ "dark", 2, false, dark, dark_undo },
	};
	/* Over RDMA whether a host is lost or slow is told by packets that get lost. */
	const size_t n = sizeof(weather) / sizeof(weather[0]) - (join == JOIN_RDMA);

	for (size_t i = 0; i < n; i++)
		survive(&weather[i], join);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		fatal(&faults[i], join);
}

void test_faults(void)
{
	faults_run(JOIN_TCP);
	faults_run(JOIN_RDMA);
}

void test_split(void)
{
	static const struct fault f = { "split", 4, false, split, split_undo };

	fatal(&f, JOIN_TCP);
	fatal(&f, JOIN_RDMA);
}
