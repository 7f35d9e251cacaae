// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Scheduling: a thread that moves from CPU to CPU keeps its registers (general,
 * SSE and where there is AVX), its thread-local data and what it wrote; threads
 * that share a CPU do not see each other's registers; the kernel's idea of where
 * it runs is right each time.
 *
 *   n=COUNT      moves and switches (200)
 *   broken=1     self-test: a register is changed on purpose; must be caught
 */
#include "harness.h"

#include <cpuid.h>

static uint64_t n_moves;
static bool broken, avx;
static __thread uint64_t tls[64];

struct regs {
	_Alignas(32) uint8_t v[16][32];
};

static void pattern(struct regs *r, uint64_t tag)
{
	struct h_rng rng = h_rng(tag);

	for (size_t i = 0; i < sizeof(r->v); i += 8) {
		uint64_t x = h_rand(&rng);

		memcpy((uint8_t *)r->v + i, &x, 8);
	}
}

/*
 * Load all vector registers and some general ones, make system call @nr(a, b,
 * c), store them again: the switch happens with the registers live.
 */
static long live_syscall(long nr, long a, long b, const void *c, const struct regs *in, struct regs *out,
			 uint64_t gin[4], uint64_t gout[4])
{
	register uint64_t r12 __asm__("r12") = gin[0], r13 __asm__("r13") = gin[1];
	register uint64_t r14 __asm__("r14") = gin[2], r15 __asm__("r15") = gin[3];
	long ret;

#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD(i) "vmovdqa " #i "*32(%[in]), %%ymm" #i "\n\t"
#define STORE(i) "vmovdqa %%ymm" #i ", " #i "*32(%[out])\n\t"
#define LOADX(i) "movdqa " #i "*32(%[in]), %%xmm" #i "\n\t"
#define STOREX(i) "movdqa %%xmm" #i ", " #i "*32(%[out])\n\t"
#define CLOBBER "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
	if (avx)
		__asm__ volatile(EACH(LOAD) "syscall\n\t" EACH(STORE) "vzeroupper"
			: "=a"(ret), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
			: "a"(nr), "D"(a), "S"(b), "d"(c), [in] "b"(in), [out] "r"(out) : CLOBBER);
	else
		__asm__ volatile(EACH(LOADX) "syscall\n\t" EACH(STOREX)
			: "=a"(ret), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
			: "a"(nr), "D"(a), "S"(b), "d"(c), [in] "b"(in), [out] "r"(out) : CLOBBER);
	gout[0] = r12;
	gout[1] = r13;
	gout[2] = r14;
	gout[3] = r15;
	return ret;
}

/* One live system call with a fresh pattern.  Returns false when a register changed. */
static bool registers_survive(uint64_t tag, long nr, long a, long b, const void *c)
{
	uint64_t gin[4] = { tag, ~tag, tag * 3, tag ^ 0x5555555555555555 }, gout[4];
	struct regs in, out;
	size_t width = avx ? 32 : 16;

	pattern(&in, tag);
	memset(&out, 0, sizeof(out));
	if (live_syscall(nr, a, b, c, &in, &out, gin, gout) < 0)
		return false;
	if (broken)
		out.v[7][3] ^= 1;
	for (int i = 0; i < 16; i++)
		if (memcmp(in.v[i], out.v[i], width))
			return false;
	return !memcmp(gin, gout, sizeof(gin));
}

static _Atomic uint64_t bad_regs, bad_tls, bad_place, moves, switches;

static bool tls_holds(uint64_t tag)
{
	for (int i = 0; i < 64; i++)
		if (tls[i] != tag + i)
			return false;
	return true;
}

static void tls_fill(uint64_t tag)
{
	for (int i = 0; i < 64; i++)
		tls[i] = tag + i;
}

/* Each thread goes round all CPUs, all at once, so that they also share CPUs. */
static void move(unsigned int i, void *arg)
{
	struct h_rng rng = h_rng(i);

	(void)arg;
	tls_fill(i);
	for (uint64_t k = 0; k < n_moves && h_time_left(); k++) {
		int cpu = h_cpu(k % 3 ? h_rand(&rng) % h_ncpus : k + i);
		uint64_t tag = (uint64_t)i << 32 | k;
		unsigned int at, node;
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (!registers_survive(tag, SYS_sched_setaffinity, 0, sizeof(set), &set))
			atomic_fetch_add(&bad_regs, 1);
		syscall(SYS_getcpu, &at, &node, NULL);
		if ((int)at != cpu || (int)node != h_node(cpu) || sched_getcpu() != cpu)
			atomic_fetch_add(&bad_place, 1);
		if (!tls_holds(tag - k == (uint64_t)i << 32 ? (k ? tag - 1 : i) : 0))
			atomic_fetch_add(&bad_tls, 1);
		tls_fill(tag);
		atomic_fetch_add(&moves, 1);
	}
}

/* Pairs of threads on one CPU take turns by sched_yield with registers live. */
static void share(unsigned int i, void *arg)
{
	(void)arg;
	h_pin(h_cpu(i / 2));
	tls_fill(i);
	for (uint64_t k = 0; k < n_moves && h_time_left(); k++) {
		if (!registers_survive((uint64_t)i << 40 | k, SYS_sched_yield, 0, 0, NULL))
			atomic_fetch_add(&bad_regs, 1);
		if (!tls_holds(i))
			atomic_fetch_add(&bad_tls, 1);
		atomic_fetch_add(&switches, 1);
	}
}

static bool os_has_avx(void)
{
	uint32_t a, b, c, d, lo, hi;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return false;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo & 6) == 6;
}

int main(int argc, char **argv)
{
	h_init(argc, argv);
	n_moves = h_arg("n", 200);
	broken = h_arg("broken", 0);
	h_args_end();
	avx = os_has_avx();

	h_run(2 * h_ncpus, move, NULL);
	if (broken) {
		h_ok(bad_regs == moves, "a changed register is caught in %llu of %llu moves",
		     (unsigned long long)bad_regs, (unsigned long long)moves);
		return h_done();
	}
	h_ok(moves && !bad_regs, "%s registers changed in %llu of %llu moves of %d threads", avx ? "AVX" : "SSE",
	     (unsigned long long)bad_regs, (unsigned long long)moves, 2 * h_ncpus);
	h_ok(!bad_tls, "thread-local data wrong after %llu moves", (unsigned long long)bad_tls);
	h_ok(!bad_place, "not on the CPU or node asked for after %llu moves", (unsigned long long)bad_place);
	bad_regs = bad_tls = 0;
	h_run(2 * h_ncpus, share, NULL);
	h_ok(switches && !bad_regs && !bad_tls, "%llu registers, %llu thread-local data wrong in %llu yields of pairs",
	     (unsigned long long)bad_regs, (unsigned long long)bad_tls, (unsigned long long)switches);
	return h_done();
}
