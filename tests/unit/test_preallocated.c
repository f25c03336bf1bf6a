/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling whether space was reserved without being written, and what it costs to find out.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)
#define T (1024 * 1024 * M)

enum { CLUSTER = 65536, TABLE_ENTRIES = CLUSTER / 8 };

static void reserved_space_is_told_from_data(void **state)
{
    const struct byre_create_options options = {
        .format = "qcow2", .size = 8 * M, .preallocation = "metadata",
    };
    struct byre_disk *disk;

    (void)state;
    must(byre_create(path("reserved"), &options, err));
    disk = open_disk(path("reserved"), false);
    assert_true(byre_layer_is_preallocated(disk, 0));
    close_disk(disk);

    make_image(path("x"), 8 * M, CLUSTER, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 8 * M, 1);
    assert_false(byre_layer_is_preallocated(disk, 0));
    assert_false(byre_layer_is_preallocated(disk, 1));
    close_disk(disk);
}

/* A hostile refcount table names blocks everywhere in a huge file that has nothing there. */
static void blocks_without_number_are_not_all_looked_at(void **state)
{
    static uint8_t table[CLUSTER];
    uint64_t hoff;
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 8 * M, CLUSTER, NULL, NULL);
    disk = open_disk(path("x"), true);
    hoff = byre_qcow2_header(disk->layers[0].qcow2)->reftable_hoff;
    must(byre_store_pread(disk->layers[0].store, table, sizeof table, hoff, err));
    for (unsigned i = 1; i < TABLE_ENTRIES; i++)
        byre_put_be64(table + i * 8, 1024 * M + (uint64_t)i * CLUSTER);
    must(byre_store_pwrite(disk->layers[0].store, table, sizeof table, hoff, err));
    close_disk(disk);
    assert_int_equal(truncate(path("x"), 4 * T), 0);

    disk = open_disk(path("x"), false);
    watch(disk->layers[0].store);
    assert_false(byre_layer_is_preallocated(disk, 0));
    /* 16 MiB in slices of 4 KiB, and pages of the table; there are 32768 slices. */
    assert_in_range(watched.reads, 1, 4096 + 16);
    unwatch();
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reserved_space_is_told_from_data),
        TEST(blocks_without_number_are_not_all_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
