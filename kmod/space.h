/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space as the rest of the module sees it.
 *
 * A space is guest-physical memory that several hosts keep coherent.  All
 * touching of guest memory by this module (nested page faults, emulation, page
 * table walks, debug reads) goes through the calls below and nothing else.
 *
 * Locking: each gfn has a sleeping lock (striped), the "page lock" below.  It
 * is never held across the network.  Mappings are installed and removed only
 * under it, so a revocation can never pass an installation.
 */
#ifndef CVMM_SPACE_H
#define CVMM_SPACE_H

#include <linux/list.h>
#include <linux/types.h>

struct cvmm_space;
struct cvmm_space_config;
struct page;

/* Module load and unload: caches, the netlink family. */
int cvmm_space_init(void);
void cvmm_space_exit(void);

/**
 * cvmm_space_create() - CVMM_CREATE_SPACE
 * @ucfg:	the caller's argument
 *
 * Memory is charged to the caller's cgroup.  May sleep.  Returns a new file
 * descriptor, or -EFAULT, -EINVAL (a rule of <linux/cvmm.h> broken), -EEXIST
 * (name in use), -ENOMEM, -EMFILE.
 */
int cvmm_space_create(const struct cvmm_space_config __user *ucfg);

/* CVMM_FEATURE_* of the transports that can be used now.  May sleep. */
u64 cvmm_transport_features(void);
/*
 * An ioctl on /dev/cvmm that makes what CVMM_SPACE_ADD_LINK takes; loads the
 * transport's module.  A new descriptor, -EOPNOTSUPP without it, or its error.
 */
long cvmm_transport_endpoint(u32 transport, void __user *uarg);

/* How much of a mapping may stay: the argument of a client's protect(). */
enum cvmm_prot {
	CVMM_PROT_NONE,		/* remove the mapping */
	CVMM_PROT_READ,		/* keep it, read-only */
};

struct cvmm_space_client;

/* APIC ids are below this. */
#define CVMM_MAX_VCPU_ID	1024

/**
 * struct cvmm_irq - a fixed interrupt that a vCPU of the guest has sent
 * @dest:	as in the ICR: an APIC id, or with @logical a logical destination; 0
 *		with @all
 * @vector:	16 to 255
 * @all:	for all vCPUs of the host that this goes to
 * @logical:	@dest is logical
 * @x2apic:	the sender's mode, which says how to read @dest
 */
struct cvmm_irq {
	u32 dest;
	u8 vector;
	bool all;
	bool logical;
	bool x2apic;
};

/**
 * struct cvmm_space_client_ops - a VM that maps pages of the space
 * @protect:	required.  Reduce this client's mappings of @gfn to @prot and
 *		return only when no CPU of this host can use the old one any
 *		more (mapping changed, vCPUs kicked out of guest mode, ASIDs
 *		flushed).  Called with the page lock of @gfn held; may sleep.
 * @failed:	required.  The space has failed: kick every vCPU out of guest
 *		mode and make KVM_RUN return -EIO.  May not sleep.
 * @interrupt:	required.  Another host has sent this interrupt (whose values are
 *		in their ranges): deliver it to those vCPUs it is for.  Returns
 *		whether there was one.  May not sleep.
 */
struct cvmm_space_client_ops {
	void (*protect)(struct cvmm_space_client *client, u64 gfn,
			enum cvmm_prot prot);
	void (*failed)(struct cvmm_space_client *client);
	bool (*interrupt)(struct cvmm_space_client *client, const struct cvmm_irq *irq);
};

struct cvmm_space_client {
	struct list_head node;
	const struct cvmm_space_client_ops *ops;
};

/**
 * cvmm_space_get_by_addr() - find the space behind a user mapping
 * @uaddr:	start of the range in the current process
 * @size:	bytes; the whole range must lie in one mapping of one space
 * @gpa:	out: guest-physical address that @uaddr maps
 *
 * Takes mmap_lock; may sleep.  Returns the space with a reference held, or
 * ERR_PTR(-ENOENT) when the range is not (wholly) a space's.
 */
struct cvmm_space *cvmm_space_get_by_addr(unsigned long uaddr, u64 size, u64 *gpa);
/* The space behind a descriptor, with a reference held, or ERR_PTR(-EBADF). */
struct cvmm_space *cvmm_space_get_by_fd(int fd);
void cvmm_space_put(struct cvmm_space *space);

/* Attach and detach a client.  May sleep.  After detach no callback runs. */
int cvmm_space_attach(struct cvmm_space *space, struct cvmm_space_client *client);
void cvmm_space_detach(struct cvmm_space *space, struct cvmm_space_client *client);

/*
 * The vCPU with APIC id @id (< CVMM_MAX_VCPU_ID) is here: from now its client takes
 * interrupts of the other hosts for it.  May sleep for memory; more than once is
 * harmless.
 */
void cvmm_space_announce_apic(struct cvmm_space *space, u32 id);
/*
 * Send an interrupt to the host with APIC id @id (anything; need not be @irq's
 * destination).  False, and nothing done, when none has announced it.  Process
 * context; waits for the network while too much is queued for it, or for a signal.
 */
bool cvmm_space_send_irq(struct cvmm_space *space, u32 id, const struct cvmm_irq *irq);
/*
 * Send it to every other host that has APICs.  False, and nothing done, unless the
 * others have announced @nr of them.  Otherwise likewise.
 */
bool cvmm_space_spread_irq(struct cvmm_space *space, u32 nr, const struct cvmm_irq *irq);

unsigned int cvmm_space_nr_hosts(const struct cvmm_space *space);
bool cvmm_space_covers(const struct cvmm_space *space, u64 gfn);

/**
 * typedef cvmm_space_map_fn - install a mapping
 *
 * Called by cvmm_space_fault() under the page lock of @gfn, with @page valid
 * while the mapping exists (protect() comes before the page goes).  Sleeps only
 * for memory.  Returns 0 or -errno.
 */
typedef int (*cvmm_space_map_fn)(void *arg, u64 gfn, struct page *page, bool writable);

#define CVMM_FAULT_WRITE	(1U << 0)
#define CVMM_FAULT_NOWAIT	(1U << 1)	/* -EAGAIN instead of waiting for a peer */

struct cvmm_space_holds;
struct dsm_ahead_table;

/**
 * cvmm_space_fault() - get access to a page and install a mapping of it
 * @space:	the space
 * @gfn:	guest frame
 * @flags:	CVMM_FAULT_*
 * @holds:	the faulting vCPU's holds, or NULL; the page joins them
 * @map:	called under the page lock once this host has the access;
 *		@writable tells whether the page is Exclusive here (a read
 *		fault on an Exclusive page may be mapped writable at once)
 * @arg:	for @map
 *
 * Runs to completion on the calling CPU: asks, polls briefly, then sleeps
 * interruptibly.  Returns 0, -EINTR on a signal, -EAGAIN with NOWAIT, -EIO in a
 * failed space, -ENOENT when the space has no such frame, -ENOMEM, or @map's
 * error.
 */
int cvmm_space_fault(struct cvmm_space *space, u64 gfn, unsigned int flags,
		     struct cvmm_space_holds *holds, cvmm_space_map_fn map, void *arg);

/*
 * Copy from and to guest memory; may cross pages.  May sleep for a peer.
 * Errors as cvmm_space_fault(); on an error a prefix may have been written.
 */
int cvmm_space_read(struct cvmm_space *space, u64 gpa, void *buf, size_t len);
int cvmm_space_write(struct cvmm_space *space, u64 gpa, const void *buf, size_t len);

/*
 * Atomic compare-and-exchange of a naturally aligned u32/u64 in guest memory.
 * *old is updated to what was found; returns 0 when exchanged, 1 when the
 * value differed, or -errno as above.
 */
int cvmm_space_cmpxchg(struct cvmm_space *space, u64 gpa, unsigned int size,
		       u64 *old, u64 new);

/**
 * struct cvmm_space_holds - pages one vCPU needs for its current instruction
 *
 * A page granted for a vCPU stays until that vCPU has run with it (see
 * dsm/PROTOCOL.rst, "Hold").  The engine calls cvmm_space_entered() right
 * before each VM entry (cheap when nothing is held: one test); the space does
 * the rest.  Owned by one vCPU thread; no lock.
 */
struct cvmm_space_holds {
	u32 nr;
	u64 rip;		/* guest RIP of the fault the pages were taken for */
	u64 first_ns;		/* when the instruction first missed a page */
	u64 entered_ns;		/* when the guest was entered with them, 0: not yet */
	u64 gfn[8];
	struct dsm_ahead_table *ahead;	/* what the vCPU misses after what; NULL: nothing yet */
};

/* Before a fault is handled: @rip tells a retry of the same instruction from progress. */
void cvmm_space_holds_begin(struct cvmm_space *space, struct cvmm_space_holds *h, u64 rip);
/* Right before VM entry, preemptible: from now each held page is kept for the minimum run time. */
void cvmm_space_entered(struct cvmm_space *space, struct cvmm_space_holds *h);
/* The vCPU is no more.  Zero-filled ones need not be freed. */
void cvmm_space_holds_free(struct cvmm_space_holds *h);

#endif /* CVMM_SPACE_H */
