/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's configuration: what guest.cfg says, checked and with defaults
 * filled in.  conf.c reads it; everything else takes it as given.
 */
#ifndef VMMD_CONF_H
#define VMMD_CONF_H

#include <stdbool.h>
#include <stdint.h>

#define CONF_MAX_NODES	64
#define CONF_MAX_VCPUS	255		/* per guest: xAPIC ids 0..254 */
#define CONF_NAME_LEN	64

struct conf_node {
	char *host;		/* name or address of the host's vmmd; NULL: this host */
	uint16_t port;		/* vmmd's TCP port there */
	unsigned int vcpus;	/* > 0 */
	uint64_t memory;	/* bytes homed there, multiple of 2 MiB */
	char *cpus;		/* host CPUs to pin to, list syntax ("2-3"), NULL: no pinning */
	int numa_node;		/* host NUMA node for this node's memory, -1: any */
};

struct vm_conf {
	char name[CONF_NAME_LEN];
	char *kernel;		/* path of the bzImage, on the host of cvmm-run */
	char *initrd;		/* path or NULL */
	char *cmdline;		/* never NULL */
	char *engine;		/* device: "/dev/cvmm", "/dev/kvm" */
	uint64_t memory;	/* bytes, sum over the nodes */
	unsigned int nr_nodes;
	struct conf_node node[CONF_MAX_NODES];
};

static inline unsigned int conf_nr_vcpus(const struct vm_conf *c)
{
	unsigned int i, n = 0;

	for (i = 0; i < c->nr_nodes; i++)
		n += c->node[i].vcpus;
	return n;
}

#endif /* VMMD_CONF_H */
