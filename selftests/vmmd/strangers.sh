#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Who has no cluster key, or another one, gets nowhere: vmmd's port against
# vmmd/tests/rogue, and the messages of those who merely have the wrong key.
# vmmd runs around a fake machine, with sanitizers.

. "$(dirname "$0")/../lib.sh"

bin=$CVMM_TREE/build/tests/vmmd
cvmm=$CVMM_TREE/build/cvmm
[ -x "$bin/fake-vmmd" ] && [ -x "$bin/rogue" ] || skip_all "not built: make tests"
dir=$(mktemp -d) || exit 1
port=$((20000 + ($$ + 7000) % 20000))
vmmd=
trap cleanup EXIT

cleanup()
{
	[ -z "$vmmd" ] || { kill $vmmd; wait $vmmd; } 2>/dev/null
	rm -rf "$dir"
}

start_vmmd()
{
	"$bin/fake-vmmd" -k "$dir/key" -b 127.0.0.1 -p $port -s "$dir/sock" >"$dir/log" 2>&1 &
	vmmd=$!
	until_ok 10 grep -q listens "$dir/log"
}

rogue()	{ timeout 100 "$bin/rogue" $port "$@"; }
run()	{ timeout 30 "$bin/fake-cvmm-run" -k "$1" "$dir/g.cfg" </dev/null; }

# A guest of two nodes: cvmm-run and both of its connections between nodes get in.
well()
{
	run "$dir/key" && [ -z "$("$cvmm" -s "$dir/sock" list)" ] &&
		! grep -E "Sanitizer|runtime error" "$dir/log"
}

logged()	{ grep -E -- "refused a connection from 127.0.0.1: $1" "$dir/log"; }
times()		{ [ "$(logged "$2" | wc -l)" -le "$1" ] || { logged "$2"; return 1; }; }

python3 - "$dir" <<'EOP' || exit 1
import sys
open(sys.argv[1] + "/kernel", "wb").write(bytes(n % 251 for n in range(70001)))
open(sys.argv[1] + "/initrd", "wb").write(bytes(n % 241 for n in range(90011)))
EOP
cat >"$dir/g.cfg" <<-EOC
name = "guest"; memory = "64M"; kernel = "kernel"; initrd = "initrd"; cmdline = "fake=poweroff ms=50";
nodes = ( { host = "127.0.0.1"; port = $port; } );
EOC

# The key's file.
vmmd_once()	{ timeout 10 "$bin/fake-vmmd" -k "$1" -b 127.0.0.1 -p $port -s "$dir/sock"; }
check_fails "vmmd without a key" "key.*No such file.*cvmm keygen" vmmd_once "$dir/key"
check_fails "cvmm-run without a key" "key.*No such file.*cvmm keygen" run "$dir/key"
check "cvmm keygen makes one" "$cvmm" keygen "$dir/key"
check "... which nobody else can read" test "$(stat -c %a "$dir/key")" = 600
check_fails "... and never replaces one" "File exists" "$cvmm" keygen "$dir/key"
cp "$dir/key" "$dir/loose"
for mode in 640 604 620; do
	chmod $mode "$dir/loose"
	check_fails "vmmd with a key of mode $mode" "can be used by others.*chmod 600" vmmd_once "$dir/loose"
	check_fails "cvmm-run with a key of mode $mode" "can be used by others.*chmod 600" run "$dir/loose"
done
echo "no key" >"$dir/noise" && chmod 600 "$dir/noise"
check_fails "a file that is no key" "holds no cluster key" vmmd_once "$dir/noise"

start_vmmd || { cat "$dir/log"; exit 1; }
check "a guest starts with the key" well

# Another key.
"$cvmm" keygen "$dir/other"
check_fails "cvmm-run with another key is told so" "node 0 .*refuses our cluster key: the key differs there" run "$dir/other"
check "... and vmmd says who it was" until_ok 10 logged "it has another cluster key"
check_fails "... the same a hundred times" "the key differs" sh -c \
	"for n in \$(seq 100); do '$bin/rogue' $port open '$dir/other' || s=1; done; exit \$s"
check "... is logged once" times 1 "it has another cluster key"

# No key.
check "bytes without TLS" rogue plain
check "a well-formed hello without TLS" rogue plain hello
check "garbage instead of a handshake" rogue garbage
check "a session that is cut before the end of its hello" rogue cut "$dir/key"
check "a handshake with a byte changed, anywhere" rogue change "$dir/key"
check "a recorded session, sent again, is refused" rogue replay "$dir/key"
check "... the guest in it was started once" test "$(grep -c "guest stranger7, node 0: new" "$dir/log")" = 1
check "vmmd's log bears it" test "$(grep -c "refused a connection" "$dir/log")" -le 60
check "a guest starts as ever" well

# Those who say nothing.
rogue hold 64 20 >"$dir/hold1" & one=$!
rogue hold 64 20 >"$dir/hold2" & two=$!
until_ok 10 grep -q holding "$dir/hold1" && until_ok 10 grep -q holding "$dir/hold2"
check "128 connections that say nothing keep nobody out" well
check "... the first ones are closed at once" until_ok 10 logged "too many connections"
check "... the others after their time" wait $one $two
check "... which is logged" until_ok 10 logged "no handshake in time"

# With the key, but not what they should be.
check "a client that sends garbage after its hello ends alone" rogue frames "$dir/key"
check "a client that plays the supervisor" rogue last "$dir/key"
check_fails "a node of a guest, or a boot of it, that is not here" "no such guest, or not this boot" rogue epoch "$dir/key"
check "... is logged" until_ok 10 logged "it wants guest stranger0, boot 1, node 0"
check "and a guest starts as ever" well
check "vmmd ends in good order" sh -c "kill $vmmd"
wait $vmmd
check "... with status 0" test $? = 0
vmmd=
check "no sanitizer has spoken" sh -c "! grep -E 'Sanitizer|runtime error' '$dir/log'"
cat "$dir/log"
tap_done
