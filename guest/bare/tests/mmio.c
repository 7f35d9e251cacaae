// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instruction forms on device memory, each checked for its result, its flags and
 * its side effects.  The device: a register of the local APIC (the upper half of
 * the ICR, of which bits 24-31 can be written) and the IOAPIC.
 */
#include "bare.h"

static volatile uint32_t *reg;		/* ICR2 */

static void set(uint32_t v)
{
	*reg = v << 24;
}

static void expect(const char *what, uint32_t is, uint32_t want)
{
	ok(is == want, "%s: %x, expected %x", what, is, want);
}

static void moves(void)
{
	uint32_t v = 0;
	uint64_t q = ~0ull;

	__asm__ volatile("movl %1, %0" : "=m"(*reg) : "r"(0x12000000));
	expect("mov to memory", *reg, 0x12000000);
	__asm__ volatile("movl $0x34000000, %0" : "=m"(*reg));
	expect("mov of an immediate", *reg, 0x34000000);
	__asm__ volatile("movl %1, %k0" : "+r"(q) : "m"(*reg));
	ok(q == 0x34000000, "mov from memory clears the upper half: %lx", q);
	__asm__ volatile("movl %1, %%r13d; movl %%r13d, %0" : "=r"(v) : "m"(*reg) : "r13");
	expect("mov to R13", v, 0x34000000);
	__asm__ volatile("movl (%1, %2, 4), %0" : "=r"(v) : "r"((uint64_t)reg - 0x40), "r"(0x10ul));
	expect("base and scaled index", v, 0x34000000);
	__asm__ volatile("movl -0x310(%1), %0" : "=r"(v) : "r"((uint64_t)reg + 0x310));
	expect("32-bit displacement", v, 0x34000000);
	__asm__ volatile("movabsl 0xfee00310, %%eax; movl %%eax, %0" : "=r"(v) :: "rax");
	expect("64-bit absolute address", v, 0x34000000);
	__asm__ volatile("movl $0x56000000, %%eax; movabsl %%eax, 0xfee00310" ::: "rax", "memory");
	expect("store to a 64-bit absolute address", *reg, 0x56000000);
	__asm__ volatile("addr32 movl (%%ecx), %0" : "=r"(v) : "c"((uint32_t)(uint64_t)reg));
	expect("32-bit address", v, 0x56000000);
	__asm__ volatile("movslq %1, %0" : "=r"(q) : "m"(*reg));
	ok(q == 0x56000000, "movslq: %lx", q);
}

static void arithmetic(void)
{
	uint8_t flag;
	uint32_t v;

	set(0x11);
	__asm__ volatile("orl %1, %0" : "+m"(*reg) : "r"(0x22000000));
	expect("or", *reg, 0x33000000);
	__asm__ volatile("andl $0x0f000000, %0" : "+m"(*reg));
	expect("and", *reg, 0x03000000);
	__asm__ volatile("xorl %1, %0; setz %2" : "+m"(*reg), "+r"(*&(uint32_t){ 0x03000000 }), "=q"(flag));
	ok(*reg == 0 && flag, "xor to zero sets ZF: %x", *reg);
	__asm__ volatile("addl %2, %0; setc %1" : "+m"(*reg), "=q"(flag) : "r"(0x7f000000));
	ok(*reg == 0x7f000000 && !flag, "add: %x", *reg);
	__asm__ volatile("addl %2, %0; setc %1" : "+m"(*reg), "=q"(flag) : "r"(0x82000000));
	ok(*reg == 0x01000000 && flag, "add with carry out: %x", *reg);
	__asm__ volatile("stc; sbbl $0xffffff, %0" : "+m"(*reg));
	expect("sbb", *reg, 0);
	set(0x40);
	__asm__ volatile("subl $0x10000000, %0; sets %1" : "+m"(*reg), "=q"(flag));
	ok(*reg == 0x30000000 && !flag, "sub: %x", *reg);
	set(0x60);
	__asm__ volatile("notl %0" : "+m"(*reg));
	expect("not", *reg & 0xff000000, 0x9f000000);
	set(0x9f);
	__asm__ volatile("negl %0" : "+m"(*reg));
	expect("neg", *reg, 0x61000000);
	__asm__ volatile("btsl $31, %1; setc %0" : "=q"(flag), "+m"(*reg));
	ok(*reg == 0xe1000000 && !flag, "bts: %x", *reg);
	__asm__ volatile("btrl $31, %1; setc %0" : "=q"(flag), "+m"(*reg));
	ok(*reg == 0x61000000 && flag, "btr: %x", *reg);
	v = 0x77000000;
	__asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(*reg));
	ok(v == 0x61000000 && *reg == 0x77000000, "xchg: %x and %x", v, *reg);
	v = 0x08000000;
	__asm__ volatile("lock; xaddl %0, %1" : "+r"(v), "+m"(*reg));
	ok(v == 0x77000000 && *reg == 0x7f000000, "lock xadd: %x and %x", v, *reg);
	__asm__ volatile("movl $0x7f000000, %%eax; lock; cmpxchgl %2, %1; setz %0"
			 : "=q"(flag), "+m"(*reg) : "r"(0x21000000) : "rax");
	ok(*reg == 0x21000000 && flag, "lock cmpxchg that fits: %x", *reg);
	__asm__ volatile("movl $0x7f000000, %%eax; lock; cmpxchgl %3, %2; setz %0; movl %%eax, %1"
			 : "=q"(flag), "=r"(v), "+m"(*reg) : "r"(0x22000000) : "rax");
	ok(*reg == 0x21000000 && !flag && v == 0x21000000, "lock cmpxchg that does not: %x", *reg);
	__asm__ volatile("cmpl $0x21000000, %1; setz %0" : "=q"(flag) : "m"(*reg));
	ok(flag, "cmp with an immediate");
	__asm__ volatile("testl %2, %1; setnz %0" : "=q"(flag) : "m"(*reg), "r"(0x01000000));
	ok(flag, "test");
	v = 0x01000000;
	__asm__ volatile("addl %1, %0" : "+r"(v) : "m"(*reg));
	expect("add from memory", v, 0x22000000);
}

static void strings(void)
{
	static uint32_t buf[4];
	void *si, *di;
	uint64_t n;
	uint8_t flag;
	uint32_t v;

	set(0x42);
	si = (void *)reg;
	di = buf;
	__asm__ volatile("movsl" : "+S"(si), "+D"(di) :: "memory");
	ok(buf[0] == 0x42000000 && si == (char *)reg + 4 && di == buf + 1, "movs from the device: %x", buf[0]);
	buf[0] = 0x43000000;
	si = buf;
	di = (void *)reg;
	__asm__ volatile("movsl" : "+S"(si), "+D"(di) :: "memory");
	expect("movs to the device", *reg, 0x43000000);
	di = (void *)reg;
	__asm__ volatile("stosl" : "+D"(di) : "a"(0x44000000) : "memory");
	expect("stos", *reg, 0x44000000);
	si = (void *)reg;
	__asm__ volatile("lodsl" : "=a"(v), "+S"(si) :: "memory");
	expect("lods", v, 0x44000000);
	buf[0] = 0x45000000;
	si = buf;
	di = (void *)reg;
	n = 1;
	__asm__ volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(n) :: "memory");
	ok(*reg == 0x45000000 && !n && si == buf + 1, "rep movs of one: %x, count %lu", *reg, n);
	di = (void *)reg;
	__asm__ volatile("std; stosl; cld" : "+D"(di) : "a"(0x46000000) : "memory");
	ok(*reg == 0x46000000 && di == (char *)reg - 4, "stos downwards: %x", *reg);
	di = (void *)reg;
	__asm__ volatile("scasl; setz %1" : "+D"(di), "=q"(flag) : "a"(0x46000000) : "memory");
	ok(flag, "scas");
	n = 0;
	di = (void *)reg;
	__asm__ volatile("rep stosl" : "+D"(di), "+c"(n) : "a"(0x47000000) : "memory");
	ok(*reg == 0x46000000 && di == (void *)reg, "rep stos of none");
}

static void narrow(void)
{
	volatile uint8_t *b = (volatile uint8_t *)reg;
	uint64_t q = 0;
	uint16_t w;

	set(0x9a);
	__asm__ volatile("movzbl 3(%1), %k0" : "=r"(q) : "r"(b));
	ok(q == 0x9a, "movzx of a byte: %lx", q);
	__asm__ volatile("movsbq 3(%1), %0" : "=r"(q) : "r"(b));
	ok(q == 0xffffffffffffff9a, "movsx of a byte to 64 bits: %lx", q);
	__asm__ volatile("movzwl 2(%1), %k0" : "=r"(q) : "r"(b));
	ok(q == 0x9a00, "movzx of a word: %lx", q);
	__asm__ volatile("movswl 2(%1), %k0" : "=r"(q) : "r"(b));
	ok(q == 0xffff9a00, "movsx of a word to 32 bits: %lx", q);
	q = ~0ull;
	__asm__ volatile("movb 3(%1), %%ah; movq %%rax, %0" : "+a"(q) : "r"(b));
	ok(q == 0xffffffffffff9aff, "mov to AH leaves the rest: %lx", q);
	__asm__ volatile("movw 2(%1), %0" : "=r"(w) : "r"(b));
	expect("mov of a word", w, 0x9a00);
	__asm__ volatile("movq (%1), %0" : "=r"(q) : "r"(b));
	ok(q == 0x9a000000, "mov of 64 bits: %lx", q);
	__asm__ volatile("movbel (%1), %k0" : "=r"(q) : "r"(b));
	ok(q == 0x9a, "movbe from memory: %lx", q);
	__asm__ volatile("movbel %k0, (%1)" :: "r"(0x5b), "r"(b) : "memory");
	expect("movbe to memory", *reg, 0x5b000000);
	__asm__ volatile("movnti %0, (%1)" :: "r"(0x5c000000), "r"(b) : "memory");
	expect("movnti", *reg, 0x5c000000);
}

static void computed(void)
{
	uint32_t v = 0, high = 0;
	uint8_t flag;

	set(0x21);
	__asm__ volatile("shll $1, %0" : "+m"(*reg));
	expect("shl", *reg, 0x42000000);
	__asm__ volatile("shrl %%cl, %0" : "+m"(*reg) : "c"(33));
	expect("shr by CL, of which 5 bits count", *reg, 0x21000000);
	set(0x80);
	__asm__ volatile("sarl $4, %0" : "+m"(*reg));
	expect("sar", *reg, 0xf8000000);
	__asm__ volatile("roll $8, %1; setc %0" : "=q"(flag), "+m"(*reg));
	ok(flag == 0 && *reg == 0, "rol: %x, carry %u", *reg, flag);
	set(0x11);
	__asm__ volatile("rorl $28, %0" : "+m"(*reg));
	expect("ror", *reg & 0xff000000, 0x10000000);
	set(0x40);
	__asm__ volatile("stc; rcll $1, %1; setc %0" : "=q"(flag), "+m"(*reg));
	ok(*reg == 0x80000000 && !flag, "rcl: %x, carry %u", *reg, flag);
	__asm__ volatile("shldl $4, %1, %0" : "+m"(*reg) : "r"(0xf0000000));
	expect("shld", *reg, 0);
	__asm__ volatile("shrdl $8, %1, %0" : "+m"(*reg) : "r"(0x42));
	expect("shrd", *reg, 0x42000000);
	__asm__ volatile("cmpl %%eax, %%eax; cmovel %1, %0" : "+r"(v) : "m"(*reg));
	expect("cmov", v, 0x42000000);
	__asm__ volatile("imull $3, %1, %0" : "=r"(v) : "m"(*reg));
	expect("imul from memory", v, 0xc6000000);
	v = 16;
	__asm__ volatile("mull %2" : "+a"(v), "=d"(high) : "m"(*reg));
	ok(v == 0x20000000 && high == 4, "mul by memory: %x:%x", high, v);
	v = 0x84000001;
	high = 0;
	__asm__ volatile("divl %2" : "+a"(v), "+d"(high) : "m"(*reg));
	ok(v == 2 && high == 1, "div by memory: %x, rest %x", v, high);
	*reg = 0;
	ok(TRY("divl (%1)", "r"(reg), "d"(0)).vector == 0, "div by a register of 0: #DE");
	set(0x10);
	__asm__ volatile("bsfl %1, %0" : "=r"(v) : "m"(*reg));
	expect("bsf", v, 28);
	__asm__ volatile("bsrl %1, %0" : "=r"(v) : "m"(*reg));
	expect("bsr", v, 28);
	__asm__ volatile("movl $0x10000000, %%eax; xorl %%edx, %%edx; movl $0x6d000000, %%ebx; xorl %%ecx, %%ecx;"
			 "lock; cmpxchg8b %1; setz %0" : "=q"(flag), "+m"(*(volatile uint64_t *)reg)
			 :: "rax", "rbx", "rcx", "rdx");
	ok(flag && *reg == 0x6d000000, "lock cmpxchg8b: %x", *reg);
	__asm__ volatile("pushq (%1); popq %%rax; movl %%eax, %0" : "=r"(v) : "r"(reg) : "rax");
	expect("push", v, 0x6d000000);
	__asm__ volatile("pushq %0; popq (%1)" :: "r"(0x6e000000ul), "r"(reg) : "memory");
	expect("pop", *reg, 0x6e000000);
	ok(TRY(".byte 0xf0; movl %%ecx, (%1)", "r"(reg)).vector == 6, "LOCK MOV: #UD");
}

static uint8_t block[64] __attribute__((aligned(64)));

/* A vector of 16 bytes in memory of which the first word is @v. */
static void fill(uint32_t v)
{
	memset(block, 0, sizeof(block));
	memcpy(block, &v, 4);
}

static uint32_t first(void)
{
	uint32_t v;

	memcpy(&v, block, 4);
	return v;
}

/* Store of 16 bytes: the device sees the first word.  Load: the rest reads as zero. */
#define SSE_STORE(insn, v) do {							\
	fill(v);								\
	__asm__ volatile("movdqa (%1), %%xmm3; " insn " %%xmm3, (%0)" :: "r"(reg), "r"(block) : "memory"); \
	expect(insn " to the device", *reg, v);					\
} while (0)
#define SSE_LOAD(insn) do {							\
	memset(block, 0xee, sizeof(block));					\
	__asm__ volatile(insn " (%0), %%xmm11; movdqa %%xmm11, (%1)" :: "r"(reg), "r"(block) : "memory"); \
	ok(first() == *reg && !memcmp(block + 4, zeros, 12), insn " from the device: %x", first());	\
} while (0)

static const uint8_t zeros[32];

static void sse(void)
{
	SSE_STORE("movups", 0x51000000);
	SSE_STORE("movaps", 0x52000000);
	SSE_STORE("movdqu", 0x53000000);
	SSE_STORE("movdqa", 0x54000000);
	SSE_STORE("movntps", 0x55000000);
	SSE_STORE("movntdq", 0x56000000);
	SSE_LOAD("movups");
	SSE_LOAD("movaps");
	SSE_LOAD("movdqu");
	SSE_LOAD("movdqa");
	ok(TRY("movaps 8(%1), %%xmm0", "r"(reg)).vector == 13, "movaps of a misaligned address: #GP");
}

/* What stock KVM does not emulate: with "all" on the command line. */
static void uncommon(void)
{
	uint32_t v = 0, r[4];
	uint8_t flag;

	SSE_STORE("movq", 0x57000000);
	SSE_STORE("movd", 0x58000000);
	SSE_STORE("movss", 0x59000000);
	SSE_STORE("movlps", 0x5a000000);
	SSE_LOAD("movq");
	SSE_LOAD("movd");
	SSE_LOAD("movss");
	SSE_LOAD("movsd");
	SSE_LOAD("lddqu");
	SSE_LOAD("movntdqa");
	set(0x69);
	__asm__ volatile("popcntl %1, %0" : "=r"(v) : "m"(*reg));
	expect("popcnt", v, 4);
	set(0x11);
	__asm__ volatile("movl $0x11000000, %%eax; xorl %%edx, %%edx; movl $0x12000000, %%ebx; xorl %%ecx, %%ecx;"
			 "lock; cmpxchg16b (%1); setz %0" : "=q"(flag) : "r"(reg)
			 : "rax", "rbx", "rcx", "rdx", "memory");
	ok(flag && *reg == 0x12000000, "lock cmpxchg16b: %x", *reg);
	ok(TRY("cmpxchg16b 8(%1)", "r"(reg)).vector == 13, "cmpxchg16b of a misaligned address: #GP");

	cpuid(1, 0, r);
	if (!(r[2] & 1 << 28) || !(r[2] & 1 << 26)) {
		skip("AVX moves", "the CPU has no AVX");
		return;
	}
	ok(TRY("vmovdqu (%1), %%ymm0", "r"(reg)).vector == 6, "AVX without CR4.OSXSAVE: #UD");
	WRITE_CR(4, READ_CR(4) | 1 << 18);
	__asm__ volatile("xsetbv" :: "a"(7), "d"(0), "c"(0));
	memset(block, 0xee, sizeof(block));
	__asm__ volatile("vmovdqu (%0), %%ymm9; vmovdqa %%ymm9, (%1)" :: "r"(reg), "r"(block) : "memory");
	v = apic_read(APIC_LVTT);
	ok(first() == *reg && !memcmp(block + 4, zeros, 12) && !memcmp(block + 16, &v, 4) &&
	   !memcmp(block + 20, zeros, 12), "vmovdqu of 32 bytes from the device: %x", first());
	memset(block, 0xee, sizeof(block));
	__asm__ volatile("vmovdqu (%1), %%ymm9; vmovups (%0), %%xmm9; vmovdqa %%ymm9, (%1)"
			 :: "r"(reg), "r"(block) : "memory");
	ok(first() == *reg && !memcmp(block + 4, zeros, 28), "vmovups of 16 bytes clears the upper half");
	memset(block, 0xee, sizeof(block));
	__asm__ volatile("vmovdqu (%1), %%ymm9; movups (%0), %%xmm9; vmovdqa %%ymm9, (%1)"
			 :: "r"(reg), "r"(block) : "memory");
	ok(first() == *reg && !memcmp(block + 4, zeros, 12) && block[16] == 0xee && block[31] == 0xee,
	   "movups keeps the upper half");
	fill(0x5d000000);
	__asm__ volatile("vmovdqa (%1), %%xmm2; vmovaps %%xmm2, (%0)" :: "r"(reg), "r"(block) : "memory");
	expect("vmovaps to the device", *reg, 0x5d000000);
	ok(TRY("vmovaps 8(%1), %%xmm2", "r"(reg)).vector == 13, "vmovaps of a misaligned address: #GP");
	WRITE_CR(4, READ_CR(4) & ~(1ul << 18));
}

static void ioapic(void)
{
	volatile uint32_t *sel = (void *)(uint64_t)platform.ioapic, *win = sel + 4;
	uint32_t id, v;

	if (!platform.ioapic) {
		skip("IOAPIC forms", "no IOAPIC");
		return;
	}
	*sel = 1;
	v = *win;
	ok((v & 0xff) >= 0x11 && (v >> 16 & 0xff) >= 15, "IOAPIC: version register %x", v);
	*sel = 0;
	id = *win;
	__asm__ volatile("orl $0x05000000, %0" : "+m"(*win));
	ok((*win & 0x0f000000) == ((id | 0x05000000) & 0x0f000000), "IOAPIC: or on the id: %x", *win);
	*win = id;
	*sel = 0x10 + 2 * 20 + 1;
	v = 0x99000000;
	__asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(*win));
	expect("IOAPIC: xchg on a destination", *win & 0xff000000, 0x99000000);
	*win = v;
	/* A page of devices: byte-wide selector. */
	*(volatile uint8_t *)sel = 1;
	ok((*win & 0xff) >= 0x11, "IOAPIC: selector by a byte store");
}

void test(void)
{
	reg = (void *)(uint64_t)(platform.lapic + APIC_ICR2);
	if (platform.lapic != 0xfee00000) {
		ok(false, "the local APIC is at %x", platform.lapic);
		return;
	}
	moves();
	narrow();
	arithmetic();
	computed();
	sse();
	strings();
	ioapic();
	if (cmdline_has("all"))
		uncommon();
}
