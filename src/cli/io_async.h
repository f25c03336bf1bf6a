/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of byre io that run in worker threads.  What they have to say is said by the thread of the commands, when
 * it waits for them or comes by: nothing is printed elsewhere.
 */
#ifndef BYRE_CLI_IO_ASYNC_H
#define BYRE_CLI_IO_ASYNC_H

#include <pthread.h>
#include <stdbool.h>

#include "base/pool.h"

struct byre_io_request {
    struct byre_job job;
    void (*work)(struct byre_io_request *request);   /* in a worker */
    void (*report)(struct byre_io_request *request); /* in the thread of the commands; releases the request */
    struct byre_io_async *async;
    struct byre_io_request *next;
};

struct byre_io_async {
    struct byre_pool *pool; /* made for the first request */
    pthread_mutex_t mutex;
    pthread_cond_t one_done;
    unsigned running;                      /* under mutex */
    struct byre_io_request *first, **last; /* done and not reported, under mutex */
};

void byre_io_async_init(struct byre_io_async *async);
void byre_io_async_done(struct byre_io_async *async);

/* Starts a request.  Returns 0, or -1 after a complaint: the request is then the caller's still. */
int byre_io_async_start(struct byre_io_async *async, struct byre_io_request *request);

/* Reports what is done; `wait`: after waiting for all of it. */
void byre_io_async_reap(struct byre_io_async *async, bool wait);

#endif
