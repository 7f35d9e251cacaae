// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Engine and space without a kernel module, behind vmmd/space.h: a space is one
 * end of a socket pair that hangs up when the space has failed; a link is
 * watched for its end.  FAKE_ENGINE_ERROR in the environment is the reason why
 * this host has no engine.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/space.h"
#include "vmmd/tests/fake/fake.h"

bool fake_last_boot;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int far_end = -1;
static int lost_node = -1;

int host_engine_open(struct host_engine *e, const struct vm_conf *conf, char *err, size_t errlen)
{
	const char *why = getenv("FAKE_ENGINE_ERROR");

	(void)conf;
	e->fd = -1;
	if (why) {
		snprintf(err, errlen, "%s", why);
		return -1;
	}
	e->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	e->spaces = true;
	e->path = "fake";
	return 0;
}

void host_engine_close(struct host_engine *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

int space_check_memory(const struct vm_conf *conf, unsigned int node, char *err, size_t errlen)
{
	(void)conf;
	(void)node;
	(void)err;
	(void)errlen;
	return 0;
}

/* The boot's number, from a file that all boots share. */
static bool last_boot(const struct vm_conf *conf)
{
	const char *s = strstr(conf->cmdline, "boots=");
	char path[256];
	long n = 0, limit;
	FILE *f;

	if (!s || sscanf(s, "boots=%255[^:]:%ld", path, &limit) != 2)
		return false;
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = 0;
		fclose(f);
	}
	f = fopen(path, "w");
	if (f) {
		fprintf(f, "%ld\n", ++n);
		fclose(f);
	}
	return n >= limit;
}

int space_create(const struct host_engine *e, const struct vm_conf *conf, unsigned int node,
		 uint64_t space_id, uint32_t epoch, char *err, size_t errlen)
{
	int pair[2];

	(void)e;
	(void)space_id;
	(void)epoch;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		snprintf(err, errlen, "socketpair");
		return -1;
	}
	fake_last_boot = !node && last_boot(conf);
	far_end = pair[1];
	lost_node = -1;
	return pair[0];
}

struct link {
	int fd;
	unsigned int node;
};

static void *watch_link(void *arg)
{
	struct link *l = arg;
	char c;
	struct pollfd p = { .fd = l->fd, .events = POLLIN };

	do {
		errno = 0;
		poll(&p, 1, -1);
	} while (recv(l->fd, &c, 1, MSG_DONTWAIT) > 0 || errno == EAGAIN);
	pthread_mutex_lock(&lock);
	if (lost_node < 0)
		lost_node = (int)l->node;
	if (far_end >= 0)
		close(far_end);
	far_end = -1;
	pthread_mutex_unlock(&lock);
	close(l->fd);
	free(l);
	return NULL;
}

int space_add_link(int space_fd, unsigned int node, const int *fds, unsigned int nr, char *err, size_t errlen)
{
	pthread_t thread;
	unsigned int i;

	(void)space_fd;
	(void)err;
	(void)errlen;
	for (i = 0; i < nr; i++) {
		struct link *l = malloc(sizeof(*l));

		l->fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		l->node = node;
		pthread_create(&thread, NULL, watch_link, l);
		pthread_detach(thread);
	}
	return 0;
}

bool space_failed(int space_fd, int *node, char *why, size_t whylen)
{
	bool failed;

	(void)space_fd;
	pthread_mutex_lock(&lock);
	failed = far_end < 0;
	*node = lost_node;
	pthread_mutex_unlock(&lock);
	snprintf(why, whylen, "the fake link to node %d ended", *node);
	return failed;
}

void space_fail(int space_fd)
{
	(void)space_fd;
}

/* This fake host has no RDMA. */
int space_rdma_listen(const struct host_engine *e, const struct sockaddr_storage *addr, uint16_t *port,
		      const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen)
{
	(void)e;
	(void)addr;
	(void)token;
	(void)peer_token;
	*port = 0;
	snprintf(err, errlen, "no RDMA device of this host has the address");
	return -1;
}

int space_rdma_connect(const struct host_engine *e, const struct sockaddr_storage *addr, uint16_t port,
		       const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen)
{
	return space_rdma_listen(e, addr, &port, token, peer_token, err, errlen);
}

int space_rdma_wait(int fd, int timeout_ms, char *err, size_t errlen)
{
	(void)fd;
	(void)timeout_ms;
	snprintf(err, errlen, "no RDMA");
	return -1;
}

int space_add_rdma_link(int space_fd, unsigned int node, int fd, char *err, size_t errlen)
{
	return space_add_link(space_fd, node, &fd, 1, err, errlen);
}
