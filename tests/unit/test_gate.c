/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate: many inside, one alone, and nobody beside the one.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/gate.h"

enum { THREADS = 4, TURNS = 3000 };

static void gate_that_is_open_lets_many_in(void **state)
{
    struct byre_gate gate;

    (void)state;
    byre_gate_init(&gate);
    byre_gate_enter(&gate);
    assert_true(byre_gate_try_enter(&gate));
    byre_gate_leave(&gate);
    byre_gate_leave(&gate);
    byre_gate_close(&gate);
    assert_false(byre_gate_try_enter(&gate));
    byre_gate_open(&gate);
    assert_true(byre_gate_try_enter(&gate));
    byre_gate_leave(&gate);
    byre_gate_done(&gate);
}

/* --- those who wait --- */

struct closer {
    struct byre_gate *gate;
    atomic_bool closed;
};

static void *close_it(void *opaque)
{
    struct closer *closer = opaque;

    byre_gate_close(closer->gate);
    atomic_store(&closer->closed, true);
    byre_gate_open(closer->gate);
    return NULL;
}

static void gate_is_closed_when_the_last_one_has_left(void **state)
{
    struct byre_gate gate;
    struct closer closer = { .gate = &gate };
    pthread_t thread;

    (void)state;
    alarm(120);
    byre_gate_init(&gate);
    byre_gate_enter(&gate);
    assert_int_equal(pthread_create(&thread, NULL, close_it, &closer), 0);
    while (!atomic_load(&gate.closed))
        sched_yield();
    for (int i = 0; i < 100; i++) {
        assert_false(byre_gate_try_enter(&gate));
        assert_false(atomic_load(&closer.closed));
        sched_yield();
    }
    byre_gate_leave(&gate);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&closer.closed));
    byre_gate_enter(&gate);
    byre_gate_leave(&gate);
    byre_gate_done(&gate);
}

/* --- under load --- */

struct crowd {
    struct byre_gate gate;
    atomic_int inside, alone; /* at the moment */
    atomic_int wrong;
    uint64_t plain;           /* changed by who is alone, read by who is inside */
};

static void *come_and_go(void *opaque)
{
    struct crowd *crowd = opaque;

    for (int i = 0; i < TURNS; i++) {
        uint64_t seen;

        byre_gate_enter(&crowd->gate);
        atomic_fetch_add(&crowd->inside, 1);
        seen = crowd->plain;
        if (atomic_load(&crowd->alone) || seen != crowd->plain)
            atomic_fetch_add(&crowd->wrong, 1);
        atomic_fetch_sub(&crowd->inside, 1);
        byre_gate_leave(&crowd->gate);
    }
    return NULL;
}

static void *be_alone(void *opaque)
{
    struct crowd *crowd = opaque;

    for (int i = 0; i < TURNS / 10; i++) {
        byre_gate_close(&crowd->gate);
        if (atomic_fetch_add(&crowd->alone, 1) || atomic_load(&crowd->inside))
            atomic_fetch_add(&crowd->wrong, 1);
        crowd->plain++;
        atomic_fetch_sub(&crowd->alone, 1);
        byre_gate_open(&crowd->gate);
    }
    return NULL;
}

static void gate_keeps_all_out_while_one_is_alone(void **state)
{
    static struct crowd crowd;
    pthread_t threads[THREADS + 2];

    (void)state;
    alarm(120);
    byre_gate_init(&crowd.gate);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? come_and_go : be_alone, &crowd), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    assert_int_equal(crowd.plain, 2 * (TURNS / 10));
    byre_gate_done(&crowd.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_that_is_open_lets_many_in),
        cmocka_unit_test(gate_is_closed_when_the_last_one_has_left),
        cmocka_unit_test(gate_keeps_all_out_while_one_is_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
