// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A fork storm: on every CPU a process that forks without pause.  Each child
 * checks the memory it inherited, writes to its copies, and exits or executes
 * this program again, which checks its argument and computes; meanwhile the
 * parent writes to the same pages.  No write may show on the other side.
 *
 *   n=COUNT     children of each CPU (50)
 *   pages=N     pages inherited and copied (16)
 *   roam=1      children may run on any CPU
 *   broken=1    self-test: the pages are shared instead of copied; must be caught
 */
#include "harness.h"

#include <sys/wait.h>

#define WORDS (H_PAGE / 8)

static uint64_t n_children, n_pages;
static bool roam, broken;

struct result {
	_Alignas(H_LINE) uint64_t forks, execs, bad;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	struct h_rng r = { a * 0x100000001b3ull ^ b };

	return h_rand(&r);
}

static void fill(volatile uint64_t *p, uint64_t tag, unsigned int first, unsigned int step)
{
	for (unsigned int page = first; page < n_pages; page += step)
		for (unsigned int w = 0; w < WORDS; w += 61)
			p[page * WORDS + w] = mix(tag, page * WORDS + w);
}

static bool holds(volatile uint64_t *p, uint64_t tag, unsigned int first, unsigned int step)
{
	for (unsigned int page = first; page < n_pages; page += step)
		for (unsigned int w = 0; w < WORDS; w += 61)
			if (p[page * WORDS + w] != mix(tag, page * WORDS + w))
				return false;
	return true;
}

/* What an executed child computes from its argument, and the parent expects. */
static int exec_status(uint64_t v)
{
	return 64 + (mix(v, 77) & 63);
}

static int child(volatile uint64_t *p, uint64_t tag, uint64_t k)
{
	char arg[32];

	if (!holds(p, tag, 1, 2))
		return 1;
	fill(p, tag + 1, 0, 2);
	sched_yield();
	/* Even pages are now ours, odd ones still what they were at the fork. */
	if (!holds(p, tag + 1, 0, 2))
		return 2;
	if (!holds(p, tag, 1, 2))
		return 3;
	if (k % 4)
		return exec_status(tag);
	snprintf(arg, sizeof(arg), "child=%llu", (unsigned long long)tag);
	execl("/proc/self/exe", "forkstorm", arg, (char *)NULL);
	return 4;
}

static void storm(unsigned int cpu, struct result *res)
{
	volatile uint64_t *p = mmap(NULL, n_pages * H_PAGE, PROT_READ | PROT_WRITE,
				    (broken ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	h_pin(h_cpu(cpu));
	for (uint64_t k = 0; k < n_children && h_time_left(); k++) {
		uint64_t tag = (uint64_t)cpu << 32 | k << 8;
		int status;
		pid_t pid;

		fill(p, tag, 0, 1);
		pid = fork();
		if (pid < 0)
			h_bail("fork: %s", strerror(errno));
		if (!pid) {
			if (roam)
				h_unpin();
			_exit(child(p, tag, k));
		}
		/* The child expects the odd pages unchanged; we change them now. */
		fill(p, tag + 2, 1, 2);
		if (waitpid(pid, &status, 0) != pid)
			h_bail("waitpid: %s", strerror(errno));
		res->forks++;
		res->execs += k % 4 == 0;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != exec_status(tag)) {
			if (!res->bad++ && !broken)
				h_note("CPU %d child %llu: status %#x, expected exit %d", h_cpu(cpu),
				       (unsigned long long)k, status, exec_status(tag));
		}
		if (!holds(p, tag, 0, 2) || !holds(p, tag + 2, 1, 2)) {
			if (!res->bad++ && !broken)
				h_note("CPU %d child %llu: the parent sees the child's writes", h_cpu(cpu),
				       (unsigned long long)k);
		}
	}
	_exit(res->bad ? 1 : 0);
}

int main(int argc, char **argv)
{
	struct result *res, sum = { 0 };
	uint64_t tag, start;
	pid_t pid[H_MAX_CPUS];
	int failed = 0;

	/* Executed by child(): no output. */
	if (argc == 2 && sscanf(argv[1], "child=%lu", &tag) == 1)
		return exec_status(tag);

	h_init(argc, argv);
	n_children = h_arg("n", 50);
	n_pages = h_arg("pages", 16);
	roam = h_arg("roam", 0);
	broken = h_arg("broken", 0);
	h_args_end();
	res = h_alloc(sizeof(*res) * H_MAX_CPUS);
	start = h_now_ns();
	for (int i = 0; i < h_ncpus; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			h_bail("fork: %s", strerror(errno));
		if (!pid[i])
			storm(i, &res[i]);
	}
	for (int i = 0; i < h_ncpus; i++) {
		int status;

		if (waitpid(pid[i], &status, 0) != pid[i])
			h_bail("waitpid: %s", strerror(errno));
		if (status && !broken) {
			failed++;
			h_note("the storm on CPU %d ended with status %#x", h_cpu(i), status);
		}
		sum.forks += res[i].forks;
		sum.execs += res[i].execs;
		sum.bad += res[i].bad;
		h_note("cpu=%d forks=%llu execs=%llu bad=%llu", h_cpu(i), (unsigned long long)res[i].forks,
		       (unsigned long long)res[i].execs, (unsigned long long)res[i].bad);
	}
	h_note("seconds=%.3f", (h_now_ns() - start) / 1e9);
	if (broken)
		h_ok(sum.bad > 0, "shared pages instead of copies are caught");
	else
		h_ok(!sum.bad && !failed && sum.forks >= (uint64_t)h_ncpus,
		     "%llu forks, %llu of them with exec, on %d CPUs: %llu wrong",
		     (unsigned long long)sum.forks, (unsigned long long)sum.execs, h_ncpus,
		     (unsigned long long)sum.bad);
	return h_done();
}
