// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looking for changes of a VMCB that its clean bits do not tell; see vmcb_clean.h.
 */
#include "vmcb_clean.h"

u32 vmcb_clean_stale(const void *now, const void *then, u32 clean)
{
	const u8 *a = now, *b = then;
	u32 stale = 0;
	size_t i;

	if (!memcmp(a, b, VMCB_CLEAN_SIZE))
		return 0;
	for (i = 0; i < VMCB_CLEAN_SIZE; i++) {
		enum vmcb_clean group = vmcb_clean_group(i);

		if (a[i] != b[i] && group != VMCB_CLEAN_NONE)
			stale |= 1u << group;
	}
	return stale & clean;
}
