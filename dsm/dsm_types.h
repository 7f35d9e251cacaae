/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the coherence core needs from its surroundings: fixed-width types,
 * errno values and memset/memcpy.  The same core is built into the kernel
 * module and into user-space programs; this is the only file that knows which.
 */
#ifndef DSM_TYPES_H
#define DSM_TYPES_H

#ifdef __KERNEL__

#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/nospec.h>
#include <linux/string.h>
#include <linux/types.h>

/* @i, which is < @n; a processor that guesses so wrongly uses 0. */
#define dsm_index(i, n)		array_index_nospec(i, n)

static inline unsigned int dsm_weight64(u64 w)
{
	return hweight64(w);
}

/* Number of the lowest bit set; @w is not 0. */
static inline u32 dsm_lowest64(u64 w)
{
	return __ffs64(w);
}

#else /* !__KERNEL__ */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int16_t s16;
typedef int32_t s32;

#ifndef READ_ONCE
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#endif

#define dsm_index(i, n)		((void)(n), (i))

static inline unsigned int dsm_weight64(u64 w)
{
	return (unsigned int)__builtin_popcountll(w);
}

static inline u32 dsm_lowest64(u64 w)
{
	return (u32)__builtin_ctzll(w);
}

#endif /* __KERNEL__ */

#endif /* DSM_TYPES_H */
