/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What changes of bitmaps are made of.  Nobody else uses the image.
 */
#ifndef BYRE_QCOW2_BITMAP_CHANGE_H
#define BYRE_QCOW2_BITMAP_CHANGE_H

#include "qcow2/bitmaps.h"

/* Stores what bitmaps have followed, follows nothing any more, and makes sure that the image may be changed.  After it
 * comes byre_bitmap_end, or byre_bitmap_change. */
int byre_bitmap_begin(struct byre_qcow2 *image, struct byre_error *err);
/* Goes on following; returns `rc`. */
int byre_bitmap_end(struct byre_qcow2 *image, int rc);

/* The bitmap of that name, or one whose bits can be used: -ENOENT, -EINVAL. */
int byre_bitmap_get(struct byre_qcow2 *image, const char *name, struct byre_bitmap **ret_bitmap,
                    struct byre_error *err);
int byre_bitmap_find_usable(struct byre_qcow2 *image, const char *name, struct byre_bitmap **ret_bitmap,
                            struct byre_error *err);

/* What is done to a bitmap: fills `next` and `removed`.  The mutex is held. */
typedef int byre_bitmap_edit(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err);
/* Makes the change, and ends it. */
int byre_bitmap_change(struct byre_qcow2 *image, struct byre_bitmap *bitmap, byre_bitmap_edit *edit,
                       struct byre_error *err);

/* May there be such a new bitmap? */
int byre_bitmap_check_new(const struct byre_qcow2 *image, const struct byre_bitmaps *bitmaps, const char *name,
                          unsigned granularity_bits, struct byre_error *err);
/* Puts one on the list that has no table yet.  The mutex is held. */
int byre_bitmap_append(struct byre_bitmaps *bitmaps, const char *name, unsigned granularity_bits, bool enabled,
                       struct byre_bitmap **ret_bitmap, struct byre_error *err);

#endif
