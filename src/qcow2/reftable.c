/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The refcount table: adding refcount blocks, and growing the table.
 *
 * Invariants
 *   T1. A new block lies in the range that it counts, so it needs no other block to be counted; those for a run
 *       that needs several lie together in front of the run.
 *   T2. A grown table lies, with the blocks that count it, beyond everything that the old table could count and
 *       beyond everything in use.  It is complete in memory before it replaces the old one, and the commit writes
 *       it whole before the header points to it; the old table is freed after that.
 *   T3. New blocks and tables have their space, filled with zeros, before anything refers to them.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "qcow2/image.h"

/* Where a grown table goes: clusters, from `start` on, first the table and then the blocks. */
struct region {
    uint64_t start, table_clusters, block_count;
};

static uint64_t region_end(const struct region *region)
{
    return region->start + region->table_clusters + region->block_count;
}

/* The refcount blocks that count the region. */
static uint64_t blocks_needed(const struct byre_qcow2 *image, const struct region *region)
{
    uint64_t last = region_end(region) - 1;

    return (last >> image->refblock_bits) - (region->start >> image->refblock_bits) + 1;
}

/* The clusters of a table that reaches to the end of the region. */
static uint64_t table_needed(const struct byre_qcow2 *image, const struct region *region)
{
    uint64_t last = region_end(region) - 1;

    return byre_div_up((last >> image->refblock_bits) + 1, image->cluster_size / 8);
}

/* Plans a table that is half as large again at least, and that counts itself. */
static int plan_growth(const struct byre_qcow2 *image, uint64_t cluster, struct region *ret_region,
                       struct byre_error *err)
{
    uint64_t covered = (uint64_t)image->reftable.entry_count << image->refblock_bits;
    /* A device has no end beyond which nothing is in use; but what no table counts is free there, too. */
    uint64_t in_use = image->store->growable ? byre_cluster_of(image, image->used_end) : 0;
    struct region region = {
        .start = MAX(MAX(covered, cluster), in_use),
        .table_clusters = byre_div_up(image->reftable.entry_count * 3ULL / 2, image->cluster_size / 8),
        .block_count = 1,
    };

    /* Both only ever make the region longer, until it is long enough. */
    while (blocks_needed(image, &region) > region.block_count ||
           table_needed(image, &region) > region.table_clusters) {
        region.block_count = MAX(region.block_count, blocks_needed(image, &region));
        region.table_clusters = MAX(region.table_clusters, table_needed(image, &region));
    }
    if (region.table_clusters << image->cluster_bits > BYRE_QCOW2_REFTABLE_BYTES_MAX)
        return byre_error_set(err, -EFBIG, "'%s': the refcount table would be larger than %u bytes",
                              image->store->name, BYRE_QCOW2_REFTABLE_BYTES_MAX);
    if (region_end(&region) << image->cluster_bits > image->store_limit)
        return byre_error_set_errno(err, -ENOSPC, "'%s': could not grow the refcount table",
                                    image->store->name);
    *ret_region = region;
    return 0;
}

/* Makes the new table in memory: the old entries and the new blocks. */
static int build_table(struct byre_qcow2 *image, const struct region *region, struct byre_table *table,
                       struct byre_error *err)
{
    uint64_t first_block = region->start + region->table_clusters;
    int rc = byre_table_init(table, "refcount table", region->start << image->cluster_bits,
                             (uint32_t)(region->table_clusters << image->cluster_bits >> 3), true, err);

    for (uint32_t i = 0; rc == 0 && i < image->reftable.entry_count; i++) {
        uint64_t entry;

        rc = byre_table_get(&image->reftable, image->store, i, &entry, err);
        if (rc == 0 && entry)
            rc = byre_table_set(table, image->store, i, entry, err);
    }
    for (uint64_t i = 0; rc == 0 && i < region->block_count; i++)
        rc = byre_table_set(table, image->store, (uint32_t)((region->start >> image->refblock_bits) + i),
                            (first_block + i) << image->cluster_bits, err);
    return rc;
}

/* From now on `table` is the one; the old one is in its place. */
static void swap_tables(struct byre_qcow2 *image, struct byre_table *table)
{
    struct byre_table old = image->reftable;

    image->reftable = *table;
    *table = old;
}

static int grow_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_error *err)
{
    struct byre_table table = { 0 };
    struct region region = { 0 };
    uint64_t start, length;
    int rc;

    byre_store_event(image->store, BYRE_EVENT_REFTABLE_GROW);
    rc = plan_growth(image, cluster, &region, err);
    if (rc == 0)
        rc = byre_free_room_locked(image, 1, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, region.block_count, err);
    if (rc == 0)
        rc = byre_alloc_check_locked(image, region.start, region_end(&region) - region.start, err);
    if (rc == 0)
        rc = build_table(image, &region, &table, err);
    if (rc < 0)
        goto out;
    start = region.start << image->cluster_bits;
    length = (region_end(&region) - region.start) << image->cluster_bits;
    byre_store_event(image->store, BYRE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
    rc = byre_alloc_zero_fill(image, start, length, err);
    if (rc < 0)
        goto out;
    /* The slices of the new blocks come into being here, found through the new table. */
    swap_tables(image, &table);
    rc = byre_refcount_change_locked(image, region.start, region_end(&region) - region.start, 1, err);
    if (rc < 0) {
        swap_tables(image, &table);
        byre_slices_drop(&image->slices, (region.start + region.table_clusters) << image->cluster_bits,
                         region.block_count << image->cluster_bits);
        goto out;
    }
    for (uint64_t i = 0; i < region.block_count; i++)
        byre_metadata_add_refblock_locked(image, start + ((region.table_clusters + i) << image->cluster_bits));
    byre_free_later_locked(image, byre_cluster_of(image, table.hoff), image->header.reftable_clusters, false);
    image->header.reftable_hoff = start;
    image->header.reftable_clusters = (uint32_t)region.table_clusters;
    image->used_end = MAX(image->used_end, start + length);
    image->reftable_moved = true;
out:
    byre_table_done(&table);
    return rc;
}

/* Writes empty refcount blocks. */
static int write_blocks(struct byre_qcow2 *image, uint64_t hoff, uint64_t count, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_REFBLOCK_ALLOC_WRITE);
    return byre_alloc_zero_fill(image, hoff, count << image->cluster_bits, err);
}

int byre_refblock_add_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_error *err)
{
    uint64_t index = cluster >> image->refblock_bits, hoff = cluster << image->cluster_bits, old;
    int rc;

    byre_store_event(image->store, BYRE_EVENT_REFBLOCK_ALLOC);
    if (index >= image->reftable.entry_count)
        return grow_locked(image, cluster, err);
    if (hoff + image->cluster_size > image->store_limit)
        return byre_error_set_errno(err, -ENOSPC, "'%s': could not add a refcount block", image->store->name);
    rc = byre_table_get(&image->reftable, image->store, (uint32_t)index, &old, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, 1, err);
    if (rc == 0)
        rc = byre_alloc_check_locked(image, cluster, 1, err);
    if (rc == 0)
        rc = write_blocks(image, hoff, 1, err);
    if (rc == 0)
        rc = byre_table_set(&image->reftable, image->store, (uint32_t)index, hoff, err);
    if (rc < 0)
        return rc;
    rc = byre_refcount_change_locked(image, cluster, 1, 1, err);
    if (rc < 0) {
        (void)byre_table_set(&image->reftable, image->store, (uint32_t)index, old, NULL);
        byre_slices_drop(&image->slices, hoff, image->cluster_size);
        return rc;
    }
    byre_metadata_add_refblock_locked(image, hoff);
    image->used_end = MAX(image->used_end, hoff + image->cluster_size);
    return 0;
}

/* Finds `blocks` ranges in a row that have no refcount block, so that all of their clusters are free. */
static int find_bare_ranges(struct byre_qcow2 *image, uint64_t blocks, uint64_t *ret_index, struct byre_error *err)
{
    uint64_t index = byre_div_up(image->next_free, 1ULL << image->refblock_bits), entry;

    for (uint64_t i = index; i < index + blocks && i < image->reftable.entry_count; i++) {
        int rc = byre_table_get(&image->reftable, image->store, (uint32_t)i, &entry, err);

        if (rc < 0)
            return rc;
        if (entry)
            index = i + 1;
    }
    *ret_index = index;
    if (index + blocks <= image->reftable.entry_count)
        return 0;
    return grow_locked(image, (index + blocks) << image->refblock_bits, err);
}

/* Enters blocks that lie one after the other from `cluster` on, or takes them out again (`add` false). */
static int set_blocks(struct byre_qcow2 *image, uint64_t index, uint64_t blocks, uint64_t cluster, bool add,
                      struct byre_error *err)
{
    int rc = 0;

    for (uint64_t i = 0; rc == 0 && i < blocks; i++)
        rc = byre_table_set(&image->reftable, image->store, (uint32_t)(index + i),
                            add ? (cluster + i) << image->cluster_bits : 0, err);
    return rc;
}

int byre_refblock_reserve_run_locked(struct byre_qcow2 *image, uint64_t count, uint64_t *ret_cluster,
                                     struct byre_error *err)
{
    uint64_t per_block = 1ULL << image->refblock_bits, blocks = byre_div_up(count, per_block - 1), index, first, hoff;
    int rc;

    byre_store_event(image->store, BYRE_EVENT_REFBLOCK_ALLOC);
    rc = find_bare_ranges(image, blocks, &index, err);
    if (rc < 0)
        return rc;
    first = index << image->refblock_bits;
    hoff = first << image->cluster_bits;
    if ((first + blocks + count) << image->cluster_bits > image->store_limit)
        return byre_error_set_errno(err, -ENOSPC, "'%s': no room for %" PRIu64 " clusters in a row",
                                    image->store->name, count);
    rc = byre_alloc_check_locked(image, first, blocks + count, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, blocks, err);
    if (rc == 0)
        rc = write_blocks(image, hoff, blocks, err);
    if (rc == 0)
        rc = set_blocks(image, index, blocks, first, true, err);
    if (rc == 0)
        rc = byre_refcount_change_locked(image, first, blocks + count, 1, err);
    if (rc < 0) {
        (void)set_blocks(image, index, blocks, first, false, NULL);
        byre_slices_drop(&image->slices, hoff, blocks << image->cluster_bits);
        return rc;
    }
    for (uint64_t i = 0; i < blocks; i++)
        byre_metadata_add_refblock_locked(image, hoff + (i << image->cluster_bits));
    image->used_end = MAX(image->used_end, hoff + ((blocks + count) << image->cluster_bits));
    *ret_cluster = first + blocks;
    return 0;
}
