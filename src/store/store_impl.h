/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the store wrappers share.  Private to src/store/store*.c:
 *
 *   store.c           sizes, flush, extents, and the vectored reads and writes
 *   store_transfer.c  splitting and bouncing of reads and writes; turns; checks of bounds and access
 *   store_space.c     zeros, discards, allocation
 */
#ifndef BYRE_STORE_STORE_IMPL_H
#define BYRE_STORE_STORE_IMPL_H

#include "base/rangelock.h"
#include "store/store.h"

/* What every request is a multiple of. */
static inline uint64_t byre_store_request_align(const struct byre_store *store)
{
    return store->limits.request_align > 1 ? store->limits.request_align : 1;
}

/* Reports that doing `verb` to a range failed with `code`; returns that. */
int byre_store_range_error(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length, int code,
                           struct byre_error *err);
/* May there be such a range? */
int byre_store_check_range(const struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                           struct byre_error *err);
/* May [hoff, hoff + length) be changed, or come into being? */
int byre_store_check_change(struct byre_store *store, const char *verb, uint64_t hoff, uint64_t length,
                            struct byre_error *err);

/* Moves the bytes of a range that was checked, in requests that the store takes.  `total` is the vector's length. */
int byre_store_transfer(struct byre_store *store, bool write, const char *verb, const struct iovec *iov,
                        int iov_count, uint64_t hoff, uint64_t total, struct byre_error *err);

/* Take and end the turn on the blocks of a range; nothing where any request is served as it is. */
void byre_store_turn_begin(struct byre_store *store, struct byre_range_hold *hold, uint64_t hoff, uint64_t length);
void byre_store_turn_end(struct byre_store *store, struct byre_range_hold *hold);

#endif
