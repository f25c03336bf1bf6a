/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the snapshot table and the bitmap directory of an image, for listing.
 *
 * Invariants
 *   I1. Nothing beyond the end of the file is believed: a table that is not all there is an error.  So memory
 *       is bounded by the file's size, and by 64 MiB for each table.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/info_tables.h"
#include "qcow2/fmt_bitmap.h"
#include "qcow2/snapshot_table.h"

/* Moves the strings of the entry. */
static struct byre_snapshot_info snapshot_info(struct byre_snapshot_entry *entry)
{
    return (struct byre_snapshot_info){
        .id = STEAL(entry->id),
        .name = STEAL(entry->name),
        .vm_state_size = entry->fixed.vm_state_size,
        .date_sec = entry->fixed.date_sec,
        .date_nsec = entry->fixed.date_nsec,
        .vm_clock_nsec = entry->fixed.vm_clock_nsec,
        .icount = entry->fixed.icount,
        .disk_size = entry->fixed.disk_size,
    };
}

int byre_info_read_snapshots(struct byre_store *store, const struct byre_qcow2_header *header,
                             struct byre_info *info, struct byre_error *err)
{
    struct byre_snapshot_table table;
    int rc = byre_snapshot_table_read(store, header, &table, err);

    if (rc < 0)
        return rc;
    info->snapshots = calloc(MAX(table.entries.len, (size_t)1), sizeof *info->snapshots);
    if (!info->snapshots)
        rc = byre_error_set_errno(err, -ENOMEM, "snapshot table");
    for (size_t i = 0; rc == 0 && i < table.entries.len; i++)
        info->snapshots[info->snapshot_count++] = snapshot_info(&table.entries.ptr[i]);
    byre_snapshot_table_done(&table);
    return rc;
}

static int add_bitmap(const struct byre_qcow2_bitmap *bitmap, struct byre_info *info, struct byre_error *err)
{
    struct byre_bitmap_info *shown = &info->bitmaps[info->bitmap_count];

    shown->name = strndup(bitmap->name, bitmap->name_length);
    if (!shown->name)
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    shown->granularity = 1ULL << bitmap->granularity_bits;
    shown->in_use = bitmap->flags & BYRE_QCOW2_BITMAP_IN_USE;
    shown->enabled = bitmap->flags & BYRE_QCOW2_BITMAP_AUTO;
    info->bitmap_count++;
    return 0;
}

static int list_bitmaps(const uint8_t *directory, const struct byre_qcow2_bitmaps *bitmaps,
                        struct byre_info *info, struct byre_error *err)
{
    size_t left = (size_t)bitmaps->directory_size;

    while (info->bitmap_count < bitmaps->count) {
        struct byre_qcow2_bitmap bitmap;
        size_t length;
        int rc = byre_qcow2_bitmap_parse(directory, left, &bitmap, &length, err);

        if (rc == 0)
            rc = add_bitmap(&bitmap, info, err);
        if (rc < 0)
            return rc;
        directory += length;
        left -= length;
    }
    if (left > 0)
        return byre_error_set(err, -EINVAL, "More bitmaps found than specified in header extension "
                              "(nb_bitmaps is %u)", bitmaps->count);
    return 0;
}

int byre_info_read_bitmaps(struct byre_store *store, const struct byre_qcow2_header *header,
                           struct byre_info *info, struct byre_error *err)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_BITMAPS);
    CLEANUP(free_ptr) uint8_t *directory = NULL;
    struct byre_qcow2_bitmaps bitmaps;
    int rc;

    /* Without the bit somebody wrote to the image who knew nothing of bitmaps: they say nothing any more. */
    if (!extension || !(header->autoclear & BYRE_QCOW2_AUTOCLEAR_BITMAPS))
        return 0;
    rc = byre_qcow2_bitmaps_parse(extension, header->cluster_bits, &bitmaps, err);
    if (rc < 0)
        return rc;
    if (!byre_range_within(bitmaps.directory_hoff, bitmaps.directory_size, info->file_size))
        return byre_error_set(err, -EINVAL, "Bitmap directory lies beyond the end of the file "
                              "(bitmap_directory_offset is 0x%" PRIx64 ", bitmap_directory_size is %"
                              PRIu64 ")", bitmaps.directory_hoff, bitmaps.directory_size);
    directory = malloc(MAX((size_t)bitmaps.directory_size, (size_t)1));
    info->bitmaps = calloc(bitmaps.count, sizeof *info->bitmaps);
    if (!directory || !info->bitmaps)
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    rc = bitmaps.directory_size == 0 ? 0 : byre_store_pread(store, directory, (size_t)bitmaps.directory_size,
                                                           bitmaps.directory_hoff, err);
    return rc < 0 ? rc : list_bitmaps(directory, &bitmaps, info, err);
}
