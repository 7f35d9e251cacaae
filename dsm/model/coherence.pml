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
 *	WHO	with RANK: the host of whose vCPU "served" speaks
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
/* not messages: the tail calls of revoke(), start() and complete() */
#define REVOKE 10
#define START 11
#define COMPLETE 12

/* DSM_F_* */
#define HAVE 1
#define SAME 2
#define ZERO 4
#define EXCL 8

/* struct dsm_page and struct dsm_rec of one page at one host. */
typedef copy {
	unsigned state : 2;
	unsigned version : 2;
	unsigned hold : 2;		/* RANK: HELD for this host's instruction, or RUNS_OUT */
	unsigned hold_write : 1;	/* RANK */
	unsigned old : 1;		/* ghost: a later value has been written elsewhere */
	/* own request */
	unsigned req : 2;
	unsigned answered : 1;
	unsigned flags : 4;
	unsigned acks_needed : 2;
	unsigned acks_from : 4;
	unsigned known : 1;
	unsigned rversion : 2;
	unsigned sleepers : 1;
	unsigned data : 2;		/* ghost: page on its way here: 0 no, 1 right, 2 old */
	/* deferred message */
	unsigned dtype : 3;
	unsigned dreq : 2;
	unsigned dacks : 2;
	unsigned dsame : 1;
	unsigned dversion : 2;
	unsigned yield : 1;		/* RANK: yield_ns is set */
	unsigned revoking : 1;
	/* this host's request in the home's queue (dsm_rec.wait[]) */
	unsigned wtype : 2;		/* 0: not waiting */
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
/* One vCPU a host: its instruction (0: none), the page + 1 it waits for. */
typedef vcpu {
	unsigned insn : 3;
	unsigned wait : 2;
	unsigned rank : 3;		/* 1: oldest of those that miss a page; 0: misses none */
	unsigned ops : 2
};
vcpu v[N];
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
hidden byte pick;		/* bit 0: a hold defers; bit 1: a pin; the rest: which waiter */
/* and within it, all set before use */
hidden byte m_type, m_from, m_req, m_arg, m_ver, m_acks, m_flags;
hidden byte n_type, x_to, x_mask, x_inv, x_acks, x_granter, x_reply, x_i, x_k, x_best;
hidden byte x_same, asking, granted, x_found, w_have;
hidden byte w_ver, r_type, x_nx, x_no, x_rd, x_ver, x_ow;
hidden byte single_writer, one_owner, one_version, page_not_lost, read_last_written,
	directory_right, sleeper_not_forgotten, link_capacity, accepted, nobody_else_has_it;

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

/* dsm_post().  Always the last thing a function does where @_to may be this host. */
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
		m_type = _type
	:: else ->
		link_capacity = nfull(L(me, x_to));
		assert(link_capacity);
#ifdef LOSS
		L(me, x_to)!_type, _req, _acks + 4 * (_flags), _ver + VERSIONS * epoch
#else
		L(me, x_to)!_type, _req, _acks + 4 * (_flags), _ver
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
		fi
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

/* revoke(): give up rights, now.  The message is in m_. */
inline revoke()
{
	r_type = m_type;
	x_found = false;
#ifdef PIN
	if
	:: (pick & 2) && (m_type != FWD_S || C(me).state == EXCLUSIVE) && !C(me).revoking ->
		/* revoke_busy() */
		C(me).dtype = m_type;
		C(me).dreq = m_req;
		C(me).dacks = m_acks;
		C(me).dsame = (m_flags & SAME) != 0;
		C(me).dversion = m_ver;
		C(me).revoking = 1;
		x_found = true
	:: else
	fi;
#endif
	if
	:: x_found -> m_type = 0
	:: else ->
		C(me).dtype = 0;
		C(me).dreq = 0;
		C(me).dacks = 0;
		C(me).dsame = 0;
		C(me).dversion = 0;
		C(me).yield = 0;
		C(me).revoking = 0;
		x_reply = DATA;
		x_acks = 0;
		n_type = 0;
		if
		:: r_type == FWD_S ->
			C(m_req).data = 1 + C(me).old;
#ifndef BUG_DOWNGRADE_EARLY
			if
			:: C(me).state == EXCLUSIVE -> C(me).state = OWNED
			:: else
			fi;
#endif
			C(me).hold_write = 0
		:: r_type == FWD_X ->
			n_type = EXCL | (m_flags & SAME);
			x_acks = m_acks;
			if
			:: m_flags & SAME
			:: else -> C(m_req).data = 1 + C(me).old
			fi
		:: else -> x_reply = INV_ACK
		fi;
		if
#ifdef BUG_ACK_EARLY
		:: r_type == FWD_X ->
#else
		:: r_type != FWD_S ->
#endif
			C(me).state = INVALID;
			C(me).version = 0;
			C(me).old = 0;
			C(me).hold = 0;
			C(me).hold_write = 0
		:: else
		fi;
		if
		:: !C(me).req -> wake()
		:: else
		fi;
		put_rec();
		m_type = 0;
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
		       C(me).version != m_ver)
	:: m_type == FWD_X ->
		refuse(C(me).state == INVALID ||
		       C(me).state == SHARED && !(m_from == me && (m_flags & SAME)) ||
		       C(me).state == EXCLUSIVE && (m_flags & SAME) ||
		       (C(me).version + 1) % VERSIONS != m_ver)
	:: else ->
		refuse(C(me).state != SHARED && C(me).state != OWNED ||
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
		:: OWN_REQUEST || m_type == FWD_S && !C(me).hold_write || !C(me).hold -> revoke()
#else
		:: OWN_REQUEST || !(pick & 1) -> revoke()
#endif
		:: else ->
			/* defer() */
			C(me).dtype = m_type;
			C(me).dreq = m_req;
			C(me).dacks = m_acks;
			C(me).dsame = (m_flags & SAME) != 0;
			C(me).dversion = m_ver;
#ifdef RANK
#ifndef BUG_NO_PRECEDENCE
			C(me).yield = C(me).hold == HELD && FIRST(m_req, me);
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
	:: C(me).dtype && !C(me).revoking && FIRST(m_req, me) -> C(me).yield = 1
	:: else
	fi;
#endif
	m_type = 0
}

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
#if defined(RANK) && !defined(BUG_NO_HOLD)
		C(me).hold = (asking || v[me].wait == pg + 1 -> HELD : RUNS_OUT);
		C(me).hold_write = (C(me).req == REQ_X);
#endif
		x_ver = C(me).rversion;
		C(me).req = 0;
		C(me).answered = 0;
		C(me).flags = 0;
		C(me).acks_needed = 0;
		C(me).acks_from = 0;
		C(me).known = 0;
		C(me).rversion = 0;
		wake();
		put_rec();
#ifndef BUG_NO_DONE
		post(HOME(pg), DONE, me, 0, 0, x_ver)
#endif
	:: else
#ifdef BUG_EARLY_DONE
		if
		:: C(me).answered -> x_ver = C(me).rversion; post(HOME(pg), DONE, me, 0, 0, x_ver)
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
	refuse(C(me).req == REQ_S && (m_flags & EXCL) && !(m_flags & ZERO));
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
	C(me).answered = 1;
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

/* start(), start_read(), start_write(): r_type, m_from, w_have, w_ver are the request */
inline start()
{
	d[pg].txn = r_type;
	d[pg].txn_host = m_from;
	m_type = 0;
	if
	:: !d[pg].owner ->
		post(m_from, DATA, m_from, 0, EXCL | ZERO, 1)
	:: d[pg].owner && r_type == REQ_S ->
		refuse((d[pg].sharers & BIT(m_from)) || d[pg].owner == m_from + 1);
		x_granter = ((d[pg].sharers & BIT(me)) -> me : d[pg].owner - 1);
		x_ver = d[pg].version;
		post(x_granter, FWD_S, m_from, 0, 0, x_ver)
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
			:: x_best < N && FIRST(x_k, x_best) -> x_best = x_k
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
		x_best = (x_k + (pick >> 2)) % N;
		if
		:: x_mask & BIT(x_best) -> break
		:: else
		fi;
		x_k++
	:: else -> break
	od
#endif
}

/* hurry() for the request of m_from that has been queued */
inline hurry()
{
#if defined(RANK) && !defined(BUG_NO_HURRY)
	get_waiting();
	first_waiter();
	if
	:: d[pg].owner && FIRST(m_from, d[pg].txn_host) && x_best == m_from ->
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
	:: else
	fi
#else
	skip
#endif
}

/* dsm_dir_request() */
inline dir_request()
{
	r_type = m_type;
	w_have = (m_flags & HAVE) != 0;
	w_ver = m_ver;
	if
#ifdef BUG_NO_BLOCK
	:: !d[pg].txn || d[pg].txn_host != m_from -> m_type = START
#else
	:: !d[pg].txn -> m_type = START
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
		C(m_from).whave = w_have;
		C(m_from).wversion = w_ver;
		hurry()
#ifdef BUG_LOST_WAITER
		fi
#endif
	fi
}

/* dsm_dir_done() */
inline dir_done()
{
	x_found = (d[pg].txn == REQ_X || !d[pg].owner);
	refuse(!d[pg].txn || d[pg].txn_host != m_from ||
	       m_ver != (d[pg].version + (x_found -> 1 : 0)) % VERSIONS);
	refuse(C(me).dtype);
	if
	:: x_found ->
#ifdef BUG_STALE_OWNER
		if
		:: !d[pg].owner -> d[pg].owner = m_from + 1
		:: else
		fi;
#elif !defined(BUG_ZERO_TWICE)
		d[pg].owner = m_from + 1;
#else
		d[pg].owner = (d[pg].owner || d[pg].version -> m_from + 1 : 0);
#endif
		d[pg].sharers = 0;
		d[pg].version = (d[pg].version + 1) % VERSIONS
	:: else ->
		d[pg].sharers = d[pg].sharers | BIT(m_from)
	fi;
	d[pg].txn = 0;
	d[pg].txn_host = 0;
	m_type = 0;
	get_waiting();
	if
	:: x_mask ->
		first_waiter();
		r_type = C(x_best).wtype;
		w_have = C(x_best).whave;
		w_ver = C(x_best).wversion;
		C(x_best).wtype = 0;
		C(x_best).whave = 0;
		C(x_best).wversion = 0;
		put_rec();
		m_from = x_best;
		m_type = START
	:: else
	fi
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
	m_from = me;
	x_ver = (x_found -> C(me).version : 0);
	post(HOME(pg), x_i, me, 0, (x_found -> HAVE : 0), x_ver)
}

inline load_deferred()
{
	m_from = HOME(pg);
	m_req = C(me).dreq;
	m_acks = C(me).dacks;
	m_flags = (C(me).dsame -> SAME : 0);
	m_ver = C(me).dversion;
	m_type = REVOKE
}

/* satisfied() */
#define REVOKING_ALL	(C(me).revoking && C(me).dtype != FWD_S)
#define SATISFIED(w)	(!REVOKING_ALL && ((w) -> C(me).state == EXCLUSIVE && !C(me).revoking : \
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
	x_k = 0;
	do
	:: x_k < N ->
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
	if
	:: d[pg].txn == 0 && !ANY_FAILED ->
		directory_right = (d[pg].owner ->
			x_ow == d[pg].owner - 1 && x_rd == d[pg].sharers &&
			!x_rd == (x_nx == 1) && x_ver == d[pg].version
			: x_ow == N && !x_rd);
		demand(directory_right, 6)
	:: else
	fi
}

#ifdef LOSS
inline reset(_x)
{
	c[_x].state = 0;
	c[_x].version = 0;
	c[_x].hold = 0;
	c[_x].hold_write = 0;
	c[_x].old = 0;
	c[_x].req = 0;
	c[_x].answered = 0;
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
	c[_x].dsame = 0;
	c[_x].dversion = 0;
	c[_x].yield = 0;
	c[_x].revoking = 0;
	c[_x].wtype = 0;
	c[_x].whave = 0;
	c[_x].wversion = 0
}
#endif

/* One step of page p at host h: dispatch() and dsm_access(). */
inline step()
{
	m_type = 0;
	asking = false;
	granted = false;
	if
	:: ev == RECEIVE ->
		m_from = src;
		L(src, me)?m_type, m_req, m_arg, m_ver;
		m_acks = m_arg & 3;
		m_flags = m_arg >> 2;
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
	:: ev == ROTATE ->
		L(src, me)?m_type, m_req, m_arg, m_ver;
		L(src, me)!m_type, m_req, m_arg, m_ver;
		m_type = 0
#endif
#ifdef LOSS
	:: ev == FAIL ->
		printf("h%d fails\n", me);
		/* dsm_fail(); the platform wakes everybody, they get -EIO */
		failed[me] = true;
		x_k = 0;
		do
		:: x_k < P -> c[x_k * N + me].sleepers = 0; x_k++
		:: else -> break
		od
	:: ev == RESTART ->
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
			d[x_k].written = 0;
			x_k++
		:: else -> break
		od
#endif
	:: ev == TIMER && FAILED(me) -> skip
	:: ev == TIMER && !FAILED(me) ->
		printf("h%d page %d: timer\n", me, pg);
		load_deferred()
	:: else ->
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
	:: m_type == HURRY ->
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
		revoke()
	:: m_type == START -> start()
	:: m_type == COMPLETE -> complete()
	:: m_type == 0 ->
		if
		:: !asking -> break
		:: asking && SATISFIED(ev == WRITE) ->
			granted = true;
			break
		:: asking && !SATISFIED(ev == WRITE) && FAILED(me) -> break
		:: asking && !SATISFIED(ev == WRITE) && !FAILED(me) &&
		   (C(me).req || C(me).revoking) ->
			C(me).sleepers = 1;
			break
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
#define AT(a) \
	:: C(a).dtype -> me = a; ev = TIMER \
	:: !C(a).req && C(a).state == INVALID -> me = a; ev = READ \
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
		if
		:: pick = 0
#ifndef NO_DEFER
		:: pick = 1
#endif
#ifdef PIN
		:: pick = 2
#endif
#if N > 2
		:: pick = 4
#ifndef NO_DEFER
		:: pick = 5
#endif
#endif
#if N > 3
		:: pick = 8
		:: pick = 9
#endif
		fi;
		d_step {
			step();
			if
			:: granted && ev == WRITE -> touch(true)
			:: else
			fi;
			check()
		}
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

inline leave(_host)
{
	x_k = 0;
	do
	:: x_k < N ->
		if
		:: v[_host].rank && v[x_k].rank > v[_host].rank -> v[x_k].rank--
		:: else
		fi;
		x_k++
	:: else -> break
	od;
	v[_host].rank = 0;
	v[_host].insn = 0;
	v[_host].wait = 0
}

/* All pages are mapped: the instruction executes, its holds end. */
inline execute()
{
	pg = PAGE1(v[me].insn);
	touch(WRITE1(v[me].insn));
	C(me).hold = 0;
	check();
	if
	:: TWO(v[me].insn) ->
		pg = PAGE2(v[me].insn);
		touch(WRITE2(v[me].insn));
		C(me).hold = 0;
		check()
	:: else
	fi;
	leave(me)
}

/* cvmm_space_fault() for the first page that is not mapped, or execute() */
inline attempt()
{
	pg = PAGE1(v[me].insn);
	ev = (WRITE1(v[me].insn) -> WRITE : READ);
	x_i = 0;
	if
	:: !SATISFIED(ev == WRITE) -> x_i = 1
	:: SATISFIED(ev == WRITE) && TWO(v[me].insn) ->
		pg = PAGE2(v[me].insn);
		ev = (WRITE2(v[me].insn) -> WRITE : READ);
		if
		:: !SATISFIED(ev == WRITE) -> x_i = 1
		:: else
		fi
	:: else
	fi;
	if
	:: !x_i -> execute()
	:: else ->
		if
		:: !v[me].rank ->
			/* cvmm_space_holds_begin(): the youngest of all */
			x_k = 0;
			x_i = 1;
			do
			:: x_k < N ->
				if
				:: v[x_k].rank -> x_i++
				:: else
				fi;
				x_k++
			:: else -> break
			od;
			v[me].rank = x_i
		:: else
		fi;
		step();
		if
		:: granted -> C(me).hold_write = (C(me).hold_write || ev == WRITE)
		:: else -> v[me].wait = pg + 1
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
		:: d_step { v[id].insn && !v[id].wait -> pick = 0; me = id; attempt() }
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
	:: d_step {
			nempty(link[(page * N + from) * N + at]);
			pick = 0;
			pg = page;
			src = from;
			me = at;
			ev = RECEIVE;
			step();
			check()
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
	:: d_step {
#ifdef BUG_DEFER_DROP
			false &&
#endif
			c[page * N + at].dtype &&
			(c[page * N + at].yield || !c[page * N + at].hold
#ifndef BUG_HOLD_WITHOUT_BOUND
			 || c[page * N + at].hold == RUNS_OUT
#endif
			);
			pick = 0;
			pg = page;
			me = at;
			ev = TIMER;
			step();
			check()
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
		:: at < N -> run cpu(at); at++
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
