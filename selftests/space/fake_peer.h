/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer that is not a kernel: host 1 of a space of two, played by the test at
 * the other end of the link's socket.
 */
#ifndef FAKE_PEER_H
#define FAKE_PEER_H

#include "dsm/dsm.h"
#include "space_test.h"

#define FAKE_HELLO	DSM_MSG_LINK
#define FAKE_DELTA	(DSM_MSG_LINK + 3)

struct fake_peer {
	int space;		/* host 0 */
	int sock;		/* our end of its link */
	uint64_t id;
};

void fake_create(struct fake_peer *fp, const char *name, size_t pages, enum join join);
void fake_destroy(struct fake_peer *fp);
/* Answer the kernel's hello. */
bool fake_hello(struct fake_peer *fp);
/* One message from the kernel; @page: its payload, or NULL to drop it.  False at the end. */
bool fake_recv(struct fake_peer *fp, struct dsm_msg *msg, void *page);
void fake_send(struct fake_peer *fp, const struct dsm_msg *msg, const void *page);
/* Only the first @bytes of the message. */
void fake_send_part(struct fake_peer *fp, const struct dsm_msg *msg, size_t bytes);

#endif /* FAKE_PEER_H */
