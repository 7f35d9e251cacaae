// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine is the one that was asked for: CPUs and memory per NUMA node,
 * distances, APIC ids, first-touch memory on the toucher's node, and a serial
 * port that every CPU reaches, wherever it is.
 *
 *   nodes=N cpus=A+B+...      CPUs of each node
 *   mib=A+B+...               memory of each node in MiB; what the kernel keeps
 *                             for itself may be missing (slack= percent, 20)
 *   slit=LOCAL+REMOTE         distances on and off the diagonal
 *
 * What is not given is only printed and checked for sense.
 */
#include "harness.h"

#include <cpuid.h>

/* The i-th number of a list like "2+2", or -1. */
static long nth(const char *list, int i)
{
	while (list && i--) {
		list = strchr(list, '+');
		if (list)
			list++;
	}
	return list ? strtol(list, NULL, 0) : -1;
}

static uint32_t apic_id(void)
{
	uint32_t a, b, c, d;

	if (__get_cpuid_max(0, NULL) >= 0xb) {
		__cpuid_count(0xb, 0, a, b, c, d);
		if (b & 0xffff)
			return d;
	}
	__cpuid(1, a, b, c, d);
	return b >> 24;
}

struct seen {
	uint32_t apic[H_MAX_CPUS];
	int cpu[H_MAX_CPUS], node[H_MAX_CPUS], page_node[H_MAX_CPUS];
	int port[H_MAX_CPUS];		/* line status, or -1 */
};

/* The line status register of the first serial port; -1: ports are not for us. */
static int serial_port(void)
{
	int fd = open("/dev/port", O_RDONLY | O_CLOEXEC);
	uint8_t lsr = 0xff;

	if (fd < 0)
		return -1;
	if (pread(fd, &lsr, 1, 0x3f8 + 5) != 1)
		lsr = 0xff;
	close(fd);
	return lsr;
}

static void look(unsigned int i, void *arg)
{
	struct seen *s = arg;
	unsigned int cpu, node;
	char *p = mmap(NULL, H_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || syscall(SYS_getcpu, &cpu, &node, NULL))
		h_bail("CPU %d: %s", h_cpu(i), strerror(errno));
	*p = 1;
	s->cpu[i] = cpu;
	s->node[i] = node;
	s->apic[i] = apic_id();
	s->page_node[i] = h_node_of_page(p);
	s->port[i] = serial_port();
	munmap(p, H_PAGE);
}

static struct seen seen;

int main(int argc, char **argv)
{
	const char *cpus, *mib, *slit;
	uint64_t nodes, slack;
	char buf[1024];

	h_init(argc, argv);
	nodes = h_arg("nodes", 0);
	slack = h_arg("slack", 20);
	cpus = h_arg_str("cpus", NULL);
	mib = h_arg_str("mib", NULL);
	slit = h_arg_str("slit", NULL);
	h_args_end();

	h_run(h_ncpus, look, &seen);
	for (int i = 0; i < h_ncpus; i++)
		h_note("cpu=%d node=%d apic_id=%u page_node=%d", seen.cpu[i], seen.node[i],
		       seen.apic[i], seen.page_node[i]);

	if (nodes)
		h_ok((uint64_t)h_nnodes == nodes, "%d NUMA nodes with CPUs, expected %llu", h_nnodes,
		     (unsigned long long)nodes);
	else
		h_ok(h_nnodes > 0, "%d NUMA nodes with CPUs", h_nnodes);

	for (int n = 0; n < h_nnodes; n++) {
		uint64_t have = h_node_kib(h_nodes[n]);
		int count = 0;

		for (int i = 0; i < h_ncpus; i++)
			count += h_node(h_cpus[i]) == h_nodes[n];
		h_note("node=%d cpus=%d mem_kib=%llu", h_nodes[n], count, (unsigned long long)have);
		if (cpus)
			h_ok(count == nth(cpus, n), "node %d has %d CPUs, expected %ld", h_nodes[n],
			     count, nth(cpus, n));
		if (mib) {
			uint64_t want = nth(mib, n) * 1024;

			h_ok(have <= want && have >= want * (100 - slack) / 100,
			     "node %d has %llu KiB of %llu KiB", h_nodes[n],
			     (unsigned long long)have, (unsigned long long)want);
		}
	}

	for (int n = 0; n < h_nnodes; n++) {
		bool right = true;
		char path[96], *p = buf;

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", h_nodes[n]);
		if (h_read_file(path, buf, sizeof(buf)) <= 0) {
			h_skip("distances", "no NUMA in this kernel");
			break;
		}
		for (int m = 0; m < h_nnodes; m++) {
			long d = strtol(p, &p, 10);

			if (slit)
				right &= d == nth(slit, m != n);
			else
				right &= m == n ? d == 10 : d >= 10 && d < 256;
		}
		buf[strcspn(buf, "\n")] = 0;
		h_ok(right, "distances of node %d: %s", h_nodes[n], buf);
	}

	for (int i = 0; i < h_ncpus; i++) {
		bool unique = true;

		for (int j = 0; j < i; j++)
			unique &= seen.apic[i] != seen.apic[j];
		h_ok(unique && seen.cpu[i] == h_cpu(i) && seen.node[i] == h_node(h_cpu(i)),
		     "CPU %d: getcpu and sysfs agree, APIC id %u is its own", h_cpu(i), seen.apic[i]);
		if (h_nnodes > 1)
			h_ok(seen.page_node[i] == seen.node[i],
			     "CPU %d: first touch gives memory of node %d, expected %d", h_cpu(i),
			     seen.page_node[i], seen.node[i]);
	}

	if (seen.port[0] < 0 || seen.port[0] == 0xff) {
		h_skip("serial port", "there is none, or not for us");
		return h_done();
	}
	for (int i = 0; i < h_ncpus; i++)
		h_ok(seen.port[i] != 0xff, "CPU %d: the serial port answers (0x%x)", h_cpu(i),
		     seen.port[i]);
	return h_done();
}
