#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/space/faults.sh GROUP
#
# One group of space tests between hosts whose network it disturbs, over TCP and
# over soft-RoCE, with the modules loaded for them alone: they must unload again.

. "$CVMM_TREE/selftests/lib.sh"

modprobe -a sch_netem sch_ingress cls_u32 act_gact inet_diag tcp_diag || exit 1
rdma_up && cvmm_load && cvmm_rdma_load || exit 1
"$CVMM_TREE/build/space-test" "$@" >&5
status=$?
cvmm_rdma_unload && cvmm_unload && rdma_down || exit 1
exit $status
