/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps that follow changes of the disk.
 *
 * Whoever is about to change what guests read notes the range first: bits are set before the change is complete, also
 * where it fails then.  The first note marks the bitmaps in use, durably.  Copying up from below changes nothing that
 * guests read, and neither does growing: they note nothing.
 */
#include "config.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/bitmaps.h"

static const char damaged_table[] = "its bitmap table is damaged";

/* --- marking -------------------------------------------------------------------------------------------- */

/* Makes room for what will be set.  A bitmap that turns out to be unusable is not followed. */
static int start_following_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    int rc;

    if (bitmap->fault || bitmap->bits)
        return 0;
    rc = byre_bitmap_load_table_locked(image, bitmap, NULL);
    if (rc == -EIO) {
        bitmap->fault = damaged_table;
        return 0;
    }
    if (rc < 0)
        return byre_error_set_errno(err, rc, "bitmap table");
    return byre_bits_new(image->header.size, bitmap->granularity_bits, image->cluster_size, &bitmap->bits, err);
}

static int mark_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = byre_check_writable_locked(image, err);

    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        if (byre_bitmap_follows(bitmaps->list.ptr[i]))
            rc = start_following_locked(image, bitmaps->list.ptr[i], err);
    }
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (!byre_bitmap_follows(bitmap))
            continue;
        bitmap->next.flags |= BYRE_QCOW2_BITMAP_IN_USE;
        bitmap->inconsistent = bitmap->fault;
    }
    return byre_bitmaps_write_flags_locked(image, err);
}

static int mark(struct byre_qcow2 *image, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    int rc;

    if (atomic_load(&image->bitmaps_tracking) != BYRE_BITMAPS_READY)
        return 0; /* another thread was first */
    rc = mark_locked(image, err);
    if (rc == 0)
        atomic_store(&image->bitmaps_tracking, BYRE_BITMAPS_MARKED);
    return rc;
}

/* --- noting --------------------------------------------------------------------------------------------- */

static void set_bits(const struct byre_bitmaps *bitmaps, uint64_t goff, uint64_t length)
{
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        if (bitmaps->list.ptr[i]->bits)
            byre_bits_set(bitmaps->list.ptr[i]->bits, goff, length);
    }
}

int byre_qcow2_note_change(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    int rc = 0;

    if (__builtin_expect(!atomic_load_explicit(&image->bitmaps_tracking, memory_order_acquire), true))
        return 0;
    if (!length || goff >= image->header.size)
        return 0; /* VM state */
    if (atomic_load(&image->bitmaps_tracking) == BYRE_BITMAPS_READY)
        rc = mark(image, err);
    if (rc == 0)
        set_bits(image->bitmaps, goff, length);
    return rc;
}

bool byre_qcow2_try_note_change(struct byre_qcow2 *image, uint64_t goff, uint64_t length)
{
    int tracking = atomic_load_explicit(&image->bitmaps_tracking, memory_order_acquire);

    if (__builtin_expect(tracking == BYRE_BITMAPS_IDLE, true))
        return true;
    if (tracking == BYRE_BITMAPS_READY)
        return false;
    set_bits(image->bitmaps, goff, length);
    return true;
}

/* --- other sizes ---------------------------------------------------------------------------------------- */

int byre_bitmaps_pause(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_bitmaps_store(image, err);

    if (rc == 0)
        atomic_store(&image->bitmaps_tracking, BYRE_BITMAPS_IDLE);
    return rc;
}

void byre_bitmaps_resume(struct byre_qcow2 *image)
{
    const struct byre_bitmaps *bitmaps = image->bitmaps;
    int tracking = BYRE_BITMAPS_IDLE;

    for (size_t i = 0; bitmaps && i < bitmaps->list.len; i++) {
        if (byre_bitmap_follows(bitmaps->list.ptr[i]))
            tracking = BYRE_BITMAPS_READY;
    }
    atomic_store(&image->bitmaps_tracking, tracking);
}

/* Makes the tables that a disk of `size` bytes has, and marks in use the bitmaps that get another one. */
static int resize_tables_locked(struct byre_qcow2 *image, uint64_t size, bool *ret_any, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = 0;

    *ret_any = false;
    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (bitmap->fault || bitmap->inconsistent)
            continue;
        rc = byre_bitmap_fold_locked(image, bitmap, size, err);
        *ret_any |= bitmap->next.table != bitmap->now.table;
    }
    return rc;
}

static int mark_resized_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;

    for (size_t i = 0; i < bitmaps->list.len; i++) {
        if (bitmaps->list.ptr[i]->next.table != bitmaps->list.ptr[i]->now.table)
            bitmaps->list.ptr[i]->next.flags |= BYRE_QCOW2_BITMAP_IN_USE;
    }
    return byre_bitmaps_write_flags_locked(image, err);
}

/* The directory that is to come says that they are whole. */
static int prepare_resize(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_bitmaps_prepare(image, &image->bitmaps->resized, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&image->mutex);
    rc = mark_resized_locked(image, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0)
        byre_bitmaps_cancel(image);
    return rc;
}

int byre_bitmaps_resize_begin(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    bool any;
    int rc;

    if (!image->bitmaps || !image->bitmaps->list.len)
        return 0;
    image->bitmaps->resizing = false;
    pthread_mutex_lock(&image->mutex);
    rc = resize_tables_locked(image, size, &any, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0 || !any)
        byre_bitmaps_cancel(image);
    if (rc == 0 && any)
        rc = prepare_resize(image, err);
    image->bitmaps->resizing = rc == 0 && any;
    return rc;
}

/* Takes the marks away that `begin` made. */
static int unmark_resized(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc;

    byre_bitmaps_cancel(image);
    pthread_mutex_lock(&image->mutex);
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        if (!bitmaps->list.ptr[i]->inconsistent)
            bitmaps->list.ptr[i]->next.flags &= ~BYRE_QCOW2_BITMAP_IN_USE;
    }
    rc = byre_bitmaps_write_flags_locked(image, err);
    pthread_mutex_unlock(&image->mutex);
    return rc;
}

int byre_bitmaps_resize_end(struct byre_qcow2 *image, bool done, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;

    if (!bitmaps || !bitmaps->resizing)
        return 0;
    bitmaps->resizing = false;
    if (!done)
        return unmark_resized(image, err);
    for (size_t i = 0; i < bitmaps->list.len; i++) {
        if (!bitmaps->list.ptr[i]->inconsistent)
            bitmaps->list.ptr[i]->next.flags &= ~BYRE_QCOW2_BITMAP_IN_USE;
    }
    return byre_bitmaps_switch(image, &bitmaps->resized, err);
}

/* --- where bitmaps lie ---------------------------------------------------------------------------------- */

static int note_run(struct byre_qcow2 *image, const char *what, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    uint64_t end = byre_cluster_ceil(image, hoff + length);
    int rc = byre_metadata_room_locked(image, (end - hoff) >> image->cluster_bits, err);

    for (uint64_t at = hoff; rc == 0 && at < end; at += image->cluster_size)
        byre_metadata_note_bitmap_locked(image, what, at);
    return rc;
}

static int learn_table(struct byre_qcow2 *image, const struct byre_bitmap *bitmap, struct byre_error *err)
{
    uint32_t count = bitmap->now.table_size;
    CLEANUP(free_ptr) uint64_t *table = malloc(count * sizeof *table);
    int rc;

    if (!table)
        return byre_error_set(err, -ENOMEM, "Could not allocate a bitmap table of %u entries", count);
    rc = byre_store_pread(image->store, table, count * sizeof *table, bitmap->now.table_hoff, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, count, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        uint64_t entry = byre_get_be64(&table[i]);

        if (byre_qcow2_bitmap_entry_valid(entry, image->cluster_bits) && entry & BYRE_QCOW2_BITMAP_OFFSET_MASK)
            byre_metadata_note_bitmap_locked(image, "bitmap", entry & BYRE_QCOW2_BITMAP_OFFSET_MASK);
    }
    return rc;
}

int byre_bitmaps_learn_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps = image->bitmaps;
    int rc = 0;

    if (!bitmaps || !bitmaps->place.count)
        return 0;
    rc = note_run(image, "bitmap directory", bitmaps->place.directory_hoff, bitmaps->place.directory_size, err);
    /* Tables that do not lie on each other are not longer than the file, all together. */
    for (size_t i = 0; rc == 0 && !image->conflict.what && i < bitmaps->list.len; i++) {
        const struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        if (bitmap->lost)
            continue;
        rc = note_run(image, "bitmap table", bitmap->now.table_hoff, bitmap->now.table_size * 8ULL, err);
        if (rc == 0 && !image->conflict.what)
            rc = learn_table(image, bitmap, err);
    }
    return rc;
}
