#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A test can cut the power of a host and go on with the others.

. "$CVMM_TREE/selftests/lib.sh"

hosts-barrier up || exit 1
if on_host 1; then
	sleep 1000
fi
check "cut host 1" hosts-cut 1
check "it does not answer" sh -c '! busybox ping -c 1 -w 2 10.77.0.2'
check "barriers go on without it" hosts-barrier alone
tap_done
