// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Encoders and decoders of proto.h.  Whatever comes from another host is
 * checked here, field by field, before anything else sees it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmd/proto.h"

#define MAGIC	0x31444d564d4d5643ULL	/* "CVMMVMD1" */

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len--)
		if (*p++)
			return false;
	return true;
}

/* A NUL-terminated text of printable characters in a field of fixed size. */
static int get_text(char *out, const uint8_t *in, size_t size)
{
	size_t i, len = strnlen((const char *)in, size);

	if (len == size)
		return -1;
	for (i = 0; i < len; i++)
		out[i] = in[i] < ' ' || in[i] == 0x7f ? '?' : (char)in[i];
	out[len] = '\0';
	return 0;
}

static void put_text(uint8_t *out, const char *in, size_t size)
{
	size_t len = strnlen(in, size - 1);

	memcpy(out, in, len);
	memset(out + len, 0, size - len);
}

void hello_encode(uint8_t buf[HELLO_SIZE], const struct hello *h)
{
	memset(buf, 0, HELLO_SIZE);
	put_u64(buf, MAGIC);
	put_u32(buf + 8, PROTO_VERSION);
	put_u32(buf + 12, h->role);
	put_u64(buf + 16, h->vm_id);
	put_u32(buf + 24, h->epoch);
	put_u32(buf + 28, h->from);
	put_u32(buf + 32, h->to);
	put_text(buf + 40, h->name, CONF_NAME_LEN);
}

int hello_decode(const uint8_t buf[HELLO_SIZE], struct hello *h, uint32_t *version)
{
	uint32_t role = get_u32(buf + 12);

	if (get_u64(buf) != MAGIC)
		return -1;
	*version = get_u32(buf + 8);
	if (*version != PROTO_VERSION)
		return -2;
	if (role < HELLO_CLIENT || role > HELLO_CHECK)
		return -1;
	h->role = (enum hello_role)role;
	h->vm_id = get_u64(buf + 16);
	h->epoch = get_u32(buf + 24);
	h->from = get_u32(buf + 28);
	h->to = get_u32(buf + 32);
	if (!h->vm_id || !h->epoch || h->to >= CONF_MAX_NODES || get_u32(buf + 36) ||
	    !all_zero(buf + 104, 24))
		return -1;
	if (role == HELLO_CLIENT || role == HELLO_CHECK ? h->from != NODE_CLIENT
				 : h->from >= CONF_MAX_NODES || h->from == h->to)
		return -1;
	if (get_text(h->name, buf + 40, CONF_NAME_LEN) || !conf_name_ok(h->name))
		return -1;
	return 0;
}

void answer_encode(uint8_t buf[ANSWER_SIZE], uint32_t status, const char *text)
{
	memset(buf, 0, ANSWER_SIZE);
	put_u64(buf, MAGIC);
	put_u32(buf + 8, PROTO_VERSION);
	put_u32(buf + 12, status);
	put_text(buf + 24, text, ANSWER_TEXT);
}

int answer_decode(const uint8_t buf[ANSWER_SIZE], struct answer *a, uint32_t *version)
{
	if (get_u64(buf) != MAGIC)
		return -1;
	*version = get_u32(buf + 8);
	a->status = get_u32(buf + 12);
	return get_text(a->text, buf + 24, ANSWER_TEXT);
}

static void put_tokens(uint8_t *buf, const struct link_offer *o)
{
	memcpy(buf, o->offered, LINK_TOKEN);
	memcpy(buf + LINK_TOKEN, o->wanted, LINK_TOKEN);
}

static void get_tokens(struct link_offer *o, const uint8_t *buf)
{
	memcpy(o->offered, buf, LINK_TOKEN);
	memcpy(o->wanted, buf + LINK_TOKEN, LINK_TOKEN);
}

void link_word_encode(uint8_t buf[LINK_WORD_SIZE], const struct link_word *w)
{
	memset(buf, 0, LINK_WORD_SIZE);
	put_u32(buf, w->kind);
	put_u16(buf + 4, w->link.port);
	put_u16(buf + 6, w->channel.port);
	put_tokens(buf + 8, &w->link);
	put_tokens(buf + 8 + 2 * LINK_TOKEN, &w->channel);
	put_text(buf + 8 + 4 * LINK_TOKEN, w->text, LINK_TEXT);
}

int link_word_decode(const uint8_t buf[LINK_WORD_SIZE], struct link_word *w)
{
	w->kind = get_u32(buf);
	w->link.port = get_u16(buf + 4);
	w->channel.port = get_u16(buf + 6);
	get_tokens(&w->link, buf + 8);
	get_tokens(&w->channel, buf + 8 + 2 * LINK_TOKEN);
	if (w->kind < LINK_TCP || w->kind > LINK_FAILED)
		return -1;
	return get_text(w->text, buf + 8 + 4 * LINK_TOKEN, LINK_TEXT);
}

void frame_header(uint8_t buf[FRAME_HEADER], uint16_t type, uint32_t tag, uint32_t len)
{
	put_u32(buf, len);
	put_u16(buf + 4, type);
	put_u16(buf + 6, 0);
	put_u32(buf + 8, tag);
	put_u32(buf + 12, 0);
}

long frame_decode(const uint8_t *buf, size_t len, struct frame *f)
{
	if (len < FRAME_HEADER)
		return 0;
	f->len = get_u32(buf);
	f->type = get_u16(buf + 4);
	f->tag = get_u32(buf + 8);
	if (f->len > FRAME_MAX || !f->type || f->type >= F_TYPES || get_u16(buf + 6) || get_u32(buf + 12))
		return -1;
	if (len - FRAME_HEADER < f->len)
		return 0;
	f->data = buf + FRAME_HEADER;
	return FRAME_HEADER + (long)f->len;
}

/* ---- the start request --------------------------------------------------- */

/* A cursor over a buffer; once something did not fit, all further calls do nothing. */
struct cursor {
	uint8_t *out;
	const uint8_t *in;
	size_t pos, max;
	bool bad;
};

static bool room(struct cursor *c, size_t n)
{
	if (c->bad || c->max - c->pos < n)
		c->bad = true;
	return !c->bad;
}

static void w64(struct cursor *c, uint64_t v)
{
	if (!room(c, 8))
		return;
	put_u64(c->out + c->pos, v);
	c->pos += 8;
}

/* A string: its length plus one as u64 (0: NULL), then its bytes. */
static void wstr(struct cursor *c, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	w64(c, s ? len + 1 : 0);
	if (!room(c, len) || !len)
		return;
	memcpy(c->out + c->pos, s, len);
	c->pos += len;
}

static uint64_t r64(struct cursor *c)
{
	uint64_t v;

	if (!room(c, 8))
		return 0;
	v = get_u64(c->in + c->pos);
	c->pos += 8;
	return v;
}

static char *rstr(struct cursor *c)
{
	uint64_t n = r64(c);
	char *s;

	if (!n || n > FRAME_MAX || !room(c, n - 1)) {
		c->bad |= n > FRAME_MAX;
		return NULL;
	}
	s = malloc(n);
	if (!s || memchr(c->in + c->pos, 0, n - 1)) {
		free(s);
		c->bad = true;
		return NULL;
	}
	memcpy(s, c->in + c->pos, n - 1);
	s[n - 1] = '\0';
	c->pos += n - 1;
	return s;
}

long start_encode(uint8_t *buf, size_t max, const struct start_request *s)
{
	struct cursor c = { .out = buf, .max = max };
	const struct vm_conf *v = &s->conf;
	unsigned int i;

	wstr(&c, v->name);
	wstr(&c, v->kernel);
	wstr(&c, v->initrd);
	wstr(&c, v->cmdline);
	wstr(&c, v->engine);
	w64(&c, v->memory);
	w64(&c, v->connections);
	w64(&c, v->pages);
	w64(&c, v->min_run_us);
	w64(&c, v->slowdown);
	w64(&c, v->encryption);
	w64(&c, v->transport);
	w64(&c, s->kernel_len);
	w64(&c, s->initrd_len);
	w64(&c, v->nr_nodes);
	for (i = 0; i < v->nr_nodes; i++) {
		wstr(&c, v->node[i].host);
		w64(&c, v->node[i].port);
		w64(&c, v->node[i].vcpus);
		w64(&c, v->node[i].memory);
		wstr(&c, v->node[i].cpus);
		w64(&c, (uint64_t)(v->node[i].numa_node + 1));
	}
	return c.bad ? -1 : (long)c.pos;
}

/* A number that must fit in an unsigned int of at most @max. */
static unsigned int r_uint(struct cursor *c, uint64_t max)
{
	uint64_t v = r64(c);

	if (v > max) {
		c->bad = true;
		return 0;
	}
	return (unsigned int)v;
}

int start_decode(const uint8_t *buf, size_t len, struct start_request *s, char *err, size_t errlen)
{
	struct cursor c = { .in = buf, .max = len };
	struct vm_conf *v = &s->conf;
	unsigned int i, nr;
	char *name;

	memset(s, 0, sizeof(*s));
	name = rstr(&c);
	if (name && strlen(name) < CONF_NAME_LEN)
		strcpy(v->name, name);
	free(name);
	v->kernel = rstr(&c);
	v->initrd = rstr(&c);
	v->cmdline = rstr(&c);
	v->engine = rstr(&c);
	v->memory = r64(&c);
	v->connections = r_uint(&c, CONF_MAX_CONNECTIONS);
	v->pages = (enum conf_pages)r_uint(&c, CONF_PAGES - 1);
	v->min_run_us = r_uint(&c, CONF_MAX_MIN_RUN_US);
	v->slowdown = r_uint(&c, CONF_MAX_SLOWDOWN);
	v->encryption = r_uint(&c, 1);
	v->transport = (enum conf_transport)r_uint(&c, CONF_TRANSPORTS - 1);
	s->kernel_len = r64(&c);
	s->initrd_len = r64(&c);
	nr = r_uint(&c, CONF_MAX_NODES);
	for (i = 0; i < nr && !c.bad; i++) {
		v->nr_nodes = i + 1;
		v->node[i].host = rstr(&c);
		v->node[i].port = (uint16_t)r_uint(&c, UINT16_MAX);
		v->node[i].vcpus = r_uint(&c, CONF_MAX_VCPUS);
		v->node[i].memory = r64(&c);
		v->node[i].cpus = rstr(&c);
		v->node[i].numa_node = (int)r_uint(&c, 1024) - 1;
	}
	if (c.bad || c.pos != len) {
		snprintf(err, errlen, "the configuration is malformed");
		return -1;
	}
	if (conf_check(v, err, errlen))
		return -1;
	if (!s->kernel_len || s->kernel_len > v->memory || s->initrd_len > v->memory ||
	    s->kernel_len + s->initrd_len > v->memory) {
		snprintf(err, errlen, "kernel and initrd (%llu and %llu bytes) do not fit in the guest's memory",
			 (unsigned long long)s->kernel_len, (unsigned long long)s->initrd_len);
		return -1;
	}
	return 0;
}

/* ---- small payloads ------------------------------------------------------ */

void ended_encode(uint8_t buf[ENDED_SIZE], const struct ended *e)
{
	put_u32(buf, e->end);
	put_u32(buf + 4, e->node);
	put_u32(buf + 8, e->status);
	put_text(buf + 12, e->text, ENDED_TEXT);
}

int ended_decode(const uint8_t *buf, size_t len, struct ended *e)
{
	if (len != ENDED_SIZE)
		return -1;
	e->end = get_u32(buf);
	e->node = get_u32(buf + 4);
	e->status = get_u32(buf + 8);
	if (e->end > MACHINE_ERROR || (e->node >= CONF_MAX_NODES && e->node != NODE_CLIENT) ||
	    e->status >= ENDED_STATUSES)
		return -1;
	return get_text(e->text, buf + 12, ENDED_TEXT);
}

/* A byte that holds flags, of which only those in @mask exist. */
static int check_flags(uint8_t flags, uint8_t mask)
{
	return flags & ~mask ? -1 : 0;
}

/* dest u32, source u32, vector u8, delivery u8, shorthand u8, flags u8, 0 u32 */
void apic_msg_encode(uint8_t buf[APIC_MSG_SIZE], const struct apic_msg *m)
{
	put_u32(buf, m->dest);
	put_u32(buf + 4, m->source);
	buf[8] = m->vector;
	buf[9] = m->delivery;
	buf[10] = m->shorthand;
	buf[11] = (uint8_t)(m->logical | m->level << 1 | m->assert << 2 | m->x2apic << 3);
	put_u32(buf + 12, 0);
}

int apic_msg_decode(const uint8_t *buf, size_t len, struct apic_msg *m)
{
	if (len != APIC_MSG_SIZE || get_u32(buf + 12) || check_flags(buf[11], 0xf) ||
	    buf[9] > 7 || buf[10] > 3)
		return -1;
	memset(m, 0, sizeof(*m));
	m->dest = get_u32(buf);
	m->source = get_u32(buf + 4);
	m->vector = buf[8];
	m->delivery = buf[9];
	m->shorthand = buf[10];
	m->logical = buf[11] & 1;
	m->level = buf[11] & 2;
	m->assert = buf[11] & 4;
	m->x2apic = buf[11] & 8;
	return 0;
}

/* id u32, ldr u32, dfr u32, flags u32 */
void apic_info_encode(uint8_t buf[APIC_INFO_SIZE], const struct apic_info *i)
{
	put_u32(buf, i->id);
	put_u32(buf + 4, i->ldr);
	put_u32(buf + 8, i->dfr);
	put_u32(buf + 12, i->enabled | (uint32_t)i->x2apic << 1);
}

int apic_info_decode(const uint8_t *buf, size_t len, struct apic_info *i)
{
	if (len != APIC_INFO_SIZE || get_u32(buf + 12) > 3 || get_u32(buf) >= CONF_MAX_VCPUS)
		return -1;
	memset(i, 0, sizeof(*i));
	i->id = get_u32(buf);
	i->ldr = get_u32(buf + 4);
	i->dfr = get_u32(buf + 8);
	i->enabled = buf[12] & 1;
	i->x2apic = buf[12] & 2;
	return 0;
}

/* space u8, write u8, size u8, 0 u8, vcpu u32, addr u64, data u64 */
void io_encode(uint8_t buf[IO_SIZE], const struct io_req *r)
{
	buf[0] = (uint8_t)r->space;
	buf[1] = r->write;
	buf[2] = r->size;
	buf[3] = 0;
	put_u32(buf + 4, r->vcpu);
	put_u64(buf + 8, r->addr);
	put_u64(buf + 16, r->data);
}

int io_decode(const uint8_t *buf, size_t len, struct io_req *r)
{
	uint8_t size;

	if (len != IO_SIZE || buf[0] > IO_MMIO || buf[1] > 1 || buf[3])
		return -1;
	size = buf[2];
	if (size != 1 && size != 2 && size != 4 && size != 8)
		return -1;
	memset(r, 0, sizeof(*r));
	r->space = buf[0];
	r->write = buf[1];
	r->size = size;
	r->vcpu = get_u32(buf + 4);
	r->addr = get_u64(buf + 8);
	r->data = get_u64(buf + 16);
	if (r->vcpu >= CONF_MAX_VCPUS || (r->space == IO_PIO && (r->addr > 0xffff || size == 8)))
		return -1;
	return 0;
}
