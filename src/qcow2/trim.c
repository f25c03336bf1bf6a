/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking the free end off the file.
 *
 * Invariants
 *   T1. What is cut off is free, and durably so: nothing in the file leads there.
 *   T2. A refcount block that counts nothing but itself goes, too.  Its place is free once no entry of the refcount
 *       table leads to it: then nothing counts that range.
 * No request is under way, so all epochs pass.
 */
#include "config.h"

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/image.h"

/* Is `cluster` the refcount block of its own range, with nothing in use before it there?  What comes after it is
 * free. */
static int counts_only_itself_locked(struct byre_qcow2 *image, uint64_t cluster, bool *ret_alone,
                                     struct byre_error *err)
{
    uint64_t start = byre_round_down(cluster, UINT64_C(1) << image->refblock_bits), entry, count = 0;
    int rc = byre_table_get(&image->reftable, image->store, (uint32_t)(cluster >> image->refblock_bits), &entry, err);

    *ret_alone = false;
    if (rc < 0 || (entry & BYRE_REFTABLE_OFFSET_MASK) != cluster << image->cluster_bits)
        return rc;
    for (uint64_t at = start; rc == 0 && !count && at < cluster; at++)
        rc = byre_refcount_read_locked(image, at, &count, err);
    *ret_alone = !count;
    return rc;
}

static int drop_block_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_error *err)
{
    uint64_t hoff = cluster << image->cluster_bits;
    int rc = byre_table_set(&image->reftable, image->store, (uint32_t)(cluster >> image->refblock_bits), 0, err);

    if (rc < 0)
        return rc;
    byre_metadata_drop_refblock_locked(image, hoff);
    byre_slices_drop(&image->slices, hoff, image->cluster_size);
    byre_alloc_freed_locked(image, cluster, 1);
    return 0;
}

/* Is the last cluster before `end` in use?  If not, *ret_end is lower by it, or by all that no block counts. */
static int look_at_last_locked(struct byre_qcow2 *image, uint64_t end, uint64_t *ret_end, struct byre_error *err)
{
    uint64_t cluster = end - 1, count = 0;
    bool alone = false;
    struct byre_slice *slice = NULL;
    size_t index;
    int rc = byre_refcount_slice_locked(image, cluster, &slice, &index, err);

    *ret_end = end;
    if (rc == 0 && !slice) {
        *ret_end = byre_round_down(cluster, UINT64_C(1) << image->refblock_bits);
        return 0;
    }
    if (rc == 0)
        rc = byre_refcount_read_locked(image, cluster, &count, err);
    if (rc == 0 && count == 1)
        rc = counts_only_itself_locked(image, cluster, &alone, err);
    if (rc == 0 && alone)
        rc = drop_block_locked(image, cluster, err);
    if (rc == 0 && (!count || alone))
        *ret_end = cluster;
    return rc;
}

/* The end of what is in use, clusters. */
static int find_end(struct byre_qcow2 *image, uint64_t *ret_end, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    uint64_t end = byre_cluster_of(image, image->used_end), next = end;
    int rc = byre_check_writable_locked(image, err);

    do {
        end = next;
        if (rc == 0 && end)
            rc = look_at_last_locked(image, end, &next, err);
    } while (rc == 0 && next < end);
    *ret_end = end;
    return rc;
}

static void cut(struct byre_qcow2 *image, uint64_t end)
{
    LOCK_SCOPE(&image->mutex);
    uint64_t hoff = end << image->cluster_bits;

    /* A file that keeps its free end is as good an image. */
    if (hoff >= image->used_end || byre_store_truncate(image->store, hoff, NULL) < 0)
        return;
    image->used_end = image->opened_end = hoff;
    image->freed_end = MIN(image->freed_end, hoff);
    image->next_free = MIN(image->next_free, end);
    image->next_append = MIN(image->next_append, end);
}

int byre_image_trim(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t end = 0;
    int rc;

    if (!image->store->growable || !image->sealed)
        return 0;
    rc = byre_image_settle(image, err);
    if (rc == 0)
        rc = find_end(image, &end, err);
    if (rc == 0)
        rc = byre_commit(image, err); /* T1, T2 */
    if (rc == 0)
        cut(image, end);
    return rc;
}
