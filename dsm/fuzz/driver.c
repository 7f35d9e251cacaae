// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Drives a fuzz target without libFuzzer: random inputs from a seed, or files.
 *
 *   dsm-fuzz-X [RUNS [SEED]]     dsm-fuzz-X FILE...
 *
 * A crash prints nothing but the sanitizer's report; the run before it is named
 * by its seed when DSM_FUZZ_VERBOSE is set.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t rng;

static uint64_t next(void)
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static int run_file(const char *path)
{
	static uint8_t buf[1 << 16];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	return LLVMFuzzerTestOneInput(buf, n);
}

int main(int argc, char **argv)
{
	unsigned long long runs, seed, i;
	static uint8_t buf[2048];
	size_t n, k;
	char *end;
	int arg;

	runs = argc > 1 ? strtoull(argv[1], &end, 0) : 100000;
	if (argc > 1 && *end) {
		for (arg = 1; arg < argc; arg++)
			if (run_file(argv[arg]))
				return 1;
		return 0;
	}
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	for (i = 0; i < runs; i++) {
		rng = seed + i;
		n = next() % sizeof(buf);
		for (k = 0; k < n; k++)
			buf[k] = (uint8_t)next();
		if (getenv("DSM_FUZZ_VERBOSE"))
			fprintf(stderr, "seed %llu\n", seed + i);
		LLVMFuzzerTestOneInput(buf, n);
	}
	printf("%llu inputs, seeds %llu..%llu\n", runs, seed, seed + runs - 1);
	return 0;
}
