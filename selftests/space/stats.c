// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The netlink family as a test sees it.
 */
#include "space_test.h"

#include <linux/cvmm_netlink.h>
#include <errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>

static int request(int cmd, int flags, const char *space, nl_recvmsg_msg_cb_t cb, void *arg)
{
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_msg *msg = nlmsg_alloc();
	int family, ret;

	if (!sock || !msg || genl_connect(sock))
		die("netlink");
	nl_socket_set_msg_buf_size(sock, 65536);
	family = genl_ctrl_resolve(sock, CVMM_NL_FAMILY);
	if (family < 0)
		die("netlink family");
	genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, flags, cmd, CVMM_NL_VERSION);
	if (space)
		nla_put_string(msg, CVMM_NL_A_NAME, space);
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, cb, arg);
	ret = nl_send_auto(sock, msg);
	/* A dump ends with DONE, a reply is followed by an acknowledgement. */
	if (ret >= 0)
		ret = nl_recvmsgs_default(sock);
	if (ret >= 0 && !(flags & NLM_F_DUMP))
		ret = nl_wait_for_ack(sock);
	nlmsg_free(msg);
	nl_socket_free(sock);
	return ret;
}

static int stats_cb(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[CVMM_NL_A_MAX + 1], *c[CVMM_NL_COUNTER_A_MAX + 1], *pos;
	struct counters *out = arg;
	int rem;

	genlmsg_parse(nlmsg_hdr(msg), 0, tb, CVMM_NL_A_MAX, NULL);
	if (!tb[CVMM_NL_A_COUNTERS])
		return NL_OK;
	nla_for_each_nested(pos, tb[CVMM_NL_A_COUNTERS], rem) {
		nla_parse_nested(c, CVMM_NL_COUNTER_A_MAX, pos, NULL);
		if (out->nr == sizeof(out->c) / sizeof(out->c[0]) ||
		    !c[CVMM_NL_COUNTER_A_NAME] || !c[CVMM_NL_COUNTER_A_VALUE])
			continue;
		snprintf(out->c[out->nr].name, sizeof(out->c[0].name), "%s",
			 nla_get_string(c[CVMM_NL_COUNTER_A_NAME]));
		out->c[out->nr++].value = nla_get_u64(c[CVMM_NL_COUNTER_A_VALUE]);
	}
	return NL_OK;
}

void stats_read(const char *space, struct counters *out)
{
	out->nr = 0;
	if (request(CVMM_NL_CMD_GET_STATS, 0, space, stats_cb, out) < 0 || !out->nr)
		die("no statistics");
}

uint64_t counter(const struct counters *c, const char *name)
{
	for (unsigned int i = 0; i < c->nr; i++)
		if (!strcmp(c->c[i].name, name))
			return c->c[i].value;
	errno = ENOENT;
	die(name);
}

uint64_t cluster_counter(struct cluster *c, const char *name)
{
	struct counters counters;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < c->nr; i++) {
		stats_read(c->node[i].name, &counters);
		sum += counter(&counters, name);
	}
	return sum;
}

static int info_cb(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[CVMM_NL_A_MAX + 1], *l[CVMM_NL_LINK_A_MAX + 1], *pos;
	struct space_info *out = arg;
	uint32_t queued;
	int rem;

	genlmsg_parse(nlmsg_hdr(msg), 0, tb, CVMM_NL_A_MAX, NULL);
	out->host = nla_get_u32(tb[CVMM_NL_A_HOST_ID]);
	out->nr_hosts = nla_get_u32(tb[CVMM_NL_A_NR_HOSTS]);
	out->state = nla_get_u32(tb[CVMM_NL_A_STATE]);
	out->id = nla_get_u64(tb[CVMM_NL_A_SPACE_ID]);
	out->pages = nla_get_u64(tb[CVMM_NL_A_PAGES]);
	out->home_pages = nla_get_u64(tb[CVMM_NL_A_HOME_PAGES]);
	out->frames = nla_get_u64(tb[CVMM_NL_A_FRAMES]);
	out->meta_bytes = nla_get_u64(tb[CVMM_NL_A_META_BYTES]);
	if (tb[CVMM_NL_A_REASON])
		snprintf(out->reason, sizeof(out->reason), "%s",
			 nla_get_string(tb[CVMM_NL_A_REASON]));
	nla_for_each_nested(pos, tb[CVMM_NL_A_LINKS], rem) {
		nla_parse_nested(l, CVMM_NL_LINK_A_MAX, pos, NULL);
		out->nr_links++;
		out->copied += nla_get_u64(l[CVMM_NL_LINK_A_COPIED]);
		queued = nla_get_u32(l[CVMM_NL_LINK_A_TX_QUEUED_MAX]);
		if (queued > out->tx_queued_max)
			out->tx_queued_max = queued;
		if (nla_get_u32(l[CVMM_NL_LINK_A_STATE]) == CVMM_NL_LINK_UP)
			out->links_up++;
	}
	return NL_OK;
}

bool space_info(const char *space, struct space_info *out)
{
	memset(out, 0, sizeof(*out));
	return request(CVMM_NL_CMD_GET_SPACE, 0, space, info_cb, out) >= 0 && out->nr_hosts;
}

static int count_cb(struct nl_msg *msg, void *arg)
{
	(void)msg;
	++*(unsigned int *)arg;
	return NL_OK;
}

unsigned int spaces_dump(void)
{
	unsigned int nr = 0;

	if (request(CVMM_NL_CMD_GET_SPACE, NLM_F_DUMP, NULL, count_cb, &nr) < 0)
		die("netlink dump");
	return nr;
}
