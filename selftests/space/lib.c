// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Making spaces, and guests of several spaces within one kernel.
 */
#include "space_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS	282
#endif

int cvmm_open(void)
{
	int fd = open("/dev/cvmm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/cvmm");
	return fd;
}

void config_init(struct cvmm_space_config *cfg, struct cvmm_home_range *ranges,
		 const char *name, unsigned int host, unsigned int nr, size_t pages,
		 uint64_t id)
{
	memset(cfg, 0, sizeof(*cfg));
	memset(ranges, 0, nr * sizeof(*ranges));
	for (unsigned int i = 0; i < nr; i++) {
		ranges[i].first_gfn = i * pages;
		ranges[i].nr_gfns = pages;
		ranges[i].host = i;
	}
	cfg->ranges = (uintptr_t)ranges;
	cfg->nr_ranges = nr;
	cfg->host_id = host;
	cfg->nr_hosts = nr;
	cfg->epoch = 1;
	cfg->space_id = id;
	snprintf(cfg->name, sizeof(cfg->name), "%s", name);
}

int space_create(const struct cvmm_space_config *cfg)
{
	int dev = cvmm_open();
	int fd = ioctl(dev, CVMM_CREATE_SPACE, cfg);
	int err = errno;

	close(dev);
	errno = err;
	return fd;
}

int space_add_link_over(int space, unsigned int host, uint32_t transport, int fd)
{
	struct cvmm_space_link link = {
		.host = host,
		.transport = transport,
		.fd = fd,
	};

	return ioctl(space, CVMM_SPACE_ADD_LINK, &link);
}

int space_add_link(int space, unsigned int host, int sock)
{
	return space_add_link_over(space, host, CVMM_TRANSPORT_STREAM, sock);
}

int space_add_conns(int space, unsigned int host, const int *socks, unsigned int nr)
{
	struct cvmm_space_conns conns = {
		.host = host,
		.transport = CVMM_TRANSPORT_STREAM,
		.nr_fds = nr,
	};

	for (unsigned int i = 0; i < nr && i < CVMM_MAX_CONNS; i++)
		conns.fd[i] = socks[i];
	return ioctl(space, CVMM_SPACE_ADD_CONNS, &conns);
}

struct cvmm_space_status space_status(int space)
{
	struct cvmm_space_status status;

	if (ioctl(space, CVMM_SPACE_GET_STATUS, &status))
		die("CVMM_SPACE_GET_STATUS");
	return status;
}

bool space_wait_failed(int space, int timeout_ms)
{
	struct pollfd p = { .fd = space };

	return poll(&p, 1, timeout_ms) == 1 && p.revents == (POLLERR | POLLHUP);
}

bool have_tls(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool have;

	/* It is there, and wants a connected one. */
	have = setsockopt(s, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0 && errno == ENOTCONN;
	close(s);
	return have;
}

/* Keys that anybody knows; each way has its own. */
static void start_tls(int fd, unsigned char tx, unsigned char rx)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info = { .version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
	};

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")))
		die("kernel TLS (modprobe tls)");
	memset(info.key, tx, sizeof(info.key));
	if (setsockopt(fd, SOL_TLS, TLS_TX, &info, sizeof(info)))
		die("TLS_TX");
	memset(info.key, rx, sizeof(info.key));
	if (setsockopt(fd, SOL_TLS, TLS_RX, &info, sizeof(info)))
		die("TLS_RX");
}

void socket_pair(int fds[2], enum join join)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int listener;

	if (join == JOIN_UNIX) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			die("socketpair");
		return;
	}
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&addr, &len))
		die("listen");
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&addr, sizeof(addr)))
		die("connect");
	fds[1] = accept(listener, NULL, NULL);
	if (fds[1] < 0)
		die("accept");
	close(listener);
	if (join == JOIN_TLS) {
		start_tls(fds[0], 1, 2);
		start_tls(fds[1], 2, 1);
	}
}

/* One to eight, as it comes. */
static void join_conns(int a, unsigned int host_a, int b, unsigned int host_b)
{
	const unsigned int nr = 1 + (host_a + 3 * host_b) % CVMM_MAX_CONNS;
	int fds[CVMM_MAX_CONNS][2], sock[2][CVMM_MAX_CONNS];

	for (unsigned int i = 0; i < nr; i++) {
		socket_pair(fds[i], JOIN_TCP);
		sock[0][i] = fds[i][0];
		sock[1][i] = fds[i][1];
	}
	if (space_add_conns(a, host_b, sock[0], nr) || space_add_conns(b, host_a, sock[1], nr))
		die("CVMM_SPACE_ADD_CONNS");
	for (unsigned int i = 0; i < nr; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

static void join_nodes(int a, unsigned int host_a, int b, unsigned int host_b, enum join join)
{
	const uint32_t transport = join == JOIN_RDMA ? CVMM_TRANSPORT_RDMA : CVMM_TRANSPORT_STREAM;
	int fds[2];

	if (join == JOIN_CONNS) {
		join_conns(a, host_a, b, host_b);
		return;
	}
	if (join == JOIN_RDMA)
		endpoint_pair(fds, 1 + (host_a + host_b) % 4);
	else
		socket_pair(fds, join);
	if (space_add_link_over(a, host_b, transport, fds[0]) ||
	    space_add_link_over(b, host_a, transport, fds[1]))
		die("CVMM_SPACE_ADD_LINK");
	close(fds[0]);
	close(fds[1]);
}

void cluster_create(struct cluster *c, const char *name, unsigned int nr, size_t pages,
		    enum join join)
{
	struct cvmm_home_range ranges[MAX_NODES];
	struct cvmm_space_config cfg;

	memset(c, 0, sizeof(*c));
	c->nr = nr;
	c->pages = pages;
	c->size = nr * pages * PAGE;
	c->id = 0x1000000000ULL + now_ns();
	for (unsigned int i = 0; i < nr; i++) {
		struct node *n = &c->node[i];

		snprintf(n->name, sizeof(n->name), "%s-%u", name, i);
		config_init(&cfg, ranges, n->name, i, nr, pages, c->id);
		n->fd = space_create(&cfg);
		if (n->fd < 0)
			die("CVMM_CREATE_SPACE");
		n->mem = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, n->fd, 0);
		if (n->mem == MAP_FAILED)
			die("mmap of a space");
		for (unsigned int j = 0; j < i; j++)
			join_nodes(n->fd, i, c->node[j].fd, j, join);
	}
}

void cluster_destroy(struct cluster *c)
{
	for (unsigned int i = 0; i < c->nr; i++) {
		if (c->node[i].mem)
			munmap(c->node[i].mem, c->size);
		if (c->node[i].fd >= 0)
			close(c->node[i].fd);
		c->node[i].mem = NULL;
		c->node[i].fd = -1;
	}
}
