// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A space of one host: configuration checks, mapping semantics, accounting.
 */
#include "space_test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGES	256UL

static struct cvmm_space_config cfg;
static struct cvmm_home_range ranges[CVMM_MAX_RANGES + 1];

/* ------------------------------------------------------ configuration */

static void fresh(void)
{
	memset(ranges, 0, sizeof(ranges));
	config_init(&cfg, ranges, "config", 0, 2, PAGES, 1);
}

/* @cfg, broken in one way, is refused with @want; then start over. */
static void refused(int want, const char *what)
{
	int fd = space_create(&cfg);
	int err = errno;

	ok(fd < 0 && err == want, "refused: %s%s%s", what, fd < 0 ? ", " : " (was not)",
	   fd < 0 ? strerrorname_np(err) : "");
	if (fd >= 0)
		close(fd);
	fresh();
}

static int touch_first(void *fd)
{
	uint8_t *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, *(int *)fd, 0);

	return p == MAP_FAILED ? 1 : *(volatile uint8_t *)p;
}

static void test_config(void)
{
	int fd, fd2;

	fresh();
	cfg.flags = 1;
	refused(EINVAL, "unknown flags");
	cfg.min_run_us = CVMM_MAX_MIN_RUN_US + 1;
	refused(EINVAL, "minimum run time too long");
	cfg.nr_hosts = 0;
	refused(EINVAL, "no hosts");
	cfg.nr_hosts = CVMM_MAX_HOSTS + 1;
	refused(EINVAL, "too many hosts");
	cfg.host_id = 2;
	refused(EINVAL, "own id too large");
	cfg.nr_ranges = 0;
	refused(EINVAL, "no ranges");
	cfg.nr_ranges = CVMM_MAX_RANGES + 1;
	refused(EINVAL, "too many ranges");
	cfg.ranges = 8;
	refused(EFAULT, "bad range pointer");
	ranges[1].first_gfn = PAGES - 1;
	refused(EINVAL, "ranges overlap");
	ranges[0].first_gfn = 2 * PAGES;
	refused(EINVAL, "ranges not sorted");
	ranges[1].nr_gfns = 0;
	refused(EINVAL, "empty range");
	ranges[1].nr_gfns = ULLONG_MAX;
	refused(EINVAL, "range too long");
	ranges[1].first_gfn = ULLONG_MAX;
	ranges[1].nr_gfns = 2;
	refused(EINVAL, "range wraps");
	ranges[1].host = 2;
	refused(EINVAL, "home does not exist");
	ranges[1].pad = 1;
	refused(EINVAL, "range padding not zero");
	cfg.name[0] = 0;
	refused(EINVAL, "no name");
	memset(cfg.name, 'x', sizeof(cfg.name));
	refused(EINVAL, "name not terminated");
	strcpy(cfg.name, "a b");
	refused(EINVAL, "name with a space");
	ranges[1].nr_gfns = 1ULL << 36;
	refused(ENOMEM, "metadata larger than memory");

	cfg.nr_ranges = 0;
	cfg.nr_hosts = 1;
	fd = space_create(&cfg);
	ok(fd >= 0, "no ranges on a single host");
	ok(in_child(touch_first, &fd) == 128 + SIGBUS, "... with no page in it");
	close(fd);
	fresh();
	fd = space_create(&cfg);
	ok(fd >= 0, "valid configuration accepted");
	fd2 = space_create(&cfg);
	ok(fd2 < 0 && errno == EEXIST, "name in use");
	close(fd);
	fd = space_create(&cfg);
	ok(fd >= 0, "name free again after close");
	ok(ioctl(fd, CVMM_GET_INFO, &cfg) < 0 && errno == ENOTTY, "unknown ioctl");
	ok(space_add_link(fd, 0, 0) < 0 && errno == EINVAL, "no link to oneself");
	ok(space_add_link(fd, 2, 0) < 0 && errno == EINVAL, "no link to a host that is not");
	ok(space_add_link(fd, 1, -1) < 0 && errno == EBADF, "no link over a bad descriptor");
	ok(space_add_link(fd, 1, fd) < 0 && errno == ENOTSOCK, "no link over a file");
	close(fd);
}

static void test_budget(void)
{
	struct space_info info;
	uint64_t most;
	bool good;
	int fd;

	fresh();
	ranges[0].nr_gfns = 100000;
	ranges[1].first_gfn = 1 << 20;
	ranges[1].nr_gfns = 300000;
	fd = space_create(&cfg);
	good = space_info("config", &info);
	ok(fd >= 0 && good, "space of 400000 pages, 100000 at home");
	most = info.pages * 16 + info.home_pages * 16 + 3 * PAGE;
	ok(info.pages == 400000 && info.home_pages == 100000 && info.meta_bytes <= most,
	   "metadata: %llu bytes, at most 16 per page and 16 more at home",
	   (unsigned long long)info.meta_bytes);
	close(fd);
}

/* Each space has a kernel thread, which no limit of its process counts. */
static void test_threads(void)
{
	static const char path[] = "/sys/module/cvmm/parameters/max_threads";
	char was[16] = "";
	int fd, other, param = open(path, O_RDWR);

	if (param < 0 || read(param, was, sizeof(was) - 1) <= 0 || pwrite(param, "1", 1, 0) != 1)
		die(path);
	fresh();
	fd = space_create(&cfg);
	strcpy(cfg.name, "second");
	other = space_create(&cfg);
	ok(fd >= 0 && other < 0 && errno == EAGAIN, "no space beyond the limit of threads");
	close(fd);
	other = space_create(&cfg);
	ok(other >= 0, "when the first has gone, there is room");
	close(other);
	if (pwrite(param, was, strlen(was), 0) < 0)
		die(path);
	close(param);
}

/* ------------------------------------------------------------ mapping */

static int space_fd;
static uint8_t *mem;

static int touch_outside(void *arg)
{
	volatile uint8_t *p;

	(void)arg;
	p = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, space_fd, 0);
	if (p == MAP_FAILED)
		return 1;
	p[0] = p[0];
	p[PAGES * PAGE] = 1;
	return 2;
}

static int touch_inherited(void *arg)
{
	(void)arg;
	return *(volatile uint8_t *)mem;
}

static int write_readonly(void *arg)
{
	uint8_t *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, space_fd, 0);

	(void)arg;
	if (p == MAP_FAILED)
		return 1;
	*(volatile uint8_t *)p = 1;
	return 2;
}

static void test_mapping(void)
{
	struct iovec local, remote;
	struct space_info info;
	uint8_t *other, buf[64];
	bool good = true;

	fresh();
	config_init(&cfg, ranges, "mapping", 0, 1, PAGES, 1);
	space_fd = space_create(&cfg);
	if (space_fd < 0)
		die("space");
	ok(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, space_fd, 0) == MAP_FAILED &&
	   errno == EINVAL, "no private mappings");
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, space_fd, 0);
	ok(mem != MAP_FAILED, "shared mapping");
	other = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, space_fd, 5 * PAGE);

	for (size_t i = 0; i < PAGES * PAGE; i += 512)
		good &= !mem[i];
	ok(good, "new pages read as zero");
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(mem + i * PAGE + 8 * i) = i * 0x0101010101010101;
	for (size_t i = 0; i < PAGES; i++)
		good &= *(uint64_t *)(mem + i * PAGE + 8 * i) == i * 0x0101010101010101;
	ok(good, "pages keep what is written");
	ok(*(uint64_t *)(other + 8 * 5) == 5 * 0x0101010101010101ULL, "offset is the address");
	*(uint64_t *)(other + PAGE) = 77;
	ok(*(uint64_t *)(mem + 6 * PAGE) == 77, "two mappings show the same page");
	good = space_info("mapping", &info);
	ok(good && info.frames == PAGES && !info.state, "%llu frames are accounted",
	   (unsigned long long)info.frames);

	ok(!madvise(mem, PAGES * PAGE, MADV_DONTNEED) && *(uint64_t *)(mem + 6 * PAGE) == 77,
	   "MADV_DONTNEED loses nothing");
	ok(mremap(mem, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE) == MAP_FAILED,
	   "a mapping does not grow");
	ok(in_child(touch_inherited, NULL) == 128 + SIGSEGV, "fork does not copy the mapping");
	ok(in_child(touch_outside, NULL) == 128 + SIGBUS, "SIGBUS outside of all ranges");
	ok(in_child(write_readonly, NULL) == 128 + SIGSEGV, "PROT_READ holds");

	memset(buf, 0x5a, sizeof(buf));
	local = (struct iovec){ buf, sizeof(buf) };
	remote = (struct iovec){ mem + 9 * PAGE - 32, sizeof(buf) };
	ok(process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == sizeof(buf) &&
	   mem[9 * PAGE - 32] == 0x5a && mem[9 * PAGE + 31] == 0x5a,
	   "process_vm_writev across two pages");
	memset(buf, 0, sizeof(buf));
	ok(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof(buf) &&
	   buf[0] == 0x5a && buf[63] == 0x5a, "process_vm_readv");

	munmap(mem, PAGES * PAGE);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, space_fd, 0);
	ok(*(uint64_t *)(mem + 6 * PAGE) == 77, "pages outlive their mapping");
	close(space_fd);
	ok(*(uint64_t *)(mem + 7 * PAGE + 8 * 7) == 7 * 0x0101010101010101ULL &&
	   space_info("mapping", &info), "the mapping keeps the space alive");
	munmap(mem, PAGES * PAGE);
	munmap(other, 2 * PAGE);
	ok(!space_info("mapping", &info), "and with the last mapping it is gone");
}

static void test_fail_ioctl(void)
{
	struct cvmm_space_status status;
	struct pollfd p = { .events = POLLIN };
	volatile uint8_t *m;

	config_init(&cfg, ranges, "failing", 0, 1, PAGES, 1);
	p.fd = space_create(&cfg);
	m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0);
	m[0] = 9;
	status = space_status(p.fd);
	ok(poll(&p, 1, 0) == 0 && status.state == CVMM_SPACE_LIVE && !status.error,
	   "a new space is live");
	ok(!ioctl(p.fd, CVMM_SPACE_FAIL), "CVMM_SPACE_FAIL");
	status = space_status(p.fd);
	ok(space_wait_failed(p.fd, 1000) && status.state == CVMM_SPACE_FAILED &&
	   status.error == ECANCELED && status.reason[0], "it has failed: %s", status.reason);
	ok(m[0] == 9, "what is here stays readable");
	munmap((void *)m, PAGES * PAGE);
	close(p.fd);
}

void test_local(void)
{
	struct cvmm_info info;
	int dev = cvmm_open();

	ok(!ioctl(dev, CVMM_GET_INFO, &info) && info.abi == CVMM_ABI_VERSION &&
	   info.features & CVMM_FEATURE_LINK_STREAM, "CVMM_GET_INFO: %s", info.version);
	close(dev);
	test_config();
	test_budget();
	test_threads();
	test_mapping();
	test_fail_ioctl();
	ok(spaces_dump() == 0, "no space is left");
}
