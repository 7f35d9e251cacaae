// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The smallest user of the engine: bare code in a few pages of a space, one
 * vCPU, and every exit and injection looked at.  Runs on /dev/cvmm; with
 * "-d /dev/kvm" the same on stock KVM, with anonymous memory.  TAP.  With
 * --hold it only keeps a VM until it reads a line.
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
#include <time.h>
#include <unistd.h>

#define MEM_SIZE	(4UL << 20)
#define MMIO		0xd0000000UL

static int dev, vm, vcpu, space = -1;
static uint8_t *mem;
static struct kvm_run *run;
static struct kvm_cpuid2 *cpuid;

static void make_vm(void)
{
	if (on_cvmm()) {
		space = make_space(dev, "tiny", MEM_SIZE, 1);
		if (space < 0)
			bail("CVMM_CREATE_SPACE");
	}
	mem = map(NULL, MEM_SIZE, MAP_SHARED, space);
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	if (set_slot(vm, 0, 0, 0, MEM_SIZE, mem))
		bail("KVM_SET_USER_MEMORY_REGION");
	vcpu = make_vcpu(dev, vm, 0, &run);
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		bail("KVM_SET_CPUID2");
}

static void drop_vm(void)
{
	munmap(run, run_size(dev));
	/* Out of order on purpose: each descriptor holds what it needs. */
	close(vm);
	munmap(mem, MEM_SIZE);
	if (space >= 0)
		close(space);
	close(vcpu);
}

/* Real mode, flat from 0, at CODE, nothing pending. */
static void start(const void *code, size_t len)
{
	struct kvm_vcpu_events events = {};
	struct kvm_sregs s;

	memcpy(mem + CODE, code, len);
	real_mode(vcpu, 0);
	s = get_sregs(vcpu);
	s.idt.base = 0;
	s.idt.limit = 0x3ff;
	set_sregs(vcpu, &s);
	if (ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events))
		bail("KVM_SET_VCPU_EVENTS");
}

static int go(void)
{
	int r;

	do
		r = ioctl(vcpu, KVM_RUN, 0);
	while (r < 0 && errno == EAGAIN);
	return r;
}

static void test_io(void)
{
	static const uint8_t code[] = {
		0xb0, 0x5a,		/* mov al, 0x5a */
		0xe6, 0x10,		/* out 0x10, al */
		0xba, 0x34, 0x12,	/* mov dx, 0x1234 */
		0xed,			/* in ax, dx */
		0x66, 0xb8, 0x78, 0x56, 0x34, 0x12,	/* mov eax, 0x12345678 */
		0x66, 0xef,		/* out dx, eax */
		0xf4,			/* hlt */
	};
	uint8_t *data;

	start(code, sizeof(code));
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x10 &&
	      run->io.direction == KVM_EXIT_IO_OUT && run->io.size == 1 &&
	      *((uint8_t *)run + run->io.data_offset) == 0x5a,
	      "byte OUT to an immediate port (exit %u)", run->exit_reason);
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x1234 &&
	      run->io.direction == KVM_EXIT_IO_IN && run->io.size == 2, "word IN");
	data = (uint8_t *)run + run->io.data_offset;
	data[0] = 0xcd;
	data[1] = 0xab;
	run->immediate_exit = 1;
	check(go() < 0 && errno == EINTR && (get_regs(vcpu).rax & 0xffff) == 0xabcd &&
	      run->exit_reason == KVM_EXIT_IO, "immediate_exit completes the IN, stops, and is no exit");
	run->immediate_exit = 0;
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.size == 4 &&
	      *(uint32_t *)((uint8_t *)run + run->io.data_offset) == 0x12345678, "dword OUT");
	check(!go() && run->exit_reason == KVM_EXIT_HLT &&
	      get_regs(vcpu).rip == CODE + sizeof(code), "HLT, RIP behind it");
}

static void test_string_io(void)
{
	static const uint8_t code[] = {
		0xbe, 0x00, 0x20,	/* mov si, 0x2000 */
		0xb9, 0x03, 0x00,	/* mov cx, 3 */
		0xba, 0x99, 0x00,	/* mov dx, 0x99 */
		0xfc,			/* cld */
		0xf3, 0x6e,		/* rep outsb */
		0xbf, 0x00, 0x21,	/* mov di, 0x2100 */
		0xb9, 0x02, 0x00,	/* mov cx, 2 */
		0xf3, 0x6d,		/* rep insw */
		0xf4,
	};
	char got[8] = "";
	unsigned int n = 0, ins = 0;

	start(code, sizeof(code));
	memcpy(mem + 0x2000, "abc", 3);
	while (!go() && run->exit_reason == KVM_EXIT_IO && n < 8) {
		uint8_t *data = (uint8_t *)run + run->io.data_offset;

		for (unsigned int i = 0; i < run->io.count; i++) {
			if (run->io.direction == KVM_EXIT_IO_OUT && n < 7)
				got[n++] = data[i];
			else
				((uint16_t *)data)[i] = 0x4241 + 0x0202 * ins++;
		}
	}
	check(!strcmp(got, "abc"), "REP OUTSB wrote \"%s\"", got);
	check(run->exit_reason == KVM_EXIT_HLT && !memcmp(mem + 0x2100, "ABCD", 4),
	      "REP INSW read two words");
}

static void test_mmio(void)
{
	/* Unreal mode is not needed: DS is given a base by KVM_SET_SREGS. */
	static const uint8_t code[] = {
		0xc7, 0x06, 0x10, 0x00, 0xfe, 0xca,	/* mov word [0x10], 0xcafe */
		0xa1, 0x20, 0x00,			/* mov ax, [0x20] */
		0xf4,
	};
	struct kvm_sregs s;

	start(code, sizeof(code));
	s = get_sregs(vcpu);
	s.ds.base = MMIO;
	set_sregs(vcpu, &s);
	check(!go() && run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
	      run->mmio.phys_addr == MMIO + 0x10 && run->mmio.len == 2 &&
	      *(uint16_t *)run->mmio.data == 0xcafe, "MMIO write (exit %u)", run->exit_reason);
	check(!go() && run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write &&
	      run->mmio.phys_addr == MMIO + 0x20 && run->mmio.len == 2, "MMIO read");
	*(uint16_t *)run->mmio.data = 0xbeef;
	check(!go() && run->exit_reason == KVM_EXIT_HLT && (get_regs(vcpu).rax & 0xffff) == 0xbeef,
	      "the value read arrives");
	s = get_sregs(vcpu);
	s.ds.base = 0;
	set_sregs(vcpu, &s);
}

static void test_irq(void)
{
	static const uint8_t code[] = {
		0xfa,			/* cli */
		0xe6, 0x10,		/* out 0x10, al */
		0xfb,			/* sti */
		0x90,			/* nop */
		0xf4,			/* hlt */
	};
	static const uint8_t handler[] = {
		0xe6, 0x20,		/* out 0x20, al */
		0xcf,			/* iret */
	};
	struct kvm_interrupt irq = { .irq = 0x40 };

	start(code, sizeof(code));
	memcpy(mem + 0x3000, handler, sizeof(handler));
	*(uint16_t *)(mem + 0x40 * 4) = 0x3000;
	*(uint16_t *)(mem + 0x40 * 4 + 2) = 0;
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x10 &&
	      !run->if_flag && !run->ready_for_interrupt_injection,
	      "interrupts off: not ready for one");
	run->request_interrupt_window = 1;
	check(!go() && run->exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN && run->if_flag &&
	      run->ready_for_interrupt_injection, "interrupt window (exit %u)",
	      run->exit_reason);
	run->request_interrupt_window = 0;
	check(!ioctl(vcpu, KVM_INTERRUPT, &irq), "KVM_INTERRUPT");
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x20,
	      "the handler runs (exit %u)", run->exit_reason);
	check(!go() && run->exit_reason == KVM_EXIT_HLT, "IRET, then HLT");
}

static void test_nmi(void)
{
	static const uint8_t code[] = { 0x90, 0xe6, 0x11, 0xf4 };
	static const uint8_t handler[] = { 0xe6, 0x21, 0xcf };

	start(code, sizeof(code));
	memcpy(mem + 0x3100, handler, sizeof(handler));
	*(uint16_t *)(mem + 2 * 4) = 0x3100;
	*(uint16_t *)(mem + 2 * 4 + 2) = 0;
	check(!ioctl(vcpu, KVM_NMI), "KVM_NMI");
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x21, "NMI handler");
	check(!go() && run->exit_reason == KVM_EXIT_IO && run->io.port == 0x11, "back from it");
	check(!go() && run->exit_reason == KVM_EXIT_HLT, "HLT");
}

static void test_cpuid_msr(void)
{
	static const uint8_t code[] = {
		0x66, 0xb8, 0x00, 0x00, 0x00, 0x80,	/* mov eax, 0x80000000 */
		0x0f, 0xa2,				/* cpuid */
		0xf4,
		0x66, 0xb9, 0x00, 0x00, 0x00, 0x40,	/* mov ecx, 0x40000000 */
		0x0f, 0x32,				/* rdmsr */
		0xf4,
	};
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL },
	};

	check(!ioctl(vm, KVM_ENABLE_CAP, &cap), "KVM_CAP_X86_USER_SPACE_MSR");
	start(code, sizeof(code));
	check(!go() && run->exit_reason == KVM_EXIT_HLT && get_regs(vcpu).rax >= 0x80000008,
	      "CPUID is emulated");
	check(!go() && run->exit_reason == KVM_EXIT_X86_RDMSR && run->msr.index == 0x40000000,
	      "an unknown MSR comes to user space (exit %u)", run->exit_reason);
	run->msr.data = 0x1122334455667788;
	run->msr.error = 0;
	check(!go() && run->exit_reason == KVM_EXIT_HLT &&
	      (uint32_t)get_regs(vcpu).rax == 0x55667788 && (uint32_t)get_regs(vcpu).rdx == 0x11223344,
	      "its value arrives");
}

static void test_shutdown(void)
{
	static const uint8_t code[] = { 0xcc };
	struct kvm_sregs s;

	start(code, sizeof(code));
	s = get_sregs(vcpu);
	s.idt.limit = 0;
	set_sregs(vcpu, &s);
	check(!go() && run->exit_reason == KVM_EXIT_SHUTDOWN, "triple fault (exit %u)",
	      run->exit_reason);
}

static void nothing(int sig)
{
	(void)sig;
}

static void *kick(void *thread)
{
	struct timespec t = { .tv_nsec = 200000000 };

	nanosleep(&t, NULL);
	pthread_kill(*(pthread_t *)thread, SIGUSR1);
	return NULL;
}

static void test_signal(void)
{
	static const uint8_t code[] = { 0xeb, 0xfe };	/* jmp $ */
	struct sigaction sa = { .sa_handler = nothing };
	pthread_t me = pthread_self(), t;

	sigaction(SIGUSR1, &sa, NULL);
	start(code, sizeof(code));
	pthread_create(&t, NULL, kick, &me);
	check(ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINTR &&
	      run->exit_reason == KVM_EXIT_INTR && get_regs(vcpu).rip == CODE,
	      "a signal stops a guest that loops");
	pthread_join(t, NULL);
}

/* Nested tables with many pages: every page of memory is written and read back. */
static void test_memory(void)
{
	static const uint8_t code[] = {
		/* 32-bit flat */
		0xbf, 0x00, 0x00, 0x10, 0x00,		/* mov edi, 0x100000 */
		0x89, 0x3f,				/* l: mov [edi], edi */
		0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,	/* add edi, 0x1000 */
		0x81, 0xff, 0x00, 0x00, 0x40, 0x00,	/* cmp edi, 0x400000 */
		0x75, 0xf0,				/* jne l */
		0xf4,
	};
	struct kvm_sregs s;
	bool good = true;

	start(code, sizeof(code));
	s = get_sregs(vcpu);
	s.cr0 |= 1;
	s.cs.db = s.ss.db = s.ds.db = s.es.db = 1;
	s.cs.g = s.ss.g = s.ds.g = s.es.g = 1;
	s.cs.limit = s.ss.limit = s.ds.limit = s.es.limit = 0xffffffff;
	set_sregs(vcpu, &s);
	check(!go() && run->exit_reason == KVM_EXIT_HLT, "3 MiB written in protected mode (exit %u)",
	      run->exit_reason);
	for (uint32_t a = 0x100000; a < MEM_SIZE; a += 4096)
		good &= *(uint32_t *)(mem + a) == a;
	check(good, "each page has its value");
}

static void test_cpuid_ioctl(void)
{
	struct kvm_cpuid2 *one = zalloc(sizeof(*one) + sizeof(one->entries[0]));

	one->nent = 1;
	check(ioctl(dev, KVM_GET_SUPPORTED_CPUID, one) && errno == E2BIG,
	      "GET_SUPPORTED_CPUID with a short array is E2BIG");
	free(one);
	cpuid = supported_cpuid(dev);
	check(cpuid->nent > 5, "GET_SUPPORTED_CPUID gives %u entries", cpuid->nent);
}

int main(int argc, char **argv)
{
	unsigned int bad = 0;

	dev = open_device(argc, argv);
	if (!strcmp(argv[argc - 1], "--hold")) {	/* keep a VM until a line is read */
		vm = ioctl(dev, KVM_CREATE_VM, 0);
		if (vm < 0)
			bail("KVM_CREATE_VM");
		printf("holding\n");
		fflush(stdout);
		getchar();
		return 0;
	}
	check(ioctl(dev, KVM_GET_API_VERSION, 0) == KVM_API_VERSION, "API version");
	test_cpuid_ioctl();
	make_vm();
	if (space >= 0)
		check(set_slot(vm, 1, 0, MEM_SIZE, 4096, mem) && errno == EINVAL,
		      "a space's memory at another guest address is refused");
	check(ioctl(vm, KVM_CREATE_VCPU, 0) < 0 && errno == EEXIST, "a vCPU id exists once");
	test_io();
	test_string_io();
	test_mmio();
	test_irq();
	test_nmi();
	test_cpuid_msr();
	test_signal();
	test_memory();
	test_shutdown();
	drop_vm();
	for (unsigned int i = 0; i < 20; i++) {
		make_vm();
		start("\xf4", 1);
		bad += go() || run->exit_reason != KVM_EXIT_HLT;
		drop_vm();
	}
	check(!bad, "20 more machines, each ran and went");
	return tap_done();
}
