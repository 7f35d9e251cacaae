#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Somebody else's program wears our engine out: "stress-ng --kvm", whose workers make
# VMs as fast as they can, run a few instructions and ports in each and drop all of it,
# and are killed at the end.  It opens /dev/kvm and no other name, so the engine's
# device is mounted over that.

. "$CVMM_TREE/selftests/lib.sh"

seconds=${1:-8} made=
out=$CVMM_OUT/stress-ng

stress() { timeout -k 5 60 stress-ng --kvm 2 --timeout "$seconds" --metrics-brief >"$out" 2>&1; }

# The "bogo ops" of the metrics, and none of the words by which it gives up.
worked()
{
	cat "$out"
	! grep -q -i -E "skipp|failed, errno|not available|unexpected" "$out" || return
	[ "$(awk '/metrc|info/ && $4 == "kvm" { n = $5 } END { print n + 0 }' "$out")" -gt 0 ]
}

check "the module loads" cvmm_load check_vmcb_clean=1
[ -e /dev/kvm ] || { : >/dev/kvm; made=1; }
check "our device in the place of KVM's" mount --bind /dev/cvmm /dev/kvm
check "stress-ng runs its workers to the end" stress
check "and they had virtual machines that ran" worked
check "its own name again" umount /dev/kvm
[ -z "$made" ] || rm /dev/kvm
check "the module unloads" cvmm_unload
tap_done
