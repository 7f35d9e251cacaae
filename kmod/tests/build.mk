# SPDX-License-Identifier: GPL-2.0-or-later
# Unit tests of the module's pure parts, in user space.
kmod-lib  += kmod/insn.c kmod/emulate.c kmod/walk.c kmod/svm/ptcache.c
# Debian's libzydis-dev has no pkg-config file.
kmod-libs += -lZydis
