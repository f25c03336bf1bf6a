/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring of batches: each is a run of neighbouring tables, one request for one thread.  The caller works on
 * the oldest one while the others are read.  Few tables are read by the caller itself.
 *
 * Invariants
 *   A1. Batches from `oldest` on, `started` of them, are in order; only the caller changes the two.
 *   A2. A batch belongs to its thread until `done` (under the mutex); then to the caller.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/pool.h"
#include "qcow2/check_ahead.h"

#define BATCH_BYTES (256u << 10) /* or a cluster; this much stays in a processor's cache */
#define BATCHES     6u
#define THREADS_MAX 4u
#define THREADS_PAY (2u << 20) /* bytes of tables from which on threads are worth their start */

struct batch {
    struct byre_job job;
    struct byre_check_ahead *ahead;
    struct byre_check_reader reader;
    uint64_t hoff;
    size_t first, count; /* tables */
    uint8_t *bytes;
    uint64_t stored_before;
    bool empty, done;
    int rc;
    struct byre_error err;
};

struct byre_check_ahead {
    struct byre_check_reader *reader;
    byre_check_place *place;
    void *opaque;
    uint32_t cluster_size;
    size_t total, next; /* tables; the first one that no batch has */
    size_t batch_tables;
    struct byre_pool *pool; /* NULL: the caller reads */
    unsigned ring;                   /* batches: one where the caller reads */
    unsigned oldest, started, taken; /* `taken`: tables of the oldest batch that were handed out */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct batch batches[BATCHES];
};

static void read_batch(struct batch *batch)
{
    batch->rc = byre_check_read(&batch->reader, batch->hoff, batch->bytes,
                                batch->count * batch->ahead->cluster_size, &batch->empty, &batch->err);
}

static void run_job(struct byre_job *job)
{
    struct batch *batch = (struct batch *)job;

    read_batch(batch);
    LOCK_SCOPE(&batch->ahead->mutex);
    batch->done = true;
    pthread_cond_signal(&batch->ahead->wake);
}

/* Finds the next run of neighbouring tables; false if there is none. */
static bool plan_batch(struct byre_check_ahead *ahead, struct batch *batch)
{
    uint64_t hoff;

    while (ahead->next < ahead->total && !ahead->place(ahead->opaque, ahead->next, &batch->hoff))
        ahead->next++;
    if (ahead->next == ahead->total)
        return false;
    batch->first = ahead->next++;
    batch->count = 1;
    while (ahead->next < ahead->total && batch->count < ahead->batch_tables &&
           ahead->place(ahead->opaque, ahead->next, &hoff) &&
           hoff == batch->hoff + batch->count * ahead->cluster_size) {
        batch->count++;
        ahead->next++;
    }
    return true;
}

/* Starts as many batches as there is room for. */
static void start_batches(struct byre_check_ahead *ahead)
{
    while (ahead->started < ahead->ring) {
        struct batch *batch = &ahead->batches[(ahead->oldest + ahead->started) % ahead->ring];

        if (!plan_batch(ahead, batch))
            return;
        batch->err = (struct byre_error)BYRE_ERROR_INIT;
        batch->stored_before = batch->reader.stored;
        batch->done = !ahead->pool;
        batch->empty = true;
        ahead->started++;
        if (ahead->pool)
            byre_pool_submit(ahead->pool, &batch->job);
        else
            read_batch(batch);
    }
}

static void finish_batch(struct byre_check_ahead *ahead, struct batch *batch)
{
    LOCK_SCOPE(&ahead->mutex);
    while (!batch->done)
        pthread_cond_wait(&ahead->wake, &ahead->mutex);
}

/* A run that could not be read is read again, table by table. */
static void take_piece(struct batch *batch, struct byre_check_piece *ret)
{
    struct byre_check_ahead *ahead = batch->ahead;
    size_t at = (size_t)ahead->taken * ahead->cluster_size;

    ret->number = batch->first + ahead->taken++;
    ret->bytes = batch->bytes + at;
    ret->err = &batch->err;
    if (batch->rc < 0 && batch->count > 1) {
        batch->err = (struct byre_error)BYRE_ERROR_INIT;
        ret->rc = byre_check_read(&batch->reader, batch->hoff + at, ret->bytes, ahead->cluster_size, &ret->empty,
                                  &batch->err);
        return;
    }
    ret->rc = batch->rc;
    ret->empty = batch->empty;
}

bool byre_check_ahead_next(struct byre_check_ahead *ahead, struct byre_check_piece *ret_piece)
{
    struct batch *batch = &ahead->batches[ahead->oldest];

    if (ahead->started && ahead->taken == batch->count) {
        ahead->oldest = (ahead->oldest + 1) % ahead->ring;
        ahead->started--;
        ahead->taken = 0;
        batch = &ahead->batches[ahead->oldest];
    }
    start_batches(ahead);
    if (!ahead->started)
        return false;
    if (ahead->taken == 0)
        finish_batch(ahead, batch);
    take_piece(batch, ret_piece);
    ahead->reader->stored += batch->reader.stored - batch->stored_before;
    batch->stored_before = batch->reader.stored;
    return true;
}

/* Without threads, for what reason ever, the caller reads. */
static void start_threads(struct byre_check_ahead *ahead)
{
    unsigned threads = MIN(byre_cpu_count(), THREADS_MAX);

    if (threads > 1 && ahead->total > THREADS_PAY / ahead->cluster_size &&
        byre_pool_new(threads, &ahead->pool, NULL) < 0)
        ahead->pool = NULL;
}

int byre_check_ahead_new(struct byre_check_reader *reader, uint32_t cluster_size, size_t count,
                         byre_check_place *place, void *opaque, struct byre_check_ahead **ret_ahead,
                         struct byre_error *err)
{
    struct byre_check_ahead *ahead = calloc(1, sizeof *ahead);
    size_t size = MAX(cluster_size, BATCH_BYTES);

    if (!ahead)
        return byre_error_set_errno(err, -ENOMEM, "checking '%s'", reader->store->name);
    ahead->reader = reader;
    ahead->place = place;
    ahead->opaque = opaque;
    ahead->cluster_size = cluster_size;
    ahead->total = count;
    ahead->batch_tables = size / cluster_size;
    if (count < ahead->batch_tables)
        size = MAX(count, (size_t)1) * cluster_size;
    pthread_mutex_init(&ahead->mutex, NULL);
    pthread_cond_init(&ahead->wake, NULL);
    start_threads(ahead);
    ahead->ring = ahead->pool ? BATCHES : 1;
    for (unsigned i = 0; i < ahead->ring; i++) {
        struct batch *batch = &ahead->batches[i];

        batch->ahead = ahead;
        batch->reader = (struct byre_check_reader){ .store = reader->store, .size = reader->size };
        batch->job.run = run_job;
        batch->bytes = malloc(size);
        if (!batch->bytes) {
            byre_check_ahead_free(ahead);
            return byre_error_set_errno(err, -ENOMEM, "checking '%s'", reader->store->name);
        }
    }
    *ret_ahead = ahead;
    return 0;
}

void byre_check_ahead_free(struct byre_check_ahead *ahead)
{
    if (!ahead)
        return;
    byre_pool_free(ahead->pool); /* runs what was submitted */
    for (unsigned i = 0; i < ahead->ring; i++)
        free(ahead->batches[i].bytes);
    pthread_cond_destroy(&ahead->wake);
    pthread_mutex_destroy(&ahead->mutex);
    free(ahead);
}
