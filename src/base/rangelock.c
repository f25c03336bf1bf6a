/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The range lock: one list of holders and waiters in the order of their arrival.
 *
 * Invariants
 *   R1. A hold owns its range when no older hold of the list overlaps it; holds leave the list only when
 *       they are released, so a range that is owned stays owned.
 *   R2. A hold waits only for older ones, so waiting cannot go round in circles among single holds.
 * The list is as long as there are requests in flight, which is short: it is searched linearly.
 */
#include "config.h"

#include <stddef.h>

#include "base/rangelock.h"

void byre_range_lock_init(struct byre_range_lock *lock)
{
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->released, NULL);
    lock->first = lock->last = NULL;
}

void byre_range_lock_done(struct byre_range_lock *lock)
{
    pthread_cond_destroy(&lock->released);
    pthread_mutex_destroy(&lock->mutex);
}

static bool must_wait_locked(const struct byre_range_hold *hold)
{
    if (hold->start >= hold->end)
        return false;
    for (const struct byre_range_hold *older = hold->prev; older; older = older->prev) {
        if (older->start < older->end && older->start < hold->end && hold->start < older->end)
            return true;
    }
    return false;
}

void byre_range_lock_acquire(struct byre_range_lock *lock, struct byre_range_hold *hold, uint64_t start,
                             uint64_t end)
{
    hold->start = start;
    hold->end = end;
    hold->next = NULL;

    pthread_mutex_lock(&lock->mutex);
    hold->prev = lock->last;
    if (lock->last)
        lock->last->next = hold;
    else
        lock->first = hold;
    lock->last = hold;
    while (must_wait_locked(hold))
        pthread_cond_wait(&lock->released, &lock->mutex);
    pthread_mutex_unlock(&lock->mutex);
}

void byre_range_lock_release(struct byre_range_lock *lock, struct byre_range_hold *hold)
{
    pthread_mutex_lock(&lock->mutex);
    if (hold->prev)
        hold->prev->next = hold->next;
    else
        lock->first = hold->next;
    if (hold->next)
        hold->next->prev = hold->prev;
    else
        lock->last = hold->prev;
    /* Only younger holds can be waiting for this one. */
    if (hold->next)
        pthread_cond_broadcast(&lock->released);
    pthread_mutex_unlock(&lock->mutex);
}

void byre_range_lock_shrink(struct byre_range_lock *lock, struct byre_range_hold *hold, uint64_t end)
{
    pthread_mutex_lock(&lock->mutex);
    if (end < hold->end) {
        hold->end = end;
        if (hold->next)
            pthread_cond_broadcast(&lock->released);
    }
    pthread_mutex_unlock(&lock->mutex);
}
