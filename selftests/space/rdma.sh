#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/space/rdma.sh [-n NETEM] GROUP [--seed N]
#
# One group of space tests over soft-RoCE, with the modules loaded for it
# alone: they must unload again.  NETEM: what the network does to packets, as
# "loss 1%" (tc-netem(8)).

. "$CVMM_TREE/selftests/lib.sh"

netem=
if [ "$1" = -n ]; then
	netem=$2
	shift 2
fi
modprobe -q tls	# if the kernel has it
rdma_up || exit 1
[ -z "$netem" ] || tc qdisc add dev eth0 root netem $netem || exit 1
cvmm_load && cvmm_rdma_load || exit 1
"$CVMM_TREE/build/space-test" "$@" >&5
status=$?
cvmm_rdma_unload && cvmm_unload || exit 1
[ -z "$netem" ] || { tc -s qdisc show dev eth0; tc qdisc delete dev eth0 root; } || exit 1
rdma_down || exit 1
exit $status
