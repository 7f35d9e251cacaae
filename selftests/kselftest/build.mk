# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel's own KVM selftests, from Debian's source: kvm.list says which.
KSELFTEST := $(O)/kselftest

.PHONY: kselftest
kselftest: $(KSELFTEST)/preload.so
	@selftests/kselftest/build.sh $(KSELFTEST)

$(KSELFTEST)/preload.so: selftests/kselftest/preload.c
	@mkdir -p $(@D)
	$(CC) $(UFLAGS) $(CFLAGS) -shared -fPIC -o $@ $<
