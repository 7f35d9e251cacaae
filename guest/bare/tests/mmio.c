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

/* Legal, but nobody accesses a device so: with "all" on the command line. */
static void uncommon(void)
{
	uint32_t v = 0;

	set(0x21);
	__asm__ volatile("shll $1, %0" : "+m"(*reg));
	expect("shl", *reg, 0x42000000);
	__asm__ volatile("cmpl %%eax, %%eax; cmovel %1, %0" : "+r"(v) : "m"(*reg));
	expect("cmov", v, 0x42000000);
	__asm__ volatile("imull $3, %1, %0" : "=r"(v) : "m"(*reg));
	expect("imul from memory", v, 0xc6000000);
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
	arithmetic();
	strings();
	ioapic();
	if (cmdline_has("all"))
		uncommon();
}
