/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walking the extents of a disk: windows that do not show, ends, and damage.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

struct walk {
    uint64_t at;
    unsigned count, stop_after;
    struct byre_extent last;
};

static int each(void *opaque, const struct byre_extent *extent)
{
    struct walk *walk = opaque;

    assert_int_equal(extent->goff, walk->at);
    assert_true(extent->length > 0);
    walk->at += extent->length;
    walk->last = *extent;
    return ++walk->count == walk->stop_after ? 42 : 0;
}

static void extents_do_not_show_where_windows_meet(void **state)
{
    struct byre_disk *disk;
    struct walk walk = { 0 };

    (void)state;
    make_image(path("x"), 256 * M, 512, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 2 * M - 512, 1024, 1); /* across the end of the first window */
    must(byre_write_zeroes(disk, 2 * M - 512, 1024, BYRE_WRITE_ZEROES_UNMAP, err));
    must(byre_extents(disk, 0, 256 * M, each, &walk, err));
    assert_int_equal(walk.count, 3); /* a hole, zeros, a hole */
    assert_int_equal(walk.at, 256 * M);
    close_disk(disk);
}

static void extents_end_when_told_so(void **state)
{
    struct byre_disk *disk;
    struct walk walk = { .stop_after = 2 };

    (void)state;
    make_image(path("x"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 64 * K, 64 * K, 1);
    assert_int_equal(byre_extents(disk, 0, 1 * M, each, &walk, NULL), 42);
    assert_int_equal(walk.at, 128 * K);
    walk = (struct walk){ .at = 64 * K + 5 };
    assert_int_equal(byre_extents(disk, 64 * K + 5, 10, each, &walk, NULL), 0);
    assert_int_equal(walk.count, 1);
    assert_int_equal(walk.last.length, 10);
    assert_int_equal(byre_extents(disk, 5, 0, each, NULL, NULL), 0);
    close_disk(disk);
}

static void extents_come_up_to_what_cannot_be_read(void **state)
{
    const uint64_t table_span = 4096 / 8 * 4096;
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    struct walk walk = { 0 };
    uint64_t l1_hoff;
    uint8_t bad[8] = { 0x80, 0, 0, 0, 0, 0, 0x22, 0 };

    (void)state;
    make_image(path("x"), 64 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 4096, 1);
    /* The second L2 table is said to be where none can be. */
    must(byre_flush(disk, err));
    l1_hoff = byre_qcow2_header(disk->layers[0].qcow2)->l1_hoff;
    must(byre_store_pwrite(disk->layers[0].store, bad, sizeof bad, l1_hoff + 8, err));
    close_disk(disk);
    disk = open_disk(path("x"), false);
    assert_int_equal(byre_extents(disk, 100, 64 * M - 100, each, &(struct walk){ .at = 100 }, &err), -EIO);
    assert_int_equal(byre_extents(disk, 0, 64 * M, each, &walk, &err), -EIO);
    assert_int_equal(walk.at, table_span);
    assert_non_null(strstr(err.text, "L2 table offset"));
    close_disk(disk);
}

static void extents_of_a_raw_file_are_its_holes_and_data(void **state)
{
    struct byre_disk *disk;
    struct walk walk = { 0 };

    (void)state;
    write_file(path("x"), "", 0);
    assert_int_equal(truncate(path("x"), (off_t)(1ULL << 42)), 0);
    disk = open_disk(path("x"), true);
    put(disk, 1ULL << 41, 64 * K, 1);
    must(byre_extents(disk, 0, 1ULL << 42, each, &walk, err));
    assert_int_equal(walk.count, 3);
    assert_int_equal(walk.at, 1ULL << 42);
    assert_int_equal(walk.last.kind, BYRE_EXTENT_ZERO);
    assert_true(walk.last.allocated);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(extents_do_not_show_where_windows_meet),
        TEST(extents_end_when_told_so),
        TEST(extents_come_up_to_what_cannot_be_read),
        TEST(extents_of_a_raw_file_are_its_holes_and_data),
    };

    return cmocka_run_group_tests_name("extents", tests, NULL, NULL);
}
