// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm-run on one host: the machine runs in this process, without vmmd.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <x86intrin.h>

#include "vmmd/conn.h"
#include "vmmd/console.h"
#include "vmmd/machine.h"
#include "vmmd/run.h"
#include "vmmd/space.h"

/* How often input that the UART did not take is offered again. */
#define INPUT_RETRY_MS	20

struct boot {
	struct machine *machine;
	int ended_fd;
	enum machine_end end;
	char err[256];
};

static void console_out(void *ctx, const void *buf, size_t len)
{
	(void)ctx;
	console_put(buf, len);
}

static void *runner(void *arg)
{
	struct boot *b = arg;
	uint64_t one = 1;

	b->end = machine_run(b->machine, b->err, sizeof(b->err));
	while (write(b->ended_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

/* What the user wants while the guest runs. */
struct wish {
	bool reset;		/* boot again */
	int signal;		/* end, because of this */
	uint64_t signal_ms;
	bool quit;
};

static void read_signal(int sigfd, struct boot *b, struct wish *w)
{
	struct signalfd_siginfo si;

	if (read(sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	/* An insistent second one does not wait for anything; timeout(1) sends two at once. */
	if (w->signal && now_ms() - w->signal_ms > RUN_INSIST_MS)
		exit(128 + (int)si.ssi_signo);
	if (w->signal)
		return;
	w->signal = (int)si.ssi_signo;
	w->signal_ms = now_ms();
	machine_stop(b->machine);
}

/* Signals and input until the machine has ended. */
static void attend(struct boot *b, int sigfd, struct wish *w)
{
	uint8_t in[1024];
	size_t len = 0, pos = 0;
	uint64_t n;

	for (;;) {
		struct pollfd p[3] = {
			{ .fd = b->ended_fd, .events = POLLIN },
			{ .fd = sigfd, .events = POLLIN },
			{ .fd = len ? -1 : console_input_fd(), .events = POLLIN },
		};

		if (poll(p, 3, len ? INPUT_RETRY_MS : -1) < 0 && errno != EINTR)
			machine_stop(b->machine);
		if (p[0].revents && read(b->ended_fd, &n, sizeof(n)) == sizeof(n))
			return;
		if (p[1].revents)
			read_signal(sigfd, b, w);
		if (p[2].revents) {
			switch (console_read(in, sizeof(in), &len)) {
			case CONSOLE_QUIT:
				w->quit = true;
				machine_stop(b->machine);
				break;
			case CONSOLE_RESET:
				w->reset = true;
				machine_stop(b->machine);
				break;
			case CONSOLE_NOTHING:
				break;
			}
			pos = 0;
		}
		if (len) {
			n = machine_console_in(b->machine, in + pos, len);
			pos += n;
			len -= n;
		}
	}
}

static void collect(struct run *run, struct machine *m, bool spaces)
{
	struct machine_stats ms;

	stats_free(&run->stats[0]);
	memset(&ms, 0, sizeof(ms));
	machine_get_stats(m, &ms);
	stats_add_machine(&run->stats[0], &ms);
	if (spaces)
		stats_add_module(&run->stats[0], run->conf.name);
}

/* One incarnation of the guest.  Returns true when it is to boot again. */
static bool boot_once(struct run *run, struct host_engine *e, int sigfd, enum run_status *status)
{
	struct boot b = { .end = MACHINE_ERROR };
	struct machine_params p = {
		.conf = &run->conf,
		.engine_fd = e->fd,
		.space_fd = -1,
		.console_out = console_out,
	};
	struct wish w = { 0 };
	pthread_t thread;
	bool again = false;

	*status = RUN_UNAVAILABLE;
	if (e->spaces) {
		p.space_fd = space_create(e, &run->conf, 0, run->vm_id, run->boots, b.err, sizeof(b.err));
		if (p.space_fd < 0)
			goto report;
	}
	p.tsc_offset = -(int64_t)__rdtsc();
	b.machine = machine_create(&p, b.err, sizeof(b.err));
	if (!b.machine)
		goto close_space;
	*status = RUN_NOINPUT;
	if (machine_load(b.machine, run->kernel.data, run->kernel.len,
			 run->initrd.data, run->initrd.len, b.err, sizeof(b.err)))
		goto destroy;
	*status = RUN_INTERNAL;
	b.ended_fd = eventfd(0, EFD_CLOEXEC);
	if (b.ended_fd < 0 || pthread_create(&thread, NULL, runner, &b)) {
		snprintf(b.err, sizeof(b.err), "out of threads or descriptors");
		goto close_event;
	}
	run_verbose(run, "guest \"%s\" runs on %s", run->conf.name, e->path);
	attend(&b, sigfd, &w);
	pthread_join(thread, NULL);
	collect(run, b.machine, e->spaces);

	if (w.signal || w.quit) {
		*status = w.signal ? 128 + w.signal : RUN_STOPPED;
		snprintf(b.err, sizeof(b.err), w.signal ? "ended by a signal: %s" : "ended by the user",
			 strsignal(w.signal));
	} else if (w.reset) {
		again = true;
	} else {
		switch (b.end) {
		case MACHINE_POWEROFF:
			*status = RUN_POWEROFF;
			snprintf(b.err, sizeof(b.err), "the guest has powered off");
			break;
		case MACHINE_RESET:
			*status = RUN_RESET;
			snprintf(b.err, sizeof(b.err), "the guest has reset");
			again = !run->no_reboot;
			break;
		case MACHINE_STOPPED:
		case MACHINE_ERROR:
		case MACHINE_RUNNING:
			break;
		}
	}
close_event:
	if (b.ended_fd >= 0)
		close(b.ended_fd);
destroy:
	machine_destroy(b.machine);
close_space:
	if (p.space_fd >= 0)
		close(p.space_fd);
report:
	snprintf(run->end, sizeof(run->end), "%s", b.err);
	return again;
}

enum run_status run_local(struct run *run, int sigfd)
{
	enum run_status status = RUN_UNAVAILABLE;
	struct host_engine e;
	char *engine;

	if (host_engine_open(&e, &run->conf, run->end, sizeof(run->end)))
		return status;
	if (space_check_memory(&run->conf, 0, run->end, sizeof(run->end)))
		goto close_engine;
	engine = strdup(e.path);
	if (engine) {
		free(run->conf.engine);
		run->conf.engine = engine;
	}
	do {
		run->boots++;
		if (run->boots > 1)
			run_verbose(run, "guest \"%s\" boots again", run->conf.name);
	} while (boot_once(run, &e, sigfd, &status));
close_engine:
	host_engine_close(&e);
	return status;
}
