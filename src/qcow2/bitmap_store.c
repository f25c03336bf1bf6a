/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing the bitmaps in the file: all that is new to new clusters, a commit, one switch of the header's extension,
 * and then the old clusters are freed.
 *
 * A new directory is written whenever anything but flags changes: it is short.
 */
#include "config.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/bitmaps.h"
#include "qcow2/header_replace.h"

/* --- writing what is new -------------------------------------------------------------------------------- */

/* Takes clusters in a row for `length` bytes and fills them. */
static int write_fresh_locked(struct byre_qcow2 *image, const void *bytes, uint64_t length, uint64_t *ret_hoff,
                              struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    uint64_t count = byre_cluster_ceil(image, length) >> image->cluster_bits, hoff;
    int rc = vec_reserve(&bitmaps->fresh, count);

    if (rc < 0)
        return byre_error_set_errno(err, rc, "bitmap");
    rc = byre_alloc_exact_locked(image, count, &hoff, err);
    if (rc < 0)
        return rc;
    for (uint64_t i = 0; i < count; i++)
        (void)vec_push(&bitmaps->fresh, hoff + (i << image->cluster_bits));
    *ret_hoff = hoff;
    return byre_store_pwrite(image->store, bytes, length, hoff, err);
}

static int write_table_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    const struct byre_bitmap_place *next = &bitmap->next;
    uint64_t length = byre_cluster_ceil(image, next->table_size * 8ULL);
    CLEANUP(free_ptr) uint8_t *bytes = calloc(1, length);

    if (!bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate a bitmap table of %u entries", next->table_size);
    for (uint32_t i = 0; i < next->table_size; i++)
        byre_put_be64(bytes + i * 8ULL, next->table[i]);
    return write_fresh_locked(image, bytes, length, &bitmap->next.table_hoff, err);
}

static struct byre_qcow2_bitmap entry_of(const struct byre_bitmap *bitmap)
{
    return (struct byre_qcow2_bitmap){
        .table_hoff = bitmap->next.table_hoff,
        .table_size = bitmap->next.table_size,
        .flags = bitmap->next.flags,
        .type = bitmap->type,
        .granularity_bits = bitmap->granularity_bits,
        .name_length = bitmap->name_length,
        .name = bitmap->name,
        .extra_length = bitmap->extra_length,
        .extra = bitmap->extra,
    };
}

static int measure_directory(const struct byre_bitmaps *bitmaps, struct byre_qcow2_bitmaps *ret_place,
                             struct byre_error *err)
{
    struct byre_qcow2_bitmaps place = { .count = 0 };

    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_qcow2_bitmap entry = entry_of(bitmaps->list.ptr[i]);

        if (bitmaps->list.ptr[i]->removed)
            continue;
        place.count++;
        place.directory_size += byre_qcow2_bitmap_length(&entry);
    }
    if (place.count > BYRE_QCOW2_BITMAPS_MAX)
        return byre_error_set(err, -EINVAL, "Maximum number of persistent bitmaps is already reached (%u)",
                              BYRE_QCOW2_BITMAPS_MAX);
    if (place.directory_size > BYRE_QCOW2_BITMAP_DIRECTORY_MAX)
        return byre_error_set(err, -EINVAL, "Not enough space in the bitmap directory");
    *ret_place = place;
    return 0;
}

static int write_directory_locked(struct byre_qcow2 *image, struct byre_qcow2_bitmaps *place, struct byre_error *err)
{
    const struct byre_bitmaps *bitmaps = image->bitmaps;
    uint64_t length = byre_cluster_ceil(image, place->directory_size), at = 0;
    CLEANUP(free_ptr) uint8_t *bytes = calloc(1, length);

    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "bitmap directory");
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_qcow2_bitmap entry = entry_of(bitmaps->list.ptr[i]);

        if (bitmaps->list.ptr[i]->removed)
            continue;
        byre_qcow2_bitmap_serialize(&entry, bytes + at);
        at += byre_qcow2_bitmap_length(&entry);
    }
    return write_fresh_locked(image, bytes, length, &place->directory_hoff, err);
}

static int note_old_directory(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    uint64_t end = byre_cluster_ceil(image, bitmaps->place.directory_hoff + bitmaps->place.directory_size);
    int rc = 0;

    for (uint64_t at = bitmaps->place.directory_hoff; rc == 0 && bitmaps->place.count && at < end;
         at += image->cluster_size)
        rc = vec_push(&bitmaps->replaced, at);
    return rc < 0 ? byre_error_set_errno(err, rc, "bitmap directory") : 0;
}

static int write_new_locked(struct byre_qcow2 *image, struct byre_qcow2_bitmaps *ret_place, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = measure_directory(bitmaps, ret_place, err);

    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (!bitmap->removed && bitmap->next.table != bitmap->now.table)
            rc = write_table_locked(image, bitmap, err);
    }
    if (rc == 0 && ret_place->count)
        rc = write_directory_locked(image, ret_place, err);
    if (rc == 0)
        rc = note_old_directory(image, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, bitmaps->fresh.len, err);
    return rc;
}

int byre_bitmaps_prepare(struct byre_qcow2 *image, struct byre_qcow2_bitmaps *ret_place, struct byre_error *err)
{
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = write_new_locked(image, ret_place, err);
    pthread_mutex_unlock(&image->mutex);
    /* Makes the refcounts durable, and with them what was written above. */
    if (rc == 0)
        rc = byre_commit(image, err);
    if (rc < 0)
        byre_bitmaps_cancel(image);
    return rc;
}

/* --- the switch ----------------------------------------------------------------------------------------- */

static void forget(struct byre_bitmaps *bitmaps, bool done)
{
    size_t kept = 0;

    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (done ? bitmap->removed : bitmap->added) {
            byre_bitmap_free(bitmap);
            continue;
        }
        if (bitmap->next.table != bitmap->now.table)
            free(done ? bitmap->now.table : bitmap->next.table);
        if (done)
            bitmap->now = bitmap->next;
        else
            bitmap->next = bitmap->now;
        bitmap->added = bitmap->removed = false;
        bitmaps->list.ptr[kept++] = bitmap;
    }
    bitmaps->list.len = kept;
    bitmaps->fresh.len = bitmaps->replaced.len = 0;
}

void byre_bitmaps_cancel(struct byre_qcow2 *image)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    LOCK_SCOPE(&image->mutex);

    for (size_t i = 0; i < bitmaps->fresh.len; i++)
        byre_alloc_undo_locked(image, bitmaps->fresh.ptr[i], 1);
    forget(bitmaps, false);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The new places are in force: the old ones are freed. */
static void settle_locked(struct byre_qcow2 *image)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;

    for (size_t i = 0; i < bitmaps->fresh.len; i++)
        byre_metadata_add_bitmap_locked(image, bitmaps->fresh.ptr[i]);
    if (bitmaps->replaced.len)
        qsort(bitmaps->replaced.ptr, bitmaps->replaced.len, sizeof *bitmaps->replaced.ptr, compare_offsets);
    for (size_t i = 0; i < bitmaps->replaced.len; i++) {
        byre_metadata_drop_bitmap_locked(image, bitmaps->replaced.ptr[i]);
        byre_free_later_locked(image, byre_cluster_of(image, bitmaps->replaced.ptr[i]), 1, false);
    }
    forget(bitmaps, true);
}

static void place_entries(struct byre_bitmaps *bitmaps, const struct byre_qcow2_bitmaps *place)
{
    uint64_t at = 0;

    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_qcow2_bitmap entry = entry_of(bitmaps->list.ptr[i]);

        bitmaps->list.ptr[i]->entry_at = at;
        at += byre_qcow2_bitmap_length(&entry);
    }
    bitmaps->place = *place;
    bitmaps->stale = false;
}

static int switch_locked(struct byre_qcow2 *image, const struct byre_qcow2_bitmaps *place, struct byre_error *err)
{
    uint8_t data[BYRE_QCOW2_BITMAPS_LENGTH];
    struct byre_qcow2_header next;
    int rc = byre_free_room_locked(image, image->bitmaps->replaced.len, err);

    byre_qcow2_bitmaps_serialize(place, data);
    if (rc == 0)
        rc = byre_header_variant(&image->header, BYRE_QCOW2_EXT_BITMAPS, place->count ? data : NULL, sizeof data, &next,
                                 err);
    if (rc < 0)
        return rc;
    next.autoclear &= ~BYRE_QCOW2_AUTOCLEAR_BITMAPS;
    if (place->count)
        next.autoclear |= BYRE_QCOW2_AUTOCLEAR_BITMAPS;
    rc = byre_header_replace_locked(image, &next, err);
    if (rc == 0)
        byre_header_take_variant(&image->header, &next);
    byre_header_variant_done(&next);
    return rc;
}

int byre_bitmaps_switch(struct byre_qcow2 *image, const struct byre_qcow2_bitmaps *place, struct byre_error *err)
{
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = switch_locked(image, place, err);
    if (rc == 0) {
        settle_locked(image);
        place_entries(image->bitmaps, place);
    }
    pthread_mutex_unlock(&image->mutex);
    /* After a failure that makes the image read-only the new clusters may be in use: that is for check to tell. */
    if (rc < 0)
        byre_bitmaps_cancel(image);
    return rc;
}

/* --- storing what was set ------------------------------------------------------------------------------- */

/* Folds what was set into those that were marked, and takes their marks away in what is next. */
static int fold_marked_locked(struct byre_qcow2 *image, bool *ret_moved, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = 0;

    *ret_moved = false;
    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (!bitmap->bits)
            continue;
        rc = byre_bitmap_fold_locked(image, bitmap, image->header.size, err);
        bitmap->next.flags &= ~BYRE_QCOW2_BITMAP_IN_USE;
        *ret_moved |= bitmap->next.table != bitmap->now.table;
    }
    return rc;
}

static void forget_bits(struct byre_bitmaps *bitmaps)
{
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        byre_bits_free(bitmaps->list.ptr[i]->bits);
        bitmaps->list.ptr[i]->bits = NULL;
    }
}

static int fold_marked(struct byre_qcow2 *image, bool *ret_moved, struct byre_error *err)
{
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = fold_marked_locked(image, ret_moved, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0)
        byre_bitmaps_cancel(image);
    return rc;
}

/* Nothing but marks changes: D7 wants all data, and with it what the marks protect, durable before. */
static int clear_marks(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_commit(image, err);

    if (rc == 0) {
        LOCK_SCOPE(&image->mutex);
        rc = byre_bitmaps_write_flags_locked(image, err);
    }
    if (rc < 0)
        byre_bitmaps_cancel(image);
    return rc;
}

static int store_once(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_qcow2_bitmaps place;
    bool moved;
    int rc = fold_marked(image, &moved, err);

    if (rc < 0)
        return rc;
    if (!moved)
        return clear_marks(image, err);
    rc = byre_bitmaps_prepare(image, &place, err);
    return rc < 0 ? rc : byre_bitmaps_switch(image, &place, err);
}

int byre_bitmaps_store(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc;

    if (atomic_load(&image->bitmaps_tracking) != BYRE_BITMAPS_MARKED)
        return 0;
    rc = store_once(image, err);
    if (byre_qcow2_make_room(image, rc))
        rc = store_once(image, err);
    if (rc < 0)
        return rc;
    forget_bits(image->bitmaps);
    byre_bitmaps_resume(image);
    return 0;
}
