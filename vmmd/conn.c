// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Framed connections: see conn.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/conn.h"

#define RX_SIZE	(FRAME_MAX + 4096)

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int conn_init(struct conn *c, int fd)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->rx = malloc(RX_SIZE);
	if (!c->rx)
		return -1;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) {
		free(c->rx);
		return -1;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->fd = fd;
	c->epfd = -1;
	c->heard_ms = c->sent_ms = now_ms();
	return 0;
}

void conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	pthread_mutex_destroy(&c->lock);
	free(c->tx);
	free(c->rx);
	c->tx = c->rx = NULL;
}

static void arm(struct conn *c)
{
	struct epoll_event ev = {
		.events = EPOLLIN | (c->tx_len > c->tx_pos ? EPOLLOUT : 0),
		.data.u64 = c->ep_data,
	};

	if (c->epfd >= 0)
		epoll_ctl(c->epfd, EPOLL_CTL_MOD, c->fd, &ev);
}

int conn_watch(struct conn *c, int epfd, uint64_t data)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = data };
	int ret;

	pthread_mutex_lock(&c->lock);
	if (c->tx_len > c->tx_pos)
		ev.events |= EPOLLOUT;
	ret = epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev);
	if (!ret) {
		c->epfd = epfd;
		c->ep_data = data;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* Append to the queue; under the lock. */
static int enqueue(struct conn *c, const uint8_t *buf, size_t len)
{
	size_t size = c->tx_size ? c->tx_size : 4096;
	uint8_t *more;

	if (!len)
		return 0;
	if (c->tx_pos) {
		memmove(c->tx, c->tx + c->tx_pos, c->tx_len - c->tx_pos);
		c->tx_len -= c->tx_pos;
		c->tx_pos = 0;
	}
	if (c->tx_len + len > CONN_QUEUE_MAX)
		return -1;
	while (size < c->tx_len + len)
		size *= 2;
	if (size != c->tx_size) {
		more = realloc(c->tx, size);
		if (!more)
			return -1;
		c->tx = more;
		c->tx_size = size;
	}
	memcpy(c->tx + c->tx_len, buf, len);
	c->tx_len += len;
	return 0;
}

int conn_send(struct conn *c, uint16_t type, uint32_t tag, const void *data, size_t len)
{
	uint8_t head[FRAME_HEADER];
	struct iovec iov[2] = {
		{ .iov_base = head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };
	size_t sent = 0;
	ssize_t n;
	int ret = 0;

	frame_header(head, type, tag, (uint32_t)len);
	pthread_mutex_lock(&c->lock);
	if (c->broken) {
		ret = -1;
		goto unlock;
	}
	if (c->tx_len == c->tx_pos) {
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			sent = (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			ret = -1;
	}
	if (!ret && sent < sizeof(head) + len) {
		if (sent < sizeof(head))
			ret = enqueue(c, head + sent, sizeof(head) - sent);
		sent = sent > sizeof(head) ? sent - sizeof(head) : 0;
		if (!ret)
			ret = enqueue(c, (const uint8_t *)data + sent, len - sent);
		arm(c);
	}
	if (ret)
		c->broken = true;
	c->sent_ms = now_ms();
	c->tx_frames++;
	c->tx_bytes += sizeof(head) + len;
unlock:
	pthread_mutex_unlock(&c->lock);
	return ret;
}

size_t conn_pending(struct conn *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->tx_len - c->tx_pos;
	pthread_mutex_unlock(&c->lock);
	return n;
}

int conn_flush(struct conn *c)
{
	ssize_t n;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->broken && c->tx_len > c->tx_pos) {
		n = send(c->fd, c->tx + c->tx_pos, c->tx_len - c->tx_pos, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			c->tx_pos += (size_t)n;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			c->broken = true;
		}
	}
	if (c->tx_len == c->tx_pos) {
		c->tx_len = c->tx_pos = 0;
		arm(c);
	}
	if (c->broken)
		ret = -1;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

int conn_receive(struct conn *c, int (*handle)(void *arg, const struct frame *f), void *arg,
		 char *why, size_t whylen)
{
	size_t pos = 0;
	struct frame f;
	ssize_t n;
	long size;

	n = recv(c->fd, c->rx + c->rx_len, RX_SIZE - c->rx_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		snprintf(why, whylen, "the connection failed: %s", strerror(errno));
		return -1;
	}
	if (!n) {
		snprintf(why, whylen, "the connection was closed");
		return -1;
	}
	c->heard_ms = now_ms();
	c->rx_bytes += (size_t)n;
	c->rx_len += (size_t)n;
	while ((size = frame_decode(c->rx + pos, c->rx_len - pos, &f)) > 0) {
		pos += (size_t)size;
		c->rx_frames++;
		if (handle(arg, &f)) {
			size = -1;
			break;
		}
	}
	if (size < 0) {
		snprintf(why, whylen, "a malformed message came");
		return -1;
	}
	memmove(c->rx, c->rx + pos, c->rx_len - pos);
	c->rx_len -= pos;
	return 0;
}
