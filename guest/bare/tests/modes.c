// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One CPU through all modes and back: from STARTUP in real mode (interrupt
 * table, 64 KiB wrap), 16- and 32-bit protected mode without paging, 32-bit
 * with PAE paging, long mode with a compatibility-mode part, and down again to
 * real mode, from where it starts anew like any secondary CPU.
 */
#include "bare.h"

#define MODES_BASE	0xa000		/* vector 0x0a */
#define STR_(x)		#x
#define STR(x)		STR_(x)

extern const uint8_t modes_start[], modes_end[];

/* What the code leaves at the end of its page. */
struct report {
	uint16_t cs, ip, wrap, ints;
	uint32_t pm16, pm32, pae, compat;
	uint64_t longm;
	uint32_t back_cs, back_ints, steps;
};

#define REPORT ((volatile struct report *)(MODES_BASE + 0xf00))

/* PAE tables: what long mode has at the level below, but a root of four entries in 32 bytes. */
uint64_t pae_root[4] __attribute__((aligned(32)));
extern uint64_t pds[], pml4[];

__asm__(
"	.pushsection .text\n"
"	.balign	16\n"
"	.code16\n"
"	.set	base, " STR(MODES_BASE) "\n"
"	.set	rep, " STR(MODES_BASE) " + 0xf00\n"
"modes_start:\n"
"	cli\n"
"	cld\n"
"	movw	%cs, %ax\n"
"	movw	%ax, %ds\n"
"	movw	%ax, %ss\n"
"	movw	$0xe00, %sp\n"
"	movw	%ax, 0xf00\n"			/* CS */
"	call	1f\n"
"1:	popw	%ax\n"
"	subw	$(1b - modes_start), %ax\n"
"	movw	%ax, 0xf02\n"			/* IP at the start */
/* 16-bit addresses wrap: offset 0xff01 + 0x1000 is 0xf01. */
"	movw	$0xff01, %bx\n"
"	movb	$0, %ah\n"
"	movb	0x1000(%bx), %al\n"
"	cmpb	0xf01, %al\n"
"	sete	%al\n"
"	movw	%ax, 0xf04\n"
/* An interrupt table of our own at linear 0x1000 of this segment. */
"	movw	$(modes_int - modes_start), 0xc00 + 0x60 * 4\n"
"	movw	%cs, 0xc00 + 0x60 * 4 + 2\n"
"	lidtl	(modes_ivt - modes_start)\n"
"	int	$0x60\n"
"	int	$0x60\n"
/* 16-bit protected mode */
"	lgdtl	(modes_gdtr - modes_start)\n"
"	movl	%cr0, %eax\n"
"	orl	$1, %eax\n"
"	movl	%eax, %cr0\n"
"	ljmp	$0x30, $(base + 2f - modes_start)\n"
"2:	movw	$0x38, %ax\n"
"	movw	%ax, %ds\n"
"	movw	%ax, %ss\n"
"	movw	%ss, %bx\n"
"	movzwl	%bx, %ebx\n"
"	movl	%ebx, rep + 8\n"		/* pm16: SS */
"	ljmpl	$0x08, $(base + 3f - modes_start)\n"
"	.code32\n"
"3:	movl	$0x10, %eax\n"
"	movl	%eax, %ds\n"
"	movl	%eax, %es\n"
"	movl	%eax, %ss\n"
"	movl	$(base + 0xe00), %esp\n"
"	call	5f\n"
"	movl	%eax, rep + 12\n"		/* pm32 */
/* PAE paging */
"	movl	%cr4, %eax\n"
"	orl	$0x20, %eax\n"
"	movl	%eax, %cr4\n"
"	movl	$pae_root, %eax\n"
"	movl	%eax, %cr3\n"
"	movl	%cr0, %eax\n"
"	orl	$0x80000000, %eax\n"
"	movl	%eax, %cr0\n"
"	call	5f\n"
"	movl	%eax, rep + 16\n"		/* pae */
"	movl	%cr0, %eax\n"
"	andl	$0x7fffffff, %eax\n"
"	movl	%eax, %cr0\n"
/* long mode */
"	movl	$pml4, %eax\n"
"	movl	%eax, %cr3\n"
"	movl	$0xc0000080, %ecx\n"
"	rdmsr\n"
"	orl	$0x900, %eax\n"
"	wrmsr\n"
"	movl	%cr0, %eax\n"
"	orl	$0x80000000, %eax\n"
"	movl	%eax, %cr0\n"
/* still 32-bit code: compatibility mode */
"	call	5f\n"
"	movl	%eax, rep + 20\n"		/* compat */
"	ljmp	$0x18, $(base + 4f - modes_start)\n"
/* the sum of 1 to 100, on a stack */
"5:	xorl	%eax, %eax\n"
"	movl	$100, %ecx\n"
"6:	pushl	%ecx\n"
"	addl	(%esp), %eax\n"
"	popl	%ecx\n"
"	loop	6b\n"
"	ret\n"
"	.code64\n"
"4:	movabsq	$0x123456789abcdef0, %rax\n"
"	leaq	(%rax, %rax), %r15\n"
"	movq	%r15, rep + 24\n"		/* longm */
/* and down: compatibility mode, no paging, no long mode, 16 bits, real mode */
"	pushq	$0x08\n"
"	pushq	$(base + 7f - modes_start)\n"
"	lretq\n"
"	.code32\n"
"7:	movl	%cr0, %eax\n"
"	andl	$0x7fffffff, %eax\n"
"	movl	%eax, %cr0\n"
"	movl	$0xc0000080, %ecx\n"
"	rdmsr\n"
"	andl	$~0x100, %eax\n"
"	wrmsr\n"
"	movl	%cr4, %eax\n"
"	andl	$~0x20, %eax\n"
"	movl	%eax, %cr4\n"
"	movl	$0x38, %eax\n"
"	movl	%eax, %ds\n"
"	movl	%eax, %es\n"
"	movl	%eax, %ss\n"
"	ljmp	$0x30, $(base + 8f - modes_start)\n"
"	.code16\n"
"8:	movl	%cr0, %eax\n"
"	andl	$~1, %eax\n"
"	movl	%eax, %cr0\n"
"	ljmp	$(base >> 4), $(9f - modes_start)\n"
"9:	movw	%cs, %ax\n"
"	movw	%ax, %ds\n"
"	movw	%ax, %ss\n"
"	movw	$0xe00, %sp\n"
"	movw	%ax, 0xf20\n"			/* back_cs */
"	lidtl	(modes_ivt - modes_start)\n"
"	int	$0x60\n"
"	movl	$0x600d, 0xf28\n"		/* steps: all done */
"	ljmp	$(" STR(AP_BASE) " >> 4), $0\n"
"modes_int:\n"
"	pushw	%ds\n"
"	pushw	%cs\n"
"	popw	%ds\n"
"	incw	0xf06\n"
"	popw	%ds\n"
"	iretw\n"
"	.balign	8\n"
"modes_gdtr:\n"
"	.word	0x57\n"
"	.long	gdt\n"
"modes_ivt:\n"
"	.word	0x3ff\n"
"	.long	base + 0xc00\n"
"	.globl	modes_start, modes_end\n"
"modes_end:\n"
"	.code64\n"
"	.popsection\n");

void test(void)
{
	volatile struct report *r = REPORT;
	unsigned int last = n_cpus - 1, started = cpus[last].started;

	if (n_cpus < 2) {
		skip("all modes", "needs a second CPU");
		return;
	}
	memset((void *)MODES_BASE, 0, PAGE_SIZE);
	memcpy((void *)MODES_BASE, modes_start, modes_end - modes_start);
	ok(modes_end - modes_start < 0xc00, "the code fits: %lu bytes", (uint64_t)(modes_end - modes_start));
	for (unsigned int i = 0; i < 4; i++)
		pae_root[i] = (uint64_t)&pds[i * 512] | 1;
	extern volatile uint32_t ap_next;

	ap_next = last;
	apic_icr(cpus[last].apic_id, ICR_INIT | ICR_ASSERT | ICR_LEVEL);
	delay_us(10000);
	apic_icr(cpus[last].apic_id, ICR_INIT | ICR_LEVEL);
	apic_icr(cpus[last].apic_id, ICR_STARTUP | MODES_BASE >> 12);
	ok(wait_for(cpus[last].started == started + 1, 5000000), "the CPU went through all modes and back");
	ok(r->cs == MODES_BASE >> 4 && r->ip == 0, "STARTUP began at %04x:%04x", r->cs, r->ip);
	ok(r->wrap == 1, "real mode: offsets wrap at 64 KiB");
	ok(r->ints == 3, "real mode: %u interrupts through the table", r->ints);
	ok(r->pm16 == 0x38, "16-bit protected mode: SS %x", r->pm16);
	ok(r->pm32 == 5050, "32-bit protected mode: sum %u", r->pm32);
	ok(r->pae == 5050, "32-bit PAE paging: sum %u", r->pae);
	ok(r->compat == 5050, "compatibility mode: sum %u", r->compat);
	ok(r->longm == 0x2468acf13579bde0, "long mode: %lx", r->longm);
	ok(r->back_cs == MODES_BASE >> 4, "real mode again: CS %x", r->back_cs);
}
