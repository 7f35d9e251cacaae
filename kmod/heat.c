// SPDX-License-Identifier: GPL-2.0-only
/* Which pages travel most: see heat.h. */
#include "heat.h"

void cvmm_heat_add(struct cvmm_heat_set *set, u64 gfn, u32 peer, unsigned int kind)
{
	const u64 key = gfn << 8 | (peer + 1);
	unsigned int i, least = 0;

	for (i = 0; i < CVMM_HEAT_WAYS; i++) {
		if (set->key[i] == key) {
			set->count[i]++;
			set->kind[i][kind]++;
			return;
		}
	}
	for (i = 1; i < CVMM_HEAT_WAYS; i++)
		if (set->count[i] < set->count[least])
			least = i;
	set->key[least] = key;
	set->count[least]++;
	memset(set->kind[least], 0, sizeof(set->kind[least]));
	set->kind[least][kind] = 1;
}
