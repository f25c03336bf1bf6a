/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growing the virtual size.
 *
 * Invariants
 *   G1. What becomes visible reads as zero before the size in the header says so: the tail of the old last cluster,
 *       what lies below, and whatever entries there were past the end.
 *   G2. A grown L1 table is complete and durable, with its refcounts, before the header points to it; it is switched
 *       in one sector; the old one is freed after that.  A table that is longer than the size needs is no fault.
 *   G3. The size is switched last, in one sector.  Until then the disk is the old one, whatever fails.
 * Nobody else uses the image meanwhile.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/zero.h"
#include "byre/disk.h"
#include "qcow2/amend.h"
#include "qcow2/bitmaps.h"
#include "qcow2/subclusters.h"
#include "store/event.h"

#define SECTOR 512u

/* --- the L1 table --- */

static uint64_t l1_clusters(const struct byre_qcow2 *image, uint32_t entries)
{
    return byre_cluster_ceil(image, entries * 8ULL) >> image->cluster_bits;
}

/* Copies the entries of the table in use. */
static int copy_entries_locked(struct byre_qcow2 *image, struct byre_table *table, struct byre_error *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < image->l1.entry_count; i++) {
        uint64_t entry;

        rc = byre_table_get(&image->l1, image->store, i, &entry, err);
        if (rc == 0 && entry)
            rc = byre_table_set(table, image->store, i, entry, err);
    }
    return rc;
}

/* Makes the longer table, in memory and zeros in the file, and puts it in the place of the old one, which *table is
 * then. */
static int replace_l1_locked(struct byre_qcow2 *image, uint32_t entries, struct byre_table *table,
                             struct byre_error *err)
{
    uint64_t clusters = l1_clusters(image, entries), hoff;
    struct byre_table old;
    int rc;

    byre_store_event(image->store, BYRE_EVENT_L1_GROW_ALLOC_TABLE);
    rc = byre_alloc_exact_locked(image, clusters, &hoff, err);

    if (rc < 0)
        return rc;
    rc = byre_alloc_zero_fill(image, hoff, clusters << image->cluster_bits, err);
    if (rc == 0)
        rc = byre_table_init(table, image->l1.what, hoff, entries, true, err);
    if (rc == 0)
        rc = copy_entries_locked(image, table, err);
    if (rc < 0) {
        byre_table_done(table);
        byre_alloc_undo_locked(image, hoff, clusters);
        return rc;
    }
    old = image->l1;
    image->l1 = *table;
    *table = old;
    return 0;
}

/* The new table is durable: switches to it, and drops the old one. */
static int switch_l1_locked(struct byre_qcow2 *image, const struct byre_table *old, struct byre_error *err)
{
    int rc;

    byre_store_event(image->store, BYRE_EVENT_L1_GROW_ACTIVATE_TABLE);
    image->header.l1_hoff = image->l1.hoff;
    image->header.l1_size = image->l1.entry_count;
    rc = byre_header_settle_locked(image, err);
    if (rc == 0 && old->entry_count)
        byre_free_later_locked(image, byre_cluster_of(image, old->hoff), l1_clusters(image, old->entry_count), false);
    return rc;
}

/* Nothing points to the new table: back to the old one. */
static void restore_l1_locked(struct byre_qcow2 *image, struct byre_table *table)
{
    struct byre_table grown = image->l1;

    image->l1 = *table;
    *table = grown;
    byre_alloc_undo_locked(image, grown.hoff, l1_clusters(image, grown.entry_count));
}

int byre_l1_grow(struct byre_qcow2 *image, uint32_t entries, struct byre_error *err)
{
    struct byre_table table = { 0 };
    int rc = byre_commit(image, err); /* from here on the old table in the file is the one in memory */

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&image->mutex);
    rc = replace_l1_locked(image, entries, &table, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0)
        return rc;
    /* Its pages count as changed, so this writes all of it. */
    byre_store_event(image->store, BYRE_EVENT_L1_GROW_WRITE_TABLE);
    rc = byre_commit(image, err);
    pthread_mutex_lock(&image->mutex);
    if (rc == 0)
        rc = byre_free_room_locked(image, 1, err);
    if (rc == 0)
        rc = switch_l1_locked(image, &table, err);
    else
        restore_l1_locked(image, &table);
    pthread_mutex_unlock(&image->mutex);
    byre_table_done(&table);
    return rc;
}

/* --- what becomes visible --- */

/* Zeroes [end, end + length), a part of the subcluster that `extent` describes, or of its compressed cluster. */
static int zero_rest(struct byre_qcow2 *image, uint64_t end, uint64_t length, const struct byre_extent *extent,
                     struct byre_error *err)
{
    uint8_t bytes[SECTOR];
    struct iovec sector = { bytes, SECTOR };
    int rc;

    if (extent->kind == BYRE_EXTENT_DATA && extent->exclusive)
        return byre_data_zero(image, extent->hoff, length, err);
    /* Copy-on-write puts zeros past the end of the disk. */
    rc = byre_read_old(image, end - SECTOR, bytes, SECTOR, err);
    return rc < 0 ? rc : byre_qcow2_writev(image, end - SECTOR, &sector, 1, SECTOR, err);
}

/* The extent at `goff`, within its cluster. */
static int extent_at(struct byre_qcow2 *image, uint64_t goff, struct byre_extent *ret_extent, struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = byre_qcow2_map(image, goff, byre_cluster_ceil(image, goff + 1) - goff, &extents, err);

    if (rc == 0)
        *ret_extent = extents.ptr[0];
    vec_done(&extents);
    return rc;
}

/* Zeroes the rest of the last cluster, from `end` on, where it shows something else: a part of a subcluster as data,
 * the others in the map. */
static int zero_tail(struct byre_qcow2 *image, uint64_t end, struct byre_error *err)
{
    uint64_t length = byre_cluster_ceil(image, end) - end, rest = byre_subcluster_ceil(image, end) - end;
    /* What is read past the end of an encrypted data file is zero, and is not once that is longer. */
    bool decrypted = image->external && image->header.crypt_method;
    CLEANUP(free_ptr) uint8_t *tail = malloc(MAX(length, (uint64_t)SECTOR));
    struct byre_extent extent;
    int rc;

    if (!tail)
        return byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
    if (!length)
        return 0;
    rc = byre_read_mapped(image, end, tail, length, err);
    if (rc < 0 || (byre_is_zero(tail, length) && !decrypted))
        return rc;
    rc = extent_at(image, end, &extent, err);
    if (rc < 0)
        return rc;
    if (extent.kind == BYRE_EXTENT_COMPRESSED)
        return zero_rest(image, end, length, &extent, err);
    if (rest && (!byre_is_zero(tail, rest) || (decrypted && extent.kind == BYRE_EXTENT_DATA)))
        rc = zero_rest(image, end, rest, &extent, err);
    if (rc == 0 && rest < length)
        rc = byre_zero_clusters(image, end + rest, end + length, err);
    return rc;
}

/* Does the slice with `goff` map anything from there on, to `end` at most? */
static int maps_something(struct byre_qcow2 *image, uint64_t goff, uint64_t end, bool *ret_something,
                          struct byre_error *err)
{
    struct byre_slice *slice = NULL;
    unsigned index;
    LOCK_SCOPE(&image->mutex);
    int rc = byre_l2_slice_locked(image, goff, &slice, &index, err);

    *ret_something = false;
    for (; rc == 0 && slice && goff < end; goff += image->cluster_size, index++) {
        if (byre_entry_place(image, byre_l2_get(image, slice, index)) != BYRE_PLACE_NONE)
            *ret_something = true;
    }
    return rc;
}

/* Where the L2 table for `goff` begins to be missing: `end`, or the end of the range of a missing one. */
static int skip_missing(struct byre_qcow2 *image, uint64_t goff, uint64_t *ret_next, struct byre_error *err)
{
    uint64_t span = 1ULL << (image->cluster_bits + image->l2_bits), hoff;
    LOCK_SCOPE(&image->mutex);
    int rc = byre_l2_table_locked(image, goff, &hoff, NULL, err);

    *ret_next = rc < 0 || hoff ? goff : byre_round_down(goff, span) + span;
    return rc;
}

/* Zeroes what entries of [goff, end) map, which nobody was to see until now. */
static int zero_stale(struct byre_qcow2 *image, uint64_t goff, uint64_t end, struct byre_error *err)
{
    uint64_t reach = (uint64_t)image->l1.entry_count << (image->cluster_bits + image->l2_bits), next;
    int rc = 0;

    for (end = MIN(end, reach); rc == 0 && goff < end; goff = next) {
        bool something = false;

        rc = skip_missing(image, goff, &next, err);
        if (rc < 0 || next > goff)
            continue;
        next = MIN(end, byre_l2_slice_end(image, goff));
        rc = maps_something(image, goff, next, &something, err);
        if (rc == 0 && something)
            rc = byre_qcow2_write_zeroes(image, goff, next - goff, BYRE_WRITE_ZEROES_UNMAP, err);
    }
    return rc;
}

/* Makes the clusters of [start, size) read as zero; the layers below show something up to `below_end`. */
static int zero_clusters(struct byre_qcow2 *image, uint64_t start, uint64_t size, uint64_t below_end,
                         struct byre_error *err)
{
    uint64_t hidden = MIN(size, byre_cluster_ceil(image, below_end));
    int rc = 0;

    if (hidden > start) {
        rc = byre_qcow2_write_zeroes(image, start, hidden - start, BYRE_WRITE_ZEROES_UNMAP, err);
        start = hidden;
    }
    return rc < 0 ? rc : zero_stale(image, start, size, err);
}

/* --- all of it --- */

int byre_qcow2_check_resize(const struct byre_qcow2 *image, uint64_t size, unsigned version, struct byre_error *err)
{
    const struct byre_qcow2_header *header = &image->header;

    if (size % SECTOR)
        return byre_error_set(err, -EINVAL, "The new size must be a multiple of %u", SECTOR);
    /* Entries of a version 2 snapshot table may say nothing of the size. */
    if (header->snapshot_count && version < 3 && size != header->size)
        return byre_error_set(err, -ENOTSUP, "Can't resize a v2 image which has snapshots");
    if (size > INT64_MAX || byre_qcow2_header_l1_needed(header, size) > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set_errno(err, -EFBIG, "Failed to grow the L1 table");
    return 0;
}

static int check_growth(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    int rc = byre_qcow2_check_resize(image, size, image->header.version, err);

    if (rc == 0 && size < byre_round_down(image->header.size, SECTOR))
        return byre_error_set(err, -EINVAL, "a disk of %" PRIu64 " bytes does not grow to %" PRIu64,
                              image->header.size, size);
    return rc < 0 ? rc : byre_check_writable_locked(image, err);
}

static void set_size(struct byre_qcow2 *image, uint64_t size)
{
    pthread_mutex_lock(&image->mutex);
    image->header.size = size;
    pthread_mutex_unlock(&image->mutex);
}

/* Everything but the switch of the size, which is `size` in memory at the end. */
static int prepare(struct byre_qcow2 *image, uint64_t old_size, uint64_t size, uint64_t below_end,
                   enum byre_preallocation mode, struct byre_error *err)
{
    uint64_t entries = byre_qcow2_header_l1_needed(&image->header, size);
    uint64_t start = byre_cluster_ceil(image, old_size);
    int rc;

    set_size(image, old_size);
    /* First: what is zero past the end of an encrypted file is not once that is longer. */
    rc = byre_external_reach(image, old_size, size, false, &mode, err);
    if (rc == 0)
        rc = zero_tail(image, old_size, err);
    if (rc == 0 && entries > image->l1.entry_count)
        rc = byre_l1_grow(image, (uint32_t)entries, err);
    if (rc < 0)
        return rc;
    set_size(image, size);
    if (size > start)
        rc = zero_clusters(image, start, size, below_end, err);
    if (rc == 0 && size > start)
        rc = byre_qcow2_preallocate(image, start, mode, err);
    return rc < 0 ? rc : byre_commit(image, err);
}

int byre_size_switch(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    int rc = byre_bitmaps_resize_begin(image, size, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&image->mutex);
    rc = byre_header_switch_size_locked(image, size, err);
    if (rc == 0)
        image->header.size = size;
    pthread_mutex_unlock(&image->mutex);
    if (rc == 0)
        return byre_bitmaps_resize_end(image, true, err);
    (void)byre_bitmaps_resize_end(image, false, NULL);
    return rc;
}

int byre_qcow2_grow(struct byre_qcow2 *image, uint64_t size, uint64_t below_end, enum byre_preallocation mode,
                    struct byre_error *err)
{
    uint64_t before = image->header.size;
    int rc = check_growth(image, size, err);

    if (rc < 0 || size == before)
        return rc;
    rc = byre_bitmaps_pause(image, err);
    if (rc < 0)
        return rc;
    rc = prepare(image, byre_round_down(before, SECTOR), size, below_end, mode, err);
    set_size(image, before);
    if (rc == 0)
        rc = byre_size_switch(image, size, err);
    byre_bitmaps_resume(image);
    return rc;
}
