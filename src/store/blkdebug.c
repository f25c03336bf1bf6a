/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault-injecting store: every request asks the rules first, and then goes to the wrappers of the store below.
 *
 *   D1. A request that fails by a rule has not reached the store below.
 *   D2. Requests are within the limits: the wrappers above cut them, and a zeroing or discarding that is no multiple of
 *       the preferred size is refused, which the wrappers serve some other way.  So whoever looks from below sees the
 *       limits kept.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/iov.h"
#include "base/rangelock.h"
#include "store/blkdebug_limits.h"
#include "store/blkdebug_rules.h"

struct blkdebug {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_store *below;
    struct byre_range_lock turns;
    struct byre_blkdebug_rules rules;
    uint64_t opt_write_zero, opt_discard; /* at least 1 */
};

static struct blkdebug *blkdebug_of(struct byre_store *store)
{
    return (struct blkdebug *)store;
}

static int apply_iov(struct blkdebug *blkdebug, enum byre_iotype iotype, const struct iovec *iov, int iov_count,
                     uint64_t hoff)
{
    uint64_t length;

    if (!byre_iov_length(iov, iov_count, &length))
        return -EINVAL;
    return byre_blkdebug_rules_apply(&blkdebug->rules, iotype, hoff, length);
}

static int blkdebug_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r = apply_iov(blkdebug, BYRE_IOTYPE_READ, iov, iov_count, hoff);

    return r < 0 ? r : byre_store_preadv(blkdebug->below, iov, iov_count, hoff, NULL);
}

static int blkdebug_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r = apply_iov(blkdebug, BYRE_IOTYPE_WRITE, iov, iov_count, hoff);

    return r < 0 ? r : byre_store_pwritev(blkdebug->below, iov, iov_count, hoff, NULL);
}

static int blkdebug_flush(struct byre_store *store)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r = byre_blkdebug_rules_apply(&blkdebug->rules, BYRE_IOTYPE_FLUSH, 0, 0);

    return r < 0 ? r : byre_store_flush(blkdebug->below, NULL);
}

static int blkdebug_truncate(struct byre_store *store, uint64_t size)
{
    return byre_store_truncate(blkdebug_of(store)->below, size, NULL);
}

/* What does not fill a block at the end of a device cannot be reached. */
static int blkdebug_get_size(struct byre_store *store, uint64_t *ret_size)
{
    uint64_t size;
    int r = byre_store_size(blkdebug_of(store)->below, &size, NULL);

    if (r == 0)
        *ret_size = store->growable || store->read_only ? size : byre_round_down(size, store->limits.request_align);
    return r;
}

static int blkdebug_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r;

    if (hoff % blkdebug->opt_write_zero || length % blkdebug->opt_write_zero)
        return -ENOTSUP;
    r = byre_blkdebug_rules_apply(&blkdebug->rules, BYRE_IOTYPE_WRITE_ZEROES, hoff, length);
    return r < 0 ? r : byre_store_write_zeroes(blkdebug->below, hoff, length, flags | BYRE_ZERO_NO_FALLBACK, NULL);
}

static int blkdebug_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r;

    if (hoff % blkdebug->opt_discard || length % blkdebug->opt_discard)
        return -ENOTSUP;
    r = byre_blkdebug_rules_apply(&blkdebug->rules, BYRE_IOTYPE_DISCARD, hoff, length);
    return r < 0 ? r : byre_store_discard(blkdebug->below, hoff, length, NULL);
}

/* To take space in advance is a kind of write. */
static int blkdebug_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r = byre_blkdebug_rules_apply(&blkdebug->rules, BYRE_IOTYPE_WRITE, hoff, length);

    return r < 0 ? r : byre_store_allocate(blkdebug->below, hoff, length, NULL);
}

static int blkdebug_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    struct blkdebug *blkdebug = blkdebug_of(store);
    int r = byre_store_extent(blkdebug->below, hoff, ret_length, ret_hole, NULL);

    return r < 0 ? r : byre_blkdebug_rules_apply(&blkdebug->rules, BYRE_IOTYPE_BLOCK_STATUS, hoff, *ret_length);
}

static void blkdebug_event(struct byre_store *store, unsigned event)
{
    byre_blkdebug_rules_event(&blkdebug_of(store)->rules, event);
}

static void release(struct blkdebug *blkdebug)
{
    byre_blkdebug_rules_done(&blkdebug->rules);
    byre_range_lock_done(&blkdebug->turns);
    free(blkdebug->store.name);
    free(blkdebug);
}

static void blkdebug_close(struct byre_store *store)
{
    byre_store_close(blkdebug_of(store)->below);
    release(blkdebug_of(store));
}

static const struct byre_store_ops blkdebug_ops = {
    .kind = "blkdebug",
    .preadv = blkdebug_preadv,
    .pwritev = blkdebug_pwritev,
    .flush = blkdebug_flush,
    .truncate = blkdebug_truncate,
    .get_size = blkdebug_get_size,
    .write_zeroes = blkdebug_write_zeroes,
    .discard = blkdebug_discard,
    .allocate = blkdebug_allocate,
    .extent = blkdebug_extent,
    .event = blkdebug_event,
    .close = blkdebug_close,
};

void byre_blkdebug_options_done(struct byre_blkdebug_options *options)
{
    vec_done(&options->inject);
    vec_done(&options->states);
}

int byre_blkdebug_new(struct byre_store *below, const struct byre_blkdebug_options *options,
                      struct byre_store **ret_store, struct byre_error *err)
{
    struct blkdebug *blkdebug;
    int rc = byre_blkdebug_check_over(options, below->limits.request_align, err);

    if (rc < 0)
        return rc;
    blkdebug = calloc(1, sizeof *blkdebug);
    if (!blkdebug || byre_blkdebug_rules_init(&blkdebug->rules, options) < 0) {
        free(blkdebug);
        return byre_error_set_errno(err, -ENOMEM, "could not make a blkdebug store");
    }
    byre_range_lock_init(&blkdebug->turns);
    blkdebug->below = below;
    blkdebug->opt_write_zero = MAX(options->opt_write_zero, (uint64_t)1);
    blkdebug->opt_discard = MAX(options->opt_discard, (uint64_t)1);
    blkdebug->store = (struct byre_store){
        .ops = &blkdebug_ops,
        .limits = byre_blkdebug_limits(options, &below->limits),
        .name = strdup(below->name),
        .fd = -1,
        .read_only = below->read_only,
        .growable = below->growable,
    };
    if (!blkdebug->store.name) {
        release(blkdebug);
        return byre_error_set_errno(err, -ENOMEM, "could not make a blkdebug store");
    }
    if (blkdebug->store.limits.request_align > 1)
        blkdebug->store.turns = &blkdebug->turns;
    byre_blkdebug_rules_event(&blkdebug->rules, BYRE_EVENT_NONE);
    *ret_store = &blkdebug->store;
    return 0;
}

/* The rules of a store; NULL if it is of another kind. */
static struct byre_blkdebug_rules *rules_of(struct byre_store *store)
{
    return store->ops == &blkdebug_ops ? &blkdebug_of(store)->rules : NULL;
}

int byre_blkdebug_break(struct byre_store *store, const char *event, const char *tag)
{
    struct byre_blkdebug_rules *rules = rules_of(store);
    int number = byre_event_find(event);

    if (!rules)
        return -ENOTSUP;
    return number < 0 ? -ENOENT : byre_blkdebug_rules_break(rules, (enum byre_event)number, tag);
}

int byre_blkdebug_remove_break(struct byre_store *store, const char *tag)
{
    struct byre_blkdebug_rules *rules = rules_of(store);

    return rules ? byre_blkdebug_rules_remove_break(rules, tag) : -ENOTSUP;
}

int byre_blkdebug_resume(struct byre_store *store, const char *tag)
{
    struct byre_blkdebug_rules *rules = rules_of(store);

    return rules ? byre_blkdebug_rules_resume(rules, tag) : -ENOTSUP;
}

bool byre_blkdebug_is_suspended(struct byre_store *store, const char *tag)
{
    struct byre_blkdebug_rules *rules = rules_of(store);

    return rules && byre_blkdebug_rules_is_suspended(rules, tag);
}

int byre_blkdebug_wait_break(struct byre_store *store, const char *tag)
{
    struct byre_blkdebug_rules *rules = rules_of(store);

    return rules ? byre_blkdebug_rules_wait(rules, tag) : -ENOTSUP;
}

int byre_blkdebug_set_watch(struct byre_store *store, byre_blkdebug_watch *watch, void *opaque)
{
    struct byre_blkdebug_rules *rules = rules_of(store);

    if (!rules)
        return -ENOTSUP;
    rules->watch = watch;
    rules->watch_opaque = opaque;
    return 0;
}
