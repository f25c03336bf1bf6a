/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tallies against an array of counts.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/tally.h"

static void empty_tally_counts_nothing(void **state)
{
    struct byre_tally tally = { 0 };

    (void)state;
    assert_int_equal(byre_tally_count(&tally, 512), 0);
    byre_tally_remove(&tally, 512);
    byre_tally_done(&tally);
}

static void numbers_are_counted_as_often_as_they_were_added(void **state)
{
    enum { NUMBERS = 3000 };
    struct byre_tally tally = { 0 };
    static unsigned expected[NUMBERS];
    unsigned seed = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        unsigned n = (unsigned)rand_r(&seed) % NUMBERS;

        if (rand_r(&seed) % 3) {
            assert_int_equal(byre_tally_reserve(&tally, 1), 0);
            byre_tally_add(&tally, (uint64_t)(n + 1) << 16);
            expected[n]++;
        } else if (expected[n]) {
            byre_tally_remove(&tally, (uint64_t)(n + 1) << 16);
            expected[n]--;
        }
    }
    for (unsigned n = 0; n < NUMBERS; n++)
        assert_int_equal(byre_tally_count(&tally, (uint64_t)(n + 1) << 16), expected[n]);
    byre_tally_done(&tally);
}

static void room_for_more_than_there_is_memory_is_refused(void **state)
{
    struct byre_tally tally = { 0 };

    (void)state;
    assert_int_equal(byre_tally_reserve(&tally, SIZE_MAX), -ENOMEM);
    assert_int_equal(byre_tally_reserve(&tally, 1), 0);
    byre_tally_add(&tally, 512);
    assert_int_equal(byre_tally_count(&tally, 512), 1);
    byre_tally_done(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_tally_counts_nothing),
        cmocka_unit_test(numbers_are_counted_as_often_as_they_were_added),
        cmocka_unit_test(room_for_more_than_there_is_memory_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
