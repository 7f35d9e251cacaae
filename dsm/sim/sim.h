/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A deterministic simulator of a space: several instances of the coherence
 * core, links with random delays, CPUs that run random instructions through
 * mappings, and an oracle that knows what every read must return.
 *
 * Everything follows from struct sim_params; one seed gives one run, to the
 * last step.  Time is simulated, in nanoseconds.
 */
#ifndef SIM_H
#define SIM_H

#include <stdio.h>

#include "../dsm.h"

#define SIM_WORDS	4	/* of a page that the workload uses */
#define SIM_MAX_PAGES	12	/* one instruction needs at once */
#define SIM_MAX_HOLDS	12

/* What to run.  sim_params_random() derives it all from the seed. */
struct sim_params {
	u64 seed;
	u32 hosts;		/* 2..64 */
	u32 gfns;		/* pages of the space */
	u32 vcpus;		/* per host, running instructions */
	u32 copiers;		/* per host, copying under the page lock */
	u32 pages;		/* most an instruction needs at once, 1..SIM_MAX_PAGES */
	u32 ops;		/* instructions per vCPU */
	u32 write_pct;		/* of accesses */
	u32 migrate_pct;	/* instructions followed by one that writes the same pages */
	u32 rmw_hosts;		/* only hosts below this write, what they have read; 0: all do */
	u32 no_migratory;	/* pages are never handed over on a read */
	u32 same_set;		/* all instructions want the same pages: worst contention */
	u32 stream;		/* each host writes the pages homed there, then reads all others in order */
	u32 ahead;		/* ... and asks for so many before it needs them */
	u32 guess;		/* permille of faults with a random other page asked for ahead */
	u32 pairs;		/* each page is written by one host and read by another */
	u64 delay_min_ns;	/* of a message */
	u64 delay_max_ns;
	u64 page_ns;		/* that much more with a page */
	u32 gbps;		/* a host's messages leave one after the other; 0: at once */
	u64 handle_ns;		/* a host handles those it receives one after the other */
	u32 far_pct;		/* pairs of hosts that are ten times as far apart */
	u32 tail_permille;	/* messages that take up to twenty times as long */
	u32 stall_permille;	/* steps after which the host does nothing for a while */
	u64 stall_max_ns;	/* ... at most so long */
	u32 per_gfn_order;	/* links keep order per page only */
	u32 pin_permille;	/* accesses that pin the page for up to 3 ms */
	u32 quit_permille;	/* waits that are given up */
	u64 wake_ns;		/* a thread that was woken runs, at most so long after that */
	u32 slow_permille;	/* ... but so many have to wait for a core, up to 2 ms */
	u64 enter_ns;		/* from a fault that is served into the guest, at most */
	u64 think_ns;		/* between two instructions, at most, of one in five */
	u64 hold_max_ns;	/* 0: default */
	u64 hold_min_ns;	/* 0: by travel time */
	u64 hold_yield_ns;	/* 0: default */
	u32 fail_permille;	/* allocations that fail */
	u64 fail_nth;		/* the Nth allocation of all fails; 0: none */
	u64 drop_at_ns;		/* a link drops at this time; 0: never */
	u32 fair;		/* no wait may be longer than so many fair shares; 0: any */
	u32 trace;
};

/* Latencies: eight steps to each power of two, of ns. */
#define SIM_HIST_SUB	8
#define SIM_HIST	(40 * SIM_HIST_SUB)

/* What came out. */
struct sim_result {
	char why[256];		/* first violation, "" if none */
	bool ended_early;	/* the space failed, as an injected fault made it */
	u64 end_ns;
	u64 steps;
	u64 ops_done;
	u64 ops_waited;		/* of these, those that had to wait for a page */
	u64 max_wait_ns;	/* longest time from first try to success */
	u64 sum_wait_ns;
	u64 allocs;
	u64 max_chain;		/* most tries one instruction needed for its pages */
	u64 wait_bound_ns;	/* what max_wait_ns was held against */
	u64 fair_ns;		/* wait of a fair queue: one instruction that waited of each vCPU */
	u64 messages;
	u64 faults;		/* that had to wait, each from its request to the grant */
	u64 fault_hist[SIM_HIST];
	u64 events[DSM_EV_NR];
};

/* The latency that @permille of the faults do not exceed, ns; 0 if there were none. */
u64 sim_fault_latency(const struct sim_result *res, u32 permille);

void sim_params_random(struct sim_params *p, u64 seed);

/* Run to the end or to the first violation.  Frees all; returns true if clean. */
bool sim_run(const struct sim_params *p, struct sim_result *res);

/* The command line that repeats @p exactly. */
void sim_print_repro(FILE *f, const struct sim_params *p);

#endif /* SIM_H */
