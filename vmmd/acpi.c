// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ACPI tables: see acpi.h.
 *
 * The machine has ACPI fixed hardware (PM timer, S5) but no 8259 and no PIT:
 * the MADT does not claim PC-AT compatibility.  SRAT and SLIT tell the nodes as
 * they are, so that a guest keeps memory and tasks together.
 */
#include <string.h>

#include "acpi.h"
#include "aml.h"
#include "ioapic.h"
#include "lapic.h"
#include "pm.h"
#include "rtc.h"
#include "uart16550.h"

/*
 * Distance between nodes, local memory being 10.  A remote page costs a network
 * round trip.  Beyond 30 Linux also stops waking and forking tasks across nodes
 * for mere balance.
 */
#define SLIT_LOCAL	10
#define SLIT_REMOTE	80

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 36, "ACPI table header");

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t ext_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "RSDP");

struct gas {			/* generic address structure */
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

struct fadt {
	struct header h;
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint16_t sci_irq;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
	struct gas sleep_control, sleep_status;
	uint64_t hypervisor_id;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "FADT of revision 6");

#define FADT_WBINVD		(1U << 0)
#define FADT_PROC_C1		(1U << 2)
#define FADT_NO_FIXED_PWRBTN	(1U << 4)
#define FADT_NO_FIXED_SLPBTN	(1U << 5)
#define FADT_NO_FIXED_RTC	(1U << 6)
#define FADT_TMR_32BIT		(1U << 8)
#define FADT_RESET_REG		(1U << 10)
#define FADT_HEADLESS		(1U << 12)
#define BOOT_LEGACY_DEVICES	(1U << 0)
#define BOOT_NO_VGA		(1U << 2)

struct facs {
	char signature[4];
	uint32_t length, hw_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));
_Static_assert(sizeof(struct facs) == 64, "FACS");

struct madt_lapic { uint8_t type, len, uid, apic_id; uint32_t flags; } __attribute__((packed));
struct madt_ioapic { uint8_t type, len, id, reserved; uint32_t address, gsi_base; } __attribute__((packed));
struct madt_override { uint8_t type, len, bus, source; uint32_t gsi; uint16_t flags; } __attribute__((packed));
struct srat_cpu {
	uint8_t type, len, domain_lo, apic_id;
	uint32_t flags;
	uint8_t sapic_eid, domain_hi[3];
	uint32_t clock_domain;
} __attribute__((packed));
struct srat_memory {
	uint8_t type, len;
	uint32_t domain;
	uint16_t reserved0;
	uint64_t base, length;
	uint32_t reserved1, flags;
	uint64_t reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct srat_memory) == 40, "SRAT memory affinity");

struct builder {
	uint8_t *buf;
	size_t len, size;
	uint64_t gpa;
	bool overflow;
	uint64_t table[8];	/* for the XSDT */
	unsigned int nr_tables;
};

/* Space for @len more bytes, zeroed; a scratch area after an overflow. */
static void *reserve(struct builder *b, size_t len)
{
	static _Thread_local uint8_t scratch[1024];
	void *p = b->buf + b->len;

	if (b->overflow || len > b->size - b->len) {
		b->overflow = true;
		return memset(scratch, 0, sizeof(scratch));
	}
	b->len += len;
	return memset(p, 0, len);
}

static void append(struct builder *b, const void *p, size_t len)
{
	memcpy(reserve(b, len), p, len);
}

static void align(struct builder *b, size_t to)
{
	reserve(b, -b->len % to);
}

static uint8_t checksum(const void *p, size_t len)
{
	const uint8_t *c = p;
	uint8_t sum = 0;

	while (len--)
		sum += *c++;
	return -sum;
}

/* Begin a table: room for its header and fixed part; returns its place. */
static size_t table_begin(struct builder *b, size_t fixed)
{
	size_t at;

	align(b, 16);
	at = b->len;
	reserve(b, fixed);
	return at;
}

/* End the table that begins at @at: header and checksum. */
static void table_end(struct builder *b, size_t at, const char *signature, uint8_t revision)
{
	struct header h = {
		.length = b->len - at,
		.revision = revision,
		.oem_revision = 1,
		.creator_revision = 1,
	};

	if (b->overflow)
		return;
	memcpy(h.signature, signature, 4);
	memcpy(h.oem_id, "CVMM  ", 6);
	memcpy(h.oem_table_id, "CVMMVM  ", 8);
	memcpy(h.creator_id, "CVMM", 4);
	memcpy(b->buf + at, &h, sizeof(h));
	b->buf[at + offsetof(struct header, checksum)] = checksum(b->buf + at, h.length);
}

static void list(struct builder *b, size_t at)
{
	b->table[b->nr_tables++] = b->gpa + at;
}

static size_t build_dsdt(struct builder *b)
{
	size_t at = table_begin(b, sizeof(struct header));
	struct aml a = { .buf = b->buf + b->len, .max = b->overflow ? 0 : b->size - b->len };
	aml_block sb, dev, crs, s5;

	s5 = aml_name_package(&a, "_S5_", 4);
	aml_integer(&a, PM_S5_TYPE);
	aml_integer(&a, PM_S5_TYPE);
	aml_integer(&a, 0);
	aml_integer(&a, 0);
	aml_end(&a, s5);

	sb = aml_scope(&a, "_SB_");
	dev = aml_device(&a, "COM1");
	aml_name_eisaid(&a, "_HID", "PNP0501");
	aml_name_integer(&a, "_UID", 1);
	crs = aml_name_resources(&a, "_CRS");
	aml_res_io(&a, UART_COM1_BASE, UART_PORTS);
	aml_res_irq(&a, UART_COM1_IRQ);
	aml_resources_end(&a, crs);
	aml_end(&a, dev);

	dev = aml_device(&a, "RTC0");
	aml_name_eisaid(&a, "_HID", "PNP0B00");
	crs = aml_name_resources(&a, "_CRS");
	aml_res_io(&a, RTC_BASE, RTC_PORTS);
	aml_resources_end(&a, crs);
	aml_end(&a, dev);
	aml_end(&a, sb);

	if (a.overflow)
		b->overflow = true;
	else
		b->len += a.len;
	table_end(b, at, "DSDT", 2);
	return at;
}

static size_t build_facs(struct builder *b)
{
	struct facs facs = { .length = sizeof(facs), .version = 2 };
	size_t at;

	memcpy(facs.signature, "FACS", 4);
	align(b, 64);
	at = b->len;
	append(b, &facs, sizeof(facs));
	return at;
}

static struct gas port(uint16_t addr, uint8_t bits)
{
	/* Access size: 1 byte, 2 word, 3 dword. */
	return (struct gas){ .space = 1, .width = bits, .access = bits == 8 ? 1 : bits == 16 ? 2 : 3,
			     .address = addr };
}

static void build_fadt(struct builder *b, size_t facs, size_t dsdt)
{
	struct fadt f = {
		.facs = b->gpa + facs,
		.dsdt = b->gpa + dsdt,
		.x_dsdt = b->gpa + dsdt,
		.profile = 4,		/* enterprise server */
		.sci_irq = PM_SCI_IRQ,
		.pm1a_evt = PM_BASE + PM_EVT_OFF,
		.pm1a_cnt = PM_BASE + PM_CNT_OFF,
		.pm_tmr = PM_BASE + PM_TMR_OFF,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.c2_latency = 0xffff,	/* no C2, no C3 */
		.c3_latency = 0xffff,
		.century = RTC_CENTURY,
		.boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,	/* and no 8042 */
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_FIXED_PWRBTN | FADT_NO_FIXED_SLPBTN |
			 FADT_NO_FIXED_RTC | FADT_TMR_32BIT | FADT_RESET_REG | FADT_HEADLESS,
		.reset_reg = port(RESET_PORT, 8),
		.reset_value = RESET_VALUE,
		.minor = 3,
		.x_pm1a_evt = port(PM_BASE + PM_EVT_OFF, 32),
		.x_pm1a_cnt = port(PM_BASE + PM_CNT_OFF, 16),
		.x_pm_tmr = port(PM_BASE + PM_TMR_OFF, 32),
	};
	size_t at = table_begin(b, 0);

	/* The event block is two words. */
	f.x_pm1a_evt.access = 2;
	append(b, &f, sizeof(f));
	table_end(b, at, "FACP", 6);
	list(b, at);
}

static void build_madt(struct builder *b, const struct vm_conf *conf)
{
	struct madt_ioapic ioapic = {
		.type = 1, .len = sizeof(ioapic), .address = IOAPIC_BASE,
	};
	struct madt_override sci = {
		.type = 2, .len = sizeof(sci), .source = PM_SCI_IRQ, .gsi = PM_SCI_IRQ,
		.flags = 0xd,		/* level-triggered, active high */
	};
	size_t at = table_begin(b, sizeof(struct header));
	uint32_t fixed[2] = { LAPIC_DEFAULT_BASE, 0 };
	unsigned int i;

	append(b, fixed, sizeof(fixed));
	for (i = 0; i < conf_nr_vcpus(conf); i++) {
		struct madt_lapic cpu = {
			.len = sizeof(cpu), .uid = i, .apic_id = i, .flags = 1,
		};

		append(b, &cpu, sizeof(cpu));
	}
	append(b, &ioapic, sizeof(ioapic));
	append(b, &sci, sizeof(sci));
	table_end(b, at, "APIC", 5);
	list(b, at);
}

static void build_srat(struct builder *b, const struct vm_conf *conf)
{
	struct ram_range ram[2 * CONF_MAX_NODES];
	unsigned int nr_ram = machine_ram_map(conf, ram, 2 * CONF_MAX_NODES), i, node, vcpu = 0;
	size_t at = table_begin(b, sizeof(struct header));
	uint32_t fixed[3] = { 1 };

	append(b, fixed, sizeof(fixed));
	for (node = 0; node < conf->nr_nodes; node++) {
		for (i = 0; i < conf->node[node].vcpus; i++) {
			struct srat_cpu cpu = {
				.len = sizeof(cpu), .domain_lo = node, .apic_id = vcpu++, .flags = 1,
			};

			append(b, &cpu, sizeof(cpu));
		}
	}
	for (i = 0; i < nr_ram; i++) {
		struct srat_memory mem = {
			.type = 1, .len = sizeof(mem), .domain = ram[i].node,
			.base = ram[i].gpa, .length = ram[i].size, .flags = 1,
		};

		append(b, &mem, sizeof(mem));
	}
	table_end(b, at, "SRAT", 3);
	list(b, at);
}

static void build_slit(struct builder *b, const struct vm_conf *conf)
{
	size_t at = table_begin(b, sizeof(struct header));
	uint64_t n = conf->nr_nodes;
	unsigned int i, j;

	append(b, &n, sizeof(n));
	for (i = 0; i < n; i++) {
		for (j = 0; j < n; j++) {
			uint8_t d = i == j ? SLIT_LOCAL : SLIT_REMOTE;

			append(b, &d, 1);
		}
	}
	table_end(b, at, "SLIT", 1);
	list(b, at);
}

size_t acpi_build(const struct vm_conf *conf, void *buf, size_t size, uint64_t gpa)
{
	struct builder b = { .buf = buf, .size = size, .gpa = gpa };
	struct rsdp rsdp = { .revision = 2, .length = sizeof(rsdp) };
	size_t facs, dsdt, xsdt;

	reserve(&b, sizeof(rsdp));
	facs = build_facs(&b);
	dsdt = build_dsdt(&b);
	build_fadt(&b, facs, dsdt);
	build_madt(&b, conf);
	build_srat(&b, conf);
	build_slit(&b, conf);
	xsdt = table_begin(&b, sizeof(struct header));
	append(&b, b.table, b.nr_tables * sizeof(b.table[0]));
	table_end(&b, xsdt, "XSDT", 1);
	if (b.overflow)
		return 0;

	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "CVMM  ", 6);
	rsdp.xsdt = gpa + xsdt;
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.ext_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(buf, &rsdp, sizeof(rsdp));
	return b.len;
}
