/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One node of a guest: the process that vmmd starts for it, between the client
 * (cvmm-run), the other nodes, the machine and the kernel module.
 */
#ifndef VMMD_CLUSTER_H
#define VMMD_CLUSTER_H

#include "vmmd/key.h"
#include "vmmd/proto.h"
#include "vmmd/sandbox.h"
#include "vmmd/stats.h"
#include "vmmd/tls.h"

/* Between vmmd and its VM processes, over a SOCK_SEQPACKET pair: one struct each. */
enum super_type {
	SUPER_PEER = 1,		/* to the VM: a connection from another node, with its descriptor */
	SUPER_STOP,		/* to the VM: end the guest, because of text */
	SUPER_ASK_STATS,	/* to the VM; from it: the module's, which it may not ask itself */
	SUPER_STATE,		/* from the VM: text is its state now */
	SUPER_STATS,		/* encoded counters */
};

struct super_msg {
	enum super_type type;
	uint32_t asker;			/* SUPER_ASK_STATS and SUPER_STATS: who wants them */
	struct hello hello;		/* SUPER_PEER */
	struct tls_keys keys;		/* SUPER_PEER */
	char text[ENDED_TEXT];		/* SUPER_STOP, SUPER_STATE */
	uint32_t nr_nodes, vcpus;	/* SUPER_STATE, of the guest and of this node; 0: unknown yet */
	uint64_t memory;
	size_t len;			/* SUPER_STATS: of data */
	uint8_t data[STATS_MAX * (STAT_NAME_LEN + 8)];
};

/* Length of a message as sent: without the unused end of data. */
#define SUPER_LEN(m)	(offsetof(struct super_msg, data) + ((m)->type == SUPER_STATS ? (m)->len : 0))

/*
 * Be node @hello->to of a guest until it ends.  Owns both descriptors; @keys
 * are the client's connection's.  Once all peers are connected @key is wiped and
 * the process confined as @user (sandbox.h); where RDMA is possible it is @user before it connects.
 * Returns the process's exit status: 0 when it ended in good order.
 */
int cluster_node(int client_fd, struct tls_keys *keys, int super_fd, const struct hello *hello,
		 struct cluster_key *key, const struct sandbox_user *user);

/* A line on standard error. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif /* VMMD_CLUSTER_H */
