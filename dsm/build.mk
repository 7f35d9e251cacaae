# SPDX-License-Identifier: GPL-2.0-or-later
# The coherence core's simulator, fuzzers and tests.  The core itself (dsm/*.c)
# goes into cvmm.ko through Kbuild and into every program here.

DSM_SIM := $(filter-out dsm/sim/bench.c,$(wildcard dsm/*.[ch] dsm/sim/*.[ch]))

# dsm-sim-bugs is the simulator with the deliberate bugs that prove its oracle.
$(O)/dsm-sim: $(DSM_SIM)
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) $(CFLAGS) -O3 -flto -DDSM_TEST_MARKS -o $@ $(filter %.c,$^)

$(O)/dsm-sim-san: $(DSM_SIM)
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) -O1 -g $(SANITIZE) -o $@ $(filter %.c,$^)

$(O)/dsm-sim-bugs: $(DSM_SIM)
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) $(CFLAGS) -DDSM_TEST_BUGS -o $@ $(filter %.c,$^)

# The protocol over a simulated fabric: tables to the terminal, JSON to build/.
$(O)/dsm-bench: $(wildcard dsm/*.[ch]) dsm/sim/bench.c $(filter-out dsm/sim/main.c,$(wildcard dsm/sim/*.[ch]))
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) $(CFLAGS) -O3 -flto -o $@ $(sort $(filter %.c,$^))

.PHONY: bench-sim
bench-sim: $(O)/dsm-bench
	$(O)/dsm-bench --json $(O)/bench-sim.json

# Fuzzers: each has LLVMFuzzerTestOneInput().  With clang, libFuzzer drives it;
# without, fuzz/driver.c does, from a seed, for a bounded number of inputs.
DSM_FUZZERS := wire core
FUZZ_CC ?= clang

define dsm-fuzzer
$(O)/dsm-fuzz-$(1): dsm/fuzz/fuzz_$(1).c dsm/fuzz/driver.c $(wildcard dsm/*.[ch])
	@mkdir -p $$(@D)
	$$(CC) $$(UFLAGS) -O1 -g $$(SANITIZE) -o $$@ $$(filter %.c,$$^)
$(O)/dsm-libfuzz-$(1): dsm/fuzz/fuzz_$(1).c $(wildcard dsm/*.[ch])
	@mkdir -p $$(@D)
	$$(FUZZ_CC) $$(UFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined -o $$@ $$(filter %.c,$$^)
endef
$(foreach f,$(DSM_FUZZERS),$(eval $(call dsm-fuzzer,$(f))))

TESTS += $(O)/tests/dsm/sim
$(O)/tests/dsm/sim: dsm/tests/sim.sh $(O)/dsm-sim-san $(O)/dsm-sim $(O)/dsm-sim-bugs $(O)/dsm-bench $(DSM_FUZZERS:%=$(O)/dsm-fuzz-%)
	@mkdir -p $(@D)
	install -m 755 $< $@

# Long runs.  "make soak": SOAK seconds of each program, with seeds not used before.
# "make soak SEEDS=1000 SEED=1": so many seeds of 64 hosts with 10^6 instructions
# each (some 4 s a seed); when it is interrupted it says with which SEED to go on.
SOAK ?= 600
SEED ?= 1
SOAK_64 := --hosts 64 --vcpus 1 --copiers 0 --ops 15625 --progress 30
.PHONY: soak
ifdef SEEDS
soak: $(O)/dsm-sim
	$(O)/dsm-sim $(SOAK_64) --seed $(SEED) --runs $(SEEDS)
else
soak: $(O)/dsm-sim $(O)/dsm-sim-san $(DSM_FUZZERS:%=$(O)/dsm-libfuzz-%)
	$(O)/dsm-sim --seconds $(SOAK) --seed $$(date +%s)
	$(O)/dsm-sim --seconds $(SOAK) --seed $$(date +%s) --inject
	$(O)/dsm-sim --seconds $(SOAK) --seed $$(date +%s) $(SOAK_64)
	$(O)/dsm-sim-san --seconds $(SOAK) --seed $$(date +%s) --inject
	for f in $(DSM_FUZZERS); do \
		mkdir -p $(O)/corpus-$$f; \
		$(O)/dsm-libfuzz-$$f -max_total_time=$(SOAK) -max_len=4096 $(O)/corpus-$$f || exit; \
	done
endif
