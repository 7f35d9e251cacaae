# SPDX-License-Identifier: GPL-2.0-or-later
# "make bench": loops around KVM_RUN.
$(call program,kvm-bench,selftests/bench/kvm_bench.c selftests/engine/kvm_vm.c,,)

# "make bench-guest": the tests' initramfs, behind it a second one with programs of
# Debian's that the workloads of guest/tests/work.c run, and what they compile.
bench-progs := /usr/bin/tcc /usr/bin/hackbench
bench-sources := $(patsubst dsm/%.c,$(BUILD)/bench-guest/%.i,$(wildcard dsm/*.c))
bench-libs = $(shell ldd $(wildcard $(bench-progs)) | grep -o '/[^ ]*\.so[^ ]*' | sort -u)

$(BUILD)/bench-guest/%.i: dsm/%.c
	@mkdir -p $(@D)
	tcc -E -P $(filter -D% -I%,$(UFLAGS)) -o $@ $<

$(BUILD)/bench-guest.img: $(BUILD)/guest.img scripts/mkinitramfs $(bench-sources)
	scripts/mkinitramfs $(@:.img=.cpio) $(foreach p,$(bench-progs),bench/$(notdir $(p))=$(p)) \
		$(foreach s,$(bench-sources),bench/$(notdir $(s))=$(s)) $(foreach l,$(bench-libs),$(l)=$(l))
	zstd -q -f -19 --rm $(@:.img=.cpio) -o $@.more
	cat $(BUILD)/guest.img $@.more >$@
	rm $@.more
