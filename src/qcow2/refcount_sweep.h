/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many changes of refcounts at once: collected by host cluster, then made block by block in ascending order, straight
 * in the file.
 *
 *     byre_sweep_new(image, &sweep, err);
 *     do {
 *         byre_sweep_add(...)              for every reference that comes or goes
 *         byre_sweep_check(sweep, ...);    can all of these changes be made?
 *     } while (byre_sweep_next(sweep));
 *
 * Memory is bounded: a sweep sees a window of the host clusters, and who collects does it again for each window that
 * anything lies in.  Nearly always there is one.
 *
 * For who has the image to himself, when the file holds all that memory does, and with the mutex held.  The cached
 * slices of refcount blocks are the caller's to drop.
 */
#ifndef BYRE_QCOW2_REFCOUNT_SWEEP_H
#define BYRE_QCOW2_REFCOUNT_SWEEP_H

#include "qcow2/image.h"

/* A cell is four times the change, and these marks. */
enum {
    BYRE_SWEEP_METADATA = 1, /* metadata lies there: data must not */
    BYRE_SWEEP_MARK = 2,     /* see byre_sweep_check and byre_sweep_mark_last */
};

#define BYRE_SWEEP_FREED_MAX 1000000u /* runs of freed clusters that are noted */
#define BYRE_SWEEP_CHUNK_BITS 10 /* cells that are looked at together */

struct byre_sweep {
    struct byre_qcow2 *image;
    uint64_t base, count;  /* the window: clusters */
    uint64_t beyond;       /* the lowest cluster behind the window that was added, or UINT64_MAX */
    uint64_t end;          /* clusters from here on have no refcount */
    uint64_t window_cells; /* of a window, at most */
    int32_t *cells;        /* of the window; untouched ones take no memory */
    uint8_t *touched;      /* by chunk */
    uint8_t *block;        /* a refcount block */
};

/* An empty sweep at the start of the file.  -ENOMEM. */
int byre_sweep_new(struct byre_qcow2 *image, struct byre_sweep **ret_sweep, struct byre_error *err);
void byre_sweep_free(struct byre_sweep *sweep);

/* Forgets all, and goes back to the start; or on to the next window where something lies: false if there is none. */
int byre_sweep_restart(struct byre_sweep *sweep, struct byre_error *err);
int byre_sweep_next(struct byre_sweep *sweep, bool *ret_more, struct byre_error *err);

/* The cell of a cluster: NULL outside of the window. */
static inline int32_t *byre_sweep_cell(struct byre_sweep *sweep, uint64_t cluster)
{
    uint64_t index = cluster - sweep->base;

    return index < sweep->count ? &sweep->cells[index] : NULL;
}

/* Adds `times` (which may be negative) references to what lies in a cluster, which is one of the window: `index` counts
 * from its start.  False, and nothing is added, if metadata lies there, or the sum is out of all bounds. */
static inline bool byre_sweep_add_at(struct byre_sweep *sweep, uint64_t index, int32_t times)
{
    int32_t sum;

    if (sweep->cells[index] & BYRE_SWEEP_METADATA || __builtin_add_overflow(sweep->cells[index], times * 4, &sum))
        return false;
    sweep->cells[index] = sum;
    sweep->touched[index >> BYRE_SWEEP_CHUNK_BITS] = 1;
    return true;
}

/* The same for a cluster that is below sweep->end, and may lie in another window: then that is only noted. */
static inline bool byre_sweep_add(struct byre_sweep *sweep, uint64_t cluster, int32_t times)
{
    uint64_t index = cluster - sweep->base;

    if (index >= sweep->count) {
        if (cluster >= sweep->base && cluster < sweep->beyond)
            sweep->beyond = cluster;
        return true;
    }
    return byre_sweep_add_at(sweep, index, times);
}

/* The same for metadata. */
static inline bool byre_sweep_add_table(struct byre_sweep *sweep, uint64_t cluster, int32_t times)
{
    int32_t *cell = byre_sweep_cell(sweep, cluster);

    if (!cell)
        return byre_sweep_add(sweep, cluster, times);
    sweep->touched[(cluster - sweep->base) >> BYRE_SWEEP_CHUNK_BITS] = 1;
    return !__builtin_add_overflow(*cell, times * 4, cell);
}

/*
 * Can the window's changes be made?  Those that will have no reference left get the mark (*ret_some: there are any),
 * unless they never had one.  -ENOTSUP: a refcount would be too large for its width; -EIO: it is too small already.
 */
int byre_sweep_check(struct byre_sweep *sweep, bool *ret_some, struct byre_error *err);

/* No cluster below this one is free, if the window's changes can be made and nothing is wrong with the metadata. */
uint64_t byre_sweep_used_prefix(const struct byre_sweep *sweep);

/* Makes the window's changes that raise refcounts.  No barrier. */
int byre_sweep_raise(struct byre_sweep *sweep, struct byre_error *err);
/* Makes those that lower them.  No barrier.  `freed` gets the clusters that have no reference left, up to
 * BYRE_SWEEP_FREED_MAX runs; those that have one left get the mark (*ret_some: there are any). */
int byre_sweep_lower(struct byre_sweep *sweep, byre_free_vec *freed, bool *ret_some, struct byre_error *err);

/* The same marks afterwards, for a window that was collected again. */
int byre_sweep_mark_last(struct byre_sweep *sweep, bool *ret_some, struct byre_error *err);

#endif
