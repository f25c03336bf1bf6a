/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options of a fault-injecting store: are they complete, do its limits go together, and what do they make of the
 * limits of the store below.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "base/arith.h"
#include "store/blkdebug_limits.h"

static int cannot_meet(const char *option, uint64_t value, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Cannot meet constraints with %s %" PRIu64, option, value);
}

/* A limit is a multiple of what it is a limit of. */
static int check_multiple(const char *option, uint64_t value, uint64_t of, struct byre_error *err)
{
    if (value >= INT_MAX || value % of != 0)
        return cannot_meet(option, value, err);
    return 0;
}

static int check_rules(const struct byre_blkdebug_options *options, struct byre_error *err)
{
    for (size_t i = 0; i < options->inject.len; i++) {
        if (options->inject.ptr[i].event == BYRE_BLKDEBUG_NO_EVENT)
            return byre_error_set(err, -EINVAL, "Missing event name for rule");
    }
    for (size_t i = 0; i < options->states.len; i++) {
        if (options->states.ptr[i].event == BYRE_BLKDEBUG_NO_EVENT)
            return byre_error_set(err, -EINVAL, "Missing event name for rule");
        if (options->states.ptr[i].new_state <= 0)
            return byre_error_set(err, -EINVAL, "Missing new_state for rule of event '%s'",
                                  byre_event_name(options->states.ptr[i].event));
    }
    return 0;
}

int byre_blkdebug_check_over(const struct byre_blkdebug_options *options, uint64_t align, struct byre_error *err)
{
    int rc = check_rules(options, err);

    if (rc < 0)
        return rc;
    if (options->align && (options->align >= INT_MAX || !byre_is_power_of_two(options->align)))
        return cannot_meet("align", options->align, err);
    align = MAX(MAX(align, options->align), (uint64_t)1);
    rc = check_multiple("max-transfer", options->max_transfer, align, err);
    if (rc == 0)
        rc = check_multiple("opt-write-zero", options->opt_write_zero, align, err);
    if (rc == 0)
        rc = check_multiple("max-write-zero", options->max_write_zero, MAX(align, options->opt_write_zero), err);
    if (rc == 0)
        rc = check_multiple("opt-discard", options->opt_discard, align, err);
    if (rc == 0)
        rc = check_multiple("max-discard", options->max_discard, MAX(align, options->opt_discard), err);
    return rc;
}

int byre_blkdebug_check(const struct byre_blkdebug_options *options, struct byre_error *err)
{
    return byre_blkdebug_check_over(options, 1, err);
}

struct byre_store_limits byre_blkdebug_limits(const struct byre_blkdebug_options *options,
                                              const struct byre_store_limits *below)
{
    struct byre_store_limits limits = *below;

    limits.request_align = (uint32_t)MAX(MAX(options->align, (uint64_t)below->request_align), (uint64_t)1);
    limits.max_transfer = (uint32_t)options->max_transfer;
    limits.max_write_zeroes = options->max_write_zero;
    limits.max_discard = options->max_discard;
    limits.zero_align = options->opt_write_zero ? (uint32_t)options->opt_write_zero
                                                : MAX(below->zero_align, limits.request_align);
    limits.discard_align = options->opt_discard ? (uint32_t)options->opt_discard
                                                : MAX(below->discard_align, limits.request_align);
    return limits;
}
