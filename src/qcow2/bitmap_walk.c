/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at the bits of bitmaps, and what comes of that: merging one into another, copying those of another image.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/bitmap.h"
#include "qcow2/bitmap_change.h"

/* --- walking --------------------------------------------------------------------------------------------- */

struct walk {
    struct byre_qcow2 *image;
    struct byre_bitmap *bitmap;
    uint64_t goff, end;
    int (*each)(void *opaque, uint64_t goff, uint64_t length);
    void *opaque;
    uint8_t *bytes; /* a cluster */
};

static int read_chunk(const struct walk *walk, uint32_t index, struct byre_error *err)
{
    LOCK_SCOPE(&walk->image->mutex);

    return byre_bitmap_read_chunk_locked(walk->image, walk->bitmap, index, walk->image->header.size, walk->bytes, err);
}

/* The runs of a chunk whose first bit is `base`, as far as the walk wants them. */
static int walk_chunk(const struct walk *walk, uint64_t base)
{
    unsigned granularity_bits = walk->bitmap->granularity_bits;
    uint64_t span = 8ULL * walk->image->cluster_size, last = (walk->end - 1) >> granularity_bits;
    uint64_t at = MAX(walk->goff >> granularity_bits, base) - base, end = MIN(last + 1 - base, span);
    int rc = 0;

    while (rc == 0 && (at = byre_bits_find(walk->bytes, at, end, true)) < end) {
        uint64_t stop = byre_bits_find(walk->bytes, at, end, false);
        uint64_t from = MAX((base + at) << granularity_bits, walk->goff);
        uint64_t to = MIN((base + stop) << granularity_bits, walk->end);

        rc = walk->each(walk->opaque, from, to - from);
        at = stop;
    }
    return rc;
}

static int walk_bitmap(struct walk *walk, struct byre_error *err)
{
    unsigned granularity_bits = walk->bitmap->granularity_bits, chunk_bits = walk->image->cluster_bits + 3;
    uint64_t chunk = walk->goff >> granularity_bits >> chunk_bits;
    uint64_t last = (walk->end - 1) >> granularity_bits >> chunk_bits;
    int rc = 0;

    for (; rc == 0 && chunk <= last; chunk++) {
        rc = read_chunk(walk, (uint32_t)chunk, err);
        if (rc == 0)
            rc = walk_chunk(walk, chunk << chunk_bits);
    }
    return rc;
}

int byre_qcow2_bitmap_walk(struct byre_qcow2 *image, const char *name, uint64_t goff, uint64_t length,
                           int (*each)(void *opaque, uint64_t goff, uint64_t length), void *opaque,
                           struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(image->cluster_size);
    struct walk walk = { .image = image, .goff = goff, .end = goff + length, .each = each, .opaque = opaque,
                         .bytes = bytes };
    int rc = byre_bitmap_find_usable(image, name, &walk.bitmap, err);

    if (rc == 0 && !byre_range_within(goff, length, image->header.size))
        rc = byre_error_set(err, -EINVAL, "range past the end of the disk");
    if (rc == 0 && !bytes)
        rc = byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
    if (rc == 0) {
        LOCK_SCOPE(&image->mutex);
        rc = byre_bitmap_load_table_locked(image, walk.bitmap, err);
    }
    return rc < 0 || !length ? rc : walk_bitmap(&walk, err);
}

static int set_run(void *opaque, uint64_t goff, uint64_t length)
{
    byre_bits_set(opaque, goff, length);
    return 0;
}

static int edit_fold(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    return byre_bitmap_fold_locked(image, bitmap, image->header.size, err);
}

static int check_merge(const struct byre_qcow2 *image, const struct byre_qcow2 *source, struct byre_error *err)
{
    uint64_t size = image->header.size, source_size = source->header.size;

    if (size == source_size)
        return 0;
    return byre_error_set(err, -EINVAL, "Bitmaps are of different sizes (destination size is %" PRIu64
                          ", source size is %" PRIu64 ") and can't be merged", size, source_size);
}

int byre_qcow2_bitmap_merge(struct byre_qcow2 *image, const char *name, struct byre_qcow2 *source,
                            const char *source_name, struct byre_error *err)
{
    struct byre_bitmap *bitmap = NULL, *other = NULL;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = byre_bitmap_find_usable(image, name, &bitmap, err);
    if (rc == 0)
        rc = byre_bitmap_find_usable(source, source_name, &other, err);
    if (rc == 0)
        rc = check_merge(image, source, err);
    if (rc < 0 || bitmap == other)
        return byre_bitmap_end(image, rc);
    rc = byre_bits_new(image->header.size, bitmap->granularity_bits, image->cluster_size, &bitmap->bits, err);
    if (rc == 0)
        rc = byre_qcow2_bitmap_walk(source, source_name, 0, source->header.size, set_run, bitmap->bits, err);
    if (rc == 0)
        rc = byre_bitmap_change(image, bitmap, edit_fold, err);
    byre_bits_free(bitmap->bits);
    bitmap->bits = NULL;
    return byre_bitmap_end(image, rc);
}

/* --- copying all ----------------------------------------------------------------------------------------- */

static bool is_usable(const struct byre_bitmap *bitmap)
{
    return !bitmap->inconsistent && !bitmap->fault;
}

/* An image that is only read may have tables on one another, and a short file so any number of long ones: all of them
 * are in memory at the end. */
static int check_apart(const struct byre_qcow2 *source, struct byre_error *err)
{
    const struct byre_bitmaps *bitmaps = source->bitmaps;
    uint64_t file_size, total = 0;
    int rc = byre_store_size(source->store, &file_size, err);

    for (size_t i = 0; rc == 0 && i < bitmaps->list.len; i++) {
        const struct byre_bitmap *bitmap = bitmaps->list.ptr[i];

        total += is_usable(bitmap) ? bitmap->now.table_size * 8ULL : 0;
        if (total > file_size)
            rc = byre_error_set(err, -EIO, "'%s': the bitmap tables up to that of bitmap %zu have more than the %"
                                PRIu64 " bytes of the file: they lie on one another", source->store->name, i,
                                file_size);
    }
    return rc;
}

/* In qemu's order, the last one first, so that the same one is named. */
static int check_copies(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err)
{
    const struct byre_bitmaps *others = source->bitmaps;
    size_t usable = 0;
    int rc = 0;

    for (size_t i = others->list.len; rc == 0 && i-- > 0;) {
        const struct byre_bitmap *other = others->list.ptr[i];

        if (!is_usable(other))
            continue;
        usable++;
        rc = byre_bitmap_check_new(image, image->bitmaps, other->name, other->granularity_bits, err);
        if (rc < 0) {
            byre_error_prepend(err, "Failed to create bitmap %s: ", other->name);
            break;
        }
        rc = check_merge(image, source, err);
        if (rc < 0)
            byre_error_prepend(err, "Failed to populate bitmap %s: ", other->name);
    }
    if (rc == 0 && image->bitmaps->list.len + usable > BYRE_QCOW2_BITMAPS_MAX)
        rc = byre_error_set(err, -EOVERFLOW, "Maximum number of persistent bitmaps is already reached");
    return rc;
}

/* Adds a copy to the list, with its bits in memory. */
static int append_copy(struct byre_qcow2 *image, struct byre_qcow2 *source, const struct byre_bitmap *other,
                       struct byre_error *err)
{
    bool enabled = other->now.flags & BYRE_QCOW2_BITMAP_AUTO;
    struct byre_bitmap *bitmap = NULL;
    int rc = byre_bitmap_append(image->bitmaps, other->name, other->granularity_bits, enabled, &bitmap, err);

    if (rc == 0)
        rc = byre_bits_new(image->header.size, bitmap->granularity_bits, image->cluster_size, &bitmap->bits, err);
    if (rc == 0)
        rc = byre_qcow2_bitmap_walk(source, other->name, 0, source->header.size, set_run, bitmap->bits, err);
    if (rc < 0)
        byre_error_prepend(err, "Failed to populate bitmap %s: ", other->name);
    return rc;
}

/* One copy after the other is folded, so that no more than one has its bits in memory. */
static int edit_copies(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err)
{
    const struct byre_bitmaps *others = source->bitmaps;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < others->list.len; i++) {
        struct byre_bitmap *bitmap;

        if (!is_usable(others->list.ptr[i]))
            continue;
        rc = append_copy(image, source, others->list.ptr[i], err);
        if (rc < 0)
            break;
        bitmap = image->bitmaps->list.ptr[image->bitmaps->list.len - 1];
        pthread_mutex_lock(&image->mutex);
        rc = byre_bitmap_fold_locked(image, bitmap, image->header.size, err);
        pthread_mutex_unlock(&image->mutex);
        byre_bits_free(bitmap->bits);
        bitmap->bits = NULL;
    }
    return rc;
}

static int copy_once(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err)
{
    struct byre_qcow2_bitmaps place;
    int rc = edit_copies(image, source, err);

    if (rc < 0) {
        byre_bitmaps_cancel(image);
        return rc;
    }
    rc = byre_bitmaps_prepare(image, &place, err);
    return rc < 0 ? rc : byre_bitmaps_switch(image, &place, err);
}

/* Between byre_bitmap_begin and _end. */
static int check_source(struct byre_qcow2 *image, struct byre_qcow2 *source, unsigned *ret_count,
                        struct byre_error *err)
{
    bool stale;
    int rc = byre_qcow2_bitmaps_count(source, ret_count, &stale, err);

    if (rc == 0)
        rc = check_apart(source, err);
    return rc < 0 ? rc : check_copies(image, source, err);
}

int byre_qcow2_bitmaps_check_copy(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err)
{
    unsigned count = 0;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = check_source(image, source, &count, err);
    return byre_bitmap_end(image, rc);
}

int byre_qcow2_bitmaps_copy(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err)
{
    unsigned count = 0;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = check_source(image, source, &count, err);
    if (rc == 0 && count) {
        rc = copy_once(image, source, err);
        if (byre_qcow2_make_room(image, rc))
            rc = copy_once(image, source, err);
    }
    return byre_bitmap_end(image, rc);
}
