/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nomem: what is done while allocations fail (nomem_steps.c), and how they are made
 * to fail (nomem.c).
 */
#ifndef NOMEM_H
#define NOMEM_H

#include <stdbool.h>

struct step {
	const char *name;
	void (*prepare)(void);	/* with all memory; bails */
	int (*act)(void);	/* 0 or -errno; -EUCLEAN: it did the wrong thing */
	bool again;		/* works when tried again with memory */
};

extern const struct step steps[];
extern const unsigned int nr_steps;

/* Before all steps, with main's arguments. */
void steps_init(int argc, char **argv);
/* After each step. */
void undo(void);
/* Two spaces of this process, mapped, with links between them. */
void two_joined(void);
/* Read and write pages of each home on each host; SIGBUS is no memory: -ENOMEM. */
int touch(void);
/* Write @value to the file @path. */
void put(const char *path, const char *value);

#endif /* NOMEM_H */
