#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/bench/guest.sh kvm|cvmm VCPUS [WORKLOAD[:ARGS]...]
#
# Workloads (guest/tests/work.c) in one guest with VCPUS vCPUs on each of the emulated
# hosts: how long each took by the host's clock, and what pages it moved.  Runs on
# every host; host 0 runs the guest, and all read their counters when the guest
# says that a workload begins and ends.  Leaves lines "WORKLOAD ROW VALUE" in
# $CVMM_OUT/results for selftests/bench/guest-report.

. "$CVMM_TREE/selftests/lib.sh"

engine=$1 vcpus=$2
shift 2
workloads=${*:-fork hackbench compile chase stream server locks pipe}
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/guest
results=$CVMM_OUT/results
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })


# What this host's part of the guest has counted so far, as "ROW VALUE" lines.
counters() { build/cvmm -j stat bench | selftests/bench/guest-report --rows; }

# Read the console's next lines, up to the workload's "mark WHAT".
until_said()
{
	local line

	while IFS= read -r -t 900 line <&"${GUEST[0]}"; do
		case $line in
		*"# mark $1"*) return 0 ;;
		*"cvmm: not ok"*|*"Bail out!"*|*" # SKIP "*) echo "$line"; return 1 ;;
		esac
	done
	echo "the guest never said: mark $1"
	return 1
}

# The guest waits for a line where its workload begins and where it has ended, while
# all hosts read their counters.
measured()
{
	local w=$1 start row before after

	! on_host 0 || until_said begin || return
	hosts-barrier "$w is about to begin" && counters >"$out.before" &&
		hosts-barrier "$w begins" || return
	if on_host 0; then
		start=${EPOCHREALTIME/./}
		echo >&"${GUEST[1]}"
		until_said end || return
		echo "$w us $((${EPOCHREALTIME/./} - start))" >>"$results"
	fi
	hosts-barrier "$w has ended" && counters >"$out.after" && hosts-barrier "$w is over" || return
	! on_host 0 || echo >&"${GUEST[1]}"
	join "$out.before" "$out.after" | while read -r row before after; do
		echo "$w $row $((after - before))"
	done >>"$results"
}

config()
{
	local i w tests= nodes=

	for i in $(seq "$CVMM_HOSTS"); do
		nodes="$nodes${nodes:+, }{ host = \"10.77.0.$i\"; vcpus = $vcpus; }"
	done
	for w in $workloads; do
		case $w in
		*:*)	tests="$tests work:what=${w%%:*},sync=1,${w#*:}" ;;
		*)	tests="$tests work:what=$w,sync=1" ;;
		esac
	done
	cat <<-END
	name = "bench"; memory = "512M"; engine = "/dev/$engine";
	kernel = "$kernel"; initrd = "$CVMM_TREE/build/bench-guest.img";
	cmdline = "console=ttyS0 loglevel=5 panic=-1 irqaffinity=0-$((vcpus - 1)) cvmm.tests=\"${tests# }\"";
	slowdown = $((5 * CVMM_HOSTS)); encryption = false;
	nodes = ( $nodes );
	END
}

ends_well()
{
	cat <&"${GUEST[0]}" >/dev/null
	wait "$guest"
}

: >"$results"
case $engine in
kvm)	check "stock KVM loads" modprobe kvm-amd ;;
cvmm)	check "the module loads" cvmm_load min_run_us=4000 ;;
esac
check "vmmd starts" vmmd_up
hosts-barrier "vmmd is up" || exit 1
if on_host 0; then
	config >"$out.cfg"
	start=$EPOCHSECONDS
	coproc GUEST { exec build/cvmm-run -n -l "$out.console" -s "$out.json" "$out.cfg" 2>"$out.log"; }
	guest=$GUEST_PID
fi
for w in $workloads; do
	check "${w%%:*} is measured" measured "${w%%:*}" || exit 1
	! on_host 0 || note "${w%%:*}: $((EPOCHSECONDS - start)) s since the guest began"
done
! on_host 0 || check "the guest ends well" ends_well
hosts-barrier "the guest has ended" || exit 1
check "vmmd ends" vmmd_down
case $engine in
kvm)	check "stock KVM unloads" modprobe -r kvm-amd ;;
cvmm)	check "the module unloads" cvmm_unload ;;
esac
tap_done
