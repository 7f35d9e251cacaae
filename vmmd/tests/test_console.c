// SPDX-License-Identifier: GPL-2.0-or-later
/* The escape key of the console. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmmd/console.h"

static struct console_escape esc;

/* What @in gives: the event, what is left for the guest, whether help is shown. */
static void expect(const char *in, enum console_event event, const char *left, int help)
{
	uint8_t buf[64];
	size_t n = strlen(in), out;
	int shown;

	memcpy(buf, in, n);
	assert_int_equal(console_filter(&esc, buf, n, &out, &shown), event);
	assert_int_equal(out, strlen(left));
	assert_memory_equal(buf, left, out);
	assert_int_equal(shown, help);
}

static void test_escape(void **state)
{
	(void)state;
	expect("plain \003\004", CONSOLE_NOTHING, "plain \003\004", 0);
	expect("ab\035", CONSOLE_NOTHING, "ab", 1);
	expect("x", CONSOLE_NOTHING, "", 0);		/* any other key */
	expect("q", CONSOLE_NOTHING, "q", 0);
	expect("a\035\035b", CONSOLE_NOTHING, "a\035b", 0);
	expect("\035", CONSOLE_NOTHING, "", 1);
	expect("q", CONSOLE_QUIT, "", 0);
	expect("z\035rmore", CONSOLE_RESET, "z", 0);
	expect("y", CONSOLE_NOTHING, "y", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_escape) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
