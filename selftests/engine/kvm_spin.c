// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvm-spin VCPUS: guests that never leave by themselves, for tests of what goes
 * on around them.  Prints "spinning" when each vCPU has been seen in its guest;
 * ends when KVM_RUN ends for another reason than a signal, and says which.
 */
#include "kvm_vm.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEM_SIZE	0x10000UL

static int dev, vm, nr_vcpus;
static atomic_int seen;

static void *spin(void *id)
{
	struct kvm_run *run;
	int vcpu = make_vcpu(dev, vm, (uintptr_t)id, &run);

	real_mode(vcpu, 0);
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
	pthread_t thread;
	uint8_t *mem;
	int space;

	nr_vcpus = argc > 1 ? atoi(argv[1]) : 1;
	dev = open_device(0, NULL);
	space = make_space(dev, "spin", MEM_SIZE, 1);
	if (space < 0)
		bail("CVMM_CREATE_SPACE");
	mem = map(NULL, MEM_SIZE, MAP_SHARED, space);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0 || set_slot(vm, 0, 0, 0, MEM_SIZE, mem))
		bail("making a machine");
	memcpy(mem + CODE, code, sizeof(code));
	for (long i = 0; i < nr_vcpus; i++)
		if (pthread_create(&thread, NULL, spin, (void *)i))
			bail("pthread_create");
	pthread_join(thread, NULL);
	return 1;
}
