#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the engine uses of SVM, one thing at a time taken away: guests must not
# notice.  QEMU's emulated processors (7.2, 10.0) have none of the features but
# nested paging; there the rest of the table says so.

. "$CVMM_TREE/selftests/lib.sh"
cd "$CVMM_TREE" || exit 1

# has FLAG: is it in the processor's flags?
has() { grep -q -w -m 1 -- "$1" /proc/cpuinfo; }

# images PARAMETER... -- IMAGE...: all points of the images, one a line, as diagnostics
images()
{
	local params=

	while [ "$1" != -- ]; do params="$params $1"; shift; done
	shift
	CVMM_PARAMS=$params selftests/guest/bare.sh "$where" 1 "$@"
}

no_nested_paging()
{
	local status

	cvmm_load svm_features=0xfffffffe || return
	! build/kvm-tiny && dmesg | tail -n 20 | grep -q "cvmm: no nested paging"
	status=$?
	cvmm_unload && return $status
}

# FLAG of the processor (- none), PARAMETERS, where, IMAGES
while read -r flag params where list; do
	name="$params ($where: $list)"
	if [ "$flag" != - ] && ! has "$flag"; then
		skip "$name" "the processor has no $flag"
	else
		check "$name" images ${params//,/ } -- $list </dev/null
	fi
done <<-END
	-		large_pages=0			cvmm		paging exceptions
	-		page_table_cache=1		cvmm		paging rights
	-		pause_intercept=1		cvmm		code timers
	pausefilter	pause_filter_count=0		cvmm		timers
	pausefilter	svm_features=0xfffffbff		cvmm		timers
	pfthreshold	svm_features=0xffffefff		cvmm		timers
	vmcb_clean	vmcb_clean=0			cvmm		paging exceptions
	vmcb_clean	svm_features=0xffffffdf		cvmm		paging exceptions
	nrip_save	svm_features=0xfffffff7		cvmm		paging exceptions cpu uart
	flushbyasid	svm_features=0xffffffbf		cvmm		paging rights
	flushbyasid	svm_features=0xffffffbf		cvmm-tables	paging rights
	decodeassists	svm_features=0xffffff7f		cvmm-tables	paging mmio
	npt		svm_features=1			cvmm-tables	paging mmio
END
check "without nested paging there is no engine" no_nested_paging
tap_done
