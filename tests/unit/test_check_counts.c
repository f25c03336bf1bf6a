/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sparse array of reference counts, against a plain one.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "qcow2/check_counts.h"

static uint64_t get(const struct byre_counts *counts, uint64_t cluster)
{
    return byre_counts_get(counts, cluster).count;
}

static unsigned flags_of(const struct byre_counts *counts, uint64_t cluster)
{
    return byre_counts_get(counts, cluster).flags;
}

static void counts_random_additions_give_the_sums(void **state)
{
    enum { CLUSTERS = 5000, ADDITIONS = 20000 };
    static uint64_t sums[CLUSTERS];
    struct byre_counts counts = { .page_limit = SIZE_MAX };
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    memset(sums, 0, sizeof sums);
    for (int i = 0; i < ADDITIONS; i++) {
        uint64_t cluster = (uint64_t)rand() % CLUSTERS;
        uint64_t times = rand() % 10 ? 1 : (uint64_t)rand() % 10000;

        /* far apart and close together */
        assert_int_equal(byre_counts_add(&counts, cluster * (cluster % 2 ? 1 : 1ULL << 30), times, 0), 0);
        sums[cluster] += times;
    }
    for (uint64_t i = 0; i < CLUSTERS; i++)
        assert_int_equal(get(&counts, i * (i % 2 ? 1 : 1ULL << 30)), sums[i]);
    byre_counts_done(&counts);
}

static void counts_large_sums_saturate(void **state)
{
    struct byre_counts counts = { .page_limit = 10 };

    (void)state;
    assert_int_equal(byre_counts_add(&counts, 7, 4094, 0), 0);
    assert_int_equal(get(&counts, 7), 4094);
    assert_int_equal(byre_counts_add(&counts, 7, 1, 0), 0);
    assert_int_equal(get(&counts, 7), 4095);
    assert_int_equal(byre_counts_add(&counts, 7, UINT64_MAX - 5000, 0), 0);
    assert_int_equal(get(&counts, 7), UINT64_MAX - 905);
    assert_int_equal(byre_counts_add(&counts, 7, 5000, 0), 0);
    assert_true(get(&counts, 7) == UINT64_MAX);
    assert_int_equal(get(&counts, 8), 0);
    byre_counts_done(&counts);
}

static void counts_tables_clash_with_all_else(void **state)
{
    struct byre_counts counts = { .page_limit = 10 };

    (void)state;
    assert_int_equal(byre_counts_add(&counts, 1, 1, 0), 0);
    assert_int_equal(byre_counts_add(&counts, 1, 1, 0), 0);
    assert_int_equal(flags_of(&counts, 1), 0); /* data clusters may be shared */
    assert_int_equal(byre_counts_add(&counts, 1, 1, BYRE_CELL_TABLE), 0);
    assert_int_equal(flags_of(&counts, 1), BYRE_CELL_TABLE | BYRE_CELL_CLASH);
    assert_int_equal(byre_counts_add(&counts, 2, 5, BYRE_CELL_TABLE), 0);
    assert_int_equal(flags_of(&counts, 2), BYRE_CELL_TABLE);
    assert_int_equal(byre_counts_add(&counts, 2, 0, BYRE_CELL_SHARED), 0);
    assert_int_equal(flags_of(&counts, 2), BYRE_CELL_TABLE | BYRE_CELL_SHARED);
    assert_int_equal(byre_counts_add(&counts, 2, 1, 0), 0);
    assert_true(flags_of(&counts, 2) & BYRE_CELL_CLASH);
    byre_counts_done(&counts);
}

static void counts_past_the_page_limit_are_refused(void **state)
{
    struct byre_counts counts = { .page_limit = 2 };

    (void)state;
    assert_int_equal(byre_counts_add(&counts, 0, 1, 0), 0);
    assert_int_equal(byre_counts_add(&counts, 1ULL << 54, 1, 0), 0);
    assert_int_equal(byre_counts_add(&counts, BYRE_COUNTS_PAGE, 1, 0), -EFBIG);
    assert_int_equal(byre_counts_add(&counts, BYRE_COUNTS_PAGE - 1, 1, 0), 0);
    assert_int_equal(counts.page_count, 2);
    counts.page_limit = 3;
    assert_int_equal(byre_counts_add(&counts, BYRE_COUNTS_PAGE, 1, 0), 0);
    assert_int_equal(get(&counts, BYRE_COUNTS_PAGE), 1);
    byre_counts_done(&counts);
}

/* Every state of a cell, reached in a narrow group and in a wide one, is the same. */
static void counts_narrow_and_wide_cells_tell_the_same(void **state)
{
    static const unsigned flags[] = { 0, BYRE_CELL_EXCLUSIVE, BYRE_CELL_SHARED, BYRE_CELL_TABLE,
                                      BYRE_CELL_TABLE | BYRE_CELL_EXCLUSIVE };
    struct byre_counts narrow = { .page_limit = 10 }, wide = { .page_limit = 10 };

    (void)state;
    assert_int_equal(byre_counts_add(&wide, 63, 3, BYRE_CELL_TABLE), 0);
    for (uint64_t i = 0; i < 60; i++) {
        for (uint64_t times = 0; times <= i / 5 % 3; times++) {
            assert_int_equal(byre_counts_add(&narrow, i, 1, flags[i % 5]), 0);
            assert_int_equal(byre_counts_add(&wide, i, 1, flags[i % 5]), 0);
        }
        if (i % 7 == 0) {
            assert_int_equal(byre_counts_flag(&narrow, i, BYRE_CELL_SHARED, BYRE_CELL_EXCLUSIVE), 0);
            assert_int_equal(byre_counts_flag(&wide, i, BYRE_CELL_SHARED, BYRE_CELL_EXCLUSIVE), 0);
        }
        if (i % 11 == 0) {
            assert_int_equal(byre_counts_take(&narrow, i, 2), 0);
            assert_int_equal(byre_counts_take(&wide, i, 2), 0);
        }
        for (uint64_t k = 0; k < 63; k++) {
            assert_int_equal(get(&narrow, k), get(&wide, k));
            assert_int_equal(flags_of(&narrow, k), flags_of(&wide, k));
        }
    }
    assert_int_equal(get(&narrow, 1), 1);
    assert_int_equal(get(&narrow, 11), 1);
    assert_true(narrow.clashes);
    byre_counts_done(&narrow);
    byre_counts_done(&wide);
}

/* Three bits a cluster, and little beside. */
static void counts_of_plain_data_stay_small(void **state)
{
    struct byre_counts counts = { .page_limit = 10000 };

    (void)state;
    for (uint64_t i = 0; i < 1u << 20; i++)
        assert_int_equal(byre_counts_add(&counts, i, 1, i % 97 ? BYRE_CELL_EXCLUSIVE : BYRE_CELL_TABLE), 0);
    assert_int_equal(counts.wide_count, 0);
    assert_true((counts.page_count * sizeof(struct byre_counts_page) + counts.index_size * 4) * 8 < (4u << 20));
    byre_counts_done(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_random_additions_give_the_sums),
        cmocka_unit_test(counts_large_sums_saturate),
        cmocka_unit_test(counts_tables_clash_with_all_else),
        cmocka_unit_test(counts_past_the_page_limit_are_refused),
        cmocka_unit_test(counts_narrow_and_wide_cells_tell_the_same),
        cmocka_unit_test(counts_of_plain_data_stay_small),
    };

    return cmocka_run_group_tests_name("check_counts", tests, NULL, NULL);
}
