/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmap directory: reading it into the list, and changing flags in it where they stand.
 *
 * Reading a directory costs no more than its bytes in the file; 64 MiB at most.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/bitmaps.h"

void byre_bitmap_free(struct byre_bitmap *bitmap)
{
    if (!bitmap)
        return;
    free(bitmap->name);
    free(bitmap->extra);
    if (bitmap->next.table != bitmap->now.table)
        free(bitmap->next.table);
    free(bitmap->now.table);
    byre_bits_free(bitmap->bits);
    free(bitmap);
}

void byre_bitmaps_free(struct byre_bitmaps *bitmaps)
{
    if (!bitmaps)
        return;
    for (size_t i = 0; i < bitmaps->list.len; i++)
        byre_bitmap_free(bitmaps->list.ptr[i]);
    vec_done(&bitmaps->list);
    vec_done(&bitmaps->fresh);
    vec_done(&bitmaps->replaced);
    free(bitmaps);
}

struct byre_bitmap *byre_bitmap_find(const struct byre_bitmaps *bitmaps, const char *name)
{
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (!bitmap->removed && strcmp(bitmap->name, name) == 0)
            return bitmap;
    }
    return NULL;
}

bool byre_bitmap_follows(const struct byre_bitmap *bitmap)
{
    return (bitmap->now.flags & BYRE_QCOW2_BITMAP_AUTO) && !bitmap->inconsistent;
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* Why the table cannot be where it should, or NULL. */
static const char *table_loss(const struct byre_qcow2 *image, const struct byre_bitmap_place *place, uint64_t file_size)
{
    if (place->table_hoff == 0 || !byre_is_aligned(place->table_hoff, image->cluster_size))
        return "bitmap_table_offset is no multiple of the cluster size";
    if (place->table_size == 0)
        return "bitmap_table_size is 0";
    if (place->table_size > BYRE_QCOW2_BITMAP_TABLE_MAX)
        return "bitmap_table_size is over 1048576";
    if (!byre_range_within(place->table_hoff, place->table_size * 8ULL, file_size))
        return "the bitmap table passes the end of the file";
    return NULL;
}

/* Looks whether the bitmap can be used; `fault` is what its entry alone tells. */
static void judge(const struct byre_qcow2 *image, struct byre_bitmap *bitmap, const char *fault, uint64_t file_size)
{
    const struct byre_bitmap_place *place = &bitmap->now;
    const char *loss = table_loss(image, place, file_size);

    bitmap->lost = loss;
    bitmap->fault = fault ? fault : loss;
    if (!bitmap->fault && !bitmap->inconsistent &&
        place->table_size != byre_qcow2_bitmap_entries(image->header.size, bitmap->granularity_bits,
                                                       image->cluster_bits))
        bitmap->fault = "bitmap_table_size does not fit the disk";
}

static int take_entry(const struct byre_qcow2 *image, const struct byre_qcow2_bitmap *entry, const char *fault,
                      uint64_t file_size, struct byre_bitmap **ret_bitmap, struct byre_error *err)
{
    struct byre_bitmap *bitmap = calloc(1, sizeof *bitmap);

    if (bitmap) {
        bitmap->name = calloc(1, entry->name_length + 1u);
        bitmap->extra = malloc(MAX(entry->extra_length, 1u));
    }
    if (!bitmap || !bitmap->name || !bitmap->extra) {
        byre_bitmap_free(bitmap);
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    }
    memcpy(bitmap->name, entry->name, entry->name_length);
    bitmap->name_length = entry->name_length;
    bitmap->type = entry->type;
    bitmap->granularity_bits = entry->granularity_bits;
    bitmap->extra_length = entry->extra_length;
    memcpy(bitmap->extra, entry->extra, entry->extra_length);
    bitmap->now = (struct byre_bitmap_place){ entry->table_hoff, entry->table_size, entry->flags, NULL };
    bitmap->next = bitmap->now;
    bitmap->inconsistent = entry->flags & BYRE_QCOW2_BITMAP_IN_USE;
    judge(image, bitmap, fault, file_size);
    *ret_bitmap = bitmap;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct byre_bitmap *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int check_names(const struct byre_bitmaps *bitmaps, struct byre_error *err)
{
    size_t count = bitmaps->list.len;
    CLEANUP(free_ptr) struct byre_bitmap **sorted = malloc(MAX(count, (size_t)1) * sizeof *sorted);

    if (!sorted)
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    if (count)
        memcpy(sorted, bitmaps->list.ptr, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return byre_error_set(err, -EINVAL, "Bitmap already exists: %.64s (name in the bitmap directory)",
                                  sorted[i]->name);
    }
    return 0;
}

static int parse_directory(const struct byre_qcow2 *image, struct byre_bitmaps *bitmaps, const uint8_t *bytes,
                           uint64_t file_size, struct byre_error *err)
{
    uint64_t at = 0;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < bitmaps->place.count; i++) {
        struct byre_qcow2_bitmap entry;
        struct byre_bitmap *bitmap = NULL;
        const char *fault;
        size_t length;

        rc = byre_qcow2_bitmap_decode(bytes + at, bitmaps->place.directory_size - at, &entry, &length, &fault, err);
        if (rc < 0) {
            byre_error_prepend(err, "bitmap %u: ", i);
            break;
        }
        rc = take_entry(image, &entry, fault, file_size, &bitmap, err);
        if (rc < 0)
            break;
        bitmap->entry_at = at;
        at += length;
        rc = vec_push(&bitmaps->list, bitmap);
        if (rc < 0) {
            byre_bitmap_free(bitmap);
            byre_error_set_errno(err, rc, "bitmap directory");
        }
    }
    if (rc == 0 && at != bitmaps->place.directory_size)
        rc = byre_error_set(err, -EINVAL, "More bitmaps found than specified in header extension (nb_bitmaps is %u)",
                            bitmaps->place.count);
    return rc < 0 ? rc : check_names(bitmaps, err);
}

static int read_directory(struct byre_qcow2 *image, struct byre_bitmaps *bitmaps,
                          const struct byre_qcow2_extension *extension, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    uint64_t file_size, length;
    int rc = byre_qcow2_bitmaps_parse(extension, image->cluster_bits, &bitmaps->place, err);

    if (rc == 0)
        rc = byre_store_size(image->store, &file_size, err);
    if (rc < 0)
        return rc;
    length = bitmaps->place.directory_size;
    if (!byre_range_within(bitmaps->place.directory_hoff, length, file_size))
        return byre_error_set(err, -EINVAL, "Bitmap directory lies beyond the end of the file "
                              "(bitmap_directory_offset is 0x%" PRIx64 ", bitmap_directory_size is %" PRIu64 ")",
                              bitmaps->place.directory_hoff, length);
    bytes = malloc(MAX((size_t)length, (size_t)1));
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    rc = length ? byre_store_pread(image->store, bytes, (size_t)length, bitmaps->place.directory_hoff, err) : 0;
    return rc < 0 ? rc : parse_directory(image, bitmaps, bytes, file_size, err);
}

int byre_bitmaps_get_locked(struct byre_qcow2 *image, struct byre_bitmaps **ret_bitmaps, struct byre_error *err)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(&image->header, BYRE_QCOW2_EXT_BITMAPS);
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = 0;

    if (!bitmaps) {
        bitmaps = calloc(1, sizeof *bitmaps);
        if (!bitmaps)
            return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
        bitmaps->stale = extension && !(image->header.autoclear & BYRE_QCOW2_AUTOCLEAR_BITMAPS);
        if (extension && !bitmaps->stale)
            rc = read_directory(image, bitmaps, extension, err);
        if (rc < 0) {
            byre_bitmaps_free(bitmaps);
            return rc;
        }
        image->bitmaps = bitmaps;
    }
    *ret_bitmaps = bitmaps;
    return 0;
}

int byre_bitmaps_open(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps;
    LOCK_SCOPE(&image->mutex);
    int rc;

    if (!byre_qcow2_header_find_extension(&image->header, BYRE_QCOW2_EXT_BITMAPS))
        return 0;
    rc = byre_bitmaps_get_locked(image, &bitmaps, err);
    if (rc == 0)
        byre_bitmaps_resume(image);
    return rc;
}

/* --- flags ---------------------------------------------------------------------------------------------- */

int byre_bitmaps_write_flags_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    bool written = false;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        const struct byre_bitmap *bitmap = bitmaps->list.ptr[i];
        uint8_t flags[4];

        if (bitmap->added || bitmap->next.flags == bitmap->now.flags)
            continue;
        byre_put_be32(flags, bitmap->next.flags);
        written = true;
        rc = byre_store_pwrite(image->store, flags, sizeof flags,
                               bitmaps->place.directory_hoff + bitmap->entry_at + BYRE_QCOW2_BITMAP_AT_FLAGS, err);
    }
    if (rc == 0 && written)
        rc = byre_barrier(image, err);
    if (rc < 0) {
        byre_poison_locked(image, rc);
        return rc;
    }
    for (size_t i = 0; i < bitmaps->list.len; i++)
        bitmaps->list.ptr[i]->now.flags = bitmaps->list.ptr[i]->next.flags;
    return 0;
}
