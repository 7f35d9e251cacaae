// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One guest's space with a part on each of several hosts, and the links between
 * them.  Runs on all hosts at the same time (scripts/hosts).
 */
#include "space_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT	7710

unsigned int this_host(void)
{
	const char *env = getenv("CVMM_HOST");

	return env ? (unsigned int)atoi(env) : 0;
}

static struct sockaddr_in address(unsigned int host)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	char text[32];

	snprintf(text, sizeof(text), "10.77.0.%u", host + 1);
	inet_pton(AF_INET, text, &addr.sin_addr);
	return addr;
}

/* Returns when the other host listens no more: the next call is for its next listener. */
static int call(unsigned int host)
{
	struct sockaddr_in addr = address(host);
	uint8_t me = (uint8_t)this_host(), ack;
	int s;

	for (int i = 0; i < 300; i++) {
		s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!connect(s, (struct sockaddr *)&addr, sizeof(addr))) {
			if (write(s, &me, 1) != 1 || recv(s, &ack, 1, MSG_WAITALL) != 1)
				die("the other host");
			return s;
		}
		close(s);
		usleep(100000);
	}
	die("connect");
}

/* The calls of hosts 0 to @nr - 1, to @socks. */
static void answer(unsigned int nr, int *socks)
{
	struct sockaddr_in addr = address(this_host());
	int one = 1, l, s;
	uint8_t who = 0;

	if (!nr)
		return;
	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (l < 0 || bind(l, (struct sockaddr *)&addr, sizeof(addr)) || listen(l, MAX_NODES))
		die("listen");
	for (unsigned int i = 0; i < nr; i++) {
		s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
		if (s < 0 || recv(s, &who, 1, MSG_WAITALL) != 1 || who >= nr)
			die("accept");
		socks[who] = s;
	}
	close(l);
	for (unsigned int i = 0; i < nr; i++)
		if (write(socks[i], &who, 1) != 1)
			die("write");
}

/* As vmmd does it: what the ends have to know goes over a connection they trust. */
static int connect_rdma(unsigned int host, int sock, unsigned int qps)
{
	struct cvmm_rdma_endpoint e, mine;
	int fd;

	if (host < this_host()) {
		endpoint_init(&e, rdma_address(this_host()));
		fd = endpoint_open(&e);
		if (fd < 0)
			die("CVMM_RDMA_ENDPOINT");
		if (write(sock, &e, sizeof(e)) != sizeof(e))
			die("write");
	} else {
		if (recv(sock, &e, sizeof(e), MSG_WAITALL) != sizeof(e))
			die("recv");
		endpoint_mirror(&mine, &e, qps);
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

static void add_link(struct site *s, unsigned int host, int sock)
{
	const int small = 16384;
	int ep;

	if (s->join == JOIN_RDMA) {
		ep = connect_rdma(host, sock, s->narrow ? 1 : 4);
		if (space_add_link_over(s->space, host, CVMM_TRANSPORT_RDMA, ep))
			die("CVMM_SPACE_ADD_LINK");
		close(ep);
	} else {
		if (s->narrow) {
			setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
			setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		}
		if (space_add_link(s->space, host, sock))
			die("CVMM_SPACE_ADD_LINK");
	}
	close(sock);
}

int site_connect(void)
{
	int sock;

	if (!this_host())
		return call(1);
	answer(1, &sock);
	return sock;
}

void site_open(struct site *s, const char *name, uint64_t id)
{
	struct cvmm_home_range ranges[MAX_NODES];
	struct cvmm_space_config cfg;
	int socks[MAX_NODES];
	unsigned int h;

	config_init(&cfg, ranges, name, this_host(), s->nr, s->pages, id);
	s->space = space_create(&cfg);
	s->size = s->nr * s->pages * PAGE;
	s->mem = s->space < 0 ? MAP_FAILED :
		 mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->space, 0);
	if (s->mem == MAP_FAILED)
		die("space");

	/* Each host calls those above it, once those below have called it. */
	answer(this_host(), socks);
	for (h = 0; h < this_host(); h++)
		add_link(s, h, socks[h]);
	for (h = this_host() + 1; h < s->nr; h++)
		add_link(s, h, call(h));
}

void site_close(struct site *s)
{
	munmap(s->mem, s->size);
	close(s->space);
}
