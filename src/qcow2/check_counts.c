/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sparse array of reference counts: pages in slabs, a hash from page number to page, and the side table
 * for large counts.  Both hashes probe linearly and are at most half full; nothing is ever removed.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "qcow2/check_counts.h"

#define SLAB_PAGES 256

static size_t hash(uint64_t key, size_t size)
{
    return (size_t)((key * 0x9e3779b97f4a7c15ULL) >> 20) & (size - 1);
}

void byre_counts_done(struct byre_counts *counts)
{
    for (size_t i = 0; i < counts->slabs.len; i++)
        free(counts->slabs.ptr[i]);
    vec_done(&counts->slabs);
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

int byre_counts_add_many(struct byre_counts *counts, uint64_t cluster, uint16_t *cell, uint64_t times)
{
    struct byre_counts_many *slot;

    if ((counts->many_count + 1) * 2 > counts->many_size && grow_many(counts) < 0)
        return -ENOMEM;
    slot = many_slot(counts, cluster + 1);
    if (!slot->key) {
        slot->key = cluster + 1;
        slot->count = *cell & BYRE_CELL_COUNT;
        counts->many_count++;
        *cell |= BYRE_CELL_MANY;
    }
    if (__builtin_add_overflow(slot->count, times, &slot->count))
        slot->count = UINT64_MAX;
    return 0;
}

uint64_t byre_counts_get(const struct byre_counts *counts, const struct byre_counts_page *page, unsigned i)
{
    uint64_t count = page->cells[i] & BYRE_CELL_COUNT;

    if (count < BYRE_CELL_MANY)
        return count;
    return many_slot(counts, (uint64_t)page->number * BYRE_COUNTS_PAGE + i + 1)->count;
}
