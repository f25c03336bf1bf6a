/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate: a count of those inside, and a flag.
 *
 * Why it is right.  Who enters counts himself and then looks at the flag; who closes sets the flag and then looks at
 * the count.  All four are sequentially consistent, so that one of the two sees the other.
 */
#include "config.h"

#include "base/gate.h"

#include "base/cleanup.h"

void byre_gate_init(struct byre_gate *gate)
{
    atomic_init(&gate->inside, 0);
    atomic_init(&gate->closed, false);
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void byre_gate_done(struct byre_gate *gate)
{
    pthread_mutex_destroy(&gate->mutex);
    pthread_cond_destroy(&gate->changed);
}

bool byre_gate_try_enter(struct byre_gate *gate)
{
    atomic_fetch_add(&gate->inside, 1);
    if (!atomic_load(&gate->closed))
        return true;
    byre_gate_leave(gate);
    return false;
}

void byre_gate_enter(struct byre_gate *gate)
{
    while (!byre_gate_try_enter(gate)) {
        LOCK_SCOPE(&gate->mutex);
        while (atomic_load(&gate->closed))
            pthread_cond_wait(&gate->changed, &gate->mutex);
    }
}

void byre_gate_leave(struct byre_gate *gate)
{
    if (atomic_fetch_sub(&gate->inside, 1) == 1 && atomic_load(&gate->closed)) {
        LOCK_SCOPE(&gate->mutex);
        pthread_cond_broadcast(&gate->changed);
    }
}

void byre_gate_close(struct byre_gate *gate)
{
    LOCK_SCOPE(&gate->mutex);

    while (atomic_load(&gate->closed))
        pthread_cond_wait(&gate->changed, &gate->mutex);
    atomic_store(&gate->closed, true);
    while (atomic_load(&gate->inside))
        pthread_cond_wait(&gate->changed, &gate->mutex);
}

void byre_gate_open(struct byre_gate *gate)
{
    LOCK_SCOPE(&gate->mutex);

    atomic_store(&gate->closed, false);
    pthread_cond_broadcast(&gate->changed);
}
