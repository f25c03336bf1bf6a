/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A gate: many are inside at a time, until one closes it and has all to himself.
 *
 * To go in and out costs one atomic operation each while the gate is open.  Thread-safe; not recursive: who is inside
 * must not go in again, for somebody may be closing the gate meanwhile.
 */
#ifndef BYRE_BASE_GATE_H
#define BYRE_BASE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct byre_gate {
    atomic_uint inside;
    atomic_bool closed;     /* changed under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* opened, or the last one has left a closed gate */
};

void byre_gate_init(struct byre_gate *gate);
void byre_gate_done(struct byre_gate *gate);

/* Waits while the gate is closed. */
void byre_gate_enter(struct byre_gate *gate);
/* Does not wait: false if the gate is closed, and the caller is not inside. */
bool byre_gate_try_enter(struct byre_gate *gate);
void byre_gate_leave(struct byre_gate *gate);

/* Keeps everybody out, and waits until all have left.  One at a time. */
void byre_gate_close(struct byre_gate *gate);
void byre_gate_open(struct byre_gate *gate);

static inline void byre_cleanup_gate(struct byre_gate **gate)
{
    byre_gate_leave(*gate);
}

/* Inside until the end of the enclosing scope. */
#define GATE_SCOPE(gate_) \
    __attribute__((unused, cleanup(byre_cleanup_gate))) struct byre_gate *gate_scope_ = (gate_); \
    byre_gate_enter(gate_scope_)

#endif
