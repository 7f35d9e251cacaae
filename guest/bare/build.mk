# SPDX-License-Identifier: GPL-2.0-or-later
# Bare-metal test images: the runtime of guest/bare and one file of guest/bare/tests
# each make build/guest/bare/NAME, which is loaded like a Linux bzImage.

bare-cflags := -std=gnu17 -O2 -g -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
	-fno-tree-loop-distribute-patterns -DAP_BASE=0x8000 -Iguest/bare
bare-objs := $(patsubst guest/bare/%,$(BUILD)/guest/bare/obj/%.o,$(wildcard guest/bare/*.[cS]))
guest-bare := $(patsubst guest/bare/tests/%.c,$(BUILD)/guest/bare/%,$(wildcard guest/bare/tests/*.c))

$(BUILD)/guest/bare/obj/%.o: guest/bare/% guest/bare/bare.h guest/bare/pte.h
	@mkdir -p $(@D)
	$(CC) $(bare-cflags) -c -o $@ $<

$(BUILD)/guest/bare/obj/%.elf: $(BUILD)/guest/bare/obj/tests/%.c.o $(bare-objs) guest/bare/image.lds
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments \
		-T guest/bare/image.lds -o $@ $(filter %.o,$^)

$(BUILD)/guest/bare/%: $(BUILD)/guest/bare/obj/%.elf
	objcopy -O binary $< $@

.SECONDARY: $(bare-objs) $(patsubst guest/bare/tests/%.c,$(BUILD)/guest/bare/obj/%.elf,$(wildcard guest/bare/tests/*.c)) \
	$(patsubst guest/bare/%,$(BUILD)/guest/bare/obj/%.o,$(wildcard guest/bare/tests/*.c))

.PHONY: guest-bare
guest-bare: $(guest-bare)
guest: guest-bare
