// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fake peer: speaks the wire format over its end of the socket.
 */
#include "fake_peer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_create(struct fake_peer *fp, const char *name, size_t pages, enum join join)
{
	struct cvmm_home_range ranges[2];
	struct cvmm_space_config cfg;
	int fds[2];

	fp->id = 0x2000000000ULL + now_ns();
	config_init(&cfg, ranges, name, 0, 2, pages, fp->id);
	fp->space = space_create(&cfg);
	if (fp->space < 0)
		die("CVMM_CREATE_SPACE");
	socket_pair(fds, join);
	if (space_add_link(fp->space, 1, fds[0]))
		die("CVMM_SPACE_ADD_LINK");
	close(fds[0]);
	fp->sock = fds[1];
}

void fake_destroy(struct fake_peer *fp)
{
	close(fp->space);
	close(fp->sock);
}

bool fake_recv(struct fake_peer *fp, struct dsm_msg *msg, void *page)
{
	uint8_t hdr[DSM_WIRE_SIZE], drop[PAGE];

	if (recv(fp->sock, hdr, sizeof(hdr), MSG_WAITALL) != sizeof(hdr) ||
	    dsm_wire_decode(hdr, sizeof(hdr), msg))
		return false;
	return !msg->length ||
	       recv(fp->sock, page ? page : drop, PAGE, MSG_WAITALL) == (ssize_t)PAGE;
}

/* The kernel may have dropped the link already: that is for the caller to see. */
static void send_all(int sock, const uint8_t *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(sock, buf, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		buf += n;
		len -= n;
	}
}

void fake_send_part(struct fake_peer *fp, const struct dsm_msg *msg, size_t bytes)
{
	uint8_t buf[DSM_WIRE_SIZE + PAGE] = { 0 };

	dsm_wire_encode(msg, buf);
	send_all(fp->sock, buf, bytes);
}

void fake_send(struct fake_peer *fp, const struct dsm_msg *msg, const void *page)
{
	uint8_t hdr[DSM_WIRE_SIZE];

	dsm_wire_encode(msg, hdr);
	send_all(fp->sock, hdr, sizeof(hdr));
	if (msg->length)
		send_all(fp->sock, page, msg->length);
}

bool fake_hello(struct fake_peer *fp)
{
	struct dsm_msg hello;

	if (!fake_recv(fp, &hello, NULL) || hello.type != FAKE_HELLO)
		return false;
	hello.requester = 1;
	hello.age = 0;		/* it takes pages as a whole only */
	fake_send(fp, &hello, NULL);
	return true;
}
