/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A tally: how often each number was counted.
 *
 * For sets of numbers that are asked for far more often than changed, and that may be chosen by somebody hostile.
 * Numbers are multiples of BYRE_TALLY_UNIT, and not 0.  Not thread-safe.
 */
#ifndef BYRE_BASE_TALLY_H
#define BYRE_BASE_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define BYRE_TALLY_UNIT 128u

struct byre_tally {
    uint64_t *slots;   /* owned; NULL while nothing was ever counted */
    size_t used, size; /* size: a power of two, or 0 */
    uint64_t seed;
};

/* Makes room, so that the next `extra` calls of byre_tally_add cannot fail: 0 or -ENOMEM. */
int byre_tally_reserve(struct byre_tally *tally, size_t extra);
/* Counts `number` once more; at BYRE_TALLY_UNIT - 1 it stays for ever. */
void byre_tally_add(struct byre_tally *tally, uint64_t number);
/* Counts `number` once less; no effect if it is not there. */
void byre_tally_remove(struct byre_tally *tally, uint64_t number);
/* How often `number` is counted. */
unsigned byre_tally_count(const struct byre_tally *tally, uint64_t number);
/* Calls `each` with every number that is counted, in no order. */
void byre_tally_each(const struct byre_tally *tally, void (*each)(void *opaque, uint64_t number), void *opaque);
void byre_tally_done(struct byre_tally *tally);

#endif
