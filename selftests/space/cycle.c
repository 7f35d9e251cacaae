// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Twenty lives of a guest leave nothing behind: memory, files, threads.
 */
#include "space_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES	256UL
#define CYCLES	20

struct usage {
	long free_kb, slab_kb, vmalloc_kb, percpu_kb, files, threads;
};

static long meminfo(const char *key)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			kb = strtol(line + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

static long count_threads(const char *prefix)
{
	char path[300], comm[32];
	struct dirent *d;
	DIR *dir = opendir("/proc");
	long nr = 0;

	while (dir && (d = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strncmp(comm, prefix, strlen(prefix)))
			nr++;
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return nr;
}

static struct usage usage_now(void)
{
	struct usage u;
	FILE *f;

	usleep(300000);		/* what is freed after an RCU grace period */
	f = fopen("/proc/sys/fs/file-nr", "r");
	if (!f || fscanf(f, "%ld", &u.files) != 1)
		die("file-nr");
	fclose(f);
	u.free_kb = meminfo("MemFree");
	u.slab_kb = meminfo("SUnreclaim");
	u.vmalloc_kb = meminfo("VmallocUsed");
	u.percpu_kb = meminfo("Percpu");
	u.threads = count_threads("cvmm-");
	return u;
}

static void live(unsigned int i)
{
	struct cluster c;

	cluster_create(&c, "cycle", 2, PAGES, i & 1 ? JOIN_CONNS : JOIN_UNIX);
	for (unsigned int node = 0; node < 2; node++)
		for (size_t page = 0; page < PAGES; page++)
			*(volatile uint64_t *)at(&c, node, (page + node) & 1, page, 0) = i;
	cluster_destroy(&c);
}

void test_cycle(void)
{
	struct usage a, b;

	for (unsigned int i = 0; i < 4; i++)
		live(i);
	a = usage_now();
	for (unsigned int i = 0; i < CYCLES; i++)
		live(i);
	b = usage_now();

	/*
	 * One life has 2 MiB of pages and about 100 KiB more.  The allocator keeps
	 * some megabytes for each CPU; the module itself warns when it has lost
	 * count of a single frame, and a warning ends the host.
	 */
	if (!access("/sys/kernel/debug/kmemleak", F_OK)) {
		skip("free memory, slab", "KASAN keeps what was freed: kmemleak judges here");
	} else {
		ok(a.free_kb - b.free_kb < 16384, "free memory: %ld kB, then %ld kB", a.free_kb,
		   b.free_kb);
		ok(b.slab_kb - a.slab_kb < 512, "slab: %ld kB, then %ld kB", a.slab_kb, b.slab_kb);
	}
	ok(b.vmalloc_kb - a.vmalloc_kb < 128, "vmalloc: %ld kB, then %ld kB", a.vmalloc_kb,
	   b.vmalloc_kb);
	ok(b.percpu_kb - a.percpu_kb < 128, "percpu: %ld kB, then %ld kB", a.percpu_kb,
	   b.percpu_kb);
	/* The kernel's number is approximate. */
	ok(b.files - a.files < CYCLES, "open files: %ld, then %ld", a.files, b.files);
	ok(!b.threads, "%ld threads of ours are left", b.threads);
	ok(spaces_dump() == 0, "no space is left");
}
