/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Epochs: two counters that take turns.
 *
 * Why it is right.  `current` is only ever changed by read-modify-write operations, so each of them
 * synchronises with all that come later in its order.
 *   - byre_epoch_now is such an operation too.  A request that finds a later epoch than the tag therefore
 *     also sees the mapping as it is after the removal; a request that finds the tag or less is counted.
 *   - A request counts itself first and then looks again whether its epoch is still the current one.  Both
 *     are sequentially consistent, as are the advance and its look at the counters: either the request sees
 *     the advance and starts over, or the next advance sees the request.
 *   - Starting over leaves a count in the wrong slot for a moment.  That can only delay an advance.
 */
#include "config.h"

#include "base/epoch.h"

void byre_epoch_init(struct byre_epoch *epoch)
{
    atomic_init(&epoch->current, 0);
    atomic_init(&epoch->inside[0], 0);
    atomic_init(&epoch->inside[1], 0);
}

uint64_t byre_epoch_enter(struct byre_epoch *epoch)
{
    uint64_t now = atomic_load(&epoch->current);

    for (;;) {
        uint64_t again;

        atomic_fetch_add(&epoch->inside[now & 1], 1);
        again = atomic_load(&epoch->current);
        if (again == now)
            return now;
        atomic_fetch_sub(&epoch->inside[now & 1], 1);
        now = again;
    }
}

void byre_epoch_leave(struct byre_epoch *epoch, uint64_t ticket)
{
    atomic_fetch_sub(&epoch->inside[ticket & 1], 1);
}

uint64_t byre_epoch_now(struct byre_epoch *epoch)
{
    return atomic_fetch_add(&epoch->current, 0);
}

bool byre_epoch_passed(struct byre_epoch *epoch, uint64_t tag)
{
    for (;;) {
        uint64_t now = atomic_load(&epoch->current);

        if (now >= tag + 2)
            return true;
        /* The epoch before this one uses the slot that the next one is going to use. */
        if (atomic_load(&epoch->inside[(now + 1) & 1]) != 0)
            return false;
        atomic_compare_exchange_strong(&epoch->current, &now, now + 1);
    }
}
