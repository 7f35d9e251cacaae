// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Paging: accessed and dirty bits at every level, changes of entries with
 * INVLPG and CR3 loads, global pages, splitting a large page, and changes made
 * by one CPU seen by the others after an interrupt, as kernels shoot down.
 */
#include "bare.h"
#include "pte.h"

extern volatile uint64_t pml4[], pdpt[], pds[];

/* 2 MiB of virtual space at 1 GiB, 4 KiB pages; frames are from a pool. */
#define BASE	0x40000000ul
#define SLOT	(BASE >> 21)

static volatile uint64_t table[512] __attribute__((aligned(4096)));
static uint8_t pool[16][4096] __attribute__((aligned(4096)));

static volatile uint64_t *at(unsigned int page)
{
	return (volatile uint64_t *)(BASE + page * PAGE_SIZE);
}

static uint64_t frame(unsigned int i)
{
	return (uint64_t)pool[i];
}

static void map(unsigned int page, uint64_t entry)
{
	table[page] = entry;
	invlpg((void *)at(page));
}

static uint64_t entry(unsigned int page)
{
	return table[page];
}

static void accessed_dirty(void)
{
	volatile uint64_t *pde = &pds[SLOT];
	uint64_t v;

	map(0, frame(0) | P | W);
	*pde &= ~A;
	pdpt[1] &= ~A;
	pml4[0] &= ~A;
	WRITE_CR(3, READ_CR(3));
	ok(!(entry(0) & (A | D)), "a fresh entry has neither A nor D: %lx", entry(0));
	v = *at(0);
	ok((entry(0) & (A | D)) == A, "a read sets A alone: %lx (read %lx)", entry(0) & 0xfff, v);
	ok(*pde & A && pdpt[1] & A && pml4[0] & A, "and A at all levels: %lx %lx %lx", *pde & 0xfff, pdpt[1] & 0xfff,
	   pml4[0] & 0xfff);
	*at(0) = 1;
	ok((entry(0) & (A | D)) == (A | D), "a write sets D: %lx", entry(0) & 0xfff);
	ok(!(*pde & D), "but not above: %lx", *pde & 0xfff);

	map(1, frame(1) | P | W);
	*at(1) = 1;
	ok((entry(1) & (A | D)) == (A | D), "a first write sets both: %lx", entry(1) & 0xfff);
	map(1, frame(1) | P | W);
	__asm__ volatile("lock; orq $0, %0" : "+m"(*at(1)));
	ok((entry(1) & (A | D)) == (A | D), "a locked or of nothing sets both: %lx", entry(1) & 0xfff);
	map(1, frame(1) | P);
	ok(TRY("movq %%rax, (%1)", "r"(at(1))).vector == 14 && !(entry(1) & D), "a refused write does not set D: %lx",
	   entry(1) & 0xfff);
	map(2, 0);
	ok(TRY("movq (%1), %%rax", "r"(at(2))).vector == 14 && !entry(2), "nor A in an absent entry");
	/* Clean again: the next write must set D once more. */
	map(0, frame(0) | P | W | A);
	*at(0) = 2;
	ok(entry(0) & D, "D comes again after it was cleared");

	/* A large page. */
	pds[SLOT + 1] = 0x400000 | PS | P | W;
	invlpg((void *)(BASE + 0x200000));
	*(volatile uint64_t *)(BASE + 0x200000);
	ok((pds[SLOT + 1] & (A | D)) == A, "large page: a read sets A: %lx", pds[SLOT + 1] & 0xfff);
	*(volatile uint64_t *)(BASE + 0x200000) = 1;
	ok((pds[SLOT + 1] & (A | D)) == (A | D), "large page: a write sets D: %lx", pds[SLOT + 1] & 0xfff);
}

static void changes(void)
{
	for (unsigned int i = 0; i < 4; i++)
		*(volatile uint64_t *)pool[i] = 100 + i;
	map(3, frame(0) | P | W);
	ok(*at(3) == 100, "page 3 shows frame 0");
	map(3, frame(1) | P | W);
	ok(*at(3) == 101, "after INVLPG it shows frame 1");
	table[3] = frame(2) | P | W;
	WRITE_CR(3, READ_CR(3));
	ok(*at(3) == 102, "after a CR3 load it shows frame 2");
	table[3] = 0;
	WRITE_CR(3, READ_CR(3));
	ok(TRY("movq (%1), %%rax", "r"(at(3))).vector == 14, "absent after a CR3 load");
	/* Absent to present needs no flush. */
	table[3] = frame(3) | P;
	ok(*at(3) == 103, "present without a flush: no stale absence");
	map(3, frame(3) | P | W);
	*at(3) = 7;
	ok(*(volatile uint64_t *)pool[3] == 7, "writes go to frame 3");

	WRITE_CR(4, READ_CR(4) | 1 << 7);
	map(4, frame(0) | P | W | G);
	ok(*at(4) == 100, "a global page shows frame 0");
	table[4] = frame(1) | P | W | G;
	WRITE_CR(4, READ_CR(4) & ~(1ull << 7));
	ok(*at(4) == 101, "clearing CR4.PGE drops it");
	WRITE_CR(4, READ_CR(4) | 1 << 7);
	map(4, frame(2) | P | W | G);
	ok(*at(4) == 102, "INVLPG drops it, too");
	WRITE_CR(4, READ_CR(4) & ~(1ull << 7));

	/* Many rounds: the frame alternates, the contents must follow. */
	{
		unsigned int wrong = 0;

		for (unsigned int i = 0; i < 500; i++) {
			map(5, frame(i & 3) | P | W);
			wrong += *at(5) != (i % 4 == 3 ? 7 : 100 + i % 4);
		}
		ok(!wrong, "500 changes of one entry: %u wrong", wrong);
	}

	/* The table seen through its own mapping. */
	map(6, (uint64_t)table | P | W);
	at(6)[7] = frame(1) | P | W;
	invlpg((void *)at(7));
	ok(*at(7) == 101, "an entry written through a mapping of the table");
	at(6)[7] = frame(2) | P | W;
	invlpg((void *)at(7));
	ok(*at(7) == 102, "and changed through it");

	/* A whole table replaced by a large page and back. */
	pds[SLOT] = 0x400000 | PS | P | W;
	WRITE_CR(3, READ_CR(3));
	*(volatile uint64_t *)(0x400000 + 5 * 4096) = 0x4444;
	ok(*at(5) == 0x4444, "a large page instead of the table");
	pds[SLOT] = (uint64_t)table | P | W;
	WRITE_CR(3, READ_CR(3));
	ok(*at(7) == 102, "the table again");
}

/* --- shoot-downs --- */

static volatile unsigned int stop, acks, wrong_seen, loops;
static volatile uint64_t generation;

static void on_shoot(struct frame *f)
{
	(void)f;
	invlpg((void *)at(8));
	__atomic_fetch_add(&acks, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

/* What was acknowledged as gone must not be seen any more. */
static void reader(void *arg)
{
	(void)arg;
	while (!stop) {
		uint64_t g = __atomic_load_n(&generation, __ATOMIC_SEQ_CST), v = *at(8);

		if (v < g)
			__atomic_fetch_add(&wrong_seen, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&loops, 1, __ATOMIC_SEQ_CST);
		pause();
	}
}

static void shootdown(void)
{
	unsigned int rounds = 0, before;

	if (n_cpus < 2) {
		skip("shoot-downs", "needs 2 CPUs");
		return;
	}
	set_handler(0x48, on_shoot);
	*(volatile uint64_t *)pool[8] = 0;
	map(8, frame(8) | P | W);
	for (unsigned int i = 1; i < n_cpus; i++)
		start_on(i, reader, NULL);
	sti();
	wait_for(loops > n_cpus, 1000000);
	for (uint64_t g = 1; g <= 100; g++) {
		*(volatile uint64_t *)pool[8 + g % 4] = g;
		table[8] = frame(8 + g % 4) | P | W;
		acks = 0;
		invlpg((void *)at(8));
		apic_icr(0, ICR_OTHERS | ICR_ASSERT | 0x48);
		if (!wait_for(acks == n_cpus - 1, 5000000))
			break;
		__atomic_store_n(&generation, g, __ATOMIC_SEQ_CST);
		rounds++;
		before = loops;
		wait_for(loops > before + n_cpus, 100000);
	}
	stop = 1;
	for (unsigned int i = 1; i < n_cpus; i++)
		wait_for(is_idle(i), 1000000);
	cli();
	ok(rounds == 100, "%u of 100 shoot-downs acknowledged by all CPUs", rounds);
	ok(!wrong_seen, "stale reads after a shoot-down: %u of %u", wrong_seen, loops);
	set_handler(0x48, NULL);
}

void test(void)
{
	pds[SLOT] = (uint64_t)table | P | W;
	WRITE_CR(3, READ_CR(3));
	accessed_dirty();
	changes();
	shootdown();
}
