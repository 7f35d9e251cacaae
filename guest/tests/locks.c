// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Locks between CPUs of different nodes: a ticket spin lock, futexes (ping-pong
 * of two threads that sleep in turn), pthread mutex, condition variable,
 * semaphore and read-write lock.  Each guards data that a broken lock would
 * leave inconsistent.
 *
 *   n=COUNT       acquisitions by each thread and kind of lock (200)
 *   broken=1      self-test: the ticket lock does not wait; must be caught
 */
#include "harness.h"

#include <linux/futex.h>
#include <semaphore.h>

struct shared {
	struct h_barrier barrier;
	_Alignas(H_PAGE) _Atomic uint32_t next;		/* ticket lock */
	_Alignas(H_LINE) _Atomic uint32_t owner;
	_Alignas(H_PAGE) uint64_t a;			/* guarded: always equal outside the lock */
	char far[H_PAGE];
	uint64_t b;
	_Atomic uint64_t violations;
	_Alignas(H_PAGE) _Atomic uint32_t word;		/* futex ping-pong */
	_Alignas(H_PAGE) pthread_mutex_t mutex;
	pthread_cond_t cond;
	uint64_t turn;
	_Alignas(H_PAGE) sem_t items, slots;
	uint64_t ring[16];
	_Atomic uint64_t produced, consumed, sum_in, sum_out;
	_Alignas(H_PAGE) pthread_rwlock_t rw;
};

static uint64_t n_ops;
static bool broken;

static void critical(struct shared *s, bool write)
{
	volatile uint64_t *a = &s->a, *b = &s->b;

	if (*a != *b)
		atomic_fetch_add(&s->violations, 1);
	if (write) {
		*a = *a + 1;
		*b = *b + 1;
	}
}

static void ticket(unsigned int i, void *arg)
{
	struct shared *s = arg;

	(void)i;
	h_barrier_wait(&s->barrier);
	for (uint64_t k = 0; k < n_ops; k++) {
		uint32_t mine = atomic_fetch_add(&s->next, 1);

		for (unsigned int spin = 0; !broken && atomic_load_explicit(&s->owner, memory_order_acquire) != mine; spin++)
			h_relax(spin);
		critical(s, true);
		atomic_store_explicit(&s->owner, mine + 1, memory_order_release);
	}
}

static void mutex(unsigned int i, void *arg)
{
	struct shared *s = arg;

	(void)i;
	h_barrier_wait(&s->barrier);
	for (uint64_t k = 0; k < n_ops; k++) {
		pthread_mutex_lock(&s->mutex);
		critical(s, true);
		pthread_mutex_unlock(&s->mutex);
	}
}

static void rwlock(unsigned int i, void *arg)
{
	struct shared *s = arg;

	h_barrier_wait(&s->barrier);
	for (uint64_t k = 0; k < n_ops; k++) {
		bool write = (k + i) % 4 == 0;

		if (write)
			pthread_rwlock_wrlock(&s->rw);
		else
			pthread_rwlock_rdlock(&s->rw);
		critical(s, write);
		pthread_rwlock_unlock(&s->rw);
	}
}

/* Each thread in its turn, which the one before it hands on. */
static void cond(unsigned int i, void *arg)
{
	struct shared *s = arg;

	for (uint64_t k = 0; k < n_ops; k++) {
		pthread_mutex_lock(&s->mutex);
		while (s->turn % h_ncpus != i)
			pthread_cond_wait(&s->cond, &s->mutex);
		s->turn++;
		critical(s, true);
		pthread_cond_broadcast(&s->cond);
		pthread_mutex_unlock(&s->mutex);
	}
}

/* Thread 0 and 1 set the word to the other's number and sleep until it is theirs again. */
static void futex(unsigned int i, void *arg)
{
	struct shared *s = arg;

	for (uint64_t k = 0; k < n_ops; k++) {
		while (atomic_load(&s->word) != i)
			syscall(SYS_futex, &s->word, FUTEX_WAIT, 1 - i, NULL, NULL, 0);
		critical(s, true);
		atomic_store(&s->word, 1 - i);
		syscall(SYS_futex, &s->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

/* Even threads produce, odd ones consume, through a ring between semaphores. */
static void semaphore(unsigned int i, void *arg)
{
	struct shared *s = arg;

	for (uint64_t k = 0; k < n_ops; k++) {
		uint64_t v;

		if (i % 2 == 0) {
			v = i * n_ops + k + 1;
			sem_wait(&s->slots);
			s->ring[atomic_fetch_add(&s->produced, 1) % 16] = v;
			atomic_fetch_add(&s->sum_in, v);
			sem_post(&s->items);
		} else {
			sem_wait(&s->items);
			v = s->ring[atomic_fetch_add(&s->consumed, 1) % 16];
			atomic_fetch_add(&s->sum_out, v);
			sem_post(&s->slots);
		}
	}
}

static void one(const char *name, struct shared *s, unsigned int threads,
		void (*fn)(unsigned int, void *), uint64_t expected)
{
	uint64_t start = h_now_ns(), ns;

	s->a = s->b = 0;
	atomic_store(&s->violations, 0);
	h_barrier_init(&s->barrier, threads);
	h_run(threads, fn, s);
	ns = h_now_ns() - start;
	h_note("%s threads=%u acquisitions=%llu us_each=%.1f", name, threads,
	       (unsigned long long)(threads * n_ops), ns / 1e3 / (threads * n_ops));
	if (broken)
		h_ok(s->violations || s->a != expected || s->b != expected,
		     "%s without waiting is caught: %llu of %llu, %llu violations", name,
		     (unsigned long long)s->a, (unsigned long long)expected,
		     (unsigned long long)s->violations);
	else
		h_ok(!s->violations && s->a == expected && s->b == expected,
		     "%s: %llu of %llu, %llu violations", name, (unsigned long long)s->a,
		     (unsigned long long)expected, (unsigned long long)s->violations);
}

int main(int argc, char **argv)
{
	uint64_t writes = 0;
	struct shared *s;

	h_init(argc, argv);
	n_ops = h_arg("n", 200);
	broken = h_arg("broken", 0);
	h_args_end();
	s = h_alloc_on(sizeof(*s), h_nodes[h_nnodes - 1]);

	one("ticket lock", s, h_ncpus, ticket, h_ncpus * n_ops);
	if (broken)
		return h_done();
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->cond, NULL);
	pthread_rwlock_init(&s->rw, NULL);
	one("mutex", s, h_ncpus, mutex, h_ncpus * n_ops);
	for (int i = 0; i < h_ncpus; i++)
		for (uint64_t k = 0; k < n_ops; k++)
			writes += (k + i) % 4 == 0;
	one("read-write lock", s, h_ncpus, rwlock, writes);
	one("condition variable", s, h_ncpus, cond, h_ncpus * n_ops);
	if (h_ncpus < 2) {
		h_skip("futex ping-pong", "needs 2 CPUs");
		h_skip("semaphores", "needs 2 CPUs");
		return h_done();
	}
	one("futex ping-pong", s, 2, futex, 2 * n_ops);

	sem_init(&s->items, 0, 0);
	/* One slot for each thread in flight, so that a taken slot is a free one. */
	sem_init(&s->slots, 0, 1);
	h_run(2, semaphore, s);
	h_ok(s->sum_in == s->sum_out && s->sum_in == n_ops * (n_ops + 1) / 2,
	     "semaphores: sum %llu came out of sum %llu", (unsigned long long)s->sum_out,
	     (unsigned long long)s->sum_in);
	return h_done();
}
