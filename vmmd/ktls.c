// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kernel TLS, Documentation/networking/tls.rst of the kernel: see ktls.h.
 */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmmd/ktls.h"

#ifndef SOL_TLS
#define SOL_TLS	282
#endif

static void explain(char *err, size_t errlen)
{
	if (errno == ENOENT)
		snprintf(err, errlen, "the kernel here has no TLS to encrypt links with: modprobe tls, or, "
			 "if the network is trusted, encryption = false in the guest's configuration");
	else
		snprintf(err, errlen, "the kernel here does not encrypt the link: %s", strerror(errno));
}

int ktls_check(char *err, size_t errlen)
{
	int fd, ret;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;	/* a host without IPv4: the first link will tell */
	ret = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
	/* It is there, and wants a connected socket. */
	if (ret && errno == ENOTCONN)
		ret = 0;
	if (ret)
		explain(err, errlen);
	close(fd);
	return ret;
}

static int set_half(int fd, int which, const struct tls_half *half)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info.version = TLS_1_3_VERSION,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
	};
	int i, ret;

	memcpy(info.key, half->key, TLS_KEY);
	memcpy(info.salt, half->iv, sizeof(info.salt));
	memcpy(info.iv, half->iv + sizeof(info.salt), sizeof(info.iv));
	for (i = 0; i < 8; i++)
		info.rec_seq[i] = (unsigned char)(half->seq >> 8 * (7 - i));
	ret = setsockopt(fd, SOL_TLS, which, &info, sizeof(info));
	explicit_bzero(&info, sizeof(info));
	return ret;
}

int ktls_start(int fd, const struct tls_keys *keys, char *err, size_t errlen)
{
	if (!setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) &&
	    !set_half(fd, TLS_TX, &keys->tx) && !set_half(fd, TLS_RX, &keys->rx))
		return 0;
	explain(err, errlen);
	return -1;
}
