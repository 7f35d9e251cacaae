#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulator and the fuzzers, for a bounded time (some 20 s on one slow core),
# as a TAP test.  A failing simulation prints the command that repeats it.
build=$(dirname "$0")/../..
n=0
bad=0

t() {
	name=$1
	shift
	n=$((n + 1))
	if out=$("$build/$@" 2>&1); then
		echo "ok $n - $name"
	else
		bad=1
		echo "not ok $n - $name"
	fi
	printf '%s\n' "$out" | sed 's/^/# /'
}


# All hosts want the same pages, to write, all the time.
same="--copiers 0 --vcpus 1 --ops 200 --same-set 1 --write-pct 100 --migrate-pct 0 --pin 0 --quit 0"
same="$same --far 0 --tail 0 --stall 0 --hold-max 0 --hold-min 0 --delay-max 20000 --fair 4"

echo 1..12
t "random runs come by each transition and race" dsm-sim --runs 500 --coverage
t "random runs with failing allocations and dropping links" dsm-sim --runs 500 --seed 100000 --inject
t "each allocation of a run fails in turn" dsm-sim --sweep-alloc --seed 3 --ops 10
t "random runs under sanitizers" dsm-sim-san --runs 30 --seed 200000 --inject
t "the oracle finds each deliberate bug" dsm-sim-bugs --prove-oracle
t "64 hosts" dsm-sim --runs 8 --hosts 64 --seed 64000
t "64 hosts on one page: no wait is longer than four fair shares" \
	dsm-sim --runs 4 --hosts 64 --gfns 1 --pages 1 $same
t "64 hosts, each instruction needs two pages: no longer than four, either" \
	dsm-sim --runs 4 --hosts 64 --gfns 2 --pages 2 $same
t "64 hosts, each instruction needs three pages: no longer than four" \
	dsm-sim --runs 4 --hosts 64 --gfns 3 --pages 3 $same
t "2 to 64 hosts: at most four messages per fault beside those for copies" \
	dsm-bench --ops 1000 scaling
t "fuzz the wire decoder" dsm-fuzz-wire 20000
t "fuzz the core with arbitrary messages" dsm-fuzz-core 20000
exit $bad
