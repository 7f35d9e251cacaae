/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs of this folder share: TAP, and a machine of one vCPU in real
 * mode made of the plain ioctls of the KVM ABI, on any device that speaks it.
 */
#ifndef KVM_VM_H
#define KVM_VM_H

#include <linux/cvmm.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CODE	0x1000UL	/* where a guest begins, linear and physical */
#define STACK	0x8000UL

/* ---- TAP: one point each; tap_done() prints the plan and is main's result. */
void check(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *name, const char *why);
int tap_done(void);
/* End the program: "Bail out!", @what and errno. */
void bail(const char *what) __attribute__((noreturn));

/* ---- machines.  All of these bail unless they say what they return on failure. */
void *zalloc(size_t size);
/* The device of "-d DEVICE" among the arguments, else /dev/cvmm. */
int open_device(int argc, char **argv);
/* True when open_device() opened our engine. */
bool on_cvmm(void);
/* A mapping for reading and writing, in place of what is @at (NULL: anywhere); fd -1: anonymous. */
void *map(void *at, size_t size, int flags, int fd);
/*
 * Host 0's side of a space of @size bytes, all at home there, of @nr_hosts that
 * never come, named @name and this process's number.  -1 and errno on failure.
 */
int make_space(int dev, const char *name, size_t size, unsigned int nr_hosts);
/* KVM_SET_USER_MEMORY_REGION: 0, or -1 and errno. */
int set_slot(int vm, unsigned int id, unsigned int flags, uint64_t gpa, size_t size, void *at);
/* Bytes of a vCPU's mapping. */
size_t run_size(int dev);
int make_vcpu(int dev, int vm, unsigned int id, struct kvm_run **run);
/* The VM's statistics, and a counter of them by its name. */
int open_stats(int vm);
uint64_t vm_stat(int stats, const char *name);
/* What the device supports, room for more entries behind it; the caller frees it. */
struct kvm_cpuid2 *supported_cpuid(int dev);
/* Registers for real mode at CODE, all segments flat from 0 but DS and ES, from @data. */
void real_mode(int vcpu, uint64_t data);
struct kvm_sregs get_sregs(int vcpu);
void set_sregs(int vcpu, const struct kvm_sregs *s);
struct kvm_regs get_regs(int vcpu);

#endif /* KVM_VM_H */
