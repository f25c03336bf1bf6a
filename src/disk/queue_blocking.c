/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What workers do with the requests of queues.
 */
#include "config.h"

#include "disk/queue_blocking.h"

#include <errno.h>

#include "base/arith.h"
#include "base/iov.h"

#define VECTOR_MAX 32 /* buffers of a read that is done in parts */

bool byre_zero_ranges_add(struct byre_zero_ranges *zeros, uint64_t goff, uint64_t length)
{
    unsigned count = zeros->count;

    if (count && zeros->list[count - 1].goff + zeros->list[count - 1].length == goff) {
        zeros->list[count - 1].length += length;
        return true;
    }
    if (count == BYRE_ZERO_RANGES_MAX || length < BYRE_ZERO_RANGE_MIN)
        return false;
    zeros->list[count].goff = goff;
    zeros->list[count].length = length;
    zeros->count++;
    return true;
}

static int add_zeros(void *opaque, const struct byre_extent *extent)
{
    if (extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO)
        (void)byre_zero_ranges_add(opaque, extent->goff, extent->length);
    return 0;
}

static int read_part(struct byre_disk *disk, const struct byre_request *request, uint64_t goff, uint64_t length)
{
    struct iovec slice[VECTOR_MAX];
    uint64_t covered;
    int count = byre_iov_slice(request->iov, request->iov_count, goff - request->goff, length, slice, VECTOR_MAX,
                               &covered);

    return byre_preadv(disk, slice, count, goff, request->err);
}

/* What lies between the zeros. */
static int read_around_zeros(struct byre_disk *disk, const struct byre_request *request)
{
    struct byre_zero_ranges *zeros = request->zeros;
    uint64_t at = request->goff, end = request->goff + request->length;
    int rc = byre_extents(disk, request->goff, request->length, add_zeros, zeros, request->err);

    for (unsigned i = 0; i < zeros->count && rc == 0; i++) {
        if (at < zeros->list[i].goff)
            rc = read_part(disk, request, at, zeros->list[i].goff - at);
        at = zeros->list[i].goff + zeros->list[i].length;
    }
    return rc == 0 && at < end ? read_part(disk, request, at, end - at) : rc;
}

/* As much of the vector at once as can be: filters and the engine are to see whole clusters where there are some. */
static int move_blocking(struct byre_disk *disk, const struct byre_request *request)
{
    uint64_t length = 0;

    if (request->zeros)
        request->zeros->count = 0;
    if (request->iov_count < 0 || !byre_iov_length(request->iov, request->iov_count, &length) ||
        length != request->length)
        return byre_error_set(request->err, -EINVAL, "the buffers are %s than the request",
                              length < request->length ? "shorter" : "longer");
    if (request->op == BYRE_OP_READ && request->zeros && request->iov_count <= VECTOR_MAX &&
        request->length >= BYRE_ZERO_RANGE_MIN)
        return read_around_zeros(disk, request);
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
