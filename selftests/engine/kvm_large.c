// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Large nested mappings: huge pages of the process are mapped as such, and what the
 * process, the dirty log or the kernel does to a part of one is what the guest sees.
 * The counts of nested pages come from KVM_GET_STATS_FD.  On /dev/cvmm, or with
 * "-d /dev/kvm" the same on stock KVM.  TAP.  As root, for hugetlbfs and compaction.
 */
#include "kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define MIB		(1UL << 20)
#define HUGE		(2 * MIB)
#define PAGE		4096UL
#define CODE_SIZE	0x10000UL	/* slot 0, which stays */
#define DATA		(16 * MIB)	/* slot 1, in which things happen */
#define BLOCKS		4UL
#define DATA_SIZE	(BLOCKS * HUGE)
#define OTHER		(64 * MIB)	/* slot 2 */

static int dev, vm, vcpu, stats;
static uint8_t *code_mem, *data;
static struct kvm_run *run;

static void *private(void *at, size_t size)
{
	return map(at, size, MAP_PRIVATE, -1);
}

/* Aligned to huge pages, and of huge pages when it is touched. */
static uint8_t *map_huge(size_t size)
{
	uint8_t *p = private(NULL, size + HUGE);

	p = (uint8_t *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (madvise(p, size, MADV_HUGEPAGE))
		bail("MADV_HUGEPAGE");
	return p;
}

/* Huge pages that the process itself maps in the area that begins at @at. */
static unsigned long huge_pages(void *at)
{
	unsigned long from, to, kb, sum = 0;
	bool in = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f)
		bail("/proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			in = from >= (uintptr_t)at && from < (uintptr_t)at + DATA_SIZE;
		else if (in && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum / 2048;
}

static uint64_t large(void)
{
	return vm_stat(stats, "pages_2m");
}

/* 32-bit, flat, without paging. */
static void start(const void *code, size_t len, const struct kvm_regs *given)
{
	struct kvm_segment seg = { .limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .db = 1,
				   .g = 1, .selector = 0x10 };
	struct kvm_sregs s = get_sregs(vcpu);
	struct kvm_regs regs = *given;

	memcpy(code_mem + CODE, code, len);
	s.ds = s.es = s.ss = s.fs = s.gs = s.cs = seg;
	s.cs.type = 11;
	s.cs.selector = 8;
	s.cr0 |= 1;
	regs.rip = CODE;
	regs.rflags = 2;
	set_sregs(vcpu, &s);
	if (ioctl(vcpu, KVM_SET_REGS, &regs))
		bail("KVM_SET_REGS");
}

static int go(void)
{
	return ioctl(vcpu, KVM_RUN, 0);
}

static bool hlt(void)
{
	return run->exit_reason == KVM_EXIT_HLT;
}

static int guest_store(uint64_t gpa, uint8_t val)
{
	static const uint8_t code[] = { 0x88, 0x07, 0xf4 };	/* mov [edi], al; hlt */

	start(code, sizeof(code), &(struct kvm_regs){ .rdi = gpa, .rax = val });
	return go();
}

static int guest_load(uint64_t gpa)
{
	static const uint8_t code[] = { 0x8a, 0x07, 0xf4 };	/* mov al, [edi]; hlt */

	start(code, sizeof(code), &(struct kvm_regs){ .rdi = gpa });
	if (go() || !hlt())
		return -1;
	return get_regs(vcpu).rax & 0xff;
}

/* The guest writes @val + n to the first word of each page n. */
static bool guest_fill(uint64_t gpa, size_t size, uint32_t val)
{
	static const uint8_t code[] = {
		0x89, 0x07,				/* l: mov [edi], eax */
		0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,	/* add edi, 0x1000 */
		0x40,					/* inc eax */
		0x49,					/* dec ecx */
		0x75, 0xf4,				/* jnz l */
		0xf4,
	};

	start(code, sizeof(code), &(struct kvm_regs){ .rdi = gpa, .rax = val, .rcx = size / PAGE });
	return !go() && hlt();
}

static uint32_t word(const uint8_t *at, size_t page)
{
	return *(volatile const uint32_t *)(at + page * PAGE);
}

static bool filled(const uint8_t *at, size_t size, uint32_t val)
{
	for (size_t i = 0; i < size / PAGE; i++)
		if (word(at, i) != val + i)
			return false;
	return true;
}

static bool fill(uint32_t val)
{
	return guest_fill(DATA, DATA_SIZE, val) && filled(data, DATA_SIZE, val);
}

static void make_vm(void)
{
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	if (vm < 0)
		bail("KVM_CREATE_VM");
	code_mem = private(NULL, CODE_SIZE);
	if (set_slot(vm, 0, 0, 0, CODE_SIZE, code_mem))
		bail("KVM_SET_USER_MEMORY_REGION");
	vcpu = make_vcpu(dev, vm, 0, &run);
	stats = open_stats(vm);
}

/* Slot 1 anew, of huge pages in the process. */
static void fresh(unsigned int flags)
{
	set_slot(vm, 1, 0, 0, 0, NULL);
	if (data)
		munmap(data, DATA_SIZE);
	data = map_huge(DATA_SIZE);
	memset(data, 0x5a, DATA_SIZE);
	if (set_slot(vm, 1, flags, DATA, DATA_SIZE, data))
		bail("KVM_SET_USER_MEMORY_REGION");
	if (huge_pages(data) != BLOCKS)
		printf("# the process has %lu huge pages of %lu\n", huge_pages(data), BLOCKS);
}

static void test_map(void)
{
	uint64_t before = vm_stat(stats, "pages_4k");

	check(huge_pages(data) == BLOCKS, "the process has its memory in huge pages");
	check(fill(1), "the guest writes to all of it");
	check(large() == BLOCKS, "mapped by large pages: %llu", (unsigned long long)large());
	check(vm_stat(stats, "pages_4k") <= before + 1, "and by nothing else");
	data[HUGE + 5 * PAGE + 7] = 0x77;
	check(guest_load(DATA + HUGE + 5 * PAGE + 7) == 0x77, "the guest sees the process's store");
}

/* Each takes a part of a large page away: the rest stays as it was. */
static void test_parts(void)
{
	uint8_t *part = data + HUGE + 9 * PAGE;
	uint64_t gpa = DATA + HUGE + 9 * PAGE;

	fill(100);
	madvise(part, PAGE, MADV_DONTNEED);
	check(guest_load(gpa) == 0 && guest_load(gpa + 3) == 0,
	      "MADV_DONTNEED takes a page out of a huge one");
	check(!guest_store(gpa, 0x31) && hlt() && part[0] == 0x31, "and it gets a new one");
	check(word(data, 512 + 8) == 100 + 512 + 8 && guest_load(DATA + HUGE + 8 * PAGE) ==
	      ((100 + 512 + 8) & 0xff), "its neighbours are as before");
	check(large() == BLOCKS - 1, "one large page less");

	part = data + 2 * HUGE + 100 * PAGE;
	gpa = DATA + 2 * HUGE + 100 * PAGE;
	munmap(part, 64 * PAGE);
	check(guest_store(gpa, 1) == -1 && errno == EFAULT &&
	      guest_store(gpa + 63 * PAGE, 1) == -1 && errno == EFAULT,
	      "munmap of a part: KVM_RUN fails with EFAULT");
	check(guest_load(gpa - PAGE) == ((100 + 1024 + 99) & 0xff) &&
	      guest_load(gpa + 64 * PAGE) == ((100 + 1024 + 164) & 0xff),
	      "what is left before and behind it");
	private(part, 64 * PAGE);
	part[0] = 0x66;
	check(guest_load(gpa) == 0x66, "another mapping in its place");

	part = data + 3 * HUGE + 511 * PAGE;
	gpa = DATA + 3 * HUGE + 511 * PAGE;
	mprotect(part, PAGE, PROT_READ);
	check(guest_load(gpa) == ((100 + 2047) & 0xff), "PROT_READ of a part lets the guest read");
	check(guest_store(gpa, 1) == -1 && errno == EFAULT, "and not write");
	check(!guest_store(gpa - PAGE, 0x44) && hlt() && part[-(long)PAGE] == 0x44,
	      "its neighbour is written");
	mprotect(part, PAGE, PROT_READ | PROT_WRITE);
	check(!guest_store(gpa, 0x45) && hlt() && part[0] == 0x45, "until it may");
	check(large() == 1 && fill(200), "everything is small but the untouched one");
}

/* Small pages become a huge one under a guest that has the small ones mapped. */
static void test_collapse(void)
{
	uint64_t before;

	fresh(0);
	fill(300);
	madvise(data + HUGE, PAGE, MADV_DONTNEED);
	fill(400);
	before = large();
	if (madvise(data + HUGE, HUGE, MADV_COLLAPSE)) {
		skip("the kernel makes a huge page", "no MADV_COLLAPSE");
		return;
	}
	check(before == BLOCKS - 1 && huge_pages(data) == BLOCKS, "the kernel makes a huge page");
	check(filled(data, DATA_SIZE, 400) && fill(500), "the guest's memory is what it was");
	check(large() == BLOCKS, "mapped by a large page again");
}

static void test_fork(void)
{
	int in[2], status;
	char c = 0;
	pid_t pid;

	fresh(0);
	fill(600);
	if (pipe(in))
		bail("pipe");
	pid = fork();
	if (pid < 0)
		bail("fork");
	if (!pid)
		_exit(read(in[0], &c, 1) == 1 && filled(data, DATA_SIZE, 600) ? 0 : 1);
	check(guest_load(DATA + HUGE) == ((600 + 512) & 0xff), "the guest reads after a fork");
	check(fill(700), "and writes");
	if (write(in[1], &c, 1) != 1)
		bail("write");
	waitpid(pid, &status, 0);
	check(WIFEXITED(status) && !WEXITSTATUS(status), "the child keeps the old pages");
	close(in[0]);
	close(in[1]);
}

static void test_dirty(void)
{
	static uint64_t bits[DATA_SIZE / PAGE / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bits };
	unsigned int set = 0;

	fresh(0);
	fill(800);
	check(large() == BLOCKS, "large pages before the log");
	if (set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, DATA, DATA_SIZE, data))
		bail("KVM_MEM_LOG_DIRTY_PAGES");
	ioctl(vm, KVM_GET_DIRTY_LOG, &log);
	guest_load(DATA + 70 * PAGE);
	guest_store(DATA + 70 * PAGE, 0x11);
	guest_store(DATA + 73 * PAGE, 0x12);
	guest_store(DATA + 2 * HUGE + 511 * PAGE, 0x13);
	if (ioctl(vm, KVM_GET_DIRTY_LOG, &log))
		bail("KVM_GET_DIRTY_LOG");
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		set += __builtin_popcountll(bits[i]);
	check(set == 3 && bits[1] == (1 << 6 | 1 << 9) && bits[(1024 + 511) / 64] == 1ULL << 63,
	      "the log has the three pages that were written: %u", set);
	check(large() <= BLOCKS - 2, "what was written to is mapped by small pages");
	guest_store(DATA + 70 * PAGE, 0x14);
	ioctl(vm, KVM_GET_DIRTY_LOG, &log);
	check(bits[1] == 1 << 6, "written again, told again");
	check(fill(900), "the guest writes to all of it");
	check(large() == 0, "all is mapped by small pages");
	ioctl(vm, KVM_GET_DIRTY_LOG, &log);
	set = 0;
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		set += __builtin_popcountll(bits[i]);
	check(set == DATA_SIZE / PAGE, "and the log has all");
	fill(1000);
	if (set_slot(vm, 1, 0, DATA, DATA_SIZE, data))
		bail("end of the log");
	check(filled(data, DATA_SIZE, 1000) && fill(1100), "the log ends, the guest writes on");
	check(large() == BLOCKS, "mapped by large pages again: %llu", (unsigned long long)large());
}

/* Slots that large pages do not fit. */
static void test_shapes(void)
{
	uint8_t *mem = map_huge(DATA_SIZE);

	/* Only one slot: KVM forgets all mappings when one changes. */
	set_slot(vm, 1, 0, 0, 0, NULL);
	memset(mem, 0, DATA_SIZE);
	if (set_slot(vm, 2, 0, OTHER, DATA_SIZE - HUGE, mem + PAGE))
		bail("slot");
	check(guest_fill(OTHER, DATA_SIZE - HUGE, 7) && filled(mem + PAGE, DATA_SIZE - HUGE, 7) &&
	      word(mem, 0) == 0, "a slot that is aligned unlike its memory");
	check(large() == 0, "has small pages only");
	set_slot(vm, 2, 0, 0, 0, NULL);

	memset(mem, 0, DATA_SIZE);
	if (set_slot(vm, 2, 0, OTHER + MIB, 3 * MIB, mem + MIB))
		bail("slot");
	check(guest_fill(OTHER + MIB, 3 * MIB, 9) && filled(mem + MIB, 3 * MIB, 9) &&
	      word(mem, 255) == 0 && word(mem, 1024) == 0, "a slot that begins within a huge page");
	check(large() == 1, "has a large page where a whole one is in it");
	check(guest_store(OTHER + MIB - PAGE, 1) == 0 && run->exit_reason == KVM_EXIT_MMIO &&
	      run->mmio.phys_addr == OTHER + MIB - PAGE, "and ends where it says");
	run->immediate_exit = 1;
	go();
	run->immediate_exit = 0;
	set_slot(vm, 2, 0, 0, 0, NULL);
	check(large() == 0, "its mappings go with it");

	memset(mem, 0x21, DATA_SIZE);
	if (set_slot(vm, 2, KVM_MEM_READONLY, OTHER, DATA_SIZE, mem))
		bail("slot");
	check(guest_load(OTHER + HUGE) == 0x21, "a read-only slot");
	check(large() == 1, "is mapped by large pages");
	check(!guest_store(OTHER + HUGE, 0x22) && run->exit_reason == KVM_EXIT_MMIO &&
	      run->mmio.phys_addr == OTHER + HUGE && mem[HUGE] == 0x21, "a store exits as MMIO");
	run->immediate_exit = 1;
	go();
	run->immediate_exit = 0;
	mem[HUGE] = 0x23;
	check(guest_load(OTHER + HUGE) == 0x23, "the process may write to it");
	set_slot(vm, 2, 0, 0, 0, NULL);
	munmap(mem, DATA_SIZE);
}

static int write_file(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, val, strlen(val));
	close(fd);
	return n < 0 ? -1 : 0;
}

static void test_hugetlb(void)
{
	uint8_t *mem = MAP_FAILED;

	if (!write_file("/proc/sys/vm/nr_hugepages", "2"))
		mem = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem == MAP_FAILED) {
		skip("hugetlbfs", "no huge pages to be had");
		return;
	}
	if (set_slot(vm, 2, 0, OTHER, 2 * HUGE, mem))
		bail("slot");
	check(guest_fill(OTHER, 2 * HUGE, 11) && filled(mem, 2 * HUGE, 11) &&
	      large() == 2, "hugetlbfs");
	mprotect(mem, HUGE, PROT_READ);
	check(guest_store(OTHER, 1) == -1 && errno == EFAULT, "made read-only");
	check(!guest_store(OTHER + HUGE, 0x31) && hlt() && mem[HUGE] == 0x31, "but one");
	munmap(mem, 2 * HUGE);
	check(guest_store(OTHER, 1) == -1 && errno == EFAULT, "gone");
	set_slot(vm, 2, 0, 0, 0, NULL);
	write_file("/proc/sys/vm/nr_hugepages", "0");
}

static atomic_bool stop;
static atomic_uint collapsed;

/* Page @i of the area is thrown away now and then. */
static bool thrown(size_t i)
{
	return i % 16 == 7;
}

/*
 * What can happen to huge pages, as fast as it can: parts thrown away and made
 * read-only, split, put together, moved; memory short; writes logged and not.
 */
static void *churn(void *unused)
{
	unsigned int seed = 1;

	(void)unused;
	while (!stop) {
		unsigned int what = rand_r(&seed) % 10, block = rand_r(&seed) % BLOCKS;
		unsigned int page = rand_r(&seed) % 512;
		uint8_t *at = data + block * HUGE, *hog;

		switch (what) {
		case 0:
		case 1:
			madvise(at + (page / 16 * 16 + 7) * PAGE, PAGE, MADV_DONTNEED);
			break;
		case 2:
			mprotect(at + page * PAGE, PAGE, PROT_READ);
			mprotect(at + page * PAGE, PAGE, PROT_READ | PROT_WRITE);
			break;
		case 3:
			mprotect(at, HUGE, PROT_READ);
			mprotect(at, HUGE, PROT_READ | PROT_WRITE);
			break;
		case 4:
		case 5:
			if (!madvise(at, HUGE, MADV_COLLAPSE))
				collapsed++;
			break;
		case 6:
			madvise(at + page * PAGE, (512 - page) * PAGE, MADV_COLD);
			break;
		case 7:
			set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, DATA, DATA_SIZE, data);
			usleep(2000);
			set_slot(vm, 1, 0, DATA, DATA_SIZE, data);
			break;
		case 8:
			if (page < 64)
				write_file("/proc/sys/vm/compact_memory", "1");
			break;
		case 9:
			if (page >= 64)
				break;
			hog = private(NULL, 32 * MIB);
			madvise(hog, 32 * MIB, MADV_NOHUGEPAGE);
			memset(hog, 1, 32 * MIB);
			munmap(hog, 32 * MIB);
		}
		usleep(300);
	}
	return NULL;
}

/*
 * The guest counts in every page.  No increment is lost, but where the page was
 * thrown away.
 */
static void test_race(void)
{
	static const uint8_t code[] = {
		0x89, 0xdf,				/* l: mov edi, ebx */
		0x89, 0xf2,				/* mov edx, esi */
		0xff, 0x07,				/* m: inc dword [edi] */
		0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,	/* add edi, 0x1000 */
		0x4a,					/* dec edx */
		0x75, 0xf5,				/* jnz m */
		0x49,					/* dec ecx */
		0x75, 0xee,				/* jnz l */
		0xf4,
	};
	unsigned int rounds = 0, faults = 0, lost = 0, more = 0;
	bool good = true;
	struct timespec t0, t;
	pthread_t th;

	fresh(0);
	memset(data, 0, DATA_SIZE);
	if (pthread_create(&th, NULL, churn, NULL))
		bail("pthread_create");
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		start(code, sizeof(code), &(struct kvm_regs){ .rbx = DATA, .rsi = DATA_SIZE / PAGE,
							      .rcx = 10 });
		while (go() == -1) {
			/* The page may be read-only just then. */
			if (errno != EFAULT && errno != EINTR && errno != EAGAIN)
				break;
			faults++;
		}
		good &= hlt();
		rounds += 10;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (good && t.tv_sec - t0.tv_sec < 8);
	stop = true;
	pthread_join(th, NULL);
	for (size_t i = 0; i < DATA_SIZE / PAGE; i++) {
		lost += word(data, i) < rounds && !thrown(i);
		more += word(data, i) > rounds;
	}
	check(good, "a guest on huge pages that come and go runs on");
	check(!lost && !more, "and counts right: %u pages with less, %u with more", lost, more);
	check(rounds >= 20, "%u times each page", rounds);
	printf("# %u times EFAULT, %u huge pages made\n", faults, (unsigned int)collapsed);
	if (on_cvmm())
		printf("# large: %llu mapped, %llu split, %llu merged\n",
		       (unsigned long long)vm_stat(stats, "large_map"),
		       (unsigned long long)vm_stat(stats, "large_split"),
		       (unsigned long long)vm_stat(stats, "large_merge"));
	check(fill(5000), "and is all there afterwards");
}

int main(int argc, char **argv)
{
	dev = open_device(argc, argv);
	/* The kernel makes no huge pages of its own accord meanwhile. */
	if (write_file(KHUGEPAGED "scan_sleep_millisecs", "3600000"))
		bail("khugepaged");
	make_vm();
	fresh(0);
	test_map();
	test_parts();
	test_collapse();
	test_fork();
	test_dirty();
	test_shapes();
	test_hugetlb();
	test_race();
	write_file(KHUGEPAGED "scan_sleep_millisecs", "10000");	/* the default */
	return tap_done();
}
