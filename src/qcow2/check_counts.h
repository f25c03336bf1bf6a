/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often each host cluster is referred to: a sparse array, indexed by host cluster number.
 *
 * Pages of 512 cells are made when something in them is touched, and found through a hash.  A page is eight
 * groups of 64 cells.  A group starts narrow, with three bits a cell, which tell the eight states that clusters
 * of an image without internal snapshots have; it becomes wide, with 16 bits a cell (a count and flags), when
 * a cell is anything else.  Counts that do not fit there are kept in a side table.  The number of pages is
 * limited by what the caller says it has read, so that a hostile sparse file cannot make the array grow out of
 * proportion.
 *
 * Invariants
 *   C1. The bits of a cell in the planes of a narrow group are its state; those of a wide group are not looked
 *       at, but for planes[0], which is the number of its wide cells.
 *   C2. Nothing is ever removed; cells may go back to 0.
 */
#ifndef BYRE_QCOW2_CHECK_COUNTS_H
#define BYRE_QCOW2_CHECK_COUNTS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

/* A wide cell. */
#define BYRE_CELL_COUNT     0x0fffu
#define BYRE_CELL_MANY      BYRE_CELL_COUNT /* this count or more: see the side table */
#define BYRE_CELL_TABLE     0x1000u         /* metadata is here */
#define BYRE_CELL_CLASH     0x2000u         /* ... and something else refers to it, too */
#define BYRE_CELL_EXCLUSIVE 0x4000u         /* an active entry refers to it with COPIED */
#define BYRE_CELL_SHARED    0x8000u         /* an active entry refers to it without COPIED */
#define BYRE_CELL_SUSPECT   (BYRE_CELL_EXCLUSIVE | BYRE_CELL_SHARED) /* both: an entry's COPIED is wrong */
#define BYRE_CELL_FLAGS     0xf000u

#define BYRE_COUNTS_GROUP  64u /* cells a group */
#define BYRE_COUNTS_GROUPS 8u  /* groups a page */
#define BYRE_COUNTS_PAGE   (BYRE_COUNTS_GROUP * BYRE_COUNTS_GROUPS)

/* 64 neighbouring cells.  The first state has its bit in planes[0] alone: data that one entry owns. */
struct byre_counts_group {
    uint64_t planes[3];
};

struct byre_counts_page {
    uint64_t number; /* of its first cluster / BYRE_COUNTS_PAGE */
    uint8_t wide;    /* one bit a group */
    uint8_t visited; /* one bit a group; for the caller */
    struct byre_counts_group groups[BYRE_COUNTS_GROUPS];
};

struct byre_counts_wide {
    uint16_t cells[BYRE_COUNTS_GROUP];
};

struct byre_counts_many {
    uint64_t key; /* cluster number + 1; 0: free */
    uint64_t count;
};

struct byre_counts {
    VEC(struct byre_counts_page *) slabs;
    size_t page_count, page_limit;
    VEC(struct byre_counts_wide *) wide_slabs;
    size_t wide_count;
    uint32_t *index; /* page number + 1 by hash; 0: free */
    size_t index_size;
    struct byre_counts_many *many;
    size_t many_count, many_size;
    bool clashes;                  /* some cell is a CLASH */
    uint64_t most;                 /* the largest count of 2 and more that was reached */
    struct byre_counts_page *last; /* the page that was used last */
};

/* What is known of a cluster. */
struct byre_cell {
    uint64_t count;
    unsigned flags; /* BYRE_CELL_TABLE ... */
};

/* A zeroed struct is an empty array with a limit of no pages. */
void byre_counts_done(struct byre_counts *counts);

/* The i-th page, in the order of creation. */
struct byre_counts_page *byre_counts_page_at(const struct byre_counts *counts, size_t i);

/* The page with this number, or NULL. */
struct byre_counts_page *byre_counts_find(const struct byre_counts *counts, uint64_t number);

/* The page with this number, new if need be: 0, -ENOMEM, or -EFBIG where the limit is reached. */
int byre_counts_make(struct byre_counts *counts, uint64_t number, struct byre_counts_page **ret_page);

/* What is known of `cluster`: all zero for one that was never touched. */
struct byre_cell byre_counts_get(const struct byre_counts *counts, uint64_t cluster);

/* The cells of a group of `page`. */
void byre_counts_get_group(const struct byre_counts *counts, const struct byre_counts_page *page,
                           unsigned group, struct byre_cell ret_cells[BYRE_COUNTS_GROUP]);

/* Sets and clears flags of a cluster: 0, -ENOMEM, -EFBIG. */
int byre_counts_flag(struct byre_counts *counts, uint64_t cluster, unsigned set, unsigned clear);

/* Takes `times` references back, as far as there are any. */
int byre_counts_take(struct byre_counts *counts, uint64_t cluster, uint64_t times);

/* The part of byre_counts_add for everything that is not the most frequent. */
int byre_counts_add_slowly(struct byre_counts *counts, struct byre_counts_page *page, uint64_t cluster,
                           uint64_t times, unsigned flags);

/* Counts `times` more references to `cluster`, and sets flags of its cell.  A table that something else refers
 * to becomes a CLASH.  0, -ENOMEM, -EFBIG. */
static inline int byre_counts_add(struct byre_counts *counts, uint64_t cluster, uint64_t times,
                                  unsigned flags)
{
    struct byre_counts_page *page = counts->last;
    unsigned group = cluster / BYRE_COUNTS_GROUP % BYRE_COUNTS_GROUPS;
    uint64_t bit = 1ULL << cluster % BYRE_COUNTS_GROUP;
    uint64_t *planes;

    if (!page || page->number != cluster / BYRE_COUNTS_PAGE) {
        int rc = byre_counts_make(counts, cluster / BYRE_COUNTS_PAGE, &page);
        if (rc < 0)
            return rc;
    }
    planes = page->groups[group].planes;
    if (!((planes[0] | planes[1] | planes[2]) & bit) && !(page->wide >> group & 1)) {
        if (times == 1 && flags == BYRE_CELL_EXCLUSIVE) {
            planes[0] |= bit;
            return 0;
        }
        if (times == 2 && flags == BYRE_CELL_SHARED) { /* by the disk and one snapshot: the last state */
            planes[0] |= bit;
            planes[1] |= bit;
            planes[2] |= bit;
            counts->most = counts->most > 2 ? counts->most : 2;
            return 0;
        }
    }
    return byre_counts_add_slowly(counts, page, cluster, times, flags);
}

#endif
