#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build.sh DIR: those of the kernel's KVM selftests that kvm.list wants to run, into DIR.

set -eu
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
out=$(readlink -f "$1")
src=$("$here/../../scripts/debug-kernel" --source)

targets=()
while read -r kvm cvmm _ name _; do
	[ "$kvm$cvmm" = -- ] || targets+=("$out/$name")
done < <(grep -v '^#' "$here/kvm.list" | grep .)

if ! env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
	make -s -j"$(nproc)" -C "$src/tools/testing/selftests/kvm" OUTPUT="$out" "${targets[@]}" >"$out/log" 2>&1; then
	tail -n 30 "$out/log" >&2
	exit 1
fi
