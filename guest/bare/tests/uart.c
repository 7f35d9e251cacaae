// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The UART at 0x3f8 and the IOAPIC: registers, FIFO and loopback; string port
 * instructions both ways; its interrupt through the IOAPIC, edge and level, to
 * each CPU, masked, and with the remote-IRR handshake.
 */
#include "bare.h"

#define COM1 0x3f8
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = 2 };

static void loop_on(void)
{
	while ((inb(COM1 + LSR) & 0x60) != 0x60)
		pause();
	outb(COM1 + FCR, 0x07);
	outb(COM1 + MCR, 0x1b);		/* loopback, and what makes the line interrupt */
}

static void loop_off(void)
{
	outb(COM1 + IER, 0);
	outb(COM1 + FCR, 0x07);
	outb(COM1 + MCR, 0x0b);
}

/* Wait for room and for what was sent to have come back: emulations may take their time. */
static bool ready(unsigned int bit)
{
	return wait_for(inb(COM1 + LSR) & bit, 1000000);
}

static void registers(void)
{
	bool scratch = true, echo = true;
	uint8_t msr, iir, v = 0;

	for (unsigned int i = 0; i < 256; i += 51) {
		outb(COM1 + SCR, i);
		scratch &= inb(COM1 + SCR) == i;
	}
	ok(scratch, "scratch register");
	outb(COM1 + LCR, 0x83);
	outb(COM1 + DATA, 1);
	outb(COM1 + IER, 0);
	v = inb(COM1 + DATA);
	outb(COM1 + LCR, 0x03);
	ok(v == 1, "divisor latch reads back %u", v);
	iir = inb(COM1 + IIR);
	ok((iir & 0xc0) == 0xc0 && iir & 1, "FIFOs are on, no interrupt: IIR %x", iir);

	loop_on();
	msr = inb(COM1 + MSR);
	for (unsigned int i = 0; i < 8 && echo; i++) {
		uint8_t c = i * 37 + 1;

		echo = ready(0x20);
		outb(COM1 + DATA, c);
		echo = echo && ready(1) && (v = inb(COM1 + DATA)) == c;
	}
	loop_off();
	ok(echo, "loopback gives back what was sent");
	ok((msr & 0xf0) == 0xb0, "loopback wires modem control to modem status: %x", msr);
}

static void strings(void)
{
	static const uint8_t text[16] = "string port i/o";
	static uint8_t back[16], page[8192] __attribute__((aligned(4096)));
	const void *si = text;
	void *di = back;
	uint64_t n;
	bool sent;

	loop_on();
	for (unsigned int i = 0; i < 15; i++) {
		ready(0x20);
		__asm__ volatile("outsb" : "+S"(si) : "d"(COM1) : "memory");
		if (!ready(1))
			break;
		__asm__ volatile("insb" : "+D"(di) : "d"(COM1) : "memory");
	}
	loop_off();
	ok(!memcmp(text, back, 15) && si == text + 15, "outsb and insb");

	/* Across a page boundary, 12 bytes at once; the receive FIFO has 16. */
	memcpy(page + 4090, text, 12);
	memset(back, 0, sizeof(back));
	loop_on();
	ready(0x20);
	si = page + 4090;
	n = 12;
	__asm__ volatile("rep outsb" : "+S"(si), "+c"(n) : "d"(COM1) : "memory");
	/* By count, not by "data ready": all must have arrived. */
	delay_us(20000);
	sent = !n && si == page + 4102;
	memset(page, 0, sizeof(page));
	di = page + 4090;
	n = 12;
	__asm__ volatile("rep insb" : "+D"(di), "+c"(n) : "d"(COM1) : "memory");
	loop_off();
	ok(sent, "rep outsb across pages");
	ok(!n && !memcmp(page + 4090, text, 12) && di == page + 4102, "rep insb across pages: count %lu", n);

	memset(back, 0, sizeof(back));
	loop_on();
	ready(0x20);
	si = text + 4;
	n = 4;
	__asm__ volatile("std; rep outsb; cld" : "+S"(si), "+c"(n) : "d"(COM1) : "memory");
	delay_us(20000);
	for (unsigned int i = 0; i < 4; i++)
		back[i] = inb(COM1 + DATA);
	loop_off();
	ok(back[0] == text[4] && back[3] == text[1] && si == text && !n,
	   "rep outsb downwards: %x %x %x %x, at %ld, count %lu", back[0], back[1], back[2], back[3],
	   (long)((const uint8_t *)si - text), n);
	n = 0;
	si = text;
	__asm__ volatile("rep outsb" : "+S"(si), "+c"(n) : "d"(COM1) : "memory");
	ok(si == text, "rep outsb of none");
}

/* --- IOAPIC --- */

static uint32_t io_read(unsigned int reg)
{
	mmio_write(platform.ioapic, reg);
	return mmio_read(platform.ioapic + 0x10);
}

static void io_write(unsigned int reg, uint32_t v)
{
	mmio_write(platform.ioapic, reg);
	mmio_write(platform.ioapic + 0x10, v);
}

static unsigned int pin(void)
{
	return platform.uart_gsi - platform.ioapic_gsi;
}

static void route(uint32_t low, uint32_t dest)
{
	io_write(0x10 + pin() * 2, 0x10000);
	io_write(0x11 + pin() * 2, dest << 24);
	io_write(0x10 + pin() * 2, low);
}

static volatile unsigned int came, last_cpu, served;

/*
 * The transmitter is empty: reading IIR says so and ends the interrupt.  Whoever prints
 * before the interrupt is off on another CPU makes one more.
 */
static void on_uart(struct frame *f)
{
	(void)f;
	came++;
	last_cpu = this_cpu()->index;
	inb(COM1 + IIR);
	outb(COM1 + IER, 0);
	apic_eoi();
	served++;
}

static void trigger(void)
{
	/* Off and on again: the empty transmitter interrupts anew. */
	outb(COM1 + IER, 0);
	outb(COM1 + IER, 2);
}

static void quiet(void)
{
	while (!(inb(COM1 + LSR) & 0x40))
		pause();
}

static void ioapic(void)
{
	uint32_t low, irr;

	set_handler(0x41, on_uart);
	outb(COM1 + MCR, 0x0b);
	quiet();
	route(0x41, cpus[0].apic_id);
	low = io_read(0x10 + pin() * 2);
	ok((low & 0x1ffff) == 0x41, "redirection entry reads back %x", low);
	sti();
	came = 0;
	trigger();
	ok(wait_for(came == 1, 1000000) && last_cpu == 0, "edge: %u interrupts, on CPU %u", came, last_cpu);
	for (unsigned int i = 1; i < n_cpus; i++) {
		quiet();
		came = served = 0;
		route(0x41, cpus[i].apic_id);
		trigger();
		wait_for(served, 1000000);
		delay_us(2000);
		ok(came == 1 && last_cpu == i, "edge to CPU %u: %u interrupts, on CPU %u", i, came, last_cpu);
	}

	quiet();
	came = 0;
	route(0x10041, cpus[0].apic_id);
	trigger();
	delay_us(5000);
	ok(!came, "masked: %u interrupts", came);
	outb(COM1 + IER, 0);
	inb(COM1 + IIR);

	/* Level: as long as the line is up and nobody has ended the interrupt, remote IRR holds it. */
	quiet();
	came = 0;
	set_handler(0x41, NULL);
	this_cpu()->no_auto_eoi = true;
	this_cpu()->hits[0x41] = 0;
	route(0x8041, cpus[0].apic_id);
	trigger();
	wait_for(this_cpu()->hits[0x41], 1000000);
	delay_us(2000);
	irr = io_read(0x10 + pin() * 2) >> 14 & 1;
	ok(this_cpu()->hits[0x41] == 1 && irr && apic_bit(APIC_TMR, 0x41), "level: %u interrupts, remote IRR %u, TMR %u",
	   this_cpu()->hits[0x41], irr, apic_bit(APIC_TMR, 0x41));
	apic_eoi();
	wait_for(this_cpu()->hits[0x41] == 2, 1000000);
	delay_us(2000);
	ok(this_cpu()->hits[0x41] == 2, "EOI with the line still up: again, %u in all", this_cpu()->hits[0x41]);
	inb(COM1 + IIR);
	outb(COM1 + IER, 0);
	apic_eoi();
	delay_us(5000);
	irr = io_read(0x10 + pin() * 2) >> 14 & 1;
	ok(this_cpu()->hits[0x41] == 2 && !irr, "EOI with the line down: no more, remote IRR %u", irr);
	this_cpu()->no_auto_eoi = false;
	cli();
	route(0x10000, 0);
}

void test(void)
{
	registers();
	strings();
	if (!platform.ioapic || cpus[0].x2apic)
		skip("UART interrupts", "no IOAPIC");
	else
		ioapic();
}
