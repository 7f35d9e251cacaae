// SPDX-License-Identifier: GPL-2.0-only
/*
 * Groups of per-CPU event counters, and their registration with a space; histograms.
 */
#include <linux/slab.h>

#include "space_priv.h"
#include "stats.h"

int cvmm_counters_init(struct cvmm_counters *c, const char *group,
		       const char *(*name)(unsigned int idx), unsigned int nr)
{
	INIT_LIST_HEAD(&c->node);
	c->group = group;
	c->name = name;
	c->nr = nr;
	c->value = __alloc_percpu_gfp(nr * sizeof(u64), sizeof(u64), GFP_KERNEL_ACCOUNT);
	return c->value ? 0 : -ENOMEM;
}

void cvmm_counters_destroy(struct cvmm_counters *c)
{
	free_percpu(c->value);
	c->value = NULL;
}

u64 cvmm_counters_sum(const struct cvmm_counters *c, unsigned int idx)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(c->value, cpu)[idx]);
	return sum;
}

void cvmm_space_add_counters(struct cvmm_space *space, struct cvmm_counters *c)
{
	mutex_lock(&space->counters_lock);
	list_add_tail(&c->node, &space->counters);
	mutex_unlock(&space->counters_lock);
}

void cvmm_space_del_counters(struct cvmm_space *space, struct cvmm_counters *c)
{
	mutex_lock(&space->counters_lock);
	list_del_init(&c->node);
	mutex_unlock(&space->counters_lock);
}

struct cvmm_hist __percpu *cvmm_hist_alloc(void)
{
	return alloc_percpu_gfp(struct cvmm_hist, GFP_KERNEL_ACCOUNT);
}

void cvmm_hist_sum(struct cvmm_hist __percpu *h, struct cvmm_hist *out)
{
	const struct cvmm_hist *part;
	unsigned int i;
	int cpu;

	memset(out, 0, sizeof(*out));
	for_each_possible_cpu(cpu) {
		part = per_cpu_ptr(h, cpu);
		out->sum_ns += READ_ONCE(part->sum_ns);
		for (i = 0; i < ARRAY_SIZE(out->bucket); i++)
			out->bucket[i] += READ_ONCE(part->bucket[i]);
	}
}
