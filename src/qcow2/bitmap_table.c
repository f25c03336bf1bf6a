/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmap tables and the clusters of bits that they point to: reading them, and making new ones out of old ones and of
 * what was set since.
 *
 * What is made new is written to fresh clusters and noted in the list, so that a change can be undone as a whole; old
 * clusters that nothing changes are kept by the new table.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/zero.h"
#include "qcow2/bitmaps.h"

/* --- reading -------------------------------------------------------------------------------------------- */

static int bad_entry(const struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint32_t index, uint64_t entry,
                     struct byre_error *err)
{
    return byre_error_set(err, -EIO, "'%s': bitmap '%.64s': bitmap table entry %u cannot be %#" PRIx64,
                          image->store->name, bitmap->name, index, entry);
}

int byre_bitmap_load_table_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    CLEANUP(free_ptr) uint64_t *table = NULL;
    uint32_t count = bitmap->now.table_size;
    int rc;

    if (bitmap->now.table || bitmap->added)
        return 0;
    table = malloc(MAX(count, 1u) * sizeof *table);
    if (!table)
        return byre_error_set(err, -ENOMEM, "Could not allocate a bitmap table of %u entries", count);
    rc = byre_store_pread(image->store, table, count * sizeof *table, bitmap->now.table_hoff, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < count; i++) {
        table[i] = byre_get_be64(&table[i]);
        if (!byre_qcow2_bitmap_entry_valid(table[i], image->cluster_bits))
            return bad_entry(image, bitmap, i, table[i], err);
    }
    bitmap->next.table = bitmap->now.table = STEAL(table);
    return 0;
}

/* How many bits of the chunk are on a disk of `size` bytes. */
static uint64_t valid_bits(const struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint32_t index,
                           uint64_t size)
{
    uint64_t count = byre_div_up(size, 1ULL << bitmap->granularity_bits), base = (uint64_t)index
                                                                                << (image->cluster_bits + 3);

    return count > base ? MIN(count - base, 1ULL << (image->cluster_bits + 3)) : 0;
}

static void clear_from(uint8_t *bytes, uint64_t bit, uint32_t length)
{
    uint64_t byte = bit / 8;

    if (byte < length)
        bytes[byte] &= (uint8_t)((1u << bit % 8) - 1);
    if (byte + 1 < length)
        memset(bytes + byte + 1, 0, length - byte - 1);
}

/* What an entry of the table says, as it is in the file. */
static int read_stored(struct byre_qcow2 *image, uint64_t entry, uint8_t *bytes, struct byre_error *err)
{
    uint64_t hoff = entry & BYRE_QCOW2_BITMAP_OFFSET_MASK;

    if (hoff)
        return byre_store_pread(image->store, bytes, image->cluster_size, hoff, err);
    memset(bytes, entry & BYRE_QCOW2_BITMAP_ALL_ONES ? 0xff : 0, image->cluster_size);
    return 0;
}

int byre_bitmap_read_chunk_locked(struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint32_t index,
                                  uint64_t size, uint8_t *bytes, struct byre_error *err)
{
    uint64_t entry = index < bitmap->now.table_size ? bitmap->now.table[index] : 0;
    int rc = read_stored(image, entry, bytes, err);

    if (rc < 0)
        return rc;
    clear_from(bytes, valid_bits(image, bitmap, index, image->header.size), image->cluster_size);
    if (bitmap->bits && index < byre_bits_chunks(bitmap->bits))
        byre_bits_merge_into(bitmap->bits, index, bytes);
    clear_from(bytes, valid_bits(image, bitmap, index, size), image->cluster_size);
    return 0;
}

/* --- making --------------------------------------------------------------------------------------------- */

static int note_replaced(struct byre_bitmaps *bitmaps, uint64_t hoff, struct byre_error *err)
{
    int rc = vec_push(&bitmaps->replaced, hoff);

    return rc < 0 ? byre_error_set_errno(err, rc, "bitmap") : 0;
}

static int note_replaced_table(struct byre_qcow2 *image, const struct byre_bitmap_place *place, struct byre_error *err)
{
    uint64_t end = byre_cluster_ceil(image, place->table_hoff + place->table_size * 8ULL);
    int rc = 0;

    for (uint64_t at = place->table_hoff; rc == 0 && at < end; at += image->cluster_size)
        rc = note_replaced(image->bitmaps, at, err);
    return rc;
}

/* Puts the bits into a fresh cluster. */
static int write_chunk_locked(struct byre_qcow2 *image, const uint8_t *bytes, uint64_t *ret_entry,
                              struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    uint64_t hoff, got;
    int rc = vec_reserve(&bitmaps->fresh, 1);

    if (rc < 0)
        return byre_error_set_errno(err, rc, "bitmap");
    rc = byre_alloc_run_locked(image, 1, &hoff, &got, NULL, err);
    if (rc < 0)
        return rc;
    (void)vec_push(&bitmaps->fresh, hoff);
    *ret_entry = hoff;
    return byre_store_pwrite(image->store, bytes, image->cluster_size, hoff, err);
}

/* The shortest way to say what `bytes` are, as an entry of a table. */
static int make_entry_locked(struct byre_qcow2 *image, const uint8_t *bytes, uint64_t valid, uint64_t *ret_entry,
                             struct byre_error *err)
{
    if (byre_is_zero(bytes, image->cluster_size)) {
        *ret_entry = 0;
        return 0;
    }
    /* Bits behind the end of the disk must be zero. */
    if (valid == 8ULL * image->cluster_size && byre_bits_find(bytes, 0, valid, false) == valid) {
        *ret_entry = BYRE_QCOW2_BITMAP_ALL_ONES;
        return 0;
    }
    return write_chunk_locked(image, bytes, ret_entry, err);
}

/* One entry of the new table; `bytes` and `stored` are room for a cluster each. */
static int fold_chunk_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, uint32_t index, uint64_t size,
                             uint64_t *table, uint8_t *bytes, uint8_t *stored, struct byre_error *err)
{
    uint64_t old = index < bitmap->now.table_size ? bitmap->now.table[index] : 0, hoff;
    uint64_t valid = valid_bits(image, bitmap, index, size);
    bool same_end = valid == valid_bits(image, bitmap, index, image->header.size);
    int rc;

    table[index] = old;
    if (same_end && (!bitmap->bits || byre_bits_chunk_empty(bitmap->bits, index)))
        return 0;
    rc = byre_bitmap_read_chunk_locked(image, bitmap, index, size, bytes, err);
    if (rc == 0)
        rc = read_stored(image, old, stored, err);
    if (rc < 0 || memcmp(bytes, stored, image->cluster_size) == 0)
        return rc;
    rc = make_entry_locked(image, bytes, valid, &table[index], err);
    hoff = old & BYRE_QCOW2_BITMAP_OFFSET_MASK;
    return rc == 0 && hoff ? note_replaced(image->bitmaps, hoff, err) : rc;
}

/* Notes what the new, shorter table does not name any more. */
static int drop_entries(struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint64_t from,
                        struct byre_error *err)
{
    int rc = 0;

    for (uint64_t i = from; rc == 0 && bitmap->now.table && i < bitmap->now.table_size; i++) {
        uint64_t hoff = bitmap->now.table[i] & BYRE_QCOW2_BITMAP_OFFSET_MASK;

        if (hoff)
            rc = note_replaced(image->bitmaps, hoff, err);
    }
    return rc;
}

/* The new table, if it says the same as the old one, is not needed. */
static int take_table(struct byre_qcow2 *image, struct byre_bitmap *bitmap, uint64_t *table, uint32_t count,
                      struct byre_error *err)
{
    if (!bitmap->added && count == bitmap->now.table_size &&
        memcmp(table, bitmap->now.table, count * sizeof *table) == 0) {
        free(table);
        return 0;
    }
    bitmap->next.table = table;
    bitmap->next.table_size = count;
    return bitmap->added ? 0 : note_replaced_table(image, &bitmap->now, err);
}

static int new_table(const struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint64_t size,
                     uint64_t **ret_table, uint32_t *ret_count, struct byre_error *err)
{
    uint64_t count = MAX(byre_qcow2_bitmap_entries(size, bitmap->granularity_bits, image->cluster_bits), 1ull);

    if (count > BYRE_QCOW2_BITMAP_TABLE_MAX)
        return byre_error_set(err, -EFBIG, "Too much space will be occupied by the bitmap. Use larger granularity");
    *ret_table = calloc(count, sizeof **ret_table);
    if (!*ret_table)
        return byre_error_set(err, -ENOMEM, "Could not allocate a bitmap table of %" PRIu64 " entries", count);
    *ret_count = (uint32_t)count;
    return 0;
}

int byre_bitmap_fold_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, uint64_t size, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(image->cluster_size), *stored = malloc(image->cluster_size);
    uint64_t *table = NULL;
    uint32_t count = 0;
    int rc = byre_bitmap_load_table_locked(image, bitmap, err);

    if (rc == 0 && (!bytes || !stored))
        rc = byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
    if (rc == 0)
        rc = new_table(image, bitmap, size, &table, &count, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = fold_chunk_locked(image, bitmap, i, size, table, bytes, stored, err);
    if (rc == 0)
        rc = drop_entries(image, bitmap, count, err);
    if (rc < 0) {
        free(table);
        return rc;
    }
    return take_table(image, bitmap, table, count, err);
}

int byre_bitmap_blank_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    uint64_t *table = NULL;
    uint32_t count = 0;
    int rc = byre_bitmap_load_table_locked(image, bitmap, err);

    if (rc == 0)
        rc = new_table(image, bitmap, image->header.size, &table, &count, err);
    if (rc == 0)
        rc = drop_entries(image, bitmap, 0, err);
    if (rc < 0) {
        free(table);
        return rc;
    }
    return take_table(image, bitmap, table, count, err);
}

int byre_bitmap_drop_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    int rc;

    /* What a damaged table names is leaked, and so is a table that cannot be: check finds them. */
    if (bitmap->lost)
        return 0;
    rc = byre_bitmap_load_table_locked(image, bitmap, err);
    if (rc == 0)
        rc = drop_entries(image, bitmap, 0, err);
    else if (rc == -EIO)
        rc = 0;
    return rc < 0 ? rc : note_replaced_table(image, &bitmap->now, err);
}
