// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the guest is told of the machine: ACPI tables (sums, content, and iasl's
 * opinion), the memory map, CPUID topology.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../acpi.h"
#include "../cpuid.h"

#define MB	(1ULL << 20)
#define GB	(1ULL << 30)

static uint8_t buf[ACPI_SIZE];

static struct vm_conf make_conf(unsigned int nodes, unsigned int vcpus, uint64_t memory)
{
	struct vm_conf c = { .nr_nodes = nodes, .memory = nodes * memory };
	unsigned int i;

	for (i = 0; i < nodes; i++) {
		c.node[i].vcpus = vcpus;
		c.node[i].memory = memory;
	}
	return c;
}

static uint64_t get(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* A table by its signature, after checks of its place, length and sum. */
static const uint8_t *find_table(const char *signature, size_t used)
{
	const uint8_t *xsdt = buf + get(buf + 24, 8) - ACPI_BASE, *t;
	unsigned int i, n = (get(xsdt + 4, 4) - 36) / 8;

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, get(xsdt + 4, 4)), 0);
	for (i = 0; i < n; i++) {
		uint64_t at = get(xsdt + 36 + i * 8, 8);

		assert_in_range(at, ACPI_BASE, ACPI_BASE + used - 36);
		t = buf + at - ACPI_BASE;
		assert_true(at - ACPI_BASE + get(t + 4, 4) <= used);
		assert_int_equal(sum(t, get(t + 4, 4)), 0);
		if (!memcmp(t, signature, 4))
			return t;
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static size_t build(const struct vm_conf *c)
{
	size_t used;

	memset(buf, 0xcc, sizeof(buf));
	used = acpi_build(c, buf, sizeof(buf), ACPI_BASE);
	assert_true(used > 0 && used <= sizeof(buf));
	assert_memory_equal(buf, "RSD PTR ", 8);
	assert_int_equal(sum(buf, 20), 0);
	assert_int_equal(sum(buf, 36), 0);
	return used;
}

/* iasl must disassemble the table and compile the result again without remarks. */
static void iasl(const uint8_t *table, const char *name)
{
	char dir[] = "/tmp/cvmm-acpi-XXXXXX", cmd[512], path[128];
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(table, 1, get(table + 4, 4), f), get(table + 4, 4));
	fclose(f);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d %s.aml >log 2>&1 && iasl -we -p again %s.dsl >>log 2>&1 && "
		 "! grep -iE 'warning +[0-9]|remark +[0-9]|invalid|unknown|incorrect' log",
		 dir, name, name);
	if (system(cmd)) {
		snprintf(cmd, sizeof(cmd), "cat %s/log; rm -r %s", dir, dir);
		if (system(cmd))
			print_message("(no log)\n");
		fail_msg("iasl does not like %s", name);
	}
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

static void test_iasl(void **state)
{
	struct vm_conf c = make_conf(2, 2, 512 * MB);
	size_t used = build(&c);
	const uint8_t *fadt = find_table("FACP", used);

	(void)state;
	if (system("iasl -v >/dev/null 2>&1"))
		fail_msg("iasl is not installed: run scripts/deps");
	iasl(fadt, "facp");
	iasl(find_table("APIC", used), "apic");
	iasl(find_table("SRAT", used), "srat");
	iasl(find_table("SLIT", used), "slit");
	assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
	iasl(buf + get(fadt + 40, 4) - ACPI_BASE, "dsdt");
	assert_int_equal(get(fadt + 36, 4) % 64, 0);
	assert_memory_equal(buf + get(fadt + 36, 4) - ACPI_BASE, "FACS", 4);
}

static void test_numa(void **state)
{
	struct vm_conf c = make_conf(3, 2, 1536 * MB);
	size_t used = build(&c);
	const uint8_t *srat = find_table("SRAT", used), *slit = find_table("SLIT", used);
	const uint8_t *p = srat + 48, *end = srat + get(srat + 4, 4);
	unsigned int cpus = 0, mems = 0;
	uint64_t total = 0;

	(void)state;
	for (; p < end; p += p[1]) {
		assert_true(p[1] > 0 && p + p[1] <= end);
		if (p[0] == 0) {
			assert_int_equal(p[3], cpus);
			assert_int_equal(p[2], cpus / 2);
			cpus++;
		} else {
			assert_int_equal(p[0], 1);
			total += get(p + 16, 8);
			mems++;
		}
	}
	assert_int_equal(cpus, 6);
	assert_int_equal(mems, 3);	/* 3 GiB end exactly with the second node */
	assert_int_equal(total, c.memory);
	assert_int_equal(get(slit + 36, 8), 3);
	assert_int_equal(slit[44], 10);
	assert_true(slit[45] > 30);
}

static void test_largest(void **state)
{
	struct vm_conf c = make_conf(64, 3, 64 * MB);

	(void)state;
	c.node[0].vcpus = 255 - 63 * 3;
	assert_int_equal(conf_nr_vcpus(&c), 255);
	build(&c);
	/* Never beyond its buffer. */
	for (size_t size = 0; size < 2048; size += 7) {
		uint8_t *small = malloc(size ? size : 1);

		assert_int_equal(acpi_build(&c, small, size, ACPI_BASE), 0);
		free(small);
	}
}

static void test_ram_map(void **state)
{
	struct ram_range r[8];
	struct vm_conf c = make_conf(2, 1, 2 * GB);

	(void)state;
	assert_int_equal(machine_ram_map(&c, r, 8), 3);
	assert_true(r[0].gpa == 0 && r[0].size == 2 * GB && r[0].node == 0);
	assert_true(r[1].gpa == 2 * GB && r[1].size == 1 * GB && r[1].node == 1);
	assert_true(r[2].gpa == 4 * GB && r[2].size == 1 * GB && r[2].node == 1);
	assert_int_equal(machine_ram_map(&c, r, 2), 2);
	c = make_conf(2, 1, 3 * GB);
	assert_int_equal(machine_ram_map(&c, r, 8), 2);
	assert_true(r[1].gpa == 4 * GB && r[1].size == 3 * GB && r[1].node == 1);
	c = make_conf(1, 1, 64 * MB);
	assert_int_equal(machine_ram_map(&c, r, 8), 1);
}

static void test_packages(void **state)
{
	static const struct { unsigned int n, vcpus[4], shift; } cases[] = {
		{ 1, { 1 }, 0 }, { 1, { 2 }, 1 }, { 1, { 3 }, 2 }, { 1, { 8 }, 3 },
		{ 2, { 2, 2 }, 1 }, { 4, { 1, 1, 1, 1 }, 0 }, { 2, { 4, 4 }, 2 },
		{ 2, { 3, 3 }, 0 }, { 2, { 2, 4 }, 1 }, { 2, { 4, 2 }, 2 }, { 3, { 4, 2, 2 }, 1 },
	};
	unsigned int i, j, k, first, shift;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vm_conf c = { .nr_nodes = cases[i].n };
		unsigned int node_of[64] = { 0 };

		for (j = 0; j < cases[i].n; j++)
			c.node[j].vcpus = cases[i].vcpus[j];
		shift = cpuid_package_shift(&c);
		assert_int_equal(shift, cases[i].shift);
		/* No package in two nodes. */
		for (j = 0, first = 0; j < cases[i].n; j++) {
			for (k = 0; k < cases[i].vcpus[j]; k++)
				node_of[first + k] = j;
			first += k;
		}
		for (j = 0; j < first; j++)
			assert_int_equal(node_of[j], node_of[j >> shift << shift]);
	}
}

static const struct kvm_cpuid_entry2 *leaf(const struct cpuid_table *t, uint32_t fn, uint32_t index)
{
	unsigned int i;

	for (i = 0; i < t->head.nent; i++) {
		if (t->entry[i].function == fn && t->entry[i].index == index)
			return &t->entry[i];
	}
	return NULL;
}

static void test_cpuid(void **state)
{
	static struct cpuid_table t;
	struct vm_conf c = make_conf(2, 2, 512 * MB);
	static const uint32_t functions[] = { 0, 1, 5, 6, 7, 0xa, 0xb, 0x40000000, 0x40000001, 0x80000000,
		0x80000001, 0x80000007, 0x80000008, 0x8000000a, 0x8000001e };
	unsigned int i;

	(void)state;
	memset(&t, 0, sizeof(t));
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		t.entry[t.head.nent++] = (struct kvm_cpuid_entry2){
			.function = functions[i], .eax = ~0U, .ebx = ~0U, .ecx = ~0U, .edx = ~0U };
	assert_int_equal(cpuid_apply_policy(&t, &c, 3, 2500000), 0);
	assert_int_equal(leaf(&t, 1, 0)->ebx >> 24, 3);
	assert_int_equal(leaf(&t, 1, 0)->ecx & (1 << 3 | 1 << 5 | 1 << 17), 0);	/* MONITOR, VMX, PCID */
	assert_int_equal(leaf(&t, 7, 0)->ebx & (1 << 10), 0);			/* INVPCID */
	assert_int_equal(leaf(&t, 7, 0)->ecx & (1 << 16), 0);			/* LA57 */
	assert_int_equal(leaf(&t, 0x80000001, 0)->ecx & (1 << 2), 0);		/* SVM */
	assert_int_equal(leaf(&t, 0x80000007, 0)->edx, 1 << 8);
	assert_int_equal(leaf(&t, 0x80000008, 0)->ecx, 1 << 12 | 1);
	assert_int_equal(leaf(&t, 0xb, 1)->eax, 1);
	assert_int_equal(leaf(&t, 0xb, 1)->edx, 3);
	assert_int_equal(leaf(&t, 0x40000000, 0)->eax, 0x40000010);
	assert_memory_equal(&leaf(&t, 0x40000000, 0)->ebx, "VMwareVMware", 12);
	assert_int_equal(leaf(&t, 0x40000010, 0)->eax, 2500000);
	assert_null(leaf(&t, 0x40000001, 0));
	assert_null(leaf(&t, 0xa, 0));
	/* No room: an error, not an overrun. */
	t.head.nent = CPUID_MAX_ENTRIES;
	for (i = 0; i < CPUID_MAX_ENTRIES; i++)
		t.entry[i].function = 0x1000 + i;
	assert_int_equal(cpuid_apply_policy(&t, &c, 0, 1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iasl),
		cmocka_unit_test(test_numa),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_ram_map),
		cmocka_unit_test(test_packages),
		cmocka_unit_test(test_cpuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
