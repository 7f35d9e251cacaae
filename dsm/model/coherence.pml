/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The coherence protocol of dsm/ for the model checker Spin: what page.c and
 * dir.c do with a page at every host, function by function, over links that may
 * delay any message but keep the order of two hosts' messages for one page.
 * README.rst says what is abstracted, which configuration checks what, and what
 * each BUG_ switch breaks.
 *
 * Switches
 *	N	hosts, 2..4			P	pages, 1 or 2
 *	HOME0, HOME1	homes of the pages
 *	RANK	vCPUs with instructions of several pages, holds and precedence;
 *		without it any access may come at any time, any hold may end at
 *		any time, and the home serves waiters in any order
 *	PIN	protect() may find a pin
 *	SIGNAL	with RANK: a vCPU may go away while it waits; that of host 0 does not
 *	KINDS	with RANK: 1..3 kinds of instructions
 *	XTRA	with RANK: this host has a second vCPU, number N
 *	WHO	with RANK: the vCPU of which "served" speaks
 *	NO_OFFER the home offers no page on a read
 *	OPS	with RANK: instructions of each vCPU; 0: no end
 *	LOSS	a host may be lost, the space fails, a new epoch begins
 *	LAX	what a host would refuse is not reported (to see what it would do)
 */
#ifndef N
#define N 3
#endif
#ifndef P
#define P 1
#endif
#ifndef HOME0
#define HOME0 0
#endif
#ifndef HOME1
#define HOME1 1
#endif
#ifndef OPS
#define OPS 0
#endif
#ifndef CAP
#define CAP 5			/* messages of a page on a link; checked */
#endif
#ifndef VERSIONS
#define VERSIONS 4		/* versions are counted modulo this, 2 or 4 */
#endif
#define HELD 1
#define RUNS_OUT 2		/* by time: the instruction has gone away */

/* enum dsm_state */
#define INVALID 0
#define SHARED 1
#define OWNED 2
#define EXCLUSIVE 3

/* enum dsm_msg_type */
#define REQ_S 1
#define REQ_X 2
#define FWD_S 3
#define FWD_X 4
#define INV 5
#define DATA 6
#define INV_ACK 7
#define DONE 8
#define HURRY 9
/* not messages: the tail calls of revoke(), start(), complete() and finish() */
#define REVOKE 10
#define START 11
#define COMPLETE 12
#define FINISH 13

/* DSM_F_* */
#define HAVE 1
#define SAME 2
#define ZERO 4
#define EXCL 8
#define CLEAN 32

/* struct dsm_page and struct dsm_rec of one page at one host. */
typedef copy {
	unsigned state : 2;
	unsigned version : 2;
	unsigned written : 1;
	unsigned hold : 2;		/* RANK: HELD for this host's instruction, or RUNS_OUT */
	unsigned hold_x : 1;		/* XTRA: for that of the second vCPU */
#ifdef AHEAD
	unsigned ahead : 1;		/* came for nobody who waits (dsm_ahead()), not used yet */
#endif
	unsigned old : 1;		/* ghost: a later value has been written elsewhere */
	unsigned unwritten : 1;		/* ghost: came whole on a read, no write has been granted */
	/* own request */
	unsigned req : 2;
	unsigned req_x : 1;		/* XTRA: the second vCPU is the oldest that waits for it */
	unsigned answered : 1;
	unsigned flags : 6;
	unsigned alone : 1;		/* by the home (data_from) */
	unsigned acks_needed : 2;
	unsigned acks_from : 4;
	unsigned known : 1;
	unsigned rversion : 2;
	unsigned sleepers : 1;
	unsigned data : 2;		/* ghost: page on its way here: 0 no, 1 right, 2 old */
	unsigned coming : 2;		/* ghost: state that the home's lone answer will bring */
	/* deferred message */
	unsigned dtype : 3;
	unsigned dreq : 2;
	unsigned dacks : 2;
	unsigned dflag : 1;		/* SAME of FWD_X, EXCL of FWD_S */
	unsigned dversion : 2;
	unsigned yield : 1;		/* RANK: yield_ns is set */
	unsigned revoking : 1;
	unsigned decided : 1;		/* ghost: and the page goes whole */
	/* this host's request in the home's queue (dsm_rec.wait[]) */
	unsigned wtype : 2;		/* 0: not waiting */
	unsigned wx : 1;		/* XTRA */
	unsigned whave : 1;
	unsigned wversion : 2
};

/* struct dsm_home */
typedef home {
	unsigned owner : 3;		/* host + 1; 0: never touched */
	unsigned sharers : 4;
	unsigned version : 2;
	unsigned txn : 2;
	unsigned txn_host : 2;
	unsigned txn_x : 1;		/* XTRA */
	unsigned offer : 1;
	unsigned ended : 1;
	unsigned eflags : 6;		/* EXCL and CLEAN of the answer that ended it */
	unsigned said_clean : 1;	/* ghost: who gave the page for this transaction did */
	unsigned written : 1		/* ghost: somebody has stored something */
};

copy c[P * N];
home d[P];
chan link[P * N * N] = [CAP] of { byte, byte, byte, byte };

#define C(host)		c[pg * N + (host)]
#define L(from, to)	link[(pg * N + (from)) * N + (to)]
#define BIT(host)	(1 << (host))
#define COUNT(m)	(((m) & 1) + (((m) >> 1) & 1) + (((m) >> 2) & 1) + (((m) >> 3) & 1))
#define HOME(page)	((page) == 0 -> HOME0 : HOME1)

#ifdef RANK
/* One vCPU a host, XTRA: a second at one: its instruction (0: none), the page + 1 it waits for. */
typedef vcpu {
	unsigned insn : 3;
	unsigned wait : 2;
	unsigned rank : 3;		/* 1: oldest of those that miss a page; 0: misses none */
	unsigned ops : 2
};
#ifdef XTRA
#define NV (N + 1)
#define HOST(cpu)	((cpu) == N -> XTRA : (cpu))
#define CPU(host, x)	((x) -> N : (host))
#else
#define NV N
#define HOST(cpu)	(cpu)
#define CPU(host, x)	(host)
#endif
vcpu v[NV];
#define FIRST(a, b)	(v[a].rank && (!v[b].rank || v[a].rank < v[b].rank) || \
			 !v[a].rank && !v[b].rank && (a) < (b))
#endif
#ifdef LOSS
bool failed[N];
bit epoch;
#define FAILED(host)	failed[host]
#if N == 2
#define ALL_FAILED	(failed[0] && failed[1])
#else
#define ALL_FAILED	(failed[0] && failed[1] && failed[2])
#endif
#if N == 2
#define ANY_FAILED	(failed[0] || failed[1])
#else
#define ANY_FAILED	(failed[0] || failed[1] || failed[2])
#endif
#else
#define FAILED(host)	false
#define ANY_FAILED	false
#endif

/*
 * The step that is being made: chosen by plain statements, then not changed
 * before its end.  Hidden: no part of the state.
 */
#define RECEIVE 0
#define TIMER 1
#define READ 2
#define WRITE 3
#define FAIL 4			/* LOSS: this host is lost, or notices that the space has ended */
#define RESTART 5		/* LOSS: the next life; what is on the links stays there */
#define ROTATE 6		/* BUG_REORDER: the first message on a link becomes the last */
hidden byte ev, pg, src, me;
/*
 * The choices in it.  Bit 0: a hold defers; 1: a pin; 2: an offer; 3: that of the same
 * step's next transaction, too; from 4: which waiter.
 */
#ifdef RANK
byte pick;			/* liveness looks into atomic sequences */
#else
hidden byte pick;
#endif
hidden byte cpu_;		/* RANK: which vCPU, of me */
bit again;			/* not hidden, as d_steps set it: the step goes on with a new pick */
hidden byte offers, settles;		/* dsm_dir_settle() is due */
/* and within it, all set before use */
hidden byte m_type, m_from, m_req, m_arg, m_ver, m_acks, m_flags;
hidden byte n_type, x_to, x_mask, x_inv, x_acks, x_granter, x_reply, x_i, x_k, x_best;
hidden byte x_same, asking, granted, x_found, w_have;
hidden byte w_ver, r_type, x_nx, x_no, x_rd, x_ver, x_ow;
hidden byte m_x, p_x, w_x;	/* XTRA: a message speaks for the second vCPU */
hidden byte x_whole, x_clean, x_st, e_nx, e_rd, e_ow, e_ver;
hidden byte single_writer, one_owner, one_version, page_not_lost, read_last_written,
	directory_right, sleeper_not_forgotten, link_capacity, accepted, nobody_else_has_it,
	clean_is_true, only_written_is_taken, home_is_told, written_is_exclusive,
	decision_stands;

/* ONLY: the number of the one check to make, to see that it finds a bug that others find, too */
#ifndef ONLY
#define ONLY 0
#endif
#define demand(what, nr)	assert(what || ONLY && ONLY != nr)

#ifdef LAX
#define refuse(cond)	skip
#else
#define refuse(cond)	accepted = !(cond); assert(accepted)
#endif

#ifdef XTRA
#define WITH_X(req)	((req) + 4 * p_x)
#else
#define WITH_X(req)	req
#endif

/* dsm_post(), for the vCPU p_x of _req.  Last in a function where _to may be this host. */
inline post(_to, _type, _req, _acks, _flags, _ver)
{
	x_to = _to;
	if
	:: x_to == me ->
		m_req = _req;
		m_from = me;
		m_acks = _acks;
		m_flags = _flags;
		m_ver = _ver;
		m_x = p_x;
		m_type = _type
	:: else ->
		/* dsm_dir_answered() */
		if
#ifdef BUG_SETTLE_EARLY
		:: _type == DATA && me == HOME(pg) ->
#else
		:: _type == DATA && me == HOME(pg) && !(_acks) ->
#endif
			d[pg].ended = 1;
			d[pg].eflags = (_flags) & (EXCL | CLEAN);
			C(x_to).coming = (((_flags) & EXCL) -> EXCLUSIVE : SHARED)
		:: else
		fi;
		link_capacity = nfull(L(me, x_to));
		assert(link_capacity);
#ifdef LOSS
		L(me, x_to)!_type, WITH_X(_req), _acks + 4 * (_flags), _ver + VERSIONS * epoch
#else
		L(me, x_to)!_type, WITH_X(_req), _acks + 4 * (_flags), _ver
#endif
	fi
}

/* wake() */
inline wake()
{
	if
#ifndef BUG_LOST_WAKE
	:: C(me).sleepers ->
		C(me).sleepers = 0;
#ifdef RANK
		if
		:: v[me].wait == pg + 1 -> v[me].wait = 0
		:: else
		fi;
#ifdef XTRA
		if
		:: me == XTRA && v[N].wait == pg + 1 -> v[N].wait = 0
		:: else
		fi
#endif
#endif
#endif
	:: else
	fi
}

/* waiters at the home: dsm_rec.waiting */
inline get_waiting()
{
	x_mask = 0;
	x_k = 0;
	do
	:: x_k < N ->
		if
		:: C(x_k).wtype -> x_mask = x_mask | BIT(x_k)
		:: else
		fi;
		x_k++
	:: else -> break
	od
}

/* dsm_put_rec() */
inline put_rec()
{
	x_mask = 0;
	if
	:: me == HOME(pg) -> get_waiting()
	:: else
	fi;
	if
	:: !C(me).req && !C(me).dtype && !x_mask ->
		sleeper_not_forgotten = !C(me).sleepers;
		demand(sleeper_not_forgotten, 7);
		C(me).sleepers = 0
	:: else
	fi
}

/* defer(), of the message in m_ */
inline defer()
{
	C(me).dtype = m_type;
	C(me).dreq = m_req;
	C(me).dacks = m_acks;
	C(me).dflag = (m_flags & (SAME | EXCL)) != 0;
	C(me).dversion = m_ver
}

/* hands_over() */
#ifdef BUG_CLEAN_TAKEN
#define HANDS_OVER(type, offer)	((type) == FWD_S && (offer))
#else
#define HANDS_OVER(type, offer)	((type) == FWD_S && (offer) && C(me).written)
#endif

#ifdef AHEAD
#ifdef BUG_AHEAD_CLEAN
#define UNUSED		false
#else
#define UNUSED		C(me).ahead
#endif
#define CAME_AHEAD	(pick & 64)
#else
#define UNUSED		false
#define CAME_AHEAD	false
#endif

/* revoke(): give up rights, now.  The message is in m_. */
inline revoke()
{
	r_type = m_type;
	x_found = false;
	x_whole = r_type != FWD_S || HANDS_OVER(r_type, m_flags & EXCL);
	x_clean = C(me).state == EXCLUSIVE && !C(me).written && !UNUSED;
#ifdef PIN
	if
	:: (pick & 2) && (m_type != FWD_S || C(me).state == EXCLUSIVE) && !C(me).revoking ->
		/* revoke_busy() */
		defer();
		C(me).revoking = 1;
		C(me).decided = x_whole;
		x_found = true
	:: else
	fi;
#endif
	if
	:: x_found -> m_type = 0
	:: else ->
		decision_stands = !C(me).revoking || x_whole == C(me).decided;
		demand(decision_stands, 13);
		C(me).dtype = 0;
		C(me).dreq = 0;
		C(me).dacks = 0;
		C(me).dflag = 0;
		C(me).dversion = 0;
		C(me).yield = 0;
		C(me).revoking = 0;
		C(me).decided = 0;
		clean_is_true = x_clean == C(me).unwritten;
		demand(clean_is_true, 9);
		only_written_is_taken = r_type != FWD_S || !x_whole || !C(me).unwritten;
		demand(only_written_is_taken, 10);
		d[pg].said_clean = x_clean;
		x_reply = DATA;
		x_acks = 0;
		n_type = (x_clean -> CLEAN : 0);
		if
		:: r_type == FWD_S ->
			C(m_req).data = 1 + C(me).old;
			if
			:: x_whole ->
				n_type = n_type | EXCL;
				m_ver = (m_ver + 1) % VERSIONS
#ifndef BUG_DOWNGRADE_EARLY
			:: !x_whole && C(me).state == EXCLUSIVE -> C(me).state = OWNED
#endif
			:: else
			fi
		:: r_type == FWD_X ->
			n_type = n_type | EXCL | (m_flags & SAME);
			x_acks = m_acks;
			if
			:: m_flags & SAME
			:: else -> C(m_req).data = 1 + C(me).old
			fi
		:: else -> x_reply = INV_ACK; n_type = 0
		fi;
#ifndef BUG_KEEP_WRITTEN
		C(me).written = 0;
#endif
		C(me).unwritten = 0;
		if
#ifdef BUG_ACK_EARLY
		:: x_whole && r_type != INV ->
#elif defined(BUG_KEEP_COPY)
		:: x_whole && r_type == FWD_S -> C(me).state = SHARED
		:: x_whole && r_type != FWD_S ->
#else
		:: x_whole ->
#endif
			C(me).state = INVALID;
#ifdef AHEAD
			C(me).ahead = 0;
#endif
			C(me).version = 0;
			C(me).old = 0;
			C(me).hold = 0;
			C(me).hold_x = 0
		:: else
		fi;
		if
		:: !C(me).req -> wake()
		:: else
		fi;
		put_rec();
		m_type = 0;
		p_x = 0;
		post(m_req, x_reply, m_req, x_acks, n_type, m_ver)
	fi
}

/* dsm_page_revoke(): FWD_S, FWD_X or INV has come. */
inline page_revoke()
{
	refuse(C(me).dtype || C(me).answered || C(me).acks_from);
	if
	:: m_type == FWD_S ->
		refuse(C(me).state == INVALID || C(me).state == SHARED && m_from != me ||
		       C(me).state != EXCLUSIVE && (m_flags & EXCL) ||
		       C(me).version != m_ver)
	:: m_type == FWD_X ->
		refuse(C(me).state == INVALID ||
		       C(me).state == SHARED && !(m_from == me && (m_flags & SAME)) ||
		       C(me).state == EXCLUSIVE && ((m_flags & SAME) || m_acks) ||
		       (C(me).version + 1) % VERSIONS != m_ver)
	:: else ->
		refuse(C(me).state != SHARED ||
		       (C(me).version + 1) % VERSIONS != m_ver)
	fi;
	if
	:: m_type == FWD_S && C(me).state != EXCLUSIVE -> revoke()
	:: else ->
		if
		/* HOLD_VOID: its own request waits for the home */
#ifdef BUG_HOLD_OWN_REQUEST
#define OWN_REQUEST false
#else
#define OWN_REQUEST C(me).req
#endif
#ifdef RANK
		:: OWN_REQUEST || !C(me).hold -> revoke()
#else
		:: OWN_REQUEST || !(pick & 1) -> revoke()
#endif
		:: else ->
			defer();
#ifdef RANK
#ifndef BUG_NO_PRECEDENCE
			C(me).yield = C(me).hold == HELD &&
				      FIRST(CPU(m_req, m_x), CPU(me, C(me).hold_x));
#endif
#endif
			m_type = 0
		fi
	fi
}

/* dsm_page_hurry() */
inline page_hurry()
{
#if defined(RANK) && !defined(BUG_NO_PRECEDENCE)
	if
	:: C(me).dtype && !C(me).revoking && FIRST(CPU(m_req, m_x), CPU(me, C(me).hold_x)) ->
		C(me).yield = 1
	:: else
	fi;
#endif
	m_type = 0
}

#ifdef XTRA
#define WAITED_FOR	(v[me].wait == pg + 1 || me == XTRA && v[N].wait == pg + 1)
#else
#define WAITED_FOR	(v[me].wait == pg + 1)
#endif

/* complete(), when all that is needed has come */
inline complete()
{
	m_type = 0;
	if
#ifdef BUG_NO_WAIT_ACKS
	:: C(me).answered ->
#else
	:: C(me).answered && COUNT(C(me).acks_from) >= C(me).acks_needed ->
#endif
		refuse(COUNT(C(me).acks_from) > C(me).acks_needed);
		if
		:: C(me).data ->
			C(me).old = (C(me).data == 2);
			C(me).data = 0
		:: else
		fi;
		C(me).version = C(me).rversion;
		C(me).state = ((C(me).flags & EXCL) -> EXCLUSIVE : SHARED);
		C(me).written = (C(me).req == REQ_X || (C(me).flags & ZERO)) && !CAME_AHEAD;
		C(me).unwritten = C(me).req == REQ_S && (C(me).flags & (EXCL | ZERO)) == EXCL &&
				  !CAME_AHEAD;
#ifdef AHEAD
		C(me).ahead = CAME_AHEAD != 0;
#endif
#if defined(RANK) && !defined(BUG_NO_HOLD)
		C(me).hold = (asking || WAITED_FOR -> HELD : RUNS_OUT);
		C(me).hold_x = C(me).req_x;
#endif
		x_ver = C(me).rversion;
		n_type = C(me).flags & (EXCL | CLEAN);
#ifdef BUG_CLEAN_DROPPED
		n_type = n_type & EXCL;
#endif
		/* The home that has answered alone knows. */
		x_found = (me == HOME(pg) || !C(me).alone || C(me).acks_needed);
#ifdef BUG_DONE_ANYWAY
		x_found = true;
#endif
#ifdef BUG_NO_DONE
		x_found = false;
#endif
#ifdef BUG_WAKE_READERS
		if
		:: C(me).req == REQ_S && v[me].wait == pg + 1 && v[me].insn == 1 -> C(me).sleepers = 0
		:: else
		fi;
#endif
		C(me).req = 0;
		C(me).req_x = 0;
		C(me).alone = 0;
		C(me).answered = 0;
		C(me).flags = 0;
		C(me).acks_needed = 0;
		C(me).acks_from = 0;
		C(me).known = 0;
		C(me).rversion = 0;
		wake();
		/* get_waiting() in it changes no x_found */
		put_rec();
		p_x = 0;
		if
		:: x_found -> post(HOME(pg), DONE, me, 0, n_type, x_ver)
		:: else
		fi
	:: else
#ifdef BUG_EARLY_DONE
		if
		:: C(me).answered ->
			x_ver = C(me).rversion;
			p_x = 0;
			post(HOME(pg), DONE, me, 0, EXCL, x_ver)
		:: else
		fi
#endif
	fi
}

/* dsm_page_data() */
inline page_data()
{
	refuse(!C(me).req || C(me).answered || C(me).dtype);
	refuse(C(me).known && C(me).rversion != m_ver);
	refuse(C(me).req == REQ_X && !(m_flags & EXCL));
	refuse(C(me).req == REQ_S && m_acks);
	if
	:: m_flags & SAME ->
		refuse(C(me).state == INVALID || (C(me).version + 1) % VERSIONS != m_ver);
		/* LAX: it would use whatever its frame holds */
		if
		:: C(me).state == INVALID -> C(me).data = 2
		:: else
		fi
	:: else ->
		refuse(C(me).state != INVALID)
	fi;
	if
	:: m_flags & ZERO ->
		refuse(m_from != HOME(pg) || m_ver != 1);
		C(me).data = 1 + d[pg].written
	:: !(m_flags & (ZERO | SAME)) ->
		refuse(!C(me).data)
	:: else
	fi;
	C(me).coming = 0;
	C(me).answered = 1;
	C(me).alone = (m_from == HOME(pg));
	C(me).flags = m_flags;
	C(me).acks_needed = m_acks;
	C(me).rversion = m_ver;
	C(me).known = 1;
	m_type = COMPLETE
}

/* dsm_page_ack() */
inline page_ack()
{
	refuse(C(me).req != REQ_X || C(me).dtype || (C(me).acks_from & BIT(m_from)));
	refuse(C(me).known && C(me).rversion != m_ver);
	C(me).rversion = m_ver;
	C(me).known = 1;
	C(me).acks_from = C(me).acks_from | BIT(m_from);
	m_type = COMPLETE
}

/* start(), start_read(), start_write(): r_type, m_from, w_have, w_ver, w_x are the request */
inline start()
{
	d[pg].txn = r_type;
	d[pg].txn_host = m_from;
	d[pg].txn_x = w_x;
	p_x = w_x;
	m_type = 0;
	if
	:: !d[pg].owner ->
		p_x = 0;
		post(m_from, DATA, m_from, 0, EXCL | ZERO, 1)
	:: d[pg].owner && r_type == REQ_S ->
		refuse((d[pg].sharers & BIT(m_from)) || d[pg].owner == m_from + 1);
		x_granter = ((d[pg].sharers & BIT(me)) -> me : d[pg].owner - 1);
		x_ver = d[pg].version;
		n_type = 0;
		/* The policy: any. */
		if
#ifdef BUG_OFFER_SHARED
		:: offers & 1 ->
#else
		:: (offers & 1) && !d[pg].sharers ->
#endif
			d[pg].offer = 1;
			n_type = EXCL;
			offers = offers >> 1
		:: else
		fi;
		post(x_granter, FWD_S, m_from, 0, n_type, x_ver)
	:: else ->
		x_mask = d[pg].sharers | BIT(d[pg].owner - 1);
		x_inv = x_mask & ~BIT(m_from);
		x_same = (x_mask & BIT(m_from)) != 0;
		refuse(x_same && (!w_have || w_ver != d[pg].version));
		refuse(!x_inv);
#ifdef BUG_STALE_SAME
		x_same = x_same || w_have;
#endif
		x_granter = (d[pg].owner - 1 != m_from -> d[pg].owner - 1 : me);
		x_inv = x_inv & ~BIT(x_granter);
		x_acks = COUNT(x_inv);
		x_ver = (d[pg].version + 1) % VERSIONS;
#ifdef BUG_LOST_INV
		x_k = 0;
		do
		:: x_k < N && !(x_inv & ~BIT(me) & BIT(x_k)) -> x_k++
		:: x_k < N && (x_inv & ~BIT(me) & BIT(x_k)) -> x_inv = x_inv & ~BIT(x_k); x_acks--; break
		:: else -> break
		od;
#endif
		x_k = 0;
		do
		:: x_k < N ->
			if
			:: (x_inv & BIT(x_k)) && x_k != me -> post(x_k, INV, m_from, 0, 0, x_ver)
			:: else
			fi;
			x_k++
		:: else -> break
		od;
		if
		:: x_granter == me && !(x_mask & ~BIT(m_from) & BIT(me)) ->
			p_x = 0;
			post(m_from, DATA, m_from, x_acks, EXCL | SAME, x_ver)
		:: else ->
			x_i = m_from;
			post(x_granter, FWD_X, x_i, x_acks, (x_same -> SAME : 0), x_ver);
			if
			:: x_inv & BIT(me) -> post(me, INV, x_i, 0, 0, x_ver)
			:: else
			fi
		fi
	fi
}

/* first_waiter(): best, of those in mask, which is not 0 */
inline first_waiter()
{
	x_best = N;
	x_k = 0;
#ifdef RANK
	do
	:: x_k < N ->
		if
		:: x_mask & BIT(x_k) ->
			if
			:: x_best == N -> x_best = x_k
#ifndef BUG_SERVE_BY_ID
			:: x_best < N && FIRST(CPU(x_k, C(x_k).wx), CPU(x_best, C(x_best).wx)) ->
				x_best = x_k
#endif
			:: else
			fi
		:: else
		fi;
		x_k++
	:: else -> break
	od
#else
	do
	:: x_k < N ->
		x_best = (x_k + (pick >> 4)) % N;
		if
		:: x_mask & BIT(x_best) -> break
		:: else
		fi;
		x_k++
	:: else -> break
	od
#endif
}

/* tell_holders() that w_x of m_from waits */
inline tell_holders()
{
	x_mask = 0;
	if
	:: d[pg].txn == REQ_X -> x_mask = d[pg].sharers
	:: else
	fi;
	if
	:: d[pg].txn == REQ_X || !(d[pg].sharers & BIT(me)) -> x_mask = x_mask | BIT(d[pg].owner - 1)
	:: else
	fi;
	x_mask = x_mask & ~(BIT(d[pg].txn_host) | BIT(m_from));
	x_i = m_from;
	x_ver = d[pg].version;
	p_x = w_x;
	x_k = 0;
	do
	:: x_k < N ->
		if
		:: (x_mask & BIT(x_k)) && x_k != me -> post(x_k, HURRY, x_i, 0, 0, x_ver)
		:: else
		fi;
		x_k++
	:: else -> break
	od;
	/* to itself: changes nothing but its own deferred message, so the order is free */
	if
	:: x_mask & BIT(me) -> post(me, HURRY, x_i, 0, 0, x_ver)
	:: else
	fi
}

/* Is the request of m_from that is queued, for w_x, before all others? */
inline first_of_all()
{
	get_waiting();
	first_waiter();
	x_found = d[pg].owner && FIRST(CPU(m_from, w_x), CPU(d[pg].txn_host, d[pg].txn_x)) &&
		  x_best == m_from
}

/* dsm_dir_request() */
inline dir_request()
{
	r_type = m_type;
	w_have = (m_flags & HAVE) != 0;
	w_ver = m_ver;
	w_x = m_x;
	if
#ifdef BUG_NO_BLOCK
	:: !d[pg].txn || d[pg].txn_host != m_from -> m_type = START; settles = true
#else
	:: !d[pg].txn -> m_type = START; settles = true
#endif
	:: else ->
		refuse(d[pg].txn_host == m_from || C(m_from).wtype);
		m_type = 0;
#ifdef BUG_LOST_WAITER
		get_waiting();
		if
		:: x_mask
		:: else ->
#endif
		C(m_from).wtype = r_type;
		C(m_from).wx = w_x;
		C(m_from).whave = w_have;
		C(m_from).wversion = w_ver;
#if defined(RANK) && !defined(BUG_NO_HURRY)
		first_of_all();
		if
		:: x_found -> tell_holders()
		:: else
		fi
#endif
#ifdef BUG_LOST_WAITER
		fi
#endif
	fi
}

/* dsm_dir_hurry() */
inline dir_hurry()
{
	m_type = 0;
#ifdef XTRA
	w_x = m_x;
	x_found = false;
	if
	:: d[pg].txn && d[pg].txn_host == m_from ->
		d[pg].txn_x = w_x;
#ifndef BUG_HURRY_NOTED
		x_found = d[pg].owner != 0
#endif
	:: !(d[pg].txn && d[pg].txn_host == m_from) && C(m_from).wtype ->
		C(m_from).wx = w_x;
		first_of_all()
	:: else
	fi;
	if
	:: x_found -> tell_holders()
	:: else
	fi
#endif
}

/* finish() with m_flags, and start_next() */
inline finish()
{
	home_is_told = ((m_flags & CLEAN) != 0) == d[pg].said_clean;
	demand(home_is_told, 11);
	if
#ifdef BUG_OFFER_FORGOTTEN
	:: (m_flags & EXCL) && !d[pg].offer ->
#else
	:: m_flags & EXCL ->
#endif
#ifdef BUG_STALE_OWNER
		if
		:: !d[pg].owner -> d[pg].owner = d[pg].txn_host + 1
		:: else
		fi;
#elif !defined(BUG_ZERO_TWICE)
		d[pg].owner = d[pg].txn_host + 1;
#else
		d[pg].owner = (d[pg].owner || d[pg].version -> d[pg].txn_host + 1 : 0);
#endif
		d[pg].sharers = 0;
		d[pg].version = (d[pg].version + 1) % VERSIONS
	:: else ->
		d[pg].sharers = d[pg].sharers | BIT(d[pg].txn_host)
	fi;
	d[pg].txn = 0;
	d[pg].txn_host = 0;
	d[pg].txn_x = 0;
	d[pg].offer = 0;
	d[pg].ended = 0;
	d[pg].eflags = 0;
	d[pg].said_clean = 0;
	m_type = 0;
	get_waiting();
	if
	:: x_mask ->
		first_waiter();
		r_type = C(x_best).wtype;
		w_x = C(x_best).wx;
		w_have = C(x_best).whave;
		w_ver = C(x_best).wversion;
		C(x_best).wtype = 0;
		C(x_best).wx = 0;
		C(x_best).whave = 0;
		C(x_best).wversion = 0;
		put_rec();
		m_from = x_best;
		m_type = START
	:: else
	fi
}

/* dsm_dir_done() */
inline dir_done()
{
	x_found = (m_flags & EXCL) != 0;
	refuse(!d[pg].txn || d[pg].txn_host != m_from ||
	       m_ver != (d[pg].version + (x_found -> 1 : 0)) % VERSIONS);
	refuse(x_found != (d[pg].txn == REQ_X || !d[pg].owner) && !(x_found && d[pg].offer));
	refuse(C(me).dtype);
	settles = true;
	m_type = FINISH
}

/* request(): m_type becomes the request */
inline request(_write)
{
	x_i = ((_write) -> REQ_X : REQ_S);
	x_found = (_write) && C(me).state != INVALID;
	C(me).req = x_i;
	C(me).answered = 0;
	C(me).known = 0;
	C(me).acks_from = 0;
	p_x = 0;
#ifdef XTRA
	p_x = cpu_ == N;
#endif
	C(me).req_x = p_x;
	m_from = me;
	x_ver = (x_found -> C(me).version : 0);
	post(HOME(pg), x_i, me, 0, (x_found -> HAVE : 0), x_ver)
}

inline load_deferred()
{
	m_from = HOME(pg);
	m_req = C(me).dreq;
	m_acks = C(me).dacks;
	m_flags = (C(me).dflag -> (C(me).dtype == FWD_S -> EXCL : SAME) : 0);
	m_ver = C(me).dversion;
	m_type = REVOKE
}

/* satisfied() */
#ifdef BUG_REVOKE_MAPS
#define REVOKING	false
#else
#define REVOKING	C(me).revoking
#endif
#define REVOKING_ALL	(REVOKING && (C(me).dtype != FWD_S || HANDS_OVER(C(me).dtype, C(me).dflag)))
#define SATISFIED(w)	(!REVOKING_ALL && ((w) -> C(me).state == EXCLUSIVE && !REVOKING : \
					   C(me).state != INVALID))

/* A load or store by a CPU of h, the right to which it has. */
inline touch(_write)
{
	if
	:: _write ->
		nobody_else_has_it = true;
		x_k = 0;
		do
		:: x_k < N ->
			if
			:: x_k != me ->
				if
				:: C(x_k).state != INVALID ->
					C(x_k).old = 1;
					nobody_else_has_it = false
				:: else
				fi;
				if
				:: C(x_k).data -> C(x_k).data = 2
				:: else
				fi
			:: else
			fi;
			x_k++
		:: else -> break
		od;
		d[pg].written = 1;
		C(me).unwritten = 0;
		demand(nobody_else_has_it, 8)
	:: else
	fi
}

/* dsm_check_global() and what the ghosts know, for page p, after every step. */
inline check()
{
	x_nx = 0;
	x_no = 0;
	x_rd = 0;
	x_ow = N;
	x_ver = VERSIONS;
	x_found = false;
	one_version = true;
	read_last_written = true;
	written_is_exclusive = true;
	e_nx = 0;
	e_rd = 0;
	e_ow = N;
	e_ver = VERSIONS;
	x_k = 0;
	do
	:: x_k < N ->
		/* with what is on its way from the home, which does not wait for it */
		x_st = (C(x_k).coming -> C(x_k).coming : C(x_k).state);
		if
		:: x_st == EXCLUSIVE -> e_nx++; e_ow = x_k
		:: x_st == OWNED -> e_ow = x_k
		:: x_st == SHARED -> e_rd = e_rd | BIT(x_k)
		:: else
		fi;
		if
		:: x_st && !C(x_k).coming -> e_ver = C(x_k).version
		:: else
		fi;
		written_is_exclusive = written_is_exclusive &&
				       (!C(x_k).written || C(x_k).state == EXCLUSIVE);
		if
		:: C(x_k).state == EXCLUSIVE -> x_nx++; x_ow = x_k
		:: C(x_k).state == OWNED -> x_no++; x_ow = x_k
		:: C(x_k).state == SHARED -> x_rd = x_rd | BIT(x_k)
		:: else
		fi;
		if
		:: C(x_k).state != INVALID ->
			one_version = one_version && (x_ver == VERSIONS || x_ver == C(x_k).version);
			x_ver = C(x_k).version;
			x_found = x_found || !C(x_k).old
		:: else
		fi;
		x_found = x_found || C(x_k).data == 1;
		/* what can be read is what was written last */
		read_last_written = read_last_written && (C(x_k).state == INVALID || !C(x_k).old);
		x_k++
	:: else -> break
	od;
	single_writer = x_nx <= 1 && !(x_nx && (x_no || x_rd));
	demand(single_writer, 1);
	one_owner = x_no <= 1;
	demand(one_owner, 2);
	demand(one_version, 3);
	demand(read_last_written, 4);
	page_not_lost = !d[pg].written || x_found || ANY_FAILED;
	demand(page_not_lost, 5);
	demand(written_is_exclusive, 12);
	if
	:: d[pg].txn == 0 && !ANY_FAILED ->
		directory_right = (d[pg].owner ->
			e_ow == d[pg].owner - 1 && e_rd == d[pg].sharers &&
			!e_rd == (e_nx == 1) && (e_ver == VERSIONS || e_ver == d[pg].version)
			: e_ow == N && !e_rd);
		demand(directory_right, 6)
	:: else
	fi
}

#ifdef LOSS
inline reset(_x)
{
	c[_x].state = 0;
	c[_x].version = 0;
	c[_x].written = 0;
#ifdef AHEAD
	c[_x].ahead = 0;
#endif
	c[_x].unwritten = 0;
	c[_x].hold = 0;
	c[_x].hold_x = 0;
	c[_x].old = 0;
	c[_x].req = 0;
	c[_x].req_x = 0;
	c[_x].answered = 0;
	c[_x].alone = 0;
	c[_x].coming = 0;
	c[_x].flags = 0;
	c[_x].acks_needed = 0;
	c[_x].acks_from = 0;
	c[_x].known = 0;
	c[_x].rversion = 0;
	c[_x].sleepers = 0;
	c[_x].data = 0;
	c[_x].dtype = 0;
	c[_x].dreq = 0;
	c[_x].dacks = 0;
	c[_x].dflag = 0;
	c[_x].decided = 0;
	c[_x].dversion = 0;
	c[_x].yield = 0;
	c[_x].revoking = 0;
	c[_x].wtype = 0;
	c[_x].wx = 0;
	c[_x].whave = 0;
	c[_x].wversion = 0
}
#endif

/* One step of page p at host h: dispatch(), dsm_access(), dsm_dir_settle(). */
inline step()
{
	m_type = 0;
	asking = false;
	granted = false;
	settles = false;
	offers = (pick >> 2) & 3;
	if
	:: again ->
		/* dsm_dir_settle() */
		again = false;
		settles = true;
		asking = (ev == READ || ev == WRITE);
		m_flags = d[pg].eflags;
		m_type = FINISH
	:: !again && ev == RECEIVE ->
		m_from = src;
		m_x = 0;
		L(src, me)?m_type, m_req, m_arg, m_ver;
		m_acks = m_arg & 3;
		m_flags = m_arg >> 2;
#ifdef XTRA
		m_x = m_req >> 2;
		m_req = m_req & 3;
#endif
#ifdef LOSS
		if
		:: failed[me] -> m_type = 0
		:: !failed[me] && m_ver / VERSIONS != epoch ->
#ifndef BUG_EPOCH
			/* -ESTALE: the space ends here */
			m_type = 0;
			failed[me] = true
#endif
		:: else
		fi;
		m_ver = m_ver % VERSIONS;
#endif
		printf("h%d page %d: from h%d %d for h%d acks %d flags %d version %d\n",
		       me, pg, m_from, m_type, m_req, m_acks, m_flags, m_ver)
#ifdef BUG_REORDER
	:: !again && ev == ROTATE ->
		L(src, me)?m_type, m_req, m_arg, m_ver;
		L(src, me)!m_type, m_req, m_arg, m_ver;
		m_type = 0
#endif
#ifdef LOSS
	:: !again && ev == FAIL ->
		printf("h%d fails\n", me);
		/* dsm_fail(); the platform wakes everybody, they get -EIO */
		failed[me] = true;
		x_k = 0;
		do
		:: x_k < P -> c[x_k * N + me].sleepers = 0; x_k++
		:: else -> break
		od
	:: !again && ev == RESTART ->
		printf("epoch 1\n");
		epoch = 1;
		x_k = 0;
		do
		:: x_k < N -> failed[x_k] = false; x_k++
		:: else -> break
		od;
		x_k = 0;
		do
		:: x_k < P * N -> reset(x_k); x_k++
		:: else -> break
		od;
		x_k = 0;
		do
		:: x_k < P ->
			d[x_k].owner = 0;
			d[x_k].sharers = 0;
			d[x_k].version = 0;
			d[x_k].txn = 0;
			d[x_k].txn_host = 0;
			d[x_k].txn_x = 0;
			d[x_k].offer = 0;
			d[x_k].said_clean = 0;
			d[x_k].written = 0;
			x_k++
		:: else -> break
		od
#endif
	:: !again && ev == TIMER && FAILED(me) -> skip
	:: !again && ev == TIMER && !FAILED(me) ->
		printf("h%d page %d: timer\n", me, pg);
		load_deferred()
	:: !again && (ev == READ || ev == WRITE) ->
		printf("h%d page %d: %d\n", me, pg, ev);
		asking = true
	fi;
	do
	:: m_type == REQ_S || m_type == REQ_X ->
		refuse(me != HOME(pg) || m_req != m_from);
		dir_request()
	:: m_type == DONE ->
		refuse(me != HOME(pg) || m_req != m_from);
		dir_done()
	:: m_type == FWD_S || m_type == FWD_X || m_type == INV ->
		refuse(m_from != HOME(pg) || m_req == me);
		page_revoke()
	:: m_type == HURRY && me == HOME(pg) && m_req == m_from -> dir_hurry()
	:: m_type == HURRY && !(me == HOME(pg) && m_req == m_from) ->
		refuse(m_from != HOME(pg) || m_req == me);
		page_hurry()
	:: m_type == DATA ->
		refuse(m_req != me);
		page_data()
	:: m_type == INV_ACK ->
		refuse(m_req != me);
		page_ack()
	:: m_type == REVOKE ->
		m_type = C(me).dtype;
#ifndef BUG_NO_SETTLE_LATE
		settles = true;
#endif
		revoke()
	:: m_type == FINISH -> finish()
	:: m_type == START -> start()
	:: m_type == COMPLETE -> complete()
	:: m_type == 0 && settles && me == HOME(pg) && d[pg].txn && d[pg].ended ->
#ifdef RANK
		m_flags = d[pg].eflags;
		m_type = FINISH
#else
		again = true;
		break
#endif
	:: m_type == 0 && !(settles && me == HOME(pg) && d[pg].txn && d[pg].ended) ->
		if
		:: !asking -> break
		:: asking && SATISFIED(ev == WRITE) ->
			granted = true;
			/* note_access() */
#ifdef AHEAD
			C(me).unwritten = C(me).unwritten || C(me).ahead && C(me).state == EXCLUSIVE;
			C(me).ahead = 0;
#endif
			if
			:: ev == WRITE ->
#ifndef BUG_WRITTEN_LOST
				C(me).written = 1;
#endif
				C(me).unwritten = 0
			:: else
			fi;
			break
		:: asking && !SATISFIED(ev == WRITE) && FAILED(me) -> break
		:: asking && !SATISFIED(ev == WRITE) && !FAILED(me) &&
		   (C(me).req || C(me).revoking) ->
			C(me).sleepers = 1;
#if defined(XTRA) && !defined(BUG_NO_OWN_HURRY)
			/* join() */
			if
			:: C(me).req && FIRST(cpu_, CPU(me, C(me).req_x)) ->
				p_x = cpu_ == N;
				C(me).req_x = p_x;
				post(HOME(pg), HURRY, me, 0, 0, 0)
			:: else
			fi;
			if
			:: !m_type -> break
			:: else
			fi
#else
			break
#endif
		:: else ->
			if
			:: C(me).dtype -> load_deferred()
			:: else -> request(ev == WRITE)
			fi
		fi
	od
}

#ifndef RANK

/* Everything that can happen, in one process: no fairness is needed here. */
#ifdef BUG_REORDER
#define OVERTAKE(a, b) \
	:: len(L(a, b)) > 1 -> src = a; me = b; ev = ROTATE
#else
#define OVERTAKE(a, b)
#endif
#define FROM(a, b) \
	:: nempty(L(a, b)) -> src = a; me = b; ev = RECEIVE OVERTAKE(a, b)
#ifdef AHEAD
#define AHEAD_AT(a)	C(a).ahead
#else
#define AHEAD_AT(a)	false
#endif
#define AT(a) \
	:: C(a).dtype -> me = a; ev = TIMER \
	:: !C(a).req && (C(a).state == INVALID || AHEAD_AT(a)) -> me = a; ev = READ \
	:: !C(a).req -> me = a; ev = WRITE

#ifdef LOSS
#define LOSE(a) \
	:: !failed[a] -> me = a; ev = FAIL
#endif

active proctype world()
{
end:
	do
	:: atomic {
		if
		:: pg = 0
#if P > 1
		:: pg = 1
#endif
		fi;
		if
		FROM(0, 1)
		FROM(1, 0)
#if N > 2
		FROM(0, 2)
		FROM(1, 2)
		FROM(2, 0)
		FROM(2, 1)
#endif
#if N > 3
		FROM(0, 3)
		FROM(1, 3)
		FROM(2, 3)
		FROM(3, 0)
		FROM(3, 1)
		FROM(3, 2)
#endif
		AT(0)
		AT(1)
#if N > 2
		AT(2)
#endif
#if N > 3
		AT(3)
#endif
#ifdef LOSS
		LOSE(0)
		LOSE(1)
#if N > 2
		LOSE(2)
#endif
		:: ALL_FAILED && epoch == 0 -> me = 0; ev = RESTART
#endif
		fi;
		again = false;
		do
		:: true ->
			/* a hold defers */
			if
			:: pick = 0
			:: ev == RECEIVE || me == HOME(pg) -> pick = 1
			fi;
#ifdef PIN
			if
			:: skip
			:: pick = pick | 2
			fi;
#endif
#ifndef NO_OFFER
			if
			:: skip
			:: me == HOME(pg) -> pick = pick | 4
			fi;
#endif
#ifdef AHEAD
			if
			:: skip
			:: ev == RECEIVE -> pick = pick | 64
			fi;
#endif
#if N > 2
			if
			:: skip
			:: me == HOME(pg) -> pick = pick + 16
#if N > 3
			:: me == HOME(pg) -> pick = pick + 32
			:: me == HOME(pg) -> pick = pick + 48
#endif
			fi;
#endif
			d_step {
				step();
				if
				:: !again && granted && ev == WRITE -> touch(true)
				:: else
				fi;
				if
				:: !again -> check()
				:: else
				fi
			}
			if
			:: again
			:: else -> break
			fi
		od
	   }
	od
}
#endif

#ifdef RANK

/*
 * Instructions, by number: pages they need, in this order, and how.  A vCPU
 * faults page by page; it executes when it has all of them at once.
 */
#if P > 1
#ifndef KINDS
#define KINDS 2
#endif
#define PAGE1(n)	((n) == 2)
#define PAGE2(n)	((n) != 2)
#define WRITE1(n)	((n) != 3)
#define TWO(n)		((n) < 4)
#define WRITE2(n)	true
#else
#ifndef KINDS
#define KINDS 2
#endif
/* write; read; read and then write, as a read-modify-write may fault */
#define PAGE1(n)	0
#define PAGE2(n)	0
#define WRITE1(n)	((n) == 1)
#define TWO(n)		((n) == 3)
#define WRITE2(n)	true
#endif

/* What the home may offer in this step. */
#ifdef NO_OFFER
#define POLICY(is_home)	pick = 0
#else
#define POLICY(is_home) \
	if \
	:: pick = 0 \
	:: is_home -> pick = 4 \
	:: is_home -> pick = 12 \
	fi
#endif

inline leave(_cpu)
{
	x_k = 0;
	do
	:: x_k < NV ->
		if
		:: v[_cpu].rank && v[x_k].rank > v[_cpu].rank -> v[x_k].rank--
		:: else
		fi;
		x_k++
	:: else -> break
	od;
	v[_cpu].rank = 0;
	v[_cpu].insn = 0;
	v[_cpu].wait = 0
}

/* dsm_hold() after the last access: not if an older instruction of this host has it. */
inline end_hold()
{
	if
#ifdef XTRA
	:: C(me).hold == HELD && FIRST(CPU(me, C(me).hold_x), cpu_)
#endif
	:: else ->
		C(me).hold = 0;
		C(me).hold_x = 0
	fi
}

/* All pages are mapped: the instruction executes, its holds end. */
inline execute()
{
	pg = PAGE1(v[cpu_].insn);
	touch(WRITE1(v[cpu_].insn));
	end_hold();
	check();
	if
	:: TWO(v[cpu_].insn) ->
		pg = PAGE2(v[cpu_].insn);
		touch(WRITE2(v[cpu_].insn));
		end_hold();
		check()
	:: else
	fi;
	leave(cpu_)
}

/* What came whole on a read is mapped read-only: the first write faults once more. */
#define MAPPED(w)	(SATISFIED(w) && (!(w) || C(me).written))

/* cvmm_space_fault() for the first page that is not mapped, or execute() */
inline attempt()
{
	pg = PAGE1(v[cpu_].insn);
	ev = (WRITE1(v[cpu_].insn) -> WRITE : READ);
	x_i = 0;
	if
	:: !MAPPED(ev == WRITE) -> x_i = 1
	:: MAPPED(ev == WRITE) && TWO(v[cpu_].insn) ->
		pg = PAGE2(v[cpu_].insn);
		ev = (WRITE2(v[cpu_].insn) -> WRITE : READ);
		if
		:: !MAPPED(ev == WRITE) -> x_i = 1
		:: else
		fi
	:: else
	fi;
	if
	:: !x_i -> execute()
	:: else ->
		if
		:: !v[cpu_].rank ->
			/* cvmm_space_holds_begin(): the youngest of all */
			x_k = 0;
			x_i = 1;
			do
			:: x_k < NV ->
				if
				:: v[x_k].rank -> x_i++
				:: else
				fi;
				x_k++
			:: else -> break
			od;
			v[cpu_].rank = x_i
		:: else
		fi;
		step();
		if
		:: granted
		:: else -> v[cpu_].wait = pg + 1
		fi;
		check()
	fi
}

proctype cpu(byte id)
{
end:
	do
	:: atomic {
			OPS == 0 || v[id].ops < OPS;
			if
			:: v[id].insn = 1
#if KINDS > 1
			:: v[id].insn = 2
#endif
#if KINDS > 2
			:: v[id].insn = 3
#endif
			fi;
#if OPS > 0
			v[id].ops++
#endif
		};
		/* while it waits here, it is stuck unless somebody wakes it */
		do
		:: atomic {
			v[id].insn && !v[id].wait;
			POLICY(HOST(id) == HOME0 || P > 1 && HOST(id) == HOME1);
			d_step { me = HOST(id); cpu_ = id; attempt(); pick = 0 }
		   }
#ifdef SIGNAL
		:: d_step {
			v[id].wait && id != 0 ->
			x_k = 0;
			do
			:: x_k < P ->
				if
				:: c[x_k * N + id].hold -> c[x_k * N + id].hold = RUNS_OUT
				:: else
				fi;
				x_k++
			:: else -> break
			od;
			leave(id)
		   }
#endif
		:: v[id].insn == 0 -> break
		od
	od
}

/* A link between two hosts, for one page. */
proctype wire(byte page; byte from; byte at)
{
end:
	do
	:: atomic {
			nempty(link[(page * N + from) * N + at]);
			POLICY(at == HOME(page));
			d_step {
				pg = page;
				src = from;
				me = at;
				ev = RECEIVE;
				step();
				check();
				pick = 0
			}
		}
	od
}

/*
 * The timer of a deferred message.  A hold lasts as long as the instruction it
 * is for, unless it yields; when that has gone away it runs out.
 */
proctype timer(byte page; byte at)
{
end:
	do
	:: atomic {
#ifdef BUG_DEFER_DROP
			false &&
#endif
			c[page * N + at].dtype &&
			(c[page * N + at].yield || !c[page * N + at].hold
#ifndef BUG_HOLD_WITHOUT_BOUND
			 || c[page * N + at].hold == RUNS_OUT
#endif
			);
			POLICY(at == HOME(page));
			d_step {
				pg = page;
				me = at;
				ev = TIMER;
				step();
				check();
				pick = 0
			}
		}
	od
}

init {
	byte j, from, at;

	atomic {
		do
		:: j < P ->
			from = 0;
			do
			:: from < N ->
				at = 0;
				do
				:: at < N && at != from -> run wire(j, from, at); at++
				:: at == from -> run timer(j, at); at++
				:: at >= N -> break
				od;
				from++
			:: else -> break
			od;
			j++
		:: else -> break
		od;
		at = 0;
		do
		:: at < NV -> run cpu(at); at++
		:: else -> break
		od;
		j = 0;
		from = 0;
		at = 0
	}
}

/* Every request is eventually served. */
#ifdef WHO
ltl served { [] (v[WHO].insn != 0 -> <> (v[WHO].insn == 0)) }
#endif
#endif
