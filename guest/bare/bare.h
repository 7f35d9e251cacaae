/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the bare-metal test images: what a test may use.
 *
 * An image is this runtime and one file of tests/, whose test() is called on
 * the boot CPU with interrupts off, all CPUs up (others wait for run_on()), one
 * identity mapping of the first 4 GiB, and an IDT that counts interrupts and
 * lets a test catch exceptions.  Results go to the serial port as TAP behind
 * "cvmm: ", ended like guest/init.c does.  Then the machine is powered off, or
 * what cvmm.end= on the command line says: poweroff, reset (port 0xcf9), kbd
 * (keyboard controller), triple (fault) or halt.
 */
#ifndef BARE_H
#define BARE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS	64
#define PAGE_SIZE	4096ul

#define SEL_CODE32	0x08
#define SEL_DATA	0x10
#define SEL_CODE64	0x18
#define SEL_UDATA	0x23
#define SEL_UCODE64	0x2b
#define SEL_ABSENT	0x40
#define SEL_TSS		0x48

/* --- instructions --- */

static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" :: "a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint16_t inw(uint16_t port) { uint16_t v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint32_t inl(uint16_t port) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" :: "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }
static inline void sti(void) { __asm__ volatile("sti; nop" ::: "memory"); }
static inline void cli(void) { __asm__ volatile("cli" ::: "memory"); }
static inline void invlpg(const void *p) { __asm__ volatile("invlpg (%0)" :: "r"(p) : "memory"); }

#define READ_CR(n) ({ uint64_t v_; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); v_; })
#define WRITE_CR(n, v) __asm__ volatile("mov %0, %%cr" #n :: "r"((uint64_t)(v)) : "memory")

#define MSR_APIC_BASE	0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_PAT		0x277
#define MSR_EFER	0xc0000080
#define MSR_STAR	0xc0000081
#define MSR_LSTAR	0xc0000082
#define MSR_SFMASK	0xc0000084
#define MSR_FS_BASE	0xc0000100
#define MSR_GS_BASE	0xc0000101
#define MSR_KERNEL_GS	0xc0000102
#define MSR_TSC_AUX	0xc0000103

static inline uint32_t mmio_read(uint64_t addr) { return *(volatile uint32_t *)addr; }
static inline void mmio_write(uint64_t addr, uint32_t v) { *(volatile uint32_t *)addr = v; }

void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

/* --- output and verdicts (console.c) --- */

void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));	/* one "cvmm: " line */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));	/* "# ..." */
bool ok(bool pass, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *what, const char *why);
void serial_raw(const char *s, size_t len);				/* no prefix, no newline */
unsigned int finish_tap(void);						/* plan and end line; how many failed */

/* --- the platform (platform.c) --- */

struct platform {
	const char *cmdline;
	uint64_t rsdp;
	uint32_t lapic, ioapic, ioapic_gsi;
	uint16_t pm1a_cnt, pm_timer;		/* ports, 0 if there are none */
	bool pm_timer_32bit;
	uint8_t s5_type;
	uint32_t uart_gsi;			/* ISA interrupt 4 after overrides */
	unsigned int cpus;			/* enabled in the MADT */
	uint32_t apic_id[MAX_CPUS];
	uint64_t tsc_khz;			/* measured against the PM timer */
};

extern struct platform platform;
void platform_init(const uint8_t *boot_params);
uint32_t pm_timer_read(void);
bool cmdline_has(const char *word);		/* a word that starts with @word */
bool is_tcg(void);				/* QEMU without a hypervisor: lenient in places */
bool is_tcg_cpu(void);				/* QEMU's emulation, maybe below a hypervisor */
void delay_us(uint64_t us);
uint64_t us_since(uint64_t tsc);
void machine_end(void) __attribute__((noreturn));

/* Wait until @cond or @us have passed; whether @cond came true. */
#define wait_for(cond, us) ({						\
	uint64_t start_ = rdtsc();					\
	bool true_;							\
	while (!(true_ = (cond)) && us_since(start_) < (us))		\
		pause();						\
	true_ || (cond);						\
})

/* --- exceptions and interrupts (idt.c) --- */

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* What the last caught exception on this CPU was. */
struct trap {
	uint64_t vector, error, cr2, rip, dr6, cs;
};

#define NO_TRAP 0xffff

void idt_init(void);
void idt_load(void);
void set_gate(unsigned int vector, uint64_t handler, unsigned int dpl, unsigned int ist);
void set_gate_absent(unsigned int vector);
/* Called instead of the default; ends the interrupt itself if it is one. */
void set_handler(unsigned int vector, void (*fn)(struct frame *f));

/*
 * Run the instruction(s) @insn with input operands %1, %2...; yields struct trap, whose
 * vector is NO_TRAP when nothing happened.  %rax is clobbered.
 */
#define TRY(insn, ...) ({							\
	struct cpu *c_ = this_cpu();						\
	c_->trap.vector = NO_TRAP;						\
	__asm__ volatile("leaq 9f(%%rip), %%rax\n\tmovq %%rax, %%gs:%c[resume]\n\t" insn \
		"\n9:\tmovq $0, %%gs:%c[resume]"				\
		:: [resume] "i"(offsetof(struct cpu, resume)), ##__VA_ARGS__ : "rax", "memory", "cc"); \
	c_->trap;								\
})

/*
 * Run the code at @rip with another code and stack segment, interrupts off, RDI =
 * @rdi, until the exception that it must end with.  in_ring3(): 64-bit code in
 * ring 3, where HLT is #GP.  (enter.c)
 */
struct trap in_code(uint16_t cs, uint16_t ss, uint64_t rip, uint64_t rdi);
static inline struct trap in_ring3(uint64_t rip, uint64_t rdi)
{
	return in_code(SEL_UCODE64, SEL_UDATA, rip, rdi);
}

/* --- CPUs (smp.c) --- */

struct cpu {
	struct cpu *self;			/* at GS:0 */
	uint64_t resume;			/* where to go on after a trapped exception; 0: not expected */
	unsigned int index;			/* 0 is the boot CPU */
	uint32_t apic_id;
	struct trap trap;
	bool x2apic;
	bool no_auto_eoi;			/* interrupts are not ended by the default handler */
	volatile unsigned int hits[256];	/* interrupts and unexpected vectors, by vector */
	volatile uint64_t last_hit_tsc;
	void (*volatile fn)(void *arg);
	void *volatile arg;
	volatile unsigned int started;		/* times it came through ap_main() */
	uint64_t tss[16];
	uint64_t ist_stack[512];
};

extern struct cpu cpus[MAX_CPUS];
extern unsigned int n_cpus;			/* that are up */

static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(c));
	return c;
}

void cpu_init(struct cpu *c, unsigned int index);
void smp_init(void);
/* Run fn(arg) on CPU @index, interrupts on there; returns at once. */
void start_on(unsigned int index, void (*fn)(void *arg), void *arg);
/* Has it returned? */
bool is_idle(unsigned int index);
bool run_on(unsigned int index, void (*fn)(void *arg), void *arg);	/* both; false after 10 s */
bool ap_restart(unsigned int index);		/* INIT, STARTUP, STARTUP; false if it does not come */
#ifndef AP_BASE
#error AP_BASE comes from build.mk
#endif

/* --- the local APIC (apic.c) --- */

enum {
	APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0,
	APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180,
	APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300, APIC_ICR2 = 0x310, APIC_LVTT = 0x320,
	APIC_LVT_PERF = 0x340, APIC_LINT0 = 0x350, APIC_LINT1 = 0x360, APIC_LVT_ERR = 0x370,
	APIC_TMICT = 0x380, APIC_TMCCT = 0x390, APIC_TDCR = 0x3e0, APIC_SELF = 0x3f0,
};

#define ICR_FIXED	0x000
#define ICR_LOWEST	0x100
#define ICR_NMI		0x400
#define ICR_INIT	0x500
#define ICR_STARTUP	0x600
#define ICR_LOGICAL	0x800
#define ICR_ASSERT	0x4000
#define ICR_LEVEL	0x8000
#define ICR_SELF	0x40000
#define ICR_ALL		0x80000
#define ICR_OTHERS	0xc0000

#define LVT_MASKED	0x10000
#define LVT_PERIODIC	0x20000
#define LVT_DEADLINE	0x40000

#define VEC_SPURIOUS	0xff

void apic_init(void);			/* this CPU: software-enabled, all LVTs masked, TPR 0 */
bool apic_enter_x2apic(void);		/* this CPU; false if it has none */
uint32_t apic_read(unsigned int reg);
void apic_write(unsigned int reg, uint32_t v);
void apic_icr(uint32_t dest, uint32_t low);	/* waits until it is sent */
bool apic_bit(unsigned int bank, unsigned int vector);	/* of APIC_ISR, APIC_TMR or APIC_IRR */
void apic_eoi(void);

void test(void);

#endif /* BARE_H */
