// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One guest's space on two hosts, over their network; then host 1 loses power.
 *
 * Runs on both hosts at the same time (scripts/hosts); host 0 has the verdict.
 */
#include "space_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGES	256UL
#define ADDS	300

typedef _Atomic uint64_t word;

static sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

/* Both count the same words up at the same time, then each checks the sums. */
static bool add_together(uint8_t *mem, unsigned int host)
{
	uint64_t seed = host + 1;
	bool good = true;

	for (unsigned int i = 0; i < ADDS; i++) {
		size_t page = rnd(&seed) % 4 + (i & 1 ? PAGES : 0);

		atomic_fetch_add((word *)(mem + page * PAGE + 8 * host), 1);
		atomic_fetch_add((word *)(mem + PAGE * PAGES / 2), 1);
	}
	atomic_fetch_add((word *)(mem + (PAGES - 1) * PAGE), 1);
	while (atomic_load((word *)(mem + (PAGES - 1) * PAGE)) < 2)
		usleep(1000);
	for (unsigned int h = 0; h < 2; h++) {
		uint64_t sum = 0;

		for (size_t page = 0; page < 4; page++)
			sum += *(word *)(mem + page * PAGE + 8 * h) +
			       *(word *)(mem + (page + PAGES) * PAGE + 8 * h);
		good &= sum == ADDS;
	}
	return good && *(word *)(mem + PAGE * PAGES / 2) == 2 * ADDS;
}

static void remote_run(enum join join)
{
	struct site s = { .nr = 2, .pages = PAGES, .join = join };
	const unsigned int host = this_host();
	struct cvmm_space_status status;
	struct space_info info;
	struct counters c;
	volatile uint64_t begin = 0;
	uint8_t *mem;
	bool good;

	site_open(&s, "remote", 0x5eed);
	mem = s.mem;
	good = add_together(mem, host);
	ok(good, "two hosts: %u locked additions of each are exact", 2 * ADDS);
	stats_read("remote", &c);
	note("host %u: %llu faults waited, %llu us each; %llu pages sent", host,
	     (unsigned long long)counter(&c, "space.wait"),
	     (unsigned long long)(counter(&c, "space.wait_ns") / 1000 /
				  (counter(&c, "space.wait") ?: 1)),
	     (unsigned long long)counter(&c, "dsm.tx_page"));

	if (!space_info("remote", &info))
		die("space_info");
	ok(join == JOIN_RDMA ? !info.copied : info.copied > 0, "%llu bytes of pages were copied on the way",
	   (unsigned long long)info.copied);

	/* Word 1 of the last page: both are done and host 1 goes now. */
	atomic_fetch_add((word *)(mem + (PAGES - 1) * PAGE + 8), 1);
	while (atomic_load((word *)(mem + (PAGES - 1) * PAGE + 8)) < 2)
		usleep(1000);
	fflush(stdout);
	if (host == 1) {
		sleep(1);
		if (system("hosts-cut"))
			die("hosts-cut");
		pause();
	}

	signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus_jmp, 1)) {
		/* Each is a page that only host 1 can give: one lasts until the end. */
		for (size_t page = PAGES + 8; page < 2 * PAGES; page++) {
			begin = now_ns();
			mem[page * PAGE] = 1;
			usleep(50000);
		}
		ok(false, "host 1 is gone: SIGBUS");
	} else {
		ok(true, "host 1 is gone: SIGBUS");
	}
	good = space_wait_failed(s.space, 1000);
	status = space_status(s.space);
	ok(good && status.host == 1 && status.error && now_ns() - begin < 5500 * 1000000ULL,
	   "... after %llu ms: \"%s\"", (unsigned long long)(now_ns() - begin) / 1000000,
	   status.reason);
	site_close(&s);
	ok(spaces_dump() == 0, "no space is left");
}

void test_remote(void)
{
	remote_run(JOIN_TCP);
}

void test_rdma_remote(void)
{
	remote_run(JOIN_RDMA);
}
