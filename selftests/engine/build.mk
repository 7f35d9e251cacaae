# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of the vCPU engine.
$(call program,kvm-tiny,selftests/engine/kvm_tiny.c,,-pthread)
$(call program,kvm-fuzz,$(wildcard selftests/engine/kvm_fuzz*.c),,-pthread)
$(call program,kvm-spin,selftests/engine/kvm_spin.c,,-pthread)
$(call program,kvm-memory,selftests/engine/kvm_memory.c,,-pthread)
$(call program,kvm-state,selftests/engine/kvm_state.c,,-pthread)
