// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The real-time clock: see rtc.h.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "rtc.h"

enum {
	SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9,
	REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13,
};

#define C_UF		0x10	/* an update has ended */
#define A_UIP		0x80	/* update in progress */
#define B_SET		0x80	/* updates are stopped */
#define B_BINARY	0x04
#define B_24H		0x02
#define B_WRITABLE	(B_SET | B_BINARY | B_24H | 0x01)
#define D_VALID		0x80

#define NS_PER_S	1000000000LL
/* UIP rises 244 us before an update, which takes 1984 us. */
#define UPDATE_NS	2228000
#define MAX_TIME	9000000000LL	/* in the year 2255 */

struct rtc {
	pthread_mutex_t lock;		/* all below */
	int64_t (*now)(void *ctx);
	void *ctx;
	int64_t offset_ns;		/* the guest's setting of the clock */
	int64_t update_seen;		/* second of the last update that register C told of */
	uint8_t index;
	uint8_t cmos[128];
};

struct rtc *rtc_create(int64_t (*now)(void *ctx), void *ctx)
{
	struct rtc *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	pthread_mutex_init(&r->lock, NULL);
	r->now = now;
	r->ctx = ctx;
	r->cmos[REG_A] = 0x26;	/* 32768 Hz time base */
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	return r;
}

void rtc_destroy(struct rtc *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static uint8_t encode(const struct rtc *r, int val)
{
	return r->cmos[REG_B] & B_BINARY ? val : (val / 10) << 4 | val % 10;
}

static int decode(const struct rtc *r, uint8_t val)
{
	return r->cmos[REG_B] & B_BINARY ? val : (val >> 4) * 10 + (val & 0xf);
}

static uint8_t encode_hour(const struct rtc *r, int hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static int decode_hour(const struct rtc *r, uint8_t val)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, val);
	return decode(r, val & 0x7f) % 12 + (val & 0x80 ? 12 : 0);
}

/* Bring the time registers up to date. */
static void load_time(struct rtc *r)
{
	int64_t ns = r->now(r->ctx) + r->offset_ns;
	time_t t = ns / NS_PER_S;
	struct tm tm;

	if ((r->cmos[REG_B] & B_SET) || !gmtime_r(&t, &tm))
		return;
	r->cmos[SECONDS] = encode(r, tm.tm_sec);
	r->cmos[MINUTES] = encode(r, tm.tm_min);
	r->cmos[HOURS] = encode_hour(r, tm.tm_hour);
	r->cmos[WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[DAY] = encode(r, tm.tm_mday);
	r->cmos[MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[YEAR] = encode(r, tm.tm_year % 100);
	r->cmos[RTC_CENTURY] = encode(r, tm.tm_year / 100 + 19);
}

/* The guest has changed the time registers: run on from what they say. */
static void store_time(struct rtc *r)
{
	int64_t now = r->now(r->ctx), frac = (now + r->offset_ns) % NS_PER_S;
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[SECONDS]),
		.tm_min = decode(r, r->cmos[MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[HOURS]),
		.tm_mday = decode(r, r->cmos[DAY]),
		.tm_mon = decode(r, r->cmos[MONTH]) - 1,
		.tm_year = decode(r, r->cmos[YEAR]) + (decode(r, r->cmos[RTC_CENTURY]) - 19) * 100,
	};
	time_t t = timegm(&tm);

	/* What nanoseconds can count: with nonsense the clock runs on as it did. */
	if (t >= 0 && t < MAX_TIME)
		r->offset_ns = (int64_t)t * NS_PER_S + frac - now;
}

static bool is_time(uint8_t index)
{
	return index <= HOURS ? !(index & 1) : (index >= WEEKDAY && index <= YEAR) || index == RTC_CENTURY;
}

static uint8_t read_cmos(struct rtc *r)
{
	int64_t frac, second;

	if (is_time(r->index))
		load_time(r);
	if (r->index == REG_C) {
		/* No interrupt is wired; the update-ended flag can be polled, and reading clears it. */
		second = (r->now(r->ctx) + r->offset_ns) / NS_PER_S;
		if (second == r->update_seen || (r->cmos[REG_B] & B_SET))
			return 0;
		r->update_seen = second;
		return C_UF;
	}
	if (r->index == REG_A) {
		frac = (r->now(r->ctx) + r->offset_ns) % NS_PER_S;
		if (!(r->cmos[REG_B] & B_SET) && frac >= NS_PER_S - UPDATE_NS)
			return r->cmos[REG_A] | A_UIP;
	}
	return r->cmos[r->index];
}

static void write_cmos(struct rtc *r, uint8_t val)
{
	uint8_t old;

	switch (r->index) {
	case REG_A:
		r->cmos[REG_A] = val & ~A_UIP;
		return;
	case REG_B:
		load_time(r);
		old = r->cmos[REG_B];
		r->cmos[REG_B] = val & B_WRITABLE;
		if ((old & B_SET) && !(val & B_SET))
			store_time(r);
		return;
	case REG_C:
	case REG_D:
		return;
	}
	if (is_time(r->index))
		load_time(r);
	r->cmos[r->index] = val;
	if (is_time(r->index) && !(r->cmos[REG_B] & B_SET))
		store_time(r);
}

static uint64_t rtc_read(void *dev, uint64_t off, unsigned int size)
{
	struct rtc *r = dev;
	uint64_t val = 0xff;

	pthread_mutex_lock(&r->lock);
	if (off == 1)
		val = read_cmos(r);
	pthread_mutex_unlock(&r->lock);
	return size > 1 ? val | ~0xffULL : val;
}

static void rtc_write(void *dev, uint64_t off, unsigned int size, uint64_t val)
{
	struct rtc *r = dev;

	pthread_mutex_lock(&r->lock);
	if (off == 0)
		r->index = val & 0x7f;		/* bit 7 would mask NMIs */
	if (off == 1 || size > 1)
		write_cmos(r, off ? val : val >> 8);
	pthread_mutex_unlock(&r->lock);
}

const struct bus_ops rtc_bus_ops = {
	.read = rtc_read,
	.write = rtc_write,
};
