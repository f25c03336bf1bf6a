/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker of a convert: takes items, reads them, and hands them to the writer for the target's format.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "ops/convert_job.h"

#define SECTOR 512u
#define BUFFER_ALIGN 4096u

static size_t clusters_per_cell(const struct byre_convert_job *job)
{
    return job->cell / job->cluster_size;
}

size_t byre_convert_worker_cost(const struct byre_convert_job *job)
{
    size_t cost = job->cell;

    if (job->qcow2)
        cost += clusters_per_cell(job) * (sizeof(struct byre_place) + sizeof(uint32_t));
    if (job->options->compress)
        cost += job->cell + clusters_per_cell(job) * sizeof(struct byre_qcow2_compressed);
    return cost;
}

static void worker_done(struct byre_convert_worker *worker)
{
    free(worker->in);
    free(worker->out);
    free(worker->places);
    free(worker->skip);
    free(worker->items);
    byre_codec_free(worker->codec);
}

static int worker_init(struct byre_convert_worker *worker, struct byre_convert_job *job,
                       struct byre_error *err)
{
    bool compress = job->options->compress;
    size_t clusters = clusters_per_cell(job);

    *worker = (struct byre_convert_worker){ .job = job };
    worker->in = aligned_alloc(BUFFER_ALIGN, job->cell);
    if (job->qcow2) {
        worker->places = calloc(clusters, sizeof *worker->places);
        worker->skip = calloc(clusters, sizeof *worker->skip);
    }
    if (compress) {
        worker->out = aligned_alloc(BUFFER_ALIGN, job->cell);
        worker->items = calloc(clusters, sizeof *worker->items);
    }
    if (!worker->in || (job->qcow2 && (!worker->places || !worker->skip)) ||
        (compress && (!worker->out || !worker->items)))
        return byre_error_set_errno(err, -ENOMEM, "could not make buffers for a copy");
    if (!compress)
        return 0;
    return byre_codec_new(byre_qcow2_header(job->qcow2)->compression, job->options->compress_level,
                          &worker->codec, err);
}

static void report_failure(struct byre_convert_job *job, int code, const struct byre_error *err)
{
    {
        LOCK_SCOPE(&job->report_mutex);
        if (!job->code) {
            job->code = code;
            job->error = *err;
        }
    }
    atomic_store(&job->stopped, true);
    byre_turn_stop(&job->turn);
}

static void report_done(struct byre_convert_job *job, uint64_t length)
{
    LOCK_SCOPE(&job->report_mutex);

    job->done += length;
    if (job->options->progress)
        job->options->progress(job->options->opaque, job->done, job->sources.size);
}

static void warn_unreadable(struct byre_convert_job *job, uint64_t goff, int code)
{
    char line[128];

    if (!job->options->warn)
        return;
    snprintf(line, sizeof line, "error while reading offset %" PRIu64 ": %s", goff, strerror(-code));
    LOCK_SCOPE(&job->report_mutex);
    job->options->warn(job->options->opaque, line);
}

/* Reads sector by sector; those that cannot be read become zeros. */
static void read_salvaging(struct byre_convert_worker *worker, const struct byre_plan_item *item)
{
    const struct byre_concat *sources = &worker->job->sources;
    size_t part;

    for (size_t at = 0; at < item->length; at += part) {
        int r;

        part = MIN(item->length - at, SECTOR);
        r = byre_concat_pread(sources, worker->in + at, part, item->goff + at, NULL);
        if (r < 0) {
            memset(worker->in + at, 0, part);
            warn_unreadable(worker->job, item->goff + at, r);
        }
    }
}

static int read_item(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                     struct byre_error *err)
{
    int r = byre_concat_pread(&worker->job->sources, worker->in, item->length, item->goff, err);

    if (r >= 0)
        return 0;
    if (worker->job->options->salvage) {
        read_salvaging(worker, item);
        return 0;
    }
    byre_error_prepend(err, "error while reading at byte %" PRIu64 ": ", item->goff);
    return r;
}

bool byre_convert_wait_turn(struct byre_convert_job *job, uint64_t number)
{
    if (job->options->out_of_order)
        return !atomic_load(&job->stopped);
    return byre_turn_wait(&job->turn, number);
}

void byre_convert_pass_turn(struct byre_convert_job *job, uint64_t number)
{
    if (!job->options->out_of_order)
        byre_turn_pass(&job->turn, number);
}

/* Zeros only change the map of a qcow2 target, which may take room for tables: so they take turns, too. */
static int zero_item(struct byre_convert_job *job, const struct byre_plan_item *item, uint64_t number,
                     struct byre_error *err)
{
    int r;

    if (job->qcow2 && !byre_convert_wait_turn(job, number))
        return -ECANCELED;
    r = byre_write_zeroes(job->target, item->goff, item->length, BYRE_WRITE_ZEROES_UNMAP, err);
    if (r >= 0 && job->qcow2)
        byre_convert_pass_turn(job, number);
    return r;
}

static int write_item(struct byre_convert_worker *worker, const struct byre_plan_item *item, uint64_t number,
                      struct byre_error *err)
{
    int r;

    if (item->kind == BYRE_PLAN_ZERO)
        r = zero_item(worker->job, item, number, err);
    else if (worker->job->qcow2)
        r = byre_convert_write_qcow2(worker, item, number, err);
    else
        r = byre_convert_write_raw(worker, item, err);
    if (r < 0 && r != -ECANCELED)
        byre_error_prepend(err, "error while writing at byte %" PRIu64 ": ", item->goff);
    return r;
}

/* Takes the next item: 1, or 0 if there is none.  Those that are to be left alone take no turn. */
static int take_item(struct byre_convert_job *job, struct byre_plan_item *ret_item, uint64_t *ret_number,
                     struct byre_error *err)
{
    LOCK_SCOPE(&job->plan_mutex);
    int r;

    if (atomic_load(&job->stopped))
        return 0;
    r = byre_plan_next(&job->plan, ret_item, err);
    if (r > 0 && ret_item->kind != BYRE_PLAN_LEAVE)
        *ret_number = job->numbered++;
    return r;
}

static int do_item(struct byre_convert_worker *worker, const struct byre_plan_item *item, uint64_t number,
                   struct byre_error *err)
{
    int r;

    if (item->kind == BYRE_PLAN_LEAVE)
        return 0;
    if (item->kind == BYRE_PLAN_COPY) {
        r = read_item(worker, item, err);
        if (r < 0)
            return r;
    }
    return write_item(worker, item, number, err);
}

static int work_on_items(struct byre_convert_worker *worker, struct byre_error *err)
{
    struct byre_plan_item item;
    uint64_t number = 0;
    int r;

    while ((r = take_item(worker->job, &item, &number, err)) > 0) {
        r = do_item(worker, &item, number, err);
        if (r < 0)
            return r;
        report_done(worker->job, item.length);
    }
    return r;
}

void byre_convert_work(void *opaque, unsigned index)
{
    struct byre_convert_job *job = opaque;
    struct byre_convert_worker worker;
    struct byre_error err = BYRE_ERROR_INIT;
    int r;

    (void)index;
    r = worker_init(&worker, job, &err);
    if (r >= 0)
        r = work_on_items(&worker, &err);
    if (r < 0 && r != -ECANCELED)
        report_failure(job, r, &err);
    worker_done(&worker);
}
