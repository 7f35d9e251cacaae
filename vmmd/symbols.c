// SPDX-License-Identifier: GPL-2.0-or-later
/* A guest kernel's symbols: see symbols.h. */
#include "vmmd/symbols.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE	4096U
/* The kernel text mapping begins here, and modules 1 or 1.5 GiB further on. */
#define KERNEL_MAP	0xffffffff80000000ULL
#define KERNEL_MAP_END	0xffffffffff000000ULL

struct symbol {
	uint64_t addr;		/* virtual */
	char *name;
};

struct symbols {
	struct symbol *sym;	/* by address */
	size_t nr, room;
	uint64_t text;		/* virtual */
	uint64_t text_gpa;
	uint64_t end;		/* virtual, of the image */
};

static bool add(struct symbols *s, uint64_t addr, const char *name)
{
	struct symbol *more;

	if (s->nr == s->room) {
		more = realloc(s->sym, (2 * s->room + 1024) * sizeof(*more));
		if (!more)
			return false;
		s->sym = more;
		s->room = 2 * s->room + 1024;
	}
	s->sym[s->nr].addr = addr;
	s->sym[s->nr].name = strdup(name);
	return s->sym[s->nr++].name;
}

/* Those at one address by name. */
static int by_addr(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr ? 1 : strcmp(x->name, y->name);
}

/* 1: a symbol of the image; 0: another, or none; -1: this is no symbol table. */
static int parse(char *line, uint64_t *addr, const char **name)
{
	char *end, *type, *save;

	if (!isxdigit((unsigned char)line[0]))
		return -1;
	errno = 0;
	*addr = strtoull(line, &end, 16);
	type = strtok_r(end, " \t\n", &save);
	*name = strtok_r(NULL, " \t\n", &save);
	if (errno || (*end != ' ' && *end != '\t') || !type || type[1] || !*name)
		return -1;
	/* "name [module]"; absolute symbols are no addresses */
	if (strtok_r(NULL, " \t\n", &save) || tolower((unsigned char)*type) == 'a')
		return 0;
	return *addr >= KERNEL_MAP && *addr < KERNEL_MAP_END;
}

static bool read_all(struct symbols *s, FILE *f, bool *zeros, char *err, size_t errlen)
{
	unsigned long nr = 0;
	const char *name;
	uint64_t addr;
	char *line = NULL;
	size_t size = 0;
	bool good = true;
	int ret;

	*zeros = true;
	while (good && getline(&line, &size, f) >= 0) {
		nr++;
		ret = parse(line, &addr, &name);
		if (ret < 0) {
			snprintf(err, errlen, "line %lu is no \"ADDRESS TYPE NAME\"", nr);
			good = false;
			break;
		}
		*zeros &= !addr;
		if (!ret)
			continue;
		if (!s->text && !strcmp(name, "_text"))
			s->text = addr;
		if (!strcmp(name, "_end"))
			s->end = addr;
		good = add(s, addr, name);
		if (!good)
			snprintf(err, errlen, "out of memory");
	}
	if (good && ferror(f)) {
		snprintf(err, errlen, "%s", strerror(errno));
		good = false;
	}
	free(line);
	return good;
}

struct symbols *symbols_read(FILE *f, uint64_t text, char *err, size_t errlen)
{
	struct symbols *s = calloc(1, sizeof(*s));
	bool zeros;

	if (!s) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	if (!read_all(s, f, &zeros, err, errlen))
		goto free_symbols;
	if (!s->text) {
		snprintf(err, errlen, zeros ? "all addresses are 0: /proc/kallsyms shows them to root only" :
			 "there is no symbol _text (Debian's System.map has none: take the guest's /proc/kallsyms)");
		goto free_symbols;
	}
	qsort(s->sym, s->nr, sizeof(*s->sym), by_addr);
	s->text_gpa = text ? text : s->text - KERNEL_MAP;
	if (s->end < s->text)
		s->end = s->sym[s->nr - 1].addr;
	return s;

free_symbols:
	symbols_free(s);
	return NULL;
}

void symbols_free(struct symbols *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->nr; i++)
		free(s->sym[i].name);
	free(s->sym);
	free(s);
}

uint64_t symbols_text(const struct symbols *s)
{
	return s->text_gpa;
}

void symbols_on_page(const struct symbols *s, uint64_t gpa,
		     void (*fn)(void *arg, const char *name, int64_t offset), void *arg)
{
	uint64_t page;
	size_t lo = 0, hi = s->nr, mid;

	gpa -= gpa % PAGE_SIZE;
	if (gpa + PAGE_SIZE <= s->text_gpa || gpa >= s->text_gpa + (s->end - s->text))
		return;
	page = gpa - s->text_gpa + s->text;
	/* The first that begins after the page's first byte... */
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (s->sym[mid].addr <= page)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* ... and all at the last address before that, which reach into the page. */
	for (mid = lo; lo && s->sym[lo - 1].addr == s->sym[mid - 1].addr; lo--)
		;
	for (; lo < s->nr && (s->sym[lo].addr < page + PAGE_SIZE); lo++)
		if (s->sym[lo].addr >= s->text && s->sym[lo].addr < s->end)
			fn(arg, s->sym[lo].name, (int64_t)(s->sym[lo].addr - page));
}
