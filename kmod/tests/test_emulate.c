// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator where no processor can be asked: modes other than 64-bit,
 * segmentation, exceptions, what reaches a device and in which order, and
 * instructions that are started again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "kmod/emulate.h"

#define MEM	0x20000U
#define DEVICE	0x10000U	/* from here on: a device */

static u8 mem[MEM];
static u64 regs[16], rip, rflags;
static struct emu e;
static u64 bad_page = ~0ULL;	/* linear page that is not mapped */
static int interrupt_in;	/* calls until one returns -EINTR */

static int t_translate(struct emu *em, u64 linear, unsigned int access, u64 *gpa)
{
	if (linear >> 12 == bad_page)
		return emulate_fault(em, (access & WALK_WRITE ? PFEC_W : 0), linear);
	if (interrupt_in && --interrupt_in == 0)
		return -EINTR;
	*gpa = linear & (MEM - 1);
	return 0;
}

static int t_read(struct emu *em, u64 gpa, void *buf, unsigned int len)
{
	(void)em;
	if (gpa >= DEVICE)
		return EMU_OP_MMIO;
	memcpy(buf, mem + gpa, len);
	return 0;
}

static int t_write(struct emu *em, u64 gpa, const void *buf, unsigned int len)
{
	(void)em;
	if (gpa >= DEVICE)
		return EMU_OP_MMIO;
	memcpy(mem + gpa, buf, len);
	return 0;
}

static int t_cmpxchg(struct emu *em, u64 gpa, unsigned int len, void *old, const void *new)
{
	(void)em;
	(void)old;
	if (gpa >= DEVICE)
		return EMU_OP_MMIO;
	memcpy(mem + gpa, new, len);
	return 0;
}

static u8 vec[16][32];

static void t_get_vec(struct emu *em, unsigned int reg, u8 *val)
{
	(void)em;
	memcpy(val, vec[reg], 32);
}

static void t_set_vec(struct emu *em, unsigned int reg, const u8 *val, bool wide)
{
	(void)em;
	memcpy(vec[reg], val, wide ? 32 : 16);
}

static const struct emu_ops ops = {
	.translate = t_translate, .read = t_read, .write = t_write, .cmpxchg = t_cmpxchg,
	.get_vec = t_get_vec, .set_vec = t_set_vec,
};

/* A processor in @mode (16 real, 17 virtual-8086, 32, 64) about to run @code at 0x1000. */
static void setup(unsigned int mode, const void *code, unsigned int len)
{
	unsigned int i;

	memset(mem, 0, sizeof(mem));
	memset(regs, 0, sizeof(regs));
	memset(&e, 0, sizeof(e));
	memcpy(mem + 0x1000, code, len);
	rip = 0x1000;
	rflags = 2;
	bad_page = ~0ULL;
	interrupt_in = 0;
	e.ops = &ops;
	e.regs = regs;
	e.rip = &rip;
	e.rflags = &rflags;
	e.cr0 = mode == 16 ? 0x10 : 0x80000011;
	e.cr4 = 0x20;
	e.efer = mode == 64 ? 0xd00 : 0;
	for (i = 0; i < 6; i++)
		e.seg[i] = (struct emu_seg){ .limit = mode <= 17 ? 0xffff : ~0U,
					     .attr = mode <= 17 ? 0x93 : 0xc93 };
	if (mode == 17) {
		rflags |= BIT_ULL(17);
		e.cpl = 3;
	}
	if (mode == 32)
		e.seg[EMU_CS].attr = 0xc9b;
	if (mode == 64)
		e.seg[EMU_CS].attr = 0xa9b;
	regs[EMU_RSP] = 0x8000;
	emulate_begin(&e);
}

#define SETUP(mode, ...) do { \
	static const u8 code_[] = { __VA_ARGS__ }; \
	setup(mode, code_, sizeof(code_)); \
} while (0)

static void expect_fault(unsigned int vector, int error)
{
	u64 before[16];

	memcpy(before, regs, sizeof(before));
	assert_int_equal(emulate_run(&e), EMU_FAULT);
	assert_int_equal(e.fault.vector, vector);
	assert_int_equal(e.fault.has_error, error >= 0);
	if (error >= 0)
		assert_int_equal(e.fault.error, error);
	assert_int_equal(rip, 0x1000);
	assert_memory_equal(before, regs, sizeof(before));
	assert_false(emulate_in_progress(&e));
}

static void expect_device(int ret, u64 addr, unsigned int len, bool write, u64 data)
{
	u64 got = 0;

	assert_int_equal(ret, EMU_MMIO);
	assert_int_equal(e.io.addr, addr);
	assert_int_equal(e.io.len, len);
	assert_int_equal(e.io.write, write);
	if (write) {
		memcpy(&got, e.io.data, len);
		assert_int_equal(got, data);
	}
	emulate_io_done(&e, write ? NULL : &data);
}

static void expect_done(u64 next)
{
	assert_int_equal(emulate_run(&e), EMU_DONE);
	assert_int_equal(rip, next);
	assert_false(emulate_in_progress(&e));
}

static void test_device_read_and_write(void **state)
{
	(void)state;
	SETUP(64, 0x8b, 0x43, 0x04);				/* mov eax, [rbx+4] */
	regs[EMU_RBX] = DEVICE;
	regs[EMU_RAX] = ~0ULL;
	expect_device(emulate_run(&e), DEVICE + 4, 4, false, 0x12345678);
	expect_done(0x1003);
	assert_int_equal(regs[EMU_RAX], 0x12345678);

	SETUP(64, 0x66, 0xc7, 0x03, 0xcd, 0xab);		/* mov word [rbx], 0xabcd */
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 2, true, 0xabcd);
	expect_done(0x1005);

	SETUP(64, 0x48, 0x0f, 0xbe, 0x03);			/* movsx rax, byte [rbx] */
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 1, false, 0x80);
	expect_done(0x1004);
	assert_int_equal(regs[EMU_RAX], 0xffffffffffffff80ULL);

	SETUP(32, 0xa1, 0x20, 0x00, 0x01, 0x00);		/* mov eax, [0x10020] */
	expect_device(emulate_run(&e), DEVICE + 0x20, 4, false, 7);
	expect_done(0x1005);
	assert_int_equal(regs[EMU_RAX], 7);
}

/* Read, modify, write: two accesses, each once, flags from the result. */
static void test_device_rmw(void **state)
{
	(void)state;
	SETUP(64, 0xf0, 0x83, 0x0b, 0x10);			/* lock or dword [rbx], 0x10 */
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 4, false, 0x80000001);
	assert_true(emulate_in_progress(&e));
	expect_device(emulate_run(&e), DEVICE, 4, true, 0x80000011);
	expect_done(0x1004);
	assert_int_equal(rflags & 0x8d5, 0x84);			/* SF, PF */

	SETUP(64, 0x87, 0x03);					/* xchg [rbx], eax */
	regs[EMU_RBX] = DEVICE;
	regs[EMU_RAX] = 5;
	expect_device(emulate_run(&e), DEVICE, 4, false, 9);
	expect_device(emulate_run(&e), DEVICE, 4, true, 5);
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RAX], 9);
}

static void test_device_to_stack(void **state)
{
	(void)state;
	SETUP(64, 0xff, 0x33);					/* push [rbx] */
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 8, false, 0x1122334455667788ULL);
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RSP], 0x7ff8);
	assert_int_equal(mem[0x7ff8], 0x88);

	/* The stack faults after the device was read: nothing has happened but the read. */
	SETUP(64, 0xff, 0x33);
	regs[EMU_RBX] = DEVICE;
	bad_page = 7;
	expect_device(emulate_run(&e), DEVICE, 8, false, 1);
	expect_fault(14, PFEC_W);
	assert_int_equal(e.fault.cr2, 0x7ff8);

	SETUP(64, 0x8f, 0x44, 0x24, 0x08);			/* pop [rsp+8]: with the new RSP */
	mem[0x8000] = 0x5a;
	expect_done(0x1004);
	assert_int_equal(mem[0x8010], 0x5a);
	assert_int_equal(regs[EMU_RSP], 0x8008);
}

static void test_repeated(void **state)
{
	unsigned int i;

	(void)state;
	SETUP(64, 0xf3, 0xa5);					/* rep movsd */
	regs[EMU_RSI] = 0x2000;
	regs[EMU_RDI] = DEVICE;
	regs[EMU_RCX] = 3;
	for (i = 0; i < 12; i++)
		mem[0x2000 + i] = i;
	expect_device(emulate_run(&e), DEVICE, 4, true, 0x03020100);
	expect_device(emulate_run(&e), DEVICE + 4, 4, true, 0x07060504);
	/* Iterations that are complete show. */
	assert_int_equal(regs[EMU_RCX], 2);
	assert_int_equal(rip, 0x1000);
	expect_device(emulate_run(&e), DEVICE + 8, 4, true, 0x0b0a0908);
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RCX], 0);
	assert_int_equal(regs[EMU_RDI], DEVICE + 12);

	/* Much work is done in portions. */
	SETUP(64, 0xf3, 0xaa);					/* rep stosb */
	regs[EMU_RDI] = 0x2000;
	regs[EMU_RCX] = 1000;
	regs[EMU_RAX] = 0x77;
	for (i = 0; rip == 0x1000; i++)
		assert_int_equal(emulate_run(&e), EMU_DONE);
	assert_in_range(i, 2, 999);
	assert_int_equal(mem[0x2000 + 999], 0x77);
	assert_int_equal(mem[0x2000 + 1000], 0);

	/* A fault in the middle leaves what was done before it. */
	SETUP(64, 0xf3, 0xaa);
	regs[EMU_RDI] = 0x2ffe;
	regs[EMU_RCX] = 5;
	bad_page = 3;
	assert_int_equal(emulate_run(&e), EMU_FAULT);
	assert_int_equal(e.fault.cr2, 0x3000);
	assert_int_equal(regs[EMU_RCX], 3);
	assert_int_equal(regs[EMU_RDI], 0x3000);

	/* repne scasb over a device */
	SETUP(32, 0xf2, 0xae);
	regs[EMU_RDI] = DEVICE;
	regs[EMU_RCX] = 10;
	regs[EMU_RAX] = 2;
	expect_device(emulate_run(&e), DEVICE, 1, false, 1);
	expect_device(emulate_run(&e), DEVICE + 1, 1, false, 2);
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RCX], 8);
	assert_true(rflags & 0x40);

	/* Backwards, 16-bit addresses that wrap. */
	SETUP(16, 0xf3, 0xaa);
	regs[EMU_RDI] = 0x50001;
	regs[EMU_RCX] = 0x70003;
	rflags |= 0x400;
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RDI], 0x5fffe);
	assert_int_equal(regs[EMU_RCX], 0x70000);
}

static void test_ports(void **state)
{
	u32 val = 0xcafe;

	(void)state;
	SETUP(64, 0xf3, 0x66, 0x6d);				/* rep insw */
	regs[EMU_RDX] = 0x1f0;
	regs[EMU_RDI] = 0x2000;
	regs[EMU_RCX] = 2;
	assert_int_equal(emulate_run(&e), EMU_PIO);
	assert_true(e.io.port && !e.io.write && e.io.addr == 0x1f0 && e.io.len == 2);
	emulate_io_done(&e, &val);
	assert_int_equal(emulate_run(&e), EMU_PIO);
	emulate_io_done(&e, &val);
	expect_done(0x1003);
	assert_int_equal(mem[0x2000], 0xfe);
	assert_int_equal(mem[0x2003], 0xca);

	/* The destination faults: the port is not read. */
	SETUP(64, 0x6c);
	regs[EMU_RDI] = 0x3000;
	bad_page = 3;
	expect_fault(14, PFEC_W);

	SETUP(32, 0x6e);					/* outsb */
	regs[EMU_RSI] = 0x2000;
	regs[EMU_RDX] = 0x3f8;
	mem[0x2000] = 'x';
	assert_int_equal(emulate_run(&e), EMU_PIO);
	assert_true(e.io.port && e.io.write && e.io.addr == 0x3f8 && e.io.data[0] == 'x');
	emulate_io_done(&e, NULL);
	expect_done(0x1001);
}

static void test_segments(void **state)
{
	(void)state;
	SETUP(32, 0x8b, 0x03);					/* mov eax, [ebx] */
	e.seg[EMU_DS].base = 0x2000;
	e.seg[EMU_DS].limit = 0xfff;
	regs[EMU_RBX] = 0xffc;
	mem[0x2ffc] = 1;
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RAX], 1);
	rip = 0x1000;
	regs[EMU_RBX] = 0xffd;					/* one byte too far */
	expect_fault(13, 0);
	regs[EMU_RBX] = 0;
	e.seg[EMU_DS].attr = 0;					/* null selector */
	expect_fault(13, 0);
	e.seg[EMU_DS].attr = 0xc99;				/* execute only */
	expect_fault(13, 0);

	SETUP(32, 0x89, 0x03);					/* mov [ebx], eax */
	e.seg[EMU_DS].attr = 0xc91;				/* read only */
	expect_fault(13, 0);

	SETUP(32, 0x8b, 0x45, 0x00);				/* mov eax, [ebp]: the stack segment */
	e.seg[EMU_SS].limit = 0xfff;
	regs[EMU_RBP] = 0x1000;
	expect_fault(12, 0);

	SETUP(32, 0x36, 0x8b, 0x03);				/* mov eax, ss:[ebx], expand-down */
	e.seg[EMU_SS].attr = 0xc97;
	e.seg[EMU_SS].limit = 0xfff;
	regs[EMU_RBX] = 0xfff;
	expect_fault(12, 0);
	regs[EMU_RBX] = 0x1000;
	expect_done(0x1003);

	/* Real mode: no types, no error code, segment base and 64 KiB. */
	SETUP(16, 0x26, 0x8b, 0x07);				/* mov ax, es:[bx] */
	e.seg[EMU_ES].base = 0x3000;
	e.seg[EMU_ES].attr = 0;
	regs[EMU_RBX] = 0xf0010;				/* BX only */
	mem[0x3010] = 0x34;
	expect_done(0x1003);
	assert_int_equal(regs[EMU_RAX], 0x34);
	rip = 0x1000;
	regs[EMU_RBX] = 0xffff;
	expect_fault(13, -1);

	SETUP(17, 0x8b, 0x07);					/* virtual-8086: likewise, with an error code */
	e.seg[EMU_DS].attr = 0;
	regs[EMU_RBX] = 0xffff;
	expect_fault(13, 0);

	/* A 16-bit stack keeps the upper half of ESP. */
	SETUP(32, 0x66, 0x50);					/* push ax */
	e.seg[EMU_SS].attr = 0x93;
	e.seg[EMU_SS].limit = 0xffff;
	regs[EMU_RSP] = 0x12340000;
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RSP], 0x1234fffe);

	/* 64-bit mode: only FS and GS have a base, no limits. */
	SETUP(64, 0x65, 0x8b, 0x03);
	e.seg[EMU_GS].base = 0x4000;
	e.seg[EMU_GS].limit = 0;
	e.seg[EMU_DS].base = 0x5000;
	regs[EMU_RBX] = 8;
	mem[0x4008] = 0x66;
	expect_done(0x1003);
	assert_int_equal(regs[EMU_RAX], 0x66);
}

static void test_canonical(void **state)
{
	(void)state;
	SETUP(64, 0x8b, 0x03);
	regs[EMU_RBX] = 0x800000000000ULL;
	expect_fault(13, 0);
	regs[EMU_RBX] = 0x7ffffffffffdULL;			/* the end is not */
	expect_fault(13, 0);
	regs[EMU_RBX] = 0xffff800000000000ULL;
	expect_done(0x1002);

	SETUP(64, 0x8b, 0x45, 0x00);				/* mov eax, [rbp] */
	regs[EMU_RBP] = 0x800000000000ULL;
	expect_fault(12, 0);

	/* A 32-bit address cannot be non-canonical. */
	SETUP(64, 0x67, 0x8b, 0x03);
	regs[EMU_RBX] = 0x8000000000002000ULL;
	expect_done(0x1003);
}

static void test_exceptions(void **state)
{
	static const u8 long_insn[16] = { [0 ... 14] = 0x66, 0x90 };

	(void)state;
	setup(64, long_insn, sizeof(long_insn));
	expect_fault(13, 0);
	SETUP(64, 0x06);					/* push es: not in 64-bit mode */
	expect_fault(6, -1);
	SETUP(64, 0xf0, 0x8b, 0x03);				/* lock mov */
	expect_fault(6, -1);
	SETUP(64, 0xf0, 0x01, 0xc3);				/* lock add ebx, eax */
	expect_fault(6, -1);

	SETUP(64, 0x8b, 0x03);					/* misaligned, with alignment checks on */
	e.cpl = 3;
	e.cr0 |= BIT_ULL(18);
	rflags |= BIT_ULL(18);
	regs[EMU_RBX] = 0x2001;
	expect_fault(17, 0);
	regs[EMU_RBX] = 0x2004;
	expect_done(0x1002);

	/* Code that runs off the segment, or into a page that is not there. */
	SETUP(32, 0x8b);
	e.seg[EMU_CS].limit = 0x1000;
	expect_fault(13, 0);
	setup(64, long_insn, 0);
	rip = 0x1fff;
	mem[0x1fff] = 0x8b;
	bad_page = 2;
	assert_int_equal(emulate_run(&e), EMU_FAULT);
	assert_int_equal(e.fault.vector, 14);
	assert_int_equal(e.fault.cr2, 0x2000);

	/* An instruction that ends with its page needs no other. */
	setup(64, long_insn, 0);
	rip = 0x1ffe;
	mem[0x1ffe] = 0x8b;
	mem[0x1fff] = 0x03;
	regs[EMU_RBX] = 0x3000;
	bad_page = 2;
	expect_done(0x2000);

	SETUP(64, 0x0f, 0x6f, 0x03);				/* movq mm0, [rbx] */
	assert_int_equal(emulate_run(&e), EMU_UNHANDLED);
	assert_int_equal(e.insn.opcode, 0x6f);
	assert_int_equal(rip, 0x1000);
}

static void test_trap_flag(void **state)
{
	(void)state;
	SETUP(64, 0xf3, 0xaa);
	regs[EMU_RDI] = 0x2000;
	regs[EMU_RCX] = 3;
	rflags |= 0x100 | BIT_ULL(16);
	assert_int_equal(emulate_run(&e), EMU_DONE);
	assert_true(e.trap);
	assert_int_equal(regs[EMU_RCX], 2);			/* a trap after each iteration */
	assert_int_equal(emulate_run(&e), EMU_DONE);
	assert_int_equal(emulate_run(&e), EMU_DONE);
	assert_int_equal(rip, 0x1002);
	assert_false(rflags & BIT_ULL(16));			/* RF ends with the instruction */
}

/* A signal at any callback, then again: the device sees each access once. */
static void test_interrupted(void **state)
{
	int n;

	(void)state;
	for (n = 1; n < 8; n++) {
		unsigned int reads = 0, writes = 0, i;
		u32 val = 0x0f0f0f0f;

		SETUP(64, 0x31, 0x03);				/* xor [rbx], eax */
		regs[EMU_RBX] = DEVICE;
		regs[EMU_RAX] = 0xff;
		interrupt_in = n;
		for (i = 0; i < 20; i++) {
			int ret = emulate_run(&e);

			if (ret == EMU_DONE)
				break;
			if (ret == -EINTR) {
				assert_int_equal(emulate_in_progress(&e), reads != 0);
				continue;
			}
			assert_int_equal(ret, EMU_MMIO);
			if (e.io.write) {
				writes++;
				memcpy(&val, e.io.data, 4);
			} else {
				reads++;
			}
			emulate_io_done(&e, &val);
		}
		assert_int_equal(reads, 1);
		assert_int_equal(writes, 1);
		assert_int_equal(val, 0x0f0f0ff0);
		assert_int_equal(rip, 0x1002);
	}
}

/* User space changes registers between the access and the next run. */
static void test_changed_registers(void **state)
{
	(void)state;
	SETUP(64, 0x8b, 0x03, 0x8b, 0x0b);			/* mov eax, [rbx]; mov ecx, [rbx] */
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 4, false, 1);
	rip = 0x1002;
	expect_device(emulate_run(&e), DEVICE, 4, false, 2);
	expect_done(0x1004);
	assert_int_equal(regs[EMU_RAX], 0);
	assert_int_equal(regs[EMU_RCX], 2);

	SETUP(64, 0x8b, 0x03);
	regs[EMU_RBX] = DEVICE;
	expect_device(emulate_run(&e), DEVICE, 4, false, 1);
	regs[EMU_RBX] = DEVICE + 8;				/* it is another access now */
	expect_device(emulate_run(&e), DEVICE + 8, 4, false, 3);
	expect_done(0x1002);
	assert_int_equal(regs[EMU_RAX], 3);
}

/* Lengths and operands of intercepted instructions. */
static void test_intercepted(void **state)
{
	(void)state;
	SETUP(64, 0x0f, 0x22, 0xd8);				/* mov cr3, rax */
	assert_int_equal(emulate_decode(&e), EMU_DONE);
	assert_int_equal(e.insn.op, INSN_MOV_TO_CR);
	assert_int_equal(e.insn.reg, 3);
	assert_int_equal(e.insn.rm, EMU_RAX);
	assert_int_equal(e.insn.len, 3);
	SETUP(64, 0x44, 0x0f, 0x20, 0xc3);			/* mov rbx, cr8 */
	assert_int_equal(emulate_decode(&e), EMU_DONE);
	assert_int_equal(e.insn.op, INSN_MOV_FROM_CR);
	assert_int_equal(e.insn.reg, 8);
	SETUP(64, 0x65, 0x0f, 0x01, 0x3c, 0xcb);		/* invlpg gs:[rbx+rcx*8] */
	regs[EMU_RBX] = 0x10;
	regs[EMU_RCX] = 2;
	e.seg[EMU_GS].base = 0xffff888000000000ULL;
	assert_int_equal(emulate_decode(&e), EMU_DONE);
	assert_int_equal(e.insn.op, INSN_INVLPG);
	assert_int_equal(emulate_linear(&e), 0xffff888000000020ULL);
	SETUP(16, 0x67, 0x0f, 0x01, 0x3b);			/* invlpg [ebx] in real mode */
	regs[EMU_RBX] = 0x123456;
	e.seg[EMU_DS].base = 0x10;
	assert_int_equal(emulate_decode(&e), EMU_DONE);
	assert_int_equal(emulate_linear(&e), 0x123466);
	SETUP(32, 0x0f, 0x30);
	assert_int_equal(emulate_decode(&e), EMU_DONE);
	assert_int_equal(e.insn.op, INSN_WRMSR);
}

/* 16 bytes reach a device in two accesses, 32 in four, misaligned ones across pages in pieces. */
static void test_vectors(void **state)
{
	unsigned int i;

	(void)state;
	SETUP(64, 0xf3, 0x44, 0x0f, 0x6f, 0x0b);		/* movdqu xmm9, [rbx] */
	e.cr4 |= BIT_ULL(9);
	regs[EMU_RBX] = DEVICE + 4;
	memset(vec, 0x77, sizeof(vec));
	expect_device(emulate_run(&e), DEVICE + 4, 8, false, 0x0102030405060708ULL);
	assert_int_equal(vec[9][0], 0x77);			/* nothing before all of it is there */
	expect_device(emulate_run(&e), DEVICE + 12, 8, false, 0x1112131415161718ULL);
	expect_done(0x1005);
	assert_int_equal(vec[9][0], 8);
	assert_int_equal(vec[9][15], 0x11);
	assert_int_equal(vec[9][16], 0x77);

	SETUP(32, 0xc5, 0xfe, 0x7f, 0x13);			/* vmovdqu [ebx], ymm2 */
	e.cr4 |= BIT_ULL(18);
	e.xcr0 = 7;
	regs[EMU_RBX] = DEVICE - 3;				/* three bytes of it in memory */
	for (i = 0; i < 32; i++)
		vec[2][i] = i;
	for (i = 0; i < 3; i++)
		expect_device(emulate_run(&e), DEVICE + 8 * i, 8, true,
			      0x0a09080706050403ULL + i * 0x0808080808080808ULL);
	expect_device(emulate_run(&e), DEVICE + 24, 4, true, 0x1e1d1c1b);
	expect_device(emulate_run(&e), DEVICE + 28, 1, true, 0x1f);
	expect_done(0x1004);
	assert_int_equal(mem[DEVICE - 1], 2);

	/* Who may not. */
	SETUP(64, 0x0f, 0x10, 0x03);				/* movups xmm0, [rbx] */
	expect_fault(6, -1);					/* CR4.OSFXSR is clear */
	SETUP(64, 0x0f, 0x10, 0x03);
	e.cr4 |= BIT_ULL(9);
	e.cr0 |= BIT_ULL(3);
	expect_fault(7, -1);
	SETUP(64, 0x0f, 0x28, 0x03);				/* movaps xmm0, [rbx] */
	e.cr4 |= BIT_ULL(9);
	regs[EMU_RBX] = DEVICE + 8;
	expect_fault(13, 0);
	SETUP(64, 0xc5, 0xf8, 0x10, 0x03);			/* vmovups xmm0, [rbx] */
	e.cr4 |= BIT_ULL(18);
	e.xcr0 = 3;
	expect_fault(6, -1);
	SETUP(17, 0xc5, 0xf8, 0x10, 0x07);			/* in virtual-8086 mode */
	e.cr4 |= BIT_ULL(18);
	e.xcr0 = 7;
	expect_fault(6, -1);
	SETUP(16, 0x0f, 0x10, 0x07);				/* movups xmm0, [bx] over the limit */
	e.cr4 |= BIT_ULL(9);
	regs[EMU_RBX] = 0xfff1;
	expect_fault(13, -1);
}

/* A locked exchange of 16 bytes on a device: all of it read, then all written. */
static void test_cmpxchg16b(void **state)
{
	(void)state;
	SETUP(64, 0xf0, 0x48, 0x0f, 0xc7, 0x0b);
	regs[EMU_RBX] = DEVICE;
	regs[EMU_RAX] = 1;
	regs[EMU_RDX] = 2;
	regs[EMU_RCX] = 4;
	expect_device(emulate_run(&e), DEVICE, 8, false, 1);
	expect_device(emulate_run(&e), DEVICE + 8, 8, false, 2);
	expect_device(emulate_run(&e), DEVICE, 8, true, DEVICE);
	expect_device(emulate_run(&e), DEVICE + 8, 8, true, 4);
	expect_done(0x1005);
	assert_true(rflags & 0x40);
	SETUP(64, 0x48, 0x0f, 0xc7, 0x0b);
	regs[EMU_RBX] = DEVICE + 8;
	expect_fault(13, 0);
}

/* Arithmetic in 16-bit code, and a division that has no result. */
static void test_16bit(void **state)
{
	(void)state;
	SETUP(16, 0xd1, 0x26, 0x00, 0x20);			/* shl word [0x2000], 1 */
	mem[0x2001] = 0xc0;
	expect_done(0x1004);
	assert_int_equal(mem[0x2001], 0x80);
	assert_int_equal(rflags & 1, 1);
	SETUP(16, 0x66, 0xf7, 0x36, 0x00, 0x20);		/* div dword [0x2000] */
	regs[EMU_RDX] = 1;
	mem[0x2000] = 1;
	expect_fault(0, -1);
	SETUP(16, 0xf6, 0x3e, 0x00, 0x20);			/* idiv byte [0x2000] */
	regs[EMU_RAX] = 0xff80;
	mem[0x2000] = 1;
	expect_done(0x1004);
	assert_int_equal(regs[EMU_RAX], 0x80);			/* -128, rest 0 */
	SETUP(16, 0xf6, 0x3e, 0x00, 0x20);
	regs[EMU_RAX] = 0x80;
	mem[0x2000] = 1;
	expect_fault(0, -1);					/* 128 is too large */
	SETUP(16, 0x0f, 0x44, 0x06, 0x00, 0x20);		/* cmovz ax, [0x2000] */
	mem[0x2000] = 0x34;
	regs[EMU_RAX] = 0x11112222;
	rflags |= 0x40;
	expect_done(0x1005);
	assert_int_equal(regs[EMU_RAX], 0x11110034);
}

/* What is not emulated says so, and which bytes it was. */
static void test_unhandled(void **state)
{
	(void)state;
	SETUP(64, 0xd9, 0x03, 0xf4);				/* fld dword [rbx] */
	assert_int_equal(emulate_run(&e), EMU_UNHANDLED);
	assert_int_equal(e.nr_bytes, INSN_MAX_LEN);
	assert_int_equal(e.bytes[0], 0xd9);
	assert_int_equal(rip, 0x1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_read_and_write), cmocka_unit_test(test_device_rmw),
		cmocka_unit_test(test_device_to_stack), cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_ports), cmocka_unit_test(test_segments),
		cmocka_unit_test(test_canonical), cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_trap_flag), cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_changed_registers), cmocka_unit_test(test_intercepted),
		cmocka_unit_test(test_vectors), cmocka_unit_test(test_cmpxchg16b),
		cmocka_unit_test(test_16bit), cmocka_unit_test(test_unhandled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
