// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guest.cfg: what is accepted, the defaults, how memory is split, and the
 * message for each mistake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmmd/conf.h"

#define MB (1ULL << 20)

static char err[512];

static int read_text(struct vm_conf *c, const char *text)
{
	err[0] = '\0';
	return conf_read_string(c, text, "t.cfg", err, sizeof(err));
}

static void test_minimal(void **state)
{
	struct vm_conf c;

	(void)state;
	assert_int_equal(read_text(&c, "name = \"a\"; memory = \"64M\"; kernel = \"/k\";"), 0);
	assert_string_equal(c.name, "a");
	assert_string_equal(c.kernel, "/k");
	assert_null(c.initrd);
	assert_string_equal(c.cmdline, "console=ttyS0");
	assert_string_equal(c.engine, "auto");
	assert_int_equal(c.slowdown, 1);
	assert_true(c.encryption);
	assert_int_equal(c.min_run_us, 0);
	assert_int_equal(c.transport, CONF_AUTO);
	assert_false(conf_may_rdma(&c));
	assert_int_equal(c.pages, CONF_PAGES_AUTO);
	assert_false(conf_in_space(&c));
	assert_true(conf_huge_size(&c) == 0);
	assert_int_equal(c.memory, 64 * MB);
	assert_int_equal(c.nr_nodes, 1);
	assert_int_equal(c.node[0].vcpus, 1);
	assert_int_equal(c.node[0].memory, 64 * MB);
	assert_int_equal(c.node[0].numa_node, -1);
	assert_null(c.node[0].host);
	assert_null(c.node[0].cpus);
	assert_true(conf_is_local(&c));
	conf_free(&c);
}

static void test_pages(void **state)
{
	struct vm_conf c;

	(void)state;
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";pages=\"4K\";"), 0);
	assert_true(conf_in_space(&c));
	assert_true(conf_huge_size(&c) == 0);
	conf_free(&c);
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";pages=\"2M\";"), 0);
	assert_false(conf_in_space(&c));
	assert_true(conf_huge_size(&c) == 2 * MB);
	conf_free(&c);
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"3G\";pages=\"1G\";"), 0);
	assert_true(conf_huge_size(&c) == 1024 * MB);
	conf_free(&c);
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";"
				   "nodes=({host=\"a\";},{host=\"b\";});"), 0);
	assert_true(conf_in_space(&c));
	conf_free(&c);
}

static void test_transport(void **state)
{
	static const char *const text = "name = \"a\"; memory = \"64M\"; kernel = \"/k\"; encryption = %s; "
		"transport = \"%s\";";
	static const struct {
		const char *encryption, *transport;
		bool good, may_rdma;
	} cases[] = {
		{ "false", "auto", true, true },
		{ "false", "rdma", true, true },
		{ "false", "tcp", true, false },
		{ "true", "auto", true, false },
		{ "true", "tcp", true, false },
		{ "true", "rdma", false, false },
		{ "false", "verbs", false, false },
	};
	struct vm_conf c;
	char buf[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(buf, sizeof(buf), text, cases[i].encryption, cases[i].transport);
		assert_int_equal(read_text(&c, buf), cases[i].good ? 0 : -1);
		if (cases[i].good)
			assert_int_equal(conf_may_rdma(&c), cases[i].may_rdma);
		conf_free(&c);
	}
}

static void test_full(void **state)
{
	struct vm_conf c;

	(void)state;
	assert_int_equal(read_text(&c,
		"name = \"demo\"; memory = \"1G\";\n"
		"kernel = \"/boot/vmlinuz\"; initrd = \"guest.img\"; cmdline = \"quiet\";\n"
		"engine = \"/dev/cvmm\";\n"
		"nodes = ( { host = \"10.0.0.1\"; vcpus = 2; cpus = \"2-3\"; },\n"
		"          { host = \"10.0.0.2\"; port = 99; vcpus = 3; numa_node = 1; } );\n"), 0);
	assert_int_equal(c.nr_nodes, 2);
	assert_int_equal(conf_nr_vcpus(&c), 5);
	assert_string_equal(c.initrd, "guest.img");
	assert_string_equal(c.node[0].host, "10.0.0.1");
	assert_int_equal(c.node[0].port, CONF_DEFAULT_PORT);
	assert_string_equal(c.node[0].cpus, "2-3");
	assert_int_equal(c.node[1].port, 99);
	assert_int_equal(c.node[1].numa_node, 1);
	assert_int_equal(c.node[0].memory, 512 * MB);
	assert_int_equal(c.node[1].memory, 512 * MB);
	assert_false(conf_is_local(&c));
	conf_free(&c);
}

static void test_min_run(void **state)
{
	struct vm_conf c;

	(void)state;
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";min_run_us=\"auto\";"), 0);
	assert_int_equal(c.min_run_us, 0);
	conf_free(&c);
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";min_run_us=20000;"), 0);
	assert_int_equal(c.min_run_us, 20000);
	conf_free(&c);
}

static void test_connections(void **state)
{
	static const char *const two = "name=\"a\";kernel=\"k\";memory=\"64M\";%s"
		"nodes=({host=\"a\";vcpus=%u;},{host=\"b\";vcpus=1;});";
	static const struct {
		const char *keys;
		unsigned int vcpus, connections;
	} cases[] = {
		{ "", 1, 1 },
		{ "", 3, 3 },
		{ "connections=\"auto\";", 9, 4 },
		{ "connections=8;", 1, 8 },
		{ "connections=3;encryption=false;", 1, 1 },	/* RDMA, perhaps */
		{ "connections=3;encryption=false;transport=\"tcp\";", 1, 3 },
	};
	char buf[256];
	struct vm_conf c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(buf, sizeof(buf), two, cases[i].keys, cases[i].vcpus);
		assert_int_equal(read_text(&c, buf), 0);
		assert_int_equal(conf_connections(&c), cases[i].connections);
		conf_free(&c);
	}
}

static void test_memory_split(void **state)
{
	struct vm_conf c;

	(void)state;
	/* 50 MiB over three: 25 units of 2 MiB as 9, 8, 8. */
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"50M\";nodes=("
		"{host=\"a\";},{host=\"b\";},{host=\"c\";});"), 0);
	assert_int_equal(c.node[0].memory, 18 * MB);
	assert_int_equal(c.node[1].memory, 16 * MB);
	assert_int_equal(c.node[2].memory, 16 * MB);
	conf_free(&c);
	/* One node says how much, the rest is the others'. */
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";memory=\"64M\";nodes=("
		"{host=\"a\";},{host=\"b\";memory=\"40M\";});"), 0);
	assert_int_equal(c.node[0].memory, 24 * MB);
	conf_free(&c);
	/* All nodes say; the sum is the guest's. */
	assert_int_equal(read_text(&c, "name=\"a\";kernel=\"k\";nodes=("
		"{host=\"a\";memory=\"24M\";},{host=\"b\";memory=41943040;});"), 0);
	assert_int_equal(c.memory, 64 * MB);
	conf_free(&c);
}

static void test_sizes(void **state)
{
	uint64_t b;

	(void)state;
	assert_int_equal(conf_parse_size("0", &b), 0);
	assert_int_equal(b, 0);
	assert_int_equal(conf_parse_size("2k", &b), 0);
	assert_int_equal(b, 2048);
	assert_int_equal(conf_parse_size("3G", &b), 0);
	assert_int_equal(b, 3ULL << 30);
	assert_int_equal(conf_parse_size("18446744073709551615", &b), 0);
	assert_int_equal(b, UINT64_MAX);
	assert_int_equal(conf_parse_size("18446744073709551616", &b), -1);
	assert_int_equal(conf_parse_size("16777216T", &b), -1);
	assert_int_equal(conf_parse_size("", &b), -1);
	assert_int_equal(conf_parse_size("-1", &b), -1);
	assert_int_equal(conf_parse_size("1GB", &b), -1);
	assert_int_equal(conf_parse_size("1X", &b), -1);
	assert_int_equal(conf_parse_size(" 1", &b), -1);
}

static void test_cpus(void **state)
{
	cpu_set_t s;

	(void)state;
	assert_int_equal(conf_parse_cpus("0", &s), 1);
	assert_int_equal(conf_parse_cpus("2-3,8", &s), 3);
	assert_true(CPU_ISSET(2, &s) && CPU_ISSET(3, &s) && CPU_ISSET(8, &s));
	assert_int_equal(conf_parse_cpus("1,1-2", &s), 2);
	assert_int_equal(conf_parse_cpus("", &s), -1);
	assert_int_equal(conf_parse_cpus("3-2", &s), -1);
	assert_int_equal(conf_parse_cpus("1,", &s), -1);
	assert_int_equal(conf_parse_cpus("1-", &s), -1);
	assert_int_equal(conf_parse_cpus("a", &s), -1);
	assert_int_equal(conf_parse_cpus("0-99999999999999999999", &s), -1);
	assert_int_equal(conf_parse_cpus("1024", &s), -1);
	assert_int_equal(conf_parse_cpus("1 2", &s), -1);
}

/* Every mistake has its line and its message. */
static const struct {
	const char *text, *message;
} bad[] = {
	{ "name = ;", "t.cfg:1: syntax error" },
	{ "name=\"a\";\nmin_run_us=\"4ms\";",
	  "t.cfg:2: min_run_us is \"4ms\"; allowed are \"auto\" and 1 to 20000" },
	{ "name=\"a\";\nconnections=\"many\";",
	  "t.cfg:2: connections is \"many\"; allowed are \"auto\" and 1 to 8" },
	{ "name=\"a\";\nconnections=9;", "t.cfg:2: connections" },
	{ "name=\"a\";\npages=\"4k\";",
	  "t.cfg:2: pages = \"4k\" is not known; use \"auto\", \"4K\", \"2M\" or \"1G\"" },
	{ "name=\"a\";\nkernel=\"k\";memory=\"1536M\";pages=\"1G\";",
	  "t.cfg: memory is 1536M, which is no multiple of its pages" },
	{ "name=\"a\";\nkernel=\"k\";memory=\"64M\";pages=\"2M\";\nnodes=({host=\"a\";},{host=\"b\";});",
	  "t.cfg:3: pages of guests of several nodes are 4K" },
	{ "name=\"a\";\nmin_run_us=0;", "t.cfg:2: min_run_us" },
	{ "name=\"a\";\nmin_run_us=20001;", "t.cfg:2: min_run_us" },
	{ "name = \"a\"\n\nmemory == 1;", "t.cfg:3: syntax error" },
	{ "kernel=\"k\"; memory=\"64M\";", "t.cfg: name is missing" },
	{ "name=\"a\"; memory=\"64M\";", "t.cfg: kernel is missing" },
	{ "name=\"a\"; kernel=\"k\";", "t.cfg: memory is missing" },
	{ "name=\"a b\";", "t.cfg:1: name = \"a b\": 1 to 63 of" },
	{ "name=\"../x\";", "t.cfg:1: name = \"../x\"" },
	{ "name=\"\";", "t.cfg:1: name = \"\"" },
	{ "\nname=7;", "t.cfg:2: name: a string is needed" },
	{ "name=\"a\";\nnmae=\"b\";", "t.cfg:2: unknown key \"nmae\"" },
	{ "name=\"a\";\nname=\"b\";", "t.cfg:2: duplicate setting name" },
	{ "memory=\"1GB\";", "t.cfg:1: memory: a size is needed" },
	{ "memory=-5;", "t.cfg:1: memory = -5 is negative" },
	{ "memory=1.5;", "t.cfg:1: memory: a size is needed" },
	{ "memory=\"2T\";", "t.cfg:1: memory is out of range: 2M to 1T" },
	{ "memory=\"1M\";", "t.cfg:1: memory is out of range" },
	{ "memory=\"65M\";", "t.cfg:1: memory is not a multiple of 2M; the nearest below is 64M" },
	{ "name=\"a\";kernel=\"k\";memory=\"8M\";", "memory is 8M; 16M to 1T are allowed" },
	{ "kernel=\"\";", "t.cfg:1: kernel: the path is empty" },
	{ "engine=\"/dev/null\";", "t.cfg:1: engine = \"/dev/null\" is not known" },
	{ "vcpus=0;", "t.cfg:1: vcpus = 0 is out of range: 1 to 255" },
	{ "vcpus=256;", "t.cfg:1: vcpus = 256 is out of range" },
	{ "vcpus=\"2\";", "t.cfg:1: vcpus: a number is needed, 1 to 255" },
	{ "cpus=\"3-1\";", "t.cfg:1: cpus = \"3-1\": a list of host CPUs" },
	{ "nodes = { };", "t.cfg:1: nodes is a list of groups" },
	{ "nodes = ( );", "t.cfg:1: nodes has 0 entries; 1 to 64" },
	{ "nodes = ( 1 );", "t.cfg:1: each node is a group" },
	{ "nodes = (\n{ vcpu = 1; } );", "t.cfg:2: unknown key \"vcpu\" in a node" },
	{ "nodes = ({ port = 70000; });", "t.cfg:1: port = 70000 is out of range: 1 to 65535" },
	{ "nodes = ({ host = \"\"; });", "t.cfg:1: host = \"\": a host's name" },
	{ "name=\"a\";kernel=\"k\";memory=\"64M\";\nvcpus=2; nodes=({host=\"a\";});",
	  "t.cfg:2: vcpus belongs into each node" },
	{ "name=\"a\";kernel=\"k\";memory=\"64M\";\nnodes=({host=\"a\";},{});",
	  "t.cfg:2: node 1 has no host" },
	{ "name=\"a\";kernel=\"k\";memory=\"64M\";nodes=({host=\"a\";},{host=\"A\";});",
	  "nodes 0 and 1 are both on A port 7741" },
	{ "name=\"a\";kernel=\"k\";memory=\"64M\";engine=\"/dev/kvm\";nodes=({host=\"a\";},{host=\"b\";});",
	  "engine \"/dev/kvm\" runs guests of one node only" },
	{ "name=\"a\";kernel=\"k\";\nmemory=\"64M\";nodes=({host=\"a\";memory=\"2M\";},{host=\"b\";memory=\"2M\";});",
	  "t.cfg:2: memory is 64M, but the nodes' memory adds up to 4M" },
	{ "name=\"a\";kernel=\"k\";memory=\"64M\";nodes=({host=\"a\";memory=\"64M\";},{host=\"b\";});",
	  "nothing is left for the other 1" },
	{ "name=\"a\";kernel=\"k\";memory=\"640M\";nodes=({host=\"a\";vcpus=200;},{host=\"b\";vcpus=100;});",
	  "300 vcpus in all; at most 255" },
};

static void test_mistakes(void **state)
{
	struct vm_conf c;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(read_text(&c, bad[i].text), -1);
		if (!strstr(err, bad[i].message))
			fail_msg("for '%s' got '%s', expected '%s'", bad[i].text, err, bad[i].message);
		assert_null(strchr(err, '\n'));
		conf_free(&c);
	}
}

static void test_cmdline_length(void **state)
{
	char text[4096], line[2100];
	struct vm_conf c;

	(void)state;
	memset(line, 'x', sizeof(line));
	line[2048] = '\0';
	snprintf(text, sizeof(text), "name=\"a\";kernel=\"k\";memory=\"64M\";cmdline=\"%s\";", line);
	assert_int_equal(read_text(&c, text), -1);
	assert_non_null(strstr(err, "cmdline has 2048 characters; at most 2047"));
	conf_free(&c);
	line[2047] = '\0';
	snprintf(text, sizeof(text), "name=\"a\";kernel=\"k\";memory=\"64M\";cmdline=\"%s\";", line);
	assert_int_equal(read_text(&c, text), 0);
	conf_free(&c);
}

static void test_file(void **state)
{
	char dir[] = "/tmp/cvmm-conf-XXXXXX", path[64], want[64];
	struct vm_conf c;
	FILE *f;

	(void)state;
	assert_int_equal(conf_read_file(&c, "/nonexistent/x.cfg", err, sizeof(err)), -1);
	assert_string_equal(err, "/nonexistent/x.cfg: No such file or directory");
	conf_free(&c);
	assert_int_equal(conf_read_file(&c, "/tmp", err, sizeof(err)), -1);
	assert_string_equal(err, "/tmp: Is a directory");
	conf_free(&c);
	assert_int_equal(conf_read_file(&c, "/dev/zero", err, sizeof(err)), -1);
	conf_free(&c);

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.cfg", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("name=\"a\";kernel=\"k\";initrd=\"/abs\";memory=\"64M\";\n", f);
	fclose(f);
	assert_int_equal(conf_read_file(&c, path, err, sizeof(err)), 0);
	snprintf(want, sizeof(want), "%s/k", dir);
	assert_string_equal(c.kernel, want);
	assert_string_equal(c.initrd, "/abs");
	conf_free(&c);
	unlink(path);
	rmdir(dir);
}

/* libconfig 1.5 itself loses a token of a text that it cannot parse. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minimal),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_transport),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_min_run),
		cmocka_unit_test(test_memory_split),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_cmdline_length),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
