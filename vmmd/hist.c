// SPDX-License-Identifier: GPL-2.0-or-later
/* Histograms of times: see hist.h. */
#include "vmmd/hist.h"

uint64_t hist_begin(unsigned int b)
{
	const unsigned int n = 1U << CVMM_NL_HIST_SUB_BITS;
	const uint64_t units = b < n ? b : (uint64_t)(n + b % n) << (b / n - 1);

	return units << CVMM_NL_HIST_SHIFT;
}

uint64_t hist_count(const struct hist *h)
{
	uint64_t n = 0;
	unsigned int b;

	for (b = 0; b < CVMM_NL_HIST_BUCKETS; b++)
		n += h->bucket[b];
	return n;
}

uint64_t hist_percentile(const struct hist *h, unsigned int part, unsigned int of)
{
	const uint64_t count = hist_count(h);
	/* rounded up, without overflow */
	uint64_t rank = count / of * part + (count % of * part + of - 1) / of;
	unsigned int b;

	if (!count)
		return 0;
	for (b = 0; rank > h->bucket[b]; b++)
		rank -= h->bucket[b];
	return hist_begin(b) + (uint64_t)((double)(hist_begin(b + 1) - hist_begin(b)) *
					  ((double)rank - 0.5) / (double)h->bucket[b]);
}

uint64_t hist_max(const struct hist *h)
{
	unsigned int b = CVMM_NL_HIST_BUCKETS;

	while (b && !h->bucket[b - 1])
		b--;
	return b ? hist_begin(b) : 0;
}
