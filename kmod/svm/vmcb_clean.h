/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VMCB clean bits (APM vol. 2, 15.15): which parts of the VMCB a processor may keep
 * from one VMRUN to the next.
 *
 * A bit says that software has not changed its group of fields since the last
 * #VMEXIT of the same VMCB on the same processor.  Pure: what is here knows the
 * VMCB as bytes.
 */
#ifndef CVMM_VMCB_CLEAN_H
#define CVMM_VMCB_CLEAN_H

#include "../pure.h"

/* Bits of the VMCB clean field (15.15.3); others stay clear. */
enum vmcb_clean {
	VMCB_CLEAN_NONE = -1,		/* always loaded, or by VMLOAD */
	VMCB_CLEAN_INTERCEPTS,		/* intercepts, TSC offset, PAUSE filter */
	VMCB_CLEAN_MAPS,		/* addresses of the I/O and MSR permission maps */
	VMCB_CLEAN_ASID,
	VMCB_CLEAN_INT,			/* TPR and virtual interrupt */
	VMCB_CLEAN_NESTED,		/* nested CR3, PAT */
	VMCB_CLEAN_CR,			/* CR0, CR3, CR4, EFER */
	VMCB_CLEAN_DR,			/* DR6, DR7 */
	VMCB_CLEAN_DT,			/* GDTR, IDTR */
	VMCB_CLEAN_SEG,			/* CS, DS, SS, ES, CPL */
	VMCB_CLEAN_CR2,
	VMCB_CLEAN_NR
};

#define VMCB_CLEAN_ALL	((1u << VMCB_CLEAN_NR) - 1)
#define VMCB_CLEAN_SIZE	0x700	/* the VMCB's bytes up to here are looked at */

/* The group of the byte at @offset of the VMCB; constant where @offset is. */
static inline __attribute__((__always_inline__)) enum vmcb_clean vmcb_clean_group(size_t offset)
{
	if (offset < 0x040 || (offset >= 0x050 && offset < 0x058))
		return VMCB_CLEAN_INTERCEPTS;
	if (offset < 0x050)
		return VMCB_CLEAN_MAPS;
	if (offset < 0x05c)
		return VMCB_CLEAN_ASID;
	if (offset >= 0x060 && offset < 0x068)
		return VMCB_CLEAN_INT;
	if ((offset >= 0x090 && offset < 0x098) || (offset >= 0x0b0 && offset < 0x0b8) ||
	    (offset >= 0x668 && offset < 0x670))
		return VMCB_CLEAN_NESTED;
	if (offset >= 0x400 && offset < 0x440)
		return VMCB_CLEAN_SEG;
	if ((offset >= 0x460 && offset < 0x470) || (offset >= 0x480 && offset < 0x490))
		return VMCB_CLEAN_DT;
	if (offset == 0x4cb)
		return VMCB_CLEAN_SEG;
	if ((offset >= 0x4d0 && offset < 0x4d8) || (offset >= 0x548 && offset < 0x560))
		return VMCB_CLEAN_CR;
	if (offset >= 0x560 && offset < 0x570)
		return VMCB_CLEAN_DR;
	if (offset >= 0x640 && offset < 0x648)
		return VMCB_CLEAN_CR2;
	return VMCB_CLEAN_NONE;
}

/**
 * vmcb_clean_stale() - groups that are said to be clean and are not
 * @now:	the VMCB before VMRUN, VMCB_CLEAN_SIZE bytes
 * @then:	the same as it was after the last #VMEXIT
 * @clean:	bits that are to be set
 *
 * Returns those of @clean that must not be.
 */
u32 vmcb_clean_stale(const void *now, const void *then, u32 clean);

#endif /* CVMM_VMCB_CLEAN_H */
