/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sparse array of reference counts: pages and wide groups in slabs, a hash from page number to page, and
 * the side table for large counts.  Both hashes probe linearly and are at most half full.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "qcow2/check_counts.h"

#define SLAB_PAGES 256
#define SLAB_WIDE  256

/* The states of narrow cells: a wide cell for each.  The number of a state is its bits in the planes. */
static const uint16_t states[] = {
    0,
    1 | BYRE_CELL_EXCLUSIVE,
    1,
    1 | BYRE_CELL_TABLE,
    1 | BYRE_CELL_TABLE | BYRE_CELL_EXCLUSIVE,
    1 | BYRE_CELL_SHARED,
    2,
    2 | BYRE_CELL_SHARED,
};

static size_t hash(uint64_t key, size_t size)
{
    return (size_t)((key * 0x9e3779b97f4a7c15ULL) >> 20) & (size - 1);
}

void byre_counts_done(struct byre_counts *counts)
{
    for (size_t i = 0; i < counts->slabs.len; i++)
        free(counts->slabs.ptr[i]);
    for (size_t i = 0; i < counts->wide_slabs.len; i++)
        free(counts->wide_slabs.ptr[i]);
    vec_done(&counts->slabs);
    vec_done(&counts->wide_slabs);
    free(counts->index);
    free(counts->many);
    memset(counts, 0, sizeof *counts);
}

struct byre_counts_page *byre_counts_page_at(const struct byre_counts *counts, size_t i)
{
    return &counts->slabs.ptr[i / SLAB_PAGES][i % SLAB_PAGES];
}

struct byre_counts_page *byre_counts_find(const struct byre_counts *counts, uint64_t number)
{
    if (!counts->index_size)
        return NULL;
    for (size_t at = hash(number, counts->index_size);; at = (at + 1) & (counts->index_size - 1)) {
        struct byre_counts_page *page;

        if (!counts->index[at])
            return NULL;
        page = byre_counts_page_at(counts, counts->index[at] - 1);
        if (page->number == number)
            return page;
    }
}

static void index_page(struct byre_counts *counts, size_t i)
{
    size_t at = hash(byre_counts_page_at(counts, i)->number, counts->index_size);

    while (counts->index[at])
        at = (at + 1) & (counts->index_size - 1);
    counts->index[at] = (uint32_t)(i + 1);
}

/* Doubles the index. */
static int grow_index(struct byre_counts *counts)
{
    size_t size = counts->index_size ? counts->index_size * 2 : 512;
    uint32_t *index = calloc(size, sizeof *index);

    if (!index)
        return -ENOMEM;
    free(counts->index);
    counts->index = index;
    counts->index_size = size;
    for (size_t i = 0; i < counts->page_count; i++)
        index_page(counts, i);
    return 0;
}

/* Makes room for one more page. */
static int reserve_page(struct byre_counts *counts)
{
    if (counts->page_count >= counts->page_limit || counts->page_count >= UINT32_MAX - 1)
        return -EFBIG;
    if ((counts->page_count + 1) * 2 > counts->index_size && grow_index(counts) < 0)
        return -ENOMEM;
    if (counts->page_count == counts->slabs.len * SLAB_PAGES) {
        struct byre_counts_page *slab = calloc(SLAB_PAGES, sizeof *slab);

        if (!slab)
            return -ENOMEM;
        if (vec_push(&counts->slabs, slab) < 0) {
            free(slab);
            return -ENOMEM;
        }
    }
    return 0;
}

int byre_counts_make(struct byre_counts *counts, uint64_t number, struct byre_counts_page **ret_page)
{
    struct byre_counts_page *page = byre_counts_find(counts, number);
    int rc;

    if (!page) {
        rc = reserve_page(counts);
        if (rc < 0)
            return rc;
        page = byre_counts_page_at(counts, counts->page_count);
        page->number = number;
        index_page(counts, counts->page_count++);
    }
    counts->last = page;
    *ret_page = page;
    return 0;
}

/* The slot of `key`: taken by it, or free. */
static struct byre_counts_many *many_slot(const struct byre_counts *counts, uint64_t key)
{
    size_t at = hash(key, counts->many_size);

    while (counts->many[at].key && counts->many[at].key != key)
        at = (at + 1) & (counts->many_size - 1);
    return &counts->many[at];
}

static int grow_many(struct byre_counts *counts)
{
    struct byre_counts_many *old = counts->many;
    size_t old_size = counts->many_size;
    size_t size = old_size ? old_size * 2 : 64;
    struct byre_counts_many *many = calloc(size, sizeof *many);

    if (!many)
        return -ENOMEM;
    counts->many = many;
    counts->many_size = size;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].key)
            *many_slot(counts, old[i].key) = old[i];
    }
    free(old);
    return 0;
}

static uint16_t *wide_cells(const struct byre_counts *counts, const struct byre_counts_page *page,
                            unsigned group)
{
    uint64_t number = page->groups[group].planes[0];

    return counts->wide_slabs.ptr[number / SLAB_WIDE][number % SLAB_WIDE].cells;
}

static unsigned narrow_state(const struct byre_counts_group *group, unsigned i)
{
    return (unsigned)((group->planes[0] >> i & 1) | (group->planes[1] >> i & 1) << 1 |
                      (group->planes[2] >> i & 1) << 2);
}

static void set_narrow(struct byre_counts_group *group, unsigned i, unsigned state)
{
    for (unsigned k = 0; k < 3; k++)
        group->planes[k] = (group->planes[k] & ~(1ULL << i)) | (uint64_t)(state >> k & 1) << i;
}

/* The group is to hold more than narrow cells tell. */
static int widen(struct byre_counts *counts, struct byre_counts_page *page, unsigned group)
{
    struct byre_counts_wide wide;

    if (counts->wide_count == counts->wide_slabs.len * SLAB_WIDE) {
        struct byre_counts_wide *slab = malloc(SLAB_WIDE * sizeof *slab);

        if (!slab)
            return -ENOMEM;
        if (vec_push(&counts->wide_slabs, slab) < 0) {
            free(slab);
            return -ENOMEM;
        }
    }
    for (unsigned i = 0; i < BYRE_COUNTS_GROUP; i++)
        wide.cells[i] = states[narrow_state(&page->groups[group], i)];
    page->groups[group].planes[0] = counts->wide_count++;
    page->wide |= (uint8_t)(1u << group);
    *(struct byre_counts_wide *)wide_cells(counts, page, group) = wide;
    return 0;
}

static uint16_t cell_of(const struct byre_counts *counts, const struct byre_counts_page *page, uint64_t cluster)
{
    unsigned group = cluster / BYRE_COUNTS_GROUP % BYRE_COUNTS_GROUPS, i = cluster % BYRE_COUNTS_GROUP;

    if (page->wide >> group & 1)
        return wide_cells(counts, page, group)[i];
    return states[narrow_state(&page->groups[group], i)];
}

static int put_cell(struct byre_counts *counts, struct byre_counts_page *page, uint64_t cluster, uint16_t cell)
{
    unsigned group = cluster / BYRE_COUNTS_GROUP % BYRE_COUNTS_GROUPS, i = cluster % BYRE_COUNTS_GROUP;

    if (!(page->wide >> group & 1)) {
        for (unsigned state = 0; state < ARRAY_LEN(states); state++) {
            if (states[state] == cell) {
                set_narrow(&page->groups[group], i, state);
                return 0;
            }
        }
        if (widen(counts, page, group) < 0)
            return -ENOMEM;
    }
    wide_cells(counts, page, group)[i] = cell;
    return 0;
}

/* `cell` is what the cluster has; its count becomes too large for it, or is so already. */
static int add_many(struct byre_counts *counts, struct byre_counts_page *page, uint64_t cluster, uint16_t cell,
                    uint64_t times)
{
    struct byre_counts_many *slot;

    if ((counts->many_count + 1) * 2 > counts->many_size && grow_many(counts) < 0)
        return -ENOMEM;
    if (put_cell(counts, page, cluster, cell | BYRE_CELL_MANY) < 0)
        return -ENOMEM;
    slot = many_slot(counts, cluster + 1);
    if (!slot->key) {
        slot->key = cluster + 1;
        slot->count = cell & BYRE_CELL_COUNT;
        counts->many_count++;
    }
    if (__builtin_add_overflow(slot->count, times, &slot->count))
        slot->count = UINT64_MAX;
    counts->most = MAX(counts->most, slot->count);
    return 0;
}

int byre_counts_add_slowly(struct byre_counts *counts, struct byre_counts_page *page, uint64_t cluster,
                           uint64_t times, unsigned flags)
{
    uint16_t cell = cell_of(counts, page, cluster);
    unsigned count = cell & BYRE_CELL_COUNT;

    if (((cell | flags) & BYRE_CELL_TABLE) && count && times)
        flags |= BYRE_CELL_CLASH;
    if (flags & BYRE_CELL_CLASH)
        counts->clashes = true;
    cell |= (uint16_t)flags;
    if (count + times > MAX(counts->most, 1u))
        counts->most = count + times;
    if (times >= BYRE_CELL_MANY || count + times >= BYRE_CELL_MANY)
        return add_many(counts, page, cluster, cell, times);
    return put_cell(counts, page, cluster, (uint16_t)(cell + times));
}

static struct byre_cell decode(const struct byre_counts *counts, uint64_t cluster, uint16_t cell)
{
    struct byre_cell decoded = { cell & BYRE_CELL_COUNT, cell & BYRE_CELL_FLAGS };

    if (decoded.count == BYRE_CELL_MANY)
        decoded.count = many_slot(counts, cluster + 1)->count;
    return decoded;
}

struct byre_cell byre_counts_get(const struct byre_counts *counts, uint64_t cluster)
{
    const struct byre_counts_page *page = byre_counts_find(counts, cluster / BYRE_COUNTS_PAGE);

    if (!page)
        return (struct byre_cell){ 0, 0 };
    return decode(counts, cluster, cell_of(counts, page, cluster));
}

void byre_counts_get_group(const struct byre_counts *counts, const struct byre_counts_page *page,
                           unsigned group, struct byre_cell ret_cells[BYRE_COUNTS_GROUP])
{
    uint64_t first = page->number * BYRE_COUNTS_PAGE + group * BYRE_COUNTS_GROUP;

    for (unsigned i = 0; i < BYRE_COUNTS_GROUP; i++)
        ret_cells[i] = decode(counts, first + i, cell_of(counts, page, first + i));
}

int byre_counts_flag(struct byre_counts *counts, uint64_t cluster, unsigned set, unsigned clear)
{
    struct byre_counts_page *page;
    int rc = byre_counts_make(counts, cluster / BYRE_COUNTS_PAGE, &page);

    if (rc < 0)
        return rc;
    return put_cell(counts, page, cluster, (uint16_t)((cell_of(counts, page, cluster) & ~clear) | set));
}

int byre_counts_take(struct byre_counts *counts, uint64_t cluster, uint64_t times)
{
    struct byre_counts_page *page = byre_counts_find(counts, cluster / BYRE_COUNTS_PAGE);
    uint16_t cell = page ? cell_of(counts, page, cluster) : 0;
    uint64_t count = cell & BYRE_CELL_COUNT;

    if (!count || !times)
        return 0;
    if (count == BYRE_CELL_MANY) {
        struct byre_counts_many *slot = many_slot(counts, cluster + 1);

        slot->count -= MIN(slot->count, times);
        return 0;
    }
    cell = (uint16_t)(cell - MIN(count, times));
    return put_cell(counts, page, cluster, cell & BYRE_CELL_COUNT ? cell : 0);
}
