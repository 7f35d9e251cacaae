// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A malicious peer: random, mutated, truncated and senseless messages, while a
 * thread uses the space.  Each may end the space, with a reason, and no more.
 */
#include "fake_peer.h"
#include "space_test.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES		16UL
#define ROUNDS		1000
#define MESSAGES	40

static struct fake_peer fp;
static __thread sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jmp, 1);
}

/* Uses the space until it fails. */
static void *toucher(void *arg)
{
	uint64_t seed = *(uint64_t *)arg, r;
	volatile uint8_t *m = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				   fp.space, 0);

	if (m == MAP_FAILED)
		die("mmap");
	if (!sigsetjmp(bus_jmp, 1)) {
		for (;;) {
			r = rnd(&seed);
			if (r & 1)
				m[(r >> 8) % (2 * PAGES) * PAGE] = r;
			else
				(void)m[(r >> 8) % (2 * PAGES) * PAGE];
			if (space_status(fp.space).state)
				break;
		}
	}
	munmap((void *)m, 2 * PAGES * PAGE);
	return NULL;
}

static uint64_t random_gfn(uint64_t r)
{
	switch (r & 15) {
	case 0:
		return r;
	case 1:
		return 2 * PAGES;
	case 2:
		return ~0ULL;
	default:
		return (r >> 8) % (2 * PAGES);
	}
}

/* A message that decodes, whatever it means. */
static void random_msg(struct dsm_msg *msg, uint64_t *seed)
{
	uint64_t r = rnd(seed), q = rnd(seed);

	memset(msg, 0, sizeof(*msg));
	msg->type = 1 + r % 8;
	if (!(r >> 60)) {			/* about interrupts */
		msg->type = FAKE_HELLO + (q >> 60) % 4;
		msg->requester = (r & 0x700) ? 1 : r >> 16 & 0xff;
		msg->epoch = (r & 0x7c00) ? 1 : r >> 32;
		msg->gfn = q & 1 ? q & 0x7ff : q;
		msg->version = q >> 44 & (q & 2 ? 0xff : 0x1ff);
		msg->flags = r >> 48 & (q & 4 ? 7 : 0xf);
		msg->length = q >> 40 & 15 ? 0 : PAGE;
		return;
	}
	msg->requester = (r & 0x100) ? 1 : (r >> 16) & 3;
	msg->acks = (r & 0x200) ? 0 : (r >> 20) & 3;
	msg->epoch = (r & 0x7c00) ? 1 : r >> 32;
	msg->gfn = random_gfn(q);
	msg->version = (q >> 40) & 3;
	if (msg->type == DSM_MSG_DATA) {
		static const uint16_t flags[] = { 0, DSM_F_EXCL, DSM_F_SAME | DSM_F_EXCL,
						  DSM_F_ZERO | DSM_F_EXCL, DSM_F_ZERO,
						  DSM_F_CLEAN, DSM_F_EXCL | DSM_F_CLEAN };

		msg->flags = flags[(r >> 24) % 7];
		if (!(msg->flags & (DSM_F_SAME | DSM_F_ZERO)))
			msg->length = PAGE;
	} else if (msg->type == DSM_MSG_REQ_X) {
		msg->flags = r & 0x1000000 ? DSM_F_HAVE : 0;
	} else if (msg->type == DSM_MSG_REQ_S) {
		msg->flags = r & 0x1000000 ? DSM_F_PLAIN : 0;
	} else if (msg->type == DSM_MSG_FWD_S) {
		msg->flags = r & 0x1000000 ? DSM_F_EXCL : 0;
	} else if (msg->type == DSM_MSG_DONE) {
		msg->flags = (r & 0x1000000 ? DSM_F_EXCL : 0) |
			     (r & 0x2000000 ? DSM_F_CLEAN : 0);
	}
}

static void fuzz_round(uint64_t *seed, unsigned int *ended, unsigned int *silent)
{
	static uint8_t page[PAGE];
	struct cvmm_space_status status;
	uint8_t raw[DSM_WIRE_SIZE];
	uint64_t tseed = rnd(seed);
	struct dsm_msg msg;
	pthread_t thread;

	fake_create(&fp, "fuzz", PAGES, JOIN_UNIX);
	if (rnd(seed) % 16)
		fake_hello(&fp);
	pthread_create(&thread, NULL, toucher, &tseed);
	for (unsigned int i = 0; i < MESSAGES; i++) {
		uint64_t r = rnd(seed);

		random_msg(&msg, seed);
		dsm_wire_encode(&msg, raw);
		if (r % 64 == 0) {		/* random bytes */
			for (size_t j = 0; j < sizeof(raw); j += 8)
				memcpy(raw + j, &(uint64_t){ rnd(seed) }, 8);
		} else if (r % 64 < 4) {	/* one bit */
			raw[(r >> 8) % sizeof(raw)] ^= 1 << (r >> 16) % 8;
		} else if (r % 64 == 5) {	/* cut off */
			fake_send_part(&fp, &msg, (r >> 8) % (sizeof(raw) + msg.length));
			shutdown(fp.sock, SHUT_WR);
			break;
		}
		if (send(fp.sock, raw, sizeof(raw), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(raw))
			break;
		if (msg.length &&
		    send(fp.sock, page, sizeof(page), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(page))
			break;
		if (r >> 32 & 1)
			usleep(1);
	}
	space_wait_failed(fp.space, 20);
	status = space_status(fp.space);
	if (status.state == CVMM_SPACE_FAILED) {
		++*ended;
		*silent += !status.reason[0] || status.host != 1 || !status.error;
	}
	ioctl(fp.space, CVMM_SPACE_FAIL);
	pthread_join(thread, NULL);
	fake_destroy(&fp);
}

/* Requests without end, and no answer is ever read. */
static void test_flood(void)
{
	const size_t pages = 100000;
	struct cvmm_space_status status;
	struct dsm_msg msg = { .type = DSM_MSG_REQ_S, .requester = 1, .epoch = 1 };
	uint8_t raw[DSM_WIRE_SIZE];
	uint64_t begin = now_ns();
	size_t sent;

	fake_create(&fp, "flood", pages, JOIN_UNIX);
	fake_hello(&fp);
	for (sent = 0; sent < pages; sent++) {
		msg.gfn = sent;
		dsm_wire_encode(&msg, raw);
		if (send(fp.sock, raw, sizeof(raw), MSG_NOSIGNAL) != sizeof(raw))
			break;
	}
	space_wait_failed(fp.space, 10000);
	status = space_status(fp.space);
	ok(status.state == CVMM_SPACE_FAILED && status.host == 1,
	   "a peer that asks (%zu times) and never reads: \"%s\" after %llu ms", sent,
	   status.reason, (unsigned long long)(now_ns() - begin) / 1000000);
	fake_destroy(&fp);
}

void test_fuzz(void)
{
	struct sigaction sa = { .sa_handler = on_bus };
	unsigned int ended = 0, silent = 0;
	uint64_t seed = test_seed;
	struct cluster c;

	sigaction(SIGBUS, &sa, NULL);
	for (unsigned int i = 0; i < ROUNDS; i++)
		fuzz_round(&seed, &ended, &silent);
	ok(ended > ROUNDS / 2, "%u spaces met a malicious peer, %u of them ended", ROUNDS, ended);
	ok(!silent, "... each with a reason that names the peer");
	test_flood();

	cluster_create(&c, "after", 2, PAGES, JOIN_UNIX);
	*(volatile uint64_t *)at(&c, 0, 1, 3, 0) = 1234;
	ok(*(volatile uint64_t *)at(&c, 1, 1, 3, 0) == 1234, "another guest works as before");
	cluster_destroy(&c);
	ok(spaces_dump() == 0, "no space is left");
}
