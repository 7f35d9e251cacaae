#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/bench/links.sh [ROUNDS]
#
# Remote faults beside raw round trips of the same bytes over the same transport
# (selftests/space/latency.c), between two hosts: TCP, and RDMA by soft-RoCE.
# JSON goes to links.json in the results.

. "$CVMM_TREE/selftests/lib.sh"

modprobe ib_uverbs && rdma_up && cvmm_load && cvmm_rdma_load || exit 1
BENCH_ROUNDS=${1:-1} BENCH_JSON=${CVMM_OUT:-/tmp}/links.json "$CVMM_TREE/build/space-test" latency >&5
status=$?
cvmm_rdma_unload && cvmm_unload && rdma_down || exit 1
exit $status
