// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What "make demo" shows inside the guest: the machine CPU by CPU, then work
 * that all CPUs share, each with a result that is checked: n queens, a prime
 * sieve, a matrix product; at last what sharing costs within a node and across.
 *
 *   queens=N    board size (10)
 *   sieve=N     primes below N (2000000)
 *   matrix=N    N x N matrices of 64-bit integers (96)
 */
#include "harness.h"

#include <cpuid.h>

static uint64_t queens_n, sieve_n, matrix_n;
static uint64_t share[H_MAX_CPUS];
static _Atomic uint64_t next_job;
static struct h_barrier *start_line;	/* nobody is done before all have begun */

static uint32_t apic_id(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	return b >> 24;
}

static uint32_t apic[H_MAX_CPUS];

static void who(unsigned int i, void *arg)
{
	(void)arg;
	apic[i] = apic_id();
}

static void show_machine(void)
{
	h_run(h_ncpus, who, NULL);
	h_note("this machine: %d CPUs on %d NUMA nodes", h_ncpus, h_nnodes);
	for (int cpu = 0; cpu < H_MAX_CPUS; cpu++)
		for (int i = 0; i < h_ncpus; i++)
			if (h_cpus[i] == cpu)
				h_note("  CPU %d  node %d  APIC id %u", cpu, h_node(cpu), apic[i]);
}

static void show_shares(const char *what, const char *unit, uint64_t start)
{
	char text[512];
	int len = 0;

	for (int i = 0; i < h_ncpus && len < 440; i++)
		len += snprintf(text + len, sizeof(text) - len, "  CPU %d (node %d): %llu", h_cpu(i), h_node(h_cpu(i)),
				(unsigned long long)share[i]);
	h_note("%s: %.2f s; %s by%s", what, (h_now_ns() - start) / 1e9, unit, text);
	memset(share, 0, sizeof(share));
	atomic_store(&next_job, 0);
}

/* --- n queens: a job is a placement of the first two queens --- */

static _Atomic uint64_t solutions;

static uint64_t place(unsigned int row, uint32_t cols, uint32_t d1, uint32_t d2)
{
	uint32_t free = ~(cols | d1 | d2) & ((1u << queens_n) - 1);
	uint64_t n = 0;

	if (row == queens_n)
		return 1;
	while (free) {
		uint32_t bit = free & -free;

		free ^= bit;
		n += place(row + 1, cols | bit, (d1 | bit) << 1, (d2 | bit) >> 1);
	}
	return n;
}

static void queens(unsigned int i, void *arg)
{
	uint64_t job, found = 0;

	(void)arg;
	h_barrier_wait(start_line);
	while ((job = atomic_fetch_add(&next_job, 1)) < queens_n * queens_n) {
		uint32_t a = 1u << job / queens_n, b = 1u << job % queens_n;

		if (!(b & (a | a << 1 | a >> 1)))
			found += place(2, a | b, ((a << 1) | b) << 1, ((a >> 1) | b) >> 1);
		share[i]++;
	}
	atomic_fetch_add(&solutions, found);
}

static void show_queens(void)
{
	static const uint64_t known[] = { 1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596 };
	uint64_t start = h_now_ns();

	if (queens_n < 4 || queens_n >= sizeof(known) / sizeof(known[0]))
		h_bail("queens= from 4 to %zu", sizeof(known) / sizeof(known[0]) - 1);
	h_run(h_ncpus, queens, NULL);
	show_shares("queens", "boards begun", start);
	h_ok(solutions == known[queens_n], "%llu queens on a board: %llu solutions, known %llu",
	     (unsigned long long)queens_n, (unsigned long long)solutions, (unsigned long long)known[queens_n]);
}

/* --- sieve: a job is a segment of 64 KiB numbers --- */

#define SEGMENT 65536

static uint8_t *composite;
static _Atomic uint64_t primes;

static void sieve(unsigned int i, void *arg)
{
	uint64_t job, found = 0;

	(void)arg;
	h_barrier_wait(start_line);
	while ((job = atomic_fetch_add(&next_job, 1)) * SEGMENT < sieve_n) {
		uint64_t first = job * SEGMENT, last = first + SEGMENT < sieve_n ? first + SEGMENT : sieve_n;

		for (uint64_t p = 2; p * p < last; p++) {
			uint64_t m = (first + p - 1) / p * p;

			for (m = m < p * p ? p * p : m; m < last; m += p)
				composite[m] = 1;
		}
		for (uint64_t n = first < 2 ? 2 : first; n < last; n++)
			found += !composite[n];
		share[i]++;
	}
	atomic_fetch_add(&primes, found);
}

static void show_sieve(void)
{
	uint64_t start = h_now_ns(), check = 0;

	composite = h_alloc(sieve_n + 1);
	h_run(h_ncpus, sieve, NULL);
	show_shares("sieve", "segments", start);
	/* By another way, one CPU: the count of what all CPUs left in memory. */
	for (uint64_t n = 2; n < sieve_n; n++)
		check += !composite[n];
	h_ok(primes == check && (sieve_n != 2000000 || primes == 148933), "primes below %llu: %llu, memory holds %llu",
	     (unsigned long long)sieve_n, (unsigned long long)primes, (unsigned long long)check);
	munmap(composite, sieve_n + 1);
}

/* --- matrix product, checked by Freivalds' method --- */

static uint64_t *ma, *mb, *mc;

static void product(unsigned int i, void *arg)
{
	uint64_t row;

	(void)arg;
	h_barrier_wait(start_line);
	while ((row = atomic_fetch_add(&next_job, 1)) < matrix_n) {
		for (uint64_t col = 0; col < matrix_n; col++) {
			uint64_t sum = 0;

			for (uint64_t k = 0; k < matrix_n; k++)
				sum += ma[row * matrix_n + k] * mb[k * matrix_n + col];
			mc[row * matrix_n + col] = sum;
		}
		share[i]++;
	}
}

static bool freivalds(struct h_rng *rng)
{
	uint64_t *v = calloc(3 * matrix_n, sizeof(*v)), *bv = v + matrix_n, *cv = bv + matrix_n;
	bool same = true;

	for (uint64_t i = 0; i < matrix_n; i++)
		v[i] = h_rand(rng);
	for (uint64_t i = 0; i < matrix_n; i++)
		for (uint64_t k = 0; k < matrix_n; k++) {
			bv[i] += mb[i * matrix_n + k] * v[k];
			cv[i] += mc[i * matrix_n + k] * v[k];
		}
	for (uint64_t i = 0; i < matrix_n; i++) {
		uint64_t abv = 0;

		for (uint64_t k = 0; k < matrix_n; k++)
			abv += ma[i * matrix_n + k] * bv[k];
		same &= abv == cv[i];
	}
	free(v);
	return same;
}

static void show_matrix(void)
{
	size_t size = matrix_n * matrix_n * sizeof(uint64_t);
	struct h_rng rng = h_rng(3);
	uint64_t start;
	bool right;

	ma = h_alloc(size);
	mb = h_alloc(size);
	mc = h_alloc(size);
	for (uint64_t i = 0; i < matrix_n * matrix_n; i++) {
		ma[i] = h_rand(&rng);
		mb[i] = h_rand(&rng);
	}
	start = h_now_ns();
	h_run(h_ncpus, product, NULL);
	show_shares("matrix", "rows", start);
	right = freivalds(&rng) && freivalds(&rng);
	mc[matrix_n * matrix_n / 2] ^= 1;
	h_ok(right && !freivalds(&rng), "product of %llu x %llu matrices is right", (unsigned long long)matrix_n,
	     (unsigned long long)matrix_n);
	munmap(ma, size);
	munmap(mb, size);
	munmap(mc, size);
}

/* --- what sharing costs --- */

static struct pair {
	int cpu[2];
	_Atomic uint64_t *turn;
	uint64_t rounds;
	double us;
} pair;

static void *bounce(void *arg)
{
	unsigned int me = (uintptr_t)arg;
	uint64_t start;

	h_pin(pair.cpu[me]);
	start = h_now_ns();
	for (uint64_t k = 0; k < pair.rounds; k++) {
		for (unsigned int spin = 0; atomic_load_explicit(pair.turn, memory_order_acquire) != 2 * k + me; spin++)
			h_relax(spin);
		atomic_store_explicit(pair.turn, 2 * k + me + 1, memory_order_release);
	}
	if (me)
		pair.us = (h_now_ns() - start) / 1e3 / pair.rounds;
	return NULL;
}

static void show_bounce(const char *what, int a, int b)
{
	pthread_t t[2];

	pair = (struct pair){ .cpu = { a, b }, .turn = h_alloc(H_PAGE), .rounds = 200 };
	for (uintptr_t i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, bounce, (void *)i))
			h_bail("cannot create a thread");
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	h_note("a line there and back %s, CPU %d and CPU %d: %.1f us", what, a, b, pair.us);
	h_ok(atomic_load(pair.turn) == 2 * pair.rounds, "shared memory %s", what);
	munmap((void *)pair.turn, H_PAGE);
}

static void show_copy(int from)
{
	size_t size = 1 << 20;
	char *src = h_alloc_on(size, from), *dst = malloc(size);
	uint64_t start;

	if (!dst)
		h_bail("no memory");
	memset(dst, 1, size);
	h_pin(h_cpu(0));
	start = h_now_ns();
	memcpy(dst, src, size);
	__asm__ volatile("" :: "r"(dst) : "memory");
	h_note("first read of 1 MiB on node %d by CPU %d (node %d): %.1f MiB/s", from, h_cpu(0), h_node(h_cpu(0)),
	       1e9 / (h_now_ns() - start));
	start = h_now_ns();
	for (int i = 0; i < 8; i++) {
		memcpy(dst, src, size);
		__asm__ volatile("" :: "r"(dst) : "memory");
	}
	h_note("read again: %.1f MiB/s", 8e9 / (h_now_ns() - start));
	h_unpin();
	free(dst);
	munmap(src, size);
}

int main(int argc, char **argv)
{
	h_init(argc, argv);
	queens_n = h_arg("queens", 10);
	sieve_n = h_arg("sieve", 2000000);
	matrix_n = h_arg("matrix", 96);
	h_args_end();
	start_line = h_alloc(sizeof(*start_line));
	h_barrier_init(start_line, h_ncpus);
	show_machine();
	show_queens();
	show_sieve();
	show_matrix();
	for (int i = 1; i < h_ncpus; i++)
		if (h_node(h_cpu(i)) == h_node(h_cpu(0))) {
			show_bounce("within a node", h_cpu(0), h_cpu(i));
			break;
		}
	if (h_nnodes > 1)
		show_bounce("across nodes", h_cpu(0), h_cpu(1));
	for (int i = 0; i < h_nnodes; i++)
		show_copy(h_nodes[i]);
	return h_done();
}
