# SPDX-License-Identifier: GPL-2.0-or-later
#
# TAP and the module, for the shell tests.  A test sources this, calls check or
# ok/not_ok/skip once for each point, and ends with tap_done.  Standard output
# is TAP and nothing else; everything a checked command prints is diagnostics
# on standard error, which the runner keeps beside the verdict.

set -u
CVMM_TREE=${CVMM_TREE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
tap_nr=0 tap_failed=0
exec 5>&1 1>&2

ok()		{ echo "ok $((++tap_nr)) - $*" >&5; }
not_ok()	{ echo "not ok $((++tap_nr)) - $*" >&5; tap_failed=1; }
# skip NAME REASON
skip()		{ echo "ok $((++tap_nr)) - $1 # SKIP $2" >&5; }
note()		{ echo "# $*" >&5; }

# check NAME COMMAND...: one point, ok when the command succeeds
check()
{
	local name=$1
	shift
	echo "--- $name: $*"
	if "$@"; then ok "$name"; else not_ok "$name"; fi
}

# check_fails NAME TEXT COMMAND...: ok when the command fails (by an exit
# status, not by a signal) and says TEXT (an extended regular expression)
check_fails()
{
	local name=$1 text=$2 out status
	shift 2
	echo "--- $name: $* (to fail)"
	out=$("$@" 2>&1) && status=0 || status=$?
	echo "$out"
	if [ $status -gt 0 ] && [ $status -lt 126 ] && grep -q -E -- "$text" <<<"$out"; then
		ok "$name"
	else
		not_ok "$name (exit status $status, expected the text '$text')"
	fi
}

# skip_all REASON: the whole test does not apply here
skip_all()
{
	echo "1..0 # SKIP $*" >&5
	exit 0
}

tap_done()
{
	echo "1..$tap_nr" >&5
	exit $tap_failed
}

# until_ok SECONDS COMMAND...: until the command succeeds, for at most so long
until_ok()
{
	local n=$(($1 * 20))
	shift
	until "$@"; do
		[ $((n--)) -gt 0 ] || return 1
		sleep 0.05
	done
}

on_host()	{ [ "${CVMM_HOST:-0}" = "$1" ]; }

# The module built for the running kernel.
cvmm_ko()	{ echo "$CVMM_TREE/build/kmod-$(uname -r)/cvmm.ko"; }
cvmm_load()	{ insmod "$(cvmm_ko)" "$@"; }
cvmm_unload()	{ rmmod cvmm; }

# RDMA in software on eth0, as device rxe0, between two hosts or within one.  Host N is
# 10.78.0.N+1 there: a peer-to-peer address, as 10.77.0.N+1 is, gives an RDMA device
# the other host's.
rdma_up()
{
	# The first is what rdma_rxe computes its checksums with, and does not load.
	ip addr add "10.78.0.$((CVMM_HOST + 1))/24" dev eth0 &&
		modprobe -a crc32_generic rdma_rxe rdma_cm && rdma link add rxe0 type rxe netdev eth0
}
rdma_down()
{
	if rdma dev show rxe0 >/dev/null 2>&1; then
		rdma link delete rxe0 || return
	fi
	ip addr delete "10.78.0.$((CVMM_HOST + 1))/24" dev eth0
}
cvmm_rdma_load()	{ insmod "$CVMM_TREE/build/kmod-$(uname -r)/cvmm_rdma.ko"; }
cvmm_rdma_unload()	{ rmmod cvmm_rdma; }

# Such a kernel keeps what was freed for a while: kmemleak judges there, not the sums below.
debug_kernel()	{ [ -e /sys/kernel/debug/kmemleak ]; }

# kernel_usage: three numbers, settled: unreclaimable slab, page tables, per-cpu and
# vmalloc memory in kB; memory in use for anything but caches in kB; open files.  Free
# pages on a CPU's own list ("count:" in zoneinfo), megabytes since Linux 6.7, are free.
kernel_usage()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	awk '/^(SUnreclaim|PageTables|Percpu|VmallocUsed):/ { kernel += $2 }
	     /^(MemFree|Cached|Buffers):/ { used -= $2 }
	     /^MemTotal:/ { used += $2 }
	     FILENAME ~ /file-nr/ { files = $1 }
	     $1 == "count:" { used -= $2 * 4 }
	     END { print kernel, used, files }' /proc/meminfo /proc/sys/fs/file-nr /proc/zoneinfo
}

# no_complaint EXCEPT FILE...: the kernel of a guest has complained on none of these
# consoles, but for lines that match EXCEPT ("" for none).  No console is a failure.
no_complaint()
{
	local except=${1:-^no such line$} file
	shift
	for file; do
		[ -s "$file" ] || { echo "$file: nothing there"; return 1; }
		! grep -v -E -- "$except" "$file" | grep -E -A 20 \
			'WARNING: |BUG: |Oops: |Kernel panic|rcu: INFO|soft lockup|detected stall' || return 1
	done
}

# cluster_key: on an emulated host, what vmmd needs beside the module: the cluster
# key in its place, here one that is no secret, and kernel TLS for the links.
cluster_key()
{
	[ -n "${CVMM_HOST:-}" ] || return 1
	modprobe tls &&
	mkdir -p /etc/cvmm &&
	(umask 077 && printf 'cvmm-key-1 %.64s\n' "$(echo 7741 | sha256sum)" >/etc/cvmm/cluster.key)
}

# vmmd_up, vmmd_down: vmmd on an emulated host, with the cluster key; it logs to
# $CVMM_OUT/vmmd.log.  vmmd_up returns when it listens, $vmmd is its process.
vmmd_listens()	{ [ -n "$(ss -H -l -t -n 'sport = :7741')" ] || ! kill -0 "$vmmd"; }
vmmd_up()
{
	cluster_key || return
	mkdir -p /run/cvmm
	"$CVMM_TREE/build/vmmd" >"$CVMM_OUT/vmmd.log" 2>&1 &
	vmmd=$!
	until_ok 20 vmmd_listens && kill -0 "$vmmd"
}
vmmd_down()	{ kill -TERM "$vmmd" && wait "$vmmd"; }

# guest_tap FILE: the points that a guest's /init printed on its console (lines
# after "cvmm: ", see guest/init.c) become points here; a console without the
# closing line is a failure, with its last lines as diagnostics.
guest_tap()
{
	local line name planned=0 seen=0 ended=0

	while IFS= read -r line; do
		name=${line#*ok * - }
		name="guest: ${name%% # *}"
		case $line in
		"1.."*)		planned=${line#1..} ;;
		"ok "*"# SKIP"*) seen=$((seen + 1)); skip "$name" "see $1" ;;
		"ok "*)		seen=$((seen + 1)); ok "$name" ;;
		"not ok "*)	seen=$((seen + 1)); not_ok "$name" ;;
		"end pass="*)	ended=1 ;;
		"up "*)		note "guest $line" ;;
		esac
	done < <(tr -d '\r' <"$1" | sed -n 's/^cvmm: //p')
	if [ $ended = 1 ] && [ "$seen" = "$planned" ]; then
		ok "guest ran all of its $planned tests"
	else
		not_ok "guest ran all of its tests (planned $planned, saw $seen, ended $ended)"
		echo "--- end of $1"
		tail -n 40 "$1"
	fi
}
