/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turns: many threads draw numbers in one order and must do their step in that order; stopping frees all.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/turn.h"

enum { THREADS = 6, NUMBERS = 3000 };

struct race {
    struct byre_turn turn;
    atomic_uint drawn;
    unsigned steps;          /* only touched in turn */
    unsigned out_of_order;   /* only touched in turn */
    uint64_t stop_at;        /* whoever has this number stops the turn */
    atomic_uint let_go;      /* waits that ended with the stop */
};

static void *run_race(void *opaque)
{
    struct race *race = opaque;
    uint64_t number;

    while ((number = atomic_fetch_add(&race->drawn, 1)) < NUMBERS) {
        if (number == race->stop_at) {
            byre_turn_stop(&race->turn);
            break;
        }
        if (!byre_turn_wait(&race->turn, number)) {
            atomic_fetch_add(&race->let_go, 1);
            break;
        }
        if (race->steps++ != number)
            race->out_of_order++;
        byre_turn_pass(&race->turn, number);
    }
    return NULL;
}

static void start_and_join(struct race *race)
{
    pthread_t threads[THREADS];

    byre_turn_init(&race->turn);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_race, race), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    byre_turn_done(&race->turn);
}

static void turns_of_many_threads_come_in_order(void **state)
{
    struct race race = { .stop_at = UINT64_MAX };

    (void)state;
    start_and_join(&race);
    assert_int_equal(race.steps, NUMBERS);
    assert_int_equal(race.out_of_order, 0);
    assert_int_equal(race.let_go, 0);
}

static void turns_when_stopped_let_every_waiter_go(void **state)
{
    struct race race = { .stop_at = NUMBERS / 2 };

    (void)state;
    start_and_join(&race);
    assert_true(race.steps <= NUMBERS / 2);
    assert_int_equal(race.out_of_order, 0);
    assert_true(race.let_go <= THREADS - 1);
}

static void turn_after_a_stop_never_comes(void **state)
{
    struct byre_turn turn;

    (void)state;
    byre_turn_init(&turn);
    assert_true(byre_turn_wait(&turn, 0));
    byre_turn_stop(&turn);
    byre_turn_stop(&turn);
    assert_false(byre_turn_wait(&turn, 0));
    assert_false(byre_turn_wait(&turn, 7));
    byre_turn_done(&turn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_of_many_threads_come_in_order),
        cmocka_unit_test(turns_when_stopped_let_every_waiter_go),
        cmocka_unit_test(turn_after_a_stop_never_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
