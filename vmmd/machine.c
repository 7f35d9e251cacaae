// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine: see machine.h.  Here are its memory, its devices and the ways
 * between them, the vCPUs and the other nodes; vcpu.c has the vCPUs.
 *
 * Locks: each device has its own, and under an IOAPIC's lock interrupts are
 * routed, which takes none.  machine->lock is a leaf.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cvmm.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "acpi.h"
#include "ioapic.h"
#include "kvm.h"
#include "machine_priv.h"
#include "pm.h"
#include "rtc.h"
#include "uart16550.h"

/* Console output is collected this long before it is passed on. */
#define OUTPUT_DELAY_NS	1000000

#define fail(...)	(snprintf(err, errlen, __VA_ARGS__), -1)

static void add_count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* ---- memory -------------------------------------------------------------- */

unsigned int machine_ram_map(const struct vm_conf *conf, struct ram_range *r, unsigned int max)
{
	uint64_t gpa = 0, left, part;
	unsigned int node, n = 0;

	for (node = 0; node < conf->nr_nodes; node++) {
		for (left = conf->node[node].memory; left && n < max; left -= part) {
			if (gpa == RAM_LOW_MAX)
				gpa = RAM_HIGH_BASE;
			part = left;
			if (gpa < RAM_LOW_MAX && part > RAM_LOW_MAX - gpa)
				part = RAM_LOW_MAX - gpa;
			r[n++] = (struct ram_range){ .gpa = gpa, .size = part, .node = node };
			gpa += part;
		}
	}
	return n;
}

/* The guest's memory in a space. */
static int map_space(struct machine *m, uint8_t *at, uint64_t gpa, uint64_t size)
{
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE | MAP_SHARED,
		    m->p.space_fd, (off_t)gpa) == MAP_FAILED ? -1 : 0;
}

/* ... or this process's own, for a guest of one host. */
static int map_own(struct machine *m, uint8_t *at, uint64_t size)
{
	const int node = m->conf->node[m->p.node].numa_node;
	unsigned long mask[1024 / (8 * sizeof(long))] = { 0 };
	uint64_t huge = conf_huge_size(m->conf);
	int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;

	flags |= huge ? MAP_HUGETLB | __builtin_ctzll(huge) << MAP_HUGE_SHIFT : MAP_NORESERVE;
	if (mmap(at, size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		return -1;
	if (node >= 0) {
		mask[(unsigned int)node / (8 * sizeof(long))] = 1UL << (unsigned int)node % (8 * sizeof(long));
		if (syscall(SYS_mbind, at, size, MPOL_BIND, mask, sizeof(mask) * 8 + 1, 0))
			return -1;
	}
	if (!huge)
		madvise(at, size, m->conf->pages == CONF_PAGES_4K ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	else if (madvise(at, size, MADV_POPULATE_WRITE))
		return -1;	/* before the guest meets a node without free pages */
	return madvise(at, size, MADV_DONTFORK);
}

static int map_part(struct machine *m, uint64_t gpa, uint64_t size, char *err, size_t errlen)
{
	bool in_space = m->p.space_fd >= 0 && conf_in_space(m->conf);
	uint8_t *at = m->ram.base + gpa;

	if (!size)
		return 0;
	if (in_space ? map_space(m, at, gpa, size) : map_own(m, at, size))
		return fail("cannot map %llu MiB of guest memory: %s%s%s", (unsigned long long)size >> 20, strerror(errno),
			    conf_huge_size(m->conf) ? "; are there so many free huge pages of the size in "
						      "/sys/kernel/mm/hugepages?" : "",
			    m->conf->node[m->p.node].numa_node >= 0 ? "; has this host that NUMA node?" : "");
	madvise(at, size, MADV_DONTDUMP);
	return 0;
}

static int add_slot(struct machine *m, unsigned int slot, uint64_t gpa, uint64_t size,
		    char *err, size_t errlen)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)(m->ram.base + gpa),
	};

	if (size && ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &r))
		return fail("cannot give the guest its memory: %s", strerror(errno));
	return 0;
}

static int setup_memory(struct machine *m, char *err, size_t errlen)
{
	uint64_t total = 0, span;
	uintptr_t align;
	unsigned int i;

	for (i = 0; i < m->conf->nr_nodes; i++)
		total += m->conf->node[i].memory;
	m->ram.low = total < RAM_LOW_MAX ? total : RAM_LOW_MAX;
	m->ram.high = total - m->ram.low;
	span = m->ram.high ? RAM_HIGH_BASE + m->ram.high : m->ram.low;

	/* As the guest's addresses are aligned, so that large pages fit both. */
	align = m->conf->pages == CONF_PAGES_1G ? 1UL << 30 : 2UL << 20;
	m->window_size = span + align;
	m->window = mmap(NULL, m->window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->window == MAP_FAILED) {
		m->window = NULL;
		return fail("cannot reserve addresses for guest memory: %s", strerror(errno));
	}
	m->ram.base = (uint8_t *)(((uintptr_t)m->window + align - 1) & ~(align - 1));
	if (m->p.space_fd >= 0 && ioctl(m->vm_fd, CVMM_VM_JOIN_SPACE, m->p.space_fd))
		return fail("the module does not connect the guest to its space: %s", strerror(errno));
	if (map_part(m, 0, m->ram.low, err, errlen) ||
	    map_part(m, RAM_HIGH_BASE, m->ram.high, err, errlen))
		return -1;
	if (add_slot(m, 0, 0, m->ram.low, err, errlen) ||
	    add_slot(m, 1, RAM_HIGH_BASE, m->ram.high, err, errlen))
		return -1;
	return 0;
}

/* ---- the end ------------------------------------------------------------- */

void machine_end(struct machine *m, enum machine_end why)
{
	enum machine_end running = MACHINE_RUNNING;
	uint64_t one = 1;
	unsigned int i;

	if (!atomic_compare_exchange_strong(&m->end, &running, why))
		return;
	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->end_cond);
	pthread_mutex_unlock(&m->lock);
	for (i = 0; i < m->nr_vcpus; i++)
		vcpu_kick(&m->vcpu[i]);
	if (write(m->io_event, &one, sizeof(one)) < 0)
		return;		/* the counter is full: the thread is awake anyway */
}

void machine_fail(struct machine *m, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&m->lock);
	if (!m->error[0] && !machine_ended(m)) {
		va_start(ap, fmt);
		vsnprintf(m->error, sizeof(m->error), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_unlock(&m->lock);
	machine_end(m, MACHINE_ERROR);
}

void machine_stop(struct machine *m)
{
	machine_end(m, MACHINE_STOPPED);
}

/* ---- interrupts ---------------------------------------------------------- */

static struct vcpu *local_vcpu(struct machine *m, unsigned int id)
{
	if (id < m->first_vcpu || id - m->first_vcpu >= m->nr_vcpus)
		return NULL;
	return &m->vcpu[id - m->first_vcpu];
}

static unsigned int deliver_local(struct machine *m, const struct apic_set *set, const struct apic_msg *msg)
{
	unsigned int i, n = 0;

	for (i = 0; i < m->nr_vcpus; i++) {
		if (apic_set_has(set, m->vcpu[i].id)) {
			vcpu_deliver(&m->vcpu[i], msg);
			n++;
		}
	}
	return n;
}

bool machine_route(struct machine *m, const struct apic_msg *msg)
{
	unsigned int nr, local, id;
	struct apic_msg out = *msg;
	struct apic_set set;
	uint64_t nodes = 0;

	nr = apicbus_targets(&m->apicbus, msg, &set);
	if (!nr)
		return false;
	local = deliver_local(m, &set, msg);
	add_count(&m->ipis_local, local);
	if (local == nr)
		return true;

	for (id = 0; id < m->apicbus.nr; id++) {
		if (apic_set_has(&set, id) && m->node_of[id] != m->p.node) {
			nodes |= 1ULL << m->node_of[id];
			if (msg->delivery == 1) {
				/* The choice is made here; the other side must not choose again. */
				out.delivery = 0;
				out.dest = id;
				out.logical = false;
				out.shorthand = 0;
				out.x2apic = true;
			}
		}
	}
	add_count(&m->ipis_remote_out, nr - local);
	m->p.peers->apic_msg(m->p.peers_ctx, nodes, &out);
	return true;
}

void machine_rx_apic_msg(struct machine *m, const struct apic_msg *msg)
{
	struct apic_set set;

	apicbus_targets(&m->apicbus, msg, &set);
	add_count(&m->ipis_remote_in, deliver_local(m, &set, msg));
}

void machine_rx_apic_info(struct machine *m, const struct apic_info *info)
{
	/* An APIC is known best by the node that has it. */
	if (!local_vcpu(m, info->id))
		apicbus_update(&m->apicbus, info);
}

void machine_rx_eoi(struct machine *m, uint8_t vector)
{
	if (m->ioapic)
		ioapic_eoi(m->ioapic, vector);
	else if (m->p.peers)
		m->p.peers->eoi(m->p.peers_ctx, vector);
}

static bool ioapic_send(void *ctx, const struct apic_msg *msg)
{
	struct machine *m = ctx;

	add_count(&m->irqs, 1);
	return machine_route(m, msg);
}

/* ---- devices ------------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* For the PM timer: it runs at the guest's pace. */
static uint64_t guest_ns(void *ctx)
{
	struct machine *m = ctx;

	return monotonic_ns() / m->conf->slowdown;
}

static int64_t wall_ns(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void pm_end(void *ctx, enum machine_end why)
{
	machine_end(ctx, why);
}

static void uart_irq(void *ctx, bool level)
{
	struct machine *m = ctx;

	ioapic_set_irq(m->ioapic, UART_COM1_IRQ, level);
}

static void uart_has_output(void *ctx)
{
	struct machine *m = ctx;
	uint64_t one = 1;

	if (write(m->io_event, &one, sizeof(one)) < 0)
		return;		/* the counter is full: the thread is awake anyway */
}

static const struct pm_ops pm_ops = { .now = guest_ns, .end = pm_end };
static const struct uart_ops uart_ops = { .irq = uart_irq, .output = uart_has_output };

static int create_devices(struct machine *m, char *err, size_t errlen)
{
	m->ioapic = ioapic_create(0, ioapic_send, m);
	m->uart = uart_create(&uart_ops, m);
	m->rtc = rtc_create(wall_ns, m);
	m->pm = pm_create(&pm_ops, m);
	if (!m->ioapic || !m->uart || !m->rtc || !m->pm)
		return fail("out of memory");
	return 0;
}

/* The same ranges on every node; the devices themselves on node 0. */
static int setup_bus(struct machine *m, char *err, size_t errlen)
{
	bool here = m->p.node == 0;
	const struct {
		enum io_space space;
		uint64_t base, len;
		const struct bus_ops *ops;
		void *dev;
	} map[] = {
		{ IO_PIO, KBC_PORT, 1, &pm_kbc_bus_ops, m->pm },
		{ IO_PIO, RTC_BASE, RTC_PORTS, &rtc_bus_ops, m->rtc },
		{ IO_PIO, UART_COM1_BASE, UART_PORTS, &uart_bus_ops, m->uart },
		{ IO_PIO, PM_BASE, PM_PORTS, &pm_bus_ops, m->pm },
		{ IO_PIO, RESET_PORT, 1, &pm_reset_bus_ops, m->pm },
		{ IO_MMIO, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_bus_ops, m->ioapic },
	};
	unsigned int i;

	for (i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (bus_add(&m->bus, map[i].space, map[i].base, map[i].len,
			    here ? map[i].ops : NULL, map[i].dev))
			return fail("two devices at one address");
	}
	return 0;
}

void machine_io(struct machine *m, struct vcpu *v, struct io_req *req)
{
	const struct bus_range *r;

	if (bus_access(&m->bus, req))
		return;
	r = bus_find(&m->bus, req->space, req->addr);
	if (!r || !m->p.peers || m->p.node == 0)
		return;
	add_count(&v->stats.io_forwarded, 1);
	if (m->p.peers->io(m->p.peers_ctx, 0, req) && !machine_ended(m))
		machine_fail(m, "node 0, which has the devices, is gone");
}

void machine_rx_io(struct machine *m, struct io_req *req)
{
	if (req->size != 1 && req->size != 2 && req->size != 4 && req->size != 8) {
		req->data = ~0ULL;
		return;
	}
	bus_access(&m->bus, req);
}

size_t machine_console_in(struct machine *m, const void *buf, size_t len)
{
	return m->uart ? uart_input(m->uart, buf, len) : 0;
}

/* Passes the console's output on. */
static void *io_thread(void *arg)
{
	static const struct timespec delay = { .tv_nsec = OUTPUT_DELAY_NS };
	struct machine *m = arg;
	char buf[4096];
	uint64_t n;
	size_t len;

	pthread_setname_np(pthread_self(), "console");
	for (;;) {
		bool ended = machine_ended(m);

		while ((len = uart_output(m->uart, buf, sizeof(buf))) > 0) {
			if (m->p.console_out)
				m->p.console_out(m->p.console_ctx, buf, len);
		}
		if (ended)
			break;
		if (read(m->io_event, &n, sizeof(n)) < 0 && errno != EINTR)
			break;
		if (!machine_ended(m))
			nanosleep(&delay, NULL);
	}
	return NULL;
}

/* ---- time ---------------------------------------------------------------- */

/*
 * All vCPUs of this host step together while none of them runs.  A step back
 * is hidden in the time they are stopped: no vCPU reads a smaller value than
 * any of them has read before.
 */
void machine_adjust_tsc(struct machine *m, int64_t delta)
{
	struct timespec pause = { 0 };
	uint64_t stopped, ns;
	unsigned int i;

	pthread_mutex_lock(&m->adjust_lock);
	atomic_store(&m->gate, true);
	for (i = 0; i < m->nr_vcpus; i++)
		vcpu_kick(&m->vcpu[i]);
	pthread_mutex_lock(&m->lock);
	for (i = 0; i < m->nr_vcpus; i++) {
		while (atomic_load(&m->vcpu[i].mode) == VCPU_RUNNING && !machine_ended(m))
			pthread_cond_wait(&m->gate_cond, &m->lock);
	}
	pthread_mutex_unlock(&m->lock);

	stopped = __rdtsc();
	atomic_fetch_add(&m->tsc_offset, delta);
	if (delta < 0) {
		ns = -(uint64_t)delta * 1000000 / m->tsc_khz;
		pause.tv_sec = ns / 1000000000;
		pause.tv_nsec = ns % 1000000000;
		nanosleep(&pause, NULL);
		while (__rdtsc() - stopped < -(uint64_t)delta)
			_mm_pause();
	}

	atomic_store(&m->gate, false);
	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->gate_cond);
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->adjust_lock);
}

/* ---- life ---------------------------------------------------------------- */

/* "0-3,6" into a set; conf.c has checked the syntax. */
static bool parse_cpus(const char *s, cpu_set_t *set)
{
	CPU_ZERO(set);
	while (*s) {
		char *end;
		unsigned long first = strtoul(s, &end, 10), last = first;

		if (end == s)
			return false;
		if (*end == '-') {
			s = end + 1;
			last = strtoul(s, &end, 10);
			if (end == s)
				return false;
		}
		if (first > last || last >= CPU_SETSIZE)
			return false;
		for (; first <= last; first++)
			CPU_SET(first, set);
		if (*end && *end != ',')
			return false;
		s = *end ? end + 1 : end;
	}
	return CPU_COUNT(set) > 0;
}

static void place_vcpus(struct machine *m)
{
	unsigned int node, i, id = 0;

	for (node = 0; node < m->conf->nr_nodes; node++) {
		if (node == m->p.node) {
			m->first_vcpu = id;
			m->nr_vcpus = m->conf->node[node].vcpus;
		}
		for (i = 0; i < m->conf->node[node].vcpus; i++)
			m->node_of[id++] = node;
	}
}

static int create_vcpus(struct machine *m, char *err, size_t errlen)
{
	int max = ioctl(m->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	unsigned int i;

	if (max > 0 && m->nr_vcpus > (unsigned int)max)
		return fail("the engine runs at most %d vCPUs per host, %u are configured", max, m->nr_vcpus);
	m->vcpu = calloc(m->nr_vcpus, sizeof(*m->vcpu));
	if (!m->vcpu) {
		m->nr_vcpus = 0;
		return fail("out of memory");
	}
	for (i = 0; i < m->nr_vcpus; i++)
		m->vcpu[i].fd = -1;
	for (i = 0; i < m->nr_vcpus; i++) {
		if (vcpu_create(m, &m->vcpu[i], m->first_vcpu + i, err, errlen))
			return -1;
	}
	return 0;
}

struct machine *machine_create(const struct machine_params *p, char *err, size_t errlen)
{
	struct machine *m;

	if (p->node >= p->conf->nr_nodes || !p->conf->slowdown || conf_nr_vcpus(p->conf) > CONF_MAX_VCPUS ||
	    (p->conf->nr_nodes > 1 && (!p->peers || p->space_fd < 0))) {
		snprintf(err, errlen, "the machine's parameters do not fit its configuration");
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	m->p = *p;
	m->conf = p->conf;
	m->vm_fd = -1;
	m->io_event = -1;
	atomic_init(&m->tsc_offset, p->tsc_offset);
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->adjust_lock, NULL);
	pthread_cond_init(&m->end_cond, NULL);
	pthread_cond_init(&m->gate_cond, NULL);
	apicbus_init(&m->apicbus, conf_nr_vcpus(p->conf));
	place_vcpus(m);

	m->engine_fd = fcntl(p->engine_fd, F_DUPFD_CLOEXEC, 0);
	if (m->engine_fd < 0) {
		snprintf(err, errlen, "cannot use the engine: %s", strerror(errno));
		goto destroy;
	}
	if (engine_check(m->engine_fd, err, errlen))
		goto destroy;
	m->vm_fd = engine_create_vm(m->engine_fd, err, errlen);
	if (m->vm_fd < 0)
		goto destroy;
	m->io_event = eventfd(0, EFD_CLOEXEC);
	if (m->io_event < 0) {
		snprintf(err, errlen, "cannot create an event descriptor: %s", strerror(errno));
		goto destroy;
	}
	m->pinned = p->conf->node[p->node].cpus;
	if (m->pinned && !parse_cpus(p->conf->node[p->node].cpus, &m->cpus)) {
		snprintf(err, errlen, "not a list of CPUs: \"%s\"", p->conf->node[p->node].cpus);
		goto destroy;
	}
	if (setup_memory(m, err, errlen) ||
	    (p->node == 0 && create_devices(m, err, errlen)) ||
	    setup_bus(m, err, errlen) ||
	    create_vcpus(m, err, errlen))
		goto destroy;
	return m;

destroy:
	machine_destroy(m);
	return NULL;
}

int machine_load(struct machine *m, const void *kernel, size_t kernel_len,
		 const void *initrd, size_t initrd_len, char *err, size_t errlen)
{
	const struct linux_image img = {
		.kernel = kernel, .kernel_len = kernel_len,
		.initrd = initrd, .initrd_len = initrd_len,
		.cmdline = m->conf->cmdline,
		.rsdp = ACPI_BASE,
		.near = m->conf->node[0].memory,
	};
	void *acpi = ram_ptr(&m->ram, ACPI_BASE, ACPI_SIZE);

	if (m->p.node != 0)
		return fail("only node 0 loads the guest");
	if (!acpi)
		return fail("not enough memory for any kernel");
	if (!acpi_build(m->conf, acpi, ACPI_SIZE, ACPI_BASE))
		return fail("the ACPI tables do not fit");
	if (boot_linux_load(&m->ram, &img, &m->entry, err, errlen))
		return -1;
	m->loaded = true;
	return 0;
}

enum machine_end machine_run(struct machine *m, char *err, size_t errlen)
{
	bool have_io = false;
	unsigned int i;
	sigset_t all, old;
	int e;

	if (m->p.node == 0 && !m->loaded)
		machine_fail(m, "no kernel was loaded");
	if (m->uart && !machine_ended(m)) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		e = pthread_create(&m->io_thread, NULL, io_thread, m);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		have_io = !e;
		if (e)
			machine_fail(m, "cannot start a thread: %s", strerror(e));
	}
	for (i = 0; i < m->nr_vcpus && !machine_ended(m); i++) {
		e = vcpu_start(&m->vcpu[i]);
		if (e)
			machine_fail(m, "cannot start a vCPU thread: %s", strerror(e));
	}

	pthread_mutex_lock(&m->lock);
	while (!machine_ended(m))
		pthread_cond_wait(&m->end_cond, &m->lock);
	pthread_mutex_unlock(&m->lock);

	for (i = 0; i < m->nr_vcpus; i++) {
		if (m->vcpu[i].started)
			pthread_join(m->vcpu[i].thread, NULL);
		m->vcpu[i].started = false;
	}
	if (have_io)
		pthread_join(m->io_thread, NULL);
	if (atomic_load(&m->end) == MACHINE_ERROR)
		snprintf(err, errlen, "%s", m->error);
	return atomic_load(&m->end);
}

void machine_destroy(struct machine *m)
{
	unsigned int i;

	if (!m)
		return;
	for (i = 0; m->vcpu && i < m->nr_vcpus; i++)
		vcpu_destroy(&m->vcpu[i]);
	free(m->vcpu);
	pm_destroy(m->pm);
	rtc_destroy(m->rtc);
	uart_destroy(m->uart);
	ioapic_destroy(m->ioapic);
	if (m->vm_fd >= 0)
		close(m->vm_fd);
	if (m->engine_fd >= 0)
		close(m->engine_fd);
	if (m->io_event >= 0)
		close(m->io_event);
	if (m->window)
		munmap(m->window, m->window_size);
	pthread_cond_destroy(&m->gate_cond);
	pthread_cond_destroy(&m->end_cond);
	pthread_mutex_destroy(&m->adjust_lock);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void machine_get_stats(struct machine *m, struct machine_stats *s)
{
	unsigned int i;

	*s = (struct machine_stats){
		.ipis_local = atomic_load(&m->ipis_local),
		.ipis_remote_out = atomic_load(&m->ipis_remote_out),
		.ipis_remote_in = atomic_load(&m->ipis_remote_in),
		.irqs = atomic_load(&m->irqs),
	};
	for (i = 0; i < m->nr_vcpus; i++) {
		const struct vcpu_stats *v = &m->vcpu[i].stats;

		s->exits += atomic_load(&v->exits);
		s->exits_pio += atomic_load(&v->pio);
		s->exits_mmio += atomic_load(&v->mmio);
		s->exits_msr += atomic_load(&v->msr);
		s->exits_hlt += atomic_load(&v->hlt);
		s->exits_intr += atomic_load(&v->intr);
		s->io_forwarded += atomic_load(&v->io_forwarded);
	}
}
