/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which file system of a disk is opened: by number, or the only one.
 */
#include "config.h"

#include <fcntl.h>
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
        "PATH=$PATH:/sbin:/usr/sbin; cd '%s' && rm -f disk && truncate -s 32M disk && "
        "{ test ! -s script || sfdisk -q disk <script; } && "
        "for start in %s; do rm -f part && truncate -s 4M part && mkfs.fat part >output && "
        "dd if=part of=disk bs=1M seek=$start conv=notrunc status=none || exit 1; done";
    char command[2048];

    write_file(path("script"), script, strlen(script));
    assert_true(snprintf(command, sizeof command, commands, path(""), starts) < (int)sizeof command);
    assert_int_equal(system(command), 0);
}

static uint64_t bad_from, bad_end; /* what of the disk cannot be read */

static int open_in(unsigned number, unsigned *ret_number, struct byre_error *err)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_files *files = NULL;
    struct byre_disk *disk;
    int rc;

    assert_int_equal(byre_open(path("disk"), &options, &disk, err), 0);
    watch(disk->layers[0].store);
    watched.bad_from = bad_from;
    watched.bad_end = bad_end;
    rc = byre_files_open_in(disk, number, &files, ret_number, err);
    if (rc == 0)
        assert_string_equal(byre_files_type(files), "vfat");
    byre_files_close(files);
    unwatch();
    assert_int_equal(byre_close(disk, NULL), 0);
    return rc;
}

#define TWO "label: gpt\nstart=2048,size=8192\nstart=16384,size=8192\n"

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
    char script[1024] = "label: gpt\n";
    struct byre_error err;

    (void)state;
    make_disk(TWO, "");
    assert_int_equal(open_in(0, NULL, &err), -ENOTSUP);
    assert_string_equal(err.text, "there is no file system that byre reads: partition 1 holds nothing that is known, "
                                  "2 nothing that is known");
    for (unsigned i = 0; i < 60; i++)
        strcat(script, "size=64\n");
    make_disk(script, "");
    assert_int_equal(open_in(0, NULL, &err), -ENOTSUP);
    assert_true(strlen(err.text) < 1200);
    assert_string_equal(err.text + strlen(err.text) - 5, ", ...");
}

/* Entry `i` of an MBR. */
static void put_entry(uint8_t *sector, unsigned i, uint8_t type, uint8_t first, uint8_t count)
{
    const uint8_t entry[16] = { [4] = type, [8] = first, [12] = count };

    memcpy(sector + 446 + 16 * i, entry, sizeof entry);
}

static void fat_that_looks_like_an_mbr_is_taken_whole(void **state)
{
    uint8_t sector[512];
    struct byre_error err;
    unsigned number = 7;
    int fd;

    (void)state;
    make_disk("", "0");
    fd = open(path("disk"), O_RDWR);
    assert_int_equal(pread(fd, sector, 512, 0), 512);
    for (unsigned i = 0; i < 4; i++)
        put_entry(sector, i, 0x83, (uint8_t)(i * 10 + 1), 5);
    assert_int_equal(pwrite(fd, sector, 512, 0), 512);
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 0);
    number = 7;
    assert_int_equal(open_in(1, &number, &err), -ENOTSUP); /* whoever names a partition is believed */
    memcpy(sector + 11, "\0\0", 2);                        /* and now it is no FAT any more */
    assert_int_equal(pwrite(fd, sector, 512, 0), 512);
    close(fd);
    assert_int_equal(open_in(0, &number, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "4 nothing that is known"));
}

static void logical_partition_is_found(void **state)
{
    struct byre_error err;
    unsigned number = 7;

    (void)state;
    make_disk("label: dos\nstart=2048,size=8192\nstart=12288,size=40960,type=5\n"
              "start=14336,size=8192\nstart=24576,size=8192\n", "12");
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 6);
    make_disk("label: dos\nstart=2048,size=8192\nstart=12288,size=40960,type=5\n"
              "start=14336,size=8192\nstart=24576,size=8192\n", "1 7 12");
    assert_int_equal(open_in(0, &number, &err), -ENOTUNIQ);
    assert_string_equal(err.text, "there are file systems in partitions 1 (vfat), 5 (vfat), 6 (vfat)");
}

static void partition_that_cannot_be_read_hides_no_other(void **state)
{
    struct byre_error err;
    unsigned number = 7;

    (void)state;
    bad_from = 1 << 20;
    bad_end = 5 << 20;
    make_disk(TWO, "1 8");
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 2);
    make_disk(TWO, "1");
    assert_int_equal(open_in(0, &number, &err), -ENOTSUP);
    assert_string_equal(err.text, "there is no file system that byre reads: partition 1 holds what cannot be read, "
                                  "2 nothing that is known");
    assert_int_equal(open_in(1, &number, &err), -EIO);
    assert_int_equal(strncmp(err.text, "partition 1: ", 13), 0);
    bad_from = bad_end = 0;
}

/* A table of partitions of one sector that hold nothing, and of those in `more`. */
static void make_crowd(unsigned count, const char *more, const char *starts)
{
    char *script = malloc(100 + count * 40 + strlen(more)), *end = script;

    assert_non_null(script);
    end += sprintf(end, "label: gpt\ntable-length: 512\n");
    for (unsigned i = 0; i < count; i++)
        end += sprintf(end, "start=%u,size=1\n", 40960 + i);
    strcpy(end, more);
    make_disk(script, starts);
    free(script);
}

static void crowds_of_partitions_are_not_all_looked_at(void **state)
{
    struct byre_error err;
    unsigned number = 7, reads;

    (void)state;
    make_crowd(255, "start=4096,size=8192\n", "2");
    assert_int_equal(open_in(0, &number, &err), 0);
    assert_int_equal(number, 256);
    reads = watched.reads;
    make_crowd(256, "start=4096,size=8192\n", "2");
    assert_int_equal(open_in(0, &number, &err), -ENOTSUP);
    assert_int_equal(strncmp(err.text, "there is no file system that byre reads in the partitions that were looked at: "
                             "partition 1 holds nothing that is known, ", 100), 0);
    make_crowd(400, "", "");
    assert_int_equal(open_in(0, &number, &err), -ENOTSUP);
    assert_true(watched.reads < reads + 100);
    /* one that was found may not be the only one */
    make_crowd(0, "start=4096,size=8192\n", "2");
    assert_int_equal(open_in(0, &number, &err), 0);
    make_crowd(255, "start=4096,size=8192\nstart=16384,size=8192\n", "2 8");
    assert_int_equal(open_in(0, &number, &err), -ENOTUNIQ);
    assert_string_equal(err.text, "there are file systems in partitions 256 (vfat); only the first 256 were "
                                  "looked at");
    assert_int_equal(open_in(257, &number, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disk_without_partitions_is_taken_whole),
        TEST(only_file_system_is_found),
        TEST(several_are_named),
        TEST(none_is_told_in_a_bounded_message),
        TEST(fat_that_looks_like_an_mbr_is_taken_whole),
        TEST(logical_partition_is_found),
        TEST(partition_that_cannot_be_read_hides_no_other),
        TEST(crowds_of_partitions_are_not_all_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
