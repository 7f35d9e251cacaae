// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what this engine can offer a guest on this host, and what a guest gets.
 *
 * Offered is what the host's processor and kernel have, less what the engine
 * does not switch or emulate.  A guest gets the leaves that user space sets,
 * with the few values that follow other state put in at run time.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/fpu/xcr.h>
#include <asm/fpu/xstate.h>
#include <asm/processor.h>

#include "engine.h"

#define MAX_STD_LEAF	0xd
#define MAX_EXT_LEAF	0x8000001f
#define HV_LEAF		0x40000000

/* Leaf 1 */
#define L1_ECX	(BIT(0)  | /* SSE3 */	BIT(1)  | /* PCLMULQDQ */ BIT(9)  | /* SSSE3 */	\
		 BIT(12) | /* FMA */	BIT(13) | /* CX16 */	BIT(19) | /* SSE4.1 */	\
		 BIT(20) | /* SSE4.2 */	BIT(22) | /* MOVBE */	BIT(23) | /* POPCNT */	\
		 BIT(25) | /* AES */	BIT(26) | /* XSAVE */	BIT(28) | /* AVX */	\
		 BIT(29) | /* F16C */	BIT(30))  /* RDRAND */
#define L1_ECX_XSAVE (BIT(26) | BIT(28) | BIT(29) | BIT(12))
#define L1_ECX_HYPERVISOR BIT(31)
#define L1_ECX_OSXSAVE	BIT(27)
#define L1_EDX	(BIT(0)  | /* FPU */	BIT(1)  | /* VME */	BIT(2)  | /* DE */	\
		 BIT(3)  | /* PSE */	BIT(4)  | /* TSC */	BIT(5)  | /* MSR */	\
		 BIT(6)  | /* PAE */	BIT(7)  | /* MCE */	BIT(8)  | /* CX8 */	\
		 BIT(9)  | /* APIC */	BIT(11) | /* SEP */	BIT(12) | /* MTRR */	\
		 BIT(13) | /* PGE */	BIT(14) | /* MCA */	BIT(15) | /* CMOV */	\
		 BIT(16) | /* PAT */	BIT(17) | /* PSE36 */	BIT(19) | /* CLFLUSH */	\
		 BIT(23) | /* MMX */	BIT(24) | /* FXSR */	BIT(25) | /* SSE */	\
		 BIT(26))  /* SSE2 */
/* Leaf 7 */
#define L7_EBX_TSC_ADJUST BIT(1)
#define L7_EBX	(BIT(0)  | /* FSGSBASE */ BIT(3) | /* BMI1 */	BIT(5)  | /* AVX2 */	\
		 BIT(7)  | /* SMEP */	BIT(8)  | /* BMI2 */	BIT(9)  | /* ERMS */	\
		 BIT(18) | /* RDSEED */	BIT(19) | /* ADX */	BIT(20) | /* SMAP */	\
		 BIT(23) | /* CLFLUSHOPT */ BIT(24) | /* CLWB */ BIT(29) | /* SHA */	\
		 L7_EBX_AVX512)
#define L7_EBX_AVX512 (BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
#define L7_ECX	(BIT(2)  | /* UMIP */	BIT(8)  | /* GFNI */	BIT(9)  | /* VAES */	\
		 BIT(10) | /* VPCLMULQDQ */ BIT(22) | /* RDPID */ BIT(27) | /* MOVDIRI */ \
		 BIT(28) | /* MOVDIR64B */ L7_ECX_AVX512)
#define L7_ECX_AVX512 (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define L7_EDX	(BIT(4)	  /* FSRM */)
/* Leaf 0xd, 1: no XSAVES, its MSR is not switched */
#define LD1_EAX	(BIT(0)  | /* XSAVEOPT */ BIT(1) | /* XSAVEC */	BIT(2))  /* XGETBV1 */
/* Leaf 0x80000001 */
#define X1_ECX	(BIT(0)  | /* LAHF */	BIT(1)  | /* CMP_LEGACY */ BIT(4) | /* CR8 */	\
		 BIT(5)  | /* ABM */	BIT(6)  | /* SSE4A */	BIT(7)  | /* MISALIGNSSE */ \
		 BIT(8)  | /* 3DNOWPREFETCH */ BIT(11) | /* XOP */ BIT(16) | /* FMA4 */	\
		 BIT(21) | /* TBM */	BIT(22))  /* TOPOEXT */
#define X1_ECX_XSAVE (BIT(11) | BIT(16))
#define X1_EDX	(L1_EDX_DUP |							\
		 BIT(11) | /* SYSCALL */ BIT(20) | /* NX */	BIT(22) | /* MMXEXT */	\
		 BIT(25) | /* FXSR_OPT */ BIT(26) | /* GBPAGES */ BIT(27) | /* RDTSCP */ \
		 BIT(29) | /* LM */	BIT(30) | /* 3DNOWEXT */ BIT(31))  /* 3DNOW */
/* Bits that the extended leaf repeats. */
#define L1_EDX_DUP (L1_EDX & (GENMASK(9, 0) | GENMASK(17, 12) | GENMASK(24, 23)))
#define X7_EDX	BIT(8)	/* invariant TSC */
#define X8_EBX	(BIT(0) | /* CLZERO */ BIT(2))  /* XSAVEERPTR */

u64 cvmm_supported_xcr0(void)
{
	if (!boot_cpu_has(X86_FEATURE_XSAVE))
		return XFEATURE_MASK_FPSSE;
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) &
	       (XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512);
}

/*
 * Bits of a guest-physical address that the nested tables, of as many levels as the
 * host's own, can say.  The processor's are the kernel's value: memory encryption may
 * have taken bits away.
 */
u8 cvmm_host_maxphyaddr(void)
{
	return min_t(u8, boot_cpu_data.x86_phys_bits, pgtable_l5_enabled() ? 52 : 48);
}

/* Bytes of an XSAVE area in standard form with all that is offered. */
static u32 offered_xsave_size(u64 xcr0)
{
	u32 size = 576, i, eax, ebx, ecx, edx;	/* legacy area and header */

	for (i = 2; i < 63; i++) {
		if (!(xcr0 & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		size = max(size, eax + ebx);
	}
	return size;
}

/* Mask one leaf of the host's; false when the leaf has no (further) entry. */
static bool offer(struct kvm_cpuid_entry2 *e)
{
	u64 xcr0 = cvmm_supported_xcr0();
	bool xsave = boot_cpu_has(X86_FEATURE_XSAVE);

	switch (e->function) {
	case 0:
		e->eax = min_t(u32, e->eax, MAX_STD_LEAF);
		break;
	case 1:
		e->ebx &= 0xff00;	/* CLFLUSH size; APIC id and count: user space */
		e->ecx &= L1_ECX;
		if (!xsave)
			e->ecx &= ~L1_ECX_XSAVE;
		if (!(xcr0 & XFEATURE_MASK_YMM))
			e->ecx &= ~(L1_ECX_XSAVE & ~BIT(26));
		e->ecx |= L1_ECX_HYPERVISOR;
		e->edx &= L1_EDX;
		break;
	case 7:
		e->eax = 0;
		e->ebx &= L7_EBX;
		e->ecx &= L7_ECX;
		e->edx &= L7_EDX;
		e->ebx |= L7_EBX_TSC_ADJUST;	/* in software */
		if (!(xcr0 & XFEATURE_MASK_YMM)) {
			e->ebx &= ~BIT(5);
			e->ecx &= ~(BIT(9) | BIT(10));
		}
		if ((xcr0 & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512) {
			e->ebx &= ~L7_EBX_AVX512;
			e->ecx &= ~L7_ECX_AVX512;
		}
		if (!boot_cpu_has(X86_FEATURE_RDTSCP))
			e->ecx &= ~BIT(22);
		break;
	case 0xd:
		if (!xsave)
			return false;
		if (e->index == 0) {
			e->eax &= (u32)xcr0;
			e->ebx = offered_xsave_size(xcr0);
			e->ecx = e->ebx;
			e->edx &= xcr0 >> 32;
		} else if (e->index == 1) {
			e->eax &= LD1_EAX;
			e->ebx = 0;
			e->ecx = 0;
			e->edx = 0;
		} else {
			if (!(xcr0 & BIT_ULL(e->index)))
				return false;
			e->edx = 0;
		}
		break;
	case 0x80000000:
		e->eax = min_t(u32, e->eax, MAX_EXT_LEAF);
		break;
	case 0x80000001:
		e->ecx &= X1_ECX;
		if (!(xcr0 & XFEATURE_MASK_YMM))
			e->ecx &= ~X1_ECX_XSAVE;
		e->edx &= X1_EDX;
		if (!boot_cpu_has(X86_FEATURE_RDTSCP))
			e->edx &= ~BIT(27);
		break;
	case 0x80000007:
		e->eax = 0;
		e->ebx = 0;
		e->ecx = 0;
		e->edx &= X7_EDX;
		break;
	case 0x80000008:
		/*
		 * One physical-address bit less than the host: the other half
		 * belongs to the guest page-table cache of clustered guests.
		 */
		e->eax = (e->eax & 0xff00) | (cvmm_host_maxphyaddr() - 1);
		e->ebx &= X8_EBX;
		e->ecx = 0;	/* core count: user space */
		e->edx = 0;
		break;
	/* Caches, TLBs and names, as they are. */
	case 2:
	case 4:
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
	case 0x80000005:
	case 0x80000006:
	case 0x80000019:
	case 0x8000001d:
		break;
	default:
		e->eax = 0;
		e->ebx = 0;
		e->ecx = 0;
		e->edx = 0;
	}
	return true;
}

struct builder {
	struct kvm_cpuid_entry2 *e;
	u32 nr, max;
	u32 last_eax;
};

static int add(struct builder *b, u32 function, u32 index, u32 flags)
{
	struct kvm_cpuid_entry2 e = {
		.function = function, .index = index, .flags = flags,
	};

	cpuid_count(function, index, &e.eax, &e.ebx, &e.ecx, &e.edx);
	b->last_eax = e.eax;
	if (!offer(&e))
		return 0;
	if (b->nr == b->max)
		return -E2BIG;
	b->e[b->nr++] = e;
	return 0;
}

static int add_leaf(struct builder *b, u32 function)
{
	u32 i;
	int r;

	switch (function) {
	case 4:
	case 0x8000001d:
		/* Cache leaves end with type 0.  Leaf 4 is empty on AMD. */
		for (i = 0; i < 8; i++) {
			r = add(b, function, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
			if (r || !(b->last_eax & 0x1f))
				return r;
		}
		return 0;
	case 7:
		return add(b, function, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	case 0xd:
		for (i = 0; i < 63; i++) {
			r = add(b, function, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
			if (r)
				return r;
		}
		return 0;
	default:
		return add(b, function, 0, 0);
	}
}

/*
 * cvmm_get_supported_cpuid() - KVM_GET_SUPPORTED_CPUID
 *
 * -E2BIG with nent unchanged when the caller's array is too short.
 */
int cvmm_get_supported_cpuid(struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid2 head;
	struct builder b = {};
	u32 leaf, max;
	int r;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	b.max = min_t(u32, head.nent, CVMM_MAX_CPUID_ENTRIES);
	if (!b.max)
		return -E2BIG;
	b.e = kvcalloc(b.max, sizeof(*b.e), GFP_KERNEL);
	if (!b.e)
		return -ENOMEM;

	max = min_t(u32, cpuid_eax(0), MAX_STD_LEAF);
	for (leaf = 0; leaf <= max; leaf++) {
		r = add_leaf(&b, leaf);
		if (r)
			goto free;
	}
	r = -E2BIG;
	if (b.max - b.nr < 2)
		goto free;
	/* A signature that no guest takes for a paravirtual interface, and one without features. */
	b.e[b.nr++] = (struct kvm_cpuid_entry2) {
		.function = HV_LEAF, .eax = HV_LEAF + 1,
		.ebx = 0x6d6d7663, .ecx = 0x6d6d7663, .edx = 0x6d6d7663,	/* "cvmm" */
	};
	b.e[b.nr++] = (struct kvm_cpuid_entry2) { .function = HV_LEAF + 1 };
	max = min_t(u32, cpuid_eax(0x80000000), MAX_EXT_LEAF);
	for (leaf = 0x80000000; leaf <= max; leaf++) {
		r = add_leaf(&b, leaf);
		if (r)
			goto free;
	}
	r = 0;
	head.nent = b.nr;
	if (copy_to_user(arg, &head, sizeof(head)) ||
	    copy_to_user(arg->entries, b.e, array_size(b.nr, sizeof(*b.e))))
		r = -EFAULT;
free:
	kvfree(b.e);
	return r;
}

static const struct kvm_cpuid_entry2 *find(struct cvmm_vcpu *vcpu, u32 function, u32 index)
{
	u32 i;

	for (i = 0; i < vcpu->nr_cpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &vcpu->cpuid[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

/* What is asked often, as by each walk of the guest's tables; without the leaf, 36 address bits. */
static void note_cpuid(struct cvmm_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *features = find(vcpu, 0x80000001, 0);
	const struct kvm_cpuid_entry2 *size = find(vcpu, 0x80000008, 0);
	const struct kvm_cpuid_entry2 *leaf7 = find(vcpu, 7, 0);

	vcpu->cpuid_gbpages = features && features->edx & BIT(26);
	vcpu->cpuid_tsc_adjust = leaf7 && leaf7->ebx & L7_EBX_TSC_ADJUST;
	vcpu->cpuid_phys_bits = size ? clamp_t(u32, size->eax & 0xff, 32, 52) : 36;
}

/* Physical-address width that the guest sees and its entries may use. */
u8 cvmm_guest_maxphyaddr(struct cvmm_vcpu *vcpu)
{
	return min(vcpu->cpuid_phys_bits, vcpu->vm->maxphyaddr);
}

/* Bytes of an XSAVE area in standard form for the components in @xcr0. */
static u32 xsave_size(struct cvmm_vcpu *vcpu, u64 xcr0, bool compacted)
{
	u32 size = 576, i;	/* legacy area and header */

	for (i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *e;

		if (!(xcr0 & BIT_ULL(i)))
			continue;
		e = find(vcpu, 0xd, i);
		if (!e)
			continue;
		if (!compacted)
			size = max(size, e->eax + e->ebx);
		else if (e->ecx & BIT(1))
			size = ALIGN(size, 64) + e->eax;
		else
			size += e->eax;
	}
	return size;
}

/* What the guest sees of an entry: some values follow other state. */
static struct kvm_cpuid_entry2 as_seen(struct cvmm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entry)
{
	struct kvm_cpuid_entry2 e = *entry;

	switch (e.function) {
	case 1:
		e.ecx &= ~L1_ECX_OSXSAVE;
		if (vcpu->cr4 & X86_CR4_OSXSAVE)
			e.ecx |= L1_ECX_OSXSAVE;
		break;
	case 0xd:
		if (e.index == 0)
			e.ebx = xsave_size(vcpu, vcpu->xcr0, false);
		else if (e.index == 1 && e.eax & BIT(1))
			e.ebx = xsave_size(vcpu, vcpu->xcr0, true);
		break;
	case 0x80000008:
		e.eax = (e.eax & ~0xffU) | cvmm_guest_maxphyaddr(vcpu);
		break;
	}
	return e;
}

/*
 * cvmm_cpuid() - the CPUID instruction
 *
 * In: leaf in @eax, subleaf in @ecx.  Leaves that user space did not set read
 * as zero, as on AMD.
 */
void cvmm_cpuid(struct cvmm_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	const struct kvm_cpuid_entry2 *found = find(vcpu, *eax, *ecx);
	struct kvm_cpuid_entry2 e = {};

	if (found)
		e = as_seen(vcpu, found);
	*eax = e.eax;
	*ebx = e.ebx;
	*ecx = e.ecx;
	*edx = e.edx;
}

static bool same_entry(const struct kvm_cpuid_entry2 *a, const struct kvm_cpuid_entry2 *b)
{
	return !memcmp(a, b, offsetof(struct kvm_cpuid_entry2, padding));
}

/* Are these the vCPU's entries, as they were set or as they are read? */
static bool same_cpuid(struct cvmm_vcpu *vcpu, const struct kvm_cpuid_entry2 *e, u32 nr)
{
	u32 i;

	if (nr != vcpu->nr_cpuid)
		return false;
	for (i = 0; i < nr; i++) {
		struct kvm_cpuid_entry2 seen = as_seen(vcpu, &vcpu->cpuid[i]);

		if (!same_entry(&e[i], &vcpu->cpuid[i]) && !same_entry(&e[i], &seen))
			return false;
	}
	return true;
}

/*
 * cvmm_vcpu_set_cpuid() - KVM_SET_CPUID2
 *
 * Under vcpu->mutex.  -EINVAL for a change after the first KVM_RUN, as on KVM.
 */
int cvmm_vcpu_set_cpuid(struct cvmm_vcpu *vcpu, struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *e = NULL;
	struct kvm_cpuid2 head;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.nent > CVMM_MAX_CPUID_ENTRIES)
		return -E2BIG;
	if (head.nent) {
		e = vmemdup_user(arg->entries, array_size(head.nent, sizeof(*e)));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	if (vcpu->has_run) {
		bool same = same_cpuid(vcpu, e, head.nent);

		kvfree(e);
		return same ? 0 : -EINVAL;
	}
	kvfree(vcpu->cpuid);
	vcpu->cpuid = e;
	vcpu->nr_cpuid = head.nent;
	note_cpuid(vcpu);
	return 0;
}

/* KVM_GET_CPUID2, under vcpu->mutex: what the guest sees now. */
int cvmm_vcpu_get_cpuid(struct cvmm_vcpu *vcpu, struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid2 head;
	bool fits;
	u32 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	fits = head.nent >= vcpu->nr_cpuid;
	head.nent = vcpu->nr_cpuid;
	if (copy_to_user(arg, &head, sizeof(head)))
		return -EFAULT;
	if (!fits)
		return -E2BIG;
	for (i = 0; i < vcpu->nr_cpuid; i++) {
		struct kvm_cpuid_entry2 e = as_seen(vcpu, &vcpu->cpuid[i]);

		if (copy_to_user(&arg->entries[i], &e, sizeof(e)))
			return -EFAULT;
	}
	return 0;
}
