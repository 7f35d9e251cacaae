// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The IDT: exceptions that a test expects resume where TRY() said, others end
 * the image as a failure; interrupts are counted per CPU and vector and ended.
 */
#include "bare.h"

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, zero;
};

static struct gate idt[256] __attribute__((aligned(16)));
static void (*handlers[256])(struct frame *f);
extern const uint8_t isr_stubs[];

void isr(struct frame *f);

void set_gate(unsigned int vector, uint64_t handler, unsigned int dpl, unsigned int ist)
{
	idt[vector] = (struct gate){
		.offset0 = handler, .offset1 = handler >> 16, .offset2 = handler >> 32,
		.selector = SEL_CODE64, .ist = ist, .type = 0x8e | dpl << 5,
	};
}

void set_gate_absent(unsigned int vector)
{
	idt[vector].type &= 0x7f;
}

void set_handler(unsigned int vector, void (*fn)(struct frame *f))
{
	handlers[vector] = fn;
}

void idt_load(void)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) r = { sizeof(idt) - 1, (uint64_t)idt };

	__asm__ volatile("lidt %0" :: "m"(r));
}

void idt_init(void)
{
	for (unsigned int v = 0; v < 256; v++)
		set_gate(v, (uint64_t)isr_stubs + v * 16, v == 3 || v == 4 ? 3 : 0, 0);
	set_gate(8, (uint64_t)isr_stubs + 8 * 16, 0, 1);
	idt_load();
}

void isr(struct frame *f)
{
	struct cpu *c = this_cpu();
	uint64_t cr2 = READ_CR(2), dr6;

	/* Whoever sees the count may look at the time. */
	if (f->vector >= 32)
		c->last_hit_tsc = rdtsc();
	c->hits[f->vector]++;
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	if (f->vector >= 32) {
		if (!c->no_auto_eoi && f->vector != VEC_SPURIOUS)
			apic_eoi();
		return;
	}
	if (f->vector == 2)
		return;
	if (c->resume) {
		__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
		c->trap = (struct trap){ f->vector, f->error, cr2, f->rip, dr6, f->cs };
		f->rip = c->resume;
		f->rflags &= ~0x100ull;		/* TF has done its work */
		if (f->cs != SEL_CODE64) {	/* in_code() finds its stack again */
			f->cs = SEL_CODE64;
			f->ss = SEL_DATA;
			f->rsp = (uint64_t)(c->ist_stack + 200);
		}
		return;
	}
	ok(false, "CPU %u: unexpected exception %lu, error %lx at %lx, CR2 %lx, RSP %lx", c->index, f->vector,
	   f->error, f->rip, cr2, f->rsp);
	finish_tap();
	machine_end();
}
