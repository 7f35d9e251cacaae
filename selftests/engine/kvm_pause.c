// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two vCPUs on one CPU that wait for each other in loops with PAUSE: with the intercept
 * of PAUSE each gives its CPU to the other one, without it the scheduler's time slices
 * decide.  Turns are counted, and timed in one run.  TAP.
 */
#include "kvm_vm.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEM_SIZE	0x10000UL
#define TURN		0x8000		/* whose turn it is */
#define TURNS		100
#define PARAMETERS	"/sys/module/cvmm/parameters/"

static int dev, vm, vcpu[2];
static struct kvm_run *run[2];
static uint8_t *mem;

static void set_parameter(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		bail(path);
	close(fd);
}

/* TURNS times: wait for the own turn, then it is the other one's. */
static void write_code(uint8_t *code, uint8_t own)
{
	const uint8_t loop[] = {
		0xb9, TURNS, 0,				/* mov cx, TURNS */
		0x80, 0x3e, 0x00, TURN >> 8, own,	/* cmp byte [TURN], own */
		0x74, 0x04,				/* je, to the MOV */
		0xf3, 0x90,				/* pause */
		0xeb, 0xf5,				/* jmp, to the CMP */
		0xc6, 0x06, 0x00, TURN >> 8, !own,	/* mov byte [TURN], other */
		0x49,					/* dec cx */
		0x75, 0xed,				/* jnz, to the CMP */
		0xf4,					/* hlt */
	};

	memcpy(code, loop, sizeof(loop));
}

static void make_machine(void)
{
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	mem = map(NULL, MEM_SIZE, MAP_PRIVATE, -1);
	if (vm < 0 || set_slot(vm, 0, 0, 0, MEM_SIZE, mem))
		bail("making a machine");
	for (unsigned int i = 0; i < 2; i++) {
		struct kvm_regs regs;

		vcpu[i] = make_vcpu(dev, vm, i, &run[i]);
		real_mode(vcpu[i], 0);
		regs = get_regs(vcpu[i]);
		regs.rip = CODE + 0x100 * i;
		if (ioctl(vcpu[i], KVM_SET_REGS, &regs))
			bail("KVM_SET_REGS");
		write_code(mem + regs.rip, i);
	}
}

static void free_machine(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		munmap(run[i], run_size(dev));
		close(vcpu[i]);
	}
	close(vm);
	munmap(mem, MEM_SIZE);
}

static void *run_other(void *unused)
{
	(void)unused;
	ioctl(vcpu[1], KVM_RUN, 0);
	return NULL;
}

/* Both run to their HLT; what it took, in microseconds, and the counters. */
static double take_turns(uint64_t *exits, uint64_t *yields)
{
	struct timespec start, end;
	pthread_t thread;
	int stats;

	make_machine();
	stats = open_stats(vm);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (pthread_create(&thread, NULL, run_other, NULL))
		bail("pthread_create");
	ioctl(vcpu[0], KVM_RUN, 0);
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	check(run[0]->exit_reason == KVM_EXIT_HLT && run[1]->exit_reason == KVM_EXIT_HLT && !mem[TURN],
	      "%d turns each", TURNS);
	*exits = vm_stat(stats, "exit_pause");
	*yields = vm_stat(stats, "directed_yield");
	close(stats);
	free_machine();
	return (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
}

int main(int argc, char **argv)
{
	uint64_t exits, yields;
	double without, with;
	cpu_set_t set;

	dev = open_device(argc, argv);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bail("sched_setaffinity");

	set_parameter(PARAMETERS "pause_filter_count", "0");
	without = take_turns(&exits, &yields);
	check(!exits && !yields, "without the filter PAUSE does not exit");
	printf("# without: %.0f us a turn\n", without / (2 * TURNS));

	set_parameter(PARAMETERS "pause_intercept", "1");
	with = take_turns(&exits, &yields);
	set_parameter(PARAMETERS "pause_intercept", "0");
	set_parameter(PARAMETERS "pause_filter_count", "3000");
	printf("# with: %.0f us a turn, %llu exits, %llu directed yields\n", with / (2 * TURNS),
	       (unsigned long long)exits, (unsigned long long)yields);
	check(yields >= TURNS && exits >= yields, "who waits gives its CPU to whom it waits for");
	check(with * 2 < without, "turns come more than twice as fast");
	return tap_done();
}
