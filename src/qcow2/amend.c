/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options of an image that are in its header alone: see amend.h.
 *
 *   A1. The image is settled first, so that the header in memory is that of the file, and what the option was for has
 *       been made good: refcounts do not lag when lazy refcounts end.
 *   A2. Memory follows when the change is durable.
 */
#include "config.h"

#include "qcow2/amend.h"

#include <errno.h>
#include <string.h>

#include "qcow2/header_replace.h"
#include "qcow2/image.h"

/* Settles the image, and takes the mutex, also where it fails. */
static int begin(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_image_settle(image, err);

    pthread_mutex_lock(&image->mutex);
    return rc < 0 ? rc : byre_qcow2_check_writable(image, err);
}

/* The header with other bits, but clean, and with the extension of `type` holding `data`. */
static int replace_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *bits, uint32_t type,
                          const void *data, uint32_t length, struct byre_error *err)
{
    struct byre_qcow2_header next;
    int rc = byre_header_variant(&image->header, type, data, length, &next, err);

    if (rc < 0)
        return rc;
    next.compatible = bits->compatible;
    next.autoclear = bits->autoclear;
    next.incompatible = bits->incompatible & ~BYRE_QCOW2_INCOMPAT_DIRTY;
    rc = byre_header_replace_all_locked(image, &next, err);
    if (rc == 0) {
        image->header.compatible = next.compatible;
        image->header.incompatible = next.incompatible;
        image->dirty_bit_durable = false;
        byre_header_take_variant(&image->header, &next);
    }
    byre_header_variant_done(&next);
    return rc;
}

/* The same with all extensions as they are; BYRE_QCOW2_EXT_FILLER never stays. */
static int replace_bits_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *bits, struct byre_error *err)
{
    return replace_locked(image, bits, BYRE_QCOW2_EXT_FILLER, NULL, 0, err);
}

int byre_qcow2_set_lazy(struct byre_qcow2 *image, bool lazy, struct byre_error *err)
{
    struct byre_qcow2_header bits;
    int rc = begin(image, err);

    bits = image->header;
    if (rc == 0 && bits.version < 3 && lazy)
        rc = byre_error_set(err, -EINVAL, "Lazy refcounts only supported with compatibility level 1.1 and above (use "
                            "compat=1.1 or greater)");
    bits.compatible &= ~BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (lazy)
        bits.compatible |= BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (rc == 0 && bits.version >= 3)
        rc = replace_bits_locked(image, &bits, err);
    if (rc == 0)
        image->lazy = lazy;
    pthread_mutex_unlock(&image->mutex);
    return rc;
}

int byre_qcow2_drop_data_raw(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_qcow2_header bits;
    int rc = begin(image, err);

    bits = image->header;
    bits.autoclear &= ~BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (rc == 0 && bits.autoclear != image->header.autoclear)
        rc = replace_bits_locked(image, &bits, err);
    if (rc == 0)
        image->data_raw = false;
    pthread_mutex_unlock(&image->mutex);
    return rc;
}

int byre_qcow2_rename_data_file(struct byre_qcow2 *image, const char *name, struct byre_error *err)
{
    struct byre_qcow2_header bits;
    int rc = begin(image, err);

    bits = image->header;
    if (rc == 0 && !image->external)
        rc = byre_error_set(err, -EINVAL, "data-file can only be set for images that use an external data file");
    if (rc == 0)
        rc = replace_locked(image, &bits, BYRE_QCOW2_EXT_DATA_FILE, name, name ? (uint32_t)strlen(name) : 0, err);
    pthread_mutex_unlock(&image->mutex);
    return rc;
}
