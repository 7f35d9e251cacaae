/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power management: the ACPI fixed hardware (PM1 event and control blocks and
 * the PM timer; ACPI 6.4, section 4.8), the reset register at port 0xcf9, and
 * the reset pulse of the keyboard controller at port 0x64.
 *
 * No event is ever raised, so the SCI is not wired.
 */
#ifndef VMMD_PM_H
#define VMMD_PM_H

#include "bus.h"

#define PM_BASE		0x600
#define PM_EVT_OFF	0	/* PM1a status and enable, 2 bytes each */
#define PM_CNT_OFF	4	/* PM1a control, 2 bytes */
#define PM_TMR_OFF	8	/* timer, 32 bits */
#define PM_PORTS	12
#define PM_SCI_IRQ	9
#define PM_S5_TYPE	5	/* SLP_TYP of \_S5 */
#define PM_TMR_HZ	3579545

#define RESET_PORT	0xcf9
#define RESET_VALUE	0x06	/* full reset, as the FADT tells */
#define KBC_PORT	0x64

struct pm;

/*
 * @now returns nanoseconds of a monotonic clock.  @end is told MACHINE_POWEROFF
 * or MACHINE_RESET; the guest may go on for a while after.
 */
struct pm_ops {
	uint64_t (*now)(void *ctx);
	void (*end)(void *ctx, enum machine_end why);
};

struct pm *pm_create(const struct pm_ops *ops, void *ctx);
void pm_destroy(struct pm *pm);

extern const struct bus_ops pm_bus_ops, pm_reset_bus_ops, pm_kbc_bus_ops;

#endif /* VMMD_PM_H */
