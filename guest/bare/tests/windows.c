// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When an interrupt or an NMI that waits gets in: behind STI, POPF, IRET and HLT,
 * at which instruction exactly; in front of an exception; NMIs in NMIs, opened by
 * any IRET; none lost and none twice.
 */
#include "bare.h"

#define VECTOR	0x50
#define VECTOR2	0x60

static volatile uint64_t irq_rip, irq_nr;

static void on_irq(struct frame *f)
{
	irq_rip = f->rip;
	irq_nr++;
	apic_eoi();
}

/* Interrupts are off: one waits afterwards. */
static void make_pending(unsigned int vector)
{
	apic_icr(this_cpu()->apic_id, ICR_ASSERT | vector);
	if (!wait_for(apic_bit(APIC_IRR, vector), 1000000))
		note("vector %x is not pending", vector);
	irq_rip = irq_nr = 0;
}

static void came_at(const char *what, uint64_t want)
{
	cli();
	ok(irq_nr == 1 && irq_rip == want, "%s: %lu interrupts, at %lx, expected %lx", what, irq_nr, irq_rip, want);
}

static void interrupts(void)
{
	unsigned int through = 0;
	uint64_t at;
	struct trap t;

	make_pending(VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tsti\n\tnop\n1:\tnop\n\tnop\n\tcli" : "=r"(at) :: "memory");
	came_at("STI: one instruction later", at);
	make_pending(VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tsti\n\thlt\n1:\tcli" : "=r"(at) :: "memory");
	came_at("STI, HLT: behind the HLT", at);
	make_pending(VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tpushfq\n\torq $0x200, (%%rsp)\n\tpopfq\n1:\tnop\n\tnop\n\tcli"
			 : "=r"(at) :: "memory", "cc");
	came_at("POPF: at once", at);
	make_pending(VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tmovq %%rsp, %%rcx\n\tpushq %1\n\tpushq %%rcx\n\tpushq $0x202\n\t"
			 "pushq %2\n\tpushq %0\n\tiretq\n\tnop\n1:\tnop\n\tnop\n\tcli"
			 : "=&r"(at) : "i"(SEL_DATA), "i"(SEL_CODE64) : "rcx", "memory", "cc");
	came_at("IRET: at once", at);
	make_pending(VECTOR);
	t = TRY("pushfq\n\torq $0x200, (%%rsp)\n\tpopfq\n\tud2", "i"(0));
	came_at("POPF, UD2: before the exception", t.rip);
	ok(t.vector == 6, "which comes then: %lu", t.vector);

	/* Off until STI's shadow is over, and on until CLI: never both. */
	if (!cmdline_has("all") && is_tcg_cpu()) {
		skip("STI, CLI", "below stock KVM, QEMU's emulated CPU lets one in now and then");
	} else {
		make_pending(VECTOR);
		for (unsigned int i = 0; i < 50; i++) {
			__asm__ volatile("sti; cli" ::: "memory");
			through += irq_nr;
			if (irq_nr)
				make_pending(VECTOR);
		}
		ok(!through, "STI, CLI: no interrupt in between, %u of 50 times", through);
	}
	__asm__ volatile("sti; nop; cli" ::: "memory");

	/* Two wait: the higher one, then the other behind its IRET or in it; the same place. */
	make_pending(VECTOR2);
	make_pending(VECTOR);
	__asm__ volatile("leaq 1f(%%rip), %0\n\tsti\n\tnop\n1:\tnop\n\tnop\n\tcli" : "=r"(at) :: "memory");
	cli();
	ok(irq_nr == 2 && irq_rip == at, "two at once: %lu interrupts, the last at %lx, expected %lx", irq_nr, irq_rip, at);
}

static void none_lost(void)
{
	uint32_t random = 7;
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < 300; i++) {
		irq_nr = 0;
		random = random * 1103515245 + 12345;
		if (random >> 16 & 1)
			sti();
		apic_icr(this_cpu()->apic_id, ICR_ASSERT | VECTOR);
		switch (random >> 17 & 3) {
		case 0:
			__asm__ volatile("sti; nop; cli" ::: "memory");
			break;
		case 1:
			__asm__ volatile("pushfq; orq $0x200, (%%rsp); popfq; nop; cli" ::: "memory", "cc");
			break;
		case 2:
			__asm__ volatile("cli; nop; sti; nop" ::: "memory");
			break;
		case 3:
			outb(0x80, 0);
			__asm__ volatile("sti; nop; nop; cli; nop; sti; cli" ::: "memory");
		}
		sti();
		wait_for(irq_nr, 1000000);
		outb(0x80, 0);
		cli();
		wrong += irq_nr != 1;
	}
	ok(!wrong, "300 interrupts while they are switched on and off: %u lost or twice", wrong);
}

/* ---- NMIs */

static void send_nmi(void)
{
	apic_icr(this_cpu()->apic_id, ICR_NMI | ICR_ASSERT);
}

extern const uint8_t isr_stubs[];

static volatile unsigned int nmis, depth, deepest, inside;
static volatile enum { PLAIN, NESTED, OPENED, WITH_IRQ } what_to_do;
static volatile bool irq_was_first;

static void on_nmi(struct frame *f)
{
	unsigned int nr = ++nmis;

	if (++depth > deepest)
		deepest = depth;
	if (nr == 1) {
		switch (what_to_do) {
		case PLAIN:
			break;
		case NESTED:
			send_nmi();
			send_nmi();
			delay_us(3000);
			inside = nmis;
			break;
		case OPENED:
			send_nmi();
			delay_us(1000);
			inside = nmis;
			__asm__ volatile("int3");
			wait_for(nmis == 2, 1000000);
			break;
		case WITH_IRQ:
			send_nmi();
			apic_icr(this_cpu()->apic_id, ICR_ASSERT | VECTOR);
			delay_us(1000);
			inside = nmis;
		}
	} else if (what_to_do == WITH_IRQ) {
		uint64_t stub = (uint64_t)isr_stubs + 16 * VECTOR;

		irq_was_first = irq_nr || (f->rip >= stub && f->rip < stub + 16);
	}
	depth--;
}

static void on_int3(struct frame *f)
{
	(void)f;
}

static void start_nmi(int what)
{
	what_to_do = what;
	nmis = deepest = inside = 0;
	irq_nr = 0;
	irq_was_first = false;
	send_nmi();
	wait_for(nmis, 1000000);
}

static volatile bool awake;

/* Again and again: the other CPU may not have been in its HLT yet. */
static void wake_by_nmi(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 100 && !awake; i++) {
		delay_us(20000);
		apic_icr(cpus[0].apic_id, ICR_NMI | ICR_ASSERT);
	}
}

static void non_maskable(void)
{
	set_handler(2, on_nmi);
	set_handler(3, on_int3);
	start_nmi(PLAIN);
	ok(nmis == 1, "an NMI while interrupts are off: %u", nmis);
	start_nmi(NESTED);
	wait_for(nmis == 2, 1000000);
	delay_us(3000);
	ok(inside == 1 && deepest == 1, "NMIs wait for the IRET of one: %u inside, depth %u", inside, deepest);
	ok(nmis == 2, "two that waited are one: %u in all", nmis);
	start_nmi(OPENED);
	wait_for(nmis == 2, 1000000);
	ok(inside == 1 && deepest == 2 && nmis == 2, "IRET from another exception opens them: depth %u, %u in all", deepest,
	   nmis);
	sti();
	start_nmi(WITH_IRQ);
	wait_for(nmis == 2 && irq_nr == 1, 1000000);
	cli();
	ok(inside == 1 && nmis == 2 && irq_nr == 1, "an NMI and an interrupt wait for IRET: %u and %lu came", nmis, irq_nr);
	if (irq_was_first && !cmdline_has("all"))
		skip("the NMI goes first", "stock KVM (6.1) lets the interrupt in first");
	else
		ok(!irq_was_first, "the NMI goes first");
	if (n_cpus > 1) {
		what_to_do = PLAIN;
		nmis = 0;
		start_on(1, wake_by_nmi, NULL);
		__asm__ volatile("cli; hlt" ::: "memory");
		awake = true;
		ok(nmis >= 1, "one wakes a CPU that halts with interrupts off: %u", nmis);
		wait_for(is_idle(1), 1000000);
	} else {
		skip("one wakes a CPU that halts with interrupts off", "needs 2 CPUs");
	}
	set_handler(2, NULL);
	set_handler(3, NULL);
}

void test(void)
{
	set_handler(VECTOR, on_irq);
	set_handler(VECTOR2, on_irq);
	interrupts();
	none_lost();
	non_maskable();
}
