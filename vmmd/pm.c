// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power management: see pm.h.
 */
#include <pthread.h>
#include <stdlib.h>

#include "pm.h"

#define EN_WRITABLE	0x0721	/* timer, global lock, power and sleep button, RTC */
#define CNT_SCI_EN	0x0001
#define CNT_WRITABLE	0x1c02	/* SLP_TYP, BM_RLD; SCI_EN is fixed, there is no legacy mode */
#define CNT_SLP_EN	0x2000
#define SLP_TYP(v)	((v) >> 10 & 7)

struct pm {
	pthread_mutex_t lock;	/* enable, control, reset */
	const struct pm_ops *ops;
	void *ctx;
	uint16_t enable, control;
	uint8_t reset;
};

struct pm *pm_create(const struct pm_ops *ops, void *ctx)
{
	struct pm *pm = calloc(1, sizeof(*pm));

	if (!pm)
		return NULL;
	pthread_mutex_init(&pm->lock, NULL);
	pm->ops = ops;
	pm->ctx = ctx;
	pm->control = CNT_SCI_EN;
	return pm;
}

void pm_destroy(struct pm *pm)
{
	if (!pm)
		return;
	pthread_mutex_destroy(&pm->lock);
	free(pm);
}

static uint64_t pm_read(void *dev, uint64_t off, unsigned int size)
{
	struct pm *pm = dev;
	uint32_t regs[3];
	uint64_t val = 0;
	unsigned int i;

	pthread_mutex_lock(&pm->lock);
	regs[0] = (uint32_t)pm->enable << 16;	/* no status bit is ever set */
	regs[1] = pm->control;
	pthread_mutex_unlock(&pm->lock);
	regs[2] = (unsigned __int128)pm->ops->now(pm->ctx) * PM_TMR_HZ / 1000000000;
	for (i = 0; i < size; i++)
		val |= (uint64_t)(regs[(off + i) / 4] >> (off + i) % 4 * 8 & 0xff) << (i * 8);
	return val;
}

static void pm_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct pm *pm = dev;
	bool off_now = false;
	unsigned int i;

	pthread_mutex_lock(&pm->lock);
	for (i = 0; i < size; i++, val >>= 8) {
		uint16_t byte = val & 0xff;

		switch (off + i) {
		case PM_EVT_OFF + 2:
			pm->enable = (pm->enable & 0xff00) | (byte & EN_WRITABLE);
			break;
		case PM_EVT_OFF + 3:
			pm->enable = (pm->enable & 0x00ff) | (byte << 8 & EN_WRITABLE);
			break;
		case PM_CNT_OFF:
			pm->control = (pm->control & 0xff00) | (byte & CNT_WRITABLE) | CNT_SCI_EN;
			break;
		case PM_CNT_OFF + 1:
			pm->control = (pm->control & 0x00ff) | (byte << 8 & CNT_WRITABLE);
			off_now = (byte << 8 & CNT_SLP_EN) && SLP_TYP(pm->control) == PM_S5_TYPE;
			break;
		}
	}
	pthread_mutex_unlock(&pm->lock);
	if (off_now)
		pm->ops->end(pm->ctx, MACHINE_POWEROFF);
}

const struct bus_ops pm_bus_ops = {
	.read = pm_read,
	.write = pm_write,
};

static uint64_t reset_read(void *dev, uint64_t off, unsigned int size)
{
	struct pm *pm = dev;
	uint8_t val;

	(void)off;
	(void)size;
	pthread_mutex_lock(&pm->lock);
	val = pm->reset;
	pthread_mutex_unlock(&pm->lock);
	return val;
}

static void reset_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct pm *pm = dev;

	(void)off;
	(void)size;
	pthread_mutex_lock(&pm->lock);
	pm->reset = val & 0x0a;		/* the reset bit itself does not stick */
	pthread_mutex_unlock(&pm->lock);
	if (val & 0x04)
		pm->ops->end(pm->ctx, MACHINE_RESET);
}

const struct bus_ops pm_reset_bus_ops = {
	.read = reset_read,
	.write = reset_write,
};

/* Status zero: the input buffer is empty, so that a guest dares to send the pulse. */
static uint64_t kbc_read(void *dev, uint64_t off, unsigned int size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void kbc_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct pm *pm = dev;

	(void)off;
	(void)size;
	/* Commands 0xf0..0xff pulse output lines; line 0, low active, is the CPU's reset. */
	if ((val & 0xf0) == 0xf0 && !(val & 1))
		pm->ops->end(pm->ctx, MACHINE_RESET);
}

const struct bus_ops pm_kbc_bus_ops = {
	.read = kbc_read,
	.write = kbc_write,
};
