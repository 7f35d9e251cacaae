// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hardware task switches in 32-bit protected mode: by JMP, CALL and IRET, by task
 * gates in the GDT and the IDT, to TSSs of both sizes; the link, NT, busy bits, what
 * is saved, TS, error codes on the other task's stack; TSSs that are refused.
 */
#include "bare.h"

/*
 * A blob of code for low memory and behind it: +0x1000 the length of an instruction
 * that is to be skipped after its fault, +0x1008 how many records there are, +0x100c
 * ESP, +0x1010 RSP of the 64-bit caller, descriptor-table registers from +0x1020,
 * +0x1800 GDT, +0x1a00 IDT, +0x2000 TSSs and below the end of each its stack, +0x2c00
 * records of 16 double words.
 */
#define BASE		0xc000
#define STR_(x)		#x
#define STR(x)		STR_(x)
#define L(sym)		"(" sym " - ts_start + " STR(BASE) ")"
#define AT(off)		"(" STR(BASE) " + " #off ")"
#define TSS(n)		(BASE + 0x2000 + 0x100 * (n))

/* Selectors; of TSS n: 0x50 + 8 * n, but for the gate. */
#define T0		0x50
#define T1		0x58
#define T16		0x60
#define GATE		0x68	/* to T1 */
#define ABSENT		0x70
#define SHORT		0x78
#define BAD_SS		0x80
#define TGP		0x88	/* #GP */
#define TTS		0x90	/* #TS */
#define NR_TSS		9
#define NR(sel)		(((sel) - T0) / 8)

/* Label 8 is where the first task must have been left for. */
#define EXPECT8	"	.pushsection .rodata.ts, \"a\"\n	.long 8b - ts_start + " STR(BASE) "\n	.popsection\n"
#define CASE(text)	"	movl	$0x12345, %eax\n" text "\n	clts\n" EXPECT8
/* An instruction of @len bytes that faults. */
#define FAULT(len, text) CASE("	movl $" #len ", " AT(0x1000) "\n8: " text)

__asm__(
"	.pushsection .rodata.ts, \"a\"\n	.balign 4\nts_eips:\n	.popsection\n"
"	.pushsection .text\n"
"	.balign	16\n"
"ts_start:\n"
"	.code32\n"
"	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n	movl	%eax, %es\n	movl	%eax, %ss\n"
"	movl	$" AT(0x20f0) ", %esp\n"
"	movl	%cr0, %eax\n	andl	$0x7fffffff, %eax\n	movl	%eax, %cr0\n"
"	movl	$0xc0000080, %ecx\n	rdmsr\n	andl	$~0x100, %eax\n	wrmsr\n"
"	lidt	" AT(0x1030) "\n"
"	clts\n"
"	movl	$0x50, %eax\n	ltr	%ax\n"
	CASE("	ljmp $0x58, $0; 8:")
	CASE("	lcall $0x58, $0; 8:")
	CASE("	ljmp $0x68, $0; 8:")
	CASE("	lcall $0x68, $0; 8:")
	CASE("	int $0x60; 8:")
	CASE("	lcall $0x60, $0; 8:")
	CASE("	ljmp $0x60, $0; 8:")
	FAULT(7, "ljmp $0x50, $0")
	FAULT(7, "ljmp $0x70, $0")
	FAULT(7, "lcall $0x78, $0")
	CASE("	ljmp $0x80, $0; 8:")
	FAULT(2, "movl %eax, %ds")
	CASE("	lcall $0x58, $0; 8:")
/* and back */
"	movl	$0xc0000080, %ecx\n	rdmsr\n	orl	$0x100, %eax\n	wrmsr\n"
"	movl	%cr0, %eax\n	orl	$0x80000000, %eax\n	movl	%eax, %cr0\n"
"	ljmp	$0x18, $ts_back\n"
/* a record: EBX is the task's selector, EBP its TSS, ESI an error code */
"ts_record:\n"
"	movl	" AT(0x1008) ", %edi\n	incl	" AT(0x1008) "\n"
"	shll	$6, %edi\n	addl	$" AT(0x2c00) ", %edi\n"
"	pushfl\n	popl	(%edi)\n"
"	xorl	%eax, %eax\n	str	%ax\n	movl	%eax, 4(%edi)\n"
"	movl	%cr0, %eax\n	movl	%eax, 8(%edi)\n"
"	movl	%esi, 12(%edi)\n"
"	movzwl	(%ebp), %eax\n	movl	%eax, 16(%edi)\n"
"	movzbl	" AT(0x1855) ", %eax\n	movl	%eax, 20(%edi)\n"
"	movzbl	" AT(0x1805) "(%ebx), %eax\n	movl	%eax, 24(%edi)\n"
"	movl	" AT(0x2020) ", %eax\n	movl	%eax, 28(%edi)\n"
"	movl	" AT(0x2024) ", %eax\n	movl	%eax, 32(%edi)\n"
"	movl	" AT(0x2028) ", %eax\n	movl	%eax, 36(%edi)\n"
"	movl	%esp, 40(%edi)\n"
"	ret\n"
/* tasks go back as they were come to */
"ts_task16:\n"
"	movzwl	%bx, %ebx\n	movzwl	%bp, %ebp\n	movzwl	%sp, %esp\n"
"ts_task:\n"
"	call	ts_record\n"
"	testl	$0x4000, (%edi)\n"
"	jz	1f\n"
"	iretl\n"
"	jmp	ts_task\n"
"1:	ljmp	$0x50, $0\n"
"	jmp	ts_task\n"
"ts_task_gp:\n"
"	popl	%esi\n"
"	call	ts_record\n"
"	movl	" AT(0x1000) ", %eax\n	addl	%eax, " AT(0x2020) "\n"
"	iretl\n"
"	jmp	ts_task_gp\n"
/* #TS may come from a task that cannot go on: then straight to the first one */
"ts_task_ts:\n"
"	popl	%esi\n"
"	call	ts_record\n"
"	cmpw	$0x50, (%ebp)\n"
"	jne	1f\n"
"	movl	" AT(0x1000) ", %eax\n	addl	%eax, " AT(0x2020) "\n"
"	iretl\n"
"	jmp	ts_task_ts\n"
"1:	ljmp	$0x50, $0\n"
"	jmp	ts_task_ts\n"
/* #NP, in the task that had it; anything else hangs */
"ts_np:\n"
"	popl	%esi\n"
"	pushl	%ebx\n	pushl	%ebp\n"
"	movl	$0x50, %ebx\n	movl	$" AT(0x2000) ", %ebp\n"
"	call	ts_record\n"
"	popl	%ebp\n	popl	%ebx\n"
"	movl	(%esp), %eax\n	movl	%eax, 28(%edi)\n"
"	movl	" AT(0x1000) ", %eax\n	addl	%eax, (%esp)\n"
"	iretl\n"
"ts_end:\n"
/* ---- 64-bit */
"	.code64\n"
"ts_enter:\n"
"	pushq	%rbx\n	pushq	%rbp\n	pushq	%r12\n	pushq	%r13\n	pushq	%r14\n	pushq	%r15\n"
"	movq	%rsp, " AT(0x1010) "\n"
"	lgdt	" AT(0x1020) "\n"
"	pushq	$0x08\n	pushq	$" STR(BASE) "\n	lretq\n"
"ts_back:\n"
"	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n	movl	%eax, %es\n	movl	%eax, %ss\n	movl	%eax, %fs\n	movl	%eax, %gs\n"
"	movq	" AT(0x1010) ", %rsp\n"
"	popq	%r15\n	popq	%r14\n	popq	%r13\n	popq	%r12\n	popq	%rbp\n	popq	%rbx\n"
"	ret\n"
"	.popsection\n");

extern const uint8_t ts_start[], ts_end[], ts_task16[], ts_task[], ts_task_gp[], ts_task_ts[], ts_np[];
extern const uint32_t ts_eips[];
extern uint64_t gdt[];
void ts_enter(void);

#define NONE	0xffff		/* of the link: not written */
#define STARTED	0xfffe

static const struct expect {
	const char *what;
	uint16_t tr, error, link;
	bool nt;		/* in the task that is there then */
	bool t0_busy;
} expects[] = {
	{ "JMP", T1, 0, STARTED, false, false },
	{ "CALL", T1, 0, T0, true, true },
	/* The link is what the CALL left. */
	{ "JMP through a gate", T1, 0, T0, false, false },
	{ "CALL through a gate", T1, 0, T0, true, true },
	{ "INT", T1, 0, T0, true, true },
	{ "CALL to 16 bits", T16, 0, T0, true, true },
	{ "JMP to 16 bits", T16, 0, T0, false, false },
	{ "JMP to itself: #GP", TGP, T0, T0, true, true },
	{ "absent TSS: #NP", T0, ABSENT, NONE, false, true },
	{ "short TSS: #TS", TTS, SHORT, T0, true, true },
	{ "stack that is code: #TS there", TTS, 0x08, BAD_SS, true, false },
	{ "#GP by a task gate", TGP, 0x2344, T0, true, true },
	{ "CALL again", T1, 0, T0, true, true },
};

static void put16(uint32_t at, uint16_t v) { *(volatile uint16_t *)(uint64_t)at = v; }
static void put32(uint32_t at, uint32_t v) { *(volatile uint32_t *)(uint64_t)at = v; }

static uint32_t at_of(const uint8_t *code)
{
	return BASE + (code - ts_start);
}

static void tss32(uint16_t sel, const uint8_t *code, uint16_t ss)
{
	uint32_t at = TSS(NR(sel));

	put16(at, STARTED);
	put32(at + 0x20, at_of(code));
	put32(at + 0x24, 2);
	put32(at + 0x34, sel);			/* EBX */
	put32(at + 0x38, at + 0xf0);
	put32(at + 0x3c, at);			/* EBP */
	for (unsigned int i = 0; i < 6; i++)
		put16(at + 0x48 + 4 * i, SEL_DATA);
	put16(at + 0x4c, SEL_CODE32);
	put16(at + 0x50, ss);
}

static void tss16(uint16_t sel, const uint8_t *code)
{
	uint32_t at = TSS(NR(sel));

	put16(at, STARTED);
	put16(at + 0x0e, at_of(code));
	put16(at + 0x10, 2);
	put16(at + 0x18, sel);
	put16(at + 0x1a, at + 0xf0);
	put16(at + 0x1c, at);
	for (unsigned int i = 0; i < 4; i++)
		put16(at + 0x22 + 2 * i, SEL_DATA);
	put16(at + 0x24, SEL_CODE32);
}

static void gate(uint32_t at, uint32_t offset, uint16_t sel, uint16_t type)
{
	put32(at, sel << 16 | (offset & 0xffff));
	put32(at + 4, (offset & 0xffff0000) | type << 8);
}

static void set_up(void)
{
	volatile uint64_t *g = (uint64_t *)(BASE + 0x1800ul);

	memset((void *)BASE, 0, 0x3800);
	memcpy((void *)BASE, ts_start, ts_end - ts_start);
	for (unsigned int i = 0; i < T0 / 8 - 1; i++)
		g[i] = gdt[i];
	for (unsigned int i = 0; i < NR_TSS; i++)
		g[T0 / 8 + i] = 0x0000890000000067 | (uint64_t)TSS(i) << 16;
	g[T16 / 8] = 0x000081000000002b | (uint64_t)TSS(NR(T16)) << 16;
	g[GATE / 8] = 0x0000850000000000 | T1 << 16;
	g[ABSENT / 8] &= ~(0x80ull << 40);
	g[SHORT / 8] -= 1;
	tss32(T1, ts_task, SEL_DATA);
	tss16(T16, ts_task16);
	tss32(BAD_SS, ts_task, SEL_CODE32);
	tss32(TGP, ts_task_gp, SEL_DATA);
	tss32(TTS, ts_task_ts, SEL_DATA);
	gate(BASE + 0x1a00 + 8 * 10, 0, TTS, 0x85);
	gate(BASE + 0x1a00 + 8 * 11, at_of(ts_np), SEL_CODE32, 0x8e);
	gate(BASE + 0x1a00 + 8 * 13, 0, TGP, 0x85);
	gate(BASE + 0x1a00 + 8 * 0x60, 0, T1, 0x85);
	put16(BASE + 0x1020, TTS + 7);
	put32(BASE + 0x1022, BASE + 0x1800);
	put16(BASE + 0x1030, 0x61 * 8 - 1);
	put32(BASE + 0x1032, BASE + 0x1a00);
}

void test(void)
{
	unsigned int n = sizeof(expects) / sizeof(expects[0]);

	ok(ts_end - ts_start < 0x1000, "the code fits: %lu bytes", (uint64_t)(ts_end - ts_start));
	set_up();
	ts_enter();
	wrmsr(MSR_GS_BASE, (uint64_t)&cpus[0]);
	__asm__ volatile("lgdt gdtr");
	gdt[SEL_TSS / 8] &= ~(2ull << 40);	/* not busy */
	__asm__ volatile("ltr %w0" :: "r"(SEL_TSS));
	idt_load();
	for (unsigned int i = 0; i < n; i++) {
		const volatile uint32_t *r = (uint32_t *)(BASE + 0x2c00ul) + 16 * i;
		const struct expect *e = &expects[i];
		bool same = e->tr == T0;	/* no switch, after all */
		uint32_t link = e->link == NONE ? r[4] : e->link;

		ok(r[1] == e->tr && r[3] == e->error && r[4] == link && !!(r[0] & 0x4000) == e->nt &&
		   !!(r[2] & 8) == !same,
		   "%s: task %x, error %x, link %x, flags %x, CR0 %x", e->what, r[1], r[3], r[4], r[0], r[2]);
		ok((r[5] & 0x9f) == (e->t0_busy ? 0x8b : 0x89) && (r[6] & 2) && r[7] == ts_eips[i] &&
		   (same || ((r[8] & ~0x100d5u) == 2 && r[9] == 0x12345)),
		   "%s: the first one's type %x, this one's %x, left at %x with %x, %x, expected %x", e->what,
		   r[5], r[6], r[7], r[8], r[9], ts_eips[i]);
	}
	ok(*(volatile uint32_t *)(BASE + 0x1008ul) == n, "%u records", n);
}
