// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC page that a vCPU shares with user space (CVMM_VCPU_SET_APIC): what is
 * served without an exit and what still exits, sleeping in HLT and waking from it,
 * the timer, interrupts between vCPUs, and a page full of nonsense.  TAP.
 */
#include "apic_vm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static void test_interface(void)
{
	uint32_t khz = ioctl(vcpu[0], KVM_GET_TSC_KHZ, 0);
	struct kvm_mp_state halted = { KVM_MP_STATE_HALTED };
	struct cvmm_info info;

	check(!ioctl(dev, CVMM_GET_INFO, &info) && info.features & CVMM_FEATURE_APIC_PAGE,
	      "the module tells of it");
	check(map_page(vcpu[0], 4096) == MAP_FAILED && errno == EINVAL, "no page yet: EINVAL");
	check(ioctl(vcpu[0], CVMM_VCPU_APIC_KICK, 0) && errno == EINVAL, "a kick, too");
	check(ioctl(vcpu[0], KVM_SET_MP_STATE, &halted) && errno == EINVAL, "nobody would wake it: EINVAL");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION + 1, 0, 2, khz) && errno == EINVAL, "unknown version: EINVAL");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0x80, 2, khz) && errno == EINVAL, "unknown flag: EINVAL");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0, 2, 0) && errno == EINVAL, "no frequency: EINVAL");
	check(!set_apic(vcpu[0], CVMM_APIC_VERSION, 0, 2, khz) &&
	      !set_apic(vcpu[1], CVMM_APIC_VERSION, 0, 2, khz), "each vCPU gets one");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0, 2, khz) && errno == EEXIST, "a second one: EEXIST");
	check(map_page(vcpu[0], 8192) == MAP_FAILED && errno == EINVAL, "two pages: EINVAL");
	for (unsigned int i = 0; i < 2; i++) {
		page[i] = map_page(vcpu[i], 4096);
		if (page[i] == MAP_FAILED)
			bail("mmap of the page");
	}
	check(page[0]->deadline == NEVER && !page[0]->posted_any, "it is mapped, the timer stopped");
	check(!ioctl(vcpu[0], CVMM_VCPU_APIC_KICK, 0) && !ioctl(vcpu[1], CVMM_VCPU_APIC_KICK, 0),
	      "a kick for nothing");
}

static const uint8_t sti_nop[] = { 0xfb, 0x90, 0x90 };
static const uint8_t sti_hlt[] = { 0xfb, 0xf4 };
static const uint8_t out_done[] = { 0xe6, DONE_PORT };

static void test_interrupts(void)
{
	reset(0, true);
	emit(sti_nop, sizeof(sti_nop));
	emit_wrmsr(0x80b, 0, 0);		/* EOI */
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x83f, 0, 0x77);		/* self IPI */
	emit(sti_nop, sizeof(sti_nop));
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x808, 0, 0x50);		/* TPR */
	emit_wrmsr(0x80b, 0, 0);
	emit_wrmsr(0x83f, 0, 0x55);
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x808, 0, 0x40);
	emit(out_done, sizeof(out_done));
	post(0, 0x41, false);
	check(runs_to(REPORT_PORT, 0x41) && bit(0, ISR, 0x41) && !bit(0, IRR, 0x41),
	      "what was posted is delivered");
	check(runs_to(DONE_PORT, -1) && !bit(0, ISR, 0x41), "an EOI does not exit");
	check(runs_to(REPORT_PORT, 0x77) && bit(0, ISR, 0x77), "nor an interrupt to itself");
	check(runs_to(DONE_PORT, -1) && runs_to(DONE_PORT, -1) && bit(0, IRR, 0x55) &&
	      !bit(0, ISR, 0x55), "TPR masks");
	check(run[0]->cr8 == 5, "and is CR8");
	check(runs_to(REPORT_PORT, 0x55), "until it is lower");

	reset(0, true);
	reset(1, true);
	emit_wrmsr(0x830, 1, 0x4066);
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x830, 0, 0xc4067);		/* all but self */
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x830, 1, 0x4869);		/* logical, the first of its cluster */
	emit_wrmsr(0x830, 6, 0x4868);		/* the second and third */
	emit(out_done, sizeof(out_done));
	emit_wrmsr(0x830, 9, 0x4066);
	emit_wrmsr(0x830, 1, 0x4400);		/* NMI */
	emit_wrmsr(0x80b, 0, 0);
	check(runs_to(DONE_PORT, -1) && page[1]->posted[3] == 1U << 6 && page[1]->posted_any,
	      "an interrupt for another vCPU is posted there");
	check(runs_to(DONE_PORT, -1) && page[1]->posted[3] == 3U << 6, "for all others, too");
	page[1]->reg[LDR] = 2;
	check(runs_to(DONE_PORT, -1) && page[1]->posted[3] == (1U << 8 | 3U << 6), "by a logical destination");
	check(!ioctl(vcpu[0], KVM_RUN, 0) && run[0]->exit_reason == KVM_EXIT_X86_WRMSR &&
	      run[0]->msr.index == 0x830 && run[0]->msr.data == 0x900004066ULL,
	      "for one who is not here: an exit");
	check(!ioctl(vcpu[0], KVM_RUN, 0) && run[0]->exit_reason == KVM_EXIT_X86_WRMSR &&
	      run[0]->msr.data == 0x100004400ULL, "an NMI: an exit");
	page[0]->reg[ISR + 8] = page[0]->reg[TMR + 8] = 1 << 3;
	check(!ioctl(vcpu[0], KVM_RUN, 0) && run[0]->exit_reason == KVM_EXIT_X86_WRMSR &&
	      run[0]->msr.index == 0x80b && page[0]->reg[ISR + 8] == 1 << 3,
	      "the end of a level-triggered one: an exit, nothing done");
	page[0]->reg[ISR + 8] = page[0]->reg[TMR + 8] = 0;
	post(0, 0x43, true);
	*code = 0xfb;
	code[1] = 0x90;
	check(runs_to(REPORT_PORT, 0x43) && bit(0, TMR, 0x43), "a level-triggered one comes");
}

static void test_base(void)
{
	reset(0, false);
	emit_wrmsr(0x1b, 0, 0xfee00000 | 1 << 11 | 1 << 8 | BASE_EXTD);
	emit_wrmsr(0x808, 0, 0x20);
	emit(out_done, sizeof(out_done));
	check(!ioctl(vcpu[0], KVM_RUN, 0) && run[0]->exit_reason == KVM_EXIT_SET_TPR &&
	      run[0]->apic_base & BASE_EXTD, "a new IA32_APIC_BASE is told");
	check(runs_to(DONE_PORT, -1) && page[0]->reg[TPR] == 0x20, "then it is in force");
}

/* ---- HLT */

static pthread_t waker;

static void *wake(void *arg)
{
	usleep(50000);
	switch ((uintptr_t)arg) {
	case 0:
		post(0, 0x60, false);
		ioctl(vcpu[0], CVMM_VCPU_APIC_KICK, 0);
		break;
	case 1:		/* the other vCPU */
		ioctl(vcpu[1], KVM_RUN, 0);
	}
	return NULL;
}

static void nothing(int sig)
{
	(void)sig;
}

static void alarm_in(unsigned int ms)
{
	struct itimerval t = { .it_value = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

static void test_halt(void)
{
	struct kvm_mp_state mp;

	reset(0, true);
	emit(sti_hlt, sizeof(sti_hlt));
	emit(out_done, sizeof(out_done));
	pthread_create(&waker, NULL, wake, (void *)0);
	check(runs_to(REPORT_PORT, 0x60), "a kick wakes from HLT");
	pthread_join(waker, NULL);
	check(runs_to(DONE_PORT, -1), "and the guest goes on behind it");

	reset(0, true);
	reset(1, true);
	emit(sti_hlt, sizeof(sti_hlt));
	code = mem + CODE + 0x100;
	emit_wrmsr(0x830, 0, 0x4061);
	emit(out_done, sizeof(out_done));
	ioctl(vcpu[1], KVM_SET_REGS, &(struct kvm_regs){ .rip = CODE + 0x100, .rflags = 2, .rsp = STACK });
	pthread_create(&waker, NULL, wake, (void *)1);
	check(runs_to(REPORT_PORT, 0x61), "so does an interrupt from another vCPU");
	pthread_join(waker, NULL);

	reset(0, true);
	emit(sti_hlt, sizeof(sti_hlt));
	emit(out_done, sizeof(out_done));
	alarm_in(100);
	check(ioctl(vcpu[0], KVM_RUN, 0) && errno == EINTR, "a signal ends KVM_RUN");
	check(!ioctl(vcpu[0], KVM_GET_MP_STATE, &mp) && mp.mp_state == KVM_MP_STATE_HALTED,
	      "the vCPU is halted");
	alarm_in(100);
	check(ioctl(vcpu[0], KVM_RUN, 0) && errno == EINTR, "and stays so");
	mp.mp_state = KVM_MP_STATE_RUNNABLE;
	check(!ioctl(vcpu[0], KVM_SET_MP_STATE, &mp) && runs_to(DONE_PORT, -1), "until user space ends it");
}

static uint64_t guest_tsc(void)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = {
		.head.nmsrs = 1, .e.index = 0x10,
	};

	ioctl(vcpu[0], KVM_GET_MSRS, &m);
	return m.e.data;
}

static void test_timer(void)
{
	uint64_t khz = ioctl(vcpu[0], KVM_GET_TSC_KHZ, 0), start, took;

	reset(0, true);
	emit(sti_hlt, sizeof(sti_hlt));
	emit_wrmsr(0x80b, 0, 0);
	emit_wrmsr(0x83e, 0, 0xb);			/* divide by 1 */
	emit_wrmsr(0x838, 0, 30000000);			/* 30 ms */
	emit(sti_hlt, sizeof(sti_hlt));
	emit_wrmsr(0x80b, 0, 0);
	emit(sti_hlt, sizeof(sti_hlt));
	/* As user space would have it for a deadline. */
	page[0]->reg[LVTT] = 2 << 17 | 0x70;
	start = guest_tsc();
	page[0]->deadline = page[0]->deadline_msr = start + 20 * khz;
	check(runs_to(REPORT_PORT, 0x70), "the timer wakes from HLT");
	took = guest_tsc() - start;
	check(took >= 20 * khz && took < 2000 * khz, "not before its time (%lu of 20 ms)",
	      (unsigned long)(took / khz));
	check(page[0]->deadline == NEVER && !page[0]->deadline_msr, "a deadline comes once");
	page[0]->reg[LVTT] = 1 << 17 | 0x71;
	start = guest_tsc();
	check(runs_to(REPORT_PORT, 0x71) && page[0]->deadline != NEVER, "a periodic one, set by the guest");
	took = guest_tsc() - start;
	check(took >= 30 * khz && took < 2000 * khz, "not before its time (%lu of 30 ms)",
	      (unsigned long)(took / khz));
	check(runs_to(REPORT_PORT, 0x71), "it comes again");
}

/* Nobody but the guest is harmed; a signal ends it. */
static void test_nonsense(void)
{
	unsigned int i, j, ended = 0;

	srandom(1);
	for (i = 0; i < 100; i++) {
		reset(0, i & 1);
		emit(sti_hlt, sizeof(sti_hlt));
		emit_wrmsr(0x830, random() % 3, 0x4000 | random() % 256);
		emit_wrmsr(0x80b, 0, 0);
		emit(sti_hlt, sizeof(sti_hlt));
		emit(out_done, sizeof(out_done));
		for (j = 0; j < sizeof(*page[0]); j++)
			((uint8_t *)page[0])[j] = i % 3 ? random() : i % 2 ? 0 : 0xff;
		alarm_in(10);
		for (j = 0; j < 50; j++)
			if (ioctl(vcpu[0], KVM_RUN, 0) && errno == EINTR)
				break;
		alarm_in(0);
		ended++;
	}
	check(ended == 100, "100 pages of nonsense");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = nothing };

	sigaction(SIGALRM, &sa, NULL);
	dev = open_device(argc, argv);
	make_machine(map(NULL, MEM_SIZE, MAP_PRIVATE, -1), 2);
	test_interface();
	test_interrupts();
	test_base();
	test_halt();
	test_timer();
	test_nonsense();
	return tap_done();
}
