// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The APIC bus: see apicbus.h.  Destinations follow Intel SDM vol. 3, "Local
 * APIC", sections on interrupt destinations in xAPIC and x2APIC mode.
 */
#include <string.h>

#include "apicbus.h"
#include "kmod/vapic.h"

/* Layout of an entry. */
#define INFO_LDR	0xffffffffULL
#define INFO_ENABLED	(1ULL << 32)
#define INFO_X2APIC	(1ULL << 33)
#define INFO_FLAT	(1ULL << 34)	/* xAPIC logical ids: flat model, not cluster */

enum { FIXED = 0, LOWEST = 1 };

void apicbus_init(struct apicbus *b, unsigned int nr)
{
	unsigned int i;

	b->nr = nr < CONF_MAX_VCPUS ? nr : CONF_MAX_VCPUS;
	for (i = 0; i < CONF_MAX_VCPUS; i++)
		atomic_init(&b->info[i], INFO_FLAT);
	atomic_init(&b->turn, 0);
}

bool apicbus_update(struct apicbus *b, const struct apic_info *info)
{
	uint64_t v = info->ldr;

	if (info->id >= b->nr)
		return false;
	if (info->enabled)
		v |= INFO_ENABLED;
	if (info->x2apic)
		v |= INFO_X2APIC;
	if (VAPIC_DFR_FLAT(info->dfr))
		v |= INFO_FLAT;
	return atomic_exchange(&b->info[info->id], v) != v;
}

static bool match(struct apicbus *b, unsigned int id, const struct apic_msg *msg)
{
	uint64_t info = atomic_load(&b->info[id]);

	if (msg->delivery <= LOWEST && !(info & INFO_ENABLED))
		return false;
	switch (msg->shorthand) {
	case 2:
		return true;
	case 3:
		return id != msg->source;
	}
	if (msg->logical)
		return vapic_match_logical(info & INFO_X2APIC, info & INFO_FLAT, info & INFO_LDR,
					   msg->dest, msg->x2apic);
	return msg->dest == id || msg->dest == (msg->x2apic ? 0xffffffff : 0xff);
}

static void choose_one(struct apicbus *b, struct apic_set *set)
{
	unsigned int id = atomic_fetch_add(&b->turn, 1) % b->nr;

	while (!apic_set_has(set, id))
		id = (id + 1) % b->nr;
	memset(set, 0, sizeof(*set));
	set->word[id / 64] = 1ULL << (id % 64);
}

unsigned int apicbus_targets(struct apicbus *b, const struct apic_msg *msg, struct apic_set *set)
{
	unsigned int id, n = 0;

	memset(set, 0, sizeof(*set));
	for (id = 0; id < b->nr; id++) {
		if (match(b, id, msg)) {
			set->word[id / 64] |= 1ULL << (id % 64);
			n++;
		}
	}
	if (msg->delivery == LOWEST && n > 1) {
		choose_one(b, set);
		n = 1;
	}
	return n;
}
