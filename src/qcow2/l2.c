/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a guest offset to its L2 entry: the L1 table, L2 tables in slices, and the making of L2 tables.
 *
 * Invariants
 *   L1. An L2 table that an L1 entry in memory points to without COPIED may belong to a snapshot too: it is
 *       copied before it is changed.
 *   L2. A new table has its space on the medium, filled with zeros, before anything refers to it; it stays
 *       in `unlinked_l2` until the commit that writes its L1 entry has frozen it.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "qcow2/subclusters.h"

static uint32_t l1_index(const struct byre_qcow2 *image, uint64_t goff)
{
    return (uint32_t)(goff >> (image->cluster_bits + image->l2_bits));
}

int byre_l2_table_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t *ret_hoff, bool *ret_copied,
                         struct byre_error *err)
{
    uint32_t index = l1_index(image, goff);
    uint64_t entry = 0;
    int rc = 0;

    if (index < image->l1.entry_count)
        rc = byre_table_get(&image->l1, image->store, index, &entry, err);
    if (rc < 0)
        return rc;
    *ret_hoff = entry & BYRE_L1_OFFSET_MASK;
    if (ret_copied)
        *ret_copied = entry & BYRE_L2_COPIED;
    if (*ret_hoff & (image->cluster_size - 1))
        return byre_corrupt_locked(image, err, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#x)", *ret_hoff,
                                   index);
    return 0;
}

/* The slice of the table at `table_hoff` that has the entry for `goff`. */
static int slice_of_table(struct byre_qcow2 *image, uint64_t table_hoff, uint64_t goff,
                          struct byre_slice **ret_slice, unsigned *ret_index, struct byre_error *err)
{
    uint64_t entry = (goff >> image->cluster_bits) & ((1u << image->l2_bits) - 1);
    uint64_t slice = entry / byre_l2_slice_entries(image);

    *ret_index = (unsigned)(entry % byre_l2_slice_entries(image));
    return byre_slices_get(&image->slices, image->store, table_hoff + slice * image->slice_size,
                           BYRE_SLICE_L2, ret_slice, err);
}

int byre_l2_slice_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_slice **ret_slice,
                         unsigned *ret_index, struct byre_error *err)
{
    uint64_t hoff = 0;
    int rc = byre_l2_table_locked(image, goff, &hoff, NULL, err);

    if (rc < 0)
        return rc;
    *ret_slice = NULL;
    return hoff ? slice_of_table(image, hoff, goff, ret_slice, ret_index, err) : 0;
}

/* Copies the table at `from` into the new cluster at `to`, slice by slice, and forgets the old slices. */
static int copy_table(struct byre_qcow2 *image, uint64_t from, uint64_t to, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(image->cluster_size);
    int rc = 0;

    if (!bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate a copy of an L2 table");
    byre_store_event(image->store, BYRE_EVENT_L2_ALLOC_COW_READ);
    /* From the cache, which may know more than the file. */
    for (uint32_t at = 0; rc == 0 && at < image->cluster_size; at += image->slice_size) {
        struct byre_slice *slice;

        rc = byre_slices_get(&image->slices, image->store, from + at, BYRE_SLICE_L2, &slice, err);
        if (rc == 0)
            memcpy(bytes + at, slice->bytes, image->slice_size);
    }
    if (rc < 0)
        return rc;
    byre_store_event(image->store, BYRE_EVENT_L2_ALLOC_WRITE);
    return byre_store_pwrite(image->store, bytes, image->cluster_size, to, err);
}

static int write_empty_table(struct byre_qcow2 *image, uint64_t hoff, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_L2_ALLOC_WRITE);
    return byre_alloc_zero_fill(image, hoff, image->cluster_size, err);
}

/* Puts a table at a new place: a copy of the one at `old_hoff`, or an empty one. */
static int new_table(struct byre_qcow2 *image, uint64_t goff, uint64_t old_hoff, uint64_t *ret_hoff,
                     struct byre_error *err)
{
    uint64_t hoff, got;
    int rc = vec_reserve(&image->unlinked_l2, 1);

    if (rc < 0)
        return byre_error_set(err, rc, "Could not allocate the list of new L2 tables");
    /* A table without a reference would be taken for free while the L1 entry on the medium still leads there. */
    rc = old_hoff ? byre_refcount_check_locked(image, old_hoff, image->cluster_size, "L2 table", err) : 0;
    if (rc < 0)
        return rc;
    rc = byre_alloc_run_locked(image, 1, &hoff, &got, NULL, err);
    if (rc < 0)
        return rc;
    /* After the allocation, which may free a refcount table. */
    rc = byre_free_room_locked(image, 1, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, 1, err);
    if (rc == 0)
        rc = old_hoff ? copy_table(image, old_hoff, hoff, err) : write_empty_table(image, hoff, err);
    if (rc == 0)
        rc = byre_table_set(&image->l1, image->store, l1_index(image, goff), hoff | BYRE_L2_COPIED, err);
    if (rc < 0) {
        byre_alloc_undo_locked(image, hoff, 1);
        return rc;
    }
    (void)vec_push(&image->unlinked_l2, hoff);
    byre_metadata_add_l2_locked(image, hoff);
    if (old_hoff) {
        byre_metadata_drop_l2_locked(image, old_hoff);
        byre_slices_drop(&image->slices, old_hoff, image->cluster_size);
        byre_free_table_later_locked(image, old_hoff);
    }
    *ret_hoff = hoff;
    return 0;
}

int byre_l2_slice_for_write_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_slice **ret_slice,
                                   unsigned *ret_index, struct byre_error *err)
{
    uint64_t hoff = 0;
    bool copied = false;
    int rc = byre_l2_table_locked(image, goff, &hoff, &copied, err);

    if (rc < 0)
        return rc;
    if (l1_index(image, goff) >= image->l1.entry_count)
        return byre_error_set(err, -EIO, "'%s': the L1 table of %u entries does not reach offset %" PRIu64,
                              image->store->name, image->l1.entry_count, goff);
    if (!hoff || !copied)
        rc = new_table(image, goff, hoff, &hoff, err);
    return rc < 0 ? rc : slice_of_table(image, hoff, goff, ret_slice, ret_index, err);
}

static int entry_bad(struct byre_qcow2 *image, const char *what, uint64_t hoff, uint64_t goff,
                     struct byre_error *err)
{
    return byre_corrupt_locked(image, err, "%s %#" PRIx64 " (guest offset %#" PRIx64 ")", what, hoff, goff);
}

/* E1 of external.c. */
static int check_external(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff, struct byre_error *err)
{
    if (byre_entry_place(image, entry) == BYRE_PLACE_COMPRESSED)
        return entry_bad(image, "Compressed cluster with an external data file:", entry.word, goff, err);
    if (byre_entry_place(image, entry) == BYRE_PLACE_CLUSTER && byre_l2_offset(entry.word) != goff)
        return entry_bad(image, "External data file host cluster offset does not match the guest cluster:",
                         byre_l2_offset(entry.word), goff, err);
    return 0;
}

int byre_l2_entry_check_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff,
                               struct byre_error *err)
{
    struct byre_subclusters subclusters = byre_subclusters_of(image, entry);
    uint64_t hoff = byre_l2_offset(entry.word);

    if (image->external) {
        int rc = check_external(image, entry, goff, err);
        if (rc < 0)
            return rc;
    }
    switch (byre_entry_place(image, entry)) {
    case BYRE_PLACE_NONE:
        if (subclusters.data)
            return entry_bad(image, "Subclusters allocated without a host cluster: subcluster allocation bitmap",
                             entry.bitmap, goff, err);
        return 0;
    case BYRE_PLACE_CLUSTER:
        if (hoff & (image->cluster_size - 1))
            return entry_bad(image, subclusters.zero && !subclusters.data
                                        ? "Preallocated zero cluster offset unaligned:"
                                        : "Cluster allocation offset unaligned:", hoff, goff, err);
        if (subclusters.data & subclusters.zero)
            return entry_bad(image, "Subclusters both allocated and zero: subcluster allocation bitmap",
                             entry.bitmap, goff, err);
        return 0;
    case BYRE_PLACE_COMPRESSED:
        /* Above 56 bits there are no host offsets, in any cluster size. */
        hoff = entry.word & ((1ULL << byre_l2_compressed_shift(image->cluster_bits)) - 1);
        if (hoff != byre_l2_compressed_offset(entry.word, image->cluster_bits))
            return entry_bad(image, "Compressed cluster offset too large:", hoff, goff, err);
        return 0;
    }
    return 0;
}

int byre_l2_entry_check_change_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff,
                                      struct byre_error *err)
{
    enum byre_l2_place place = byre_entry_place(image, entry);
    uint64_t start = byre_l2_offset(entry.word), end = start + image->cluster_size;
    int rc = byre_l2_entry_check_locked(image, entry, goff, err);
    const char *what;

    if (rc < 0 || image->external || place == BYRE_PLACE_NONE)
        return rc;
    if (place == BYRE_PLACE_COMPRESSED) {
        start = byre_l2_compressed_offset(entry.word, image->cluster_bits);
        end = byre_cluster_ceil(image, start + byre_l2_compressed_stored(entry.word, image->cluster_bits));
        start = byre_cluster_start(image, start);
    }
    what = byre_metadata_at_locked(image, start, end - start);
    if (!what)
        return 0;
    return byre_corrupt_locked(image, err,
                               "the cluster at guest offset %#" PRIx64 " lies on the %s (host offset %#" PRIx64 ")",
                               goff, what, start);
}
