/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer of ACPI machine language (ACPI 6.4, chapter 20), as much of it as
 * the machine's DSDT needs.  Blocks are opened and closed; their length is
 * filled in at the end.
 */
#ifndef VMMD_AML_H
#define VMMD_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t len, max;
	bool overflow;		/* something did not fit; the content is useless */
};

/* Handle of an open block: the place of its length. */
typedef size_t aml_block;

void aml_bytes(struct aml *a, const void *p, size_t len);

/* Scope (\NAME) and Device (NAME); @name has four characters. */
aml_block aml_scope(struct aml *a, const char *name);
aml_block aml_device(struct aml *a, const char *name);
/* Name (NAME, Package () {}) of @count elements, which follow. */
aml_block aml_name_package(struct aml *a, const char *name, uint8_t count);
/* Name (NAME, ResourceTemplate () {}) of the descriptors that follow. */
aml_block aml_name_resources(struct aml *a, const char *name);
void aml_resources_end(struct aml *a, aml_block b);
void aml_end(struct aml *a, aml_block b);

void aml_integer(struct aml *a, uint32_t val);
void aml_name_integer(struct aml *a, const char *name, uint32_t val);
/* Name (NAME, EisaId ("PNP0501")) */
void aml_name_eisaid(struct aml *a, const char *name, const char *id);

/* Resource descriptors: a fixed range of ports; an edge-triggered, active-high ISA interrupt. */
void aml_res_io(struct aml *a, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *a, unsigned int irq);

#endif /* VMMD_AML_H */
