// SPDX-License-Identifier: GPL-2.0-only
/*
 * Generic netlink family "cvmm": spaces, their links and counters, events.
 * The interface is described in <linux/cvmm_netlink.h>.
 */
#include <linux/ctype.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "compat.h"
#include "link.h"
#include "space_priv.h"

/* Holds a space with CVMM_MAX_HOSTS links, some hundred counters, or full histograms. */
#define MESSAGE_SIZE	(32 * 1024)

static_assert(CVMM_LAT_NR * (sizeof(struct cvmm_hist) + 128) < MESSAGE_SIZE);

static struct genl_family cvmm_family;

enum { GROUP_EVENTS };

static const struct genl_multicast_group cvmm_groups[] = {
	[GROUP_EVENTS] = {
		.name = CVMM_NL_GROUP_EVENTS,
		.flags = GENL_MCAST_CAP_NET_ADMIN,
	},
};

static const struct nla_policy cvmm_policy[CVMM_NL_A_MAX + 1] = {
	[CVMM_NL_A_NAME] = { .type = NLA_NUL_STRING, .len = CVMM_NAME_LEN - 1 },
	[CVMM_NL_A_SPACE_ID] = { .type = NLA_U64 },
};

static int put_u64(struct sk_buff *skb, int attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, CVMM_NL_A_PAD);
}

static int put_identity(struct sk_buff *skb, const struct cvmm_space *space)
{
	return nla_put_string(skb, CVMM_NL_A_NAME, space->name) ||
	       put_u64(skb, CVMM_NL_A_SPACE_ID, space->id) ||
	       nla_put_u32(skb, CVMM_NL_A_HOST_ID, space->host) ? -EMSGSIZE : 0;
}

static int put_failure(struct sk_buff *skb, u32 peer, int error, const char *reason)
{
	if (peer != ~0U && nla_put_u32(skb, CVMM_NL_A_PEER, peer))
		return -EMSGSIZE;
	if (nla_put_u32(skb, CVMM_NL_A_ERROR, error))
		return -EMSGSIZE;
	if (reason && nla_put_string(skb, CVMM_NL_A_REASON, reason))
		return -EMSGSIZE;
	return 0;
}

static u32 link_state(struct cvmm_link *link)
{
	switch (READ_ONCE(link->state)) {
	case CVMM_LINK_HELLO:
		return CVMM_NL_LINK_HELLO;
	case CVMM_LINK_UP:
		return CVMM_NL_LINK_UP;
	default:
		return CVMM_NL_LINK_DOWN;
	}
}

static int put_link(struct sk_buff *skb, struct cvmm_link *link)
{
	const u32 transport = READ_ONCE(link->transport);
	struct nlattr *nest;

	if (!transport)
		return 0;
	nest = nla_nest_start(skb, CVMM_NL_A_LINK);
	if (!nest)
		return -EMSGSIZE;
	if (nla_put_u32(skb, CVMM_NL_LINK_A_PEER, link->host) ||
	    nla_put_u32(skb, CVMM_NL_LINK_A_TRANSPORT, transport) ||
	    nla_put_u32(skb, CVMM_NL_LINK_A_STATE, link_state(link)) ||
	    put_u64(skb, CVMM_NL_LINK_A_TX_MSGS, atomic64_read(&link->tx_msgs)) ||
	    put_u64(skb, CVMM_NL_LINK_A_TX_BYTES, atomic64_read(&link->tx_bytes)) ||
	    put_u64(skb, CVMM_NL_LINK_A_RX_MSGS, atomic64_read(&link->rx_msgs)) ||
	    put_u64(skb, CVMM_NL_LINK_A_RX_BYTES, atomic64_read(&link->rx_bytes)) ||
	    nla_put_u32(skb, CVMM_NL_LINK_A_TX_QUEUED, READ_ONCE(link->queued)) ||
	    nla_put_u32(skb, CVMM_NL_LINK_A_TX_QUEUED_MAX, READ_ONCE(link->queued_max)) ||
	    put_u64(skb, CVMM_NL_LINK_A_COPIED, atomic64_read(&link->copied)))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int put_links(struct sk_buff *skb, struct cvmm_space *space)
{
	struct nlattr *nest = nla_nest_start(skb, CVMM_NL_A_LINKS);
	u32 i;

	if (!nest)
		return -EMSGSIZE;
	for (i = 0; i < space->nr_hosts; i++)
		if (space->links[i] && put_link(skb, space->links[i]))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int put_space(struct sk_buff *skb, struct cvmm_space *space)
{
	const bool failed = smp_load_acquire(&space->failed);

	if (put_identity(skb, space) ||
	    nla_put_u32(skb, CVMM_NL_A_NR_HOSTS, space->nr_hosts) ||
	    nla_put_u32(skb, CVMM_NL_A_EPOCH, space->epoch) ||
	    nla_put_u32(skb, CVMM_NL_A_STATE, failed ? CVMM_SPACE_FAILED : CVMM_SPACE_LIVE) ||
	    nla_put_u32(skb, CVMM_NL_A_PID, pid_vnr(space->pid)) ||
	    put_u64(skb, CVMM_NL_A_PAGES, space->nr_pages) ||
	    put_u64(skb, CVMM_NL_A_HOME_PAGES, space->nr_home_pages) ||
	    put_u64(skb, CVMM_NL_A_FRAMES, cvmm_space_nr_frames(space)) ||
	    put_u64(skb, CVMM_NL_A_META_BYTES, space->meta_bytes))
		return -EMSGSIZE;
	if (failed && put_failure(skb, space->fail_host, space->fail_error, space->fail_reason))
		return -EMSGSIZE;
	return put_links(skb, space);
}

static int put_counter(struct sk_buff *skb, const struct cvmm_counters *c, unsigned int idx)
{
	struct nlattr *nest = nla_nest_start(skb, CVMM_NL_A_COUNTER);
	char name[64];

	if (!nest)
		return -EMSGSIZE;
	scnprintf(name, sizeof(name), "%s.%s", c->group, c->name(idx));
	string_lower(name, name);
	if (nla_put_string(skb, CVMM_NL_COUNTER_A_NAME, name) ||
	    nla_put_u64_64bit(skb, CVMM_NL_COUNTER_A_VALUE, cvmm_counters_sum(c, idx),
			      CVMM_NL_COUNTER_A_PAD))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int put_stats(struct sk_buff *skb, struct cvmm_space *space)
{
	struct cvmm_counters *c;
	struct nlattr *nest;
	unsigned int i;
	int ret = 0;

	if (put_identity(skb, space))
		return -EMSGSIZE;
	nest = nla_nest_start(skb, CVMM_NL_A_COUNTERS);
	if (!nest)
		return -EMSGSIZE;
	mutex_lock(&space->counters_lock);
	list_for_each_entry(c, &space->counters, node)
		for (i = 0; i < c->nr && !ret; i++)
			ret = put_counter(skb, c, i);
	mutex_unlock(&space->counters_lock);
	nla_nest_end(skb, nest);
	return ret;
}

/* Buckets from the first to the last that is not empty; @h is the caller's scratch. */
static int put_hist(struct sk_buff *skb, const struct cvmm_space *space, unsigned int idx,
		    struct cvmm_hist *h)
{
	unsigned int first = 0, end = ARRAY_SIZE(h->bucket);
	struct nlattr *nest;

	cvmm_hist_sum(space->latency[idx], h);
	while (end && !h->bucket[end - 1])
		end--;
	while (first < end && !h->bucket[first])
		first++;
	nest = nla_nest_start(skb, CVMM_NL_A_HIST);
	if (!nest ||
	    nla_put_string(skb, CVMM_NL_HIST_A_NAME, cvmm_latency_name(idx)) ||
	    nla_put_u64_64bit(skb, CVMM_NL_HIST_A_SUM_NS, h->sum_ns, CVMM_NL_HIST_A_PAD) ||
	    nla_put_u32(skb, CVMM_NL_HIST_A_FIRST, first))
		return -EMSGSIZE;
	if (end && nla_put_64bit(skb, CVMM_NL_HIST_A_BUCKETS, (end - first) * sizeof(u64),
				 h->bucket + first, CVMM_NL_HIST_A_PAD))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int put_latency(struct sk_buff *skb, struct cvmm_space *space)
{
	struct cvmm_hist *scratch;
	struct nlattr *nest;
	unsigned int i;
	int ret = 0;

	if (put_identity(skb, space))
		return -EMSGSIZE;
	nest = nla_nest_start(skb, CVMM_NL_A_HISTS);
	if (!nest)
		return -EMSGSIZE;
	scratch = kmalloc(sizeof(*scratch), GFP_KERNEL);
	if (!scratch)
		return -ENOMEM;
	for (i = 0; i < CVMM_LAT_NR && !ret; i++)
		ret = put_hist(skb, space, i, scratch);
	kfree(scratch);
	nla_nest_end(skb, nest);
	return ret;
}

/* The keys of one set as a message of their own; nothing when it is empty. */
static int put_heat(struct sk_buff *skb, struct netlink_callback *cb, struct cvmm_space *space,
		    const struct cvmm_heat_set *set)
{
	struct nlattr *nest;
	unsigned int i;
	void *hdr;

	if (!set->count[0])
		return 0;
	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &cvmm_family,
			  NLM_F_MULTI, CVMM_NL_CMD_GET_HEAT);
	if (!hdr)
		return -EMSGSIZE;
	if (put_identity(skb, space))
		goto cancel;
	for (i = 0; i < CVMM_HEAT_WAYS && set->key[i]; i++) {
		nest = nla_nest_start(skb, CVMM_NL_A_HEAT);
		if (!nest ||
		    nla_put_u64_64bit(skb, CVMM_NL_HEAT_A_GFN, cvmm_heat_gfn(set->key[i]),
				      CVMM_NL_HEAT_A_PAD) ||
		    nla_put_u32(skb, CVMM_NL_HEAT_A_PEER, cvmm_heat_peer(set->key[i])) ||
		    nla_put_u64_64bit(skb, CVMM_NL_HEAT_A_COUNT, set->count[i],
				      CVMM_NL_HEAT_A_PAD) ||
		    nla_put_64bit(skb, CVMM_NL_HEAT_A_KINDS, sizeof(set->kind[i]), set->kind[i],
				  CVMM_NL_HEAT_A_PAD))
			goto cancel;
		nla_nest_end(skb, nest);
	}
	genlmsg_end(skb, hdr);
	return 0;

cancel:
	genlmsg_cancel(skb, hdr);
	return -EMSGSIZE;
}

/* ----------------------------------------------------------- commands */

/* cvmm_spaces_lock held. */
static struct cvmm_space *space_find(struct net *net, struct nlattr **attrs)
{
	struct nlattr *name = attrs[CVMM_NL_A_NAME];
	struct nlattr *id = attrs[CVMM_NL_A_SPACE_ID];
	struct cvmm_space *space;

	list_for_each_entry(space, &cvmm_spaces, node) {
		if (!net_eq(space->net, net))
			continue;
		if (name && nla_strcmp(name, space->name))
			continue;
		if (id && nla_get_u64(id) != space->id)
			continue;
		return space;
	}
	return NULL;
}

static bool names_one(struct nlattr **attrs)
{
	return attrs[CVMM_NL_A_NAME] || attrs[CVMM_NL_A_SPACE_ID];
}

static int reply_one(struct genl_info *info, u8 cmd,
		     int (*put)(struct sk_buff *skb, struct cvmm_space *space))
{
	struct cvmm_space *space;
	struct sk_buff *skb;
	void *hdr;
	int ret;

	if (!names_one(info->attrs))
		return -EINVAL;
	skb = genlmsg_new(MESSAGE_SIZE, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	ret = -EMSGSIZE;
	hdr = genlmsg_put_reply(skb, info, &cvmm_family, 0, cmd);
	if (!hdr)
		goto free_skb;
	mutex_lock(&cvmm_spaces_lock);
	space = space_find(genl_info_net(info), info->attrs);
	ret = space ? put(skb, space) : -ENOENT;
	mutex_unlock(&cvmm_spaces_lock);
	if (ret)
		goto free_skb;
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);

free_skb:
	nlmsg_free(skb);
	return ret;
}

static int get_space_doit(struct sk_buff *skb, struct genl_info *info)
{
	return reply_one(info, CVMM_NL_CMD_GET_SPACE, put_space);
}

static int get_stats_doit(struct sk_buff *skb, struct genl_info *info)
{
	return reply_one(info, CVMM_NL_CMD_GET_STATS, put_stats);
}

static int get_latency_doit(struct sk_buff *skb, struct genl_info *info)
{
	return reply_one(info, CVMM_NL_CMD_GET_LATENCY, put_latency);
}

static int dump_start(struct netlink_callback *cb)
{
	cb->min_dump_alloc = MESSAGE_SIZE;
	return 0;
}

static int get_space_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct net *net = sock_net(cb->skb->sk);
	struct cvmm_space *space;
	long idx = 0;
	void *hdr;
	int ret = 0;

	mutex_lock(&cvmm_spaces_lock);
	list_for_each_entry(space, &cvmm_spaces, node) {
		if (!net_eq(space->net, net) || idx++ < cb->args[0])
			continue;
		ret = -EMSGSIZE;
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &cvmm_family, NLM_F_MULTI, CVMM_NL_CMD_GET_SPACE);
		if (!hdr)
			break;
		ret = put_space(skb, space);
		if (ret) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[0] = idx;
	}
	mutex_unlock(&cvmm_spaces_lock);
	return skb->len ? skb->len : ret;
}

/*
 * args[0]: the set to go on with; args[1]: which space that was.  The list's lock keeps
 * the space; a page lock is taken inside it.
 */
static int get_heat_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nlattr **attrs = cvmm_dump_attrs(cb);
	struct cvmm_heat_set *set;
	struct cvmm_space *space;
	int ret = 0;

	if (!names_one(attrs))
		return -EINVAL;
	set = kmalloc(sizeof(*set), GFP_KERNEL);
	if (!set)
		return -ENOMEM;
	mutex_lock(&cvmm_spaces_lock);
	space = space_find(sock_net(cb->skb->sk), attrs);
	if (!space || (cb->args[0] && cb->args[1] != (long)space->id)) {
		ret = -ENOENT;
		goto unlock;
	}
	cb->args[1] = (long)space->id;
	for (; cb->args[0] < 1L << CVMM_STRIPE_BITS; cb->args[0]++) {
		cvmm_heat_read(space, cb->args[0], set);
		ret = put_heat(skb, cb, space, set);
		if (ret)
			break;
	}
unlock:
	mutex_unlock(&cvmm_spaces_lock);
	kfree(set);
	return skb->len ? skb->len : ret;
}

static const struct genl_ops cvmm_ops[] = {
	{
		.cmd = CVMM_NL_CMD_GET_SPACE,
		.flags = GENL_UNS_ADMIN_PERM,
		.doit = get_space_doit,
		.start = dump_start,
		.dumpit = get_space_dumpit,
	},
	{
		.cmd = CVMM_NL_CMD_GET_STATS,
		.flags = GENL_UNS_ADMIN_PERM,
		.doit = get_stats_doit,
	},
	{
		.cmd = CVMM_NL_CMD_GET_LATENCY,
		.flags = GENL_UNS_ADMIN_PERM,
		.doit = get_latency_doit,
	},
	{
		.cmd = CVMM_NL_CMD_GET_HEAT,
		.flags = GENL_UNS_ADMIN_PERM,
		.start = dump_start,
		.dumpit = get_heat_dumpit,
	},
};

static struct genl_family cvmm_family __ro_after_init = {
	.name = CVMM_NL_FAMILY,
	.version = CVMM_NL_VERSION,
	.maxattr = CVMM_NL_A_MAX,
	.policy = cvmm_policy,
	.netnsok = true,
	.module = THIS_MODULE,
	.ops = cvmm_ops,
	.n_ops = ARRAY_SIZE(cvmm_ops),
	.resv_start_op = CVMM_NL_CMD_EVENT + 1,
	.mcgrps = cvmm_groups,
	.n_mcgrps = ARRAY_SIZE(cvmm_groups),
};

/* ------------------------------------------------------------- events */

/*
 * Tell listeners; @peer ~0: not about a link; @error 0: not about an end.
 * Process context; nothing depends on anybody hearing it.
 */
void cvmm_netlink_event(struct cvmm_space *space, u32 event, u32 peer, int error,
			const char *reason)
{
	struct sk_buff *skb;
	void *hdr;

	if (!genl_has_listeners(&cvmm_family, space->net, GROUP_EVENTS))
		return;
	skb = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!skb)
		return;
	hdr = genlmsg_put(skb, 0, 0, &cvmm_family, 0, CVMM_NL_CMD_EVENT);
	if (!hdr || put_identity(skb, space) ||
	    nla_put_u32(skb, CVMM_NL_A_EVENT, event) ||
	    put_failure(skb, peer, error, reason)) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, hdr);
	genlmsg_multicast_netns(&cvmm_family, space->net, skb, 0, GROUP_EVENTS, GFP_KERNEL);
}

int cvmm_netlink_init(void)
{
	return genl_register_family(&cvmm_family);
}

void cvmm_netlink_exit(void)
{
	genl_unregister_family(&cvmm_family);
}
