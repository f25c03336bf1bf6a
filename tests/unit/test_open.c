/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening an image: what it costs, and that the cost does not depend on the size of the disk.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../crash/record_store.h"
#include "qcow2/qcow2.h"

/* How many reads it takes to open a new image of `size` bytes and to map its first and its last megabyte. */
static uint64_t reads_to_open_and_map(uint64_t size)
{
    const struct byre_qcow2_create_options create = { .size = size, .version = 3, .cluster_bits = 16,
                                                      .refcount_order = 4 };
    const struct byre_qcow2_open_options open = { .writable = false };
    struct byre_qcow2 *image;
    struct byre_store *store;
    byre_extent_vec extents = VEC_INIT;
    uint64_t reads;

    assert_int_equal(record_store_new(NULL, 0, &store), 0);
    assert_int_equal(byre_qcow2_create(store, &create, &image, NULL), 0);
    assert_int_equal(byre_qcow2_seal(image, NULL), 0);
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    record_store_fail(store, NULL); /* counts from here */
    assert_int_equal(byre_qcow2_open(store, &open, &image, NULL), 0);
    assert_int_equal(byre_qcow2_map(image, 0, 1 << 20, &extents, NULL), 0);
    assert_int_equal(byre_qcow2_map(image, size - (1 << 20), 1 << 20, &extents, NULL), 0);
    reads = record_store_calls(store, RECORD_READ);
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    vec_done(&extents);
    byre_store_close(store);
    return reads;
}

static void open_of_64_tib_costs_what_1_gib_costs(void **state)
{
    uint64_t small = reads_to_open_and_map(1ULL << 30);

    (void)state;
    assert_in_range(small, 2, 4);
    /* One more page of the L1 table, for the other end of the disk. */
    assert_int_equal(reads_to_open_and_map(64ULL << 40), small + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_of_64_tib_costs_what_1_gib_costs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
