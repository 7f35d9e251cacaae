// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm: what runs on this host.  Asks vmmd for guests (ctlproto.h) and the
 * kernel module for spaces (genl.h), and prints tables, or JSON for programs.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/cvmm.h>
#include <linux/cvmm_netlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/ctlproto.h"
#include "vmmd/genl.h"
#include "vmmd/stats.h"
#include "vmmd/version.h"

#define EXIT_USAGE	64
#define EXIT_UNAVAILABLE 69

#define MAX_FIELDS	16
#define MAX_GUESTS	256

static bool json;
static const char *socket_path = CTL_SOCKET;

/* One line of an answer: key=value fields. */
struct record {
	char line[CTL_LINE_MAX];
	unsigned int nr;
	const char *key[MAX_FIELDS], *value[MAX_FIELDS];
};

static const char *field(const struct record *r, const char *key)
{
	unsigned int i;

	for (i = 0; i < r->nr; i++)
		if (!strcmp(r->key[i], key))
			return r->value[i];
	return "";
}

static void split(struct record *r)
{
	char *s = r->line, *next, *eq;

	s[strcspn(s, "\n")] = '\0';
	for (r->nr = 0; s && *s && r->nr < MAX_FIELDS; s = next) {
		next = strchr(s, '\t');
		if (next)
			*next++ = '\0';
		eq = strchr(s, '=');
		if (eq)
			*eq++ = '\0';
		r->key[r->nr] = s;
		r->value[r->nr++] = eq ? eq : "";
	}
}

/* ---- vmmd ----------------------------------------------------------------- */

static FILE *ask(const char *request, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	FILE *f = NULL;
	int fd;

	if (strlen(socket_path) >= sizeof(sa.sun_path)) {
		fprintf(stderr, "cvmm: %s: the path is too long\n", socket_path);
		return NULL;
	}
	strcpy(sa.sun_path, socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		f = fdopen(fd, "r+");
	if (!f) {
		fprintf(stderr, "cvmm: %s: %s%s\n", socket_path, strerror(errno),
			errno == ENOENT || errno == ECONNREFUSED ? " (does vmmd run?)" : "");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	fprintf(f, name ? "%s %s\n" : "%s\n", request, name);
	fflush(f);
	return f;
}

/* The next record of an answer: 1, 0 at its end, -1 after a message on an error. */
static int next_record(FILE *f, struct record *r)
{
	if (!fgets(r->line, sizeof(r->line), f)) {
		fputs("cvmm: vmmd closed the connection\n", stderr);
		return -1;
	}
	split(r);
	if (r->nr && !strcmp(r->key[0], "ok"))
		return 0;
	if (r->nr && !strcmp(r->key[0], "error")) {
		fprintf(stderr, "cvmm: %s\n", r->value[0]);
		return -1;
	}
	return 1;
}

/* ---- output --------------------------------------------------------------- */

static const char *size_text(uint64_t bytes, char buf[32])
{
	if (bytes >= 1 << 30 && !(bytes & ((1 << 30) - 1)))
		snprintf(buf, 32, "%" PRIu64 "G", bytes >> 30);
	else if (bytes >= 1 << 20)
		snprintf(buf, 32, "%" PRIu64 "M", bytes >> 20);
	else
		snprintf(buf, 32, "%" PRIu64, bytes);
	return buf;
}

static const char *age_text(const char *since, char buf[32])
{
	long long s = (long long)time(NULL) - atoll(since);

	if (s < 0)
		s = 0;
	if (s >= 86400)
		snprintf(buf, 32, "%lldd%lldh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(buf, 32, "%lldh%lldm", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%lldm%llds", s / 60, s % 60);
	return buf;
}

static void guest_json(const struct record *r)
{
	unsigned int i;

	printf("{");
	for (i = 0; i < r->nr; i++) {
		printf("%s", i ? ", " : "");
		json_string(stdout, r->key[i]);
		printf(": ");
		/* Names and states stay texts whatever they look like. */
		if (strspn(r->value[i], "0123456789") == strlen(r->value[i]) && *r->value[i] &&
		    strcmp(r->key[i], "name") && strcmp(r->key[i], "id"))
			printf("%s", r->value[i]);
		else
			json_string(stdout, r->value[i]);
	}
	printf("}");
}

static int list(const char *request, const char *name)
{
	char memory[32], age[32];
	struct record r;
	unsigned int n = 0;
	FILE *f;
	int ret;

	f = ask(request, name);
	if (!f)
		return EXIT_UNAVAILABLE;
	while ((ret = next_record(f, &r)) > 0) {
		if (json) {
			printf(n++ ? ",\n  " : "[\n  ");
			guest_json(&r);
			continue;
		}
		if (!n++)
			printf("%-20s %-6s %6s %8s %-10s %8s %5s %s\n", "NAME", "NODE", "VCPUS", "MEMORY",
			       "STATE", "PID", "BOOT", "AGE");
		printf("%-20s %2s/%-3s %6s %8s %-10s %8s %5s %s\n", field(&r, "name"), field(&r, "node"),
		       field(&r, "nodes"), field(&r, "vcpus"),
		       size_text(strtoull(field(&r, "memory"), NULL, 10), memory), field(&r, "state"),
		       field(&r, "pid"), field(&r, "boot"), age_text(field(&r, "since"), age));
	}
	if (json && !ret)
		printf(n ? "\n]\n" : "[]\n");
	fclose(f);
	return ret ? EXIT_UNAVAILABLE : 0;
}

static int stop(const char *name)
{
	struct record r;
	FILE *f;
	int ret;

	f = ask("stop", name);
	if (!f)
		return EXIT_UNAVAILABLE;
	while ((ret = next_record(f, &r)) > 0)
		;
	fclose(f);
	return ret ? EXIT_UNAVAILABLE : 0;
}

/* ---- statistics ----------------------------------------------------------- */

static const char *link_state(uint32_t state)
{
	switch (state) {
	case CVMM_NL_LINK_HELLO:
		return "hello";
	case CVMM_NL_LINK_UP:
		return "up";
	default:
		return "down";
	}
}

static int copy_space(void *arg, const struct genl_space *s)
{
	memcpy(arg, s, sizeof(*s));
	return 1;
}

static int add_counter(void *arg, const char *counter, uint64_t value)
{
	stats_add(arg, counter, value);
	return 0;
}

static void space_table(const struct genl_space *s)
{
	char a[32], b[32], c[32];
	unsigned int i;

	printf("space %s: host %u of %u, boot %u, %s%s%s\n", s->name, s->host_id, s->nr_hosts, s->epoch,
	       s->state == CVMM_SPACE_FAILED ? "failed: " : "live",
	       s->state == CVMM_SPACE_FAILED ? s->reason : "", "");
	printf("  memory %s, at home here %s, held here %s, directory %" PRIu64 " bytes\n",
	       size_text(s->pages << 12, a), size_text(s->home_pages << 12, b),
	       size_text(s->frames << 12, c), s->meta_bytes);
	if (s->nr_links)
		printf("  %-6s %-6s %12s %14s %12s %14s %8s\n", "PEER", "LINK", "TX MSGS", "TX BYTES",
		       "RX MSGS", "RX BYTES", "QUEUED");
	for (i = 0; i < s->nr_links; i++)
		printf("  %-6u %-6s %12" PRIu64 " %14" PRIu64 " %12" PRIu64 " %14" PRIu64 " %8u\n",
		       s->link[i].peer, link_state(s->link[i].state), s->link[i].tx_msgs,
		       s->link[i].tx_bytes, s->link[i].rx_msgs, s->link[i].rx_bytes, s->link[i].tx_queued);
}

static void space_json(const struct genl_space *s)
{
	unsigned int i;

	printf("{\"host\": %u, \"hosts\": %u, \"epoch\": %u, \"state\": \"%s\", \"reason\": ",
	       s->host_id, s->nr_hosts, s->epoch, s->state == CVMM_SPACE_FAILED ? "failed" : "live");
	json_string(stdout, s->reason);
	printf(", \"pages\": %" PRIu64 ", \"home_pages\": %" PRIu64 ", \"frames\": %" PRIu64
	       ", \"meta_bytes\": %" PRIu64 ", \"links\": [", s->pages, s->home_pages, s->frames, s->meta_bytes);
	for (i = 0; i < s->nr_links; i++)
		printf("%s{\"peer\": %u, \"state\": \"%s\", \"tx_msgs\": %" PRIu64 ", \"tx_bytes\": %" PRIu64
		       ", \"rx_msgs\": %" PRIu64 ", \"rx_bytes\": %" PRIu64 ", \"tx_queued\": %u}", i ? ", " : "",
		       s->link[i].peer, link_state(s->link[i].state), s->link[i].tx_msgs,
		       s->link[i].tx_bytes, s->link[i].rx_msgs, s->link[i].rx_bytes, s->link[i].tx_queued);
	printf("]}");
}

/* Counters of the guest's process, from vmmd.  A guest of cvmm-run alone is not known there. */
static int vmmd_counters(const char *name, struct stats *s)
{
	struct record r;
	FILE *f;
	int ret;

	f = ask("stats", name);
	if (!f)
		return -1;
	while ((ret = next_record(f, &r)) > 0)
		stats_add(s, field(&r, "counter"), strtoull(field(&r, "value"), NULL, 10));
	fclose(f);
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stat_entry *)a)->name, ((const struct stat_entry *)b)->name);
}

static int stat_guest(const char *name)
{
	static struct genl_space space;
	struct stats s = { 0 };
	bool have_space = false, have_vm;
	struct genl *g;
	char err[256];
	unsigned int i;

	g = genl_open(err, sizeof(err));
	if (g) {
		have_space = genl_spaces(g, name, copy_space, &space) == 1;
		genl_counters(g, name, add_counter, &s);
		genl_close(g);
	} else {
		fprintf(stderr, "cvmm: %s\n", err);
	}
	have_vm = !vmmd_counters(name, &s);
	if (!have_space && !have_vm) {
		stats_free(&s);
		return EXIT_UNAVAILABLE;
	}
	if (s.nr)
		qsort(s.entry, s.nr, sizeof(s.entry[0]), by_name);
	if (json) {
		printf("{\n  \"name\": ");
		json_string(stdout, name);
		printf(",\n  \"space\": ");
		if (have_space)
			space_json(&space);
		else
			printf("null");
		printf(",\n  \"counters\": ");
		stats_json(stdout, &s, "  ");
		printf("\n}\n");
	} else {
		if (have_space)
			space_table(&space);
		for (i = 0; i < s.nr; i++)
			if (s.entry[i].value)
				printf("  %-40s %16" PRIu64 "\n", s.entry[i].name, s.entry[i].value);
	}
	stats_free(&s);
	return 0;
}

struct names {
	char name[MAX_GUESTS][GENL_NAME_LEN];
	unsigned int nr;
};

static int add_name(void *arg, const struct genl_space *s)
{
	struct names *n = arg;

	if (n->nr < MAX_GUESTS)
		strcpy(n->name[n->nr++], s->name);
	return 0;
}

/* Without a name: all spaces of this host, briefly. */
static int stat_all(void)
{
	static struct genl_space space;
	static struct names names;
	struct genl *g;
	char err[256];
	unsigned int i, n = 0;
	int ret;

	g = genl_open(err, sizeof(err));
	if (!g) {
		fprintf(stderr, "cvmm: %s\n", err);
		return EXIT_UNAVAILABLE;
	}
	ret = genl_spaces(g, NULL, add_name, &names);
	for (i = 0; i < names.nr; i++) {
		if (genl_spaces(g, names.name[i], copy_space, &space) != 1)
			continue;
		if (json) {
			printf(n++ ? ",\n  {\"name\": " : "[\n  {\"name\": ");
			json_string(stdout, space.name);
			printf(", \"space\": ");
			space_json(&space);
			printf("}");
		} else {
			space_table(&space);
		}
	}
	if (json)
		printf(n ? "\n]\n" : "[]\n");
	genl_close(g);
	if (ret < 0) {
		fprintf(stderr, "cvmm: the module does not answer: %s\n", strerror(-ret));
		return EXIT_UNAVAILABLE;
	}
	return 0;
}

/* ---- events ---------------------------------------------------------------- */

static void event_line(const char *source, const char *event, const char *name, const char *node,
		       const char *peer, const char *text)
{
	char now[32];
	struct tm tm;
	time_t t = time(NULL);

	localtime_r(&t, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%S", &tm);
	if (json) {
		printf("{\"time\": \"%s\", \"source\": \"%s\", \"event\": \"%s\", \"name\": ", now, source, event);
		json_string(stdout, name);
		printf(", \"node\": %s, \"peer\": %s, \"text\": ", node, *peer ? peer : "null");
		json_string(stdout, text);
		printf("}\n");
	} else {
		printf("%s %-6s %-12s %s/%s%s%s%s%s\n", now, source, event, name, node, *peer ? " peer " : "", peer,
		       *text ? ": " : "", text);
	}
	fflush(stdout);
}

static int on_event(void *arg, const struct genl_event *e)
{
	static const char *const names[] = {
		[CVMM_NL_EVENT_SPACE_NEW] = "space-new",
		[CVMM_NL_EVENT_SPACE_GONE] = "space-gone",
		[CVMM_NL_EVENT_SPACE_FAILED] = "space-failed",
		[CVMM_NL_EVENT_LINK_UP] = "link-up",
		[CVMM_NL_EVENT_LINK_DOWN] = "link-down",
	};
	char node[16], peer[16] = "";

	(void)arg;
	snprintf(node, sizeof(node), "%u", e->host_id);
	if (e->peer != ~0U)
		snprintf(peer, sizeof(peer), "%u", e->peer);
	event_line("module", e->event && e->event < sizeof(names) / sizeof(names[0]) ? names[e->event] : "?",
		   e->name, node, peer, e->reason);
	return 0;
}

/* Until interrupted, or until nobody is left to tell anything. */
static int events(void)
{
	struct pollfd p[2] = { { .fd = -1, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct record r;
	struct genl *g;
	char err[256];
	FILE *f;

	f = ask("events", NULL);
	if (f && next_record(f, &r)) {
		fclose(f);
		f = NULL;
	}
	g = genl_open(err, sizeof(err));
	if (g && genl_subscribe(g)) {
		snprintf(err, sizeof(err), "its event group cannot be joined");
		genl_close(g);
		g = NULL;
	}
	if (!g)
		fprintf(stderr, "cvmm: no events of the module: %s\n", err);
	if (f)
		p[0].fd = fileno(f);
	if (f)
		setvbuf(f, NULL, _IONBF, 0);
	if (g)
		p[1].fd = genl_fd(g);
	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents) {
			if (next_record(f, &r) < 0) {
				fclose(f);
				p[0].fd = -1;
			} else {
				event_line("vmmd", field(&r, "event"), field(&r, "name"), field(&r, "node"), "",
					   field(&r, "text"));
			}
		}
		if (p[1].revents && genl_events(g, on_event, NULL) == -ENOBUFS)
			fputs("cvmm: events were lost\n", stderr);
	}
	return EXIT_UNAVAILABLE;
}

static void usage(FILE *f)
{
	fputs("Usage: cvmm [OPTION]... COMMAND [NAME]\n"
	      "Show and stop guests' nodes on this host.\n"
	      "\n"
	      "  list           all guests' nodes that vmmd runs here\n"
	      "  status NAME    one of them\n"
	      "  stop NAME      end the guest, on all its hosts\n"
	      "  stat [NAME]    memory, links and counters of a guest here; without NAME, of all, briefly\n"
	      "  events         print what happens, until interrupted\n"
	      "\n"
	      "  -j, --json         for programs\n"
	      "  -s, --socket=PATH  vmmd's socket (default " CTL_SOCKET ")\n"
	      "  -V, --version      print the version\n"
	      "  -h, --help         print this\n"
	      "\n"
	      "Exit status: 0 done, 64 wrong usage, 69 vmmd, the module or the guest is not there.\n"
	      "See cvmm(1).\n", f);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "socket", required_argument, NULL, 's' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *command, *name;
	int opt;

	while ((opt = getopt_long(argc, argv, "js:Vh", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			json = true;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'V':
			puts("cvmm " VMMD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("Try 'cvmm --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	command = optind < argc ? argv[optind] : "";
	name = optind + 1 < argc ? argv[optind + 1] : NULL;
	if (name && !conf_name_ok(name)) {
		fprintf(stderr, "cvmm: \"%s\" is not a guest's name\n", name);
		return EXIT_USAGE;
	}
	if (argc - optind <= 2) {
		if (!strcmp(command, "list") && !name)
			return list("list", NULL);
		if (!strcmp(command, "status") && name)
			return list("status", name);
		if (!strcmp(command, "stop") && name)
			return stop(name);
		if (!strcmp(command, "stat") || !strcmp(command, "stats"))
			return name ? stat_guest(name) : stat_all();
		if (!strcmp(command, "events") && !name)
			return events();
	}
	fprintf(stderr, "cvmm: %s\nTry 'cvmm --help'.\n",
		*command ? "no such command, or wrong arguments" : "which command?");
	return EXIT_USAGE;
}
