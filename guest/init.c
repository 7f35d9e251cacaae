// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /init of the guest's initramfs: mounts what programs expect, does what words
 * on the kernel command line ask for, and ends the machine.
 *
 *   cvmm.tests="NAME[:ARG[,ARG]...] ..."   run /tests/NAME ARG... each
 *   cvmm.run="SHELL COMMAND"               then this, with /bin/sh -c, as one more test
 *   cvmm.timeout=SECONDS                   limit for each of them (600)
 *   cvmm.end=poweroff|reboot|halt|panic|shell   what comes last (poweroff)
 *
 * Without tests and run: an interactive shell on the console, then cvmm.end.
 *
 * Results go to the console as TAP, each line after "cvmm: " at the start of a
 * line; what a test printed follows indented by four blanks.  The last line,
 *
 *   cvmm: end pass=P fail=F skip=S seconds=T
 *
 * is there only when everything asked for was run to its end: a reader takes
 * its absence as failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "cvmm: "
#define MAX_ARGS 62

static char cmdline[4096];
static unsigned int passed, failed, skipped;

static double uptime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* One line to the console in one write, so that nothing gets in between. */
static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	char buf[1200];
	int len = snprintf(buf, sizeof(buf), PREFIX), more;
	va_list ap;

	va_start(ap, fmt);
	more = vsnprintf(buf + len, sizeof(buf) - len - 1, fmt, ap);
	va_end(ap);
	if (more > 0)
		len += more;
	if (len > (int)sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	buf[len++] = '\n';
	for (int done = 0; done < len;) {
		ssize_t n = write(STDOUT_FILENO, buf + done, len - done);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0)
			done += n;
	}
}

static void mount_one(const char *type, const char *dir)
{
	mkdir(dir, 0755);
	if (mount(type, dir, type, 0, NULL) && errno != EBUSY)
		say("# cannot mount %s: %s", dir, strerror(errno));
}

static void set_up(void)
{
	pid_t pid;
	int fd;

	mount_one("devtmpfs", "/dev");
	/* The kernel could not open /dev/console for us when the archive has none. */
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd >= 0) {
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		if (fd > 2)
			close(fd);
	}
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("tmpfs", "/tmp");
	mount_one("tmpfs", "/run");
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666");
	mkdir("/dev/shm", 01777);
	mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
	(void)!symlink("/proc/self/fd", "/dev/fd");
	mkdir("/root", 0700);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin:/tests", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "vt100", 0);
	pid = fork();
	if (!pid) {
		execl("/bin/busybox", "busybox", "--install", "-s", "/bin", (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/*
 * The value of @key= on the kernel command line, unquoted, or NULL.  The
 * kernel leaves the quotes around the value (key="a b") or the word ("key=a b").
 */
static char *option(const char *key)
{
	static char text[sizeof(cmdline)];
	size_t len = strlen(key);
	char *value = NULL;

	strcpy(text, cmdline);
	for (char *p = text; *p;) {
		bool quoted = false;
		char *word, *out;

		while (*p == ' ' || *p == '\n')
			p++;
		for (word = out = p; *p && (quoted || (*p != ' ' && *p != '\n')); p++) {
			if (*p == '"')
				quoted = !quoted;
			else
				*out++ = *p;
		}
		if (*p)
			p++;
		*out = 0;
		if (!strncmp(word, key, len) && word[len] == '=')
			value = word + len + 1;
	}
	return value ? strdup(value) : NULL;
}

/* Indents and prints the full lines of @buf; returns how many bytes are left at its start. */
static size_t print_lines(char *buf, size_t len, bool all)
{
	char *start = buf, *end = buf + len, *nl;

	while ((nl = memchr(start, '\n', end - start))) {
		*nl = 0;
		say("    %s", start);
		start = nl + 1;
	}
	if (all && start < end) {
		*end = 0;
		say("    %s", start);
		start = end;
	}
	memmove(buf, start, end - start);
	return end - start;
}

enum result { PASS, FAIL, SKIP };

/* Run one program to its end, or kill it and its children at the limit. */
static enum result run_one(char **argv, unsigned int limit_s, char *why, size_t why_len)
{
	double end = uptime() + limit_s;
	bool timed_out = false;
	size_t have = 0;
	char buf[1024];
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		snprintf(why, why_len, "pipe: %s", strerror(errno));
		return FAIL;
	}
	pid = fork();
	if (pid < 0) {
		snprintf(why, why_len, "fork: %s", strerror(errno));
		close(fds[0]);
		close(fds[1]);
		return FAIL;
	}
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		setpgid(0, 0);
		dup2(null, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execv(argv[0], argv);
		fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	setpgid(pid, pid);
	close(fds[1]);
	for (;;) {
		struct pollfd pfd = { .fd = fds[0], .events = POLLIN };
		double left = end - uptime();
		ssize_t n;

		if (left <= 0 || !poll(&pfd, 1, left * 1000 + 1)) {
			if (uptime() < end)
				continue;
			timed_out = true;
			kill(-pid, SIGKILL);
			break;
		}
		n = read(fds[0], buf + have, sizeof(buf) - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have = print_lines(buf, have + n, false);
		if (have == sizeof(buf) - 1)
			have = print_lines(buf, have, true);
	}
	print_lines(buf, have, true);
	close(fds[0]);
	/* The output is closed, but the program itself may still hang. */
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct timespec ts = { .tv_nsec = 10000000 };

		if (!timed_out && uptime() >= end) {
			timed_out = true;
			kill(-pid, SIGKILL);
		}
		nanosleep(&ts, NULL);
	}
	kill(-pid, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (timed_out)
		snprintf(why, why_len, "timed out after %u s", limit_s);
	else if (WIFSIGNALED(status))
		snprintf(why, why_len, "killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) == 4)
		return SKIP;
	else if (WEXITSTATUS(status))
		snprintf(why, why_len, "exit status %d", WEXITSTATUS(status));
	else
		return PASS;
	return FAIL;
}

static void report(unsigned int number, char **argv, const char *name, unsigned int limit_s)
{
	char why[128] = "";
	double start = uptime();
	enum result r;

	say("# run %u %s", number, name);
	r = run_one(argv, limit_s, why, sizeof(why));
	switch (r) {
	case PASS:
		passed++;
		break;
	case FAIL:
		failed++;
		break;
	case SKIP:
		skipped++;
		break;
	}
	if (*why)
		say("# %s: %s", name, why);
	say("%s %u - %s%s # seconds=%.2f", r == FAIL ? "not ok" : "ok", number, name,
	    r == SKIP ? " # SKIP" : "", uptime() - start);
}

/* "name:a,b" as the program /tests/name with arguments a and b. */
static void run_test(unsigned int number, const char *word, unsigned int limit_s)
{
	char *text = strdup(word), path[256], *argv[MAX_ARGS + 2], *args;
	int argc = 0;

	if (!text)
		return;
	args = strchr(text, ':');
	if (args)
		*args++ = 0;
	snprintf(path, sizeof(path), "/tests/%s", text);
	argv[argc++] = path;
	for (char *a = args ? strtok(args, ",") : NULL; a && argc <= MAX_ARGS; a = strtok(NULL, ","))
		argv[argc++] = a;
	argv[argc] = NULL;
	report(number, argv, word, limit_s);
	free(text);
}

static void shell(void)
{
	pid_t pid = fork();

	if (!pid) {
		setsid();
		ioctl(0, TIOCSCTTY, 1);
		execl("/bin/sh", "-sh", (char *)NULL);
		execl("/bin/busybox", "sh", (char *)NULL);
		say("# no shell in the archive: %s", strerror(errno));
		_exit(127);
	}
	/* We are everybody's parent: reap until the shell itself is gone. */
	for (;;) {
		pid_t p = wait(NULL);

		if (p == pid || (p < 0 && errno != EINTR))
			return;
	}
}

static void finish(const char *end)
{
	int fd;

	sync();
	if (!strcmp(end, "panic")) {
		fd = open("/proc/sysrq-trigger", O_WRONLY);
		if (fd >= 0)
			(void)!write(fd, "c", 1);
		_exit(1);	/* the end of PID 1 panics as well */
	}
	/* The UART may still be sending: what was said must be out before the power goes. */
	ioctl(STDOUT_FILENO, 0x5409 /* TCSBRK: drain */, 1);
	if (!strcmp(end, "reboot"))
		reboot(RB_AUTOBOOT);
	else if (!strcmp(end, "halt"))
		reboot(RB_HALT_SYSTEM);
	else
		reboot(RB_POWER_OFF);
	say("# %s failed: %s", end, strerror(errno));
	for (;;)
		pause();
}

int main(void)
{
	char *tests, *run, *end, *limit;
	unsigned int n = 0, total = 0, limit_s;
	double start;
	ssize_t len;
	int fd;

	set_up();
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, cmdline, sizeof(cmdline) - 1);
	if (len > 0)
		cmdline[len] = 0;
	if (fd >= 0)
		close(fd);
	tests = option("cvmm.tests");
	run = option("cvmm.run");
	end = option("cvmm.end");
	limit = option("cvmm.timeout");
	limit_s = limit ? strtoul(limit, NULL, 0) : 600;
	start = uptime();
	/* Kernel messages below warnings stay out of the middle of our lines. */
	klogctl(8, NULL, 5);
	(void)!write(STDOUT_FILENO, "\n", 1);
	say("up seconds=%.2f cpus=%ld", start, sysconf(_SC_NPROCESSORS_ONLN));

	if (!tests && !run) {
		shell();
		finish(end && strcmp(end, "shell") ? end : "poweroff");
	}
	for (const char *p = tests; p && *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		total += *p != 0;
	}
	total += run != NULL;
	say("TAP version 13");
	say("1..%u", total);
	for (char *save, *word = tests ? strtok_r(tests, " ", &save) : NULL; word;
	     word = strtok_r(NULL, " ", &save))
		run_test(++n, word, limit_s);
	if (run) {
		char *argv[] = { "/bin/sh", "-c", run, NULL };

		report(++n, argv, "run", limit_s);
	}
	say("end pass=%u fail=%u skip=%u seconds=%.2f", passed, failed, skipped, uptime() - start);
	if (end && !strcmp(end, "shell")) {
		shell();
		finish("poweroff");
	}
	finish(end ? end : "poweroff");
	return 1;
}
