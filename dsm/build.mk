# SPDX-License-Identifier: GPL-2.0-only
# The coherence core.  dsm-core-y is for Kbuild (objects of cvmm.ko).
dsm-core-y := dsm/core.o dsm/page.o dsm/dir.o dsm/wire.o dsm/check.o
