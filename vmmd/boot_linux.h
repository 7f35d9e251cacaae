/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading a Linux bzImage by the 64-bit boot protocol (Linux documentation,
 * arch/x86/boot).
 */
#ifndef VMMD_BOOT_LINUX_H
#define VMMD_BOOT_LINUX_H

#include "ram.h"

struct linux_image {
	const void *kernel;		/* the file's bytes; not trusted */
	size_t kernel_len;
	const void *initrd;		/* or NULL */
	size_t initrd_len;
	const char *cmdline;
	uint64_t rsdp;			/* guest-physical address of the RSDP */
	uint64_t near;			/* RAM below this is the boot processor's node's */
};

/* What the boot processor starts with: 64-bit mode, flat segments, everything below 4 GiB mapped 1:1. */
struct linux_entry {
	uint64_t rip;
	uint64_t rsi;			/* boot_params */
	uint64_t cr3;
	uint64_t gdt;
	uint16_t gdt_limit;
	uint16_t cs, ds;
};

/* Fill guest memory and @entry.  0, or -1 with a message for the user in @err. */
int boot_linux_load(const struct guest_ram *ram, const struct linux_image *img,
		    struct linux_entry *entry, char *err, size_t errlen);

#endif /* VMMD_BOOT_LINUX_H */
