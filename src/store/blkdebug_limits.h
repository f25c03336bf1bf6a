/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options of a fault-injecting store.  Private to blkdebug*.c.
 */
#ifndef BYRE_STORE_BLKDEBUG_LIMITS_H
#define BYRE_STORE_BLKDEBUG_LIMITS_H

#include "store/blkdebug.h"

/* Checks the options over a store whose requests are multiples of `align`. */
int byre_blkdebug_check_over(const struct byre_blkdebug_options *options, uint64_t align, struct byre_error *err);

/* The limits of a store with these options, which were checked.  What the store below cannot do at once is its own
 * wrappers' business; only what was asked for is a limit here. */
struct byre_store_limits byre_blkdebug_limits(const struct byre_blkdebug_options *options,
                                              const struct byre_store_limits *below);

#endif
