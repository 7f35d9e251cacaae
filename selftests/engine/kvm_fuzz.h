/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-fuzz: what its files share.  kvm_fuzz.c makes and ends machines,
 * kvm_fuzz_calls.c calls the ioctls, kvm_fuzz_guest.c makes up guests.
 */
#ifndef KVM_FUZZ_H
#define KVM_FUZZ_H

#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_SIZE	(1UL << 20)
#define RUN_SIZE	8192
#define NR_VMS		2		/* on one space */
#define NR_VCPUS	4		/* half of them each VM's */

/* One round's machine.  Any thread may close or replace anything at any time. */
struct machine {
	int dev, space;
	int vm[NR_VMS];
	int vcpu[NR_VCPUS];
	struct kvm_run *run[NR_VCPUS];
	void *apic[NR_VCPUS];		/* pages of some vCPU or other, NULL: none yet */
	uint8_t *mem;
};

/* Shared with the processes of all rounds. */
struct counts {
	atomic_ulong calls, successes, runs, exits[64];
};

extern volatile struct machine m;
extern struct counts *counts;

/* Random numbers of the calling thread, from its seed. */
void rnd_seed(uint64_t seed);
uint64_t rnd(void);
uint64_t rnd_below(uint64_t n);
/* True once in @n times. */
bool one_in(unsigned int n);
void fill(void *buf, size_t len);
/* Flip some bits, so that most of a structure stays believable. */
void flip(void *buf, size_t len);

/* An ioctl, counted. */
long call(int fd, unsigned long cmd, void *arg);
void one_vcpu_call(void);
void one_vm_call(void);

/* Registers for one of the processor's modes, mostly valid. */
void random_mode(int vcpu);
/* Instructions that are likely to leave the guest, somewhere in its memory. */
void random_code(uint8_t *mem);

#endif /* KVM_FUZZ_H */
