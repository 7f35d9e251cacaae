/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What vmmd, the processes of a guest on its hosts, and cvmm-run say to each
 * other: pure encoders and decoders, no I/O.
 *
 * Every TCP connection to vmmd's port starts with a TLS handshake (tls.h), then
 * a hello, answered by one answer.  Each is one record of fixed size, so that
 * whoever reads them leaves the bytes after them in the socket.  After that a
 * connection carries frames (client and channel), or belongs to the kernel
 * module (link).
 *
 *   client --- hello(CLIENT) ---> vmmd, which starts the guest's process there
 *   node i --- hello(CHANNEL) --> node j < i: interrupts, device accesses, clocks
 *   node i --- hello(LINK) -----> node j < i: the module's coherence messages
 *
 * All numbers are little-endian.  A decoder returns -1 for whatever does not
 * follow this header; it never reads beyond the length it is given.
 */
#ifndef VMMD_PROTO_H
#define VMMD_PROTO_H

#include <stddef.h>
#include <stdint.h>

#include "vmmd/conf.h"
#include "vmmd/machine.h"

#define PROTO_VERSION	6

/* ---- hello and answer ---------------------------------------------------- */

#define HELLO_SIZE	128
#define ANSWER_SIZE	256
#define ANSWER_TEXT	232

enum hello_role {
	HELLO_CLIENT = 1,
	HELLO_CHANNEL = 2,
	HELLO_LINK = 3,
	HELLO_CHECK = 4,	/* can this host take part?  Answered, and that is all */
};

#define NODE_CLIENT	0xffffffffU	/* "from" of a client's hello, and of a check's */

/* magic u64, version u32, role u32, vm_id u64, epoch u32, from u32, to u32, 0 u32, name[64], 0[24] */
struct hello {
	enum hello_role role;
	uint64_t vm_id;		/* random, of one run of cvmm-run; the space's id too */
	uint32_t epoch;		/* from 1, one more at each reboot of the guest */
	uint32_t from;		/* node of the sender, or NODE_CLIENT */
	uint32_t to;		/* node addressed; of a check: HOST_* (hostcheck.h) */
	char name[CONF_NAME_LEN];
};

enum answer_status {
	ANSWER_OK = 0,
	ANSWER_NAME_IN_USE = 1,
	ANSWER_NO_SUCH_VM = 2,	/* of this id and epoch, here */
	ANSWER_REFUSED = 3,
};

/* magic u64, version u32, status u32, 0 u64, text[232] */
struct answer {
	uint32_t status;
	char text[ANSWER_TEXT];	/* why not, or what the host is (HELLO_CHECK); NUL-terminated */
};

void hello_encode(uint8_t buf[HELLO_SIZE], const struct hello *h);
/* -1: not our protocol; -2: another version of it, in *@version. */
int hello_decode(const uint8_t buf[HELLO_SIZE], struct hello *h, uint32_t *version);
void answer_encode(uint8_t buf[ANSWER_SIZE], uint32_t status, const char *text);
int answer_decode(const uint8_t buf[ANSWER_SIZE], struct answer *a, uint32_t *version);

/* ---- what link and channel are over ---------------------------------------- */

/*
 * Where the guest's links may be RDMA connections (conf_may_rdma()), both ends
 * have a word on a link's connection after the answer: who was called what it
 * offers, then the caller what has come of it.  One record each.  The channel of
 * the two nodes takes RDMA when the link does.
 */
enum link_kind {
	LINK_TCP = 1,		/* this connection is the link */
	LINK_RDMA,		/* both offered at these ports with these tokens; or both connected */
	LINK_FAILED,		/* no link */
};

#define LINK_TOKEN	32
#define LINK_TEXT	128
#define LINK_WORD_SIZE	(8 + 4 * LINK_TOKEN + LINK_TEXT)

struct link_offer {
	uint16_t port;
	uint8_t offered[LINK_TOKEN];	/* shown by who offers */
	uint8_t wanted[LINK_TOKEN];	/* and by who connects */
};

/* kind u32, ports 2 * u16, tokens of the link, of the channel, text[128] */
struct link_word {
	uint32_t kind;			/* enum link_kind */
	struct link_offer link, channel;
	char text[LINK_TEXT];		/* why there is no RDMA */
};

void link_word_encode(uint8_t buf[LINK_WORD_SIZE], const struct link_word *w);
int link_word_decode(const uint8_t buf[LINK_WORD_SIZE], struct link_word *w);

/* ---- frames -------------------------------------------------------------- */

#define FRAME_HEADER	16		/* length u32, type u16, 0 u16, tag u32, 0 u32 */
#define FRAME_MAX	(64U << 10)	/* payload */

enum frame_type {
	/* client to a node */
	F_CONF = 1,		/* struct start_request */
	F_KERNEL,		/* bytes, node 0 only, until as many as F_CONF announced */
	F_INITRD,
	F_CONNECT,		/* make channels and links to the other nodes */
	F_PREPARE,		/* create the machine; node 0: load the guest */
	F_RUN,
	F_STOP,			/* end this node's part */
	F_BYE,			/* all nodes have stopped: the process may end */
	F_CONSOLE_IN,		/* bytes, to node 0 */
	/* a node to the client */
	F_DONE,			/* u32: the frame type of the step that is done */
	F_ENDED,		/* struct ended */
	F_CONSOLE_OUT,		/* bytes, from node 0 */
	F_STATS,		/* list of name and value */
	/* node to node */
	F_APIC_MSG,
	F_APIC_INFO,
	F_EOI,			/* u8 vector */
	F_IO,			/* struct io_req; answered with F_IO_DONE and its tag */
	F_IO_DONE,
	F_PING,			/* u64 t0 */
	F_PONG,			/* u64 t0, t1, t2 */
	/* both */
	F_ALIVE,
	F_TYPES
};

struct frame {
	uint16_t type;
	uint32_t tag;
	uint32_t len;
	const uint8_t *data;	/* points into the decoder's input */
};

void frame_header(uint8_t buf[FRAME_HEADER], uint16_t type, uint32_t tag, uint32_t len);

/*
 * Decode the first frame of @buf.  Returns its size with the header, 0 when @len
 * bytes do not hold all of it yet, -1 when it is malformed.
 */
long frame_decode(const uint8_t *buf, size_t len, struct frame *f);

/* ---- payloads ------------------------------------------------------------ */

struct start_request {
	struct vm_conf conf;
	uint64_t kernel_len;
	uint64_t initrd_len;
};

/* Longest encoding of a start_request. */
#define START_MAX	FRAME_MAX

/* Returns the length, or -1 if it does not fit. */
long start_encode(uint8_t *buf, size_t max, const struct start_request *s);
/* 0 or -1; conf_free(&s->conf) in both cases.  The result has passed conf_check(). */
int start_decode(const uint8_t *buf, size_t len, struct start_request *s, char *err, size_t errlen);

#define ENDED_TEXT	256

/* How a node's part of a guest has ended. */
struct ended {
	uint32_t end;		/* enum machine_end */
	uint32_t node;		/* that it is about, or NODE_CLIENT: none */
	uint32_t status;	/* enum ended_status */
	char text[ENDED_TEXT];
};

enum ended_status {
	ENDED_NORMALLY,
	ENDED_UNAVAILABLE,	/* the host cannot run it */
	ENDED_LOST,		/* another host was lost */
	ENDED_INTERNAL,		/* the engine or the guest failed */
	ENDED_STATUSES
};

#define ENDED_SIZE	(12 + ENDED_TEXT)
void ended_encode(uint8_t buf[ENDED_SIZE], const struct ended *e);
int ended_decode(const uint8_t *buf, size_t len, struct ended *e);

#define APIC_MSG_SIZE	16
#define APIC_INFO_SIZE	16
#define IO_SIZE		24
void apic_msg_encode(uint8_t buf[APIC_MSG_SIZE], const struct apic_msg *m);
int apic_msg_decode(const uint8_t *buf, size_t len, struct apic_msg *m);
void apic_info_encode(uint8_t buf[APIC_INFO_SIZE], const struct apic_info *i);
int apic_info_decode(const uint8_t *buf, size_t len, struct apic_info *i);
void io_encode(uint8_t buf[IO_SIZE], const struct io_req *r);
int io_decode(const uint8_t *buf, size_t len, struct io_req *r);

/* Little-endian numbers. */
static inline void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static inline uint64_t get_u64(const uint8_t *p)
{
	return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

#endif /* VMMD_PROTO_H */
