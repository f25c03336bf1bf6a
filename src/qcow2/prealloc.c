/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preallocation: every guest cluster gets its host cluster when the image is made, or grows.  Nobody else uses it then.
 * Subclusters, where there are any, stay what they are: so what lies below shows until they are written to.
 *
 *   A1. In an image that others know, an entry leads to where the file has bytes already: so that none leads past
 *       its end after a crash.  A new image gets its length when it is done.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/image.h"

#define ZEROS_BYTES (1u << 20)

static int write_zeros(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    CLEANUP(free_ptr) void *zeros = calloc(1, ZEROS_BYTES);
    int rc = zeros ? 0 : byre_error_set(err, -ENOMEM, "Could not allocate a buffer of zeros");

    for (uint64_t done = 0; rc == 0 && done < length; done += ZEROS_BYTES)
        rc = byre_store_pwrite(image->data, zeros, MIN(length - done, (uint64_t)ZEROS_BYTES), hoff + done,
                               err);
    return rc;
}

/* Makes the file reach to the end of the run (A1): a hole will do. */
static int extend_to(struct byre_qcow2 *image, uint64_t end, struct byre_error *err)
{
    uint64_t size;
    int rc;

    if (image->external || !image->sealed || !image->data->growable)
        return 0;
    rc = byre_store_size(image->data, &size, err);
    return rc == 0 && size < end ? byre_store_truncate(image->data, end, err) : rc;
}

/* Gives the host run its space; it reads as zero afterwards. */
static int prepare_run(struct byre_qcow2 *image, const struct byre_qcow2_reservation *run,
                       enum byre_preallocation mode, struct byre_error *err)
{
    uint64_t length = run->end - run->first;

    if (mode == BYRE_PREALLOC_METADATA && run->blank)
        return extend_to(image, run->hoff + length, err);
    if (mode == BYRE_PREALLOC_FULL)
        return write_zeros(image, run->hoff, length, err);
    if (!run->fresh && (!image->external || image->header.crypt_method))
        return byre_store_write_zeroes(image->data, run->hoff, length, 0, err);
    if (mode == BYRE_PREALLOC_FALLOC)
        return byre_store_allocate(image->data, run->hoff, length, err);
    return extend_to(image, run->hoff + length, err);
}

int byre_qcow2_preallocate(struct byre_qcow2 *image, uint64_t start, enum byre_preallocation mode,
                           struct byre_error *err)
{
    struct byre_qcow2_reservation run;
    uint64_t size = image->header.size;

    if (mode == BYRE_PREALLOC_OFF)
        return 0;
    for (uint64_t goff = start; goff < size; goff += run.length) {
        int rc = byre_qcow2_reserve(image, goff, size - goff, &run, err);

        if (rc < 0)
            return rc;
        /* What is preallocated is empty, so there is no data to bring along. */
        run.blank = image->extended_l2;
        rc = prepare_run(image, &run, mode, err);
        if (rc < 0) {
            byre_qcow2_abandon(image, &run);
            return rc;
        }
        rc = byre_qcow2_publish(image, &run, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
