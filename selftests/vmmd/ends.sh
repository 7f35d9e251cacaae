#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: ends.sh [CYCLES]
#
# A guest across all hosts, one vCPU each, ends in every way that a guest can:
# power-off, the three resets, a reset that boots again, the user's wish; then
# CYCLES starts and stops, after which each host has as much memory in use and
# files open as before them.  Nothing may be left on any host, and the module
# must unload.  The guest is a bare-metal image whose vCPUs send each other
# interrupts, which is over within seconds.

. "$(dirname "$0")/../lib.sh"

run=$CVMM_TREE/build/cvmm-run
ctl=$CVMM_TREE/build/cvmm
dir=${CVMM_OUT:-$(mktemp -d)}/ends
mkdir -p "$dir"
cd "$dir" || exit 1
encryption=true

config()	# NAME END
{
	local i nodes= sep=

	for ((i = 1; i <= CVMM_HOSTS; i++)); do
		nodes+="$sep{ host = \"10.77.0.$i\"; }"
		sep=', '
	done
	cat >"$1.cfg" <<-EOC
	name = "$1"; memory = "64M"; engine = "/dev/cvmm";
	kernel = "$CVMM_TREE/build/guest/bare/ipi"; cmdline = "cvmm.end=$2"; encryption = $encryption;
	nodes = ( $nodes );
	EOC
}

# ends STATUS NAME END [OPTION...]: a guest that ends so; its own tests pass
ends()
{
	local want=$1 name=$2 status

	config "$name" "$3"
	shift 3
	timeout $((60 * ${CVMM_SLOW:-1})) "$run" -v -s "$name.json" "$@" "$name.cfg" </dev/null >"$name.out" 2>"$name.err"
	status=$?
	cat "$name.err"
	[ $status = "$want" ] || { tail -n 20 "$name.out"; echo "exit status $status, expected $want"; return 1; }
	grep -q "cvmm: end pass=[1-9][0-9]* fail=0" "$name.out" || { tail -n 20 "$name.out"; return 1; }
}

# Boots again after a reset, twice, until the user has seen enough.
boots_again()
{
	local guest n status

	config again reset
	"$run" -v again.cfg </dev/null >again.out 2>again.err &
	guest=$!
	for ((n = 0; n < 900; n++)); do
		[ "$(grep -c "cvmm: end pass=" again.out)" -lt 3 ] || break
		sleep 0.1
	done
	kill -INT $guest
	wait $guest
	status=$?
	cat again.err
	[ $status = 130 ] && [ "$(grep -c "cvmm: end pass=" again.out)" -ge 3 ]
}

cycles()	# N
{
	local n

	for ((n = 0; n < $1; n++)); do
		ends 0 cycle poweroff || { echo "cycle $n"; return 1; }
	done
}

# The kernel's own caches keep a few hundred kB.  Over 20 cycles the bounds are 30 kB of
# kernel memory and 200 kB of any for each, and less than one file.
no_leak()	# KERNEL-kB USED-kB FILES, before
{
	local kernel used files

	read -r kernel used files < <(kernel_usage)
	note "kernel memory $1 kB, then $kernel kB; in use $2 kB, then $used kB; files $3, then $files"
	[ $((files - $3)) -lt 20 ] || return 1
	debug_kernel || [ $((kernel - $1)) -lt 600 -a $((used - $2)) -lt 4096 ]
}

# Which pages of the guest's image can be read off any network interface, the loopback
# too, while COMMAND runs: as many lines in FILE.
sniff()		# FILE COMMAND...
{
	local sniffer status out=$1

	shift
	python3 - "$CVMM_TREE/build/guest/bare/ipi" "$out" <<-'EOP' &
	import signal, socket, sys
	image = open(sys.argv[1], "rb").read()
	marks = {n: image[n:n + 32] for n in range(0, len(image) - 32, 512) if len(set(image[n:n + 32])) > 12}
	assert len(marks) > 8, "an image without content"
	s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
	def stop(*_):
	    raise KeyboardInterrupt
	signal.signal(signal.SIGTERM, stop)
	open(sys.argv[2] + ".ready", "w").close()
	wire = []
	try:
	    while True:
	        wire.append(s.recv(65536))
	except KeyboardInterrupt:
	    pass
	data = b"".join(wire)
	with open(sys.argv[2], "w") as f:
	    for n, m in marks.items():
	        if m in data:
	            f.write("offset %d\n" % n)
	print("%d packets, %d bytes, %d marks" % (len(wire), len(data), len(marks)), file=sys.stderr)
	assert len(data) > 100000, "nothing was seen at all"
	EOP
	sniffer=$!
	for _ in $(seq 100); do
		[ ! -e "$out.ready" ] || break
		sleep 0.1
	done
	"$@"
	status=$?
	kill -TERM $sniffer
	wait $sniffer && return $status
}

nothing_left()
{
	local n

	for ((n = 0; n < 100; n++)); do
		[ -z "$("$ctl" list)" ] && [ "$("$ctl" -j stat)" = "[]" ] && return 0
		sleep 0.1
	done
	"$ctl" list
	"$ctl" stat
	return 1
}

cvmm_load && cluster_key || exit 1
"$CVMM_TREE/build/vmmd" >vmmd.log 2>&1 &
vmmd=$!
until grep -q listens vmmd.log; do
	kill -0 $vmmd || exit 1
	sleep 0.1
done
hosts-barrier up || exit 1
if on_host 0; then
	check "power-off: status 0" sniff secret ends 0 off poweroff
	check "... nothing of the guest could be read on the way" test -e secret -a ! -s secret
	check "... interrupts crossed between hosts" python3 -c "
import json; d = json.load(open('off.json'))
for n in d['nodes']: assert n['counters']['channel.apic_in'] + n['counters']['space.irq_in'] > 0, n
for n in d['nodes'][1:]: assert 0 < n['counters']['tsc.error_ns'] < 3000000, n
"
	check "reset by port, --no-reboot: status 2" ends 2 reset reset -n
	check "reset by the keyboard controller" ends 2 kbd kbd -n
	check "reset by triple fault" ends 2 triple triple -n
	check "a reset boots again on all hosts" boots_again
	encryption=false
	check "without encryption" sniff open ends 0 plain poweroff
	check "... it could" test -s open
	encryption=true
fi
hosts-barrier ends
check "nothing is left" nothing_left
before=$(kernel_usage)
hosts-barrier counted
on_host 0 && check "${1:-5} starts and stops" cycles "${1:-5}"
hosts-barrier done
check "nothing is left" nothing_left
check "no memory or file is lost in them" no_leak $before
kill $vmmd
check "vmmd ends" wait $vmmd
cat vmmd.log
check "no descriptor or process of ours is left" sh -c '! pgrep -x vmmd && ! pgrep vm-'
check "the module unloads" cvmm_unload
tap_done
