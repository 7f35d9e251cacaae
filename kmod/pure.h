/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module's pure parts (insn.c, emulate.c, emu_*.c, walk.c, heat.c, vapic.c,
 * task_switch.c, svm/ptcache.c, svm/vmcb_clean.c, rdma/wire.c) need from their
 * surroundings.  They are built into the modules and into user-space tests, vapic.c into
 * vmmd, too; this is the only file that knows which.
 */
#ifndef CVMM_PURE_H
#define CVMM_PURE_H

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>

/* Atomic operations on a u32, ordered against everything. */
#define pure_or32(p, bits)	((void)atomic_fetch_or(bits, (atomic_t *)(p)))
#define pure_and32(p, bits)	((void)atomic_fetch_and(bits, (atomic_t *)(p)))
#define pure_xchg32(p, val)	xchg(p, val)

#else /* !__KERNEL__ */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;

#define BIT_ULL(n)		(1ULL << (n))
#define GENMASK_ULL(h, l)	((~0ULL << (l)) & (~0ULL >> (63 - (h))))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define fallthrough		__attribute__((__fallthrough__))
#define min_t(t, a, b)		((t)(a) < (t)(b) ? (t)(a) : (t)(b))

#define pure_or32(p, bits)	((void)__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST))
#define pure_and32(p, bits)	((void)__atomic_fetch_and(p, bits, __ATOMIC_SEQ_CST))
#define pure_xchg32(p, val)	__atomic_exchange_n(p, val, __ATOMIC_SEQ_CST)

#ifndef READ_ONCE
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#endif

#endif /* __KERNEL__ */

#endif /* CVMM_PURE_H */
