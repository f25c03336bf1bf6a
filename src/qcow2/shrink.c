/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shrinking the virtual size.
 *
 * Invariants
 *   H1. The smaller size is durable before anything past it is unmapped: a crash leaves the old disk, or the new one
 *       with entries past its end, which do no harm (growing zeroes them).
 *   H2. What was unmapped is freed as ever, once that is durable.  The file loses its free end after that: see trim.c.
 *   H3. An L2 table that a snapshot shares is not changed: the active table's references are dropped, or it is copied.
 * The VM state area begins where the disk ends, so that what was there goes, too.  Nobody else uses the image
 * meanwhile.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/bitmaps.h"

#define SECTOR 512u

/* Defers the free of all that the slice with `goff` maps from there on, to its end. */
static int free_slice_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_error *err)
{
    unsigned entries = byre_l2_slice_entries(image), index;
    struct byre_slice *slice;
    int rc = byre_l2_slice_locked(image, goff, &slice, &index, err);

    if (rc == 0)
        rc = byre_free_room_locked(image, entries, err);
    for (unsigned i = index; rc == 0 && i < entries; i++)
        rc = byre_l2_entry_check_change_locked(image, byre_l2_get(image, slice, i),
                                               goff + ((uint64_t)(i - index) << image->cluster_bits), err);
    for (unsigned i = index; rc == 0 && i < entries; i++)
        byre_free_entry_later_locked(image, byre_l2_get(image, slice, i), true);
    return rc;
}

/* Drops the L2 table of an L1 entry, and all that it maps. */
static int drop_table_locked(struct byre_qcow2 *image, uint32_t l1_index, struct byre_error *err)
{
    uint64_t span = UINT64_C(1) << (image->cluster_bits + image->l2_bits), goff = l1_index * span, hoff;
    int rc = byre_l2_table_locked(image, goff, &hoff, NULL, err);

    if (rc < 0 || !hoff)
        return rc;
    rc = byre_refcount_check_locked(image, hoff, image->cluster_size, "L2 table", err);
    for (uint64_t at = goff; rc == 0 && at < goff + span; at = byre_l2_slice_end(image, at))
        rc = free_slice_locked(image, at, err);
    if (rc == 0)
        rc = byre_free_room_locked(image, 1, err);
    if (rc == 0)
        rc = byre_table_set(&image->l1, image->store, l1_index, 0, err);
    if (rc < 0)
        return rc;
    byre_metadata_drop_l2_locked(image, hoff);
    byre_slices_drop(&image->slices, hoff, image->cluster_size);
    byre_free_table_later_locked(image, hoff);
    return 0;
}

/* Empties the entries from `goff` to the end of their slice. */
static int empty_slice_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_error *err)
{
    unsigned entries = byre_l2_slice_entries(image), index;
    struct byre_slice *slice;
    int rc = byre_l2_slice_for_write_locked(image, goff, &slice, &index, err);

    if (rc == 0)
        rc = free_slice_locked(image, goff, err);
    if (rc == 0)
        rc = byre_l2_slice_for_write_locked(image, goff, &slice, &index, err);
    for (unsigned i = index; rc == 0 && i < entries; i++)
        byre_l2_put(image, slice, i, BYRE_L2_EMPTY);
    return rc;
}

static int empty_slice(struct byre_qcow2 *image, uint64_t goff, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    uint64_t hoff;
    int rc = byre_l2_table_locked(image, goff, &hoff, NULL, err);

    return rc < 0 || !hoff ? rc : empty_slice_locked(image, goff, err);
}

static int drop_table(struct byre_qcow2 *image, uint32_t l1_index, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    return drop_table_locked(image, l1_index, err);
}

/* Unmaps everything from `goff` on. */
static int unmap_from(struct byre_qcow2 *image, uint64_t goff, struct byre_error *err)
{
    uint64_t span = UINT64_C(1) << (image->cluster_bits + image->l2_bits), end = byre_round_up(goff, span);
    int rc = 0;

    for (; rc == 0 && goff < end; goff = byre_l2_slice_end(image, goff)) {
        rc = empty_slice(image, goff, err);
        if (rc == 0)
            rc = byre_commit_if_due(image, err);
    }
    for (uint64_t i = end / span; rc == 0 && i < image->l1.entry_count; i++) {
        rc = drop_table(image, (uint32_t)i, err);
        if (rc == 0)
            rc = byre_commit_if_due(image, err);
    }
    return rc;
}

static int check_shrinking(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);

    if (size % SECTOR)
        return byre_error_set(err, -EINVAL, "The new size must be a multiple of %u", SECTOR);
    if (size > image->header.size)
        return byre_error_set(err, -EINVAL, "a disk of %" PRIu64 " bytes is not shrunk to %" PRIu64,
                              image->header.size, size);
    if (image->header.version < 3 && image->header.snapshot_count)
        return byre_error_set(err, -ENOTSUP, "Can't resize a v2 image which has snapshots");
    return byre_check_writable_locked(image, err);
}

/* H1. */
static int switch_size(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    int rc = byre_bitmaps_pause(image, err);

    if (rc < 0)
        return rc;
    rc = byre_commit(image, err);
    if (rc == 0)
        rc = byre_size_switch(image, size, err);
    byre_bitmaps_resume(image);
    return rc;
}

int byre_qcow2_shrink(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    int rc = check_shrinking(image, size, err);

    if (rc < 0 || size == image->header.size)
        return rc;
    rc = switch_size(image, size, err);
    if (rc == 0)
        rc = unmap_from(image, byre_cluster_ceil(image, size), err);
    if (rc == 0)
        rc = byre_commit(image, err);
    if (rc == 0)
        rc = byre_external_trim(image, size, err);
    return rc < 0 ? rc : byre_image_trim(image, err);
}
