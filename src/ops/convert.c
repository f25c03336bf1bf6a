/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convert: checks what was asked for, sets the job up, lets the crew work, and tells the result.
 */
#include "config.h"

#include "byre/convert.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "disk/disk.h"
#include "ops/convert_job.h"
#include "ops/crew.h"

#define CELL (1u << 20)
#define RAW_GRAIN 4096u                /* file systems keep holes in blocks of this */
#define WORKERS_BUDGET (32u << 20)     /* bytes of buffers, all workers together */

static int check_request(const struct byre_convert_job *job, struct byre_error *err)
{
    if (job->sources.size > byre_get_size(job->target))
        return byre_error_set(err, -EINVAL, "output file is smaller than input file");
    for (unsigned i = 0; i < job->sources.count; i++) {
        if (job->sources.disks[i] == job->target)
            return byre_error_set(err, -EINVAL, "the target is one of the sources");
    }
    if (job->options->compress && !job->qcow2)
        return byre_error_set(err, -ENOTSUP, "Compression not supported for this file format");
    if (job->options->compress && job->target->layers[0].data_name)
        return byre_error_set(err, -ENOTSUP, "Compression not supported with an external data file");
    if (job->options->compress && byre_qcow2_header(job->qcow2)->crypt_method)
        return byre_error_set(err, -ENOTSUP, "Compression and encryption not supported at the same time");
    return 0;
}

/* A block device that is made a raw image keeps what was on it; where nothing was written LUKS shows noise. */
static bool is_new_device(const struct byre_disk *target)
{
    const struct byre_layer *top = &target->layers[0];

    return target->unsealed && !top->qcow2 && (!top->store->growable || !top->store->limits.zero_on_grow);
}

/* Does a raw data file keep what it has in subclusters that are not written? */
static bool shows_what_is_skipped(const struct byre_convert_job *job)
{
    return !job->zeros_are_there && byre_qcow2_header(job->qcow2)->autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
}

static void job_init_target(struct byre_convert_job *job)
{
    const struct byre_convert_options *options = job->options;

    job->qcow2 = job->target->layers[0].qcow2;
    job->cluster_size = job->qcow2 ? 1u << byre_qcow2_header(job->qcow2)->cluster_bits : RAW_GRAIN;
    job->cell = MAX(CELL, job->cluster_size);
    job->zeros_are_there = options->target_is_zero && !options->target_has_backing &&
                           !is_new_device(job->target) && !job->target->kept_data;
    job->zero_rule = (struct byre_zero_rule){
        .grain = MIN(job->cluster_size, RAW_GRAIN),
        .align = job->cluster_size,
        .min_run = options->sparse_size,
    };
    if (!job->qcow2 || byre_qcow2_subcluster_size(job->qcow2) == job->cluster_size || shows_what_is_skipped(job))
        return;
    job->subcluster_size = byre_qcow2_subcluster_size(job->qcow2);
    job->skip_rule = job->zero_rule;
    job->skip_rule.grain = MIN(job->subcluster_size, RAW_GRAIN);
    job->skip_rule.align = job->subcluster_size;
    /* The host cluster is taken in any case: it is no more in pieces for it. */
    job->skip_rule.min_run = MIN(options->sparse_size, (uint64_t)RAW_GRAIN);
}

static void job_init_plan(struct byre_convert_job *job)
{
    const struct byre_convert_options *options = job->options;

    byre_plan_init(&job->plan, &job->sources, &(struct byre_plan_options){
        .align = job->cluster_size,
        .cell = job->cell,
        .copy_zeros = options->sparse_size == 0,
        .zeros_are_there = job->zeros_are_there,
        .target_has_backing = options->target_has_backing,
        .source_layers = MAX(options->source_layers, 1u),
        .salvage = options->salvage,
        .warn = options->warn,
        .opaque = options->opaque,
    });
}

static void job_done(struct byre_convert_job *job)
{
    byre_plan_done(&job->plan);
    byre_turn_done(&job->turn);
    pthread_mutex_destroy(&job->report_mutex);
    pthread_mutex_destroy(&job->plan_mutex);
    byre_concat_done(&job->sources);
}

static int job_init(struct byre_convert_job *job, struct byre_disk *const *sources, unsigned source_count,
                    struct byre_error *err)
{
    int r = byre_concat_init(&job->sources, sources, source_count, err);

    if (r < 0)
        return r;
    pthread_mutex_init(&job->plan_mutex, NULL);
    pthread_mutex_init(&job->report_mutex, NULL);
    byre_turn_init(&job->turn);
    job_init_target(job);
    job_init_plan(job);
    r = check_request(job, err);
    if (r < 0)
        job_done(job);
    return r;
}

/* Tells the engine to append while the copy runs: then the layout follows from the order of reservations. */
static int run_crew(struct byre_convert_job *job, struct byre_error *err)
{
    unsigned size = byre_crew_size(job->options->threads, WORKERS_BUDGET, byre_convert_worker_cost(job));
    int r;

    if (job->qcow2)
        byre_qcow2_set_append_only(job->qcow2, true);
    r = byre_crew_run(size, byre_convert_work, job, err);
    if (job->qcow2)
        byre_qcow2_set_append_only(job->qcow2, false);
    return r;
}

int byre_convert(struct byre_disk *const *sources, unsigned source_count, struct byre_disk *target,
                 const struct byre_convert_options *options, struct byre_error *err)
{
    struct byre_convert_options own = *options;
    struct byre_convert_job job = { .options = &own, .target = target };
    int r;

    own.compress |= target->compress;
    r = job_init(&job, sources, source_count, err);

    if (r < 0)
        return r;
    r = run_crew(&job, err);
    if (r >= 0 && job.code < 0) {
        r = job.code;
        if (err)
            *err = job.error;
    }
    job_done(&job);
    return r;
}
