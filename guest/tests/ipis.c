// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Inter-processor interrupts as Linux uses them, and /proc/interrupts: each CPU
 * has timer interrupts; membarrier interrupts all CPUs that run the process;
 * a shoot-down reaches CPUs that have the page; a wake-up reaches an idle CPU.
 * membarrier is also tested for its effect: with it on the slow side, a fast
 * side without any fence is in order (store buffering must not be seen).
 *
 *   n=COUNT     of each (200)
 *   broken=1    self-test: no membarrier; must see store buffering
 */
#include "harness.h"

#include <linux/membarrier.h>

static uint64_t n_ops;
static bool broken;

/*
 * Sum of one line of /proc/interrupts, and each CPU's count; -1 when there is no such
 * line.  Columns are online CPUs in order.
 */
static int64_t interrupts(const char *name, uint64_t *each)
{
	static char buf[65536];
	int64_t sum = 0;
	char *p;
	int n = 0;

	if (h_read_file("/proc/interrupts", buf, sizeof(buf)) <= 0)
		return -1;
	for (p = buf; p; p = strchr(p, '\n')) {
		p += strspn(p, "\n ");
		if (strncmp(p, name, strlen(name)) || p[strlen(name)] != ':')
			continue;
		for (p += strlen(name) + 1;;) {
			char *end;
			uint64_t v = strtoull(p, &end, 10);

			if (end == p)
				break;
			if (each && n < H_MAX_CPUS)
				each[n] = v;
			n++;
			sum += v;
			p = end;
		}
		return sum;
	}
	return -1;
}

static void busy(unsigned int i, void *arg)
{
	uint64_t end = h_now_ns() + 300000000;

	(void)i;
	(void)arg;
	while (h_now_ns() < end)
		h_pause();
}

static void timer_counts(void)
{
	static uint64_t before[H_MAX_CPUS], after[H_MAX_CPUS];
	int online = sysconf(_SC_NPROCESSORS_ONLN), rose = 0;

	if (interrupts("LOC", before) < 0) {
		h_skip("LOC in /proc/interrupts", "this kernel has none");
		return;
	}
	h_run(h_ncpus, busy, NULL);
	interrupts("LOC", after);
	for (int i = 0; i < online; i++)
		rose += after[i] > before[i];
	h_ok(rose >= h_ncpus, "local timer interrupts rose on %d of %d busy CPUs", rose, h_ncpus);
}

struct shared {
	_Alignas(H_PAGE) volatile uint64_t x;
	_Alignas(H_PAGE) volatile uint64_t y;
	_Alignas(H_PAGE) struct h_barrier barrier;
	_Alignas(H_PAGE) uint64_t r[2];
	_Atomic bool stop;
	uint64_t both, rounds;
	int64_t before;
	_Alignas(H_PAGE) _Atomic uint64_t turn;
};

/* SB with an asymmetric fence: thread 1 has only a compiler barrier. */
static void asymmetric(unsigned int i, void *arg)
{
	struct shared *s = arg;
	struct h_rng rng = h_rng(i);

	do {
		h_barrier_wait(&s->barrier);
		for (uint64_t d = h_rand(&rng) & (i ? 1023 : 63); d; d--)
			__asm__ volatile("" ::: "memory");
		if (i == 0) {
			s->x = 1;
			if (!broken && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
				h_bail("membarrier: %s", strerror(errno));
			__asm__ volatile("" ::: "memory");
			s->r[0] = s->y;
		} else {
			s->y = 1;
			__asm__ volatile("" ::: "memory");
			s->r[1] = s->x;
		}
		h_barrier_wait(&s->barrier);
		if (i == 0) {
			s->both += !s->r[0] && !s->r[1];
			s->x = s->y = 0;
			if (++s->rounds == n_ops || !h_time_left())
				atomic_store(&s->stop, true);
		}
		h_barrier_wait(&s->barrier);
	} while (!atomic_load(&s->stop));
}

static char *victim;
static volatile char sink;

/*
 * All have the page in their TLBs; thread 0 changes its protection.  It begins when
 * the others run and goes on until one was interrupted: an idle CPU needs no
 * interrupt, and where CPUs take turns it could be done before another runs.
 */
static void shootdowns(unsigned int i, void *arg)
{
	struct shared *s = arg;

	sink = *(volatile char *)victim;
	h_barrier_wait(&s->barrier);
	if (i == 0) {
		while (atomic_load(&s->turn) < (uint64_t)h_ncpus - 1 && h_time_left())
			sched_yield();
		do {
			for (uint64_t k = 0; k < n_ops && h_time_left(); k++) {
				mprotect(victim, H_PAGE, k & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
				s->rounds++;
			}
		} while (s->before >= 0 && interrupts("TLB", NULL) == s->before && h_time_left());
		atomic_store(&s->stop, true);
		return;
	}
	atomic_fetch_add(&s->turn, 1);
	while (!atomic_load(&s->stop))
		sink = *(volatile char *)victim;
}

/* Sleepers are woken across CPUs. */
static void wakeups(unsigned int i, void *arg)
{
	struct shared *s = arg;

	for (uint64_t k = 0; k < n_ops; k++) {
		uint64_t v;

		while ((v = atomic_load(&s->turn)) % 2 != i)
			syscall(SYS_futex, &s->turn, 0 /* FUTEX_WAIT */, (uint32_t)v, NULL, NULL, 0);
		atomic_store(&s->turn, v + 1);
		syscall(SYS_futex, &s->turn, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	struct shared *s;
	int64_t before, after;

	h_init(argc, argv);
	n_ops = h_arg("n", 200);
	broken = h_arg("broken", 0);
	h_args_end();
	s = h_alloc(sizeof(*s));
	if (h_ncpus < 2) {
		h_skip("IPIs", "needs 2 CPUs");
		return h_done();
	}

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		h_bail("membarrier: %s", strerror(errno));
	h_slice(2);
	h_barrier_init(&s->barrier, 2);
	before = interrupts("CAL", NULL);
	h_run(2, asymmetric, s);
	after = interrupts("CAL", NULL);
	h_note("membarrier rounds=%llu call_interrupts=%llu", (unsigned long long)s->rounds,
	       (unsigned long long)(after - before));
	if (broken) {
		h_ok(s->both > 0, "without membarrier store buffering is seen: %llu of %llu",
		     (unsigned long long)s->both, (unsigned long long)s->rounds);
		return h_done();
	}
	h_ok(s->rounds && !s->both, "membarrier: forbidden=%llu of %llu", (unsigned long long)s->both,
	     (unsigned long long)s->rounds);

	h_slice(2);
	victim = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (victim == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	*victim = 1;
	atomic_store(&s->stop, false);
	s->rounds = 0;
	h_barrier_init(&s->barrier, h_ncpus);
	s->before = interrupts("TLB", NULL);
	h_run(h_ncpus, shootdowns, s);
	after = interrupts("TLB", NULL);
	if (after >= 0)
		h_ok(after > s->before, "%lld shoot-down interrupts in %llu changes",
		     (long long)(after - s->before), (unsigned long long)s->rounds);
	else
		h_skip("shoot-down interrupts", "this kernel counts none");

	atomic_store(&s->turn, 0);
	h_run(2, wakeups, s);
	h_ok(atomic_load(&s->turn) == 2 * n_ops, "%llu of %llu wake-ups across CPUs",
	     (unsigned long long)atomic_load(&s->turn), (unsigned long long)(2 * n_ops));
	timer_counts();
	return h_done();
}
