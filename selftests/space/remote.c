// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One guest's space on two hosts, over their network; then host 1 loses power.
 *
 * Runs on both hosts at the same time (scripts/hosts); host 0 has the verdict.
 */
#include "space_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES	256UL
#define PORT	7710
#define ADDS	300

typedef _Atomic uint64_t word;

static sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

/* Host 1 listens, host 0 connects. */
static int connect_hosts(unsigned int host)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int one = 1, s, fd;

	inet_pton(AF_INET, "10.77.0.2", &addr.sin_addr);
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (host == 0) {
		for (int i = 0; i < 300; i++) {
			if (!connect(s, (struct sockaddr *)&addr, sizeof(addr)))
				return s;
			usleep(100000);
		}
		die("connect");
	}
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&addr, sizeof(addr)) || listen(s, 1))
		die("listen");
	fd = accept(s, NULL, NULL);
	if (fd < 0)
		die("accept");
	close(s);
	return fd;
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

/* As vmmd does it: what the ends have to know goes over a connection they trust. */
static int connect_rdma(unsigned int host, int sock)
{
	struct cvmm_rdma_endpoint e, mine;
	int fd;

	if (host == 1) {
		endpoint_init(&e, rdma_address(1));
		fd = endpoint_open(&e);
		if (fd < 0)
			die("CVMM_RDMA_ENDPOINT");
		if (write(sock, &e, sizeof(e)) != sizeof(e))
			die("write");
	} else {
		if (recv(sock, &e, sizeof(e), MSG_WAITALL) != sizeof(e))
			die("recv");
		endpoint_mirror(&mine, &e, 4);
		fd = endpoint_open(&mine);
		if (fd < 0)
			die("CVMM_RDMA_ENDPOINT");
	}
	if (!endpoint_wait(fd)) {
		note("%s", endpoint_status(fd).reason);
		die("the RDMA connection");
	}
	return fd;
}

static void remote_run(bool rdma)
{
	const char *env = getenv("CVMM_HOST");
	const unsigned int host = env ? atoi(env) : 0;
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	struct cvmm_space_status status;
	struct counters s;
	volatile uint64_t begin = 0;
	bool good;
	uint8_t *mem;
	int fd, sock, ep;

	config_init(&cfg, ranges, "remote", host, 2, PAGES, 0x5eed);
	fd = space_create(&cfg);
	mem = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE,
					 MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("space");
	sock = connect_hosts(host);
	if (rdma) {
		ep = connect_rdma(host, sock);
		if (space_add_link_over(fd, !host, CVMM_TRANSPORT_RDMA, ep))
			die("CVMM_SPACE_ADD_LINK");
		close(ep);
	} else if (space_add_link(fd, !host, sock)) {
		die("CVMM_SPACE_ADD_LINK");
	}
	close(sock);

	good = add_together(mem, host);
	ok(good, "two hosts: %u locked additions of each are exact", 2 * ADDS);
	stats_read("remote", &s);
	note("host %u: %llu faults waited, %llu us each; %llu pages sent", host,
	     (unsigned long long)counter(&s, "space.wait"),
	     (unsigned long long)(counter(&s, "space.wait_ns") / 1000 /
				  (counter(&s, "space.wait") ?: 1)),
	     (unsigned long long)counter(&s, "dsm.tx_page"));

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
	good = space_wait_failed(fd, 1000);
	status = space_status(fd);
	ok(good && status.host == 1 && status.error && now_ns() - begin < 5500 * 1000000ULL,
	   "... after %llu ms: \"%s\"", (unsigned long long)(now_ns() - begin) / 1000000,
	   status.reason);
	munmap(mem, 2 * PAGES * PAGE);
	close(fd);
	ok(spaces_dump() == 0, "no space is left");
}

void test_remote(void)
{
	remote_run(false);
}

void test_rdma_remote(void)
{
	remote_run(true);
}
