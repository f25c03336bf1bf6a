/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FAT: entries in it, copies of it, sectors of it that cannot be read, and what the cache keeps.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fat_fixture.h"
#include "volume/fat.h"

#define CLUSTER 512u

static int read_at(struct opened *opened, const char *name, uint64_t offset, size_t length, struct byre_error *err)
{
    static uint8_t bytes[1 << 20];
    size_t got;

    return byre_files_read(opened->files, find(opened, name), bytes, length, offset, &got, err);
}

/* "FILE", `count` clusters in a row from `first` on. */
static void put_chain(unsigned bits, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put_link(bits, first + i, i + 1 < count ? first + i + 1 : bits == 16 ? 0xffff : 0x0fffffff);
    put_file(root_offset(), "FILE       ", 0x20, first, count * CLUSTER);
}

static void upper_bits_of_fat32_do_not_count(void **state)
{
    struct opened opened;
    uint8_t link[4];

    (void)state;
    random_start();
    make_file("file", 1, 4 * CLUSTER);
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && mcopy -i disk file ::FILE");
    for (unsigned cluster = 2; cluster < 7; cluster++) {
        peek(table_offset() + 4 * cluster, link, 4);
        link[3] |= (uint8_t)(cluster << 4 | 0x80);
        poke(table_offset() + 4 * cluster, link, 4);
    }
    open_files(&opened);
    has_contents(&opened, "FILE", 1, 4 * CLUSTER);
    close_files(&opened);
    put_link(32, 4, 0xf0000000); /* a free one, then */
    open_files(&opened);
    assert_int_equal(read_at(&opened, "FILE", 3 * CLUSTER, 1, NULL), -EIO);
    close_files(&opened);
}

/* --- what cannot be read ------------------------------------------------------------------------------------ */

/* Sector 3 of the FAT16 is bad, which has clusters 768...1023, and "FILE" goes through it. */
static void bad_sector_costs_its_own_entries(void **state)
{
    const size_t good = (768 - 700 + 1) * CLUSTER;
    struct byre_error error = BYRE_ERROR_INIT;
    struct opened opened;

    (void)state;
    make_file("other", 2, 10000);
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    put_chain(16, 700, 400);
    run("mcopy -i disk other ::OTHER");
    open_watched(&opened, table_offset() + 3 * 512, 512);
    must(read_at(&opened, "OTHER", 0, 10000, err));
    must(read_at(&opened, "FILE", 0, good, err));
    assert_int_equal(read_at(&opened, "FILE", good, 1, &error), -EIO);
    assert_string_equal(error.text, "a sector of the file allocation table, and its copies, cannot be read");
    assert_int_equal(read_at(&opened, "FILE", 399 * CLUSTER, 1, NULL), -EIO);
    watched.bad_end = 0; /* the error was the disk's, and is not kept */
    must(read_at(&opened, "FILE", good, 300 * CLUSTER, err));
    must(read_at(&opened, "FILE", 399 * CLUSTER, 1, err));
    close_watched(&opened);
}

/* The entry behind the last cluster that is needed is not needed. */
static void bad_sector_behind_all_that_is_needed_does_no_harm(void **state)
{
    struct opened opened;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    put_chain(16, 700, 69);
    open_watched(&opened, table_offset() + 3 * 512, 512);
    must(read_at(&opened, "FILE", 0, 69 * CLUSTER, err));
    close_watched(&opened);
}

static void copy_is_taken_where_the_first_fat_cannot_be_read(void **state)
{
    const char *const made[] = { "truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk",
                                 "truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk",
                                 "truncate -s 40M disk && mkfs.fat -F 32 -s 1 -f 3 disk" };
    struct opened opened;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(made); i++) {
        unlink(path("disk"));
        make_file("file", 1, 300000);
        run("%s && mcopy -i disk file ::FILE", made[i]);
        open_watched(&opened, table_offset() + 512, i == 2 ? (root_offset() - table_offset()) / 3 * 2 - 512 : 512);
        must(read_at(&opened, "FILE", 0, 300000, err));
        must(read_at(&opened, "FILE", 299999, 1, err));
        close_watched(&opened);
        if (i == 0)
            continue;
        poke(40, "\x80", 1); /* not mirrored: the others may be older */
        open_watched(&opened, table_offset() + 512, 512);
        must(read_at(&opened, "FILE", 0, 120 * CLUSTER, err));
        assert_int_equal(read_at(&opened, "FILE", 299999, 1, NULL), -EIO);
        close_watched(&opened);
    }
}

/* Entry 341 of a FAT12 has its bits in two sectors. */
static void entry_across_a_bad_sector_cannot_be_read(void **state)
{
    struct opened opened;

    (void)state;
    make_file("file", 1, 345 * CLUSTER);
    run("truncate -s 1440K disk && mkfs.fat -F 12 -f 1 disk && mcopy -i disk file ::FILE");
    for (unsigned sector = 0; sector < 2; sector++) {
        open_watched(&opened, table_offset() + sector * 512, 512);
        must(read_at(&opened, "FILE", 0, sector ? 340 * CLUSTER : CLUSTER, err));
        assert_int_equal(read_at(&opened, "FILE", sector ? 340 * CLUSTER : CLUSTER, 1, NULL), -EIO);
        assert_int_equal(read_at(&opened, "FILE", 341 * CLUSTER, 1, NULL), -EIO);
        close_watched(&opened);
    }
}

static void volume_opens_although_its_flags_cannot_be_read(void **state)
{
    struct byre_files_space space;
    struct opened opened;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    put_chain(16, 700, 20);
    open_watched(&opened, table_offset(), 512);
    assert_string_equal(byre_files_warning(opened.files), "the beginning of the file allocation table cannot be read");
    must(read_at(&opened, "FILE", 0, 20 * CLUSTER, err));
    assert_int_equal(byre_files_space(opened.files, &space, NULL), -EIO);
    watched.bad_end = 0;
    must(byre_files_space(opened.files, &space, err));
    close_watched(&opened);
}

/* --- the cache ---------------------------------------------------------------------------------------------- */

/* Links go to and fro between pieces of the FAT that take each other's place, 4 MiB apart. */
static void pieces_that_were_driven_out_are_read_again(void **state)
{
    const uint32_t apart = 1u << 20, count = 40;
    struct opened opened;

    (void)state;
    run("truncate -s 600M disk && mkfs.fat -F 32 -s 1 -f 1 disk");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t cluster = 1000 + i + i % 2 * apart, next = 1000 + i + 1 + (i + 1) % 2 * apart;
        uint8_t byte = (uint8_t)i;

        put_link(32, cluster, i + 1 < count ? next : 0x0fffffff);
        poke(root_offset() + (uint64_t)(cluster - 2) * CLUSTER, &byte, 1);
    }
    put_file(root_offset(), "FILE       ", 0x20, 1000, count * CLUSTER);
    open_watched(&opened, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t byte;
        size_t got;

        must(byre_files_read(opened.files, find(&opened, "FILE"), &byte, 1, i * CLUSTER, &got, err));
        assert_int_equal(byte, i);
    }
    assert_in_range(watched.reads, 2 * count, 4 * count + 10);
    close_watched(&opened);
}

static void pieces_that_are_there_are_not_read_again(void **state)
{
    struct opened opened;
    uint64_t bytes;

    (void)state;
    make_file("file", 1, 200 * CLUSTER);
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && for i in $(seq 30); do mcopy -i disk file ::FILE$i; done");
    open_watched(&opened, 0, 0);
    must(read_at(&opened, "FILE1", 0, 1, err)); /* the index as well */
    bytes = watched.read_bytes;
    for (unsigned i = 2; i <= 15; i++) { /* 2048 links are in a piece */
        char name[10];

        snprintf(name, sizeof name, "FILE%u", i);
        must(read_at(&opened, name, 0, 200 * CLUSTER, err));
    }
    assert_in_range(watched.read_bytes - bytes, 14 * 200 * CLUSTER, 14 * (200 * CLUSTER + 4096));
    close_watched(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(upper_bits_of_fat32_do_not_count),
        TEST(bad_sector_costs_its_own_entries),
        TEST(bad_sector_behind_all_that_is_needed_does_no_harm),
        TEST(copy_is_taken_where_the_first_fat_cannot_be_read),
        TEST(entry_across_a_bad_sector_cannot_be_read),
        TEST(volume_opens_although_its_flags_cannot_be_read),
        TEST(pieces_that_were_driven_out_are_read_again),
        TEST(pieces_that_are_there_are_not_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
