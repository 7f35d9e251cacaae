// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of a space: metadata arrays, frames, and what the coherence core needs
 * from its platform (struct dsm_ops): sending, revoking mappings, timers.
 */
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "link.h"
#include "space_priv.h"
#include "trace.h"

/* Kept in the pool beyond the number of waiters, to spare the allocator. */
#define FRAME_POOL_SPARE	8

static bool migratory = true;
module_param(migratory, bool, 0644);
MODULE_PARM_DESC(migratory, "hand pages that migrate over on a read (of spaces created from now on)");

struct space_timer {
	struct timerqueue_node node;
	u64 gfn;
};

/* ------------------------------------------------------------- frames */

/*
 * A frame, charged to the creator of the space.  An allocation that fails is
 * an error for the one who asked: no OOM killer.
 */
struct page *cvmm_frame_alloc(struct cvmm_space *space, gfp_t extra)
{
	struct mem_cgroup *old = set_active_memcg(space->memcg);
	struct page *page;

	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | extra);
	set_active_memcg(old);
	if (page)
		cvmm_count(&space->stats, CVMM_SC_FRAME_ALLOC);
	return page;
}

/* Drop the space's reference of a frame that nothing of the space maps. */
void cvmm_frame_free(struct cvmm_space *space, struct page *page)
{
	page->mapping = NULL;
	put_page(page);
	cvmm_count(&space->stats, CVMM_SC_FRAME_FREE);
}
EXPORT_SYMBOL_GPL(cvmm_frame_free);

/* How many messages a frame is lent to; nobody else uses the field. */
static atomic_long_t *frame_lent(struct page *page)
{
	return (atomic_long_t *)&page->private;
}

static void frame_lend(struct page *page)
{
	get_page(page);
	atomic_long_inc(frame_lent(page));
}

void cvmm_frame_return(struct page *page)
{
	atomic_long_dec(frame_lent(page));
	/* Who sees the reference gone sees that the count is. */
	smp_mb__after_atomic();
	put_page(page);
}

/* Make a frame known to the memory manager as page @gfn of the space. */
static void frame_adopt(struct cvmm_space *space, struct page *page, u64 gfn)
{
	page->index = gfn;
	page->mapping = &space->mapping->as;
}

static struct page *frame_pool_take(struct cvmm_space *space, unsigned int keep)
{
	struct page *page = NULL;

	spin_lock(&space->pool_lock);
	if (space->pool_nr > keep) {
		page = list_first_entry(&space->pool, struct page, lru);
		list_del(&page->lru);
		space->pool_nr--;
	}
	spin_unlock(&space->pool_lock);
	return page;
}

int cvmm_frame_pool_fill(struct cvmm_space *space, unsigned int want)
{
	struct page *page;

	if (READ_ONCE(space->pool_nr) >= want)
		return 0;
	page = cvmm_frame_alloc(space, 0);
	if (!page)
		return -ENOMEM;
	spin_lock(&space->pool_lock);
	list_add(&page->lru, &space->pool);
	space->pool_nr++;
	spin_unlock(&space->pool_lock);
	return 0;
}

int cvmm_frame_pool_spare(struct cvmm_space *space)
{
	return cvmm_frame_pool_fill(space, atomic_read(&space->waiters) + FRAME_POOL_SPARE);
}

void cvmm_frame_pool_trim(struct cvmm_space *space)
{
	unsigned int keep = atomic_read(&space->waiters) + FRAME_POOL_SPARE;
	struct page *page;

	if (READ_ONCE(space->pool_nr) <= keep)
		return;
	page = frame_pool_take(space, keep);
	if (page)
		cvmm_frame_free(space, page);
}

/*
 * The pool has a frame for everybody who waits, unless one could not get memory
 * and has gone away with that error, or a copy turned out to be lost.  Such a
 * frame may exceed the cgroup's limit: failing here would end the guest.
 */
struct page *cvmm_frame_for_rx(struct cvmm_space *space)
{
	struct page *page = frame_pool_take(space, 0);

	if (page)
		return page;
	cvmm_count(&space->stats, CVMM_SC_FRAME_POOL_MISS);
	page = cvmm_frame_alloc(space, 0);
	if (page)
		return page;
	page = alloc_page(GFP_KERNEL | __GFP_NOWARN);
	if (page)
		cvmm_count(&space->stats, CVMM_SC_FRAME_ALLOC);
	return page;
}
EXPORT_SYMBOL_GPL(cvmm_frame_for_rx);

/* --------------------------------------------------------------- heat */

/*
 * A message that ends a transition, at either end: the page lock, which every
 * message is handled under, is the lock of the page's set too.
 */
static void heat_note(struct cvmm_space *space, u32 peer, const struct dsm_msg *msg, bool out)
{
	unsigned int kind;

	if (msg->type == DSM_MSG_INV_ACK)
		kind = CVMM_NL_HEAT_RIGHT_IN;
	else if (msg->type != DSM_MSG_DATA || (msg->flags & DSM_F_ZERO))
		return;
	else if (msg->flags & DSM_F_SAME)
		kind = CVMM_NL_HEAT_RIGHT_IN;
	else if (msg->flags & DSM_F_EXCL)
		kind = CVMM_NL_HEAT_MOVE_IN;
	else
		kind = CVMM_NL_HEAT_COPY_IN;
	if (out)
		kind += CVMM_NL_HEAT_COPY_OUT;
	cvmm_heat_add(&space->heat[cvmm_stripe_idx(msg->gfn)], msg->gfn, peer, kind);
}

void cvmm_heat_read(struct cvmm_space *space, unsigned int idx, struct cvmm_heat_set *out)
{
	mutex_lock(&space->stripe[idx]);
	*out = space->heat[idx];
	mutex_unlock(&space->stripe[idx]);
}

/* ------------------------------------------------- the core's platform */

static void space_send(void *ctx, u32 to, const struct dsm_msg *msg, void *frame, u32 flags)
{
	struct cvmm_space *space = ctx;
	struct page *page = frame;

	trace_cvmm_msg_tx(space->id, space->host, to, msg);
	heat_note(space, to, msg, true);
	if (page && (flags & DSM_SEND_GIVE))
		page->mapping = NULL;
	else if (page)
		frame_lend(page);
	cvmm_link_send(space->links[array_index_nospec(to, CVMM_MAX_HOSTS)], msg, page, flags & DSM_SEND_GIVE);
}

/*
 * References that are neither the core's nor a page table's are pins: somebody
 * may still write through them.  A zap in progress elsewhere (page-table entry
 * gone, TLB not yet flushed) holds a reference too, so it counts.  Messages on
 * their way are no pins: they only read, and a content that the protocol keeps as
 * it is until the peer has it.
 */
static bool frame_pinned(struct page *page)
{
	int refs = page_count(page);

	/* Under the page lock none is lent meanwhile, and returns count twice at most. */
	smp_rmb();
	return refs > cvmm_page_mapcount(page) + 1 + atomic_long_read(frame_lent(page));
}

static int space_protect(void *ctx, u64 gfn, void *frame, enum dsm_prot prot)
{
	struct cvmm_space *space = ctx;
	struct cvmm_space_client *client;
	struct page *page = frame;
	int ret = 0;

	lock_page(page);
	if (page_mapped(page)) {
		if (prot == DSM_PROT_NONE)
			unmap_mapping_range(&space->mapping->as, (loff_t)gfn << PAGE_SHIFT,
					    PAGE_SIZE, 1);
		else
			folio_mkclean(page_folio(page));
	}
	unlock_page(page);

	down_read(&space->clients_sem);
	list_for_each_entry(client, &space->clients, node)
		client->ops->protect(client, gfn, prot == DSM_PROT_NONE ?
				     CVMM_PROT_NONE : CVMM_PROT_READ);
	up_read(&space->clients_sem);

	if (frame_pinned(page)) {
		cvmm_count(&space->stats, CVMM_SC_REVOKE_PINNED);
		ret = -EAGAIN;
	}
	trace_cvmm_revoke(space->id, space->host, gfn, prot, ret);
	return ret;
}

static void *space_alloc_zero(void *ctx, u64 gfn)
{
	struct cvmm_space *space = ctx;
	struct page *page;

	if (space->receiving[cvmm_stripe_idx(gfn)]) {
		/* for somebody who waits */
		page = cvmm_frame_for_rx(space);
		if (page)
			clear_page(page_address(page));
	} else {
		page = cvmm_frame_alloc(space, __GFP_ZERO);
	}
	if (page)
		frame_adopt(space, page, gfn);
	return page;
}

static void space_put_frame(void *ctx, u64 gfn, void *frame)
{
	cvmm_frame_free(ctx, frame);
}

/*
 * Small things for what is on its way: not charged, as whose limit they would exceed is
 * an accident (receivers, or whoever polls, make most), and the guest would end by it.
 */
static void *space_alloc_rec(void *ctx, size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

static void space_free_rec(void *ctx, struct dsm_rec *rec)
{
	kfree(rec);
}

static void space_wake(void *ctx, u64 gfn)
{
	cvmm_space_wake(ctx, gfn);
}

static void space_count(void *ctx, enum dsm_event event)
{
	struct cvmm_space *space = ctx;

	cvmm_count(&space->dsm_stats, event);
}

static void space_done(void *ctx, u64 gfn, enum dsm_event event, u64 wait_ns)
{
	struct cvmm_space *space = ctx;

	cvmm_hist_add(space->latency[CVMM_LAT_DSM + event - DSM_EV_FAULT_READ_0], wait_ns);
}

static void space_trace(void *ctx, u64 gfn, enum dsm_step step, u32 a, u32 b)
{
	struct cvmm_space *space = ctx;

	trace_cvmm_step(space->id, space->host, gfn, step, a, b);
}

static void space_relax(void *ctx)
{
	cond_resched();
}

int cvmm_space_receive(struct cvmm_space *space, u32 host, const struct dsm_msg *msg,
		       struct page *page)
{
	int ret;

	trace_cvmm_msg_rx(space->id, space->host, host, msg);
	cvmm_page_lock(space, msg->gfn);
	if (page)
		frame_adopt(space, page, msg->gfn);
	space->receiving[cvmm_stripe_idx(msg->gfn)] = true;
	ret = dsm_receive(&space->dsm, host, msg, page, ktime_get_ns());
	space->receiving[cvmm_stripe_idx(msg->gfn)] = false;
	if (!ret)
		heat_note(space, host, msg, false);
	cvmm_page_unlock(space, msg->gfn);
	return ret;
}

/* ------------------------------------------------------------- timers */

/*
 * One hrtimer at the earliest deadline; its handler only queues the work item,
 * because dsm_timer() needs the page lock.
 */
static void space_set_timer(void *ctx, u64 gfn, struct dsm_rec *rec, u64 when_ns)
{
	struct cvmm_space *space = ctx;
	struct space_timer *t = kmalloc(sizeof(*t), GFP_KERNEL);

	if (!t) {
		cvmm_space_fail(space, ~0U, ENOMEM, "out of memory for a timer");
		return;
	}
	timerqueue_init(&t->node);
	t->node.expires = ns_to_ktime(when_ns);
	t->gfn = gfn;

	spin_lock_irq(&space->timer_lock);
	if (timerqueue_add(&space->timers, &t->node))
		hrtimer_start(&space->hrtimer, t->node.expires, HRTIMER_MODE_ABS);
	spin_unlock_irq(&space->timer_lock);
}

static enum hrtimer_restart space_hrtimer(struct hrtimer *hrtimer)
{
	struct cvmm_space *space = container_of(hrtimer, struct cvmm_space, hrtimer);

	queue_work(space->wq, &space->timer_work);
	return HRTIMER_NORESTART;
}

static struct space_timer *timer_pop(struct cvmm_space *space, bool all)
{
	struct timerqueue_node *node;

	spin_lock_irq(&space->timer_lock);
	node = timerqueue_getnext(&space->timers);
	if (node && !all && ktime_after(node->expires, ktime_get())) {
		hrtimer_start(&space->hrtimer, node->expires, HRTIMER_MODE_ABS);
		node = NULL;
	}
	if (node)
		timerqueue_del(&space->timers, node);
	spin_unlock_irq(&space->timer_lock);
	return node ? container_of(node, struct space_timer, node) : NULL;
}

static void space_timer_work(struct work_struct *work)
{
	struct cvmm_space *space = container_of(work, struct cvmm_space, timer_work);
	struct space_timer *t;
	int err;

	while ((t = timer_pop(space, false))) {
		u64 gfn = t->gfn;

		kfree(t);
		cvmm_count(&space->stats, CVMM_SC_TIMER);
		cvmm_page_lock(space, gfn);
		space->receiving[cvmm_stripe_idx(gfn)] = true;
		err = dsm_timer(&space->dsm, gfn, ktime_get_ns());
		space->receiving[cvmm_stripe_idx(gfn)] = false;
		cvmm_page_unlock(space, gfn);
		if (err)
			cvmm_space_fail(space, ~0U, -err,
					"page %llx: deferred message can not be performed", gfn);
		cond_resched();
	}
}

/* ----------------------------------------------------------- lifetime */

static const struct dsm_ops space_dsm_ops = {
	.send = space_send,
	.protect = space_protect,
	.alloc_zero = space_alloc_zero,
	.put_frame = space_put_frame,
	.alloc_rec = space_alloc_rec,
	.free_rec = space_free_rec,
	.wake = space_wake,
	.set_timer = space_set_timer,
	.count = space_count,
	.done = space_done,
	.trace = space_trace,
	.relax = space_relax,
};

static void metadata_free(struct cvmm_space *space)
{
	u32 i;

	vfree(space->heat);
	space->heat = NULL;
	for (i = 0; i < space->nr_ranges; i++) {
		vfree(space->ranges[i].pages);
		vfree(space->ranges[i].homes);
		space->ranges[i].pages = NULL;
		space->ranges[i].homes = NULL;
	}
	space->meta_bytes = 0;
}

/* Entries for covered frames only, 16 bytes each and 16 more where home is here. */
static int metadata_alloc(struct cvmm_space *space)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	u64 need, avail;
	u32 i;

	/* Refuse what can not fit before any reclaim is tried for it. */
	need = space->nr_pages * sizeof(struct dsm_page) +
	       space->nr_home_pages * sizeof(struct dsm_home);
	avail = max(si_mem_available(), 0L);
	if (need >> PAGE_SHIFT >= avail / 2)
		return -ENOMEM;

	space->heat = __vmalloc(sizeof(*space->heat) << CVMM_STRIPE_BITS, gfp);
	if (!space->heat)
		return -ENOMEM;
	for (i = 0; i < space->nr_ranges; i++) {
		struct dsm_range *r = &space->ranges[i];
		size_t size = r->nr_gfns * sizeof(*r->pages);

		r->pages = __vmalloc(size, gfp);
		if (!r->pages)
			goto free;
		space->meta_bytes += PAGE_ALIGN(size);
		if (r->host != space->host)
			continue;
		size = r->nr_gfns * sizeof(*r->homes);
		r->homes = __vmalloc(size, gfp);
		if (!r->homes)
			goto free;
		space->meta_bytes += PAGE_ALIGN(size);
		if (fatal_signal_pending(current))
			goto free;
	}
	return 0;
free:
	metadata_free(space);
	return -ENOMEM;
}

/* @space->ranges, host, nr_hosts and epoch are set. */
int cvmm_pages_init(struct cvmm_space *space)
{
	struct dsm_config cfg = {
		.ops = &space_dsm_ops,
		.ctx = space,
		.ranges = space->ranges,
		.nr_ranges = space->nr_ranges,
		.host = space->host,
		.nr_hosts = space->nr_hosts,
		.epoch = space->epoch,
		.no_migratory = !READ_ONCE(migratory),
	};
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(space->stripe); i++)
		mutex_init(&space->stripe[i]);
	spin_lock_init(&space->pool_lock);
	INIT_LIST_HEAD(&space->pool);
	atomic_set(&space->waiters, 0);
	spin_lock_init(&space->timer_lock);
	timerqueue_init_head(&space->timers);
	hrtimer_init(&space->hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	space->hrtimer.function = space_hrtimer;
	INIT_WORK(&space->timer_work, space_timer_work);

	ret = metadata_alloc(space);
	if (ret)
		return ret;
	ret = dsm_init(&space->dsm, &cfg);
	if (ret)
		metadata_free(space);
	return ret;
}

void cvmm_pages_stop(struct cvmm_space *space)
{
	struct space_timer *t;

	cancel_work_sync(&space->timer_work);
	while ((t = timer_pop(space, true)))
		kfree(t);
	/* The handler may have queued the work once more: it finds nothing. */
	hrtimer_cancel(&space->hrtimer);
	cancel_work_sync(&space->timer_work);
}

void cvmm_pages_destroy(struct cvmm_space *space)
{
	struct page *page;

	dsm_teardown(&space->dsm);
	while ((page = frame_pool_take(space, 0)))
		cvmm_frame_free(space, page);
	metadata_free(space);
}
