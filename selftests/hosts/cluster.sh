#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The emulated hosts themselves: SVM, network, clock, shares, barriers.  Runs on
# every host.

. "$CVMM_TREE/selftests/lib.sh"

barrier_counts()
{
	local i n

	for i in 1 2 3; do
		echo $i >"$CVMM_SHARED/step.$CVMM_HOST"
		hosts-barrier step || return 1
		for n in $(seq 0 $((CVMM_HOSTS - 1))); do
			[ "$(cat "$CVMM_SHARED/step.$n")" = $i ] || return 1
		done
		hosts-barrier stepped || return 1
	done
}

peers_answer()
{
	local n

	for n in $(seq "$CVMM_HOSTS"); do
		busybox ping -c 1 -w 10 -s 8000 "10.77.0.$n" || return 1
	done
}

check "SVM with nested paging" grep -q -w 'svm.*npt\|npt.*svm' /proc/cpuinfo
check "clock source is the TSC" grep -x tsc /sys/devices/system/clocksource/clocksource0/current_clocksource
check "barriers hold everybody" barrier_counts
check "every host answers, with large packets" peers_answer
hosts-barrier pinged || exit 1
check "stock KVM loads" modprobe kvm-amd
check "/dev/kvm is there" test -c /dev/kvm
# Hosts that wait for different things are told so instead of hanging.
check_fails "crossed barriers fail" "will not reach" hosts-barrier "mine $CVMM_HOST"
tap_done
