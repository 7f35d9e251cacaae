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
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "vmmd/conn.h"

/* A frame that is not whole yet, and a record. */
#define RX_SIZE	(FRAME_HEADER + FRAME_MAX + TLS_RECORD_MAX)

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void free_buffers(struct conn *c)
{
	free(c->tx);
	free(c->rx);
	free(c->raw);
	free(c->plain);
	free(c->record);
	c->tx = c->rx = c->raw = c->plain = c->record = NULL;
	tls_cipher_free(c->tx_cipher);
	tls_cipher_free(c->rx_cipher);
	c->tx_cipher = c->rx_cipher = NULL;
	explicit_bzero(&c->tx_half, sizeof(c->tx_half));
	explicit_bzero(&c->rx_half, sizeof(c->rx_half));
	explicit_bzero(&c->last_half, sizeof(c->last_half));
}

int conn_init(struct conn *c, int fd, const struct tls_keys *keys)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->rx = malloc(RX_SIZE);
	c->raw = malloc(TLS_RECORD_MAX);
	c->plain = malloc(TLS_DATA_MAX + 1);
	c->record = malloc(TLS_RECORD_MAX);
	c->tx_cipher = tls_cipher(&keys->tx);
	c->rx_cipher = tls_cipher(&keys->rx);
	if (!c->rx || !c->raw || !c->plain || !c->record || !c->tx_cipher || !c->rx_cipher ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) {
		free_buffers(c);
		return -1;
	}
	c->tx_half = keys->tx;
	c->rx_half = keys->rx;
	c->last_half = keys->last;
	pthread_mutex_init(&c->lock, NULL);
	c->fd = fd;
	c->epfd = -1;
	c->heard_ms = c->sent_ms = now_ms();
	return 0;
}

void conn_take_last(struct conn *c)
{
	c->takes_last = true;
}

void conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	pthread_mutex_destroy(&c->lock);
	free_buffers(c);
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

/* Send bytes, or queue them behind what waits; under the lock. */
static int send_or_queue(struct conn *c, const uint8_t *buf, size_t len)
{
	size_t sent = 0;
	ssize_t n;

	if (c->tx_len == c->tx_pos) {
		n = send(c->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			sent = (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return -1;
	}
	return enqueue(c, buf + sent, len - sent);
}

int conn_send(struct conn *c, uint16_t type, uint32_t tag, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t left = len, fill, n;
	long size;
	int ret = -1;

	pthread_mutex_lock(&c->lock);
	if (c->broken)
		goto unlock;
	frame_header(c->plain, type, tag, (uint32_t)len);
	fill = FRAME_HEADER;
	do {
		n = left < TLS_DATA_MAX - fill ? left : TLS_DATA_MAX - fill;
		if (n)
			memcpy(c->plain + fill, p, n);
		p += n;
		left -= n;
		size = tls_seal(c->tx_cipher, &c->tx_half, TLS_DATA, c->record, c->plain, fill + n);
		ret = size < 0 ? -1 : send_or_queue(c, c->record, (size_t)size);
		fill = 0;
	} while (!ret && left);
	if (ret)
		c->broken = true;
	else if (c->tx_len > c->tx_pos)
		arm(c);
	c->sent_ms = now_ms();
	c->tx_frames++;
	c->tx_bytes += FRAME_HEADER + len;
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

/* The record at @buf: its bytes follow those of the frames that are there.  0 or -1. */
static int take_record(struct conn *c, const uint8_t *buf, size_t len)
{
	struct tls_cipher *cipher;
	long n;

	if (buf[0] == TLS_DATA && !c->had_last) {
		n = tls_open(c->rx_cipher, &c->rx_half, c->rx + c->rx_len, buf, len);
	} else if (buf[0] == TLS_LAST_WORDS && c->takes_last && !c->had_last) {
		/* What the process had not said to the end does not count. */
		c->had_last = true;
		c->rx_len = 0;
		cipher = tls_cipher(&c->last_half);
		n = cipher ? tls_open(cipher, &c->last_half, c->rx, buf, len) : -1;
		tls_cipher_free(cipher);
	} else {
		n = -1;
	}
	if (n < 0)
		return -1;
	c->rx_len += (size_t)n;
	return 0;
}

static int take_frames(struct conn *c, int (*handle)(void *arg, const struct frame *f), void *arg)
{
	size_t pos = 0;
	struct frame f;
	long size;

	while ((size = frame_decode(c->rx + pos, c->rx_len - pos, &f)) > 0) {
		pos += (size_t)size;
		c->rx_frames++;
		if (handle(arg, &f))
			return -1;
	}
	if (size < 0)
		return -1;
	memmove(c->rx, c->rx + pos, c->rx_len - pos);
	c->rx_len -= pos;
	return 0;
}

int conn_receive(struct conn *c, int (*handle)(void *arg, const struct frame *f), void *arg,
		 char *why, size_t whylen)
{
	size_t pos = 0;
	ssize_t n;
	long size;

	n = recv(c->fd, c->raw + c->raw_len, TLS_RECORD_MAX - c->raw_len, MSG_DONTWAIT);
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
	c->rx_bytes += (size_t)n;
	c->raw_len += (size_t)n;
	while ((size = tls_record_len(c->raw + pos, c->raw_len - pos)) > 0 && (size_t)size <= c->raw_len - pos) {
		if (take_record(c, c->raw + pos, (size_t)size)) {
			size = -1;
			break;
		}
		pos += (size_t)size;
		c->heard_ms = now_ms();
		if (take_frames(c, handle, arg)) {
			snprintf(why, whylen, "a malformed message came");
			return -1;
		}
	}
	if (size < 0) {
		snprintf(why, whylen, "what came is not from the peer, or was changed on the way");
		return -1;
	}
	memmove(c->raw, c->raw + pos, c->raw_len - pos);
	c->raw_len -= pos;
	return 0;
}
