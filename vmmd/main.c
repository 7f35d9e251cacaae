// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmmd: the supervisor of a host.  It listens for clients and for other hosts,
 * starts one process for each node of a guest that runs here, hands it its
 * connections, and tells cvmm what there is.  It never reads more of a
 * connection than the hello, and one process's end touches no other.  Who has
 * not shown the cluster key is door.c's.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/ctlproto.h"
#include "vmmd/door.h"
#include "vmmd/guests.h"
#include "vmmd/ktls.h"
#include "vmmd/requests.h"
#include "vmmd/version.h"

#define KILL_MS		15000	/* from SIGTERM until processes that are left are killed */

static int tcp_fd = -1, sig_fd = -1;
static bool stopping;
static uint64_t stopping_ms;

/* ---- start and stop ------------------------------------------------------- */

static void begin_stop(void)
{
	if (stopping)
		return;
	stopping = true;
	stopping_ms = now_ms();
	log_line("stopping");
	guests_stop("stopped: vmmd was told to end");
}

static void on_signal(void)
{
	struct signalfd_siginfo si;

	while (read(sig_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			guests_reap();
		else
			begin_stop();
	}
}

/* What has waited too long.  Returns when to look again, in ms, or -1. */
static int expire(void)
{
	uint64_t now = now_ms(), next = door_expire(now), other = requests_expire(now);

	if (other < next)
		next = other;
	if (stopping) {
		if (now - stopping_ms >= KILL_MS) {
			guests_kill();
			stopping_ms = now;
		}
		if (stopping_ms + KILL_MS < next)
			next = stopping_ms + KILL_MS;
	}
	return next == UINT64_MAX ? -1 : (int)(next - now);
}

static void loop(void)
{
	static struct pollfd p[2 + DOOR_MAX + REQUESTS_POLL + GUESTS_MAX];
	struct pollfd *door = p + 2, *requests = door + DOOR_MAX, *guest = requests + REQUESTS_POLL;
	int wait;

	while (!stopping || guests_left()) {
		wait = expire();
		p[0] = (struct pollfd){ .fd = sig_fd, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = stopping ? -1 : tcp_fd, .events = POLLIN };
		door_poll(door);
		requests_poll(requests);
		guests_poll(guest);
		if (poll(p, sizeof(p) / sizeof(p[0]), wait) < 0)
			continue;
		/* Each slot is served for what it was when polled: guests before the door lets new ones in. */
		guests_serve(guest);
		requests_serve(requests);
		door_serve(door);
		if (p[0].revents)
			on_signal();
		if (p[1].revents)
			door_accept(tcp_fd);
	}
}

static int write_pidfile(const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -1;
	fprintf(f, "%d\n", (int)getpid());
	return fclose(f);
}

static void usage(FILE *f)
{
	fprintf(f, "Usage: vmmd [OPTION]...\n"
		"Run guests' nodes on this host, in the foreground.\n"
		"\n"
		"  -b, --bind=ADDRESS   listen on ADDRESS only (default: all)\n"
		"  -p, --port=PORT      TCP port (default %d)\n"
		"  -k, --key=FILE       the cluster key (default %s)\n"
		"  -s, --socket=PATH    socket for cvmm (default %s)\n"
		"  -u, --user=NAME      whom guests' processes run as (default " SANDBOX_USER " or " SANDBOX_OTHER ")\n"
		"  -P, --pidfile=PATH   write the process id to PATH\n"
		"  -V, --version        print the version\n"
		"  -h, --help           print this\n"
		"\n"
		"All hosts of a cluster have the same key; cvmm keygen makes one.\n"
		"See vmmd(8).\n", CONF_DEFAULT_PORT, KEY_FILE, CTL_SOCKET);
}

static void init(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bind", required_argument, NULL, 'b' },
		{ "port", required_argument, NULL, 'p' },
		{ "key", required_argument, NULL, 'k' },
		{ "socket", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "pidfile", required_argument, NULL, 'P' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *bind_to = NULL, *user_name = NULL, *ctl_path = CTL_SOCKET, *key_path = KEY_FILE, *pid_path = NULL;
	static struct cluster_key cluster_key;
	static struct sandbox_user user;
	unsigned long port = CONF_DEFAULT_PORT;
	char err[256], *end;
	int opt, status = 1;

	while ((opt = getopt_long(argc, argv, "b:p:k:s:u:P:Vh", options, NULL)) != -1) {
		switch (opt) {
		case 'b':
			bind_to = optarg;
			break;
		case 'p':
			port = strtoul(optarg, &end, 10);
			if (*end || !*optarg || !port || port > 65535) {
				fprintf(stderr, "vmmd: --port=%s: 1 to 65535 is allowed\n", optarg);
				return 64;
			}
			break;
		case 'k':
			key_path = optarg;
			break;
		case 's':
			ctl_path = optarg;
			break;
		case 'u':
			user_name = optarg;
			break;
		case 'P':
			pid_path = optarg;
			break;
		case 'V':
			puts("vmmd " VMMD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("Try 'vmmd --help'.\n", stderr);
			return 64;
		}
	}
	if (argc != optind) {
		fputs("vmmd: no arguments are expected\nTry 'vmmd --help'.\n", stderr);
		return 64;
	}
	if (key_load(key_path, &cluster_key, err, sizeof(err)) ||
	    (!geteuid() && sandbox_find_user(user_name, &user, err, sizeof(err)))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return 1;
	}
	init();
	if (sig_fd < 0) {
		fprintf(stderr, "vmmd: signalfd: %s\n", strerror(errno));
		return 1;
	}
	if (requests_open(ctl_path, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return 1;
	}
	tcp_fd = net_listen(bind_to, (uint16_t)port, err, sizeof(err));
	if (tcp_fd < 0) {
		fprintf(stderr, "vmmd: %s\n", err);
		goto remove_ctl;
	}
	if (pid_path && write_pidfile(pid_path)) {
		fprintf(stderr, "vmmd: %s: %s\n", pid_path, strerror(errno));
		goto remove_ctl;
	}
	guests_init(&cluster_key, &user);
	door_open(&cluster_key, guests_come_in);
	if (ktls_check(err, sizeof(err)))
		log_line("%s", err);
	log_line("vmmd " VMMD_VERSION " listens on port %lu", port);
	loop();
	status = 0;
	if (pid_path)
		unlink(pid_path);
remove_ctl:
	unlink(ctl_path);
	return status;
}
