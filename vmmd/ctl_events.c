// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cvmm events: what vmmd and the module report, as it comes.
 */
#include <errno.h>
#include <linux/cvmm_netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmmd/ctl.h"
#include "vmmd/genl.h"
#include "vmmd/stats.h"

/* @peer: empty when the event is not about another host; numbers as text */
struct event {
	const char *source, *event, *name, *node, *peer, *text;
};

static json_t *number(const char *text)
{
	return *text ? json_integer(strtoll(text, NULL, 10)) : json_null();
}

static void event_print(const struct event *e)
{
	struct timespec ts;
	char now[64], zone[16];
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	n = strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	snprintf(now + n, sizeof(now) - n, ".%03ld%s", ts.tv_nsec / 1000000, zone);
	if (ctl_json)
		ctl_print_json(json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "time", now, "source", e->source,
					 "event", json_text(e->event), "name", json_text(e->name),
					 "node", number(e->node), "peer", number(e->peer),
					 "text", json_text(e->text)), JSON_COMPACT);
	else
		printf("%s %-6s %-12s %s/%s%s%s%s%s\n", now, e->source, e->event, e->name, e->node,
		       *e->peer ? " peer " : "", e->peer, *e->text ? ": " : "", e->text);
	fflush(stdout);
}

static const char *event_name(uint32_t event)
{
	static const char *const names[] = {
		[CVMM_NL_EVENT_SPACE_NEW] = "space-new",
		[CVMM_NL_EVENT_SPACE_GONE] = "space-gone",
		[CVMM_NL_EVENT_SPACE_FAILED] = "space-failed",
		[CVMM_NL_EVENT_LINK_UP] = "link-up",
		[CVMM_NL_EVENT_LINK_DOWN] = "link-down",
		[CVMM_NL_EVENT_HOST_LOST] = "host-lost",
	};

	return event < sizeof(names) / sizeof(names[0]) && names[event] ? names[event] : "?";
}

static int on_event(void *arg, const struct genl_event *e)
{
	char node[16], peer[16] = "";

	(void)arg;
	snprintf(node, sizeof(node), "%u", e->host_id);
	if (e->peer != ~0U)
		snprintf(peer, sizeof(peer), "%u", e->peer);
	event_print(&(struct event){ .source = "module", .event = event_name(e->event), .name = e->name,
				     .node = node, .peer = peer, .text = e->reason });
	return 0;
}

static FILE *vmmd_subscribe(void)
{
	struct record r;
	FILE *f;

	f = ctl_connect();
	if (!f)
		return NULL;
	/* One line is read for each poll(): none may wait in a buffer. */
	setvbuf(f, NULL, _IONBF, 0);
	ctl_send(f, "events", NULL);
	if (ctl_next(f, &r)) {
		fclose(f);
		return NULL;
	}
	return f;
}

static struct genl *module_subscribe(void)
{
	struct genl *g;
	char err[256];

	g = genl_open(err, sizeof(err));
	if (g && genl_subscribe(g)) {
		snprintf(err, sizeof(err), "its event group cannot be joined (needs CAP_NET_ADMIN)");
		genl_close(g);
		g = NULL;
	}
	if (!g)
		fprintf(stderr, "cvmm: no events of the module: %s\n", err);
	return g;
}

/* False when vmmd has nothing more to tell. */
static bool vmmd_event(FILE *f)
{
	struct record r;

	if (ctl_next(f, &r) < 0)
		return false;
	event_print(&(struct event){ .source = "vmmd", .event = ctl_field(&r, "event"),
				     .name = ctl_field(&r, "name"), .node = ctl_field(&r, "node"), .peer = "",
				     .text = ctl_field(&r, "text") });
	return true;
}

/* False when the module has nothing more to tell. */
static bool module_event(struct genl *g)
{
	int ret = genl_events(g, on_event, NULL);

	if (ret == -ENOBUFS)
		fputs("cvmm: events were lost\n", stderr);
	else if (ret && ret != -EAGAIN && ret != -EINTR)
		return false;
	return true;
}

/* Until interrupted, or until nobody is left to tell anything. */
int ctl_events(void)
{
	FILE *f = vmmd_subscribe();
	struct genl *g = module_subscribe();
	struct pollfd p[2] = { { .fd = f ? fileno(f) : -1, .events = POLLIN },
			       { .fd = g ? genl_fd(g) : -1, .events = POLLIN } };

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents && !vmmd_event(f))
			p[0].fd = -1;
		if (p[1].revents && !module_event(g))
			p[1].fd = -1;
	}
	if (f)
		fclose(f);
	genl_close(g);
	return EXIT_UNAVAILABLE;
}
