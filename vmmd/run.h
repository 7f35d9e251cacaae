/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of cvmm-run share: options, exit statuses, the kernel and
 * initrd it has read, and the report it writes at the end.
 */
#ifndef VMMD_RUN_H
#define VMMD_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/conf.h"
#include "vmmd/key.h"
#include "vmmd/stats.h"

/* Exit statuses; cvmm-run(1) lists them. */
enum run_status {
	RUN_POWEROFF = 0,
	RUN_RESET = 2,		/* with --no-reboot */
	RUN_USAGE = 64,		/* options or configuration */
	RUN_NOINPUT = 66,	/* kernel, initrd or cluster key */
	RUN_UNAVAILABLE = 69,	/* a host cannot run it, or cannot be reached */
	RUN_INTERNAL = 70,	/* the engine, the guest or this program failed */
	RUN_LOST = 75,		/* a host was lost in mid-run; trying again may work */
	RUN_STOPPED = 130,	/* the user or an operator ended it; 128 + n: signal n */
};

#define RUN_INSIST_MS	1000	/* a signal this long after the first one means now */

struct blob {
	uint8_t *data;
	size_t len;
};

struct run {
	struct vm_conf conf;
	struct blob kernel, initrd;
	struct cluster_key key;		/* for the vmmds; unused when local */
	bool no_reboot;
	bool verbose;
	/* Filled while running, for the report */
	uint64_t vm_id;
	uint32_t boots;
	char end[640];			/* one line: how it ended */
	struct stats stats[CONF_MAX_NODES]; /* per node, of the last boot */
};

/*
 * Run the guest to its end, on this host alone or through the vmmds of its
 * hosts.  The console has been started.  Signals in @sigfd end the guest.
 * Returns the exit status; run->end tells why.
 */
enum run_status run_local(struct run *run, int sigfd);
enum run_status run_cluster(struct run *run, int sigfd);

/* Progress for --verbose. */
#define run_verbose(run, ...) do { if ((run)->verbose) console_note(__VA_ARGS__); } while (0)

#endif /* VMMD_RUN_H */
