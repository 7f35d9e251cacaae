// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Debugging: single steps through instructions of all kinds, executed or
 * emulated, with the shadow of a stack load and of software interrupts;
 * breakpoints on code and data by address, length and kind; DR4 to DR7.  (The
 * image "exceptions" has the simplest of each.)
 */
#include "bare.h"

#define TF	0x100ull
#define RF	0x10000ull
#define BD	(1u << 13)
#define BS	(1u << 14)
#define DR6	0xffff0ff0ul
#define DR7	0x400ul
#define DE	(1ull << 3)

#define SET_DR(n, v)	__asm__ volatile("mov %0, %%dr" #n :: "r"((uint64_t)(v)) : "memory")
#define GET_DR(n)	({ uint64_t v_; __asm__ volatile("mov %%dr" #n ", %0" : "=r"(v_)); v_; })

#define MAX 64
static volatile uint64_t rip[MAX], dr6[MAX], dr7[MAX];
static volatile unsigned int nr;

static void on_db(struct frame *f)
{
	if (nr < MAX) {
		dr6[nr] = GET_DR(6);
		dr7[nr] = GET_DR(7);
		rip[nr++] = f->rip;
	} else {
		f->rflags &= ~TF;
	}
	SET_DR(6, DR6);
	if (!(f->rflags & TF))
		f->rflags |= RF;
}

/*
 * Each label is where a step must end; R8 is the local APIC.  There is none
 * behind the load of SS, nor behind INT, nor behind its handler's IRET.
 */
#define NR_STORE 6
__asm__(".pushsection .text\n"
	"steps:	pushq	%rbx\n"
	"	pushfq\n"
	"	orq	$0x100, (%rsp)\n"
	"	popfq\n"
	"	nop\n"
	"10:	xorl	%eax, %eax\n"
	"11:	cpuid\n"
	"12:	outb	%al, $0x80\n"
	"13:	inb	$0x80, %al\n"
	"14:	movl	0x30(%r8), %eax\n"
	"15:	movl	$0, 0x310(%r8)\n"		/* step NR_STORE */
	"16:	movl	$0x1b, %ecx\n"
	"17:	rdmsr\n"
	"18:	movl	%ss, %eax\n"
	"19:	movl	%eax, %ss\n"
	"	nop\n"
	"20:	pushfq\n"
	"21:	popfq\n"
	"22:	jmp	23f\n"
	"	nop\n"
	"23:	movq	%cr0, %rax\n"
	"24:	movq	%cr4, %rax\n"
	"25:	movq	%rax, %cr4\n"
	"26:	int	$0x91\n"
	"	nop\n"
	"27:	movl	$3, %ecx\n"
	"28:	movq	%rsp, %rsi\n"
	"29:	lodsb\n"
	"30:	pushfq\n"
	"31:	andq	$~0x100, (%rsp)\n"
	"32:	popfq\n"
	"33:	nop\n"
	"	popq	%rbx\n"
	"	ret\n"
	".balign 8\n"
	"step_ends: .quad 10b, 11b, 12b, 13b, 14b, 15b, 16b, 17b, 18b, 19b, 20b, 21b, 22b, 23b, 24b, 25b, 26b\n"
	"	.quad 27b, 28b, 29b, 30b, 31b, 32b, 33b\n"
	"step_ends_end:\n"
	".popsection");
extern const uint64_t step_ends[], step_ends_end[];
extern const uint8_t steps[];

static volatile unsigned int soft;

static void on_soft(struct frame *f)
{
	soft = f->rflags & TF ? 1 : 2;
}

static void single_steps(void)
{
	unsigned int n = step_ends_end - step_ends, wrong = 0, good = 0, lost = 0;
	uint64_t src = (uint64_t)steps, dst, count = 4, start;
	static uint8_t buf[16];

	set_handler(0x91, on_soft);
	nr = soft = 0;
	SET_DR(6, DR6);
	__asm__ volatile("movq %0, %%r8; call *%1" :: "r"((uint64_t)platform.lapic), "r"(steps)
			 : "rax", "rcx", "rdx", "rsi", "r8", "memory", "cc");
	for (unsigned int i = 0; i < n && i < nr; i++) {
		/* Stock KVM (6.1) makes no #DB of a store to a device. */
		if (i == NR_STORE && rip[i] == step_ends[i + 1] && !cmdline_has("all"))
			lost = 1;
		if (i + lost < n && rip[i] == step_ends[i + lost])
			continue;
		if (!wrong++)
			note("step %u ended at %lx, expected %lx", i, rip[i], step_ends[i]);
	}
	ok(nr + lost == n && !wrong, "%u single steps, expected %u, %u at the wrong place", nr, n - lost, wrong);
	for (unsigned int i = 0; i < nr; i++)
		good += (dr6[i] & 0xe00f) == BS;
	ok(good == nr, "DR6 says single step, and nothing else, in %u of %u", good, nr);
	ok(soft == 1, "a software interrupt's frame has TF, its handler is not stepped");

	/* One step an iteration. */
	nr = 0;
	dst = (uint64_t)buf;
	__asm__ volatile("leaq 1f(%%rip), %3\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n1:\trep movsb\n\t"
			 "pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq"
			 : "+S"(src), "+D"(dst), "+c"(count), "=&a"(start) :: "memory", "cc");
	good = 0;
	for (unsigned int i = 0; i < 4; i++)
		good += rip[i] == start + (i == 3 ? 2 : 0);
	ok(good == 4 && nr == 7 && !memcmp(buf, steps, 4), "REP MOVSB of 4: %u steps in it of %u", good, nr);
}

static void with_faults(void)
{
	struct trap t;

	nr = 0;
	t = TRY("pushfq; orq $0x100, (%%rsp); popfq; ud2", "i"(0));
	ok(t.vector == 6 && !nr, "a step onto UD2 is #UD: exception %lu after %u steps", t.vector, nr);
	nr = 0;
	t = TRY("pushfq; orq $0x100, (%%rsp); popfq; nop; movl (%1), %%eax", "r"(1ull << 62));
	ok(t.vector == 13 && nr == 1, "a step, then #GP: exception %lu after %u steps", t.vector, nr);
	SET_DR(6, DR6);
}

static void registers(void)
{
	uint64_t cr4 = READ_CR(4);
	struct trap t;

	SET_DR(0, 0x123456789abc);
	SET_DR(3, 0xffff800000001234);
	ok(GET_DR(0) == 0x123456789abc && GET_DR(3) == 0xffff800000001234, "DR0 and DR3 hold 64 bits");
	SET_DR(6, 0);
	ok(GET_DR(6) == DR6, "DR6 of 0 is %lx", GET_DR(6));
	SET_DR(6, DR6 | BS | 5);
	ok(GET_DR(6) == (DR6 | BS | 5), "DR6 keeps what is written: %lx", GET_DR(6));
	SET_DR(6, DR6);
	SET_DR(7, 0);
	ok(GET_DR(7) == DR7, "DR7 of 0 is %lx", GET_DR(7));
	WRITE_CR(4, cr4 & ~DE);
	t = TRY("mov %%dr4, %%rax; mov %%rax, %%dr5", "i"(0));
	ok(t.vector == NO_TRAP, "DR4 and DR5 without CR4.DE: exception %lu", t.vector);
	SET_DR(7, 0);
	WRITE_CR(4, cr4 | DE);
	t = TRY("mov %%dr4, %%rax", "i"(0));
	ok(t.vector == 6, "with it: exception %lu", t.vector);
	WRITE_CR(4, cr4);
	if (is_tcg()) {
		skip("upper bits of DR6 and DR7", "QEMU's TCG does not check them");
	} else {
		t = TRY("mov %1, %%dr6", "r"(1ull << 32));
		ok(t.vector == 13 && !t.error, "an upper bit of DR6: exception %lu", t.vector);
		t = TRY("mov %1, %%dr7", "r"(1ull << 40));
		ok(t.vector == 13 && !t.error, "of DR7: exception %lu", t.vector);
	}
	SET_DR(0, 0);
	SET_DR(3, 0);
}

/* DR7.GD: the next access to a debug register is #DB, before it happens. */
static void guarded(void)
{
	uint64_t at;

	nr = 0;
	SET_DR(1, 0x1111);
	SET_DR(6, DR6);
	SET_DR(7, DR7 | 1 << 13);
	/* The handler may use the registers, and this goes on behind it. */
	__asm__ volatile("leaq 1f(%%rip), %0\n1:\tmov %1, %%dr1" : "=&r"(at) : "r"(0x2222ul) : "memory");
	if (!nr && is_tcg_cpu()) {
		skip("DR7.GD", "neither QEMU's emulated CPU nor stock KVM on it has it");
		SET_DR(7, DR7);
	} else {
		ok(nr == 1 && rip[0] == at && (dr6[0] & 0xe00f) == BD && dr7[0] == DR7 && GET_DR(1) == 0x2222,
		   "DR7.GD: %u exceptions, DR6 %lx, DR7 %lx, then DR1 %lx", nr, dr6[0], dr7[0], GET_DR(1));
	}
	SET_DR(1, 0);
}

static uint64_t watched[4] __attribute__((aligned(32)));

/* One breakpoint in DR2: these accesses make @want #DB, which name it. */
#define HITS(what, want, kind, len, insn) do {					\
	nr = 0;									\
	SET_DR(6, DR6);								\
	SET_DR(2, &watched[1]);							\
	SET_DR(7, DR7 | 2 << 4 | ((kind) | (len) << 2) << 24);			\
	__asm__ volatile(insn :: "r"(watched) : "rax", "memory", "cc");		\
	SET_DR(7, DR7);								\
	ok(nr == (want) && (!nr || (dr6[0] & 0xe00f) == 4), "on data: %s: %u exceptions, DR6 %lx", what, nr, \
	   nr ? dr6[0] : 0);							\
} while (0)

#define ON_WRITE	1
#define ON_ACCESS	3
#define LEN1		0ul
#define LEN2		1ul
#define LEN8		2ul
#define LEN4		3ul

static void data(void)
{
	HITS("8 bytes written", 1, ON_WRITE, LEN8, "movq $1, 8(%0)");
	HITS("the last of them written", 1, ON_WRITE, LEN8, "movb $1, 15(%0)");
	HITS("their neighbours written", 0, ON_WRITE, LEN8, "movb $1, 16(%0); movb $1, 7(%0)");
	HITS("a store across the beginning of 4", 1, ON_WRITE, LEN4, "movq $1, 4(%0)");
	HITS("a store behind them", 0, ON_WRITE, LEN4, "movl $1, 12(%0)");
	HITS("one for writes, read", 0, ON_WRITE, LEN1, "movl 8(%0), %%eax");
	HITS("one for both, read", 1, ON_ACCESS, LEN2, "movl 8(%0), %%eax");
	HITS("read and written in one", 1, ON_ACCESS, LEN2, "incw 8(%0)");
}

static void code(void)
{
	uint64_t at;

	nr = 0;
	SET_DR(6, DR6);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tmov %0, %%dr0\n\tmov %1, %%dr7\n\tnop\n1:\tnop\n\tmov %2, %%dr7"
			 : "=&r"(at) : "r"(DR7 | 1), "r"(DR7) : "memory");
	ok(nr == 1 && rip[0] == at && (dr6[0] & 0xe00f) == 1, "on code: %u exceptions, at %lx, expected %lx, DR6 %lx", nr,
	   rip[0], at, dr6[0]);
	SET_DR(0, 0);
}

void test(void)
{
	set_handler(1, on_db);
	single_steps();
	with_faults();
	registers();
	guarded();
	if (is_tcg_cpu() && !is_tcg()) {
		skip("breakpoints on data", "QEMU's VMRUN arms none");
		skip("a breakpoint on code", "QEMU's VMRUN arms none");
	} else {
		data();
		code();
	}
	set_handler(1, NULL);
}
