// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CPUID policy: see cpuid.h.
 *
 * Guest = what the engine supports, minus what this machine does not have
 * (nested virtualization, performance counters, PCID, five-level paging, TSC
 * adjustment), plus what vmmd emulates (x2APIC, TSC deadline), with the
 * guest's own topology.
 *
 * The hypervisor leaves offer VMware's interface: besides VMware's products,
 * Linux and the BSDs know it, and it is the one that tells an unmodified kernel
 * all it should know here: the frequencies of the TSC and of the APIC timer (no
 * calibration against slow emulated timers), that the TSC is to be trusted (no
 * watchdog, no warp tests between hosts), and that x2APIC works without interrupt
 * remapping.  KVM's interface can tell the frequency through its clock page only.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "cpuid.h"
#include "lapic.h"

#define HV_FIRST	0x40000000U
#define HV_LAST		0x4000ffffU
#define HV_TIMING	0x40000010U

#define BIT(n)		(1U << (n))

int cpuid_supported(int engine_fd, struct cpuid_table *t)
{
	memset(t, 0, sizeof(*t));
	t->head.nent = CPUID_MAX_ENTRIES;
	return ioctl(engine_fd, KVM_GET_SUPPORTED_CPUID, &t->head) < 0 ? -1 : 0;
}

static unsigned int log2_up(unsigned int n)
{
	return n <= 1 ? 0 : 32 - __builtin_clz(n - 1);
}

unsigned int cpuid_package_shift(const struct vm_conf *conf)
{
	unsigned int largest = 0, shift, first = 0, i;

	for (i = 0; i < conf->nr_nodes; i++) {
		if (conf->node[i].vcpus > largest)
			largest = conf->node[i].vcpus;
	}
	shift = log2_up(largest);
	for (i = 0; i < conf->nr_nodes; i++) {
		if (first && (unsigned int)__builtin_ctz(first) < shift)
			shift = __builtin_ctz(first);
		first += conf->node[i].vcpus;
	}
	return shift;
}

static struct kvm_cpuid_entry2 *find(struct cpuid_table *t, uint32_t fn, uint32_t index)
{
	unsigned int i;

	for (i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];

		if (e->function == fn &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

static void drop(struct cpuid_table *t, uint32_t first, uint32_t last)
{
	unsigned int i, n = 0;

	for (i = 0; i < t->head.nent; i++) {
		if (t->entry[i].function < first || t->entry[i].function > last)
			t->entry[n++] = t->entry[i];
	}
	t->head.nent = n;
}

static int add(struct cpuid_table *t, struct kvm_cpuid_entry2 e)
{
	if (t->head.nent == CPUID_MAX_ENTRIES)
		return -1;
	t->entry[t->head.nent++] = e;
	return 0;
}

static void apply_features(struct cpuid_table *t)
{
	struct kvm_cpuid_entry2 *e;

	e = find(t, 1, 0);
	if (e) {
		/* MONITOR, DS-CPL, VMX, SMX, PDCM, PCID */
		e->ecx &= ~(BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(15) | BIT(17));
		e->ecx |= BIT(21) | BIT(24) | BIT(31);	/* x2APIC, TSC deadline, hypervisor */
		e->edx &= ~BIT(21);			/* debug store */
		e->edx |= BIT(9);			/* APIC */
	}
	e = find(t, 6, 0);
	if (e) {
		e->eax = BIT(2);	/* the APIC timer always runs */
		e->ebx = e->ecx = e->edx = 0;
	}
	e = find(t, 7, 0);
	if (e) {
		/* TSC_ADJUST: the TSC's offset is ours to set.  INVPCID, LA57. */
		e->ebx &= ~(BIT(1) | BIT(10));
		e->ecx &= ~BIT(16);
	}
	e = find(t, 0x80000001, 0);
	if (e) {
		/* SVM, extended APIC space, IBS, performance counters, MWAITX */
		e->ecx &= ~(BIT(2) | BIT(3) | BIT(10) | BIT(23) | BIT(24) | BIT(28) | BIT(29));
	}
	drop(t, 5, 5);			/* MONITOR/MWAIT */
	drop(t, 0xa, 0xa);		/* performance monitoring */
	drop(t, 0x8000000a, 0x8000000a);	/* SVM */
	drop(t, HV_FIRST, HV_LAST);
}

/* Cache leaves say by how many logical CPUs each cache is shared: the last level by the package. */
static void apply_caches(struct cpuid_table *t, unsigned int cpus)
{
	unsigned int i;

	for (i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];
		unsigned int level = e->eax >> 5 & 7;

		if ((e->function != 4 && e->function != 0x8000001d) || !(e->eax & 0x1f))
			continue;
		e->eax &= ~(0xfffU << 14);
		if (level >= 3)
			e->eax |= (cpus - 1) << 14;
		if (e->function == 4)
			e->eax = (e->eax & ~(0x3fU << 26)) | (cpus - 1 < 0x3f ? cpus - 1 : 0x3f) << 26;
	}
}

static int apply_topology(struct cpuid_table *t, unsigned int shift, unsigned int id)
{
	struct kvm_cpuid_entry2 *e;
	unsigned int cpus = 1U << shift;
	int err = 0;

	e = find(t, 1, 0);
	if (e) {
		e->ebx = (e->ebx & 0xffff) | (cpus < 255 ? cpus : 255) << 16 | id << 24;
		e->edx = cpus > 1 ? e->edx | BIT(28) : e->edx & ~BIT(28);
	}
	e = find(t, 0x80000001, 0);
	if (e)		/* CmpLegacy: the logical CPUs of leaf 1 are cores */
		e->ecx = cpus > 1 ? e->ecx | BIT(1) : e->ecx & ~BIT(1);
	e = find(t, 0x80000008, 0);
	if (e)
		e->ecx = (cpus - 1) | shift << 12;
	e = find(t, 0x8000001e, 0);
	if (e) {
		e->eax = id;
		e->ebx = id & (cpus - 1);
		e->ecx = id >> shift & 0xff;
	}
	apply_caches(t, cpus);

	drop(t, 0xb, 0xb);
	drop(t, 0x1f, 0x1f);
	err |= add(t, (struct kvm_cpuid_entry2){
		.function = 0xb, .index = 0, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = 0, .ebx = 1, .ecx = 1 << 8, .edx = id });
	err |= add(t, (struct kvm_cpuid_entry2){
		.function = 0xb, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = shift, .ebx = cpus, .ecx = 2 << 8 | 1, .edx = id });
	err |= add(t, (struct kvm_cpuid_entry2){
		.function = 0xb, .index = 2, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.ecx = 2, .edx = id });
	e = find(t, 0, 0);
	if (e && e->eax < 0xb)
		e->eax = 0xb;
	return err;
}

static int apply_tsc(struct cpuid_table *t, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 hv = { .function = HV_FIRST, .eax = HV_TIMING };
	struct kvm_cpuid_entry2 timing = {
		.function = HV_TIMING, .eax = tsc_khz, .ebx = LAPIC_BUS_HZ / 1000,
	};
	struct kvm_cpuid_entry2 *e;
	int err = 0;

	memcpy(&hv.ebx, "VMwa", 4);
	memcpy(&hv.ecx, "reVM", 4);
	memcpy(&hv.edx, "ware", 4);
	err |= add(t, hv);
	err |= add(t, timing);

	/* The TSC is invariant: cvmm needs that of its hosts anyway. */
	e = find(t, 0x80000000, 0);
	if (e && e->eax < 0x80000008)
		e->eax = 0x80000008;
	e = find(t, 0x80000007, 0);
	if (e)
		e->edx = BIT(8);
	else
		err |= add(t, (struct kvm_cpuid_entry2){ .function = 0x80000007, .edx = BIT(8) });
	return err;
}

int cpuid_apply_policy(struct cpuid_table *t, const struct vm_conf *conf,
		       unsigned int id, uint32_t tsc_khz)
{
	apply_features(t);
	if (apply_topology(t, cpuid_package_shift(conf), id))
		return -1;
	return apply_tsc(t, tsc_khz);
}
