#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/guest/cluster.sh [OPTIONS] VCPUS TESTS [COMMAND-LINE WORDS]
#
# One guest across all hosts, with VCPUS vCPUs on each: boots the unmodified
# kernel, runs TESTS (see guest/init.c) and ends.  Each point of the guest
# becomes one here; then the counters show that the hosts did share it.  Runs on
# every host; host 0 runs the guest.  Emulated hosts encrypt slowly: without -c the
# links are in the clear.
#
#   -m MEMORY	of the guest (512M)
#   -e END	how it ends: poweroff (default), reboot or panic
#   -n TIMES	so often, one after the other
#   -c		encrypt the links, of three connections each
#   -r		over RDMA (soft-RoCE)
#   -p PARAMETER	one more of the module's

. "$CVMM_TREE/selftests/lib.sh"

memory=512M end=poweroff times=1 encryption=false connections=1 transport=auto net=10.77.0 parameter=
while getopts m:e:n:crp: opt; do
	case $opt in
	m)	memory=$OPTARG ;;
	e)	end=$OPTARG ;;
	n)	times=$OPTARG ;;
	c)	encryption=true connections=3 ;;
	r)	transport=rdma net=10.78.0 ;;
	p)	parameter=$OPTARG ;;
	*)	exit 2 ;;
	esac
done
shift $((OPTIND - 1))
vcpus=$1 tests=$2 words=${3:-}
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/cluster
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })

nodes()
{
	local i sep=

	for i in $(seq "$CVMM_HOSTS"); do
		printf '%s{ host = "%s.%d"; vcpus = %d; }' "$sep" $net "$i" "$vcpus"
		sep=', '
	done
}

# Sockets with kernel TLS that this host has had.
tls_sockets()	{ awk '$1 == "TlsTxSw" { n = $2 } END { print n + 0 }' /proc/net/tls_stat; }

# counters PATTERN: the sum over all nodes of the counters whose names match
counters()
{
	sed -n 's/^ *"\([a-z][a-z0-9_.]*\)": \([0-9]*\),*$/\1 \2/p' "$out.json" | grep -E "^$1 " |
		awk '{ n += $2 } END { printf "%.0f\n", n }'
}

# Pages travel for milliseconds here: see kmod/SPACE.rst for the parameter.
check "the module loads" cvmm_load min_run_us=4000 $parameter
if [ $transport = rdma ]; then
	check "RDMA on eth0" rdma_up
	check "the RDMA module loads" cvmm_rdma_load
	check "programs can use RDMA" modprobe -a ib_uverbs rdma_ucm
fi
check "vmmd starts" vmmd_up
links=$(tls_sockets)
hosts-barrier "vmmd is up" || exit 1

# Ends as told: a power-off with status 0, a reset (panic=-1 makes one of a
# panic) with 2 under --no-reboot.
guest_runs()
{
	local want=2 status

	[ "$end" = poweroff ] && want=0
	rm -f "$out.console" "$out.json"	# of the run before
	build/cvmm-run -v -n -l "$out.console" -s "$out.json" "$out.cfg" </dev/null
	status=$?
	[ $status = $want ] || { echo "exit status $status, expected $want"; return 1; }
}

# What the channels say goes over RDMA, and nothing but signs of life besides: one a
# second and node, three at most before there is RDMA.
channel_over()
{
	local rdma=$(counters channel.rdma_tx_msgs) tls=$(counters channel.tx_msgs) io=$(counters channel.io_out)

	note "channel: messages over RDMA $rdma, besides $tls; device accesses $io," \
		"$(($(counters channel.io_wait_ns) / (io * 1000 + 1))) us each"
	case $1 in
	rdma)	[ "$(counters channel.rdma_peers)" = $((CVMM_HOSTS * (CVMM_HOSTS - 1))) ] && [ "$io" -gt 0 ] && [ "$rdma" -gt $((2 * io)) ] &&
			[ "$tls" -lt $((SECONDS * CVMM_HOSTS * (CVMM_HOSTS - 1))) ] ;;
	*)	[ "$rdma" = 0 ] && [ "$tls" -gt $((2 * io)) ] ;;
	esac
}

# The tables of processes are walked in place, those that several hosts use are
# copied: so few walks ask for a table, and none again and again.
few_walk_faults()
{
	local walks=$(counters engine.exit_npf_walk) faults=$(counters 'dsm.fault_(read|write|upgrade)_[23]')

	note "walks that asked for a table $walks; ptcache: fills $(counters ptcache.fills)," \
		"dropped $(counters ptcache.dropped), in place $(counters ptcache.in_place)," \
		"copied $(counters ptcache.copied), INVLPG $(counters ptcache.invlpgs)" \
		"(in place $(counters ptcache.invlpgs_in_place)), CR3 $(counters ptcache.cr3_loads)," \
		"injected $(counters ptcache.injected); exits $(counters engine.exits)"
	[ "$(counters ptcache.in_place)" -gt 0 ] && [ $((walks * 2)) -lt "$faults" ]
}

guest_points()
{
	check "the guest runs and ends ($end)" guest_runs
	guest_tap "$out.console"
	if [ "$end" = panic ]; then
		check "the panic is on the console" grep -q "Kernel panic - not syncing" "$out.console"
	else
		check "the guest's kernel has no complaint" no_complaint "" "$out.console"
	fi
	check "pages came from the other host" test "$(counters 'dsm.fault_(read|write)_[23]')" -gt 0
	[[ $parameter != ahead=* ]] ||
		check "pages came ahead of their use" test "$(counters 'dsm.ahead_used_(read|write)')" -gt 0
	check "the report says how long reads took" test "$(counters 'time.read_2.p50_ns')" -gt 0
	check "few page-table walks asked for a table" few_walk_faults
	check "interrupts went to the other host" test "$(counters 'space.irq_out')" -gt 0
	check "devices were reached from the other host" test "$(counters 'machine.io_forwarded')" -gt 0
	check "... over the transport of the links" channel_over $transport
	note "remote faults $(counters 'dsm.fault_[a-z]*_[23]'), messages $(counters 'dsm.tx_(req|fwd|inv|data|done).*')," \
		"pages $(counters 'dsm.tx_page'), IPIs to other hosts $(counters 'space.irq_out')," \
		"by vmmd $(counters 'machine.ipis_remote_out'), lost $(counters 'space.irq_lost')," \
		"exits to vmmd $(counters 'machine.exits')"
	note "reads $(counters 'dsm.fault_read_[23]') (with the page $(counters 'dsm.read_migratory')," \
		"then written $(counters 'dsm.migratory_written'), given up unwritten $(counters 'dsm.migratory_clean'))," \
		"writes $(counters 'dsm.fault_write_[23]'), upgrades $(counters 'dsm.fault_upgrade_[23]')," \
		"zero $(counters 'dsm.fault_zero_2')"
	note "asked ahead: reads $(counters dsm.ahead_read), writes $(counters dsm.ahead_write); waited for" \
		"$(counters dsm.ahead_late), used $(counters dsm.ahead_used_read) and $(counters dsm.ahead_used_write)," \
		"wasted $(counters dsm.ahead_wasted_read) and $(counters dsm.ahead_wasted_write)"
}

if on_host 0; then
	cat >"$out.cfg" <<-END
	name = "cluster"; memory = "$memory";
	kernel = "$kernel"; initrd = "$CVMM_TREE/build/guest.img";
	cmdline = "console=ttyS0 loglevel=5 panic=-1 $words cvmm.tests=\"$tests\" cvmm.end=$end";
	slowdown = $((5 * CVMM_HOSTS)); encryption = $encryption; transport = "$transport";
	connections = $connections;
	nodes = ( $(nodes) );
	END
	[ $transport != rdma ] || check "cvmm check finds RDMA for module and programs" build/cvmm check "$out.cfg"
	for ((run = 1; run <= times; run++)); do
		[ "$times" = 1 ] || note "run $run of $times"
		guest_points
	done
fi

hosts-barrier "the guest has ended" || exit 1
[ $encryption = false ] || links=$((links + times * connections * (CVMM_HOSTS - 1)))
check "links that are encrypted: $encryption" test "$(tls_sockets)" = $links
check "vmmd ends" vmmd_down
if [ $transport = rdma ]; then
	check "the RDMA module unloads" cvmm_rdma_unload
	check "the RDMA device goes" rdma_down
fi
check "the module unloads" cvmm_unload
tap_done
