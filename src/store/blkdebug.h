/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault-injecting store: passes everything on to the store below, and fails or waits where its rules say so.
 *
 * Rules, states and names are those of QEMU's blkdebug driver; byre-blkdebug(7) describes them.
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

/* Where no event was named. */
#define BYRE_BLKDEBUG_NO_EVENT BYRE_EVENT_COUNT

/* From its event on, requests of some kinds fail. */
struct byre_inject_error {
    enum byre_event event;
    int state;           /* 0: in any */
    unsigned iotypes;    /* set of enum byre_iotype */
    int code;            /* negative errno; 0: nothing fails */
    int64_t sector;      /* 512-byte sector that the request must contain; -1: any */
    bool once, immediately;
};

/* With its event the state changes. */
struct byre_set_state {
    enum byre_event event;
    int state, new_state; /* 0: in any; new_state is at least 1 */
};

struct byre_blkdebug_options {
    VEC(struct byre_inject_error) inject;
    VEC(struct byre_set_state) states;
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard, max_discard; /* 0: as below */
};

/* Rules without an event, and with QEMU's defaults: -EIO, for all kinds but block-status. */
struct byre_inject_error byre_inject_error_init(void);
struct byre_set_state byre_set_state_init(void);
/* Sets the field of this name ("event", "iotype", "once", ...) to what the text says: -EINVAL names both. */
int byre_inject_error_set(struct byre_inject_error *rule, const char *field, const char *value,
                          struct byre_error *err);
int byre_set_state_set(struct byre_set_state *rule, const char *field, const char *value, struct byre_error *err);

/* Adds the rules of a config file ("[inject-error]", "[set-state]", key = "value"); errors name file and line, and
 * rules from before them stay added. */
int byre_blkdebug_read_config(const char *path, struct byre_blkdebug_options *options, struct byre_error *err);
/* Checks that rules are complete, and limits as QEMU does: powers of two, multiples of align.  Called by
 * byre_blkdebug_new. */
int byre_blkdebug_check(const struct byre_blkdebug_options *options, struct byre_error *err);
void byre_blkdebug_options_done(struct byre_blkdebug_options *options);

/* A store over `below`, which it takes over on success (and closes in the end).  Copies the options.  Its name is that
 * of `below`. */
int byre_blkdebug_new(struct byre_store *below, const struct byre_blkdebug_options *options,
                      struct byre_store **ret_store, struct byre_error *err);

/*
 * Break points: who raises `event` next waits until byre_blkdebug_resume(tag), and the break point is gone.  Several
 * may have one tag.  -ENOTSUP on other stores.
 */

/* -ENOENT: there is no such event. */
int byre_blkdebug_break(struct byre_store *store, const char *event, const char *tag);
/* Removes the break points with the tag, and resumes everybody who waits there; -ENOENT if none was left. */
int byre_blkdebug_remove_break(struct byre_store *store, const char *tag);
/* Resumes one, the one that has waited longest; -ENOENT if nobody does. */
int byre_blkdebug_resume(struct byre_store *store, const char *tag);
bool byre_blkdebug_is_suspended(struct byre_store *store, const char *tag);
/* Waits until somebody is suspended there; -ENOENT if nobody is and there is no such break point. */
int byre_blkdebug_wait_break(struct byre_store *store, const char *tag);

/* Called when one is suspended, from its thread, and when it is resumed, from that of who resumes it; no call for the
 * store may be made from here.  Set before there are break points. */
typedef void byre_blkdebug_watch(void *opaque, const char *tag, bool suspended);
int byre_blkdebug_set_watch(struct byre_store *store, byre_blkdebug_watch *watch, void *opaque);

#endif
