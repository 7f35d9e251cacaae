#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The module loads, makes /dev/cvmm and goes away again, many times, and leaves
# no memory behind.

. "$CVMM_TREE/selftests/lib.sh"

cycles()
{
	local i

	for i in $(seq "$1"); do
		cvmm_load || return 1
		[ -c /dev/cvmm ] || return 1
		cvmm_unload || return 1
		[ ! -e /dev/cvmm ] || return 1
	done
}

# 20 cycles may cost a few slabs of the kernel's own, not one page each.
no_leak()
{
	local before after

	read -r before _ < <(kernel_usage)
	cycles 20 || return 1
	read -r after _ < <(kernel_usage)
	echo "kernel memory: $before kB before, $after kB after"
	debug_kernel || [ $((after - before)) -lt 400 ]
}

check "loads and unloads" cycles 3
check "no kernel memory lost in 20 cycles" no_leak
check "no slab cache left" sh -c '! grep cvmm /proc/slabinfo'
tap_done
