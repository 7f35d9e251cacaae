#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/vmmd/channel-rdma.sh
#
# The channel over RDMA (soft-RoCE) between two processes of this emulated host.

. "$CVMM_TREE/selftests/lib.sh"

rdma_up && modprobe -a ib_uverbs rdma_ucm || exit 1
"$CVMM_TREE/build/channel-test" "10.78.0.$((CVMM_HOST + 1))" >&5
status=$?
rdma_down || exit 1
exit $status
