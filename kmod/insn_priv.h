/* SPDX-License-Identifier: GPL-2.0-only */
/* Between insn.c, which takes encodings apart, and insn_class.c, which names them. */
#ifndef CVMM_INSN_PRIV_H
#define CVMM_INSN_PRIV_H

#include "insn.h"

/*
 * The insn_op of a legacy encoding whose prefixes, opcode and ModRM are decoded,
 * or -1 for one that does not exist.
 */
int insn_classify(const struct insn *in);

/*
 * SSE and VEX encodings: where @in is one that is emulated, sets op, osize and
 * vflags.  @pp: the mandatory prefix, 0 none, 1 66, 2 F3, 3 F2; @vlen: bytes of a
 * vector.  INSN_OK, or INSN_INVALID for fields that the encoding forbids.
 */
int insn_classify_vector(struct insn *in, unsigned int pp, unsigned int vlen);

#endif /* CVMM_INSN_PRIV_H */
