// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software walk of a guest's page tables; see walk.h.  One loop serves all
 * paging modes of APM vol. 2 chapter 5: 32-bit, PAE and long mode.
 */
#include "walk.h"

#define CR0_WP		BIT_ULL(16)
#define CR0_PG		BIT_ULL(31)
#define CR4_PSE		BIT_ULL(4)
#define CR4_PAE		BIT_ULL(5)
#define CR4_LA57	BIT_ULL(12)
#define CR4_SMEP	BIT_ULL(20)
#define CR4_SMAP	BIT_ULL(21)
#define CR4_PKE		BIT_ULL(22)
#define EFER_LMA	BIT_ULL(10)
#define EFER_NXE	BIT_ULL(11)
#define RFLAGS_AC	BIT_ULL(18)

/* An entry changed under the walk this many times: let the guest try again. */
#define MAX_RESTARTS	16

static bool long_mode(const struct walk_cpu *cpu)
{
	return cpu->efer & EFER_LMA;
}

static unsigned int paging_levels(const struct walk_cpu *cpu)
{
	if (!(cpu->cr0 & CR0_PG))
		return 0;
	if (long_mode(cpu))
		return cpu->cr4 & CR4_LA57 ? 5 : 4;
	return cpu->cr4 & CR4_PAE ? 3 : 2;
}

/* Bits of a 64-bit entry that are reserved at every level. */
static u64 reserved_common(const struct walk_cpu *cpu)
{
	u64 mask = 0;

	if (cpu->maxphyaddr < 52)
		mask |= GENMASK_ULL(51, cpu->maxphyaddr);
	if (!(cpu->efer & EFER_NXE))
		mask |= PTE_NX;
	return mask;
}

u64 walk_reserved(const struct walk_cpu *cpu, unsigned int level, u64 val)
{
	u64 mask = reserved_common(cpu);

	switch (level) {
	case 5:
	case 4:
		mask |= PTE_PS | PTE_G;
		break;
	case 3:
		if (!cpu->gbpages)
			mask |= PTE_PS;
		else if (val & PTE_PS)
			mask |= GENMASK_ULL(29, 13);
		break;
	case 2:
		if (val & PTE_PS)
			mask |= GENMASK_ULL(20, 13);
		break;
	}
	return val & mask;
}

/* The same for PAE paging: bits 62:52 are reserved too, and PDPEs have few rights bits. */
static u64 reserved_pae(const struct walk_cpu *cpu, unsigned int level, u64 val)
{
	u64 mask = reserved_common(cpu) | GENMASK_ULL(62, 52);

	/*
	 * Bit 5 is reserved in a PDPE, too, but it cannot be refused: QEMU's
	 * emulated CPUs set it when they walk, as if it were an accessed bit.
	 */
	if (level == 3)
		mask |= GENMASK_ULL(8, 6) | GENMASK_ULL(2, 1) | PTE_NX;
	if (level == 2 && (val & PTE_PS))
		mask |= GENMASK_ULL(20, 13);
	return val & mask;
}

static u64 reserved_legacy(const struct walk_cpu *cpu, unsigned int level, u64 val)
{
	unsigned int width = min_t(unsigned int, cpu->maxphyaddr, 40);
	u64 mask = 0;

	/* A 4 MiB page: bits 20:13 are address bits 39:32, bit 21 is reserved. */
	if (level == 2 && (cpu->cr4 & CR4_PSE) && (val & PTE_PS))
		mask = GENMASK_ULL(21, 13 + (width - 32));
	return val & mask;
}

static u64 reserved(const struct walk_cpu *cpu, unsigned int levels, unsigned int level, u64 val)
{
	if (levels >= 4)
		return walk_reserved(cpu, level, val);
	if (levels == 3)
		return reserved_pae(cpu, level, val);
	return reserved_legacy(cpu, level, val);
}

static bool is_leaf(const struct walk_cpu *cpu, unsigned int levels, unsigned int level, u64 val)
{
	if (level == 1)
		return true;
	if (!(val & PTE_PS))
		return false;
	if (levels == 2)
		return cpu->cr4 & CR4_PSE;
	if (levels == 3)
		return level == 2;
	return level <= 3;	/* higher up PS is reserved and was refused */
}

/* Bits of an access that the error code repeats whatever the fault is. */
static u32 error_base(const struct walk_cpu *cpu, unsigned int access)
{
	u32 error = 0;

	if (access & WALK_WRITE)
		error |= PFEC_W;
	if (cpu->cpl == 3 && !(access & WALK_IMPLICIT))
		error |= PFEC_U;
	if ((access & WALK_FETCH) &&
	    ((cpu->cr4 & CR4_SMEP) || ((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NXE))))
		error |= PFEC_I;
	return error;
}

u32 walk_permitted(const struct walk_cpu *cpu, const struct walk_result *res,
		   unsigned int access)
{
	bool user = cpu->cpl == 3 && !(access & WALK_IMPLICIT);
	bool write = access & WALK_WRITE;
	bool wp = user || (cpu->cr0 & CR0_WP);
	bool denied = false;
	u32 pk = 0;

	if (user && !res->user)
		denied = true;
	if (write && !res->writable && wp)
		denied = true;
	if (access & WALK_FETCH) {
		if (!res->exec)
			denied = true;
		if (!user && res->user && (cpu->cr4 & CR4_SMEP))
			denied = true;
	} else {
		if (!user && res->user && (cpu->cr4 & CR4_SMAP) &&
		    ((access & WALK_IMPLICIT) || !(cpu->rflags & RFLAGS_AC)))
			denied = true;
		if (long_mode(cpu) && (cpu->cr4 & CR4_PKE) && res->user) {
			u32 bits = cpu->pkru >> (2 * (res->pkey & 15));

			if ((bits & 1) || ((bits & 2) && write && wp))
				pk = PFEC_PK;
		}
	}
	if (!denied && !pk)
		return 0;
	return error_base(cpu, access) | PFEC_P | pk;
}

/* Set A (and D in the leaf for a write) along the walk.  0, 1 to start again, -errno. */
static int set_accessed(const struct walk_ops *ops, void *arg, unsigned int levels,
			unsigned int access, struct walk_result *res)
{
	unsigned int size = levels == 2 ? 4 : 8;
	unsigned int level;
	u64 want, old;
	int ret;

	for (level = levels; level >= res->leaf; level--) {
		if (levels == 3 && level == 3)
			continue;	/* a PAE PDPE has no accessed bit */
		old = res->entry[level - 1].val;
		want = old | PTE_A;
		if (level == res->leaf && (access & WALK_WRITE))
			want |= PTE_D;
		if (want == old)
			continue;
		ret = (ops->cmpxchg)(arg, res->entry[level - 1].gpa, size, &old, want);
		if (ret)
			return ret;
		res->entry[level - 1].val = want;
	}
	return 0;
}

static int walk_once(const struct walk_cpu *cpu, const struct walk_ops *ops, void *arg,
		     u64 linear, unsigned int access, struct walk_result *res)
{
	unsigned int levels = res->levels;
	unsigned int bits = levels == 2 ? 10 : 9;
	unsigned int size = levels == 2 ? 4 : 8;
	u64 addr_mask = levels == 2 ? GENMASK_ULL(31, 12) : PTE_ADDR_MASK;
	unsigned int level, shift;
	u64 table, val = 0;
	int ret;

	if (levels >= 4)
		table = cpu->cr3 & PTE_ADDR_MASK;
	else
		table = cpu->cr3 & (levels == 3 ? GENMASK_ULL(31, 5) : GENMASK_ULL(31, 12));

	res->writable = true;
	res->user = true;
	res->exec = true;
	res->pkey = 0;

	for (level = levels;; level--) {
		shift = 12 + bits * (level - 1);
		res->leaf = level;
		res->entry[level - 1].gpa = table +
			((linear >> shift) & (levels == 3 && level == 3 ? 3 : BIT_ULL(bits) - 1)) * size;
		ret = ops->read(arg, res->entry[level - 1].gpa, size, &val);
		if (ret == -ENOENT)
			val = size == 8 ? ~0ULL : 0xffffffffULL;
		else if (ret)
			return ret;
		res->entry[level - 1].val = val;

		if (!(val & PTE_P)) {
			res->error = error_base(cpu, access);
			return WALK_FAULT;
		}
		if (reserved(cpu, levels, level, val)) {
			res->error = error_base(cpu, access) | PFEC_P | PFEC_RSVD;
			return WALK_FAULT;
		}
		if (!(levels == 3 && level == 3)) {
			res->writable &= !!(val & PTE_W);
			res->user &= !!(val & PTE_U);
			if (levels > 2 && (cpu->efer & EFER_NXE))
				res->exec &= !(val & PTE_NX);
		}
		if (is_leaf(cpu, levels, level, val))
			break;
		table = val & addr_mask;
	}

	res->shift = shift;
	if (levels == 2 && level == 2) {
		table = (val & GENMASK_ULL(31, 22)) | ((val & GENMASK_ULL(20, 13)) << 19);
	} else {
		table = val & addr_mask & ~(BIT_ULL(shift) - 1);
		if (levels >= 4)
			res->pkey = (val >> PTE_PKEY_SHIFT) & 15;
	}
	res->gpa = table | (linear & (BIT_ULL(shift) - 1));

	res->error = walk_permitted(cpu, res, access);
	return res->error ? WALK_FAULT : WALK_OK;
}

int walk(const struct walk_cpu *cpu, const struct walk_ops *ops, void *arg,
	 u64 linear, unsigned int access, struct walk_result *res)
{
	unsigned int levels = paging_levels(cpu);
	unsigned int tries;
	int ret;

	memset(res, 0, sizeof(*res));
	res->levels = levels;
	if (!long_mode(cpu))
		linear &= 0xffffffffULL;
	if (!levels) {
		res->gpa = linear;
		res->shift = 12;
		res->writable = true;
		res->user = true;
		res->exec = true;
		return WALK_OK;
	}

	for (tries = 0; tries < MAX_RESTARTS; tries++) {
		ret = walk_once(cpu, ops, arg, linear, access, res);
		if (ret != WALK_OK || (access & WALK_NO_AD))
			return ret;
		ret = set_accessed(ops, arg, levels, access, res);
		if (ret <= 0)
			return ret;
	}
	return -EAGAIN;
}
