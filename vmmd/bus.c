// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The I/O bus: see bus.h.
 */
#include "bus.h"

int bus_add(struct bus *b, enum io_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *dev)
{
	struct bus_range *r;
	unsigned int i;

	if (b->nr == BUS_MAX_RANGES || !len || base + len < base)
		return -1;
	for (i = 0; i < b->nr; i++) {
		r = &b->range[i];
		if (r->space == space && base < r->base + r->len && r->base < base + len)
			return -1;
	}
	b->range[b->nr++] = (struct bus_range){
		.space = space, .base = base, .len = len, .ops = ops, .dev = dev,
	};
	return 0;
}

const struct bus_range *bus_find(const struct bus *b, enum io_space space, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < b->nr; i++) {
		const struct bus_range *r = &b->range[i];

		if (r->space == space && addr >= r->base && addr - r->base < r->len)
			return r;
	}
	return NULL;
}

static uint64_t size_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : (1ULL << (size * 8)) - 1;
}

static bool access_bytes(const struct bus *b, struct io_req *req)
{
	uint64_t data = 0;
	bool claimed = false;
	unsigned int i;

	for (i = 0; i < req->size; i++) {
		struct io_req byte = *req;

		byte.size = 1;
		byte.addr += i;
		byte.data = req->data >> (i * 8) & 0xff;
		claimed |= bus_access(b, &byte);
		data |= (byte.data & 0xff) << (i * 8);
	}
	if (!req->write)
		req->data = data;
	return claimed;
}

bool bus_access(const struct bus *b, struct io_req *req)
{
	const struct bus_range *r = bus_find(b, req->space, req->addr);
	uint64_t off;

	if (!r || !r->ops) {
		if (!req->write)
			req->data = size_mask(req->size);
		return false;
	}
	off = req->addr - r->base;
	if (req->size > r->len - off)
		return access_bytes(b, req);
	if (req->write)
		r->ops->write(r->dev, off, req->size, req->data & size_mask(req->size));
	else
		req->data = r->ops->read(r->dev, off, req->size) & size_mask(req->size);
	return true;
}
