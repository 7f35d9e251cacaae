#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/guest/cluster.sh VCPUS TESTS [COMMAND-LINE WORDS]
#
# One guest across all hosts, with VCPUS vCPUs on each: boots the unmodified
# kernel, runs TESTS (see guest/init.c) and powers off.  Each point of the guest
# becomes one here; then the counters show that the hosts did share it.  Runs on
# every host; host 0 runs the guest.

. "$CVMM_TREE/selftests/lib.sh"

vcpus=$1 tests=$2 words=${3:-}
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/cluster
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })

nodes()
{
	local i sep=

	for i in $(seq "$CVMM_HOSTS"); do
		printf '%s{ host = "10.77.0.%d"; vcpus = %d; }' "$sep" "$i" "$vcpus"
		sep=', '
	done
}

vmmd_up()
{
	local i

	mkdir -p /run/cvmm
	build/vmmd >"$CVMM_OUT/vmmd.log" 2>&1 &
	vmmd=$!
	for i in $(seq 100); do
		[ -n "$(ss -H -l -t -n 'sport = :7741')" ] && return 0
		kill -0 $vmmd || return 1
		sleep 0.2
	done
	return 1
}

vmmd_down()
{
	kill -TERM $vmmd && wait $vmmd
}

# counters PATTERN: the sum over all nodes of the counters whose names match
counters()
{
	sed -n 's/^ *"\([a-z][a-z0-9_.]*\)": \([0-9]*\),*$/\1 \2/p' "$out.json" | grep -E "^$1 " |
		awk '{ n += $2 } END { print n + 0 }'
}

check "the module loads" cvmm_load
check "vmmd starts" vmmd_up
hosts-barrier "vmmd is up" || exit 1

if on_host 0; then
	cat >"$out.cfg" <<-END
	name = "cluster"; memory = "512M";
	kernel = "$kernel"; initrd = "$CVMM_TREE/build/guest.img";
	cmdline = "console=ttyS0 quiet panic=-1 $words cvmm.tests=\"$tests\"";
	slowdown = 10;
	nodes = ( $(nodes) );
	END
	sed -i 's/cvmm.tests="\(.*\)"";$/cvmm.tests=\\"\1\\"";/' "$out.cfg"
	check "the guest runs and powers off" build/cvmm-run -v -n -l "$out.console" -s "$out.json" "$out.cfg" </dev/null
	guest_tap "$out.console"
	check "pages came from the other host" test "$(counters 'dsm.fault_(read|write)_[23]')" -gt 0
	check "interrupts went to the other host" test "$(counters 'machine.ipis_remote_out')" -gt 0
	check "devices were reached from the other host" test "$(counters 'machine.io_forwarded')" -gt 0
	note "remote faults $(counters 'dsm.fault_[a-z]*_[23]'), messages $(counters 'dsm.tx_(req|fwd|inv|data|done).*')," \
		"pages $(counters 'dsm.tx_page'), IPIs to other hosts $(counters 'machine.ipis_remote_out')"
	note "reads $(counters 'dsm.fault_read_[23]') (with the page $(counters 'dsm.read_migratory')," \
		"then written $(counters 'dsm.migratory_written'), given up unwritten $(counters 'dsm.migratory_clean'))," \
		"writes $(counters 'dsm.fault_write_[23]'), upgrades $(counters 'dsm.fault_upgrade_[23]')," \
		"zero $(counters 'dsm.fault_zero_2')"
fi

hosts-barrier "the guest has ended" || exit 1
check "vmmd ends" vmmd_down
check "the module unloads" cvmm_unload
tap_done
