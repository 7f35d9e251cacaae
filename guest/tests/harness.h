/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest's test programs share: TAP output, "key=value" arguments,
 * the machine's CPUs and NUMA nodes, pinning, memory on a chosen node, a
 * seeded generator, a barrier that makes no system call while it is short, and
 * the TSC.
 *
 * Each program is one static file with one subject.  It is called with
 * "key=value" words; n= is its amount of work, secs= a soft limit after which it
 * stops early and says how much it did, seed= makes its choices repeatable.
 * It exits with 0 when every check passed, 1 when one failed, 2 when it could
 * not run at all (wrong arguments, no memory).
 *
 * A guest's CPU here may share a real core with another one, and a cache line
 * may be a network away: nothing may assume that a spin is short.
 */
#ifndef GUEST_HARNESS_H
#define GUEST_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define H_MAX_CPUS 256
#define H_MAX_NODES 64
#define H_PAGE 4096ul
#define H_LINE 64

#define __h_unused __attribute__((unused))

/* --- output ----------------------------------------------------------- */

static unsigned int h_tests, h_failures;
static pthread_mutex_t h_out_lock = PTHREAD_MUTEX_INITIALIZER;

/* One line, one write(): lines of several threads or processes never mix. */
static __h_unused void h_vline(const char *prefix, const char *fmt, va_list ap)
{
	char buf[1024];
	int len = snprintf(buf, sizeof(buf), "%s", prefix);
	int more = vsnprintf(buf + len, sizeof(buf) - len - 1, fmt, ap);

	if (more > 0)
		len += more;
	if (len > (int)sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	buf[len++] = '\n';
	for (int done = 0; done < len;) {
		ssize_t n = write(STDOUT_FILENO, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(2);
		done += n;
	}
}

static __h_unused __attribute__((format(printf, 2, 3)))
void h_line(const char *prefix, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	h_vline(prefix, fmt, ap);
	va_end(ap);
}

/* A diagnostic; also how measured values leave a test, as "# key=value ...". */
#define h_note(...) h_line("# ", __VA_ARGS__)

/* One check.  Any thread.  Returns @pass. */
static __h_unused __attribute__((format(printf, 2, 3)))
bool h_ok(bool pass, const char *fmt, ...)
{
	char prefix[32];
	va_list ap;

	pthread_mutex_lock(&h_out_lock);
	h_tests++;
	if (!pass)
		h_failures++;
	snprintf(prefix, sizeof(prefix), "%s %u - ", pass ? "ok" : "not ok", h_tests);
	va_start(ap, fmt);
	h_vline(prefix, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&h_out_lock);
	return pass;
}

static __h_unused void h_skip(const char *what, const char *why)
{
	pthread_mutex_lock(&h_out_lock);
	h_tests++;
	h_line("", "ok %u - %s # SKIP %s", h_tests, what, why);
	pthread_mutex_unlock(&h_out_lock);
}

/* The test cannot go on, and nothing it printed counts as a pass. */
static __h_unused __attribute__((format(printf, 1, 2), noreturn))
void h_bail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	h_vline("Bail out! ", fmt, ap);
	va_end(ap);
	_exit(2);
}

/* Prints the plan; the program's exit status. */
static __h_unused int h_done(void)
{
	h_line("", "1..%u", h_tests);
	return h_failures || !h_tests ? 1 : 0;
}

/* --- arguments -------------------------------------------------------- */

static char **h_argv;
static int h_argc;
static bool h_arg_used[64];

static __h_unused const char *h_arg_str(const char *key, const char *dflt)
{
	size_t len = strlen(key);
	const char *v = dflt;

	for (int i = 1; i < h_argc; i++) {
		if (strncmp(h_argv[i], key, len) || h_argv[i][len] != '=')
			continue;
		h_arg_used[i] = true;
		v = h_argv[i] + len + 1;
	}
	return v;
}

static __h_unused uint64_t h_arg(const char *key, uint64_t dflt)
{
	const char *s = h_arg_str(key, NULL);
	char *end;
	uint64_t v;

	if (!s)
		return dflt;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno || end == s || *end)
		h_bail("%s=%s: not a number", key, s);
	return v;
}

/* After the last h_arg(): a word nobody asked for is an error. */
static __h_unused void h_args_end(void)
{
	for (int i = 1; i < h_argc; i++)
		if (!h_arg_used[i])
			h_bail("unknown argument %s", h_argv[i]);
}

/* --- time ------------------------------------------------------------- */

static inline uint64_t h_tsc(void)
{
	uint32_t lo, hi;

	/* Ordered after earlier loads, before later instructions. */
	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

static __h_unused uint64_t h_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static uint64_t h_secs, h_deadline_ns;

/* Is there time left of the soft limit secs= (60), or of the part of it that h_slice() began? */
static __h_unused bool h_time_left(void)
{
	return h_now_ns() < h_deadline_ns;
}

/* From now on, one of @parts equal parts of the soft limit. */
static __h_unused void h_slice(unsigned int parts)
{
	h_deadline_ns = h_now_ns() + h_secs * 1000000000ull / parts;
}

static inline void h_pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* --- the machine ------------------------------------------------------ */

static int h_ncpus, h_nnodes;
static int h_cpus[H_MAX_CPUS];		/* allowed CPUs, nodes taking turns: 0's first, 1's first, ... */
static int h_nodes[H_MAX_NODES];	/* nodes with at least one allowed CPU */
static int h_node_by_cpu[H_MAX_CPUS];
static uint64_t h_seed;

static __h_unused int h_read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -1;
	buf[n] = 0;
	return n;
}

/* Calls fn for each number of a list like "0-2,5".  Returns how many there were. */
static __h_unused int h_parse_list(const char *s, void (*fn)(int n, void *ctx), void *ctx)
{
	int count = 0;

	while (*s >= '0' && *s <= '9') {
		char *end;
		long a = strtol(s, &end, 10), b = a;

		if (*end == '-')
			b = strtol(end + 1, &end, 10);
		for (; a <= b; a++, count++)
			if (fn)
				fn(a, ctx);
		s = *end == ',' ? end + 1 : end;
	}
	return count;
}

static __h_unused void h_set_cpu_node(int cpu, void *ctx)
{
	if (cpu < H_MAX_CPUS)
		h_node_by_cpu[cpu] = *(int *)ctx;
}

static __h_unused void h_read_node(int node, void *ctx)
{
	char path[96], buf[1024];

	(void)ctx;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	if (h_read_file(path, buf, sizeof(buf)) > 0)
		h_parse_list(buf, h_set_cpu_node, &node);
}

/* The node of @cpu as sysfs says; 0 without NUMA. */
static __h_unused int h_node(int cpu)
{
	return h_node_by_cpu[cpu];
}

static __h_unused void h_read_machine(void)
{
	int rank[H_MAX_CPUS], order[H_MAX_CPUS], n = 0, seen[H_MAX_NODES] = { 0 };
	cpu_set_t set;
	char buf[1024];

	if (h_read_file("/sys/devices/system/node/online", buf, sizeof(buf)) > 0)
		h_parse_list(buf, h_read_node, NULL);
	if (sched_getaffinity(0, sizeof(set), &set))
		h_bail("sched_getaffinity: %s", strerror(errno));
	for (int c = 0; c < H_MAX_CPUS; c++) {
		int node = h_node_by_cpu[c];

		if (!CPU_ISSET(c, &set))
			continue;
		if (node >= H_MAX_NODES)
			h_bail("node %d is out of range", node);
		if (!seen[node])
			h_nodes[h_nnodes++] = node;
		rank[n] = seen[node]++ * H_MAX_NODES + node;
		order[n++] = c;
	}
	for (int i = 0; i < n; i++) {
		int before = 0;

		for (int j = 0; j < n; j++)
			before += rank[j] < rank[i];
		h_cpus[before] = order[i];
	}
	h_ncpus = n;
}

/* The i-th CPU in an order where neighbours are on different nodes; wraps. */
static __h_unused int h_cpu(unsigned int i)
{
	return h_cpus[i % h_ncpus];
}

/* Run the calling thread on @cpu alone; it is there on return. */
static __h_unused void h_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		h_bail("cannot run on CPU %d: %s", cpu, strerror(errno));
	if (sched_getcpu() != cpu)
		h_bail("pinned to CPU %d, running on CPU %d", cpu, sched_getcpu());
}

/* Undo h_pin(): any CPU the program started with. */
static __h_unused void h_unpin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < h_ncpus; i++)
		CPU_SET(h_cpus[i], &set);
	sched_setaffinity(0, sizeof(set), &set);
}

#define H_MPOL_BIND 2
#define H_MPOL_F_NODE_ADDR 3	/* MPOL_F_NODE | MPOL_F_ADDR */

/* The node whose memory holds the page at @p (touched), or -1. */
static __h_unused int h_node_of_page(const void *p)
{
	int node = -1;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0, p, H_MPOL_F_NODE_ADDR))
		return -1;
	return node;
}

/* All memory of @node that the kernel manages; 0 without NUMA. */
static __h_unused uint64_t h_node_kib(int node)
{
	char path[96], buf[4096], *p;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	if (h_read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	p = strstr(buf, "MemTotal:");
	return p ? strtoull(p + 9, NULL, 0) : 0;
}

/* Zeroed pages, shared with children, from memory of @node where there is NUMA; -1: anywhere. */
static __h_unused void *h_alloc_on(size_t size, int node)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		h_bail("mmap of %zu bytes: %s", size, strerror(errno));
	if (node >= 0 && h_nnodes > 1) {
		unsigned long mask = 1ul << node;

		if (syscall(SYS_mbind, p, size, H_MPOL_BIND, &mask, 64ul, 0))
			h_bail("mbind to node %d: %s", node, strerror(errno));
	}
	for (size_t i = 0; i < size; i += H_PAGE)
		((volatile char *)p)[i] = 0;
	return p;
}

static __h_unused void *h_alloc(size_t size)
{
	return h_alloc_on(size, -1);
}

/* --- random numbers --------------------------------------------------- */

struct h_rng {
	uint64_t s;
};

static inline uint64_t h_rand(struct h_rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* A generator of its own for stream @stream of this run's seed. */
static __h_unused struct h_rng h_rng(uint64_t stream)
{
	struct h_rng r = { h_seed ^ (stream * 0xd1342543de82ef95ull) };

	h_rand(&r);
	return r;
}

/* --- waiting ---------------------------------------------------------- */

/*
 * One step of a wait on memory, @i counted up by the loop: only PAUSE at first;
 * later let others run, who may be the ones waited for (threads may outnumber
 * CPUs, vCPUs may outnumber cores).
 */
static inline void h_relax(unsigned int i)
{
	if (i < 4096)
		h_pause();
	else
		sched_yield();
}

/* A barrier in shared memory; no system call unless the wait is long. */
struct h_barrier {
	_Alignas(H_LINE) _Atomic unsigned int waiting;
	_Alignas(H_LINE) _Atomic unsigned int phase;
	unsigned int n;
};

static __h_unused void h_barrier_init(struct h_barrier *b, unsigned int n)
{
	atomic_init(&b->waiting, 0);
	atomic_init(&b->phase, 0);
	b->n = n;
}

static __h_unused void h_barrier_wait(struct h_barrier *b)
{
	unsigned int phase = atomic_load(&b->phase);

	if (atomic_fetch_add(&b->waiting, 1) + 1 == b->n) {
		atomic_store(&b->waiting, 0);
		atomic_store(&b->phase, phase + 1);
		return;
	}
	for (unsigned int i = 0; atomic_load_explicit(&b->phase, memory_order_acquire) == phase; i++)
		h_relax(i);
}

/* --- threads ---------------------------------------------------------- */

struct h_thread {
	void (*fn)(unsigned int i, void *arg);
	void *arg;
	unsigned int i;
	pthread_t t;
};

static __h_unused void *h_thread_main(void *p)
{
	struct h_thread *t = p;

	h_pin(h_cpu(t->i));
	t->fn(t->i, t->arg);
	return NULL;
}

/* Run fn(0..n-1, arg) in n threads, thread i on h_cpu(i), and wait for them all. */
static __h_unused void h_run(unsigned int n, void (*fn)(unsigned int i, void *arg), void *arg)
{
	struct h_thread *t = calloc(n, sizeof(*t));

	if (!t)
		h_bail("no memory for %u threads", n);
	for (unsigned int i = 0; i < n; i++) {
		t[i] = (struct h_thread){ .fn = fn, .arg = arg, .i = i };
		if (pthread_create(&t[i].t, NULL, h_thread_main, &t[i]))
			h_bail("cannot create thread %u", i);
	}
	for (unsigned int i = 0; i < n; i++)
		pthread_join(t[i].t, NULL);
	free(t);
}

/* First call of every main(). */
static __h_unused void h_init(int argc, char **argv)
{
	h_argc = argc;
	h_argv = argv;
	if (argc > (int)(sizeof(h_arg_used) / sizeof(h_arg_used[0])))
		h_bail("too many arguments");
	h_read_machine();
	h_seed = h_arg("seed", 1);
	h_secs = h_arg("secs", 60);
	h_slice(1);
}

#endif /* GUEST_HARNESS_H */
