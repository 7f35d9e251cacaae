// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What vmmd tells a user of a host that cannot run a guest: each answer that the
 * devices and the module can give, by a fake open() and ioctl(), and the
 * arguments of the module's calls.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmmd/kvm.h"
#include "vmmd/machine.h"
#include "vmmd/space.h"

/* The host as the fakes show it; 0 is success, else an errno. */
static struct {
	int open_cvmm, open_kvm, info, create_vm, space, add_link, rdma;
	uint32_t abi, engine;
	struct cvmm_space_config cfg;
	struct cvmm_home_range range[4];
	struct cvmm_space_link link;
	struct cvmm_space_conns conns;
	struct cvmm_rdma_endpoint endpoint;
	struct cvmm_rdma_status rdma_status;
	struct cvmm_space_status status;
} host;

static char err[256];
static struct vm_conf conf;

int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long nr, ...);

int __wrap_open(const char *path, int flags, ...)
{
	(void)flags;
	errno = !strcmp(path, "/dev/cvmm") ? host.open_cvmm : host.open_kvm;
	return errno ? -1 : dup(0);
}

int __wrap_ioctl(int fd, unsigned long nr, ...)
{
	struct cvmm_info *info;
	va_list ap;
	void *arg;
	int fails = 0;

	(void)fd;
	va_start(ap, nr);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (nr) {
	case CVMM_GET_INFO:
		info = arg;
		info->abi = host.abi;
		info->engine = host.engine;
		memset(info->version, 'x', sizeof(info->version));	/* not terminated */
		fails = host.info;
		break;
	case KVM_CREATE_VM:
		fails = host.create_vm;
		if (!fails)
			return dup(0);
		break;
	case CVMM_CREATE_SPACE:
		memcpy(&host.cfg, arg, sizeof(host.cfg));
		memcpy(host.range, (void *)(uintptr_t)host.cfg.ranges, host.cfg.nr_ranges * sizeof(host.range[0]));
		fails = host.space;
		if (!fails)
			return dup(0);
		break;
	case CVMM_SPACE_ADD_LINK:
		memcpy(&host.link, arg, sizeof(host.link));
		fails = host.add_link;
		break;
	case CVMM_SPACE_ADD_CONNS:
		memcpy(&host.conns, arg, sizeof(host.conns));
		fails = host.add_link;
		break;
	case CVMM_RDMA_ENDPOINT:
		memcpy(&host.endpoint, arg, sizeof(host.endpoint));
		if (host.endpoint.flags & CVMM_RDMA_LISTEN)
			((struct cvmm_rdma_endpoint *)arg)->port = 4242;
		fails = host.rdma;
		if (!fails)
			return dup(0);
		break;
	case CVMM_RDMA_STATUS:
		memcpy(arg, &host.rdma_status, sizeof(host.rdma_status));
		break;
	case CVMM_SPACE_GET_STATUS:
		memcpy(arg, &host.status, sizeof(host.status));
		break;
	case CVMM_SPACE_FAIL:
		break;
	default:
		fails = ENOTTY;
	}
	errno = fails;
	return fails ? -1 : 0;
}

int engine_check(int fd, char *e, size_t len)
{
	(void)fd;
	(void)e;
	(void)len;
	return 0;
}

unsigned int machine_ram_map(const struct vm_conf *c, struct ram_range *r, unsigned int max)
{
	assert_true(max >= 2);
	r[0] = (struct ram_range){ 0, c->node[0].memory, 0 };
	r[1] = (struct ram_range){ c->node[0].memory, c->node[1].memory, 1 };
	return 2;
}

static int set_up(void **state)
{
	(void)state;
	memset(&host, 0, sizeof(host));
	host.abi = CVMM_ABI_VERSION;
	host.engine = CVMM_ENGINE_SVM;
	err[0] = '\0';
	return conf_read_string(&conf, "name=\"a\";kernel=\"/k\";memory=\"64M\";"
				"nodes=({host=\"a\";},{host=\"b\";});", "t", err, sizeof(err));
}

static int tear_down(void **state)
{
	(void)state;
	conf_free(&conf);
	return 0;
}

static void expect_open(const char *engine, unsigned int nodes, const char *message)
{
	struct host_engine e;

	free(conf.engine);
	conf.engine = strdup(engine);
	conf.nr_nodes = nodes;
	if (!message) {
		assert_int_equal(host_engine_open(&e, &conf, err, sizeof(err)), 0);
		host_engine_close(&e);
	} else {
		assert_int_equal(host_engine_open(&e, &conf, err, sizeof(err)), -1);
		assert_int_equal(e.fd, -1);
		if (!strstr(err, message))
			fail_msg("'%s' has no '%s'", err, message);
	}
	conf.nr_nodes = 2;
}

static void test_open(void **state)
{
	(void)state;
	expect_open("auto", 2, NULL);
	host.open_cvmm = ENOENT;
	expect_open("auto", 2, "/dev/cvmm is not there: load the module (modprobe cvmm)");
	expect_open("/dev/cvmm", 1, "/dev/cvmm is not there");
	expect_open("auto", 1, NULL);			/* stock KVM */
	host.open_kvm = ENOENT;
	expect_open("auto", 1, "/dev/cvmm is not there");
	expect_open("/dev/kvm", 1, "load the module (modprobe kvm_amd or kvm_intel)");
	host.open_cvmm = EACCES;
	expect_open("auto", 2, "/dev/cvmm: no permission");
	host.open_cvmm = ENFILE;
	expect_open("auto", 2, "/dev/cvmm: Too many open files");
}

static void test_module(void **state)
{
	(void)state;
	host.abi = CVMM_ABI_VERSION - 1;
	expect_open("auto", 2, "the module is too old; load the current one");
	host.abi = CVMM_ABI_VERSION + 1;
	expect_open("auto", 2, "this program is too old");
	host.abi = CVMM_ABI_VERSION;
	host.info = ENOTTY;
	expect_open("auto", 2, "does not answer: the module is too old");
	host.info = 0;
	host.engine = CVMM_ENGINE_NONE;
	expect_open("auto", 2, "no SVM with nested paging");
	host.engine = CVMM_ENGINE_SVM;
	host.create_vm = EBUSY;
	expect_open("auto", 2, "another hypervisor uses this host's virtualization hardware");
	host.create_vm = EOPNOTSUPP;
	expect_open("auto", 2, "no SVM with nested paging");
	host.create_vm = ENOMEM;
	expect_open("auto", 2, "no VM can be created: Cannot allocate memory");
}

static void test_space(void **state)
{
	struct host_engine e = { .fd = 0, .spaces = true, .path = "/dev/cvmm" };
	int fd;

	(void)state;
	conf.min_run_us = 300;
	fd = space_create(&e, &conf, 1, 0x123456789abcULL, 7, err, sizeof(err));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(host.cfg.nr_ranges, 2);
	assert_int_equal(host.cfg.host_id, 1);
	assert_int_equal(host.cfg.nr_hosts, 2);
	assert_int_equal(host.cfg.epoch, 7);
	assert_true(host.cfg.space_id == 0x123456789abcULL);
	assert_int_equal(host.cfg.flags, 0);
	assert_int_equal(host.cfg.min_run_us, 300);
	assert_string_equal(host.cfg.name, "a");
	assert_int_equal(host.range[0].first_gfn, 0);
	assert_int_equal(host.range[0].nr_gfns, 8192);
	assert_int_equal(host.range[1].first_gfn, 8192);
	assert_int_equal(host.range[1].host, 1);
	assert_int_equal(host.range[1].pad, 0);
	host.space = EEXIST;
	assert_int_equal(space_create(&e, &conf, 1, 1, 1, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "a guest named \"a\" runs on this host already"));
	host.space = ENOMEM;
	assert_int_equal(space_create(&e, &conf, 1, 1, 1, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "not enough memory"));
}

static void test_link_and_status(void **state)
{
	const int fds[2] = { 9, 11 };
	char why[32];
	int node;

	(void)state;
	assert_int_equal(space_add_link(5, 1, fds, 2, err, sizeof(err)), 0);
	assert_int_equal(host.conns.host, 1);
	assert_int_equal(host.conns.nr_fds, 2);
	assert_int_equal(host.conns.fd[0], 9);
	assert_int_equal(host.conns.fd[1], 11);
	assert_int_equal(host.conns.transport, CVMM_TRANSPORT_STREAM);
	assert_int_equal(host.conns.flags, 0);
	host.add_link = ENOTCONN;
	assert_int_equal(space_add_link(5, 1, fds, 1, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "refused the link to node 1"));

	assert_false(space_failed(5, &node, why, sizeof(why)));
	host.status.state = CVMM_SPACE_FAILED;
	host.status.host = 1;
	memset(host.status.reason, 'r', sizeof(host.status.reason));
	assert_true(space_failed(5, &node, why, sizeof(why)));
	assert_int_equal(node, 1);
	assert_int_equal(strlen(why), sizeof(why) - 1);
	host.status.host = ~0U;
	assert_true(space_failed(5, &node, why, sizeof(why)));
	assert_int_equal(node, -1);
}

static void test_rdma(void **state)
{
	struct host_engine e = { .fd = 0, .spaces = true, .path = "/dev/cvmm" };
	struct sockaddr_storage addr = { .ss_family = AF_INET6 };
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&addr;
	uint8_t mine[32], theirs[32];
	uint16_t port = 0;
	int fd;

	(void)state;
	memset(mine, 1, sizeof(mine));
	memset(theirs, 2, sizeof(theirs));
	inet_pton(AF_INET6, "::ffff:10.1.2.3", &sin6->sin6_addr);
	fd = space_rdma_listen(&e, &addr, &port, mine, theirs, err, sizeof(err));
	assert_true(fd >= 0);
	assert_int_equal(port, 4242);
	assert_int_equal(host.endpoint.flags, CVMM_RDMA_LISTEN);
	assert_int_equal(host.endpoint.family, AF_INET);
	assert_memory_equal(host.endpoint.addr, "\x0a\x01\x02\x03", 4);
	assert_int_equal(host.endpoint.nr_qps, 0);
	assert_int_equal(host.endpoint.port, 0);
	assert_memory_equal(host.endpoint.token, mine, 32);
	assert_memory_equal(host.endpoint.peer_token, theirs, 32);

	host.rdma_status.state = CVMM_RDMA_CONNECTED;
	assert_int_equal(space_rdma_wait(fd, 0, err, sizeof(err)), 0);
	host.rdma_status.state = CVMM_RDMA_FAILED;
	memset(host.rdma_status.reason, 'r', sizeof(host.rdma_status.reason));
	assert_int_equal(space_rdma_wait(fd, 0, err, sizeof(err)), -1);
	assert_int_equal(strlen(err), sizeof(host.rdma_status.reason) - 1);
	host.rdma_status.state = CVMM_RDMA_WAITING;
	assert_int_equal(space_rdma_wait(fd, 0, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "does not answer"));
	close(fd);

	inet_pton(AF_INET6, "fe80::1", &sin6->sin6_addr);
	sin6->sin6_scope_id = 3;
	fd = space_rdma_connect(&e, &addr, 77, mine, theirs, err, sizeof(err));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(host.endpoint.flags, 0);
	assert_int_equal(host.endpoint.family, AF_INET6);
	assert_int_equal(host.endpoint.scope_id, 3);
	assert_int_equal(host.endpoint.port, 77);
	assert_true(host.endpoint.nr_qps > 0 && host.endpoint.nr_qps <= CVMM_RDMA_MAX_QPS);

	host.rdma = EOPNOTSUPP;
	assert_int_equal(space_rdma_connect(&e, &addr, 77, mine, theirs, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "cvmm_rdma"));
	host.rdma = ENODEV;
	assert_int_equal(space_rdma_connect(&e, &addr, 77, mine, theirs, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "no RDMA device of this host has the address fe80::1"));
	addr.ss_family = AF_UNIX;
	assert_int_equal(space_rdma_connect(&e, &addr, 77, mine, theirs, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "IP addresses only"));

	assert_int_equal(space_add_rdma_link(5, 1, 9, err, sizeof(err)), 0);
	assert_int_equal(host.link.transport, CVMM_TRANSPORT_RDMA);
}

static void test_memory(void **state)
{
	(void)state;
	assert_int_equal(space_check_memory(&conf, 0, err, sizeof(err)), 0);
	conf.node[0].memory = 1ULL << 50;
	assert_int_equal(space_check_memory(&conf, 0, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "not enough memory: the guest needs 1073741824 MiB of this host"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_module, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_space, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link_and_status, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rdma, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
