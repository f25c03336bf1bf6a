/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Epochs: what delays a free, what does not, and a free under load that must never hit a reader.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/epoch.h"

static void epoch_idle_passes_at_once(void **state)
{
    struct byre_epoch epoch;
    uint64_t tag;

    (void)state;
    byre_epoch_init(&epoch);
    for (int i = 0; i < 5; i++) {
        tag = byre_epoch_now(&epoch);
        assert_true(byre_epoch_passed(&epoch, tag));
        assert_true(byre_epoch_passed(&epoch, tag)); /* and stays passed */
    }
}

static void epoch_request_mapped_before_the_free_delays_it(void **state)
{
    struct byre_epoch epoch;
    uint64_t ticket, tag;

    (void)state;
    byre_epoch_init(&epoch);
    ticket = byre_epoch_enter(&epoch);
    tag = byre_epoch_now(&epoch);
    for (int i = 0; i < 5; i++)
        assert_false(byre_epoch_passed(&epoch, tag));
    byre_epoch_leave(&epoch, ticket);
    assert_true(byre_epoch_passed(&epoch, tag));
}

static void epoch_request_of_a_later_epoch_does_not_delay(void **state)
{
    struct byre_epoch epoch;
    uint64_t old, young, tag, young_tag;

    (void)state;
    byre_epoch_init(&epoch);
    old = byre_epoch_enter(&epoch);
    tag = byre_epoch_now(&epoch);
    assert_false(byre_epoch_passed(&epoch, tag)); /* moves on by one epoch, no further */
    young = byre_epoch_enter(&epoch);
    young_tag = byre_epoch_now(&epoch);
    assert_true(young > old);
    byre_epoch_leave(&epoch, old);
    assert_true(byre_epoch_passed(&epoch, tag));
    assert_false(byre_epoch_passed(&epoch, young_tag));
    byre_epoch_leave(&epoch, young);
    assert_true(byre_epoch_passed(&epoch, young_tag));
}

static void epoch_each_of_many_requests_delays(void **state)
{
    struct byre_epoch epoch;
    uint64_t tickets[10], tag;

    (void)state;
    byre_epoch_init(&epoch);
    for (int i = 0; i < 10; i++)
        tickets[i] = byre_epoch_enter(&epoch);
    tag = byre_epoch_now(&epoch);
    for (int i = 0; i < 10; i++) {
        assert_false(byre_epoch_passed(&epoch, tag));
        byre_epoch_leave(&epoch, tickets[i]);
    }
    assert_true(byre_epoch_passed(&epoch, tag));
}

/*
 * Readers follow pointers within an epoch; writers exchange them and free the old ones when they may.  With
 * several writers one may advance the epoch while another takes its tag.
 */
enum { MAGIC = 0x600d, DEAD = 0xdead, EXCHANGES = 10000, READERS = 2, WRITERS = 2 };

struct scene {
    struct byre_epoch epoch;
    _Atomic(unsigned *) shared[WRITERS];
    _Atomic unsigned writers, finished;
    _Atomic unsigned bad;
};

static unsigned *new_value(void)
{
    unsigned *value = malloc(sizeof *value);

    *value = MAGIC;
    return value;
}

static void *read_on(void *arg)
{
    struct scene *scene = arg;

    while (atomic_load(&scene->finished) < WRITERS) {
        uint64_t ticket = byre_epoch_enter(&scene->epoch);

        for (int i = 0; i < WRITERS; i++) {
            unsigned *seen = atomic_load_explicit(&scene->shared[i], memory_order_acquire);

            if (*seen != MAGIC)
                atomic_fetch_add(&scene->bad, 1);
        }
        byre_epoch_leave(&scene->epoch, ticket);
    }
    return NULL;
}

static void *exchange(void *arg)
{
    struct scene *scene = arg;
    _Atomic(unsigned *) *shared = &scene->shared[atomic_fetch_add(&scene->writers, 1)];

    for (int i = 0; i < EXCHANGES; i++) {
        unsigned *old = atomic_load_explicit(shared, memory_order_relaxed);
        uint64_t tag;

        atomic_store_explicit(shared, new_value(), memory_order_release);
        tag = byre_epoch_now(&scene->epoch);
        while (!byre_epoch_passed(&scene->epoch, tag))
            sched_yield();
        *old = DEAD;
        free(old);
    }
    atomic_fetch_add(&scene->finished, 1);
    return NULL;
}

static void epoch_free_under_load_never_hits_a_reader(void **state)
{
    static struct scene scene;
    pthread_t threads[READERS + WRITERS];

    (void)state;
    byre_epoch_init(&scene.epoch);
    for (int i = 0; i < WRITERS; i++)
        atomic_store(&scene.shared[i], new_value());
    for (int i = 0; i < READERS + WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < READERS ? read_on : exchange, &scene), 0);
    for (int i = 0; i < READERS + WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WRITERS; i++)
        free(atomic_load(&scene.shared[i]));
    assert_int_equal(scene.bad, 0);
    assert_int_equal(scene.epoch.inside[0] + scene.epoch.inside[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epoch_idle_passes_at_once),
        cmocka_unit_test(epoch_request_mapped_before_the_free_delays_it),
        cmocka_unit_test(epoch_request_of_a_later_epoch_does_not_delay),
        cmocka_unit_test(epoch_each_of_many_requests_delays),
        cmocka_unit_test(epoch_free_under_load_never_hits_a_reader),
    };

    return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
