// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory slots on ordinary memory of the process: what the process does to its
 * mappings is what the guest sees, read-only slots, the dirty log, slots that
 * move and go.  On /dev/cvmm, or with "-d /dev/kvm" the same on stock KVM.  TAP.
 */
#include "kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CODE_SIZE	0x10000UL	/* slot 0, which stays */
#define DATA		0x100000UL	/* slot 1, in which things happen */
#define DATA_PAGES	64UL
#define DATA_SIZE	(DATA_PAGES << 12)
#define MOVED		0x400000UL

static int dev, vm, vcpu;
static uint8_t *code_mem, *data;
static struct kvm_run *run;

static void make_vm(void)
{
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	code_mem = map(NULL, CODE_SIZE, MAP_PRIVATE, -1);
	data = map(NULL, DATA_SIZE, MAP_PRIVATE, -1);
	if (set_slot(vm, 0, 0, 0, CODE_SIZE, code_mem) ||
	    set_slot(vm, 1, 0, DATA, DATA_SIZE, data))
		bail("KVM_SET_USER_MEMORY_REGION");
	vcpu = make_vcpu(dev, vm, 0, &run);
}

/* DS and ES begin at @base. */
static void start(const void *code, size_t len, uint64_t base)
{
	memcpy(code_mem + CODE, code, len);
	real_mode(vcpu, base);
}

static int go(void)
{
	return ioctl(vcpu, KVM_RUN, 0);
}

static uint64_t rax(void)
{
	return get_regs(vcpu).rax;
}

/* The guest stores a byte at @gpa. */
static int guest_store(uint64_t gpa, uint8_t val)
{
	uint8_t code[] = { 0xc6, 0x06, 0, 0, val, 0xf4 };	/* mov byte [0], val; hlt */

	start(code, sizeof(code), gpa);
	return go();
}

/* The guest loads a byte from @gpa: < 0 when it did not come to its HLT. */
static int guest_load(uint64_t gpa)
{
	static const uint8_t code[] = { 0xa0, 0, 0, 0xf4 };	/* mov al, [0]; hlt */

	start(code, sizeof(code), gpa);
	if (go() || run->exit_reason != KVM_EXIT_HLT)
		return -1;
	return rax() & 0xff;
}

static bool hlt(void)
{
	return run->exit_reason == KVM_EXIT_HLT;
}

static void test_mappings(void)
{
	int fd;

	check(guest_load(DATA) == 0, "memory that nobody has touched reads as zero");
	check(!guest_store(DATA, 0x11) && hlt() && data[0] == 0x11, "the process sees a store");
	data[0] = 0x22;
	check(guest_load(DATA) == 0x22, "the guest sees a store of the process");
	madvise(data, 4096, MADV_DONTNEED);
	check(guest_load(DATA) == 0, "MADV_DONTNEED takes the page from the guest");
	check(!guest_store(DATA, 0x33) && hlt() && data[0] == 0x33, "and it gets a new one");

	map(data, 4096, MAP_PRIVATE, -1);
	data[0] = 0x44;
	check(guest_load(DATA) == 0x44, "another mapping in its place");

	munmap(data, 4096);
	check(guest_store(DATA, 1) == -1 && errno == EFAULT, "no mapping: KVM_RUN fails with EFAULT");
	map(data, 4096, MAP_PRIVATE, -1);
	check(!go() && hlt() && data[0] == 1, "the store is done when there is one again");

	mprotect(data, 4096, PROT_READ);
	check(guest_load(DATA) == 1, "PROT_READ lets the guest read");
	check(guest_store(DATA, 2) == -1 && errno == EFAULT && data[0] == 1, "and not write");
	mprotect(data, 4096, PROT_READ | PROT_WRITE);
	check(!go() && hlt() && data[0] == 2, "until it may");

	fd = memfd_create("slot", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 8192))
		bail("memfd");
	map(data + 4096, 8192, MAP_SHARED, fd);
	check(!guest_store(DATA + 4096, 0x55) && hlt() && data[4096] == 0x55, "a shared file");
	check(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) &&
	      guest_load(DATA + 4096) == 0, "a hole punched in it");
	check(!ftruncate(fd, 4096) && guest_load(DATA + 8192) == -1, "beyond its end is nothing");
	close(fd);
	map(data, DATA_SIZE, MAP_PRIVATE, -1);
}

static void test_fork(void)
{
	int in[2], out[2], status;
	char c = 0;
	pid_t pid;

	guest_store(DATA, 0x10);
	if (pipe(in) || pipe(out))
		bail("pipe");
	pid = fork();
	if (pid < 0)
		bail("fork");
	if (!pid) {
		bool foreign = ioctl(vcpu, KVM_RUN, 0) && errno == EIO &&
			       ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) == -1 &&
			       errno == EIO;

		_exit(read(in[0], &c, 1) == 1 && data[0] == 0x10 && foreign ? 0 :
		      !foreign ? 2 : 1);
	}
	check(!guest_store(DATA, 0x20) && hlt() && data[0] == 0x20, "the guest writes after a fork");
	if (write(in[1], &c, 1) != 1)
		bail("write");
	waitpid(pid, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) != 1, "the child keeps the old page");
	check(WIFEXITED(status) && WEXITSTATUS(status) != 2, "and may not use the VM (EIO)");
	close(in[0]);
	close(in[1]);
	close(out[0]);
	close(out[1]);
}

static void test_slots(void)
{
	check(set_slot(vm, 2, 0, DATA + 4096, 4096, code_mem) == -1 && errno == EEXIST, "overlap: EEXIST");
	check(set_slot(vm, 2, 0, MOVED + 1, 4096, code_mem) == -1 && errno == EINVAL, "alignment: EINVAL");
	check(set_slot(vm, 2, 0x80, MOVED, 4096, code_mem) == -1 && errno == EINVAL,
	      "unknown flag: EINVAL");
	check(set_slot(vm, 2, 0, MOVED, 0, NULL) == -1 && errno == EINVAL, "removing nothing: EINVAL");
	check(set_slot(vm, 1, 0, DATA, DATA_SIZE - 4096, data) == -1 && errno == EINVAL,
	      "a slot's size stays: EINVAL");
	check(!set_slot(vm, 1, 0, DATA, DATA_SIZE, data), "the same slot again");
	check(set_slot(vm, 40000, 0, MOVED, 4096, code_mem) == -1 && errno == EINVAL,
	      "slot number: EINVAL");

	guest_store(DATA, 0x66);
	check(!set_slot(vm, 1, 0, MOVED, DATA_SIZE, data), "a slot moves");
	check(guest_load(MOVED) == 0x66, "its memory is there");
	check(guest_load(DATA) == -1 && run->exit_reason == KVM_EXIT_MMIO, "and is not where it was");
	run->immediate_exit = 1;
	go();
	run->immediate_exit = 0;
	check(!set_slot(vm, 1, 0, 0, 0, NULL), "a slot goes");
	check(!guest_store(MOVED, 1) && run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
	      run->mmio.phys_addr == MOVED && data[0] == 0x66, "and its memory with it");
	run->immediate_exit = 1;
	go();
	run->immediate_exit = 0;
	check(!set_slot(vm, 1, 0, DATA, DATA_SIZE, data) && guest_load(DATA) == 0x66, "and comes again");
}

static void test_readonly(void)
{
	static const uint8_t rmw[] = { 0xfe, 0x06, 0x00, 0x00, 0xf4 };	/* inc byte [0]; hlt */

	check(set_slot(vm, 1, KVM_MEM_READONLY, DATA, DATA_SIZE, data) == -1 && errno == EINVAL,
	      "a slot does not become read-only");
	set_slot(vm, 1, 0, 0, 0, NULL);
	data[0] = 0x77;
	check(!set_slot(vm, 1, KVM_MEM_READONLY, DATA, DATA_SIZE, data), "a read-only slot");
	check(guest_load(DATA) == 0x77, "is read");
	check(!guest_store(DATA, 0x78) && run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
	      run->mmio.phys_addr == DATA && run->mmio.len == 1 && run->mmio.data[0] == 0x78,
	      "a store exits as MMIO");
	check(!go() && hlt() && data[0] == 0x77, "and is done with that");
	start(rmw, sizeof(rmw), DATA);
	check(!go() && run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
	      run->mmio.data[0] == 0x78, "a read-modify-write reads memory and exits with the store");
	check(!go() && hlt() && data[0] == 0x77, "nothing is changed");
	data[0] = 0x79;
	check(guest_load(DATA) == 0x79, "the process may write to it");
	set_slot(vm, 1, 0, 0, 0, NULL);
	set_slot(vm, 1, 0, DATA, DATA_SIZE, data);
}

static uint64_t dirty(void)
{
	static uint64_t bits[DATA_PAGES / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bits };

	memset(bits, 0, sizeof(bits));
	if (ioctl(vm, KVM_GET_DIRTY_LOG, &log))
		return UINT64_MAX;
	return bits[0];
}

static void test_dirty(void)
{
	static const uint8_t ins[] = { 0x31, 0xff, 0x6c, 0xf4 };	/* xor di, di; insb; hlt */
	struct kvm_dirty_log bad = { .slot = 0, .dirty_bitmap = data };

	check(ioctl(vm, KVM_GET_DIRTY_LOG, &bad) == -1 && errno == ENOENT, "no log: ENOENT");
	bad.slot = 40000;
	check(ioctl(vm, KVM_GET_DIRTY_LOG, &bad) == -1 && errno == EINVAL, "no such slot: EINVAL");
	guest_store(DATA, 1);
	guest_store(DATA + 5 * 4096, 1);
	check(!set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, DATA, DATA_SIZE, data), "logging begins");
	dirty();	/* what was written before may be reported or not */
	check(dirty() == 0, "nothing was written");
	guest_load(DATA + 7 * 4096);
	check(dirty() == 0, "a load is no write");
	guest_store(DATA, 2);
	guest_store(DATA + 3 * 4096, 2);
	guest_store(DATA + 63 * 4096, 2);
	check(dirty() == (1 | 1 << 3 | 1ULL << 63), "three pages were");
	check(dirty() == 0, "told once");
	guest_store(DATA + 3 * 4096, 3);
	check(dirty() == 1 << 3, "written again, told again");
	start(ins, sizeof(ins), DATA + 9 * 4096);
	check(!go() && run->exit_reason == KVM_EXIT_IO && !go() && hlt() && dirty() == 1 << 9,
	      "written by an emulated instruction");
	madvise(data + 3 * 4096, 4096, MADV_DONTNEED);
	guest_store(DATA + 3 * 4096, 4);
	check(dirty() == 1 << 3, "after the page went and came");
	check(!set_slot(vm, 1, 0, DATA, DATA_SIZE, data) && dirty() == UINT64_MAX, "logging ends");
	guest_store(DATA, 5);
	check(data[0] == 5, "and the guest writes on");
}

static atomic_bool stop;

/* Takes the guest's pages away as fast as it can. */
static void *churn(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; !stop; i++) {
		uint8_t *page = data + (1 + i % 8) * 4096;

		switch (i / 8 % 3) {
		case 0:
			madvise(page, 4096, MADV_DONTNEED);
			break;
		case 1:
			mprotect(page, 4096, PROT_READ);
			mprotect(page, 4096, PROT_READ | PROT_WRITE);
			break;
		case 2:
			map(page, 4096, MAP_PRIVATE, -1);
		}
		if (!(i % 64))
			usleep(1000);
	}
	return NULL;
}

/*
 * The guest counts in page 0 and in AX, and writes to eight pages that come and
 * go meanwhile: each new one must be empty, or hold what it wrote itself.
 */
static void test_race(void)
{
	static const uint8_t code[] = {
		0x31, 0xc0,			/* xor ax, ax */
		0x40,				/* l: inc ax */
		0xff, 0x06, 0x00, 0x00,		/* inc word [0] */
		0xbb, 0x00, 0x10,		/* mov bx, 0x1000 */
		0x89, 0x07,			/* m: mov [bx], ax */
		0x81, 0xc3, 0x00, 0x10,		/* add bx, 0x1000 */
		0x81, 0xfb, 0x00, 0x90,		/* cmp bx, 0x9000 */
		0x75, 0xf4,			/* jne m */
		0x3d, 0x00, 0x20,		/* cmp ax, 0x2000 */
		0x75, 0xe7,			/* jne l */
		0xf4,
	};
	struct timespec t0, t;
	unsigned int rounds = 0, faults = 0;
	bool good = true;
	pthread_t th;

	if (pthread_create(&th, NULL, churn, NULL))
		bail("pthread_create");
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		data[0] = data[1] = 0;
		start(code, sizeof(code), DATA);
		while (go() == -1) {
			/* The page may be read-only or gone just then. */
			if (errno != EFAULT && errno != EINTR && errno != EAGAIN)
				break;
			faults++;
		}
		good &= hlt() && (rax() & 0xffff) == 0x2000 && data[0] == 0 && data[1] == 0x20;
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (good && t.tv_sec - t0.tv_sec < 4);
	stop = true;
	pthread_join(th, NULL);
	check(good, "a guest on memory that comes and goes counts right");
	printf("# %u rounds, %u times EFAULT\n", rounds, faults);
}

/* A VM outlives its memory and its descriptors, in any order. */
static void test_ends(void)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < 12; i++) {
		make_vm();
		guest_store(DATA, 1);
		bad += !hlt();
		if (i & 1)
			munmap(data, DATA_SIZE);
		if (i & 2)
			close(vm);
		munmap(run, run_size(dev));
		close(vcpu);
		if (!(i & 2))
			close(vm);
		if (!(i & 1))
			munmap(data, DATA_SIZE);
		munmap(code_mem, CODE_SIZE);
	}
	check(!bad, "12 more machines ended in several ways");
}

/* On our engine: a VM with memory of its own that has a space for its name and counters. */
static void test_join(void)
{
	int space, other, several, err;
	time_t end;

	make_vm();
	space = make_space(dev, "join", 0, 1);
	other = make_space(dev, "other", 0, 1);
	several = make_space(dev, "several", 4096, 2);
	check(space >= 0 && other >= 0 && several >= 0, "spaces, two of them without pages");
	check(make_space(dev, "none", 0, 2) < 0 && errno == EINVAL, "none of two hosts without pages");
	check(ioctl(vm, CVMM_VM_JOIN_SPACE, -1) < 0 && errno == EBADF &&
	      ioctl(vm, CVMM_VM_JOIN_SPACE, dev) < 0 && errno == EBADF, "a VM joins no other file");
	check(ioctl(vm, CVMM_VM_JOIN_SPACE, several) < 0 && errno == EINVAL,
	      "with memory of its own it joins no other host");
	check(!ioctl(vm, CVMM_VM_JOIN_SPACE, space), "it joins a space");
	check(ioctl(vm, CVMM_VM_JOIN_SPACE, other) < 0 && errno == EINVAL, "one only");
	check(!guest_store(DATA, 7) && hlt() && data[0] == 7, "its memory is its own");
	ioctl(space, CVMM_SPACE_FAIL);
	close(space);
	/* Told by another thread of the kernel. */
	for (end = time(NULL) + 10; !(err = guest_store(DATA, 8)) && time(NULL) < end; )
		;
	check(err && errno == EIO, "it ends with its space");
	close(other);
	close(several);
	munmap(run, run_size(dev));
	close(vcpu);
	close(vm);
	munmap(data, DATA_SIZE);
	munmap(code_mem, CODE_SIZE);
}

int main(int argc, char **argv)
{
	dev = open_device(argc, argv);
	check(ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_MMU) == 1 &&
	      ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) == 1, "capabilities");
	make_vm();
	test_mappings();
	test_fork();
	test_slots();
	test_readonly();
	test_dirty();
	test_race();
	test_ends();
	if (on_cvmm())
		test_join();
	/* The first VM goes with the process, still in use. */
	return tap_done();
}
