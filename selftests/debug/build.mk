# SPDX-License-Identifier: GPL-2.0-or-later
# Tests for a debug kernel alone.
$(call program,nomem,$(wildcard selftests/debug/*.c) selftests/engine/kvm_vm.c,libnl-3.0 libnl-genl-3.0)

# A module of faults, to see whether they are found.
PLANTED := $(O)/planted-$(KNAME)

.PHONY: planted
planted: check-kdir
	@mkdir -p $(PLANTED)
	@for f in Kbuild planted.c; do \
		[ -L $(PLANTED)/$$f ] || ln -s $(CURDIR)/selftests/debug/planted/$$f $(PLANTED)/$$f || exit; \
	done
	@+$(MAKE) -C $(KDIR) M=$(CURDIR)/$(PLANTED) modules
