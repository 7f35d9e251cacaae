// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random ioctls on VMs and vCPUs from several threads at once, random guests,
 * descriptors and mappings that vanish under them, processes that fork, run out
 * of memory or are killed in the middle: the host must not care.  What its
 * kernel says is for the runner to judge; this program proves that much was
 * done, that no process ever refused to die, and that memory comes back.  TAP.
 *
 * kvm-fuzz SECONDS SEED: a new process with a new machine every half second.
 */
#include "kvm_fuzz.h"
#include "kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_THREADS	4
#define ROUND_MS	500
#define DEATH_MS	15000	/* emulated hosts are slow, and a round may have hundreds of VMs */
#define WARM_UP_ROUNDS	4	/* before the host's free memory is looked at */
#define LEAK_KB		24576

volatile struct machine m;
struct counts *counts;

static const char *cgroup;	/* NULL: no limits */
static atomic_bool stop;
static __thread sigjmp_buf fault_jmp;
static __thread bool may_fault;

static void nothing(int sig)
{
	(void)sig;
}

/* A mapping that another thread took away, or a space that failed. */
static void on_fault(int sig)
{
	if (may_fault)
		siglongjmp(fault_jmp, 1);
	signal(sig, SIG_DFL);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

static void add_vcpu(unsigned int n, unsigned int id)
{
	int fd = ioctl(m.vm[n % NR_VMS], KVM_CREATE_VCPU, id);

	if (fd < 0)
		return;
	m.vcpu[n] = fd;
	m.run[n] = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void add_slot(unsigned int vm)
{
	set_slot(m.vm[vm], 3, 0, 0, MEM_SIZE, m.mem);
}

static void make_machine(void)
{
	unsigned int i;

	m.dev = open("/dev/cvmm", O_RDWR | O_CLOEXEC);
	/* With a second host, of which nobody hears: copies of the guest's tables. */
	m.space = make_space(m.dev, "fuzz", MEM_SIZE, 1 + rnd_below(2));
	if (one_in(3))	/* ordinary memory, private or shared */
		m.mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | (one_in(2) ? MAP_PRIVATE : MAP_SHARED), -1, 0);
	else
		m.mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.space, 0);
	for (i = 0; i < NR_VMS; i++) {
		m.vm[i] = ioctl(m.dev, KVM_CREATE_VM, 0);
		add_slot(i);
	}
	for (i = 0; i < NR_VCPUS; i++)
		add_vcpu(i, i);
}

/* Another process with the same descriptors, and vCPUs that it did not make. */
static void fork_off(uint64_t seed)
{
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	unsigned int i;

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setitimer(ITIMER_REAL, &often, NULL);
	rnd_seed(seed);
	if (!sigsetjmp(fault_jmp, 1))
		for (i = 0; i < 50; i++)
			one_vcpu_call();
	_exit(0);
}

/* What no sane program does to its machine. */
static void one_outrage(void)
{
	unsigned int n = rnd_below(NR_VCPUS), vm = rnd_below(NR_VMS);

	switch (rnd_below(16)) {
	case 0:
		close(m.vm[vm]);
		m.vm[vm] = ioctl(m.dev, KVM_CREATE_VM, 0);
		add_slot(vm);
		break;
	case 1:
		if (one_in(4))
			close(m.space);
		break;
	case 2:
		if (one_in(8))
			ioctl(m.space, CVMM_SPACE_FAIL);
		break;
	case 3:
		munmap(m.run[n], RUN_SIZE >> rnd_below(2));
		break;
	case 4:
		if (one_in(4))
			munmap(m.mem + rnd_below(256) * 4096, 4096);
		break;
	case 5:
		fork_off(rnd());
		break;
	case 6:
		madvise(m.mem, MEM_SIZE, one_in(2) ? MADV_DONTNEED : MADV_REMOVE);
		break;
	case 7:
		mprotect(m.mem + rnd_below(256) * 4096, 4096, one_in(2) ? PROT_READ : PROT_NONE);
		break;
	case 8 ... 11:
		close(m.vcpu[n]);
		/* fall through */
	default:
		add_vcpu(n, rnd_below(1024));
	}
}

static void *worker(void *arg)
{
	rnd_seed((uintptr_t)arg);
	may_fault = true;
	sigsetjmp(fault_jmp, 1);
	while (!stop) {
		switch (rnd_below(64)) {
		case 0:
			one_outrage();
			break;
		case 1 ... 5:
			one_vm_call();
			break;
		default:
			one_vcpu_call();
		}
		if (one_in(4))
			random_code(m.mem);
	}
	may_fault = false;
	return NULL;
}

/* Little memory: allocations fail all over, or the kernel kills us. */
static void limit_memory(void)
{
	unsigned int kb = 1024 + rnd_below(6144);
	char path[128], text[16];
	int fd;

	snprintf(path, sizeof(path), "%s/memory.max", cgroup);
	snprintf(text, sizeof(text), "%u", kb << 10);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (write(fd, text, strlen(text)) < 0)
		return;
	close(fd);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (write(fd, "0", 1) == 1)
		counts->calls++;
	close(fd);
}

static void round_process(uint64_t seed)
{
	pthread_t threads[NR_THREADS];
	bool tidy;
	unsigned int i, ms;

	rnd_seed(seed);
	tidy = one_in(3);
	if (cgroup && one_in(3))
		limit_memory();
	make_machine();
	may_fault = true;
	if (!sigsetjmp(fault_jmp, 1)) {
		fill(m.mem, MEM_SIZE);
		for (i = 0; i < 64; i++)
			random_code(m.mem);
	}
	may_fault = false;
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)(seed * 16 + i)))
			_exit(0);
	/* Nobody but a signal ends a guest that loops. */
	for (ms = 0; tidy ? ms < ROUND_MS : true; ms += 10) {
		sleep_ms(10);
		for (i = 0; i < NR_THREADS; i++)
			pthread_kill(threads[i], SIGUSR1);
	}
	stop = true;
	sleep_ms(20);
	for (i = 0; i < NR_VCPUS + NR_VMS + 1; i++) {
		unsigned int k = (i + seed) % (NR_VCPUS + NR_VMS + 1);

		close(k < NR_VCPUS ? m.vcpu[k] :
		      k < NR_VCPUS + NR_VMS ? m.vm[k - NR_VCPUS] : m.space);
	}
	_exit(0);
}

static unsigned long free_kb(void)
{
	unsigned long kb = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* Wait until nothing of a round is left; false when something does not die. */
static bool gone(pid_t group, uint64_t *took_ms)
{
	uint64_t start = now_ms();
	pid_t pid;

	for (;;) {
		kill(-group, SIGKILL);
		do {
			pid = waitpid(-group, NULL, WNOHANG);
		} while (pid > 0);
		*took_ms = now_ms() - start;
		if (pid < 0)
			return true;
		if (*took_ms > DEATH_MS)
			return false;
		sleep_ms(10);
	}
}

static bool one_round(uint64_t seed, uint64_t *took_ms)
{
	pid_t pid = fork();

	if (!pid) {
		setpgid(0, 0);
		round_process(seed);
	}
	setpgid(pid, pid);
	rnd_seed(seed);
	sleep_ms(ROUND_MS + rnd_below(100));
	return gone(pid, took_ms);
}

/* A cgroup of our own, below the root of the unified hierarchy. */
static const char *make_cgroup(void)
{
	static char dir[] = "/tmp/kvm-fuzz-XXXXXX", path[80];
	int fd;

	if (!mkdtemp(dir) || mount("none", dir, "cgroup2", 0, NULL))
		return NULL;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (write(fd, "+memory", 7) != 7)
		return NULL;
	close(fd);
	snprintf(path, sizeof(path), "%s/kvm-fuzz", dir);
	return mkdir(path, 0700) && errno != EEXIST ? NULL : path;
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 10, i, reasons = 0;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct sigaction sa = { .sa_handler = nothing }, fault = { .sa_handler = on_fault };
	uint64_t start = now_ms(), took_ms, longest_ms = 0;
	long before = 0, lost;
	bool died = true;

	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (access("/dev/cvmm", R_OK | W_OK))
		bail("/dev/cvmm");
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	cgroup = make_cgroup();
	printf("# seed %llu, memory limits: %s\n", (unsigned long long)seed,
	       cgroup ? "in one round of three" : "none, no cgroup");
	for (i = 0; died && now_ms() - start < seconds * 1000ULL; i++) {
		if (i == WARM_UP_ROUNDS)
			before = free_kb();
		died = one_round(seed + i, &took_ms);
		if (took_ms > longest_ms)
			longest_ms = took_ms;
	}
	sleep_ms(1000);		/* RCU, work items */
	lost = before - (long)free_kb();
	if (cgroup)
		rmdir(cgroup);

	for (unsigned int e = 0; e < 64; e++)
		reasons += counts->exits[e] > 0;
	printf("# %u machines, %lu calls, %lu successful, %lu runs, exits for %u reasons\n", i,
	       (unsigned long)counts->calls, (unsigned long)counts->successes,
	       (unsigned long)counts->runs, reasons);
	printf("# died within %llu ms, %ld kB less free memory\n", (unsigned long long)longest_ms,
	       i > WARM_UP_ROUNDS ? lost : 0);
	check(counts->successes > 200 && reasons >= 4,
	      "random calls did something and guests left for many reasons");
	check(died, "every process died when it was killed");
	check(i <= WARM_UP_ROUNDS || lost < LEAK_KB, "memory comes back");
	return tap_done();
}
