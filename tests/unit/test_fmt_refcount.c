/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refcount entries of every width: the bytes of the specification, and no neighbour is touched.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arith.h"
#include "qcow2/fmt_refcount.h"

#define BLOCK 512

/* One entry set in a block of zeros: where its bits must show up. */
static const struct {
    unsigned order;
    size_t index;
    uint64_t value;
    size_t at;
    uint8_t bytes[8];
    size_t count;
} layouts[] = {
    { 0, 0, 1, 0, { 0x01 }, 1 },
    { 0, 7, 1, 0, { 0x80 }, 1 },
    { 0, 9, 1, 1, { 0x02 }, 1 },
    { 1, 0, 3, 0, { 0x03 }, 1 },
    { 1, 3, 2, 0, { 0x80 }, 1 },
    { 1, 5, 1, 1, { 0x04 }, 1 },
    { 2, 0, 0xa, 0, { 0x0a }, 1 },
    { 2, 1, 0xa, 0, { 0xa0 }, 1 },
    { 2, 3, 5, 1, { 0x50 }, 1 },
    { 3, 2, 0xfe, 2, { 0xfe }, 1 },
    { 4, 1, 0x1234, 2, { 0x12, 0x34 }, 2 },
    { 5, 1, 0x12345678, 4, { 0x12, 0x34, 0x56, 0x78 }, 4 },
    { 6, 1, 0x123456789abcdef0, 8, { 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0 }, 8 },
};

static void refcount_entry_stands_where_the_format_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        uint8_t block[BLOCK] = { 0 }, expected[BLOCK] = { 0 };

        memcpy(expected + layouts[i].at, layouts[i].bytes, layouts[i].count);
        byre_refcount_set(block, layouts[i].index, layouts[i].order, layouts[i].value);
        assert_memory_equal(block, expected, BLOCK);
        assert_int_equal(byre_refcount_get(expected, layouts[i].index, layouts[i].order), layouts[i].value);
    }
}

static void refcount_largest_value_of_each_width_is_right(void **state)
{
    static const uint64_t largest[] = { 1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX };

    (void)state;
    for (unsigned order = 0; order <= 6; order++)
        assert_int_equal(byre_refcount_max(order), largest[order]);
}

static uint64_t random64(void)
{
    return (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random();
}

static void refcount_random_sets_keep_neighbours(void **state)
{
    unsigned seed = 20817;

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (unsigned order = 0; order <= 6; order++) {
        size_t entries = (size_t)BLOCK * 8 >> order;
        uint64_t model[BLOCK * 8] = { 0 };
        uint8_t block[BLOCK] = { 0 };

        for (int turn = 0; turn < 5000; turn++) {
            size_t index = (size_t)random() % entries;

            model[index] = random() % 4 ? random64() & byre_refcount_max(order) : byre_refcount_max(order);
            byre_refcount_set(block, index, order, model[index]);
        }
        for (size_t i = 0; i < entries; i++)
            assert_int_equal(byre_refcount_get(block, i, order), model[i]);
    }
}

static void refcount_block_of_any_alignment_works(void **state)
{
    uint8_t room[BLOCK + 1] = { 0 };

    (void)state;
    for (unsigned order = 3; order <= 6; order++) {
        byre_refcount_set(room + 1, 5, order, byre_refcount_max(order) - 1);
        assert_int_equal(byre_refcount_get(room + 1, 5, order), byre_refcount_max(order) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refcount_entry_stands_where_the_format_says),
        cmocka_unit_test(refcount_largest_value_of_each_width_is_right),
        cmocka_unit_test(refcount_random_sets_keep_neighbours),
        cmocka_unit_test(refcount_block_of_any_alignment_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
