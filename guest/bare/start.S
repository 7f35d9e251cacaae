/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of a bare-metal test image: a Linux setup header (boot protocol 2.15),
 * so that any loader of bzImages takes it, and the three ways in:
 *
 *   setup_entry  real mode, as a BIOS loader or QEMU's -kernel does
 *   startup_32   protected mode, flat segments, %esi = boot_params
 *   startup_64   long mode, identity mapped, %rsi = boot_params
 *
 * All end in bare_main() on the image's own page tables, GDT and stack.  Also
 * here: the interrupt stubs, and the code secondary CPUs start with, from real
 * mode on.
 */

#define PAYLOAD		0x100000
#define CODE32		0x08
#define DATA		0x10
#define CODE64		0x18
#define EFER		0xc0000080

	.section .setup, "ax"
	.code16
	.globl setup_start
setup_start:
	.org 0x1f1
	.byte	1			/* setup_sects */
	.word	0			/* root_flags */
	.long	payload_paras		/* syssize */
	.word	0			/* ram_size */
	.word	0xffff			/* vid_mode */
	.word	0			/* root_dev */
	.word	0xaa55			/* boot_flag */
	.byte	0xeb, setup_entry - 1f	/* jump: also tells where the header ends */
1:	.ascii	"HdrS"
	.word	0x020f			/* version */
	.long	0			/* realmode_swtch */
	.word	0x1000			/* start_sys_seg */
	.word	0			/* kernel_version */
	.byte	0			/* type_of_loader */
	.byte	0x01			/* loadflags: LOADED_HIGH */
	.word	0			/* setup_move_size */
	.long	PAYLOAD			/* code32_start */
	.long	0, 0			/* ramdisk */
	.long	0			/* bootsect_kludge */
	.word	0			/* heap_end_ptr */
	.byte	0, 0			/* ext_loader */
	.long	0			/* cmd_line_ptr */
	.long	0x7fffffff		/* initrd_addr_max */
	.long	0x1000			/* kernel_alignment */
	.byte	0			/* relocatable_kernel: no */
	.byte	12			/* min_alignment */
	.word	1			/* xloadflags: XLF_KERNEL_64 */
	.long	1023			/* cmdline_size */
	.long	0			/* hardware_subarch */
	.quad	0
	.long	0, 0			/* payload */
	.quad	0			/* setup_data */
	.quad	PAYLOAD			/* pref_address */
	.long	image_size		/* init_size */
	.long	0			/* handover_offset */
	.long	0			/* kernel_info_offset */

setup_entry:
	cli
	xorl	%eax, %eax
	movw	%ds, %ax		/* the segment that this file's start is in */
	shll	$4, %eax
	movl	%eax, %esi
	addl	$setup_gdt, %eax
	movl	%eax, setup_gdtr + 2
	lgdtl	setup_gdtr
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	ljmpl	$CODE32, $PAYLOAD
	.balign	8
setup_gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
setup_gdtr:
	.word	. - setup_gdt - 1
	.long	0
	.org	0x400

	.section .head, "ax"
	.code32
	.globl startup_32
startup_32:
	cld
	cli
	lgdt	gdtr32
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	ljmp	$CODE32, $1f
1:	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$EFER, %ecx
	rdmsr
	orl	$0x100, %eax		/* LME */
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax
	movl	%eax, %cr0
	ljmp	$CODE64, $common_64

	.org	0x200
	.code64
	.globl startup_64
startup_64:
	cld
	cli
common_64:
	movl	%esi, %edi
	movq	$pml4, %rax
	movq	%rax, %cr3
	lgdt	gdtr
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	movq	$boot_stack_top, %rsp
	pushq	$CODE64
	pushq	$1f
	lretq
1:	/* .bss: the loader need not have cleared it */
	movq	%rdi, %rbx
	movq	$bss_start, %rdi
	movq	$bss_end, %rcx
	subq	%rdi, %rcx
	xorl	%eax, %eax
	rep stosb
	movq	%rbx, %rdi
	xorl	%ebp, %ebp
	call	bare_main
2:	hlt
	jmp	2b

/* --- secondary CPUs ------------------------------------------------------ */

/*
 * Copied to AP_BASE and entered there by a STARTUP message: real mode, CS =
 * AP_BASE >> 4, IP = 0.  Takes the next stack, goes to ap_main().
 */
#define AP(sym) (sym - ap_start)
	.text
	.code16
	.globl ap_start, ap_end, ap_base
ap_start:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	movw	%ax, AP(ap_real_cs)
	lgdtl	AP(ap_gdtr)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	.byte	0x66, 0xea		/* ljmpl CODE32:AP_BASE + ap_32 */
ap_jump32:
	.long	AP_BASE + AP(ap_32)
	.word	CODE32
	.code32
ap_32:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$EFER, %ecx
	rdmsr
	orl	$0x900, %eax		/* LME, NXE */
	wrmsr
	movl	%cr0, %eax
	andl	$0x9fffffff, %eax	/* caches on */
	orl	$0x80010001, %eax
	movl	%eax, %cr0
	ljmp	$CODE64, $ap_64
	.balign	8
ap_gdtr:
	.word	gdt_end - gdt - 1
	.long	gdt
	.globl ap_real_cs
ap_real_cs:
	.word	0
ap_end:
	.code64
ap_64:
	lgdt	gdtr
	movl	$1, %eax
	lock xaddl %eax, ap_next	/* which CPU we are: in order of arrival */
	movl	%eax, %edi
	incl	%eax
	shlq	$14, %rax
	leaq	ap_stacks(%rax), %rsp
	xorl	%ebp, %ebp
	call	ap_main
1:	hlt
	jmp	1b

/* --- interrupts ------------------------------------------------------------ */

	.text
	.code64
	.balign 16
	.globl isr_stubs
isr_stubs:
	vector = 0
	.rept 256
	.balign 16
	/* 8, 10-14, 17, 21, 29, 30 push an error code */
	.if (vector != 8) && !((vector >= 10) && (vector <= 14)) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	isr_common
	vector = vector + 1
	.endr

isr_common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$-16, %rsp
	call	isr
	movq	%rbp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq

/* --- data ------------------------------------------------------------------ */

	.data
	.balign	8
	.globl gdt, gdt_end
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08 code, 32 bits */
	.quad	0x00cf93000000ffff	/* 0x10 data */
	.quad	0x00af9b000000ffff	/* 0x18 code, 64 bits */
	.quad	0x00cff3000000ffff	/* 0x20 data, ring 3 */
	.quad	0x00affb000000ffff	/* 0x28 code, 64 bits, ring 3 */
	.quad	0x00009b000000ffff	/* 0x30 code, 16 bits, base 0 */
	.quad	0x000093000000ffff	/* 0x38 data, 16 bits, base 0 */
	.quad	0x00cf13000000ffff	/* 0x40 data, not present */
	.quad	0, 0			/* 0x48 TSS, filled in */
gdt_end:
gdtr32:
	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
	.globl gdtr
gdtr:
	.word	gdt_end - gdt - 1
	.quad	gdt
	.globl ap_next
	.balign	4
ap_next:
	.long	1

	/* The first 4 GiB, identity mapped with 2 MiB pages; all set up by the assembler. */
	.balign	4096
	.globl pml4, pdpt, pds
pml4:
	.quad	pdpt + 7
	.fill	511, 8, 0
pdpt:
	.quad	pds + 7, pds + 0x1007, pds + 0x2007, pds + 0x3007
	.fill	508, 8, 0
pds:
	n = 0
	.rept	2048
	.quad	(n << 21) + 0x87
	n = n + 1
	.endr

	.bss
	.balign	4096
	.globl boot_stack_top, ap_stacks
	.skip	0x8000
boot_stack_top:
ap_stacks:
	.skip	0x4000 * 64
	.section .note.GNU-stack, "", @progbits
