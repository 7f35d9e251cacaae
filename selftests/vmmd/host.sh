#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What one host can refuse, how cvmm-run without vmmd starts and ends, and a guest
# in vmmd's sandbox, on the real module: each ends with its message and leaves
# nothing behind.

. "$(dirname "$0")/../lib.sh"

run=$CVMM_TREE/build/cvmm-run
dir=$(mktemp -d) || exit 1
cd "$dir" || exit 1
kernel=$CVMM_TREE/build/guest/bare/cpu

# config NAME MEMORY [PAGES]
config()
{
	cat >"$1.cfg" <<-EOC
	name = "$1"; memory = "$2"; pages = "${3:-auto}"; engine = "/dev/cvmm";
	kernel = "$kernel"; cmdline = "cvmm.end=halt";
	EOC
}

# refused STATUS TEXT CONFIG
refused()
{
	local status
	timeout $((60 * ${CVMM_SLOW:-1})) "$run" "$3" </dev/null >out 2>&1
	status=$?
	tail -n 5 out
	[ $status = "$1" ] || { echo "exit status $status, expected $1"; return 1; }
	grep -q -E -- "$2" out || { echo "no '$2'"; return 1; }
}

# Until a line of FILE has TEXT, for at most a minute.
wait_for()	# TEXT FILE
{
	local n

	for ((n = 0; n < 600; n++)); do
		grep -q -E -- "$1" "$2" 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}

start()		# NAME [OPTION...]
{
	"$run" -v "${@:2}" "$1.cfg" </dev/null >"$1.out" 2>&1 &
	guest=$!
	wait_for "cvmm: end pass=" "$1.out"
}

ended()		# STATUS
{
	local status
	wait $guest
	status=$?
	[ $status = "$1" ] || { echo "exit status $status, expected $1"; return 1; }
}

# key_in_vmmd_alone: in its memory, and nowhere in that of the guest's process
key_in_vmmd_alone()
{
	python3 - $vmmd $pid <<-'EOP'
	import sys
	key = bytes.fromhex(open("/etc/cvmm/cluster.key").read().split()[1])
	def found(pid):
	    n = 0
	    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
	        for line in maps:
	            f = line.split()
	            start, end = (int(x, 16) for x in f[0].split("-"))
	            # What is its own, the guest's memory, too.
	            if f[1] == "rw-p":
	                mem.seek(start)
	                n += mem.read(end - start).count(key)
	    return n
	print("found", found(sys.argv[1]), "and", found(sys.argv[2]), "times")
	assert found(sys.argv[1]) and not found(sys.argv[2])
	EOP
}

config one 128M
check "the module is not loaded" refused 69 "/dev/cvmm is not there: load the module" one.cfg

modprobe kvm-amd
python3 -c '
import fcntl, os, time
vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xae01, 0)
open("held", "w").close()
time.sleep(600)' &
holder=$!
while [ ! -e held ]; do sleep 0.1; done
check "the module loads beside KVM" cvmm_load
check "another hypervisor is active" refused 69 "another hypervisor uses this host" one.cfg
kill $holder
wait $holder 2>/dev/null
# From Linux 6.12 on it owns the hardware as long as it is loaded.
rmmod kvm-amd

config big 512G
check "not enough memory" refused 69 "not enough memory: the guest needs 524288 MiB of this host" big.cfg
head -c 100000 /dev/urandom >noise
sed "s,$kernel,noise," one.cfg >noise.cfg
check "a kernel that is none" refused 66 "noise|bzImage|kernel" noise.cfg

"$CVMM_TREE/build/cvmm" -j events >events.json 2>/dev/null &
events=$!
sleep 1
check "a guest starts" start one
check "a second guest of its name is refused" refused 69 'a guest named "one" runs on this host already' one.cfg
check "cvmm stat shows its space" grep -q "space one: host 0 of 1" <("$CVMM_TREE/build/cvmm" stat)
check "... and memory that is its own, in large pages" python3 -c "
import json, sys; d = json.load(sys.stdin); c = d['counters']
assert d['space']['pages'] == d['space']['frames'] == 0 and d['space']['links'] == [], d['space']
assert c['engine.large_map'] > 0 and c['engine.exit_npf'] < 100 and c['engine.exits'] > 0, c
" < <("$CVMM_TREE/build/cvmm" -j stat one)
check "cvmm links" grep -q "PEER .*QUEUED" <("$CVMM_TREE/build/cvmm" links one)
check "cvmm hot: no page has travelled" python3 -c "
import json, sys; d = json.load(sys.stdin); assert d['name'] == 'one' and d['pages'] == [], d
" < <("$CVMM_TREE/build/cvmm" -j hot one)
one=$guest
config small 128M 4K
check "a guest with small pages starts beside it" start small
check "cvmm stat NAME is JSON, with times" python3 -c "
import json, sys; d = json.load(sys.stdin)
assert d['space']['pages'] == 32768 and d['space']['links'] == [], d['space']
assert d['counters']['engine.large_map'] == 0, d['counters']
z = d['latency']['zero_0']; assert z['count'] == d['counters']['dsm.fault_zero_0'] > 0, z
assert sum(n for t, n in z['buckets']) == z['count'] and z['p50_ns'] <= z['p999_ns'] <= z['max_ns'], z
" < <("$CVMM_TREE/build/cvmm" -j stat small)
kill -INT $guest
check "... ends" ended 130
guest=$one
check_fails "cvmm hot of nobody" 'no guest named "nobody"' "$CVMM_TREE/build/cvmm" hot nobody
kill -INT $guest
check "Ctrl-C ends it with status 130" ended 130
until_ok 10 grep -q space-gone events.json
kill $events
wait $events 2>/dev/null
check "cvmm events told of its memory" python3 -c "
import json; e = [json.loads(l) for l in open('events.json')]
assert [x['event'] for x in e if x['name'] == 'one'] == ['space-new', 'space-gone'], e"
check "... the name is free again" start one
kill -TERM $guest
check "SIGTERM ends it with status 143" ended 143

# free_huge NR: so many 2 MiB pages are reserved and free
free_huge() { [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)" = "$1" ]; }

config huge 64M 2M
echo 'numa_node = 0;' >>huge.cfg
check "huge pages that nobody has reserved" refused 69 "cannot map 64 MiB .*are there so many free huge pages.*NUMA node" huge.cfg
echo 40 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
check "40 of them" free_huge 40
check "a guest takes its memory from them" start huge
check "... all of it at once" free_huge 8
check "... and maps them as such" python3 -c "
import json, sys; c = json.load(sys.stdin)['counters']
assert c['engine.large_map'] == c['engine.exit_npf'] > 0, c
" < <("$CVMM_TREE/build/cvmm" -j stat huge)
kill -INT $guest
check "... ends" ended 130
check "... and gives them back" free_huge 40
echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# Everything that a guest of several hosts needs, before one is started; the key and vmmd come below.
check_fails "cvmm check without a key and vmmd" "FAIL  key .*cvmm keygen" "$CVMM_TREE/build/cvmm" check

# The same machine, as the only node of a guest that vmmd runs.
cluster_key
"$CVMM_TREE/build/vmmd" >vmmd.log 2>&1 &
vmmd=$!
wait_for listens vmmd.log
sed 's/"one"/"boxed"/; s/$/ nodes = ( { host = "127.0.0.1"; vcpus = 2; numa_node = 0; } );/; 1!s/ nodes.*//' one.cfg >boxed.cfg
check "cvmm check: a host that is ready" "$CVMM_TREE/build/cvmm" check boxed.cfg
sed 's/; nodes/; encryption = false; transport = "rdma"; nodes/' boxed.cfg >rdma.cfg
check_fails "... RDMA that is wanted and not there" "FAIL  node 0 .*127.0.0.1 port .*: the module cvmm_rdma is not loaded and not installed" "$CVMM_TREE/build/cvmm" check rdma.cfg
check "a guest starts in vmmd's sandbox" start boxed -s boxed.json
pid=$("$CVMM_TREE/build/cvmm" -j list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
check "... without root's rights" sh -c "! grep -H -E '^Uid:.*[[:space:]]0\b|^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f]|^Seccomp:.[01]' \
	/proc/$pid/task/*/status"
check "... without the cluster key, which vmmd has" key_in_vmmd_alone
kill -INT $guest
check "... ends" ended 130
check "... with the module's counters, of memory in large pages" python3 -c "
import json; c = json.load(open('boxed.json'))['nodes'][0]['counters']
assert c['engine.exits'] > c['engine.large_map'] > 0, c"
kill $vmmd
check "vmmd ends" wait $vmmd
cat vmmd.log

start one
kill -KILL $guest
check "SIGKILL of cvmm-run" ended 137
check "... leaves nothing: the module unloads" cvmm_unload
tap_done
