// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_STATS_FD of a VM and of a vCPU: counters in KVM's binary format.  A header,
 * a name (KVM's, too: kvm-PROCESS, kvm-PROCESS/vcpu-ID), descriptors, values; read at
 * any offset, values as of the read.
 *
 * A VM's nested pages have KVM's names: pages_4k, pages_2m, pages_1g.  Then come the
 * engine's own counters; a vCPU has its part of those of exits.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "engine.h"

#define NAME_SIZE	48
#define NR_PAGES	3
#define NR_STATS	(NR_PAGES + CVMM_EE_NR)

/* struct kvm_stats_desc with its name, whose size there depends on the kernel. */
struct stats_desc {
	u32 flags;
	s16 exponent;
	u16 size;
	u32 offset;
	u32 bucket_size;
	char name[NAME_SIZE];
};

static_assert(offsetof(struct stats_desc, name) == offsetof(struct kvm_stats_desc, name));

struct stats_file {
	struct kvm_stats_header header;
	char id[NAME_SIZE];
	struct stats_desc desc[NR_STATS];
	u64 value[NR_STATS];
};

static void describe(struct stats_file *f, unsigned int i, const char *name, u32 type)
{
	f->desc[i] = (struct stats_desc) {
		.flags = type | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10,
		.size = 1,
		.offset = i * sizeof(u64),
	};
	strscpy(f->desc[i].name, name, NAME_SIZE);
}

static struct stats_file *alloc_file(u32 nr)
{
	struct stats_file *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);

	if (f)
		f->header = (struct kvm_stats_header) {
			.name_size = NAME_SIZE,
			.num_desc = nr,
			.id_offset = offsetof(struct stats_file, id),
			.desc_offset = offsetof(struct stats_file, desc),
			.data_offset = offsetof(struct stats_file, value),
		};
	return f;
}

/* Frees @f. */
static ssize_t read_file(struct stats_file *f, char __user *buf, size_t size, loff_t *pos)
{
	size_t whole = offsetof(struct stats_file, value[f->header.num_desc]);
	ssize_t ret = simple_read_from_buffer(buf, size, pos, f, whole);

	kfree(f);
	return ret;
}

static ssize_t vm_stats_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	static const char * const pages[NR_PAGES] = { "pages_4k", "pages_2m", "pages_1g" };
	struct stats_file *f = alloc_file(NR_STATS);
	struct cvmm_vm *vm = file->private_data;
	unsigned int i;

	if (!f)
		return -ENOMEM;
	snprintf(f->id, NAME_SIZE, "kvm-%d", vm->pid);
	for (i = 0; i < NR_PAGES; i++)
		describe(f, i, pages[i], KVM_STATS_TYPE_INSTANT);
	for (i = 0; i < CVMM_EE_NR; i++) {
		describe(f, NR_PAGES + i, vm->stats.name(i), KVM_STATS_TYPE_CUMULATIVE);
		f->value[NR_PAGES + i] = cvmm_counters_sum(&vm->stats, i);
	}
	/* A walk over all tables: only for who reads values. */
	if (size && (u64)*pos + size - 1 >= offsetof(struct stats_file, value))
		cvmm_mmu_count(&vm->mmu, f->value);
	return read_file(f, buf, size, pos);
}

static ssize_t vcpu_stats_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	struct stats_file *f = alloc_file(CVMM_EE_VCPU_NR);
	struct cvmm_vcpu *vcpu = file->private_data;
	unsigned int i;

	if (!f)
		return -ENOMEM;
	snprintf(f->id, NAME_SIZE, "kvm-%d/vcpu-%u", vcpu->vm->pid, vcpu->id);
	for (i = 0; i < CVMM_EE_VCPU_NR; i++) {
		describe(f, i, vcpu->vm->stats.name(i), KVM_STATS_TYPE_CUMULATIVE);
		f->value[i] = READ_ONCE(vcpu->counts[i]);
	}
	return read_file(f, buf, size, pos);
}

static int vm_stats_release(struct inode *inode, struct file *file)
{
	cvmm_vm_put(file->private_data);
	return 0;
}

static int vcpu_stats_release(struct inode *inode, struct file *file)
{
	struct cvmm_vcpu *vcpu = file->private_data;

	cvmm_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vm_stats_fops = {
	.owner = THIS_MODULE,
	.read = vm_stats_read,
	.release = vm_stats_release,
	.llseek = noop_llseek,
};

static const struct file_operations vcpu_stats_fops = {
	.owner = THIS_MODULE,
	.read = vcpu_stats_read,
	.release = vcpu_stats_release,
	.llseek = noop_llseek,
};

/* A new descriptor; its release puts @vm. */
static int stats_fd(struct cvmm_vm *vm, const char *name, const struct file_operations *fops,
		    void *data)
{
	struct file *file;
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	file = anon_inode_getfile(name, fops, data, O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_PREAD;
	cvmm_vm_get(vm);
	fd_install(fd, file);
	return fd;
}

/*
 * cvmm_vm_get_stats_fd(), cvmm_vcpu_get_stats_fd() - KVM_GET_STATS_FD
 *
 * Returns a new descriptor, which holds the VM, or -errno.
 */
int cvmm_vm_get_stats_fd(struct cvmm_vm *vm)
{
	return stats_fd(vm, "cvmm-vm-stats", &vm_stats_fops, vm);
}

int cvmm_vcpu_get_stats_fd(struct cvmm_vcpu *vcpu)
{
	return stats_fd(vcpu->vm, "cvmm-vcpu-stats", &vcpu_stats_fops, vcpu);
}
