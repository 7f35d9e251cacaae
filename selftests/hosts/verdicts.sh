#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# scripts/hosts tells success from failure, whatever the failure, and leaves
# nothing behind.

. "$(dirname "$0")/../lib.sh"
cd "$CVMM_TREE" || exit 1
hosts() { scripts/hosts run -o build/check/verdicts -t "${t:-60}" "$@"; }

runs()
{
	local n

	for n in "$@"; do
		[ ! -e "/proc/$n" ] || return 0
	done
	return 1
}

# An interrupted run ends by itself and takes its QEMU with it.
interrupted()
{
	local sig=$1 pid qemu i

	scripts/hosts run -t 60 -- sleep 100 &
	pid=$!
	for i in $(seq 100); do
		qemu=$(pgrep -P $pid qemu-system) && break
		sleep 0.1
	done
	[ -n "$qemu" ] || return 1
	sleep 1
	kill "-$sig" $pid
	wait $pid
	for i in $(seq 30); do
		runs "$qemu" || break
		sleep 0.1
	done
	! runs "$qemu" && { [ "$sig" = KILL ] || [ ! -e build/hosts/run.$pid ]; }
}

check "success" hosts -- true
check_fails "an exit status is a failure" "host0: exit status 3" hosts -- sh -c 'exit 3'
check_fails "a kernel warning is a failure" "host0: its kernel says: .*BUG: test" \
	hosts -- sh -c 'echo BUG: test >/dev/kmsg'
check_fails "a panic is a failure" "host0: its kernel says: .*sysrq triggered crash" \
	hosts -- sh -c 'echo c >/proc/sysrq-trigger; sleep 100'
check_fails "a silent reset is a failure" "host0: shut down or crashed before" \
	hosts -- sh -c 'echo b >/proc/sysrq-trigger; sleep 100'
t=20 check_fails "a hang is a failure" "host0: no result within 20 s" hosts -- sleep 1000
check_fails "a missing script is told at once" "no such script" hosts -- ./no-such-script
check_fails "an unknown kernel is told at once" "no kernel" hosts -k 5.0 -- true
check "Ctrl-C leaves nothing" interrupted INT
check "SIGKILL leaves no QEMU" interrupted KILL
rm -rf build/check/verdicts
tap_done
