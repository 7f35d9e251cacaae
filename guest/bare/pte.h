/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bits of page-table entries (APM vol. 2, 5.4), short because tests are full of them. */
#ifndef PTE_H
#define PTE_H

#define P	1ull		/* present */
#define W	2ull		/* writable */
#define U	4ull		/* user */
#define A	0x20ull		/* accessed */
#define D	0x40ull		/* dirty */
#define PS	0x80ull		/* a large page */
#define G	0x100ull	/* global */
#define PAT	0x1000ull	/* of a large page */
#define NX	(1ull << 63)

#endif /* PTE_H */
