// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * RDMA ports, from a tree like the kernel's below /sys/class/infiniband.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmmd/hostcheck.h"

static char root[] = "/tmp/test_hostcheck.XXXXXX";

/* A file with one line, below the root. */
static void put(const char *path, const char *line)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "f='%s/%s'; mkdir -p \"${f%%/*}\" && echo '%s' >\"$f\"", root, path, line);
	assert_int_equal(system(cmd), 0);
}

static int make(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int clean(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	return system(cmd);
}

static void test_none(void **state)
{
	struct rdma_port p[4];

	(void)state;
	assert_int_equal(rdma_ports("/nonexistent", p, 4), 0);
	assert_int_equal(rdma_ports(root, p, 4), 0);
}

static void test_ports(void **state)
{
	struct rdma_port p[4];

	(void)state;
	put("rxe0/ports/1/state", "4: ACTIVE");
	put("rxe0/ports/1/link_layer", "Ethernet");
	put("rxe0/ports/1/rate", "10 Gb/sec (1X QDR)");
	put("rxe0/ports/1/gid_attrs/ndevs/0", "eth0");
	put("rxe0/ports/1/gids/0", "fe80:0000:0000:0000:5054:00ff:fe12:3456");
	put("rxe0/ports/1/gids/1", "0000:0000:0000:0000:0000:ffff:0a4e:0001");
	put("rxe0/ports/1/gids/2", "0000:0000:0000:0000:0000:0000:0000:0000");
	put("mlx5_0/ports/1/state", "1: DOWN");
	put("mlx5_0/ports/1/link_layer", "InfiniBand");
	put("mlx5_0/ports/2/state", "2: INIT");
	put("odd/ports/none", "");
	assert_int_equal(rdma_ports(root, p, 4), 3);
	assert_string_equal(p[0].device, "mlx5_0");
	assert_int_equal(p[0].port, 1);
	assert_false(p[0].active);
	assert_string_equal(p[0].state, "DOWN");
	assert_string_equal(p[0].layer, "InfiniBand");
	assert_string_equal(p[0].netdev, "");
	assert_string_equal(p[0].address, "");
	assert_int_equal(p[1].port, 2);
	assert_false(p[1].active);
	assert_string_equal(p[2].device, "rxe0");
	assert_true(p[2].active);
	assert_string_equal(p[2].netdev, "eth0");
	assert_string_equal(p[2].rate, "10 Gb/sec (1X QDR)");
	assert_string_equal(p[2].address, "10.78.0.1");
	assert_int_equal(rdma_ports(root, p, 2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_ports),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
