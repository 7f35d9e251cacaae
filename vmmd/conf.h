/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's configuration: what guest.cfg says, checked and with defaults
 * filled in.  conf.c reads it; everything else takes it as given.
 */
#ifndef VMMD_CONF_H
#define VMMD_CONF_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_MAX_NODES	64
#define CONF_MAX_VCPUS	255		/* per guest: xAPIC ids 0..254 */
#define CONF_NAME_LEN	64
#define CONF_MAX_SLOWDOWN 100
#define CONF_MAX_MIN_RUN_US 20000
#define CONF_MAX_CMDLINE 2047		/* x86 kernels' COMMAND_LINE_SIZE less the NUL */
#define CONF_MEMORY_UNIT (2ULL << 20)	/* a node's memory is a multiple of this */
#define CONF_MIN_MEMORY	(16ULL << 20)	/* of a guest */
#define CONF_MAX_MEMORY	(1ULL << 40)	/* of a guest */
#define CONF_DEFAULT_PORT 7741		/* vmmd's TCP port */
#define CONF_MAX_CONNECTIONS 8		/* of a link; CVMM_MAX_CONNS */

/* What carries the pages between the hosts. */
enum conf_transport {
	CONF_AUTO,		/* RDMA where both ends can and nothing is to be encrypted, else TCP */
	CONF_TCP,
	CONF_RDMA,
	CONF_TRANSPORTS
};

/* What the guest's memory is made of. */
enum conf_pages {
	CONF_PAGES_AUTO,	/* one host: large where the kernel finds some; several: 4K */
	CONF_PAGES_4K,		/* and on our engine in a space, as that of several hosts */
	CONF_PAGES_2M,		/* the host's reserved huge pages (hugetlbfs) */
	CONF_PAGES_1G,
	CONF_PAGES
};

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
	char *engine;		/* "/dev/cvmm", "/dev/kvm", or "auto": the first of them that works */
	uint64_t memory;	/* bytes, sum over the nodes */
	enum conf_pages pages;
	enum conf_transport transport;
	bool encryption;	/* of the links between the hosts; everything else always is */
	unsigned int connections; /* of a link over TCP, 0: by the number of vCPUs */
	unsigned int min_run_us; /* how long a page that was waited for stays, 0: by travel time */
	unsigned int slowdown;	/* the guest's time runs this many times slower, 1: real time */
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

/*
 * Read a guest's configuration from a file, or from @text (@name stands for
 * the file in messages; paths in it are relative to @name's directory).
 * Returns 0, or -1 with one line "file:line: what is wrong; what is allowed"
 * in @err.  @c is overwritten; conf_free() it in both cases.
 */
int conf_read_file(struct vm_conf *c, const char *path, char *err, size_t errlen);
int conf_read_string(struct vm_conf *c, const char *text, const char *name,
		     char *err, size_t errlen);
void conf_free(struct vm_conf *c);

/*
 * The rules that do not depend on where a configuration came from; a decoder
 * of a peer's configuration calls it too.  Returns 0, or -1 with @err.
 */
int conf_check(const struct vm_conf *c, char *err, size_t errlen);

/* May its links be RDMA connections? */
static inline bool conf_may_rdma(const struct vm_conf *c)
{
	return !c->encryption && c->transport != CONF_TCP;
}

/*
 * TCP connections of each of its links.  One where RDMA may take the place of it; else
 * as said, or as many as the largest node has vCPUs, which can all fault at once, up to 4.
 */
static inline unsigned int conf_connections(const struct vm_conf *c)
{
	unsigned int i, n = 1;

	if (conf_may_rdma(c))
		return 1;
	if (c->connections)
		return c->connections;
	for (i = 0; i < c->nr_nodes; i++)
		n = c->node[i].vcpus > n ? c->node[i].vcpus : n;
	return n < 4 ? n : 4;
}

/* Is its memory that of a space, rather than its process's own? */
static inline bool conf_in_space(const struct vm_conf *c)
{
	return c->nr_nodes > 1 || c->pages == CONF_PAGES_4K;
}

/* Size of the huge pages that it asks for, 0: none. */
static inline uint64_t conf_huge_size(const struct vm_conf *c)
{
	return c->pages == CONF_PAGES_2M ? 2ULL << 20 : c->pages == CONF_PAGES_1G ? 1ULL << 30 : 0;
}

/* A guest that runs on this host alone, without vmmd: one node and no host named. */
static inline bool conf_is_local(const struct vm_conf *c)
{
	return c->nr_nodes == 1 && !c->node[0].host;
}

/*
 * Parse a list of CPUs, "0-3,8", into @set.  Returns how many CPUs it has, or
 * -1 if it is malformed, empty, or has a CPU number of CPU_SETSIZE or more.
 */
int conf_parse_cpus(const char *list, cpu_set_t *set);

/* Parse a size such as "512M" or "1G" (suffix K, M, G, T or none) into bytes.  0 or -1. */
int conf_parse_size(const char *text, uint64_t *bytes);

/* A guest's name: 1..63 of [A-Za-z0-9._-], the first a letter or digit. */
bool conf_name_ok(const char *name);

#endif /* VMMD_CONF_H */
