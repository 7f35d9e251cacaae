# SPDX-License-Identifier: GPL-2.0-or-later
# cvmm: the kernel module, the programs, the tests.  "make help" lists what can
# be made.  Everything that is built goes below build/.

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# Where all products go.  (O on the command line would be kbuild's.)
BUILD	?= build
O	:= $(BUILD)
PREFIX	?= /usr/local
DESTDIR	?=

# ---- the module -------------------------------------------------------------

# By default for the running kernel if its headers are here, else for Linux 6.1.
# KVER may be a series: "make KVER=6.12".
KVER	?= $(if $(wildcard /lib/modules/$(shell uname -r)/build/Makefile),$(shell uname -r),6.1)
KNAME	:= $(if $(wildcard /lib/modules/$(KVER)/build/Makefile),$(KVER),$(shell scripts/kernels --version $(KVER) 2>/dev/null))
KDIR	?= $(if $(KNAME),$(shell scripts/kernels --headers $(KNAME) 2>/dev/null))
KOUT	:= $(O)/kmod-$(KNAME)
MODSRC	:= Kbuild $(shell find kmod dsm include -name '*.[chS]' ! -path '*/tests/*')
KMAKE	 = $(MAKE) -C $(KDIR) M=$(CURDIR)/$(KOUT)

.PHONY: all module programs
all: $(if $(wildcard kmod/main.c),module) programs

module: check-kdir
	@mkdir -p $(addprefix $(KOUT)/,$(sort $(dir $(MODSRC))))
	@find $(KOUT) -xtype l -delete
	@for f in $(MODSRC); do \
		[ -L $(KOUT)/$$f ] || ln -s $(CURDIR)/$$f $(KOUT)/$$f || exit; \
	done
	@+$(KMAKE) modules

.PHONY: check-kdir
check-kdir:
	@[ -n "$(KDIR)" ] || { echo "no headers of kernel '$(KVER)': install them, or run scripts/kernels $(KVER)" >&2; exit 1; }

# ---- programs ---------------------------------------------------------------

CC	?= gcc
CFLAGS	?= -O2 -g
ifeq ($(origin CC),default)
CC	:= gcc
endif
UFLAGS	:= -std=gnu17 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -Iinclude/uapi
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

pkg-cflags = $(if $(1),$(shell pkg-config --cflags $(1)))
pkg-libs   = $(if $(1),$(shell pkg-config --libs $(1)))

# Objects of sources, plain and with sanitizers.
objs	= $(patsubst %.c,$(O)/obj/%.o,$(1))
tobjs	= $(patsubst %.c,$(O)/san/%.o,$(1))

$(O)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) $(CFLAGS) $($(firstword $(subst /, ,$*))-cflags) -MMD -MP -c -o $@ $<

$(O)/san/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) -O1 -g $(SANITIZE) $($(firstword $(subst /, ,$*))-cflags) -MMD -MP -c -o $@ $<

PROGRAMS :=
TESTS	 :=

# $(call program,NAME,SOURCES,PKG-CONFIG NAMES,LIBS): build/NAME
define program_
PROGRAMS += $(O)/$(1)
$(O)/$(1): $(call objs,$(2))
	$$(CC) $$(CFLAGS) $$(LDFLAGS) -Wl,--as-needed -o $$@ $$^ $(4) $$(call pkg-libs,$(3))
endef
program = $(eval $(call program_,$(1),$(2),$(3),$(4)))

# $(call test,NAME,SOURCES,PKG-CONFIG NAMES,LIBS): build/tests/NAME, a cmocka
# program with address and undefined-behaviour sanitizers that "make check" runs.
define test_
TESTS += $(O)/tests/$(1)
$(O)/tests/$(1): $(call tobjs,$(2))
	@mkdir -p $$(@D)
	$$(CC) $$(SANITIZE) -Wl,--as-needed -o $$@ $$^ $(4) -lcmocka $$(call pkg-libs,$(3))
endef
test = $(eval $(call test_,$(1),$(2),$(3),$(4)))

# A folder may have a build.mk that says:
#   FOLDER-cflags     extra compiler flags of its user-space objects
#   FOLDER-pkgs       libraries by pkg-config name
#   FOLDER-lib        sources its unit tests link with
# and may call program and test (above) for more.  Each FOLDER/tests/test_X.c is
# a unit test FOLDER/test_X, linked with FOLDER-lib and the other .c files
# of FOLDER/tests.
vmmd-pkgs := gnutls jansson libconfig libibverbs libnl-3.0 libnl-genl-3.0 librdmacm libseccomp
vmmd-ctl := $(wildcard vmmd/ctl*.c)
vmmd-mains := vmmd/main.c vmmd/run.c $(vmmd-ctl)
# The module's part of the local APIC, too.
vmmd-lib := $(filter-out $(vmmd-mains),$(wildcard vmmd/*.c)) kmod/vapic.c
dsm-lib := $(wildcard dsm/*.c)
kmod-lib :=

FOLDERS := dsm kmod vmmd
include $(wildcard $(FOLDERS:=/build.mk) $(FOLDERS:=/tests/build.mk) selftests/*/build.mk)

$(foreach d,$(FOLDERS),$(eval $(d)-cflags += $(call pkg-cflags,$($(d)-pkgs))))

vmmd-program = $(if $(wildcard $(2)),$(call program,$(1),$(2) $(vmmd-lib),$(vmmd-pkgs),-pthread $(vmmd-libs)))
$(call vmmd-program,vmmd,vmmd/main.c)
$(call vmmd-program,cvmm-run,vmmd/run.c)
$(call vmmd-program,cvmm,$(vmmd-ctl))

folder-tests = $(foreach t,$(wildcard $(1)/tests/test_*.c),$(call test,$(1)/$(basename $(notdir $(t))),$(t) \
	$(filter-out $(wildcard $(1)/tests/test_*.c),$(wildcard $(1)/tests/*.c)) $($(1)-lib),$($(1)-pkgs),-pthread $($(1)-libs)))
$(foreach d,$(FOLDERS),$(call folder-tests,$(d)))

programs: $(PROGRAMS)

-include $(shell find $(O)/obj $(O)/san -name '*.d' 2>/dev/null)

# ---- guest ------------------------------------------------------------------

include $(wildcard guest/build.mk)

# ---- install ----------------------------------------------------------------

MAN := $(wildcard vmmd/*.[1-8])

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/include/linux
	$(foreach p,$(filter $(O)/vmmd,$(PROGRAMS)),install -m 755 $(p) $(DESTDIR)$(PREFIX)/sbin/;)
	$(foreach p,$(filter $(O)/cvmm $(O)/cvmm-run,$(PROGRAMS)),install -m 755 $(p) $(DESTDIR)$(PREFIX)/bin/;)
	install -m 644 include/uapi/linux/*.h $(DESTDIR)$(PREFIX)/include/linux/
	$(foreach m,$(MAN),install -D -m 644 $(m) $(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(m)))/$(notdir $(m));)
	$(foreach m,$(wildcard $(KOUT)/*.ko),install -D -m 644 $(m) $(DESTDIR)/lib/modules/$(KNAME)/updates/$(notdir $(m));)
	$(if $(DESTDIR),,depmod $(KNAME))

# ---- tests ------------------------------------------------------------------

.PHONY: check check-long check-debug debug-kernel check-unit tests deps modules-all
deps:
	@scripts/deps
	@scripts/kernels >/dev/null

tests: $(TESTS)

# Set-up, both kernels, everything, all tests.
check: deps
	@+$(MAKE) --no-print-directory check-built

.PHONY: check-built
check-built: modules-all programs tests guest
	@CVMM_UNIT_TESTS="$(TESTS)" selftests/run $(T)

# What takes too long for every change or is not yet known to be steady.
check-long: deps modules-all programs guest
	@selftests/run --long $(T)

# On a kernel that checks itself, and is slow: tests of one host with one CPU; with
# SAN=kcsan on one that finds data races, of one with two.
SAN	?= debug
SAN_TESTS_debug := module-load space-local space-messages space-failure space-fuzz space-cycle \
	       space-pair space-stress space-rdma space-rdma-remove engine-tiny engine-memory engine-large engine-state engine-apic engine-fuzz \
	       bare-cvmm guest-cvmm no-memory planted
SAN_TESTS_kcsan := space-stress-smp guest-cvmm-smp

check-debug: deps debug-kernel
	@+$(MAKE) --no-print-directory module programs guest planted KVER=$(SAN)
	@selftests/run -k $(SAN) -x 5 $(or $(T),$(SAN_TESTS_$(SAN)))

debug-kernel:
	@scripts/debug-kernel $(SAN)

# The kernel's own tests of KVM, on our engine and on KVM.
.PHONY: check-kselftest
check-kselftest: deps
	@+$(MAKE) --no-print-directory module kselftest KVER=6.1
	@selftests/run -f selftests/kselftest/tests.list $(T)

check-unit: $(TESTS)
	@CVMM_UNIT_TESTS="$(TESTS)" selftests/run --unit

# The model of the coherence protocol; model-full takes many minutes.
.PHONY: model model-full
model:
	@BUILD=$(O) dsm/model/run.sh

model-full:
	@BUILD=$(O) dsm/model/run.sh -l

# What peers and strangers may send, to all that decodes it: FUZZ inputs of each kind.
.PHONY: fuzz
FUZZ ?= 1000000
fuzz: $(addprefix $(O)/tests/,vmmd/test_proto vmmd/test_tls kmod/test_rdma_wire) \
	$(O)/dsm-fuzz-wire $(O)/dsm-fuzz-core
	$(O)/tests/kmod/test_rdma_wire
	$(O)/dsm-fuzz-wire $(FUZZ)
	$(O)/dsm-fuzz-core $(FUZZ)
	CVMM_FUZZ_ROUNDS=$(FUZZ) $(O)/tests/vmmd/test_proto
	CVMM_FUZZ_ROUNDS=$(FUZZ) $(O)/tests/vmmd/test_tls

modules-all:
	@+$(MAKE) --no-print-directory module KVER=6.1
	@+$(MAKE) --no-print-directory module KVER=6.12

# ---- measurements -----------------------------------------------------------

# Our engine against the kernel's on one emulated host; build/bench.json.
BENCH_ROUNDS ?= 3
BENCH_CPUS ?= 1

.PHONY: bench bench-built
bench: deps
	@+$(MAKE) --no-print-directory bench-built KVER=6.1

bench-built: module programs guest
	rm -rf $(O)/bench
	scripts/hosts run -q -n 1 -c $(BENCH_CPUS) -k 6.1 -t 3600 -o $(O)/bench -- \
		selftests/bench/engine.sh $(BENCH_ROUNDS)
	selftests/bench/report -o $(O)/bench.json $(O)/bench/host0/results

# Workloads in a guest of two vCPUs on stock KVM, on our engine, and on two hosts
# (BENCH_HOSTS="2 4": and on four, one vCPU each); build/bench-guest.json, .svg.
BENCH_HOSTS ?= 2

.PHONY: bench-guest bench-guest-built
bench-guest:
	@scripts/deps build hosts bench
	@scripts/kernels >/dev/null
	@+$(MAKE) --no-print-directory bench-guest-built KVER=6.1

bench-guest-run = scripts/hosts run -q -n $(2) -k 6.1 -t 1800 -o $(O)/bench-guest/$(1) -- selftests/bench/guest.sh $(3)

bench-guest-built: module programs guest $(O)/bench-guest.img
	rm -rf $(O)/bench-guest/kvm $(O)/bench-guest/cvmm*
	$(call bench-guest-run,kvm,1,kvm 2)
	$(call bench-guest-run,cvmm,1,cvmm 2)
	for n in $(BENCH_HOSTS); do $(call bench-guest-run,cvmm-$$n,$$n,cvmm 1) || exit; done
	selftests/bench/guest-report -o $(O)/bench-guest.json -p $(O)/bench-guest.svg \
		$(foreach c,kvm cvmm $(BENCH_HOSTS:%=cvmm-%),$(c)=$(O)/bench-guest/$(c))

# Remote faults beside raw round trips of the same bytes; build/bench-links.json.
.PHONY: bench-links bench-links-built
bench-links: deps
	@+$(MAKE) --no-print-directory bench-links-built KVER=6.1

bench-links-built: module programs
	rm -rf $(O)/bench-links
	scripts/hosts run -q -n 2 -k 6.1 -t 1200 -o $(O)/bench-links -- selftests/bench/links.sh $(BENCH_ROUNDS)
	@grep '^#' $(O)/bench-links/host0.log
	@cp $(O)/bench-links/host0/links.json $(O)/bench-links.json

# ---- the demo ---------------------------------------------------------------

.PHONY: demo demo-built
demo: deps
	@+$(MAKE) --no-print-directory demo-built KVER=6.1

demo-built: module programs guest
	scripts/demo

.PHONY: clean distclean help
# build/cache keeps downloads.
clean:
	@[ ! -d $(O) ] || find $(O) -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +

distclean:
	rm -rf $(O)

help:
	@echo 'make                the module and the programs'
	@echo 'make demo           set-up, build, two emulated hosts, one guest across both'
	@echo 'make check          set-up, build for Linux 6.1 and 6.12, all tests'
	@echo '                    (some: make check T="NAME PATTERN...")'
	@echo 'make check-unit     the unit tests alone'
	@echo 'make check-long     tests that take long (selftests/long.list)'
	@echo 'make bench          our engine against KVM, in BENCH_ROUNDS=$(BENCH_ROUNDS) rounds on one'
	@echo '                    emulated host of BENCH_CPUS=$(BENCH_CPUS); also in build/bench.json'
	@echo 'make bench-links    remote faults beside raw round trips, TCP and RDMA'
	@echo 'make bench-guest    workloads on stock KVM, on our engine, on BENCH_HOSTS="$(BENCH_HOSTS)" emulated'
	@echo '                    hosts: time, faults, bytes; also in build/bench-guest.json and .svg'
	@echo 'make model          the coherence protocol, model-checked (model-full: longer)'
	@echo 'make bench-sim      messages, bytes and latencies of 2 to 64 simulated hosts'
	@echo 'make soak           its simulator and fuzzers, for long (SEEDS=1000 SEED=1: 64 hosts)'
	@echo 'make fuzz           what peers and strangers may send, FUZZ=$(FUZZ) inputs of each kind'
	@echo 'make check-debug    the tests on a kernel with lockdep, KASAN and the like,'
	@echo '                    which it builds first (make debug-kernel); SAN=kcsan: data races'
	@echo 'make check-kselftest  the KVM selftests of the kernel source, on our engine and on KVM'
	@echo 'make module         cvmm.ko, in $(KOUT)'
	@echo 'make programs       vmmd, cvmm-run, cvmm, in build/'
	@echo 'make guest          build/guest.img, the initramfs of the demo and the tests'
	@echo 'make install        with PREFIX=$(PREFIX), DESTDIR='
	@echo 'make deps           install the Debian packages that all this needs'
	@echo 'make clean          remove what was built (distclean: downloads too)'
	@echo
	@echo 'KVER=6.1|6.12|debug|kcsan|VERSION  kernel to build the module for ($(KNAME))'
	@echo 'W=1  C=2                more compiler warnings; sparse'
