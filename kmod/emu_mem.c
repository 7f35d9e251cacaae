// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator's way to memory and devices: segmentation, translation, operands
 * that cross pages, and the log that answers accesses of an instruction that is
 * run again.
 */
#include "emulate.h"
#include "emu_priv.h"

#define PAGE		4096U

int emu_raise(struct emu *e, u8 vector)
{
	e->fault.vector = vector;
	e->fault.has_error = vector >= VEC_SS && (e->cr0 & CR0_PE);
	e->fault.error = 0;
	e->fault.cr2 = 0;
	return EMU_FAULT;
}

unsigned int emu_code_mode(const struct emu *e)
{
	if ((e->efer & EFER_LMA) && (e->seg[EMU_CS].attr & SEG_L))
		return 64;
	return e->seg[EMU_CS].attr & SEG_DB ? 32 : 16;
}

/* Protected mode with descriptors that restrict: not real mode, not virtual-8086. */
static bool has_descriptors(const struct emu *e)
{
	return (e->cr0 & CR0_PE) && !(*e->rflags & FLAG_VM);
}

bool emu_canonical(const struct emu *e, u64 linear)
{
	unsigned int spare = e->cr4 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(linear << spare) >> spare) == linear;
}

/* Segment-relative offset of the memory operand. */
u64 emu_effective_address(const struct insn *in, const u64 *regs, u64 next_rip)
{
	u64 ea = (u64)in->disp;

	if (in->base == EMU_RIP)
		ea += next_rip;
	else if (in->base != EMU_NO_REG)
		ea += regs[in->base];
	if (in->index != EMU_NO_REG)
		ea += regs[in->index] << in->scale;
	return ea & emu_size_mask(in->asize);
}

u64 emu_seg_base(const struct emu *e, unsigned int seg)
{
	if (emu_code_mode(e) == 64 && seg != EMU_FS && seg != EMU_GS)
		return 0;
	return e->seg[seg].base;
}

u64 emulate_linear(const struct emu *e)
{
	u64 ea = emu_effective_address(&e->insn, e->regs, *e->rip + e->insn.len);
	u64 linear = emu_seg_base(e, e->insn.seg) + ea;

	return emu_code_mode(e) == 64 ? linear : linear & 0xffffffffULL;
}

/* Must the operand be aligned, whatever RFLAGS.AC says? */
static bool needs_alignment(const struct insn *in)
{
	return (in->op == INSN_VMOV && (in->vflags & VMOV_ALIGNED)) ||
	       (in->op == INSN_CMPXCHG8B && in->osize == 16);
}

/* Segment checks of APM vol. 2 section 4.12 and the canonical check.  0 or EMU_FAULT. */
int emu_linearize(struct emu *e, unsigned int seg, u64 ea, unsigned int size,
		     unsigned int access, u64 *linear)
{
	u8 vector = seg == EMU_SS ? VEC_SS : VEC_GP;
	const struct emu_seg *s = &e->seg[seg];
	u64 last = ea + size - 1, top;

	*linear = emu_seg_base(e, seg) + ea;
	/* Seen on a processor: before the canonical check (#GP although SS). */
	if (needs_alignment(&e->insn) && (*linear & (size - 1)))
		return emu_raise(e, VEC_GP);
	if (emu_code_mode(e) == 64) {
		if (!emu_canonical(e, *linear) || !emu_canonical(e, *linear + size - 1))
			return emu_raise(e, vector);
	} else {
		bool down = false;

		if (has_descriptors(e)) {
			if (!(s->attr & SEG_P))
				return emu_raise(e, vector);
			if (s->attr & SEG_CODE) {
				if ((access & WALK_WRITE) || !(s->attr & SEG_RW))
					return emu_raise(e, vector);
			} else {
				if ((access & WALK_WRITE) && !(s->attr & SEG_RW))
					return emu_raise(e, vector);
				down = s->attr & SEG_DOWN;
			}
		}
		top = s->attr & SEG_DB ? 0xffffffffULL : 0xffffULL;
		if (down ? (ea <= s->limit || last > top) : last > s->limit)
			return emu_raise(e, vector);
		*linear &= 0xffffffffULL;
	}
	if (e->cpl == 3 && (e->cr0 & CR0_AM) && (*e->rflags & FLAG_AC) &&
	    (*linear & (min_t(unsigned int, size, 16) - 1)))	/* 16 for AVX too: seen */
		return emu_raise(e, VEC_AC);
	return 0;
}

/* Was this access made before, in an earlier run of the same instruction?  Then that is its answer. */
static bool replay(struct emu *e, u64 addr, unsigned int len, bool write, bool port, u8 *data)
{
	const struct emu_io *io;

	if (e->pos >= e->nr_log)
		return false;
	io = &e->log[e->pos];
	if (io->addr != addr || io->len != len || io->write != write || io->port != port)
		return false;
	if (!write)
		memcpy(data, io->data, len);
	e->pos++;
	return true;
}

/* One access to a device: answered from the log, or EMU_MMIO/EMU_PIO to have it made. */
int emu_device_access(struct emu *e, u64 addr, unsigned int len, bool write, bool port, u8 *data)
{
	if (replay(e, addr, len, write, port, data))
		return 0;
	/* Answers to something else (registers were changed since) are worth nothing. */
	e->nr_log = e->pos;
	if (e->nr_log >= EMU_LOG_MAX)
		return EMU_UNHANDLED;
	memset(&e->io, 0, sizeof(e->io));
	e->io.addr = addr;
	e->io.len = len;
	e->io.write = write;
	e->io.port = port;
	if (write)
		memcpy(e->io.data, data, len);
	return port ? EMU_PIO : EMU_MMIO;
}

static int mmio(struct emu *e, u64 gpa, u8 *data, unsigned int len, bool write)
{
	unsigned int n;
	int ret;

	while (len) {
		for (n = 8; n > len; n >>= 1)
			;
		ret = emu_device_access(e, gpa, n, write, false, data);
		if (ret)
			return ret;
		gpa += n;
		data += n;
		len -= n;
	}
	return 0;
}

int emu_callback_error(int ret)
{
	return ret == EMU_OP_FAULT ? EMU_FAULT : ret;
}

int emu_find_place(struct emu *e, u64 linear, unsigned int size, unsigned int access,
		      struct emu_place *p)
{
	unsigned int first = min_t(unsigned int, size, PAGE - (linear & (PAGE - 1)));
	u64 second = linear + first;
	int ret;

	p->nr = first < size ? 2 : 1;
	p->piece[0].len = first;
	p->piece[1].len = size - first;
	ret = e->ops->translate(e, linear, access, &p->piece[0].gpa);
	if (!ret && p->nr == 2) {
		if (emu_code_mode(e) != 64)
			second &= 0xffffffffULL;
		ret = e->ops->translate(e, second, access, &p->piece[1].gpa);
	}
	return emu_callback_error(ret);
}

/*
 * Read memory.  The instruction may change what it read before a device's part
 * of it is done (operands that overlap, or that are half memory and half
 * device): so what was read is remembered as a device's answer is.
 */
static int read_memory(struct emu *e, u64 gpa, u8 *data, unsigned int len)
{
	unsigned int done, n;
	struct emu_io *io;
	u8 pos = e->pos;
	int ret;

	for (done = 0; done < len; done += n) {
		n = min_t(unsigned int, len - done, sizeof(io->data));
		if (replay(e, gpa + done, n, false, false, data + done))
			continue;
		ret = e->ops->read(e, gpa + done, data + done, n);
		if (ret == EMU_OP_MMIO)		/* the answers above are the device's */
			e->pos = pos;
		if (ret)
			return ret;
		e->nr_log = e->pos;
		if (e->nr_log >= EMU_LOG_MAX)
			return EMU_UNHANDLED;
		io = &e->log[e->nr_log++];
		memset(io, 0, sizeof(*io));
		io->addr = gpa + done;
		io->len = n;
		memcpy(io->data, data + done, n);
		e->pos = e->nr_log;
	}
	return 0;
}

int emu_place_access(struct emu *e, const struct emu_place *p, void *buf, bool write)
{
	u8 *data = buf;
	unsigned int i;
	int ret;

	for (i = 0; i < p->nr; i++) {
		u64 gpa = p->piece[i].gpa;
		unsigned int len = p->piece[i].len;

		ret = write ? e->ops->write(e, gpa, data, len) : read_memory(e, gpa, data, len);
		if (ret == EMU_OP_MMIO)
			ret = mmio(e, gpa, data, len, write);
		if (ret)
			return ret;
		if (write)
			e->effects = true;
		data += len;
	}
	return 0;
}

int emu_load(struct emu *e, u64 linear, unsigned int size, u64 *val)
{
	struct emu_place p;
	int ret;

	*val = 0;
	ret = emu_find_place(e, linear, size, WALK_READ, &p);
	return ret ? ret : emu_place_access(e, &p, val, false);
}

int emu_store(struct emu *e, u64 linear, unsigned int size, u64 val)
{
	struct emu_place p;
	int ret;

	ret = emu_find_place(e, linear, size, WALK_WRITE, &p);
	return ret ? ret : emu_place_access(e, &p, &val, true);
}
