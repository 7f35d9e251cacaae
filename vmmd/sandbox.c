// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User and system calls of a node's process: see sandbox.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <pwd.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sched.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/sandbox.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA	0x53564d41
#endif

/* What every thread needs: memory, locks, time, its own signals and end; what is open to write to. */
static const int common_calls[] = {
	SCMP_SYS(write), SCMP_SYS(sendto), SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(sched_yield), SCMP_SYS(restart_syscall), SCMP_SYS(timerfd_settime),
	SCMP_SYS(epoll_ctl), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(timer_settime),
	SCMP_SYS(timer_delete), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group),
	SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigaction), SCMP_SYS(sched_getaffinity),
};

/* What main thread, worker, channel and console need besides. */
static const int process_calls[] = {
	SCMP_SYS(read), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(close), SCMP_SYS(shutdown), SCMP_SYS(eventfd2),
	SCMP_SYS(timer_create), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_setaffinity),
	SCMP_SYS(getrandom), SCMP_SYS(mbind),
	SCMP_SYS(seccomp),	/* for the vCPUs' list, which can only be shorter */
};

#define VERBS_MAX	16

static int verbs_fd[VERBS_MAX];
static unsigned int nr_verbs;
static atomic_bool entered;

int sandbox_find_user(const char *name, struct sandbox_user *user, char *err, size_t errlen)
{
	const struct passwd *pw;

	pw = getpwnam(name ? name : SANDBOX_USER);
	if (!pw && !name)
		pw = getpwnam(SANDBOX_OTHER);
	if (!pw) {
		snprintf(err, errlen, "no user %s for the guests' processes; make one (useradd --system %s) or name "
			 "another with --user", name ? name : SANDBOX_USER " or " SANDBOX_OTHER, SANDBOX_USER);
		return -1;
	}
	if (!pw->pw_uid) {
		snprintf(err, errlen, "user %s is root; guests' processes need one without privileges", pw->pw_name);
		return -1;
	}
	snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	return 0;
}

int sandbox_begin(void)
{
	/* One heap that grows by brk(): the C library reads /proc before it shrinks another. */
	mallopt(M_ARENA_MAX, 1);
	/* ... and the time zone's file before the first gmtime_r(). */
	tzset();
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int sandbox_allow_verbs(int fd)
{
	unsigned int i;

	for (i = 0; i < nr_verbs; i++)
		if (verbs_fd[i] == fd)
			return 0;
	if (nr_verbs == VERBS_MAX)
		return -1;
	verbs_fd[nr_verbs++] = fd;
	return 0;
}

static int allow_verbs(scmp_filter_ctx ctx)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < nr_verbs && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 2,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)verbs_fd[i]),
				       SCMP_A1(SCMP_CMP_EQ, RDMA_VERBS_IOCTL));
	return ret;
}

static int allow_all(scmp_filter_ctx ctx, const int *calls, size_t nr)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return ret;
}

/* Calls of which some arguments are allowed, in every thread. */
static int allow_some(scmp_filter_ctx ctx)
{
	/* The engine's and the space's. */
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, KVMIO << 8)) ||
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, CVMMIO << 8)) ||
	       /* Signals to threads of this process. */
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) ||
	       /* No new code. */
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) ||
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) ||
	       /* Names: of threads, and what malloc gives to its memory. */
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)) ||
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA));
}

static scmp_filter_ctx make_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!ctx)
		return NULL;
	/*
	 * NO_NEW_PRIVS is set; decide by a tree; no other call table, as of 32 bits,
	 * exists.  Files cannot be opened, but who tries need not die: the C library
	 * looks into some at its own times.
	 */
	if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) || seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) ||
	    seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) ||
	    seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0) ||
	    allow_all(ctx, common_calls, sizeof(common_calls) / sizeof(common_calls[0])) || allow_some(ctx)) {
		seccomp_release(ctx);
		return NULL;
	}
	return ctx;
}

static int take_process_filter(void)
{
	scmp_filter_ctx ctx = make_filter();
	int ret = -1;

	if (!ctx)
		return -1;
	if (!seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) &&
	    !allow_all(ctx, process_calls, sizeof(process_calls) / sizeof(process_calls[0])) &&
	    /* Threads, not processes.  clone3() hides its flags: glibc takes clone() when there is none. */
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFL)) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_SETFL)) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_SETFD)) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_DUPFD_CLOEXEC)) &&
	    !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP)) &&
	    !allow_verbs(ctx))
		ret = seccomp_load(ctx) ? -1 : 0;
	seccomp_release(ctx);
	return ret;
}

int sandbox_become(const struct sandbox_user *user, char *err, size_t errlen)
{
	const struct rlimit rt = { 1, 1 };	/* for the channel's thread */

	if (geteuid())
		return 0;
	/* Leaving uid 0 takes all capabilities away. */
	setrlimit(RLIMIT_RTPRIO, &rt);
	if (!setgroups(0, NULL) && !setresgid(user->gid, user->gid, user->gid) &&
	    !setresuid(user->uid, user->uid, user->uid) && setuid(0))
		return 0;
	snprintf(err, errlen, "the guest's process cannot become user %s: %s", user->name, strerror(errno));
	return -1;
}

int sandbox_enter(char *err, size_t errlen)
{
	if (take_process_filter()) {
		snprintf(err, errlen, "the guest's process cannot be confined: the kernel needs CONFIG_SECCOMP_FILTER");
		return -1;
	}
	atomic_store(&entered, true);
	return 0;
}

int sandbox_vcpu(void)
{
	scmp_filter_ctx ctx;
	int ret;

	if (!atomic_load(&entered))
		return 0;
	ctx = make_filter();
	if (!ctx)
		return -1;
	ret = seccomp_load(ctx) ? -1 : 0;
	seccomp_release(ctx);
	return ret;
}
