// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Thin access to the vCPU engine: see kvm.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <x86intrin.h>

#include "kvm.h"
#include "lapic.h"

#define MSR_IA32_TSC	0x10

/* Some kernel headers of our target lack these. */
#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL	0
#define KVM_VCPU_TSC_OFFSET	0
#endif

#define fail(...)	(snprintf(err, errlen, __VA_ARGS__), -1)

int engine_check(int fd, char *err, size_t errlen)
{
	static const struct { int cap; const char *what; } need[] = {
		{ KVM_CAP_USER_MEMORY, "user memory regions" },
		{ KVM_CAP_EXT_CPUID, "CPUID tables" },
		{ KVM_CAP_USER_NMI, "NMI injection" },
		{ KVM_CAP_GET_TSC_KHZ, "the TSC frequency" },
		{ KVM_CAP_X86_USER_SPACE_MSR, "MSR exits (Linux 5.10 or newer)" },
		{ KVM_CAP_X86_MSR_FILTER, "MSR filters (Linux 5.10 or newer)" },
	};
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	unsigned int i;

	if (version < 0)
		return fail("the engine device does not speak the KVM ABI: %s", strerror(errno));
	if (version != KVM_API_VERSION)
		return fail("the engine speaks KVM ABI version %d, %d is needed", version, KVM_API_VERSION);
	for (i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, need[i].cap) <= 0)
			return fail("the engine lacks a capability: %s", need[i].what);
	}
	return 0;
}

bool engine_has_apic(int fd)
{
	struct cvmm_info info;

	return !ioctl(fd, CVMM_GET_INFO, &info) && info.features & CVMM_FEATURE_APIC_PAGE;
}

/* Where Intel CPUs without "unrestricted guest" keep helper pages: below the BIOS, out of RAM. */
#define TSS_GPA		0xfffbd000ULL
#define IDENTITY_GPA	0xfffbc000ULL

static int setup_msrs(int vm, char *err, size_t errlen)
{
	/* One MSR denied in both directions: bit 0 clear. */
	static uint8_t deny[8];
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			  KVM_MSR_EXIT_REASON_FILTER },
	};
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = {
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.base = MSR_TSC_DEADLINE,
			.nmsrs = 1,
			.bitmap = deny,
		},
	};

	if (ioctl(vm, KVM_ENABLE_CAP, &cap))
		return fail("cannot enable MSR exits: %s", strerror(errno));
	if (ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter))
		return fail("cannot set the MSR filter: %s", strerror(errno));
	return 0;
}

int engine_create_vm(int fd, char *err, size_t errlen)
{
	uint64_t identity = IDENTITY_GPA;
	int vm = ioctl(fd, KVM_CREATE_VM, 0);

	if (vm < 0) {
		if (errno == EBUSY)
			return fail("another hypervisor uses this host's virtualization hardware");
		if (errno == EOPNOTSUPP)
			return fail("this host's CPU cannot run guests, or the firmware disabled it");
		return fail("cannot create a VM: %s", strerror(errno));
	}
	fcntl(vm, F_SETFD, FD_CLOEXEC);
	if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
	    ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		goto failed;
	if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
	    ioctl(vm, KVM_SET_TSS_ADDR, TSS_GPA))
		goto failed;
	if (setup_msrs(vm, err, errlen)) {
		close(vm);
		return -1;
	}
	return vm;
failed:
	snprintf(err, errlen, "cannot set up the VM: %s", strerror(errno));
	close(vm);
	return -1;
}

int engine_set_tsc_offset(int vcpu_fd, long long offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry tsc;
	} msrs = { .head.nmsrs = 1, .tsc.index = MSR_IA32_TSC };

	if (!ioctl(vcpu_fd, KVM_HAS_DEVICE_ATTR, &attr))
		return ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr);
	/* Off by the time the call takes, a few hundred cycles. */
	msrs.tsc.data = __rdtsc() + offset;
	return ioctl(vcpu_fd, KVM_SET_MSRS, &msrs) == 1 ? 0 : -1;
}
