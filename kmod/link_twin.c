// SPDX-License-Identifier: GPL-2.0-only
/* Pages as they went over a link the last time: see link_twin.h. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "link_twin.h"

struct cvmm_twins *cvmm_twins_alloc(unsigned int order)
{
	const size_t nr = 1UL << order;
	struct cvmm_twins *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

	if (!t)
		return NULL;
	t->mask = nr - 1;
	t->gfn = kvcalloc(nr, sizeof(*t->gfn), GFP_KERNEL_ACCOUNT);
	t->page = __vmalloc(nr * PAGE_SIZE, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (t->gfn && t->page)
		return t;
	cvmm_twins_free(t);
	return NULL;
}

void cvmm_twins_free(struct cvmm_twins *t)
{
	if (!t)
		return;
	vfree(t->page);
	kvfree(t->gfn);
	kfree(t);
}

static u8 *place(struct cvmm_twins *t, u64 gfn)
{
	return t->page + (gfn & t->mask) * PAGE_SIZE;
}

void cvmm_twins_note(struct cvmm_twins *t, u64 gfn, const void *page)
{
	t->gfn[gfn & t->mask] = gfn + 1;
	memcpy(place(t, gfn), page, PAGE_SIZE);
}

int cvmm_twins_pack(struct cvmm_twins *t, u64 gfn, const void *page)
{
	int len = -1;

	if (t->gfn[gfn & t->mask] == gfn + 1)
		len = cvmm_delta_renew(t->delta, sizeof(t->delta), (u64 *)place(t, gfn), page);
	if (len < 0)
		cvmm_twins_note(t, gfn, page);
	return len;
}

int cvmm_twins_unpack(struct cvmm_twins *t, u64 gfn, u32 len, void *page)
{
	if (len > sizeof(t->delta) || t->gfn[gfn & t->mask] != gfn + 1 ||
	    cvmm_delta_apply((u64 *)place(t, gfn), t->delta, len))
		return -EPROTO;
	memcpy(page, place(t, gfn), PAGE_SIZE);
	return 0;
}
