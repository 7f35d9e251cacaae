// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life of a space: creation, its file descriptor, failure, the end.
 */
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/jhash.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/nsproxy.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#include "link.h"
#include "space_priv.h"

LIST_HEAD(cvmm_spaces);
DEFINE_MUTEX(cvmm_spaces_lock);

/* Nobody's limits count kernel threads. */
static unsigned int max_threads = 4096;
module_param(max_threads, uint, 0644);
MODULE_PARM_DESC(max_threads, "kernel threads at most: one for each space, and for each connection of its stream links (default 4096)");

static atomic_t nr_threads = ATOMIC_INIT(0);

bool cvmm_thread_get(void)
{
	if ((unsigned int)atomic_inc_return(&nr_threads) <= READ_ONCE(max_threads))
		return true;
	atomic_dec(&nr_threads);
	return false;
}

void cvmm_thread_put(void)
{
	atomic_dec(&nr_threads);
}

/* ----------------------------------------------------------- counters */

static const char *space_counter_name(unsigned int idx)
{
	static const char *const names[] = {
#define X(name) [CVMM_SC_##name] = #name,
		CVMM_SPACE_COUNTERS(X)
#undef X
	};

	return idx < ARRAY_SIZE(names) ? names[idx] : "?";
}

u64 cvmm_space_nr_frames(const struct cvmm_space *space)
{
	return cvmm_counters_sum(&space->stats, CVMM_SC_FRAME_ALLOC) -
	       cvmm_counters_sum(&space->stats, CVMM_SC_FRAME_FREE);
}

const char *cvmm_latency_name(unsigned int idx)
{
	switch (idx) {
	case CVMM_LAT_WAIT_READ:
		return "wait_read";
	case CVMM_LAT_WAIT_WRITE:
		return "wait_write";
	default:
		return dsm_event_name(DSM_EV_FAULT_READ_0 + idx) + strlen("fault_");
	}
}

static void latency_free(struct cvmm_space *space)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(space->latency); i++)
		free_percpu(space->latency[i]);
}

static int latency_alloc(struct cvmm_space *space)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(space->latency); i++) {
		space->latency[i] = cvmm_hist_alloc();
		if (!space->latency[i]) {
			latency_free(space);
			return -ENOMEM;
		}
	}
	return 0;
}

static int counters_init(struct cvmm_space *space)
{
	int ret;

	mutex_init(&space->counters_lock);
	INIT_LIST_HEAD(&space->counters);
	ret = latency_alloc(space);
	if (ret)
		return ret;
	ret = cvmm_counters_init(&space->stats, "space", space_counter_name, CVMM_SC_NR);
	if (ret)
		goto free_latency;
	ret = cvmm_counters_init(&space->dsm_stats, "dsm", dsm_event_name, DSM_EV_NR);
	if (ret)
		goto destroy_stats;
	ret = cvmm_counters_init(&space->rx_stats, "rx", cvmm_msg_counter_name, DSM_MSG_NR);
	if (ret)
		goto destroy_dsm_stats;
	cvmm_space_add_counters(space, &space->dsm_stats);
	cvmm_space_add_counters(space, &space->rx_stats);
	cvmm_space_add_counters(space, &space->stats);
	return 0;

destroy_dsm_stats:
	cvmm_counters_destroy(&space->dsm_stats);
destroy_stats:
	cvmm_counters_destroy(&space->stats);
free_latency:
	latency_free(space);
	return ret;
}

static void counters_destroy(struct cvmm_space *space)
{
	cvmm_counters_destroy(&space->rx_stats);
	cvmm_counters_destroy(&space->dsm_stats);
	cvmm_counters_destroy(&space->stats);
	latency_free(space);
}

/* ------------------------------------------------------------ failure */

static void space_fail_work(struct work_struct *work)
{
	struct cvmm_space *space = container_of(work, struct cvmm_space, fail_work);
	struct cvmm_space_client *client;
	u32 i;

	down_read(&space->clients_sem);
	list_for_each_entry(client, &space->clients, node)
		client->ops->failed(client);
	up_read(&space->clients_sem);

	for (i = 0; i < space->nr_hosts; i++)
		if (space->links[i])
			cvmm_link_shutdown(space->links[i]);
	cvmm_netlink_event(space, CVMM_NL_EVENT_SPACE_FAILED, space->fail_host,
			   space->fail_error, space->fail_reason);
}

bool cvmm_space_fail(struct cvmm_space *space, u32 host, int error, const char *fmt, ...)
{
	va_list args;
	bool first;

	spin_lock(&space->fail_lock);
	first = !space->failed;
	if (first) {
		va_start(args, fmt);
		vscnprintf(space->fail_reason, sizeof(space->fail_reason), fmt, args);
		va_end(args);
		space->fail_host = host;
		space->fail_error = error;
		smp_store_release(&space->failed, true);
	}
	spin_unlock(&space->fail_lock);
	if (!first)
		return false;

	dsm_fail(&space->dsm);
	cvmm_space_wake_all(space);
	wake_up_poll(&space->poll_wait, EPOLLERR | EPOLLHUP);
	queue_work(space->wq, &space->fail_work);
	return true;
}

/* ------------------------------------------------------------ clients */

int cvmm_space_attach(struct cvmm_space *space, struct cvmm_space_client *client)
{
	bool failed;

	down_write(&space->clients_sem);
	failed = smp_load_acquire(&space->failed);
	if (!failed)
		list_add_tail(&client->node, &space->clients);
	up_write(&space->clients_sem);
	return failed ? -EIO : 0;
}

void cvmm_space_detach(struct cvmm_space *space, struct cvmm_space_client *client)
{
	down_write(&space->clients_sem);
	list_del_init(&client->node);
	up_write(&space->clients_sem);
}

unsigned int cvmm_space_nr_hosts(const struct cvmm_space *space)
{
	return space->nr_hosts;
}

bool cvmm_space_covers(const struct cvmm_space *space, u64 gfn)
{
	return dsm_covers(&space->dsm, gfn);
}

/* --------------------------------------------------------------- file */

static int space_release(struct inode *inode, struct file *file)
{
	cvmm_space_put(file->private_data);
	return 0;
}

static __poll_t space_poll(struct file *file, poll_table *wait)
{
	struct cvmm_space *space = file->private_data;

	poll_wait(file, &space->poll_wait, wait);
	return smp_load_acquire(&space->failed) ? EPOLLERR | EPOLLHUP : 0;
}

static long space_add_link(struct cvmm_space *space, void __user *uarg)
{
	struct cvmm_space_link arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.flags || arg.host >= space->nr_hosts || arg.host == space->host)
		return -EINVAL;
	return cvmm_link_attach(space->links[array_index_nospec(arg.host, CVMM_MAX_HOSTS)],
				arg.transport, &arg.fd, 1);
}

static long space_add_conns(struct cvmm_space *space, void __user *uarg)
{
	struct cvmm_space_conns arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.flags || arg.host >= space->nr_hosts || arg.host == space->host ||
	    arg.transport != CVMM_TRANSPORT_STREAM || !arg.nr_fds || arg.nr_fds > CVMM_MAX_CONNS)
		return -EINVAL;
	return cvmm_link_attach(space->links[array_index_nospec(arg.host, CVMM_MAX_HOSTS)],
				arg.transport, arg.fd, arg.nr_fds);
}

static long space_get_status(struct cvmm_space *space, void __user *uarg)
{
	struct cvmm_space_status status = { .host = ~0U };

	if (smp_load_acquire(&space->failed)) {
		status.state = CVMM_SPACE_FAILED;
		status.host = space->fail_host;
		status.error = space->fail_error;
		strscpy(status.reason, space->fail_reason, sizeof(status.reason));
	}
	return copy_to_user(uarg, &status, sizeof(status)) ? -EFAULT : 0;
}

static long space_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cvmm_space *space = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case CVMM_SPACE_ADD_LINK:
		return space_add_link(space, uarg);
	case CVMM_SPACE_ADD_CONNS:
		return space_add_conns(space, uarg);
	case CVMM_SPACE_GET_STATUS:
		return space_get_status(space, uarg);
	case CVMM_SPACE_FAIL:
		cvmm_space_fail(space, space->host, ECANCELED, "ended by its owner");
		return 0;
	default:
		return -ENOTTY;
	}
}

static void space_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct cvmm_space *space = file->private_data;

	seq_printf(m, "cvmm-name:\t%s\ncvmm-space-id:\t%016llx\ncvmm-host:\t%u/%u\n",
		   space->name, space->id, space->host, space->nr_hosts);
}

const struct file_operations cvmm_space_fops = {
	.owner = THIS_MODULE,
	.release = space_release,
	.mmap = cvmm_space_mmap,
	.poll = space_poll,
	.unlocked_ioctl = space_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = space_show_fdinfo,
	.llseek = noop_llseek,
};

/* ----------------------------------------------------------- creation */

static const struct address_space_operations space_aops = {
	.dirty_folio = noop_dirty_folio,
};

static int name_check(const char *name)
{
	size_t i, len = strnlen(name, CVMM_NAME_LEN);

	if (!len || len == CVMM_NAME_LEN)
		return -EINVAL;
	for (i = 0; i < len; i++)
		if (!isascii(name[i]) || !isgraph(name[i]))
			return -EINVAL;
	return 0;
}

static int ranges_copy(struct cvmm_space *space, const struct cvmm_space_config *cfg)
{
	struct cvmm_home_range *u;
	u64 next = 0;
	u32 i;
	int ret = -EINVAL;

	if (!cfg->nr_ranges)
		return 0;
	u = memdup_user(u64_to_user_ptr(cfg->ranges), cfg->nr_ranges * sizeof(*u));
	if (IS_ERR(u))
		return PTR_ERR(u);
	space->ranges = kcalloc(cfg->nr_ranges, sizeof(*space->ranges), GFP_KERNEL_ACCOUNT);
	if (!space->ranges) {
		ret = -ENOMEM;
		goto free_u;
	}
	for (i = 0; i < cfg->nr_ranges; i++) {
		if (u[i].pad || u[i].host >= cfg->nr_hosts || !u[i].nr_gfns ||
		    u[i].first_gfn < next || u[i].first_gfn >= CVMM_MAX_GFN ||
		    u[i].nr_gfns > CVMM_MAX_GFN - u[i].first_gfn)
			goto free_ranges;
		next = u[i].first_gfn + u[i].nr_gfns;
		space->ranges[i].first_gfn = u[i].first_gfn;
		space->ranges[i].nr_gfns = u[i].nr_gfns;
		space->ranges[i].host = u[i].host;
		space->nr_pages += u[i].nr_gfns;
		if (u[i].host == cfg->host_id)
			space->nr_home_pages += u[i].nr_gfns;
	}
	space->nr_ranges = cfg->nr_ranges;
	space->config_hash = jhash(u, cfg->nr_ranges * sizeof(*u), cfg->nr_hosts);
	kfree(u);
	return 0;

free_ranges:
	kfree(space->ranges);
	space->ranges = NULL;
free_u:
	kfree(u);
	return ret;
}

static struct cvmm_mapping *mapping_create(void)
{
	struct cvmm_mapping *m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);

	if (!m)
		return NULL;
	address_space_init_once(&m->as);
	m->as.a_ops = &space_aops;
	mapping_set_gfp_mask(&m->as, GFP_KERNEL);
	return m;
}

static void links_free(struct cvmm_space *space)
{
	u32 i;

	for (i = 0; i < space->nr_hosts; i++)
		if (space->links[i])
			cvmm_link_free(space->links[i]);
}

static void links_stop(struct cvmm_space *space)
{
	u32 i;

	for (i = 0; i < space->nr_hosts; i++)
		if (space->links[i])
			cvmm_link_shutdown(space->links[i]);
	for (i = 0; i < space->nr_hosts; i++)
		if (space->links[i])
			cvmm_link_stop(space->links[i]);
}

static int links_create(struct cvmm_space *space)
{
	u32 i;

	for (i = 0; i < space->nr_hosts; i++) {
		if (i == space->host)
			continue;
		space->links[i] = cvmm_link_create(space, i);
		if (!space->links[i]) {
			links_free(space);
			return -ENOMEM;
		}
	}
	return 0;
}

static struct cvmm_space *space_alloc(const struct cvmm_space_config *cfg)
{
	struct cvmm_space *space;
	unsigned int i;
	int ret;

	space = kvzalloc(sizeof(*space), GFP_KERNEL_ACCOUNT);
	if (!space)
		return ERR_PTR(-ENOMEM);
	kref_init(&space->ref);
	INIT_LIST_HEAD(&space->node);
	memcpy(space->name, cfg->name, sizeof(space->name));
	space->id = cfg->space_id;
	space->host = cfg->host_id;
	space->nr_hosts = cfg->nr_hosts;
	space->epoch = cfg->epoch;
	space->min_run_us = cfg->min_run_us;
	for (i = 0; i < ARRAY_SIZE(space->waitq); i++)
		init_waitqueue_head(&space->waitq[i]);
	init_rwsem(&space->clients_sem);
	INIT_LIST_HEAD(&space->clients);
	spin_lock_init(&space->fail_lock);
	INIT_WORK(&space->fail_work, space_fail_work);
	init_waitqueue_head(&space->poll_wait);

	ret = ranges_copy(space, cfg);
	if (ret)
		goto free_space;
	ret = counters_init(space);
	if (ret)
		goto free_ranges;
	ret = -ENOMEM;
	space->mapping = mapping_create();
	if (!space->mapping)
		goto destroy_counters;
	/* The queue has one of its own, for when memory is short. */
	if (!cvmm_thread_get()) {
		ret = -EAGAIN;
		goto free_mapping;
	}
	space->wq = alloc_workqueue("cvmm-%.16s", WQ_HIGHPRI | WQ_UNBOUND | WQ_MEM_RECLAIM, 0,
				    space->name);
	if (!space->wq)
		goto put_thread;
	ret = links_create(space);
	if (ret)
		goto destroy_wq;
	space->memcg = get_mem_cgroup_from_mm(current->mm);
	ret = cvmm_pages_init(space);
	if (ret)
		goto put_memcg;
	space->pid = get_task_pid(current, PIDTYPE_TGID);
	space->net = get_net(current->nsproxy->net_ns);
	return space;

put_memcg:
	mem_cgroup_put(space->memcg);
	links_free(space);
destroy_wq:
	destroy_workqueue(space->wq);
put_thread:
	cvmm_thread_put();
free_mapping:
	kfree(space->mapping);
destroy_counters:
	counters_destroy(space);
free_ranges:
	kfree(space->ranges);
free_space:
	kvfree(space);
	return ERR_PTR(ret);
}

/* The last reference is gone: no file, no mapping, no client. */
static void space_destroy(struct kref *ref)
{
	struct cvmm_space *space = container_of(ref, struct cvmm_space, ref);

	mutex_lock(&cvmm_spaces_lock);
	if (!list_empty(&space->node)) {
		list_del(&space->node);
		cvmm_netlink_event(space, CVMM_NL_EVENT_SPACE_GONE, ~0U, 0, NULL);
	}
	mutex_unlock(&cvmm_spaces_lock);

	/* From here nobody hears of a failure, and fail_work is not queued. */
	spin_lock(&space->fail_lock);
	space->failed = true;
	spin_unlock(&space->fail_lock);
	dsm_fail(&space->dsm);
	cancel_work_sync(&space->fail_work);
	links_stop(space);
	cvmm_pages_stop(space);
	destroy_workqueue(space->wq);
	cvmm_thread_put();
	links_free(space);
	cvmm_pages_destroy(space);
	WARN_ON_ONCE(cvmm_space_nr_frames(space));
	kfree_rcu(space->mapping, rcu);
	counters_destroy(space);
	mem_cgroup_put(space->memcg);
	put_pid(space->pid);
	put_net(space->net);
	kfree(space->ranges);
	kvfree(space);
}

struct cvmm_space *cvmm_space_get_by_fd(int fd)
{
	struct cvmm_space *space = ERR_PTR(-EBADF);
	struct file *file = fget(fd);

	if (!file)
		return space;
	if (file->f_op == &cvmm_space_fops) {
		space = file->private_data;
		cvmm_space_get(space);
	}
	fput(file);
	return space;
}

void cvmm_space_put(struct cvmm_space *space)
{
	kref_put(&space->ref, space_destroy);
}

static int space_publish(struct cvmm_space *space)
{
	struct cvmm_space *other;
	int ret = 0;

	mutex_lock(&cvmm_spaces_lock);
	list_for_each_entry(other, &cvmm_spaces, node)
		if (net_eq(other->net, space->net) && !strcmp(other->name, space->name))
			ret = -EEXIST;
	if (!ret)
		list_add_tail(&space->node, &cvmm_spaces);
	mutex_unlock(&cvmm_spaces_lock);
	return ret;
}

int cvmm_space_create(const struct cvmm_space_config __user *ucfg)
{
	struct cvmm_space_config cfg;
	struct cvmm_space *space;
	struct file *file;
	int fd, ret;

	if (copy_from_user(&cfg, ucfg, sizeof(cfg)))
		return -EFAULT;
	if (cfg.flags || cfg.min_run_us > CVMM_MAX_MIN_RUN_US || !cfg.nr_hosts || cfg.nr_hosts > CVMM_MAX_HOSTS ||
	    cfg.host_id >= cfg.nr_hosts || (!cfg.nr_ranges && cfg.nr_hosts > 1) ||
	    cfg.nr_ranges > CVMM_MAX_RANGES)
		return -EINVAL;
	ret = name_check(cfg.name);
	if (ret)
		return ret;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	space = space_alloc(&cfg);
	if (IS_ERR(space)) {
		ret = PTR_ERR(space);
		goto put_fd;
	}
	ret = space_publish(space);
	if (ret)
		goto put_space;
	file = anon_inode_getfile("[cvmm-space]", &cvmm_space_fops, space, O_RDWR | O_CLOEXEC);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto put_space;
	}
	space->mapping->as.host = file_inode(file);
	file->f_mapping = &space->mapping->as;
	cvmm_netlink_event(space, CVMM_NL_EVENT_SPACE_NEW, ~0U, 0, NULL);
	fd_install(fd, file);
	return fd;

put_space:
	cvmm_space_put(space);
put_fd:
	put_unused_fd(fd);
	return ret;
}

int cvmm_space_init(void)
{
	int ret;

	ret = cvmm_links_init();
	if (ret)
		return ret;
	ret = cvmm_netlink_init();
	if (ret)
		cvmm_links_exit();
	return ret;
}

void cvmm_space_exit(void)
{
	cvmm_netlink_exit();
	cvmm_links_exit();
}
