/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store wrappers: zeros, discards and allocation.
 *
 * They own the splitting at the store's limits, and the writing of zeros where a store cannot do better.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "store/event.h"
#include "store/store_impl.h"

/* Zeros are written from a buffer of this size, which one request may name many times. */
enum { ZERO_BUFFER = 64 << 10, ZERO_IOVS = 16 };

/* Writes zeros byte by byte, from one bounded buffer. */
static int write_zeroes_slowly(struct byre_store *store, uint64_t hoff, uint64_t length,
                               struct byre_error *err)
{
    size_t align = MIN(MAX((size_t)store->limits.align, (size_t)4096), (size_t)ZERO_BUFFER);
    size_t size = length < ZERO_BUFFER ? byre_round_up(length, align) : ZERO_BUFFER;
    CLEANUP(free_ptr) void *zeros = NULL;
    struct iovec iov[ZERO_IOVS];
    uint64_t part;

    if (length == 0)
        return 0;
    if (posix_memalign(&zeros, align, size) != 0)
        return byre_store_range_error(store, "write zeros to", hoff, length, -ENOMEM, err);
    memset(zeros, 0, size);
    for (uint64_t done = 0; done < length; done += part) {
        int n = 0, r;

        for (part = 0; n < ZERO_IOVS && done + part < length; part += iov[n++].iov_len)
            iov[n] = (struct iovec){ zeros, MIN((uint64_t)size, length - done - part) };
        r = byre_store_transfer(store, true, "write zeros to", iov, n, hoff + done, part, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* How much of [hoff, hoff + length) is one request of a store that prefers multiples of `prefer` and takes `most`
 * (0: anything): a stretch of multiples, or what comes before or after them. */
static uint64_t next_request(uint64_t hoff, uint64_t length, uint64_t prefer, uint64_t most, uint64_t request_align)
{
    uint64_t into = hoff % prefer, part = length;

    if (into)
        part = MIN(length, prefer - into);
    else if (length >= prefer)
        part = length - length % prefer;
    if (!most || part <= most)
        return part;
    most = most >= prefer ? most - most % prefer : byre_round_down(most, request_align);
    return MIN(part, MAX(most, request_align));
}

/* The preference that goes with the request alignment. */
static uint64_t preferred(const struct byre_store *store, uint64_t prefer)
{
    uint64_t align = byre_store_request_align(store);

    return prefer > align && prefer % align == 0 ? prefer : align;
}

/* A zeroing under way. */
struct zeroing {
    struct byre_store *store;
    unsigned flags;
    bool begun; /* something reads as zero now: -ENOTSUP would be a lie */
};

/* One request of the table. */
static int zero_request(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct byre_range_hold turn;
    int r;

    if (!store->ops->write_zeroes)
        return -ENOTSUP;
    byre_store_turn_begin(store, &turn, hoff, length);
    byre_store_event(store, BYRE_EVENT_PWRITEV_ZERO);
    r = store->ops->write_zeroes(store, hoff, length, flags);
    byre_store_event(store, BYRE_EVENT_PWRITEV_DONE);
    byre_store_turn_end(store, &turn);
    return r;
}

/* Zeroes whole blocks. */
static int zero_blocks(struct zeroing *zeroing, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    struct byre_store *store = zeroing->store;
    uint64_t prefer = preferred(store, store->limits.zero_align), part;
    int r = 0;

    for (; r == 0 && length; hoff += part, length -= part) {
        part = next_request(hoff, length, prefer, store->limits.max_write_zeroes, byre_store_request_align(store));
        r = zero_request(store, hoff, part, zeroing->flags);
        if (r == -ENOTSUP && (zeroing->begun || !(zeroing->flags & BYRE_ZERO_NO_FALLBACK)))
            r = write_zeroes_slowly(store, hoff, part, err);
        else if (r < 0)
            r = byre_store_range_error(store, "write zeros to", hoff, part, r, err);
        zeroing->begun |= r == 0;
    }
    return r;
}

/* Zeroes [hoff, end), blocks in part included.  What the store prefers comes first: if it cannot do that it has done
 * nothing. */
static int zero_range(struct zeroing *zeroing, uint64_t hoff, uint64_t end, struct byre_error *err)
{
    uint64_t align = byre_store_request_align(zeroing->store);
    uint64_t prefer = preferred(zeroing->store, zeroing->store->limits.zero_align);
    uint64_t first = byre_round_up(hoff, align), last = byre_round_down(end, align);
    uint64_t from = byre_div_up(first, prefer) * prefer, to = last / prefer * prefer;
    int r;

    if (from >= to)
        from = to = first;
    r = zero_blocks(zeroing, from, to - from, err);
    if (r == 0)
        r = zero_blocks(zeroing, first, from - first, err);
    if (r == 0)
        r = zero_blocks(zeroing, to, last - to, err);
    if (r == 0)
        r = write_zeroes_slowly(zeroing->store, hoff, first - hoff, err);
    return r < 0 ? r : write_zeroes_slowly(zeroing->store, last, end - last, err);
}

int byre_store_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags,
                            struct byre_error *err)
{
    struct zeroing zeroing = { .store = store, .flags = flags };
    uint64_t align = byre_store_request_align(store);
    int r = byre_store_check_change(store, "write zeros to", hoff, length, err);

    if (r < 0 || length == 0)
        return r;
    if (byre_round_up(hoff, align) < byre_round_down(hoff + length, align))
        return zero_range(&zeroing, hoff, hoff + length, err);
    if (flags & BYRE_ZERO_NO_FALLBACK)
        return byre_store_range_error(store, "write zeros to", hoff, length, -ENOTSUP, err);
    return write_zeroes_slowly(store, hoff, length, err);
}

int byre_store_discard(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    uint64_t align = byre_store_request_align(store), prefer = preferred(store, store->limits.discard_align), last;
    int r = byre_store_check_change(store, "discard", hoff, length, err);

    if (r < 0 || !store->ops->discard)
        return r;
    last = byre_round_down(hoff + length, align);
    for (uint64_t at = byre_round_up(hoff, align), part; at < last; at += part) {
        part = next_request(at, last - at, prefer, store->limits.max_discard, align);
        r = store->ops->discard(store, at, part);
        if (r < 0 && r != -ENOTSUP)
            return byre_store_range_error(store, "discard", at, part, r, err);
    }
    return 0;
}

int byre_store_allocate(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    uint64_t align = byre_store_request_align(store), first = byre_round_down(hoff, align);
    int r = byre_store_check_change(store, "allocate", hoff, length, err);

    if (r < 0 || length == 0)
        return r;
    /* More than was asked for does no harm: contents stay. */
    r = store->ops->allocate
            ? store->ops->allocate(store, first, byre_round_up(hoff + length, align) - first)
            : -ENOTSUP;
    if (r == -ENOTSUP) {
        uint64_t size;

        /* Past the end nothing can be overwritten, so zeros that are written do as well. */
        if (byre_store_size(store, &size, err) == 0 && hoff >= size)
            return write_zeroes_slowly(store, hoff, length, err);
    }
    return r < 0 ? byre_store_range_error(store, "allocate", hoff, length, r, err) : 0;
}
