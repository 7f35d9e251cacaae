#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/guest/bare.sh kvm|cvmm|cvmm-tables|cvmm-copies|cluster VCPUS [IMAGE...]
#
# The bare-metal images of guest/bare/tests by cvmm-run: on this host alone, on
# stock KVM or on our engine, or across all hosts with VCPUS on each.  The points
# that they print become points here.  "make guest" builds them.  cvmm-tables:
# with the guest page-table cache and its memory in a space, as a guest on several hosts
# has it; cvmm-copies: the same with all tables copied, as if other hosts used them.  CVMM_PARAMS: more
# parameters of the module.

. "$CVMM_TREE/selftests/lib.sh"

kind=$1 where=${1%-*}
case $1 in
cvmm-tables)	params=page_table_cache=1 ;;
cvmm-copies)	params="page_table_cache=1 tables_in_place=0" ;;
*)		params= ;;
esac
vcpus=$2
shift 2
[ $# -gt 0 ] || set -- $(cd "$CVMM_TREE/guest/bare/tests" && basename -s .c -a -- *.c)
vmmd=

set_up()
{
	mkdir -p /run/cvmm
	if [ "$where" = kvm ]; then
		modprobe kvm-amd
		return
	fi
	cvmm_load check_vmcb_clean=1 $params ${CVMM_PARAMS:-} || return 1
	[ "$where" = cluster ] || return 0
	cluster_key || return 1
	"$CVMM_TREE/build/vmmd" &
	vmmd=$!
	for _ in $(seq 50); do
		kill -0 $vmmd || return 1
		ss -H -l -t -n | grep -q . && return
		sleep 0.2
	done
	return 1
}

tear_down()
{
	[ -z "$vmmd" ] || { kill $vmmd; wait $vmmd; }
	if [ "$where" = kvm ]; then rmmod kvm-amd; else cvmm_unload; fi
}

# config IMAGE: its guest.cfg on standard output
config()
{
	local n nodes=

	# As that of several hosts has it.
	[ "$kind" = "$where" ] || echo 'pages = "4K";'
	# Of the forms in "mmio" some are none that stock KVM emulates.
	[ "$where" = kvm ] || echo "cmdline = \"all\";"
	echo "name = \"$1\"; memory = \"64M\"; kernel = \"$CVMM_TREE/build/guest/bare/$1\";"
	if [ "$where" != cluster ]; then
		echo "engine = \"/dev/$where\"; vcpus = $vcpus;"
		return
	fi
	for n in $(seq "$CVMM_HOSTS"); do
		nodes="$nodes${nodes:+, }{ host = \"10.77.0.$n\"; vcpus = $vcpus; }"
	done
	echo "nodes = ( $nodes );"
}

run_image()
{
	local console=$CVMM_OUT/$1.console status

	config "$1" >"$CVMM_OUT/$1.cfg"
	timeout $((120 * ${CVMM_SLOW:-1})) "$CVMM_TREE/build/cvmm-run" --no-reboot --console-log="$console" "$CVMM_OUT/$1.cfg" \
		</dev/null >/dev/null
	status=$?
	if [ $status = 0 ]; then ok "$1: powered off"; else not_ok "$1: cvmm-run's exit status is $status"; fi
	guest_tap "$console"
}

check "set up" set_up
[ "$where" != cluster ] || hosts-barrier ready || exit 1
if on_host 0; then
	for image; do
		run_image "$image"
	done
fi
[ "$where" != cluster ] || hosts-barrier over || exit 1
check "tear down" tear_down
tap_done
