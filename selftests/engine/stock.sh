#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our engine and the kernel's own on one host: they agree about the ABI, and
# neither takes the hardware from the other.

. "$CVMM_TREE/selftests/lib.sh"

hold() # hold DEVICE COMMAND...: run the command while a VM of the device exists
{
	local dev=$1 status
	shift
	coproc HOLD { exec "$CVMM_TREE/build/kvm-tiny" -d "$dev" --hold; }
	read -r -u "${HOLD[0]}" line && [ "$line" = holding ] || return 1
	"$@"
	status=$?
	echo >&"${HOLD[1]}"
	wait "$HOLD_PID"
	return $status
}

tiny() { "$CVMM_TREE/build/kvm-tiny" "$@"; }
memory() { "$CVMM_TREE/build/kvm-memory" "$@"; }
state() { "$CVMM_TREE/build/kvm-state" "$@"; }

check "kvm_amd loads" modprobe kvm_amd
check "the tests of the ABI hold on stock KVM" tiny -d /dev/kvm
check "the tests of slots on user memory, too" memory -d /dev/kvm
check "and those of large pages" "$CVMM_TREE/build/kvm-large" -d /dev/kvm
check "and those of a vCPU's state" state -d /dev/kvm
check "our module loads beside it" cvmm_load
if [ -e /sys/module/kvm/parameters/enable_virt_at_load ]; then
	# From Linux 6.12 on KVM takes the hardware when it is loaded.
	check_fails "no VM while kvm_amd has the hardware" "KVM_CREATE_VM: .*busy" tiny
else
	check "idle kvm_amd does not mind our VMs" tiny
	check_fails "no VM of ours while KVM has one" "KVM_CREATE_VM: .*busy" \
		hold /dev/kvm tiny
	check_fails "no VM of KVM's while we have one" "KVM_CREATE_VM: .*(busy|Input/output)" \
		hold /dev/cvmm tiny -d /dev/kvm
	check "KVM works again afterwards" tiny -d /dev/kvm
fi
check "kvm_amd unloads" modprobe -r kvm_amd
check "our engine works without it" tiny
check "our module unloads" cvmm_unload
check "kvm_amd loads again" modprobe kvm_amd
check "and goes" modprobe -r kvm_amd
tap_done
