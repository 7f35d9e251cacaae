// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The platform as firmware tables tell it (RSDP, MADT, FADT, \_S5 in the DSDT),
 * time by the PM timer and the TSC, the ways to end the machine, and main.
 */
#include "bare.h"

struct platform platform;
static bool lenient;
static char cmdline[1024];

struct sdt {
	char sig[4];
	uint32_t len;
	uint8_t rev, sum;
	char oem[6], table[8];
	uint32_t oem_rev, creator, creator_rev;
} __attribute__((packed));

static uint8_t byte_sum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t s = 0;

	while (n--)
		s += *b++;
	return s;
}

static uint16_t get16(const uint8_t *p) { return p[0] | p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

/* Loaders that do not hand it over leave it in the BIOS area. */
static uint64_t scan_rsdp(void)
{
	for (uint64_t a = 0xe0000; a < 0x100000; a += 16)
		if (!memcmp((void *)a, "RSD PTR ", 8) && !byte_sum((void *)a, 20))
			return a;
	return 0;
}

static const uint8_t *find_table(const char *sig)
{
	const uint8_t *rsdp = (const uint8_t *)platform.rsdp, *root;
	bool wide;

	if (!rsdp)
		return NULL;
	wide = rsdp[15] >= 2 && get64(rsdp + 24);
	root = (const uint8_t *)(wide ? get64(rsdp + 24) : get32(rsdp + 16));
	for (uint32_t off = sizeof(struct sdt); off + (wide ? 8 : 4) <= get32(root + 4); off += wide ? 8 : 4) {
		const uint8_t *t = (const uint8_t *)(wide ? get64(root + off) : get32(root + off));

		if (!memcmp(t, sig, 4))
			return t;
	}
	return NULL;
}

static void read_madt(const uint8_t *t)
{
	platform.lapic = get32(t + 36);
	for (const uint8_t *e = t + 44; e < t + get32(t + 4) && e[1]; e += e[1]) {
		switch (e[0]) {
		case 0:
			if ((get32(e + 4) & 1) && platform.cpus < MAX_CPUS)
				platform.apic_id[platform.cpus++] = e[3];
			break;
		case 1:
			platform.ioapic = get32(e + 4);
			platform.ioapic_gsi = get32(e + 8);
			break;
		case 2:
			if (e[3] == 4)
				platform.uart_gsi = get32(e + 4);
			break;
		case 9:
			if ((get32(e + 8) & 1) && platform.cpus < MAX_CPUS)
				platform.apic_id[platform.cpus++] = get32(e + 4);
			break;
		}
	}
}

/* \_S5 is a package whose first element is SLP_TYP for PM1a: look for its name. */
static void read_s5(const uint8_t *dsdt)
{
	for (uint32_t i = sizeof(struct sdt); dsdt && i + 12 < get32(dsdt + 4); i++) {
		const uint8_t *p = dsdt + i + 4;

		if (memcmp(dsdt + i, "_S5_", 4) || *p != 0x12)
			continue;
		p += 1 + (p[1] >> 6) + 1;	/* PackageOp, PkgLength */
		p++;				/* NumElements */
		platform.s5_type = *p == 0x0a ? p[1] : *p == 0x01 ? 1 : 0;
	}
}

static void read_fadt(const uint8_t *t)
{
	platform.pm1a_cnt = get32(t + 64);
	platform.pm_timer = get32(t + 76);
	platform.pm_timer_32bit = get32(t + 112) & (1 << 8);
	read_s5((const uint8_t *)(uint64_t)get32(t + 40));
	if (get32(t + 4) >= 148 && get64(t + 140))
		read_s5((const uint8_t *)get64(t + 140));
}

uint32_t pm_timer_read(void)
{
	return inl(platform.pm_timer);
}

static void calibrate_tsc(void)
{
	uint32_t mask = platform.pm_timer_32bit ? 0xffffffff : 0xffffff, t0, t1;
	uint64_t tsc0, tsc1;

	platform.tsc_khz = 1000000;
	if (!platform.pm_timer)
		return;
	t0 = pm_timer_read();
	tsc0 = rdtsc();
	do {
		t1 = pm_timer_read();
		tsc1 = rdtsc();
	} while (((t1 - t0) & mask) < 3579545 / 20);
	platform.tsc_khz = (tsc1 - tsc0) * 3579545 / ((t1 - t0) & mask) / 1000;
}

uint64_t us_since(uint64_t tsc)
{
	return (rdtsc() - tsc) * 1000 / platform.tsc_khz;
}

void delay_us(uint64_t us)
{
	uint64_t start = rdtsc();

	while (us_since(start) < us)
		pause();
}

bool is_tcg(void)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	if (!(r[2] & 1u << 31))
		return false;
	cpuid(0x40000000, 0, r);
	return !memcmp(&r[1], "TCGTCGTCGTCG", 12);
}

/* Below a hypervisor CPUID need not tell; but every real CPU has ICEBP. */
bool is_tcg_cpu(void)
{
	return lenient;
}

bool cmdline_has(const char *word)
{
	size_t n = strlen(word);

	for (const char *p = cmdline; *p; p++)
		if ((p == cmdline || p[-1] == ' ') && !memcmp(p, word, n))
			return true;
	return false;
}

void platform_init(const uint8_t *boot_params)
{
	const char *from = (const char *)(uint64_t)get32(boot_params + 0x228);
	const uint8_t *t;

	for (unsigned int i = 0; from && from[i] && i < sizeof(cmdline) - 1; i++)
		cmdline[i] = from[i];
	platform.cmdline = cmdline;
	/* A real-mode loader's header has no room for it. */
	platform.rsdp = get64(boot_params + 0x70);
	if (platform.rsdp >= 1ull << 32 || memcmp((void *)platform.rsdp, "RSD PTR ", 8))
		platform.rsdp = scan_rsdp();
	platform.lapic = 0xfee00000;
	platform.uart_gsi = 4;
	t = find_table("APIC");
	if (t)
		read_madt(t);
	t = find_table("FACP");
	if (t)
		read_fadt(t);
	calibrate_tsc();
}

void machine_end(void)
{
	cli();
	if (cmdline_has("cvmm.end=reset")) {
		outb(0xcf9, 2);
		outb(0xcf9, 6);
	} else if (cmdline_has("cvmm.end=kbd")) {
		outb(0x64, 0xfe);
	} else if (cmdline_has("cvmm.end=triple")) {
		struct { uint16_t limit; uint64_t base; } __attribute__((packed)) none = { 0, 0 };

		__asm__ volatile("lidt %0; int3" :: "m"(none));
	} else if (!cmdline_has("cvmm.end=halt") && platform.pm1a_cnt) {
		outw(platform.pm1a_cnt, 1 << 13 | platform.s5_type << 10);
	}
	for (;;)
		__asm__ volatile("hlt");
}

void bare_main(const uint8_t *boot_params);

void bare_main(const uint8_t *boot_params)
{
	outb(0x3f8 + 1, 0);		/* no interrupts */
	outb(0x3f8 + 3, 0x03);		/* 8n1 */
	outb(0x3f8 + 2, 0x07);		/* FIFOs on and empty */
	serial_raw("\r\n", 2);
	cpu_init(&cpus[0], 0);
	idt_init();
	platform_init(boot_params);
	lenient = TRY(".byte 0xf1").vector == 6;
	apic_init();
	smp_init();
	print("up cpus=%u", n_cpus);
	print("TAP version 13");
	note("tsc_khz=%lu lapic=%x ioapic=%x pm1a=%x pm_timer=%x s5=%u", platform.tsc_khz, platform.lapic,
	     platform.ioapic, platform.pm1a_cnt, platform.pm_timer, platform.s5_type);
	ok(n_cpus == platform.cpus, "%u of %u CPUs are up", n_cpus, platform.cpus);
	test();
	finish_tap();
	machine_end();
}
