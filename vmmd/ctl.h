/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the commands of cvmm share: options, the conversation with vmmd, output.
 * Each command returns the program's exit status, having said why on an error.
 */
#ifndef VMMD_CTL_H
#define VMMD_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vmmd/ctlproto.h"

#define EXIT_USAGE	64
#define EXIT_UNAVAILABLE 69

#define CTL_MAX_FIELDS	16

extern bool ctl_json;		/* --json */

/* One line of an answer of vmmd: key=value fields. */
struct record {
	char line[CTL_LINE_MAX];
	unsigned int nr;
	const char *key[CTL_MAX_FIELDS], *value[CTL_MAX_FIELDS];
};

/* NULL after a message on an error. */
FILE *ctl_connect(void);
/* Send a request, with @name if not NULL. */
void ctl_send(FILE *f, const char *request, const char *name);
/* Both. */
FILE *ctl_ask(const char *request, const char *name);
/* The next record of an answer: 1, 0 at its end, -1 after a message on an error. */
int ctl_next(FILE *f, struct record *r);
/* A field's value, "" if it is not there. */
const char *ctl_field(const struct record *r, const char *key);

/* Print a value, which is freed, and a newline.  @flags: of json_dumpf(). */
void ctl_print_json(json_t *j, size_t flags);
const char *ctl_size_text(uint64_t bytes, char buf[32]);

/* ctl_stat.c; @name: NULL for all guests */
int ctl_stat(const char *name);
int ctl_links(const char *name);

/* ctl_events.c */
int ctl_events(void);

#endif /* VMMD_CTL_H */
