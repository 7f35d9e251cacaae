// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Timers on each CPU: never early, every period counted, and late only within
 * a generous bound (vCPUs may share a core, hosts may be emulated).
 *
 *   n=COUNT     sleeps and periods on each CPU (20)
 *   ms=MS       length of each (10)
 *   late=MS     how late the median may be (50)
 */
#include "harness.h"

#include <poll.h>
#include <signal.h>
#include <sys/timerfd.h>

static uint64_t n_sleeps, ms, late_ms;

struct result {
	_Alignas(H_LINE) uint64_t early, median_us, max_us, periods, fd_early, posix, elapsed_ms;
};

static struct result results[H_MAX_CPUS];
static __thread volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sleeps(struct result *r)
{
	uint64_t *late = calloc(n_sleeps, sizeof(*late));
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	for (uint64_t k = 0; k < n_sleeps; k++) {
		uint64_t start = h_now_ns(), ns;

		nanosleep(&ts, NULL);
		ns = h_now_ns() - start;
		if (ns < ms * 1000000)
			r->early++;
		else
			late[k] = ns - ms * 1000000;
	}
	qsort(late, n_sleeps, sizeof(*late), by_value);
	r->median_us = late[n_sleeps / 2] / 1000;
	r->max_us = late[n_sleeps - 1] / 1000;
	free(late);
}

static void periods(struct result *r)
{
	struct itimerspec its = { .it_interval.tv_nsec = ms * 1000000, .it_value.tv_nsec = ms * 1000000 };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t start = h_now_ns(), ticks = 0;

	if (fd < 0 || timerfd_settime(fd, 0, &its, NULL))
		h_bail("timerfd: %s", strerror(errno));
	while (ticks < n_sleeps) {
		uint64_t n, now;

		if (read(fd, &n, sizeof(n)) != sizeof(n))
			h_bail("timerfd: %s", strerror(errno));
		ticks += n;
		now = h_now_ns() - start;
		/* As many periods as there were, no more; none is lost for good. */
		if (ticks * ms * 1000000 > now)
			r->fd_early++;
	}
	r->periods = ticks;
	r->elapsed_ms = (h_now_ns() - start) / 1000000;
	close(fd);
}

static void posix_timer(struct result *r)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
	struct itimerspec its = { .it_interval.tv_nsec = ms * 1000000, .it_value.tv_nsec = ms * 1000000 };
	uint64_t end;
	timer_t id;

	ev._sigev_un._tid = syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &id) || timer_settime(id, 0, &its, NULL))
		h_bail("timer_create: %s", strerror(errno));
	/* Busy in user space: the timer interrupt has to break in. */
	end = h_now_ns() + 20000000000ull;
	while (alarms < 5 && h_now_ns() < end)
		for (int i = 0; i < 1000; i++)
			h_pause();
	timer_delete(id);
	r->posix = alarms;
}

static void work(unsigned int i, void *arg)
{
	(void)arg;
	sleeps(&results[i]);
	periods(&results[i]);
	posix_timer(&results[i]);
}

int main(int argc, char **argv)
{
	h_init(argc, argv);
	n_sleeps = h_arg("n", 20);
	ms = h_arg("ms", 10);
	late_ms = h_arg("late", 50);
	h_args_end();
	if (!n_sleeps || !ms || ms > 999)
		h_bail("n= must be positive, ms= from 1 to 999");
	signal(SIGRTMIN, on_alarm);
	h_run(h_ncpus, work, NULL);
	for (int i = 0; i < h_ncpus; i++) {
		struct result *r = &results[i];

		h_note("cpu=%d late_us_median=%llu late_us_max=%llu periods=%llu elapsed_ms=%llu", h_cpu(i),
		       (unsigned long long)r->median_us, (unsigned long long)r->max_us,
		       (unsigned long long)r->periods, (unsigned long long)r->elapsed_ms);
		h_ok(!r->early && r->median_us <= late_ms * 1000, "CPU %d: sleeps of %llu ms: %llu early, median %llu us late",
		     h_cpu(i), (unsigned long long)ms, (unsigned long long)r->early,
		     (unsigned long long)r->median_us);
		h_ok(!r->fd_early && r->periods >= n_sleeps, "CPU %d: %llu periods of a timerfd in %llu ms, %llu early",
		     h_cpu(i), (unsigned long long)r->periods, (unsigned long long)r->elapsed_ms,
		     (unsigned long long)r->fd_early);
		h_ok(r->posix >= 5, "CPU %d: a busy thread got %llu timer signals", h_cpu(i),
		     (unsigned long long)r->posix);
	}
	return h_done();
}
