/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of a running simulation, shared by platform.c (the core's platform) and workload.c. */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "sim.h"

struct sim;

struct sim_frame {
	u32 refs;
	u32 maps;		/* page tables that have it */
	bool freed;
	u64 words[SIM_WORDS];
	struct sim_frame *next;
};

/* A host's mapping of a page, as page tables would have it. */
struct sim_map {
	struct sim_frame *frame;	/* NULL: not mapped */
	bool writable;
	u64 pinned_until;
};

enum vcpu_state {
	VCPU_THINK,		/* next: a new instruction */
	VCPU_ENTER,		/* next: try the instruction */
	VCPU_FAULT,		/* next: ask for @gfn */
	VCPU_WAIT,		/* sleeps for @gfn */
	VCPU_DONE,
};

struct sim_vcpu {
	u32 host;
	bool copier;
	bool again;		/* next: the same pages, all to write */
	enum vcpu_state state;
	u32 ops_left;
	u64 wakeup;		/* number of the event that may run it; others are stale */
	u64 started_ns;
	u64 since_ns;		/* first miss of the instruction, 0: none yet */
	u64 gfn;		/* of FAULT, WAIT */
	bool write;
	bool plain;		/* reads as a page-table walk does */
	bool waited;		/* this instruction, for a page */
	u64 guess;		/* page last asked for ahead */
	u64 fault_ns;		/* since when for the page that it waits for now, 0: none */
	u64 tries;
	u64 done;		/* instructions */
	u32 nr;
	struct {
		u64 gfn;
		bool write;
	} need[SIM_MAX_PAGES];
	u32 nr_holds;
	u64 holds[SIM_MAX_HOLDS];
};

struct sim_host {
	struct sim *sim;
	u32 id;
	struct dsm dsm;
	struct dsm_range *ranges;
	struct sim_map *maps;		/* by gfn */
	u64 *timer;			/* by gfn: time set, 0 none */
	u64 stalled_until;
	u64 sends_until;
	u64 handles_until;
};

struct sim_event {
	u64 when;
	u64 seq;
	enum { EV_MSG, EV_TIMER, EV_VCPU, EV_DROP } kind;
	u32 host;		/* where it happens */
	u32 from;		/* EV_MSG */
	u32 vcpu;		/* EV_VCPU */
	u64 gfn;		/* EV_MSG, EV_TIMER */
	u64 due;		/* EV_TIMER: as set; a stall may put @when off */
	u8 wire[DSM_WIRE_SIZE];
	struct sim_frame *frame;
	u64 snapshot[SIM_WORDS];
};

struct sim_key {
	u64 when;
	u64 seq;
	u32 slot;		/* of the event */
};

struct sim_queue {
	struct sim_key *heap;
	struct sim_event *events;
	size_t nr, cap;
};

struct sim {
	struct sim_params p;
	struct sim_result *res;
	u64 rng;
	u64 now;
	u64 seq;
	bool failed;		/* the space, by an injected fault */
	bool violated;
	bool dropped;

	struct sim_host *hosts;
	struct dsm **dsms;
	struct sim_view {	/* by gfn: what all hosts have, and have mapped */
		struct dsm_view states;
		u64 writers, readers;
		u32 home;
	} *views;
	struct sim_vcpu *vcpus;
	u32 nr_vcpus;
	u64 *link_busy;		/* latest delivery, by from, to and gfn (or 0) */

	struct sim_queue queue;

	struct sim_frame *quarantine, **quarantine_tail;
	u64 nr_quarantine;
	u64 live_frames;
	u64 live_recs;

	u64 next_value;
	u64 *truth;		/* by gfn and word: the last value written */
};

/* queue.c */
/* A new event, queued; the caller fills it in.  Valid until the next call of these. */
struct sim_event *sim_event_new(struct sim *s, u64 when);
/* Put @ev, popped, off until @when; what is put off stays in order. */
void sim_event_defer(struct sim *s, const struct sim_event *ev, u64 when);
bool sim_event_pop(struct sim *s, struct sim_event *ev);

/* platform.c */
u64 sim_rand(struct sim *s, u64 below);
bool sim_chance(struct sim *s, u32 permille);
void sim_violation(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_deliver(struct sim *s, struct sim_event *ev);
void sim_space_error(struct sim *s, u32 host, int err, const char *where);
u64 sim_clock(struct sim *s);
/* Change a mapping; NULL: remove it. */
void sim_map_set(struct sim_map *m, struct sim_frame *frame, bool writable);
bool sim_setup(struct sim *s);
void sim_finish(struct sim *s);

/* workload.c */
void sim_vcpu_init(struct sim *s);
void sim_vcpu_step(struct sim *s, u32 index);
void sim_vcpu_wake(struct sim *s, u32 host, u64 gfn);
void sim_vcpu_schedule(struct sim *s, struct sim_vcpu *v, u64 delay);
/* Longest wait that is still progress, from the parameters alone. */
u64 sim_wait_bound(const struct sim *s);

#endif /* SIM_INTERNAL_H */
