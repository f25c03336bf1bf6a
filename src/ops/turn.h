/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking turns: threads that finish in any order do one step of their work in the order of numbers they drew.
 *
 * Whoever drew number n waits for it, does its step, and passes the turn on to n + 1.  Every number that was
 * drawn must be passed, or the turn stopped; stopping lets all waiters go at once.
 */
#ifndef BYRE_OPS_TURN_H
#define BYRE_OPS_TURN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct byre_turn {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint64_t next;  /* whose turn it is; under mutex */
    bool stopped;   /* under mutex */
};

void byre_turn_init(struct byre_turn *turn);
void byre_turn_done(struct byre_turn *turn);

/* Waits for the turn of `number`: true when it has come, false once the turn was stopped. */
bool byre_turn_wait(struct byre_turn *turn, uint64_t number);

/* Ends the turn of `number`, which has waited for it. */
void byre_turn_pass(struct byre_turn *turn, uint64_t number);

/* Nobody's turn will come any more.  Any thread, any time, also repeatedly. */
void byre_turn_stop(struct byre_turn *turn);

#endif
