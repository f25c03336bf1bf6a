/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store wrappers: what every kind of store needs done once, and the text of errors.  They hold no state and no
 * lock but the turns on blocks that the store has for them.  store_impl.h says which file does what.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/iov.h"
#include "store/event.h"
#include "store/store_impl.h"

void byre_store_close(struct byre_store *store)
{
    if (store)
        store->ops->close(store);
}

int byre_store_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                      struct byre_error *err)
{
    uint64_t total;
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &total))
        return byre_error_set(err, -EINVAL, "could not read '%s': bad vector", store->name);
    r = byre_store_check_range(store, "read", hoff, total, err);
    if (r < 0)
        return r;
    return byre_store_transfer(store, false, "read", iov, iov_count, hoff, total, err);
}

int byre_store_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                       struct byre_error *err)
{
    uint64_t total;
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &total))
        return byre_error_set(err, -EINVAL, "could not write '%s': bad vector", store->name);
    r = byre_store_check_change(store, "write", hoff, total, err);
    if (r < 0)
        return r;
    return byre_store_transfer(store, true, "write", iov, iov_count, hoff, total, err);
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
    byre_store_event(store, BYRE_EVENT_FLUSH_TO_DISK);
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

/* The run that the table tells of, cut to whole blocks: a block that is not all hole is data. */
static int find_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_end, bool *ret_hole)
{
    uint64_t align = byre_store_request_align(store), first = byre_round_down(hoff, align), found, end;
    int r = store->ops->extent(store, first, &found, ret_hole);

    if (r < 0)
        return r;
    end = byre_round_down(found < UINT64_MAX - first ? first + found : UINT64_MAX, align);
    if (end <= hoff) {
        end = first + align;
        *ret_hole = false;
    }
    *ret_end = end;
    return 0;
}

int byre_store_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole,
                      struct byre_error *err)
{
    uint64_t size, end;
    bool hole = false;
    int r = byre_store_size(store, &size, err);

    if (r < 0)
        return r;
    if (hoff >= size) {
        *ret_length = UINT64_MAX - hoff;
        *ret_hole = true;
        return 0;
    }
    end = size;
    if (store->ops->extent) {
        r = find_extent(store, hoff, &end, &hole);
        if (r < 0)
            return byre_store_range_error(store, "find the extents of", hoff, size - hoff, r, err);
    }
    *ret_length = MIN(end, size) - hoff;
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
