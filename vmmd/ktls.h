/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel TLS: the socket of a link, which the module reads and writes, is
 * encrypted by the kernel itself.
 */
#ifndef VMMD_KTLS_H
#define VMMD_KTLS_H

#include <stddef.h>

#include "vmmd/tls.h"

/*
 * Whether this kernel has TLS sockets; loads the module tls where the caller
 * may.  0, or -1 with @err, which says what to do.
 */
int ktls_check(char *err, size_t errlen);

/* From now on what is sent and received on @fd goes in records, beginning where @keys are.  0 or -1 with @err. */
int ktls_start(int fd, const struct tls_keys *keys, char *err, size_t errlen);

#endif /* VMMD_KTLS_H */
