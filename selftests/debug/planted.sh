#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make check-debug finds what it is there to find: with a fault of each kind
# planted in a module, the runner fails the test, and for that fault.

. "$(dirname "$0")/../lib.sh"
cd "$CVMM_TREE" || exit 1
out=build/planted

# found NAME TEXT: the runner blames test NAME, with TEXT
found()
{
	awk -v name="planted-$1@debug:" '/^(FAIL|ok|skip) / { mine = $1 == "FAIL" && $2 == name } mine && /^ *!/' \
		$out.log | grep -E -- "$2"
}

selftests/run -j 1 -k debug -x 3 -o $out -f selftests/debug/planted.list >$out.log 2>&1
status=$?
cat $out.log
check "the run fails" [ $status = 1 ]
check "no test of it passes" sh -c "! grep '^ok ' $out.log"
check "memory that nobody has" found leak "the kernel has lost memory"
check "a write beyond the end" found write "its kernel says: .*KASAN: slab-out-of-bounds"
check "a write after free" found freed "its kernel says: .*KASAN: .*use-after-free"
check "locks in both orders" found locks "its kernel says: .*possible circular locking dependency"
check "sleep with a spinlock" found sleep "its kernel says: .*sleeping function called from invalid context|its kernel says: .*scheduling while atomic"
check "a shift too far" found shift "its kernel says: .*UBSAN: shift-out-of-bounds"
tap_done
