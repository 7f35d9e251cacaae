// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stale translations.  Threads of one process on all CPUs write to a page
 * while thread 0 takes the page away from them; from the moment its system call
 * has returned, no CPU may write to the old page any more:
 *
 *   mprotect(PROT_READ), mprotect(PROT_NONE), munmap of a file's page, munmap of
 *   anonymous memory whose frame is used again, mremap, fork (copy on write).
 *
 * Then the other way round, a page replaced under readers: whoever knows of the
 * new one must not read the old one.  At last random mmap, munmap, mprotect,
 * mremap and madvise by all threads in one address space, contents checked.
 *
 *   n=ROUNDS      of each kind (20); churn does 4 times as many steps per CPU
 *   only=KIND     one kind alone
 *   broken=1      self-test: the page is not taken away; must be caught
 */
#include "harness.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

#define STUCK_S 20
#define WORDS (H_PAGE / 8)

static __thread sigjmp_buf trap;
static __thread volatile bool armed;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (armed) {
		armed = false;
		siglongjmp(trap, 1);
	}
	h_line("Bail out! ", "signal %d at %p outside a trapped access", sig, si->si_addr);
	_exit(2);
}

static bool try_write(volatile uint64_t *p, uint64_t v)
{
	if (sigsetjmp(trap, 0))
		return false;
	armed = true;
	*p = v;
	armed = false;
	return true;
}

static bool try_read(volatile uint64_t *p, uint64_t *v)
{
	if (sigsetjmp(trap, 0))
		return false;
	armed = true;
	*v = *p;
	armed = false;
	return true;
}

/* --- taking a page away from its writers --------------------------------- */

enum kind { READ_ONLY, NO_ACCESS, UNMAP_FILE, UNMAP_REUSE, MOVE, FORK, KINDS };
static const char *const kind_name[KINDS] = {
	"mprotect-read", "mprotect-none", "munmap-file", "munmap-reuse", "mremap", "fork",
};

struct writer {
	_Alignas(H_LINE) _Atomic uint64_t written;	/* last value stored without a trap */
	_Atomic uint64_t trapped;			/* round whose end it has seen */
};

static struct {
	_Alignas(H_LINE) _Atomic uint64_t round;
	_Atomic(volatile uint64_t *) page;
	_Atomic bool stop;
	_Alignas(H_LINE) _Atomic bool hold;		/* writers are to stay away, without a trap */
	struct writer w[H_MAX_CPUS];
} *sh;

static enum kind kind;
static uint64_t n_rounds, rounds_done, caught;
static bool broken;
static int file;

static void writer(unsigned int i)
{
	struct writer *w = &sh->w[i];
	uint64_t round = 0, k = 0;

	for (;;) {
		volatile uint64_t *p;

		for (unsigned int spin = 0; atomic_load(&sh->round) == round; spin++) {
			if (atomic_load(&sh->stop))
				return;
			h_relax(spin);
		}
		round = atomic_load(&sh->round);
		p = atomic_load(&sh->page);
		/* A word of one's own; its last value is known to nobody else. */
		while (!atomic_load_explicit(&sh->hold, memory_order_relaxed) && try_write(p + i * 8, ++k)) {
			atomic_store_explicit(&w->written, k, memory_order_release);
			for (unsigned int d = 0; d < (k & 15); d++)
				h_pause();
		}
		atomic_store(&w->trapped, round);
	}
}

static bool wait_writers(uint64_t round, const uint64_t *before)
{
	uint64_t end = h_now_ns() + (broken && !before ? 200000000ull : STUCK_S * 1000000000ull);

	for (int i = 1; i < h_ncpus; i++) {
		struct writer *w = &sh->w[i];

		for (unsigned int spin = 0;; spin++) {
			if (before ? atomic_load(&w->written) > before[i] : atomic_load(&w->trapped) == round)
				break;
			if (spin % 1024 == 1023 && h_now_ns() > end)
				return false;
			h_relax(spin);
		}
	}
	return true;
}

/* The forked child: what it got must stand still while the parent's threads go on writing. */
static int child_watch(volatile uint64_t *p)
{
	uint64_t first[H_MAX_CPUS], end = h_now_ns() + 5000000;

	for (int i = 1; i < h_ncpus; i++)
		first[i] = p[i * 8];
	while (h_now_ns() < end)
		for (int i = 1; i < h_ncpus; i++)
			if (p[i * 8] != first[i])
				return 1;
	return 0;
}

/* Returns false when something was wrong. */
static bool take_away(uint64_t round)
{
	uint64_t before[H_MAX_CPUS], snap[H_MAX_CPUS];
	volatile uint64_t *page, *view, *reuse = NULL;
	bool shared = kind != UNMAP_REUSE && kind != FORK, right = true;
	enum { REUSED = 16 };
	int status = 0;

	page = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
		    shared ? file : -1, 0);
	view = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (page == MAP_FAILED || view == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	for (int i = 1; i < h_ncpus; i++)
		before[i] = atomic_load(&sh->w[i].written);
	atomic_store(&sh->hold, false);
	atomic_store(&sh->page, page);
	atomic_store(&sh->round, round);
	/* Everybody writes: their translations are warm. */
	if (!wait_writers(round, before)) {
		h_note("%s: a writer did not begin", kind_name[kind]);
		atomic_store(&sh->hold, true);
		wait_writers(round, NULL);
		return false;
	}

	switch (broken ? KINDS : kind) {
	case READ_ONLY:
		mprotect((void *)page, H_PAGE, PROT_READ);
		break;
	case NO_ACCESS:
		mprotect((void *)page, H_PAGE, PROT_NONE);
		break;
	case UNMAP_FILE:
		munmap((void *)page, H_PAGE);
		break;
	case UNMAP_REUSE:
		munmap((void *)page, H_PAGE);
		reuse = mmap(NULL, REUSED * H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (reuse == MAP_FAILED)
			h_bail("mmap: %s", strerror(errno));
		for (unsigned int i = 0; i < REUSED * WORDS; i++)
			reuse[i] = ~(round << 16 | i);
		break;
	case MOVE:
		/* The old place stays empty: the new one was reserved before. */
		view = mmap(NULL, H_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mremap((void *)page, H_PAGE, H_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)view) != view)
			h_bail("mremap: %s", strerror(errno));
		break;
	case FORK: {
		pid_t pid = fork();

		if (!pid)
			_exit(child_watch(page));
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			h_bail("fork: %s", strerror(errno));
		if (status) {
			h_note("fork: the child saw the parent's later writes (status %#x)", status);
			right = false;
		}
		atomic_store(&sh->hold, true);
		break;
	}
	case KINDS:
		break;
	}

	if (shared)
		for (int i = 1; i < h_ncpus; i++)
			snap[i] = view[i * 8];
	if (!wait_writers(round, NULL)) {
		if (!broken)
			h_note("%s: a writer was never stopped", kind_name[kind]);
		right = false;
		atomic_store(&sh->hold, true);
		wait_writers(round, NULL);
	}
	for (int i = 1; i < h_ncpus && shared; i++) {
		uint64_t now = view[i * 8], last = atomic_load(&sh->w[i].written);

		if (now == snap[i] && now == last)
			continue;
		if (!broken)
			h_note("%s: CPU %d wrote after the page was taken away: %llu then %llu, last %llu",
			       kind_name[kind], h_cpu(i), (unsigned long long)snap[i],
			       (unsigned long long)now, (unsigned long long)last);
		right = false;
	}
	for (unsigned int i = 0; reuse && i < REUSED * WORDS; i++)
		if (reuse[i] != ~(round << 16 | i)) {
			h_note("munmap-reuse: word %u of the new pages is %#llx", i, (unsigned long long)reuse[i]);
			right = false;
			break;
		}
	if (reuse)
		munmap((void *)reuse, REUSED * H_PAGE);
	munmap((void *)view, H_PAGE);
	munmap((void *)page, H_PAGE);
	return right;
}

static void taking(unsigned int i, void *arg)
{
	(void)arg;
	if (i) {
		writer(i);
		return;
	}
	for (uint64_t r = 1; r <= n_rounds && h_time_left(); r++) {
		caught += !take_away(r);
		rounds_done++;
	}
	atomic_store(&sh->stop, true);
}

static void take(enum kind k)
{
	if (h_ncpus < 2) {
		h_skip(kind_name[k], "needs 2 CPUs");
		return;
	}
	kind = k;
	rounds_done = caught = 0;
	memset(sh, 0, sizeof(*sh));
	h_run(h_ncpus, taking, NULL);
	if (broken)
		h_ok(caught == rounds_done, "%s left out is caught in %llu of %llu rounds", kind_name[k],
		     (unsigned long long)caught, (unsigned long long)rounds_done);
	else
		h_ok(rounds_done && !caught, "%s: stale=%llu of %llu rounds with %d writers", kind_name[k],
		     (unsigned long long)caught, (unsigned long long)rounds_done, h_ncpus - 1);
}

/* --- replacing a page under its readers ----------------------------------- */

static _Atomic uint64_t generation, old_reads, reads;

static void replacing(unsigned int i, void *arg)
{
	volatile uint64_t *page = arg;
	uint64_t seen;

	if (i) {
		while (!atomic_load(&sh->stop)) {
			uint64_t g = atomic_load(&generation), v;

			/* Between two mappings there is none; the next look will do. */
			if (!try_read(page + i, &v))
				continue;
			if (v < g)
				atomic_fetch_add(&old_reads, 1);
			atomic_fetch_add(&reads, 1);
			h_pause();
		}
		return;
	}
	for (uint64_t r = 1; r <= n_rounds * 4 && h_time_left(); r++) {
		uint64_t *next = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (next == MAP_FAILED)
			h_bail("mmap: %s", strerror(errno));
		for (unsigned int w = 0; w < WORDS; w++)
			next[w] = r;
		if (mremap(next, H_PAGE, H_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)page) == MAP_FAILED)
			h_bail("mremap: %s", strerror(errno));
		if (!broken)
			atomic_store(&generation, r);
		else
			atomic_store(&generation, r + 1);
		rounds_done = r;
		/* Somebody has looked at this one. */
		seen = atomic_load(&reads);
		for (unsigned int spin = 0; atomic_load(&reads) < seen + h_ncpus && h_time_left(); spin++)
			h_relax(spin);
	}
	atomic_store(&sh->stop, true);
}

static void replace(void)
{
	void *page = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		h_bail("mmap: %s", strerror(errno));
	if (h_ncpus < 2) {
		h_skip("replaced page", "needs 2 CPUs");
		return;
	}
	memset(sh, 0, sizeof(*sh));
	rounds_done = 0;
	h_run(h_ncpus, replacing, page);
	h_ok(rounds_done && reads && (broken ? old_reads > 0 : !old_reads), "replaced page: %llu old of %llu reads in %llu rounds",
	     (unsigned long long)old_reads, (unsigned long long)reads, (unsigned long long)rounds_done);
	munmap(page, H_PAGE);
}

/* --- churn ------------------------------------------------------------------ */

#define REGIONS 8
#define REGION_PAGES 16

struct region {
	uint64_t *p;
	unsigned int pages;
	bool writable;
	uint64_t tag[REGION_PAGES];	/* what each page's words hold besides their index; 0: zeroes */
};

static _Atomic uint64_t churn_bad, churn_steps;

static void fill(struct region *r, unsigned int page, uint64_t tag)
{
	for (unsigned int w = 0; w < WORDS; w += 37)
		r->p[page * WORDS + w] = tag + w;
	r->tag[page] = tag;
}

static bool intact(const struct region *r, unsigned int page)
{
	for (unsigned int w = 0; w < WORDS; w += 37)
		if (((volatile uint64_t *)r->p)[page * WORDS + w] != (r->tag[page] ? r->tag[page] + w : 0))
			return false;
	return true;
}

static void churn(unsigned int i, void *arg)
{
	struct region regions[REGIONS] = { 0 };
	struct h_rng rng = h_rng(1000 + i);
	uint64_t tag = (uint64_t)(i + 1) << 48;

	(void)arg;
	for (uint64_t k = 0; k < n_rounds * 4 && h_time_left(); k++) {
		struct region *r = &regions[h_rand(&rng) % REGIONS];
		unsigned int page = r->p ? h_rand(&rng) % r->pages : 0;
		void *q;

		atomic_fetch_add(&churn_steps, 1);
		if (!r->p) {
			r->pages = 1 + h_rand(&rng) % REGION_PAGES;
			r->p = mmap(NULL, r->pages * H_PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (r->p == MAP_FAILED)
				h_bail("mmap: %s", strerror(errno));
			r->writable = true;
			memset(r->tag, 0, sizeof(r->tag));
			for (unsigned int n = 0; n < r->pages; n++)
				if (h_rand(&rng) & 1)
					fill(r, n, tag += 1 << 16);
			continue;
		}
		if (!intact(r, page)) {
			atomic_fetch_add(&churn_bad, 1);
			h_note("churn: CPU %d: page %u of %p holds %#llx, not tag %#llx", h_cpu(i), page,
			       (void *)r->p, (unsigned long long)r->p[page * WORDS],
			       (unsigned long long)r->tag[page]);
			return;
		}
		switch (h_rand(&rng) % 6) {
		case 0:
			munmap(r->p, r->pages * H_PAGE);
			r->p = NULL;
			break;
		case 1:
			r->writable = !r->writable;
			mprotect(r->p, r->pages * H_PAGE, PROT_READ | (r->writable ? PROT_WRITE : 0));
			if (!r->writable && try_write(r->p + page * WORDS, ~0ull)) {
				atomic_fetch_add(&churn_bad, 1);
				h_note("churn: CPU %d wrote to a read-only page", h_cpu(i));
			}
			break;
		case 2:
			q = mremap(r->p, r->pages * H_PAGE, r->pages * H_PAGE, MREMAP_MAYMOVE);
			if (q == MAP_FAILED)
				h_bail("mremap: %s", strerror(errno));
			r->p = q;
			break;
		case 3:
			madvise(r->p + page * WORDS, H_PAGE, MADV_DONTNEED);
			r->tag[page] = 0;
			break;
		default:
			if (r->writable)
				fill(r, page, tag += 1 << 16);
		}
	}
	for (unsigned int n = 0; n < REGIONS; n++) {
		struct region *r = &regions[n];

		for (unsigned int page = 0; r->p && page < r->pages; page++)
			if (!intact(r, page))
				atomic_fetch_add(&churn_bad, 1);
		if (r->p)
			munmap(r->p, r->pages * H_PAGE);
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	const char *only;

	h_init(argc, argv);
	n_rounds = h_arg("n", 20);
	only = h_arg_str("only", NULL);
	broken = h_arg("broken", 0);
	h_args_end();
	if (h_ncpus * 8 > (int)WORDS)
		h_bail("more CPUs than words in a page");
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sh = h_alloc(sizeof(*sh));
	file = memfd_create("vmchurn", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, H_PAGE))
		h_bail("memfd: %s", strerror(errno));

	for (enum kind k = 0; k < KINDS; k++) {
		if ((only && strcmp(only, kind_name[k])) || (broken && (k == FORK || k == UNMAP_REUSE)))
			continue;
		h_slice(only ? 1 : KINDS + 2);
		take(k);
	}
	if (!only || !strcmp(only, "replace")) {
		h_slice(only ? 1 : KINDS + 2);
		replace();
	}
	if (!broken && (!only || !strcmp(only, "churn"))) {
		h_slice(only ? 1 : KINDS + 2);
		h_run(h_ncpus, churn, NULL);
		h_ok(!churn_bad, "churn: %llu wrong pages in %llu steps", (unsigned long long)churn_bad,
		     (unsigned long long)churn_steps);
	}
	return h_done();
}
