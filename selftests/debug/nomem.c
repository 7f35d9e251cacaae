// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nomem [WORD...]: all steps, or those with one of the words in their names.
 *
 * Every allocation of the module in user context fails once: each step (nomem_steps.c) is
 * repeated with its first, second, third ... allocation failing (the kernel's
 * fail-nth), until none is left to fail.  A step may fail, with an error that
 * says memory, and then works when it is tried again where that is promised.
 * After that, receivers of links, which are kernel threads, at random.  That
 * nothing is lost or broken is for KASAN, lockdep and kmemleak to say.  TAP.
 */
#include "nomem.h"

#include "../engine/kvm_vm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NTH		5000

static int fail_nth;

static void point(bool good, const char *name, const char *what, long n)
{
	check(good, "%s: %s (%ld)", name, what, n);
}

static bool arm(int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(fail_nth, text, n, 0) == n;
}

/* Has the allocation failed that arm() chose?  Nothing fails from here. */
static bool disarm(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0 || !arm(0))
		bail("fail-nth");
	return atoi(text) == 0;
}

static bool says_memory(int ret)
{
	return ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE;
}

static void do_step(const struct step *s)
{
	unsigned int injected = 0, refused = 0;
	const char *wrong = NULL;
	bool hit = true;
	int nth, ret = 0;

	for (nth = 1; hit && !wrong && nth < MAX_NTH; nth++) {
		s->prepare();
		if (!arm(nth))
			bail("fail-nth");
		ret = s->act();
		hit = disarm();
		if (hit) {
			injected++;
			refused += !!ret;
		}
		if (ret && !hit)
			wrong = "fails with memory";
		else if (ret && s->again && !says_memory(ret))
			wrong = "fails with another error than one for memory";
		else if (ret == -EUCLEAN)
			wrong = "wrong result";
		else if (ret && s->again) {
			ret = s->act();
			if (ret)
				wrong = "fails when tried again";
		}
		undo();
	}
	if (!wrong && hit)
		wrong = "does not end";
	printf("# %s: %u allocations failed, %u times with an error\n", s->name, injected, refused);
	point(!wrong, s->name, wrong ? wrong : "each allocation can fail", wrong ? ret : (long)injected);
}

/* Mark the receivers of our links, so that the filter by task finds them. */
static unsigned int mark_receivers(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	unsigned int nr = 0;

	while (proc && (d = readdir(proc))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strncmp(comm, "cvmm-rx/", 8)) {
			snprintf(path, sizeof(path), "/proc/%s/make-it-fail", d->d_name);
			put(path, "1");
			nr++;
		}
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return nr;
}

static void do_receivers(void)
{
	static const char *const attr[] = { "failslab", "fail_page_alloc" };
	unsigned int marked = 0, refused = 0;
	bool good = true;
	char path[80];

	for (unsigned int i = 0; i < 24; i++) {
		two_joined();
		marked += mark_receivers();
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/probability", attr[i % 2]);
		put(path, i < 12 ? "3" : "20");
		for (unsigned int n = 0; n < 20; n++) {
			int ret = touch();

			good &= ret != -EUCLEAN;
			if (ret) {
				refused++;
				break;
			}
		}
		put(path, "0");
		undo();
	}
	point(good && marked == 48 && refused, "receivers", "fail, or serve right", refused);
}

/* Is the step one of those asked for? */
static bool asked(const char *name, char **words)
{
	if (!*words)
		return true;
	while (*words && !strstr(name, *words))
		words++;
	return *words;
}

int main(int argc, char **argv)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" }, { "failslab/verbose", "0" },
		{ "failslab/task-filter", "Y" }, { "failslab/times", "-1" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" }, { "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/min-order", "0" }, { "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/times", "-1" },
	};
	char path[80];

	fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0) {
		printf("1..0 # SKIP this kernel has no fault injection\n");
		return 0;
	}
	for (unsigned int i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		put(path, settings[i][1]);
	}
	steps_init(argc, argv);
	for (unsigned int i = 0; i < nr_steps; i++)
		if (asked(steps[i].name, argv + 1))
			do_step(&steps[i]);
	if (asked("receivers", argv + 1))
		do_receivers();
	return tap_done();
}
