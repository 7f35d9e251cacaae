// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All test programs of guest/tests as one static file, told apart by the name
 * it is called by: one C library instead of one in each keeps the initramfs
 * small, and the guest unpacks it before anything else can run.
 */
#include <stdio.h>
#include <string.h>

/* X(name) for each guest/tests/name.c, whose main() is called main_name here. */
#define X(name) int main_##name(int argc, char **argv);
#include "multi.inc"
#undef X

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} programs[] = {
#define X(name) { #name, main_##name },
#include "multi.inc"
#undef X
};

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (!strcmp(programs[i].name, name))
			return programs[i].main(argc, argv);
	fprintf(stderr, "%s: no such test program here\n", name);
	return 127;
}
