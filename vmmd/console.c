// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The terminal of cvmm-run: see console.h.  Output goes through a buffer and a
 * thread of its own, so that a slow or stopped reader stalls neither the
 * guest's devices nor the connections to other hosts.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/console.h"

#define BUF_SIZE	(16U << 20)
#define WAIT_MS		1000

static struct {
	pthread_mutex_t lock;		/* of all up to the blank line */
	pthread_cond_t filled, drained;
	uint8_t *buf;			/* a ring */
	size_t head, len;
	uint64_t dropped;
	bool slow;			/* the last wait for room was in vain */
	bool stop, done;

	pthread_t thread;
	int log_fd;
	int in_fd;
	struct console_escape escape;
} con = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.log_fd = -1,
	.in_fd = -1,
};

/* Read by signal handlers. */
static struct termios saved_tty;
static volatile sig_atomic_t tty_is_raw;

static void restore_tty(void)
{
	if (!tty_is_raw)
		return;
	tty_is_raw = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_tty);
}

/* A fault of our own: the handler is one-shot, so the signal then does its work. */
static void on_fatal(int sig)
{
	restore_tty();
	raise(sig);
}

static int make_raw(char *err, size_t errlen)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_handler = on_fatal, .sa_flags = SA_RESETHAND | SA_NODEFER };
	struct termios tty;
	unsigned int i;

	/* In the background the terminal is somebody else's. */
	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return 0;
	if (tcgetattr(STDIN_FILENO, &saved_tty))
		goto report;
	tty = saved_tty;
	cfmakeraw(&tty);
	tty.c_oflag |= OPOST;
	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &sa, NULL);
	atexit(restore_tty);
	tty_is_raw = 1;
	if (!tcsetattr(STDIN_FILENO, TCSADRAIN, &tty))
		return 0;
	tty_is_raw = 0;
report:
	snprintf(err, errlen, "the terminal cannot be switched to raw mode: %s", strerror(errno));
	return -1;
}

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static void *writer(void *arg)
{
	bool out_ok = true;
	uint8_t chunk[4096];
	size_t n, first;

	(void)arg;
	pthread_mutex_lock(&con.lock);
	for (;;) {
		while (!con.len && !con.stop)
			pthread_cond_wait(&con.filled, &con.lock);
		if (!con.len)
			break;
		n = con.len < sizeof(chunk) ? con.len : sizeof(chunk);
		first = BUF_SIZE - con.head < n ? BUF_SIZE - con.head : n;
		memcpy(chunk, con.buf + con.head, first);
		memcpy(chunk + first, con.buf, n - first);
		con.head = (con.head + n) % BUF_SIZE;
		con.len -= n;
		con.slow = false;
		pthread_cond_broadcast(&con.drained);
		pthread_mutex_unlock(&con.lock);
		/* A reader that went away (head, a closed window) does not end the guest. */
		if (out_ok && write_all(STDOUT_FILENO, chunk, n))
			out_ok = false;
		if (con.log_fd >= 0)
			write_all(con.log_fd, chunk, n);
		pthread_mutex_lock(&con.lock);
	}
	con.done = true;
	pthread_cond_broadcast(&con.drained);
	pthread_mutex_unlock(&con.lock);
	return NULL;
}

int console_start(const char *log_path, char *err, size_t errlen)
{
	pthread_condattr_t attr;

	if (log_path) {
		con.log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
		if (con.log_fd < 0) {
			snprintf(err, errlen, "%s: %s", log_path, strerror(errno));
			return -1;
		}
	}
	con.buf = malloc(BUF_SIZE);
	if (!con.buf) {
		snprintf(err, errlen, "out of memory");
		goto close_log;
	}
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&con.filled, &attr);
	pthread_cond_init(&con.drained, &attr);
	signal(SIGPIPE, SIG_IGN);
	if (make_raw(err, errlen))
		goto free_buf;
	if (pthread_create(&con.thread, NULL, writer, NULL)) {
		snprintf(err, errlen, "no thread for the console");
		goto restore;
	}
	con.in_fd = STDIN_FILENO;
	/* A background job that reads the terminal would be stopped. */
	if (isatty(STDIN_FILENO) && !tty_is_raw)
		con.in_fd = -1;
	return 0;

restore:
	restore_tty();
free_buf:
	free(con.buf);
close_log:
	if (con.log_fd >= 0)
		close(con.log_fd);
	return -1;
}

static void deadline_in(struct timespec *ts, unsigned int ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

/* Append what fits; under the lock. */
static size_t put_some(const uint8_t *buf, size_t len)
{
	size_t n = BUF_SIZE - con.len < len ? BUF_SIZE - con.len : len;
	size_t tail = (con.head + con.len) % BUF_SIZE;
	size_t first = BUF_SIZE - tail < n ? BUF_SIZE - tail : n;

	memcpy(con.buf + tail, buf, first);
	memcpy(con.buf, buf + first, n - first);
	con.len += n;
	return n;
}

void console_put(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	struct timespec ts;
	char note[64];
	size_t n;
	int text;

	if (!con.buf)
		return;
	deadline_in(&ts, WAIT_MS);
	pthread_mutex_lock(&con.lock);
	if (con.dropped && BUF_SIZE - con.len > sizeof(note)) {
		text = snprintf(note, sizeof(note), "\r\n[cvmm-run: %llu bytes of output lost]\r\n",
				(unsigned long long)con.dropped);
		put_some((uint8_t *)note, (size_t)text);
		con.dropped = 0;
	}
	for (;;) {
		n = put_some(p, len);
		p += n;
		len -= n;
		pthread_cond_signal(&con.filled);
		if (!len || con.slow || con.stop)
			break;
		if (pthread_cond_timedwait(&con.drained, &con.lock, &ts) == ETIMEDOUT)
			con.slow = true;
	}
	con.dropped += len;
	pthread_mutex_unlock(&con.lock);
}

int console_input_fd(void)
{
	return con.in_fd;
}

enum console_event console_filter(struct console_escape *e, uint8_t *buf, size_t len,
				  size_t *left, int *help)
{
	size_t i, out = 0;

	*help = 0;
	for (i = 0; i < len; i++) {
		if (!e->seen) {
			if (buf[i] == CONSOLE_ESCAPE) {
				e->seen = 1;
				*help = 1;
			} else {
				buf[out++] = buf[i];
			}
			continue;
		}
		e->seen = 0;
		*help = 0;
		switch (buf[i]) {
		case 'q':
		case 'Q':
			*left = out;
			return CONSOLE_QUIT;
		case 'r':
		case 'R':
			*left = out;
			return CONSOLE_RESET;
		case CONSOLE_ESCAPE:
			buf[out++] = CONSOLE_ESCAPE;
			break;
		default:
			break;
		}
	}
	*left = out;
	return CONSOLE_NOTHING;
}

enum console_event console_read(uint8_t *buf, size_t max, size_t *len)
{
	enum console_event event;
	ssize_t n;
	int help;

	*len = 0;
	n = read(con.in_fd, buf, max);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return CONSOLE_NOTHING;
	if (n <= 0) {
		con.in_fd = -1;
		return CONSOLE_NOTHING;
	}
	*len = (size_t)n;
	if (!tty_is_raw)
		return CONSOLE_NOTHING;
	event = console_filter(&con.escape, buf, (size_t)n, len, &help);
	if (help)
		console_note("q: quit  r: reset the guest  Ctrl-]: send Ctrl-]  any other key: go on");
	return event;
}

void console_note(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	n = snprintf(line, sizeof(line), "%scvmm-run: ", tty_is_raw ? "\r\n" : "");
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 2, fmt, ap);
	va_end(ap);
	strcat(line, "\n");
	write_all(STDERR_FILENO, (uint8_t *)line, strlen(line));
}

void console_stop(void)
{
	struct timespec ts;

	if (!con.buf)
		return;
	deadline_in(&ts, 2000);
	pthread_mutex_lock(&con.lock);
	con.stop = true;
	pthread_cond_signal(&con.filled);
	while (!con.done)
		if (pthread_cond_timedwait(&con.drained, &con.lock, &ts) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&con.lock);
	/* A writer that is stuck in write() goes with the process. */
	if (con.done)
		pthread_join(con.thread, NULL);
	restore_tty();
}
