// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who may do what with a page: reads, writes and fetches of both rings against
 * present, write, user and no-execute bits at every level, with and without
 * CR0.WP, EFER.NXE, SMEP, SMAP and AC, each compared with a model of the manual
 * (APM vol. 2, 5.6); reserved bits at every level; pages of 2 MiB and 1 GiB.
 */
#include "bare.h"
#include "pte.h"

#define CR4_SMEP	(1ull << 20)
#define CR4_SMAP	(1ull << 21)
#define CR0_WP		(1ull << 16)
#define EFER_NXE	(1ull << 11)

extern volatile uint64_t pml4[], pds[];

/* 512 GiB on: a path of its own to one page, PML4 entry first. */
#define WINDOW	(1ull << 39)
static volatile uint64_t pdpt1[512] __attribute__((aligned(4096)));
static volatile uint64_t pd1[512] __attribute__((aligned(4096)));
static volatile uint64_t pt1[512] __attribute__((aligned(4096)));
static uint8_t page[4096] __attribute__((aligned(4096)));
static volatile uint64_t *const path[4] = { &pml4[1], pdpt1, pd1, pt1 };
static uint64_t target[4];

/* 1 TiB on: code for ring 3, always allowed. */
#define USER	(2ull << 39)
static volatile uint64_t pdpt2[512] __attribute__((aligned(4096)));
static volatile uint64_t pd2[512] __attribute__((aligned(4096)));
static volatile uint64_t pt2[512] __attribute__((aligned(4096)));
static uint8_t user_page[4096] __attribute__((aligned(4096)));

/* HLT is #GP in ring 3: the access was allowed. */
__asm__(".pushsection .text\n"
	"user_code: movb (%rdi), %al; hlt\n"		/* 3 bytes each */
	"movb %al, (%rdi); hlt\n"
	"jmp *%rdi\n"
	"user_code_end:\n"
	".popsection");
extern const uint8_t user_code[], user_code_end[];

enum access { READ, WRITE, FETCH };
static const char *const access_name[] = { "read", "write", "fetch" };

static void flush(void)
{
	WRITE_CR(3, READ_CR(3));
}

/* The flags of the four entries: @e[0] is the PML4's. */
static void set_path(const uint64_t e[4])
{
	for (unsigned int i = 0; i < 4; i++)
		*path[i] = target[i] | e[i];
	flush();
}

#define SET_AC	"pushfq; orl $0x40000, (%%rsp); popfq; "

/* The page begins with code that goes back in ring 0, and has HLT at 2 for ring 3. */
static struct trap try(enum access a, bool user, bool ac)
{
	struct trap t;

	if (user)
		return in_ring3(USER + 3 * a, a == FETCH ? WINDOW + 2 : WINDOW + 64);
	if (a == FETCH)
		return TRY("jmp *%1", "r"(WINDOW));
	if (!ac)
		return a == READ ? TRY("movb (%1), %%al", "r"(WINDOW + 64)) : TRY("movb %%al, (%1)", "r"(WINDOW + 64));
	t = a == READ ? TRY(SET_AC "movb (%1), %%al", "r"(WINDOW + 64)) :
			TRY(SET_AC "movb %%al, (%1)", "r"(WINDOW + 64));
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
	return t;
}

/* What the manual says: the error code, or -1 for an access that is allowed. */
static int model(enum access a, bool user, bool ac, const uint64_t e[4])
{
	bool wp = READ_CR(0) & CR0_WP, nxe = rdmsr(MSR_EFER) & EFER_NXE;
	bool smep = READ_CR(4) & CR4_SMEP, smap = READ_CR(4) & CR4_SMAP;
	int error = (a == WRITE ? 2 : 0) | (user ? 4 : 0) | (a == FETCH && (nxe || smep) ? 16 : 0);
	uint64_t all = W | U, nx = 0;

	for (unsigned int i = 0; i < 4; i++) {
		if (!(e[i] & P))
			return error;
		if ((e[i] & NX) && !nxe)
			return error | 9;
		all &= e[i];
		nx |= e[i] & NX;
	}
	error |= 1;
	if ((user && !(all & U)) || (a == FETCH && nx))
		return error;
	if (a == WRITE && !(all & W) && (user || wp))
		return error;
	if (!user && (all & U) && (a == FETCH ? smep : smap && !ac))
		return error;
	return -1;
}

static unsigned int tried, wrong;

static void one(enum access a, bool user, bool ac, const uint64_t e[4])
{
	int want = model(a, user, ac, e), is;
	struct trap t = try(a, user, ac);

	if (user && t.vector == 13)
		is = -1;
	else
		is = t.vector == NO_TRAP ? -1 : t.vector == 14 ? (int)t.error : -2;
	tried++;
	/* QEMU's emulated CPU leaves the present bit clear with the reserved one. */
	if (is_tcg_cpu() && want >= 0 && (want & 9) == 9 && is == (want & ~1))
		return;
	if (is == want && (is < 0 || t.cr2 == (a == FETCH ? WINDOW + (user ? 2 : 0) : WINDOW + 64)))
		return;
	if (wrong++ < 5)
		note("%s %s%s, entries %lx %lx %lx %lx: %d (exception %lu, CR2 %lx), expected %d", user ? "user" : "kernel",
		     access_name[a], ac ? " with AC" : "", e[0], e[1], e[2], e[3], is, t.vector, t.cr2, want);
}

static void all_accesses(const uint64_t e[4])
{
	set_path(e);
	for (enum access a = READ; a <= FETCH; a++) {
		one(a, false, false, e);
		one(a, true, false, e);
		if (a != FETCH && READ_CR(4) & CR4_SMAP)
			one(a, false, true, e);
	}
}

/* Every entry in every state while the others allow all, then any mixture. */
static void matrix(const char *mode)
{
	static uint32_t random = 1;
	uint64_t e[4];

	tried = wrong = 0;
	for (unsigned int level = 0; level < 4; level++) {
		for (unsigned int bits = 0; bits < 16; bits++) {
			for (unsigned int i = 0; i < 4; i++)
				e[i] = P | W | U;
			e[level] = (bits & 7) | (bits & 8 ? NX : 0);
			all_accesses(e);
		}
	}
	for (unsigned int n = 0; n < 60; n++) {
		for (unsigned int i = 0; i < 4; i++) {
			random = random * 1103515245 + 12345;
			/* Mostly present, executable and for the user. */
			e[i] = (random >> 16 & 15 ? P : 0) | (random >> 20 & 3 ? W : 0) | (random >> 22 & 3 ? U : 0) |
			       (random >> 24 & 7 ? 0 : NX);
		}
		all_accesses(e);
	}
	ok(!wrong, "%s: %u accesses, %u wrong", mode, tried, wrong);
}

static void modes(void)
{
	uint64_t cr0 = READ_CR(0), cr4 = READ_CR(4), efer = rdmsr(MSR_EFER);
	uint32_t r[4];

	matrix("WP, NXE");
	WRITE_CR(0, cr0 & ~CR0_WP);
	matrix("NXE");
	wrmsr(MSR_EFER, efer & ~EFER_NXE);
	matrix("neither");
	WRITE_CR(0, cr0);
	matrix("WP");

	cpuid(7, 0, r);
	/* What this image itself runs on must not be the user's then. */
	for (unsigned int i = 0; i < 2048; i++)
		pds[i] &= ~U;
	flush();
	if (r[1] & 1 << 7) {
		WRITE_CR(4, cr4 | CR4_SMEP);
		matrix("WP, SMEP");
		wrmsr(MSR_EFER, efer);
		matrix("WP, NXE, SMEP");
	} else {
		skip("SMEP", "the CPU has none");
	}
	wrmsr(MSR_EFER, efer);
	if (r[1] & 1 << 20) {
		WRITE_CR(4, cr4 | CR4_SMAP);
		matrix("WP, NXE, SMAP");
		WRITE_CR(0, cr0 & ~CR0_WP);
		matrix("NXE, SMAP");
		WRITE_CR(0, cr0);
		if (r[1] & 1 << 7) {
			WRITE_CR(4, cr4 | CR4_SMAP | CR4_SMEP);
			matrix("WP, NXE, SMEP, SMAP");
		}
		ok(TRY("clac").vector == NO_TRAP && TRY("stac; clac").vector == NO_TRAP, "STAC and CLAC");
	} else {
		skip("SMAP", "the CPU has none");
	}
	WRITE_CR(4, cr4);
	for (unsigned int i = 0; i < 2048; i++)
		pds[i] |= U;
	flush();
}

static void reserved_is(const char *what, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const uint64_t e[4] = { a, b, c, d };
	struct trap t;

	set_path(e);
	t = TRY("movb (%1), %%al", "r"(WINDOW + 64));
	/* QEMU's emulated CPU, see above. */
	ok(t.vector == 14 && (t.error == 9 || (is_tcg_cpu() && t.error == 8)) && t.cr2 == WINDOW + 64,
	   "reserved bit, %s: exception %lu error %lx", what, t.vector, t.error);
}

static bool gb_pages(void)
{
	uint32_t r[4];

	cpuid(0x80000001, 0, r);
	return r[3] & 1 << 26;
}

static void reserved(void)
{
	const uint64_t all = P | W | U;
	uint64_t save_pdpt = target[1], save_pd = target[2];
	uint32_t r[4];

	cpuid(0x80000008, 0, r);
	if ((r[0] & 0xff) < 51) {
		reserved_is("address bit 51, PML4", all | 1ull << 51, all, all, all);
		reserved_is("address bit 51, PDPT", all, all | 1ull << 51, all, all);
		reserved_is("address bit 51, PD", all, all, all | 1ull << 51, all);
		reserved_is("address bit 51, PT", all, all, all, all | 1ull << 51);
	} else {
		skip("address bits", "this CPU has all");
	}
	reserved_is("PS in the PML4", all | PS, all, all, all);
	target[2] = 0;
	reserved_is("bit 13 of a 2 MiB page", all, all, all | PS | 1 << 13, all);
	reserved_is("bit 20 of a 2 MiB page", all, all, all | PS | 1 << 20, all);
	target[2] = save_pd;
	target[1] = 0;
	if (gb_pages()) {
		reserved_is("bit 13 of a 1 GiB page", all, all | PS | 1 << 13, all, all);
		reserved_is("bit 29 of a 1 GiB page", all, all | PS | 1 << 29, all, all);
	} else {
		reserved_is("PS in the PDPT", all, all | PS, all, all);
	}
	target[1] = save_pdpt;
}

static volatile uint8_t *seen(void *p)
{
	return (volatile uint8_t *)(WINDOW + (uint64_t)p);
}

/* The same memory as one page of 1 GiB, of 2 MiB, of 4 KiB, and back. */
static void large(void)
{
	const uint64_t all = P | W | U;

	*path[0] = target[0] | all;
	page[100] = 1;
	if (gb_pages()) {
		pdpt1[0] = all | PS | PAT;
		flush();
		ok(*seen(&page[100]) == 1 && (pdpt1[0] & (A | D)) == A, "1 GiB: a read, %lx", pdpt1[0]);
		*seen(&page[100]) = 2;
		ok(page[100] == 2 && (pdpt1[0] & (A | D)) == (A | D), "1 GiB: a write, %lx", pdpt1[0]);
		pdpt1[0] = P | U | PS;
		flush();
		ok(TRY("movb %%al, (%1)", "r"(seen(&page[100]))).error == 3 && !(pdpt1[0] & D), "1 GiB: read-only");
	} else {
		skip("1 GiB pages", "the CPU has none");
	}

	for (unsigned int i = 0; i < 512; i++)
		pd1[i] = (uint64_t)i << 21 | all | PS | PAT;
	pdpt1[0] = target[1] | all;
	flush();
	*seen(&page[100]) = 3;
	ok(page[100] == 3 && pd1[(uint64_t)page >> 21] & D && !(pdpt1[0] & D), "split into 2 MiB: a write, %lx",
	   pd1[(uint64_t)page >> 21]);
	ok(!(pd1[511] & A), "the others are untouched");

	for (unsigned int i = 0; i < 512; i++)
		pt1[i] = ((uint64_t)page & ~0x1fffffull) | i << 12 | all;
	pd1[(uint64_t)page >> 21] = target[2] | all;
	flush();
	*seen(&page[100]) = 4;
	ok(page[100] == 4 && pt1[(uint64_t)page >> 12 & 511] & D, "split into 4 KiB: a write");
	pt1[(uint64_t)page >> 12 & 511] = 0;
	invlpg((void *)seen(page));
	ok(TRY("movb (%1), %%al", "r"(seen(&page[100]))).vector == 14, "one of them goes");
	pd1[(uint64_t)page >> 21] = ((uint64_t)page & ~0x1fffffull) | all | PS;
	invlpg((void *)seen(page));
	ok(*seen(&page[100]) == 4, "merged into 2 MiB: all is there");
	if (gb_pages()) {
		pdpt1[0] = all | PS;
		flush();
		ok(*seen(&page[100]) == 4, "merged into 1 GiB: all is there");
	}
	/* One page: INVLPG of any address in it drops all of it. */
	pd1[0] = all | PS;
	pdpt1[0] = target[1] | all;
	flush();
	ok(TRY("movb (%1), %%al", "r"(WINDOW + 64)).vector == NO_TRAP, "a 2 MiB page is read");
	pd1[0] = 0;
	invlpg((void *)(WINDOW + 0x1ff000));
	ok(TRY("movb (%1), %%al", "r"(WINDOW + 64)).vector == 14, "INVLPG at its end drops all of it");
}

void test(void)
{
	target[0] = (uint64_t)pdpt1;
	target[1] = (uint64_t)pd1;
	target[2] = (uint64_t)pt1;
	target[3] = (uint64_t)page;
	memcpy(page, (const uint8_t[]){ 0xff, 0xe0, 0xf4 }, 3);	/* jmp *%rax; hlt */
	memcpy(user_page, user_code, user_code_end - user_code);
	pml4[2] = (uint64_t)pdpt2 | P | W | U;
	pdpt2[0] = (uint64_t)pd2 | P | W | U;
	pd2[0] = (uint64_t)pt2 | P | W | U;
	pt2[0] = (uint64_t)user_page | P | U;
	modes();
	reserved();
	large();
	pml4[1] = pml4[2] = 0;
	flush();
}
