/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O bus: which device answers a port or a physical address.
 *
 * The table is filled while the machine is created and never changes after, so
 * that look-ups take no lock.  Every node of a guest has the same ranges; only
 * the node that has the device gives its ops, for the others the range is
 * remote.
 */
#ifndef VMMD_BUS_H
#define VMMD_BUS_H

#include "machine.h"

#define BUS_MAX_RANGES	16

/*
 * A device's registers.  @off counts bytes from the start of the range, @size
 * is 1, 2, 4 or 8.  Called from any vCPU's thread and for other nodes at the
 * same time: the device locks.
 */
struct bus_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned int size);
	void (*write)(void *dev, uint64_t off, unsigned int size, uint64_t val);
};

struct bus_range {
	enum io_space space;
	uint64_t base;
	uint64_t len;
	const struct bus_ops *ops;	/* NULL: on node 0, which is not this one */
	void *dev;
};

struct bus {
	unsigned int nr;
	struct bus_range range[BUS_MAX_RANGES];
};

/* Add a range.  0, or -1 when it overlaps another one or the table is full. */
int bus_add(struct bus *b, enum io_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *dev);

/* The range that holds the access's first byte, or NULL. */
const struct bus_range *bus_find(const struct bus *b, enum io_space space, uint64_t addr);

/*
 * Perform @req on the local device that claims it.  An access that reaches
 * beyond the end of its range is split into bytes, as an ISA bridge would.
 * Returns false, with all-ones for a read, when no local device claims it.
 */
bool bus_access(const struct bus *b, struct io_req *req);

#endif /* VMMD_BUS_H */
