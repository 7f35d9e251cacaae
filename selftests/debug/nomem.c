// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nomem [WORD...]: all steps, or those with one of the words in their names.
 *
 * Every allocation of the module in user context fails once: each step below is
 * repeated with its first, second, third ... allocation failing (the kernel's
 * fail-nth), until none is left to fail.  A step may fail, with an error that
 * says memory, and then works when it is tried again where that is promised.
 * After that, receivers of links, which are kernel threads, at random.  That
 * nothing is lost or broken is for KASAN, lockdep and kmemleak to say.  TAP.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/cvmm.h>

#define PAGE		4096UL
#define PAGES		16UL		/* of each host */
#define MAX_NTH		5000
#define CODE		0x1000

struct node {
	int fd;
	uint8_t *mem;
};

static int dev, vm = -1, vcpu = -1, socks[2], fail_nth;
static unsigned int nr_nodes, points;
static struct node node[2];
static struct kvm_run *run;
static struct kvm_cpuid2 *cpuid;
static uint64_t space_id = 1;
static sigjmp_buf on_sigbus;
static bool failed;

static void point(bool good, const char *name, const char *what, long n)
{
	printf("%sok %u - %s: %s (%ld)\n", good ? "" : "not ", ++points, name, what, n);
	fflush(stdout);
	failed |= !good;
}

static void bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static void sigbus(int sig)
{
	(void)sig;
	siglongjmp(on_sigbus, 1);
}

static void put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		bail(path);
	close(fd);
}

/* ---- pieces that steps are made of; each 0 or -errno */

static int result(int r)
{
	return r < 0 ? -errno : 0;
}

static int make_space(unsigned int i, unsigned int nr)
{
	struct cvmm_home_range ranges[2] = {
		{ .nr_gfns = PAGES }, { .first_gfn = PAGES, .nr_gfns = PAGES, .host = 1 },
	};
	struct cvmm_space_config cfg = {
		.ranges = (uintptr_t)ranges, .nr_ranges = nr, .host_id = i, .nr_hosts = nr,
		.epoch = 1, .space_id = space_id,
	};

	snprintf(cfg.name, sizeof(cfg.name), "nomem%u", i);
	node[i].fd = ioctl(dev, CVMM_CREATE_SPACE, &cfg);
	return result(node[i].fd);
}

static int map_space(unsigned int i)
{
	node[i].mem = mmap(NULL, nr_nodes * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   node[i].fd, 0);
	if (node[i].mem != MAP_FAILED)
		return 0;
	node[i].mem = NULL;
	return -errno;
}

static void make_sockets(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len))
		bail("listen");
	socks[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(socks[0], (struct sockaddr *)&addr, sizeof(addr)))
		bail("connect");
	socks[1] = accept(listener, NULL, NULL);
	if (socks[1] < 0)
		bail("accept");
	close(listener);
}

static int link_spaces(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct cvmm_space_link link = {
			.host = !i, .transport = CVMM_TRANSPORT_STREAM, .fd = socks[i],
		};
		int ret = result(ioctl(node[i].fd, CVMM_SPACE_ADD_LINK, &link));

		if (ret)
			return ret;
	}
	return 0;
}

static int make_vm(void)
{
	vm = ioctl(dev, KVM_CREATE_VM, 0);
	return result(vm);
}

static int make_slot(void)
{
	struct kvm_userspace_memory_region r = {
		.memory_size = nr_nodes * PAGES * PAGE, .userspace_addr = (uintptr_t)node[0].mem,
	};

	return result(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
}

static int make_vcpu(void)
{
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	return result(vcpu);
}

/* Read and write pages of each home on each host; SIGBUS is no memory. */
static int touch(void)
{
	if (sigsetjmp(on_sigbus, 1))
		return -ENOMEM;
	for (unsigned int page = 0; page < nr_nodes * PAGES; page += 5)
		for (unsigned int i = 0; i < nr_nodes; i++) {
			volatile uint64_t *p = (void *)(node[i].mem + page * PAGE);

			p[1 + i] = p[0] + page;
			if (p[1 + i] != page)
				return -EUCLEAN;
		}
	return 0;
}

static void need(int ret, const char *what)
{
	if (!ret)
		return;
	errno = -ret;
	bail(what);
}

static void one_space(void)
{
	nr_nodes = 1;
	need(make_space(0, 1), "CVMM_CREATE_SPACE");
	need(map_space(0), "mmap");
}

static void two_spaces(void)
{
	nr_nodes = 2;
	for (unsigned int i = 0; i < 2; i++) {
		need(make_space(i, 2), "CVMM_CREATE_SPACE");
		need(map_space(i), "mmap");
	}
	make_sockets();
}

static void two_joined(void)
{
	two_spaces();
	need(link_spaces(), "CVMM_SPACE_ADD_LINK");
}

static void with_vm(void)
{
	one_space();
	need(make_vm(), "KVM_CREATE_VM");
}

static void with_vcpu(void)
{
	need(make_slot(), "KVM_SET_USER_MEMORY_REGION");
	need(make_vcpu(), "KVM_CREATE_VCPU");
	run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		bail("mmap of the vCPU");
}

/* mov %al, page i for the pages 2 to 13; hlt; in real mode. */
static void with_code(void)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	uint8_t *p = node[0].mem + CODE;
	struct kvm_sregs s;

	for (unsigned int i = 2; i < 14; i++) {
		*p++ = 0xa2;
		*p++ = 0;
		*p++ = i << 4;
	}
	*p = 0xf4;
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid) || ioctl(vcpu, KVM_GET_SREGS, &s))
		bail("vCPU");
	s.cs.base = s.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
		bail("vCPU");
}

static void one_vcpu(void)
{
	with_vm();
	with_vcpu();
}

static void guest_alone(void)
{
	one_vcpu();
	with_code();
}

static void guest_joined(void)
{
	two_joined();
	need(make_vm(), "KVM_CREATE_VM");
	with_vcpu();
	with_code();
	/* All pages are the other host's. */
	for (unsigned int i = 0; i < PAGES; i++)
		*(volatile uint8_t *)(node[1].mem + i * PAGE + 100) = 1;
}

static void undo(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (node[i].mem)
			munmap(node[i].mem, nr_nodes * PAGES * PAGE);
		if (node[i].fd >= 0)
			close(node[i].fd);
		if (socks[i] >= 0)
			close(socks[i]);
		node[i] = (struct node){ .fd = -1 };
		socks[i] = -1;
	}
	if (run)
		munmap(run, PAGE);
	run = NULL;
	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	vcpu = vm = -1;
	space_id++;
}

/* ---- the steps */

static void nothing(void)
{
}

static int create_space(void)
{
	return make_space(0, 1);
}

static int create_space_of_two(void)
{
	return make_space(0, 2);
}

static int set_cpuid(void)
{
	return result(ioctl(vcpu, KVM_SET_CPUID2, cpuid));
}

static int set_filter(void)
{
	static uint8_t bitmap[32];
	struct kvm_msr_filter f = {
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ, .base = 0x10, .nmsrs = 8, .bitmap = bitmap },
		.ranges[1] = { .flags = KVM_MSR_FILTER_WRITE, .base = 0x174, .nmsrs = 8, .bitmap = bitmap },
	};

	return result(ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
}

static int get_msrs(void)
{
	struct {
		struct kvm_msrs h;
		struct kvm_msr_entry e[2];
	} m = { .h.nmsrs = 2, .e = { { .index = 0x10 }, { .index = 0x174 } } };

	return result(ioctl(vcpu, KVM_GET_MSRS, &m));
}

static int state(void)
{
	static uint8_t buf[16384];
	static const unsigned long get[] = { KVM_GET_FPU, KVM_GET_XSAVE, KVM_GET_XCRS };
	static const unsigned long set[] = { KVM_SET_FPU, KVM_SET_XSAVE, KVM_SET_XCRS };
	int ret = 0;

	for (unsigned int i = 0; i < 3 && !ret; i++) {
		ret = result(ioctl(vcpu, get[i], buf));
		if (!ret)
			ret = result(ioctl(vcpu, set[i], buf));
	}
	return ret;
}

static int run_guest(void)
{
	int ret = result(ioctl(vcpu, KVM_RUN, NULL));

	return ret ? ret : run->exit_reason == KVM_EXIT_HLT ? 0 : -EUCLEAN;
}

static const struct step {
	const char *name;
	void (*prepare)(void);
	int (*act)(void);
	bool again;	/* works when tried again with memory */
} steps[] = {
	{ "create a space", nothing, create_space, true },
	{ "create a space of two hosts", nothing, create_space_of_two, true },
	{ "touch pages", one_space, touch, true },
	{ "join two spaces", two_spaces, link_spaces, false },
	{ "touch each other's pages", two_joined, touch, false },
	{ "create a VM", one_space, make_vm, true },
	{ "set a memory slot", with_vm, make_slot, true },
	{ "create a vCPU", with_vm, make_vcpu, true },
	{ "set CPUID", one_vcpu, set_cpuid, true },
	{ "set an MSR filter", with_vm, set_filter, true },
	{ "get MSRs", one_vcpu, get_msrs, true },
	{ "get and set state", one_vcpu, state, true },
	{ "run a guest", guest_alone, run_guest, true },
	{ "run a guest on another's pages", guest_joined, run_guest, false },
};

static bool arm(int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(fail_nth, text, n, 0) == n;
}

/* Has the allocation failed that arm() chose?  Nothing fails from here. */
static bool disarm(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0 || !arm(0))
		bail("fail-nth");
	return atoi(text) == 0;
}

static bool says_memory(int ret)
{
	return ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE;
}

static void do_step(const struct step *s)
{
	unsigned int injected = 0, refused = 0;
	const char *wrong = NULL;
	bool hit = true;
	int nth, ret = 0;

	for (nth = 1; hit && !wrong && nth < MAX_NTH; nth++) {
		s->prepare();
		if (!arm(nth))
			bail("fail-nth");
		ret = s->act();
		hit = disarm();
		if (hit) {
			injected++;
			refused += !!ret;
		}
		if (ret && !hit)
			wrong = "fails with memory";
		else if (ret && s->again && !says_memory(ret))
			wrong = "fails with another error than one for memory";
		else if (ret == -EUCLEAN)
			wrong = "wrong result";
		else if (ret && s->again) {
			ret = s->act();
			if (ret)
				wrong = "fails when tried again";
		}
		undo();
	}
	if (!wrong && hit)
		wrong = "does not end";
	printf("# %s: %u allocations failed, %u times with an error\n", s->name, injected, refused);
	point(!wrong, s->name, wrong ? wrong : "each allocation can fail", wrong ? ret : (long)injected);
}

/* Mark the receivers of our links, so that the filter by task finds them. */
static unsigned int mark_receivers(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	unsigned int nr = 0;

	while (proc && (d = readdir(proc))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strncmp(comm, "cvmm-rx/", 8)) {
			snprintf(path, sizeof(path), "/proc/%s/make-it-fail", d->d_name);
			put(path, "1");
			nr++;
		}
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return nr;
}

static void do_receivers(void)
{
	static const char *const attr[] = { "failslab", "fail_page_alloc" };
	unsigned int marked = 0, refused = 0;
	bool good = true;
	char path[80];

	for (unsigned int i = 0; i < 24; i++) {
		two_joined();
		marked += mark_receivers();
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/probability", attr[i % 2]);
		put(path, i < 12 ? "3" : "20");
		for (unsigned int n = 0; n < 20; n++) {
			int ret = touch();

			good &= ret != -EUCLEAN;
			if (ret) {
				refused++;
				break;
			}
		}
		put(path, "0");
		undo();
	}
	point(good && marked == 48 && refused, "receivers", "fail, or serve right", refused);
}

/* Is the step one of those asked for? */
static bool asked(const char *name, char **words)
{
	if (!*words)
		return true;
	while (*words && !strstr(name, *words))
		words++;
	return *words;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = sigbus };
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" }, { "failslab/verbose", "0" },
		{ "failslab/task-filter", "Y" }, { "failslab/times", "-1" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" }, { "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/min-order", "0" }, { "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/times", "-1" },
	};
	char path[80];

	(void)argc;
	fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0) {
		printf("1..0 # SKIP this kernel has no fault injection\n");
		return 0;
	}
	for (unsigned int i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		put(path, settings[i][1]);
	}
	sigaction(SIGBUS, &sa, NULL);
	dev = open("/dev/cvmm", O_RDWR | O_CLOEXEC);
	cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	if (dev < 0 || !cpuid)
		bail("/dev/cvmm");
	cpuid->nent = 256;
	if (ioctl(dev, KVM_GET_SUPPORTED_CPUID, cpuid))
		bail("KVM_GET_SUPPORTED_CPUID");
	node[0].fd = node[1].fd = socks[0] = socks[1] = -1;
	for (unsigned int i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (asked(steps[i].name, argv + 1))
			do_step(&steps[i]);
	if (asked("receivers", argv + 1))
		do_receivers();
	printf("1..%u\n", points);
	return failed;
}
