/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the machine: what machine.c and vcpu.c share.
 */
#ifndef VMMD_MACHINE_PRIV_H
#define VMMD_MACHINE_PRIV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "apicbus.h"
#include "boot_linux.h"
#include "bus.h"
#include "cpuid.h"
#include "lapic.h"
#include "machine.h"
#include "ram.h"

/* Where a vCPU's thread is, for those who want its attention. */
enum vcpu_mode {
	VCPU_OUTSIDE,	/* in vmmd: will look at its pending work before it runs or waits */
	VCPU_RUNNING,	/* in or about to enter KVM_RUN */
	VCPU_WAITING,	/* halted or waiting for SIPI: blocked in sigwaitinfo() */
};

/* Events posted by other threads. */
enum {
	VCPU_EV_NMI = 1 << 0,
	VCPU_EV_INIT = 1 << 1,
	VCPU_EV_SIPI = 1 << 2,		/* vector in vcpu->sipi_vector */
};

enum vcpu_state {
	VCPU_WAIT_SIPI,
	VCPU_RUNNABLE,
	VCPU_HALTED,
};

/* Written by the owner alone, read by anyone. */
struct vcpu_stats {
	_Atomic uint64_t exits, pio, mmio, msr, hlt, intr, io_forwarded;
};

struct vcpu {
	struct machine *m;
	unsigned int id;		/* of the guest, = APIC id */
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started;

	/* Owner's thread only. */
	struct lapic *lapic;
	struct cvmm_apic_page *apic_page;	/* shared with the module, NULL: it does not */
	enum vcpu_state state;
	int64_t tsc_offset;		/* as the engine has it */
	timer_t timer;			/* not with a shared page, nor the next three */
	bool have_timer;
	bool signalled;			/* a VCPU_SIGNAL was taken: maybe the timer's */
	uint64_t armed;			/* guest TSC the timer is set for, LAPIC_NEVER: off */
	struct kvm_regs reset_regs;
	struct kvm_sregs reset_sregs;
	struct kvm_debugregs reset_debugregs;

	/* Any thread. */
	_Atomic pid_t tid;
	_Atomic enum vcpu_mode mode;
	_Atomic bool kicked;		/* a signal is on its way */
	_Atomic uint32_t events;
	_Atomic uint8_t sipi_vector;
	struct vcpu_stats stats;
};

struct machine {
	struct machine_params p;
	const struct vm_conf *conf;
	int engine_fd, vm_fd;
	uint32_t tsc_khz;		/* the host's */
	uint32_t guest_khz;		/* what the guest is told: more when it is slowed down */

	struct guest_ram ram;
	void *window;			/* the reservation that holds ram.base */
	size_t window_size;

	struct apicbus apicbus;
	uint8_t node_of[CONF_MAX_VCPUS];	/* of each vCPU of the guest */
	unsigned int first_vcpu, nr_vcpus;	/* of this node */
	struct vcpu *vcpu;
	cpu_set_t cpus;			/* to pin to */
	bool pinned;

	struct bus bus;
	struct ioapic *ioapic;		/* node 0 only, like all devices */
	struct uart *uart;
	struct rtc *rtc;
	struct pm *pm;
	pthread_t io_thread;
	int io_event;			/* eventfd: there is console output, or the machine has ended */

	bool loaded;
	struct linux_entry entry;

	_Atomic enum machine_end end;
	pthread_mutex_t lock;		/* error; for end_cond and gate_cond */
	pthread_cond_t end_cond;
	char error[256];

	/* Stopping all vCPUs for a moment: machine_adjust_tsc(). */
	_Atomic bool gate;		/* closed: no vCPU may enter the guest */
	pthread_cond_t gate_cond;
	pthread_mutex_t adjust_lock;	/* one adjustment at a time */
	_Atomic int64_t tsc_offset;	/* the guest's TSC = ours + this */

	_Atomic uint64_t ipis_local, ipis_remote_out, ipis_remote_in, irqs;
};

/* machine.c */
void machine_end(struct machine *m, enum machine_end why);
void machine_fail(struct machine *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Route a message to the local APICs here and on other nodes.  False: nobody took it. */
bool machine_route(struct machine *m, const struct apic_msg *msg);
/* An access of vCPU @v that is not its own local APIC. */
void machine_io(struct machine *m, struct vcpu *v, struct io_req *req);

static inline bool machine_ended(struct machine *m)
{
	return atomic_load(&m->end) != MACHINE_RUNNING;
}

/* vcpu.c */
int vcpu_create(struct machine *m, struct vcpu *v, unsigned int id, char *err, size_t errlen);
void vcpu_destroy(struct vcpu *v);
/* Start its thread.  0 or an errno. */
int vcpu_start(struct vcpu *v);
/* Deliver @msg to this vCPU's APIC.  Any thread. */
void vcpu_deliver(struct vcpu *v, const struct apic_msg *msg);
/* Make it look at its pending work.  Any thread. */
void vcpu_kick(struct vcpu *v);
/* The signal that takes a vCPU thread out of KVM_RUN or its wait. */
#define VCPU_SIGNAL	SIGUSR1

#endif /* VMMD_MACHINE_PRIV_H */
