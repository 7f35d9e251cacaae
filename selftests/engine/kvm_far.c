// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts between hosts, from module to module.  The space has three hosts; this
 * program plays the other two at the far ends of their links, a good one and one that
 * sends what it likes.  TAP.
 */
#include "apic_vm.h"
#include "dsm/dsm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* dsm/PROTOCOL.rst, "Interrupts between hosts" */
enum { HELLO = DSM_MSG_LINK, APIC, IRQ };
enum { ALL = 1, LOGICAL = 2, X2APIC = 4 };

#define HOSTS	3
#define FLOOD	5000

static int space, sock[HOSTS];

static void say(unsigned int host, const struct dsm_msg *given)
{
	struct dsm_msg msg = *given;
	uint8_t buf[DSM_WIRE_SIZE + 4096] = { 0 };

	dsm_wire_encode(&msg, buf);
	send(sock[host], buf, DSM_WIRE_SIZE + msg.length, MSG_NOSIGNAL);
}

static void say_irq(unsigned int host, uint32_t dest, uint8_t vector, unsigned int flags)
{
	say(host, &(struct dsm_msg){ .type = IRQ, .requester = host, .epoch = 1, .gfn = dest,
				     .version = vector, .flags = flags });
}

static bool hear(unsigned int host, struct dsm_msg *msg)
{
	uint8_t hdr[DSM_WIRE_SIZE];

	return recv(sock[host], hdr, sizeof(hdr), MSG_WAITALL) == sizeof(hdr) &&
	       !dsm_wire_decode(hdr, sizeof(hdr), msg);
}

static bool hear_irq(unsigned int host, uint32_t dest, uint8_t vector, unsigned int flags)
{
	struct dsm_msg m;

	return hear(host, &m) && m.type == IRQ && !m.requester && m.epoch == 1 && m.gfn == dest &&
	       m.version == vector && m.flags == flags;
}

/* The module looks at messages in their order; a new vector comes after all before it. */
static bool arrives(unsigned int host, uint8_t vector)
{
	say_irq(host, 0, vector, X2APIC);
	for (unsigned int i = 0; i < 5000; i++) {
		if (__atomic_load_n(&page[0]->posted[vector / 32], __ATOMIC_SEQ_CST) >> vector % 32 & 1)
			return true;
		usleep(1000);
	}
	return false;
}

/* Host 0's vCPU, APIC id 0, of a guest of @total; ids 1 and up are the others'. */
static void join(unsigned int total)
{
	static unsigned int serial;
	struct dsm_msg hello;
	char name[32];

	snprintf(name, sizeof(name), "far%u", serial++);
	space = make_space(dev, name, MEM_SIZE, HOSTS);
	if (space < 0)
		bail("CVMM_CREATE_SPACE");
	for (unsigned int host = 1; host < HOSTS; host++) {
		struct cvmm_space_link link = { .host = host, .transport = CVMM_TRANSPORT_STREAM };
		const struct timeval limit = { .tv_sec = 20 };
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			bail("socketpair");
		link.fd = fds[0];
		if (ioctl(space, CVMM_SPACE_ADD_LINK, &link))
			bail("CVMM_SPACE_ADD_LINK");
		close(fds[0]);
		sock[host] = fds[1];
		setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		if (!hear(host, &hello) || hello.type != HELLO)
			bail("no hello");
		hello.requester = host;
		hello.age = 0;		/* it takes pages as a whole only */
		say(host, &hello);
	}
	make_machine(map(NULL, MEM_SIZE, MAP_SHARED, space), 1);
	make_pages(total);
	reset(0, true);
}

static void leave(void)
{
	free_machine();
	munmap(mem, MEM_SIZE);
	for (unsigned int host = 1; host < HOSTS; host++)
		close(sock[host]);
	close(space);
}

static void announce(unsigned int host, uint64_t id)
{
	say(host, &(struct dsm_msg){ .type = APIC, .requester = host, .epoch = 1, .gfn = id });
}

static bool icr_exits(uint64_t icr)
{
	return !ioctl(vcpu[0], KVM_RUN, 0) && run[0]->exit_reason == KVM_EXIT_X86_WRMSR &&
	       run[0]->msr.index == 0x830 && run[0]->msr.data == icr;
}

static const uint8_t out_done[] = { 0xe6, DONE_PORT };
static const uint8_t sti_hlt[] = { 0xfb, 0xf4 };

static void test_out(void)
{
	struct dsm_msg m;

	check(hear(1, &m) && m.type == APIC && !m.gfn && hear(2, &m) && m.type == APIC && !m.gfn,
	      "the module tells which APIC is here");
	emit_icr(1, 0x4066);
	emit_icr(0, 0xc4067);		/* all but self */
	emit(out_done, sizeof(out_done));
	emit_icr(1, 0x4066);
	emit_icr(2, 0x4068);
	emit_icr(0, 0xc4067);
	emit(out_done, sizeof(out_done));
	emit_icr(0, 0x84069);		/* all */
	emit_icr(3, 0x486a);		/* logical: the first two of the first cluster */
	emit_icr(~0U, 0x406b);
	emit_icr(9, 0x4066);
	emit_icr(1, 0x4400);		/* NMI */
	announce(1, 1);
	check(arrives(1, 0x31), "an interrupt from another host is posted");
	check(icr_exits(0xc4067), "to all, while some are unknown: an exit");
	check(hear_irq(1, 1, 0x66, X2APIC), "one to a vCPU of another host has gone there");
	announce(2, 2);
	check(arrives(2, 0x32), "the third host is there");
	check(runs_to(DONE_PORT, -1) && runs_to(DONE_PORT, -1), "no exit for any");
	check(hear_irq(1, 1, 0x66, X2APIC) && hear_irq(2, 2, 0x68, X2APIC), "to one");
	check(hear_irq(1, 0, 0x67, ALL | X2APIC) && hear_irq(2, 0, 0x67, ALL | X2APIC),
	      "to all others: one message for each host");
	page[0]->reg[LDR] = 1;
	check(icr_exits(0x900004066), "to one whom nobody has: an exit");
	check(icr_exits(0x100004400), "an NMI: an exit");
	check(hear_irq(1, 0, 0x69, ALL | X2APIC) && hear_irq(2, 0, 0x69, ALL | X2APIC) &&
	      hear_irq(1, 3, 0x6a, LOGICAL | X2APIC) && hear_irq(2, 3, 0x6a, LOGICAL | X2APIC) &&
	      hear_irq(1, 0, 0x6b, ALL | X2APIC) && hear_irq(2, 0, 0x6b, ALL | X2APIC),
	      "to all and by a logical destination: everywhere");
	check(bit(0, IRR, 0x69) && bit(0, IRR, 0x6a) && bit(0, IRR, 0x6b) && !bit(0, IRR, 0x67),
	      "here, too");
}

static void *wake(void *unused)
{
	(void)unused;
	usleep(50000);
	say_irq(2, 0, 0x60, X2APIC);
	return NULL;
}

static void test_in(void)
{
	struct cvmm_space_status status;
	pthread_t thread;

	reset(0, true);
	emit(sti_hlt, sizeof(sti_hlt));
	pthread_create(&thread, NULL, wake, NULL);
	check(runs_to(REPORT_PORT, 0x60), "one from another host wakes from HLT");
	pthread_join(thread, NULL);

	reset(0, true);
	page[0]->reg[LDR] = 2;
	say_irq(1, 0, 0x41, ALL);
	say_irq(1, 2, 0x42, LOGICAL | X2APIC);
	say_irq(1, 1, 0x43, LOGICAL | X2APIC);
	say_irq(1, 1, 0x44, X2APIC);		/* it knows better: that one is its own */
	check(arrives(1, 0x45) && page[0]->posted[2] == (1 << 1 | 1 << 2 | 1 << 5),
	      "those for all and by logical destinations come, others' do not");
	check(!ioctl(space, CVMM_SPACE_GET_STATUS, &status) && !status.state, "which is no error");
}

static void *listen_late(void *bad)
{
	usleep(300000);
	for (unsigned int i = 0; i < FLOOD; i++)
		*(unsigned int *)bad += !hear_irq(1, 1, 0x70, X2APIC);
	return NULL;
}

/* The guest is slowed down to what the network takes. */
static void test_flood(void)
{
	uint8_t *loop, count[] = { 0xbe, FLOOD & 255, FLOOD >> 8 };	/* mov si */
	uint8_t dec[] = { 0x4e, 0x75, 0 };				/* dec si; jnz */
	unsigned int bad = 0;
	pthread_t thread;

	reset(0, true);
	emit(count, sizeof(count));
	loop = code;
	emit_icr(1, 0x4070);
	dec[2] = loop - (code + sizeof(dec));
	emit(dec, sizeof(dec));
	emit(out_done, sizeof(out_done));
	pthread_create(&thread, NULL, listen_late, &bad);
	check(runs_to(DONE_PORT, -1), "%u to a host that is slow to listen", FLOOD);
	pthread_join(thread, NULL);
	check(!bad, "all arrive");
}

/* A few bytes now and then: the link is not dead, and what waits for it goes on for minutes. */
static void drip(void)
{
	uint8_t some[DSM_WIRE_SIZE];

	for (unsigned int host = 2; host < HOSTS; host++)
		close(sock[host]);
	while (recv(sock[1], some, sizeof(some) / 2, 0) > 0)
		usleep(50000);
	_exit(0);
}

/* A VMM whose guest does nothing but send interrupts to host 1, which drips. */
static void send_for_ever(int dripper_out)
{
	uint8_t *loop, back[] = { 0xeb, 0 };	/* jmp */
	pid_t pid;

	join(3);
	announce(1, 1);
	if (!arrives(1, 0x34))
		_exit(100);
	pid = fork();
	if (!pid)
		drip();
	if (pid < 0 || write(dripper_out, &pid, sizeof(pid)) != sizeof(pid))
		_exit(101);
	reset(0, true);
	loop = code;
	emit_icr(1, 0x4070);
	back[1] = loop - (code + sizeof(back));
	emit(back, sizeof(back));
	for (;;)
		ioctl(vcpu[0], KVM_RUN, 0);
}

/* The letter in /proc/PID/stat */
static char state_of(pid_t pid)
{
	char path[40], buf[256] = "";
	const char *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		bail(path);
	close(fd);
	end = strrchr(buf, ')');
	return end ? end[2] : '?';
}

static bool stops_running(pid_t pid)
{
	unsigned int asleep = 0;

	for (unsigned int i = 0; i < 2000 && asleep < 20; i++) {
		asleep = strchr("SD", state_of(pid)) ? asleep + 1 : 0;
		usleep(10000);
	}
	return asleep == 20;
}

static unsigned long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The dripper keeps space and link: nothing but the signal can end the sender's wait. */
static void test_drip(void)
{
	unsigned long begin;
	pid_t pid, dripper;
	int out[2], status;

	if (pipe(out))
		bail("pipe");
	fflush(stdout);
	pid = fork();
	if (!pid)
		send_for_ever(out[1]);
	close(out[1]);
	if (pid < 0 || read(out[0], &dripper, sizeof(dripper)) != sizeof(dripper))
		bail("no sender");
	close(out[0]);
	check(stops_running(pid), "who sends without end waits for a host that is slow to listen");
	begin = now_ms();
	kill(pid, SIGKILL);
	while (!waitpid(pid, &status, WNOHANG) && now_ms() - begin < 5000)
		usleep(5000);
	check(now_ms() - begin < 2000, "SIGKILL ends that at once (%lu ms)", now_ms() - begin);
	kill(dripper, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Each ends the space, with its sender's name. */
static void test_bad(void)
{
#define OF(host)	.requester = host, .epoch = 1
	static const struct {
		const char *what;
		struct dsm_msg msg;
	} bad[] = {
		{ "a vector below 16", { OF(1), .type = IRQ, .version = 15 } },
		{ "a vector above 255", { OF(1), .type = IRQ, .version = 0x131 } },
		{ "an unknown flag", { OF(1), .type = IRQ, .version = 0x31, .flags = 8 } },
		{ "all, and one", { OF(1), .type = IRQ, .version = 0x31, .flags = ALL, .gfn = 1 } },
		{ "all, and logical", { OF(1), .type = IRQ, .version = 0x31, .flags = ALL | LOGICAL } },
		{ "an xAPIC's destination of 9 bits", { OF(1), .type = IRQ, .version = 0x31, .gfn = 256 } },
		{ "one of 33 bits", { OF(1), .type = IRQ, .version = 0x31, .flags = X2APIC, .gfn = 1ULL << 32 } },
		{ "in another's name", { OF(2), .type = IRQ, .version = 0x31 } },
		{ "of another epoch", { .requester = 1, .epoch = 2, .type = IRQ, .version = 0x31 } },
		{ "with a page", { OF(1), .type = IRQ, .version = 0x31, .length = 4096 } },
		{ "with an age", { OF(1), .type = IRQ, .version = 0x31, .age = 1 } },
		{ "an APIC id too large", { OF(1), .type = APIC, .gfn = 1024 } },
		{ "an APIC with a flag", { OF(1), .type = APIC, .flags = 1 } },
		{ "another host's APIC", { OF(1), .type = APIC, .gfn = 7 } },
		{ "an unknown type", { OF(1), .type = IRQ + 1 } },
	};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cvmm_space_status status = { 0 };

		join(3);
		announce(2, 7);
		arrives(2, 0x33);
		reset(0, true);
		emit(sti_hlt, sizeof(sti_hlt));
		say(1, &bad[i].msg);
		/* It halts until the space fails; a link that lives would wake it. */
		say_irq(1, 0, 0x60, X2APIC);
		check(ioctl(vcpu[0], KVM_RUN, 0) && errno == EIO &&
		      !ioctl(space, CVMM_SPACE_GET_STATUS, &status) &&
		      status.state == CVMM_SPACE_FAILED && status.host == 1, "%s ends the space: %s",
		      bad[i].what, status.reason);
		leave();
	}
}

/* Whatever is well-formed, for a guest that takes all. */
static void test_random(void)
{
	unsigned int i, taken = 0;

	srandom(1);
	join(3);
	for (i = 0; i < 2000; i++) {
		unsigned int flags = random() & 6;
		uint32_t dest = random() % 4 ? random() % 4 : (uint32_t)random();

		if (!(random() % 4))
			say_irq(1 + i % 2, 0, 16 + random() % 240, ALL | (flags & X2APIC));
		else
			say_irq(1 + i % 2, flags & X2APIC ? dest : dest & 0xff, 16 + random() % 240, flags);
		if (!(random() % 8))
			announce(1 + i % 2, 2 * (random() % 512) + i % 2);
		if (i % 16)
			continue;
		reset(0, random() & 1);
		emit(sti_hlt, sizeof(sti_hlt));
		say_irq(1, 0, 0xff, X2APIC);
		taken += runs_to(REPORT_PORT, -1);
	}
	check(taken == 125, "a guest under 2000 interrupts of all kinds");
	leave();
}

int main(int argc, char **argv)
{
	dev = open_device(argc, argv);
	join(3);
	test_out();
	test_in();
	test_flood();
	leave();
	test_drip();
	test_bad();
	test_random();
	return tap_done();
}
