/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The range lock: who waits for whom, the order of turns, and exclusion under load.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/rangelock.h"

/* A thread that takes one range, notes its turn, and gives the range back. */
struct taker {
    struct byre_range_lock *lock;
    struct byre_range_hold hold;
    uint64_t start, end;
    _Atomic int *turns;
    _Atomic int turn; /* 0 until the range was had */
    pthread_t thread;
};

static void *take(void *arg)
{
    struct taker *taker = arg;

    byre_range_lock_acquire(taker->lock, &taker->hold, taker->start, taker->end);
    taker->turn = ++*taker->turns;
    byre_range_lock_release(taker->lock, &taker->hold);
    return NULL;
}

/* Starts a taker and returns once it stands in the queue. */
static void start_and_see_it_queue(struct taker *taker)
{
    bool queued = false;

    assert_int_equal(pthread_create(&taker->thread, NULL, take, taker), 0);
    while (!queued && taker->turn == 0) {
        pthread_mutex_lock(&taker->lock->mutex);
        queued = taker->lock->last == &taker->hold;
        pthread_mutex_unlock(&taker->lock->mutex);
        sched_yield();
    }
}

static void rangelock_disjoint_ranges_do_not_wait(void **state)
{
    struct byre_range_hold a, b, c, empty;
    struct byre_range_lock lock;

    (void)state;
    byre_range_lock_init(&lock);
    byre_range_lock_acquire(&lock, &a, 100, 200);
    byre_range_lock_acquire(&lock, &b, 200, 300); /* touching is not overlapping */
    byre_range_lock_acquire(&lock, &c, 0, 100);
    byre_range_lock_acquire(&lock, &empty, 150, 150);
    byre_range_lock_release(&lock, &b);
    byre_range_lock_acquire(&lock, &b, 250, UINT64_MAX);
    byre_range_lock_release(&lock, &a);
    byre_range_lock_release(&lock, &empty);
    byre_range_lock_release(&lock, &c);
    byre_range_lock_release(&lock, &b);
    assert_null(lock.first);
    assert_null(lock.last);
    byre_range_lock_done(&lock);
}

static void rangelock_overlapping_ranges_take_turns_in_order(void **state)
{
    struct byre_range_hold first;
    struct byre_range_lock lock;
    _Atomic int turns = 0;
    /* The third overlaps only the second, which waits: it must not overtake it. */
    struct taker second = { .lock = &lock, .start = 50, .end = 150, .turns = &turns };
    struct taker third = { .lock = &lock, .start = 149, .end = 150, .turns = &turns };

    (void)state;
    byre_range_lock_init(&lock);
    byre_range_lock_acquire(&lock, &first, 0, 100);
    start_and_see_it_queue(&second);
    start_and_see_it_queue(&third);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(second.turn, 0);
        assert_int_equal(third.turn, 0);
        sched_yield();
    }
    byre_range_lock_release(&lock, &first);
    pthread_join(second.thread, NULL);
    pthread_join(third.thread, NULL);
    assert_int_equal(second.turn, 1);
    assert_int_equal(third.turn, 2);
    byre_range_lock_done(&lock);
}

static void rangelock_release_wakes_all_that_can_go_on(void **state)
{
    struct byre_range_hold all;
    struct byre_range_lock lock;
    _Atomic int turns = 0;
    struct taker takers[4];

    (void)state;
    byre_range_lock_init(&lock);
    byre_range_lock_acquire(&lock, &all, 0, 1000);
    for (size_t i = 0; i < ARRAY_LEN(takers); i++) {
        takers[i] = (struct taker){ .lock = &lock, .start = i * 10, .end = i * 10 + 10, .turns = &turns };
        start_and_see_it_queue(&takers[i]);
    }
    byre_range_lock_release(&lock, &all);
    for (size_t i = 0; i < ARRAY_LEN(takers); i++)
        pthread_join(takers[i].thread, NULL);
    assert_int_equal(turns, ARRAY_LEN(takers));
    byre_range_lock_done(&lock);
}

enum { CELLS = 16, ROUNDS = 2000, CROWD = 4 };

struct crowd {
    struct byre_range_lock lock;
    unsigned seed;
    _Atomic unsigned started;
    unsigned cells[CELLS]; /* plain memory: only the lock protects it */
    _Atomic unsigned expected[CELLS];
};

static void *jostle(void *arg)
{
    struct crowd *crowd = arg;
    unsigned seed = crowd->seed + crowd->started++;

    for (int round = 0; round < ROUNDS; round++) {
        unsigned start = (unsigned)rand_r(&seed) % CELLS, length = (unsigned)rand_r(&seed) % 5;
        unsigned end = MIN(start + length, (unsigned)CELLS);
        struct byre_range_hold hold;

        byre_range_lock_acquire(&crowd->lock, &hold, start, end);
        for (unsigned i = start; i < end; i++) {
            unsigned was = crowd->cells[i];

            if (round % 16 == 0)
                sched_yield();
            crowd->cells[i] = was + 1;
            crowd->expected[i]++;
        }
        byre_range_lock_release(&crowd->lock, &hold);
    }
    return NULL;
}

static void rangelock_crowd_never_shares_a_cell(void **state)
{
    static struct crowd crowd;
    pthread_t threads[CROWD];

    (void)state;
    crowd.seed = (unsigned)time(NULL);
    print_message("seed %u\n", crowd.seed);
    byre_range_lock_init(&crowd.lock);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, jostle, &crowd), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < CELLS; i++)
        assert_int_equal(crowd.cells[i], crowd.expected[i]);
    assert_null(crowd.lock.first);
    byre_range_lock_done(&crowd.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rangelock_disjoint_ranges_do_not_wait),
        cmocka_unit_test(rangelock_overlapping_ranges_take_turns_in_order),
        cmocka_unit_test(rangelock_release_wakes_all_that_can_go_on),
        cmocka_unit_test(rangelock_crowd_never_shares_a_cell),
    };

    return cmocka_run_group_tests_name("rangelock", tests, NULL, NULL);
}
