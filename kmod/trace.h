/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of spaces (event group "cvmm").
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cvmm

#if !defined(CVMM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CVMM_TRACE_H

#include <linux/tracepoint.h>

/* An access that the local state did not satisfy starts to wait. */
TRACE_EVENT(cvmm_wait_start,
	TP_PROTO(u64 space, u64 gfn, bool write),
	TP_ARGS(space, gfn, write),
	TP_STRUCT__entry(
		__field(u64, space)
		__field(u64, gfn)
		__field(bool, write)
	),
	TP_fast_assign(
		__entry->space = space;
		__entry->gfn = gfn;
		__entry->write = write;
	),
	TP_printk("space=%llx gfn=%llx %s", __entry->space, __entry->gfn,
		  __entry->write ? "write" : "read")
);

/* ... and its end: @error 0 when the page was granted. */
TRACE_EVENT(cvmm_wait_end,
	TP_PROTO(u64 space, u64 gfn, bool write, u64 wait_ns, int error),
	TP_ARGS(space, gfn, write, wait_ns, error),
	TP_STRUCT__entry(
		__field(u64, space)
		__field(u64, gfn)
		__field(u64, wait_ns)
		__field(int, error)
		__field(bool, write)
	),
	TP_fast_assign(
		__entry->space = space;
		__entry->gfn = gfn;
		__entry->wait_ns = wait_ns;
		__entry->error = error;
		__entry->write = write;
	),
	TP_printk("space=%llx gfn=%llx %s wait_ns=%llu error=%d", __entry->space,
		  __entry->gfn, __entry->write ? "write" : "read", __entry->wait_ns,
		  __entry->error)
);

DECLARE_EVENT_CLASS(cvmm_msg,
	TP_PROTO(u64 space, u32 self, u32 peer, const struct dsm_msg *msg),
	TP_ARGS(space, self, peer, msg),
	TP_STRUCT__entry(
		__field(u64, space)
		__field(u64, gfn)
		__field(u32, self)
		__field(u32, peer)
		__field(u32, version)
		__field(u32, length)
		__field(u16, flags)
		__field(u16, age)
		__field(u8, type)
		__field(u8, requester)
		__field(u8, acks)
	),
	TP_fast_assign(
		__entry->space = space;
		__entry->gfn = msg->gfn;
		__entry->self = self;
		__entry->peer = peer;
		__entry->version = msg->version;
		__entry->length = msg->length;
		__entry->flags = msg->flags;
		__entry->age = msg->age;
		__entry->type = msg->type;
		__entry->requester = msg->requester;
		__entry->acks = msg->acks;
	),
	TP_printk("space=%llx self=%u peer=%u type=%u gfn=%llx req=%u acks=%u flags=%x age=%u version=%u len=%u",
		  __entry->space, __entry->self, __entry->peer, __entry->type,
		  __entry->gfn, __entry->requester, __entry->acks, __entry->flags,
		  __entry->age, __entry->version, __entry->length)
);

DEFINE_EVENT(cvmm_msg, cvmm_msg_tx,
	TP_PROTO(u64 space, u32 self, u32 peer, const struct dsm_msg *msg),
	TP_ARGS(space, self, peer, msg));

DEFINE_EVENT(cvmm_msg, cvmm_msg_rx,
	TP_PROTO(u64 space, u32 self, u32 peer, const struct dsm_msg *msg),
	TP_ARGS(space, self, peer, msg));

/* A step of the protocol core, enum dsm_step. */
TRACE_EVENT(cvmm_step,
	TP_PROTO(u64 space, u32 self, u64 gfn, u32 step, u32 a, u32 b),
	TP_ARGS(space, self, gfn, step, a, b),
	TP_STRUCT__entry(
		__field(u64, space)
		__field(u64, gfn)
		__field(u32, self)
		__field(u32, step)
		__field(u32, a)
		__field(u32, b)
	),
	TP_fast_assign(
		__entry->space = space;
		__entry->gfn = gfn;
		__entry->self = self;
		__entry->step = step;
		__entry->a = a;
		__entry->b = b;
	),
	TP_printk("space=%llx self=%u gfn=%llx %s a=%u b=%u", __entry->space,
		  __entry->self, __entry->gfn,
		  __print_symbolic(__entry->step,
				   { DSM_STEP_STATE, "state" },
				   { DSM_STEP_REQUEST, "request" },
				   { DSM_STEP_GRANT, "grant" },
				   { DSM_STEP_DEFER, "defer" },
				   { DSM_STEP_TXN, "txn" },
				   { DSM_STEP_TXN_DONE, "txn_done" },
				   { DSM_STEP_BAD, "bad" }),
		  __entry->a, __entry->b)
);

/* All mappings of a page on this host have been reduced (or a pin prevents it). */
TRACE_EVENT(cvmm_revoke,
	TP_PROTO(u64 space, u32 self, u64 gfn, u32 prot, int error),
	TP_ARGS(space, self, gfn, prot, error),
	TP_STRUCT__entry(
		__field(u64, space)
		__field(u64, gfn)
		__field(u32, self)
		__field(u32, prot)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->space = space;
		__entry->gfn = gfn;
		__entry->self = self;
		__entry->prot = prot;
		__entry->error = error;
	),
	TP_printk("space=%llx self=%u gfn=%llx to=%s error=%d", __entry->space,
		  __entry->self, __entry->gfn,
		  __entry->prot == DSM_PROT_READ ? "read" : "none", __entry->error)
);

#endif /* CVMM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
