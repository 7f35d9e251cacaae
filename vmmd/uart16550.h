/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A serial port (National Semiconductor PC16550D data sheet).
 *
 * Output is taken at once into a ring that a device thread drains with
 * uart_output(); the transmitter looks busy only while that ring is full.
 * Input waits in a queue behind the receive FIFO and is never overrun.
 */
#ifndef VMMD_UART16550_H
#define VMMD_UART16550_H

#include "bus.h"

#define UART_COM1_BASE	0x3f8
#define UART_COM1_IRQ	4
#define UART_PORTS	8

struct uart;

/* Called with the chip's lock held: must not call back. */
struct uart_ops {
	void (*irq)(void *ctx, bool level);	/* the INTR pin, when it changes */
	void (*output)(void *ctx);		/* the output ring is no longer empty */
};

struct uart *uart_create(const struct uart_ops *ops, void *ctx);
void uart_destroy(struct uart *u);

extern const struct bus_ops uart_bus_ops;

/* Take at most @len bytes of output; returns how many.  One thread. */
size_t uart_output(struct uart *u, void *buf, size_t len);

/* Queue input; returns how many bytes there was room for.  Any thread. */
size_t uart_input(struct uart *u, const void *buf, size_t len);

#endif /* VMMD_UART16550_H */
