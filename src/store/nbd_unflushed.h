/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was written to an NBD server since its last flush, in the order in which it was completed.  A server that went
 * away may have lost it, so it is written again when the server is back.  The caller has a lock.
 */
#ifndef BYRE_STORE_NBD_UNFLUSHED_H
#define BYRE_STORE_NBD_UNFLUSHED_H

#include "base/vec.h"
#include "store/nbd_connection.h"

struct byre_nbd_unflushed {
    VEC(struct byre_nbd_request) requests; /* their buffers are owned */
    uint64_t bytes;                        /* of memory */
    uint64_t first;                        /* how many were dropped before the first one */
};

/* Appends a completed request: 0 or -ENOMEM. */
int byre_nbd_unflushed_add(struct byre_nbd_unflushed *unflushed, const struct byre_nbd_request *request);

/* What a flush that is sent now covers; and that it has done so. */
uint64_t byre_nbd_unflushed_mark(const struct byre_nbd_unflushed *unflushed);
void byre_nbd_unflushed_drop(struct byre_nbd_unflushed *unflushed, uint64_t mark);

void byre_nbd_unflushed_done(struct byre_nbd_unflushed *unflushed);

#endif
