// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Accesses that do not fit a page, a line or their own alignment, between CPUs
 * of different nodes.  What the architecture promises:
 *
 *   - an aligned access, and any that lies within an aligned quadword, is done
 *     at once: no reader sees half of it;
 *   - a locked instruction is atomic wherever it lies, across two pages too;
 *   - a store that crosses pages is whole before any later store is seen, and
 *     so are string stores.
 *
 *   n=COUNT     rounds of each (500)
 *   broken=1    self-test: the count across pages is not locked; must lose
 */
#include "harness.h"

#include <signal.h>

static uint64_t n_ops;
static bool broken;

struct shared {
	struct h_barrier barrier;
	_Alignas(H_PAGE) uint8_t word[H_PAGE];
	uint8_t two[2 * H_PAGE];	/* the second page is homed elsewhere */
	_Atomic uint64_t flag;
	_Atomic int done;
	_Atomic uint64_t torn, seen;
};

static unsigned int offset, size;

/* All bytes of a value are the same number. */
static uint64_t same(uint64_t v)
{
	return 0x0101010101010101ull * (v & 0xff);
}

static void store(void *p, unsigned int bytes, uint64_t v)
{
	switch (bytes) {
	case 2: __asm__ volatile("movw %w1, %0" : "=m"(*(uint16_t *)p) : "r"(v) : "memory"); break;
	case 4: __asm__ volatile("movl %k1, %0" : "=m"(*(uint32_t *)p) : "r"(v) : "memory"); break;
	case 8: __asm__ volatile("movq %1, %0" : "=m"(*(uint64_t *)p) : "r"(v) : "memory"); break;
	}
}

static uint64_t load(void *p, unsigned int bytes)
{
	uint64_t v = 0;

	switch (bytes) {
	case 2: __asm__ volatile("movzwl %1, %k0" : "=r"(v) : "m"(*(uint16_t *)p) : "memory"); break;
	case 4: __asm__ volatile("movl %1, %k0" : "=r"(v) : "m"(*(uint32_t *)p) : "memory"); break;
	case 8: __asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(uint64_t *)p) : "memory"); break;
	}
	return v;
}

static void tear(unsigned int i, void *arg)
{
	struct shared *s = arg;
	uint64_t mask = size == 8 ? ~0ull : (1ull << (8 * size)) - 1, last = 0;

	h_barrier_wait(&s->barrier);
	if (i == 0) {
		for (uint64_t k = 1; k <= n_ops * 64; k++)
			store(s->word + offset, size, same(k));
		atomic_store(&s->done, 1);
		return;
	}
	do {
		for (int k = 0; k < 64; k++) {
			uint64_t v = load(s->word + offset, size);

			if (v != (same(v) & mask))
				atomic_fetch_add(&s->torn, 1);
			if (v != last)
				atomic_fetch_add(&s->seen, 1);
			last = v;
		}
	} while (!atomic_load(&s->done));
}

static void tearing(struct shared *s)
{
	static const struct { unsigned int offset, size; } at[] = {
		{ 0, 2 }, { 1, 2 }, { 3, 2 }, { 5, 2 }, { 0, 4 }, { 1, 4 }, { 2, 4 }, { 3, 4 }, { 0, 8 },
		{ 56, 8 }, { H_PAGE - 8, 8 }, { H_PAGE - 5, 4 },
	};
	uint64_t torn = 0, seen = 0;

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		offset = at[i].offset;
		size = at[i].size;
		atomic_store(&s->torn, 0);
		atomic_store(&s->done, 0);
		memset(s->word, 0, H_PAGE);
		h_run(h_ncpus, tear, s);
		if (s->torn)
			h_note("%u bytes at %u: %llu torn", size, offset, (unsigned long long)s->torn);
		torn += s->torn;
	}
	seen = s->seen;
	h_ok(!torn, "%llu torn loads within a quadword, %llu changes seen", (unsigned long long)torn,
	     (unsigned long long)seen);
}

static void count(unsigned int i, void *arg)
{
	struct shared *s = arg;
	uint64_t *p = (uint64_t *)(s->two + H_PAGE - offset);

	(void)i;
	h_barrier_wait(&s->barrier);
	for (uint64_t k = 0; k < n_ops; k++) {
		/* 0x100000001: carries and both halves in one addition */
		uint64_t v = 0x100000001ull;

		if (broken)
			__asm__ volatile("addq %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
		else if (k & 1)
			__asm__ volatile("lock; addq %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
		else
			__asm__ volatile("lock; xaddq %1, %0" : "+m"(*p), "+r"(v) :: "memory", "cc");
	}
}

static void split_locks(struct shared *s)
{
	for (offset = 1; offset < 8; offset++) {
		uint64_t v, want = n_ops * h_ncpus * 0x100000001ull;

		memset(s->two, 0, sizeof(s->two));
		h_run(h_ncpus, count, s);
		memcpy(&v, s->two + H_PAGE - offset, 8);
		if (broken)
			h_ok(v != want, "unlocked additions across a page boundary are lost");
		else
			h_ok(v == want, "locked additions %u bytes before a page's end: %#llx, expected %#llx",
			     offset, (unsigned long long)v, (unsigned long long)want);
		if (broken)
			break;
	}
}

/* Thread 0 writes across the boundary, then the flag; the others see the flag, then all of the write. */
static void publish(unsigned int i, void *arg)
{
	struct shared *s = arg;
	uint8_t *p = s->two + H_PAGE - offset, buf[64];

	h_barrier_wait(&s->barrier);
	for (uint64_t k = 1; k <= n_ops; k++) {
		if (i == 0) {
			if (size == 8) {
				store(p, 8, same(k));
			} else {
				void *d = p;
				uint64_t c = size;

				__asm__ volatile("rep stosb" : "+D"(d), "+c"(c) : "a"((uint8_t)k) : "memory");
			}
			/* A plain store: on x86 it is seen after those before it. */
			atomic_store_explicit(&s->flag, k, memory_order_release);
			/* Readers have looked? Every eighth time wait, else run ahead. */
			if (k % 8 == 0)
				h_barrier_wait(&s->barrier);
			continue;
		}
		if (k % 8)
			continue;
		for (unsigned int spin = 0;; spin++) {
			uint64_t f = atomic_load_explicit(&s->flag, memory_order_acquire);

			memcpy(buf, p, size);
			/* Older than the flag is wrong; newer is not. */
			for (unsigned int b = 0; b < size; b++)
				if ((uint8_t)(buf[b] - (uint8_t)f) > 8)
					atomic_fetch_add(&s->torn, 1);
			atomic_fetch_add(&s->seen, 1);
			if (f == k)
				break;
			h_relax(spin);
		}
		h_barrier_wait(&s->barrier);
	}
}

static void publishing(struct shared *s)
{
	for (int string = 0; string < 2; string++) {
		uint64_t torn = 0, seen = 0;

		size = string ? 40 : 8;
		for (unsigned int o = 1; o < size; o += string ? 13 : 1) {
			offset = o;
			memset(s->two, 0, sizeof(s->two));
			atomic_store(&s->flag, 0);
			atomic_store(&s->torn, 0);
			atomic_store(&s->seen, 0);
			h_run(h_ncpus, publish, s);
			torn += s->torn;
			seen += s->seen;
		}
		h_ok(!torn, "%s across pages, then a flag: %llu stale bytes in %llu looks",
		     string ? "string stores" : "stores", (unsigned long long)torn,
		     (unsigned long long)seen);
	}
}

static void no_split(int sig)
{
	static const char msg[] = "ok 1 - split locks # SKIP this kernel forbids them\n1..1\n";

	(void)sig;
	(void)!write(1, msg, sizeof(msg) - 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct shared *s;
	char *base;

	h_init(argc, argv);
	n_ops = h_arg("n", 500) / 8 * 8;
	broken = h_arg("broken", 0);
	h_args_end();
	if (!n_ops)
		h_bail("n= must be at least 8");
	if (h_ncpus < 2) {
		h_skip("split accesses", "needs 2 CPUs");
		return h_done();
	}
	/* The first page of two[] on one node, the second on another. */
	base = h_alloc_on(sizeof(*s) + H_PAGE, h_nodes[0]);
	s = (struct shared *)base;
	if (h_nnodes > 1) {
		unsigned long mask = 1ul << h_nodes[1];

		if (syscall(SYS_mbind, s->two + H_PAGE, H_PAGE, H_MPOL_BIND, &mask, 64ul, 2 /* MPOL_MF_MOVE */))
			h_bail("mbind: %s", strerror(errno));
	}
	h_barrier_init(&s->barrier, h_ncpus);
	if (!broken) {
		tearing(s);
		publishing(s);
	}
	signal(SIGBUS, no_split);
	split_locks(s);
	return h_done();
}
