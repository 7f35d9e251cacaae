// SPDX-License-Identifier: GPL-2.0-only
/*
 * The decoder, the emulator and the page walker on arbitrary bytes: code,
 * registers, modes, segments, page tables, devices and failing callbacks all
 * come from the input.  Checked besides what sanitizers see: lengths, sizes and
 * addresses that reach the callbacks, that each instruction ends, that nothing
 * is committed by one that faults, and that a device access is made once.
 */
#include <stdlib.h>

#include "../emulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEM	16384U		/* guest-physical memory; the last page is a device */

struct fuzz {
	const u8 *data;
	size_t left;
	u8 mem[MEM];
	u8 vec[16][32];
	unsigned int calls;
	struct walk_cpu cpu;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static u64 take(struct fuzz *f, unsigned int n)
{
	u64 v = 0;

	while (n--) {
		v <<= 8;
		if (f->left) {
			v |= *f->data++;
			f->left--;
		}
	}
	return v;
}

static int maybe_fail(struct fuzz *f)
{
	return take(f, 1) == 0xee ? -EINTR : 0;
}

static int f_walk_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	struct fuzz *f = arg;

	require((size == 4 || size == 8) && !(gpa & (size - 1)));
	if (gpa >= MEM)
		return -ENOENT;
	*val = 0;
	memcpy(val, f->mem + gpa, size);
	return 0;
}

static int f_walk_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	struct fuzz *f = arg;
	u64 found = 0;

	require((size == 4 || size == 8) && !(gpa & (size - 1)) && gpa < MEM);
	memcpy(&found, f->mem + gpa, size);
	if (found != *old || take(f, 1) == 0xdd) {
		*old = found;
		return 1;
	}
	memcpy(f->mem + gpa, &new, size);
	return 0;
}

static const struct walk_ops walk_ops = { f_walk_read, f_walk_cmpxchg };

static int f_translate(struct emu *e, u64 linear, unsigned int access, u64 *gpa)
{
	struct fuzz *f = e->arg;
	struct walk_result res;
	int ret;

	f->calls++;
	ret = walk(&f->cpu, &walk_ops, f, linear, access, &res);
	if (ret == WALK_FAULT)
		return emulate_fault(e, res.error, linear);
	if (ret)
		return ret;
	require(res.levels <= WALK_MAX_LEVELS && (!res.levels || res.leaf <= res.levels));
	*gpa = res.gpa;
	return maybe_fail(f);
}

static int at(struct fuzz *f, u64 gpa, unsigned int len)
{
	f->calls++;
	require(len >= 1 && len <= 32 && (gpa & 4095) + len <= 4096);
	if (gpa >= MEM - 4096)
		return EMU_OP_MMIO;
	return maybe_fail(f);
}

static int f_read(struct emu *e, u64 gpa, void *buf, unsigned int len)
{
	struct fuzz *f = e->arg;
	int ret = at(f, gpa, len);

	if (!ret)
		memcpy(buf, f->mem + gpa, len);
	return ret;
}

static int f_write(struct emu *e, u64 gpa, const void *buf, unsigned int len)
{
	struct fuzz *f = e->arg;
	int ret = at(f, gpa, len);

	if (!ret)
		memcpy(f->mem + gpa, buf, len);
	return ret;
}

static int f_cmpxchg(struct emu *e, u64 gpa, unsigned int len, void *old, const void *new)
{
	struct fuzz *f = e->arg;
	int ret = at(f, gpa, len);

	require(len == 1 || len == 2 || len == 4 || len == 8 || len == 16);
	if (ret)
		return ret;
	if (memcmp(f->mem + gpa, old, len) || take(f, 1) == 0xdd) {
		memcpy(old, f->mem + gpa, len);
		return EMU_OP_DIFFERS;
	}
	memcpy(f->mem + gpa, new, len);
	return 0;
}

static void f_get_vec(struct emu *e, unsigned int reg, u8 *val)
{
	struct fuzz *f = e->arg;

	require(reg < 16);
	memcpy(val, f->vec[reg], 32);
}

static void f_set_vec(struct emu *e, unsigned int reg, const u8 *val, bool wide)
{
	struct fuzz *f = e->arg;

	require(reg < 16 && (!wide || (e->xcr0 & 6) == 6));
	memcpy(f->vec[reg], val, wide ? 32 : 16);
}

static const struct emu_ops emu_ops = {
	.translate = f_translate, .read = f_read, .write = f_write, .cmpxchg = f_cmpxchg,
	.get_vec = f_get_vec, .set_vec = f_set_vec,
};

static u64 some_address(struct fuzz *f)
{
	u64 v = take(f, 1);

	return v & 0x80 ? take(f, 8) : (v << 7) + take(f, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;
	static struct emu e;
	u64 regs[16], before[16], rip, rflags, start;
	unsigned int i, n, device = 0;
	u8 code[20];
	int ret;

	memset(&f, 0, sizeof(f));
	memset(&e, 0, sizeof(e));
	f.data = data;
	f.left = size;

	n = take(&f, 1);
	e.cr0 = (n & 1 ? 1 : 0) | (n & 2 ? 0x80000001 : 0) | (n & 4 ? BIT_ULL(16) : 0) |
		(n & 8 ? BIT_ULL(18) : 0);
	e.cr4 = (n & 16 ? BIT_ULL(5) : 0) | (n & 32 ? BIT_ULL(4) : 0) | (take(&f, 1) & 7) << 20;
	e.cr4 |= n & 1 ? 0 : BIT_ULL(9) | BIT_ULL(18);
	e.xcr0 = n & 4 ? 3 : 7;
	e.efer = (n & 64 ? 0x500 : 0) | (n & 128 ? BIT_ULL(11) : 0);
	e.cpl = take(&f, 1) & 3;
	for (i = 0; i < 16; i++)
		regs[i] = some_address(&f);
	rflags = (take(&f, 3) & 0x247fd5) | 2;
	for (i = 0; i < 6; i++)
		e.seg[i] = (struct emu_seg){
			.base = take(&f, 1) & 1 ? some_address(&f) : 0,
			.limit = take(&f, 1) & 1 ? take(&f, 4) : 0xffffffff,
			.attr = take(&f, 2),
		};
	f.cpu = (struct walk_cpu){
		.cr0 = e.cr0, .cr3 = some_address(&f), .cr4 = e.cr4, .efer = e.efer, .rflags = rflags,
		.pkru = take(&f, 1), .cpl = e.cpl, .maxphyaddr = 32 + take(&f, 1) % 21,
		.gbpages = take(&f, 1) & 1,
	};
	for (i = 0; i < MEM; i += 128 + take(&f, 1)) {
		u64 v = take(&f, 8);

		memcpy(f.mem + (i & ~7U), &v, 8);
	}
	rip = some_address(&f);
	for (i = 0; i < sizeof(code); i++)
		code[i] = take(&f, 1);
	/* Where the code is if nothing is mapped in odd ways; else it is what is there. */
	start = (e.seg[EMU_CS].base + rip) & 0xffffffff;
	if (start < MEM - 4096 - sizeof(code))
		memcpy(f.mem + start, code, sizeof(code));

	e.ops = &emu_ops;
	e.arg = &f;
	e.regs = regs;
	e.rip = &rip;
	e.rflags = &rflags;
	emulate_begin(&e);
	for (i = 0; i < 3000; i++) {
		struct emu_io io;

		memcpy(before, regs, sizeof(regs));
		start = rip;
		f.calls = 0;
		ret = emulate_run(&e);
		require(f.calls < 20000);
		switch (ret) {
		case EMU_MMIO:
		case EMU_PIO:
			require(e.io.len == 1 || e.io.len == 2 || e.io.len == 4 || e.io.len == 8);
			require(e.io.port == (ret == EMU_PIO));
			require(e.io.port ? e.io.addr < 65536 : e.io.addr >= MEM - 4096);
			/* The same access is never asked for again while it is remembered. */
			if (e.insn.op < INSN_MOVS && e.insn.op != INSN_OTHER)
				require(++device <= EMU_LOG_MAX);
			io = e.io;
			emulate_io_done(&e, io.data);
			require(emulate_in_progress(&e));
			continue;
		case EMU_DONE:
			require(!emulate_in_progress(&e));
			require(rip != start || e.insn.rep || e.insn.repne);
			return 0;
		case EMU_FAULT:
			require(e.fault.vector == 0 || e.fault.vector == 6 ||
				e.fault.vector == 7 || e.fault.vector == 12 ||
				e.fault.vector == 13 || e.fault.vector == 14 || e.fault.vector == 17);
			require(!emulate_in_progress(&e));
			require(rip == start);
			if (e.insn.op < INSN_MOVS)
				require(!memcmp(before, regs, sizeof(regs)));
			return 0;
		case EMU_UNHANDLED:
			require(rip == start);
			return 0;
		default:
			require(ret == -EINTR || ret == -EAGAIN);
		}
	}
	return 0;
}
