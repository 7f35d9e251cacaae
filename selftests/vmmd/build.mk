# SPDX-License-Identifier: GPL-2.0-or-later
# The channel between two processes, for selftests/vmmd/channel-rdma.sh.
$(call program,channel-test,selftests/vmmd/channel_test.c $(wildcard vmmd/channel*.c) \
	$(addprefix vmmd/,conf.c conn.c genl.c hist.c net.c proto.c rconn.c rconn_setup.c rconn_wire.c sandbox.c stats.c tls.c tsc.c),$(vmmd-pkgs),-pthread)
