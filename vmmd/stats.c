// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lists of named counters: see stats.h.
 */
#include <stdlib.h>
#include <string.h>

#include "vmmd/genl.h"
#include "vmmd/proto.h"
#include "vmmd/stats.h"

void stats_add(struct stats *s, const char *name, uint64_t value)
{
	struct stat_entry *more;
	unsigned int i;

	if (!*name || strlen(name) >= STAT_NAME_LEN)
		return;
	for (i = 0; i < s->nr; i++) {
		if (!strcmp(s->entry[i].name, name)) {
			s->entry[i].value += value;
			return;
		}
	}
	if (s->nr == STATS_MAX)
		return;
	if (s->nr == s->room) {
		more = realloc(s->entry, (s->room + 64) * sizeof(*more));
		if (!more)
			return;
		s->entry = more;
		s->room += 64;
	}
	strcpy(s->entry[s->nr].name, name);
	s->entry[s->nr++].value = value;
}

void stats_add_machine(struct stats *s, const struct machine_stats *m)
{
	stats_add(s, "machine.exits", m->exits);
	stats_add(s, "machine.exits_pio", m->exits_pio);
	stats_add(s, "machine.exits_mmio", m->exits_mmio);
	stats_add(s, "machine.exits_msr", m->exits_msr);
	stats_add(s, "machine.exits_hlt", m->exits_hlt);
	stats_add(s, "machine.exits_intr", m->exits_intr);
	stats_add(s, "machine.ipis_local", m->ipis_local);
	stats_add(s, "machine.ipis_remote_out", m->ipis_remote_out);
	stats_add(s, "machine.ipis_remote_in", m->ipis_remote_in);
	stats_add(s, "machine.io_forwarded", m->io_forwarded);
	stats_add(s, "machine.irqs", m->irqs);
}

static int add_counter(void *arg, const char *counter, uint64_t value)
{
	stats_add(arg, counter, value);
	return 0;
}

void stats_add_all(struct stats *s, const struct stats *more)
{
	unsigned int i;

	for (i = 0; i < more->nr; i++)
		stats_add(s, more->entry[i].name, more->entry[i].value);
}

static int add_times(void *arg, const struct hist *h)
{
	const struct {
		const char *what;
		uint64_t value;
	} times[] = {
		{ "count", hist_count(h) },
		{ "sum_ns", h->sum_ns },
		{ "p50_ns", hist_percentile(h, 50, 100) },
		{ "p99_ns", hist_percentile(h, 99, 100) },
		{ "p999_ns", hist_percentile(h, 999, 1000) },
	};
	char name[STAT_NAME_LEN];
	size_t i;

	for (i = 0; times[0].value && i < sizeof(times) / sizeof(times[0]); i++) {
		snprintf(name, sizeof(name), "time.%s.%s", h->name, times[i].what);
		stats_add(arg, name, times[i].value);
	}
	return 0;
}

void stats_add_module(struct stats *s, const char *guest)
{
	char err[128];
	struct genl *g;

	/* Counters are a courtesy: without the right to read them there are none. */
	g = genl_open(err, sizeof(err));
	if (!g)
		return;
	genl_counters(g, guest, add_counter, s);
	genl_latency(g, guest, add_times, s);
	genl_close(g);
}

void stats_free(struct stats *s)
{
	free(s->entry);
	memset(s, 0, sizeof(*s));
}

size_t stats_encode(const struct stats *s, uint8_t *buf, size_t max)
{
	size_t pos = 0, len;
	unsigned int i;

	for (i = 0; i < s->nr; i++) {
		len = strlen(s->entry[i].name);
		if (max - pos < len + 9)
			break;
		buf[pos++] = (uint8_t)len;
		memcpy(buf + pos, s->entry[i].name, len);
		put_u64(buf + pos + len, s->entry[i].value);
		pos += len + 8;
	}
	return pos;
}

int stats_decode(const uint8_t *buf, size_t len, struct stats *s)
{
	char name[STAT_NAME_LEN];
	size_t pos = 0, n, i;

	while (pos < len) {
		n = buf[pos++];
		if (!n || n >= STAT_NAME_LEN || len - pos < n + 8)
			return -1;
		for (i = 0; i < n; i++)
			if (buf[pos + i] <= ' ' || buf[pos + i] >= 0x7f || buf[pos + i] == '"' || buf[pos + i] == '\\')
				return -1;
		memcpy(name, buf + pos, n);
		name[n] = '\0';
		stats_add(s, name, get_u64(buf + pos + n));
		pos += n + 8;
	}
	return 0;
}

json_t *json_text(const char *text)
{
	json_t *j = json_string(text);
	char *copy, *p;

	if (j)
		return j;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (p = copy; *p; p++)
		if (*p & 0x80)
			*p = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

json_t *stats_json(const struct stats *s)
{
	json_t *j = json_object();
	unsigned int i;

	for (i = 0; i < s->nr; i++)
		json_object_set_new(j, s->entry[i].name, json_integer((json_int_t)s->entry[i].value));
	return j;
}
