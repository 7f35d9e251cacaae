// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many messages, and how much data, each kind of remote fault costs.
 */
#include "space_test.h"

#include <stdio.h>
#include <string.h>

#define PAGES	64UL

static struct cluster c;

/* What one access did, on all hosts together. */
struct cost {
	uint64_t req, fwd, inv, data, page, ack, done;
	uint64_t read2, read3, write2, write3, upgrade2, upgrade3, zero0, zero2;
};

static void measure(struct cost *out)
{
	struct counters s;

	memset(out, 0, sizeof(*out));
	for (unsigned int i = 0; i < c.nr; i++) {
		stats_read(c.node[i].name, &s);
		out->req += counter(&s, "dsm.tx_req_s") + counter(&s, "dsm.tx_req_x");
		out->fwd += counter(&s, "dsm.tx_fwd_s") + counter(&s, "dsm.tx_fwd_x");
		out->inv += counter(&s, "dsm.tx_inv");
		out->data += counter(&s, "dsm.tx_data");
		out->page += counter(&s, "dsm.tx_page");
		out->ack += counter(&s, "dsm.tx_inv_ack");
		out->done += counter(&s, "dsm.tx_done");
		out->read2 += counter(&s, "dsm.fault_read_2");
		out->read3 += counter(&s, "dsm.fault_read_3");
		out->write2 += counter(&s, "dsm.fault_write_2");
		out->write3 += counter(&s, "dsm.fault_write_3");
		out->upgrade2 += counter(&s, "dsm.fault_upgrade_2");
		out->upgrade3 += counter(&s, "dsm.fault_upgrade_3");
		out->zero0 += counter(&s, "dsm.fault_zero_0");
		out->zero2 += counter(&s, "dsm.fault_zero_2");
	}
}

/*
 * The DONE that ends a transaction may arrive after the access itself; the next
 * access to the page waits for it, so let it arrive before counting.
 */
static void settle(void)
{
	uint64_t before, after = 0;

	do {
		before = after;
		after = cluster_counter(&c, "rx.done") + cluster_counter(&c, "dsm.tx_done");
	} while (before != after);
}

static struct cost base;

static struct cost since_base(void)
{
	struct cost now, d;
	uint64_t *n = (uint64_t *)&now, *b = (uint64_t *)&base, *o = (uint64_t *)&d;

	settle();
	measure(&now);
	for (size_t i = 0; i < sizeof(d) / sizeof(uint64_t); i++)
		o[i] = n[i] - b[i];
	base = now;
	return d;
}

static uint64_t rd(unsigned int node, unsigned int home, size_t page)
{
	return *(volatile uint64_t *)at(&c, node, home, page, 0);
}

static void wr(unsigned int node, unsigned int home, size_t page, uint64_t v)
{
	*(volatile uint64_t *)at(&c, node, home, page, 0) = v;
}

static void show(const char *what, const struct cost *d)
{
	note("%s: req %llu fwd %llu inv %llu data %llu (pages %llu) ack %llu done %llu", what,
	     (unsigned long long)d->req, (unsigned long long)d->fwd,
	     (unsigned long long)d->inv, (unsigned long long)d->data,
	     (unsigned long long)d->page, (unsigned long long)d->ack,
	     (unsigned long long)d->done);
}

/* The parameter decides for spaces that are created from now on. */
static void migratory(bool on)
{
	set_parameter("migratory", on ? "Y" : "N");
}

/* A page that is read and then written, host by host. */
static void test_migration(void)
{
	struct cost d;

	cluster_create(&c, "migration", 3, PAGES, JOIN_TCP);
	wr(0, 1, 0, 1);
	ok(rd(2, 1, 0) == 1, "a page is read");
	wr(2, 1, 0, 2);
	ok(cluster_counter(&c, "dsm.home_promote") == 1, "... then written: it is migratory");
	settle();
	measure(&base);

	ok(rd(0, 1, 0) == 2, "the next host reads it");
	wr(0, 1, 0, 3);
	d = since_base();
	show("migration", &d);
	ok(d.req == 1 && d.fwd == 1 && d.data == 1 && d.page == 1 && d.done == 1 &&
	   !d.upgrade2 && !d.upgrade3, "... and writes it: one exchange for both");
	ok(cluster_counter(&c, "dsm.read_migratory") == 1 &&
	   cluster_counter(&c, "dsm.migratory_written") == 1, "... and it is counted");

	ok(rd(1, 1, 0) == 3, "home only reads it");
	ok(rd(2, 1, 0) == 3, "... and another host after it");
	since_base();
	ok(rd(1, 1, 0) == 3 && rd(2, 1, 0) == 3, "... then both have a copy");
	d = since_base();
	ok(!d.req && !d.fwd, "... without another message");
	ok(cluster_counter(&c, "dsm.migratory_clean") == 1 &&
	   cluster_counter(&c, "dsm.home_demote") == 1, "... and the page is not migratory");
	cluster_destroy(&c);
}

/* A page that goes to and fro with few changes: these go, and all of it arrives. */
static void test_deltas(void)
{
	enum { WORDS = PAGE / 8, ROUNDS = 300 };
	static uint64_t want[WORDS];
	uint64_t seed = test_seed, pages, deltas;
	unsigned int wrong = 0;

	cluster_create(&c, "deltas", 2, PAGES, JOIN_TCP);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t *from = at(&c, i % 2, 1, 0, 0), *to = at(&c, (i + 1) % 2, 1, 0, 0);
		/* Now and then too many for a delta; or none, but written. */
		unsigned int n = i % 16 == 7 ? WORDS : (unsigned int)(rnd(&seed) % 8);

		((volatile uint64_t *)from)[0] = want[0];
		for (unsigned int k = 0; k < n; k++) {
			size_t w = rnd(&seed) % WORDS;

			want[w] = rnd(&seed);
			((volatile uint64_t *)from)[w] = want[w];
		}
		wrong += !!memcmp(to, want, PAGE);
	}
	ok(!wrong, "%u of %u rounds: the reader has what was written", ROUNDS - wrong, ROUNDS);
	pages = cluster_counter(&c, "dsm.tx_page");
	deltas = cluster_counter(&c, "space.delta_tx");
	note("%llu pages, %llu of them as deltas of %llu bytes in all", (unsigned long long)pages,
	     (unsigned long long)deltas,
	     (unsigned long long)cluster_counter(&c, "space.delta_tx_bytes"));
	ok(pages >= ROUNDS && deltas > ROUNDS * 3 / 4 && deltas < pages,
	   "most pages go as what has changed in them");
	cluster_destroy(&c);
}

void test_messages(void)
{
	uint64_t rx_bytes;
	struct cost d;

	test_deltas();
	test_migration();
	migratory(false);
	cluster_create(&c, "messages", 3, PAGES, JOIN_TCP);
	measure(&base);

	wr(0, 0, 0, 1);
	d = since_base();
	ok(d.zero0 == 1 && !d.req && !d.data, "first touch at home: no message");

	rd(1, 0, 1);
	d = since_base();
	show("untouched page", &d);
	ok(d.zero2 == 1 && d.req == 1 && d.data == 1 && !d.page && !d.fwd,
	   "first touch of a remote page: 2 messages on the path, no data");

	wr(1, 0, 1, 5);
	d = since_base();
	ok(!d.req && !d.data, "a page that was read first and alone is writable at once");

	ok(rd(1, 0, 0) == 1, "read of a page that home owns");
	d = since_base();
	show("read, home owns", &d);
	ok(d.read2 == 1 && d.req == 1 && !d.fwd && d.data == 1 && d.page == 1,
	   "... 2 messages on the path, one page");

	ok(rd(2, 0, 1) == 5, "read of a page that a third host owns");
	d = since_base();
	show("read, third host owns", &d);
	ok(d.read3 == 1 && d.req == 1 && d.fwd == 1 && d.data == 1 && d.page == 1,
	   "... 3 messages on the path, one page");

	wr(2, 0, 1, 6);
	d = since_base();
	show("upgrade, third host owns", &d);
	ok(d.upgrade2 + d.upgrade3 == 1 && !d.page && d.req == 1,
	   "upgrade of a shared page: no data");
	ok(rd(0, 0, 1) == 6 && rd(1, 0, 1) == 6, "... and the value arrives");
	since_base();

	/* All three hold page 1 now; the owner is host 2. */
	wr(1, 0, 1, 7);
	d = since_base();
	show("upgrade, two others share", &d);
	ok(d.upgrade2 + d.upgrade3 == 1 && !d.page && d.req == 1,
	   "upgrade with several sharers: no data, one request");
	ok(d.inv + d.fwd >= 1 && d.ack <= 2, "... invalidations go out in parallel");

	/* Exclusive at host 1; a write by host 2 takes it over with data. */
	wr(2, 0, 1, 8);
	d = since_base();
	show("write, third host owns", &d);
	ok(d.write3 == 1 && d.req == 1 && d.fwd == 1 && d.page == 1 && !d.inv,
	   "write of a page that a third host owns: 3 messages on the path, one page");
	ok(rd(1, 0, 1) == 8, "... and the value arrives");
	since_base();

	/* Home writes: no request message to itself. */
	wr(0, 0, 0, 9);
	d = since_base();
	show("upgrade at home", &d);
	ok(!d.req && !d.page && d.inv == 1 && d.ack == 1,
	   "home's own upgrade: invalidation and acknowledgement only");
	wr(1, 0, 0, 10);
	d = since_base();
	show("write, home owns", &d);
	ok(d.write2 == 1 && d.req == 1 && !d.fwd && d.page == 1,
	   "write of a page that home owns: 2 messages on the path, one page");

	rx_bytes = cluster_counter(&c, "dsm.tx_page");
	for (int i = 0; i < 100; i++)
		rd(1, 0, 0), wr(1, 0, 0, i);
	d = since_base();
	ok(!d.req && !d.data && cluster_counter(&c, "dsm.tx_page") == rx_bytes,
	   "accesses to a page that is here: no message");
	ok(!cluster_counter(&c, "dsm.home_promote"), "with migratory=N no page is handed over on a read");
	cluster_destroy(&c);
	migratory(true);
}
