# SPDX-License-Identifier: GPL-2.0-or-later
# vmmd and cvmm-run around a fake machine and space (tests/fake), and who should not
# get in (tests/rogue), with sanitizers, for selftests/vmmd/plumbing.sh and strangers.sh.
vmmd-fake-src := $(addprefix vmmd/,client.c conf.c conn.c console.c door.c genl.c guests.c hist.c hostcheck.c key.c local.c \
	net.c proto.c rconn.c rconn_setup.c rconn_wire.c requests.c sandbox.c stats.c tls.c tsc.c) $(wildcard vmmd/channel*.c vmmd/cluster*.c vmmd/tests/fake/*.c)
vmmd-fakes := $(BUILD)/tests/vmmd/fake-vmmd $(BUILD)/tests/vmmd/fake-cvmm-run $(BUILD)/tests/vmmd/rogue

$(BUILD)/tests/vmmd/fake-vmmd: $(call tobjs,vmmd/main.c $(vmmd-fake-src))
$(BUILD)/tests/vmmd/fake-cvmm-run: $(call tobjs,vmmd/run.c $(vmmd-fake-src))
$(BUILD)/tests/vmmd/rogue: $(call tobjs,vmmd/tests/rogue/rogue.c $(addprefix vmmd/,conf.c conn.c key.c net.c proto.c tls.c))
$(vmmd-fakes):
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -Wl,--as-needed -o $@ $^ -pthread $(call pkg-libs,$(vmmd-pkgs))

tests: $(vmmd-fakes)

# With the system calls that it needs to fail replaced.
comma := ,
$(call test,vmmd/test_space,vmmd/tests/wrap/test_space.c vmmd/space.c vmmd/conf.c,libconfig,-Wl$(comma)--wrap=open$(comma)--wrap=ioctl)
