/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often each host cluster is referred to: a sparse array of 16-bit cells, indexed by host cluster number.
 *
 * Pages of 64 cells are made when something in them is touched, and found through a hash.  A cell holds the
 * count and four flags; counts that do not fit are kept in a side table.  The number of pages is limited by
 * what the caller says it has read, so that a hostile sparse file cannot make the array grow out of
 * proportion.
 */
#ifndef BYRE_QCOW2_CHECK_COUNTS_H
#define BYRE_QCOW2_CHECK_COUNTS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

#define BYRE_CELL_COUNT     0x0fffu
#define BYRE_CELL_MANY      BYRE_CELL_COUNT /* this count or more: see the side table */
#define BYRE_CELL_TABLE     0x1000u         /* metadata is here */
#define BYRE_CELL_CLASH     0x2000u         /* ... and something else refers to it, too */
#define BYRE_CELL_EXCLUSIVE 0x4000u         /* an active entry refers to it with COPIED */
#define BYRE_CELL_SHARED    0x8000u         /* an active entry refers to it without COPIED */
#define BYRE_CELL_SUSPECT   (BYRE_CELL_EXCLUSIVE | BYRE_CELL_SHARED) /* both: an entry's COPIED is wrong */

#define BYRE_COUNTS_PAGE 64 /* cells a page */

struct byre_counts_page {
    uint64_t number : 63; /* of its first cluster / BYRE_COUNTS_PAGE */
    uint64_t visited : 1; /* for the caller */
    uint16_t cells[BYRE_COUNTS_PAGE];
};

struct byre_counts_many {
    uint64_t key; /* cluster number + 1; 0: free */
    uint64_t count;
};

struct byre_counts {
    VEC(struct byre_counts_page *) slabs;
    size_t page_count, page_limit;
    uint32_t *index; /* page number + 1 by hash; 0: free */
    size_t index_size;
    struct byre_counts_many *many;
    size_t many_count, many_size;
    struct byre_counts_page *last; /* the page that was used last */
};

/* A zeroed struct is an empty array with a limit of no pages. */
void byre_counts_done(struct byre_counts *counts);

/* The i-th page, in the order of creation. */
struct byre_counts_page *byre_counts_page_at(const struct byre_counts *counts, size_t i);

/* The page with this number, or NULL. */
struct byre_counts_page *byre_counts_find(const struct byre_counts *counts, uint64_t number);

/* The page with this number, new if need be: 0, -ENOMEM, or -EFBIG where the limit is reached. */
int byre_counts_make(struct byre_counts *counts, uint64_t number, struct byre_counts_page **ret_page);

/* How often `cluster`, cell `i` of `page`, is referred to. */
uint64_t byre_counts_get(const struct byre_counts *counts, const struct byre_counts_page *page, unsigned i);

/* The part of byre_counts_add for counts that do not fit their cell. */
int byre_counts_add_many(struct byre_counts *counts, uint64_t cluster, uint16_t *cell, uint64_t times);

/* Counts `times` more references to `cluster`, and sets flags of its cell.  0, -ENOMEM, -EFBIG. */
static inline int byre_counts_add(struct byre_counts *counts, uint64_t cluster, uint64_t times,
                                  unsigned flags)
{
    struct byre_counts_page *page = counts->last;
    uint16_t *cell;

    if (!page || page->number != cluster / BYRE_COUNTS_PAGE) {
        int rc = byre_counts_make(counts, cluster / BYRE_COUNTS_PAGE, &page);
        if (rc < 0)
            return rc;
    }
    cell = &page->cells[cluster % BYRE_COUNTS_PAGE];
    if (((*cell | flags) & BYRE_CELL_TABLE) && (*cell & BYRE_CELL_COUNT) && times)
        flags |= BYRE_CELL_CLASH;
    *cell |= (uint16_t)flags;
    if (times >= BYRE_CELL_MANY || (*cell & BYRE_CELL_COUNT) + times >= BYRE_CELL_MANY)
        return byre_counts_add_many(counts, cluster, cell, times);
    *cell = (uint16_t)(*cell + times);
    return 0;
}

#endif
