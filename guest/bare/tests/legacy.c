// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Exceptions outside of 64-bit mode: in compatibility mode, 32- and 16-bit
 * protected mode, real mode and virtual-8086 mode: which vector, with which
 * error code or none, at which instruction, from which segment.
 */
#include "bare.h"

/*
 * A blob of code for low memory, where all modes reach it, and behind it: where
 * a handler goes on (+0x1000 offset, +0x1004 or, in real mode, +0x1002 segment,
 * +0x100c ESP), +0x1008 how many records there are, +0x1010 RSP of the 64-bit
 * caller, descriptor-table registers from +0x1020, +0x1800 GDT, +0x1980 TSS,
 * +0x1ffc the stack, +0x2000 IDT, +0x2800 real-mode interrupt
 * table, +0x2c00 records of 12 double words.
 */
#define BASE		0xc000
#define STR_(x)		#x
#define STR(x)		STR_(x)
#define L(sym)		"(" sym " - lg_start + " STR(BASE) ")"
#define AT(off)		"(" STR(BASE) " + " #off ")"

#define SEL_TSS32	0x58
#define NONE		0xffff		/* for a vector: nothing happened */
#define NO_CODE		0xfffff		/* for an error code: none is pushed */

/* Label 8 is where the exception must say that it was, 9 where it goes on. */
#define EXPECT8(base)							\
	"	.pushsection .rodata.lg, \"a\"\n	.long 8b - lg_start + " #base "\n	.popsection\n"

#define IN32(text)							\
	"	movl	$" L("9f") ", " AT(0x1000) "\n"			\
	"	movw	$0x08, " AT(0x1004) "\n"			\
	"	movl	%esp, " AT(0x100c) "\n"				\
	text "\n"							\
	"	pushl	$0xffff\n	jmp	lg_common\n"		\
	"9:\n" EXPECT8(0xc000)

#define IN16(text)							\
	"	movl	$" L("9f") ", " AT(0x1000) "\n"			\
	"	movw	$0x30, " AT(0x1004) "\n"			\
	"	movl	%esp, " AT(0x100c) "\n"				\
	text "\n"							\
	"	pushl	$0xffff\n	ljmpl	$0x08, $" L("lg_common") "\n" \
	"9:\n" EXPECT8(0xc000)

#define REAL(text)							\
	"	movw	$(9f - lg_start), " AT(0x1000) "\n"		\
	"	movw	$(" STR(BASE) " >> 4), " AT(0x1002) "\n"	\
	"	movl	%esp, " AT(0x100c) "\n"				\
	text "\n"							\
	"	pushw	$-1\n	jmp	lg_common16\n"			\
	"9:\n" EXPECT8(0)

#define V86(iopl, text)							\
	"	movl	$" L("9f") ", " AT(0x1000) "\n"			\
	"	movw	$0x08, " AT(0x1004) "\n"			\
	"	movl	%esp, " AT(0x100c) "\n"				\
	"	pushl	$0x111\n	pushl	$0x222\n	pushl	$0x333\n	pushl	$0x444\n" \
	"	pushl	$0\n	pushl	$" AT(0x1f00) "\n"		\
	"	pushl	$(0x20002 + (" #iopl " << 12))\n"		\
	"	pushl	$(" STR(BASE) " >> 4)\n	pushl	$(7f - lg_start)\n	iretl\n" \
	"	.code16\n7:" text "\n	hlt\n	.code32\n"		\
	"9:\n" EXPECT8(0)

__asm__(
"	.pushsection .rodata.lg, \"a\"\n	.balign 4\nlg_eips:\n	.popsection\n"
"	.pushsection .text\n"
"	.balign	16\n"
"lg_start:\n"
"	.code32\n"
"	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n	movl	%eax, %es\n	movl	%eax, %ss\n"
"	movl	$" AT(0x1ffc) ", %esp\n"
"	movl	%cr0, %eax\n	andl	$0x7fffffff, %eax\n	movl	%eax, %cr0\n"
"	movl	$0xc0000080, %ecx\n	rdmsr\n	andl	$~0x100, %eax\n	wrmsr\n"
"	lidt	" AT(0x1030) "\n"
/* 32-bit protected mode */
	IN32("	xorl %ecx, %ecx; xorl %edx, %edx; movl $1, %eax\n8: divl %ecx")
	IN32("	int3; 8: nop")
	IN32("	movb $0x7f, %al; addb $1, %al; into; 8: nop")
	IN32("	movl $5, %eax\n8: bound %eax, " AT(0x1028))
	IN32("8:	ud2")
	IN32("	movl $0x40, %eax\n8: movl %eax, %es")
	IN32("	movl $0x40, %eax\n8: movl %eax, %ss")
	IN32("8:	ljmp $0x40, $0")
	IN32("	movl $0x08, %eax\n8: movl %eax, %ss")
	IN32("	movl $0x7ff8, %eax\n8: movl %eax, %ds")
	IN32("8:	int $0x61")
	IN32("8:	int $0x62")
	IN32("	int $0x60; 8: nop")
	IN32("8:	movl %eax, %cs:0xc000")
	IN32("	pushfl; orl $0x100, (%esp); popfl; nop; 8: nop")
	IN32("	movl $0x38, %eax; movl %eax, %es\n8: movl %es:0x10000, %eax")
/* 16-bit protected mode */
"	ljmp	$0x30, $" L("1f") "\n"
"	.code16\n"
"1:	movw	$0x38, %ax\n	movw	%ax, %ss\n"
	IN16("	xorw %cx, %cx; xorw %dx, %dx\n8: divw %cx")
	IN16("	int3; 8: nop")
	IN16("8:	ud2")
	IN16("	movw $0x40, %ax\n8: movw %ax, %es")
	IN16("	int $0x60; 8: nop")
	IN16("	movw $0x38, %ax; movw %ax, %es\n8: movw %es:0xffff, %ax")
/* real mode, which keeps the limits of before */
"	movw	$0x38, %ax\n	movw	%ax, %ds\n	movw	%ax, %es\n"
"	movl	%cr0, %eax\n	andl	$~1, %eax\n	movl	%eax, %cr0\n"
"	ljmp	$(" STR(BASE) " >> 4), $(1f - lg_start)\n"
"1:	xorw	%ax, %ax\n	movw	%ax, %ds\n	movw	%ax, %es\n	movw	%ax, %ss\n"
"	lidtl	" AT(0x1038) "\n"
	REAL("	xorw %cx, %cx; xorw %dx, %dx\n8: divw %cx")
	REAL("	int3; 8: nop")
	REAL("	movb $0x7f, %al; addb $1, %al; into; 8: nop")
	REAL("	movw $5, %ax\n8: boundw %ax, " AT(0x1028))
	REAL("8:	ud2")
	REAL("	int $0x60; 8: nop")
	REAL("8:	.byte 0x0f, 0x00, 0xc0")	/* SLDT */
	REAL("	pushfw; movw %sp, %bp; orw $0x100, (%bp); popfw; nop; 8: nop")
	REAL("8:	.fill 15, 1, 0x2e; nop")
	REAL("8:	movw 0xffff, %ax")
	REAL("	movw $0xffff, %bp\n8: movw (%bp), %ax")
/* 32-bit again, and from there virtual-8086 mode where that works */
"	movl	%cr0, %eax\n	orl	$1, %eax\n	movl	%eax, %cr0\n"
"	ljmpl	$0x08, $" L("1f") "\n"
"	.code32\n"
"1:	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n	movl	%eax, %es\n	movl	%eax, %ss\n"
"	lidt	" AT(0x1030) "\n"
"	cmpl	$0, " AT(0x1018) "\n"
"	je	lg_over\n"
"	movl	$0x58, %eax\n	ltr	%ax\n"
	V86(0, "8:	cli")
	V86(0, "8:	pushfw")
	V86(0, "8:	int $0x60")
	V86(0, "8:	hlt")
	V86(0, "8:	inb $0x80, %al")
	V86(0, "8:	movl %cr0, %eax")
	V86(0, "	xorw %cx, %cx; xorw %dx, %dx\n8: divw %cx")
	V86(0, "8:	ud2")
	V86(3, "	int3; 8: nop")
	V86(3, "	int $0x60; 8: nop")
	V86(3, "	pushfw; popfw; sti; cli\n8: ud2")
/* and back */
"lg_over:\n"
"	movl	$0xc0000080, %ecx\n	rdmsr\n	orl	$0x100, %eax\n	wrmsr\n"
"	movl	%cr0, %eax\n	orl	$0x80000000, %eax\n	movl	%eax, %cr0\n"
"	ljmp	$0x18, $lg_back\n"
/* handlers: all go on where the case said */
"	.balign	8\n"
"lg_stubs:\n"
"	vec = 0\n"
"	.rept	32\n	.balign	8\n	pushl	$vec\n	jmp	lg_common\n	vec = vec + 1\n	.endr\n"
"	.balign	8\n"
"	pushl	$0x60\n"
"lg_common:\n"
"	movl	$0x10, %eax\n	movl	%eax, %ds\n	movl	%eax, %es\n"
"	movl	" AT(0x1008) ", %edi\n	incl	" AT(0x1008) "\n"
"	leal	(%edi, %edi, 2), %edi\n	shll	$4, %edi\n	addl	$" AT(0x2c00) ", %edi\n"
"	movl	%esp, %esi\n	movl	$12, %ecx\n	cld\n	rep movsl\n"
"	movl	" AT(0x100c) ", %esp\n"
"	ljmp	*" AT(0x1000) "\n"
"	.code16\n"
"	.balign	8\n"
"lg_stubs16:\n"
"	vec = 0\n"
"	.rept	32\n	.balign	8\n	pushw	$vec\n	jmp	lg_common16\n	vec = vec + 1\n	.endr\n"
"	.balign	8\n"
"	pushw	$0x60\n"
"lg_common16:\n"
"	cld\n	xorl	%eax, %eax\n	movw	%ax, %ds\n	movw	%ax, %es\n"
"	movl	" AT(0x1008) ", %edi\n	incl	" AT(0x1008) "\n"
"	leal	(%edi, %edi, 2), %edi\n	shll	$4, %edi\n	addl	$" AT(0x2c00) ", %edi\n"
"	movl	%esp, %esi\n	movw	$4, %cx\n"
"1:	lodsw\n	stosl\n	loop	1b\n"
"	movl	" AT(0x100c) ", %esp\n"
"	ljmpw	*" AT(0x1000) "\n"
"lg_end:\n"
/* ---- 64-bit */
"	.code64\n"
"lg_enter:\n"
"	pushq	%rbx\n	pushq	%rbp\n	pushq	%r12\n	pushq	%r13\n	pushq	%r14\n	pushq	%r15\n"
"	movq	%rsp, " AT(0x1010) "\n"
"	lgdt	" AT(0x1020) "\n"
"	pushq	$0x08\n	pushq	$" STR(BASE) "\n	lretq\n"
"lg_back:\n"
"	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n	movl	%eax, %es\n	movl	%eax, %ss\n	movl	%eax, %fs\n	movl	%eax, %gs\n"
"	movq	" AT(0x1010) ", %rsp\n"
"	popq	%r15\n	popq	%r14\n	popq	%r13\n	popq	%r12\n	popq	%rbp\n	popq	%rbx\n"
"	ret\n"
/* compatibility mode: 32-bit code in the first 4 GiB, 16 bytes each */
"	.code32\n"
"	.balign	16\n"
"lg_compat:\n"
"	xorl	%ecx, %ecx\n	divl	%ecx\n	ud2\n"
"	.balign	16\n	int3\n"
"	.balign	16\n	movb	$0x7f, %al\n	addb	$1, %al\n	into\n	ud2\n"
"	.balign	16\n	nop\n	ud2\n"
"	.balign	16\n	movl	$0x40, %eax\n	movl	%eax, %es\n	ud2\n"
"	.balign	16\n	ljmp	$0x40, $0\n"
"	.balign	16\n	movl	0x200000, %eax\n	ud2\n"
"	.balign	16\n	movl	%eax, 0x200000\n	ud2\n"
"	.balign	16\n	int	$0x60\n	ud2\n"
"	.code64\n"
"	.popsection\n");

extern const uint8_t lg_start[], lg_end[], lg_stubs[], lg_stubs16[], lg_compat[];
extern const uint32_t lg_eips[];
extern uint64_t gdt[], pds[];
void lg_enter(void);

#define LIMITED		0x100		/* a vector that QEMU's emulated CPU does not raise */

struct expect {
	const char *what;
	uint32_t vector, error;
};

static const struct expect pm32[] = {
	{ "DIV by 0", 0, NO_CODE }, { "INT3", 3, NO_CODE }, { "INTO", 4, NO_CODE }, { "BOUND", 5, NO_CODE },
	{ "UD2", 6, NO_CODE }, { "absent segment", 11, 0x40 }, { "absent stack", 12, 0x40 },
	{ "jump to data", 13, 0x40 }, { "code into SS", 13, 8 }, { "beyond the GDT", 13, 0x7ff8 },
	{ "INT with an absent gate", 11, 0x61 * 8 + 2 }, { "INT with no gate at all", 13, 0x62 * 8 + 2 },
	{ "INT", 0x60, NO_CODE }, { "write to a code segment", 13 | LIMITED, 0 }, { "single step", 1, NO_CODE },
	{ "beyond a limit", 13 | LIMITED, 0 },
};

static const struct expect pm16[] = {
	{ "DIV by 0", 0, NO_CODE }, { "INT3", 3, NO_CODE }, { "UD2", 6, NO_CODE }, { "absent segment", 11, 0x40 },
	{ "INT", 0x60, NO_CODE }, { "across a limit", 13 | LIMITED, 0 },
};

static const struct expect real[] = {
	{ "DIV by 0", 0, NO_CODE }, { "INT3", 3, NO_CODE }, { "INTO", 4, NO_CODE }, { "BOUND", 5, NO_CODE },
	{ "UD2", 6, NO_CODE }, { "INT", 0x60, NO_CODE }, { "SLDT", 6, NO_CODE }, { "single step", 1, NO_CODE },
	{ "16 bytes", 13, NO_CODE }, { "a word at FFFF", 13 | LIMITED, NO_CODE },
	{ "of the stack segment", 12 | LIMITED, NO_CODE },
};

static const struct expect v86[] = {
	{ "CLI", 13, 0 }, { "PUSHF", 13, 0 }, { "INT", 13, 0 }, { "HLT", 13, 0 }, { "IN", 13, 0 }, { "MOV CR0", 13, 0 },
	{ "DIV by 0", 0, NO_CODE }, { "UD2", 6, NO_CODE }, { "INT3, IOPL 3", 3, NO_CODE },
	{ "INT, IOPL 3", 0x60, NO_CODE }, { "PUSHF, POPF, STI, CLI, IOPL 3", 6, NO_CODE },
};

static unsigned int nr;

static void compare(const char *mode, const struct expect *e, unsigned int n, uint32_t cs)
{
	for (unsigned int i = 0; i < n; i++, nr++) {
		const volatile uint32_t *r = (uint32_t *)(BASE + 0x2c00ul) + 12 * nr;
		unsigned int at = e[i].error == NO_CODE ? 1 : 2;
		bool vm = at + 2 < 12 && r[at + 2] >> 17 & 1;

		if (e[i].vector & LIMITED && is_tcg_cpu() && (r[0] & 0xffff) == NONE) {
			skip(e[i].what, "QEMU's emulated CPU does not check it");
			continue;
		}
		/* Virtual-8086 mode's segments are on the handler's stack, and no more in the registers. */
		ok((r[0] & 0xffff) == (e[i].vector & 0xff) && (at == 1 || r[1] == e[i].error) && r[at] == lg_eips[nr] && r[at + 1] == cs &&
		   vm == (e == v86) && (!vm || (r[at + 4] == 0 && r[at + 5] == 0x444 && r[at + 6] == 0x333 &&
						r[at + 7] == 0x222 && r[at + 8] == 0x111)),
		   "%s: %s: exception %u, then %x %x %x %x, expected %u with %x at %x:%x", mode, e[i].what, r[0], r[1], r[2],
		   r[3], r[4], e[i].vector & 0xff, e[i].error, cs, lg_eips[nr]);
	}
}

#define COMPARE(mode, table, cs) compare(mode, table, sizeof(table) / sizeof(table[0]), cs)

static void put16(uint32_t at, uint16_t v) { *(volatile uint16_t *)(uint64_t)at = v; }
static void put32(uint32_t at, uint32_t v) { *(volatile uint32_t *)(uint64_t)at = v; }

static void set_up(bool with_v86)
{
	volatile uint64_t *g = (uint64_t *)(BASE + 0x1800ul);

	memset((void *)BASE, 0, 0x3800);
	memcpy((void *)BASE, lg_start, lg_end - lg_start);
	put32(BASE + 0x1018, with_v86);
	for (unsigned int i = 0; i < 9; i++)
		g[i] = gdt[i];
	g[SEL_TSS32 / 8] = 0x0000890000000067 | (uint64_t)(BASE + 0x1980) << 16;
	put16(BASE + 0x1020, SEL_TSS32 + 7);
	put32(BASE + 0x1022, BASE + 0x1800);
	put32(BASE + 0x1028, 0);		/* for BOUND: 0 to 2 in 32 bits, 0 to 0 in 16 */
	put32(BASE + 0x102c, 2);
	put16(BASE + 0x1030, 0x62 * 8 - 1);
	put32(BASE + 0x1032, BASE + 0x2000);
	put16(BASE + 0x1038, 0x3ff);
	put32(BASE + 0x103a, BASE + 0x2800);
	put32(BASE + 0x1984, BASE + 0x1ef0);	/* ESP0 */
	put32(BASE + 0x1988, SEL_DATA);
	put16(BASE + 0x19e6, 0x68);		/* no I/O map */
	for (unsigned int v = 0; v <= 0x60; v++) {
		unsigned int stub = v < 32 ? v : 32;
		uint32_t at = BASE + (lg_stubs - lg_start) + stub * 8;

		if (v >= 32 && v < 0x60)
			continue;
		put32(BASE + 0x2000 + v * 8, SEL_CODE32 << 16 | at);
		put32(BASE + 0x2000 + v * 8 + 4, v == 3 || v == 0x60 ? 0xee00 : 0x8e00);
		put16(BASE + 0x2800 + v * 4, lg_stubs16 - lg_start + stub * 8);
		put16(BASE + 0x2800 + v * 4 + 2, BASE >> 4);
	}
	/* Absent; 0x62 is not in the table. */
	put32(BASE + 0x2000 + 0x61 * 8 + 4, 0x0e00);
}

static void compat(void)
{
	static const struct {
		const char *what;
		unsigned int vector, error, offset;
		uint64_t cr2;
	} cases[] = {
		{ "DIV by 0", 0, 0, 2, 0 }, { "INT3", 3, 0, 1, 0 }, { "INTO", 4, 0, 5, 0 }, { "UD2", 6, 0, 1, 0 },
		{ "absent segment", 11, 0x40, 5, 0 }, { "jump to data", 13, 0x40, 0, 0 },
		{ "read of an absent page", 14, 0, 0, 0x200000 }, { "write to it", 14, 2, 0, 0x200000 },
		{ "INT without a gate", 11, 0x60 * 8 + 2, 0, 0 },
	};
	uint64_t saved = pds[1];

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t rip = (uint64_t)lg_compat + 16 * i;
		struct trap t;

		pds[1] = cases[i].cr2 ? 0 : saved;
		WRITE_CR(3, READ_CR(3));
		if (cases[i].error == 0x60 * 8 + 2)
			set_gate_absent(0x60);
		t = in_code(SEL_CODE32, SEL_DATA, rip, 0);
		/* QEMU's emulated CPU takes an absent gate's vector times 16. */
		ok(t.vector == cases[i].vector && t.cs == SEL_CODE32 && t.rip == rip + cases[i].offset &&
		   (t.error == cases[i].error || (is_tcg_cpu() && t.error == 0x60 * 16 + 2)) &&
		   (!cases[i].cr2 || t.cr2 == cases[i].cr2),
		   "compatibility mode: %s: exception %lu error %lx at %lx:%lx, expected %u %x at 8:%lx", cases[i].what,
		   t.vector, t.error, t.cs, t.rip, cases[i].vector, cases[i].error, rip + cases[i].offset);
	}
	pds[1] = saved;
	WRITE_CR(3, READ_CR(3));
}

void test(void)
{
	/*
	 * QEMU (7.2) itself aborts below stock KVM when virtual-8086 mode is left,
	 * with the busy TSS that KVM has in its VMCB.
	 */
	bool with_v86 = cmdline_has("all") || !is_tcg_cpu() || is_tcg();

	compat();
	ok(lg_end - lg_start < 0x1000, "the code fits: %lu bytes", (uint64_t)(lg_end - lg_start));
	set_up(with_v86);
	lg_enter();
	wrmsr(MSR_GS_BASE, (uint64_t)&cpus[0]);
	__asm__ volatile("lgdt gdtr");
	gdt[SEL_TSS / 8] &= ~(2ull << 40);	/* not busy */
	__asm__ volatile("ltr %w0" :: "r"(SEL_TSS));
	idt_load();
	COMPARE("32 bits", pm32, SEL_CODE32);
	COMPARE("16 bits", pm16, 0x30);
	COMPARE("real mode", real, BASE >> 4);
	if (with_v86)
		COMPARE("virtual-8086", v86, BASE >> 4);
	else
		skip("virtual-8086 mode", "QEMU aborts");
	ok(*(volatile uint32_t *)(BASE + 0x1008ul) == nr, "%u exceptions in all", nr);
}
