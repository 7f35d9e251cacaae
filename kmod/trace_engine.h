/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of the vCPU engine (event group "cvmm_vcpu").
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cvmm_vcpu

#if !defined(CVMM_TRACE_ENGINE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CVMM_TRACE_ENGINE_H

#include <linux/tracepoint.h>

/* The guest is about to be entered; @event is the vendor's injection field. */
TRACE_EVENT(cvmm_vcpu_enter,
	TP_PROTO(u32 vcpu, u64 rip, u32 event),
	TP_ARGS(vcpu, rip, event),
	TP_STRUCT__entry(
		__field(u64, rip)
		__field(u32, vcpu)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->rip = rip;
		__entry->event = event;
	),
	TP_printk("vcpu=%u rip=%llx event=%08x", __entry->vcpu, __entry->rip, __entry->event)
);

/* ... and has left; code and information as the vendor's manual defines them. */
TRACE_EVENT(cvmm_vcpu_exit,
	TP_PROTO(u32 vcpu, u64 rip, u32 code, u64 info1, u64 info2, u32 event),
	TP_ARGS(vcpu, rip, code, info1, info2, event),
	TP_STRUCT__entry(
		__field(u64, rip)
		__field(u64, info1)
		__field(u64, info2)
		__field(u32, vcpu)
		__field(u32, code)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->rip = rip;
		__entry->code = code;
		__entry->info1 = info1;
		__entry->info2 = info2;
		__entry->event = event;
	),
	TP_printk("vcpu=%u rip=%llx code=%x info=%llx,%llx event=%08x", __entry->vcpu,
		  __entry->rip, __entry->code, __entry->info1, __entry->info2,
		  __entry->event)
);

/* A nested page fault on the space's memory was handled. */
TRACE_EVENT(cvmm_vcpu_fault,
	TP_PROTO(u32 vcpu, u64 rip, u64 gpa, bool write, int result),
	TP_ARGS(vcpu, rip, gpa, write, result),
	TP_STRUCT__entry(
		__field(u64, rip)
		__field(u64, gpa)
		__field(u32, vcpu)
		__field(int, result)
		__field(bool, write)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->rip = rip;
		__entry->gpa = gpa;
		__entry->write = write;
		__entry->result = result;
	),
	TP_printk("vcpu=%u rip=%llx gpa=%llx %s result=%d", __entry->vcpu, __entry->rip,
		  __entry->gpa, __entry->write ? "write" : "read", __entry->result)
);

#endif /* CVMM_TRACE_ENGINE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_engine
#include <trace/define_trace.h>
