// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Delivery of exceptions with their error codes and addresses: #DE #DB #BP
 * #UD #NM #NP #SS #GP #PF, from ring 0 and ring 3, #DF on a stack of its own.
 */
#include "bare.h"

static void expect(const char *what, struct trap t, unsigned int vector, uint64_t error)
{
	ok(t.vector == vector && t.error == error, "%s: exception %lu error %lx, expected %u %lx", what, t.vector,
	   t.error, vector, error);
}

static struct trap user(void (*fn)(void))
{
	return in_ring3((uint64_t)fn, 0);
}

static void user_cli(void) { __asm__ volatile("cli"); }
static void user_int3(void) { __asm__ volatile("int3"); }
static void user_int80(void) { __asm__ volatile("int $0x80"); }
static void user_ud(void) { __asm__ volatile("ud2"); }
static void user_read(void) { __asm__ volatile("movq 0x200000, %%rax; hlt" ::: "rax"); }
static void user_io(void) { __asm__ volatile("outb %%al, $0x80" :: "a"(0)); }
static void user_port(void) { __asm__ volatile("movq %%cr0, %%rax" ::: "rax"); }

extern uint64_t pds[];

static void ring3(void)
{
	struct trap t;

	t = user(user_cli);
	ok(t.cs == SEL_UCODE64 && t.vector == 13, "CLI in ring 3: exception %lu from CS %lx", t.vector, t.cs);
	expect("INT3 in ring 3", user(user_int3), 3, 0);
	/* QEMU's emulated CPU takes the vector times 16. */
	t = user(user_int80);
	expect("INT 0x80 without a ring 3 gate", t, 13, 0x80 * (is_tcg_cpu() && t.error == 0x802 ? 16 : 8) + 2);
	expect("UD2 in ring 3", user(user_ud), 6, 0);
	expect("OUT in ring 3", user(user_io), 13, 0);
	expect("MOV CR0 in ring 3", user(user_port), 13, 0);
	pds[1] &= ~4ull;		/* 2 MiB on: for the supervisor alone */
	WRITE_CR(3, READ_CR(3));
	t = user(user_read);
	expect("read of a supervisor page in ring 3", t, 14, 5);
	ok(t.cr2 == 0x200000, "CR2 %lx, expected 200000", t.cr2);
	pds[1] |= 4;
	WRITE_CR(3, READ_CR(3));
}

static volatile bool df_seen;
static uint64_t df_resume, df_rsp;

static void on_df(struct frame *f)
{
	uint64_t sp;

	__asm__ volatile("movq %%rsp, %0" : "=r"(sp));
	df_seen = sp > (uint64_t)this_cpu()->ist_stack && sp < (uint64_t)(this_cpu()->ist_stack + 512) && !f->error;
	f->rip = df_resume;
	f->rsp = df_rsp;
	f->ss = SEL_DATA;
}

/* A push below a page that is not there: #PF cannot be delivered either. */
static void double_fault(void)
{
	set_handler(8, on_df);
	pds[1] &= ~1ull;
	WRITE_CR(3, READ_CR(3));
	__asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0; movq %%rsp, %1\n\t"
			 "movq $0x300000, %%rsp; pushq %%rax\n1:"
			 : "=m"(df_resume), "=m"(df_rsp) :: "rax", "memory");
	pds[1] |= 1;
	WRITE_CR(3, READ_CR(3));
	set_handler(8, NULL);
	ok(df_seen, "double fault, on its own stack");
}

static void debug(void)
{
	static uint64_t watched __attribute__((aligned(8)));
	struct trap t;

	t = TRY("pushfq; orq $0x100, (%%rsp); popfq; nop; nop", "m"(watched));
	ok(t.vector == 1 && t.dr6 & 1 << 14, "single step: exception %lu, DR6 %lx", t.vector, t.dr6);

	__asm__ volatile("mov %0, %%dr6" :: "r"(0xffff0ff0ul));
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" :: "r"(&watched), "r"(0xd0002ul | 0x400));
	t = TRY("movq $1, %1", "m"(watched));
	__asm__ volatile("mov %0, %%dr7" :: "r"(0x400ul));
	if (t.vector == NO_TRAP && is_tcg_cpu() && !is_tcg())
		skip("data breakpoint", "QEMU's VMRUN arms none");
	else
		ok(t.vector == 1 && (t.dr6 & 0xf) == 1, "data breakpoint: exception %lu, DR6 %lx", t.vector, t.dr6);

	__asm__ volatile("mov %0, %%dr6" :: "r"(0xffff0ff0ul));
	t = TRY(".byte 0xf1");
	if (t.vector == 6 && is_tcg_cpu())
		skip("ICEBP", "QEMU's emulated CPU has none");
	else
		ok(t.vector == 1, "ICEBP: exception %lu", t.vector);
}

static void reserved(void)
{
	expect("write to an MSR that is not there", TRY("wrmsr", "c"(0x12345678), "d"(0)), 13, 0);
	expect("read of an MSR that is not there", TRY("rdmsr", "c"(0x12345678)), 13, 0);
	expect("EFER reserved bits", TRY("movl $0, %%eax; wrmsr", "c"(MSR_EFER), "d"(1)), 13, 0);
	expect("CR0.PG without PE", TRY("movq %1, %%cr0", "r"(READ_CR(0) & ~1ull)), 13, 0);
	expect("CR0.NW without CD", TRY("movq %1, %%cr0", "r"((READ_CR(0) & ~(1ull << 30)) | 1 << 29)), 13, 0);
	expect("CR4 reserved bit", TRY("movq %1, %%cr4", "r"(READ_CR(4) | 1ull << 31)), 13, 0);
	expect("CR4.PAE off in long mode", TRY("movq %1, %%cr4", "r"(READ_CR(4) & ~0x20ull)), 13, 0);
	expect("LME off while paging", TRY("movl %1, %%eax; wrmsr", "r"((uint32_t)rdmsr(MSR_EFER) & ~0x100u),
	       "c"(MSR_EFER), "d"((uint32_t)(rdmsr(MSR_EFER) >> 32))), 13, 0);
}

void test(void)
{
	uint64_t saved, cr0;
	struct trap t;
	uint32_t r[4];

	expect("division by zero", TRY("movl $1, %%eax; divl %1", "r"(0), "d"(0)), 0, 0);
	expect("INT3", TRY("int3"), 3, 0);
	expect("UD2", TRY("ud2"), 6, 0);
	expect("INTO's opcode in 64-bit mode", TRY(".byte 0xce"), 6, 0);
	cr0 = READ_CR(0);
	WRITE_CR(0, cr0 | 8);
	expect("SSE with CR0.TS", TRY("movaps %%xmm0, %%xmm1"), 7, 0);
	WRITE_CR(0, cr0);
	expect("SSE without CR0.TS", TRY("movaps %%xmm0, %%xmm1"), NO_TRAP, this_cpu()->trap.error);
	WRITE_CR(0, cr0 | 4);
	expect("SSE with CR0.EM", TRY("movaps %%xmm0, %%xmm1"), 6, 0);
	WRITE_CR(0, cr0);
	expect("segment not present", TRY("movl %1, %%es", "r"(SEL_ABSENT)), 11, SEL_ABSENT);
	expect("selector beyond the GDT", TRY("movl %1, %%es", "r"(0x7ff8)), 13, 0x7ff8);
	expect("code segment into SS", TRY("movl %1, %%ss", "r"(SEL_CODE64)), 13, SEL_CODE64);
	expect("non-canonical address", TRY("movq (%1), %%rax", "r"(1ull << 62)), 13, 0);
	if (is_tcg_cpu())
		skip("non-canonical stack", "QEMU's TCG raises #GP for it");
	else
		expect("non-canonical stack", TRY("movq (%%rsp, %1), %%rax", "r"(1ull << 62)), 12, 0);
	if (is_tcg())
		skip("reserved bits of MSRs and control registers", "QEMU's TCG does not check them");
	else
		reserved();

	/* Page faults on the 2 MiB at 2 MiB. */
	saved = pds[1];
	pds[1] = 0;
	WRITE_CR(3, READ_CR(3));
	t = TRY("movq 0x234568, %%rax");
	expect("read of an absent page", t, 14, 0);
	ok(t.cr2 == 0x234568, "CR2 %lx, expected 234568", t.cr2);
	expect("write to an absent page", TRY("movq %%rax, 0x234568"), 14, 2);
	pds[1] = saved & ~2ull;
	WRITE_CR(3, READ_CR(3));
	expect("write to a read-only page", TRY("movq %%rax, 0x200000"), 14, 3);
	WRITE_CR(0, cr0 & ~(1ull << 16));
	expect("the same without CR0.WP", TRY("movq %%rax, 0x200000"), NO_TRAP, this_cpu()->trap.error);
	WRITE_CR(0, cr0);
	cpuid(0x80000001, 0, r);
	if (r[3] & 1 << 20) {
		pds[1] = saved | 1ull << 63;
		WRITE_CR(3, READ_CR(3));
		*(volatile uint8_t *)0x200000 = 0xc3;
		expect("execution of a no-execute page", TRY("jmp *%1", "r"(0x200000ul)), 14, 0x11);
	} else {
		skip("execution of a no-execute page", "no NX");
	}
	cpuid(0x80000008, 0, r);
	if ((r[0] & 0xff) < 51) {
		pds[1] = saved | 1ull << 51;
		WRITE_CR(3, READ_CR(3));
		/* QEMU's emulated CPU leaves bit 0 (present) clear. */
		t = TRY("movq 0x200000, %%rax");
		expect("reserved bit in a page-table entry", t, 14, is_tcg_cpu() && t.error == 8 ? 8 : 9);
		note("physical address bits: %u", r[0] & 0xff);
	}
	pds[1] = saved;
	WRITE_CR(3, READ_CR(3));
	expect("all well again", TRY("movq 0x200000, %%rax"), NO_TRAP, this_cpu()->trap.error);

	debug();
	double_fault();
	ring3();
}
