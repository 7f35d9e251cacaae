// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Code that changes and code that lies across pages: stores to what runs next,
 * by other addresses and by other CPUs; instructions of all kinds, executed and
 * emulated, at every split between two pages of which the second is there, is
 * absent or may not be executed; instructions of 15 bytes and of more.
 */
#include "bare.h"
#include "pte.h"

extern volatile uint64_t pds[];

/* 2 MiB of virtual space at 1 GiB, 4 KiB pages. */
#define BASE	0x40000000ul

static volatile uint64_t table[512] __attribute__((aligned(4096)));
static uint8_t frames[4][4096] __attribute__((aligned(4096)));

static void map(unsigned int page, uint64_t entry)
{
	table[page] = entry;
	invlpg((void *)(BASE + page * PAGE_SIZE));
}

static uint64_t frame(unsigned int i)
{
	return (uint64_t)frames[i];
}

struct regs {
	uint64_t rax, rcx, rdx, rsi;
};

/* Run what is at @addr, which ends with JMP *%R15. */
static struct trap run_at(uint64_t addr, struct regs *r)
{
	struct cpu *c = this_cpu();

	c->trap.vector = NO_TRAP;
	__asm__ volatile("leaq 9f(%%rip), %%r15\n\tmovq %%r15, %%gs:%c[resume]\n\tjmp *%[addr]\n"
			 "9:\tmovq $0, %%gs:%c[resume]"
			 : "+a"(r->rax), "+c"(r->rcx), "+d"(r->rdx), "+S"(r->rsi)
			 : [addr] "D"(addr), [resume] "i"(offsetof(struct cpu, resume))
			 : "rbx", "r15", "memory", "cc");
	return c->trap;
}

/* ---- across two pages */

static const uint8_t end[] = { 0x41, 0xff, 0xe7 };

#define ICR2	0x10, 0x03, 0xe0, 0xfe
#define RAX	0x1122334455667788

static const struct insn {
	const char *name;
	struct regs in;
	uint64_t rax, rcx;	/* afterwards */
	uint8_t len, bytes[15];
} insns[] = {
	{ "MOV of 8 bytes", {}, RAX, 0, 10, { 0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 } },
	{ "CPUID", {}, 0, 0, 2, { 0x0f, 0xa2 } },	/* RAX and RCX: of this machine */
	{ "OUT", { .rax = 7 }, 7, 0, 2, { 0xe6, 0x80 } },
	{ "REP OUTSB", { .rcx = 3, .rdx = 0x80, .rsi = (uint64_t)end }, 0, 0, 2, { 0xf3, 0x6e } },
	{ "RDMSR", { .rcx = MSR_FS_BASE }, 0x5678, MSR_FS_BASE, 2, { 0x0f, 0x32 } },
	{ "load from a device", {}, 0x42000000, 0, 8, { 0x67, 0x8b, 0x04, 0x25, ICR2 } },
	{ "load from a device, absolute", {}, 0x42000000, 0, 9, { 0xa1, ICR2, 0, 0, 0, 0 } },
	{ "store to a device", {}, 0, 0, 12, { 0x67, 0xc7, 0x04, 0x25, ICR2, 0, 0, 0, 0x42 } },
};

/* At @addr, maybe into the next page. */
static void place(uint64_t addr, const uint8_t *bytes, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		*(volatile uint8_t *)(addr + i) = bytes[i];
	for (unsigned int i = 0; i < sizeof(end); i++)
		*(volatile uint8_t *)(addr + len + i) = end[i];
}

static void across(const struct insn *insn)
{
	const uint64_t second = BASE + PAGE_SIZE;
	uint64_t rax = insn->rax, rcx = insn->rcx;
	unsigned int done = 0, absent = 0, refused = 0, splits = insn->len - 1;
	struct trap t;

	if (insn->bytes[1] == 0xa2) {
		uint32_t r[4];

		cpuid(0, 0, r);
		rax = r[0];
		rcx = r[2];
	}
	for (unsigned int k = 1; k <= splits; k++) {
		uint64_t addr = second - k;
		struct regs r = insn->in;

		mmio_write(platform.lapic + APIC_ICR2, 0x42000000);
		map(1, frame(2) | P | W);
		place(addr, insn->bytes, insn->len);
		map(1, 0);
		t = run_at(addr, &r);
		absent += t.vector == 14 && t.error == 0x10 && t.cr2 == second && t.rip == addr;
		map(1, frame(2) | P | W | NX);
		t = run_at(addr, &r);
		refused += t.vector == 14 && t.error == 0x11 && t.cr2 == second && t.rip == addr;
		map(1, frame(2) | P);
		t = run_at(addr, &r);
		done += t.vector == NO_TRAP && r.rax == rax && r.rcx == rcx &&
			mmio_read(platform.lapic + APIC_ICR2) == 0x42000000;
	}
	ok(done == splits && absent == splits && refused == splits,
	   "%s at %u splits: %u right, second page absent %u, not to be executed %u", insn->name, splits, done, absent,
	   refused);
}

static void pages(void)
{
	uint64_t fs = rdmsr(MSR_FS_BASE);
	struct regs r = {};
	struct trap t;

	wrmsr(MSR_FS_BASE, 0x5678);
	map(0, frame(0) | P | W);	/* and behind it frame 2 */
	for (unsigned int i = 0; i < sizeof(insns) / sizeof(insns[0]); i++)
		across(&insns[i]);
	wrmsr(MSR_FS_BASE, fs);

	map(1, 0);
	memset((void *)(BASE + PAGE_SIZE - 16), 0x90, 16);
	t = run_at(BASE + PAGE_SIZE - 16, &r);
	ok(t.vector == 14 && t.error == 0x10 && t.cr2 == BASE + PAGE_SIZE && t.rip == BASE + PAGE_SIZE,
	   "running into an absent page: exception %lu error %lx, CR2 %lx, RIP %lx", t.vector, t.error, t.cr2, t.rip);
}

/* @prefixes of 0x2e, which mean nothing, before the instruction. */
static struct trap prefixed(unsigned int prefixes, const uint8_t *bytes, unsigned int len)
{
	struct regs r = {};

	memset((void *)BASE, 0x2e, prefixes);
	place(BASE + prefixes, bytes, len);
	return run_at(BASE, &r);
}

static void lengths(void)
{
	static const uint8_t nop[] = { 0x90 }, load[] = { 0x67, 0x8b, 0x04, 0x25, ICR2 };
	struct trap t;

	t = prefixed(14, nop, 1);
	ok(t.vector == NO_TRAP, "an instruction of 15 bytes: exception %lu", t.vector);
	t = prefixed(15, nop, 1);
	ok(t.vector == 13 && !t.error && t.rip == BASE, "of 16: exception %lu error %lx", t.vector, t.error);
	t = prefixed(7, load, 8);
	ok(t.vector == NO_TRAP, "15 bytes that load from a device: exception %lu", t.vector);
	t = prefixed(8, load, 8);
	ok(t.vector == 13 && !t.error && t.rip == BASE, "16 bytes: exception %lu error %lx", t.vector, t.error);
}

/* ---- code that changes */

static void next_instruction(void)
{
	unsigned int with = 0, without = 0;
	uint8_t got;

	for (unsigned int i = 0; i < 256; i++) {
		__asm__ volatile("movb %b1, 1f+1(%%rip)\n\tjmp 1f\n1:\tmovb $0, %b0" : "=&a"(got) : "c"(i) : "memory");
		with += got == (uint8_t)i;
		__asm__ volatile("movb %b1, 1f+1(%%rip)\n1:\tmovb $0, %b0" : "=&a"(got) : "c"(i) : "memory");
		without += got == (uint8_t)i;
	}
	ok(with == 256, "a store to the instruction behind a jump: %u of 256 seen", with);
	ok(without == 256, "to the very next instruction: %u of 256 seen", without);
}

/* movl $N, %eax at the start of a frame */
static void put_move(volatile uint8_t *at, uint32_t n)
{
	at[0] = 0xb8;
	*(volatile uint32_t *)(at + 1) = n;
	for (unsigned int i = 0; i < sizeof(end); i++)
		at[5 + i] = end[i];
}

static void aliases(void)
{
	unsigned int by_alias = 0, by_frame = 0, by_string = 0;
	uint8_t image[8];
	uint32_t x[4];

	map(2, frame(1) | P | W);
	map(3, frame(1) | P);
	for (uint32_t i = 0; i < 100; i++) {
		struct regs r = {};

		put_move((uint8_t *)(BASE + 2 * PAGE_SIZE), i);
		cpuid(0, 0, x);
		run_at(BASE + 3 * PAGE_SIZE, &r);
		by_alias += r.rax == i;
	}
	ok(by_alias == 100, "written by another address: %u of 100 seen", by_alias);
	put_move(frames[0], 1000);
	put_move(frames[1], 1001);
	for (uint32_t i = 0; i < 100; i++) {
		struct regs r = {};

		map(3, frame(i & 1) | P);
		run_at(BASE + 3 * PAGE_SIZE, &r);
		by_frame += r.rax == 1000 + (i & 1);
	}
	ok(by_frame == 100, "another frame: %u of 100 seen", by_frame);
	for (uint32_t i = 0; i < 100; i++) {
		struct regs r = {};

		put_move(image, i);
		memcpy(frames[1], image, sizeof(image));
		run_at(frame(1), &r);
		by_string += r.rax == i;
	}
	ok(by_string == 100, "written by REP MOVSB: %u of 100 seen", by_string);
}

/* What leaves the guest must be what is there now, not what was there. */
static void emulated(void)
{
	static const uint8_t load[] = { 0x67, 0x8b, 0x04, 0x25, ICR2 }, two[] = { 0x0f, 0xa2 };
	uint32_t version = mmio_read(platform.lapic + APIC_VERSION), right = 0, x[4];
	uint64_t at = frame(1);

	mmio_write(platform.lapic + APIC_ICR2, 0x42000000);
	place(at, load, sizeof(load));
	for (unsigned int i = 0; i < 100; i++) {
		struct regs r = {};

		*(volatile uint32_t *)(at + 4) = platform.lapic + (i & 1 ? APIC_VERSION : APIC_ICR2);
		run_at(at, &r);
		right += r.rax == (i & 1 ? version : 0x42000000);
	}
	ok(right == 100, "a device's address changed: %u of 100 right", right);
	cpuid(0, 0, x);
	place(at, two, sizeof(two));
	right = 0;
	for (unsigned int i = 0; i < 100; i++) {
		struct regs r = { .rcx = MSR_APIC_BASE };

		*(volatile uint8_t *)(at + 1) = i & 1 ? 0x32 : 0xa2;
		if (!(i & 1))
			r.rcx = 0;
		run_at(at, &r);
		right += r.rax == (i & 1 ? (uint32_t)rdmsr(MSR_APIC_BASE) : x[0]);
	}
	ok(right == 100, "CPUID and RDMSR in turn: %u of 100 right", right);
}

/* ---- other CPUs */

static volatile uint32_t generation, stale, loops, stop;

static void execute(void *arg)
{
	(void)arg;
	while (!stop) {
		uint32_t g = __atomic_load_n(&generation, __ATOMIC_SEQ_CST);
		struct regs r = {};

		run_at(frame(3) + 3, &r);
		if (r.rax < g)
			__atomic_fetch_add(&stale, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&loops, 1, __ATOMIC_SEQ_CST);
		pause();
	}
}

/* As kernels do it: one aligned store, then every CPU comes through an IRET. */
static void by_others(void)
{
	unsigned int rounds = 0;

	if (n_cpus < 2) {
		skip("code written by another CPU", "needs 2 CPUs");
		return;
	}
	put_move(&frames[3][3], 0);	/* its number is at 4 */
	for (unsigned int i = 1; i < n_cpus; i++)
		start_on(i, execute, NULL);
	for (uint32_t g = 1; g <= 100; g++) {
		unsigned int came = 0;

		*(volatile uint32_t *)&frames[3][4] = g;
		for (unsigned int i = 1; i < n_cpus; i++) {
			unsigned int before = cpus[i].hits[0x48];

			apic_icr(cpus[i].apic_id, ICR_ASSERT | 0x48);
			came += wait_for(cpus[i].hits[0x48] != before, 5000000);
		}
		if (came < n_cpus - 1)
			break;
		__atomic_store_n(&generation, g, __ATOMIC_SEQ_CST);
		rounds++;
	}
	stop = 1;
	for (unsigned int i = 1; i < n_cpus; i++)
		wait_for(is_idle(i), 5000000);
	if (stale && is_tcg())
		skip("code written by another CPU", "QEMU's TCG runs what it has translated for a while");
	else
		ok(rounds == 100 && !stale && loops, "code written by another CPU: %u of 100 rounds, %u of %u runs were stale",
		   rounds, stale, loops);
}

void test(void)
{
	pds[BASE >> 21] = (uint64_t)table | P | W;
	WRITE_CR(3, READ_CR(3));
	next_instruction();
	aliases();
	pages();
	lengths();
	emulated();
	by_others();
}
