/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cluster key: one secret in a file that all hosts of a cluster and those
 * who may start guests have.  Who has it belongs to the cluster.
 */
#ifndef VMMD_KEY_H
#define VMMD_KEY_H

#include <stddef.h>
#include <stdint.h>

#define KEY_FILE	"/etc/cvmm/cluster.key"
#define KEY_SIZE	32

struct cluster_key {
	uint8_t bytes[KEY_SIZE];
};

/*
 * Read @path, which must be a regular file of root or of the caller that
 * nobody else can read or write.  0, or -1 with @err, which says what to do.
 */
int key_load(const char *path, struct cluster_key *key, char *err, size_t errlen);

/*
 * Make a random key in @path, which must not exist, readable by the caller
 * alone, on disk when this returns.  0, or -1 with @err and no file left.
 */
int key_create(const char *path, char *err, size_t errlen);

#endif /* VMMD_KEY_H */
