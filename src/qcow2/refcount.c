/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refcounts of host clusters: reading and changing them in cached slices of refcount blocks.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/image.h"

/* The first host byte of the refcount block for `cluster`: 0 if there is none. */
static int refblock_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t *ret_hoff,
                           struct byre_error *err)
{
    uint64_t index = cluster >> image->refblock_bits, entry = 0;
    int rc = 0;

    if (index < image->reftable.entry_count)
        rc = byre_table_get(&image->reftable, image->store, (uint32_t)index, &entry, err);
    if (rc < 0)
        return rc;
    *ret_hoff = entry & BYRE_REFTABLE_OFFSET_MASK;
    if (*ret_hoff & (image->cluster_size - 1))
        return byre_corrupt_locked(image, err,
                                   "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", *ret_hoff,
                                   index);
    return 0;
}

int byre_refcount_slice_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_slice **ret_slice,
                               size_t *ret_index, struct byre_error *err)
{
    size_t entries = byre_refcount_slice_entries(image);
    uint64_t in_block = cluster & ((1ULL << image->refblock_bits) - 1), hoff = 0;
    int rc = refblock_locked(image, cluster, &hoff, err);

    if (rc < 0)
        return rc;
    *ret_slice = NULL;
    *ret_index = in_block % entries;
    if (!hoff)
        return 0;
    return byre_slices_get(&image->slices, image->store, hoff + in_block / entries * image->slice_size,
                           BYRE_SLICE_REFBLOCK, ret_slice, err);
}

int byre_refcount_read_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t *ret_count,
                              struct byre_error *err)
{
    struct byre_slice *slice = NULL;
    size_t index;
    int rc = byre_refcount_slice_locked(image, cluster, &slice, &index, err);

    if (rc == 0)
        *ret_count = slice ? byre_refcount_get(slice->bytes, index, image->header.refcount_order) : 0;
    return rc;
}

int byre_refcount_missing_locked(struct byre_qcow2 *image, uint64_t cluster, const char *what,
                                 struct byre_error *err)
{
    return byre_corrupt_locked(image, err, "the refcount of host cluster %" PRIu64 " is 0, but the %s lies there",
                               cluster, what);
}

int byre_refcount_check_locked(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, const char *what,
                               struct byre_error *err)
{
    uint64_t count = 1;

    for (uint64_t at = hoff; at < hoff + length; at += image->cluster_size) {
        int rc = byre_refcount_read_locked(image, byre_cluster_of(image, at), &count, err);

        if (rc < 0)
            return rc;
        if (!count)
            return byre_refcount_missing_locked(image, byre_cluster_of(image, at), what, err);
    }
    return 0;
}

/* Changes counts from `cluster` on, up to the end of the slice; *ret_done is how many were changed. */
static int change_slice(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, int delta,
                        uint64_t *ret_done, struct byre_error *err)
{
    unsigned order = image->header.refcount_order;
    struct byre_slice *slice = NULL;
    size_t index;
    int rc = byre_refcount_slice_locked(image, cluster, &slice, &index, err);

    *ret_done = 0;
    if (rc < 0)
        return rc;
    if (!slice)
        return byre_error_set(err, -EIO, "'%s': host cluster %" PRIu64 " has no refcount block",
                              image->store->name, cluster);
    count = MIN(count, (uint64_t)(byre_refcount_slice_entries(image) - index));
    byre_slices_mark_dirty(&image->slices, slice);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t now = byre_refcount_get(slice->bytes, index + i, order);

        if (now == (delta > 0 ? byre_refcount_max(order) : 0))
            return byre_error_set(
                err, -EIO, "'%s': the refcount of host cluster %" PRIu64 " is %" PRIu64 " and cannot be %s",
                image->store->name, cluster + i, now, delta > 0 ? "raised" : "lowered");
        byre_refcount_set(slice->bytes, index + i, order, delta > 0 ? now + 1 : now - 1);
        ++*ret_done;
    }
    return 0;
}

int byre_refcount_change_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, int delta,
                                struct byre_error *err)
{
    uint64_t total = 0, done;

    while (total < count) {
        int rc = change_slice(image, cluster + total, count - total, delta, &done, err);

        total += done;
        if (rc < 0) {
            /* The slices are changed, so they are in memory, and this cannot fail. */
            for (uint64_t at = 0; at < total; at += done)
                (void)change_slice(image, cluster + at, total - at, -delta, &done, NULL);
            return rc;
        }
    }
    return 0;
}

/* Counts used clusters of [cluster, end) up to the end of their slice, or of a block that is not there; *ret_next is
 * where to go on, and the slice comes off `*most`. */
static int count_slice(struct byre_qcow2 *image, uint64_t cluster, uint64_t end, uint64_t *most, uint64_t *ret_next,
                       uint64_t *count, struct byre_error *err)
{
    struct byre_slice *slice;
    size_t index;
    int rc = byre_refcount_slice_locked(image, cluster, &slice, &index, err);

    if (rc < 0)
        return rc;
    if (slice)
        *most -= MIN(*most, (uint64_t)image->slice_size);
    if (slice)
        *ret_next = MIN(end, cluster + (byre_refcount_slice_entries(image) - index));
    else
        *ret_next = MIN(end, ((cluster >> image->refblock_bits) + 1) << image->refblock_bits);
    for (uint64_t i = 0; slice && i < *ret_next - cluster; i++)
        *count += byre_refcount_get(slice->bytes, index + i, image->header.refcount_order) != 0;
    return 0;
}

int byre_qcow2_used_clusters(struct byre_qcow2 *image, uint64_t enough, uint64_t most, uint64_t *ret_count,
                             struct byre_error *err)
{
    uint64_t count = 0, size, end;
    int rc = byre_store_size(image->store, &size, err);

    end = rc < 0 ? 0 : byre_cluster_of(image, byre_cluster_ceil(image, size));
    LOCK_SCOPE(&image->mutex);
    end = MIN(end, (uint64_t)image->reftable.entry_count << image->refblock_bits);
    for (uint64_t at = 0, next = end; rc == 0 && at < end && count <= enough && most; at = next)
        rc = count_slice(image, at, end, &most, &next, &count, err);
    if (rc == 0)
        *ret_count = count;
    return rc;
}
