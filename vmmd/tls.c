// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Handshake and records: see tls.h.
 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vmmd/conn.h"
#include "vmmd/tls.h"

#define IDENTITY	"cvmm"
#define EXPORTER	"EXPORTER-cvmm-v2"

/* TLS 1.3 with a pre-shared key and a Diffie-Hellman exchange; one cipher, which kernel TLS has too. */
#define PRIORITY	"NONE:+VERS-TLS1.3:+ECDHE-PSK:+DHE-PSK:+AES-128-GCM:+AEAD:+SHA256:+SIGN-ALL:+CTYPE-ALL:" \
			"+COMP-NULL:+GROUP-X25519:+GROUP-SECP256R1"

/* A handshake with a pre-shared key takes some hundred bytes each way; who sends on is no member. */
#define HANDSHAKE_MAX	8192

struct tls_handshake {
	gnutls_session_t session;
	int fd;
	size_t taken;		/* bytes from the socket */
	gnutls_psk_client_credentials_t client;
	gnutls_psk_server_credentials_t server;
	const struct cluster_key *key;
	bool is_server;
};

/* ---- the handshake ------------------------------------------------------- */

static int find_key(gnutls_session_t session, const char *identity, gnutls_datum_t *key)
{
	struct tls_handshake *h = gnutls_session_get_ptr(session);

	if (strcmp(identity, IDENTITY))
		return -1;
	key->data = gnutls_malloc(KEY_SIZE);
	if (!key->data)
		return -1;
	memcpy(key->data, h->key->bytes, KEY_SIZE);
	key->size = KEY_SIZE;
	return 0;
}

/*
 * The socket as GnuTLS reads it: to the end of HANDSHAKE_MAX, so that nobody keeps
 * a server busy with records that the standard lets pass.
 */
static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
	struct tls_handshake *h = ptr;
	ssize_t n;

	if (len > HANDSHAKE_MAX - h->taken)
		len = HANDSHAKE_MAX - h->taken;
	if (!len) {
		gnutls_transport_set_errno(h->session, EMSGSIZE);
		return -1;
	}
	n = recv(h->fd, buf, len, MSG_DONTWAIT);
	if (n < 0)
		gnutls_transport_set_errno(h->session, errno);
	else
		h->taken += (size_t)n;
	return n;
}

struct tls_handshake *tls_begin(int fd, const struct cluster_key *key, bool server)
{
	struct tls_handshake *h = calloc(1, sizeof(*h));
	gnutls_datum_t psk;

	if (!h)
		return NULL;
	h->fd = fd;
	h->key = key;
	h->is_server = server;
	psk.data = (uint8_t *)(uintptr_t)key->bytes;
	psk.size = KEY_SIZE;
	if (gnutls_init(&h->session, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
			GNUTLS_NO_TICKETS)) {
		h->session = NULL;
		goto free_handshake;
	}
	if (gnutls_priority_set_direct(h->session, PRIORITY, NULL))
		goto free_handshake;
	if (server) {
		if (gnutls_psk_allocate_server_credentials(&h->server))
			goto free_handshake;
		gnutls_psk_set_server_credentials_function(h->server, find_key);
		if (gnutls_credentials_set(h->session, GNUTLS_CRD_PSK, h->server))
			goto free_handshake;
	} else {
		if (gnutls_psk_allocate_client_credentials(&h->client) ||
		    gnutls_psk_set_client_credentials(h->client, IDENTITY, &psk, GNUTLS_PSK_KEY_RAW) ||
		    gnutls_credentials_set(h->session, GNUTLS_CRD_PSK, h->client))
			goto free_handshake;
	}
	gnutls_session_set_ptr(h->session, h);
	gnutls_handshake_set_timeout(h->session, GNUTLS_INDEFINITE_TIMEOUT);
	gnutls_transport_set_int(h->session, fd);
	gnutls_transport_set_pull_function(h->session, pull);
	gnutls_transport_set_ptr2(h->session, h, (gnutls_transport_ptr_t)(intptr_t)fd);
	return h;

free_handshake:
	tls_end(h);
	return NULL;
}

void tls_end(struct tls_handshake *h)
{
	if (!h)
		return;
	if (h->session)
		gnutls_deinit(h->session);
	if (h->client)
		gnutls_psk_free_client_credentials(h->client);
	if (h->server)
		gnutls_psk_free_server_credentials(h->server);
	free(h);
}

static int take_keys(struct tls_handshake *h, struct tls_keys *keys)
{
	uint8_t raw[3 * (TLS_KEY + TLS_IV)], *p = raw;
	struct tls_half *half[3] = {
		h->is_server ? &keys->rx : &keys->tx,
		h->is_server ? &keys->tx : &keys->rx,
		&keys->last,
	};
	int i;

	if (gnutls_protocol_get_version(h->session) != GNUTLS_TLS1_3 ||
	    gnutls_auth_get_type(h->session) != GNUTLS_CRD_PSK || gnutls_session_is_resumed(h->session) ||
	    gnutls_record_check_pending(h->session))
		return -1;
	if (gnutls_prf_rfc5705(h->session, sizeof(EXPORTER) - 1, EXPORTER, 0, NULL, sizeof(raw), (char *)raw)) {
		explicit_bzero(raw, sizeof(raw));
		return -1;
	}
	for (i = 0; i < 3; i++) {
		memcpy(half[i]->key, p, TLS_KEY);
		memcpy(half[i]->iv, p + TLS_KEY, TLS_IV);
		half[i]->seq = 0;
		p += TLS_KEY + TLS_IV;
	}
	explicit_bzero(raw, sizeof(raw));
	return 0;
}

/* What a failure means to whoever has to mend it. */
static void explain(struct tls_handshake *h, int error, char *err, size_t errlen)
{
	const char *why;

	switch (error) {
	case GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER:
	case GNUTLS_E_DECRYPTION_FAILED:
	case GNUTLS_E_ERROR_IN_FINISHED_PACKET:
	case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
	case GNUTLS_E_NO_CIPHER_SUITES:
	case GNUTLS_E_SRP_PWD_ERROR:	/* an identity that find_key() does not know */
		why = "it has another cluster key, or none";
		break;
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		why = "it refuses our cluster key: the key differs there";
		break;
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_WARNING_ALERT_RECEIVED:
		why = h->taken == HANDSHAKE_MAX ? "it sends more than a handshake takes" :
						  "the connection ended in the handshake";
		break;
	case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
	case GNUTLS_E_UNEXPECTED_PACKET:
	case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
	case GNUTLS_E_RECORD_OVERFLOW:
		why = "it does not speak TLS 1.3";
		break;
	default:
		why = gnutls_strerror(error);
		break;
	}
	snprintf(err, errlen, "%s%s", why,
		 h->is_server || error == GNUTLS_E_PREMATURE_TERMINATION ? "" :
		 "; all hosts need the same key file (cvmm keygen)");
}

int tls_step(struct tls_handshake *h, struct tls_keys *keys, char *err, size_t errlen)
{
	int ret;

	do {
		ret = gnutls_handshake(h->session);
	} while (ret == GNUTLS_E_INTERRUPTED);
	if (ret == GNUTLS_E_AGAIN)
		return gnutls_record_get_direction(h->session) ? POLLOUT : POLLIN;
	if (ret) {
		gnutls_alert_send_appropriate(h->session, ret);
		explain(h, ret, err, errlen);
		return -1;
	}
	if (take_keys(h, keys)) {
		snprintf(err, errlen, "the handshake gave no keys");
		return -1;
	}
	return 0;
}

int tls_connect(int fd, const struct cluster_key *key, uint64_t deadline_ms, struct tls_keys *keys,
		char *err, size_t errlen)
{
	struct tls_handshake *h = tls_begin(fd, key, false);
	int ret;

	if (!h) {
		snprintf(err, errlen, "out of memory");
		return -1;
	}
	while ((ret = tls_step(h, keys, err, errlen)) > 0) {
		if (net_wait(fd, (short)ret, deadline_ms)) {
			snprintf(err, errlen, "no answer in the handshake: %s", strerror(errno));
			ret = -1;
			break;
		}
	}
	tls_end(h);
	return ret;
}

/* ---- records ------------------------------------------------------------- */

struct tls_cipher *tls_cipher(const struct tls_half *half)
{
	gnutls_datum_t key = { .data = (uint8_t *)(uintptr_t)half->key, .size = TLS_KEY };
	gnutls_aead_cipher_hd_t hd;

	if (gnutls_aead_cipher_init(&hd, GNUTLS_CIPHER_AES_128_GCM, &key))
		return NULL;
	return (struct tls_cipher *)hd;
}

void tls_cipher_free(struct tls_cipher *c)
{
	if (c)
		gnutls_aead_cipher_deinit((gnutls_aead_cipher_hd_t)c);
}

/* RFC 8446 section 5.3; no record may share a nonce with another. */
static int next_nonce(struct tls_half *half, uint8_t nonce[TLS_IV])
{
	int i;

	if (half->seq == UINT64_MAX)
		return -1;
	memcpy(nonce, half->iv, TLS_IV);
	for (i = 0; i < 8; i++)
		nonce[TLS_IV - 1 - i] ^= (uint8_t)(half->seq >> 8 * i);
	half->seq++;
	return 0;
}

long tls_seal(struct tls_cipher *c, struct tls_half *half, enum tls_type type, uint8_t *out, uint8_t *in,
	      size_t len)
{
	size_t body = len + TLS_OVERHEAD - TLS_HEADER;
	uint8_t nonce[TLS_IV];

	if (!len || len > TLS_DATA_MAX || next_nonce(half, nonce))
		return -1;
	out[0] = (uint8_t)type;
	out[1] = 3;
	out[2] = 3;
	out[3] = (uint8_t)(body >> 8);
	out[4] = (uint8_t)body;
	in[len] = TLS_DATA;
	if (gnutls_aead_cipher_encrypt((gnutls_aead_cipher_hd_t)c, nonce, TLS_IV, out, TLS_HEADER, 16, in, len + 1,
				       out + TLS_HEADER, &body))
		return -1;
	return (long)(len + TLS_OVERHEAD);
}

long tls_record_len(const uint8_t *buf, size_t len)
{
	size_t body;

	if (len < TLS_HEADER)
		return 0;
	body = (size_t)buf[3] << 8 | buf[4];
	if ((buf[0] != TLS_DATA && buf[0] != TLS_LAST_WORDS) || buf[1] != 3 || buf[2] != 3 ||
	    body <= TLS_OVERHEAD - TLS_HEADER || body > TLS_RECORD_MAX - TLS_HEADER)
		return -1;
	return (long)(TLS_HEADER + body);
}

long tls_open(struct tls_cipher *c, struct tls_half *half, uint8_t *out, const uint8_t *buf, size_t len)
{
	size_t plain = len - TLS_HEADER;
	uint8_t nonce[TLS_IV];

	if (next_nonce(half, nonce) ||
	    gnutls_aead_cipher_decrypt((gnutls_aead_cipher_hd_t)c, nonce, TLS_IV, buf, TLS_HEADER, 16,
				       buf + TLS_HEADER, len - TLS_HEADER, out, &plain))
		return -1;
	/* Nobody here pads. */
	if (plain < 2 || out[plain - 1] != TLS_DATA)
		return -1;
	return (long)plain - 1;
}

int tls_seal_once(struct tls_half *half, enum tls_type type, uint8_t *out, const void *in, size_t len)
{
	struct tls_cipher *c = tls_cipher(half);
	uint8_t plain[1024];
	int ret = -1;

	if (c && len < sizeof(plain)) {
		memcpy(plain, in, len);
		ret = tls_seal(c, half, type, out, plain, len) < 0 ? -1 : 0;
	}
	tls_cipher_free(c);
	return ret;
}

int tls_open_once(struct tls_half *half, void *out, size_t len, const uint8_t *buf)
{
	struct tls_cipher *c;
	uint8_t plain[1024];
	int ret = -1;

	if (len + TLS_OVERHEAD - TLS_HEADER > sizeof(plain) || buf[0] != TLS_DATA ||
	    tls_record_len(buf, TLS_HEADER) != (long)(len + TLS_OVERHEAD))
		return -1;
	c = tls_cipher(half);
	if (c && tls_open(c, half, plain, buf, len + TLS_OVERHEAD) == (long)len) {
		memcpy(out, plain, len);
		ret = 0;
	}
	tls_cipher_free(c);
	return ret;
}
