/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM state beside a disk: what is written there stays apart from the disk, from what lies below, and from what the
 * disk becomes when it grows.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "byre/check.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

enum {
    CLUSTER = 512,
    SPAN = CLUSTER / 8 * CLUSTER, /* of an L1 entry: the VM state of a disk of 64 KiB starts after two of them */
    SIZE = 64 << 10,
};

static void put_state(struct byre_disk *disk, uint64_t position, size_t length, int byte)
{
    uint8_t bytes[8 * K];

    memset(bytes, byte, length);
    must(byre_write_vm_state(disk, bytes, length, position, err));
}

static void expect_state(struct byre_disk *disk, uint64_t position, size_t length, int byte)
{
    uint8_t bytes[8 * K];

    memset(bytes, ~byte, length);
    must(byre_read_vm_state(disk, bytes, length, position, err));
    for (size_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], byte);
}

static void expect_clean(const char *name)
{
    struct byre_check_result result;

    must(byre_check(name, NULL, &result, err));
    assert_int_equal(result.corruptions + result.leaks + result.check_errors, 0);
}

/* An image over a raw file that is larger than all that is written here, and has no zeros. */
static struct byre_disk *open_new(void)
{
    static uint8_t below[2 * M];

    memset(below, 'b', sizeof below);
    write_file(path("below"), below, sizeof below);
    make_image(path("top"), SIZE, CLUSTER, "below", "raw");
    return open_disk(path("top"), true);
}

static void state_is_kept_apart_from_the_disk(void **state)
{
    struct byre_disk *disk = open_new();

    (void)state;
    assert_int_equal(SPAN * 2, SIZE);
    expect_state(disk, 0, 1000, 0);
    put_state(disk, 100, 1000, 's');
    expect_state(disk, 0, 100, 0);
    expect_state(disk, 100, 1000, 's');
    expect_state(disk, 1100, 3000, 0);
    expect(disk, 0, 4 * K, 'b');
    put(disk, SIZE - 600, 600, 'd');
    expect_state(disk, 0, 100, 0);
    expect_state(disk, 100, 1000, 's');
    close_disk(disk);
    expect_clean(path("top"));
    disk = open_disk(path("top"), false);
    expect_state(disk, 100, 1000, 's');
    expect_state(disk, 1100, 3000, 0);
    expect(disk, SIZE - 600, 600, 'd');
    expect(disk, 0, 4 * K, 'b');
    close_disk(disk);
}

static void state_far_away_makes_the_table_of_tables_longer(void **state)
{
    struct byre_disk *disk = open_new();

    (void)state;
    put(disk, 0, 600, 'd');
    put_state(disk, 40 * M, 5000, 'f');
    put_state(disk, 0, 5000, 's');
    expect_state(disk, 40 * M - 500, 500, 0);
    close_disk(disk);
    expect_clean(path("top"));
    disk = open_disk(path("top"), true);
    expect(disk, 0, 600, 'd');
    expect_state(disk, 40 * M, 5000, 'f');
    expect_state(disk, 0, 5000, 's');
    close_disk(disk);
}

static void state_is_no_part_of_a_disk_that_grows(void **state)
{
    struct byre_disk *disk = open_new();

    (void)state;
    put_state(disk, 0, 5000, 's');
    must(byre_truncate(disk, 4 * SIZE, NULL, err));
    expect(disk, SIZE, 8 * K, 0);
    expect_state(disk, 0, 8 * K, 0);
    close_disk(disk);
    expect_clean(path("top"));
}

static void state_is_durable_where_writes_are(void **state)
{
    const struct byre_open_options options = { .writable = true, .cache = BYRE_CACHE_WRITETHROUGH };
    struct byre_disk *disk;
    unsigned before;

    (void)state;
    close_disk(open_new());
    must(byre_open(path("top"), &options, &disk, err));
    watch(disk->layers[0].store);
    before = watched.flushes;
    put_state(disk, 0, 100, 's');
    assert_true(watched.flushes > before);
    unwatch();
    close_disk(disk);
}

static void state_is_refused_where_there_is_none(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk = open_new();
    uint8_t byte = 0;

    (void)state;
    assert_int_equal(byre_write_vm_state(disk, &byte, 1, INT64_MAX, &err), -EFBIG);
    assert_int_equal(byre_write_vm_state(disk, &byte, 1, 1ULL << 50, &err), -EFBIG);
    assert_int_equal(byre_read_vm_state(disk, &byte, 1, UINT64_MAX - 5, &err), -EFBIG);
    expect_state(disk, 1ULL << 50, 1, 0);
    close_disk(disk);
    disk = open_disk(path("top"), false);
    assert_int_equal(byre_write_vm_state(disk, &byte, 1, 0, &err), -EROFS);
    close_disk(disk);
    disk = open_disk(path("below"), true);
    assert_int_equal(byre_write_vm_state(disk, &byte, 1, 0, &err), -ENOTSUP);
    assert_int_equal(byre_read_vm_state(disk, &byte, 1, 0, &err), -ENOTSUP);
    close_disk(disk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(state_is_kept_apart_from_the_disk),
        TEST(state_far_away_makes_the_table_of_tables_longer),
        TEST(state_is_no_part_of_a_disk_that_grows),
        TEST(state_is_durable_where_writes_are),
        TEST(state_is_refused_where_there_is_none),
    };

    return cmocka_run_group_tests_name("vm_state", tests, NULL, NULL);
}
