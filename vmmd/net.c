// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Making and tuning TCP connections, the opening exchange on them, and passing
 * descriptors between processes: see conn.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmmd/conn.h"

void net_tune(int fd)
{
	unsigned int dead = CONN_DEAD_MS;
	int one = 1, idle = 1, count = 3;

	/* Not on every kind of socket, and nothing depends on one of them alone. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

int net_wait(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now;
	int n;

	do {
		now = now_ms();
		n = poll(&p, 1, now < deadline_ms ? (int)(deadline_ms - now) : 0);
	} while (n < 0 && errno == EINTR);
	if (!n)
		errno = ETIMEDOUT;
	return n > 0 ? 0 : -1;
}

static int connect_one(const struct addrinfo *ai, uint64_t deadline_ms)
{
	socklen_t len = sizeof(int);
	int fd, error = 0;

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
	if (fd < 0)
		return -1;
	net_tune(fd);
	if (connect(fd, ai->ai_addr, ai->ai_addrlen)) {
		if (errno != EINPROGRESS || net_wait(fd, POLLOUT, deadline_ms))
			goto close_fd;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
			goto close_fd;
		if (error) {
			errno = error;
			goto close_fd;
		}
		/* The kernel's socket layer notes that it is connected only on this call; the module looks there. */
		if (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EISCONN)
			goto close_fd;
	}
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK))
		goto close_fd;
	return fd;

close_fd:
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int net_connect(const char *host, uint16_t port, int timeout_ms, char *err, size_t errlen)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	uint64_t deadline_ms = now_ms() + (uint64_t)timeout_ms;
	struct addrinfo *list, *ai;
	char service[8];
	int fd = -1, error;

	snprintf(service, sizeof(service), "%u", port);
	error = getaddrinfo(host, service, &hints, &list);
	if (error) {
		snprintf(err, errlen, "%s: %s", host,
			 error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
		return -1;
	}
	for (ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_one(ai, deadline_ms);
	error = errno;
	freeaddrinfo(list);
	if (fd < 0)
		snprintf(err, errlen, "%s port %u: %s%s", host, port, strerror(error),
			 error == ECONNREFUSED ? " (does vmmd run there?)" : "");
	return fd;
}

int net_listen(const char *addr, uint16_t port, char *err, size_t errlen)
{
	struct addrinfo hints = {
		.ai_family = addr ? AF_UNSPEC : AF_INET6,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *list;
	char service[8];
	int fd, error, one = 1, zero = 0;

	snprintf(service, sizeof(service), "%u", port);
	error = getaddrinfo(addr, service, &hints, &list);
	if (error) {
		snprintf(err, errlen, "%s: %s", addr ? addr : "any address", gai_strerror(error));
		return -1;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && !addr && errno == EAFNOSUPPORT) {
		/* No IPv6 on this host: all IPv4 addresses. */
		freeaddrinfo(list);
		return net_listen("0.0.0.0", port, err, errlen);
	}
	if (fd < 0)
		goto report;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (list->ai_family == AF_INET6 && !addr)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, list->ai_addr, list->ai_addrlen) || listen(fd, 128))
		goto report;
	freeaddrinfo(list);
	return fd;

report:
	snprintf(err, errlen, "%s port %u: %s", addr ? addr : "any address", port, strerror(errno));
	if (fd >= 0)
		close(fd);
	freeaddrinfo(list);
	return -1;
}

int net_send_all(int fd, const void *buf, size_t len, uint64_t deadline_ms)
{
	const uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (net_wait(fd, POLLOUT, deadline_ms))
				return -1;
		} else if (n < 0 && errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

int net_recv_all(int fd, void *buf, size_t len, uint64_t deadline_ms)
{
	uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = recv(fd, p, len, MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (!n) {
			errno = EPIPE;
			return -1;
		} else if (errno == EAGAIN) {
			if (net_wait(fd, POLLIN, deadline_ms))
				return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

int net_hello(int fd, struct tls_keys *keys, const struct hello *h, uint64_t deadline_ms, uint32_t *status,
	      char *err, size_t errlen)
{
	uint8_t out[HELLO_SIZE], in[ANSWER_SIZE], record[ANSWER_SIZE + TLS_OVERHEAD];
	struct answer a;
	uint32_t version;

	*status = ANSWER_OK;
	hello_encode(out, h);
	if (tls_seal_once(&keys->tx, TLS_DATA, record, out, sizeof(out)) ||
	    net_send_all(fd, record, sizeof(out) + TLS_OVERHEAD, deadline_ms) ||
	    net_recv_all(fd, record, sizeof(record), deadline_ms)) {
		snprintf(err, errlen, "no answer: %s",
			 errno == EPIPE ? "the connection was closed" : strerror(errno));
		return -1;
	}
	if (tls_open_once(&keys->rx, in, sizeof(in), record) || answer_decode(in, &a, &version)) {
		snprintf(err, errlen, "whoever listens there is no vmmd");
		return -1;
	}
	if (version != PROTO_VERSION) {
		snprintf(err, errlen, "vmmd there speaks version %u of the protocol, this program %u; "
			 "install the same release on all hosts", version, PROTO_VERSION);
		return -1;
	}
	if (a.status != ANSWER_OK) {
		*status = a.status;
		snprintf(err, errlen, "%s", a.text);
		return -1;
	}
	snprintf(err, errlen, "%s", a.text);
	return 0;
}

int net_send_fd(int sock, const void *buf, size_t len, int fd)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cm;
	ssize_t n;

	if (fd >= 0) {
		memset(&u, 0, sizeof(u));
		msg.msg_control = u.buf;
		msg.msg_controllen = sizeof(u.buf);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -1;
}

long net_recv_fd(int sock, void *buf, size_t len, int *fd)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		/* Room for one, where CMSG_SPACE() has some for two: the kernel closes the others. */
		.msg_control = u.buf, .msg_controllen = CMSG_LEN(sizeof(int)),
	};
	struct cmsghdr *cm;
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	cm = CMSG_FIRSTHDR(&msg);
	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS &&
	    cm->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(cm), sizeof(int));
	return n;
}
