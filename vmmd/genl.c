// SPDX-License-Identifier: GPL-2.0-or-later
/* Client of the module's generic netlink family, over libnl: see genl.h. */
#include "genl.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include <linux/cvmm_netlink.h>

struct genl {
	struct nl_sock *sock;
	int family;
};

static struct nla_policy top_policy[CVMM_NL_A_MAX + 1] = {
	[CVMM_NL_A_NAME]	= { .type = NLA_STRING },
	[CVMM_NL_A_SPACE_ID]	= { .type = NLA_U64 },
	[CVMM_NL_A_HOST_ID]	= { .type = NLA_U32 },
	[CVMM_NL_A_NR_HOSTS]	= { .type = NLA_U32 },
	[CVMM_NL_A_EPOCH]	= { .type = NLA_U32 },
	[CVMM_NL_A_STATE]	= { .type = NLA_U32 },
	[CVMM_NL_A_ERROR]	= { .type = NLA_U32 },
	[CVMM_NL_A_PEER]	= { .type = NLA_U32 },
	[CVMM_NL_A_REASON]	= { .type = NLA_STRING },
	[CVMM_NL_A_PID]		= { .type = NLA_U32 },
	[CVMM_NL_A_PAGES]	= { .type = NLA_U64 },
	[CVMM_NL_A_HOME_PAGES]	= { .type = NLA_U64 },
	[CVMM_NL_A_FRAMES]	= { .type = NLA_U64 },
	[CVMM_NL_A_META_BYTES]	= { .type = NLA_U64 },
	[CVMM_NL_A_LINKS]	= { .type = NLA_NESTED },
	[CVMM_NL_A_COUNTERS]	= { .type = NLA_NESTED },
	[CVMM_NL_A_EVENT]	= { .type = NLA_U32 },
	[CVMM_NL_A_HISTS]	= { .type = NLA_NESTED },
};

static struct nla_policy link_policy[CVMM_NL_LINK_A_MAX + 1] = {
	[CVMM_NL_LINK_A_PEER]		= { .type = NLA_U32 },
	[CVMM_NL_LINK_A_TRANSPORT]	= { .type = NLA_U32 },
	[CVMM_NL_LINK_A_STATE]		= { .type = NLA_U32 },
	[CVMM_NL_LINK_A_TX_MSGS]	= { .type = NLA_U64 },
	[CVMM_NL_LINK_A_TX_BYTES]	= { .type = NLA_U64 },
	[CVMM_NL_LINK_A_RX_MSGS]	= { .type = NLA_U64 },
	[CVMM_NL_LINK_A_RX_BYTES]	= { .type = NLA_U64 },
	[CVMM_NL_LINK_A_TX_QUEUED]	= { .type = NLA_U32 },
	[CVMM_NL_LINK_A_TX_QUEUED_MAX]	= { .type = NLA_U32 },
	[CVMM_NL_LINK_A_COPIED]		= { .type = NLA_U64 },
};

static struct nla_policy counter_policy[CVMM_NL_COUNTER_A_MAX + 1] = {
	[CVMM_NL_COUNTER_A_NAME]	= { .type = NLA_STRING },
	[CVMM_NL_COUNTER_A_VALUE]	= { .type = NLA_U64 },
};

static struct nla_policy hist_policy[CVMM_NL_HIST_A_MAX + 1] = {
	[CVMM_NL_HIST_A_NAME]	= { .type = NLA_STRING },
	[CVMM_NL_HIST_A_SUM_NS]	= { .type = NLA_U64 },
	[CVMM_NL_HIST_A_FIRST]	= { .type = NLA_U32 },
};

static struct nla_policy heat_policy[CVMM_NL_HEAT_A_MAX + 1] = {
	[CVMM_NL_HEAT_A_GFN]	= { .type = NLA_U64 },
	[CVMM_NL_HEAT_A_PEER]	= { .type = NLA_U32 },
	[CVMM_NL_HEAT_A_COUNT]	= { .type = NLA_U64 },
};

/* A missing attribute reads as @other: an older or newer module stays readable. */
static uint32_t get_u32(struct nlattr *a, uint32_t other)
{
	return a ? nla_get_u32(a) : other;
}

static uint64_t get_u64(struct nlattr *a)
{
	return a ? nla_get_u64(a) : 0;
}

static void get_str(struct nlattr *a, char *buf, size_t len)
{
	buf[0] = '\0';
	if (a)
		nla_strlcpy(buf, a, len);
}

struct genl *genl_open(char *err, size_t errlen)
{
	struct genl *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		goto no_memory;
	g->sock = nl_socket_alloc();
	if (!g->sock)
		goto free_genl;
	ret = genl_connect(g->sock);
	if (ret < 0) {
		snprintf(err, errlen, "cannot open a netlink socket: %s", nl_geterror(ret));
		goto free_sock;
	}
	g->family = genl_ctrl_resolve(g->sock, CVMM_NL_FAMILY);
	if (g->family < 0) {
		snprintf(err, errlen,
			 "the cvmm module is not loaded on this host (no netlink family '%s'): modprobe cvmm",
			 CVMM_NL_FAMILY);
		goto free_sock;
	}
	return g;

free_sock:
	nl_socket_free(g->sock);
	free(g);
	return NULL;
free_genl:
	free(g);
no_memory:
	snprintf(err, errlen, "out of memory");
	return NULL;
}

void genl_close(struct genl *g)
{
	if (!g)
		return;
	nl_socket_free(g->sock);
	free(g);
}

/* What a receive callback needs to hand parsed messages on. */
struct receiver {
	int family;
	bool events;	/* wanted: events; else replies */
	/* one of these, by what was asked */
	int (*space_fn)(void *arg, const struct genl_space *s);
	int (*counter_fn)(void *arg, const char *counter, uint64_t value);
	int (*hist_fn)(void *arg, const struct hist *h);
	int (*heat_fn)(void *arg, const struct genl_heat *h);
	int (*event_fn)(void *arg, const struct genl_event *e);
	void *arg;
	int ret;	/* of the user's function, or -errno */
	bool done;
};

static int parse_links(struct nlattr *links, struct genl_space *s)
{
	struct nlattr *tb[CVMM_NL_LINK_A_MAX + 1];
	struct nlattr *pos;
	int rem;

	nla_for_each_nested(pos, links, rem) {
		struct genl_link *l = &s->link[s->nr_links];

		if (nla_type(pos) != CVMM_NL_A_LINK || s->nr_links == GENL_MAX_LINKS)
			continue;
		if (nla_parse_nested(tb, CVMM_NL_LINK_A_MAX, pos, link_policy) < 0)
			return -EPROTO;
		l->peer = get_u32(tb[CVMM_NL_LINK_A_PEER], ~0U);
		l->transport = get_u32(tb[CVMM_NL_LINK_A_TRANSPORT], 0);
		l->state = get_u32(tb[CVMM_NL_LINK_A_STATE], CVMM_NL_LINK_DOWN);
		l->tx_queued = get_u32(tb[CVMM_NL_LINK_A_TX_QUEUED], 0);
		l->tx_queued_max = get_u32(tb[CVMM_NL_LINK_A_TX_QUEUED_MAX], 0);
		l->tx_msgs = get_u64(tb[CVMM_NL_LINK_A_TX_MSGS]);
		l->tx_bytes = get_u64(tb[CVMM_NL_LINK_A_TX_BYTES]);
		l->rx_msgs = get_u64(tb[CVMM_NL_LINK_A_RX_MSGS]);
		l->rx_bytes = get_u64(tb[CVMM_NL_LINK_A_RX_BYTES]);
		l->copied = get_u64(tb[CVMM_NL_LINK_A_COPIED]);
		s->nr_links++;
	}
	return 0;
}

static int on_space(struct receiver *r, struct nlattr **tb)
{
	struct genl_space s = {
		.space_id = get_u64(tb[CVMM_NL_A_SPACE_ID]),
		.host_id = get_u32(tb[CVMM_NL_A_HOST_ID], 0),
		.nr_hosts = get_u32(tb[CVMM_NL_A_NR_HOSTS], 0),
		.epoch = get_u32(tb[CVMM_NL_A_EPOCH], 0),
		.state = get_u32(tb[CVMM_NL_A_STATE], 0),
		.error = get_u32(tb[CVMM_NL_A_ERROR], 0),
		.peer = get_u32(tb[CVMM_NL_A_PEER], ~0U),
		.pid = get_u32(tb[CVMM_NL_A_PID], 0),
		.pages = get_u64(tb[CVMM_NL_A_PAGES]),
		.home_pages = get_u64(tb[CVMM_NL_A_HOME_PAGES]),
		.frames = get_u64(tb[CVMM_NL_A_FRAMES]),
		.meta_bytes = get_u64(tb[CVMM_NL_A_META_BYTES]),
	};
	int err;

	get_str(tb[CVMM_NL_A_NAME], s.name, sizeof(s.name));
	get_str(tb[CVMM_NL_A_REASON], s.reason, sizeof(s.reason));
	if (tb[CVMM_NL_A_LINKS]) {
		err = parse_links(tb[CVMM_NL_A_LINKS], &s);
		if (err)
			return err;
	}
	return r->space_fn(r->arg, &s);
}

static int on_counters(struct receiver *r, struct nlattr **top)
{
	struct nlattr *tb[CVMM_NL_COUNTER_A_MAX + 1];
	struct nlattr *pos;
	int rem, ret;

	if (!top[CVMM_NL_A_COUNTERS])
		return 0;
	nla_for_each_nested(pos, top[CVMM_NL_A_COUNTERS], rem) {
		if (nla_type(pos) != CVMM_NL_A_COUNTER)
			continue;
		if (nla_parse_nested(tb, CVMM_NL_COUNTER_A_MAX, pos, counter_policy) < 0 ||
		    !tb[CVMM_NL_COUNTER_A_NAME] || !tb[CVMM_NL_COUNTER_A_VALUE])
			return -EPROTO;
		ret = r->counter_fn(r->arg, nla_get_string(tb[CVMM_NL_COUNTER_A_NAME]),
				    nla_get_u64(tb[CVMM_NL_COUNTER_A_VALUE]));
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_hist(struct nlattr *nest, struct hist *h)
{
	struct nlattr *tb[CVMM_NL_HIST_A_MAX + 1];
	struct nlattr *buckets;
	uint32_t first;
	size_t len;

	if (nla_parse_nested(tb, CVMM_NL_HIST_A_MAX, nest, hist_policy) < 0)
		return -EPROTO;
	memset(h, 0, sizeof(*h));
	get_str(tb[CVMM_NL_HIST_A_NAME], h->name, sizeof(h->name));
	h->sum_ns = get_u64(tb[CVMM_NL_HIST_A_SUM_NS]);
	buckets = tb[CVMM_NL_HIST_A_BUCKETS];
	if (!buckets)
		return 0;
	first = get_u32(tb[CVMM_NL_HIST_A_FIRST], 0);
	len = (size_t)nla_len(buckets);
	if (first > CVMM_NL_HIST_BUCKETS || len % sizeof(h->bucket[0]) ||
	    len / sizeof(h->bucket[0]) > CVMM_NL_HIST_BUCKETS - first)
		return -EPROTO;
	memcpy(h->bucket + first, nla_data(buckets), len);
	return 0;
}

static int on_latency(struct receiver *r, struct nlattr **top)
{
	struct nlattr *pos;
	struct hist h;
	int rem, ret;

	if (!top[CVMM_NL_A_HISTS])
		return 0;
	nla_for_each_nested(pos, top[CVMM_NL_A_HISTS], rem) {
		if (nla_type(pos) != CVMM_NL_A_HIST)
			continue;
		ret = parse_hist(pos, &h);
		if (!ret)
			ret = r->hist_fn(r->arg, &h);
		if (ret)
			return ret;
	}
	return 0;
}

/* The only attribute that comes several times at the top. */
static int on_heat(struct receiver *r, struct nlmsghdr *nlh)
{
	struct nlattr *tb[CVMM_NL_HEAT_A_MAX + 1];
	struct genl_heat h;
	struct nlattr *pos;
	int rem, ret;

	nlmsg_for_each_attr(pos, nlh, GENL_HDRLEN, rem) {
		if (nla_type(pos) != CVMM_NL_A_HEAT)
			continue;
		if (nla_parse_nested(tb, CVMM_NL_HEAT_A_MAX, pos, heat_policy) < 0 ||
		    !tb[CVMM_NL_HEAT_A_KINDS] ||
		    (size_t)nla_len(tb[CVMM_NL_HEAT_A_KINDS]) < sizeof(h.kind))
			return -EPROTO;
		h.gfn = get_u64(tb[CVMM_NL_HEAT_A_GFN]);
		h.peer = get_u32(tb[CVMM_NL_HEAT_A_PEER], ~0U);
		h.count = get_u64(tb[CVMM_NL_HEAT_A_COUNT]);
		memcpy(h.kind, nla_data(tb[CVMM_NL_HEAT_A_KINDS]), sizeof(h.kind));
		ret = r->heat_fn(r->arg, &h);
		if (ret)
			return ret;
	}
	return 0;
}

static int on_event(struct receiver *r, struct nlattr **tb)
{
	struct genl_event e = {
		.event = get_u32(tb[CVMM_NL_A_EVENT], 0),
		.space_id = get_u64(tb[CVMM_NL_A_SPACE_ID]),
		.host_id = get_u32(tb[CVMM_NL_A_HOST_ID], 0),
		.peer = get_u32(tb[CVMM_NL_A_PEER], ~0U),
		.error = get_u32(tb[CVMM_NL_A_ERROR], 0),
	};

	get_str(tb[CVMM_NL_A_NAME], e.name, sizeof(e.name));
	get_str(tb[CVMM_NL_A_REASON], e.reason, sizeof(e.reason));
	return r->event_fn(r->arg, &e);
}

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[CVMM_NL_A_MAX + 1];
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct receiver *r = arg;
	bool is_event;

	if (nlh->nlmsg_type != r->family || r->ret)
		return NL_SKIP;
	if (genlmsg_parse(nlh, 0, tb, CVMM_NL_A_MAX, top_policy) < 0) {
		r->ret = -EPROTO;
		return NL_SKIP;
	}
	is_event = ((struct genlmsghdr *)nlmsg_data(nlh))->cmd == CVMM_NL_CMD_EVENT;
	if (is_event != r->events)
		return NL_SKIP;
	if (r->event_fn)
		r->ret = on_event(r, tb);
	else if (r->space_fn)
		r->ret = on_space(r, tb);
	else if (r->hist_fn)
		r->ret = on_latency(r, tb);
	else if (r->heat_fn)
		r->ret = on_heat(r, nlh);
	else
		r->ret = on_counters(r, tb);
	return NL_OK;
}

/* End of a dump, which may be a failure, or the acknowledgement of a single request. */
static int on_done(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct receiver *r = arg;

	if (nlmsg_datalen(nlh) >= (int)sizeof(int) && !r->ret)
		r->ret = *(int *)nlmsg_data(nlh);
	r->done = true;
	return NL_STOP;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *nlerr, void *arg)
{
	struct receiver *r = arg;

	(void)from;
	if (!r->ret)
		r->ret = nlerr->error;
	r->done = true;
	return NL_STOP;
}

/* Events are not answers: they carry no sequence number of ours. */
static int on_seq(struct nl_msg *msg, void *arg)
{
	(void)msg;
	(void)arg;
	return NL_OK;
}

static struct nl_cb *make_cb(struct receiver *r)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

	if (!cb)
		return NULL;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, r);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_done, r);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_done, r);
	nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_seq, NULL);
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, r);
	return cb;
}

/* libnl has its own error numbers; only those of receiving can come here. */
static int nl_to_errno(int nlerr)
{
	switch (-nlerr) {
	case NLE_SUCCESS:
		return 0;
	case NLE_NOMEM:
		/* libnl's word for the kernel's ENOBUFS, too */
		return -ENOBUFS;
	case NLE_INTR:
		return -EINTR;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_PERM:
		return -EPERM;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

/* @flags: NLM_F_ACK for one answer, NLM_F_DUMP for all */
static int ask(struct genl *g, uint8_t cmd, int flags, const char *name, struct receiver *r)
{
	struct nl_msg *msg = nlmsg_alloc();
	struct nl_cb *cb = make_cb(r);
	int err = -ENOMEM;

	r->family = g->family;
	if (!msg || !cb)
		goto out;
	if (!genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, g->family, 0, flags, cmd,
			 CVMM_NL_VERSION))
		goto out;
	if (name && nla_put_string(msg, CVMM_NL_A_NAME, name) < 0)
		goto out;
	err = nl_to_errno(nl_send_auto(g->sock, msg) < 0 ? -NLE_FAILURE : 0);
	while (!err && !r->done)
		err = nl_to_errno(nl_recvmsgs(g->sock, cb));
	/* What the kernel answered says more than libnl's word for it. */
	if (r->ret)
		err = r->ret;
out:
	nl_cb_put(cb);
	nlmsg_free(msg);
	return err;
}

int genl_spaces(struct genl *g, const char *name,
		int (*fn)(void *arg, const struct genl_space *s), void *arg)
{
	struct receiver r = { .space_fn = fn, .arg = arg };

	return ask(g, CVMM_NL_CMD_GET_SPACE, name ? NLM_F_ACK : NLM_F_DUMP, name, &r);
}

int genl_counters(struct genl *g, const char *name,
		  int (*fn)(void *arg, const char *counter, uint64_t value), void *arg)
{
	struct receiver r = { .counter_fn = fn, .arg = arg };

	return ask(g, CVMM_NL_CMD_GET_STATS, NLM_F_ACK, name, &r);
}

int genl_latency(struct genl *g, const char *name,
		 int (*fn)(void *arg, const struct hist *h), void *arg)
{
	struct receiver r = { .hist_fn = fn, .arg = arg };

	return ask(g, CVMM_NL_CMD_GET_LATENCY, NLM_F_ACK, name, &r);
}

int genl_heat(struct genl *g, const char *name,
	      int (*fn)(void *arg, const struct genl_heat *h), void *arg)
{
	struct receiver r = { .heat_fn = fn, .arg = arg };

	return ask(g, CVMM_NL_CMD_GET_HEAT, NLM_F_DUMP, name, &r);
}

int genl_subscribe(struct genl *g)
{
	int group = genl_ctrl_resolve_grp(g->sock, CVMM_NL_FAMILY, CVMM_NL_GROUP_EVENTS);

	if (group < 0 || nl_socket_add_membership(g->sock, group) < 0)
		return -ENOENT;
	return 0;
}

int genl_fd(const struct genl *g)
{
	return nl_socket_get_fd(g->sock);
}

int genl_events(struct genl *g, int (*fn)(void *arg, const struct genl_event *e), void *arg)
{
	struct receiver r = { .family = g->family, .events = true, .event_fn = fn, .arg = arg };
	struct nl_cb *cb = make_cb(&r);
	int err;

	if (!cb)
		return -ENOMEM;
	err = nl_to_errno(nl_recvmsgs(g->sock, cb));
	nl_cb_put(cb);
	return err ? err : r.ret;
}
