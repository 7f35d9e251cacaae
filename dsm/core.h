/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Internals shared by the files of the coherence core.  Nothing here is for the
 * platform.
 *
 * core.c entry points, checks of messages, dispatch
 * page.c a host's side: access, hold, revocation, completion of requests
 * dir.c  the home's side: directory, transactions, queue
 */
#ifndef DSM_CORE_H
#define DSM_CORE_H

#include "dsm.h"

/*
 * Deliberate bugs, compiled in only for tests that prove the simulator finds
 * them (dsm/sim/).  In every other build dsm_bug() is constant false.
 */
#define DSM_BUGS(X)							\
	X(ACK_EARLY)		/* acknowledge an invalidation without protect() */ \
	X(NO_WAIT_ACKS)		/* use a write grant before all acknowledgements */ \
	X(LOST_INV)		/* home forgets to invalidate one sharer */	\
	X(NO_BLOCK)		/* home starts a transaction while one runs */	\
	X(DOWNGRADE_EARLY)	/* owner supplies a reader but stays writable */ \
	X(STALE_SAME)		/* home answers "same" to a host that lost its copy */ \
	X(EARLY_DONE)		/* DONE before the last acknowledgement */	\
	X(LOST_WAITER)		/* home drops a queued request */		\
	X(LOST_WAKE)		/* completion wakes nobody */			\
	X(FRAME_LEAK)		/* invalidated frame is not put */		\
	X(NO_HOLD)		/* a granted page is not held */		\
	X(NO_AGE)		/* holds never yield to older instructions */	\
	X(REVOKE_MAPS)		/* new mappings while protect() is being retried */ \
	X(DEFER_DROP)		/* the deadline of a deferred message is forgotten */ \
	X(OFFER_SHARED)		/* home lets a page with sharers be handed over on a read */ \
	X(KEEP_COPY)		/* owner hands over on a read, its mappings stay readable */ \
	X(DONE_TOO_SOON)	/* home needs no DONE although others must acknowledge */ \
	X(WRITTEN_LOST)		/* a write to a page that came on a read is not noted */

enum dsm_bug {
	DSM_BUG_NONE,
#define X(name) DSM_BUG_##name,
	DSM_BUGS(X)
#undef X
	DSM_BUG_NR
};

#ifdef DSM_TEST_BUGS
extern enum dsm_bug dsm_test_bug;
#define dsm_bug(name)	(dsm_test_bug == DSM_BUG_##name)
#else
#define dsm_bug(name)	false
#endif

/*
 * Coverage: transitions and races of PROTOCOL.rst.  The simulator counts how often
 * its runs come by each (dsm-sim --coverage); elsewhere this is nothing.
 */
#define DSM_MARKS(X)							\
	X(LOCAL_WRITE_SHARED)		/* upgrades */			\
	X(LOCAL_WRITE_OWNED)						\
	X(FWD_S_SHARED)			/* a home that has a copy supplies it */ \
	X(FWD_S_OWNED)							\
	X(FWD_S_EXCLUSIVE)						\
	X(FWD_X_OWNED)							\
	X(FWD_X_EXCLUSIVE)						\
	X(SAME_SHARED)			/* FWD_X SAME at home: an owner upgrades */ \
	X(SAME_OWNED)							\
	X(INV_SHARED)							\
	X(DATA_SHARED)							\
	X(DATA_EXCLUSIVE)						\
	X(DATA_SAME)							\
	X(DATA_ZERO_READ)						\
	X(DATA_ZERO_WRITE)						\
	X(DATA_MIGRATORY)		/* a read answered with the whole page */ \
	X(ACK_BEFORE_DATA)						\
	X(DATA_BEFORE_ACKS)						\
	X(READ_DURING_UPGRADE)						\
	X(INV_MEETS_UPGRADE)						\
	X(FWD_S_MEETS_UPGRADE)						\
	X(FWD_X_MEETS_UPGRADE)						\
	X(UPGRADE_VOIDS_HOLD)						\
	X(HURRY_LATE)							\
	X(HURRY_BEHIND_OFFER)						\
	X(LATE_PRECEDENCE)		/* an asker gets it by waiting */ \
	X(OLDEST_TOLD)			/* HURRY for one who will have precedence */ \
	X(OLDEST_LENDS)			/* its age to one who goes before it */ \
	X(OFFER)			/* home lets the owner hand over on a read */ \
	X(OFFER_AT_HOME)		/* ... the owner is home itself */ \
	X(NO_OFFER_PLAIN)		/* migratory, but a plain read */ \
	X(NO_OFFER_COPIES)		/* migratory, but there are sharers */ \
	X(OFFER_DEFERRED)		/* by a hold */			\
	X(OFFER_TAKEN)							\
	X(OFFER_KEPT)			/* unwritten: a copy instead */	\
	X(OFFER_BUSY)			/* a pin, and the page is to go */ \
	X(CLEAN_BUSY)			/* a pin, and the page was not written */ \
	X(CLEAN_PLAIN_READ)		/* unwritten, meets a plain read */ \
	X(CLEAN_FWD_X)			/* unwritten, taken by a writer */ \
	X(WRITE_LOCAL)			/* first write after such a read */ \
	X(WRITE_IN_HOLD)		/* ... while an offer is deferred */ \
	X(WRITE_BLOCKED)		/* ... while it is being given up */ \
	X(QUEUED_BEHIND_OFFER)						\
	X(OLDER_JOINS)			/* an older instruction joins a request */ \
	X(OLDER_QUEUED)			/* ... which waits at home */	\
	X(OLDER_RUNNING)		/* ... whose transaction runs */ \
	X(OLDER_LATE)			/* ... which has been served meanwhile */ \
	X(ANSWERED_ALONE)		/* by home: no DONE */		\
	X(ANSWERED_LATE)		/* ... after a hold or a pin */	\
	X(NEXT_BEFORE_DATA)		/* ... and the next transaction starts at once */ \
	X(AHEAD_CAME)			/* before anybody waited for it */ \
	X(AHEAD_JOINED)			/* ... under way when somebody did */ \
	X(AHEAD_OLDER)			/* ... by an older class */	\
	X(AHEAD_READ_USED)						\
	X(AHEAD_WRITE_USED)						\
	X(AHEAD_READ_LOST)		/* unused, meets INV */		\
	X(AHEAD_WRITE_LOST)		/* unused, meets FWD_X */	\
	X(AHEAD_WRITE_SHARED)		/* unused, meets a reader */	\
	X(AHEAD_OFFER)			/* ... who might have had all of it */ \
	X(AHEAD_HELD)			/* not asked for: the copy here is held */ \
	X(AHEAD_COPY_LOST)		/* an upgrade's, before its turn came */ \
	X(DOUBT_MOST)							\
	X(DOUBT_FADES)

enum dsm_mark {
#define X(name) DSM_MARK_##name,
	DSM_MARKS(X)
#undef X
	DSM_MARK_NR
};

#ifdef DSM_TEST_MARKS
extern u64 dsm_marks[DSM_MARK_NR];
#define dsm_mark_if(cond, name)	((void)((cond) && dsm_marks[DSM_MARK_##name]++))
#else
#define dsm_mark_if(cond, name)	((void)(0 && (cond)))
#endif
#define dsm_mark(name)		dsm_mark_if(true, name)

/* A request queued at home. */
struct dsm_waiter {
	u32 since;		/* start of the instruction in home's ticks */
	u32 came;		/* when the request came, DSM_DELAY_NS */
	u16 flags;
	u8 type;
	u8 version;		/* of the copy it held, with DSM_F_HAVE */
};

/*
 * What a page needs only while something is going on.  Attached to the page's
 * entry (dsm_page.has_rec) from the first need until nothing of it is in use.
 */
struct dsm_rec {
	void *frame;		/* what dsm_page.word would hold */

	/* our own request */
	u8 req;			/* DSM_MSG_REQ_S/X, 0: none */
	u8 acks_needed;		/* valid once answered */
	u8 data_from;		/* likewise */
	u16 data_flags;		/* likewise */
	bool answered;		/* DATA has come */
	bool have;		/* it was sent with DSM_F_HAVE */
	bool ahead;		/* nobody waits for it, by dsm_ahead() */
	bool version_known;
	bool sleepers;		/* somebody was told DSM_WAIT */
	u32 since;		/* start of the oldest waiting instruction, ticks */
	u64 asked_ns;		/* when the request was made */
	u32 version;		/* of the grant, from the first DATA or INV_ACK */
	void *data;		/* received or preallocated frame, not yet ours to use */
	u64 acks_from;		/* hosts whose INV_ACK has come */

	/* a FWD or INV that waits for a hold or a pin; type 0: none */
	struct dsm_msg deferred;
	u64 due_ns;
	u64 timer_ns;		/* the timer that is set, 0: none */
	u64 yield_ns;		/* latest end of the hold for an older asker, else ~0 */
	u32 came;		/* when it came, DSM_DELAY_NS */
	u32 asks_since;		/* start of the instruction behind it, ticks */
	u32 waits_since;	/* ... and of one that waits at home behind that, ... */
	u8 waits;		/* ... of this host; none: the same */
	u8 tries;
	bool revoking;		/* protect() has been called for it */

	/* home: requests behind the running transaction */
	u64 waiting;		/* hosts */
	struct dsm_waiter wait[];	/* by host; only for gfns homed here */
};

/* One gfn's entries, looked up once per entry point. */
struct dsm_ref {
	u64 gfn;
	struct dsm_page *page;
	struct dsm_home *dir;	/* NULL when homed elsewhere */
	u32 home;
};

static inline u64 dsm_bit(u32 host)
{
	return 1ULL << host;
}

static inline u32 dsm_tick(u64 now_ns)
{
	return (u32)(now_ns >> DSM_TICK_SHIFT);
}

static inline u32 dsm_delay_clock(u64 now_ns)
{
	return (u32)(now_ns >> DSM_DELAY_SHIFT);
}

/* A message's @delay and the time since @came. */
static inline u16 dsm_delay_add(u16 delay, u32 came, u64 now_ns)
{
	s32 more = (s32)(dsm_delay_clock(now_ns) - came);

	/* Clocks are read late. */
	if (more < 0)
		return delay;
	if (more > (s32)DSM_DELAY_MOST)
		more = (s32)DSM_DELAY_MOST;
	return dsm_delay_pack(dsm_delay_unpack(delay) + (u32)more);
}

/* Ticks from @since until now, 0 if @since is later, saturating. */
static inline u32 dsm_age(u32 since, u64 now_ns)
{
	s32 age = (s32)(dsm_tick(now_ns) - since);

	if (age < 0)
		return 0;
	return age > (s32)DSM_AGE_TICKS ? DSM_AGE_TICKS : (u32)age;
}

/*
 * Which of two instructions that want each other's pages goes first?  The older
 * one, by classes of age; within a class the one of the lower host.  Ages on the
 * wire are short by the time of travel, so exact ages of about equal instructions
 * would make each host think its own the older, both would hold on and then swap
 * pages for ever.  Classes make both see the same order nearly always, and an
 * instruction that has lost long enough outranks everybody.  The lower ones, 4 ms,
 * are longer than a page usually travels; from 17 ms on there are four to a power of
 * two, so that low hosts are preferred by no more than a quarter of the age.
 */
static inline u32 dsm_age_class(u32 age)
{
	u32 exp = 0;

	for (age >>= 5; age >= 8; age >>= 1)
		exp++;
	return 4 * exp + age;
}

/* Ticks until an instruction of this age is in the next class; 0: there is none. */
static inline u32 dsm_age_next_class(u32 age)
{
	u32 exp = 0, top;

	if (age >= DSM_AGE_TICKS)
		return 0;
	for (top = age >> 5; top >= 8; top >>= 1)
		exp++;
	return ((top + 1) << (5 + exp)) - age;
}

static inline bool dsm_outranks(u32 age_a, u32 host_a, u32 age_b, u32 host_b)
{
	u32 a = dsm_age_class(age_a), b = dsm_age_class(age_b);

	return a != b ? a > b : host_a < host_b;
}

static inline u32 dsm_self(const struct dsm *d)
{
	return d->cfg.host;
}

static inline void dsm_count(struct dsm *d, enum dsm_event ev)
{
	d->cfg.ops->count(d->cfg.ctx, ev);
}

static inline void dsm_trace(struct dsm *d, const struct dsm_ref *r, enum dsm_step step,
			     u32 a, u32 b)
{
	if (d->cfg.ops->trace)
		d->cfg.ops->trace(d->cfg.ctx, r->gfn, step, a, b);
}

static inline struct dsm_rec *dsm_rec(const struct dsm_page *p)
{
	return p->has_rec ? p->word : NULL;
}

static inline void *dsm_frame(const struct dsm_page *p)
{
	return p->has_rec ? ((struct dsm_rec *)p->word)->frame : p->word;
}

static inline void dsm_set_frame(struct dsm_page *p, void *frame)
{
	if (p->has_rec)
		((struct dsm_rec *)p->word)->frame = frame;
	else
		p->word = frame;
}

/* core.c */
/* Hold times (ns) for pages of @home, by configuration or travel time. */
u64 dsm_hold_max(const struct dsm *d, u32 home);
u64 dsm_hold_yield(const struct dsm *d, u32 home);
/* A page of @home has come, @ns after it was asked for, waits not counted. */
void dsm_note_travel(struct dsm *d, u32 home, u64 ns);
bool dsm_lookup(const struct dsm *d, u64 gfn, struct dsm_ref *r);
struct dsm_rec *dsm_get_rec(struct dsm *d, struct dsm_ref *r);
void dsm_put_rec(struct dsm *d, struct dsm_ref *r);
/* Send @msg to @to, which may be this host.  A frame is only for other hosts. */
int dsm_post(struct dsm *d, struct dsm_ref *r, u32 to, struct dsm_msg *msg,
	     void *frame, u32 flags, u64 now_ns);

/* wire.c: do flags, acks, age and length fit the type? */
bool dsm_msg_well_formed(const struct dsm_msg *msg);

/* page.c */
int dsm_page_revoke(struct dsm *d, struct dsm_ref *r, u32 from,
		    const struct dsm_msg *msg, u64 now_ns);
void dsm_page_hurry(struct dsm *d, struct dsm_ref *r, const struct dsm_msg *msg, u64 now_ns);
int dsm_page_data(struct dsm *d, struct dsm_ref *r, u32 from,
		  const struct dsm_msg *msg, void **frame, u64 now_ns);
int dsm_page_ack(struct dsm *d, struct dsm_ref *r, u32 from,
		 const struct dsm_msg *msg, u64 now_ns);

/* dir.c */
int dsm_dir_request(struct dsm *d, struct dsm_ref *r, u32 from,
		    const struct dsm_msg *msg, u64 now_ns);
/* This host, the page's home, has sent @msg, DATA, in answer to the running transaction. */
void dsm_dir_answered(struct dsm_ref *r, const struct dsm_msg *msg);
/* End a transaction that has been answered so, and start the next.  After each revoke(). */
int dsm_dir_settle(struct dsm *d, struct dsm_ref *r, u64 now_ns);
/* The one who asks has found an older instruction for it; too late is no error. */
int dsm_dir_hurry(struct dsm *d, struct dsm_ref *r, u32 from,
		  const struct dsm_msg *msg, u64 now_ns);
int dsm_dir_done(struct dsm *d, struct dsm_ref *r, u32 from,
		 const struct dsm_msg *msg, u64 now_ns);

#endif /* DSM_CORE_H */
