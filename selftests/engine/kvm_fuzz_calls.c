// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvm-fuzz: ioctls with half-sane arguments, in whatever state things are.
 */
#include "kvm_fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static __thread uint64_t rng;

void rnd_seed(uint64_t seed)
{
	rng = (seed + 1) * 0x9e3779b97f4a7c15ULL | 1;
}

uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

uint64_t rnd_below(uint64_t n)
{
	return (rnd() >> 16) % n;
}

bool one_in(unsigned int n)
{
	return !rnd_below(n);
}

void fill(void *buf, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = rnd();

		memcpy((uint8_t *)buf + i, &v, 8);
	}
}

void flip(void *buf, size_t len)
{
	for (uint64_t n = rnd_below(6); n; n--)
		((uint8_t *)buf)[rnd_below(len)] ^= 1 << rnd_below(8);
}

long call(int fd, unsigned long cmd, void *arg)
{
	long r = ioctl(fd, cmd, arg);

	counts->calls++;
	if (r >= 0)
		counts->successes++;
	return r;
}

static const unsigned long vcpu_cmds[] = {
	KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS, KVM_GET_MSRS, KVM_SET_MSRS,
	KVM_GET_FPU, KVM_SET_FPU, KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_GET_XCRS, KVM_SET_XCRS,
	KVM_INTERRUPT, KVM_NMI, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_GET_MP_STATE,
	KVM_SET_MP_STATE, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, KVM_SET_CPUID2, KVM_GET_CPUID2,
	KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_GET_TSC_KHZ, KVM_SET_TSC_KHZ,
	KVM_SET_SIGNAL_MASK, KVM_GET_LAPIC, KVM_TRANSLATE, KVM_GET_SREGS2, KVM_SET_SREGS2,
	KVM_SET_GUEST_DEBUG, KVM_GET_XSAVE2, KVM_KVMCLOCK_CTRL, KVM_SMI, KVM_HAS_DEVICE_ATTR,
	KVM_X86_SETUP_MCE, KVM_X86_SET_MCE, CVMM_VCPU_SET_APIC, CVMM_VCPU_APIC_KICK,
};

static const unsigned long vm_cmds[] = {
	KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_CHECK_EXTENSION, KVM_ENABLE_CAP,
	KVM_X86_SET_MSR_FILTER, KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP,
	KVM_GET_DIRTY_LOG, KVM_REGISTER_COALESCED_MMIO, KVM_IRQ_LINE, KVM_SET_CLOCK, KVM_IOEVENTFD,
	CVMM_VM_JOIN_SPACE,
};

static const uint32_t msrs[] = {
	0x10, 0x1b, 0x174, 0x175, 0x176, 0x1a0, 0x200, 0x20f, 0x250, 0x277, 0x2ff,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
	0xc0000102, 0xc0000103, 0xc0010015, 0xc0010117, 0x48, 0x49, 0x6e0, 0x800, 0xda0,
	0x808, 0x80b, 0x830, 0x838, 0x83f,
	0x17a, 0x17b, 0x400, 0x401, 0x47f,
};

/* Its APIC's page, if it has one. */
static void map_apic(unsigned int n)
{
	void *p = mmap(NULL, sizeof(struct cvmm_apic_page), PROT_READ | PROT_WRITE, MAP_SHARED,
		       m.vcpu[n], CVMM_VCPU_APIC_OFFSET);

	if (p != MAP_FAILED)
		m.apic[n] = p;
}

/* KVM_RUN, with the shared page in any condition. */
static void run_guest(unsigned int n)
{
	struct kvm_run *run = m.run[n];
	int fd = m.vcpu[n];
	long r;

	run->request_interrupt_window = rnd_below(2);
	run->immediate_exit = one_in(8);
	if (one_in(8))
		run->cr8 = rnd();
	if (one_in(8))
		fill((uint8_t *)run + 32, 64);	/* the union of exits */
	if (m.apic[n] && one_in(4)) {
		uint8_t *page = m.apic[n];

		if (one_in(8))
			fill(page, sizeof(struct cvmm_apic_page));
		else
			flip(page + rnd_below(4) * 1024, 1024);
		((uint32_t *)page)[0xf0 / 4] |= 0x100;		/* on */
	}
	counts->runs++;
	r = call(fd, KVM_RUN, NULL);
	if (!r)
		counts->exits[run->exit_reason & 63]++;
}

void one_vcpu_call(void)
{
	static const size_t buf_size = 16384;
	static __thread uint8_t *buf;
	unsigned int n = rnd_below(NR_VCPUS);
	int fd = m.vcpu[n];
	unsigned long cmd;

	if (!buf)
		buf = aligned_alloc(64, buf_size);
	switch (rnd_below(16)) {
	case 0:
	case 1:
		random_mode(fd);
		/* fall through */
	case 2 ... 8:
		run_guest(n);
		return;
	}
	cmd = vcpu_cmds[rnd_below(sizeof(vcpu_cmds) / sizeof(vcpu_cmds[0]))];
	switch (cmd) {
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_FPU:
	case KVM_SET_XSAVE:
	case KVM_SET_XCRS:
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_DEBUGREGS:
		/* What it has, with a few bits changed. */
		call(fd, cmd == KVM_SET_REGS ? KVM_GET_REGS :
			 cmd == KVM_SET_SREGS ? KVM_GET_SREGS :
			 cmd == KVM_SET_FPU ? KVM_GET_FPU :
			 cmd == KVM_SET_XSAVE ? KVM_GET_XSAVE :
			 cmd == KVM_SET_XCRS ? KVM_GET_XCRS :
			 cmd == KVM_SET_VCPU_EVENTS ? KVM_GET_VCPU_EVENTS :
			 KVM_GET_DEBUGREGS, buf);
		flip(buf, _IOC_SIZE(cmd));
		break;
	case KVM_GET_MSRS:
	case KVM_SET_MSRS: {
		struct kvm_msrs *list = (void *)buf;

		fill(buf, 1024);
		list->nmsrs = rnd_below(40);
		for (unsigned int i = 0; i < list->nmsrs; i++)
			list->entries[i].index = rnd_below(4) ?
				msrs[rnd_below(sizeof(msrs) / sizeof(msrs[0]))] : (uint32_t)rnd();
		break;
	}
	case KVM_SET_CPUID2:
	case KVM_GET_CPUID2: {
		struct kvm_cpuid2 *c = (void *)buf;

		memset(buf, 0, buf_size);
		c->nent = 100;
		call(m.dev, KVM_GET_SUPPORTED_CPUID, c);
		flip(buf + 8, sizeof(c->entries[0]) * 30);
		if (one_in(8))
			c->nent = rnd();
		break;
	}
	case KVM_SET_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR: {
		struct kvm_device_attr *a = (void *)buf;

		memset(a, 0, sizeof(*a));
		a->addr = rnd_below(4) ? (uintptr_t)buf + 64 : rnd();
		flip(buf, rnd_below(2) ? 8 : sizeof(*a));
		break;
	}
	case KVM_SET_SIGNAL_MASK: {
		struct kvm_signal_mask *s = (void *)buf;

		/* Of eight bytes, with the signal that ends a run in it or not. */
		fill(buf, 16);
		s->len = one_in(8) ? rnd() : 8;
		break;
	}
	case CVMM_VCPU_SET_APIC: {
		struct cvmm_apic_config *a = (void *)buf;

		*a = (struct cvmm_apic_config){
			.version = CVMM_APIC_VERSION, .nr_vcpus = rnd_below(4), .tsc_khz = rnd(),
		};
		if (one_in(4))
			flip(a, sizeof(*a));
		if (!call(fd, cmd, a))
			map_apic(n);
		return;
	}
	case CVMM_VCPU_APIC_KICK:
		call(fd, cmd, NULL);
		return;
	case KVM_X86_SETUP_MCE:
		*(uint64_t *)buf = rnd_below(40) | (rnd() & 0x1000100);
		break;
	case KVM_X86_SET_MCE: {
		struct kvm_x86_mce *mce = (void *)buf;

		fill(buf, sizeof(*mce));
		mce->status |= 1ULL << 63;
		mce->bank = one_in(8) ? rnd() : rnd_below(4);
		break;
	}
	default:
		fill(buf, 4096);
	}
	call(fd, cmd, !one_in(32) ? buf : (void *)(uintptr_t)rnd());
}

void one_vm_call(void)
{
	uint8_t buf[sizeof(struct kvm_msr_filter) + 64];
	unsigned long cmd = vm_cmds[rnd_below(sizeof(vm_cmds) / sizeof(vm_cmds[0]))];
	void *arg = buf;
	long fd;

	fill(buf, sizeof(buf) & ~7UL);
	switch (cmd) {
	case KVM_CREATE_VCPU:
		arg = (void *)(uintptr_t)rnd_below(6);
		break;
	case CVMM_VM_JOIN_SPACE:
		arg = (void *)(uintptr_t)(one_in(4) ? rnd() : (uint64_t)m.space);
		break;
	case KVM_CHECK_EXTENSION:
		arg = (void *)(uintptr_t)rnd_below(256);
		break;
	case KVM_SET_USER_MEMORY_REGION: {
		struct kvm_userspace_memory_region *r = arg;
		uint64_t gpa = rnd_below(MEM_SIZE / 4096) * 4096;

		*r = (struct kvm_userspace_memory_region) {
			.slot = rnd_below(4), .guest_phys_addr = gpa,
			.memory_size = one_in(3) ? 0 : rnd_below(20) * 4096,
			.userspace_addr = (uintptr_t)m.mem + gpa,
			.flags = one_in(8) ? rnd_below(8) : 0,
		};
		if (one_in(4))	/* all of it, in place of what is in its way */
			r->guest_phys_addr = 0, r->memory_size = MEM_SIZE,
			r->userspace_addr = (uintptr_t)m.mem;
		if (one_in(8))
			flip(arg, sizeof(*r));
		break;
	}
	case KVM_GET_DIRTY_LOG: {
		struct kvm_dirty_log *log = arg;
		static uint8_t bitmap[MEM_SIZE / 4096 / 8];

		log->slot = rnd_below(4);
		if (!one_in(8))
			log->dirty_bitmap = bitmap;
		break;
	}
	case KVM_X86_SET_MSR_FILTER: {
		struct kvm_msr_filter *f = arg;
		static uint8_t bitmap[0x600];

		memset(f, 0, sizeof(*f));
		for (int i = 0; i < 3; i++) {
			f->ranges[i].flags = 1 + rnd_below(3);
			f->ranges[i].base = msrs[rnd_below(20)];
			f->ranges[i].nmsrs = rnd_below(300);
			f->ranges[i].bitmap = bitmap;
		}
		if (one_in(4))
			flip(arg, sizeof(*f));
		break;
	}
	}
	fd = call(m.vm[rnd_below(NR_VMS)], cmd, arg);
	if (cmd == KVM_CREATE_VCPU && fd >= 0)
		close(fd);
}
