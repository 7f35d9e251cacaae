// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TLB shoot-downs: the other CPUs write to a page without pause; when they have
 * acknowledged that it is gone, read-only or another, none of them may write to
 * the old one, whether they dropped it with INVLPG, a CR3 load or, global, by
 * CR4.PGE, and at whatever level the entry was.  Dirty bits must not be lost on
 * the way.  (The image "paging" has remapping seen by readers.)
 */
#include "bare.h"
#include "pte.h"

#define CR4_PGE	(1ull << 7)
#define ROUNDS	15
#define VECTOR	0x49

extern volatile uint64_t pds[];

/* At 1 GiB: one page, by two tables that say the same. */
#define BASE	0x40000000ul
#define SLOT	(BASE >> 21)
static volatile uint64_t tables[2][512] __attribute__((aligned(4096)));
static volatile uint64_t frames[2][512] __attribute__((aligned(4096)));

enum how { BY_INVLPG, BY_CR3, BY_PGE };
static volatile enum how how;
static volatile unsigned int stop, acks, odd, faults;
static volatile struct { volatile uint64_t n; uint64_t pad[7]; } loops[MAX_CPUS];

static void drop(void)
{
	switch (how) {
	case BY_INVLPG:
		invlpg((void *)BASE);
		break;
	case BY_CR3:
		WRITE_CR(3, READ_CR(3));
		break;
	case BY_PGE:
		WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
		WRITE_CR(4, READ_CR(4) | CR4_PGE);
	}
}

static void on_shoot(struct frame *f)
{
	(void)f;
	drop();
	__atomic_fetch_add(&acks, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void writer(void *arg)
{
	unsigned int me = this_cpu()->index;

	(void)arg;
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	while (!stop) {
		struct trap t = TRY("lock incq (%1)", "r"(BASE));

		/* QEMU's emulated CPU, where it is the only one, reads first. */
		if (t.vector == 14 && ((t.error & ~1ull) == 2 || (!t.error && is_tcg_cpu())) && t.cr2 == BASE)
			__atomic_fetch_add(&faults, 1, __ATOMIC_SEQ_CST);
		else if (t.vector != NO_TRAP)
			__atomic_fetch_add(&odd, 1, __ATOMIC_SEQ_CST);
		loops[me].n++;
		pause();
	}
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

/* All others have tried at least twice more. */
static bool they_went_on(void)
{
	for (unsigned int i = 1; i < n_cpus; i++) {
		uint64_t before = loops[i].n;

		if (!wait_for(loops[i].n >= before + 2, 5000000))
			return false;
	}
	return true;
}

static bool shoot(void)
{
	acks = 0;
	drop();
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | VECTOR);
	return wait_for(acks == n_cpus - 1, 5000000);
}

/* @entry is changed from @from to @to and back: nothing is written to frame 0 in between. */
static void gone(const char *what, enum how by, volatile uint64_t *entry, uint64_t from, uint64_t to)
{
	unsigned int late = 0, idle = 0, rounds;
	uint64_t before;

	how = by;
	*entry = from;
	shoot();
	for (rounds = 0; rounds < ROUNDS; rounds++) {
		before = frames[0][0];
		if (!they_went_on())
			break;
		idle += frames[0][0] == before;
		*entry = to;
		if (!shoot())
			break;
		before = frames[0][0];
		if (!they_went_on())
			break;
		late += frames[0][0] != before;
		*entry = from;
		/* What was absent needs no flush. */
		if (to & P && !shoot())
			break;
	}
	ok(rounds == ROUNDS && !late && !idle, "%s: %u of %u rounds, written afterwards in %u, not before in %u", what,
	   rounds, ROUNDS, late, idle);
}

/* As a kernel takes a page from a process: what has no D bit then is never written. */
static void dirty(void)
{
	unsigned int lost = 0, absent = 0, clean = 0, rounds;
	volatile uint64_t *entry = &tables[0][0];
	uint64_t before, old;

	how = BY_INVLPG;
	*entry = 0;
	shoot();
	for (rounds = 0; rounds < 4 * ROUNDS; rounds++) {
		before = frames[0][0];
		*entry = (uint64_t)frames[0] | P | W;
		if (rounds & 1)
			they_went_on();
		else
			delay_us(rounds * 7 % 200);
		old = __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);
		if (!shoot())
			break;
		/* D without a write may be: the write came to nothing at a nested fault. */
		lost += !(old & D) && frames[0][0] != before;
		clean += !(old & D);
		absent += *entry != 0;
	}
	note("%u of %u times taken before it was written", clean, rounds);
	ok(rounds == 4 * ROUNDS && !lost, "%u of %u rounds, dirty bits lost: %u", rounds, 4 * ROUNDS, lost);
	ok(!absent, "bits set in an absent entry: %u", absent);
}

void test(void)
{
	const uint64_t page = (uint64_t)frames[0] | P | W;

	if (n_cpus < 2) {
		skip("shoot-downs", "needs 2 CPUs");
		return;
	}
	tables[1][0] = (uint64_t)frames[1] | P | W;
	tables[0][0] = page;
	pds[SLOT] = (uint64_t)tables[0] | P | W;
	WRITE_CR(3, READ_CR(3));
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	set_handler(VECTOR, on_shoot);
	for (unsigned int i = 1; i < n_cpus; i++)
		start_on(i, writer, NULL);
	sti();
	gone("absent, INVLPG", BY_INVLPG, &tables[0][0], page, 0);
	gone("absent, CR3", BY_CR3, &tables[0][0], page, 0);
	gone("absent, global", BY_PGE, &tables[0][0], page | G, 0);
	gone("read-only", BY_INVLPG, &tables[0][0], page, page & ~W);
	gone("another frame", BY_INVLPG, &tables[0][0], page, (uint64_t)frames[1] | P | W);
	tables[0][0] = page;
	gone("another table", BY_CR3, &pds[SLOT], (uint64_t)tables[0] | P | W, (uint64_t)tables[1] | P | W);
	gone("table absent", BY_INVLPG, &pds[SLOT], (uint64_t)tables[0] | P | W, 0);
	gone("table read-only", BY_CR3, &pds[SLOT], (uint64_t)tables[0] | P | W, (uint64_t)tables[0] | P);
	gone("a large page instead", BY_CR3, &pds[SLOT], (uint64_t)tables[0] | P | W, 0x1000000 | PS | P | W);
	dirty();
	stop = 1;
	for (unsigned int i = 1; i < n_cpus; i++)
		wait_for(is_idle(i), 5000000);
	cli();
	set_handler(VECTOR, NULL);
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
	ok(!odd && faults, "%u faults, %u of another kind", faults, odd);
}
