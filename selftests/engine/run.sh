#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One test program of the engine (its name and arguments) with the module loaded
# for it alone: it must unload again.

. "$CVMM_TREE/selftests/lib.sh"

cvmm_load check_vmcb_clean=1 || exit 1
"$CVMM_TREE/build/$1" "${@:2}" >&5
status=$?
cvmm_unload || exit 1
exit $status
