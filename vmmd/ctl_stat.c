// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm stat, cvmm links: what the module and a guest's process have counted here.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/cvmm.h>
#include <linux/cvmm_netlink.h>
#include <stdlib.h>
#include <string.h>

#include "vmmd/ctl.h"
#include "vmmd/genl.h"
#include "vmmd/stats.h"

/* ---- spaces and links ----------------------------------------------------- */

static const char *link_state(uint32_t state)
{
	switch (state) {
	case CVMM_NL_LINK_HELLO:
		return "hello";
	case CVMM_NL_LINK_UP:
		return "up";
	default:
		return "down";
	}
}

static const char *transport_name(uint32_t transport)
{
	switch (transport) {
	case CVMM_TRANSPORT_STREAM:
		return "stream";
	case CVMM_TRANSPORT_RDMA:
		return "rdma";
	default:
		return "?";
	}
}

static void links_head(void)
{
	printf("  %-6s %-6s %-7s %12s %14s %12s %14s %8s %8s %14s\n", "PEER", "LINK", "OVER", "TX MSGS",
	       "TX BYTES", "RX MSGS", "RX BYTES", "QUEUED", "AT MOST", "COPIED");
}

static void link_line(const struct genl_link *l)
{
	printf("  %-6u %-6s %-7s %12" PRIu64 " %14" PRIu64 " %12" PRIu64 " %14" PRIu64 " %8u %8u %14" PRIu64 "\n",
	       l->peer, link_state(l->state), transport_name(l->transport), l->tx_msgs, l->tx_bytes,
	       l->rx_msgs, l->rx_bytes, l->tx_queued, l->tx_queued_max,
	       l->copied);
}

static json_t *link_json(const struct genl_link *l)
{
	return json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "peer", (json_int_t)l->peer,
			 "state", link_state(l->state), "transport", transport_name(l->transport),
			 "tx_msgs", (json_int_t)l->tx_msgs, "tx_bytes", (json_int_t)l->tx_bytes,
			 "rx_msgs", (json_int_t)l->rx_msgs, "rx_bytes", (json_int_t)l->rx_bytes,
			 "tx_queued", (json_int_t)l->tx_queued,
			 "tx_queued_max", (json_int_t)l->tx_queued_max,
			 "copied", (json_int_t)l->copied);
}

static json_t *links_json(const struct genl_space *s)
{
	json_t *links = json_array();
	unsigned int i;

	for (i = 0; i < s->nr_links; i++)
		json_array_append_new(links, link_json(&s->link[i]));
	return links;
}

static void space_head(const struct genl_space *s)
{
	bool failed = s->state == CVMM_SPACE_FAILED;

	printf("space %s: host %u of %u, boot %u, %s%s\n", s->name, s->host_id, s->nr_hosts, s->epoch,
	       failed ? "failed: " : "live", failed ? s->reason : "");
}

static void space_table(const struct genl_space *s)
{
	char a[32], b[32], c[32];
	unsigned int i;

	space_head(s);
	if (!s->pages)
		printf("  memory of its process\n");
	else
		printf("  memory %s, at home here %s, held here %s, directory %" PRIu64 " bytes\n",
		       ctl_size_text(s->pages << 12, a), ctl_size_text(s->home_pages << 12, b),
		       ctl_size_text(s->frames << 12, c), s->meta_bytes);
	if (s->nr_links)
		links_head();
	for (i = 0; i < s->nr_links; i++)
		link_line(&s->link[i]);
}

static json_t *space_json(const struct genl_space *s)
{
	json_t *j = json_pack("{s:I, s:I, s:I, s:s, s:o, s:I, s:I, s:I, s:I}",
			      "host", (json_int_t)s->host_id, "hosts", (json_int_t)s->nr_hosts,
			      "epoch", (json_int_t)s->epoch,
			      "state", s->state == CVMM_SPACE_FAILED ? "failed" : "live",
			      "reason", json_text(s->reason),
			      "pages", (json_int_t)s->pages, "home_pages", (json_int_t)s->home_pages,
			      "frames", (json_int_t)s->frames, "meta_bytes", (json_int_t)s->meta_bytes);

	json_object_set_new(j, "links", links_json(s));
	return j;
}

/* ---- times ---------------------------------------------------------------- */

static const char *time_text(uint64_t ns, char buf[32])
{
	if (ns < 10000)
		snprintf(buf, 32, "%" PRIu64 "ns", ns);
	else if (ns < 10000000)
		snprintf(buf, 32, "%.1fus", (double)ns / 1e3);
	else if (ns < 10000000000ULL)
		snprintf(buf, 32, "%.1fms", (double)ns / 1e6);
	else
		snprintf(buf, 32, "%.1fs", (double)ns / 1e9);
	return buf;
}

static int hist_line(void *arg, const struct hist *h)
{
	const uint64_t n = hist_count(h);
	char mean[32], p50[32], p99[32], p999[32], max[32];
	bool *head = arg;

	if (!n)
		return 0;
	if (!*head)
		printf("  %-12s %12s %10s %10s %10s %10s %10s\n", "TIME OF", "COUNT", "MEAN", "P50", "P99",
		       "P99.9", "MAX");
	*head = true;
	printf("  %-12s %12" PRIu64 " %10s %10s %10s %10s %10s\n", h->name, n, time_text(h->sum_ns / n, mean),
	       time_text(hist_percentile(h, 50, 100), p50), time_text(hist_percentile(h, 99, 100), p99),
	       time_text(hist_percentile(h, 999, 1000), p999), time_text(hist_max(h), max));
	return 0;
}

static int hist_json(void *arg, const struct hist *h)
{
	const uint64_t n = hist_count(h);
	json_t *buckets = json_array();
	unsigned int b;

	for (b = 0; b < CVMM_NL_HIST_BUCKETS; b++)
		if (h->bucket[b])
			json_array_append_new(buckets, json_pack("[I, I]", (json_int_t)hist_begin(b),
								 (json_int_t)h->bucket[b]));
	json_object_set_new(arg, h->name, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
		"count", (json_int_t)n, "mean_ns", (json_int_t)(n ? h->sum_ns / n : 0),
		"p50_ns", (json_int_t)hist_percentile(h, 50, 100),
		"p99_ns", (json_int_t)hist_percentile(h, 99, 100),
		"p999_ns", (json_int_t)hist_percentile(h, 999, 1000),
		"max_ns", (json_int_t)hist_max(h), "buckets", buckets));
	return 0;
}

/* ---- one guest ------------------------------------------------------------ */

static int copy_space(void *arg, const struct genl_space *s)
{
	memcpy(arg, s, sizeof(*s));
	return 1;
}

static int add_counter(void *arg, const char *counter, uint64_t value)
{
	stats_add(arg, counter, value);
	return 0;
}

/* Counters of the guest's process, from vmmd.  A guest of cvmm-run alone is not known there. */
static int vmmd_counters(const char *name, struct stats *s)
{
	struct record r;
	FILE *f;
	int ret;

	f = ctl_ask("stats", name);
	if (!f)
		return -1;
	while ((ret = ctl_next(f, &r)) > 0)
		stats_add(s, ctl_field(&r, "counter"), strtoull(ctl_field(&r, "value"), NULL, 10));
	fclose(f);
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stat_entry *)a)->name, ((const struct stat_entry *)b)->name);
}

static void guest_json(const char *name, const struct genl_space *space, json_t *latency,
		       const struct stats *s)
{
	json_t *j = json_object();

	json_object_set_new(j, "name", json_text(name));
	json_object_set_new(j, "space", space ? space_json(space) : json_null());
	json_object_set(j, "latency", latency);
	json_object_set_new(j, "counters", stats_json(s));
	ctl_print_json(j, JSON_INDENT(2));
}

static int stat_guest(const char *name)
{
	static struct genl_space space;
	json_t *latency = json_object();
	struct stats s = { 0 };
	bool have_space = false, have_vm, head = false;
	struct genl *g = ctl_module();
	unsigned int i;

	if (g) {
		have_space = genl_spaces(g, name, copy_space, &space) == 1;
		genl_counters(g, name, add_counter, &s);
	}
	have_vm = !vmmd_counters(name, &s);
	if (s.nr)
		qsort(s.entry, s.nr, sizeof(s.entry[0]), by_name);
	if (have_space && ctl_json)
		genl_latency(g, name, hist_json, latency);
	if (ctl_json && (have_space || have_vm)) {
		guest_json(name, have_space ? &space : NULL, latency, &s);
	} else {
		if (have_space) {
			space_table(&space);
			genl_latency(g, name, hist_line, &head);
		}
		for (i = 0; i < s.nr; i++)
			if (s.entry[i].value)
				printf("  %-40s %16" PRIu64 "\n", s.entry[i].name, s.entry[i].value);
	}
	json_decref(latency);
	stats_free(&s);
	genl_close(g);
	return have_space || have_vm ? 0 : EXIT_UNAVAILABLE;
}

/* ---- all guests ----------------------------------------------------------- */

/* @fn for each space, or that of @name. */
static int for_spaces(const char *name, int (*fn)(void *arg, const struct genl_space *s), void *arg)
{
	struct genl *g = ctl_module();
	int ret;

	if (!g)
		return EXIT_UNAVAILABLE;
	ret = genl_spaces(g, name, fn, arg);
	genl_close(g);
	return ctl_module_status(ret, name);
}

static int stat_space(void *arg, const struct genl_space *s)
{
	json_t *j;

	if (!ctl_json) {
		space_table(s);
		return 0;
	}
	j = json_object();
	json_object_set_new(j, "name", json_text(s->name));
	json_object_set_new(j, "space", space_json(s));
	json_array_append_new(arg, j);
	return 0;
}

static int links_space(void *arg, const struct genl_space *s)
{
	unsigned int i;
	json_t *j;

	if (!ctl_json) {
		space_head(s);
		links_head();
		for (i = 0; i < s->nr_links; i++)
			link_line(&s->link[i]);
		return 0;
	}
	j = json_object();
	json_object_set_new(j, "name", json_text(s->name));
	json_object_set_new(j, "host", json_integer(s->host_id));
	json_object_set_new(j, "hosts", json_integer(s->nr_hosts));
	json_object_set_new(j, "links", links_json(s));
	json_array_append_new(arg, j);
	return 0;
}

static int all(const char *name, int (*fn)(void *arg, const struct genl_space *s))
{
	json_t *list = json_array();
	int ret = for_spaces(name, fn, list);

	if (ctl_json && !ret)
		ctl_print_json(list, JSON_INDENT(2));
	else
		json_decref(list);
	return ret;
}

int ctl_stat(const char *name)
{
	return name ? stat_guest(name) : all(NULL, stat_space);
}

int ctl_links(const char *name)
{
	return all(name, links_space);
}
