// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU that spins waits for another one, which may have no CPU just now: because
 * the spinning one has it.  So it gives its CPU to a vCPU of the same VM that is
 * ready to run, rather than waiting for the end of its time slice.
 */
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/task.h>

#include "engine.h"
#include "hw_ops.h"

/* The scheduler may say no, for fairness: how many vCPUs are tried. */
#define TRIES	3

/* > 0: it has run, or will; 0: it does not need to, or may not; < 0: nobody may here. */
static int yield_to_vcpu(struct cvmm_vcpu *to)
{
	struct task_struct *task;
	int r;

	/* A thread that was in KVM_RUN in this section is not freed before it ends. */
	rcu_read_lock();
	task = READ_ONCE(to->task);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return 0;
	r = yield_to(task, true);
	put_task_struct(task);
	return r;
}

/*
 * Could @to be the one that is waited for?  A guest's kernel waits for what its kernel
 * does.  One that has been yielding itself waits for somebody, too, but perhaps no
 * longer: every other time it counts.
 */
static bool may_help(struct cvmm_vcpu *to, bool kernel)
{
	bool passed;

	if (!READ_ONCE(to->preempted) || (kernel && !READ_ONCE(to->preempted_in_kernel)))
		return false;
	if (!READ_ONCE(to->spinning))
		return true;
	passed = READ_ONCE(to->passed_over);
	WRITE_ONCE(to->passed_over, !passed);
	return passed;
}

/*
 * cvmm_vcpu_spins() - the guest executes PAUSE in a loop
 *
 * By the vCPU's thread in KVM_RUN, loaded and preemptible; may run others meanwhile.
 */
void cvmm_vcpu_spins(struct cvmm_vcpu *vcpu)
{
	struct cvmm_vm *vm = vcpu->vm;
	u32 i, n, nr = smp_load_acquire(&vm->nr_vcpus);
	u32 last = READ_ONCE(vm->last_boosted);
	bool kernel = !cvmm_hw->cpl(vcpu);
	unsigned int tries = TRIES;
	int r = 0;

	WRITE_ONCE(vcpu->spinning, true);
	for (i = 1; i <= nr && tries && r <= 0; i++) {
		n = (last + i) % nr;
		if (vm->vcpus[n] == vcpu || !may_help(vm->vcpus[n], kernel))
			continue;
		r = yield_to_vcpu(vm->vcpus[n]);
		if (r > 0) {
			WRITE_ONCE(vm->last_boosted, n);
			cvmm_count(&vm->stats, CVMM_EE_YIELD);
		} else if (r < 0) {
			tries--;
		}
	}
	WRITE_ONCE(vcpu->spinning, false);
	WRITE_ONCE(vcpu->passed_over, false);
	if (r <= 0)
		cond_resched();
}
