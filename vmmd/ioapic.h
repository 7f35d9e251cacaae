/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC: 24 inputs, each with a redirection entry (Intel 82093AA data
 * sheet; version 0x20 with the EOI register as in later chip sets).
 */
#ifndef VMMD_IOAPIC_H
#define VMMD_IOAPIC_H

#include "bus.h"

#define IOAPIC_BASE	0xfec00000U
#define IOAPIC_SIZE	0x1000
#define IOAPIC_PINS	24

struct ioapic;

/*
 * Send an interrupt message; returns whether any local APIC took it.  Called
 * with the chip's lock held: must not call back.
 */
typedef bool ioapic_send_fn(void *ctx, const struct apic_msg *msg);

/* NULL without memory. */
struct ioapic *ioapic_create(uint8_t id, ioapic_send_fn *send, void *ctx);
void ioapic_destroy(struct ioapic *io);

extern const struct bus_ops ioapic_bus_ops;

/* Drive input @pin.  Any thread. */
void ioapic_set_irq(struct ioapic *io, unsigned int pin, bool level);

/* A local APIC has ended level-triggered @vector.  Any thread. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif /* VMMD_IOAPIC_H */
