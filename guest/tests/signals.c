// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Signals between threads on CPUs of different nodes: queued signals arrive
 * all, once each, in order; a thread that spins in user space is interrupted;
 * a thread that sleeps in the kernel is woken.
 *
 *   n=COUNT     signals from each thread (100)
 */
#include "harness.h"

#include <signal.h>

static uint64_t n_signals;
static pid_t tids[H_MAX_CPUS];
static struct h_barrier *barrier;

struct inbox {
	_Alignas(H_LINE) _Atomic uint64_t count;
	uint64_t next[H_MAX_CPUS];	/* value expected from each sender */
	uint64_t disorder;
	_Atomic uint64_t answer;
};

static struct inbox *inboxes;
static __thread struct inbox *mine;

static void on_queued(int sig, siginfo_t *si, void *uc)
{
	unsigned int from = si->si_value.sival_int >> 20, value = si->si_value.sival_int & 0xfffff;

	(void)sig;
	(void)uc;
	if (mine->next[from] != value)
		mine->disorder++;
	mine->next[from] = value + 1;
	atomic_fetch_add(&mine->count, 1);
}

static void on_poke(int sig)
{
	(void)sig;
	atomic_fetch_add(&mine->answer, 1);
}

static void queue_to(unsigned int to, unsigned int from, uint64_t value)
{
	siginfo_t si = { .si_code = SI_QUEUE };

	si.si_value.sival_int = from << 20 | value;
	while (syscall(SYS_rt_tgsigqueueinfo, getpid(), tids[to], SIGRTMIN, &si)) {
		if (errno != EAGAIN)
			h_bail("rt_tgsigqueueinfo: %s", strerror(errno));
		sched_yield();
	}
}

/* Everybody sends to everybody else. */
static void queued(unsigned int i, void *arg)
{
	(void)arg;
	mine = &inboxes[i];
	tids[i] = syscall(SYS_gettid);
	h_barrier_wait(barrier);
	for (uint64_t k = 0; k < n_signals; k++)
		for (int to = 0; to < h_ncpus; to++)
			if (to != (int)i)
				queue_to(to, i, k);
	for (unsigned int spin = 0; atomic_load(&mine->count) < n_signals * (h_ncpus - 1) && h_time_left(); spin++)
		h_relax(spin);
	h_barrier_wait(barrier);
}

static _Atomic bool stop;
static uint64_t poke_ns_sum, poke_ns_max, pokes;

/* Thread 0 pokes each of the others and waits for its handler to have run. */
static void poke(unsigned int i, void *arg)
{
	bool asleep = arg;

	mine = &inboxes[i];
	atomic_store(&mine->answer, 0);
	tids[i] = syscall(SYS_gettid);
	h_barrier_wait(barrier);
	if (i) {
		/* No system call while spinning: only an interrupt ends this in time. */
		while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
			if (asleep) {
				struct timespec ts = { .tv_sec = 100 };

				nanosleep(&ts, NULL);
			} else {
				h_pause();
			}
		}
		return;
	}
	for (uint64_t k = 0; k < n_signals && h_time_left(); k++) {
		unsigned int to = 1 + k % (h_ncpus - 1);
		uint64_t before = atomic_load(&inboxes[to].answer), start = h_now_ns(), ns;

		syscall(SYS_tgkill, getpid(), tids[to], SIGUSR1);
		for (unsigned int spin = 0; atomic_load(&inboxes[to].answer) == before && h_time_left(); spin++)
			h_relax(spin);
		if (atomic_load(&inboxes[to].answer) == before)
			break;
		ns = h_now_ns() - start;
		poke_ns_sum += ns;
		poke_ns_max = ns > poke_ns_max ? ns : poke_ns_max;
		pokes++;
	}
	atomic_store(&stop, true);
	for (int to = 1; to < h_ncpus; to++)
		syscall(SYS_tgkill, getpid(), tids[to], SIGUSR1);
}

static void poke_all(bool asleep)
{
	uint64_t wanted = n_signals;

	atomic_store(&stop, false);
	poke_ns_sum = poke_ns_max = pokes = 0;
	h_run(h_ncpus, poke, (void *)asleep);
	h_note("%s us_avg=%.1f us_max=%.1f", asleep ? "sleeping" : "spinning",
	       pokes ? poke_ns_sum / 1e3 / pokes : 0.0, poke_ns_max / 1e3);
	h_ok(pokes == wanted, "%llu of %llu signals interrupted a %s thread", (unsigned long long)pokes,
	     (unsigned long long)wanted, asleep ? "sleeping" : "spinning");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART };
	uint64_t count = 0, disorder = 0;

	h_init(argc, argv);
	n_signals = h_arg("n", 100);
	h_args_end();
	if (h_ncpus < 2) {
		h_skip("signals across CPUs", "needs 2 CPUs");
		return h_done();
	}
	if (n_signals > 0xfffff)
		h_bail("n= is at most %u", 0xfffff);
	inboxes = h_alloc(sizeof(*inboxes) * H_MAX_CPUS);
	barrier = h_alloc(sizeof(*barrier));
	h_barrier_init(barrier, h_ncpus);
	sigaction(SIGRTMIN, &sa, NULL);
	signal(SIGUSR1, on_poke);

	h_run(h_ncpus, queued, NULL);
	for (int i = 0; i < h_ncpus; i++) {
		count += inboxes[i].count;
		disorder += inboxes[i].disorder;
	}
	h_ok(count == n_signals * h_ncpus * (h_ncpus - 1), "queued signals: %llu of %llu arrived",
	     (unsigned long long)count, (unsigned long long)n_signals * h_ncpus * (h_ncpus - 1));
	h_ok(!disorder, "queued signals out of order: %llu", (unsigned long long)disorder);
	h_slice(1);
	poke_all(false);
	h_slice(1);
	poke_all(true);
	return h_done();
}
