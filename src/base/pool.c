/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker pool: a queue under one lock and the threads that serve it.
 *
 * Invariants
 *   P1. A job belongs to the pool from its submission until its function is called; the pool does not touch
 *       it afterwards, so the function may end the job's life.
 *   P2. Workers leave only when the pool is stopping and the queue is empty.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/pool.h"

struct byre_pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake;               /* a job was queued, or the pool stops */
    struct byre_job *first, **last;    /* under mutex */
    bool stopping;                     /* under mutex */
    unsigned thread_count;             /* those that were started */
    pthread_t threads[];
};

/* Waits for the next job; NULL when there will be none. */
static struct byre_job *next_job(struct byre_pool *pool)
{
    struct byre_job *job;

    LOCK_SCOPE(&pool->mutex);
    while (!pool->first && !pool->stopping)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
    }
    return job;
}

static void *serve(void *arg)
{
    struct byre_pool *pool = arg;
    struct byre_job *job;

    while ((job = next_job(pool)))
        job->run(job);
    return NULL;
}

/* Starts one worker with all signals blocked: they are the business of the threads of the program. */
static int start_worker(struct byre_pool *pool)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&pool->threads[pool->thread_count], NULL, serve, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pool->thread_count++;
    return -r;
}

int byre_pool_new(unsigned threads, struct byre_pool **ret_pool, struct byre_error *err)
{
    struct byre_pool *pool;

    threads = MAX(threads, 1u);
    pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    if (!pool)
        return byre_error_set_errno(err, -ENOMEM, "could not make a pool of %u threads", threads);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->last = &pool->first;
    for (unsigned i = 0; i < threads; i++) {
        int r = start_worker(pool);

        if (r < 0) {
            byre_pool_free(pool);
            return byre_error_set_errno(err, r, "could not start thread %u of %u", i + 1, threads);
        }
    }
    *ret_pool = pool;
    return 0;
}

void byre_pool_free(struct byre_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void byre_pool_submit(struct byre_pool *pool, struct byre_job *job)
{
    LOCK_SCOPE(&pool->mutex);
    job->next = NULL;
    *pool->last = job;
    pool->last = &job->next;
    pthread_cond_signal(&pool->wake);
}

unsigned byre_cpu_count(void)
{
    /* The kernel may know more processors than a fixed set can hold, and then refuses a small one. */
    for (int possible = CPU_SETSIZE; possible <= 1 << 20; possible *= 2) {
        size_t size = CPU_ALLOC_SIZE(possible);
        cpu_set_t *set = CPU_ALLOC(possible);
        int r, count;

        if (!set)
            break;
        r = sched_getaffinity(0, size, set);
        count = r == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (r == 0)
            return (unsigned)MAX(count, 1);
        if (errno != EINVAL)
            break;
    }
    return 1;
}
