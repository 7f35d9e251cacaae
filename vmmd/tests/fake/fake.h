/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>

/* The boot at which the guest powers off, by "boots=": files are read before the sandbox. */
extern bool fake_last_boot;

#endif /* FAKE_H */
