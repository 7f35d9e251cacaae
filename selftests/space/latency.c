// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How long a remote page takes, beside a raw round trip of the same bytes over
 * the same transport (raw.c), taken in turns: host 0 asks, host 1 has the pages.
 *
 *   read     header there, header and page back    against  the raw round trip with a page
 *   write    the same, for a page not read before             the same
 *   upgrade  header there, header back                        the raw round trip without
 *
 * Times are a program's: from its access to the next instruction.  With them go the
 * CPU time of both hosts per fault, and how often the module copied a page.
 */
#include "raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ROUNDS	20
#define BATCH		100UL	/* of each kind in a round */
#define PAGES		(2 * BATCH)	/* of a round */

enum row { RAW_PAGE, READ, WRITE, RAW_SMALL, UPGRADE, NR_ROWS };

static const struct {
	const char *name;
	enum row raw;
} rows[NR_ROWS] = {
	{ "raw-page", RAW_PAGE }, { "read", RAW_PAGE }, { "write", RAW_PAGE },
	{ "raw-small", RAW_SMALL }, { "upgrade", RAW_SMALL },
};

static uint64_t ns[NR_ROWS][MAX_ROUNDS * BATCH];
static unsigned int rounds;
static FILE *json;

/* Both ends are here. */
static void meet(int sock)
{
	uint8_t byte = 0;

	if (write(sock, &byte, 1) != 1 || recv(sock, &byte, 1, MSG_WAITALL) != 1)
		die("the other host");
}

/* CPU time of the host that was not idle, since it was started, in ns. */
static uint64_t busy_ns(void)
{
	unsigned long long v[8] = { 0 }, sum = 0;
	FILE *f = fopen("/proc/stat", "re");

	if (!f || fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
			 &v[5], &v[6], &v[7]) != 8)
		die("/proc/stat");
	fclose(f);
	for (int i = 0; i < 8; i++)
		if (i != 3 && i != 4)
			sum += v[i];
	return sum * 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorted before. */
static uint64_t percentile(enum row r, unsigned int percent)
{
	return ns[r][rounds * BATCH * percent / 100];
}

/* Each page once, in no order that could be foreseen: the same on every call. */
static void shuffle(size_t *order)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < PAGES; i++) {
		size_t j = rnd(&seed) % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

/* Half of a round's pages; the other host has them, or (UPGRADE) both. */
static void fault(const struct site *s, enum row r, unsigned int round, const size_t *order)
{
	uint64_t *out = ns[r] + round * BATCH, begin;
	volatile uint64_t *p;

	for (size_t i = 0; i < BATCH; i++) {
		p = (uint64_t *)(s->mem + (s->pages + round * PAGES + order[i]) * PAGE);
		begin = now_ns();
		if (r == READ)
			*p;
		else
			*p = i;
		out[i] = now_ns() - begin;
	}
}

/* The CPU time of its faults. */
static uint64_t ask(const struct site *s, struct raw *raw, int sock)
{
	size_t order[PAGES];
	uint64_t busy = 0;

	shuffle(order);
	for (unsigned int round = 0; round < rounds; round++) {
		raw_measure(raw, false, BATCH, ns[RAW_SMALL] + round * BATCH);
		raw_measure(raw, true, BATCH, ns[RAW_PAGE] + round * BATCH);
		raw_stop(raw);
		meet(sock);
		busy -= busy_ns();
		fault(s, READ, round, order);
		fault(s, UPGRADE, round, order);
		fault(s, WRITE, round, order + BATCH);
		busy += busy_ns();
		meet(sock);
	}
	return busy;
}

static uint64_t give(struct raw *raw, int sock)
{
	uint64_t busy = 0;

	for (unsigned int round = 0; round < rounds; round++) {
		raw_serve(raw);
		meet(sock);
		busy -= busy_ns();
		meet(sock);
		busy += busy_ns();
	}
	return busy;
}

/* What a host has to say of its part. */
struct part {
	uint64_t busy_ns;
	uint64_t copied;	/* bytes of pages */
	uint64_t sent;		/* pages */
};

static void report(const char *over, const struct part *here, const struct part *there)
{
	const double faults = 3.0 * BATCH * rounds;
	const double copies = (double)(here->copied + there->copied) / PAGE / (double)(here->sent + there->sent);
	bool good = true;

	for (enum row r = 0; r < NR_ROWS; r++) {
		const double p50 = (double)percentile(r, 50), p99 = (double)percentile(r, 99);
		const double raw50 = (double)percentile(rows[r].raw, 50), raw99 = (double)percentile(rows[r].raw, 99);

		note("%-4s %-9s p50 %9.1f us  p99 %9.1f us  %5.2f %5.2f of raw", over, rows[r].name,
		     p50 / 1000, p99 / 1000, p50 / raw50, p99 / raw99);
		fprintf(json, "%s\n  { \"transport\": \"%s\", \"row\": \"%s\", \"p50_ns\": %.0f, \"p99_ns\": %.0f, "
			"\"p50_to_raw\": %.3f, \"p99_to_raw\": %.3f }", ftell(json) > 2 ? "," : "", over, rows[r].name,
			p50, p99, p50 / raw50, p99 / raw99);
		good &= p50 > 0;
	}
	note("%-4s CPU time of a fault: %.1f us here, %.1f us where the page is; copies of a page: %.2f", over,
	     (double)here->busy_ns / faults / 1000, (double)there->busy_ns / faults / 1000, copies);
	fprintf(json, ",\n  { \"transport\": \"%s\", \"row\": \"fault\", \"cpu_ns\": %.0f, \"cpu_there_ns\": %.0f, "
		"\"copies_per_page\": %.3f }", over, (double)here->busy_ns / faults,
		(double)there->busy_ns / faults, copies);
	ok(good, "%s: %lu faults of each kind beside as many round trips", over, rounds * BATCH);
	if (here->sent + there->sent)
		ok(strcmp(over, "rdma") || !copies, "... %.2f copies of a page", copies);
}

static uint64_t grown(const struct counters *before, const struct counters *after, const char *name)
{
	return counter(after, name) - counter(before, name);
}

static void latency_run(enum join join)
{
	struct site s = { .nr = 2, .pages = rounds * PAGES, .join = join };
	struct counters before, after;
	const bool asks = !this_host();
	struct part here, there;
	struct space_info info;
	struct raw *raw;
	int sock;

	site_open(&s, "latency", 0x1a7e + join);
	sock = site_connect();
	raw = raw_open(sock, join == JOIN_RDMA);
	if (!asks)
		for (size_t page = s.pages; page < 2 * s.pages; page++)
			*(volatile uint64_t *)(s.mem + page * PAGE) = page;
	stats_read("latency", &before);
	meet(sock);
	here.busy_ns = asks ? ask(&s, raw, sock) : give(raw, sock);
	stats_read("latency", &after);
	if (!space_info("latency", &info))
		die("space_info");
	here.copied = info.copied;
	here.sent = grown(&before, &after, "dsm.tx_page");
	if (write(sock, &here, sizeof(here)) != sizeof(here) ||
	    recv(sock, &there, sizeof(there), MSG_WAITALL) != sizeof(there))
		die("the other host");
	if (asks) {
		for (enum row r = 0; r < NR_ROWS; r++)
			qsort(ns[r], rounds * BATCH, sizeof(ns[r][0]), compare);
		report(join == JOIN_RDMA ? "rdma" : "tcp", &here, &there);
		ok(grown(&before, &after, "dsm.fault_read_2") == rounds * BATCH &&
		   grown(&before, &after, "dsm.fault_write_2") == rounds * BATCH &&
		   grown(&before, &after, "dsm.fault_upgrade_2") == rounds * BATCH,
		   "... each of two messages one after the other");
	} else {
		ok(here.sent >= 2 * BATCH * rounds, "%llu pages were sent", (unsigned long long)here.sent);
	}
	raw_close(raw);
	meet(sock);
	close(sock);
	site_close(&s);
}

void test_latency(void)
{
	const char *env = getenv("BENCH_ROUNDS"), *path = getenv("BENCH_JSON");

	rounds = env ? (unsigned int)atoi(env) : 1;
	if (!rounds || rounds > MAX_ROUNDS)
		die("BENCH_ROUNDS");
	json = fopen(this_host() || !path ? "/dev/null" : path, "we");
	if (!json)
		die("BENCH_JSON");
	fprintf(json, "[");
	latency_run(JOIN_TCP);
	latency_run(JOIN_RDMA);
	fprintf(json, "\n]\n");
	if (fclose(json))
		die("BENCH_JSON");
}
