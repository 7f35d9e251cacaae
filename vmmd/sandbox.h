/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a node's process may still do once the guest runs in it: very little.
 * It has an unprivileged user, no capabilities, no way to get privileges, and then
 * one list of system calls for all its threads and a shorter one for vCPUs,
 * whose work is what the guest decides.  A call outside the list kills the
 * process, and with it this guest's node, by SIGSYS.
 */
#ifndef VMMD_SANDBOX_H
#define VMMD_SANDBOX_H

#include <stddef.h>
#include <sys/types.h>

#define SANDBOX_USER	"cvmm"		/* when there is such a user */
#define SANDBOX_OTHER	"nobody"	/* otherwise */

struct sandbox_user {
	char name[32];
	uid_t uid;		/* never 0 */
	gid_t gid;
};

/* Look up @name, or with NULL the first of the two above.  0, or -1 with @err. */
int sandbox_find_user(const char *name, struct sandbox_user *user, char *err, size_t errlen);

/* Before the process has a second thread: nothing that it executes gains privileges.  0 or -1. */
int sandbox_begin(void);

/*
 * All that needs a privilege is done: become @user, where the process is root.  For RDMA
 * still with one thread: devices and their connection manager take what is written to
 * them from the very credentials that have opened them, which are a thread's own once
 * it changes them.  0, also when it is @user already, or -1 with @err; then the process
 * must not go on.
 */
int sandbox_become(const struct sandbox_user *user, char *err, size_t errlen);

/*
 * Before sandbox_enter(): the process, but for its vCPUs' threads, may go on to command
 * the RDMA device that it has open as @fd, by ioctls of verbs on this descriptor only.
 * 0, or -1: too many devices.
 */
int sandbox_allow_verbs(int fd);

/*
 * All that needs another call is done: take the list, in all threads.  0, or -1 with
 * @err; then the process must not go on.
 */
int sandbox_enter(char *err, size_t errlen);

/*
 * The calling thread runs a vCPU from here on: take the shorter list.  Does
 * nothing in a process that has not entered the sandbox, as cvmm-run's own.
 * 0 or -1.
 */
int sandbox_vcpu(void);

#endif /* VMMD_SANDBOX_H */
