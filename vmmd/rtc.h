/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock and CMOS memory (Motorola MC146818 data sheet).  It
 * tells and keeps the time; its interrupt is not wired, and the enables for it
 * read back as zero.
 */
#ifndef VMMD_RTC_H
#define VMMD_RTC_H

#include "bus.h"

#define RTC_BASE	0x70
#define RTC_PORTS	2
#define RTC_CENTURY	0x32		/* CMOS offset of the century, for the FADT */

struct rtc;

/* @now returns nanoseconds since the epoch, UTC. */
struct rtc *rtc_create(int64_t (*now)(void *ctx), void *ctx);
void rtc_destroy(struct rtc *r);

extern const struct bus_ops rtc_bus_ops;

#endif /* VMMD_RTC_H */
