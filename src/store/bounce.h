/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bouncing: serving requests that are no multiples of a block by way of a buffer of whole blocks.
 *
 * A write that covers a block in part reads that block first.  Who writes holds the turn on all blocks that the
 * request touches; this file takes no lock.
 */
#ifndef BYRE_STORE_BOUNCE_H
#define BYRE_STORE_BOUNCE_H

#include "store/store.h"

struct byre_bounce {
    struct byre_store *store; /* is told of the events of a read-modify-write */
    uint64_t align;           /* the size of a block: a power of two */

    /* The request. */
    const struct iovec *iov;
    int iov_count;
    uint64_t start, end;      /* the bytes to transfer, from the start of the vector on */

    /* Move whole blocks, `length` bytes; the buffer is aligned to a page at least.  0 or -errno. */
    int (*read)(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff);
    int (*write)(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff);
};

/* Does a request fit blocks of `align`, wherever its buffers lie? */
bool byre_bounce_fits(uint64_t align, uint64_t hoff, uint64_t length);

int byre_bounce_read(const struct byre_bounce *bounce);
/* Writes the request's bytes up to `end` (at most its own end). */
int byre_bounce_write(const struct byre_bounce *bounce, uint64_t end);

#endif
