// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm check: can this host, and can those of a configuration, run guests of
 * several hosts?  Looks at everything and says of each what to do.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/conf.h"
#include "vmmd/conn.h"
#include "vmmd/ctl.h"
#include "vmmd/hostcheck.h"
#include "vmmd/key.h"
#include "vmmd/ktls.h"
#include "vmmd/proto.h"
#include "vmmd/stats.h"
#include "vmmd/tls.h"

#define ASK_MS		5000	/* for each host */
#define MAX_PORTS	64

/* good; not as it could be, which alone stops nothing; a guest would not start */
enum verdict { GOOD, NOTE, BAD };

static json_t *results;		/* with --json */
static bool bad;

static void say(const char *what, enum verdict v, const char *text)
{
	static const char *const shown[] = { "ok", "note", "FAIL" }, *const states[] = { "ok", "note", "fail" };
	json_t *j;

	bad |= v == BAD;
	if (!ctl_json) {
		printf("%-5s %-10s %s\n", shown[v], what, text);
		return;
	}
	j = json_object();
	json_object_set_new(j, "check", json_text(what));
	json_object_set_new(j, "state", json_text(states[v]));
	json_object_set_new(j, "text", json_text(text));
	json_array_append_new(results, j);
}

static void check_ports(enum verdict without)
{
	struct rdma_port port[MAX_PORTS];
	unsigned int i, n = rdma_ports("/sys/class/infiniband", port, MAX_PORTS);
	char text[256];

	if (!n)
		say("rdma", without, "no RDMA device on this host");
	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s port %u: %s, %s%s%s, %s, address %s", port[i].device, port[i].port,
			 port[i].state, port[i].layer, *port[i].netdev ? " " : "", port[i].netdev, port[i].rate,
			 *port[i].address ? port[i].address : "none (give its network interface an IP address)");
		say("rdma", port[i].active && *port[i].address ? GOOD : NOTE, text);
	}
}

/* Ask a node's vmmd, and through the handshake whether it has our key.  0, or -1; @text is what it says, or why not. */
static int ask_node(const struct conf_node *n, unsigned int wants, const struct cluster_key *key, char *text, size_t len)
{
	struct hello h = { .role = HELLO_CHECK, .vm_id = 1, .epoch = 1, .from = NODE_CLIENT, .to = wants, .name = "check" };
	struct tls_keys keys;
	uint32_t status;
	int fd, ret;

	fd = net_connect(n->host, n->port, ASK_MS, text, len);
	if (fd < 0)
		return -1;
	ret = tls_connect(fd, key, now_ms() + ASK_MS, &keys, text, len);
	if (!ret) {
		ret = net_hello(fd, &keys, &h, now_ms() + ASK_MS, &status, text, len);
		explicit_bzero(&keys, sizeof(keys));
	}
	close(fd);
	return ret;
}

static void check_node(const struct vm_conf *c, unsigned int i, unsigned int wants, const struct cluster_key *key)
{
	const struct conf_node *n = &c->node[i];
	char what[32], says[256], text[512];
	int ret;

	snprintf(what, sizeof(what), "node %u", i);
	ret = ask_node(n, wants, key, says, sizeof(says));
	snprintf(text, sizeof(text), "%s port %u: %s", n->host, n->port, says);
	say(what, ret ? BAD : GOOD, text);
	if (ret || !conf_may_rdma(c) || c->transport == CONF_RDMA)
		return;
	/* Where RDMA is taken if it is there. */
	if (ask_node(n, wants | HOST_RDMA, key, says, sizeof(says))) {
		snprintf(text, sizeof(text), "%s: links to it go over TCP: %s", n->host, says);
		say(what, NOTE, text);
	}
}

static int print(void)
{
	if (ctl_json)
		ctl_print_json(results, JSON_INDENT(2));
	return bad ? EXIT_UNAVAILABLE : 0;
}

int ctl_check(const char *path, const char *key_path)
{
	unsigned int i, wants = HOST_ENGINE | HOST_KTLS;
	struct vm_conf conf = { .nr_nodes = 0 };
	struct cluster_key key;
	char text[256];
	bool have_key;
	FILE *f;

	if (path && conf_read_file(&conf, path, text, sizeof(text))) {
		fprintf(stderr, "cvmm: %s\n", text);
		conf_free(&conf);
		return EXIT_USAGE;
	}
	if (path && !conf.encryption)
		wants &= ~HOST_KTLS;
	if (path && conf.transport == CONF_RDMA)
		wants |= HOST_RDMA;
	results = ctl_json ? json_array() : NULL;

	say("module", host_check(HOST_ENGINE, NULL, NULL, text, sizeof(text)) ? BAD : GOOD, text);
	if (!ktls_check(text, sizeof(text)))
		say("tls", GOOD, "the kernel can encrypt links");
	else
		say("tls", wants & HOST_KTLS ? BAD : NOTE, text);
	check_ports(wants & HOST_RDMA ? BAD : NOTE);
	have_key = !key_load(key_path, &key, text, sizeof(text));
	say("key", have_key ? GOOD : BAD, have_key ? key_path : text);
	f = ctl_try_connect(text, sizeof(text));
	say("vmmd", f ? GOOD : BAD, f ? "runs on this host" : text);
	if (f)
		fclose(f);
	if (have_key && !conf_is_local(&conf))
		for (i = 0; i < conf.nr_nodes; i++)
			check_node(&conf, i, wants, &key);
	explicit_bzero(&key, sizeof(key));
	conf_free(&conf);
	return print();
}
