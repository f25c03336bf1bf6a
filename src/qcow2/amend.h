/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing what the header of an image says of its format.
 *
 * For an image that is open for writing and sealed, while no other call is under way.  Each call is durable when it
 * returns 0, and a crash meanwhile leaves the image as it was or as it shall be: what nothing points to may be left
 * behind.  -EINVAL and -ENOTSUP: it cannot be, and nothing has changed.  After -EIO the image may be read-only.
 */
#ifndef BYRE_QCOW2_AMEND_H
#define BYRE_QCOW2_AMEND_H

#include "qcow2/qcow2.h"

struct byre_amend_progress {
    void (*report)(void *opaque, uint64_t done, uint64_t total); /* or NULL */
    void *opaque;
};

/* Whether refcounts may lag behind.  Version 3. */
int byre_qcow2_set_lazy(struct byre_qcow2 *image, bool lazy, struct byre_error *err);

/* The data file need not read as the disk does any more. */
int byre_qcow2_drop_data_raw(struct byre_qcow2 *image, struct byre_error *err);

/* Records another name for the data file, which there is; NULL: none.  The open image goes on with its file. */
int byre_qcow2_rename_data_file(struct byre_qcow2 *image, const char *name, struct byre_error *err);

/* The width of refcounts becomes 1 << `order` bits, `order` being at most 6.  -EINVAL names a cluster whose count would
 * not fit, or version 2, which has 16 bits; -EFBIG: the image is too large for the width. */
int byre_qcow2_set_refcount_order(struct byre_qcow2 *image, unsigned order, const struct byre_amend_progress *progress,
                                  struct byre_error *err);
/* Will that be possible, in version 3?  The image is settled. */
int byre_qcow2_check_refcount_order(struct byre_qcow2 *image, unsigned order, struct byre_error *err);

/* Can the disk get this size, as an image of this version?  The image is settled. */
int byre_qcow2_check_resize(const struct byre_qcow2 *image, uint64_t size, unsigned version, struct byre_error *err);

/* The image becomes one of version 3, or of version 2; nothing if it is.  -ENOTSUP: version 2 cannot be what it is, or
 * have snapshots of such sizes.  Where a layer below shows, zeros become shared clusters of zeros. */
int byre_qcow2_upgrade(struct byre_qcow2 *image, const struct byre_amend_progress *progress, struct byre_error *err);
int byre_qcow2_downgrade(struct byre_qcow2 *image, const struct byre_amend_progress *progress, struct byre_error *err);
/* Will it be possible, once the width of refcounts and the size of the disk are these?  The image is settled. */
int byre_qcow2_check_downgrade(struct byre_qcow2 *image, unsigned refcount_order, uint64_t size,
                               struct byre_error *err);

#endif
