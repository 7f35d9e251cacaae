// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wire format of coherence messages: a fixed header of 32 bytes, little
 * endian (PROTOCOL.rst, "Wire format").  Pure functions; fuzzed by
 * dsm/fuzz/fuzz_wire.c.
 */
#include "core.h"

/* Offsets in the header */
enum {
	OFF_MAGIC	= 0,	/* u16 */
	OFF_WIRE	= 2,	/* u8 */
	OFF_TYPE	= 3,	/* u8 */
	OFF_FLAGS	= 4,	/* u16 */
	OFF_REQUESTER	= 6,	/* u8 */
	OFF_ACKS	= 7,	/* u8 */
	OFF_EPOCH	= 8,	/* u32 */
	OFF_LENGTH	= 12,	/* u32 */
	OFF_GFN		= 16,	/* u64 */
	OFF_VERSION	= 24,	/* u32 */
	OFF_AGE		= 28,	/* u16 */
	OFF_DELAY	= 30,	/* u16 */
	OFF_END		= 32,
};

_Static_assert(OFF_END == DSM_WIRE_SIZE, "header layout");

static void put_le(u8 *p, u64 v, unsigned int bytes)
{
	while (bytes--) {
		*p++ = (u8)v;
		v >>= 8;
	}
}

static u64 get_le(const u8 *p, unsigned int bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

void dsm_wire_encode(const struct dsm_msg *msg, u8 *buf)
{
	put_le(buf + OFF_MAGIC, DSM_WIRE_MAGIC, 2);
	buf[OFF_WIRE] = DSM_WIRE_VERSION;
	buf[OFF_TYPE] = msg->type;
	put_le(buf + OFF_FLAGS, msg->flags, 2);
	buf[OFF_REQUESTER] = msg->requester;
	buf[OFF_ACKS] = msg->acks;
	put_le(buf + OFF_EPOCH, msg->epoch, 4);
	put_le(buf + OFF_LENGTH, msg->length, 4);
	put_le(buf + OFF_GFN, msg->gfn, 8);
	put_le(buf + OFF_VERSION, msg->version, 4);
	put_le(buf + OFF_AGE, msg->age, 2);
	put_le(buf + OFF_DELAY, msg->delay, 2);
}

int dsm_wire_decode(const u8 *buf, size_t len, struct dsm_msg *msg)
{
	if (len < DSM_WIRE_SIZE)
		return -EPROTO;
	if (get_le(buf + OFF_MAGIC, 2) != DSM_WIRE_MAGIC ||
	    buf[OFF_WIRE] != DSM_WIRE_VERSION)
		return -EPROTO;

	msg->type = buf[OFF_TYPE];
	msg->flags = (u16)get_le(buf + OFF_FLAGS, 2);
	msg->requester = buf[OFF_REQUESTER];
	msg->acks = buf[OFF_ACKS];
	msg->epoch = (u32)get_le(buf + OFF_EPOCH, 4);
	msg->length = (u32)get_le(buf + OFF_LENGTH, 4);
	msg->gfn = get_le(buf + OFF_GFN, 8);
	msg->version = (u32)get_le(buf + OFF_VERSION, 4);
	msg->age = (u16)get_le(buf + OFF_AGE, 2);
	msg->delay = (u16)get_le(buf + OFF_DELAY, 2);

	if (msg->type >= DSM_MSG_LINK)
		return !msg->delay && (msg->length == 0 || msg->length == DSM_PAGE_SIZE) ?
		       0 : -EPROTO;
	return dsm_msg_well_formed(msg) ? 0 : -EPROTO;
}

u8 dsm_wire_version(const u8 *buf, size_t len)
{
	if (len < DSM_WIRE_SIZE || get_le(buf + OFF_MAGIC, 2) != DSM_WIRE_MAGIC)
		return 0;
	return buf[OFF_WIRE];
}

bool dsm_msg_well_formed(const struct dsm_msg *msg)
{
	u32 length = 0;

	if (msg->requester >= DSM_MAX_HOSTS || msg->acks >= DSM_MAX_HOSTS)
		return false;

	switch (msg->type) {
	case DSM_MSG_REQ_S:
		if ((msg->flags & ~DSM_F_PLAIN) || msg->acks || msg->delay)
			return false;
		break;
	case DSM_MSG_FWD_S:
		if ((msg->flags & ~DSM_F_EXCL) || msg->acks)
			return false;
		break;
	case DSM_MSG_INV:
		if (msg->flags || msg->acks)
			return false;
		break;
	case DSM_MSG_HURRY:
		if (msg->flags || msg->acks || msg->delay)
			return false;
		break;
	case DSM_MSG_REQ_X:
		if ((msg->flags & ~DSM_F_HAVE) || msg->acks || msg->delay)
			return false;
		break;
	case DSM_MSG_FWD_X:
		if (msg->flags & ~DSM_F_SAME)
			return false;
		break;
	case DSM_MSG_DATA:
		switch (msg->flags) {
		case 0:
		case DSM_F_CLEAN:
		case DSM_F_EXCL | DSM_F_CLEAN:
			if (msg->acks)
				return false;
			length = DSM_PAGE_SIZE;
			break;
		case DSM_F_EXCL:
			length = DSM_PAGE_SIZE;
			break;
		case DSM_F_EXCL | DSM_F_SAME:
			break;
		case DSM_F_EXCL | DSM_F_ZERO:
			if (msg->acks)
				return false;
			break;
		default:
			return false;
		}
		if (msg->age)
			return false;
		break;
	case DSM_MSG_DONE:
		if ((msg->flags & ~(DSM_F_EXCL | DSM_F_CLEAN)) || msg->acks || msg->age ||
		    msg->delay)
			return false;
		break;
	case DSM_MSG_INV_ACK:
		if (msg->flags || msg->acks || msg->age)
			return false;
		break;
	default:
		return false;
	}
	return msg->length == length;
}

const char *dsm_msg_name(u8 type)
{
	static const char *const names[DSM_MSG_NR] = {
		[DSM_MSG_REQ_S]		= "REQ_S",
		[DSM_MSG_REQ_X]		= "REQ_X",
		[DSM_MSG_FWD_S]		= "FWD_S",
		[DSM_MSG_FWD_X]		= "FWD_X",
		[DSM_MSG_INV]		= "INV",
		[DSM_MSG_DATA]		= "DATA",
		[DSM_MSG_INV_ACK]	= "INV_ACK",
		[DSM_MSG_DONE]		= "DONE",
		[DSM_MSG_HURRY]		= "HURRY",
	};

	return type < DSM_MSG_NR && names[type] ? names[type] : "?";
}
