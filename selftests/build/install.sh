#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make install puts everything where DESTDIR and PREFIX say and nowhere else.

. "$(dirname "$0")/../lib.sh"
cd "$CVMM_TREE" || exit 1
dest=$CVMM_TREE/build/install-test
kver=$(scripts/kernels --version 6.1)

rm -rf "$dest"
check "make install" make --no-print-directory install DESTDIR="$dest" PREFIX=/opt/cvmm KVER=6.1
for f in opt/cvmm/sbin/vmmd opt/cvmm/bin/cvmm-run opt/cvmm/bin/cvmm opt/cvmm/include/linux/cvmm.h \
	 lib/modules/"$kver"/updates/cvmm.ko lib/modules/"$kver"/updates/cvmm_rdma.ko; do
	check "/$f is there" test -s "$dest/$f"
done
check "nothing else at the top" test "$(cd "$dest" && echo *)" = "lib opt"
rm -rf "$dest"
tap_done
