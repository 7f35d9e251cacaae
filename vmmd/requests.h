/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cvmm asks vmmd (ctlproto.h) over a socket of this host, whose file's
 * permissions say who may ask.
 */
#ifndef VMMD_REQUESTS_H
#define VMMD_REQUESTS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

struct guest;

#define REQUESTS_POLL	33

/* Listen on @path; a socket that a dead vmmd has left is replaced.  0, or -1 with @err. */
int requests_open(const char *path, char *err, size_t errlen);

/* What to poll: fills REQUESTS_POLL entries.  Then, with what poll() found: */
void requests_poll(struct pollfd *p);
void requests_serve(const struct pollfd *p);

/* Answer what has waited too long.  Returns when to call again (now_ms()), UINT64_MAX: never. */
uint64_t requests_expire(uint64_t now);

/* Tell all who wait for events. */
void requests_event(const struct guest *g, const char *what, const char *text);

/* A guest's process says its counters, stats_encode()d in @data, to the request @asker. */
void requests_answer(const struct guest *g, uint32_t asker, const uint8_t *data, size_t len);

#endif /* VMMD_REQUESTS_H */
