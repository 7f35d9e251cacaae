// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Locked instructions on shared memory by all CPUs at once: nothing may be
 * lost, no value may be handed out twice.  1, 2, 4, 8 and 16 byte operands,
 * inc, add, xadd, cmpxchg, cmpxchg16b, bts/btr, xchg.
 *
 *   n=COUNT       operations of each CPU and kind (1000)
 *   plain=1       self-test: leave out the LOCK prefix; must lose counts
 */
#include "harness.h"

static uint64_t n_ops;
static bool plain;

struct shared {
	struct h_barrier barrier;
	_Alignas(H_PAGE) uint8_t c8;
	_Alignas(H_LINE) uint16_t c16;
	_Alignas(H_LINE) uint32_t c32;
	_Alignas(H_LINE) uint64_t c64;
	_Alignas(H_LINE) uint64_t cas8;		/* cmpxchg loops count here */
	_Alignas(H_LINE) uint64_t cas4;
	_Alignas(H_LINE) uint64_t cas2;
	_Alignas(H_LINE) uint64_t cas1;
	_Alignas(16) uint64_t wide[2];		/* cmpxchg16b: both halves are the same count */
	_Alignas(H_PAGE) uint64_t ticket;	/* xadd */
	_Alignas(H_PAGE) uint64_t bits;		/* bts/btr as a lock around the next */
	uint64_t guarded;
	uint64_t bit_busy;
	_Alignas(H_PAGE) uint64_t token;	/* xchg: tokens move about, none is lost */
	uint64_t token_sum[H_MAX_CPUS];
	uint64_t wide_torn;
	uint64_t rounds[H_MAX_CPUS];
	uint8_t *taken;				/* one per ticket */
};

#define LOCKED(insn, ...) do {					\
	if (plain)						\
		__asm__ volatile(insn __VA_ARGS__);		\
	else							\
		__asm__ volatile("lock; " insn __VA_ARGS__);	\
} while (0)

#define DEFINE_CAS(bits)						\
static void count_cas##bits(uint##bits##_t *p)				\
{									\
	uint##bits##_t old = *(volatile uint##bits##_t *)p, seen;	\
									\
	for (;; old = seen) {						\
		seen = old;						\
		LOCKED("cmpxchg %2, %1", : "+a"(seen), "+m"(*p)		\
			: "q"((uint##bits##_t)(old + 1)) : "memory");	\
		if (seen == old)					\
			return;						\
	}								\
}
DEFINE_CAS(8)
DEFINE_CAS(16)
DEFINE_CAS(32)
DEFINE_CAS(64)

/* Returns false when the halves differed: the 16 bytes were not one access. */
static bool count_cas128(uint64_t *p)
{
	uint64_t lo = ((volatile uint64_t *)p)[0], hi = ((volatile uint64_t *)p)[1];
	bool done;

	for (;;) {
		uint64_t new = lo + 1;

		LOCKED("cmpxchg16b %1", : "=@cce"(done), "+m"(*(__int128 *)p), "+a"(lo), "+d"(hi)
			: "b"(new), "c"(new) : "memory");
		if (done)
			return true;
		/* What a failed cmpxchg16b returns was read at once. */
		if (lo != hi)
			return false;
	}
}

static void work(unsigned int i, void *arg)
{
	struct shared *s = arg;
	struct h_rng rng = h_rng(i);
	uint64_t held = i + 1;

	h_barrier_wait(&s->barrier);
	for (uint64_t k = 0; k < n_ops && (k % 16 || h_time_left()); k++) {
		uint64_t t = 1;

		s->rounds[i]++;
		LOCKED("incb %0", : "+m"(s->c8) :: "memory");
		LOCKED("addw $1, %0", : "+m"(s->c16) :: "memory");
		LOCKED("incl %0", : "+m"(s->c32) :: "memory");
		LOCKED("addq $1, %0", : "+m"(s->c64) :: "memory");
		count_cas8((uint8_t *)&s->cas1);
		count_cas16((uint16_t *)&s->cas2);
		count_cas32((uint32_t *)&s->cas4);
		count_cas64(&s->cas8);
		if (!count_cas128(s->wide))
			__atomic_fetch_add(&s->wide_torn, 1, __ATOMIC_RELAXED);
		LOCKED("xaddq %0, %1", : "+r"(t), "+m"(s->ticket) :: "memory");
		if (t < n_ops * h_ncpus)
			__atomic_fetch_add(&s->taken[t], 1, __ATOMIC_RELAXED);
		if (!plain) {
			bool busy;

			for (unsigned int spin = 0;; spin++) {
				LOCKED("btsq $5, %1", : "=@ccc"(busy), "+m"(s->bits) :: "memory");
				if (!busy)
					break;
				h_relax(spin);
			}
			if (s->guarded++ != ((volatile struct shared *)s)->bit_busy++)
				__atomic_fetch_add(&s->wide_torn, 1, __ATOMIC_RELAXED);
			LOCKED("btrq $5, %0", : "+m"(s->bits) :: "memory");
		}
		__asm__ volatile("xchgq %0, %1" : "+r"(held), "+m"(s->token) :: "memory");
		for (uint64_t d = h_rand(&rng) & 31; d; d--)
			h_pause();
	}
	s->token_sum[i] = held;
}

int main(int argc, char **argv)
{
	uint64_t total = 0, sum, once = 0;
	struct shared *s;
	uint64_t start;

	h_init(argc, argv);
	n_ops = h_arg("n", 1000);
	plain = h_arg("plain", 0);
	h_args_end();

	s = h_alloc(sizeof(*s));
	s->taken = h_alloc(n_ops * h_ncpus + 1);
	h_barrier_init(&s->barrier, h_ncpus);
	start = h_now_ns();
	h_run(h_ncpus, work, s);
	for (int i = 0; i < h_ncpus; i++)
		total += s->rounds[i];
	h_note("cpus=%d operations=%llu seconds=%.3f", h_ncpus, (unsigned long long)total * 11,
	       (h_now_ns() - start) / 1e9);

	if (plain) {
		bool lost = s->c32 < total || s->c64 < total || s->ticket < total || s->cas8 < total;

		h_ok(lost, "without LOCK, counts are lost: %llu %u of %llu", (unsigned long long)s->c64,
		     s->c32, (unsigned long long)total);
		return h_done();
	}
#define CHECK(what, is, want) h_ok((uint64_t)(is) == (uint64_t)(want), "%s: %llu, expected %llu", what, \
				   (unsigned long long)(is), (unsigned long long)(want))
	CHECK("lock incb", s->c8, (uint8_t)total);
	CHECK("lock addw", s->c16, (uint16_t)total);
	CHECK("lock incl", s->c32, (uint32_t)total);
	CHECK("lock addq", s->c64, total);
	CHECK("lock cmpxchg 1 byte", s->cas1, (uint8_t)total);
	CHECK("lock cmpxchg 2 bytes", s->cas2, (uint16_t)total);
	CHECK("lock cmpxchg 4 bytes", s->cas4, (uint32_t)total);
	CHECK("lock cmpxchg 8 bytes", s->cas8, total);
	CHECK("lock cmpxchg16b, low half", s->wide[0], total);
	CHECK("lock cmpxchg16b, high half", s->wide[1], total);
	CHECK("lock xadd", s->ticket, total);
	for (uint64_t t = 0; t < total; t++)
		once += s->taken[t] == 1;
	CHECK("xadd values given to exactly one CPU", once, total);
	CHECK("count under a lock bts/btr lock", s->guarded, total);
	CHECK("torn 16-byte or unguarded accesses", s->wide_torn, 0);
	sum = s->token;
	for (int i = 0; i < h_ncpus; i++)
		sum += s->token_sum[i];
	CHECK("sum of the tokens moved by xchg", sum, (uint64_t)h_ncpus * (h_ncpus + 1) / 2);
	return h_done();
}
