/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The coherence protocol of a space: a pure state machine.
 *
 * One struct dsm is one space's protocol instance at one host.  It has no
 * clock, no threads, no allocator and no network: time comes in as a parameter,
 * everything else through struct dsm_ops.  "The platform" below is whoever
 * supplies these: kmod/space.c in the kernel, dsm/sim/ in user space.
 * dsm/PROTOCOL.rst is the specification.
 *
 * Contract with the platform
 * --------------------------
 *
 * Serialisation.  The platform serialises all calls that concern one gfn: it
 * holds a per-gfn sleeping lock (striped is fine), "the page lock", around each
 * entry point and therefore around every callback made from it.  Calls for
 * gfns of different locks may run in parallel on different CPUs; the core keeps
 * no mutable state outside the page's own entries, except the one-way "failed"
 * flag and averages of travel times.  The core never calls back for another gfn than the one it was called
 * for.  Callbacks must not call into the core.
 *
 * Mappings.  After DSM_GRANTED the caller installs its mapping (or touches the
 * frame) before it drops the page lock.  protect() removes mappings under the
 * same lock; so a revocation never passes an installation.
 *
 * Waiting.  After DSM_WAIT the caller drops the page lock, sleeps until
 * ops->wake() for that gfn (it must have queued itself before dropping the
 * lock), takes the lock and calls dsm_access() again.  A wake-up says "look
 * again", not "you have it".  A waiter may go away at any time (signal); its
 * request completes without it.
 *
 * Frames.  A frame is one 4 KiB page, an opaque non-NULL pointer.  The core
 * owns exactly one reference for each frame it has been given (by dsm_receive()
 * or alloc_zero()) until it passes it to put_frame() or to send() with
 * DSM_SEND_GIVE.
 *
 * Errors.  A negative return of dsm_receive(), dsm_timer() or (other than
 * -ENOENT, -ENOMEM and -EIO) dsm_access() means the space can not go on: the
 * platform ends it (dsm_fail(), wake every waiter, drop the links).  The core
 * has then already marked itself failed.  Nothing a peer sends makes the core
 * crash or leak.
 *
 * End.  dsm_fail() is idempotent and may be called from any context.  When no
 * call is running any more, dsm_teardown() returns every frame and record.
 */
#ifndef DSM_H
#define DSM_H

#include "dsm_types.h"

#define DSM_MAX_HOSTS	64
#define DSM_NO_HOST	0xff
#define DSM_PAGE_SIZE	4096

/* ------------------------------------------------------------------ wire */

/*
 * Message types.  "h" home, "r" requester, "o" owner (or any host that supplies
 * the page), "s" sharer.  Zero is not a type.  Types from DSM_MSG_LINK up are
 * for the link itself (hello, keep-alive, ...): the core's codec carries them
 * without looking at anything but the lengths, dsm_receive() refuses them.
 */
enum dsm_msg_type {
	DSM_MSG_REQ_S = 1,	/* r -> h  I want to read */
	DSM_MSG_REQ_X,		/* r -> h  I want to write */
	DSM_MSG_FWD_S,		/* h -> o  give the requester a read-only copy */
	DSM_MSG_FWD_X,		/* h -> o  hand the page over to the requester */
	DSM_MSG_INV,		/* h -> s  drop your copy, tell the requester */
	DSM_MSG_DATA,		/* o/h -> r  the answer, with or without a page */
	DSM_MSG_INV_ACK,	/* s -> r  my copy is gone from every TLB */
	DSM_MSG_DONE,		/* r -> h  I have it; next transaction (unless h answered alone) */
	DSM_MSG_HURRY,		/* h -> o/s, r -> h  an older instruction waits for this */
	DSM_MSG_NR,

	DSM_MSG_LINK = 0x80,
};

/* dsm_msg.flags; which type may carry which is in PROTOCOL.rst */
#define DSM_F_HAVE	(1U << 0)	/* REQ_X: I hold a copy of .version */
#define DSM_F_SAME	(1U << 1)	/* FWD_X, DATA: requester's copy is current, no payload */
#define DSM_F_ZERO	(1U << 2)	/* DATA: never touched, requester makes a zeroed frame */
#define DSM_F_EXCL	(1U << 3)	/* DATA, DONE: granted Exclusive; FWD_S: may be */
#define DSM_F_PLAIN	(1U << 4)	/* REQ_S: Shared please, whatever the page's history */
#define DSM_F_CLEAN	(1U << 5)	/* DATA, DONE: had been granted Exclusive on a read in vain */

/**
 * struct dsm_msg - a decoded message header
 * @type:	enum dsm_msg_type
 * @requester:	host the transaction is for
 * @acks:	FWD_X, DATA: INV_ACKs the requester must collect, 0..63
 * @flags:	DSM_F_*
 * @age:	REQ_*, FWD_*, INV: how long the requester's instruction has been
 *		trying, packed (dsm_age_pack()); HURRY: the waiter's
 * @delay:	FWD_*, INV, DATA, INV_ACK: how long the transaction has been waiting
 *		for its turn, for holds and pins, packed (dsm_delay_pack())
 * @epoch:	membership epoch of the space
 * @gfn:	guest frame number
 * @version:	data version, see PROTOCOL.rst
 * @length:	payload bytes that follow the header: 0 or DSM_PAGE_SIZE
 */
struct dsm_msg {
	u8 type;
	u8 requester;
	u8 acks;
	u16 flags;
	u16 age;
	u16 delay;
	u32 epoch;
	u32 version;
	u32 length;
	u64 gfn;
};

/*
 * Unit of delays: 1.024 us.  In 16 bits: exact below 2^15, then to the nearest of 32;
 * DSM_DELAY_MOST (1.1 s) or longer is DSM_DELAY_MOST.
 */
#define DSM_DELAY_SHIFT	10
#define DSM_DELAY_NS	(1ULL << DSM_DELAY_SHIFT)
#define DSM_DELAY_MOST	((1U << 15) + (((1U << 15) - 1) << 5))

static inline u16 dsm_delay_pack(u32 delay)
{
	if (delay < 1U << 15)
		return (u16)delay;
	if (delay >= DSM_DELAY_MOST - 16)
		return 0xffff;
	return (u16)((1U << 15) + ((delay - (1U << 15) + 16) >> 5));
}

static inline u32 dsm_delay_unpack(u16 delay)
{
	return delay < 1U << 15 ? delay : (1U << 15) + ((delay - (1U << 15)) << 5);
}

#define DSM_WIRE_SIZE	32
#define DSM_WIRE_MAGIC	0x5643		/* "CV" */
#define DSM_WIRE_VERSION 6

/**
 * dsm_wire_encode() - write a header in wire format
 * @msg:	the header; every field is copied as it is
 * @buf:	DSM_WIRE_SIZE bytes
 */
void dsm_wire_encode(const struct dsm_msg *msg, u8 *buf);

/**
 * dsm_wire_decode() - parse a header
 * @buf:	received bytes
 * @len:	how many there are
 * @msg:	out: the header; undefined on error
 *
 * Checks magic, version, type, reserved fields, and for coherence messages the
 * flags and payload length allowed for the type.  The caller may trust
 * @msg->length (0 or DSM_PAGE_SIZE) and must receive exactly that many bytes
 * after the header.  Whether the message makes sense is for dsm_receive().
 *
 * Pure; any context.  Returns 0 or -EPROTO (including @len < DSM_WIRE_SIZE).
 */
int dsm_wire_decode(const u8 *buf, size_t len, struct dsm_msg *msg);

/*
 * The version of the wire format that a received header claims, 0 when it is not
 * one of ours at all.  For a link that has to say why it refuses a peer.  Pure.
 */
u8 dsm_wire_version(const u8 *buf, size_t len);

/* Name of a message type for logs; "?" for an unknown one. */
const char *dsm_msg_name(u8 type);

/* --------------------------------------------------------- page entries */

/* State of a page at a host. */
enum dsm_state {
	DSM_INVALID,
	DSM_SHARED,		/* read-only copy */
	DSM_OWNED,		/* read-only, supplies data; others have Shared */
	DSM_EXCLUSIVE,		/* read-write, the only copy */
};

/* Unit of ages: 2^17 ns = 131 us. */
#define DSM_TICK_SHIFT	17
#define DSM_TICK_NS	(1ULL << DSM_TICK_SHIFT)
/*
 * Unit of hold times: 2^14 ns = 16 us.  In 13 bits: three of exponent, ten of mantissa,
 * so exact up to 16.8 ms, then to less than one part in 512.
 */
#define DSM_HOLD_SHIFT	14
#define DSM_HOLD_NS	(1ULL << DSM_HOLD_SHIFT)
/* No hold reaches further than this after the grant (1.07 s). */
#define DSM_HOLD_TICKS	65535U
/*
 * Ages saturate here, in ticks (139 s); equal ages are ordered by host id, so what
 * waits longer could starve.  In 15 bits: exact below 2^14 ticks, then by 64.
 */
#define DSM_AGE_TICKS	((1U << 14) + (((1U << 14) - 1) << 6))

static inline u16 dsm_age_pack(u32 ticks)
{
	if (ticks < 1U << 14)
		return (u16)ticks;
	if (ticks > DSM_AGE_TICKS)
		ticks = DSM_AGE_TICKS;
	return (u16)((1U << 14) + ((ticks - (1U << 14)) >> 6));
}

/* Any 16 bits are an age. */
static inline u32 dsm_age_unpack(u16 age)
{
	if (age < 1U << 14)
		return age;
	return age >= 1U << 15 ? DSM_AGE_TICKS : (1U << 14) + ((age - (1U << 14)) << 6);
}

/**
 * struct dsm_page - one covered gfn at this host
 *
 * Zero-filled is Invalid.  Supplied by the platform in arrays; only the core
 * reads or writes it, under the page lock.
 */
struct dsm_page {
	void *word;		/* the frame, or the record (has_rec) that has the frame */
	u64 grant:24;		/* hold tick of the grant, wraps after 275 s */
	u64 age:15;		/* of the instruction at the grant, packed; all ones in a page that
				   came ahead and nobody has used yet */
	u64 hold:13;		/* held until grant + hold, packed; 0: not held */
	u64 version:8;		/* low bits of the data version */
	u64 state:2;		/* enum dsm_state */
	u64 has_rec:1;
	u64 written:1;		/* Exclusive, and write access has been granted since it came */
};

/**
 * struct dsm_home - directory entry of a gfn homed here, beside its dsm_page
 *
 * Zero-filled is "never touched".
 */
struct dsm_home {
	u64 sharers;		/* hosts with Shared copies, owner not included */
	u16 version;		/* counts grants of write access */
	u16 txn_since;		/* start of the oldest instruction that waits for it, 32 ticks */
	u32 owner:7;		/* host + 1; 0: never touched */
	u32 txn:2;		/* message type of the running transaction, 0: idle */
	u32 txn_host:6;		/* its requester */
	u32 txn_offer:1;	/* it is REQ_S, and the owner may hand the page over */
	u32 txn_ended:1;	/* answered by this host, which needs no DONE; these flags: */
	u32 txn_excl:1;
	u32 txn_clean:1;
	u32 last_reader:7;	/* host + 1 of the latest Shared grant, 0: none or a plain one */
	u32 migratory:1;	/* who reads it writes it next: hand it over on a read */
	u32 doubt:2;		/* how often that was wrong of late */
	u32 evidence:3;		/* for (while not migratory) or against @doubt */
};

_Static_assert(sizeof(struct dsm_page) <= 16, "metadata budget");
_Static_assert(sizeof(struct dsm_home) <= 16, "metadata budget");

/**
 * struct dsm_range - a run of gfns with one home
 * @first_gfn:	first guest frame
 * @nr_gfns:	> 0
 * @host:	home of them all
 * @pages:	array of @nr_gfns entries, zeroed by the platform before dsm_init()
 * @homes:	likewise when @host is this host, else NULL
 */
struct dsm_range {
	u64 first_gfn;
	u64 nr_gfns;
	u32 host;
	struct dsm_page *pages;
	struct dsm_home *homes;
};

/* -------------------------------------------------------------- counters */

/*
 * Events for ops->count().  The FAULT_* ones are counted at the requester when
 * a request that somebody waits for completes; the suffix is the number of messages on
 * its critical path (0: satisfied at home, which is this host).
 */
#define DSM_EVENTS(X)							\
	X(FAULT_READ_0, fault_read_0)					\
	X(FAULT_READ_2, fault_read_2)					\
	X(FAULT_READ_3, fault_read_3)					\
	X(FAULT_WRITE_0, fault_write_0)					\
	X(FAULT_WRITE_2, fault_write_2)					\
	X(FAULT_WRITE_3, fault_write_3)					\
	X(FAULT_UPGRADE_0, fault_upgrade_0)				\
	X(FAULT_UPGRADE_2, fault_upgrade_2)				\
	X(FAULT_UPGRADE_3, fault_upgrade_3)				\
	X(FAULT_ZERO_0, fault_zero_0)					\
	X(FAULT_ZERO_2, fault_zero_2)					\
	/* read fault answered with Exclusive */			\
	X(READ_EXCLUSIVE, read_exclusive)				\
	/* access joined a request already pending */			\
	X(COALESCED, coalesced)						\
	/* upgrade asked, copy lost meanwhile, page sent */		\
	X(UPGRADE_LOST, upgrade_lost)					\
	/* Exclusive -> Owned for a remote reader */			\
	X(DOWNGRADE, downgrade)						\
	/* page handed over to a remote writer */			\
	X(REVOKE_OWNER, revoke_owner)					\
	/* Shared (or Owned) copy dropped for a remote writer */	\
	X(REVOKE_SHARER, revoke_sharer)					\
	/* revocation put off by a hold */				\
	X(HOLD_DEFER, hold_defer)					\
	/* hold cut short: the asker has precedence */			\
	X(HOLD_YIELD, hold_yield)					\
	/* hold ended: this host itself needs the home for the page */	\
	X(HOLD_VOID, hold_void)						\
	/* protect() said -EAGAIN */					\
	X(PROTECT_BUSY, protect_busy)					\
	/* home: transactions started */				\
	X(HOME_TXN, home_txn)						\
	/* home: requests that found the page busy */			\
	X(HOME_QUEUED, home_queued)					\
	/* read fault of a migratory page, which came as a whole */	\
	X(READ_MIGRATORY, read_migratory)				\
	/* of these: then written, without a message */			\
	X(MIGRATORY_WRITTEN, migratory_written)				\
	/* of these: given up before it was written */			\
	X(MIGRATORY_CLEAN, migratory_clean)				\
	/* home: write by the latest, only reader of another's page */	\
	X(HOME_MIGRATORY, home_migratory)				\
	/* home: write by the owner of a page that others read */	\
	X(HOME_OWNER_UPGRADE, home_owner_upgrade)			\
	/* home: plain reads: page-table walks, copies */		\
	X(HOME_PLAIN_READ, home_plain_read)				\
	/* home: page found to be migratory */				\
	X(HOME_PROMOTE, home_promote)					\
	/* home: page is migratory no longer */				\
	X(HOME_DEMOTE, home_demote)					\
	/* dsm_ahead() has asked for a copy, or for write access */	\
	X(AHEAD_READ, ahead_read)					\
	X(AHEAD_WRITE, ahead_write)					\
	/* of these: somebody came to wait for it: counted as FAULT_*, too */ \
	X(AHEAD_LATE, ahead_late)					\
	/* of these: used, without a wait: to read, to write */		\
	X(AHEAD_USED_READ, ahead_used_read)				\
	X(AHEAD_USED_WRITE, ahead_used_write)				\
	/* of these: in vain: the copy, the right to write was taken before */ \
	X(AHEAD_WASTED_READ, ahead_wasted_read)				\
	X(AHEAD_WASTED_WRITE, ahead_wasted_write)			\
	X(TX_REQ_S, tx_req_s)						\
	X(TX_REQ_X, tx_req_x)						\
	X(TX_FWD_S, tx_fwd_s)						\
	X(TX_FWD_X, tx_fwd_x)						\
	X(TX_INV, tx_inv)						\
	X(TX_DATA, tx_data)						\
	X(TX_INV_ACK, tx_inv_ack)					\
	X(TX_DONE, tx_done)						\
	X(TX_HURRY, tx_hurry)						\
	/* of tx_data, those with a page as payload */			\
	X(TX_PAGE, tx_page)

enum dsm_event {
#define X(name, text) DSM_EV_##name,
	DSM_EVENTS(X)
#undef X
	DSM_EV_NR
};

/* Lower-case name of an event for statistics, e.g. "fault_read_2". */
const char *dsm_event_name(unsigned int event);

/* Steps reported to ops->trace(); @a and @b by step. */
enum dsm_step {
	DSM_STEP_STATE,		/* a: old state, b: new state */
	DSM_STEP_REQUEST,	/* a: message type, b: home */
	DSM_STEP_GRANT,		/* a: flags of DATA, b: its sender */
	DSM_STEP_DEFER,		/* a: message type, b: requester */
	DSM_STEP_TXN,		/* home. a: message type, b: requester */
	DSM_STEP_TXN_DONE,	/* home. a: message type, b: requester */
	DSM_STEP_BAD,		/* refused message. a: type, b: sender */
};

/* -------------------------------------------------------------- platform */

enum dsm_prot {
	DSM_PROT_NONE,		/* no mapping may stay */
	DSM_PROT_READ,		/* read-only mappings may stay */
};

#define DSM_SEND_GIVE	(1U << 0)	/* the frame's reference passes to the platform */

/**
 * struct dsm_ops - what the platform does for the core
 *
 * All are called with the page lock of the gfn held and are required unless
 * marked optional.  @ctx is dsm_config.ctx.
 *
 * @send:	Queue @msg (all fields set) to host @to, never this host.  @frame
 *		is the payload when @msg->length is not 0, else NULL.  With
 *		DSM_SEND_GIVE the platform has been handed the core's reference
 *		and drops it when the frame is sent (or can't be); without, it
 *		takes a reference of its own if it needs the frame after
 *		returning.  The content is stable until the peer has answered.
 *		Never blocks on the network; messages to one host are delivered
 *		in the order of their send() calls (for one gfn; gfns may
 *		overtake each other), or the space fails.  A host whose link is
 *		not there yet: keep the message until it is.
 * @protect:	Reduce every mapping of @gfn on this host to @prot and flush all
 *		TLBs that may hold more; when it returns 0 no CPU or device of
 *		this host can use a greater right any more, and the content of
 *		@frame no longer changes.  May sleep.  -EAGAIN: the mappings are
 *		reduced, but a short-term pin still uses the frame.  The core
 *		then grants nothing that @prot forbids and tries again by timer.
 *		No other error.
 * @alloc_zero:	A zeroed frame with one reference, for @gfn; NULL if none.
 * @put_frame:	Drop the core's reference.  Frames must be zeroed before anyone
 *		else can see them.
 * @alloc_rec:	@size bytes (at most dsm_rec_size()), pointer-aligned, content
 *		undefined; NULL if none.  Short-lived.
 * @free_rec:	Release it.  A timer set for the gfn may be forgotten.
 * @wake:	Wake everybody who waits for @gfn.
 * @set_timer:	Call dsm_timer() for @gfn at @when_ns or a little later (the
 *		clock of now_ns), replacing an earlier set_timer() of the gfn;
 *		firing both, or spuriously, is harmless.  @rec is the page's
 *		record, for a platform that keeps the timer in it; it may be
 *		freed before the timer fires.
 * @count:	Count one enum dsm_event.
 * @done:	optional.  A request of this host is complete and has been counted as
 *		@event, a FAULT_*; @wait_ns: how long ago dsm_access() made it.
 * @trace:	optional.  One protocol step.
 * @relax:	optional.  Let others run; dsm_teardown() calls it now and then, without
 *		the page lock.
 */
struct dsm_rec;

struct dsm_ops {
	void (*send)(void *ctx, u32 to, const struct dsm_msg *msg, void *frame, u32 flags);
	int (*protect)(void *ctx, u64 gfn, void *frame, enum dsm_prot prot);
	void *(*alloc_zero)(void *ctx, u64 gfn);
	void (*put_frame)(void *ctx, u64 gfn, void *frame);
	void *(*alloc_rec)(void *ctx, size_t size);
	void (*free_rec)(void *ctx, struct dsm_rec *rec);
	void (*wake)(void *ctx, u64 gfn);
	void (*set_timer)(void *ctx, u64 gfn, struct dsm_rec *rec, u64 when_ns);
	void (*count)(void *ctx, enum dsm_event event);
	void (*done)(void *ctx, u64 gfn, enum dsm_event event, u64 wait_ns);
	void (*trace)(void *ctx, u64 gfn, enum dsm_step step, u32 a, u32 b);
	void (*relax)(void *ctx);
};

/**
 * struct dsm_config - argument of dsm_init()
 * @ops, @ctx:	the platform
 * @ranges:	sorted by first_gfn, not overlapping, kept by reference until
 *		after dsm_teardown()
 * @nr_ranges:	> 0; on a single host 0, too: no pages at all
 * @host:	this host, < @nr_hosts
 * @nr_hosts:	1..DSM_MAX_HOSTS
 * @epoch:	membership epoch
 * @hold_max_ns: how long a granted page is held for its first use; 0: 20 ms, or
 *		eight times the travel time if that is longer.  At most 0.5 s.
 * @hold_limit_ns: no extension by dsm_hold() reaches further than this after
 *		the page's grant; 0: 25 times hold_max.  Clipped to 1 s.
 * @hold_yield_ns: what is left of a hold when an older instruction asks; 0: by the
 *		travel time, see PROTOCOL.rst, "Hold"
 * @retry_ns:	pause before protect() is tried again; 0: 200 us.  Doubles up to
 *		64 times that while it stays busy.
 * @no_migratory: never hand a page over on a read (for measurements).  Concerns
 *		the pages homed here; hosts may differ.
 */
struct dsm_config {
	const struct dsm_ops *ops;
	void *ctx;
	const struct dsm_range *ranges;
	u32 nr_ranges;
	u32 host;
	u32 nr_hosts;
	u32 epoch;
	u64 hold_max_ns;
	u64 hold_limit_ns;
	u64 hold_yield_ns;
	u64 retry_ns;
	bool no_migratory;
};

/*
 * One space at one host.  Private to the core; embedded by the platform.
 * @travel_ns:	by home: average time of a request that was answered with a page, less
 *		what it waited on the way; 0: none yet.  The last: of all homes.
 *		Written without a lock common to all pages: an update may be lost,
 *		which does no harm.
 */
struct dsm {
	struct dsm_config cfg;
	bool failed;
	u32 travel_ns[DSM_MAX_HOSTS + 1];
};

/* ---------------------------------------------------------- entry points */

/**
 * dsm_init() - set up an instance
 *
 * Copies @cfg.  Returns 0, or -EINVAL when @cfg breaks a rule above.
 */
int dsm_init(struct dsm *d, const struct dsm_config *cfg);

/* Bytes the largest record of this instance needs; constant after dsm_init(). */
size_t dsm_rec_size(const struct dsm *d);

/* Is @gfn part of the space?  Any context, no lock needed. */
bool dsm_covers(const struct dsm *d, u64 gfn);

/* Home of @gfn, DSM_NO_HOST when not covered.  Any context, no lock needed. */
u32 dsm_home_of(const struct dsm *d, u64 gfn);

enum dsm_result {
	DSM_GRANTED = 0,
	DSM_WAIT = 1,
};

/**
 * struct dsm_grant - what DSM_GRANTED gives
 * @frame:	the page's frame; valid while the page lock is held, and as long
 *		after that as a mapping that protect() removes exists
 * @writable:	a writable mapping may be installed (even after a read access).  A
 *		page that was handed over on a read is not writable at first: the
 *		first write has to ask, which costs no message, so that the page's
 *		home can learn whether the page is written at all.
 * @spared:	this access would have had to wait, but the page had come ahead, or as a
 *		whole on a read.  It is held now as if it had.  With DSM_WAIT: it was
 *		under way because somebody had asked ahead.
 */
struct dsm_grant {
	void *frame;
	bool writable;
	bool spared;
};

/* What an access needs.  The first two are false and true of "does it write?". */
enum dsm_want {
	DSM_READ,		/* a copy suffices, but the whole page may come */
	DSM_WRITE,		/* Exclusive is needed */
	DSM_READ_PLAIN,		/* a copy; others that read the page must keep theirs */
};

/**
 * dsm_access() - ask for a page
 * @d:		instance
 * @gfn:	guest frame
 * @want:	what for.  DSM_READ_PLAIN is for who reads without running the guest
 *		(a walk of its page tables, a copy): what it reads says nothing of
 *		what the guest will write.
 * @since_ns:	when the instruction (or operation) that needs this page first
 *		missed one, <= @now_ns; the same value for all its pages and all
 *		its retries until it succeeds.  Between instructions that want
 *		each other's pages the older wins.  Pass @now_ns if unknown.
 * @now_ns:	current time, monotonic
 * @grant:	out, when granted
 *
 * Page lock held; may sleep (protect(), allocation).
 *
 * Returns DSM_GRANTED: the access is allowed until the page lock is dropped,
 * or, through mappings installed meanwhile, until protect().
 * DSM_WAIT: a request is on its way (or was already), see "Waiting".
 * -ENOENT: not covered.  -ENOMEM: no record or frame; nothing has changed, a
 * retry is allowed.  -EIO: the space has failed (accesses that this host can
 * satisfy by itself are still granted).  -EPROTO: this access has found the
 * space inconsistent and failed it.
 */
int dsm_access(struct dsm *d, u64 gfn, enum dsm_want want, u64 since_ns, u64 now_ns,
	       struct dsm_grant *grant);

/**
 * dsm_ahead() - ask for a page that will be needed soon; nobody waits for it
 * @write:	write access will be needed
 *
 * Does nothing where the host has that right already, or where anything is going on with
 * the page here: a request, a revocation, a hold, a transaction.  A copy is asked for as
 * by DSM_READ_PLAIN, with the age of an instruction that begins now.  What comes is held for
 * twice the minimum run time, and not to be mapped before dsm_access() grants it: that is
 * how its use is known.
 *
 * Page lock held; may sleep.  Returns 1 when a request has been made, 0 when not (not
 * covered, no memory, and a failed space included), or -EPROTO as dsm_access().
 */
int dsm_ahead(struct dsm *d, u64 gfn, bool write, u64 now_ns);

/**
 * dsm_receive() - a message has arrived
 * @d:		instance
 * @from:	the peer at the other end of the link
 * @msg:	decoded header; need not be sane
 * @frame:	the payload when @msg->length is DSM_PAGE_SIZE, else NULL.  Its
 *		reference passes to the core in every case, errors included.
 * @now_ns:	current time
 *
 * Page lock of @msg->gfn held (take the lock of whatever stripe that number
 * gives, covered or not); may sleep.
 *
 * Returns 0, or an error that ends the space: -EPROTO malformed or impossible
 * at this point, -ESTALE another epoch, -ENOMEM, -EIO already failed.
 */
int dsm_receive(struct dsm *d, u32 from, const struct dsm_msg *msg, void *frame, u64 now_ns);

/**
 * dsm_timer() - the time given to set_timer() has come
 * @now_ns:	read with the page lock held: not before that time, else the call
 *		is taken for a spurious one
 *
 * Page lock held; may sleep.  Spurious calls are harmless.  Returns 0 or an
 * error that ends the space.
 */
int dsm_timer(struct dsm *d, u64 gfn, u64 now_ns);

/**
 * dsm_hold() - change how long a granted page stays
 * @since_ns:	start of the caller's instruction, as given to dsm_access()
 * @until_ns:	new end.  The vCPU has entered the guest: now + minimum run time
 *		(100-200 us).  The same instruction missed another page: now +
 *		hold_max for each page it has already got.  The access is over
 *		(a copy made under the page lock): @now_ns.
 *
 * A page granted after a wait is held from then for hold_max; a remote request
 * for it waits for the end of the hold.  Only the oldest instruction the page
 * was granted for may shorten the hold: a younger one of this host, done with
 * the page, is ignored.  So is any call for a page that is not here or was never
 * held.  No hold reaches beyond hold_limit after the grant.
 *
 * Page lock held; does not sleep.
 */
void dsm_hold(struct dsm *d, u64 gfn, u64 since_ns, u64 until_ns, u64 now_ns);

/* How long @gfn may be held at most before the vCPU has entered the guest, ns. */
u64 dsm_hold_max_ns(const struct dsm *d, u64 gfn);

/**
 * dsm_min_run_ns() - how long @gfn should stay once the instruction that waited can run
 *
 * As long as pages of this home have taken to travel to here of late (PROTOCOL.rst,
 * "Hold"); within DSM_MIN_RUN_LEAST_NS..DSM_MIN_RUN_MOST_NS.  A platform may use a time
 * of its own instead.  Any context, no lock needed.
 */
u64 dsm_min_run_ns(const struct dsm *d, u64 gfn);

#define DSM_MIN_RUN_LEAST_NS	20000ULL
#define DSM_MIN_RUN_MOST_NS	20000000ULL
/* Until a page has come. */
#define DSM_MIN_RUN_FIRST_NS	200000ULL

/*
 * Average travel time of pages homed at @host to this one, or, not known yet, of all;
 * ns; 0: none has come at all.
 */
u64 dsm_travel_ns(const struct dsm *d, u32 host);

/* Mark the space failed.  Any context, no lock needed, idempotent. */
void dsm_fail(struct dsm *d);
bool dsm_failed(const struct dsm *d);

/**
 * dsm_teardown() - give back every frame and record
 *
 * The platform guarantees that no other call runs or follows, and that no
 * mapping is left; the page lock is not needed.  Calls put_frame(), free_rec() and
 * relax() only.  May take long on large spaces; sleeps only if these do.
 */
void dsm_teardown(struct dsm *d);

/* --------------------------------------------------------- introspection */

/**
 * struct dsm_page_info - snapshot of one page at this host
 * @state:	enum dsm_state
 * @frame:	the frame, NULL when Invalid
 * @version:	low 8 bits of the data version of the copy
 * @pending:	DSM_MSG_REQ_S/REQ_X when a request of ours is running, else 0
 * @deferred:	FWD/INV type waiting for a hold or a pin, else 0
 * @revoking:	the deferred message is being performed; no new mappings
 * @written:	Exclusive, and write access has been granted since the page came
 * @is_home:	the rest is valid
 * @txn:	type of the running transaction, 0 idle
 * @txn_host:	its requester
 * @nr_waiting:	requests queued behind it
 * @owner:	DSM_NO_HOST when never touched
 * @sharers:	hosts with Shared copies
 * @home_version: data version in the directory
 * @migratory:	a read takes the page as a whole
 */
struct dsm_page_info {
	u8 state;
	void *frame;
	u8 version;
	u8 pending;
	u8 deferred;
	bool revoking;
	bool written;
	bool is_home;
	u8 txn;
	u8 txn_host;
	u8 nr_waiting;
	u8 owner;
	u64 sharers;
	u16 home_version;
	bool migratory;
};

/* Page lock held.  Returns 0 or -ENOENT. */
int dsm_page_state(struct dsm *d, u64 gfn, struct dsm_page_info *info);

/**
 * dsm_check_page() - is one page's state at this host consistent in itself?
 *
 * Page lock held.  Returns NULL, or a sentence about the first violation.
 */
const char *dsm_check_page(struct dsm *d, u64 gfn);

/**
 * struct dsm_view - all hosts' states of one page, as sets of hosts
 *
 * For simulators: zeroed at first, then dsm_view_update() after each call into an
 * instance.  @version is that of all copies.
 */
struct dsm_view {
	u64 excl, owned, shared;
	u64 pending;		/* has a request running */
	u8 version;
};

/* @d may have changed its state of the page.  Returns NULL or a sentence. */
const char *dsm_view_update(struct dsm_view *v, struct dsm *d, u64 gfn);
/* Are the states consistent?  Holds whenever all hosts' changes have been noted. */
const char *dsm_view_check(const struct dsm_view *v, struct dsm *home, u64 gfn);

/**
 * dsm_check_global() - are all hosts' states of one page consistent?
 * @hosts:	the instances, by host id; all of one space
 * @nr:		how many
 *
 * Holds at any moment between calls, messages in flight or not.  For simulators
 * and tests, which see all hosts.  Returns NULL or a sentence.
 */
const char *dsm_check_global(struct dsm *const *hosts, unsigned int nr, u64 gfn);

#endif /* DSM_H */
