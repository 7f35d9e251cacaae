#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/guest/bare.sh kvm|cvmm VCPUS [IMAGE...]
#
# The bare-metal images of guest/bare/tests on this host alone, by cvmm-run, on
# stock KVM or on our engine; the points they print become points here.  "make
# guest" builds them.

. "$(dirname "$0")/../lib.sh"

engine=$1
vcpus=$2
shift 2
[ $# -gt 0 ] || set -- $(cd "$CVMM_TREE/guest/bare/tests" && basename -s .c -a -- *.c)
out=${CVMM_OUT:-$(mktemp -d)}

if [ "$engine" = kvm ]; then
	check "KVM is there" modprobe kvm-amd
else
	check "the module loads" insmod "$(cvmm_ko)"
fi
mkdir -p /run/cvmm

for image; do
	cat >"$out/$image.cfg" <<-END
	name = "$image"; memory = "64M"; vcpus = $vcpus; engine = "/dev/$engine";
	kernel = "$CVMM_TREE/build/guest/bare/$image";
	END
	timeout 120 "$CVMM_TREE/build/cvmm-run" --no-reboot --console-log="$out/$image.console" \
		"$out/$image.cfg" </dev/null >/dev/null
	status=$?
	if [ $status = 0 ]; then ok "$image: powered off"; else not_ok "$image: cvmm-run's exit status $status"; fi
	guest_tap "$out/$image.console"
done

if [ "$engine" = kvm ]; then
	check "KVM unloads" rmmod kvm-amd
else
	check "the module unloads" rmmod cvmm
fi
tap_done
