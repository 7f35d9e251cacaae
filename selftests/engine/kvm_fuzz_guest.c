// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvm-fuzz: guests.  A processor in any of its modes with a few bits wrong, and
 * code made of the instructions that a hypervisor has to care about.
 */
#include "kvm_fuzz.h"

#include <string.h>

/* Tables that map the memory to itself, where the guest may spoil them. */
#define PML4		0xf0000UL
#define PDPT		0xf1000UL
#define PD		0xf2000UL
#define PT		0xf3000UL
#define PD32		0xf4000UL
#define PDPT_PAE	0xf5000UL

#define CR0_PE		(1UL << 0)
#define CR0_PG		(1UL << 31)
#define CR4_PSE		(1UL << 4)
#define CR4_PAE		(1UL << 5)
#define EFER_LME	(1UL << 8)
#define EFER_LMA	(1UL << 10)
#define FLAG_VM		(1UL << 17)

#define PRESENT_RW_USER	7UL
#define LARGE		0x80UL

static void write_tables(uint8_t *mem)
{
	uint64_t *pt = (uint64_t *)(mem + PT), *pd = (uint64_t *)(mem + PD);

	*(uint64_t *)(mem + PML4) = PDPT | PRESENT_RW_USER;
	*(uint64_t *)(mem + PDPT) = PD | PRESENT_RW_USER;
	*(uint64_t *)(mem + PDPT_PAE) = PD | 1;
	*(uint32_t *)(mem + PD32) = LARGE | PRESENT_RW_USER;
	pd[0] = PT | PRESENT_RW_USER;
	pd[1] = 0xfee00000UL | LARGE | PRESENT_RW_USER;
	for (unsigned int i = 0; i < 512; i++)
		pt[i] = i << 12 | PRESENT_RW_USER;
}

static void code_segment(struct kvm_segment *cs, bool is_long, bool is_32)
{
	cs->base = 0;
	cs->limit = is_32 ? 0xffffffff : 0xffff;
	cs->selector = 8;
	cs->type = 11;
	cs->s = cs->present = 1;
	cs->unusable = 0;
	cs->l = is_long;
	cs->db = is_32 && !is_long;
	cs->g = is_32;
	cs->dpl = 0;
}

void random_mode(int vcpu)
{
	struct kvm_regs regs = { .rip = rnd_below(MEM_SIZE), .rsp = rnd_below(MEM_SIZE),
				 .rsi = rnd_below(2 * MEM_SIZE), .rdi = rnd_below(2 * MEM_SIZE),
				 .rcx = rnd_below(64), .rdx = rnd_below(0x1000),
				 .rflags = 2 | (rnd() & 0x254fd5) };
	struct kvm_vcpu_events events = {};
	struct kvm_sregs s;

	if (call(vcpu, KVM_GET_SREGS, &s))
		return;
	write_tables(m.mem);
	s.cr0 = 0x10;
	s.cr3 = s.cr4 = s.efer = 0;
	switch (rnd_below(6)) {
	case 0:		/* real */
		code_segment(&s.cs, false, false);
		regs.rip &= 0xffff;
		break;
	case 1:		/* protected, with V86 */
		s.cr0 |= CR0_PE;
		code_segment(&s.cs, false, true);
		if (one_in(3)) {
			regs.rflags |= FLAG_VM;
			s.cs.dpl = s.ss.dpl = 3;
		}
		break;
	case 2:		/* 32-bit paging */
		s.cr0 |= CR0_PE | CR0_PG;
		s.cr3 = PD32;
		s.cr4 = CR4_PSE;
		code_segment(&s.cs, false, true);
		break;
	case 3:		/* PAE */
		s.cr0 |= CR0_PE | CR0_PG;
		s.cr3 = PDPT_PAE;
		s.cr4 = CR4_PAE;
		code_segment(&s.cs, false, true);
		break;
	default:	/* 64-bit and compatibility */
		s.cr0 |= CR0_PE | CR0_PG;
		s.cr3 = PML4;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
		code_segment(&s.cs, !one_in(3), true);
	}
	if (s.cr0 & CR0_PE) {
		s.ds.base = s.es.base = s.ss.base = 0;
		s.ds.limit = s.es.limit = s.ss.limit = 0xffffffff;
		s.ds.g = s.es.g = s.ss.g = 1;
	}
	s.apic_base = 0xfee00000 | (const uint16_t[]){ 0, 0x800, 0x800, 0xc00 }[rnd_below(4)];
	s.idt.base = rnd_below(MEM_SIZE);
	s.idt.limit = rnd();
	if (one_in(4))
		s.cr4 |= rnd() & rnd() & 0x3fffff;
	if (one_in(4))
		flip(&s, sizeof(s));
	if (one_in(16))
		regs.rip = rnd();
	call(vcpu, KVM_SET_SREGS, &s);
	call(vcpu, KVM_SET_VCPU_EVENTS, &events);
	call(vcpu, KVM_SET_REGS, &regs);
}

#define INSN(bytes)	{ sizeof(bytes) - 1, bytes }

static const struct {
	uint8_t len;
	const char *bytes;
} insns[] = {
	INSN("\xe4\x71"), INSN("\xe7\x80"), INSN("\xec"), INSN("\xef"),		/* IN, OUT */
	INSN("\x6c"), INSN("\xf3\x6d"), INSN("\xf3\x6e"), INSN("\xf2\x6f"),	/* INS, OUTS */
	INSN("\x0f\xa2"), INSN("\x0f\x32"), INSN("\x0f\x30"), INSN("\x0f\x31"),	/* CPUID, MSRs, TSC */
	INSN("\xb9\x80\x00\x00\xc0\x0f\x32\x0f\x30"),				/* EFER */
	INSN("\xf4"), INSN("\xfa"), INSN("\xfb"), INSN("\xcf"), INSN("\x48\xcf"),
	INSN("\x9c"), INSN("\x9d"), INSN("\xcc"), INSN("\xcd\x80"), INSN("\xce"), INSN("\xf1"),
	INSN("\x0f\x20\xc0"), INSN("\x0f\x22\xc0"), INSN("\x0f\x22\xd8"), INSN("\x0f\x22\xe0"),
	INSN("\x44\x0f\x22\xc0"), INSN("\x0f\x06"), INSN("\x0f\x01\xf0"),	/* CR8, CLTS, LMSW */
	INSN("\x0f\x21\xf8"), INSN("\x0f\x23\xf8"), INSN("\x0f\x23\xc0"),	/* debug registers */
	INSN("\x0f\x01\x16\x00\x10"), INSN("\x0f\x01\x1e\x00\x10"),		/* LGDT, LIDT */
	INSN("\x0f\x00\xd8"), INSN("\x8e\xd0"), INSN("\x8e\xd8"), INSN("\x07"),	/* LTR, segments */
	INSN("\x0f\x01\x38"), INSN("\x0f\x09"), INSN("\x0f\x08"),		/* INVLPG, WBINVD */
	INSN("\x0f\x01\xd8"), INSN("\x0f\x01\xd9"), INSN("\x0f\x01\xda"),	/* SVM's own */
	INSN("\x0f\x01\xdb"), INSN("\x0f\x01\xdc"), INSN("\x0f\x01\xdd"),
	INSN("\x0f\x01\xde"), INSN("\x0f\x01\xdf"), INSN("\x0f\xaa"),
	INSN("\x0f\x01\xd1"), INSN("\x0f\x01\xd0"), INSN("\x0f\x01\xf9"),	/* XCR0, RDTSCP */
	INSN("\x0f\x01\xc8"), INSN("\x0f\x01\xc9"), INSN("\x0f\x33"),
	INSN("\xf3\xa4"), INSN("\xf3\x48\xa5"), INSN("\xf3\xaa"), INSN("\xf2\xae"),
	INSN("\xa5"), INSN("\xf0\x0f\xb1\x0f"), INSN("\xf0\x0f\xc1\x07"),	/* strings, LOCK */
	INSN("\xf0\x0f\xc7\x0f"), INSN("\x87\x07"), INSN("\x8b\x06"), INSN("\x89\x07"),
	INSN("\xbf\x00\x00\x20\x00"), INSN("\xbe\x00\x00\x20\x00"), INSN("\xff\x07"),
	INSN("\xea\x00\x10\x08\x00"), INSN("\xff\x2f"), INSN("\xcb"),		/* far jumps */
	INSN("\xeb\xfe"), INSN("\xe2\xfe"), INSN("\xf3\x90"), INSN("\x0f\x05"), INSN("\x0f\x34"),
	INSN("\x0f\xae\x07"), INSN("\x0f\xae\x0f"), INSN("\x0f\xc7\x27"),	/* FXSAVE, XSAVE */
	INSN("\xb8\x03\x00\x00\x80\x0f\x22\xc0"),				/* paging on */
	INSN("\xb9\x30\x08\x00\x00\x0f\x30"), INSN("\xb9\x0b\x08\x00\x00\x0f\x30"),	/* ICR, EOI */
	INSN("\xb9\x38\x08\x00\x00\x0f\x30"), INSN("\xb9\xe0\x06\x00\x00\x0f\x30"),	/* timer */
};

void random_code(uint8_t *mem)
{
	size_t at = rnd_below(MEM_SIZE - 256);
	unsigned int i, n;

	for (i = 1 + rnd_below(8); i; i--) {
		if (one_in(4)) {
			flip(mem + at, 16);
			at += rnd_below(16);
			continue;
		}
		n = rnd_below(sizeof(insns) / sizeof(insns[0]));
		memcpy(mem + at, insns[n].bytes, insns[n].len);
		at += insns[n].len;
	}
	/* Back to somewhere, lest most guests end in zeros. */
	if (one_in(2))
		memcpy(mem + at, "\xeb\xe0", 2);
}
