#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest across two hosts that loses something while it runs.  Usage:
#   lost.sh client    cvmm-run is killed; and two guests at once; then all is free
#   lost.sh node      a node's process is killed
#   lost.sh link      the network between the hosts goes away
#   lost.sh host      the other host loses its power
# The guest is a bare-metal image that has run its test and then
# halts.  The rest of it must end within 5 s and say which host and why.

. "$(dirname "$0")/../lib.sh"

run=$CVMM_TREE/build/cvmm-run
ctl=$CVMM_TREE/build/cvmm
dir=${CVMM_OUT:-$(mktemp -d)}/lost
mkdir -p "$dir"
cd "$dir" || exit 1

config()	# NAME
{
	cat >"$1.cfg" <<-EOC
	name = "$1"; memory = "256M"; engine = "/dev/cvmm";
	kernel = "$CVMM_TREE/build/guest/bare/cpu"; cmdline = "cvmm.end=halt";
	nodes = ( { host = "10.77.0.1"; }, { host = "10.77.0.2"; } );
	EOC
}

# Until a line of FILE has TEXT, for at most a minute.
wait_for()	# TEXT FILE
{
	local n

	for ((n = 0; n < 180; n++)); do
		grep -q -E -- "$1" "$2" 2>/dev/null && return 0
		sleep 0.5
	done
	return 1
}

start()		# NAME
{
	"$run" -v "$1.cfg" </dev/null >"$1.out" 2>&1 &
	guest=$!
	wait_for "cvmm: end pass=" "$1.out"
}

# ended SECONDS STATUS TEXT: within so long from now
ended()
{
	local from=$SECONDS status
	wait $guest
	status=$?
	tail -n 3 lost.out
	[ $((SECONDS - from)) -le "$1" ] || { echo "took $((SECONDS - from)) s"; return 1; }
	[ $status = "$2" ] || { echo "exit status $status, expected $2"; return 1; }
	grep -q -E -- "$3" lost.out || { echo "no '$3'"; return 1; }
}

nothing_left()
{
	local n

	for ((n = 0; n < 100; n++)); do
		[ -z "$("$ctl" list)" ] && [ "$("$ctl" -j stat)" = "[]" ] && return 0
		sleep 0.5
	done
	"$ctl" list
	"$ctl" stat
	return 1
}

vmmd_end()
{
	kill $vmmd
	wait $vmmd
}

cvmm_load && cluster_key || exit 1
"$CVMM_TREE/build/vmmd" >vmmd.log 2>&1 &
vmmd=$!
wait_for "listens" vmmd.log
hosts-barrier up || exit 1
config lost
config beside

case $1 in
client)
	if on_host 0; then
		check "a guest starts on both hosts" start lost
		kill -KILL $guest
		wait $guest
		check "a killed cvmm-run: nothing is left on host 0" nothing_left
		check "... and it starts again" start lost
		first=$guest
		check "another guest beside it" start beside
		kill -INT $guest
		wait $guest
		guest=$first
		kill -INT $guest
		check "Ctrl-C ends it" ended 5 130 "ended by a signal: Interrupt"
	fi
	hosts-barrier done
	;;
node)
	if on_host 0; then
		check "a guest starts on both hosts" start lost
		hosts-barrier started
		check "the guest ends and says why" ended 7 70 "node 1 .10.77.0.2.: .*killed by signal 9"
	else
		hosts-barrier started
		kill -KILL "$("$ctl" -j list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')"
	fi
	hosts-barrier done
	;;
link)
	if on_host 0; then
		check "a guest starts on both hosts" start lost
		hosts-barrier started
		ip link set eth0 down
		check "the guest ends and says why" ended 7 75 "lost node 1 .10.77.0.2.: "
	else
		hosts-barrier started
		check "vmmd here says why" wait_for "lost node 0 .10.77.0.1.: |cvmm-run is gone" vmmd.log
	fi
	hosts-barrier done
	;;
host)
	if on_host 0; then
		check "a guest starts on both hosts" start lost
		hosts-cut 1
		check "the guest ends and says why" ended 7 75 "lost node 1 .10.77.0.2.: "
	else
		sleep 1000	# until the power is cut
	fi
	;;
esac
check "nothing is left" nothing_left
check "vmmd ends" vmmd_end
cat vmmd.log
check "the module unloads" cvmm_unload
tap_done
