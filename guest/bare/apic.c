// SPDX-License-Identifier: GPL-2.0-or-later
/* Access to the local APIC of the calling CPU in xAPIC (MMIO) or x2APIC (MSR) mode. */
#include "bare.h"

uint32_t apic_read(unsigned int reg)
{
	if (this_cpu()->x2apic)
		return rdmsr(0x800 + reg / 16);
	return mmio_read(platform.lapic + reg);
}

void apic_write(unsigned int reg, uint32_t v)
{
	if (this_cpu()->x2apic)
		wrmsr(0x800 + reg / 16, v);
	else
		mmio_write(platform.lapic + reg, v);
}

void apic_icr(uint32_t dest, uint32_t low)
{
	if (this_cpu()->x2apic) {
		/* Not ordered after stores by itself. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(0x830, (uint64_t)dest << 32 | low);
		return;
	}
	apic_write(APIC_ICR2, dest << 24);
	apic_write(APIC_ICR, low);
	while (apic_read(APIC_ICR) & 0x1000)
		pause();
}

bool apic_bit(unsigned int bank, unsigned int vector)
{
	return apic_read(bank + vector / 32 * 16) >> vector % 32 & 1;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_init(void)
{
	apic_write(APIC_SVR, 0x100 | VEC_SPURIOUS);
	apic_write(APIC_LVTT, LVT_MASKED);
	apic_write(APIC_LINT0, LVT_MASKED);
	apic_write(APIC_LINT1, LVT_MASKED);
	apic_write(APIC_LVT_ERR, LVT_MASKED);
	apic_write(APIC_TPR, 0);
}

bool apic_enter_x2apic(void)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	if (!(r[2] & 1 << 21))
		return false;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1 << 10);
	this_cpu()->x2apic = true;
	return true;
}
