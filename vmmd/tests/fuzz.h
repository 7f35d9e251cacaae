/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests share that make input up: random numbers, and for how long. */
#ifndef VMMD_TESTS_FUZZ_H
#define VMMD_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define USUAL_SEED	88172645463325252ULL

static uint64_t rng = USUAL_SEED;	/* never 0 */

/* Begin with CVMM_SEED of the environment, or the usual numbers; says which. */
static inline void seed(void)
{
	const char *s = getenv("CVMM_SEED");

	rng = s ? strtoull(s, NULL, 0) : 0;
	if (!rng)
		rng = USUAL_SEED;
	printf("CVMM_SEED=%llu\n", (unsigned long long)rng);
}

static inline uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* CVMM_FUZZ_ROUNDS of the environment, or @usual. */
static inline unsigned int rounds(unsigned int usual)
{
	const char *s = getenv("CVMM_FUZZ_ROUNDS");

	return s ? (unsigned int)atoi(s) : usual;
}

#endif /* VMMD_TESTS_FUZZ_H */
