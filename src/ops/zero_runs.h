/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the runs of zeros in a buffer that are worth leaving out.
 */
#ifndef BYRE_OPS_ZERO_RUNS_H
#define BYRE_OPS_ZERO_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct byre_zero_rule {
    uint32_t grain;   /* the buffer is looked at in units of this, a power of two */
    uint32_t align;   /* runs are cut to multiples of this, a power of two and a multiple of `grain` */
    uint64_t min_run; /* shorter runs (before they are cut) count as data; 0: everything is data */
};

/* [start, end) within the buffer. */
struct byre_zero_run {
    size_t start, end;
};

/*
 * Finds the first run at or after `from`, a multiple of `grain`: false if there is none.  The start of the
 * buffer counts as aligned, and so does its end, however long it is.  A buffer that is zero as a whole is a
 * run whatever `min_run` says, 0 apart: how far it goes on is not known here.
 */
bool byre_zero_run_next(const struct byre_zero_rule *rule, const uint8_t *buf, size_t length, size_t from,
                        struct byre_zero_run *ret_run);

#endif
