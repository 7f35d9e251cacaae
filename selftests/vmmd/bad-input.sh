#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a user can get wrong before any host is asked, and hosts that cannot be
# asked: each has its exit status and a message that names the cause.

. "$(dirname "$0")/../lib.sh"

run=$CVMM_TREE/build/cvmm-run
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

# refused STATUS TEXT [OPTION...]: cvmm-run of g.cfg exits like that and says TEXT, in one line
refused()
{
	local want=$1 text=$2 status
	shift 2
	timeout 30 "$run" "$@" </dev/null >out 2>&1
	status=$?
	cat out
	[ $status = "$want" ] || { echo "exit status $status, expected $want"; return 1; }
	grep -q -E -- "$text" out || { echo "no '$text'"; return 1; }
	! grep -q -E "Sanitizer|core dumped" out
}

good='name = "bad"; memory = "64M"; kernel = "kernel";'
head -c 100000 /dev/zero >kernel

check "no configuration" refused 64 "which guest"
check "two configurations" refused 64 "one configuration file only" a b
check "an unknown option" refused 64 "unrecognized option" --frobnicate g.cfg
check "a configuration that is not there" refused 64 "none.cfg: No such file" none.cfg
check "a directory" refused 64 "Is a directory" /tmp
printf 'name = "bad";\nmemory 64M;\n' >g.cfg
check "a syntax error has its line" refused 64 "g.cfg:2: syntax error" g.cfg
printf '%s\nmemroy = 1;\n' "$good" >g.cfg
check "an unknown key has its line" refused 64 'g.cfg:2: unknown key "memroy"' g.cfg
printf '%s\nencryption = "no";\n' "$good" >g.cfg
check "encryption that is neither" refused 64 "g.cfg:2: encryption is true or false" g.cfg
printf '%s\ntransport = "ib";\n' "$good" >g.cfg
check "a transport that is none" refused 64 'g.cfg:2: transport = "ib" is not known; use "auto", "tcp" or "rdma"' g.cfg
printf '%s\ntransport = "rdma";\n' "$good" >g.cfg
check "RDMA that is to be encrypted" refused 64 "RDMA links are not encrypted" g.cfg
printf '%s\nvcpus = 300;\n' "$good" >g.cfg
check "a range error has its line and the range" refused 64 "g.cfg:2: vcpus = 300 is out of range: 1 to 255" g.cfg
printf 'name = "bad";\n\nmemory = "65M"; kernel = "k";\n' >g.cfg
check "memory that is no multiple of 2M" refused 64 "g.cfg:3: memory is not a multiple of 2M" g.cfg
printf '%s nodes = ( { host = "a"; }, { } );\n' "$good" >g.cfg
check "a node without a host" refused 64 "node 1 has no host" g.cfg
printf '%s engine = "/dev/kvm"; nodes = ( { host = "a"; }, { host = "b"; } );\n' "$good" >g.cfg
check "several nodes on stock KVM" refused 64 'runs guests of one node only; several nodes need "/dev/cvmm"' g.cfg
printf 'name = "bad"; memory = "64M"; kernel = "none";\n' >g.cfg
check "a missing kernel" refused 66 'kernel "none": No such file' g.cfg
printf '%s initrd = "none";\n' "$good" >g.cfg
check "a missing initrd" refused 66 'initrd "none": No such file' g.cfg
printf '%s initrd = "/dev/zero";\n' "$good" >g.cfg
check "an initrd that is no file" refused 66 'initrd "/dev/zero": not a regular file' g.cfg
: >empty
printf '%s initrd = "empty";\n' "$good" >g.cfg
check "an empty initrd" refused 66 'initrd "empty": the file is empty' g.cfg
truncate -s 100M big
printf '%s initrd = "big";\n' "$good" >g.cfg
check "an initrd larger than the guest" refused 66 'initrd "big": does not fit' g.cfg
printf '%s engine = "/dev/cvmm";\n' "$good" >g.cfg
if [ -e /dev/cvmm ]; then
	skip "the module is not loaded" "it is, here"
else
	check "the module is not loaded" refused 69 "/dev/cvmm is not there: load the module" g.cfg
fi
printf '%s\n' "$good" >g.cfg
check "a console log that cannot be written" refused 64 "none/log: No such file" -l none/log g.cfg
check "a command line that is too long" refused 64 "longer than 2047" -a "$(printf '%3000d' 1)" g.cfg
printf '%s nodes = ( { host = "127.0.0.1"; port = 1; }, { host = "127.0.0.1"; port = 2; } );\n' "$good" >g.cfg
check "no cluster key" refused 66 "the cluster key $dir/none.key: No such file.*cvmm keygen" -k "$dir/none.key" g.cfg
"$CVMM_TREE/build/cvmm" keygen key
check "a host without vmmd" refused 69 "node 0: 127.0.0.1 port 1: Connection refused .does vmmd run there" -k key g.cfg
printf '%s nodes = ( { host = "no-such-host.invalid"; }, { host = "127.0.0.1"; } );\n' "$good" >g.cfg
check "a host without an address" refused 69 "node 0: no-such-host.invalid: " -k key g.cfg

# cvmm hot, as far as it needs no module: files of several hosts, symbols.
ctl=$CVMM_TREE/build/cvmm
page() { echo "{\"gfn\": $1, \"flows\": [{\"from\": $2, \"to\": $3, \"copies\": $4, \"moves\": $5, \"rights\": $6}]}"; }
hot() { echo "{\"name\": \"$1\", \"space\": \"12\", \"pages\": [$2]}"; }
hot g "$(page 8193 0 1 5 2 1), $(page 7 1 0 1 0 0)" >h0.json
hot g "$(page 8193 0 1 6 2 1), $(page 8193 2 1 0 9 0)" >h1.json
hot other "$(page 7 1 0 1 0 0)" >other.json
hot g "$(page 7 1 64 1 0 0)" >host.json
hot g "$(page 7 1 0 -1 0 0)" >minus.json
hot g "$(page 99999999999999 1 0 1 0 0)" >gfn.json
printf 'ffffffff81000000 T _text\nffffffff82001000 D jiffies_64\nffffffff82003000 B _end\n' >map
printf '0000000000000000 T _text\n' >zeros
ctl_refused()	# TEXT ARGUMENT...
{
	local text=$1 status
	shift
	timeout 30 "$ctl" "$@" >out 2>&1
	status=$?
	cat out
	[ $status = 64 ] && grep -q -E -- "$text" out
}
check "hot pages of two hosts: the larger count of each flow" grep -q -E \
	"^ +0x2001000 +18 +6 +11 +1  0>1:9 2>1:9 " <("$ctl" -M -m map hot h0.json h1.json)
check "... the hottest first, with its symbol" grep -q "jiffies_64" <("$ctl" -M -m map hot h0.json h1.json | sed -n 2p)
check "... and the kernel elsewhere" grep -q -E "0x7000 .*_text" <("$ctl" -M -m map -t 0x7000 hot h0.json)
"$ctl" -j -M -m map hot h0.json h1.json >both.json
check "... as JSON that can be merged again" diff both.json <("$ctl" -j -M -m map hot both.json h0.json)
check "files of two guests" ctl_refused "other.json: of another guest" -M hot h0.json other.json
check "a file that is no JSON" ctl_refused "map:1: " -M hot map
check "JSON of something else" ctl_refused "not what 'cvmm -j hot' prints" -M hot <(echo '{"name": "g"}')
check "a host that cannot be" ctl_refused "page 0 is not what" -M hot host.json
check "a count that cannot be" ctl_refused "page 0 is not what" -M hot minus.json
check "a page that cannot be" ctl_refused "page 0 is not what" -M hot gfn.json
check "a map that is none" ctl_refused 'kernel: line 1 is no' -M -m kernel hot h0.json
check "a map without addresses" ctl_refused "zeros: all addresses are 0" -M -m zeros hot h0.json
check "an address that is none" ctl_refused "physical address of a page" -M -m map -t 0x1 hot h0.json
check "hot without a guest" ctl_refused "wrong arguments" hot
tap_done
