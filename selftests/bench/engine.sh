#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: selftests/bench/engine.sh ROUNDS [short]
#
# In one emulated host, in turns: what stock KVM and our engine cost, each
# without an interrupt controller in the kernel and below the same programs; and
# Debian's QEMU on stock KVM with the controller in the kernel, for what a Linux
# guest can tell of that.  Leaves lines "ROUND ENGINE ROW VALUE UNIT" in
# $CVMM_OUT/results for selftests/bench/report.  The points say that each row
# was measured, never that it was fast.  short: little of each, without QEMU.

. "$CVMM_TREE/selftests/lib.sh"

rounds=${1:-3} short=${2:-}
cd "$CVMM_TREE" || exit 1
out=$CVMM_OUT/bench
results=$CVMM_OUT/results
kernel=$(scripts/kernels 6.1 | { read -r _ vmlinuz _; echo "$vmlinuz"; })
n=500 words="n=100,mib=8" engines="kvm cvmm qemu"
[ -z "$short" ] || n=30 words="n=5,mib=1" engines="kvm cvmm"
cmdline="console=ttyS0 quiet panic=-1 cvmm.tests=\"bench:$words\" cvmm.end=poweroff"

exits="cpuid port-out port-in mmio-store mmio-load hlt-irq page-fault"
bare="port-vmmd apic-vmmd self-ipi ipi-halted"
[ "$(nproc)" = 1 ] || bare="$bare ipi-running"
linux="boot boot-guest syscall fork fork-exec switch messages fill-first fill-again chase-first chase-again"

result() { echo "$round $engine $*" >>"$results"; }

# A loop around KVM_RUN and nothing else.
exit_rows()
{
	local row value

	while read -r row value; do
		case $value in ""|*[!0-9]*) continue ;; esac
		result "$row" "$value" cycles
	done < <(build/kvm-bench -d "/dev/$engine" $n)
}

# guest NAME SETTINGS...: by cvmm-run, its console on standard output too
guest()
{
	local name=$1
	shift
	printf '%s\n' "name = \"$name\"; engine = \"/dev/$engine\";" "$@" >"$out.$name.cfg"
	timeout -s INT -k 5 300 build/cvmm-run -n -l "$out.$name" "$out.$name.cfg" </dev/null
}

# value FILE KEY: the value of "KEY=..." in a console's "# key=value" lines
value() { tr -d '\r' <"$1" | sed -n "s/.*[ #]$2=\([0-9.]*\).*/\1/p" | head -n 1; }

# from_us ROW KEY: microseconds by the guest's TSC, as cycles again
from_us()
{
	local us khz

	us=$(value "$out.latency" "$2") khz=$(value "$out.latency" tsc_khz)
	[ -z "$us" ] || [ -z "$khz" ] ||
		result "$1" "$(awk -v us="$us" -v khz="$khz" 'BEGIN { printf "%.0f", us * khz / 1000 }')" cycles
}

# Two vCPUs without an operating system, their APICs and UART in vmmd.
bare_rows()
{
	rm -f "$out.latency"
	guest latency "memory = \"64M\"; vcpus = 2; kernel = \"$CVMM_TREE/build/guest/bare/latency\";" >/dev/null
	from_us port-vmmd port_read_us
	from_us apic-vmmd apic_read_us
	from_us self-ipi self_ipi_us
	from_us ipi-halted ipi_halted_us
	[ "$(nproc)" = 1 ] || from_us ipi-running ipi_us
}

# When the guest's first process spoke, in microseconds since $1.
first_word()
{
	local line start=$1

	while IFS= read -r line; do
		case $line in
		*"cvmm: up "*) echo $((${EPOCHREALTIME/./} - start)) ;;
		esac
	done
}

linux_by_cvmm_run()
{
	guest linux "memory = \"256M\"; vcpus = 1; kernel = \"$kernel\"; initrd = \"$CVMM_TREE/build/guest.img\";" \
		"cmdline = \"${cmdline//\"/\\\"}\";"
}

linux_by_qemu()
{
	timeout -k 5 300 qemu-system-x86_64 -machine pc -accel kvm -cpu host -smp 1 -m 256 \
		-nodefaults -no-user-config -no-reboot -display none -chardev stdio,id=console \
		-serial chardev:console -kernel "$kernel" -initrd build/guest.img -append "$cmdline" \
		</dev/null | tee "$out.linux"
}

linux_rows()
{
	local us key row unit

	us=$("linux_by_$1" | first_word "${EPOCHREALTIME/./}")
	[ -z "$us" ] || result boot "$us" us
	us=$(value "$out.linux" "up seconds")
	[ -z "$us" ] || result boot-guest "$us" s
	while read -r row key unit; do
		us=$(value "$out.linux" "$key")
		[ -z "$us" ] || result "$row" "$us" "$unit"
	done <<-END
		syscall		syscall_ns		ns
		fork		fork_us			us
		fork-exec	fork_exec_us		us
		switch		switch_us		us
		messages	messages_s		s
		fill-first	fill_first_us_per_mib	us/MiB
		fill-again	fill_again_us_per_mib	us/MiB
		chase-first	chase_node0_first_ns	ns
		chase-again	chase_node0_again_ns	ns
	END
}

one_engine()
{
	case $engine in
	kvm)	modprobe kvm-amd && exit_rows && bare_rows && linux_rows cvmm_run
		rmmod kvm-amd ;;
	cvmm)	cvmm_load && exit_rows && bare_rows && linux_rows cvmm_run
		cvmm_unload ;;
	qemu)	modprobe kvm-amd && linux_rows qemu
		rmmod kvm-amd ;;
	esac
}

# complete ENGINE ROWS...: each row has a number in each round
complete()
{
	local engine=$1 row missing=
	shift
	for row; do
		[ "$(grep -c "^[0-9]* $engine $row [0-9]" "$results")" = "$rounds" ] || missing="$missing $row"
	done
	[ -z "$missing" ] || echo "missing:$missing"
	[ -z "$missing" ]
}

start=$(date +%s)
mkdir -p /run/cvmm
: >"$results"
for round in $(seq "$rounds"); do
	for engine in $engines; do
		rm -f "$out.linux"
		check "round $round: $engine" one_engine
		note "round $round, $engine: $(($(date +%s) - start)) s"
	done
done
for engine in $engines; do
	case $engine in
	qemu)	check "rows of $engine" complete "$engine" $linux ;;
	*)	check "rows of $engine" complete "$engine" $exits $bare $linux ;;
	esac
done
table=$(selftests/bench/report "$results")
check "the report has every row" [ "$(grep -c '^[a-z]' <<<"$table")" = "$(echo $exits $bare $linux | wc -w)" ]
while IFS= read -r line; do note "$line"; done <<<"$table"
tap_done
