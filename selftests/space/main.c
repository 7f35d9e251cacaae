// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * space-test GROUP [--seed N]: tests of spaces; prints TAP.
 */
#include "space_test.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t test_seed;
static int points, failures;

void ok(bool good, const char *fmt, ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++points);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	failures += !good;
}

void skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++points, name, why);
}

void note(const char *fmt, ...)
{
	va_list args;

	printf("# ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

void set_parameter(const char *name, const char *value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/cvmm/parameters/%s", name);
	f = fopen(path, "w");
	if (!f || fputs(value, f) < 0 || fclose(f))
		die(path);
}

uint64_t rnd(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;	/* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

int in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		_exit(fn(arg));
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{ "local", test_local },
	{ "pair", test_pair },
	{ "stress", test_stress },
	{ "poll", test_poll },
	{ "messages", test_messages },
	{ "failure", test_failure },
	{ "fuzz", test_fuzz },
	{ "cycle", test_cycle },
	{ "netlink", test_netlink },
	{ "remote", test_remote },
	{ "rdma", test_rdma },
	{ "rdma-remove", test_rdma_remove },
	{ "rdma-remote", test_rdma_remote },
	{ "faults", test_faults },
	{ "split", test_split },
	{ "latency", test_latency },
};

int main(int argc, char **argv)
{
	test_seed = time(NULL);
	if (argc == 4 && !strcmp(argv[2], "--seed"))
		test_seed = strtoull(argv[3], NULL, 0);
	else if (argc != 2)
		goto usage;

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (strcmp(argv[1], groups[i].name))
			continue;
		note("%s --seed %llu", argv[1], (unsigned long long)test_seed);
		groups[i].run();
		printf("1..%d\n", points);
		return failures != 0;
	}
usage:
	fprintf(stderr, "usage: space-test GROUP [--seed N]; groups:");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		fprintf(stderr, " %s", groups[i].name);
	fprintf(stderr, "\n");
	return 2;
}
