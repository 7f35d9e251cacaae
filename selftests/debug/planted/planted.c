// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with one fault of each kind that a debug kernel must find, at
 * "insmod planted.ko fault=NAME": proof that make check-debug fails then
 * (../planted.sh).
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *fault = "";
module_param(fault, charp, 0);
MODULE_PARM_DESC(fault, "which: write, freed, leak, locks, sleep or shift");

/* A parameter, so that the compiler knows nothing of what is done with it. */
static unsigned int size = 200;
module_param(size, uint, 0);
MODULE_PARM_DESC(size, "of the memory that is misused; of a shift");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

static int beyond_the_end(void)
{
	char *p = kmalloc(size, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	p[size] = 1;
	kfree(p);
	return 0;
}

static int after_free(void)
{
	char *p = kmalloc(size, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	kfree(p);
	WRITE_ONCE(p[size / 2], 1);
	return 0;
}

/* Several: a stale copy of a pointer on some stack hides one. */
static int never_freed(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		if (!kmalloc(size, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static int both_orders(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static int sleep_with_spinlock(void)
{
	spin_lock(&spin);
	msleep(1);
	spin_unlock(&spin);
	return 0;
}

static int shift_too_far(void)
{
	pr_info("planted: %d\n", 1 << size);
	return 0;
}

static const struct {
	const char *name;
	int (*commit)(void);
} faults[] = {
	{ "write", beyond_the_end }, { "freed", after_free }, { "leak", never_freed },
	{ "locks", both_orders }, { "sleep", sleep_with_spinlock }, { "shift", shift_too_far },
};

static int __init planted_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (!strcmp(fault, faults[i].name))
			return faults[i].commit();
	return -EINVAL;
}
module_init(planted_init);

static void __exit planted_exit(void)
{
}
module_exit(planted_exit);

MODULE_DESCRIPTION("faults for debug kernels to find");
MODULE_LICENSE("GPL");
