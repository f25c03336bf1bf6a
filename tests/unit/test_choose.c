/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which file system of a disk is opened: by number, or the only one.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "byre/files.h"
#include "disk_fixture.h"

/* The disk, with this table, and FAT in the partitions that start at these MiB: 4 MiB each. */
static void make_disk(const char *script, const char *starts)
{
    static const char commands[] =
        "PATH=$PATH:/sbin:/usr/sbin; cd '%s' && rm -f disk && truncate -s 32M disk && script='%s' && "
        "{ test -z \"$script\" || printf \"$script\" | sfdisk -q disk; } && "
        "for start in %s; do rm -f part && truncate -s 4M part && mkfs.fat part >output && "
        "dd if=part of=disk bs=1M seek=$start conv=notrunc status=none || exit 1; done";
    char command[2048];

    assert_true(snprintf(command, sizeof command, commands, path(""), script, starts) < (int)sizeof command);
    assert_int_equal(system(command), 0);
}

static int open_in(unsigned number, unsigned *ret_number, struct byre_error *err)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_files *files = NULL;
    struct byre_disk *disk;
    int rc;

    assert_int_equal(byre_open(path("disk"), &options, &disk, err), 0);
    rc = byre_files_open_in(disk, number, &files, ret_number, err);
    if (rc == 0)
        assert_string_equal(byre_files_type(files), "vfat");
    byre_files_close(files);
    assert_int_equal(byre_close(disk, NULL), 0);
    return rc;
}

#define TWO "label: gpt\\nstart=2048,size=8192\\nstart=16384,size=8192\\n"

static void disk_without_partitions_is_taken_whole(void **state)
{
    struct byre_error err;
    unsigned number = 7;

    (void)state;
    make_disk("", "0");
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 0);
    assert_int_equal(open_in(0, NULL, &err), 0);
    assert_int_equal(open_in(1, &number, &err), -ENOENT);
}

static void only_file_system_is_found(void **state)
{
    struct byre_error err;
    unsigned number = 7;

    (void)state;
    make_disk(TWO, "8");
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 2);
    number = 7;
    assert_int_equal(open_in(2, &number, &err), 0);
    assert_int_equal(number, 2);
    assert_int_equal(open_in(1, NULL, &err), -ENOTSUP);
    assert_string_equal(err.text, "partition 1: there is no file system that is known");
    assert_int_equal(open_in(3, NULL, &err), -ENOENT);
}

static void several_are_named(void **state)
{
    struct byre_error err;
    unsigned number = 7;

    (void)state;
    make_disk(TWO, "1 8");
    assert_int_equal(open_in(0, &number, &err), -ENOTUNIQ);
    assert_string_equal(err.text, "there are file systems in partitions 1 (vfat), 2 (vfat)");
    assert_int_equal(number, 7);
    assert_int_equal(open_in(1, &number, &err), 0);
    assert_int_equal(number, 1);
}

static void none_is_told_in_a_bounded_message(void **state)
{
    char script[1024] = "label: gpt\\n";
    struct byre_error err;

    (void)state;
    make_disk(TWO, "");
    assert_int_equal(open_in(0, NULL, &err), -ENOTSUP);
    assert_string_equal(err.text, "there is no file system that byre reads: partition 1 holds nothing that is known, "
                                  "2 nothing that is known");
    for (unsigned i = 0; i < 60; i++)
        strcat(script, "size=64\\n");
    make_disk(script, "");
    assert_int_equal(open_in(0, NULL, &err), -ENOTSUP);
    assert_true(strlen(err.text) < 1200);
    assert_string_equal(err.text + strlen(err.text) - 5, ", ...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disk_without_partitions_is_taken_whole),
        TEST(only_file_system_is_found),
        TEST(several_are_named),
        TEST(none_is_told_in_a_bounded_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
