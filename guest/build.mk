# SPDX-License-Identifier: GPL-2.0-or-later
# The guest's initramfs: busybox, guest/init and every program of guest/tests,
# linked statically.  The guest's kernel is a distribution's, as it is.
# Compressed, because the guest reads and then poisons each page of it on
# whatever host it likes: two remote faults a page.
#
# Each guest/tests/NAME.c is one program, /tests/NAME in the guest.
# The unit test guest/native runs small forms of them on this machine.

guest-cflags := -mcx16 -pthread -I$(BUILD)/guest
guest-init := $(BUILD)/guest/init
guest-progs := $(patsubst guest/tests/%.c,$(BUILD)/guest/tests/%,$(wildcard guest/tests/*.c))

$(guest-init): $(BUILD)/obj/guest/init.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -s -o $@ $^

# All of them in one file (guest/multi.c); each object keeps only its main, renamed.
guest-multi := $(BUILD)/guest/multi
guest-names := $(notdir $(guest-progs))

$(BUILD)/guest/%.part.o: $(BUILD)/obj/guest/tests/%.o
	@mkdir -p $(@D)
	objcopy --redefine-sym main=main_$* --keep-global-symbol=main_$* $< $@

$(BUILD)/guest/multi.inc: guest/build.mk $(wildcard guest/tests)
	@mkdir -p $(@D)
	printf 'X(%s)\n' $(guest-names) >$@

$(call objs,guest/multi.c): $(BUILD)/guest/multi.inc

$(guest-multi): $(call objs,guest/multi.c) $(guest-names:%=$(BUILD)/guest/%.part.o)
	$(CC) $(CFLAGS) -static -s -o $@ $^ -pthread

$(guest-progs): $(guest-multi)
	@mkdir -p $(@D)
	ln -sf ../multi $@

.SECONDARY: $(call objs,guest/init.c $(wildcard guest/tests/*.c)) $(guest-names:%=$(BUILD)/guest/%.part.o)

$(BUILD)/guest.img: scripts/mkinitramfs guest/build.mk $(guest-init) $(guest-progs)
	scripts/mkinitramfs $(@:.img=.cpio) console proc/ sys/ tmp/ run/ root/ bin/busybox=$(shell command -v busybox) \
		bin/sh-\>busybox init=$(guest-init) tests/multi=$(guest-multi) $(foreach p,$(guest-names),tests/$(p)-\>multi)
	zstd -q -f -19 --rm -o $@ $(@:.img=.cpio)

include $(wildcard guest/bare/build.mk)

TESTS += $(BUILD)/tests/guest/native
$(BUILD)/tests/guest/native: guest/tests/native $(guest-progs)
	@mkdir -p $(@D)
	install -m 755 $< $@

.PHONY: guest
guest: $(BUILD)/guest.img
