#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A CPU goes and comes while VMs exist: what runs moves, and the CPU that comes
# can run guests.

. "$CVMM_TREE/selftests/lib.sh"

tiny=$CVMM_TREE/build/kvm-tiny
cpu1=/sys/devices/system/cpu/cpu1/online
[ -w $cpu1 ] || skip_all "no second CPU that can be switched off"

check "the module loads" cvmm_load
coproc HOLD { exec "$tiny" --hold; }
read -r -u "${HOLD[0]}" line
check "a VM exists" [ "$line" = holding ]
check "a CPU goes" sh -c "echo 0 > $cpu1"
check "guests run on the other" "$tiny"
check "it comes back" sh -c "echo 1 > $cpu1"
check "guests run on it" taskset -c 1 "$tiny"
"$tiny" &
check "a CPU goes while guests run" sh -c "echo 0 > $cpu1"
check "they did not mind" wait $!
check "it comes back again" sh -c "echo 1 > $cpu1"
echo >&"${HOLD[1]}"
wait "$HOLD_PID"
check "the module unloads" cvmm_unload
tap_done
