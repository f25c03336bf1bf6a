/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compare: workers read what the plan could not settle, and the first finding on the disk is the result.
 *
 *   C1. Items are taken in ascending order under `mutex`, and none is taken once there is a finding.
 *       So all that lies before a finding has been taken, and when everybody is done the lowest finding is
 *       the first.
 */
#include "config.h"

#include "byre/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/zero.h"
#include "ops/compare_plan.h"
#include "ops/crew.h"

#define SECTOR 512u
#define BUFFER_ALIGN 4096u
#define WORKERS_BUDGET (32u << 20)

struct finding {
    uint64_t goff;
    enum byre_compare_outcome outcome; /* not SAME, unless code < 0 */
    int code;                          /* of an error, or 0 */
    int failed_disk;
    bool map_failed;
};

struct compare_job {
    const struct byre_compare_options *options;
    struct byre_disk *disks[2];
    pthread_mutex_t mutex;
    struct byre_pair_plan plan; /* under mutex, as all below */
    uint64_t done;
    bool found;
    struct finding finding;
    struct byre_error error;
};

static void report_finding(struct compare_job *job, const struct finding *finding,
                           const struct byre_error *err)
{
    LOCK_SCOPE(&job->mutex);

    if (job->found && job->finding.goff <= finding->goff)
        return;
    job->found = true;
    job->finding = *finding;
    job->error = *err;
}

static void report_done(struct compare_job *job, uint64_t length)
{
    LOCK_SCOPE(&job->mutex);

    job->done += length;
    if (job->options->progress)
        job->options->progress(job->options->opaque, job->done, job->plan.end);
}

/* The first sector where the buffers differ, or where `a` is not zero (`b` NULL): false if there is none. */
static bool first_difference(const uint8_t *a, const uint8_t *b, size_t length, size_t *ret_at)
{
    for (size_t at = 0; at < length; at += SECTOR) {
        size_t part = MIN(length - at, (size_t)SECTOR);

        if (b ? memcmp(a + at, b + at, part) != 0 : !byre_is_zero(a + at, part)) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

static bool differ(const uint8_t *a, const uint8_t *b, size_t length, size_t *ret_at)
{
    if (b ? memcmp(a, b, length) == 0 : byre_is_zero(a, length))
        return false;
    return first_difference(a, b, length, ret_at);
}

static int read_side(struct compare_job *job, unsigned side, const struct byre_pair_item *item, uint8_t *buf,
                     struct finding *finding, struct byre_error *err)
{
    int r = byre_pread(job->disks[side], buf, item->length, item->goff, err);

    if (r >= 0)
        return 0;
    byre_error_prepend(err, "Error while reading offset %" PRIu64 " of %s: ", item->goff,
                       byre_layer_name(job->disks[side], 0));
    *finding = (struct finding){ .goff = item->goff, .code = r, .failed_disk = (int)side + 1 };
    return r;
}

/* True if there is something to report. */
static bool compare_item(struct compare_job *job, const struct byre_pair_item *item, uint8_t *const bufs[2],
                         struct finding *finding, struct byre_error *err)
{
    const uint8_t *read[2] = { NULL, NULL };
    unsigned count = 0;
    size_t at;

    if (item->kind == BYRE_PAIR_UNLIKE) {
        *finding = (struct finding){ .goff = item->goff, .outcome = BYRE_COMPARE_ALLOCATION };
        return true;
    }
    for (unsigned side = 0; side < 2; side++) {
        if (!((unsigned)item->kind & (side ? BYRE_PAIR_READ_SECOND : BYRE_PAIR_READ_FIRST)))
            continue;
        if (read_side(job, side, item, bufs[count], finding, err) < 0)
            return true;
        read[count] = bufs[count];
        count++;
    }
    if (!count || !differ(read[0], read[1], item->length, &at))
        return false;
    *finding = (struct finding){ .goff = item->goff + at, .outcome = BYRE_COMPARE_CONTENT };
    return true;
}

/* 1, or 0 if no item is left; a failure is reported here, and nothing is left either. */
static int take_item(struct compare_job *job, struct byre_pair_item *ret_item)
{
    struct finding finding = { .map_failed = true };
    struct byre_error err = BYRE_ERROR_INIT;

    {
        LOCK_SCOPE(&job->mutex);
        if (job->found)
            return 0;
        finding.code = byre_pair_plan_next(&job->plan, ret_item, &err);
        if (finding.code >= 0)
            return finding.code;
        finding.goff = job->plan.goff;
        finding.failed_disk = job->plan.failed;
    }
    report_finding(job, &finding, &err);
    return 0;
}

static void compare_items(struct compare_job *job, uint8_t *const bufs[2])
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_pair_item item;
    struct finding finding;

    while (take_item(job, &item) > 0) {
        if (compare_item(job, &item, bufs, &finding, &err))
            report_finding(job, &finding, &err);
        else
            report_done(job, item.length);
    }
}

static void work(void *opaque, unsigned index)
{
    struct compare_job *job = opaque;
    CLEANUP(free_ptr) uint8_t *a = aligned_alloc(BUFFER_ALIGN, BYRE_PAIR_CELL);
    CLEANUP(free_ptr) uint8_t *b = aligned_alloc(BUFFER_ALIGN, BYRE_PAIR_CELL);

    (void)index;
    if (a && b) {
        compare_items(job, (uint8_t *const[2]){ a, b });
    } else {
        struct finding finding = { .code = -ENOMEM };
        struct byre_error err;

        byre_error_set_errno(&err, -ENOMEM, "could not make buffers for a comparison");
        report_finding(job, &finding, &err);
    }
}

static int run(struct compare_job *job, struct byre_compare_result *result, struct byre_error *err)
{
    unsigned size = byre_crew_size(job->options->threads, WORKERS_BUDGET, 2 * BYRE_PAIR_CELL);
    int r = byre_crew_run(size, work, job, err);

    if (r < 0 || !job->found)
        return r;
    result->goff = job->finding.goff;
    if (job->finding.code >= 0) {
        result->outcome = job->finding.outcome;
        return 0;
    }
    result->failed_disk = job->finding.failed_disk;
    result->map_failed = job->finding.map_failed;
    if (err)
        *err = job->error;
    return job->finding.code;
}

int byre_compare(struct byre_disk *a, struct byre_disk *b, const struct byre_compare_options *options,
                 struct byre_compare_result *ret_result, struct byre_error *err)
{
    struct compare_job job = { .options = options, .disks = { a, b } };
    bool sizes_differ = byre_get_size(a) != byre_get_size(b);
    int r;

    *ret_result = (struct byre_compare_result){ .outcome = BYRE_COMPARE_SAME, .sizes_differ = sizes_differ };
    if (options->strict && sizes_differ) {
        ret_result->outcome = BYRE_COMPARE_SIZE;
        ret_result->goff = MIN(byre_get_size(a), byre_get_size(b));
        return 0;
    }
    pthread_mutex_init(&job.mutex, NULL);
    r = byre_pair_plan_init(&job.plan, a, b, options->strict, err);
    if (r >= 0)
        r = run(&job, ret_result, err);
    byre_pair_plan_done(&job.plan);
    pthread_mutex_destroy(&job.mutex);
    return r;
}
