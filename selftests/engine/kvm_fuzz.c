// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random ioctls with half-sane arguments on a VM and its vCPUs from several
 * threads at once, random code in the guest, descriptors closed at random: the
 * host must not care.  The verdict on the kernel is the runner's; this program
 * only proves that it did enough and ended.  TAP.
 *
 * kvm-fuzz SECONDS SEED
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/cvmm.h>

#define MEM_SIZE	(1UL << 20)
#define NR_VCPUS	2
#define NR_THREADS	4

static int dev, space, vm;
static int vcpu[NR_VCPUS];
static struct kvm_run *run[NR_VCPUS];
static uint8_t *mem;
static atomic_ulong calls, successes, runs, entered;
static atomic_bool stop;
static __thread uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t rnd_below(uint64_t n)
{
	return rnd() % n;
}

static const unsigned long vcpu_cmds[] = {
	KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS, KVM_GET_MSRS, KVM_SET_MSRS,
	KVM_GET_FPU, KVM_SET_FPU, KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_GET_XCRS, KVM_SET_XCRS,
	KVM_INTERRUPT, KVM_NMI, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_GET_MP_STATE,
	KVM_SET_MP_STATE, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, KVM_SET_CPUID2, KVM_GET_CPUID2,
	KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_GET_TSC_KHZ, KVM_SET_TSC_KHZ,
	KVM_SET_SIGNAL_MASK, KVM_GET_LAPIC, KVM_TRANSLATE,
};

static const unsigned long vm_cmds[] = {
	KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_CHECK_EXTENSION, KVM_ENABLE_CAP,
	KVM_X86_SET_MSR_FILTER, KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP,
	KVM_GET_DIRTY_LOG,
};

static const uint32_t msrs[] = {
	0x10, 0x1b, 0x174, 0x175, 0x176, 0x1a0, 0x200, 0x20f, 0x250, 0x277, 0x2ff,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
	0xc0000102, 0xc0000103, 0xc0010015, 0xc0010117, 0x48, 0x49, 0x6e0, 0x800, 0xda0,
};

static void fill(uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rnd();

		memcpy(buf + i, &v, 8);
	}
}

/* Flip some bits, so that most of a structure stays believable. */
static void flip(uint8_t *buf, size_t len)
{
	for (uint64_t n = rnd_below(6); n; n--)
		buf[rnd_below(len)] ^= 1 << rnd_below(8);
}

static long call(int fd, unsigned long cmd, void *arg)
{
	long r = ioctl(fd, cmd, arg);

	calls++;
	if (r >= 0)
		successes++;
	return r;
}

static void sane_state(int fd)
{
	struct kvm_regs regs = { .rip = rnd_below(MEM_SIZE), .rsp = rnd_below(MEM_SIZE),
				 .rflags = 2 | (rnd() & 0x3d5) };
	struct kvm_vcpu_events events = {};
	struct kvm_sregs s;

	if (call(fd, KVM_GET_SREGS, &s))
		return;
	s.cr0 = 0x10 | (rnd() & 1);
	s.cr4 = 0;
	s.efer = 0;
	s.cs.base = 0;
	s.cs.l = 0;
	s.cs.s = s.cs.present = 1;
	s.cs.type = 11;
	s.ds.base = rnd_below(4) ? 0 : rnd();
	call(fd, KVM_SET_SREGS, &s);
	call(fd, KVM_SET_VCPU_EVENTS, &events);
	call(fd, KVM_SET_REGS, &regs);
}

static void one_vcpu_call(void)
{
	static const size_t buf_size = 16384;
	static __thread uint8_t *buf;
	int n = rnd_below(NR_VCPUS), fd = vcpu[n];
	unsigned long cmd;

	if (!buf)
		buf = aligned_alloc(64, buf_size);
	switch (rnd_below(8)) {
	case 0:
		sane_state(fd);
		/* fall through */
	case 1:
	case 2:
	case 3:
		run[n]->request_interrupt_window = rnd_below(2);
		run[n]->immediate_exit = !rnd_below(8);
		if (!rnd_below(8))
			run[n]->cr8 = rnd();
		if (!rnd_below(8))
			fill((uint8_t *)run[n] + 32, 64);	/* the union of exits */
		runs++;
		if (call(fd, KVM_RUN, NULL) == 0)
			entered++;
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
		struct kvm_msrs *m = (void *)buf;

		fill(buf, 1024);
		m->nmsrs = rnd_below(40);
		for (unsigned int i = 0; i < m->nmsrs; i++)
			m->entries[i].index = rnd_below(4) ?
				msrs[rnd_below(sizeof(msrs) / sizeof(msrs[0]))] : (uint32_t)rnd();
		break;
	}
	case KVM_SET_CPUID2:
	case KVM_GET_CPUID2: {
		struct kvm_cpuid2 *c = (void *)buf;

		memset(buf, 0, buf_size);
		c->nent = 100;
		call(dev, KVM_GET_SUPPORTED_CPUID, c);
		flip(buf + 8, sizeof(c->entries[0]) * 30);
		if (!rnd_below(8))
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
	default:
		fill(buf, 4096);
	}
	call(fd, cmd, rnd_below(32) ? buf : (void *)(uintptr_t)rnd());
}

static void one_vm_call(void)
{
	uint8_t buf[sizeof(struct kvm_msr_filter) + 64];
	unsigned long cmd = vm_cmds[rnd_below(sizeof(vm_cmds) / sizeof(vm_cmds[0]))];
	void *arg = buf;
	long r;

	fill(buf, sizeof(buf) & ~7UL);
	switch (cmd) {
	case KVM_CREATE_VCPU:
		arg = (void *)(uintptr_t)rnd_below(6);
		break;
	case KVM_CHECK_EXTENSION:
		arg = (void *)(uintptr_t)rnd_below(256);
		break;
	case KVM_SET_USER_MEMORY_REGION: {
		struct kvm_userspace_memory_region *m = arg;
		uint64_t gpa = rnd_below(MEM_SIZE / 4096) * 4096;

		*m = (struct kvm_userspace_memory_region) {
			.slot = rnd_below(4), .guest_phys_addr = gpa,
			.memory_size = rnd_below(3) ? rnd_below(20) * 4096 : 0,
			.userspace_addr = (uintptr_t)mem + gpa,
		};
		if (!rnd_below(4))
			flip(arg, sizeof(*m));
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
		if (!rnd_below(4))
			flip(arg, sizeof(*f));
		break;
	}
	}
	r = call(vm, cmd, arg);
	if (cmd == KVM_CREATE_VCPU && r >= 0)
		close(r);
}

static void *worker(void *arg)
{
	rng = (uintptr_t)arg * 0x9e3779b97f4a7c15ULL | 1;
	while (!stop) {
		if (!rnd_below(16))
			one_vm_call();
		else
			one_vcpu_call();
		/* New code now and then, so that the guest does something else. */
		if (!rnd_below(4))
			flip(mem + rnd_below(MEM_SIZE - 64), 64);
	}
	return NULL;
}

static pthread_t threads[NR_THREADS];

static void nothing(int sig)
{
	(void)sig;
}

static void one_round(unsigned int ms, uint64_t seed)
{
	struct cvmm_home_range range = { .nr_gfns = MEM_SIZE >> 12 };
	struct cvmm_space_config cfg = {
		.ranges = (uintptr_t)&range, .nr_ranges = 1, .nr_hosts = 1, .epoch = 1,
		.space_id = seed, .name = "fuzz",
	};
	struct kvm_userspace_memory_region m = { .slot = 3, .memory_size = MEM_SIZE };
	unsigned int i;

	space = ioctl(dev, CVMM_CREATE_SPACE, &cfg);
	mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, space, 0);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (space < 0 || mem == MAP_FAILED || vm < 0) {
		printf("Bail out! cannot make a machine: %s\n", strerror(errno));
		exit(1);
	}
	rng = seed | 1;
	fill(mem, MEM_SIZE);
	m.userspace_addr = (uintptr_t)mem;
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m);
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu[i] = ioctl(vm, KVM_CREATE_VCPU, i);
		run[i] = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu[i], 0);
		if (vcpu[i] < 0 || run[i] == MAP_FAILED) {
			printf("Bail out! cannot make a vCPU: %s\n", strerror(errno));
			exit(1);
		}
	}
	stop = false;
	for (i = 0; i < NR_THREADS; i++)
		pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)(seed + i + 1));
	for (; ms; ms -= 10) {
		struct timespec t = { .tv_nsec = 10000000 };

		nanosleep(&t, NULL);
		for (i = 0; i < NR_THREADS; i++)
			pthread_kill(threads[i], SIGUSR1);
	}
	stop = true;
	for (i = 0; i < NR_THREADS; i++) {
		/* Keep kicking: a guest may loop for ever. */
		struct timespec t;

		do {
			pthread_kill(threads[i], SIGUSR1);
			clock_gettime(CLOCK_REALTIME, &t);
			t.tv_nsec += 20000000;
			if (t.tv_nsec >= 1000000000) {
				t.tv_nsec -= 1000000000;
				t.tv_sec++;
			}
		} while (pthread_timedjoin_np(threads[i], NULL, &t));
	}
	for (i = 0; i < NR_VCPUS; i++)
		munmap(run[i], 8192);
	munmap(mem, MEM_SIZE);
	close(rnd_below(2) ? vm : space);
	for (i = 0; i < NR_VCPUS; i++)
		close(vcpu[i]);
	close(vm);
	close(space);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = nothing };
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 10, i;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);

	sigaction(SIGUSR1, &sa, NULL);
	dev = open("/dev/cvmm", O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		printf("Bail out! /dev/cvmm: %s\n", strerror(errno));
		return 1;
	}
	printf("# seed %llu\n", (unsigned long long)seed);
	for (i = 0; i < seconds; i++)
		one_round(1000, seed + i * 100);
	printf("# %lu calls, %lu successful, %lu runs, %lu ended with an exit\n",
	       (unsigned long)calls, (unsigned long)successes, (unsigned long)runs,
	       (unsigned long)entered);
	printf("%sok 1 - random calls were made and some of them did something\n",
	       calls > 100 && successes > 50 && entered > 10 ? "" : "not ");
	printf("1..1\n");
	return 0;
}
