#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What can be told of the sources without running them: no warnings of the
# module at W=1 and from sparse for both kernels, headers that compile alone,
# licence lines everywhere.

. "$(dirname "$0")/../lib.sh"
cd "$CVMM_TREE" || exit 1
out=build/static

strict_module()
{
	# Without the flags of the make that runs this test.
	env -u MAKEFLAGS -u MFLAGS make --no-print-directory -k -j"$(nproc)" module BUILD=$out KVER="$1" W=1 C=2 CF=-Wsparse-error 2>&1 | tee "$out/log.$1"
	[ "${PIPESTATUS[0]}" = 0 ] && ! grep -E 'warning:|error:' "$out/log.$1"
}

header_alone()
{
	local h=$1

	echo "#include \"$h\"" | gcc -x c -std=c99 -Wall -Wextra -Wpedantic -Werror -Iinclude/uapi -fsyntax-only - &&
	echo "#include \"$h\"" | g++ -x c++ -Wall -Wextra -Werror -Iinclude/uapi -fsyntax-only -
}

licences()
{
	local f bad=0

	for f in $(git ls-files | grep -E '\.([chS]|sh|mk|list|rst)$|(^|/)(Makefile|Kbuild)$|^scripts/'); do
		head -n 4 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0' || { echo "$f: no SPDX line"; bad=1; }
	done
	return $bad
}

mkdir -p $out
for k in 6.1 6.12; do
	if [ -e kmod/main.c ]; then
		check "module for $k has no warning at W=1 C=2" strict_module $k
	fi
done
for h in include/uapi/linux/*.h; do
	if command -v g++ >/dev/null; then
		check "$h compiles alone in C and C++" header_alone "$h"
	else
		skip "$h compiles alone in C and C++" "no g++"
	fi
done
check "licence lines" licences
tap_done
