// SPDX-License-Identifier: GPL-2.0-only
/* Bodies of the tracepoints that trace_engine.h declares. */
#define CREATE_TRACE_POINTS
#include "trace_engine.h"
