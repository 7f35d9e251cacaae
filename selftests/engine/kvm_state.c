// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ioctls on a vCPU's state and the debugger's: what is set is what is read,
 * arrays that are too short, single steps and breakpoints.  On /dev/cvmm, or
 * with "-d /dev/kvm" the same on stock KVM.  TAP.
 */
#include "kvm_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_SIZE	(1UL << 20)

static int dev, vm, vcpu;
static uint8_t *mem;
static struct kvm_run *run;

static void make_vm(void)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(dev);

	mem = map(NULL, MEM_SIZE, MAP_PRIVATE, -1);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	if (set_slot(vm, 0, 0, 0, MEM_SIZE, mem))
		bail("KVM_SET_USER_MEMORY_REGION");
	vcpu = make_vcpu(dev, vm, 0, &run);
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		bail("CPUID");
	check(!ioctl(vcpu, KVM_SET_CPUID2, cpuid), "CPUID is set again before the first run");
	cpuid->nent = 1;
	check(ioctl(vcpu, KVM_GET_CPUID2, cpuid) && errno == E2BIG,
	      "GET_CPUID2 with a short array: E2BIG");
	free(cpuid);
}

static void start(const void *code, size_t len)
{
	memcpy(mem + CODE, code, len);
	real_mode(vcpu, 0);
}

static void test_sregs2(void)
{
	struct kvm_sregs2 s2;
	struct kvm_sregs s;

	if (ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) != 1)
		bail("no KVM_CAP_SREGS2");
	ioctl(vcpu, KVM_GET_SREGS, &s);
	check(!ioctl(vcpu, KVM_GET_SREGS2, &s2) && s2.cr0 == s.cr0 &&
	      s2.cs.selector == s.cs.selector && s2.apic_base == s.apic_base && !s2.flags,
	      "SREGS2 says what SREGS says");
	s2.ds.base = 0x12340;
	s2.cr2 = 0x5678;
	check(!ioctl(vcpu, KVM_SET_SREGS2, &s2) && !ioctl(vcpu, KVM_GET_SREGS, &s) &&
	      s.ds.base == 0x12340 && s.cr2 == 0x5678, "what it sets is there");
	s2.flags = 0x80;
	check(ioctl(vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL, "unknown flag: EINVAL");
	s2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	check(ioctl(vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL, "PDPTRs without PAE: EINVAL");
	s2.flags = 0;
	s2.cr0 |= 1UL << 31;	/* paging without protection */
	check(ioctl(vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL, "a bad CR0: EINVAL");
	s = get_sregs(vcpu);
	s.apic_base = 0x400;		/* x2APIC mode of a disabled APIC */
	check(ioctl(vcpu, KVM_SET_SREGS, &s) && errno == EINVAL, "a bad APIC base: EINVAL");
	s.apic_base = 0xfee00001;	/* reserved */
	check(ioctl(vcpu, KVM_SET_SREGS, &s) && errno == EINVAL, "reserved bits of the APIC base: EINVAL");
}

static void test_xsave(void)
{
	int size = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	uint32_t *a, *b;

	check(size >= 4096, "XSAVE2 wants %d bytes", size);
	a = zalloc(size);
	b = zalloc(size);
	check(!ioctl(vcpu, KVM_GET_XSAVE2, a) && !ioctl(vcpu, KVM_GET_XSAVE, b) &&
	      !memcmp(a, b, 4096), "XSAVE2 and XSAVE agree");
	a[160 / 4] = 0xdeadbeef;	/* XMM0 */
	a[512 / 4] |= 3;		/* XSTATE_BV */
	check(!ioctl(vcpu, KVM_SET_XSAVE, a) && !ioctl(vcpu, KVM_GET_XSAVE2, b) &&
	      b[160 / 4] == 0xdeadbeef, "what it sets is there");
	free(a);
	free(b);
}

static void test_msrs(void)
{
	struct kvm_msr_list *list = zalloc(sizeof(*list) + 1024 * sizeof(uint32_t));
	struct { struct kvm_msrs head; struct kvm_msr_entry e[2]; } m = { .head.nmsrs = 1 };
	unsigned int nr;

	check(ioctl(dev, KVM_GET_MSR_INDEX_LIST, list) && errno == E2BIG && list->nmsrs > 10,
	      "MSR_INDEX_LIST with a short array: E2BIG and the number");
	nr = list->nmsrs;
	check(!ioctl(dev, KVM_GET_MSR_INDEX_LIST, list) && list->nmsrs == nr, "then the list");
	list->nmsrs = 0;
	check(ioctl(dev, KVM_GET_MSR_FEATURE_INDEX_LIST, list) && errno == E2BIG && list->nmsrs,
	      "MSR_FEATURE_INDEX_LIST, likewise");
	nr = list->nmsrs;
	check(!ioctl(dev, KVM_GET_MSR_FEATURE_INDEX_LIST, list) && list->nmsrs == nr,
	      "then %u features", nr);
	m.e[0].index = list->indices[0];
	m.e[1].index = 0x4b564dff;	/* nobody's */
	check(ioctl(dev, KVM_GET_MSRS, &m) == 1, "a feature is read from the device");
	m.head.nmsrs = 2;
	check(ioctl(vcpu, KVM_GET_MSRS, &m) <= 1, "GET_MSRS stops at an unknown register");
	free(list);
}

static void test_vcpu_ids(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID, .args = { 2 } };
	int other = ioctl(dev, KVM_CREATE_VM, 0), fd;

	check(!ioctl(other, KVM_ENABLE_CAP, &cap) && ioctl(other, KVM_CREATE_VCPU, 2) < 0 &&
	      errno == EINVAL, "no vCPU beyond the limit of ids");
	fd = ioctl(other, KVM_CREATE_VCPU, 1);
	cap.args[0] = 3;
	check(fd >= 0 && ioctl(other, KVM_ENABLE_CAP, &cap) && errno == EINVAL,
	      "the limit is set once");
	close(fd);
	close(other);
}

static long msr(unsigned long cmd, uint32_t index, uint64_t *val)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = {
		.head.nmsrs = 1, .e = { .index = index, .data = *val },
	};
	int r = ioctl(vcpu, cmd, &m);

	*val = m.e.data;
	return r;
}

static bool msr_is(uint32_t index, uint64_t want)
{
	uint64_t val = 0;

	return msr(KVM_GET_MSRS, index, &val) == 1 && val == want;
}

static long set_msr(uint32_t index, uint64_t val)
{
	return msr(KVM_SET_MSRS, index, &val);
}

/* The one attribute of a vCPU. */
static long tsc_offset(int fd, unsigned long cmd, uint64_t *val)
{
	struct kvm_device_attr a = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)val,
	};

	return ioctl(fd, cmd, &a);
}

static void test_tsc(void)
{
	/* mov $0x3b, %ecx; mov $0x12345678, %eax; xor %edx, %edx; wrmsr; hlt */
	static const uint8_t code[] = {
		0x66, 0xb9, 0x3b, 0, 0, 0, 0x66, 0xb8, 0x78, 0x56, 0x34, 0x12,
		0x66, 0x31, 0xd2, 0x0f, 0x30, 0xf4,
	};
	int first = vcpu, other = ioctl(vm, KVM_CREATE_VCPU, 1);
	uint64_t khz = ioctl(vcpu, KVM_GET_TSC_KHZ, 0), offset = 0, offset2 = 1, val = 0;

	check(!tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset) &&
	      !tsc_offset(other, KVM_GET_DEVICE_ATTR, &offset2) && offset == offset2,
	      "the TSCs of two vCPUs agree");
	check(msr(KVM_GET_MSRS, 0x10, &val) == 1 && val < khz * 60000, "and began at 0 with the VM");

	val = 1UL << 50;
	check(msr(KVM_SET_MSRS, 0x10, &val) == 1, "the first is set");
	vcpu = other;
	check(msr(KVM_SET_MSRS, 0x10, &val) == 1 &&
	      !tsc_offset(first, KVM_GET_DEVICE_ATTR, &offset) &&
	      !tsc_offset(other, KVM_GET_DEVICE_ATTR, &offset2) && offset == offset2,
	      "the other a moment later to the same: they agree");
	vcpu = first;
	check(msr_is(0x3b, 0), "TSC_ADJUST has no part in that");
	close(other);

	check(tsc_offset(vcpu, KVM_SET_DEVICE_ATTR, NULL) && errno == EFAULT &&
	      !tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset2) && offset == offset2,
	      "an offset that cannot be read: EFAULT, and it stays");
	offset -= 1000;
	check(!tsc_offset(vcpu, KVM_SET_DEVICE_ATTR, &offset) &&
	      !tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset2) && offset == offset2,
	      "an offset is set");
	val = 5;
	check(msr(KVM_SET_MSRS, 0x3b, &val) == 1 && msr_is(0x3b, 5) &&
	      !tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset2) && offset == offset2,
	      "user space sets TSC_ADJUST: the TSC stays");
	start(code, sizeof(code));
	check(!ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == KVM_EXIT_HLT && msr_is(0x3b, 0x12345678) &&
	      !tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset2) && offset2 - offset == 0x12345678 - 5,
	      "the guest sets it: its TSC moves as far");
}

/* After the first run. */
static void test_cpuid(void)
{
	struct kvm_cpuid2 *c = supported_cpuid(dev);
	unsigned int i;

	/* As many as were set. */
	check(!ioctl(vcpu, KVM_GET_CPUID2, c) && !ioctl(vcpu, KVM_SET_CPUID2, c),
	      "CPUID as it is can be set after a run");
	for (i = 0; i < c->nent && c->entries[i].function != 7; i++)
		;
	if (i == c->nent)
		bail("no leaf 7");
	c->entries[i].ebx ^= 2;
	check(ioctl(vcpu, KVM_SET_CPUID2, c) && errno == EINVAL, "another cannot: EINVAL");
	free(c);
}

static void test_mce(void)
{
	struct kvm_x86_mce mce = { .status = 1ULL << 63 | 5, .addr = 0x1234, .bank = 3 };
	int banks = ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_MCE);
	uint64_t cap = 0, want;

	check(banks >= 10 && !ioctl(dev, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) && cap & 0x100,
	      "%d machine-check banks", banks);
	want = cap & ~0xffULL;
	check(ioctl(vcpu, KVM_X86_SETUP_MCE, &want) && errno == EINVAL, "none: EINVAL");
	want = cap | (banks + 1);
	check(ioctl(vcpu, KVM_X86_SETUP_MCE, &want) && errno == EINVAL, "too many: EINVAL");
	want = 1ULL << 60 | 4;
	check(ioctl(vcpu, KVM_X86_SETUP_MCE, &want) && errno == EINVAL, "unknown abilities: EINVAL");
	want = 0x104;
	check(!ioctl(vcpu, KVM_X86_SETUP_MCE, &want) && msr_is(0x179, 0x104) &&
	      msr_is(0x17b, ~0ULL) && msr_is(0x40c, ~0ULL), "four banks, all on");
	check(set_msr(0x17b, 0) == 1 && msr_is(0x17b, 0) && set_msr(0x17b, 2) == 0 &&
	      set_msr(0x17b, ~0ULL) == 1, "MCG_CTL is all or nothing");
	check(set_msr(0x40f, 0x77) == 1 && msr_is(0x40f, 0x77), "the last bank's last register");
	check(set_msr(0x410, 0) == 0, "and nothing behind it");
	check(!ioctl(vcpu, KVM_X86_SET_MCE, &mce) && msr_is(0x40d, mce.status) &&
	      msr_is(0x40e, 0x1234), "a corrected error is in its bank");
	check(!ioctl(vcpu, KVM_X86_SET_MCE, &mce) && msr_is(0x40d, mce.status | 1ULL << 62),
	      "a second one: overflow");
	mce.bank = 4;
	check(ioctl(vcpu, KVM_X86_SET_MCE, &mce) && errno == EINVAL, "in no bank: EINVAL");
	mce.bank = 0;
	mce.status |= 1ULL << 61;
	check(!ioctl(vcpu, KVM_X86_SET_MCE, &mce) && msr_is(0x401, mce.status),
	      "an uncorrected one that needs no action is only in its bank");
	mce.status |= 1ULL << 57;
	mce.mcg_status = 5;
	start((const uint8_t[]){ 0xf4 }, 1);
	check(!ioctl(vcpu, KVM_X86_SET_MCE, &mce) && !ioctl(vcpu, KVM_RUN, 0) &&
	      run->exit_reason == KVM_EXIT_SHUTDOWN, "one that does, without CR4.MCE: shutdown");
}

static void test_translate(void)
{
	struct kvm_translation t = { .linear_address = 0x3456 };

	check(!ioctl(vcpu, KVM_TRANSLATE, &t) && t.valid && t.physical_address == 0x3456,
	      "TRANSLATE without paging");
}

static void test_events(void)
{
	struct kvm_vcpu_events e;
	struct kvm_debugregs d;

	check(!ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e) && !ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e),
	      "events are set as they were read");
	e.flags = 0x8000;
	check(ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e) && errno == EINVAL, "unknown flag: EINVAL");
	check(!ioctl(vcpu, KVM_GET_DEBUGREGS, &d), "debug registers are read");
	d.db[1] = 0x4321;
	check(!ioctl(vcpu, KVM_SET_DEBUGREGS, &d) && !ioctl(vcpu, KVM_GET_DEBUGREGS, &d) &&
	      d.db[1] == 0x4321, "and set");
	d.dr7 = 1ULL << 40;
	check(ioctl(vcpu, KVM_SET_DEBUGREGS, &d) && errno == EINVAL, "a bad DR7: EINVAL");
}

static bool debug_exit(uint64_t pc, unsigned int vector)
{
	bool good = run->exit_reason == KVM_EXIT_DEBUG && run->debug.arch.pc == pc &&
		    run->debug.arch.exception == vector;

	if (!good)
		printf("# exit %u pc %#llx exception %u\n", run->exit_reason,
		       (unsigned long long)run->debug.arch.pc, run->debug.arch.exception);
	return good;
}

static void test_debug(void)
{
	static const uint8_t code[] = {
		0x40,			/* 0 inc ax */
		0x0f, 0xa2,		/* 1 cpuid */
		0x9c,			/* 3 pushf */
		0x9d,			/* 4 popf */
		0xe6, 0x10,		/* 5 out 0x10, al */
		0x90,			/* 7 nop */
		0xf4,			/* 8 hlt */
	};
	static const uint8_t int3[] = { 0x90, 0xcc, 0xf4 };
	struct kvm_guest_debug d = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };
	static const unsigned int step[] = { 1, 3, 4, 5 };
	bool good = true;

	check(ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG) == 1, "guest debugging");
	start(code, sizeof(code));
	check(!ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d), "single steps");
	for (unsigned int i = 0; i < sizeof(step) / sizeof(step[0]); i++)
		good &= !ioctl(vcpu, KVM_RUN, 0) && debug_exit(CODE + step[i], 1) &&
			run->debug.arch.dr6 & 0x4000;
	check(good, "one instruction at a time, executed or emulated");
	check(!(get_regs(vcpu).rflags & 0x100), "the guest's own TF is not there");
	check(!ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == KVM_EXIT_IO, "port I/O comes first");
	/* Of the OUT, or with the instruction behind it. */
	check(!ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == KVM_EXIT_DEBUG &&
	      (run->debug.arch.pc == CODE + 7 || run->debug.arch.pc == CODE + 8), "then its step");
	d.control = 0;
	check(!ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d) && !ioctl(vcpu, KVM_RUN, 0) &&
	      run->exit_reason == KVM_EXIT_HLT, "no more steps");

	start(code, sizeof(code));
	*(uint16_t *)(mem + 2 * 4) = 0x2000;
	*(uint16_t *)(mem + 2 * 4 + 2) = 0;
	mem[0x2000] = 0xf4;
	d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ;
	check(!ioctl(vcpu, KVM_NMI) && !ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d) &&
	      !ioctl(vcpu, KVM_RUN, 0) && debug_exit(CODE + 1, 1), "an NMI waits with BLOCKIRQ");
	d.control = 0;
	check(!ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d) && !ioctl(vcpu, KVM_RUN, 0) &&
	      run->exit_reason == KVM_EXIT_HLT && get_regs(vcpu).rip == 0x2001, "and comes after it");

	d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	start(int3, sizeof(int3));
	/* Where the guest takes it itself: HLT. */
	*(uint16_t *)(mem + 3 * 4) = 0x2000;
	*(uint16_t *)(mem + 3 * 4 + 2) = 0;
	mem[0x2000] = 0xf4;
	good = !ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d) && !ioctl(vcpu, KVM_RUN, 0);
	if (good && run->exit_reason == KVM_EXIT_HLT)
		/* QEMU's INT3 (7.2) passes the intercept of #BP by: so on stock KVM there. */
		skip("a software breakpoint", "INT3 is not intercepted");
	else
		check(good && debug_exit(CODE + 1, 3), "INT3 is user space's breakpoint");
	d.control = 0;
	ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d);
	start(int3, sizeof(int3));
	check(!ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == KVM_EXIT_HLT &&
	      get_regs(vcpu).rip == 0x2001, "and the guest's without it");

	d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	d.arch.debugreg[0] = CODE + 7;
	d.arch.debugreg[7] = 0x402;
	start(code, sizeof(code));
	good = !ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d) && !ioctl(vcpu, KVM_RUN, 0) &&
	       run->exit_reason == KVM_EXIT_IO && !ioctl(vcpu, KVM_RUN, 0);
	if (good && run->exit_reason == KVM_EXIT_HLT)
		/* QEMU's VMRUN (7.2) does not arm DR7: so on stock KVM there. */
		skip("a hardware breakpoint", "this processor does not arm it");
	else
		check(good && debug_exit(CODE + 7, 1) && run->debug.arch.dr6 & 1,
		      "a hardware breakpoint");
	d.control = 0;
	check(!ioctl(vcpu, KVM_SET_GUEST_DEBUG, &d), "debugging ends");
}

/* The number of the statistics file @fd that is called @name; -1: there is none. */
static int64_t stat_of(int fd, const char *name)
{
	struct kvm_stats_header h;
	int64_t value = -1;
	char *desc;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.name_size > 256)
		bail("statistics");
	size_t size = sizeof(struct kvm_stats_desc) + h.name_size;

	desc = zalloc(size);
	for (unsigned int i = 0; i < h.num_desc && value < 0; i++) {
		struct kvm_stats_desc *d = (struct kvm_stats_desc *)desc;

		if (pread(fd, desc, size, h.desc_offset + i * size) != (ssize_t)size)
			bail("statistics");
		if (!strcmp(desc + sizeof(*d), name) &&
		    pread(fd, &value, 8, h.data_offset + d->offset) != 8)
			bail("statistics");
	}
	free(desc);
	return value;
}

static void test_stats(void)
{
	int fd = ioctl(vcpu, KVM_GET_STATS_FD, 0);
	int64_t before;

	check(fd >= 0 && ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_BINARY_STATS_FD) == 1,
	      "a vCPU has statistics");
	before = stat_of(fd, "exits");
	start((const uint8_t[]){ 0x0f, 0xa2, 0xf4 }, 3);	/* CPUID, HLT */
	check(!ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == KVM_EXIT_HLT &&
	      before > 0 && stat_of(fd, "exits") >= before + 2, "its exits are counted");
	close(fd);
}

int main(int argc, char **argv)
{
	dev = open_device(argc, argv);
	make_vm();
	test_sregs2();
	test_xsave();
	test_msrs();
	test_vcpu_ids();
	test_mce();
	test_translate();
	test_events();
	test_debug();
	test_tsc();
	test_cpuid();
	test_stats();
	check(ioctl(vcpu, _IO(KVMIO, 0xee), 0) && (errno == EINVAL || errno == ENOTTY),
	      "an unknown ioctl of a vCPU");
	check(ioctl(vm, _IO(KVMIO, 0xee), 0) && errno == ENOTTY, "of a VM: ENOTTY");
	return tap_done();
}
