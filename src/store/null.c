/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null store.  It has no state: requests run side by side, and all they do is to take their time.
 */
#include "config.h"

#include "store/null.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/iov.h"

enum { NS_PER_S = 1000000000 };

struct null {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    uint64_t size, latency_ns;
    bool read_zeroes;
};

static struct null *null_of(struct byre_store *store)
{
    return (struct null *)store;
}

static int take_time(struct byre_store *store)
{
    uint64_t ns = null_of(store)->latency_ns;
    struct timespec left = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

    while (ns && clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
    return 0;
}

static int null_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    (void)hoff;
    if (null_of(store)->read_zeroes)
        byre_iov_zero(iov, iov_count, 0);
    return take_time(store);
}

static int null_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    (void)iov;
    (void)iov_count;
    (void)hoff;
    return take_time(store);
}

static int null_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    (void)hoff;
    (void)length;
    (void)flags;
    return take_time(store);
}

static int null_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    (void)hoff;
    (void)length;
    return take_time(store);
}

/* There is no medium that could lack space. */
static int null_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    (void)store;
    (void)hoff;
    (void)length;
    return 0;
}

static int null_truncate(struct byre_store *store, uint64_t size)
{
    (void)store;
    (void)size;
    return -ENOTSUP;
}

static int null_get_size(struct byre_store *store, uint64_t *ret_size)
{
    *ret_size = null_of(store)->size;
    return 0;
}

static int null_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    *ret_length = null_of(store)->size - hoff;
    *ret_hole = null_of(store)->read_zeroes;
    return 0;
}

static int null_allocated_size(struct byre_store *store, uint64_t *ret_bytes)
{
    (void)store;
    *ret_bytes = 0;
    return 0;
}

static void null_close(struct byre_store *store)
{
    free(store->name);
    free(store);
}

static const struct byre_store_ops co_ops = {
    .kind = "null-co",
    .preadv = null_preadv,
    .pwritev = null_pwritev,
    .flush = take_time,
    .truncate = null_truncate,
    .get_size = null_get_size,
    .write_zeroes = null_write_zeroes,
    .discard = null_discard,
    .allocate = null_allocate,
    .extent = null_extent,
    .allocated_size = null_allocated_size,
    .close = null_close,
};

static const struct byre_store_ops aio_ops = {
    .kind = "null-aio",
    .preadv = null_preadv,
    .pwritev = null_pwritev,
    .flush = take_time,
    .truncate = null_truncate,
    .get_size = null_get_size,
    .write_zeroes = null_write_zeroes,
    .discard = null_discard,
    .allocate = null_allocate,
    .extent = null_extent,
    .allocated_size = null_allocated_size,
    .close = null_close,
};

int byre_null_new(const struct byre_null_options *options, struct byre_store **ret_store, struct byre_error *err)
{
    struct null *null;

    if (options->size > INT64_MAX)
        return byre_error_set(err, -EINVAL, "size is invalid: %" PRIu64 " is more than %" PRId64, options->size,
                              INT64_MAX);
    if (options->latency_ns > INT64_MAX)
        return byre_error_set(err, -EINVAL, "latency-ns is invalid: %" PRIu64 " is more than %" PRId64,
                              options->latency_ns, INT64_MAX);
    null = calloc(1, sizeof *null);
    if (!null)
        return byre_error_set_errno(err, -ENOMEM, "could not make a null store");
    *null = (struct null){
        .store = {
            .ops = options->aio ? &aio_ops : &co_ops,
            .limits = { .align = 1, .zero_align = 1, .discard_align = 1 },
            .name = strdup(options->aio ? "null-aio://" : "null-co://"),
            .fd = -1,
            .read_only = options->read_only,
        },
        .size = options->size, .latency_ns = options->latency_ns, .read_zeroes = options->read_zeroes,
    };
    if (!null->store.name) {
        free(null);
        return byre_error_set_errno(err, -ENOMEM, "could not make a null store");
    }
    *ret_store = &null->store;
    return 0;
}
