// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a CPU keeps for itself, on each CPU of the machine: MSRs, control and
 * debug registers, descriptor-table registers, vector registers across exits
 * and halts, CPUID's dynamic bits, software interrupts, SWAPGS and RDTSCP.
 */
#include "bare.h"

static unsigned int cpu_nr;

/* A register that gives back what was written; restored after. */
static void msr(const char *name, uint32_t nr, uint64_t v)
{
	uint64_t old = rdmsr(nr), got;

	wrmsr(nr, v);
	got = rdmsr(nr);
	wrmsr(nr, old);
	ok(got == v, "CPU %u: %s gives back %lx, written %lx", cpu_nr, name, got, v);
}

static void msrs(void)
{
	uint32_t r[4];
	uint64_t gs;
	uint32_t aux;

	msr("STAR", MSR_STAR, 0x0023001800000000);
	msr("LSTAR", MSR_LSTAR, 0xffffffff81234560);
	msr("SFMASK", MSR_SFMASK, 0x47700);
	msr("FS base", MSR_FS_BASE, 0xffff888012345678);
	msr("kernel GS base", MSR_KERNEL_GS, 0x00007f0012345678);
	msr("SYSENTER CS", 0x174, 0x10);
	msr("SYSENTER RIP", 0x176, 0xffffffff81000000);
	msr("PAT", MSR_PAT, 0x0007040600070406);

	gs = rdmsr(MSR_GS_BASE);
	wrmsr(MSR_KERNEL_GS, gs);
	wrmsr(MSR_GS_BASE, 0x1234000);
	__asm__ volatile("swapgs");
	ok(rdmsr(MSR_GS_BASE) == gs && rdmsr(MSR_KERNEL_GS) == 0x1234000, "CPU %u: SWAPGS", cpu_nr);

	cpuid(0x80000001, 0, r);
	if (r[3] & 1 << 27) {
		wrmsr(MSR_TSC_AUX, 0x4200 + cpu_nr);
		__asm__ volatile("rdtscp" : "=c"(aux) :: "eax", "edx");
		ok(aux == 0x4200 + cpu_nr, "CPU %u: RDTSCP gives TSC_AUX %x", cpu_nr, aux);
	}
}

static void control(void)
{
	uint64_t v, cr4;
	uint32_t r[4];

	__asm__ volatile("mov %0, %%cr2" :: "r"(0x123456789a000ul + cpu_nr));
	ok(READ_CR(2) == 0x123456789a000ul + cpu_nr, "CPU %u: CR2 holds %lx", cpu_nr, READ_CR(2));
	__asm__ volatile("mov %1, %%cr8; mov %%cr8, %0; mov %2, %%cr8" : "=&r"(v) : "r"(7ul), "r"(0ul));
	ok(v == 7, "CPU %u: CR8 holds %lu", cpu_nr, v);
	WRITE_CR(0, READ_CR(0) | 8);
	__asm__ volatile("clts");
	ok(!(READ_CR(0) & 8), "CPU %u: CLTS", cpu_nr);
	__asm__ volatile("mov %1, %%dr1; mov %%dr1, %0; mov %2, %%dr1" : "=&r"(v) : "r"(0x1234567ul + cpu_nr), "r"(0ul));
	ok(v == 0x1234567 + cpu_nr, "CPU %u: DR1 holds %lx", cpu_nr, v);

	cpuid(1, 0, r);
	ok(r[1] >> 24 == this_cpu()->apic_id, "CPU %u: CPUID has APIC id %u", cpu_nr, r[1] >> 24);
	if (r[2] & 1 << 26) {
		cr4 = READ_CR(4);
		WRITE_CR(4, cr4 & ~(1ul << 18));
		cpuid(1, 0, r);
		v = r[2] >> 27 & 1;
		WRITE_CR(4, cr4 | 1 << 18);
		cpuid(1, 0, r);
		ok(!v && r[2] >> 27 & 1, "CPU %u: CPUID's OSXSAVE follows CR4", cpu_nr);
		ok(TRY("movl $2, %%eax; xsetbv", "c"(0), "d"(0)).vector == 13, "CPU %u: XCR0 without x87 is refused", cpu_nr);
		ok(TRY("movl $3, %%eax; xsetbv", "c"(0), "d"(0)).vector == NO_TRAP, "CPU %u: XCR0 with x87 and SSE", cpu_nr);
		WRITE_CR(4, cr4);
	}
}

static void tables(void)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) g, i, other, back;
	uint16_t tr;

	__asm__ volatile("sgdt %0; sidt %1; str %2" : "=m"(g), "=m"(i), "=r"(tr));
	other.limit = 0x123;
	other.base = 0x456789abc;
	__asm__ volatile("lidt %1; sidt %0; lidt %2" : "=m"(back) : "m"(other), "m"(i));
	ok(back.limit == 0x123 && back.base == 0x456789abc, "CPU %u: LIDT and SIDT agree", cpu_nr);
	ok(tr == SEL_TSS && g.limit == 0x57, "CPU %u: TR %x, GDT limit %x", cpu_nr, tr, g.limit);
}

static void vectors(void)
{
	static uint64_t in[32] __attribute__((aligned(16))), out[32] __attribute__((aligned(16)));
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < 32; i++)
		in[i] = 0x1111111111111111ul * (i + 1) ^ cpu_nr;
#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD(n) "movdqa " #n "*16(%0), %%xmm" #n "\n\t"
#define STORE(n) "movdqa %%xmm" #n ", " #n "*16(%1)\n\t"
	/* Exits of three kinds and time enough to be descheduled. */
	__asm__ volatile(EACH(LOAD)
			 "movl $200, %%esi\n"
			 "1:\txorl %%eax, %%eax; cpuid\n\t"
			 "movw $0x80, %%dx; outb %%al, %%dx\n\t"
			 "movl 0xfee00030, %%eax\n\t"
			 "decl %%esi; jnz 1b\n\t"
			 EACH(STORE) :: "r"(in), "r"(out) : "rax", "rbx", "rcx", "rdx", "rsi", "memory");
	for (unsigned int i = 0; i < 32; i++)
		wrong += in[i] != out[i];
	ok(!wrong, "CPU %u: SSE registers survive exits: %u wrong", cpu_nr, wrong);
}

static volatile unsigned int soft;

static void on_soft(struct frame *f)
{
	soft = f->vector;
}

static void interrupts(void)
{
	uint64_t flags;

	set_handler(0x90, on_soft);
	soft = 0;
	__asm__ volatile("int $0x90");
	ok(soft == 0x90, "CPU %u: INT 0x90 arrives as %x", cpu_nr, soft);
	set_handler(0x90, NULL);
	__asm__ volatile("cli; pushfq; orq $0x200, (%%rsp); popfq; pushfq; popq %0; cli" : "=r"(flags) :: "memory");
	ok(flags & 0x200, "CPU %u: POPF sets IF", cpu_nr);
}

static void copies(void)
{
	static uint8_t buf[3 * 4096] __attribute__((aligned(4096)));
	unsigned int wrong = 0;
	void *si, *di;
	uint64_t n;

	for (unsigned int i = 0; i < sizeof(buf); i++)
		buf[i] = i * 7 + cpu_nr;
	/* Overlapping, upwards, one byte on: the first byte fills all. */
	si = buf;
	di = buf + 1;
	n = 8191;
	__asm__ volatile("rep movsb" : "+S"(si), "+D"(di), "+c"(n) :: "memory");
	for (unsigned int i = 0; i < 8192; i++)
		wrong += buf[i] != (uint8_t)cpu_nr;
	ok(!wrong && !n && di == buf + 8192, "CPU %u: overlapping rep movsb: %u bytes wrong", cpu_nr, wrong);
	di = buf;
	n = 5000;
	__asm__ volatile("repe scasb" : "+D"(di), "+c"(n) : "a"((uint8_t)cpu_nr) : "cc");
	ok(!n, "CPU %u: repe scasb through them: %lu left", cpu_nr, n);
}

static void one(void *arg)
{
	(void)arg;
	cli();
	cpu_nr = this_cpu()->index;
	msrs();
	control();
	tables();
	vectors();
	interrupts();
	copies();
	sti();
}

void test(void)
{
	one(NULL);
	for (unsigned int i = 1; i < n_cpus; i++)
		if (!run_on(i, one, NULL))
			ok(false, "CPU %u does not answer", i);
}
