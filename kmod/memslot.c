// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory slots: which guest frames exist.
 *
 * A slot in the mapping of a space, at the space's own guest-physical addresses:
 * nested faults go from slot to space without a VMA.  All of them belong to one
 * space.  A slot on other memory of the process: see user_mem.c.  What is in a
 * guest of several hosts must be in the space.  A guest of one host may have a space
 * for its name and counters, and its memory elsewhere.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "engine.h"
#include "mmu.h"

static void client_protect(struct cvmm_space_client *client, u64 gfn, enum cvmm_prot prot)
{
	struct cvmm_vm *vm = container_of(client, struct cvmm_vm, client);

	if (cvmm_mmu_protect(&vm->mmu, gfn, prot))
		cvmm_vm_kick_and_flush(vm);
}

static void client_failed(struct cvmm_space_client *client)
{
	struct cvmm_vm *vm = container_of(client, struct cvmm_vm, client);

	WRITE_ONCE(vm->failed, true);
	cvmm_vm_kick_all(vm);
}

static bool client_interrupt(struct cvmm_space_client *client, const struct cvmm_irq *irq)
{
	return cvmm_apic_interrupt(container_of(client, struct cvmm_vm, client), irq);
}

static const struct cvmm_space_client_ops client_ops = {
	.protect = client_protect,
	.failed = client_failed,
	.interrupt = client_interrupt,
};

/*
 * cvmm_find_slot() - the slot that holds a frame, or NULL
 *
 * Under vm->srcu (read) or vm->lock; the result is valid as long.
 */
const struct cvmm_memslot *cvmm_find_slot(struct cvmm_vm *vm, u64 gfn)
{
	const struct cvmm_memslots *slots;
	u32 i;

	slots = srcu_dereference_check(vm->slots, &vm->srcu, lockdep_is_held(&vm->lock));
	for (i = 0; i < slots->nr; i++) {
		const struct cvmm_memslot *s = &slots->slot[i];

		if (gfn >= s->base_gfn && gfn - s->base_gfn < s->nr_gfns)
			return s;
	}
	return NULL;
}

/*
 * cvmm_zap_and_flush() - remove nested mappings from the tables and all TLBs
 *
 * No installer works in the range.  IRQs on; sleeps only if @may_sleep.
 */
void cvmm_zap_and_flush(struct cvmm_vm *vm, u64 gfn, u64 nr, bool may_sleep)
{
	bool others = atomic_inc_return(&vm->mmu.zaps) > 1;

	if (cvmm_mmu_zap_range(&vm->mmu, gfn, nr, may_sleep))
		others = true;
	/* What somebody else has removed and not yet flushed counts as well. */
	smp_mb();
	if (others || atomic_read(&vm->mmu.zaps) > 1)
		cvmm_vm_kick_and_flush(vm);
	smp_mb__before_atomic();
	atomic_dec(&vm->mmu.zaps);
}

/*
 * cvmm_merge_and_flush() - make room for a large mapping around @gfn
 *
 * Removes the table of 4 KiB leaves, if there is one: its pages come back by faults.
 * The block is within one slot.  IRQs on; does not sleep.
 */
void cvmm_merge_and_flush(struct cvmm_vm *vm, u64 gfn)
{
	LIST_HEAD(tables);

	/* Whoever finds nothing here to remove must flush: see cvmm_zap_and_flush(). */
	atomic_inc(&vm->mmu.zaps);
	smp_mb__after_atomic();
	if (cvmm_mmu_unlink_table(&vm->mmu, gfn, &tables)) {
		cvmm_count(&vm->stats, CVMM_EE_LARGE_MERGE);
		cvmm_vm_kick_and_flush(vm);
	}
	smp_mb__before_atomic();
	atomic_dec(&vm->mmu.zaps);
	cvmm_mmu_free_tables(&vm->mmu, &tables);
}

/* Writes are not logged any more: let large pages be mapped as such again. */
static void merge_slot(struct cvmm_vm *vm, const struct cvmm_memslot *slot)
{
	const u64 frames = CVMM_LEVEL_FRAMES(CVMM_LEVEL_2M);
	u64 gfn = round_up(slot->base_gfn, frames), end = slot->base_gfn + slot->nr_gfns;
	LIST_HEAD(tables);

	atomic_inc(&vm->mmu.zaps);
	smp_mb__after_atomic();
	for (; gfn + frames <= end; gfn += frames) {
		if (cvmm_mmu_mergeable(&vm->mmu, gfn) &&
		    cvmm_mmu_unlink_table(&vm->mmu, gfn, &tables))
			cvmm_count(&vm->stats, CVMM_EE_LARGE_MERGE);
		cond_resched();
	}
	if (!list_empty(&tables))
		cvmm_vm_kick_and_flush(vm);
	smp_mb__before_atomic();
	atomic_dec(&vm->mmu.zaps);
	cvmm_mmu_free_tables(&vm->mmu, &tables);
}

static bool any_user_slot(const struct cvmm_memslots *slots)
{
	u32 i;

	for (i = 0; i < slots->nr; i++)
		if (slots->slot[i].user)
			return true;
	return false;
}

/* @space becomes the VM's, with its reference, unless that is -errno.  vm->lock held. */
static int join(struct cvmm_vm *vm, const struct cvmm_memslots *slots, struct cvmm_space *space)
{
	bool clustered = cvmm_space_nr_hosts(space) > 1;
	int err;

	if (vm->space || (clustered && any_user_slot(slots)))
		return -EINVAL;
	vm->client.ops = &client_ops;
	err = cvmm_space_attach(space, &vm->client);
	if (err)
		return err;
	vm->clustered = clustered;
	if (clustered)
		vm->maxphyaddr = cvmm_host_maxphyaddr() - 1;
	/* For who sends interrupts; all others find a slot first, or need no order. */
	smp_store_release(&vm->space, space);
	cvmm_space_add_counters(space, &vm->stats);
	cvmm_apic_announce(vm);
	return 0;
}

/*
 * cvmm_join_space() - CVMM_VM_JOIN_SPACE: the space of descriptor @fd is the VM's
 *
 * Once.  Takes vm->lock.  -EBADF, -EINVAL, -EIO.
 */
int cvmm_join_space(struct cvmm_vm *vm, int fd)
{
	struct cvmm_space *space = cvmm_space_get_by_fd(fd);
	int err;

	if (IS_ERR(space))
		return PTR_ERR(space);
	mutex_lock(&vm->lock);
	err = join(vm, rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock)), space);
	mutex_unlock(&vm->lock);
	if (err)
		cvmm_space_put(space);
	return err;
}

/*
 * A slot in a space: the VM's, which the first slot in one may set.  -ENOENT when
 * the slot is not in a space.
 */
static int connect_space(struct cvmm_vm *vm, const struct cvmm_memslots *slots,
			 const struct kvm_userspace_memory_region *r)
{
	struct cvmm_space *space;
	u64 gpa;
	int err;

	space = cvmm_space_get_by_addr(r->userspace_addr, r->memory_size, &gpa);
	if (IS_ERR(space))
		return PTR_ERR(space);
	err = -EINVAL;
	if (r->flags) {
		pr_debug("slot %u: no flags %#x in a space\n", r->slot, r->flags);
		goto put;
	}
	if (gpa != r->guest_phys_addr) {
		pr_debug("slot %u: guest address %#llx, but the space has %#llx there\n",
			 r->slot, r->guest_phys_addr, gpa);
		goto put;
	}
	if (vm->space == space) {
		err = 0;
		goto put;
	}
	err = join(vm, slots, space);
	if (err)
		goto put;
	return 0;
put:
	cvmm_space_put(space);
	return err;
}

/* What backs a new slot: a space, or the process's memory. */
static int connect(struct cvmm_vm *vm, const struct cvmm_memslots *slots,
		   const struct kvm_userspace_memory_region *r, struct cvmm_memslot *slot)
{
	int err = connect_space(vm, slots, r);

	if (err != -ENOENT)
		return err;
	if (vm->clustered) {
		pr_debug("slot %u: not in the space that the VM shares\n", r->slot);
		return -EINVAL;
	}
	slot->user = cvmm_user_mem_create(vm, slot->base_gfn, slot->nr_gfns, slot->userspace_addr);
	return PTR_ERR_OR_ZERO(slot->user);
}

static int check_region(const struct kvm_userspace_memory_region *r)
{
	if (r->slot >= CVMM_MAX_MEMSLOTS ||
	    r->flags & ~(u32)(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (r->guest_phys_addr & ~PAGE_MASK || r->memory_size & ~PAGE_MASK ||
	    r->userspace_addr & ~PAGE_MASK)
		return -EINVAL;
	if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr ||
	    r->guest_phys_addr + r->memory_size > cvmm_mmu_hidden_base())
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)r->userspace_addr, r->memory_size))
		return -EINVAL;
	return 0;
}

static struct cvmm_memslot *find_id(struct cvmm_memslots *slots, u32 id)
{
	u32 i;

	for (i = 0; i < slots->nr; i++)
		if (slots->slot[i].id == id)
			return &slots->slot[i];
	return NULL;
}

static bool overlaps(const struct cvmm_memslots *slots, const struct cvmm_memslot *new)
{
	u32 i;

	for (i = 0; i < slots->nr; i++) {
		const struct cvmm_memslot *s = &slots->slot[i];

		if (s->id != new->id && new->base_gfn < s->base_gfn + s->nr_gfns &&
		    s->base_gfn < new->base_gfn + new->nr_gfns)
			return true;
	}
	return false;
}

/*
 * What the slot is to be after a change; only its place and the dirty log may
 * change, and in a space not even these.  -errno, or 0 with @new filled; what it
 * does not share with @old is new.
 */
static int change_slot(struct cvmm_vm *vm, const struct cvmm_memslot *old,
		       struct cvmm_memslot *new)
{
	if (new->nr_gfns != old->nr_gfns || new->userspace_addr != old->userspace_addr ||
	    (new->flags ^ old->flags) & KVM_MEM_READONLY)
		return -EINVAL;
	new->dirty = new->flags & KVM_MEM_LOG_DIRTY_PAGES ? old->dirty : NULL;
	new->user = old->user;
	if (new->base_gfn == old->base_gfn && new->flags == old->flags)
		return 0;
	if (!old->user)
		return -EINVAL;
	if (new->base_gfn != old->base_gfn)
		new->user = cvmm_user_mem_create(vm, new->base_gfn, new->nr_gfns,
						 new->userspace_addr);
	return PTR_ERR_OR_ZERO(new->user);
}

/*
 * cvmm_set_memory() - KVM_SET_USER_MEMORY_REGION
 *
 * Adds a slot, removes it when memory_size is 0, moves it to another guest address
 * or changes whether writes are logged.  Takes vm->lock, mmap_lock.  -EINVAL,
 * -EEXIST on an overlap, -ENOMEM.
 */
int cvmm_set_memory(struct cvmm_vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct cvmm_memslot was = {}, now = {
		.id = r->slot,
		.flags = r->flags,
		.base_gfn = r->guest_phys_addr >> PAGE_SHIFT,
		.nr_gfns = r->memory_size >> PAGE_SHIFT,
		.userspace_addr = r->userspace_addr,
	};
	struct cvmm_memslots *old, *new;
	struct cvmm_memslot *slot;
	int err;

	err = check_region(r);
	if (err)
		return err;
	mutex_lock(&vm->lock);
	old = rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock));
	new = kmemdup(old, sizeof(*old), GFP_KERNEL_ACCOUNT);
	if (!new) {
		err = -ENOMEM;
		goto unlock;
	}
	slot = find_id(new, r->slot);
	err = -EINVAL;
	if (slot)
		was = *slot;
	else if (!now.nr_gfns || new->nr == CVMM_MAX_MEMSLOTS)
		goto free_new;

	if (!now.nr_gfns) {
		*slot = new->slot[--new->nr];
	} else {
		err = -EEXIST;
		if (overlaps(new, &now))
			goto free_new;
		err = slot ? change_slot(vm, &was, &now) : connect(vm, new, r, &now);
		if (err)
			goto free_new;
		if (now.flags & KVM_MEM_LOG_DIRTY_PAGES && !now.dirty) {
			/* Whoever asks for terabytes gets -ENOMEM, the host no warning. */
			now.dirty = kvcalloc(BITS_TO_LONGS(now.nr_gfns), sizeof(long),
					     GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
			if (!now.dirty) {
				err = -ENOMEM;
				goto disconnect;
			}
		}
		if (!slot)
			slot = &new->slot[new->nr++];
		*slot = now;
	}
	rcu_assign_pointer(vm->slots, new);
	/* After this no vCPU can install a mapping as the old slot says. */
	synchronize_srcu_expedited(&vm->srcu);
	if (was.nr_gfns && (!now.nr_gfns || now.base_gfn != was.base_gfn))
		cvmm_zap_and_flush(vm, was.base_gfn, was.nr_gfns, true);
	else if (now.dirty && was.nr_gfns && !was.dirty &&
		 cvmm_mmu_write_protect_range(&vm->mmu, now.base_gfn, now.nr_gfns))
		cvmm_vm_kick_and_flush(vm);
	else if (was.dirty && !now.dirty)
		merge_slot(vm, &now);
	if (was.user != now.user)
		cvmm_user_mem_destroy(was.user);
	if (was.dirty != now.dirty)
		kvfree(was.dirty);
	kfree(old);
	mutex_unlock(&vm->lock);
	return 0;

disconnect:
	if (now.user != was.user)
		cvmm_user_mem_destroy(now.user);
free_new:
	kfree(new);
unlock:
	mutex_unlock(&vm->lock);
	return err;
}

/* With the VM's last user gone. */
void cvmm_free_memory(struct cvmm_vm *vm)
{
	struct cvmm_memslots *slots = rcu_dereference_protected(vm->slots, 1);
	u32 i;

	for (i = 0; i < slots->nr; i++) {
		cvmm_user_mem_destroy(slots->slot[i].user);
		kvfree(slots->slot[i].dirty);
	}
	kfree(slots);
	RCU_INIT_POINTER(vm->slots, NULL);
}

/*
 * cvmm_get_dirty_log() - KVM_GET_DIRTY_LOG: frames written since the last call
 *
 * -EINVAL for a bad slot number, -ENOENT when the slot is not logged.
 */
int cvmm_get_dirty_log(struct cvmm_vm *vm, const struct kvm_dirty_log *log)
{
	struct cvmm_memslots *slots;
	struct cvmm_memslot *slot;
	unsigned long *seen;
	bool any = false;
	size_t i, words;
	int err = 0;

	if (log->slot >= CVMM_MAX_MEMSLOTS)
		return -EINVAL;
	mutex_lock(&vm->lock);
	slots = rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock));
	slot = find_id(slots, log->slot);
	if (!slot || !slot->dirty) {
		err = -ENOENT;
		goto unlock;
	}
	words = BITS_TO_LONGS(slot->nr_gfns);
	seen = kvmalloc_array(words, sizeof(long), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!seen) {
		err = -ENOMEM;
		goto unlock;
	}
	for (i = 0; i < words; i++) {
		unsigned long mask = READ_ONCE(slot->dirty[i]);
		unsigned int bit;

		/* Forget, then forbid: what is written in between is seen again. */
		seen[i] = mask ? xchg(&slot->dirty[i], 0) : 0;
		mask = seen[i];
		for_each_set_bit(bit, &mask, BITS_PER_LONG)
			cvmm_mmu_write_protect_range(&vm->mmu,
						     slot->base_gfn + i * BITS_PER_LONG + bit, 1);
		if (mask)
			any = true;
		cond_resched();
	}
	if (any)
		cvmm_vm_kick_and_flush(vm);
	if (copy_to_user(log->dirty_bitmap, seen, words * sizeof(long)))
		err = -EFAULT;
	kvfree(seen);
unlock:
	mutex_unlock(&vm->lock);
	return err;
}
