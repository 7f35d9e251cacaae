// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvm-bench [-d DEVICE] [N]: what leaving the guest costs, in TSC cycles, with
 * nothing but a loop around KVM_RUN in user space: lines "NAME CYCLES", each the
 * median of several batches of N (1000) exits.  The guest is in long mode with
 * paging, because emulation walks its tables there.
 */
#include "../engine/kvm_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <x86intrin.h>

#define MEM_SIZE	(2UL << 20)
#define PML4		0x10000UL
#define PDPT		0x11000UL
#define PD_LOW		0x12000UL
#define PD_MMIO		0x13000UL
#define IDT		0x14000UL
#define GDT		0x15000UL
#define TSS		0x16000UL
#define MMIO		0xd0000000UL
#define TOUCHED		0x40000000UL	/* a slot that comes and goes, mapped at 2 MiB */
#define TOUCHED_PAGES	512UL
#define VECTOR		0x40
#define DONE_PORT	0x11

#define BATCHES		7

static int dev, vm, vcpu;
static uint8_t *mem, *touched;
static struct kvm_run *run;
static unsigned int n = 1000;

/* Guest code: any of these, copied to CODE; RDI counts, RBX is an address. */
#define GUEST(name, code)						\
	extern const uint8_t guest_##name[], guest_##name##_end[];	\
	__asm__(".pushsection .rodata\nguest_" #name ":\n" code		\
		"\nguest_" #name "_end:\n.popsection")

GUEST(cpuid, "1: xorl %eax, %eax; cpuid; decl %edi; jnz 1b; outb %al, $0x11");
GUEST(out, "1: outb %al, $0x10; jmp 1b");
GUEST(in, "1: inb $0x10, %al; jmp 1b");
GUEST(store, "movq %rbx, %rcx; 1: movl %eax, (%rcx); jmp 1b");
GUEST(load, "movq %rbx, %rcx; 1: movl (%rcx), %eax; jmp 1b");
GUEST(touch, "1: movb %al, (%rbx); addq $4096, %rbx; decl %edi; jnz 1b; outb %al, $0x11");
GUEST(halt, "1: sti; hlt; jmp 1b");
GUEST(handler, "iretq");

static void put64(uint64_t gpa, uint64_t v)
{
	memcpy(mem + gpa, &v, sizeof(v));
}

/* Memory and the device where they are, the slot TOUCHED behind memory. */
static void make_tables(void)
{
	put64(PML4, PDPT | 3);
	put64(PDPT, PD_LOW | 3);
	put64(PDPT + 3 * 8, PD_MMIO | 3);
	put64(PD_LOW, 0 | 0x83);
	put64(PD_LOW + 8, TOUCHED | 0x83);
	put64(PD_MMIO + (MMIO >> 21 & 511) * 8, MMIO | 0x83);
	put64(GDT + 8, 0x00af9b000000ffff);
	put64(GDT + 16, 0x00cf93000000ffff);
	/* An interrupt gate: CODE's segment, at 0x3000. */
	put64(IDT + VECTOR * 16, 0x3000 | 8 << 16 | 0x8eULL << 40);
	memcpy(mem + 0x3000, guest_handler, guest_handler_end - guest_handler);
}

static void make_vm(void)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(dev);

	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	mem = map(NULL, MEM_SIZE, MAP_PRIVATE, -1);
	touched = map(NULL, TOUCHED_PAGES << 12, MAP_PRIVATE, -1);
	madvise(mem, MEM_SIZE, MADV_NOHUGEPAGE);
	madvise(touched, TOUCHED_PAGES << 12, MADV_NOHUGEPAGE);
	memset(mem, 0, MEM_SIZE);
	memset(touched, 1, TOUCHED_PAGES << 12);
	make_tables();
	if (set_slot(vm, 0, 0, 0, MEM_SIZE, mem))
		bail("KVM_SET_USER_MEMORY_REGION");
	vcpu = make_vcpu(dev, vm, 0, &run);
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		bail("KVM_SET_CPUID2");
	free(cpuid);
}

static void start(const uint8_t *code, const uint8_t *end, uint64_t rdi, uint64_t rbx)
{
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = 2, .rdi = rdi, .rbx = rbx };
	struct kvm_segment cs = {
		.limit = ~0U, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment ds = cs;
	struct kvm_sregs s = get_sregs(vcpu);

	memcpy(mem + CODE, code, end - code);
	ds.selector = 16;
	ds.type = 3;
	ds.l = 0;
	ds.db = 1;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 103, .selector = 24, .type = 11, .present = 1 };
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = IDT;
	s.idt.limit = 4095;
	s.cr3 = PML4;
	s.cr4 = 0x20;
	s.efer = 0x500;
	s.cr0 = 0x80010011;
	set_sregs(vcpu, &s);
	if (ioctl(vcpu, KVM_SET_REGS, &regs))
		bail("KVM_SET_REGS");
}
#define START(name, rdi, rbx) start(guest_##name, guest_##name##_end, rdi, rbx)

static void go(unsigned int reason)
{
	while (ioctl(vcpu, KVM_RUN, 0))
		if (errno != EINTR && errno != EAGAIN)
			bail("KVM_RUN");
	if (run->exit_reason == reason)
		return;
	printf("# exit %u at %#llx instead of %u\n", run->exit_reason,
	       (unsigned long long)get_regs(vcpu).rip, reason);
	errno = EPROTO;
	bail("the guest");
}

/* ---- each returns the cycles of one batch */

static uint64_t batch_cpuid(void)
{
	uint64_t t;

	START(cpuid, n, 0);
	t = __rdtsc();
	go(KVM_EXIT_IO);
	return __rdtsc() - t;
}

static uint64_t exits(unsigned int reason)
{
	uint64_t t;

	go(reason);		/* its first pages, tables and code */
	t = __rdtsc();
	for (unsigned int i = 0; i < n; i++)
		go(reason);
	return __rdtsc() - t;
}

static uint64_t batch_out(void)
{
	START(out, 0, 0);
	return exits(KVM_EXIT_IO);
}

static uint64_t batch_in(void)
{
	START(in, 0, 0);
	return exits(KVM_EXIT_IO);
}

static uint64_t batch_store(void)
{
	START(store, 0, MMIO);
	return exits(KVM_EXIT_MMIO);
}

static uint64_t batch_load(void)
{
	START(load, 0, MMIO);
	return exits(KVM_EXIT_MMIO);
}

/* HLT out to user space, an interrupt in, its handler, HLT again. */
static uint64_t batch_irq(void)
{
	struct kvm_interrupt irq = { .irq = VECTOR };
	uint64_t t;

	START(halt, 0, 0);
	go(KVM_EXIT_HLT);
	t = __rdtsc();
	for (unsigned int i = 0; i < n; i++) {
		if (ioctl(vcpu, KVM_INTERRUPT, &irq))
			bail("KVM_INTERRUPT");
		go(KVM_EXIT_HLT);
	}
	return __rdtsc() - t;
}

/* Nested faults on 4 KiB pages that the process has: scaled to n of them. */
static uint64_t batch_touch(void)
{
	uint64_t t;

	set_slot(vm, 1, 0, 0, 0, NULL);
	if (set_slot(vm, 1, 0, TOUCHED, TOUCHED_PAGES << 12, touched))
		bail("KVM_SET_USER_MEMORY_REGION");
	START(touch, TOUCHED_PAGES, MEM_SIZE);
	t = __rdtsc();
	go(KVM_EXIT_IO);
	return (__rdtsc() - t) * n / TOUCHED_PAGES;
}

/* Leave one exit that is not answered yet behind, and nothing pending. */
static void settle(void)
{
	run->immediate_exit = 1;
	ioctl(vcpu, KVM_RUN, 0);
	run->immediate_exit = 0;
}

static int order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const char *name, uint64_t (*batch)(void))
{
	uint64_t t[BATCHES];

	batch();	/* warm */
	settle();
	for (unsigned int i = 0; i < BATCHES; i++) {
		t[i] = batch();
		settle();
	}
	qsort(t, BATCHES, sizeof(t[0]), order);
	printf("%s %llu\n", name, (unsigned long long)(t[BATCHES / 2] / n));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	dev = open_device(argc, argv);
	if (argc % 2 == 0)
		n = strtoul(argv[argc - 1], NULL, 0);
	if (!n) {
		fprintf(stderr, "usage: kvm-bench [-d DEVICE] [N]\n");
		return 2;
	}
	make_vm();
	measure("cpuid", batch_cpuid);
	measure("port-out", batch_out);
	measure("port-in", batch_in);
	measure("mmio-store", batch_store);
	measure("mmio-load", batch_load);
	measure("hlt-irq", batch_irq);
	measure("page-fault", batch_touch);
	return 0;
}
