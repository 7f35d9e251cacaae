#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Check the model of the coherence protocol (coherence.pml) with Spin, print TAP.
#
# usage: dsm/model/run.sh [-l] [PATTERN...]
#
# Without -l the short configurations and all deliberate bugs; -l the long
# configurations, too.  PATTERNs (shell style) choose some by name.  All products
# are in $BUILD/model (build/model); NAME/trace there is a violation that should
# not be, or not by that check, step by step.  MEM: megabytes that one run may use (6000).

. "$(dirname "$0")/../../selftests/lib.sh"
model=$CVMM_TREE/dsm/model/coherence.pml
out=$CVMM_TREE/${BUILD:-build}/model
long=
[ "${1:-}" = -l ] && { long=1; shift; }
patterns=("$@")

wanted()
{
	local p

	[ ${#patterns[@]} -gt 0 ] || return 0
	for p in "${patterns[@]}"; do
		# shellcheck disable=SC2053
		[[ $1 == $p ]] && return 0
	done
	return 1
}

# verify NAME OPTIMISATION KIND SWITCHES: generate, compile, run; report in log
#  KIND	safe: assertions and invalid end states; loss: assertions only;
#	live: the claim "served" under weak fairness
verify()
{
	local dir=$out/$1 opt=$2 kind=$3 cc run
	shift 3
	local switches=("${@/#/-D}")

	rm -rf "$dir"
	mkdir -p "$dir"
	cd "$dir" || return 1
	case $kind in
	safe)	cc=-DSAFETY run=() ;;
	loss)	cc=-DSAFETY run=(-E) ;;
	live)	cc=-DNFAIR=8 run=(-a -f) ;;
	esac
	echo "${switches[*]}" >switches
	spin -a "${switches[@]}" "$model" >log 2>&1 &&
	gcc -w "$opt" -DCOLLAPSE -DNOREDUCE -DMEMLIM="${MEM:-6000}" "$cc" -o pan pan.c >>log 2>&1 &&
	nice -n 12 ./pan "${run[@]}" -m"${DEPTH:-300000}" -w"${HASH:-20}" >>log 2>&1 || { cat log; return 1; }
	return 0
}

# The last violation that verify() has met, step by step: in trace, too.
trace()
{
	local switches

	cat log
	[ -e coherence.pml.trail ] || return 0
	read -ra switches <switches
	spin -T -t -k coherence.pml.trail "${switches[@]}" "$model" >trace.all 2>&1
	grep -E '^ *(h[0-9]|epoch|spin: text|<<<)' trace.all | tee trace
}

# holds NAME KIND SWITCH...: every state of this configuration is right
holds()
{
	local name=$1 states depth secs

	wanted "$name" || return 0
	shift
	verify "$name" "${OPT:--O1}" "$@" || { not_ok "$name: does not run"; return; }
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' log)
	depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' log)
	secs=$(sed -n 's/^pan: elapsed time \([0-9.e+]*\) .*/\1/p' log)
	if grep -q 'errors: 0$' log && ! grep -q -E 'out of memory|max search depth too small|Search not completed' log; then
		ok "$name: $states states, depth $depth, $secs s"
	else
		not_ok "$name: $(grep -E -m1 '^pan:1|max search|not completed|out of memory' log)"
		trace
	fi
}

# finds BUG TEXT KIND SWITCH...: with this bug the check that says TEXT fails
finds()
{
	local bug=$1 text=$2 kind=$3

	wanted "bug-$bug" || return 0
	shift 3
	verify "bug-$bug" -O0 "$kind" "BUG_${bug%%-*}" "$@" || { not_ok "bug-$bug: does not run"; return; }
	if grep -q -E "^pan:1: $text" log; then
		ok "bug-$bug is found: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' log | sed -E 's/assertion violated //; s/^\(?([a-z_]+)\|\|.*/\1/')"
	else
		not_ok "bug-$bug is found by '$text': $(grep -E '^pan:1|errors:' log | head -1)"
		trace
	fi
}

command -v spin >/dev/null || { not_ok "spin is installed"; tap_done; }

# ---- what must hold ---------------------------------------------------------

holds races-2		safe N=2 PIN
holds races-3		safe N=3 PIN
holds ahead-2		safe N=2 PIN AHEAD
holds ahead-3		safe N=3 AHEAD
holds loss-2		loss N=2 LOSS
holds instructions-2x1	safe N=2 RANK OPS=3 KINDS=3 SIGNAL
holds instructions-3x1	safe N=3 RANK OPS=1
holds instructions-2x2	safe N=2 P=2 RANK OPS=2 SIGNAL
holds instructions-2x1+1	safe N=2 RANK OPS=2 KINDS=3 XTRA=1
holds instructions-2x2+1	safe N=2 P=2 RANK OPS=1 XTRA=1
holds served-2x2	live N=2 P=2 RANK WHO=1
holds served-3x1-writes	live N=3 RANK KINDS=1 VERSIONS=2 HOME0=2 WHO=2
if [ -n "$long" ]; then
	DEPTH=3000000 HASH=24 OPT=-O2
	holds instructions-3x2	safe N=3 P=2 RANK OPS=1
	holds instructions-3x1+1	safe N=3 RANK OPS=1 XTRA=2
	holds served-2x2+1	live N=2 P=2 RANK XTRA=1 WHO=1
	holds served-3x1-last	live N=3 RANK WHO=2
	holds served-3x1-home	live N=3 RANK WHO=0
	holds races-4		safe N=4
	DEPTH=300000 HASH=20 OPT=
fi

# ---- what must be found -----------------------------------------------------

assertion='assertion violated .*'
stuck='invalid end state'
unserved='acceptance cycle'

finds NO_WAIT_ACKS	"${assertion}nobody_else_has_it" safe N=3
finds ACK_EARLY		"${assertion}single_writer" safe N=3
finds DOWNGRADE_EARLY	"${assertion}single_writer" safe N=3 ONLY=1
finds LOST_INV-read	"${assertion}read_last_written" safe N=3 LAX ONLY=4
finds LOST_INV-version	"${assertion}one_version" safe N=3 LAX ONLY=3
finds STALE_SAME	"${assertion}accepted" safe N=3 ONLY=1
finds STALE_SAME-lost	"${assertion}page_not_lost" safe N=3 LAX ONLY=5
finds ZERO_TWICE	"${assertion}page_not_lost" safe N=3 LAX ONLY=5
finds NO_BLOCK		"${assertion}accepted" safe N=3
finds NO_BLOCK-owner	"${assertion}one_owner" safe N=3 LAX ONLY=2
finds STALE_OWNER	"${assertion}directory_right" safe N=3
finds EARLY_DONE	"${assertion}directory_right" safe N=3
finds REORDER		"${assertion}accepted" safe N=2
finds LOST_WAKE		"${assertion}sleeper_not_forgotten" safe N=2
finds LOST_WAKE-stuck	"$stuck" safe N=2 RANK OPS=1 ONLY=1
finds NO_DONE		"$stuck" safe N=2 RANK OPS=1
finds LOST_WAITER	"$stuck" safe N=3 RANK OPS=1
finds DEFER_DROP	"$stuck" safe N=2 RANK OPS=1
finds HOLD_OWN_REQUEST	"$stuck" safe N=2 RANK OPS=2 KINDS=3
finds HOLD_WITHOUT_BOUND "$stuck" safe N=2 RANK OPS=1 SIGNAL
finds NO_PRECEDENCE	"$stuck" safe N=2 P=2 RANK OPS=1
finds NO_HURRY		"$stuck" safe N=3 P=2 RANK OPS=1
finds NO_HOLD		"$unserved" live N=2 P=2 RANK WHO=1
finds SERVE_BY_ID	"$unserved" live N=3 RANK KINDS=1 VERSIONS=2 HOME0=2 WHO=2
finds KEEP_COPY		"${assertion}single_writer" safe N=2
finds CLEAN_TAKEN	"${assertion}only_written_is_taken" safe N=2 ONLY=10
finds WRITTEN_LOST	"${assertion}clean_is_true" safe N=2
finds KEEP_WRITTEN	"${assertion}written_is_exclusive" safe N=2
finds AHEAD_CLEAN	"${assertion}clean_is_true" safe N=2 AHEAD
finds CLEAN_DROPPED	"${assertion}home_is_told" safe N=3
finds OFFER_SHARED	"${assertion}accepted" safe N=3
finds OFFER_FORGOTTEN	"${assertion}directory_right" safe N=3
finds REVOKE_MAPS	"${assertion}decision_stands" safe N=2 PIN ONLY=13
finds WAKE_READERS	"$stuck" safe N=2 RANK OPS=1 XTRA=1
finds SETTLE_EARLY	"${assertion}directory_right" safe N=3
finds SETTLE_EARLY-used	"${assertion}accepted" safe N=3 ONLY=1
finds NO_SETTLE_LATE	"$stuck" safe N=2 RANK OPS=1
finds DONE_ANYWAY	"${assertion}accepted" safe N=2
finds NO_OWN_HURRY	"$stuck" safe N=2 P=2 RANK OPS=1 XTRA=1
finds HURRY_NOTED	"$stuck" safe N=2 P=2 RANK OPS=1 XTRA=1
finds EPOCH		"${assertion}" loss N=2 LOSS
finds SHORT_LINK	"${assertion}link_capacity" safe N=3 CAP=1
tap_done
