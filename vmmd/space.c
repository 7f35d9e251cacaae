// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The user side of <linux/cvmm.h>, and what each of its errors means to a user.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmmd/kvm.h"
#include "vmmd/machine.h"
#include "vmmd/space.h"

#define CVMM_DEV	"/dev/cvmm"
/* Connections that share a link's load. */
#define RDMA_QPS	4

#define KVM_DEV		"/dev/kvm"

static int open_error(const char *path, char *err, size_t errlen)
{
	const char *module = !strcmp(path, CVMM_DEV) ? "cvmm" : "kvm_amd or kvm_intel";

	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		snprintf(err, errlen, "%s is not there: load the module (modprobe %s)", path, module);
		break;
	case EACCES:
	case EPERM:
		snprintf(err, errlen, "%s: no permission: run as root, or as a user who may open it", path);
		break;
	default:
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
	}
	return -1;
}

/* Would the engine take a VM?  Creating one tells what opening the device does not. */
static int probe_vm(const struct host_engine *e, char *err, size_t errlen)
{
	int vm = ioctl(e->fd, KVM_CREATE_VM, 0);

	if (vm >= 0) {
		close(vm);
		return 0;
	}
	switch (errno) {
	case EBUSY:
		snprintf(err, errlen, "another hypervisor uses this host's virtualization hardware "
			 "(is a KVM or VirtualBox guest running?); stop it, or unload its module");
		break;
	case EOPNOTSUPP:
	case ENODEV:
		snprintf(err, errlen, "this host's CPU has no SVM with nested paging that %s can use "
			 "(switched off in the firmware?)", e->path);
		break;
	default:
		snprintf(err, errlen, "%s: no VM can be created: %s", e->path, strerror(errno));
	}
	return -1;
}

static int check_module(struct host_engine *e, char *err, size_t errlen)
{
	struct cvmm_info info;

	memset(&info, 0, sizeof(info));
	if (ioctl(e->fd, CVMM_GET_INFO, &info)) {
		snprintf(err, errlen, CVMM_DEV " does not answer: the module is too old: %s", strerror(errno));
		return -1;
	}
	info.version[sizeof(info.version) - 1] = '\0';
	if (info.abi != CVMM_ABI_VERSION) {
		snprintf(err, errlen, "the cvmm module %s has ABI %u, this program needs %u: %s",
			 info.version, info.abi, CVMM_ABI_VERSION,
			 info.abi < CVMM_ABI_VERSION ? "the module is too old; load the current one"
						     : "this program is too old");
		return -1;
	}
	if (info.engine == CVMM_ENGINE_NONE) {
		snprintf(err, errlen, "this host's CPU has no SVM with nested paging that " CVMM_DEV
			 " can use (switched off in the firmware?)");
		return -1;
	}
	return 0;
}

static int open_one(struct host_engine *e, const char *path, char *err, size_t errlen)
{
	e->path = path;
	e->spaces = !strcmp(path, CVMM_DEV);
	e->fd = open(path, O_RDWR | O_CLOEXEC);
	if (e->fd < 0)
		return open_error(path, err, errlen);
	if (e->spaces && check_module(e, err, errlen))
		goto close_engine;
	if (engine_check(e->fd, err, errlen))
		goto close_engine;
	if (probe_vm(e, err, errlen))
		goto close_engine;
	return 0;

close_engine:
	host_engine_close(e);
	return -1;
}

int host_engine_open(struct host_engine *e, const struct vm_conf *conf, char *err, size_t errlen)
{
	char cvmm_err[256];

	e->fd = -1;
	if (!strcmp(conf->engine, KVM_DEV))
		return open_one(e, KVM_DEV, err, errlen);
	if (conf->nr_nodes > 1 || strcmp(conf->engine, "auto"))
		return open_one(e, CVMM_DEV, err, errlen);
	if (!open_one(e, CVMM_DEV, cvmm_err, sizeof(cvmm_err)))
		return 0;
	if (!open_one(e, KVM_DEV, err, errlen))
		return 0;
	/* The reason that counts is our own module's. */
	snprintf(err, errlen, "%s", cvmm_err);
	return -1;
}

void host_engine_close(struct host_engine *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

int space_check_memory(const struct vm_conf *conf, unsigned int node, char *err, size_t errlen)
{
	uint64_t need = conf->node[node].memory, have = 0;
	unsigned long long kib;
	char line[128];
	FILE *f;

	if (conf_huge_size(conf))
		return 0;	/* from a pool of its own, which is asked for all of it at once */
	f = fopen("/proc/meminfo", "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			have = kib << 10;
	fclose(f);
	if (!have || need <= have)
		return 0;
	snprintf(err, errlen, "not enough memory: the guest needs %" PRIu64 " MiB of this host, %" PRIu64
		 " MiB are available; lower memory in the configuration",
		 need >> 20, have >> 20);
	return -1;
}

int space_create(const struct host_engine *e, const struct vm_conf *conf, unsigned int node,
		 uint64_t space_id, uint32_t epoch, char *err, size_t errlen)
{
	struct ram_range ram[CVMM_MAX_RANGES];
	struct cvmm_home_range range[CVMM_MAX_RANGES];
	struct cvmm_space_config cfg;
	unsigned int i, n;
	int fd;

	n = conf_in_space(conf) ? machine_ram_map(conf, ram, CVMM_MAX_RANGES) : 0;
	memset(range, 0, sizeof(range));
	for (i = 0; i < n; i++) {
		range[i].first_gfn = ram[i].gpa >> 12;
		range[i].nr_gfns = ram[i].size >> 12;
		range[i].host = ram[i].node;
	}
	memset(&cfg, 0, sizeof(cfg));
	cfg.ranges = (uintptr_t)range;
	cfg.nr_ranges = n;
	cfg.host_id = node;
	cfg.nr_hosts = conf->nr_nodes;
	cfg.epoch = epoch;
	cfg.space_id = space_id;
	cfg.min_run_us = conf->min_run_us;
	snprintf(cfg.name, sizeof(cfg.name), "%s", conf->name);
	fd = ioctl(e->fd, CVMM_CREATE_SPACE, &cfg);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case EEXIST:
		snprintf(err, errlen, "a guest named \"%s\" runs on this host already; give this one another name",
			 conf->name);
		break;
	case ENOMEM:
		snprintf(err, errlen, "not enough memory for the guest's page tables and directory on this host");
		break;
	default:
		snprintf(err, errlen, "the guest's memory cannot be created: %s", strerror(errno));
	}
	return -1;
}

static int refused(unsigned int node, char *err, size_t errlen)
{
	snprintf(err, errlen, "the module refused the link to node %u: %s", node, strerror(errno));
	return -1;
}

int space_add_link(int space_fd, unsigned int node, const int *fds, unsigned int nr, char *err, size_t errlen)
{
	struct cvmm_space_conns conns = {
		.host = node,
		.transport = CVMM_TRANSPORT_STREAM,
		.nr_fds = nr,
	};
	unsigned int i;

	for (i = 0; i < nr; i++)
		conns.fd[i] = fds[i];
	return ioctl(space_fd, CVMM_SPACE_ADD_CONNS, &conns) ? refused(node, err, errlen) : 0;
}

int space_add_rdma_link(int space_fd, unsigned int node, int fd, char *err, size_t errlen)
{
	struct cvmm_space_link link = {
		.host = node,
		.transport = CVMM_TRANSPORT_RDMA,
		.fd = fd,
	};

	return ioctl(space_fd, CVMM_SPACE_ADD_LINK, &link) ? refused(node, err, errlen) : 0;
}

static int endpoint_addr(struct cvmm_rdma_endpoint *e, const struct sockaddr_storage *addr)
{
	const struct sockaddr_in *sin = (const struct sockaddr_in *)addr;
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)addr;

	if (addr->ss_family == AF_INET) {
		e->family = AF_INET;
		memcpy(e->addr, &sin->sin_addr, 4);
		return 0;
	}
	if (addr->ss_family != AF_INET6)
		return -1;
	if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
		e->family = AF_INET;
		memcpy(e->addr, sin6->sin6_addr.s6_addr + 12, 4);
		return 0;
	}
	e->family = AF_INET6;
	memcpy(e->addr, &sin6->sin6_addr, 16);
	e->scope_id = sin6->sin6_scope_id;
	return 0;
}

static int endpoint_open(const struct host_engine *engine, struct cvmm_rdma_endpoint *e,
			 const struct sockaddr_storage *addr, const uint8_t *token,
			 const uint8_t *peer_token, char *err, size_t errlen)
{
	char text[INET6_ADDRSTRLEN] = "";
	int fd = -1;

	memcpy(e->token, token, sizeof(e->token));
	memcpy(e->peer_token, peer_token, sizeof(e->peer_token));
	if (endpoint_addr(e, addr)) {
		snprintf(err, errlen, "RDMA connects IP addresses only");
		goto wipe;
	}
	inet_ntop(e->family, e->addr, text, sizeof(text));
	fd = ioctl(engine->fd, CVMM_RDMA_ENDPOINT, e);
	if (fd >= 0)
		goto wipe;
	switch (errno) {
	case EOPNOTSUPP:
	case ENOTTY:
		snprintf(err, errlen, "the module cvmm_rdma is not loaded and not installed");
		break;
	case ENODEV:
	case EADDRNOTAVAIL:
		snprintf(err, errlen, "no RDMA device of this host has the address %s", text);
		break;
	default:
		snprintf(err, errlen, "RDMA at %s: %s", text, strerror(errno));
	}
wipe:
	explicit_bzero(e->token, sizeof(e->token));
	explicit_bzero(e->peer_token, sizeof(e->peer_token));
	return fd;
}

int space_rdma_listen(const struct host_engine *engine, const struct sockaddr_storage *addr, uint16_t *port,
		      const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen)
{
	struct cvmm_rdma_endpoint e = { .flags = CVMM_RDMA_LISTEN };
	int fd = endpoint_open(engine, &e, addr, token, peer_token, err, errlen);

	*port = e.port;
	return fd;
}

int space_rdma_connect(const struct host_engine *engine, const struct sockaddr_storage *addr, uint16_t port,
		       const uint8_t *token, const uint8_t *peer_token, char *err, size_t errlen)
{
	struct cvmm_rdma_endpoint e = { .port = port, .nr_qps = RDMA_QPS };

	return endpoint_open(engine, &e, addr, token, peer_token, err, errlen);
}

int space_rdma_wait(int fd, int timeout_ms, char *err, size_t errlen)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct cvmm_rdma_status status;

	memset(&status, 0, sizeof(status));
	if (poll(&p, 1, timeout_ms) < 0 || ioctl(fd, CVMM_RDMA_STATUS, &status)) {
		snprintf(err, errlen, "RDMA: %s", strerror(errno));
		return -1;
	}
	if (status.state == CVMM_RDMA_CONNECTED)
		return 0;
	status.reason[sizeof(status.reason) - 1] = '\0';
	snprintf(err, errlen, "%s", status.state == CVMM_RDMA_FAILED ? status.reason :
		 "RDMA: the peer does not answer");
	return -1;
}

bool space_failed(int space_fd, int *node, char *why, size_t whylen)
{
	struct cvmm_space_status st;
	size_t len;

	memset(&st, 0, sizeof(st));
	if (ioctl(space_fd, CVMM_SPACE_GET_STATUS, &st) || st.state != CVMM_SPACE_FAILED)
		return false;
	*node = st.host < CVMM_MAX_HOSTS ? (int)st.host : -1;
	len = strnlen(st.reason, sizeof(st.reason) - 1);
	if (len >= whylen)
		len = whylen - 1;
	memcpy(why, st.reason, len);
	why[len] = '\0';
	return true;
}

void space_fail(int space_fd)
{
	ioctl(space_fd, CVMM_SPACE_FAIL);
}
