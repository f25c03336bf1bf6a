/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turns over one mutex and one condition.  There are few waiters (at most one a worker), so everybody is
 * woken and looks.
 *
 *   T1. `next` grows by one for each number passed; nobody but the holder of `next` passes.
 */
#include "config.h"

#include "ops/turn.h"

#include <assert.h>

#include "base/cleanup.h"

void byre_turn_init(struct byre_turn *turn)
{
    pthread_mutex_init(&turn->mutex, NULL);
    pthread_cond_init(&turn->moved, NULL);
    turn->next = 0;
    turn->stopped = false;
}

void byre_turn_done(struct byre_turn *turn)
{
    pthread_cond_destroy(&turn->moved);
    pthread_mutex_destroy(&turn->mutex);
}

bool byre_turn_wait(struct byre_turn *turn, uint64_t number)
{
    LOCK_SCOPE(&turn->mutex);

    while (turn->next != number && !turn->stopped)
        pthread_cond_wait(&turn->moved, &turn->mutex);
    return !turn->stopped;
}

void byre_turn_pass(struct byre_turn *turn, uint64_t number)
{
    LOCK_SCOPE(&turn->mutex);

    assert(turn->next == number);
    turn->next++;
    pthread_cond_broadcast(&turn->moved);
}

void byre_turn_stop(struct byre_turn *turn)
{
    LOCK_SCOPE(&turn->mutex);

    turn->stopped = true;
    pthread_cond_broadcast(&turn->moved);
}
