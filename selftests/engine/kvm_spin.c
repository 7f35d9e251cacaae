// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvm-spin VCPUS: guests that never leave by themselves, for tests of what goes
 * on around them.  Prints "spinning" when each vCPU has been seen in its guest;
 * ends when KVM_RUN ends for another reason than a signal, and says which.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>


#define MEM_SIZE	0x10000UL

static int vm, nr_vcpus;
static atomic_int seen;

static void bail(const char *what)
{
	printf("cannot: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *spin(void *id)
{
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, id);
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_sregs s;
	struct kvm_run *run;

	if (vcpu < 0)
		bail("KVM_CREATE_VCPU");
	run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		bail("mmap of the vCPU");
	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		bail("KVM_GET_SREGS");
	s.cs.base = s.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
		bail("setting registers");
	/* The guest's OUT, then its loop. */
	if (ioctl(vcpu, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_IO)
		bail("the guest's first exit");
	if (++seen == nr_vcpus) {
		printf("spinning\n");
		fflush(stdout);
	}
	while (ioctl(vcpu, KVM_RUN, 0) && errno == EINTR)
		;
	printf("KVM_RUN ended: exit reason %u\n", run->exit_reason);
	exit(1);
}

int main(int argc, char **argv)
{
	static const uint8_t code[] = { 0xe6, 0x80, 0xeb, 0xfe };	/* out $0x80; jmp . */
	struct cvmm_home_range range = { .nr_gfns = MEM_SIZE >> 12 };
	struct cvmm_space_config cfg = {
		.ranges = (uintptr_t)&range, .nr_ranges = 1, .nr_hosts = 1, .epoch = 1,
		.space_id = 7,
	};
	struct kvm_userspace_memory_region r = { .memory_size = MEM_SIZE };
	int dev = open("/dev/cvmm", O_RDWR), space;
	pthread_t thread;
	uint8_t *mem;

	nr_vcpus = argc > 1 ? atoi(argv[1]) : 1;
	if (dev < 0)
		bail("/dev/cvmm");
	snprintf(cfg.name, sizeof(cfg.name), "spin-%d", (int)getpid());
	space = ioctl(dev, CVMM_CREATE_SPACE, &cfg);
	mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, space, 0);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	r.userspace_addr = (uintptr_t)mem;
	if (mem == MAP_FAILED || vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		bail("making a machine");
	memcpy(mem + 0x1000, code, sizeof(code));
	for (long i = 0; i < nr_vcpus; i++)
		if (pthread_create(&thread, NULL, spin, (void *)i))
			bail("pthread_create");
	pthread_join(thread, NULL);
	return 1;
}
