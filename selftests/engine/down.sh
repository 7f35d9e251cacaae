#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A host that restarts or crashes while guests run on all its CPUs gets there: it
# neither hangs nor complains.  With "all" in more ways.

. "$(dirname "$0")/../lib.sh"
cd "$CVMM_TREE" || exit 1
out=build/check/down

# goes_down HOW LAST-WORDS KERNEL CPUS
goes_down()
{
	rm -rf $out
	scripts/hosts run -o $out -t 120 -k "$3" -c "$4" --ends "$2" -- \
		selftests/engine/down-inside.sh "$1" &&
		grep -q "vCPUs are in their guests" $out/host0.log
}

restarts="reboot: Restarting system"
crashes="Kernel panic - not syncing: sysrq triggered crash"

check "a host restarts" goes_down restart "$restarts" 6.1 1
check "... and did not suspend before" grep -q "suspend is refused" $out/host0.log
check "a host of two CPUs crashes" goes_down crash "$crashes" 6.12 2
if [ "${1-}" = all ]; then
	check "a host of two CPUs restarts" goes_down restart "$restarts" 6.12 2
	check "a host crashes" goes_down crash "$crashes" 6.1 1
	check "a host restarts without asking anybody" goes_down emergency "sysrq: Resetting" 6.12 1
fi
rm -rf $out
tap_done
