# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of the vCPU engine.
engine-vm := selftests/engine/kvm_vm.c
$(call program,kvm-tiny,selftests/engine/kvm_tiny.c $(engine-vm),,-pthread)
$(call program,kvm-fuzz,$(wildcard selftests/engine/kvm_fuzz*.c) $(engine-vm),,-pthread)
$(call program,kvm-spin,selftests/engine/kvm_spin.c $(engine-vm),,-pthread)
$(call program,kvm-memory,selftests/engine/kvm_memory.c $(engine-vm),,-pthread)
$(call program,kvm-large,selftests/engine/kvm_large.c $(engine-vm),,-pthread)
$(call program,kvm-state,selftests/engine/kvm_state.c $(engine-vm),,-pthread)
$(call program,kvm-pause,selftests/engine/kvm_pause.c $(engine-vm),,-pthread)
apic-vm := selftests/engine/apic_vm.c $(engine-vm)
$(call program,kvm-apic,selftests/engine/kvm_apic.c $(apic-vm),,-pthread)
$(call program,kvm-ipi,selftests/engine/kvm_ipi.c $(apic-vm),,-pthread)
$(call program,kvm-far,selftests/engine/kvm_far.c dsm/wire.c $(apic-vm),,-pthread)
