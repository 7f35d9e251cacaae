/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of named counters: collected from the machine, the channel and the
 * kernel module, sent to cvmm-run and cvmm, printed as text or JSON.
 */
#ifndef VMMD_STATS_H
#define VMMD_STATS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/machine.h"

#define STAT_NAME_LEN	64
#define STATS_MAX	1024

struct stat_entry {
	char name[STAT_NAME_LEN];	/* "group.name": printable, without blanks, quotes, backslashes */
	uint64_t value;
};

/* All zero is an empty list. */
struct stats {
	struct stat_entry *entry;
	unsigned int nr, room;
};

/* Add @value to the entry @name, which is made if it is new.  Names that do not fit are dropped. */
void stats_add(struct stats *s, const char *name, uint64_t value);
void stats_add_machine(struct stats *s, const struct machine_stats *m);
/* All of @more. */
void stats_add_all(struct stats *s, const struct stats *more);
/*
 * What the module has counted for a guest on this host, and "time.*": of each transition
 * that has happened the count, the sum of all times and percentiles.
 */
void stats_add_module(struct stats *s, const char *guest);
void stats_free(struct stats *s);

/* For each: length of the name u8, name, value u64.  stats_encode() returns the length; what does not fit is left out. */
size_t stats_encode(const struct stats *s, uint8_t *buf, size_t max);
int stats_decode(const uint8_t *buf, size_t len, struct stats *s);

/*
 * For JSON; NULL only without memory, which jansson's *_new() functions pass on.
 * Texts that are not UTF-8 come with a '?' for each byte that is not ASCII.
 */
json_t *json_text(const char *text);
/* An object of names and numbers. */
json_t *stats_json(const struct stats *s);

#endif /* VMMD_STATS_H */
