/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker pool: everything runs once, in order, side by side, and is done when the pool is gone.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pool.h"

enum { JOBS = 500, CREW = 4 };

static struct byre_pool *new_pool(unsigned threads)
{
    struct byre_pool *pool = NULL;

    assert_int_equal(byre_pool_new(threads, &pool, NULL), 0);
    assert_non_null(pool);
    return pool;
}

struct noted_job {
    struct byre_job job; /* first */
    _Atomic int *clock;
    int time; /* when it ran: 1 is the first */
    int runs;
};

static void note(struct byre_job *job)
{
    struct noted_job *noted = (struct noted_job *)job;

    noted->time = ++*noted->clock;
    noted->runs++;
}

static void run_noted_jobs(unsigned threads, struct noted_job *jobs)
{
    struct byre_pool *pool = new_pool(threads);
    _Atomic int clock = 0;

    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct noted_job){ .job.run = note, .clock = &clock };
        byre_pool_submit(pool, &jobs[i].job);
    }
    byre_pool_free(pool);
    assert_int_equal(clock, JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].runs, 1);
}

static void pool_one_worker_keeps_the_order(void **state)
{
    static struct noted_job jobs[JOBS];

    (void)state;
    run_noted_jobs(0, jobs); /* at least one */
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].time, i + 1);
}

static void pool_many_workers_run_each_job_once(void **state)
{
    static struct noted_job jobs[JOBS];

    (void)state;
    run_noted_jobs(CREW, jobs);
}

struct meeting_job {
    struct byre_job job;
    pthread_barrier_t *barrier;
};

static void meet(struct byre_job *job)
{
    pthread_barrier_wait(((struct meeting_job *)job)->barrier);
}

/* Ends only if all jobs are in their function at one time. */
static void pool_workers_run_side_by_side(void **state)
{
    struct byre_pool *pool = new_pool(CREW);
    struct meeting_job jobs[CREW];
    pthread_barrier_t barrier;

    (void)state;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, CREW), 0);
    for (int i = 0; i < CREW; i++) {
        jobs[i] = (struct meeting_job){ { .run = meet }, &barrier };
        byre_pool_submit(pool, &jobs[i].job);
    }
    byre_pool_free(pool);
    pthread_barrier_destroy(&barrier);
}

struct breeding_job {
    struct byre_job job;
    struct byre_pool *pool;
    struct breeding_job *child;
    int runs;
};

static void breed(struct byre_job *job)
{
    struct breeding_job *self = (struct breeding_job *)job;

    self->runs++;
    if (self->child)
        byre_pool_submit(self->pool, &self->child->job);
}

static void pool_free_waits_for_jobs_that_jobs_submit(void **state)
{
    struct byre_pool *pool = new_pool(2);
    struct breeding_job jobs[50];

    (void)state;
    for (int i = 0; i < 50; i++)
        jobs[i] = (struct breeding_job){ { .run = breed }, pool, i < 49 ? &jobs[i + 1] : NULL, 0 };
    byre_pool_submit(pool, &jobs[0].job);
    byre_pool_free(pool);
    for (int i = 0; i < 50; i++)
        assert_int_equal(jobs[i].runs, 1);
}

struct signal_job {
    struct byre_job job;
    sigset_t blocked;
};

static void look_at_signals(struct byre_job *job)
{
    pthread_sigmask(SIG_BLOCK, NULL, &((struct signal_job *)job)->blocked);
}

static void pool_workers_leave_signals_to_the_program(void **state)
{
    struct byre_pool *pool = new_pool(1);
    struct signal_job job = { .job.run = look_at_signals };
    sigset_t mine;

    (void)state;
    sigemptyset(&job.blocked);
    byre_pool_submit(pool, &job.job);
    byre_pool_free(pool);
    assert_true(sigismember(&job.blocked, SIGUSR1) && sigismember(&job.blocked, SIGINT));
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    assert_false(sigismember(&mine, SIGUSR1));
}

static void pool_free_null_is_allowed(void **state)
{
    (void)state;
    byre_pool_free(NULL);
}

static void cpu_count_follows_the_affinity(void **state)
{
    cpu_set_t all, one;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(byre_cpu_count(), CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(byre_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_one_worker_keeps_the_order),
        cmocka_unit_test(pool_many_workers_run_each_job_once),
        cmocka_unit_test(pool_workers_run_side_by_side),
        cmocka_unit_test(pool_free_waits_for_jobs_that_jobs_submit),
        cmocka_unit_test(pool_workers_leave_signals_to_the_program),
        cmocka_unit_test(pool_free_null_is_allowed),
        cmocka_unit_test(cpu_count_follows_the_affinity),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
