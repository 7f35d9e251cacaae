// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm-run: start one guest from its configuration and attach the terminal to
 * its console.  Options, files and the report; local.c and client.c run it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmmd/console.h"
#include "vmmd/run.h"
#include "vmmd/version.h"

#define MAX_BLOB	(4ULL << 30)

static void usage(FILE *f)
{
	fputs("Usage: cvmm-run [OPTION]... GUEST.CFG\n"
	      "Start the guest that GUEST.CFG describes and attach to its console.\n"
	      "In a terminal, Ctrl-] is the escape key: q quits, r resets the guest.\n"
	      "\n"
	      "  -a, --cmdline-append=TEXT  add TEXT to the kernel's command line\n"
	      "  -k, --key=FILE             the cluster key (default " KEY_FILE ")\n"
	      "  -l, --console-log=FILE     write the console's output to FILE too\n"
	      "  -n, --no-reboot            exit when the guest resets, with status 2\n"
	      "  -s, --stats-file=FILE      write how it went to FILE at the end, as JSON\n"
	      "  -v, --verbose              tell each step on standard error\n"
	      "  -V, --version              print the version\n"
	      "  -h, --help                 print this\n"
	      "\n"
	      "Exit status: 0 the guest powered off, 64 wrong usage or configuration,\n"
	      "66 kernel, initrd or cluster key cannot be used, 69 a host cannot run it, 70 internal error,\n"
	      "75 a host was lost, 130 stopped by the user.  See cvmm-run(1), guest.cfg(5).\n", f);
}

/* Read a whole file.  0, or -1 with run->end. */
static int read_blob(struct run *run, const char *what, const char *path, struct blob *b)
{
	struct stat st;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		goto report;
	if (!S_ISREG(st.st_mode)) {
		snprintf(run->end, sizeof(run->end), "%s \"%s\": not a regular file", what, path);
		goto close_fd;
	}
	if (!st.st_size || (uint64_t)st.st_size > MAX_BLOB || (uint64_t)st.st_size > run->conf.memory) {
		snprintf(run->end, sizeof(run->end), "%s \"%s\": %s", what, path,
			 st.st_size ? "does not fit in the guest's memory" : "the file is empty");
		goto close_fd;
	}
	b->data = malloc((size_t)st.st_size);
	if (!b->data)
		goto report;
	while (b->len < (size_t)st.st_size) {
		n = read(fd, b->data + b->len, (size_t)st.st_size - b->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto report;
		if (!n)
			break;
		b->len += (size_t)n;
	}
	close(fd);
	return 0;

report:
	snprintf(run->end, sizeof(run->end), "%s \"%s\": %s", what, path, strerror(errno));
close_fd:
	if (fd >= 0)
		close(fd);
	return -1;
}

static int append_cmdline(struct run *run, const char *more)
{
	char *text;

	if (strlen(run->conf.cmdline) + 1 + strlen(more) > CONF_MAX_CMDLINE) {
		snprintf(run->end, sizeof(run->end), "the command line is longer than %d characters",
			 CONF_MAX_CMDLINE);
		return -1;
	}
	if (asprintf(&text, "%s %s", run->conf.cmdline, more) < 0)
		return -1;
	free(run->conf.cmdline);
	run->conf.cmdline = text;
	return 0;
}

static int write_stats(const struct run *run, const char *path, enum run_status status)
{
	json_t *report = json_object(), *nodes = json_array(), *node;
	unsigned int i;
	FILE *f;
	int ret;

	f = fopen(path, "we");
	if (!f)
		return -1;
	for (i = 0; i < run->conf.nr_nodes; i++) {
		node = json_object();
		json_object_set_new(node, "host", json_text(run->conf.node[i].host ?: "local"));
		json_object_set_new(node, "vcpus", json_integer(run->conf.node[i].vcpus));
		json_object_set_new(node, "memory", json_integer((json_int_t)run->conf.node[i].memory));
		json_object_set_new(node, "counters", stats_json(&run->stats[i]));
		json_array_append_new(nodes, node);
	}
	json_object_set_new(report, "name", json_text(run->conf.name));
	json_object_set_new(report, "status", json_integer(status));
	json_object_set_new(report, "end", json_text(run->end));
	json_object_set_new(report, "boots", json_integer(run->boots));
	json_object_set_new(report, "nodes", nodes);
	ret = json_dumpf(report, f, JSON_INDENT(2)) || fputc('\n', f) == EOF;
	json_decref(report);
	return fclose(f) || ret ? -1 : 0;
}

/* Signals that end the guest in good order come by a descriptor. */
static int open_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;
	unsigned int i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static enum run_status run_guest(struct run *run, const char *console_log, const char *key)
{
	enum run_status status;
	int sigfd;

	if (read_blob(run, "kernel", run->conf.kernel, &run->kernel) ||
	    (run->conf.initrd && read_blob(run, "initrd", run->conf.initrd, &run->initrd)))
		return RUN_NOINPUT;
	if (!conf_is_local(&run->conf) && key_load(key, &run->key, run->end, sizeof(run->end)))
		return RUN_NOINPUT;
	if (getrandom(&run->vm_id, sizeof(run->vm_id), 0) != sizeof(run->vm_id)) {
		snprintf(run->end, sizeof(run->end), "no random numbers: %s", strerror(errno));
		return RUN_INTERNAL;
	}
	run->vm_id |= 1;	/* never 0 */
	sigfd = open_signals();
	if (sigfd < 0) {
		snprintf(run->end, sizeof(run->end), "signalfd: %s", strerror(errno));
		return RUN_INTERNAL;
	}
	if (console_start(console_log, run->end, sizeof(run->end))) {
		status = RUN_USAGE;
	} else {
		status = conf_is_local(&run->conf) ? run_local(run, sigfd) : run_cluster(run, sigfd);
		console_stop();
	}
	close(sigfd);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cmdline-append", required_argument, NULL, 'a' },
		{ "key", required_argument, NULL, 'k' },
		{ "console-log", required_argument, NULL, 'l' },
		{ "no-reboot", no_argument, NULL, 'n' },
		{ "stats-file", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *append = NULL, *console_log = NULL, *stats_file = NULL, *key = KEY_FILE;
	enum run_status status = RUN_USAGE;
	static struct run run;
	char err[512];
	unsigned int i;
	int opt;

	while ((opt = getopt_long(argc, argv, "a:k:l:ns:vVh", options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			append = optarg;
			break;
		case 'k':
			key = optarg;
			break;
		case 'l':
			console_log = optarg;
			break;
		case 'n':
			run.no_reboot = true;
			break;
		case 's':
			stats_file = optarg;
			break;
		case 'v':
			run.verbose = true;
			break;
		case 'V':
			puts("cvmm-run " VMMD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("Try 'cvmm-run --help'.\n", stderr);
			return RUN_USAGE;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "cvmm-run: %s\nTry 'cvmm-run --help'.\n",
			argc == optind ? "which guest? give its configuration file" : "one configuration file only");
		return RUN_USAGE;
	}
	if (conf_read_file(&run.conf, argv[optind], err, sizeof(err))) {
		fprintf(stderr, "cvmm-run: %s\n", err);
		goto free_conf;
	}
	if (!append || !append_cmdline(&run, append))
		status = run_guest(&run, console_log, key);
	if (status != RUN_POWEROFF || run.verbose)
		console_note("%s: %s", run.conf.name, run.end);
	if (stats_file && write_stats(&run, stats_file, status)) {
		console_note("%s: %s", stats_file, strerror(errno));
		if (status == RUN_POWEROFF)
			status = RUN_USAGE;
	}
	for (i = 0; i < CONF_MAX_NODES; i++)
		stats_free(&run.stats[i]);
	explicit_bzero(&run.key, sizeof(run.key));
	free(run.kernel.data);
	free(run.initrd.data);
free_conf:
	conf_free(&run.conf);
	return (int)status;
}
