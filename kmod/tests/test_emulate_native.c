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
#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <signal.h>
#include <ucontext.h>
#include <cmocka.h>

#include "kmod/emulate.h"

#define DATA_SIZE	8192U
#define FLAGS_TESTED	0xcd5ULL	/* CF PF AF ZF SF DF OF */
#define FLAG_AF		0x10ULL
#define FLAG_ZF		0x40ULL
#define FLAG_OF		0x800ULL
#define FLAG_AC		0x40000ULL

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
	u8 vec[16][32] __attribute__((aligned(32)));	/* without AVX: the lower halves */
};

/* What processor exceptions become: a vector and, for page faults, nothing else that is the test's. */
#define NO_FAULT	(-1)

static u8 *code;		/* stub */
static u8 *data;		/* DATA_SIZE bytes below 2 GiB, for 32-bit addresses */
static struct regs native;	/* in and out of the stub */
static u64 host_rsp;
static sigjmp_buf trapped;
static bool has_avx;

#define GS_BASE		0x12340ULL	/* this thread's: segment overrides matter */

/* AC, when an instruction is tried with it, is for that instruction only. */
static inline __attribute__((always_inline)) void clear_ac(void)
{
	__asm__ volatile("pushfq; andq $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	static const u8 order[16] = {
		REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	unsigned int i;

	clear_ac();
	(void)sig;
	(void)info;
	for (i = 0; i < 16; i++)
		native.gpr[i] = (u64)uc->uc_mcontext.gregs[order[i]];
	siglongjmp(trapped, 1 + (int)uc->uc_mcontext.gregs[REG_TRAPNO]);
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

/* [v]movdqu between all vector registers and native, which RAX points to. */
static void emit_vectors(u8 **p, bool store)
{
	unsigned int i;
	u32 off;

	for (i = 0; i < 16; i++) {
		u8 modrm = 0x80 | (i & 7) << 3;

		if (has_avx) {
			u8 b[4] = { 0xc5, i < 8 ? 0xfe : 0x7e, store ? 0x7f : 0x6f, modrm };

			emit(p, b, 4);
		} else {
			u8 b[5] = { 0xf3, i < 8 ? 0x40 : 0x44, 0x0f, store ? 0x7f : 0x6f, modrm };

			emit(p, b, 5);
		}
		off = offsetof(struct regs, vec) + 32 * i;
		emit(p, &off, 4);
	}
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
	emit_vectors(&p, false);
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
	emit_vectors(&p, true);
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
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_ONSTACK | SA_SIGINFO };
	static u8 stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int i;

	assert_int_equal(sigaltstack(&ss, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(sigs); i++)
		assert_int_equal(sigaction(sigs[i], &sa, NULL), 0);
}

/* Returns the vector of the exception that the instruction raised, or NO_FAULT. */
static int run_native(void)
{
	int trap = sigsetjmp(trapped, 1);

	if (!trap)
		((void (*)(void))(uintptr_t)code)();
	return trap - 1;
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
	struct regs *regs;
	u8 vector;		/* of a fault */
};

static int w_translate(struct emu *e, u64 linear, unsigned int access, u64 *gpa)
{
	u64 base = (u64)(uintptr_t)data;

	/* Unmapped pages around the data. */
	if (!(access & WALK_FETCH) && (linear - base >= DATA_SIZE))
		return emulate_fault(e, access & WALK_WRITE ? 6 : 4, linear);
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

static int w_cmpxchg(struct emu *e, u64 gpa, unsigned int len, void *old, const void *new)
{
	struct world *w = e->arg;
	int err;
	u8 *p = w_find(w, gpa, len, &err);

	w->accesses++;
	if (err)
		return err;
	/* Now and then somebody else was faster. */
	if (memcmp(p, old, len) || rnd() % 4 == 0) {
		memcpy(old, p, len);
		return EMU_OP_DIFFERS;
	}
	memcpy(p, new, len);
	return 0;
}

static void w_get_vec(struct emu *e, unsigned int reg, u8 *val)
{
	struct world *w = e->arg;

	memcpy(val, w->regs->vec[reg], 32);
}

static void w_set_vec(struct emu *e, unsigned int reg, const u8 *val, bool wide)
{
	struct world *w = e->arg;

	memcpy(w->regs->vec[reg], val, wide ? 32 : 16);
}

static const struct emu_ops world_ops = {
	.get_vec = w_get_vec, .set_vec = w_set_vec,
	.translate = w_translate, .read = w_read, .write = w_write, .cmpxchg = w_cmpxchg,
};

static int emulate(struct world *w, struct regs *r, u64 *rip)
{
	struct emu e = {
		.ops = &world_ops, .arg = w, .regs = r->gpr, .rip = rip, .rflags = &r->rflags,
		.cr0 = 0x80050031, .cr4 = 0x40620, .efer = 0xd00, .xcr0 = has_avx ? 7 : 3, .cpl = 3,
	};
	struct emu_io made[EMU_LOG_MAX];
	unsigned int i, steps, n = 0;
	int ret;

	for (i = 0; i < 6; i++)
		e.seg[i] = (struct emu_seg){ .limit = ~0U, .attr = 0xc93 };
	e.seg[EMU_CS].attr = 0xa9b;
	e.seg[EMU_GS].base = GS_BASE;
	w->regs = r;
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
			/* No access to a device is made twice (CMPS may read one place twice). */
			for (i = 0; i < n; i++)
				assert_false(made[i].addr == e.io.addr && made[i].write == e.io.write &&
					     (e.insn.op < INSN_MOVS || e.insn.op > INSN_SCAS));
			if (n < EMU_LOG_MAX)
				made[n++] = e.io;
			emulate_io_done(&e, w->mem + off);
			assert_true(emulate_in_progress(&e));
			continue;
		}
		assert_false(ret == EMU_DONE && emulate_in_progress(&e));
		if (ret == EMU_DONE && *rip == start)
			continue;	/* a repeated instruction goes on */
		w->vector = e.fault.vector;
		return ret;
	}
	return -EIO;
}

/* An encoding template: opcode bytes, whether ModRM follows, immediate bytes. */
struct form {
	u8 n, op[3];
	bool modrm;
	u8 group;		/* 1 + fixed ModRM.reg, or 0 */
	u8 imm;			/* bytes; 0xff: by operand size */
	bool lock, string, mem_only, moffs;	/* lock: allowed with memory */
	u8 pp;			/* mandatory prefix */
};

#define F(...)		{ __VA_ARGS__ }
#define OP1(o)		.n = 1, .op = { o }
#define OP2(o)		.n = 2, .op = { 0x0f, o }
#define OP3(o)		.n = 3, .op = { 0x0f, 0x38, o }
#define RM		.modrm = true
#define G(g)		RM, .group = 1 + (g)
#define LOCKS		.lock = true
#define MEM		RM, .mem_only = true
#define IMM(i)		.imm = i
#define IZ		0xff

#define ALU(o, ...) \
	F(OP1((o) + 0), RM, ##__VA_ARGS__), F(OP1((o) + 1), RM, ##__VA_ARGS__), \
	F(OP1((o) + 2), RM), F(OP1((o) + 3), RM), F(OP1((o) + 4), IMM(1)), F(OP1((o) + 5), IMM(IZ))
#define EIGHT(op, ...) \
	F(op, G(0), ##__VA_ARGS__), F(op, G(1), ##__VA_ARGS__), F(op, G(2), ##__VA_ARGS__), \
	F(op, G(3), ##__VA_ARGS__), F(op, G(4), ##__VA_ARGS__), F(op, G(5), ##__VA_ARGS__), \
	F(op, G(6), ##__VA_ARGS__), F(op, G(7), ##__VA_ARGS__)
#define BOTH(o, ...)	F(OP1(o), ##__VA_ARGS__), F(OP1((o) + 1), ##__VA_ARGS__)
#define STRINGS		BOTH(0xa4, .string = true), BOTH(0xa6, .string = true), \
	BOTH(0xaa, .string = true), BOTH(0xac, .string = true), BOTH(0xae, .string = true)
#define MOVES		BOTH(0x88, RM), BOTH(0x8a, RM), BOTH(0xa0, .moffs = true), \
	BOTH(0xa2, .moffs = true)

static const struct form forms[] = {
	ALU(0x00, LOCKS), ALU(0x08, LOCKS), ALU(0x10, LOCKS), ALU(0x18, LOCKS),
	ALU(0x20, LOCKS), ALU(0x28, LOCKS), ALU(0x30, LOCKS), ALU(0x38),
	EIGHT(OP1(0x80), IMM(1), LOCKS), EIGHT(OP1(0x81), IMM(IZ), LOCKS), EIGHT(OP1(0x83), IMM(1), LOCKS),
	BOTH(0x84, RM), BOTH(0x86, RM, LOCKS), MOVES, F(OP1(0x63), RM), F(OP1(0x8f), G(0)),
	F(OP1(0xa8), IMM(1)), F(OP1(0xa9), IMM(IZ)),
	F(OP1(0x90)), F(OP1(0x91)), F(OP1(0x95)), F(OP1(0x97)),
	F(OP1(0x50)), F(OP1(0x53)), F(OP1(0x54)), F(OP1(0x58)), F(OP1(0x5b)), F(OP1(0x5c)),
	F(OP1(0xb0), IMM(1)), F(OP1(0xb4), IMM(1)), F(OP1(0xb7), IMM(1)),
	F(OP1(0x6a), IMM(1)), F(OP1(0x68), IMM(IZ)),
	F(OP1(0xc6), G(0), IMM(1)), F(OP1(0xc7), G(0), IMM(IZ)),
	F(OP1(0xf6), G(0), IMM(1)), F(OP1(0xf7), G(0), IMM(IZ)),
	F(OP1(0xf6), G(1), IMM(1)), F(OP1(0xf7), G(1), IMM(IZ)),
	BOTH(0xf6, G(2), LOCKS), BOTH(0xf6, G(3), LOCKS),
	BOTH(0xf6, G(4)), BOTH(0xf6, G(5)), BOTH(0xf6, G(6)), BOTH(0xf6, G(7)),
	BOTH(0xfe, G(0), LOCKS), BOTH(0xfe, G(1), LOCKS), F(OP1(0xff), G(6)),
	EIGHT(OP1(0xc0), IMM(1)), EIGHT(OP1(0xc1), IMM(1)), EIGHT(OP1(0xd0)), EIGHT(OP1(0xd1)),
	EIGHT(OP1(0xd2)), EIGHT(OP1(0xd3)),
	F(OP1(0x69), RM, IMM(IZ)), F(OP1(0x6b), RM, IMM(1)), F(OP2(0xaf), RM), F(OP2(0xaf), RM),
	F(OP2(0xa4), RM, IMM(1)), F(OP2(0xa5), RM), F(OP2(0xac), RM, IMM(1)), F(OP2(0xad), RM),
	F(OP2(0x40), RM), F(OP2(0x41), RM), F(OP2(0x42), RM), F(OP2(0x43), RM), F(OP2(0x44), RM),
	F(OP2(0x45), RM), F(OP2(0x46), RM), F(OP2(0x47), RM), F(OP2(0x48), RM), F(OP2(0x49), RM),
	F(OP2(0x4a), RM), F(OP2(0x4b), RM), F(OP2(0x4c), RM), F(OP2(0x4d), RM), F(OP2(0x4e), RM),
	F(OP2(0x4f), RM), F(OP2(0x90), RM), F(OP2(0x93), RM), F(OP2(0x96), RM), F(OP2(0x9f), RM),
	F(OP2(0xb6), RM), F(OP2(0xb7), RM), F(OP2(0xbe), RM), F(OP2(0xbf), RM),
	F(OP2(0xb0), RM, LOCKS), F(OP2(0xb1), RM, LOCKS), F(OP2(0xc0), RM, LOCKS), F(OP2(0xc1), RM, LOCKS),
	F(OP2(0xa3), RM), F(OP2(0xab), RM, LOCKS), F(OP2(0xb3), RM, LOCKS), F(OP2(0xbb), RM, LOCKS),
	F(OP2(0xba), G(4), IMM(1)), F(OP2(0xba), G(5), IMM(1), LOCKS), F(OP2(0xba), G(6), IMM(1), LOCKS),
	F(OP2(0xba), G(7), IMM(1), LOCKS), F(OP2(0xbc), RM), F(OP2(0xbd), RM), F(OP2(0xb8), RM, .pp = 0xf3),
	F(OP2(0xc3), MEM), F(OP2(0xc7), .mem_only = true, G(1), LOCKS), F(OP2(0xc7), .mem_only = true, G(1), LOCKS),
	F(OP3(0xf0), MEM), F(OP3(0xf1), MEM),
	STRINGS, STRINGS, MOVES,	/* twice: memory transfers are what matters most */
};

/* Vector moves; the same opcodes exist with VEX. */
static const struct form vector_forms[] = {
#define V(o, p)		F(OP2(o), MEM, .pp = p)
#define PAIR(o, p)	V(o, p), V((o) + 1, p)
	PAIR(0x10, 0), PAIR(0x10, 0x66), PAIR(0x10, 0xf3), PAIR(0x10, 0xf2),
	PAIR(0x12, 0), PAIR(0x12, 0x66), PAIR(0x16, 0), PAIR(0x16, 0x66),
	PAIR(0x28, 0), PAIR(0x28, 0x66), V(0x2b, 0), V(0x2b, 0x66),
	V(0x6e, 0x66), V(0x7e, 0x66), V(0x7e, 0xf3), V(0xd6, 0x66),
	V(0x6f, 0x66), V(0x7f, 0x66), V(0x6f, 0xf3), V(0x7f, 0xf3), V(0xe7, 0x66), V(0xf0, 0xf2),
	F(OP3(0x2a), MEM, .pp = 0x66),
};

static u64 address_bias;	/* the base of the segment that addresses are relative to */

static u64 data_address(void)
{
	u64 base = (u64)(uintptr_t)data - address_bias;

	switch (rnd() % 200) {
	case 0:		/* partly or wholly outside of what is mapped */
		return base + DATA_SIZE - rnd() % 40;
	case 1:
		return base - rnd() % 40;
	case 2:		/* not canonical */
		return base + 4096 - rnd() % 20 + BIT_ULL(47 + rnd() % 16);
	}
	/* Well inside: across the page boundary, aligned, or anywhere. */
	switch (rnd() % 3) {
	case 0:
		return base + 4096 - rnd() % 36;
	case 1:
		return base + 1024 + (rnd() % 6000 & ~31ULL);
	}
	return base + 1024 + rnd() % 6000;
}

/* ModRM (of memory or register), SIB and displacement, and registers to match. */
static unsigned int emit_modrm(u8 *out, u8 modrm, u8 rex, struct regs *r)
{
	unsigned int mod = modrm >> 6, rm = modrm & 7, n = 0, base, index = 4;
	u8 sib = rnd();
	s32 disp;

	out[n++] = modrm;
	if (mod == 3)
		return n;
	base = rm | (rex & 1 ? 8 : 0);
	disp = (s32)(rnd() % 2 * 32);
	if (rm == 4) {
		out[n++] = sib;
		base = (sib & 7) | (rex & 1 ? 8 : 0);
		index = ((sib >> 3) & 7) | (rex & 2 ? 8 : 0);
		if (index != 4)
			r->gpr[index] = rnd() % 64;
	}
	if (mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5))) {
		/* No base.  RIP-relative: filled in when the place is known. */
		disp = (s32)data_address() - (s32)(index != 4 ? r->gpr[index] << (sib >> 6) : 0);
		memcpy(out + n, &disp, 4);
		return n + 4;
	}
	if (base == index && base != 4)
		r->gpr[base] = data_address() / (1 + (1U << (sib >> 6)));
	else
		r->gpr[base] = data_address() - (index != 4 ? r->gpr[index] << (sib >> 6) : 0);
	memcpy(out + n, &disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
	return n + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static void make_regs(struct regs *r)
{
	unsigned int i;

	for (i = 0; i < 16; i++)
		r->gpr[i] = rnd() & 1 ? rnd() : (u64)(s64)(s8)rnd();
	/* Divisions that have a result. */
	if (rnd() & 1)
		r->gpr[EMU_RDX] = rnd() & 1 ? 0 : (u64)((s64)r->gpr[EMU_RAX] >> 63);
	for (i = 0; i < sizeof(r->vec); i += 8) {
		u64 v = rnd();

		memcpy((u8 *)r->vec + i, &v, 8);
		if (!has_avx && i % 32 >= 16)
			memset((u8 *)r->vec + i, 0, 8);
	}
	r->gpr[EMU_RSP] = data_address() & ~7ULL;
	r->rflags = 0x202 | (rnd() & 0xcd5 & ~0x400ULL);
	if (rnd() % 64 == 0)
		r->rflags |= FLAG_AC;
}

static unsigned int make_vex(u8 *out, const struct form *f, struct regs *r)
{
	u8 modrm = rnd() & 0x7f, rex = rnd() & 7, vvvv = rnd() % 16;
	unsigned int n = 0;
	u8 last;

	if ((f->op[1] & 0xfb) != 0x12 && rnd() % 32)
		vvvv = 0;		/* must be so but for loads of halves */
	last = ((~vvvv & 15) << 3) | (rnd() & 1 ? 4 : 0) |
	       (f->pp == 0x66 ? 1 : f->pp == 0xf3 ? 2 : f->pp == 0xf2 ? 3 : 0);
	if (f->n == 2 && !(rex & 3) && (rnd() & 1)) {
		out[n++] = 0xc5;
		out[n++] = last | (rex & 4 ? 0 : 0x80);
	} else {
		out[n++] = 0xc4;
		out[n++] = (~rex & 7) << 5 | (f->n == 3 ? 2 : 1);
		out[n++] = last | (rnd() & 0x80);
	}
	out[n++] = f->op[f->n - 1];
	return n + emit_modrm(out + n, modrm, rex, r);
}

/* Make an instruction and registers that it can mostly run with. */
static unsigned int make_insn(u8 *out, struct regs *r)
{
	bool vector = rnd() % 5 == 0, o66 = rnd() % 4 == 0, a67 = rnd() % 6 == 0;
	const struct form *f = vector ? &vector_forms[rnd() % ARRAY_SIZE(vector_forms)] :
					&forms[rnd() % ARRAY_SIZE(forms)];
	unsigned int n = 0, i, imm, osize = 4, reg;
	u8 rex = 0, modrm = rnd();
	bool mem;

	address_bias = 0;
	make_regs(r);
	if (rnd() % 8 == 0) {
		out[n++] = 0x65;
		address_bias = GS_BASE;
	}
	if (f->group)
		modrm = (modrm & 0xc7) | (f->group - 1) << 3;
	if (f->mem_only && modrm >> 6 == 3)
		modrm &= 0x7f;
	if (f->op[0] == 0xff && f->group == 1 + 6 && (modrm & 0xc7) == 0xc4)
		modrm ^= 1;
	mem = f->modrm && modrm >> 6 != 3;
	if (a67)
		out[n++] = 0x67;
	if (vector && has_avx && (rnd() & 1))
		return n + make_vex(out + n, f, r);

	if ((mem && f->lock && rnd() % 3 == 0) || rnd() % 256 == 0)
		out[n++] = 0xf0;
	if (f->string) {
		static const u8 reps[3] = { 0xf2, 0xf3 };
		u8 rep = reps[rnd() % 3];

		if (rep)
			out[n++] = rep;
	}
	if (f->pp)
		out[n++] = f->pp;
	if (vector ? rnd() % 32 == 0 : o66)
		out[n++] = 0x66;
	if (rnd() % 8 == 0)
		out[n++] = 0x3e;	/* ignored in 64-bit mode */
	if (rnd() & 1)
		rex = 0x40 | (rnd() & 15);
	if (rex)
		out[n++] = rex;
	if (rex & 8)
		osize = 8;
	else if (o66)
		osize = 2;
	for (i = 0; i < f->n; i++)
		out[n++] = f->op[i];

	if (f->moffs) {
		u64 addr = data_address();

		memcpy(out + n, &addr, a67 ? 4 : 8);
		return n + (a67 ? 4 : 8);
	}
	if (f->string) {
		r->gpr[EMU_RSI] = data_address();
		address_bias = 0;
		r->gpr[EMU_RDI] = data_address();
		r->gpr[EMU_RCX] = rnd() % 40;
		r->rflags |= rnd() & 0x400;
		if (rnd() & 1)	/* compares that run for a while */
			r->gpr[EMU_RDI] = r->gpr[EMU_RSI];
		return n;
	}
	/* Bit offsets that stay near the data. */
	reg = ((modrm >> 3) & 7) | (rex & 4 ? 8 : 0);
	if (f->n == 2 && (f->op[1] & 0xe7) == 0xa3)
		r->gpr[reg] = (u64)(s64)(s8)rnd() * 4;
	if (f->modrm)
		n += emit_modrm(out + n, modrm, rex, r);
	imm = f->imm == IZ ? (osize == 2 ? 2 : 4) : f->imm;
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

/* Flags that the manual leaves undefined, and a processor's value is its own. */
static u64 defined_flags(const struct insn *in, const struct regs *before)
{
	unsigned int count = in->imm_len ? (u8)in->imm : in->map == 0 && in->opcode < 0xd2 ? 1 :
			     (u8)before->gpr[EMU_RCX];

	count &= in->osize == 8 ? 63 : 31;
	switch (in->op) {
	case INSN_AND: case INSN_OR: case INSN_XOR: case INSN_TEST:
		return FLAGS_TESTED & ~FLAG_AF;
	case INSN_BT: case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return 1;
	case INSN_ROL ... INSN_SHRD:
		if (!count)
			return FLAGS_TESTED;
		if (in->op < INSN_SHL)
			return FLAGS_TESTED & ~(count > 1 ? FLAG_OF : 0);
		return FLAGS_TESTED & ~(FLAG_AF | (count > 1 ? FLAG_OF : 0) |
					(count > in->osize * 8U || (count == in->osize * 8U &&
					 in->op >= INSN_SHL) ? 1 : 0));
	case INSN_IMUL: case INSN_MUL_WIDE: case INSN_IMUL_WIDE:
		return 1 | FLAG_OF;
	case INSN_DIV: case INSN_IDIV:
		return 0;
	case INSN_BSF: case INSN_BSR:
		return FLAG_ZF;
	}
	return FLAGS_TESTED;
}

/* SHLD and SHRD of 16 bits by more: undefined altogether. */
static bool undefined_result(const struct insn *in, const struct regs *before)
{
	unsigned int count = in->imm_len ? (u8)in->imm : (u8)before->gpr[EMU_RCX];

	return (in->op == INSN_SHLD || in->op == INSN_SHRD) && in->osize == 2 && (count & 31) > 16;
}

static u8 before[DATA_SIZE], after[DATA_SIZE], mem[DATA_SIZE];

static void make_memory(const struct insn *in, const struct regs *r)
{
	unsigned int n;

	for (n = 0; n < DATA_SIZE; n += 8) {
		u64 v = rnd() & 1 ? rnd() : 0;

		memcpy(before + n, &v, 8);
	}
	/* CMPXCHG8B and CMPXCHG should succeed at times. */
	if (rnd() & 1 && in->is_mem && in->base < EMU_RIP) {
		u64 off = r->gpr[in->base] + address_bias + (u64)in->disp - (u64)(uintptr_t)data;
		unsigned int half = in->osize == 16 ? 8 : 4;

		if (off <= DATA_SIZE - 16) {
			memcpy(before + off, &r->gpr[EMU_RAX], half);
			memcpy(before + off + half, &r->gpr[EMU_RDX], half);
		}
	}
}

/* The same exception, or none? */
static bool same_end(int ret, const struct world *w, int fault, const struct regs *in)
{
	if (fault == NO_FAULT)
		return ret == EMU_DONE;
	/* Encodings that have no name need not be known to be undefined. */
	if (fault == 6 && ret == EMU_UNHANDLED)
		return true;
	if (ret != EMU_FAULT)
		return false;
	/* Both a page fault and a misaligned access: processors differ. */
	if ((in->rflags & FLAG_AC) && (fault == 14 || fault == 17))
		return w->vector == 14 || w->vector == 17;
	return w->vector == fault;
}

static void test_native(void **state)
{
	/* Another run of the lottery: CVMM_SEED=N CVMM_ROUNDS=N. */
	const char *more = getenv("CVMM_SEED"), *many = getenv("CVMM_ROUNDS");
	unsigned long rounds = many ? strtoul(many, NULL, 0) : 150000;
	unsigned long ran = 0, faulted = 0, device_runs = 0, vectors = 0;
	unsigned int n, len;
	const u8 *at;
	u8 insn[32];
	unsigned long i;

	(void)state;
	if (more)
		seed = strtoull(more, NULL, 0) | 1ULL << 63;
	catch_signals();
	for (i = 0; i < rounds; i++) {
		static struct regs in, want, got;
		struct insn decoded = {};
		int device, ret, fault;
		u64 rip, flags;

		len = make_insn(insn, &in);
		if (len > INSN_MAX_LEN)
			continue;
		build_stub(insn, len, &at);
		if (insn_decode(&decoded, 64, insn, len) == INSN_OK && decoded.has_modrm &&
		    decoded.base == EMU_RIP) {
			s32 disp = (s32)(data_address() - ((u64)(uintptr_t)at + len));

			memcpy(insn + len - decoded.imm_len - 4, &disp, 4);
			build_stub(insn, len, &at);
			insn_decode(&decoded, 64, insn, len);
		}
		if (undefined_result(&decoded, &in))
			continue;
		make_memory(&decoded, &in);
		memcpy(data, before, DATA_SIZE);
		native = in;
		fault = run_native();
		want = native;
		memcpy(after, data, DATA_SIZE);
		ran++;
		faulted += fault != NO_FAULT;
		vectors += decoded.op == INSN_VMOV;
		/* A repeated comparison that faults: flags are those of before, or of the last step. */
		flags = fault == NO_FAULT ? defined_flags(&decoded, &in) : 0;
		for (device = -1; device < 2; device++) {
			struct world w = { .mem = mem, .insn = insn, .insn_at = (u64)(uintptr_t)at,
					   .insn_len = len, .device_page = device };

			memcpy(mem, before, DATA_SIZE);
			got = in;
			rip = (u64)(uintptr_t)at;
			ret = emulate(&w, &got, &rip);
			if (same_end(ret, &w, fault, &in) && !w.outside &&
			    rip == (u64)(uintptr_t)at + (fault == NO_FAULT ? len : 0) &&
			    !memcmp(want.gpr, got.gpr, sizeof(want.gpr)) &&
			    !memcmp(want.vec, got.vec, sizeof(want.vec)) &&
			    !((want.rflags ^ got.rflags) & flags) &&
			    !memcmp(mem, after, DATA_SIZE)) {
				device_runs += device >= 0;
				continue;
			}
			dump(insn, len, &in, &want, &got);
			for (n = 0; n < DATA_SIZE; n++)
				if (mem[n] != after[n])
					fprintf(stderr, "memory %x: %02x, processor %02x, emulator %02x\n", n,
						before[n], after[n], mem[n]);
			for (n = 0; n < sizeof(got.vec); n++)
				if (((u8 *)want.vec)[n] != ((u8 *)got.vec)[n])
					fprintf(stderr, "vector %u byte %u: processor %02x, emulator %02x\n",
						n / 32, n % 32, ((u8 *)want.vec)[n], ((u8 *)got.vec)[n]);
			fail_msg("device page %d: result %d vector %d, processor's exception %d, op %u, rip +%lld",
				 device, ret, ret == EMU_FAULT ? w.vector : -1, fault, decoded.op,
				 rip - (u64)(uintptr_t)at);
		}
	}
	printf("%lu instructions compared, %lu of them vector moves, %lu faulted; %lu runs with devices\n",
	       ran, vectors, faulted, device_runs);
	assert_true(ran > rounds / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_native) };
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	/* The data between pages that are not mapped. */
	data = mmap(NULL, DATA_SIZE + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (code == MAP_FAILED || data == MAP_FAILED)
		return 1;
	data += 4096;
	__builtin_cpu_init();
	has_avx = __builtin_cpu_supports("avx");
	if (mprotect(data, DATA_SIZE, PROT_READ | PROT_WRITE) ||
	    syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
