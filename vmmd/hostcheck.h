/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Can this host take part in a guest of several hosts?  Asked by "cvmm check", of
 * this host and, through vmmd, of others, before a guest is started.
 */
#ifndef VMMD_HOSTCHECK_H
#define VMMD_HOSTCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "vmmd/sandbox.h"

/* What is wanted of a host; in a hello's "to", so below CONF_MAX_NODES. */
#define HOST_ENGINE	(1U << 0)	/* /dev/cvmm, this ABI, hardware that nobody else has */
#define HOST_KTLS	(1U << 1)	/* TLS in the kernel */
#define HOST_RDMA	(1U << 2)	/* RDMA at an address of this host */
#define HOST_ALL	(HOST_ENGINE | HOST_KTLS | HOST_RDMA)

/*
 * Try what @wants asks for; RDMA at @addr, for the module, and for programs as @user
 * (sandbox.h; unused otherwise).  0 with @text about the host, or -1 with
 * the first reason why it can not.  Opens the devices and closes them again; may
 * load modules; takes milliseconds.
 */
int host_check(unsigned int wants, const struct sockaddr_storage *addr, const struct sandbox_user *user,
	       char *text, size_t len);

/* A port of an RDMA device, as the kernel shows it below /sys. */
struct rdma_port {
	char device[32];
	unsigned int port;
	bool active;
	char state[32];		/* "ACTIVE", "DOWN" */
	char layer[32];		/* "Ethernet", "InfiniBand" */
	char rate[32];		/* "10 Gb/sec (1X QDR)" */
	char netdev[32];	/* or "" */
	char address[64];	/* the first IPv4 address among its GIDs, or "" */
};

/*
 * The ports of this host's RDMA devices, as the module may use them: whether or not
 * programs may (libibverbs knows only those).  @root: "/sys/class/infiniband".
 * How many of at most @max; 0 also without any RDMA.
 */
unsigned int rdma_ports(const char *root, struct rdma_port *out, unsigned int max);

#endif /* VMMD_HOSTCHECK_H */
