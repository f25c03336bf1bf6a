/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store wrappers: what every kind of store needs done once.
 *
 * They own the checks of access and bounds, the splitting at IOV_MAX and at the store's longest transfer, the
 * writing of zeros where a store cannot do better, and the text of errors.  They hold no state and no lock.
 *
 *   W1. An operation of the table is only called with a range that is not empty and does not pass INT64_MAX.
 *   W2. Nothing that changes the store is called while it is read-only.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "store/store.h"

/* Zeros are written from a buffer of this size, which one request may name many times. */
enum { ZERO_BUFFER = 64 << 10, ZERO_IOVS = 16 };

typedef int transfer_fn(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff);

/* Reports that doing `verb` to a range failed with `code`. */
static int range_error(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                       int code, struct byre_error *err)
{
    return byre_error_set_errno(err, code, "could not %s %" PRIu64 " bytes at offset %" PRIu64 " of '%s'",
                                verb, length, hoff, store->name);
}

static int check_range(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                       struct byre_error *err)
{
    if (!byre_range_within(hoff, length, INT64_MAX))
        return range_error(store, verb, hoff, length, -EFBIG, err);
    return 0;
}

/* May [hoff, hoff + length) be changed, or come into being? */
static int check_change(struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                        struct byre_error *err)
{
    uint64_t size;
    int r;

    if (store->read_only)
        return byre_error_set(err, -EROFS, "could not %s '%s': it was opened for reading only", verb,
                              store->name);
    r = check_range(store, verb, hoff, length, err);
    if (r < 0 || store->growable)
        return r;
    r = byre_store_size(store, &size, err);
    if (r < 0)
        return r;
    if (!byre_range_within(hoff, length, size))
        return byre_error_set(err, -ENOSPC, "could not %s %" PRIu64 " bytes at offset %" PRIu64
                              " of '%s': it ends at %" PRIu64, verb, length, hoff, store->name, size);
    return 0;
}

void byre_store_close(struct byre_store *store)
{
    if (store)
        store->ops->close(store);
}

/* Hands [hoff, hoff + total) to `transfer` in pieces that the store takes. */
static int transfer_split(struct byre_store *store, transfer_fn *transfer, const char *verb,
                          const struct iovec *iov, int iov_count, uint64_t hoff, uint64_t total,
                          struct byre_error *err)
{
    uint64_t most = store->limits.max_transfer ? store->limits.max_transfer : UINT64_MAX;
    struct iovec piece[IOV_MAX];
    uint64_t length;

    for (uint64_t done = 0; done < total; done += length) {
        int n = byre_iov_slice(iov, iov_count, done, most, piece, IOV_MAX, &length);
        int r = transfer(store, piece, n, hoff + done);

        if (r < 0)
            return range_error(store, verb, hoff + done, length, r, err);
    }
    return 0;
}

static int transfer_all(struct byre_store *store, transfer_fn *transfer, const char *verb,
                        const struct iovec *iov, int iov_count, uint64_t hoff, uint64_t total,
                        struct byre_error *err)
{
    uint64_t most = store->limits.max_transfer;
    int r;

    if (total == 0)
        return 0;
    if (iov_count > IOV_MAX || (most && total > most))
        return transfer_split(store, transfer, verb, iov, iov_count, hoff, total, err);
    r = transfer(store, iov, iov_count, hoff);
    return r < 0 ? range_error(store, verb, hoff, total, r, err) : 0;
}

int byre_store_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                      struct byre_error *err)
{
    uint64_t total;
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &total))
        return byre_error_set(err, -EINVAL, "could not read '%s': bad vector", store->name);
    r = check_range(store, "read", hoff, total, err);
    if (r < 0)
        return r;
    return transfer_all(store, store->ops->preadv, "read", iov, iov_count, hoff, total, err);
}

int byre_store_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                       struct byre_error *err)
{
    uint64_t total;
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &total))
        return byre_error_set(err, -EINVAL, "could not write '%s': bad vector", store->name);
    r = check_change(store, "write", hoff, total, err);
    if (r < 0)
        return r;
    return transfer_all(store, store->ops->pwritev, "write", iov, iov_count, hoff, total, err);
}

int byre_store_pread(struct byre_store *store, void *buf, size_t length, uint64_t hoff,
                     struct byre_error *err)
{
    struct iovec iov = { buf, length };

    return byre_store_preadv(store, &iov, 1, hoff, err);
}

int byre_store_pwrite(struct byre_store *store, const void *buf, size_t length, uint64_t hoff,
                      struct byre_error *err)
{
    struct iovec iov = { (void *)buf, length };

    return byre_store_pwritev(store, &iov, 1, hoff, err);
}

int byre_store_flush(struct byre_store *store, struct byre_error *err)
{
    int r;

    if (store->no_flush || store->read_only)
        return 0;
    r = store->ops->flush(store);
    return r < 0 ? byre_error_set_errno(err, r, "could not flush '%s'", store->name) : 0;
}

int byre_store_size(struct byre_store *store, uint64_t *ret_size, struct byre_error *err)
{
    int r = store->ops->get_size(store, ret_size);

    return r < 0 ? byre_error_set_errno(err, r, "could not get the size of '%s'", store->name) : 0;
}

int byre_store_truncate(struct byre_store *store, uint64_t size, struct byre_error *err)
{
    uint64_t old_size;
    int r;

    if (store->read_only)
        return byre_error_set(err, -EROFS, "could not resize '%s': it was opened for reading only",
                              store->name);
    if (!store->growable) {
        r = byre_store_size(store, &old_size, err);
        if (r < 0)
            return r;
        if (size > old_size)
            return byre_error_set(err, -ENOSPC, "cannot grow device file '%s' from %" PRIu64 " to %" PRIu64
                                  " bytes", store->name, old_size, size);
        return 0; /* a device keeps its size; the rest of it is not used */
    }
    r = size > INT64_MAX ? -EFBIG : store->ops->truncate(store, size);
    return r < 0 ? byre_error_set_errno(err, r, "could not resize '%s' to %" PRIu64 " bytes", store->name,
                                        size) : 0;
}

/* Writes zeros byte by byte, from one bounded buffer. */
static int write_zeroes_slowly(struct byre_store *store, uint64_t hoff, uint64_t length,
                               struct byre_error *err)
{
    size_t align = MAX((size_t)store->limits.align, (size_t)4096);
    size_t size = length < ZERO_BUFFER ? byre_round_up(length, align) : ZERO_BUFFER;
    CLEANUP(free_ptr) void *zeros = NULL;
    struct iovec iov[ZERO_IOVS];
    uint64_t part;

    if (posix_memalign(&zeros, align, size) != 0)
        return range_error(store, "write zeros to", hoff, length, -ENOMEM, err);
    memset(zeros, 0, size);
    for (uint64_t done = 0; done < length; done += part) {
        int n = 0, r;

        for (part = 0; n < ZERO_IOVS && done + part < length; part += iov[n++].iov_len)
            iov[n] = (struct iovec){ zeros, MIN((uint64_t)size, length - done - part) };
        r = transfer_all(store, store->ops->pwritev, "write zeros to", iov, n, hoff + done, part, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int byre_store_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags,
                            struct byre_error *err)
{
    int r = check_change(store, "write zeros to", hoff, length, err);

    if (r < 0 || length == 0)
        return r;
    r = store->ops->write_zeroes ? store->ops->write_zeroes(store, hoff, length, flags) : -ENOTSUP;
    if (r == -ENOTSUP && !(flags & BYRE_ZERO_NO_FALLBACK))
        return write_zeroes_slowly(store, hoff, length, err);
    return r < 0 ? range_error(store, "write zeros to", hoff, length, r, err) : 0;
}

int byre_store_discard(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    int r = check_change(store, "discard", hoff, length, err);

    if (r < 0 || length == 0 || !store->ops->discard)
        return r;
    r = store->ops->discard(store, hoff, length);
    return r < 0 && r != -ENOTSUP ? range_error(store, "discard", hoff, length, r, err) : 0;
}

int byre_store_allocate(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    int r = check_change(store, "allocate", hoff, length, err);

    if (r < 0 || length == 0)
        return r;
    r = store->ops->allocate ? store->ops->allocate(store, hoff, length) : -ENOTSUP;
    if (r == -ENOTSUP) {
        uint64_t size;

        /* Past the end nothing can be overwritten, so zeros that are written do as well. */
        if (byre_store_size(store, &size, err) == 0 && hoff >= size)
            return write_zeroes_slowly(store, hoff, length, err);
    }
    return r < 0 ? range_error(store, "allocate", hoff, length, r, err) : 0;
}

int byre_store_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole,
                      struct byre_error *err)
{
    uint64_t size, length;
    bool hole = false;
    int r = byre_store_size(store, &size, err);

    if (r < 0)
        return r;
    if (hoff >= size) {
        *ret_length = UINT64_MAX - hoff;
        *ret_hole = true;
        return 0;
    }
    length = size - hoff;
    if (store->ops->extent) {
        uint64_t found;

        r = store->ops->extent(store, hoff, &found, &hole);
        if (r < 0)
            return range_error(store, "find the extents of", hoff, length, r, err);
        length = MIN(length, found);
    }
    *ret_length = length;
    *ret_hole = hole;
    return 0;
}

int byre_store_allocated_size(struct byre_store *store, uint64_t *ret_bytes, struct byre_error *err)
{
    int r;

    if (!store->ops->allocated_size) {
        *ret_bytes = UINT64_MAX;
        return 0;
    }
    r = store->ops->allocated_size(store, ret_bytes);
    return r < 0 ? byre_error_set_errno(err, r, "could not get the allocated size of '%s'", store->name) : 0;
}
