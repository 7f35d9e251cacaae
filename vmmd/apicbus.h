/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The APIC bus: which local APICs an interrupt message is for.
 *
 * Each host keeps the routing information of every local APIC of the guest
 * (struct apic_info), its own and those told by the other hosts.  Entries are
 * single atomic words: readers take no lock.
 */
#ifndef VMMD_APICBUS_H
#define VMMD_APICBUS_H

#include <stdatomic.h>

#include "machine.h"

#define APIC_SET_WORDS	((CONF_MAX_VCPUS + 64) / 64)

/* A set of vCPUs by number, which is also their APIC id. */
struct apic_set {
	uint64_t word[APIC_SET_WORDS];
};

struct apicbus {
	unsigned int nr;			/* vCPUs of the guest */
	_Atomic uint64_t info[CONF_MAX_VCPUS];
	_Atomic unsigned int turn;		/* of lowest-priority messages */
};

static inline bool apic_set_has(const struct apic_set *s, unsigned int i)
{
	return s->word[i / 64] >> (i % 64) & 1;
}

/* All APICs as after reset: xAPIC mode, software-disabled.  @nr <= CONF_MAX_VCPUS. */
void apicbus_init(struct apicbus *b, unsigned int nr);

/*
 * Take over what an APIC says of itself; returns whether that is news.  Ids the
 * guest does not have are ignored.
 */
bool apicbus_update(struct apicbus *b, const struct apic_info *info);

/*
 * Fill @set with the targets of @msg and return how many there are.  A fixed
 * or lowest-priority message is not for software-disabled APICs; of the targets
 * of a lowest-priority one a single one is chosen, taking turns (SDM vol. 3,
 * "Lowest Priority Delivery Mode": the choice is model-specific).
 */
unsigned int apicbus_targets(struct apicbus *b, const struct apic_msg *msg, struct apic_set *set);

#endif /* VMMD_APICBUS_H */
