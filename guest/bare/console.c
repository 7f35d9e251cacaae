// SPDX-License-Identifier: GPL-2.0-or-later
/* Serial output at 0x3f8 by polling, a small printf, TAP; and the few string functions that GCC wants. */
#include "bare.h"

#define COM1 0x3f8

static unsigned int tests, failures, skips;

void *memset(void *p, int c, size_t n)
{
	void *d = p;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *p = d;

	__asm__ volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) :: "memory");
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

void serial_raw(const char *s, size_t len)
{
	while (len) {
		unsigned int burst = len < 16 ? len : 16;

		/* Empty FIFO: it takes 16 bytes at once. */
		while (!(inb(COM1 + 5) & 0x20))
			pause();
		len -= burst;
		while (burst--)
			outb(COM1, *s++);
	}
}

struct out {
	char buf[400];
	unsigned int len;
};

static void put(struct out *o, char c)
{
	if (o->len < sizeof(o->buf) - 2)
		o->buf[o->len++] = c;
}

static void put_number(struct out *o, uint64_t v, unsigned int base, unsigned int width, char pad, bool negative)
{
	char digits[24];
	unsigned int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		put(o, '-');
	while (width > n) {
		put(o, pad);
		width--;
	}
	while (n)
		put(o, digits[--n]);
}

/* %s %c %d %u %x with l, width and 0. */
static void format(struct out *o, const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		unsigned int width = 0, longs = 0;
		char pad = ' ';
		int64_t d;

		if (*fmt != '%') {
			put(o, *fmt);
			continue;
		}
		fmt++;
		if (*fmt == '0') {
			pad = '0';
			fmt++;
		}
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + *fmt++ - '0';
		while (*fmt == 'l') {
			longs++;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(o, *s);
			break;
		case 'c':
			put(o, va_arg(ap, int));
			break;
		case 'd':
			d = longs ? va_arg(ap, long) : va_arg(ap, int);
			put_number(o, d < 0 ? -(uint64_t)d : (uint64_t)d, 10, width, pad, d < 0);
			break;
		case 'u':
			put_number(o, longs ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int), 10, width, pad, false);
			break;
		case 'x':
			put_number(o, longs ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int), 16, width, pad, false);
			break;
		default:
			put(o, *fmt);
		}
	}
}

static void line(const char *prefix, const char *fmt, va_list ap)
{
	struct out o = { .len = 0 };

	for (const char *s = "cvmm: "; *s; s++)
		put(&o, *s);
	for (; *prefix; prefix++)
		put(&o, *prefix);
	format(&o, fmt, ap);
	o.buf[o.len++] = '\r';
	o.buf[o.len++] = '\n';
	serial_raw(o.buf, o.len);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("# ", fmt, ap);
	va_end(ap);
}

bool ok(bool pass, const char *fmt, ...)
{
	struct out o = { .len = 0 };
	va_list ap;

	tests++;
	failures += !pass;
	va_start(ap, fmt);
	format(&o, fmt, ap);
	va_end(ap);
	o.buf[o.len] = 0;
	print("%s %u - %s", pass ? "ok" : "not ok", tests, o.buf);
	return pass;
}

void skip(const char *what, const char *why)
{
	tests++;
	skips++;
	print("ok %u - %s # SKIP %s", tests, what, why);
}

unsigned int finish_tap(void)
{
	if (!tests)
		ok(false, "the image has no tests");
	print("1..%u", tests);
	print("end pass=%u fail=%u skip=%u", tests - failures - skips, failures, skips);
	return failures;
}
