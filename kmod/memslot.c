// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory slots: which guest frames exist.
 *
 * A slot must lie in the mapping of a space, at the space's own guest-physical
 * addresses; nested faults then go from slot to space without a VMA.  All slots
 * of a VM belong to one space.  Slots on ordinary memory are not supported yet.
 */
#include <linux/err.h>
#include <linux/slab.h>

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

static const struct cvmm_space_client_ops client_ops = {
	.protect = client_protect,
	.failed = client_failed,
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

/* The VM's space: set by the first slot, the same for all others. */
static int connect_space(struct cvmm_vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct cvmm_space *space;
	u64 gpa;
	int err;

	space = cvmm_space_get_by_addr(r->userspace_addr, r->memory_size, &gpa);
	if (IS_ERR(space)) {
		pr_debug("slot %u: memory that is not a space's is not supported\n", r->slot);
		return -EINVAL;
	}
	if (gpa != r->guest_phys_addr) {
		pr_debug("slot %u: guest address %#llx, but the space has %#llx there\n",
			 r->slot, r->guest_phys_addr, gpa);
		err = -EINVAL;
		goto put;
	}
	if (vm->space) {
		err = vm->space == space ? 0 : -EINVAL;
		goto put;
	}
	vm->client.ops = &client_ops;
	err = cvmm_space_attach(space, &vm->client);
	if (err)
		goto put;
	vm->clustered = cvmm_space_nr_hosts(space) > 1;
	if (vm->clustered)
		vm->maxphyaddr = cvmm_host_maxphyaddr() - 1;
	vm->space = space;
	cvmm_space_add_counters(space, &vm->stats);
	return 0;
put:
	cvmm_space_put(space);
	return err;
}

/*
 * cvmm_set_memory() - KVM_SET_USER_MEMORY_REGION
 *
 * Adds a slot, or removes it when memory_size is 0.  A slot cannot be changed
 * in place.  Takes vm->lock.
 */
int cvmm_set_memory(struct cvmm_vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct cvmm_memslots *old, *new;
	struct cvmm_memslot *slot = NULL;
	u64 base_gfn = r->guest_phys_addr >> PAGE_SHIFT;
	u64 nr = r->memory_size >> PAGE_SHIFT;
	int err = 0;
	u32 i;

	if (r->slot >= CVMM_MAX_MEMSLOTS || r->flags)
		return -EINVAL;
	if (r->guest_phys_addr & ~PAGE_MASK || r->memory_size & ~PAGE_MASK ||
	    r->userspace_addr & ~PAGE_MASK)
		return -EINVAL;
	if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr ||
	    r->guest_phys_addr + r->memory_size > cvmm_mmu_hidden_base())
		return -EINVAL;

	mutex_lock(&vm->lock);
	old = rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock));
	new = kmemdup(old, sizeof(*old), GFP_KERNEL_ACCOUNT);
	if (!new) {
		err = -ENOMEM;
		goto unlock;
	}
	for (i = 0; i < new->nr; i++)
		if (new->slot[i].id == r->slot)
			slot = &new->slot[i];

	if (!nr) {
		struct cvmm_memslot gone;

		if (!slot) {
			err = -EINVAL;
			goto free_new;
		}
		gone = *slot;
		*slot = new->slot[--new->nr];
		rcu_assign_pointer(vm->slots, new);
		/* After this no vCPU can install a mapping of the slot. */
		synchronize_srcu(&vm->srcu);
		atomic_inc(&vm->mmu.zaps);
		smp_mb__after_atomic();
		if (cvmm_mmu_zap_range(&vm->mmu, gone.base_gfn, gone.nr_gfns))
			cvmm_vm_kick_and_flush(vm);
		smp_mb__before_atomic();
		atomic_dec(&vm->mmu.zaps);
		kfree(old);
		goto unlock;
	}
	if (slot) {
		err = slot->base_gfn == base_gfn && slot->nr_gfns == nr &&
		      slot->userspace_addr == r->userspace_addr ? 0 : -EINVAL;
		goto free_new;
	}
	for (i = 0; i < new->nr; i++) {
		struct cvmm_memslot *s = &new->slot[i];

		if (base_gfn < s->base_gfn + s->nr_gfns && s->base_gfn < base_gfn + nr) {
			err = -EEXIST;
			goto free_new;
		}
	}
	if (new->nr == CVMM_MAX_MEMSLOTS) {
		err = -EINVAL;
		goto free_new;
	}
	err = connect_space(vm, r);
	if (err)
		goto free_new;
	new->slot[new->nr++] = (struct cvmm_memslot) {
		.id = r->slot,
		.base_gfn = base_gfn,
		.nr_gfns = nr,
		.userspace_addr = r->userspace_addr,
	};
	rcu_assign_pointer(vm->slots, new);
	synchronize_srcu(&vm->srcu);
	kfree(old);
	goto unlock;

free_new:
	kfree(new);
unlock:
	mutex_unlock(&vm->lock);
	return err;
}
