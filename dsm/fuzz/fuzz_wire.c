// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The wire decoder takes any bytes; what it accepts, the encoder writes back
 * byte for byte.  Random bytes rarely have the right magic, so each input is
 * also tried with a good start.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../dsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const u8 *data, size_t size)
{
	struct dsm_msg msg;
	u8 again[DSM_WIRE_SIZE];
	u8 *exact = calloc(1, size ? size : 1);	/* so that the sanitizer sees its end */

	if (!exact)
		return;
	if (size)
		memcpy(exact, data, size);
	if (!dsm_wire_decode(exact, size, &msg)) {
		if (size < DSM_WIRE_SIZE)
			abort();
		if (msg.length && msg.length != DSM_PAGE_SIZE)
			abort();
		dsm_wire_encode(&msg, again);
		if (memcmp(again, exact, sizeof(again)))
			abort();
		dsm_msg_name(msg.type);
	}
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	u8 buf[DSM_WIRE_SIZE];

	one(data, size);
	while (size >= DSM_WIRE_SIZE) {
		memcpy(buf, data, sizeof(buf));
		buf[0] = DSM_WIRE_MAGIC & 0xff;
		buf[1] = DSM_WIRE_MAGIC >> 8;
		buf[2] = DSM_WIRE_VERSION;
		buf[3] %= 12;
		buf[4] &= 0x1f;
		buf[5] = 0;
		buf[6] &= 0x7f;
		buf[7] = buf[7] & 1 ? buf[7] : 0;
		buf[12] = 0;
		buf[13] = buf[13] & 1 ? DSM_PAGE_SIZE >> 8 : 0;
		buf[14] = 0;
		buf[15] = 0;
		buf[29] = buf[28] & 1 ? buf[29] : 0;
		buf[28] = buf[29] ? buf[28] : 0;
		buf[30] = 0;
		buf[31] = 0;
		one(buf, sizeof(buf));
		data += DSM_WIRE_SIZE;
		size -= DSM_WIRE_SIZE;
	}
	return 0;
}
