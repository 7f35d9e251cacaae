// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Much memory, more than one host's share if told so, filled with what depends
 * on the place by threads on all CPUs and verified by threads on other nodes.
 *
 *   mib=N        how much; default pct= percent of what is available (60)
 *   by=all|one   all CPUs fill their part, or one CPU fills all (its node's
 *                memory runs out and the other nodes' is used)
 *   remote=P     percent of the pages that a CPU of another node verifies (25);
 *                the others are verified where they were filled
 *   broken=1     self-test: one word in the middle is changed; must be caught
 */
#include "harness.h"

#define WORDS (H_PAGE / 8)

static uint64_t *mem;
static uint64_t n_pages, remote_pct;
static bool by_one;
static _Atomic uint64_t bad, checked_far, checked_near;

static inline uint64_t pattern(uint64_t page, unsigned int w)
{
	return (page * WORDS + w) * 0x9e3779b97f4a7c15ull ^ h_seed;
}

static void range(unsigned int i, uint64_t *first, uint64_t *last)
{
	*first = n_pages * i / h_ncpus;
	*last = n_pages * (i + 1) / h_ncpus;
}

static void fill(unsigned int i, void *arg)
{
	uint64_t first, last;

	(void)arg;
	range(i, &first, &last);
	if (by_one) {
		first = 0;
		last = i ? 0 : n_pages;
	}
	for (uint64_t page = first; page < last; page++)
		for (unsigned int w = 0; w < WORDS; w++)
			mem[page * WORDS + w] = pattern(page, w);
}

static bool right(uint64_t page)
{
	uint64_t diff = 0;

	for (unsigned int w = 0; w < WORDS; w++)
		diff |= mem[page * WORDS + w] ^ pattern(page, w);
	return !diff;
}

/* Is @page one of the @remote_pct percent?  The same answer to everybody. */
static bool is_far(uint64_t page)
{
	struct h_rng r = { page ^ h_seed << 32 };

	return h_rand(&r) % 100 < remote_pct;
}

static void verify(unsigned int i, void *arg)
{
	bool far = arg;
	uint64_t first, last, count = 0;

	/* h_cpu(i + 1) is on another node than h_cpu(i), where there are several. */
	range((i + far) % h_ncpus, &first, &last);
	for (uint64_t page = first; page < last; page++) {
		if (is_far(page) != far)
			continue;
		count++;
		if (right(page))
			continue;
		if (atomic_fetch_add(&bad, 1) < 8)
			h_note("CPU %d: page %llu (node %d) is wrong", h_cpu(i), (unsigned long long)page,
			       h_node_of_page(mem + page * WORDS));
	}
	atomic_fetch_add(far ? &checked_far : &checked_near, count);
}

static uint64_t meminfo_kib(const char *key)
{
	char buf[4096], *p;

	if (h_read_file("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return 0;
	p = strstr(buf, key);
	return p ? strtoull(p + strlen(key), NULL, 0) : 0;
}

/*
 * How many pages are on each node, as the kernel counts them: to ask for one page's
 * node makes NUMA balancing move that page to who asks.  Returns the nodes with pages.
 */
static unsigned int print_nodes(void)
{
	char line[4096], name[16], *p;
	unsigned int with = 0;
	FILE *f = fopen("/proc/self/numa_maps", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strtoull(line, NULL, 16) != (uintptr_t)mem)
			continue;
		for (int i = 0; i < h_nnodes; i++) {
			uint64_t n;

			snprintf(name, sizeof(name), " N%d=", h_nodes[i]);
			p = strstr(line, name);
			n = p ? strtoull(p + strlen(name), NULL, 10) : 0;
			with += n > 0;
			h_note("node=%d pages=%llu", h_nodes[i], (unsigned long long)n);
		}
	}
	if (f)
		fclose(f);
	return with;
}

int main(int argc, char **argv)
{
	uint64_t mib, pct, start, filled, near;
	uint64_t largest = 0;
	unsigned int with;
	const char *by;
	bool broken;

	h_init(argc, argv);
	mib = h_arg("mib", 0);
	pct = h_arg("pct", 60);
	by = h_arg_str("by", "all");
	remote_pct = h_arg("remote", 25);
	broken = h_arg("broken", 0);
	h_args_end();
	if (strcmp(by, "all") && strcmp(by, "one"))
		h_bail("by=%s: all or one", by);
	by_one = !strcmp(by, "one");
	for (int i = 0; i < h_nnodes; i++)
		if (h_node_kib(h_nodes[i]) > largest)
			largest = h_node_kib(h_nodes[i]);
	if (!mib)
		mib = meminfo_kib("MemAvailable:") * pct / 100 / 1024;
	n_pages = mib * 256;
	if (!n_pages)
		h_bail("nothing to fill");
	mem = mmap(NULL, n_pages * H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		h_bail("mmap of %llu MiB: %s", (unsigned long long)mib, strerror(errno));
	/* Small pages: a transfer each, and the kernel takes them from where there are some. */
	madvise(mem, n_pages * H_PAGE, MADV_NOHUGEPAGE);

	start = h_now_ns();
	h_run(h_ncpus, fill, NULL);
	filled = h_now_ns();
	with = print_nodes();
	if (broken)
		mem[n_pages / 2 * WORDS + 5] ^= 1;
	h_run(h_ncpus, verify, (void *)false);
	near = h_now_ns();
	h_run(h_ncpus, verify, (void *)true);
	h_note("mib=%llu fill_s=%.2f verify_near_s=%.2f verify_far_s=%.2f near=%llu far=%llu",
	       (unsigned long long)mib, (filled - start) / 1e9, (near - filled) / 1e9,
	       (h_now_ns() - near) / 1e9, (unsigned long long)checked_near, (unsigned long long)checked_far);
	if (broken)
		h_ok(bad == 1, "one changed word is caught (%llu wrong pages)", (unsigned long long)bad);
	else
		h_ok(!bad, "%llu of %llu pages wrong", (unsigned long long)bad, (unsigned long long)n_pages);
	h_ok(checked_near + checked_far == n_pages, "every page was looked at: %llu and %llu of %llu",
	     (unsigned long long)checked_near, (unsigned long long)checked_far, (unsigned long long)n_pages);
	if (by_one && largest && mib * 1024 > largest)
		h_ok(with > 1, "more than one node has: pages on %u nodes", with);
	return h_done();
}
