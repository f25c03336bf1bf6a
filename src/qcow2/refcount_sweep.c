/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing many refcounts in one sweep: see refcount_sweep.h.
 *
 *   W1. A refcount block is read, and written, once a step, in the order of what it counts.
 *   W2. No refcount leaves its range: byre_sweep_check comes before every change, and nobody else changes any.
 */
#include "config.h"

#include "qcow2/refcount_sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/endian.h"

#define WINDOW_CELLS (1ull << 26)
#define CHUNK_CELLS  (1u << BYRE_SWEEP_CHUNK_BITS)
#define SECTOR       512u

/* What one step does to the cells. */
enum step { STEP_CHECK, STEP_RAISE, STEP_LOWER, STEP_MARK_LAST };

struct walk {
    struct byre_sweep *sweep;
    enum step step;
    byre_free_vec *freed;
    bool some;
    bool loaded;       /* sweep->block is a block of the file */
    uint64_t hoff;     /* of that */
    bool changed;       /* something of the cells that are being looked at */
    size_t first, end;  /* bytes of the block within which it changed; first >= end: nothing did */
};

static void note_metadata(void *opaque, uint64_t number)
{
    struct byre_sweep *sweep = opaque;
    int32_t *cell = byre_sweep_cell(sweep, number >> sweep->image->cluster_bits);

    if (cell)
        *cell |= BYRE_SWEEP_METADATA;
}

static void note_range(struct byre_sweep *sweep, uint64_t hoff, uint64_t length)
{
    for (uint64_t at = hoff; at < hoff + length; at += sweep->image->cluster_size)
        note_metadata(sweep, at);
}

/* An empty window that starts with `base`. */
static int open_window(struct byre_sweep *sweep, uint64_t base, struct byre_error *err)
{
    struct byre_qcow2 *image = sweep->image;

    free(sweep->cells);
    free(sweep->touched);
    sweep->base = base;
    sweep->count = MIN(sweep->window_cells, sweep->end - base);
    sweep->beyond = UINT64_MAX;
    sweep->cells = calloc(MAX(sweep->count, UINT64_C(1)), sizeof *sweep->cells);
    sweep->touched = calloc(1, (sweep->count >> BYRE_SWEEP_CHUNK_BITS) + 1);
    if (!sweep->cells || !sweep->touched)
        return byre_error_set(err, -ENOMEM, "Could not allocate a list of refcounts to be changed");
    byre_tally_each(&image->metadata, note_metadata, sweep);
    note_range(sweep, 0, image->cluster_size);
    note_range(sweep, image->l1.hoff, image->l1.entry_count * 8ULL);
    note_range(sweep, image->reftable.hoff, image->reftable.entry_count * 8ULL);
    return 0;
}

int byre_sweep_new(struct byre_qcow2 *image, struct byre_sweep **ret_sweep, struct byre_error *err)
{
    struct byre_sweep *sweep = calloc(1, sizeof *sweep);
    int rc;

    if (!sweep)
        return byre_error_set(err, -ENOMEM, "Could not allocate a list of refcounts to be changed");
    sweep->image = image;
    sweep->end = (uint64_t)image->reftable.entry_count << image->refblock_bits;
    sweep->window_cells = MAX(image->sweep_cells ? image->sweep_cells : WINDOW_CELLS,
                              UINT64_C(1) << image->refblock_bits);
    sweep->block = malloc(image->cluster_size);
    rc = sweep->block ? 0 : byre_error_set(err, -ENOMEM, "Could not allocate a refcount block");
    if (rc == 0)
        rc = open_window(sweep, 0, err);
    if (rc < 0) {
        byre_sweep_free(sweep);
        return rc;
    }
    *ret_sweep = sweep;
    return 0;
}

void byre_sweep_free(struct byre_sweep *sweep)
{
    if (!sweep)
        return;
    free(sweep->cells);
    free(sweep->touched);
    free(sweep->block);
    free(sweep);
}

int byre_sweep_restart(struct byre_sweep *sweep, struct byre_error *err)
{
    return open_window(sweep, 0, err);
}

int byre_sweep_next(struct byre_sweep *sweep, bool *ret_more, struct byre_error *err)
{
    *ret_more = sweep->beyond < sweep->end;
    return *ret_more ? open_window(sweep, byre_round_down(sweep->beyond, sweep->window_cells), err) : 0;
}

uint64_t byre_sweep_used_prefix(const struct byre_sweep *sweep)
{
    uint64_t i = 0;

    while (i < sweep->count && sweep->cells[i])
        i++;
    return sweep->base == 0 ? i : 0;
}

/* --- one cell --- */

static int too_large(const struct byre_sweep *sweep, uint64_t cluster, uint64_t wanted, struct byre_error *err)
{
    unsigned order = sweep->image->header.refcount_order;

    return byre_error_set(err, -ENOTSUP, "'%s': host cluster %" PRIu64 " would have %" PRIu64 " references, more than "
                          "refcount_bits=%u can count", sweep->image->store->name, cluster, wanted, 1u << order);
}

static int check_cell(struct walk *walk, uint64_t cluster, uint64_t now, int32_t *cell, struct byre_error *err)
{
    struct byre_qcow2 *image = walk->sweep->image;
    int64_t change = *cell >> 2;

    *cell &= ~BYRE_SWEEP_MARK;
    if (change > 0 && now < (uint64_t)change)
        return byre_corrupt_locked(image, err, "the refcount of host cluster %" PRIu64 " is %" PRIu64 ", but it has %"
                                   PRId64 " references", cluster, now, change);
    if (change > 0 && byre_refcount_max(image->header.refcount_order) - now < (uint64_t)change)
        return too_large(walk->sweep, cluster, now + (uint64_t)change, err);
    if (change < 0 && now < (uint64_t)-change)
        return byre_corrupt_locked(image, err, "the refcount of host cluster %" PRIu64 " is %" PRIu64
                                   " and cannot be lowered by %" PRId64, cluster, now, -change);
    if (change < 0 && now == (uint64_t)-change) {
        *cell |= BYRE_SWEEP_MARK;
        walk->some = true;
    }
    return 0;
}

/* Notes a cluster without references, after the ones that were noted before. */
static void note_freed(byre_free_vec *freed, uint64_t cluster)
{
    struct byre_free_run *last = freed->len ? &freed->ptr[freed->len - 1] : NULL;

    if (last && last->cluster + last->count == cluster)
        last->count++;
    else if (freed->len < BYRE_SWEEP_FREED_MAX)
        (void)vec_push(freed, (struct byre_free_run){ .cluster = cluster, .count = 1, .discard = true });
}

/* The widths that nearly all images have do without a call. */
static inline uint64_t get(const uint8_t *block, size_t index, unsigned order)
{
    return order == 4 ? byre_get_be16(block + index * 2) : byre_refcount_get(block, index, order);
}

static inline void set(uint8_t *block, size_t index, unsigned order, uint64_t value)
{
    if (order == 4)
        byre_put_be16(block + index * 2, (uint16_t)value);
    else
        byre_refcount_set(block, index, order, value);
}

static inline void mark_last(struct walk *walk, uint64_t now, int32_t *cell)
{
    *cell &= ~BYRE_SWEEP_MARK;
    if (now == 1 && *cell < 0) {
        *cell |= BYRE_SWEEP_MARK;
        walk->some = true;
    }
}

/* Lowers the refcount of a cluster, which is `now`, by `by`. */
static inline void lower_cell(struct walk *walk, uint64_t cluster, size_t index, unsigned order, uint64_t now,
                              int32_t *cell)
{
    uint64_t by = (uint64_t)-(int64_t)(*cell >> 2);

    set(walk->sweep->block, index, order, now - by);
    walk->changed = true;
    if (now == by)
        note_freed(walk->freed, cluster);
    mark_last(walk, now - by, cell);
}

static inline int visit_cell(struct walk *walk, uint64_t cluster, size_t index, unsigned order, int32_t *cell,
                             struct byre_error *err)
{
    uint64_t now = get(walk->sweep->block, index, order);
    int64_t change = *cell >> 2;

    switch (walk->step) {
    case STEP_CHECK:
        return check_cell(walk, cluster, now, cell, err);
    case STEP_RAISE:
        if (change > 0) {
            set(walk->sweep->block, index, order, now + (uint64_t)change);
            walk->changed = true;
        }
        return 0;
    case STEP_LOWER:
        if (change < 0)
            lower_cell(walk, cluster, index, order, now, cell);
        return 0;
    case STEP_MARK_LAST:
        mark_last(walk, now, cell);
        return 0;
    }
    return 0;
}

/* --- blocks --- */

static int load_block(struct walk *walk, uint64_t cluster, struct byre_error *err)
{
    struct byre_qcow2 *image = walk->sweep->image;
    uint64_t entry, index = cluster >> image->refblock_bits;
    int rc = byre_table_get(&image->reftable, image->store, (uint32_t)index, &entry, err);

    if (rc < 0)
        return rc;
    walk->hoff = entry & BYRE_REFTABLE_OFFSET_MASK;
    if (walk->hoff & (image->cluster_size - 1))
        return byre_corrupt_locked(image, err, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")",
                                   walk->hoff, index);
    walk->first = SIZE_MAX;
    walk->end = 0;
    walk->loaded = true;
    if (walk->hoff)
        return byre_store_pread(image->store, walk->sweep->block, image->cluster_size, walk->hoff, err);
    memset(walk->sweep->block, 0, image->cluster_size);
    return 0;
}

/* Writes what changed, in sectors. */
static int store_block(struct walk *walk, struct byre_error *err)
{
    struct byre_sweep *sweep = walk->sweep;
    size_t start = byre_round_down(walk->first, SECTOR);

    walk->loaded = false;
    if (walk->first >= walk->end)
        return 0;
    byre_store_event(sweep->image->store, BYRE_EVENT_REFBLOCK_UPDATE);
    return byre_store_pwrite(sweep->image->store, sweep->block + start,
                             byre_round_up(walk->end, SECTOR) - start, walk->hoff + start, err);
}

/* Can the changes of `count` cells all be made, and does nothing lose its last reference?  For refcounts of 16 bits,
 * without looking closer: false may mean anything. */
static bool check_quickly(const int32_t *cells, const uint8_t *counts, uint64_t count)
{
    int32_t bad = 0;

    for (uint64_t i = 0; i < count; i++) {
        int32_t change = cells[i] >> 2, now = byre_get_be16(counts + i * 2);
        int32_t after = now + change;

        /* Raised: from no less than what is added, to no more than there can be.  Lowered: to 1 at least. */
        bad |= (cells[i] & BYRE_SWEEP_MARK) | ((change > 0) & ((now < change) | (after > UINT16_MAX))) |
               ((change < 0) & (after < 1));
    }
    return !bad;
}

/* Raises refcounts of 16 bits, which was checked.  Was there anything to be raised? */
static bool raise_quickly(const int32_t *cells, uint8_t *counts, uint64_t count)
{
    int32_t changed = 0;

    for (uint64_t i = 0; i < count; i++) {
        int32_t change = cells[i] > 3 ? cells[i] >> 2 : 0;

        byre_put_be16(counts + i * 2, (uint16_t)(byre_get_be16(counts + i * 2) + change));
        changed |= change;
    }
    return changed;
}

/* Lowers refcounts of 16 bits, which was checked: false, and nothing is changed, if one would be less than 2. */
static bool lower_quickly(const int32_t *cells, uint8_t *counts, uint64_t count, bool *ret_changed)
{
    int32_t bad = 0, changed = 0;

    for (uint64_t i = 0; i < count; i++) {
        int32_t change = cells[i] < 0 ? cells[i] >> 2 : 0;

        bad |= (change < 0) & (byre_get_be16(counts + i * 2) + change < 2);
        changed |= change;
    }
    for (uint64_t i = 0; !bad && changed && i < count; i++) {
        int32_t change = cells[i] < 0 ? cells[i] >> 2 : 0;

        byre_put_be16(counts + i * 2, (uint16_t)(byre_get_be16(counts + i * 2) + change));
    }
    *ret_changed = changed;
    return !bad;
}

/* The same as visit_chunk, for nearly all images: false if that has to be asked. */
static bool visit_quickly(struct walk *walk, uint64_t start, uint64_t count, size_t index)
{
    struct byre_sweep *sweep = walk->sweep;
    uint8_t *counts = sweep->block + index * 2;
    bool changed = false, done = true;

    if (sweep->image->header.refcount_order != 4 || !walk->loaded)
        return false;
    switch (walk->step) {
    case STEP_CHECK: return check_quickly(&sweep->cells[start], counts, count);
    case STEP_RAISE: changed = raise_quickly(&sweep->cells[start], counts, count); break;
    case STEP_LOWER: done = lower_quickly(&sweep->cells[start], counts, count, &changed); break;
    case STEP_MARK_LAST: return false;
    }
    if (done && changed) {
        walk->first = MIN(walk->first, index * 2);
        walk->end = MAX(walk->end, (index + count) * 2);
    }
    return done;
}

/* Looks at cells [start, end) of the window, which are counted by one block. */
static int visit_chunk(struct walk *walk, uint64_t start, uint64_t end, struct byre_error *err)
{
    struct byre_sweep *sweep = walk->sweep;
    unsigned order = sweep->image->header.refcount_order;
    size_t index = (sweep->base + start) & ((UINT64_C(1) << sweep->image->refblock_bits) - 1);
    int rc = 0;

    if (visit_quickly(walk, start, end - start, index))
        return 0;
    walk->changed = false;
    for (uint64_t i = start; rc == 0 && i < end; i++) {
        if (sweep->cells[i] >> 2 == 0)
            continue;
        if (!walk->loaded)
            rc = load_block(walk, sweep->base + i, err);
        if (rc == 0)
            rc = visit_cell(walk, sweep->base + i, index + (i - start), order, &sweep->cells[i], err);
    }
    if (walk->changed) {
        walk->first = MIN(walk->first, (index << order) / 8);
        walk->end = MAX(walk->end, (((index + (end - start)) << order) + 7) / 8);
    }
    return rc;
}

static int walk_window(struct walk *walk, struct byre_error *err)
{
    struct byre_sweep *sweep = walk->sweep;
    uint64_t per_block = UINT64_C(1) << sweep->image->refblock_bits, end;
    int rc = 0;

    for (uint64_t start = 0; rc == 0 && start < sweep->count; start = end) {
        end = MIN(MIN(byre_round_down(start, CHUNK_CELLS) + CHUNK_CELLS, byre_round_down(start, per_block) + per_block),
                  sweep->count);
        if (sweep->touched[start >> BYRE_SWEEP_CHUNK_BITS])
            rc = visit_chunk(walk, start, end, err);
        if (rc == 0 && walk->loaded && (end % per_block == 0 || end == sweep->count))
            rc = store_block(walk, err);
    }
    return rc;
}

int byre_sweep_check(struct byre_sweep *sweep, bool *ret_some, struct byre_error *err)
{
    struct walk walk = { .sweep = sweep, .step = STEP_CHECK };
    int rc = walk_window(&walk, err);

    if (rc == 0)
        *ret_some = walk.some;
    return rc;
}

int byre_sweep_raise(struct byre_sweep *sweep, struct byre_error *err)
{
    return walk_window(&(struct walk){ .sweep = sweep, .step = STEP_RAISE }, err);
}

int byre_sweep_lower(struct byre_sweep *sweep, byre_free_vec *freed, bool *ret_some, struct byre_error *err)
{
    struct walk walk = { .sweep = sweep, .step = STEP_LOWER, .freed = freed };
    int rc = walk_window(&walk, err);

    if (rc == 0)
        *ret_some = walk.some;
    return rc;
}

int byre_sweep_mark_last(struct byre_sweep *sweep, bool *ret_some, struct byre_error *err)
{
    struct walk walk = { .sweep = sweep, .step = STEP_MARK_LAST };
    int rc = walk_window(&walk, err);

    if (rc == 0)
        *ret_some = walk.some;
    return rc;
}
