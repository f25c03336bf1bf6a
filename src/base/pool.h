/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool of worker threads.
 *
 * Jobs are intrusive: the caller embeds `struct byre_job`, keeps it alive until its function has returned,
 * and learns of the end by its own means (a counter, a turn).  Jobs start in the order of submission.
 */
#ifndef BYRE_BASE_POOL_H
#define BYRE_BASE_POOL_H

#include "byre/error.h"

struct byre_pool;

struct byre_job {
    void (*run)(struct byre_job *job);
    struct byre_job *next; /* the pool's */
};

/* Starts `threads` workers (at least one).  Fails with -ENOMEM or -EAGAIN. */
int byre_pool_new(unsigned threads, struct byre_pool **ret_pool, struct byre_error *err);

/* Runs every job that was submitted, then ends the workers.  NULL is allowed. */
void byre_pool_free(struct byre_pool *pool);

/* Queues a job.  Never fails, never blocks on work.  Thread-safe. */
void byre_pool_submit(struct byre_pool *pool, struct byre_job *job);

/* The number of processors this process may run on, at least 1. */
unsigned byre_cpu_count(void);

#endif
