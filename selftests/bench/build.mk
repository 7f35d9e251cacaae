# SPDX-License-Identifier: GPL-2.0-or-later
# "make bench", engine part.
$(call program,kvm-bench,selftests/bench/kvm_bench.c selftests/engine/kvm_vm.c,,)
