/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The world switch: general registers and VMRUN.
 *
 * VMRUN and #VMEXIT switch what the VMCB holds (RAX, RSP, RIP, flags, control
 * registers, CS to SS); VMLOAD and VMSAVE the rest of the segment state and the
 * SYSCALL and SYSENTER registers; this code the general registers.
 *
 * Mitigations, as this kernel's own alternatives select them on this processor: CPU
 * buffers cleared before VMRUN (TSA), return stack stuffing, untraining of the return
 * predictor, IBPB at #VMEXIT (SRSO).  SPEC_CTRL is never the guest's: guests are not
 * offered it, so the host's value stays in force; where the processor has a virtual
 * one, the VMCB's is 0, and what counts is both or-ed.  host.c has the rest.
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

#define REG(n)	(8 * (n))	/* order of enum CVMM_RAX... */

	.section .noinstr.text, "ax"

/*
 * void cvmm_svm_run(u64 vmcb_pa, u64 *regs, u64 host_pa)
 *
 * GIF clear, IF clear.  @regs: 16 general registers, of which RAX and RSP are
 * in the VMCB.  @host_pa: where this CPU's state was saved by VMSAVE.  Between
 * #VMEXIT and the last VMLOAD the segment bases are the guest's: no per-CPU
 * access there.
 */
SYM_FUNC_START(cvmm_svm_run)
	push	%rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rdx
	push	%rsi
	mov	%rdi, %rax

	/*
	 * With GIF clear nothing is taken here; in the guest IF lets interrupts exit.  Not
	 * right before VMRUN: the shadow of STI would be the guest's.
	 */
	sti

	mov	REG(1)(%rsi), %rcx
	mov	REG(2)(%rsi), %rdx
	mov	REG(3)(%rsi), %rbx
	mov	REG(5)(%rsi), %rbp
	mov	REG(7)(%rsi), %rdi
	mov	REG(8)(%rsi), %r8
	mov	REG(9)(%rsi), %r9
	mov	REG(10)(%rsi), %r10
	mov	REG(11)(%rsi), %r11
	mov	REG(12)(%rsi), %r12
	mov	REG(13)(%rsi), %r13
	mov	REG(14)(%rsi), %r14
	mov	REG(15)(%rsi), %r15
	mov	REG(6)(%rsi), %rsi

	vmload	%rax
	VM_CLEAR_CPU_BUFFERS
	vmrun	%rax
	cli
	vmsave	%rax

	mov	(%rsp), %rax
	mov	%rcx, REG(1)(%rax)
	mov	%rdx, REG(2)(%rax)
	mov	%rbx, REG(3)(%rax)
	mov	%rbp, REG(5)(%rax)
	mov	%rsi, REG(6)(%rax)
	mov	%rdi, REG(7)(%rax)
	mov	%r8, REG(8)(%rax)
	mov	%r9, REG(9)(%rax)
	mov	%r10, REG(10)(%rax)
	mov	%r11, REG(11)(%rax)
	mov	%r12, REG(12)(%rax)
	mov	%r13, REG(13)(%rax)
	mov	%r14, REG(14)(%rax)
	mov	%r15, REG(15)(%rax)

	mov	8(%rsp), %rax
	vmload	%rax

	/* No guest value may steer speculation in the host. */
	xor	%eax, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebx, %ebx
	xor	%ebp, %ebp
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d

	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif

	add	$16, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET
SYM_FUNC_END(cvmm_svm_run)
