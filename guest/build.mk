# SPDX-License-Identifier: GPL-2.0-or-later
# The guest's initramfs: busybox, guest/init and every program of guest/tests,
# linked statically.  The guest's kernel is a distribution's, as it is.
#
# Each guest/tests/NAME.c is one program, /tests/NAME in the guest.
# The unit test guest/native runs small forms of them on this machine.

guest-cflags := -mcx16 -pthread
guest-init := $(BUILD)/guest/init
guest-progs := $(patsubst guest/tests/%.c,$(BUILD)/guest/tests/%,$(wildcard guest/tests/*.c))

$(guest-init): $(BUILD)/obj/guest/init.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -s -o $@ $^

$(BUILD)/guest/tests/%: $(BUILD)/obj/guest/tests/%.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -s -o $@ $^ -pthread

.SECONDARY: $(call objs,guest/init.c $(wildcard guest/tests/*.c))

$(BUILD)/guest.img: scripts/mkinitramfs guest/build.mk $(guest-init) $(guest-progs)
	scripts/mkinitramfs $@ console proc/ sys/ tmp/ run/ root/ bin/busybox=$(shell command -v busybox) \
		bin/sh-\>busybox init=$(guest-init) $(foreach p,$(guest-progs),tests/$(notdir $(p))=$(p))

include $(wildcard guest/bare/build.mk)

TESTS += $(BUILD)/tests/guest/native
$(BUILD)/tests/guest/native: guest/tests/native $(guest-progs)
	@mkdir -p $(@D)
	install -m 755 $< $@

.PHONY: guest
guest: $(BUILD)/guest.img
