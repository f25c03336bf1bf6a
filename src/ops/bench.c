/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bench: keeps a queue full until all requests are done.
 *
 *   B1. Writes share one buffer, reads have one each: nobody looks at what was read, but two threads may not write to
 *       the same bytes.
 *   B2. The warm-up is a run of its own, over when its last request is done.
 *   B3. A flush counts as one request of the depth.  Unless told otherwise it starts when the writes before it are
 *       done, and no write starts before it is.
 */
#include "config.h"

#include "byre/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "base/cleanup.h"

#define WORKERS 16
#define BATCH 64
#define ALIGN 4096

/* What a request under way needs. */
struct place {
    struct place *next; /* of those that are idle */
    struct iovec iov;
    struct byre_error err;
};

struct bench {
    const struct byre_bench_options *options;
    struct byre_queue *queue;
    struct place *places, *idle; /* one for each of the depth */
    uint64_t size, goff;       /* of the disk; of the next request */
    uint64_t count;            /* requests of this run */
    uint64_t started, finished;
    uint64_t unflushed;        /* writes since the last flush */
    bool flushing;
    struct byre_error flush_err, err;
};

static const char flush_cookie[] = "flush";

static void make_idle(struct bench *bench, struct place *place)
{
    place->next = bench->idle;
    bench->idle = place;
}

static bool flush_is_due(const struct bench *bench)
{
    uint64_t interval = bench->options->flush_interval;

    return interval && bench->unflushed >= interval;
}

static uint64_t under_way(const struct bench *bench)
{
    return byre_queue_pending(bench->queue);
}

static void start_flush(struct bench *bench)
{
    const struct byre_request request = { .op = BYRE_OP_FLUSH, .cookie = (void *)flush_cookie,
                                          .err = &bench->flush_err };

    bench->flushing = true;
    bench->unflushed = 0;
    byre_queue_submit(bench->queue, &request, 1);
}

/* Where the next one starts.  One that would pass the end of the disk fails. */
static void advance(struct bench *bench)
{
    bench->goff = bench->size ? (bench->goff + bench->options->step) % bench->size : 0;
}

/* Starts as many requests as there is room for, or the next flush is away. */
static void start_some(struct bench *bench)
{
    const struct byre_bench_options *options = bench->options;
    struct byre_request requests[BATCH];
    unsigned count = 0, room = MIN(options->depth - (unsigned)under_way(bench), (unsigned)BATCH);

    while (count < room && bench->started < bench->count && !flush_is_due(bench)) {
        struct place *place = bench->idle;

        bench->idle = place->next;
        requests[count++] = (struct byre_request){
            .op = options->write ? BYRE_OP_WRITE : BYRE_OP_READ, .goff = bench->goff, .length = options->buffer_size,
            .iov = &place->iov, .iov_count = 1, .err = &place->err, .cookie = place,
        };
        advance(bench);
        bench->started++;
        bench->unflushed += options->write;
    }
    byre_queue_submit(bench->queue, requests, count);
}

static int end_one(struct bench *bench, const struct byre_completion *done)
{
    bool is_flush = done->cookie == flush_cookie;
    struct place *place = is_flush ? NULL : done->cookie;

    if (done->result < 0) {
        bench->err = is_flush ? bench->flush_err : place->err;
        return done->result;
    }
    if (is_flush) {
        bench->flushing = false;
    } else {
        bench->finished++;
        make_idle(bench, place);
    }
    return 0;
}

static int reap_some(struct bench *bench)
{
    struct byre_completion done[BATCH];
    unsigned count = byre_queue_reap(bench->queue, done, BATCH, 1, -1);
    int r = 0;

    for (unsigned i = 0; r == 0 && i < count; i++)
        r = end_one(bench, &done[i]);
    return r;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Runs `count` requests; *ret_nanoseconds is how long they took. */
static int run(struct bench *bench, uint64_t count, uint64_t *ret_nanoseconds)
{
    const struct byre_bench_options *options = bench->options;
    uint64_t start = now_ns();
    int r = 0;

    bench->count = count;
    bench->goff = options->offset;
    bench->started = bench->finished = bench->unflushed = 0;
    while (r == 0 && (bench->finished < bench->count || bench->flushing)) {
        bool wait = bench->flushing && !options->no_drain;

        if (flush_is_due(bench) && !bench->flushing && (options->no_drain || under_way(bench) == 0))
            start_flush(bench);
        else if (!flush_is_due(bench) && !wait)
            start_some(bench);
        r = reap_some(bench);
    }
    byre_queue_drain(bench->queue);
    *ret_nanoseconds = now_ns() - start;
    return r;
}

static int check_options(const struct byre_disk *disk, const struct byre_bench_options *options,
                         struct byre_error *err)
{
    if (options->flush_interval && !options->write)
        return byre_error_set(err, -EINVAL, "--flush-interval is only available in write tests");
    if (options->flush_interval && options->flush_interval < options->depth)
        return byre_error_set(err, -EINVAL, "Flush interval can't be smaller than depth");
    if (options->buffer_size > byre_get_size(disk))
        return byre_error_set(err, -EINVAL, "a request of %" PRIu32 " bytes does not fit a disk of %" PRIu64 " bytes",
                              options->buffer_size, byre_get_size(disk));
    return 0;
}

static int run_with_queue(struct byre_disk *disk, struct byre_workers *workers, struct bench *bench,
                          struct byre_bench_times *ret_times, struct byre_error *err)
{
    const struct byre_queue_options options = { .depth = bench->options->depth, .aio = bench->options->aio };
    struct byre_bench_times times = { 0, 0 };
    int r = byre_queue_new(disk, workers, &options, &bench->queue, err);

    if (r < 0)
        return r;
    if (bench->options->warm_up)
        r = run(bench, bench->options->warm_up, &times.warm_up);
    if (r == 0)
        r = run(bench, bench->options->count, &times.run);
    byre_queue_free(bench->queue);
    if (r == 0)
        *ret_times = times;
    if (r < 0 && err)
        *err = bench->err;
    return r;
}

/* Makes the places; their buffers are parts of one, which is the caller's, as they are. */
static int make_places(struct bench *bench, uint8_t **ret_buffer, struct byre_error *err)
{
    const struct byre_bench_options *options = bench->options;
    size_t room = MAX(byre_round_up(options->buffer_size, ALIGN), (uint64_t)ALIGN);
    size_t count = options->write ? 1 : MAX(options->depth, 1u);
    uint8_t *buffer = room > SIZE_MAX / 2 / MAX(count, (size_t)1) ? NULL : aligned_alloc(ALIGN, room * count);

    bench->places = calloc(options->depth, sizeof *bench->places);
    *ret_buffer = buffer;
    if (!buffer || !bench->places)
        return byre_error_set_errno(err, -ENOMEM, "could not allocate %zu buffers of %" PRIu32 " bytes", count,
                                    options->buffer_size);
    memset(buffer, options->pattern, room * count);
    for (unsigned i = 0; i < options->depth; i++) {
        bench->places[i].iov = (struct iovec){ buffer + i % count * room, options->buffer_size };
        make_idle(bench, &bench->places[i]);
    }
    return 0;
}

int byre_bench(struct byre_disk *disk, const struct byre_bench_options *options, struct byre_bench_times *ret_times,
               struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *buffer = NULL;
    struct byre_workers *workers;
    struct bench bench = {
        .options = options,
        .size = byre_get_size(disk),
    };
    int r = check_options(disk, options, err);

    if (r == 0)
        r = make_places(&bench, &buffer, err);
    if (r == 0)
        r = byre_workers_new(WORKERS, &workers, err);
    if (r == 0) {
        r = run_with_queue(disk, workers, &bench, ret_times, err);
        byre_workers_free(workers);
    }
    free(bench.places);
    return r;
}
