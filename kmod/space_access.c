// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to pages of a space: asking, waiting, and the kernel's own copies.
 */
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/moduleparam.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>

#include "link.h"
#include "space_priv.h"
#include "trace.h"

/* Longest busy wait for an answer, and only while recent ones came that fast. */
#define POLL_MAX_US	100000
static unsigned int poll_us = 50;
module_param(poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "longest busy wait for a page, while recent waits were no longer, at most 100000 (default 50); 0: none");

/*
 * A vCPU that faults at the same instruction this long after it was entered is
 * in a loop and not in a retry; generous for slow (emulated) hosts.
 */
#define ATTEMPT_MAX_NS	(10 * NSEC_PER_MSEC)

static unsigned int min_run_us;
module_param(min_run_us, uint, 0644);
MODULE_PARM_DESC(min_run_us, "how long a page that was waited for stays once the vCPU runs, 1..20000; 0: as each guest says");

u64 cvmm_min_run_ns(const struct cvmm_space *space, u64 gfn)
{
	unsigned int us = READ_ONCE(min_run_us) ?: space->min_run_us;

	if (!us)
		return dsm_min_run_ns(&space->dsm, gfn);
	return min(us, (unsigned int)CVMM_MAX_MIN_RUN_US) * (u64)NSEC_PER_USEC;
}

/* ------------------------------------------------------------ waiting */

struct waiter {
	struct wait_queue_entry entry;
	u64 gfn;
	bool woken;
};

static wait_queue_head_t *space_waitq(struct cvmm_space *space, u64 gfn)
{
	return &space->waitq[gfn & (ARRAY_SIZE(space->waitq) - 1)];
}

/* @key: the gfn, or NULL for everybody */
static int waiter_wake(struct wait_queue_entry *entry, unsigned int mode, int sync, void *key)
{
	struct waiter *w = container_of(entry, struct waiter, entry);

	if (key && *(u64 *)key != w->gfn)
		return 0;
	WRITE_ONCE(w->woken, true);
	return default_wake_function(entry, mode, sync, NULL);
}

void cvmm_space_wake(struct cvmm_space *space, u64 gfn)
{
	wait_queue_head_t *wq = space_waitq(space, gfn);

	/* Waiters queue under the page lock, which the caller holds. */
	if (waitqueue_active(wq))
		__wake_up(wq, TASK_NORMAL, 0, &gfn);
}

void cvmm_space_wake_all(struct cvmm_space *space)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(space->waitq); i++)
		__wake_up(&space->waitq[i], TASK_NORMAL, 0, NULL);
}

/* A look at one link after the other: the answer may come from any host. */
static void receive_some(struct cvmm_space *space, u64 gfn, u32 *host)
{
	struct cvmm_link *link;
	unsigned int n;

	*host = (*host + 1) % space->nr_hosts;
	link = space->links[*host];
	n = link ? cvmm_link_poll(link, gfn) : 0;
	if (n)
		cvmm_count_add(&space->stats, CVMM_SC_RX_POLLED, n);
}

/*
 * Whether it was woken before it had to sleep.  Who may takes what has come by himself:
 * that spares the way through a receiver who has to be woken first.
 */
static bool waiter_poll(struct cvmm_space *space, struct waiter *w, bool receive)
{
	const u64 max_ns = min(READ_ONCE(poll_us), POLL_MAX_US) * NSEC_PER_USEC;
	u32 host = space->host;
	u64 end;

	if (num_online_cpus() == 1 || READ_ONCE(space->wait_avg_ns) > max_ns)
		return false;
	end = local_clock() + max_ns;
	while (!READ_ONCE(w->woken)) {
		if (need_resched() || signal_pending(current) || local_clock() > end)
			return false;
		if (receive)
			receive_some(space, w->gfn, &host);
		cpu_relax();
	}
	return true;
}

/* Returns 0 when woken, -EINTR on a signal that @state lets through. */
static int waiter_wait(struct cvmm_space *space, struct waiter *w, unsigned int state,
		       bool receive)
{
	if (waiter_poll(space, w, receive)) {
		cvmm_count(&space->stats, CVMM_SC_WAIT_POLLED);
		return 0;
	}
	cvmm_count(&space->stats, CVMM_SC_WAIT_SLEPT);
	for (;;) {
		set_current_state(state);
		if (READ_ONCE(w->woken))
			break;
		if (signal_pending_state(state, current)) {
			__set_current_state(TASK_RUNNING);
			cvmm_count(&space->stats, CVMM_SC_WAIT_SIGNAL);
			return -EINTR;
		}
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* -------------------------------------------------------------- holds */

static void hold_page(struct cvmm_space *space, u64 gfn, u64 since_ns, u64 for_ns)
{
	u64 now = ktime_get_ns();

	cvmm_page_lock(space, gfn);
	dsm_hold(&space->dsm, gfn, since_ns, now + for_ns, now);
	cvmm_page_unlock(space, gfn);
}

/* The instruction misses another page: what it has got must wait for that. */
static void holds_extend(struct cvmm_space *space, const struct cvmm_space_holds *h)
{
	u32 i;

	for (i = 0; i < h->nr; i++) {
		hold_page(space, h->gfn[i], h->first_ns,
			  dsm_hold_max_ns(&space->dsm, h->gfn[i]));
		cvmm_count(&space->stats, CVMM_SC_HOLD_EXTEND);
	}
}

static bool holds_has(const struct cvmm_space_holds *h, u64 gfn)
{
	u32 i;

	for (i = 0; i < h->nr; i++)
		if (h->gfn[i] == gfn)
			return true;
	return false;
}

static void holds_add(struct cvmm_space_holds *h, u64 gfn)
{
	h->entered_ns = 0;
	if (holds_has(h, gfn))
		return;
	if (h->nr == ARRAY_SIZE(h->gfn)) {
		/* No instruction needs so many: a string operation that advances. */
		memmove(h->gfn, h->gfn + 1, sizeof(h->gfn) - sizeof(h->gfn[0]));
		h->nr--;
	}
	h->gfn[h->nr++] = gfn;
}

static void holds_restart(struct cvmm_space_holds *h, u64 rip, u64 now)
{
	h->nr = 0;
	h->rip = rip;
	h->first_ns = now;
	h->entered_ns = 0;
}

void cvmm_space_holds_begin(struct cvmm_space *space, struct cvmm_space_holds *h, u64 rip)
{
	u64 now = ktime_get_ns();

	/* The same place again, soon after the guest was entered: a retry. */
	if (h->first_ns && h->rip == rip &&
	    !(h->entered_ns && now - h->entered_ns > ATTEMPT_MAX_NS))
		return;
	holds_restart(h, rip, now);
}

void cvmm_space_entered(struct cvmm_space *space, struct cvmm_space_holds *h)
{
	u32 i;

	if (!h->nr || h->entered_ns)
		return;
	for (i = 0; i < h->nr; i++)
		hold_page(space, h->gfn[i], h->first_ns, cvmm_min_run_ns(space, h->gfn[i]));
	h->entered_ns = ktime_get_ns();
}

/* ------------------------------------------------------------- access */

int cvmm_space_acquire(struct cvmm_space *space, struct cvmm_acquire *a)
{
	const unsigned int state = a->flags & CVMM_ACQ_KILLABLE ? TASK_KILLABLE :
								  TASK_INTERRUPTIBLE;
	const bool write = a->flags & CVMM_ACQ_WRITE;
	const enum dsm_want want = write ? DSM_WRITE :
				   a->flags & CVMM_ACQ_PLAIN ? DSM_READ_PLAIN : DSM_READ;
	struct waiter w = { .gfn = a->gfn };
	u64 start = 0, waited;
	int ret;

	a->waited = false;
	for (;;) {
		u64 now = ktime_get_ns();

		cvmm_page_lock(space, a->gfn);
		WRITE_ONCE(w.woken, false);
		ret = dsm_access(&space->dsm, a->gfn, want, min(a->since_ns, now), now,
				 &a->grant);
		if (ret == DSM_GRANTED)
			break;
		if (ret == DSM_WAIT && !(a->flags & CVMM_ACQ_NOWAIT) && !start) {
			init_waitqueue_func_entry(&w.entry, waiter_wake);
			w.entry.private = current;
			add_wait_queue(space_waitq(space, a->gfn), &w.entry);
			atomic_inc(&space->waiters);
			start = now;
		}
		cvmm_page_unlock(space, a->gfn);
		if (ret < 0)
			break;
		if (a->flags & CVMM_ACQ_NOWAIT) {
			ret = -EAGAIN;
			break;
		}
		if (!a->waited) {
			a->waited = true;
			cvmm_count(&space->stats, CVMM_SC_WAIT);
			trace_cvmm_wait_start(space->id, a->gfn, write);
			ret = cvmm_frame_pool_fill(space, atomic_read(&space->waiters));
			if (ret)
				break;
			if (a->holds && a->holds->nr)
				holds_extend(space, a->holds);
			if (a->holds)
				cvmm_space_miss(space, a->holds, a->gfn, write, a->grant.spared);
		}
		/* A failure that came before we were queued did not wake us. */
		if (dsm_failed(&space->dsm))
			continue;
		ret = waiter_wait(space, &w, state, a->flags & CVMM_ACQ_POLL);
		if (ret)
			break;
	}
	if (!start)
		goto out;

	remove_wait_queue(space_waitq(space, a->gfn), &w.entry);
	atomic_dec(&space->waiters);
	waited = ktime_get_ns() - start;
	cvmm_count_add(&space->stats, CVMM_SC_WAIT_NS, waited);
	cvmm_hist_add(space->latency[write ? CVMM_LAT_WAIT_WRITE : CVMM_LAT_WAIT_READ], waited);
	WRITE_ONCE(space->wait_avg_ns, (READ_ONCE(space->wait_avg_ns) * 7 + waited) / 8);
	trace_cvmm_wait_end(space->id, a->gfn, write, waited, ret);
	if (ret)
		cvmm_frame_pool_trim(space);
out:
	if (ret == -EPROTO)
		cvmm_space_fail(space, ~0U, EPROTO, "page %llx: inconsistent state", a->gfn);
	if (ret == -EPROTO)
		ret = -EIO;
	return ret;
}

int cvmm_space_fault(struct cvmm_space *space, u64 gfn, unsigned int flags,
		     struct cvmm_space_holds *holds, cvmm_space_map_fn map, void *arg)
{
	struct cvmm_acquire a = {
		.gfn = gfn,
		.flags = CVMM_ACQ_POLL | (flags & CVMM_FAULT_WRITE ? CVMM_ACQ_WRITE : 0) |
			 (flags & CVMM_FAULT_NOWAIT ? CVMM_ACQ_NOWAIT : 0),
		.holds = holds,
	};
	u64 now = ktime_get_ns();
	int ret;

	cvmm_count(&space->stats, CVMM_SC_FAULT_VCPU);
	/* It had this page, and time to use it: what comes now is another attempt. */
	if (holds && holds->entered_ns &&
	    now - holds->entered_ns > cvmm_min_run_ns(space, gfn) && holds_has(holds, gfn))
		holds_restart(holds, holds->rip, now);
	a.since_ns = holds && holds->first_ns ? holds->first_ns : now;
	ret = cvmm_space_acquire(space, &a);
	if (ret)
		return ret;
	ret = map(arg, gfn, a.grant.frame, a.grant.writable);
	cvmm_page_unlock(space, gfn);
	if (holds && a.grant.spared && !a.waited)
		cvmm_space_miss(space, holds, gfn, flags & CVMM_FAULT_WRITE, true);
	/*
	 * Even when it was here at once: a signal may have ended the wait for it,
	 * and then its hold is to end with this attempt.
	 */
	if (holds)
		holds_add(holds, gfn);
	if (a.waited)
		cvmm_frame_pool_trim(space);
	return ret;
}

/* A copy under the page lock needs no hold afterwards. */
static void access_end(struct cvmm_space *space, struct cvmm_acquire *a)
{
	u64 now;

	if (a->waited || a->grant.spared) {
		now = ktime_get_ns();
		dsm_hold(&space->dsm, a->gfn, a->since_ns, now, now);
	}
	cvmm_page_unlock(space, a->gfn);
	if (a->waited)
		cvmm_frame_pool_trim(space);
}

/*
 * Naturally aligned words are copied as such: a reader of page-table entries
 * that a vCPU of this host changes must never see half of one.
 */
static void copy_words(void *dst, const void *src, size_t n)
{
	size_t i;

	if (!IS_ALIGNED((unsigned long)dst | (unsigned long)src | n, 8)) {
		if (n == 4 && IS_ALIGNED((unsigned long)dst | (unsigned long)src, 4))
			WRITE_ONCE(*(u32 *)dst, READ_ONCE(*(const u32 *)src));
		else
			memcpy(dst, src, n);
		return;
	}
	for (i = 0; i < n / 8; i++)
		WRITE_ONCE(((u64 *)dst)[i], READ_ONCE(((const u64 *)src)[i]));
}

static int space_copy(struct cvmm_space *space, u64 gpa, void *buf, size_t len, bool write)
{
	/*
	 * Nobody writes next through what is read here.  Above all this serves
	 * walks: page tables that several hosts use must not move from one to
	 * the next with each miss.
	 */
	struct cvmm_acquire a = {
		.flags = CVMM_ACQ_POLL | (write ? CVMM_ACQ_WRITE : CVMM_ACQ_PLAIN),
		.since_ns = ktime_get_ns(),
	};
	int ret;

	while (len) {
		size_t off = offset_in_page(gpa);
		size_t n = min(len, PAGE_SIZE - off);
		void *va;

		a.gfn = gpa >> PAGE_SHIFT;
		cvmm_count(&space->stats, CVMM_SC_ACCESS_KERNEL);
		ret = cvmm_space_acquire(space, &a);
		if (ret)
			return ret;
		va = kmap_local_page(a.grant.frame);
		if (write)
			copy_words(va + off, buf, n);
		else
			copy_words(buf, va + off, n);
		kunmap_local(va);
		access_end(space, &a);
		gpa += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int cvmm_space_read(struct cvmm_space *space, u64 gpa, void *buf, size_t len)
{
	return space_copy(space, gpa, buf, len, false);
}

int cvmm_space_write(struct cvmm_space *space, u64 gpa, const void *buf, size_t len)
{
	return space_copy(space, gpa, (void *)buf, len, true);
}

int cvmm_space_cmpxchg(struct cvmm_space *space, u64 gpa, unsigned int size,
		       u64 *old, u64 new)
{
	struct cvmm_acquire a = {
		.gfn = gpa >> PAGE_SHIFT,
		.flags = CVMM_ACQ_POLL | CVMM_ACQ_WRITE,
		.since_ns = ktime_get_ns(),
	};
	u64 found;
	void *va;
	int ret;

	if ((size != 4 && size != 8) || !IS_ALIGNED(gpa, size))
		return -EINVAL;
	cvmm_count(&space->stats, CVMM_SC_ACCESS_KERNEL);
	ret = cvmm_space_acquire(space, &a);
	if (ret)
		return ret;
	/* Other CPUs of this host may touch the page at the same time. */
	va = kmap_local_page(a.grant.frame);
	if (size == 4)
		found = cmpxchg((u32 *)(va + offset_in_page(gpa)), (u32)*old, (u32)new);
	else
		found = cmpxchg((u64 *)(va + offset_in_page(gpa)), *old, new);
	kunmap_local(va);
	access_end(space, &a);

	ret = found != (size == 4 ? (u32)*old : *old);
	*old = found;
	return ret;
}
