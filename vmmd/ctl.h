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

struct genl;

#define EXIT_USAGE	64
#define EXIT_UNAVAILABLE 69
#define EXIT_CANTCREAT	73

#define CTL_MAX_FIELDS	16

extern bool ctl_json;		/* --json */

/* One line of an answer of vmmd: key=value fields. */
struct record {
	char line[CTL_LINE_MAX];
	unsigned int nr;
	const char *key[CTL_MAX_FIELDS], *value[CTL_MAX_FIELDS];
};

/* To vmmd's socket.  NULL with @err on an error, or after a message. */
FILE *ctl_try_connect(char *err, size_t errlen);
FILE *ctl_connect(void);
/* Send a request, with @name if not NULL. */
void ctl_send(FILE *f, const char *request, const char *name);
/* Both. */
FILE *ctl_ask(const char *request, const char *name);
/* The next record of an answer: 1, 0 at its end, -1 after a message on an error. */
int ctl_next(FILE *f, struct record *r);
/* A field's value, "" if it is not there. */
const char *ctl_field(const struct record *r, const char *key);

/* The module's netlink family; NULL after a message on an error. */
struct genl *ctl_module(void);
/* The exit status for what a request to it about guest @name, or all, has returned. */
int ctl_module_status(int ret, const char *name);

/* Print a value, which is freed, and a newline.  @flags: of json_dumpf(). */
void ctl_print_json(json_t *j, size_t flags);
const char *ctl_size_text(uint64_t bytes, char buf[32]);

/* ctl_stat.c; @name: NULL for all guests */
int ctl_stat(const char *name);
int ctl_links(const char *name);

/* ctl_hot.c */
struct hot_options {
	unsigned int count;	/* of pages, 0: all */
	unsigned int seconds;	/* only what happens in so long from now; 0: since the guest began */
	const char *map;	/* symbols of the guest's kernel, or NULL */
	uint64_t text;		/* physical address of its _text, 0: as linked */
};

/* Of a guest here, or (@name NULL) what was printed on several hosts: @files, ends with NULL. */
int ctl_hot(const struct hot_options *o, const char *name, char **files);

/* ctl_check.c; @conf: a guest's configuration, or NULL */
int ctl_check(const char *conf, const char *key);

/* ctl_events.c */
int ctl_events(void);

#endif /* VMMD_CTL_H */
