// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The messages between programs: what is encoded comes back, and whatever else
 * comes in is refused without harm.  The last tests feed mutated and random
 * bytes to every decoder, from CVMM_SEED; CVMM_FUZZ_ROUNDS makes them
 * longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmmd/proto.h"
#include "vmmd/hostcheck.h"
#include "vmmd/stats.h"
#include "vmmd/tests/fuzz.h"

static void test_hello(void **state)
{
	struct hello h = { .role = HELLO_LINK, .vm_id = 0x1234567890abcdefULL, .epoch = 7, .from = 3, .to = 1,
			   .name = "demo" }, g;
	uint8_t buf[HELLO_SIZE];
	uint32_t version;

	(void)state;
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), 0);
	assert_int_equal(g.role, HELLO_LINK);
	assert_true(g.vm_id == h.vm_id);
	assert_int_equal(g.epoch, 7);
	assert_int_equal(g.from, 3);
	assert_int_equal(g.to, 1);
	assert_string_equal(g.name, "demo");

	buf[8]++;
	assert_int_equal(hello_decode(buf, &g, &version), -2);
	assert_int_equal(version, PROTO_VERSION + 1);
	hello_encode(buf, &h);
	buf[0] ^= 1;
	assert_int_equal(hello_decode(buf, &g, &version), -1);
	hello_encode(buf, &h);
	buf[127] = 1;
	assert_int_equal(hello_decode(buf, &g, &version), -1);
	h.to = 3;	/* to itself */
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), -1);
	h.to = CONF_MAX_NODES;
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), -1);
	h.role = HELLO_CHECK;
	h.to = HOST_ALL;
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), -1);	/* from a node */
	h.from = NODE_CLIENT;
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), 0);
	assert_int_equal(g.role, HELLO_CHECK);
	assert_int_equal(g.to, HOST_ALL);
	h.role = HELLO_LINK;
	h.from = 3;
	h.to = 1;
	strcpy(h.name, "a/b");
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), -1);
	memset(h.name, 'x', sizeof(h.name));	/* not terminated: cut on encoding */
	hello_encode(buf, &h);
	assert_int_equal(hello_decode(buf, &g, &version), 0);
	assert_int_equal(strlen(g.name), CONF_NAME_LEN - 1);
	memset(buf + 40, 'x', CONF_NAME_LEN);
	assert_int_equal(hello_decode(buf, &g, &version), -1);
}

static void test_answer(void **state)
{
	uint8_t buf[ANSWER_SIZE];
	struct answer a;
	uint32_t version;

	(void)state;
	answer_encode(buf, ANSWER_REFUSED, "no\tway\n");
	assert_int_equal(answer_decode(buf, &a, &version), 0);
	assert_int_equal(a.status, ANSWER_REFUSED);
	/* What another host says reaches a terminal: no control characters. */
	assert_string_equal(a.text, "no?way?");
	buf[1] ^= 0x20;
	assert_int_equal(answer_decode(buf, &a, &version), -1);
}

static void test_frame(void **state)
{
	uint8_t buf[FRAME_HEADER + 4];
	struct frame f;

	(void)state;
	frame_header(buf, F_EOI, 9, 4);
	memset(buf + FRAME_HEADER, 0xab, 4);
	assert_int_equal(frame_decode(buf, FRAME_HEADER - 1, &f), 0);
	assert_int_equal(frame_decode(buf, sizeof(buf) - 1, &f), 0);
	assert_int_equal(frame_decode(buf, sizeof(buf), &f), sizeof(buf));
	assert_int_equal(f.type, F_EOI);
	assert_int_equal(f.tag, 9);
	assert_int_equal(f.len, 4);
	assert_ptr_equal(f.data, buf + FRAME_HEADER);
	frame_header(buf, F_EOI, 9, FRAME_MAX + 1);
	assert_int_equal(frame_decode(buf, sizeof(buf), &f), -1);
	frame_header(buf, 0, 9, 4);
	assert_int_equal(frame_decode(buf, sizeof(buf), &f), -1);
	frame_header(buf, F_TYPES, 9, 4);
	assert_int_equal(frame_decode(buf, sizeof(buf), &f), -1);
	frame_header(buf, F_EOI, 9, 4);
	buf[12] = 1;
	assert_int_equal(frame_decode(buf, sizeof(buf), &f), -1);
}

static void test_link_word(void **state)
{
	struct link_word w = { .kind = LINK_RDMA, .link.port = 0x1234, .channel.port = 0x5678 }, r;
	uint8_t buf[LINK_WORD_SIZE];

	(void)state;
	memset(w.link.offered, 0xaa, LINK_TOKEN);
	memset(w.link.wanted, 0xbb, LINK_TOKEN);
	memset(w.channel.offered, 0xcc, LINK_TOKEN);
	memset(w.channel.wanted, 0xdd, LINK_TOKEN);
	strcpy(w.text, "why");
	link_word_encode(buf, &w);
	assert_int_equal(link_word_decode(buf, &r), 0);
	assert_int_equal(r.kind, LINK_RDMA);
	assert_int_equal(r.link.port, 0x1234);
	assert_int_equal(r.channel.port, 0x5678);
	assert_memory_equal(r.link.offered, w.link.offered, LINK_TOKEN);
	assert_memory_equal(r.link.wanted, w.link.wanted, LINK_TOKEN);
	assert_memory_equal(r.channel.offered, w.channel.offered, LINK_TOKEN);
	assert_memory_equal(r.channel.wanted, w.channel.wanted, LINK_TOKEN);
	assert_string_equal(r.text, "why");
	buf[0] = LINK_FAILED + 1;
	assert_int_equal(link_word_decode(buf, &r), -1);
	buf[0] = 0;
	assert_int_equal(link_word_decode(buf, &r), -1);
	buf[0] = LINK_TCP;
	assert_int_equal(link_word_decode(buf, &r), 0);
	memset(buf + LINK_WORD_SIZE - LINK_TEXT, 'x', LINK_TEXT);
	assert_int_equal(link_word_decode(buf, &r), -1);
}

static long make_start(uint8_t *buf, size_t max)
{
	struct start_request s = { .kernel_len = 1000, .initrd_len = 2000 };
	char err[256];
	long len;

	assert_int_equal(conf_read_string(&s.conf, "name=\"a\";kernel=\"/k\";initrd=\"/i\";memory=\"64M\";"
		"encryption=false;pages=\"4K\";connections=5;min_run_us=700;transport=\"rdma\";cmdline=\"quiet splash\";nodes=({host=\"a\";vcpus=2;cpus=\"0-1\";},"
		"{host=\"b\";port=1;numa_node=1;memory=\"2M\";});", "t", err, sizeof(err)), 0);
	len = start_encode(buf, max, &s);
	conf_free(&s.conf);
	return len;
}

static void test_start(void **state)
{
	uint8_t buf[1024];
	struct start_request s;
	char err[256];
	long len, i;

	(void)state;
	len = make_start(buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(start_decode(buf, (size_t)len, &s, err, sizeof(err)), 0);
	assert_string_equal(s.conf.name, "a");
	assert_false(s.conf.encryption);
	assert_int_equal(s.conf.transport, CONF_RDMA);
	assert_string_equal(s.conf.kernel, "/k");
	assert_string_equal(s.conf.initrd, "/i");
	assert_string_equal(s.conf.cmdline, "quiet splash");
	assert_string_equal(s.conf.engine, "auto");
	assert_true(s.conf.memory == 64ULL << 20);
	assert_int_equal(s.conf.pages, CONF_PAGES_4K);
	assert_int_equal(s.conf.min_run_us, 700);
	assert_int_equal(s.conf.connections, 5);
	assert_int_equal(s.conf.nr_nodes, 2);
	assert_string_equal(s.conf.node[0].host, "a");
	assert_string_equal(s.conf.node[0].cpus, "0-1");
	assert_int_equal(s.conf.node[0].vcpus, 2);
	assert_int_equal(s.conf.node[0].numa_node, -1);
	assert_true(s.conf.node[0].memory == 62ULL << 20);
	assert_int_equal(s.conf.node[1].port, 1);
	assert_int_equal(s.conf.node[1].numa_node, 1);
	assert_null(s.conf.node[1].cpus);
	assert_int_equal(s.kernel_len, 1000);
	assert_int_equal(s.initrd_len, 2000);
	conf_free(&s.conf);
	/* Cut anywhere, or with something after its end. */
	for (i = 0; i < len; i++) {
		assert_int_equal(start_decode(buf, (size_t)i, &s, err, sizeof(err)), -1);
		conf_free(&s.conf);
	}
	buf[len] = 0;
	assert_int_equal(start_decode(buf, (size_t)len + 1, &s, err, sizeof(err)), -1);
	conf_free(&s.conf);
	assert_int_equal(make_start(buf, 100), -1);
}

static void test_small(void **state)
{
	struct apic_msg m = { .dest = 5, .source = ~0U, .vector = 0xfe, .delivery = 6, .logical = true,
			      .level = true, .assert = true, .shorthand = 3, .x2apic = true }, n;
	struct apic_info i = { .id = 254, .ldr = 1, .dfr = ~0U, .enabled = true, .x2apic = true }, j;
	struct io_req r = { .space = IO_MMIO, .write = true, .size = 8, .vcpu = 3, .addr = 0xfec00010,
			    .data = ~0ULL }, q;
	struct ended e = { .end = MACHINE_POWEROFF, .node = NODE_CLIENT, .status = ENDED_LOST, .text = "x" }, f;
	uint8_t buf[ENDED_SIZE];

	(void)state;
	apic_msg_encode(buf, &m);
	assert_int_equal(apic_msg_decode(buf, APIC_MSG_SIZE, &n), 0);
	assert_memory_equal(&m, &n, sizeof(m));
	assert_int_equal(apic_msg_decode(buf, APIC_MSG_SIZE - 1, &n), -1);
	buf[11] |= 0x10;
	assert_int_equal(apic_msg_decode(buf, APIC_MSG_SIZE, &n), -1);
	apic_info_encode(buf, &i);
	assert_int_equal(apic_info_decode(buf, APIC_INFO_SIZE, &j), 0);
	assert_memory_equal(&i, &j, sizeof(i));
	i.id = 255;
	apic_info_encode(buf, &i);
	assert_int_equal(apic_info_decode(buf, APIC_INFO_SIZE, &j), -1);
	io_encode(buf, &r);
	assert_int_equal(io_decode(buf, IO_SIZE, &q), 0);
	assert_true(q.addr == r.addr && q.data == r.data && q.size == 8 && q.write && q.space == IO_MMIO);
	r.space = IO_PIO;
	io_encode(buf, &r);
	assert_int_equal(io_decode(buf, IO_SIZE, &q), -1);
	r.size = 3;
	io_encode(buf, &r);
	assert_int_equal(io_decode(buf, IO_SIZE, &q), -1);
	ended_encode(buf, &e);
	assert_int_equal(ended_decode(buf, ENDED_SIZE, &f), 0);
	assert_int_equal(f.end, MACHINE_POWEROFF);
	assert_string_equal(f.text, "x");
	buf[0] = 99;
	assert_int_equal(ended_decode(buf, ENDED_SIZE, &f), -1);
}

static void test_stats(void **state)
{
	struct stats s = { 0 }, t = { 0 };
	uint8_t buf[256];
	size_t len, i;

	(void)state;
	stats_add(&s, "a.b", 1);
	stats_add(&s, "a.c", ~0ULL);
	stats_add(&s, "a.b", 2);
	len = stats_encode(&s, buf, sizeof(buf));
	assert_int_equal(stats_decode(buf, len, &t), 0);
	assert_int_equal(t.nr, 2);
	assert_string_equal(t.entry[0].name, "a.b");
	assert_int_equal(t.entry[0].value, 3);
	assert_true(t.entry[1].value == ~0ULL);
	stats_free(&t);
	for (i = 1; i < len; i++) {
		if (i == 12)	/* the first entry alone */
			continue;
		assert_int_equal(stats_decode(buf, i, &t), -1);
		stats_free(&t);
	}
	buf[1] = '"';
	assert_int_equal(stats_decode(buf, len, &t), -1);
	stats_free(&t);
	stats_free(&s);
}

/* Everything that reads bytes from elsewhere, on a copy of just that length. */
static void decode_all(const uint8_t *in, size_t len)
{
	uint8_t *buf = malloc(len ? len : 1);
	struct start_request s;
	struct apic_info info;
	struct apic_msg msg;
	struct answer a;
	struct stats st = { 0 };
	struct hello h;
	struct ended e;
	struct frame f;
	struct io_req r;
	struct link_word w;
	uint32_t version;
	char err[256];

	assert_non_null(buf);
	memcpy(buf, in, len);
	if (len >= HELLO_SIZE && !hello_decode(buf, &h, &version))
		assert_true(conf_name_ok(h.name));
	if (len >= ANSWER_SIZE)
		answer_decode(buf, &a, &version);
	if (len >= LINK_WORD_SIZE && !link_word_decode(buf, &w))
		assert_non_null(memchr(w.text, 0, LINK_TEXT));
	if (frame_decode(buf, len, &f) > 0) {
		assert_true(f.len <= FRAME_MAX && f.data + f.len <= buf + len);
	}
	if (!start_decode(buf, len, &s, err, sizeof(err)))
		assert_int_equal(conf_check(&s.conf, err, sizeof(err)), 0);
	conf_free(&s.conf);
	apic_msg_decode(buf, len, &msg);
	apic_info_decode(buf, len, &info);
	io_decode(buf, len, &r);
	ended_decode(buf, len, &e);
	stats_decode(buf, len, &st);
	stats_free(&st);
	free(buf);
}

static void test_fuzz_messages(void **state)
{
	uint8_t good[5][1024], buf[1024];
	struct hello h = { .role = HELLO_CLIENT, .vm_id = 1, .epoch = 1, .from = NODE_CLIENT, .name = "a" };
	struct stats st = { 0 };
	unsigned int i, k, n;
	struct link_word w = { .kind = LINK_RDMA, .link.port = 1, .channel.port = 2, .text = "t" };
	size_t len[5];

	(void)state;
	seed();
	memset(good, 0, sizeof(good));
	len[0] = (size_t)make_start(good[0], sizeof(good[0]));
	hello_encode(good[1], &h);
	len[1] = HELLO_SIZE;
	stats_add(&st, "machine.exits", 5);
	len[2] = stats_encode(&st, good[2], sizeof(good[2]));
	stats_free(&st);
	frame_header(good[3], F_IO, 1, IO_SIZE);
	len[3] = FRAME_HEADER + IO_SIZE;
	link_word_encode(good[4], &w);
	len[4] = LINK_WORD_SIZE;
	for (i = 0; i < rounds(30000); i++) {
		k = (unsigned int)(rnd() % 6);
		if (k == 5) {
			n = (unsigned int)(rnd() % 300);
			for (k = 0; k < n; k++)
				buf[k] = (uint8_t)rnd();
			decode_all(buf, n);
			continue;
		}
		memcpy(buf, good[k], len[k]);
		n = (unsigned int)(rnd() % 4 + 1);
		while (n--)
			buf[rnd() % len[k]] = rnd() & 1 ? (uint8_t)rnd() : (uint8_t)(rnd() & 1 ? 0xff : 0);
		decode_all(buf, rnd() & 1 ? len[k] : rnd() % (len[k] + 1));
	}
}

/* Configurations that are nearly right. */
static void test_fuzz_conf(void **state)
{
	static const char *const words[] = {
		"name", "memory", "kernel", "nodes", "vcpus", "host", "cpus", "=", ";", "(", ")", "{", "}", ",",
		"\"a\"", "\"64M\"", "\"0-3\"", "1", "-1", "99999999999", "0x7fffffff", "1.5", "true", "[", "]",
		"\"", "\\", "/*", "#", "\n", ":", "initrd", "cmdline", "engine", "\"auto\"", "numa_node", "port",
	};
	char text[512], err[512];
	struct vm_conf c;
	unsigned int i, n;
	size_t len;

	(void)state;
	seed();
	for (i = 0; i < rounds(30000); i++) {
		len = 0;
		if (rnd() & 1)
			len = (size_t)sprintf(text, "name=\"a\";kernel=\"k\";memory=\"64M\";nodes=(");
		n = (unsigned int)(rnd() % 30);
		while (n-- && len < sizeof(text) - 32)
			len += (size_t)sprintf(text + len, "%s", words[rnd() % (sizeof(words) / sizeof(words[0]))]);
		if (rnd() & 1)
			len += (size_t)sprintf(text + len, ");");
		text[len] = '\0';
		err[0] = '\0';
		if (conf_read_string(&c, text, "f", err, sizeof(err)))
			assert_true(strlen(err) > 3 && !strncmp(err, "f:", 2));
		else
			assert_int_equal(conf_check(&c, err, sizeof(err)), 0);
		conf_free(&c);
	}
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
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_link_word),
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_fuzz_messages),
		cmocka_unit_test(test_fuzz_conf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
