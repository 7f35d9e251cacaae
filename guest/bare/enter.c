// SPDX-License-Identifier: GPL-2.0-or-later
/* Code in another segment, entered by IRETQ and left by the exception that it makes. */
#include "bare.h"

static uint64_t stack[256];

struct trap in_code(uint16_t cs, uint16_t ss, uint64_t rip, uint64_t rdi)
{
	uint64_t wide_cs = cs, wide_ss = ss;
	struct cpu *c = this_cpu();

	/* Wherever the frame of the exception goes, to this stack or RSP0's: ours is left alone. */
	c->trap.vector = NO_TRAP;
	__asm__ volatile(
		"leaq 9f(%%rip), %%rax\n\tmovq %%rax, %%gs:%c[resume]\n\t"
		"pushq %%rbx; pushq %%rbp; pushq %%r12; pushq %%r13; pushq %%r14; pushq %%r15\n\t"
		"movq %%rsp, %[save]\n\t"
		"pushq %[ss]; pushq %[usp]; pushq $2; pushq %[cs]; pushq %[rip]; iretq\n"
		"9:\tmovq %[save], %%rsp\n\t"
		"popq %%r15; popq %%r14; popq %%r13; popq %%r12; popq %%rbp; popq %%rbx\n\t"
		"movq $0, %%gs:%c[resume]"
		: "+D"(rdi)
		: [resume] "i"(offsetof(struct cpu, resume)), [save] "m"(c->ist_stack[0]), [ss] "r"(wide_ss),
		  [usp] "r"(&stack[250]), [cs] "r"(wide_cs), [rip] "r"(rip)
		: "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return c->trap;
}
