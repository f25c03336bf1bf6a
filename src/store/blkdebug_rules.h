/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of a fault-injecting store: states, errors that are in force, break points.  Private to blkdebug*.c.
 *
 * All calls are thread-safe.
 */
#ifndef BYRE_STORE_BLKDEBUG_RULES_H
#define BYRE_STORE_BLKDEBUG_RULES_H

#include <pthread.h>

#include "store/blkdebug.h"

struct byre_break_point {
    enum byre_event event;
    char *tag; /* owned */
};

/* A thread that waits; on its stack. */
struct byre_suspended;

struct byre_blkdebug_rules {
    pthread_mutex_t mutex; /* everything below */
    pthread_cond_t changed; /* somebody was suspended or resumed, or a break point was removed */
    int state;
    VEC(struct byre_inject_error) inject; /* `spent` rules have the event BYRE_BLKDEBUG_NO_EVENT */
    VEC(struct byre_set_state) states;
    size_t *active;        /* owned: indices into `inject`, in order, with room for all */
    size_t active_count;
    VEC(struct byre_break_point) breaks;
    struct byre_suspended *first, *last; /* who waits, oldest first */
    byre_blkdebug_watch *watch;
    void *watch_opaque;
};

/* Copies the rules; -ENOMEM. */
int byre_blkdebug_rules_init(struct byre_blkdebug_rules *rules, const struct byre_blkdebug_options *options);
void byre_blkdebug_rules_done(struct byre_blkdebug_rules *rules);

/* An event is about to happen. */
void byre_blkdebug_rules_event(struct byre_blkdebug_rules *rules, enum byre_event event);
/* 0, or the code that a request fails with. */
int byre_blkdebug_rules_apply(struct byre_blkdebug_rules *rules, enum byre_iotype iotype, uint64_t hoff,
                              uint64_t length);

int byre_blkdebug_rules_break(struct byre_blkdebug_rules *rules, enum byre_event event, const char *tag);
int byre_blkdebug_rules_remove_break(struct byre_blkdebug_rules *rules, const char *tag);
int byre_blkdebug_rules_resume(struct byre_blkdebug_rules *rules, const char *tag);
bool byre_blkdebug_rules_is_suspended(struct byre_blkdebug_rules *rules, const char *tag);
int byre_blkdebug_rules_wait(struct byre_blkdebug_rules *rules, const char *tag);

#endif
