// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A machine without a CPU, behind machine.h, to test what is around a machine:
 * the processes, the channel, start, reboot and end.  Its vCPU threads ask node 0
 * for device registers and send interrupt messages to the other nodes all the
 * time, and check what comes back.  Words on the kernel's command line say what
 * happens:
 *
 *   fake=poweroff|reset|hang|error|crash|echo   what node NODE does...
 *   fake=socket|vcpuread   ...or a system call that no thread, or no vCPU, may make
 *   fake=descriptors|mute  ...or to vmmd: sends descriptors that it does not want, and
 *            states without end; or closes the connection to it and stands still
 *   node=N   (default 0)
 *   ms=N     ...after so many milliseconds
 *   boots=FILE:N  poweroff instead at the Nth boot, counted in FILE
 *   createfail=N  machine_create() fails on node N
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/cluster.h"
#include "vmmd/conn.h"
#include "vmmd/machine.h"
#include "vmmd/sandbox.h"
#include "vmmd/tests/fake/fake.h"

struct machine {
	struct machine_params p;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	enum machine_end end;
	bool loaded;
	char err[128];
	_Atomic bool stop, vcpu_reads;
	_Atomic uint64_t wrong, io, apic_in, apic_out, info_in, eoi_in;
	_Atomic int64_t tsc_moved;
	_Atomic uint32_t info_last[CONF_MAX_VCPUS];
};

unsigned int machine_ram_map(const struct vm_conf *conf, struct ram_range *r, unsigned int max)
{
	(void)conf;
	(void)r;
	(void)max;
	return 0;
}

static const char *word(const struct machine_params *p, const char *name)
{
	const char *s = strstr(p->conf->cmdline, name);

	return s ? s + strlen(name) : NULL;
}

static long number(const struct machine_params *p, const char *name, long otherwise)
{
	const char *s = word(p, name);

	return s ? atol(s) : otherwise;
}

static void end(struct machine *m, enum machine_end how)
{
	pthread_mutex_lock(&m->lock);
	if (m->end == MACHINE_RUNNING)
		m->end = how;
	m->stop = true;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

struct machine *machine_create(const struct machine_params *p, char *err, size_t errlen)
{
	struct machine *m;

	if (number(p, "createfail=", -1) == (long)p->node) {
		snprintf(err, errlen, "the fake machine was told to fail");
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	m->p = *p;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	return m;
}

int machine_load(struct machine *m, const void *kernel, size_t kernel_len,
		 const void *initrd, size_t initrd_len, char *err, size_t errlen)
{
	const unsigned char *k = kernel, *i = initrd;
	size_t n;

	/* The test's files hold a pattern. */
	for (n = 0; n < kernel_len; n++) {
		if (k[n] != n % 251) {
			snprintf(err, errlen, "kernel byte %zu is wrong", n);
			return -1;
		}
	}
	for (n = 0; n < initrd_len; n++) {
		if (i[n] != n % 241) {
			snprintf(err, errlen, "initrd byte %zu is wrong", n);
			return -1;
		}
	}
	m->loaded = true;
	return 0;
}

static uint64_t answer_of(uint64_t addr, uint32_t vcpu)
{
	return (addr * 2654435761U + vcpu) & 0xffff;
}

static void *vcpu(void *arg)
{
	struct machine *m = arg;
	struct apic_msg msg = { .vector = 0x40, .assert = true, .source = m->p.node };
	struct apic_info info = { .id = m->p.node, .enabled = true };
	struct timespec pause = { .tv_nsec = 200000 };
	struct io_req req;
	uint64_t all;
	uint16_t port = 0;

	if (sandbox_vcpu())
		abort();
	while (!m->stop) {
		nanosleep(&pause, NULL);
		if (m->vcpu_reads && read(-1, NULL, 0) < 0) {
			snprintf(m->err, sizeof(m->err), "a vCPU could read");
			end(m, MACHINE_ERROR);
		}
		if (!m->p.peers)
			continue;
		all = ((1ULL << m->p.conf->nr_nodes) - 1) & ~(1ULL << m->p.node);
		m->p.peers->apic_msg(m->p.peers_ctx, all, &msg);
		m->apic_out++;
		info.ldr++;
		m->p.peers->apic_info(m->p.peers_ctx, &info);
		if (!m->p.node)
			continue;
		m->p.peers->eoi(m->p.peers_ctx, 0x40);
		req = (struct io_req){ .size = 2, .vcpu = m->p.node, .addr = port++ };
		if (m->p.peers->io(m->p.peers_ctx, 0, &req)) {
			/* Legal only when node 0 is lost. */
			nanosleep(&pause, NULL);
			continue;
		}
		m->io++;
		if (req.data != answer_of(req.addr, req.vcpu))
			m->wrong++;
	}
	return NULL;
}

/* What a guest that has taken its process over could try on vmmd, on the descriptor that cluster_node() has. */
#define SUPER_FD	4

static void send_descriptors(void)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} u = { .buf = { 0 } };
	struct super_msg m = { .type = SUPER_STATE };
	struct iovec iov = { .iov_base = &m, .iov_len = SUPER_LEN(&m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf };
	int fds[2] = { 0, 0 }, i;

	for (i = 0; i < 300; i++) {
		msg.msg_controllen = i % 3 ? CMSG_SPACE(sizeof(int)) : sizeof(u.buf);
		u.align.cmsg_level = SOL_SOCKET;
		u.align.cmsg_type = SCM_RIGHTS;
		u.align.cmsg_len = i % 3 ? CMSG_LEN(sizeof(int)) : CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(&u.align), fds, sizeof(fds));
		strcpy(m.text, i % 2 ? "starting" : "a\tb=\033[2Jc\nok");
		if (net_wait(SUPER_FD, POLLOUT, now_ms() + 2000) || sendmsg(SUPER_FD, &msg, MSG_NOSIGNAL) < 0)
			abort();
	}
}

static void act(struct machine *m)
{
	const char *what = word(&m->p, "fake=");

	if (!what || !strncmp(what, "poweroff", 8) || fake_last_boot) {
		end(m, MACHINE_POWEROFF);
	} else if (!strncmp(what, "reset", 5)) {
		end(m, MACHINE_RESET);
	} else if (!strncmp(what, "error", 5)) {
		snprintf(m->err, sizeof(m->err), "the fake machine failed");
		end(m, MACHINE_ERROR);
	} else if (!strncmp(what, "socket", 6)) {
		close(socket(AF_INET, SOCK_STREAM, 0));
		snprintf(m->err, sizeof(m->err), "a socket could be made");
		end(m, MACHINE_ERROR);
	} else if (!strncmp(what, "vcpuread", 8)) {
		/* This thread may, the vCPUs may not. */
		if (read(-1, NULL, 0) < 0)
			m->vcpu_reads = true;
	} else if (!strncmp(what, "descriptors", 11)) {
		send_descriptors();
	} else if (!strncmp(what, "mute", 4)) {
		shutdown(SUPER_FD, SHUT_WR);
		raise(SIGSTOP);
	} else if (!strncmp(what, "crash", 5)) {
		kill(getpid(), SIGKILL);
	}
}

enum machine_end machine_run(struct machine *m, char *err, size_t errlen)
{
	unsigned int n = m->p.conf->node[m->p.node].vcpus, i;
	long ms = number(&m->p, "ms=", 200);
	pthread_t thread[CONF_MAX_VCPUS];
	struct timespec ts;
	char line[256];

	if (!m->p.node && !m->loaded)
		abort();
	for (i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, vcpu, m))
			abort();
	snprintf(line, sizeof(line), "fake: up with %u nodes\r\n", m->p.conf->nr_nodes);
	if (!m->p.node)
		m->p.console_out(m->p.console_ctx, line, strlen(line));
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	pthread_mutex_lock(&m->lock);
	while (m->end == MACHINE_RUNNING &&
	       pthread_cond_timedwait(&m->cond, &m->lock, &ts) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&m->lock);
	if (number(&m->p, "node=", 0) == (long)m->p.node)
		act(m);
	pthread_mutex_lock(&m->lock);
	while (m->end == MACHINE_RUNNING)
		pthread_cond_wait(&m->cond, &m->lock);
	pthread_mutex_unlock(&m->lock);
	for (i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	if (!m->p.node) {
		snprintf(line, sizeof(line), "fake: apic_in %s info_in %s eoi_in %s wrong %llu\r\n",
			 m->apic_in ? "some" : "none", m->info_in ? "some" : "none",
			 m->eoi_in ? "some" : "none", (unsigned long long)m->wrong);
		m->p.console_out(m->p.console_ctx, line, strlen(line));
	}
	if (m->wrong) {
		snprintf(err, errlen, "%llu device accesses were answered wrongly", (unsigned long long)m->wrong);
		return MACHINE_ERROR;
	}
	if (m->end == MACHINE_ERROR)
		snprintf(err, errlen, "%s", m->err);
	return m->end;
}

void machine_stop(struct machine *m)
{
	end(m, MACHINE_STOPPED);
}

void machine_destroy(struct machine *m)
{
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->cond);
	free(m);
}

size_t machine_console_in(struct machine *m, const void *buf, size_t len)
{
	/* A slow UART: sixteen bytes at a time. */
	size_t n = len < 16 ? len : 16;

	m->p.console_out(m->p.console_ctx, buf, n);
	if (memchr(buf, '!', n))
		end(m, MACHINE_POWEROFF);
	return n;
}

void machine_adjust_tsc(struct machine *m, int64_t delta)
{
	m->tsc_moved += delta;
}

void machine_rx_apic_msg(struct machine *m, const struct apic_msg *msg)
{
	if (msg->vector != 0x40 || !msg->assert || msg->source >= m->p.conf->nr_nodes)
		m->wrong++;
	m->apic_in++;
}

/* In order: each node's number only grows. */
void machine_rx_apic_info(struct machine *m, const struct apic_info *info)
{
	m->info_in++;
	if (m->p.conf->node[info->id].vcpus == 1 && info->ldr != m->info_last[info->id] + 1)
		m->wrong++;
	m->info_last[info->id] = info->ldr;
}

void machine_rx_eoi(struct machine *m, uint8_t vector)
{
	if (vector != 0x40)
		m->wrong++;
	m->eoi_in++;
}

void machine_rx_io(struct machine *m, struct io_req *req)
{
	(void)m;
	if (!req->write)
		req->data = answer_of(req->addr, req->vcpu);
}

void machine_get_stats(struct machine *m, struct machine_stats *s)
{
	s->ipis_remote_out = m->apic_out;
	s->ipis_remote_in = m->apic_in;
	s->io_forwarded = m->io;
}
