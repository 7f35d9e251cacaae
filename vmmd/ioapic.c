// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The I/O APIC: see ioapic.h.
 */
#include <pthread.h>
#include <stdlib.h>

#include "ioapic.h"

/* Memory-mapped registers. */
enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
/* Registers behind the window. */
enum { REG_ID = 0, REG_VERSION = 1, REG_ARB = 2, REG_REDIR = 0x10 };

#define VERSION		(0x20 | (IOAPIC_PINS - 1) << 16)

/* Redirection entry. */
#define RE_VECTOR	0xffULL
#define RE_DELIVERY(e)	((e) >> 8 & 7)
#define RE_LOGICAL	(1ULL << 11)
#define RE_ACTIVE_LOW	(1ULL << 13)
#define RE_REMOTE_IRR	(1ULL << 14)
#define RE_LEVEL	(1ULL << 15)
#define RE_MASKED	(1ULL << 16)
#define RE_DEST(e)	((uint32_t)((e) >> 56))
#define RE_READ_ONLY	(1ULL << 12 | RE_REMOTE_IRR)
#define RE_IMPLEMENTED	0xff0000000001ffffULL

struct ioapic {
	pthread_mutex_t lock;		/* all below */
	uint8_t id, select;
	uint32_t wired;			/* inputs that a device drives: others never interrupt */
	uint32_t lines;			/* their electrical levels */
	uint64_t redir[IOAPIC_PINS];
	ioapic_send_fn *send;
	void *ctx;
};

struct ioapic *ioapic_create(uint8_t id, ioapic_send_fn *send, void *ctx)
{
	struct ioapic *io = calloc(1, sizeof(*io));
	unsigned int i;

	if (!io)
		return NULL;
	pthread_mutex_init(&io->lock, NULL);
	io->id = id;
	io->send = send;
	io->ctx = ctx;
	for (i = 0; i < IOAPIC_PINS; i++)
		io->redir[i] = RE_MASKED;
	return io;
}

void ioapic_destroy(struct ioapic *io)
{
	if (!io)
		return;
	pthread_mutex_destroy(&io->lock);
	free(io);
}

static bool active(const struct ioapic *io, unsigned int pin)
{
	bool high = io->lines >> pin & 1;

	return (io->wired >> pin & 1) && high == !(io->redir[pin] & RE_ACTIVE_LOW);
}

static bool send(struct ioapic *io, uint64_t e)
{
	struct apic_msg msg = {
		.dest = RE_DEST(e),
		.vector = e & RE_VECTOR,
		.delivery = RE_DELIVERY(e),
		.logical = e & RE_LOGICAL,
		.level = e & RE_LEVEL,
		.assert = true,
		.source = ~0U,
	};

	return io->send(io->ctx, &msg);
}

static void send_level(struct ioapic *io, unsigned int pin)
{
	uint64_t *e = &io->redir[pin];

	if (!(*e & RE_LEVEL) || (*e & (RE_MASKED | RE_REMOTE_IRR)) || !active(io, pin))
		return;
	/* The EOI may come from another thread before this is set: it waits for the lock. */
	if (send(io, *e))
		*e |= RE_REMOTE_IRR;
}

void ioapic_set_irq(struct ioapic *io, unsigned int pin, bool level)
{
	bool before;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&io->lock);
	before = active(io, pin);
	io->wired |= 1U << pin;
	io->lines = (io->lines & ~(1U << pin)) | (uint32_t)level << pin;
	if (io->redir[pin] & RE_LEVEL) {
		send_level(io, pin);
	} else if (!before && active(io, pin) && !(io->redir[pin] & RE_MASKED)) {
		/* An edge on a masked input is lost, as in the data sheet. */
		send(io, io->redir[pin]);
	}
	pthread_mutex_unlock(&io->lock);
}

static void end(struct ioapic *io, uint8_t vector)
{
	unsigned int i;

	for (i = 0; i < IOAPIC_PINS; i++) {
		uint64_t *e = &io->redir[i];

		if (!(*e & RE_LEVEL) || !(*e & RE_REMOTE_IRR) || (*e & RE_VECTOR) != vector)
			continue;
		*e &= ~RE_REMOTE_IRR;
		send_level(io, i);
	}
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	pthread_mutex_lock(&io->lock);
	end(io, vector);
	pthread_mutex_unlock(&io->lock);
}

static uint32_t read_window(const struct ioapic *io)
{
	unsigned int n = io->select - REG_REDIR;

	switch (io->select) {
	case REG_ID:
	case REG_ARB:
		return (uint32_t)io->id << 24;
	case REG_VERSION:
		return VERSION;
	}
	if (io->select < REG_REDIR || n / 2 >= IOAPIC_PINS)
		return 0;
	return io->redir[n / 2] >> (n & 1 ? 32 : 0);
}

static void write_window(struct ioapic *io, uint32_t val)
{
	unsigned int n = io->select - REG_REDIR;
	uint64_t *e, new;

	if (io->select == REG_ID) {
		io->id = val >> 24 & 0xf;
		return;
	}
	if (io->select < REG_REDIR || n / 2 >= IOAPIC_PINS)
		return;
	e = &io->redir[n / 2];
	if (n & 1)
		new = (*e & 0xffffffff) | (uint64_t)val << 32;
	else
		new = (*e & ~0xffffffffULL) | val;
	*e = (new & ~RE_READ_ONLY & RE_IMPLEMENTED) | (*e & RE_READ_ONLY);
	/* Remote IRR means nothing for edges; Linux relies on a switch to edge clearing it. */
	if (!(*e & RE_LEVEL))
		*e &= ~RE_REMOTE_IRR;
	send_level(io, n / 2);
}

static uint64_t ioapic_read(void *dev, uint64_t off, unsigned int size)
{
	struct ioapic *io = dev;
	uint64_t val = 0;

	(void)size;
	pthread_mutex_lock(&io->lock);
	if (off == IOREGSEL)
		val = io->select;
	else if (off == IOWIN)
		val = read_window(io);
	pthread_mutex_unlock(&io->lock);
	return val;
}

static void ioapic_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct ioapic *io = dev;

	(void)size;
	pthread_mutex_lock(&io->lock);
	if (off == IOREGSEL)
		io->select = val;
	else if (off == IOWIN)
		write_window(io, val);
	else if (off == IOEOI)
		end(io, val);
	pthread_mutex_unlock(&io->lock);
}

const struct bus_ops ioapic_bus_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
};
