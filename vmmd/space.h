/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine and the space as the kernel module gives them: opening the device
 * that runs vCPUs, creating a guest's coherent memory, and saying in words why
 * that cannot be done on this host.
 */
#ifndef VMMD_SPACE_H
#define VMMD_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "vmmd/conf.h"

struct host_engine {
	int fd;			/* owned; -1: closed */
	bool spaces;		/* /dev/cvmm: guest memory is a space */
	const char *path;	/* "/dev/cvmm" or "/dev/kvm" */
};

/*
 * Open the engine that @conf asks for and check that it can run a guest on
 * this host: the module is there, speaks our ABI, and owns the hardware.  With
 * "auto", /dev/kvm is taken for a guest of one node when /dev/cvmm is not there.
 * Returns 0, or -1 with a message for the user in @err.
 */
int host_engine_open(struct host_engine *e, const struct vm_conf *conf, char *err, size_t errlen);
void host_engine_close(struct host_engine *e);

/* Is there room for what @node homes of the guest's memory?  0, or -1 with @err. */
int space_check_memory(const struct vm_conf *conf, unsigned int node, char *err, size_t errlen);

/*
 * Create this host's part of the guest's space, without pages if !conf_in_space().  @space_id and @epoch are the
 * same on all its hosts.  Returns a descriptor, or -1 with @err.
 */
int space_create(const struct host_engine *e, const struct vm_conf *conf, unsigned int node,
		 uint64_t space_id, uint32_t epoch, char *err, size_t errlen);

/*
 * Give the space connected sockets to @node, @nr of them (1..CVMM_MAX_CONNS), which the other
 * end has in the same order.  They stay the caller's.  0, or -1 with @err.
 */
int space_add_link(int space_fd, unsigned int node, const int *fds, unsigned int nr, char *err, size_t errlen);

/*
 * RDMA connections, which the module makes; @addr is an IPv4 or IPv6 address.
 *
 * space_rdma_listen() waits for one peer at @addr, which is this host's and its
 * RDMA device's, at a port that it puts into *@port; space_rdma_connect() connects
 * to the peer's @addr.  @token is what this end shows, @peer_token what the other
 * has to.  Both return at once: a descriptor, or -1 with @err.
 */
int space_rdma_listen(const struct host_engine *e, const struct sockaddr_storage *addr, uint16_t *port,
		      const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen);
int space_rdma_connect(const struct host_engine *e, const struct sockaddr_storage *addr, uint16_t port,
		       const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen);
/* Wait until it is connected.  0, or -1 with @err. */
int space_rdma_wait(int fd, int timeout_ms, char *err, size_t errlen);
/* As space_add_link(), with such a connection. */
int space_add_rdma_link(int space_fd, unsigned int node, int fd, char *err, size_t errlen);

/*
 * Has the space failed?  Returns false while it lives.  Else *@node is the host
 * that it is about, or -1, and @why says what happened.  Async-signal-safe.
 */
bool space_failed(int space_fd, int *node, char *why, size_t whylen);

/* End every access that waits for another host. */
void space_fail(int space_fd);

#endif /* VMMD_SPACE_H */
