// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A writer of ACPI machine language: see aml.h.
 */
#include <string.h>

#include "aml.h"

enum {
	OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_DWORD = 0x0c,
	OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82,
};

/* Package lengths are always written in their three-byte form: up to 1 MiB. */
#define PKG_LEN_BYTES	3

void aml_bytes(struct aml *a, const void *p, size_t len)
{
	if (a->overflow || len > a->max - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, p, len);
	a->len += len;
}

static void byte(struct aml *a, uint8_t b)
{
	aml_bytes(a, &b, 1);
}

static void name(struct aml *a, const char *seg)
{
	aml_bytes(a, seg, 4);
}

static aml_block open_block(struct aml *a)
{
	aml_block b = a->len;

	aml_bytes(a, "\0\0\0", PKG_LEN_BYTES);
	return b;
}

void aml_end(struct aml *a, aml_block b)
{
	size_t len = a->len - b;	/* counts itself */

	if (a->overflow)
		return;
	a->buf[b] = 2 << 6 | (len & 0xf);
	a->buf[b + 1] = len >> 4;
	a->buf[b + 2] = len >> 12;
}

aml_block aml_scope(struct aml *a, const char *seg)
{
	aml_block b;

	byte(a, OP_SCOPE);
	b = open_block(a);
	byte(a, '\\');
	name(a, seg);
	return b;
}

aml_block aml_device(struct aml *a, const char *seg)
{
	aml_block b;

	byte(a, OP_EXT);
	byte(a, OP_EXT_DEVICE);
	b = open_block(a);
	name(a, seg);
	return b;
}

aml_block aml_name_package(struct aml *a, const char *seg, uint8_t count)
{
	aml_block b;

	byte(a, OP_NAME);
	name(a, seg);
	byte(a, OP_PACKAGE);
	b = open_block(a);
	byte(a, count);
	return b;
}

/* A buffer's size is an integer behind its length; a byte is enough here. */
aml_block aml_name_resources(struct aml *a, const char *seg)
{
	aml_block b;

	byte(a, OP_NAME);
	name(a, seg);
	byte(a, OP_BUFFER);
	b = open_block(a);
	byte(a, OP_BYTE);
	byte(a, 0);
	return b;
}

void aml_resources_end(struct aml *a, aml_block b)
{
	size_t size_at = b + PKG_LEN_BYTES + 1;

	byte(a, 0x79);		/* end tag; checksum zero means "not checked" */
	byte(a, 0);
	if (a->overflow || a->len - size_at - 1 > 0xff) {
		a->overflow = true;
		return;
	}
	a->buf[size_at] = a->len - size_at - 1;
	aml_end(a, b);
}

void aml_integer(struct aml *a, uint32_t val)
{
	uint8_t le[4] = { val, val >> 8, val >> 16, val >> 24 };

	if (val <= 1) {
		byte(a, val ? OP_ONE : OP_ZERO);
	} else if (val <= 0xff) {
		byte(a, OP_BYTE);
		byte(a, val);
	} else {
		byte(a, OP_DWORD);
		aml_bytes(a, le, 4);
	}
}

void aml_name_integer(struct aml *a, const char *seg, uint32_t val)
{
	byte(a, OP_NAME);
	name(a, seg);
	aml_integer(a, val);
}

static unsigned int hex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

void aml_name_eisaid(struct aml *a, const char *seg, const char *id)
{
	uint8_t c[4] = {
		(id[0] - 0x40) << 2 | (id[1] - 0x40) >> 3,
		(id[1] - 0x40) << 5 | (id[2] - 0x40),
		hex(id[3]) << 4 | hex(id[4]),
		hex(id[5]) << 4 | hex(id[6]),
	};

	byte(a, OP_NAME);
	name(a, seg);
	byte(a, OP_DWORD);
	aml_bytes(a, c, 4);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
	uint8_t d[8] = { 0x47, 0x01, base, base >> 8, base, base >> 8, 1, len };

	aml_bytes(a, d, sizeof(d));
}

void aml_res_irq(struct aml *a, unsigned int irq)
{
	uint8_t d[3] = { 0x22, (1U << irq) & 0xff, (1U << irq) >> 8 };

	aml_bytes(a, d, sizeof(d));
}
