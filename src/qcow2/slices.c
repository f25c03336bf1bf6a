/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cache of metadata slices: look-up, loading, eviction of clean ones in least-recently-used order.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "qcow2/slices.h"
#include "store/event.h"

#define MIN_SLICES 16

int byre_slices_init(struct byre_slices *slices, uint32_t slice_size, uint64_t budget_bytes,
                     struct byre_error *err)
{
    size_t buckets = 64;

    *slices = (struct byre_slices){ .slice_size = slice_size };
    slices->lru.lru_prev = slices->lru.lru_next = &slices->lru;
    slices->max_count = MAX(budget_bytes / slice_size, (uint64_t)MIN_SLICES);
    while (buckets < slices->max_count)
        buckets *= 2;
    slices->bucket_mask = buckets - 1;
    slices->buckets = calloc(buckets, sizeof *slices->buckets);
    if (!slices->buckets)
        return byre_error_set(err, -ENOMEM, "Could not allocate the metadata cache");
    return 0;
}

void byre_slices_done(struct byre_slices *slices)
{
    if (!slices->buckets)
        return;
    for (struct byre_slice *slice = slices->lru.lru_next, *next; slice != &slices->lru; slice = next) {
        next = slice->lru_next;
        free(slice);
    }
    free(slices->buckets);
    slices->buckets = NULL;
}

void byre_slices_limit(struct byre_slices *slices, uint64_t budget_bytes)
{
    slices->max_count = MAX(budget_bytes / slices->slice_size, (uint64_t)1);
}

static struct byre_slice **bucket_of(struct byre_slices *slices, uint64_t hoff)
{
    uint64_t hash = hoff / slices->slice_size * 0x9e3779b97f4a7c15ULL;

    return &slices->buckets[(hash >> 32) & slices->bucket_mask];
}

static void lru_unlink(struct byre_slice *slice)
{
    slice->lru_prev->lru_next = slice->lru_next;
    slice->lru_next->lru_prev = slice->lru_prev;
}

static void lru_push(struct byre_slices *slices, struct byre_slice *slice)
{
    slice->lru_prev = &slices->lru;
    slice->lru_next = slices->lru.lru_next;
    slice->lru_next->lru_prev = slice;
    slices->lru.lru_next = slice;
}

static void slice_forget(struct byre_slices *slices, struct byre_slice *slice)
{
    struct byre_slice **link = bucket_of(slices, slice->hoff);

    while (*link != slice)
        link = &(*link)->hash_next;
    *link = slice->hash_next;
    lru_unlink(slice);
    slices->count--;
    slices->dirty_count -= slice->dirty;
    free(slice);
}

/* Makes room for one more, as far as clean slices allow (S1). */
static void evict(struct byre_slices *slices)
{
    struct byre_slice *slice = slices->lru.lru_prev;

    while (slices->count >= slices->max_count && slice != &slices->lru) {
        struct byre_slice *newer = slice->lru_prev;

        if (!slice->dirty && !slice->frozen)
            slice_forget(slices, slice);
        slice = newer;
    }
}

static int slice_load(struct byre_slices *slices, struct byre_store *store, uint64_t hoff,
                      struct byre_slice **ret_slice, struct byre_error *err)
{
    struct byre_slice *slice = calloc(1, sizeof *slice + slices->slice_size);

    if (!slice)
        return byre_error_set(err, -ENOMEM, "Could not allocate a metadata slice");
    int ret = byre_store_pread(store, slice->bytes, slices->slice_size, hoff, err);
    if (ret < 0) {
        free(slice);
        return ret;
    }
    slice->hoff = hoff;
    *ret_slice = slice;
    return 0;
}

int byre_slices_get(struct byre_slices *slices, struct byre_store *store, uint64_t hoff,
                    enum byre_slice_kind kind, struct byre_slice **ret_slice, struct byre_error *err)
{
    struct byre_slice **bucket = bucket_of(slices, hoff), *slice;

    for (slice = *bucket; slice && slice->hoff != hoff; slice = slice->hash_next)
        ;
    if (slice) {
        lru_unlink(slice);
    } else {
        evict(slices);
        byre_store_event(store, kind == BYRE_SLICE_L2 ? BYRE_EVENT_L2_LOAD : BYRE_EVENT_REFBLOCK_LOAD);
        int ret = slice_load(slices, store, hoff, &slice, err);
        if (ret < 0)
            return ret;
        slice->hash_next = *bucket;
        *bucket = slice;
        slices->count++;
    }
    slice->kind = kind;
    lru_push(slices, slice);
    *ret_slice = slice;
    return 0;
}

void byre_slices_clear(struct byre_slices *slices)
{
    while (slices->lru.lru_next != &slices->lru)
        slice_forget(slices, slices->lru.lru_next);
}

void byre_slices_mark_dirty(struct byre_slices *slices, struct byre_slice *slice)
{
    if (!slice->dirty) {
        slice->dirty = true;
        slices->dirty_count++;
    }
}

void byre_slices_drop(struct byre_slices *slices, uint64_t hoff, uint64_t length)
{
    for (uint64_t at = hoff; at < hoff + length; at += slices->slice_size) {
        struct byre_slice *slice = *bucket_of(slices, at);

        while (slice && slice->hoff != at)
            slice = slice->hash_next;
        if (slice)
            slice_forget(slices, slice);
    }
}
