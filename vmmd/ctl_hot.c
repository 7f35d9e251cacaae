// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm hot: the pages that travel most between hosts, what they have to do with the
 * guest's kernel, and for how much of it which hosts are responsible.
 *
 * All is counted as flows: how often a page went from one host to another, and how.
 * The module knows those from and to its own host.  Both hosts of a flow count it,
 * so what several of them say is merged by taking the larger number of each flow.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/cvmm_netlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmmd/ctl.h"
#include "vmmd/genl.h"
#include "vmmd/stats.h"
#include "vmmd/symbols.h"

#define MAX_HOSTS	64
#define MAX_GFN		(1ULL << 40)
#define KINDS		CVMM_NL_HEAT_COPY_OUT	/* of each direction */
#define SHOWN_FLOWS	4
#define SHOWN_SYMBOLS	4

static const char *const kind_name[KINDS] = {
	[CVMM_NL_HEAT_COPY_IN] = "copies",
	[CVMM_NL_HEAT_MOVE_IN] = "moves",
	[CVMM_NL_HEAT_RIGHT_IN] = "rights",
};

struct flow {
	uint64_t gfn;
	uint32_t from, to;
	uint64_t kind[KINDS], total;
};

struct flows {
	struct flow *f;
	size_t nr, room;
	uint32_t host;		/* whose module told them */
	char name[GENL_NAME_LEN], id[32];
};

/* Flows of one page: a run of those in struct flows, which are sorted. */
struct page {
	struct flow *first;
	size_t nr;
	uint64_t kind[KINDS], total;
};

/* ---- flows ---------------------------------------------------------------- */

static int add_flow(struct flows *all, const struct flow *flow)
{
	struct flow *more;

	if (all->nr == all->room) {
		more = realloc(all->f, (2 * all->room + 1024) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		all->f = more;
		all->room = 2 * all->room + 1024;
	}
	all->f[all->nr++] = *flow;
	return 0;
}

static int add_heat(void *arg, const struct genl_heat *h)
{
	struct flows *all = arg;
	struct flow in = { .gfn = h->gfn, .from = h->peer, .to = all->host };
	struct flow out = { .gfn = h->gfn, .from = all->host, .to = h->peer };
	unsigned int k;
	int ret = 0;

	for (k = 0; k < KINDS; k++) {
		in.total += in.kind[k] = h->kind[k];
		out.total += out.kind[k] = h->kind[k + CVMM_NL_HEAT_COPY_OUT];
	}
	if (in.total)
		ret = add_flow(all, &in);
	if (out.total && !ret)
		ret = add_flow(all, &out);
	return ret;
}

static int by_page(const void *a, const void *b)
{
	const struct flow *x = a, *y = b;

	if (x->gfn != y->gfn)
		return x->gfn < y->gfn ? -1 : 1;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int by_flow_total(const void *a, const void *b)
{
	const struct flow *x = a, *y = b;

	return x->total > y->total ? -1 : x->total < y->total ? 1 : by_page(a, b);
}

static int by_page_total(const void *a, const void *b)
{
	const struct page *x = a, *y = b;

	return x->total > y->total ? -1 : x->total < y->total ? 1 : by_page(x->first, y->first);
}

static void sort_flows(struct flows *all)
{
	if (all->nr)
		qsort(all->f, all->nr, sizeof(*all->f), by_page);
}

/* Of each flow that is there several times keep the one that saw most. */
static void merge_flows(struct flows *all)
{
	size_t i, n = 0;

	sort_flows(all);
	for (i = 0; i < all->nr; i++) {
		if (!n || by_page(&all->f[n - 1], &all->f[i]))
			all->f[n++] = all->f[i];
		else if (all->f[i].total > all->f[n - 1].total)
			all->f[n - 1] = all->f[i];
	}
	all->nr = n;
}

/* Leave what has been added since @before; a page that was forgotten meanwhile began anew. */
static void subtract_flows(struct flows *all, struct flows *before)
{
	const struct flow *old;
	unsigned int k;
	size_t i, n = 0;

	sort_flows(before);
	for (i = 0; i < all->nr; i++) {
		struct flow *f = &all->f[i];

		old = before->nr ? bsearch(f, before->f, before->nr, sizeof(*f), by_page) : NULL;
		for (k = 0; old && k < KINDS; k++)
			if (f->kind[k] < old->kind[k])
				old = NULL;
		for (k = 0; old && k < KINDS; k++)
			f->kind[k] -= old->kind[k];
		f->total -= old ? old->total : 0;
		if (f->total)
			all->f[n++] = *f;
	}
	all->nr = n;
}

/* ---- where flows come from ------------------------------------------------ */

static int identify(void *arg, const struct genl_space *s)
{
	struct flows *all = arg;

	all->host = s->host_id;
	strcpy(all->name, s->name);
	snprintf(all->id, sizeof(all->id), "%016" PRIx64, s->space_id);
	return 1;
}

static int read_module(const struct hot_options *o, const char *name, struct flows *all)
{
	struct flows before = { 0 };
	struct genl *g = ctl_module();
	int ret;

	if (!g)
		return EXIT_UNAVAILABLE;
	ret = genl_spaces(g, name, identify, all);
	if (ret == 1)
		ret = 0;
	if (!ret && o->seconds) {
		before.host = all->host;
		ret = genl_heat(g, name, add_heat, &before);
		if (!ret)
			sleep(o->seconds);
	}
	if (!ret)
		ret = genl_heat(g, name, add_heat, all);
	if (!ret && o->seconds)
		subtract_flows(all, &before);
	free(before.f);
	genl_close(g);
	return ctl_module_status(ret, name);
}

/* What page_json() has written.  0, or -1 when it is not that. */
static int add_page_json(const json_t *page, struct flows *all)
{
	const json_t *flow, *flows = json_object_get(page, "flows");
	const json_int_t gfn = json_integer_value(json_object_get(page, "gfn"));
	json_int_t from, to, n;
	unsigned int k;
	size_t i;

	if (!json_is_integer(json_object_get(page, "gfn")) || gfn < 0 || (uint64_t)gfn >= MAX_GFN ||
	    !json_is_array(flows))
		return -1;
	json_array_foreach(flows, i, flow) {
		struct flow f = { .gfn = (uint64_t)gfn };

		if (json_unpack((json_t *)flow, "{s:I, s:I}", "from", &from, "to", &to) || from < 0 ||
		    to < 0 || from >= MAX_HOSTS || to >= MAX_HOSTS)
			return -1;
		f.from = (uint32_t)from;
		f.to = (uint32_t)to;
		for (k = 0; k < KINDS; k++) {
			if (json_unpack((json_t *)flow, "{s:I}", kind_name[k], &n) || n < 0)
				return -1;
			f.total += f.kind[k] = (uint64_t)n;
		}
		if (add_flow(all, &f))
			return -1;
	}
	return 0;
}

static int read_file(const char *path, struct flows *all)
{
	const json_t *page, *pages;
	const char *name, *id;
	json_error_t error;
	json_t *root;
	size_t i;
	int ret = -1;

	root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		fprintf(stderr, "cvmm: %s:%d: %s\n", path, error.line, error.text);
		return -1;
	}
	name = json_string_value(json_object_get(root, "name"));
	id = json_string_value(json_object_get(root, "space"));
	pages = json_object_get(root, "pages");
	if (!name || strlen(name) >= sizeof(all->name) || !id || strlen(id) >= sizeof(all->id) ||
	    !json_is_array(pages)) {
		fprintf(stderr, "cvmm: %s: not what 'cvmm -j hot' prints\n", path);
		goto free_root;
	}
	if (all->name[0] && (strcmp(all->name, name) || strcmp(all->id, id))) {
		fprintf(stderr, "cvmm: %s: of another guest than the first file\n", path);
		goto free_root;
	}
	strcpy(all->name, name);
	strcpy(all->id, id);
	json_array_foreach(pages, i, page) {
		if (add_page_json(page, all)) {
			fprintf(stderr, "cvmm: %s: page %zu is not what 'cvmm -j hot' prints\n", path, i);
			goto free_root;
		}
	}
	ret = 0;
free_root:
	json_decref(root);
	return ret;
}

static struct symbols *read_map(const struct hot_options *o)
{
	struct symbols *s = NULL;
	char err[256];
	FILE *f;

	f = fopen(o->map, "re");
	if (!f)
		snprintf(err, sizeof(err), "%s", strerror(errno));
	else
		s = symbols_read(f, o->text, err, sizeof(err));
	if (!s)
		fprintf(stderr, "cvmm: %s: %s\n", o->map, err);
	if (f)
		fclose(f);
	return s;
}

/* ---- output --------------------------------------------------------------- */

static struct page *group(struct flows *all, size_t *nr)
{
	struct page *pages = calloc(all->nr + 1, sizeof(*pages));
	unsigned int k;
	size_t i, n = 0;

	for (i = 0; pages && i < all->nr; i++) {
		struct flow *f = &all->f[i];

		if (!n || pages[n - 1].first->gfn != f->gfn)
			pages[n++].first = f;
		pages[n - 1].nr++;
		for (k = 0; k < KINDS; k++)
			pages[n - 1].kind[k] += f->kind[k];
		pages[n - 1].total += f->total;
	}
	*nr = n;
	if (pages)
		qsort(pages, n, sizeof(*pages), by_page_total);
	for (i = 0; pages && i < n; i++)
		qsort(pages[i].first, pages[i].nr, sizeof(struct flow), by_flow_total);
	return pages;
}

static void symbol_json(void *arg, const char *name, int64_t offset)
{
	json_array_append_new(arg, json_pack("{s:o, s:I}", "name", json_text(name), "offset",
					     (json_int_t)offset));
}

static void kinds_json(json_t *j, const uint64_t *kind)
{
	unsigned int k;

	for (k = 0; k < KINDS; k++)
		json_object_set_new(j, kind_name[k], json_integer((json_int_t)kind[k]));
}

static json_t *page_json(const struct page *p, const struct symbols *s)
{
	json_t *j = json_object(), *flows = json_array(), *flow, *symbols;
	size_t i;

	json_object_set_new(j, "gfn", json_integer((json_int_t)p->first->gfn));
	json_object_set_new(j, "total", json_integer((json_int_t)p->total));
	kinds_json(j, p->kind);
	for (i = 0; i < p->nr; i++) {
		flow = json_pack("{s:I, s:I}", "from", (json_int_t)p->first[i].from, "to",
				 (json_int_t)p->first[i].to);
		kinds_json(flow, p->first[i].kind);
		json_array_append_new(flows, flow);
	}
	json_object_set_new(j, "flows", flows);
	if (s) {
		symbols = json_array();
		symbols_on_page(s, p->first->gfn << 12, symbol_json, symbols);
		json_object_set_new(j, "symbols", symbols);
	}
	return j;
}

static void pages_json(const struct flows *all, const struct page *pages, size_t nr,
		       const struct symbols *s)
{
	json_t *list = json_array(), *j = json_object();
	size_t i;

	for (i = 0; i < nr; i++)
		json_array_append_new(list, page_json(&pages[i], s));
	json_object_set_new(j, "name", json_text(all->name));
	json_object_set_new(j, "space", json_text(all->id));
	json_object_set_new(j, "pages", list);
	ctl_print_json(j, JSON_INDENT(1));
}

static void symbol_text(void *arg, const char *name, int64_t offset)
{
	unsigned int *n = arg;

	(void)offset;
	if ((*n)++ < SHOWN_SYMBOLS)
		printf(" %s", name);
}

static void page_line(const struct page *p, const struct symbols *s)
{
	unsigned int k, n = 0;
	char hosts[SHOWN_FLOWS * 32 + 8] = "";
	size_t i, len = 0;

	printf("%#14" PRIx64 " %9" PRIu64, p->first->gfn << 12, p->total);
	for (k = 0; k < KINDS; k++)
		printf(" %9" PRIu64, p->kind[k]);
	for (i = 0; i < p->nr && i < SHOWN_FLOWS; i++)
		len += (size_t)snprintf(hosts + len, sizeof(hosts) - len, "%s%u>%u:%" PRIu64, i ? " " : "",
					p->first[i].from, p->first[i].to, p->first[i].total);
	if (p->nr > SHOWN_FLOWS)
		strcpy(hosts + len, " ...");
	printf(s ? "  %-28s" : "  %s", hosts);
	if (s)
		symbols_on_page(s, p->first->gfn << 12, symbol_text, &n);
	if (n > SHOWN_SYMBOLS)
		printf(" +%u", n - SHOWN_SYMBOLS);
	putchar('\n');
}

int ctl_hot(const struct hot_options *o, const char *name, char **files)
{
	struct flows all = { 0 };
	struct symbols *s = NULL;
	struct page *pages;
	int ret = EXIT_UNAVAILABLE;
	size_t nr, i;

	if (o->map) {
		s = read_map(o);
		if (!s)
			return EXIT_USAGE;
	}
	if (name && read_module(o, name, &all))
		goto free_flows;
	for (; !name && *files; files++) {
		if (read_file(*files, &all)) {
			ret = EXIT_USAGE;
			goto free_flows;
		}
	}
	merge_flows(&all);
	pages = group(&all, &nr);
	if (!pages) {
		fputs("cvmm: out of memory\n", stderr);
		goto free_flows;
	}
	if (o->count && nr > o->count)
		nr = o->count;
	if (ctl_json) {
		pages_json(&all, pages, nr, s);
	} else {
		printf("%14s %9s %9s %9s %9s  %s%s\n", "PAGE AT", "TOTAL", "COPIES", "MOVES", "RIGHTS",
		       s ? "FROM>TO:TOTAL                 " : "FROM>TO:TOTAL", s ? "SYMBOLS" : "");
		for (i = 0; i < nr; i++)
			page_line(&pages[i], s);
	}
	ret = 0;
	free(pages);
free_flows:
	free(all.f);
	symbols_free(s);
	return ret;
}
