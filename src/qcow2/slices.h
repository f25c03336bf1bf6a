/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cache of metadata slices: parts of L2 tables and refcount blocks, as they stand in the file.
 *
 * Invariants
 *   S1. A changed slice stays until a commit has taken it; a slice whose frozen image is being written stays
 *       until that is done.  So eviction never writes, and never makes a later load see stale bytes.
 *   S2. A host cluster that stops being metadata has no slice left when it is used for something else.
 * Guarded by the image's mutex.
 */
#ifndef BYRE_QCOW2_SLICES_H
#define BYRE_QCOW2_SLICES_H

#include "store/store.h"

enum byre_slice_kind { BYRE_SLICE_L2, BYRE_SLICE_REFBLOCK };

struct byre_slice {
    uint64_t hoff;
    enum byre_slice_kind kind;
    bool dirty;  /* changed since the last freeze */
    bool frozen; /* a commit is writing its frozen image */
    struct byre_slice *hash_next, *lru_prev, *lru_next;
    uint8_t bytes[];
};

struct byre_slices {
    uint32_t slice_size;
    size_t max_count; /* budget; exceeded only by dirty and frozen slices */
    size_t count, dirty_count;
    struct byre_slice **buckets;
    size_t bucket_mask;
    struct byre_slice lru; /* ring head: next is the most recently used */
};

int byre_slices_init(struct byre_slices *slices, uint32_t slice_size, uint64_t budget_bytes,
                     struct byre_error *err);
void byre_slices_done(struct byre_slices *slices);

/* Another budget, of at least one slice. */
void byre_slices_limit(struct byre_slices *slices, uint64_t budget_bytes);

/* The slice at `hoff`, loaded if need be.  Valid until the next get. */
int byre_slices_get(struct byre_slices *slices, struct byre_store *store, uint64_t hoff,
                    enum byre_slice_kind kind, struct byre_slice **ret_slice, struct byre_error *err);

void byre_slices_mark_dirty(struct byre_slices *slices, struct byre_slice *slice);

/* Forgets all slices, none of which is changed. */
void byre_slices_clear(struct byre_slices *slices);

/* Forgets all slices within [hoff, hoff+length), changed ones included. */
void byre_slices_drop(struct byre_slices *slices, uint64_t hoff, uint64_t length);

#endif
