/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store wrappers: from a range that somebody wants to read or change to requests that the store takes.
 *
 * They own the checks of access and bounds, the splitting at IOV_MAX and at the store's longest transfer, and the
 * bouncing of what is no multiple of the store's blocks.
 *
 *   W1. An operation of the table is only called with a range that is not empty, does not pass INT64_MAX, and is a
 *       multiple of the request alignment.
 *   W2. Nothing that changes the store is called while it is read-only.
 *   W3. Where there is a request alignment, whoever changes a block has the turn on it: a write of a whole block must
 *       not slip between the reading and the writing of one that another write covers in part.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "base/arith.h"
#include "base/iov.h"
#include "store/bounce.h"
#include "store/event.h"
#include "store/store_impl.h"

int byre_store_range_error(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length, int code,
                           struct byre_error *err)
{
    return byre_error_set_errno(err, code, "could not %s %" PRIu64 " bytes at offset %" PRIu64 " of '%s'",
                                verb, length, hoff, store->name);
}

int byre_store_check_range(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                           struct byre_error *err)
{
    if (!byre_range_within(hoff, length, byre_round_down(INT64_MAX, byre_store_request_align(store))))
        return byre_store_range_error(store, verb, hoff, length, -EFBIG, err);
    return 0;
}

int byre_store_check_change(struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                            struct byre_error *err)
{
    uint64_t size;
    int r;

    if (store->read_only)
        return byre_error_set(err, -EROFS, "could not %s '%s': it was opened for reading only", verb,
                              store->name);
    r = byre_store_check_range(store, verb, hoff, length, err);
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

void byre_store_turn_begin(struct byre_store *store, struct byre_range_hold *hold, uint64_t hoff, uint64_t length)
{
    uint64_t align = byre_store_request_align(store);

    if (store->turns)
        byre_range_lock_acquire(store->turns, hold, byre_round_down(hoff, align), byre_round_up(hoff + length, align));
}

void byre_store_turn_end(struct byre_store *store, struct byre_range_hold *hold)
{
    if (store->turns)
        byre_range_lock_release(store->turns, hold);
}

/* One request of the table. */
static int request(struct byre_store *store, bool write, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    int r;

    if (!write)
        return store->ops->preadv(store, iov, iov_count, hoff);
    byre_store_event(store, BYRE_EVENT_PWRITEV);
    r = store->ops->pwritev(store, iov, iov_count, hoff);
    byre_store_event(store, BYRE_EVENT_PWRITEV_DONE);
    return r;
}

/* The longest request: a multiple of the request alignment. */
static uint64_t longest(const struct byre_store *store)
{
    uint64_t align = byre_store_request_align(store), most = store->limits.max_transfer;

    return most ? MAX(byre_round_down(most, align), align) : UINT64_MAX;
}

/* Hands [hoff, hoff + total) to the table in pieces that the store takes.  If it is aligned then there are no more
 * than IOV_MAX buffers, or it is one without an alignment. */
static int transfer_split(struct byre_store *store, bool write, const char *verb, const struct iovec *iov,
                          int iov_count, uint64_t hoff, uint64_t total, struct byre_error *err)
{
    struct iovec piece[IOV_MAX];
    uint64_t length;

    for (uint64_t done = 0; done < total; done += length) {
        int n = byre_iov_slice(iov, iov_count, done, longest(store), piece, IOV_MAX, &length);
        int r = request(store, write, piece, n, hoff + done);

        if (r < 0)
            return byre_store_range_error(store, verb, hoff + done, length, r, err);
    }
    return 0;
}

/* Whole blocks that are in one buffer. */
static int bounce_blocks(const struct byre_bounce *bounce, bool write, void *buf, size_t length, uint64_t hoff)
{
    struct iovec iov = { buf, length };

    if (length > longest(bounce->store))
        return transfer_split(bounce->store, write, "", &iov, 1, hoff, length, NULL);
    return request(bounce->store, write, &iov, 1, hoff);
}

static int bounce_read(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff)
{
    return bounce_blocks(bounce, false, buf, length, hoff);
}

static int bounce_write(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff)
{
    return bounce_blocks(bounce, true, buf, length, hoff);
}

static int transfer_bounced(struct byre_store *store, bool write, const char *verb, const struct iovec *iov,
                            int iov_count, uint64_t hoff, uint64_t total, struct byre_error *err)
{
    struct byre_bounce bounce = {
        .store = store, .align = byre_store_request_align(store), .iov = iov, .iov_count = iov_count,
        .start = hoff, .end = hoff + total, .read = bounce_read, .write = bounce_write,
    };
    int r = write ? byre_bounce_write(&bounce, bounce.end) : byre_bounce_read(&bounce);

    return r < 0 ? byre_store_range_error(store, verb, hoff, total, r, err) : 0;
}

/* Does the request go to the table in pieces of whole blocks, as it is? */
static bool fits(const struct byre_store *store, int iov_count, uint64_t hoff, uint64_t total)
{
    uint64_t align = byre_store_request_align(store);

    return byre_bounce_fits(align, hoff, total) && (align == 1 || iov_count <= IOV_MAX);
}

static int transfer(struct byre_store *store, bool write, const char *verb, const struct iovec *iov, int iov_count,
                    uint64_t hoff, uint64_t total, struct byre_error *err)
{
    int r;

    if (!fits(store, iov_count, hoff, total))
        return transfer_bounced(store, write, verb, iov, iov_count, hoff, total, err);
    if (iov_count > IOV_MAX || total > longest(store))
        return transfer_split(store, write, verb, iov, iov_count, hoff, total, err);
    r = request(store, write, iov, iov_count, hoff);
    return r < 0 ? byre_store_range_error(store, verb, hoff, total, r, err) : 0;
}

int byre_store_transfer(struct byre_store *store, bool write, const char *verb, const struct iovec *iov,
                        int iov_count, uint64_t hoff, uint64_t total, struct byre_error *err)
{
    struct byre_range_hold turn;
    int r;

    if (total == 0)
        return 0;
    if (write)
        byre_store_turn_begin(store, &turn, hoff, total);
    r = transfer(store, write, verb, iov, iov_count, hoff, total, err);
    if (write)
        byre_store_turn_end(store, &turn);
    return r;
}
