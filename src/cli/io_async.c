/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker pool of byre io, and the list of requests that are done.
 */
#include "config.h"

#include "cli/io_async.h"

#include "base/cleanup.h"
#include "cli/message.h"

#define THREADS 4

void byre_io_async_init(struct byre_io_async *async)
{
    *async = (struct byre_io_async){ 0 };
    pthread_mutex_init(&async->mutex, NULL);
    pthread_cond_init(&async->one_done, NULL);
    async->last = &async->first;
}

void byre_io_async_done(struct byre_io_async *async)
{
    byre_io_async_reap(async, true);
    byre_pool_free(async->pool);
    pthread_mutex_destroy(&async->mutex);
    pthread_cond_destroy(&async->one_done);
}

static void run_job(struct byre_job *job)
{
    struct byre_io_request *request = (struct byre_io_request *)job; /* its first member */
    struct byre_io_async *async = request->async;

    request->work(request);
    LOCK_SCOPE(&async->mutex);
    request->next = NULL;
    *async->last = request;
    async->last = &request->next;
    async->running--;
    pthread_cond_signal(&async->one_done);
}

int byre_io_async_start(struct byre_io_async *async, struct byre_io_request *request)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!async->pool && byre_pool_new(THREADS, &async->pool, &err) < 0) {
        byre_complain_error(&err, "%s", "");
        return -1;
    }
    request->async = async;
    request->job.run = run_job;
    pthread_mutex_lock(&async->mutex);
    async->running++;
    pthread_mutex_unlock(&async->mutex);
    byre_pool_submit(async->pool, &request->job);
    return 0;
}

/* The first request that is done, or NULL. */
static struct byre_io_request *take(struct byre_io_async *async, bool wait)
{
    struct byre_io_request *request;
    LOCK_SCOPE(&async->mutex);

    while (wait && !async->first && async->running)
        pthread_cond_wait(&async->one_done, &async->mutex);
    request = async->first;
    if (request) {
        async->first = request->next;
        if (!async->first)
            async->last = &async->first;
    }
    return request;
}

void byre_io_async_reap(struct byre_io_async *async, bool wait)
{
    struct byre_io_request *request;

    while ((request = take(async, wait)))
        request->report(request);
}
