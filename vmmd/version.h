/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The release of the programs, as --version prints it. */
#ifndef VMMD_VERSION_H
#define VMMD_VERSION_H

#define VMMD_VERSION	"0.1"

#endif /* VMMD_VERSION_H */
