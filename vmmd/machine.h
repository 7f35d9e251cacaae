/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: everything a guest sees on one host, around the KVM ABI.
 *
 * Each host of a guest runs one process with one struct machine.  It runs the
 * vCPUs of its own node and emulates their local APICs; the devices (IOAPIC,
 * UART, RTC, power management) live on node 0 only.  vCPU n of the guest has
 * APIC id n; node 0 has the first vCPUs.
 *
 * A machine knows nothing of sockets.  What concerns another host leaves by
 * struct machine_peer_ops and comes in by the machine_rx_*() calls; on a
 * single host the ops are NULL and never needed.
 *
 * A machine's threads have all signals blocked; SIGUSR1 is theirs, sent by the
 * machine to single threads and never to the process.  MACHINE.rst describes
 * what the guest sees.
 */
#ifndef VMMD_MACHINE_H
#define VMMD_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

struct machine;

/* An interrupt message as on the APIC bus: from an ICR write or an IOAPIC entry. */
struct apic_msg {
	uint32_t dest;		/* APIC id (32 bits in x2APIC), or logical destination */
	uint8_t vector;
	uint8_t delivery;	/* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 STARTUP, 7 ExtINT */
	bool logical;
	bool level;
	bool assert;
	uint8_t shorthand;	/* 0 none, 2 all including self, 3 all but self (1, self, never leaves) */
	uint32_t source;	/* APIC id of the sender, ~0 for the IOAPIC */
	bool x2apic;		/* the sender's mode: how @dest is read */
};

/* What every host must know of each local APIC to route logical and lowest-priority messages. */
struct apic_info {
	uint32_t id;
	uint32_t ldr;
	uint32_t dfr;
	bool enabled;		/* software-enabled (SVR bit 8) */
	bool x2apic;
};

enum io_space { IO_PIO, IO_MMIO };

/* One access to a device on another host.  Answered in place for reads. */
struct io_req {
	enum io_space space;
	bool write;
	uint8_t size;		/* 1, 2, 4, 8 */
	uint32_t vcpu;		/* who asks */
	uint64_t addr;
	uint64_t data;
};

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_POWEROFF,	/* ACPI S5 */
	MACHINE_RESET,		/* reset port or ACPI reset register, or triple fault */
	MACHINE_STOPPED,	/* machine_stop() */
	MACHINE_ERROR,		/* engine or device error, see the message */
};

/*
 * Calls from the machine to the other hosts.  All may be called from any of
 * the machine's threads at the same time.
 */
struct machine_peer_ops {
	/* Deliver @msg on each node set in @nodes (bit n = node n, never this one).  Does not block on the peers. */
	void (*apic_msg)(void *ctx, uint64_t nodes, const struct apic_msg *msg);
	/* This node's local APIC changed its routing information; tell all other nodes, in order. */
	void (*apic_info)(void *ctx, const struct apic_info *info);
	/* A level-triggered vector was ended on a vCPU of this node; node 0 has the IOAPIC. */
	void (*eoi)(void *ctx, uint8_t vector);
	/* Access a device on node @node; blocks until answered.  0, or -1 when the peer is gone. */
	int (*io)(void *ctx, unsigned int node, struct io_req *req);
};

struct machine_params {
	const struct vm_conf *conf;	/* outlives the machine */
	unsigned int node;		/* this host's index in conf->node */
	int engine_fd;			/* open /dev/cvmm or /dev/kvm; the machine dups it */
	int space_fd;			/* the space, which has the memory if conf_in_space(); -1: none (stock KVM) */
	int64_t tsc_offset;		/* guest TSC = this host's TSC + offset, at start */
	const struct machine_peer_ops *peers;	/* NULL with one node */
	void *peers_ctx;
	/* The guest's serial output, node 0 only.  Called by a device thread; may block briefly. */
	void (*console_out)(void *ctx, const void *buf, size_t len);
	void *console_ctx;
};

/* The guest's RAM as home ranges: below 3 GiB, then from 4 GiB on; node order.  Used for SRAT, slots and the space alike. */
struct ram_range {
	uint64_t gpa;		/* bytes */
	uint64_t size;		/* bytes */
	unsigned int node;
};
/* Fills at most @max entries, returns how many.  Pure. */
unsigned int machine_ram_map(const struct vm_conf *conf, struct ram_range *r, unsigned int max);

/*
 * Create the machine: VM, memory slots, vCPUs, devices; nothing runs yet.
 * On failure returns NULL with a message for the user in @err.
 */
struct machine *machine_create(const struct machine_params *p, char *err, size_t errlen);

/* Node 0 only: put kernel, initrd, command line, boot_params and ACPI tables into guest memory. */
int machine_load(struct machine *m, const void *kernel, size_t kernel_len,
		 const void *initrd, size_t initrd_len, char *err, size_t errlen);

/*
 * Start the vCPU threads and return when the machine has ended on this node:
 * the guest powered off or reset (node 0 learns it from its devices), machine_stop()
 * was called, or an error (message in @err).  All vCPU threads have exited then.
 */
enum machine_end machine_run(struct machine *m, char *err, size_t errlen);

/* End machine_run() soon, from any thread or before it started.  Idempotent. */
void machine_stop(struct machine *m);
void machine_destroy(struct machine *m);

/* Serial input to the guest, node 0.  Returns how many bytes the UART's queue took. */
size_t machine_console_in(struct machine *m, const void *buf, size_t len);

/*
 * Move the guest's TSC on this host by @delta cycles.  All vCPUs here step
 * together, stopped for the moment; a step back takes as long as its length, so
 * that none reads less than before.  Blocks until no vCPU runs the guest.
 */
void machine_adjust_tsc(struct machine *m, int64_t delta);

/* From the peers.  Any thread. */
void machine_rx_apic_msg(struct machine *m, const struct apic_msg *msg);
void machine_rx_apic_info(struct machine *m, const struct apic_info *info);
void machine_rx_eoi(struct machine *m, uint8_t vector);
/* Perform @req on this node's devices; fills data for reads.  Unclaimed addresses read all-ones. */
void machine_rx_io(struct machine *m, struct io_req *req);

/* Counters for "cvmm stat": machine_stats_next() style table is in stats.h once needed. */
struct machine_stats {
	uint64_t exits, exits_pio, exits_mmio, exits_msr, exits_hlt, exits_intr;
	uint64_t ipis_local, ipis_remote_out, ipis_remote_in;
	uint64_t io_forwarded;
	uint64_t irqs;
};
void machine_get_stats(struct machine *m, struct machine_stats *s);

#endif /* VMMD_MACHINE_H */
