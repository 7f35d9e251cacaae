// SPDX-License-Identifier: GPL-2.0-only
/* Bodies of the tracepoints that trace.h declares. */
#include "../dsm/dsm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
