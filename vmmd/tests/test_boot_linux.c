// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The Linux loader: a good image, and every way an image can be bad.
 */
#include <asm/bootparam.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../boot_linux.h"

#define MB	(1ULL << 20)

static uint8_t image[64 << 10];
static struct guest_ram ram;
static struct linux_image img;
static struct linux_entry entry;
static char err[256];

static struct setup_header *header(void)
{
	return (struct setup_header *)(image + 0x1f1);
}

static int setup(void **state)
{
	struct setup_header h = {
		.setup_sects = 3, .boot_flag = 0xaa55, .header = 0x53726448, .version = 0x20f,
		.loadflags = LOADED_HIGH, .xloadflags = XLF_KERNEL_64, .initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MB, .relocatable_kernel = 1, .cmdline_size = 2047,
		.pref_address = 16 * MB, .init_size = 8 * MB,
	};

	(void)state;
	memset(image, 0x5a, sizeof(image));
	memcpy(image + 0x1f1, &h, sizeof(h));
	image[0x200] = 0xeb;
	image[0x201] = 0x1f1 + sizeof(h) - 0x202;
	ram = (struct guest_ram){ .base = calloc(64, MB), .low = 64 * MB };
	assert_non_null(ram.base);
	img = (struct linux_image){
		.kernel = image, .kernel_len = sizeof(image), .initrd = "INITRD", .initrd_len = 6,
		.cmdline = "console=ttyS0", .rsdp = 0xf0000,
	};
	err[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(ram.base);
	return 0;
}

static int load(void)
{
	return boot_linux_load(&ram, &img, &entry, err, sizeof(err));
}

static void refused(const char *why)
{
	assert_int_equal(load(), -1);
	if (!strstr(err, why))
		fail_msg("\"%s\" does not say \"%s\"", err, why);
}

static void test_good(void **state)
{
	struct boot_params *bp;
	uint64_t *pml4;

	(void)state;
	assert_int_equal(load(), 0);
	assert_int_equal(entry.rip, 16 * MB + 0x200);
	assert_memory_equal(ram.base + 16 * MB, image + 4 * 512, sizeof(image) - 4 * 512);
	bp = (void *)(ram.base + entry.rsi);
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_string_equal((char *)ram.base + bp->hdr.cmd_line_ptr, "console=ttyS0");
	assert_int_equal(bp->hdr.ramdisk_size, 6);
	assert_memory_equal(ram.base + bp->hdr.ramdisk_image, "INITRD", 6);
	assert_true(bp->hdr.ramdisk_image >= 24 * MB && bp->hdr.ramdisk_image % 4096 == 0);
	assert_int_equal(bp->acpi_rsdp_addr, 0xf0000);
	assert_int_equal(bp->e820_entries, 3);
	assert_int_equal(bp->e820_table[2].addr + bp->e820_table[2].size, 64 * MB);
	pml4 = (void *)(ram.base + entry.cr3);
	assert_int_equal(pml4[0], (entry.cr3 + 0x1000) | 3);
	assert_int_equal(*(uint64_t *)(ram.base + entry.cr3 + 0x2000 + 8), 2 * MB | 0x83);
}

/* Where Linux looks first, with a sum of zero; else it searches for a long time. */
static void test_mp_pointer(void **state)
{
	uint8_t *mpf = ram.base + 0x10, sum = 0;

	(void)state;
	assert_int_equal(load(), 0);
	assert_memory_equal(mpf, "_MP_", 4);
	for (unsigned int i = 0; i < 16; i++)
		sum += mpf[i];
	assert_int_equal(sum, 0);
}

static void test_no_initrd(void **state)
{
	struct boot_params *bp;

	(void)state;
	img.initrd = NULL;
	img.initrd_len = 0;
	assert_int_equal(load(), 0);
	bp = (void *)(ram.base + entry.rsi);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
	assert_int_equal(bp->hdr.ramdisk_image, 0);
}

/* In the boot processor's node if it fits there, else anywhere. */
static void test_initrd_place(void **state)
{
	static uint8_t initrd[2 << 20];
	struct boot_params *bp = (void *)(ram.base + 0x7000);
	struct boot_e820_entry *e;
	struct setup_data *ext;

	(void)state;
	img.initrd = initrd;
	img.initrd_len = sizeof(initrd);
	img.near = 32 * MB;
	assert_int_equal(load(), 0);
	assert_int_equal(bp->hdr.ramdisk_image, 30 * MB);
	/* The kernel's loader sees this node's memory, the kernel all of it. */
	assert_int_equal(bp->e820_entries, 3);
	assert_int_equal(bp->e820_table[2].addr + bp->e820_table[2].size, 32 * MB);
	assert_int_equal(bp->hdr.setup_data, 0x30000);
	ext = (void *)(ram.base + 0x30000);
	assert_int_equal(ext->type, SETUP_E820_EXT);
	assert_int_equal(ext->next, 0);
	assert_int_equal(ext->len, sizeof(*e));
	e = (void *)ext->data;
	assert_true(e->addr == 32 * MB && e->size == 32 * MB && e->type == 1);

	img.near = 25 * MB;
	assert_int_equal(load(), 0);
	assert_int_equal(bp->hdr.ramdisk_image, 62 * MB);
	assert_int_equal(bp->e820_table[2].addr + bp->e820_table[2].size, 64 * MB);
	assert_int_equal(bp->hdr.setup_data, 0);
}

static void test_relocated(void **state)
{
	(void)state;
	header()->pref_address = 60 * MB;
	assert_int_equal(load(), 0);
	assert_int_equal(entry.rip, 2 * MB + 0x200);
	header()->relocatable_kernel = 0;
	refused("in one piece");
	header()->relocatable_kernel = 1;
	header()->kernel_alignment = 3;
	refused("in one piece");
	header()->kernel_alignment = 0;
	refused("in one piece");
	header()->kernel_alignment = 0x80000000;
	refused("in one piece");
	header()->pref_address = ~0ULL;
	refused("in one piece");
	header()->pref_address = 16 * MB;
	header()->init_size = ~0U;
	refused("in one piece");
}

static void test_not_a_kernel(void **state)
{
	(void)state;
	img.kernel_len = 100;
	refused("not a bzImage");
	img.kernel_len = 0;
	refused("not a bzImage");
	img.kernel_len = sizeof(image);
	header()->boot_flag = 0;
	refused("not a bzImage");
	header()->boot_flag = 0xaa55;
	header()->header = 0;
	refused("not a bzImage");
	header()->header = 0x53726448;
	header()->version = 0x20b;
	refused("too old");
	header()->version = 0x20c;
	assert_int_equal(load(), 0);
	header()->loadflags = 0;
	refused("zImage");
	header()->loadflags = LOADED_HIGH;
	header()->xloadflags = 0;
	refused("64-bit");
}

static void test_truncated(void **state)
{
	(void)state;
	header()->setup_sects = 200;
	refused("truncated");
	header()->setup_sects = 3;
	img.kernel_len = 4 * 512 + 0x200;
	if (img.kernel_len >= 0x1000)
		refused("truncated");
	else
		refused("not a bzImage");
	header()->setup_sects = 8;
	img.kernel_len = 9 * 512 + 0x200;
	refused("truncated");
	img.kernel_len++;
	assert_int_equal(load(), 0);
}

static void test_too_big(void **state)
{
	static char cmdline[70000];
	uint8_t *big = calloc(64, MB);

	(void)state;
	img.initrd = big;
	img.initrd_len = 40 * MB;
	assert_int_equal(load(), 0);
	img.initrd_len = 40 * MB + 1;
	refused("initrd");
	img.initrd_len = ~0UL;
	refused("initrd");
	img.initrd_len = 4096;
	header()->initrd_addr_max = 20 * MB;
	refused("initrd");
	img.initrd_len = 0;
	memset(cmdline, 'x', 2048);
	img.cmdline = cmdline;
	refused("command line");
	header()->cmdline_size = ~0U;
	assert_int_equal(load(), 0);
	memset(cmdline, 'x', sizeof(cmdline) - 1);
	refused("command line");
	img.cmdline = "";
	ram.low = 1 * MB;
	refused("not enough memory");
	free(big);
}

/* Any header at all: an error or a load, but no access out of bounds. */
static void test_random_headers(void **state)
{
	unsigned int i, j, seed = 1;

	(void)state;
	for (i = 0; i < 3000; i++) {
		for (j = 0; j < 4; j++) {
			seed = seed * 1103515245 + 12345;
			image[0x1f1 + (seed >> 8) % sizeof(struct setup_header)] = seed >> 20;
		}
		header()->boot_flag = 0xaa55;
		header()->header = 0x53726448;
		header()->version |= 0x200;
		header()->version &= 0x3ff;
		header()->loadflags |= LOADED_HIGH;
		header()->xloadflags |= XLF_KERNEL_64;
		if (!load())
			assert_true(entry.rip < ram.low);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mp_pointer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_initrd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_initrd_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relocated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_a_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_big, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_headers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
