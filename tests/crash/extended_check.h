/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A judge of images with extended L2 entries: no snapshots, no bitmaps, at most some MiB.
 */
#ifndef TESTS_CRASH_EXTENDED_CHECK_H
#define TESTS_CRASH_EXTENDED_CHECK_H

#include "store/store.h"

struct extended_result {
    unsigned corruptions, leaks;
};

/* Counts references, and compares them with the refcounts and the COPIED flags; looks at each entry's bits.  0, or a
 * negative errno: not read. */
int extended_check(struct byre_store *store, struct extended_result *ret_result);

#endif
