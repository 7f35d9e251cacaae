# SPDX-License-Identifier: GPL-2.0-or-later
# Unit tests of the module's pure parts, in user space.
emulator := $(addprefix kmod/,emulate.c emu_alu.c emu_insn.c emu_mem.c emu_rmw.c emu_string.c emu_vector.c \
	insn.c insn_class.c walk.c)
kmod-lib  += $(emulator) kmod/delta.c kmod/heat.c kmod/svm/ptcache.c kmod/svm/vmcb_clean.c kmod/task_switch.c \
	kmod/vapic.c kmod/rdma/wire.c dsm/wire.c
# Debian's libzydis-dev has no pkg-config file.
kmod-libs += -lZydis

# The fuzz target under libFuzzer; test_emulate_fuzz runs it from fixed seeds.
FUZZ_CC ?= clang
$(BUILD)/kmod-libfuzz-emulate: kmod/fuzz/fuzz_emulate.c $(emulator)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(UFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined -o $@ $^
