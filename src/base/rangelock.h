/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lock over ranges of one address space: holders of disjoint ranges run side by side, holders of
 * overlapping ones take turns, in the order in which they asked.
 *
 * A lock record lives with its holder (on the stack): taking a range never allocates and never fails.
 * A thread that holds several ranges at once takes them in ascending order, or it may deadlock.
 */
#ifndef BYRE_BASE_RANGELOCK_H
#define BYRE_BASE_RANGELOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct byre_range_hold {
    uint64_t start, end; /* [start, end) */
    struct byre_range_hold *prev, *next;
};

struct byre_range_lock {
    pthread_mutex_t mutex;
    pthread_cond_t released;
    struct byre_range_hold *first, *last; /* holders and waiters, oldest first; under mutex */
};

void byre_range_lock_init(struct byre_range_lock *lock);
void byre_range_lock_done(struct byre_range_lock *lock);

/* Waits until no older overlapping hold is left.  `hold` stays in place until it is released. */
void byre_range_lock_acquire(struct byre_range_lock *lock, struct byre_range_hold *hold, uint64_t start,
                             uint64_t end);
void byre_range_lock_release(struct byre_range_lock *lock, struct byre_range_hold *hold);

/* Gives up the part of an owned hold from `end` on. */
void byre_range_lock_shrink(struct byre_range_lock *lock, struct byre_range_hold *hold, uint64_t end);

#endif
