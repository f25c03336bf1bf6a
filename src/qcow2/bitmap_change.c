/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adding, removing and changing bitmaps, and looking at them.
 *
 * Each change first stores what bitmaps have followed so far, so that all that it sees is in the file; what goes on
 * to follow changes is marked in use again by the next one.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/bitmap.h"
#include "qcow2/bitmap_change.h"

#define DEFAULT_GRANULARITY_BITS_MIN 12u
#define DEFAULT_GRANULARITY_BITS_MAX 16u

bool byre_qcow2_bitmaps_supported(const struct byre_qcow2 *image)
{
    return image->header.version >= 3;
}

int byre_qcow2_bitmaps_count(struct byre_qcow2 *image, unsigned *ret_count, bool *ret_stale, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps;
    LOCK_SCOPE(&image->mutex);
    int rc = byre_bitmaps_get_locked(image, &bitmaps, err);

    if (rc < 0)
        return rc;
    *ret_count = (unsigned)bitmaps->list.len;
    *ret_stale = bitmaps->stale;
    return 0;
}

void byre_qcow2_bitmap_get(struct byre_qcow2 *image, unsigned index, struct byre_qcow2_bitmap_state *ret_state)
{
    LOCK_SCOPE(&image->mutex);
    const struct byre_bitmap *bitmap = image->bitmaps->list.ptr[index];

    *ret_state = (struct byre_qcow2_bitmap_state){
        .name = bitmap->name,
        .granularity_bits = bitmap->granularity_bits,
        .enabled = bitmap->now.flags & BYRE_QCOW2_BITMAP_AUTO,
        .in_use = bitmap->now.flags & BYRE_QCOW2_BITMAP_IN_USE,
        .inconsistent = bitmap->inconsistent,
        .fault = bitmap->fault,
    };
}

/* --- finding one ---------------------------------------------------------------------------------------- */

static int get(struct byre_qcow2 *image, struct byre_bitmaps **ret_bitmaps, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);

    return byre_bitmaps_get_locked(image, ret_bitmaps, err);
}

int byre_bitmap_get(struct byre_qcow2 *image, const char *name, struct byre_bitmap **ret_bitmap, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps;
    int rc = get(image, &bitmaps, err);

    if (rc < 0)
        return rc;
    *ret_bitmap = byre_bitmap_find(bitmaps, name);
    return *ret_bitmap ? 0 : byre_error_set(err, -ENOENT, "Dirty bitmap '%s' not found", name);
}

/* One whose bits can be used. */
int byre_bitmap_find_usable(struct byre_qcow2 *image, const char *name, struct byre_bitmap **ret_bitmap,
                       struct byre_error *err)
{
    int rc = byre_bitmap_get(image, name, ret_bitmap, err);

    if (rc < 0)
        return rc;
    if ((*ret_bitmap)->inconsistent) {
        byre_error_set(err, -EINVAL, "Bitmap '%s' is inconsistent and cannot be used", name);
        byre_error_hint(err, "Try block-dirty-bitmap-remove to delete this bitmap from disk");
        return -EINVAL;
    }
    if ((*ret_bitmap)->fault)
        return byre_error_set(err, -EINVAL, "Bitmap '%s' doesn't satisfy the constraints (%s)", name,
                              (*ret_bitmap)->fault);
    return 0;
}

/* --- changes -------------------------------------------------------------------------------------------- */

/* Everything is in the file, nothing is followed, and the image may be changed. */
int byre_bitmap_begin(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_bitmaps *bitmaps;
    int rc = byre_bitmaps_pause(image, err);

    if (rc == 0)
        rc = get(image, &bitmaps, err);
    if (rc == 0) {
        LOCK_SCOPE(&image->mutex);
        rc = byre_check_writable_locked(image, err);
    }
    return rc;
}

static int edit_once(struct byre_qcow2 *image, struct byre_bitmap *bitmap, byre_bitmap_edit *edit,
                     struct byre_error *err)
{
    struct byre_qcow2_bitmaps place;
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = edit(image, bitmap, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0) {
        byre_bitmaps_cancel(image);
        return rc;
    }
    rc = byre_bitmaps_prepare(image, &place, err);
    return rc < 0 ? rc : byre_bitmaps_switch(image, &place, err);
}

/* Changes an existing bitmap, and goes on following what is to be followed. */
int byre_bitmap_change(struct byre_qcow2 *image, struct byre_bitmap *bitmap, byre_bitmap_edit *edit,
                       struct byre_error *err)
{
    int rc = edit_once(image, bitmap, edit, err);

    if (byre_qcow2_make_room(image, rc))
        rc = edit_once(image, bitmap, edit, err);
    byre_bitmaps_resume(image);
    return rc;
}

int byre_bitmap_end(struct byre_qcow2 *image, int rc)
{
    byre_bitmaps_resume(image);
    return rc;
}

static int edit_remove(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err)
{
    bitmap->removed = true;
    return byre_bitmap_drop_locked(image, bitmap, err);
}

int byre_qcow2_bitmap_remove(struct byre_qcow2 *image, const char *name, struct byre_error *err)
{
    struct byre_bitmap *bitmap = NULL;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = byre_bitmap_get(image, name, &bitmap, err);
    return rc < 0 ? byre_bitmap_end(image, rc) : byre_bitmap_change(image, bitmap, edit_remove, err);
}

int byre_qcow2_bitmap_clear(struct byre_qcow2 *image, const char *name, struct byre_error *err)
{
    struct byre_bitmap *bitmap = NULL;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = byre_bitmap_find_usable(image, name, &bitmap, err);
    return rc < 0 ? byre_bitmap_end(image, rc) : byre_bitmap_change(image, bitmap, byre_bitmap_blank_locked, err);
}

int byre_qcow2_bitmap_enable(struct byre_qcow2 *image, const char *name, bool enabled, struct byre_error *err)
{
    struct byre_bitmap *bitmap = NULL;
    int rc = byre_bitmap_begin(image, err);

    if (rc == 0)
        rc = byre_bitmap_find_usable(image, name, &bitmap, err);
    if (rc == 0) {
        LOCK_SCOPE(&image->mutex);
        bitmap->next.flags &= ~BYRE_QCOW2_BITMAP_AUTO;
        if (enabled)
            bitmap->next.flags |= BYRE_QCOW2_BITMAP_AUTO;
        rc = byre_bitmaps_write_flags_locked(image, err);
        bitmap->next.flags = bitmap->now.flags;
    }
    return byre_bitmap_end(image, rc);
}

/* --- adding --------------------------------------------------------------------------------------------- */

static unsigned default_granularity(const struct byre_qcow2 *image)
{
    return MIN(MAX(image->cluster_bits, DEFAULT_GRANULARITY_BITS_MIN), DEFAULT_GRANULARITY_BITS_MAX);
}

/* Words that qemu puts in front of what it has against storing a bitmap. */
static int refuse(const struct byre_qcow2 *image, const char *name, int code, const char *why, struct byre_error *err)
{
    return byre_error_set(err, code, "Can't make bitmap '%.200s' persistent in '%.100s': %s", name, image->store->name,
                          why);
}

int byre_bitmap_check_new(const struct byre_qcow2 *image, const struct byre_bitmaps *bitmaps, const char *name,
                     unsigned granularity_bits, struct byre_error *err)
{
    uint64_t bits;

    if (!*name)
        return byre_error_set(err, -EINVAL, "Bitmap name cannot be empty");
    if (granularity_bits < BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MIN ||
        granularity_bits > BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MAX)
        return byre_error_set(err, -EINVAL, "Granularity must be power of 2 and at least 512");
    if (byre_bitmap_find(bitmaps, name))
        return byre_error_set(err, -EEXIST, "Bitmap already exists: %s", name);
    if (!byre_qcow2_bitmaps_supported(image))
        return refuse(image, name, -ENOTSUP, "Cannot store dirty bitmaps in qcow2 v2 files", err);
    if (strlen(name) > BYRE_QCOW2_BITMAP_NAME_MAX)
        return refuse(image, name, -EINVAL, "Name length exceeds maximum (1023 characters)", err);
    if (bitmaps->list.len >= BYRE_QCOW2_BITMAPS_MAX)
        return refuse(image, name, -EOVERFLOW, "Maximum number of persistent bitmaps is already reached", err);
    if (!image->header.size)
        return refuse(image, name, -EINVAL, "The disk has no size", err);
    bits = byre_div_up(image->header.size, 1ULL << granularity_bits);
    if (byre_div_up(bits, 8) > BYRE_QCOW2_BITMAP_BYTES_MAX)
        return refuse(image, name, -EINVAL, "Too much space will be occupied by the bitmap. Use larger granularity",
                      err);
    return 0;
}

int byre_bitmap_append(struct byre_bitmaps *bitmaps, const char *name, unsigned granularity_bits, bool enabled,
                  struct byre_bitmap **ret_bitmap, struct byre_error *err)
{
    struct byre_bitmap *bitmap = calloc(1, sizeof *bitmap);

    if (bitmap)
        bitmap->name = strdup(name);
    if (!bitmap || !bitmap->name || vec_push(&bitmaps->list, bitmap) < 0) {
        byre_bitmap_free(bitmap);
        return byre_error_set_errno(err, -ENOMEM, "bitmap");
    }
    bitmap->name_length = (uint16_t)strlen(name);
    bitmap->type = BYRE_QCOW2_BITMAP_DIRTY_TRACKING;
    bitmap->granularity_bits = granularity_bits;
    bitmap->next.flags = enabled ? BYRE_QCOW2_BITMAP_AUTO : 0;
    bitmap->added = true;
    *ret_bitmap = bitmap;
    return 0;
}

static int add_once(struct byre_qcow2 *image, const char *name, unsigned granularity_bits, bool enabled,
                    struct byre_error *err)
{
    struct byre_bitmap *bitmap = NULL;
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = byre_bitmap_append(image->bitmaps, name, granularity_bits, enabled, &bitmap, err);
    pthread_mutex_unlock(&image->mutex);
    /* A failure takes the bitmap off the list. */
    return rc < 0 ? rc : edit_once(image, bitmap, byre_bitmap_blank_locked, err);
}

int byre_qcow2_bitmap_add(struct byre_qcow2 *image, const char *name, unsigned granularity_bits, bool enabled,
                          struct byre_error *err)
{
    int rc = byre_bitmap_begin(image, err);

    if (!granularity_bits)
        granularity_bits = default_granularity(image);
    if (rc == 0)
        rc = byre_bitmap_check_new(image, image->bitmaps, name, granularity_bits, err);
    if (rc < 0)
        return byre_bitmap_end(image, rc);
    rc = add_once(image, name, granularity_bits, enabled, err);
    if (byre_qcow2_make_room(image, rc))
        rc = add_once(image, name, granularity_bits, enabled, err);
    return byre_bitmap_end(image, rc);
}
