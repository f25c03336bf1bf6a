/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of zeros.  Data costs one look at the first bytes of each grain; only zeros are read as a whole.
 */
#include "config.h"

#include "ops/zero_runs.h"

#include "base/arith.h"
#include "base/zero.h"

/* The end of the run of grains from `pos` on that are all zero (`zero`) or all not. */
static size_t run_end(const uint8_t *buf, size_t length, size_t pos, size_t grain, bool zero)
{
    while (pos < length && byre_is_zero(buf + pos, MIN(grain, length - pos)) == zero)
        pos += grain;
    return MIN(pos, length);
}

static bool long_enough(const struct byre_zero_rule *rule, const struct byre_zero_run *run, size_t length)
{
    return run->end - run->start >= rule->min_run || (run->start == 0 && run->end == length);
}

bool byre_zero_run_next(const struct byre_zero_rule *rule, const uint8_t *buf, size_t length, size_t from,
                        struct byre_zero_run *ret_run)
{
    struct byre_zero_run run = { from, from };

    if (!rule->min_run)
        return false;
    while (run.end < length) {
        run.start = run_end(buf, length, run.end, rule->grain, false);
        run.end = run_end(buf, length, run.start, rule->grain, true);
        if (run.start < run.end && long_enough(rule, &run, length)) {
            size_t start = byre_round_up(run.start, rule->align);
            size_t end = run.end == length ? length : byre_round_down(run.end, rule->align);

            if (start < end) {
                *ret_run = (struct byre_zero_run){ start, end };
                return true;
            }
        }
    }
    return false;
}
