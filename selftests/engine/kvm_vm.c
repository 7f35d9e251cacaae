// SPDX-License-Identifier: GPL-2.0-or-later
/* The machines and the TAP of kvm_vm.h. */
#include "kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_CPUID	256

static const char *dev_path = "/dev/cvmm";
static unsigned int nr_tests, nr_failed;

void check(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", good ? "" : "not ", ++nr_tests);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	if (!good)
		nr_failed++;
}

void skip(const char *name, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++nr_tests, name, why);
	fflush(stdout);
}

int tap_done(void)
{
	printf("1..%u\n", nr_tests);
	return nr_failed != 0;
}

void bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

void *zalloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		bail("calloc");
	return p;
}

int open_device(int argc, char **argv)
{
	int fd;

	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "-d"))
			dev_path = argv[i + 1];
	fd = open(dev_path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		bail(dev_path);
	return fd;
}

bool on_cvmm(void)
{
	return strstr(dev_path, "cvmm");
}

void *map(void *at, size_t size, int flags, int fd)
{
	void *p = mmap(at, size, PROT_READ | PROT_WRITE,
		       flags | (at ? MAP_FIXED : 0) | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	if (p == MAP_FAILED)
		bail("mmap");
	return p;
}

int make_space(int dev, const char *name, size_t size, unsigned int nr_hosts)
{
	struct cvmm_home_range range = { .nr_gfns = size >> 12 };
	struct cvmm_space_config cfg = {
		.ranges = (uintptr_t)&range, .nr_ranges = !!size, .nr_hosts = nr_hosts, .epoch = 1,
		.space_id = getpid(),
	};

	snprintf(cfg.name, sizeof(cfg.name), "%s-%d", name, (int)getpid());
	return ioctl(dev, CVMM_CREATE_SPACE, &cfg);
}

int set_slot(int vm, unsigned int id, unsigned int flags, uint64_t gpa, size_t size, void *at)
{
	struct kvm_userspace_memory_region r = {
		.slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)at,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

size_t run_size(int dev)
{
	int size = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < (int)sizeof(struct kvm_run))
		bail("KVM_GET_VCPU_MMAP_SIZE");
	return size;
}

int make_vcpu(int dev, int vm, unsigned int id, struct kvm_run **run)
{
	int fd = ioctl(vm, KVM_CREATE_VCPU, id);

	if (fd < 0)
		bail("KVM_CREATE_VCPU");
	*run = map(NULL, run_size(dev), MAP_SHARED, fd);
	return fd;
}

int open_stats(int vm)
{
	int fd = ioctl(vm, KVM_GET_STATS_FD, 0);

	if (fd < 0)
		bail("KVM_GET_STATS_FD");
	return fd;
}

uint64_t vm_stat(int stats, const char *name)
{
	struct kvm_stats_header h;
	char buf[256];
	uint64_t val;

	if (pread(stats, &h, sizeof(h), 0) != sizeof(h) || h.name_size > sizeof(buf) / 2)
		bail("header of the statistics");
	for (uint32_t i = 0; i < h.num_desc; i++) {
		size_t len = sizeof(struct kvm_stats_desc) + h.name_size;
		const struct kvm_stats_desc *d = (const void *)buf;

		if (pread(stats, buf, len, h.desc_offset + i * len) != (ssize_t)len)
			bail("descriptor of the statistics");
		if (strncmp(d->name, name, h.name_size))
			continue;
		if (pread(stats, &val, sizeof(val), h.data_offset + d->offset) != sizeof(val))
			bail("value of the statistics");
		return val;
	}
	errno = ENOENT;
	bail(name);
	return 0;
}

struct kvm_cpuid2 *supported_cpuid(int dev)
{
	struct kvm_cpuid2 *c = zalloc(sizeof(*c) + MAX_CPUID * sizeof(c->entries[0]));

	c->nent = MAX_CPUID;
	if (ioctl(dev, KVM_GET_SUPPORTED_CPUID, c))
		bail("KVM_GET_SUPPORTED_CPUID");
	return c;
}

struct kvm_sregs get_sregs(int vcpu)
{
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		bail("KVM_GET_SREGS");
	return s;
}

void set_sregs(int vcpu, const struct kvm_sregs *s)
{
	if (ioctl(vcpu, KVM_SET_SREGS, s))
		bail("KVM_SET_SREGS");
}

struct kvm_regs get_regs(int vcpu)
{
	struct kvm_regs r;

	if (ioctl(vcpu, KVM_GET_REGS, &r))
		bail("KVM_GET_REGS");
	return r;
}

void real_mode(int vcpu, uint64_t data)
{
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = 2 };
	struct kvm_sregs s = get_sregs(vcpu);

	s.cs.base = 0;
	s.cs.selector = 0;
	s.ds.base = s.es.base = data;
	set_sregs(vcpu, &s);
	if (ioctl(vcpu, KVM_SET_REGS, &regs))
		bail("KVM_SET_REGS");
}
