// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMCB clean bits: each byte of the VMCB is in the group that the manual says (APM
 * vol. 2, 15.15.3 and appendix B), and a change of it is found just then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "kmod/svm/vmcb_clean.h"

#define SAVE	0x400	/* the state save area */

/* As the manual lists them: bit, offset, length. */
static const struct field {
	const char *name;
	int bit;
	unsigned int offset, len;
} fields[] = {
	{ "intercepts", 0, 0x000, 0x3c },
	{ "PAUSE filter threshold, count", 0, 0x03c, 4 },
	{ "TSC_OFFSET", 0, 0x050, 8 },
	{ "IOPM_BASE_PA", 1, 0x040, 8 },
	{ "MSRPM_BASE_PA", 1, 0x048, 8 },
	{ "ASID", 2, 0x058, 4 },
	{ "V_TPR to V_INTR_VECTOR", 3, 0x060, 8 },
	{ "NP_ENABLE", 4, 0x090, 8 },
	{ "N_CR3", 4, 0x0b0, 8 },
	{ "G_PAT", 4, SAVE + 0x268, 8 },
	{ "EFER", 5, SAVE + 0x0d0, 8 },
	{ "CR4", 5, SAVE + 0x148, 8 },
	{ "CR3", 5, SAVE + 0x150, 8 },
	{ "CR0", 5, SAVE + 0x158, 8 },
	{ "DR7", 6, SAVE + 0x160, 8 },
	{ "DR6", 6, SAVE + 0x168, 8 },
	{ "GDTR", 7, SAVE + 0x060, 16 },
	{ "IDTR", 7, SAVE + 0x080, 16 },
	{ "ES", 8, SAVE + 0x000, 16 },
	{ "CS", 8, SAVE + 0x010, 16 },
	{ "SS", 8, SAVE + 0x020, 16 },
	{ "DS", 8, SAVE + 0x030, 16 },
	{ "CPL", 8, SAVE + 0x0cb, 1 },
	{ "CR2", 9, SAVE + 0x240, 8 },
};

/* Bit of the byte at @offset, -1 when it is never kept. */
static int expected(unsigned int offset)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (offset >= fields[i].offset && offset < fields[i].offset + fields[i].len)
			return fields[i].bit;
	return -1;
}

static void test_groups(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 4096; i++)
		assert_int_equal(vmcb_clean_group(i), expected(i));
	assert_int_equal(VMCB_CLEAN_ALL, 0x3ff);
}

static void test_stale(void **state)
{
	static u8 now[4096], then[4096];

	(void)state;
	for (unsigned int i = 0; i < sizeof(now); i++)
		now[i] = then[i] = rand();
	assert_int_equal(vmcb_clean_stale(now, then, VMCB_CLEAN_ALL), 0);
	for (unsigned int i = 0; i < sizeof(now); i++) {
		u32 bit = expected(i) < 0 ? 0 : 1u << expected(i);

		now[i] ^= 1u << i % 8;
		assert_int_equal(vmcb_clean_stale(now, then, VMCB_CLEAN_ALL), bit);
		assert_int_equal(vmcb_clean_stale(now, then, VMCB_CLEAN_ALL & ~bit), 0);
		now[i] = then[i];
	}
	now[0x400] ^= 1;
	now[0x058] ^= 1;
	assert_int_equal(vmcb_clean_stale(now, then, VMCB_CLEAN_ALL), 1 << 8 | 1 << 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
