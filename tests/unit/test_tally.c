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

/* The most slots in a row that have a number: no search looks at more. */
static size_t longest_search(const struct byre_tally *tally)
{
    size_t longest = 0, run = 0;

    /* Twice around, for a row may go on at the beginning. */
    for (size_t i = 0; i < 2 * tally->size; i++) {
        run = tally->slots[i & (tally->size - 1)] ? run + 1 : 0;
        longest = longest > run ? longest : run;
    }
    return longest;
}

static size_t search_among(const uint64_t *numbers, size_t count)
{
    struct byre_tally tally = { 0 };
    size_t longest;

    assert_int_equal(byre_tally_reserve(&tally, count), 0);
    for (size_t i = 0; i < count; i++)
        byre_tally_add(&tally, numbers[i]);
    longest = longest_search(&tally);
    byre_tally_done(&tally);
    return longest;
}

/* The inverse of an odd number, modulo 2^64. */
static uint64_t inverse(uint64_t x)
{
    uint64_t y = x;

    for (int i = 0; i < 6; i++)
        y *= 2 - x * y;
    return y;
}

/* The number that the tally would hash to this, if it had no seed. */
static uint64_t number_of(uint64_t hash)
{
    hash ^= hash >> 29 ^ hash >> 58;
    hash *= inverse(0xbf58476d1ce4e5b9ULL);
    hash ^= hash >> 32;
    return hash * inverse(0x9e3779b97f4a7c15ULL);
}

/* Who chooses the numbers cannot choose them so that they get into each other's way. */
static void hostile_numbers_are_found_soon(void **state)
{
    enum { NUMBERS = 4000, SEARCH_MAX = 250 };
    static uint64_t numbers[NUMBERS];
    size_t count = 0;

    (void)state;
    for (unsigned shift = 7; shift < 48; shift++) {
        for (size_t i = 0; i < NUMBERS; i++)
            numbers[i] = (uint64_t)(i + 1) << shift;
        assert_in_range(search_among(numbers, NUMBERS), 1, SEARCH_MAX);
    }
    /* The same slot for all of them, were it not for the seed. */
    for (uint64_t high = 1; count < NUMBERS; high++) {
        uint64_t number = number_of(high << 16);

        if (number && number % BYRE_TALLY_UNIT == 0)
            numbers[count++] = number;
    }
    assert_in_range(search_among(numbers, NUMBERS), 1, SEARCH_MAX);
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
        cmocka_unit_test(hostile_numbers_are_found_soon),
        cmocka_unit_test(room_for_more_than_there_is_memory_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
