#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh kvm|cvmm: the kernel's KVM selftests on stock KVM or on our engine, each
# with the end that kvm.list says.  None has an interrupt controller in the kernel.

. "$CVMM_TREE/selftests/lib.sh"
engine=$1
list=$CVMM_TREE/selftests/kselftest/kvm.list
cd "$CVMM_TREE/build/kselftest" || exit 1

start()
{
	if [ "$engine" = kvm ]; then
		modprobe kvm_amd
	else
		cvmm_load && : >/dev/kvm && mount --bind /dev/cvmm /dev/kvm
	fi
}

stop()
{
	if [ "$engine" = kvm ]; then
		rmmod kvm_amd
	else
		umount /dev/kvm && rm /dev/kvm && cvmm_unload
	fi
}

# one SECONDS TEST [ARGUMENT...]: how it ended, as the list says it
one()
{
	local log=$CVMM_OUT/${2##*/}.$engine.log

	LD_PRELOAD=$PWD/preload.so timeout -k 5 $(($1 * ${CVMM_SLOW:-1})) "./$2" "${@:3}" </dev/null >"$log" 2>&1
	case $? in
	0)	echo pass ;;
	4)	echo skip ;;
	*)	echo fail
		tail -n 20 "$log" >&2 ;;
	esac
}

start || exit 1
while read -r kvm cvmm seconds test; do
	why=${test#*\# }
	read -r -a words <<<"${test%%#*}"
	name=${words[0]}
	want=${!engine}
	if [ "$want" = - ]; then
		skip "$name" "$why"
		continue
	fi
	got=$(one "$seconds" "${words[@]}")
	case $want$got in
	passpass)	ok "$name" ;;
	skipskip)	skip "$name" "$why" ;;
	failfail)	echo "not ok $((++tap_nr)) - $name # TODO $why" >&5 ;;
	*)		not_ok "$name: $got, not $want" ;;
	esac
done < <(grep -v '^#' "$list" | grep .)
check "the module goes" stop
tap_done
