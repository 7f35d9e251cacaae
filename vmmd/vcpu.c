// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A vCPU: its thread, its exits, its interrupts.
 *
 * Attention.  Whoever has work for a vCPU (an interrupt, the end of the
 * machine) first makes the work visible, then kicks it.  VCPU_SIGNAL is blocked
 * in vCPU threads everywhere but inside KVM_RUN, which opens it atomically
 * (KVM_SET_SIGNAL_MASK), so that a kick at any moment is seen: it either ends
 * KVM_RUN or stays pending and ends the next one at once.  The local APIC's
 * timer sends the same signal, and a halted vCPU waits for that signal.  No
 * polling, and one kick at a time.
 *
 * Our own engine shares the APIC's page and does all of timer, HLT and fixed
 * interrupts itself; a vCPU that runs is told of those by CVMM_VCPU_APIC_KICK, which
 * does not end KVM_RUN, and this thread is for the rest.
 *
 *   kicker                           owner
 *   store work                       store mode = RUNNING or WAITING
 *   full barrier                     full barrier
 *   load mode; signal if needed      load work; do not enter if there is any
 */
#include <errno.h>
#include <linux/cvmm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "kvm.h"
#include "machine_priv.h"
#include "sandbox.h"
#include "vmport.h"

#define PORT_SIZE_MAX	4
/* The host's clock is disciplined, the TSC is not: how much too early a timer may fire. */
#define EARLY_MS	10ULL

static void count(_Atomic uint64_t *c)
{
	/* One writer: no locked operation needed. */
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

static uint64_t guest_tsc(const struct vcpu *v)
{
	return __rdtsc() + v->tsc_offset;
}

/* ---- attention ----------------------------------------------------------- */

void vcpu_kick(struct vcpu *v)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&v->mode) == VCPU_OUTSIDE)
		return;
	if (!atomic_exchange(&v->kicked, true))
		syscall(SYS_tgkill, getpid(), atomic_load(&v->tid), VCPU_SIGNAL);
}

/* Where the module shares the APIC's page, it sees to what is posted there. */
static void kick_apic(struct vcpu *v)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&v->mode) == VCPU_RUNNING)
		ioctl(v->fd, CVMM_VCPU_APIC_KICK, 0);
}

/* Anything that must be looked at before running or waiting? */
static bool has_work(struct vcpu *v)
{
	return atomic_load(&v->events) || (!v->apic_page && lapic_posted(v->lapic)) ||
	       machine_ended(v->m) ||
	       atomic_load(&v->m->gate) || atomic_load(&v->m->tsc_offset) != v->tsc_offset;
}

/* Back from KVM_RUN or the wait: take a signal that is still pending. */
static void outside(struct vcpu *v, bool signalled)
{
	static const struct timespec now;
	sigset_t set;

	atomic_store(&v->mode, VCPU_OUTSIDE);
	if (signalled || atomic_load(&v->kicked)) {
		sigemptyset(&set);
		sigaddset(&set, VCPU_SIGNAL);
		/* It may not have arrived yet; then it will end the next run early, no more. */
		if (sigtimedwait(&set, NULL, &now) > 0)
			v->signalled = true;
		atomic_store(&v->kicked, false);
	}
	if (atomic_load(&v->m->gate)) {
		/* machine_adjust_tsc() waits for us to be outside, and we for it to be done. */
		pthread_mutex_lock(&v->m->lock);
		pthread_cond_broadcast(&v->m->gate_cond);
		while (atomic_load(&v->m->gate))
			pthread_cond_wait(&v->m->gate_cond, &v->m->lock);
		pthread_mutex_unlock(&v->m->lock);
	}
}

/* Block until kicked or until the timer fires. */
static void wait_for_work(struct vcpu *v)
{
	sigset_t set;

	atomic_store(&v->mode, VCPU_WAITING);
	atomic_thread_fence(memory_order_seq_cst);
	if (!has_work(v)) {
		sigemptyset(&set);
		sigaddset(&set, VCPU_SIGNAL);
		sigwaitinfo(&set, NULL);
		v->signalled = true;
		atomic_store(&v->kicked, false);
	}
	outside(v, false);
}

void vcpu_deliver(struct vcpu *v, const struct apic_msg *msg)
{
	switch (msg->delivery) {
	case 0:		/* fixed */
	case 1:		/* lowest priority, already narrowed down to this one */
		if (msg->vector < 16)
			return;
		lapic_post(v->lapic, msg->vector, msg->level);
		if (v->apic_page) {
			kick_apic(v);
			return;
		}
		break;
	case 4:
		atomic_fetch_or(&v->events, VCPU_EV_NMI);
		break;
	case 5:
		atomic_fetch_or(&v->events, VCPU_EV_INIT);
		break;
	case 6:
		atomic_store(&v->sipi_vector, msg->vector);
		atomic_fetch_or(&v->events, VCPU_EV_SIPI);
		break;
	default:	/* SMI, ExtINT: no such thing in this machine */
		return;
	}
	vcpu_kick(v);
}

/* ---- the local APIC's ops ------------------------------------------------- */

static uint64_t lapic_now(void *ctx)
{
	return guest_tsc(ctx);
}

static void lapic_send(void *ctx, const struct apic_msg *msg)
{
	struct vcpu *v = ctx;

	machine_route(v->m, msg);
}

static void lapic_eoi(void *ctx, uint8_t vector)
{
	struct vcpu *v = ctx;

	machine_rx_eoi(v->m, vector);
}

static void lapic_info(void *ctx, const struct apic_info *info)
{
	struct vcpu *v = ctx;

	if (apicbus_update(&v->m->apicbus, info) && v->m->p.peers)
		v->m->p.peers->apic_info(v->m->p.peers_ctx, info);
}

static const struct lapic_ops lapic_ops = {
	.now = lapic_now,
	.send = lapic_send,
	.eoi = lapic_eoi,
	.info = lapic_info,
};

/* ---- time ---------------------------------------------------------------- */

/* Set the host's timer to the APIC timer's deadline, if that has changed. */
static void arm_timer(struct vcpu *v)
{
	uint64_t deadline = lapic_deadline(v->lapic), now, ns;
	struct itimerspec its = { 0 };

	if (deadline == v->armed)
		return;
	v->armed = deadline;
	if (deadline != LAPIC_NEVER) {
		now = guest_tsc(v);
		ns = deadline <= now ? 0 :
		     (uint64_t)((unsigned __int128)(deadline - now) * 1000000 / v->m->tsc_khz);
		/* Zero would turn it off; beyond a century nobody waits. */
		ns = ns ? ns < 1ULL << 61 ? ns : 1ULL << 61 : 1;
		its.it_value.tv_sec = ns / 1000000000;
		its.it_value.tv_nsec = ns % 1000000000;
	}
	timer_settime(v->timer, 0, &its, NULL);
}

static void run_timer(struct vcpu *v)
{
	uint64_t deadline = lapic_deadline(v->lapic), now;

	if (deadline != LAPIC_NEVER) {
		now = guest_tsc(v);
		if (now >= deadline)
			lapic_timer_run(v->lapic, now);
		else if (v->signalled && deadline - now < EARLY_MS * v->m->tsc_khz)
			v->armed = LAPIC_NEVER;		/* that may have been the timer, early */
	}
	v->signalled = false;
	arm_timer(v);
}

static void apply_tsc_offset(struct vcpu *v)
{
	int64_t offset = atomic_load(&v->m->tsc_offset);

	if (offset == v->tsc_offset)
		return;
	if (engine_set_tsc_offset(v->fd, offset)) {
		machine_fail(v->m, "vCPU %u: cannot set its TSC offset: %s", v->id, strerror(errno));
		return;
	}
	v->tsc_offset = offset;
	v->armed = 0;		/* the deadline is another moment of the host's time now */
}

/* ---- reset, INIT, SIPI --------------------------------------------------- */

static int set_registers(struct vcpu *v, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	struct kvm_vcpu_events events = { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING };

	if (ioctl(v->fd, KVM_SET_SREGS, sregs) || ioctl(v->fd, KVM_SET_REGS, regs) ||
	    ioctl(v->fd, KVM_SET_DEBUGREGS, &v->reset_debugregs) ||
	    ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events)) {
		machine_fail(v->m, "vCPU %u: cannot set its registers: %s", v->id, strerror(errno));
		return -1;
	}
	v->run->cr8 = sregs->cr8;
	v->run->apic_base = sregs->apic_base;
	return 0;
}

/* The boot processor starts where the boot protocol wants it, in 64-bit mode. */
static int set_linux_entry(struct vcpu *v)
{
	const struct linux_entry *e = &v->m->entry;
	struct kvm_sregs s = v->reset_sregs;
	struct kvm_regs r = v->reset_regs;
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = e->cs, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = e->ds, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};

	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = e->gdt;
	s.gdt.limit = e->gdt_limit;
	s.idt.base = 0;
	s.idt.limit = 0;
	s.tr.type = 11;		/* 64-bit TSS, busy */
	s.tr.present = 1;
	s.tr.s = 0;
	s.cr3 = e->cr3;
	s.cr4 = 1 << 5;				/* PAE */
	s.cr0 = 0x80000000 | 0x20 | 0x10 | 1;	/* PG, NE, ET, PE */
	s.efer = 1 << 10 | 1 << 8;		/* LMA, LME */
	s.apic_base = lapic_base(v->lapic);
	r.rip = e->rip;
	r.rsi = e->rsi;
	r.rflags = 2;
	return set_registers(v, &r, &s);
}

static void do_init(struct vcpu *v)
{
	/* Let the engine finish the instruction of the last exit, or it would do so after the reset. */
	v->run->immediate_exit = 1;
	ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
	lapic_reset(v->lapic, true);
	if (ioctl(v->fd, KVM_SET_MP_STATE, &(struct kvm_mp_state){ KVM_MP_STATE_RUNNABLE }))
		machine_fail(v->m, "vCPU %u: cannot end its HLT: %s", v->id, strerror(errno));
	v->state = VCPU_WAIT_SIPI;
	v->run->request_interrupt_window = 0;
}

static void do_sipi(struct vcpu *v, uint8_t vector)
{
	struct kvm_sregs s = v->reset_sregs;
	struct kvm_regs r = v->reset_regs;

	s.cs.selector = (uint16_t)vector << 8;
	s.cs.base = (uint64_t)vector << 12;
	s.apic_base = lapic_base(v->lapic);
	r.rip = 0;
	if (!set_registers(v, &r, &s))
		v->state = VCPU_RUNNABLE;
}

static void handle_events(struct vcpu *v)
{
	uint32_t ev;

	if (!atomic_load_explicit(&v->events, memory_order_relaxed))
		return;
	ev = atomic_exchange(&v->events, 0);
	if (ev & VCPU_EV_INIT)
		do_init(v);
	if ((ev & VCPU_EV_SIPI) && v->state == VCPU_WAIT_SIPI)
		do_sipi(v, atomic_load(&v->sipi_vector));
	if ((ev & VCPU_EV_NMI) && v->state != VCPU_WAIT_SIPI) {
		if (ioctl(v->fd, KVM_NMI, 0))
			machine_fail(v->m, "vCPU %u: cannot inject an NMI: %s", v->id, strerror(errno));
		v->state = VCPU_RUNNABLE;
	}
}

/* ---- interrupts ---------------------------------------------------------- */

/* Hand the engine the next interrupt if it can take one, else ask to be told when. */
static void inject(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	int vector = lapic_next(v->lapic);

	run->request_interrupt_window = 0;
	if (vector < 0)
		return;
	if (run->ready_for_interrupt_injection) {
		struct kvm_interrupt irq = { .irq = vector };

		if (ioctl(v->fd, KVM_INTERRUPT, &irq)) {
			machine_fail(v->m, "vCPU %u: cannot inject vector %d: %s", v->id, vector,
				     strerror(errno));
			return;
		}
		lapic_accept(v->lapic, vector);
		run->ready_for_interrupt_injection = 0;
		if (lapic_next(v->lapic) < 0)
			return;
	}
	run->request_interrupt_window = 1;
}

/* ---- exits --------------------------------------------------------------- */

static void hypervisor_call(struct vcpu *v, void *data)
{
	struct kvm_regs regs;
	struct vmport_regs r;

	if (ioctl(v->fd, KVM_GET_REGS, &regs)) {
		machine_fail(v->m, "vCPU %u: cannot read its registers: %s", v->id, strerror(errno));
		return;
	}
	r = (struct vmport_regs){ regs.rax, regs.rbx, regs.rcx, regs.rdx };
	if (!vmport_call(&r, v->m->guest_khz))
		return;
	/* The engine completes the IN with the data; the other registers are ours to set. */
	memcpy(data, &r.eax, 4);
	regs.rax = r.eax;
	regs.rbx = r.ebx;
	regs.rcx = r.ecx;
	regs.rdx = r.edx;
	if (ioctl(v->fd, KVM_SET_REGS, &regs))
		machine_fail(v->m, "vCPU %u: cannot set its registers: %s", v->id, strerror(errno));
}

static void handle_pio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	unsigned int size = run->io.size, i;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	count(&v->stats.pio);
	if (size > PORT_SIZE_MAX || run->io.data_offset > v->run_size ||
	    (uint64_t)run->io.count * size > v->run_size - run->io.data_offset) {
		machine_fail(v->m, "vCPU %u: the engine reported a malformed port access", v->id);
		return;
	}
	for (i = 0; i < run->io.count; i++, data += size) {
		struct io_req req = {
			.space = IO_PIO,
			.write = run->io.direction == KVM_EXIT_IO_OUT,
			.size = size,
			.vcpu = v->id,
			.addr = run->io.port,
		};

		if (req.write)
			memcpy(&req.data, data, size);
		machine_io(v->m, v, &req);
		if (!req.write)
			memcpy(data, &req.data, size);
	}
	if (run->io.port == VMPORT && run->io.direction == KVM_EXIT_IO_IN && size == 4 && run->io.count == 1)
		hypervisor_call(v, (uint8_t *)run + run->io.data_offset);
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	struct io_req req = {
		.space = IO_MMIO,
		.write = run->mmio.is_write,
		.size = run->mmio.len,
		.vcpu = v->id,
		.addr = run->mmio.phys_addr,
	};

	count(&v->stats.mmio);
	if (run->mmio.len > sizeof(req.data)) {
		machine_fail(v->m, "vCPU %u: the engine reported a malformed memory access", v->id);
		return;
	}
	if (req.write)
		memcpy(&req.data, run->mmio.data, req.size);
	if (lapic_claims(v->lapic, req.addr)) {
		if (req.write)
			lapic_mmio_write(v->lapic, req.addr & 0xfff, req.data);
		else
			req.data = lapic_mmio_read(v->lapic, req.addr & 0xfff);
	} else {
		machine_io(v->m, v, &req);
	}
	if (!req.write)
		memcpy(run->mmio.data, &req.data, req.size);
}

static void handle_msr(struct vcpu *v, bool write)
{
	struct kvm_run *run = v->run;
	uint64_t val = run->msr.data;

	count(&v->stats.msr);
	if (write) {
		run->msr.error = lapic_wrmsr(v->lapic, run->msr.index, val) ? 1 : 0;
	} else {
		run->msr.error = lapic_rdmsr(v->lapic, run->msr.index, &val) ? 1 : 0;
		run->msr.data = val;
	}
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(v);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		break;
	case KVM_EXIT_X86_RDMSR:
		handle_msr(v, false);
		break;
	case KVM_EXIT_X86_WRMSR:
		handle_msr(v, true);
		break;
	case KVM_EXIT_HLT:
		count(&v->stats.hlt);
		v->state = VCPU_HALTED;
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
		break;
	case KVM_EXIT_SHUTDOWN:
		machine_end(v->m, MACHINE_RESET);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		machine_fail(v->m, "vCPU %u: the hardware refused to enter the guest (reason %#llx)", v->id,
			     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR: {
		char code[3 * sizeof(run->emulation_failure.insn_bytes) + 16] = "";
		struct kvm_regs regs = { 0 };

		ioctl(v->fd, KVM_GET_REGS, &regs);
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
		    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
			unsigned int i, n = run->emulation_failure.insn_size;
			int at = snprintf(code, sizeof(code), ", code");

			for (i = 0; i < n && i < sizeof(run->emulation_failure.insn_bytes); i++)
				at += snprintf(code + at, sizeof(code) - at, " %02x",
					       run->emulation_failure.insn_bytes[i]);
		}
		machine_fail(v->m, "vCPU %u: the engine gave up at RIP %#llx (internal error %u%s)", v->id,
			     regs.rip, run->internal.suberror, code);
		break;
	}
	default:
		machine_fail(v->m, "vCPU %u: unexpected exit %u from the engine", v->id, run->exit_reason);
	}
}

/* Run the guest until its next exit. */
static void enter(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	int err = 0;

	run->cr8 = lapic_tpr(v->lapic) >> 4;
	atomic_store(&v->mode, VCPU_RUNNING);
	atomic_thread_fence(memory_order_seq_cst);
	if (has_work(v)) {
		outside(v, false);
		return;
	}
	if (ioctl(v->fd, KVM_RUN, 0) < 0)
		err = errno;
	outside(v, err == EINTR);
	count(&v->stats.exits);

	/* What the guest changed without an exit of its own. */
	if (run->cr8 != lapic_tpr(v->lapic) >> 4)
		lapic_set_tpr(v->lapic, run->cr8 << 4);
	if (run->apic_base != lapic_base(v->lapic))
		lapic_set_base(v->lapic, run->apic_base);

	if (err == EINTR || err == EAGAIN)
		count(&v->stats.intr);
	else if (err)
		machine_fail(v->m, "vCPU %u: cannot run: %s", v->id, strerror(err));
	else
		handle_exit(v);
}

/* Is there a reason to leave the halted state? */
static bool wakes(struct vcpu *v)
{
	return v->run->if_flag && lapic_next(v->lapic) >= 0;
}

static void loop(struct vcpu *v)
{
	while (!machine_ended(v->m)) {
		apply_tsc_offset(v);
		handle_events(v);
		if (v->state == VCPU_WAIT_SIPI) {
			lapic_next(v->lapic);	/* stray interrupts are no work */
			wait_for_work(v);
			continue;
		}
		if (!v->apic_page) {
			run_timer(v);
			if (v->state == VCPU_HALTED) {
				if (!wakes(v)) {
					wait_for_work(v);
					continue;
				}
				v->state = VCPU_RUNNABLE;
			}
			inject(v);
		}
		enter(v);
	}
}

/* ---- the thread ---------------------------------------------------------- */

static int setup_thread(struct vcpu *v)
{
	struct {
		struct kvm_signal_mask head;
		uint64_t set;		/* as the kernel has it: 64 signals */
	} __attribute__((packed)) mask = { .head.len = sizeof(mask.set) };
	struct sigevent sev = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = VCPU_SIGNAL,
	};

	if (!v->apic_page) {
		sev._sigev_un._tid = gettid();
		if (timer_create(CLOCK_MONOTONIC, &sev, &v->timer)) {
			machine_fail(v->m, "vCPU %u: cannot create its timer: %s", v->id, strerror(errno));
			return -1;
		}
		v->have_timer = true;
	}
	/* Inside KVM_RUN all is blocked (as outside) but our signal. */
	mask.set = ~(1ULL << (VCPU_SIGNAL - 1));
	if (ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask)) {
		machine_fail(v->m, "vCPU %u: cannot set its signal mask: %s", v->id, strerror(errno));
		return -1;
	}
	return 0;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	atomic_store(&v->tid, gettid());
	if (setup_thread(v))
		goto out;
	if (sandbox_vcpu()) {
		machine_fail(v->m, "vCPU %u: its thread cannot be confined", v->id);
		goto out;
	}
	if (v->id == 0) {
		if (set_linux_entry(v))
			goto out;
		v->state = VCPU_RUNNABLE;
	}
	loop(v);
out:
	atomic_store(&v->mode, VCPU_OUTSIDE);
	if (v->have_timer)
		timer_delete(v->timer);
	v->have_timer = false;
	return NULL;
}

int vcpu_start(struct vcpu *v)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&v->thread, NULL, vcpu_thread, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err;
	v->started = true;
	if (v->m->pinned) {
		/* One CPU each where there are enough of them, else all share the set. */
		unsigned int nr = CPU_COUNT(&v->m->cpus), nth = v->id - v->m->first_vcpu, cpu;
		cpu_set_t one;

		CPU_ZERO(&one);
		for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (CPU_ISSET(cpu, &v->m->cpus) && (nr < v->m->nr_vcpus || nth-- == 0))
				CPU_SET(cpu, &one);
		}
		err = pthread_setaffinity_np(v->thread, sizeof(one), &one);
		if (err)
			machine_fail(v->m, "vCPU %u: cannot pin it: %s", v->id, strerror(err));
	}
	return 0;
}

/* Have the module serve the local APIC, where it can.  0, or -1 with errno. */
static int share_apic(struct vcpu *v)
{
	struct cvmm_apic_config config = {
		.version = CVMM_APIC_VERSION,
		.nr_vcpus = conf_nr_vcpus(v->m->conf),
		.tsc_khz = v->m->guest_khz,
	};
	void *page;

	if (!engine_has_apic(v->m->engine_fd))
		return 0;
	if (ioctl(v->fd, CVMM_VCPU_SET_APIC, &config))
		return -1;
	page = mmap(NULL, sizeof(*v->apic_page), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
		    CVMM_VCPU_APIC_OFFSET);
	if (page == MAP_FAILED)
		return -1;
	v->apic_page = page;
	return 0;
}

int vcpu_create(struct machine *m, struct vcpu *v, unsigned int id, char *err, size_t errlen)
{
	struct cpuid_table *cpuid = NULL;
	long size;

	v->m = m;
	v->id = id;
	v->armed = LAPIC_NEVER;
	v->fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (v->fd < 0) {
		snprintf(err, errlen, "cannot create vCPU %u: %s", id, strerror(errno));
		return -1;
	}
	size = ioctl(m->engine_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (long)sizeof(*v->run))
		goto failed;
	v->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		goto failed;
	}
	v->run_size = size;
	if (!m->tsc_khz) {
		int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

		if (khz <= 0)
			goto failed;
		m->tsc_khz = khz;
		if ((uint64_t)khz * m->conf->slowdown > UINT32_MAX) {
			errno = ERANGE;
			goto failed;
		}
		m->guest_khz = khz * m->conf->slowdown;
	}

	cpuid = malloc(sizeof(*cpuid));
	if (!cpuid || cpuid_supported(m->engine_fd, cpuid))
		goto failed;
	if (cpuid_apply_policy(cpuid, m->conf, id, m->guest_khz)) {
		errno = E2BIG;
		goto failed;
	}
	if (ioctl(v->fd, KVM_SET_CPUID2, &cpuid->head))
		goto failed;
	if (ioctl(v->fd, KVM_GET_REGS, &v->reset_regs) || ioctl(v->fd, KVM_GET_SREGS, &v->reset_sregs) ||
	    ioctl(v->fd, KVM_GET_DEBUGREGS, &v->reset_debugregs))
		goto failed;
	v->tsc_offset = m->p.tsc_offset;
	if (engine_set_tsc_offset(v->fd, v->tsc_offset))
		goto failed;
	if (share_apic(v))
		goto failed;
	v->lapic = lapic_create(id, id == 0, m->guest_khz, v->apic_page, &lapic_ops, v);
	if (!v->lapic)
		goto failed;
	free(cpuid);
	return 0;
failed:
	snprintf(err, errlen, "cannot set up vCPU %u: %s", id, strerror(errno));
	free(cpuid);
	return -1;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->fd < 0)
		return;
	lapic_destroy(v->lapic);
	if (v->apic_page)
		munmap(v->apic_page, sizeof(*v->apic_page));
	if (v->run)
		munmap(v->run, v->run_size);
	close(v->fd);
}
