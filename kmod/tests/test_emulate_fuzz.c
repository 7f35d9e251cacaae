// SPDX-License-Identifier: GPL-2.0-only
/* A bounded run of the fuzz target, from fixed seeds; see fuzz/fuzz_emulate.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fuzz/fuzz_emulate.c"

static void test_fuzz(void **state)
{
	uint8_t buf[700];
	unsigned int run, i;
	u64 x;

	(void)state;
	for (run = 1; run <= 60000; run++) {
		x = run * 0x9e3779b97f4a7c15ULL;
		for (i = 0; i < sizeof(buf); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = x >> 20;
		}
		/* Often flat segments and no paging, so that instructions get to run. */
		if (run & 1)
			buf[0] = run & 2 ? 0x50 : 0;
		LLVMFuzzerTestOneInput(buf, run % sizeof(buf));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fuzz) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
