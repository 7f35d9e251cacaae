/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Round trips between two hosts that the module has no part in (raw.c).
 */
#ifndef SPACE_RAW_H
#define SPACE_RAW_H

#include "space_test.h"

struct raw;

/* Over the connected socket @sock, or a reliable connection that is agreed on over it. */
struct raw *raw_open(int sock, bool rdma);
void raw_close(struct raw *r);

/* Answer until the other end stops. */
void raw_serve(struct raw *r);
/* @n round trips, with a page in the answer or without; their times. */
void raw_measure(struct raw *r, bool page, unsigned int n, uint64_t *ns);
void raw_stop(struct raw *r);

#endif /* SPACE_RAW_H */
