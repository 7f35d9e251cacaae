/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Thin access to the vCPU engine: /dev/cvmm or /dev/kvm, one ABI.
 */
#ifndef VMMD_KVM_H
#define VMMD_KVM_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Does the engine behind @fd, an open /dev/cvmm or /dev/kvm, offer what the
 * machine needs?  0, or -1 with a message for the user in @err.
 */
int engine_check(int fd, char *err, size_t errlen);

/* Does it serve local APICs in a page shared with us (CVMM_VCPU_SET_APIC)?  KVM does not. */
bool engine_has_apic(int fd);

/*
 * Create a VM with user-space MSR exits for what local APICs need.  Returns its
 * descriptor, or -1 with a message.
 */
int engine_create_vm(int fd, char *err, size_t errlen);

/*
 * Make the TSC that a vCPU's guest reads the host's plus @offset (cycles).
 * 0 or -1 with errno.
 */
int engine_set_tsc_offset(int vcpu_fd, long long offset);

#endif /* VMMD_KVM_H */
