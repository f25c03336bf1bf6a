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

bool byre_places_add_zeros(struct byre_places *places, uint64_t goff, uint64_t length)
{
    struct byre_place *last = places->count ? &places->list[places->count - 1] : NULL;

    if (last && last->fd < 0 && last->goff + last->length == goff) {
        last->length += length;
        return true;
    }
    if (places->count == BYRE_PLACES_MAX || length < BYRE_PLACE_ZERO_MIN)
        return false;
    places->list[places->count++] = (struct byre_place){ .goff = goff, .length = length, .fd = -1 };
    return true;
}

bool byre_places_add_data(struct byre_places *places, const struct byre_place *place)
{
    if (places->count == BYRE_PLACES_MAX || place->length < BYRE_PLACE_DATA_MIN)
        return false;
    places->list[places->count++] = *place;
    return true;
}

static int add_zeros(void *opaque, const struct byre_extent *extent)
{
    if (extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO)
        (void)byre_places_add_zeros(opaque, extent->goff, extent->length);
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
    struct byre_places *places = request->places;
    uint64_t at = request->goff, end = request->goff + request->length;
    int rc = byre_extents(disk, request->goff, request->length, add_zeros, places, request->err);

    for (unsigned i = 0; i < places->count && rc == 0; i++) {
        if (at < places->list[i].goff)
            rc = read_part(disk, request, at, places->list[i].goff - at);
        at = places->list[i].goff + places->list[i].length;
    }
    return rc == 0 && at < end ? read_part(disk, request, at, end - at) : rc;
}

/* As much of the vector at once as can be: filters and the engine are to see whole clusters where there are some. */
static int move_blocking(struct byre_disk *disk, const struct byre_request *request)
{
    uint64_t length = 0;

    if (request->places)
        request->places->count = 0;
    if (request->iov_count < 0 || !byre_iov_length(request->iov, request->iov_count, &length) ||
        length != request->length)
        return byre_error_set(request->err, -EINVAL, "the buffers are %s than the request",
                              length < request->length ? "shorter" : "longer");
    if (request->op == BYRE_OP_READ && request->places && request->iov_count <= VECTOR_MAX &&
        request->length >= BYRE_PLACE_ZERO_MIN)
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
