/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing to a raw target: data where it is, and nothing or a hole where zeros are.  No order is kept: where
 * bytes go depends on nothing else.
 */
#include "config.h"

#include "ops/convert_job.h"

int byre_convert_write_raw(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                           struct byre_error *err)
{
    struct byre_convert_job *job = worker->job;
    struct byre_zero_run zeros;
    size_t length = item->length;
    int r = 0;

    for (size_t at = 0; at < length; at = zeros.end) {
        if (!byre_zero_run_next(&job->zero_rule, worker->in, length, at, &zeros))
            zeros = (struct byre_zero_run){ length, length };
        if (zeros.start > at)
            r = byre_pwrite(job->target, worker->in + at, zeros.start - at, item->goff + at, err);
        if (r >= 0 && zeros.start < zeros.end && !job->zeros_are_there)
            r = byre_write_zeroes(job->target, item->goff + zeros.start, zeros.end - zeros.start,
                                  BYRE_WRITE_ZEROES_UNMAP, err);
        if (r < 0)
            return r;
    }
    return 0;
}
