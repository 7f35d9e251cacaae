// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guest.cfg: libconfig syntax, read into a struct vm_conf.  Every key is in
 * one of two tables (the guest, a node); what is in no table is an error.
 * guest.cfg(5) describes the keys.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "vmmd/conf.h"

#define MAX_FILE	(1U << 20)

/* What one parse carries around. */
struct reader {
	struct vm_conf *conf;
	const char *name;		/* of the file, for messages */
	char *err;
	size_t errlen;
	uint64_t memory;		/* as given for the whole guest, 0: not given */
	unsigned int vcpus;		/* at the top level, 0: not given */
	const char *cpus;
	int numa_node;
};

static int fail(struct reader *r, const config_setting_t *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "file:line: message"; without @at the message is about the file as a whole. */
static int fail(struct reader *r, const config_setting_t *at, const char *fmt, ...)
{
	const char *file = at ? config_setting_source_file(at) : NULL;
	unsigned int line = at ? config_setting_source_line(at) : 0;
	va_list ap;
	int n;

	if (line)
		n = snprintf(r->err, r->errlen, "%s:%u: ", file ? file : r->name, line);
	else
		n = snprintf(r->err, r->errlen, "%s: ", r->name);
	if (n < 0 || (size_t)n >= r->errlen)
		return -1;
	va_start(ap, fmt);
	vsnprintf(r->err + n, r->errlen - n, fmt, ap);
	va_end(ap);
	return -1;
}

bool conf_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= CONF_NAME_LEN || !isalnum((unsigned char)name[0]))
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		      "0123456789._-") == len;
}

int conf_parse_size(const char *text, uint64_t *bytes)
{
	static const char suffix[] = "KMGT";
	unsigned long long value;
	unsigned int shift = 0;
	const char *s;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -1;
	if (*end) {
		s = strchr(suffix, toupper((unsigned char)*end));
		if (!s || end[1])
			return -1;
		shift = 10 * (unsigned int)(s - suffix + 1);
	}
	if (shift && value >> (64 - shift))
		return -1;
	*bytes = (uint64_t)value << shift;
	return 0;
}

int conf_parse_cpus(const char *list, cpu_set_t *set)
{
	unsigned long first, last;
	const char *p = list;
	char *end;

	CPU_ZERO(set);
	do {
		if (!isdigit((unsigned char)*p))
			return -1;
		first = last = strtoul(p, &end, 10);
		if (*end == '-') {
			p = end + 1;
			if (!isdigit((unsigned char)*p))
				return -1;
			last = strtoul(p, &end, 10);
		}
		if (last < first || last >= CPU_SETSIZE)
			return -1;
		for (; first <= last; first++)
			CPU_SET(first, set);
		p = end + 1;
	} while (*end == ',');
	return *end ? -1 : CPU_COUNT(set);
}

/* "1G", "96M", ... for messages. */
static const char *size_text(uint64_t bytes, char buf[32])
{
	static const char suffix[] = "\0KMGT";
	unsigned int i = 0;

	while (i < 4 && bytes && !(bytes & 1023)) {
		bytes >>= 10;
		i++;
	}
	snprintf(buf, 32, "%llu%.1s", (unsigned long long)bytes, suffix + i);
	return buf;
}

static int get_string(struct reader *r, const config_setting_t *s, const char **out)
{
	*out = config_setting_get_string(s);
	if (!*out)
		return fail(r, s, "%s: a string is needed, as in %s = \"...\";",
			    config_setting_name(s), config_setting_name(s));
	return 0;
}

static int get_int(struct reader *r, const config_setting_t *s, long long min, long long max,
		   long long *out)
{
	int type = config_setting_type(s);

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return fail(r, s, "%s: a number is needed, %lld to %lld",
			    config_setting_name(s), min, max);
	*out = config_setting_get_int64(s);
	if (*out < min || *out > max)
		return fail(r, s, "%s = %lld is out of range: %lld to %lld",
			    config_setting_name(s), *out, min, max);
	return 0;
}

static int get_size(struct reader *r, const config_setting_t *s, uint64_t *out)
{
	char min[32], max[32];
	const char *text;
	long long n;

	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		n = config_setting_get_int64(s);
		if (n < 0)
			return fail(r, s, "%s = %lld is negative", config_setting_name(s), n);
		*out = (uint64_t)n;
		break;
	default:
		text = config_setting_get_string(s);
		if (!text || conf_parse_size(text, out))
			return fail(r, s, "%s: a size is needed: bytes, or a number with K, M, G or T "
				    "in quotes, as in \"512M\"", config_setting_name(s));
	}
	if (*out < CONF_MEMORY_UNIT || *out > CONF_MAX_MEMORY)
		return fail(r, s, "%s is out of range: %s to %s", config_setting_name(s),
			    size_text(CONF_MEMORY_UNIT, min), size_text(CONF_MAX_MEMORY, max));
	if (*out % CONF_MEMORY_UNIT)
		return fail(r, s, "%s is not a multiple of 2M; the nearest below is %s",
			    config_setting_name(s),
			    size_text(*out - *out % CONF_MEMORY_UNIT, min));
	return 0;
}

/* Paths are relative to the configuration file's directory. */
static int get_path(struct reader *r, const config_setting_t *s, char **out)
{
	const char *text, *slash;

	if (get_string(r, s, &text))
		return -1;
	if (!*text)
		return fail(r, s, "%s: the path is empty", config_setting_name(s));
	free(*out);
	*out = NULL;
	slash = strrchr(r->name, '/');
	if (*text == '/' || !slash)
		*out = strdup(text);
	else if (asprintf(out, "%.*s/%s", (int)(slash - r->name), r->name, text) < 0)
		*out = NULL;
	return *out ? 0 : fail(r, s, "out of memory");
}

static int get_cpus(struct reader *r, const config_setting_t *s, const char **out)
{
	cpu_set_t set;

	if (get_string(r, s, out))
		return -1;
	if (conf_parse_cpus(*out, &set) < 0)
		return fail(r, s, "%s = \"%.64s\": a list of host CPUs 0 to %d is needed, as in \"2-3,8\"",
			    config_setting_name(s), *out, CPU_SETSIZE - 1);
	return 0;
}

/* ---- one node ----------------------------------------------------------- */

static int node_host(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	const char *text;

	if (get_string(r, s, &text))
		return -1;
	if (!*text || strlen(text) > 253 || strpbrk(text, " \t\r\n/"))
		return fail(r, s, "host = \"%.64s\": a host's name or address is needed", text);
	n->host = strdup(text);
	return n->host ? 0 : fail(r, s, "out of memory");
}

static int node_port(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	long long v = 0;

	if (get_int(r, s, 1, 65535, &v))
		return -1;
	n->port = (uint16_t)v;
	return 0;
}

static int node_vcpus(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	long long v = 0;

	if (get_int(r, s, 1, CONF_MAX_VCPUS, &v))
		return -1;
	n->vcpus = (unsigned int)v;
	return 0;
}

static int node_memory(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	return get_size(r, s, &n->memory);
}

static int node_cpus(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	const char *text;

	if (get_cpus(r, s, &text))
		return -1;
	n->cpus = strdup(text);
	return n->cpus ? 0 : fail(r, s, "out of memory");
}

static int node_numa(struct reader *r, const config_setting_t *s, struct conf_node *n)
{
	long long v = 0;

	if (get_int(r, s, -1, 1023, &v))
		return -1;
	n->numa_node = (int)v;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct reader *r, const config_setting_t *s, struct conf_node *n);
} node_keys[] = {
	{ "host",	node_host },
	{ "port",	node_port },
	{ "vcpus",	node_vcpus },
	{ "memory",	node_memory },
	{ "cpus",	node_cpus },
	{ "numa_node",	node_numa },
};

static int read_node(struct reader *r, const config_setting_t *group, struct conf_node *n)
{
	const config_setting_t *s;
	unsigned int k;
	int i;

	if (!config_setting_is_group(group))
		return fail(r, group, "each node is a group, as in { host = \"10.0.0.1\"; vcpus = 2; }");
	n->port = CONF_DEFAULT_PORT;
	n->numa_node = -1;
	n->vcpus = 1;
	for (i = 0; i < config_setting_length(group); i++) {
		s = config_setting_get_elem(group, i);
		for (k = 0; k < sizeof(node_keys) / sizeof(node_keys[0]); k++)
			if (!strcmp(config_setting_name(s), node_keys[k].name))
				break;
		if (k == sizeof(node_keys) / sizeof(node_keys[0]))
			return fail(r, s, "unknown key \"%.64s\" in a node; known are "
				    "host, port, vcpus, memory, cpus, numa_node",
				    config_setting_name(s));
		if (node_keys[k].set(r, s, n))
			return -1;
	}
	return 0;
}

/* ---- the guest ---------------------------------------------------------- */

static int guest_name(struct reader *r, const config_setting_t *s)
{
	const char *text;

	if (get_string(r, s, &text))
		return -1;
	if (!conf_name_ok(text))
		return fail(r, s, "name = \"%.80s\": 1 to %d of A-Z a-z 0-9 . _ - are allowed, "
			    "a letter or digit first", text, CONF_NAME_LEN - 1);
	strcpy(r->conf->name, text);
	return 0;
}

static int guest_memory(struct reader *r, const config_setting_t *s)
{
	return get_size(r, s, &r->memory);
}

static int guest_kernel(struct reader *r, const config_setting_t *s)
{
	return get_path(r, s, &r->conf->kernel);
}

static int guest_initrd(struct reader *r, const config_setting_t *s)
{
	return get_path(r, s, &r->conf->initrd);
}

static int guest_cmdline(struct reader *r, const config_setting_t *s)
{
	const char *text;

	if (get_string(r, s, &text))
		return -1;
	if (strlen(text) > CONF_MAX_CMDLINE)
		return fail(r, s, "cmdline has %zu characters; at most %d are allowed",
			    strlen(text), CONF_MAX_CMDLINE);
	free(r->conf->cmdline);
	r->conf->cmdline = strdup(text);
	return r->conf->cmdline ? 0 : fail(r, s, "out of memory");
}

static bool engine_ok(const char *text)
{
	return !strcmp(text, "auto") || !strcmp(text, "/dev/cvmm") || !strcmp(text, "/dev/kvm");
}

static int guest_engine(struct reader *r, const config_setting_t *s)
{
	const char *text;

	if (get_string(r, s, &text))
		return -1;
	if (!engine_ok(text))
		return fail(r, s, "engine = \"%.64s\" is not known; use \"auto\", \"/dev/cvmm\" or \"/dev/kvm\"",
			    text);
	free(r->conf->engine);
	r->conf->engine = strdup(text);
	return r->conf->engine ? 0 : fail(r, s, "out of memory");
}

static int guest_vcpus(struct reader *r, const config_setting_t *s)
{
	long long v = 0;

	if (get_int(r, s, 1, CONF_MAX_VCPUS, &v))
		return -1;
	r->vcpus = (unsigned int)v;
	return 0;
}

static int guest_encryption(struct reader *r, const config_setting_t *s)
{
	if (config_setting_type(s) != CONFIG_TYPE_BOOL)
		return fail(r, s, "encryption is true or false");
	r->conf->encryption = config_setting_get_bool(s);
	return 0;
}

/* One of @nr words; @use: them all, for the message. */
static int get_choice(struct reader *r, const config_setting_t *s, const char *const *words, unsigned int nr,
		      const char *use, unsigned int *out)
{
	const char *text;
	unsigned int i;

	if (get_string(r, s, &text))
		return -1;
	for (i = 0; i < nr; i++) {
		if (!strcmp(text, words[i])) {
			*out = i;
			return 0;
		}
	}
	return fail(r, s, "%s = \"%.64s\" is not known; use %s", config_setting_name(s), text, use);
}

/* 1 to @max, or "auto", which is 0. */
static int get_auto(struct reader *r, const config_setting_t *s, int max, unsigned int *out)
{
	const char *text = config_setting_get_string(s);
	long long v = 0;

	if (text) {
		if (strcmp(text, "auto"))
			return fail(r, s, "%s is \"%.64s\"; allowed are \"auto\" and 1 to %d", config_setting_name(s),
				    text, max);
	} else if (get_int(r, s, 1, max, &v)) {
		return -1;
	}
	*out = (unsigned int)v;
	return 0;
}

static int guest_transport(struct reader *r, const config_setting_t *s)
{
	static const char *const words[CONF_TRANSPORTS] = { "auto", "tcp", "rdma" };
	unsigned int i = 0;

	if (get_choice(r, s, words, CONF_TRANSPORTS, "\"auto\", \"tcp\" or \"rdma\"", &i))
		return -1;
	r->conf->transport = (enum conf_transport)i;
	return 0;
}

static int guest_connections(struct reader *r, const config_setting_t *s)
{
	return get_auto(r, s, CONF_MAX_CONNECTIONS, &r->conf->connections);
}

static int guest_pages(struct reader *r, const config_setting_t *s)
{
	static const char *const words[CONF_PAGES] = { "auto", "4K", "2M", "1G" };
	unsigned int i = 0;

	if (get_choice(r, s, words, CONF_PAGES, "\"auto\", \"4K\", \"2M\" or \"1G\"", &i))
		return -1;
	r->conf->pages = (enum conf_pages)i;
	return 0;
}

static int guest_slowdown(struct reader *r, const config_setting_t *s)
{
	long long v = 0;

	if (get_int(r, s, 1, CONF_MAX_SLOWDOWN, &v))
		return -1;
	r->conf->slowdown = (unsigned int)v;
	return 0;
}

static int guest_min_run(struct reader *r, const config_setting_t *s)
{
	return get_auto(r, s, CONF_MAX_MIN_RUN_US, &r->conf->min_run_us);
}

static int guest_cpus(struct reader *r, const config_setting_t *s)
{
	return get_cpus(r, s, &r->cpus);
}

static int guest_numa(struct reader *r, const config_setting_t *s)
{
	long long v = 0;

	if (get_int(r, s, -1, 1023, &v))
		return -1;
	r->numa_node = (int)v;
	return 0;
}

static int guest_nodes(struct reader *r, const config_setting_t *s)
{
	struct vm_conf *c = r->conf;
	int i, n = config_setting_length(s);

	if (!config_setting_is_list(s))
		return fail(r, s, "nodes is a list of groups: nodes = ( { ... }, { ... } );");
	if (n < 1 || n > CONF_MAX_NODES)
		return fail(r, s, "nodes has %d entries; 1 to %d are allowed", n, CONF_MAX_NODES);
	for (i = 0; i < n; i++) {
		c->nr_nodes = i + 1;
		if (read_node(r, config_setting_get_elem(s, i), &c->node[i]))
			return -1;
	}
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct reader *r, const config_setting_t *s);
} guest_keys[] = {
	{ "name",	guest_name },
	{ "memory",	guest_memory },
	{ "pages",	guest_pages },
	{ "kernel",	guest_kernel },
	{ "initrd",	guest_initrd },
	{ "cmdline",	guest_cmdline },
	{ "engine",	guest_engine },
	{ "encryption",	guest_encryption },
	{ "transport",	guest_transport },
	{ "connections", guest_connections },
	{ "min_run_us",	guest_min_run },
	{ "slowdown",	guest_slowdown },
	{ "vcpus",	guest_vcpus },
	{ "cpus",	guest_cpus },
	{ "numa_node",	guest_numa },
	{ "nodes",	guest_nodes },
};

/* ---- rules across keys -------------------------------------------------- */

/* Without "nodes", the guest is one node on this host. */
static int default_node(struct reader *r)
{
	struct conf_node *n = &r->conf->node[0];

	r->conf->nr_nodes = 1;
	n->port = CONF_DEFAULT_PORT;
	n->vcpus = r->vcpus ? r->vcpus : 1;
	n->numa_node = r->numa_node;
	if (r->cpus) {
		n->cpus = strdup(r->cpus);
		if (!n->cpus)
			return fail(r, NULL, "out of memory");
	}
	return 0;
}

/*
 * Nodes that do not say how much memory they have share what the others leave
 * of the guest's, evenly, in units of 2 MiB; the first ones get the odd units.
 */
static int split_memory(struct reader *r, const config_setting_t *root)
{
	const config_setting_t *at = config_setting_get_member(root, "memory");
	uint64_t given = 0, units, share;
	struct vm_conf *c = r->conf;
	unsigned int i, open = 0;
	char a[32], b[32];

	for (i = 0; i < c->nr_nodes; i++) {
		given += c->node[i].memory;
		open += !c->node[i].memory;
	}
	if (!r->memory) {
		if (open)
			return fail(r, NULL, "memory is missing: memory = \"1G\"; for the guest, or in each node");
		c->memory = given;
		return 0;
	}
	c->memory = r->memory;
	if (!open && given != r->memory)
		return fail(r, at, "memory is %s, but the nodes' memory adds up to %s; leave one of them out",
			    size_text(r->memory, a), size_text(given, b));
	if (!open)
		return 0;
	if (given >= r->memory || r->memory - given < open * CONF_MEMORY_UNIT)
		return fail(r, at, "memory is %s, of which some nodes take %s: nothing is left for the other %u "
			    "(at least 2M each)", size_text(r->memory, a), size_text(given, b), open);
	units = (r->memory - given) / CONF_MEMORY_UNIT;
	for (i = 0; i < c->nr_nodes; i++) {
		if (c->node[i].memory)
			continue;
		share = (units + open - 1) / open;
		c->node[i].memory = share * CONF_MEMORY_UNIT;
		units -= share;
		open--;
	}
	return 0;
}

static bool text_ok(const char *s, size_t max)
{
	return s && *s && strlen(s) <= max;
}

int conf_check(const struct vm_conf *c, char *err, size_t errlen)
{
	const struct conf_node *n, *o;
	uint64_t sum = 0;
	cpu_set_t set;
	unsigned int i, j;
	char a[32], b[32], d[32];

#define REFUSE(...) do { snprintf(err, errlen, __VA_ARGS__); return -1; } while (0)
	if (!conf_name_ok(c->name))
		REFUSE("the guest's name is not allowed");
	if (!text_ok(c->kernel, PATH_MAX))
		REFUSE("kernel is missing: kernel = \"/boot/vmlinuz\";");
	if (c->initrd && !text_ok(c->initrd, PATH_MAX))
		REFUSE("initrd: the path is empty or too long");
	if (!c->cmdline || strlen(c->cmdline) > CONF_MAX_CMDLINE)
		REFUSE("cmdline is longer than %d characters", CONF_MAX_CMDLINE);
	if (!c->engine || !engine_ok(c->engine))
		REFUSE("engine is not one of \"auto\", \"/dev/cvmm\", \"/dev/kvm\"");
	if (c->connections > CONF_MAX_CONNECTIONS)
		REFUSE("connections is out of range: \"auto\" or 1 to %d", CONF_MAX_CONNECTIONS);
	if (c->min_run_us > CONF_MAX_MIN_RUN_US)
		REFUSE("min_run_us is out of range: \"auto\" or 1 to %d", CONF_MAX_MIN_RUN_US);
	if (!c->slowdown || c->slowdown > CONF_MAX_SLOWDOWN)
		REFUSE("slowdown is out of range: 1 to %d", CONF_MAX_SLOWDOWN);
	if (!c->nr_nodes || c->nr_nodes > CONF_MAX_NODES)
		REFUSE("%u nodes; 1 to %d are allowed", c->nr_nodes, CONF_MAX_NODES);
	for (i = 0; i < c->nr_nodes; i++) {
		n = &c->node[i];
		if (!n->vcpus || n->vcpus > CONF_MAX_VCPUS)
			REFUSE("node %u: vcpus is out of range: 1 to %d", i, CONF_MAX_VCPUS);
		if (n->memory < CONF_MEMORY_UNIT || n->memory % CONF_MEMORY_UNIT ||
		    n->memory > CONF_MAX_MEMORY)
			REFUSE("node %u: memory is not a multiple of 2M from 2M on", i);
		if (n->cpus && conf_parse_cpus(n->cpus, &set) < 0)
			REFUSE("node %u: cpus is not a list of CPUs", i);
		if (n->numa_node < -1 || n->numa_node > 1023)
			REFUSE("node %u: numa_node is out of range: -1 to 1023", i);
		if (n->host && !text_ok(n->host, 253))
			REFUSE("node %u: host is empty or too long", i);
		if (c->nr_nodes > 1 && !n->host)
			REFUSE("node %u has no host: with several nodes each needs host = \"...\";", i);
		if (!n->port)
			REFUSE("node %u: port is out of range: 1 to 65535", i);
		for (j = 0; j < i; j++) {
			o = &c->node[j];
			if (!strcasecmp(o->host, n->host) && o->port == n->port)
				REFUSE("nodes %u and %u are both on %s port %u; a guest has one node per host",
				       j, i, n->host, n->port);
		}
		sum += n->memory;
	}
	if (conf_nr_vcpus(c) > CONF_MAX_VCPUS)
		REFUSE("%u vcpus in all; at most %d are allowed", conf_nr_vcpus(c), CONF_MAX_VCPUS);
	if (sum != c->memory)
		REFUSE("the nodes' memory does not add up to the guest's");
	if (sum < CONF_MIN_MEMORY || sum > CONF_MAX_MEMORY)
		REFUSE("memory is %s; %s to %s are allowed", size_text(sum, a),
		       size_text(CONF_MIN_MEMORY, b), size_text(CONF_MAX_MEMORY, d));
	if (c->nr_nodes > 1 && conf_huge_size(c))
		REFUSE("pages of guests of several nodes are 4K, as they move from host to host");
	if (conf_huge_size(c) && sum % conf_huge_size(c))
		REFUSE("memory is %s, which is no multiple of its pages", size_text(sum, a));
	if (c->nr_nodes > 1 && !strcmp(c->engine, "/dev/kvm"))
		REFUSE("engine \"/dev/kvm\" runs guests of one node only; several nodes need \"/dev/cvmm\"");
	if (c->transport == CONF_RDMA && c->encryption)
		REFUSE("RDMA links are not encrypted: transport \"rdma\" needs encryption = false, "
		       "for networks of the hosts alone");
#undef REFUSE
	return 0;
}

static int read_root(struct reader *r, const config_setting_t *root)
{
	struct vm_conf *c = r->conf;
	const config_setting_t *s;
	char why[256];
	unsigned int k;
	int i;

	c->encryption = true;
	for (i = 0; i < config_setting_length(root); i++) {
		s = config_setting_get_elem(root, i);
		for (k = 0; k < sizeof(guest_keys) / sizeof(guest_keys[0]); k++)
			if (!strcmp(config_setting_name(s), guest_keys[k].name))
				break;
		if (k == sizeof(guest_keys) / sizeof(guest_keys[0]))
			return fail(r, s, "unknown key \"%.64s\"; known are name, memory, pages, kernel, initrd, "
				    "cmdline, engine, encryption, transport, connections, min_run_us, slowdown, vcpus, cpus, numa_node, nodes",
				    config_setting_name(s));
		if (guest_keys[k].set(r, s))
			return -1;
	}
	if (c->nr_nodes) {
		static const char *const single[] = { "vcpus", "cpus", "numa_node" };

		for (k = 0; k < 3; k++) {
			s = config_setting_get_member(root, single[k]);
			if (s)
				return fail(r, s, "%s belongs into each node when there are nodes", single[k]);
		}
	} else if (default_node(r)) {
		return -1;
	}
	if (!c->name[0])
		return fail(r, NULL, "name is missing: name = \"demo\";");
	if (!c->kernel)
		return fail(r, NULL, "kernel is missing: kernel = \"/boot/vmlinuz\";");
	if (!c->cmdline)
		c->cmdline = strdup("console=ttyS0");
	if (!c->engine)
		c->engine = strdup("auto");
	if (!c->cmdline || !c->engine)
		return fail(r, NULL, "out of memory");
	if (!c->slowdown)
		c->slowdown = 1;
	if (split_memory(r, root))
		return -1;
	if (conf_check(c, why, sizeof(why)))
		return fail(r, config_setting_get_member(root, "nodes"), "%s", why);
	return 0;
}

static int finish(struct reader *r, config_t *cfg, int parsed)
{
	if (parsed)
		return read_root(r, config_root_setting(cfg));
	snprintf(r->err, r->errlen, "%s:%d: %s; see libconfig syntax in guest.cfg(5)",
		 config_error_file(cfg) ? config_error_file(cfg) : r->name,
		 config_error_line(cfg), config_error_text(cfg));
	return -1;
}

int conf_read_string(struct vm_conf *c, const char *text, const char *name,
		     char *err, size_t errlen)
{
	struct reader r = { .conf = c, .name = name, .err = err, .errlen = errlen, .numa_node = -1 };
	const char *slash = strrchr(name, '/');
	char dir[PATH_MAX];
	config_t cfg;
	int ret;

	memset(c, 0, sizeof(*c));
	config_init(&cfg);
	if (slash && (size_t)(slash - name) < sizeof(dir)) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
		config_set_include_dir(&cfg, slash == name ? "/" : dir);
	}
	ret = finish(&r, &cfg, config_read_string(&cfg, text));
	config_destroy(&cfg);
	return ret;
}

/* The file as a string; libconfig's own reader ends the program on a read error. */
static char *read_text(const char *path)
{
	size_t len = 0, max = 4096;
	char *text = NULL, *more;
	ssize_t n = -1;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	for (;;) {
		more = realloc(text, max + 1);
		if (!more)
			break;
		text = more;
		n = read(fd, text + len, max - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len == max) {
			max *= 2;
			if (max > MAX_FILE) {
				errno = EFBIG;
				n = -1;
				break;
			}
		}
	}
	close(fd);
	if (n) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

int conf_read_file(struct vm_conf *c, const char *path, char *err, size_t errlen)
{
	char *text;
	int ret;

	text = read_text(path);
	if (!text) {
		memset(c, 0, sizeof(*c));
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		return -1;
	}
	ret = conf_read_string(c, text, path, err, errlen);
	free(text);
	return ret;
}

void conf_free(struct vm_conf *c)
{
	unsigned int i;

	for (i = 0; i < c->nr_nodes; i++) {
		free(c->node[i].host);
		free(c->node[i].cpus);
	}
	free(c->kernel);
	free(c->initrd);
	free(c->cmdline);
	free(c->engine);
	memset(c, 0, sizeof(*c));
}
