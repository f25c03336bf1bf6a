/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault-injecting store: passes everything on to the store below, and fails or waits where its rules say so.
 *
 * Rules, states and names are those of QEMU's blkdebug driver.
 */
#ifndef BYRE_STORE_BLKDEBUG_H
#define BYRE_STORE_BLKDEBUG_H

#include "base/vec.h"
#include "store/event.h"

/* Kinds of I/O that a rule may be limited to: a set. */
enum byre_iotype {
    BYRE_IOTYPE_READ = 1 << 0,
    BYRE_IOTYPE_WRITE = 1 << 1,
    BYRE_IOTYPE_WRITE_ZEROES = 1 << 2,
    BYRE_IOTYPE_DISCARD = 1 << 3,
    BYRE_IOTYPE_FLUSH = 1 << 4,
    BYRE_IOTYPE_BLOCK_STATUS = 1 << 5,
};

struct byre_inject_error {
    enum byre_event event;
    int state;           /* 0: in any */
    unsigned iotypes;    /* set of enum byre_iotype */
    int code;            /* negative errno */
    int64_t sector;      /* 512-byte sector that the request must contain; -1: any */
    bool once, immediately;
};

struct byre_set_state {
    enum byre_event event;
    int state, new_state;
};

struct byre_blkdebug_options {
    VEC(struct byre_inject_error) inject;
    VEC(struct byre_set_state) states;
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard, max_discard; /* 0: as below */
};

/* Adds the rules of a config file ("[inject-error]", "[set-state]", key = "value"). */
int byre_blkdebug_read_config(const char *path, struct byre_blkdebug_options *options, struct byre_error *err);
/* Checks limits as QEMU does: powers of two, multiples of align.  Called by byre_blkdebug_new. */
int byre_blkdebug_check(const struct byre_blkdebug_options *options, struct byre_error *err);
void byre_blkdebug_options_done(struct byre_blkdebug_options *options);

/* A store over `below`, which it takes over on success (and closes in the end).  Copies the options. */
int byre_blkdebug_new(struct byre_store *below, const struct byre_blkdebug_options *options,
                      struct byre_store **ret_store, struct byre_error *err);

/* Break points: who raises `event` next waits until byre_blkdebug_resume(tag).  -ENOTSUP on other stores. */
int byre_blkdebug_break(struct byre_store *store, const char *event, const char *tag);
int byre_blkdebug_remove_break(struct byre_store *store, const char *tag);
int byre_blkdebug_resume(struct byre_store *store, const char *tag);
bool byre_blkdebug_is_suspended(struct byre_store *store, const char *tag);
/* Waits until somebody is suspended there. */
int byre_blkdebug_wait_break(struct byre_store *store, const char *tag);

#endif
