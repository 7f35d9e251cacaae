/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables the guest finds: RSDP, XSDT, FADT, FACS, DSDT, MADT, SRAT
 * and SLIT (ACPI 6.4, chapter 5).
 */
#ifndef VMMD_ACPI_H
#define VMMD_ACPI_H

#include "machine.h"

/* In the BIOS area, where a guest without boot_params looks for the RSDP too. */
#define ACPI_BASE	0xf0000U
#define ACPI_SIZE	0x10000U

/*
 * Build the tables for @conf into @buf, which the guest sees at @gpa (a
 * multiple of 64); the RSDP comes first.  Returns the bytes used, 0 if @size
 * is too small.
 */
size_t acpi_build(const struct vm_conf *conf, void *buf, size_t size, uint64_t gpa);

#endif /* VMMD_ACPI_H */
