// SPDX-License-Identifier: GPL-2.0-only
/*
 * cvmm_rdma.ko: links of cvmm.ko over RDMA.  A module of its own, so that cvmm.ko
 * loads on kernels and hosts without RDMA; it is loaded when it is first asked for.
 */
#include <linux/module.h>

#include "rdma.h"

struct workqueue_struct *cvmm_rdma_wq;

static int rdma_attach(struct cvmm_link *link, const s32 *fds, unsigned int nr)
{
	struct rdma_ep *ep;

	/* An endpoint has its lanes itself. */
	if (nr != 1)
		return -EINVAL;
	ep = cvmm_rdma_take(*fds, link);
	if (IS_ERR(ep))
		return PTR_ERR(ep);
	link->priv = ep;
	link->nr_lanes = ep->nr_lanes;
	return 0;
}

static int rdma_start(struct cvmm_link *link)
{
	struct rdma_ep *ep = link->priv;
	unsigned int i;
	int ret = 0;

	/* A device that goes away meanwhile waits until we are done. */
	mutex_lock(&ep->teardown_lock);
	if (ep->gone)
		ret = -ENODEV;
	for (i = 0; i < ep->nr_lanes && !ret; i++)
		ret = cvmm_rdma_lane_start(&ep->lane[i]);
	if (!ret) {
		smp_store_release(&ep->started, true);
		for (i = 0; i < ep->nr_lanes; i++)
			queue_work(cvmm_rdma_wq, &ep->lane[i].rx_work);
		queue_delayed_work(cvmm_rdma_wq, &ep->alive_work, HZ);
	}
	mutex_unlock(&ep->teardown_lock);
	return ret;
}

static int rdma_xmit(struct cvmm_link *link, struct cvmm_msg *msg, unsigned int flags)
{
	struct rdma_ep *ep = link->priv;

	return cvmm_rdma_lane_xmit(&ep->lane[msg->lane % ep->nr_lanes], msg, flags);
}

static unsigned int rdma_poll(struct cvmm_link *link, u32 lane)
{
	struct rdma_ep *ep = link->priv;

	return cvmm_rdma_lane_poll(&ep->lane[lane % ep->nr_lanes]);
}

static void rdma_shutdown(struct cvmm_link *link)
{
	struct rdma_ep *ep = link->priv;
	unsigned int i;

	mutex_lock(&ep->teardown_lock);
	for (i = 0; i < ep->nr_lanes && !ep->gone; i++) {
		cvmm_rdma_lane_kill(&ep->lane[i]);
		rdma_disconnect(ep->lane[i].id);
	}
	mutex_unlock(&ep->teardown_lock);
}

static void rdma_stop(struct cvmm_link *link)
{
	cvmm_rdma_teardown(link->priv);
}

static void rdma_release(struct cvmm_link *link)
{
	struct rdma_ep *ep = link->priv;

	/* Its descriptor may still be open. */
	mutex_lock(&ep->lock);
	ep->link = NULL;
	mutex_unlock(&ep->lock);
	cvmm_rdma_put(ep);
	link->priv = NULL;
}

static const struct cvmm_link_ops rdma_link_ops = {
	.name = "rdma",
	.transport = CVMM_TRANSPORT_RDMA,
	.feature = CVMM_FEATURE_LINK_RDMA,
	.owner = THIS_MODULE,
	.endpoint = cvmm_rdma_endpoint,
	.attach = rdma_attach,
	.start = rdma_start,
	.xmit = rdma_xmit,
	.poll = rdma_poll,
	.shutdown = rdma_shutdown,
	.stop = rdma_stop,
	.release = rdma_release,
};

static int __init rdma_init(void)
{
	int ret;

	cvmm_rdma_wq = alloc_workqueue("cvmm-rdma", WQ_HIGHPRI | WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!cvmm_rdma_wq)
		return -ENOMEM;
	ret = cvmm_transport_register(&rdma_link_ops);
	if (ret)
		destroy_workqueue(cvmm_rdma_wq);
	return ret;
}

static void __exit rdma_exit(void)
{
	cvmm_transport_unregister(&rdma_link_ops);
	destroy_workqueue(cvmm_rdma_wq);
}

module_init(rdma_init);
module_exit(rdma_exit);
MODULE_DESCRIPTION("RDMA links of the clustered virtual machine monitor");
MODULE_LICENSE("GPL");
MODULE_ALIAS("cvmm-transport-" __stringify(CVMM_TRANSPORT_RDMA));
