/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between cvmm and vmmd, over a unix stream socket: lines of text.
 *
 * Requests: "list", "status NAME", "stop NAME", "stats NAME", "events".  An
 * answer is lines of "key=value" fields separated by tabs, then "ok", or
 * one line "error=TEXT".  After "events" and its "ok" come lines with an "event"
 * field for as long as the connection lasts.
 */
#ifndef VMMD_CTLPROTO_H
#define VMMD_CTLPROTO_H

#define CTL_SOCKET	"/run/cvmm/vmmd.sock"
#define CTL_LINE_MAX	2048

#endif /* VMMD_CTLPROTO_H */
