// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest page-table cache; see ptcache.h for what it is and the rules.
 *
 * Copies form one tree per vCPU by linear address, root at level 4 in page 0,
 * never freed.  The tree's shape is in struct ptcache_page; entries of the
 * copies themselves are validated before they are followed, since a guest could
 * write to them: in a legacy paging mode, or by entries of its own tables where
 * these are in place.
 */
#include "ptcache.h"

#define ROOT		0
#define NONE		0xffff
#define LEVELS		4

#define CR0_WP		BIT_ULL(16)
#define CR4_PGE		BIT_ULL(7)
#define CR4_SMEP	BIT_ULL(20)
#define EFER_NXE	BIT_ULL(11)

/* Rights of an upper entry; the rest is the copy's own or ignored. */
#define LINK_RIGHTS	(PTE_P | PTE_W | PTE_U | PTE_NX)

/* Of the root: what differs in these between a link and the guest's entry is no such link. */
#define LINK_MEANS	(LINK_RIGHTS | PTE_ADDR_MASK | PTE_PS | PTE_G)

/* Entries of the root that may lead to the guest's own tables: the lower half's. */
#define IN_PLACE_ENTRIES	(PTCACHE_ENTRIES / 2)

/* A leaf's bits that mean something to the processor: all but those for software. */
#define LEAF_BITS	(~(GENMASK_ULL(58, 52) | GENMASK_ULL(11, 9)))

/* Tries to set D while the guest changes the entry. */
#define DIRTY_TRIES	16

static unsigned int index_of(u64 linear, unsigned int level)
{
	return (linear >> (12 + 9 * (level - 1))) & (PTCACHE_ENTRIES - 1);
}

static u64 page_address(const struct ptcache *pc, u16 page)
{
	return pc->base + ((u64)page << 12);
}

static bool is_leaf(unsigned int level, u64 entry)
{
	return level == 1 || (entry & PTE_PS);
}

/* The table that entry @index of @page links to, or NONE. */
static u16 child_of(const struct ptcache *pc, u16 page, unsigned int index)
{
	const struct ptcache_page *p = &pc->pages[page];
	u64 entry = READ_ONCE(p->table[index]);
	u64 child;

	if (!(entry & PTE_P) || is_leaf(p->level, entry))
		return NONE;
	child = ((entry & PTE_ADDR_MASK) - pc->base) >> 12;
	if (child == ROOT || child >= pc->nr_pages)
		return NONE;
	if (pc->pages[child].level != p->level - 1 || pc->pages[child].parent != page ||
	    pc->pages[child].index != index)
		return NONE;
	return child;
}

/* Returns whether the entry changed. */
static bool set_entry(struct ptcache *pc, u16 page, unsigned int index, u64 val)
{
	struct ptcache_page *p = &pc->pages[page];
	u64 old = READ_ONCE(p->table[index]);

	if (old == val)
		return false;
	if (!old)
		p->used++;
	else if (!val && p->used)
		p->used--;
	WRITE_ONCE(p->table[index], val);
	return true;
}

static void unlist(struct ptcache *pc, u16 page)
{
	u16 *at = &pc->nonglobal;

	if (!pc->pages[page].listed)
		return;
	while (*at != NONE && *at != page)
		at = &pc->pages[*at].next;
	if (*at == page)
		*at = pc->pages[page].next;
	pc->pages[page].listed = false;
}

static void list_nonglobal(struct ptcache *pc, u16 page)
{
	struct ptcache_page *p = &pc->pages[page];

	if (p->listed)
		return;
	p->listed = true;
	p->next = pc->nonglobal;
	pc->nonglobal = page;
}

static void release(struct ptcache *pc, u16 page)
{
	struct ptcache_page *p = &pc->pages[page];

	unlist(pc, page);
	p->level = 0;
	p->next = pc->free;
	pc->free = page;
	pc->count.dropped++;
	/* The hardware may have cached the way to it, and it will be used again. */
	pc->ops->flush(pc->arg);
}

/* Give back @page, already unlinked, and all below it.  The depth is bounded by the levels. */
static void release_tree(struct ptcache *pc, u16 page)
{
	unsigned int i;
	u16 child;

	if (pc->pages[page].level > 1) {
		for (i = 0; i < PTCACHE_ENTRIES && pc->pages[page].used; i++) {
			child = child_of(pc, page, i);
			if (child != NONE)
				release_tree(pc, child);
		}
	}
	release(pc, page);
}

/* Clear an entry and what is below it. */
static void clear_entry(struct ptcache *pc, u16 page, unsigned int index)
{
	u16 child = child_of(pc, page, index);

	set_entry(pc, page, index, 0);
	if (child != NONE)
		release_tree(pc, child);
}

/* Give back tables that have become empty, from @page upwards. */
static void release_empty(struct ptcache *pc, u16 page)
{
	struct ptcache_page *p = &pc->pages[page];

	while (page != ROOT && p->level && !p->used) {
		u16 parent = p->parent;

		set_entry(pc, parent, p->index, 0);
		release(pc, page);
		page = parent;
		p = &pc->pages[page];
	}
}

static void reset(struct ptcache *pc)
{
	u16 i;

	pc->free = NONE;
	pc->nonglobal = NONE;
	for (i = pc->nr_pages; i-- > 1;) {
		struct ptcache_page *p = &pc->pages[i];

		if (p->level)
			pc->count.dropped++;
		p->level = 0;
		p->listed = false;
		p->next = pc->free;
		pc->free = i;
	}
	memset(pc->pages[ROOT].table, 0, PTCACHE_ENTRIES * sizeof(u64));
	pc->pages[ROOT].used = 0;
	pc->pages[ROOT].level = LEVELS;
	pc->ops->flush(pc->arg);
}

void ptcache_flush(struct ptcache *pc)
{
	pc->count.flushes++;
	reset(pc);
}

int ptcache_init(struct ptcache *pc, const struct ptcache_ops *ops, void *arg, u64 base,
		 bool in_place)
{
	pc->ops = ops;
	pc->arg = arg;
	pc->base = base;
	pc->in_place = in_place;
	pc->last_linear = ~0ULL;
	pc->pages[ROOT].table = ops->alloc(arg, ROOT);
	if (!pc->pages[ROOT].table)
		return -ENOMEM;
	pc->nr_pages = 1;
	reset(pc);
	return 0;
}

/* A cleared table, or NONE when the pool is exhausted. */
static u16 take_page(struct ptcache *pc)
{
	u16 page = pc->free;

	if (page != NONE) {
		pc->free = pc->pages[page].next;
	} else {
		if (pc->nr_pages == PTCACHE_PAGES)
			return NONE;
		page = pc->nr_pages;
		pc->pages[page].table = pc->ops->alloc(pc->arg, page);
		if (!pc->pages[page].table)
			return NONE;
		pc->nr_pages++;
	}
	memset(pc->pages[page].table, 0, PTCACHE_ENTRIES * sizeof(u64));
	return page;
}

/* Does the root's entry @index lead to the guest's own table? */
static bool is_in_place(const struct ptcache *pc, unsigned int index)
{
	u64 entry = READ_ONCE(pc->pages[ROOT].table[index]);

	return index < IN_PLACE_ENTRIES && entry & PTE_P && (entry & PTE_ADDR_MASK) < pc->base;
}

/* Let the root's entry @index say what the guest's does.  Returns whether it changed. */
static bool link_in_place(struct ptcache *pc, unsigned int index, u64 guest)
{
	bool was = is_in_place(pc, index);

	if (child_of(pc, ROOT, index) != NONE)
		clear_entry(pc, ROOT, index);
	if (!set_entry(pc, ROOT, index, (guest & (LINK_RIGHTS | PTE_ADDR_MASK)) | PTE_A))
		return false;
	pc->count.in_place++;
	if (was)
		pc->ops->flush(pc->arg);
	return true;
}

static void clear_in_place(struct ptcache *pc)
{
	unsigned int i;

	for (i = 0; i < IN_PLACE_ENTRIES; i++)
		if (is_in_place(pc, i))
			set_entry(pc, ROOT, i, 0);
}

/* The guest's entry @index of the root is @guest now: does the link still say so? */
static void check_in_place(struct ptcache *pc, unsigned int index, u64 guest)
{
	u64 entry = READ_ONCE(pc->pages[ROOT].table[index]);

	if ((entry ^ guest) & LINK_MEANS || !(guest & PTE_A)) {
		set_entry(pc, ROOT, index, 0);
		pc->ops->flush(pc->arg);
	}
}

/*
 * Follow the link for @linear out of @page, making it say what the guest's entry
 * @guest says.  Sets *changed when it did not before.  NONE: pool exhausted.
 */
static u16 follow(struct ptcache *pc, u16 page, u64 linear, u64 guest, bool *changed)
{
	unsigned int level = pc->pages[page].level;
	unsigned int index = index_of(linear, level);
	u64 link = guest & (LINK_RIGHTS | PTE_ADDR_MASK);
	u16 child = child_of(pc, page, index);
	struct ptcache_page *p;

	if (child != NONE && pc->pages[child].link == link)
		return child;
	clear_entry(pc, page, index);
	*changed = true;
	child = take_page(pc);
	if (child == NONE)
		return NONE;
	p = &pc->pages[child];
	p->source = guest & PTE_ADDR_MASK;
	p->link = link;
	p->parent = page;
	p->index = index;
	p->used = 0;
	p->level = level - 1;
	p->global = false;
	p->listed = false;
	set_entry(pc, page, index, page_address(pc, child) | (guest & LINK_RIGHTS) | PTE_A);
	return child;
}

/* What the copy of a guest's leaf entry is; 0 when it must come here first. */
static u64 leaf_copy(const struct walk_cpu *cpu, unsigned int level, u64 guest)
{
	u64 copy = guest & LEAF_BITS;

	if (!(guest & PTE_P) || !(guest & PTE_A) || !is_leaf(level, guest))
		return 0;
	if (walk_reserved(cpu, level, guest))
		return 0;
	if (!(guest & PTE_D)) {
		/* With CR0.WP clear, read-only stops no supervisor write. */
		if (!(cpu->cr0 & CR0_WP))
			return 0;
		copy &= ~PTE_W;
	}
	return copy;
}

/* Copy one leaf.  Returns whether anything changed. */
static bool install(struct ptcache *pc, u16 page, unsigned int index, u64 copy)
{
	struct ptcache_page *p = &pc->pages[page];

	if (child_of(pc, page, index) != NONE)
		clear_entry(pc, page, index);
	if (copy) {
		if ((copy & PTE_G) && pc->pge)
			p->global = true;
		else
			list_nonglobal(pc, page);
		pc->count.installed++;
	}
	return set_entry(pc, page, index, copy);
}

/*
 * Copy the table that the walk ended in, the entry of @linear as the walk saw it.
 * Tables of upper levels: their leaves (large pages), links stay as they are.
 */
static int fill_table(struct ptcache *pc, const struct walk_cpu *cpu, u16 page, u64 linear,
		      u64 guest, bool *changed)
{
	unsigned int level = pc->pages[page].level;
	unsigned int target = index_of(linear, level), i;
	int ret;

	ret = pc->ops->read_table(pc->arg, pc->pages[page].source, pc->buf);
	if (ret && ret != -ENOENT)
		return ret;
	for (i = 0; !ret && i < PTCACHE_ENTRIES; i++) {
		u64 copy;

		if (i == target)
			continue;
		copy = leaf_copy(cpu, level, pc->buf[i]);
		if (copy || child_of(pc, page, i) == NONE)
			install(pc, page, i, copy);
	}
	if (install(pc, page, target, leaf_copy(cpu, level, guest)))
		*changed = true;
	return 0;
}

/* The guest's entry counts as written: see "CR0.WP clear" in ptcache.h. */
static int set_dirty(struct ptcache *pc, struct walk_result *res)
{
	u64 gpa = res->entry[res->leaf - 1].gpa;
	u64 old = res->entry[res->leaf - 1].val;
	unsigned int tries;
	int ret;

	for (tries = 0; tries < DIRTY_TRIES; tries++) {
		u64 found = old;

		ret = (pc->ops->guest.cmpxchg)(pc->arg, gpa, 8, &found, old | PTE_D);
		if (ret < 0)
			return ret;
		if (!ret) {
			res->entry[res->leaf - 1].val = old | PTE_D;
			pc->count.ad_updates++;
			return 0;
		}
		/* Only other accessed/dirty bits may have changed; else walk again. */
		if ((found ^ old) & ~(PTE_A | PTE_D))
			return -EAGAIN;
		old = found;
	}
	return -EAGAIN;
}

/* Count what walk() sets. */
static int counting_read(void *arg, u64 gpa, unsigned int size, u64 *val)
{
	struct ptcache *pc = arg;

	return pc->ops->guest.read(pc->arg, gpa, size, val);
}

static int counting_cmpxchg(void *arg, u64 gpa, unsigned int size, u64 *old, u64 new)
{
	struct ptcache *pc = arg;
	int ret = (pc->ops->guest.cmpxchg)(pc->arg, gpa, size, old, new);

	if (!ret)
		pc->count.ad_updates++;
	return ret;
}

static const struct walk_ops counting_ops = { counting_read, counting_cmpxchg };

/* Copy the path that the walk took.  0, -ENOSPC with the pool exhausted, -errno. */
static int fill(struct ptcache *pc, const struct walk_cpu *cpu, u64 linear,
		const struct walk_result *res, bool *changed)
{
	unsigned int level;
	u16 page = ROOT;

	/* The root is the current CR3's: its source is where the walk began. */
	pc->pages[ROOT].source = cpu->cr3 & PTE_ADDR_MASK;
	pc->pge = cpu->cr4 & CR4_PGE;
	if (pc->in_place && index_of(linear, LEVELS) < IN_PLACE_ENTRIES) {
		*changed |= link_in_place(pc, index_of(linear, LEVELS), res->entry[LEVELS - 1].val);
		return 0;
	}
	for (level = LEVELS; level > res->leaf; level--) {
		page = follow(pc, page, linear, res->entry[level - 1].val, changed);
		if (page == NONE)
			return -ENOSPC;
	}
	return fill_table(pc, cpu, page, linear, res->entry[res->leaf - 1].val, changed);
}

/* Forget the leaf of @linear; @root: the guest's entry of the root for it. */
static void forget(struct ptcache *pc, u64 linear, u64 root)
{
	unsigned int index = index_of(linear, LEVELS);
	u16 page = ROOT, child;

	if (is_in_place(pc, index)) {
		check_in_place(pc, index, root);
		return;
	}
	for (;;) {
		index = index_of(linear, pc->pages[page].level);
		child = child_of(pc, page, index);
		if (child == NONE)
			break;
		page = child;
	}
	set_entry(pc, page, index, 0);
	release_empty(pc, page);
}

int ptcache_fault(struct ptcache *pc, const struct walk_cpu *cpu, u64 linear, u32 error,
		  u32 *inject)
{
	struct walk_cpu who = *cpu;
	unsigned int access = WALK_READ;
	struct walk_result res;
	bool changed = false;
	int ret;

	if (error & PFEC_W)
		access |= WALK_WRITE;
	/*
	 * With neither NX nor SMEP the hardware does not tell a fetch, which
	 * SMAP and keys do not stop.  Take it for one: if it was a read that
	 * they do stop, it comes again and is spurious, see below.
	 */
	if ((error & PFEC_I) ||
	    !((error & PFEC_W) || (cpu->cr4 & CR4_SMEP) || (cpu->efer & EFER_NXE)))
		access |= WALK_FETCH;
	/* At CPL 3 only accesses to system tables are a supervisor's. */
	if (!(error & PFEC_U) && cpu->cpl == 3)
		access |= WALK_IMPLICIT;
	who.cpl = error & PFEC_U ? 3 : 0;

	ret = walk(&who, &counting_ops, pc, linear, access, &res);
	if (ret == WALK_OK && !(cpu->cr0 & CR0_WP) && !(res.entry[res.leaf - 1].val & PTE_D))
		ret = set_dirty(pc, &res);
	if (ret == -EAGAIN)
		return PTCACHE_RESUME;
	if (ret < 0)
		return ret;
	if (ret == WALK_FAULT) {
		/* A fault forgets what is known of its address, as on hardware. */
		forget(pc, linear, res.entry[LEVELS - 1].val);
		pc->count.injected++;
		*inject = res.error;
		return PTCACHE_INJECT;
	}

	ret = fill(pc, cpu, linear, &res, &changed);
	if (ret == -ENOSPC) {
		pc->count.exhausted++;
		ptcache_flush(pc);
		changed = true;
		ret = fill(pc, cpu, linear, &res, &changed);
	}
	if (ret)
		return ret == -ENOSPC ? -ENOMEM : ret;
	pc->count.fills++;
	if (changed) {
		pc->last_linear = ~0ULL;
		return PTCACHE_RESUME;
	}
	/*
	 * The copies had allowed it already.  Once: the hardware's TLB knew
	 * something older.  Twice running: the hardware checks something that
	 * the walk cannot know, and is right.
	 */
	pc->count.spurious++;
	if (pc->last_linear == linear && pc->last_error == error) {
		pc->last_linear = ~0ULL;
		pc->count.injected++;
		*inject = error;
		return PTCACHE_INJECT;
	}
	pc->last_linear = linear;
	pc->last_error = error;
	pc->ops->flush(pc->arg);
	return PTCACHE_RESUME;
}

void ptcache_invlpg(struct ptcache *pc, u64 linear)
{
	unsigned int index = index_of(linear, LEVELS);
	u64 root = 0;

	pc->count.invlpgs++;
	if (!is_in_place(pc, index)) {
		/* A table that is given back flushes everything. */
		forget(pc, linear, 0);
		pc->ops->flush_page(pc->arg, linear);
		return;
	}
	pc->count.invlpgs_in_place++;
	if (pc->ops->guest.read(pc->arg, pc->pages[ROOT].source + index * sizeof(root),
				sizeof(root), &root))
		root = 0;	/* it comes by a fault */
	forget(pc, linear, root);
	/* The guest may have changed its upper tables, which are cached as well. */
	pc->ops->flush(pc->arg);
}

static void forget_nonglobal(struct ptcache *pc)
{
	unsigned int i;
	u16 page;

	while ((page = pc->nonglobal) != NONE) {
		struct ptcache_page *p = &pc->pages[page];

		unlist(pc, page);
		if (!p->global && p->level == 1) {
			p->used = 0;	/* the table is given back as it is */
		} else {
			for (i = 0; i < PTCACHE_ENTRIES; i++) {
				u64 entry = READ_ONCE(p->table[i]);

				if ((entry & PTE_P) && is_leaf(p->level, entry) &&
				    !((entry & PTE_G) && pc->pge))
					set_entry(pc, page, i, 0);
			}
		}
		release_empty(pc, page);
	}
}

void ptcache_cr3(struct ptcache *pc, const struct walk_cpu *cpu, bool in_place)
{
	unsigned int i;

	pc->count.cr3_loads++;
	forget_nonglobal(pc);
	clear_in_place(pc);
	pc->in_place = in_place;
	pc->pages[ROOT].source = cpu->cr3 & PTE_ADDR_MASK;
	pc->ops->flush(pc->arg);
	if (!in_place || pc->ops->read_table(pc->arg, pc->pages[ROOT].source, pc->buf))
		return;
	for (i = 0; i < IN_PLACE_ENTRIES; i++) {
		u64 guest = pc->buf[i];

		if (guest & PTE_P && guest & PTE_A && !walk_reserved(cpu, LEVELS, guest))
			link_in_place(pc, i, guest);
	}
}

void ptcache_copy(struct ptcache *pc)
{
	pc->count.copied++;
	pc->in_place = false;
	clear_in_place(pc);
	pc->ops->flush(pc->arg);
}

bool ptcache_lookup(const struct ptcache *pc, u64 linear, u64 *gpa)
{
	u16 page = ROOT, child;
	u64 entry, offset;

	for (;;) {
		unsigned int level = pc->pages[page].level;
		unsigned int index = index_of(linear, level);

		child = child_of(pc, page, index);
		if (child != NONE) {
			page = child;
			continue;
		}
		entry = READ_ONCE(pc->pages[page].table[index]);
		if (!(entry & PTE_P) || !is_leaf(level, entry))
			return false;
		offset = BIT_ULL(12 + 9 * (level - 1)) - 1;
		*gpa = (entry & PTE_ADDR_MASK & ~offset) | (linear & offset);
		/* Not one that the guest itself could not have: see above. */
		return *gpa < pc->base;
	}
}
