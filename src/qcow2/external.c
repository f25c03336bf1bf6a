/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * External data files (specification, "External data file bit" and "Raw external data bit").
 *
 *   E1. A guest cluster is at its guest offset in the data file, or nowhere: its entry says which.  It has no refcount;
 *       an entry that leads there always has COPIED.
 *   E2. So a cluster is given its place without an allocation, and taken from it without a free.  Space is given back
 *       under the range lock, before the entry changes: a late discard would hit what was written since.  So it has to
 *       leave zeros, which a crash may show, and not what a discard leaves: an encrypted file keeps its space.
 *   E3. A raw data file reads as the disk does.  Zeros are written there, whatever the map says; and every cluster has
 *       its place, so that who writes to the file needs not know the image.
 *   E4. The file is as long as the disk when the image is made, and grows with it.  What is missing reads as zero.
 */
#include "config.h"

#include <errno.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "qcow2/image.h"

void byre_external_set(struct byre_qcow2 *image, struct byre_store *data)
{
    image->data = data;
    image->external = true;
    image->data_raw = image->header.autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
}

int byre_external_reach(struct byre_qcow2 *image, uint64_t start, uint64_t size, bool keep,
                        enum byre_preallocation *mode, struct byre_error *err)
{
    uint64_t there;
    int rc;

    if (!image->external)
        return 0;
    rc = byre_store_size(image->data, &there, err);
    if (rc == 0 && there < size)
        rc = byre_store_truncate(image->data, size, err);
    if (rc < 0)
        return rc;
    if (image->data_raw && *mode == BYRE_PREALLOC_OFF)
        *mode = BYRE_PREALLOC_METADATA;
    if (*mode == BYRE_PREALLOC_OFF || keep || there <= start)
        return 0;
    return byre_store_write_zeroes(image->data, start, MIN(there, size) - start, BYRE_ZERO_UNMAP, err);
}

int byre_external_trim(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    return image->external && image->data->growable ? byre_store_truncate(image->data, size, err) : 0;
}

int byre_external_flush(struct byre_qcow2 *image, struct byre_error *err)
{
    return image->external ? byre_store_flush(image->data, err) : 0;
}

int byre_external_zero(struct byre_qcow2 *image, uint64_t goff, uint64_t end, unsigned flags, struct byre_error *err)
{
    unsigned store_flags = (flags & BYRE_WRITE_ZEROES_UNMAP ? BYRE_ZERO_UNMAP : 0) |
                           (flags & BYRE_WRITE_ZEROES_NO_FALLBACK ? BYRE_ZERO_NO_FALLBACK : 0);
    uint64_t size;
    int rc;

    if (!image->external || !(image->data_raw || (flags & BYRE_WRITE_ZEROES_UNMAP)))
        return 0;
    rc = byre_store_size(image->data, &size, err);
    if (rc < 0 || goff >= size)
        return rc;
    end = MIN(end, size);
    if (image->data_raw)
        return byre_store_write_zeroes(image->data, goff, end - goff, store_flags, err);
    if (!image->header.crypt_method)
        (void)byre_store_write_zeroes(image->data, goff, end - goff, BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK, NULL);
    return 0;
}
