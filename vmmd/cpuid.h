/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's CPUs say of themselves.
 */
#ifndef VMMD_CPUID_H
#define VMMD_CPUID_H

#include <linux/kvm.h>

#include "machine.h"

#define CPUID_MAX_ENTRIES	256

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[CPUID_MAX_ENTRIES];
};

/* Fill @t with what the engine can offer.  0 or -1 with errno. */
int cpuid_supported(int engine_fd, struct cpuid_table *t);

/*
 * How many low bits of an APIC id tell CPUs of one package apart.  A package
 * never spans two nodes: ids are consecutive over the nodes, so nodes whose
 * sizes are not equal powers of two consist of several packages.
 */
unsigned int cpuid_package_shift(const struct vm_conf *conf);

/* Turn what the engine supports into the table of vCPU @id.  Pure; 0, or -1 when @t is full. */
int cpuid_apply_policy(struct cpuid_table *t, const struct vm_conf *conf,
		       unsigned int id, uint32_t tsc_khz);

#endif /* VMMD_CPUID_H */
