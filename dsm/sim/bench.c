// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dsm-bench: what the protocol costs, from simulation: by number of hosts and kind of
 * sharing over a fast fabric, by how long pages are held where they travel for longer,
 * and how long the unluckiest waits.  Tables to standard output, JSON to a file.
 * dsm/MEASUREMENTS.rst has the results and where the fabric's numbers come from.
 */
#include <getopt.h>
#include <stdlib.h>

#include "sim.h"

#define NR(a) (sizeof(a) / sizeof((a)[0]))

static u32 ops = 5000;
static FILE *json;
static const char *json_sep = "";

/*
 * 100 Gb/s, RC send: 0.82 us for 32 bytes and 2.27 us for 4 KiB, one way; a switch of
 * 0.3 us; the slowest messages take 1.4 times as long.  Ours on top: a microsecond to
 * handle a message, under two to be on a CPU again after a polled wait, and to enter
 * the guest.
 */
static void fabric(struct sim_params *p)
{
	p->delay_min_ns = 1120;
	p->delay_max_ns = 1570;
	p->gbps = 100;
	p->page_ns = 1120;
	p->handle_ns = 1000;
	p->wake_ns = 1000;
	p->slow_permille = 0;
	p->enter_ns = 2000;
	p->think_ns = 100000;
	p->per_gfn_order = 1;
}

static bool run(const struct sim_params *p, struct sim_result *r)
{
	if (sim_run(p, r))
		return true;
	printf("FAIL: %s\nreproduce: ", r->why);
	sim_print_repro(stdout, p);
	return false;
}

/* Requests that needed a message. */
static u64 remote(const struct sim_result *r)
{
	return r->events[DSM_EV_FAULT_READ_2] + r->events[DSM_EV_FAULT_READ_3] +
	       r->events[DSM_EV_FAULT_WRITE_2] + r->events[DSM_EV_FAULT_WRITE_3] +
	       r->events[DSM_EV_FAULT_UPGRADE_2] + r->events[DSM_EV_FAULT_UPGRADE_3] +
	       r->events[DSM_EV_FAULT_ZERO_2];
}

static double per(u64 n, u64 of)
{
	return of ? (double)n / (double)of : 0;
}

static void json_begin(const char *table, const struct sim_params *p)
{
	if (json)
		fprintf(json, "%s\n{ \"table\": \"%s\", \"hosts\": %u", json_sep, table, p->hosts);
	json_sep = ",";
}

static void json_num(const char *name, double v)
{
	if (json)
		fprintf(json, ", \"%s\": %.3f", name, v);
}

static void json_text(const char *name, const char *v)
{
	if (json)
		fprintf(json, ", \"%s\": \"%s\"", name, v);
}

static void json_end(void)
{
	if (json)
		fprintf(json, " }");
}

/* ---------------------------------------------------------- hosts and sharing */

static void random_mix(struct sim_params *p)
{
	p->gfns = 32 * p->hosts;
	p->write_pct = 30;
}

static void pairs(struct sim_params *p)
{
	p->gfns = 8 * p->hosts;
	p->pairs = 1;
}

/* Eight pages, each read and then written by all in turn: locks, queues. */
static void locks(struct sim_params *p)
{
	p->gfns = 8;
	p->write_pct = 0;
	p->migrate_pct = 100;
	p->think_ns = 1000000;
}

static void read_mostly(struct sim_params *p)
{
	p->gfns = 16 * p->hosts;
	p->write_pct = 1;
}

/* A few words that two hosts count up now and then and all look at. */
static void clocks(struct sim_params *p)
{
	p->gfns = 4;
	p->write_pct = 0;
	p->migrate_pct = 100;
	p->rmw_hosts = 2;
	p->think_ns = 1000000;
}

static const struct {
	const char *name;
	void (*set)(struct sim_params *p);
} kinds[] = {
	{ "random, 30 % writes", random_mix },
	{ "producer/consumer", pairs },
	{ "locks (migratory)", locks },
	{ "read-mostly, 1 % writes", read_mostly },
	{ "clocks: two write, all read", clocks },
};

static bool scaling(void)
{
	struct sim_params p;
	struct sim_result r;
	size_t k;
	u32 hosts;

	printf("Per fault that needs another host:\n\n"
	       "%-24s %5s %8s %8s %7s %8s %6s %8s %8s %8s\n", "", "hosts", "faults", "messages",
	       "w/o inv", "bytes", "inv", "p50 us", "p99 us", "op/ms");
	for (k = 0; k < NR(kinds); k++) {
		for (hosts = 2; hosts <= 64; hosts *= 2) {
			u64 faults, inv;

			memset(&p, 0, sizeof(p));
			p.seed = 1;
			p.hosts = hosts;
			p.vcpus = 1;
			p.pages = 1;
			p.ops = ops;
			fabric(&p);
			kinds[k].set(&p);
			if (!run(&p, &r))
				return false;
			faults = remote(&r);
			inv = r.events[DSM_EV_TX_INV] + r.events[DSM_EV_TX_INV_ACK];
			printf("%-24s %5u %8llu %8.2f %7.2f %8.0f %6.2f %8.1f %8.1f %8.1f\n",
			       hosts == 2 ? kinds[k].name : "", hosts, faults,
			       per(r.messages, faults), per(r.messages - inv, faults),
			       per(DSM_WIRE_SIZE * r.messages + DSM_PAGE_SIZE * r.events[DSM_EV_TX_PAGE],
				   faults),
			       per(r.events[DSM_EV_TX_INV], faults),
			       (double)sim_fault_latency(&r, 500) / 1e3,
			       (double)sim_fault_latency(&r, 990) / 1e3,
			       1e6 * per(r.ops_done, r.end_ns));
			/* Request, forward, page, DONE: whatever the number of hosts. */
			if (r.messages - inv - r.events[DSM_EV_TX_HURRY] > 4 * faults) {
				printf("FAIL: more than four messages per fault beside invalidations and HURRY\n");
				return false;
			}
			json_begin("scaling", &p);
			json_text("sharing", kinds[k].name);
			json_num("faults", (double)faults);
			json_num("messages_per_fault", per(r.messages, faults));
			json_num("messages_without_invalidations", per(r.messages - inv, faults));
			json_num("bytes_per_fault", per(DSM_WIRE_SIZE * r.messages +
				 DSM_PAGE_SIZE * r.events[DSM_EV_TX_PAGE], faults));
			json_num("invalidations_per_fault", per(r.events[DSM_EV_TX_INV], faults));
			json_num("hurry_per_fault", per(r.events[DSM_EV_TX_HURRY], faults));
			json_num("p50_us", (double)sim_fault_latency(&r, 500) / 1e3);
			json_num("p99_us", (double)sim_fault_latency(&r, 990) / 1e3);
			json_num("ops_per_ms", 1e6 * per(r.ops_done, r.end_ns));
			json_end();
		}
	}
	return true;
}

/* -------------------------------------------------------------- refinements */

static const struct {
	const char *name;
	u32 no_migratory;
	u64 hold_min_ns;
} without[] = {
	{ "as it is", 0, 0 },
	{ "not migratory", 1, 0 },
	{ "no minimum run time", 0, 1 },
	{ "neither", 1, 1 },
};

/* What those refinements are worth that can be switched. */
static bool refinements(void)
{
	struct sim_params p;
	struct sim_result r;
	size_t k, i;
	u32 hosts;

	printf("\nPer thousand instructions, without refinements:\n\n%-28s %5s %-20s %8s %8s %9s %8s\n",
	       "", "hosts", "", "faults", "messages", "bytes", "op/ms");
	for (k = 0; k < NR(kinds); k++) {
		for (hosts = 2; hosts <= 8; hosts *= 4) {
			for (i = 0; i < NR(without); i++) {
				u64 faults = 0, messages = 0, pages = 0, done = 0, ns = 0;
				double bytes;

				for (u64 seed = 1; seed <= 8; seed++) {
					memset(&p, 0, sizeof(p));
					p.seed = seed;
					p.hosts = hosts;
					p.vcpus = 1;
					p.pages = 1;
					p.ops = ops;
					fabric(&p);
					kinds[k].set(&p);
					p.no_migratory = without[i].no_migratory;
					p.hold_min_ns = without[i].hold_min_ns;
					if (!run(&p, &r))
						return false;
					faults += remote(&r);
					messages += r.messages;
					pages += r.events[DSM_EV_TX_PAGE];
					done += r.ops_done;
					ns += r.end_ns;
				}
				bytes = (double)(DSM_WIRE_SIZE * messages + DSM_PAGE_SIZE * pages);
				printf("%-28s %5u %-20s %8.1f %8.1f %9.0f %8.1f\n",
				       hosts == 2 && !i ? kinds[k].name : "", hosts, without[i].name,
				       1e3 * per(faults, done), 1e3 * per(messages, done),
				       1e3 * bytes / (double)done, 1e6 * per(done, ns));
				json_begin("refinements", &p);
				json_text("sharing", kinds[k].name);
				json_text("without", without[i].name);
				json_num("faults_per_1000", 1e3 * per(faults, done));
				json_num("messages_per_1000", 1e3 * per(messages, done));
				json_num("bytes_per_1000", 1e3 * bytes / (double)done);
				json_num("ops_per_ms", 1e6 * per(done, ns));
				json_end();
			}
		}
	}
	return true;
}

/* ------------------------------------------------------------------ streams */

/* Would it pay to ask for the next pages of a stream before they are needed? */
static bool streams(void)
{
	static const u32 ahead[] = { 0, 1, 2, 4, 8, 16 };
	struct sim_params p;
	struct sim_result r;
	u32 hosts;
	size_t i;

	printf("\nStreams, read page by page: pages per ms of one host, of those that had to wait for it\n\n"
	       "%5s %6s %9s %8s %9s\n", "hosts", "ahead", "pages/ms", "waited", "messages");
	for (hosts = 2; hosts <= 8; hosts *= 4) {
		for (i = 0; i < NR(ahead); i++) {
			u64 pages;

			memset(&p, 0, sizeof(p));
			p.seed = 1;
			p.hosts = hosts;
			p.vcpus = 1;
			p.pages = 1;
			p.gfns = p.ops = 4096;
			fabric(&p);
			p.think_ns = 0;
			p.stream = 1;
			p.ahead = ahead[i];
			if (!run(&p, &r))
				return false;
			pages = r.events[DSM_EV_TX_PAGE];
			printf("%5u %6u %9.1f %7.1f%% %9.2f\n", hosts, ahead[i],
			       1e6 * per(pages, r.end_ns) / hosts, 1e2 * per(r.faults, pages),
			       per(r.messages, pages));
			json_begin("streams", &p);
			json_num("ahead", ahead[i]);
			json_num("pages_per_ms_and_host", 1e6 * per(pages, r.end_ns) / hosts);
			json_num("waited", per(r.faults, pages));
			json_num("messages_per_page", per(r.messages, pages));
			json_end();
		}
	}
	return true;
}

/* -------------------------------------------------------------------- holds */

/* Several pages at once, read and written, some of them migratory. */
static void hot_pages(struct sim_params *p)
{
	p->vcpus = 1;
	p->gfns = 6 + 2 * (p->hosts - 2);
	p->pages = 3;
	p->write_pct = 50;
	p->migrate_pct = 30;
	p->wake_ns = 10000;
	p->slow_permille = 0;
	p->enter_ns = 5000;
	p->think_ns = 1000000;
	p->per_gfn_order = 1;
}

static bool holds(void)
{
	static const u64 delays[] = { 2000, 20000, 200000, 1000000, 5000000 };
	static const u64 mins[] = { 0, 200000, 2000000, 4000000 };
	struct sim_params p;
	struct sim_result r;
	size_t i, k;
	u32 hosts;
	u64 seed;

	printf("\nMinimum run time: instructions per second of all hosts (transactions per instruction)\n\n"
	       "%5s %10s", "hosts", "one way");
	for (k = 0; k < NR(mins); k++)
		if (mins[k])
			printf(" %11llu us    ", mins[k] / 1000);
		else
			printf(" %14s    ", "auto");
	printf("\n");
	for (hosts = 2; hosts <= 8; hosts *= 2) {
		for (i = 0; i < NR(delays); i++) {
			printf("%5u %7llu us", hosts, delays[i] / 1000);
			for (k = 0; k < NR(mins); k++) {
				u64 ops = 0, txns = 0, ns = 0;

				for (seed = 1; seed <= 8; seed++) {
					memset(&p, 0, sizeof(p));
					p.seed = seed;
					p.hosts = hosts;
					p.ops = 1000;
					hot_pages(&p);
					p.delay_min_ns = delays[i];
					p.delay_max_ns = delays[i] * 3 / 2;
					p.hold_min_ns = mins[k];
					if (!run(&p, &r))
						return false;
					ops += r.ops_done;
					txns += r.events[DSM_EV_HOME_TXN];
					ns += r.end_ns;
				}
				printf(" %10.0f (%4.2f)", 1e9 * per(ops, ns), per(txns, ops));
				json_begin("holds", &p);
				json_num("one_way_us", (double)delays[i] / 1e3);
				json_num("min_run_us", (double)mins[k] / 1e3);
				json_num("instructions_per_second", 1e9 * per(ops, ns));
				json_num("transactions_per_instruction", per(txns, ops));
				json_end();
			}
			printf("\n");
		}
	}
	return true;
}

/* ----------------------------------------------------------------- fairness */

static bool fairness(void)
{
	static const u32 pages[] = { 1, 2, 3, 4, 6 };
	struct sim_params p;
	struct sim_result r;
	u32 hosts;
	size_t i;
	u64 seed;

	printf("\nAll hosts write the same pages, each instruction all of them, in random order:\n"
	       "the worst of ten seeds\n\n%5s %6s %10s %10s %10s %12s\n", "hosts", "pages",
	       "share ms", "longest ms", "in shares", "txn/waited");
	for (hosts = 2; hosts <= 64; hosts *= 2) {
		for (i = 0; i < NR(pages); i++) {
			double share = 0, longest = 0, ratio = 0;
			u64 txns = 0, waited = 0;

			for (seed = 1; seed <= 10; seed++) {
				memset(&p, 0, sizeof(p));
				p.seed = seed;
				p.hosts = hosts;
				p.vcpus = 1;
				p.gfns = p.pages = pages[i];
				p.same_set = 1;
				p.write_pct = 100;
				p.ops = 200;
				p.delay_min_ns = 2000;
				p.delay_max_ns = 20000;
				p.wake_ns = 50000;
				p.enter_ns = 20000;
				p.think_ns = 1000000;
				p.per_gfn_order = 1;
				if (!run(&p, &r))
					return false;
				share += (double)r.fair_ns / 1e7;
				if ((double)r.max_wait_ns / 1e6 > longest)
					longest = (double)r.max_wait_ns / 1e6;
				if (per(r.max_wait_ns, r.fair_ns) > ratio)
					ratio = per(r.max_wait_ns, r.fair_ns);
				txns += r.events[DSM_EV_HOME_TXN];
				waited += r.ops_waited;
			}
			printf("%5u %6u %10.2f %10.1f %10.2f %12.2f\n", hosts, pages[i], share, longest,
			       ratio, per(txns, waited));
			json_begin("fairness", &p);
			json_num("pages", pages[i]);
			json_num("share_ms", share);
			json_num("longest_ms", longest);
			json_num("longest_in_shares", ratio);
			json_num("transactions_per_waiting_instruction", per(txns, waited));
			json_end();
		}
	}
	return true;
}

static const struct {
	const char *name;
	bool (*run)(void);
} tables[] = {
	{ "scaling", scaling }, { "refinements", refinements }, { "streams", streams }, { "holds", holds }, { "fairness", fairness },
};

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", 1, NULL, 'j' }, { "ops", 1, NULL, 'o' }, { "help", 0, NULL, 'h' }, { NULL, 0, NULL, 0 }
	};
	bool ok = true;
	size_t i;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'o' && atoi(optarg) > 0) {
			ops = (u32)atoi(optarg);
			continue;
		}
		if (opt == 'j' && !json) {
			json = fopen(optarg, "w");
			if (json)
				continue;
			perror(optarg);
		}
		fprintf(opt == 'h' ? stdout : stderr,
			"Usage: dsm-bench [--json FILE] [--ops N] [scaling|refinements|streams|holds|fairness]...\n"
			"--ops: instructions per host in the first two tables (5000)\n");
		return opt == 'h' ? 0 : 2;
	}
	if (json)
		fprintf(json, "[");
	for (i = 0; i < NR(tables) && ok; i++) {
		int k, wanted = optind == argc;

		for (k = optind; k < argc; k++)
			wanted |= !strcmp(argv[k], tables[i].name);
		if (wanted)
			ok = tables[i].run();
		fflush(stdout);
	}
	if (json) {
		fprintf(json, "\n]\n");
		if (fclose(json)) {
			perror("json");
			return 1;
		}
	}
	return ok ? 0 : 1;
}
