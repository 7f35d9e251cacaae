// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator against this processor: random instructions of every emulated
 * form, with random registers, flags and memory, are run by the emulator and
 * natively from an executable page.  Registers, flags, memory and length of the
 * step must agree.  Devices are simulated by declaring the memory operand's page
 * a device for a second and third run of the emulator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <signal.h>
#include <ucontext.h>
#include <cmocka.h>

#include "kmod/emulate.h"

#define DATA_SIZE	8192U
#define FLAGS_TESTED	0xcd5ULL	/* CF PF AF ZF SF DF OF */
#define FLAG_AF		0x10ULL

static u64 seed = 0x9e3779b97f4a7c15ULL;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Registers as the stub loads and stores them. */
struct regs {
	u64 gpr[16];
	u64 rflags;
};

static u8 *code;		/* stub */
static u8 *data;		/* DATA_SIZE bytes below 2 GiB, for 32-bit addresses */
static struct regs native;	/* in and out of the stub */
static u64 host_rsp;
static sigjmp_buf trapped;

static void on_signal(int sig)
{
	siglongjmp(trapped, sig);
}

static void emit(u8 **p, const void *bytes, unsigned int n)
{
	memcpy(*p, bytes, n);
	*p += n;
}

/* mov rax, imm64 */
static void emit_load_rax(u8 **p, const void *addr)
{
	u64 v = (u64)(uintptr_t)addr;

	emit(p, "\x48\xb8", 2);
	emit(p, &v, 8);
}

/*
 * The stub: save callee-saved registers and RSP, load all of native, run the
 * instruction, store all back.  RSP is loaded too: the data page is its stack.
 * @at receives the address of the instruction itself.
 */
static void build_stub(const u8 *insn, unsigned int len, const u8 **at)
{
	u8 *p = code;
	unsigned int i;
	u64 v;

	emit(&p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57\x9c", 11);	/* push rbx rbp r12-r15, flags */
	emit_load_rax(&p, &host_rsp);
	emit(&p, "\x48\x89\x20", 3);			/* mov [rax], rsp */
	emit_load_rax(&p, &native);
	emit(&p, "\xff\xb0\x80\x00\x00\x00\x9d", 7);	/* push [rax+128]; popf */
	for (i = 1; i < 16; i++) {			/* mov reg, [rax+8*i] */
		u8 b[4] = { i < 8 ? 0x48 : 0x4c, 0x8b, 0x40 | (i & 7) << 3, 8 * i };

		emit(&p, b, 4);
	}
	emit(&p, "\x48\x8b\x00", 3);			/* mov rax, [rax] */
	*at = p;
	emit(&p, insn, len);
	emit(&p, "\x48\xa3", 2);			/* mov [moffs64], rax */
	v = (u64)(uintptr_t)&native.gpr[0];
	emit(&p, &v, 8);
	emit_load_rax(&p, &native);
	for (i = 1; i < 16; i++) {			/* mov [rax+8*i], reg */
		u8 b[4] = { i < 8 ? 0x48 : 0x4c, 0x89, 0x40 | (i & 7) << 3, 8 * i };

		emit(&p, b, 4);
	}
	emit_load_rax(&p, &host_rsp);
	emit(&p, "\x48\x8b\x20", 3);			/* mov rsp, [rax] */
	emit(&p, "\x9c\x59", 2);			/* pushf; pop rcx */
	emit_load_rax(&p, &native);
	emit(&p, "\x48\x89\x88\x80\x00\x00\x00", 7);	/* mov [rax+128], rcx */
	emit(&p, "\x9d\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 12);
	assert_true(p < code + 4096);
}

/* Within a test: cmocka has handlers of its own, on the stack that is in the data page here. */
static void catch_signals(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	static u8 stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int i;

	assert_int_equal(sigaltstack(&ss, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		assert_int_equal(sigaction(sigs[i], &sa, NULL), 0);
}

/* Returns 0 or the signal that the instruction raised. */
static int run_native(void)
{
	int sig = sigsetjmp(trapped, 1);

	if (!sig)
		((void (*)(void))(uintptr_t)code)();
	return sig;
}

/* The emulator's surroundings: linear = physical = this process. */
struct world {
	u8 *mem;		/* what data's bytes are in this run */
	const u8 *insn;
	u64 insn_at;
	unsigned int insn_len;
	int device_page;	/* page of data that is a device, or -1 */
	unsigned int accesses;
	bool outside;		/* something else than data was touched */
};

static int w_translate(struct emu *e, u64 linear, unsigned int access, u64 *gpa)
{
	(void)e;
	(void)access;
	*gpa = linear;
	return 0;
}

static u8 *w_find(struct world *w, u64 gpa, unsigned int len, int *err)
{
	u64 base = (u64)(uintptr_t)data;

	*err = 0;
	if (gpa < base || gpa + len > base + DATA_SIZE) {
		w->outside = true;
		*err = -EFAULT;
		return NULL;
	}
	if (w->device_page == (int)((gpa - base) / 4096))
		*err = EMU_OP_MMIO;
	return w->mem + (gpa - base);
}

static int w_read(struct emu *e, u64 gpa, void *buf, unsigned int len)
{
	struct world *w = e->arg;
	int err;
	u8 *p;

	/* Code is first and only once at its own address. */
	if (gpa >= w->insn_at && gpa < w->insn_at + INSN_MAX_LEN + 4096 && !w->accesses) {
		memset(buf, 0xcc, len);
		memcpy(buf, w->insn + (gpa - w->insn_at),
		       gpa - w->insn_at < w->insn_len ?
		       (len < w->insn_len - (gpa - w->insn_at) ? len : w->insn_len - (gpa - w->insn_at)) : 0);
		return 0;
	}
	p = w_find(w, gpa, len, &err);
	w->accesses++;
	if (!err)
		memcpy(buf, p, len);
	return err;
}

static int w_write(struct emu *e, u64 gpa, const void *buf, unsigned int len)
{
	struct world *w = e->arg;
	int err;
	u8 *p = w_find(w, gpa, len, &err);

	w->accesses++;
	if (!err)
		memcpy(p, buf, len);
	return err;
}

static int w_cmpxchg(struct emu *e, u64 gpa, unsigned int len, u64 *old, u64 new)
{
	struct world *w = e->arg;
	u64 found = 0;
	int err;
	u8 *p = w_find(w, gpa, len, &err);

	w->accesses++;
	if (err)
		return err;
	memcpy(&found, p, len);
	/* Now and then somebody else was faster. */
	if (found != *old || rnd() % 4 == 0) {
		*old = found;
		return EMU_OP_DIFFERS;
	}
	memcpy(p, &new, len);
	return 0;
}

static const struct emu_ops world_ops = { w_translate, w_read, w_write, w_cmpxchg };

static int emulate(struct world *w, struct regs *r, u64 *rip)
{
	struct emu e = {
		.ops = &world_ops, .arg = w, .regs = r->gpr, .rip = rip, .rflags = &r->rflags,
		.cr0 = 0x80000011, .cr4 = 0x20, .efer = 0xd00, .cpl = 0,
	};
	unsigned int i, steps;
	int ret;

	for (i = 0; i < 6; i++)
		e.seg[i] = (struct emu_seg){ .limit = ~0U, .attr = 0xc93 };
	e.seg[EMU_CS].attr = 0xa9b;
	emulate_begin(&e);
	for (steps = 0; steps < 100000; steps++) {
		u64 start = *rip;

		ret = emulate_run(&e);
		w->accesses = 0;
		if (ret == EMU_MMIO) {
			u64 off = e.io.addr - (u64)(uintptr_t)data;

			/* Sometimes a signal comes first and the instruction is started over. */
			if (rnd() % 8 == 0)
				continue;
			assert_true(off + e.io.len <= DATA_SIZE);
			if (e.io.write)
				memcpy(w->mem + off, e.io.data, e.io.len);
			emulate_io_done(&e, w->mem + off);
			assert_true(emulate_in_progress(&e));
			continue;
		}
		assert_false(ret == EMU_DONE && emulate_in_progress(&e));
		if (ret == EMU_DONE && *rip == start)
			continue;	/* a repeated instruction goes on */
		return ret;
	}
	return -EIO;
}

/* An encoding template: opcode bytes, whether ModRM follows, immediate bytes. */
struct form {
	u8 n, op[3];
	bool modrm;
	s8 group;		/* fixed ModRM.reg or -1 */
	u8 imm;			/* bytes; 0xff: by operand size */
	u8 byte;		/* byte operands */
	bool lock;		/* LOCK allowed with memory */
	bool string, mem_only;
	u64 undef;		/* flags the manual leaves undefined and processors differ in */
};

#define ALU(o, l) \
	{ 1, { (o) + 0 }, true, -1, 0, 1, l, 0, 0, 0 }, { 1, { (o) + 1 }, true, -1, 0, 0, l, 0, 0, 0 }, \
	{ 1, { (o) + 2 }, true, -1, 0, 1, 0, 0, 0, 0 }, { 1, { (o) + 3 }, true, -1, 0, 0, 0, 0, 0, 0 }, \
	{ 1, { (o) + 4 }, false, -1, 1, 1, 0, 0, 0, 0 }, { 1, { (o) + 5 }, false, -1, 0xff, 0, 0, 0, 0, 0 }
#define GRP(o, g, l, i, b) { 1, { o }, true, g, i, b, l, 0, 0, 0 }
#define GRPS(o, i, b) GRP(o, 0, 1, i, b), GRP(o, 1, 1, i, b), GRP(o, 2, 1, i, b), GRP(o, 3, 1, i, b), \
	GRP(o, 4, 1, i, b), GRP(o, 5, 1, i, b), GRP(o, 6, 1, i, b), GRP(o, 7, 0, i, b)
#define M1(o, b, l) { 1, { o }, true, -1, 0, b, l, 0, 0, 0 }
#define M2(o, b, l) { 2, { 0x0f, o }, true, -1, 0, b, l, 0, 0, 0 }
#define MEM2(o) { 2, { 0x0f, o }, true, -1, 0, 0, 0, 0, 1, 0 }
#define STR(o, b) { 1, { o }, false, -1, 0, b, 0, 1, 0, 0 }
#define R1(o) { 1, { o }, false, -1, 0, 0, 0, 0, 0, 0 }
#define BTI(g, l) { 2, { 0x0f, 0xba }, true, g, 1, 0, l, 0, 0, 0 }
#define IMM1(o) { 1, { o }, false, -1, 1, 1, 0, 0, 0, 0 }

static const struct form forms[] = {
	ALU(0x00, 1), ALU(0x08, 1), ALU(0x10, 1), ALU(0x18, 1),
	ALU(0x20, 1), ALU(0x28, 1), ALU(0x30, 1), ALU(0x38, 0),
	GRPS(0x80, 1, 1), GRPS(0x81, 0xff, 0), GRPS(0x83, 1, 0),
	M1(0x84, 1, 0), M1(0x85, 0, 0), M1(0x86, 1, 1), M1(0x87, 0, 1),
	M1(0x88, 1, 0), M1(0x89, 0, 0), M1(0x8a, 1, 0), M1(0x8b, 0, 0), M1(0x63, 0, 0),
	GRP(0x8f, 0, 0, 0, 0), IMM1(0xa8), { 1, { 0xa9 }, false, -1, 0xff, 0, 0, 0, 0, 0 },
	R1(0x90), R1(0x91), R1(0x95), R1(0x97), R1(0x50), R1(0x53), R1(0x54), R1(0x58), R1(0x5b), R1(0x5c),
	IMM1(0xb0), IMM1(0xb4), IMM1(0xb7), IMM1(0x6a), { 1, { 0x68 }, false, -1, 0xff, 0, 0, 0, 0, 0 },
	GRP(0xc6, 0, 0, 1, 1), GRP(0xc7, 0, 0, 0xff, 0),
	GRP(0xf6, 0, 0, 1, 1), GRP(0xf7, 0, 0, 0xff, 0), GRP(0xf6, 1, 0, 1, 1), GRP(0xf7, 1, 0, 0xff, 0),
	GRP(0xf6, 2, 1, 0, 1), GRP(0xf7, 2, 1, 0, 0), GRP(0xf6, 3, 1, 0, 1), GRP(0xf7, 3, 1, 0, 0),
	GRP(0xfe, 0, 1, 0, 1), GRP(0xff, 0, 1, 0, 0), GRP(0xfe, 1, 1, 0, 1), GRP(0xff, 1, 1, 0, 0),
	GRP(0xff, 6, 0, 0, 0),
	M2(0xb6, 1, 0), M2(0xb7, 0, 0), M2(0xbe, 1, 0), M2(0xbf, 0, 0),
	M2(0xb0, 1, 1), M2(0xb1, 0, 1), M2(0xc0, 1, 1), M2(0xc1, 0, 1),
	M2(0xa3, 0, 0), M2(0xab, 0, 1), M2(0xb3, 0, 1), M2(0xbb, 0, 1),
	BTI(4, 0), BTI(5, 1), BTI(6, 1), BTI(7, 1),
	MEM2(0xc3), { 2, { 0x0f, 0xc7 }, true, 1, 0, 0, 1, 0, 1, 0 },
	{ 3, { 0x0f, 0x38, 0xf0 }, true, -1, 0, 0, 0, 0, 1, 0 },
	{ 3, { 0x0f, 0x38, 0xf1 }, true, -1, 0, 0, 0, 0, 1, 0 },
	STR(0xa4, 1), STR(0xa5, 0), STR(0xa6, 1), STR(0xa7, 0), STR(0xaa, 1), STR(0xab, 0),
	STR(0xac, 1), STR(0xad, 0), STR(0xae, 1), STR(0xaf, 0),
	/* twice: memory transfers are what matters most */
	M1(0x88, 1, 0), M1(0x89, 0, 0), M1(0x8a, 1, 0), M1(0x8b, 0, 0),
	STR(0xa4, 1), STR(0xa5, 0), STR(0xaa, 1), STR(0xab, 0),
};

static u64 data_address(void)
{
	/* Well inside, often across the page boundary or misaligned. */
	u64 off = rnd() & 1 ? 4096 - rnd() % 20 : 1024 + rnd() % 6000;

	return (u64)(uintptr_t)data + off;
}

/* Make an instruction and registers that it can run with. */
static unsigned int make_insn(u8 *out, struct regs *r)
{
	const struct form *f = &forms[rnd() % ARRAY_SIZE(forms)];
	unsigned int n = 0, i, imm, modrm, mod, rm, osize = 4;
	u8 rex = 0;
	bool o66 = rnd() % 4 == 0, a67 = rnd() % 6 == 0, mem = false;
	s32 disp;

	for (i = 0; i < 16; i++)
		r->gpr[i] = rnd() & 1 ? rnd() : (u64)(s64)(s8)rnd();
	r->gpr[EMU_RSP] = data_address() & ~7ULL;
	r->rflags = 0x202 | (rnd() & 0xcd5 & ~0x400ULL);

	modrm = rnd() & 0xff;
	if (f->group >= 0)
		modrm = (modrm & 0xc7) | f->group << 3;
	mod = modrm >> 6;
	rm = modrm & 7;
	if (f->modrm && mod == 3 && f->mem_only)
		modrm &= 0x7f;
	if (f->modrm && (modrm >> 6) == 3 && f->n == 1 && f->op[0] == 0xff && f->group == 6 && rm == 4)
		modrm ^= 1;
	mod = modrm >> 6;
	mem = f->modrm && mod != 3;

	if (mem && f->lock && rnd() % 3 == 0)
		out[n++] = 0xf0;
	if (f->string) {
		static const u8 reps[3] = { 0xf2, 0xf3 };
		u8 rep = reps[rnd() % 3];

		if (rep)
			out[n++] = rep;
	}
	if (o66)
		out[n++] = 0x66;
	if (a67)
		out[n++] = 0x67;
	if (rnd() % 8 == 0)
		out[n++] = 0x3e;	/* ignored in 64-bit mode */
	if (rnd() & 1)
		rex = 0x40 | (rnd() & 15);
	if (rex && f->op[0] == 0x0f && f->op[1] == 0xc7)
		rex &= ~8;		/* CMPXCHG16B is not emulated */
	if (rex)
		out[n++] = rex;
	if (rex & 8)
		osize = 8;
	else if (o66)
		osize = 2;
	for (i = 0; i < f->n; i++)
		out[n++] = f->op[i];

	if (f->string) {
		r->gpr[EMU_RSI] = data_address();
		r->gpr[EMU_RDI] = data_address();
		r->gpr[EMU_RCX] = rnd() % 40;
		r->rflags |= rnd() & 0x400;
		if (rnd() & 1)	/* compares that run for a while */
			r->gpr[EMU_RDI] = r->gpr[EMU_RSI];
		return n;
	}
	/* Bit offsets that stay near the data. */
	if (f->n == 2 && (f->op[1] & 0xe7) == 0xa3)
		r->gpr[((modrm >> 3) & 7) | (rex & 4 ? 8 : 0)] = (u64)(s64)(s8)rnd() * 4;
	if (f->modrm) {
		out[n++] = modrm;
		if (mem && rm == 4) {
			u8 sib = rnd();
			unsigned int base, index;

			out[n++] = sib;
			base = (sib & 7) | (rex & 1 ? 8 : 0);
			index = ((sib >> 3) & 7) | (rex & 2 ? 8 : 0);
			if (index != 4)
				r->gpr[index] = rnd() % 64;
			if ((sib & 7) == 5 && mod == 0) {
				disp = (s32)data_address() - (index != 4 ? (s32)(r->gpr[index] << (sib >> 6)) : 0);
				memcpy(out + n, &disp, 4);
				n += 4;
			} else if (base == index && base != 4) {
				r->gpr[base] = data_address() / (1 + (1U << (sib >> 6)));
				disp = (s32)(rnd() % 64);
				goto disp;
			} else {
				r->gpr[base] = data_address() -
					(index != 4 ? r->gpr[index] << (sib >> 6) : 0);
				disp = (s32)(rnd() % 64) - 32;
disp:
				memcpy(out + n, &disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
				n += mod == 1 ? 1 : mod == 2 ? 4 : 0;
			}
		} else if (mem && mod == 0 && rm == 5) {
			/* RIP-relative: filled in when the place is known */
			memset(out + n, 0, 4);
			n += 4;
		} else if (mem) {
			r->gpr[rm | (rex & 1 ? 8 : 0)] = data_address();
			disp = (s32)(rnd() % 64) - 32;
			memcpy(out + n, &disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
			n += mod == 1 ? 1 : mod == 2 ? 4 : 0;
		}
	}
	imm = f->imm == 0xff ? (osize == 2 ? 2 : 4) : f->imm;
	for (i = 0; i < imm; i++)
		out[n++] = rnd();
	return n;
}

static void dump(const u8 *insn, unsigned int len, const struct regs *in, const struct regs *want,
		 const struct regs *got)
{
	unsigned int i;

	fprintf(stderr, "instruction:");
	for (i = 0; i < len; i++)
		fprintf(stderr, " %02x", insn[i]);
	fprintf(stderr, "\n      before            processor         emulator\n");
	for (i = 0; i < 16; i++)
		fprintf(stderr, "r%-2u %016llx  %016llx  %016llx%s\n", i, in->gpr[i], want->gpr[i],
			got->gpr[i], want->gpr[i] != got->gpr[i] ? " <" : "");
	fprintf(stderr, "fl  %016llx  %016llx  %016llx\n", in->rflags, want->rflags, got->rflags);
}

/* AF after logic operations is undefined; this processor's value is its own. */
static u64 defined_flags(const struct insn *in)
{
	switch (in->op) {
	case INSN_AND: case INSN_OR: case INSN_XOR: case INSN_TEST:
		return FLAGS_TESTED & ~FLAG_AF;
	case INSN_BT: case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return 1;
	}
	return FLAGS_TESTED;
}

static void test_native(void **state)
{
	static u8 before[DATA_SIZE], after[DATA_SIZE], mem[DATA_SIZE];
	unsigned long ran = 0, faulted = 0, device_runs = 0;
	unsigned int i, n, len;
	const u8 *at;
	u8 insn[16 + 8];

	(void)state;
	catch_signals();
	for (i = 0; i < 150000; i++) {
		struct regs in, want, got;
		struct insn decoded;
		int device, ret, sig;
		u64 rip;

		len = make_insn(insn, &in);
		if (len > INSN_MAX_LEN)
			continue;
		build_stub(insn, len, &at);
		assert_int_equal(insn_decode(&decoded, 64, insn, len), INSN_OK);
		if (decoded.base == EMU_RIP) {
			s32 disp = (s32)(data_address() - ((u64)(uintptr_t)at + len));

			memcpy(insn + len - decoded.imm_len - 4, &disp, 4);
			build_stub(insn, len, &at);
			insn_decode(&decoded, 64, insn, len);
		}
		for (n = 0; n < DATA_SIZE; n += 8) {
			u64 v = rnd() & 1 ? rnd() : 0;

			memcpy(before + n, &v, 8);
		}
		/* CMPXCHG8B and CMPXCHG should succeed at times. */
		if (rnd() & 1 && decoded.is_mem && decoded.base != EMU_NO_REG && decoded.base != EMU_RIP) {
			u64 off = in.gpr[decoded.base] + (u64)decoded.disp - (u64)(uintptr_t)data;

			if (off + 8 <= DATA_SIZE) {
				memcpy(before + off, &in.gpr[EMU_RAX], 4);
				memcpy(before + off + 4, &in.gpr[EMU_RDX], 4);
			}
		}
		memcpy(data, before, DATA_SIZE);
		native = in;
		sig = run_native();
		want = native;
		memcpy(after, data, DATA_SIZE);
		if (sig) {
			faulted++;
			continue;
		}
		ran++;
		for (device = -1; device < 2; device++) {
			struct world w = { mem, insn, (u64)(uintptr_t)at, len, device, 0, false };

			memcpy(mem, before, DATA_SIZE);
			got = in;
			rip = (u64)(uintptr_t)at;
			ret = emulate(&w, &got, &rip);
			if (ret == EMU_DONE && !w.outside && rip == (u64)(uintptr_t)at + len &&
			    !memcmp(want.gpr, got.gpr, sizeof(want.gpr)) &&
			    !((want.rflags ^ got.rflags) & defined_flags(&decoded)) &&
			    !memcmp(mem, after, DATA_SIZE)) {
				device_runs += device >= 0;
				continue;
			}
			dump(insn, len, &in, &want, &got);
			for (n = 0; n < DATA_SIZE; n++)
				if (mem[n] != after[n])
					fprintf(stderr, "memory %x: %02x, processor %02x, emulator %02x\n", n,
						before[n], after[n], mem[n]);
			fail_msg("device page %d: result %d, op %u, rip +%lld", device, ret, decoded.op,
				 rip - (u64)(uintptr_t)at);
		}
	}
	printf("%lu instructions compared, %lu runs with devices, %lu faulted natively\n",
	       ran, device_runs, faulted);
	assert_true(ran > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_native) };
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	data = mmap(NULL, DATA_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (code == MAP_FAILED || data == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
