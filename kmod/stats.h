/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Groups of per-CPU event counters, and per-CPU histograms of times.
 *
 * A group belongs to one object (a space, a VM) and is shown with that space's
 * statistics through netlink as "group.name".
 */
#ifndef CVMM_STATS_H
#define CVMM_STATS_H

#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/types.h>

#include "hist.h"

struct cvmm_space;

/**
 * struct cvmm_counters - a group of counters
 * @node:	link in its space's list; list_empty() when not registered
 * @group:	group's name, lower case, static
 * @name:	counter's name by index, lower case, static; may be called in any
 *		context
 * @nr:		number of counters
 * @value:	@nr values per CPU
 */
struct cvmm_counters {
	struct list_head node;
	const char *group;
	const char *(*name)(unsigned int idx);
	unsigned int nr;
	u64 __percpu *value;
};

/* May sleep.  Returns 0 or -ENOMEM. */
int cvmm_counters_init(struct cvmm_counters *c, const char *group,
		       const char *(*name)(unsigned int idx), unsigned int nr);
/* The group must not be registered any more. */
void cvmm_counters_destroy(struct cvmm_counters *c);

/* Sum over all CPUs; any context. */
u64 cvmm_counters_sum(const struct cvmm_counters *c, unsigned int idx);

/* Count an event: any context, no lock. */
static inline void cvmm_count_add(struct cvmm_counters *c, unsigned int idx, u64 n)
{
	this_cpu_add(c->value[idx], n);
}

static inline void cvmm_count(struct cvmm_counters *c, unsigned int idx)
{
	this_cpu_inc(c->value[idx]);
}

/*
 * Show a group among a space's statistics, and stop it.  May sleep.  Several
 * groups may have one name: each is listed.
 */
void cvmm_space_add_counters(struct cvmm_space *space, struct cvmm_counters *c);
void cvmm_space_del_counters(struct cvmm_space *space, struct cvmm_counters *c);

/**
 * struct cvmm_hist - a histogram of times, one CPU's part or the sum of all
 * @sum_ns:	of all times
 * @bucket:	how many, by cvmm_hist_bucket()
 */
struct cvmm_hist {
	u64 sum_ns;
	u64 bucket[CVMM_NL_HIST_BUCKETS];
};

/* May sleep.  NULL: no memory. */
struct cvmm_hist __percpu *cvmm_hist_alloc(void);
/* Sum over all CPUs; any context.  Parts may be of different moments. */
void cvmm_hist_sum(struct cvmm_hist __percpu *h, struct cvmm_hist *out);

/* Count a time: any context, no lock, two words of this CPU. */
static inline void cvmm_hist_add(struct cvmm_hist __percpu *h, u64 ns)
{
	this_cpu_add(h->sum_ns, ns);
	this_cpu_inc(h->bucket[cvmm_hist_bucket(ns)]);
}

#endif /* CVMM_STATS_H */
