/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slice store: adds an offset, and ends where it is told to.
 *
 *   S1. A slice of a given size never touches a byte outside of it, and never changes its size.
 *   S2. Requests go through the wrappers of the store below, which align them as that one wants it.
 */
#include "config.h"

#include "store/slice.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "store/event.h"

struct slice {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_store *below;
    uint64_t offset, size;   /* size: BYRE_SLICE_TO_END, or fixed */
};

static struct slice *slice_of(struct byre_store *store)
{
    return (struct slice *)store;
}

static int slice_get_size(struct byre_store *store, uint64_t *ret_size)
{
    const struct slice *slice = slice_of(store);
    uint64_t size;
    int r;

    if (slice->size != BYRE_SLICE_TO_END) {
        *ret_size = slice->size;
        return 0;
    }
    r = byre_store_size(slice->below, &size, NULL);
    if (r == 0)
        *ret_size = size > slice->offset ? size - slice->offset : 0;
    return r;
}

/* What lies past the end of a slice is not to be seen. */
static int slice_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    const struct slice *slice = slice_of(store);
    CLEANUP(free_ptr) struct iovec *part = NULL;
    uint64_t total, there, covered;
    int count;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    if (slice->size == BYRE_SLICE_TO_END || byre_range_within(hoff, total, slice->size))
        return byre_store_preadv(slice->below, iov, iov_count, slice->offset + hoff, NULL);
    there = hoff < slice->size ? slice->size - hoff : 0;
    byre_iov_zero(iov, iov_count, there);
    if (there == 0)
        return 0;
    part = malloc((size_t)iov_count * sizeof *part);
    if (!part)
        return -ENOMEM;
    count = byre_iov_slice(iov, iov_count, 0, there, part, iov_count, &covered);
    return byre_store_preadv(slice->below, part, count, slice->offset + hoff, NULL);
}

static int slice_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    const struct slice *slice = slice_of(store);

    return byre_store_pwritev(slice->below, iov, iov_count, slice->offset + hoff, NULL);
}

static int slice_flush(struct byre_store *store)
{
    return byre_store_flush(slice_of(store)->below, NULL);
}

/* Only a slice that is growable gets here. */
static int slice_truncate(struct byre_store *store, uint64_t size)
{
    const struct slice *slice = slice_of(store);

    if (size > (uint64_t)INT64_MAX - slice->offset)
        return -EFBIG;
    return byre_store_truncate(slice->below, slice->offset + size, NULL);
}

static int slice_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    const struct slice *slice = slice_of(store);

    return byre_store_write_zeroes(slice->below, slice->offset + hoff, length, flags, NULL);
}

static int slice_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    const struct slice *slice = slice_of(store);

    return byre_store_discard(slice->below, slice->offset + hoff, length, NULL);
}

static int slice_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    const struct slice *slice = slice_of(store);

    return byre_store_allocate(slice->below, slice->offset + hoff, length, NULL);
}

static int slice_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    const struct slice *slice = slice_of(store);

    return byre_store_extent(slice->below, slice->offset + hoff, ret_length, ret_hole, NULL);
}

static int slice_allocated_size(struct byre_store *store, uint64_t *ret_bytes)
{
    return byre_store_allocated_size(slice_of(store)->below, ret_bytes, NULL);
}

static void slice_event(struct byre_store *store, unsigned event)
{
    byre_store_event(slice_of(store)->below, (enum byre_event)event);
}

static void slice_close(struct byre_store *store)
{
    byre_store_close(slice_of(store)->below);
    free(store->name);
    free(store);
}

static const struct byre_store_ops slice_ops = {
    .kind = "raw",
    .preadv = slice_preadv,
    .pwritev = slice_pwritev,
    .flush = slice_flush,
    .truncate = slice_truncate,
    .get_size = slice_get_size,
    .write_zeroes = slice_write_zeroes,
    .discard = slice_discard,
    .allocate = slice_allocate,
    .extent = slice_extent,
    .allocated_size = slice_allocated_size,
    .event = slice_event,
    .close = slice_close,
};

static int check_place(struct byre_store *below, uint64_t offset, uint64_t size, struct byre_error *err)
{
    uint64_t end;
    int r = byre_store_size(below, &end, err);

    if (r < 0)
        return r;
    if (offset > end)
        return byre_error_set(err, -EINVAL, "Offset (%" PRIu64 ") cannot be greater than size of the containing "
                              "file (%" PRIu64 ")", offset, end);
    if (size != BYRE_SLICE_TO_END && !byre_range_within(offset, size, end))
        return byre_error_set(err, -EINVAL, "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") has to be "
                              "smaller or equal to the  actual size of the containing file (%" PRIu64 ")", offset,
                              size, end);
    return 0;
}

/* The limits of the store below hold at multiples that the offset does not shift. */
static struct byre_store_limits shifted_limits(const struct byre_store_limits *below, uint64_t offset, bool growable)
{
    return (struct byre_store_limits){
        .align = offset % below->align == 0 ? below->align : 1,
        .zero_align = offset % below->zero_align == 0 ? below->zero_align : 1,
        .discard_align = offset % below->discard_align == 0 ? below->discard_align : 1,
        .zero_on_grow = growable && below->zero_on_grow,
    };
}

int byre_slice_new(struct byre_store *below, uint64_t offset, uint64_t size, struct byre_store **ret_store,
                   struct byre_error *err)
{
    bool growable = size == BYRE_SLICE_TO_END && below->growable;
    struct slice *slice;
    int r = check_place(below, offset, size, err);

    if (r < 0)
        return r;
    slice = calloc(1, sizeof *slice);
    if (!slice)
        return byre_error_set_errno(err, -ENOMEM, "could not make a slice of '%s'", below->name);
    *slice = (struct slice){ .below = below, .offset = offset, .size = size };
    slice->store = (struct byre_store){
        .ops = &slice_ops,
        .limits = shifted_limits(&below->limits, offset, growable),
        .name = strdup(below->name),
        .fd = -1,
        .read_only = below->read_only,
        .growable = growable,
    };
    if (!slice->store.name) {
        free(slice);
        return byre_error_set_errno(err, -ENOMEM, "could not make a slice of '%s'", below->name);
    }
    *ret_store = &slice->store;
    return 0;
}
