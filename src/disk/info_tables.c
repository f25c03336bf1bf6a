/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the snapshot table and the bitmap directory of an image, for listing.
 *
 * Invariants
 *   I1. Nothing beyond the end of the file is believed: a table that is not all there is an error.  So memory
 *       is bounded by the file's size, and by 64 MiB for each table.
 *   I2. Every turn of a loop moves on by at least the fixed part of an entry.
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
#include "qcow2/fmt_snapshot.h"

/* A table as it is being read. */
struct cursor {
    struct byre_store *store;
    uint64_t hoff, end; /* of the table: where it starts, and where it or the file ends */
    uint64_t at;        /* the next entry */
};

static int read_string(const struct cursor *c, uint64_t hoff, size_t length, char **ret_string,
                       struct byre_error *err)
{
    char *string = malloc(length + 1);
    int rc;

    if (!string)
        return byre_error_set_errno(err, -ENOMEM, "snapshot table");
    rc = length ? byre_store_pread(c->store, string, length, hoff, err) : 0;
    if (rc < 0) {
        free(string);
        return rc;
    }
    string[length] = 0;
    *ret_string = string;
    return 0;
}

static int past_the_end(const struct cursor *c, unsigned index, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Snapshot table entry %u lies beyond the end of the file "
                          "(snapshots_offset is 0x%" PRIx64 ", the entry is at 0x%" PRIx64 ")",
                          index, c->hoff, c->at);
}

/* Decodes the entry at the cursor and makes sure that all of it is there. */
static int read_entry(const struct cursor *c, uint64_t disk_size, unsigned index,
                      struct byre_qcow2_snapshot *ret_entry, struct byre_error *err)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
    int rc;

    if (!byre_range_within(c->at, BYRE_QCOW2_SNAPSHOT_FIXED, c->end))
        return past_the_end(c, index, err);
    rc = byre_store_pread(c->store, head, sizeof head, c->at, err);
    if (rc < 0)
        return rc;
    byre_qcow2_snapshot_decode(head, disk_size, ret_entry);
    if (ret_entry->extra_length > BYRE_QCOW2_SNAPSHOT_EXTRA_MAX)
        return byre_error_set(err, -EINVAL,
                              "Too much extra metadata in snapshot table entry %u (its size is %u)",
                              index, ret_entry->extra_length);
    /* The padding of the last entry may be missing. */
    if (!byre_range_within(c->at + byre_qcow2_snapshot_id_at(ret_entry),
                           (uint64_t)ret_entry->id_length + ret_entry->name_length, c->end))
        return past_the_end(c, index, err);
    return 0;
}

static int add_snapshot(struct cursor *c, struct byre_info *info, struct byre_error *err)
{
    struct byre_snapshot_info *snapshot = &info->snapshots[info->snapshot_count];
    struct byre_qcow2_snapshot entry;
    uint64_t id_hoff;
    int rc;

    rc = read_entry(c, info->virtual_size, info->snapshot_count, &entry, err);
    if (rc < 0)
        return rc;
    *snapshot = (struct byre_snapshot_info){
        .vm_state_size = entry.vm_state_size,
        .date_sec = entry.date_sec,
        .date_nsec = entry.date_nsec,
        .vm_clock_nsec = entry.vm_clock_nsec,
        .icount = entry.icount,
        .disk_size = entry.disk_size,
    };
    info->snapshot_count++;
    id_hoff = c->at + byre_qcow2_snapshot_id_at(&entry);
    rc = read_string(c, id_hoff, entry.id_length, &snapshot->id, err);
    if (rc == 0)
        rc = read_string(c, id_hoff + entry.id_length, entry.name_length, &snapshot->name, err);
    c->at += byre_qcow2_snapshot_length(&entry);
    return rc;
}

int byre_info_read_snapshots(struct byre_store *store, const struct byre_qcow2_header *header,
                             struct byre_info *info, struct byre_error *err)
{
    struct cursor c = { .store = store, .hoff = header->snapshots_hoff, .at = header->snapshots_hoff };
    uint32_t count = header->snapshot_count;
    int rc;

    if (count == 0)
        return 0;
    if (!byre_range_within(c.hoff, (uint64_t)count * BYRE_QCOW2_SNAPSHOT_FIXED, info->file_size))
        return byre_error_set(err, -EINVAL, "Snapshot table lies beyond the end of the file "
                              "(snapshots_offset is 0x%" PRIx64 ", nb_snapshots is %u, file size is %"
                              PRIu64 ")", c.hoff, count, info->file_size);
    info->snapshots = calloc(count, sizeof *info->snapshots);
    if (!info->snapshots)
        return byre_error_set_errno(err, -ENOMEM, "snapshot table");
    c.end = info->file_size;
    while (info->snapshot_count < count) {
        if (c.at - c.hoff > BYRE_QCOW2_SNAPSHOT_TABLE_MAX)
            return byre_error_set(err, -EINVAL, "Snapshot table too large (it is over %u bytes)",
                                  BYRE_QCOW2_SNAPSHOT_TABLE_MAX);
        rc = add_snapshot(&c, info, err);
        if (rc < 0)
            return rc;
    }
    return 0;
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
