// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A 16550A serial port: see uart16550.h.  The line speed is ignored, breaks
 * and line errors never occur, and the other end always has carrier, DSR and
 * CTS.
 */
#include <pthread.h>
#include <stdlib.h>

#include "uart16550.h"

enum { R_DATA = 0, R_IER = 1, R_IIR = 2, R_LCR = 3, R_MCR = 4, R_LSR = 5, R_MSR = 6, R_SCR = 7 };

#define IER_RDI		0x01	/* received data */
#define IER_THRI	0x02	/* transmitter holding register empty */
#define IER_MSI		0x08	/* modem status */
#define IIR_NONE	0x01
#define IIR_MSI		0x00
#define IIR_THRI	0x02
#define IIR_RDI		0x04
#define IIR_TIMEOUT	0x0c
#define IIR_FIFO	0xc0
#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define LCR_DLAB	0x80
#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08
#define MCR_LOOP	0x10
#define LSR_DR		0x01
#define LSR_THRE	0x20
#define LSR_TEMT	0x40
#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80

#define FIFO_SIZE	16
#define OUT_SIZE	65536U	/* powers of two */
#define IN_SIZE		16384U

struct uart {
	pthread_mutex_t lock;		/* all below */
	const struct uart_ops *ops;
	void *ctx;
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	bool thr_empty_irq;		/* the THRE interrupt is pending */
	bool line;			/* level of INTR */
	unsigned int out_head, out_tail, in_head, in_tail;	/* free-running */
	uint8_t out[OUT_SIZE], in[IN_SIZE];
};

static unsigned int in_count(const struct uart *u)
{
	return u->in_head - u->in_tail;
}

static unsigned int out_room(const struct uart *u)
{
	return OUT_SIZE - (u->out_head - u->out_tail);
}

/* The transmitter accepts a whole FIFO when it says it is empty. */
static bool thr_empty(const struct uart *u)
{
	return out_room(u) >= FIFO_SIZE;
}

static unsigned int rx_trigger(const struct uart *u)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The pending interrupt of highest priority, as in IIR. */
static uint8_t pending(const struct uart *u)
{
	if ((u->ier & IER_RDI) && in_count(u))
		/* Below the trigger level nothing more is on its way: the time-out has passed. */
		return in_count(u) >= rx_trigger(u) ? IIR_RDI : IIR_TIMEOUT;
	if ((u->ier & IER_THRI) && u->thr_empty_irq)
		return IIR_THRI;
	if ((u->ier & IER_MSI) && (u->msr & 0x0f))
		return IIR_MSI;
	return IIR_NONE;
}

static void update_irq(struct uart *u)
{
	bool level = pending(u) != IIR_NONE;

	if (level == u->line)
		return;
	u->line = level;
	u->ops->irq(u->ctx, level);
}

/* The modem inputs: the peer's, or the outputs in loopback. */
static void update_modem(struct uart *u)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, delta = u->msr & 0x0f, was = u->msr & 0xf0;

	if (u->mcr & MCR_LOOP)
		now = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
		      (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	/* Delta bits sit four below their inputs; the one of RI tells its trailing edge alone. */
	delta |= ((was ^ now) & ~MSR_RI) >> 4;
	delta |= (was & ~now & MSR_RI) >> 4;
	u->msr = now | delta;
}

struct uart *uart_create(const struct uart_ops *ops, void *ctx)
{
	struct uart *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	pthread_mutex_init(&u->lock, NULL);
	u->ops = ops;
	u->ctx = ctx;
	u->dll = 1;
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	return u;
}

void uart_destroy(struct uart *u)
{
	if (!u)
		return;
	pthread_mutex_destroy(&u->lock);
	free(u);
}

static void put_in(struct uart *u, uint8_t c)
{
	if (in_count(u) < IN_SIZE)
		u->in[u->in_head++ % IN_SIZE] = c;
}

static void transmit(struct uart *u, uint8_t c)
{
	if (u->mcr & MCR_LOOP) {
		put_in(u, c);
	} else if (out_room(u)) {	/* else the guest did not look at THRE: lost, as on a wire */
		u->out[u->out_head % OUT_SIZE] = c;
		if (u->out_head++ == u->out_tail)
			u->ops->output(u->ctx);
	}
	/*
	 * On the wire the THRE interrupt would go away and come back.  Here an
	 * interrupt that the guest has not acknowledged stays: no new edge, one
	 * message less for each character of a burst.
	 */
	u->thr_empty_irq = thr_empty(u);
}

static uint8_t read_reg(struct uart *u, unsigned int off)
{
	uint8_t val = 0;

	switch (off) {
	case R_DATA:
		if (u->lcr & LCR_DLAB)
			return u->dll;
		if (in_count(u))
			val = u->in[u->in_tail++ % IN_SIZE];
		return val;
	case R_IER:
		return u->lcr & LCR_DLAB ? u->dlm : u->ier;
	case R_IIR:
		val = pending(u);
		if (val == IIR_THRI)
			u->thr_empty_irq = false;
		return val | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case R_LCR:
		return u->lcr;
	case R_MCR:
		return u->mcr;
	case R_LSR:
		return (in_count(u) ? LSR_DR : 0) | (thr_empty(u) ? LSR_THRE | LSR_TEMT : 0);
	case R_MSR:
		val = u->msr;
		u->msr &= 0xf0;
		return val;
	default:
		return u->scr;
	}
}

static void write_fcr(struct uart *u, uint8_t val)
{
	/* Changing the enable bit clears the FIFOs too; what is queued behind them stays. */
	if ((val & FCR_CLEAR_RX) || ((val ^ u->fcr) & FCR_ENABLE))
		u->in_tail += in_count(u) < FIFO_SIZE ? in_count(u) : FIFO_SIZE;
	u->fcr = val & FCR_ENABLE ? val & 0xc9 : 0;
}

static void write_reg(struct uart *u, unsigned int off, uint8_t val)
{
	switch (off) {
	case R_DATA:
		if (u->lcr & LCR_DLAB)
			u->dll = val;
		else
			transmit(u, val);
		break;
	case R_IER:
		if (u->lcr & LCR_DLAB) {
			u->dlm = val;
			break;
		}
		/* Enabling the THRE interrupt raises it when the transmitter is empty. */
		if ((val & ~u->ier & IER_THRI) && thr_empty(u))
			u->thr_empty_irq = true;
		u->ier = val & 0x0f;
		break;
	case R_IIR:
		write_fcr(u, val);
		break;
	case R_LCR:
		u->lcr = val;
		break;
	case R_MCR:
		u->mcr = val & 0x1f;
		update_modem(u);
		break;
	case R_SCR:
		u->scr = val;
		break;
	}
}

static uint64_t uart_read(void *dev, uint64_t off, unsigned int size)
{
	struct uart *u = dev;
	uint64_t val = 0;
	unsigned int i;

	pthread_mutex_lock(&u->lock);
	for (i = 0; i < size; i++)
		val |= (uint64_t)read_reg(u, off + i) << (i * 8);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
	return val;
}

static void uart_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct uart *u = dev;
	unsigned int i;

	pthread_mutex_lock(&u->lock);
	for (i = 0; i < size; i++)
		write_reg(u, off + i, val >> (i * 8));
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

const struct bus_ops uart_bus_ops = {
	.read = uart_read,
	.write = uart_write,
};

size_t uart_output(struct uart *u, void *buf, size_t len)
{
	uint8_t *p = buf;
	size_t n = 0;
	bool was_full;

	pthread_mutex_lock(&u->lock);
	was_full = !thr_empty(u);
	while (n < len && u->out_tail != u->out_head)
		p[n++] = u->out[u->out_tail++ % OUT_SIZE];
	if (was_full && thr_empty(u)) {
		u->thr_empty_irq = true;
		update_irq(u);
	}
	pthread_mutex_unlock(&u->lock);
	return n;
}

size_t uart_input(struct uart *u, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	size_t n = 0;

	pthread_mutex_lock(&u->lock);
	while (n < len && in_count(u) < IN_SIZE)
		put_in(u, p[n++]);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
	return n;
}
