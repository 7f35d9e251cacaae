# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of spaces: one program, a subcommand for each group.
selftests-cflags += $(call pkg-cflags,libnl-3.0 libnl-genl-3.0)
$(call program,space-test,$(wildcard selftests/space/*.c) dsm/wire.c vmmd/genl.c vmmd/hist.c,libnl-3.0 libnl-genl-3.0 libibverbs,-pthread)
