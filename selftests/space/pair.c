// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Coherence through the mappings of two to four hosts' spaces: values, atomics,
 * memory-order litmus tests, random stress.
 */
#include "space_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES	64UL

typedef _Atomic uint64_t word;

static void test_values(struct cluster *c)
{
	bool good = true;
	uint64_t v = 1;

	/* Everybody writes each page once and the others see it. */
	for (unsigned int home = 0; home < c->nr; home++)
		for (size_t page = 0; page < 4; page++)
			for (unsigned int w = 0; w < c->nr; w++, v++) {
				*(word *)at(c, w, home, page, 8 * w) = v;
				for (unsigned int r = 0; r < c->nr; r++)
					good &= *(word *)at(c, r, home, page, 8 * w) == v;
			}
	ok(good, "%u hosts: each sees what another wrote", c->nr);

	/* A whole page, and one word over a page boundary. */
	for (size_t i = 0; i < PAGE; i++)
		((uint8_t *)at(c, 1, 0, 10, 0))[i] = i * 7;
	for (size_t i = 0; i < PAGE; i++)
		good &= ((uint8_t *)at(c, 0, 0, 10, 0))[i] == (uint8_t)(i * 7);
	v = 0x1122334455667788;
	memcpy(at(c, 0, 0, 12, PAGE - 3), &v, sizeof(v));
	good &= !memcmp(at(c, 1, 0, 12, PAGE - 3), &v, sizeof(v));
	ok(good, "%u hosts: whole pages, and a word over a boundary", c->nr);
}

/* ------------------------------------------------------------ threads */

struct job {
	struct cluster *c;
	unsigned int node, id, loops;
	uint64_t seed, result, errors;
	pthread_t thread;
};

static void run_jobs(struct job *jobs, unsigned int nr, void *(*fn)(void *))
{
	for (unsigned int i = 0; i < nr; i++)
		if (pthread_create(&jobs[i].thread, NULL, fn, &jobs[i]))
			die("pthread_create");
	for (unsigned int i = 0; i < nr; i++)
		pthread_join(jobs[i].thread, NULL);
}

static void *count_up(void *arg)
{
	struct job *j = arg;
	word *ctr = at(j->c, j->node, 1, 20, 64);
	uint64_t last = 0, v;

	for (unsigned int i = 0; i < j->loops; i++) {
		v = atomic_fetch_add(ctr, 1) + 1;
		j->errors += v <= last;
		last = v;
	}
	return NULL;
}

static void test_atomics(struct cluster *c)
{
	struct job jobs[2 * MAX_NODES];
	const unsigned int loops = 400;
	uint64_t errors = 0;

	memset(jobs, 0, sizeof(jobs));
	for (unsigned int i = 0; i < 2 * c->nr; i++)
		jobs[i] = (struct job){ .c = c, .node = i % c->nr, .loops = loops };
	run_jobs(jobs, 2 * c->nr, count_up);
	for (unsigned int i = 0; i < 2 * c->nr; i++)
		errors += jobs[i].errors;
	ok(*(word *)at(c, 0, 1, 20, 64) == 2 * c->nr * loops && !errors,
	   "%u hosts: locked additions by two threads on each are exact", c->nr);
}

/* ------------------------------------------------------------- litmus */

/*
 * Each round both threads start together (a barrier in ordinary memory) on
 * fresh words of pages with different homes, and report what they read.
 */
struct litmus {
	struct cluster *c;
	pthread_barrier_t start, end;
	unsigned int rounds;
	uint64_t r[2];
	bool mp;
};

static struct litmus lit;

static void *litmus_thread(void *arg)
{
	const unsigned int me = (uintptr_t)arg;
	struct cluster *c = lit.c;

	for (unsigned int i = 0; i < lit.rounds; i++) {
		size_t off = 8 * (i % 500);
		volatile uint64_t *x = at(c, me, 0, 30 + i / 500 % 8, off);
		volatile uint64_t *y = at(c, me, 1, 30 + i / 500 % 8, off);
		uint64_t one = 1 + i / 4000;

		pthread_barrier_wait(&lit.start);
		if (lit.mp && !me) {
			*x = one;
			*y = one;
		} else if (lit.mp) {
			lit.r[0] = *y;
			lit.r[1] = *x;
		} else {
			*(me ? y : x) = one;
			atomic_thread_fence(memory_order_seq_cst);
			lit.r[me] = *(me ? x : y);
		}
		pthread_barrier_wait(&lit.end);
	}
	return NULL;
}

static unsigned int litmus_run(struct cluster *c, bool mp, unsigned int rounds)
{
	unsigned int forbidden = 0;
	pthread_t t[2];

	memset(c->node[0].mem + 30 * PAGE, 0, 8 * PAGE);
	memset(c->node[0].mem + (c->pages + 30) * PAGE, 0, 8 * PAGE);
	lit.c = c;
	lit.mp = mp;
	lit.rounds = rounds;
	pthread_barrier_init(&lit.start, NULL, 3);
	pthread_barrier_init(&lit.end, NULL, 3);
	for (uintptr_t i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, litmus_thread, (void *)i))
			die("pthread_create");
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t one = 1 + i / 4000;

		pthread_barrier_wait(&lit.start);
		pthread_barrier_wait(&lit.end);
		/* r[] is stable until the threads pass the next start with us */
		if (mp)
			forbidden += lit.r[0] == one && lit.r[1] != one;
		else
			forbidden += lit.r[0] != one && lit.r[1] != one;
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&lit.start);
	pthread_barrier_destroy(&lit.end);
	return forbidden;
}

static void test_litmus(struct cluster *c)
{
	ok(litmus_run(c, true, 400) == 0, "message passing: no flag without its data");
	ok(litmus_run(c, false, 400) == 0, "store buffering with fences: not both old");
}

/* A word that tells guest, host and place. */
static uint64_t tag(unsigned int guest, unsigned int home, size_t page)
{
	return (guest + 1) << 24 | home << 16 | page;
}

static void fill(struct cluster *c, unsigned int guest)
{
	for (unsigned int home = 0; home < 2; home++)
		for (size_t page = 0; page < PAGES; page++)
			for (size_t off = 0; off < PAGE; off += 512)
				*(word *)at(c, (home + page) & 1, home, page, off) =
					tag(guest, home, page);
}

/* Words that are not as @guest wrote them; 0: as in new memory. */
static unsigned int wrong_words(struct cluster *c, unsigned int guest, bool is_new)
{
	unsigned int wrong = 0;

	for (unsigned int node = 0; node < 2; node++)
		for (unsigned int home = 0; home < 2; home++)
			for (size_t page = 0; page < PAGES; page++)
				for (size_t off = 0; off < PAGE; off += 512)
					wrong += *(word *)at(c, node, home, page, off) !=
						 (is_new ? 0 : tag(guest, home, page));
	return wrong;
}

/* Two guests on the same two hosts, then a third in what one left behind. */
static void test_beside(void)
{
	struct cluster a, b, after;

	cluster_create(&a, "beside-a", 2, PAGES, JOIN_UNIX);
	cluster_create(&b, "beside-b", 2, PAGES, JOIN_TCP);
	fill(&a, 0);
	ok(!wrong_words(&b, 0, true), "another guest's pages are not seen");
	fill(&b, 1);
	ok(!wrong_words(&a, 0, false) && !wrong_words(&b, 1, false),
	   "two guests on two hosts keep what each wrote");
	cluster_destroy(&a);
	cluster_create(&after, "beside-a", 2, PAGES, JOIN_UNIX);
	ok(!wrong_words(&after, 0, true), "frames handed back come again as zeros");
	ok(!wrong_words(&b, 1, false), "... and the other guest lives on");
	cluster_destroy(&after);
	cluster_destroy(&b);
}

void pair_run(unsigned int nr, enum join join, const char *name)
{
	struct space_info info;
	struct cluster c;

	note("%u hosts over %s", nr, name);
	cluster_create(&c, "pair", nr, PAGES, join);
	test_values(&c);
	test_atomics(&c);
	test_litmus(&c);
	ok(space_info(c.node[0].name, &info) && info.links_up == c.nr - 1 && !info.state,
	   "all links are up");
	ok(spaces_dump() == c.nr, "all spaces are listed");
	cluster_destroy(&c);
}

void test_pair(void)
{
	pair_run(2, JOIN_UNIX, "unix");
	pair_run(2, JOIN_TCP, "tcp");
	pair_run(4, JOIN_TCP, "tcp");
	pair_run(2, JOIN_CONNS, "several connections");
	if (have_tls())
		pair_run(2, JOIN_TLS, "tcp with tls");
	else
		skip("2 hosts over tcp with tls", "no kernel TLS");
	test_beside();
	ok(spaces_dump() == 0, "no space is left");
}

/* ------------------------------------------------------------- stress */

#define STRESS_PAGES	8	/* of each home: few, so that they move */
#define STRESS_WORDS	32	/* in a page */

/*
 * Each word's upper half is the number of additions, its lower half their sum;
 * both only grow.  A reader that sees one shrink has seen a stale copy.
 */
static void *stress_thread(void *arg)
{
	static const uint64_t count_one = 1ULL << 40;
	struct job *j = arg;
	struct cluster *c = j->c;
	uint64_t *seen = calloc(c->nr * STRESS_PAGES * STRESS_WORDS, sizeof(*seen));

	if (!seen)
		die("calloc");
	for (unsigned int i = 0; i < j->loops; i++) {
		uint64_t r = rnd(&j->seed), v, add = r >> 40 & 0xff;
		unsigned int home = (r >> 8) % c->nr, page = (r >> 16) % STRESS_PAGES;
		unsigned int w = (r >> 24) % STRESS_WORDS;
		uint64_t *last = &seen[(home * STRESS_PAGES + page) * STRESS_WORDS + w];
		word *p = at(c, j->node, home, 40 + page, 128 * w);

		switch (r & 7) {
		case 0 ... 2:
			v = atomic_fetch_add(p, count_one + add) + count_one + add;
			j->result += count_one + add;
			break;
		case 3:
			/* drop the translation: the page itself stays where it is */
			madvise((void *)((uintptr_t)p & -PAGE), PAGE, MADV_DONTNEED);
			continue;
		default:
			v = atomic_load(p);
		}
		j->errors += v < *last;
		*last = v;
	}
	free(seen);
	return NULL;
}

uint64_t stress_run(unsigned int nr, unsigned int threads, unsigned int loops, enum join join)
{
	struct job jobs[4 * MAX_NODES];
	uint64_t want = 0, found = 0, errors = 0, polled = 0, begin;
	struct cluster c;

	memset(jobs, 0, sizeof(jobs));
	cluster_create(&c, "stress", nr, PAGES, join);
	begin = now_ns();
	for (unsigned int i = 0; i < nr * threads; i++)
		jobs[i] = (struct job){ .c = &c, .node = i % nr, .loops = loops,
					.seed = test_seed + i };
	run_jobs(jobs, nr * threads, stress_thread);
	for (unsigned int i = 0; i < nr * threads; i++) {
		want += jobs[i].result;
		errors += jobs[i].errors;
	}
	for (unsigned int n = 0; n < nr; n++) {
		found = 0;
		for (unsigned int home = 0; home < nr; home++)
			for (unsigned int page = 0; page < STRESS_PAGES; page++)
				for (unsigned int w = 0; w < STRESS_WORDS; w++)
					found += *(word *)at(&c, n, home, 40 + page, 128 * w);
		errors += found != want;
	}
	ok(!errors, "%u hosts, %u threads each: %llu additions, none lost, no stale read (%llu ms)",
	   nr, threads, (unsigned long long)(want >> 40),
	   (unsigned long long)(now_ns() - begin) / 1000000);
	for (unsigned int n = 0; n < nr; n++) {
		struct counters s;

		stats_read(c.node[n].name, &s);
		polled += counter(&s, "space.rx_polled");
		note("host %u: %llu mapping faults, %llu waits of %llu us, %llu without and %llu with sleep, %llu pages sent, %llu pinned",
		     n, (unsigned long long)counter(&s, "space.fault_mapping"),
		     (unsigned long long)counter(&s, "space.wait"),
		     (unsigned long long)(counter(&s, "space.wait_ns") / 1000 /
					  (counter(&s, "space.wait") ?: 1)),
		     (unsigned long long)counter(&s, "space.wait_polled"),
		     (unsigned long long)counter(&s, "space.wait_slept"),
		     (unsigned long long)counter(&s, "dsm.tx_page"),
		     (unsigned long long)counter(&s, "space.revoke_pinned"));
	}
	cluster_destroy(&c);
	return polled;
}

void test_stress(void)
{
	stress_run(2, 2, 2000, JOIN_TCP);
	stress_run(4, 2, 800, JOIN_UNIX);
	stress_run(3, 1, 2000, JOIN_TCP);
	stress_run(3, 2, 1000, JOIN_CONNS);
	ok(spaces_dump() == 0, "no space is left");
}
