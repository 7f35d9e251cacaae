#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Somebody else's program judges our engine: QEMU boots the unmodified kernel
# on it, with its own firmware, interrupt controllers and devices:
# qemu.sh [kvm|cvmm] [TESTS]
#
# QEMU 7.2 opens /dev/kvm and no other name (later ones have -accel
# kvm,device=...), so the engine's device is mounted over that.

. "$CVMM_TREE/selftests/lib.sh"

engine=${1:-cvmm} tests=${2:-timers} made=
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/qemu.$engine
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })

guest()
{
	timeout -k 5 180 qemu-system-x86_64 \
		-machine pc -accel kvm,kernel-irqchip=off -cpu host -smp 1 -m 256 \
		-nodefaults -no-user-config -no-reboot -display none \
		-chardev file,id=console,path="$out" -serial chardev:console \
		-kernel "$kernel" -initrd build/guest.img \
		-append "console=ttyS0 loglevel=6 panic=-1 cvmm.tests=\"$tests\" cvmm.end=poweroff" \
		< /dev/null
}

case $engine in
kvm)	check "stock KVM loads" modprobe kvm-amd ;;
cvmm)	check "the module loads" cvmm_load
	[ -e /dev/kvm ] || { : > /dev/kvm; made=1; }
	check "our device in the place of KVM's" mount --bind /dev/cvmm /dev/kvm ;;
esac

check "QEMU runs its guest until it powers off" guest
guest_tap "$out"
check "the guest's kernel has no complaint" no_complaint "" "$out"

case $engine in
kvm)	check "stock KVM unloads" rmmod kvm-amd ;;
cvmm)	check "its own name again" umount /dev/kvm
	[ -z "$made" ] || rm /dev/kvm
	check "the module unloads" cvmm_unload ;;
esac
tap_done
