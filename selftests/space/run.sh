#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One group of space tests (build/space-test GROUP [--seed N]) with the module
# loaded for it alone: it must unload again.

. "$CVMM_TREE/selftests/lib.sh"

modprobe -q tls	# if the kernel has it
cvmm_load || exit 1
"$CVMM_TREE/build/space-test" "$@" >&5
status=$?
cvmm_unload || exit 1
exit $status
