/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Amending a disk that stays open: what fails late leaves memory and file the same.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "byre/amend.h"
#include "byre/check.h"
#include "disk_fixture.h"

#define K 1024ULL

/* The header cluster is full of the backing file's name: another header cannot be put there safely.  That is found out
 * when the zero clusters, of which version 2 has none, are replaced already. */
static void failed_downgrade_leaves_a_disk_that_goes_on(void **state)
{
    const struct byre_amend_options to_2 = { .compat = "0.10" };
    struct byre_check_result result;
    struct byre_disk *disk;
    static uint8_t below[1024 * K];
    char name[600];

    (void)state;
    for (size_t at = 0; at + 7 <= sizeof name; at += 2)
        memcpy(name + at, "./base", 7);
    memset(below, 'b', sizeof below);
    write_file(path("base"), below, sizeof below);
    make_image(path("top"), sizeof below, 1024, name, "raw");
    disk = open_disk(path("top"), true);
    put(disk, 0, 16 * K, 'n');
    put(disk, 200 * K, 600 * K, 'n'); /* so that what is written to later has another refcount block */
    must(byre_write_zeroes(disk, 0, 16 * K, 0, err));
    must(byre_disk_flush(disk, err));
    assert_int_equal(byre_amend(disk, &to_2, NULL), -ENOSPC);
    expect(disk, 0, 16 * K, 0);
    put(disk, 4 * K, 4 * K, 'x');
    close_disk(disk);
    must(byre_check(path("top"), NULL, &result, err));
    assert_int_equal(result.corruptions + result.check_errors, 0);
    assert_int_equal(result.leaks, 0);
    disk = open_disk(path("top"), false);
    expect(disk, 0, 4 * K, 0);
    expect(disk, 4 * K, 4 * K, 'x');
    expect(disk, 8 * K, 8 * K, 0);
    expect(disk, 16 * K, 184 * K, 'b');
    expect(disk, 200 * K, 600 * K, 'n');
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_downgrade_leaves_a_disk_that_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
