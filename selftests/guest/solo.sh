#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest on one host: solo.sh kvm|cvmm|cvmm-tables VCPUS TESTS [COMMAND-LINE WORDS]
# cvmm-tables: with the guest page-table cache and its memory in a space, as a guest on
# several hosts has it.
#
# Boots the unmodified kernel with cvmm-run on stock KVM or on our engine, lets
# it run TESTS (see guest/init.c) and reboot once, and checks that it powers off
# with status 0.

. "$CVMM_TREE/selftests/lib.sh"

engine=${1%-tables} vcpus=$2 tests=$3 words=${4:-} params= pages=auto
[ "$1" = "$engine" ] || params="page_table_cache=1 check_vmcb_clean=1" pages=4K
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/solo.$1.$vcpus
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })

# guest NAME COMMAND-LINE WORDS...: run it to its end; its console is $out.NAME
guest()
{
	local name=$1
	shift
	cat > "$out.$name.cfg" <<-END
	name = "solo"; memory = "512M"; engine = "/dev/$engine"; vcpus = $vcpus; pages = "$pages";
	kernel = "$kernel"; initrd = "$CVMM_TREE/build/guest.img";
	cmdline = "console=ttyS0 loglevel=6 panic=-1 $words $*";
	END
	timeout -s INT $((150 * ${CVMM_SLOW:-1})) build/cvmm-run -v $opts -l "$out.$name" "$out.$name.cfg" < /dev/null
}

case $engine in
kvm)	check "stock KVM loads" modprobe kvm-amd ;;
cvmm)	check "the module loads" cvmm_load $params ;;
esac

opts=
check "the guest boots, runs its tests and powers off" \
	guest tests "cvmm.tests=\\\"$tests\\\" cvmm.end=poweroff"
guest_tap "$out.tests"

opts=-n
guest reboot "cvmm.run=true cvmm.end=reboot"
status=$?
check "a reboot ends it with status 2 under --no-reboot" [ $status = 2 ]

# QEMU 7.2 lets a guest's XSETBV pass stock KVM by, which then answers CPUID for
# another XCR0 than the guest has: this one warning is the emulator's (our engine
# reads XCR0 back, kmod/ENGINE.rst).
emulator=
[ "$engine" = kvm ] && emulator='WARNING: .* fpu__init_system_xstate'
check "the guest's kernel has no complaint" no_complaint "$emulator" "$out.tests" "$out.reboot"

case $engine in
kvm)	check "stock KVM unloads" rmmod kvm-amd ;;
cvmm)	check "the module unloads" cvmm_unload ;;
esac
tap_done
