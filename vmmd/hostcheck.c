// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a host can do for a guest of several hosts: see hostcheck.h.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmmd/conf.h"
#include "vmmd/hostcheck.h"
#include "vmmd/ktls.h"
#include "vmmd/rconn.h"
#include "vmmd/space.h"
#include "vmmd/version.h"

/*
 * The same for a program, as the channel needs it, in a process of its own: the verbs
 * libraries keep devices open, and whoever is forked later could not use those.
 */
static int check_rconn(const struct sockaddr_storage *addr, const struct sandbox_user *user,
		       const uint8_t *token, const uint8_t *peer_token, char *text, size_t len)
{
	struct rconn *c = NULL;
	char err[256] = "";
	int pipe_fd[2], status;
	uint16_t port;
	bool works;
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC)) {
		snprintf(text, len, "RDMA can not be tried out: %s", strerror(errno));
		return -1;
	}
	pid = fork();
	if (!pid) {
		if (!sandbox_become(user, err, sizeof(err)))
			c = rconn_listen(addr, &port, token, peer_token, err, sizeof(err));
		works = c;
		rconn_close(c);
		_exit(works ? 0 : write(pipe_fd[1], err, sizeof(err)) > 0 ? 1 : 2);
	}
	close(pipe_fd[1]);
	if (pid < 0 || read(pipe_fd[0], err, sizeof(err)) < 0)
		*err = '\0';
	close(pipe_fd[0]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	err[sizeof(err) - 1] = '\0';
	snprintf(text, len, "%s", *err ? err : "RDMA can not be tried out");
	return -1;
}

/* An endpoint that waits there for a moment, for whom nobody has the token. */
static int check_rdma(const struct host_engine *e, const struct sockaddr_storage *addr,
		      const struct sandbox_user *user, char *text, size_t len)
{
	uint8_t token[32], peer_token[32];
	uint16_t port;
	int fd;

	if (getrandom(token, sizeof(token), 0) != sizeof(token) ||
	    getrandom(peer_token, sizeof(peer_token), 0) != sizeof(peer_token)) {
		snprintf(text, len, "no random numbers");
		return -1;
	}
	fd = space_rdma_listen(e, addr, &port, token, peer_token, text, len);
	if (fd < 0)
		return -1;
	close(fd);
	return check_rconn(addr, user, token, peer_token, text, len);
}

int host_check(unsigned int wants, const struct sockaddr_storage *addr, const struct sandbox_user *user,
	       char *text, size_t len)
{
	char path[] = "/dev/cvmm";
	const struct vm_conf conf = { .engine = path, .nr_nodes = 2 };
	struct host_engine e = { .fd = -1 };
	struct utsname u;
	int ret = -1;

	if (wants & (HOST_ENGINE | HOST_RDMA) && host_engine_open(&e, &conf, text, len))
		return -1;
	if (wants & HOST_KTLS && ktls_check(text, len))
		goto close_engine;
	if (wants & HOST_RDMA && check_rdma(&e, addr, user, text, len))
		goto close_engine;
	if (uname(&u))
		memset(&u, 0, sizeof(u));
	snprintf(text, len, "cvmm " VMMD_VERSION ", Linux %.64s", u.release);
	ret = 0;
close_engine:
	host_engine_close(&e);
	return ret;
}

/* ---- RDMA devices --------------------------------------------------------- */

/* The first line of a file, without its end; "" without one. */
static void read_line(char *out, size_t len, const char *dir, const char *name)
{
	char path[512];
	FILE *f;

	*out = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return;
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(out, (int)len, f))
		*out = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

/* 0000:0000:0000:0000:0000:ffff:0a4e:0001 is 10.78.0.1. */
static void find_address(struct rdma_port *p, const char *dir)
{
	struct in6_addr gid;
	char name[32], text[64];
	unsigned int i;

	for (i = 0; i < 256; i++) {
		snprintf(name, sizeof(name), "gids/%u", i);
		read_line(text, sizeof(text), dir, name);
		if (!*text)
			return;
		if (inet_pton(AF_INET6, text, &gid) != 1 || !IN6_IS_ADDR_V4MAPPED(&gid))
			continue;
		inet_ntop(AF_INET, gid.s6_addr + 12, p->address, sizeof(p->address));
		return;
	}
}

static void read_port(struct rdma_port *p, const char *dir)
{
	char state[64];
	const char *name;

	read_line(state, sizeof(state), dir, "state");	/* "4: ACTIVE" */
	name = strchr(state, ' ');
	snprintf(p->state, sizeof(p->state), "%.31s", name ? name + 1 : state);
	p->active = atoi(state) == 4;
	read_line(p->layer, sizeof(p->layer), dir, "link_layer");
	read_line(p->rate, sizeof(p->rate), dir, "rate");
	read_line(p->netdev, sizeof(p->netdev), dir, "gid_attrs/ndevs/0");
	find_address(p, dir);
}

unsigned int rdma_ports(const char *root, struct rdma_port *out, unsigned int max)
{
	struct dirent **devices;
	unsigned int nr = 0, port;
	char dir[384];
	int i, n;

	n = scandir(root, &devices, NULL, alphasort);
	if (n < 0)
		return 0;
	for (i = 0; i < n; i++) {
		for (port = 1; devices[i]->d_name[0] != '.' && nr < max; port++) {
			snprintf(dir, sizeof(dir), "%.64s/%.255s/ports/%u", root, devices[i]->d_name, port);
			if (access(dir, F_OK))
				break;
			memset(&out[nr], 0, sizeof(*out));
			snprintf(out[nr].device, sizeof(out[nr].device), "%.31s", devices[i]->d_name);
			out[nr].port = port;
			read_port(&out[nr++], dir);
		}
		free(devices[i]);
	}
	free(devices);
	return nr;
}
