// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts from vCPUs of this host to those of the others, straight over the links
 * ("Interrupts between hosts" in dsm/PROTOCOL.rst).  What an APIC is and who takes an
 * interrupt is the engine's business (apic.c); here are the messages, which of them
 * are refused, and where each APIC is.
 */
#include <linux/nospec.h>

#include "link.h"
#include "space_priv.h"

enum {	/* message types */
	MSG_APIC	= DSM_MSG_LINK + 1,
	MSG_IRQ		= DSM_MSG_LINK + 2,
};

/* Of MSG_IRQ, and what bits there are in its version field */
#define IRQ_ALL		(1U << 0)
#define IRQ_LOGICAL	(1U << 1)
#define IRQ_X2APIC	(1U << 2)
#define IRQ_VECTOR	0xffU

#define IRQ_VECTOR_MIN	16	/* lower ones are illegal */

/* ------------------------------------------------------------ sending */

void cvmm_space_announce_apic(struct cvmm_space *space, u32 id)
{
	struct dsm_msg msg = {
		.type = MSG_APIC,
		.requester = space->host,
		.epoch = space->epoch,
		.gfn = id,
	};
	u32 host;

	for (host = 0; host < space->nr_hosts; host++)
		if (space->links[host])
			cvmm_link_send(space->links[host], &msg, NULL, false);
}

static void send_irq(struct cvmm_space *space, u32 host, const struct cvmm_irq *irq)
{
	struct dsm_msg msg = {
		.type = MSG_IRQ,
		.requester = space->host,
		.epoch = space->epoch,
		.gfn = irq->dest,
		.version = irq->vector,
		.flags = (irq->all ? IRQ_ALL : 0) | (irq->logical ? IRQ_LOGICAL : 0) |
			 (irq->x2apic ? IRQ_X2APIC : 0),
	};

	cvmm_count(&space->stats, CVMM_SC_IRQ_OUT);
	cvmm_link_send(space->links[host], &msg, NULL, false);
	/* A guest can send faster than a network; nobody waits for its next interrupt. */
	cvmm_link_settle(space->links[host]);
}

bool cvmm_space_send_irq(struct cvmm_space *space, u32 id, const struct cvmm_irq *irq)
{
	u32 host;

	if (id >= CVMM_MAX_VCPU_ID)
		return false;
	host = READ_ONCE(space->apic_host[array_index_nospec(id, CVMM_MAX_VCPU_ID)]);
	if (!host)
		return false;
	send_irq(space, host - 1, irq);
	return true;
}

bool cvmm_space_spread_irq(struct cvmm_space *space, u32 nr, const struct cvmm_irq *irq)
{
	u32 host;

	if (atomic_read_acquire(&space->nr_apics) != nr)
		return false;
	for_each_set_bit(host, space->apic_hosts, CVMM_MAX_HOSTS)
		send_irq(space, host, irq);
	return true;
}

/* ---------------------------------------------------------- receiving */

static int receive_apic(struct cvmm_space *space, u32 host, const struct dsm_msg *msg)
{
	u8 was;

	if (msg->flags || msg->version || msg->gfn >= CVMM_MAX_VCPU_ID)
		return -EPROTO;
	was = cmpxchg(&space->apic_host[array_index_nospec(msg->gfn, CVMM_MAX_VCPU_ID)], 0,
		      (u8)(host + 1));
	if (was)
		return was == host + 1 ? 0 : -EPROTO;
	set_bit(host, space->apic_hosts);
	/* Whoever sees the number sees the host. */
	smp_mb__before_atomic();
	atomic_inc(&space->nr_apics);
	return 0;
}

static int receive_irq(struct cvmm_space *space, const struct dsm_msg *msg)
{
	struct cvmm_irq irq = {
		.dest = (u32)msg->gfn,
		.vector = msg->version & IRQ_VECTOR,
		.all = msg->flags & IRQ_ALL,
		.logical = msg->flags & IRQ_LOGICAL,
		.x2apic = msg->flags & IRQ_X2APIC,
	};
	struct cvmm_space_client *client;
	bool taken = false;

	if (msg->flags & ~(IRQ_ALL | IRQ_LOGICAL | IRQ_X2APIC) || msg->version & ~IRQ_VECTOR ||
	    irq.vector < IRQ_VECTOR_MIN || msg->gfn != irq.dest ||
	    (irq.all && (irq.logical || irq.dest)) || (!irq.x2apic && irq.dest > 0xff))
		return -EPROTO;
	down_read(&space->clients_sem);
	list_for_each_entry(client, &space->clients, node)
		taken |= client->ops->interrupt(client, &irq);
	up_read(&space->clients_sem);
	/* Turned off meanwhile, not on yet, or there is no such one. */
	cvmm_count(&space->stats, taken ? CVMM_SC_IRQ_IN : CVMM_SC_IRQ_LOST);
	return 0;
}

int cvmm_space_receive_irq(struct cvmm_space *space, u32 host, const struct dsm_msg *msg)
{
	if (msg->length || msg->acks || msg->age || msg->requester != host ||
	    msg->epoch != space->epoch)
		return -EPROTO;
	switch (msg->type) {
	case MSG_APIC:
		return receive_apic(space, host, msg);
	case MSG_IRQ:
		return receive_irq(space, msg);
	default:
		return -EPROTO;
	}
}
