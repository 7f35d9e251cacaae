// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who waits for a page takes messages by himself: the stress of pair.c with long busy
 * waits, and links that end while somebody polls them.  On a host of two CPUs: on one
 * nobody polls.
 */
#include "space_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARAM	"/sys/module/cvmm/parameters/poll_us"
#define PAGES	64UL
#define ENDS	6

static sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

static void set_poll(unsigned int us)
{
	FILE *f = fopen(PARAM, "we");

	if (!f || fprintf(f, "%u", us) < 0 || fclose(f))
		die(PARAM);
}

/* Both hosts write the same pages in turns, until their link ends under them. */
static int write_till_the_end(void *arg)
{
	const enum join join = *(enum join *)arg;
	struct sigaction sa = { .sa_handler = on_bus };
	struct cluster c;
	pid_t pid;

	cluster_create(&c, "ends", 2, PAGES, join);
	sigaction(SIGBUS, &sa, NULL);
	pid = fork();
	if (pid < 0)
		return 1;
	if (!pid) {
		usleep(100000);
		ioctl(c.node[1].fd, CVMM_SPACE_FAIL);
		_exit(0);
	}
	if (!sigsetjmp(bus_jmp, 1))
		for (size_t i = 0;; i++)
			++*(volatile uint64_t *)at(&c, i / 4 & 1, i & 1, i % 4, 8);
	waitpid(pid, NULL, 0);
	/* Each end has failed, whichever we were told of. */
	return space_wait_failed(c.node[0].fd, 5000) && space_wait_failed(c.node[1].fd, 5000) ? 0 : 2;
}

static void test_ends(enum join join, const char *name)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < ENDS; i++)
		bad += in_child(write_till_the_end, &join) != 0;
	ok(!bad, "%s: %u links that end while they are polled", name, ENDS);
}

static void poll_run(enum join join, const char *name)
{
	uint64_t taken = stress_run(2, 1, 3000, join);

	taken += stress_run(2, 2, 1500, join);
	ok(taken > 10, "%s: %llu messages taken by who waited for one", name, (unsigned long long)taken);
	test_ends(join, name);
}

void test_poll(void)
{
	set_poll(0);
	ok(stress_run(2, 1, 500, JOIN_RDMA) == 0, "poll_us=0: none taken by who waits");
	set_poll(100000);
	poll_run(JOIN_RDMA, "rdma");
	poll_run(JOIN_TCP, "tcp");
	poll_run(JOIN_CONNS, "several connections");
	if (have_tls())
		poll_run(JOIN_TLS, "tcp with tls");
	else
		skip("tcp with tls", "no kernel TLS");
	set_poll(50);
	ok(spaces_dump() == 0, "no space is left");
}
