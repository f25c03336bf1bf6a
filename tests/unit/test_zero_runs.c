/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of zeros: the edges by hand, and random buffers against a slow and plain reading of the rule.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "ops/zero_runs.h"

static const struct byre_zero_rule SECTORS = { .grain = 512, .align = 512, .min_run = 512 };

static void zero_run_in_data_is_not_found(void **state)
{
    uint8_t buf[2048];
    struct byre_zero_run run;

    (void)state;
    memset(buf, 1, sizeof buf);
    assert_false(byre_zero_run_next(&SECTORS, buf, sizeof buf, 0, &run));
}

static void zero_run_between_data_is_found_whole(void **state)
{
    uint8_t buf[2048] = { [0] = 1, [2047] = 1 };
    struct byre_zero_run run;

    (void)state;
    assert_true(byre_zero_run_next(&SECTORS, buf, sizeof buf, 0, &run));
    assert_int_equal(run.start, 512);
    assert_int_equal(run.end, 1536);
    assert_false(byre_zero_run_next(&SECTORS, buf, sizeof buf, run.end, &run));
}

static void zero_run_shorter_than_the_least_is_data(void **state)
{
    struct byre_zero_rule rule = { .grain = 512, .align = 512, .min_run = 1025 };
    uint8_t buf[2048] = { [0] = 1, [2047] = 1 };
    struct byre_zero_run run;

    (void)state;
    assert_false(byre_zero_run_next(&rule, buf, sizeof buf, 0, &run));
    rule.min_run = 1024;
    assert_true(byre_zero_run_next(&rule, buf, sizeof buf, 0, &run));
}

static void zero_run_of_the_whole_buffer_needs_no_length(void **state)
{
    struct byre_zero_rule rule = { .grain = 512, .align = 2048, .min_run = 1 << 20 };
    uint8_t buf[2048] = { 0 };
    struct byre_zero_run run;

    (void)state;
    assert_true(byre_zero_run_next(&rule, buf, 700, 0, &run));
    assert_int_equal(run.start, 0);
    assert_int_equal(run.end, 700);
}

static void zero_run_with_least_zero_is_never_found(void **state)
{
    struct byre_zero_rule rule = { .grain = 512, .align = 512, .min_run = 0 };
    uint8_t buf[2048] = { 0 };
    struct byre_zero_run run;

    (void)state;
    assert_false(byre_zero_run_next(&rule, buf, sizeof buf, 0, &run));
}

static void zero_run_is_cut_to_the_alignment(void **state)
{
    struct byre_zero_rule rule = { .grain = 512, .align = 1024, .min_run = 512 };
    uint8_t buf[4096] = { [0] = 1, [3072] = 1 };
    struct byre_zero_run run;

    (void)state;
    assert_true(byre_zero_run_next(&rule, buf, sizeof buf, 0, &run));
    assert_int_equal(run.start, 1024);
    assert_int_equal(run.end, 3072);
    /* 3584..4096 is half a unit */
    assert_false(byre_zero_run_next(&rule, buf, sizeof buf, run.end, &run));
}

static void zero_run_at_the_end_keeps_the_odd_tail(void **state)
{
    struct byre_zero_rule rule = { .grain = 512, .align = 1024, .min_run = 512 };
    uint8_t buf[3000] = { [0] = 1 };
    struct byre_zero_run run;

    (void)state;
    assert_true(byre_zero_run_next(&rule, buf, sizeof buf, 0, &run));
    assert_int_equal(run.start, 1024);
    assert_int_equal(run.end, 3000);
}

/* --- against the plain reading ------------------------------------------------------------------------- */

enum { MODEL_MAX = 64 * 512 };

static bool grain_is_zero(const uint8_t *buf, size_t length, size_t at, size_t grain)
{
    for (size_t i = at; i < MIN(at + grain, length); i++) {
        if (buf[i])
            return false;
    }
    return true;
}

/* Marks the bytes that belong to runs. */
static void mark_runs(const struct byre_zero_rule *rule, const uint8_t *buf, size_t length, uint8_t *marks)
{
    size_t end;

    memset(marks, 0, length);
    for (size_t at = 0; at < length; at = end + rule->grain) {
        size_t low, high;

        for (end = at; end < length && grain_is_zero(buf, length, end, rule->grain); end += rule->grain)
            ;
        high = MIN(end, length);
        if (high <= at || (high - at < rule->min_run && high - at < length))
            continue;
        low = byre_round_up(at, rule->align);
        high = high == length ? length : byre_round_down(high, rule->align);
        if (low < high)
            memset(marks + low, 1, high - low);
    }
}

static void compare_with_model(const struct byre_zero_rule *rule, const uint8_t *buf, size_t length)
{
    static uint8_t expected[MODEL_MAX], found[MODEL_MAX];
    struct byre_zero_run run;
    size_t from = 0;

    mark_runs(rule, buf, length, expected);
    memset(found, 0, length);
    while (byre_zero_run_next(rule, buf, length, from, &run)) {
        assert_true(run.start >= from && run.start < run.end && run.end <= length);
        memset(found + run.start, 1, run.end - run.start);
        from = run.end;
    }
    assert_memory_equal(expected, found, length);
}

static void zero_runs_of_random_buffers_match_the_model(void **state)
{
    static uint8_t buf[MODEL_MAX];
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 2000; round++) {
        size_t length = 1 + (size_t)rand() % MODEL_MAX;
        struct byre_zero_rule rule = { .grain = 512u << rand() % 2 };

        rule.align = rule.grain << rand() % 3;
        rule.min_run = 1 + (uint64_t)rand() % 6000;
        memset(buf, 0, sizeof buf);
        for (int i = rand() % 40; i > 0; i--)
            buf[rand() % MODEL_MAX] = 1;
        compare_with_model(&rule, buf, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_run_in_data_is_not_found),
        cmocka_unit_test(zero_run_between_data_is_found_whole),
        cmocka_unit_test(zero_run_shorter_than_the_least_is_data),
        cmocka_unit_test(zero_run_of_the_whole_buffer_needs_no_length),
        cmocka_unit_test(zero_run_with_least_zero_is_never_found),
        cmocka_unit_test(zero_run_is_cut_to_the_alignment),
        cmocka_unit_test(zero_run_at_the_end_keeps_the_odd_tail),
        cmocka_unit_test(zero_runs_of_random_buffers_match_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
