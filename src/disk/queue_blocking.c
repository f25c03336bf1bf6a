/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What workers do with the requests of queues.
 */
#include "config.h"

#include "disk/queue_blocking.h"

#include <errno.h>

#include "base/iov.h"

/* All of the vector at once: filters and the engine are to see whole clusters where there are some. */
static int move_blocking(struct byre_disk *disk, const struct byre_request *request)
{
    uint64_t length = 0;

    if (request->iov_count < 0 || !byre_iov_length(request->iov, request->iov_count, &length) ||
        length != request->length)
        return byre_error_set(request->err, -EINVAL, "the buffers are %s than the request",
                              length < request->length ? "shorter" : "longer");
    if (request->op == BYRE_OP_READ)
        return byre_preadv(disk, request->iov, request->iov_count, request->goff, request->err);
    return byre_pwritev(disk, request->iov, request->iov_count, request->goff, request->flags, request->err);
}

int byre_queue_do_blocking(struct byre_disk *disk, const struct byre_request *request)
{
    switch (request->op) {
    case BYRE_OP_READ:
    case BYRE_OP_WRITE:
        if (request->flags & (request->op == BYRE_OP_READ ? ~0u : ~BYRE_WRITE_FUA))
            break;
        return move_blocking(disk, request);
    case BYRE_OP_WRITE_ZEROES:
        return byre_write_zeroes(disk, request->goff, request->length, request->flags, request->err);
    case BYRE_OP_DISCARD:
        return byre_discard(disk, request->goff, request->length, request->err);
    case BYRE_OP_FLUSH:
        return byre_flush(disk, request->err);
    }
    return byre_error_set(request->err, -EINVAL, "operation %d with flags %#x is not known", (int)request->op,
                          request->flags);
}
