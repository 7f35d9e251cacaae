#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# commit.sh FAULT [PARAMETER...]: the module of planted faults commits one and goes.
# Nothing here fails by itself.

. "$CVMM_TREE/selftests/lib.sh"

commit()
{
	insmod "$CVMM_TREE/build/planted-$(uname -r)/planted.ko" fault="$1" "${@:2}" && rmmod planted
}

check "$1" commit "$@"
tap_done
