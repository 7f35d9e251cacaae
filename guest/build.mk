# SPDX-License-Identifier: GPL-2.0-or-later
# The guest's initramfs: busybox, guest/init and every program of guest/tests,
# linked statically.  The guest's kernel is a distribution's, as it is.

guest-cflags := -Iguest/tests
guest-progs := $(patsubst guest/tests/%.c,$(O)/guest/%,$(wildcard guest/tests/*.c))
guest-objs := $(call objs,$(wildcard guest/lib/*.c))

$(O)/guest/%: $(O)/obj/guest/tests/%.o $(guest-objs)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -s -o $@ $^ -pthread

.SECONDARY: $(call objs,$(wildcard guest/tests/*.c))

$(O)/guest.img: guest/init scripts/mkinitramfs guest/build.mk $(guest-progs)
	scripts/mkinitramfs $@ console proc/ sys/ tmp/ root/ bin/busybox=$(shell command -v busybox) \
		init=guest/init $(foreach p,$(guest-progs),bin/$(notdir $(p))=$(p))

include $(wildcard guest/bare/build.mk)

.PHONY: guest
guest: $(if $(wildcard guest/init),$(O)/guest.img)
