/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the groups of space tests share: TAP, and spaces of several "hosts" of
 * one guest that live in one kernel, joined by socket pairs or loopback TCP.
 */
#ifndef SPACE_TEST_H
#define SPACE_TEST_H

#include <linux/cvmm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE		4096UL
#define MAX_NODES	4

/* ---- TAP (main.c) */
void ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *name, const char *why);
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void die(const char *what) __attribute__((noreturn));

/* Seed of this run (--seed); printed, so that a failure can be repeated. */
extern uint64_t test_seed;
uint64_t rnd(uint64_t *state);
/* Of the module; or the program ends. */
void set_parameter(const char *name, const char *value);
uint64_t now_ns(void);

/* Run @fn in a child; its exit status, or 128 + signal. */
int in_child(int (*fn)(void *arg), void *arg);

/* ---- spaces (lib.c) */
enum join { JOIN_UNIX, JOIN_TCP, JOIN_RDMA, JOIN_CONNS /* several of TCP */, JOIN_TLS /* TCP with kernel TLS */ };

struct node {
	int fd;			/* the space, -1: none */
	char name[CVMM_NAME_LEN];
	uint8_t *mem;		/* mapping of all of it */
};

/* One guest: @nr hosts, @pages pages each at home on host 0, 1, ... */
struct cluster {
	unsigned int nr;
	size_t pages;		/* of each host */
	size_t size;		/* bytes in all */
	uint64_t id;
	struct node node[MAX_NODES];
};

int cvmm_open(void);
/* A valid configuration of a space with one range for each host. */
void config_init(struct cvmm_space_config *cfg, struct cvmm_home_range *ranges,
		 const char *name, unsigned int host, unsigned int nr, size_t pages,
		 uint64_t id);
int space_create(const struct cvmm_space_config *cfg);
/* The connection @fd of CVMM_TRANSPORT_*. */
int space_add_link_over(int space, unsigned int host, uint32_t transport, int fd);
int space_add_link(int space, unsigned int host, int sock);
/* @nr stream sockets. */
int space_add_conns(int space, unsigned int host, const int *socks, unsigned int nr);
struct cvmm_space_status space_status(int space);
/* Wait until the space has failed; false after @timeout_ms. */
bool space_wait_failed(int space, int timeout_ms);

void socket_pair(int fds[2], enum join join);
/* Whether this kernel has JOIN_TLS. */
bool have_tls(void);

/* ---- RDMA (endpoint.c) */
/* This host's address, whose device has RDMA, as "10.78.0.1". */
const char *rdma_address(unsigned int host);
/* An endpoint with random tokens; @addr in dotted form.  As the ioctl returns. */
void endpoint_init(struct cvmm_rdma_endpoint *e, const char *addr);
/* The other end of @e, which listens. */
void endpoint_mirror(struct cvmm_rdma_endpoint *peer, const struct cvmm_rdma_endpoint *e,
		     unsigned int nr_qps);
int endpoint_open(struct cvmm_rdma_endpoint *e);
struct cvmm_rdma_status endpoint_status(int fd);
/* Wait until it has connected (true) or failed, at most 10 s. */
bool endpoint_wait(int fd);
/* Two connected ends on this host. */
void endpoint_pair(int fds[2], unsigned int nr_qps);
void cluster_create(struct cluster *c, const char *name, unsigned int nr, size_t pages,
		    enum join join);
void cluster_destroy(struct cluster *c);
/* Address of byte @off of page @page of home @home in @node's mapping. */
static inline void *at(struct cluster *c, unsigned int node, unsigned int home, size_t page,
		       size_t off)
{
	return c->node[node].mem + (home * c->pages + page) * PAGE + off;
}

/* ---- one host's part of a space of several hosts (hosts.c) */
struct site {
	unsigned int nr;	/* hosts; this and the next three by the caller */
	size_t pages;		/* at home on each */
	enum join join;		/* JOIN_TCP or JOIN_RDMA */
	bool narrow;		/* links that little fits into: one lane, small buffers */
	int space;
	uint8_t *mem;
	size_t size;		/* bytes in all */
};

/* Which of the hosts this is, from 0 on. */
unsigned int this_host(void);
/* The space and its links to all other hosts, which do the same. */
void site_open(struct site *s, const char *name, uint64_t id);
void site_close(struct site *s);
/* A TCP connection between hosts 0 and 1, both of which call this. */
int site_connect(void);

/* ---- netlink (stats.c) */
/* All counters of a space; counter() finds one, dying if it is unknown. */
struct counters {
	unsigned int nr;
	struct {
		char name[64];
		uint64_t value;
	} c[256];
};

struct space_info {
	uint32_t host, nr_hosts, state, links_up, nr_links, tx_queued_max;
	uint64_t id, pages, home_pages, frames, meta_bytes, copied;
	char reason[CVMM_REASON_LEN];
};

void stats_read(const char *space, struct counters *out);
uint64_t counter(const struct counters *c, const char *name);
/* Sum over all hosts of a cluster of one counter. */
uint64_t cluster_counter(struct cluster *c, const char *name);
bool space_info(const char *space, struct space_info *out);
unsigned int spaces_dump(void);

/* ---- pair.c, over any transport */
void pair_run(unsigned int nr, enum join join, const char *name);
/* Returns how many messages were taken by who waited for one. */
uint64_t stress_run(unsigned int nr, unsigned int threads, unsigned int loops, enum join join);

/* ---- groups */
void test_local(void);
void test_pair(void);
void test_stress(void);
void test_poll(void);
void test_messages(void);
void test_failure(void);
void test_fuzz(void);
void test_cycle(void);
void test_netlink(void);
void test_remote(void);
void test_rdma(void);
void test_rdma_remove(void);
void test_rdma_remote(void);
void test_faults(void);
void test_split(void);
void test_latency(void);

#endif /* SPACE_TEST_H */
