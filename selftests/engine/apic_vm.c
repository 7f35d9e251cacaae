// SPDX-License-Identifier: GPL-2.0-or-later
/* The machine of apic_vm.h. */
#include "apic_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int dev, vm, vcpu[2];
struct kvm_run *run[2];
struct cvmm_apic_page *page[2];
uint8_t *mem, *code;
static unsigned int nr_vcpus;

void *map_page(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CVMM_VCPU_APIC_OFFSET);
}

int set_apic(int fd, uint32_t version, uint32_t flags, uint32_t total, uint32_t khz)
{
	struct cvmm_apic_config c = {
		.version = version, .flags = flags, .nr_vcpus = total, .tsc_khz = khz,
	};

	return ioctl(fd, CVMM_VCPU_SET_APIC, &c);
}

void make_machine(void *at, unsigned int nr)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN },
	};
	struct kvm_cpuid2 *cpuid = supported_cpuid(dev);

	mem = at;
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	if (set_slot(vm, 0, 0, 0, MEM_SIZE, mem) || ioctl(vm, KVM_ENABLE_CAP, &cap))
		bail("memory, MSR exits");
	for (unsigned int i = 0; i < nr; i++) {
		vcpu[i] = make_vcpu(dev, vm, i, &run[i]);
		if (ioctl(vcpu[i], KVM_SET_CPUID2, cpuid))
			bail("KVM_SET_CPUID2");
	}
	free(cpuid);
	nr_vcpus = nr;
	for (unsigned int v = 0; v < 256; v++) {
		const uint8_t handler[] = { 0xb0, v, 0xe6, REPORT_PORT, 0xcf };	/* mov, out, iret */

		memcpy(mem + HANDLERS + v * 8, handler, sizeof(handler));
		*(uint16_t *)(mem + v * 4) = HANDLERS + v * 8;
	}
}

void make_pages(unsigned int total)
{
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		if (set_apic(vcpu[i], CVMM_APIC_VERSION, 0, total, ioctl(vcpu[i], KVM_GET_TSC_KHZ, 0)))
			bail("CVMM_VCPU_SET_APIC");
		page[i] = map_page(vcpu[i], sizeof(*page[i]));
		if (page[i] == MAP_FAILED)
			bail("mmap of the page");
	}
}

void free_machine(void)
{
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		munmap(page[i], sizeof(*page[i]));
		munmap(run[i], run_size(dev));
		close(vcpu[i]);
	}
	close(vm);
}

void emit(const void *bytes, size_t len)
{
	memcpy(code, bytes, len);
	code += len;
}

void emit_wrmsr(uint32_t msr, uint32_t high, uint32_t low)
{
	uint8_t b[] = { 0x66, 0xb9, 0, 0, 0, 0, 0x66, 0xba, 0, 0, 0, 0, 0x66, 0xb8, 0, 0, 0, 0, 0x0f, 0x30 };

	memcpy(b + 2, &msr, 4);
	memcpy(b + 8, &high, 4);
	memcpy(b + 14, &low, 4);
	emit(b, sizeof(b));
}

void emit_icr(uint32_t dest, uint32_t low)
{
	emit_wrmsr(0x830, dest, low);
}

void reset(unsigned int i, bool x2apic)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_vcpu_events events;
	struct kvm_sregs s;

	memset(page[i], 0, sizeof(*page[i]));
	page[i]->deadline = NEVER;
	page[i]->reg[SVR] = 0x1ff;
	page[i]->reg[LVTT] = 0x10000;
	real_mode(vcpu[i], 0);
	ioctl(vcpu[i], KVM_GET_VCPU_EVENTS, &events);
	events.interrupt.injected = 0;
	events.exception.injected = 0;
	ioctl(vcpu[i], KVM_SET_VCPU_EVENTS, &events);
	s = get_sregs(vcpu[i]);
	s.apic_base = 0xfee00000 | 1 << 11 | (x2apic ? BASE_EXTD : 0) | (i ? 0 : 1 << 8);
	set_sregs(vcpu[i], &s);
	if (ioctl(vcpu[i], KVM_SET_MP_STATE, &runnable))
		bail("KVM_SET_MP_STATE");
	run[i]->cr8 = 0;
	/* The module takes a look, as before a vCPU runs for the first time. */
	run[i]->immediate_exit = 1;
	ioctl(vcpu[i], KVM_RUN, 0);
	run[i]->immediate_exit = 0;
	code = mem + CODE;
}

void post(unsigned int i, uint8_t v, bool level)
{
	if (level)
		__atomic_fetch_or(&page[i]->posted_level[v / 32], 1U << v % 32, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&page[i]->posted[v / 32], 1U << v % 32, __ATOMIC_SEQ_CST);
	__atomic_store_n(&page[i]->posted_any, 1, __ATOMIC_SEQ_CST);
}

bool bit(unsigned int i, unsigned int bank, uint8_t v)
{
	return page[i]->reg[bank + v / 32 * 4] >> v % 32 & 1;
}

bool runs_to(uint16_t port, int byte)
{
	int r = ioctl(vcpu[0], KVM_RUN, 0);
	uint8_t *data = (uint8_t *)run[0] + run[0]->io.data_offset % 8192;

	if (!r && run[0]->exit_reason == KVM_EXIT_IO && run[0]->io.port == port &&
	    (byte < 0 || *data == byte))
		return true;
	printf("# KVM_RUN %d %s, exit %u, port %#x, byte %#x, rip %#llx\n", r, r ? strerror(errno) : "",
	       run[0]->exit_reason, run[0]->io.port, *data, get_regs(vcpu[0]).rip);
	return false;
}
