// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which kernel symbols are on a page: with and without KASLR, at the edges of pages and
 * of the image; and symbol tables that are none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmmd/symbols.h"

static const char map[] =
	"0000000000000000 A fixed_percpu_data\n"
	"0000000000001000 A cpu_debug_store\n"
	"ffffffff81000000 T _text\n"
	"ffffffff81000000 T startup_64\n"
	"ffffffff81000100 T secondary_startup_64\n"
	"ffffffff81001000 T hypercall_page\n"
	"ffffffff81003ff8 T spans\n"
	"ffffffff82001000 D jiffies_64\n"
	"ffffffff82001040 D tasklist_lock\n"
	"ffffffff82003000 B _end\n"
	"ffffffffc0201000 t cfg_init [cfg80211]\n";

static char found[256];

static void collect(void *arg, const char *name, int64_t offset)
{
	size_t n = strlen(found);

	(void)arg;
	snprintf(found + n, sizeof(found) - n, "%s@%lld ", name, (long long)offset);
}

static const char *on_page(struct symbols *s, uint64_t gpa)
{
	found[0] = '\0';
	symbols_on_page(s, gpa, collect, NULL);
	return found;
}

static struct symbols *read_text(const char *text, uint64_t base, char *err)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");
	struct symbols *s;

	assert_non_null(f);
	err[0] = '\0';
	s = symbols_read(f, base, err, 128);
	fclose(f);
	return s;
}

static void check_pages(struct symbols *s, uint64_t text)
{
	assert_string_equal(on_page(s, text), "_text@0 startup_64@0 secondary_startup_64@256 ");
	assert_string_equal(on_page(s, text + 0xfff), "_text@0 startup_64@0 secondary_startup_64@256 ");
	assert_string_equal(on_page(s, text + 0x1000), "hypercall_page@0 ");
	assert_string_equal(on_page(s, text + 0x2000), "hypercall_page@-4096 ");
	assert_string_equal(on_page(s, text + 0x3000), "hypercall_page@-8192 spans@4088 ");
	assert_string_equal(on_page(s, text + 0x4000), "spans@-8 ");
	assert_string_equal(on_page(s, text + 0x1001000), "jiffies_64@0 tasklist_lock@64 ");
	assert_string_equal(on_page(s, text + 0x1002000), "tasklist_lock@-4032 ");
	assert_string_equal(on_page(s, text + 0x1003000), "");
	assert_string_equal(on_page(s, text - 1), "");
	assert_string_equal(on_page(s, 0), "");
	assert_string_equal(on_page(s, ~0ULL), "");
}

static void where_linked(void **state)
{
	char err[128];
	struct symbols *s = read_text(map, 0, err);

	(void)state;
	assert_non_null(s);
	assert_true(symbols_text(s) == 0x1000000);
	check_pages(s, 0x1000000);
	symbols_free(s);
}

/* Physical and virtual base, both random. */
static void with_kaslr(void **state)
{
	char err[128], text[sizeof(map)], *p;
	struct symbols *s;

	(void)state;
	strcpy(text, map);
	for (p = text; (p = strstr(p, "ffffffff8")); p += 16)
		p[8] = '9';
	s = read_text(text, 0x2ee00000, err);
	assert_non_null(s);
	check_pages(s, 0x2ee00000);
	symbols_free(s);
}

static void refused(void **state)
{
	char err[128];

	(void)state;
	assert_null(read_text("what is this\n", 0, err));
	assert_non_null(strstr(err, "line 1 "));
	assert_null(read_text("ffffffff81000000 T _text\nffffffff81000000\n", 0, err));
	assert_non_null(strstr(err, "line 2 "));
	assert_null(read_text("ffffffff81000000TT _text\n", 0, err));
	assert_null(read_text("fffffffffffffffffffffff T _text\n", 0, err));
	assert_null(read_text("0000000000000000 T _text\n0000000000000000 T _etext\n", 0, err));
	assert_non_null(strstr(err, "root"));
	assert_null(read_text("ffffffff81000000 T something\n", 0, err));
	assert_non_null(strstr(err, "_text"));
	assert_null(read_text("ffffffffffffffff B The real System.map is elsewhere\n", 0, err));
	assert_non_null(strstr(err, "kallsyms"));
}

/* One symbol, and no end. */
static void least(void **state)
{
	char err[128];
	struct symbols *s = read_text("ffffffff81000000 T _text\nffffffff81000800 T last\n", 0, err);

	(void)state;
	assert_non_null(s);
	assert_string_equal(on_page(s, 0x1000000), "_text@0 ");
	symbols_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_linked), cmocka_unit_test(with_kaslr),
		cmocka_unit_test(refused), cmocka_unit_test(least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
