// SPDX-License-Identifier: GPL-2.0-only
/* What has changed in a page: see delta.h. */
#include "delta.h"

static void put16(u8 *p, u32 v)
{
	p[0] = (u8)v;
	p[1] = (u8)(v >> 8);
}

static u32 get16(const u8 *p)
{
	return p[0] | (u32)p[1] << 8;
}

int cvmm_delta_encode(u8 *out, u32 max, const u64 *base, const u64 *page)
{
	u32 i = 0, first, len = 0, bytes;

	for (;;) {
		while (i < CVMM_DELTA_WORDS && base[i] == page[i])
			i++;
		if (i == CVMM_DELTA_WORDS)
			return (int)len;
		first = i;
		while (i < CVMM_DELTA_WORDS && base[i] != page[i])
			i++;
		bytes = (i - first) * 8;
		if (CVMM_DELTA_RUN + bytes > max - len)
			return -1;
		put16(out + len, first);
		put16(out + len + 2, i - first);
		memcpy(out + len + CVMM_DELTA_RUN, page + first, bytes);
		len += CVMM_DELTA_RUN + bytes;
	}
}

int cvmm_delta_apply(u64 *page, const u8 *delta, u32 len)
{
	u32 pos = 0, next = 0, first, words;

	while (pos < len) {
		if (len - pos < CVMM_DELTA_RUN)
			return -EPROTO;
		first = get16(delta + pos);
		words = get16(delta + pos + 2);
		pos += CVMM_DELTA_RUN;
		if (first < next || !words || words > CVMM_DELTA_WORDS ||
		    first > CVMM_DELTA_WORDS - words || words * 8 > len - pos)
			return -EPROTO;
		memcpy(page + first, delta + pos, words * 8);
		pos += words * 8;
		next = first + words;
	}
	return 0;
}

int cvmm_delta_renew(u8 *out, u32 max, u64 *base, const u64 *page)
{
	int len = cvmm_delta_encode(out, max, base, page);

	/* From the bytes that go, not from the page, which may be another by now. */
	if (len > 0 && cvmm_delta_apply(base, out, (u32)len))
		return -1;
	return len;
}
