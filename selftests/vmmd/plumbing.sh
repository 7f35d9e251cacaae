#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vmmd and cvmm-run around a fake machine (vmmd/tests/fake), with sanitizers:
# start, power-off, reboot, stop, and every way in which a part of a running
# guest can go away.  Three vmmds on this machine stand for three hosts.

. "$(dirname "$0")/../lib.sh"

bin=$CVMM_TREE/build/tests/vmmd
[ -x "$bin/fake-vmmd" ] && [ -x "$bin/fake-cvmm-run" ] || skip_all "not built: make tests"
dir=$(mktemp -d) || exit 1
base=$((20000 + $$ % 20000))
declare -a vmmd_pid
trap cleanup EXIT

cleanup()
{
	local p
	for p in "${vmmd_pid[@]}"; do kill "$p" 2>/dev/null; done
	wait
	rm -rf "$dir"
}

start_vmmd()	# N [VAR=VALUE]
{
	local n=$1
	env ${2:+"$2"} "$bin/fake-vmmd" -k "$dir/key" -b 127.0.0.1 -p $((base + n)) -s "$dir/$n.sock" >"$dir/$n.log" 2>&1 &
	vmmd_pid[n]=$!
	until_ok 10 grep -q listens "$dir/$n.log"
}

ctl()	{ "$CVMM_TREE/build/cvmm" -s "$dir/$1.sock" "${@:2}"; }

# config NAME NODES CMDLINE
config()
{
	local i nodes= sep=
	for ((i = 0; i < $2; i++)); do
		nodes+="$sep{ host = \"127.0.0.1\"; port = $((base + i)); }"
		sep=', '
	done
	cat >"$dir/$1.cfg" <<-EOC
	name = "$1"; memory = "64M"; kernel = "kernel"; initrd = "initrd"; cmdline = "$3";
	connections = 3;
	nodes = ( $nodes );
	EOC
}

# guest_run NAME: in the background, output in NAME.out
guest_run()
{
	: >"$dir/$1.out"
	timeout 60 "$bin/fake-cvmm-run" -v -k "$dir/key" "${@:2}" "$dir/$1.cfg" </dev/null >"$dir/$1.out" 2>&1 &
	run_pid=$!
}

guest_up()	{ until_ok 15 grep -q "fake: up" "$dir/$1.out"; }

# ended STATUS NAME TEXT...: cvmm-run has ended like that, and said each TEXT
ended()
{
	local want=$1 name=$2 status text
	shift 2
	wait $run_pid
	status=$?
	cat "$dir/$name.out"
	[ $status = "$want" ] || { echo "exit status $status, expected $want"; return 1; }
	for text; do
		grep -q -E -- "$text" "$dir/$name.out" || { echo "no '$text'"; return 1; }
	done
}

# Nothing of any guest is left on any host, and no sanitizer has spoken.
no_guests()
{
	local host

	for host in 0 1 2; do [ -z "$(ctl $host list)" ] || return 1; done
}

nothing_left()
{
	until_ok 15 no_guests || { ctl 0 list; ctl 1 list; ctl 2 list; return 1; }
	! grep -l -E "Sanitizer|runtime error" "$dir"/*.log "$dir"/*.out
}

# Seconds from here on that the rest of the guest may take to end.
within()	# SECONDS COMMAND...
{
	local start=$SECONDS limit=$1
	shift
	"$@" || return 1
	[ $((SECONDS - start)) -le "$limit" ] || { echo "took $((SECONDS - start)) s"; return 1; }
}

python3 - "$dir" <<'EOP' || exit 1
import sys
open(sys.argv[1] + "/kernel", "wb").write(bytes(n % 251 for n in range(3000001)))
open(sys.argv[1] + "/initrd", "wb").write(bytes(n % 241 for n in range(5000011)))
EOP
"$CVMM_TREE/build/cvmm" keygen "$dir/key" || exit 1
for n in 0 1 2; do start_vmmd $n || { cat "$dir/$n.log"; exit 1; }; done

ctl 1 -j events >"$dir/events.json" 2>"$dir/events.err" &
events_pid=$!
until_ok 10 grep -q "no events of the module" "$dir/events.err"
config off 3 "fake=poweroff ms=400"
guest_run off -s "$dir/off.json"
check "power-off ends all nodes, status 0" ended 0 off "wrong 0" "powered off"
check "... messages of each kind crossed" grep -q "apic_in some info_in some eoi_in some" "$dir/off.out"
check "... the report is JSON and has three nodes" python3 -c "
import json; d = json.load(open('$dir/off.json'))
assert d['status'] == 0 and len(d['nodes']) == 3, d
assert all(n['counters']['channel.rx_msgs'] > 0 for n in d['nodes']), d
assert d['nodes'][1]['counters']['tsc.error_ns'] > 0, d"
check "... nothing is left" nothing_left

kill $events_pid; wait $events_pid 2>/dev/null
check "cvmm events told of its start and end" python3 -c "
import json; e = [json.loads(l) for l in open('$dir/events.json')]
assert all(x['name'] == 'off' and x['node'] == 1 and x['source'] == 'vmmd' for x in e), e
assert [x['event'] for x in e] == ['new', 'starting', 'ready', 'ended', 'gone'], e"
check "cvmm list without guests is an empty JSON list" python3 -c "
import json, sys; assert json.load(sys.stdin) == []" < <(ctl 1 -j list)

# This fake host has no RDMA.
config auto 3 "fake=poweroff ms=100"
echo 'encryption = false;' >>"$dir/auto.cfg"
guest_run auto
check "links that may be RDMA connections, of hosts without it" ended 0 auto "wrong 0" "powered off"
config rdma 3 "fake=poweroff ms=100"
echo 'encryption = false; transport = "rdma";' >>"$dir/rdma.cfg"
guest_run rdma
check "links that must be: who cannot is named" ended 69 rdma "node [01] .*no RDMA device of this host has the address"
check "... nothing is left" nothing_left

config solo 1 "fake=poweroff ms=50"
guest_run solo
check "one node through its vmmd" ended 0 solo "powered off"

config again 3 "fake=reset ms=150 boots=$dir/boots:4"
guest_run again -s "$dir/again.json"
check "reboot three times, then power off" ended 0 again "powered off"
check "... four boots" grep -q '"boots": 4' "$dir/again.json"
config reset 2 "fake=reset ms=100"
guest_run reset --no-reboot
check "--no-reboot ends with status 2" ended 2 reset "has reset"
check "... nothing is left" nothing_left

config hang 3 "fake=hang"
guest_run hang
guest_up hang
kill -INT $(pgrep -P $run_pid)
check "Ctrl-C ends all nodes" ended 130 hang "ended by a signal: Interrupt"
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
check "cvmm list shows the node" grep -q -E "hang +1/3 +1 .* ready" <(ctl 1 list)
check "cvmm --json list is JSON" python3 -c "
import json, sys; d = json.load(sys.stdin); assert d[0]['name'] == 'hang' and d[0]['nodes'] == 3" < <(ctl 2 -j list)
check "cvmm stat shows counters" grep -q channel.io_out <(ctl 1 stat hang 2>/dev/null)
check_fails "a second guest of that name is refused" "hang.* runs on this host already" \
	timeout 20 "$bin/fake-cvmm-run" -k "$dir/key" "$dir/hang.cfg"
config other 2 "fake=poweroff ms=200"
cp $dir/hang.out $dir/hang1.out; hang_pid=$run_pid
guest_run other
check "another guest beside it" ended 0 other "powered off"
run_pid=$hang_pid
check "cvmm stop NAME is accepted" ctl 1 stop hang
check "... and ends the guest everywhere" ended 130 hang "node 1 .*stopped by cvmm stop"
check_fails "cvmm stop of an unknown guest" "no guest named" ctl 0 stop nobody
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
kill -KILL $(pgrep -P $run_pid)
check "a killed cvmm-run leaves nothing behind" within 6 nothing_left
wait $run_pid

guest_run hang
guest_up hang
victim=$(ctl 1 --json list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
kill -KILL "$victim"
check "a killed node ends the guest within 5 s" within 5 ended 70 hang "node 1 .*killed by signal 9"
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
victim=$(ctl 2 --json list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
kill -STOP "$victim"
check "a node that stands still is lost, within 5 s" within 5 ended 75 hang "lost node 2 .*no sign of life"
kill -KILL "$victim"
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
config crash 2 "fake=poweroff ms=300"
victim=$(ctl 2 --json list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
hang_pid=$run_pid
guest_run crash
kill -KILL "$victim"
check "the end of one guest does not touch another" ended 0 crash "powered off"
run_pid=$hang_pid
ended 70 hang

# The sandbox.
guest_run hang
guest_up hang
hang_pid=$run_pid
pid=$(ctl 1 --json list | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
check "a node's process may not gain privileges" grep -q "NoNewPrivs:.1" /proc/$pid/status
check "... and all its threads are filtered" sh -c "! grep -H 'Seccomp:.[01]' /proc/$pid/task/*/status"
if [ "$(id -u)" = 0 ]; then
	check "... is not root" sh -c "! grep -H -E '^[UG]id:.*[[:space:]]0\b' /proc/$pid/task/*/status"
	check "... has no groups or capabilities" sh -c "
		! grep -H -E '^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f]|^Groups:.*[0-9]' /proc/$pid/task/*/status"
else
	skip "... is not root" "vmmd is not"
	skip "... has no groups or capabilities" "vmmd has none"
fi
config forbidden 2 "fake=socket node=1 ms=100"
guest_run forbidden
check "a forbidden system call ends that guest and is named" \
	ended 70 forbidden "node 1 .*made a system call that its sandbox forbids"
config forbidden 2 "fake=vcpuread node=1 ms=100"
guest_run forbidden
check "... also one forbidden to vCPUs alone" ended 70 forbidden "node 1 .*made a system call that its sandbox forbids"
check "... and no other guest" ctl 1 status hang

# A guest that has taken its process over, against vmmd.
vmmd_files()	{ ls /proc/${vmmd_pid[1]}/fd | wc -l; }
vmmd_ticks()	{ awk '{ print $14 + $15 }' /proc/${vmmd_pid[1]}/stat; }
config talks 2 "fake=descriptors node=1 ms=100"
files=$(vmmd_files)
guest_run talks
guest_up talks
sleep 1
check "a process that sends states to vmmd without end has those of any other" \
	test "$(grep -c "guest talks, node 1: " "$dir/1.log")" = 3
check "... it is ready" grep -q "talks .* ready" <(ctl 1 list)
kill -INT $(pgrep -P $run_pid)
ended 130 talks
until_ok 5 grep -q "guest talks, node 1: gone" "$dir/1.log"
check "... the descriptors that came with them are closed" test "$(vmmd_files)" -le "$files"
config mute 2 "fake=mute node=1 ms=100"
guest_run mute
guest_up mute
sleep 0.5
ticks=$(vmmd_ticks)
sleep 1
check "a process that closes its connection does not keep vmmd busy" test $(($(vmmd_ticks) - ticks)) -lt 20
check "... is lost to the others" ended 75 mute "lost node 1 .*no sign of life"
check "... and is killed by cvmm stop" sh -c "'$CVMM_TREE/build/cvmm' -s '$dir/1.sock' stop mute"
check "... really" until_ok 5 sh -c "! '$CVMM_TREE/build/cvmm' -s '$dir/1.sock' list | grep mute"
run_pid=$hang_pid
kill -INT $(pgrep -P $run_pid)
check "... which ends as ever" ended 130 hang "ended by a signal: Interrupt"
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
kill -TERM ${vmmd_pid[2]}
check "vmmd's SIGTERM ends its guests" within 5 ended 130 hang "node 2 .*vmmd was told to end"
check "... and vmmd itself" within 5 wait ${vmmd_pid[2]}
guest_run hang
check "a host without vmmd is named" ended 69 hang "node 2: 127.0.0.1 port $((base + 2)): Connection refused"
start_vmmd 2
check "... nothing is left" nothing_left

guest_run hang
guest_up hang
kill -KILL ${vmmd_pid[2]}
check "a killed vmmd ends its guests" within 5 ended 130 hang "node 2 .*vmmd on 127.0.0.1 has ended"
start_vmmd 2
check "... nothing is left" nothing_left

# What is refused before anything runs.
config fails 3 "fake=hang createfail=1"
guest_run fails
check "a node that cannot make its machine is named" ended 69 fails "node 1 .*was told to fail"
kill ${vmmd_pid[1]}; wait ${vmmd_pid[1]}
start_vmmd 1 FAKE_ENGINE_ERROR="/dev/cvmm is not there: load the module"
guest_run off
check "a host without an engine is named" ended 69 off "node 1 .*/dev/cvmm is not there: load the module"
check "... nothing is left" nothing_left


# verdict CONFIG KEY CHECK STATES TEXT: what cvmm check says; it fails, because this machine has no module
verdict()
{
	local status
	ctl 0 -k "$dir/$2" -j check "$dir/$1.cfg" >"$dir/check.json"
	status=$?
	[ $status = 69 ] || { echo "exit status $status"; return 1; }
	python3 -c "
import json, re, sys
found = [x for x in json.load(open('$dir/check.json')) if x['check'] == sys.argv[1]]; print(found)
assert [x['state'] for x in found] == sys.argv[2].split() and all(re.search(sys.argv[3], x['text']) for x in found)" "${@:3}"
}
"$CVMM_TREE/build/cvmm" keygen "$dir/otherkey" || exit 1
cp "$dir/key" "$dir/openkey"
chmod 644 "$dir/openkey"
check "cvmm check: a host that can" verdict off key "node 0" ok "127.0.0.1 port $base: cvmm .*, Linux"
check "... vmmd here" verdict off key vmmd ok "runs"
check "... a host without an engine" verdict off key "node 1" fail "/dev/cvmm is not there"
check "... the key" verdict off key key ok "$dir/key"
check "... a key that others can read" verdict off openkey key fail "chmod|mode|permission"
check "... another key than that host's" verdict off otherkey "node 0" fail "key"
check "... a host that may have RDMA and has not" verdict auto key "node 0" "ok note" "cvmm .*, Linux|go over TCP: no RDMA"
check "... a host that must have RDMA and has not" verdict rdma key "node 0" fail "no RDMA device of this host has the address"
kill ${vmmd_pid[2]}; wait ${vmmd_pid[2]}
check "... a host without vmmd" verdict off key "node 2" fail "does vmmd run there"
start_vmmd 2
echo 'memroy = 1;' >"$dir/bad.cfg"
check_fails "... a configuration that is wrong has its line" 'bad.cfg:1: unknown key "memroy"' \
	"$CVMM_TREE/build/cvmm" check "$dir/bad.cfg"
check "... leaves nothing" nothing_left

# A terminal: raw while the guest runs, echo through the guest, the escape key, restored at the end.
kill ${vmmd_pid[1]}; wait ${vmmd_pid[1]}
start_vmmd 1
cat >"$dir/terminal.py" <<'EOP'
import fcntl, os, select, signal, sys, termios, time
program, key, config, keys, status, signal_nr = sys.argv[1:7]
master, slave = os.openpty()
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    os.dup2(slave, 0), os.dup2(slave, 1), os.dup2(slave, 2)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.execv(program, [program, "-k", key, config])
seen = b""
def read_until(text, limit):
    global seen
    end = time.time() + limit
    while text not in seen:
        assert time.time() < end, seen
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 4096)
read_until(b"fake: up", 20)
assert not termios.tcgetattr(slave)[3] & termios.ICANON, "the terminal is not raw"
os.write(master, b"hello\x03guest")
read_until(b"hello\x03guest", 10)
if signal_nr != "0":
    os.kill(pid, int(signal_nr))
else:
    os.write(master, b"\x1d")
    read_until(b"q: quit", 10)
    os.write(master, keys.encode())
    if keys == "r":
        seen = b""
        read_until(b"fake: up", 20)
        os.write(master, b"!")
end = time.time() + 20
while True:
    done, st = os.waitpid(pid, os.WNOHANG)
    if done:
        break
    assert time.time() < end, "it does not end"
    if select.select([master], [], [], 0.1)[0]:
        os.read(master, 4096)
assert termios.tcgetattr(slave)[3] == before[3] and termios.tcgetattr(slave)[0] == before[0], "not restored"
code = os.waitstatus_to_exitcode(st)
assert code == int(status), code
EOP
tty_case() { timeout 90 python3 "$dir/terminal.py" "$bin/fake-cvmm-run" "$dir/key" "$dir/$1.cfg" "${@:2}"; }
check "a terminal: Ctrl-] q" tty_case hang q 130 0
check "a terminal: Ctrl-] r, then power-off" tty_case hang r 0 0
check "a terminal: SIGTERM restores it" tty_case hang - 143 15
cat >"$dir/here.cfg" <<-EOC
name = "here"; memory = "64M"; kernel = "kernel"; initrd = "initrd"; cmdline = "fake=hang";
EOC
check "a terminal, without vmmd: Ctrl-] q" tty_case here q 130 0
check "a terminal, without vmmd: Ctrl-] r, then power-off" tty_case here r 0 0
check "... nothing is left" nothing_left

tap_done
