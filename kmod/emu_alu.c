// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arithmetic of the emulator: results and flags as pure functions.  Flags that
 * the manual leaves undefined get the value that is easiest to give, or stay.
 */
#include "emulate.h"
#include "emu_priv.h"

u64 emu_flags_of(u64 res, unsigned int size)
{
	unsigned int parity = res & 0xff;
	u64 flags = 0;

	parity ^= parity >> 4;
	parity ^= parity >> 2;
	parity ^= parity >> 1;
	if (!(parity & 1))
		flags |= FLAG_PF;
	if (!(res & emu_size_mask(size)))
		flags |= FLAG_ZF;
	if (res & emu_sign_bit(size))
		flags |= FLAG_SF;
	return flags;
}

static u64 do_add(u64 a, u64 b, u64 carry, unsigned int size, u64 *flags)
{
	u64 res = (a + b + carry) & emu_size_mask(size);
	u64 carries = (a & b) | ((a | b) & ~res);	/* out of each bit */

	*flags = emu_flags_of(res, size);
	if (carries & emu_sign_bit(size))
		*flags |= FLAG_CF;
	if (carries & 8)
		*flags |= FLAG_AF;
	if ((a ^ res) & (b ^ res) & emu_sign_bit(size))
		*flags |= FLAG_OF;
	return res;
}

static u64 do_sub(u64 a, u64 b, u64 borrow, unsigned int size, u64 *flags)
{
	u64 res = (a - b - borrow) & emu_size_mask(size);
	u64 borrows = (~a & b) | ((~a | b) & res);

	*flags = emu_flags_of(res, size);
	if (borrows & emu_sign_bit(size))
		*flags |= FLAG_CF;
	if (borrows & 8)
		*flags |= FLAG_AF;
	if ((a ^ b) & (a ^ res) & emu_sign_bit(size))
		*flags |= FLAG_OF;
	return res;
}

/* See emu_priv.h. */
u64 emu_alu(unsigned int op, unsigned int size, u64 a, u64 b, u64 carry, u64 *flags, u64 *mask)
{
	u64 res;

	*mask = FLAGS_ARITH;
	switch (op) {
	case INSN_ADD:
	case INSN_XADD:
		return do_add(a, b, 0, size, flags);
	case INSN_ADC:
		return do_add(a, b, carry, size, flags);
	case INSN_SBB:
		return do_sub(a, b, carry, size, flags);
	case INSN_SUB:
	case INSN_CMP:
	case INSN_CMPS:
	case INSN_SCAS:
	case INSN_CMPXCHG:
		return do_sub(a, b, 0, size, flags);
	case INSN_NEG:
		return do_sub(0, a, 0, size, flags);
	case INSN_INC:
		*mask &= ~FLAG_CF;
		return do_add(a, 1, 0, size, flags);
	case INSN_DEC:
		*mask &= ~FLAG_CF;
		return do_sub(a, 1, 0, size, flags);
	case INSN_NOT:
		*mask = 0;
		return ~a & emu_size_mask(size);
	case INSN_OR:
		res = a | b;
		break;
	case INSN_XOR:
		res = a ^ b;
		break;
	default:	/* AND, TEST */
		res = a & b;
		break;
	}
	*flags = emu_flags_of(res, size);
	return res;
}

u64 emu_shift(unsigned int op, unsigned int size, u64 a, unsigned int count, u64 carry,
	      u64 *flags, u64 *mask)
{
	unsigned int bits = 8 * size, i;
	u64 res = a, cf = 0, of = 0;
	s64 s = emu_sign_extend(a, size);

	count &= size == 8 ? 63 : 31;
	*flags = 0;
	*mask = 0;
	if (!count)
		return a;
	*mask = FLAG_CF | FLAG_OF;
	switch (op) {
	case INSN_ROL:
		count %= bits;
		if (count)
			res = a << count | a >> (bits - count);
		cf = res & 1;
		of = cf ^ !!(res & emu_sign_bit(size));
		break;
	case INSN_ROR:
		count %= bits;
		if (count)
			res = a >> count | a << (bits - count);
		cf = !!(res & emu_sign_bit(size));
		of = cf ^ !!(res & emu_sign_bit(size) >> 1);
		break;
	case INSN_RCL:
		for (cf = carry, i = count % (bits + 1); i; i--) {
			u64 out = !!(res & emu_sign_bit(size));

			res = res << 1 | cf;
			cf = out;
		}
		of = cf ^ !!(res & emu_sign_bit(size));
		break;
	case INSN_RCR:
		of = carry ^ !!(a & emu_sign_bit(size));
		for (cf = carry, i = count % (bits + 1); i; i--) {
			u64 out = res & 1;

			res = res >> 1 | cf << (bits - 1);
			cf = out;
		}
		break;
	case INSN_SHL:
		res = a << count;
		cf = count <= bits ? a >> (bits - count) & 1 : 0;
		of = cf ^ !!(res & emu_sign_bit(size));
		break;
	case INSN_SHR:
		res = a >> count;
		cf = a >> (count - 1) & 1;
		of = !!(a & emu_sign_bit(size));
		break;
	default:	/* SAR */
		res = (u64)(s >> count);
		cf = (u64)(s >> (count - 1)) & 1;
		break;
	}
	res &= emu_size_mask(size);
	if (op >= INSN_SHL) {
		*mask = FLAGS_ARITH;
		*flags = emu_flags_of(res, size);
	}
	*flags |= (cf ? FLAG_CF : 0) | (of ? FLAG_OF : 0);
	return res;
}

u64 emu_double_shift(bool left, unsigned int size, u64 a, u64 b, unsigned int count,
		     u64 *flags, u64 *mask)
{
	unsigned int bits = 8 * size;
	u64 res, cf;

	count &= size == 8 ? 63 : 31;
	*flags = 0;
	*mask = 0;
	if (!count || count > bits)	/* beyond: undefined */
		return a;
	if (left) {
		res = a << count | b >> (bits - count);
		cf = a >> (bits - count) & 1;
	} else {
		res = a >> count | b << (bits - count);
		cf = a >> (count - 1) & 1;
	}
	res &= emu_size_mask(size);
	*mask = FLAGS_ARITH;
	*flags = emu_flags_of(res, size) | (cf ? FLAG_CF : 0) |
		 ((a ^ res) & emu_sign_bit(size) ? FLAG_OF : 0);
	return res;
}

/* The upper 64 bits of a product. */
static u64 high_half(u64 a, u64 b, bool is_signed)
{
	u64 res = (u64)((unsigned __int128)a * b >> 64);

	if (is_signed)
		res -= ((s64)a < 0 ? b : 0) + ((s64)b < 0 ? a : 0);
	return res;
}

u64 emu_multiply(unsigned int size, bool is_signed, u64 a, u64 b, u64 *high, u64 *flags)
{
	u64 low, up;
	bool fits;

	if (is_signed) {
		a = (u64)emu_sign_extend(a, size);
		b = (u64)emu_sign_extend(b, size);
	}
	low = a * b;
	up = size == 8 ? high_half(a, b, is_signed) : low >> (8 * size);
	low &= emu_size_mask(size);
	up &= emu_size_mask(size);
	fits = up == (is_signed && low & emu_sign_bit(size) ? emu_size_mask(size) : 0);
	*high = up;
	/* ZF, SF, PF and AF are undefined. */
	*flags = fits ? 0 : FLAG_CF | FLAG_OF;
	return low;
}

/* 128 by 64 bits, by hand: the kernel has no such division.  @high < @d. */
static u64 divide_long(u64 high, u64 low, u64 d, u64 *rem)
{
	unsigned int i;
	u64 q = 0;

	for (i = 0; i < 64; i++) {
		bool out = high >> 63;

		high = high << 1 | low >> 63;
		low <<= 1;
		q <<= 1;
		if (out || high >= d) {
			high -= d;
			q |= 1;
		}
	}
	*rem = high;
	return q;
}

bool emu_divide(unsigned int size, bool is_signed, u64 high, u64 low, u64 d, u64 *quot, u64 *rem)
{
	bool neg = false, neg_rem = false;
	u64 max;

	if (size < 8) {
		low |= high << (8 * size);
		high = 0;
		if (is_signed) {
			low = (u64)emu_sign_extend(low, 2 * size);
			high = (s64)low < 0 ? ~0ULL : 0;
		}
	}
	if (is_signed) {
		d = (u64)emu_sign_extend(d, size);
		neg_rem = (s64)high < 0;
		neg = neg_rem != ((s64)d < 0);
		if (neg_rem) {
			low = -low;
			high = ~high + !low;
		}
		if ((s64)d < 0)
			d = -d;
	}
	if (!d || high >= d)
		return false;
	*quot = divide_long(high, low, d, rem);
	max = !is_signed ? emu_size_mask(size) : emu_sign_bit(size) - !neg;
	if (*quot > max)
		return false;
	if (neg)
		*quot = -*quot;
	if (neg_rem)
		*rem = -*rem;
	*quot &= emu_size_mask(size);
	*rem &= emu_size_mask(size);
	return true;
}

bool emu_condition(u64 rflags, unsigned int cc)
{
	bool sf = rflags & FLAG_SF, of = rflags & FLAG_OF, is;

	switch (cc >> 1 & 7) {
	case 0:
		is = of;
		break;
	case 1:
		is = rflags & FLAG_CF;
		break;
	case 2:
		is = rflags & FLAG_ZF;
		break;
	case 3:
		is = rflags & (FLAG_CF | FLAG_ZF);
		break;
	case 4:
		is = sf;
		break;
	case 5:
		is = rflags & FLAG_PF;
		break;
	case 6:
		is = sf != of;
		break;
	default:
		is = sf != of || rflags & FLAG_ZF;
		break;
	}
	return is != (cc & 1);
}
