// SPDX-License-Identifier: GPL-2.0-or-later
/* The steps of nomem: spaces, links, VMs, vCPUs, requests to the module. */
#include "nomem.h"

#include "../engine/kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/cvmm_netlink.h>
#include <netinet/in.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE		4096UL
#define PAGES		16UL		/* of each host */
#define TABLES		8		/* first page of a guest's page tables */
#define CACHE		"/sys/module/cvmm/parameters/page_table_cache"

struct node {
	int fd;
	uint8_t *mem;
};

static int dev, vm = -1, vcpu = -1, stats = -1, socks[2] = { -1, -1 }, family;
static unsigned int nr_nodes;
static struct node node[2] = { { .fd = -1 }, { .fd = -1 } };
static uint8_t *own;			/* memory of this process, as large as a node's */
static struct nl_sock *nl;
static struct kvm_run *run;
static struct kvm_cpuid2 *cpuid;
static uint64_t space_id = 1;
static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	(void)sig;
	siglongjmp(on_sigbus, 1);
}

void put(const char *path, const char *value)
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

static int join_space(unsigned int i, unsigned int nr)
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
	return result(set_slot(vm, 0, 0, 0, nr_nodes * PAGES * PAGE, node[0].mem));
}

static int make_own_slot(void)
{
	return result(set_slot(vm, 0, 0, 0, PAGES * PAGE, own));
}

static int log_dirty(void)
{
	return result(set_slot(vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * PAGE, own));
}

static int add_vcpu(void)
{
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	return result(vcpu);
}

int touch(void)
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
	need(join_space(0, 1), "CVMM_CREATE_SPACE");
	need(map_space(0), "mmap");
}

static void two_spaces(void)
{
	nr_nodes = 2;
	for (unsigned int i = 0; i < 2; i++) {
		need(join_space(i, 2), "CVMM_CREATE_SPACE");
		need(map_space(i), "mmap");
	}
	make_sockets();
}

void two_joined(void)
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
	need(add_vcpu(), "KVM_CREATE_VCPU");
	run = map(NULL, PAGE, MAP_SHARED, vcpu);
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		bail("KVM_SET_CPUID2");
}

/* mov %al, page i for some pages; hlt; in real mode, where addresses have 2 bytes, or long mode: 8. */
static void code(uint8_t *mem, unsigned int address)
{
	uint8_t *p = mem + CODE;

	for (unsigned int i = 2; i < PAGES; i++) {
		if (i >= TABLES && i < TABLES + 4)
			continue;
		*p++ = 0xa2;
		memset(p, 0, address);
		p[1] = i << 4;
		p += address;
	}
	*p = 0xf4;
}

static void one_vcpu(void)
{
	with_vm();
	need(make_slot(), "KVM_SET_USER_MEMORY_REGION");
	with_vcpu();
}

static void guest_alone(void)
{
	one_vcpu();
	code(node[0].mem, 2);
	real_mode(vcpu, 0);
}

static void own_vm(void)
{
	own = map(NULL, PAGES * PAGE, MAP_PRIVATE, -1);
	need(make_vm(), "KVM_CREATE_VM");
}

static void own_slot(void)
{
	own_vm();
	need(make_own_slot(), "KVM_SET_USER_MEMORY_REGION");
}

static void guest_on_own(void)
{
	own_slot();
	with_vcpu();
	code(own, 2);
	real_mode(vcpu, 0);
}

static void guest_logged(void)
{
	guest_on_own();
	need(log_dirty(), "KVM_MEM_LOG_DIRTY_PAGES");
}

/*
 * In long mode, with page tables, of which the module makes copies; what it does is the
 * handler of an interrupt that is to be delivered at once.
 */
static void guest_with_tables(void)
{
	struct kvm_regs regs = { .rip = CODE + 0x800, .rsp = STACK, .rflags = 0x202 };
	struct kvm_interrupt irq = { .irq = 32 };
	struct kvm_sregs s;
	uint64_t *low;

	put(CACHE, "1");
	one_vcpu();
	code(node[0].mem, 8);
	for (unsigned int level = 0; level < 3; level++)
		*(uint64_t *)(node[0].mem + (TABLES + level) * PAGE) = (TABLES + level + 1) * PAGE | 3;
	for (unsigned int i = 0; i < PAGES; i++)
		((uint64_t *)(node[0].mem + (TABLES + 3) * PAGE))[i] = i * PAGE | 3;
	memcpy(node[0].mem + CODE + 0x800, "\xe6\x80", 2);	/* out %al, $0x80: it got lost */
	low = (uint64_t *)node[0].mem;
	low[2 * irq.irq] = CODE | 8 << 16 | 0x8e00UL << 32;
	low[0x101] = 0x209b00UL << 32;		/* 64-bit code */
	real_mode(vcpu, 0);
	s = get_sregs(vcpu);
	s.idt.base = 0;
	s.idt.limit = 0x7ff;
	s.gdt.base = 0x800;
	s.gdt.limit = 15;
	s.cr0 = 0x80000011;			/* PG, ET, PE */
	s.cr3 = TABLES * PAGE;
	s.cr4 = 0x20;				/* PAE */
	s.efer = 0x500;				/* LMA, LME */
	s.cs.l = 1;
	s.cs.db = 0;
	s.cs.type = 11;
	set_sregs(vcpu, &s);
	if (ioctl(vcpu, KVM_SET_REGS, &regs) || ioctl(vcpu, KVM_INTERRUPT, &irq))
		bail("vCPU");
}

static void guest_joined(void)
{
	two_joined();
	need(make_vm(), "KVM_CREATE_VM");
	need(make_slot(), "KVM_SET_USER_MEMORY_REGION");
	with_vcpu();
	code(node[0].mem, 2);
	real_mode(vcpu, 0);
	/* All pages are the other host's. */
	for (unsigned int i = 0; i < PAGES; i++)
		*(volatile uint8_t *)(node[1].mem + i * PAGE + 100) = 1;
}

void undo(void)
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
	if (stats >= 0)
		close(stats);
	if (vm >= 0)
		close(vm);
	if (own)
		munmap(own, PAGES * PAGE);
	own = NULL;
	put(CACHE, "0");
	vcpu = vm = stats = -1;
	space_id++;
}

/* ---- the steps */

static void nothing(void)
{
}

static int create_space(void)
{
	return join_space(0, 1);
}

static int create_space_of_two(void)
{
	return join_space(0, 2);
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

static int set_apic(void)
{
	struct cvmm_apic_config c = { .version = CVMM_APIC_VERSION, .nr_vcpus = 1, .tsc_khz = 1000000 };

	return result(ioctl(vcpu, CVMM_VCPU_SET_APIC, &c));
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

static int get_log(void)
{
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = { .dirty_bitmap = &bitmap };

	return result(ioctl(vm, KVM_GET_DIRTY_LOG, &log));
}

static int get_cpuid(void)
{
	cpuid->nent = 256;
	return result(ioctl(dev, KVM_GET_SUPPORTED_CPUID, cpuid));
}

static int make_stats(void)
{
	stats = ioctl(vm, KVM_GET_STATS_FD, NULL);
	return result(stats);
}

/* One command of the module's netlink family about the space, and all answers. */
static int ask(int cmd, int flags)
{
	struct nl_msg *msg = nlmsg_alloc();
	int ret;

	if (!msg || !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, flags, cmd, CVMM_NL_VERSION) ||
	    nla_put_u64(msg, CVMM_NL_A_SPACE_ID, space_id))
		bail("netlink message");
	ret = nl_send_auto(nl, msg);
	nlmsg_free(msg);
	if (ret >= 0)
		ret = nl_recvmsgs_default(nl);
	if (ret >= 0 && !(flags & NLM_F_DUMP))
		ret = nl_wait_for_ack(nl);
	return ret < 0 ? -ENOMEM : 0;
}

static void open_netlink(void)
{
	nl = nl_socket_alloc();
	if (!nl || genl_connect(nl))
		bail("netlink");
	family = genl_ctrl_resolve(nl, CVMM_NL_FAMILY);
	if (family < 0)
		bail(CVMM_NL_FAMILY);
}

/* A request that failed may leave answers behind: each has a socket of its own. */
static void space_asked(void)
{
	one_space();
	if (nl)
		nl_socket_free(nl);
	open_netlink();
}

static int ask_spaces(void)
{
	return ask(CVMM_NL_CMD_GET_SPACE, NLM_F_DUMP);
}

static int ask_stats(void)
{
	return ask(CVMM_NL_CMD_GET_STATS, 0);
}

static int ask_latency(void)
{
	return ask(CVMM_NL_CMD_GET_LATENCY, 0);
}

static int ask_heat(void)
{
	return ask(CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP);
}

const struct step steps[] = {
	{ "create a space", nothing, create_space, true },
	{ "create a space of two hosts", nothing, create_space_of_two, true },
	{ "touch pages", one_space, touch, true },
	{ "join two spaces", two_spaces, link_spaces, false },
	{ "touch each other's pages", two_joined, touch, false },
	{ "create a VM", one_space, make_vm, true },
	{ "set a memory slot", with_vm, make_slot, true },
	{ "create a vCPU", with_vm, add_vcpu, true },
	{ "set CPUID", one_vcpu, set_cpuid, true },
	{ "share a local APIC", one_vcpu, set_apic, true },
	{ "share a local APIC of a space of two", guest_joined, set_apic, true },
	{ "set an MSR filter", with_vm, set_filter, true },
	{ "get MSRs", one_vcpu, get_msrs, true },
	{ "get and set state", one_vcpu, state, true },
	{ "run a guest", guest_alone, run_guest, true },
	{ "run a guest with the page-table cache", guest_with_tables, run_guest, true },
	{ "set a slot of this process's memory", own_vm, make_own_slot, true },
	{ "run a guest on this process's memory", guest_on_own, run_guest, true },
	{ "log what a guest writes", own_slot, log_dirty, true },
	{ "run a guest with a log", guest_logged, run_guest, true },
	{ "get a log", guest_logged, get_log, true },
	{ "get supported CPUID", nothing, get_cpuid, true },
	{ "open a VM's statistics", own_vm, make_stats, true },
	{ "list spaces", space_asked, ask_spaces, false },
	{ "ask for a space's counters", space_asked, ask_stats, false },
	{ "ask for a space's latencies", space_asked, ask_latency, false },
	{ "ask for a space's heat", space_asked, ask_heat, false },
	{ "run a guest on another's pages", guest_joined, run_guest, false },
};

const unsigned int nr_steps = sizeof(steps) / sizeof(steps[0]);

void steps_init(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = sigbus };

	sigaction(SIGBUS, &sa, NULL);
	dev = open_device(argc, argv);
	cpuid = supported_cpuid(dev);
}
