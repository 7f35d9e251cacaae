/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's RAM as this process sees it: one window of addresses in which
 * guest-physical address A is at base + A, with a hole for devices from 3 to
 * 4 GiB.
 */
#ifndef VMMD_RAM_H
#define VMMD_RAM_H

#include <stddef.h>
#include <stdint.h>

#define RAM_LOW_MAX	0xc0000000ULL	/* RAM below 4 GiB ends here at the latest */
#define RAM_HIGH_BASE	0x100000000ULL

struct guest_ram {
	uint8_t *base;
	uint64_t low;		/* bytes from 0 on */
	uint64_t high;		/* bytes from RAM_HIGH_BASE on */
};

/* @len bytes of RAM at @gpa, or NULL if not all of them are RAM. */
static inline void *ram_ptr(const struct guest_ram *r, uint64_t gpa, uint64_t len)
{
	if (gpa <= r->low && len <= r->low - gpa)
		return r->base + gpa;
	if (gpa >= RAM_HIGH_BASE && gpa - RAM_HIGH_BASE <= r->high &&
	    len <= r->high - (gpa - RAM_HIGH_BASE))
		return r->base + gpa;
	return NULL;
}

#endif /* VMMD_RAM_H */
