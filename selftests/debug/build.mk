# SPDX-License-Identifier: GPL-2.0-or-later
# Tests for a debug kernel alone.
$(call program,nomem,selftests/debug/nomem.c)
