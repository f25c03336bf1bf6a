/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one disk that all connections share.
 */
#ifndef BYRE_NBDKIT_IMAGE_H
#define BYRE_NBDKIT_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"
#include "nbdkit/parameters.h"

/*
 * Can the image be opened, for reading?  Looks, while there is still somebody to read the message, and closes it again.
 * 0, or a negative errno.
 */
int byre_image_check(const struct byre_parameters *parameters, struct byre_error *err);

/* The disk while it is open: it does not change as long as there are connections. */
struct byre_image {
    struct byre_disk *disk;   /* NULL: it is not open */
    bool writable;
    bool rotational;          /* the medium turns */
    uint32_t preferred;       /* the size of requests that it likes best, in bytes, a power of two */
};

/*
 * A connection begins: opens the disk, if that is the first one.  Whether it can be written to is what the first one
 * asks for; -EBUSY for one that wants to write to a disk that others have open for reading.  Thread-safe.
 */
int byre_image_enter(const struct byre_parameters *parameters, bool writable, const struct byre_image **ret_image,
                     struct byre_error *err);

/* A connection ends.  The disk stays open. */
void byre_image_leave(void);

/* Makes everything durable and closes the disk; there are no connections.  0 where it was never opened. */
int byre_image_close(struct byre_error *err);

#endif
