/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Epochs: when may a freed host cluster be used again?
 *
 * A request enters before it maps and leaves when its I/O is done.  What was unmapped while the epoch was
 * `e` can no longer be reached by any request once the current epoch is at least `e + 2`.
 *
 * Invariants
 *   E1. Requests are only ever in the current epoch or the one before it.
 *   E2. The epoch advances only when the previous one is empty.
 * All calls are thread-safe and lock-free.
 */
#ifndef BYRE_BASE_EPOCH_H
#define BYRE_BASE_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct byre_epoch {
    _Atomic uint64_t current;
    _Atomic uint64_t inside[2]; /* requests, by parity of their epoch */
};

void byre_epoch_init(struct byre_epoch *epoch);

/* Enters the current epoch; returns the ticket for byre_epoch_leave. */
uint64_t byre_epoch_enter(struct byre_epoch *epoch);
void byre_epoch_leave(struct byre_epoch *epoch, uint64_t ticket);

/* The epoch to tag a free with; ask for it after the mapping was removed. */
uint64_t byre_epoch_now(struct byre_epoch *epoch);

/* Advances as far as possible; true if everything freed at `tag` is out of every request's reach. */
bool byre_epoch_passed(struct byre_epoch *epoch, uint64_t tag);

#endif
