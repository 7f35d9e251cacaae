/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of a space: what space*.c, link*.c and netlink.c share.  Everybody
 * else uses space.h.  Locks and their order: kmod/SPACE.rst.
 */
#ifndef CVMM_SPACE_PRIV_H
#define CVMM_SPACE_PRIV_H

#include <linux/cvmm.h>
#include <linux/cvmm_netlink.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/timerqueue.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../dsm/dsm.h"
#include "heat.h"
#include "space.h"
#include "stats.h"

struct cvmm_link;
struct mem_cgroup;
struct net;
struct pid;

static_assert(PAGE_SIZE == DSM_PAGE_SIZE);
static_assert(CVMM_MAX_HOSTS == DSM_MAX_HOSTS);

/* Frames are numbered below this: addresses fit the 52 bits of x86-64. */
#define CVMM_MAX_GFN		(1ULL << 40)

#define CVMM_STRIPE_BITS	10
#define CVMM_WAITQ_BITS		8
#define CVMM_WRITERS_BITS	6

/* Events counted by the space itself; the core counts its own. */
#define CVMM_SPACE_COUNTERS(X)						\
	X(FAULT_MAPPING)	/* faults on user mappings */		\
	X(FAULT_VCPU)		/* cvmm_space_fault() */		\
	X(ACCESS_KERNEL)	/* pages touched by read/write/cmpxchg */ \
	X(MKWRITE)		/* write faults on a read-only user mapping */ \
	X(WAIT)			/* accesses that had to wait for a peer */ \
	X(WAIT_NS)		/* time they waited */			\
	X(WAIT_POLLED)		/* waits that ended without sleeping */ \
	X(WAIT_SLEPT)		/* ... with it */ \
	X(RX_POLLED)		/* messages taken by who waited, not by a receiver */ \
	X(WAIT_SIGNAL)		/* waits given up because of a signal */ \
	X(HOLD_EXTEND)		/* holds renewed: instruction missed another page */ \
	X(REVOKE_PINNED)	/* revocations that found a pinned page */ \
	X(FRAME_ALLOC)							\
	X(FRAME_FREE)							\
	X(DELTA_TX)		/* pages sent as what has changed in them */ \
	X(DELTA_TX_BYTES)	/* ... in so many bytes, headers not counted */ \
	X(FRAME_POOL_MISS)	/* receiver had to allocate by itself */ \
	X(TIMER)		/* timers that fired */ \
	X(IRQ_OUT)		/* interrupts sent to other hosts, once for each host */ \
	X(IRQ_IN)		/* interrupts from other hosts that vCPUs here took */ \
	X(IRQ_LOST)		/* ... that no vCPU here takes */

enum cvmm_space_counter {
#define X(name) CVMM_SC_##name,
	CVMM_SPACE_COUNTERS(X)
#undef X
	CVMM_SC_NR
};

/*
 * Times kept in histograms: requests as the core counts them, then accesses that
 * waited.
 */
enum cvmm_latency {
	CVMM_LAT_DSM,
	CVMM_LAT_DSM_LAST = CVMM_LAT_DSM + DSM_EV_FAULT_ZERO_2 - DSM_EV_FAULT_READ_0,
	CVMM_LAT_WAIT_READ,
	CVMM_LAT_WAIT_WRITE,
	CVMM_LAT_NR
};

/* Lives until an RCU grace period after the space: lockless GUP may look at it. */
struct cvmm_mapping {
	struct address_space as;
	struct rcu_head rcu;
};

struct cvmm_space {
	struct kref ref;
	struct list_head node;		/* in cvmm_spaces */

	/* Constant after creation */
	char name[CVMM_NAME_LEN];
	u64 id;
	u32 host;
	u32 nr_hosts;
	u32 epoch;
	u32 min_run_us;			/* 0: by travel time */
	u32 config_hash;		/* of what all hosts must agree on */
	u32 nr_ranges;
	struct dsm_range *ranges;
	u64 nr_pages;
	u64 nr_home_pages;
	size_t meta_bytes;
	struct net *net;
	struct pid *pid;
	struct mem_cgroup *memcg;
	struct cvmm_mapping *mapping;
	struct workqueue_struct *wq;

	/*
	 * By low bits: gfn + 1 of a page that was asked for in page_mkwrite, so
	 * that the mapping fault that follows waits for it.  Racy, a hint.
	 */
	u64 writers[1U << CVMM_WRITERS_BITS];

	struct dsm dsm;
	struct mutex stripe[1U << CVMM_STRIPE_BITS];
	u8 receiving[1U << CVMM_STRIPE_BITS];	/* the core is not called for an access */
	struct cvmm_heat_set *heat;	/* one for each stripe, under its lock */

	wait_queue_head_t waitq[1U << CVMM_WAITQ_BITS];
	u64 wait_avg_ns;		/* recent waits; racy, a hint for polling */

	/* Frames for pages on their way here, given by those who wait for them */
	spinlock_t pool_lock;
	struct list_head pool;
	unsigned int pool_nr;
	atomic_t waiters;

	struct rw_semaphore clients_sem;
	struct list_head clients;

	spinlock_t timer_lock;
	struct timerqueue_head timers;
	struct hrtimer hrtimer;
	struct work_struct timer_work;

	spinlock_t fail_lock;
	bool failed;
	u32 fail_host;
	int fail_error;			/* positive */
	char fail_reason[CVMM_REASON_LEN];
	struct work_struct fail_work;
	wait_queue_head_t poll_wait;

	struct mutex counters_lock;
	struct list_head counters;
	struct cvmm_counters stats;	/* enum cvmm_space_counter */
	struct cvmm_counters dsm_stats;	/* enum dsm_event */
	struct cvmm_counters rx_stats;	/* by enum dsm_msg_type */
	struct cvmm_hist __percpu *latency[CVMM_LAT_NR];

	struct cvmm_link *links[CVMM_MAX_HOSTS];	/* NULL for ourselves */

	/* What other hosts said of their APICs: space_irq.c */
	u8 apic_host[CVMM_MAX_VCPU_ID];	/* by APIC id: host + 1, 0: nobody's */
	DECLARE_BITMAP(apic_hosts, CVMM_MAX_HOSTS);
	atomic_t nr_apics;
};

/* All spaces, for names and netlink; cvmm_spaces_lock protects the list. */
extern struct list_head cvmm_spaces;
extern struct mutex cvmm_spaces_lock;

/* space.c */
extern const struct file_operations cvmm_space_fops;

/* One more kernel thread: false when the module has as many as it may. */
bool cvmm_thread_get(void);
void cvmm_thread_put(void);

static inline void cvmm_space_get(struct cvmm_space *space)
{
	kref_get(&space->ref);
}

/**
 * cvmm_space_fail() - the space can not go on
 * @host:	whose message or link ended it, or ~0
 * @error:	positive errno
 * @fmt:	one line for the user
 *
 * The first call wins, later ones are ignored.  Any context that may take a
 * spinlock with interrupts on; the rest happens in a work item.  Returns whether
 * this call was the first.
 */
__printf(4, 5)
bool cvmm_space_fail(struct cvmm_space *space, u32 host, int error, const char *fmt, ...);

/* Frames the space has at the moment, nearly: counted without a lock. */
u64 cvmm_space_nr_frames(const struct cvmm_space *space);

/* Name of a histogram, by enum cvmm_latency; static. */
const char *cvmm_latency_name(unsigned int idx);

/* space_page.c */
static inline unsigned int cvmm_stripe_idx(u64 gfn)
{
	return gfn & ((1U << CVMM_STRIPE_BITS) - 1);
}

static inline struct mutex *cvmm_stripe(struct cvmm_space *space, u64 gfn)
{
	return &space->stripe[cvmm_stripe_idx(gfn)];
}

/* The page lock of space.h */
static inline void cvmm_page_lock(struct cvmm_space *space, u64 gfn)
{
	mutex_lock(cvmm_stripe(space, gfn));
}

static inline void cvmm_page_unlock(struct cvmm_space *space, u64 gfn)
{
	mutex_unlock(cvmm_stripe(space, gfn));
}

/* What travelled among the pages of stripe @idx; takes its page lock. */
void cvmm_heat_read(struct cvmm_space *space, unsigned int idx, struct cvmm_heat_set *out);

int cvmm_pages_init(struct cvmm_space *space);
/* Stop timers; nothing may call into the core any more but the caller. */
void cvmm_pages_stop(struct cvmm_space *space);
/* Give back all frames and metadata. */
void cvmm_pages_destroy(struct cvmm_space *space);

struct page *cvmm_frame_alloc(struct cvmm_space *space, gfp_t extra);
void cvmm_frame_free(struct cvmm_space *space, struct page *page);
/* A message that a frame was lent to is done with it.  Any context. */
void cvmm_frame_return(struct page *page);
/* For receivers: a frame for a page that arrives.  May sleep. */
struct page *cvmm_frame_for_rx(struct cvmm_space *space);
/*
 * The receivers' pool.  fill() adds a frame if there are fewer than @want
 * (-ENOMEM), spare() if there is none to spare, trim() takes one out if there are more
 * than anybody needs.
 */
int cvmm_frame_pool_fill(struct cvmm_space *space, unsigned int want);
int cvmm_frame_pool_spare(struct cvmm_space *space);
void cvmm_frame_pool_trim(struct cvmm_space *space);

/*
 * A coherence message has come from @host; @page is its payload or NULL, and
 * passes to the space.  Returns 0 or -errno, which ends the space.
 */
int cvmm_space_receive(struct cvmm_space *space, u32 host, const struct dsm_msg *msg,
		       struct page *page);

/*
 * space_irq.c: a message about interrupts, or of a type that nobody knows, has come
 * from @host.  0 or -EPROTO, which ends the space.
 */
int cvmm_space_receive_irq(struct cvmm_space *space, u32 host, const struct dsm_msg *msg);

/* space_access.c */
#define CVMM_ACQ_WRITE		(1U << 0)
#define CVMM_ACQ_NOWAIT		(1U << 1)	/* ask, but do not wait */
#define CVMM_ACQ_KILLABLE	(1U << 2)	/* only fatal signals end the wait */
#define CVMM_ACQ_PLAIN		(1U << 3)	/* a read that leaves others their copies */
#define CVMM_ACQ_POLL		(1U << 4)	/* the caller may do cvmm_link_poll() */

/**
 * struct cvmm_acquire - one access that may have to wait
 * @gfn:	page
 * @flags:	CVMM_ACQ_*
 * @since_ns:	see dsm_access()
 * @holds:	other pages of the same instruction, or NULL
 * @grant:	out
 * @waited:	out: a peer was asked
 */
struct cvmm_acquire {
	u64 gfn;
	unsigned int flags;
	u64 since_ns;
	struct cvmm_space_holds *holds;
	struct dsm_grant grant;
	bool waited;
};

/*
 * Get access to a page.  Returns 0 with the page lock held and @a->grant
 * filled, else the error of cvmm_space_fault() without the lock.
 */
int cvmm_space_acquire(struct cvmm_space *space, struct cvmm_acquire *a);
/* How long @gfn stays after the access it was fetched for can run.  Any context. */
u64 cvmm_min_run_ns(const struct cvmm_space *space, u64 gfn);
void cvmm_space_wake(struct cvmm_space *space, u64 gfn);
void cvmm_space_wake_all(struct cvmm_space *space);

/*
 * space_ahead.c: the vCPU of @h has missed a page, or would have, had it not come ahead
 * (@spared): ask for those that usually follow.  No page lock held; may sleep for memory.
 */
void cvmm_space_miss(struct cvmm_space *space, struct cvmm_space_holds *h, u64 gfn, bool write,
		     bool spared);

/* space_mmap.c */
int cvmm_space_mmap(struct file *file, struct vm_area_struct *vma);

/* netlink.c */
int cvmm_netlink_init(void);
void cvmm_netlink_exit(void);
void cvmm_netlink_event(struct cvmm_space *space, u32 event, u32 peer, int error,
			const char *reason);

#endif /* CVMM_SPACE_PRIV_H */
