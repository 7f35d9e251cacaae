#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Inside the host of down.sh: with a VM whose vCPUs are in their guests on every
# CPU, try to suspend, then do what $1 says.  Must not come back.

. "$CVMM_TREE/selftests/lib.sh"

cvmm_load || exit 1
coproc SPIN { exec "$CVMM_TREE/build/kvm-spin" "$(nproc)"; }
read -r -t 60 -u "${SPIN[0]}" line
[ "$line" = spinning ] || exit 1
note "vCPUs are in their guests"
if { echo freeze >/sys/power/state; } 2>&1 | grep "busy"; then
	note "suspend is refused"
fi
sync
sleep 2
case $1 in
restart)	echo "--- restarting"; exec busybox reboot -f ;;
crash)		echo c >/proc/sysrq-trigger ;;
emergency)	echo b >/proc/sysrq-trigger ;;
esac
sleep 1000
