// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module load and unload, /dev/cvmm.
 */
#include <linux/cvmm.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "space.h"

static long cvmm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	struct cvmm_info info = {
		.abi = CVMM_ABI_VERSION,
		.engine = CVMM_ENGINE_NONE,
		.features = CVMM_FEATURE_LINK_STREAM,
		.version = "0.1",
	};

	switch (cmd) {
	case CVMM_GET_INFO:
		return copy_to_user(uarg, &info, sizeof(info)) ? -EFAULT : 0;
	case CVMM_CREATE_SPACE:
		return cvmm_space_create(uarg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations cvmm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = cvmm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice cvmm_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cvmm",
	.fops = &cvmm_fops,
	.mode = 0660,
};

static int __init cvmm_init(void)
{
	int ret = cvmm_space_init();

	if (ret)
		return ret;
	ret = misc_register(&cvmm_misc);
	if (ret)
		cvmm_space_exit();
	return ret;
}
module_init(cvmm_init);

static void __exit cvmm_exit(void)
{
	misc_deregister(&cvmm_misc);
	cvmm_space_exit();
}
module_exit(cvmm_exit);

MODULE_DESCRIPTION("Clustered virtual machine monitor");
MODULE_LICENSE("GPL");
