/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store in memory that fails the test on every request which its limits forbid, and keeps a list of the requests.
 */
#ifndef TESTS_UNIT_STRICT_STORE_H
#define TESTS_UNIT_STRICT_STORE_H

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/iov.h"
#include "base/rangelock.h"
#include "store/memory.h"

enum { STRICT_CALLS = 64 };

struct strict_call {
    char kind; /* r, w, z, d */
    uint64_t hoff, length;
};

struct strict {
    struct byre_store store; /* first */
    struct byre_store *bytes;
    struct byre_range_lock turns;
    struct strict_call calls[STRICT_CALLS]; /* the first ones; for one thread only */
    _Atomic unsigned count;
    bool no_zeroes;                 /* write_zeroes is not supported */
    bool no_zeroes_in_part;         /* or only of what is preferred */
    uint64_t hole_start, hole_end;  /* what extent tells */
};

static inline struct strict *strict_of(struct byre_store *store)
{
    return (struct strict *)store;
}

static inline void strict_note(struct byre_store *store, char kind, uint64_t hoff, uint64_t length, uint64_t most)
{
    struct strict *strict = strict_of(store);
    uint64_t align = MAX(store->limits.request_align, 1u);
    unsigned n = strict->count++;

    assert_true(length > 0);
    assert_true(byre_range_within(hoff, length, INT64_MAX));
    assert_int_equal(hoff % align, 0);
    assert_int_equal(length % align, 0);
    if (most)
        assert_in_range(length, 1, most);
    if (n < STRICT_CALLS)
        strict->calls[n] = (struct strict_call){ kind, hoff, length };
}

static inline void strict_note_iov(struct byre_store *store, char kind, const struct iovec *iov, int count,
                                   uint64_t hoff)
{
    uint64_t length = 0;

    assert_in_range(count, 1, 1024);
    assert_true(byre_iov_length(iov, count, &length));
    strict_note(store, kind, hoff, length, store->limits.max_transfer);
}

/* Multiples of the preference, or within two of them. */
static inline void strict_prefer(uint64_t hoff, uint64_t length, uint64_t prefer)
{
    if (hoff % prefer || length % prefer)
        assert_true(hoff / prefer == (hoff + length - 1) / prefer);
}

static inline int strict_preadv(struct byre_store *store, const struct iovec *iov, int count, uint64_t hoff)
{
    int rc;

    strict_note_iov(store, 'r', iov, count, hoff);
    rc = byre_store_preadv(strict_of(store)->bytes, iov, count, hoff, NULL);
    sched_yield(); /* others may come between the reading and the writing of a block */
    return rc;
}

static inline int strict_pwritev(struct byre_store *store, const struct iovec *iov, int count, uint64_t hoff)
{
    strict_note_iov(store, 'w', iov, count, hoff);
    return byre_store_pwritev(strict_of(store)->bytes, iov, count, hoff, NULL);
}

static inline int strict_flush(struct byre_store *store)
{
    (void)store;
    return 0;
}

static inline int strict_truncate(struct byre_store *store, uint64_t size)
{
    return byre_store_truncate(strict_of(store)->bytes, size, NULL);
}

static inline int strict_get_size(struct byre_store *store, uint64_t *ret_size)
{
    return byre_store_size(strict_of(store)->bytes, ret_size, NULL);
}

static inline int strict_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    strict_note(store, 'z', hoff, length, store->limits.max_write_zeroes);
    if (!store->limits.max_write_zeroes || store->limits.zero_align <= store->limits.max_write_zeroes)
        strict_prefer(hoff, length, store->limits.zero_align);
    if (strict_of(store)->no_zeroes)
        return -ENOTSUP;
    if (strict_of(store)->no_zeroes_in_part && (hoff | length) % store->limits.zero_align)
        return -ENOTSUP;
    return byre_store_write_zeroes(strict_of(store)->bytes, hoff, length, flags, NULL);
}

static inline int strict_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    strict_note(store, 'd', hoff, length, store->limits.max_discard);
    strict_prefer(hoff, length, store->limits.discard_align);
    return 0;
}

static inline int strict_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    strict_note(store, 'a', hoff, length, 0);
    return byre_store_allocate(strict_of(store)->bytes, hoff, length, NULL);
}

static inline int strict_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    struct strict *strict = strict_of(store);

    *ret_hole = hoff >= strict->hole_start && hoff < strict->hole_end;
    *ret_length = (*ret_hole ? strict->hole_end : hoff < strict->hole_start ? strict->hole_start : UINT64_MAX) - hoff;
    return 0;
}

static inline void strict_close(struct byre_store *store)
{
    struct strict *strict = strict_of(store);

    byre_store_close(strict->bytes);
    byre_range_lock_done(&strict->turns);
    free(strict);
}

static const struct byre_store_ops strict_ops = {
    .kind = "strict", .preadv = strict_preadv, .pwritev = strict_pwritev, .flush = strict_flush,
    .truncate = strict_truncate, .get_size = strict_get_size, .write_zeroes = strict_write_zeroes,
    .discard = strict_discard, .allocate = strict_allocate, .extent = strict_extent, .close = strict_close,
};

static inline struct strict *strict_new(const struct byre_store_limits *limits, uint64_t size)
{
    struct strict *strict = calloc(1, sizeof *strict);

    assert_non_null(strict);
    assert_int_equal(byre_memory_new(NULL, size, &strict->bytes, NULL), 0);
    byre_range_lock_init(&strict->turns);
    strict->store = (struct byre_store){
        .ops = &strict_ops, .limits = *limits, .name = "strict", .fd = -1, .growable = true,
        .turns = limits->request_align > 1 ? &strict->turns : NULL,
    };
    return strict;
}

#endif
