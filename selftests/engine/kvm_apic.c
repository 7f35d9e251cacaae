// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC page that a vCPU shares with user space (CVMM_VCPU_SET_APIC): what is
 * served without an exit and what still exits, sleeping in HLT and waking from it,
 * the timer, interrupts between vCPUs, and a page full of nonsense.  TAP.
 */
#include "kvm_vm.h"

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

#define MEM_SIZE	(1UL << 20)
#define HANDLERS	0x2000UL	/* 8 bytes for each vector */
#define REPORT_PORT	0x20		/* handlers write their vector there */
#define DONE_PORT	0x21

#define TPR	(0x80 / 4)
#define LDR	(0xd0 / 4)
#define SVR	(0xf0 / 4)
#define ISR	(0x100 / 4)
#define TMR	(0x180 / 4)
#define IRR	(0x200 / 4)
#define LVTT	(0x320 / 4)

#define BASE_EXTD	(1U << 10)
#define NEVER		(~0ULL)

static int dev, vm, vcpu[2];
static struct kvm_run *run[2];
static struct cvmm_apic_page *page[2];
static uint8_t *mem, *code;

static void *map_page(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CVMM_VCPU_APIC_OFFSET);
}

static int set_apic(int fd, uint32_t version, uint32_t flags, uint32_t khz)
{
	struct cvmm_apic_config c = { .version = version, .flags = flags, .tsc_khz = khz };

	return ioctl(fd, CVMM_VCPU_SET_APIC, &c);
}

static void make_machine(void)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN },
	};
	struct kvm_cpuid2 *cpuid = supported_cpuid(dev);

	mem = map(NULL, MEM_SIZE, MAP_PRIVATE, -1);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	if (set_slot(vm, 0, 0, 0, MEM_SIZE, mem) || ioctl(vm, KVM_ENABLE_CAP, &cap))
		bail("memory, MSR exits");
	for (unsigned int i = 0; i < 2; i++) {
		vcpu[i] = make_vcpu(dev, vm, i, &run[i]);
		if (ioctl(vcpu[i], KVM_SET_CPUID2, cpuid))
			bail("KVM_SET_CPUID2");
	}
	free(cpuid);
	for (unsigned int v = 0; v < 256; v++) {
		const uint8_t handler[] = { 0xb0, v, 0xe6, REPORT_PORT, 0xcf };	/* mov, out, iret */

		memcpy(mem + HANDLERS + v * 8, handler, sizeof(handler));
		*(uint16_t *)(mem + v * 4) = HANDLERS + v * 8;
	}
}

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
	check(set_apic(vcpu[0], CVMM_APIC_VERSION + 1, 0, khz) && errno == EINVAL, "unknown version: EINVAL");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0x80, khz) && errno == EINVAL, "unknown flag: EINVAL");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0, 0) && errno == EINVAL, "no frequency: EINVAL");
	check(!set_apic(vcpu[0], CVMM_APIC_VERSION, CVMM_APIC_ALL_HERE, khz) &&
	      !set_apic(vcpu[1], CVMM_APIC_VERSION, CVMM_APIC_ALL_HERE, khz), "each vCPU gets one");
	check(set_apic(vcpu[0], CVMM_APIC_VERSION, 0, khz) && errno == EEXIST, "a second one: EEXIST");
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

/* ---- guests: real mode, x2APIC */

static void emit(const void *bytes, size_t len)
{
	memcpy(code, bytes, len);
	code += len;
}

static void emit_wrmsr(uint32_t msr, uint32_t high, uint32_t low)
{
	uint8_t b[] = { 0x66, 0xb9, 0, 0, 0, 0, 0x66, 0xba, 0, 0, 0, 0, 0x66, 0xb8, 0, 0, 0, 0, 0x0f, 0x30 };

	memcpy(b + 2, &msr, 4);
	memcpy(b + 8, &high, 4);
	memcpy(b + 14, &low, 4);
	emit(b, sizeof(b));
}

/* Of two pages' content, what a program like vmmd puts there. */
static void reset(unsigned int i, bool x2apic)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_vcpu_events events;
	struct kvm_sregs s;

	memset(page[i], 0, sizeof(*page[i]));
	page[i]->deadline = NEVER;
	page[i]->reg[SVR] = 0x1ff;
	page[i]->reg[LVTT] = 0x10000;
	real_mode(vcpu[i], 0);
	ioctl(vcpu[i], KVM_GET_VCPU_EVENTS, &events);
	events.interrupt.injected = 0;
	events.exception.injected = 0;
	ioctl(vcpu[i], KVM_SET_VCPU_EVENTS, &events);
	s = get_sregs(vcpu[i]);
	s.apic_base = 0xfee00000 | 1 << 11 | (x2apic ? BASE_EXTD : 0) | (i ? 0 : 1 << 8);
	set_sregs(vcpu[i], &s);
	if (ioctl(vcpu[i], KVM_SET_MP_STATE, &runnable))
		bail("KVM_SET_MP_STATE");
	run[i]->cr8 = 0;
	/* The module takes a look, as before a vCPU runs for the first time. */
	run[i]->immediate_exit = 1;
	ioctl(vcpu[i], KVM_RUN, 0);
	run[i]->immediate_exit = 0;
	code = mem + CODE;
}

static void post(unsigned int i, uint8_t v, bool level)
{
	if (level)
		__atomic_fetch_or(&page[i]->posted_level[v / 32], 1U << v % 32, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&page[i]->posted[v / 32], 1U << v % 32, __ATOMIC_SEQ_CST);
	__atomic_store_n(&page[i]->posted_any, 1, __ATOMIC_SEQ_CST);
}

static bool bit(unsigned int i, unsigned int bank, uint8_t v)
{
	return page[i]->reg[bank + v / 32 * 4] >> v % 32 & 1;
}

/* Run vCPU 0 until it writes @byte to @port. */
static bool runs_to(uint16_t port, int byte)
{
	int r = ioctl(vcpu[0], KVM_RUN, 0);
	uint8_t *data = (uint8_t *)run[0] + run[0]->io.data_offset % 8192;

	if (!r && run[0]->exit_reason == KVM_EXIT_IO && run[0]->io.port == port &&
	    (byte < 0 || *data == byte))
		return true;
	printf("# KVM_RUN %d %s, exit %u, port %#x, byte %#x, rip %#llx\n", r, r ? strerror(errno) : "",
	       run[0]->exit_reason, run[0]->io.port, *data, get_regs(vcpu[0]).rip);
	return false;
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
	make_machine();
	test_interface();
	test_interrupts();
	test_base();
	test_halt();
	test_timer();
	test_nonsense();
	return tap_done();
}
