/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest kernel's symbols, from its System.map or /proc/kallsyms, and which of them
 * lie on a page of guest-physical memory.
 *
 * An x86-64 kernel's image is contiguous in physical memory, in the order of its
 * virtual addresses (Documentation/arch/x86/x86_64/mm.rst, "kernel text mapping").  So
 * one number tells where everything of it is: the physical address of its first
 * symbol, _text.  Without KASLR that is the address it was linked for; with it, the
 * start of "Kernel code" in the guest's /proc/iomem.  Virtual addresses are randomised
 * apart from that; as they only count relative to _text, either file serves.
 */
#ifndef VMMD_SYMBOLS_H
#define VMMD_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct symbols;

/*
 * Read a symbol table: lines "ADDRESS TYPE NAME".  Symbols of modules and absolute ones
 * are left out.  @text: physical address of _text, 0 for the one it was linked for.  NULL
 * with a sentence for the user in @err.
 */
struct symbols *symbols_read(FILE *f, uint64_t text, char *err, size_t errlen);
void symbols_free(struct symbols *s);

/* Physical address of _text. */
uint64_t symbols_text(const struct symbols *s);

/*
 * Call @fn for each symbol on the page at @gpa, by address; the first may begin before the
 * page (@offset < 0, in bytes from the page's begin).  A symbol ends where the next begins.
 */
void symbols_on_page(const struct symbols *s, uint64_t gpa,
		     void (*fn)(void *arg, const char *name, int64_t offset), void *arg);

#endif /* VMMD_SYMBOLS_H */
