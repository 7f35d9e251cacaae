// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The cluster key's file; handshakes with the same and with different keys;
 * records that are changed, repeated, left out or cut; and connections above
 * them.  The fuzz tests feed mutated and random bytes to the record decoder and
 * to a server's handshake; CVMM_FUZZ_ROUNDS makes them longer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <gnutls/crypto.h>

#include "vmmd/conn.h"
#include "vmmd/key.h"
#include "vmmd/tests/fuzz.h"
#include "vmmd/tls.h"

/* ---- the key file --------------------------------------------------------- */

static void test_key(void **state)
{
	char dir[] = "/tmp/cvmm-key-XXXXXX", path[64], err[256];
	struct cluster_key a, b;
	struct stat st;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sub/key", dir);
	umask(0);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "cvmm keygen"));
	assert_int_equal(key_create(path, err, sizeof(err)), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), 0);
	assert_int_equal(key_load(path, &b, err, sizeof(err)), 0);
	assert_memory_equal(&a, &b, sizeof(a));

	/* Never over a key that is in use. */
	assert_int_equal(key_create(path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "File exists"));
	assert_int_equal(key_load(path, &b, err, sizeof(err)), 0);
	assert_memory_equal(&a, &b, sizeof(a));

	chmod(path, 0640);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "chmod 600"));
	chmod(path, 0604);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	chmod(path, 0620);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	chmod(path, 0400);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), 0);
	if (!geteuid()) {
		assert_int_equal(chown(path, 12345, 0), 0);
		assert_int_equal(seteuid(54321), 0);
		assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
		assert_non_null(strstr(err, "another user"));
	}
	assert_int_equal(unlink(path), 0);

	f = fopen(path, "w");
	assert_non_null(f);
	fputs("cvmm-key-1 0123\n", f);
	fclose(f);
	chmod(path, 0600);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "holds no cluster key"));
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "cvmm-key-1 %064d", 0);
	fclose(f);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), 0);
	f = fopen(path, "a");
	assert_non_null(f);
	fputs("00", f);
	fclose(f);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(key_load(path, &a, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "regular file"));
	unlink(path);
	snprintf(path, sizeof(path), "%s/sub", dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* ---- handshakes ----------------------------------------------------------- */

struct side {
	int fd;
	struct cluster_key key;
	bool server;
	struct tls_keys keys;
	char err[256];
	int ret;
};

static void *shake(void *arg)
{
	struct side *s = arg;
	struct tls_handshake *h;
	int ret;

	if (!s->server) {
		s->ret = tls_connect(s->fd, &s->key, now_ms() + 10000, &s->keys, s->err, sizeof(s->err));
		return NULL;
	}
	h = tls_begin(s->fd, &s->key, true);
	while (h && (ret = tls_step(h, &s->keys, s->err, sizeof(s->err))) > 0)
		if (net_wait(s->fd, (short)ret, now_ms() + 10000))
			break;
	s->ret = h ? ret : -1;
	tls_end(h);
	return NULL;
}

static void handshake(struct side *c, struct side *s)
{
	pthread_t thread;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	c->fd = pair[0];
	s->fd = pair[1];
	s->server = true;
	assert_int_equal(pthread_create(&thread, NULL, shake, s), 0);
	shake(c);
	pthread_join(thread, NULL);
}

static void hang_up(struct side *c, struct side *s)
{
	close(c->fd);
	close(s->fd);
}

static void test_handshake(void **state)
{
	struct side c = { .key.bytes = { 1 } }, s = { .key.bytes = { 1 } };
	struct tls_keys before;
	char in;

	(void)state;
	handshake(&c, &s);
	assert_int_equal(c.ret, 0);
	assert_int_equal(s.ret, 0);
	assert_memory_equal(&c.keys.tx, &s.keys.rx, sizeof(c.keys.tx));
	assert_memory_equal(&c.keys.rx, &s.keys.tx, sizeof(c.keys.tx));
	assert_memory_equal(&c.keys.last, &s.keys.last, sizeof(c.keys.last));
	assert_memory_not_equal(c.keys.tx.key, c.keys.rx.key, TLS_KEY);
	assert_memory_not_equal(c.keys.last.key, c.keys.rx.key, TLS_KEY);
	/* Not a byte is left of it. */
	assert_int_equal(recv(c.fd, &in, 1, MSG_DONTWAIT), -1);
	assert_int_equal(recv(s.fd, &in, 1, MSG_DONTWAIT), -1);
	hang_up(&c, &s);

	/* Other keys each time. */
	before = c.keys;
	handshake(&c, &s);
	assert_int_equal(c.ret, 0);
	assert_memory_not_equal(c.keys.tx.key, before.tx.key, TLS_KEY);
	hang_up(&c, &s);

	/* Another cluster key. */
	s.key.bytes[31] ^= 1;
	handshake(&c, &s);
	assert_int_equal(c.ret, -1);
	assert_int_equal(s.ret, -1);
	assert_non_null(strstr(c.err, "key differs"));
	assert_non_null(strstr(s.err, "another cluster key"));
	hang_up(&c, &s);
}

/* Two ends of a connection after a handshake, fresh. */
static void connected(struct side *c, struct side *s)
{
	memset(c, 0, sizeof(*c));
	memset(s, 0, sizeof(*s));
	handshake(c, s);
	assert_int_equal(c->ret, 0);
	assert_int_equal(s->ret, 0);
}

/* How often this process's memory holds the 32 bytes that @masked are after its mask, which is no copy itself. */
static unsigned int copies(const uint8_t masked[KEY_SIZE], uint8_t mask)
{
	char line[256], perms[8];
	unsigned long from, to, at;
	unsigned int found = 0, i;
	uint8_t *buf;
	FILE *maps = fopen("/proc/self/maps", "r");
	int mem = open("/proc/self/mem", O_RDONLY);
	ssize_t n;

	assert_non_null(maps);
	assert_true(mem >= 0);
	buf = malloc(1 << 20);
	assert_non_null(buf);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3 || perms[0] != 'r' || perms[1] != 'w')
			continue;
		/* Steps that overlap; the sanitizer's reservations of terabytes are sparse and read as short. */
		for (at = from; at < to && to - from < 1UL << 32; at += (1 << 20) - KEY_SIZE) {
			n = pread(mem, buf, to - at < 1 << 20 ? to - at : 1 << 20, (off_t)at);
			for (ssize_t k = 0; k + KEY_SIZE <= n; k++) {
				for (i = 0; i < KEY_SIZE && (buf[k + i] ^ mask) == masked[i]; i++)
					;
				if (i == KEY_SIZE && !(at + (size_t)k >= (uintptr_t)buf && at + (size_t)k < (uintptr_t)buf + (1 << 20)))
					found++;
			}
			explicit_bzero(buf, 1 << 20);
		}
	}
	free(buf);
	close(mem);
	fclose(maps);
	return found;
}

/* What a node's process must not keep: the cluster key, and what a handshake can be done with as well. */
static void test_residue(void **state)
{
	struct side c = { 0 }, s = { 0 };
	uint8_t zero[KEY_SIZE] = { 0 }, early[KEY_SIZE], masked[KEY_SIZE], masked_early[KEY_SIZE];
	unsigned int i;

	(void)state;
	for (i = 0; i < KEY_SIZE; i++)
		c.key.bytes[i] = s.key.bytes[i] = (uint8_t)rnd();
	/* RFC 8446 section 7.1: the early secret is HKDF-Extract(0, PSK). */
	assert_int_equal(gnutls_hmac_fast(GNUTLS_MAC_SHA256, zero, KEY_SIZE, c.key.bytes, KEY_SIZE, early), 0);
	for (i = 0; i < KEY_SIZE; i++) {
		masked[i] = c.key.bytes[i] ^ 0x5a;
		masked_early[i] = early[i] ^ 0x5a;
	}
	assert_true(copies(masked, 0x5a) >= 2);
	assert_true(copies(masked_early, 0x5a) >= 1);
	handshake(&c, &s);
	assert_int_equal(c.ret, 0);
	hang_up(&c, &s);
	explicit_bzero(&c, sizeof(c));
	explicit_bzero(&s, sizeof(s));
	explicit_bzero(early, sizeof(early));
		assert_int_equal(copies(masked, 0x5a), 0);
	assert_int_equal(copies(masked_early, 0x5a), 0);
}

/* ---- records -------------------------------------------------------------- */

static void test_records(void **state)
{
	uint8_t in[TLS_DATA_MAX + 1], out[TLS_RECORD_MAX], back[TLS_RECORD_MAX], first[64 + TLS_OVERHEAD];
	struct tls_half tx = { .key = { 1, 2, 3 }, .iv = { 4, 5 } }, rx, saved;
	struct tls_cipher *c = tls_cipher(&tx);
	size_t sizes[] = { 1, 16, 4096, TLS_DATA_MAX }, i;
	long len;

	(void)state;
	assert_non_null(c);
	rx = tx;
	for (i = 0; i < 4; i++) {
		memset(in, (int)i + 1, sizeof(in));
		len = tls_seal(c, &tx, TLS_DATA, out, in, sizes[i]);
		assert_int_equal(len, sizes[i] + TLS_OVERHEAD);
		assert_int_equal(tls_record_len(out, TLS_HEADER - 1), 0);
		assert_int_equal(tls_record_len(out, TLS_HEADER), len);
		memset(in, (int)i + 1, sizeof(in));
		assert_int_equal(tls_open(c, &rx, back, out, (size_t)len), sizes[i]);
		assert_memory_equal(back, in, sizes[i]);
	}
	assert_int_equal(tls_seal(c, &tx, TLS_DATA, out, in, 0), -1);
	assert_int_equal(tls_seal(c, &tx, TLS_DATA, out, in, TLS_DATA_MAX + 1), -1);

	/* A record twice, and one too early. */
	rx = tx;
	tls_seal(c, &tx, TLS_DATA, first, in, 64);
	saved = rx;
	assert_int_equal(tls_open(c, &rx, back, first, sizeof(first)), 64);
	assert_int_equal(tls_open(c, &rx, back, first, sizeof(first)), -1);
	tls_seal(c, &tx, TLS_DATA, out, in, 64);
	rx = saved;
	assert_int_equal(tls_open(c, &rx, back, out, sizeof(first)), -1);

	/* Any bit changed. */
	for (i = 0; i < sizeof(first) * 8; i++) {
		rx = saved;
		first[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(tls_open(c, &rx, back, first, sizeof(first)), -1);
		first[i / 8] ^= (uint8_t)(1 << i % 8);
	}

	/* The last number is not used: no nonce twice. */
	tx.seq = UINT64_MAX;
	assert_int_equal(tls_seal(c, &tx, TLS_DATA, out, in, 64), -1);

	/* Headers of what is not ours. */
	memcpy(out, "\x16\x03\x03\x00\x20", 5);
	assert_int_equal(tls_record_len(out, 5), -1);
	memcpy(out, "\x17\x03\x01\x00\x20", 5);
	assert_int_equal(tls_record_len(out, 5), -1);
	memcpy(out, "\x17\x03\x03\x00\x11", 5);
	assert_int_equal(tls_record_len(out, 5), -1);
	memcpy(out, "\x17\x03\x03\x40\x12", 5);
	assert_int_equal(tls_record_len(out, 5), -1);
	tls_cipher_free(c);
}

/* ---- connections ---------------------------------------------------------- */

struct got {
	unsigned int n;
	uint32_t tag, len;
	uint64_t sum;
};

static int count(void *arg, const struct frame *f)
{
	struct got *g = arg;
	uint32_t i;

	g->n++;
	g->tag = f->tag;
	g->len = f->len;
	for (i = 0; i < f->len; i++)
		g->sum += f->data[i];
	return 0;
}

static void test_conn(void **state)
{
	static uint8_t data[FRAME_MAX];
	struct side c, s;
	struct conn a, b;
	struct got g = { 0 };
	uint8_t frame[FRAME_HEADER + 4], record[sizeof(frame) + TLS_OVERHEAD];
	uint64_t sum = 0;
	char why[128];
	unsigned int i;
	ssize_t n;

	(void)state;
	connected(&c, &s);
	assert_int_equal(conn_init(&a, c.fd, &c.keys), 0);
	assert_int_equal(conn_init(&b, s.fd, &s.keys), 0);
	for (i = 0; i < sizeof(data); i++)
		sum += data[i] = (uint8_t)(i * 7);
	/* Empty, small, of several records; more than a socket takes. */
	assert_int_equal(conn_send(&a, F_ALIVE, 1, NULL, 0), 0);
	for (i = 0; i < 40; i++)
		assert_int_equal(conn_send(&a, F_KERNEL, 2 + i, data, i % 2 ? sizeof(data) : 3), 0);
	assert_true(conn_pending(&a) > 0);
	while (g.n < 41) {
		conn_flush(&a);
		assert_int_equal(conn_receive(&b, count, &g, why, sizeof(why)), 0);
	}
	assert_int_equal(conn_pending(&a), 0);
	assert_int_equal(g.tag, 41);
	assert_int_equal(g.len, sizeof(data));
	assert_true(g.sum == 20 * (sum + data[0] + data[1] + data[2]));

	/* The last words count only where they are expected, once, and after them nothing does. */
	frame_header(frame, F_ENDED, 77, 4);
	memset(frame + FRAME_HEADER, 1, 4);
	assert_int_equal(tls_seal_once(&s.keys.last, TLS_LAST_WORDS, record, frame, sizeof(frame)), 0);
	assert_int_equal(send(b.fd, record, sizeof(record), 0), sizeof(record));
	conn_take_last(&a);
	assert_int_equal(conn_receive(&a, count, &g, why, sizeof(why)), 0);
	assert_int_equal(g.tag, 77);
	assert_int_equal(send(b.fd, record, sizeof(record), 0), sizeof(record));
	assert_int_equal(conn_receive(&a, count, &g, why, sizeof(why)), -1);
	assert_int_equal(send(a.fd, record, sizeof(record), 0), sizeof(record));
	assert_int_equal(conn_receive(&b, count, &g, why, sizeof(why)), -1);
	conn_close(&a);
	conn_close(&b);

	/* A byte changed on the way. */
	connected(&c, &s);
	assert_int_equal(conn_init(&b, s.fd, &s.keys), 0);
	assert_int_equal(tls_seal_once(&c.keys.tx, TLS_DATA, record, frame, sizeof(frame)), 0);
	record[20] ^= 1;
	n = send(c.fd, record, sizeof(record), 0);
	assert_int_equal(n, sizeof(record));
	assert_int_equal(conn_receive(&b, count, &g, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "changed on the way"));
	conn_close(&b);
	close(c.fd);
}

/* ---- fuzz ----------------------------------------------------------------- */

static void test_fuzz_records(void **state)
{
	struct tls_half tx = { .key = { 9 } }, rx;
	uint8_t plain[300], record[300 + TLS_OVERHEAD], back[TLS_RECORD_MAX];
	struct tls_cipher *c = tls_cipher(&tx);
	unsigned int i, k, n = rounds(2000) * 10;
	size_t len;
	long size;

	(void)state;
	seed();
	for (i = 0; i < n; i++) {
		len = 1 + rnd() % 256;
		tx.seq = 5;
		tls_seal(c, &tx, TLS_DATA, record, plain, len);
		for (k = (unsigned int)(1 + rnd() % 4); k; k--)
			record[rnd() % (i % 2 ? TLS_HEADER : len + TLS_OVERHEAD)] = (uint8_t)rnd();
		size = tls_record_len(record, sizeof(record));
		if (size <= 0 || (size_t)size > sizeof(record))
			continue;
		rx = tx;
		rx.seq = 5;
		/* Either unchanged or refused. */
		size = tls_open(c, &rx, back, record, (size_t)size);
		assert_true(size < 0 || (size_t)size == len);
	}
	tls_cipher_free(c);
}

/* What a client of another key sends first, mutated, to a server. */
static void test_fuzz_handshake(void **state)
{
	struct cluster_key key = { .bytes = { 3 } };
	struct tls_handshake *client, *server;
	uint8_t good[2048], bad[2048];
	struct tls_keys keys;
	char err[256];
	unsigned int i, k;
	ssize_t len;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	client = tls_begin(pair[0], &key, false);
	assert_int_equal(tls_step(client, &keys, err, sizeof(err)), POLLIN);
	len = recv(pair[1], good, sizeof(good), 0);
	assert_true(len > 100);
	tls_end(client);
	close(pair[0]);
	close(pair[1]);
	seed();
	for (i = 0; i < rounds(2000); i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		memcpy(bad, good, (size_t)len);
		for (k = (unsigned int)(1 + rnd() % 6); k; k--)
			bad[rnd() % (uint64_t)len] = (uint8_t)rnd();
		server = tls_begin(pair[0], &key, true);
		assert_non_null(server);
		assert_int_equal(send(pair[1], bad, (size_t)len - rnd() % 3, 0) > 0, 1);
		/* It never ends well: the client's second flight is missing. */
		assert_int_not_equal(tls_step(server, &keys, err, sizeof(err)), 0);
		assert_int_not_equal(tls_step(server, &keys, err, sizeof(err)), 0);
		tls_end(server);
		close(pair[0]);
		close(pair[1]);
	}
}

/*
 * A client that never comes to the end: RFC 8446 section 5 lets ChangeCipherSpec
 * records pass without limit, and other alerts are no end by themselves.
 */
static void test_endless(void **state)
{
	static const uint8_t ccs[] = { 0x14, 3, 3, 0, 1, 1 }, alert[] = { 0x15, 3, 3, 0, 2, 1, 90 };
	struct cluster_key key = { .bytes = { 3 } };
	struct tls_handshake *client, *server;
	struct tls_keys keys;
	char err[256];
	unsigned int kind, i;
	size_t sent;
	int pair[2], ret;

	(void)state;
	for (kind = 0; kind < 2; kind++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		client = tls_begin(pair[0], &key, false);
		server = tls_begin(pair[1], &key, true);
		assert_int_equal(tls_step(client, &keys, err, sizeof(err)), POLLIN);
		assert_int_equal(tls_step(server, &keys, err, sizeof(err)), POLLIN);
		for (ret = POLLIN, sent = 0, i = 0; ret > 0 && sent < 1 << 20; i++) {
			if (kind)
				sent += (size_t)send(pair[0], alert, sizeof(alert), MSG_NOSIGNAL);
			else
				sent += (size_t)send(pair[0], ccs, sizeof(ccs), MSG_NOSIGNAL);
			if (i % 16 == 15)
				ret = tls_step(server, &keys, err, sizeof(err));
		}
		print_message("after %zu bytes: %s\n", sent, err);
		assert_int_equal(ret, -1);
		assert_true(sent <= 8192 + 16 * sizeof(alert));
		tls_end(client);
		tls_end(server);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_residue),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_conn),
		cmocka_unit_test(test_fuzz_records),
		cmocka_unit_test(test_fuzz_handshake),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
