// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loading a Linux bzImage: see boot_linux.h.
 *
 * Low memory: 0x10 MP floating pointer, 0x500 GDT, 0x7000 boot_params, 0x9000 page
 * tables (PML4, PDPT, four page directories of 2 MiB pages), 0x20000 command line,
 * 0x30000 setup_data.  The kernel goes where it prefers to be; the initrd as high as
 * it may, in the memory of the boot processor's node if it fits there: both are
 * written and read on that node.
 */
#include <asm/bootparam.h>
#include <stdio.h>
#include <string.h>

#include "acpi.h"
#include "boot_linux.h"

#define MPF_GPA		0x10
#define GDT_GPA		0x500
#define PARAMS_GPA	0x7000
#define PGTABLE_GPA	0x9000
#define CMDLINE_GPA	0x20000
#define CMDLINE_MAX	0x10000
#define SETUP_DATA_GPA	0x30000
#define LOW_END		0xa0000		/* conventional memory */
#define ONE_MIB		0x100000

#define HEADER_OFF	0x1f1		/* of struct setup_header in the file and in boot_params */
#define ENTRY64_OFF	0x200		/* of the 64-bit entry from the start of the kernel proper */
#define MIN_VERSION	0x020c		/* xloadflags */

#define PTE_TABLE	0x003ULL	/* present, writable */
#define PTE_2M		0x083ULL

#define fail(...)	(snprintf(err, errlen, __VA_ARGS__), -1)

/* Copy the setup header out of the file, as far as it goes, and check it. */
static int read_header(const struct linux_image *img, struct setup_header *h,
		       size_t *setup_len, char *err, size_t errlen)
{
	const uint8_t *file = img->kernel;
	size_t end;

	if (img->kernel_len < 0x1000)
		return fail("the kernel is not a bzImage: only %zu bytes", img->kernel_len);
	/* The header ends where the jump at 0x200 goes to. */
	end = 0x202 + file[0x201];
	if (end < HEADER_OFF + offsetof(struct setup_header, version) + 2)
		end = 0x202;
	if (end > HEADER_OFF + sizeof(*h))
		end = HEADER_OFF + sizeof(*h);
	memset(h, 0, sizeof(*h));
	memcpy(h, file + HEADER_OFF, end - HEADER_OFF);
	if (h->boot_flag != 0xaa55 || memcmp(&h->header, "HdrS", 4))
		return fail("the kernel is not a bzImage: no setup header");
	if (h->version < MIN_VERSION)
		return fail("the kernel's boot protocol %u.%02u is too old, 2.12 is needed",
			    h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return fail("the kernel is a zImage, a bzImage is needed");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return fail("the kernel has no 64-bit entry point");
	*setup_len = ((h->setup_sects ? h->setup_sects : 4) + 1) * 512UL;
	if (*setup_len + ENTRY64_OFF >= img->kernel_len)
		return fail("the kernel is truncated: %zu bytes, setup alone has %zu",
			    img->kernel_len, *setup_len);
	return 0;
}

/* Where the kernel goes: its preferred address, or the lowest it accepts.  0 if nowhere. */
static uint64_t place_kernel(const struct guest_ram *ram, const struct setup_header *h, uint64_t need)
{
	uint64_t align = h->kernel_alignment, at = h->pref_address;

	if (at >= ONE_MIB && at < ram->low && need <= ram->low - at)
		return at;
	if (!h->relocatable_kernel || !align || (align & (align - 1)))
		return 0;
	at = (ONE_MIB + align - 1) & ~(align - 1);
	if (at < ram->low && need <= ram->low - at)
		return at;
	return 0;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The highest page the initrd can begin at, between @low and @top.  0 if none. */
static uint64_t initrd_below(uint64_t top, uint64_t low, uint64_t len)
{
	uint64_t at;

	if (low > top || len > top - low)
		return 0;
	at = (top - len) & ~0xfffULL;
	return at >= low ? at : 0;
}

static uint64_t place_initrd(const struct guest_ram *ram, const struct setup_header *h,
			     const struct linux_image *img, uint64_t kernel_end)
{
	uint64_t top = min_u64(h->initrd_addr_max + 1ULL, ram->low), at;

	at = initrd_below(min_u64(top, img->near), kernel_end, img->initrd_len);
	return at ? at : initrd_below(top, kernel_end, img->initrd_len);
}

static void put_page_tables(const struct guest_ram *ram)
{
	uint64_t *table = ram_ptr(ram, PGTABLE_GPA, 6 * 4096), *pdpt = table + 512, *pd = pdpt + 512;
	unsigned int i;

	memset(table, 0, 6 * 4096);
	table[0] = (PGTABLE_GPA + 0x1000) | PTE_TABLE;
	for (i = 0; i < 4; i++)
		pdpt[i] = (PGTABLE_GPA + 0x2000 + i * 0x1000ULL) | PTE_TABLE;
	for (i = 0; i < 4 * 512; i++)
		pd[i] = ((uint64_t)i << 21) | PTE_2M;
}

static void put_gdt(const struct guest_ram *ram, struct linux_entry *entry)
{
	static const uint64_t gdt[4] = {
		0, 0,
		0x00af9b000000ffff,	/* 0x10: 64-bit code */
		0x00cf93000000ffff,	/* 0x18: data */
	};

	memcpy(ram_ptr(ram, GDT_GPA, sizeof(gdt)), gdt, sizeof(gdt));
	entry->gdt = GDT_GPA;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->cs = 0x10;
	entry->ds = 0x18;
}

/*
 * An MP floating pointer (MultiProcessor Specification 1.4, section 4.1) at the
 * first place where it is looked for.  The ACPI tables say all that counts; but
 * without it Linux searches the whole BIOS area, mapping and unmapping up to
 * 64 KiB for each 16 bytes: 70,000 INVLPG, which are exits when a guest's page
 * tables are cached.  Default configuration 5: no table.
 */
static void put_mp_pointer(const struct guest_ram *ram)
{
	static const uint8_t mpf[16] = {
		'_', 'M', 'P', '_', 0, 0, 0, 0, 1, 4, 0, 5,
	};
	uint8_t *p = ram_ptr(ram, MPF_GPA, sizeof(mpf)), sum = 0;
	unsigned int i;

	memcpy(p, mpf, sizeof(mpf));
	for (i = 0; i < sizeof(mpf); i++)
		sum += mpf[i];
	p[10] = -sum;
}

enum { E820_RAM = 1, E820_RESERVED = 2 };

static void add_e820(struct boot_params *bp, uint64_t addr, uint64_t size, uint32_t type)
{
	bp->e820_table[bp->e820_entries++] = (struct boot_e820_entry){ addr, size, type };
}

/*
 * The memory map: the boot node's RAM in boot_params, the rest in an extension
 * by setup_data.  The kernel uses both alike, but the loader in front of it looks
 * for a random place in the former only, and so keeps the kernel on the node
 * that writes it.
 */
static void put_e820(const struct guest_ram *ram, uint64_t near, struct boot_params *bp)
{
	uint64_t first_end = min_u64(ram->low, near);
	struct setup_data *ext = ram_ptr(ram, SETUP_DATA_GPA, 4096);
	struct boot_e820_entry *e = (struct boot_e820_entry *)ext->data;

	add_e820(bp, 0, LOW_END, E820_RAM);
	add_e820(bp, ACPI_BASE, ACPI_SIZE, E820_RESERVED);
	add_e820(bp, ONE_MIB, first_end - ONE_MIB, E820_RAM);

	if (first_end < ram->low)
		*e++ = (struct boot_e820_entry){ first_end, ram->low - first_end, E820_RAM };
	if (ram->high)
		*e++ = (struct boot_e820_entry){ RAM_HIGH_BASE, ram->high, E820_RAM };
	ext->next = 0;
	ext->type = SETUP_E820_EXT;
	ext->len = (uint8_t *)e - ext->data;
	if (ext->len)
		bp->hdr.setup_data = SETUP_DATA_GPA;
}

int boot_linux_load(const struct guest_ram *ram, const struct linux_image *img,
		    struct linux_entry *entry, char *err, size_t errlen)
{
	size_t setup_len, payload, cmdline_len = strlen(img->cmdline);
	uint64_t at, need, initrd_at = 0;
	struct setup_header h;
	struct boot_params *bp;

	if (ram->low < 2 * ONE_MIB)
		return fail("not enough memory for any kernel");
	if (read_header(img, &h, &setup_len, err, errlen))
		return -1;
	payload = img->kernel_len - setup_len;
	need = h.init_size > payload ? h.init_size : payload;
	at = place_kernel(ram, &h, need);
	if (!at)
		return fail("the kernel needs %llu MiB of memory in one piece below 3 GiB",
			    (unsigned long long)(need + h.pref_address + ONE_MIB - 1) >> 20);
	if (cmdline_len >= CMDLINE_MAX || cmdline_len > h.cmdline_size)
		return fail("the command line has %zu characters, this kernel takes %u",
			    cmdline_len, h.cmdline_size);

	if (img->initrd_len) {
		initrd_at = place_initrd(ram, &h, img, at + need);
		if (!initrd_at)
			return fail("the initrd of %zu MiB does not fit into memory besides the kernel",
				    img->initrd_len >> 20);
		memcpy(ram_ptr(ram, initrd_at, img->initrd_len), img->initrd, img->initrd_len);
	}
	memcpy(ram_ptr(ram, at, payload), (const uint8_t *)img->kernel + setup_len, payload);
	memcpy(ram_ptr(ram, CMDLINE_GPA, cmdline_len + 1), img->cmdline, cmdline_len + 1);

	bp = ram_ptr(ram, PARAMS_GPA, sizeof(*bp));
	memset(bp, 0, sizeof(*bp));
	bp->hdr = h;
	bp->hdr.type_of_loader = 0xff;		/* a loader without an assigned number */
	bp->hdr.code32_start = at;
	bp->hdr.cmd_line_ptr = CMDLINE_GPA;
	bp->hdr.ramdisk_image = initrd_at;
	bp->hdr.ramdisk_size = img->initrd_len;
	bp->acpi_rsdp_addr = img->rsdp;
	/* A first node too small for kernel and initrd is not kept apart. */
	put_e820(ram, at + need <= img->near && initrd_at + img->initrd_len <= img->near ?
		 img->near : ram->low, bp);

	put_page_tables(ram);
	put_gdt(ram, entry);
	put_mp_pointer(ram);
	entry->rip = at + ENTRY64_OFF;
	entry->rsi = PARAMS_GPA;
	entry->cr3 = PGTABLE_GPA;
	return 0;
}
