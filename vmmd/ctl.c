// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm: what runs on this host.  Asks vmmd for guests (ctlproto.h) and the
 * kernel module for spaces (genl.h), and prints tables, or JSON for programs.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/conf.h"
#include "vmmd/ctl.h"
#include "vmmd/genl.h"
#include "vmmd/key.h"
#include "vmmd/stats.h"
#include "vmmd/version.h"

bool ctl_json;
static const char *socket_path = CTL_SOCKET, *key_path = KEY_FILE;

/* ---- the module ----------------------------------------------------------- */

struct genl *ctl_module(void)
{
	char err[256];
	struct genl *g = genl_open(err, sizeof(err));

	if (!g)
		fprintf(stderr, "cvmm: %s\n", err);
	return g;
}

int ctl_module_status(int ret, const char *name)
{
	if (!ret)
		return 0;
	if (ret == -ENOENT)
		fprintf(stderr, "cvmm: no guest named \"%s\" has memory on this host\n", name);
	else
		fprintf(stderr, "cvmm: the module does not answer: %s\n", strerror(-ret));
	return EXIT_UNAVAILABLE;
}

/* ---- vmmd ----------------------------------------------------------------- */

const char *ctl_field(const struct record *r, const char *key)
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
	for (r->nr = 0; s && *s && r->nr < CTL_MAX_FIELDS; s = next) {
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

FILE *ctl_try_connect(char *err, size_t errlen)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	FILE *f = NULL;
	int fd;

	if (strlen(socket_path) >= sizeof(sa.sun_path)) {
		snprintf(err, errlen, "%s: the path is too long", socket_path);
		return NULL;
	}
	strcpy(sa.sun_path, socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		f = fdopen(fd, "r+");
	if (!f) {
		snprintf(err, errlen, "%s: %s%s", socket_path, strerror(errno),
			 errno == ENOENT || errno == ECONNREFUSED ? " (does vmmd run?)" : "");
		if (fd >= 0)
			close(fd);
	}
	return f;
}

FILE *ctl_connect(void)
{
	char err[256];
	FILE *f = ctl_try_connect(err, sizeof(err));

	if (!f)
		fprintf(stderr, "cvmm: %s\n", err);
	return f;
}

void ctl_send(FILE *f, const char *request, const char *name)
{
	fprintf(f, name ? "%s %s\n" : "%s\n", request, name);
	fflush(f);
}

FILE *ctl_ask(const char *request, const char *name)
{
	FILE *f = ctl_connect();

	if (f)
		ctl_send(f, request, name);
	return f;
}

int ctl_next(FILE *f, struct record *r)
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

void ctl_print_json(json_t *j, size_t flags)
{
	json_dumpf(j, stdout, flags);
	putchar('\n');
	json_decref(j);
}

const char *ctl_size_text(uint64_t bytes, char buf[32])
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

/* ---- guests --------------------------------------------------------------- */

static json_t *guest_json(const struct record *r)
{
	json_t *j = json_object();
	unsigned int i;
	bool number;

	for (i = 0; i < r->nr; i++) {
		/* Names and states stay texts whatever they look like. */
		number = *r->value[i] && strspn(r->value[i], "0123456789") == strlen(r->value[i]) &&
			 strcmp(r->key[i], "name") && strcmp(r->key[i], "id");
		json_object_set_new(j, r->key[i], number ? json_integer(strtoll(r->value[i], NULL, 10)) :
							   json_text(r->value[i]));
	}
	return j;
}

static void guest_line(const struct record *r)
{
	char memory[32], age[32];

	printf("%-20s %2s/%-3s %6s %8s %-10s %8s %5s %s\n", ctl_field(r, "name"), ctl_field(r, "node"),
	       ctl_field(r, "nodes"), ctl_field(r, "vcpus"),
	       ctl_size_text(strtoull(ctl_field(r, "memory"), NULL, 10), memory), ctl_field(r, "state"),
	       ctl_field(r, "pid"), ctl_field(r, "boot"), age_text(ctl_field(r, "since"), age));
}

static int list(const char *request, const char *name)
{
	json_t *guests = json_array();
	struct record r;
	unsigned int n = 0;
	FILE *f;
	int ret = -1;

	f = ctl_ask(request, name);
	while (f && (ret = ctl_next(f, &r)) > 0) {
		if (ctl_json) {
			json_array_append_new(guests, guest_json(&r));
			continue;
		}
		if (!n++)
			printf("%-20s %-6s %6s %8s %-10s %8s %5s %s\n", "NAME", "NODE", "VCPUS", "MEMORY",
			       "STATE", "PID", "BOOT", "AGE");
		guest_line(&r);
	}
	if (f)
		fclose(f);
	if (ctl_json && !ret)
		ctl_print_json(guests, JSON_INDENT(2));
	else
		json_decref(guests);
	return ret ? EXIT_UNAVAILABLE : 0;
}

static int stop(const char *name)
{
	struct record r;
	FILE *f;
	int ret;

	f = ctl_ask("stop", name);
	if (!f)
		return EXIT_UNAVAILABLE;
	while ((ret = ctl_next(f, &r)) > 0)
		;
	fclose(f);
	return ret ? EXIT_UNAVAILABLE : 0;
}

static int keygen(const char *path)
{
	char err[256];

	if (key_create(path, err, sizeof(err))) {
		fprintf(stderr, "cvmm: %s\n", err);
		return EXIT_CANTCREAT;
	}
	printf("%s: a new cluster key; copy it to the same place on all hosts, with mode 600\n", path);
	return 0;
}

static void usage(FILE *f)
{
	fputs("Usage: cvmm [OPTION]... COMMAND [NAME]\n"
	      "Show and stop guests' nodes on this host.\n"
	      "\n"
	      "  list           all guests' nodes that vmmd runs here\n"
	      "  status NAME    one of them\n"
	      "  stop NAME      end the guest, on all its hosts\n"
	      "  stat [NAME]    memory, links, times and counters of a guest here; without NAME, of all, briefly\n"
	      "  links [NAME]   its links to the other hosts; without NAME, of all guests\n"
	      "  hot NAME       the guest's pages that travel most from and to this host\n"
	      "  events         print what happens, until interrupted\n"
	      "  check [FILE]   can this host, and can those of a guest's configuration, run guests of several hosts?\n"
	      "  keygen [FILE]  make a cluster key, in " KEY_FILE " unless FILE is given\n"
	      "\n"
	      "  -j, --json         for programs\n"
	      "  -s, --socket=PATH  vmmd's socket (default " CTL_SOCKET ")\n"
	      "  -k, --key=FILE     check: the cluster key (default " KEY_FILE ")\n"
	      "\n"
	      "  hot: -n, --count=N    so many pages (20; 0: all)\n"
	      "       -i, --seconds=N  only what happens in the next N seconds\n"
	      "       -m, --map=FILE   name symbols of the guest's kernel: its System.map or kallsyms\n"
	      "       -t, --text=ADDR  where its text begins in guest-physical memory\n"
	      "       -M, --merge FILE...  instead of NAME: what 'cvmm -j hot' printed on several hosts\n"
	      "\n"
	      "  -V, --version      print the version\n"
	      "  -h, --help         print this\n"
	      "\n"
	      "Exit status: 0 done, 64 wrong usage, 69 vmmd, the module or the guest is not there, or a\n"
	      "check has failed, 73 the key file cannot be made.\n"
	      "See cvmm(1).\n", f);
}

/* A whole number up to @max, in any notation of C. */
static bool number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value <= max;
}

static int wrong(const char *what)
{
	fprintf(stderr, "cvmm: %s\nTry 'cvmm --help'.\n", what);
	return EXIT_USAGE;
}

/* @args: what follows the command, ends with NULL */
static int run(const char *command, char **args, const struct hot_options *hot, bool merge)
{
	const char *name = args[0];

	if (!strcmp(command, "hot") && merge && name)
		return ctl_hot(hot, NULL, args);
	if (name && args[1])
		return wrong("too many arguments");
	if (!strcmp(command, "keygen"))
		return keygen(name ? name : KEY_FILE);
	if (!strcmp(command, "check"))
		return ctl_check(name, key_path);
	if (name && !conf_name_ok(name)) {
		fprintf(stderr, "cvmm: \"%s\" is not a guest's name\n", name);
		return EXIT_USAGE;
	}
	if (!strcmp(command, "list") && !name)
		return list("list", NULL);
	if (!strcmp(command, "status") && name)
		return list("status", name);
	if (!strcmp(command, "stop") && name)
		return stop(name);
	if (!strcmp(command, "stat") || !strcmp(command, "stats"))
		return ctl_stat(name);
	if (!strcmp(command, "links"))
		return ctl_links(name);
	if (!strcmp(command, "events") && !name)
		return ctl_events();
	if (!strcmp(command, "hot") && name && !merge)
		return ctl_hot(hot, name, NULL);
	return wrong("no such command, or wrong arguments");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "socket", required_argument, NULL, 's' },
		{ "key", required_argument, NULL, 'k' },
		{ "count", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 'i' },
		{ "map", required_argument, NULL, 'm' },
		{ "text", required_argument, NULL, 't' },
		{ "merge", no_argument, NULL, 'M' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct hot_options hot = { .count = 20 };
	bool merge = false;
	uint64_t n;
	int opt;

	while ((opt = getopt_long(argc, argv, "js:k:n:i:m:t:MVh", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			ctl_json = true;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'k':
			key_path = optarg;
			break;
		case 'n':
			if (!number(optarg, UINT_MAX, &n))
				return wrong("--count takes a number of pages");
			hot.count = (unsigned int)n;
			break;
		case 'i':
			if (!number(optarg, UINT_MAX, &n))
				return wrong("--seconds takes a number of seconds");
			hot.seconds = (unsigned int)n;
			break;
		case 'm':
			hot.map = optarg;
			break;
		case 't':
			if (!number(optarg, (1ULL << 52) - 1, &hot.text) || hot.text % 4096)
				return wrong("--text takes the physical address of a page");
			break;
		case 'M':
			merge = true;
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
	if (optind == argc)
		return wrong("which command?");
	return run(argv[optind], argv + optind + 1, &hot, merge);
}
