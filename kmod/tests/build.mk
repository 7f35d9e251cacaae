# SPDX-License-Identifier: GPL-2.0-or-later
# Unit tests of the module's pure parts, in user space.
kmod-lib  += kmod/insn.c kmod/emulate.c kmod/walk.c kmod/svm/ptcache.c
# Debian's libzydis-dev has no pkg-config file.
kmod-libs += -lZydis

# The fuzz target under libFuzzer; test_emulate_fuzz runs it from fixed seeds.
FUZZ_CC ?= clang
$(BUILD)/kmod-libfuzz-emulate: kmod/fuzz/fuzz_emulate.c kmod/emulate.c kmod/insn.c kmod/walk.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(UFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined -o $@ $^
